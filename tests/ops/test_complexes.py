import numpy as np
import pytest

from backlit import Value
from backlit.core import dtypes
from backlit.core.notation import ATOM, write_latex
from backlit.ops.complexes import CONJ, conj, imag, real


@pytest.mark.parametrize(("dtype", "part"), [("complex64", "float32"), ("complex128", "float64")])
def test_parts_of_complex_numbers(dtype: str, part: str) -> None:
    z = np.asarray([[1 + 2j, complex(-0.0, -3)]], dtype)
    np.testing.assert_array_equal(real(Value(z)).data, z.real)
    np.testing.assert_array_equal(imag(Value(z)).data, z.imag)
    np.testing.assert_array_equal(conj(Value(z)).data, z.conj())
    assert (real(Value(z)).dtype, imag(Value(z)).dtype, conj(Value(z)).dtype) == (part, part, dtype)
    assert real(Value(z[0, 0])).data == 1.0
    assert imag(Value(z[:0])).shape == (0, 2)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "bool"])
def test_a_real_number_is_its_own_real_part_and_conjugate(dtype: str) -> None:
    x = Value(np.asarray([0, 1, 2]).astype(dtype))
    for function, expected in ((real, x.data), (conj, x.data), (imag, np.zeros(3))):
        assert function(x).dtype == dtype
        np.testing.assert_array_equal(function(x).data, expected)


def test_parts_do_not_keep_the_whole_alive() -> None:
    z = np.ones(4, np.complex128)
    assert real(Value(z)).data.strides == (8,)


def test_gradients_flow_through_the_parts_of_real_numbers() -> None:
    for x in (Value(3.0), Value([1.0, 2.0])):
        (real(x) * 2.0 + conj(x) * 3.0 + imag(x)).backward(np.ones(x.shape))
        np.testing.assert_array_equal(x.grad, np.full(x.shape, 5.0))


def test_no_gradient_reaches_complex_numbers() -> None:
    z, x = Value([1 + 1j]), Value([2.0])
    (real(z) * x).backward([1.0])
    assert z.grad is None
    assert x.grad.tolist() == [1.0]
    assert dtypes.is_real(real(z).dtype)


def test_the_conjugate_is_written_with_a_bar() -> None:
    assert CONJ.notation is not None
    assert write_latex(CONJ.notation, [("z", ATOM)], {})[0] == r"\overline{z}"
