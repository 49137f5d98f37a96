"""A derivative of one's own: in every mode, to every order, from either rule."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.autodiff.check import check
from backlit.core.notation import ATOM, write_latex, write_text
from backlit.core.numbers import Abstract


def plain(x: Any, y: Any) -> Any:
    return bl.sin(x) * y


def with_vjp() -> Any:
    f = bl.custom_derivative(plain)

    def forward(x: Any, y: Any) -> Any:
        return f(x, y), (x, y)

    def backward(residuals: Any, ct: Any) -> Any:
        x, y = residuals
        return ct * bl.cos(x) * y, ct * bl.sin(x)

    f.def_vjp(forward, backward)
    return f


def with_jvp() -> Any:
    f = bl.custom_derivative(plain)

    def rule(primals: Any, tangents: Any) -> Any:
        (x, y), (dx, dy) = primals, tangents
        return f(x, y), bl.cos(x) * y * dx + bl.sin(x) * dy

    f.def_jvp(rule)
    return f


def with_both() -> Any:
    f = with_vjp()
    f.def_jvp(lambda p, t: (plain(*p), bl.cos(p[0]) * p[1] * t[0] + bl.sin(p[0]) * t[1]))
    return f


RULES = [with_vjp, with_jvp, with_both]
X, Y = np.array([0.3, -0.7]), np.array([1.5, 2.0])


@pytest.mark.parametrize("make", RULES)
def test_every_mode_agrees_with_the_function_itself(make: Callable[[], Any]) -> None:
    f = make()
    np.testing.assert_allclose(f(X, Y).data, np.sin(X) * Y)
    for mode in ("forward", "reverse"):
        for argnum in (0, 1):
            np.testing.assert_allclose(
                bl.jacobian(f, argnum, mode=mode)(X, Y).data, bl.jacobian(plain, argnum)(X, Y).data
            )
    np.testing.assert_allclose(bl.jvp(f, (X, Y), (Y, X))[1].data, bl.jvp(plain, (X, Y), (Y, X))[1].data)
    x, y = bl.Value(X), bl.Value(Y)
    f(x, y).sum().backward()
    np.testing.assert_allclose(x.grad, np.cos(X) * Y)
    np.testing.assert_allclose(y.grad, np.sin(X))


@pytest.mark.parametrize("make", RULES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_check_finds_it_right(make: Callable[[], Any], dtype: Any) -> None:
    assert check(make(), X.astype(dtype), Y.astype(dtype)).ok
    assert check(make(), dtype(0.3), dtype(2.0)).ok


@pytest.mark.parametrize("make", RULES)
def test_higher_orders(make: Callable[[], Any]) -> None:
    f = make()
    np.testing.assert_allclose(bl.hessian(lambda x: f(x, Y).sum())(X).data, np.diag(-np.sin(X) * Y), atol=1e-15)
    third = bl.grad(bl.grad(bl.grad(lambda x: f(x, 2.0))))
    assert third(0.3).data == pytest.approx(-2 * np.cos(0.3))
    assert bl.jvp(bl.grad(lambda x: f(x, 2.0)), (0.3,), (1.0,))[1].data == pytest.approx(-2 * np.sin(0.3))
    mixed = bl.grad(lambda y: bl.grad(f)(0.3, y))
    assert mixed(2.0).data == pytest.approx(np.cos(0.3))


def test_the_rule_is_used_even_where_it_is_not_the_derivative() -> None:
    @bl.custom_derivative
    def straight_through(x: Any) -> Any:
        return bl.round(x)

    straight_through.def_vjp(lambda x: (straight_through(x), None), lambda _, ct: ct)
    assert bl.grad(lambda x: straight_through(x) * 3.0)(1.2).data == 3.0
    assert bl.jvp(straight_through, (1.2,), (1.0,))[1].data == 1.0
    report = check(straight_through, 1.2)
    assert report.verdict == "wrong"
    assert report.culprits[0].op == "straight_through"


def test_it_is_one_node_with_its_name_and_the_users_line() -> None:
    f = with_vjp()
    x = bl.Value(0.3, name="x")
    y = f(x, 2.0)
    assert (y.op.name, len(y.inputs)) == ("plain", 2)
    assert y.inputs[0] is x
    assert y.site.text == "y = f(x, 2.0)"
    assert write_text(y.op.notation, [("x", ATOM), ("2", ATOM)], y.attrs)[0] == "plain(x, 2)"
    assert r"\operatorname{plain}" in write_latex(y.op.notation, [("x", ATOM), ("2", ATOM)], y.attrs)[0]


def test_a_missing_cotangent_is_zero() -> None:
    f = bl.custom_derivative(lambda x, y: x * y)
    f.def_vjp(lambda x, y: (f(x, y), y), lambda y, ct: (ct * y, None))
    assert [g.data for g in bl.grad(f, argnums=(0, 1))(2.0, 5.0)] == [5.0, 0.0]
    assert bl.jvp(f, (2.0, 5.0), (0.0, 1.0))[1].data == 0.0


def test_arguments_that_are_passed_on() -> None:
    @partial(bl.custom_derivative, nondiff_argnums=(0, 2))
    def applied(function: Any, x: Any, times: int) -> Any:
        for _ in range(times):
            x = function(x)
        return x

    seen = []

    def backward(function: Any, times: int, residuals: Any, ct: Any) -> Any:
        seen.append((function, times))
        return 7.0 * ct * residuals

    applied.def_vjp(lambda function, x, times: (applied(function, x, times), x), backward)
    y, pull = bl.vjp(lambda x: applied(bl.sin, x, 2), 3.0)
    assert y.data == pytest.approx(np.sin(np.sin(3.0)))
    assert pull(1.0)[0].data == 21.0
    assert seen == [(bl.sin, 2)]
    assert bl.grad(lambda x: applied(bl.sin, x, times=2))(3.0).data == 21.0
    node = applied(bl.sin, 3.0, 2)
    assert write_text(node.op.notation, [("x", ATOM)], node.attrs)[0] == "applied(sin, x, 2)"


def test_whole_numbers_among_the_arguments_get_no_gradient() -> None:
    f = bl.custom_derivative(lambda x, index: bl.take(x, index, axis=0).sum())

    def backward(residuals: Any, ct: Any) -> Any:
        return ct * np.ones(3), None

    f.def_vjp(lambda x, index: (f(x, index), None), backward)
    assert bl.grad(f)(np.arange(3.0), np.array([0, 2])).data.tolist() == [1.0, 1.0, 1.0]


def test_names_and_defaults() -> None:
    f = bl.custom_derivative(lambda x, scale=2.0: x * scale)
    f.def_jvp(lambda p, t: (p[0] * p[1], 10.0 * t[0]))
    assert f(3.0).data == 6.0
    assert f(scale=5.0, x=3.0).data == 15.0
    assert bl.grad(f)(3.0).data == 10.0


def test_it_keeps_the_name_and_doc_of_the_function() -> None:
    @bl.custom_derivative
    def shrink(x: Any) -> Any:
        """Half of x."""
        return x / 2

    assert shrink.__name__ == "shrink"
    assert shrink.__doc__ == "Half of x."
    assert "shrink" in repr(shrink)


def test_its_shape_is_known_without_numbers() -> None:
    f = with_vjp()
    node = f(X, Y)
    found = node.op.infer([Abstract((4, 1), bl.float32), Abstract((3,), bl.float32)], {})
    assert (found.shape, found.dtype) == ((4, 3), bl.float32)


def test_mistakes_are_named() -> None:
    bare = bl.custom_derivative(plain)
    with pytest.raises(bl.GraphError, match=r"has no derivative yet\. Say plain.def_vjp"):
        bare(1.0, 2.0)

    w = bl.Value(3.0, name="w")
    closed = bl.custom_derivative(lambda x: x * w)
    closed.def_vjp(lambda x: (closed(x), None), lambda _, ct: ct)
    with pytest.raises(bl.GraphError, match=r"it uses `w`, a variable at .* not among its arguments"):
        closed(1.0)

    several = bl.custom_derivative(lambda x: (x, x))
    several.def_vjp(lambda x: (several(x), None), lambda _, ct: ct)
    with pytest.raises(bl.GraphError, match="must return one value"):
        several(1.0)

    few = bl.custom_derivative(plain)
    few.def_vjp(lambda x, y: (few(x, y), None), lambda _, ct: (ct,))
    with pytest.raises(bl.GraphError, match="returned 1 cotangent, and there are 2 arguments"):
        bl.grad(few)(1.0, 2.0)

    shaped = bl.custom_derivative(lambda x: x.sum())
    shaped.def_vjp(lambda x: (shaped(x), None), lambda _, ct: ct)
    with pytest.raises(bl.ShapeError, match=r"cotangent of argument 0 .* has shape \(\); it must have \(2,\)"):
        bl.grad(shaped)(X)

    pair = bl.custom_derivative(lambda x: x)
    pair.def_vjp(lambda x: pair(x), lambda _, ct: ct)
    with pytest.raises(bl.GraphError, match=r"must return \(y, residuals\)"):
        bl.grad(pair)(1.0)

    option = bl.custom_derivative(lambda x, how: x)
    option.def_jvp(lambda p, t: (p[0], t[0]))
    with pytest.raises(bl.DtypeError, match="Name its position in nondiff_argnums"):
        option(1.0, "fast")
    static = bl.custom_derivative(lambda x, how: x, nondiff_argnums=1)
    static.def_jvp(lambda how, p, t: (p[0], t[0]))
    with pytest.raises(bl.DtypeError, match="must be hashable, and list is not"):
        static(1.0, [1, 2])
    keyword = bl.custom_derivative(lambda x, *, how=1: x)
    keyword.def_jvp(lambda p, t: (p[0], t[0]))
    with pytest.raises(bl.GraphError, match="how can be given by name only"):
        keyword(1.0)
