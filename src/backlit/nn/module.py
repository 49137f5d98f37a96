"""A module: a plain Python object that holds parameters, in its attributes or in containers of them."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Set
from reprlib import recursive_repr
from typing import Any, TypeVar

import numpy as np

import backlit.autodiff.reverse  # gives values their backward()
import backlit.ops.face  # noqa: F401  gives values their operators
from backlit.core.dtypes import as_dtype
from backlit.core.errors import DomainError, DtypeError, GraphError, ShapeError
from backlit.core.site import IS_LIBRARY
from backlit.core.state import call_scope, tracing
from backlit.core.stored import fitting
from backlit.core.value import Buffer, Parameter, Value, describe
from backlit.ops.casting import ASTYPE
from backlit.ops.creation import asarray
from backlit.ops.functions import apply

M = TypeVar("M", bound="Module")
Named = tuple[str, Any]


class Module:
    """A part of a network: it holds parameters and says in `forward` what it computes.

    Parameters are found wherever they stand: in attributes, in lists, tuples, dicts and dataclasses, and in other
    modules. A class needs nothing but `__init__` (or `@dataclass`) and `forward`. Calling the module calls `forward`,
    and puts what it computes under the module's name. A module is also a tree of its parameters: `grad(f)(model)` is
    shaped like the model.

    >>> class Line(Module):
    ...     def __init__(self):
    ...         self.slope, self.offset = Parameter(2.0), Parameter(-1.0)
    ...     def forward(self, x):
    ...         return self.slope * x + self.offset
    >>> line = Line()
    >>> line(3.0).data, [name for name, _ in line.named_parameters()]
    (5.0, ['slope', 'offset'])
    """

    training: bool
    made_by: tuple[tuple[Any, ...], dict[str, Any]]
    """The arguments of the constructor, from which a module like it can be made again."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        module = super().__new__(cls)
        vars(module).update(training=True, made_by=(args, kwargs), _named=False, _like=None, _path="", _steps=False)
        return module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; each kind of module says it."""
        raise GraphError(f"{type(self).__name__} has no forward(): write one, and call the module itself.")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._named:
            self._name_all()
        if (trace := tracing()) is not None:
            trace.saw(self, "training")
        with call_scope(type(self).__name__, self._path, self._steps):
            return self.forward(*args, **kwargs)

    _named: bool
    _path: str  # where it stands in the module that it is a part of; empty for one by itself
    _steps: bool  # whether an explanation tells the steps inside: those of other modules, or of the user's own code
    _like: Module | None  # for a tree of something else in place of parameters: the module that it is shaped like

    def _name_all(self) -> None:
        """Let variables be called by where they stand in this module: those without a name, and those that have the
        end of that path for a name, as when a part was called by itself before.
        """
        for path, variable, thing in _places_in(self):
            if thing is variable and (variable.name is None or path.endswith(f".{variable.name}")):
                variable.name = path
        for path, module in self.named_modules():
            if not module._path or path.endswith(f".{module._path}"):
                vars(module)["_path"] = path
            vars(module).update(_named=True, _steps=_has_steps(module))

    # -- what it holds ------------------------------------------------------------------------------------------

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Path and parameter, such as `layers.0.weight`, in order of assignment; a shared one once.

        For a gradient, and within a function that is being differentiated by the model: what stands in its place.
        """
        return ((path, thing) for path, variable, thing in _places_in(self) if not isinstance(variable, Buffer))

    def parameters(self) -> list[Parameter]:
        """All parameters, as optimizers take them."""
        return [value for _, value in self.named_parameters()]

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Path and buffer: what training changes, but no gradient."""
        return ((path, value) for path, value in variables_in(self) if isinstance(value, Buffer))

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Path and module, this one first (its path is the empty string)."""
        seen: set[int] = set()
        stack: list[Named] = [("", self)]
        while stack:
            path, thing = stack.pop()
            if isinstance(thing, Value) or id(thing) in seen:
                continue
            seen.add(id(thing))
            if isinstance(thing, Module):
                yield path, thing
            stack.extend(reversed(_parts(path, thing, but=_PLAIN)))

    def modules(self) -> list[Module]:
        """This module and all modules in it."""
        return [module for _, module in self.named_modules()]

    # -- what state it is in ------------------------------------------------------------------------------------

    def train(self: M, on: bool = True) -> M:
        """Behave as in training: `Dropout` drops, `BatchNorm` uses the batch. Returns the module."""
        for _, module in self.named_modules():
            vars(module)["training"] = on  # for frozen dataclasses, too
        return self

    def eval(self: M) -> M:
        """Behave as in use: nothing is dropped, running statistics are used. Returns the module."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for _, parameter in self.named_parameters():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """Path to a copy of the numbers, for every parameter and buffer."""
        return {path: np.array(value.data, value.dtype) for path, value in variables_in(self)}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Take the numbers over. Raises DataError, and changes nothing, if names (when strict) or shapes differ."""
        own = dict(variables_in(self))
        taken = fitting(
            "load_state_dict", own, state, holder=type(self).__name__, partly=not strict, cast=True,
            cure="Build the model as it was when it was saved, or pass strict=False to take what fits by name.",
        )  # fmt: skip
        for path, array in taken.items():
            own[path].data = np.array(array)

    # -- as a tree ----------------------------------------------------------------------------------------------

    def __backlit_flatten__(self) -> tuple[list[Named], Callable[[list[Any]], Any]]:
        places = [place for place in _places_in(self) if not isinstance(place[1], Buffer)]

        def build(new: list[Any]) -> Any:
            leaves = {id(variable): leaf for (_, variable, _), leaf in zip(places, new, strict=True)}
            return _replaced(_form_of(self), self, leaves, {})

        return [(f".{path}", thing) for path, _, thing in places], build

    def settings(self) -> str:
        """What stands between the brackets of its repr: the arguments it was made with that are not the defaults.

        Keys, dtypes and initial numbers are left out, and modules, which are shown as parts. A class of yours may say
        something else, such as what was chosen for it since.
        """
        args, kwargs = self.made_by
        try:
            bound = inspect.signature(type(self).__init__).bind(None, *args, **kwargs)
        except (TypeError, ValueError):  # made by other means
            return ""
        told = []
        for name, parameter in list(bound.signature.parameters.items())[1:]:
            if name not in bound.arguments or name in _UNSAID:
                continue
            value = bound.arguments[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                told += [text for text in map(_told, value) if text]
            elif parameter.kind is parameter.VAR_KEYWORD:
                told += [f"{key}={text}" for key, each in value.items() if (text := _told(each))]
            elif (text := _told(value)) and (parameter.default is parameter.empty or text != _told(parameter.default)):
                told.append(text if parameter.default is parameter.empty else f"{name}={text}")
        return ", ".join(told)

    @recursive_repr()
    def __repr__(self) -> str:
        return _described(self)


def as_input(x: Any, dtype: Any) -> Value:
    """What a layer is given, as a value of the dtype of its parameters.

    So a float32 layer computes in float32 whatever it is fed, integers and float64 data among them, in eager mode as
    when compiled. Numbers, lists (of values, too) and arrays become values; a gradient flows back through the cast.
    Raises DtypeError for complex numbers and for what is no array.
    """
    if not isinstance(x, Value):
        return asarray(x, dtype=dtype)
    if x.dtype == dtype:
        return x
    if x.dtype.kind == "c":
        raise DtypeError(f"{describe(x)} is complex, and the layer is real; give it the real and imaginary parts.")
    return apply(ASTYPE, x, dtype=as_dtype(dtype))


def check_last_axis(x: Value, n: int, layer: Module) -> None:
    """Raise ShapeError unless the last axis of an input has length `n`."""
    if not x.ndim or x.shape[-1] != n:
        hint = ""
        if n == 1:
            hint = " For single numbers, write x[..., None]."
        elif x.ndim > 2 and n == math.prod(x.shape[1:]):
            hint = " Flatten() before it makes one axis of all but the first."
        elif x.ndim > 1 and x.shape[0] == n:
            hint = " The first axis has: examples go first, features last; perhaps x.T is meant."
        raise ShapeError(
            f"{type(layer).__name__}({layer.settings()}) takes inputs whose last axis has length {n}, "
            f"and was given {describe(x)}, of shape {x.shape}.{hint}"
        )


def count_of(number: Any, name: str) -> int:
    """A number of units, rows or heads. Raises DomainError unless it is a whole number from 1 up."""
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
        raise DomainError(f"{name}={number!r}; it is a whole number from 1 up.")
    return int(number)


_VERBATIM = ("made_by", "_like")
"""Attributes of a module that say something about it, and hold no part of it."""
_SETTINGS: Set[type] = frozenset({bool, int, float, str, type(None)})
_PLAIN: Set[type] = _SETTINGS | {Value, Parameter, Buffer}
"""What holds nothing; most of what a walk over a module meets."""


def _parts(path: str, thing: Any, but: Set[type] = frozenset()) -> list[Named]:
    """What a module or a container directly holds, with paths, but for what is of these types."""
    if type(thing) in _PLAIN:
        return []
    if isinstance(thing, dict):
        items: Any = thing.items()
    elif isinstance(thing, (list, tuple)):
        items = enumerate(thing)
    elif isinstance(thing, Module) or (dataclasses.is_dataclass(thing) and not isinstance(thing, type)):
        items = ((name, part) for name, part in vars(thing).items() if name not in _VERBATIM)
    else:
        return []
    return [(f"{path}.{name}" if path else str(name), part) for name, part in items if type(part) not in but]


def variables_in(module: Module) -> Iterator[Named]:
    """Every parameter and buffer once, with its path; in a tree shaped like a module, what stands in their place."""
    return ((path, thing) for path, _, thing in _places_in(module))


def _places_in(module: Module) -> Iterator[tuple[str, Value, Any]]:
    """Path, variable, and what stands there.

    A tree shaped like a module (a gradient, or the model within a function that is being differentiated) has other
    things where the module has its variables. They are found by walking the module that it is shaped like beside it.
    """
    seen: set[int] = set()
    stack: list[tuple[str, Any, Any]] = [("", _form_of(module), module)]
    while stack:
        path, form, thing = stack.pop()
        if id(form) in seen:
            continue
        seen.add(id(form))
        if isinstance(form, (Parameter, Buffer)):
            yield path, form, thing
        elif not isinstance(form, Value):
            parts = _parts(path, form, but=_SETTINGS)
            if thing is form:
                stack.extend([(name, part, part) for name, part in reversed(parts)])
            else:
                own = dict(_parts(path, thing))
                stack.extend([(name, part, own[name]) for name, part in reversed(parts) if name in own])


def _form_of(module: Module) -> Module:
    """The module of parameters that a tree is shaped like: for a module that holds its own, itself."""
    return module if module._like is None else module._like


def _replaced(form: Any, thing: Any, new: Mapping[int, Any], made: dict[int, Any]) -> Any:
    """A copy of `thing` with new leaves, by the identity of the variable that stands at their place in its form.

    What is no container is shared with the original. made: the copies of modules so far, for those held twice.
    """
    if id(form) in new:
        return new[id(form)]
    if id(form) in made:
        return made[id(form)]
    is_object = isinstance(thing, Module) or (dataclasses.is_dataclass(thing) and not isinstance(thing, type))
    if not is_object and not isinstance(thing, (dict, list, tuple)):
        return thing
    forms = dict(_parts("", form))

    def part_of(name: Any, part: Any) -> Any:
        return _replaced(forms.get(str(name), part), part, new, made)

    if isinstance(thing, dict):
        return type(thing)((name, part_of(name, part)) for name, part in thing.items())
    if not is_object:
        parts = (part_of(i, part) for i, part in enumerate(thing))
        return type(thing)(*parts) if hasattr(thing, "_fields") else type(thing)(parts)
    twin = made[id(form)] = object.__new__(type(thing))
    vars(twin).update((n, part if n in _VERBATIM else part_of(n, part)) for n, part in vars(thing).items())
    if isinstance(thing, Module):
        vars(twin)["_like"] = _form_of(thing)
    return twin


def _described(module: Module) -> str:
    """The module with the settings it was made with, and what it holds below it, indented."""
    name, settings = type(module).__name__, module.settings()
    lines = [f"  {path}: " + repr(part).replace("\n", "\n  ") for path, part in _submodules(module)]
    if not lines:
        return f"{name}({settings})"
    return "\n".join([f"{name}({settings}):" if settings else f"{name}:", *lines])


_UNSAID = ("init", "key", "dtype")
"""Arguments that a repr leaves out: they say how it was made and not what it does."""


def _told(value: Any) -> str | None:
    """An argument as a repr shows it; None where it would say too much, or is shown as a part."""
    if isinstance(value, (Module, Value, np.ndarray)):
        return None
    if isinstance(value, (list, tuple, dict)):
        inside = value.values() if isinstance(value, dict) else value
        return None if any(_told(each) is None for each in inside) else _brief(repr(value))
    if callable(value):
        return _brief(getattr(value, "__name__", type(value).__name__))
    return _brief(repr(value))


def _brief(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _has_steps(module: Module) -> bool:
    """Whether it is made of modules, or is of a class that the user wrote."""
    code = getattr(type(module).forward, "__code__", None)
    return (code is not None and not IS_LIBRARY[code.co_filename]) or next(_submodules(module), None) is not None


def _submodules(module: Module) -> Iterator[tuple[str, Module]]:
    """The modules directly in it, be it in a container."""
    stack = _parts("", module, but=_PLAIN)[::-1]
    while stack:
        path, part = stack.pop()
        if isinstance(part, Module):
            yield path, part
        elif not isinstance(part, Value):
            stack.extend(reversed(_parts(path, part, but=_PLAIN)))
