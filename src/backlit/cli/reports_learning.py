"""What `backlit train` says of what `fit` did: curves, tables, the boundary, names, and what to call next."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console, Group
from rich.text import Text

from backlit.cli import display
from backlit.cli.boundary import boundary
from backlit.cli.learning import kind_of
from backlit.cli.plot import curve
from backlit.cli.tables import Column, Table, spread
from backlit.training.run import predict

if TYPE_CHECKING:
    from backlit.cli.learning import Lesson
    from backlit.data.characters import Alphabet
    from backlit.data.dataset import Dataset
    from backlit.nn.module import Module
    from backlit.training.digits import DigitsRun, Split
    from backlit.training.run import Run

Part = Text | str
MOST_COLUMNS, MOST_CLASSES = 12, 10

CALLED = {
    "validation loss": "loss, held out",
    "accuracy": "right",
    "validation accuracy": "right, held out",
    "r2": "R²",
    "validation r2": "R², held out",
}

# -- parts that several reports share ---------------------------------------------------------------------------------


def losses(run: Run, width: int, height: int = 9) -> list[Part]:
    """The loss by step, smoothed where there are many."""
    found = run.losses
    size = max(1, len(found) // 70)
    count = len(found) // size
    if count < 2:
        return []
    means = found[: count * size].reshape(count, size).mean(axis=1)
    per_epoch = run.settings.get("batches") or 1
    x = (np.arange(count) + 0.5) * size / per_epoch
    label = "loss" if size == 1 else f"loss, mean of {size} steps"
    drawn = curve(x, means, width=width - 4, height=height, x_label="epoch", y_label=label, log_x=False)
    return ["", display.framed(drawn)]


def epochs(run: Run, width: int) -> list[Part]:
    """The numbers after epochs 1, 2, 5, 10, ..., as many as there is room for."""
    rows = run.history.epochs
    if not rows:
        return []
    count = len(rows)
    after = sorted({m * 10**n for n in range(6) for m in (1, 2, 5) if m * 10**n <= count} | {count})
    while True:
        table = [
            [CALLED.get(name, name), *(_cell(rows[i - 1].get(name, math.nan), "accuracy" in name) for i in after)]
            for name in run.history.columns
            if name not in ("epoch", "seconds")
        ]
        shown = display.table(["after epoch", *(f"{epoch:,}" for epoch in after)], table, 1)
        if len(after) <= 2 or max(map(len, shown.plain.split("\n"))) <= width + 2:
            return ["", shown]
        after.pop(-2)


def _cell(number: float, is_percent: bool) -> str:
    if math.isnan(number):
        return "-"
    return f"{100 * number:.1f} %" if is_percent else f"{number:.4g}"


def effort(run: Run, width: int) -> Text:
    """What it cost."""
    steps = run.position.step
    rate = f" ({steps / run.seconds:,.0f} a second)" if run.seconds > 0 and steps else ""
    rows = run.batch_size or len(run.inputs)
    text = (
        f"{display.counted(steps, 'step')} of {min(rows, len(run.inputs)):,} rows in {display.spent(run.seconds)}{rate}"
    )
    if run.settings.get("compile"):
        text += ", compiled"
    if run.stopped and not run.interrupted and run.nonfinite is None:
        text += f"; it ended early: {run.stopped.removeprefix('early stopping: ')}"
    return display.prose(f"{text}.", width, display.QUIET)


def nonfinite(run: Run, width: int) -> list[Part]:
    """Where the first number that is no number arose."""
    if run.nonfinite is None or run.stopped is None:
        return []
    text = re.sub(r" at (?:train|learning)\.py:\d+ in \w+(?:: return fit\()?", "", run.stopped)
    said = [
        display.prose(line.strip(), width - 4, display.BAD, 2 + min(6, len(line) - len(line.lstrip())))
        for line in text.splitlines()
        if line.strip()
    ]
    return ["", *said, display.prose("Try a smaller --lr.", width, display.BAD)]


def endings(wrote: Sequence[tuple[str, str]]) -> Group:
    """The files that were written."""
    parts: list[Part] = []
    if wrote:
        parts += [
            "",
            display.table(["wrote", ""], [[name, Text(what, style=display.QUIET)] for name, what in wrote], 2),
        ]
    return Group(*parts)


def verdict(right: int, of: int, what: str, held: bool, guess: float, width: int) -> Text:
    """How many answers are right, and whether that is more than guessing."""
    rate = right / max(of, 1)
    never = "that it never saw" if held else "it learned from"
    text = f"It is right about {right:,} of {of:,} {what} {never}: {100 * rate:.1f} %."
    if guess > 0:
        text += f" Always saying the most frequent would be right about {100 * guess:.1f} %."
    good = rate > guess + 0.5 * (1 - guess)
    return display.prose(text, width, display.GOOD if good else display.BAD)


# -- moons and spirals ------------------------------------------------------------------------------------------------


def plane_report(run: Run, lesson: Lesson, whole: Dataset, scores: Callable[[Any], Any], console: Console) -> Group:
    """What there is to say of a net that tells apart points of the plane."""
    width = display.room(console)
    parts: list[Part] = [*losses(run, width), *epochs(run, width), *nonfinite(run, width)]
    if run.nonfinite is None:
        seen = lesson.held or lesson.data
        right = int((run.predict(seen.inputs).argmax(axis=1) == seen.targets).sum())
        names = [f"{whole.target_name} {each}" for each in whole.classes]
        parts += [
            "",
            boundary(scores, whole.inputs, whole.targets, names, console, width - 4),
            "",
            verdict(right, len(seen), "points", lesson.held is not None, 0, width),
        ]
    return Group(*parts, effort(run, width))


# -- digits -----------------------------------------------------------------------------------------------------------


def digits_run(run: Run, held: Split, asked: int) -> DigitsRun:
    """The run of a net that reads digits, for the report on digits."""
    from backlit.training.digits import DigitsRun, Misread

    raised = run.predict(held.images).astype(np.float64)
    raised = np.exp(raised - raised.max(axis=1, keepdims=True))
    chances = raised / raised.sum(axis=1, keepdims=True)
    guesses = chances.argmax(axis=1)
    misread = [
        Misread(
            index=int(held.where[i]),
            image=held.images[i].reshape(8, 8).astype(np.float64),
            true=int(held.labels[i]),
            predicted=int(guesses[i]),
            confidence=float(chances[i, guesses[i]]),
        )
        for i in np.flatnonzero(guesses != held.labels)
    ]
    history = run.history
    accuracies = history.column("validation accuracy") if history.epochs else np.empty(0)
    seen = np.array(run.losses) if run.nonfinite is None else np.append(run.losses, math.nan)
    return DigitsRun(
        epochs=asked,
        seed=run.seed,
        losses=seen,
        accuracies=accuracies,
        accuracy=float((guesses == held.labels).mean()),
        held_out=len(held.labels),
        misread=sorted(misread, key=lambda m: (-m.confidence, m.index)),
        parameters={},
        seconds=run.seconds,
        interrupted=run.interrupted,
    )


# -- names ------------------------------------------------------------------------------------------------------------


def sampled(run: Run, letters: Alphabet, context: int, count: int, key: Any, longest: int = 16) -> list[str]:
    """Names that the net makes: letter by letter, each drawn with the probability that the net gives it."""
    from backlit.ops import random

    if not count or run.nonfinite is not None:
        return []
    before = np.zeros((count, context), np.int64)
    names, ended = [""] * count, np.zeros(count, bool)
    for step in range(longest):
        raised = np.asarray(predict(run.model, before), np.float64)
        raised = np.exp(raised - raised.max(axis=1, keepdims=True))
        sums = np.cumsum(raised / raised.sum(axis=1, keepdims=True), axis=1)
        draws = np.asarray(random.uniform(random.fold_in(key, step), (count,), dtype=np.float64))
        drawn = np.minimum((draws[:, None] >= sums).sum(axis=1), len(letters) - 1)
        for i in np.flatnonzero(~ended):
            if drawn[i] == 0:
                ended[i] = True
            else:
                names[i] += letters.decode([drawn[i]])
        before = np.concatenate([before[:, 1:], drawn[:, None]], axis=1)
        if ended.all():
            break
    return [name if done else f"{name}…" for name, done in zip(names, ended, strict=True)]


def names_report(
    run: Run, lesson: Lesson, known: Sequence[str], held: Sequence[str], made: Sequence[str], console: Console
) -> Group:
    """What there is to say of a net that makes names."""
    width = display.room(console)
    count = len(lesson.data.classes)
    guess = math.log(count)
    parts: list[Part] = [*losses(run, width), *epochs(run, width), *nonfinite(run, width)]
    final = run.final.get("validation loss", math.nan)
    if len(run.losses) and math.isfinite(final):
        first = float(run.losses[0])
        rows = [
            ["guessing, all letters alike", f"{guess:.3f}", f"{count:.1f}"],
            ["before the first step", f"{first:.3f}", f"{math.exp(min(first, 700)):.1f}"],
            ["now, on names it never saw", f"{final:.3f}", f"{math.exp(min(final, 700)):.1f}"],
        ]
        parts += ["", display.table(["", "loss", "as if choosing among"], rows, 1)]
        long = np.mean([len(name) + 1 for name in held])
        times = (guess - final) * long / math.log(10)
        if times > 0.5:
            text = (
                f"A name that it never saw has, by the mean over {len(held):,}, about 10^{times:.0f} times the "
                "probability that guessing gives it."
            )
            parts += ["", display.prose(text, width, display.GOOD)]
    if made:
        new = sum(name not in set(known) for name in made)
        parts += ["", *_listed(f"Names it makes ({new} of {len(made)} are new):", made, width)]
        parts += [*_listed("Names it learned from, for comparison:", known[: max(4, len(made) // 4)], width)]
    return Group(*parts, "", effort(run, width))


def _listed(heading: str, names: Sequence[str], width: int) -> list[Part]:
    column = max(len(name) for name in names) + 2
    each = max(1, (width - 4) // column)
    lines = ["".join(f"{name:{column}}" for name in names[i : i + each]).rstrip() for i in range(0, len(names), each)]
    return [Text(f"  {heading}", style=display.QUIET), *(Text(f"    {line}") for line in lines)]


# -- files ------------------------------------------------------------------------------------------------------------


def read_report(read: Table, model: Module, lesson: Lesson, console: Console) -> Group:
    """What was read, and what is to learn from it."""
    width = display.room(console)
    rows: list[list[str | Text]] = [
        [display.printable(c.name, 24), c.kind, Text(display.printable(c.about, width - 40), style=display.QUIET)]
        for c in read.columns
    ]
    more = len(rows) - MOST_COLUMNS
    rows = rows[:MOST_COLUMNS]
    if read.classes:
        counts = np.bincount(lesson.data.targets, minlength=len(read.classes))
        if lesson.held is not None:
            counts = counts + np.bincount(lesson.held.targets, minlength=len(read.classes))
        shown = ", ".join(f"{name} {n:,}" for name, n in zip(read.classes[:5], counts, strict=False))
        about = shown + (f", and {len(read.classes) - 5} more" if len(read.classes) > 5 else "")
        kind = f"{len(read.classes)} kinds"
    else:
        parts = [lesson.data.targets] + ([] if lesson.held is None else [lesson.held.targets])
        about, kind = spread(np.concatenate(parts)[:, 0].astype(np.float64) * read.deviation + read.mean), "amount"
    target: list[str | Text] = [
        Text(display.printable(read.target, 24), style=display.CURVE),
        Text(kind, style=display.CURVE),
        Text(display.printable(about, width - 40), style=display.QUIET),
    ]
    if more > 0:
        rows.append(["…", f"{more} more", ""])
    held = 0 if lesson.held is None else len(lesson.held)
    text = f"{display.counted(read.rows, 'row')}: {len(lesson.data):,} to learn from, {held:,} held out."
    said: list[Part] = ["", display.table(["column", "kind", ""], [*rows, target], 3), "", display.prose(text, width)]
    if read.remark:
        said.append(display.prose(read.remark, width, display.BAD))
    return Group(*said, "", summary(model, lesson, width))


def summary(model: Module, lesson: Lesson, width: int) -> Text:
    """The model in a line: its layers, how many numbers it learns, and how."""
    linear = [p.shape for name, p in model.named_parameters() if len(p.shape) == 2]
    units = " → ".join(map(str, [linear[0][0], *(shape[1] for shape in linear)]))
    count = sum(math.prod(p.shape) for p in model.parameters())
    between = type(getattr(model, "activation", None)).__name__.lower() if len(linear) > 1 else ""
    text = f"Model: {units}{' with ' + between if between else ''}, {count:,} parameters. "
    what = "cross entropy" if lesson.loss == "cross_entropy" else "mean squared error"
    text += (
        f"{kind_of(lesson.optimizer)} at {lesson.lr:g} on the {what}, {lesson.batch} rows a step, seed {lesson.seed}."
    )
    return display.prose(text, width)


def table_report(run: Run, lesson: Lesson, read: Table, console: Console) -> Group:
    """What there is to say of a net that learned from a file."""
    width = display.room(console)
    parts: list[Part] = [*losses(run, width), *epochs(run, width), *nonfinite(run, width)]
    if run.nonfinite is None:
        seen = lesson.held or lesson.data
        answers = np.asarray(run.predict(seen.inputs))
        parts.append("")
        if read.classes:
            guesses = answers.argmax(axis=1)
            common = int(np.bincount(lesson.data.targets).argmax())
            guess = float((seen.targets == common).mean())
            right = int((guesses == seen.targets).sum())
            parts.append(verdict(right, len(seen), "rows", lesson.held is not None, guess, width))
            parts += ["", *confusion(seen.targets, guesses, read.classes, width)]
        else:
            parts += amounts(seen.targets[:, 0], answers[:, 0], read, lesson.held is not None, width)
        parts += overfitting(run, lesson, width)
        parts += importance(run, seen, read, width)
    return Group(*parts, "", effort(run, width))


def overfitting(run: Run, lesson: Lesson, width: int) -> list[Part]:
    """A word where what was held out was answered better some time ago."""
    if lesson.held is None or lesson.patience is not None or len(run.history.epochs) < 3:
        return []
    column = run.history.column("validation loss")
    best = int(np.nanargmin(column)) if np.isfinite(column).any() else len(column) - 1
    if column[-1] <= 1.1 * column[best] or best > 0.8 * len(column):
        return []
    text = (
        f"The loss on what was held out was lowest after epoch {best + 1} ({column[best]:.4g}) and is {column[-1]:.4g} "
        f"now: since then it learned these rows by heart. --patience {max(3, len(column) // 10)} stops there; fewer "
        "--hidden units do it less."
    )
    return ["", display.prose(text, width, display.BAD)]


def confusion(true: Any, guessed: Any, classes: Sequence[str], width: int) -> list[Part]:
    """How often each kind was taken for which; for many kinds, the most frequent mistakes."""
    table = np.zeros((len(classes), len(classes)), int)
    np.add.at(table, (true, guessed), 1)
    names = [display.printable(name, 14) for name in classes]
    needed = 6 + max(map(len, names)) + sum(max(len(name), 5) + 2 for name in names)
    if len(classes) <= MOST_CLASSES and needed <= width:
        rows: list[list[str | Text]] = []
        for i, name in enumerate(names):
            cells = [_counted(int(n), i == j) for j, n in enumerate(table[i])]
            rows.append([name, *cells])
        return [display.table(["is \\ said", *names], rows, 1)]
    off = [(int(table[i, j]), i, j) for i, j in np.argwhere(table) if i != j]
    if not off:
        return [display.prose("There are no mistakes.", width)]
    often = [[f"{n:,}", names[i], names[j]] for n, i, j in sorted(off, reverse=True)[:8]]
    return [display.table(["times", "is", "said"], often, 3)]


def _counted(count: int, right: bool) -> Text:
    if not count:
        return Text("·", style=display.QUIET)
    return Text(f"{count:,}", style=display.GOOD if right else display.BAD)


def amounts(true: Any, guessed: Any, read: Table, held: bool, width: int) -> list[Part]:
    """How far answers are off, in the target's own unit."""
    y = np.asarray(true, np.float64) * read.deviation + read.mean
    p = np.asarray(guessed, np.float64) * read.deviation + read.mean
    off = p - y
    with np.errstate(over="ignore", invalid="ignore"):  # amounts whose squares float64 cannot hold
        rmse, typical, alone = float(np.sqrt(np.mean(off**2))), float(np.median(np.abs(off))), float(y.std())
        explained = 1 - float(np.mean(off**2)) / alone**2 if 0 < alone < 1e150 else math.nan
    never = "that it never saw" if held else "it learned from"
    target = display.printable(read.target, 40)
    text = (
        f"Of {len(y):,} rows {never}, half are answered to within {typical:.4g} of {target}; "
        f"the root mean square error is {rmse:.4g}, where always saying the mean gives {alone:.4g}"
    )
    text += f" (R² {explained:.3f})." if math.isfinite(explained) else "."
    style = display.GOOD if explained > 0.5 else display.BAD
    worst = np.argsort(-np.abs(off), kind="stable")[:3]
    rows = [[f"{y[i]:.5g}", f"{p[i]:.5g}", f"{off[i]:+.4g}"] for i in worst]
    heads = [target, "answer", "off by"]
    return [
        display.prose(text, width, style),
        "",
        Text("  the furthest off", style=display.QUIET),
        display.table(heads, rows),
    ]


def importance(run: Run, seen: Dataset, read: Table, width: int, rounds: int = 5, most: int = 1000) -> list[Part]:
    """What answers depend on: how much worse they get when one column is shuffled among the rows.

    Source: Breiman 2001, "Random forests", section 10, for any model. Columns that go together share what they know.
    """
    from backlit.ops import random

    if not 2 <= len(read.columns) <= 60 or len(seen) < 10:
        return []
    x, y = seen.inputs[:most], seen.targets[:most]
    base = _goodness(np.asarray(run.predict(x)), y, bool(read.classes))
    key = random.key(run.seed)
    lost: list[tuple[float, Column]] = []
    for i, column in enumerate(read.columns):
        where = list(column.where)
        falls = []
        for again in range(rounds):
            order = np.asarray(random.permutation(random.fold_in(random.fold_in(key, i), again), len(x)))
            moved = x.copy()
            moved[:, where] = x[order][:, where]
            falls.append(base - _goodness(np.asarray(run.predict(moved)), y, bool(read.classes)))
        lost.append((float(np.mean(falls)), column))
    lost.sort(key=lambda pair: -pair[0])
    largest = lost[0][0]
    if largest <= 0.005:
        return []
    bar = max(8, min(30, width - 48))
    rows: list[list[str | Text]] = []
    for fall, column in lost[:8]:
        length = max(0.0, fall) / largest * bar
        said = f"{100 * fall:.1f} %" if read.classes else f"{fall:.3f}"
        rows.append([display.printable(column.name, 24), Text(_bar(length), style=display.CURVE), Text(said)])
    what = "right answers" if read.classes else "R²"
    heading = f"What it goes by: {what} lost when a column is shuffled among the rows"
    shown: list[Part] = ["", display.prose(heading, width, display.QUIET), display.rows(rows, 2)]
    if len(lost) > 8:
        shown.append(display.prose(f"and {len(lost) - 8} more columns, each less.", width, display.QUIET))
    return shown


def _bar(length: float) -> str:
    full, rest = divmod(round(length * 8), 8)
    return "█" * full + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[rest]


def _goodness(answers: Any, y: Any, classes: bool) -> float:
    if classes:
        return float((answers.argmax(axis=1) == y).mean())
    spread_of = float(np.mean((y - y.mean()) ** 2))
    return 1 - float(np.mean((answers - y) ** 2)) / spread_of if spread_of > 0 else 0.0
