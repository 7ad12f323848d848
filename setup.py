"""Extensions of the core, built once for each architecture and page size.

FOLIOSIM_DEBUG=1 turns bounds checks and internal assertions on.  FOLIOSIM_CORES names the cores to build, for instance
``FOLIOSIM_CORES="_core _core_arm64_4k"``; all of them if it is not set.
"""
import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# Package in foliosim: architecture, bits of an address within a page.  foliosim/cores.py has the same table.
CORES = {
    "_core": ("x86_64", 12),
    "_core_arm64_4k": ("arm64", 12),
}
DEBUG = os.environ.get("FOLIOSIM_DEBUG", "") not in ("", "0")
SHARED = "foliosim._core._cyutility"
SOURCE = Path("foliosim/_core")
COPIES = Path("build/cores")


def write_if_other(path, text):
    """Files that stay as they are keep their time, so that nothing is built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def sources_of(package, arch):
    """The core's sources as a package of another name and architecture; its .pyx files."""
    if package == SOURCE.name:
        return sorted(SOURCE.glob("*.pyx"))
    folder = COPIES / "foliosim" / package
    write_if_other(COPIES / "foliosim" / "__init__.py", "")
    wanted = {path.relative_to(SOURCE) for pattern in ("*.pyx", "*.pxd", "__init__.py") for path in SOURCE.rglob(pattern)}
    for path in [path for path in folder.rglob("*.p*") if path.is_file() and path.relative_to(folder) not in wanted]:
        path.unlink()
    for name in wanted:
        text = (SOURCE / name).read_text()
        if not name.parts[0] == "arch":
            text = text.replace("foliosim._core.arch.x86_64", f"foliosim._core.arch.{arch}")
        write_if_other(folder / name, text.replace("foliosim._core", f"foliosim.{package}"))
    Path("foliosim", package).mkdir(exist_ok=True)
    return sorted(folder.glob("*.pyx"))


def extensions_of(package, arch, page_shift):
    optimize = ["-O1", "-g"] if DEBUG else ["-O3"] if package == SOURCE.name else ["-O1", "-g0"]
    macros = {"NPY_NO_DEPRECATED_API": "NPY_1_7_API_VERSION", "FOLIOSIM_DEBUG": int(DEBUG),
              "FOLIOSIM_PAGE_SHIFT": page_shift}
    return [Extension(f"foliosim.{package}.{path.stem}", [str(path)], extra_compile_args=optimize,
                      define_macros=[(name, str(value)) for name, value in macros.items()])
            for path in sources_of(package, arch)]


cores = os.environ.get("FOLIOSIM_CORES", "").split() or list(CORES)
extensions = [Extension(SHARED, sources=[str(SOURCE / "_cyutility.c")])]
for core in cores:
    extensions += extensions_of(core, *CORES[core])
extensions += [Extension("foliosim.replay.scan", ["foliosim/replay/scan.pyx"],
                         extra_compile_args=["-O1", "-g"] if DEBUG else ["-O3"])]

setup(
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
    ext_modules=cythonize(
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
)
