"""Mistakes planted one at a time into a backward pass that is right, each of which must be named."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.explain.by_hand import by_hand
from examples.by_hand import backward, forward

NET = forward()
RIGHT = backward(NET, SimpleNamespace())
N = NET.n
V = SimpleNamespace(**{name: x.data for name, x in vars(NET).items() if isinstance(x, bl.Value)})
D = RIGHT


def summed(x: Any) -> Any:
    return x.sum(0, keepdims=True)


def placed(add: bool, step: int = 0) -> Any:
    out = np.zeros(V.C.shape)
    where = (NET.X + step) % len(out)
    if add:
        np.add.at(out, where, D.emb)
    else:
        out[where] = D.emb
    return out


def columns() -> Any:
    out = np.zeros(V.logprobs.shape)
    out[:, NET.Y] = -1 / N
    return out


def off_by_one() -> Any:
    out = np.zeros(V.logprobs.shape)
    out[np.arange(N), NET.Y - 1] = -1 / N
    return out


def fused_logits(divided: bool = True, less_one: bool = True) -> Any:
    out = np.array(V.probs)
    if less_one:
        out[np.arange(N), NET.Y] -= 1
    return out / N if divided else out


def fused_hprebn(square: float = 1.0, mean: float = 1.0) -> Any:
    """The gradient of a batch norm in one formula; `square` and `mean` spoil one of its paths."""
    direct = D.bnraw * V.bnvar_inv
    through = D.bnraw * V.bndiff
    diff = direct - square * V.bndiff * V.bnvar_inv**3 * summed(through) / (N - 1)
    return diff - mean * summed(diff) / N


Mistake = tuple[str, str, str, Callable[[], Any]]
MISTAKES: list[Mistake] = [
    # what it is, the gradient it is in, the kinds that must be named, the wrong gradient
    ("the sign is wrong", "logits", "sign", lambda: -D.logits),
    ("the sign of the loss is forgotten", "logprobs", "sign", lambda: -D.logprobs),
    ("the mean's 1/n is forgotten", "logprobs", "factor", lambda: D.logprobs * N),
    ("softmax minus one-hot without the division", "logits", "factor", lambda: fused_logits(divided=False)),
    ("softmax without minus one-hot", "logits", "missing path", lambda: fused_logits(less_one=False)),
    ("twice as large", "W1", "factor", lambda: 2 * D.W1),
    ("a mean over the batch in place of a sum", "b2", "mean for sum", lambda: D.logits.mean(0)),
    ("a mean for a sum, axes kept", "bngain", "mean for sum", lambda: summed(D.hpreact * V.bnraw) / N),
    ("the sum over the batch is forgotten", "b2", "missing sum", lambda: D.logits),
    ("the sum over a kept axis is forgotten", "bngain", "missing sum", lambda: D.hpreact * V.bnraw),
    ("the sum over the classes is forgotten", "counts_sum_inv", "missing sum", lambda: D.probs * V.counts),
    ("keepdims is forgotten", "bnbias", "keepdims", lambda: D.hpreact.sum(0)),
    ("a kept axis too many", "b2", "keepdims", lambda: summed(D.logits)),
    ("a sum over the wrong axis", "bnbias", "wrong axis", lambda: D.hpreact.sum(1, keepdims=True)),
    ("a sum over both axes", "b2", "wrong axis", lambda: D.logits.sum()),
    ("a gradient is not spread over the rows", "bndiff2", "missing broadcast", lambda: D.bnvar / (N - 1)),
    ("one row in place of the sum of all", "b2", "missing sum", lambda: D.logits[0]),
    ("the result is transposed", "W2", "transpose", lambda: D.logits.T @ V.h),
    ("an operand is reshaped in place of transposed", "h", "wrong reshape", lambda: D.logits @ V.W2.reshape(27, 64)),
    ("the matrices are exchanged", "W1", "transpose", lambda: D.hprebn.T @ V.embcat),
    ("tanh: its input for its output", "hpreact", "wrong residual", lambda: D.h * (1 - V.hpreact**2)),
    ("tanh: the derivative is forgotten", "hpreact", "derivative forgotten", lambda: D.h),
    ("tanh: the square is forgotten", "hpreact", "wrong derivative", lambda: D.h * (1 - V.h)),
    ("tanh: the function for its derivative", "hpreact", "wrong derivative", lambda: D.h * V.h),
    ("tanh: the derivative twice", "hpreact", "derivative twice", lambda: D.h * (1 - V.h**2) ** 2),
    ("tanh: the derivative without what arrives", "hpreact", "upstream forgotten", lambda: 1 - V.h**2),
    ("tanh: divided by the derivative", "hpreact", "divided for multiplied", lambda: D.h / (1 - V.h**2)),
    ("exp: its input for its output", "norm_logits", "wrong residual", lambda: D.counts * V.norm_logits),
    ("exp: the derivative is forgotten", "norm_logits", "derivative forgotten", lambda: D.counts),
    ("log: times in place of by", "probs", "wrong derivative", lambda: D.logprobs * V.probs),
    ("a product: the factor is forgotten", "bnraw", "derivative forgotten", lambda: D.hpreact),
    ("a product: another value", "bngain", "wrong residual", lambda: summed(D.hpreact * V.hprebn)),
    ("a product: itself", "bnraw", "derivative by the other operand", lambda: D.hpreact * V.bnraw),
    ("a power: the exponent is not lowered", "bnvar", "wrong derivative",
     lambda: D.bnvar_inv * -0.5 * (V.bnvar + 1e-5) ** -0.5),
    ("a power: the exponent does not come down", "bnvar", "factor", lambda: D.bnvar_inv * (V.bnvar + 1e-5) ** -1.5),
    ("a power: epsilon is forgotten", "bnvar", "wrong residual", lambda: D.bnvar_inv * -0.5 * V.bnvar**-1.5),
    ("a square: the 2 is forgotten", "bndiff", "wrong derivative",
     lambda: D.bnraw * V.bnvar_inv + D.bndiff2 * V.bndiff),
    ("the variance divided by n", "bndiff2", "n for n - 1", lambda: D.bnvar / N * np.ones((N, 1))),
    ("the variance divided by n, in one formula", "hprebn", "n for n - 1",
     lambda: fused_hprebn(square=(N - 1) / N)),
    ("the mean's path is forgotten", "hprebn", "missing path", lambda: D.bndiff),
    ("the mean's path without 1/n", "hprebn", "derivative forgotten", lambda: D.bndiff + D.bnmeani),
    ("the variance's path is forgotten", "bndiff", "missing path", lambda: D.bnraw * V.bnvar_inv),
    ("= in place of +=", "bndiff", "missing path", lambda: D.bndiff2 * 2 * V.bndiff),
    ("= in place of += for counts", "counts", "missing path", lambda: D.probs * V.counts_sum_inv),
    ("the sign of one path", "counts", "sign of one path", lambda: D.probs * V.counts_sum_inv - D.counts_sum),
    ("a path twice", "counts", "path counted twice", lambda: D.probs * V.counts_sum_inv + 2 * D.counts_sum),
    ("1/x: the minus is forgotten", "counts_sum", "sign", lambda: D.counts_sum_inv / V.counts_sum**2),
    ("1/x: the square is forgotten", "counts_sum", "wrong derivative", lambda: -D.counts_sum_inv / V.counts_sum),
    ("= at letters that occur again", "C", "overwritten", lambda: placed(add=False)),
    ("letters one too high", "C", "shifted index", lambda: placed(add=True, step=1)),
    ("whole columns", "logprobs", "index too wide", columns),
    ("the letter before", "logprobs", "shifted index", off_by_one),
    ("rows moved by one", "W1", "shifted row", lambda: np.roll(D.W1, 1, axis=0)),
    ("reshaped in another order", "emb", "wrong reshape", lambda: D.embcat.reshape(N, 10, 3).transpose(0, 2, 1)),
    ("reshaped column by column", "emb", "wrong reshape", lambda: D.embcat.reshape((N, 3, 10), order="F")),
    ("not reshaped", "emb", "wrong shape", lambda: D.embcat),
    ("the gradient of another value", "W1", "wrong upstream gradient", lambda: V.embcat.T @ D.hpreact),
    ("another matrix of the same shape", "W2", "wrong residual", lambda: V.hpreact.T @ D.logits),
    ("integers", "counts", "integers", lambda: (D.counts * 0).astype(int)),
    ("never filled", "W2", "zeros", lambda: np.zeros(V.W2.shape)),
    ("NaN in some places", "h", "not finite", lambda: np.where(np.arange(64) == 3, np.nan, D.h)),
    # two at once
    ("summed over nothing, and the sign", "b2", "missing sum + sign", lambda: -D.logits),
    ("tanh's input for its output, and the sign", "hpreact", "wrong residual + sign",
     lambda: -D.h * (1 - V.hpreact**2)),
    ("a factor forgotten, and the sign of another path", "counts", "derivative forgotten + sign of one path",
     lambda: D.probs - D.counts_sum),
    ("two wrong derivatives on two paths", "bndiff", "wrong derivative + derivative forgotten",
     lambda: D.bnraw + D.bndiff2 * V.bndiff),
    ("only the path through the sum", "counts", "missing path", lambda: D.counts_sum * np.ones((1, 27))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kinds", "wrong"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_planted_mistake_is_named(name: str, kinds: str, wrong: Callable[[], Any]) -> None:
    report = by_hand(NET.loss, **{**vars(D), name: wrong()})
    check = report[name]
    assert not report.ok
    assert check.verdict == "wrong"
    assert check.repair is not None, f"not named:\n{check.explain()}"
    assert " + ".join(check.repair.kinds) == kinds, check.explain()
    assert report.first is check
    assert all(each.ok for each in report.checks if each is not check)
