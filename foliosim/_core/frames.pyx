# cython: language_level=3
"""The border's ground: the core's struct, whose turn it is to work on it, and what its frames and counters show."""
import numpy as np
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.content cimport content_read
from foliosim._core.counters cimport counters_delta, counters_snapshot
from foliosim._core.flags cimport *
from foliosim._core.kpage cimport kpage_words, stable_page_flags
from foliosim._core.memcontrol cimport mem_cgroup_usage
from foliosim._core.numbers cimport i32, u32, u64
from foliosim._core.numbers import addresses
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.turn cimport look_turn
from foliosim._core.types cimport *

VMSTAT_NAMES = (
    "pgfault", "pgmajfault", "pgreuse", "pgactivate", "pgdeactivate", "pglazyfree", "pglazyfreed",
    "unevictable_pgs_culled", "unevictable_pgs_rescued", "unevictable_pgs_mlocked", "unevictable_pgs_munlocked",
    "unevictable_pgs_cleared", "unevictable_pgs_stranded", "thp_fault_alloc", "thp_fault_fallback",
    "thp_collapse_alloc", "thp_collapse_alloc_failed", "thp_file_alloc", "thp_file_fallback", "thp_file_mapped",
    "thp_split_page", "thp_split_page_failed", "thp_deferred_split_page", "thp_underused_split_page",
    "thp_split_pmd", "thp_split_pud", "thp_zero_page_alloc", "nr_foll_pin_acquired", "nr_foll_pin_released",
    "cow_bytes", "pswpin", "pswpout", "swpin_zero", "swpout_zero", "pgscan_direct", "pgscan_anon", "pgscan_file",
    "pgsteal_direct", "pgsteal_anon", "pgsteal_file", "pgrefill", "pgrotated", "allocstall_movable",
    "workingset_refault_anon", "workingset_activate_anon", "oom", "thp_fault_fallback_charge", "thp_swpout",
    "thp_swpout_fallback", "thp_scan_exceed_none_pte", "thp_scan_exceed_swap_pte", "thp_scan_exceed_share_pte")


cdef uint64_t *entries_of(machine_t *m, uint64_t pfn) except NULL:
    if pfn >= m.fresh_pfn or page_kind(page_of(m, <uint32_t>pfn)) != PG_KIND_TABLE:
        raise ValueError(f"pfn {pfn:#x}: not a page table")
    return table_of(m, <uint32_t>pfn)


cdef class CoreFrames:
    """Physical memory of an emulated machine, and the counters of what was done with it."""

    cdef int look(self) except -1:
        """Wait until no other thread is in the middle of an operation; what follows must be short, and not call
        Python while it relies on what it saw (or `hold_turn`)."""
        return look_turn(&self.turn)

    cdef int settle(self) except -1:
        """`CoreMachine` knows what hooks raise."""
        return 0

    # ---- counters ----

    @property
    def task_size(self):
        """Where the user's addresses end."""
        return self.m.task_size

    @property
    def table_ops(self):
        """Contiguous blocks folded and unfolded, TLB flushes that this or the exchange of a PMD leaf needed, and valid
        entries changed without break before make: counts by name."""
        names = ("fold", "unfold", "flush", "bbm_violation")
        return {name: self.m.table_ops[i] for i, name in enumerate(names)}

    def counters(self):
        """A snapshot of the event counters, for counters_since."""
        self.look()
        return counters_snapshot(&self.m)

    def counters_since(self, bytes before):
        """What changed: ``{"vmstat": {...}, "mthp_stats": {size: {...}}}``, zero changes omitted."""
        self.look()
        return counters_delta(&self.m, before)

    def vmstat(self):
        """Event counters by their /proc/vmstat names, and gauges in pages.  pgscan_direct, pgsteal_direct, pgrefill and
        oom are those of the limit's cgroup (memory.stat, memory.events), which /proc/vmstat leaves out."""
        self.look()
        out = {name: self.m.vmstat[i] for i, name in enumerate(VMSTAT_NAMES)}
        names = ("nr_inactive_anon", "nr_active_anon", "nr_inactive_file", "nr_active_file", "nr_unevictable")
        out.update({name: self.m.lru[i].nr_pages for i, name in enumerate(names)})
        out["nr_free_pages"] = self.m.free_pages
        out["nr_page_table_pages"] = self.m.nr_tables
        out["deferred_split_folios"] = self.m.deferred_len
        out["nr_swap_pages"] = self.m.swap.nr - self.m.swap.used
        out["memory_current"] = mem_cgroup_usage(&self.m)
        return out

    def mthp_stats(self):
        """``{order: {name: value}}`` of hugepages-<size>/stats."""
        names = ("anon_fault_alloc", "anon_fault_fallback", "split", "split_failed", "split_deferred", "nr_anon",
                 "nr_anon_partially_mapped", "shmem_alloc", "shmem_fallback", "anon_fault_fallback_charge", "swpin",
                 "swpout", "swpout_fallback")
        self.look()
        return {order: {name: self.m.mthp[order][i] for i, name in enumerate(names)}
                for order in range(1, FS_HPAGE_PMD_ORDER + 1)}

    def kpageflags(self, pfns):
        """Words of /proc/kpageflags for an array of frame numbers."""
        frames = addresses(pfns, "pfns")
        self.look()
        return kpage_words(&self.m, frames, True)

    def kpagecount(self, pfns):
        """Words of /proc/kpagecount for an array of frame numbers."""
        frames = addresses(pfns, "pfns")
        self.look()
        words = kpage_words(&self.m, frames, False)
        self.settle()
        return words

    def folio_fields(self, pfn):
        """Fields of the folio that holds a frame; None if the frame is in no folio."""
        cdef uint64_t frame = u64(pfn, "pfn")
        cdef uint32_t head
        cdef page_t *folio
        cdef tail1_t *one
        self.look()
        if frame >= self.m.nr_pages or frame >= self.m.fresh_pfn:
            raise ValueError(f"pfn {frame:#x}: beyond the memory in use, {self.m.fresh_pfn:#x} frames")
        head = folio_at(&self.m, frame)
        if head == FS_NO_PFN:
            return None
        folio = page_of(&self.m, head)
        out = {
            "pfn": head, "order": folio_order(folio), "refcount": folio.refcount, "mapcount": folio_mapcount(folio),
            "index": folio_index(folio), "flags": int(stable_page_flags(&self.m, head)),
            "maybe_shared": bool(folio_maybe_mapped_shared(folio)), "entire_mapcount": 0, "nr_pages_mapped": 0,
            "pincount": folio.refcount // FS_GUP_PIN_COUNTING_BIAS, "mm_ids": (), "mm_mapcounts": (),
            "partially_mapped": bool(folio.flags & PG_partially_mapped), "deferred": bool(folio.flags & PG_deferred),
            "anon_exclusive": bool(page_of(&self.m, head).flags & PG_anon_exclusive),
        }
        if folio_test_large(folio):
            one = folio_tail1(folio)
            out["mm_ids"] = (one.mm_id[0], one.mm_id[1] & 0x7fffffffU)
            out["mm_mapcounts"] = (one.mm_mapcount[0], one.mm_mapcount[1])
        if folio_order(folio) >= 2:
            out["entire_mapcount"] = folio_tail2(folio).entire_mapcount
            out["nr_pages_mapped"] = folio_tail2(folio).nr_pages_mapped & (FS_ENTIRELY_MAPPED - 1)
            out["pincount"] = folio_tail2(folio).pincount
        return out

    def peek_frame(self, pfn, offset=0):
        """One byte of a frame."""
        cdef uint64_t frame = u64(pfn, "pfn"), at = u64(offset, "offset")
        self.look()
        if frame >= self.m.fresh_pfn or at >= FS_PAGE_SIZE:
            raise ValueError(f"pfn {frame:#x} offset {at}: not in memory in use")
        return content_read(&self.m, <uint32_t>frame, <uint32_t>at)

    def table(self, pfn):
        """The entries of a page table, a copy."""
        cdef uint64_t frame = u64(pfn, "pfn")
        self.look()
        return np.asarray(<uint64_t[:FS_PTRS_PER_PTE]>entries_of(&self.m, frame)).copy()

    def poke_table(self, pfn, index, entry):
        """Overwrite an entry of a page table, behind the back of every rule; the old one.  For tests and teaching."""
        cdef uint64_t frame = u64(pfn, "pfn"), word = u64(entry, "entry"), old
        cdef int32_t at = i32(index, "index")
        cdef uint64_t *entries
        self.look()
        if not 0 <= at < FS_PTRS_PER_PTE:
            raise ValueError(f"index {at}: must be 0 to {FS_PTRS_PER_PTE - 1}")
        entries = entries_of(&self.m, frame)
        old, entries[at] = entries[at], word
        return old
