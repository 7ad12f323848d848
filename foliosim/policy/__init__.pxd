# cython: language_level=3
"""What a Cython module needs to decide a policy point in compiled code: ``from foliosim.policy cimport ...``.

A decision is a function of the type `decide_t`; ``arg`` has the point's arguments, as numbers, in the order of
``foliosim policies --json``.  It returns one of the point's answers, all named in `foliosim/_core/answers.pxd`.  It is
called in the middle of an operation, and without the GIL if that is long: it may look at its arguments and at its
context, and at nothing else.
"""
from cpython.pycapsule cimport PyCapsule_New, PyCapsule_SetContext
from foliosim._core.answers cimport *


cdef inline int with_number(int answer, int number) noexcept nogil:
    """An answer that takes a number: ``with_number(COW_FIXED, 4)`` is "fixed(4)"."""
    return answer | number << 8


cdef inline object alternative(decide_t decide, void *ctx=NULL):
    """What a machine takes as an alternative, ``policy={"cow_order": alternative(decide)}``; ctx must outlive it."""
    capsule = PyCapsule_New(<void *>decide, "foliosim.decide_t", NULL)
    PyCapsule_SetContext(capsule, ctx)
    return capsule
