"""Does Python interfere in hot code?  ``python -m bench.annotate``: Cython's own annotation, read by a machine.

Every line of a function without the GIL, and every line inside a loop of the methods that take arrays, must have
score 0: Cython gives a line points for each use of Python's C API.  Prints the lines that have some; exit status 1.
"""
import html
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
CORE = ROOT / "foliosim" / "_core"
# Modules that operations on ranges go through.
HOT = ("change_prot", "fork", "gup", "gup_fast", "huge_memory", "memory", "mlock", "mlock_range", "page_alloc", "rmap",
       "split_folio", "swap", "walk", "zap", "zap_run")
DIRECTIVES = ("language_level=3", "boundscheck=False", "wraparound=False", "cdivision=True", "initializedcheck=False")
_LINE = re.compile(r'<pre class="cython line score-(\d+)"[^>]*>.*?<span class="">(\d+)</span>: ?(.*?)</pre>')


def annotated(source):
    """Lines of a .pyx file as Cython annotates them.

    Returns
    -------
    list of (int, int, str)
        Number, score, text.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cython", "-a", *(f"-X{one}" for one in DIRECTIVES), "-I", str(ROOT),
                   "-o", f"{folder}/out.c", str(source)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise click.ClickException(f"cython failed on {source}:\n{done.stderr}")
        page = Path(folder, "out.html").read_text()
    return [(int(number), int(score), html.unescape(re.sub("<[^>]*>", "", text)))
            for score, number, text in _LINE.findall(page)]


def yellow(lines):
    """Lines with a score in bodies of functions without the GIL, and in loops of others.

    Parameters
    ----------
    lines : list of (int, int, str)
        As `annotated` gives them.
    """
    depth, loops, nogil, header = None, [], False, False
    for number, score, text in lines:
        code = text.strip()
        if not code or code.startswith("#"):
            continue
        indent = len(text) - len(text.lstrip())
        if header:  # of a function, over several lines
            nogil, header = nogil or "nogil:" in code, not code.endswith(":")
            continue
        if depth is not None and indent <= depth:
            depth, nogil = None, False
        if re.match(r"(cdef|cpdef|def)\b.*\(", code) and depth is None:
            depth, nogil, header, loops = indent, "nogil:" in code, not code.endswith(":"), []
            continue
        loops = [loop for loop in loops if loop < indent]
        if score and depth is not None and (nogil or loops):
            yield number, score, code
        if re.match(r"(for|while)\b", code):
            loops.append(indent)


@click.command()
@click.argument("modules", nargs=-1)
def main(modules):
    """Check MODULES of the core, or those that matter."""
    found = 0
    for name in modules or HOT:
        lines = annotated(CORE / f"{name}.pyx")
        bad = list(yellow(lines))
        found += len(bad)
        click.echo(f"{name}: {len(lines)} lines, {len(bad)} with Python in hot code")
        for number, score, code in bad:
            click.echo(f"  {name}.pyx:{number}: score {score}: {code}")
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
