"""``foliosim attach``."""

import click
import numpy as np

from foliosim.attach import ask as _ask
from foliosim.attach import certain
from foliosim.attach.build import attach as _attach
from foliosim.attach.proc import AttachError
from foliosim.flags import PM_FILE, PM_PFRAME_MASK
from foliosim.whole import write_json

_SHOWN = 12


@click.command()
@click.argument("pid", type=int)
@click.option("--with", "others", type=int, multiple=True, metavar="PID", help="A process that it shares memory with.")
@click.option("--ask", "questions", multiple=True, metavar="QUESTION",
              help="fork, 'mprotect ADDR LEN r', 'mlock ADDR LEN', 'pin ADDR LEN' or 'memory SIZE': what would happen.")
@click.option("--save", type=click.Path(dir_okay=False), metavar="FILE", help="Keep the machine in a file.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), metavar="FILE", help="Write everything as JSON.")
def attach(pid, others, questions, save, json_file):
    """Read a running process into a machine in the same state, and ask what would happen.

    The process is neither stopped nor changed.  It takes root.
    """
    try:
        for question in questions:
            _ask.parse(question)
        attached = _attach([pid, *others])
        attached.machine.validate()
        answers = [_answer(attached, pid, question) for question in questions]
    except (AttachError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    report = {"processes": _processes(attached), "certain": _certainty(attached), "answers": answers}
    for line in _lines(report):
        click.echo(line)
    if save:
        attached.machine.save(save)
    if json_file:
        write_json(json_file, report)


def _processes(attached):
    out = []
    for pid, picture in attached.pictures.items():
        process = attached.processes[pid]
        counts, sums = process.counts(), process.smaps()
        out.append({"pid": pid, "name": picture.name, "areas": counts["map_count"], "rss_pages": counts["rss_anon"]
                    + counts["rss_file"] + counts["rss_shmem"], "anon_pages": counts["rss_anon"],
                    "AnonHugePages_kB": int(sums["AnonHugePages"].sum()), "Locked_kB": int(sums["Locked"].sum()),
                    "folios": _folios(attached.machine, process)})
    return out


def _folios(machine, process):
    """How many folios of each order its anonymous pages are in."""
    orders = {}
    for area in process.maps():
        words = process.pagemap(int(area["start"]), int(area["end"] - area["start"]))
        words = words[(words & np.uint64(PM_FILE) == 0) & (words >> np.uint64(63) == 1)]
        for pfn in np.unique(words & np.uint64(PM_PFRAME_MASK)).tolist():
            folio = machine.folio(pfn)
            if folio is not None:
                orders.setdefault(folio.order, set()).add(folio.pfn)
    return {str(order): len(folios) for order, folios in sorted(orders.items())}


def _certainty(attached):
    counts, differences = certain.compare(attached)
    return {"areas": counts["areas"], "fields": counts["fields"],
            "differences": [[pid, hex(start), *rest] for pid, start, *rest in differences],
            "left_out": {what: n for what, n in attached.left_out.items() if n},
            "changed_while_read": sum(picture.changed for picture in attached.pictures.values()),
            "processes_not_read": len(attached.others), "hidden": list(certain.HIDDEN)}


def _answer(attached, pid, question):
    answer = _ask.ask(attached.machine, attached.processes[pid], question)
    return {"question": question, "error": answer.error, "numbers": answer.numbers,
            "areas": [[hex(start), hex(end), *rest] for start, end, *rest in answer.areas]}


# ---- text ----

def _size(nbytes):
    for unit, shift in (("GiB", 30), ("MiB", 20)):
        if nbytes >= 1 << shift:
            return f"{nbytes / (1 << shift):.1f} {unit}"
    return f"{nbytes >> 10} kB"


def _lines(report):
    for one in report["processes"]:
        yield (f"{one['name']} ({one['pid']}): {one['areas']} areas, {_size(one['rss_pages'] << 12)} resident, "
               f"{_size(one['anon_pages'] << 12)} anonymous, {one['AnonHugePages_kB']} kB by PMDs, "
               f"{one['Locked_kB']} kB locked")
        yield "  folios by order: " + (", ".join(f"{order}: {n}" for order, n in one["folios"].items()) or "none")
    yield from _certain_lines(report["certain"])
    for answer in report["answers"]:
        yield ""
        yield f"{answer['question']}: {answer['error'] or 'succeeds'}"
        yield from (f"  {what:<48}{value:>14,}" for what, value in answer["numbers"].items() if value)
        yield from _changed_lines(answer["areas"])


def _changed_lines(areas):
    yield f"  fields of smaps that change: {len(areas)}"
    for start, end, name, before, after in areas[:_SHOWN]:
        yield f"    {start}-{end[2:]} {name}: {before} -> {after}"
    if len(areas) > _SHOWN:
        yield f"    and {len(areas) - _SHOWN} more (--json FILE has all)"


def _certain_lines(certainty):
    yield (f"compared with smaps: {certainty['fields']:,} fields of {certainty['areas']:,} areas, "
           f"{len(certainty['differences'])} differ")
    for pid, start, name, read, got in certainty["differences"][:_SHOWN]:
        yield f"  {pid} {start} {name}: {read}, in the machine {got}"
    if certainty["changed_while_read"]:
        yield f"  {certainty['changed_while_read']} areas changed while they were read"
    if certainty["processes_not_read"]:
        yield (f"  anonymous memory is shared with {certainty['processes_not_read']} or more processes that were not "
               "read")
    yield from (f"  left out: {n} {what}" for what, n in certainty["left_out"].items())
    yield "not shown by /proc:"
    yield from (f"  {text}" for text in certainty["hidden"])
