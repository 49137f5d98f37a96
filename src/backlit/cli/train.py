"""`backlit train`: a net learns, from a file or from data that come along, and shows what it learned.

What draws and what computes is loaded when a command runs, so that the others start quickly.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backlit.cli.finishing import finish, stopped
from backlit.cli.learning import (
    Batch,
    Epochs,
    Files,
    Force,
    Keep,
    Lesson,
    Opt,
    Plot,
    Rate,
    Record,
    Resume,
    Save,
    Seed,
    as_commands,
    file_there,
    kind_of,
    optimizer_named,
    share,
    sizes,
    taught,
)
from backlit.core.errors import DataError

if TYPE_CHECKING:
    from backlit.data.dataset import Dataset

KNOWN = ("xor", "moons", "spirals", "digits", "names")
FILE = "DATA.csv"
_NO_WORD = "\0"

HELP = """Train a net on a file of yours, or on data that come along, and see what it learned.

\b
  backlit train iris.csv --target species
  backlit train houses.csv --target price --hidden 64,64 --epochs 100
  backlit train moons --record moons.backlit      then: backlit rewind moons.backlit
  backlit train digits --plot digits.png

\b
What each can be told:  backlit train moons --help
For a file:             backlit train DATA.csv --help
A file that is called like one of the data sets: ./moons
"""


class Lessons(typer.core.TyperGroup):
    """The data sets that are known by name; any other word is a file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Options may stand before the file: then it is a file that is meant."""
        if args and args[0].startswith("-") and args[0] not in ("--help", "-h"):
            args = [_NO_WORD, *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """A data set's command, or the file's, which is then given the word itself."""
        if args[0] == _NO_WORD:
            return FILE, self.commands[FILE], args[1:]
        if args[0] in self.commands and (args[0] != FILE or "--help" in args):
            return args[0], self.commands[args[0]], args[1:]
        return FILE, self.commands[FILE], args


class OfFile(typer.core.TyperCommand):
    """The command whose name is its argument."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The file is said already."""
        return ["[OPTIONS]"]


EXAMPLES = {
    "xor": (
        "backlit train xor",
        "backlit train xor --method nudge --steps 20000",
    ),
    "moons": (
        "backlit train moons",
        "backlit train moons --hidden 0                  no hidden layer: a straight line",
        "backlit train moons --record moons.backlit      then: backlit rewind moons.backlit",
    ),
    "spirals": (
        "backlit train spirals",
        "backlit train spirals --activation tanh --lr 0.003      another way there",
        "backlit train spirals --plot boundary.png",
    ),
    "digits": (
        "backlit train digits",
        "backlit train digits --epochs 100 --checkpoint digits.checkpoint      and --resume to go on",
        "backlit train digits --record digits.backlit",
    ),
    "names": (
        "backlit train names",
        "backlit train names --context 5 --hidden 200 --epochs 12",
    ),
    FILE: (
        "backlit train iris.csv --target species",
        "backlit train houses.csv --target price --drop id --missing mean",
        "backlit train iris.csv --hidden 32,32 --epochs 50 --record iris.backlit",
        "backlit train big.csv --checkpoint big.checkpoint --resume",
    ),
}


def register(app: typer.Typer) -> None:
    """Give the app its `train` commands."""
    metavar = f"{FILE} | {' | '.join(KNOWN)}"
    train = typer.Typer(cls=Lessons, no_args_is_help=True, help=HELP, rich_markup_mode=None, subcommand_metavar=metavar)
    for name, command, short in (
        (FILE, table, "Predict a column of a file from the others."),
        ("xor", xor, "Exclusive or, by the chain rule or by nudging."),
        ("moons", moons, "Two half circles, and the boundary between them."),
        ("spirals", spirals, "Two spirals, and the boundary between them."),
        ("digits", digits, "Real handwritten digits."),
        ("names", names, "The next letter of names, and new names."),
    ):
        kind = OfFile if name == FILE else typer.core.TyperCommand
        train.command(name, cls=kind, help=taught(command, EXAMPLES[name]), short_help=short)(command)
    app.add_typer(train, name="train", short_help="Train a net and see what it learned.")


# -- XOR --------------------------------------------------------------------------------------------------------------


def xor(
    method: Annotated[
        Literal["chain", "nudge"],
        typer.Option(help="The chain rule, or nudging each of the nine parameters and looking at the loss."),
    ] = "chain",
    steps: Annotated[int, typer.Option(min=1, help="Updates to make.")] = 100_000,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**32 - 1, help="Of the first nine numbers, by NumPy's legacy generator."),
    ] = 0,
    lr: Rate = 0.03,
) -> None:
    """Learn XOR with 2 inputs, 2 hidden ReLU units and 1 sigmoid output.

    Ctrl-C ends it with what was learned so far (exit code 130).
    """
    from backlit.cli import display, reports
    from backlit.training.xor import train_xor

    console = display.make_console()
    by = "by the chain rule" if method == "chain" else "by nudging"
    display.title(console, f"XOR {by}", f"seed {seed} · learning rate {lr:g}")
    with display.progress(console, "learning") as on_progress:
        run = train_xor(method, steps, seed, lr, on_progress)
    console.print(reports.xor_report(run, display.room(console)))
    if run.interrupted:
        stopped(console, run.done, steps)


# -- moons and spirals ------------------------------------------------------------------------------------------------

Points = Annotated[int, typer.Option(min=20, max=100_000, help="How many points to make.")]
Noise = Annotated[float, typer.Option(min=0, max=10, help="How far points stray: a standard deviation.")]
Hidden = Annotated[str, typer.Option(metavar="32,32", help="Units of the hidden layers; 0 for none.")]
Between = Annotated[
    Literal["tanh", "relu", "gelu", "silu", "sigmoid", "leaky_relu", "elu", "softplus"],
    typer.Option(help="Activation of the hidden layers."),
]
Held = Annotated[float, typer.Option(callback=share, help="Share of the rows to hold out; 0 for none.")]


def moons(
    points: Points = 400,
    noise: Noise = 0.15,
    hidden: Hidden = "16,16",
    activation: Between = "tanh",
    epochs: Epochs = 40,
    batch: Batch = 32,
    lr: Rate = 0.02,
    optimizer: Opt = "adam",
    seed: Seed = 0,
    validation: Held = 0.2,
    record: Record = None,
    checkpoint: Keep = None,
    resume: Resume = False,
    save: Save = None,
    plot: Plot = None,
    force: Force = False,
) -> None:
    """Tell apart two half circles that are hooked into each other, and see the boundary.

    Ctrl-C ends it with what was learned so far (exit code 130).
    """
    _plane("moons", points, noise, hidden, activation, epochs, batch, lr, optimizer, seed, validation,
           Files(record, checkpoint, save, plot, resume, force))  # fmt: skip


def spirals(
    points: Points = 600,
    noise: Noise = 0.02,
    hidden: Hidden = "64,64",
    activation: Between = "relu",
    epochs: Epochs = 60,
    batch: Batch = 32,
    lr: Rate = 0.01,
    optimizer: Opt = "adam",
    seed: Seed = 0,
    validation: Held = 0.2,
    record: Record = None,
    checkpoint: Keep = None,
    resume: Resume = False,
    save: Save = None,
    plot: Plot = None,
    force: Force = False,
) -> None:
    """Tell apart two spirals that wind around each other, and see the boundary.

    Ctrl-C ends it with what was learned so far (exit code 130).
    """
    _plane("spirals", points, noise, hidden, activation, epochs, batch, lr, optimizer, seed, validation,
           Files(record, checkpoint, save, plot, resume, force))  # fmt: skip


def _plane(
    name: str,
    points: int,
    noise: float,
    hidden: str,
    activation: str,
    epochs: int,
    batch: int,
    lr: float,
    optimizer: str,
    seed: int,
    validation: float,
    files: Files,
) -> None:
    from backlit import data as sets
    from backlit.cli import display
    from backlit.cli import reports_learning as reports
    from backlit.data.scaling import standardise
    from backlit.draw.surfaces import plot_decision_boundary
    from backlit.nn.mlp import MLP

    layers = sizes(hidden)
    whole = getattr(sets, name)(points, noise, seed)
    train, held, order = _parted(whole, validation, seed, stratify=True)
    scale = standardise(train)
    learn, test = (None if part is None else _float32(scale.transform(part)) for part in (train, held))
    assert learn is not None
    model = MLP(2, [*layers, 2], activation=activation, key=_model_key(seed))
    about = {"what": name, "features": ["x", "y"], "classes": list(whole.classes), "target": whole.target_name,
             "mean": scale.mean.tolist(), "deviation": scale.deviation.tolist(), "order": order}  # fmt: skip
    lesson = Lesson(model, learn, test, "cross_entropy", ["accuracy"], epochs, batch, lr, optimizer, seed, files, about)

    console = display.make_console()
    units = "-".join(map(str, [2, *layers, 2]))
    beside = f"{units}{', ' + activation if layers else ''} · {kind_of(optimizer)}, learning rate {lr:g} · seed {seed}"
    display.title(console, name.capitalize(), beside)
    run = lesson.learn()

    def scores(x: Any) -> Any:
        return run.predict(scale.transform(x).astype("float32"))

    console.print(reports.plane_report(run, lesson, whole, scores, console))
    finish(console, lesson, run, lambda: plot_decision_boundary(scores, whole.inputs, whole.targets, title=name))


# -- digits -----------------------------------------------------------------------------------------------------------


def digits(
    epochs: Annotated[int, typer.Option(min=1, help="Times to go through the 1,437 images.")] = 30,
    seed: Seed = 0,
    lr: Rate = 0.003,
    optimizer: Opt = "adam",
    record: Record = None,
    checkpoint: Keep = None,
    resume: Resume = False,
    save: Save = None,
    plot: Plot = None,
    force: Force = False,
) -> None:
    """Learn to read real handwritten digits: 64 pixels, 128 tanh units, 10 scores.

    Ctrl-C ends it with what was learned so far (exit code 130).
    """
    from backlit.cli import display, reports
    from backlit.cli import reports_learning as learned
    from backlit.data.dataset import Dataset
    from backlit.nn.mlp import MLP
    from backlit.training.digits import BATCH, CLASSES, HIDDEN, PIXELS, split_digits

    files = Files(record, checkpoint, save, plot, resume, force)
    classes = tuple(map(str, range(CLASSES)))
    pixels = tuple(f"r{row}c{column}" for row in range(8) for column in range(8))
    train, held = split_digits(seed)
    learn, test = (Dataset(part.images, part.labels, pixels, "digit", classes) for part in (train, held))
    model = MLP(PIXELS, [HIDDEN, CLASSES], key=_model_key(seed))
    about = {"what": "digits", "features": list(pixels), "classes": list(classes), "target": "digit",
             "order": train.where.tolist()}  # fmt: skip
    lesson = Lesson(model, learn, test, "cross_entropy", ["accuracy"], epochs, BATCH, lr, optimizer, seed, files, about)

    console = display.make_console()
    beside = f"64-128-10, tanh · {kind_of(optimizer)}, learning rate {lr:g} · seed {seed}"
    display.title(console, "Handwritten digits", beside)
    run = lesson.learn()
    console.print(reports.digits_report(learned.digits_run(run, held, epochs), console))
    finish(console, lesson, run)


# -- names ------------------------------------------------------------------------------------------------------------


def names(
    count: Annotated[int, typer.Option(min=50, max=20_000, help="How many names to learn from.")] = 2000,
    context: Annotated[int, typer.Option(min=1, max=8, help="Letters that the net sees before the next one.")] = 3,
    vector: Annotated[int, typer.Option(min=1, max=256, help="Numbers that stand for a letter.")] = 10,
    hidden: Annotated[int, typer.Option(min=1, max=4096, help="Units of the hidden layer.")] = 100,
    epochs: Epochs = 6,
    batch: Batch = 64,
    lr: Rate = 0.01,
    optimizer: Opt = "adam",
    samples: Annotated[int, typer.Option(min=0, max=200, help="How many names to let it make.")] = 20,
    seed: Seed = 0,
    record: Record = None,
    checkpoint: Keep = None,
    resume: Resume = False,
    save: Save = None,
    plot: Plot = None,
    force: Force = False,
) -> None:
    """Learn which letter comes next in names, and make new ones.

    The net of Bengio et al. 2003: each letter is a learned vector, then a hidden layer (with BatchNorm and tanh), then
    a probability for each letter. The names are made by rule and are nobody's.
    Ctrl-C ends it with what was learned so far (exit code 130).
    """
    from backlit import data as sets
    from backlit import nn
    from backlit.cli import display
    from backlit.cli import reports_learning as reports
    from backlit.data.characters import Alphabet, alphabet_of
    from backlit.ops import random

    files = Files(record, checkpoint, save, plot, resume, force)
    made = sets.names(count + max(5, count // 10), seed)
    letters = alphabet_of(made, ".")
    learn, test = (sets.next_character(part, context, alphabet=letters) for part in (made[:count], made[count:]))
    key = _model_key(seed)
    model = nn.Sequential(
        nn.Embedding(len(letters), vector, key=random.fold_in(key, 0)),
        nn.Flatten(),
        nn.Linear(context * vector, hidden, bias=False, key=random.fold_in(key, 1)),  # BatchNorm takes it out again
        nn.BatchNorm(hidden),
        nn.Tanh(),
        nn.Linear(hidden, len(letters), key=random.fold_in(key, 2)),
    )
    about = {"what": "names", "features": list(learn.feature_names), "classes": list(letters.characters),
             "target": "next character"}  # fmt: skip
    lesson = Lesson(model, learn, test, "cross_entropy", ["accuracy"], epochs, batch, lr, optimizer, seed, files, about)

    console = display.make_console()
    net = f"{context} letters, {context}×{vector}-{hidden}-{len(letters)}"
    display.title(console, "Names", f"{net} · {kind_of(optimizer)}, learning rate {lr:g} · seed {seed}")
    run = lesson.learn()
    texts = reports.sampled(run, Alphabet(letters.characters), context, samples, random.fold_in(key, 3))
    console.print(reports.names_report(run, lesson, made[:count], made[count:], texts, console))
    finish(console, lesson, run)


# -- a file -----------------------------------------------------------------------------------------------------------


def table(
    file: Annotated[
        Path, typer.Argument(metavar="DATA.csv", help="Rows and columns of text, with or without a header.")
    ],
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column to predict; by default the last.")
    ] = None,
    task: Annotated[
        Literal["auto", "classify", "regress"],
        typer.Option(help="Whether the target is a kind or an amount. auto: words, yes/no and 0/1 are kinds."),
    ] = "auto",
    hidden: Hidden = "32,32",
    activation: Between = "tanh",
    epochs: Epochs = 50,
    batch: Batch = 32,
    lr: Rate = 0.01,
    optimizer: Opt = "adam",
    seed: Seed = 0,
    validation: Held = 0.2,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many epochs that got no better, and take the best.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="Leave it out; may be given again.")] = None,
    words: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Take its numbers as words, such as postal codes.")
    ] = None,
    missing: Annotated[
        str, typer.Option(metavar="error|drop|mean|NUMBER", help="What to do where a cell is empty, NA, null or ?.")
    ] = "error",
    header: Annotated[
        bool | None,
        typer.Option("--header/--no-header", help="Whether the first line has names; found out by default."),
    ] = None,
    delimiter: Annotated[str | None, typer.Option(metavar="CHARACTER", help="Between cells; found out.")] = None,
    decimal: Annotated[Literal[".", ","], typer.Option(help="Before the fraction of a number.")] = ".",
    encoding: Annotated[str, typer.Option(help="Of the text.")] = "utf-8",
    most_words: Annotated[int, typer.Option(min=1, help="Most different words in a column.")] = 100,
    record: Record = None,
    checkpoint: Keep = None,
    resume: Resume = False,
    save: Save = None,
    plot: Plot = None,
    force: Force = False,
) -> None:
    """Learn to predict one column of a file from the others.

    Words become one column each, numbers are standardised by the rows to learn from, and a fifth is held out, to see
    what was learned. Ctrl-C ends it with what was learned so far (exit code 130).
    """
    from backlit.cli import display, tables
    from backlit.cli import reports_learning as reports
    from backlit.nn.mlp import MLP

    file_there(file, "file of data", KNOWN)
    layers = sizes(hidden)
    optimizer_named(optimizer)
    files = Files(record, checkpoint, save, plot, resume, force)
    for flag, path in (("--save", save), ("--plot", plot), ("--record", record), ("--checkpoint", checkpoint)):
        if path is not None and path.absolute() == file.absolute():
            raise DataError(f"{flag} {path} is the file to learn from.")
    how = tables.Reading(
        target, task, tuple(drop or ()), tuple(words or ()), missing, header, delimiter, decimal, encoding, most_words
    )
    read = tables.read(file, how, seed, validation)
    model = MLP(read.learn.inputs.shape[1], [*layers, read.outputs], activation=activation, key=_model_key(seed))
    metrics = ["accuracy"] if read.classes else ["r2"]
    loss = "cross_entropy" if read.classes else "mse"
    lesson = Lesson(
        model, read.learn, read.held, loss, metrics, epochs, batch, lr, optimizer, seed, files, read.about(), patience
    )

    console = display.make_console()
    kind = f"{len(read.classes)} kinds" if read.classes else "an amount"
    display.title(console, display.printable(f"{read.target} from {file.name}", 60), kind)
    console.print(reports.read_report(read, model, lesson, console))
    run = lesson.learn()
    console.print(reports.table_report(run, lesson, read, console))
    finish(console, lesson, run)


# -- shared -----------------------------------------------------------------------------------------------------------


def _model_key(seed: int) -> Any:
    """The key of a model's first numbers, apart from all those that a training draws from the same seed."""
    from backlit.ops import random

    return random.fold_in(random.fold_in(random.key(seed), 0), 1)


def _parted(data: Dataset, held: float, seed: int, stratify: bool) -> tuple[Dataset, Dataset | None, list[int]]:
    """What is learned from, what is held out, and which rows the first are."""
    from backlit.cli.tables import parted

    with as_commands():
        return parted(data, held, seed, stratify)


def _float32(data: Dataset) -> Dataset:
    return data.with_inputs(data.inputs.astype("float32"))
