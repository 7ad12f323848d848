"""The fit of a linear model that has no negative coefficients."""
import statistics
from dataclasses import dataclass

import numpy as np

from foliosim.costs import CostTable

_TINY = 1e-10


def nnls(matrix, values):
    """The x >= 0 that brings ``matrix @ x`` nearest to the values (C. Lawson, R. Hanson, 1974, chapter 23).

    Parameters
    ----------
    matrix : array of float, shape (m, n)
    values : array of float, shape (m,)

    Returns
    -------
    array of float, shape (n,)

    Raises
    ------
    ValueError
        A number is not finite, or no end was found.
    """
    matrix, values = np.asarray(matrix, float), np.asarray(values, float)
    if not (np.isfinite(matrix).all() and np.isfinite(values).all()):
        raise ValueError("a number in the fit is not finite")
    n = matrix.shape[1]
    x, free = np.zeros(n), np.zeros(n, bool)
    for _ in range(10 * n + 10):
        gradient = matrix.T @ (values - matrix @ x)
        gradient[free] = -np.inf
        best = int(np.argmax(gradient)) if n else 0
        if not n or gradient[best] <= _TINY * np.abs(matrix[:, best]).sum():
            return x
        free[best] = True
        x = _shrink(matrix, values, x, free)
    raise ValueError("the fit found no end")


def _shrink(matrix, values, x, free):
    """The least squares of the free columns; those that would become negative are no longer free."""
    while free.any():
        wanted = np.zeros_like(x)
        wanted[free] = np.linalg.lstsq(matrix[:, free], values, rcond=None)[0]
        below = free & (wanted <= 0)
        if not below.any():
            return wanted
        room = x[below] - wanted[below]
        step = np.min(np.divide(x[below], room, out=np.zeros_like(room), where=room > 0))
        x = x + step * (wanted - x)
        free &= x > _TINY
    return np.zeros_like(x)


@dataclass(frozen=True)
class Row:
    """A case, measured and predicted.

    Attributes
    ----------
    case : Case
    counts : dict of str to int
        Of ``ops.*``.
    measured, predicted : float
        ns.
    """

    case: object
    counts: dict
    measured: float
    predicted: float

    @property
    def error(self):
        """Relative to what was measured; negative: predicted too low."""
        return self.predicted / self.measured - 1


@dataclass(frozen=True)
class Fit:
    """Coefficients, and what they predict.

    Attributes
    ----------
    coefficients : dict of str to float
        ns; operations of no cost are left out.
    rows : list of Row
        All cases, those of the fit and those held out of it.
    alike : bool
        Could some operations not be told apart?  Their cost is then on one of them.
    """

    coefficients: dict
    rows: list
    alike: bool

    def errors(self, held_out=True):
        """Relative errors without their sign, of the cases held out of the fit, or of those in it."""
        return [abs(row.error) for row in self.rows if row.case.held_out == held_out]

    def table(self, name, source, facts):
        """As a table that `Ledger.time` takes.

        Parameters
        ----------
        name, source : str
        facts : dict
            Of the machine.

        Returns
        -------
        CostTable
        """
        errors = self.errors()
        return CostTable(name, source, {op: float(f"{ns:.4g}") for op, ns in self.coefficients.items()},
                         round(statistics.median(errors), 4) if errors else None,
                         {**facts, "held_out_worst": round(max(errors), 4)} if errors else facts)


def fit(measured):
    """Fit the coefficients to what was measured; each case weighs the same, whatever it took.

    Parameters
    ----------
    measured : list of (Case, dict of str to int, float)
        A case, how often each operation is counted in it, and the ns it took.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        There is no case to fit, or a time that is not above 0.
    """
    for case, _, ns in measured:
        if not ns > 0:
            raise ValueError(f"{case}: {ns} ns cannot be; the clock is too coarse, or the area too small")
    seen = [one for one in measured if not one[0].held_out]
    if not seen:
        raise ValueError("no case that is not held out of the fit")
    names = sorted({name for _, counts, _ in seen for name, count in counts.items() if count})
    matrix = np.array([[counts.get(name, 0) / ns for name in names] for _, counts, ns in seen])
    scale = np.linalg.norm(matrix, axis=0)
    costs = dict(zip(names, nnls(matrix / scale, np.ones(len(seen))) / scale))
    rows = [Row(case, counts, ns, sum(costs.get(name, 0) * count for name, count in counts.items()))
            for case, counts, ns in measured]
    return Fit({name: float(ns) for name, ns in costs.items() if ns}, rows,
               bool(np.linalg.matrix_rank(matrix / scale) < len(names)))
