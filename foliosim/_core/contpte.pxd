# cython: language_level=3
"""Contiguous PTEs: aligned blocks of FS_CONT_PTES entries that map a row of aligned frames and say so with a bit, so
that one TLB entry serves them all.  Follows arch/arm64/mm/contpte.c and include/asm/pgtable.h.

A table is aligned as its addresses are, so where an entry lies in its block is seen from its place in the table.
"""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.types cimport *
from foliosim._core.pgtable cimport *

cdef inline uint32_t cont_index(const uint64_t *pte) noexcept nogil:
    """Number of the entry in its block."""
    return <uint32_t>(<size_t>pte // sizeof(uint64_t)) & (FS_CONT_PTES - 1)

# The entry, accessed or dirty if any entry of its block is.
cdef uint64_t contpte_ptep_get(const machine_t *m, const uint64_t *pte) noexcept nogil
# set_pte_at: the block is unfolded first, and folded again if this entry is its last and completes it.
cdef void contpte_set_pte(machine_t *m, uint64_t *pte, uint64_t entry) noexcept nogil
# n entries that were not present: every whole aligned block with aligned frames is written folded.
cdef void contpte_set_ptes(machine_t *m, uint64_t *pte, uint64_t entry, uint32_t n) noexcept nogil
# Unfold the blocks that the n entries cover in part.
cdef void contpte_unfold_partial(machine_t *m, uint64_t *pte, uint32_t n) noexcept nogil
# The same, if any of the n entries is writable; False: none is.
cdef bint contpte_unfold_writable(machine_t *m, uint64_t *pte, uint32_t n) noexcept nogil
# Accessed, dirty and writable as in entry; unfolds only if write permission changes.
cdef void contpte_set_access_flags(machine_t *m, uint64_t *pte, uint64_t entry) noexcept nogil
# Let n entries begin and end where contiguous blocks do.
cdef void contpte_extend(uint64_t **pte, uint32_t *n) noexcept nogil
