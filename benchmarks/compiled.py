"""Compiled training beside its peers: `python -m benchmarks compiled [--only digits,xor] [--seconds 3] …`.

Every contestant trains the same net with the same arithmetic from the same numbers. First the results are compared,
to the tolerance that is printed; only then they are timed, in turn, round after round, on the same steps; a ratio is
taken within a round. Time to compile is measured apart: ours is the first run less a later one, with an empty cache on
disk and with a full one; theirs the first run of the process.

JAX and NumPy use as many threads as they like; PyTorch one, and for the two large nets also all; C and ours one.
`--threads 1` keeps the whole process on one processor.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.timing import machine, readable

if TYPE_CHECKING:
    from benchmarks.compiled_peers.problems import Problem, Run

OURS = "backlit"
CACHE = "BACKLIT_CACHE_DIR"
COLD, CACHED = 0.15, 0.025
"""How long compiling may take, in seconds: anew, and from the disk."""
TRIALS, PROFILED = 3, 20
MOST_STEPS = 100_000
REST = 0.05
"""Seconds before each turn: threads of a library that was called spin for a while, and would take the processor from
who is next.
"""


@dataclass(frozen=True)
class Work:
    """A row of the table. target: seconds a step. steps: after so many the results are compared. tolerance: relative,
    of each array's largest number.
    """

    title: str
    target: float
    steps: int
    tolerance: float


WORKS = {
    "xor": Work("XOR 2-2-1, full batch, float64", 90e-9, 1000, 1e-10),
    "nudge": Work("the same by nudging all 9 parameters", 600e-9, 100, 1e-6),
    "moons": Work("moons, 2-16-16-1, hinge + L2, 100 points, float64", 7.5e-6, 300, 1e-10),
    "digits": Work("digits, 64-128-10 tanh, Adam, batch 32, float32", 19e-6, 30, 1e-3),
    "names": Work("names: embedding, batch norm, 30-64-27, batch 32, float32", 14e-6, 30, 1e-3),
    "wide": Work("784-512-512-10 relu, momentum, batch 128, float32", 1.9e-3, 10, 1e-3),
    "transformer": Work("transformer, 2 layers, d 64, context 32, batch 16, AdamW", 3.3e-3, 5, 1e-3),
    "through": Work("d final loss / d rate of 10,000 steps, float64", 0.9e-6, 1, 1e-8),
}
TARGETS = {f"{OURS}, forward": 0.35e-6}
"""Where a contestant of ours has a target other than its row's."""


def main(argv: Sequence[str] = ()) -> None:
    options = _options(argv)
    if options.threads == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    told = "one processor" if options.threads == 1 else f"{_processors()} processors"
    print(f"compiled: {machine()}, {told}")
    reports = [measured(name, WORKS[name], options) for name in options.only]
    print(
        f"\n{'work':<13}{'contestant':<22}{'a step':>10}{'least':>10}{'target':>9}  {'':<8}{'compile':>9}{'cached':>9}"
    )
    for report in reports:
        for line in report:
            print(line)
    print("compile: of ours, after a program that loaded LLVM and compiled what all programs have in common")


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks compiled", description=main.__module__)
    parser.add_argument("--only", default=",".join(WORKS), help=f"which works: {', '.join(WORKS)}")
    parser.add_argument("--without", default="", help="peers to leave out: jax, torch, numpy, c")
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long each work is timed")
    parser.add_argument("--rounds", type=int, default=25, help="how often each contestant has its turn, at most")
    parser.add_argument("--torch-compile", action="store_true", help="torch.compile too: 5 to 20 s more for each work")
    parser.add_argument("--threads", type=int, choices=(1,), help="keep everything on one processor")
    parser.add_argument("--profile", action="store_true", help="also the clock cycles of each of our kernels")
    options = parser.parse_args(list(argv))
    options.only, options.without = options.only.split(","), options.without.split(",")
    if options.threads and not hasattr(os, "sched_setaffinity"):
        parser.error("--threads: this system does not say how to keep a process on one processor")
    for name in options.only:
        if name not in WORKS:
            parser.error(f"there is no work {name!r}; choose from {', '.join(WORKS)}")
    return options


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measured(name: str, work: Work, options: argparse.Namespace) -> list[str]:
    """Compare, time and print one work; the lines on ours for the table at the end."""
    from benchmarks.compiled_peers.problems import PROBLEMS

    problem = PROBLEMS[name]()
    compiling = compile_times(problem)
    contestants, left_out = _contestants(problem, options)
    first = agree(work, problem, contestants)
    if problem.steps > 1:
        _agree_soon(work, problem, options)
    count = {contestant: _enough(run, options) for contestant, run in contestants.items()}
    if problem.steps > 1:
        count = dict.fromkeys(count, 1)
    times: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    gc.freeze()  # looking through all that the peers hold takes longer than a turn
    begun, rounds = time.perf_counter(), 0
    while rounds < 3 or (rounds < options.rounds and time.perf_counter() - begun < 2 * options.seconds):
        gc.collect()
        for contestant, run in contestants.items():
            time.sleep(REST)
            times[contestant].append(_seconds(run, count[contestant]) / _steps(problem, contestant))
        rounds += 1
    print(f"\n{work.title}  (a step; median of {rounds} rounds, and the least; ratio to ours: median, min–max)")
    ours = [contestant for contestant in contestants if contestant.startswith(OURS)]
    lines = []
    for contestant, found in times.items():
        typical = statistics.median(found)
        line = f"  {contestant:<22}{readable(typical):>10}  (least {readable(min(found))})".ljust(55)
        for own in ours if contestant not in ours else []:
            ratios = [theirs / mine for theirs, mine in zip(found, times[own], strict=True)]
            line += f"   {statistics.median(ratios):7.2f}x  ({min(ratios):.2f}–{max(ratios):.2f})"
        if contestant in ours:
            target = TARGETS.get(contestant, work.target)
            cold, cached = compiling[contestant]
            line += f"   target {readable(target)}: {_met(typical <= target)}"
            line += f"   compiled in {readable(cold)}, from the disk in {readable(cached)}"
            lines.append(
                f"{name:<13}{contestant:<22}{readable(typical):>10}{readable(min(found)):>10}{readable(target):>9}  "
                f"{_met(typical <= target):<8}"
                f"{readable(cold):>9}{readable(cached):>9}  {_met(cold <= COLD)}, {_met(cached <= CACHED)}"
            )
        elif contestant.startswith(("JAX", "PyTorch compiled")):
            line += f"   compiled in {readable(first[contestant])}"
        print(line, flush=True)
    for reason in left_out:
        print(f"  ({reason})")
    if options.profile:
        profile(problem)
    return lines


def _met(holds: bool) -> str:
    return "met" if holds else "missed"


def _contestants(problem: Problem, options: argparse.Namespace) -> tuple[dict[str, Run], list[str]]:
    """Ours first, then the peers that are here; and who is not."""
    from benchmarks.compiled_peers import by_backlit, by_c, by_numpy

    found = by_backlit.contestants(problem)
    left_out = []
    if "c" not in options.without:
        found |= by_c.contestants(problem)
    if "jax" not in options.without:
        if importlib.util.find_spec("jax") is not None:
            from benchmarks.compiled_peers import by_jax

            found |= by_jax.contestants(problem)
        else:
            left_out.append("left out: jax is not installed")
    if "torch" not in options.without:
        if importlib.util.find_spec("torch") is not None:
            from benchmarks.compiled_peers import by_torch

            found |= by_torch.contestants(problem, options.torch_compile)
        else:
            left_out.append("left out: torch is not installed")
    if "numpy" not in options.without:
        found |= by_numpy.contestants(problem)
    return found, left_out


def _steps(problem: Problem, contestant: str) -> int:
    """How many steps one unit of a run is; PyTorch goes a part of the way where it would take too long."""
    if problem.steps > 1 and contestant.startswith("PyTorch"):
        from benchmarks.compiled_peers.by_torch import THROUGH_STEPS

        return THROUGH_STEPS
    return problem.steps


def agree(work: Work, problem: Problem, contestants: Mapping[str, Run]) -> dict[str, float]:
    """Check that all come to the same result; the seconds of each one's first run, less a second one."""
    first, wanted = {}, None
    worst = 0.0
    for contestant, run in contestants.items():
        start = time.perf_counter()
        found = run(work.steps)
        between = time.perf_counter()
        run(work.steps)
        first[contestant] = max(0.0, 2 * between - start - time.perf_counter())
        if _steps(problem, contestant) != problem.steps:
            continue  # see `_agree_soon`
        if wanted is None:
            wanted = found
        for a, b in zip(wanted, found, strict=True):
            if a.shape != b.shape or a.dtype != b.dtype:
                raise AssertionError(f"{work.title}: {contestant} gives {b.dtype}{b.shape}, not {a.dtype}{a.shape}")
            size = max(float(np.abs(a).max()), 1e-3)
            off = float(np.abs(a - b).max()) / size
            worst = max(worst, off)
            if not off <= work.tolerance:
                raise AssertionError(
                    f"{work.title}: after {work.steps} steps {contestant} is off by {off:.2g} of {size:.3g}, and "
                    f"{work.tolerance:g} is allowed"
                )
    what = (
        f"loss after {problem.steps:,} steps and its slope"
        if problem.steps > 1
        else f"loss and parameters after {work.steps:,} steps"
    )
    print(f"\n[{problem.name}] {what} agree to {worst:.1e} (allowed: {work.tolerance:g})")
    return first


def _agree_soon(work: Work, problem: Problem, options: argparse.Namespace) -> None:
    """The same with as few turns as PyTorch makes."""
    if "torch" not in options.without and importlib.util.find_spec("torch") is not None:
        from benchmarks.compiled_peers import by_backlit, by_torch

        short = replace(problem, steps=by_torch.THROUGH_STEPS)
        agree(work, short, by_backlit.contestants(short) | by_torch.contestants(short, with_compiled=False))


def _enough(run: Run, options: argparse.Namespace) -> int:
    """How many steps make a turn of about its share of the time: enough that to begin anew weighs little."""
    share = options.seconds / options.rounds / 2
    n = 1
    while n < MOST_STEPS:
        taken = _seconds(run, n) * n
        if taken >= share / 2:
            break
        n = min(MOST_STEPS, n * max(2, min(10, int(share / max(taken, 1e-9)))))
    return n


def _seconds(run: Run, n: int) -> float:
    start = time.perf_counter()
    run(n)
    return (time.perf_counter() - start) / n


# -- time to compile -----------------------------------------------------------------------------------------------


@contextmanager
def _cache_in(folder: str) -> Iterator[None]:
    before = os.environ.get(CACHE)
    os.environ[CACHE] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ[CACHE]
        else:
            os.environ[CACHE] = before


def compile_times(problem: Problem) -> dict[str, tuple[float, float]]:
    """For each of ours: seconds from Python function to result, less those of the run; anew, and from the disk.

    A first trial, which is not counted, loads LLVM and compiles the functions that are the same in every program.
    """
    from benchmarks.compiled_peers import by_backlit

    found: dict[str, list[tuple[float, float]]] = {}
    for trial in range(TRIALS + 1):
        with tempfile.TemporaryDirectory() as folder, _cache_in(folder):
            pairs: dict[str, list[float]] = {}
            for _ in ("anew", "from the disk"):
                for name, run in by_backlit.contestants(problem).items():
                    pairs.setdefault(name, []).append(_first(run))
            for name, (cold, cached) in pairs.items():
                if trial:
                    found.setdefault(name, []).append((cold, cached))
    return {
        name: (statistics.median(c for c, _ in pairs), statistics.median(w for _, w in pairs))
        for name, pairs in found.items()
    }


def _first(run: Run) -> float:
    first = _seconds(run, 1)
    return max(first - min(_seconds(run, 1) for _ in range(3)), 0.0)


def _spent(program: Any) -> str:
    """What making a program took; the rest is tracing and the run."""
    parts = {**program.seconds, **{f"{part} in LLVM": found for part, found in program.machine.seconds.items()}}
    return ", ".join(f"{part} {readable(found)}" for part, found in parts.items())


# -- where the time goes ---------------------------------------------------------------------------------------------


def profile(problem: Problem, steps: int = 200) -> None:
    """Print what compiling spends its time on, and the clock cycles a step of each of our kernels."""
    from backlit.compiler.program import repeated
    from backlit.core.value import current
    from benchmarks.compiled_peers import by_backlit

    if problem.name == "through":
        for name, f in by_backlit.functions(problem).items():
            with tempfile.TemporaryDirectory() as folder, _cache_in(folder):
                start = time.perf_counter()
                f(np.float64(problem.rate))
                first = time.perf_counter() - start
            print(f"  {name} compiled once more in {readable(first)}: {_spent(f.entries[0].program)}")
        return
    compiled = by_backlit.compiled_step(problem)
    each = problem.rows is not None
    steps = 3 if problem.name in ("wide", "transformer") else steps
    arguments: list[Any] = []
    with tempfile.TemporaryDirectory() as folder, _cache_in(folder):
        if problem.rows is not None:
            arguments = [problem.rows[np.arange(steps) % len(problem.rows)]]
            start = time.perf_counter()
            compiled.each(arguments[0][:1])
        else:
            start = time.perf_counter()
            compiled.repeat(1)
        first = time.perf_counter() - start
    traced = compiled.entries[0].traced
    made = compiled.entries[0].program
    print(f"  compiled once more in {readable(first)}: {_spent(made)}")
    program = repeated(traced, each, profile=True)
    if not program.clocks:
        print(
            f"  no profile: the step is one piece of straight code of {sum(len(n.nodes) for n in program.notes)} nodes"
        )
        return
    inputs = [*arguments, *(current(c.variable)._data for c in traced.captured)]
    program.run(inputs, 1)
    seen = []
    for _ in range(PROFILED):
        before = program.cycles()
        program.run(inputs, steps)
        seen.append((program.cycles() - before) / steps)
    cycles = np.min(seen, axis=0)  # what else the machine did meanwhile stands in the others
    total = cycles.sum()
    print(f"  profile: {total:,.0f} cycles a step in kernels (each one's least of {PROFILED} runs)")
    for k in np.argsort(-cycles):
        note = program.clocks[k]
        if cycles[k] >= 0.01 * total:
            what = f"{note.name:<14}{note.kind:<12}{note.nodes[0].shape!s:<17}{note.note}"
            print(f"    {cycles[k]:12,.0f}  {cycles[k] / total:5.1%}  {what}")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
