# cython: language_level=3
"""Numbers of the core, once.  Values that user space sees equal Linux's uapi; the others are ours.

PG_* are bits of ``page_t.flags``.  Bits marked *per page* belong to each page of a large folio, the others to the
folio and are kept in its head.  The uppermost byte of ``page_t.flags`` is the page's fill byte (see content.pxd).
"""
from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    /* of the configuration: setup.py gives FOLIOSIM_PAGE_SHIFT */
    #define FS_PAGE_SHIFT FOLIOSIM_PAGE_SHIFT
    #define FS_PAGE_SIZE (1ULL << FS_PAGE_SHIFT)
    #define FS_TABLE_SHIFT (FS_PAGE_SHIFT - 3)    /* bits of an address that a table translates */
    #define FS_PTRS_PER_PTE (1 << FS_TABLE_SHIFT)
    #define FS_PMD_SHIFT (FS_PAGE_SHIFT + FS_TABLE_SHIFT)
    #define FS_PMD_SIZE (1ULL << FS_PMD_SHIFT)
    #define FS_PUD_SHIFT (FS_PMD_SHIFT + FS_TABLE_SHIFT)
    #define FS_PUD_SIZE (1ULL << FS_PUD_SHIFT)
    #define FS_HPAGE_PMD_ORDER FS_TABLE_SHIFT
    #define FS_HPAGE_PMD_NR (1 << FS_HPAGE_PMD_ORDER)
    #define FS_MAX_PAGE_ORDER (FS_PAGE_SHIFT == 12 ? 10 : FS_HPAGE_PMD_ORDER)
    #define FS_ORDERS_ALL ((2U << FS_HPAGE_PMD_ORDER) - 1)
    #define FS_ORDERS_ANON (FS_ORDERS_ALL & ~3U)  /* sizes of large folios that anonymous memory may have */
    /* two levels of an xarray */
    #define FS_MAX_PAGECACHE_ORDER (FS_HPAGE_PMD_ORDER < 11 ? FS_HPAGE_PMD_ORDER : 11)
    #define FS_ORDERS_FILE (((2U << FS_MAX_PAGECACHE_ORDER) - 1) & ~1U)
    #define FS_MMAP_MIN_ADDR 65536ULL
    #define FS_STACK_GUARD_GAP (256 * FS_PAGE_SIZE)
    #define FS_NO_PFN 0xffffffffU
    #define FS_ENTIRELY_MAPPED 0x800000
    #define FS_GUP_PIN_COUNTING_BIAS 1024
    #define FS_LRU_BATCH 31

    /* page_t.flags: order and kind */
    #define PG_ORDER_MASK   0x0000000fU
    #define PG_KIND_SHIFT   4
    #define PG_KIND_MASK    0x00000070U
    #define PG_KIND_NONE    0x00000000U  /* never used, or inside a free block */
    #define PG_KIND_BUDDY   0x00000010U  /* first page of a free block of 2^order pages */
    #define PG_KIND_TABLE   0x00000020U  /* a page table */
    #define PG_KIND_HEAD    0x00000030U  /* first page of a folio of 2^order pages */
    #define PG_KIND_TAIL    0x00000040U  /* another page of a folio of 2^order pages */
    #define PG_KIND_ZERO    0x00000050U  /* a zero page, small or huge */
    /* page_t.flags: folio state */
    #define PG_anon             0x00000080U
    #define PG_referenced       0x00000100U
    #define PG_uptodate         0x00000200U
    #define PG_dirty            0x00000400U
    #define PG_lru              0x00000800U
    #define PG_active           0x00001000U
    #define PG_swapbacked       0x00002000U
    #define PG_unevictable      0x00004000U
    #define PG_mlocked          0x00008000U
    #define PG_anon_exclusive   0x00010000U  /* per page */
    #define PG_partially_mapped 0x00020000U
    #define PG_deferred         0x00040000U  /* on the deferred split queue */
    #define PG_tails_implicit   0x00080000U  /* all pages are alike: the head's record tells for each */
    #define PG_byte0            0x00100000U  /* per page: the fill byte is at offset 0 only, the rest is zero */
    #define PG_bytes            0x00200000U  /* per page: differing bytes are in the content store */
    #define PG_locked           0x00400000U
    #define PG_readahead        0x00800000U  /* its use starts the next readahead; also PG_reclaim */
    #define PG_swapcache        0x00800000U  /* with PG_swapbacked: the same bit, which only files read ahead */
    #define PG_FILL_SHIFT 24
    #define PG_CONTENT_MASK     0xff300000U  /* fill byte and its two flags */
    #define PG_PER_PAGE         (PG_CONTENT_MASK | PG_anon_exclusive)

    /* vm_flags */
    #define VM_READ        0x00000001ULL
    #define VM_WRITE       0x00000002ULL
    #define VM_EXEC        0x00000004ULL
    #define VM_SHARED      0x00000008ULL
    #define VM_MAYREAD     0x00000010ULL
    #define VM_MAYWRITE    0x00000020ULL
    #define VM_MAYEXEC     0x00000040ULL
    #define VM_MAYSHARE    0x00000080ULL
    #define VM_GROWSDOWN   0x00000100ULL
    #define VM_PFNMAP      0x00000400ULL
    #define VM_MAYBE_GUARD 0x00000800ULL
    #define VM_LOCKED      0x00002000ULL
    #define VM_IO          0x00004000ULL
    #define VM_SEQ_READ    0x00008000ULL
    #define VM_RAND_READ   0x00010000ULL
    #define VM_DONTCOPY    0x00020000ULL
    #define VM_DONTEXPAND  0x00040000ULL
    #define VM_LOCKONFAULT 0x00080000ULL
    #define VM_ACCOUNT     0x00100000ULL
    #define VM_NORESERVE   0x00200000ULL
    #define VM_HUGETLB     0x00400000ULL
    #define VM_WIPEONFORK  0x02000000ULL
    #define VM_DONTDUMP    0x04000000ULL
    #define VM_SOFTDIRTY   0x08000000ULL
    #define VM_MIXEDMAP    0x10000000ULL
    #define VM_HUGEPAGE    0x20000000ULL
    #define VM_NOHUGEPAGE  0x40000000ULL
    #define VM_MERGEABLE   0x80000000ULL
    #define VM_ALLOW_ANY_UNCACHED (1ULL << 39)
    #define VM_SEALED      (1ULL << 42)
    #define VM_ACCESS_FLAGS (VM_READ | VM_WRITE | VM_EXEC)
    #define VM_LOCKED_MASK  (VM_LOCKED | VM_LOCKONFAULT)
    #define VM_SPECIAL      (VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP)
    #define VM_STACK_INCOMPLETE_SETUP (VM_RAND_READ | VM_SEQ_READ)  /* with VM_GROWSDOWN: execve is still at it */
    #define VM_IGNORE_MERGE (VM_SOFTDIRTY | VM_MAYBE_GUARD)

    /* uapi */
    #define FS_PROT_READ 1
    #define FS_PROT_WRITE 2
    #define FS_PROT_EXEC 4
    #define FS_MAP_SHARED 0x01
    #define FS_MAP_PRIVATE 0x02
    #define FS_MAP_SHARED_VALIDATE 0x03
    #define FS_MAP_TYPE 0x0f
    #define FS_MAP_FIXED 0x10
    #define FS_MAP_ANONYMOUS 0x20
    #define FS_MAP_GROWSDOWN 0x100
    #define FS_MAP_LOCKED 0x2000
    #define FS_MAP_NORESERVE 0x4000
    #define FS_MAP_POPULATE 0x8000
    #define FS_MAP_NONBLOCK 0x10000
    #define FS_MAP_STACK 0x20000
    #define FS_MAP_FIXED_NOREPLACE 0x100000

    /* fault flags and results */
    #define FAULT_FLAG_WRITE 0x01U
    #define FAULT_FLAG_USER 0x40U
    #define FAULT_FLAG_INSTRUCTION 0x100U
    #define FAULT_FLAG_UNSHARE 0x400U
    #define VM_FAULT_OOM 0x0001
    #define VM_FAULT_SIGBUS 0x0002
    #define VM_FAULT_MAJOR 0x0004
    #define VM_FAULT_SIGSEGV 0x0040
    #define VM_FAULT_RETRY 0x0400
    #define VM_FAULT_FALLBACK 0x0800

    /* gup flags */
    #define FOLL_WRITE 0x01U
    #define FOLL_GET 0x02U
    #define FOLL_FORCE 0x10U
    #define FOLL_LONGTERM 0x100U
    #define FOLL_TOUCH 0x10000U
    #define FOLL_PIN 0x80000U

    /* Negative result of a core function: the host refused memory (the border raises MemoryError). */
    #define FS_EHOSTMEM 4095
    """
    enum:
        FS_PAGE_SHIFT, FS_TABLE_SHIFT, FS_PTRS_PER_PTE, FS_PMD_SHIFT, FS_PUD_SHIFT
        FS_HPAGE_PMD_ORDER, FS_HPAGE_PMD_NR, FS_MAX_PAGE_ORDER, FS_MAX_PAGECACHE_ORDER, FS_ENTIRELY_MAPPED
        FS_GUP_PIN_COUNTING_BIAS
        FS_LRU_BATCH
        PG_KIND_SHIFT, PG_FILL_SHIFT
        FS_PROT_READ, FS_PROT_WRITE, FS_PROT_EXEC
        FS_MAP_SHARED, FS_MAP_PRIVATE, FS_MAP_SHARED_VALIDATE, FS_MAP_TYPE, FS_MAP_FIXED, FS_MAP_ANONYMOUS
        FS_MAP_GROWSDOWN, FS_MAP_LOCKED, FS_MAP_NORESERVE, FS_MAP_POPULATE, FS_MAP_NONBLOCK, FS_MAP_STACK
        FS_MAP_FIXED_NOREPLACE
        VM_FAULT_OOM, VM_FAULT_SIGBUS, VM_FAULT_MAJOR, VM_FAULT_SIGSEGV, VM_FAULT_RETRY, VM_FAULT_FALLBACK
        FS_EHOSTMEM
    const uint64_t FS_PAGE_SIZE, FS_PMD_SIZE, FS_PUD_SIZE, FS_MMAP_MIN_ADDR, FS_STACK_GUARD_GAP
    const uint32_t FS_ORDERS_ANON, FS_ORDERS_FILE
    const uint32_t FS_NO_PFN
    const uint32_t PG_ORDER_MASK, PG_KIND_MASK, PG_KIND_NONE, PG_KIND_BUDDY, PG_KIND_TABLE, PG_KIND_HEAD
    const uint32_t PG_KIND_TAIL, PG_KIND_ZERO
    const uint32_t PG_anon, PG_referenced, PG_uptodate, PG_dirty, PG_lru, PG_active, PG_swapbacked, PG_unevictable
    const uint32_t PG_mlocked, PG_anon_exclusive, PG_partially_mapped, PG_deferred, PG_tails_implicit
    const uint32_t PG_byte0, PG_bytes, PG_locked, PG_readahead, PG_swapcache, PG_CONTENT_MASK
    const uint32_t PG_PER_PAGE
    const uint64_t VM_READ, VM_WRITE, VM_EXEC, VM_SHARED, VM_MAYREAD, VM_MAYWRITE, VM_MAYEXEC, VM_MAYSHARE
    const uint64_t VM_GROWSDOWN, VM_PFNMAP, VM_MAYBE_GUARD, VM_LOCKED, VM_IO, VM_SEQ_READ, VM_RAND_READ, VM_DONTCOPY
    const uint64_t VM_DONTEXPAND, VM_LOCKONFAULT, VM_ACCOUNT, VM_NORESERVE, VM_HUGETLB, VM_WIPEONFORK, VM_DONTDUMP
    const uint64_t VM_SOFTDIRTY, VM_MIXEDMAP, VM_HUGEPAGE, VM_NOHUGEPAGE, VM_MERGEABLE, VM_SEALED
    const uint64_t VM_ALLOW_ANY_UNCACHED
    const uint64_t VM_ACCESS_FLAGS, VM_LOCKED_MASK, VM_SPECIAL, VM_IGNORE_MERGE, VM_STACK_INCOMPLETE_SETUP
    const uint32_t FAULT_FLAG_WRITE, FAULT_FLAG_USER, FAULT_FLAG_INSTRUCTION, FAULT_FLAG_UNSHARE
    const uint32_t FOLL_WRITE, FOLL_GET, FOLL_FORCE, FOLL_LONGTERM, FOLL_TOUCH, FOLL_PIN
