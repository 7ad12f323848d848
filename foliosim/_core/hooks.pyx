# cython: language_level=3
"""Policy slots that call Python, or compiled code from outside.

A hook's exception is kept on the machine; meanwhile Linux 6.18's rule answers.
"""
import re
from cpython.pycapsule cimport (PyCapsule_CheckExact, PyCapsule_GetContext, PyCapsule_GetName, PyCapsule_GetPointer,
                                PyCapsule_IsValid)
from foliosim._core.types cimport *
from foliosim._core.machine cimport CoreMachine
from foliosim._core.policy cimport *
from foliosim._core.policy import ANSWERS, NUMBERS, POINT_NAMES

CAPSULE = "foliosim.decide_t"
NUMBERED = re.compile(r"(\w+)\((\d+)\)")
EVENTS = {MLOCK_AT_SYSCALL: "mlock", MLOCK_AT_RMAP_ADD: "map", MLOCK_AT_RMAP_REMOVE: "unmap",
          MLOCK_AT_MUNLOCK: "munlock", MLOCK_AT_RECLAIM: "reclaim"}
DEFERRED_EVENTS = {DEFERRED_NEW: "new", DEFERRED_PARTIAL: "partial", DEFERRED_UNMAPPED: "unmapped"}
CONTPTE_EVENTS = {CONTPTE_AT_SET: "set", CONTPTE_AT_LAST: "last"}
SWAP_EVENTS = {SWAP_OUT: "out", SWAP_IN: "in"}
# How a hook gets each argument.
ARGUMENTS = {
    "vma_split": (int, int, bool),
    "mlock_rule": (EVENTS.get, int, int, bool, bool),
    "fork_child_mprotect": (int, int, bool),
    "cow_order": (int, bool),
    "dirty_neighbours": (int,),
    "cow_reuse": (int, bool, bool, int, int, bool, bool, int),
    "reuse_around": (int,),
    "mapcount_model": (int,),
    "pin_short": (int, int),
    "pin_long": (int, int),
    "fork_pinned": (int,),
    "fault_order": (bool, bool, int, int),
    "fault_fallback": (int,),
    "zero_page": (bool,),
    "partial_unmap": (int, int),
    "deferred_members": (DEFERRED_EVENTS.get, int),
    "split_target": (int,),
    "drop_zero_pages": (),
    "madv_free_partial": (int, int),
    "partial_evict": (int, int),
    "collapse_rule": (int,) * 7,
    "collapse_vs_free": (int, int),
    "underused": (int, int, int, bool),
    "age_unit": (int, int, int),
    "contpte": (CONTPTE_EVENTS.get,),
    "swap_large": (SWAP_EVENTS.get, int, bool),
}


cdef int answer_of(str point, answer) except -1:
    """A name, or a name with a number: ``"fixed(2)"``."""
    cdef dict answers = ANSWERS[point]
    try:
        if answer in answers and (point, answer) not in NUMBERS:
            return answers[answer]
        name, number = NUMBERED.fullmatch(answer).groups()
        least, greatest = NUMBERS[point, name]
        if not least <= int(number) <= greatest:
            raise ValueError(number)
        return answers[name] | int(number) << 8
    except (AttributeError, KeyError, TypeError, ValueError):
        valid = [f"{name}({'..'.join(map(str, NUMBERS[point, name]))})" if (point, name) in NUMBERS else name
                 for name in answers]
        raise ValueError(f"policy {point}: answer {answer!r}, valid are {valid}") from None


cdef int ask_python(void *ctx, int point, const int64_t *arg) noexcept with gil:
    cdef CoreMachine machine = <CoreMachine>ctx
    cdef int i
    if machine.in_hook:
        return policy_linux(point, arg)
    machine.in_hook = True
    try:
        name = POINT_NAMES[point]
        args = [convert(arg[i]) for i, convert in enumerate(ARGUMENTS[name])]
        return answer_of(name, machine.hooks[name](*args))
    except BaseException as error:
        if machine.hook_error is None:
            machine.hook_error = error
        return policy_linux(point, arg)
    finally:
        machine.in_hook = False


cdef int install_hook(policy_t *policy, int point, void *machine, object answer) except -1:
    if not PyCapsule_CheckExact(answer):
        policy_put(policy, point, <decide_t>ask_python, machine, point)
    elif PyCapsule_IsValid(answer, CAPSULE.encode()):
        policy_put(policy, point, <decide_t>PyCapsule_GetPointer(answer, CAPSULE.encode()),
                   PyCapsule_GetContext(answer), 0)
    else:
        raise ValueError(f"policy {POINT_NAMES[point]}: capsule {answer!r}, must be named {CAPSULE}")
    return 0
