# cython: language_level=3
"""Allocations that fail on purpose (lib/fault-inject.c; fail_page_alloc and failslab of Linux)."""
from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t
from foliosim._core.flags cimport FS_EHOSTMEM
from foliosim._core.types cimport *

# Count an allocation; shall it fail?
cdef bint should_fail(machine_t *m, int kind, int order) noexcept nogil

cdef inline bint fail_page_alloc(machine_t *m, int kind, int order) noexcept nogil:
    """A folio of this order, or a page table."""
    return m.fail.armed and should_fail(m, kind, order)

cdef inline bint failslab(machine_t *m, int kind) noexcept nogil:
    """A VMA, or what belongs to an anon_vma."""
    return m.fail.armed and should_fail(m, kind, 0)

cdef inline int slab_errno(const machine_t *m) noexcept nogil:
    """The errno after the allocation of a kernel object failed: on purpose, or because the host has no memory."""
    return -ENOMEM if m.fail.struck else -FS_EHOSTMEM
