"""The same seed, the same observations, to the byte: ``python -m foliosim.testing.same``.

Random programs run on machines of each core, with daemons, failures and policies between their steps.  A digest is
taken of what each step gave, of what /proc shows of each process, of all counters, and of the machine as a file has it:
page tables, frames and contents.  It must be the same in processes of their own with several hash seeds; and a sweep
must give the same table whatever its ``--jobs``.  ``--digest`` prints the digest alone, to be compared with that of
another build.
"""
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from foliosim import saved
from foliosim.cores import find, machines
from foliosim.errors import UnsupportedError
from foliosim.machine import Machine
from foliosim.schedule.player import Player
from foliosim.testing import trouble
from foliosim.testing.soak import Scale

HASH_SEEDS = ("0", "1", "2", "random")
JOBS = ("1", "2", "3")
SWEEP = ("study", "half-mlock", "--sweep", "size=2M,1M,64K,16K", "--seed", "5")
_HOOKS = {"policy": lambda player, step: player.machine.set_policy(step["points"]) or {"ret": 0}}


def _words(value):
    """A result, in bytes that depend on nothing but its value."""
    return json.dumps(value, sort_keys=True, default=lambda other: other.hex() if isinstance(other, bytes) else
                      repr(other)).encode()


def _world(seed, number, taken):
    """One program, on the machine that its number says."""
    rng, tally = random.Random(f"foliosim same {seed} {number}"), trouble.Tally()
    core = find(*machines()[number % len(machines())])
    scale = Scale(core)
    settings = {"arch": core.arch, "page_size": core.page_size, **trouble.settings(rng)}
    player = Player(Machine(**scale.settings(settings)), _HOOKS)
    for step in trouble.with_trouble(rng, trouble.generator(seed).scenario(number)["steps"], tally):
        step = scale.step(step)
        try:
            if player.ready(step):
                taken.update(_words(player.do(step)))
        except UnsupportedError as error:
            taken.update(_words(str(error)))
    _look(player.machine, taken)


def _look(machine, taken):
    for process in machine.processes():
        for area in process.maps():
            taken.update(process.pagemap(int(area["start"]), int(area["end"] - area["start"])).tobytes())
        taken.update(_words([process.smaps().tolist(), process.counts()]))
    taken.update(_words([machine.vmstat(), dict(machine.ledger())]))
    machine.inject.clear()
    taken.update(saved.to_bytes(machine))


def digest(seed, worlds):
    """Of all that can be observed.

    Parameters
    ----------
    seed, worlds : int
        Of the programs, and how many; each has a machine of its own, of each core in turn.

    Returns
    -------
    str
        SHA-256, hexadecimal.
    """
    taken = hashlib.sha256()
    for number in range(worlds):
        _world(seed, number, taken)
    return taken.hexdigest()


def in_processes(seed, worlds, hash_seeds=HASH_SEEDS):
    """The digest in a process of its own for each hash seed.

    Returns
    -------
    dict of str to str
        By hash seed.
    """
    command = [sys.executable, "-m", "foliosim.testing.same", "--digest", "--seed", str(seed), "--worlds", str(worlds)]
    return {one: subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": one}, check=True, capture_output=True,
                                text=True).stdout.strip() for one in hash_seeds}


def of_sweeps(jobs=JOBS):
    """What a sweep writes, for each number of jobs.

    Returns
    -------
    dict of str to str
    """
    out = {}
    for one in jobs:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-m", "foliosim", *SWEEP, "--jobs", one, "--out", folder], check=True,
                           capture_output=True)
            content = b"".join(path.read_bytes() for path in sorted(Path(folder).rglob("*.[cj]s*")))
        out[one] = hashlib.sha256(content).hexdigest()
    return out


@click.command()
@click.option("--seed", default=0, show_default=True)
@click.option("--worlds", default=24, show_default=True, type=click.IntRange(1), help="Programs.")
@click.option("--digest", "alone", is_flag=True, help="Print the digest of this process, and nothing else.")
def main(seed, worlds, alone):
    """Run everything several times.  Exit status 1: it was not the same."""
    if alone:
        click.echo(digest(seed, worlds))
        return
    processes, sweeps = in_processes(seed, worlds), of_sweeps()
    for what, found in (("PYTHONHASHSEED", processes), ("--jobs", sweeps)):
        for one, value in found.items():
            click.echo(f"{what}={one}: {value}")
    same = len(set(processes.values())) == 1 and len(set(sweeps.values())) == 1
    click.echo(f"{worlds} programs in {len(processes)} processes, a sweep with {len(sweeps)} numbers of jobs: "
               f"{'the same' if same else 'NOT the same'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
