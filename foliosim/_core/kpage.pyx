# cython: language_level=3
"""What /proc/kpageflags and /proc/kpagecount say about a frame.  Follows fs/proc/page.c.

Fidelity: identical for folios, zero pages, page tables and free memory; file systems' private bits are never shown.
"""
import numpy as np
from foliosim._core.flags cimport *
from foliosim._core.mapcount cimport shown_mapcount
from foliosim._core.page cimport *
from foliosim._core.page_alloc cimport is_free_buddy_page


cdef inline uint64_t copy_bit(uint32_t flags, uint32_t page_bit, uint64_t kpf_bit) noexcept nogil:
    return kpf_bit if flags & page_bit else 0


cdef uint64_t folio_state_bits(const page_t *folio) noexcept nogil:
    """Bits that are the same for every page of a folio."""
    cdef uint32_t flags = folio.flags
    return (copy_bit(flags, PG_locked, KPF_LOCKED) | copy_bit(flags, PG_referenced, KPF_REFERENCED)
            | copy_bit(flags, PG_uptodate, KPF_UPTODATE) | copy_bit(flags, PG_dirty, KPF_DIRTY)
            | copy_bit(flags, PG_lru, KPF_LRU) | copy_bit(flags, PG_active, KPF_ACTIVE)
            | copy_bit(flags, PG_anon, KPF_ANON) | copy_bit(flags, PG_swapbacked, KPF_SWAPBACKED)
            | copy_bit(flags, PG_unevictable, KPF_UNEVICTABLE) | copy_bit(flags, PG_mlocked, KPF_MLOCKED)
            | copy_bit(flags, PG_anon_exclusive, KPF_OWNER_2) | copy_bit(flags, PG_ORDER_MASK, KPF_THP)
            | (KPF_SWAPCACHE if folio_test_swapcache(folio) else 0))


cdef uint64_t folio_kpageflags(machine_t *m, uint32_t head) noexcept nogil:
    """Follows stable_page_flags; every page answers from its folio."""
    cdef page_t *folio = page_of(m, head)
    cdef uint32_t kind = page_kind(folio)
    if kind == PG_KIND_ZERO:
        return KPF_ZERO_PAGE | (KPF_THP if folio_test_large(folio) else KPF_RESERVED)
    if kind == PG_KIND_HEAD and folio.refcount > 0:
        return folio_state_bits(folio) | (KPF_MMAP if folio_mapped(folio) else 0)
    if kind == PG_KIND_TABLE and folio.refcount > 0:
        return KPF_PGTABLE
    return KPF_BUDDY if kind == PG_KIND_BUDDY else 0


cdef inline bint old_tail(machine_t *m, uint32_t pfn) noexcept nogil:
    """Is the frame free, and its record still that of a folio that was there?"""
    return page_kind(page_of(m, pfn)) == PG_KIND_TAIL and folio_at(m, pfn) == FS_NO_PFN


cdef uint64_t stable_page_flags(machine_t *m, uint64_t pfn) noexcept nogil:
    cdef uint32_t head
    if pfn >= m.nr_pages:
        return KPF_NOPAGE
    if pfn >= m.fresh_pfn:
        return KPF_BUDDY
    head = head_of(m, <uint32_t>pfn)
    if old_tail(m, <uint32_t>pfn):
        return KPF_BUDDY if is_free_buddy_page(m, <uint32_t>pfn) else 0
    return kpage_compound(m, head, pfn, folio_kpageflags(m, head))


cdef int64_t get_kpage_count(machine_t *m, uint64_t pfn) noexcept nogil:
    """Follows get_kpage_count, CONFIG_PAGE_MAPCOUNT."""
    cdef page_t *folio
    cdef int32_t exact
    if pfn >= m.fresh_pfn or folio_of(m, <uint32_t>pfn).refcount <= 0 or old_tail(m, <uint32_t>pfn):
        return 0
    folio = folio_of(m, <uint32_t>pfn)
    exact = page_precise_mapcount(m, <uint32_t>pfn)
    return shown_mapcount(m, folio, exact) if page_kind(folio) == PG_KIND_HEAD else exact


cdef object kpage_words(machine_t *m, const uint64_t[::1] pfns, bint flags):
    out = np.empty(pfns.shape[0], dtype=np.uint64)
    cdef uint64_t[::1] to = out
    cdef int64_t i
    for i in range(pfns.shape[0]):
        to[i] = stable_page_flags(m, pfns[i]) if flags else <uint64_t>get_kpage_count(m, pfns[i])
    return out
