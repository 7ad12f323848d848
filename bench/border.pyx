# cython: language_level=3, embedsignature=False
"""Empty compiled methods and bare calls: what crossing between Python and C costs in any case."""
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t, uint64_t
from foliosim._core.machine cimport CoreMachine
from foliosim._core.policy cimport ask_cow_order


cdef class Empty:
    """Methods that do nothing, with the signatures of foliosim's."""

    def address(self, uint64_t addr):
        return addr

    def touch(self, uint64_t addr, uint64_t length, bint write=False):
        return 1


def bare_calls(hook, int64_t n):
    """Call a Python function n times with what the policy point cow_order passes."""
    cdef int64_t i
    cdef int order = 9
    cdef bint pmd = True
    for i in range(n):
        hook(order, pmd)


def slot_calls(CoreMachine machine, int64_t n):
    """Ask the policy point cow_order n times, with the GIL held, as the core has it then; the sum of the answers."""
    cdef int64_t i, total = 0
    for i in range(n):
        total += ask_cow_order(&machine.m, 9, True)
    return total


cdef int compiled(void *ctx, int param, const int64_t *arg) noexcept nogil:
    return arg[0] > 9


def compiled_alternative():
    """A capsule for the point cow_order: order0 up to order 9."""
    return PyCapsule_New(<void *>compiled, "foliosim.decide_t", NULL)
