# cython: language_level=3
"""What the ledger counts where counting needs a rule: copies, and how splits of folios end."""
from libc.stdint cimport uint32_t
from foliosim._core.types cimport *

# nr pages from pfn on, of one folio, are copied because of a fault in the VMA with FAULT_FLAG_* flags.
cdef void count_copy(machine_t *m, const vma_t *vma, uint32_t pfn, uint32_t nr, uint32_t flags) noexcept nogil
# One page is copied by fork.
cdef void count_fork_copy(machine_t *m) noexcept nogil
# An attempt to split a folio for a split_e reason ended with 0 or a negative errno; folio: as it was before.
cdef void count_split_attempt(machine_t *m, page_t *folio, int reason, int result) noexcept nogil
