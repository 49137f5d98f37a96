"""How a training command ends: files written, what to call next, and the exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from backlit.cli.learning import DIVERGED, INTERRUPTED, Files, Lesson
from backlit.core.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from backlit.training.run import Run


def finish(console: Console, lesson: Lesson, run: Run, plot: Any = None) -> None:
    """Write the files asked for, say what to do next, and end with the exit code that fits.

    plot: a function that makes the chart of `--plot`; by default the losses.
    """
    from backlit.cli import display, reports_learning

    files = lesson.files
    wrote: list[tuple[str, str]] = []
    if files.record is not None:
        wrote.append((str(files.record), f"{display.counted(len(run.losses), 'step')}, each of which can be rewound"))
    if files.checkpoint is not None and files.checkpoint.exists():
        wrote.append((str(files.checkpoint), "to be resumed"))
    if files.save is not None and run.nonfinite is None:
        save_model(files.save, lesson, run)
        wrote.append((str(files.save), "the model, and what its inputs were"))
    if files.plot is not None and len(run.losses):
        _save_plot(files.plot, run.plot if plot is None else plot)
        wrote.append((str(files.plot), "a picture"))
    console.print(reports_learning.endings(wrote))
    display.commands(console, commands(lesson, run))
    if run.nonfinite is not None:
        raise typer.Exit(DIVERGED)
    if run.interrupted:
        stopped(console, run.position.step, lesson.epochs * run.settings["batches"], files)


def stopped(console: Console, done: int, asked: int, files: Files | None = None) -> None:
    """Say that Ctrl-C ended it, and end with its exit code."""
    from backlit.cli import display

    console.print()
    text = f"Stopped by Ctrl-C after {done:,} of {asked:,} steps (exit code {INTERRUPTED})."
    if files is not None and files.checkpoint is not None:
        text += " The same command with --resume goes on from there."
    console.print(display.prose(text, display.room(console), display.BAD))
    raise typer.Exit(INTERRUPTED)


def commands(lesson: Lesson, run: Run) -> list[str]:
    """What to call next."""
    import shlex

    if lesson.files.record is None or not len(run.losses) or run.nonfinite is not None:
        return []
    file = shlex.quote(str(lesson.files.record))
    name, where = most_moved(run)
    step = int(max(range(1, len(run.losses)), key=lambda i: run.losses[i] - run.losses[i - 1], default=0))
    return [
        f"backlit rewind {file}",
        f"backlit rewind {file} --step {step} --why '{name}[{where}]'",
        f"backlit rewind {file} --ledger '{name}[{where}]'",
    ]


def most_moved(run: Any) -> tuple[str, str]:
    """The largest number of a model's largest parameter with axes: something worth asking about."""
    import numpy as np

    from backlit.core.value import numbers_of

    named = [(name, np.asarray(numbers_of(p))) for name, p in run.model.named_parameters()]
    name, array = next(((n, a) for n, a in named if a.ndim > 1), named[0])
    spot = np.unravel_index(int(np.argmax(np.abs(array))), array.shape) if array.ndim else ()
    return name, ",".join(map(str, spot))


def save_model(path: Path, lesson: Lesson, run: Run) -> None:
    """The numbers of a model as a safetensors file, with what its inputs and outputs mean. Raises DataError."""
    from backlit.training.store import write

    about = {"model": run.settings["model"], "data": {k: v for k, v in lesson.about.items() if k != "order"}}
    write(path, "model", run.model.state_dict(), about)


def _save_plot(path: Path, plot: Any) -> None:
    import matplotlib

    matplotlib.use("Agg")
    try:
        plot().save(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from None
