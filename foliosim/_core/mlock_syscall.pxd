# cython: language_level=3
"""mlock, mlock2 and munlock (mm/mlock.c, its second part); mlock_range.pyx walks the entries.

The process is root: no limit applies.
"""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# mlock(2).  0, -EINVAL, -ENOMEM (hole, max_map_count, page that cannot be had), -EAGAIN, or -FS_EHOSTMEM.
# VMAs before a hole stay locked; if populating fails, all do.
cdef int do_mlock(machine_t *m, mm_t *mm, uint64_t start, uint64_t len) noexcept nogil
# mlock2(2); flags: MLOCK_ONFAULT (1) or 0.
cdef int do_mlock2(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, uint64_t flags) noexcept nogil
cdef int do_munlock(machine_t *m, mm_t *mm, uint64_t start, uint64_t len) noexcept nogil
# mlockall(2).  0, -EINVAL, or -FS_EHOSTMEM.
cdef int do_mlockall(machine_t *m, mm_t *mm, uint64_t flags) noexcept nogil
cdef void do_munlockall(machine_t *m, mm_t *mm) noexcept nogil
