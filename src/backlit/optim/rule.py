"""What an optimizer is: a pair of pure functions, and the object with `step()` that keeps their state for a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

import backlit.autodiff.reverse  # gives values their backward()
import backlit.ops.face  # noqa: F401  gives values their operators
from backlit.core.errors import DomainError, GraphError
from backlit.core.numbers import dtype_of, enter_quiet, leave_quiet, quietly, shape_of
from backlit.core.state import no_grad, tracing
from backlit.core.stored import fitting
from backlit.core.trees import Rebuild, children_of, flatten, paths
from backlit.core.value import Buffer, Value, assign, current, describe, gradient_of, numbers_of
from backlit.ops.casting import ASTYPE
from backlit.ops.creation import zeros_like
from backlit.ops.powers import SQRT
from backlit.optim.moves import Move, told_move
from backlit.optim.telling import Seen, Told

Tree = Any
Schedule = Callable[[Any], Any]
"""From the number of updates made so far (0 at the first) to a learning rate; written in ops, so that it compiles."""


class Rule(NamedTuple):
    """An optimizer as two pure functions of trees.

    init: `init(params) -> state`. update: `update(grads, state, params) -> (updates, state)`; the updates are what is
    *added* to the parameters. Both run on plain numbers and arrays, and on values: then the step itself is graph, which
    can be differentiated, explained and compiled. A gradient of None leaves its parameter and its memory as they are;
    the count of steps is one for all parameters, so that a bias correction by it counts the steps left out, too
    (PyTorch counts for each parameter).

    tell: says of one element how its update came about; `rate`: the learning rate at a step, where the rule has one.

    >>> halfway = Rule(lambda params: None, lambda grads, state, params: ([-0.5 * g for g in grads], state))
    >>> halfway.update([2.0], halfway.init([1.0]), [1.0])
    ([-1.0], None)
    """

    init: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]
    tell: Callable[[Seen], Told] | None = None
    rate: Schedule | None = None


class Rate:
    """The learning rate that an `Optimizer` hands to the function that makes its rule.

    It is a schedule, `lr(step)`; and in arithmetic the rate of the step that is being made, so that `-lr * g` will do.
    steps: how many updates were made so far.

    >>> from backlit.core.value import Value
    >>> w = Value([2.0, 4.0])
    >>> plain = lambda lr: Rule(lambda params: None, lambda gs, state, params: ([-lr * g for g in gs], state))
    >>> optimizer = Optimizer([w], plain, lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([0., 0.])
    """

    __array_ufunc__ = None  # so that `g * lr` with an array asks __rmul__

    def __init__(self, schedule: Schedule, steps: Buffer) -> None:
        self._schedule, self._steps = schedule, steps

    def __call__(self, step: Any) -> Any:
        return self._schedule(step)

    def __repr__(self) -> str:
        return f"<learning rate; of a step: lr(step), here {self._now()!r}>"

    def _now(self) -> Any:
        return self(_plain(numbers_of(self._steps)))

    def __float__(self) -> float:
        return float(self._now())

    def __neg__(self) -> Any:
        return -self._now()

    def __mul__(self, other: Any) -> Any:
        return like(self._now(), other) * other

    def __rmul__(self, other: Any) -> Any:
        return other * like(self._now(), other)

    def __rtruediv__(self, other: Any) -> Any:
        return other / like(self._now(), other)

    def __truediv__(self, other: Any) -> Any:
        return like(self._now(), other) / other

    def __add__(self, other: Any) -> Any:
        return self._now() + other

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._now() - other

    def __rsub__(self, other: Any) -> Any:
        return other - self._now()

    def __pow__(self, power: Any) -> Any:
        return self._now() ** power


class Optimizer:
    """The object face of a rule: it reads `.grad` of the parameters it was given, and assigns their `.data`.

    rule: a `Rule`, or a function that makes one for a learning rate; then `lr` is that rate, a number or a schedule,
    and a number may be assigned to `optimizer.lr` at any time. The function is handed a `Rate`: a schedule to call with
    the step, with which a rule of your own can also just multiply. What the rule remembers is kept in buffers
    (`optimizer.state`), so it can be stored, restored and compiled.

    For `why`, what the last step was computed from is kept until the next one. Nothing is copied for that, but it is
    as much memory again as parameters, gradients and state. `optimizer.remembers = False` forgoes it.

    Raises GraphError for no parameters, a parameter given twice, and what cannot be stepped; DomainError for a learning
    rate that is not a number above 0.

    >>> from backlit.optim.parts import chain, clip_by_norm
    >>> from backlit.optim.optimizers.sgd import sgd
    >>> w = Value([3.0, 4.0], name="w")
    >>> optimizer = Optimizer([w], lambda lr: chain(clip_by_norm(1.0), sgd(lr)), lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([2.7, 3.6])
    """

    made_by: tuple[tuple[Any, ...], dict[str, Any]]
    """The arguments of the constructor, from which an optimizer like it can be made again."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        optimizer = super().__new__(cls)
        optimizer.made_by = (args, kwargs)
        return optimizer

    def __init__(
        self, parameters: Sequence[Value], rule: Rule | Callable[[Schedule], Rule], lr: float | Schedule | None = None
    ) -> None:
        self.parameters = steppable(type(self).__name__, parameters)
        self._is_set = lr is not None and not callable(lr)
        self._lr = Buffer(_checked(lr) if self._is_set else 0.0, name="learning rate")
        if isinstance(rule, Rule):
            if lr is not None:
                raise GraphError(
                    f"{type(self).__name__}: this rule holds its learning rate already. Leave out lr={lr!r}, or pass "
                    "a function that makes the rule for a rate: lambda lr: chain(clip_by_norm(1.0), adam(lr))."
                )
        elif lr is None:
            raise GraphError(f"{type(self).__name__}: a function that makes a rule needs a learning rate: pass lr.")
        self.steps = Buffer(0, name="steps", dtype="int64")
        self.schedule = lr if callable(lr) else rule.rate if isinstance(rule, Rule) else None
        self.rule = (
            rule
            if isinstance(rule, Rule)
            else rule(Rate(self.schedule or (lambda step: numbers_of(self._lr)), self.steps))
        )
        self.remembers = True
        self._state = self.rule.init([numbers_of(p) for p in self.parameters])
        self._last: Last | None = None

    @property
    def lr(self) -> float:
        """The learning rate of the next step. It can be assigned where it was given as a number."""
        if self._is_set:
            return float(self._lr.data)
        if self.schedule is None:
            raise GraphError(f"the rule of this {type(self).__name__} has no learning rate.")
        return float(self.schedule(self.steps.data))

    @lr.setter
    def lr(self, new: float) -> None:
        if not self._is_set:
            raise GraphError(
                f"this {type(self).__name__} follows a schedule, or its rule holds the learning rate; to set it by "
                "hand, make the optimizer with a number as lr."
            )
        self._lr.data = _checked(new)

    @property
    def state(self) -> Tree:
        """What the rule remembers, as a tree of buffers."""
        return self._rebuild(iter(self._buffers))

    @cached_property
    def _buffers(self) -> list[Buffer]:
        """The leaves of the state. Until someone asks for them, plain numbers do, and a step is quicker."""
        leaves = flatten(self._state)[0]
        return [Buffer(leaf, name, dtype_of(leaf)) for leaf, name in zip(leaves, self._names, strict=True)]

    @cached_property
    def _names(self) -> list[str]:
        return [_flat_name(path) for path in paths(self._state)]

    @cached_property
    def _rebuild(self) -> Rebuild:
        return flatten(self._state)[1]

    def step(self) -> None:
        """One update of every parameter that has a gradient. Raises GraphError if none has."""
        traced = tracing() is not None
        # What is computed below is not recorded, so in a trace the parameters can stand there as they are.
        params = [current(p) if traced else numbers_of(p) for p in self.parameters]
        grads = [gradient_of(p) for p in self.parameters]
        if all(g is None for g in grads):
            raise GraphError(f"{type(self).__name__}.step: no parameter has a gradient; first loss.backward().")
        before = self._recalled(traced)
        token = enter_quiet()
        try:
            with no_grad() if traced else _NOTHING:  # plain numbers record nothing
                updates, after = self.rule.update(grads, before, params)
                moved = [p if u is None else p + u for p, u in zip(params, updates, strict=True)]
        finally:
            leave_quiet(token)
        self._keep(after)
        for p, old, new in zip(self.parameters, params, moved, strict=True):
            if new is not old:
                assign(p, new)
        assign(self.steps, numbers_of(self.steps) + 1)
        self._last = Last(grads, before, params) if self.remembers and not traced else None

    def _recalled(self, traced: bool = False) -> Tree:
        """The state as plain numbers; while tracing, as values."""
        kept = self._buffers if traced else vars(self).get("_buffers")
        return self._state if kept is None else self._rebuild(iter([_plain(numbers_of(b)) for b in kept]))

    def _keep(self, state: Tree) -> None:
        kept = vars(self).get("_buffers")
        if kept is None:
            self._state = state
        else:
            for buffer, new in zip(kept, _leaves(state, []), strict=True):
                assign(buffer, new)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters:
            p.zero_grad()

    # -- storing and restoring ----------------------------------------------------------------------------------

    def variables(self) -> dict[str, Buffer]:
        """All that a step changes or depends on besides parameters and gradients, by flat name: `lr`, `steps`, and what
        the rule remembers, such as `state.m.0` for the first parameter.
        """
        named = zip(self._names, self._buffers, strict=True)
        return {"lr": self._lr, "steps": self.steps, **{f"state.{name}": buffer for name, buffer in named}}

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """The numbers of `variables`, from which the next steps can be made again; as arrays, which are copies."""
        return {name: np.array(numbers_of(buffer)) for name, buffer in self.variables().items()}

    def load_state_dict(self, arrays: Mapping[str, Any]) -> None:
        """Take up the state that `state_dict` gave; the next steps are then those of the optimizer it came from.

        Raises DataError, and changes nothing, if a name is missing or not known here, or a shape or dtype differs.
        """
        own, here = self.variables(), type(self).__name__
        taken = fitting(
            f"{here}.load_state_dict", own, arrays, holder=here,
            cure="Is it the state of this kind of optimizer, with the same options, of the same model?",
        )  # fmt: skip
        for name, array in taken.items():
            own[name].data = np.array(array)
        self._last = None

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block, the parameters are their running averages; after it, themselves again.

        The rule must hold `ema`, else GraphError.

        >>> from backlit.optim.parts import chain, ema
        >>> from backlit.optim.optimizers.sgd import sgd
        >>> w = Value(1.0)
        >>> optimizer = Optimizer([w], chain(sgd(0.5), ema(0.75)))
        >>> w.backward()
        >>> optimizer.step()
        >>> with optimizer.averaged():
        ...     w.data
        0.875
        >>> w.data
        0.5
        """
        found = _averages(self.state)
        if found is None:
            raise GraphError(
                f"this {type(self).__name__} keeps no averages; make it from a rule with ema in it: "
                "Optimizer(model.parameters(), lambda lr: chain(adam(lr), ema(0.999)), lr=0.001)."
            )
        now = [numbers_of(p) for p in self.parameters]
        for p, average in zip(self.parameters, found, strict=True):
            p.data = average.data
        try:
            yield
        finally:
            for p, data in zip(self.parameters, now, strict=True):
                assign(p, data)

    # -- explaining ---------------------------------------------------------------------------------------------

    def why(self, parameter: Value, index: int | Sequence[int] | None = None) -> Move:
        """Why the last step moved one number of a parameter as it did: the gradient, and what the rule made of it.

        index: of the element; without it, the one that moved farthest. Raises GraphError if there was no step yet, the
        parameter is not one of these or the rule does not tell; IndexingError for an index that is not there.

        >>> from backlit.optim.optimizers.sgd import SGD
        >>> w = Value([1.0, -2.0], name="w")
        >>> optimizer = SGD([w], lr=0.1, momentum=0.5)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> print(optimizer.why(w, index=1))
        w[1] moved by 0.4 = -lr 0.1 × velocity -4
          from -2 to -1.6, in step 1 of SGD
          g -4   (the gradient)
          velocity -4 = 0.5 × old velocity 0 + g -4   (momentum)
        """
        places = [i for i, p in enumerate(self.parameters) if p is parameter]
        if not places:
            said = describe(parameter) if isinstance(parameter, Value) else repr(parameter)
            raise GraphError(f"{type(self).__name__}.why: {said} is not one of its parameters.")
        if self._last is None:
            made = "the last was compiled, or came before a state was loaded" if self.steps.data else "no step yet"
            reason = made if self.remembers else "optimizer.remembers is False"
            raise GraphError(f"{type(self).__name__}.why: there is no step to tell of: {reason}.")
        if self.rule.tell is None:
            raise GraphError(f"{type(self).__name__}.why: its rule does not tell how it works; give the Rule a `tell`.")
        return told_move(
            self.rule.tell,
            self._seen(self._last, places[0]),
            name=parameter.label or f"parameter {places[0]}",
            index=index,
            step=int(self.steps.data),
            optimizer=type(self).__name__,
        )

    def _seen(self, last: Last, place: int) -> Seen:
        """What the rule is to tell of: the last step, made again."""
        updates, after = quietly(self.rule.update, *last)
        return Seen(*last, updates, after, place, ())


_NOTHING = nullcontext()


def _plain(number: Any) -> Any:
    """A count as a Python integer, as it is before there are buffers: powers of NumPy's integers round otherwise."""
    return int(number) if type(number) is np.int64 else number


class Last(NamedTuple):
    """What the last step was computed from; the rule is pure, so it gives again what it gave."""

    grads: list[Any]
    before: Tree
    params: list[Any]


def steppable(caller: str, parameters: Sequence[Value]) -> list[Value]:
    """The parameters as a list. Raises GraphError for none, one given twice, or what is no variable."""
    found = list(parameters)
    if not found:
        raise GraphError(f"{caller}: there are no parameters to learn; pass model.parameters().")
    for p in found:
        if not isinstance(p, Value) or isinstance(p, Buffer) or p.op is not None:
            said = describe(p) if isinstance(p, Value) else repr(p)
            raise GraphError(f"{caller}: only variables (Parameter or Value) can be stepped, not {said}.")
    if len(set(map(id, found))) < len(found):
        twice = next(p for i, p in enumerate(found) if any(p is q for q in found[:i]))
        raise GraphError(f"{caller}: {describe(twice)} was given twice, and would be stepped twice.")
    return found


def _leaves(tree: Tree, found: list[Any]) -> list[Any]:
    """The leaves of a tree, as `flatten` finds them; quicker for the plain containers that most states are made of."""
    kind = type(tree)
    if kind is list or kind is tuple:
        for child in tree:
            _leaves(child, found)
    elif kind is dict:
        for child in tree.values():
            _leaves(child, found)
    elif kind in _LEAVES or kind is np.int64:
        found.append(tree)
    elif tree is not None:
        found += flatten(tree)[0]
    return found


def _averages(state: Tree) -> list[Any] | None:
    if isinstance(state, dict) and "average" in state:
        return list(state["average"])
    if isinstance(state, (list, tuple)):
        return next((found for part in state if (found := _averages(part)) is not None), None)
    return None


def _flat_name(path: str) -> str:
    """The name of a leaf of a state: `['m'][0]` is `m.0`.

    >>> _flat_name("[1]['m'][0]")
    '1.m.0'
    """
    return ".".join(re.findall(r"\w+", path))


def _checked(lr: Any) -> float:
    if not 0 < float(lr) < float("inf"):
        raise DomainError(f"the learning rate is {lr}; it must be a number above 0, such as 0.01.")
    return float(lr)


# -- what rules are written with --------------------------------------------------------------------------------


def each(move: Callable[..., tuple[Any, ...]], params: Tree, grads: Tree, *memories: Tree) -> list[Tree]:
    """`move(p, g, *memory) -> (update, *new memory)` for each parameter: the tree of updates, and those of memories.

    Where the gradient is None there is no update, and the memory stays. A memory of None is handed on as None.
    """
    plain = type(params) is list and type(grads) is list and len(params) == len(grads)
    if plain and all(type(p) in _LEAVES for p in params):
        columns: list[Any] = [repeat(None) if memory is None else memory for memory in memories]
        rows: Any = zip(params, grads, *columns)  # noqa: B905  (some are endless)
        rebuild: Rebuild = list
    else:
        leaves, rebuild = flatten(params)
        rows = zip(leaves, *(along(params, tree) for tree in (grads, *memories)), strict=True)
    results = [(None, *memory) if g is None else move(p, g, *memory) for p, g, *memory in rows]
    if not results:
        return [rebuild(iter(())), *memories]
    updates, *new = zip(*results, strict=True)
    found = [rebuild(iter(updates))]
    return found + [None if old is None else rebuild(iter(x)) for old, x in zip(memories, new, strict=True)]


_LEAVES = {np.ndarray, float, np.float32, np.float16, Value}


def along(tree: Tree, other: Tree) -> list[Any]:
    """What stands in another tree where this one has its leaves; None below a None."""
    opened = children_of(tree)
    if opened is None:
        return [other]
    children = opened[0]
    if other is None:
        return [None for _, child in children for _ in along(child, None)]
    beside = children_of(other)
    if beside is None or len(beside[0]) != len(children):
        raise GraphError(f"the parameters are {paths(tree, 'params')}, and beside them is {paths(other, 'given')}.")
    return [leaf for (_, child), (_, twin) in zip(children, beside[0], strict=True) for leaf in along(child, twin)]


def zeros(params: Tree) -> Tree:
    """Zeros shaped like the parameters: how most memories begin."""
    return filled(params, 0.0)


def filled(params: Tree, number: float) -> Tree:
    """A number in the shape and dtype of each parameter."""
    leaves, rebuild = flatten(params)
    return rebuild(iter([_filled(p, number) for p in leaves]))


def _filled(p: Any, number: float) -> Any:
    if isinstance(p, Value):
        return zeros_like(p) + number if number else zeros_like(p)
    dtype = dtype_of(p)
    if shape_of(p):
        return np.full(p.shape, number, dtype)
    return number if type(p) is float else dtype.type(number)


def as_rate(learning_rate: Any) -> Schedule:
    """A learning rate as a function of the step, whether it was one or a number."""
    return learning_rate if callable(learning_rate) else lambda step: learning_rate


def like(number: Any, array: Any) -> Any:
    """A number computed in float64, so that it gives way to the dtype of the array that it multiplies."""
    kind = type(number)
    if kind is float or kind is int:
        return number
    if kind is np.float64:
        return float(number)
    dtype = dtype_of(array)
    return number if dtype_of(number) == dtype else ASTYPE(number, dtype=dtype)


def giving_way(number: Any) -> Callable[[Any], Any]:
    """`like` for one number and many arrays: a value is cast once for each dtype, and not for each parameter."""
    if not isinstance(number, Value):
        return lambda array: like(number, array)
    casts: dict[Any, Any] = {}

    def cast(array: Any) -> Any:
        dtype = dtype_of(array)
        if dtype not in casts:
            casts[dtype] = like(number, array)
        return casts[dtype]

    return cast


def scaled(fresh: Any, number: Any) -> Any:
    """`fresh · number`, written into `fresh` if that is an array, which must have been made just before."""
    if isinstance(number, Value):
        return number * fresh
    fresh *= number
    return fresh


def added(fresh: Any, x: Any) -> Any:
    """`fresh + x`, written into `fresh` if that is an array, which must have been made just before."""
    if isinstance(x, Value):
        return x + fresh
    fresh += x
    return fresh


def over(x: Any, fresh: Any) -> Any:
    """`x / fresh`, written into `fresh` if that is an array, which must have been made just before."""
    return np.divide(x, fresh, out=fresh) if type(fresh) is type(x) is np.ndarray else x / fresh


def blend(old: Any, new: Any, weight: Any, is_fresh: bool = False) -> Any:
    """`old + weight·(new - old)`: a decaying mean, in which `new` has this weight.

    is_fresh: `new` was made just before and may be written into.
    """
    if is_fresh and type(new) is type(old) is np.ndarray:
        new -= old
        mean = new
    else:
        mean = new - old
    return added(scaled(mean, like(weight, old)), old)


def root(x: Any) -> Any:
    """Square root. A fresh array, or a number or value."""
    return np.sqrt(x) if type(x) is np.ndarray else SQRT(x)


def within(caller: str, **numbers: Any) -> None:
    """Raise DomainError unless each number is at least 0 and below 1. Values, which may vary, are not looked at."""
    for name, x in numbers.items():
        if not isinstance(x, Value) and not 0 <= x < 1:
            raise DomainError(f"{caller}: {name}={x}; it must be at least 0 and below 1.")


def not_negative(caller: str, **numbers: Any) -> None:
    """Raise DomainError for a number below 0, an infinity or NaN. Values are not looked at."""
    for name, x in numbers.items():
        if not isinstance(x, Value) and not 0 <= x < float("inf"):
            raise DomainError(f"{caller}: {name}={x}; it must be a number, and not below 0.")
