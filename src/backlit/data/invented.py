"""Words that nobody wrote: names and sentences made by rule, for models of characters.

The rules stand in the two tables below; the names mean nobody, and nothing is taken from a list.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core import threefry
from backlit.core.errors import DomainError
from backlit.data.seeds import Seed, Words, streams, whole


def _words(text: str) -> list[str]:
    return text.split()


# A name is one to three syllables and an ending. A syllable is an onset, a vowel and, now and then, a coda; the
# ending is an onset and a final. A word is as likely as it often stands in its line.
_FIRST = _words("b d f g h j k l m n p r s t v w br dr el al k l m m n s t r tr gr th sh ch ar or is")
_ONSET = _words("b d f g k l l l m m n n n p r r r s s t t v z nd rd lm rn st")
_VOWEL = _words("a a a a e e e e i i i o o o u ai ea ie")
_CODA = _words("n r l s m")
_FINAL = _words("a a a a e i o ia in en an on is as el or ix eth ara une ina ello")
_INNER = (0, 0, 0, 1, 1, 1, 2)  # syllables between the first and the ending
_MOST, _LONGEST = 20_000, 10
_DRAWS = 16  # numbers set aside for each name, more than it can use

# A sentence: an article, now and then an adjective, a noun, a verb that agrees with it in number, and what it is done
# to or where. So a model must look back to know "sleeps" from "sleep".
_ADJECTIVES = _words("small old red quiet brave green sleepy bright")
_NOUNS = _words("fox owl child river lamp boat cat gardener star bear")
_INTRANSITIVE = _words("sleep sing wait dream shine rest wander")
_TRANSITIVE = _words("see find follow greet draw hear like")
_PLACES = ("in the garden", "near the sea", "under the bridge", "by the old wall", "on the hill", "after the rain")
_IRREGULAR = {"child": "children", "fox": "foxes"}


class _Choices:
    """Decisions one after another, from the numbers set aside for one thing."""

    def __init__(self, numbers: list[int]) -> None:
        self._numbers = iter(numbers)

    def of(self, words: Any) -> Any:
        return words[next(self._numbers) % len(words)]

    def once_in(self, times: int) -> bool:
        return next(self._numbers) % times == 0


def _numbers(key: Words, start: int, count: int, each: int) -> list[list[int]]:
    drawn = threefry.random_bits(key, count * each, start * each)
    found: list[list[int]] = drawn.reshape(count, each).astype(np.int64).tolist()
    return found


def names(n: int = 2000, seed: Seed = 0) -> list[str]:
    """`n` different names that can be said aloud, made by a rule: lower-case letters a to z, 3 to 10 of them.

    A name is a first syllable, up to two more, and an ending, each drawn from the tables at the top of this module;
    one that came before or is longer is passed over. Vowels and consonants take turns closely enough that no three
    vowels and no four consonants meet. `names(100)` is the beginning of `names(200)`. Raises: DomainError for more than
    20,000. Cost: about 10 us a name.

    >>> names(5)
    ['lodalma', 'kelezan', 'drimon', 'potix', 'thelizia']
    """
    wanted = whole(n, "n", "names")
    if wanted > _MOST:
        raise DomainError(f"names: n={wanted:,}; the rule is asked for at most {_MOST:,} different names.")
    (key,) = streams(seed, 1, "names")
    found: dict[str, None] = {}
    start = 0
    while len(found) < wanted:
        for numbers in _numbers(key, start, 512, _DRAWS):
            name = _name(_Choices(numbers))
            if len(name) <= _LONGEST:
                found.setdefault(name)
        start += 512
    return list(found)[:wanted]


def _name(choose: _Choices) -> str:
    name = choose.of(_FIRST) + choose.of(_VOWEL)
    for _ in range(choose.of(_INNER)):
        name += choose.of(_CODA) if choose.once_in(6) else ""
        name += choose.of(_ONSET) + choose.of(_VOWEL)
    ending: str = choose.of(_ONSET) + choose.of(_FINAL)
    return str(name + ending)


def sentences(n: int = 1000, seed: Seed = 0) -> str:
    """`n` small sentences made by a rule, one a line: a text of about 30 characters each, for `windows`.

    The verb agrees with its noun ("the old fox sleeps", "two foxes sleep"), so that a model has something to look back
    for. Small letters, spaces, full stops and ends of lines. `sentences(100)` is the beginning of `sentences(200)`.

    >>> print(sentences(2), end="")
    a bear greets a red gardener.
    many red foxes find two foxes.
    """
    wanted = whole(n, "n", "sentences")
    (key,) = streams(seed, 1, "sentences")
    return "".join(f"{_sentence(_Choices(numbers))}.\n" for numbers in _numbers(key, 0, wanted, _DRAWS))


def _sentence(choose: _Choices) -> str:
    many = choose.once_in(2)
    subject = _noun(choose, many)
    if choose.once_in(2):
        verb, rest = choose.of(_INTRANSITIVE), choose.of(_PLACES)
    else:
        verb, rest = choose.of(_TRANSITIVE), _noun(choose, choose.once_in(3))
    return f"{subject} {verb}{'' if many else 's'} {rest}"


def _noun(choose: _Choices, many: bool) -> str:
    article = choose.of(("the", "two", "many") if many else ("the", "the", "a"))
    adjective = f" {choose.of(_ADJECTIVES)}" if choose.once_in(2) else ""
    noun = choose.of(_NOUNS)
    plural = _IRREGULAR.get(noun, f"{noun}s") if many else noun
    if article == "a" and (adjective or f" {noun}")[1] in "aeiou":
        article = "an"
    return f"{article}{adjective} {plural}"
