# cython: language_level=3
"""Page tables: every entry is looked at, and what it maps is counted.

Entry rules are those of pte_present, vm_normal_page, can_change_pte_writable and page_vma_mapped_walk.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.maple_tree cimport find_vma
from foliosim._core.anon_vma cimport mapping_id_used
from foliosim._core.mapping cimport vma_is_device
from foliosim._core.pfnmap cimport device_pfn
from foliosim._core.rmap cimport linear_page_index

cdef struct mm_tally_t:
    mm_t *mm
    vma_t *vma              # of the last address, or the one above it
    int64_t rss_anon, rss_file, rss_shmem
    int64_t swapents
    int64_t nr[5]           # tables by level
    bint huge_zero
    uint32_t head, end      # the last folio: [head, end)
    const page_t *folio
    const vma_t *linked_vma     # a VMA and a mapping id found to belong together
    uint32_t linked_id, linked_kind


# ---- what an entry maps ----

cdef int wrong_entry(list out, const mm_t *mm, uint64_t addr, str field, uint64_t counted,
                     uint64_t recomputed) except -1:
    out.append((address_name(mm, addr), field, counted, recomputed))
    return 0


cdef inline vma_t *vma_at(mm_tally_t *mt, uint64_t addr) noexcept nogil:
    """The VMA of an address; addresses come in ascending order.  NULL: none."""
    if mt.vma != NULL and mt.vma.end <= addr:
        mt.vma = find_vma(mt.mm, addr)
    return mt.vma if mt.vma != NULL and mt.vma.start <= addr else NULL


cdef bint vma_has_anon_vma(const vma_t *vma, const void *anon_vma) noexcept nogil:
    cdef const avc_t *avc = vma.chain
    while avc != NULL:
        if avc.anon_vma == anon_vma:
            return True
        avc = avc.vma_next
    return False


cdef inline bint folio_linked(const machine_t *m, mm_tally_t *mt, const vma_t *vma) noexcept nogil:
    """Can the folio be found from the VMA: is its anon_vma in the chain, or its mapping the VMA's file?"""
    cdef uint32_t id = folio_mapping_id(mt.folio)
    cdef uint32_t kind = mt.folio.flags & PG_anon
    cdef bint linked
    if vma == mt.linked_vma and id == mt.linked_id and kind == mt.linked_kind:
        return True
    if not mapping_id_used(m, id):
        return False
    if kind:
        linked = vma_has_anon_vma(vma, m.mappings[id])
    else:
        linked = vma.file != NULL and <const void *>vma.file == m.mappings[id]
    if linked:
        mt.linked_vma = vma
        mt.linked_id = id
        mt.linked_kind = kind
    return linked


cdef inline bint folio_cached_at(const vma_t *vma, uint64_t index, uint32_t pfn) noexcept nogil:
    return index < vma.file.cap and vma.file.pfns[index] == pfn


cdef inline void tally_owner(folio_tally_t *ft, page_t *folio, uint32_t mm_id) noexcept nogil:
    """One more mapping by an mm."""
    cdef const tail1_t *one
    if ft.mm_id == 0:
        ft.mm_id = mm_id
    elif ft.mm_id != mm_id:
        ft.several = 1
    if folio_test_large(folio):
        one = folio_tail1(folio)
        if one.mm_id[0] == mm_id:
            ft.slot[0] += 1
        elif one.mm_id[1] & 0x7fffffffU == mm_id:
            ft.slot[1] += 1


cdef inline void tally_rss(mm_tally_t *mt, int64_t nr) noexcept nogil:
    if mt.folio.flags & PG_anon:
        mt.rss_anon += nr
    elif mt.folio.flags & PG_swapbacked:
        mt.rss_shmem += nr
    else:
        mt.rss_file += nr


# ---- entries ----

cdef int check_protection(tally_t *t, mm_tally_t *mt, const vma_t *vma, uint64_t addr, uint64_t e, bint exclusive,
                          list out) except -1:
    """PROT_NONE entries only, and always, where nothing is allowed; writable ones where COW has nothing to do."""
    cdef bint allowed = (vma.flags & VM_ACCESS_FLAGS) != 0
    if pte_protnone(t.m, e) == allowed:
        wrong_entry(out, mt.mm, addr, "protnone", not allowed, allowed)
    if not pte_write(t.m, e):
        return 0
    if not vma.flags & VM_WRITE or (not vma.flags & VM_SHARED and not exclusive):
        wrong_entry(out, mt.mm, addr, "write", 1, 0)
    return 0


cdef int check_mapping(tally_t *t, mm_tally_t *mt, const vma_t *vma, uint64_t addr, uint32_t pfn, list out) except -1:
    """The folio knows where it is mapped."""
    cdef uint64_t index = linear_page_index(vma, addr)
    cdef uint64_t counted = folio_index(mt.folio) + (pfn - mt.head)
    if counted != index:
        wrong_entry(out, mt.mm, addr, "index", counted, index)
    if not folio_linked(t.m, mt, vma):
        wrong_entry(out, mt.mm, addr, "mapping", folio_mapping_id(mt.folio), 0)
    elif not mt.folio.flags & PG_anon and not folio_cached_at(vma, index, pfn):
        wrong_entry(out, mt.mm, addr, "page cache", pfn, 0)
    return 0


cdef int check_swap_entry(tally_t *t, mm_tally_t *mt, uint64_t addr, uint64_t e, list out) except -1:
    """An exclusive entry is the only one that holds its slot."""
    cdef uint32_t slot = swp_slot(t.m, e)
    if not 0 < slot < t.m.swap.nr:
        return wrong_entry(out, mt.mm, addr, "swap slot", slot, 0)
    t.swaps[slot] += 1
    mt.swapents += 1
    if pte_swp_exclusive(t.m, e) and t.m.swap.slots[slot].count > 1:
        wrong_entry(out, mt.mm, addr, "swap exclusive", 1, 0)
    return 0


cdef int check_pte(tally_t *t, mm_tally_t *mt, uint64_t addr, uint64_t e, list out) except -1:
    cdef const vma_t *vma = vma_at(mt, addr)
    cdef uint32_t pfn
    cdef bint exclusive
    if vma == NULL:
        return wrong_entry(out, mt.mm, addr, "vma", e, 0)
    if vma_is_device(vma):
        return check_device_leaf(t, mt, vma, addr, e, 0, out)
    if not pte_present(t.m, e):
        if pte_swap(t.m, e):
            return check_swap_entry(t, mt, addr, e, out)
        return 0 if pte_guard(t.m, e) else wrong_entry(out, mt.mm, addr, "entry", e, 0)
    pfn = pte_pfn(t.m, e)
    if pte_special(t.m, e) or pfn == t.m.zero_pfn:
        if pfn != t.m.zero_pfn or not pte_special(t.m, e):
            wrong_entry(out, mt.mm, addr, "special", pfn, t.m.zero_pfn)
        return check_protection(t, mt, vma, addr, e, False, out)
    if pfn < mt.head or pfn >= mt.end:
        if pfn >= t.nr or page_kind(folio_of(t.m, pfn)) != PG_KIND_HEAD:
            return wrong_entry(out, mt.mm, addr, "pfn", pfn, 0)
        mt.head = head_of(t.m, pfn)
        mt.folio = page_of(t.m, mt.head)
        mt.end = mt.head + folio_nr_pages(mt.folio)
    t.ptes[pfn] += 1
    t.folios[mt.head].ptes += 1
    t.folios[mt.head].nr_mapped += t.ptes[pfn] == 1
    tally_owner(t.folios + mt.head, <page_t *>mt.folio, mt.mm.id)
    tally_rss(mt, 1)
    exclusive = mt.folio.flags & PG_anon and page_record(t.m, <page_t *>mt.folio, pfn).flags & PG_anon_exclusive
    check_protection(t, mt, vma, addr, e, exclusive, out)
    return check_mapping(t, mt, vma, addr, pfn, out)


cdef int check_pmd_leaf(tally_t *t, mm_tally_t *mt, uint64_t addr, uint64_t e, list out) except -1:
    """1 if a table must be deposited for it, else 0."""
    cdef const vma_t *vma = vma_at(mt, addr)
    cdef uint32_t head = pte_pfn(t.m, e)
    cdef bint exclusive
    if vma == NULL or vma.end < addr + FS_PMD_SIZE:
        wrong_entry(out, mt.mm, addr, "vma", e, 0)
        return 0
    if vma_is_device(vma):
        return check_device_leaf(t, mt, vma, addr, e, 1, out)
    if head == t.m.huge_zero_pfn:
        mt.huge_zero = True
        if not pte_special(t.m, e):
            wrong_entry(out, mt.mm, addr, "special", head, head)
        check_protection(t, mt, vma, addr, e, False, out)
        return 1
    if head >= t.nr or head & (FS_HPAGE_PMD_NR - 1) or page_kind(page_of(t.m, head)) != PG_KIND_HEAD:
        wrong_entry(out, mt.mm, addr, "pfn", head, 0)
        return 0
    mt.head = head
    mt.folio = page_of(t.m, head)
    mt.end = head + folio_nr_pages(mt.folio)
    if folio_order(mt.folio) != FS_HPAGE_PMD_ORDER:
        wrong_entry(out, mt.mm, addr, "order", folio_order(mt.folio), FS_HPAGE_PMD_ORDER)
        return 0
    t.folios[head].pmds += 1
    tally_owner(t.folios + head, <page_t *>mt.folio, mt.mm.id)
    tally_rss(mt, FS_HPAGE_PMD_NR)
    exclusive = (mt.folio.flags & (PG_anon | PG_anon_exclusive)) == (PG_anon | PG_anon_exclusive)
    check_protection(t, mt, vma, addr, e, exclusive, out)
    check_mapping(t, mt, vma, addr, head, out)
    return (mt.folio.flags & PG_anon) != 0


cdef int check_device_leaf(tally_t *t, mm_tally_t *mt, const vma_t *vma, uint64_t addr, uint64_t e, int level,
                           list out) except -1:
    """It lies in its VMA and maps the frames that belong there; nothing is counted."""
    cdef uint32_t pfn = pud_pfn(t.m, e) if level == 2 else pte_pfn(t.m, e)
    if vma.end < addr + level_size(level):
        return wrong_entry(out, mt.mm, addr, "vma", e, 0)
    if pfn != device_pfn(vma, addr):
        wrong_entry(out, mt.mm, addr, "pfn", pfn, device_pfn(vma, addr))
    if not pte_special(t.m, e):
        wrong_entry(out, mt.mm, addr, "special", 0, 1)
    return check_protection(t, mt, vma, addr, e, False, out)


# ---- tables ----

cdef bint use_table(tally_t *t, mm_tally_t *mt, uint64_t addr, uint32_t pfn, list out) except -1:
    """Count a reference to a table; whether its entries may be read (once only)."""
    if pfn >= t.nr or page_kind(page_of(t.m, pfn)) != PG_KIND_TABLE:
        wrong_entry(out, mt.mm, addr, "table", pfn, 0)
        return False
    t.folios[pfn].listed += 1
    if t.folios[pfn].listed > 1:
        return False
    t.nr_tables += 1
    return True


cdef int walk_deposited(tally_t *t, mm_tally_t *mt, uint64_t addr, uint32_t table, int64_t wanted, list out) except -1:
    """The spare PTE tables that hang off a PMD table: one for each anonymous huge mapping."""
    cdef uint32_t pfn = page_of(t.m, table).prev
    cdef int64_t n = 0
    while pfn != FS_NO_PFN and n <= FS_PTRS_PER_PTE:
        n += 1
        if not use_table(t, mt, addr, pfn, out):
            break
        mt.nr[0] += 1
        pfn = page_of(t.m, pfn).next
    compare(out, "table", table, "deposited", n, wanted)
    return 0


cdef int walk_ptes(tally_t *t, mm_tally_t *mt, uint64_t addr, uint32_t table, list out) except -1:
    cdef const uint64_t *pte = table_of(t.m, table)
    cdef uint64_t i
    mt.nr[0] += 1
    looked_at(t, FS_PTRS_PER_PTE)
    for i in range(FS_PTRS_PER_PTE):
        if pte[i]:
            check_pte(t, mt, addr + (i << FS_PAGE_SHIFT), pte[i], out)
    return 0


cdef int walk_pmds(tally_t *t, mm_tally_t *mt, uint64_t addr, uint32_t table, list out) except -1:
    cdef const uint64_t *pmd = table_of(t.m, table)
    cdef uint64_t i, at
    cdef int64_t wanted = 0
    mt.nr[1] += 1
    looked_at(t, FS_PTRS_PER_PTE)
    for i in range(FS_PTRS_PER_PTE):
        if not pmd[i]:
            continue
        at = addr + (i << FS_PMD_SHIFT)
        if pmd_leaf(t.m, pmd[i]):
            wanted += check_pmd_leaf(t, mt, at, pmd[i], out)
        elif pmd[i] != mk_table(t.m, table_pfn(t.m, pmd[i])):
            wrong_entry(out, mt.mm, at, "table entry", pmd[i], mk_table(t.m, table_pfn(t.m, pmd[i])))
        elif use_table(t, mt, at, table_pfn(t.m, pmd[i]), out):
            walk_ptes(t, mt, at, table_pfn(t.m, pmd[i]), out)
    return walk_deposited(t, mt, addr, table, wanted, out)


cdef int walk_upper(tally_t *t, mm_tally_t *mt, uint64_t addr, uint32_t table, int level, list out) except -1:
    """A table of the level, and those below it."""
    cdef const uint64_t *entry = table_of(t.m, table)
    cdef const vma_t *vma
    cdef uint64_t i, at
    if level == 1:
        return walk_pmds(t, mt, addr, table, out)
    mt.nr[level] += 1
    for i in range(FS_PTRS_PER_PTE):
        if not entry[i]:
            continue
        at = addr + (i << level_shift(level))
        vma = vma_at(mt, at) if pmd_leaf(t.m, entry[i]) else NULL
        if vma != NULL and vma_is_device(vma) and level == 2:
            check_device_leaf(t, mt, vma, at, entry[i], level, out)
        elif entry[i] != mk_table(t.m, table_pfn(t.m, entry[i])):
            wrong_entry(out, mt.mm, at, "table entry", entry[i], mk_table(t.m, table_pfn(t.m, entry[i])))
        elif use_table(t, mt, at, table_pfn(t.m, entry[i]), out):
            walk_upper(t, mt, at, table_pfn(t.m, entry[i]), level - 1, out)
    return 0


cdef int validate_page_tables(tally_t *t, mm_t *mm, list out) except -1:
    cdef mm_tally_t mt
    mt.mm = mm
    mt.vma = find_vma(mm, 0)
    mt.rss_anon = mt.rss_file = mt.rss_shmem = mt.swapents = 0
    memset(mt.nr, 0, sizeof(mt.nr))
    mt.huge_zero = False
    mt.head = mt.end = 0
    mt.folio = NULL
    mt.linked_vma = NULL
    mt.linked_id = mt.linked_kind = 0
    if use_table(t, &mt, 0, mm.pgd, out):
        walk_upper(t, &mt, 0, mm.pgd, t.m.top_level, out)
    mt.nr[t.m.top_level] -= 1      # the root is not counted
    compare(out, "mm", mm.pid, "rss_anon", mm.rss_anon, mt.rss_anon)
    compare(out, "mm", mm.pid, "rss_file", mm.rss_file, mt.rss_file)
    compare(out, "mm", mm.pid, "rss_shmem", mm.rss_shmem, mt.rss_shmem)
    compare(out, "mm", mm.pid, "swapents", mm.swapents, mt.swapents)
    for level, name in enumerate(("nr_ptes", "nr_pmds", "nr_puds", "nr_p4ds")):
        compare(out, "mm", mm.pid, name, nr_tables_of(mm, level)[0], mt.nr[level])
    if mt.huge_zero and not mm.huge_zero:
        compare(out, "mm", mm.pid, "huge_zero", mm.huge_zero, True)
    return 0
