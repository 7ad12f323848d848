"""Arguments that system calls refuse, or that lie at the border of what they take.

None of them reaches what a process has outside the arena, nor a page that could be taken from the machine for good
(MADV_HWPOISON, MADV_SOFT_OFFLINE).
"""
from foliosim.live.layout import ARENA, ARENA_END, HUGE, PAGE
from foliosim.verify import numbers

WORD = 1 << 64
TASK_END = (1 << 47) - PAGE  # nothing is mapped from here on
FAR = (0, PAGE, ARENA - PAGE, ARENA_END - PAGE, ARENA_END, TASK_END, TASK_END + PAGE, 1 << 63, WORD - HUGE, WORD - PAGE)
FAR_ACCESS = (0, PAGE, ARENA - PAGE, ARENA_END - PAGE, ARENA_END)  # where the address of a fault is told
SHORT = (0, 1, PAGE - 1, PAGE + 1, 2 * PAGE - 1)
WRAPPING = (-1, 1 - PAGE, -PAGE, -PAGE - 1, -HUGE)  # as unsigned words, beyond the end of the address space
HUGE_LENGTHS = (1 << 47, 1 << 48, 1 << 63)
RAW_ADVICE = (5, 6, 7, 22, 26, 99, 104, 999, -1)  # no advice at all, but for one


def odd(rng, step):
    """The same step with one argument that is out of the ordinary; the step itself if its op has none."""
    change = _CHANGES.get(step["op"])
    return {**step, **rng.choice(change)(rng, step)} if change else step


def _choice_of(key, values):
    def change(rng, step):
        return {key: rng.choice(values)}
    return change


def _moved(rng, step):
    return {"addr": hex(int(step["addr"], 16) + rng.choice((-PAGE, -1, 1, 100, PAGE // 2, PAGE - 1)))}


def _far(rng, step):
    return {"addr": hex(rng.choice(FAR)), "length": rng.choice((*SHORT, PAGE, HUGE))}


def _far_access(rng, step):
    return {"addr": hex(rng.choice(FAR_ACCESS)), "length": rng.choice((1, PAGE, 2 * PAGE))}


def _stretched(rng, step):
    return {"length": step["length"] + rng.choice((-PAGE, -1, 1, 100, PAGE, PAGE + 1, HUGE))}


def _to_border(rng, step):
    # From the last page before a border of the arena's first huge pages to the first one behind it.
    border = ARENA + rng.randrange(1, 5) * HUGE
    return {"addr": hex(border - rng.choice((1, 2)) * PAGE), "length": rng.choice((1, 2, 3, 4)) * PAGE}


def _some_flags(table):
    def change(rng, step):
        names = sorted(table)
        return {"flags": rng.sample(names, rng.randint(0, len(names)))}
    return change


def _hint(rng, step):
    # Without MAP_FIXED the address is a hint; a type is missing, or there are two, in some.
    flags = [name for name in step["flags"] if name not in ("fixed", "fixed_noreplace")]
    return {"flags": flags}


def _types(rng, step):
    rest = [name for name in step["flags"] if name not in ("private", "shared")]
    return {"flags": [*rng.choice(([], ["private", "shared"])), *rest]}


def _offset(rng, step):
    if "file" not in step:
        return {"offset": rng.choice((PAGE, 1, -PAGE))}
    return {"offset": rng.choice((1, PAGE - 1, HUGE, 1 << 40, -PAGE, (1 << 63) - PAGE))}


def _mremap_lengths(rng, step):
    old, new = step["old_length"], step["new_length"]
    return rng.choice((
        {"old_length": 0}, {"new_length": 0}, {"old_length": 0, "new_length": PAGE}, {"old_length": old + 1},
        {"new_length": new + 1}, {"old_length": old + HUGE}, {"new_length": -1}, {"new_length": -PAGE},
        {"old_length": -PAGE}, {"old_length": 1 << 47}, {"new_length": 1 << 47}, {"old_length": new, "new_length": old},
    ))


def _mremap_addresses(rng, step):
    addr = int(step["addr"], 16)
    return rng.choice((
        {"addr": hex(addr + 1)}, {"addr": hex(rng.choice(FAR))}, {"new_addr": hex(addr)},
        {"new_addr": hex(addr + PAGE)},
        {"new_addr": hex(addr + 1)}, {"new_addr": hex(rng.choice((TASK_END, WORD - PAGE, 1 << 63)))},
        {"new_addr": hex(max(ARENA, addr - PAGE))},
    ))


_RANGE = (_moved, _far, _stretched, _to_border, _choice_of("length", SHORT))
# Ranges of these end at the first hole, or wrap and are refused; madvise goes on behind holes.
_LONG = (*_RANGE, _choice_of("length", WRAPPING), _choice_of("length", HUGE_LENGTHS))
_WRAPPED = (*_RANGE, _choice_of("length", WRAPPING))
_ACCESS = (_moved, _far_access, _stretched, _to_border, _choice_of("length", SHORT),
           _choice_of("offset", (1, PAGE - 1, PAGE, HUGE)), _choice_of("stride", (1, 511, PAGE - 1, PAGE + 1)))
_CHANGES = {
    "mmap": (_moved, _hint, _types, _offset, _choice_of("length", (*SHORT, *WRAPPING[:3], 1 << 47, 1 << 63)),
             _choice_of("prot", sorted(numbers.PROT)),
             lambda rng, step: {"flags": [name for name in step["flags"] if name != "anonymous"]}),
    "munmap": _LONG, "mlock": _LONG, "munlock": _LONG, "mseal": _LONG,
    "mprotect": (*_LONG, _choice_of("prot", sorted(numbers.PROT))),
    "mlock2": (*_LONG, _some_flags(numbers.MLOCK)),
    "madvise": (*_WRAPPED, _choice_of("advice", RAW_ADVICE)),
    "msync": (*_WRAPPED, _some_flags(numbers.MSYNC)),
    "mincore": (*_WRAPPED, _choice_of("length", HUGE_LENGTHS)),
    "mremap": (_mremap_lengths, _mremap_addresses, _some_flags(numbers.MREMAP)),
    "write": _ACCESS, "read": _ACCESS,
    "get": (*_RANGE, _choice_of("length", (1 << 20, (1 << 20) + 1, 1 << 21, -1, 1 << 47))),
    "pin": (*_RANGE, _choice_of("length", (1 << 30, (1 << 30) + 1, -1, -PAGE, 1 << 47))),
    "clear_refs": (_choice_of("value", (0, 5, 6, 7, -1)),),
    "thp_disable": (_choice_of("value", (0, 1, 2, -1)), _choice_of("flags", (1, 2, 3, 4))),
    "ftruncate": (_choice_of("length", (-1, 1, PAGE - 1, PAGE + 1, HUGE + 1, 1 << 40, 1 << 62, (1 << 63) - 1)),),
    "punch": (_choice_of("offset", (-1, -PAGE, 1, 100, PAGE - 1, HUGE, 1 << 40, (1 << 63) - 1)),
              _choice_of("length", (0, -1, 1, 100, PAGE - 1, PAGE + 1, HUGE, 1 << 40, (1 << 63) - 1)),
              lambda rng, step: {"offset": step["offset"] + rng.choice((1, 100, PAGE - 1)),
                                 "length": max(1, step["length"] + rng.choice((-100, -1, 1, 100)))}),
}
