"""Backlit: backpropagation, illuminated.

Write ordinary Python mathematics on values; Backlit records it as a graph, differentiates it, and can say of every
number in every gradient where it came from.

>>> import backlit as bl
>>> a, b, c, d = bl.values(a=2.0, b=-3.0, c=10.0, d=-2.0)
>>> out = (a * b + c) * d
>>> out.backward()
>>> out.data, a.grad, b.grad, c.grad, d.grad
(-8.0, 6.0, -4.0, -2.0, 4.0)
"""

from importlib import import_module
from typing import Any

from backlit.ops.namespace import FUNCTIONS

__version__ = "0.1.0"
__array_api_version__ = "2024.12"


def _from(module: str, names: str) -> dict[str, tuple[str, str]]:
    return {name: (f"backlit.{module}", name) for name in names.split()}


_LAZY: dict[str, tuple[str, str]] = {
    **_from("ops.face", "Value Parameter Buffer values no_grad scope"),
    **FUNCTIONS,
    **_from("autodiff.transforms", "grad value_and_grad vjp jvp linearize jacobian hessian hvp"),
    **_from("autodiff.numerical", "numerical_grad"),
    **_from("autodiff.check", "check CheckReport"),
    **_from("autodiff.verify", "check_op"),
    **_from("autodiff.nonfinite", "trace_nonfinite"),
    **_from("autodiff.custom", "custom_derivative"),
    **_from("compiler.compile", "compile repeat debug_print"),
    **_from("compiler.team", "threads"),
    **_from("compiler.control", "scan fori_loop while_loop cond"),
    **_from("data.batching", "batches"),
    **_from("data.tables", "load_csv"),
    **_from("data.frames", "from_frame"),
    **_from("data.digits", "load_digits"),
    **_from("data.dataset", "Dataset"),
    **_from("data.scaling", "standardise"),
    **_from("training.fit", "fit"),
    **_from("training.run", "Run"),
    **_from("training.callbacks", "EarlyStopping StopTraining"),
    **_from("training.clipping", "Clip clip_gradients"),
    **_from("training.estimators", "BacklitClassifier BacklitRegressor"),
    **_from("training.checkpoint", "Checkpointer Checkpoint load_checkpoint save_checkpoint"),
    **_from("training.recording", "Recorder"),
    **_from("training.replay", "load_run RecordedRun"),
    **_from("training.compare", "compare"),
    **_from("explain.why", "why"),
    **_from("explain.paths", "paths"),
    **_from("explain.health", "health"),
    **_from("explain.derive", "derive"),
    **_from("explain.certificate", "certificate"),
    **_from("explain.by_hand", "by_hand"),
    **_from("draw.drawing", "draw draw_text"),
    **_from("draw.network", "draw_network"),
    **_from("draw.plots", "plot_loss plot_gradient_flow"),
    **_from("draw.surfaces", "plot_decision_boundary plot_loss_landscape"),
    **_from(
        "core.dtypes",
        "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128",
    ),
    **_from(
        "core.errors",
        "BacklitError ShapeError DtypeError DomainError IndexingError GraphError ConversionError TracedValueError "
        "NonFiniteError ExpressionError DataError BacklitWarning BroadcastWarning StaleGradientWarning "
        "NonFiniteWarning",
    ),
}
_CONSTANTS = {
    "pi": 3.141592653589793,
    "e": 2.718281828459045,
    "inf": float("inf"),
    "nan": float("nan"),
    "newaxis": None,
}
_MODULES = {"random": "backlit.ops.random", "nn": "backlit.nn", "optim": "backlit.optim", "data": "backlit.data"}

__all__ = [*_LAZY, *_CONSTANTS, *_MODULES]


def __getattr__(name: str) -> Any:
    """Names are loaded when first used, so that importing Backlit costs little."""
    if name in _CONSTANTS:
        found: Any = _CONSTANTS[name]
    elif name in _LAZY or name in _MODULES:
        _complete()
        if name in _LAZY:
            module, attribute = _LAZY[name]
            found = getattr(import_module(module), attribute)
        else:
            found = import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'backlit' has no attribute {name!r}")
    globals()[name] = found
    return found


def _complete() -> None:
    """See that values have their operators and methods, and a `backward()`, which loads autodiff when first called."""
    value = import_module("backlit.ops.face").Value
    if "backward" not in vars(value):
        value.backward = _backward


def _backward(self: Any, seed: Any = None) -> None:
    import_module("backlit.autodiff.reverse").backward(self, seed)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
