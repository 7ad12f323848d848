# cython: language_level=3
"""Guard regions: page-table markers that make every access fail (mm/madvise.c: MADV_GUARD_INSTALL, _REMOVE)."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# Put a marker at each page of [start, end); what was mapped there goes.  0, -ENOMEM, or -FS_EHOSTMEM.
cdef int madvise_guard_install(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil
# Take the markers of [start, end) away; pages stay.  Always 0.
cdef int madvise_guard_remove(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil
