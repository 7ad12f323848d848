# cython: language_level=3
"""VMAs: making, linking, merging and splitting them (mm/vma.c).

Rules kept by every function: VMAs of an mm are in mm.vmas and, ascending, in the list mm.mmap; mm.map_count counts
them; a VMA with a file is on file.i_mmap and holds one of its references.
"""
from libc.stdint cimport uint64_t
from libc.string cimport memset
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.mapping cimport vma_is_device
from foliosim._core.pgtable cimport pgprot_noncached, vm_get_page_prot

cdef struct vmg_t:           # vma_merge_struct: a range that shall become part of its neighbours
    mm_t *mm
    vma_t *prev
    vma_t *middle            # the existing VMA that is being changed; NULL: a new range
    vma_t *next
    vma_t *target            # the VMA that takes the range, once known
    vma_t *copied_from       # mremap: the VMA that is being moved
    uint64_t start, end      # the range, then what vma_merge makes of it
    uint64_t pgoff
    uint64_t flags
    mapping_t *file
    uint32_t anon_name
    anon_vma_t *anon_vma     # of middle, or of the VMA that is being moved
    int error                # why an existing range could not be merged: no memory; 0: it was not to be
    bint just_expand         # merge with prev only (brk)
    bint adjust_middle_start
    bint adjust_next_start
    bint remove_middle
    bint remove_next

cdef inline void vmg_init(vmg_t *vmg, mm_t *mm, uint64_t start, uint64_t end, uint64_t flags) noexcept nogil:
    """A range of private anonymous memory without neighbours; the caller fills in what it knows."""
    memset(vmg, 0, sizeof(vmg_t))
    vmg.mm = mm
    vmg.start = start
    vmg.end = end
    vmg.flags = flags

cdef inline bint vma_is_anonymous(const vma_t *vma) noexcept nogil:
    """Private anonymous memory; shared anonymous memory is a file's."""
    return vma.file == NULL

cdef inline uint64_t vma_pages(const vma_t *vma) noexcept nogil:
    return (vma.end - vma.start) >> FS_PAGE_SHIFT

cdef inline uint64_t vm_start_gap(const vma_t *vma) noexcept nogil:
    """Start of a VMA, with the room kept free below one that grows downwards."""
    if not vma.flags & VM_GROWSDOWN:
        return vma.start
    return vma.start - FS_STACK_GUARD_GAP if vma.start > FS_STACK_GUARD_GAP else 0

cdef inline uint64_t fs_page_align(uint64_t n) noexcept nogil:
    """PAGE_ALIGN: bytes rounded up to pages; wraps to 0 near 2^64."""
    return (n + FS_PAGE_SIZE - 1) & ~(FS_PAGE_SIZE - 1)

cdef inline bint vma_wants_writenotify(const machine_t *m, const vma_t *vma) noexcept nogil:
    """Must the first store to each page of shared memory fault?  To tell the file system, or to track soft-dirty."""
    if vma.flags & (VM_WRITE | VM_SHARED) != VM_WRITE | VM_SHARED:
        return False
    if vma.file != NULL and vma.file.kind == MAPPING_DISK:
        return True
    return m.soft_dirty and not vma.flags & VM_SOFTDIRTY

cdef inline void vma_set_page_prot(const machine_t *m, vma_t *vma) noexcept nogil:
    """Follows vma_set_page_prot (mm/mmap.c)."""
    cdef uint64_t flags = vma.flags
    if vma_wants_writenotify(m, vma):
        flags &= ~VM_SHARED
    vma.page_prot = vm_get_page_prot(m, flags)
    if vma_is_device(vma):
        vma.page_prot = pgprot_noncached(vma.page_prot)

cdef inline bint vm_enough_memory(const machine_t *m, uint64_t pages) noexcept nogil:
    """__vm_enough_memory with overcommit_memory 0: refuses only what exceeds the whole memory (no swap)."""
    return pages <= m.nr_pages

# A VMA outside any tree, without file and anon_vma; NULL: no memory (slab_errno), here and below.
cdef vma_t *vma_alloc(machine_t *m, mm_t *mm, uint64_t start, uint64_t end, uint64_t pgoff,
                      uint64_t flags) noexcept nogil
# Free the struct only.
cdef void vma_free(vma_t *vma) noexcept nogil
# Copy for a split, a fork or a move: same file (no reference taken) and anon_vma pointer, empty chain, in no list.
cdef vma_t *vma_dup(const vma_t *vma) noexcept nogil
# Drop the file reference and free an unlinked VMA (remove_vma).
cdef void remove_vma(machine_t *m, vma_t *vma) noexcept nogil
# Put into tree, list, map_count and the file's i_mmap.  0, or -FS_EHOSTMEM.
cdef int vma_link(machine_t *m, mm_t *mm, vma_t *vma) noexcept nogil
# Take out of tree, list and map_count (not i_mmap).
cdef void vma_unlink(mm_t *mm, vma_t *vma) noexcept nogil
cdef void vma_link_file(vma_t *vma) noexcept nogil
cdef void vma_unlink_file(vma_t *vma) noexcept nogil

# The VMA that took the new range [start, end) in, grown; NULL: make a new VMA.  No memory: NULL too.
cdef vma_t *vma_merge_new_range(machine_t *m, vmg_t *vmg) noexcept nogil
# vma, grown at its end by delta bytes that are free, and perhaps merged with the next VMA.  NULL: no memory.
cdef vma_t *vma_merge_extend(machine_t *m, vma_t *vma, uint64_t delta) noexcept nogil
# The VMA that holds the free range [addr, addr + len), mapping what `*vma` maps from pgoff on: a grown neighbour, or a
# new VMA.  `*vma` changes if it is that neighbour or became part of it.  NULL: no memory.
cdef vma_t *copy_vma(machine_t *m, vma_t **vma, uint64_t addr, uint64_t len, uint64_t pgoff) noexcept nogil
# Cut vma so that [start, end) is a VMA that may get `*flags`, or is part of one that has them.  `*result` is that VMA;
# sticky flags of merged neighbours are added to `*flags`.  The caller sets result.flags and page_prot.
# 0, -ENOMEM (also at max_map_count), or -FS_EHOSTMEM; a first cut stays if the second one fails.
cdef int vma_modify_flags(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, uint64_t *flags,
                          vma_t **result) noexcept nogil
# The same for its name; the caller sets result.anon_name.
cdef int vma_modify_name(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, uint32_t name,
                         vma_t **result) noexcept nogil
# Cut vma at addr; the new VMA is the part below if new_below, else the part above.  0, -ENOMEM at max_map_count,
# or -FS_EHOSTMEM.
cdef int split_vma(machine_t *m, vma_t *vma, uint64_t addr, bint new_below) noexcept nogil
# The same for a part that will be unmapped, without looking at max_map_count (__split_vma).
cdef int split_vma_nocheck(machine_t *m, vma_t *vma, uint64_t addr, bint new_below) noexcept nogil
