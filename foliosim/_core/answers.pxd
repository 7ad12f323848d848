# cython: language_level=3
"""What a policy point is asked with, and what may be answered.  Public through foliosim.policy: no other imports."""
from libc.stdint cimport int64_t

# A decision.  arg: the point's arguments in the order that foliosim/policy/points.py has them; param: the number of an
# alternative such as "fixed(2)".  Gives one of the point's answers, a number for it times 256 added.
ctypedef int (*decide_t)(void *ctx, int param, const int64_t *arg) noexcept nogil

# ---- answers: the first is what Linux 6.18 does, where that is one answer always ----

cdef enum vma_split_e:       # P01
    VMA_SPLIT_KEEP
    VMA_SPLIT_TRY
    VMA_SPLIT_TRY_DEFER
    VMA_SPLIT_DEFER_ALWAYS
    VMA_SPLIT_DEFER_RECHECK  # queue it; the shrinker drops it if it is mapped whole in one VMA by then
    VMA_SPLIT_NONUNIFORM
    VMA_SPLIT_COPY_OUT       # try; if that fails, the changed part gets a copy of its own
    VMA_SPLIT_RETRY          # try up to param more times, then leave it
    VMA_SPLIT_FAIL           # try; if that fails, so does the system call
    NR_VMA_SPLIT

cdef enum mlock_e:           # P02
    MLOCK_NO
    MLOCK_YES
    MLOCK_SPLIT              # split the folio, then ask again for the pieces
    MLOCK_COPY_OUT           # copy the locked part to folios of its own, then ask again
    NR_MLOCK

cdef enum mlock_event_e:     # when P02 is asked
    MLOCK_AT_SYSCALL         # mlock() meets an existing mapping
    MLOCK_AT_RMAP_ADD        # a mapping of a folio is made in a VM_LOCKED VMA
    MLOCK_AT_RMAP_REMOVE     # a mapping of a folio goes away in a VM_LOCKED VMA: unlock it?
    MLOCK_AT_MUNLOCK         # munlock() meets an existing mapping: unlock it?
    MLOCK_AT_RECLAIM         # reclaim meets a folio that a VM_LOCKED VMA maps whole

cdef enum fork_child_mprotect_e:    # P05
    FORK_MPROTECT_KEEP       # only the caller's PMD is split
    FORK_MPROTECT_SPLIT      # the folio is split for everybody
    FORK_MPROTECT_COW_WHOLE  # the caller gets a copy of the folio
    FORK_MPROTECT_COW_PART   # the caller gets a copy of the part that is protected
    NR_FORK_MPROTECT

cdef enum cow_order_e:       # P06
    COW_ORDER0
    COW_INHERIT
    COW_FIXED                # an aligned window of 2^param pages
    COW_WHOLE_HUGE           # a huge folio whole, others page by page
    NR_COW_ORDER

cdef enum dirty_neighbours_e:       # P06: how pages are mapped that were copied along with the one written
    NEIGHBOURS_DIRTY
    NEIGHBOURS_CLEAN         # read-only and exclusive
    NR_DIRTY_NEIGHBOURS

cdef enum cow_reuse_e:       # P07
    COW_COPY
    COW_REUSE
    NR_COW_REUSE

cdef enum reuse_around_e:    # P07: how many pages become writable when one is kept
    REUSE_ONE
    REUSE_WINDOW             # those of an aligned window of 2^param that could be kept too
    NR_REUSE_AROUND

cdef enum mapcount_model_e:  # P08
    MAPCOUNT_PER_PAGE
    MAPCOUNT_LARGE_ONLY
    MAPCOUNT_PER_VMA_TABLE
    NR_MAPCOUNT_MODEL

cdef enum pin_e:             # P10, P11
    PIN_NO_SPLIT
    PIN_SPLIT_TRY            # split; if that fails, pin it whole
    PIN_SPLIT                # split; if that fails, so does the pin
    PIN_MOVE_OUT             # copy the range to folios of its own first
    PIN_PER_PAGE             # count the pins page by page: the folio can still be split
    NR_PIN

cdef enum pin_account_e:     # P12: what a registered buffer is charged for pages of one folio
    PIN_ACCOUNT_NOTHING
    PIN_ACCOUNT_PAGES        # these pages
    PIN_ACCOUNT_FOLIO        # the whole folio, until this buffer goes
    PIN_ACCOUNT_SHARED       # the whole folio, once for all buffers of the ring, until the last of them goes
    NR_PIN_ACCOUNT

cdef enum fork_pinned_e:     # P13
    FORK_PINNED_FOLIO        # every exclusive page of a folio with a pin is copied
    FORK_PINNED_PAGE         # only the pages that are pinned
    FORK_PINNED_DONTFORK     # asked when a long-term pin is taken: the range is not for children; at fork: as FOLIO
    NR_FORK_PINNED

cdef enum fault_order_e:     # P14: which sizes a fault may allocate
    FAULT_ORDER_SYSFS        # those that sysfs and madvise allow
    FAULT_ORDER_NEVER        # single pages
    FAULT_ORDER_PMD          # the huge size
    FAULT_ORDER_UP_TO        # every size up to 2^param
    NR_FAULT_ORDER

cdef enum fault_fallback_e:  # P15
    FALLBACK_NEXT_LOWER
    FALLBACK_COSTLY          # PAGE_ALLOC_COSTLY_ORDER, then single pages
    FALLBACK_SMALL
    NR_FAULT_FALLBACK

cdef enum zero_page_e:       # P17: huge zero page at a read; a huge folio at a write to it
    ZERO_HUGE
    ZERO_SMALL
    NR_ZERO_PAGE

cdef enum partial_unmap_e:   # P21
    PARTIAL_UNMAP_DEFER
    PARTIAL_UNMAP_SPLIT_NOW
    PARTIAL_UNMAP_FREE_PART  # pages that nothing maps are freed; the rest stays as large as it can
    NR_PARTIAL_UNMAP

cdef enum deferred_members_e:       # P22
    DEFERRED_NO
    DEFERRED_YES
    NR_DEFERRED_MEMBERS

cdef enum deferred_event_e:  # when P22 is asked
    DEFERRED_NEW             # a fault or a collapse made the folio
    DEFERRED_PARTIAL         # some of its pages are no longer mapped
    DEFERRED_UNMAPPED        # the last of them went away one by one

cdef enum split_target_e:    # P24
    SPLIT_ORDER0
    SPLIT_LOWER              # folios of 2^param
    SPLIT_NONUNIFORM         # ever smaller halves around the page that is wanted
    NR_SPLIT_TARGET

cdef enum drop_zero_pages_e:        # P24: single pages full of zeros after a split
    ZERO_PAGES_DROP
    ZERO_PAGES_KEEP
    NR_DROP_ZERO_PAGES

cdef enum madv_free_partial_e:      # P25
    MADV_FREE_SPLIT          # split and go on; where that fails, leave the folio and go on
    MADV_FREE_GIVE_UP        # split even what is covered whole; where that fails, leave the rest of the table
    MADV_FREE_MARK_WHOLE     # mark the folio lazily freed, the other pages dirty
    NR_MADV_FREE_PARTIAL

cdef enum partial_evict_e:   # P03
    PARTIAL_EVICT_UNMAP
    PARTIAL_EVICT_SPLIT
    PARTIAL_EVICT_SKIP
    PARTIAL_EVICT_WAIT       # it becomes unevictable, until somebody unlocks
    NR_PARTIAL_EVICT

cdef enum collapse_rule_e:   # P18
    COLLAPSE_YES
    COLLAPSE_EXCEED_NONE     # too many empty entries, or too many swapped out, or shared
    COLLAPSE_EXCEED_SWAP
    COLLAPSE_EXCEED_SHARED
    COLLAPSE_QUADRUPLE       # not the block: neighbouring folios of which most are active
    COLLAPSE_BEST_FIT        # the block, or in it whatever enabled size fits; limit of empty entries: 0, or all but one
    COLLAPSE_BEST_FIT_CAPPED # the same; below half, and in proportion to the size
    COLLAPSE_BEST_FIT_SCALED # the same; in proportion to the size
    NR_COLLAPSE_RULE

cdef enum collapse_vs_free_e:   # P19
    COLLAPSE_FREED
    COLLAPSE_FREED_NOT
    NR_COLLAPSE_VS_FREE

cdef enum underused_e:       # P23
    UNDERUSED_NO             # forget it
    UNDERUSED_SPLIT
    UNDERUSED_KEEP           # it stays on the queue, to be looked at again
    NR_UNDERUSED

cdef enum age_unit_e:        # P27
    AGE_OLD
    AGE_YOUNG
    AGE_SPLIT                # split it: its pages differ
    NR_AGE_UNIT

cdef enum contpte_e:         # P28
    CONTPTE_PAGES
    CONTPTE_FOLD
    NR_CONTPTE

cdef enum contpte_event_e:   # when P28 is asked: a block could be made contiguous
    CONTPTE_AT_SET           # all its entries are being written at once
    CONTPTE_AT_LAST          # its last entry was written, and the others fit

cdef enum swap_large_e:      # P29
    SWAP_WHOLE
    SWAP_ORDER0
    NR_SWAP_LARGE

cdef enum swap_event_e:      # when P29 is asked
    SWAP_OUT
    SWAP_IN

# ---- what a point is asked with, where it is much ----

cdef struct reuse_t:         # P07: what is known of the page that is written to, in the order of the arguments
    int64_t order
    int64_t pmd              # mapped by a PMD
    int64_t exclusive        # PG_anon_exclusive
    int64_t refcount         # of the folio, as are the next
    int64_t mapcount
    int64_t shared           # maybe mapped by another process: what the two owner slots say
    int64_t stopped          # a third process once mapped it
    int64_t page_mapcount    # mappings of this page, whoever makes them
