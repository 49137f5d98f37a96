"""The names of the standard and the signatures of its functions and methods, written out.

Left for later, and so not listed: sorting, sets, `linalg` and `fft`.
"""

from __future__ import annotations

import inspect

import pytest

import backlit as bl

UNARY = (
    "abs acos acosh asin asinh atan atanh bitwise_invert ceil conj cos cosh exp expm1 floor imag isfinite isinf isnan "
    "log log1p log2 log10 logical_not negative positive real reciprocal round sign signbit sin sinh square sqrt tan "
    "tanh trunc nonzero matrix_transpose"
)
BINARY = (
    "add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign divide equal "
    "floor_divide greater greater_equal hypot less less_equal logaddexp logical_and logical_or logical_xor maximum "
    "minimum multiply nextafter not_equal pow remainder subtract matmul"
)
REDUCTION = "(x, /, *, axis=None, keepdims=False)"
FUNCTIONS = {
    **dict.fromkeys(UNARY.split(), "(x, /)"),
    **dict.fromkeys(BINARY.split(), "(x1, x2, /)"),
    **dict.fromkeys(("all", "any", "max", "min", "mean", "argmax", "argmin", "count_nonzero"), REDUCTION),
    **dict.fromkeys(("sum", "prod"), "(x, /, *, axis=None, dtype=None, keepdims=False)"),
    **dict.fromkeys(("var", "std"), "(x, /, *, axis=None, correction=0.0, keepdims=False)"),
    **dict.fromkeys(("cumulative_sum", "cumulative_prod"), "(x, /, *, axis=None, dtype=None, include_initial=False)"),
    **dict.fromkeys(("zeros", "ones", "empty"), "(shape, *, dtype=None, device=None)"),
    **dict.fromkeys(("zeros_like", "ones_like", "empty_like"), "(x, /, *, dtype=None, device=None)"),
    **dict.fromkeys(("tril", "triu"), "(x, /, *, k=0)"),
    "arange": "(start, /, stop=None, step=1, *, dtype=None, device=None)",
    "asarray": "(obj, /, *, dtype=None, device=None, copy=None)",
    "astype": "(x, dtype, /, *, copy=True, device=None)",
    "broadcast_arrays": "(*arrays)",
    "broadcast_to": "(x, /, shape)",
    "can_cast": "(from_, to, /)",
    "clip": "(x, /, min=None, max=None)",
    "concat": "(arrays, /, *, axis=0)",
    "diff": "(x, /, *, axis=-1, n=1, prepend=None, append=None)",
    "expand_dims": "(x, /, axis)",
    "eye": "(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None)",
    "finfo": "(type, /)",
    "flip": "(x, /, *, axis=None)",
    "from_dlpack": "(x, /, *, device=None, copy=None)",
    "full": "(shape, fill_value, *, dtype=None, device=None)",
    "full_like": "(x, /, fill_value, *, dtype=None, device=None)",
    "iinfo": "(type, /)",
    "isdtype": "(dtype, kind)",
    "linspace": "(start, stop, /, num, *, dtype=None, device=None, endpoint=True)",
    "meshgrid": "(*arrays, indexing='xy')",
    "moveaxis": "(x, source, destination, /)",
    "permute_dims": "(x, /, axes)",
    "repeat": "(x, repeats, /, *, axis=None)",
    "reshape": "(x, /, shape, *, copy=None)",
    "result_type": "(*arrays_and_dtypes)",
    "roll": "(x, /, shift, *, axis=None)",
    "squeeze": "(x, /, axis=None)",
    "stack": "(arrays, /, *, axis=0)",
    "take": "(x, indices, /, *, axis=None)",
    "take_along_axis": "(x, indices, /, *, axis=-1)",
    "tensordot": "(x1, x2, /, *, axes=2)",
    "tile": "(x, repetitions, /)",
    "unstack": "(x, /, *, axis=0)",
    "vecdot": "(x1, x2, /, *, axis=-1)",
    "where": "(condition, x1, x2, /)",
}
DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128"
COMPARISONS = "eq ne lt le gt ge"
TWO_WAYS = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift"  # each with its reflected twin
OF_ONE = "abs neg pos invert bool float int complex index"
METHODS = {
    **{f"__{name}__": "(self, other, /)" for name in COMPARISONS.split()},
    **{f"__{prefix}{name}__": "(self, other, /)" for name in TWO_WAYS.split() for prefix in ("", "r")},
    **{f"__{name}__": "(self, /)" for name in OF_ONE.split()},
    "__array_namespace__": "(self, /, *, api_version=None)",
    "__dlpack__": "(self, /, *, stream=None, max_version=None, dl_device=None, copy=None)",
    "__dlpack_device__": "(self, /)",
    "__getitem__": "(self, key, /)",
    "__setitem__": "(self, key, value, /)",
    "to_device": "(self, device, /, *, stream=None)",
}


def parameters(function: object) -> str:
    """Names, kinds and defaults, without annotations."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(inspect.Signature(plain))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_the_signature_of_the_standard(name: str) -> None:
    assert parameters(getattr(bl, name)) == FUNCTIONS[name]


def _shape(text: str) -> list[tuple[str, str]]:
    """Kinds of the parameters, and the names of those that can be given by name."""
    exec(f"def function{text}: ...", space := {})
    found = inspect.signature(space["function"]).parameters.values()
    return [(p.kind.name, "" if p.kind is p.POSITIONAL_ONLY else p.name) for p in found]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_signature_of_the_standard(name: str) -> None:
    got, want = _shape(parameters(getattr(bl.Value, name))), _shape(METHODS[name])
    for (kind, _), (asked, name_asked) in zip(got, want, strict=True):
        if asked == "POSITIONAL_ONLY":
            assert kind in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")
        else:
            assert (asked, name_asked) in got


@pytest.mark.parametrize("name", ["T", "mT", "device", "dtype", "ndim", "shape", "size"])
def test_an_array_has_the_attributes_of_the_standard(name: str) -> None:
    assert hasattr(bl.ones((1, 1)), name)


def test_dtypes_and_constants_have_the_names_of_the_standard() -> None:
    names = DTYPES.split()
    for name in names:
        assert bl.zeros(1, dtype=getattr(bl, name)).dtype == getattr(bl, name)
    assert len({getattr(bl, each) for each in names}) == len(names)
    assert (bl.e, bl.pi, bl.inf) == (2.718281828459045, 3.141592653589793, float("inf"))
    assert bl.nan != bl.nan
    assert bl.newaxis is None
    assert bl.__array_api_version__ == "2024.12"


def test_every_public_name_is_there() -> None:
    for name in bl.__all__:
        try:
            assert getattr(bl, name) is not None or name == "newaxis"
        except ImportError as missing:  # it needs an extra, and says which
            assert "pip install" in str(missing)  # noqa: PT017
    assert set(FUNCTIONS) <= set(dir(bl))
