"""``foliosim dump``."""
import json
from pathlib import Path

import click

from foliosim.dump.physical import FORMATS
from foliosim.errors import SavedError
from foliosim.machine import Machine
from foliosim.whole import check_output


@click.command()
@click.argument("machine", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--pid", "pids", type=int, multiple=True, help="Tables of this process only (may be repeated).")
@click.option("--format", "form", type=click.Choice(FORMATS), default="lime", show_default=True,
              help="lime: only the frames that hold tables; raw: all of the memory, with holes.")
def dump(machine, out, pids, form):
    """Write the page tables of a saved machine as physical memory; print the registers that lead to them (JSON)."""
    check_output(out, machine)
    try:
        emulated = Machine.load(machine)
        found = emulated.dump_physical(out, processes=[emulated.process(pid) for pid in pids] or None, format=form)
    except (SavedError, LookupError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    registers = {pid: {name: hex(value) for name, value in values.items()} for pid, values in found.registers.items()}
    click.echo(json.dumps({"arch": found.arch, "page_size": found.page_size, "va_bits": found.va_bits,
                           "memory": found.memory, "tables": len(found.frames), "registers": registers}, indent=1))
