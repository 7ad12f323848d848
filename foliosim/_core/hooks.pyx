# cython: language_level=3
"""Policy slots that call Python, or compiled code from outside.

A hook's exception is kept on the machine; meanwhile Linux 6.18's rule answers.
"""
import re
from cython cimport no_gc_clear
from cpython.pycapsule cimport (PyCapsule_CheckExact, PyCapsule_GetContext, PyCapsule_GetName, PyCapsule_GetPointer,
                                PyCapsule_IsValid)
from cpython.ref cimport PyObject
from foliosim._core.types cimport *
from foliosim._core.machine cimport CoreMachine
from foliosim._core.linux_rules cimport linux_answer
from foliosim._core.policy cimport *
from foliosim._core.policy import ANSWERS, NUMBERS, OPTIONAL, POINT_NAMES

cdef extern from "Python.h":
    const size_t PY_VECTORCALL_ARGUMENTS_OFFSET
    PyObject *PyObject_Vectorcall(PyObject *call, PyObject *const *args, size_t nr, PyObject *names)
    PyObject *PyLong_FromLongLong(long long value)
    PyObject *PyBool_FromLong(long value)
    PyObject *PyTuple_GET_ITEM(PyObject *words, Py_ssize_t i)
    void Py_INCREF(PyObject *)
    void Py_XDECREF(PyObject *)

CAPSULE = "foliosim.decide_t"
NUMBERED = re.compile(r"(\w+)\((\d+)\)")
EVENTS = {MLOCK_AT_SYSCALL: "mlock", MLOCK_AT_RMAP_ADD: "map", MLOCK_AT_RMAP_REMOVE: "unmap",
          MLOCK_AT_MUNLOCK: "munlock", MLOCK_AT_RECLAIM: "reclaim"}
DEFERRED_EVENTS = {DEFERRED_NEW: "new", DEFERRED_PARTIAL: "partial", DEFERRED_UNMAPPED: "unmapped"}
CONTPTE_EVENTS = {CONTPTE_AT_SET: "set", CONTPTE_AT_LAST: "last"}
SWAP_EVENTS = {SWAP_OUT: "out", SWAP_IN: "in"}
# How a hook gets each argument: as a number, or as one of some words.
ARGUMENTS = {
    "vma_split": (int, int, bool),
    "mlock_rule": (EVENTS, int, int, bool, bool),
    "fork_child_mprotect": (int, int, bool),
    "cow_order": (int, bool),
    "dirty_neighbours": (int,),
    "cow_reuse": (int, bool, bool, int, int, bool, bool, int),
    "reuse_around": (int,),
    "mapcount_model": (int,),
    "pin_short": (int, int),
    "pin_long": (int, int),
    "pin_account": (int, int, bool, bool),
    "fork_pinned": (int,),
    "fault_order": (bool, bool, int, int),
    "fault_fallback": (int,),
    "zero_page": (bool,),
    "partial_unmap": (int, int),
    "deferred_members": (DEFERRED_EVENTS, int),
    "split_target": (int,),
    "drop_zero_pages": (),
    "madv_free_partial": (int, int),
    "partial_evict": (int, int),
    "collapse_rule": (int,) * 7,
    "collapse_vs_free": (int, int),
    "underused": (int, int, int, bool),
    "age_unit": (int, int, int),
    "contpte": (CONTPTE_EVENTS,),
    "swap_large": (SWAP_EVENTS, int, bool),
}


cdef int answer_of(str point, answer) except -1:
    """A name, or a name with a number: ``"fixed(2)"``."""
    cdef dict answers = ANSWERS[point]
    try:
        if answer in answers and ((point, answer) not in NUMBERS or (point, answer) in OPTIONAL):
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


cdef enum:
    AS_INT
    AS_BOOL
    AS_EVENT                 # a word
    MAX_ARGUMENTS = 10


cdef struct hook_t:          # what a call needs, without any owner's count
    PyObject *call
    PyObject *events         # a tuple of words
    PyObject *hook
    PyObject *last           # the last answer, and its number
    int last_code
    int nr_args
    int kinds[MAX_ARGUMENTS]
    bint *in_hook            # of the machine


@no_gc_clear                 # the slot calls it until it is gone
cdef class Hook:
    """A slot's Python callable.  Whichever goes first, it or the machine, tells the other."""

    cdef hook_t c
    cdef policy_t *policy    # NULL: the machine has gone
    cdef void *machine       # CoreMachine, which owns this
    cdef object call
    cdef tuple events
    cdef dict codes          # answer -> (answer, number), of those that were given
    cdef int point

    def __cinit__(self, int point, call):
        self.call, self.point, self.events, self.codes = call, point, (), {}
        arguments = ARGUMENTS[POINT_NAMES[point]]
        for i, kind in enumerate(arguments):
            if isinstance(kind, dict):
                self.events = tuple([kind[number] for number in range(len(kind))])
            self.c.kinds[i] = AS_INT if kind is int else AS_BOOL if kind is bool else AS_EVENT
        self.c.call, self.c.hook, self.c.events = <PyObject *>call, <PyObject *>self, <PyObject *>self.events
        self.c.nr_args = len(arguments)
        self.c.last = NULL

    def __dealloc__(self):
        if self.policy != NULL and self.policy.point[self.point].ctx == &self.c:
            policy_reset(self.policy, self.point)

    cdef int number(self, answer) except -1:
        """The number of an answer that is not the last one."""
        cdef str point = POINT_NAMES[self.point]
        if not isinstance(answer, (str, bool)):
            return answer_of(point, answer)
        known = self.codes.get(answer)
        if known is None:
            self.codes[answer] = known = (answer, answer_of(point, answer))
        self.c.last, self.c.last_code = <PyObject *>known[0], known[1]
        return self.c.last_code

    cdef int decide(self, PyObject *answer, const int64_t *arg) noexcept:
        """What an answer means; NULL: the hook raised."""
        try:
            if answer == NULL:
                raised()
            return self.number(<object>answer)
        except BaseException as error:
            (<CoreMachine>self.machine).keep_error(error)
        return linux_answer(self.point, arg)


cdef int raised() except -1:
    return -1


cdef inline PyObject *argument(const hook_t *hook, int kind, int64_t value) noexcept:
    """A new reference."""
    cdef PyObject *made
    if kind == AS_INT:
        return PyLong_FromLongLong(value)
    if kind == AS_BOOL:
        return PyBool_FromLong(value != 0)
    made = PyTuple_GET_ITEM(hook.events, value)
    Py_INCREF(made)
    return made


cdef int ask_python(void *ctx, int point, const int64_t *arg) noexcept:
    """A decide_t.  The GIL is held: the core keeps it while Python decides (`turn_t.hooks`)."""
    cdef hook_t *hook = <hook_t *>ctx
    cdef PyObject *stack[MAX_ARGUMENTS + 1]
    cdef PyObject *answer
    cdef int i, code
    if hook.in_hook[0]:
        return linux_answer(point, arg)
    for i in range(hook.nr_args):
        stack[1 + i] = argument(hook, hook.kinds[i], arg[i])
    hook.in_hook[0] = True
    answer = PyObject_Vectorcall(hook.call, stack + 1, hook.nr_args | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)
    hook.in_hook[0] = False
    for i in range(hook.nr_args):
        Py_XDECREF(stack[1 + i])
    code = hook.last_code if answer != NULL and answer == hook.last else (<Hook>hook.hook).decide(answer, arg)
    Py_XDECREF(answer)
    return code


cdef object install_hook(policy_t *policy, int point, void *machine, object answer):
    cdef Hook hook
    if not PyCapsule_CheckExact(answer):
        hook = Hook(point, answer)
        hook.machine, hook.policy = machine, policy
        hook.c.in_hook = &(<CoreMachine>machine).in_hook
        policy_put(policy, point, <decide_t><void *>ask_python, &hook.c, point)
        return hook
    if not PyCapsule_IsValid(answer, CAPSULE.encode()):
        raise ValueError(f"policy {POINT_NAMES[point]}: capsule {answer!r}, must be named {CAPSULE}")
    policy_put(policy, point, <decide_t>PyCapsule_GetPointer(answer, CAPSULE.encode()), PyCapsule_GetContext(answer), 0)
    return answer


cdef bint calls_python(const policy_t *policy) noexcept:
    cdef int point
    for point in range(NR_POINTS):
        if policy.point[point].decide == <decide_t><void *>ask_python:
            return True
    return False


cdef void remove_hooks(policy_t *policy) noexcept:
    cdef int point
    for point in range(NR_POINTS):
        if policy.point[point].decide == <decide_t><void *>ask_python:
            (<Hook>(<hook_t *>policy.point[point].ctx).hook).policy = NULL
        policy_reset(policy, point)
