# cython: language_level=3
"""The sorted blocks of VMAs of one mm.  Stands for lib/maple_tree.c as mm/vma.c uses it."""
from libc.stdint cimport int32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove
from foliosim._core.flags cimport FS_EHOSTMEM
from foliosim._core.types cimport *

cdef enum:
    BLOCK_SIZE = 64

cdef int grow_index(maple_t *mt) noexcept nogil:
    # room for one more block in the arrays of blocks
    cdef int32_t cap = mt.cap * 2 if mt.cap else 4
    cdef void *grown
    if mt.nr_blocks < mt.cap:
        return 0
    grown = realloc(mt.blocks, cap * sizeof(maple_block_t *))
    if grown == NULL:
        return -FS_EHOSTMEM
    mt.blocks = <maple_block_t **>grown
    grown = realloc(mt.max_end, cap * sizeof(uint64_t))
    if grown == NULL:
        return -FS_EHOSTMEM
    mt.max_end = <uint64_t *>grown
    mt.cap = cap
    return 0

cdef int new_block(maple_t *mt, int32_t at) noexcept nogil:
    # an empty block in place `at`
    cdef maple_block_t *block
    if grow_index(mt):
        return -FS_EHOSTMEM
    block = <maple_block_t *>malloc(sizeof(maple_block_t))
    if block == NULL:
        return -FS_EHOSTMEM
    block.n = 0
    memmove(mt.blocks + at + 1, mt.blocks + at, (mt.nr_blocks - at) * sizeof(maple_block_t *))
    memmove(mt.max_end + at + 1, mt.max_end + at, (mt.nr_blocks - at) * sizeof(uint64_t))
    mt.blocks[at] = block
    mt.max_end[at] = 0
    mt.nr_blocks += 1
    return 0

cdef int halve_block(maple_t *mt, int32_t at) noexcept nogil:
    # move the upper half of a full block into a new one
    cdef maple_block_t *lower
    cdef maple_block_t *upper
    cdef int32_t keep = BLOCK_SIZE / 2
    if new_block(mt, at + 1):
        return -FS_EHOSTMEM
    lower = mt.blocks[at]
    upper = mt.blocks[at + 1]
    upper.n = BLOCK_SIZE - keep
    memcpy(upper.end, lower.end + keep, upper.n * sizeof(uint64_t))
    memcpy(upper.vma, lower.vma + keep, upper.n * sizeof(vma_t *))
    lower.n = keep
    mt.max_end[at] = lower.end[keep - 1]
    mt.max_end[at + 1] = upper.end[upper.n - 1]
    return 0

cdef int insert_entry(maple_t *mt, uint64_t end, vma_t *vma) noexcept nogil:
    cdef int32_t at = maple_upper_bound(mt.max_end, mt.nr_blocks, end)
    cdef int32_t i
    cdef maple_block_t *block
    if at == mt.nr_blocks:
        if at == 0 or mt.blocks[at - 1].n == BLOCK_SIZE:
            if new_block(mt, at):
                return -FS_EHOSTMEM
        else:
            at -= 1
    elif mt.blocks[at].n == BLOCK_SIZE:
        if halve_block(mt, at):
            return -FS_EHOSTMEM
        if mt.max_end[at] <= end:
            at += 1
    block = mt.blocks[at]
    i = maple_upper_bound(block.end, block.n, end)
    memmove(block.end + i + 1, block.end + i, (block.n - i) * sizeof(uint64_t))
    memmove(block.vma + i + 1, block.vma + i, (block.n - i) * sizeof(vma_t *))
    block.end[i] = end
    block.vma[i] = vma
    block.n += 1
    mt.max_end[at] = block.end[block.n - 1]
    mt.nr += 1
    return 0

cdef int maple_insert(maple_t *mt, vma_t *vma) noexcept nogil:
    return insert_entry(mt, vma.end, vma)

cdef int maple_split(maple_t *mt, uint64_t addr, vma_t *lower, vma_t *upper) noexcept nogil:
    cdef int32_t at
    cdef maple_block_t *block
    if insert_entry(mt, addr, lower):
        return -FS_EHOSTMEM
    at = maple_upper_bound(mt.max_end, mt.nr_blocks, addr)
    block = mt.blocks[at]
    block.vma[maple_upper_bound(block.end, block.n, addr)] = upper
    return 0

cdef void maple_erase(maple_t *mt, vma_t *vma) noexcept nogil:
    cdef int32_t at = maple_upper_bound(mt.max_end, mt.nr_blocks, vma.end - 1)
    cdef maple_block_t *block = mt.blocks[at]
    cdef int32_t i = maple_upper_bound(block.end, block.n, vma.end - 1)
    cdef int32_t rest = block.n - i - 1
    memmove(block.end + i, block.end + i + 1, rest * sizeof(uint64_t))
    memmove(block.vma + i, block.vma + i + 1, rest * sizeof(vma_t *))
    block.n -= 1
    mt.nr -= 1
    if block.n:
        mt.max_end[at] = block.end[block.n - 1]
        return
    free(block)
    mt.nr_blocks -= 1
    memmove(mt.blocks + at, mt.blocks + at + 1, (mt.nr_blocks - at) * sizeof(maple_block_t *))
    memmove(mt.max_end + at, mt.max_end + at + 1, (mt.nr_blocks - at) * sizeof(uint64_t))

cdef void maple_set_end(maple_t *mt, vma_t *vma, uint64_t end) noexcept nogil:
    cdef int32_t at = maple_upper_bound(mt.max_end, mt.nr_blocks, vma.end - 1)
    cdef maple_block_t *block = mt.blocks[at]
    block.end[maple_upper_bound(block.end, block.n, vma.end - 1)] = end
    mt.max_end[at] = block.end[block.n - 1]
    vma.end = end

cdef void maple_destroy(maple_t *mt) noexcept nogil:
    cdef int32_t i
    for i in range(mt.nr_blocks):
        free(mt.blocks[i])
    free(mt.blocks)
    free(mt.max_end)
    mt.blocks = NULL
    mt.max_end = NULL
    mt.nr_blocks = 0
    mt.cap = 0
    mt.nr = 0
