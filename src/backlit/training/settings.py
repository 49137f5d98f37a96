"""What `fit` is asked for, understood: the data, the loss, the optimizer; and all of it written down as plain JSON."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit import nn, optim
from backlit.core.errors import DataError, DomainError, DtypeError, GraphError, ShapeError
from backlit.core.numbers import shape_of
from backlit.core.state import no_grad
from backlit.core.value import Value, numbers_of
from backlit.data.accepting import as_dataset
from backlit.data.dataset import Dataset
from backlit.data.splitting import split
from backlit.nn import losses
from backlit.nn.module import Module
from backlit.ops.random import Key, fold_in
from backlit.optim.rule import Optimizer
from backlit.training.specs import fingerprint, spec_of
from backlit.training.state import Loss, Snapshot

LOSSES = {name: getattr(losses, name) for name in nn._PLACES["losses"].split()}


# -- data -----------------------------------------------------------------------------------------------------------


def training_and_validation(data: Any, validation: Any, key: Key) -> tuple[Dataset, Dataset | None]:
    """What is learned from, and what is held out.

    validation: None, a data set, or the share of the data to hold out: then they are those of
    `backlit.data.split(data, share, fold_in(key, 0))`. Raises DomainError for a share that is not between 0 and 1.
    """
    found = as_dataset(data)
    if validation is None:
        return found, None
    if isinstance(validation, (int, float)):
        if isinstance(validation, bool) or not 0 < validation < 1:
            raise DomainError(
                f"fit: validation={validation!r}; give the share of the data to hold out, such as 0.2, or other data."
            )
        return split(found, validation, fold_in(key, 0))
    held = as_dataset(validation)
    for name, one, other in (("inputs", found.inputs, held.inputs), ("targets", found.targets, held.targets)):
        if one.shape[1:] != other.shape[1:]:
            raise ShapeError(
                f"fit: {name} have shape {one.shape} in the data and {other.shape} in validation; all axes but the "
                "first must be the same."
            )
    return found, held


# -- the loss -------------------------------------------------------------------------------------------------------


def chosen_loss(given: Any, model: Module, data: Dataset) -> tuple[Loss, str]:
    """The loss and its name: a function of (prediction, target), a name of `backlit.nn`, or None, to go by the targets.

    None: whole numbers (n,) beside a model with several outputs are classes, for cross_entropy; real numbers of the
    shape of the prediction are met by mse. Whatever is chosen is tried on two examples first, without changing
    anything. Raises DomainError, ShapeError or DataError, which say what to give, where it does not fit.
    """
    if isinstance(given, str):
        if given not in LOSSES:
            raise DomainError(f"fit: loss={given!r} is not known; take {', '.join(LOSSES)}, or give a function.")
        loss, name = LOSSES[given], given
    elif given is not None and not callable(given):
        raise DomainError(f"fit: loss={given!r:.60} is neither a name nor a function of (prediction, target).")
    elif given is not None:
        loss, name = given, getattr(given, "__name__", type(given).__name__)
    x, y = data.inputs[:2], data.targets[:2]
    prediction = answered(model, x)
    if given is None:
        loss, name = _by_targets(prediction, y)
    if loss in (losses.cross_entropy, losses.nll, losses.max_margin):
        _check_labels(name, prediction, data.targets)
    with no_grad():
        value = loss(prediction, y)
    if not isinstance(value, Value) or shape_of(numbers_of(value)) != ():
        got = f"an array of shape {value.shape}" if isinstance(value, Value) else repr(value)[:60]
        raise ShapeError(f"fit: the loss {name} gave {got}, and one number is needed: reduce it, .mean() is usual.")
    return loss, name


def answered(model: Module, x: Any) -> Any:
    """What the model answers in use, without recording; it is left as it was in every respect."""
    modes = [(module, module.training) for module in model.modules()]
    before = Snapshot([buffer for _, buffer in model.named_buffers()])
    model.eval()
    try:
        with no_grad():
            return model(x)
    finally:
        before.restore()
        for module, mode in modes:
            module.training = mode


def _by_targets(prediction: Any, y: Any) -> tuple[Loss, str]:
    if not isinstance(prediction, Value):
        raise DomainError(
            f"fit: the model gives a {type(prediction).__name__}, so the loss cannot be chosen for you; give "
            "loss=, a function of (prediction, target)."
        )
    p, t = prediction.shape, y.shape
    if y.dtype.kind == "f":
        return losses.mse, "mse"
    if len(p) == len(t) + 1 and p[:-1] == t and p[-1] > 1:
        return losses.cross_entropy, "cross_entropy"
    outputs = f"for 2 examples, the model gives shape {p} and the targets ({y.dtype.name}) have shape {t}"
    if p in (t, (*t, 1)):
        raise ShapeError(
            f"fit: {outputs}. If these are classes, give the model one output for each class; if they are 0 and 1 for "
            'no and yes, take loss="binary_cross_entropy_with_logits"; if they are amounts, loss="mse". The two last '
            "need targets of the shape of the prediction."
        )
    raise ShapeError(
        f"fit: {outputs}. Labels of classes have shape (n,), and the model one output for each class, (n, classes)."
    )


def _check_labels(name: str, prediction: Any, y: Any) -> None:
    if not isinstance(prediction, Value) or y.dtype.kind not in "iu" or prediction.ndim != y.ndim + 1:
        return
    classes, low, high = prediction.shape[-1], int(y.min()), int(y.max())
    if low >= 0 and high < classes:
        return
    place = tuple(int(i) for i in np.argwhere((y < 0) | (y >= classes))[0])
    cure = "Subtract 1: they are to begin at 0." if low == 1 and high == classes else (
        f"Give the model {high + 1} outputs, or look at the labels." if low >= 0 else "Classes are counted from 0."
    )  # fmt: skip
    raise DataError(
        f"fit: {name} of {classes} outputs takes labels from 0 to {classes - 1}, and the targets go from {low} to "
        f"{high}: the first outside is {y[place]} at {list(place)}. {cure}"
    )


# -- the optimizer --------------------------------------------------------------------------------------------------


def chosen_optimizer(given: Any, lr: Any, model: Module) -> Any:
    """The optimizer: a name such as "adam", a class, a function of the parameters, or one made already.

    lr: the learning rate or a schedule, for a name or a class; None for its own default. Raises DomainError for a name
    that is not known, GraphError for an optimizer of other parameters than the model's.
    """
    parameters = model.parameters()
    if not parameters:
        raise GraphError(f"fit: the model {type(model).__name__} has no parameters to learn.")
    if isinstance(given, str):
        known = {_plain(name): name for name in optim.__all__ if name[0].isupper()}
        kind = getattr(optim, known[_plain(given)]) if _plain(given) in known else None
        if not _is_optimizer(kind):
            raise DomainError(
                f"fit: optimizer={given!r} is not known; give a name such as 'adam' or 'sgd', a class, or an object: "
                f"backlit.optim has {', '.join(sorted(filter(_is_optimizer_there, known.values())))}."
            )
        given = kind
    if isinstance(given, type):
        made = given(parameters) if lr is None else given(parameters, lr=lr)
    elif callable(getattr(given, "step", None)):
        made = given
        if lr is not None:
            raise DomainError("fit: lr is given beside an optimizer that has its own; set it there, optimizer.lr = ...")
    elif callable(given):
        if lr is not None:
            raise DomainError("fit: lr is given beside a function that makes the optimizer; set the rate there.")
        made = given(parameters)
    else:
        raise DomainError(f"fit: optimizer={given!r:.60} is neither a name, nor an optimizer, nor makes one.")
    if not isinstance(made, Optimizer):
        raise DomainError(f"fit: the optimizer is {made!r:.60}, and a backlit.optim.Optimizer is needed.")
    own = set(parameters)
    if not any(p in own for p in made.parameters):
        raise GraphError(
            "fit: the optimizer steps none of the model's parameters. Make it of those of this very model: "
            "Adam(model.parameters())."
        )
    return made


def _is_optimizer(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Optimizer) and kind is not Optimizer


def _is_optimizer_there(name: str) -> bool:
    return _is_optimizer(getattr(optim, name))


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


# -- numbers --------------------------------------------------------------------------------------------------------


def whole(name: str, given: Any, least: int) -> int:
    """A whole number that is at least so large. Raises DomainError."""
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or given < least:
        raise DomainError(f"fit: {name}={given!r:.60}; give a whole number, at least {least}.")
    return int(given)


def described(model: Module, optimizer: Any, data: Dataset, *, held: Dataset | None, **more: Any) -> dict[str, Any]:
    """The settings of a run as plain JSON: how model and optimizer were made (null where JSON cannot say it), what the
    data were, and what else was asked for.
    """
    return {
        "model": spec_of(model),
        "optimizer": spec_of(optimizer),
        "model_class": type(model).__name__,
        "optimizer_class": type(optimizer).__name__,
        "parameters": sum(math.prod(p.shape) for p in model.parameters()),
        "data": fingerprint(data.inputs, data.targets),
        "rows": len(data),
        "validation": None if held is None else fingerprint(held.inputs, held.targets),
        "validation_rows": 0 if held is None else len(held),
        **more,
    }


def checked_seed(seed: Any) -> int:
    """Raises DtypeError for a seed that is no whole number."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise DtypeError(f"fit: seed={seed!r:.60} must be a whole number.")
    return int(seed)
