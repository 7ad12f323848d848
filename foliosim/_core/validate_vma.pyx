# cython: language_level=3
"""VMAs are in order and counted; chains, anon_vmas and page caches agree with each other.

Follows validate_mm (mm/mmap.c), anon_vma_interval_tree_verify (mm/interval_tree.c) and the comments of
struct anon_vma (include/linux/rmap.h).
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.mapping cimport vma_is_device
from foliosim._core.pgtable cimport pgprot_noncached, vm_get_page_prot
from foliosim._core.anon_vma cimport mapping_id_used


cdef str vma_name(const vma_t *vma):
    return f"vma {vma.mm.pid} 0x{vma.start:x}"


cdef int wrong_vma(list out, const vma_t *vma, str field, object counted, object recomputed) except -1:
    out.append((vma_name(vma), field, counted, recomputed))
    return 0


# ---- one mm ----

cdef int check_chain(const vma_t *vma, list out) except -1:
    cdef const avc_t *avc = vma.chain
    cdef int32_t n = 0
    cdef bint own = vma.anon_vma == NULL
    while avc != NULL:
        n += 1
        own = own or avc.anon_vma == vma.anon_vma
        if avc.vma != vma:
            wrong_vma(out, vma, "chain.vma", <size_t>avc.vma, <size_t>vma)
        avc = avc.vma_next
    if n != vma.nr_chain:
        wrong_vma(out, vma, "nr_chain", vma.nr_chain, n)
    if not own or (n and vma.anon_vma == NULL):
        wrong_vma(out, vma, "anon_vma", vma.anon_vma != NULL, n)
    return 0


cdef int check_vma(machine_t *m, const mm_t *mm, const vma_t *vma, const vma_t *prev, list out) except -1:
    cdef uint64_t mask = FS_PAGE_SIZE - 1, prot = vm_get_page_prot(m, vma.flags)
    if vma.mm != mm:
        wrong_vma(out, vma, "mm", vma.mm.pid, mm.pid)
    if vma.start >= vma.end or (vma.start | vma.end) & mask or vma.end > m.task_size:
        wrong_vma(out, vma, "end", vma.end, vma.start)
    if vma.prev != prev:
        wrong_vma(out, vma, "prev", <size_t>vma.prev, <size_t>prev)
    if prev != NULL and prev.end > vma.start:
        wrong_vma(out, vma, "start", vma.start, prev.end)
    if vma_is_device(vma):
        prot = pgprot_noncached(prot)
    if vma.page_prot != prot and vma.page_prot != vm_get_page_prot(m, vma.flags & ~VM_SHARED):
        wrong_vma(out, vma, "page_prot", vma.page_prot, prot)
    if vma.file == NULL and vma.flags & VM_SHARED:
        wrong_vma(out, vma, "file", 0, 1)
    return check_chain(vma, out)


cdef int check_maple(const mm_t *mm, list out) except -1:
    """The tree has the same VMAs in the same order as the list."""
    cdef const maple_t *tree = &mm.vmas
    cdef const maple_block_t *block
    cdef const vma_t *vma = mm.mmap
    cdef int64_t n = 0
    cdef int b, i
    for b in range(tree.nr_blocks):
        block = tree.blocks[b]
        if block.n < 1 or tree.max_end[b] != block.end[block.n - 1]:
            compare(out, "mm", mm.pid, f"vmas.max_end[{b}]", tree.max_end[b], block.end[block.n - 1] if block.n else 0)
        for i in range(block.n):
            n += 1
            if vma == NULL or block.vma[i] != vma or block.end[i] != vma.end:
                out.append((object_name("mm", mm.pid), f"vmas[{n - 1}]", block.end[i], vma.end if vma != NULL else 0))
                return 0
            vma = vma.next
    if vma != NULL:
        out.append((object_name("mm", mm.pid), f"vmas[{n}]", 0, vma.end))
    return compare(out, "mm", mm.pid, "vmas.nr", tree.nr, n)


cdef int validate_vmas(machine_t *m, mm_t *mm, list out) except -1:
    cdef const vma_t *vma = mm.mmap
    cdef const vma_t *prev = NULL
    cdef int64_t n = 0, total = 0, locked = 0, pages
    while vma != NULL:
        check_vma(m, mm, vma, prev, out)
        pages = (vma.end - vma.start) >> FS_PAGE_SHIFT
        n += 1
        total += pages
        if vma.flags & VM_LOCKED:
            locked += pages
        prev = vma
        vma = vma.next
    check_maple(mm, out)
    compare(out, "mm", mm.pid, "map_count", mm.map_count, n)
    compare(out, "mm", mm.pid, "total_vm", mm.total_vm, total)
    compare(out, "mm", mm.pid, "locked_vm", mm.locked_vm, locked + mm.locked_stale)
    return 0


cdef int validate_mm_ids(machine_t *m, list out) except -1:
    cdef const mm_t *mm = m.mm_first
    cdef set seen = set()
    cdef uint32_t i
    while mm != NULL:
        if mm.id == 0 or mm.id in seen:
            compare(out, "mm", mm.pid, "id", mm.id, 0)
        seen.add(mm.id)
        mm = mm.next
    for i in range(m.mm_ids_nr):
        if m.mm_ids[i] in seen:
            compare(out, "machine", 0, f"mm_ids[{i}]", m.mm_ids[i], 0)
    return 0


# ---- anon_vmas ----

cdef class Links:
    """What VMAs say of one anon_vma or mapping."""
    cdef void *object
    cdef int64_t chained      # chain entries; for a mapping: VMAs
    cdef int64_t active       # VMAs whose own anon_vma it is
    cdef int64_t children     # other anon_vmas whose parent it is
    cdef int64_t descendants  # other anon_vmas whose root it is


cdef Links links_of(dict found, void *object):
    cdef Links links = found.get(<size_t>object)
    if links is None:
        links = Links.__new__(Links)
        links.object = object
        found[<size_t>object] = links
    return links


cdef int gather(machine_t *m, dict anon_vmas, dict files) except -1:
    """Count what the VMAs of all mms refer to."""
    cdef const mm_t *mm = m.mm_first
    cdef const vma_t *vma
    cdef const avc_t *avc
    cdef Links links
    while mm != NULL:
        vma = mm.mmap
        while vma != NULL:
            if vma.file != NULL:
                links = links_of(files, vma.file)
                links.chained += 1
            if vma.anon_vma != NULL:
                links = links_of(anon_vmas, vma.anon_vma)
                links.active += 1
            avc = vma.chain
            while avc != NULL:
                links = links_of(anon_vmas, avc.anon_vma)
                links.chained += 1
                avc = avc.vma_next
            vma = vma.next
        mm = mm.next
    return 0


cdef int check_anon_vma(const machine_t *m, Links links, list out) except -1:
    """The first reference stands for the VMAs; the root counts itself as a child while VMAs are chained to it."""
    cdef const anon_vma_t *av = <const anon_vma_t *>links.object
    cdef const avc_t *avc = av.first
    cdef const avc_t *prev = NULL
    cdef int64_t n = 0
    while avc != NULL and avc.anon_vma == av and avc.av_prev == prev:
        n += 1
        prev = avc
        avc = avc.av_next
    if not mapping_id_used(m, av.id) or m.mappings[av.id] != links.object:
        compare(out, "anon_vma", av.id, "id", av.id, 0)
    compare(out, "anon_vma", av.id, "first", n, links.chained)
    compare(out, "anon_vma", av.id, "refcount", av.refcount, (links.chained != 0) + links.descendants)
    compare(out, "anon_vma", av.id, "num_active_vmas", av.num_active_vmas, links.active)
    compare(out, "anon_vma", av.id, "num_children", av.num_children,
            links.children + (av.root == av and links.chained != 0))
    return 0


cdef int check_anon_vmas(const machine_t *m, dict anon_vmas, list out) except -1:
    cdef const anon_vma_t *av
    cdef Links links, other
    for links in list(anon_vmas.values()):
        av = <const anon_vma_t *>links.object
        if av.root != av:
            other = links_of(anon_vmas, av.root)
            other.descendants += 1
        if av.parent != av:
            other = links_of(anon_vmas, av.parent)
            other.children += 1
    for links in anon_vmas.values():
        check_anon_vma(m, links, out)
    return 0


# ---- page caches ----

cdef int check_cache(tally_t *t, mapping_t *mapping, list out) except -1:
    """Every cached page belongs to a folio that knows its place."""
    cdef uint64_t i
    cdef uint32_t pfn, head
    cdef int64_t n = 0
    cdef const page_t *folio
    for i in range(mapping.cap):
        looked_at(t, 1)
        pfn = mapping.pfns[i]
        if pfn == FS_NO_PFN:
            continue
        n += 1
        head = head_of(t.m, pfn) if pfn < t.nr else pfn
        folio = page_of(t.m, head)
        if pfn >= t.nr or page_kind(folio) != PG_KIND_HEAD or folio.flags & PG_anon:
            compare(out, "mapping", mapping.id, f"pfns[{i}]", pfn, -1)
        elif folio_mapping_id(folio) != mapping.id or folio_index(folio) + (pfn - head) != i:
            compare(out, "mapping", mapping.id, f"pfns[{i}]", pfn, -1)
    return compare(out, "mapping", mapping.id, "nrpages", mapping.nrpages, n)


cdef int check_file(tally_t *t, Links links, list out) except -1:
    """Handles hold references too, so there may be more than VMAs."""
    cdef mapping_t *mapping = <mapping_t *>links.object
    cdef const vma_t *vma = mapping.i_mmap
    cdef const vma_t *prev = NULL
    cdef int64_t n = 0
    while vma != NULL and vma.file == mapping and vma.i_mmap_prev == prev:
        n += 1
        prev = vma
        vma = vma.i_mmap_next
    compare(out, "mapping", mapping.id, "i_mmap", n, links.chained)
    if mapping.refcount < links.chained:
        compare(out, "mapping", mapping.id, "refcount", mapping.refcount, links.chained)
    if not mapping_id_used(t.m, mapping.id) or t.m.mappings[mapping.id] != links.object:
        compare(out, "mapping", mapping.id, "id", mapping.id, 0)
    return check_cache(t, mapping, out)


cdef int validate_mappings(tally_t *t, list out) except -1:
    cdef dict anon_vmas = {}, files = {}
    cdef Links links
    gather(t.m, anon_vmas, files)
    check_anon_vmas(t.m, anon_vmas, out)
    for links in files.values():
        check_file(t, links, out)
    return 0
