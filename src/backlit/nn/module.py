"""A module: a plain Python object that holds parameters, in its attributes or in containers of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

import backlit.autodiff.reverse  # gives values their backward()
import backlit.ops.face  # noqa: F401  gives values their operators
from backlit.core.errors import DataError, GraphError
from backlit.core.state import scope
from backlit.core.value import Buffer, Parameter, Value

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
        vars(module).update(training=True, made_by=(args, kwargs), _named=False)
        return module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; each kind of module says it."""
        raise GraphError(f"{type(self).__name__} has no forward(): write one, and call the module itself.")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._named:
            self._name_all()
        with scope(type(self).__name__):
            return self.forward(*args, **kwargs)

    _named: bool

    def _name_all(self) -> None:
        """Let parameters without a name be called by where they stand in this module."""
        for path, value in _variables_in(self):
            if value.name is None:
                value.name = path
        for _, module in self.named_modules():
            module._named = True

    # -- what it holds ------------------------------------------------------------------------------------------

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Path and parameter, such as `layers.0.weight`, in order of assignment; a shared one once."""
        return ((path, value) for path, value in _variables_in(self) if isinstance(value, Parameter))

    def parameters(self) -> list[Parameter]:
        """All parameters, as optimizers take them."""
        return [value for _, value in self.named_parameters()]

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Path and buffer: what training changes, but no gradient."""
        return ((path, value) for path, value in _variables_in(self) if isinstance(value, Buffer))

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
            stack.extend(reversed(list(_parts(path, thing))))

    def modules(self) -> list[Module]:
        """This module and all modules in it."""
        return [module for _, module in self.named_modules()]

    # -- what state it is in ------------------------------------------------------------------------------------

    def train(self: M, on: bool = True) -> M:
        """Behave as in training: `Dropout` drops, `BatchNorm` uses the batch. Returns the module."""
        for _, module in self.named_modules():
            module.training = on
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
        return {path: np.array(value.data, value.dtype) for path, value in _variables_in(self)}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Take the numbers over. Raises DataError, and changes nothing, if names (when strict) or shapes differ."""
        own = dict(_variables_in(self))
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if strict and (missing or unknown):
            found = (("lacks", missing), ("also has", unknown))
            parts = [f"{what} {', '.join(names)}" for what, names in found if names]
            raise DataError(
                f"load_state_dict: the state {' and '.join(parts)}, compared with this {type(self).__name__}. "
                "Build the model as it was when it was saved, or pass strict=False to take what fits by name."
            )
        taken = {path: np.asarray(state[path]) for path in own if path in state}
        for path, array in taken.items():
            if array.shape != own[path].shape:
                raise DataError(
                    f"load_state_dict: {path} has shape {own[path].shape} here, and {array.shape} in the state."
                )
        for path, array in taken.items():
            own[path].data = array

    # -- as a tree ----------------------------------------------------------------------------------------------

    def __backlit_flatten__(self) -> tuple[list[Named], Callable[[list[Any]], Any]]:
        named = list(self.named_parameters())

        def build(new: list[Any]) -> Any:
            return _replaced(self, {id(old): value for (_, old), value in zip(named, new, strict=True)})

        return [(f".{path}", parameter) for path, parameter in named], build

    def __repr__(self) -> str:
        return _described(self)


def _parts(path: str, thing: Any) -> Iterator[Named]:
    """What a module or a container directly holds, with paths."""
    if isinstance(thing, dict):
        items: Any = thing.items()
    elif isinstance(thing, (list, tuple)):
        items = enumerate(thing)
    elif isinstance(thing, Module) or (dataclasses.is_dataclass(thing) and not isinstance(thing, type)):
        items = ((name, part) for name, part in vars(thing).items() if name != "made_by")
    else:
        return
    for name, part in items:
        yield f"{path}.{name}" if path else str(name), part


def _variables_in(module: Module) -> Iterator[tuple[str, Value]]:
    """Every parameter and buffer once, with its path."""
    seen: set[int] = set()
    stack: list[Named] = [("", module)]
    while stack:
        path, thing = stack.pop()
        if id(thing) in seen:
            continue
        if isinstance(thing, (Parameter, Buffer)):
            seen.add(id(thing))
            yield path, thing
        elif isinstance(thing, (Module, dict, list, tuple)) or dataclasses.is_dataclass(thing):
            seen.add(id(thing))
            stack.extend(reversed(list(_parts(path, thing))))


def _replaced(thing: Any, new: Mapping[int, Any]) -> Any:
    """A copy in which parameters are replaced, by identity; what holds none is shared with the original."""
    if id(thing) in new:
        return new[id(thing)]
    if isinstance(thing, dict):
        return type(thing)((name, _replaced(part, new)) for name, part in thing.items())
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        return type(thing)(*(_replaced(part, new) for part in thing))
    if isinstance(thing, (list, tuple)):
        return type(thing)(_replaced(part, new) for part in thing)
    if isinstance(thing, Module) or (dataclasses.is_dataclass(thing) and not isinstance(thing, type)):
        twin = object.__new__(type(thing))
        vars(twin).update(
            (name, part if name == "made_by" else _replaced(part, new)) for name, part in vars(thing).items()
        )
        return twin
    return thing


def _described(module: Module) -> str:
    """The module with its settings, and what it holds below it, indented."""
    settings = ", ".join(
        f"{name}={value!r}"
        for name, value in vars(module).items()
        if isinstance(value, (int, float, str)) and name != "training" and not name.startswith("_")
    )
    inner = [(name, part) for name, part in _submodules(module)]
    if not inner:
        return f"{type(module).__name__}({settings})"
    lines = [f"  ({name}) " + repr(part).replace("\n", "\n  ") for name, part in inner]
    return f"{type(module).__name__}({settings}\n" + "\n".join(lines) + "\n)"


def _submodules(module: Module) -> Iterator[tuple[str, Module]]:
    """The modules directly in it, be it in a container."""
    stack = list(reversed(list(_parts("", module))))
    while stack:
        path, part = stack.pop()
        if isinstance(part, Module):
            yield path, part
        elif not isinstance(part, Value):
            stack.extend(reversed(list(_parts(path, part))))
