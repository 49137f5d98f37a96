"""From a function to its derivatives: `grad`, `vjp`, `jvp`, `jacobian`, `hessian` and their like. All of them nest.

Each runs the function on fresh nodes for its arguments, and then transforms the graph that this made. Since what comes
back is again a graph, any of them can be applied to the result of any other, to any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from itertools import islice
from typing import Any

import numpy as np

from backlit.autodiff.forward import push_forward
from backlit.autodiff.reverse import pull_back, seed_for
from backlit.core import dtypes
from backlit.core.errors import BacklitError, DtypeError, GraphError, ShapeError
from backlit.core.numbers import Shape, as_data, dtype_of
from backlit.core.record import as_constant
from backlit.core.state import tracing
from backlit.core.trees import Rebuild, flatten, paths
from backlit.core.value import INACTIVE, Value, constant, current, leaf
from backlit.ops.functions import apply
from backlit.ops.movement import PERMUTE_DIMS, stack
from backlit.ops.passing import IDENTITY
from backlit.ops.summation import RESHAPE

Tree = Any


# -- arguments and results as nodes -----------------------------------------------------------------------------


def _variables(caller: str, tree: Tree, root: str) -> tuple[list[Value], Rebuild]:
    """A fresh node for each leaf of an argument, linked to the value it stands for, if it is one."""
    leaves, rebuild = flatten(tree)
    return [_variable(caller, x, path) for x, path in zip(leaves, paths(tree, root), strict=True)], rebuild


def _variable(caller: str, x: Any, path: str) -> Value:
    if isinstance(x, Value):
        dtype = x.dtype
    else:
        try:
            data = as_data(x)
        except BacklitError as error:
            raise DtypeError(f"{caller}: {path} cannot be differentiated by: {error}") from error
        dtype = np.dtype(bool) if isinstance(x, bool) else dtype_of(data)
    if not dtypes.is_real(dtype):
        reason = (
            "complex numbers are stored but not differentiated"
            if dtype.kind == "c"
            else ("only real numbers (float16, float32, float64) can vary by a little")
        )
        raise DtypeError(
            f"{caller}: {path} has dtype {dtype.name}, and {reason}. "
            f"Convert it (backlit.astype(x, backlit.float64)), or leave it out of argnums."
        )
    if not isinstance(x, Value):
        trace = tracing()
        return leaf(data) if trace is None else trace.lift(leaf(data))
    node = apply(IDENTITY, x)
    if node._grad is INACTIVE:  # a constant outside varies here
        node._grad = None
    if x.name is not None:
        node.name = x.name
    return node


def _called(
    caller: str, f: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], argnums: Sequence[int]
) -> tuple[Any, list[list[Value]], list[Rebuild]]:
    """`f` run on fresh nodes for the arguments that vary."""
    filled = list(args)
    nodes, rebuilds = [], []
    for n in argnums:
        found, rebuild = _variables(caller, args[n], f"argument {n}")
        nodes.append(found)
        rebuilds.append(rebuild)
        filled[n] = rebuild(iter(found))
    return f(*filled, **kwargs), nodes, rebuilds


def _positions(caller: str, argnums: int | Sequence[int], args: Sequence[Any]) -> list[int]:
    wanted = [argnums] if isinstance(argnums, int) else list(argnums)
    for n in wanted:
        if not -len(args) <= n < len(args):
            raise GraphError(
                f"{caller}: argnums={argnums!r} names argument {n}, but the function was called with "
                f"{len(args)} positional argument{'s' * (len(args) != 1)}."
            )
    return [n % len(args) for n in wanted]


def _output(caller: str, y: Any, f: Callable[..., Any]) -> Value:
    """The scalar that a function gave, as a node."""
    if isinstance(y, Value):
        return current(y)
    if isinstance(y, (float, int, np.ndarray, np.generic)):
        return as_constant(float(y) if isinstance(y, int) else y)
    raise GraphError(
        f"{caller}: {_name(f)} returned {type(y).__name__} {y!r:.60}; it must return one value. "
        "To return something beside it, return (value, aux) and say has_aux=True."
    )


def _outputs(caller: str, tree: Tree, f: Callable[..., Any]) -> tuple[list[Value], Rebuild]:
    leaves, rebuild = flatten(tree)
    return [_output(caller, y, f) for y in leaves], rebuild


def _name(f: Callable[..., Any]) -> str:
    return getattr(f, "__name__", type(f).__name__)


def _zeros_like(x: Value) -> Value:
    return constant(_zeros(x.shape, x.dtype))


def _zeros(shape: Shape, dtype: Any) -> Any:
    return np.zeros(shape, dtype) if shape else 0.0 if dtype == dtypes.float64 else dtype.type(0)


def _filled(cts: Iterable[Value | None], like: Iterable[Value]) -> list[Value]:
    return [_zeros_like(x) if ct is None else ct for ct, x in zip(cts, like, strict=True)]


def _split(flat: Sequence[Value], groups: list[list[Value]], rebuilds: list[Rebuild]) -> list[Tree]:
    source = iter(flat)
    return [rebuild(islice(source, len(group))) for group, rebuild in zip(groups, rebuilds, strict=True)]


def _aux(caller: str, f: Callable[..., Any], y: Any, has_aux: bool) -> tuple[Any, Any]:
    if not has_aux:
        return y, None
    if not (isinstance(y, tuple) and len(y) == 2):
        raise GraphError(f"{caller}: with has_aux=True {_name(f)} must return (value, aux), not {type(y).__name__}.")
    return y


# -- reverse ----------------------------------------------------------------------------------------------------


def value_and_grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """The function that gives `(f(x), gradient)`, the gradient having the structure of the argument.

    argnums: which arguments vary; with several, a tuple of gradients. has_aux: `f` returns `(value, aux)`, and the
    result is `((value, aux), gradient)`. Raises ShapeError if f is not scalar, DtypeError for integer arguments.
    Cost: one to four times that of `f`.

    >>> value, g = value_and_grad(lambda x: x["a"] * x["b"])({"a": 2.0, "b": 5.0})
    >>> value.data, g["a"].data, g["b"].data
    (10.0, 5.0, 2.0)
    """

    @wraps(f)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        where = _positions("grad", argnums, args)
        y, groups, rebuilds = _called("grad", f, args, kwargs, where)
        y, aux = _aux("grad", f, y, has_aux)
        output = _output("grad", y, f)
        seed = seed_for(output, None, "grad")
        flat = [x for group in groups for x in group]
        gradients = _split(_filled(pull_back([output], [seed], flat), flat), groups, rebuilds)
        result = gradients[0] if isinstance(argnums, int) else tuple(gradients)
        return ((output, aux), result) if has_aux else (output, result)

    return differentiated


def grad(f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that gives the gradient of `f`, with the structure of the argument. It nests to any order.

    argnums, has_aux: as for `value_and_grad`; with has_aux the result is `(gradient, aux)`.

    >>> cube = lambda x: x * x * x
    >>> grad(cube)(2.0).data, grad(grad(cube))(2.0).data, grad(grad(grad(cube)))(2.0).data
    (12.0, 12.0, 6.0)
    """
    both = value_and_grad(f, argnums, has_aux)

    @wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, result = both(*args, **kwargs)
        return (result, value[1]) if has_aux else result

    return gradient


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """`(f(*primals), pullback)`, where `pullback(cotangent)` gives a tuple with the cotangent of each primal.

    The cotangent has the structure, the shapes and the dtypes of the output. With has_aux: `(value, pullback, aux)`.

    >>> y, pullback = vjp(lambda a, b: a * b, 2.0, 5.0)
    >>> [ct.data for ct in pullback(1.0)]
    [5.0, 2.0]
    """
    y, groups, rebuilds = _called("vjp", f, primals, {}, range(len(primals)))
    y, aux = _aux("vjp", f, y, has_aux)
    outputs, rebuild_output = _outputs("vjp", y, f)
    flat = [x for group in groups for x in group]

    def pullback(cotangent: Tree) -> tuple[Tree, ...]:
        seeds = _matching("vjp", "cotangent", "output", cotangent, outputs)
        return tuple(_split(_filled(pull_back(outputs, seeds, flat), flat), groups, rebuilds))

    result = rebuild_output(iter(outputs))
    return (result, pullback, aux) if has_aux else (result, pullback)


def _matching(caller: str, what: str, of: str, tree: Tree, nodes: Sequence[Value]) -> list[Value]:
    """The leaves of a tree of cotangents or tangents, checked against the nodes to which they belong."""
    leaves = flatten(tree)[0]
    if len(leaves) != len(nodes):
        raise ShapeError(f"{caller}: the {what} has {len(leaves)} leaves, and the {of} {len(nodes)}.")
    checked = []
    for x, node in zip(leaves, nodes, strict=True):
        value = current(x) if isinstance(x, Value) else as_constant(as_data(x, node.dtype), node.dtype)
        if value.shape != node.shape:
            raise ShapeError(
                f"{caller}: a {what} has shape {value.shape}; it must have that of its {of}, {node.shape}."
            )
        if value.dtype != node.dtype:
            raise DtypeError(
                f"{caller}: a {what} has dtype {value.dtype.name}; it must have that of its {of}, {node.dtype.name}."
            )
        checked.append(value)
    return checked


# -- forward ----------------------------------------------------------------------------------------------------


def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """`(f(*primals), tangent of the output)` for the given tangents of the primals, by forward mode.

    primals, tangents: tuples of the same structure. With has_aux: `(value, tangent, aux)`. Cost: about twice `f`.

    >>> y, t = jvp(lambda a, b: a * b, (2.0, 5.0), (1.0, 0.0))
    >>> y.data, t.data
    (10.0, 5.0)
    """
    result = _linearized("jvp", f, tuple(primals), has_aux)
    push = result[1]
    return (result[0], push(*tangents), *result[2:])


def linearize(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """`(f(*primals), push)`, where `push(*tangents)` gives the tangent of the output. `f` runs once only.

    >>> y, push = linearize(lambda x: x * x, 3.0)
    >>> push(1.0).data, push(10.0).data
    (6.0, 60.0)
    """
    return _linearized("linearize", f, primals, has_aux)


def _linearized(caller: str, f: Callable[..., Any], primals: Sequence[Any], has_aux: bool) -> Any:
    y, groups, _ = _called(caller, f, primals, {}, range(len(primals)))
    y, aux = _aux(caller, f, y, has_aux)
    outputs, rebuild_output = _outputs(caller, y, f)
    flat = [x for group in groups for x in group]

    def push(*tangents: Tree) -> Tree:
        if len(tangents) != len(primals):
            raise GraphError(f"{caller}: {len(primals)} primals and {len(tangents)} tangents were given.")
        given = _matching(caller, "tangent", "primal", list(tangents), flat)
        return rebuild_output(iter(_filled(push_forward(outputs, flat, given), outputs)))

    result = rebuild_output(iter(outputs))
    return (result, push, aux) if has_aux else (result, push)


# -- matrices of derivatives ------------------------------------------------------------------------------------


def jacobian(f: Callable[..., Any], argnums: int = 0, mode: str | None = None) -> Callable[..., Any]:
    """The function that gives all first derivatives of `f`: an array of shape `output.shape + input.shape`.

    Where output or input is a tree, the result is a tree of inputs for each leaf of the output. mode: "forward" (a pass
    for each input element), "reverse" (a pass for each output element), or None: whichever needs fewer passes.

    >>> jacobian(lambda x: x * x)(np.array([1.0, 2.0])).data
    array([[2., 0.],
           [0., 4.]])
    """
    if mode not in (None, "forward", "reverse"):
        raise GraphError(f'jacobian: mode={mode!r} is neither "forward", "reverse" nor None.')

    @wraps(f)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        where = _positions("jacobian", argnums, args)
        y, (inputs,), (rebuild_input,) = _called("jacobian", f, args, kwargs, where)
        outputs, rebuild_output = _outputs("jacobian", y, f)
        forward = mode == "forward" or (mode is None and sum(x.size for x in inputs) < sum(y.size for y in outputs))
        blocks = _by_columns(outputs, inputs) if forward else _by_rows(outputs, inputs)
        return rebuild_output(iter([rebuild_input(iter(row)) for row in blocks]))

    return differentiated


def _by_rows(outputs: Sequence[Value], inputs: Sequence[Value]) -> list[list[Value]]:
    """Blocks of the Jacobian by reverse mode: a row for each element of each output."""
    blocks = []
    for y in outputs:
        rows = [_filled(pull_back([y], [e], inputs), inputs) for e in _basis(y)]
        blocks.append([_stacked([row[i] for row in rows], y.shape, x.shape, x.dtype) for i, x in enumerate(inputs)])
    return blocks


def _by_columns(outputs: Sequence[Value], inputs: Sequence[Value]) -> list[list[Value]]:
    """The same by forward mode: a column for each element of each input."""
    blocks: list[list[Value]] = [[] for _ in outputs]
    for x in inputs:
        columns = [_filled(push_forward(outputs, [x], [e]), outputs) for e in _basis(x)]
        rows = list(zip(*columns, strict=True)) if columns else [()] * len(outputs)
        for block, y, found in zip(blocks, outputs, rows, strict=True):
            turned = _stacked(list(found), x.shape, y.shape, y.dtype)
            axes = (*range(len(x.shape), len(x.shape) + len(y.shape)), *range(len(x.shape)))
            block.append(turned if not x.shape or not y.shape else apply(PERMUTE_DIMS, turned, axes=axes))
    return blocks


def _basis(x: Value) -> Iterable[Any]:
    for i in range(x.size):
        e = np.zeros(x.size, x.dtype)
        e[i] = 1
        yield as_constant(e.reshape(x.shape) if x.shape else e[0], x.dtype)


def _stacked(rows: list[Value], outer: Shape, inner: Shape, dtype: Any) -> Value:
    if not rows:
        return constant(np.zeros(outer + inner, dtype))
    if not outer:
        return rows[0]
    return apply(RESHAPE, stack(rows), shape=outer + inner)


def hessian(f: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """The function that gives all second derivatives of a scalar `f`, of shape `input.shape + input.shape`.

    Forward mode over reverse mode: one pass for each element of the input.

    >>> hessian(lambda x: x[0] * x[0] * x[1])(np.array([1.0, 2.0])).data
    array([[4., 2.],
           [2., 0.]])
    """
    return jacobian(grad(f, argnums), argnums, mode="forward")


def hvp(f: Callable[..., Any], x: Tree, v: Tree) -> Tree:
    """The Hessian of a scalar `f` at `x` times `v`, without making the Hessian. x, v: trees of the same structure.

    Forward mode over reverse mode; cost: a small multiple of that of `f`. Source: Pearlmutter 1994.

    >>> hvp(lambda x: (x * x * x).sum(), np.array([1.0, 2.0]), np.array([1.0, 0.0])).data
    array([6., 0.])
    """
    return jvp(grad(f), (x,), (v,))[1]
