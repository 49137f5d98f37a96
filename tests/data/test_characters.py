"""Names and texts made by rule, and the data sets of characters made of them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from backlit import data
from backlit.core.errors import DataError, DtypeError
from backlit.data import invented


def test_names_are_different_and_can_be_said():
    names = data.names(2000)
    assert len(set(names)) == len(names) == 2000
    for name in names:
        assert re.fullmatch("[a-z]{3,10}", name)
        assert not re.search("[aeiou]{3}|[^aeiou]{4}", name)
    assert data.names(100) == names[:100]
    assert data.names(100, seed=1) != names[:100]


def test_names_are_not_a_few_patterns_over_and_over():
    names = data.names(2000)
    assert len({name[:3] for name in names}) > 200
    assert len({name[-3:] for name in names}) > 200
    assert 20 <= len(set("".join(names))) <= 26


def test_verbs_agree_with_their_nouns():
    text = data.sentences(400)
    lines = text.splitlines()
    assert len(lines) == 400
    assert data.sentences(10) == "".join(f"{line}.\n" for line in (line.rstrip(".") for line in lines[:10]))
    verbs = {*invented._TRANSITIVE, *invented._INTRANSITIVE}
    for line in lines:
        words = line.rstrip(".").split()
        verb = next(word for word in words if word in verbs or word.removesuffix("s") in verbs)
        noun = words[words.index(verb) - 1]
        plural = noun == "children" or (noun.endswith("s") and noun != "s")
        assert plural != verb.endswith("s"), line
    assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text)


def test_next_character_tells_each_name_from_its_beginning_to_its_end():
    names = ["anna", "bo"]
    found = data.next_character(names, context=3)
    letters = data.Alphabet(found.classes)
    assert letters.characters == (".", "a", "b", "n", "o")
    rows = [f"{letters.decode(x)}>{letters.decode([y])}" for x, y in zip(*found, strict=True)]
    assert rows == ["...>a", "..a>n", ".an>n", "ann>a", "nna>.", "...>b", "..b>o", ".bo>."]
    assert found.inputs.dtype == found.targets.dtype == np.int64


def test_held_out_names_get_the_numbers_of_the_alphabet_given():
    letters = data.alphabet_of(["abc"], end=".")
    found = data.next_character(["ca"], 2, alphabet=letters)
    assert found.inputs.tolist() == [[0, 0], [0, 3], [3, 1]]
    with pytest.raises(DataError, match=r"'x', at place 1 of 'ax', is not in the alphabet"):
        data.next_character(["ax"], 2, alphabet=letters)


def test_windows_are_followed_by_themselves_one_later():
    text = data.sentences(20)
    found = data.windows(text, 16)
    assert found.inputs.shape == found.targets.shape == (len(text) - 16, 16)
    np.testing.assert_array_equal(found.inputs[:, 1:], found.targets[:, :-1])
    letters = data.Alphabet(found.classes)
    assert letters.decode(found.inputs[5]) == text[5:21]
    assert letters.decode(found.targets[5]) == text[6:22]
    apart = data.windows(text, 16, stride=16)
    np.testing.assert_array_equal(apart.inputs, found.inputs[::16])
    assert apart.feature_names == ()


def test_encode_and_decode_undo_each_other():
    letters = data.alphabet_of("héllo wörld")
    assert letters.decode(letters.encode("öréo")) == "öréo"
    assert letters.encode("").shape == (0,)
    assert letters.decode([]) == ""
    assert letters == data.Alphabet("".join(letters.characters))
    assert hash(letters) == hash(data.Alphabet(letters.characters))


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (lambda: data.next_character([]), "no texts"),
        (lambda: data.next_character("anna"), "give a list of names"),
        (lambda: data.next_character(["anna", ""]), "item 1 is empty"),
        (lambda: data.next_character(["anna", 3]), "item 1 is 3"),
        (lambda: data.next_character(["a.b"]), "marks the end"),
        (lambda: data.next_character(["a.b"], alphabet=data.Alphabet(".ab")), "marks the end"),
        (lambda: data.next_character(["ab"], context=0), "context=0"),
        (lambda: data.windows("abc", 3), "at least 4 are needed"),
        (lambda: data.windows(["abc"], 2), "not a text"),
        (lambda: data.windows("abcd", 2, stride=0), "stride=0"),
        (lambda: data.Alphabet("aa"), "stands twice"),
        (lambda: data.Alphabet(["ab"]), "single characters"),
        (lambda: data.Alphabet(""), "at least one character"),
        (lambda: data.Alphabet("ab").decode([2]), "2 is no place"),
        (lambda: data.Alphabet("ab").decode([-1]), "-1 is no place"),
        (lambda: data.Alphabet("ab").decode([0.5]), "not whole numbers"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(wrong, part):
    with pytest.raises((DataError, DtypeError, ValueError), match=part):
        wrong()
