"""What would happen if a process did something: done on a branch of its machine, and counted."""
import re
from dataclasses import dataclass

import numpy as np

from foliosim import flags
from foliosim.errors import SyscallError
from foliosim.sizes import parse_size

QUESTIONS = {"fork": (), "mprotect": ("ADDR", "LEN", "RIGHTS"), "mlock": ("ADDR", "LEN"), "pin": ("ADDR", "LEN"),
             "memory": ("SIZE",)}
_OF_A_FILE = np.uint64(flags.PM_FILE)
_RIGHTS = {"r": flags.PROT_READ, "w": flags.PROT_WRITE, "x": flags.PROT_EXEC, "-": 0}
_MADE = {  # what of the ledger the question changes
    "faults": "faults.minor", "folios split": "splits.ok", "splits that failed": "splits.failed",
    "PMD mappings split": "pmd_splits", "bytes copied": "cow_bytes", "page table bytes": "pt_bytes",
    "folios on the deferred split queue": "deferred.len", "mlocked bytes": "acct.Mlocked",
    "bytes mlocked beyond what is locked": "mlock_overshoot", "bytes locked and yet evictable": "mlock_undershoot",
    "bytes pinned beyond what was asked": "pin_overshoot", "stranded bytes": "stranded_bytes",
}


@dataclass
class Answer:
    """What happened on the branch.

    Attributes
    ----------
    question : str
    error : str
        What the system call failed with; empty: it did not.
    numbers : dict of str to int
        Changes; those that are zero are in it too.
    branch : Machine
    process, child : Process
        In the branch; child: None but for fork.
    areas : list of tuple
        Areas of the process that changed: (start, end, field, before, after).
    """

    question: str
    error: str
    numbers: dict
    branch: object
    process: object
    child: object
    areas: list


def parse(text):
    """A question: its name and arguments, checked.

    Parameters
    ----------
    text : str
        ``fork``, ``mprotect ADDR LEN r``, ``mlock ADDR LEN``, ``pin ADDR LEN`` or ``memory SIZE``.

    Returns
    -------
    tuple

    Raises
    ------
    ValueError
        No such question, or not its arguments; the message says what is valid.
    """
    name, *words = text.split() or [""]
    if name not in QUESTIONS:
        raise ValueError(f"question {text!r}: valid are "
                         f"{', '.join(' '.join([one, *rest]) for one, rest in QUESTIONS.items())}")
    if len(words) != len(QUESTIONS[name]):
        raise ValueError(f"question {text!r}: must be {' '.join([name, *QUESTIONS[name]])}")
    return name, *(_argument(text, kind, word) for kind, word in zip(QUESTIONS[name], words))


def _argument(text, kind, word):
    if kind == "RIGHTS":
        if not re.fullmatch("[rwx-]+", word):
            raise ValueError(f"question {text!r}: rights {word!r}, must be of the letters r, w, x, or -")
        return word
    try:
        return parse_size(int(word, 0) if kind == "ADDR" or word.startswith("0x") else word)
    except ValueError as error:
        raise ValueError(f"question {text!r}: {kind} {word!r} is not a number: {error}") from None


def ask(machine, process, text):
    """Put a question to a branch of a machine.

    Parameters
    ----------
    machine : Machine
    process : Process
        Of the machine; it is the one that does it.
    text : str
        See `parse`.

    Returns
    -------
    Answer

    Raises
    ------
    ValueError
        Not a question.
    """
    name, *arguments = parse(text)
    branch = machine.branch()
    twin = branch.twin(process)
    before, areas, error, child = branch.ledger(), twin.smaps(), "", None
    unevictable = branch.vmstat()["nr_unevictable"]
    try:
        child = _ACTIONS[name](branch, twin, *arguments)
    except (SyscallError, MemoryError) as failed:
        error = str(failed)
    after = branch.ledger()
    numbers = {what: after[key] - before[key] for what, key in _MADE.items()}
    numbers["unevictable bytes"] = (branch.vmstat()["nr_unevictable"] - unevictable) * machine.page_size
    if child is not None:
        numbers["bytes copied if it then writes all that it has"] = _copied_by_writing(branch, twin)
    if name == "memory":
        numbers["bytes that stay above it"] = max(0, branch.usage - arguments[0])
    return Answer(text, error, numbers, branch, twin, child, changed(areas, twin.smaps()))


def _copied_by_writing(machine, process):
    """Bytes that are copied if the process writes each anonymous page that it has and may write."""
    branch = machine.branch()
    twin = branch.twin(process)
    before = branch.ledger()["cow_bytes"]
    for area in twin.maps():
        if str(area["perms"])[1::2] != "wp":
            continue
        pages, words = branch.core.procfs.mapped_pages(twin, int(area["start"]))
        for page in pages[words & _OF_A_FILE == 0].tolist():
            twin.touch(int(area["start"]) + page * machine.page_size, 1, write=True)
    return branch.ledger()["cow_bytes"] - before


def _fork(machine, process):
    return process.fork()


def _mprotect(machine, process, addr, length, rights):
    process.mprotect(addr, length, sum(_RIGHTS[letter] for letter in set(rights)))


def _mlock(machine, process, addr, length):
    process.mlock(addr, length)


def _pin(machine, process, addr, length):
    process.pin_user_pages(addr, length, longterm=True)


def _memory(machine, process, size):
    machine.limit = size


_ACTIONS = {"fork": _fork, "mprotect": _mprotect, "mlock": _mlock, "pin": _pin, "memory": _memory}


def changed(before, after):
    """Fields of smaps that differ: (start, end, field, before, after).  Areas that came or went: the field "area"."""
    old = {(int(row["start"]), int(row["end"])): row for row in before}
    new = {(int(row["start"]), int(row["end"])): row for row in after}
    out = []
    for key in sorted(old.keys() | new.keys()):
        if key not in old or key not in new:
            row = old.get(key, new.get(key))
            out.append((*key, "area", str(row["perms"]) if key in old else "", str(row["perms"]) if key in new else ""))
            continue
        out.extend((*key, name, old[key][name].item(), new[key][name].item()) for name in old[key].dtype.names[2:]
                   if old[key][name] != new[key][name])
    return out
