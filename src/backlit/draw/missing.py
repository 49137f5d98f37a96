"""Packages that are not needed until something is plotted, and what to say if they are not there."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def matplotlib(what: str) -> Callable[[str], Any]:
    """A way to get the modules of matplotlib by name. Raises ImportError that says how to install it."""
    try:
        import_module("matplotlib")
    except ImportError as error:
        raise ImportError(
            f'{what} is painted by matplotlib, which is not installed. Run: pip install "backlit[plot]". '
            "Without it, .save() writes .svg, .html, .dot, .mermaid and .txt."
        ) from error

    def module(name: str) -> Any:
        return import_module(f"matplotlib.{name}")

    return module
