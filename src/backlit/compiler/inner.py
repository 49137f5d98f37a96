"""An inner loop, many turns at a time: instructions that were written for one number, on vectors.

What is the same in every turn is computed once, before the loop, and indices stay single numbers; all else is done to
as many numbers at once as a vector holds, and to several vectors in one turn. What is left at the end is a vector that
is loaded and stored in part. So nothing is left for LLVM to find out: its passes, which take most of the time of
compiling, are not needed, and the order of a sum is the one that stands here, on any machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from backlit.compiler import vector_math
from backlit.compiler.scalars import Blocks

BYTES = {"i1": 1, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "half": 2, "float": 4, "double": 8}
_SUFFIX = {"half": "f16", "float": "f32", "double": "f64"}
_NAME = re.compile(r"%[\w.]+")
_SUM = re.compile(r"(add|sub|mul)(?: nuw)?(?: nsw)? i64 (\S+), (\S+)$")
_PLACE = re.compile(r"getelementptr inbounds (\w+), ptr (\S+), i64 (\S+)$")
_LOAD = re.compile(r"load (\w+), ptr (\S+), align (\d+)$")
_STORE = re.compile(r"store (\w+) (\S+), ptr (\S+), align (\d+)$")
_CALLED = re.compile(r"call (\w+) @bl\.(.*)\.\w+\(")
_WORDS = re.compile(r"([ ,()]+)")
_MANGLED = re.compile(r"\.([fi](?:1|8|16|32|64))(?=\.|$)")
_LITERAL = re.compile(r"0x[0-9A-FH]+$|-?[0-9][0-9.e+-]*$|true$|false$")

TOGETHER = 64
"""Turns between two numbers that are known only later are told in multiples of this."""
_CALL_COST = 24  # about how many instructions a function of `vector_math` is
_STRAIGHT = 64  # instructions on vectors that may stand one after another where a loop would take few turns
_LATENCY = 4  # vectors that a sum goes to in turn, so that an addition need not wait for the one before

Form = dict[str, int]
"""A whole number as a sum of multiples of names; the name "" is 1."""


@dataclass
class Fold:
    """A value that is carried through the turns by what is associative: its type, what it is at first, what changes
    nothing, its name within a turn, and after it.
    """

    kind: str
    start: str
    nothing: str
    now: str
    following: str


@dataclass
class Turns:
    """Turns of a loop: `count` of them, of which those from `first` to `end` are to be taken. Where these are known
    only later, both are multiples of TOGETHER, or `end` is `count`.
    """

    counter: str
    count: int
    first: str = "0"
    end: str = ""


class NotVectors(Exception):  # noqa: N818  nothing is wrong
    """The turns cannot be taken side by side."""


class Inner:
    """The body of a loop, and what each of its instructions depends on. Raises NotVectors."""

    def __init__(self, turns: Turns, body: Sequence[str], fold: Fold | None = None) -> None:
        self.turns, self.fold = turns, fold
        self.once: list[str] = []  # instructions to be done before the loop
        self.indices: list[tuple[str, str]] = []  # names and instructions of single numbers
        self.lines: list[tuple[str, list[str]]] = []  # of what becomes vectors, in words
        self.forms: dict[str, Form] = {turns.counter: {turns.counter: 1}}
        self.places: dict[str, tuple[str, str, Form]] = {}  # pointers: where they begin, elements, how many
        self.varying: set[str] = {fold.now} if fold else set()
        self.lanes = 0
        self._splats: dict[tuple[str, str], str] = {}
        self._read: list[tuple[str, str, Form | None]] = []
        self._written: list[tuple[str, str, Form]] = []
        for line in body:
            self._take(line.strip())
        self._check()

    # -- what depends on what -----------------------------------------------------------------------------------

    def _take(self, line: str) -> None:
        if found := _STORE.match(line):
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
        if found := _SUM.match(what):
            self._sum(name, what, *found.groups())
        elif found := _PLACE.match(what):
            self._place(name, what, *found.groups())
        elif found := _LOAD.match(what):
            self._load(name, what, *found.groups())
        elif any(x in self.varying or self._moves(x) for x in _NAME.findall(what)):
            called = _CALLED.match(what)
            if called and called[1] in vector_math.WHOLE:
                raise NotVectors
            self._vary(name, what)
        else:
            self._before(name, what)

    def step(self, form: Form) -> int:
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
                form = {key: n * left.get("", 0) for key, n in right.items()}
            elif self.step(left) or self.step(right):
                return self._vary(name, what)
            else:
                form = {name: 1}
        else:
            form = dict(left)
            for key, n in right.items():
                form[key] = form.get(key, 0) + (n if how == "add" else -n)
        self.forms[name] = form = {key: n for key, n in form.items() if n}
        if self.step(form):
            self.indices.append((name, what))
        else:
            self._before(name, what)
        return None

    def _place(self, name: str, what: str, kind: str, base: str, index: str) -> None:
        root, held, form = self.places.get(base, (base, kind, {}))
        if index in self.varying:
            if self.step(form):
                raise NotVectors
            self._read.append((root, kind, None))
            return self._vary(name, what, ["getelementptr", kind, base, index])
        if held != kind or base in self.varying:
            raise NotVectors
        total = dict(form)
        for key, n in self._form(index).items():
            total[key] = total.get(key, 0) + n
        total = {key: n for key, n in total.items() if n}
        self.places[name] = root, kind, total
        if self.step(total):
            self.indices.append((name, what))
        else:
            self._before(name, what)
        return None

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
        mine = {self.fold.now}
        self._joining: list[tuple[str, list[str]]] = []
        terms: set[str] = set()
        for name, words in self.lines:
            if mine.intersection(words):
                if words[0] in ("load", "store"):
                    raise NotVectors
                terms |= {word for word in words if word[:1] == "%"} - mine
                mine.add(name)
                self._joining.append((name, words))
        if self.fold.following not in mine or len(terms) != 1:
            raise NotVectors
        (self._term,) = terms

    # -- vectors ------------------------------------------------------------------------------------------------

    def write(self, w: Blocks, register: int) -> str:
        """The loop, on vectors of `register` bytes; gives the name of what was folded."""
        count = self.turns.count
        kinds = [kind for _, kind, _ in [*self._read, *self._written]] + ([self.fold.kind] if self.fold else [])
        self.lanes = min(32, register // max(BYTES[kind] for kind in kinds))
        while self.lanes // 2 >= count:
            self.lanes //= 2
        if self.lanes < 2:
            raise NotVectors
        whole, rest = divmod(count, self.lanes)
        mark = len(w.lines)
        if self.turns.end:
            self._between(w)
            totals: list[str] = []
        else:
            in_turns, several = self._arranged(whole)
            nothing = [f"splat ({self.fold.kind} {self.fold.nothing})"] if self.fold else []
            totals = nothing * min(_LATENCY, several or whole + (rest > 0))
            if in_turns:
                totals = self._looped(w, "0", str(in_turns * self.lanes), several, totals)
            ends = [k * self.lanes for k in range(in_turns, whole + (rest > 0))]
            if ends:
                totals = self._vectors(w, str(ends[0]), [end - ends[0] for end in ends], rest, totals)
        w.lines[mark:mark] = self.once
        return self._total(w, totals) if self.fold else ""

    def _arranged(self, whole: int) -> tuple[int, int]:
        """How many of the whole vectors a loop takes, and how many in each of its turns; 0 where there is no loop."""
        cost = self._cost()
        if whole < 2 or whole * cost <= _STRAIGHT:
            return 0, 0
        most = min(self._several(cost), whole)
        several = max(n for n in range(1, most + 1) if whole % n == 0)
        if 2 * several <= most:
            several = most
        return whole - whole % several, several

    def _cost(self) -> int:
        return sum(_CALL_COST if any(word.startswith("@bl.") for word in words) else 1 for _, words in self.lines)

    def _several(self, cost: int) -> int:
        """How many vectors a turn takes: where it does little, enough of them to be worth the counting."""
        if self.fold is not None:
            return _LATENCY if cost <= 16 else 2
        return 4 if cost <= 6 else 2 if cost <= 14 else 1

    def _between(self, w: Blocks) -> None:
        """All vectors from a turn on to another one, both of which are known only later."""
        turns, lanes = self.turns, self.lanes
        several = min(self._several(self._cost()), TOGETHER // lanes)
        whole = turns.count // (several * lanes) * several * lanes
        rest = turns.count - whole
        end = turns.end
        if rest and whole:
            before = w.let(f"icmp ult i64 {end}, {whole}")
            end = w.let(f"select i1 {before}, i64 {end}, i64 {whole}")
        if whole:
            loop, after = w.label("vectors"), w.label("rest")
            w.put(f"  br i1 {w.let(f'icmp ult i64 {turns.first}, {end}')}, label %{loop}, label %{after}")
            w.begin(loop)
            self._looped(w, turns.first, end, several, [], after)
        if rest:
            tail, done = w.label("tail"), w.label("done")
            w.put(f"  br i1 {w.let(f'icmp eq i64 {turns.end}, {turns.count}')}, label %{tail}, label %{done}")
            w.begin(tail)
            self._vectors(w, str(whole), list(range(0, rest, lanes)), rest % lanes, [])
            w.put(f"  br label %{done}")
            w.begin(done)

    def _looped(
        self, w: Blocks, first: str, end: str, several: int, totals: Sequence[str], after: str = ""
    ) -> list[str]:
        """A loop over whole vectors; what is folded comes out of it."""
        before, head, after = w.block, w.label("loop"), after or w.label("done")
        w.put(f"  br label %{head}")
        w.begin(head)
        at = len(w.lines)
        counter, following = w.fresh("i"), w.fresh("next")
        now = [w.fresh("acc") for _ in totals]
        new = self._vectors(w, counter, [k * self.lanes for k in range(several)], 0, now)
        w.put(f"  {following} = add nuw nsw i64 {counter}, {several * self.lanes}")
        w.lines[at:at] = [
            f"  {counter} = phi i64 [{first}, %{before}], [{following}, %{head}]",
            *(
                f"  {name} = phi {self.type(self.fold.kind)} [{start}, %{before}], [{value}, %{head}]"
                for name, start, value in zip(now, totals, new, strict=True)
                if self.fold
            ),
        ]
        w.put(f"  br i1 {w.let(f'icmp ult i64 {following}, {end}')}, label %{head}, label %{after}")
        w.begin(after)
        return new

    def type(self, kind: str) -> str:
        return f"<{self.lanes} x {kind}>"

    def _vectors(self, w: Blocks, at: str, offsets: Sequence[int], rest: int, totals: Sequence[str]) -> list[str]:
        """Turns from `at` on: vectors at these distances from it. rest: if it is not 0, how much there is of the last.
        totals: what was folded so far, in several parts.
        """
        totals = list(totals)
        single = {self.turns.counter: at}
        for name, what in self.indices:
            single[name] = w.let(_NAME.sub(lambda found: single.get(found[0], found[0]), what), "n")
        for k, offset in enumerate(offsets):
            valid = rest if rest and offset == offsets[-1] else self.lanes
            vector = _Vector(self, w, single, offset, valid)
            if self.fold is None:
                vector.take(self.lines)
                continue
            part = k % len(totals)
            vector.names[self.fold.now] = totals[part]
            vector.take(self.lines)
            new = vector.names[self.fold.following]
            if valid < self.lanes:
                kind = self.type(self.fold.kind)
                new = w.let(f"select {self.type('i1')} {vector.mask}, {kind} {new}, {kind} {totals[part]}")
            totals[part] = new
        return totals

    def splat(self, w: Blocks, name: str, kind: str) -> str:
        """A number that is the same in every turn, in all lanes."""
        found = self._splats.get((name, kind))
        if found is None:
            one, found = w.fresh("one"), w.fresh("all")
            wide, zeros = self.type(kind), self.type("i32")
            self.once.append(f"  {one} = insertelement {wide} poison, {kind} {name}, i64 0")
            self.once.append(f"  {found} = shufflevector {wide} {one}, {wide} poison, {zeros} zeroinitializer")
            self._splats[name, kind] = found
        return found

    # -- what was folded ----------------------------------------------------------------------------------------

    def _total(self, w: Blocks, totals: list[str]) -> str:
        """One number of several vectors: by pairs, and then by halves of the one that is left."""
        assert self.fold is not None
        fold, kind = self.fold, self.type(self.fold.kind)
        while len(totals) > 1:
            pairs = [self._joined(w, *totals[k : k + 2]) for k in range(0, len(totals) - 1, 2)]
            totals = pairs + totals[len(totals) - len(totals) % 2 :]
        (total,) = totals
        half = self.lanes // 2
        while half:
            lanes = ", ".join(f"i32 {k + half if k < half else 0}" for k in range(self.lanes))
            upper = w.let(f"shufflevector {kind} {total}, {kind} poison, {self.type('i32')} <{lanes}>")
            total = self._joined(w, total, upper)
            half //= 2
        total = w.let(f"extractelement {kind} {total}, i64 0")
        if not fold.start.startswith("%"):
            return total
        names = {fold.now: fold.start, self._term: total}
        for name, words in self._joining:
            names[name] = w.let("".join(names.get(word, word) for word in words))
        return names[fold.following]

    def _joined(self, w: Blocks, a: str, b: str) -> str:
        assert self.fold is not None
        vector = _Vector(self, w, {}, 0, self.lanes)
        vector.names = {self.fold.now: a, self._term: b}
        vector.take(self._joining)
        return vector.names[self.fold.following]


class _Vector:
    """The instructions of as many turns as a vector has lanes. names: what became of each."""

    def __init__(self, inner: Inner, w: Blocks, single: dict[str, str], offset: int, valid: int) -> None:
        self.inner, self.w, self.single, self.offset, self.valid = inner, w, single, offset, valid
        self.names: dict[str, str] = {}
        self._places: dict[str, str] = {}

    @property
    def mask(self) -> str:
        return "<" + ", ".join(f"i1 {int(lane < self.valid)}" for lane in range(self.inner.lanes)) + ">"

    def take(self, lines: Sequence[tuple[str, list[str]]]) -> None:
        for name, words in lines:
            first = words[0]
            if first == "store":
                self._store(*words[1:])
            elif first == "load":
                self.names[name] = self._load(*words[1:])
            elif first == "getelementptr":
                kind, base, index = words[1:]
                places = f"{self.inner.type('i64')} {self._value(index, 'i64')}"
                self.names[name] = self.w.let(f"getelementptr {kind}, ptr {base}, {places}", "a")
            else:
                self.names[name] = self.w.let(self._widened(words))

    def _widened(self, words: Sequence[str]) -> str:
        found, kind = [], ""
        for word in words:
            if word in BYTES:
                kind, word = word, self.inner.type(word)
            elif word.startswith("%"):
                word = self._value(word, kind)
            elif word.startswith("@"):
                word = self._called(word, words)
            elif _LITERAL.match(word):
                word = f"splat ({kind} {word})"
            found.append(word)
        return "".join(found)

    def _value(self, name: str, kind: str) -> str:
        """A name in the instructions for one number, as a vector."""
        if name in self.names:
            return self.names[name]
        if name not in self.single:
            return self.inner.splat(self.w, name, kind)
        inner, wide = self.inner, self.inner.type(kind)
        step = inner.step(inner.forms[name])
        one = self.w.let(f"insertelement {wide} poison, {kind} {self.single[name]}, i64 0")
        zeros = f"{inner.type('i32')} zeroinitializer"
        first = self.w.let(f"shufflevector {wide} {one}, {wide} poison, {zeros}")
        steps = ", ".join(f"{kind} {(self.offset + lane) * step}" for lane in range(inner.lanes))
        self.names[name] = self.w.let(f"add {wide} {first}, <{steps}>")
        return self.names[name]

    def _called(self, name: str, words: Sequence[str]) -> str:
        """The function of vectors beside one of numbers."""
        kind = self.inner.type(words[2])
        if name.startswith("@bl."):
            function = name[4:].rpartition(".")[0]
            self.w.math.add((function, kind))
            return vector_math.symbol(function, kind)
        name = _MANGLED.sub(rf".v{self.inner.lanes}\1", name)
        args = ", ".join(self.inner.type(word) for word in words[3:] if word in BYTES)
        self.w.declared.add(f"declare {kind} {name}({args})")
        return name

    # -- memory -------------------------------------------------------------------------------------------------

    def _place(self, pointer: str, kind: str) -> str:
        """Where the vector begins."""
        found = self._places.get(pointer)
        if found is None:
            found = self.single[pointer]
            by = self.offset * self.inner.step(self.inner.places[pointer][2])
            if by:
                found = self.w.let(f"getelementptr inbounds {kind}, ptr {found}, i64 {by}", "a")
            self._places[pointer] = found
        return found

    def _load(self, kind: str, pointer: str, alignment: str) -> str:
        inner, w = self.inner, self.w
        wide = inner.type(kind)
        if pointer not in self.names:
            step = inner.step(inner.places[pointer][2])
            begin = self._place(pointer, kind)
            if step == 1 and self.valid == inner.lanes:
                return w.let(f"load {wide}, ptr {begin}, align {alignment}")
            if step == 1:
                return self._intrinsic("load", kind, f"ptr {begin}", alignment)
            steps = ", ".join(f"i64 {lane * step}" for lane in range(inner.lanes))
            places = w.let(f"getelementptr {kind}, ptr {begin}, {inner.type('i64')} <{steps}>", "a")
        else:
            places = self.names[pointer]
        return self._intrinsic("gather", kind, f"{inner.type('ptr')} {places}", alignment)

    def _intrinsic(self, what: str, kind: str, place: str, alignment: str) -> str:
        """A load of some lanes; the others are 0."""
        inner = self.inner
        wide, bits, lanes = inner.type(kind), inner.type("i1"), inner.lanes
        places = "p0" if what == "load" else f"v{lanes}p0"
        called = f"{wide} @llvm.masked.{what}.v{lanes}{_SUFFIX.get(kind, kind)}.{places}"
        self.w.declared.add(f"declare {called}({place.rpartition(' ')[0]}, i32 immarg, {bits}, {wide})")
        given = f"{place}, i32 {alignment}, {bits} {self.mask}, {wide} zeroinitializer"
        return self.w.let(f"call {called}({given})")

    def _store(self, kind: str, value: str, pointer: str, alignment: str) -> None:
        inner = self.inner
        wide, bits = inner.type(kind), inner.type("i1")
        begin = self._place(pointer, kind)
        vector = self._value(value, kind) if value[0] == "%" else f"splat ({kind} {value})"
        if self.valid == inner.lanes:
            self.w.put(f"  store {wide} {vector}, ptr {begin}, align {alignment}")
            return
        called = f"void @llvm.masked.store.v{inner.lanes}{_SUFFIX.get(kind, kind)}.p0"
        self.w.declared.add(f"declare {called}({wide}, ptr, i32 immarg, {bits})")
        self.w.put(f"  call {called}({wide} {vector}, ptr {begin}, i32 {alignment}, {bits} {self.mask})")
