"""A user's program with types; mypy checks it, and nothing runs it.  See test_typed.py."""
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import foliosim as fs
from foliosim import inject, procfs, schedule
from foliosim.io_uring import RegisteredBuffers
from foliosim.ledger import Ledger
from foliosim.policy import POINTS, Point
from foliosim.study import Key, Outcome, Result, Study, run_study
from foliosim.study.base import int_value
from foliosim.study.scene import Scene


class Small:
    def cow_order(self, order: int, pmd: bool) -> str:
        return "inherit" if order <= 4 else "order0"


def machines() -> list[fs.Machine]:
    machine = fs.Machine(arch="arm64", page_size="16K", memory=1 << 30, policy=Small(), mthp={"64kB": "always"})
    machine.limit = "64M"
    machine.set_policy({"mlock_rule": "whole"})
    return [machine, machine.branch(policy="linux-6.18"), fs.Machine.load("kept")]


def session(machine: fs.Machine) -> int:
    parent = machine.spawn()
    addr = parent.mmap(2 << 20, prot=fs.PROT_READ | fs.PROT_WRITE)
    assert_type(addr, int)
    assert_type(parent.write(addr, 4096, value=7), int)
    child = parent.fork()
    assert_type(child.read(addr, 4096), bytes)
    assert_type(child.machine, fs.Machine)
    assert_type(machine.twin(child), fs.Process)
    with parent.pin_user_pages(addr, 4096, longterm=True) as pin:
        assert_type(pin, fs.PageReference)
        assert_type(pin.page_frames, list[int])
    assert_type(parent.register_buffers([(addr, 100), None]), RegisteredBuffers)
    folio = machine.folio(parent.translate(addr) // machine.page_size)
    return folio.order if folio is not None else machine.vmstat()["pgfault"]


def views(machine: fs.Machine, process: fs.Process) -> str:
    assert_type(process.pagemap(0, 4096), NDArray[np.uint64])
    assert_type(process.maps(), fs.Table)
    assert_type(machine.kpageflags([1, 2]), NDArray[np.uint64])
    growth = machine.ledger() - machine.ledger()
    assert_type(growth, Ledger)
    assert_type(growth["cow_bytes"], int)
    assert_type(growth.time(), float)
    with machine.inject.reference((process, 0x1000), steps=2) as held:
        assert_type(held, inject.HeldPage)
    return procfs.maps(process)


def caught(process: fs.Process) -> str:
    try:
        process.mlock(0, 4096)
    except fs.SyscallError as error:
        return error.syscall or str(error.errno)
    except fs.SegvError as fault:
        return hex(fault.addr)
    return ""


def points() -> Point:
    return POINTS["cow_order"]


def run(parameters: dict[str, Any], policy: dict[str, Any], seed: int) -> Outcome:
    scene = Scene(parameters, policy)
    addr = scene.filled(scene.spawn(), parameters["pages"] * scene.page)
    return scene.outcome(addr=addr)


STUDY = Study(name="own", question="Why?", keys={"pages": Key("1", int_value(1, 9), "1 to 9")}, points={}, columns={},
              run=run, conclude=lambda runs: runs[0].label, picture=lambda runs, path: None)


def study() -> str:
    result = run_study("half-mlock", {"size": "64K"}, policy=["mlock_rule=whole"])
    assert_type(result, Result)
    return result.conclusion


def order() -> schedule.Schedule | None:
    return schedule.search(schedule.Program(actors={"p0": []}), metric="stranded_bytes", tries=5)
