"""An engine that knows the answers: it gives the recorded entries of scenarios, so that the judge can be judged."""
import copy
import json
import os
import time

from foliosim.errors import UnsupportedError, ValidationError
from foliosim.verify.compare import expand_data
from foliosim.verify.recording import scenario_of


class ScriptedEngine:
    """Answers step N with entry N of a recording."""

    def __init__(self, expect):
        self._answers = iter(copy.deepcopy(expect))

    def perform(self, step):
        answer = next(self._answers)
        if "data" in answer:
            answer["data"] = expand_data(answer["data"])
        return answer

    def validate(self):
        pass


class Replays:
    """Makes engines that answer as the original scenarios do, whatever the scenario replayed expects."""

    def __init__(self, *scenarios):
        self._expect = {scenario["id"]: scenario["expect"] for scenario in scenarios}

    def __call__(self, scenario):
        return ScriptedEngine(self._expect[scenario.id])


def honest(scenario):
    """An engine that is right."""
    return ScriptedEngine(scenario.expect)


def faulty(scenario):
    """An engine that fails in the way that the scenario's id says."""
    return FaultyEngine(scenario)


class FaultyEngine(ScriptedEngine):
    def __init__(self, scenario):
        super().__init__(scenario.expect)
        self._way = scenario.id.rsplit("!", 1)[-1]
        self._done = 0

    def perform(self, step):
        self._done += 1
        if self._done == 3:
            if self._way == "raise":
                raise KeyError("lost frame")
            if self._way == "unsupported":
                raise UnsupportedError("op 'x' is not implemented")
            if self._way == "die":
                os._exit(9)
            if self._way == "hang":
                time.sleep(60)
        return super().perform(step)

    def validate(self):
        if self._way == "invalid" and self._done == 2:
            raise ValidationError([("folio 0x200", "mapcount", 3, 2)])


def as_scenario(obj):
    return scenario_of(copy.deepcopy(obj))


def every_kind():
    area = {
        "start": "0x200000000000", "end": "0x200000400000", "perms": "rw-p",
        "smaps": {
            "Rss": 20, "Pss": 12, "Pss_Dirty": 8, "Shared_Clean": 4, "Shared_Dirty": 4, "Private_Clean": 4,
            "Private_Dirty": 8, "Referenced": 16, "Anonymous": 20, "LazyFree": 4, "AnonHugePages": 2048,
            "ShmemPmdMapped": 2048, "Locked": 8, "THPeligible": 1,
        },
        "flags": ["rd", "wr", "ex", "sh", "mr", "mw", "me", "ms", "lo", "sr", "rr", "dc", "lf", "ac", "nr", "wf", "dd",
                  "hg", "nh", "sl", "gu"],
    }
    shared = {"start": "0x200000400000", "end": "0x200000500000", "perms": "rw-s", "file": "f0", "offset": 4096,
              "smaps": {"Rss": 4}, "flags": ["rd", "sh"]}
    proc = {
        "vmas": [area, shared],
        "pages": [["0x200000000000", 3, "0x102", 0, 1], ["0x200000003000", 2, "0x100", 3, 0],
                  ["0x200000010000", 1, "0x88", None, 0], ["0x200000400000", 1, "0x140", 4, 1]],
        "changed": [["0x200000001000", 2]],
        "locked_kb": 8, "pgtable_kb": 12,
        "entries": [["0x200000000000", 1, 3, "0x8000000000000067"], ["0x200000200000", 2, 1, "0x80000000000000e7"]],
        "tables": {"pte": 2, "pmd": 1, "pud": 1},
    }
    state = {
        "procs": {"p0": proc, "p1": {"vmas": [], "pages": [], "changed": [], "locked_kb": 0, "pgtable_kb": 0}},
        "frames": [[0, 1, "0x40d828", 1], [1, 2, "0x415828", 1], [3, 1, "0x1000000", 0], [4, 1, "0x200045828", 2]],
    }
    counters = {
        "vmstat": {"thp_fault_alloc": 1, "unevictable_pgs_culled": 2},
        "mthp_stats": {"64kB": {"anon_fault_alloc": 1, "nr_anon": -1}, "2048kB": {"split_deferred": 1}},
    }
    at = {"proc": "p0", "addr": "0x200000000000", "length": 8192}
    steps_expect = [
        ({"op": "fork", "proc": "p0", "child": "p1"}, {"ret": 0}),
        ({"op": "read", **at}, {"ret": 5, "data": [[7, 3, 0], [250, 2, 1]]}),
        ({"op": "mlock", **at}, {"errno": "ENOMEM"}),
        ({"op": "write", "value": 3, **at}, {"signal": "SIGSEGV", "code": "MAPERR", "addr": "0x200000001000"}),
        ({"op": "mmap", "prot": "rw", "flags": ["private", "anonymous"], **at}, {"ret": "0x200000000000"}),
    ]
    steps, results = zip(*steps_expect)
    machine = {"release": "6.18.44", "arch": "x86_64", "page_size": 4096, "thp_enabled": "madvise",
               "shmem_enabled": "never", "mthp": {"64kB": "never"}, "mthp_shmem": {}}
    expect = [{**result, **json.loads(json.dumps(counters)), "state": json.loads(json.dumps(state))}
              for result in results]
    return {"id": "every-kind", "tags": ["test"], "machine": machine, "steps": list(steps), "expect": expect}
