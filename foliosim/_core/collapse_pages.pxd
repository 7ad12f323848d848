# cython: language_level=3
"""The pages that a collapse of anonymous memory moves."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.types cimport *
from foliosim._core.pgtable cimport *

cdef struct scan_t:              # what the entries of a block hold (P18)
    uint32_t orders              # sizes that may be made
    int rule                     # collapse_rule_e
    bint khugepaged              # the daemon looks, not madvise: its limits count
    int none, zero_filled        # empty entries or zero page; pages of zeros, if the policy wants to know
    int unmapped                 # swapped out
    int shared, referenced

cdef inline bint pte_none_or_zero(const machine_t *m, uint64_t pte) noexcept nogil:
    return pte_none(m, pte) or (pte_present(m, pte) and pte_special(m, pte))

# May the pages behind nr entries be moved?  scan_result_e; `scan` is what the entries hold.
cdef int scan_ptes(machine_t *m, const uint64_t *pte, uint32_t nr, scan_t *scan) noexcept nogil
# What the pages hold goes to the new folio.  0 or -FS_EHOSTMEM.
cdef int copy_contents(machine_t *m, uint32_t head, const uint64_t *pte, uint32_t nr) noexcept nogil
# The entries are cleared, the old folios lose their mappings; empty ones count as resident from now on.
cdef void take_sources(machine_t *m, vma_t *vma, uint64_t *pte, uint32_t nr) noexcept nogil
