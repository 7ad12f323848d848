"""half-mprotect-after-fork, with what is derived on docs/studies/half-mprotect-after-fork.md."""
import pytest

from foliosim.study import StudyError, run_study

PAGE, HUGE = 4096, 2 << 20


def metrics(label, **keys):
    point, _, name = label.partition("=")
    result = run_study("half-mprotect-after-fork", keys, policy=[label] if name else ["cow_order=order0"])
    return [run.metrics for run in result.runs]


@pytest.mark.parametrize("size, children", [("2M", 3), ("64K", 2), ("6M", 1), ("4M", 1)])
@pytest.mark.parametrize("when, share", [("before", 0.3), ("after", 0), ("after", 0.3), ("never", 0.7), ("never", 1)])
def test_on_paper(size, children, when, share):
    keys = {"size": size, "children": children, "child_exits": when, "parent_writes": share}
    nr_bytes = int(size[:-1]) << (20 if size.endswith("M") else 10)
    linux, whole, part, inherit = (metrics(label, **keys)[0] for label in (
        "linux-6.18", "fork_child_mprotect=cow_whole", "fork_child_mprotect=cow_part", "cow_order=inherit"))
    folio, (start, end) = min(nr_bytes, HUGE), cut(nr_bytes)
    shared = round(share * (nr_bytes // PAGE)) * PAGE if when != "before" else 0
    saved = max(0, min(shared, end) - start)           # of the folio that the child has copied
    assert linux["cow_bytes"] == linux["cow_bytes.parent"] == shared
    assert linux["peak_bytes"] == nr_bytes + shared
    assert whole["cow_bytes.parent"] == shared - saved
    assert whole["cow_bytes.syscall"] == (end - start) * children
    assert whole["peak_bytes"] == nr_bytes + (end - start) * children + shared - saved
    assert part["cow_bytes.syscall"] == (end - start) // 2 * children
    assert inherit["cow_bytes"] == -(-shared // folio) * folio


def cut(size):
    """The folio in which size / 2 lies, if it does not lie between two."""
    folio = min(size, HUGE)
    start = size // 2 // folio * folio
    return (start, start + folio) if size // 2 % folio else (start, start)


def test_the_default_is_a_sweep():
    shares = [run.parameters["parent_writes"] for run in run_study("half-mprotect-after-fork", policy=[
        "cow_order=order0"]).runs]
    assert shares == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("keys, named", [
    ({"size": "3M"}, "size=.3M.: valid are .*multiple of 2M"), ({"size": "8K"}, "size='8K'.*16 KiB to 2 MiB"),
    ({"parent_writes": 1.5}, "0 to 1"),
    ({"child_exits": "now"}, "before.*never"), ({"children": 0}, "1 to 64"), ({"child": 1}, "children"),
])
def test_bad_values(keys, named):
    with pytest.raises(StudyError, match=named):
        run_study("half-mprotect-after-fork", keys)
