"""The module border.pyx, compiled at first use."""
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_SOURCE = Path(__file__).with_name("border.pyx")
_BUILD = """
from setuptools import Extension, setup
from Cython.Build import cythonize
macros = [("FOLIOSIM_DEBUG", "0"), ("FOLIOSIM_PAGE_SHIFT", "12")]
extension = Extension("border", ["border.pyx"], extra_compile_args=["-O3"], define_macros=macros)
setup(script_args=["-q", "build_ext", "--inplace"], ext_modules=cythonize([extension], include_path=[{root!r}]))
"""


@functools.cache
def border():
    """The compiled module.

    Raises
    ------
    RuntimeError
        Cython or the C compiler failed.
    """
    folder = Path(tempfile.mkdtemp(prefix="foliosim-border-"))
    shutil.copy(_SOURCE, folder)
    (folder / "build.py").write_text(_BUILD.format(root=str(_SOURCE.parents[1])))
    done = subprocess.run([sys.executable, "build.py"], cwd=folder, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(_SOURCE.parents[1])})
    if done.returncode:
        raise RuntimeError(f"cannot build {_SOURCE.name}: {done.stderr}")
    spec = importlib.util.spec_from_file_location("border", next(folder.glob("border.*.so")))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
