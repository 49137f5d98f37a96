"""Making arrays, converting them, and what is known of dtypes: against NumPy and the Array API standard."""

import inspect

import numpy as np
import pytest

import backlit as bl
from backlit.core.errors import DomainError, DtypeError, IndexingError, ShapeError
from backlit.ops import creation as c
from backlit.ops import kinds as k

CUBE = np.arange(24.0).reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: c.asarray(1), np.asarray(1)),
        (lambda: c.asarray(1.0), np.asarray(1.0)),
        (lambda: c.asarray(True), np.asarray(True)),
        (lambda: c.asarray(1j), np.asarray(1j)),
        (lambda: c.asarray([1, 2]), np.asarray([1, 2])),
        (lambda: c.asarray([[1, 2.0]]), np.asarray([[1, 2.0]])),
        (lambda: c.asarray([]), np.asarray([])),
        (lambda: c.asarray([1, 0], dtype=bool), np.asarray([True, False])),
        (lambda: c.asarray(np.float32(2)), np.float32(2)),
        (lambda: c.arange(5), np.arange(5)),
        (lambda: c.arange(2, 9, 3), np.arange(2, 9, 3)),
        (lambda: c.arange(2.0, -1, -0.5), np.arange(2.0, -1, -0.5)),
        (lambda: c.arange(3, dtype="float32"), np.arange(3, dtype="float32")),
        (lambda: c.arange(5, 2), np.arange(5, 2)),
        (lambda: c.zeros(3), np.zeros(3)),
        (lambda: c.zeros((2, 0), dtype="int16"), np.zeros((2, 0), "int16")),
        (lambda: c.ones(()), np.ones(())),
        (lambda: c.ones([2], dtype=complex), np.ones(2, complex)),
        (lambda: c.full((2,), 3), np.full(2, 3)),
        (lambda: c.full((), True), np.full((), True)),
        (lambda: c.full((2,), 3, dtype="float32"), np.full(2, 3, "float32")),
        (lambda: c.zeros_like(CUBE), np.zeros_like(CUBE)),
        (lambda: c.ones_like(bl.Value(CUBE), dtype="int8"), np.ones_like(CUBE, "int8")),
        (lambda: c.full_like(np.ones(2, int), 7), np.full_like(np.ones(2, int), 7)),
        (lambda: c.empty_like(CUBE), np.zeros_like(CUBE)),
        (lambda: c.empty((2, 3)), np.zeros((2, 3))),
        (lambda: c.eye(3), np.eye(3)),
        (lambda: c.eye(2, 4, k=-1, dtype="int64"), np.eye(2, 4, -1, "int64")),
        (lambda: c.linspace(0, 1, 5), np.linspace(0, 1, 5)),
        (lambda: c.linspace(0, 1, 5, endpoint=False), np.linspace(0, 1, 5, endpoint=False)),
        (lambda: c.linspace(0, 1, 5, dtype="float32"), np.linspace(0, 1, 5, dtype="float32")),
        (lambda: c.linspace(0, 1j, 3), np.linspace(0, 1j, 3)),
        (lambda: c.linspace(2.0, 3.0, 1), np.linspace(2, 3, 1)),
        (lambda: c.linspace(2.0, 3.0, 0), np.linspace(2, 3, 0)),
        (lambda: c.from_dlpack(CUBE), CUBE),
    ],
)
def test_it_makes_what_numpy_makes(found, expected):
    value = found()
    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value.data, expected)
    assert value.shape == expected.shape


def test_what_is_made_is_a_constant_with_a_site():
    x = c.zeros(3)
    assert x.site is not None
    assert x.site.variable == "x"
    assert x.op is None
    (x * bl.Value(2.0)).sum().backward()
    assert x.grad is None
    assert bl.grad(lambda v: (v * v).sum())(c.ones(3)).data.tolist() == [2, 2, 2]


def test_asarray_gives_a_value_back_or_copies_it_on_request():
    x = bl.Value([1.0, 2.0])
    assert c.asarray(x) is x
    assert c.asarray(x, dtype="float64", copy=False) is x
    y = c.asarray(x, copy=True)
    assert y is not x
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]
    with pytest.raises(DomainError, match="without a copy"):
        c.asarray(x, dtype="float32", copy=False)


def test_asarray_does_not_hold_on_to_the_users_array():
    array = np.ones(2)
    x = c.asarray(array)
    array[0] = 5.0
    assert x.data.tolist() == [1, 1]
    with pytest.raises(DomainError, match="nobody may write"):
        c.asarray(array, copy=False)
    array.flags.writeable = False
    assert np.shares_memory(c.asarray(array, copy=False).data, array)


def test_lists_of_values_are_stacked():
    a, b = bl.values(a=2.0, b=3.0)
    x = c.asarray([[a, 1], [a * b, 4.0]])
    assert x.data.tolist() == [[2, 1], [6, 4]]
    (x * [[1.0, 10.0], [100.0, 1000.0]]).sum().backward()
    assert (a.grad, b.grad) == (301.0, 200.0)
    row = bl.Value(np.ones(2, np.float32))
    assert c.asarray([row, [0.5, 1]]).dtype == np.float32
    assert c.asarray([row, row], dtype="float64").dtype == np.float64
    objects = np.array([a, b], dtype=object)
    assert c.asarray(objects).data.tolist() == [2, 3]
    with pytest.raises(ShapeError, match=r"entry 1 has shape \(3,\)"):
        c.asarray([row, [1.0, 2.0, 3.0]])


def test_full_and_linspace_pass_gradients_on():
    a, b = bl.values(a=2.0, b=4.0)
    c.full((2, 3), a).sum().backward()
    assert a.grad == 6.0
    x = c.linspace(a, b, 5)
    np.testing.assert_allclose(x.data, np.linspace(2, 4, 5))
    assert x.data[0] == 2.0
    assert x.data[-1] == 4.0
    bl.grad(lambda a: c.linspace(a, b, 5).sum())(a)
    assert bl.grad(lambda b: c.linspace(a, b, 5)[3])(b).data == 0.75
    starts = bl.Value([0.0, 1.0])
    np.testing.assert_allclose(c.linspace(starts, 2.0, 3).data, np.linspace([0.0, 1.0], 2.0, 3))
    assert c.linspace(bl.Value(np.float32(0)), 1.0, 3).dtype == np.float32


def test_meshgrid():
    x, y, z = np.arange(2.0), np.arange(3.0), np.arange(4.0)
    for indexing in ("xy", "ij"):
        for arrays in ((), (x,), (x, y), (x, y, z), (x, 5.0)):
            found = c.meshgrid(*arrays, indexing=indexing)
            for a, b in zip(found, np.meshgrid(*arrays, indexing=indexing), strict=True):
                np.testing.assert_array_equal(a.data, b)
    with pytest.raises(DomainError, match="'yx'"):
        c.meshgrid(x, indexing="yx")
    with pytest.raises(ShapeError, match="argument 0"):
        c.meshgrid(CUBE)


def test_astype():
    x = bl.Value([1.5, -2.5])
    y = c.astype(x, "float32")
    assert y.dtype == np.float32
    (y * y).sum().backward()
    assert x.grad.dtype == np.float64
    assert x.grad.tolist() == [3, -5]
    assert c.astype(x, "float64", copy=False) is x
    assert c.astype(x, "float64") is not x
    whole = c.astype(x, "int64")
    assert whole.data.tolist() == [1, -2]
    assert whole.grad is None
    assert not bl.core.value.is_active(c.astype(whole, "float64"))
    assert c.astype([0.0, np.nan], bool).data.tolist() == [False, True]
    with pytest.raises(DtypeError, match="imaginary"):
        c.astype(1j, "float64")


def test_one_hot():
    assert c.one_hot([2, 0], 3).data.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert c.one_hot(1, 2, dtype="int8").data.tolist() == [0, 1]
    assert c.one_hot(np.zeros((2, 3), int), 4).shape == (2, 3, 4)
    with pytest.raises(IndexingError, match="label 3 at 1 is none of the 3 classes 0 to 2"):
        c.one_hot([0, 3], 3)
    with pytest.raises(DtypeError, match="float64"):
        c.one_hot([0.5], 3)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: c.zeros(-1), ShapeError, "below 0"),
        (lambda: c.zeros((2, 2.5)), ShapeError, "whole number"),
        (lambda: c.eye(-1), ShapeError, "below 0"),
        (lambda: c.zeros(2, device="gpu"), DomainError, "'gpu'"),
        (lambda: c.zeros(2, dtype="str"), DtypeError, "choose one of"),
        (lambda: c.arange(0, 1, 0), DomainError, "step 0"),
        (lambda: c.arange(bl.Value(1.0) * 2), DtypeError, "would not remember"),
        (lambda: c.linspace(0, 1, -1), DomainError, "-1 numbers"),
        (lambda: c.asarray("text"), DtypeError, "text"),
        (lambda: c.from_dlpack(CUBE, copy=False), DomainError, "copy=False"),
        (lambda: k.finfo("int8"), DtypeError, "iinfo"),
        (lambda: k.iinfo("float32"), DtypeError, "finfo"),
        (lambda: k.isdtype("int8", "floating"), DomainError, "'floating'"),
        (lambda: k.result_type(), DtypeError, "at least one"),
    ],
)
def test_errors_say_what_was_wrong(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_what_is_known_of_dtypes():
    info = k.finfo(np.float32)
    assert (info.bits, info.eps, info.smallest_normal) == (32, 2.0**-23, 2.0**-126)
    assert type(info.max) is float
    assert k.finfo(bl.Value(1.0)).dtype == np.float64
    assert k.finfo("complex64").dtype == np.float32
    assert (k.iinfo("uint8").max, k.iinfo("int64").min) == (255, -(2**63))
    assert k.can_cast(bl.Value(1.0), "float64")
    assert not k.can_cast("float64", "float32")
    assert k.result_type(bl.Value(np.float32(1.0)), 2.0) == np.float32
    assert k.result_type("int8", "uint8") == np.int16
    assert k.result_type(*[np.ones(1, "int8")] * 100) == np.int8
    for kind, members in {
        "bool": "bool",
        "signed integer": "int8 int64",
        "unsigned integer": "uint8",
        "integral": "int8 uint8",
        "real floating": "float16 float64",
        "complex floating": "complex64",
        "numeric": "int8 uint8 float32 complex128",
    }.items():
        for name in bl.core.dtypes.ALL:
            if name in members.split():
                assert k.isdtype(name, kind)
    assert not k.isdtype("bool", "numeric")
    assert k.isdtype("float32", ("integral", bl.float32))


def test_the_namespace_tells_about_itself():
    info = bl.__array_namespace_info__()
    assert info.default_device() in info.devices()
    assert info.default_dtypes()["real floating"] == bl.zeros(1).dtype
    assert info.default_dtypes()["integral"] == bl.arange(1).dtype
    assert set(info.dtypes(kind="integral")) == {f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)}
    assert set(info.dtypes(kind=("bool", "complex floating"))) == {"bool", "complex64", "complex128"}
    assert info.capabilities()["boolean indexing"] is True
    with pytest.raises(DomainError):
        info.dtypes(device="gpu")


SIGNATURES = {  # of the Python Array API standard 2024.12
    "asarray": "(obj, /, *, dtype, device, copy)",
    "arange": "(start, /, stop, step, *, dtype, device)",
    "empty": "(shape, *, dtype, device)",
    "empty_like": "(x, /, *, dtype, device)",
    "eye": "(n_rows, n_cols, /, *, k, dtype, device)",
    "from_dlpack": "(x, /, *, device, copy)",
    "full": "(shape, fill_value, *, dtype, device)",
    "full_like": "(x, /, fill_value, *, dtype, device)",
    "linspace": "(start, stop, /, num, *, dtype, device, endpoint)",
    "meshgrid": "(*arrays, indexing)",
    "astype": "(x, dtype, /, *, copy, device)",
    "can_cast": "(from_, to, /)",
    "isdtype": "(dtype, kind)",
    "reshape": "(x, /, shape, *, copy)",
    "permute_dims": "(x, /, axes)",
    "moveaxis": "(x, source, destination, /)",
    "broadcast_to": "(x, /, shape)",
    "expand_dims": "(x, /, axis)",
    "squeeze": "(x, /, axis)",
    "flip": "(x, /, *, axis)",
    "roll": "(x, /, shift, *, axis)",
    "concat": "(arrays, /, *, axis)",
    "stack": "(arrays, /, *, axis)",
    "unstack": "(x, /, *, axis)",
    "tile": "(x, repetitions, /)",
    "repeat": "(x, repeats, /, *, axis)",
    "tril": "(x, /, *, k)",
    "triu": "(x, /, *, k)",
    "take": "(x, indices, /, *, axis)",
    "take_along_axis": "(x, indices, /, *, axis)",
    "nonzero": "(x, /)",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_signature_is_the_standards(name):
    parameters = inspect.signature(getattr(bl, name)).parameters.values()
    bare = [p.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty) for p in parameters]
    try:
        found = str(inspect.Signature(bare))
    except ValueError:
        found = str(inspect.Signature(list(parameters)))
    assert found == SIGNATURES[name]
