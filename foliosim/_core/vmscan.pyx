# cython: language_level=3
"""Reclaim of chosen folios.  Follows reclaim_pages and shrink_folio_list in mm/vmscan.c, references ignored.

Without swap nothing of anonymous memory can be written out: large folios are split in the attempt, and what was tried
becomes active.  Lazily freed folios and clean folios of the page cache are dropped.
"""
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.stat cimport *
from foliosim._core.ext4 cimport ext4_evict_folio
from foliosim._core.mapping cimport filemap_remove_folio, shmem_mapping
from foliosim._core.split_folio cimport folio_expected_ref_count, split_folio_held
from foliosim._core.swap cimport folio_add_lru, folio_evictable, folio_put, folio_put_refs, lruvec_del_folio
from foliosim._core.try_to_unmap cimport try_to_unmap

cdef enum outcome_e:
    KEEP                     # back to the inactive list
    ACTIVATE                 # back to the active list
    FREED


# ---- lists ----

cdef void folio_list_init(folio_list_t *folios) noexcept nogil:
    folios.first = folios.last = FS_NO_PFN


cdef void folio_list_append(machine_t *m, folio_list_t *folios, uint32_t head) noexcept nogil:
    page_of(m, head).next = FS_NO_PFN
    if folios.first == FS_NO_PFN:
        folios.first = head
    else:
        page_of(m, folios.last).next = head
    folios.last = head


cdef void list_push(machine_t *m, folio_list_t *folios, uint32_t head) noexcept nogil:
    """In front: it is the next to be looked at."""
    page_of(m, head).next = folios.first
    if folios.first == FS_NO_PFN:
        folios.last = head
    folios.first = head


cdef uint32_t list_pop(machine_t *m, folio_list_t *folios) noexcept nogil:
    cdef uint32_t head = folios.first
    folios.first = page_of(m, head).next
    return head


cdef bint folio_isolate_lru(machine_t *m, uint32_t head) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    if not folio.flags & PG_lru:
        return False
    folio.refcount += 1
    lruvec_del_folio(m, head, folio)
    folio.flags &= ~PG_lru
    return True


cdef void folio_putback_lru(machine_t *m, uint32_t head) noexcept nogil:
    folio_add_lru(m, head)
    folio_put(m, head)


# ---- one folio ----

cdef int fail_swap_out(machine_t *m, uint32_t head, page_t *folio, folio_list_t *folios) noexcept nogil:
    """No swap entry for a folio that needs one; a large folio is split to try its pages one by one."""
    cdef uint32_t nr = folio_nr_pages(folio), piece
    if folio_maybe_dma_pinned(folio):
        return KEEP
    if nr > 1 and folio_expected_ref_count(folio) == folio.refcount - 1:
        if split_folio_held(m, head, head) == 0:
            piece = head + folio_nr_pages(folio)
            while piece < head + nr:
                list_push(m, folios, piece)
                piece += folio_nr_pages(page_of(m, piece))
    return ACTIVATE


cdef bint remove_mapping(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    """Follows __remove_mapping: a clean folio that nobody else holds leaves the page cache."""
    cdef mapping_t *mapping = <mapping_t *>m.mappings[folio_mapping_id(folio)]
    if folio.refcount != 1 + <int32_t>folio_nr_pages(folio):
        return False
    if not shmem_mapping(mapping):
        ext4_evict_folio(m, mapping, head)
    filemap_remove_folio(m, mapping, head)
    return True


cdef int drop_unmapped(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    """A folio that is not mapped any more: free it, or say why not."""
    cdef int32_t nr = folio_nr_pages(folio)
    if folio.flags & PG_anon:
        if folio.refcount != 1:
            return KEEP
        count_vm_events(m, PGLAZYFREED, nr)
        return FREED
    if not folio_mapping_id(folio):
        return KEEP
    if folio.flags & PG_dirty:
        if not folio.flags & PG_swapbacked:
            folio.flags |= PG_readahead     # PG_reclaim, the same bit
        return KEEP if folio.flags & PG_swapbacked and folio.refcount != 1 + nr else ACTIVATE
    return FREED if remove_mapping(m, head, folio) else KEEP


cdef int shrink_folio(machine_t *m, uint32_t head, folio_list_t *folios) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    if not folio_evictable(folio):
        return ACTIVATE
    if folio.flags & PG_anon and folio.flags & PG_swapbacked:
        return fail_swap_out(m, head, folio, folios)
    if folio_mapped(folio) and not try_to_unmap(m, head, False):
        return ACTIVATE
    if folio_maybe_dma_pinned(folio):
        return ACTIVATE
    return drop_unmapped(m, head, folio)


# ---- the list ----

cdef void reclaim_pages(machine_t *m, folio_list_t *folios) noexcept nogil:
    cdef folio_list_t kept
    cdef uint32_t head
    cdef page_t *folio
    cdef int outcome
    folio_list_init(&kept)
    head = folios.first
    while head != FS_NO_PFN:
        page_of(m, head).flags &= ~PG_active
        head = page_of(m, head).next
    while folios.first != FS_NO_PFN:
        head = list_pop(m, folios)
        folio = page_of(m, head)
        outcome = shrink_folio(m, head, folios)
        if outcome == FREED:
            folio_put(m, head)
            continue
        if outcome == ACTIVATE and not folio.flags & PG_mlocked:
            folio.flags |= PG_active
            count_vm_events(m, PGACTIVATE, folio_nr_pages(folio))
        folio_list_append(m, &kept, head)
    while kept.first != FS_NO_PFN:
        folio_putback_lru(m, list_pop(m, &kept))
