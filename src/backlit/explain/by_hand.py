"""`by_hand`, for people who write the backward pass themselves: which gradient is wrong, and by what mistake."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.errors import DtypeError, GraphError, ShapeError
from backlit.core.numbers import Abstract, dtype_of, shape_of
from backlit.core.value import INACTIVE, Value, current, describe
from backlit.explain.hand_around import Around, Candidate
from backlit.explain.hand_flow import Flow
from backlit.explain.hand_margin import Margin, margin_for
from backlit.explain.hand_names import Given, Gradients, Names, collect
from backlit.explain.hand_report import (
    CONVENTION,
    FOLLOWS,
    RIGHT,
    WRONG,
    HandCheck,
    HandReport,
    Place,
    Repair,
)
from backlit.explain.hand_search import Search
from backlit.explain.hand_slips import Others
from backlit.explain.hand_words import Speaker, site_in

_OTHERS = 2
_AS_LIKELY = 0.7
"""How many other repairs that fit are told of, and how much more far-fetched these may be."""


def by_hand(loss: Value, gradients: Gradients | None = None, /, **named: Any) -> HandReport:
    """Checks gradients that you worked out yourself, and says what kind of mistake is in each that is wrong.

    loss: a scalar that was computed with Backlit. named: for each value that it was computed from, by name,
    the gradient of the loss by it: a NumPy array, or one of Backlit, PyTorch or JAX, or numbers. A value is
    called by its own name or by the variable that it was assigned to; where several share a name, or one has
    none, write `h=(value, gradient)`. gradients: the same as a mapping or as pairs, whose keys may be names
    or the values.

    Each gradient is judged twice: by the right one, and by what would follow from the other gradients you
    gave. So a fresh mistake is told apart from one that only follows from an earlier one. For a fresh one,
    small repairs are tried, and only such are reported after which every element is right. Raises GraphError
    for names that are unknown or shared, ShapeError for a loss that is no scalar. Cost: eight backward
    passes, and for each wrong gradient up to some hundred small ones.

    >>> import numpy as np
    >>> x, w = Value(np.ones((3, 2)), name="x"), Value([[0.5], [2.0]], name="w")
    >>> loss = ((x @ w) ** 2).sum()
    >>> dy = 2 * (x.data @ w.data)
    >>> report = by_hand(loss, w=x.data.T @ dy, x=-dy @ w.data.T)
    >>> report["w"].verdict, report["x"].verdict, report["x"].kind
    ('right', 'wrong', 'sign')
    """
    output = _scalar(loss)
    names = Names(output)
    flow = Flow(output)
    given = sorted(collect(names, gradients, named), key=lambda each: flow.moment(each.node), reverse=True)
    speaker = Speaker(dict(names.known) | {each.node: each.name for each in given}, flow.uses)
    examiner = _Examiner(flow, speaker, given)
    checks = [examiner.check(each) for each in given]
    return HandReport(speaker.name(output), tuple(checks))


def _scalar(loss: Value) -> Value:
    if not isinstance(loss, Value):
        raise GraphError(
            f"by_hand: the loss must be a Backlit value, whose graph is known, not {type(loss).__name__}. "
            "Compute the loss once with Backlit; the gradients may come from anywhere."
        )
    output = current(loss)
    if type(output._data) is Abstract:
        raise GraphError("by_hand: the loss is traced and has no numbers; call by_hand outside of traced functions.")
    if math.prod(shape_of(output._data)) != 1 or shape_of(output._data):
        raise ShapeError(
            f"by_hand: {describe(loss)} has shape {shape_of(output._data)}, and gradients are those of a "
            "scalar. To check one layer alone, weigh its outputs with random numbers: (y * weights).sum(). A "
            "plain y.sum() hides mistakes, since its gradient can be zero, as behind a softmax."
        )
    if output._grad is INACTIVE:
        kind = dtype_of(output._data).kind
        why = "is no real number" if kind != "f" else "was not computed from any Value(...)"
        raise (DtypeError if kind != "f" else GraphError)(f"by_hand: {describe(loss)} {why}, so it has no gradients.")
    return output


class _Examiner:
    """Judges one gradient after the other, in the order of the backward pass."""

    def __init__(self, flow: Flow, speaker: Speaker, given: list[Given]) -> None:
        self.flow, self.speaker = flow, speaker
        usable = {each.node: each.gradient for each in given if _usable(each)}
        self.stops = {
            node: np.asarray(ct).astype(
                dtype_of(node._data) if np.asarray(ct).dtype.kind != "f" else np.asarray(ct).dtype
            )
            for node, ct in usable.items()
        }
        nodes = [each.node for each in given]
        self.true = flow.sweep()
        self.own = flow.sweep(self.stops)
        self.shaken = flow.sensitivity(self.true, {}, nodes)
        self.shaken_own = flow.sensitivity(self.own, self.stops, nodes)
        values = {node: name for node, name in speaker.known.items() if shape_of(node._data)}
        self.others = Others(values, self.stops)
        self.verdicts: dict[Value, str] = {}
        self.names = {each.node: each.name for each in given}

    def check(self, each: Given) -> HandCheck:
        """The verdict on one gradient."""
        node, given = each.node, each.gradient
        right = np.asarray(self.true.computed[node])
        margin = self._margin(each, right, self.shaken[node])
        exact, difference, wrong, first = _compared(given, right, margin)
        verdict = RIGHT
        because_of: tuple[str, ...] = ()
        beside: tuple[str, ...] = ()
        repair: Repair | None = None
        others: tuple[Repair, ...] = ()
        if given is None:
            verdict = WRONG
        elif given.shape != right.shape or wrong:
            verdict, because_of = self._upstream(each)
            if verdict == WRONG:
                repair, others = self._search(each, bool(because_of))
                beside, because_of = because_of, ()
                if repair is not None and repair.kinds == ("ties: one",):
                    verdict = CONVENTION
        self.verdicts[node] = verdict
        return HandCheck(
            name=each.name,
            shape=right.shape,
            dtype=str(dtype_of(node._data)),
            given_shape=None if given is None else given.shape,
            given_dtype=each.dtype,
            made=self._made(node),
            verdict=verdict,
            exact=exact,
            difference=difference,
            tolerance=margin.relative * float(np.max(np.abs(right), initial=0.0)) + margin.floor,
            elements=right.size,
            wrong_elements=wrong,
            first=first,
            because_of=because_of,
            beside=beside,
            repair=repair,
            others=others,
            notes=tuple(self._notes(each, right, margin, verdict)),
        )

    def _margin(self, each: Given, right: Any, shaken: float) -> Margin:
        size = float(np.max(np.abs(right), initial=0.0, where=np.isfinite(right)))
        return margin_for((str(dtype_of(each.node._data)), each.dtype or ""), size, shaken)

    def _made(self, node: Value) -> str:
        site = site_in(node)
        if site is None:
            return "" if node._op is None else f"made by {node._op.name}"
        made = "a variable" if node._op is None else f"made by {node._op.name}"
        return f"{made} at {site.short_file}:{site.line}"

    def _upstream(self, each: Given) -> tuple[str, tuple[str, ...]]:
        """Whether it is right for the gradients above it as they were given; and which of those are wrong."""
        node = each.node
        region = self.flow.region(node, self.stops.keys() - {node}, len(self.flow.order) * 4)
        above = sorted({e.node for e in region if e.node in self.stops}, key=self.flow.moment, reverse=True)
        off = [n for n in above if self.verdicts.get(n, RIGHT) != RIGHT]
        names = tuple(self.names[n] for n in off)
        own = np.asarray(self.own.computed[node])
        margin = self._margin(each, own, self.shaken_own[node])
        if off and each.gradient.shape == own.shape and margin.close(each.gradient, own):
            only_convention = all(self.verdicts[n] == CONVENTION for n in off)
            return (CONVENTION if only_convention else FOLLOWS), names
        return WRONG, names

    def _search(self, each: Given, upstream_is_off: bool) -> tuple[Repair | None, tuple[Repair, ...]]:
        if not _is_finite(each.gradient):
            return self._not_finite(each), ()
        bases = [(self.own, self.shaken_own, self.stops, True)]
        if upstream_is_off:
            bases.append((self.true, self.shaken, self.stops, False))
        if any(n is not each.node for n in self.stops):  # several steps in one formula
            bases.append((self.true, self.shaken, {}, not upstream_is_off))
        for swept, shaken, stops, own in bases:
            around = Around(self.flow, swept, each.node, stops, self.others, self.speaker)
            margin = self._margin(each, around.right, shaken[each.node])
            found = Search(around).repairs(each.gradient, margin)
            if found:
                told = [self._repair(c, each, around.right, margin, own) for c in _distinct(found)]
                return told[0], tuple(told[1 : 1 + _OTHERS])
        return None, ()

    def _repair(self, candidate: Candidate, each: Given, right: Any, margin: Margin, own: bool) -> Repair:
        if each.gradient.shape == right.shape:
            apart = margin.apart(each.gradient, right)
            told_by, numbers = int(np.sum(apart)), np.stack([each.gradient[apart], right[apart]])
        else:
            told_by, numbers = each.gradient.size, each.gradient.reshape(1, -1)
        with np.errstate(all="ignore"):
            scale = float(np.max(np.abs(numbers), initial=0.0)) or 1.0
            distinct = np.unique(np.round(numbers / scale, 9), axis=1).shape[1]
        return Repair(
            kinds=candidate.kinds,
            text=candidate.text,
            fix=candidate.fix,
            where=candidate.where,
            agree=right.size,
            of=right.size,
            told_by=told_by,
            distinct=distinct,
            exact=candidate.difference == 0.0,
            difference=candidate.difference,
            own_upstream=own,
        )

    def _not_finite(self, each: Given) -> Repair | None:
        given, right = each.gradient, np.asarray(self.own.computed[each.node])
        if given.shape != right.shape or not np.all(np.isfinite(right)):
            return None
        bad = ~np.isfinite(given)
        margin = self._margin(each, right, self.shaken_own[each.node])
        if np.any(margin.apart(np.where(bad, right, given), right)):
            return None
        what = "NaN" if np.isnan(given).any() else "infinite"
        text = f"remove the {int(bad.sum())} elements that are {what}; all others are right"
        count = int(bad.sum())
        return Repair(("not finite",), text, "", "", right.size, right.size, count, count, False, 0.0)

    def _notes(self, each: Given, right: Any, margin: Margin, verdict: str) -> list[str]:
        notes = []
        size = float(np.max(np.abs(right), initial=0.0, where=np.isfinite(right)))
        if size <= margin.floor and verdict in (RIGHT, FOLLOWS):
            notes.append(
                "its gradient is zero but for rounding, so that a wrong sign or factor would not show here."
                if right.any()
                else "its gradient is zero, so that a wrong sign or factor would not show here."
            )
        return notes


def _distinct(found: list[Candidate]) -> list[Candidate]:
    """The likeliest repair, and others that are about as likely and not the same thing in other words."""
    kept: list[Candidate] = []
    for each in found:
        same = any(each.where == k.where or (each.kinds == k.kinds and not each.where) for k in kept)
        if not kept or (not same and each.cost <= kept[0].cost + _AS_LIKELY):
            kept.append(each)
    return kept


def _usable(each: Given) -> bool:
    return each.gradient is not None and each.gradient.shape == shape_of(each.node._data)


def _is_finite(x: Any) -> bool:
    return bool(np.all(np.isfinite(x)))


def _compared(given: Any, right: Any, margin: Margin) -> tuple[bool, float | None, int, Place | None]:
    """Whether it is exact, the largest difference, how many elements differ, and the first that does."""
    if given is None or given.shape != right.shape:
        return False, None, right.size, None
    exact = bool(np.array_equal(given, right, equal_nan=True))
    with np.errstate(all="ignore"):
        gap = np.abs(np.asarray(given, float) - right)
    gap = np.where(np.asarray(given == right) | (np.isnan(given) & np.isnan(right)), 0.0, gap)
    difference = float(np.max(np.where(np.isnan(gap), np.inf, gap), initial=0.0))
    apart = margin.apart(given, right)
    count = int(np.sum(apart))
    if not count:
        return exact, difference, 0, None
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(np.reshape(apart, -1))), right.shape))
    return exact, difference, count, Place(index, float(given[index]), float(right[index]))
