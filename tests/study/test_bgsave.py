"""bgsave, with what is derived on docs/studies/bgsave.md."""
import numpy as np
import pytest

from foliosim.study import StudyError, run_study
from foliosim.study.bgsave import pages_written

PAGE, HUGE = 4096, 2 << 20


def metrics(label, seed=0, **keys):
    return run_study("bgsave", keys, policy=[label], seed=seed).runs[0].metrics


@pytest.mark.parametrize("data, order, zipf, writes, seed", [("8M", 9, 1, 3000, 0), ("4M", 4, 0.5, 500, 7),
                                                             ("4M", 0, 2, 500, 3), ("8M", 6, 0, 200, 1)])
def test_on_paper(data, order, zipf, writes, seed):
    keys = {"data": data, "order": order, "zipf": zipf, "writes": writes}
    nr_pages = (int(data[:-1]) << 20) // PAGE
    pages = pages_written(nr_pages, zipf, writes, seed)
    for label, window in (("cow_order=order0", 0), ("cow_order=fixed(3)", 3), ("cow_order=inherit", order)):
        got = metrics(label, seed, **keys)
        windows = len(np.unique(pages >> window))
        assert got["faults.cow"] == windows
        assert got["cow_bytes"] == windows * PAGE << window
        assert got["peak_bytes"] == (nr_pages + (windows << window)) * PAGE
        assert got["largest_copy_bytes"] == PAGE << window
        assert got["faults_per_1000_writes"] == 1000 * windows / writes
    assert metrics("cow_order=order0", seed, **keys)["stranded_bytes"] == (len(np.unique(pages)) * PAGE if order else 0)


@pytest.mark.parametrize("zipf, writes", [(0, 5000), (1, 5000), (1.5, 20000)])
def test_as_many_pages_as_expected(zipf, writes):
    nr_pages = 4096
    share = np.arange(1, nr_pages + 1) ** -float(zipf)
    expected = (1 - (1 - share / share.sum()) ** writes).sum()
    found = [len(np.unique(pages_written(nr_pages, zipf, writes, seed))) for seed in range(20)]
    assert abs(np.mean(found) / expected - 1) < 0.02


def test_no_writes_no_copies():
    got = metrics("cow_order=inherit", data="2M", writes=0)
    assert got["cow_bytes"] == got["faults_per_1000_writes"] == 0


@pytest.mark.parametrize("keys, named", [({"order": 1}, "0 and 2 to 9"), ({"order": 10}, "0 and 2 to 9"),
                                         ({"data": "3M"}, "data='3M'.*multiples of 2 MiB"), ({"zipf": -1}, "zipf")])
def test_bad_values(keys, named):
    with pytest.raises(StudyError, match=named):
        run_study("bgsave", keys)
