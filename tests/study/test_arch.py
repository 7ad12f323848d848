"""Every study runs on the other architecture too, and comes to a conclusion."""
import re

import pytest

from foliosim.study import StudyError, run_study
from foliosim.study.base import STUDIES

SMALL = {
    "4K": {"batch-ops": {"size": "8M"}, "zero-histogram": {"threshold": 409}, "bgsave": {"data": "4M"},
           "edge-fit": {"vmas": 20}},
    "64K": {"zero-histogram": {"threshold": 6553}},
}


@pytest.mark.parametrize("page_size", SMALL)
@pytest.mark.parametrize("name", STUDIES)
def test_arm64(name, page_size):
    settings = {"arch": "arm64", "page_size": page_size, **SMALL[page_size].get(name, {})}
    result = run_study(name, settings, policy=["age_unit=folio_any"])
    assert all(run.parameters["arch"] == "arm64" for run in result.runs)
    assert result.conclusion


def test_an_unknown_one_is_named():
    with pytest.raises(StudyError, match="arch='riscv'.*x86_64, arm64"):
        run_study("creep", {"arch": "riscv"})


@pytest.mark.parametrize("name", STUDIES)
def test_a_conclusion_has_two_or_three_sentences(name):
    conclusion = run_study(name, SMALL["4K"].get(name, {})).conclusion
    assert 2 <= len(re.findall(r"\.(?= |$)", conclusion)) <= 3 and conclusion.endswith(".")
