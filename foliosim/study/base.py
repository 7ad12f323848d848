"""What a study is made of: keys and their values, runs, and the catalogue."""
import importlib
from dataclasses import dataclass, field
from importlib.metadata import entry_points

import foliosim as fs
from foliosim import cores
from foliosim.sizes import parse_size

GROUP = "foliosim.studies"

# Name to the module that holds its STUDY.
STUDIES = {
    "half-mlock": "foliosim.study.half_mlock",
    "half-mprotect-after-fork": "foliosim.study.half_mprotect",
    "edge-fit": "foliosim.study.edge_fit",
    "three-processes": "foliosim.study.three_processes",
    "batch-ops": "foliosim.study.batch_ops",
    "rdma-fork": "foliosim.study.rdma_fork",
    "pin-half-then-unmap": "foliosim.study.pin_half",
    "bgsave": "foliosim.study.bgsave",
    "io-ring-buffers": "foliosim.study.io_ring_buffers",
    "allocator-holes": "foliosim.study.allocator_holes",
    "sparse-touch": "foliosim.study.sparse_touch",
    "thread-stacks": "foliosim.study.thread_stacks",
    "creep": "foliosim.study.creep",
    "zero-histogram": "foliosim.study.zero_histogram",
}


class StudyError(ValueError):
    """A key, value, point or alternative that the study does not know; the message names it and the valid ones."""


class RefusedValue(StudyError):
    """A value that does not go with the others; `choose.parameters` adds what the user wrote.

    Parameters
    ----------
    key : str
    valid : str
        What may be written.
    """

    def __init__(self, key, valid):
        super().__init__(key, valid)
        self.key, self.valid = key, valid

    def __str__(self):
        return f"{self.key}: valid are {self.valid}"


@dataclass(frozen=True)
class Key:
    """A parameter that ``--set`` and ``--sweep`` change.

    Attributes
    ----------
    default : str
        As it would be written after ``--set``.
    parse : callable
        Text to value; raises ValueError.
    valid : str
        What may be written, for messages.
    """

    default: str
    parse: object
    valid: str


@dataclass(frozen=True)
class Study:
    """A question and how it is put.

    Attributes
    ----------
    name, question : str
    keys : dict of str to Key
        Those of the study itself; `keys_of` adds the machine's.
    points : dict of str to tuple of str
        Policy points that are varied, one after the other, if none is asked for, and their alternatives.
    columns : dict of str to str
        Metric to the heading of its column, in the order of the table.
    run : callable
        ``run(parameters, policy, seed)`` gives an `Outcome`.  Everything random in it follows from the seed.
    conclude : callable
        List of `Run` to two or three sentences.
    picture : callable
        ``picture(runs, path)`` writes a PNG.
    cases : callable
        Parsed parameters to a list of parameter dicts, one for each block of runs; raises `RefusedValue`.
    """

    name: str
    question: str
    keys: dict
    points: dict
    columns: dict
    run: object
    conclude: object
    picture: object
    cases: object = lambda values: [values]


@dataclass(frozen=True)
class Outcome:
    """What one run gave.

    Attributes
    ----------
    metrics : dict
        Name to int or float: the ledger's flat names, and the study's own.
    detail : object
        What the picture needs beside them, as JSON can hold it; not part of the result.
    """

    metrics: dict
    detail: object = None


@dataclass(frozen=True)
class Run:
    """One policy in one case.

    Attributes
    ----------
    parameters : dict
        The parameters, as JSON can hold them.
    preset : str
    policy : dict
        Every point that is not the preset's value.
    label : str
        Name of the policy in tables and pictures.
    metrics : dict
    detail : object
    """

    parameters: dict
    preset: str
    policy: dict
    label: str
    metrics: dict = field(default_factory=dict)
    detail: object = None


def names():
    """Names of all studies, those of installed packages (entry-point group ``foliosim.studies``) included.

    Returns
    -------
    list of str
    """
    return [*STUDIES, *(entry.name for entry in entry_points(group=GROUP) if entry.name not in STUDIES)]


def load(name):
    """A study by its name.

    Parameters
    ----------
    name : str
        One of `names`, or ``module:attribute`` where a `Study` is.

    Returns
    -------
    Study

    Raises
    ------
    StudyError
        There is no such study.
    """
    if name in STUDIES:
        return importlib.import_module(STUDIES[name]).STUDY
    found = _named(name)
    if not isinstance(found, Study):
        raise StudyError(f"study {name!r}: is a {type(found).__name__}, not a Study")
    return found


def _named(name):
    for entry in entry_points(group=GROUP, name=name):
        return entry.load()
    module, colon, attribute = name.partition(":")
    if not colon:
        raise StudyError(f"study {name!r}: valid are {', '.join(names())}, or module:attribute")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise StudyError(f"study {name!r}: {error}") from None


# ---- values ----

def size_value(least=0, most=1 << 46, multiple=1):
    """A parser of sizes: ``40M``, ``64K`` or bytes.

    Parameters
    ----------
    least, most, multiple : int
        Bytes.
    """

    def parse(text):
        size = parse_size(int(text) if text.isdecimal() else text)
        if not least <= size <= most or size % multiple:
            raise ValueError(text)
        return size

    return parse


def int_value(least, most):
    """A parser of whole numbers from ``least`` to ``most``."""

    def parse(text):
        number = int(text)
        if not least <= number <= most:
            raise ValueError(text)
        return number

    return parse


def share_value(text):
    """A number from 0 to 1."""
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError(text)
    return share


def choice_value(*valid):
    """A parser for one of some names."""

    def parse(text):
        if text not in valid:
            raise ValueError(text)
        return text

    return parse


MACHINE_KEYS = {
    "arch": Key("x86_64", choice_value(*cores.ARCHES), ", ".join(cores.ARCHES)),
    "page_size": Key("4K", size_value(4096, 65536), "4K, with arm64 also 16K and 64K"),
}


def keys_of(study):
    """Its own, and those that every study takes: ``arch`` and ``page_size``; of the same name its own."""
    return {**study.keys, **MACHINE_KEYS, **study.keys}


def machine_of(parameters, **settings):
    """A machine of the parameters' architecture and page size.

    Parameters
    ----------
    parameters : dict
    **settings
        Arguments of `Machine`.

    Returns
    -------
    Machine

    Raises
    ------
    StudyError
        There is no such machine.
    """
    try:
        return fs.Machine(arch=parameters["arch"], page_size=parameters["page_size"], **settings)
    except ValueError as error:
        raise StudyError(str(error)) from None


def size_text(nr_bytes):
    """A size for people: ``1 MiB``, ``64 KiB``, ``0``."""
    for shift, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if abs(nr_bytes) >= 1 << shift:
            return f"{nr_bytes / (1 << shift):.4g} {unit}"
    return str(nr_bytes)
