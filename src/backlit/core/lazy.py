"""Packages whose names are loaded when first used, so that importing one costs little."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(package: str, places: Mapping[str, str]) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """The `__all__`, `__getattr__` and `__dir__` of a package. places: for each of its modules the names found there.

    The modules themselves may be had by name, too, as after an import of each.
    """
    where = {name: module for module, names in places.items() for name in names.split()}
    own = vars(sys.modules[package])

    def get(name: str) -> Any:
        if name in where:
            found = getattr(import_module(f"{package}.{where[name]}"), name)
            own[name] = found
            return found
        if name in places:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return list(where), get, lambda: sorted({*own, *where, *places})
