# cython: language_level=3
"""Every count that validation recomputes, by kind of object and field name: where it is and how wide."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.anon_vma cimport mapping_id_used
from foliosim._core.folio cimport folio_materialize
from foliosim._core.tally cimport object_name

# kind -> the fields whose corruption validation reports under their own name; "flags" are toggled, whatever the delta,
# and show in what they contradict.  Large folios' words are in the records after the head's.
CORRUPTIBLE = {
    "page": ("mapcount",),
    "flags": ("lru", "active", "swapbacked", "unevictable", "anon_exclusive", "partially_mapped", "deferred", "anon"),
    "folio": ("refcount", "large_mapcount", "mm_mapcount[0]", "mm_mapcount[1]", "entire_mapcount", "nr_pages_mapped",
              "pincount"),
    "table": ("refcount",),
    "mm": ("rss_anon", "rss_file", "rss_shmem", "nr_ptes", "nr_pmds", "nr_puds", "map_count", "total_vm",
           "locked_vm", "vmas.nr", "swapents"),
    "vma": ("nr_chain",),
    "anon_vma": ("refcount", "num_children", "num_active_vmas"),
    "mapping": ("nrpages",),
    "slot": ("count",),
    "lru": ("nr_pages",),
    "buddy": ("nr_free",),
    "mthp": ("nr_anon", "nr_anon_partially_mapped"),
    "machine": ("free_pages", "nr_tables", "deferred_len"),
}


# ---- the object ----

cdef mm_t *mm_of_pid(machine_t *m, uint64_t pid) except NULL:
    cdef mm_t *mm = m.mm_first
    while mm != NULL and mm.pid != pid:
        mm = mm.next
    if mm == NULL:
        raise LookupError(f"no mm {pid}")
    return mm


cdef vma_t *vma_at(machine_t *m, uint64_t addr) except NULL:
    """The VMA that contains the address in the oldest process that has one."""
    cdef mm_t *mm = m.mm_first
    cdef vma_t *vma
    while mm != NULL:
        vma = mm.mmap
        while vma != NULL:
            if vma.start <= addr < vma.end:
                return vma
            vma = vma.next
        mm = mm.next
    raise LookupError(f"no vma at 0x{addr:x}")


cdef page_t *page_at(machine_t *m, uint64_t pfn) except NULL:
    if pfn >= m.fresh_pfn:
        raise LookupError(f"no page 0x{pfn:x}")
    folio_materialize(m, head_of(m, <uint32_t>pfn))
    return page_of(m, <uint32_t>pfn)


cdef mapping_t *file_mapped(machine_t *m, uint64_t id) noexcept:
    """The page cache with this id that some VMA maps; NULL: none."""
    cdef mm_t *mm = m.mm_first
    cdef vma_t *vma
    while mm != NULL:
        vma = mm.mmap
        while vma != NULL:
            if vma.file != NULL and vma.file.id == id:
                return vma.file
            vma = vma.next
        mm = mm.next
    return NULL


cdef mapping_t *mapping_at(machine_t *m, uint64_t id) except NULL:
    cdef mapping_t *found = file_mapped(m, id)
    if found == NULL:
        raise LookupError(f"no file {id} is mapped")
    return found


cdef anon_vma_t *anon_vma_at(machine_t *m, uint64_t id) except NULL:
    """An id that is in use is an anon_vma's, or a file's, which has a kind."""
    if id > 0xffffff or not mapping_id_used(m, <uint32_t>id) or (<mapping_t *>m.mappings[id]).kind:
        raise LookupError(f"no anon_vma {id}")
    return <anon_vma_t *>m.mappings[id]


cdef uint32_t flag_bit(str name) except 0:
    return {"lru": PG_lru, "active": PG_active, "swapbacked": PG_swapbacked, "unevictable": PG_unevictable,
            "anon_exclusive": PG_anon_exclusive, "partially_mapped": PG_partially_mapped, "deferred": PG_deferred,
            "anon": PG_anon}[name]


# ---- the field: 32 bits wide, or 64 ----

cdef int32_t *frame_field(machine_t *m, str kind, uint64_t pfn, str field) except NULL:
    cdef page_t *page = page_at(m, pfn)
    cdef int needed
    if kind == "table" and page_kind(page) != PG_KIND_TABLE:
        raise LookupError(f"no table 0x{pfn:x}")
    if field == "mapcount":
        return &page.mapcount
    if field == "refcount":
        return &page.refcount
    needed = 1 if field == "large_mapcount" or field.startswith("mm_mapcount") else 2
    if page_kind(page) != PG_KIND_HEAD or page_order(page) < needed:
        raise LookupError(f"{kind} 0x{pfn:x} has no {field}")
    if field == "large_mapcount":
        return &folio_tail1(page).large_mapcount
    if field == "mm_mapcount[0]":
        return &folio_tail1(page).mm_mapcount[0]
    if field == "mm_mapcount[1]":
        return &folio_tail1(page).mm_mapcount[1]
    if field == "entire_mapcount":
        return &folio_tail2(page).entire_mapcount
    if field == "nr_pages_mapped":
        return &folio_tail2(page).nr_pages_mapped
    return &folio_tail2(page).pincount


cdef int32_t *anon_vma_field(machine_t *m, uint64_t id, str field) except NULL:
    cdef anon_vma_t *anon_vma = anon_vma_at(m, id)
    if field == "refcount":
        return &anon_vma.refcount
    if field == "num_children":
        return &anon_vma.num_children
    return &anon_vma.num_active_vmas


cdef int64_t *mm_field(machine_t *m, uint64_t pid, str field) except NULL:
    cdef mm_t *mm = mm_of_pid(m, pid)
    if field == "rss_anon":
        return &mm.rss_anon
    if field == "rss_file":
        return &mm.rss_file
    if field == "rss_shmem":
        return &mm.rss_shmem
    if field == "nr_ptes":
        return &mm.nr_ptes
    if field == "nr_pmds":
        return &mm.nr_pmds
    if field == "nr_puds":
        return &mm.nr_puds
    if field == "map_count":
        return &mm.map_count
    if field == "total_vm":
        return &mm.total_vm
    if field == "locked_vm":
        return &mm.locked_vm
    if field == "swapents":
        return &mm.swapents
    return &mm.vmas.nr


cdef int64_t *machine_field(machine_t *m, str kind, uint64_t number, str field) except NULL:
    if number > 10 or (kind == "lru" and number > LRU_UNEVICTABLE) or (kind == "mthp" and not 0 < number < 10):
        raise LookupError(f"no {kind} {number}")
    if kind == "lru":
        return &m.lru[number].nr_pages
    if kind == "buddy":
        return &m.nr_free[number]
    if kind == "mthp":
        return &m.mthp[number][<int>MTHP_NR_ANON if field == "nr_anon" else <int>MTHP_NR_ANON_PARTIALLY_MAPPED]
    if field == "free_pages":
        return &m.free_pages
    if field == "nr_tables":
        return &m.nr_tables
    return &m.deferred_len


cdef tuple corrupt(machine_t *m, str kind, uint64_t number, str field, int64_t delta):
    cdef vma_t *vma
    if field not in CORRUPTIBLE[kind]:
        raise KeyError(field)
    if kind == "page" or kind == "folio" or kind == "table":
        frame_field(m, kind, number, field)[0] += <int32_t>delta
    elif kind == "flags":
        page_at(m, number).flags ^= flag_bit(field)
    elif kind == "anon_vma":
        anon_vma_field(m, number, field)[0] += <int32_t>delta
    elif kind == "vma":
        vma = vma_at(m, number)
        vma.nr_chain += <int32_t>delta
        return f"vma {vma.mm.pid} 0x{vma.start:x}", field
    elif kind == "mapping":
        mapping_at(m, number).nrpages += delta
    elif kind == "slot":
        if not 0 < number < m.swap.nr:
            raise LookupError(f"no slot {number}")
        m.swap.slots[number].count += <int32_t>delta
    elif kind == "mm":
        mm_field(m, number, field)[0] += delta
    else:
        machine_field(m, kind, number, field)[0] += delta
    return object_name(kind, number), field
