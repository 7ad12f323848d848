# cython: language_level=3
"""Core structs: plain C, reachable from one ``machine_t``.  Many machines live in one process; no module state.

Frame records.  Every 4 KiB frame has a ``page_t`` of 28 bytes.  The records of the first four pages of each 2 MiB
block lie in the dense array ``heads``, the others in ``pages``, so a huge folio that is mapped by PMDs only touches
``heads`` (112 bytes per 2 MiB).  Use ``page_of`` (page.pxd), never the arrays.

Implicit tails.  While all pages of a folio of order 2 or more are alike (PTEs map each as often, all are exclusive or
none, all hold the same) its head alone tells mapcount, exclusivity and contents (PG_tails_implicit).  The tails'
records then tell their kind and order only; those of a huge folio are not written at all from page 4 on.
``page_record`` gives the record that tells; ``folio_materialize`` writes all, which must come before pages differ.

Large folios keep what only they need in the unused words of tail pages 1 and 2 (``tail1_t``, ``tail2_t``), as
``struct page`` does; an order-1 folio has no page 2 (see folio.pxd).
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from foliosim._core.answers cimport decide_t

cdef struct page_t:
    uint32_t flags      # PG_*; fill byte in the top 8 bits
    int32_t mapcount    # PTEs that map this page (0: none; the kernel stores one less). PMD mappings are not in it
    int32_t refcount    # folio head: all references; FOLL_PIN of a small folio counts 1024
    uint32_t next       # pfn: LRU list, free list, or list of deposited page tables; FS_NO_PFN ends it
    uint32_t prev       # pfn; in a PMD table: its first deposited PTE table
    uint32_t mapping    # folio head: mapping id (low 24 bits), bits 39:32 of the index (high 8 bits)
    uint32_t index      # folio head: low 32 bits of the page offset in the mapping; PTE table: khugepaged's looks at it
                        # since the program last freed pages of it, plus 1 (kept for P19 only)

cdef struct tail1_t:    # page 1 of a large folio
    uint32_t flags
    int32_t mapcount
    int32_t large_mapcount  # PTEs that map any page of the folio, plus 1 per PMD mapping (0: none)
    int32_t mm_mapcount[2]  # share of large_mapcount of the mm in the slot
    uint32_t mm_id[2]       # mm id, 0: free slot; top bit of mm_id[1]: maybe mapped shared

cdef struct tail2_t:    # page 2 of a large folio of order >= 2
    uint32_t flags
    int32_t mapcount
    int32_t nr_pages_mapped  # pages with mapcount > 0, plus ENTIRELY_MAPPED if a PMD maps the folio
    int32_t pincount         # FOLL_PIN pins
    int32_t entire_mapcount  # PMD mappings
    uint32_t deferred_next   # pfn of heads on the deferred split queue
    uint32_t deferred_prev

cdef enum tail3_flag_e:      # what only policies other than Linux's ask for
    TAIL3_STOPPED = 1        # a third mm once found both owner slots taken
    TAIL3_RECHECK = 2        # queued for P01 defer_recheck
    TAIL3_SPLIT_NOW = 4      # to be split when the operation ends
    TAIL3_FREE_PART = 8      # as above, and only as far as it takes to free what is not mapped
    TAIL3_PIN_PER_PAGE = 16  # each of its pins is known by its page

cdef struct tail3_t:         # page 3 of a large folio of order >= 2
    uint32_t flags
    int32_t mapcount
    uint32_t marks           # TAIL3_*

cdef struct anon_vma_t:
    uint32_t id              # mapping id
    uint32_t kind            # 0, where mapping_t has its mapping_e: audit tells them apart
    int32_t refcount         # VMAs' chain entries and child anon_vmas that keep it alive
    int32_t num_children     # child anon_vmas, the root counts itself
    int32_t num_active_vmas  # VMAs whose vma.anon_vma this is
    anon_vma_t *root
    anon_vma_t *parent
    avc_t *first             # chain entries of all VMAs that may map its pages

cdef struct avc_t:           # anon_vma_chain: links a VMA with an anon_vma
    vma_t *vma
    anon_vma_t *anon_vma
    avc_t *vma_next          # next entry of the same VMA; newest first
    avc_t *av_next           # neighbours in anon_vma.first
    avc_t *av_prev

cdef enum mapping_e:         # what a page cache belongs to
    MAPPING_SHMEM = 1        # shared anonymous memory
    MAPPING_MEMFD            # memfd_create: on the kernel's own tmpfs mount, as shared anonymous memory is
    MAPPING_TMPFS            # an unlinked file on a tmpfs mount without huge=
    MAPPING_DISK             # a file on ext4 with blocks of one page
    MAPPING_DEVICE           # a device's memory, as vfio-pci lets a BAR be mapped: no page cache, no folios

cdef struct content_t:       # what a page that is not in memory holds (content.pyx)
    uint32_t flags           # fill byte and its flags, as in page_t.flags
    uint32_t n
    void *bytes

cdef struct block_t:         # one page of a file on disk
    bint used                # False: a hole
    bint shadow              # the page was reclaimed from the cache
    content_t content        # while the page is not cached

cdef struct swap_slot_t:     # one page of the swap device
    int32_t count            # page-table entries that hold it (swap_map)
    uint32_t cache           # pfn of its page in the swap cache, 0: none; then content is empty
    uint64_t shadow          # nonresident_age when its page was reclaimed
    content_t content

cdef struct swap_cluster_t:  # slots in a row, as many as a huge folio has pages (swap_cluster_info)
    uint16_t used            # slots
    uint16_t order           # of the folios it takes

cdef struct swap_t:          # swap_info_struct: one device, written and read at once (as zram is)
    uint32_t nr              # slots, slot 0 (the header) included; 0: no swap
    uint32_t used            # slots
    swap_slot_t *slots
    uint32_t *of_page        # by pfn: slot of a page in the swap cache
    swap_cluster_t *clusters
    uint32_t next[16]        # by order: where the search goes on

cdef struct memcg_t:         # mem_cgroup: the one that all processes are in
    int64_t limit            # pages, memory.max; 0: none
    bint oom                 # a charge failed in this operation
    bint hit                 # a charge had to reclaim in this operation
    int64_t anon_cost, file_cost     # lruvec: what reclaim of either has cost so far
    int64_t nonresident_age  # lruvec: folios reclaimed or activated, pages
    int64_t deferred_scan    # do_shrink_slab: what the deferred split shrinker was too impatient to scan
    int swappiness

cdef struct khugepaged_t:    # /sys/kernel/mm/transparent_hugepage/khugepaged
    int64_t max_ptes_none, max_ptes_swap, max_ptes_shared
    int64_t pages_to_scan
    int64_t scan_sleep_steps # it wakes up by itself when so many operations are over; 0: never
    bint wake_at_limit       # and when an operation is over that hit the limit
    int64_t pages_collapsed, full_scans
    uint32_t pid             # scan cursor: process and address
    uint64_t address

cdef struct file_ra_t:       # file_ra_state: the last readahead window, in pages
    uint64_t start, size
    uint64_t async_size      # the next window is read when the page this far from the end is used
    int order                # of the folios that it was read into

cdef struct mapping_t:       # address_space: the page cache of one file or shared anonymous object
    uint32_t id              # mapping id
    uint32_t kind            # mapping_e
    uint64_t ino             # number shown to the user
    uint64_t size            # bytes (i_size)
    int64_t refcount         # VMAs and handles
    uint32_t *pfns           # page cache by index; FS_NO_PFN: hole
    uint64_t cap             # entries of pfns
    uint64_t nrpages         # cached pages
    block_t *blocks          # MAPPING_DISK: by index, cap entries
    file_ra_t ra             # of the open file: all processes share it
    bint resident            # every page counts as read before: it is cached when it is asked for
    bint special             # pages that the kernel provides (vdso): mapped one by one, without fault-around
    uint32_t first_pfn       # MAPPING_DEVICE: where its memory begins
    vma_t *i_mmap            # VMAs that map it

cdef struct vma_t:
    uint64_t start, end      # bytes, [start, end)
    uint64_t pgoff           # pages: offset in the file; page number at creation for private anonymous memory
    uint64_t flags           # VM_*
    uint64_t page_prot       # protection bits of its entries (vm_page_prot)
    mm_t *mm
    anon_vma_t *anon_vma
    avc_t *chain             # anon_vma_chain, newest first
    int32_t nr_chain         # entries of chain
    mapping_t *file          # NULL: private anonymous memory
    uint32_t anon_name       # PR_SET_VMA_ANON_NAME: a number for the name; 0: none
    vma_t *next
    vma_t *prev
    vma_t *i_mmap_next
    vma_t *i_mmap_prev

cdef struct maple_block_t:
    int64_t n                # as wide as the rest: no padding, so copies are alike byte by byte
    uint64_t end[64]         # vma.end, ascending
    vma_t *vma[64]

cdef struct maple_t:         # the VMAs of one mm: a sorted array in blocks of at most 64
    maple_block_t **blocks
    uint64_t *max_end        # last end of each block
    int32_t nr_blocks
    int32_t cap
    int64_t nr               # VMAs

cdef struct mm_t:
    machine_t *m
    mm_t *next               # all live mms of the machine, in order of creation
    mm_t *prev
    uint32_t id              # mm id of large folios' owner slots; >= 1, reused after exit
    uint32_t pid             # number shown to the user; never reused
    uint32_t pgd             # pfn of the root table
    maple_t vmas
    vma_t *mmap              # first VMA; linked by vma.next
    int64_t map_count        # VMAs
    int64_t total_vm, locked_vm         # pages
    int64_t pinned_vm        # pages charged for registered buffers
    int64_t locked_stale     # of locked_vm: pages that mremap(DONTUNMAP) unlocked but did not take off the count
    uint64_t def_flags
    uint64_t start_brk, brk  # bytes: the heap
    uint64_t rlimit_stack    # bytes a stack may grow to
    uint64_t next_area       # where the next search for a free area ends; 0: where it would
    int64_t rss_anon, rss_file, rss_shmem   # pages
    int64_t swapents         # swap entries of its tables (MM_SWAPENTS)
    int64_t hiwater_rss, hiwater_vm         # pages: the most there was before something was taken away
    int64_t nr_ptes, nr_pmds, nr_puds, nr_p4ds  # page tables below the root; nr_ptes with deposited ones
    bint has_pinned          # MMF_HAS_PINNED
    bint huge_zero           # holds a reference on the huge zero page
    int thp_disable          # 0, 1: completely, 2: except advised

cdef struct pcp_run_t:       # n free blocks in a row
    uint32_t pfn, n

cdef struct pcp_list_t:      # free blocks of one order, last in, first out: a ring of runs
    pcp_run_t *runs
    uint32_t cap             # runs that fit, a power of two
    uint32_t bottom, nr      # oldest run, number of runs
    int64_t count            # blocks

cdef struct lru_list_t:
    uint32_t first, last     # pfns of heads; first: newest
    int64_t nr_pages

cdef struct fbatch_t:        # folio_batch: per-CPU; each folio in it has one extra reference
    int32_t nr
    uint32_t pfn[31]
    uint8_t tag[31]          # mlock batch: 0 munlock, 1 mlock (LRU folio), 2 mlock (new folio)

cdef enum lru_e:
    LRU_INACTIVE_ANON
    LRU_ACTIVE_ANON
    LRU_INACTIVE_FILE
    LRU_ACTIVE_FILE
    LRU_UNEVICTABLE
    NR_LRU_LISTS

cdef enum vmstat_e:          # event counters, /proc/vmstat names; see stat.pxd for the table of names
    PGFAULT
    PGMAJFAULT
    PGREUSE
    PGACTIVATE
    PGDEACTIVATE
    PGLAZYFREE
    PGLAZYFREED
    UNEVICTABLE_PGS_CULLED
    UNEVICTABLE_PGS_RESCUED
    UNEVICTABLE_PGS_MLOCKED
    UNEVICTABLE_PGS_MUNLOCKED
    UNEVICTABLE_PGS_CLEARED
    UNEVICTABLE_PGS_STRANDED
    THP_FAULT_ALLOC
    THP_FAULT_FALLBACK
    THP_COLLAPSE_ALLOC
    THP_COLLAPSE_ALLOC_FAILED
    THP_FILE_ALLOC
    THP_FILE_FALLBACK
    THP_FILE_MAPPED
    THP_SPLIT_PAGE
    THP_SPLIT_PAGE_FAILED
    THP_DEFERRED_SPLIT_PAGE
    THP_UNDERUSED_SPLIT_PAGE
    THP_SPLIT_PMD
    THP_SPLIT_PUD
    THP_ZERO_PAGE_ALLOC
    NR_FOLL_PIN_ACQUIRED
    NR_FOLL_PIN_RELEASED
    COW_BYTES                # ours: bytes copied by COW
    PSWPIN
    PSWPOUT
    SWPIN_ZERO
    SWPOUT_ZERO
    PGSCAN_DIRECT
    PGSCAN_ANON
    PGSCAN_FILE
    PGSTEAL_DIRECT
    PGSTEAL_ANON
    PGSTEAL_FILE
    PGREFILL
    PGROTATED
    ALLOCSTALL
    WORKINGSET_REFAULT_ANON
    WORKINGSET_ACTIVATE_ANON
    MEMCG_OOM
    THP_FAULT_FALLBACK_CHARGE
    THP_SWPOUT
    THP_SWPOUT_FALLBACK
    THP_SCAN_EXCEED_NONE_PTE
    THP_SCAN_EXCEED_SWAP_PTE
    THP_SCAN_EXCEED_SHARE_PTE
    NR_VMSTAT

cdef enum mthp_e:            # per folio size, hugepages-<size>/stats/
    ANON_FAULT_ALLOC
    ANON_FAULT_FALLBACK
    MTHP_SPLIT
    MTHP_SPLIT_FAILED
    MTHP_SPLIT_DEFERRED
    MTHP_NR_ANON
    MTHP_NR_ANON_PARTIALLY_MAPPED
    SHMEM_ALLOC
    SHMEM_FALLBACK
    ANON_FAULT_FALLBACK_CHARGE
    MTHP_SWPIN
    MTHP_SWPOUT
    MTHP_SWPOUT_FALLBACK
    NR_MTHP

cdef enum table_op_e:        # work on page tables and the TLB
    TABLE_FOLD
    TABLE_UNFOLD
    TABLE_FLUSH
    BBM_VIOLATION            # valid entries changed without break before make
    NR_TABLE_OPS

cdef enum op_e:              # operations that cost time, counted per range or batch where they come in batches (ops.*)
    OP_REF                   # updates of a folio's reference count
    OP_MAPCOUNT              # updates of a mapcount: one per page, one per large folio
    OP_RMAP_CALL             # calls that add, duplicate or remove mappings of a folio
    OP_PTE_SET               # entries written: PTEs and PMD leaves
    OP_TLB_FLUSH             # ranges flushed
    OP_FOLIO_ALLOC           # folios allocated
    OP_FOLIO_FREE            # folios freed
    OP_TABLE_ALLOC           # page tables
    OP_TABLE_FREE
    OP_VMA                   # VMAs made
    OP_RECORD                # page records rewritten by splits of folios
    OP_GUP                   # entries that get_user_pages and populate look up
    OP_MLOCK                 # folios mlocked or munlocked
    NR_OPS

cdef enum fault_e:           # faults by kind (faults.*); FAULT_ALL counts every one that was handled
    FAULT_ALL
    FAULT_COW
    FAULT_REUSE
    FAULT_ZERO
    FAULT_UNSHARE
    NR_FAULTS

cdef enum cow_e:             # who made the kernel copy (cow_bytes.*)
    COW_PARENT               # the process that had made the page
    COW_CHILD                # a process that had inherited it
    COW_SYSCALL              # a system call on behalf of either
    COW_FORK                 # fork itself
    COW_FILE                 # the first store to a private page of a file
    COW_NEEDLESS             # of the others: pages that nobody else could reach
    NR_COWS

cdef enum split_e:           # why a folio is split (splits.*)
    SPLIT_VMA                # a VMA boundary
    SPLIT_UNMAP
    SPLIT_RECLAIM
    SPLIT_UNDERUSED
    SPLIT_SWAP
    SPLIT_MADVISE
    SPLIT_PIN
    SPLIT_USER
    NR_SPLIT_REASONS

cdef enum split_fail_e:      # why that fails (splits.failed.*)
    SPLIT_EXTRA_REF
    SPLIT_PINNED
    SPLIT_LOCKED
    SPLIT_NOMEM
    SPLIT_BUSY               # not mapped any more, or the file system holds on to it
    NR_SPLIT_FAILS

cdef struct ledger_t:        # what only the ledger counts
    int64_t ops[NR_OPS]
    int64_t faults[NR_FAULTS]
    int64_t cow_bytes[NR_COWS]
    int64_t zero_bytes       # cleared in new folios
    int64_t split_ok[NR_SPLIT_REASONS]
    int64_t split_attempt[NR_SPLIT_REASONS]
    int64_t split_failed[NR_SPLIT_FAILS]
    int64_t deferred_added, deferred_removed

cdef struct age_t:           # when pages were truly used last (age.pxd)
    uint32_t *stamp          # by pfn: the time of its last access, 0: none; NULL: nobody keeps it
    uint32_t clock           # goes on when reclaim begins, if there were accesses since it last did
    bint used                # there were
    int64_t hot_reclaimed    # pages that reclaim took although they were in use

cdef enum fail_e:            # kinds of allocation that can be made to fail
    FAIL_FOLIO
    FAIL_TABLE
    FAIL_VMA
    FAIL_ANON_VMA            # anon_vmas and anon_vma_chains
    FAIL_XA_NODE             # nodes of the page cache that the split of a file's folio needs
    NR_FAIL_KINDS

cdef struct fault_attr_t:    # allocations that fail on purpose (fault_inject.pxd)
    bint armed
    bint struck              # the last allocation of a kernel object failed on purpose, not for want of host memory
    uint32_t kinds           # mask of fail_e: which are counted
    int min_order            # of folios: smaller ones are not counted
    int64_t nth              # the first one that fails, counted from 1
    int64_t times            # how many fail from there on; -1: all
    int64_t calls            # allocations counted
    int64_t failed           # of these, how many failed

ctypedef bint (*ask_t)(void *ctx) noexcept nogil

cdef struct interrupt_t:     # how a long operation learns that it shall end early (interrupt.pxd)
    int left                 # tables until it asks
    bint stop                # it shall
    ask_t ask                # NULL: never
    void *ctx

cdef enum thp_mode_e:
    THP_NEVER
    THP_MADVISE
    THP_ALWAYS

cdef struct thp_settings_t:  # /sys/kernel/mm/transparent_hugepage
    int enabled                                   # thp_mode_e
    uint32_t always, madvise, inherit             # masks of orders: hugepages-*/enabled
    int shmem_enabled                             # SHMEM_HUGE_*
    uint32_t shmem_always, shmem_inherit, shmem_within_size, shmem_advise
    bint use_zero_page

cdef enum point_e:           # policy points; names, alternatives and sources: foliosim/policy/points.py
    POINT_VMA_SPLIT          # P01
    POINT_MLOCK_RULE         # P02
    POINT_PARTIAL_EVICT      # P03
    POINT_FORK_CHILD_MPROTECT   # P05
    POINT_COW_ORDER          # P06
    POINT_DIRTY_NEIGHBOURS   # P06: how the neighbours of a page are mapped that was copied with it
    POINT_COW_REUSE          # P07
    POINT_REUSE_AROUND       # P07: how many pages become writable with one that is kept
    POINT_MAPCOUNT_MODEL     # P08
    POINT_PIN_SHORT          # P10
    POINT_PIN_LONG           # P11
    POINT_PIN_ACCOUNT        # P12
    POINT_FORK_PINNED        # P13
    POINT_FAULT_ORDER        # P14
    POINT_FAULT_FALLBACK     # P15
    POINT_ZERO_PAGE          # P17
    POINT_COLLAPSE_RULE      # P18
    POINT_COLLAPSE_VS_FREE   # P19
    POINT_PARTIAL_UNMAP      # P21
    POINT_DEFERRED_MEMBERS   # P22
    POINT_UNDERUSED          # P23
    POINT_SPLIT_TARGET       # P24
    POINT_DROP_ZERO_PAGES    # P24: what becomes of single pages full of zeros
    POINT_MADV_FREE_PARTIAL  # P25
    POINT_AGE_UNIT           # P27
    POINT_CONTPTE            # P28
    POINT_SWAP_LARGE         # P29
    NR_POINTS

cdef struct point_t:
    decide_t decide
    void *ctx
    int param                # "fixed(2)": 2

cdef struct policy_t:
    uint64_t custom          # bit p: point p is not decided as in Linux 6.18
    point_t point[NR_POINTS]
    int64_t arg[8]           # of the question that is being asked

cdef struct held_t:          # references that a caller holds: one per pfn
    uint32_t *pfns
    int64_t nr
    uint32_t flags           # FOLL_GET or FOLL_PIN
    uint32_t dontfork        # P13: pid of the process whose nr pages from addr on are marked MADV_DONTFORK; 0: none is
    uint64_t addr
    held_t *next
    held_t *prev

cdef struct machine_t:
    int va_bits              # of a user address
    int top_level            # of the root tables
    int pgd_shift            # bits of an address below the root's index
    uint64_t task_size       # end of the user's addresses
    uint64_t map_window      # end of what mmap uses unasked
    bint contpte             # CONFIG_ARM64_CONTPTE
    bint hw_afdbm            # arm64: the CPU sets the access flag and the dirty state
    # rules of the kernel release (foliosim/kernels.py)
    bint soft_dirty          # CONFIG_MEM_SOFT_DIRTY
    bint pt_reclaim          # CONFIG_PT_RECLAIM
    bint guard_flag
    bint pmd_modify_keeps_dirty
    # emulated physical memory
    uint64_t nr_pages        # frames
    uint8_t *phys            # FS_PAGE_SIZE bytes per frame; only table frames are ever touched
    page_t *pages            # see page_of
    page_t *heads            # 4 records per block of FS_HPAGE_PMD_NR frames
    # buddy allocator (page_alloc)
    uint32_t free_list[14]   # first free block of each order
    int64_t nr_free[14]      # blocks
    pcp_list_t pcp[14]       # blocks that were freed last, by order
    uint64_t fresh_pfn       # frames from here on were never used; not on the lists
    int64_t free_pages       # frames, those on per-CPU lists and fresh ones included
    uint32_t table_free      # freed page tables, all zero
    uint32_t table_next, table_end      # block that new tables are carved from
    int64_t nr_tables
    int64_t table_frames                # frames that tables were carved from
    uint32_t zero_pfn, huge_zero_pfn
    # LRU
    lru_list_t lru[5]
    fbatch_t batch_lru_add, batch_activate, batch_deactivate, batch_deactivate_file, batch_lazyfree, batch_mlock
    uint32_t deferred_first, deferred_last  # deferred split queue, pfns of heads
    int64_t deferred_len
    # memory pressure
    bint pressure            # there is a limit, or swap: whoever is short of memory reclaims
    memcg_t memcg
    swap_t swap
    khugepaged_t khugepaged
    # counters
    int64_t vmstat[NR_VMSTAT]
    int64_t mthp[16][NR_MTHP]      # by order
    int64_t table_ops[NR_TABLE_OPS]

    ledger_t ledger
    age_t age
    fault_attr_t fail
    # objects
    void **mappings          # by mapping id: anon_vma_t or mapping_t (PG_anon tells)
    uint32_t mappings_cap, mappings_free, mappings_nr
    uint32_t *mm_ids         # stack of free mm ids
    uint32_t mm_ids_cap, mm_ids_nr, mm_id_next
    mm_t *mm_first
    mm_t *mm_last
    uint32_t next_pid
    uint64_t next_ino
    uint32_t nr_devices      # mapping_t of kind MAPPING_DEVICE; 0: no table has leaves above the PMDs
    void *content            # content store (content.pyx)
    # settings
    thp_settings_t thp
    int64_t max_map_count
    policy_t policy
    int refused_point        # the first answer of a policy that could not be carried out: 1 + point, 0: none
    int refused_answer
    uint32_t *split_now      # P21: heads that this operation marked TAIL3_SPLIT_NOW; some may be gone by its end
    int64_t nr_split_now, split_now_cap
    held_t *held             # references of all callers
    interrupt_t interrupt
    int64_t user_locked_vm   # pages that count against the user's RLIMIT_MEMLOCK (user_struct.locked_vm)

# ---- page walks (walk.pyx) ----

cdef extern from *:
    """
    /* the access */
    #define WALK_READ  0U
    #define WALK_WRITE 0x02U
    #define WALK_USER  0x04U
    #define WALK_FETCH 0x10U
    /* what to do to the tables; the architecture's flags lie below */
    #define WALK_SET_AD 0x2000U
    /* result: rights */
    #define WALK_RIGHT_R 1
    #define WALK_RIGHT_W 2
    #define WALK_RIGHT_U 4
    #define WALK_RIGHT_X 8
    /* result: error; 0 is success, the code of a page fault is in the low 16 bits */
    #define WALK_PF 0x80000000U
    #define WALK_GP 0x40000000U
    /* what an entry is */
    #define WALK_TABLE 1U
    #define WALK_LEAF  2U
    #define WALK_STOP  0x10000U
    """
    const uint32_t WALK_READ, WALK_WRITE, WALK_USER, WALK_FETCH, WALK_SET_AD, WALK_PF, WALK_GP
    const uint32_t WALK_TABLE, WALK_LEAF, WALK_STOP
    enum:
        WALK_RIGHT_R, WALK_RIGHT_W, WALK_RIGHT_U, WALK_RIGHT_X

cdef struct walk_mmu_t:       # where the tables are and how the processor is set up
    uint8_t *phys             # physical memory from address 0
    uint64_t size             # bytes of it; beyond are zeros that cannot be written
    uint64_t root             # address of the root table
    uint32_t flags            # of the architecture's processor state, and WALK_SET_AD
    int va_bits               # of an address that is translated
    int top_level             # of the root table
    int pa_bits               # of a physical address

cdef struct walk_result_t:    # 16 bytes; numpy: pa u8, error u4, level i1, rights u1, 2 bytes of padding
    uint64_t pa               # physical address; 0 on a fault
    uint32_t error            # 0, WALK_PF | error code (x86-64) or fault status code (arm64), or WALK_GP
    int8_t level              # of the leaf, or of the entry that stopped the walk: 0 PTE ... 3 PGD; -1 with WALK_GP
    uint8_t rights            # WALK_RIGHT_*: those of the whole walk; 0 on a fault
