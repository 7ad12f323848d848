"""What differs between kernel releases: named rules, and which release has which.

A rule is a switch in the core.  Whether a kernel follows it is data: of its release, or of how it was configured.
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A rule that some kernels follow and others do not.

    Attributes
    ----------
    name : str
    what : str
        What a kernel does that follows it.
    source : str
        Kernel function or option.
    arches : tuple of str
        Where the rule can hold; elsewhere it never does.
    """

    name: str
    what: str
    source: str
    arches: tuple = ("x86_64", "arm64")


RULES = {rule.name: rule for rule in (
    Rule("guard_flag", "guard regions set VM_MAYBE_GUARD (gu in VmFlags), which makes fork copy tables;"
         " without it every area gets an anon_vma for that", "madvise_guard_install (mm/madvise.c)"),
    Rule("pmd_modify_keeps_dirty", "mprotect keeps the dirty bit of a PMD mapping, as it does for PTEs",
         "pmd_modify (arch/x86/include/asm/pgtable.h)", ("x86_64",)),
    Rule("pt_reclaim", "MADV_DONTNEED frees PTE tables that it empties", "try_to_free_pte, CONFIG_PT_RECLAIM",
         ("x86_64",)),
    Rule("soft_dirty", "entries and areas have a soft-dirty bit", "CONFIG_MEM_SOFT_DIRTY", ("x86_64",)),
)}

# Release to the rules that it follows; how a kernel is usually configured included.
KERNELS = {
    "6.18.15": {"pt_reclaim"},
    "6.18.44": {"pt_reclaim", "guard_flag", "pmd_modify_keeps_dirty"},
}
ALIASES = {"6.18": "6.18.44"}
DEFAULT = "6.18.44"


def rules(kernel, arch, changes):
    """The rules of a kernel.

    Parameters
    ----------
    kernel : str
        A release of `KERNELS`, or an alias.
    arch : str
        Rules that the architecture cannot have are off.
    changes : dict
        Rule name to bool: how the kernel was built; None leaves what the release usually has.

    Returns
    -------
    dict
        Rule name to bool.

    Raises
    ------
    ValueError
        An unknown release, or a rule that the architecture cannot have; the message names it.
    """
    release = ALIASES.get(kernel, kernel) if isinstance(kernel, str) else None
    if release not in KERNELS:
        raise ValueError(f"kernel {kernel!r}: valid are {', '.join([*KERNELS, *ALIASES])}")
    out = {name: name in KERNELS[release] and arch in rule.arches for name, rule in RULES.items()}
    for name, value in changes.items():
        if value and arch not in RULES[name].arches:
            raise ValueError(f"{name}={value!r}: {arch} has no {RULES[name].source}")
        if value is not None:
            out[name] = bool(value)
    return out
