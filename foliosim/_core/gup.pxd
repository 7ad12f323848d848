# cython: language_level=3
"""References on user memory, and populating it (mm/gup.c)."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.types cimport *

# Take a reference on each of nr pages from addr on; pfns gets them (put_user_pages of gup_fast drops them).
# How many, or a negative errno if none.
cdef int64_t get_user_pages_fast(machine_t *m, mm_t *mm, uint64_t addr, int64_t nr, uint32_t flags,
                                 uint32_t *pfns) noexcept nogil
# Fault [start, start + length) in as mlock and MAP_POPULATE do.  0 or a negative errno.
cdef int64_t mm_populate(machine_t *m, mm_t *mm, uint64_t start, uint64_t length, bint ignore_errors) noexcept nogil
# MADV_POPULATE_READ, _WRITE: pages dealt with, -ENOMEM (no VMA), -EINVAL (VMA not fit), -EFAULT (signal).
cdef int64_t faultin_page_range(machine_t *m, mm_t *mm, uint64_t start, uint64_t end, bint write) noexcept nogil
