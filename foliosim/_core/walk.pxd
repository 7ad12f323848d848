# cython: language_level=3
"""Hardware page walks of tables in emulated physical memory, or in an image of one."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.types cimport *

# The processor as Linux sets it up, and the tables of an mm.
cdef void walk_mmu_init(walk_mmu_t *mmu, const machine_t *m, const mm_t *mm) noexcept nogil
# How many levels the mmu's va_bits need.
cdef void walk_mmu_levels(walk_mmu_t *mmu) noexcept nogil
# One access of a kind (WALK_WRITE, WALK_USER, WALK_FETCH) to an address.
cdef void walk(const walk_mmu_t *mmu, uint64_t va, uint32_t access, walk_result_t *out) noexcept nogil
# The same for n addresses; the loads of neighbours overlap.
cdef void walk_batch(const walk_mmu_t *mmu, const uint64_t *va, int64_t n, uint32_t access,
                     walk_result_t *out) noexcept nogil
