"""Run the benchmarks: `python -m benchmarks [NAME ...] [options of the one that is named]`."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

NAMES = ("gemm", "engine", "explain", "compiled")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time Backlit and its peers side by side. Peers that are not installed are left out, and named.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run: {', '.join(NAMES)} (default: all)")
    parser.epilog = "Options after the name of `compiled` are its own: `python -m benchmarks compiled --help`."
    given = sys.argv[1:]
    if given[:1] == ["compiled"]:  # it alone has options
        import_module("benchmarks.compiled").main(given[1:])
        return
    chosen = parser.parse_args(given).names or list(NAMES)
    for name in chosen:
        if name not in NAMES:
            parser.error(f"there is no benchmark {name!r}; choose from {', '.join(NAMES)}")
    for name in chosen:
        import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
