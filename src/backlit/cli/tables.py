"""A file of rows and columns made ready to learn from: what is a kind and what an amount, what is held out, on what
scale the numbers are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from backlit.cli.learning import as_commands, note
from backlit.core.errors import DataError
from backlit.data.dataset import Dataset

if TYPE_CHECKING:
    import numpy.typing as npt

    from backlit.data.scaling import Standardiser


class Reading(NamedTuple):
    """How a file is to be read, as it was asked for."""

    target: str | None = None
    task: str = "auto"
    drop: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    missing: str = "error"
    header: bool | None = None
    delimiter: str | None = None
    decimal: str = "."
    encoding: str = "utf-8"
    most_words: int = 100


class Column(NamedTuple):
    """One column of the file. kind: "number", "0 or 1", "words"; where: its places among the inputs."""

    name: str
    kind: str
    about: str
    where: tuple[int, ...]


@dataclass
class Table:
    """A file that was read: learn and held are on the scale that the model sees, float32.

    classes: names of the kinds, empty for an amount; then mean and deviation bring the model's answers back to the
    target's own unit. order: which row of the file, counted from 1, each row to learn from is.
    """

    path: Path
    how: Reading
    rows: int
    target: str
    classes: tuple[str, ...]
    columns: list[Column]
    learn: Dataset
    held: Dataset | None
    scale: Standardiser
    mean: float
    deviation: float
    order: list[int]
    remark: str

    @property
    def outputs(self) -> int:
        """How many numbers the model is to answer."""
        return len(self.classes) or 1

    def about(self) -> dict[str, Any]:
        """What a recording, or a saved model, says of the data."""
        found = {
            "what": self.path.name,
            "file": str(self.path),
            "reading": list(self.how),
            "rows": self.rows,
            "target": self.target,
            "features": list(self.learn.feature_names),
            "classes": list(self.classes),
            "mean": self.scale.mean.tolist(),
            "deviation": self.scale.deviation.tolist(),
            "target_mean": self.mean,
            "target_deviation": self.deviation,
        }
        if len(self.order) <= 50_000:
            found["order"] = self.order
        return found


def read(path: Path, how: Reading, seed: int, validation: float) -> Table:
    """The file, ready to learn from. Raises DataError for whatever is wrong with it, in the words of the terminal."""
    with as_commands():
        data = _loaded(path, how)
        data, remark = _by_task(data, how.task)
        if data.classes and len(data.classes) < 2:
            raise DataError(
                f"{path.name}: all {len(data):,} rows have {data.target_name} = {data.classes[0]!r:.40}, so there is "
                "nothing to tell apart. Name another column with --target."
            )
        learn, held, order = parted(data, validation, seed, bool(data.classes))
        from backlit.data.scaling import standardise

        scale = standardise(learn)
        mean, deviation = 0.0, 1.0
        if not data.classes:
            amounts = standardise(learn.targets)
            mean, deviation = float(amounts.mean[0]), float(amounts.deviation[0])
        columns = _columns(data)
        ready = [None if part is None else _ready(part, scale, mean, deviation) for part in (learn, held)]
    assert ready[0] is not None
    return Table(
        path, how, len(data), data.target_name, data.classes, columns, ready[0], ready[1], scale, mean, deviation,
        [row + 1 for row in order], remark,
    )  # fmt: skip


def _loaded(path: Path, how: Reading) -> Dataset:
    from backlit.data.tables import load_csv

    missing: Any = how.missing
    if missing not in ("error", "drop", "mean"):
        try:
            missing = float(missing)
        except ValueError:
            raise DataError(f"--missing {missing!r}: say error, drop, mean, or a number to put there.") from None

    def column(word: str) -> str | int:
        return int(word) if re.fullmatch(r"-?\d{1,6}", word) and not _in_first_line(path, word, how.encoding) else word

    return load_csv(
        path,
        None if how.target is None else column(how.target),
        delimiter=how.delimiter,
        header=how.header,
        missing=missing,
        types={column(word): "category" for word in how.words},
        drop=[column(word) for word in how.drop],
        encoding=how.encoding,
        decimal=how.decimal,
        most_categories=how.most_words,
    )


def _in_first_line(path: Path, word: str, encoding: str) -> bool:
    """Whether a number is written in the first line, and so may be the name of a column rather than its place."""
    try:
        with path.open(encoding=encoding, errors="replace") as file:
            return word in re.split(r"[,;\t|\s\"']+", file.readline(1_000_000))
    except (OSError, LookupError):
        return False


def _by_task(data: Dataset, task: str) -> tuple[Dataset, str]:
    """The data with kinds or with amounts as targets, and a remark where that could have been meant otherwise."""
    if data.classes:
        if task == "regress":
            raise DataError(
                f"--task regress: the target {data.target_name!r:.60} is of {len(data.classes)} kinds "
                f"({', '.join(data.classes[:4])}{', ...' if len(data.classes) > 4 else ''}), which are no amounts."
            )
        return data, ""
    amounts = data.targets[:, 0]
    whole = bool(np.all(amounts == np.rint(amounts))) and float(np.abs(amounts).max()) < 2**53
    distinct = np.unique(amounts)
    if task == "auto" and whole and set(distinct.tolist()) == {0.0, 1.0}:
        return _as_kinds(
            data, distinct
        ), "It holds only 0 and 1, so it is taken as two kinds (--task regress: as amounts)."
    if task == "classify":
        if not whole or len(distinct) > 1000:
            what = f"{len(distinct):,} different numbers" if whole else "fractions"
            raise DataError(
                f"--task classify: the target {data.target_name!r:.60} holds {what}, which are no kinds. Leave it out."
            )
        return _as_kinds(data, distinct), ""
    few = whole and 1 < len(distinct) <= 10 and len(distinct) * 5 <= len(amounts)
    return data, f"It holds only {len(distinct)} whole numbers; if they are kinds, add --task classify." if few else ""


def _as_kinds(data: Dataset, distinct: npt.NDArray[Any]) -> Dataset:
    labels = np.searchsorted(distinct, data.targets[:, 0]).astype(np.int64)
    names = [f"{number:.0f}" for number in distinct]
    return Dataset(data.inputs, labels, data.feature_names, data.target_name, names)


def parted(data: Dataset, held: float, seed: int, stratify: bool) -> tuple[Dataset, Dataset | None, list[int]]:
    """What is learned from, what is held out, and which rows, from 0, the first are."""
    from backlit.data.splitting import split
    from backlit.ops import random

    rows = np.arange(len(data))
    if held == 0 or len(data) < 5:
        if held:
            from backlit.cli import display

            few = f"{display.counted(len(data), 'row')} {'is' if len(data) == 1 else 'are'} too few to hold some out"
            note(f"{few}, so nothing says how well it does on others.")
        return data, None, rows.tolist()
    key = random.fold_in(random.key(seed), 0)
    stratify = stratify and int(np.bincount(data.targets).max()) > 1
    numbered = Dataset(rows[:, None], data.targets, (), data.target_name, data.classes)
    learn, test = (part.inputs[:, 0] for part in split(numbered, held, key, stratify=stratify))
    return data.take(learn), data.take(test), learn.tolist()


def _ready(part: Dataset, scale: Standardiser, mean: float, deviation: float) -> Dataset:
    scaled = scale.transform(part)
    targets = part.targets
    if not part.classes:
        targets = ((targets - mean) / deviation).astype(np.float32)
    return Dataset(scaled.inputs.astype(np.float32), targets, part.feature_names, part.target_name, part.classes)


# -- columns ----------------------------------------------------------------------------------------------------------


def _columns(data: Dataset) -> list[Column]:
    """The columns of the file, from those that they became: `colour=red` and `colour=blue` were one."""
    names, x = data.feature_names, data.inputs
    found: list[Column] = []
    i = 0
    while i < len(names):
        start = names[i].split("=")[0] + "="
        end = i
        while end < len(names) and names[end].startswith(start):
            end += 1
        group = x[:, i:end]
        if end > i and bool(np.all((group == 0) | (group == 1))) and bool(np.all(group.sum(axis=1) == 1)):
            words = [name[len(start) :] for name in names[i:end]]
            order = np.argsort(-group.sum(axis=0), kind="stable")
            about = ", ".join(f"{words[k]} {group[:, k].sum():,.0f}" for k in order[:4])
            more = f", and {len(words) - 4} more" if len(words) > 4 else ""
            found.append(Column(start[:-1], f"{len(words)} words", about + more, tuple(range(i, end))))
            i = end
            continue
        column = x[:, i]
        if bool(np.all((column == 0) | (column == 1))) and column.min() != column.max():
            found.append(Column(names[i], "0 or 1", f"1 in {100 * column.mean():.3g} % of the rows", (i,)))
        else:
            found.append(Column(names[i], "number", spread(column), (i,)))
        i += 1
    return found


def spread(numbers: npt.NDArray[Any]) -> str:
    """From where to where numbers go, and around what."""
    low, middle, high = (f"{x:.4g}" for x in (numbers.min(), numbers.mean(), numbers.max()))
    return f"always {low}" if low == high else f"{low} to {high}, mean {middle}"
