"""What a judge said: answers compared, what it could not decide, and what differs."""
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

SHOWN = 10


@dataclass
class Verdict:
    """What one judge said.

    Attributes
    ----------
    judge, tables : str
        Who; of which tables.
    machines, addresses, answers : int
        Answers are compared: each address is asked about in several ways.
    kinds : Counter
        Addresses by the kind of entry they lead to.
    undecided : Counter
        Answers that say less than ours, by what the judge does not have.  They are compared with a walk that does not
        have it either.
    wrong : int
        Answers that differ.
    shown : list of str
        The first of them.
    """

    judge: str
    tables: str
    machines: int = 0
    addresses: int = 0
    answers: int = 0
    kinds: Counter = field(default_factory=Counter)
    undecided: Counter = field(default_factory=Counter)
    wrong: int = 0
    shown: list = field(default_factory=list)

    @property
    def done(self):
        """Addresses for which there was an answer, at least."""
        return min(self.addresses, self.answers)

    def count(self, addrs, names):
        """Count addresses that were asked, by the kinds of their entries."""
        self.addresses += len(addrs)
        self.kinds.update(names.tolist())

    def compare(self, what, addrs, ours, theirs, bits=0xffffffff):
        """Count answers to one question about many addresses.

        Parameters
        ----------
        what : str
            Of which machine, for which access.
        addrs : numpy.ndarray of uint64
        ours, theirs : numpy.ndarray
            With fields ``pa``, ``error``.
        bits : int
            Those of the error that the judge gives.
        """
        wrong = (ours["pa"] != theirs["pa"]) | ((ours["error"] ^ theirs["error"]) & np.uint32(bits) != 0)
        self.answers += len(addrs)
        self.wrong += int(wrong.sum())
        for at in np.flatnonzero(wrong)[:SHOWN - len(self.shown)]:
            self.shown.append(f"{what} of {int(addrs[at]):#x}: {_text(ours[at])}, {self.judge} {_text(theirs[at])}")

    def compare_entries(self, what, frames, ours, theirs):
        """Count entries of tables, one row for each frame."""
        self.answers += ours.size
        self.wrong += int((ours != theirs).sum())
        for row, index in np.argwhere(ours != theirs)[:SHOWN - len(self.shown)]:
            self.shown.append(f"{what}, entry {index} of frame {int(frames[row]):#x}: {int(ours[row, index]):#x}, "
                              f"{self.judge} {int(theirs[row, index]):#x}")


def _text(answer):
    return f"error {int(answer['error']):#x}" if answer["error"] else f"address {int(answer['pa']):#x}"
