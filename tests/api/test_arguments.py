"""Bad arguments of each public call: one error that names the value, and nothing has changed."""
import copy
import enum
import pickle

import numpy as np
import pytest

import foliosim as fs
from foliosim.io_uring import RegisteredBuffers

PAGE, HUGE = 4096, 2 << 20


class Things:
    """A machine with one of each, and what a call needs."""

    def __init__(self):
        self.machine = fs.Machine(memory="64M", swap="8M", thp="always")
        self.process = self.machine.spawn()
        self.at = self.process.mmap(2 * HUGE, addr=1 << 40)
        self.process.write(self.at, HUGE + 5 * PAGE, value=1)
        self.file = self.machine.create_file("memfd", 8 * PAGE, fill=1)
        self.ring = self.process.register_buffers([(self.at, PAGE), None])
        self.table = self.process.pgd

    def shown(self):
        """What would differ if a call had done anything."""
        ledger = self.machine.ledger()
        return (self.machine.steps, dict(ledger), self.process.counts(), self.process.maps().tolist(), len(self.ring),
                self.file.length, self.machine.limit, self.machine.swappiness, self.machine.khugepaged(),
                dict(self.machine.policy), self.machine.inject.active)


def process(name, *arguments, **keywords):
    return lambda t, bad: getattr(t.process, name)(*[bad if one is ... else t.at if one == "at" else one
                                                     for one in arguments],
                                                   **{key: bad if one is ... else one for key, one in keywords.items()})


# Each argument that is an address, a length, flags, or another number of the processor's width.
WORDS = {
    "mmap length": process("mmap", ...), "mmap prot": process("mmap", PAGE, prot=...),
    "mmap flags": process("mmap", PAGE, flags=...), "mmap addr": process("mmap", PAGE, addr=...),
    "mmap offset": process("mmap", PAGE, offset=...),
    "munmap addr": process("munmap", ..., PAGE), "munmap length": process("munmap", "at", ...),
    "mprotect addr": process("mprotect", ..., PAGE, 1), "mprotect length": process("mprotect", "at", ..., 1),
    "mprotect prot": process("mprotect", "at", PAGE, ...),
    "mremap old_addr": process("mremap", ..., PAGE, PAGE), "mremap old_length": process("mremap", "at", ..., PAGE),
    "mremap new_length": process("mremap", "at", PAGE, ...),
    "mremap flags": process("mremap", "at", PAGE, PAGE, flags=...),
    "mremap new_addr": process("mremap", "at", PAGE, PAGE, new_addr=...),
    "mseal addr": process("mseal", ..., PAGE), "mseal length": process("mseal", "at", ...),
    "madvise addr": process("madvise", ..., PAGE, 4), "madvise length": process("madvise", "at", ..., 4),
    "madvise advice": process("madvise", "at", PAGE, ...),
    "mlock addr": process("mlock", ..., PAGE), "mlock length": process("mlock", "at", ...),
    "mlock2 addr": process("mlock2", ..., PAGE, 0), "mlock2 length": process("mlock2", "at", ..., 0),
    "mlock2 flags": process("mlock2", "at", PAGE, ...),
    "munlock addr": process("munlock", ..., PAGE), "munlock length": process("munlock", "at", ...),
    "mlockall flags": process("mlockall", ...), "brk addr": process("brk", ...),
    "name_area addr": process("name_area", ..., PAGE, 1), "name_area length": process("name_area", "at", ..., 1),
    "name_area name": process("name_area", "at", PAGE, ...),
    "mincore addr": process("mincore", ..., PAGE), "mincore length": process("mincore", "at", ...),
    "msync addr": process("msync", ..., PAGE, 4), "msync length": process("msync", "at", ..., 4),
    "msync flags": process("msync", "at", PAGE, ...),
    "clear_refs value": process("clear_refs", ...), "prctl flags": process("prctl_thp_disable", 1, ...),
    "write addr": process("write", ..., PAGE, value=1), "write length": process("write", "at", ..., value=1),
    "write stride": process("write", "at", PAGE, value=1, stride=...),
    "write offset": process("write", "at", PAGE, value=1, offset=...),
    "read addr": process("read", ..., PAGE), "read length": process("read", "at", ...),
    "read stride": process("read", "at", PAGE, stride=...), "read offset": process("read", "at", PAGE, offset=...),
    "touch addr": process("touch", ..., PAGE), "touch length": process("touch", "at", ...),
    "get_user_pages addr": process("get_user_pages", ..., PAGE),
    "get_user_pages length": process("get_user_pages", "at", ...),
    "pin_user_pages addr": process("pin_user_pages", ..., PAGE),
    "pin_user_pages length": process("pin_user_pages", "at", ...),
    "translate addr": process("translate", ...), "pagemap addr": process("pagemap", ..., PAGE),
    "pagemap length": process("pagemap", "at", ...), "walk addrs": lambda t, bad: t.process.walk([bad]),
    "walk pa_bits": process("walk", [0], pa_bits=...),
    "register_buffers address": lambda t, bad: t.process.register_buffers([(bad, PAGE)]),
    "register_buffers length": lambda t, bad: t.process.register_buffers([(t.at, bad)]),
    "register_buffers memlock": lambda t, bad: t.process.register_buffers([(t.at, PAGE)], memlock=bad),
    "ring.update index": lambda t, bad: t.ring.update(bad, t.at, PAGE),
    "ring.update address": lambda t, bad: t.ring.update(1, bad, PAGE),
    "ring.update length": lambda t, bad: t.ring.update(1, t.at, bad),
    "file.ftruncate length": lambda t, bad: t.file.ftruncate(bad),
    "file.punch offset": lambda t, bad: t.file.punch(bad, PAGE),
    "file.punch length": lambda t, bad: t.file.punch(0, bad),
    "create_file length": lambda t, bad: t.machine.create_file("memfd", bad),
    "create_device physical": lambda t, bad: t.machine.create_device(bad, PAGE),
    "create_device length": lambda t, bad: t.machine.create_device(1 << 40, bad),
    "folio pfn": lambda t, bad: t.machine.folio(bad), "split_folio pfn": lambda t, bad: t.machine.split_folio(bad),
    "split_folio new_order": lambda t, bad: t.machine.split_folio(t.process.translate(t.at) >> 12, new_order=bad),
    "kpageflags pfns": lambda t, bad: t.machine.kpageflags([bad]),
    "kpagecount pfns": lambda t, bad: t.machine.kpagecount([bad]),
    "peek_frame pfn": lambda t, bad: t.machine.peek_frame(bad),
    "peek_frame offset": lambda t, bad: t.machine.peek_frame(t.table, bad),
    "table pfn": lambda t, bad: t.machine.table(bad),
    "poke_table index": lambda t, bad: t.machine.poke_table(t.table, bad, 0),
    "poke_table entry": lambda t, bad: t.machine.poke_table(t.table, 0, bad),
    "peek_swap slot": lambda t, bad: t.machine.peek_swap(bad),
    "peek_swap offset": lambda t, bad: t.machine.peek_swap(1, bad),
    "limit": lambda t, bad: setattr(t.machine, "limit", bad),
    "swappiness": lambda t, bad: setattr(t.machine, "swappiness", bad),
    "reclaim nr_pages": lambda t, bad: t.machine.reclaim(bad),
    "shrink_deferred folios": lambda t, bad: t.machine.shrink_deferred(bad),
    "khugepaged_scan pages": lambda t, bad: t.machine.khugepaged_scan(pages=bad),
    "khugepaged max_ptes_none": lambda t, bad: t.machine.set_khugepaged(max_ptes_none=bad),
    "khugepaged pages_to_scan": lambda t, bad: t.machine.set_khugepaged(max_ptes_none=3, pages_to_scan=bad),
    "khugepaged scan_sleep_steps": lambda t, bad: t.machine.set_khugepaged(scan_sleep_steps=bad),
    "observe start": lambda t, bad: t.machine.observe({"p": t.process}, bad, 1 << 41),
    "observe end": lambda t, bad: t.machine.observe({"p": t.process}, 0, bad),
    "inject.reference target": lambda t, bad: t.machine.inject.reference(bad),
    "inject.pin target": lambda t, bad: t.machine.inject.pin((t.process, bad)),
    "inject.lock after": lambda t, bad: t.machine.inject.lock((t.process, t.at), after=bad),
    "inject.lock steps": lambda t, bad: t.machine.inject.lock((t.process, t.at), after=1, steps=bad),
    "inject.failure nth": lambda t, bad: t.machine.inject.failure(bad),
    "inject.failure times": lambda t, bad: t.machine.inject.failure(times=bad),
    "inject.failure min_order": lambda t, bad: t.machine.inject.failure(min_order=bad),
    "machine memory": lambda t, bad: fs.Machine(memory=bad),
    "machine swap": lambda t, bad: fs.Machine(memory="64M", swap=bad),
    "machine limit": lambda t, bad: fs.Machine(memory="64M", limit=bad),
    "machine page_size": lambda t, bad: fs.Machine(memory="64M", page_size=bad),
    "machine va_bits": lambda t, bad: fs.Machine(memory="64M", va_bits=bad),
    "machine max_map_count": lambda t, bad: fs.Machine(memory="64M", max_map_count=bad),
    "machine swappiness": lambda t, bad: fs.Machine(memory="64M", swappiness=bad),
    "machine khugepaged": lambda t, bad: fs.Machine(memory="64M", khugepaged={"max_ptes_swap": bad}),
}
SIGNED = ("file.ftruncate length", "file.punch offset", "file.punch length", "madvise advice", "clear_refs value",
          "ring.update index", "split_folio new_order")
GOOD = dict.fromkeys(SIGNED, (-1,))
SIZES = {"limit", "machine memory", "machine swap", "machine limit", "machine page_size"}
NO_WORD = (1.5, 4096.0, "4096", b"4096", True, [], (), {}, object(), 1j, np.float64(4096), np.bool_(True))
TOO_MUCH = (-1, 1 << 64, -(1 << 64), 1 << 200)


@pytest.fixture(scope="module")
def things():
    return Things()


def refused(things, call, values, errors):
    """The messages of a call that is refused for each of some values, and does nothing."""
    before = things.shown()
    texts = []
    for bad in values:
        with pytest.raises(errors) as caught:
            call(things, bad)
        texts.append((bad, str(caught.value)))
    assert things.shown() == before
    things.machine.validate()
    return texts


@pytest.mark.parametrize("where", WORDS)
def test_what_is_no_integer(things, where):
    values = [bad for bad in NO_WORD if not (isinstance(bad, str) and where in SIZES)]
    for bad, text in refused(things, WORDS[where], values, (TypeError, ValueError)):
        assert repr(bad) in text or str(bad) in text


@pytest.mark.parametrize("where", WORDS)
def test_what_fits_no_register(things, where):
    values = [bad for bad in TOO_MUCH if bad not in GOOD.get(where, ())]
    for bad, text in refused(things, WORDS[where], values, (OverflowError, ValueError, MemoryError)):
        assert str(bad) in text or f"{bad:#x}" in text or f"{bad >> 12} " in text    # bytes, or pages of memory


@pytest.mark.parametrize("bad", [None, 3, "at", 1.5, object()])
@pytest.mark.parametrize("call", [
    lambda t, bad: t.process.mmap(PAGE, file=bad or 7), lambda t, bad: t.process.register_buffers(bad),
    lambda t, bad: t.process.register_buffers([bad or 7]), lambda t, bad: t.machine.create_file(bad, PAGE),
    lambda t, bad: t.machine.set_policy(bad), lambda t, bad: t.machine.set_policy({"cow_order": bad}),
    lambda t, bad: t.machine.set_policy({bad: "order0"}), lambda t, bad: t.machine.khugepaged_scan(bad or 7),
    lambda t, bad: t.machine.inject.failure(kinds=bad), lambda t, bad: t.machine.inject.pin(bad if bad != 3 else -3),
    lambda t, bad: t.process.walk([0], access=bad), lambda t, bad: t.process.walk([0], mode=bad),
    lambda t, bad: t.machine.set_khugepaged(wake_at_limit=bad), lambda t, bad: t.machine.dump_physical(format=bad),
    lambda t, bad: t.machine.dump_physical(processes=[bad]), lambda t, bad: t.machine.observe({"p": bad or 7}, 0, 1),
    lambda t, bad: fs.Machine(arch=bad), lambda t, bad: fs.Machine(kernel=bad), lambda t, bad: fs.Machine(thp=bad),
    lambda t, bad: fs.Machine(policy=bad), lambda t, bad: fs.Machine(shmem_enabled=bad),
    lambda t, bad: fs.Machine(mthp={"64kB": bad}), lambda t, bad: fs.Machine(mthp={bad or 7: "always"}),
    lambda t, bad: fs.Machine(mthp_shmem=bad or 7)])
def test_what_is_no_such_thing(things, call, bad):
    refused(things, call, [bad], (TypeError, ValueError))


def test_what_stands_for_an_integer(things):
    class Advice(enum.IntEnum):
        WILL_NEED = fs.MADV_WILLNEED

    class Address:
        def __index__(self):
            return things.at

    process, at = things.process, things.at
    process.madvise(Address(), np.int64(PAGE), Advice.WILL_NEED)
    assert process.read(np.uint64(at), np.int32(1)) == b"\1" == process.read(Address(), 1)
    assert process.translate(np.uint64(at)) == process.translate(at)
    assert process.walk(np.array([at], object))["pa"] == process.walk([at])["pa"] == process.walk(at)["pa"]
    assert len(process.walk([(1 << 64) - 1, 0, at])) == 3
    process.prctl_thp_disable(True)
    process.prctl_thp_disable(False)


def test_an_argument_is_asked_before_the_operation(things):
    class Meddler:
        def __index__(self):
            things.process.mprotect(things.at + HUGE, PAGE, fs.PROT_READ)
            return PAGE

    assert things.process.munmap(things.at + HUGE, Meddler()) is None
    things.machine.validate()


@pytest.mark.parametrize("addr, length, offset", [
    ((1 << 64) - PAGE, 2 * PAGE, 0), (1 << 40, PAGE, (1 << 64) - (1 << 40))])
def test_a_range_does_not_wrap_around(things, addr, length, offset):
    for call in (lambda t, bad: t.process.write(bad, length, value=1, offset=offset),
                 lambda t, bad: t.process.read(bad, length, offset=offset)):
        assert "wraps around" in refused(things, call, [addr], ValueError)[0][1]


def test_nothing_is_made_twice_or_for_another_machine():
    machine, other = fs.Machine(memory="32M"), fs.Machine(memory="32M")
    process = machine.spawn()
    twin = fs.Process(machine, pid=process.pid)            # the name of no parameter
    assert twin.pid != process.pid
    twin.exit()
    process.exit()
    assert fs.File(machine, "tmpfs", mapping_id=99).length == 0
    with pytest.raises(ValueError, match="of another machine"):
        RegisteredBuffers(machine, other.spawn())
    with pytest.raises(TypeError):
        RegisteredBuffers(machine, None)
    machine.validate()


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda core: pickle.loads(pickle.dumps(core))])
def test_a_copy_of_a_core_is_the_core(way):
    core = fs.Machine(memory="64M").core
    assert way(core) is core


@pytest.mark.parametrize("memory, shown", [("16T", "17,179,869,184 KiB"), (3, "0 KiB"), ("1M", "1,024 KiB")])
def test_memory_out_of_range(memory, shown):
    with pytest.raises(ValueError, match=f"^memory of {shown}: must be 4,096 to 17,179,852,800 KiB$"):
        fs.Machine(memory=memory)


def test_only_what_is_of_the_machine_is_observed():
    machine, other = fs.Machine(memory="64M"), fs.Machine(memory="128M")
    stranger, file = other.spawn(), other.create_file("memfd", PAGE)
    with pytest.raises(ValueError, match="belongs to another machine"):
        machine.observe({"p": stranger}, 0, PAGE)
    with pytest.raises(ValueError, match="belongs to another machine"):
        machine.observe({"p": machine.spawn()}, 0, PAGE, files={"f": file})


def test_words_of_numpy(tmp_path):
    machine = fs.Machine(arch=np.str_("x86_64"), kernel=np.str_("6.18"), memory="64M",
                         policy={np.str_("cow_order"): np.str_("inherit")})
    machine.create_file(np.str_("disk"), PAGE)
    machine.save(tmp_path / "machine")
    assert fs.Machine.load(tmp_path / "machine").policy == machine.policy


@pytest.mark.parametrize("cls", [float, fs.File, type(None), lambda machine: 1 / 0])
def test_a_class_that_cannot_stand_for_a_process(cls):
    machine = fs.Machine(memory="64M")
    machine.spawn().touch(machine.processes()[0].mmap(PAGE), PAGE, write=True)     # nothing in Python stands for it now
    with pytest.raises((TypeError, ZeroDivisionError)):
        machine.live_processes(cls)
    file = machine.create_file("memfd", 8 * PAGE)        # a file of its own, whatever was to be revived
    file.ftruncate(PAGE)
    machine.spawn().mmap(PAGE, file=file, flags=fs.MAP_SHARED)
    assert len(machine.processes()) == 2 and machine.files() == [file]
    machine.validate()
