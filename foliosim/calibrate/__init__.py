"""Fits a table of what operations cost to the kernel of the machine this runs on (Linux, root, a C compiler)."""
from foliosim.calibrate.cases import CASES, Case
from foliosim.calibrate.fit import Fit, fit, nnls

__all__ = ["CASES", "Case", "Fit", "fit", "nnls"]
