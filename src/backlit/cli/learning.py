"""What the commands that train, rewind and list runs have in common: options, files, messages, the training itself."""

from __future__ import annotations

import ast
import difflib
import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backlit.cli.screen import check_folder, say
from backlit.core.errors import BacklitError, DataError, NonFiniteWarning

if TYPE_CHECKING:
    from backlit.data.dataset import Dataset
    from backlit.nn.module import Module
    from backlit.training.run import Run

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells know it: 128 + SIGINT."""

DIVERGED = 1
"""The exit code of a training whose loss is no longer a number."""

PICTURES = (".png", ".svg", ".pdf")

# -- options ----------------------------------------------------------------------------------------------------------


def taught(command: Callable[..., Any], examples: Sequence[str]) -> str:
    """What `--help` says of a command: its docstring, and examples line by line."""
    lines = "\n".join(f"  {line}" for line in examples)
    return f"{inspect.cleandoc(command.__doc__ or '')}\n\n\b\n{lines}"


def rate(value: float | None) -> float | None:
    """A learning rate. Raises BadParameter unless it is above 0 and finite."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value} is not a learning rate: give a number above 0, such as 0.01.")
    return value


def share(value: float) -> float:
    """A share of the rows. Raises BadParameter unless it is at least 0 and below 1."""
    if not 0 <= value < 1:
        raise typer.BadParameter(f"{value} is not a share: give a number from 0 to below 1, such as 0.2.")
    return value


def seed_of(value: int) -> int:
    """A seed. Raises BadParameter for one that does not fit into 64 bits."""
    if not -(2**63) <= value < 2**64:
        raise typer.BadParameter(f"{value} is no seed: give a whole number from -2**63 to 2**64 - 1, such as 7.")
    return value


def picture(path: Path | None) -> Path | None:
    """A file for a picture. Raises BadParameter for an ending that is none."""
    if path is not None and path.suffix.lower() not in PICTURES:
        raise typer.BadParameter(f"{path} is no name of a picture: let it end in {', '.join(PICTURES)}.")
    return path


Seed = Annotated[int, typer.Option(callback=seed_of, help="Of all that is random: the same seed, the same numbers.")]
Epochs = Annotated[int, typer.Option(min=1, help="Times to go through the data.")]
Batch = Annotated[int, typer.Option(min=1, help="Rows a step.")]
Rate = Annotated[float, typer.Option(callback=rate, help="Learning rate.")]
Opt = Annotated[str, typer.Option(metavar="NAME", help="sgd, adam, adamw, nadam, rmsprop, adagrad, lion, ...")]
Record = Annotated[
    Path | None,
    typer.Option(metavar="RUN.backlit", help="Keep what `backlit rewind` needs to go back to any step."),
]
Keep = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Save the training now and then, so that it can be resumed.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from --checkpoint, bit for bit, if it is there.")]
Save = Annotated[
    Path | None, typer.Option(metavar="MODEL.safetensors", help="Save what was learned, with what it belongs to.")
]
Plot = Annotated[
    Path | None,
    typer.Option(metavar="OUT.png", callback=picture, help="Save the curves as a picture (needs backlit[plot])."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]


def sizes(text: str) -> list[int]:
    """The numbers of `--hidden 32,32`; none for "" or "0". Raises DataError."""
    words = [word for word in re.split(r"[,\s]+", text.strip()) if word]
    if words in ([], ["0"]):
        return []
    if not all(re.fullmatch(r"\d{1,6}", word) and int(word) for word in words):
        raise DataError(
            f"--hidden {text!r} is no list of layers. Give the units of each: --hidden 32,32; or 0 for none."
        )
    return list(map(int, words))


def optimizer_named(name: str) -> str:
    """The optimizer of a name, as it is called. Raises DataError with the name that is near."""
    from backlit import optim

    known = {each.lower(): each for each in optim.__all__ if each[0].isupper() and each.lower() in optim.__all__}
    plain = re.sub(r"[-_]", "", name).lower()
    if plain == "lbfgs":
        raise DataError(
            "--optimizer lbfgs looks at a loss several times a step; use it in Python: backlit.optim.LBFGS."
        )
    if plain not in known:
        names = [each for each in known if each != "lbfgs"]
        raise DataError(f"--optimizer {name!r} is not known.{suggestion(plain, names)} There are {', '.join(names)}.")
    return plain


def kind_of(name: str) -> str:
    """The class of an optimizer, by its name: Adam for "adam"."""
    from backlit import optim

    plain = optimizer_named(name)
    return next(each for each in optim.__all__ if each[0].isupper() and each.lower() == plain)


def place(text: str) -> tuple[str, tuple[int, ...] | None]:
    """A parameter and the place of a number in it: `layers.0.weight[3,5]`, `layers[0].weight`. Raises DataError.

    >>> place("layers[0].weight[3, 5]"), place("bias")
    (('layers.0.weight', (3, 5)), ('bias', None))
    """
    found = re.fullmatch(r"\s*([^\[\]\s](?:[^\[\]\s]|\[\d+\](?=\.))*)\s*(?:\[([^\[\]]*)\])?\s*", text)
    if found is None:
        raise DataError(f"{text!r} names no number of a parameter. Write it as layers.0.weight[3,5].")
    name, inside = re.sub(r"\[(\d+)\]", r".\1", found[1]), found[2]
    if inside is None:
        return name, None
    words = [word.strip() for word in inside.split(",")]
    if words[-1] == "":
        words.pop()
    if not words or not all(re.fullmatch(r"-?\d{1,12}", word) for word in words):
        raise DataError(f"{text!r}: [{inside}] is no index. Give whole numbers, one for each axis: {name}[3,5].")
    return name, tuple(map(int, words))


def suggestion(word: str, known: Iterable[str]) -> str:
    """ " Did you mean ...?", if something is near."""
    near = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f" Did you mean {near[0]}?" if near else ""


# -- messages ---------------------------------------------------------------------------------------------------------

_FLAGS = (
    (r"\b(?:load_csv|fit|split|load_run|rewind): ", ""),
    (r"types=\{(['\"])(.+?)\1: \"category\"\}", r"--words '\2'"),
    (r"types=\{(['\"])(.+?)\1: \"number\"\}", r"--numbers '\2'"),
    (r"missing=\{(['\"])(.+?)\1: [^}]*\}", r"--missing drop, or --drop '\2'"),
    (r"drop=\[(['\"]?)(.+?)\1\]", r"--drop '\2'"),
    (r"missing=(['\"])(\w+)\1", r"--missing \2"),
    (r"(?<!-)\b(delimiter|decimal|encoding)=(['\"])(.+?)\2", r"--\1 '\3'"),
    (r"header=True or header=False", "--header or --no-header"),
    (r"most_categories=(\d+)", r"--most-words \1"),
    (r"checkpoint=(?=[,. ])", "--checkpoint"),
    (r"resume=(True|False)", "--resume"),
    (r"Call fit as it was then, or start anew with --resume and another path",
     "Give the options as they were then, or start anew with another --checkpoint"),
    (r"load_run\(path, partial=True\) reads", "--partial takes"),
    (r"Record with fit\(\.\.\., record=path\)", "To make one: backlit train moons --record moons.backlit"),
    (r"pass load_run\(path, model=\.\.\.\), made as it was",
     "rewind it in Python, with backlit.training.replay.load_run(path, model=...)"),
    (r"pass them, load_run\(path, data=\(inputs, targets\)\), with inputs", "give the file with --data, inputs being"),
)  # fmt: skip


def in_flags(message: str) -> str:
    """A message of the library in the words of the terminal: `--drop id` for `drop=["id"]`."""
    for pattern, text in _FLAGS:
        message = re.sub(pattern, text, message)
    return re.sub(r"\b(was|is) (\{.*?\})(?= and is|; |\. )", _spelled, message)


def _spelled(found: re.Match[str]) -> str:
    """A setting that stands in a message as a dict; as it is, where it was cut off."""
    try:
        return f"{found[1]} {spelled(ast.literal_eval(found[2]))}"
    except (SyntaxError, ValueError):
        return found[0]


def spelled(spec: Any) -> str:
    """How a model or an optimizer was made, as it would be written; other settings as they are.

    >>> spelled({"class": "backlit.nn.mlp:MLP", "args": [2, [16, 2]], "kwargs": {"key": {"key": [1, 2]}}})
    'MLP(2, [16, 2])'
    """
    if not isinstance(spec, dict) or not isinstance(spec.get("class"), str):
        return _plain(spec)
    args, kwargs = spec.get("args"), spec.get("kwargs")
    told = [_plain(arg) for arg in args] if isinstance(args, list) else []
    if isinstance(kwargs, dict):
        told += [f"{name}={_plain(arg)}" for name, arg in kwargs.items() if name not in ("key", "init", "dtype")]
    return f"{spec['class'].rpartition(':')[2]}({', '.join(told)})"


def _plain(thing: Any) -> str:
    if isinstance(thing, dict):
        return spelled(thing) if "class" in thing else "…"
    if isinstance(thing, list):
        return f"[{', '.join(map(_plain, thing))}]"
    return "none" if thing is None else str(thing)


@contextmanager
def as_commands() -> Iterator[None]:
    """What the library complains about within the block is said in the words of the terminal."""
    try:
        yield
    except BacklitError as error:
        raise DataError(in_flags(str(error))) from None


def note(text: str) -> None:
    """A remark on standard error, which does not belong to the report."""
    say(f"note: {text}")


# -- a training -------------------------------------------------------------------------------------------------------


@dataclass
class Files:
    """The files that a training writes, checked before anything is done. Raises DataError for what is in the way."""

    record: Path | None = None
    checkpoint: Path | None = None
    save: Path | None = None
    plot: Path | None = None
    resume: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        if self.resume and self.checkpoint is None:
            raise DataError("--resume needs --checkpoint FILE, the file to go on from.")
        named = {"--record": self.record, "--checkpoint": self.checkpoint, "--save": self.save, "--plot": self.plot}
        given = {flag: path for flag, path in named.items() if path is not None}
        for flag, path in given.items():
            check_folder(path)
            twin = next((other for other in given if given[other].absolute() == path.absolute()), flag)
            if twin != flag:
                raise DataError(f"{twin} and {flag} name the same file, {path}. Give each its own.")
        for flag, path in given.items():
            goes_on = self.resume and flag in ("--record", "--checkpoint")
            if path.exists() and not self.force and not goes_on:
                raise DataError(f"{path} is there already, and {flag} would replace it. {self._ways(flag)}")
        if self.record is not None and self.record.exists():
            _is_recording(self.record)
        if self.checkpoint is not None and self.checkpoint.exists():
            _is_checkpoint(self.checkpoint)
        if self.plot is not None:
            need_plots()

    @staticmethod
    def _ways(flag: str) -> str:
        if flag == "--checkpoint":
            return "Add --resume to go on from it, or --force to start anew."
        return "Give another name, or add --force."


def _is_recording(path: Path) -> None:
    """Raise DataError if something else stands there, before it is trained for nothing."""
    from backlit.training.frames import is_recording

    try:
        is_one = is_recording(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    if not is_one:
        raise DataError(f"--record {path} is there and is no recorded run, so it is left as it is. Give another name.")


def _is_checkpoint(path: Path) -> None:
    from backlit.training.checkpoint import load_checkpoint

    try:
        load_checkpoint(path)
    except DataError as error:
        raise DataError(f"--checkpoint {path} is there and is left as it is. {error}") from None


def need_plots() -> None:
    """Raise DataError unless matplotlib is there, without loading it."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise DataError('--plot needs matplotlib, which is not installed. Run: pip install "backlit[plot]"')


class _Note:
    """Writes into a recording, and nowhere else, what the data were: its settings are packed when it begins."""

    only_looks = True

    def __init__(self, about: dict[str, Any]) -> None:
        self.about = about

    def on_start(self, run: Run) -> None:
        run.settings["about"] = self.about

    def on_step(self, run: Run) -> None:
        run.settings.pop("about", None)

    on_epoch = on_end = on_step

    def rests(self, run: Run) -> int:
        from backlit.training.callbacks import NEVER

        return NEVER

    rests_epochs = rests


@dataclass
class Lesson:
    """A training that a command asks for: what learns, from what, how, and what a recording says of the data."""

    model: Module
    data: Dataset
    held: Dataset | None
    loss: str
    metrics: Sequence[str]
    epochs: int
    batch: int
    lr: float
    optimizer: str
    seed: int
    files: Files
    about: dict[str, Any] = field(default_factory=dict)
    patience: int | None = None

    def learn(self) -> Run:
        """Do it. Its bar appears where somebody watches; Ctrl-C and NaN end it, and the run tells so."""
        from backlit.training.fit import fit

        files = self.files
        if files.resume and files.checkpoint is not None and not files.checkpoint.exists():
            note(f"{files.checkpoint} is not there yet, so training starts from the beginning.")
        with as_commands(), warnings.catch_warnings():
            warnings.simplefilter("ignore", NonFiniteWarning)  # the report says it
            warnings.filterwarnings("ignore", "fit: training is not compiled")  # it is slower, and the numbers the same
            return fit(
                self.model,
                self.data,
                validation=self.held,
                loss=self.loss,
                metrics=self.metrics,
                epochs=self.epochs,
                batch_size=self.batch,
                optimizer=optimizer_named(self.optimizer),
                lr=self.lr,
                seed=self.seed,
                early_stopping=self.patience,
                callbacks=[] if files.record is None else [_Note(self.about)],
                record=files.record,
                checkpoint=files.checkpoint,
                resume=files.resume,
            )


def file_there(path: Path, what: str, others: Sequence[str] = ()) -> None:
    """Raise DataError, with a name that is near, unless a file is there. others: what else could have been meant."""
    if path.is_dir():
        raise DataError(f"{path} is a folder. Give the {what} in it.")
    if not path.exists():
        folder = path.parent
        near = [each.name for each in folder.iterdir() if each.is_file()] if folder.is_dir() else []
        also = f" Data that come along: {', '.join(others)}." if others else ""
        raise DataError(f"there is no file {path}.{suggestion(path.name, [*others, *near])}{also}")
