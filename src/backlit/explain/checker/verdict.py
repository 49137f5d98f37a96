"""What is said of a certificate in the end, as data and as text."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from .document import Document, MalformedError, document, load  # noqa: TID252
from .enclosure import MOST_DIGITS, Gradient, enclosed  # noqa: TID252
from .precision import StuckError, shown, with_enough_digits  # noqa: TID252
from .steps import Fault, first_fault  # noqa: TID252

MOST_SHOWN = 20


class Verdict(NamedTuple):
    """What was found out.

    certified: all steps are right, and the gradients agree to `digits` (None: they are exact). fault: the first wrong
    step. stuck: why nothing could be told. given: labels of the numbers that were taken as they are, and how many each.
    """

    certified: bool
    digits: int | None
    fault: Fault | None
    stuck: str | None
    gradients: Sequence[Gradient]
    source: Document
    given: dict[str, int]

    @property
    def exit_code(self) -> int:
        """0: certified; 1: a step is wrong; 3: it cannot be told. (2 is for files that cannot be read.)"""
        return 0 if self.certified else 1 if self.fault else 3

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        fault = self.fault and {**self.fault._asdict(), "label": self.source.nodes[self.fault.node].label}
        return {
            "schema": "backlit.verdict/1",
            "verdict": "certified" if self.certified else "wrong" if self.fault else "undecided",
            "digits": self.digits,
            "exact": self.certified and self.digits is None,
            "first_wrong_step": fault,
            "undecided": self.stuck,
            "given": self.given,
            "gradients": [
                {
                    "name": each.name,
                    "node": each.node,
                    "recorded": shown(each.recorded),
                    "between": [f"{each.right.lo:.25g}", f"{each.right.hi:.25g}"],
                    "digits": each.digits,
                    "exact": each.digits is None,
                    "terms_cancel": each.cancelled,
                }
                for each in self.gradients
            ],
        }

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        steps = sum(1 for node in self.source.nodes if node.inputs)
        terms = sum(len(entry.terms) for entry in self.source.backward.values())
        if self.fault:
            return _wrong(self.fault, self.source)
        if self.stuck:
            return f"cannot be certified: {self.stuck}"
        lines = [
            f"certified {_digits(self.digits)}: {steps:,} steps forward and {terms:,} terms backward were replayed"
        ]
        groups: dict[str, list[Gradient]] = {}
        for each in self.gradients:
            groups.setdefault(each.group, []).append(each)
        lines += [f"  by {name}: {_told(members)}" for name, members in list(groups.items())[:MOST_SHOWN]]
        if len(groups) > MOST_SHOWN:
            lines.append(f"  … and by {len(groups) - MOST_SHOWN:,} more")
        if self.digits is not None and self.digits < 4:
            lines.append(
                "  Every step is right; rounding, grown on its way through the graph, has taken the other digits."
            )
        if self.given:
            count = sum(self.given.values())
            lines.append(f"  Taken as given: {count:,} number{'s' * (count > 1)} ({', '.join(sorted(self.given))}).")
        return "\n".join(lines)


def _told(members: Sequence[Gradient]) -> str:
    """The gradient by a number, or of those by the elements of an array how many digits agree in the worst."""
    worst = min(members, key=lambda each: MOST_DIGITS + 1 if each.digits is None else each.digits)
    digits = _digits(worst.digits) + (" of its terms, which cancel" if worst.cancelled else "")
    if len(members) == 1:
        return f"{shown(worst.recorded)}, {digits}"
    return f"{len(members):,} elements, " + (digits if worst.digits is None else f"at worst {digits} ({worst.name})")


def _digits(digits: int | None) -> str:
    return "exactly" if digits is None else f"to {digits} digit{'s' * (digits != 1)}"


def _wrong(fault: Fault, source: Document) -> str:
    return (
        "NOT certified. The first wrong step:\n"
        f"  {source.nodes[fault.node].label}\n"
        f"  {fault.step}\n    recorded  {fault.recorded}\n    must be   {fault.must}"
    )


def judge(source: Any) -> Verdict:
    """The verdict on a certificate, given as what JSON holds. Raises MalformedError."""
    read = document(source)
    given = dict(Counter(node.name.split("[")[0] or "unnamed" for node in read.nodes if node.op == "given"))
    blank = Verdict(False, None, None, None, (), read, given)
    try:
        fault = with_enough_digits(lambda: first_fault(read))
        if fault:
            return blank._replace(fault=fault)
        gradients = with_enough_digits(lambda: enclosed(read))
    except StuckError as stuck:
        return blank._replace(stuck=f"{read.nodes[stuck.node].label}: {stuck}.")
    inexact = [each.digits for each in gradients if each.digits is not None]
    return blank._replace(certified=True, digits=min(inexact, default=None), gradients=gradients)


def verify(file: str) -> Verdict:
    """The verdict on a certificate in a file; `-` stands for standard input. Raises MalformedError, OSError."""
    return judge(load(file))


def main(arguments: Sequence[str]) -> int:
    """The command: verifies a file and says what it found. Gives the exit code."""
    as_json = "--json" in arguments
    files = [argument for argument in arguments if argument != "--json"]
    if len(files) != 1 or files[0].startswith("--"):
        sys.stderr.write("usage: checker [--json] FILE\n")
        return 2
    try:
        verdict = verify(files[0])
    except (MalformedError, OSError) as error:
        sys.stderr.write(f"error: {files[0]}: {getattr(error, 'strerror', None) or error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    text = json.dumps(verdict.to_dict(), indent=2) if as_json else str(verdict)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    return verdict.exit_code
