"""How a processor is set up while it translates a process's addresses, and what its registers hold then.

Bits that have nothing to do with translation are left 0.  Sources: Intel SDM vol. 3 ch. 2.5, Arm ARM D17.2.
"""
from dataclasses import dataclass

_GRANULES = {4096: 0, 65536: 1, 16384: 2}  # TCR_EL1.TG0
_MAIR = 0x000000040044ffff  # normal, normal tagged, non-cacheable, device nGnRnE, device nGnRE


@dataclass(frozen=True)
class Processor:
    """How a processor is set up.

    Attributes
    ----------
    arch : str
    page_size : int
        Bytes.
    root : int
        Physical address of the root table.
    va_bits, pa_bits : int
        Bits of a virtual and of a physical address.
    on : frozenset of str
        What is switched on, by the names that `Process.walk` has for it.
    """

    arch: str
    page_size: int
    root: int
    va_bits: int
    pa_bits: int
    on: frozenset

    def registers(self):
        """What the registers hold.

        Returns
        -------
        dict of str to int
            On x86-64 ``cr0``, ``cr3``, ``cr4``, ``efer``; on arm64 ``ttbr0_el1``, ``tcr_el1``, ``mair_el1``,
            ``sctlr_el1``, ``pan``.  There are no kernel tables, so TCR_EL1.EPD1 is set.
        """
        return self._x86_64() if self.arch == "x86_64" else self._arm64()

    def _x86_64(self):
        nxe, wp, smep, smap = (name in self.on for name in ("nxe", "wp", "smep", "smap"))
        return {
            "cr0": 1 << 31 | wp << 16 | 1,                                                             # PG, WP, PE
            "cr3": self.root,
            "cr4": smap << 21 | smep << 20 | (self.va_bits == 57) << 12 | 1 << 7 | 1 << 5 | 1 << 4,    # PGE, PAE, PSE
            "efer": nxe << 11 | 1 << 10 | 1 << 8,                                                      # NXE, LMA, LME
        }

    def _arm64(self):
        ha, hd, pan, wxn = (name in self.on for name in ("ha", "hd", "pan", "wxn"))
        tcr = (64 - self.va_bits) | _GRANULES[self.page_size] << 14     # T0SZ, TG0
        tcr |= 3 << 12 | 1 << 10 | 1 << 8                               # of walks: inner shareable, write-back
        tcr |= hd << 40 | ha << 39 | 1 << 37 | 5 << 32 | 1 << 23        # TBI0, IPS: 48 bits, EPD1
        return {"ttbr0_el1": self.root, "tcr_el1": tcr, "mair_el1": _MAIR,
                "sctlr_el1": wxn << 19 | 1 << 12 | 1 << 2 | 1,          # I, C, M
                "pan": pan << 22}


def processor_of(process):
    """The processor as Linux sets it up for a process.

    Parameters
    ----------
    process : Process

    Returns
    -------
    Processor
    """
    machine = process.machine
    root, va_bits, pa_bits, flags = machine.core.image.processor(process)
    on = frozenset(name for name, bit in machine.core.machine.WALK_FLAGS.items() if flags & bit)
    return Processor(machine.arch, machine.page_size, root, va_bits, pa_bits, on)
