"""Unicorn Engine as AArch64 processor: QEMU's walker, told of the tables by TTBR0_EL1."""
import struct

import numpy as np
import unicorn
from unicorn import arm64_const as arm64

from foliosim.testing.judge.answers import ANSWER, FAULT, FETCH, USER, WRITE
from foliosim.testing.judge.engine import SCRATCH, LastFault, engine, translate

_BATCH = 1 << 18  # addresses asked at once; they and the answers lie behind the memory
# crn, crm, op0, op1, op2
_REGISTERS = {"scr_el3": (1, 1, 3, 6, 0), "hcr_el2": (1, 1, 3, 4, 0), "sctlr_el1": (1, 0, 3, 0, 0),
              "ttbr0_el1": (2, 0, 3, 0, 0), "tcr_el1": (2, 0, 3, 0, 2), "mair_el1": (10, 2, 3, 0, 0),
              "spsr_el1": (4, 0, 3, 0, 0), "elr_el1": (4, 0, 3, 0, 1)}
_AT = {0: (9, 0), WRITE: (9, 1), USER: (8, 2), USER | WRITE: (8, 3)}  # AT S1E1RP, S1E1WP, S1E0R, S1E0W: CRm, op2
_MSR_PAN_1, _ERET, _NOP = 0xd500419f, 0xd69f03e0, 0xd503201f


class UnicornArm64:
    """A processor whose AT instructions translate loads and stores, and two that translate fetches at EL0 and EL1.

    Parameters
    ----------
    image : numpy.ndarray of uint8
        Physical memory.
    processor : Processor
        As which it is set up.

    Notes
    -----
    AT gives the fault status in PAR_EL1.  A fetch that faults is made: its syndrome has the fault status.
    """

    def __init__(self, image, processor):
        self.image, self.base = image, len(image)  # the engines use its memory
        registers = processor.registers()
        self.loads = self._engine(registers["pan"], unicorn.UC_TLB_VIRTUAL)
        self.fetches = {}
        for user in (0, USER):
            uc = self._engine(0)
            if user:
                self._run(uc, [_ERET, _NOP])
            self._own_tables(uc)
            self.fetches[user] = uc, LastFault(uc, _known_faults(uc, user), {"syndrome": 4})
        for uc in (self.loads, *(uc for uc, _ in self.fetches.values())):
            for name in ("mair_el1", "tcr_el1", "ttbr0_el1", "sctlr_el1"):
                _set(uc, name, registers[name])
            uc.ctl(unicorn.UC_CTL_TLB_FLUSH, unicorn.UC_CTL_IO_WRITE)  # of where it ran before it had these tables

    def _engine(self, pan, tlb=unicorn.UC_TLB_CPU):
        uc = engine(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM, arm64.UC_CPU_ARM64_MAX, self.image, tlb)
        _set(uc, "scr_el3", 0x531)  # EL1 is AArch64, and so is EL2
        _set(uc, "hcr_el2", 1 << 31)
        _set(uc, "spsr_el1", 0)     # ERET goes to EL0
        _set(uc, "elr_el1", self.base + 4)
        if pan:
            self._run(uc, [_MSR_PAN_1])
        return uc

    def _own_tables(self, uc):
        """Turn the MMU on with tables behind the memory: see `_known_faults`."""
        root, upper = self.base + 0x10000, self.base + 0x11000
        uc.mem_write(root, struct.pack("<2Q", upper | 3, 0))
        uc.mem_write(upper, struct.pack("<2Q", 0, 1))  # a block whose access flag is clear
        _set(uc, "tcr_el1", 5 << 32 | 1 << 23 | 16)
        _set(uc, "ttbr0_el1", root)
        _set(uc, "sctlr_el1", 1)

    def _run(self, uc, words, at=0):
        at += self.base
        uc.mem_write(at, struct.pack(f"<{len(words)}I", *words))
        uc.emu_start(at, at + 4 * len(words))

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
        if access & FETCH:
            return self._fetch(addrs, *self.fetches[access & USER])
        return np.concatenate([self._at(addrs[first:first + _BATCH], access)
                               for first in range(0, len(addrs), _BATCH)] or [np.zeros(0, ANSWER)])

    def _fetch(self, addrs, uc, last):
        def error(addr):
            _fetch_at(uc, addr)
            last.read()
            return FAULT | last.syndrome.value & 0x3f

        return translate(uc, addrs, FETCH, error)

    def _at(self, addrs, access):
        """A loop of guest code: load an address, AT, ISB, read PAR_EL1, store it."""
        uc, asked, given = self.loads, self.base + SCRATCH // 4, self.base + SCRATCH // 2
        crm, op2 = _AT[access]
        uc.mem_write(asked, addrs.tobytes())
        for register, value in ((arm64.UC_ARM64_REG_X0, asked), (arm64.UC_ARM64_REG_X1, given),
                                (arm64.UC_ARM64_REG_X2, len(addrs))):
            uc.reg_write(register, value)
        self._run(uc, [0xf8408403,                                    # ldr x3, [x0], #8
                       0xd5087003 | crm << 8 | op2 << 5,              # at ..., x3
                       0xd5033fdf, 0xd5387404,                        # isb; mrs x4, par_el1
                       0xf8008424, 0xf1000442,                        # str x4, [x1], #8; subs x2, x2, #1
                       0x54000001 | (-6 & 0x7ffff) << 5],             # b.ne to the first
                  at=0x1000 * (1 + access))
        par = np.frombuffer(uc.mem_read(given, 8 * len(addrs)), np.uint64)
        out = np.zeros(len(addrs), ANSWER)
        fault = par & np.uint64(1) != 0
        out["error"][fault] = FAULT | (par[fault] >> np.uint64(1) & np.uint64(0x3f)).astype(np.uint32)
        out["pa"][~fault] = par[~fault] & np.uint64(0x0000fffffffff000) | addrs[~fault] & np.uint64(0xfff)
        return out


def _fetch_at(uc, addr):
    try:
        uc.emu_start(addr & ~3, 0, count=1)
    except unicorn.UcError as error:
        if error.errno != unicorn.UC_ERR_EXCEPTION:
            raise


def _known_faults(uc, user):
    """Instruction aborts: no table at level 0, nothing at level 1, access flag at level 1."""
    for addr, status in ((1 << 39, 0x04), (0, 0x05), (1 << 30, 0x09)):
        yield (lambda addr=addr: _fetch_at(uc, addr)), {"syndrome": (0x20 if user else 0x21) << 26 | 1 << 25 | status}


def _set(uc, name, value):
    uc.reg_write(arm64.UC_ARM64_REG_CP_REG, (*_REGISTERS[name], value))
