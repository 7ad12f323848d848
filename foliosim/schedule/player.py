"""Performs step records on a machine: the ops of recorded scenarios, and those of daemons and of trouble."""
from foliosim.errors import SyscallError, UnsupportedError
from foliosim.verify.engine import OPS, MachineEngine


class Player(MachineEngine):
    """A machine with one process p0.

    Parameters
    ----------
    machine : Machine
    more : dict of str to callable, optional
        Further ops: ``call(player, step)``.
    """

    def __init__(self, machine, more=None):
        self.machine = machine
        self.procs = {"p0": self.machine.spawn()}
        self.files = {}
        self._held = {}
        self._trouble = {}
        self._more = more or {}

    def ready(self, step):
        """Are the step's process and file there?  One that has exited is there no more."""
        here = "proc" not in step or (step["proc"] in self.procs and self.procs[step["proc"]].alive)
        return here and ("file" not in step or step["op"] == "file" or step["file"] in self.files)

    def do(self, step):
        perform = self._more.get(step["op"]) or _OPS.get(step["op"])
        if perform is None:
            return super().do(step)
        return self._result(perform, step)

    def _start(self, name, trouble):
        self.put_right(name)
        self._trouble[name] = trouble
        return {"ret": 0}

    def put_right(self, name):
        """End what was put in under a name; nothing if that is over."""
        trouble = self._trouble.pop(name, None)
        if trouble is not None:
            trouble.end()


def known(op):
    """Is this the name of an op?"""
    return op in _OPS or op in OPS


def names():
    """The names of all ops."""
    return sorted({*OPS, *_OPS})


def _pages(step):
    return {"pages": step["pages"]} if "pages" in step else {}


def _khugepaged(player, step):
    process = player.procs[step["proc"]] if "proc" in step else None
    return {"ret": player.machine.khugepaged_scan(process, **_pages(step))}


def _reclaim(player, step):
    return {"ret": player.machine.reclaim(step["pages"])}


def _shrink_deferred(player, step):
    return {"ret": player.machine.shrink_deferred(step.get("folios"))}


def _limit(player, step):
    player.machine.limit = step["bytes"]
    return {"ret": 0}


def _split(player, step):
    pfn = player.procs[step["proc"]].translate(int(step["addr"], 16)) // player.machine.page_size
    try:
        player.machine.split_folio(pfn)
    except ValueError as error:  # the zero page
        raise SyscallError(22, str(error)) from None
    return {"ret": 0}


def _hold(player, step):
    inject = getattr(player.machine.inject, step["what"], None)
    if step["what"] not in ("reference", "pin", "lock"):
        raise UnsupportedError(f"hold {step['what']!r}: valid are reference, pin, lock")
    try:
        held = inject((player.procs[step["proc"]], int(step["addr"], 16)))
    except LookupError:
        return {"ret": -1}
    return player._start(step["id"], held)


def _fail(player, step):
    player.put_right("fail")
    keywords = {name: step[name] for name in ("nth", "times", "kinds", "min_order", "steps") if name in step}
    return player._start("fail", player.machine.inject.failure(**keywords))


class _Ring:
    """Registered buffers, as something that ends."""

    def __init__(self, buffers):
        self.buffers = buffers

    def end(self):
        if self.buffers.process.alive and len(self.buffers):
            self.buffers.unregister()


def _register(player, step):
    spans = [span and (int(span[0], 16), span[1]) for span in step["buffers"]]
    buffers = player.procs[step["proc"]].register_buffers(spans, memlock=step.get("memlock"))
    return player._start(step["id"], _Ring(buffers))


def _update(player, step):
    ring = player._trouble.get(step["id"])
    if not isinstance(ring, _Ring) or not ring.buffers.process.alive:
        return {"ret": -1}
    if "addr" in step:
        ring.buffers.update(step["slot"], int(step["addr"], 16), step["length"])
    else:
        ring.buffers.unregister(step["slot"])
    return {"ret": 0}


def _put_right(player, step):
    player.put_right(step["id"])
    return {"ret": 0}


_OPS = {"khugepaged": _khugepaged, "reclaim": _reclaim, "shrink_deferred": _shrink_deferred, "limit": _limit,
        "split": _split, "hold": _hold, "fail": _fail, "put_right": _put_right,
        "register": _register, "update": _update}
