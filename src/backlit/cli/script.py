"""A user's script, run to its end, and the values that its names then stand for."""

from __future__ import annotations

import ast
import contextlib
import difflib
import runpy
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import typer

from backlit.autodiff.reverse import last_outputs
from backlit.cli.screen import say
from backlit.core.errors import DataError

SCRIPT_FAILED = 1
"""The exit code where the script itself ends with an error."""

_OURS = (str(Path(__file__).parents[1]), str(Path(runpy.__file__)), "<frozen runpy>")


def split(target: str) -> tuple[Path, str]:
    """The file and the name that `FILE.py:NAME` gives. Raises DataError if one of them is missing.

    >>> split("nowhere/net.py:layers[0].W")
    Traceback (most recent call last):
    backlit.core.errors.DataError: there is no file nowhere/net.py.
    """
    places = [i for i, character in enumerate(target) if character == ":"]
    at = next((i for i in places if Path(target[:i]).is_file()), places[-1] if places else len(target))
    path, name = Path(target[:at]), target[at + 1 :].strip()
    if path.is_dir():
        raise DataError(f"{path} is a folder. Name a script and a value in it: FILE.py:NAME, such as net.py:W.")
    if not path.is_file():
        here = [str(each) for each in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise DataError(f"there is no file {path}." + _near(str(path), here))
    if not name:
        raise DataError(f"{target} names a script, but no value in it. Add a colon and a name: {path}:W.")
    return path, name


def run(path: Path, arguments: Sequence[str] = ()) -> Mapping[str, Any]:
    """Run a script as `python FILE ARG...` would, and give its names.

    What it prints goes to standard error. If it raises, its traceback is shown and typer.Exit raised with
    SCRIPT_FAILED; so it is if it ends itself with an exit code other than 0.
    """
    last_outputs.clear()  # what is asked about is the script's own
    try:
        with _as_main(path, arguments), contextlib.redirect_stdout(sys.stderr):
            return runpy.run_path(str(path), run_name="__main__")
    except SystemExit as error:
        if error.code not in (None, 0):
            what = f"exit code {error.code}" if isinstance(error.code, int) else f"the message: {error.code}"
            say(f"error: {path} ended itself with {what}.")
            raise typer.Exit(SCRIPT_FAILED) from None
        return _names_at_the_end(error.__traceback__, str(path))
    except Exception as error:  # noqa: BLE001 -- whatever a script raises is shown as its own
        say("".join(_of_the_script(traceback.TracebackException.from_exception(error), str(path)).format()).rstrip())
        say(f"error: {path} did not run to its end, so there is nothing to explain.")
        raise typer.Exit(SCRIPT_FAILED) from None


@contextlib.contextmanager
def _as_main(path: Path, arguments: Sequence[str]) -> Iterator[None]:
    """The script's folder is where its imports are found, and sys.argv holds its arguments."""
    argv, places = sys.argv, sys.path[:]
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.resolve().parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, places


def _names_at_the_end(trace: TracebackType | None, file: str) -> Mapping[str, Any]:
    """The names of a script that ended itself."""
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name == "<module>" and code.co_filename == file:
            return dict(trace.tb_frame.f_globals)
        trace = trace.tb_next
    return {}


def _of_the_script(error: traceback.TracebackException, file: str) -> traceback.TracebackException:
    """The same with the frames from the script on, without those of what runs it and of Backlit itself.

    A cause that lies in Backlit alone is left out: the message says it already.
    """
    frames = list(error.stack)
    first = next((i for i, frame in enumerate(frames) if frame.filename == file), 0)
    shown = [frame for frame in frames[first:] if not frame.filename.startswith(_OURS)]
    error.stack[:] = shown
    if error.__cause__ is not None and not _of_the_script(error.__cause__, file).stack:
        error.__cause__ = None
        error.__suppress_context__ = True
    if error.__context__ is not None and not _of_the_script(error.__context__, file).stack:
        error.__context__ = None
    for each in error.exceptions or ():
        _of_the_script(each, file)
    if not shown:
        error.stack = None  # type: ignore[assignment]  # then no "Traceback" is written above it
    return error


# -- names -------------------------------------------------------------------------------------------------------------


def resolve(text: str, names: Mapping[str, Any], where: str) -> Any:
    """What a name stands for, such as `W`, `model.W` or `layers[0].W`. Nothing is evaluated but attributes and items.

    where: what the names are those of, for the messages. Raises DataError that says which part is not there.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        raise _no_name(text) from None
    steps: list[ast.Attribute | ast.Subscript] = []
    while isinstance(tree, (ast.Attribute, ast.Subscript)):
        steps.append(tree)
        tree = tree.value
    if not isinstance(tree, ast.Name):
        raise _no_name(text)
    if tree.id not in names:
        known = [name for name in names if not name.startswith("__")]
        raise DataError(f"{where} has no name `{tree.id}` at its top level." + _near(tree.id, known))
    found, said = names[tree.id], tree.id
    for step in reversed(steps):
        if isinstance(step, ast.Attribute):
            found, said = _attribute(found, step.attr, said), f"{said}.{step.attr}"
        else:
            try:
                key = ast.literal_eval(step.slice)
            except ValueError:
                raise _no_name(text) from None
            found, said = _item(found, key, said), f"{said}[{key!r}]"
    return found


def _no_name(text: str) -> DataError:
    return DataError(
        f"`{text}` is no name of a value. Give a name, with attributes and plain indexes if need be: W, model.W, "
        "layers[0].W."
    )


def _attribute(owner: Any, name: str, said: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        known = [each for each in dir(owner) if not each.startswith("__")]
        raise DataError(f"`{said}` is {_kind(owner)} and has no attribute `{name}`." + _near(name, known)) from None


def _item(owner: Any, key: Any, said: str) -> Any:
    from backlit.core.value import Value

    if isinstance(owner, Value):
        shown = ",".join(map(str, key)) if isinstance(key, tuple) else key
        raise DataError(f"`{said}` is a value; ask for one element of it with: {said} --index {shown}")
    try:
        return owner[key]
    except (LookupError, TypeError):
        if isinstance(owner, Mapping):
            have = "keys " + ", ".join(map(repr, list(owner)[:10])) if owner else "no keys"
        elif isinstance(owner, Sequence):
            have = f"{len(owner)} item{'s' * (len(owner) != 1)}"
        else:
            have = "no items"
        raise DataError(f"`{said}` is {_kind(owner)} with {have}; there is no [{key!r}].") from None


def _kind(x: Any) -> str:
    name = type(x).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _near(name: str, known: Sequence[str]) -> str:
    folded = {each.lower(): each for each in known}
    near = [folded[each] for each in difflib.get_close_matches(name.lower(), folded, 3, 0.6)]
    return f" Did you mean {' or '.join(near)}?" if near else ""
