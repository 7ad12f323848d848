"""Hypothesis strategies: addresses, ranges, and scripts of operations; and how a script is performed on a machine.

A script is a list of steps, dicts as in recorded scenarios (``{"op": "munmap", "proc": "p0", "addr": "0x200000000000",
"length": 4096}``), so that one that fails can be printed, kept as JSON, and performed again.
"""
from hypothesis import strategies as st

from foliosim.schedule.player import Player

ARENA = 0x200000000000
LENGTH = 8 << 20
BLOCK, PAGE = 2 << 20, 4096
ADVICES = ("dontneed", "free", "cold", "pageout", "hugepage", "nohugepage", "collapse", "populate_read",
           "populate_write", "dontfork", "wipeonfork")
OPS = ("write", "read", "mmap", "munmap", "mprotect", "madvise", "mlock", "munlock", "fork", "exit", "get", "peek",
       "put", "pin", "unpin")
_MOST_PROCESSES = 4
_PROTS = ("rw", "r", "none", "rwx")


def addresses(start=ARENA, length=LENGTH, *, page_size=PAGE, block=BLOCK):
    """Addresses of pages of a range; half of them lie beside the edges of blocks, where rules differ.

    Parameters
    ----------
    start, length : int
        The range, bytes.
    page_size : int
        Bytes.
    block : int
        What a PMD entry maps, bytes: ``machine.core.pmd_size``.

    Returns
    -------
    hypothesis.strategies.SearchStrategy of int
    """
    last = length // page_size - 1
    edges = {edge + beside for edge in range(0, last + 2, block // page_size) for beside in (0, -1, 1)}
    pages = st.sampled_from(sorted(page for page in edges if 0 <= page <= last)) | st.integers(0, last)
    return pages.map(lambda page: start + page * page_size)


@st.composite
def spans(draw, start=ARENA, length=LENGTH, *, page_size=PAGE, block=BLOCK):
    """Ranges of whole pages within a range: see `addresses`.

    Returns
    -------
    hypothesis.strategies.SearchStrategy of tuple of int
        Address and length, bytes.
    """
    first = draw(addresses(start, length, page_size=page_size, block=block))
    end = draw(addresses(start + page_size, length, page_size=page_size, block=block))
    return min(first, end - page_size), max(first + page_size, end) - min(first, end - page_size)


@st.composite
def scripts(draw, start=ARENA, length=LENGTH, *, ops=OPS, advices=ADVICES, max_steps=12, page_size=PAGE, block=BLOCK):
    """Scripts of operations on anonymous memory.

    The first step maps the range, readable and writable.  Processes p0 to p3 come and go; an operation may fail, as
    the same call of a real program may.

    Parameters
    ----------
    start, length : int
        Where everything happens, bytes.
    ops, advices : sequence of str
        What may happen: some of `OPS` and `ADVICES`.
    max_steps : int
        After the first.
    page_size, block : int
        See `addresses`.

    Returns
    -------
    hypothesis.strategies.SearchStrategy of list of dict
        For `perform`.

    Raises
    ------
    ValueError
        An unknown operation.
    """
    unknown = [op for op in ops if op not in OPS]
    if unknown:
        raise ValueError(f"ops {unknown[0]!r}: valid are {', '.join(OPS)}")
    script = [{**_mapping("p0", start, length), "prot": "rw"}]
    alive, born = ["p0"], 1
    for _ in range(draw(st.integers(0, max_steps))):
        possible = [op for op in ops if (op != "fork" or len(alive) < _MOST_PROCESSES)
                    and (op != "exit" or len(alive) > 1)]
        if not possible:
            break
        op, proc = draw(st.sampled_from(possible)), draw(st.sampled_from(alive))
        if op == "fork":
            script.append({"op": op, "proc": proc, "child": f"p{born}"})
            alive.append(f"p{born}")
            born += 1
        elif op == "exit":
            script.append({"op": op, "proc": proc})
            alive.remove(proc)
        elif op in ("peek", "put", "unpin"):
            script.append({"op": op, "proc": proc, "id": draw(_number("b" if op == "unpin" else "g"))})
        else:
            where = draw(spans(start, length, page_size=page_size, block=block))
            script.append(draw(_step(op, proc, *where, page_size, tuple(advices))))
    return script


@st.composite
def _step(draw, op, proc, addr, length, page_size, advices):
    # A step over a range.
    step = {"op": op, "proc": proc, "addr": hex(addr), "length": length}
    if op == "mmap":
        return {**_mapping(proc, addr, length), "prot": draw(st.sampled_from(_PROTS))}
    if op == "mprotect":
        return {**step, "prot": draw(st.sampled_from(_PROTS))}
    if op == "madvise":
        return {**step, "advice": draw(st.sampled_from(advices))}
    if op == "write":
        return {**step, "value": draw(st.integers(1, 255)), "stride": page_size}
    if op == "read":
        return {**step, "stride": page_size}
    if op in ("get", "pin"):
        return {**step, "id": draw(_number("g" if op == "get" else "b"))}
    return step


def _mapping(proc, addr, length):
    return {"op": "mmap", "proc": proc, "addr": hex(addr), "length": length,
            "flags": ["private", "anonymous", "fixed"]}


def _number(letter):
    # Of a reference or a registered buffer of a process.
    return st.integers(0, 1).map(lambda number: f"{letter}{number}")


def perform(machine, script):
    """Perform a script on a machine, with a process of its own for p0, and validate the machine after each step.

    Parameters
    ----------
    machine : Machine
    script : list of dict
        Also steps of daemons and of trouble, as `foliosim.schedule.Program` takes them.

    Returns
    -------
    list of dict
        What a program would see of each step: ``ret``, and ``data`` of what was read; or ``errno``; or ``signal``,
        ``code`` and ``addr``.

    Raises
    ------
    ValidationError
        A count is wrong after a step; the message names the step.
    UnsupportedError
        There is no such operation.
    """
    player = Player(machine)
    results = []
    for number, step in enumerate(script):
        results.append(player.do(step))
        try:
            player.validate()
        except Exception as error:
            error.add_note(f"after step {number} of the script: {step}")
            raise
    return results
