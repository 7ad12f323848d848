# cython: language_level=3
"""madvise (mm/madvise.c): checks, the walk over VMAs, and the advices that change VMA flags."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.types cimport *

cdef extern from *:
    """
    /* Negative result of a system call: its checks passed, but what it asks for is not simulated. */
    #define FS_ENOTSIM 4094
    """
    enum:
        FS_ENOTSIM

# madvise(2).  0, -errno as madvise does, -FS_ENOTSIM for an advice that is not simulated, or -FS_EHOSTMEM.
# Holes are skipped and give -ENOMEM at the end; VMAs before the one that failed stay advised.
cdef int do_madvise(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, int advice) noexcept nogil

# prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME): name is a number for it, 0: none.  0, or -errno as the call gives.
cdef int prctl_set_vma(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, uint32_t name) noexcept nogil
