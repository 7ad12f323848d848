# cython: language_level=3
"""anon_vma objects, their chains, and mapping ids.  Follows the first part of mm/rmap.c."""
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from foliosim._core.flags cimport *
from foliosim._core.fault_inject cimport failslab, slab_errno
from foliosim._core.types cimport *

# ---- mapping ids ----

cdef int mapping_id_alloc(machine_t *m, void *object) noexcept nogil:
    cdef uint32_t id = m.mappings_free
    cdef uint32_t cap
    cdef void *grown
    if id:
        m.mappings_free = <uint32_t>(<size_t>m.mappings[id] >> 1)
        m.mappings[id] = object
        return <int>id
    id = m.mappings_nr if m.mappings_nr else 1
    if id > 0xffffff:
        return -FS_EHOSTMEM
    if id >= m.mappings_cap:
        cap = m.mappings_cap * 2 if m.mappings_cap else 64
        grown = realloc(m.mappings, cap * sizeof(void *))
        if grown == NULL:
            return -FS_EHOSTMEM
        m.mappings = <void **>grown
        m.mappings_cap = cap
        m.mappings[0] = NULL
    m.mappings[id] = object
    m.mappings_nr = id + 1
    return <int>id

cdef void mapping_id_free(machine_t *m, uint32_t id) noexcept nogil:
    m.mappings[id] = <void *>((<size_t>m.mappings_free << 1) | 1)
    m.mappings_free = id

# ---- anon_vma ----

cdef avc_t *anon_vma_chain_alloc(machine_t *m) noexcept nogil:
    return NULL if failslab(m, FAIL_ANON_VMA) else <avc_t *>malloc(sizeof(avc_t))

cdef anon_vma_t *anon_vma_alloc(machine_t *m) noexcept nogil:
    cdef anon_vma_t *anon_vma
    cdef int id
    if failslab(m, FAIL_ANON_VMA):
        return NULL
    anon_vma = <anon_vma_t *>calloc(1, sizeof(anon_vma_t))
    if anon_vma == NULL:
        return NULL
    id = mapping_id_alloc(m, anon_vma)
    if id < 0:
        free(anon_vma)
        return NULL
    anon_vma.id = <uint32_t>id
    anon_vma.refcount = 1
    anon_vma.root = anon_vma
    anon_vma.parent = anon_vma
    return anon_vma

cdef void put_anon_vma(machine_t *m, anon_vma_t *anon_vma) noexcept nogil:
    """Follows: __put_anon_vma."""
    cdef anon_vma_t *root = anon_vma.root
    anon_vma.refcount -= 1
    if anon_vma.refcount:
        return
    mapping_id_free(m, anon_vma.id)
    free(anon_vma)
    if root != anon_vma:
        put_anon_vma(m, root)

cdef void chain_link(vma_t *vma, avc_t *avc, anon_vma_t *anon_vma) noexcept nogil:
    # Follows: anon_vma_chain_link.  The new entry becomes the VMA's first.
    avc.vma = vma
    avc.anon_vma = anon_vma
    avc.vma_next = vma.chain
    vma.chain = avc
    vma.nr_chain += 1
    avc.av_prev = NULL
    avc.av_next = anon_vma.first
    if anon_vma.first != NULL:
        anon_vma.first.av_prev = avc
    anon_vma.first = avc

cdef void unlink_from_anon_vma(avc_t *avc) noexcept nogil:
    if avc.av_prev != NULL:
        avc.av_prev.av_next = avc.av_next
    else:
        avc.anon_vma.first = avc.av_next
    if avc.av_next != NULL:
        avc.av_next.av_prev = avc.av_prev

cdef bint anon_vma_compatible(const vma_t *a, const vma_t *b) noexcept nogil:
    # could a and b be one VMA, but for protection?
    return (a.end == b.start and a.file == b.file
            and not (a.flags ^ b.flags) & ~(VM_ACCESS_FLAGS | VM_IGNORE_MERGE)
            and b.pgoff == a.pgoff + ((b.start - a.start) >> FS_PAGE_SHIFT))

cdef anon_vma_t *reusable_anon_vma(vma_t *old, const vma_t *a, const vma_t *b) noexcept nogil:
    # Follows: reusable_anon_vma.  `old` is a or b, the one that has an anon_vma to share.
    if anon_vma_compatible(a, b) and old.anon_vma != NULL and old.nr_chain == 1:
        return old.anon_vma
    return NULL

cdef anon_vma_t *find_mergeable_anon_vma(vma_t *vma) noexcept nogil:
    """Follows: find_mergeable_anon_vma (mm/vma.c)."""
    cdef anon_vma_t *anon_vma = NULL
    if vma.next != NULL:
        anon_vma = reusable_anon_vma(vma.next, vma, vma.next)
    if anon_vma == NULL and vma.prev != NULL:
        anon_vma = reusable_anon_vma(vma.prev, vma.prev, vma)
    return anon_vma

cdef int anon_vma_prepare(machine_t *m, vma_t *vma) noexcept nogil:
    """Follows: __anon_vma_prepare."""
    cdef avc_t *avc
    cdef anon_vma_t *anon_vma
    if vma.anon_vma != NULL:
        return 0
    avc = anon_vma_chain_alloc(m)
    if avc == NULL:
        return slab_errno(m)
    anon_vma = find_mergeable_anon_vma(vma)
    if anon_vma == NULL:
        anon_vma = anon_vma_alloc(m)
        if anon_vma == NULL:
            free(avc)
            return slab_errno(m)
        anon_vma.num_children += 1
    vma.anon_vma = anon_vma
    chain_link(vma, avc, anon_vma)
    anon_vma.num_active_vmas += 1
    return 0

cdef void drop_chain(vma_t *vma) noexcept nogil:
    # undo a clone that failed halfway: the anon_vmas have other VMAs
    cdef avc_t *avc = vma.chain
    cdef avc_t *next
    while avc != NULL:
        next = avc.vma_next
        unlink_from_anon_vma(avc)
        free(avc)
        avc = next
    vma.chain = NULL
    vma.nr_chain = 0
    vma.anon_vma = NULL

cdef void reverse_chain(vma_t *vma) noexcept nogil:
    cdef avc_t *avc = vma.chain
    cdef avc_t *done = NULL
    cdef avc_t *next
    while avc != NULL:
        next = avc.vma_next
        avc.vma_next = done
        done = avc
        avc = next
    vma.chain = done

cdef int anon_vma_clone(machine_t *m, vma_t *dst, vma_t *src) noexcept nogil:
    """Follows: anon_vma_clone.  The kernel walks the chain from the root; we walk from the newest and turn it round,
    so the last candidate for reuse is the kernel's first."""
    cdef avc_t *from_src = src.chain
    cdef avc_t *avc
    cdef anon_vma_t *anon_vma
    cdef anon_vma_t *reuse = NULL
    while from_src != NULL:
        avc = anon_vma_chain_alloc(m)
        if avc == NULL:
            drop_chain(dst)
            return slab_errno(m)
        anon_vma = from_src.anon_vma
        chain_link(dst, avc, anon_vma)
        if anon_vma.num_children < 2 and anon_vma.num_active_vmas == 0:
            reuse = anon_vma
        from_src = from_src.vma_next
    reverse_chain(dst)
    if dst.anon_vma == NULL and src.anon_vma != NULL:
        dst.anon_vma = reuse
    if dst.anon_vma != NULL:
        dst.anon_vma.num_active_vmas += 1
    return 0

cdef void free_unused(machine_t *m, anon_vma_t *anon_vma) noexcept nogil:
    if anon_vma != NULL:
        put_anon_vma(m, anon_vma)

cdef int anon_vma_fork(machine_t *m, vma_t *vma, vma_t *pvma) noexcept nogil:
    """Follows: anon_vma_fork."""
    cdef anon_vma_t *anon_vma
    cdef avc_t *avc
    vma.anon_vma = NULL
    if pvma.anon_vma == NULL:
        return 0
    if anon_vma_clone(m, vma, pvma):
        return slab_errno(m)
    if vma.anon_vma != NULL:
        return 0
    anon_vma = anon_vma_alloc(m)
    avc = anon_vma_chain_alloc(m) if anon_vma != NULL else NULL
    if avc == NULL:
        free_unused(m, anon_vma)
        drop_chain(vma)
        return slab_errno(m)
    anon_vma.num_active_vmas += 1
    anon_vma.root = pvma.anon_vma.root
    anon_vma.parent = pvma.anon_vma
    anon_vma.root.refcount += 1
    vma.anon_vma = anon_vma
    chain_link(vma, avc, anon_vma)
    anon_vma.parent.num_children += 1
    return 0

cdef void unlink_anon_vmas(machine_t *m, vma_t *vma) noexcept nogil:
    """Follows: unlink_anon_vmas.  Newest first, so that a parent outlives its children."""
    cdef avc_t *avc = vma.chain
    cdef avc_t *next
    cdef anon_vma_t *anon_vma
    if vma.anon_vma != NULL:
        vma.anon_vma.num_active_vmas -= 1
        vma.anon_vma = NULL
    while avc != NULL:
        next = avc.vma_next
        anon_vma = avc.anon_vma
        unlink_from_anon_vma(avc)
        free(avc)
        if anon_vma.first == NULL:
            anon_vma.parent.num_children -= 1
            put_anon_vma(m, anon_vma)
        avc = next
    vma.chain = NULL
    vma.nr_chain = 0
