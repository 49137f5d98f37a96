"""How explanations put small things: checks, names, notes. What is said must be true of the numbers."""

from __future__ import annotations

import numpy as np

import backlit as bl


def test_the_check_names_what_was_moved():
    a, b = bl.values(a=2.0, b=-3.0)
    y = a * b
    assert bl.why(a, of=y).check.text == "when a moves a little either way, y changes -3 times as much: nudging agrees."
    total = a + b
    assert "when a moves a little either way, total changes by as much" in bl.why(a, of=total).check.text


def test_the_check_of_a_zero_does_not_speak_of_its_own_rounding():
    w, b = bl.values(w=-1.5, b=1.0)
    loss = (bl.relu(w * 2.0 + b) - 1.0) ** 2
    assert bl.why(w, of=loss).check.text.endswith("loss does not change beyond rounding: nudging agrees.") or bl.why(
        w, of=loss
    ).check.text.endswith("loss does not change at all: nudging agrees.")


def test_a_chain_of_sigmoids_is_told_how_much_it_lets_through_at_most():
    x = bl.Value(3.0, name="x")
    h = x
    for _ in range(12):
        h = bl.sigmoid(h)
    answer = bl.why(x, of=h)
    (note,) = (note for note in answer.notes if "sigmoid" in note)
    assert "12 of them let through at most (1/4)**12 = 5.96e-8" in note
    assert abs(answer.gradient) <= 0.25**12


def test_a_chain_of_tanh_is_not_spoken_of_as_sigmoids():
    x = bl.Value(3.0, name="x")
    h = x
    for _ in range(3):
        h = bl.tanh(h * 8.0)
    assert not [note for note in bl.why(x, of=h).notes if "sigmoid" in note]


def test_an_expression_that_is_numbered_stands_in_parentheses():
    x = bl.Value(0.7, name="x")
    h = x
    for _ in range(2):
        h = 0.5 * (bl.sin(h) + h)
    said = str(bl.paths(h, x, top=1))
    assert "(bl.sin(h) + h)#2" in said
    assert "h + h#" not in said.replace("(bl.sin(h) + h)#", "")


def test_a_plain_array_goes_by_the_name_it_has_in_the_program():
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(4, 3)), bl.Parameter(rng.normal(size=(3, 2)))
    h = X @ W
    loss = bl.mean(h * h)
    dh = h.data * 2 / 8
    said = " ".join(str(bl.by_hand(loss, h=dh, W=dh.T @ X)).split())
    assert "a constant array" not in said
    assert "`X.T @ dh`" in said


def test_health_keeps_within_100_columns():
    x = bl.asarray([[1.0, 2.0], [0.5, 1.5]])
    W = bl.Parameter([[1.0, -1.0], [0.5, -2.0]])
    h = bl.relu(x @ W)
    told = str(bl.health(bl.mean(h)))
    assert "is off for all 2 rows" in told
    assert max(map(len, told.splitlines())) <= 100
