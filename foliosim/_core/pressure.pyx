# cython: language_level=3
"""A border of its own for memory pressure: the limit, swap, reclaim, shrinkers and khugepaged as steps."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.age cimport age_start
from foliosim._core.content cimport content_read, content_saved_byte
from foliosim._core.flags cimport *
from foliosim._core.khugepaged cimport khugepaged_do_scan, khugepaged_scan_mm
from foliosim._core.machine cimport CoreMachine, CoreProcess
from foliosim._core.memcontrol cimport mem_cgroup_usage
from foliosim._core.numbers cimport u64
from foliosim._core.shrinker cimport deferred_split_scan
from foliosim._core.swapfile cimport swap_init
from foliosim._core.turn cimport LONG
from foliosim._core.types cimport *
from foliosim._core.vmscan cimport try_to_free_mem_cgroup_pages

cdef enum:
    MAX_RECLAIM_RETRIES = 16


def setup(CoreMachine machine, uint64_t swap_pages):
    """Pressure as it is at boot; once, before anything is mapped."""
    machine.look()
    machine.m.memcg.swappiness = 60
    machine.m.khugepaged.max_ptes_none = FS_HPAGE_PMD_NR - 1
    machine.m.khugepaged.max_ptes_swap = FS_HPAGE_PMD_NR / 8
    machine.m.khugepaged.max_ptes_shared = FS_HPAGE_PMD_NR / 2
    machine.m.khugepaged.pages_to_scan = 8 * FS_HPAGE_PMD_NR
    if swap_init(&machine.m, swap_pages) < 0:
        raise MemoryError(f"no memory for a swap device of {swap_pages} pages")
    machine.m.pressure = swap_pages > 0
    if swap_pages:
        start_ages(machine)


cdef int start_ages(CoreMachine machine) except -1:
    if age_start(&machine.m) < 0:
        raise MemoryError("no memory for the times of accesses")
    return 0


def limit(CoreMachine machine):
    """memory.max in pages, None: no limit."""
    machine.look()
    return machine.m.memcg.limit or None


def set_limit(CoreMachine machine, int64_t pages):
    """Change memory.max and reclaim down to it, as far as that is possible; 0: no limit.  Pages above it still."""
    cdef int retries = MAX_RECLAIM_RETRIES
    machine.look()
    if pages:
        start_ages(machine)
    machine.begin(mem_cgroup_usage(&machine.m))
    machine.m.memcg.limit = pages
    machine.m.pressure = pages > 0 or machine.m.swap.nr > 0
    while pages and mem_cgroup_usage(&machine.m) > pages and retries:
        if not try_to_free_mem_cgroup_pages(&machine.m, mem_cgroup_usage(&machine.m) - pages):
            retries -= 1
    machine.done(0)
    machine.leave()
    return max(0, mem_cgroup_usage(&machine.m) - pages) if pages else 0


def usage(CoreMachine machine):
    """memory.current: pages of folios and page tables."""
    machine.look()
    return mem_cgroup_usage(&machine.m)


def swap_usage(CoreMachine machine):
    """Slots of the swap device in use, and how many there are."""
    machine.look()
    return (machine.m.swap.used - 1, machine.m.swap.nr - 1) if machine.m.swap.nr else (0, 0)


def peek_swap(CoreMachine machine, number, at):
    """One byte of what a slot holds, in memory or on the device."""
    cdef uint64_t slot = u64(number, "slot"), offset = u64(at, "offset")
    cdef const swap_slot_t *s
    machine.look()
    if not 0 < slot < machine.m.swap.nr or not machine.m.swap.slots[slot].count or offset >= FS_PAGE_SIZE:
        raise ValueError(f"swap slot {slot} offset {offset}: no entry holds it, or beyond the page")
    s = machine.m.swap.slots + slot
    if s.cache:
        return content_read(&machine.m, s.cache, <uint32_t>offset)
    return content_saved_byte(&s.content, <uint32_t>offset)


def reclaim(CoreMachine machine, int64_t pages):
    """Follows user_proactive_reclaim (memory.reclaim): pages that came free, fewer if nothing more can be had."""
    cdef int64_t done = 0, more
    cdef int retries = MAX_RECLAIM_RETRIES
    machine.begin(<uint64_t>pages)
    while done < pages and retries:
        more = try_to_free_mem_cgroup_pages(&machine.m, pages - done)
        done += more
        retries -= more == 0
    machine.done(0)
    machine.leave()
    return done


def shrink_deferred(CoreMachine machine, int64_t folios):
    """Folios split of the `folios` oldest on the deferred split queue."""
    cdef int64_t split
    machine.look()
    machine.begin(<uint64_t>min(folios, machine.m.deferred_len) << FS_HPAGE_PMD_ORDER)
    split = deferred_split_scan(&machine.m, folios)
    machine.done(0)
    machine.leave()
    return split


def khugepaged_scan(CoreMachine machine, CoreProcess process, int64_t pages):
    """Blocks that were collapsed.  process None: all, from where the last look stopped; pages 0: all of a process."""
    cdef khugepaged_t *daemon = &machine.m.khugepaged
    cdef int64_t before, result
    cdef uint64_t address = 0
    cdef mm_t *mm = NULL
    if process is None:
        machine.begin(LONG)
    elif process.machine is not machine:
        raise ValueError(f"{process!r} belongs to another machine")
    else:
        mm = process.begin(process.span())
    before = daemon.pages_collapsed
    if mm == NULL:
        result = khugepaged_do_scan(&machine.m, pages if pages else daemon.pages_to_scan)
    else:
        result = khugepaged_scan_mm(&machine.m, mm, &address, pages if pages else 1LL << 62)
    before = daemon.pages_collapsed - before
    machine.done(0)
    machine.leave()
    if result < 0:
        raise MemoryError("khugepaged: the host has no memory")
    return before


def khugepaged(CoreMachine machine):
    """Settings and counters, by their names in sysfs, and when it wakes up here."""
    cdef const khugepaged_t *daemon = &machine.m.khugepaged
    machine.look()
    return {"max_ptes_none": daemon.max_ptes_none, "max_ptes_swap": daemon.max_ptes_swap,
            "max_ptes_shared": daemon.max_ptes_shared, "pages_to_scan": daemon.pages_to_scan,
            "scan_sleep_steps": daemon.scan_sleep_steps, "wake_at_limit": daemon.wake_at_limit,
            "pages_collapsed": daemon.pages_collapsed, "full_scans": daemon.full_scans}


def set_khugepaged(CoreMachine machine, dict settings):
    """Settings by their names in sysfs, checked by the caller."""
    cdef khugepaged_t *daemon = &machine.m.khugepaged
    machine.look()
    daemon.max_ptes_none = settings.get("max_ptes_none", daemon.max_ptes_none)
    daemon.max_ptes_swap = settings.get("max_ptes_swap", daemon.max_ptes_swap)
    daemon.max_ptes_shared = settings.get("max_ptes_shared", daemon.max_ptes_shared)
    daemon.pages_to_scan = settings.get("pages_to_scan", daemon.pages_to_scan)
    daemon.scan_sleep_steps = settings.get("scan_sleep_steps", daemon.scan_sleep_steps)
    daemon.wake_at_limit = settings.get("wake_at_limit", daemon.wake_at_limit)


def swappiness(CoreMachine machine):
    machine.look()
    return machine.m.memcg.swappiness


def set_swappiness(CoreMachine machine, int value):
    machine.look()
    machine.m.memcg.swappiness = value
