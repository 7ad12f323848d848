"""Every study runs on the other architecture too."""
import pytest

from foliosim.study import StudyError, run_study
from foliosim.study.base import STUDIES

SMALL = {"batch-ops": {"size": "8M"}, "zero-histogram": {"threshold": 409}, "bgsave": {"data": "4M"},
         "edge-fit": {"vmas": 20}}


@pytest.mark.parametrize("name", STUDIES)
def test_arm64(name):
    result = run_study(name, {"arch": "arm64", **SMALL.get(name, {})}, policy=["age_unit=folio_any"])
    assert all(run.parameters["arch"] == "arm64" for run in result.runs)
    assert result.conclusion


def test_an_unknown_one_is_named():
    with pytest.raises(StudyError, match="arch='riscv'.*x86_64, arm64"):
        run_study("creep", {"arch": "riscv"})
