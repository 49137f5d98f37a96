"""The XOR net in C, made by the C compiler of this machine; nothing, where there is none."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compiled_peers.problems import Array, Problem, Run

NAME = "C by hand"
FAST = "-fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math -freciprocal-math -ffinite-math-only"
FLAGS = ("-O3", "-march=native", *FAST.split(), "-shared", "-fPIC")
"""All that -ffast-math means, but for what it does on loading: it would switch off subnormal numbers for us all."""


@cache
def library() -> Any:
    """The compiled file, or None."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    source = Path(__file__).with_name("by_hand.c")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "by_hand.so"
        done = subprocess.run(
            [compiler, *FLAGS, str(source), "-o", str(made), "-lm"], check=False, capture_output=True, text=True
        )
        if done.returncode:
            print(f"  (C left out: {compiler} says {done.stderr.strip().splitlines()[-1:]})")
            return None
        found = ctypes.CDLL(str(made))
    for function in (found.xor_train, found.nudge_train, found.through):
        function.restype = ctypes.c_double
    return found


def _nine(problem: Problem) -> Array:
    return np.concatenate([np.ravel(x) for x in problem.start.values()])


def contestants(problem: Problem) -> dict[str, Run]:
    """By name."""
    if problem.name not in ("xor", "nudge", "through") or library() is None:
        return {}
    rate = ctypes.c_double(problem.rate)

    def train(n: int) -> list[Array]:
        theta = _nine(problem)
        call = library().xor_train if problem.name == "xor" else library().nudge_train
        loss = np.asarray(call(theta.ctypes.data_as(ctypes.c_void_p), ctypes.c_long(n), rate))
        if problem.name == "nudge":
            return [loss, theta]
        return [loss, theta[:4].reshape(2, 2), theta[4:6], theta[6:8], theta[8]]

    def through(n: int) -> list[Array]:
        theta, slope, loss = _nine(problem), ctypes.c_double(), 0.0
        for _ in range(n):
            loss = library().through(
                theta.ctypes.data_as(ctypes.c_void_p), ctypes.c_long(problem.steps), rate, ctypes.byref(slope)
            )
        return [np.asarray(loss), np.asarray(slope.value)]

    if problem.name == "through":
        return {"C, dual numbers": through}
    return {NAME: train}
