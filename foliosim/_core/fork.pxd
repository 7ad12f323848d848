# cython: language_level=3
"""Copying page tables at fork (mm/memory.c copy_page_range)."""
from foliosim._core.types cimport *

# Copy the mappings of src to the VMA dst of the child.  0, -ENOMEM, or -FS_EHOSTMEM.
cdef int copy_page_range(machine_t *m, vma_t *dst, vma_t *src) noexcept nogil
