"""Unicorn Engine as x86-64 processor: QEMU's walker, told of the tables by CR3."""
import struct

import numpy as np
import unicorn
from unicorn import x86_const as x86

from foliosim.testing.judge.answers import BAD_ADDRESS, FAULT, FETCH, USER, WRITE
from foliosim.testing.judge.engine import LastFault, engine, translate

PA_BITS = 40  # of Unicorn's processors
_EFER, _STAR = 0xc0000080, 0xc0000081


class UnicornX86:
    """Two processors over one memory, in user and in supervisor mode.

    Parameters
    ----------
    image : numpy.ndarray of uint8
        Physical memory; walks set accessed and dirty bits in it.
    processor : Processor
        As which it is set up.

    Notes
    -----
    A general-protection fault, for an address that is not canonical, is one that leaves CR2 alone.
    """

    def __init__(self, image, processor):
        self.image, self.engines = image, {}  # the engines use its memory
        registers = processor.registers()
        for user in (0, USER):
            uc = engine(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64, x86.UC_CPU_X86_BROADWELL, image)
            _own_tables(uc, len(image))
            if user:
                _enter_user_mode(uc)
            last = LastFault(uc, _known_faults(uc, user), {"code": 4, "cr2": 8})
            uc.msr_write(_EFER, registers["efer"])
            uc.reg_write(x86.UC_X86_REG_EFLAGS, 2 | ("ac" in processor.on) << 18)
            for name in ("cr4", "cr0", "cr3"):
                uc.reg_write(getattr(x86, f"UC_X86_REG_{name.upper()}"), registers[name])
            self.engines[user] = uc, last

    def ask(self, addrs, access):
        """Translate.

        Parameters
        ----------
        addrs : numpy.ndarray of uint64
        access : int
            Of `WRITE`, `USER`, `FETCH`.

        Returns
        -------
        numpy.ndarray of ANSWER
            ``error`` as `Process.walk` has it.
        """
        uc, last = self.engines[access & USER]

        def error(addr):
            last.read()
            return FAULT | last.code.value if last.cr2.value == addr else BAD_ADDRESS

        return translate(uc, addrs, access & ~USER, error)


def _own_tables(uc, base):
    """Turn paging on with tables behind the memory: page 1 is code, 2 is not there, 3 read-only, 5 not executable."""
    tables, code = [base + 4096 * i for i in range(4)], base + 4 * 4096
    for table, below in zip(tables, tables[1:], strict=False):
        uc.mem_write(table, struct.pack("<Q", below | 7))
    for index, entry in {1: code | 7, 3: code | 5, 5: code | 7 | 1 << 63}.items():
        uc.mem_write(tables[3] + 8 * index, struct.pack("<Q", entry))
    uc.mem_write(code, b"\x48\x0f\x07")  # sysretq
    uc.msr_write(_EFER, 1 << 11 | 1 << 10 | 1 << 8 | 1)
    uc.reg_write(x86.UC_X86_REG_CR4, 1 << 5)
    uc.reg_write(x86.UC_X86_REG_CR3, base)
    uc.reg_write(x86.UC_X86_REG_CR0, 1 << 31 | 1 << 16 | 1)


def _enter_user_mode(uc):
    uc.msr_write(_STAR, 0x10 << 48)
    uc.reg_write(x86.UC_X86_REG_RCX, 0x1003)
    uc.reg_write(x86.UC_X86_REG_R11, 2)
    uc.emu_start(0x1000, 0x1003)


def _known_faults(uc, user):
    for page, access, code in ((2, 0, 0), (2, WRITE, 2), (3, WRITE, 3), (5, FETCH, 0x11), (2, FETCH, 0x10)):
        addr = page << 12 | 0x120 | page
        addrs = np.array([addr], np.uint64)
        yield (lambda addrs=addrs, access=access: translate(uc, addrs, access, lambda _: 0)), {"code": code | user,
                                                                                              "cr2": addr}
