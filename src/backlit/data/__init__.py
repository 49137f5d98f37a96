"""Data to learn from: generated sets, shipped sets, tables from files and frames; batches, splits and scales of them.

Everything random is a pure function of a seed or key. Nothing is fetched from anywhere.
"""

from importlib import import_module
from typing import Any

_PLACES = {
    "dataset": "Dataset",
    "accepting": "as_dataset",
    "batching": "Batches batches batch_indices",
    "splitting": "split",
    "scaling": "Standardiser standardise",
    "tables": "load_csv",
    "frames": "from_frame",
    "logic": "xor and_ or_",
    "shapes": "moons circles spirals blobs",
    "regression": "curves",
    "digits": "Digits load_digits",
    "scaled_digits": "handwritten_digits",
    "characters": "Alphabet alphabet_of next_character windows",
    "invented": "names sentences",
}
_WHERE = {name: module for module, names in _PLACES.items() for name in names.split()}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    """Names are loaded when first used."""
    if name not in _WHERE:
        raise AttributeError(f"module 'backlit.data' has no attribute {name!r}")
    found = getattr(import_module(f"backlit.data.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
