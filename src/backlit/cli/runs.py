"""`backlit runs`: the recorded runs of a folder in a table, or two of them side by side."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backlit.cli.learning import as_commands, file_there, in_flags, taught
from backlit.core.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

ENDING = ".backlit"


EXAMPLES = {
    "runs": (
        "backlit runs",
        "backlit runs experiments --deep",
        "backlit runs --compare a.backlit b.backlit",
    ),
}


def register(app: typer.Typer) -> None:
    """Give the app its `runs` command."""
    app.command("runs", help=taught(runs, EXAMPLES["runs"]), short_help="Recorded runs in a table.")(runs)


def runs(
    where: Annotated[
        list[Path] | None, typer.Argument(metavar="FOLDER", help=f"Where the files are; those that end in {ENDING}.")
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Two files: the first step, and in it the first operation, where they part."),
    ] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Look into the folders within, too.")] = False,
) -> None:
    """List recorded runs, the latest first: what learned what, how far it got, and which files are damaged.

    Files are only read.
    """
    from backlit.cli import display

    console = display.make_console()
    places = list(where or [])
    if compare:
        if len(places) != 2:
            raise DataError("--compare takes two recorded runs: backlit runs --compare a.backlit b.backlit.")
        _compare(places[0], places[1], console)
        return
    files = _files(places or [Path()], deep)
    if not files:
        named = ", ".join(map(str, places)) or "this folder"
        console.print(
            display.prose(f"There are no recorded runs (*{ENDING}) in {named}.", display.room(console), indent=0)
        )
        console.print(
            display.prose(
                "To make one: backlit train moons --record moons.backlit", display.room(console), display.QUIET, 0
            )
        )
        return
    _list(files, console)


def _files(places: list[Path], deep: bool) -> list[Path]:
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            found += [each for each in sorted(place.glob(f"{'**/' if deep else ''}*{ENDING}")) if each.is_file()]
        elif not place.exists() and place.suffix != ENDING:
            raise DataError(f"there is no folder {place}.")
        else:
            file_there(place, "recorded run")
            found.append(place)
    return list(dict.fromkeys(found))


def _list(files: list[Path], console: Console) -> None:
    from rich.text import Text

    from backlit.cli import display

    lines = sorted((_line(path) for path in files), key=lambda line: line["path"].stat().st_mtime, reverse=True)
    heads = ["file", "when", "data", "model", "epochs", "steps", "loss", "result", "size", "ended"]
    rows = [[line.get(head, "") for head in heads] for line in lines]
    room = console.width
    for spare in ("size", "model", "when", "epochs"):  # what a narrow screen can do without
        shown = display.table(heads, rows, 4)
        if max(len(each) for each in shown.plain.split("\n")) <= room or not console.is_terminal:
            break
        place = heads.index(spare)
        heads.pop(place)
        for row in rows:
            row.pop(place)
    left = sum(head in ("file", "when", "data", "model") for head in heads)
    console.print(display.table(heads, rows, left, indent=0), soft_wrap=not console.is_terminal)
    for line in lines:
        if line["wrong"]:
            console.print(display.prose(f"{line['wrong']}", display.room(console), display.BAD, 0))
    if len(lines) == 1 and not lines[0]["wrong"]:
        console.print(Text(f"\nbacklit rewind {lines[0]['path']}", style=display.QUIET))


def _line(path: Path) -> dict[str, Any]:
    """A recorded run as cells. A file that is none, or is damaged, says so."""
    from backlit.cli import display
    from backlit.training.recorded import read

    wrong = ""
    size = path.stat().st_size
    when = datetime.fromtimestamp(path.stat().st_mtime).isoformat(sep=" ", timespec="minutes")
    try:
        found = read(path)
    except DataError as error:
        wrong = in_flags(str(error))
        try:
            found = read(path, partial=True)
        except DataError:
            return {
                "path": path,
                "file": path.name,
                "when": when,
                "size": _size(size),
                "ended": _bad("damaged"),
                "wrong": wrong,
            }
    settings, losses = found.about["settings"], found.losses
    noted = settings.get("about") if isinstance(settings.get("about"), dict) else {}
    reason = None if found.ending is None else str(found.ending["reason"])
    last = found.epochs[-1] if found.epochs else {}
    return {
        "path": path,
        "file": path.name,
        "when": when,
        "data": display.printable(noted.get("what", ""), 24) or f"{settings.get('rows', '?')} rows",
        "model": _model(settings),
        "epochs": f"{len(found.epochs)}/{settings.get('epochs', '?')}",
        "steps": f"{found.first + len(losses):,}",
        "loss": f"{losses[-1]:.4g}" if len(losses) else "-",
        "result": _result(last),
        "size": _size(size),
        "ended": _bad("damaged") if wrong else _ended(reason),
        "wrong": wrong,
    }


def _model(settings: dict[str, Any]) -> str:
    count = settings.get("parameters")
    return f"{settings.get('model_class', '?')}" + (f" {_short(count)}" if isinstance(count, int) else "")


def _short(count: int) -> str:
    return f"{count:,}" if count < 10_000 else f"{count / 1e3:.0f}k" if count < 1e6 else f"{count / 1e6:.1f}M"


def _result(row: dict[str, float]) -> str:
    """The last epoch's number that says most: of what was held out, if something was."""
    for name in ("validation accuracy", "accuracy", "validation r2", "r2", "validation loss"):
        if name in row and math.isfinite(row[name]):
            short = name.removeprefix("validation ")
            return (
                f"{100 * row[name]:.1f} %"
                if short == "accuracy"
                else f"R² {row[name]:.3f}"
                if short == "r2"
                else f"val {row[name]:.4g}"
            )
    return ""


def _ended(reason: str | None) -> Text:
    from rich.text import Text

    from backlit.cli import display

    if reason is None:
        return _bad("killed or running")
    if reason == "all epochs were made":
        return Text("done", style=display.GOOD)
    if "Ctrl-C" in reason:
        return _bad("Ctrl-C")
    if reason.startswith("early stopping"):
        return Text("early stop", style=display.GOOD)
    return _bad("NaN" if "training stopped" in reason else reason.splitlines()[0][:24])


def _bad(text: str) -> Text:
    from rich.text import Text

    from backlit.cli import display

    return Text(text, style=display.BAD)


def _size(count: int) -> str:
    return f"{count} B" if count < 1000 else f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


# -- two --------------------------------------------------------------------------------------------------------------


def _compare(a: Path, b: Path, console: Console) -> None:
    from backlit.cli import display
    from backlit.cli import reports_rewind as reports
    from backlit.training.compare import compare
    from backlit.training.replay import load_run

    for path in (a, b):
        file_there(path, "recorded run")
    with as_commands():
        one, two = load_run(a), load_run(b)
        found = compare(one, two)
    width = display.room(console)
    display.title(console, f"{a.name} and {b.name}", "the first step at which they part")
    console.print()
    console.print(display.prose(str(found).splitlines()[0], width, display.GOOD if found.same else display.BAD))
    if found.largest is not None and math.isfinite(found.largest):
        console.print(display.prose(f"There they differ by at most {found.largest:.3g}.", width))
    if found.losses is not None and found.losses != found.step:
        console.print(display.prose(f"The recorded losses differ from step {found.losses:,} on.", width))
    chosen_otherwise = reports.differences(one, two, (width - 24) // 2 if console.is_terminal else 200)
    if chosen_otherwise:
        console.print()
        console.print(display.table(["chosen", a.name, b.name], chosen_otherwise, 3), soft_wrap=not console.is_terminal)
    common = range(max(one.first_step, two.first_step), min(one.end, two.end))
    if not found.same and len(common):
        step = common.start if found.step is None else min(max(found.step, common.start), common.stop - 1)
        chosen = sorted(
            {s for s in (common.start, step - 1, step, step + 1, step + 10, step + 100, common.stop - 1) if s in common}
        )
        heads = ["loss at step", *(f"{s:,}" for s in chosen)]
        rows = [[path.name, *(f"{run.loss_at(s):.6g}" for s in chosen)] for path, run in ((a, one), (b, two))]
        console.print()
        console.print(display.table(heads, rows, 1))
