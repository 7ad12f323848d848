"""zero-histogram, with what is derived on docs/studies/zero-histogram.md."""
import json

import pytest

from foliosim.study import StudyError, histogram, run_study

PAGE, PTES = 4096, 512
COUNTS = [20, 3, 0, 7, 1, 2, 0, 5, 1, 9]


def run(policy="underused=zero_filled", **keys):
    return [one.metrics for one in run_study("zero-histogram", keys, policy=[policy]).runs]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "histogram"
    path.write_text(" ".join(map(str, COUNTS)))
    return path


@pytest.mark.parametrize("threshold", [0, 25, 26, 76, 200, 230, 231, 300, 409, 435, 436, 486, 487, 510, 511])
def test_on_paper(file, threshold):
    zeros = [PTES - (2 * bucket + 1) * PTES // 20 for bucket in range(10)]
    split = [count for count, zero in zip(COUNTS, zeros) if zero > threshold != PTES - 1]
    returned = sum(count * zero for count, zero in zip(COUNTS, zeros) if zero > threshold != PTES - 1)
    got, = run(histogram=file, threshold=threshold)
    assert (got["thps"], got["underused_splits"]) == (sum(COUNTS), sum(split))
    assert got["returned_bytes"] == returned * PAGE
    assert got["returned_share"] == returned / (sum(COUNTS) * PTES)
    assert got["rss_bytes"] == (sum(COUNTS) * PTES - returned) * PAGE


@pytest.mark.parametrize("policy, returned", [
    ("underused=off", False), ("drop_zero_pages=no", False), ("underused=zero_filled(100)", True)])
def test_policies(file, policy, returned):
    got, = run(policy, histogram=file, threshold=100)
    assert bool(got["returned_bytes"]) == returned


def test_the_default_has_both_sides_of_every_step(file):
    result = run_study("zero-histogram", {"histogram": file}, policy=["underused=zero_filled"])
    returned = [one.metrics["returned_bytes"] for one in result.runs]
    assert [one.parameters["threshold"] for one in result.runs][:4] == [0, 25, 26, 76]
    assert sorted(returned, reverse=True) == returned and len(set(returned)) == 9 and returned[-1] == 0
    assert result.runs[0].parameters["buckets"] == " ".join(map(str, COUNTS))
    json.dumps(result.as_dict())


@pytest.mark.parametrize("text, counts", [
    ("1,2,3,4,5,6,7,8,9,10", range(1, 11)),
    ("[0, 0, 0, 0, 0, 0, 0, 0, 0, 3]", [0] * 9 + [3]),
    ("# least used first\n1 0 0 0 0\n0 0 0 0 2  # most\n", [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]),
    ("\n".join(f"Utilized[{i * 51}-{i * 51 + 50}]: {i} {9 * i}" for i in range(10)) + "\nLast Scan Time: 223.98s\n",
     range(10)),
    ("0.5 0 0 0 0 0 0 0 0 0.5", [500, 0, 0, 0, 0, 0, 0, 0, 0, 500]),
    ("0.5 0.3 0 0 0 0 0 0 0 0.1", [556, 333, 0, 0, 0, 0, 0, 0, 0, 111]),
    ("1e6 0 0 0 0 0 0 0 0 3e6", [2048, 0, 0, 0, 0, 0, 0, 0, 0, 6144]),
])
def test_files(tmp_path, text, counts):
    (tmp_path / "file").write_text(text)
    assert histogram.load(str(tmp_path / "file")) == list(counts)


@pytest.mark.parametrize("content, named", [
    (b"", "0 numbers.*10 numbers"), (b"1 2 3", "3 numbers"), (b"1 2 3 4 5 6 7 8 9 x", "'x' is not a number"),
    (b"[1, 2, 3, 4, 5, 6, 7, 8, 9, null]", "'None' is not a number"), (b"[1, 2, 3", "'\\[1' is not a number"),
    (b"1 2 3 4 5 6 7 8 9 -10", "0 or more"), (b"0 " * 10, "not all 0"), (b"1 " * 9 + b"nan", "0 or more"),
    (b"\xff\xfe\x00", "not a text file"), (b"Utilized[0-50]: 1331 680884\nUtilized[51-101]: 9", "2 numbers"),
    (b"Utilized[0-50]: many 1\n", "'many' is not a number"), (b"1 " * 100000, "numbers; valid are 10 numbers"),
])
def test_broken_files(tmp_path, content, named):
    file = tmp_path / "broken"
    file.write_bytes(content)
    with pytest.raises(StudyError, match=named) as caught:
        run_study("zero-histogram", {"histogram": file})
    assert "\n" not in str(caught.value) and str(file) in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("keys, named", [
    ({"histogram": "no-such"}, "histogram='no-such'.*No such file.*zhu-documentation"),
    ({"histogram": "/"}, "histogram='/'"), ({"threshold": 512}, "threshold='512'"),
    ({"thresholds": 1}, "histogram, threshold"),
])
def test_bad_values(keys, named):
    with pytest.raises(StudyError, match=named):
        run_study("zero-histogram", keys)
