# cython: language_level=3
"""The numbers are kept in blocks of 512 by pfn, found through a hash: neighbouring frames cost one comparison."""
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset
from foliosim._core.flags cimport FS_NO_PFN


cdef void frames_init(frames_t *frames) noexcept nogil:
    memset(frames, 0, sizeof(frames[0]))
    frames.last_key = FS_NO_PFN


cdef inline uint32_t hash_slot(const frames_t *frames, uint32_t key) noexcept nogil:
    cdef uint32_t slot = (key * 0x9e3779b1U) >> 7 & (frames.cap - 1)
    while frames.keys[slot] != FS_NO_PFN and frames.keys[slot] != key:
        slot = (slot + 1) & (frames.cap - 1)
    return slot


cdef int frames_grow(frames_t *frames) noexcept nogil:
    """Twice the hash and the blocks; -FS_EHOSTMEM on failure."""
    cdef frames_t new = frames[0]
    cdef uint32_t i, slot
    cdef int32_t *ids
    new.cap = frames.cap * 2 if frames.cap else 64
    new.blocks_cap = new.cap // 2
    ids = <int32_t *>realloc(frames.ids, <size_t>new.blocks_cap * 512 * sizeof(int32_t))
    if ids == NULL:
        return -FS_EHOSTMEM
    frames.ids = new.ids = ids
    new.keys = <uint32_t *>calloc(new.cap, sizeof(uint32_t))
    new.block = <int32_t *>calloc(new.cap, sizeof(int32_t))
    if new.keys == NULL or new.block == NULL:
        free(new.keys)
        free(new.block)
        return -FS_EHOSTMEM
    memset(new.keys, 0xff, new.cap * sizeof(uint32_t))
    for i in range(frames.cap):
        if frames.keys[i] != FS_NO_PFN:
            slot = hash_slot(&new, frames.keys[i])
            new.keys[slot] = frames.keys[i]
            new.block[slot] = frames.block[i]
    free(frames.keys)
    free(frames.block)
    frames[0] = new
    return 0


cdef int frames_block(frames_t *frames, uint32_t key) noexcept nogil:
    """Make the block of a key the current one; -FS_EHOSTMEM on failure."""
    cdef uint32_t slot
    if frames.nr_blocks == frames.blocks_cap and frames_grow(frames):
        return -FS_EHOSTMEM
    slot = hash_slot(frames, key)
    if frames.keys[slot] == FS_NO_PFN:
        frames.keys[slot] = key
        frames.block[slot] = frames.nr_blocks
        memset(frames.ids + <int64_t>frames.nr_blocks * 512, 0xff, 512 * sizeof(int32_t))
        frames.nr_blocks += 1
    frames.last_key = key
    frames.last_block = frames.block[slot]
    return 0


cdef int pfns_grow(frames_t *frames) noexcept nogil:
    cdef int32_t cap = frames.pfns_cap * 2 if frames.pfns_cap else 1024
    cdef uint32_t *pfns = <uint32_t *>realloc(frames.pfns, cap * sizeof(uint32_t))
    if pfns == NULL:
        return -FS_EHOSTMEM
    frames.pfns = pfns
    frames.pfns_cap = cap
    return 0


cdef void frames_deinit(frames_t *frames) noexcept nogil:
    free(frames.keys)
    free(frames.block)
    free(frames.ids)
    free(frames.pfns)
