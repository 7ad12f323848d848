"""Machines in files.

A file is: the word ``foliosim``, format, length of the header, length of the file, the header (JSON), compressed
sections, and the SHA-256 of all before it.  Numbers are little-endian.
"""
import base64
import hashlib
import importlib
import json
import os
import re
import struct
import zlib
from functools import cache
from importlib.resources import files as _files

import numpy as np

from foliosim import branch as _branch
from foliosim import cores as _cores
from foliosim.errors import SavedError
from foliosim.whole import read_whole, whole_file

FORMAT = 2
MAGIC = b"foliosim"
_FIXED = struct.Struct("<8sIIQ")
_DIGEST = 32
_AT_ONCE = 4 << 20                # bytes; between them Ctrl-C is heard
# What is raised by a header that was made by hand: its checksum is right, its contents are not.
_DAMAGE = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError, zlib.error)
_LAYOUT = ("types.pxd", "flags.pxd", "content.pxd")


def save(machine, path):
    """See `Machine.save`."""
    content = to_bytes(machine)
    with whole_file(path) as file:
        file.write(content)


def load(cls, path):
    """See `Machine.load`."""
    return loaded(cls, path, read_whole(path))


def loaded(cls, path, content):
    """The machine that a file's content is; `SavedError` names the file."""
    try:
        return from_bytes(cls, content)
    except SavedError as error:
        raise SavedError(f"{os.fsdecode(path)}: {error}") from error.__cause__


@cache
def layout(core):
    """A number for how the records are laid out: those of another layout cannot be read."""
    text = json.dumps(core.branch.sizes())
    for name in _LAYOUT:
        lines = (_files("foliosim._core") / name).read_text().splitlines()
        text += "\n".join(filter(None, (re.sub(r"\s*#.*", "", line) for line in lines)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# ---- to bytes ----

def to_bytes(machine):
    """A machine, as a file has it."""
    with machine.hold():
        return _to_bytes(machine)


def _to_bytes(machine):
    state = _branch.python_state(machine)
    core = machine.core
    table, data = core.branch.Image.of(machine).parts()
    pieces = core.frame_memory.pieces(machine)
    index = np.array([(offset, len(content)) for offset, content in pieces], np.uint64).reshape(-1, 2)
    sections = {"items": table, "data": data, "references": state.pop("frames").tobytes(), "index": index.tobytes(),
                "memory": b"".join(content for _, content in pieces)}
    packed = {name: _packed(content) for name, content in sections.items()}
    header = {"layout": layout(core), "nr_pages": core.branch.nr_pages(machine), "state": state,
              "policy": {point: _named(point, answer) for point, answer in machine.policy.items()},
              "attributes": _branch.plain_attributes(machine),
              "sections": [[name, len(packed[name]), len(sections[name])] for name in sections]}
    for name, value in header["attributes"].items():
        _check_kept(name, value)
    text = json.dumps(header, default=_encoded).encode()
    size = _FIXED.size + len(text) + sum(map(len, packed.values())) + _DIGEST
    content = b"".join([_FIXED.pack(MAGIC, FORMAT, len(text), size), text, *packed.values()])
    return content + _digest(content)


def _slices(content):
    view = memoryview(content)
    return (view[at:at + _AT_ONCE] for at in range(0, len(view), _AT_ONCE))


def _packed(content):
    pack = zlib.compressobj(1)
    return b"".join([*map(pack.compress, _slices(content)), pack.flush()])


def _unpacked(content, size):
    """What `_packed` got, up to one byte more than `size`."""
    unpack, out, left = zlib.decompressobj(), [], size + 1
    for piece in _slices(content):
        while left and piece:
            out.append(unpack.decompress(piece, min(left, _AT_ONCE)))
            left, piece = left - len(out[-1]), unpack.unconsumed_tail
    return b"".join([*out, unpack.flush() if left else b""])


def _digest(content):
    digest = hashlib.sha256()
    for piece in _slices(content):
        digest.update(piece)
    return digest.digest()


def _encoded(value):
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    raise TypeError(f"{value!r}")


def _check_kept(name, value):
    """ValueError if a file could not give an attribute back as it is."""
    try:
        back = json.loads(json.dumps(value, default=_encoded), object_hook=_decoded)
    except (RecursionError, TypeError, ValueError):
        back = None
    if repr(back) != repr(value):               # tells a tuple from a list too, and asks no array for its truth
        raise ValueError(f"an attribute of the machine cannot be saved: {name} = {value!r:.100}")


def _decoded(value):
    return base64.b64decode(value["bytes"]) if set(value) == {"bytes"} else value


def _named(point, answer):
    """An alternative, as a file has it: its name, or where a module has it."""
    if isinstance(answer, str):
        return answer
    where = [getattr(answer, "__module__", None), getattr(answer, "__qualname__", "")]
    try:
        if where[0] != "__main__" and _imported(*where) is answer:
            return where
    except (AttributeError, ImportError, TypeError, ValueError):
        pass
    raise ValueError(f"policy {point}: {answer!r} cannot be saved: a file keeps names of alternatives and of functions "
                     "in modules; branch with another policy and save that")


def _imported(module, name):
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


# ---- from bytes ----

def from_bytes(cls, content):
    """The machine that `to_bytes` was called with."""
    try:
        return _made(cls, *_opened(content))
    except SavedError:
        raise
    except _DAMAGE as error:
        raise SavedError(f"damaged: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


def _made(cls, header, sections):
    choices = {point: _choice(point, answer) for point, answer in header["policy"].items()}
    core = _core_of(header)
    machine = core.branch.blank(_cores.tied(_cores.public(cls), core.machine.CoreMachine), header["nr_pages"])
    try:
        image = core.branch.Image.of_parts(sections["items"], sections["data"])
        image.make(machine)
        core.frame_memory.put_pieces(machine, _pieces(sections))
    except ValueError as error:
        raise SavedError(f"no machine can be made of it: {error}") from error
    if not {number for number, _ in header["state"]["files"]} <= core.branch.mapping_ids(image):
        raise SavedError("damaged: a file that is open has no page cache")
    state = {**header["state"], "frames": np.frombuffer(sections["references"], np.uint32)}
    return _branch.dress(machine, state, choices, header["attributes"])


def _opened(content):
    """Header and sections of a file, both as they were written."""
    if content[:len(MAGIC)] != MAGIC[:len(content)]:
        raise SavedError("not a saved machine")
    if len(content) < _FIXED.size:
        raise SavedError(f"cut short: {len(content)} bytes, the beginning alone has {_FIXED.size}")
    _, number, header_size, size = _FIXED.unpack_from(content)
    if number != FORMAT:
        raise SavedError(f"format {number}: this foliosim reads format {FORMAT}")
    if size != len(content):
        raise SavedError(f"{'cut short' if len(content) < size else 'damaged'}: {len(content)} bytes, "
                         f"it was written with {size}")
    if _digest(memoryview(content)[:-_DIGEST]) != content[-_DIGEST:]:
        raise SavedError("damaged: its checksum is not that of its contents")
    header = json.loads(content[_FIXED.size:_FIXED.size + header_size], object_hook=_decoded)
    ours = layout(_core_of(header))
    if header["layout"] != ours:
        raise SavedError(f"saved by another version of foliosim: its records are laid out otherwise "
                         f"({header['layout']}, here {ours})")
    sections, at = {}, _FIXED.size + header_size
    for name, packed, unpacked in header["sections"]:
        sections[name] = _unpacked(content[at:at + packed], unpacked)
        if len(sections[name]) != unpacked:
            raise SavedError(f"damaged: section {name} is not as long as it says")
        at += packed
    return header, sections


def _core_of(header):
    try:
        core = _cores.find(header["attributes"]["arch"], header["attributes"]["page_size"])
        core.made()
        return core
    except ValueError as error:
        raise SavedError(f"saved by another version of foliosim: {error}") from error


def _pieces(sections):
    at = 0
    for offset, size in np.frombuffer(sections["index"], np.uint64).reshape(-1, 2).tolist():
        yield offset, sections["memory"][at:at + size]
        at += size


def _choice(point, answer):
    if isinstance(answer, str):
        return answer
    try:
        return _imported(*answer)
    except (AttributeError, ImportError) as error:
        raise SavedError(f"policy {point}: {':'.join(answer)} is not here: {error}") from error
