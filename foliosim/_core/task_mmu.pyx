# cython: language_level=3
"""smaps, pagemap, mincore and clear_refs.  Follows fs/proc/task_mmu.c and mm/mincore.c, CONFIG_PAGE_MAPCOUNT.

Fidelity: identical; no hugetlb, KSM or userfaultfd, so their fields are zero.
"""
from libc.errno cimport EINVAL, ENOMEM
from libc.string cimport memset
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.maple_tree cimport find_vma
from foliosim._core.mapcount cimport shown_mapcount, shown_private
from foliosim._core.mapping cimport mapping_lookup
from foliosim._core.huge_memory cimport TVA_SMAPS, thp_vma_allowable_orders
from foliosim._core.stat cimport get_mm_rss
from foliosim._core.vma cimport vma_set_page_prot

cdef enum:
    PSS_SHIFT = 12
    PTES_MAPPED_MASK = 0x7fffff   # of tail2_t.nr_pages_mapped: all but FS_ENTIRELY_MAPPED

SMAPS_FIELDS = (
    "Size", "KernelPageSize", "MMUPageSize", "Rss", "Pss", "Pss_Dirty", "Shared_Clean", "Shared_Dirty",
    "Private_Clean", "Private_Dirty", "Referenced", "Anonymous", "KSM", "LazyFree", "AnonHugePages",
    "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb", "Private_Hugetlb", "Swap", "SwapPss", "Locked",
    "THPeligible",
)


# ---- smaps ----

cdef inline void smaps_page_accumulate(mem_size_stats_t *mss, const page_t *folio, uint64_t size, uint64_t pss,
                                       bint dirty, bint locked, bint private) noexcept nogil:
    """Follows smaps_page_accumulate."""
    mss.pss += pss
    if folio.flags & PG_anon:
        mss.pss_anon += pss
    elif folio.flags & PG_swapbacked:
        mss.pss_shmem += pss
    else:
        mss.pss_file += pss
    if locked:
        mss.pss_locked += pss
    if dirty or folio.flags & PG_dirty:
        mss.pss_dirty += pss
        if private:
            mss.private_dirty += size
        else:
            mss.shared_dirty += size
    elif private:
        mss.private_clean += size
    else:
        mss.shared_clean += size


cdef inline void smaps_account_folio(mem_size_stats_t *mss, const page_t *folio, uint64_t size, bint young,
                                     bint dirty) noexcept nogil:
    """The part of smaps_account that does not depend on mapcounts."""
    mss.resident += size
    if folio.flags & PG_anon:
        mss.anonymous += size
        if not folio.flags & (PG_swapbacked | PG_dirty) and not dirty:
            mss.lazyfree += size
    if young or folio.flags & PG_referenced:
        mss.referenced += size


cdef inline void smaps_account_pages(machine_t *m, mem_size_stats_t *mss, page_t *folio, uint64_t nr, int32_t exact,
                                     bint dirty, bint locked) noexcept nogil:
    """nr pages with the same mapcount; Pss is truncated page by page."""
    cdef uint64_t pss = FS_PAGE_SIZE << PSS_SHIFT
    cdef int32_t mapcount = 1 if folio.refcount == 1 else shown_mapcount(m, folio, exact)
    if mapcount >= 2:
        pss = pss / <uint64_t>mapcount
    smaps_page_accumulate(mss, folio, nr << FS_PAGE_SHIFT, nr * pss, dirty, locked,
                          folio.refcount == 1 or shown_private(m, folio, exact))


cdef void smaps_pmd_entry(machine_t *m, const vma_t *vma, uint64_t pmd, mem_size_stats_t *mss) noexcept nogil:
    """A huge mapping.  Follows smaps_pmd_entry and smaps_account."""
    cdef uint32_t head = pte_pfn(m, pmd), i
    cdef page_t *folio
    cdef int32_t entire
    cdef bint dirty = pte_dirty(m, pmd)
    cdef bint locked = (vma.flags & VM_LOCKED) != 0
    if is_huge_zero_pfn(m, head):
        return
    folio = page_of(m, head)
    if folio.flags & PG_anon:
        mss.anonymous_thp += FS_PMD_SIZE
    elif folio.flags & PG_swapbacked:
        mss.shmem_thp += FS_PMD_SIZE
    else:
        mss.file_thp += FS_PMD_SIZE
    smaps_account_folio(mss, folio, FS_PMD_SIZE, pte_young(m, pmd), dirty)
    entire = folio_entire_mapcount(folio)
    if folio.refcount == 1 or not folio_tail2(folio).nr_pages_mapped & PTES_MAPPED_MASK:
        smaps_account_pages(m, mss, folio, FS_HPAGE_PMD_NR, entire, dirty, locked)
        return
    for i in range(FS_HPAGE_PMD_NR):
        smaps_account_pages(m, mss, folio, 1, entire + page_record(m, folio, head + i).mapcount, dirty, locked)


cdef inline void smaps_swap(machine_t *m, uint64_t e, mem_size_stats_t *mss) noexcept nogil:
    """A slot that several entries hold is shared among them."""
    cdef int32_t count = m.swap.slots[swp_slot(m, e)].count
    mss.swap += FS_PAGE_SIZE
    mss.swap_pss += (FS_PAGE_SIZE << PSS_SHIFT) / <uint64_t>(count if count > 1 else 1)


cdef void smaps_pte_range(machine_t *m, const vma_t *vma, const uint64_t *pte, uint32_t n,
                          mem_size_stats_t *mss) noexcept nogil:
    """n entries of one table.  Follows smaps_pte_entry."""
    cdef uint32_t i, pfn, head = FS_NO_PFN, end = 0
    cdef uint64_t e
    cdef page_t *folio = NULL
    cdef int32_t entire = 0
    cdef bint locked = (vma.flags & VM_LOCKED) != 0
    for i in range(n):
        e = pte[i]
        if not e or not pte_present(m, e) or pte_special(m, e):
            if e and pte_swap(m, e):
                smaps_swap(m, e, mss)
            continue
        pfn = pte_pfn(m, e)
        if folio == NULL or pfn < head or pfn >= end:
            head = head_of(m, pfn)
            folio = page_of(m, head)
            end = head + folio_nr_pages(folio)
            entire = folio_entire_mapcount(folio)
        e = ptep_get(m, pte + i)
        smaps_account_folio(mss, folio, FS_PAGE_SIZE, pte_young(m, e), pte_dirty(m, e))
        smaps_account_pages(m, mss, folio, 1, entire + page_record(m, folio, pfn).mapcount, pte_dirty(m, e), locked)


cdef void smap_gather_stats(machine_t *m, const vma_t *vma, uint64_t start, mem_size_stats_t *mss) noexcept nogil:
    cdef uint64_t addr = start if start > vma.start else vma.start
    cdef uint64_t next
    cdef uint64_t *pmd
    if vma.flags & VM_PFNMAP:      # walk_page_test: nothing is looked at
        return
    while addr < vma.end:
        pmd = pmd_offset(m, vma.mm, addr)
        if pmd == NULL:
            addr = next_pmd_addr(m, vma.mm, addr, vma.end)
            continue
        next = pmd_addr_end(addr, vma.end)
        if pmd[0]:
            if pmd_leaf(m, pmd[0]):
                smaps_pmd_entry(m, vma, pmd[0], mss)
            else:
                smaps_pte_range(m, vma, pte_offset(m, pmd[0], addr), <uint32_t>((next - addr) >> FS_PAGE_SHIFT), mss)
        addr = next


cdef bint smaps_thp_eligible(machine_t *m, vma_t *vma) noexcept nogil:
    """Sizes of large folios: for files from order 1 on."""
    cdef uint32_t orders = FS_ORDERS_ANON if vma.file == NULL else FS_ORDERS_FILE
    return thp_vma_allowable_orders(m, vma, TVA_SMAPS, orders) != 0


cdef void smap_fields(const mem_size_stats_t *mss, uint64_t *out) noexcept nogil:
    """Every sum is shifted to kB once, so what is below a kB is cut off.  Follows __show_smap."""
    memset(out, 0, NR_SMAPS * sizeof(uint64_t))
    out[SMAPS_RSS] = mss.resident >> 10
    out[SMAPS_PSS] = mss.pss >> (10 + PSS_SHIFT)
    out[SMAPS_PSS_DIRTY] = mss.pss_dirty >> (10 + PSS_SHIFT)
    out[SMAPS_SHARED_CLEAN] = mss.shared_clean >> 10
    out[SMAPS_SHARED_DIRTY] = mss.shared_dirty >> 10
    out[SMAPS_PRIVATE_CLEAN] = mss.private_clean >> 10
    out[SMAPS_PRIVATE_DIRTY] = mss.private_dirty >> 10
    out[SMAPS_REFERENCED] = mss.referenced >> 10
    out[SMAPS_ANONYMOUS] = mss.anonymous >> 10
    out[SMAPS_LAZYFREE] = mss.lazyfree >> 10
    out[SMAPS_ANON_HUGE_PAGES] = mss.anonymous_thp >> 10
    out[SMAPS_SHMEM_PMD_MAPPED] = mss.shmem_thp >> 10
    out[SMAPS_FILE_PMD_MAPPED] = mss.file_thp >> 10
    out[SMAPS_SWAP] = mss.swap >> 10
    out[SMAPS_SWAP_PSS] = mss.swap_pss >> (10 + PSS_SHIFT)
    out[SMAPS_LOCKED] = mss.pss_locked >> (10 + PSS_SHIFT)


cdef void smaps_vma(machine_t *m, vma_t *vma, uint64_t *out) noexcept nogil:
    """Follows show_smap."""
    cdef mem_size_stats_t mss
    memset(&mss, 0, sizeof(mss))
    smap_gather_stats(m, vma, vma.start, &mss)
    smap_fields(&mss, out)
    out[SMAPS_SIZE] = (vma.end - vma.start) >> 10
    out[SMAPS_KERNEL_PAGE_SIZE] = FS_PAGE_SIZE >> 10
    out[SMAPS_MMU_PAGE_SIZE] = FS_PAGE_SIZE >> 10
    out[SMAPS_THP_ELIGIBLE] = smaps_thp_eligible(m, vma)


cdef void smaps_rollup(machine_t *m, const mm_t *mm, uint64_t *out, uint64_t *pss) noexcept nogil:
    """Follows show_smaps_rollup: the sums run over all VMAs before they are cut to kB."""
    cdef mem_size_stats_t mss
    cdef vma_t *vma = mm.mmap
    memset(&mss, 0, sizeof(mss))
    while vma != NULL:
        smap_gather_stats(m, vma, vma.start, &mss)
        vma = vma.next
    smap_fields(&mss, out)
    pss[0] = mss.pss_anon >> (10 + PSS_SHIFT)
    pss[1] = mss.pss_file >> (10 + PSS_SHIFT)
    pss[2] = mss.pss_shmem >> (10 + PSS_SHIFT)


cdef inline const char *vma_flag_codes() noexcept nogil:
    """Two letters for each of bits 0..42 of vm_flags; blanks: not shown."""
    return (b"rdwrexshmrmwmemsgdumpfguuwloiosrrrdcdelfacnr"
            b"htsfarwfddsdmmhgnhmg        ??ss????dpuisl")


cdef int show_smap_vma_flags(const machine_t *m, uint64_t flags, char *out) noexcept nogil:
    """Follows show_smap_vma_flags."""
    cdef const char *codes = vma_flag_codes()
    cdef int bit, at = 0
    if not m.soft_dirty:
        flags &= ~VM_SOFTDIRTY
    for bit in range(64):
        if not (flags >> bit) & 1 or (bit <= 42 and codes[2 * bit] == 0x20):
            continue
        out[at] = codes[2 * bit] if bit <= 42 else 0x3f
        out[at + 1] = codes[2 * bit + 1] if bit <= 42 else 0x3f
        out[at + 2] = 0x20
        at += 3
    return at


# ---- pagemap ----

cdef void pagemap_pmd_leaf(machine_t *m, uint64_t pmd, uint64_t word, uint64_t addr, uint32_t n,
                           uint64_t *out) noexcept nogil:
    """A huge mapping: whether it is mapped once is asked of the first page, for all of them."""
    cdef uint32_t head = pte_pfn(m, pmd), i
    cdef page_t *folio = page_of(m, head)
    word |= PM_PRESENT
    if m.soft_dirty and pte_soft_dirty(m, pmd):
        word |= PM_SOFT_DIRTY
    if page_kind(folio) == PG_KIND_ZERO or not folio.flags & PG_anon:
        word |= PM_FILE
    if page_kind(folio) == PG_KIND_HEAD and shown_private(m, folio, page_precise_mapcount(m, head)):
        word |= PM_MMAP_EXCLUSIVE
    word |= head + ((addr >> FS_PAGE_SHIFT) & (FS_HPAGE_PMD_NR - 1))
    for i in range(n):
        out[i] = word + i


cdef inline uint64_t pagemap_special(machine_t *m, uint64_t e, uint64_t word) noexcept nogil:
    """The word of an entry without a folio: the zero page; a swap entry, with its type (0) and offset; or a marker,
    shown as type 31, offset 4."""
    if pte_present(m, e):
        if m.soft_dirty and pte_soft_dirty(m, e):
            word |= PM_SOFT_DIRTY
        return word | PM_PRESENT | pte_pfn(m, e)
    if m.soft_dirty and pte_swp_soft_dirty(m, e):
        word |= PM_SOFT_DIRTY
    if pte_swap(m, e):
        word |= <uint64_t>swp_slot(m, e) << 5
    elif pte_guard(m, e):
        word |= PM_GUARD_REGION | 31 | (4 << 5)
    return word | PM_SWAP


cdef bint pagemap_ptes(machine_t *m, const uint64_t *pte, uint64_t word, uint32_t n, uint64_t *out) noexcept nogil:
    """n entries of one table; word: what an empty entry shows.  Follows pte_to_pagemap_entry."""
    cdef uint32_t i, pfn, head = FS_NO_PFN, end = 0
    cdef uint64_t e, w
    cdef page_t *folio = NULL
    cdef int32_t entire = 0
    cdef bint any = word != 0
    for i in range(n):
        e = pte[i]
        if not e or pte_none(m, e):
            out[i] = word
            continue
        any = True
        if not pte_present(m, e) or pte_special(m, e):
            out[i] = pagemap_special(m, e, word)
            continue
        pfn = pte_pfn(m, e)
        if folio == NULL or pfn < head or pfn >= end:
            head = head_of(m, pfn)
            folio = page_of(m, head)
            end = head + folio_nr_pages(folio)
            entire = folio_entire_mapcount(folio)
        w = word | PM_PRESENT | pfn
        if m.soft_dirty and pte_soft_dirty(m, e):
            w |= PM_SOFT_DIRTY
        if not folio.flags & PG_anon:
            w |= PM_FILE
        if shown_private(m, folio, entire + page_record(m, folio, pfn).mapcount):
            w |= PM_MMAP_EXCLUSIVE
        out[i] = w
    return any


cdef bint pagemap_pmd_range(machine_t *m, const vma_t *vma, uint64_t pmd, uint64_t addr, uint64_t end,
                            uint64_t *out) noexcept nogil:
    """Follows pagemap_pmd_range and pagemap_pte_hole."""
    cdef uint64_t word = PM_SOFT_DIRTY if m.soft_dirty and vma.flags & VM_SOFTDIRTY else 0
    cdef uint32_t n = <uint32_t>((end - addr) >> FS_PAGE_SHIFT), i
    if not pmd or vma.flags & VM_PFNMAP:
        for i in range(n):
            out[i] = word
        return word != 0
    if pmd_leaf(m, pmd):
        pagemap_pmd_leaf(m, pmd, word, addr, n, out)
        return True
    return pagemap_ptes(m, pte_offset(m, pmd, addr), word, n, out)


cdef void pagemap_read(machine_t *m, const mm_t *mm, uint64_t start, uint64_t end, uint64_t *out) noexcept nogil:
    """Words outside any VMA are zero."""
    cdef vma_t *vma = find_vma(mm, start)
    cdef uint64_t addr, next, stop
    cdef uint64_t *pmd
    memset(out, 0, ((end - start) >> FS_PAGE_SHIFT) * sizeof(uint64_t))
    while vma != NULL and vma.start < end:
        addr = vma.start if vma.start > start else start
        stop = vma.end if vma.end < end else end
        while addr < stop:
            next = pmd_addr_end(addr, stop)
            pmd = pmd_offset(m, mm, addr)
            pagemap_pmd_range(m, vma, pmd[0] if pmd != NULL else 0, addr, next,
                              out + ((addr - start) >> FS_PAGE_SHIFT))
            addr = next
        vma = vma.next


# ---- mincore ----

cdef inline uint8_t mincore_unmapped(machine_t *m, const vma_t *vma, uint64_t addr) noexcept nogil:
    """A page that is not mapped is resident if its file's page cache holds it.  Follows __mincore_unmapped_range."""
    cdef uint32_t pfn
    if vma.file == NULL:
        return 0
    pfn = mapping_lookup(vma.file, vma.pgoff + ((addr - vma.start) >> FS_PAGE_SHIFT))
    return pfn != FS_NO_PFN and (folio_of(m, pfn).flags & PG_uptodate) != 0


cdef void mincore_pmd_range(machine_t *m, const vma_t *vma, uint64_t addr, uint64_t end, uint8_t *vec) noexcept nogil:
    """Follows mincore_pte_range; a marker is looked up like an empty entry."""
    cdef uint64_t *pmd = pmd_offset(m, vma.mm, addr)
    cdef const uint64_t *pte
    cdef uint64_t i, n = (end - addr) >> FS_PAGE_SHIFT
    if pmd == NULL or not pmd[0] or vma.flags & VM_PFNMAP:
        for i in range(n):
            vec[i] = mincore_unmapped(m, vma, addr + (i << FS_PAGE_SHIFT))
    elif pmd_leaf(m, pmd[0]):
        memset(vec, 1, n)
    else:
        pte = pte_offset(m, pmd[0], addr)
        for i in range(n):
            if pte_present(m, pte[i]):
                vec[i] = 1
            elif pte_swap(m, pte[i]):
                vec[i] = m.swap.slots[swp_slot(m, pte[i])].cache != 0
            else:
                vec[i] = mincore_unmapped(m, vma, addr + (i << FS_PAGE_SHIFT))


cdef int64_t mincore(machine_t *m, const mm_t *mm, uint64_t start, uint64_t length, uint8_t *vec) noexcept nogil:
    cdef uint64_t pages = (length >> FS_PAGE_SHIFT) + ((length & (FS_PAGE_SIZE - 1)) != 0)
    cdef uint64_t addr = start, end = start + (pages << FS_PAGE_SHIFT), next
    cdef vma_t *vma
    if start & (FS_PAGE_SIZE - 1):
        return -EINVAL
    if start > m.task_size or length > m.task_size - start:
        return -ENOMEM
    vma = find_vma(mm, start)
    while addr < end:
        if vma == NULL or addr < vma.start:
            return -ENOMEM
        next = pmd_addr_end(addr, end if end < vma.end else vma.end)
        mincore_pmd_range(m, vma, addr, next, vec + ((addr - start) >> FS_PAGE_SHIFT))
        addr = next
        if addr == vma.end:
            vma = vma.next
    return <int64_t>pages


# ---- clear_refs ----

cdef bint pte_is_pinned(machine_t *m, const vma_t *vma, uint64_t e) noexcept nogil:
    """A writable entry of private memory whose folio may be pinned stays as it is."""
    if not pte_write(m, e) or not vma.mm.has_pinned or pte_special(m, e):
        return False
    if (vma.flags & (VM_SHARED | VM_MAYWRITE)) != VM_MAYWRITE:
        return False
    return folio_maybe_dma_pinned(folio_of(m, pte_pfn(m, e)))


cdef void clear_soft_dirty(machine_t *m, const vma_t *vma, uint64_t *pte) noexcept nogil:
    """Follows clear_soft_dirty."""
    cdef uint64_t e = pte[0]
    if pte_none(m, e):
        return
    if not pte_present(m, e):
        set_pte(m, pte, pte_swp_clear_soft_dirty(m, e))
    elif not pte_is_pinned(m, vma, e):
        store_entry(m, pte, pte_clear_soft_dirty(m, pte_wrprotect(m, e)))


cdef inline void clear_young(machine_t *m, uint64_t *pte) noexcept nogil:
    """Neither the entry nor its folio was used, as far as they tell.  The small zero page is left alone."""
    ptep_clear_young(m, pte)
    folio_of(m, pte_pfn(m, pte[0])).flags &= ~PG_referenced


cdef void clear_refs_pmd_range(machine_t *m, const vma_t *vma, uint64_t *pmd, uint64_t addr, uint64_t end,
                               bint soft_dirty) noexcept nogil:
    """Follows clear_refs_pte_range."""
    cdef uint64_t *pte
    cdef uint64_t i
    if pmd_leaf(m, pmd[0]):
        if soft_dirty:
            store_entry(m, pmd, pte_clear_soft_dirty(m, pte_wrprotect(m, pmd[0])))
        else:
            store_entry(m, pmd, pte_mkold(m, pmd[0]))
            folio_of(m, pte_pfn(m, pmd[0])).flags &= ~PG_referenced
        return
    pte = pte_offset(m, pmd[0], addr)
    for i in range((end - addr) >> FS_PAGE_SHIFT):
        if soft_dirty:
            clear_soft_dirty(m, vma, pte + i)
        elif pte_present(m, pte[i]) and not pte_special(m, pte[i]):
            clear_young(m, pte + i)


cdef void clear_refs_vma(machine_t *m, const vma_t *vma, bint soft_dirty) noexcept nogil:
    cdef uint64_t addr = vma.start, next
    cdef uint64_t *pmd
    while addr < vma.end:
        pmd = pmd_offset(m, vma.mm, addr)
        if pmd == NULL:
            addr = next_pmd_addr(m, vma.mm, addr, vma.end)
            continue
        next = pmd_addr_end(addr, vma.end)
        if pmd[0]:
            clear_refs_pmd_range(m, vma, pmd, addr, next, soft_dirty)
        addr = next


cdef inline bint clear_refs_skips(const vma_t *vma, int value) noexcept nogil:
    """Follows clear_refs_test_walk."""
    if vma.flags & VM_PFNMAP:
        return True
    return (value == CLEAR_REFS_ANON and vma.file != NULL) or (value == CLEAR_REFS_MAPPED and vma.file == NULL)


cdef int clear_refs(machine_t *m, mm_t *mm, int value) noexcept nogil:
    """Follows clear_refs_write.  A VMA no longer soft-dirty has its shared pages mapped read-only."""
    cdef vma_t *vma = mm.mmap
    if value < CLEAR_REFS_ALL or value >= CLEAR_REFS_LAST:
        return -EINVAL
    if value == CLEAR_REFS_MM_HIWATER_RSS:
        mm.hiwater_rss = get_mm_rss(mm)
    if value == CLEAR_REFS_MM_HIWATER_RSS or (value == CLEAR_REFS_SOFT_DIRTY and not m.soft_dirty):
        return 0
    while vma != NULL:
        if value == CLEAR_REFS_SOFT_DIRTY and vma.flags & VM_SOFTDIRTY:
            vma.flags &= ~VM_SOFTDIRTY
            vma_set_page_prot(m, vma)
        if not clear_refs_skips(vma, value):
            clear_refs_vma(m, vma, value == CLEAR_REFS_SOFT_DIRTY)
        vma = vma.next
    return 0
