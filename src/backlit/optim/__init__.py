"""How a network's numbers are changed: optimizers as pure functions and as objects, their parts, and schedules."""

from importlib import import_module
from typing import Any

_PLACES = {
    "rule": "Rule Optimizer",
    "sgd": "sgd SGD",
}
_WHERE = {name: module for module, names in _PLACES.items() for name in names.split()}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    """Names are loaded when first used."""
    if name not in _WHERE:
        raise AttributeError(f"module 'backlit.optim' has no attribute {name!r}")
    found = getattr(import_module(f"backlit.optim.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
