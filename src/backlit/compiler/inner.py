"""The body of an inner loop, taken apart: what is the same in every turn, what counts the turns, what is new in each.

Turns can be taken side by side if none reads what another one writes, but for a value that is carried through all of
them by what is associative. Then `abreast` writes the loop on vectors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from backlit.compiler import vector_math

_NAME = re.compile(r"%[\w.]+")
_CALLED = re.compile(r"call (\w+) @bl\.(.*)\.\w+\(")

TOGETHER = 64
"""Turns between two numbers that are known only later are told in multiples of this."""

Line = tuple[str, str, list[str]]
"""The name of a result, empty for a store; an instruction, with %s for each name that it reads; and these names. Of
what has to do with memory the instruction's own name stands alone, and then the words behind it.
"""
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
        self.indices: list[Line] = []
        self.lines: list[Line] = []
        self.joining: list[Line] = []
        self.forms: dict[str, Form] = {turns.counter: {turns.counter: 1}}
        self.places: dict[str, tuple[str, str, Form]] = {}  # pointers: where they begin, elements, how many
        self.varying: set[str] = {fold.now} if fold else set()
        self._read: list[tuple[str, str, Form | None]] = []
        self._written: list[tuple[str, str, Form]] = []
        if any("<" in line or line[0] != " " for line in body):  # vectors, or another loop
            raise NotVectors
        for line in body:
            self._take(line)
        self._check()

    @property
    def kinds(self) -> set[str]:
        """The types of what each turn loads, stores and folds."""
        kinds = {kind for _, kind, form in self._read if form is None or self.step(form)}
        kinds.update(kind for _, kind, _ in self._written)
        return kinds | {self.fold.kind} if self.fold else kinds

    # -- what depends on what -----------------------------------------------------------------------------------

    def _take(self, line: str) -> None:
        words = line.split()
        name, verb = words[0], words[2]
        if name == "store":
            self._store(words[1], words[2][:-1], words[4][:-1], words[6])
        elif verb == "load":
            self._load(line, name, words[3][:-1], words[5][:-1], words[7])
        elif verb == "getelementptr" and words[3] == "inbounds":
            self._place(line, name, words[4][:-1], words[6][:-1], words[8])
        elif verb in ("add", "sub", "mul") and words[-3] == "i64":
            self._sum(line, name, " ".join(words[2:-2]), words[-2][:-1], words[-1])
        else:
            what, read = _apart(line)
            if any(each in self.varying or self._moves(each) for each in read):
                if verb == "call" and (found := _CALLED.match(what)) and found[1] in vector_math.WHOLE:
                    raise NotVectors
                self._vary(name, what, read)
            else:
                self.once.append(line)

    def step(self, form: Form) -> int:
        """By how much it grows from turn to turn."""
        return form.get(self.turns.counter, 0)

    def _moves(self, name: str) -> bool:
        """Whether it is a number, or a place, that goes on with the turns."""
        form = self.forms.get(name)
        if form is None and name in self.places:
            form = self.places[name][2]
        return form is not None and self.step(form) != 0

    def _vary(self, name: str, what: str, read: list[str]) -> None:
        self.varying.add(name)
        self.lines.append((name, what, read))

    def _count(self, line: str, name: str, form: Form, what: str, read: list[str]) -> None:
        """An index, or a place: it counts turns, or is the same in all."""
        if self.step(form):
            self.indices.append((name, what, read))
        else:
            self.once.append(line)

    def _form(self, number: str) -> Form:
        if number.lstrip("-").isdigit():
            return {"": int(number)}
        return self.forms.get(number, {number: 1})

    def _sum(self, line: str, name: str, how: str, a: str, b: str) -> None:
        if a in self.varying or b in self.varying:
            return self._vary(name, *_apart(line))
        left, right = self._form(a), self._form(b)
        if how.startswith("mul"):
            if not set(left) <= {""}:
                left, right = right, left
            if set(left) <= {""}:
                form = _sum_of({}, right, left.get("", 0))
            elif self.step(left) or self.step(right):
                return self._vary(name, *_apart(line))
            else:
                form = {name: 1}
        else:
            form = _sum_of(left, right, 1 if how.startswith("add") else -1)
        if not self.step(form) and (self.step(left) or self.step(right)):
            return self._vary(name, *_apart(line))  # i - i is the same in every turn, but there is no i before the loop
        self.forms[name] = form
        return self._count(line, name, form, f"{how} %s, %s", [a, b])

    def _place(self, line: str, name: str, kind: str, base: str, index: str) -> None:
        root, held, form = self.places.get(base, (base, kind, {}))
        if index in self.varying:
            if self.step(form):
                raise NotVectors
            self._read.append((root, kind, None))
            return self._vary(name, "getelementptr", [kind, base, index])
        if held != kind or base in self.varying:
            raise NotVectors
        total = _sum_of(form, self._form(index))
        if not self.step(total) and self.step(form):
            raise NotVectors
        self.places[name] = root, kind, total
        return self._count(line, name, total, f"getelementptr inbounds {kind}, ptr %s, i64 %s", [base, index])

    def _load(self, line: str, name: str, kind: str, pointer: str, alignment: str) -> None:
        words = [kind, pointer, alignment]
        if pointer in self.varying:
            return self._vary(name, "load", words)
        root, held, form = self.places.get(pointer, (pointer, kind, {}))
        if held != kind:
            raise NotVectors
        self._read.append((root, kind, form))
        if self.step(form):
            return self._vary(name, "load", words)
        return self.once.append(line)

    def _store(self, kind: str, value: str, pointer: str, alignment: str) -> None:
        place = self.places.get(pointer)
        if place is None or self.step(place[2]) != 1 or place[1] != kind:
            raise NotVectors
        self._written.append(place)
        self.lines.append(("", "store", [kind, value, pointer, alignment]))

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
        own = {name for name, _, _ in self.joining}
        known = {self.fold.now, self.fold.term, *own}
        if self.fold.following not in own or not self.fold.term.startswith("%"):
            raise NotVectors
        if any(each.startswith("%") and each not in known for _, _, read in self.joining for each in read):
            raise NotVectors


def _apart(line: str) -> tuple[str, list[str]]:
    """An instruction with %s for each name, and these names."""
    what = line.partition(" = ")[2]
    return _NAME.sub("%s", what), _NAME.findall(what)


def _sum_of(a: Form, b: Form, times: int = 1) -> Form:
    """a + times · b."""
    total = dict(a)
    for key, n in b.items():
        total[key] = total.get(key, 0) + times * n
    return {key: n for key, n in total.items() if n}
