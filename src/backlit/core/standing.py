"""Where a node stands that a line of the user's program did not make by itself, but a call of the library on that line.

In `y = model(x)` the name `y` belongs to what the call gives back, the last node that it made. What it is made of is
called by its place inside: `layers.0`, `tanh(layers.0)`, `matmul in layers.1`, `input of layers.0`.
"""

from __future__ import annotations

from typing import Any

from backlit.core.state import Scope

Node = Any
"""A `Value`, whose module imports this one."""


def call_of(node: Node) -> Scope | None:
    """The call of a composite function or a module that the user's line made, if the node was made by one."""
    found, scope = None, node._extra.scope
    while scope is not None and scope.code is not None and (scope.code, scope.lasti) == (node._code, node._lasti):
        found, scope = scope, scope.parent
    return found


def is_inner(node: Node) -> bool:
    """Whether a node is what the call on its line was made of, and not what that gave back."""
    call = call_of(node)
    return call is not None and (call.is_aside or not is_result(node, call))


def is_result(node: Node, scope: Scope) -> bool:
    """Whether a node is the last that was made in a scope, which has been left since."""
    return not scope.is_open and scope.newest[1] == int(node._serial)


def standing(node: Node) -> str | None:
    """What an inner node is called by where it stands; None for any other.

    >>> from backlit.nn.mlp import MLP
    >>> y = MLP(2, [3, 1], key=0)([1.0, 2.0])
    >>> standing(y), standing(y.inputs[0]), standing(y.inputs[0].inputs[0])
    (None, 'matmul in layers.1', 'tanh(layers.0)')
    """
    if not is_inner(node):
        return None
    if node._op is not None and node._b is None and node._a is not None and (module := module_of(node._a)) is not None:
        return f"{node._op.name}({node._a._extra.name or module.path})"
    if (module := module_of(node)) is not None:
        return module.path
    name, scope = "input" if node._op is None else node._op.name, node._extra.scope
    while scope is not None and is_result(node, scope):
        name, scope = scope.name, scope.parent
    return name if scope is None else f"{name} {'of' if node._op is None else 'in'} {_said(scope)}"


def module_of(node: Node) -> Scope | None:
    """The call of a module, within a call on the user's line, whose result a node is; of several the outermost."""
    found = None
    if node._op is not None and is_inner(node):
        scope = node._extra.scope
        while scope is not None and is_result(node, scope):
            found, scope = scope if scope.path else found, scope.parent
    return found


def _said(scope: Scope) -> str:
    """`layers.0`, `softmax`, `mean in layers.3`."""
    if scope.path:
        return scope.path
    above = scope.parent
    while above is not None and not above.path:
        above = above.parent
    return scope.name if above is None else f"{scope.name} in {above.path}"
