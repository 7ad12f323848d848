# cython: language_level=3
"""Hardware page walk of x86-64 tables in emulated physical memory: 4 levels, leaves of 4 KiB, 2 MiB and 1 GiB."""
from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t, uint64_t
from foliosim._core.types cimport *

cdef extern from *:
    """
    /* the access */
    #define WALK_READ  0U
    #define WALK_WRITE 0x02U
    #define WALK_USER  0x04U
    #define WALK_FETCH 0x10U
    /* the processor's state, and what to do to the tables */
    #define WALK_NXE  0x0100U
    #define WALK_WP   0x0200U
    #define WALK_SMEP 0x0400U
    #define WALK_SMAP 0x0800U
    #define WALK_AC   0x1000U
    #define WALK_SET_AD 0x2000U
    #define WALK_LINUX (WALK_NXE | WALK_WP | WALK_SMEP | WALK_SMAP)
    /* result: rights */
    #define WALK_RIGHT_R 1
    #define WALK_RIGHT_W 2
    #define WALK_RIGHT_U 4
    #define WALK_RIGHT_X 8
    /* result: error; 0 is success, the code of a page fault is in the low 16 bits */
    #define WALK_PF 0x80000000U
    #define WALK_GP 0x40000000U
    """
    const uint32_t WALK_READ, WALK_WRITE, WALK_USER, WALK_FETCH
    const uint32_t WALK_NXE, WALK_WP, WALK_SMEP, WALK_SMAP, WALK_AC, WALK_SET_AD, WALK_LINUX
    const uint32_t WALK_PF, WALK_GP
    enum:
        WALK_RIGHT_R, WALK_RIGHT_W, WALK_RIGHT_U, WALK_RIGHT_X

cdef struct walk_mmu_t:       # where the tables are and how the processor is set up
    uint8_t *phys             # physical memory from address 0
    uint64_t size             # bytes of it; beyond are zeros that cannot be written
    uint32_t root             # frame of the root table: CR3 bits 51:12
    uint32_t flags            # WALK_NXE...WALK_SET_AD
    int maxphyaddr            # bits of a physical address; those up to 51 beyond are reserved

cdef struct walk_result_t:    # 16 bytes; numpy: pa u8, error u4, level i1, rights u1, 2 bytes of padding
    uint64_t pa               # physical address; 0 on a fault
    uint32_t error            # 0, WALK_PF | error code, or WALK_GP
    int8_t level              # of the leaf, or of the entry that stopped the walk: 0 PTE ... 3 PGD; -1 with WALK_GP
    uint8_t rights            # WALK_RIGHT_*: those of the whole walk; 0 on a fault

# The processor as Linux sets it up, and the tables of an mm.
cdef void walk_mmu_init(walk_mmu_t *mmu, const machine_t *m, const mm_t *mm) noexcept nogil
# One access of a kind (WALK_WRITE, WALK_USER, WALK_FETCH) to an address.
cdef void walk(const walk_mmu_t *mmu, uint64_t va, uint32_t access, walk_result_t *out) noexcept nogil
# The same for n addresses; the loads of neighbours overlap.
cdef void walk_batch(const walk_mmu_t *mmu, const uint64_t *va, int64_t n, uint32_t access,
                     walk_result_t *out) noexcept nogil
