"""What the Unicorn judges share: an engine over an image of physical memory, and its MMU asked address by address."""
import ctypes
import struct

import numpy as np
import unicorn
from unicorn.unicorn_py3.unicorn import uclib

from foliosim.testing.judge.answers import ANSWER, FETCH, WRITE

SCRATCH = 1 << 24  # bytes behind the memory, for the judge's own code and data

_TRANSLATE = uclib.uc_vmem_translate  # of Unicorn 2.1; its Python binding leaves it out
_TRANSLATE.argtypes = (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int, ctypes.POINTER(ctypes.c_uint64))
_TRANSLATE.restype = ctypes.c_int


def engine(arch, mode, cpu, image, tlb=unicorn.UC_TLB_CPU):
    """A processor whose memory is the image, and behind it `SCRATCH` bytes of its own.

    Parameters
    ----------
    arch, mode, cpu, tlb : int
        As Unicorn numbers them.
    image : numpy.ndarray of uint8
        Physical memory from address 0 on; used in place.

    Returns
    -------
    Uc
    """
    uc = unicorn.Uc(arch, mode)
    uc.ctl_set_cpu_model(cpu)
    uc.mem_map_ptr(0, len(image), unicorn.UC_PROT_ALL, image.ctypes.data)
    uc.mem_map(len(image), SCRATCH)
    uc.ctl_set_tlb_mode(tlb)
    return uc


def translate(uc, addrs, access, fault):
    """Let an engine's MMU translate addresses.

    Parameters
    ----------
    uc : Uc
    addrs : numpy.ndarray of uint64
    access : int
        `WRITE`, `FETCH` or 0.
    fault : callable
        Given the address, the error of the translation that has just failed.

    Returns
    -------
    numpy.ndarray of ANSWER
    """
    kind = {0: unicorn.UC_PROT_READ, WRITE: unicorn.UC_PROT_WRITE, FETCH: unicorn.UC_PROT_EXEC}[access]
    pa, handle, answers = ctypes.c_uint64(), uc._uch, []
    where = ctypes.byref(pa)
    for addr in addrs.tolist():
        answers.append((0, fault(addr)) if _TRANSLATE(handle, addr, kind, where) else (pa.value, 0))
    return np.array(answers, dtype=ANSWER)


class LastFault:
    """What a processor keeps of its last fault, and Unicorn does not show: found in its state by faults that are known.

    Parameters
    ----------
    uc : Uc
    faults : iterable of (callable, dict of str to int)
        Each callable makes a fault; what it must leave, by name.
    sizes : dict of str to int
        Bytes of each name: 4 or 8.

    Raises
    ------
    RuntimeError
        A value is at no place, or at more than one: this Unicorn keeps it in another way.
    """

    def __init__(self, uc, faults, sizes):
        self._handle, self._saved = uc._uch, uc.context_save()
        size, seen = uclib.uc_context_size(self._handle), []
        for make, left in faults:
            make()
            self.read()
            seen.append((ctypes.string_at(self._saved.context, size), left))
        start = ctypes.cast(self._saved.context, ctypes.c_void_p).value
        for name, width in sizes.items():
            form, kind = {4: ("<I", ctypes.c_uint32), 8: ("<Q", ctypes.c_uint64)}[width]
            places = set.intersection(*(_places(state, struct.pack(form, left[name])) for state, left in seen))
            if len(places) != 1:
                raise RuntimeError(f"Unicorn {unicorn.__version__}: {name} of a fault is at {len(places)} places of "
                                   f"its state; this judge needs one")
            setattr(self, name, kind.from_address(start + places.pop()))

    def read(self):
        """Bring the values up to date; ``.value`` of the attributes that are named like them."""
        uclib.uc_context_save(self._handle, self._saved.context)


def _places(state, value):
    """Aligned offsets at which a state holds a value."""
    found, at = set(), state.find(value)
    while at >= 0:
        if at % len(value) == 0:
            found.add(at)
        at = state.find(value, at + 1)
    return found
