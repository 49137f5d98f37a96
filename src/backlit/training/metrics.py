"""How good predictions are, in numbers that people know: from all predictions and targets of a data set at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from backlit.core.errors import DomainError, ShapeError

Array = npt.NDArray[Any]
Metric = Callable[[Array, Array], Any]
"""From predictions (n, ...) and targets (n, ...) to a number."""


def classes_of(predictions: Array, targets: Array, threshold: float = 0.5) -> tuple[Array, Array]:
    """Predicted and true class of each example.

    predictions: scores (*s, classes), of which the largest counts, where the targets are labels (*s) or scores of the
    same shape; or one number for each target, "yes" above the threshold, beside targets 0 and 1 (or -1 and 1).
    Raises ShapeError where the two do not fit.

    >>> classes_of(np.array([[0.1, 0.9], [2.0, 1.0]]), np.array([1, 1]))
    (array([1, 0]), array([1, 1]))
    """
    p, t = predictions.shape, targets.shape
    if predictions.ndim == targets.ndim + 1 and p[:-1] == t and p[-1] > 1:
        return predictions.argmax(-1), targets
    if p == t and targets.ndim > 1 and p[-1] > 1:
        return predictions.argmax(-1), targets.argmax(-1)
    if p in (t, (*t, 1)) or t == (*p, 1):
        return (predictions.reshape(-1) > threshold).astype(np.int64), (targets.reshape(-1) > 0).astype(np.int64)
    raise ShapeError(
        f"metrics: predictions of shape {p} and targets of shape {t} do not say which classes are meant; "
        "classes stand on the last axis of the predictions, and targets are labels."
    )


def accuracy(predictions: Array, targets: Array, threshold: float = 0.5) -> float:
    """The share of examples whose class is predicted rightly; see `classes_of`."""
    predicted, true = classes_of(predictions, targets, threshold)
    return float(np.mean(predicted == true))


def precision(predictions: Array, targets: Array, threshold: float = 0.5) -> float:
    """Of those predicted to be of a class, the share that are; the mean over classes, or that of "yes".

    A class never predicted counts as 0. Classes are those that occur among targets or predictions.
    """
    return _by_class(predictions, targets, threshold)[0]


def recall(predictions: Array, targets: Array, threshold: float = 0.5) -> float:
    """Of those that are of a class, the share predicted to be; the mean over classes, or that of "yes"."""
    return _by_class(predictions, targets, threshold)[1]


def f1(predictions: Array, targets: Array, threshold: float = 0.5) -> float:
    """The harmonic mean of precision and recall of a class; the mean over classes, or that of "yes".

    >>> f1(np.array([0.9, 0.8, 0.1]), np.array([1, 0, 0]))
    0.6666666666666666
    """
    return _by_class(predictions, targets, threshold)[2]


def _by_class(predictions: Array, targets: Array, threshold: float) -> tuple[float, float, float]:
    predicted, true = classes_of(predictions, targets, threshold)
    two = predictions.ndim == targets.ndim and (targets.ndim == 1 or targets.shape[-1] == 1)
    rows = []
    for label in [1] if two or predictions.shape == (*targets.shape, 1) else np.union1d(predicted, true):
        hits = np.sum((predicted == label) & (true == label))
        found, there = np.sum(predicted == label), np.sum(true == label)
        rows.append((hits / max(found, 1), hits / max(there, 1), 2 * hits / max(found + there, 1)))
    means = np.mean(rows, axis=0)
    return float(means[0]), float(means[1]), float(means[2])


def mae(predictions: Array, targets: Array) -> float:
    """The mean absolute error."""
    return float(np.mean(np.abs(_differences(predictions, targets))))


def mse(predictions: Array, targets: Array) -> float:
    """The mean squared error."""
    return float(np.mean(np.square(_differences(predictions, targets))))


def rmse(predictions: Array, targets: Array) -> float:
    """The root of the mean squared error, in the unit of the targets."""
    return float(np.sqrt(mse(predictions, targets)))


def r2(predictions: Array, targets: Array) -> float:
    """The share of the targets' variance that is explained: 1 at best, 0 for always predicting the mean.

    Of several outputs, the mean over them. Where targets do not vary: 1 if all are met, else 0.

    >>> r2(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0]))
    0.7857142857142857
    """
    off = _differences(predictions, targets)
    off = off.reshape(len(off), -1)
    true = np.asarray(targets, np.float64).reshape(off.shape)
    left, whole = np.square(off).sum(0), np.square(true - true.mean(0)).sum(0)
    shares = np.where(whole > 0, 1 - left / np.where(whole > 0, whole, 1.0), np.where(left > 0, 0.0, 1.0))
    return float(shares.mean())


def _differences(predictions: Array, targets: Array) -> npt.NDArray[np.float64]:
    p, t = predictions.shape, targets.shape
    if p != t and p != (*t, 1) and t != (*p, 1):
        raise ShapeError(f"metrics: predictions have shape {p} and targets {t}; a difference needs the same.")
    return np.asarray(predictions, np.float64).reshape(t) - np.asarray(targets, np.float64)


METRICS: dict[str, Callable[..., float]] = {
    metric.__name__: metric for metric in (accuracy, precision, recall, f1, mae, mse, rmse, r2)
}
_OF_CLASSES = ("accuracy", "precision", "recall", "f1")


def chosen(given: Any, loss_name: str) -> dict[str, Metric]:
    """Metrics by name: from names, functions of (predictions, targets), a list of either, or a dict of functions.

    loss_name: predictions made for a loss "..._with_logits" or for hinge are "yes" above 0, others above 1/2.
    Raises DomainError for a name that is not known, or one that is given twice.

    >>> list(chosen(["accuracy", np.ptp], "mse"))
    ['accuracy', 'ptp']
    """
    if isinstance(given, Mapping):
        pairs = list(given.items())
    else:
        items: Iterable[Any] = [given] if isinstance(given, str) or callable(given) else given
        pairs = [(each if isinstance(each, str) else getattr(each, "__name__", repr(each)), each) for each in items]
    found: dict[str, Metric] = {}
    for name, each in pairs:
        if name in found:
            raise DomainError(f"metrics: {name!r} is given twice; name them in a dict, {{'name': function}}.")
        if not isinstance(each, str):
            if not callable(each):
                raise DomainError(f"metrics: {each!r:.60} is neither a name nor a function of (predictions, targets).")
            found[name] = each
        elif each not in METRICS:
            raise DomainError(f"metrics: {each!r} is not known; choose among {', '.join(METRICS)}, or give a function.")
        elif each in _OF_CLASSES:
            threshold = 0.0 if loss_name.endswith("with_logits") or loss_name == "hinge" else 0.5
            found[name] = _at(METRICS[each], threshold)
        else:
            found[name] = METRICS[each]
    return found


def _at(metric: Callable[..., float], threshold: float) -> Metric:
    return lambda predictions, targets: metric(predictions, targets, threshold)
