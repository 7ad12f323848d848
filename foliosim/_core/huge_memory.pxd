# cython: language_level=3
"""PMD mappings of huge folios: eligibility, faults, splitting the PMD (mm/huge_memory.c)."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.types cimport *

cdef enum tva_type_e:        # who asks which orders a VMA may use
    TVA_SMAPS                # THPeligible
    TVA_PAGEFAULT
    TVA_FORCED_COLLAPSE      # MADV_COLLAPSE
    TVA_KHUGEPAGED

# Orders that the VMA may use for a tva_type_e: a mask, of `orders`.
cdef uint32_t thp_vma_allowable_orders(machine_t *m, const vma_t *vma, int type, uint32_t orders) noexcept nogil
# May memory that is mapped by frame number have huge leaves?
cdef bint special_huge_allowed(const machine_t *m, const vma_t *vma) noexcept nogil
# Does the aligned block of 2^order pages around addr lie in the VMA (and, for a file, fit its offset)?
cdef bint thp_vma_suitable_order(const vma_t *vma, uint64_t addr, int order) noexcept nogil
cdef enum:
    VM_FAULT_NO_HUGE = 0x10000      # ours: along with VM_FAULT_FALLBACK, there was no memory for a huge folio

# VM_FAULT_*, VM_FAULT_FALLBACK: go on at PTE level.
cdef int do_huge_pmd_anonymous_page(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr,
                                    uint32_t flags) noexcept nogil
# A copy of the folio that a PMD leaf maps takes its place, writable and dirty; False: no memory for it.
cdef bint copy_huge_pmd_leaf(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t haddr, uint32_t flags) noexcept nogil
cdef int do_huge_pmd_wp_page(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint32_t flags) noexcept nogil
# Replace a PMD leaf by a table of PTEs (file memory: by nothing).  Cannot fail: the table was deposited.
cdef void split_huge_pmd(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr) noexcept nogil
# The same for a leaf of an anonymous folio that is being split: mapping and reference are dropped, entries stay.
cdef void split_huge_pmd_frozen(machine_t *m, vma_t *vma, uint64_t *pmd) noexcept nogil
cdef void split_huge_pmd_address(machine_t *m, vma_t *vma, uint64_t addr) noexcept nogil
# The edges of VMAs are about to move to start and end (and next's start to end): split PMDs that they cut.
cdef void vma_adjust_trans_huge(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, vma_t *next) noexcept nogil
cdef void zap_huge_pmd(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr) noexcept nogil
# The entry, writable if the VMA is.
cdef uint64_t maybe_mkwrite(machine_t *m, const vma_t *vma, uint64_t entry) noexcept nogil
# PTE tables deposited for PMD leaves hang off the PMD table that holds the entry.
cdef void pgtable_deposit(machine_t *m, uint64_t *pmd, uint32_t table) noexcept nogil
cdef uint32_t pgtable_withdraw(machine_t *m, uint64_t *pmd) noexcept nogil
# Deposit up to n new tables; how many.
cdef uint32_t pgtables_deposit(machine_t *m, uint64_t *pmd, uint32_t n) noexcept nogil
# Withdraw n tables and free them.
cdef void pgtables_free(machine_t *m, uint64_t *pmd, uint32_t n) noexcept nogil
