# cython: language_level=3
"""A border for copies of a machine: its records as bytes, what Python keeps beside them, and a machine made of both."""
from libc.errno cimport EINVAL
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
import numpy as np
from foliosim._core.content cimport byte_t, entry_t, store_t
from foliosim._core.flags cimport *
from foliosim._core.held cimport held_add
from foliosim._core.machine cimport CoreMachine, CoreMapping, CoreProcess, CoreReference
from foliosim._core.page_alloc cimport NR_PCP_LISTS
from foliosim._core.snapshot cimport *
from foliosim._core.turn cimport LONG, leave_turn
from foliosim._core.types cimport *

ITEM_DTYPE = np.dtype([("record", "u4"), ("_", "u4"), ("size", "u8"), ("used", "u8"), ("offset", "u8")])
# Attributes of CoreMachine: those that a copy has too, and those that it makes anew.
CARRIED = {"m", "previous", "references", "steps", "wake", "syscalls", "fails", "next_reference", "opened", "base"}
MADE_ANEW = {"turn", "hooks", "hook_error", "in_hook", "known", "kept", "put_later", "reviving_process",
             "reviving_file", "__weakref__"}


def sizes():
    """Bytes of each record: machines whose records differ cannot read each other's."""
    return {"machine_t": sizeof(machine_t), "mm_t": sizeof(mm_t), "vma_t": sizeof(vma_t), "avc_t": sizeof(avc_t),
            "anon_vma_t": sizeof(anon_vma_t), "mapping_t": sizeof(mapping_t), "block_t": sizeof(block_t),
            "maple_block_t": sizeof(maple_block_t), "swap_slot_t": sizeof(swap_slot_t), "page_t": sizeof(page_t),
            "entry_t": sizeof(entry_t), "store_t": sizeof(store_t), "byte_t": sizeof(byte_t),
            "page": FS_PAGE_SIZE}


cdef class Image:
    """The records of a machine, in bytes."""

    cdef image_t w

    def __dealloc__(self):
        image_deinit(&self.w)

    @staticmethod
    def of(CoreMachine machine):
        """Copy them."""
        cdef Image image = Image()
        cdef int result
        machine.begin(LONG)
        result = image_freeze(&image.w, &machine.m)
        leave_turn(&machine.turn)
        if result < 0:
            raise MemoryError("branch: the host has no memory")
        return image

    @property
    def nbytes(self):
        return self.w.size

    def parts(self):
        """(table of items, data), as bytes."""
        cdef int64_t i
        table = np.zeros(self.w.nr, ITEM_DTYPE)
        cdef item_t *item
        cdef uint8_t[::1] to = table.view(np.uint8)
        for i in range(self.w.nr):
            item = self.w.items + i
            memcpy(&to[i * ITEM_DTYPE_SIZE], item, ITEM_DTYPE_SIZE)
            memset(&to[i * ITEM_DTYPE_SIZE + 4], 0, 4)
        return table.tobytes(), bytes(<uint8_t[:self.w.size]>self.w.data)

    @staticmethod
    def of_parts(const uint8_t[::1] table, const uint8_t[::1] data):
        """From what `parts` gave."""
        cdef Image image = Image()
        cdef int64_t i, nr = len(table) // ITEM_DTYPE_SIZE
        image.w.items = <item_t *>malloc((nr + 1) * sizeof(item_t))
        image.w.data = <uint8_t *>malloc(len(data) + 1)
        if image.w.items == NULL or image.w.data == NULL:
            raise MemoryError("load: the host has no memory")
        for i in range(nr):
            memcpy(image.w.items + i, &table[i * ITEM_DTYPE_SIZE], ITEM_DTYPE_SIZE)
        if len(data):
            memcpy(image.w.data, &data[0], len(data))
        image.w.nr, image.w.size = nr, len(data)
        return image

    def make(self, CoreMachine machine):
        """Put the records into a machine that was just made, in place of its own; only once."""
        cdef int slot, result
        for slot in range(NR_PCP_LISTS):
            free(machine.m.pcp[slot].runs)
            machine.m.pcp[slot].runs = NULL
        result = image_thaw(&self.w, &machine.m)
        if result == -EINVAL:
            raise ValueError("its records contradict each other")
        if result < 0:
            raise MemoryError("branch: the host has no memory")


cdef enum:
    ITEM_DTYPE_SIZE = 32         # an item_t without its address


def mapping_ids(Image image):
    """Ids of the page caches of a machine that was made."""
    cdef int64_t i
    return {(<mapping_t *>image.w.items[i].at).id for i in range(image.w.nr)
            if image.w.items[i].record == RECORD_MAPPING}


def blank(cls, uint64_t nr_pages):
    """A machine to be filled, of a class whose own way of making one is left out."""
    thp = dict.fromkeys(("enabled", "always", "madvise", "inherit", "shmem_enabled", "shmem_always", "shmem_inherit",
                         "shmem_within_size", "shmem_advise"), 0)
    rules = dict.fromkeys(("soft_dirty", "pt_reclaim", "guard_flag", "pmd_modify_keeps_dirty"), False)
    return CoreMachine.__new__(cls, nr_pages, thp=thp, rules=rules)


def nr_pages(CoreMachine machine):
    return machine.m.nr_pages


# ---- what Python keeps beside the records ----

def get_state(CoreMachine machine):
    """Counts and the last observation."""
    return {"steps": machine.steps, "wake": machine.wake, "syscalls": machine.syscalls,
            "next_reference": machine.next_reference, "fails": list(machine.fails.items()),
            "previous": list(machine.previous.items())}


def set_state(CoreMachine machine, dict state):
    machine.steps, machine.wake, machine.syscalls = state["steps"], state["wake"], state["syscalls"]
    machine.next_reference = state["next_reference"]
    machine.fails = {which: count for which, count in state["fails"]}
    machine.previous = {name: words for name, words in state["previous"]}


def get_references(CoreMachine machine):
    """What each reference is made of, in order of creation, and the frames of all, an array."""
    cdef CoreReference one
    facts, frames = [], [np.empty(0, np.uint32)]
    for one in machine.references:
        pid = one.process.pid if one.process is not None and one.process.alive else 0
        facts.append({"kind": type(one).__name__, "number": one.number, "pid": pid, "flags": one.held.flags,
                      "locks": bool(one.locks), "nbytes": one.nbytes, "offset": one.offset, "pages": one.held.nr,
                      "dontfork": one.held.dontfork, "addr": one.held.addr})
        if one.held.nr:
            frames.append(np.array(<uint32_t[:one.held.nr]>one.held.pfns))
    return facts, np.concatenate(frames)


def set_references(CoreMachine machine, facts, const uint32_t[::1] frames, processes, kinds):
    """Make them again and give them, by number; `processes` by pid, `kinds` by name."""
    cdef CoreReference one
    cdef dict made = {}
    cdef int64_t at = 0, nr, last = machine.next_reference
    if len(frames) and np.max(frames) >= machine.m.fresh_pfn:
        raise ValueError("a reference to a frame that is not in use")
    for fact in facts:
        one = kinds[fact["kind"]](machine, processes.get(fact["pid"]), fact["flags"])
        nr = fact["pages"]
        if not (1 if fact["locks"] else 0) <= nr <= len(frames) - at:
            raise ValueError(f"reference {fact['number']}: {nr} pages, {len(frames) - at} are left")
        one.held.pfns = <uint32_t *>malloc(nr * sizeof(uint32_t) + 1)
        if one.held.pfns == NULL:
            raise MemoryError(f"references: {nr} pages")
        if nr:
            memcpy(one.held.pfns, &frames[at], nr * sizeof(uint32_t))
        at += nr
        one.held.nr, one.locks, one.number = nr, fact["locks"], fact["number"]
        one.nbytes, one.offset = fact["nbytes"], fact["offset"]
        one.held.dontfork, one.held.addr = fact["dontfork"], fact["addr"]
        held_add(&machine.m, &one.held)
        machine.references[one] = None
        made[one.number] = one
    machine.next_reference = last
    return made


def reference(CoreMachine machine, int64_t number):
    """The reference that was the number-th; None: it has gone."""
    cdef CoreReference one
    for one in machine.references:
        if one.number == number:
            return one
    return None


def copied_reference(CoreMachine machine, int64_t number, cls):
    """For copies of objects that hold references: that of the machine's copy, or one that has been released."""
    cdef int64_t last = machine.next_reference
    found = reference(machine, number)
    if found is None:
        found = cls(machine, None, 0)
        machine.next_reference = last
    return found


def get_files(CoreMachine machine):
    """Mapping id and mode of each open file."""
    cdef CoreMapping one
    out = []
    for one in machine.opened.values():
        if one.mapping != NULL:
            out.append([one.mapping.id, bool(one.writable)])
    return sorted(out)


def set_files(CoreMachine machine, files, cls):
    """Make them again; the machine keeps them open."""
    cdef CoreMapping one
    for number, writable in files:
        machine.reviving_file = number
        try:
            one = cls(machine, "")
        finally:
            machine.reviving_file = 0
        one.writable = writable
        machine.kept.append(one)


def open_files(CoreMachine machine):
    """By inode."""
    return dict(sorted(machine.opened.items()))
