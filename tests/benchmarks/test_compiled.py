"""The contestants of `benchmarks.compiled` do the same work: a benchmark of different sums would show nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import compiled
from benchmarks.compiled_peers import by_backlit, by_c, by_numpy
from benchmarks.compiled_peers.problems import PROBLEMS


@pytest.mark.parametrize("name", ["xor", "moons"])
def test_ours_agrees_with_derivatives_by_hand(name):
    problem = PROBLEMS[name]()
    contestants = by_backlit.contestants(problem) | by_numpy.contestants(problem) | by_c.contestants(problem)
    assert len(contestants) >= 2
    compiled.agree(replace(compiled.WORKS[name], steps=20), problem, contestants)


def test_a_contestant_that_does_other_work_is_found_out():
    problem = PROBLEMS["moons"]()
    other = replace(problem, rate=problem.rate * (1 + 1e-6))
    contestants = by_numpy.contestants(problem) | {"other": by_numpy.contestants(other)[by_numpy.NAME]}
    with pytest.raises(AssertionError, match=r"other is off by .* and 1e-10 is allowed"):
        compiled.agree(replace(compiled.WORKS["moons"], steps=20), problem, contestants)


def test_a_run_starts_from_the_first_numbers_each_time():
    (run,) = by_backlit.contestants(PROBLEMS["xor"]()).values()
    for a, b in zip(run(7), run(7), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_ours_agrees_with_pytorch_and_jax(name):
    pytest.importorskip("jax")
    pytest.importorskip("torch")
    from benchmarks.compiled_peers import by_jax, by_torch

    problem = PROBLEMS[name]()
    if problem.steps > 1:
        problem = replace(problem, steps=by_torch.THROUGH_STEPS)
    contestants = by_backlit.contestants(problem) | by_jax.contestants(problem) | by_torch.contestants(problem, False)
    compiled.agree(replace(compiled.WORKS[name], steps=min(compiled.WORKS[name].steps, 5)), problem, contestants)
