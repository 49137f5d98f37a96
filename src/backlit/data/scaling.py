"""Columns brought to mean 0 and deviation 1, as measured on the rows to learn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from backlit.core.errors import DataError, ShapeError
from backlit.core.value import Value
from backlit.data.dataset import Dataset, numbers_in


@dataclass(frozen=True, eq=False)
class Standardiser:
    """The means and deviations of some rows, and the map that they define; made by `standardise`.

    mean, deviation: the shape of one row, float64. The deviation of a constant column is given as 1, so that the
    column becomes 0 (and a row that differs from it keeps its difference); `constant` says which these are.
    """

    mean: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]
    constant: npt.NDArray[np.bool_] = field(repr=False)

    def transform(self, data: Any) -> Any:
        """(x - mean) / deviation: of an array or value, or of the inputs of a Dataset. A real dtype is kept."""
        return self._applied(data, "transform", lambda x: (x - self.mean) / self.deviation)

    def inverse(self, data: Any) -> Any:
        """x * deviation + mean: what `transform` was given, to within rounding."""
        return self._applied(data, "inverse", lambda x: x * self.deviation + self.mean)

    def _applied(self, data: Any, name: str, of: Any) -> Any:
        if isinstance(data, Dataset):
            return data.with_inputs(self._applied(data.inputs, name, of))
        if isinstance(data, Value):
            return of(data)
        x = np.asarray(data)
        row = self.mean.shape
        if x.dtype.kind not in "biuf" or x.shape[max(0, x.ndim - len(row)) :] != row:
            raise ShapeError(
                f"{name}: an array of shape {x.shape} and dtype {x.dtype}; this was measured on rows of shape {row}, "
                f"and (n, ...) or one such row is needed."
            )
        kind = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            found = of(x.astype(np.float64)).astype(kind)
        if not np.isfinite(found).all() and np.isfinite(x).all():
            raise DataError(
                f"{name}: a number leaves the range of {kind.name}; divide the columns by a large number first."
            )
        return found


def standardise(train: Any) -> Standardiser:
    """The map that brings each column of the inputs of `train` to mean 0 and standard deviation 1.

    train: a Dataset or an array (n, ...). Measure on the rows to learn from only, and use the same map for all others:
    what is held out must not tell anything beforehand. The deviation divides by n, as scikit-learn's StandardScaler
    does. Raises: DataError for what is empty or not finite.

    >>> scale = standardise(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> scale.transform(np.array([[1.0, 5.0], [5.0, 6.0]]))
    array([[-1.,  0.],
           [ 3.,  1.]])
    """
    inputs = train.inputs if isinstance(train, Dataset) else numbers_in(train, "inputs")
    x = inputs.astype(np.float64)
    low, high = x.min(axis=0), x.max(axis=0)
    middle = low / 2 + high / 2
    from_middle = x - middle  # so that neither an offset costs digits nor a square overflows
    unit = np.abs(from_middle).max(axis=0)
    constant = np.asarray((low == high) | (unit == 0))
    unit = np.where(constant, 1.0, unit)
    deviation = (from_middle / unit).std(axis=0) * unit
    mean = middle + (from_middle / unit).mean(axis=0) * unit
    return Standardiser(np.where(constant, low, mean), np.where(constant, 1.0, deviation), constant)
