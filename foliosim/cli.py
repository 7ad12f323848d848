"""The ``foliosim`` command.  Subcommands are imported when they are called."""
import importlib
import os
import sys

import click

COMMANDS = {
    "verify": ("foliosim.verify.command", "verify", "Replay recorded scenarios and compare with the kernel."),
    "record": ("foliosim.live.command", "record", "Run scenarios on this kernel and write down what it shows."),
    "fuzz": ("foliosim.live.command", "fuzz", "Compare random scenarios on this kernel and in the emulator."),
    "attach": ("foliosim.attach.command", "attach", "Read a running process into a machine, and ask what if."),
    "show": ("foliosim.show.command", "show", "Draw the address spaces of a saved machine or a trace."),
    "dump": ("foliosim.dump.command", "dump", "Write a saved machine's page tables as physical memory."),
    "replay": ("foliosim.replay.command", "replay", "Replay a program's trace, and compare with the kernel."),
    "compare": ("foliosim.replay.side_by_side", "compare", "Put runs of replay side by side: a table and a picture."),
    "import": ("foliosim.intake.command", "import_", "Make a trace of the text of perf script, or of strace."),
    "trace": ("foliosim.intake.record", "trace", "Run a program under perf and make a trace of it."),
    "policies": ("foliosim.policy.command", "policies", "List the policy points, their alternatives and the presets."),
    "schedule": ("foliosim.schedule.command", "schedule", "Search interleavings of processes and daemons."),
    "calibrate": ("foliosim.calibrate.command", "calibrate", "Fit a table of costs to this machine's kernel."),
    "bench": ("foliosim.bench.command", "bench", "Time splits here, and count what they consist of."),
    "study": ("foliosim.study.command", "study", "Put a question to several policies and compare the answers."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand only when it is used."""

    def list_commands(self, ctx):
        return list(COMMANDS)

    def get_command(self, ctx, name):
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        return getattr(importlib.import_module(module), attribute)

    def invoke(self, ctx):
        """What the host refuses to a command ends in one line; a closed pipe is click's.  Names that the terminal
        cannot show are shown escaped."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except OSError as error:
            where = f"{os.fspath(error.filename)!r}: " if error.filename is not None else ""
            raise click.ClickException(f"{where}{error.strerror or error}") from error
        except MemoryError as error:
            raise click.ClickException(f"the host has no memory: {error or 'for a file as large as this'}") from error

    def format_commands(self, ctx, formatter):
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup)
@click.version_option(package_name="foliosim")
def main():
    """Linux memory management in one process: a real kernel's rules, replayed and questioned."""
