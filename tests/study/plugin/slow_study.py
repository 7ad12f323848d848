"""A study for tests of sweeps: each run writes down that it began, and may wait, fail, or end its process."""
import os
import time
from pathlib import Path

from foliosim.study import Key, Outcome, Study
from foliosim.study.base import choice_value, int_value


class Inherit:
    """A policy that can travel."""

    def cow_order(self, order, pmd):
        return "inherit"


def run(parameters, policy, seed):
    folder = Path(os.environ["SLOW_STUDY"])
    with (folder / "begun").open("a") as file:
        file.write(f"{parameters['number']} {os.getpid()}\n")
    if parameters["does"] == "die" and parameters["number"] == 2 and not (folder / "died").exists():
        (folder / "died").touch()
        time.sleep(0.3)
        os._exit(1)
    if parameters["does"] == "interrupt" and parameters["number"] == 2 and not (folder / "died").exists():
        (folder / "died").touch()
        raise KeyboardInterrupt
    time.sleep(parameters["wait"] / 1000)
    return Outcome({"square": parameters["number"] ** 2, "seed": seed, "by_name": int(isinstance(
        policy["cow_order"], str))})


STUDY = Study(
    name="slow", question="How long?",
    keys={"number": Key("0", int_value(0, 100), "0 to 100"), "wait": Key("0", int_value(0, 9999), "milliseconds"),
          "does": Key("nothing", choice_value("nothing", "die", "interrupt"), "nothing, die, interrupt")},
    points={"cow_order": ("order0",)}, columns={"square": "square"}, run=run,
    conclude=lambda runs: f"{len(runs)} runs.", picture=lambda runs, path: path.write_bytes(b"\x89PNG"))
