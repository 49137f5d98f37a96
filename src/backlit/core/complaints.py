"""Errors that teach: what did not fit, with its values, and where in the user's program the operands were made."""

from __future__ import annotations

from collections.abc import Sequence

from backlit.core.errors import BacklitError, DomainError, DtypeError, IndexingError, ShapeError, TracedValueError
from backlit.core.numbers import Abstract, dtype_of, shape_of
from backlit.core.op import Attrs, Op
from backlit.core.site import site_of, user_frame
from backlit.core.value import Value, describe


def _operand_lines(inputs: Sequence[Value]) -> str:
    names = ("left: ", "right:") if len(inputs) == 2 else tuple(f"input {i}:" for i in range(len(inputs)))
    if len(inputs) == 1:
        names = ("input:",)
    return "".join(
        f"\n    {name} {describe(as_shown(x))}, shape {shape_of(x._data)}, {dtype_of(x._data).name}"
        for name, x in zip(names, inputs, strict=True)
    )


def as_shown(node: Value) -> Value:
    return node if node._extra.owner is None else node._extra.owner


def without_numbers(what: str, x: Value) -> TracedValueError:
    """The error of asking for the numbers of a value while its function is run on shapes. what: how it was asked."""
    frame = user_frame()
    return TracedValueError(
        f"{what} of {describe(x)}, at {site_of(frame.f_code, frame.f_lasti)}: while a function is traced, a value has "
        f"no numbers, only {x._data!r}.\n  To choose by numbers write where(condition, a, b) or "
        "cond(condition, f, g, x), and to loop fori_loop or scan. A number that is known beforehand can be passed as a "
        "Python number, which becomes part of what is compiled. For numbers alone, take the line out of the function."
    )


def without_shape(what: str, x: Value, instead: str) -> TracedValueError:
    """The error of asking for as many elements as only numbers can tell, while a function is run on shapes.

    what: how it was asked. instead: a way of a fixed shape.
    """
    frame = user_frame()
    return TracedValueError(
        f"{what} of {describe(x)}, at {site_of(frame.f_code, frame.f_lasti)}: how much is found depends on its "
        f"numbers, and while a function is traced it has none, only {x._data!r}.\n  Of a fixed shape is {instead}. Or "
        "take the line out of the function."
    )


def located(op: Op, inputs: Sequence[Value], attrs: Attrs, error: BacklitError) -> BacklitError:
    """The same error, with the operands and where each was made."""
    message = str(error)
    head = message if message.startswith(f"{op.name}:") else f"{op.name}: {message}"
    first, _, rest = head.partition("\n")
    return type(error)(first + _operand_lines(inputs) + (f"\n{rest}" if rest else ""))


def explained(op: Op, inputs: Sequence[Value], attrs: Attrs, error: Exception) -> BacklitError:
    """A Backlit error for one that NumPy raised."""
    try:
        op.infer([Abstract(shape_of(x._data), dtype_of(x._data)) for x in inputs], attrs)
    except BacklitError as ours:
        return located(op, inputs, attrs, ours)
    except Exception:  # noqa: BLE001  (the shape rule met what the forward rule met; NumPy's own words are the better ones)
        pass
    kind = (
        IndexingError if isinstance(error, IndexError)
        else DtypeError if isinstance(error, TypeError)
        else ShapeError if "shape" in str(error) or "axis" in str(error) or "axes" in str(error)
        else DomainError
    )  # fmt: skip
    reason = str(error).split("\n")[0].rstrip(".")
    if isinstance(error, TypeError) and "not supported for the input types" in reason:
        reason = f"not defined for {' and '.join(dtype_of(x._data).name for x in inputs)}"
    return kind(f"{op.name}: {reason}.{_operand_lines(inputs)}")
