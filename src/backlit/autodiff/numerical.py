"""Derivatives by nudging: move an input a little, see how far the output moves.

Slow and inexact, but it knows no rules, so it can judge them.

The step is never fixed: it follows the precision of the numbers and the size of each element, and is one
that the element can really take, so that (x + h) - x == h. How the error bar comes about is told in
`slopes`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial, wraps
from itertools import islice
from typing import Any

import numpy as np

from backlit.autodiff.reverse import seed_for
from backlit.autodiff.slopes import (
    FIRST,
    Floats,
    Line,
    Moved,
    Slope,
    length_of,
    rounding_of,
    scale_of,
    shift,
    slope,
)
from backlit.core import dtypes
from backlit.core.errors import BacklitError, DomainError, DtypeError, GraphError
from backlit.core.numbers import as_data, dtype_of, quietly, shape_of, stored
from backlit.core.op import Op, Special
from backlit.core.record import as_constant
from backlit.core.state import mode
from backlit.core.trees import Rebuild, flatten, paths
from backlit.core.value import Value, current, leaf

Tree = Any
METHODS = ("forward", "central", "richardson")
_ORDER = {"forward": 1, "central": 2}
_OUTSIDE = (ArithmeticError, DomainError)  # what a function may raise where it is not defined


class Call:
    """A call of a function taken apart: the numbers that vary, and the function of these alone.

    datas, names: the numbers, as they are stored, and how a reader would call them. Raises DtypeError for
    what cannot vary by a little, GraphError for an argument that is not there.
    """

    def __init__(
        self,
        caller: str,
        f: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        argnums: int | Sequence[int],
    ) -> None:
        wanted = [argnums] if isinstance(argnums, int) else list(argnums)
        for n in wanted:
            if not -len(args) <= n < len(args):
                raise GraphError(
                    f"{caller}: argnums={argnums!r} names argument {n}, but the function was called with "
                    f"{len(args)} positional argument{'s' * (len(args) != 1)}."
                )
        self.caller, self.f, self.args, self.kwargs = caller, f, list(args), kwargs
        self.positions = [n % len(args) for n in wanted]
        self.datas: list[Any] = []
        self.names: list[str] = []
        self.lengths: list[int] = []
        self.rebuilds: list[Rebuild] = []
        roots = argument_names(f, args)
        for n in self.positions:
            leaves, rebuild = flatten(args[n])
            self.datas += [
                real_data(caller, x, path) for x, path in zip(leaves, paths(args[n], f"argument {n}"), strict=True)
            ]
            self.names += [
                (x.name or path) if isinstance(x, Value) else path
                for x, path in zip(leaves, paths(args[n], roots[n]), strict=True)
            ]
            self.lengths.append(len(leaves))
            self.rebuilds.append(rebuild)

    def of(self, nodes: Iterable[Value]) -> Tree:
        """What the function gives for these nodes in place of the numbers that vary."""
        filled, source = list(self.args), iter(nodes)
        for n, length, rebuild in zip(self.positions, self.lengths, self.rebuilds, strict=True):
            filled[n] = rebuild(islice(source, length))
        return self.f(*filled, **self.kwargs)

    def at(self, datas: Iterable[Any]) -> Tree:
        """What the function gives for other numbers, on new nodes to which no gradient flows.

        Not within `no_grad`, because the function may itself take derivatives.
        """
        return self.of(leaf(data, active=False) for data in datas)

    def arranged(self, leaves: Sequence[Any]) -> list[Tree]:
        """One leaf for each number that varies, in the structure of the arguments."""
        source = iter(leaves)
        return [rebuild(islice(source, length)) for length, rebuild in zip(self.lengths, self.rebuilds, strict=True)]


def argument_names(f: Callable[..., Any], args: Sequence[Any]) -> list[str]:
    """What the function calls its positional arguments; their numbers where it cannot be asked.

    >>> argument_names(lambda x, *more: x, [1.0, 2.0])
    ['x', 'more[0]']
    """
    names: list[str] = []
    try:
        for name, parameter in inspect.signature(f).parameters.items():
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                names += [f"{name}[{i}]" for i in range(len(args) - len(names))]
            elif parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                names.append(name)
    except (TypeError, ValueError):
        pass
    return names[: len(args)] + [f"argument {n}" for n in range(len(names), len(args))]


def real_data(caller: str, x: Any, path: str) -> Any:
    """The stored data of an argument that is to vary. Raises DtypeError if it cannot."""
    if isinstance(x, Value):
        x.data  # noqa: B018  # a traced value says here that it has no number
        data = current(x)._data
    else:
        try:
            data = as_data(x)
        except BacklitError as error:
            raise DtypeError(f"{caller}: {path} cannot be nudged: {error}") from error
    if not dtypes.is_real(dtype_of(data)) or isinstance(x, bool):
        raise DtypeError(
            f"{caller}: {path} has dtype {'bool' if isinstance(x, bool) else dtype_of(data).name}, and only "
            "real numbers "
            "(float16, float32, float64) can be nudged by a little. Convert it (backlit.astype(x, "
            "backlit.float64)), or "
            "leave it out of argnums."
        )
    return data


def real_outputs(tree: Tree) -> list[Any]:
    """The real numbers and arrays that a function gave, as they are stored; whole numbers are left out."""
    found = []
    for y in flatten(tree)[0]:
        data = current(y)._data if isinstance(y, Value) else stored(y)
        if type(data) is float or (isinstance(data, (np.ndarray, np.generic)) and dtypes.is_real(data.dtype)):
            found.append(data)
    return found


class Nudged:
    """A function of several arrays around the point at which it is to be nudged.

    evaluate: from the stored arrays to a list of results. weights: where they are given, not each result is
    followed but the sum of all, so weighted. epsilon: the coarsest rounding that takes part within the
    function.
    """

    def __init__(
        self,
        evaluate: Callable[[list[Any]], Sequence[Any]],
        datas: Sequence[Any],
        weights: Sequence[Any] | None = None,
        epsilon: float = 0.0,
    ) -> None:
        self.evaluate, self.datas = evaluate, list(datas)
        self.weights = None if weights is None else _flat(weights)
        self.base, (own, _) = self._results(self.datas)
        given = [float(np.finfo(dtype_of(x)).eps) for x in datas]
        self.epsilon = max([own, *given, epsilon])
        self.tolerance = max(16 * self.epsilon, min(4096 * self.epsilon, 1e-4))  # of a derivative, not worth a word
        self.size = float(np.sum(np.abs(self.base if self.weights is None else self.weights * self.base)))
        self.first = max(FIRST, 1.6 * self.epsilon**0.2)  # coarse numbers need long steps

    def _results(self, datas: list[Any]) -> tuple[Floats, tuple[float, float]]:
        results = self.evaluate(datas)
        kinds = [np.finfo(dtype_of(y)) for y in results]
        coarsest, smallest = (
            max((float(k.eps) for k in kinds), default=0.0),
            (float(k.smallest_subnormal) for k in kinds),
        )
        return _flat(results), (coarsest, max(smallest, default=0.0))

    def _moved(self, datas: list[Any], at: float) -> Moved:
        try:
            y, (epsilon, least) = quietly(self._results, datas)
        except _OUTSIDE:
            y, epsilon, least = self.base * math.nan, 0.0, 0.0
        if y.shape != self.base.shape:
            y = self.base * math.nan
        change, rounding = y - self.base, np.maximum(np.abs(y) * (epsilon / 2), least)
        if self.weights is not None:
            change = np.atleast_1d(np.dot(self.weights, change))
            rounding = np.atleast_1d(length_of(self.weights * rounding))
        return Moved(at, change, rounding)

    def element(self, k: int, index: int) -> Line:
        """The line along which one element of one array moves."""
        x = self.datas[k]

        def line(h: float) -> Moved:
            if type(x) is not np.ndarray:
                moved, at = shift(x, h)
            else:
                moved = x.copy()
                moved.reshape(-1)[index], at = shift(x.reshape(-1)[index], h)
            return self._moved([*self.datas[:k], moved, *self.datas[k + 1 :]], at)

        return line

    def direction(self, vs: Sequence[Any]) -> Line:
        """The line along which all arrays move at once; None for one that stays."""

        def line(h: float) -> Moved:
            moved = [x if v is None else _stepped(x, v, h) for x, v in zip(self.datas, vs, strict=True)]
            stays = all(np.array_equal(a, b) for a, b in zip(moved, self.datas, strict=True))
            return self._moved(moved, 0.0 if stays else h)

        return line

    def noise(self, vs: Sequence[Any]) -> Floats:
        """The spread of the rounding error of the results: the larger of two measurements.

        Where the results jitter far more than rounding could explain, the function itself varies on the
        finest scale, and the jitter is no noise. vs: a direction about as long as the arrays it moves.
        Cost: 12 evaluations.
        """
        return self._noise(self.direction(vs), 1.0, True)

    def element_noise(self, k: int, index: int) -> Floats:
        """The same where one element alone moves, which it does exactly."""
        x = self.datas[k]
        return self._noise(self.element(k, index), scale_of(x if shape_of(x) == () else x.reshape(-1)[index]), False)

    def _noise(self, line: Line, scale: float, moves_all: bool) -> Floats:
        first = np.zeros(1) if self.weights is not None else np.zeros_like(self.base)
        spacing = 64 * self.epsilon * scale
        jitter = rounding_of(np.stack([first, *(quietly(line, spacing * k).change for k in range(1, 9))]))
        shaking = quietly(self._shaking, moves_all)
        noise: Floats = np.where(jitter > 300 * shaking, shaking, np.maximum(jitter, shaking))
        return noise

    def _shaking(self, moves_all: bool) -> Floats:
        """How much the results change where operations, and elements that move, round a little differently."""
        found = np.zeros(1) if self.weights is not None else np.zeros_like(self.base)
        for seed in range(4):
            datas = _rounded(self.datas, seed) if moves_all else self.datas
            moved = shaken(partial(self._moved, datas, 0.0), seed)
            found = np.fmax.reduce(
                [found, np.where(np.isfinite(moved.change), np.abs(moved.change), 0.0), moved.rounding]
            )
        return found

    def slope_at(self, line: Line, scale: float, noise: Floats | float) -> tuple[Slope, Slope]:
        """The slope along a line whose natural length is `scale`, and what was found on that length alone.

        Where that is short and rounding drowns it, the slope is tried from a length of one as well.
        """
        natural = slope(line, self.first * scale, noise)
        if scale >= 1 or np.all(natural.error <= 1e-6 * natural.secant):
            return natural, natural
        other = slope(line, self.first, noise)
        return (other if np.all(other.error <= natural.error) else natural), natural


def _flat(results: Sequence[Any]) -> Floats:
    parts = [np.asarray(y, np.float64).reshape(-1) for y in results]
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0)


def _stepped(x: Any, v: Any, h: float) -> Any:
    return stored(np.asarray(np.asarray(x, np.float64) + h * np.asarray(v, np.float64)).astype(dtype_of(x)))


def _rounded(datas: Sequence[Any], seed: int) -> list[Any]:
    """The arrays as if they had been rounded a little differently, as they are when all elements move at once."""
    rng = np.random.default_rng(seed)
    rounded = []
    for x in datas:
        off = float(np.finfo(dtype_of(x)).eps) * rng.uniform(-0.5, 0.5, shape_of(x))
        rounded.append(x if np.size(x) == 1 else stored((np.asarray(x, np.float64) * (1 + off)).astype(dtype_of(x))))
    return rounded


def scales_of(x: Any) -> Floats:
    """A length for each element on which it may be nudged together with the others.

    Its size, but no less than a hundredth of their mean size; 1 if all are zero.

    >>> scales_of(np.array([3.0, -4.0, 0.0])).round(3), scales_of(0.0)
    (array([3.   , 4.   , 0.029]), array(1.))
    """
    size = np.abs(np.asarray(x, np.float64))
    size = np.where(np.isfinite(size), size, 0.0)
    largest = float(np.max(size, initial=0.0))
    if largest == 0:
        return np.ones(size.shape)
    typical = length_of(size.reshape(-1)) / math.sqrt(size.size)
    return np.maximum(size, max(typical / 100, 16 * float(np.finfo(dtype_of(x)).smallest_normal)))


class _Precision:
    """Watches a function being evaluated: the coarsest real dtype that takes part in it."""

    def __init__(self) -> None:
        self.epsilon = 0.0

    def __call__(self, node: Value) -> None:
        dtype = node.dtype
        if dtypes.is_real(dtype):
            self.epsilon = max(self.epsilon, float(np.finfo(dtype).eps))


def precision_of(evaluate: Callable[[], Any]) -> tuple[Any, float]:
    """What a function gives, and the coarsest rounding (machine epsilon) among its operations."""
    watch = _Precision()
    with mode(watch=watch):
        return evaluate(), watch.epsilon


class _Shaker:
    """Watches a function being evaluated and changes each rounded result by another rounding error."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def __call__(self, node: Value) -> None:
        op, data = node._op, node._data
        dtype = dtype_of(data)
        if not dtypes.is_real(dtype) or op is None or isinstance(op, Special) or is_exact(op):
            return
        error = 1 + float(np.finfo(dtype).eps) * self.rng.uniform(-1, 1, shape_of(data))
        node._data = stored(np.asarray(np.asarray(data, np.float64) * error).astype(dtype))


def is_exact(op: Op) -> bool:
    """Whether the results of an op are some of its operands: nothing is rounded, and its rule may compare the two."""
    return bool(getattr(op, "selects", False) or getattr(op, "moves", False)) and op.name != "sum"


def shaken(evaluate: Callable[[], Any], seed: int) -> Any:
    """What a function gives when each of its operations rounds a little differently.

    By how much the result differs is what rounding does to it. Source: Parker 1997, Monte Carlo Arithmetic.
    """
    with mode(watch=_Shaker(np.random.default_rng(seed))):
        return evaluate()


def numerical_grad(
    f: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    method: str = "richardson",
    step: float | None = None,
    return_error: bool = False,
) -> Callable[..., Any]:
    """The function that gives the gradient of a scalar `f` by nudging its arguments one element at a time.

    The result has the structure of the argument, as that of `grad`. method: "forward" (f(x+h) - f(x))/h;
    "central" (f(x+h) - f(x-h))/2h; "richardson" shrinks the step and extrapolates to a step of zero. step:
    the length of the step (for "richardson" of the longest), if not the one found for the dtype and size of
    each element. return_error: give `(gradient, error)`, the error bars as float64 in the same structure.

    Cost, for n elements: n + 1 evaluations of `f` for "forward" and 2n + 1 for "central", twice that with
    errors; for "richardson" usually 14 + 8n to 14 + 16n. An element much smaller than 1 whose own size is too short a
    step is tried twice. Raises ShapeError if `f` is not scalar, DtypeError for integers, ValueError for an
    unknown method. Source: Ridders 1982; see `slopes`.

    >>> gradient, error = numerical_grad(lambda x: (x * x * x).sum(), return_error=True)(np.array([1.0, 2.0]))
    >>> gradient.data.round(9), bool((error.data < 1e-9).all())
    (array([ 3., 12.]), True)
    """
    if method not in METHODS:
        raise ValueError(f"numerical_grad: method={method!r} is not known; choose one of {', '.join(METHODS)}.")
    if step is not None and not (step > 0 and math.isfinite(step)):
        raise ValueError(f"numerical_grad: step={step!r} must be a finite number above 0.")

    @wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        call = Call("numerical_grad", f, args, kwargs, argnums)

        def evaluate(datas: list[Any]) -> list[Any]:
            return [_scalar(call, call.at(datas))]

        _, epsilon = precision_of(lambda: evaluate(call.datas))
        nudged = Nudged(evaluate, call.datas, epsilon=epsilon)
        noise = nudged.noise(_anywhere(call.datas)) if method == "richardson" else np.zeros(1)
        values, errors = [], []
        for k, x in enumerate(call.datas):
            flat = np.asarray(x).reshape(-1)
            pairs = [_element(nudged, k, i, method, step, noise, return_error) for i in range(flat.size)]
            found = np.array(pairs, np.float64).reshape(flat.size, 2)
            values.append(_shaped(found[:, 0].astype(flat.dtype), x))
            errors.append(_shaped(found[:, 1].copy(), x))
        gradients, bars = call.arranged(values), call.arranged(errors)
        if isinstance(argnums, int):
            return (gradients[0], bars[0]) if return_error else gradients[0]
        return (tuple(gradients), tuple(bars)) if return_error else tuple(gradients)

    return gradient


def _scalar(call: Call, y: Any) -> Any:
    """The one real number that a function gave."""
    if not isinstance(y, Value):
        if not isinstance(y, (float, int, np.ndarray, np.generic)):
            raise GraphError(
                f"{call.caller}: the function returned {type(y).__name__} {y!r:.60}; it must return one value."
            )
        y = as_constant(float(y) if isinstance(y, int) else y)
    seed_for(y, None, call.caller)
    return current(y)._data


def _anywhere(datas: Sequence[Any]) -> list[Any]:
    """A direction along which every element moves by about its own size."""
    rng = np.random.default_rng(0)
    return [
        np.where(rng.random(shape_of(x)) < 0.5, -1, 1) * rng.uniform(0.5, 1, shape_of(x)) * scales_of(x) for x in datas
    ]


def _shaped(flat: Any, like: Any) -> Value:
    return leaf(stored(flat.reshape(shape_of(like))), active=False)


def _element(
    nudged: Nudged, k: int, index: int, method: str, step: float | None, noise: Floats, with_error: bool
) -> tuple[float, float]:
    """The partial derivative by one element and a bar for its error."""
    line = nudged.element(k, index)
    x = nudged.datas[k] if type(nudged.datas[k]) is not np.ndarray else nudged.datas[k].reshape(-1)[index]
    if method == "richardson":
        found = nudged.slope_at(line, scale_of(x), noise)[0] if step is None else slope(line, step, noise)
        return float(found.value[0]), float(found.error[0])
    return quietly(_simple, nudged, line, x, _ORDER[method], step, with_error)  # type: ignore[no-any-return]


def _simple(
    nudged: Nudged, line: Line, x: Any, order: int, step: float | None, with_error: bool
) -> tuple[float, float]:
    """A forward (order 1) or central (order 2) difference."""
    relative = nudged.epsilon ** (1 / (order + 1))
    steps = (
        [step]
        if step is not None
        else [relative * scale for scale in dict.fromkeys((scale_of(x), max(scale_of(x), 1.0)))]
    )
    found = (math.nan, math.inf)
    for h in steps:
        value, rounding = _quotient(line, h, order)
        error = rounding + abs(_quotient(line, 2 * h, order)[0] - value) if with_error else rounding
        if math.isnan(found[0]) or error < found[1]:
            found = value, error
        if rounding <= 0.01 * abs(value):
            break
    return found


def _quotient(line: Line, h: float, order: int) -> tuple[float, float]:
    """A difference quotient, and the rounding error to be expected in it."""
    up = line(h)
    change, at, rounding = up.change, up.at, up.rounding
    if order == 2:
        down = line(-h)
        change, at, rounding = change - down.change, at - down.at, np.maximum(rounding, down.rounding)
    if at == 0:
        return math.nan, math.inf
    return float(change[0] / at), float(2 * rounding[0] / at)


def numerical_jvp(f: Callable[..., Any], primals: Sequence[Tree], tangents: Sequence[Tree]) -> tuple[Tree, Tree]:
    """`(tangent, error)`: the derivative of `f` along the tangents by nudging, and a bar for its error.

    primals, tangents: tuples of the same structure. Both results have that of the output, whose leaves must
    be real. Cost: about 20 to 30 evaluations of `f`, however many elements there are.

    >>> t, error = numerical_jvp(lambda a, b: a * b, (2.0, 5.0), (1.0, 0.0))
    >>> round(t.data, 9), error.data < 1e-9
    (5.0, True)
    """
    call = Call("numerical_jvp", f, primals, {}, range(len(primals)))
    vs = [np.asarray(current(t)._data if isinstance(t, Value) else t, np.float64) for t in flatten(list(tangents))[0]]
    if [v.shape for v in vs] != [shape_of(x) for x in call.datas]:
        raise GraphError(
            f"numerical_jvp: the primals have shapes {[shape_of(x) for x in call.datas]} and the tangents "
            f"{[v.shape for v in vs]}; they must be the same."
        )
    y, epsilon = precision_of(lambda: call.at(call.datas))
    leaves, rebuild = flatten(y)
    outputs = real_outputs(y)
    if len(outputs) != len(leaves):
        raise DtypeError(
            "numerical_jvp: the function returned something other than real numbers, which has no derivative."
        )
    nudged = Nudged(lambda datas: real_outputs(call.at(datas)), call.datas, epsilon=epsilon)
    size, length = length_of(_flat(call.datas)), length_of(_flat(vs))
    if length == 0:
        found = slope(nudged.direction(vs), 1.0)
    else:
        unit = [v / length * (size or 1.0) for v in vs]
        found, _ = nudged.slope_at(nudged.direction(vs), (size or 1.0) / length, nudged.noise(unit))
    return tuple(rebuild(iter(_cut(part, outputs))) for part in (found.value, found.error))


def _cut(flat: Floats, like: Sequence[Any]) -> list[Value]:
    ends = np.cumsum([np.asarray(y).size for y in like])[:-1]
    return [_shaped(part, y) for part, y in zip(np.split(flat, ends), like, strict=True)]
