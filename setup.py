"""Extensions of the core.  FOLIOSIM_DEBUG=1 turns bounds checks and internal assertions on."""
import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("FOLIOSIM_DEBUG", "") not in ("", "0")
SHARED = "foliosim._core._cyutility"
CORE = Path("foliosim/_core")

options = {
    "extra_compile_args": ["-O1", "-g"] if DEBUG else ["-O3"],
    "define_macros": [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"), ("FOLIOSIM_DEBUG", str(int(DEBUG))),
                      ("FOLIOSIM_PAGE_SHIFT", "12")],
}
extensions = [Extension(SHARED, sources=[str(CORE / "_cyutility.c")])]
extensions += [
    Extension(".".join(path.with_suffix("").parts), [str(path)], **options)
    for folder in (CORE, Path("foliosim/replay")) for path in sorted(folder.glob("*.pyx"))
]

setup(
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
    ext_modules=cythonize(
        extensions,
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
