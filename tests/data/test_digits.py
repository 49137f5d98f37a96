"""The handwritten digits: what is shipped is the source's data, whole, and damage is reported."""

from __future__ import annotations

import io
from importlib import resources

import numpy as np
import pytest

from backlit.core.errors import BacklitError, DataError
from backlit.data import Digits, digits, load_digits

SHIPPED = resources.files("backlit.data").joinpath("digits.npz").read_bytes()


def test_digits_have_the_published_number_shape_and_range():
    images, labels = load_digits()
    assert images.shape == (1797, 64)
    assert images.dtype == np.float64
    assert labels.shape == (1797,)
    assert labels.dtype == np.int64
    assert images.min() == 0
    assert images.max() == 16
    assert (images == images.round()).all()
    # the number of each digit in the test set, as published with the data
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_first_image_is_a_zero():
    image = load_digits().images[0].reshape(8, 8)
    ring, hole = image[2:6, [2, 5]], image[2:6, 3:5]
    assert (ring > 0).all()
    assert hole.mean() < ring.mean() / 2


def test_images_of_one_digit_resemble_each_other():
    """The nearest class mean is right nine times in ten only if images and labels belong together."""
    images, labels = load_digits()
    means = np.stack([images[:1000][labels[:1000] == d].mean(axis=0) for d in range(10)])
    distance = ((images[1000:, None, :] - means) ** 2).sum(axis=2)
    assert (distance.argmin(axis=1) == labels[1000:]).mean() > 0.85


def test_digits_cannot_be_overwritten_by_accident():
    loaded = load_digits()
    assert isinstance(loaded, Digits)
    for array in loaded:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert load_digits().images is not loaded.images
    loaded.images.copy()[0] = 1


def test_attribution_is_shipped_beside_the_data():
    text = resources.files("backlit.data").joinpath("DIGITS-LICENSE.txt").read_text(encoding="utf-8")
    for part in [
        "Alpaydin",
        "Kaynak",
        "1998",
        "10.24432/C50P49",
        "CC BY 4.0",
        "creativecommons.org/licenses/by/4.0",
    ]:
        assert part in text


def archive(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def some(images_shape=(1797, 64), labels_shape=(1797,), dtype=np.uint8, pixel=0, label=0) -> bytes:
    return archive(images=np.full(images_shape, pixel, dtype), labels=np.full(labels_shape, label, dtype))


def single_array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "it is missing"),
        (b"", "it cannot be read"),
        (b"not an archive", "it cannot be read"),
        (SHIPPED[: len(SHIPPED) // 2], "it cannot be read"),
        (SHIPPED[:20_000] + bytes([SHIPPED[20_000] ^ 1]) + SHIPPED[20_001:], "it cannot be read"),
        (single_array(), "it cannot be read"),
        (archive(images=np.zeros((1797, 64), np.uint8)), "labels"),
        (archive(images=np.array([{}], dtype=object), labels=np.zeros(1797, np.uint8)), "it cannot be read"),
        (
            some(images_shape=(1796, 64)),
            r"`images` is uint8 of shape \(1796, 64\), not uint8 of shape \(1797, 64\)",
        ),
        (some(labels_shape=(1797, 1)), r"`labels` is uint8 of shape \(1797, 1\)"),
        (some(dtype=np.int64), "`images` is int64"),
        (some(pixel=17), "`images` holds 17, above 16"),
        (some(label=10), "`labels` holds 10, above 9"),
    ],
    ids=[
        "missing",
        "empty",
        "text",
        "cut short",
        "one bit flipped",
        "an npy file",
        "no labels",
        "a pickle",
        "an image short",
        "labels in a column",
        "wide integers",
        "too bright",
        "no such digit",
    ],
)
def test_a_damaged_file_is_reported_with_what_is_wrong(content, part, tmp_path, monkeypatch):
    if content is not None:
        (tmp_path / "digits.npz").write_bytes(content)
    monkeypatch.setattr(digits.resources, "files", lambda package: tmp_path)
    with pytest.raises(DataError, match=part) as caught:
        load_digits()
    assert isinstance(caught.value, BacklitError)
    assert isinstance(caught.value, ValueError)
    assert "digits.npz is damaged" in str(caught.value)
    assert "Install the package again" in str(caught.value)


def test_a_flipped_bit_is_noticed_or_harmless(tmp_path, monkeypatch):
    """Wherever the bit lies: data never loads wrong."""
    truth = load_digits()
    monkeypatch.setattr(digits.resources, "files", lambda package: tmp_path)
    generator = np.random.default_rng(0)
    noticed = 0
    for where, bit in zip(generator.integers(0, len(SHIPPED), 60), generator.integers(0, 8, 60), strict=True):
        content = bytearray(SHIPPED)
        content[where] ^= 1 << bit
        (tmp_path / "digits.npz").write_bytes(content)
        try:
            images, labels = load_digits()
        except DataError:
            noticed += 1
        else:
            assert (images == truth.images).all()
            assert (labels == truth.labels).all()
    assert noticed > 50


@pytest.mark.peers
def test_digits_equal_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    theirs = datasets.load_digits()
    ours = load_digits()
    np.testing.assert_array_equal(ours.images, theirs.data)
    np.testing.assert_array_equal(ours.labels, theirs.target)
