"""The builds of the core, one for each architecture and page size, and how public classes are tied to one of them."""
import importlib
from functools import cache

from foliosim.sizes import index, parse_size

# setup.py has the same table: package of the build by (architecture, page size in bytes).
_PACKAGES = {
    ("x86_64", 4096): "_core",
    ("arm64", 4096): "_core_arm64_p12",
    ("arm64", 16384): "_core_arm64_p14",
    ("arm64", 65536): "_core_arm64_p16",
}
ARCHES = tuple(dict.fromkeys(arch for arch, _ in _PACKAGES))
# Bits of a user's address: the usual number first.
VA_BITS = {("x86_64", 4096): (48, 57), ("arm64", 4096): (48, 39), ("arm64", 16384): (48, 47, 36),
           ("arm64", 65536): (48, 42)}


class Core:
    """A build of the core; its modules are attributes, imported when they are first used.

    Attributes
    ----------
    arch : str
    page_size, pmd_size : int
        Bytes.
    pmd_order : int
        The largest order of a folio.
    """

    def __init__(self, arch, page_size):
        self.arch, self.page_size = arch, page_size
        self.package = f"foliosim.{_PACKAGES[arch, page_size]}"
        self.pmd_order = page_size.bit_length() - 1 - 3
        self.pmd_size = page_size << self.pmd_order

    def __getattr__(self, name):
        try:
            module = importlib.import_module(f"{self.package}.{name}")
        except ModuleNotFoundError as error:
            raise AttributeError(f"{self.package} has no {name}: {error}") from error
        setattr(self, name, module)
        return module

    def made(self):
        """Its module of machines; ValueError if it was left out when foliosim was built."""
        try:
            return self.machine
        except AttributeError:
            raise ValueError(f"arch {self.arch!r} with {self.page_size >> 10}K pages: not in this build") from None

    def __reduce__(self):
        return _core, (self.arch, self.page_size)    # there is one of each: copies too are that one

    def __repr__(self):
        return f"<Core {self.arch} {self.page_size >> 10}K>"


@cache
def _core(arch, page_size):
    return Core(arch, page_size)


def find(arch, page_size):
    """The core of an architecture and page size.

    Parameters
    ----------
    arch : str
    page_size : int or str
        Bytes, or as ``"16K"``.

    Returns
    -------
    Core

    Raises
    ------
    ValueError
        There is none; the message lists the valid ones.
    """
    if not isinstance(arch, str) or arch not in ARCHES:
        raise ValueError(f"arch {arch!r}: valid are {', '.join(ARCHES)}")
    size = parse_size(page_size)
    if (arch, size) not in _PACKAGES:
        known = ", ".join(f"{valid >> 10}K" for name, valid in _PACKAGES if name == arch)
        raise ValueError(f"page_size {page_size!r}: valid for {arch} are {known}")
    return _core(arch, size)


def machines():
    """Every architecture and page size (bytes) that there is a core for.

    Returns
    -------
    tuple of (str, int)
    """
    return tuple(_PACKAGES)


def va_bits(core, bits=None):
    """Bits of a user's address on a machine: what was asked for, checked, or the usual number."""
    valid = VA_BITS[core.arch, core.page_size]
    if bits is not None and index("va_bits", bits) not in valid:
        raise ValueError(f"va_bits {bits!r}: valid for {core.arch} with {core.page_size >> 10}K pages are "
                         f"{', '.join(map(str, valid))}")
    return bits or valid[0]


@cache
def tied(cls, base):
    """The class `cls` on top of a core's class: what its instances are of."""
    if issubclass(cls, base):
        return cls
    return type(cls.__name__, (cls, base), {"__module__": cls.__module__, "__doc__": cls.__doc__, "_public": cls})


def public(cls):
    """The class that `tied` was asked for, which can be found by its name."""
    return getattr(cls, "_public", cls)


class Tied:
    """A public class that a core's class does the work of: which core is known when an object is made.

    Subclasses name the class in ``_core_class``: module and name.
    """

    _core_class = ()

    def __new__(cls, machine, *args, **keywords):
        module, name = cls._core_class
        base = getattr(getattr(machine.core, module), name)
        return base.__new__(tied(cls, base), machine, *args, **keywords)
