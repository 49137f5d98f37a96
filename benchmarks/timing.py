"""Timing that compares: contestants run in turn, round after round, and ratios are taken within a round."""

from __future__ import annotations

import gc
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def machine() -> str:
    """One line about the machine and the interpreter."""
    model = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open() as info:
            model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{model}, Python {platform.python_version()}, {platform.system()}"


def seconds(function: Callable[[], object], repeat: int) -> float:
    """Seconds for one call, averaged over `repeat` calls."""
    start = time.perf_counter()
    for _ in range(repeat):
        function()
    return (time.perf_counter() - start) / repeat


def compare(title: str, contestants: Mapping[str, Callable[[], object]], *, repeat: int, rounds: int = 15) -> None:
    """Print the median time of each contestant and how many times longer it took than the first, with its spread."""
    for function in contestants.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, function in contestants.items():
            gc.collect()
            times[name].append(seconds(function, repeat))
    ours = next(iter(contestants))
    print(f"\n{title}  (median of {rounds} rounds, {repeat} call{'s' * (repeat > 1)} each; ratio to {ours}: min–max)")
    for name, found in times.items():
        ratios = [theirs / own for theirs, own in zip(found, times[ours], strict=True)]
        spread = f"{statistics.median(ratios):6.2f}x  ({min(ratios):.2f}–{max(ratios):.2f})" if name != ours else ""
        print(f"  {name:<28}{readable(statistics.median(found)):>12}   {spread}")


def readable(duration: float) -> str:
    """A duration in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if duration >= size:
            return f"{duration / size:.3g} {unit}"
    return f"{duration / 1e-9:.3g} ns"
