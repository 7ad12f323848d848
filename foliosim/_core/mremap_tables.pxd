# cython: language_level=3
"""Moving page tables from one place of an address space to another (mm/mremap.c move_page_tables)."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# Move what [old_addr, old_addr + len), in the VMA old, maps to new_addr, in the VMA new, where nothing is mapped.
# The bytes done: fewer than len if there is no frame for a table.
cdef uint64_t move_page_tables(machine_t *m, vma_t *old, vma_t *new, uint64_t old_addr, uint64_t new_addr,
                               uint64_t len) noexcept nogil
