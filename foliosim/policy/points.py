"""The table of policy points.

A point is a decision that Linux takes in one place.  Its alternatives are compiled into the core under these names
(`foliosim/_core/policy.pyx`); a Python object with a method named like the point may take its place.
"""
from dataclasses import dataclass

_WILCOX = "M. Wilcox, Re: [RFC PATCH 0/3] support large folio for mlock, July 2023"
_HILDENBRAND = "D. Hildenbrand, Re: [RFC PATCH 0/3] support large folio for mlock, July 2023"


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
    """

    name: str
    what: str
    source: str
    number: tuple = ()

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
        return tuple(alternative.name for alternative in self.alternatives)

    def parse(self, text):
        """An alternative as a user writes it.

        Parameters
        ----------
        text : str
            ``"inherit"``, or with a number, ``"fixed(2)"``.

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
        name, bracket, rest = text.partition("(") if isinstance(text, str) else ("", "", "")
        chosen = next((one for one in self.alternatives if one.name == name), None)
        if chosen is None or bool(bracket) != bool(chosen.number):
            raise ValueError(f"policy {self.name}={text!r}: valid are {valid}")
        if not chosen.number:
            return name, 0
        letter, least, greatest = chosen.number
        if not rest[:-1].isdecimal() or rest[-1:] != ")" or not least <= int(rest[:-1]) <= greatest:
            raise ValueError(f"policy {self.name}={text!r}: {letter} must be {least} to {greatest}")
        return name, int(rest[:-1])


POINTS = {point.name: point for point in (
    Point("P01", "vma_split", "A VMA is cut in the middle of a folio: what becomes of the folio?",
          ("order", "page", "shared"), (
              Alternative("keep", "split only the PMD; the folio stays whole", "vma_adjust_trans_huge"),
              Alternative("split_try", "split the folio to single pages; if that fails, leave it", _WILCOX),
              Alternative("split_try_defer", "the same, and queue it for later if it fails", _WILCOX),
              Alternative("defer_always", "queue it on the deferred split queue", _HILDENBRAND),
              Alternative("split_nonuniform", "split it only along the boundary, in ever smaller halves",
                          "folio_split"),
          )),
    Point("P02", "mlock_rule", "Which large folios become unevictable when part of them is in a VM_LOCKED VMA?",
          ("event", "order", "nr_mapped", "pmd", "within"), (
              Alternative("contained_eager", "those wholly mapped in the locked VMA, seen at mlock and when mapped",
                          "mlock_pte_range, __folio_add_rmap"),
              Alternative("contained_lazy", "the same, but seen at mlock only", "mlock_pte_range of 6.7"),
              Alternative("pmd_only", "those mapped by a PMD", "mlock_pte_range before 6.7"),
              Alternative("whole", "those with any page in a locked VMA", "reference P02"),
              Alternative("split", "split those only partly in it; the locked pages stand alone", _WILCOX),
              Alternative("forbid", "split all of them on mlock", "mlock of the 4.5 cycle"),
          )),
    Point("P06", "cow_order", "How much does a write fault on a shared large folio copy?", ("order", "pmd"), (
        Alternative("order0", "one page; a PMD is split first", "wp_page_copy"),
        Alternative("inherit", "the block of the folio's order around the fault", _WILCOX),
    )),
    Point("P10", "pin_short", "Does a short-term reference to a part split the folio?", ("order", "nr_pages"), (
        Alternative("no_split", "never", "try_grab_folio"),
        Alternative("split", "yes, before the reference is taken", "reference P10"),
    )),
    Point("P11", "pin_long", "Does a long-term pin of a part split the folio?", ("order", "nr_pages"), (
        Alternative("no_split", "never", "try_grab_folio"),
        Alternative("split", "yes, so that the rest is not pinned along with it", _WILCOX),
    )),
)}

_LINUX = {point.name: point.alternatives[0].name for point in POINTS.values()}

# What differs from linux-6.18.
PRESETS = {name: {**_LINUX, **changes} for name, changes in {
    "linux-6.18": {},
    "linux-6.12": {"mlock_rule": "contained_lazy"},
    "linux-6.7": {"mlock_rule": "contained_lazy"},
    "linux-6.1": {"mlock_rule": "pmd_only"},
    "wilcox-2023": {"vma_split": "split_try_defer", "cow_order": "inherit", "pin_long": "split"},
    "oracle": {},
}.items()}
