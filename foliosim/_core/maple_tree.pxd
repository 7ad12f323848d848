# cython: language_level=3
"""The VMAs of an mm by address (lib/maple_tree.c as mm uses it): a sorted array of VMA ends in blocks of 64.

Every entry is (vma.end, vma); ends are unique and ascending.  ``max_end`` holds the last end of each block, so a
lookup is two branch-light binary searches.  The list vma.next / vma.prev / mm.mmap is kept by vma.pyx.
"""
from libc.stdint cimport int32_t, uint64_t
from foliosim._core.types cimport *

cdef inline int32_t maple_upper_bound(const uint64_t *ends, int32_t n, uint64_t addr) noexcept nogil:
    """Index of the first end above addr; n if there is none."""
    cdef int32_t base = 0
    cdef int32_t half
    if n == 0:
        return 0
    while n > 1:
        half = n >> 1
        base += half * <int32_t>(ends[base + half - 1] <= addr)
        n -= half
    return base + <int32_t>(ends[base] <= addr)

cdef inline vma_t *maple_find(const maple_t *mt, uint64_t addr) noexcept nogil:
    """First VMA with end > addr (find_vma); NULL if there is none."""
    cdef int32_t at = maple_upper_bound(mt.max_end, mt.nr_blocks, addr)
    cdef const maple_block_t *block
    if at == mt.nr_blocks:
        return NULL
    block = mt.blocks[at]
    return <vma_t *>block.vma[maple_upper_bound(block.end, block.n, addr)]

cdef inline vma_t *maple_last(const maple_t *mt) noexcept nogil:
    """The uppermost VMA; NULL if there is none."""
    cdef const maple_block_t *block
    if mt.nr_blocks == 0:
        return NULL
    block = mt.blocks[mt.nr_blocks - 1]
    return <vma_t *>block.vma[block.n - 1]

cdef inline vma_t *find_vma(const mm_t *mm, uint64_t addr) noexcept nogil:
    """First VMA with end > addr; it may lie above addr.  NULL if there is none."""
    return maple_find(&mm.vmas, addr)

cdef inline vma_t *vma_find(const mm_t *mm, uint64_t addr, uint64_t end) noexcept nogil:
    """First VMA that overlaps [addr, end), or NULL (find_vma_intersection)."""
    cdef vma_t *vma = maple_find(&mm.vmas, addr)
    return vma if vma != NULL and vma.start < end else NULL

cdef inline vma_t *vma_lookup(const mm_t *mm, uint64_t addr) noexcept nogil:
    """The VMA that contains addr, or NULL."""
    cdef vma_t *vma = maple_find(&mm.vmas, addr)
    return vma if vma != NULL and vma.start <= addr else NULL

# Add vma under its end.  0, or -FS_EHOSTMEM with the tree as it was.
cdef int maple_insert(maple_t *mt, vma_t *vma) noexcept nogil
# The VMA over addr is cut there: lower gets the entry addr, upper takes over the old one.  0, or -FS_EHOSTMEM.
cdef int maple_split(maple_t *mt, uint64_t addr, vma_t *lower, vma_t *upper) noexcept nogil
# Take vma out (it is found by its end).  Cannot fail.
cdef void maple_erase(maple_t *mt, vma_t *vma) noexcept nogil
# [start, end) is vma's now, in place of those that lie within it: at least one that reaches above start.  Cannot fail.
cdef void maple_store(maple_t *mt, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil
# Free the blocks and leave an empty tree; the VMAs are the caller's.
cdef void maple_destroy(maple_t *mt) noexcept nogil
