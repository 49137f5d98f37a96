"""How a model or an optimizer was made, as plain JSON, and the same made again from it.

Only what Backlit itself defines is imported again, and only by its name: a file can never make other code run. What was
made by a class of the user's has no specification, and is passed by hand when a file is loaded.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

import backlit
from backlit.core import dtypes
from backlit.core.errors import BacklitError, DataError
from backlit.core.value import Value
from backlit.nn.module import Module
from backlit.ops.namespace import FUNCTIONS
from backlit.ops.random import Key

Json = Any

_OWN = re.compile(r"backlit\.(nn|optim|ops)(\.[a-z][a-z0-9_]*)*:[A-Za-z][A-Za-z0-9_]*")
_DEEPEST = 32


class _NoSpec(Exception):  # noqa: N818 -- never leaves this file
    """Something that plain JSON cannot say."""


def spec_of(thing: Any) -> Json | None:
    """How a module or an optimizer was made; None if JSON cannot say it.

    It is read from `made_by`, the arguments of the constructor: numbers, strings, keys, dtypes, functions and modules
    of Backlit, and lists, tuples and dicts of them. Values among the arguments, such as an optimizer's parameters, are
    left out: `made(spec, *first)` is given them.

    >>> from backlit.nn.module import Module
    >>> class Mine(Module):
    ...     pass
    >>> spec_of(Mine()) is None                  # not a class of Backlit's
    True
    """
    made_by = getattr(thing, "made_by", None)
    if made_by is None:
        return None
    args, kwargs = made_by
    if not isinstance(thing, Module):
        args = tuple(arg for arg in args if not _holds_values(arg))
        kwargs = {name: arg for name, arg in kwargs.items() if not _holds_values(arg)}
    try:
        return _call(type(thing), args, kwargs)
    except _NoSpec:
        return None


def _holds_values(thing: Any) -> bool:
    return isinstance(thing, Value) or (
        isinstance(thing, (list, tuple)) and bool(thing) and all(isinstance(part, Value) for part in thing)
    )


def _call(kind: type, args: Any, kwargs: Any) -> Json:
    return {
        "class": _place(kind),
        "args": [_plain(arg) for arg in args],
        "kwargs": {name: _plain(arg) for name, arg in kwargs.items()},
    }


def _place(thing: Any) -> str:
    """Where something of Backlit's is found again: module and name. Raises _NoSpec if it is not, by that name."""
    name = getattr(thing, "__qualname__", getattr(thing, "__name__", ""))
    for place in (f"{getattr(thing, '__module__', '')}:{name}", f"backlit:{name}"):
        try:
            if _found(place) is thing:
                return place
        except DataError:
            continue
    raise _NoSpec


def _found(place: Json) -> Any:
    """What stands at a place in Backlit. Raises DataError if there is nothing, or the place is not Backlit's."""
    if type(place) is str and place.startswith("backlit:") and place[8:] in FUNCTIONS:
        return getattr(backlit, place[8:])
    if type(place) is not str or not _OWN.fullmatch(place):
        raise DataError(f"{place!r:.80} is not the place of a part of Backlit's, and nothing else is imported.")
    module, name = place.split(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise DataError(f"this Backlit has no {place:.80}; use the version that wrote the file.") from error


def _plain(thing: Any) -> Json:
    if thing is None or type(thing) in (bool, str):
        return thing
    if type(thing) in (int, float):
        return thing if math.isfinite(thing) else {"float": repr(thing)}
    if isinstance(thing, np.generic):
        return _plain(thing.item())
    if isinstance(thing, (type, np.dtype)) and not (isinstance(thing, type) and issubclass(thing, Module)):
        try:
            return {"dtype": np.dtype(thing).name}
        except TypeError as error:
            raise _NoSpec from error
    if isinstance(thing, Key):
        return {"key": list(thing.words)}
    if isinstance(thing, Module) or (hasattr(thing, "made_by") and not isinstance(thing, type)):
        return _call(type(thing), *thing.made_by)
    if type(thing) is list:
        return [_plain(part) for part in thing]
    if type(thing) is tuple:
        return {"tuple": [_plain(part) for part in thing]}
    if type(thing) is dict and all(type(name) is str for name in thing):
        return {"dict": {name: _plain(part) for name, part in thing.items()}}
    if isinstance(thing, Value) or not callable(thing):
        raise _NoSpec
    return {"name": _place(thing)}


def made(spec: Json, kind: type, *first: Any) -> Any:
    """The module or optimizer of a specification, made again; `first` goes before its other arguments.

    Raises DataError if it is none, if it is not a `kind`, or if this version of Backlit makes it otherwise.
    """
    return _made(spec, kind, first, 0)


def _made(spec: Json, kind: type, first: tuple[Any, ...], depth: int) -> Any:
    if type(spec) is not dict or spec.keys() != {"class", "args", "kwargs"}:
        raise DataError(f"{spec!r:.80} does not say how to make a {kind.__name__}.")
    if type(spec["args"]) is not list or type(spec["kwargs"]) is not dict:
        raise DataError(f"{spec!r:.80} does not say with which arguments.")
    found = _found(spec["class"])
    if not isinstance(found, type) or not (issubclass(found, kind) or hasattr(found, "made_by")):
        raise DataError(f"{spec['class']} is not a {kind.__name__}.")
    args = [_thing(arg, depth + 1) for arg in spec["args"]]
    kwargs = {name: _thing(arg, depth + 1) for name, arg in spec["kwargs"].items()}
    try:
        return found(*first, *args, **kwargs)
    except (BacklitError, TypeError, ValueError, MemoryError, OverflowError) as error:
        raise DataError(f"{spec['class']} cannot be made with the arguments that are written down: {error}") from error


def _thing(plain: Json, depth: int) -> Any:
    if depth > _DEEPEST:
        raise DataError("the arguments are nested too deeply.")
    if type(plain) is list:
        return [_thing(part, depth + 1) for part in plain]
    if type(plain) is not dict:
        return plain
    if "class" in plain:
        return _made(plain, object, (), depth)
    match plain:
        case {"float": "inf" | "-inf" | "nan" as word}:
            return float(word)
        case {"dtype": str(word)} if word in {dtype.name for dtype in map(np.dtype, dtypes.STORED)}:
            return np.dtype(word)
        case {"key": [int(high), int(low)]}:
            return Key(high, low)
        case {"tuple": [*parts]}:
            return tuple(_thing(part, depth + 1) for part in parts)
        case {"dict": dict(parts)}:
            return {name: _thing(part, depth + 1) for name, part in parts.items()}
        case {"name": str(place)}:
            return _found(place)
    raise DataError(f"{plain!r:.80} is no argument that Backlit writes down.")


def fingerprint(*arrays: Any) -> str:
    """SHA-256 of arrays with their dtypes and shapes: equal data have equal ones.

    >>> fingerprint(np.ones(2)) == fingerprint(np.ones((2, 1)))
    False
    """
    found = hashlib.sha256()
    for array in map(np.asarray, arrays):
        found.update(f"{array.dtype.name}{list(array.shape)}\n".encode())
        found.update(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes())
    return found.hexdigest()


def differences(then: Mapping[str, Json], now: Mapping[str, Json]) -> list[str]:
    """What differs between two settings, one sentence for each: "batch_size was 32 and is 64".

    >>> differences({"lr": 0.1, "seed": 0}, {"lr": 0.2, "seed": 0})
    ['lr was 0.1 and is 0.2']
    """
    nothing = object()
    return [
        f"{key} was {_said(then.get(key, nothing), nothing)} and is {_said(now.get(key, nothing), nothing)}"
        for key in sorted({*then, *now})
        if then.get(key, nothing) != now.get(key, nothing)
    ]


def _said(setting: Json, nothing: object) -> str:
    return "not given" if setting is nothing else f"{setting!r:.300}"
