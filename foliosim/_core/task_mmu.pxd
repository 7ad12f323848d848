# cython: language_level=3
"""What /proc/PID shows of an address space, and clear_refs (fs/proc/task_mmu.c); mincore (mm/mincore.c)."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from foliosim._core.types cimport *

cdef extern from *:
    """
    #define PM_SOFT_DIRTY     (1ULL << 55)
    #define PM_MMAP_EXCLUSIVE (1ULL << 56)
    #define PM_UFFD_WP        (1ULL << 57)
    #define PM_GUARD_REGION   (1ULL << 58)
    #define PM_FILE           (1ULL << 61)
    #define PM_SWAP           (1ULL << 62)
    #define PM_PRESENT        (1ULL << 63)
    #define PM_PFRAME_MASK    ((1ULL << 55) - 1)
    """
    const uint64_t PM_SOFT_DIRTY, PM_MMAP_EXCLUSIVE, PM_UFFD_WP, PM_GUARD_REGION, PM_FILE, PM_SWAP, PM_PRESENT
    const uint64_t PM_PFRAME_MASK

cdef struct mem_size_stats_t:   # bytes; pss*: bytes with 12 fractional bits
    uint64_t resident
    uint64_t shared_clean, shared_dirty, private_clean, private_dirty
    uint64_t referenced
    uint64_t anonymous
    uint64_t lazyfree
    uint64_t anonymous_thp, shmem_thp, file_thp
    uint64_t swap, swap_pss      # bytes; bytes with 12 fractional bits
    uint64_t pss, pss_anon, pss_file, pss_shmem, pss_dirty, pss_locked

cdef enum:                      # fields of smaps in the order of the file; see SMAPS_FIELDS
    SMAPS_SIZE
    SMAPS_KERNEL_PAGE_SIZE
    SMAPS_MMU_PAGE_SIZE
    SMAPS_RSS
    SMAPS_PSS
    SMAPS_PSS_DIRTY
    SMAPS_SHARED_CLEAN
    SMAPS_SHARED_DIRTY
    SMAPS_PRIVATE_CLEAN
    SMAPS_PRIVATE_DIRTY
    SMAPS_REFERENCED
    SMAPS_ANONYMOUS
    SMAPS_KSM
    SMAPS_LAZYFREE
    SMAPS_ANON_HUGE_PAGES
    SMAPS_SHMEM_PMD_MAPPED
    SMAPS_FILE_PMD_MAPPED
    SMAPS_SHARED_HUGETLB
    SMAPS_PRIVATE_HUGETLB
    SMAPS_SWAP
    SMAPS_SWAP_PSS
    SMAPS_LOCKED
    SMAPS_THP_ELIGIBLE
    NR_SMAPS

cdef enum:
    CLEAR_REFS_ALL = 1
    CLEAR_REFS_ANON = 2
    CLEAR_REFS_MAPPED = 3
    CLEAR_REFS_SOFT_DIRTY = 4
    CLEAR_REFS_MM_HIWATER_RSS = 5
    CLEAR_REFS_LAST = 6

# Add what the VMA maps, from start on, to the sums; for one VMA they start at zero.
cdef void smap_gather_stats(machine_t *m, const vma_t *vma, uint64_t start, mem_size_stats_t *mss) noexcept nogil
# NR_SMAPS fields of smaps, kB except THP_ELIGIBLE (0 or 1), in the order of SMAPS_FIELDS.
cdef void smaps_vma(machine_t *m, vma_t *vma, uint64_t *out) noexcept nogil
# Sums of smaps over all VMAs, in the same order (the fields of single VMAs are 0); pss: those of anonymous memory, of
# files and of shmem.
cdef void smaps_rollup(machine_t *m, const mm_t *mm, uint64_t *out, uint64_t *pss) noexcept nogil
# "rd wr mr ..." with a blank after each code, at most 192 bytes; the length.
cdef int show_smap_vma_flags(const machine_t *m, uint64_t flags, char *out) noexcept nogil
# pagemap words of [addr, end), which lies in one VMA and in one PMD's span, pmd: that entry or 0 where a table is
# missing.  Whether any word is not zero.
cdef bint pagemap_pmd_range(machine_t *m, const vma_t *vma, uint64_t pmd, uint64_t addr, uint64_t end,
                            uint64_t *out) noexcept nogil
# pagemap words of [start, end).
cdef void pagemap_read(machine_t *m, const mm_t *mm, uint64_t start, uint64_t end, uint64_t *out) noexcept nogil
# One byte per page, 1: resident.  Number of pages, -EINVAL (start not aligned) or -ENOMEM (a hole, or too long).
cdef int64_t mincore(machine_t *m, const mm_t *mm, uint64_t start, uint64_t length, uint8_t *vec) noexcept nogil
# Write to clear_refs.  0, or -EINVAL for an unknown value.
cdef int clear_refs(machine_t *m, mm_t *mm, int value) noexcept nogil
