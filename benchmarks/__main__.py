"""Run the benchmarks: `python -m benchmarks [NAME ...]`."""

from __future__ import annotations

import argparse
from importlib import import_module

NAMES = ("gemm", "engine", "explain")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time Backlit and its peers side by side. Peers that are not installed are left out, and named.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run: {', '.join(NAMES)} (default: all)")
    chosen = parser.parse_args().names or list(NAMES)
    for name in chosen:
        if name not in NAMES:
            parser.error(f"there is no benchmark {name!r}; choose from {', '.join(NAMES)}")
    for name in chosen:
        import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
