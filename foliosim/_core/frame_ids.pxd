# cython: language_level=3
"""Canonical frame numbers of an observation: frames are numbered in the order in which they are met."""
from libc.stdint cimport int32_t, int64_t, uint32_t
from foliosim._core.flags cimport FS_EHOSTMEM

cdef struct frames_t:       # canonical numbers
    uint32_t *keys          # hash of blocks: pfn >> 9, FS_NO_PFN: free
    int32_t *block          # which block of ids; same place as keys
    uint32_t cap            # of the hash, a power of 2
    int32_t nr_blocks, blocks_cap
    int32_t *ids            # 512 a block; -1: not met
    uint32_t *pfns          # by canonical number
    int32_t nr, pfns_cap
    uint32_t last_key
    int32_t last_block

cdef void frames_init(frames_t *frames) noexcept nogil
cdef void frames_deinit(frames_t *frames) noexcept nogil
# Make the block of a key the current one.  0, or -FS_EHOSTMEM.
cdef int frames_block(frames_t *frames, uint32_t key) noexcept nogil
# Room for more numbers.  0, or -FS_EHOSTMEM.
cdef int pfns_grow(frames_t *frames) noexcept nogil

cdef inline int32_t frame_id(frames_t *frames, uint32_t pfn) noexcept nogil:
    """Canonical number of a frame: the next one when it is first met; -FS_EHOSTMEM on failure."""
    cdef int32_t *id
    if pfn >> 9 != frames.last_key and frames_block(frames, pfn >> 9):
        return -FS_EHOSTMEM
    id = frames.ids + <int64_t>frames.last_block * 512 + (pfn & 511)
    if id[0] < 0:
        if frames.nr == frames.pfns_cap and pfns_grow(frames):
            return -FS_EHOSTMEM
        frames.pfns[frames.nr] = pfn
        id[0] = frames.nr
        frames.nr += 1
    return id[0]
