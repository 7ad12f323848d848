# cython: language_level=3
"""Reading and changing PTEs that are in use.  Names and meaning are the kernel's (include/linux/pgtable.h).

Where the architecture has contiguous PTEs these functions fold entries into blocks and take blocks apart
(contpte.pyx); callers see single entries.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.contpte cimport *
from foliosim._core.pgtable cimport *

cdef inline uint64_t ptep_get(const machine_t *m, const uint64_t *pte) noexcept nogil:
    """The entry; of a contiguous block accessed, or dirty, if any entry of it is."""
    if FS_CONT_PTES > 1 and pte_valid_cont(pte[0]):
        return contpte_ptep_get(m, pte)
    return pte[0]

cdef inline uint32_t pte_batch_hint(const uint64_t *pte, uint64_t entry) noexcept nogil:
    """Entries from here on that surely belong together."""
    if FS_CONT_PTES > 1 and pte_valid_cont(entry):
        return FS_CONT_PTES - cont_index(pte)
    return 1

cdef inline void set_pte(machine_t *m, uint64_t *pte, uint64_t entry) noexcept nogil:
    """set_pte_at."""
    if FS_CONT_PTES > 1:
        contpte_set_pte(m, pte, entry)
    else:
        store_entry(m, pte, entry)

cdef inline void set_ptes(machine_t *m, uint64_t *pte, uint64_t entry, uint32_t n) noexcept nogil:
    """Write n entries that map frames in a row, the first one being entry.  If n > 1 they are not present yet."""
    cdef uint64_t step
    cdef int64_t i
    if FS_CONT_PTES > 1:
        contpte_set_ptes(m, pte, entry, n)
        return
    step = pte_step(m, entry)
    for i in range(n):
        store_entry(m, pte + i, entry + <uint64_t>i * step)

cdef inline void clear_ptes(machine_t *m, uint64_t *pte, uint32_t n) noexcept nogil:
    """clear_full_ptes."""
    cdef int64_t i
    if FS_CONT_PTES > 1:
        contpte_unfold_partial(m, pte, n)
    for i in range(n):
        store_entry(m, pte + i, 0)

cdef inline uint64_t get_and_clear_ptes(machine_t *m, uint64_t *pte, uint32_t n) noexcept nogil:
    """The first of n entries, accessed, or dirty, if any of them is."""
    cdef uint64_t entry
    cdef int64_t i
    if FS_CONT_PTES > 1:
        contpte_unfold_partial(m, pte, n)
    entry = pte_merge_batch(m, pte, n)
    for i in range(n):
        store_entry(m, pte + i, 0)
    return entry

cdef inline void ptep_set_access_flags(machine_t *m, uint64_t *pte, uint64_t entry) noexcept nogil:
    """The entry gets accessed, dirty and writable as in `entry`, which differs from it in nothing else."""
    if FS_CONT_PTES > 1:
        contpte_set_access_flags(m, pte, entry)
    else:
        store_entry(m, pte, entry)

cdef inline void wrprotect_ptes(machine_t *m, uint64_t *pte, uint32_t n) noexcept nogil:
    cdef int64_t i
    if FS_CONT_PTES > 1 and not contpte_unfold_writable(m, pte, n):
        return
    for i in range(n):
        store_entry(m, pte + i, pte_wrprotect(m, pte[i]))

cdef inline void unfold_ptes(machine_t *m, uint64_t *pte, uint32_t n) noexcept nogil:
    """From here on nothing done to the n entries touches others."""
    if FS_CONT_PTES > 1:
        contpte_unfold_partial(m, pte, n)

cdef inline uint64_t pmd_clear_flush(machine_t *m, uint64_t *pmd) noexcept nogil:
    """pmdp_huge_clear_flush, and pmdp_invalidate before another entry takes the leaf's place."""
    cdef uint64_t old = pmd[0]
    store_entry(m, pmd, 0)
    count_table_op(m, TABLE_FLUSH)
    return old

cdef inline void clear_young_dirty_ptes(machine_t *m, uint64_t *pte, uint32_t n, bint dirty) noexcept nogil:
    """Make n entries old; clean too with dirty.  Contiguous blocks at both ends are extended over."""
    cdef int64_t i
    if FS_CONT_PTES > 1:
        contpte_extend(&pte, &n)
    for i in range(n):
        if FS_CONT_PTES == 1 or pte_present(m, pte[i]):
            store_entry(m, pte + i, pte_mkclean(m, pte_mkold(m, pte[i])) if dirty else pte_mkold(m, pte[i]))

cdef inline void ptep_clear_young(machine_t *m, uint64_t *pte) noexcept nogil:
    """ptep_test_and_clear_young: of a contiguous block all entries become old."""
    cdef int64_t i, n = 1
    if FS_CONT_PTES > 1 and pte_valid_cont(pte[0]):
        pte -= cont_index(pte)
        n = FS_CONT_PTES
    for i in range(n):
        store_entry(m, pte + i, pte_mkold(m, pte[i]))
