# cython: language_level=3
"""A border for experiments: references, locks and failing allocations put in on purpose, and what the ledger reads."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.gup_fast cimport grab_folio
from foliosim._core.held cimport held_add
from foliosim._core.machine cimport CoreMachine, CoreReference, Hold
from foliosim._core.truth cimport *
from foliosim._core.turn cimport leave_turn
from foliosim._core.types cimport *

FAIL_KINDS = {"folio": FAIL_FOLIO, "table": FAIL_TABLE, "vma": FAIL_VMA, "anon_vma": FAIL_ANON_VMA,
              "xa_node": FAIL_XA_NODE}
OPS = ("ref", "mapcount", "rmap_call", "pte_set", "tlb_flush", "folio_alloc", "folio_free", "table_alloc",
       "table_free", "vma", "record", "gup", "mlock")
FAULTS = ("all", "cow", "reuse", "zero", "unshare")
COWS = ("parent", "child", "syscall", "fork", "file", "needless")
SPLIT_REASONS = ("vma_split", "unmap", "reclaim", "underused", "swap", "madvise", "pin", "user")
SPLIT_FAILS = ("extra_ref", "pinned", "locked", "nomem", "busy")
TLB_MODELS = ("plain", "coalesce4", "contpte")


# ---- references and locks ----

def hold_page(CoreMachine machine, uint64_t pfn, cls, *, bint pin=False, bint lock=False):
    """A reference (or pin, or a reference with the folio lock) on a frame that no process took; a CoreReference.

    LookupError if no folio is there, or if it is locked already.
    """
    cdef CoreReference reference
    cdef page_t *folio
    machine.look()
    if folio_at(&machine.m, pfn) == FS_NO_PFN:
        raise LookupError(f"pfn {pfn:#x}: no folio there")
    folio = folio_of(&machine.m, <uint32_t>pfn)
    if lock and folio.flags & PG_locked:
        raise LookupError(f"pfn {pfn:#x}: the folio is locked already")
    reference = cls(machine, None, FOLL_PIN if pin else FOLL_GET)
    reference.held.pfns = <uint32_t *>malloc(sizeof(uint32_t))
    if reference.held.pfns == NULL:
        raise MemoryError("hold_page")
    reference.held.pfns[0] = <uint32_t>pfn
    reference.held.nr = 1
    reference.nbytes = FS_PAGE_SIZE
    reference.locks = lock
    grab_folio(&machine.m, <uint32_t>pfn, 1, reference.held.flags)
    held_add(&machine.m, &reference.held)
    if lock:
        folio.flags |= PG_locked
    machine.references[reference] = None
    return reference


def let_go(CoreReference reference):
    """Drop what hold_page took, between two steps."""
    with Hold(reference.machine):
        if reference in reference.machine.references:
            reference.put()
            reference.machine.drain()


# ---- allocations that fail ----

def arm(CoreMachine machine, uint32_t kinds, int min_order, int64_t nth, int64_t times):
    """Let allocations of some kinds (a mask) fail from the nth on, so many times (-1: all)."""
    cdef fault_attr_t *fail = &machine.m.fail
    machine.look()
    fail.kinds, fail.min_order, fail.nth, fail.times = kinds, min_order, nth, times
    fail.calls = fail.failed = 0
    fail.struck = False
    fail.armed = True


def disarm(CoreMachine machine):
    machine.look()
    machine.m.fail.armed = machine.m.fail.struck = False


def failures(CoreMachine machine):
    """(armed, allocations counted, of these failed)."""
    machine.look()
    return bool(machine.m.fail.armed), machine.m.fail.calls, machine.m.fail.failed


# ---- the ledger ----

cdef dict named(names, const int64_t *values):
    return {name: values[i] for i, name in enumerate(names)}


def counts(CoreMachine machine):
    """What was counted since the machine was made, by group."""
    cdef ledger_t *ledger = &machine.m.ledger
    machine.look()
    return {
        "ops": {**named(OPS, ledger.ops), "syscall": machine.syscalls},
        "faults": named(FAULTS, ledger.faults),
        "cow_bytes": named(COWS, ledger.cow_bytes),
        "zero_bytes": ledger.zero_bytes,
        "split_attempt": named(SPLIT_REASONS, ledger.split_attempt),
        "split_ok": named(SPLIT_REASONS, ledger.split_ok),
        "split_failed": named(SPLIT_FAILS, ledger.split_failed),
        "deferred": {"len": machine.m.deferred_len, "added": ledger.deferred_added,
                     "removed": ledger.deferred_removed},
        "fail": dict(machine.fails),
    }


def truth(CoreMachine machine):
    """What is true of all frames now: pages, but for tlb (entries by model) and deposited (tables)."""
    cdef truth_t t
    machine.begin(machine.m.fresh_pfn)
    if truth_init(&t, &machine.m):
        leave_turn(&machine.turn)
        raise MemoryError("ledger: the host has no memory")
    truth_count(&t)
    leave_turn(&machine.turn)
    try:
        return {
            "tlb": named(TLB_MODELS, t.tlb), "deposited": t.deposited, "mapped": t.mapped, "own": t.own,
            "distinct": t.distinct, "anon": t.anon, "anon_huge": t.anon_huge, "locked": t.locked,
            "mlocked": t.mlocked, "anon_reported": t.anon_reported, "overshoot": t.overshoot,
            "undershoot": t.undershoot, "stranded": t.stranded, "bloat": t.bloat, "pinned": t.pinned,
            "pin_overshoot": t.pin_overshoot, "deferred_pages": t.deferred_pages, "cold_active": t.cold_active,
            "hot_reclaimed": machine.m.age.hot_reclaimed,
        }
    finally:
        truth_deinit(&t)
