"""What a processor's registers hold while it translates a process's addresses.

Bits that have nothing to do with translation are left 0.  Sources: Intel SDM vol. 3 ch. 2.5, Arm ARM D17.2.
"""

# Flags of the core's walk (arch/<arch>_walk.pxd).
NXE, WP, SMEP, SMAP, AC = 0x100, 0x200, 0x400, 0x800, 0x1000
HA, HD, PAN, WXN = 0x100, 0x200, 0x400, 0x800

_GRANULES = {4096: 0, 65536: 1, 16384: 2}  # TCR_EL1.TG0
_MAIR = 0x000000040044ffff  # normal, normal tagged, non-cacheable, device nGnRnE, device nGnRE


def registers_of(arch, page_size, state):
    """The registers of a process.

    Parameters
    ----------
    arch : str
    page_size : int
        Bytes.
    state : dict
        ``root``, ``va_bits``, ``flags`` as the core has them.

    Returns
    -------
    dict of str to int
        On x86-64 ``cr0``, ``cr3``, ``cr4``, ``efer``; on arm64 ``ttbr0_el1``, ``tcr_el1``, ``mair_el1``,
        ``sctlr_el1``, ``pan``.  There are no kernel tables, so TCR_EL1.EPD1 is set.
    """
    return (_x86_64 if arch == "x86_64" else _arm64)(page_size, state["root"], state["va_bits"], state["flags"])


def _x86_64(page_size, root, va_bits, flags):
    cr0 = 1 << 31 | bool(flags & WP) << 16 | 1                            # PG, WP, PE
    cr4 = 1 << 7 | 1 << 5 | 1 << 4 | (va_bits == 57) << 12                # PGE, PAE, PSE, LA57
    cr4 |= bool(flags & SMAP) << 21 | bool(flags & SMEP) << 20
    return {"cr0": cr0, "cr3": root, "cr4": cr4, "efer": bool(flags & NXE) << 11 | 1 << 10 | 1 << 8}  # NXE, LMA, LME


def _arm64(page_size, root, va_bits, flags):
    tcr = (64 - va_bits) | _GRANULES[page_size] << 14                     # T0SZ, TG0
    tcr |= 3 << 12 | 1 << 10 | 1 << 8                                     # walks: inner shareable, write-back
    tcr |= 1 << 37 | 5 << 32 | 1 << 23                                    # TBI0, IPS: 48 bits, EPD1
    tcr |= bool(flags & HD) << 40 | bool(flags & HA) << 39
    sctlr = bool(flags & WXN) << 19 | 1 << 12 | 1 << 2 | 1                # WXN, I, C, M
    return {"ttbr0_el1": root, "tcr_el1": tcr, "mair_el1": _MAIR, "sctlr_el1": sctlr, "pan": bool(flags & PAN) << 22}
