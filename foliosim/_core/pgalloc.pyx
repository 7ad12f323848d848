# cython: language_level=3
"""Missing page tables are made.  Follows __pud_alloc, __pmd_alloc and __pte_alloc (mm/memory.c)."""
from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t
from foliosim._core.flags cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.page_alloc cimport table_alloc


cdef uint64_t *entry_alloc(machine_t *m, mm_t *mm, uint64_t addr, int level) noexcept nogil:
    cdef uint64_t *entry = pgd_offset(m, mm, addr)
    cdef int at = m.top_level
    cdef uint32_t table
    while at > level:
        at -= 1
        if not entry[0]:
            table = table_alloc(m)
            if table == FS_NO_PFN:
                return NULL
            store_entry(m, entry, mk_table(m, table))
            nr_tables_of(mm, at)[0] += 1
        entry = table_of(m, table_pfn(m, entry[0])) + table_index(addr, at)
    return entry


cdef int pte_table_alloc(machine_t *m, mm_t *mm, uint64_t *pmd) noexcept nogil:
    cdef uint32_t table = table_alloc(m)
    if table == FS_NO_PFN:
        return -ENOMEM
    store_entry(m, pmd, mk_table(m, table))
    mm.nr_ptes += 1
    return 0
