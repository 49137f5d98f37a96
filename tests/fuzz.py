"""Random graphs, compiled and compared with eager evaluation, for as long as one likes: `make fuzz`.

Each graph is drawn from a seed, and a seed says all: the graph, what is compared (values, derivatives of first and
second order, steps of learning called in each way), whether it is compiled to straight lines or to loops, and whether
LLVM is to write good machine code. For three of four it is, as for users: what it gets wrong, they would get. The
others tell whether the text leaves something open that another code generator takes otherwise. What fails is shrunk,
printed as a script, and told again at the end, with the command that draws it anew. A worker that dies or hangs is told
of by the seed at which it did; one that has grown large is replaced.
"""

from __future__ import annotations

import argparse
import collections
import functools
import json
import os
import subprocess
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
LINES, LOOPS = 4000, -1
"""Limits of `straight`: up to how many instructions a graph becomes straight lines."""
PATIENCE = 300.0
"""Seconds for one graph, shrinking included."""
ROOM = 1_500
"""Megabytes that a worker may take before another takes its place."""
FULL = 75
"""The exit status of a worker that has taken as much."""

SCRIPT = '''"""A compiled graph that differs from itself run eagerly."""
# seed {seed}: {how}, {form}
# {told}
import sys
sys.path.insert(0, ".")
from tests.compiler.checking import check
from tests.compiler.graphs import Graph, Leaf, Line
from tests.fuzz import Case, check_case
graph = {graph!r}
sys.stdout.write(graph.source() + check_case(Case(graph, {how!r}, {limit}, {level})) + "\\n")
'''


class Case(NamedTuple):
    """What a seed says. limit: of straight lines; level: of LLVM's code generator."""

    graph: Any
    how: str
    limit: int
    level: int

    @property
    def form(self) -> str:
        return ("loops" if self.limit == LOOPS else "straight lines") + (", optimized" if self.level else "")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (2)")
    parser.add_argument("--most", type=int, default=10, help="failures after which it stops (10)")
    parser.add_argument("--only", type=int, help="this one seed, and what it draws")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker is not None:
        return work(chosen)
    if chosen.only is not None:
        return one(chosen.only)
    return Watch(chosen).run()


# -- one graph ---------------------------------------------------------------------------------------------------


def drawn(seed: int) -> Case:
    from tests.compiler.checking import HOWS, reachable
    from tests.compiler.graphs import from_seed

    rest, which = divmod(seed, len(HOWS))
    how = HOWS[which]
    graph = from_seed(seed, 1 + rest // 8 % 5 if how == "second" else None)
    return Case(graph, reachable(graph, how), LOOPS if rest % 2 else LINES, 2 if rest // 2 % 4 else 0)


def check_case(case: Case) -> str:
    from backlit.compiler import jit, program, straight
    from tests.compiler.checking import check

    straight.LIMIT = case.limit
    program.Machine = functools.partial(jit.Machine, level=case.level)  # type: ignore[misc,assignment]
    try:
        return check(case.graph, case.how)
    except Exception as error:  # noqa: BLE001  whatever it is, it is a finding
        return f"{type(error).__name__}: {error}\n{traceback.format_exc()}"


def one(seed: int) -> int:
    case = drawn(seed)
    sys.stdout.write(f"{case.graph.source()}{case.graph.leaves}\n{case.how}, {case.form}\n")
    told = check_case(case)
    sys.stdout.write(f"{told or 'no difference'}\n")
    return int(bool(told))


def finding(seed: int, case: Case, told: str) -> str:
    """The script of a failure, made as small as it gets within a minute or so."""
    from tests.compiler.graphs import shrunk

    kind = told.split(":")[0]
    until = time.monotonic() + 60

    def fails(candidate: Any) -> bool:
        return time.monotonic() < until and check_case(case._replace(graph=candidate)).split(":")[0] == kind

    small = case._replace(graph=shrunk(case.graph, fails))
    told = (check_case(small) or told).strip().replace("\n", "\n# ")
    return SCRIPT.format(seed=seed, form=case.form, told=told, **small._asdict())


# -- a process that works ----------------------------------------------------------------------------------------


def work(chosen: argparse.Namespace) -> int:
    """Seeds from --seed, each --jobs-th one, one JSON object for each thing to tell."""
    warnings.simplefilter("error")
    until = time.monotonic() + 60 * chosen.minutes

    def tell(**what: Any) -> None:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    seed = chosen.seed + chosen.worker
    while time.monotonic() < until:
        tell(begun=seed)
        try:
            case = drawn(seed)
            if told := check_case(case):
                tell(failed=seed, script=finding(seed, case, told))
            else:
                tell(clean=f"{case.how}, {case.form}")
        except Exception:  # noqa: BLE001
            tell(failed=seed, script=f"# seed {seed}: the graph cannot be drawn\n{traceback.format_exc()}")
        if megabytes() > ROOM:
            return FULL
        seed += chosen.jobs
    return 0


def megabytes() -> float:
    """What this process has in memory; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Watch:
    """Starts the workers and tells what they tell."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen
        self.clean: collections.Counter[str] = collections.Counter()
        self.failures: list[int] = []
        self.lock = threading.Lock()
        self.start = time.monotonic()
        self.running: dict[int, subprocess.Popen[str]] = {}
        self.begun: dict[int, float] = {}
        self.is_over = False

    def run(self) -> int:
        threads = [threading.Thread(target=self._follow, args=(k,)) for k in range(self.chosen.jobs)]
        for thread in threads:
            thread.start()
        told = self.start
        interrupted = False
        try:
            while any(thread.is_alive() for thread in threads):
                time.sleep(0.5)
                now = time.monotonic()
                for k, since in list(self.begun.items()):
                    if now - since > PATIENCE:
                        self.running[k].kill()  # its seed is told as that at which it died
                if now - told >= 30:
                    told = now
                    self._say(self._state())
        except KeyboardInterrupt:
            interrupted = True
        self._stop()
        for thread in threads:
            thread.join()
        self._say(self._state() + (", interrupted" if interrupted else ", done"))
        for kind, count in sorted(self.clean.items()):
            self._say(f"{count:8} clean: {kind}")
        for seed in self.failures:
            self._say(f"failed; again by: {sys.executable} -m tests.fuzz --only {seed}")
        return int(bool(self.failures) or interrupted)

    def _state(self) -> str:
        seconds = time.monotonic() - self.start
        graphs = self.clean.total() + len(self.failures)
        return f"{seconds:6.0f} s  {graphs} graphs, {graphs / seconds:.1f} a second, {len(self.failures)} failed"

    def _say(self, text: str) -> None:
        with self.lock:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def _follow(self, k: int) -> None:
        """One worker after the other: a new one where one died or was full."""
        first = self.chosen.seed
        while not self.is_over and (left := self.chosen.minutes - (time.monotonic() - self.start) / 60) > 0:
            command = [sys.executable, "-m", "tests.fuzz", "--worker", str(k), "--seed", str(first)]
            command += ["--jobs", str(self.chosen.jobs), "--minutes", str(left)]
            alone = {**os.environ, "BACKLIT_CACHE_DIR": "off"}
            process = subprocess.Popen(  # in a session of its own, so that Ctrl-C is for this process only
                command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=alone, start_new_session=True
            )
            self.running[k] = process
            if self.is_over:
                process.terminate()
            assert process.stdout is not None
            last = first + k
            for text in process.stdout:
                what = json.loads(text)
                if "begun" in what:
                    last = what["begun"]
                    self.begun[k] = time.monotonic()
                elif "clean" in what:
                    with self.lock:
                        self.clean[what["clean"]] += 1
                else:
                    self._failed(what["failed"], what["script"])
            self.begun.pop(k, None)
            status = process.wait()
            if status == 0 or self.is_over:
                return
            if status != FULL:
                self._failed(last, f"# seed {last}: the process died or hung, {status}\n")
            first = last + self.chosen.jobs - k

    def _failed(self, seed: int, script: str) -> None:
        if self.is_over:
            return
        self.failures.append(seed)
        self._say(f"{'-' * 100}\n{script}{'-' * 100}")
        if len(self.failures) >= self.chosen.most:
            self._stop()

    def _stop(self) -> None:
        self.is_over = True
        for process in self.running.values():
            process.terminate()


if __name__ == "__main__":
    sys.exit(main())
