"""`backlit rewind`: any step of a recorded run again, bit for bit, and why its numbers are what they are."""

from __future__ import annotations

import re
import shlex
import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backlit.cli.learning import as_commands, file_there, note, place, suggestion, taught
from backlit.cli.screen import check_folder
from backlit.core.errors import BacklitWarning, DataError

if TYPE_CHECKING:
    from rich.console import Console

    from backlit.training.replay import RecordedRun
    from backlit.training.stepping import StepView


DRAWINGS = (".svg", ".html", ".png", ".dot", ".mmd", ".txt")


SHORT = "Any step of a recorded run again, bit for bit."

EXAMPLES = {
    "rewind": (
        "backlit train moons --record moons.backlit",
        "backlit rewind moons.backlit",
        "backlit rewind moons.backlit --step 42",
        "backlit rewind moons.backlit --step 42 --why 'layers.0.weight[0,3]'",
        "backlit rewind moons.backlit --step last --health",
        "backlit rewind moons.backlit --step 42 --draw step.svg",
        "backlit rewind moons.backlit --ledger 'layers.0.weight[0,3]' --from 10 --step 20",
    ),
}


def register(app: typer.Typer) -> None:
    """Give the app its `rewind` command."""
    app.command("rewind", help=taught(rewind, EXAMPLES["rewind"]), short_help=SHORT)(rewind)


def rewind(
    run: Annotated[
        Path, typer.Argument(metavar="RUN.backlit", help="Made by `backlit train ... --record RUN.backlit`.")
    ],
    step: Annotated[
        str | None,
        typer.Option(metavar="N", help="The step to go back to: 0 is the first; `last`; -1 counts from the end."),
    ] = None,
    why: Annotated[
        str | None,
        typer.Option(metavar="NAME[I,J]", help="Why the gradient of this weight was what it was, and how it moved."),
    ] = None,
    health: Annotated[
        bool, typer.Option("--health", help="Dead units, vanishing gradients and the like, at that step.")
    ] = False,
    draw: Annotated[
        Path | None, typer.Option(metavar="OUT.svg", help="Draw the graph of that step: .svg .html .png .dot .txt.")
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(metavar="NAME[I,J]", help="Which steps and which rows moved this weight; up to --step, if given."),
    ] = None,
    since: Annotated[int, typer.Option("--from", min=0, metavar="N", help="The step that the ledger begins with.")] = 0,
    top: Annotated[int, typer.Option(min=1, help="How many steps, rows or terms to list.")] = 5,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DATA.csv", help="The file that was learned from, if it is too large to be in the run."),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Of a damaged file, take what is whole.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the drawing, if it is there.")] = False,
) -> None:
    """Go back to any step of a recorded run: it is computed again, bit for bit.

    Without options it tells what was recorded. The file is only read.
    """
    from backlit.cli import display
    from backlit.cli import reports_rewind as reports

    file_there(run, "recorded run")
    if draw is not None:
        check_folder(draw)
        if draw.suffix.lower() not in DRAWINGS:
            raise DataError(f"--draw {draw}: the ending says how it is drawn, and is one of {', '.join(DRAWINGS)}.")
        if draw.exists() and not force:
            raise DataError(f"{draw} is there already. Give another name, or add --force.")
    for flag, given in (("--why", why), ("--health", health), ("--draw", draw)):
        if given and step is None:
            raise DataError(f"{flag} asks about one step: say which, such as --step 0 or --step last.")
    asked = {flag: place(text) for flag, text in (("--why", why), ("--ledger", ledger)) if text is not None}
    with as_commands(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BacklitWarning)
        recorded = _loaded(run, data, partial)
        for flag, (name, index) in asked.items():
            asked[flag] = _weight(recorded, flag, name, index)
        at = None if step is None else _step(recorded, step)
        console = display.make_console()
        if at is None and ledger is None:
            display.title(console, run.name, reports.about(recorded))
            console.print(reports.overview(recorded, console))
            display.commands(console, _next(recorded, run))
        if at is not None and (ledger is None or why or health or draw):
            assert at is not None
            view = _called(recorded.at, at, at)
            display.title(console, f"Step {view.step:,} of {run.name}", reports.where(recorded, view))
            _one_step(recorded, view, console, asked.get("--why"), health, draw, top, plain=not (why or health or draw))
        if ledger is not None:
            name, index = asked["--ledger"]
            stop = recorded.end if at is None else at
            if stop < since:
                raise DataError(f"--from {since} is after the last step of the ledger, {stop}.")
            with console.status("replaying") if console.is_terminal else nullcontext():
                kept = recorded.why_changed(name, index or (), max(since, recorded.first_step), stop)
            console.print(reports.ledger_report(recorded, kept, top, console))
    for text in dict.fromkeys(str(each.message) for each in caught if issubclass(each.category, BacklitWarning)):
        note(text)


def _loaded(path: Path, data: Path | None, partial: bool) -> RecordedRun:
    """The run. Raises DataError for what is wrong with it, or with the data given."""
    from backlit.training.replay import load_run

    found: RecordedRun
    if data is None:
        found = _called(load_run, "start", path, partial=partial)
        return found
    file_there(data, "file of data")
    from backlit.cli import tables
    from backlit.training.recorded import read

    settings = read(path, partial=True).about["settings"]
    about = settings.get("about") or {}
    if not isinstance(about, dict) or not isinstance(about.get("reading"), list):
        raise DataError(
            f"{path} was not learned from a file by `backlit train`, so --data cannot say what its data were."
        )
    try:
        parts: list[Any] = [tuple(part) if isinstance(part, list) else part for part in about["reading"]]
        how = tables.Reading(*parts)
    except TypeError:
        raise DataError(f"{path} does not say, as this version does, how its file was read.") from None
    rows, held = settings.get("rows", 0), settings.get("validation_rows", 0)
    table = tables.read(data, how, settings.get("seed", 0), held / max(rows + held, 1))
    pair = table.learn.inputs, table.learn.targets
    found = _called(load_run, "start", path, data=pair, partial=partial)
    return found


def _called(function: Any, step: int | str, *args: Any, **kwargs: Any) -> Any:
    """What a function of the library gives, called by a line that says which step it is: explanations name the line
    that made a value, and here that is no line of the user's.
    """
    code = compile("function(*args, **kwargs)", f"<step {step}>", "eval")
    return eval(code, {"function": function, "args": args, "kwargs": kwargs})


def _without_sites(text: str) -> str:
    """An explanation without the line of `_called`, and without numbers that tell apart what was made there."""
    text = re.sub(r"\b(loss|prediction)#\d+(?!\d)", r"\1", text)
    text = re.sub(r",\s+<step\s+\w+>:1\)", ")", text)
    text = re.sub(r"\s+(?:\(<step \w+>:1\)|\[<step \w+>:1\])", "", text)
    return re.sub(r" +(<step \w+>:1|line)$", "", text, flags=re.MULTILINE)


def _weight(
    run: RecordedRun, flag: str, name: str, index: tuple[int, ...] | None
) -> tuple[str, tuple[int, ...] | None]:
    """A parameter and the place in it, checked. Raises DataError with the names or the shape that there are."""
    shapes = {each: parameter.shape for each, parameter in run.model.named_parameters()}
    if name not in shapes:
        raise DataError(
            f"{flag}: the model has no parameter {name!r}.{suggestion(name, shapes)} It has "
            f"{', '.join(f'{each} {_shape(shape)}' for each, shape in shapes.items())}."
        )
    shape = shapes[name]
    if index is None:
        if flag == "--ledger" and shape:
            raise DataError(
                f"{flag}: {name} holds {_shape(shape)} numbers. Say which one: {name}[{','.join('0' * len(shape))}]."
            )
        return name, None
    if len(index) != len(shape) or any(not -n <= i < n for i, n in zip(index, shape, strict=True)):
        ranges = ", ".join(f"0 to {n - 1}" for n in shape)
        said = f"{len(shape)} place{'s' * (len(shape) != 1)} ({ranges})" if shape else "no place, being a single number"
        raise DataError(
            f"{flag}: {name} is {_shape(shape)}, so a number in it has {said}, unlike [{','.join(map(str, index))}]."
        )
    return name, tuple(i % n for i, n in zip(index, shape, strict=True))


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"


def _step(run: RecordedRun, text: str) -> int:
    """The step of `--step`. Raises DataError with the steps that there are."""
    there = f"{run.path} has the steps {run.first_step:,} to {run.end:,}"
    words = text.strip().replace(",", "").replace("_", "").lower()
    if words == "last":
        return max(run.end - 1, run.first_step)
    try:
        number = int(words)
    except ValueError:
        raise DataError(f"--step {text!r} is no step: give a whole number, or last. {there}.") from None
    found = run.end + number if number < 0 else number
    if not run.first_step <= found <= run.end:
        raise DataError(
            f"--step {number:,} was not recorded: {there} ({run.end:,} is the one that would have come next)."
        )
    return found


def _one_step(
    run: RecordedRun,
    view: StepView,
    console: Console,
    asked: tuple[str, tuple[int, ...] | None] | None,
    health: bool,
    draw: Path | None,
    top: int,
    plain: bool,
) -> None:
    from backlit.cli import display
    from backlit.cli import reports_rewind as reports
    from backlit.cli.screen import show, width

    console.print(reports.replayed(run, view, console))
    if plain:
        console.print(reports.step_report(run, view, console, top))
    if asked is not None:
        from backlit.explain.why import why as explained

        name, index = asked
        parameter = view.parameter(name)
        parameter.name = name
        show("")
        answer = explained(parameter, of=view.loss, index=index, top=top)
        story = tuple(_without_sites(said) for said in answer.story)
        text = _without_sites(replace(answer, story=story).text(width()))
        show(text)
        named = reports.rows_named(run, view, text)
        if named:
            console.print(display.prose(named, display.room(console), display.QUIET))
    if health:
        from backlit.explain.health import health as looked

        show("")
        show(_without_sites(str(looked(view.loss, optimizer=view.optimizer))))
    if draw is not None:
        _drawn(view, draw)
    if asked is not None:  # last, as it makes the step
        console.print(reports.moved(view, asked[0], asked[1], console))


def _drawn(view: StepView, path: Path) -> None:
    from backlit.cli.screen import show
    from backlit.draw.drawing import draw

    try:
        saved = draw(view.loss, backward=True).save(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from None
    except ImportError as error:
        raise DataError(str(error)) from None
    show(f"Wrote {saved}.")


def _next(run: RecordedRun, path: Path) -> list[str]:
    """What can be asked now."""
    from backlit.cli.finishing import most_moved
    from backlit.cli.reports_rewind import stopped_at_nan

    if not run.steps:
        return []
    name, where = most_moved(run)
    file = shlex.quote(str(path))
    step = run.first_rise(2.0)
    rises = run.first_step + run.steps // 2 if step is None else step
    weight = shlex.quote(f"{name}[{where}]" if where else name)
    if stopped_at_nan(run):
        return [f"backlit rewind {file} --step {run.end} --health", f"backlit rewind {file} --ledger {weight}"]
    return [
        f"backlit rewind {file} --step {rises}",
        f"backlit rewind {file} --step {rises} --why {weight}",
        f"backlit rewind {file} --step last --health",
        f"backlit rewind {file} --ledger {weight}",
    ]
