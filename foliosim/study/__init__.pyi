from foliosim.study.base import (
    Key as Key,
    Outcome as Outcome,
    Run as Run,
    Study as Study,
    StudyError as StudyError,
)
from foliosim.study.result import Result as Result, run_study as run_study
from foliosim.study.sweep import SweepError as SweepError

__all__ = ["Key", "Outcome", "Result", "Run", "Study", "StudyError", "SweepError", "run_study"]
