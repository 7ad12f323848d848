"""What a user of the installed package does, with nothing but it: ``python -I use.py RECORDING TRACE``."""
import subprocess
import sys
import sysconfig
from pathlib import Path

import foliosim as fs
from foliosim import cores

RECORDING, TRACE = sys.argv[1:]
COMMAND = Path(sysconfig.get_path("scripts"), "foliosim")


def told(*arguments):
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fork_and_write(arch, page_size):
    size = cores.find(arch, page_size).pmd_size
    machine = fs.Machine(arch=arch, page_size=page_size, memory=16 * size, thp="always")
    parent = machine.spawn()
    addr = parent.mmap(2 * size)
    parent.write(addr, 2 * size, value=7)
    child = parent.fork()
    child.write(addr, page_size, value=9)
    assert (parent.read(addr, 1), child.read(addr, 1)) == (b"\7", b"\t")
    machine.validate()
    return machine.ledger().time()


assert Path(fs.__file__).is_relative_to(sys.prefix), fs.__file__
PACKAGE = Path(fs.__file__).parent
there = [one for one in cores.machines() if (PACKAGE.parent / cores.find(*one).package.replace(".", "/")).is_dir()]
assert there and all(fork_and_write(*one) > 0 for one in there)
told("verify", RECORDING)
told("study", "half-mlock", "--set", "split_fails=no", "--json", "half.json")
told("study")
told("policies")
told("show", TRACE, "--out", "shown", "--no-png")
assert Path("half.json").exists() and list(Path("shown").glob("*.html"))
print(f"{len(there)} cores")
