"""What is asked to be otherwise in a replay, and the machine that is so."""
from foliosim.replay.engine import machine_for, recorded_thp
from foliosim.sizes import parse_size


def setting_of(preset="linux-6.18", policy=None, thp=None, mthp=None, limit=None, swap=None, arch=None,
               page_size=None):
    """The words of a command as a dict that JSON can hold.

    Parameters
    ----------
    preset : str
    policy : dict, optional
        Point to alternative.
    thp : str, optional
        Mode instead of the recorded one.
    mthp : dict, optional
        Folio size (``"64K"``) to mode.
    limit, swap, page_size : str, optional
        Sizes.
    arch : str, optional

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        A size that is none.
    """
    sizes = {f"{parse_size(size) >> 10}kB": mode for size, mode in (mthp or {}).items()}
    for size in (limit, swap, page_size):
        if size is not None:
            parse_size(size)
    return {"preset": preset, "policy": policy or {}, "thp": thp, "mthp": sizes, "limit": limit, "swap": swap,
            "arch": arch, "page_size": page_size}


def machine_of(header, setting):
    """The machine that a trace was recorded on, but for a setting.

    Parameters
    ----------
    header : dict
        Of the trace.
    setting : dict
        From `setting_of`.

    Returns
    -------
    Machine

    Raises
    ------
    ValueError
        An unknown preset, point, alternative, mode or size.
    """
    mthp, thp = setting["mthp"], {}
    if setting["thp"] is not None:
        thp = {"thp": setting["thp"], "mthp": mthp}
    elif mthp:
        thp = {"mthp": {**(recorded_thp(header)["mthp"] if setting["page_size"] is None else {}), **mthp}}
    machine = machine_for(header, setting["preset"], setting["arch"], setting["page_size"], limit=setting["limit"],
                          swap=setting["swap"], **thp)
    machine.set_policy(setting["policy"])
    return machine
