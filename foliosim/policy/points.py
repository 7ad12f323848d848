"""The table of policy points.

A point is a decision that Linux takes in one place.  Its alternatives are compiled into the core under these names
(`foliosim/_core/policy.pyx`); a Python object with a method named like the point may take its place.
"""
import re
from dataclasses import dataclass

_WILCOX = "M. Wilcox, Re: [RFC PATCH 0/3] support large folio for mlock, July 2023"
_SIZE = "M. Wilcox, What size anonymous folios should we allocate?, 21 Feb 2023"
_THREAD = "Re: [RFC PATCH 0/3] support large folio for mlock, July 2023"
_PACHE = "N. Pache, khugepaged: mTHP support"
_HILDENBRAND = "D. Hildenbrand, Re: [RFC PATCH 0/3] support large folio for mlock, July 2023"
_VARIABLE = "R. Roberts, [RFC v2 PATCH 14/17] mm: Copy large folios for anonymous memory, 14 Apr 2023"
_UNKNOWN = "no kernel and no mail known; to compare with"
_BOUND = "no kernel; the bound of what a better rule could reach"


@dataclass(frozen=True)
class Alternative:
    """One answer to a policy point.

    Attributes
    ----------
    name : str
        Under which it is selected.
    what : str
        What it does, in one line.
    source : str
        Kernel function, or subject, author and date of the mail that proposed it.
    number : tuple, optional
        Letter, least and greatest value of the number that is written behind the name: ``"fixed(2)"``.
    optional : bool
        The number may be left out.
    also : str
        Another way to write it, for one without a number.
    """

    name: str
    what: str
    source: str
    number: tuple = ()
    optional: bool = False
    also: str = ""

    @property
    def written(self):
        """As it is written in a list of alternatives: ``"fixed(n)"``."""
        return f"{self.name}({self.number[0]})" if self.number else self.name


@dataclass(frozen=True)
class Point:
    """A decision that can be replaced.

    Attributes
    ----------
    id : str
        ``"P01"`` ...
    name : str
    question : str
    arguments : tuple of str
        What a Python method of this name is called with.
    alternatives : tuple of Alternative
        The first one is what Linux 6.18 does.
    """

    id: str
    name: str
    question: str
    arguments: tuple
    alternatives: tuple

    @property
    def names(self):
        """Names of the alternatives."""
        return tuple(alternative.name for alternative in self.alternatives)

    def parse(self, text):
        """An alternative as a user writes it.

        Parameters
        ----------
        text : str
            ``"inherit"``, or with a number, ``"fixed(2)"``; ``"split_now_if_order<=4"`` is the same as
            ``"split_now_if_order(4)"``.

        Returns
        -------
        tuple
            Name, and the number (0 if it has none).

        Raises
        ------
        ValueError
            No such alternative, or not such a number; the message lists the valid ones.
        """
        valid = ", ".join(one.written for one in self.alternatives)
        written = re.sub(r"^(\w+)<=(\d+)$", r"\1(\2)", text) if isinstance(text, str) else ""
        name, bracket, rest = written.partition("(")
        if written and written in {one.also for one in self.alternatives}:
            return name, 0
        chosen = next((one for one in self.alternatives if one.name == name), None)
        if chosen is None or bool(bracket) != bool(chosen.number) and (bracket or not chosen.optional):
            raise ValueError(f"policy {self.name}={text!r}: valid are {valid}")
        if not bracket:
            return name, 0
        letter, least, greatest = chosen.number
        if not rest[:-1].isdecimal() or rest[-1:] != ")" or not least <= int(rest[:-1]) <= greatest:
            raise ValueError(f"policy {self.name}={text!r}: {letter} must be {least} to {greatest}")
        return name, int(rest[:-1])


POINTS = {point.name: point for point in (
    Point("P01", "vma_split", "A VMA is cut in the middle of a folio: what becomes of the folio?",
          ("order", "page", "shared"), (
              Alternative("keep", "split only the PMD; the folio stays whole", "vma_adjust_trans_huge"),
              Alternative("split_try", "split the folio; if that fails, leave it", _WILCOX),
              Alternative("split_try_defer", "the same, and queue it for later if it fails", _WILCOX),
              Alternative("defer_always", "queue it on the deferred split queue", _HILDENBRAND),
              Alternative("defer_recheck", "queue it; the shrinker may find that it is whole again", _HILDENBRAND),
              Alternative("split_nonuniform", "split it only along the boundary, in ever smaller halves",
                          "folio_split"),
              Alternative("copy_out", "split; if that fails, the changed part gets a copy of its own", _WILCOX),
              Alternative("retry", "try up to n more times, 100 if it is left out, then leave it; rejected", _THREAD,
                          ("n", 1, 100), optional=True),
              Alternative("fail", "the system call fails if the folio cannot be split; rejected", _THREAD),
          )),
    Point("P02", "mlock_rule", "Which large folios become unevictable when part of them is in a VM_LOCKED VMA?",
          ("event", "order", "nr_mapped", "pmd", "within"), (
              Alternative("contained_eager", "those wholly mapped in the locked VMA, seen at mlock and when mapped",
                          "mlock_pte_range, __folio_add_rmap since 6.18; K. Shutsemau, mm: Improve mlock tracking for "
                          "large folios, 23 Sep 2025"),
              Alternative("contained_lazy", "the same, but seen at mlock and by reclaim only",
                          "mlock_pte_range, folio_referenced_one of 6.7; Yin Fengwei, mm: mlock: update "
                          "mlock_pte_range to handle large folio, 18 Sep 2023"),
              Alternative("pmd_only", "those mapped by a PMD", "mlock_pte_range, mlock_vma_page before 6.7"),
              Alternative("whole", "those with any page in a locked VMA", _UNKNOWN),
              Alternative("split", "split those only partly in it; the locked pages stand alone", _WILCOX),
              Alternative("copy_out", "the locked part of such a folio gets folios of its own", _WILCOX),
              Alternative("forbid", "split all of them on mlock",
                          "K. Shutemov, thp, mlock: do not allow huge pages in mlocked area, 2015 (undone in 4.5)"),
          )),
    Point("P03", "partial_evict", "Reclaim meets a large folio that is partly in a locked VMA: what becomes of it?",
          ("order", "nr_locked"), (
              Alternative("unmap_rest", "unmap what comes before the locked part; it stays whole, in the swap cache",
                          "try_to_unmap_one since 6.10; R. Roberts, mm: vmscan: avoid split during "
                          "shrink_folio_list(), 11 Mar 2024"),
              Alternative("split_then_sort", "split it: unlocked pages are reclaimed, locked ones become unevictable",
                          "shrink_folio_list before 6.10 (split_folio_to_list of what PTEs map); Yu Zhao, " + _THREAD),
              Alternative("skip_folio", "leave it on the inactive list, and meet it again", _UNKNOWN),
              Alternative("evict_none_until_unlock", "it is unevictable, whole, until some part is unlocked",
                          _UNKNOWN),
          )),
    Point("P05", "fork_child_mprotect", "Part of a folio that is shared since fork is protected: who keeps it?",
          ("order", "nr_pages", "pmd"), (
              Alternative("pmd_split_child", "only the caller's PMD is split; both share the folio", "split_huge_pmd"),
              Alternative("split_both", "the folio is split for everybody", _WILCOX),
              Alternative("cow_whole", "the caller gets a copy of the folio at once", _WILCOX),
              Alternative("cow_part", "the caller gets a copy of the part that is protected", _UNKNOWN),
          )),
    Point("P06", "cow_order", "How much does a write fault on a shared folio copy?", ("order", "pmd"), (
        Alternative("order0", "one page; a PMD is split first", "wp_page_copy; for PMDs K. Shutemov, thp: change CoW "
                    "semantics for anon-THP, 16 Apr 2020"),
        Alternative("inherit", "the block of the folio's order around the fault", f"{_SIZE}; {_VARIABLE}"),
        Alternative("fixed", "an aligned window of 2^n pages, less where it does not fit", _VARIABLE + " (64 KiB)",
                    ("n", 2, 9)),
        Alternative("whole_huge", "what a PMD maps whole, else one page", "do_huge_pmd_wp_page before 5.8"),
    )),
    Point("P06", "dirty_neighbours", "Are pages that were copied along mapped as if written too?", ("order",), (
        Alternative("yes", "writable and dirty, as a new folio is", "do_anonymous_page"),
        Alternative("no", "read-only and exclusive", _UNKNOWN),
    )),
    Point("P07", "cow_reuse", "When may a writer keep a page instead of copying it?",
          ("order", "pmd", "exclusive", "refcount", "mapcount", "shared", "stopped", "page_mapcount"), (
              Alternative("mm_owner_two_slots", "all references are mappings of one process, by two owner slots",
                          "wp_can_reuse_anon_folio since 6.15; D. Hildenbrand, mm: MM owner tracking for large folios, "
                          "3 Mar 2025"),
              Alternative("anon_exclusive_only", "of a large folio only pages that were never shared",
                          "B. Song, mm: prohibit the last subpage from reusing the entire large folio, 8 Mar 2024"),
              Alternative("exclusive_or_last", "those, or the last page of a folio that is mapped",
                          "do_wp_page from 5.19 until then"),
              Alternative("refcount_one", "the folio has one reference", "do_wp_page before 5.19"),
              Alternative("exact_owner_set", "nobody else maps the page: the upper bound", _BOUND),
              Alternative("saturating", "two slots, but after a third process never again",
                          "M. Wilcox on linux-mm, December 2021: mapcounts of zero, one, two, many"),
          )),
    Point("P07", "reuse_around", "How many pages become writable when one is kept?", ("order",), (
        Alternative("off", "the one", "wp_page_reuse"),
        Alternative("window", "those of 2^n around it that could be kept too",
                    "R. Roberts, [RFC v2 PATCH 00/17] variable-order, large folios for anonymous memory, 14 Apr 2023",
                    ("n", 1, 9)),
    )),
    Point("P08", "mapcount_model", "Which mapcounts of a large folio are kept?", ("order",), (
        Alternative("per_page+nr_mapped", "one per page, and how many are mapped", "__folio_remove_rmap"),
        Alternative("large_only", "the folio's alone", "__folio_remove_rmap with CONFIG_NO_PAGE_MAPCOUNT"),
        Alternative("per_vma_table", "one for each VMA and page table that maps some of it",
                    "M. Wilcox, Folio mapcount, 24 Jan 2023"),
    )),
    Point("P10", "pin_short", "Does a short-term reference to a part split the folio?", ("order", "nr_pages"), (
        Alternative("no_split", "never", "try_grab_folio"),
        Alternative("split", "try to, before the reference is taken", _THREAD),
        Alternative("per_page_count", "no; pins are counted by page, so the folio can still be split", _WILCOX),
    )),
    Point("P11", "pin_long", "Does a long-term pin of a part split the folio?", ("order", "nr_pages"), (
        Alternative("no_split", "never", "try_grab_folio"),
        Alternative("split", "yes; if it cannot be split, the pin fails with EAGAIN", _WILCOX),
        Alternative("split_try", "yes; if it cannot be split, it is pinned whole", _THREAD),
        Alternative("move_out", "the range is copied to folios of its own first", _BOUND),
    )),
    Point("P12", "pin_account", "What does a registered buffer count against RLIMIT_MEMLOCK?",
          ("order", "nr_pages", "again", "known"), (
              Alternative("head_once", "a large folio whole, by the first buffer that has pages of it",
                          "io_buffer_account_pin, headpage_already_acct"),
              Alternative("per_page", "the pages that it spans", "io_sqe_buffer_register before 5.10"),
              Alternative("head_refcounted", "a large folio whole, once, until the last buffer of the ring goes",
                          "Y. Jiang, io_uring/rsrc: fix RLIMIT_MEMLOCK bypass via compound page accounting, "
                          "17 Dec 2025"),
              Alternative("per_buffer", "a large folio whole, by each buffer that has pages of it",
                          "Y. Jiang, io_uring/rsrc: fix RLIMIT_MEMLOCK bypass by removing cross-buffer accounting, "
                          "19 Jan 2026"),
          )),
    Point("P13", "fork_pinned", "Which exclusive pages of a folio with pins does fork copy?", ("order",), (
        Alternative("copy_whole_folio", "all of them: pins are counted by folio",
                    "copy_present_page; P. Xu, mm: Do early cow for pinned pages during fork() for ptes, 21 Sep 2020"),
        Alternative("copy_pinned_page", "those that are pinned; the others are shared", _BOUND),
        Alternative("dontfork", "none that is pinned for long: whoever pins marks the pages MADV_DONTFORK meanwhile",
                    "ibv_fork_init of rdma-core"),
    )),
    Point("P14", "fault_order", "Which sizes may a fault allocate?", ("khugepaged", "advised", "sysfs", "pages"), (
        Alternative("mthp", "those that hugepages-*/enabled and madvise allow", "thp_vma_allowable_orders since 6.8; "
                    "R. Roberts, Multi-size THP for anonymous memory, 7 Dec 2023"),
        Alternative("pmd_enabled", "2 MiB, as transparent_hugepage/enabled says", "hugepage_vma_check before 6.8"),
        Alternative("never", "single pages", "transparent_hugepage/enabled: never"),
        Alternative("madvise", "2 MiB where MADV_HUGEPAGE asks for it", "transparent_hugepage/enabled: madvise"),
        Alternative("always", "2 MiB", "transparent_hugepage/enabled: always", also="always(2M)"),
        Alternative("defer", "as madvise; elsewhere single pages, and khugepaged makes them huge",
                    "N. Pache, [RFC v2 0/5] mm: introduce THP deferred setting, 10 Feb 2025"),
        Alternative("vma_scaled", "sizes up to 1/32 of the VMA", _SIZE),
        Alternative("up_to", "every size up to 2^n pages",
                    "Y. Shao, mm, bpf: BPF-MM, BPF-THP, 26 Oct 2025 (one thing that such a hook can say)", ("n", 2, 9)),
    )),
    Point("P15", "fault_fallback", "No memory for a size: which is tried next?", ("order",), (
        Alternative("next_lower_enabled", "the next lower one that is enabled", "alloc_anon_folio"),
        Alternative("costly_then_0", "8 pages, then one",
                    "alloc_anon_folio of R. Roberts, [PATCH v5 3/5] mm: LARGE_ANON_FOLIO for improved performance, "
                    "10 Aug 2023"),
        Alternative("straight_to_0", "one page", "do_huge_pmd_anonymous_page before 6.8"),
    )),
    Point("P17", "zero_page", "Is the zero page, and what a write to it makes, huge where it can be?", ("write",), (
        Alternative("huge", "the huge zero page; a write makes a huge folio",
                    "do_huge_zero_wp_pmd since 6.13; D. Jain, mm: Allocate THP on hugezeropage wp-fault, Sep 2024"),
        Alternative("huge_then_small", "the huge zero page; a write makes a single page",
                    "do_huge_pmd_wp_page before 6.13"),
        Alternative("small", "the small zero page",
                    "use_zero_page=0; K. Shutemov, thp: introduce sysfs knob to disable huge zero page, 15 Nov 2012"),
    )),
    Point("P21", "partial_unmap", "Part of a folio is unmapped: when is it split?", ("order", "nr_mapped"), (
        Alternative("defer", "under memory pressure", "deferred_split_folio; K. Shutemov, thp: introduce "
                    "deferred_split_huge_page(), 2015"),
        Alternative("split_now", "when the operation ends", "zap_pmd_range before 4.5 (split_huge_page_pmd)"),
        Alternative("split_now_if_order", "the same up to 2^n pages; larger ones wait", _UNKNOWN, ("n", 2, 9)),
        Alternative("free_part_only", "at once, and only as far as it frees what is not mapped", _BOUND),
    )),
    Point("P22", "deferred_members", "Which folios are on the deferred split queue?", ("event", "order"), (
        Alternative("+all_new_thp", "the partially mapped, and every new huge folio",
                    "map_anon_folio_pmd since 6.12; U. Arif, mm: split underused THPs, Aug 2024"),
        Alternative("exclude_fully_unmapped", "the partially mapped", "Z. Yan, mm/rmap: do not add fully unmapped "
                    "large folio to deferred split list, 2 May 2024"),
        Alternative("partially_mapped", "those, and for a moment the ones whose last pages went away",
                    "__folio_remove_rmap before 6.10"),
        Alternative("order>=2", "the partially mapped, and new folios of every size from 4 pages on", _UNKNOWN),
    )),
    Point("P24", "split_target", "Into what is a folio split that must go?", ("order",), (
        Alternative("order0_uniform", "single pages", "split_folio"),
        Alternative("lower_uniform", "folios of 2^n pages", "split_huge_page_to_list_to_order", ("n", 2, 8)),
        Alternative("nonuniform", "ever smaller halves around the page that is wanted", "folio_split"),
    )),
    Point("P24", "drop_zero_pages", "Does the zero page take the place of zero-filled pages after a split?", (), (
        Alternative("yes", "yes",
                    "try_to_map_unused_to_zeropage since 6.12; Yu Zhao, mm: remap unused subpages to shared zeropage "
                    "when splitting isolated thp, Aug 2024"),
        Alternative("no", "no", "remove_migration_pte before 6.12"),
    )),
    Point("P25", "madv_free_partial", "MADV_FREE covers part of a folio: and then?", ("order", "nr_pages"), (
        Alternative("split_continue", "split it; where that fails, leave it and go on",
                    "madvise_free_pte_range since 6.10; L. Yang, mm/madvise: optimize lazyfreeing with mTHP in "
                    "madvise_free, 18 Apr 2024"),
        Alternative("give_up", "split what is covered whole, too; where that fails, leave the rest of the table",
                    "madvise_free_pte_range before 6.10"),
        Alternative("mark_whole", "mark the folio lazily freed and the other pages dirty", _UNKNOWN),
    )),
    Point("P18", "collapse_rule", "When does khugepaged collapse a block?",
          ("none", "zero_filled", "swap", "shared", "max_none", "max_swap", "max_shared"), (
              Alternative("pmd_only", "at most max_ptes_none empty, _swap swapped out and _shared shared pages",
                          "hpage_collapse_scan_pmd"),
              Alternative("quadruple_active", "four neighbouring folios become one if three of them are active",
                          "M. Wilcox, What size anonymous folios should we allocate?, 21 Feb 2023",
                          also="quadruple_active(3 of 4)"),
              Alternative("count_zero_as_none", "pages of zeros count as empty", "proposed by K. Shutsemau"),
              Alternative("eagerness", "10: if one page of the 512 is in use, 9: over half of them, 8: over three "
                          "quarters, ... 1: all", "proposed by D. Hildenbrand (one scale; these steps are ours)",
                          ("n", 1, 10)),
              Alternative("bitmap_best_fit", "the largest enabled size that fits; below 2 MiB max_ptes_none counts as "
                          "0, or if it is 511, as all but one", f"{_PACHE}, v17, 11 May 2026"),
              Alternative("bitmap_best_fit_capped", "the same; below 2 MiB at most 255, in proportion to the size",
                          f"{_PACHE}, v12, 22 Oct 2025"),
              Alternative("bitmap_best_fit_scaled", "the same; below 2 MiB in proportion to the size",
                          f"{_PACHE}, v9, 13 Jul 2025"),
          )),
    Point("P19", "collapse_vs_free", "Does khugepaged collapse a block of which the program freed pages?",
          ("scans", "nr_none"), (
              Alternative("on", "as any other", "khugepaged"),
              Alternative("off", "never again", "MADV_NOHUGEPAGE, as the program might have said itself"),
              Alternative("backoff", "not in the next n scans", _UNKNOWN, ("n", 1, 1 << 20)),
              Alternative("respect_recent_dontneed", "not until the freed pages are in use again", _UNKNOWN),
          )),
    Point("P23", "underused", "Does the shrinker split a huge folio that is mapped whole?",
          ("nr_zero", "max_ptes_none", "nr_accessed", "one_half"), (
              Alternative("zero_filled", "if more than t pages are zero-filled, max_ptes_none by default; never if 511",
                          "thp_underused; U. Arif, mm: split underused THPs, Aug 2024", ("t", 1, 511), optional=True),
              Alternative("off", "never", "before 6.12"),
              Alternative("zero_filled_incl_511", "the same, but if all pages are zero-filled in any case",
                          "D. Hildenbrand, mm/huge_memory: fix shrinking of all-zero THPs with max_ptes_none default, "
                          "5 Sep 2025"),
              Alternative("bucketed_lru", "if by its pages in use it is in one of the b lowest of ten buckets",
                          "A. Zhu, [PATCH 0/3] THP Shrinker, 28 Sep 2022 (b = 1)", ("b", 1, 10)),
              Alternative("accessed_half", "if fewer than half of its pages were used, all in one half",
                          "M. Wilcox, What size anonymous folios should we allocate?, 21 Feb 2023"),
          )),
    Point("P27", "age_unit", "Was a large folio used of which some pages were?", ("order", "nr_young", "nr_mapped"), (
        Alternative("folio_any", "yes", "folio_referenced"),
        Alternative("majority", "if more than half of its mapped pages were", _UNKNOWN),
        Alternative("per_page", "it is split, and each page judged for itself", _BOUND),
    )),
    Point("P28", "contpte", "Does a block of PTEs become a contiguous one that one TLB entry serves (arm64)?",
          ("event",), (
              Alternative("fold_opportunistic", "if it is written at once, or its last entry completes it",
                          "contpte_set_ptes, contpte_try_fold"),
              Alternative("fold_on_set", "if it is written at once",
                          "R. Roberts, Transparent Contiguous PTEs for User Mappings, Feb 2024"),
              Alternative("off", "never", "without CONFIG_ARM64_CONTPTE"),
          )),
    Point("P29", "swap_large", "Does a large folio go to swap whole, and come back so?",
          ("event", "order", "enabled"), (
              Alternative("whole", "out as it is, in by the sizes that faults may use",
                          "folio_alloc_swap, alloc_swap_folio; C. Han, B. Song, mm: support large folios swap-in for "
                          "sync io devices, 21 Aug 2024"),
              Alternative("order0", "out as it is, in page by page",
                          "6.10 and 6.11; R. Roberts, Swap-out mTHP without splitting, 27 Mar 2024"),
              Alternative("pmd_whole", "out as it is if a PMD maps it, else split; in page by page",
                          "shrink_folio_list before 6.10; Huang Ying, mm, THP, swap: delay splitting THP after swapped "
                          "out, 24 Jul 2017"),
              Alternative("split_first", "it is split before it goes out", "add_to_swap before 4.13"),
              Alternative("original_order", "out and in as it is", _BOUND),
          )),
)}

_LINUX = {point.name: point.alternatives[0].name for point in POINTS.values()}

# Where a release is not as 6.18: the alternative, and the functions of that release in which this was read.
_BEFORE_6_8 = {
    "partial_evict": ("split_then_sort", "shrink_folio_list, try_to_unmap_one"),
    "cow_reuse": ("exclusive_or_last", "do_wp_page, do_huge_pmd_wp_page"),
    "fault_order": ("pmd_enabled", "hugepage_vma_check"),
    "fault_fallback": ("straight_to_0", "do_huge_pmd_anonymous_page"),
    "zero_page": ("huge_then_small", "do_huge_pmd_wp_page"),
    "deferred_members": ("partially_mapped", "page_remove_rmap"),
    "underused": ("off", "deferred_split_scan"),
    "drop_zero_pages": ("no", "remap_page, remove_migration_pte"),
    "madv_free_partial": ("give_up", "madvise_free_pte_range"),
    "swap_large": ("pmd_whole", "shrink_folio_list, add_to_swap"),
}
RELEASES = {
    "linux-6.12": {
        "mlock_rule": ("contained_lazy", "allow_mlock_munlock, __folio_add_anon_rmap, folio_referenced_one"),
        "cow_reuse": ("anon_exclusive_only", "wp_can_reuse_anon_folio, do_huge_pmd_wp_page"),
        "zero_page": ("huge_then_small", "do_huge_pmd_wp_page"),
    },
    "linux-6.7": {**_BEFORE_6_8, "mlock_rule": ("contained_lazy", "allow_mlock_munlock, folio_referenced_one"),
                  "cow_reuse": ("exclusive_or_last", "wp_can_reuse_anon_folio, do_huge_pmd_wp_page")},
    "linux-6.1": {**_BEFORE_6_8, "mlock_rule": ("pmd_only", "mlock_pte_range, mlock_vma_folio, folio_referenced_one")},
}
_RELEASES = {name: {point: alternative for point, (alternative, _) in changes.items()}
             for name, changes in RELEASES.items()}

# What differs from linux-6.18.
PRESETS = {name: {**_LINUX, **changes} for name, changes in {
    "linux-6.18": {},
    **_RELEASES,
    "wilcox-2023": {"vma_split": "split_try_defer", "fork_child_mprotect": "cow_whole", "cow_order": "inherit",
                    "pin_long": "split", "collapse_rule": "quadruple_active", "underused": "accessed_half"},
    "oracle": {"mlock_rule": "split", "cow_reuse": "exact_owner_set", "pin_short": "per_page_count",
               "pin_long": "move_out", "pin_account": "per_page", "fork_pinned": "copy_pinned_page",
               "partial_unmap": "free_part_only", "age_unit": "per_page", "swap_large": "original_order"},
}.items()}
