# cython: language_level=3
"""The heap: brk (mm/mmap.c, mm/vma.c)."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# Where the heap starts, and ends for the time being, as execve sets it.
cdef void mm_set_brk(mm_t *mm, uint64_t start) noexcept nogil
# The end of the heap: addr, or the old end if that cannot be.  `*host_failed`: the host refused memory.
cdef uint64_t do_brk(machine_t *m, mm_t *mm, uint64_t addr, bint *host_failed) noexcept nogil
# Map anonymous memory at [addr, addr + len), which is free, merging with `prev` only (NULL: with nothing).
# 0, -ENOMEM, or -FS_EHOSTMEM.
cdef int do_brk_flags(machine_t *m, mm_t *mm, vma_t *prev, uint64_t addr, uint64_t len, uint64_t flags) noexcept nogil
