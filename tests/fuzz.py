"""Random graphs, compiled and compared with eager evaluation, for as long as one likes: `make fuzz`.

Each graph is drawn from a seed; a seed says all: the graph, what is compared (values, gradients, second derivatives, or
steps of learning), and whether it is compiled to straight lines or to loops. What fails is shrunk and printed as a
script. A worker that dies is told of by the seed at which it died.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HOWS = ("values", "values", "gradients", "gradients", "step", "second")

SCRIPT = '''"""A compiled graph that differs from itself run eagerly."""
# seed {seed}: {how}, {form}
# {told}
import sys
sys.path.insert(0, ".")
from backlit.compiler import straight
from tests.compiler.graphs import Graph, Leaf, Line, check
straight.LIMIT = {limit}
graph = {graph!r}
sys.stdout.write(graph.source() + check(graph, {how!r}) + "\\n")
'''


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


def drawn(seed: int) -> tuple[Any, str, int]:
    """The graph of a seed, what is compared, and the limit of straight lines."""
    from tests.compiler.graphs import from_seed

    how = HOWS[seed % len(HOWS)]
    lines = 1 + seed // 7 % 5 if how == "second" else None
    return from_seed(seed, lines), how, -1 if seed // len(HOWS) % 2 else 4000


def wrong_with(graph: Any, how: str, limit: int) -> str:
    from backlit.compiler import straight
    from tests.compiler.graphs import check

    straight.LIMIT = limit
    try:
        return check(graph, how)
    except Exception as error:  # noqa: BLE001  whatever it is, it is a finding
        return f"{type(error).__name__}: {error}\n{traceback.format_exc()}"


def one(seed: int) -> int:
    graph, how, limit = drawn(seed)
    sys.stdout.write(f"{graph.source()}{graph.leaves}\n{how}, limit {limit}\n")
    told = wrong_with(graph, how, limit)
    sys.stdout.write(f"{told or 'no difference'}\n")
    return int(bool(told))


def finding(seed: int, graph: Any, how: str, limit: int, told: str) -> str:
    """The script of a failure, made as small as it gets within a minute or so."""
    from tests.compiler.graphs import shrunk

    kind = told.split(":")[0]
    until = time.monotonic() + 60

    def fails(candidate: Any) -> bool:
        return time.monotonic() < until and wrong_with(candidate, how, limit).split(":")[0] == kind

    small = shrunk(graph, fails)
    told = wrong_with(small, how, limit) or told
    form = "loops" if limit < 0 else "straight lines"
    return SCRIPT.format(
        seed=seed, how=how, form=form, limit=limit, graph=small, told=told.strip().replace("\n", "\n# ")
    )


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
            graph, how, limit = drawn(seed)
            told = wrong_with(graph, how, limit)
            if told:
                tell(failed=seed, script=finding(seed, graph, how, limit, told))
        except Exception:  # noqa: BLE001
            tell(failed=seed, script=f"# seed {seed}: the graph cannot be drawn\n{traceback.format_exc()}")
        seed += chosen.jobs
    return 0


class Watch:
    """Starts the workers and tells what they tell."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen
        self.graphs = 0
        self.failures: list[int] = []
        self.lock = threading.Lock()
        self.start = time.monotonic()
        self.running: list[subprocess.Popen[str]] = []

    def run(self) -> int:
        threads = [threading.Thread(target=self._follow, args=(k,)) for k in range(self.chosen.jobs)]
        for thread in threads:
            thread.start()
        told = self.start
        try:
            while any(thread.is_alive() for thread in threads):
                time.sleep(0.5)
                if time.monotonic() - told >= 30:
                    told = time.monotonic()
                    self._say(self._state())
        except KeyboardInterrupt:
            self.failures += [-1]
        finally:
            for process in self.running:
                process.terminate()
        self._say(f"{self._state()}, done")
        return int(bool(self.failures))

    def _state(self) -> str:
        seconds = time.monotonic() - self.start
        rate = self.graphs / seconds
        return f"{seconds:6.0f} s  {self.graphs} graphs, {rate:.1f} a second, {len(self.failures)} failed"

    def _say(self, text: str) -> None:
        with self.lock:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def _follow(self, k: int) -> None:
        """One worker after the other: a new one where one died."""
        first = self.chosen.seed
        while (left := self.chosen.minutes - (time.monotonic() - self.start) / 60) > 0:
            command = [sys.executable, "-m", "tests.fuzz", "--worker", str(k), "--seed", str(first)]
            command += ["--jobs", str(self.chosen.jobs), "--minutes", str(left)]
            alone = {**os.environ, "BACKLIT_CACHE_DIR": "off"}
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=alone)
            self.running.append(process)
            assert process.stdout is not None
            last = first + k
            for text in process.stdout:
                what = json.loads(text)
                if "begun" in what:
                    last = what["begun"]
                    self.graphs += 1
                else:
                    self._failed(what["failed"], what["script"])
            if process.wait() == 0 or len(self.failures) >= self.chosen.most:
                return
            self._failed(last, f"# seed {last}: the process died, {process.returncode}\n")
            first = last + self.chosen.jobs - k

    def _failed(self, seed: int, script: str) -> None:
        self.failures.append(seed)
        self._say(f"{'-' * 100}\n{script}{'-' * 100}")
        if len(self.failures) >= self.chosen.most:
            for process in self.running:
                process.terminate()


if __name__ == "__main__":
    sys.exit(main())
