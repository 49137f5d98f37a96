"""What NumPy's users expect of a value: its functions record, arrays stand on either side, gradients are not cut."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit import Parameter, Value
from backlit.core.errors import ConversionError, DtypeError, GraphError
from backlit.core.value import is_active

A = np.asarray([0.5, -1.5, 2.0])
M = np.asarray([[1.1, 2.2, -1.0], [0.5, 3.0, 4.0]])


def gradient_by_nudging(function: Callable[[Any], Any], x: Any) -> Any:
    """Central differences of a function of NumPy's, run by NumPy."""
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-6
        gradient[place] = (np.sum(function(x + step)) - np.sum(function(x - step))) / 2e-6
    return gradient


# -- functions record ----------------------------------------------------------------------------------------

ELEMENTWISE = (
    "tanh exp expm1 sin cos tan arctan arcsinh sinh cosh square negative positive absolute abs fabs sign exp2 cbrt "
    "deg2rad radians rad2deg degrees floor ceil trunc rint reciprocal isnan isfinite isinf signbit logical_not conj "
    "real"
)


@pytest.mark.parametrize("name", ELEMENTWISE.split())
def test_elementwise_functions_record(name: str) -> None:
    function = getattr(np, name)
    for data in (A, M, A.astype("float32"), np.float64(0.7)):
        x = Value(data)
        y = function(x)
        assert isinstance(y, Value)
        assert y.op is not None
        want = function(data)
        assert y.dtype == want.dtype
        np.testing.assert_allclose(np.asarray(y.data), want, rtol=1e-5 if data.dtype == "float32" else 1e-14)
    if is_active(y) and name not in ("floor", "ceil", "trunc", "rint", "sign"):
        x = Value(A)
        function(x).sum().backward()
        np.testing.assert_allclose(x.grad, gradient_by_nudging(function, A), rtol=1e-6, atol=1e-8)


POSITIVE = "sqrt log log2 log10 log1p arccosh"


@pytest.mark.parametrize("name", POSITIVE.split())
def test_functions_of_positive_numbers_record(name: str) -> None:
    function, data = getattr(np, name), A * A + 1.0
    x = Value(data)
    y = function(x)
    np.testing.assert_allclose(y.data, function(data), rtol=1e-15)
    y.sum().backward()
    np.testing.assert_allclose(x.grad, gradient_by_nudging(function, data), rtol=1e-6)


TWO = "add subtract multiply divide true_divide power float_power maximum minimum hypot arctan2 logaddexp copysign mod"


@pytest.mark.parametrize("name", [*TWO.split(), "remainder", "floor_divide", "matmul", "dot", "outer", "inner", "vdot"])
def test_functions_of_two_arrays_take_a_value_on_either_side(name: str) -> None:
    function = getattr(np, name)
    left, right = A * A + 0.3, np.asarray([1.25, 0.75, -2.0])
    want = function(left, right)
    for a, b in ((Value(left), right), (left, Value(right)), (Value(left), Value(right))):
        y = function(a, b)
        assert isinstance(y, Value)
        assert y.dtype == want.dtype
        np.testing.assert_allclose(np.asarray(y.data), want, rtol=1e-14)


OPERATORS: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b, lambda a, b: a**b,
    lambda a, b: a // b, lambda a, b: a % b, lambda a, b: a @ b, lambda a, b: a < b, lambda a, b: a >= b,
    lambda a, b: a == b, lambda a, b: a != b,
]  # fmt: skip


@pytest.mark.parametrize("operate", OPERATORS)
def test_operators_take_arrays_on_either_side(operate: Any) -> None:
    left, right = A * A + 0.3, np.asarray([1.25, 0.75, 2.0])
    want = operate(left, right)
    for a, b in (
        (Value(left), right),
        (left, Value(right)),
        (Value(left), right.tolist()),
        (left.tolist(), Value(right)),
    ):
        y = operate(a, b)
        assert isinstance(y, Value), (type(a), type(b))
        np.testing.assert_allclose(np.asarray(y.data), want, rtol=1e-14)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.int8, np.bool_, int, float, bool])
def test_numpy_scalars_stand_on_either_side(kind: Any) -> None:
    number, s, v = kind(1), Value(2.0), Value(A)
    for y in (number * s, s * number, number + s, number / s, s / number, s**number, number - s, number < s):
        assert isinstance(y, Value)
        assert y.shape == ()
        assert y.dtype in ("float64", "bool")
    for y in (number * v, v * number, number - v):
        assert isinstance(y, Value)
        assert y.shape == (3,)
    y = number * s * number
    y.backward()
    assert s.grad == 1.0


CALLS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: np.sum(x), "sum over an axis": lambda x: np.sum(x, 0),
    "sum, kept": lambda x: np.sum(x, axis=1, keepdims=True),
    "mean": lambda x: np.mean(x), "mean over an axis": lambda x: np.mean(x, axis=1),
    "var": lambda x: np.var(x, axis=0),
    "std": lambda x: np.std(x, ddof=1), "prod": lambda x: np.prod(x, axis=1), "max": lambda x: np.max(x, 1),
    "amin": lambda x: np.amin(x), "cumsum": lambda x: np.cumsum(x), "cumsum along": lambda x: np.cumsum(x, axis=1),
    "cumprod": lambda x: np.cumprod(x, 1), "diff": lambda x: np.diff(x, axis=1),
    "diff twice": lambda x: np.diff(x, 2),
    "concatenate": lambda x: np.concatenate([x, M]), "concatenate columns": lambda x: np.concatenate((M, x), 1),
    "concatenate flat": lambda x: np.concatenate([x, x], axis=None), "stack": lambda x: np.stack([x, x], 1),
    "vstack": lambda x: np.vstack([x[0], A, x[1]]), "hstack": lambda x: np.hstack([x, x]),
    "hstack of vectors": lambda x: np.hstack([x[0], A]), "column_stack": lambda x: np.column_stack([x[0], A, x[1]]),
    "append": lambda x: np.append(x, 1.0), "append rows": lambda x: np.append(x, M, axis=0),
    "where": lambda x: np.where(x > 1, x, 0.0), "where, plain": lambda x: np.where(M > 1, x, M),
    "clip": lambda x: np.clip(x, 0.0, 2.0), "clip above": lambda x: np.clip(x, None, 2.0),
    "clip by name": lambda x: np.clip(x, a_min=0, a_max=2),
    "reshape": lambda x: np.reshape(x, (3, 2)), "reshape to a vector": lambda x: np.reshape(x, -1),
    "ravel": lambda x: np.ravel(x),
    "transpose": lambda x: np.transpose(x), "transpose axes": lambda x: np.transpose(x, (1, 0)),
    "swapaxes": lambda x: np.swapaxes(x, 0, -1),
    "moveaxis": lambda x: np.moveaxis(x, 0, 1), "expand_dims": lambda x: np.expand_dims(x, 1),
    "squeeze": lambda x: np.squeeze(x[None]),
    "broadcast_to": lambda x: np.broadcast_to(x, (4, 2, 3)), "flip": lambda x: np.flip(x, 0),
    "flip all": lambda x: np.flip(x),
    "roll": lambda x: np.roll(x, 1, 1), "roll flat": lambda x: np.roll(x, 2), "tile": lambda x: np.tile(x, (2, 1)),
    "repeat": lambda x: np.repeat(x, 2, 1), "repeat flat": lambda x: np.repeat(x, 2),
    "split": lambda x: np.split(x, 3, 1)[1],
    "pad": lambda x: np.pad(x, 1), "pad by": lambda x: np.pad(x, ((1, 0), (0, 2)), constant_values=5.0),
    "pad by reflection": lambda x: np.pad(x, 1, "reflect"), "tril": lambda x: np.tril(x, -1),
    "triu": lambda x: np.triu(x, k=1),
    "take": lambda x: np.take(x, [2, 0], 1), "take flat": lambda x: np.take(x, [5, 0]),
    "take_along_axis": lambda x: np.take_along_axis(x, np.asarray([[1], [2]]), 1), "dot": lambda x: np.dot(x, x.T),
    "dot with a stack": lambda x: np.dot(x, np.ones((2, 3, 4))), "tensordot": lambda x: np.tensordot(x, M, 2),
    "tensordot over axes": lambda x: np.tensordot(x, M, axes=([1], [1])),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, M),
    "round": lambda x: np.round(x * 1.234, 2),
    "copy": lambda x: np.copy(x), "atleast_2d": lambda x: np.atleast_2d(x[0]),
    "add.reduce": lambda x: np.add.reduce(x), "multiply.reduce": lambda x: np.multiply.reduce(x, axis=1),
    "add.accumulate": lambda x: np.add.accumulate(x, axis=1),
    "maximum.reduce": lambda x: np.maximum.reduce(x, axis=None),
    "multiply.outer": lambda x: np.multiply.outer(x, A), "full_like": lambda x: np.full_like(x, 3.0),
    "zeros_like": lambda x: np.zeros_like(x), "ones_like": lambda x: np.ones_like(x, dtype="float32"),
    "linspace": lambda x: np.linspace(0.0, x, 3), "argmax": lambda x: np.argmax(x, 1), "any": lambda x: np.any(x > 3),
    "all": lambda x: np.all(x > 3, axis=0), "count_nonzero": lambda x: np.count_nonzero(x),
    "meshgrid": lambda x: np.meshgrid(x[0], A)[0],
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_functions_of_arrays_record_and_mean_what_numpy_means(name: str) -> None:
    call = CALLS[name]
    x = Value(M)
    y, want = call(x), np.asarray(call(M))
    assert isinstance(y, Value)
    assert y.shape == want.shape
    assert y.dtype == want.dtype
    np.testing.assert_allclose(np.asarray(y.data), want, rtol=1e-14)
    if is_active(y) and name != "round":
        y.sum().backward()
        np.testing.assert_allclose(x.grad, gradient_by_nudging(call, M), rtol=1e-6, atol=1e-8)


def test_questions_are_answered_without_a_gradient() -> None:
    x = Value(M)
    assert (np.shape(x), np.ndim(x), np.size(x), np.size(x, 1)) == ((2, 3), 2, 6, 3)
    assert np.allclose(x, M)
    assert np.array_equal(x, M)
    assert np.isclose(x, M).all()
    assert np.argsort(x, axis=1).tolist() == np.argsort(M, axis=1).tolist()
    assert [each.tolist() for each in np.where(x > 2)] == [each.tolist() for each in np.where(M > 2)]
    assert [each.tolist() for each in np.nonzero(x > 2)] == [each.tolist() for each in np.nonzero(M > 2)]
    assert np.result_type(x, np.float32) == np.float64
    assert not np.iscomplexobj(x)
    assert np.mean(x > 1.0).item() == 4 / 6  # a share, such as that of right answers
    assert np.var(bl.asarray([1, 2, 3])).item() == pytest.approx(2 / 3)
    assert "1." in np.array_repr(x)


# -- what would cut a gradient is refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: np.asarray(x), lambda x: np.array(x), lambda x: np.array([x, x]), lambda x: np.array([1.0, x[0]]),
        lambda x: np.asarray(x, dtype="float32"), lambda x: np.full(3, x[0]), lambda x: np.sum([x, x]),
        lambda x: np.tanh([x[0], x[1]]), lambda x: np.random.default_rng(0).normal(x), lambda x: np.from_dlpack(x),
        lambda x: bl.Value(x * 2), lambda x: np.vectorize(math.tanh)(x), lambda x: np.arange(x[0]),
        lambda x: np.array([x[0], x[1]], dtype=object).mean(),
        lambda x: np.mean(np.array([x[0], x[1]], dtype=object)),
        lambda x: np.array([x[0], x[1]], dtype=object).std(),
        lambda x: np.average(np.array([x[0], x[1]], dtype=object)),
    ],
)  # fmt: skip
def test_silent_conversion_is_refused_with_what_to_write(convert: Any) -> None:
    with pytest.raises(ConversionError, match=r"x\.data|stack|not remember"):
        convert(Value(A))


def store(array: Any, index: Any, value: Any) -> None:
    array[index] = value


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "complex128"])
@pytest.mark.parametrize("index", [0, slice(None), [0, 1]])
def test_writing_a_value_into_a_plain_array_is_refused(dtype: str, index: Any) -> None:
    for value in (Value(2.0), Value(2.0) * 3.0):
        array = np.zeros(3, dtype)
        with pytest.raises((TypeError, ValueError)) as caught:
            store(array, index, value)
        error: BaseException | None = caught.value
        while error is not None and not isinstance(error, ConversionError):
            error = error.__cause__ or error.__context__
        assert error is not None
        assert "cut its gradient" in str(error)
        assert not array.any()
    array = np.zeros(3)
    store(array, index, bl.asarray(2.0))
    assert array.any()


def test_in_place_arithmetic_of_an_array_with_a_value_is_refused() -> None:
    for operate in (np.ndarray.__iadd__, np.ndarray.__isub__, np.ndarray.__imul__, np.ndarray.__itruediv__):
        array = A.copy()
        with pytest.raises(ConversionError, match=r"a = a \+ x"):
            operate(array, Value(A))
        np.testing.assert_array_equal(array, A)
    with pytest.raises(ConversionError, match=r"out="):
        np.add(A, Value(A), out=A.copy())


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.median(x), lambda x: np.linalg.norm(x), lambda x: np.linalg.inv(x @ x.T),
        lambda x: np.fft.fft(x),
        lambda x: np.sort(x), lambda x: np.interp(0.5, [0.0, 1.0], x[0, :2]), lambda x: np.nan_to_num(x),
        lambda x: np.sinc(x), lambda x: np.heaviside(x, 0.0), lambda x: np.add.at(M.copy(), 0, x),
        lambda x: np.savetxt("x", x),
    ],
)  # fmt: skip
def test_functions_that_do_not_record_are_refused_with_what_to_do(call: Any) -> None:
    with pytest.raises(ConversionError, match=r"does not record.*\.data.*backlit\.op"):
        call(Value(M))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.sum(x, where=M > 1), lambda x: np.min(x, initial=0.0), lambda x: np.reshape(x,
        (3, 2), order="F"),
        lambda x: np.tanh(x, where=M > 1), lambda x: np.tanh(x, dtype="float32"),
        lambda x: np.add.reduce(x, initial=5.0),
        lambda x: np.mean(x, dtype="float32"), lambda x: np.take(x, [9], mode="clip"),
    ],
)  # fmt: skip
def test_options_that_are_not_there_are_named_and_never_ignored(call: Any) -> None:
    with pytest.raises(ConversionError, match=r"takes no (where|initial|order|dtype|mode)"):
        call(Value(M))


def test_constants_convert_freely() -> None:
    for x in (bl.asarray(M), bl.asarray(M) * 2 / 2, bl.stop_gradient(Value(M))):
        np.testing.assert_array_equal(np.asarray(x), M)
        np.testing.assert_array_equal(np.array([x, x]), [M, M])
        np.testing.assert_array_equal(np.sort(x), np.sort(M))
        assert np.linalg.norm(x) == np.linalg.norm(M)
        assert np.linalg.svd(x)[1].shape == (2,)
        np.testing.assert_allclose(x, M)
        assert np.array(x).flags.writeable
    with bl.no_grad():
        np.testing.assert_array_equal(np.asarray(Value(M) + 1.0), M + 1.0)
    assert np.asarray(Value(A) > 0).tolist() == [True, False, True]
    assert np.asarray(bl.argmax(Value(A))) == 2
    assert A[bl.argmax(Value(A))] == 2.0  # an index
    assert A[Value(A) > 0].tolist() == [0.5, 2.0]  # a mask
    assert np.zeros(bl.asarray(3)).shape == (3,)
    assert list(range(bl.asarray(3))) == [0, 1, 2]


def test_a_number_can_always_be_asked_for() -> None:
    x = Value(2.0) * 3.0
    assert (float(x), int(x), complex(x), bool(x)) == (6.0, 6, 6 + 0j, True)
    assert (type(float(x)), type(int(x))) == (float, int)
    assert (math.sqrt(Value(4.0)), math.floor(Value(2.5))) == (2.0, 2)
    assert (f"{x:.2f}", f"{x:8.3g}", "%.1f" % x) == ("6.00", "       6", "6.0")  # noqa: UP031
    assert x.item() == 6.0
    assert float(Value([5.0])[0]) == 5.0
    assert Value([[5.0]]).item() == 5.0
    assert isinstance(np.float64(x), np.float64)
    numbers = [0.0]
    numbers[0] = float(x)  # on purpose, so allowed
    assert numbers == [6.0]


# -- arrays of objects ---------------------------------------------------------------------------------------


def objects(*values: Any) -> Any:
    box = np.empty(len(values), dtype=object)
    box[:] = values
    return box


def test_values_live_in_arrays_of_objects() -> None:
    a, b = Value(2.0), Value(-3.0)
    v = np.array([a, b], dtype=object)
    assert v[0] is a
    out = (np.tanh(v) * v + 2 * v - v / 4).sum()
    out.backward()
    want = [math.tanh(x) + x * (1 - math.tanh(x) ** 2) + 1.75 for x in (2.0, -3.0)]
    assert [a.grad, b.grad] == pytest.approx(want)


@pytest.mark.parametrize(
    "function",
    [
        lambda v: v.sum(), lambda v: np.sum(v), lambda v: v @ v, lambda v: np.dot(v, v), lambda v: v.prod(),
        lambda v: (np.asarray([[1.0, 2.0], [3.0, 4.0]]) @ v).sum(), lambda v: np.dot(np.eye(2), v)[1],
        lambda v: (v**2).sum(), lambda v: np.cumsum(v)[1], lambda v: np.outer(v, v).sum(), lambda v: np.max(v),
        lambda v: np.exp(v).sum(), lambda v: np.sqrt(v * v + 1).sum(), lambda v: np.sin(v)[0] * np.cos(v)[1],
        lambda v: np.arctan(v).sum(), lambda v: np.arctan2(v, 1.0)[0], lambda v: np.hypot(v, 1.0)[1],
        lambda v: np.abs(v).sum(),
        lambda v: np.log(v * v).sum(), lambda v: np.logaddexp.outer(0.0, 1.0) * v[0], lambda v: np.polyval(v, 2.0),
        lambda v: (v - v[::-1])[0], lambda v: np.concatenate([v, v]).sum(), lambda v: np.where(v > 0, v, 0 * v).sum(),
        lambda v: np.einsum("i,i->", v, v), lambda v: np.diff(v)[0], lambda v: np.trace(np.outer(v, v)),
    ],
)  # fmt: skip
def test_numpy_computes_with_arrays_of_values(function: Any) -> None:
    numbers = np.asarray([2.0, 0.75])
    a, b = Value(2.0), Value(0.75)
    y = function(np.array([a, b], dtype=object))
    assert isinstance(y, Value)
    assert y.data == pytest.approx(float(function(numbers)))
    y.backward()
    got = [0.0 if x.grad is None else x.grad for x in (a, b)]
    np.testing.assert_allclose(got, gradient_by_nudging(function, numbers), rtol=1e-6, atol=1e-9)


def test_a_value_beside_an_array_of_objects_on_either_side() -> None:
    a, b, s = Value(2.0), Value(-3.0), Value(5.0)
    v = objects(a, b)
    for result, want in (
        (s * v, [10.0, -15.0]), (v * s, [10.0, -15.0]), (s - v, [3.0, 8.0]), (v - s, [-3.0, -8.0]),
        (s / v, [2.5, -5 / 3]),
        (v**s, [32.0, -243.0]), (s**v, [25.0, 1 / 125]), (np.maximum(s, v), [5.0, 5.0]),
    ):  # fmt: skip
        assert result.dtype == object
        assert [x.data for x in result] == pytest.approx(want)
        assert all(isinstance(x, Value) for x in result)
    assert (s > v).tolist() == [True, True]
    total = (s * v).sum()
    total.backward()
    assert (s.grad, a.grad, b.grad) == (-1.0, 5.0, 5.0)
    v += s
    assert [x.data for x in v] == [7.0, 2.0]


def test_a_value_with_axes_beside_an_array_of_objects_makes_one_value() -> None:
    a, b = Value(2.0), Value(-3.0)
    x = Value([1.0, 10.0])
    for y in (x * objects(a, b), objects(a, b) * x, np.multiply(objects(a, b), x)):
        assert isinstance(y, Value)
        assert y.tolist() == [2.0, -30.0]
    y.sum().backward()
    assert (a.grad, b.grad, x.grad.tolist()) == (1.0, 10.0, [2.0, -3.0])


def test_one_value_is_made_of_an_array_of_values_and_back() -> None:
    a, b = Value(2.0), Value(-3.0)
    for x in (
        bl.asarray(objects(a, b)),
        bl.stack(objects(a, b)),
        bl.asarray([a, b]),
        bl.stack([a, b]),
        np.stack([a, b]),
    ):
        assert isinstance(x, Value)
        assert x.tolist() == [2.0, -3.0]
    (x * x).sum().backward()
    assert (a.grad, b.grad) == (4.0, -6.0)
    box = np.array(Value([1.0, 2.0]), dtype=object)
    assert box.shape == (2,)
    assert [each.data for each in box] == [1.0, 2.0]
    assert np.array(a, dtype=object)[()] is a


# -- what a user writes may change later ---------------------------------------------------------------------


def test_arrays_of_the_user_are_copied() -> None:
    mine = np.asarray([1.0, 2.0])
    hidden = np.broadcast_to(mine, (2, 2))  # read-only, but `mine` is not
    x, y, w = Value(mine), Value(hidden), Value([1.0, 1.0])
    z = w * mine + w * hidden[0]
    mine[0] = 9.0
    assert x.data.tolist() == [1.0, 2.0]
    assert y.data.tolist() == [[1.0, 2.0], [1.0, 2.0]]
    z.sum().backward()
    assert w.grad.tolist() == [2.0, 4.0]


def test_numbers_that_do_not_fit_their_dtype_are_errors() -> None:
    for make in (
        lambda: bl.asarray(300, dtype="int8"), lambda: bl.asarray([1, -1], dtype="uint8"), lambda: Value(1j,
        dtype="float64"),
        lambda: bl.asarray([1.0, math.nan], dtype="int64"), lambda: bl.full(2, 300, dtype="int8"),
        lambda: bl.asarray(2**63),
        lambda: bl.asarray("12", dtype="int64"), lambda: bl.full(2, 1j, dtype="float32"), lambda: bl.ones(2,
        dtype="int8") + 300,
    ):  # fmt: skip
        with pytest.raises(DtypeError, match=r"\w"):
            make()
    assert bl.asarray([2**64 - 1, 0], dtype="uint64").data[0] == 2**64 - 1
    assert bl.asarray([0, 1, 2**64 - 1], dtype="uint64").tolist() == [0, 1, 2**64 - 1]


# -- copies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_variables_and_constants_are_copied_as_what_they_are(again: Any) -> None:
    for x in (Value(2.5), Value(M, name="m"), Value(A.astype("float32")), Parameter(A, name="w"), Value([1, 2])):
        twin = again(x)
        assert twin is not x
        assert type(twin) is type(x)
        assert (twin.dtype, twin.shape, twin.name) == (x.dtype, x.shape, x.name)
        assert twin.tolist() == x.tolist()
        assert is_active(twin) == is_active(x)
    for x in (
        bl.asarray(M),
        bl.asarray(2.0) + 1.0,
        bl.ones(3, dtype="int8"),
        Value(A) > 0,
        bl.asarray(1j),
        bl.zeros((0, 2)),
    ):
        twin = again(x)
        assert not is_active(twin)
        assert (twin.dtype, twin.shape) == (x.dtype, x.shape)
        assert twin.tolist() == x.tolist()
    with pytest.raises(GraphError, match="computed"):
        again(Value(2.0) * 2.0)
    model = {"w": Parameter(A), "b": [Value(0.0)]}
    twin = again(model)
    twin["w"].data = A + 1
    assert model["w"].data.tolist() == A.tolist()
    shared = Value(1.0)
    pair = again([shared, shared])
    assert pair[0] is pair[1]


def test_the_numbers_of_a_value_are_ordinary_but_read_only() -> None:
    x = Value(M)
    assert isinstance(x.data, np.ndarray)
    assert type(x.data + 1) is np.ndarray
    assert isinstance(x.data.sum(), np.float64)
    assert x.data.copy().flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        x.data[0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        x.data.fill(0.0)
    assert pickle.loads(pickle.dumps(x.data)).tolist() == M.tolist()
