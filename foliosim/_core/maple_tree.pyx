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

cdef maple_block_t *open_slot(maple_t *mt, uint64_t end, int32_t *at, int32_t *slot) noexcept nogil:
    # a slot for one more end; NULL: the host has no memory
    cdef maple_block_t *block
    at[0] = maple_upper_bound(mt.max_end, mt.nr_blocks, end)
    if at[0] == mt.nr_blocks and at[0] and mt.blocks[at[0] - 1].n < BLOCK_SIZE:
        at[0] -= 1
    elif at[0] == mt.nr_blocks:
        if new_block(mt, at[0]):
            return NULL
    elif mt.blocks[at[0]].n == BLOCK_SIZE:
        if halve_block(mt, at[0]):
            return NULL
        at[0] += mt.max_end[at[0]] <= end
    block = mt.blocks[at[0]]
    slot[0] = maple_upper_bound(block.end, block.n, end)
    memmove(block.end + slot[0] + 1, block.end + slot[0], (block.n - slot[0]) * sizeof(uint64_t))
    memmove(block.vma + slot[0] + 1, block.vma + slot[0], (block.n - slot[0]) * sizeof(vma_t *))
    block.end[slot[0]] = end
    block.n += 1
    mt.nr += 1
    return block

cdef int maple_insert(maple_t *mt, vma_t *vma) noexcept nogil:
    cdef int32_t at = 0, slot = 0
    cdef maple_block_t *block = open_slot(mt, vma.end, &at, &slot)
    if block == NULL:
        return -FS_EHOSTMEM
    block.vma[slot] = vma
    mt.max_end[at] = block.end[block.n - 1]
    return 0

cdef int maple_split(maple_t *mt, uint64_t addr, vma_t *lower, vma_t *upper) noexcept nogil:
    cdef int32_t at = 0, slot = 0
    cdef maple_block_t *block = open_slot(mt, addr, &at, &slot)
    if block == NULL:
        return -FS_EHOSTMEM
    block.vma[slot] = lower
    block.vma[slot + 1] = upper
    return 0

cdef void remove_slots(maple_t *mt, int32_t at, int32_t slot, int32_t n) noexcept nogil:
    # n slots of a block, and the block if none is left
    cdef maple_block_t *block = mt.blocks[at]
    cdef int32_t rest = block.n - slot - n
    memmove(block.end + slot, block.end + slot + n, rest * sizeof(uint64_t))
    memmove(block.vma + slot, block.vma + slot + n, rest * sizeof(vma_t *))
    block.n -= n
    mt.nr -= n
    if block.n:
        mt.max_end[at] = block.end[block.n - 1]
        return
    free(block)
    mt.nr_blocks -= 1
    memmove(mt.blocks + at, mt.blocks + at + 1, (mt.nr_blocks - at) * sizeof(maple_block_t *))
    memmove(mt.max_end + at, mt.max_end + at + 1, (mt.nr_blocks - at) * sizeof(uint64_t))

cdef void maple_erase(maple_t *mt, vma_t *vma) noexcept nogil:
    cdef int32_t at = maple_upper_bound(mt.max_end, mt.nr_blocks, vma.end - 1)
    remove_slots(mt, at, maple_upper_bound(mt.blocks[at].end, mt.blocks[at].n, vma.end - 1), 1)

cdef void maple_store(maple_t *mt, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    cdef int32_t at = maple_upper_bound(mt.max_end, mt.nr_blocks, start)
    cdef maple_block_t *block = mt.blocks[at]
    cdef int32_t slot = maple_upper_bound(block.end, block.n, start)
    cdef int32_t n = 0
    while slot + 1 + n < block.n and block.end[slot + 1 + n] <= end:
        n += 1
    block.end[slot] = end
    block.vma[slot] = vma
    if n:
        remove_slots(mt, at, slot + 1, n)
    mt.max_end[at] = block.end[block.n - 1]
    while at + 1 < mt.nr_blocks and mt.blocks[at + 1].end[0] <= end:
        remove_slots(mt, at + 1, 0, 1)

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
