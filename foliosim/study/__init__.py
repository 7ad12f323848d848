"""Studies: questions about policies, answered with numbers and pictures."""
from foliosim.study.base import Key, Outcome, Run, Study, StudyError
from foliosim.study.result import Result, run_study
from foliosim.study.sweep import SweepError

__all__ = ["Key", "Outcome", "Result", "Run", "Study", "StudyError", "SweepError", "run_study"]
