# cython: language_level=3
"""What Linux 6.18 answers at the policy points.  Where one answer is always given it is number 0."""
from foliosim._core.answers cimport *
from foliosim._core.flags cimport *
from foliosim._core.types cimport *


cdef inline int linux_mlock_rule(const int64_t *arg) noexcept nogil:
    """P02: event, order, nr_mapped, pmd, within.  Follows mlock_pte_range, __folio_add_rmap, munlock_vma_folio."""
    if arg[0] == MLOCK_AT_SYSCALL or arg[0] == MLOCK_AT_RMAP_ADD:
        return MLOCK_YES if arg[3] or (arg[4] and arg[2] == 1 << arg[1]) else MLOCK_NO
    return MLOCK_YES


cdef inline int linux_cow_reuse(const int64_t *arg) noexcept nogil:
    """P07: reuse_t.  Follows wp_can_reuse_anon_folio and __wp_can_reuse_large_anon_folio, and for PMDs
    do_huge_pmd_wp_page, since 6.15: all references of a large folio are mappings of this process, and there is more
    than one."""
    cdef const reuse_t *known = <const reuse_t *>arg
    if known.exclusive:
        return COW_REUSE
    if known.order == 0 or known.pmd:
        return COW_REUSE if known.refcount == 1 else COW_COPY
    if known.mapcount <= 1 or known.shared:
        return COW_COPY
    return COW_REUSE if known.refcount == known.mapcount else COW_COPY


cdef inline int linux_pin_account(const int64_t *arg) noexcept nogil:
    """P12: order, nr_pages, again, known.  Follows io_buffer_account_pin and headpage_already_acct."""
    if arg[0] == 0:
        return PIN_ACCOUNT_PAGES
    return PIN_ACCOUNT_NOTHING if arg[3] else PIN_ACCOUNT_FOLIO


cdef inline int linux_deferred_members(const int64_t *arg) noexcept nogil:
    """P22: event, order.  Follows map_anon_folio_pmd and __folio_remove_rmap since 6.12: new huge folios too, for the
    underused shrinker."""
    if arg[0] == DEFERRED_NEW:
        return DEFERRED_YES if arg[1] == FS_HPAGE_PMD_ORDER else DEFERRED_NO
    return DEFERRED_YES if arg[0] == DEFERRED_PARTIAL else DEFERRED_NO


cdef inline int collapse_within(int64_t none, const int64_t *arg) noexcept nogil:
    """P18: none, zero_filled, swap, shared, max_none, max_swap, max_shared.  Follows hpage_collapse_scan_pmd; none: the
    entries that count as empty."""
    if none > arg[4]:
        return COLLAPSE_EXCEED_NONE
    if arg[2] > arg[5]:
        return COLLAPSE_EXCEED_SWAP
    return COLLAPSE_EXCEED_SHARED if arg[3] > arg[6] else COLLAPSE_YES


cdef inline int linux_underused(const int64_t *arg) noexcept nogil:
    """P23: nr_zero, max_ptes_none, nr_accessed, one_half.  Follows thp_underused: never, if khugepaged may fill a block
    of which one page is used."""
    return UNDERUSED_SPLIT if arg[0] > arg[1] and arg[1] != FS_HPAGE_PMD_NR - 1 else UNDERUSED_NO


cdef inline int linux_age_unit(const int64_t *arg) noexcept nogil:
    """P27: order, nr_young, nr_mapped.  Follows folio_referenced: one accessed entry speaks for the folio."""
    return AGE_YOUNG if arg[1] else AGE_OLD


cdef inline int linux_swap_large(const int64_t *arg) noexcept nogil:
    """P29: event, order, enabled.  Out as it is (folio_alloc_swap), in by the sizes that faults may use
    (alloc_swap_folio)."""
    return SWAP_WHOLE if arg[0] == SWAP_OUT or arg[2] else SWAP_ORDER0


cdef inline int linux_answer(int point, const int64_t *arg) noexcept nogil:
    """The rule of a point.  Where the point is known at compile time this is the rule's code, and nothing else."""
    if point == POINT_MLOCK_RULE:
        return linux_mlock_rule(arg)
    if point == POINT_COW_REUSE:
        return linux_cow_reuse(arg)
    if point == POINT_PIN_ACCOUNT:
        return linux_pin_account(arg)
    if point == POINT_DEFERRED_MEMBERS:
        return linux_deferred_members(arg)
    if point == POINT_COLLAPSE_RULE:
        return collapse_within(arg[0], arg)
    if point == POINT_UNDERUSED:
        return linux_underused(arg)
    if point == POINT_AGE_UNIT:
        return linux_age_unit(arg)
    if point == POINT_CONTPTE:
        return CONTPTE_FOLD          # contpte_set_ptes and contpte_try_fold
    if point == POINT_SWAP_LARGE:
        return linux_swap_large(arg)
    return 0
