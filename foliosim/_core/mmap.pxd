# cython: language_level=3
"""mmap, munmap, and the life of address spaces (mm/mmap.c, mm/vma.c, kernel/fork.c)."""
from libc.stdint cimport int64_t, uint64_t
from foliosim._core.types cimport *

# mmap(2).  file NULL with MAP_ANONYMOUS, else the mapping, and whether the file is open for writing; offset in
# bytes.  The address, or -errno; -FS_ENOTSIM for MAP_DROPPABLE.  Populates for MAP_POPULATE and MAP_LOCKED.
cdef int64_t ksys_mmap(machine_t *m, mm_t *mm, uint64_t addr, uint64_t len, uint64_t prot, uint64_t flags,
                       mapping_t *file, bint writable, uint64_t offset) noexcept nogil
# The same with pgoff in pages and without populating: `*populate` gets the bytes to populate.
cdef int64_t do_mmap(machine_t *m, mm_t *mm, uint64_t addr, uint64_t len, uint64_t prot, uint64_t flags,
                     mapping_t *file, bint writable, uint64_t pgoff, uint64_t *populate) noexcept nogil
# munmap(2).  0, -EINVAL, -EPERM (sealed), -ENOMEM at max_map_count, or -FS_EHOSTMEM; cuts made before stay.
cdef int do_munmap(machine_t *m, mm_t *mm, uint64_t start, uint64_t len) noexcept nogil
# The same as a step of its own, which a signal ends: -EINTR, the areas are all there but not all of their pages.
cdef int vm_munmap(machine_t *m, mm_t *mm, uint64_t start, uint64_t len) noexcept nogil

# A new empty address space at the end of the machine's list; NULL if there is no frame or no host memory.
cdef mm_t *mm_alloc(machine_t *m) noexcept nogil
# Take an mm without VMAs out of the list and free it.
cdef void mm_free(machine_t *m, mm_t *mm) noexcept nogil
# Unmap everything; the mm stays, empty.  -EINTR, if it is killable: a signal ended it, the areas are all there.
cdef int exit_mmap(machine_t *m, mm_t *mm, bint killable) noexcept nogil
# fork: fill the empty mm with what a child of oldmm has.  0; -ENOMEM, -EINTR or -FS_EHOSTMEM: then exit_mmap and
# mm_free it.
cdef int dup_mmap(machine_t *m, mm_t *mm, mm_t *oldmm) noexcept nogil
