"""Einstein's notation: all that it can say, held to NumPy, with its derivatives, steps and errors."""

from __future__ import annotations

import numpy as np
import pytest

from backlit.core.errors import DomainError, ShapeError
from backlit.core.value import Value
from backlit.core.walk import toposort
from backlit.ops.einsum import EINSUM, einsum

RNG = np.random.default_rng(0)
CASES = [
    ("ij,jk->ik", (3, 4), (4, 5)),
    ("ij,jk", (3, 4), (4, 5)),
    ("ij,jk->ki", (3, 4), (4, 5)),
    (" ij , jk -> k i ", (3, 4), (4, 5)),
    ("i->i", (3,)),
    ("ij->ji", (3, 4)),
    ("ba", (3, 4)),
    ("ij->j", (3, 4)),
    ("ij->", (3, 4)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("iii->i", (2, 2, 2)),
    ("iij->ji", (3, 3, 2)),
    ("ijij->", (2, 3, 2, 3)),
    ("i,i->", (3,), (3,)),
    ("i,i->i", (3,), (3,)),
    ("i,j->ji", (3,), (4,)),
    ("ij,j->ij", (3, 4), (4,)),
    ("i,->i", (3,), ()),
    (",->", (), ()),
    ("ij,kl->", (3, 4), (2, 5)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bij,bjk->kib", (2, 3, 4), (2, 4, 5)),
    ("bij,bij->b", (2, 3, 4), (2, 3, 4)),
    ("ijk,kj->i", (2, 3, 4), (4, 3)),
    ("abij,cjd->adic", (2, 2, 3, 4), (5, 4, 2)),
    ("ij,jk->ik", (3, 0), (0, 2)),
    ("ij,jk->ik", (0, 3), (3, 2)),
    ("...->...", (3, 4)),
    ("...i->...", (2, 3, 4)),
    ("...i->i...", (2, 3, 4)),
    ("...ij->...ji", (3, 4)),
    ("...,...", (3, 4), (4,)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
    ("...i,...->i...", (2, 3, 4), (3,)),
    ("i...,i...", (3, 2), (3, 2)),
    ("i...,i...->i...", (3, 1), (3, 2)),
    ("...ii->...i", (2, 3, 3)),
    ("ij,jk,kl->il", (3, 4), (4, 5), (5, 2)),
    ("i,i,i", (3,), (3,), (3,)),
    ("ij,ij,ij->i", (3, 4), (3, 4), (3, 4)),
    ("ii,jj,ij->", (3, 3), (4, 4), (3, 4)),
    ("abc,cd,de,ea->b", (2, 3, 4), (4, 5), (5, 6), (6, 2)),
]


@pytest.mark.parametrize(("subscripts", "shapes"), [(case[0], case[1:]) for case in CASES], ids=str)
def test_einsum_is_that_of_numpy_and_its_gradient_adjoint_to_it(subscripts, shapes):
    arrays = [RNG.standard_normal(shape) for shape in shapes]
    expected = np.einsum(subscripts, *arrays)
    variables = [Value(x) for x in arrays]
    result = einsum(subscripts, *variables)
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result.data, expected, rtol=1e-12, atol=1e-13)
    ct = RNG.standard_normal(np.shape(expected))
    result.backward(ct)
    for i, variable in enumerate(variables):
        tangent = RNG.standard_normal(shapes[i])
        pushed = np.einsum(subscripts, *arrays[:i], tangent, *arrays[i + 1 :])
        assert np.shape(variable.grad) == shapes[i]
        np.testing.assert_allclose(np.sum(variable.grad * tangent), np.sum(ct * pushed), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "int8", "bool", "complex64"])
def test_dtypes_are_those_of_numpy(dtype):
    a, b = (RNG.integers(0, 2, shape).astype(dtype) for shape in ((3, 4), (4, 2)))
    for subscripts in ("ij,jk->ik", "ij,jk->ijk"):
        result = einsum(subscripts, a, b)
        assert result.dtype == dtype
        np.testing.assert_array_equal(result.data, np.einsum(subscripts, a, b))


def test_the_same_variable_may_stand_twice():
    x = Value([1.0, 2.0, 3.0])
    einsum("i,i->", x, x).backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0, 6.0])


def test_a_plain_product_is_one_node():
    a, b = Value(np.ones((2, 3))), Value(np.ones((3, 4)))
    node = einsum("ij,jk", a, b)
    assert node.op is EINSUM
    assert node.attrs == {"spec": "ij,jk->ik"}
    assert node.inputs == (a, b)
    assert node.scope is None


def test_several_operands_are_multiplied_two_at_a_time_the_cheapest_first():
    a, b, c = (Value(np.ones(shape)) for shape in ((50, 40), (40, 30), (30, 1)))
    node = einsum("ij,jk,kl->il", a, b, c)
    specs = [n.attrs["spec"] for n in toposort([node]) if n.op is EINSUM]
    assert specs == ["jk,kl->jl", "ij,jl->il"]  # matrix times column twice, never matrix times matrix
    assert str(node.scope) == "einsum"


def test_an_index_of_one_operand_alone_is_summed_before_the_product():
    a, b = Value(np.ones((2, 3))), Value(np.ones(2))
    node = einsum("ij,i->i", a, b)
    assert [n.op.name for n in toposort([node]) if n.op is not None] == ["sum", "einsum"]


def test_off_diagonal_infinities_do_not_reach_the_diagonal():
    x = Value([[1.0, np.inf], [np.nan, 2.0]])
    y = einsum("ii", x)
    assert y.data == 3.0
    y.backward()
    np.testing.assert_array_equal(x.grad, np.eye(2))


@pytest.mark.parametrize(
    ("subscripts", "shapes", "error", "words"),
    [
        ("ij,jk", [(3, 4), (3, 4)], ShapeError, "index j has length 4 in operand 0 and 3 in operand 1"),
        (
            "ijk",
            [(3, 4)],
            ShapeError,
            r"'ijk' has indices for 3 axes, and operand 0 has shape \(3, 4\), with 2",
        ),
        ("ijk...", [(3, 4)], ShapeError, "3 axes or more"),
        ("i", [(3, 4)], ShapeError, "indices for 1 axes, and operand 0"),
        ("i,i", [(3,)], ShapeError, "indices for 2 operands, and 1 was given"),
        ("i", [(3,), (3,)], ShapeError, "indices for 1 operand, and 2 were given"),
        ("ii", [(2, 3)], ShapeError, "index i has length 2 in operand 0 and 3 in operand 0"),
        ("i->j", [(3,)], DomainError, "index j of the result"),
        ("i->ii", [(3,)], DomainError, "index i stands twice"),
        ("i1", [(3, 4)], DomainError, "cannot read 'i1'"),
        ("i..", [(3, 4)], DomainError, "cannot read"),
        ("i->i->i", [(3,)], DomainError, "cannot read"),
        ("...i->i", [(3, 4)], ShapeError, "the result does not have it"),
        ("...,...", [(3,), (4,)], ShapeError, "axis 0, under `...`, has length 3 in operand 0 and 4"),
        ("i,i", [(1,), (3,)], ShapeError, "index i has length 1"),
    ],
)
def test_what_cannot_be_read_or_does_not_fit_is_named(subscripts, shapes, error, words):
    with pytest.raises(error, match=words):
        einsum(subscripts, *(np.ones(shape) for shape in shapes))


def test_the_first_argument_is_the_notation():
    with pytest.raises(DomainError, match="'ij,jk->ik', and not ndarray"):
        einsum(np.ones(3), "i->i")


def test_it_is_written_as_mathematicians_write_it():
    notation = EINSUM.notation
    assert notation.text(["a", "b"], {"spec": "ij,jk->ik"}) == "einsum('ij,jk->ik', a, b)"
    assert notation.latex(["a", "b"], {"spec": "ij,jk->ik"}) == r"\sum_{j} {a}_{ij}\,{b}_{jk}"
    assert notation.latex(["a", "b"], {"spec": "i,j->ij"}) == r"{a}_{i}\,{b}_{j}"
