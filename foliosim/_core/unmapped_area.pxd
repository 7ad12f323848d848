# cython: language_level=3
"""Where mmap places a mapping (mm/mmap.c, arch/x86/kernel/sys_x86_64.c, and huge_memory.c and shmem.c for alignment).

The address space is laid out top-down without randomisation.
"""
from libc.stdint cimport int64_t, uint64_t
from foliosim._core.types cimport *

# Address for a mapping of len bytes (a multiple of the page size; pgoff counts for files only): addr itself with
# MAP_FIXED, else the hint addr if it is free, else a gap.  Or -ENOMEM, or -EINVAL for a fixed unaligned address.
cdef int64_t get_unmapped_area(machine_t *m, mm_t *mm, mapping_t *file, uint64_t addr, uint64_t len, uint64_t pgoff,
                               uint64_t flags) noexcept nogil
