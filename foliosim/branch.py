"""Copies of a machine: a second one in the same state, and what a file keeps of it."""
import copy

from foliosim import policy as _policy
from foliosim.file import File
from foliosim.gup import PageReference
from foliosim.inject import Hold, Injector
from foliosim.io_uring import RegisteredBuffers
from foliosim.process import Process

_KINDS = {cls.__name__: cls for cls in (PageReference, Hold)}
_OWN = ("policy", "inject")  # attributes of a machine that are copied in a way of their own


def branch(machine, policy=None):
    """See `Machine.branch`."""
    choices = {} if policy is None else _policy.choices(policy)
    choices = {**copied_policy({point: answer for point, answer in machine.policy.items() if point not in choices}),
               **choices}
    core = machine.core
    image = core.branch.Image.of(machine)
    child = core.branch.blank(type(machine), core.branch.nr_pages(machine))
    core.frame_memory.share(machine)
    image.make(child)
    core.frame_memory.map_shared(child, machine)
    return dress(child, python_state(machine), choices, copy.deepcopy(plain_attributes(machine)))


def dress(machine, state, choices, attributes):
    """Give a machine that has its records what Python keeps beside them."""
    vars(machine).update(attributes)
    core = machine.core.branch
    machine.policy = choices
    for point, answer in choices.items():
        machine.set_policy_point(point, _policy.slot(point, answer))
    core.set_files(machine, state["files"], File)
    processes = {process.pid: process for process in machine.processes()}
    kinds = {**_KINDS, "CoreBuffer": machine.core.rsrc.CoreBuffer}
    references = core.set_references(machine, state["references"], state["frames"], processes, kinds)
    for ring in state["rings"]:
        machine.core.rsrc.set_ring(RegisteredBuffers(machine, processes[ring["pid"]]), ring, references)
    machine.inject = Injector.from_state(machine, state["inject"])
    core.set_state(machine, state["core"])
    return machine


def python_state(machine):
    """What Python keeps beside a machine's records: plain data."""
    core = machine.core.branch
    references, frames = core.get_references(machine)
    unknown = {fact["kind"] for fact in references} - {*_KINDS, "CoreBuffer"}
    if unknown:
        raise TypeError(f"references of kind {', '.join(sorted(unknown))} cannot be copied")
    return {"core": core.get_state(machine), "files": core.get_files(machine), "references": references,
            "frames": frames, "rings": machine.core.rsrc.get_rings(machine), "inject": machine.inject.state()}


def plain_attributes(machine):
    """The attributes of a machine that are copied as they are."""
    return {name: value for name, value in vars(machine).items() if name not in _OWN}


def copied_policy(choices):
    """Choices for another machine; Python objects are copied, so that what they remember is not shared."""
    memo, out = {}, {}
    for point, answer in choices.items():
        try:
            out[point] = answer if isinstance(answer, str) else copy.deepcopy(answer, memo)
        except Exception as error:
            if type(answer).__name__ != "PyCapsule":
                raise TypeError(f"policy {point}: {answer!r} cannot be copied ({error}); "
                                "branch with policy=") from error
            out[point] = answer
    return out


def twin(machine, other):
    """See `Machine.twin`."""
    if isinstance(other, Process):
        return machine.process(other.pid)
    if isinstance(other, File):
        files = machine.core.branch.open_files(machine)
        if other.inode not in files:
            raise LookupError(f"no file with inode {other.inode} is open")
        return files[other.inode]
    if isinstance(other, (PageReference, Hold)):
        found = machine.core.branch.reference(machine, other.number)
        if found is None:
            raise LookupError(f"{other!r} has been released")
        return found
    if isinstance(other, RegisteredBuffers):
        found = machine.core.rsrc.ring_of(machine, other.first_number)
        if found is None:
            raise LookupError(f"{other!r} has no buffer that is registered here")
        return found
    raise TypeError(f"{other!r}: must be a Process, a File, a PageReference or RegisteredBuffers of another machine")


def files(machine):
    """See `Machine.files`."""
    return list(machine.core.branch.open_files(machine).values())
