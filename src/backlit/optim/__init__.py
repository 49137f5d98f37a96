"""How a network's numbers are changed: optimizers as pure functions and as objects, their parts, and schedules."""

from importlib import import_module
from typing import Any

_PLACES = {
    "rule": "Rule Optimizer",
    "parts": "chain clip_by_value clip_by_norm global_norm add_weight_decay scale_by_schedule ema",
    "moves": "Move",
    "optimizers.adam": "adam Adam",
    "optimizers.adamw": "adamw AdamW",
    "optimizers.nadam": "nadam NAdam",
    "optimizers.adagrad": "adagrad Adagrad",
    "optimizers.rmsprop": "rmsprop RMSprop",
    "optimizers.adadelta": "adadelta Adadelta",
    "optimizers.lion": "lion Lion",
    "optimizers.adafactor": "adafactor Adafactor",
    "optimizers.lbfgs": "lbfgs LBFGS",
    "least_squares": "gauss_newton levenberg_marquardt GaussNewton LevenbergMarquardt Fitted",
    "line_search": "strong_wolfe",
    "schedules": "constant step exponential cosine one_cycle warm_up piecewise ReduceOnPlateau",
    "optimizers.sgd": "sgd SGD",
}
_WHERE = {name: module for module, names in _PLACES.items() for name in names.split()}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    """Names are loaded when first used."""
    if name == "schedules":
        return import_module("backlit.optim.schedules")
    if name not in _WHERE:
        raise AttributeError(f"module 'backlit.optim' has no attribute {name!r}")
    found = getattr(import_module(f"backlit.optim.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
