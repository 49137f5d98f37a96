"""Reading expressions: Python's precedence, safe against anything, and errors that point at the place."""

from __future__ import annotations

import contextlib
import math
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backlit.core.errors import ExpressionError
from backlit.explain.expression import Expression, read_values
from backlit.explain.grammar import ARITY, MAX_DEPTH, MAX_LENGTH
from backlit.ops import namespace


def value_of(text: str, **values: object) -> object:
    return Expression.read(text).evaluate(values).output.data


def complaint(text: str, **values: object) -> str:
    with pytest.raises(ExpressionError) as caught:
        Expression.read(text).evaluate(values)
    return str(caught.value)


def marked(message: str) -> str:
    """The characters above the carets."""
    _, shown, carets, *_ = message.split("\n")
    return shown[carets.index("^") : carets.rindex("^") + 1]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("(a*b + c)*d", -8.0),
        ("a + b*c", -28.0),
        ("-a**2", -4.0),
        ("(-a)**2", 4.0),
        ("-2**2", -4.0),
        ("2**-1", 0.5),
        ("a**b**a", 512.0),
        ("a - b - c", -5.0),
        ("c/a/a", 2.5),
        ("c // 3 * 3 + c % 3", 10.0),
        ("+a", 2.0),
        ("--a", 2.0),
        ("1_000.5e-1", 100.05),
        (".5 + 1.", 1.5),
        ("0x10", 16.0),
        ("max(a, b, c)", 10.0),
        ("min(a, b, c)", -3.0),
        ("max(a)", 2.0),
        ("where(a > b, c, d)", 10.0),
        ("where(a != a, c, d)", -2.0),
        ("abs(b) + hypot(3, 4)", 8.0),
        ("tanh(0) + exp(0)", 1.0),
        ("  a\n + c ", 12.0),
    ],
)
def test_expressions_mean_what_python_says(text, result):
    assert value_of(text, a=2.0, b=-3.0 if "b**" not in text else 3.0, c=10.0, d=-2.0) == result


def test_every_function_that_may_be_called_exists():
    for name in ARITY:
        assert callable(namespace.find(name))


def test_pi_and_e_are_known_unless_given():
    assert value_of("pi * e") == math.pi * math.e
    assert value_of("pi * e", pi=2.0, e=3.0) == 6.0


def test_a_variable_may_be_called_like_a_function():
    assert value_of("exp * exp(0)", exp=3.0) == 3.0


def test_division_by_zero_is_that_of_ieee_754():
    assert value_of("1/x", x=0.0) == math.inf
    assert math.isnan(value_of("0/x", x=0.0))
    assert value_of("log(x)", x=0.0) == -math.inf


def test_each_node_knows_its_own_text():
    read = Expression.read("  (a*b + c)*dé").evaluate({"a": 1.0, "b": 1.0, "c": 1.0, "dé": 1.0})
    places = {place.text: place.column for place in read.places.values()}
    assert places == {"a": 3, "b": 5, "a*b": 3, "c": 9, "a*b + c": 3, "dé": 12, "(a*b + c)*dé": 2}


def test_inputs_come_in_the_order_given_and_only_if_used():
    read = Expression.read("a*b").evaluate({"b": 1.0, "q": 5.0, "a": 2.0})
    assert list(read.inputs) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "said", "where"),
    [
        ("", "empty", ""),
        ("   ", "empty", " "),
        ("(a*b", "`(` is never closed", "("),
        ("a*b)", "never opened", ")"),
        ("(a*b]", "does not close", "]"),
        ("a +", "something is missing", "+"),
        ("a b", "operator is missing", "b"),
        ("2a", "number runs into a name", "2"),
        ("sin a", "needs its argument in parentheses", "a"),
        ("a.real", "attribute access", "a.real"),
        ("a.b()", "attribute access", "a.b"),
        ("().__class__", "attribute access", "().__class__"),
        ("tanhh(a)", "Did you mean tanh", "tanhh"),
        ("ln(a)", "Backlit calls it log", "ln"),
        ("__import__(a)", "not a function", "__import__"),
        ("a(b)", "write a*(...)", "a"),
        ("2(a)", "only a function can be called", "2"),
        ("tanh(a, b)", "takes 1 argument, and 2 were given", "tanh(a, b)"),
        ("tanh()", "and none were given", "tanh()"),
        ("hypot(a)", "takes 2 arguments, and 1 was given", "hypot(a)"),
        ("max()", "1 argument or more", "max()"),
        ("tanh(x=a)", "by position, not by name", "x=a"),
        ("tanh(*a)", "unpack", "*a"),
        ("'a'", "quotes", "'"),
        ('f"{a}"', "quotes", '"'),
        ("a < b", "comparison", "a < b"),
        ("where(a < b < c, 1, 2)", "not chained", "a < b < c"),
        ("where(a in b, 1, 2)", "`in` does not compare", "a in b"),
        ("a if b else c", "where(condition", "a if b else c"),
        ("a and b", "`and` and `or`", "a and b"),
        ("not a", "`not` is not", "not"),
        ("~a", "`~` is not", "~"),
        ("lambda: a", "cannot be defined", "lambda: a"),
        ("[a]", "list cannot stand", "[a]"),
        ("a, b", "comma", "a, b"),
        ("{a}", "braces", "{a}"),
        ("[a for a in b]", "no place", "[a for a in b]"),
        ("a[0]", "elements cannot be picked", "a[0]"),
        ("(a := 3)", "nothing can be assigned", "a := 3"),
        ("a = 3", "`=` has no place", "="),
        ("a == 3", "comparison", "a == 3"),
        ("a ^ 2", "Write ** instead", "^"),
        ("a @ b", "vecdot", "@"),
        ("a & b", "not an operation", "&"),
        ("3j", "imaginary", "3j"),
        ("True", "not a number", "True"),
        ("None", "not a number", "None"),
        ("...", "not a number", "..."),
        ("for", "word of the language", "f"),
        ("a # b", "comment", "#"),
        ("a; b", "one expression", ";"),
        ("a × b", "Write * instead", "×"),
        ("a − b", "typographic minus", "−"),
        ("007", "cannot begin with 0", "0"),
        ("9" * 400, "too large for a float64", "9" * 72),
        ("a\0", "cannot be shown", " "),
        ("\ud800", "cannot be shown", " "),
        ("p + a", "no value was given for `p`", "p"),
        ("p + q + r", "for `p`, `q` and `r`", "p"),
    ],
)
def test_what_is_wrong_is_said_with_a_caret_under_the_place(text, said, where):
    message = complaint(text, a=1.0, b=2.0, c=3.0)
    assert said in message
    assert marked(message).strip() == where.strip()


def test_a_missing_value_is_held_against_the_values_not_used():
    assert "A value was given for `alpa`" in complaint("alpha * 2", alpa=1.0)


def test_the_caret_of_a_long_expression_stays_on_the_screen():
    message = complaint("a + " * 500 + "a.b" + " + a" * 500, a=1.0)
    assert marked(message) == "a.b"
    assert max(map(len, message.split("\n"))) < 80


def test_the_caret_stands_right_behind_wide_characters():
    _, shown, carets, *_ = complaint("変数 + x.y").split("\n")
    assert carets.index("^") == shown.index("x") + 2  # each of the two takes two columns


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000 + "a" + ")" * 10_000,
        "(" * 4_000 + "a" + ")" * 4_000,
        "tanh(" * 1_500 + "a" + ")" * 1_500,
        "-" * 9_000 + "a",
        "**".join(["a"] * 3_000),
        "a if a else " * 700 + "a",
        "lambda:" * 1_000 + "a",
        "not " * 2_000 + "a",
    ],
    ids=lambda text: f"{text[:6]}... {len(text)}",
)
def test_depth_and_length_end_in_a_clear_error(text):
    message = complaint(text, a=1.0)
    assert "\n" in message


def test_long_sums_do_not_recurse():
    assert value_of("+".join(["a"] * 1_000), a=1.0) == 1_000.0


def test_the_limits_are_those_documented():
    assert value_of("(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH, a=1.0) == 1.0
    assert "nested more than" in complaint("(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1))
    assert f"{MAX_LENGTH + 1:,} characters" in complaint("a" * (MAX_LENGTH + 1))


def test_errors_of_operations_point_at_the_operation():
    message = complaint("1 + x*y", x=[1.0, 2.0], y=[1.0, 2.0, 3.0])
    assert "do not broadcast" in message
    assert marked(message) == "x*y"


# -- values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=2", 2.0),
        ("a=-3.5e2", -350.0),
        ("a=1/3", 1 / 3),
        ("a = 2*pi", 2 * math.pi),
        ("a=exp(0)", 1.0),
        ("a=+1", 1.0),
    ],
)
def test_values_are_constant_expressions(text, value):
    assert read_values([text]) == {"a": value}


def test_values_may_be_lists():
    found = read_values(["x=[1, 2/4, -3]", "m=[[1,2],[3,4]]"])
    np.testing.assert_array_equal(found["x"], [1.0, 0.5, -3.0])
    assert found["m"].shape == (2, 2)


@pytest.mark.parametrize(
    ("text", "said", "where"),
    [
        ("a", "gives no value", "a"),
        ("a==2", "gives no value", "a==2"),
        ("=2", "not a name", "="),
        ("1a=2", "not a name", "1a"),
        ("if=2", "word of the language", "if"),
        ("a=", "given no value", "="),
        ("a=b", "mentions `b`", "b"),
        ("a=2+b*3", "mentions `b`", "b"),
        ("a=2,3", "comma", "2,3"),
        ("a=2,b=3", "`=` has no place", "="),
        ("a=(2", "never closed", "("),
        ("a=[1,[2]]", "differ in length", "[1,[2]]"),
        ("a=x.y", "attribute access", "x.y"),
        ("a=two(1)", "not a function", "two"),
        ("a='2'", "quotes", "'"),
    ],
)
def test_what_is_wrong_with_a_value_is_said_with_a_caret(text, said, where):
    with pytest.raises(ExpressionError) as caught:
        read_values([text])
    assert said in str(caught.value)
    assert marked(str(caught.value)) == where


def test_a_value_given_twice_is_refused():
    with pytest.raises(ExpressionError, match="twice"):
        read_values(["a=1", "a=2"])


# -- anything at all -----------------------------------------------------------------------------------------

TOKENS = st.sampled_from(
    [
        *"ab()[]{}+-*/%,.:=<>'\"#\\;@&|^~…²é変 \n\t\0\ud800\ufeff\u202e",
        *(
            "x1",
            "pi",
            "tanh",
            "max",
            "where",
            "**",
            "//",
            "==",
            ">=",
            ":=",
            "1",
            "2.5",
            "1e9",
            "3j",
            "0x",
            "07",
        ),
        *("not ", " and ", " or ", " if ", " else ", " for ", " in ", "lambda ", " is ", "None", "True"),
        *("await ", "yield "),
    ]
)


def never_raises_anything_else(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        Expression.read(text).evaluate({"a": 1.5, "b": -2.0, "x1": 0.0})


@given(st.text())
@example("\x1c")
@example("a\x0c+b")
@example("1if a else b")
@example("0_0")
@example("1__0")
@example("\\\n")
@example("'\\d'")
@settings(max_examples=300, deadline=None)
def test_any_text_gives_a_value_or_an_expression_error(text):
    never_raises_anything_else(text)


@given(st.lists(TOKENS, max_size=15).map("".join))
@settings(max_examples=500, deadline=None)
def test_any_tokens_give_a_value_or_an_expression_error(text):
    never_raises_anything_else(text)


@given(st.lists(TOKENS, max_size=10).map(" ".join))
@settings(max_examples=300, deadline=None)
def test_any_tokens_as_a_value_give_a_value_or_an_expression_error(text):
    with contextlib.suppress(ExpressionError):
        read_values([f"a={text}"])


NUMBERS = st.floats(0.25, 4.0).map(lambda x: f"{x:.3g}") | st.sampled_from("abc")
FORMULAS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%", " + "]), inner).map("".join),
        st.tuples(st.sampled_from(["-", "+", "", "abs"]), inner).map(lambda x: f"{x[0]}({x[1]})"),
        inner.map(lambda x: f"-{x}"),
        inner.map(lambda x: f"({x})**2"),
    ),
    max_leaves=12,
)


@given(FORMULAS)
@settings(max_examples=300, deadline=None)
def test_precedence_is_that_of_python(text):
    values = {"a": 1.5, "b": -2.25, "c": 0.75}
    try:
        expected = eval(text, {"abs": abs}, values)  # Python itself, on texts made here
    except ZeroDivisionError:
        return
    assert value_of(text, **values) == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_reading_leaves_no_trace():
    before = sys.getrecursionlimit()
    complaint("(" * 5_000)
    assert sys.getrecursionlimit() == before
