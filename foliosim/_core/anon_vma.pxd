# cython: language_level=3
"""Mapping ids, and the anon_vmas that connect anonymous folios with the VMAs that may map them (mm/rmap.c).

An anon_vma lives while VMAs are chained to it.  ``refcount`` is 1 for that, plus 1 per other anon_vma it is the
root of.  A VMA's chain has its own anon_vma first and the root last.
"""
from libc.stdint cimport uint32_t
from foliosim._core.types cimport *

# Id (1..2^24-1) for an anon_vma_t or mapping_t, kept in folio.mapping.  Or -FS_EHOSTMEM.
# m.mappings[id] is the object; m.mappings_nr is one above the highest id ever given (0: none yet).  A free entry holds
# twice the next free id, plus 1, so that it is odd; m.mappings_free is the first free id, 0 if there is none.
cdef int mapping_id_alloc(machine_t *m, void *object) noexcept nogil
cdef void mapping_id_free(machine_t *m, uint32_t id) noexcept nogil

cdef inline bint mapping_id_used(const machine_t *m, uint32_t id) noexcept nogil:
    """Does an object have this id now?"""
    return 0 < id < m.mappings_nr and not (<size_t>m.mappings[id] & 1)

cdef inline anon_vma_t *anon_vma_of(const machine_t *m, uint32_t id) noexcept nogil:
    """The anon_vma with the mapping id of an anonymous folio."""
    return <anon_vma_t *>m.mappings[id]

cdef inline bint vma_is_fork_child(const vma_t *vma) noexcept nogil:
    """May the VMA's anonymous pages be shared with a parent's (its chain has several entries)?"""
    return vma != NULL and vma.anon_vma != NULL and vma.nr_chain != 1

# A new root anon_vma without VMAs, refcount 1; NULL: no memory (slab_errno).
cdef anon_vma_t *anon_vma_alloc(machine_t *m) noexcept nogil
# Drop a reference; the last one frees it.
cdef void put_anon_vma(machine_t *m, anon_vma_t *anon_vma) noexcept nogil
# Give vma an anon_vma, shared with a neighbour if they could merge, unless it has one.  0, or slab_errno.
cdef int anon_vma_prepare(machine_t *m, vma_t *vma) noexcept nogil
# Chain dst, whose chain is empty, to all anon_vmas of src.  dst.anon_vma NULL (fork): may reuse one without a VMA of
# its own.  0, or slab_errno with dst.chain empty.
cdef int anon_vma_clone(machine_t *m, vma_t *dst, vma_t *src) noexcept nogil
# Fork: chain the child's vma to the parent's anon_vmas and give it its own.  0, or slab_errno with an empty chain.
cdef int anon_vma_fork(machine_t *m, vma_t *vma, vma_t *pvma) noexcept nogil
# Empty the VMA's chain, free anon_vmas that nobody needs any more, set vma.anon_vma to NULL.
cdef void unlink_anon_vmas(machine_t *m, vma_t *vma) noexcept nogil
