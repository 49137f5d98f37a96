import math
from typing import Any

import numpy as np
import pytest

from backlit import Value
from backlit.core import dtypes
from backlit.core.errors import DomainError, DtypeError
from backlit.core.notation import ATOM, Written, write_latex, write_text
from backlit.core.op import Constant
from backlit.ops import logic
from backlit.ops.arithmetic import ADD

INF, NAN = math.inf, math.nan
FLOATS = [-INF, -1.0, -0.0, 0.0, 1.0, 1.5, INF, NAN]
COMPARISONS = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]


@pytest.mark.parametrize("name", [*COMPARISONS, "logical_and", "logical_or", "logical_xor"])
def test_two_numbers_give_a_truth_value_as_in_numpy(name: str) -> None:
    x, y = np.asarray(FLOATS)[:, None], np.asarray(FLOATS)
    found = getattr(logic, name)(Value(x), Value(y))
    assert found.dtype == dtypes.bool
    np.testing.assert_array_equal(found.data, getattr(np, name)(x, y))
    for a in FLOATS:
        for b in FLOATS:
            assert getattr(logic, name)(Value(a), b).data is bool(getattr(np, name)(a, b))


@pytest.mark.parametrize("name", ["isfinite", "isinf", "isnan", "signbit", "logical_not"])
def test_one_number_gives_a_truth_value_as_in_numpy(name: str) -> None:
    found = getattr(logic, name)(Value(FLOATS))
    assert found.dtype == dtypes.bool
    np.testing.assert_array_equal(found.data, getattr(np, name)(np.asarray(FLOATS)))
    assert getattr(logic, name)(Value(-1.0)).dtype == dtypes.bool
    assert getattr(logic, name)(Value(np.zeros((0, 2)))).shape == (0, 2)


def test_a_complex_number_is_infinite_if_one_of_its_parts_is() -> None:
    z = Value([complex(INF, 0), complex(0, NAN), 1 + 1j])
    assert logic.isinf(z).data.tolist() == [True, False, False]
    assert logic.isnan(z).data.tolist() == [False, True, False]
    assert logic.isfinite(z).data.tolist() == [False, False, True]


def test_whole_numbers_are_finite() -> None:
    assert logic.isfinite(Value(np.asarray([1, 2]))).data.tolist() == [True, True]
    assert logic.isnan(Value(np.asarray([True]))).data.tolist() == [False]


def test_large_integers_are_compared_exactly() -> None:
    big = Value(np.asarray([2**63 - 1]))
    assert logic.less(big, Value(np.asarray([2**63], np.uint64))).data.tolist() == [True]


@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_or", "bitwise_xor"])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "uint64"])
def test_bits_of_two(name: str, dtype: str) -> None:
    x, y = np.asarray([0, 1, 1, 6]).astype(dtype), np.asarray([1, 0, 1, 3]).astype(dtype)
    found = getattr(logic, name)(Value(x), Value(y))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.data, getattr(np, name)(x, y))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64"])
def test_bits_inverted(dtype: str) -> None:
    x = np.asarray([0, 1, 6]).astype(dtype)
    np.testing.assert_array_equal(logic.bitwise_invert(Value(x)).data, ~x)


def test_shifts() -> None:
    x = Value(np.asarray([1, -8, 5], np.int8))
    assert logic.bitwise_left_shift(x, 2).data.tolist() == [4, -32, 20]
    assert logic.bitwise_right_shift(x, 1).data.tolist() == [0, -4, 2]
    assert logic.bitwise_left_shift(x, 2).dtype == dtypes.int8
    assert logic.bitwise_left_shift(x, 7).data.tolist() == [-128, 0, -128]


def test_a_negative_shift_is_refused() -> None:
    with pytest.raises(DomainError, match="0 bits or more, and x2 holds -2"):
        logic.bitwise_left_shift(Value(np.asarray([1, 2])), Value(np.asarray([1, -2])))


def test_bits_of_floats_are_refused() -> None:
    with pytest.raises(DtypeError, match="bitwise_and: not defined for float64 and int64"):
        logic.bitwise_and(Value(1.5), Value(np.asarray([1])))


def test_no_gradient_flows_through_logic() -> None:
    x = Value([1.0, 2.0])
    (x * (x > 1.5)).backward([1.0, 1.0])
    np.testing.assert_array_equal(x.grad, [0.0, 1.0])


def written(op: Constant, *operands: Written) -> tuple[str, str]:
    assert op.notation is not None
    return write_text(op.notation, operands, {})[0], write_latex(op.notation, operands, {})[0]


def nested(outer: Constant, inner: Any) -> tuple[str, str]:
    """(a inner b) outer c, as text and LaTeX."""
    pair = [("a", ATOM), ("b", ATOM)]
    text = write_text(outer.notation, [write_text(inner.notation, pair, {}), ("c", ATOM)], {})[0]  # type: ignore[arg-type]
    latex = write_latex(outer.notation, [write_latex(inner.notation, pair, {}), ("c", ATOM)], {})[0]  # type: ignore[arg-type]
    return text, latex


def test_operators_are_written_between_their_operands() -> None:
    a, b = ("a", ATOM), ("b", ATOM)
    assert written(logic.LESS_EQUAL, a, b) == ("a <= b", r"a \leq b")
    assert written(logic.NOT_EQUAL, a, b) == ("a != b", r"a \neq b")
    assert written(logic.BITWISE_AND, a, b) == ("a & b", r"a \mathbin{\&} b")
    assert written(logic.LOGICAL_AND, a, b) == ("logical_and(a, b)", r"a \land b")
    assert written(logic.BITWISE_INVERT, a) == ("~a", r"{\sim}a")


@pytest.mark.parametrize("outer", [op for op in vars(logic).values() if isinstance(op, Constant)], ids=str)
@pytest.mark.parametrize(
    "inner",
    [logic.LESS, logic.EQUAL, logic.BITWISE_OR, logic.BITWISE_AND, logic.BITWISE_LEFT_SHIFT, ADD],
    ids=str,
)
def test_parentheses_are_where_python_needs_them(outer: Constant, inner: Any) -> None:
    if len(outer.domains) != 2:
        return
    text, _ = nested(outer, inner)
    names = {name: getattr(logic, name) for name in ("logical_and", "logical_or", "logical_xor")}
    a, b, c = (Value(np.asarray(n)) for n in (6, 3, 5))
    right = outer(inner(a, b), c)
    assert eval(text, {"a": a, "b": b, "c": c, **names}).data == right.data


def test_comparisons_are_not_chained_and_logic_is_looser_than_they_are() -> None:
    assert nested(logic.LESS, logic.LESS) == ("(a < b) < c", r"\left(a < b\right) < c")
    assert nested(logic.LOGICAL_AND, logic.LESS)[1] == r"a < b \land c"
    assert nested(logic.LOGICAL_AND, logic.LOGICAL_OR)[1] == r"\left(a \lor b\right) \land c"
    assert nested(logic.LOGICAL_OR, logic.LOGICAL_AND)[1] == r"a \land b \lor c"
