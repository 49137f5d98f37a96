"""Generated data: the same on every run, balanced, of the form that is promised."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import backlit as bl
from backlit import data
from backlit.core.errors import BacklitError, DomainError, DtypeError

MAKERS = {
    "moons": data.moons,
    "circles": data.circles,
    "spirals": data.spirals,
    "blobs": data.blobs,
    **{kind: lambda n, *a, kind=kind, **k: data.curves(kind, n, *a, **k) for kind in ("sine", "noisy", "step")},
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def fingerprint(found: data.Dataset) -> str:
    """Of numbers rounded so far that the last bit of a sine, which differs between maths libraries, is out of it."""
    rounded = [np.round(array.astype(np.float64), 6) + 0.0 for array in found]
    return hashlib.sha256(b"".join(array.tobytes() for array in rounded)).hexdigest()[:16]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("moons", "365bbebc5529c1c9"),
        ("circles", "03b9a5ef2bbd1435"),
        ("spirals", "a3996fc44a414a57"),
        ("blobs", "af63279476b9c7bb"),
        ("sine", "7757a7955d34777a"),
        ("noisy", "af9f30f697536702"),
        ("step", "f0fde0557ae1a7aa"),
    ],
)
def test_a_seed_means_the_same_points_on_every_machine(name, expected):
    assert fingerprint(MAKERS[name](60, seed=7)) == expected


def test_invented_texts_are_the_same_on_every_machine():
    def short(text):
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    assert short(" ".join(data.names())) == "6cd92b445a92e42c"
    assert short(data.sentences(200, seed=3)) == "930a5d6b3fecb571"


@every
def test_another_seed_gives_other_points_and_a_key_is_its_seed(make):
    assert fingerprint(make(50, seed=1)) == fingerprint(make(50, seed=bl.random.key(1)))
    assert fingerprint(make(50, seed=1)) != fingerprint(make(50, seed=2))


@every
def test_a_small_set_is_the_beginning_of_a_larger_one(make):
    small, large = make(40, seed=5), make(100, seed=5)
    for a, b in zip(small, large, strict=True):
        np.testing.assert_array_equal(a, b[:40])


@every
def test_float32_is_the_rounding_of_float64(make):
    wide, narrow = make(30), make(30, dtype="float32")
    assert wide.inputs.dtype == np.float64
    assert narrow.inputs.dtype == np.float32
    np.testing.assert_array_equal(wide.inputs.astype(np.float32), narrow.inputs)


@pytest.mark.parametrize("make", [data.moons, data.circles, data.spirals, data.blobs], ids=lambda make: make.__name__)
def test_every_part_of_consecutive_rows_is_balanced(make):
    found = make(101)
    for part in (found.targets, found.targets[:30], found.targets[57:80]):
        counts = np.bincount(part, minlength=len(found.classes))
        assert counts.max() - counts.min() <= 1


def test_without_noise_the_points_lie_on_their_curves():
    x, y = data.moons(200, noise=0)
    first, second = x[y == 0], x[y == 1]
    np.testing.assert_allclose((first**2).sum(axis=1), 1)
    np.testing.assert_allclose(((second - [1, 0.5]) ** 2).sum(axis=1), 1)
    assert (first[:, 1] >= 0).all()
    assert (second[:, 1] <= 0.5).all()
    x, y = data.circles(200, noise=0, inner=0.25)
    np.testing.assert_allclose(np.hypot(*x.T), np.where(y == 1, 0.25, 1.0))
    x, y = data.spirals(300, noise=0, arms=3, turns=1)
    r = np.hypot(*x.T)
    angle = 2 * np.pi * ((r - 0.1) / 0.9 + y / 3)
    np.testing.assert_allclose(x, np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1), atol=1e-12)
    x, y = data.curves("polynomial", 100, noise=0)
    np.testing.assert_allclose(y, x**3 - 2 * x)


def test_noise_has_the_deviation_asked_for():
    clean, noisy = data.moons(4000, noise=0), data.moons(4000, noise=0.3)
    assert abs((noisy.inputs - clean.inputs).std() - 0.3) < 0.01
    x, clean_y = data.curves("noisy", 4000, noise=0)
    error = data.curves("noisy", 4000, noise=0.1).targets - clean_y
    assert error[x < -1].std() < 0.1 < 0.3 < error[x > 1].std()


def test_blobs_keep_apart():
    for seed in range(10):
        x, y = data.blobs(200, seed=seed, noise=0.1, classes=4, features=3)
        centres = np.stack([x[y == k].mean(axis=0) for k in range(4)])
        apart = np.linalg.norm(centres[:, None] - centres, axis=2) + 10 * np.eye(4)
        assert apart.min() > 1


def test_truth_tables_hold_what_the_operators_say():
    for make, operator in ((data.xor, np.bitwise_xor), (data.and_, np.bitwise_and), (data.or_, np.bitwise_or)):
        x, y = make(dtype=np.float32)
        assert x.dtype == np.float32
        np.testing.assert_array_equal(y, operator(*x.T.astype(int)))
    assert data.xor().column().targets.shape == (4, 1)


def test_digits_come_scaled():
    found = data.handwritten_digits("float32")
    assert found.inputs.dtype == np.float32
    assert (found.inputs.min(), found.inputs.max()) == (0, 1)
    np.testing.assert_array_equal(found.inputs * 16, data.load_digits().images)
    assert found.classes == tuple("0123456789")
    assert data.handwritten_digits().feature_names[8 * 2 + 5] == "r2c5"


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (lambda: data.moons(0), "n=0, and at least 2"),
        (lambda: data.moons(2.5), "n=2.5 must be a whole number"),
        (lambda: data.moons(noise=-1), "noise=-1"),
        (lambda: data.moons(noise=float("nan")), "noise=nan"),
        (lambda: data.circles(noise="much"), "noise='much' must be a number"),
        (lambda: data.moons(seed="zero"), "neither a key nor a whole number"),
        (lambda: data.moons(seed=1.5), "neither a key nor a whole number"),
        (lambda: data.moons(dtype="int64"), "does not hold real numbers"),
        (lambda: data.spirals(arms=1), "arms=1, and at least 2"),
        (lambda: data.spirals(turns=0), "turns=0"),
        (lambda: data.blobs(2, classes=3), "n=2, and at least 3"),
        (lambda: data.curves("sin"), "choose one of line, sine"),
        (lambda: data.names(50_000), "at most 20,000"),
    ],
)
def test_arguments_that_mean_nothing_are_refused_in_words(wrong, part):
    with pytest.raises((DomainError, DtypeError), match=part) as caught:
        wrong()
    assert isinstance(caught.value, BacklitError)


def test_every_public_name_of_data_is_there():
    for name in data.__all__:
        assert getattr(data, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'sun'"):
        data.sun
