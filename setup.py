"""Extensions of the core, built once for each architecture and page size.

FOLIOSIM_DEBUG=1 turns bounds checks and internal assertions on.  FOLIOSIM_SANITIZE=address,undefined (what gcc calls
-fsanitize) lets the compiler watch every access.  FOLIOSIM_POLICY_SLOTS=0 leaves the policy slots out, to measure what
they cost (bench.slots).  FOLIOSIM_CORES names the cores to build, for instance
``FOLIOSIM_CORES="_core _core_arm64_p12"``; all of them if it is not set.

Cython runs once for each architecture: cores of one that differ in their page size come from the same C files, in
which only the package's name, of equal length, is another.
"""
import os
import re
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# Package in foliosim: architecture, bits of an address within a page.  foliosim/cores.py has the same table.
CORES = {
    "_core": ("x86_64", 12),
    "_core_arm64_p12": ("arm64", 12),
    "_core_arm64_p14": ("arm64", 14),
    "_core_arm64_p16": ("arm64", 16),
}
DEBUG = os.environ.get("FOLIOSIM_DEBUG", "") not in ("", "0")
SLOTS = os.environ.get("FOLIOSIM_POLICY_SLOTS", "") != "0"
SANITIZE = os.environ.get("FOLIOSIM_SANITIZE", "")
SHARED = "foliosim._core._cyutility"
SOURCE = Path("foliosim/_core")
COPIES = Path("build/cores")


def write_if_other(path, text):
    """Files that stay as they are keep their time, so that nothing is built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def copy_of_core(package, arch):
    """The core's sources as a package of another name and architecture; its .pyx files."""
    folder = COPIES / "foliosim" / package
    write_if_other(COPIES / "foliosim" / "__init__.py", "")
    wanted = {path.relative_to(SOURCE) for end in ("*.pyx", "*.pxd", "__init__.py") for path in SOURCE.rglob(end)}
    for path in [path for path in folder.rglob("*.p*") if path.is_file() and path.relative_to(folder) not in wanted]:
        path.unlink()
    for name in wanted:
        text = (SOURCE / name).read_text()
        if name.parts[0] != "arch":
            text = text.replace("foliosim._core.arch.x86_64", f"foliosim._core.arch.{arch}")
        write_if_other(folder / name, text.replace("foliosim._core", f"foliosim.{package}"))
    return sorted(folder.glob("*.pyx"))


def compiler_options(package=None):
    """Options of the compiler and of the linker."""
    if SANITIZE:
        options = ["-O1", "-g1", "-fno-omit-frame-pointer", f"-fsanitize={SANITIZE}"]
        return {"extra_compile_args": options, "extra_link_args": options[-1:]}
    options = ["-O1", "-g"] if DEBUG else ["-O1", "-g0"] if package not in (None, SOURCE.name) else ["-O3"]
    return {"extra_compile_args": options}


def extensions_of(package, page_shift, sources):
    macros = {"NPY_NO_DEPRECATED_API": "NPY_1_7_API_VERSION", "FOLIOSIM_DEBUG": int(DEBUG),
              "FOLIOSIM_PAGE_SHIFT": page_shift, "CYTHON_COMPRESS_STRINGS": 0}  # so that `renamed` sees all names
    if not SLOTS:
        macros["FOLIOSIM_POLICY_SLOTS"] = 0
    Path("foliosim", package).mkdir(exist_ok=True)
    return [Extension(f"foliosim.{package}.{path.stem}", [str(path)], **compiler_options(package),
                      define_macros=[(name, str(value)) for name, value in macros.items()])
            for path in sources]


def renamed(extensions, old, new, page_shift):
    """The same for another page size, from the C files that Cython made."""
    sources = []
    for path in (Path(extension.sources[0]) for extension in extensions):
        text = re.sub(r'(?<=[\w.])""(?=[\w.])', "", path.read_text())  # literals that are cut may be cut in a name
        sources.append(COPIES / "foliosim" / new / path.name)
        write_if_other(sources[-1], text.replace(old, new))
    return extensions_of(new, page_shift, sources)


def of_all_cores(names):
    """Extensions of some cores: in C, ready to be compiled."""
    out, made = [], {}
    for name in names:
        arch, page_shift = CORES[name]
        if arch in made:
            extensions, old = made[arch]
            out += renamed(extensions, old, name, page_shift)
            continue
        sources = sorted(SOURCE.glob("*.pyx")) if name == SOURCE.name else copy_of_core(name, arch)
        made[arch] = cython(extensions_of(name, page_shift, sources)), name
        out += made[arch][0]
    return out


def cython(extensions):
    return cythonize(
        extensions,
        include_path=[str(COPIES)],
        nthreads=os.cpu_count() or 1,
        shared_utility_qualified_name=SHARED,
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": DEBUG,
            "embedsignature": True,
        },
    )


def extensions():
    shared = Extension(SHARED, sources=[str(SOURCE / "_cyutility.c")], **compiler_options())
    scan = Extension("foliosim.replay.scan", ["foliosim/replay/scan.pyx"], **compiler_options())
    return [*cython([shared, scan]), *of_all_cores(os.environ.get("FOLIOSIM_CORES", "").split() or list(CORES))]


# What only asks for names and files (sdist, egg_info, dist_info) need not wait for Cython.
BUILDS = {"build", "build_ext", "bdist_wheel", "editable_wheel", "develop", "install"}
setup(
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
    ext_modules=extensions() if BUILDS & set(sys.argv) else [],
)
