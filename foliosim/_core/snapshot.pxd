# cython: language_level=3
"""A machine's records as one block of bytes that does not depend on where they lie (kernel/power/snapshot.c has the
same duty)."""
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from foliosim._core.types cimport *

cdef enum record_e:          # what an item is made of
    RECORD_BYTES             # no pointers in it
    RECORD_MACHINE
    RECORD_MM
    RECORD_VMA
    RECORD_AVC
    RECORD_ANON_VMA
    RECORD_MAPPING
    RECORD_MAPPINGS          # machine_t.mappings
    RECORD_MAPLE_INDEX       # maple_t.blocks
    RECORD_MAPLE_BLOCK
    RECORD_STORE
    RECORD_ENTRIES           # store_t.slots
    RECORD_BLOCKS            # mapping_t.blocks
    RECORD_SLOTS             # swap_t.slots
    NR_RECORDS

cdef struct item_t:
    uint32_t record          # record_e
    uint32_t checked         # the sizes were compared
    uint64_t size            # bytes as allocated
    uint64_t used            # of these, bytes that are kept; the others are zero
    uint64_t offset          # of the kept ones in image_t.data
    void *at                 # where it lies in the machine

cdef struct image_t:
    item_t *items            # the first is the machine_t
    int64_t nr, cap
    uint8_t *data
    uint64_t size, data_cap
    int32_t *hash            # by address: number of an item, 0: free
    uint64_t hash_mask
    bint thaw                # pointers are being put in, rather than taken out
    int error                # 0, -FS_EHOSTMEM, or -EINVAL: the image contradicts itself

# Copy the records of a machine.  0 or -FS_EHOSTMEM.
cdef int image_freeze(image_t *w, machine_t *m) noexcept nogil
# Make records from an image, in a machine_t that owns none.  0, -FS_EHOSTMEM or -EINVAL; then it still owns none.
# What belongs to the host or to Python stays as it is: memory of frames, policies, references.
cdef int image_thaw(image_t *w, machine_t *m) noexcept nogil
cdef void image_deinit(image_t *w) noexcept nogil
