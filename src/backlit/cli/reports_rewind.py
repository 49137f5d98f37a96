"""What `backlit rewind` and `backlit runs` show of recorded runs."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console, Group
from rich.text import Text

from backlit.cli import display
from backlit.cli.learning import spelled
from backlit.cli.plot import curve
from backlit.core.value import numbers_of

if TYPE_CHECKING:
    from backlit.training.ledger import Ledger
    from backlit.training.replay import RecordedRun
    from backlit.training.stepping import StepView

Part = Text | str


def noted(run: RecordedRun) -> Mapping[str, Any]:
    """What `backlit train` wrote into a recording about the data; empty for a run of another making."""
    found = run.settings.get("about")
    return found if isinstance(found, dict) else {}


def about(run: RecordedRun) -> str:
    """What ran: data, model, optimizer."""
    what = display.printable(noted(run).get("what", ""), 40) or f"{run.settings.get('rows', '?')} rows"
    return f"{what} · {run.settings.get('model_class', 'a model')} · {run.settings.get('optimizer_class', '')}"


def overview(run: RecordedRun, console: Console) -> Group:
    """All of a recorded run on a screen."""
    width = display.room(console)
    parts: list[Part] = []
    if run.steps > 1:
        parts += ["", display.framed(loss_curve(run.losses, run.first_step, width - 4))]
    settings, made = run.settings, run.made
    ended = "not ended: killed, or still running" if run.ended is None else run.ended
    rows = [
        [
            "recorded",
            f"{run.steps:,} steps, {run.first_step:,} to {run.end:,}; {ended.splitlines()[0].partition(' First, ')[0]}",
        ],
        [
            "made",
            f"{made.get('time', '?')}, with Backlit {made.get('backlit', '?')}, NumPy {made.get('numpy', '?')}"
            + (f", compiled for {run.compiled_for.split()[0]}" if run.compiled_for else ""),
        ],
        ["data", _data(run)],
        ["training", _training(settings)],
    ]
    if run.steps:
        finite = run.losses[np.isfinite(run.losses)]
        lowest = int(np.nanargmin(np.where(np.isfinite(run.losses), run.losses, math.inf))) if len(finite) else 0
        ends = f"{run.losses[0]:.6g} at first, {run.losses[-1]:.6g} at last"
        rows.append(["loss", f"{ends}, lowest {run.losses[lowest]:.6g} at step {run.first_step + lowest:,}"])
        bad, rise = run.first_nonfinite(), run.first_rise(2.0)
        if stopped_at_nan(run):
            rows.append(["look at", f"step {run.end:,}: what it finds is no longer a number"])
        elif bad is not None:
            rows.append(["look at", f"step {bad:,}: the loss is no longer a number"])
        elif rise is not None:
            rows.append(["look at", f"step {rise:,}: for the first time the loss is over twice the lowest before it"])
    parts.append("")
    parts += [_line(head, text, width) for head, text in rows]
    shapes = [(name, p.shape) for name, p in run.model.named_parameters()]
    listed = ", ".join(f"{name} {'×'.join(map(str, shape)) or '1'}" for name, shape in shapes[:12])
    parts.append(_line("weights", listed + (f", and {len(shapes) - 12} more" if len(shapes) > 12 else ""), width))
    return Group(*parts)


def stopped_at_nan(run: RecordedRun) -> bool:
    """Whether a loss that is no number ended the run; the step that found it was not made."""
    return run.ended is not None and "so training stopped" in run.ended


def _line(head: str, text: str, width: int) -> Text:
    shown = display.prose(text, max(20, width - 2), indent=12)
    return Text(f"  {head:10}", style=display.QUIET) + Text(shown.plain[12:])


def _data(run: RecordedRun) -> str:
    said, settings = noted(run), run.settings
    rows, held = settings.get("rows", 0), settings.get("validation_rows", 0)
    text = f"{display.printable(said.get('file', said.get('what', '')))}: " if said else ""
    text += f"{rows:,} rows" + (f", {held:,} held out" if held else "")
    return text


def _training(settings: Mapping[str, Any]) -> str:
    size = settings.get("batch_size")
    parts = [
        f"{settings.get('epochs', '?')} epochs",
        "all rows a step" if size is None else f"{size} rows a step",
        f"{settings.get('loss', 'loss')}",
        f"{settings.get('optimizer_class', '')}{rate_of(settings)}",
        f"seed {settings.get('seed', '?')}",
    ]
    return ", ".join(parts)


def rate_of(settings: Mapping[str, Any]) -> str:
    """The learning rate, where it is a number."""
    spec = settings.get("optimizer")
    lr = spec.get("kwargs", {}).get("lr") if isinstance(spec, dict) else None
    return f" at {lr:g}" if isinstance(lr, (int, float)) else ""


def loss_curve(losses: Any, first: int, width: int, height: int = 9) -> str:
    """The loss by step, smoothed where there are many."""
    size = max(1, len(losses) // 100)
    count = len(losses) // size
    means = losses[: count * size].reshape(count, size).mean(axis=1)
    if not np.isfinite(means).any():
        return "no loss is a number"
    label = "loss" if size == 1 else f"loss, mean of {size} steps"
    x = first + (np.arange(count) + 0.5) * size
    return curve(x, means, width=width, height=height, x_label="step", y_label=label, log_x=False)


# -- one step ---------------------------------------------------------------------------------------------------------


def where(run: RecordedRun, view: StepView) -> str:
    """Which epoch and batch a step is."""
    return f"epoch {view.epoch + 1}, batch {view.batch + 1} of {run.settings.get('batches', '?')} · {about(run)}"


def replayed(run: RecordedRun, view: StepView, console: Console) -> Group:
    """The loss, and whether it is the recorded one."""
    width = display.room(console)
    loss = view.replayed
    if view.exact is None:
        text, style = f"Loss {loss:.9g}. This step would have come next; it was not recorded.", display.QUIET
    elif view.exact:
        text, style = f"Loss {loss:.9g}: the recorded one, to the last bit.", display.GOOD
    else:
        text, style = f"Loss {loss:.9g}, and {view.recorded:.9g} was recorded.", display.BAD
    return Group(display.prose(text, width, style))


def step_report(run: RecordedRun, view: StepView, console: Console, top: int) -> Group:
    """A step on a screen: what each parameter was, how its gradient and its move were, and the rows it saw."""
    width = display.room(console)
    rows: list[list[str]] = []
    named = dict(view.model.named_parameters())
    for name, parameter in list(named.items())[:16]:
        grad = parameter.grad
        update = view.update(name)
        size, slope, change = (_rms(x) for x in (update.old, grad, update.change))
        share = "-" if not size else f"{100 * change / size:.2g} %"
        rows.append(
            [name, "×".join(map(str, parameter.shape)) or "1", f"{size:.3g}", "-" if grad is None else f"{slope:.3g}",
             f"{change:.3g}", share]
        )  # fmt: skip
    parts: list[Part] = ["", display.table(["weights", "shape", "size", "gradient", "move", "move/size"], rows, 2)]
    parts.append(Text("  size, gradient and move: root mean squares", style=display.QUIET))
    if len(named) > 16:
        parts.append(Text(f"  and {len(named) - 16} more", style=display.QUIET))
    around = _around(run, view)
    if around is not None:
        parts += ["", around]
    parts += ["", *_seen(run, view, width, top)]
    return Group(*parts)


def _rms(x: Any) -> float:
    if x is None:
        return 0.0
    found = np.asarray(x, np.float64)
    return float(np.sqrt(np.mean(found * found))) if found.size else 0.0


def _around(run: RecordedRun, view: StepView) -> Text | None:
    """The losses of the steps around this one."""
    steps = [s for s in range(view.step - 3, view.step + 4) if run.first_step <= s < run.end]
    if len(steps) < 2:
        return None
    heads = [f"{s:,}" for s in steps]
    losses = [Text(f"{run.loss_at(s):.4g}", style=display.CURVE if s == view.step else "") for s in steps]
    return display.table(["step", *heads], [["loss", *losses]], 1)


def _seen(run: RecordedRun, view: StepView, width: int, top: int) -> list[Part]:
    """The rows that the step saw; where each has its own loss, those with the largest."""
    said = noted(run)
    prediction = view.prediction
    targets = np.asarray(view.targets)
    classes = said.get("classes") or []
    if prediction is None or prediction.ndim != 2 or targets.ndim != 1 or targets.dtype.kind not in "iu":
        names = ", ".join(row_name(run, int(i)) for i in view.rows[:8])
        more = f", and {len(view.rows) - 8} more" if len(view.rows) > 8 else ""
        return [display.prose(f"It saw {len(view.rows)} rows: {names}{more}.", width)]
    scores = np.asarray(prediction.data, np.float64)
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances = raised / raised.sum(axis=1, keepdims=True)
    own = chances[np.arange(len(targets)), targets]
    guessed = chances.argmax(axis=1)
    order = np.argsort(own, kind="stable")[:top]

    def called(k: int) -> str:
        return display.printable(classes[k], 24) if k < len(classes) else str(k)

    rows = [
        [row_name(run, int(view.rows[i])), called(int(targets[i])), called(int(guessed[i])), f"{100 * own[i]:.3g} %"]
        for i in order
    ]
    right = int((guessed == targets).sum())
    letters = _letters(view, classes)
    if letters:
        rows = [[letters[i], *row[1:]] for i, row in zip(order, rows, strict=True)]
    heading = f"It saw {len(targets)} rows and was right about {right}. Those that it found least likely:"
    return [
        display.prose(heading, width),
        display.table(["after" if letters else row_heading(run), "is", "said", "its chance"], rows, 3),
    ]


def _letters(view: StepView, classes: Sequence[Any]) -> list[str]:
    """The letters that each row of a batch shows, where the inputs are places in an alphabet; else nothing."""
    places = np.asarray(view.inputs)
    single = all(isinstance(each, str) and len(each) == 1 for each in classes)
    if places.dtype.kind not in "iu" or places.ndim != 2 or not single or places.max() >= len(classes):
        return []
    return [display.printable("".join(classes[k] for k in row)) for row in places.tolist()]


def row_name(run: RecordedRun, row: int) -> str:
    """A row by its number: in the file, if it is known, otherwise among those to learn from.

    The rows of a file are counted from 1, without its header.
    """
    order = noted(run).get("order")
    if isinstance(order, list) and row < len(order):
        return f"{order[row]:,}"
    return f"{row:,}"


def row_heading(run: RecordedRun) -> str:
    """What the numbers of `row_name` count."""
    said = noted(run)
    if not isinstance(said.get("order"), list):
        return "row"
    reading = said.get("reading")
    return (
        "row of those read"
        if isinstance(reading, list) and "drop" in reading
        else f"row of {display.printable(said.get('what', 'the data'), 30)}"
    )


def rows_named(run: RecordedRun, view: StepView, text: str) -> str:
    """Which rows of the data those rows of the batch are that an explanation speaks of; empty if of none."""
    whole = {"prediction", *(path for path, _ in view.model.named_modules() if path)}  # their first axis is the batch
    found = re.findall(r"(?:\b\w+\()?\b([\w.]+)\)?(?:#\d+)?\[(\d+)[,\]]", text)
    found = [row for name, row in found if name in whole] + re.findall(r"^ +row (\d+) ", text, re.MULTILINE)
    spoken = sorted({int(row) for row in found if int(row) < len(view.rows)})
    if not spoken or view.prediction is None or view.prediction.shape[:1] != (len(view.rows),):
        return ""
    pairs = ", ".join(f"{i} is {row_name(run, int(view.rows[i]))}" for i in spoken[:12])
    what = row_heading(run).removeprefix("row").strip().removeprefix("of ") or "the data"
    return f"Rows of the batch, and which of {what} they are: {pairs}."


def moved(view: StepView, name: str, index: tuple[int, ...] | None, console: Console) -> Group:
    """How the step moved a weight, told by the optimizer where it can; makes the step."""
    width = display.room(console)
    update = view.update(name)
    if index is None and update.old.ndim:
        size, change = _rms(update.old), _rms(update.change)
        text = f"The step moved {name} by {change:.4g}, its size being {size:.4g} (root mean squares)."
        return Group("", display.prose(text, width))
    spot = index or ()
    old, new, change = (float(np.asarray(part)[spot]) for part in update)
    label = f"{name}[{', '.join(map(str, spot))}]" if spot else name
    head = Text(f"THE MOVE  {label} went from {old:.6g} to {new:.6g}: {change:+.6g}", style="bold")
    parameter = view.parameter(name)
    if parameter.grad is None:
        return Group("", head)
    view.optimizer.step()
    told = str(view.optimizer.why(parameter, spot)).splitlines()
    same = float(np.asarray(numbers_of(parameter))[spot]) == new  # by nudging, the run moved otherwise
    lines = [line for line in told if not line.strip().startswith("from ")] if same else []
    return Group("", head, "", *(_hung(line.strip(), width) for line in lines))


def _hung(text: str, width: int) -> Text:
    return Text(textwrap.fill(text, width, initial_indent="  ", subsequent_indent="      "))


# -- a ledger ---------------------------------------------------------------------------------------------------------


def ledger_report(run: RecordedRun, kept: Ledger, top: int, console: Console) -> Group:
    """Which steps and which rows moved a weight."""
    width = display.room(console)
    label = f"{kept.weight}[{','.join(map(str, kept.index))}]" if kept.index else kept.weight
    steps = f"{kept.new - kept.old:+.6g} in the {display.counted(len(kept), 'step')} from step {kept.start:,} on"
    parts: list[Part] = [
        Text(f"{label} went from {kept.old:.6g} to {kept.new:.6g}", style="bold"),
        Text(f"  {steps}", style=display.QUIET),
    ]
    if len(kept) > 1:
        values = kept.old + np.concatenate([[0.0], np.cumsum(kept.changes)])
        x = np.arange(kept.start, kept.stop + 1)
        if np.isfinite(values).all() and values.min() < values.max():
            drawn = curve(
                x, values, width=width - 4, height=7, x_label="step", y_label="weight", log_x=False, log_y=False
            )
            parts += ["", display.framed(drawn)]
    if not len(kept):
        return Group(*parts, "", display.prose("There are no steps between the two, so nothing moved it.", width))
    largest = kept.largest(top)
    bars = _bars([entry.change for entry in largest])
    rows: list[list[str | Text]] = [
        [f"{entry.step:,}", f"{entry.change:+.4g}", f"{run.loss_at(entry.step):.4g}", bar]
        for entry, bar in zip(largest, bars, strict=True)
    ]
    parts += ["", Text("  the steps that did most", style=display.QUIET)]
    parts.append(display.table(["step", "moved it", "loss", ""], rows))
    examples = kept.by_example()
    if examples:
        times: dict[int, int] = {}
        for entry in kept.entries:
            for row in entry.rows.tolist():
                times[row] = times.get(row, 0) + 1
        shown = list(examples.items())[:top]
        bars = _bars([share for _, share in shown])
        rows = [
            [row_name(run, row), f"{share:+.4g}", f"{times[row]:,}", bar]
            for (row, share), bar in zip(shown, bars, strict=True)
        ]
        heads = [row_heading(run), "moved it", "in steps", ""]
        parts += ["", Text("  the rows that did most", style=display.QUIET), display.table(heads, rows)]
        total = math.fsum(examples.values())
        sums = [
            ["all rows", f"{total:+.6g}"],
            ["memory and decay", f"{kept.memory:+.6g}"],
            ["sum", f"{kept.total:+.6g}"],
        ]
        parts += ["", display.rows(sums, 1)]
        text = (
            "A row's share is what its part of the gradient made of the update; memory is what the optimizer carried "
            "over from earlier steps."
        )
        parts.append(display.prose(text, width, display.QUIET))
    if kept.note:
        parts.append(display.prose(kept.note, width, display.QUIET))
    return Group(*parts)


def _bars(shares: Sequence[float], longest: int = 14) -> list[Text]:
    """A bar to the right for each share that made it larger, to the left for each that made it smaller."""
    scale = max((abs(share) for share in shares if math.isfinite(share)), default=0.0) or 1.0
    lengths = [round(share / scale * longest) if math.isfinite(share) else 0 for share in shares]
    left, right = max(0, -min(lengths, default=0)), max(0, max(lengths, default=0))
    return [
        Text(f"{'█' * max(0, -n):>{left}}", style=display.BAD)
        + Text("│", style="default dim")
        + Text(f"{'█' * max(0, n):{right}}", style=display.CURVE)
        for n in lengths
    ]


# -- two runs ---------------------------------------------------------------------------------------------------------

_SAID = {
    "batch_size": "rows a step",
    "lr": "learning rate",
    "rows": "rows to learn from",
    "validation_rows": "rows held out",
    "loss": "loss",
    "optimizer_class": "optimizer",
    "model_class": "model",
}
_UNSAID = ("about", "validation", "batches", "parameters")


def differences(a: RecordedRun, b: RecordedRun, most: int = 200) -> list[list[str]]:
    """What was chosen otherwise: name, that of one, that of the other, each in at most so many characters."""
    rows = []
    for key in sorted({*a.settings, *b.settings}):
        one, two = a.settings.get(key), b.settings.get(key)
        if one == two or key in _UNSAID:
            continue
        if key == "data":
            first, second = noted(a).get("what", "these"), noted(b).get("what", "these")
            rows.append(["data", str(first), str(second) if first != second else f"{second}, other rows"])
        elif key in ("model", "optimizer"):
            first, second = spelled(one), spelled(two)
            rows.append([key, first, second if first != second else f"{second}, of another seed"])
        elif key not in ("model_class", "optimizer_class"):
            rows.append([_SAID.get(key, key), spelled(one), spelled(two)])
    return [[name, *(x if len(x) <= most else f"{x[: most - 1]}…" for x in two)] for name, *two in rows]
