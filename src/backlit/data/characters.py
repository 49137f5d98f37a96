"""Text as numbers: alphabets, and the data sets of models that say which character comes next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backlit.core.errors import DataError, DtypeError
from backlit.data.dataset import Dataset
from backlit.data.seeds import Ints, whole

END = "."


@dataclass(frozen=True)
class Alphabet:
    """Characters and their numbers, which are their places.

    >>> letters = Alphabet(".ab")
    >>> letters.encode("ba"), letters.decode([2, 1]), len(letters)
    (array([2, 1]), 'ba', 3)
    """

    characters: Sequence[str]
    _places: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        letters = tuple(self.characters)
        if not letters:
            raise DataError("an alphabet has at least one character.")
        for letter in letters:
            if not isinstance(letter, str) or len(letter) != 1:
                raise DataError(f"an alphabet holds single characters, unlike {letter!r:.60}.")
        if len(set(letters)) != len(letters):
            twice = next(letter for letter in letters if letters.count(letter) > 1)
            raise DataError(f"the character {twice!r} stands twice in the alphabet.")
        object.__setattr__(self, "characters", letters)
        object.__setattr__(self, "_places", {letter: i for i, letter in enumerate(letters)})

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> Ints:
        """The number of each character: (length,) int64. Raises DataError for one that is not in the alphabet."""
        if not isinstance(text, str):
            raise DtypeError(f"encode: {text!r:.60} is not a text.")
        try:
            return np.array([self._places[letter] for letter in text], np.int64)
        except KeyError as error:
            letter = error.args[0]
            raise DataError(
                f"encode: {letter!r}, at place {text.index(letter)} of {text!r:.40}, is not in the alphabet of "
                f"{len(self)}: {''.join(self.characters)!r:.80}."
            ) from None

    def decode(self, numbers: Any) -> str:
        """The text that these numbers stand for. Raises DataError for a number that is no place in the alphabet."""
        places = np.asarray(numbers)
        if places.size and places.dtype.kind not in "iu":
            raise DtypeError(f"decode: {places.dtype.name} are not whole numbers; give places in the alphabet.")
        flat = places.reshape(-1).tolist()
        for place in flat:
            if not 0 <= place < len(self):
                raise DataError(f"decode: {place} is no place in an alphabet of {len(self)}, 0 to {len(self) - 1}.")
        return "".join(self.characters[place] for place in flat)


def alphabet_of(texts: str | Iterable[str], end: str | None = None) -> Alphabet:
    """All characters that occur, in the order of their code points, after the mark `end`, if one is given.

    >>> alphabet_of(["anna", "bo"], end=".").characters
    ('.', 'a', 'b', 'n', 'o')
    """
    letters = sorted(set(texts) if isinstance(texts, str) else set().union(*map(set, _listed(texts, "alphabet_of"))))
    if end is not None and end in letters:
        raise DataError(f"alphabet_of: {end!r} marks the end and cannot occur in the texts; name another mark.")
    return Alphabet(tuple(letters) if end is None else (end, *letters))


def _listed(texts: Iterable[str], name: str) -> list[str]:
    if isinstance(texts, str):
        raise DtypeError(f"{name}: {texts!r:.40} is one text; give a list of names.")
    found = list(texts)
    for i, text in enumerate(found):
        if not isinstance(text, str):
            raise DtypeError(f"{name}: item {i} is {text!r:.60} and not a text.")
        if not text:
            raise DataError(f"{name}: item {i} is empty.")
    if not found:
        raise DataError(f"{name}: there are no texts.")
    return found


def next_character(
    names: Iterable[str], context: int = 3, *, end: str = END, alphabet: Alphabet | None = None
) -> Dataset:
    """Each character of each name, and its end, after the `context` characters before it.

    inputs (n, context) int64: places in the alphabet, with the mark `end`, place 0, before a name begins; targets (n,)
    int64: what comes next. A name of m characters gives m + 1 rows. `Alphabet(data.classes)` is the alphabet: `end`
    and all characters that occur, unless another is given (so that held-out names get the same numbers). As in Bengio
    et al. 2003, "A neural probabilistic language model", with characters for words.

    >>> data = next_character(["bo"], context=2)
    >>> letters = Alphabet(data.classes)
    >>> [(letters.decode(x), letters.decode([y])) for x, y in zip(*data)]
    [('..', 'b'), ('.b', 'o'), ('bo', '.')]
    """
    texts = _listed(names, "next_character")
    length = whole(context, "context", "next_character")
    letters = alphabet_of(texts, end) if alphabet is None else alphabet
    mark = int(letters.encode(end)[0])
    for text in texts:
        if end in text:
            raise DataError(f"next_character: {text!r:.60} holds {end!r}, which marks the end; name another mark.")
    rows, wanted = [], []
    before = [mark] * length
    for text in texts:
        codes = [*before, *letters.encode(text).tolist(), mark]
        for i in range(length, len(codes)):
            rows.append(codes[i - length : i])
            wanted.append(codes[i])
    features = tuple(f"{length - i} before" for i in range(length))
    return Dataset(
        np.array(rows, np.int64), np.array(wanted, np.int64), features, "next character", tuple(letters.characters)
    )


def windows(text: str, context: int = 32, *, stride: int = 1, alphabet: Alphabet | None = None) -> Dataset:
    """Pieces of a text, and the same one character later: what a character transformer learns from.

    inputs (n, context) int64; targets (n, context) int64, where targets[i, t] is the character after inputs[i, t].
    Pieces begin `stride` characters apart; with stride=context they do not overlap. `Alphabet(data.classes)` is the
    alphabet: all characters of the text, unless another is given. Raises: DataError for a text too short for one.
    Memory: 8 (context + 1) bytes a piece.

    >>> data = windows("hello", context=3)
    >>> letters = Alphabet(data.classes)
    >>> [(letters.decode(x), letters.decode(y)) for x, y in zip(*data)]
    [('hel', 'ell'), ('ell', 'llo')]
    """
    if not isinstance(text, str):
        raise DtypeError(f"windows: {text!r:.60} is not a text.")
    length, apart = whole(context, "context", "windows"), whole(stride, "stride", "windows")
    if len(text) <= length:
        raise DataError(
            f"windows: a text of {len(text)} characters holds no piece of context={length} with the character after "
            f"it; at least {length + 1} are needed."
        )
    letters = alphabet_of(text) if alphabet is None else alphabet
    codes = letters.encode(text)
    pieces = np.lib.stride_tricks.sliding_window_view(codes, length + 1)[::apart].copy()
    return Dataset(pieces[:, :-1], pieces[:, 1:], (), "next character", tuple(letters.characters))
