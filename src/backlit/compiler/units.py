"""A program's text in units, so that LLVM works on as little as it must, and on several at a time.

Functions are apart by what has to be done to them. Kernels stand together in one function, which is told which of them
to do: most of what LLVM's code generator spends on a small loop, it spends on the function around it.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from backlit.compiler.scalars import AS_WRITTEN, CALLING, COMMON, LATE, PLAYS, STRAIGHT, WORK

WORTH_A_THREAD = 12_000  # characters of text; less compiles sooner than a second thread would start to pay
_WORTH_A_UNIT = 4000  # characters of text; less is compiled sooner beside something else
_COMPANY = 12  # kernels in one function; each of them saves the registers that any of them needs
_COMPUTES = re.compile(r" = (?:load (?:<\d+ x )?(?:half|float|double)\b|[us](?:div|rem) |call \w+ @bl\.)")
"""What a function that only calls others does not do."""
_NAME = re.compile(r"@([\w.$]+)")
_LABEL = re.compile(r"^([\w.]+):", re.MULTILINE)
_KERNEL = re.compile(rf"define internal void @\w+\({re.escape(WORK)}\) {AS_WRITTEN} {{\nentry:\n")
_CALL = re.compile(r"ptr @(\w+), i64 0,")
"""A kernel in a block's table of calls, and the number that it is told; see `frame`."""


@dataclass
class Unit:
    """A part of a module that is compiled alone. kind: the attributes of its functions, which say what LLVM's passes
    have to do, and whether the machine code needs no care.
    """

    text: str
    functions: list[str]
    kind: str

    @property
    def is_common(self) -> bool:
        """Whether other programs hold the very same."""
        return all(name.startswith(COMMON) for name in self.functions)


def units(text: str) -> list[Unit]:
    """A module in parts, each function by itself; in two, where there is much that asks for the same."""
    return Cut(together=False).rest(text)


@dataclass
class Company:
    """Kernels in one function, which is called like each of them, but told which of them is to be done."""

    name: str
    members: list[str]

    @property
    def declaration(self) -> str:
        return f"declare void @{self.name}(ptr, i64, i64, i64)"

    def text(self, bodies: Sequence[str]) -> str:
        """The function, out of those of the kernels."""
        cases, blocks = [], []
        for number, body in enumerate(bodies):
            stem = f"k{number}"
            inner = body.split("\nentry:\n", 1)[1].rstrip().removesuffix("}")
            inner = _LABEL.sub(rf"{stem}.\1:", inner.replace("%", f"%{stem}."))
            cases.append(f"i64 {number}, label %{stem}.entry")
            blocks += [f"{stem}.entry:\n", re.sub(rf"%{stem}\.(args|part|who)\b(?!\.)", r"%\1", inner)]
        head = f"define internal void @{self.name}({WORK}) {AS_WRITTEN} {{\nentry:\n"
        chosen = f"  switch i64 %which, label %none [ {' '.join(cases)} ]\nnone:\n  unreachable\n"
        return f"{head}{chosen}{''.join(blocks)}}}\n"


class Cut:
    """Takes a module apart, all at once or while it is written. together: whether kernels are put into one function."""

    def __init__(self, together: bool = True) -> None:
        self.together = together
        self._companies: dict[str, Company] = {}  # by kernel
        self._taken: set[str] = set()  # functions that were taken ahead

    def ahead(self, text: str) -> Unit:
        """Functions, written as they shall run, of a module that is not complete yet."""
        module = _Module(text)
        group = [name for name in module.bodies if name not in module.inlined]
        self._taken.update(group)
        return self._units(module, [(group, AS_WRITTEN)], whole=False)[0]

    def rest(self, text: str) -> list[Unit]:
        """A complete module, less what was taken ahead."""
        module = _Module(text)
        kinds: dict[str, list[str]] = {LATE: [], STRAIGHT: [], AS_WRITTEN: [], CALLING: []}
        common: dict[str, list[str]] = {}  # what plays calls together, tiles of products each alone
        for name, body in module.bodies.items():
            if name in module.inlined or name in self._taken:
                continue
            if name.startswith(COMMON):
                common.setdefault(PLAYS if name.startswith(PLAYS) else name, []).append(name)
            else:
                kinds[_kind(name, module.heads[name], body)].append(name)
        for few, beside in ((CALLING, (AS_WRITTEN, STRAIGHT, LATE)), (AS_WRITTEN, (STRAIGHT, LATE))):
            others = next((kinds[kind] for kind in beside if kinds[kind]), None)
            if others is not None and module.length(kinds[few]) < _WORTH_A_UNIT:
                others.extend(kinds.pop(few))
        groups = [(part, kind) for kind, names in kinds.items() for part in module.halves(names) if part]
        groups += [(names, AS_WRITTEN) for names in common.values()]
        return self._units(module, groups, whole=len(groups) == 1 and not self._taken)

    def _units(self, module: _Module, groups: Sequence[tuple[list[str], str]], whole: bool) -> list[Unit]:
        inside = []
        for group, kind in groups:
            kernels = [name for name in group if kind == AS_WRITTEN and self.together and module.is_kernel(name)]
            parts = [kernels[k : k + _COMPANY] for k in range(0, len(kernels), _COMPANY)] if len(kernels) > 1 else []
            companies = [self._company(module, members) for members in parts]
            inside.append([*companies, *(name for name in group if name not in self._companies)])
        return [
            Unit(self._text(module, names, whole), group, kind)
            for names, (group, kind) in zip(inside, groups, strict=True)
        ]

    def _company(self, module: _Module, members: list[str]) -> str:
        """Make one function of kernels; its name."""
        company = Company(f"{members[0]}.and.others", members)
        self._companies |= dict.fromkeys(members, company)
        module.bodies[company.name] = company.text([module.bodies[name] for name in members])
        return company.name

    def _text(self, module: _Module, inside: Sequence[str], whole: bool) -> str:
        """The text of some functions, with all that they need: declared where it is compiled elsewhere."""
        helpers: dict[str, None] = {}
        outside: dict[str, None] = {}
        stack = list(inside)
        while stack:
            for name in module.needs(stack.pop()):
                company = self._companies.get(name)
                if company is not None:
                    if company.name not in inside:
                        outside[company.declaration] = None
                elif name in module.inlined:
                    if name not in helpers:
                        helpers[name] = None
                        stack.append(name)
                elif name not in inside:
                    outside[_declaration(module.bodies[name])] = None
        bodies = [module.bodies[name] for name in inside]
        if not whole:
            bodies = [body.replace("define internal", "define", 1) for body in bodies]
        bodies = [*(body for name, body in module.bodies.items() if name in helpers), *bodies]
        used = module.mentioned("\n".join(bodies))
        lines = [_CALL.sub(self._redirected, line) if line.startswith("@") else line for line in module.lines(used)]
        return "\n".join([*lines, *outside, *bodies]) + "\n"

    def _redirected(self, call: re.Match[str]) -> str:
        company = self._companies.get(call[1])
        return call[0] if company is None else f"ptr @{company.name}, i64 {company.members.index(call[1])},"


class _Module:
    """A module's functions, and the rest of its lines."""

    def __init__(self, text: str) -> None:
        found, rest = _taken_apart(text)
        self._rest = [(_named(line), line) for line in rest.splitlines() if line]
        self.bodies = {name_of(body): body for body in found}
        self.heads = {name: body.split("\n", 1)[0] for name, body in self.bodies.items()}
        self.inlined = {name for name, head in self.heads.items() if " alwaysinline " in head}
        self._tables = {name: _NAME.findall(line) for name, line in self._rest if name and line.startswith("@")}

    def needs(self, name: str) -> list[str]:
        """What a function mentions of the others, itself or in constants that it mentions."""
        mentioned = self.mentioned(self.bodies[name])
        return [each for each in mentioned if each in self.bodies and each != name]

    def mentioned(self, text: str) -> dict[str, None]:
        """The names in a text, and in the constants that it mentions, and in what these mention."""
        found = dict.fromkeys(_NAME.findall(text))
        left = [name for name in found if name in self._tables]
        while left:
            more = [name for name in self._tables[left.pop()] if name not in found]
            found |= dict.fromkeys(more)
            left += [name for name in more if name in self._tables]
        return found

    def is_kernel(self, name: str) -> bool:
        """Whether it is of this program alone, and one of those that can be put into one function."""
        return not name.startswith(COMMON) and _KERNEL.match(self.bodies[name]) is not None

    def length(self, names: Iterable[str]) -> int:
        return sum(len(self.bodies[name]) for name in names)

    def halves(self, names: list[str]) -> list[list[str]]:
        """All in one, or in two of about the same length if they are worth a thread each."""
        if len(names) < 2 or self.length(names) < WORTH_A_THREAD:
            return [names]
        halves: list[list[str]] = [[], []]
        sizes = [0, 0]
        for name in sorted(names, key=lambda name: -len(self.bodies[name])):
            smaller = sizes.index(min(sizes))
            halves[smaller].append(name)
            sizes[smaller] += len(self.bodies[name])
        return halves if min(sizes) > _WORTH_A_UNIT else [names]

    def lines(self, used: Container[str]) -> list[str]:
        """What stands outside of functions: all but the names that are not used."""
        return [line for name, line in self._rest if name is None or name in used]


def functions(text: str) -> list[str]:
    """The functions that a text defines."""
    return _taken_apart(text)[0]


def _taken_apart(text: str) -> tuple[list[str], str]:
    """The functions of a text, and what else stands there."""
    first, *others = f"\n{text}".split("\ndefine ")
    found, rest = [], [first[1:]]
    for each in others:
        end = each.index("\n}") + 3
        found.append(f"define {each[:end]}")
        rest.append(each[end:])
    return found, "\n".join(rest)


def _kind(name: str, head: str, body: str) -> str:
    for attributes in (AS_WRITTEN, STRAIGHT, CALLING):
        if f" {attributes} " in head:
            return attributes
    if not _COMPUTES.search(body):
        return CALLING
    return AS_WRITTEN if name.startswith("product") else LATE


def _declaration(body: str) -> str:
    """`declare` for what `define` says."""
    head = body[: body.index("\n")].replace("define internal", "declare").replace("define", "declare")
    return head[: head.rindex(")") + 1]


def _named(line: str) -> str | None:
    """The name of a constant or of a declared function, if a line is that."""
    return name_of(line) if line.startswith(("@", "declare")) else None


def name_of(body: str) -> str:
    found = _NAME.search(body)
    assert found is not None
    return found.group(1)
