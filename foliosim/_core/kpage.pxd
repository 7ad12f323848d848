# cython: language_level=3
"""Words of /proc/kpageflags and /proc/kpagecount (fs/proc/page.c)."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.types cimport *

cdef extern from *:
    """
    #define KPF_LOCKED        (1ULL << 0)
    #define KPF_REFERENCED    (1ULL << 2)
    #define KPF_UPTODATE      (1ULL << 3)
    #define KPF_DIRTY         (1ULL << 4)
    #define KPF_LRU           (1ULL << 5)
    #define KPF_ACTIVE        (1ULL << 6)
    #define KPF_BUDDY         (1ULL << 10)
    #define KPF_MMAP          (1ULL << 11)
    #define KPF_ANON          (1ULL << 12)
    #define KPF_SWAPCACHE     (1ULL << 13)
    #define KPF_SWAPBACKED    (1ULL << 14)
    #define KPF_COMPOUND_HEAD (1ULL << 15)
    #define KPF_COMPOUND_TAIL (1ULL << 16)
    #define KPF_UNEVICTABLE   (1ULL << 18)
    #define KPF_NOPAGE        (1ULL << 20)
    #define KPF_THP           (1ULL << 22)
    #define KPF_ZERO_PAGE     (1ULL << 24)
    #define KPF_PGTABLE       (1ULL << 26)
    #define KPF_RESERVED      (1ULL << 32)
    #define KPF_MLOCKED       (1ULL << 33)
    #define KPF_OWNER_2       (1ULL << 34)
    #define KPF_COMPOUND      (KPF_COMPOUND_HEAD | KPF_COMPOUND_TAIL)
    #define KPF_RECORDED_ZERO (KPF_ZERO_PAGE | KPF_THP | KPF_COMPOUND)
    #define KPF_RECORDED      (KPF_REFERENCED | KPF_UPTODATE | KPF_DIRTY | KPF_LRU | KPF_ACTIVE | KPF_MMAP | \\
                               KPF_ANON | KPF_SWAPBACKED | KPF_COMPOUND | KPF_UNEVICTABLE | KPF_THP | \\
                               KPF_ZERO_PAGE | KPF_MLOCKED)
    """
    const uint64_t KPF_LOCKED, KPF_REFERENCED, KPF_UPTODATE, KPF_DIRTY, KPF_LRU, KPF_ACTIVE, KPF_BUDDY, KPF_MMAP
    const uint64_t KPF_ANON, KPF_SWAPCACHE, KPF_SWAPBACKED, KPF_COMPOUND_HEAD, KPF_COMPOUND_TAIL, KPF_UNEVICTABLE
    const uint64_t KPF_NOPAGE, KPF_THP
    const uint64_t KPF_ZERO_PAGE, KPF_PGTABLE, KPF_RESERVED, KPF_MLOCKED, KPF_OWNER_2, KPF_COMPOUND
    const uint64_t KPF_RECORDED, KPF_RECORDED_ZERO

# The word of any page of the folio or block whose first frame is head, without COMPOUND_HEAD and COMPOUND_TAIL.
cdef uint64_t folio_kpageflags(machine_t *m, uint32_t head) noexcept nogil
# The word of a frame; KPF_NOPAGE alone beyond the memory.
cdef uint64_t stable_page_flags(machine_t *m, uint64_t pfn) noexcept nogil
# Page-table mappings of this very page, by PTE or PMD; 0 for frames that are not in a folio.
cdef int64_t get_kpage_count(machine_t *m, uint64_t pfn) noexcept nogil

cdef inline uint64_t kpage_compound(machine_t *m, uint32_t head, uint64_t pfn, uint64_t flags) noexcept nogil:
    """Add what tells the first page of a large folio from the others."""
    if not flags & KPF_THP:
        return flags
    return flags | (KPF_COMPOUND_HEAD if pfn == head else KPF_COMPOUND_TAIL)

cdef inline uint64_t kpage_recorded(uint64_t flags) noexcept nogil:
    """The bits that recordings keep: of zero pages only what they are."""
    return flags & (KPF_RECORDED_ZERO if flags & KPF_ZERO_PAGE else KPF_RECORDED)
# The words of either file for some frames, as a numpy array.
cdef object kpage_words(machine_t *m, const uint64_t[::1] pfns, bint flags)
