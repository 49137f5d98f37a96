"""An inner loop, many turns at a time: instructions that were written for one number, on vectors.

What is the same in every turn is computed once, before the loop, and indices stay single numbers; all else is done to
as many numbers at once as a vector holds, and to several vectors in one turn. What is left at the end is a vector that
is loaded and stored in part. So nothing is left for LLVM to find out: its passes, which take most of the time of
compiling, are not needed, and the order of a sum is the one that stands here, on any machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from backlit.compiler import vector_math
from backlit.compiler.inner import TOGETHER, Fold, Form, Inner, Line, NotVectors
from backlit.compiler.scalars import Blocks, suffix

_BYTES = {"i1": 1, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "half": 2, "float": 4, "double": 8}
_WORDS = re.compile(r"([ ,()]+)")
_MANGLED = re.compile(r"\.([fi](?:1|8|16|32|64))(?=\.|$)")
_LITERAL = re.compile(r"0x[0-9A-FH]+$|-?[0-9][0-9.e+-]*$|true$|false$")
_LITERAL_HEADS = frozenset("0123456789-tf")

_SAME = re.compile(r"(?:add .*i64|getelementptr .*, ptr) (\S+), (?:i64 )?0$")  # what gives what it is given
_MOST = 32  # lanes of a vector
_CALL_COST = 24  # about how many instructions a function of `vector_math` is
_STRAIGHT = 64  # instructions on vectors that may stand one after another where a loop would take few turns
_TRUTHS = {"or": ("ne", "0"), "and": ("eq", "-1")}  # of bits: some are set, all are
_LATENCY = 4  # vectors that a sum goes to in turn, so that an addition need not wait for the one before


def write(w: Blocks, inner: Inner, register: int) -> str:
    """The loop, on vectors of `register` bytes; gives the name of what was folded, if something was."""
    lanes = min(_MOST, register // max(_BYTES[kind] for kind in inner.kinds))
    while lanes // 2 >= inner.turns.count:
        lanes //= 2
    if lanes < 2:
        raise NotVectors
    mark, loop = len(w.lines), _Loop(w, inner, lanes, register)
    found = ""
    if inner.fold is not None:
        found = loop.folded(inner.fold)
    elif inner.turns.end:
        loop.between()
    else:
        loop.all()
    w.lines[mark:mark] = loop.once
    return found


class _Loop:
    """Writes one loop on vectors. register: the bytes of one of the CPU's. once: what is to be done before the loop."""

    def __init__(self, w: Blocks, inner: Inner, lanes: int, register: int) -> None:
        self.w, self.inner, self.lanes, self.register = w, inner, lanes, register
        self.once = list(inner.once)
        self.begins = {inner.turns.counter: "0"}  # indices and places, as they are in turn 0
        known: dict[str, str] = {}
        for name, what, read in inner.indices:
            here = what % tuple([self.begins.get(each, each) for each in read])
            found = _SAME.match(here)
            if found is not None:
                known[here] = found[1]
            elif here not in known:
                known[here] = w.fresh("n")
                self.once.append(f"  {known[here]} = {here}")
            self.begins[name] = known[here]
        self._splats: dict[tuple[str, str], str] = {}

    def type(self, kind: str) -> str:
        return f"<{self.lanes} x {kind}>"

    def splat(self, name: str, kind: str) -> str:
        """A number that is the same in every turn, in all lanes."""
        found = self._splats.get((name, kind))
        if found is None:
            one, found = self.w.fresh("one"), self.w.fresh("all")
            self.once += _spread(one, found, name, kind, self.lanes)
            self._splats[name, kind] = found
        return found

    # -- which turns --------------------------------------------------------------------------------------------

    def all(self, totals: Sequence[str] = ()) -> list[str]:
        """All turns. totals: what is folded so far, in as many parts as may be used."""
        whole, rest = divmod(self.inner.turns.count, self.lanes)
        in_loop, several = self._arranged(whole)
        new = list(totals[: several or whole + (rest > 0)])
        if in_loop:
            new = self._looped("0", str(in_loop * self.lanes), several, new)
        ends = [k * self.lanes for k in range(in_loop, whole + (rest > 0))]
        return self._vectors(str(ends[0]), [end - ends[0] for end in ends], rest, new) if ends else new

    def _arranged(self, whole: int) -> tuple[int, int]:
        """How many of the whole vectors a loop takes, and how many in each of its turns; 0 where there is no loop."""
        cost, fold = self._cost(), self.inner.fold
        is_brief = fold is not None and fold.brief
        if whole < 2 or (whole * cost <= _STRAIGHT and not is_brief):
            return 0, 0
        most = 1 if is_brief else min(self._several(cost), whole)
        several = max(n for n in range(1, most + 1) if whole % n == 0)
        if 2 * several <= most:
            several = most
        return whole - whole % several, several

    def _cost(self) -> int:
        dear = sum("@bl." in what for _, what, _ in self.inner.lines)
        return len(self.inner.lines) + (_CALL_COST - 1) * dear

    def _several(self, cost: int) -> int:
        """How many vectors a turn takes: where it does little, enough of them to be worth the counting."""
        if self.inner.fold is not None:
            return _LATENCY if cost <= 16 else 2
        return 4 if cost <= 6 else 2 if cost <= 14 else 1

    def between(self) -> None:
        """All turns from one to another, both of which are known only later."""
        w, turns = self.w, self.inner.turns
        several = min(self._several(self._cost()), TOGETHER // self.lanes)
        whole = turns.count // (several * self.lanes) * several * self.lanes
        rest, end = turns.count - whole, turns.end
        if rest and whole:
            before = w.let(f"icmp ult i64 {end}, {whole}")
            end = w.let(f"select i1 {before}, i64 {end}, i64 {whole}")
        if turns.first == "0":  # there is something to do
            self._looped(turns.first, end, several, [])
        elif whole:
            loop, after = w.label("vectors"), w.label("rest")
            w.put(f"  br i1 {w.let(f'icmp ult i64 {turns.first}, {end}')}, label %{loop}, label %{after}")
            w.begin(loop)
            self._looped(turns.first, end, several, [], after)
        if rest:
            tail, done = w.label("tail"), w.label("done")
            w.put(f"  br i1 {w.let(f'icmp eq i64 {turns.end}, {turns.count}')}, label %{tail}, label %{done}")
            w.begin(tail)
            self._vectors(str(whole), list(range(0, rest, self.lanes)), rest % self.lanes, [])
            w.put(f"  br label %{done}")
            w.begin(done)

    def _looped(self, first: str, end: str, several: int, totals: Sequence[str], after: str = "") -> list[str]:
        """A loop over whole vectors; what is folded comes out of it."""
        w = self.w
        before, head, after = w.block, w.label("loop"), after or w.label("done")
        w.put(f"  br label %{head}")
        w.begin(head)
        at = len(w.lines)
        counter, following = w.fresh("i"), w.fresh("next")
        now = [w.fresh("acc") for _ in totals]
        new = self._vectors(counter, [k * self.lanes for k in range(several)], 0, now)
        w.put(f"  {following} = add nuw nsw i64 {counter}, {several * self.lanes}")
        before_phis, behind = w.counter(counter, f"[{first}, %{before}], [{following}, %{head}]")
        w.lines[at:at] = [
            *before_phis,
            *(
                f"  {name} = phi {self.type(self.inner.fold.kind)} [{start}, %{before}], [{value}, %{head}]"
                for name, start, value in zip(now, totals, new, strict=True)
                if self.inner.fold
            ),
            *behind,
        ]
        w.put(f"  br i1 {w.let(f'icmp ult i64 {following}, {end}')}, label %{head}, label %{after}")
        w.begin(after)
        return new

    def _vectors(self, at: str, offsets: Sequence[int], rest: int, totals: Sequence[str]) -> list[str]:
        """Turns from `at` on: vectors at these distances from it. rest: if it is not 0, how much there is of the last.
        totals: what was folded so far, in several parts.
        """
        w, inner, new = self.w, self.inner, list(totals)
        steps = _Steps(self, at)
        for k, offset in enumerate(offsets):
            valid = rest if rest and offset == offsets[-1] else self.lanes
            vector = _Vector(self, steps, offset, valid)
            if inner.fold is None:
                vector.take(inner.lines)
                continue
            part = k % len(new)
            vector.names[inner.fold.now] = new[part]
            vector.take(inner.lines)
            total = vector.names[inner.fold.following]
            if valid < self.lanes:
                kind = self.type(inner.fold.kind)
                total = w.let(f"select {self.type('i1')} {vector.mask}, {kind} {total}, {kind} {new[part]}")
            new[part] = total
        return new

    # -- what is folded -----------------------------------------------------------------------------------------

    def folded(self, fold: Fold) -> str:
        """All turns, and one number of what they are folded into: by pairs of vectors, and then by halves of one."""
        w = self.w
        totals = self.all([f"splat ({fold.kind} {fold.nothing})"] * _LATENCY)
        while len(totals) > 1:
            pairs = [self._joined(fold, *totals[k : k + 2]) for k in range(0, len(totals) - 1, 2)]
            totals = pairs + totals[len(totals) - len(totals) % 2 :]
        verb = self.inner.joining[-1][1].split()[0]
        if fold.kind == "i1" and verb in _TRUTHS:
            total = self._of_bits(totals[0], *_TRUTHS[verb])
        else:
            total = self._of_lanes(fold, totals[0])
        if fold.start == fold.nothing:
            return total
        names = {fold.now: fold.start, fold.term: total}
        for name, what, read in self.inner.joining:
            names[name] = w.let(what % tuple([names.get(each, each) for each in read]))
        return names[fold.following]

    def _of_lanes(self, fold: Fold, total: str) -> str:
        """What the lanes of a vector are folded into, by halves."""
        w, kind, half = self.w, self.type(fold.kind), self.lanes // 2
        while half:
            lanes = ", ".join(f"i32 {k + half if k < half else 0}" for k in range(self.lanes))
            upper = w.let(f"shufflevector {kind} {total}, {kind} poison, {self.type('i32')} <{lanes}>")
            total = self._joined(fold, total, upper)
            half //= 2
        return w.let(f"extractelement {kind} {total}, i64 0")

    def _of_bits(self, total: str, how: str, number: str) -> str:
        """The same of truths, which are for a CPU the bits of one number: how that compares to another."""
        bits = f"i{self.lanes}"
        packed = self.w.let(f"bitcast {self.type('i1')} {total} to {bits}")
        return self.w.let(f"icmp {how} {bits} {packed}, {number}")

    def _joined(self, fold: Fold, a: str, b: str) -> str:
        vector = _Vector(self, _Steps(self, "0"), 0, self.lanes)
        vector.names = {fold.now: a, fold.term: b}
        vector.take(self.inner.joining)
        return vector.names[fold.following]


def _spread(one: str, all: str, name: str, kind: str, lanes: int) -> list[str]:
    """A number in all lanes."""
    wide, zeros = f"<{lanes} x {kind}>", f"<{lanes} x i32> zeroinitializer"
    return [
        f"  {one} = insertelement {wide} poison, {kind} {name}, i64 0",
        f"  {all} = shufflevector {wide} {one}, {wide} poison, {zeros}",
    ]


class _Wide(NamedTuple):
    """An instruction on vectors, with %s for each name that it reads; of which types these are; what else it needs."""

    what: str
    kinds: list[str]
    math: set[tuple[str, str]]
    declared: set[str]


@lru_cache(maxsize=2048)
def _widened(what: str, lanes: int, register: int) -> _Wide:
    """An instruction on numbers, on vectors; but for their names there are few that differ."""
    kinds: list[str] = []
    math: set[tuple[str, str]] = set()
    declared: set[str] = set()
    found, kind = [], ""
    words = _WORDS.split(what)
    for word in words:
        if word in _BYTES:
            kind, word = word, f"<{lanes} x {word}>"
        elif word == "%s":
            kinds.append(kind)
        elif word[:1] == "@":
            called = f"<{lanes} x {words[2]}>"
            function = word.split(".")[1]
            if word.startswith("@bl.") or (register == 64 and (function, called) == vector_math.WIDE_ROOT):
                math.add((function, called))
                word = vector_math.symbol(function, called)
            else:
                word = _MANGLED.sub(rf".v{lanes}\1", word)
                args = ", ".join(f"<{lanes} x {each}>" for each in words[3:] if each in _BYTES)
                declared.add(f"declare {called} {word}({args})")
        elif word[:1] in _LITERAL_HEADS and _LITERAL.match(word):
            word = f"splat ({kind} {word})"
        found.append(word)
    return _Wide("".join(found), kinds, math, declared)


class _Steps:
    """Indices and places in the turn `at`: a number, or a name."""

    def __init__(self, loop: _Loop, at: str) -> None:
        self.loop, self.at = loop, at
        self._known: dict[object, str] = {}

    def number(self, name: str) -> str:
        """An index as a single number."""
        if name not in self._known:
            begin = self.loop.begins[name]
            self._known[name] = self.loop.w.let(f"add i64 {begin}, {self._far(self.loop.inner.forms[name])}", "n")
        return self._known[name]

    def place(self, pointer: str, later: int) -> str:
        """Where something stands so many turns later."""
        root, kind, form = self.loop.inner.places[pointer]
        key = (root, kind, *sorted(form.items()))
        if key not in self._known:
            self._known[key] = self._moved(self.loop.begins[pointer], kind, self._far(form))
        if not later:
            return self._known[key]
        if (key, later) not in self._known:
            by = later * self.loop.inner.step(form)
            self._known[key, later] = self._moved(self._known[key], kind, str(by))
        return self._known[key, later]

    def _moved(self, pointer: str, kind: str, by: str) -> str:
        return pointer if by == "0" else self.loop.w.let(f"getelementptr inbounds {kind}, ptr {pointer}, i64 {by}", "a")

    def _far(self, form: Form) -> str:
        """By how much an index grows from turn 0 on."""
        step = self.loop.inner.step(form)
        if not self.at.startswith("%"):
            return str(int(self.at) * step)
        if step not in self._known:
            self._known[step] = self.at if step == 1 else self.loop.w.let(f"mul nsw i64 {self.at}, {step}", "n")
        return self._known[step]


class _Vector:
    """The instructions of as many turns as a vector has lanes; the first `valid` of them are to be done.

    offset: how many turns after those of `steps` these begin. names: what became of each name.
    """

    def __init__(self, loop: _Loop, steps: _Steps, offset: int, valid: int) -> None:
        self.loop, self.w, self.inner = loop, loop.w, loop.inner
        self.steps, self.offset, self.valid = steps, offset, valid
        self.names: dict[str, str] = {}

    @property
    def mask(self) -> str:
        return "<" + ", ".join(f"i1 {int(lane < self.valid)}" for lane in range(self.loop.lanes)) + ">"

    def take(self, lines: Sequence[Line]) -> None:
        for name, what, words in lines:
            if what == "store":
                self._store(*words)
            elif what == "load":
                self.names[name] = self._load(*words)
            elif what == "getelementptr":
                kind, base, index = words
                positions = f"{self.loop.type('i64')} {self._value(index, 'i64')}"
                self.names[name] = self.w.let(f"getelementptr {kind}, ptr {base}, {positions}", "a")
            else:
                wide = _widened(what, self.loop.lanes, self.loop.register)
                self.w.math |= wide.math
                self.w.declared |= wide.declared
                self.names[name] = self.w.let(wide.what % tuple(map(self._value, words, wide.kinds)))

    def _value(self, name: str, kind: str) -> str:
        """What has a name in the instructions on numbers, as a vector."""
        if name in self.names:
            return self.names[name]
        if name not in self.loop.begins:
            return self.loop.splat(name, kind)
        one, all = self.w.fresh("one"), self.w.fresh("all")
        self.w.lines += _spread(one, all, self.steps.number(name), kind, self.loop.lanes)
        step = self.inner.step(self.inner.forms[name])
        steps = ", ".join(f"{kind} {(self.offset + lane) * step}" for lane in range(self.loop.lanes))
        self.names[name] = self.w.let(f"add {self.loop.type(kind)} {all}, <{steps}>")
        return self.names[name]

    # -- memory -------------------------------------------------------------------------------------------------

    def _load(self, kind: str, pointer: str, alignment: str) -> str:
        if pointer in self.names:
            return self._gathered(kind, self.names[pointer], alignment)
        step = self.inner.step(self.inner.places[pointer][2])
        begin = self.steps.place(pointer, self.offset)
        if step != 1:
            steps = ", ".join(f"i64 {lane * step}" for lane in range(self.loop.lanes))
            places = self.w.let(f"getelementptr {kind}, ptr {begin}, {self.loop.type('i64')} <{steps}>", "a")
            return self._gathered(kind, places, alignment)
        if self.valid < self.loop.lanes:
            return self._in_part("load", kind, "p0", f"ptr {begin}", alignment)
        return self.w.let(f"load {self.loop.type(kind)}, ptr {begin}, align {alignment}")

    def _gathered(self, kind: str, places: str, alignment: str) -> str:
        return self._in_part("gather", kind, f"v{self.loop.lanes}p0", f"{self.loop.type('ptr')} {places}", alignment)

    def _in_part(self, what: str, kind: str, places: str, place: str, alignment: str) -> str:
        """A load of the valid lanes; the others are 0."""
        wide, bits = self.loop.type(kind), self.loop.type("i1")
        called = f"{wide} @llvm.masked.{what}.{suffix(wide)}.{places}"
        self.w.declared.add(f"declare {called}({place.rpartition(' ')[0]}, i32 immarg, {bits}, {wide})")
        return self.w.let(f"call {called}({place}, i32 {alignment}, {bits} {self.mask}, {wide} zeroinitializer)")

    def _store(self, kind: str, value: str, pointer: str, alignment: str) -> None:
        wide, bits = self.loop.type(kind), self.loop.type("i1")
        begin = self.steps.place(pointer, self.offset)
        vector = self._value(value, kind) if value.startswith("%") else f"splat ({kind} {value})"
        if self.valid == self.loop.lanes:
            self.w.put(f"  store {wide} {vector}, ptr {begin}, align {alignment}")
            return
        called = f"void @llvm.masked.store.{suffix(wide)}.p0"
        self.w.declared.add(f"declare {called}({wide}, ptr, i32 immarg, {bits})")
        self.w.put(f"  call {called}({wide} {vector}, ptr {begin}, i32 {alignment}, {bits} {self.mask})")
