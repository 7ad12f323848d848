# cython: language_level=3
"""Folding and unfolding of contiguous PTEs.  Follows arch/arm64/mm/contpte.c of 6.18."""
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.policy cimport *


cdef inline uint64_t *block_start(uint64_t *pte) noexcept nogil:
    return pte - cont_index(pte)


cdef void flush_block(machine_t *m) noexcept nogil:
    count_table_op(m, TABLE_FLUSH)


cdef uint64_t contpte_ptep_get(const machine_t *m, const uint64_t *pte) noexcept nogil:
    cdef const uint64_t *block = pte - cont_index(pte)
    cdef uint64_t entry = pte[0]
    cdef int i
    for i in range(FS_CONT_PTES):
        if pte_dirty(m, block[i]):
            entry = pte_mkdirty(m, entry)
        if pte_young(m, block[i]):
            entry = pte_mkyoung(m, entry)
    return entry


cdef void contpte_convert(machine_t *m, uint64_t *pte, uint64_t entry) noexcept nogil:
    """Write the block anew with the protection of `entry`, which is one of its entries: all that is accessed or dirty
    in any of its entries is so in all.  Break before make."""
    cdef uint64_t *block = block_start(pte)
    cdef uint64_t first = entry - cont_index(pte) * pte_advance(m)
    cdef int i
    for i in range(FS_CONT_PTES):
        if pte_dirty(m, block[i]):
            first = pte_mkdirty(m, first)
        if pte_young(m, block[i]):
            first = pte_mkyoung(m, first)
        store_entry(m, block + i, 0)
    flush_block(m)
    for i in range(FS_CONT_PTES):
        store_entry(m, block + i, first + i * pte_advance(m))


cdef inline void try_unfold(machine_t *m, uint64_t *pte) noexcept nogil:
    """Follows contpte_try_unfold."""
    if pte_valid_cont(pte[0]):
        count_table_op(m, TABLE_UNFOLD)
        contpte_convert(m, pte, pte_mknoncont(pte[0]))


cdef bint folio_covers_block(machine_t *m, uint32_t pfn) noexcept nogil:
    """Frames are aligned as the block is, so the folio holds the block if it holds its frames."""
    cdef uint32_t head = head_of(m, pfn), first = pfn & ~<uint32_t>(FS_CONT_PTES - 1)
    return head <= first and first + FS_CONT_PTES <= head + folio_nr_pages(page_of(m, head))


cdef void try_fold(machine_t *m, uint64_t *pte, uint64_t entry) noexcept nogil:
    """Follows contpte_try_fold: only the last entry of a block is worth the look."""
    cdef uint64_t *block = block_start(pte)
    cdef uint64_t expected
    cdef uint32_t pfn
    cdef int i
    if cont_index(pte) != FS_CONT_PTES - 1 or not m.contpte:
        return
    if not pte_hw_present(m, entry) or pte_special(m, entry) or pte_cont(entry):
        return
    pfn = pte_pfn(m, entry)
    if pfn & (FS_CONT_PTES - 1) != FS_CONT_PTES - 1 or not folio_covers_block(m, pfn):
        return
    expected = pte_mkold(m, pte_mkclean(m, entry)) - (FS_CONT_PTES - 1) * pte_advance(m)
    for i in range(FS_CONT_PTES):
        if pte_mkold(m, pte_mkclean(m, block[i])) != expected:
            return
        expected += pte_advance(m)
    if not ask_contpte(m, CONTPTE_AT_LAST):
        return
    count_table_op(m, TABLE_FOLD)
    contpte_convert(m, pte, pte_mkcont(entry))


cdef void contpte_set_pte(machine_t *m, uint64_t *pte, uint64_t entry) noexcept nogil:
    entry = pte_mknoncont(entry)
    try_unfold(m, pte)
    store_entry(m, pte, entry)
    try_fold(m, pte, entry)


cdef void contpte_set_ptes(machine_t *m, uint64_t *pte, uint64_t entry, uint32_t n) noexcept nogil:
    cdef uint32_t i = 0, k
    cdef bint whole
    if n == 1:
        contpte_set_pte(m, pte, entry)
        return
    entry = pte_mknoncont(entry)
    while i < n:
        k = FS_CONT_PTES - cont_index(pte + i)
        if k > n - i:
            k = n - i
        whole = k == FS_CONT_PTES and m.contpte and not pte_pfn(m, entry) & (FS_CONT_PTES - 1)
        whole = whole and ask_contpte(m, CONTPTE_AT_SET)
        if whole:
            count_table_op(m, TABLE_FOLD)
        set_block(m, pte + i, pte_mkcont(entry) if whole else entry, k)
        entry += k * pte_advance(m)
        i += k


cdef void set_block(machine_t *m, uint64_t *pte, uint64_t entry, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        store_entry(m, pte + i, entry + i * pte_advance(m))


cdef void contpte_unfold_partial(machine_t *m, uint64_t *pte, uint32_t n) noexcept nogil:
    """Follows contpte_try_unfold_partial."""
    if cont_index(pte) or n < FS_CONT_PTES:
        try_unfold(m, pte)
    if cont_index(pte + n):
        try_unfold(m, pte + n - 1)


cdef bint contpte_unfold_writable(machine_t *m, uint64_t *pte, uint32_t n) noexcept nogil:
    cdef uint32_t i = 0
    while i < n and not pte_write(m, pte[i]):
        i += 1
    if i < n:
        contpte_unfold_partial(m, pte, n)
    return i < n


cdef void set_access_flags(machine_t *m, uint64_t *pte, uint64_t entry) noexcept nogil:
    store_entry(m, pte, pte_merge_access(pte[0], entry))


cdef void contpte_set_access_flags(machine_t *m, uint64_t *pte, uint64_t entry) noexcept nogil:
    """Follows contpte_ptep_set_access_flags."""
    cdef uint64_t *block = block_start(pte)
    cdef uint64_t old
    cdef int i
    entry = pte_mknoncont(entry)
    if not pte_valid_cont(pte[0]):
        set_access_flags(m, pte, entry)
        return
    old = pte_mknoncont(contpte_ptep_get(m, pte))
    if old == entry:
        return
    if pte_write(m, old) != pte_write(m, entry):
        try_unfold(m, pte)
        set_access_flags(m, pte, entry)
        return
    for i in range(FS_CONT_PTES):
        set_access_flags(m, block + i, entry)


cdef void contpte_extend(uint64_t **pte, uint32_t *n) noexcept nogil:
    """Follows contpte_clear_young_dirty_ptes."""
    cdef uint64_t *end = pte[0] + n[0]
    if pte_cont((end - 1)[0]):
        end = block_start(end - 1) + FS_CONT_PTES
    if pte_cont(pte[0][0]):
        pte[0] = block_start(pte[0])
    n[0] = <uint32_t>(end - pte[0])
