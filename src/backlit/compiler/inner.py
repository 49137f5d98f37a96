"""The body of an inner loop, taken apart: what is the same in every turn, what counts the turns, what is new in each.

Turns can be taken side by side if none reads what another one writes, but for a value that is carried through all of
them by what is associative. Then `abreast` writes the loop on vectors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from backlit.compiler import vector_math

NAME = re.compile(r"%[\w.]+")
_SUM = re.compile(r"(add|sub|mul)(?: nuw)?(?: nsw)? i64 (\S+), (\S+)$")
_PLACE = re.compile(r"getelementptr inbounds (\w+), ptr (\S+), i64 (\S+)$")
_LOAD = re.compile(r"load (\w+), ptr (\S+), align (\d+)$")
_STORE = re.compile(r"store (\w+) (\S+), ptr (\S+), align (\d+)$")
_CALLED = re.compile(r"call (\w+) @bl\.(.*)\.\w+\(")
_WORDS = re.compile(r"([ ,()]+)")

TOGETHER = 64
"""Turns between two numbers that are known only later are told in multiples of this."""

Line = tuple[str, list[str]]
"""The name of a result, empty for a store, and an instruction in words."""
Form = dict[str, int]
"""A whole number as a sum of multiples of names; the name "" is 1."""


@dataclass
class Fold:
    """A value that is carried through the turns by what is associative: its type, what it is at first, what changes
    nothing; its name within a turn, the name of what is taken up, and that of what it is after it. lines: how many of
    the last instructions of a turn take it up. brief: whether little code is worth more than little time.
    """

    kind: str
    start: str
    nothing: str
    now: str
    term: str
    following: str
    lines: int
    brief: bool = False


@dataclass
class Turns:
    """Turns of a loop: `count` of them, of which those from `first` to `end` are to be taken. Where these are known
    only later, both are multiples of TOGETHER, or `end` is `count`; if only `end` is, it is such a multiple, and not 0.
    """

    counter: str
    count: int
    first: str = "0"
    end: str = ""


class NotVectors(Exception):  # noqa: N818  nothing is wrong
    """The turns cannot be taken side by side."""


class Inner:
    """The body of a loop, and what each of its instructions depends on. Raises NotVectors.

    once: instructions that are the same in every turn. indices: those that count turns, or say where something stands
    in memory. lines: all others, in words. joining: of these, what takes a turn's term up into what is folded.
    """

    def __init__(self, turns: Turns, body: Sequence[str], fold: Fold | None = None) -> None:
        self.turns, self.fold = turns, fold
        self.once: list[str] = []
        self.indices: list[tuple[str, str]] = []
        self.lines: list[Line] = []
        self.joining: list[Line] = []
        self.forms: dict[str, Form] = {turns.counter: {turns.counter: 1}}
        self.places: dict[str, tuple[str, str, Form]] = {}  # pointers: where they begin, elements, how many
        self.varying: set[str] = {fold.now} if fold else set()
        self._read: list[tuple[str, str, Form | None]] = []
        self._written: list[tuple[str, str, Form]] = []
        for line in body:
            self._take(line.strip())
        self._check()

    @property
    def kinds(self) -> set[str]:
        """The types of what each turn loads, stores and folds."""
        kinds = {kind for _, kind, form in self._read if form is None or self.step(form)}
        kinds.update(kind for _, kind, _ in self._written)
        return kinds | {self.fold.kind} if self.fold else kinds

    # -- what depends on what -----------------------------------------------------------------------------------

    def _take(self, line: str) -> None:
        if line.startswith("store") and (found := _STORE.match(line)):
            kind, _, pointer, _ = found.groups()
            place = self.places.get(pointer)
            if place is None or self.step(place[2]) != 1 or place[1] != kind:
                raise NotVectors
            self._written.append(place)
            self.lines.append(("", ["store", *found.groups()]))
            return
        name, sign, what = line.partition(" = ")
        if not sign or "<" in what:  # another loop, or vectors
            raise NotVectors
        verb = what[: what.index(" ")]
        if verb in ("add", "sub", "mul") and (found := _SUM.match(what)):
            self._sum(name, what, *found.groups())
        elif verb == "getelementptr" and (found := _PLACE.match(what)):
            self._place(name, what, *found.groups())
        elif verb == "load" and (found := _LOAD.match(what)):
            self._load(name, what, *found.groups())
        else:
            words = _WORDS.split(what)
            if any(word in self.varying or self._moves(word) for word in words if word[:1] == "%"):
                called = verb == "call" and _CALLED.match(what)
                if called and called[1] in vector_math.WHOLE:
                    raise NotVectors
                self._vary(name, what, words)
            else:
                self._before(name, what)

    def step(self, form: Form) -> int:
        """By how much it grows from turn to turn."""
        return form.get(self.turns.counter, 0)

    def _moves(self, name: str) -> bool:
        """Whether it is a number, or a place, that goes on with the turns."""
        form = self.forms.get(name)
        if form is None and name in self.places:
            form = self.places[name][2]
        return form is not None and self.step(form) != 0

    def _vary(self, name: str, what: str, words: list[str] | None = None) -> None:
        self.varying.add(name)
        self.lines.append((name, words or _WORDS.split(what)))

    def _before(self, name: str, what: str) -> None:
        self.once.append(f"  {name} = {what}")

    def _form(self, number: str) -> Form:
        if number.lstrip("-").isdigit():
            return {"": int(number)}
        return self.forms.get(number, {number: 1})

    def _sum(self, name: str, what: str, how: str, a: str, b: str) -> None:
        if a in self.varying or b in self.varying:
            return self._vary(name, what)
        left, right = self._form(a), self._form(b)
        if how == "mul":
            if not set(left) <= {""}:
                left, right = right, left
            if set(left) <= {""}:
                form = _sum_of({}, right, left.get("", 0))
            elif self.step(left) or self.step(right):
                return self._vary(name, what)
            else:
                form = {name: 1}
        else:
            form = _sum_of(left, right, 1 if how == "add" else -1)
        if not self.step(form) and (self.step(left) or self.step(right)):
            return self._vary(name, what)  # i - i is the same in every turn, but there is no i before the loop
        self.forms[name] = form
        return self._count(name, what, form)

    def _count(self, name: str, what: str, form: Form) -> None:
        """An index, or a place: it counts turns, or is the same in all."""
        if self.step(form):
            self.indices.append((name, what))
        else:
            self._before(name, what)

    def _place(self, name: str, what: str, kind: str, base: str, index: str) -> None:
        root, held, form = self.places.get(base, (base, kind, {}))
        if index in self.varying:
            if self.step(form):
                raise NotVectors
            self._read.append((root, kind, None))
            return self._vary(name, what, ["getelementptr", kind, base, index])
        if held != kind or base in self.varying:
            raise NotVectors
        total = _sum_of(form, self._form(index))
        if not self.step(total) and self.step(form):
            raise NotVectors
        self.places[name] = root, kind, total
        return self._count(name, what, total)

    def _load(self, name: str, what: str, kind: str, pointer: str, alignment: str) -> None:
        words = ["load", kind, pointer, alignment]
        if pointer in self.varying:
            return self._vary(name, what, words)
        root, held, form = self.places.get(pointer, (pointer, kind, {}))
        if held != kind:
            raise NotVectors
        self._read.append((root, kind, form))
        if self.step(form):
            return self._vary(name, what, words)
        return self._before(name, what)

    def _check(self) -> None:
        """What is written must not be read in another turn."""
        written = {root: (kind, form) for root, kind, form in self._written}
        for root, kind, form in [*self._written, *self._read]:
            if root in written and written[root] != (kind, form):
                raise NotVectors
        if self.fold is None:
            if not self._written:
                raise NotVectors
            return
        self.joining = self.lines[len(self.lines) - self.fold.lines :]
        own = {name for name, _ in self.joining}
        known = {self.fold.now, self.fold.term, *own}
        if self.fold.following not in own or not self.fold.term.startswith("%"):
            raise NotVectors
        if any(word.startswith("%") and word not in known for _, words in self.joining for word in words):
            raise NotVectors


def _sum_of(a: Form, b: Form, times: int = 1) -> Form:
    """a + times · b."""
    total = dict(a)
    for key, n in b.items():
        total[key] = total.get(key, 0) + times * n
    return {key: n for key, n in total.items() if n}
