# cython: language_level=3
"""Page tables that are made where they are missing (include/asm-generic/pgalloc.h)."""
from libc.stdint cimport uint64_t
from foliosim._core.pgtable cimport pmd_offset
from foliosim._core.types cimport *

# The entry of a level above the PTEs, upper tables made; NULL: no frame for a table.
cdef uint64_t *entry_alloc(machine_t *m, mm_t *mm, uint64_t addr, int level) noexcept nogil
# Make the PTE table of a PMD entry.  0, or -ENOMEM.
cdef int pte_table_alloc(machine_t *m, mm_t *mm, uint64_t *pmd) noexcept nogil

cdef inline uint64_t *pud_alloc(machine_t *m, mm_t *mm, uint64_t addr) noexcept nogil:
    """The PUD entry of an address; NULL: no frame for a table."""
    return entry_alloc(m, mm, addr, 2)

cdef inline uint64_t *pmd_alloc(machine_t *m, mm_t *mm, uint64_t addr) noexcept nogil:
    """The PMD entry of an address; NULL: no frame for a table."""
    cdef uint64_t *pmd = pmd_offset(m, mm, addr)
    return pmd if pmd != NULL else entry_alloc(m, mm, addr, 1)

cdef inline int pte_alloc(machine_t *m, mm_t *mm, uint64_t *pmd) noexcept nogil:
    """Make the PTE table of an empty PMD entry.  0, or -ENOMEM."""
    return 0 if pmd[0] else pte_table_alloc(m, mm, pmd)
