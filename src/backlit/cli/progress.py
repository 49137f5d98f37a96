"""The bar that `backlit.fit` shows in terminals and notebooks while a long training runs."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from backlit.cli.display import BAD, CURVE, QUIET, spent

if TYPE_CHECKING:
    from backlit.training.run import Run


_BAR = 10


class Bar:
    """One line: epoch, bar, steps, rate, time left, loss, and the numbers of the last epoch. On standard error.

    It is drawn anew at most ten times a second, and stays when the training has ended. Where nobody would see it move,
    in a file or a pipe, nothing is written. console: another place to draw on.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = Console(stderr=True) if console is None else console
        self._shown = self._console.is_terminal or self._console.is_jupyter
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._seen: deque[tuple[float, int]] = deque(maxlen=64)  # when which step was reached: the last seconds

    def update(self, run: Run, total: int) -> None:
        """Show how far it is."""
        if not self._shown:
            return
        if self._bar is None:
            self._begin(run, total)
        self._draw(run, total, ended=False)

    def close(self, run: Run, total: int) -> None:
        """Show where it ended, and leave it there."""
        if self._bar is None:
            return
        self._draw(run, total, ended=True)
        self._bar.stop()
        self._bar = None

    def _begin(self, run: Run, total: int) -> None:
        self._bar = Progress(
            TextColumn("{task.fields[epoch]}"),
            BarColumn(_BAR if self._console.width < 120 else 24, complete_style=CURVE, finished_style=CURVE),
            TextColumn("{task.fields[done]}"),
            TextColumn("{task.fields[rate]}", style=QUIET),
            TextColumn("{task.fields[left]}", style=QUIET),
            TextColumn("{task.fields[loss]}"),
            console=self._console,
            transient=False,
            refresh_per_second=10,
        )
        self._task = self._bar.add_task("", total=max(total, 1), epoch="", done="", rate="", left="", loss="")
        self._bar.start()

    def _draw(self, run: Run, total: int, ended: bool) -> None:
        assert self._bar is not None
        self._bar.update(self._task, completed=run.position.step, **self._texts(run, total, ended))

    def _texts(self, run: Run, total: int, ended: bool) -> dict[str, Any]:
        return fields(run, total, ended, self._rate(run), self._console.width)

    def _rate(self, run: Run) -> float:
        """Steps a second, of late; 0 while it is not known."""
        now = time.perf_counter()
        self._seen.append((now, run.position.step))
        since, step = self._seen[0]
        return (run.position.step - step) / max(now - since, 1e-9)


def fields(run: Run, total: int, ended: bool, rate: float, width: int) -> dict[str, Any]:
    """The texts of the line. In a narrow one the steps are left out, the rate gets shorter, and metrics are left out
    but for one beside the loss; then the rate is, and that one, too.
    """
    epochs = run.settings.get("epochs", 0)
    done = run.position.step
    shown = [f"loss {run.last_loss:.4g}"]
    shown += [f"{_short(name)} {x:.4g}" for name, x in run.final.items() if name not in ("epoch", "loss", "seconds")]
    shown = shown[:4]
    if not ended:
        left = f"{_clock(math.ceil((total - done) / rate))} left" if rate > 0 else ""
    elif run.stopped is not None:
        left = f"[{BAD}]{escape(run.stopped.split(':')[0].split(',')[0])}[/]"
    else:
        left = f"in {spent(run.seconds)}"
    texts = {
        "epoch": f"epoch {min(run.position.epoch + 1, epochs)}/{epochs}",
        "done": f"{done:,}/{total:,}",
        "rate": f"{rate:,.0f} steps/s" if rate >= 1 else f"{1 / rate:,.1f} s/step" if rate > 0 else "",
        "left": left,
        "loss": " · ".join(shown),
    }

    def too_wide() -> bool:
        return sum(map(len, texts.values())) + _BAR + len(texts) > width

    def leave_metrics(most: int) -> None:
        while too_wide() and len(shown) > most:
            shown.pop()
            texts["loss"] = " · ".join(shown)

    if too_wide():
        texts["done"] = ""
    if too_wide():
        texts["rate"] = texts["rate"].replace(" steps/s", "/s")
    leave_metrics(2)
    if too_wide():
        texts["rate"] = ""
    leave_metrics(1)
    return texts


def _clock(seconds: int) -> str:
    """A length of time in few characters.

    >>> _clock(9), _clock(81), _clock(3700)
    ('9 s', '1:21', '1:01:40')
    """
    hours, minutes = divmod(seconds // 60, 60)
    if seconds < 60:
        return f"{seconds} s"
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def _short(name: str) -> str:
    return f"val {name.removeprefix('validation ')}" if name.startswith("validation ") else name
