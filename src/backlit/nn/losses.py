r"""Losses: how far a prediction is from its target, as one number to make small.

All take `reduction`: "mean" (the default) and "sum" give a scalar, "none" a loss for each element or example. A target
is a value, a NumPy array, a list or a number, and is taken over into the prediction's dtype. It has the prediction's
very shape, or is a single number; nothing else is broadcast, since (n, 1) against (n,) would make n² differences.

They are safe by default: logarithms of sums of exponentials, and of sigmoids, are computed as such (log-sum-exp and
softplus), so logits of any finite size have a finite loss and a finite gradient, with no loss of digits where a
prediction is nearly certain.

Where the numbers of a target are known, they are looked at, and a label that is no class is an error; while a function
is traced for compilation, they are not.
"""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np

import backlit.autodiff.reverse  # gives values their backward()
import backlit.ops.face  # noqa: F401  gives values their operators
from backlit.core import dtypes
from backlit.core.errors import DomainError, DtypeError, IndexingError, ShapeError
from backlit.core.numbers import Abstract
from backlit.core.value import Value, constant, current, describe
from backlit.ops.activations import relu, softplus
from backlit.ops.arithmetic import abs_
from backlit.ops.casting import ASTYPE
from backlit.ops.creation import asarray
from backlit.ops.functions import apply, composite
from backlit.ops.indexing import getitem, take
from backlit.ops.movement import reshape
from backlit.ops.powers import exp, log1p, square
from backlit.ops.powers import log as ln
from backlit.ops.selection import minimum, where
from backlit.ops.statistics import log_softmax, mean
from backlit.ops.summation import SUM

# -- what all share ------------------------------------------------------------------------------------------


def _prediction(loss: str, x: Any, what: str = "prediction") -> Value:
    """The prediction as a value of real floating-point numbers. Raises DtypeError for others."""
    value = asarray(x)
    if not dtypes.is_real(value.dtype):
        raise DtypeError(
            f"{loss}: the {what} is {value.dtype.name}, and a loss is differentiated by it, so it has to be floating-"
            f"point: convert it with backlit.astype(x, backlit.float64)." + _said(what, value)
        )
    return value


def _said(what: str, *values: Value) -> str:
    return "".join(f"\n    {what}: {describe(v)}, shape {v.shape}, {v.dtype.name}" for v in values)


def _pair(loss: str, prediction: Any, target: Any) -> tuple[Value, Value]:
    """Both as values of one dtype and one shape; the target may be a single number. Raises ShapeError otherwise."""
    prediction = _prediction(loss, prediction)
    target = asarray(target, dtype=prediction.dtype)
    p, t = prediction.shape, target.shape
    if p != t and t != ():
        raise ShapeError(
            f"{loss}: the prediction has shape {p} and the target {t}; they have to be the same. "
            + _remedy(p, t)
            + _said("prediction", prediction)
            + _said("target", target)
        )
    return prediction, target


def _remedy(p: tuple[int, ...], t: tuple[int, ...]) -> str:
    if p == (*t, 1):
        n = t[-1] if t else 1
        return (
            f"Broadcast, they would give {t[:-1] + (n, n)}: every prediction minus every target. The model has one "
            "output; drop its axis, prediction[..., 0], or give the target one, target[..., None]."
        )
    if t == (*p, 1):
        return "Drop the last axis of the target, target[..., 0]."
    if len(p) == len(t) + 1 and p[:-1] == t:
        return f"If the target holds labels of {p[-1]} classes, the loss is cross_entropy."
    if np.prod(p) == np.prod(t):
        return f"They hold equally many elements: reshape one, such as target.reshape({p})."
    if p and p[1:] == t[1:]:
        return f"There are {p[0]} predictions and {t[0]} targets: were they taken from the same batch?"
    return "A single number is the only other target."


def _known(x: Value) -> Any:
    """The numbers of a value to check, or None while they are unknown."""
    data = current(x)._data
    return None if type(data) is Abstract else np.asarray(data)


def _wrong(x: Value, is_wrong: Any) -> str | None:
    """The first wrong number and its place, in words; None if there is none, or if numbers are not known."""
    data = _known(x)
    if data is None or not data.size:
        return None
    bad = is_wrong(data)
    if not bad.any():
        return None
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    at = f" at [{', '.join(map(str, place))}]" if place else ""
    return f"holds {data[place]}{at}"


def _outside_0_1(x: Any) -> Any:
    return (x < 0) | (x > 1)


def _below_0(x: Any) -> Any:
    return x < 0


def _reduced(loss: str, losses: Value, reduction: str) -> Value:
    """All losses, their sum or their mean. Raises DomainError for another word."""
    if reduction not in ("mean", "sum", "none"):
        raise DomainError(f'{loss}: reduction={reduction!r}; it is "mean", "sum" or "none".')
    if not losses.ndim:
        return losses
    if reduction == "mean":
        return mean(losses)
    return _total(losses) if reduction == "sum" else losses


def _total(x: Value) -> Value:
    return apply(SUM, x, axis=tuple(range(x.ndim)), keepdims=False)


def _along_classes(x: Value) -> Value:
    return apply(SUM, x, axis=(x.ndim - 1,), keepdims=False)


# -- numbers -------------------------------------------------------------------------------------------------


@composite("mse")
def mse(prediction: Any, target: Any, *, reduction: str = "mean") -> Value:
    """The mean squared error, (prediction - target)².

    prediction: (*s) real; target: (*s), or one number. -> (), or (*s) for reduction="none". Raises ShapeError where
    the shapes differ, DtypeError for a prediction that is not floating-point.

    >>> mse(Value([1.0, 2.0]), [1.0, 4.0]).data
    2.0
    """
    prediction, target = _pair("mse", prediction, target)
    return _reduced("mse", square(prediction - target), reduction)


@composite("mae")
def mae(prediction: Any, target: Any, *, reduction: str = "mean") -> Value:
    """The mean absolute error, |prediction - target|. Shapes and errors as in `mse`.

    Convention at the kink: where they are equal, the derivative is 0.

    >>> mae(Value([1.0, 2.0]), [1.0, 4.0]).data
    1.0
    """
    prediction, target = _pair("mae", prediction, target)
    return _reduced("mae", abs_(prediction - target), reduction)


@composite("huber")
def huber(prediction: Any, target: Any, *, delta: float = 1.0, reduction: str = "mean") -> Value:
    """The squared error near the target and the absolute error far from it, so that outliers pull no harder.

    With e = prediction - target: e² / 2 where |e| ≤ delta, else delta · (|e| - delta / 2); both the loss and its
    derivative are continuous. Shapes and errors as in `mse`; DomainError for a delta that is not above 0.
    Source: Huber 1964. The same as PyTorch's `huber_loss`; its `smooth_l1_loss` is this divided by delta.

    >>> huber(Value([0.5, -3.0]), [0.0, 0.0], reduction="none").data
    array([0.125, 2.5  ])
    """
    if not delta > 0:
        raise DomainError(f"huber: delta={delta}; the error up to which the loss is square has to be above 0.")
    prediction, target = _pair("huber", prediction, target)
    e = prediction - target
    size = abs_(e)
    return _reduced("huber", where(size <= delta, 0.5 * square(e), delta * (size - 0.5 * delta)), reduction)


# -- yes or no -----------------------------------------------------------------------------------------------


@composite("binary_cross_entropy")
def binary_cross_entropy(probability: Any, target: Any, *, reduction: str = "mean") -> Value:
    r"""-(y · log p + (1 - y) · log(1 - p)) for a predicted probability p of "yes" and a target y, 1 for yes, 0 for no.

    probability: (*s) in 0 ... 1; target: (*s) in 0 ... 1, or one number. Shapes as in `mse`. Raises DomainError for
    numbers outside 0 ... 1.

    At p = 0 and p = 1 a logarithm is infinite, and 0 · infinity is no number. So each is held at or above -100, as
    PyTorch does: a prediction that was certain and wrong costs 100. (In float32 at or above -87.3, in float16 -9.7,
    the logarithm of the smallest normal number, so that 1/p cannot overflow either.) What is held sends no gradient:
    a probability that is exactly 0 or 1 stays as it is, where PyTorch sends ±1e12. `binary_cross_entropy_with_logits`
    has neither limit and is the better choice whenever the probability is a sigmoid.

    >>> binary_cross_entropy(Value([0.5, 1.0, 0.0]), [1, 1, 1], reduction="none").data.round(4)
    array([  0.6931,   0.    , 100.    ])
    """
    name = "binary_cross_entropy"
    p, y = _pair(name, probability, target)
    if (found := _wrong(p, _outside_0_1)) is not None:
        raise DomainError(
            f"{name}: the probability {found}, and lies between 0 and 1. If these are logits (a model's outputs before "
            "the sigmoid), the loss is binary_cross_entropy_with_logits." + _said("probability", p)
        )
    _check_yes_or_no(name, y)
    most = _longest_log(p.dtype)
    # log1p(-p) keeps the digits of a small p, which 1 - p would round away
    losses = y * minimum(-ln(p), most) + (1.0 - y) * minimum(-log1p(-p), most)
    return _reduced(name, losses, reduction)


def _longest_log(dtype: np.dtype[Any]) -> float:
    return min(100.0, -log(float(np.finfo(dtype).tiny)))


def _check_yes_or_no(name: str, y: Value) -> None:
    if (found := _wrong(y, _outside_0_1)) is not None:
        cure = " For targets of -1 and 1 give (1 + y) / 2, or take hinge." if "-1" in found else ""
        raise DomainError(
            f"{name}: the target {found}, and is 1 for yes and 0 for no, or a probability.{cure}" + _said("target", y)
        )


@composite("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    logits: Any, target: Any, *, pos_weight: Any = None, reduction: str = "mean"
) -> Value:
    r"""Binary cross entropy of sigmoid(logits), without computing the sigmoid: any finite logit has a finite loss.

    y · softplus(-z) + (1 - y) · softplus(z), whose derivative is sigmoid(z) - y. logits z: (*s) real; target y: (*s)
    in 0 ... 1, or one number. pos_weight: a number, or one for each class on the last axis, by which the loss of "yes"
    is multiplied: (number of no) / (number of yes) makes both count alike. Raises ShapeError where shapes differ,
    DomainError for targets outside 0 ... 1.

    >>> binary_cross_entropy_with_logits(Value([0.0, 1e4, -1e4]), [1, 1, 1], reduction="none").data
    array([6.93147181e-01, 0.00000000e+00, 1.00000000e+04])
    """
    name = "binary_cross_entropy_with_logits"
    z, y = _pair(name, logits, target)
    _check_yes_or_no(name, y)
    yes = y * softplus(-z)
    if pos_weight is not None:
        weight = asarray(pos_weight, dtype=z.dtype)
        if weight.shape != () and weight.shape != z.shape[-1:]:
            raise ShapeError(
                f"{name}: pos_weight has shape {weight.shape} and the logits {z.shape}; it is one number, or "
                + (f"one for each of the {z.shape[-1]} on the last axis." if z.ndim else "nothing else.")
                + _said("pos_weight", weight)
            )
        yes = weight * yes
    return _reduced(name, yes + (1.0 - y) * softplus(z), reduction)


@composite("hinge")
def hinge(scores: Any, target: Any, *, margin: float = 1.0, reduction: str = "mean") -> Value:
    """max(0, margin - y · score) for targets y of -1 and 1: nothing, once the score is on its side by the margin.

    The loss of a support vector machine, and of micrograd's example. scores: (*s) real; target: (*s) of -1 and 1.
    Convention at the kink: the derivative is 0. Raises DomainError for other targets, ShapeError where shapes differ.
    Source: Cortes and Vapnik 1995.

    >>> hinge(Value([0.5, -3.0]), [1, -1], reduction="none").data
    array([0.5, 0. ])
    """
    scores, y = _pair("hinge", scores, target)
    if (found := _wrong(y, lambda t: abs(t) != 1)) is not None:
        cure = " For targets of 0 and 1 give 2 * y - 1." if found.startswith("holds 0") else ""
        raise DomainError(f"hinge: the target {found}, and is -1 or 1.{cure}" + _said("target", y))
    return _reduced("hinge", relu(margin - y * scores), reduction)


# -- one of several classes ----------------------------------------------------------------------------------


@composite("cross_entropy")
def cross_entropy(
    logits: Any,
    target: Any,
    *,
    weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Value:
    r"""-log softmax(logits) at the class that was right; or, for soft labels, -Σ target · log softmax(logits).

    Classes are on the last axis (PyTorch has them on axis 1). logits: (*s, classes), such as (batch, classes) or
    (batch, time, classes). target: (*s) whole numbers from 0, or (*s, classes) probabilities. -> (), or (*s) for
    reduction="none".

    weight: (classes), how much each class counts. For labels, the mean is Σ w·loss / Σ w, with the weight w of each
    example's class, as in PyTorch; for soft labels the weights multiply the terms and the mean is over examples.
    label_smoothing: the part a of the target that is spread over all K classes: (1 - a) · target + a / K.
    ignore_index: a label that is left out of loss, gradient and mean, such as padding. By default none is (PyTorch's
    default is -100). If nothing is left to average, the mean is 0, and so is its gradient (PyTorch's is NaN).

    Computed by log-sum-exp: any finite logits have a finite loss and gradient. A class with logit -inf is excluded;
    it costs nothing where its target is 0. The derivative is softmax(logits) - target.

    Raises ShapeError where shapes do not fit, DtypeError for labels that are not whole numbers, IndexingError for a
    label that is no class, DomainError for negative probabilities and for options out of range.

    >>> cross_entropy(Value([[2.0, 0.0], [0.0, 1000.0]]), [0, 0], reduction="none").data
    array([1.26928011e-01, 1.00000000e+03])
    """
    name = "cross_entropy"
    if not 0 <= label_smoothing <= 1:
        raise DomainError(f"{name}: label_smoothing={label_smoothing}; it is a part of the target, from 0 to 1.")
    logits = _with_classes(name, logits, "logits")
    classes = logits.shape[-1]
    weights = _class_weights(name, weight, logits)
    target = asarray(target)
    if target.dtype.kind == "f":
        _check_soft(name, target, logits, ignore_index)
        q = asarray(target, dtype=logits.dtype)
        if label_smoothing:
            q = q * (1.0 - label_smoothing) + label_smoothing / classes
        log_p = log_softmax(logits)
        terms = q * where((q == 0) & (log_p == -np.inf), 0.0, log_p)  # an excluded class, of which nothing is wanted
        return _reduced(name, -_along_classes(terms if weights is None else terms * weights), reduction)
    labels, keep = _labels(name, target, logits, ignore_index)
    if keep is not None:  # be the logits there what they may
        logits = where(reshape(keep, (*keep.shape, 1)), logits, 0.0)
    log_p = log_softmax(logits)
    counts = None if weights is None else take(weights, labels)
    losses = -_picked(log_p, labels)
    if counts is not None:
        losses = counts * losses
    if label_smoothing:
        spread = -_along_classes(log_p if weights is None else log_p * weights)
        losses = (1.0 - label_smoothing) * losses + (label_smoothing / classes) * spread
    return _weighted_mean(name, losses, counts, keep, reduction)


@composite("nll")
def nll(
    log_probabilities: Any, target: Any, *, weight: Any = None, ignore_index: int | None = None, reduction: str = "mean"
) -> Value:
    """The negative log-likelihood: -log p at the class that was right, from logarithms of probabilities.

    log_probabilities: (*s, classes), as `log_softmax` gives them, classes on the last axis; target: (*s) whole
    numbers from 0. Options, means and errors as in `cross_entropy`, which is `nll` of `log_softmax(logits)`.

    >>> nll(Value([[-0.5, -0.9]]), [1]).data
    0.9
    """
    log_p = _with_classes("nll", log_probabilities, "log-probability")
    labels, keep = _labels("nll", asarray(target), log_p, ignore_index)
    weights = _class_weights("nll", weight, log_p)
    counts = None if weights is None else take(weights, labels)
    losses = -_picked(log_p, labels)
    return _weighted_mean("nll", losses if counts is None else counts * losses, counts, keep, reduction)


@composite("max_margin")
def max_margin(
    scores: Any, target: Any, *, margin: float = 1.0, p: int = 1, weight: Any = None, reduction: str = "mean"
) -> Value:
    """Multi-class hinge: how far each wrong class comes within the margin of the right one, over the number of classes.

    Σ over i ≠ y of max(0, margin - s_y + s_i)^p / K. scores: (*s, K), classes on the last axis; target: (*s) whole
    numbers from 0; p: 1 or 2; weight: (K), a factor for each right class (the mean stays that over examples).
    -> (), or (*s) for reduction="none". The same as PyTorch's `multi_margin_loss`; the original form has no 1 / K.
    Convention at the kink: the derivative is 0. Errors as in `cross_entropy`. Source: Weston and Watkins 1999.

    >>> max_margin(Value([[2.0, 1.5, 0.0, 0.0]]), [0]).data
    0.125
    """
    name = "max_margin"
    if p not in (1, 2):
        raise DomainError(f"{name}: p={p}; the power of each violation is 1 or 2.")
    scores = _with_classes(name, scores, "scores")
    labels, _ = _labels(name, asarray(target), scores, None)
    weights = _class_weights(name, weight, scores)
    excess = relu(margin - reshape(_picked(scores, labels), (*labels.shape, 1)) + scores)
    if p == 2:
        excess = square(excess)
    is_other = reshape(labels, (*labels.shape, 1)) != np.arange(scores.shape[-1])
    losses = _along_classes(where(is_other, excess, 0.0)) / float(scores.shape[-1])
    if weights is not None:
        losses = take(weights, labels) * losses
    return _reduced(name, losses, reduction)


@composite("kl_divergence")
def kl_divergence(log_prediction: Any, target: Any, *, log_target: bool = False, reduction: str = "mean") -> Value:
    """Σ target · (log target - log_prediction) over the last axis: what is lost by taking one for the other.

    log_prediction: (*s, classes), logarithms of probabilities, as `log_softmax` gives them; target: the same shape,
    probabilities, or their logarithms if `log_target`. -> (), or (*s) for reduction="none". The mean is over
    distributions: PyTorch's "batchmean" for (batch, classes), where its "mean" divides by the classes, too.

    A class whose target is 0 adds nothing, even where the prediction is 0 as well, and sends no gradient. Raises
    ShapeError where shapes differ, DomainError for negative probabilities. Source: Kullback and Leibler 1951.

    >>> kl_divergence(np.log([0.5, 0.5]), [1.0, 0.0]).data
    0.6931471805599453
    """
    name = "kl_divergence"
    log_p, q = _pair(name, _with_classes(name, log_prediction, "log-prediction"), target)
    if log_target:
        terms = where(q == -np.inf, 0.0, exp(q) * (q - log_p))
    else:
        if (found := _wrong(q, _below_0)) is not None:
            cure = "A probability is not below 0; for logarithms of them say log_target=True."
            raise DomainError(f"{name}: the target {found}. {cure}" + _said("target", q))
        terms = where(q == 0, 0.0, q * (ln(where(q == 0, 1.0, q)) - log_p))
    return _reduced(name, _along_classes(terms), reduction)


def _with_classes(loss: str, x: Any, what: str) -> Value:
    value = _prediction(loss, x, what)
    if not value.ndim or not value.shape[-1]:
        raise ShapeError(
            f"{loss}: the {what} of shape {value.shape} has no classes; they are on the last axis." + _said(what, value)
        )
    return value


def _class_weights(loss: str, weight: Any, logits: Value) -> Value | None:
    if weight is None:
        return None
    weights = asarray(weight, dtype=logits.dtype)
    if weights.shape != logits.shape[-1:]:
        raise ShapeError(
            f"{loss}: weight has shape {weights.shape}, and holds one number for each of the {logits.shape[-1]} "
            "classes on the last axis." + _said("weight", weights)
        )
    if (found := _wrong(weights, _below_0)) is not None:
        raise DomainError(f"{loss}: weight {found}; how much a class counts is not below 0." + _said("weight", weights))
    return weights


def _check_soft(loss: str, target: Value, logits: Value, ignore_index: int | None) -> None:
    if target.shape == logits.shape[:-1]:
        raise DtypeError(
            f"{loss}: the target of shape {target.shape} would be labels, but is {target.dtype.name}, and labels are "
            "whole numbers: target.astype('int64')." + _said("target", target)
        )
    if target.shape != logits.shape:
        raise ShapeError(
            f"{loss}: the logits have shape {logits.shape}, so soft labels have it too, and labels are whole "
            f"numbers of shape {logits.shape[:-1]}; the target has shape {target.shape}."
            + _said("logits", logits)
            + _said("target", target)
        )
    if ignore_index is not None:
        raise DomainError(f"{loss}: ignore_index={ignore_index} is a label, and the target holds probabilities.")
    if (found := _wrong(target, _below_0)) is not None:
        raise DomainError(f"{loss}: the target {found}; a probability is not below 0." + _said("target", target))


def _labels(loss: str, target: Value, logits: Value, ignore_index: int | None) -> tuple[Value, Value | None]:
    """Labels that are classes, and which of them count (None: all)."""
    classes = logits.shape[-1]
    if target.dtype.kind not in "iu" and target.size:
        cure = "target.astype('int64')" if target.shape == logits.shape[:-1] else "backlit.argmax(target, axis=-1)"
        raise DtypeError(
            f"{loss}: the target is {target.dtype.name}, and labels are whole numbers from 0 to {classes - 1}: "
            f"{cure}." + _said("target", target)
        )
    if target.shape != logits.shape[:-1]:
        if target.shape == (*logits.shape[:-1], 1):
            cure = "Drop the last axis of the target, target[..., 0]."
        elif target.shape == logits.shape:
            cure = "Of one-hot labels take backlit.argmax(target, axis=-1), or their floats as soft labels."
        elif len(logits.shape) > 2 and target.shape == logits.shape[:1] + logits.shape[2:]:
            cure = "Classes are on the last axis here: backlit.moveaxis(logits, 1, -1)."
        else:
            cure = "There is one label for each place of the other axes."
        raise ShapeError(
            f"{loss}: the {classes} classes are on the last axis of {logits.shape}, so labels have shape "
            f"{logits.shape[:-1]}, and the target has {target.shape}. {cure}"
            + _said("logits", logits)
            + _said("target", target)
        )
    skip = ignore_index
    found = _wrong(target, lambda t: ((t < 0) | (t >= classes)) & ((t != skip) if skip is not None else True))
    if found is not None:
        asked = "" if skip is None else f", or {skip}, which is left out"
        cure = " Labels count from 0." if found.startswith(f"holds {classes} ") or found == f"holds {classes}" else ""
        if skip is None and found.startswith("holds -"):
            cure = " If it marks what is to be left out, say ignore_index."
        raise IndexingError(
            f"{loss}: the target {found}; a label is a class from 0 to {classes - 1}{asked}.{cure}"
            + _said("target", target)
        )
    if skip is None or not _may_hold(target.dtype, skip):
        return target, None
    keep = target != skip
    return where(keep, target, constant(target.dtype.type(0))), keep


def _may_hold(dtype: np.dtype[Any], number: int) -> bool:
    limits = np.iinfo(dtype)
    return limits.min <= number <= limits.max


def _picked(log_p: Value, labels: Value) -> Value:
    """What stands at each label, on the last axis."""
    lengths = labels.shape
    places = [
        np.arange(length).reshape((1,) * i + (-1,) + (1,) * (len(lengths) - 1 - i)) for i, length in enumerate(lengths)
    ]
    return getitem(log_p, (*places, labels))


def _weighted_mean(loss: str, losses: Value, counts: Value | None, keep: Value | None, reduction: str) -> Value:
    """The reduction, where each example counts with its weight, and not at all where it is not kept."""
    if keep is not None:
        losses = where(keep, losses, 0.0)
    if reduction != "mean" or (counts is None and keep is None):
        return _reduced(loss, losses, reduction)
    if counts is None and keep is not None:
        counts = apply(ASTYPE, keep, dtype=losses.dtype)
    elif counts is not None and keep is not None:
        counts = where(keep, counts, 0.0)
    assert counts is not None
    total = _total(counts)
    return _total(losses) / where(total == 0, 1.0, total)
