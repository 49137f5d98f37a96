"""Random bits: known answers, the promises of a counter-based stream, and statistics.

Every seed is fixed, so a statistical test passes always or never.
"""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import numpy.typing as npt
import pytest

from backlit.core import threefry as tf
from backlit.core.errors import BacklitError, DomainError, DtypeError, ShapeError

KEY = tf.key_from_seed(2011)

# Random123's published known answers for threefry2x32, 20 rounds: counter, key, result.
KNOWN_ANSWERS = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]

FROZEN_NORMALS = ["0x1.a5909049a140fp-3", "0x1.ee34b9e740f73p-2", "0x1.15990b62abc4dp-2"]
FROZEN_NORMALS_XOR = 0x80E8A37A4EE1CCB3
FROZEN_PERMUTATION = [7, 1, 5, 2, 0, 6, 4, 3]
FROZEN_SPLIT = [[1630104743, 2146109044], [727866121, 2463789730]]
FROZEN_FOLD = [1796417008, 2426268328]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_cipher_gives_the_published_known_answers(counter, key, answer):
    y0, y1 = tf.threefry2x32(key, *counter)
    assert (int(y0), int(y1)) == answer
    assert tf._encrypt_ints(*key, *counter) == answer


def test_int_path_and_array_path_agree():
    counters = np.random.default_rng(0).integers(0, 2**32, (50, 2), dtype=np.uint32)
    y0, y1 = tf.threefry2x32(KEY, counters[:, 0], counters[:, 1])
    words = (int(KEY[0]), int(KEY[1]))
    for (c0, c1), a, b in zip(counters.tolist(), y0, y1, strict=True):
        assert tf._encrypt_ints(*words, c0, c1) == (a, b)


def test_cipher_broadcasts_and_leaves_its_inputs_alone():
    x0 = np.arange(6, dtype=np.uint32).reshape(2, 3)
    y0, y1 = tf.threefry2x32((1, 2), x0, 5)
    assert y0.shape == y1.shape == (2, 3)
    assert (x0 == np.arange(6).reshape(2, 3)).all()
    one = tf.threefry2x32((1, 2), 4, 5)
    assert (int(one[0]), int(one[1])) == (int(y0[1, 1]), int(y1[1, 1]))


def test_words_of_the_stream_are_the_encrypted_block_numbers():
    block = (1 << 40) + 12345
    y0, y1 = tf.threefry2x32(KEY, block & 0xFFFFFFFF, block >> 32)
    assert tf.random_bits(KEY, 2, offset=2 * block).tolist() == [int(y0), int(y1)]


# One stream, however it is cut

DRAWS = {
    "bits": tf.random_bits,
    "uniform64": lambda key, n, offset=0: tf.uniform(key, n, np.float64, offset),
    "uniform32": lambda key, n, offset=0: tf.uniform(key, n, np.float32, offset),
    "uniform16": lambda key, n, offset=0: tf.uniform(key, n, np.float16, offset),
    "normal64": lambda key, n, offset=0: tf.normal(key, n, np.float64, offset),
    "normal32": lambda key, n, offset=0: tf.normal(key, n, np.float32, offset),
    "normal16": lambda key, n, offset=0: tf.normal(key, n, np.float16, offset),
    "randint": lambda key, n, offset=0: tf.randint(key, n, -5, 1000, offset),
    "randint redrawn": lambda key, n, offset=0: tf.randint(key, n, -(2**62), 2**62 + 1, offset),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_a_slice_of_the_stream_is_the_stream_drawn_with_an_offset(draw):
    n = 2 * tf._CHUNK + 77  # three chunks
    whole = draw(KEY, n)
    assert whole.shape == (n,)
    for start, size in [(0, 0), (0, 1), (1, 1), (1, 2), (3, 40), (tf._CHUNK - 1, 3), (5, n - 5), (n - 1, 1)]:
        np.testing.assert_array_equal(draw(KEY, size, offset=start), whole[start : start + size])


def test_stream_goes_on_across_the_carry_into_the_high_counter_word():
    edge = 2 * 2**32  # the first word whose block number needs more than 32 bits
    whole = tf.random_bits(KEY, 200, offset=edge - 100)
    pieces = [tf.random_bits(KEY, 1, offset=edge - 100 + i)[0] for i in range(200)]
    assert whole.tolist() == pieces
    assert len(set(whole.tolist())) == 200


def test_drawing_twice_gives_the_same_and_different_keys_differ():
    assert (tf.random_bits(KEY, 100) == tf.random_bits(KEY, 100)).all()
    assert (tf.random_bits(KEY, 1000) == tf.random_bits(tf.key_from_seed(2012), 1000)).sum() < 3


def test_stream_values_are_frozen():
    """One stream everywhere and for ever: no machine, version of ours or NumPy release may change these."""
    key = tf.key_from_seed(0)
    assert tf.random_bits(key, 2).tolist() == [0x6B200159, 0x99BA4EFE]
    assert tf.uniform(key, 1)[0] == (0x6B20015999BA4EFE >> 11) / 2**53
    assert tf.uniform(key, 1, np.float32)[0] == (0x6B200159 >> 8) / 2**24
    z = tf.normal(key, 100_000)  # has numbers from all branches but the far tail
    assert [v.hex() for v in z[:3].tolist()] == FROZEN_NORMALS
    assert int(np.bitwise_xor.reduce(z.view(np.uint64))) == FROZEN_NORMALS_XOR
    assert tf.permutation(key, 8).tolist() == FROZEN_PERMUTATION
    assert tf.split(key, 2).tolist() == FROZEN_SPLIT
    assert tf.fold_in(key, 1).tolist() == FROZEN_FOLD


# Keys


def test_seeds_of_64_bits_give_distinct_keys():
    seeds = [0, 1, 2**31, 2**32, 2**32 + 1, 2**63, 2**64 - 2, -1, -(2**63) + 1]
    assert len({tuple(tf.key_from_seed(s).tolist()) for s in seeds}) == len(seeds)
    assert tf.key_from_seed(-1).tolist() == tf.key_from_seed(2**64 - 1).tolist()
    assert tf.key_from_seed(np.int32(7)).tolist() == [0, 7]


def test_children_of_a_key_are_fresh():
    children = tf.split(KEY, 1000)
    assert children.shape == (1000, 2)
    assert children.dtype == np.uint32
    assert (tf.split(KEY, 3) == children[:3]).all()
    folded = np.stack([tf.fold_in(KEY, i) for i in range(1000)])
    stream = tf.random_bits(KEY, 2000).reshape(1000, 2)
    everything = np.concatenate([children, folded, stream, KEY[None]])
    assert len({tuple(row) for row in everything.tolist()}) == 3001


def test_streams_of_parent_and_children_are_uncorrelated():
    keys = [KEY, *tf.split(KEY, 4), *(tf.fold_in(KEY, i) for i in range(3))]
    draws = np.stack([tf.normal(k, 20_000) for k in keys])
    off_diagonal = np.corrcoef(draws)[~np.eye(len(keys), dtype=bool)]
    assert np.abs(off_diagonal).max() < 4 / math.sqrt(20_000)


def test_tuple_list_and_array_keys_are_one():
    for same in [(0, 2011), [0, 2011], np.array([0, 2011])]:
        assert (tf.random_bits(same, 9) == tf.random_bits(KEY, 9)).all()


def test_fold_in_takes_64_bits():
    numbers = [0, 1, 2**32, 2**32 + 1, 2**63, -1]
    assert len({tuple(tf.fold_in(KEY, i).tolist()) for i in numbers}) == len(numbers)


# Distributions


def kolmogorov_smirnov(sample: npt.NDArray[np.float64], cdf) -> float:
    """sqrt(n) times the largest distance from the sample's distribution to `cdf`; above 1.95 once in 1000."""
    x = np.sort(sample)
    n = x.size
    expected = cdf(x)
    above = (np.arange(1, n + 1) / n - expected).max()
    below = (expected - np.arange(n) / n).max()
    return math.sqrt(n) * max(above, below)


def normal_cdf(x):
    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])


def chi_square_is_plausible(counts: npt.NDArray[np.int64]) -> bool:
    """Within 4 standard deviations of equally likely cells (by Wilson and Hilferty's approximation)."""
    expected = counts.sum() / counts.size
    freedom = counts.size - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    z = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return bool(abs(z) < 4)


def test_every_bit_of_a_word_is_fair():
    n = 100_000
    bits = np.unpackbits(tf.random_bits(KEY, n).view(np.uint8)).reshape(n, 32)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 4 * 0.5 / math.sqrt(n)


def test_bytes_of_the_stream_are_equally_likely():
    counts = np.bincount(tf.random_bits(KEY, 200_000).view(np.uint8), minlength=256)
    assert chi_square_is_plausible(counts)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_uniform_has_the_moments_and_the_distribution_of_the_unit_interval(dtype):
    x = tf.uniform(KEY, 50_000, dtype)
    assert x.dtype == dtype
    assert x.min() >= 0
    assert x.max() < 1
    x = x.astype(np.float64)
    assert abs(x.mean() - 0.5) < 4 * math.sqrt(1 / 12 / x.size)
    assert abs(x.var() - 1 / 12) < 4 * math.sqrt(1 / 180 / x.size)
    if dtype != np.float16:  # 2**-11 apart: a step that the test would see
        assert kolmogorov_smirnov(x, lambda v: v) < 1.95


def test_uniform01_of_extreme_words_stays_below_one():
    high = np.full(2, 0xFFFFFFFF, np.uint32)
    zero = np.zeros(2, np.uint32)
    for dtype, precision in [(np.float64, 53), (np.float32, 24), (np.float16, 11)]:
        assert tf.uniform01(high, dtype).max() == 1 - 2.0**-precision
        assert tf.uniform01(zero, dtype).max() == 0
        assert tf.uniform01(high, dtype).size == (1 if dtype == np.float64 else 2)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_normal_has_the_moments_and_the_distribution_of_the_bell_curve(dtype):
    z = tf.normal(KEY, 50_000, dtype)
    assert z.dtype == dtype
    z = z.astype(np.float64)
    n = z.size
    assert abs(z.mean()) < 4 / math.sqrt(n)
    assert abs(z.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((z**3).mean()) < 4 * math.sqrt(15 / n)
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / n)
    assert kolmogorov_smirnov(z, normal_cdf) < 1.95


def test_normal_is_symmetric_and_finite_at_the_extreme_words():
    far = np.array([0, 2**63], np.uint64)
    near = np.array([2**63 - 1, 2**64 - 1], np.uint64)
    z = tf._normal_of_64(np.concatenate([far, near]))
    assert z[0] == -z[1]
    assert 9.0 < z[0] < 9.2
    assert z[2] == -z[3]
    assert 0 < z[2] < 1e-18
    z32 = tf._normal_of_32(np.array([0, 2**31, 2**31 - 1, 2**32 - 1], np.uint32))
    assert z32[0] == -z32[1]
    assert 6.2 < z32[0] < 6.4
    assert z32[2] == -z32[3]
    assert 0 < z32[2] < 1e-9


def test_quantile_agrees_with_the_standard_library():
    p = np.concatenate([tf.uniform(KEY, 2000), 10.0 ** -np.linspace(0.5, 300, 500), 1 - 2.0 ** -np.arange(1, 53)])
    p = p[(p > 0) & (p < 1)]
    expected = [statistics.NormalDist().inv_cdf(v) for v in p.tolist()]
    np.testing.assert_allclose(tf.ndtri(p), expected, rtol=2e-15, atol=0)


def test_quantile_has_fifteen_right_digits():
    mpmath = pytest.importorskip("mpmath", reason="reference values to 50 digits")
    p = np.concatenate([tf.uniform(KEY, 200), 10.0 ** -np.linspace(0.5, 300, 100)])
    with mpmath.workdps(50):
        for probability, z in zip(p.tolist(), tf.ndtri(p).tolist(), strict=True):
            exact = mpmath.mpf(z)
            for _ in range(3):  # Newton's method
                density = mpmath.exp(-exact * exact / 2) / mpmath.sqrt(2 * mpmath.pi)
                exact -= (mpmath.erfc(-exact / mpmath.sqrt(2)) / 2 - mpmath.mpf(probability)) / density
            assert abs(z / exact - 1) < 1e-15


def test_quantile_at_the_edges():
    z = tf.ndtri([0.0, 1.0, 0.5, -0.1, 1.1, math.nan, 5e-324])
    assert z[0] == -math.inf
    assert z[1] == math.inf
    assert z[2] == 0
    assert not np.signbit(z[2])
    assert np.isnan(z[3:6]).all()
    assert -38.5 < z[6] < -38.4
    assert tf.ndtri(0.25).shape == ()
    assert tf.ndtri(np.zeros((2, 0))).shape == (2, 0)


def test_own_logarithm_is_within_two_units_in_the_last_place():
    x = np.concatenate([np.linspace(1e-3, 0.999, 1000), 2.0 ** -np.arange(1, 1075, 7)])
    expected = np.array([math.log(v) for v in x.tolist()])
    assert (np.abs(tf._log(x) - expected) <= 2 * np.spacing(np.abs(expected))).all()


@pytest.mark.parametrize("n", [2, 3, 4])
def test_every_order_of_a_few_items_is_equally_likely(n):
    orders = {order: i for i, order in enumerate(itertools.permutations(range(n)))}
    drawn = [orders[tuple(tf.permutation(key, n).tolist())] for key in tf.split(KEY, 5000)]
    assert chi_square_is_plausible(np.bincount(drawn, minlength=len(orders)))


def test_permutation_holds_every_item_once():
    for n in [0, 1, 2, 1000]:
        order = tf.permutation(KEY, n)
        assert order.dtype == np.int64
        assert sorted(order.tolist()) == list(range(n))
    assert tf.permutation(KEY, 1000).tolist() != list(range(1000))


@pytest.mark.parametrize(("low", "high"), [(0, 2), (-3, 4), (0, 10), (1_000_000, 1_000_100)])
def test_integers_are_equally_likely(low, high):
    drawn = tf.randint(KEY, 50_000, low, high)
    assert drawn.dtype == np.int64
    assert drawn.min() == low
    assert drawn.max() == high - 1
    assert chi_square_is_plausible(np.bincount(drawn - low, minlength=high - low))


def test_integers_of_a_range_where_a_third_must_be_redrawn_are_still_fair():
    """Span 3 * 2**62: without the redraw the lowest third of the range would come up twice as often."""
    low, span = -(2**62), 3 * 2**62
    drawn = tf.randint(KEY, 30_000, low, low + span)
    thirds = ((drawn.astype(np.float64) - low) / 2**62).astype(np.int64).clip(0, 2)
    assert chi_square_is_plausible(np.bincount(thirds, minlength=3))


def test_integers_reach_the_ends_of_int64():
    whole = tf.randint(KEY, 1000, -(2**63), 2**63)
    assert whole.min() < -(2**62)
    assert whole.max() > 2**62
    assert (tf.randint(KEY, 50, 2**63 - 1, 2**63) == 2**63 - 1).all()
    assert (tf.randint(KEY, 50, -(2**63), -(2**63) + 1) == -(2**63)).all()
    assert (tf.randint(KEY, 3, 5, 6) == 5).all()


def test_nothing_can_be_drawn():
    assert tf.random_bits(KEY, 0).shape == (0,)
    assert tf.normal(KEY, 0).shape == tf.uniform(KEY, 0, np.float32).shape == tf.randint(KEY, 0, 0, 3).shape == (0,)
    assert tf.split(KEY, 0).shape == (0, 2)


# Mistakes


@pytest.mark.parametrize(
    ("call", "error", "part"),
    [
        (lambda: tf.random_bits(0, 3), DtypeError, "got 0 (int); make a key with key_from_seed"),
        (
            lambda: tf.random_bits(tf.split(KEY, 3), 3),
            ShapeError,
            r"\(3, 2\); make a key .* one row of split",
        ),
        (lambda: tf.random_bits(np.zeros(2), 3), DtypeError, "array of float64"),
        (lambda: tf.random_bits((1, 2, 3), 3), ShapeError, "got 3 of them"),
        (lambda: tf.random_bits((0, 2**32), 3), DomainError, r"got \(0, 4294967296\)"),
        (lambda: tf.random_bits((0, 0.5), 3), DtypeError, r"got 0.5 \(float\)"),
        (lambda: tf.random_bits(KEY, -1), DomainError, "n must not be negative, got -1"),
        (lambda: tf.random_bits(KEY, 1.0), DtypeError, r"n must be an int, got 1.0 \(float\)"),
        (lambda: tf.random_bits(KEY, 1, offset=2**63), DomainError, "end of a stream"),
        (lambda: tf.split(KEY, 2**32 + 1), DomainError, "4294967297"),
        (lambda: tf.key_from_seed(2**64), DomainError, "18446744073709551616"),
        (lambda: tf.key_from_seed(1.5), DtypeError, "seed must be an int, got 1.5"),
        (lambda: tf.fold_in(KEY, -(2**63) - 1), DomainError, "data must be"),
        (lambda: tf.randint(KEY, 1, 3, 3), DomainError, "low = 3, high = 3"),
        (lambda: tf.randint(KEY, 1, 0, 2**63 + 1), DomainError, "high = 9223372036854775809"),
        (lambda: tf.uniform(KEY, 1, np.int64), DtypeError, "uniform: dtype .* got int64"),
        (lambda: tf.normal(KEY, 1, "complex128"), DtypeError, "normal: dtype .* got complex128"),
        (lambda: tf.uniform01(np.zeros(3, np.uint32)), ShapeError, "3 words are odd"),
        (lambda: tf.uniform01(np.zeros(2)), DtypeError, "got float64"),
    ],
)
def test_mistakes_are_named_with_their_value_and_a_cure(call, error, part):
    with pytest.raises(error, match=part.replace("(int)", r"\(int\)")) as caught:
        call()
    assert isinstance(caught.value, BacklitError)
