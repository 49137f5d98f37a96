"""Moving elements without computing on them: reshaping, reordering axes, repeating, padding, triangles."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from backlit.core.errors import DomainError, IndexingError, ShapeError
from backlit.core.notation import Notation
from backlit.core.numbers import Shape, shape_of
from backlit.core.op import Linear, Reals, Sample, broadcast_shapes
from backlit.core.value import Value
from backlit.ops.axes import one_axis, some_axes
from backlit.ops.functions import apply, composite
from backlit.ops.index import Slice, normal_slice
from backlit.ops.indexing import GETITEM, as_value, getitem
from backlit.ops.joining import CONCAT as CONCAT
from backlit.ops.joining import STACK as STACK
from backlit.ops.joining import concat as concat
from backlit.ops.joining import stack as stack
from backlit.ops.lowering import BOOL, INT64, part, reshaped
from backlit.ops.selection import WHERE
from backlit.ops.summation import BROADCAST_TO, RESHAPE, SUM

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N
    from backlit.core.numbers import Abstract


def _with_axis(name: str) -> Notation:
    """`name(x, axis=...)` for an op whose axes are kept as the attribute `axes`."""

    def text(x: Sequence[str], attrs: Mapping[str, Any]) -> str:
        axes = attrs["axes"]
        return f"{name}({x[0]}, axis={axes[0] if len(axes) == 1 else axes})"

    def latex(x: Sequence[str], attrs: Mapping[str, Any]) -> str:
        below = ",".join(map(str, attrs["axes"]))
        return rf"\operatorname{{{name.replace('_', ' ')}}}_{{{below}}}\left({x[0]}\right)"

    return Notation(text, latex)


# -- reordering axes -----------------------------------------------------------------------------------------


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


PERMUTE_DIMS: Linear = Linear(
    "permute_dims",
    lambda x, axes: np.transpose(x, axes),
    shape=lambda x, axes: tuple(x.shape[axis] for axis in axes),
    transposes=(lambda ct, x, axes: PERMUTE_DIMS(ct, axes=_inverse(axes)),),
    moves=True,
    notation=Notation(
        lambda x, attrs: f"permute_dims({x[0]}, {attrs['axes']})",
        lambda x, attrs: (
            rf"{{{x[0]}}}^{{\mathsf{{T}}}}"
            if attrs["axes"] == (1, 0)
            else rf"{{{x[0]}}}^{{\mathsf{{T}}({','.join(map(str, attrs['axes']))})}}"
        ),
        latex_needs=(100,),
    ),
    samples=(
        Sample(((2, 3),), {"axes": (1, 0)}),
        Sample(((2, 3, 4),), {"axes": (2, 0, 1)}),
        Sample(((2, 1, 4),), {"axes": (0, 2, 1)}),
        Sample(((),), {"axes": ()}),
        Sample(((0, 3),), {"axes": (1, 0)}),
    ),
    lower=lambda g, result, x, axes: g.transpose(x, axes),
    doc="The axes in another order: axis i of the result is axis axes[i] of x.",
)


def permute_dims(x: Any, /, axes: Sequence[int]) -> Value:
    """The array with its axes in another order: axis `i` of the result is axis `axes[i]` of `x`.

    Raises ShapeError unless `axes` names each axis once.

    >>> permute_dims(np.ones((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    x = as_value(x)
    shape = x.shape
    order = tuple(one_axis(axis, shape, "permute_dims") for axis in axes)
    if sorted(order) != list(range(len(shape))):
        raise ShapeError(
            f"permute_dims: {tuple(axes)} does not name each of the {len(shape)} axes of shape {shape} once."
        )
    return apply(PERMUTE_DIMS, x, axes=order)


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int], /) -> Value:
    """The array with the axes `source` moved to the positions `destination`; the others keep their order.

    Raises ShapeError for an axis that is not there or is named twice.

    >>> moveaxis(np.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    x = as_value(x)
    shape = x.shape
    pair = [
        [one_axis(axis, shape, "moveaxis") for axis in ((axes,) if isinstance(axes, int) else axes)]
        for axes in (source, destination)
    ]
    if len(pair[0]) != len(pair[1]):
        raise ShapeError(f"moveaxis: {len(pair[0])} axes cannot move to {len(pair[1])} positions.")
    for name, axes in zip(("source", "destination"), pair, strict=True):
        if len(set(axes)) != len(axes):
            raise ShapeError(f"moveaxis: {name} names an axis of shape {shape} twice: {axes}.")
    order = [axis for axis in range(len(shape)) if axis not in pair[0]]
    for position, axis in sorted(zip(pair[1], pair[0], strict=True)):
        order.insert(position, axis)
    return apply(PERMUTE_DIMS, x, axes=tuple(order))


# -- axes of length 1 ----------------------------------------------------------------------------------------


def _expanded(shape: Shape, axes: tuple[int, ...]) -> Shape:
    rest = iter(shape)
    return tuple(1 if i in axes else next(rest) for i in range(len(shape) + len(axes)))


def _squeezed(shape: Shape, axes: tuple[int, ...]) -> Shape:
    for axis in axes:
        if shape[axis] != 1:
            raise ShapeError(
                f"axis {axis} of shape {shape} has length {shape[axis]}, and only an axis of length 1 can be "
                f"taken away. To reduce it use sum, mean or max with axis={axis}."
            )
    return tuple(length for i, length in enumerate(shape) if i not in axes)


EXPAND_DIMS: Linear = Linear(
    "expand_dims",
    lambda x, axes: np.reshape(x, _expanded(shape_of(x), axes)),
    shape=lambda x, axes: _expanded(x.shape, axes),
    transposes=(lambda ct, x, axes: SQUEEZE(ct, axes=axes),),
    moves=True,
    notation=_with_axis("expand_dims"),
    samples=(
        Sample(((2, 3),), {"axes": (1,)}),
        Sample(((2, 3),), {"axes": (0, 3)}),
        Sample(((),), {"axes": (0,)}),
        Sample(((0,),), {"axes": (1,)}),
    ),
    lower=reshaped,
    doc="New axes of length 1. axes: where they stand in the result, in ascending order.",
)
SQUEEZE: Linear = Linear(
    "squeeze",
    lambda x, axes: np.reshape(x, _squeezed(shape_of(x), axes)),
    shape=lambda x, axes: _squeezed(x.shape, axes),
    transposes=(lambda ct, x, axes: EXPAND_DIMS(ct, axes=axes),),
    moves=True,
    notation=_with_axis("squeeze"),
    samples=(
        Sample(((2, 1, 3),), {"axes": (1,)}),
        Sample(((1, 2, 1),), {"axes": (0, 2)}),
        Sample(((1,),), {"axes": (0,)}),
        Sample(((0, 1),), {"axes": (1,)}),
        Sample(((2,),), {"axes": ()}),
    ),
    lower=reshaped,
    doc="Without the axes given, each of length 1.",
)


def expand_dims(x: Any, /, axis: int | Sequence[int]) -> Value:
    """The array with a new axis of length 1, or several. axis: where it stands in the result.

    Raises IndexingError for a position that the result does not have.

    >>> expand_dims([1.0, 2.0], -1).shape
    (2, 1)
    """
    x = as_value(x)
    wanted = (axis,) if isinstance(axis, int) else tuple(axis)
    rank = x.ndim + len(wanted)
    for each in wanted:
        if not -rank <= each < rank:
            raise IndexingError(
                f"expand_dims: there is no place {each} for a new axis in shape {x.shape}; "
                f"{-rank} to {rank - 1} are there."
            )
    axes = tuple(sorted(each % rank for each in wanted))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"expand_dims: two of the new axes {wanted} would stand at one place.")
    return apply(EXPAND_DIMS, x, axes=axes)


def squeeze(x: Any, /, axis: int | Sequence[int] | None = None) -> Value:
    """The array without the axes given, each of which must be of length 1; without all such axes if None.

    Raises ShapeError for an axis of another length.

    >>> squeeze([[1.0], [2.0]], 1).shape
    (2,)
    """
    x = as_value(x)
    if axis is None:
        return apply(SQUEEZE, x, axes=tuple(i for i, length in enumerate(x.shape) if length == 1))
    return apply(SQUEEZE, x, axes=some_axes(_tuple(axis), x.shape, "squeeze"))


def _tuple(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, Sequence) else axis


# -- shape ---------------------------------------------------------------------------------------------------


def as_shape(shape: int | Sequence[int], name: str) -> Shape:
    """A shape as a tuple of ints. Raises ShapeError for anything else.

    >>> as_shape(3, "zeros"), as_shape([2, np.int64(3)], "zeros")
    ((3,), (2, 3))
    """
    try:
        lengths = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        return tuple(operator.index(length) for length in lengths)
    except TypeError:
        raise ShapeError(f"{name}: a shape is a whole number or a tuple of them, unlike {shape!r}.") from None


def reshape(x: Any, /, shape: int | Sequence[int], *, copy: bool | None = None) -> Value:
    """The same elements in row-major order under another shape, in which one length may be -1 (it follows).

    copy: has no effect, since numbers in a graph never change. Raises ShapeError if the elements do not fit.

    >>> reshape([1.0, 2.0, 3.0, 4.0], (2, -1)).data
    array([[1., 2.],
           [3., 4.]])
    """
    x = as_value(x)
    wanted = as_shape(shape, "reshape")
    unknown = [i for i, length in enumerate(wanted) if length == -1]
    if any(length < -1 for length in wanted) or len(unknown) > 1:
        raise ShapeError(f"reshape: shape {wanted} can have -1 once, for a length that follows, and no other below 0.")
    if unknown:
        known = math.prod(length for length in wanted if length != -1)
        if known == 0 or x.size % known:
            raise ShapeError(
                f"reshape: an array of shape {x.shape} has {x.size} elements, and for {wanted} their number "
                f"must be a multiple of {known}."
                if known
                else f"reshape: in {wanted} the -1 could be any length, as another length is 0; write it out."
            )
        wanted = tuple(x.size // known if length == -1 else length for length in wanted)
    return apply(RESHAPE, x, shape=wanted)


def broadcast_to(x: Any, /, shape: int | Sequence[int]) -> Value:
    """The array repeated to a shape along axes of length 1 and new axes in front.

    Raises ShapeError that names the axis that does not fit.

    >>> broadcast_to([[1.0], [2.0]], (2, 3)).data
    array([[1., 1., 1.],
           [2., 2., 2.]])
    """
    return apply(BROADCAST_TO, as_value(x), shape=as_shape(shape, "broadcast_to"))


def broadcast_arrays(*arrays: Any) -> list[Value]:
    """The arrays, each repeated to the shape to which all broadcast. Raises ShapeError if there is none.

    >>> [x.shape for x in broadcast_arrays([1.0, 2.0], [[3.0], [4.0]])]
    [(2, 2), (2, 2)]
    """
    nodes = [as_value(x) for x in arrays]
    shapes = [x.shape for x in nodes]
    try:
        shape = broadcast_shapes("broadcast_arrays", shapes)
    except ShapeError as error:
        raise ShapeError(f"broadcast_arrays: {error}") from None
    return [x if x.shape == shape else apply(BROADCAST_TO, x, shape=shape) for x in nodes]


# -- reversing and rolling -----------------------------------------------------------------------------------


def _lower_flip(g: Graph[N], result: Abstract, x: N, axes: Sequence[int]) -> N:
    n = len(x.shape)
    offsets = [x.shape[d] - 1 if d in axes else 0 for d in range(n)]
    return g.view(x, x.shape, offsets, [[(-1 if d in axes else 1) * (d == j) for j in range(n)] for d in range(n)])


FLIP: Linear = Linear(
    "flip",
    lambda x, axes: np.flip(x, axes),
    shape=lambda x, axes: x.shape,
    transposes=(lambda ct, x, axes: FLIP(ct, axes=axes),),
    moves=True,
    notation=_with_axis("flip"),
    samples=(
        Sample(((3,),), {"axes": (0,)}),
        Sample(((2, 3),), {"axes": (0, 1)}),
        Sample(((),), {"axes": ()}),
        Sample(((0, 2),), {"axes": (1,)}),
    ),
    lower=_lower_flip,
    doc="The elements in reverse order along the axes given.",
)


def flip(x: Any, /, *, axis: int | Sequence[int] | None = None) -> Value:
    """The array with the order of its elements reversed along an axis, several, or (None) all.

    >>> flip([[1.0, 2.0], [3.0, 4.0]], axis=1).data
    array([[2., 1.],
           [4., 3.]])
    """
    x = as_value(x)
    return apply(FLIP, x, axes=some_axes(_tuple(axis), x.shape, "flip"))


def _lower_roll(g: Graph[N], result: Abstract, x: N, shift: Sequence[int], axes: Sequence[int]) -> N:
    for by, axis in zip(shift, axes, strict=True):
        length = x.shape[axis]
        by = by % length if length else 0
        if by:
            x = g.concat([part(g, x, axis, length - by, length), part(g, x, axis, 0, length - by)], axis)
    return x


ROLL: Linear = Linear(
    "roll",
    lambda x, shift, axes: np.roll(x, shift, axes) if axes else x,
    shape=lambda x, shift, axes: x.shape,
    transposes=(
        lambda ct, x, shift, axes: ROLL(
            ct, shift=tuple((shape_of(x)[a] or s) - s for s, a in zip(shift, axes, strict=True)), axes=axes
        ),
    ),
    moves=True,
    notation=Notation(
        lambda x, attrs: f"roll({x[0]}, {attrs['shift']}, axis={attrs['axes']})",
        lambda x, attrs: rf"\operatorname{{roll}}_{{{','.join(map(str, attrs['shift']))}}}\left({x[0]}\right)",
    ),
    samples=(
        Sample(((5,),), {"shift": (2,), "axes": (0,)}),
        Sample(((2, 3),), {"shift": (1, 2), "axes": (0, 1)}),
        Sample(((0, 3),), {"shift": (0,), "axes": (0,)}),
        Sample(((),), {"shift": (), "axes": ()}),
    ),
    lower=_lower_roll,
    doc="The elements moved on by shift along the axes; what falls off the end comes in at the beginning.",
)


def roll(x: Any, /, shift: int | Sequence[int], *, axis: int | Sequence[int] | None = None) -> Value:
    """The elements moved on by `shift` places; what falls off the end comes in at the beginning.

    axis: an axis or several, each with its shift or all with one; None rolls the flattened array.

    >>> roll([1.0, 2.0, 3.0], 1).data
    array([3., 1., 2.])
    """
    x = as_value(x)
    shape = x.shape
    if axis is None:
        if len(shape) == 1:
            return roll(x, shift, axis=0)
        return reshape(roll(reshape(x, (x.size,)), shift, axis=0), shape)
    axes = [one_axis(a, shape, "roll") for a in ((axis,) if isinstance(axis, int) else axis)]
    shifts = [operator.index(s) for s in (shift if isinstance(shift, Sequence) else (shift,))]
    if len(shifts) == 1:
        shifts *= len(axes)
    elif len(axes) == 1:
        axes *= len(shifts)
    if len(shifts) != len(axes):
        raise ShapeError(
            f"roll: {len(shifts)} shifts for {len(axes)} axes; give one shift for each axis, or one for all."
        )
    total: dict[int, int] = {}
    for by, along in zip(shifts, axes, strict=True):
        total[along] = (total.get(along, 0) + by) % (shape[along] or 1)
    return apply(ROLL, x, shift=tuple(total[a] for a in sorted(total)), axes=tuple(sorted(total)))


# -- taking apart --------------------------------------------------------------------------------------------


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Value, ...]:
    """The parts of the array along an axis, which they do not have any more.

    >>> [row.data for row in unstack([[1.0, 2.0], [3.0, 4.0]])]
    [array([1., 2.]), array([3., 4.])]
    """
    x = as_value(x)
    position = one_axis(axis, x.shape, "unstack")
    before = (Slice(),) * position
    return tuple(apply(GETITEM, x, index=(*before, i)) for i in range(x.shape[position]))


def split(x: Any, indices_or_sections: int | Sequence[int], /, *, axis: int = 0) -> list[Value]:
    """The array cut along an axis: into so many equal parts, or before each of the positions given.

    As `numpy.split`. Raises ShapeError if equal parts are not possible.

    >>> [part.data for part in split([1.0, 2.0, 3.0, 4.0], 2)]
    [array([1., 2.]), array([3., 4.])]
    >>> [part.data for part in split([1.0, 2.0, 3.0], [1])]
    [array([1.]), array([2., 3.])]
    """
    x = as_value(x)
    position = one_axis(axis, x.shape, "split")
    length = x.shape[position]
    given = indices_or_sections
    if isinstance(given, (int, np.integer)):
        if given < 1 or length % given:
            raise ShapeError(
                f"split: axis {position} of shape {x.shape} has length {length}, which does not divide into "
                f"{given} equal parts. Give the positions of the cuts instead."
            )
        cuts = list(range(length // int(given), length, length // int(given))) if length else [0] * (int(given) - 1)
    else:
        cuts = [operator.index(cut) for cut in given]
    before = (slice(None),) * position
    ends = [*cuts, length]
    return [getitem(x, (*before, slice(a, b))) for a, b in zip([0, *cuts], ends, strict=True)]


# -- repeating -----------------------------------------------------------------------------------------------


@composite("repeat")
def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Value:
    """Each element so many times in a row, along an axis or (None) of the flattened array.

    repeats: a number, or one for each element along the axis. Raises ShapeError if their number does not fit.

    >>> repeat([1.0, 2.0], 2).data, repeat([1.0, 2.0], [1, 3]).data
    (array([1., 1., 2., 2.]), array([1., 2., 2., 2.]))
    """
    x = as_value(x)
    if axis is None:
        x = reshape(x, (x.size,))
        axis = 0
    position = one_axis(axis, x.shape, "repeat")
    length = x.shape[position]
    counts = np.asarray(repeats.data if isinstance(repeats, Value) else repeats)
    if counts.dtype.kind not in "iu" and counts.size:
        raise IndexingError(f"repeat: how often is a whole number, unlike {repeats!r:.60}.")
    if (counts < 0).any():
        raise DomainError(f"repeat: how often cannot be negative, as in {repeats!r:.60}.")
    if counts.size != 1:
        if counts.shape != (length,):
            raise ShapeError(
                f"repeat: {counts.shape} counts for axis {position} of shape {x.shape}; "
                f"give one, or one for each of the {length} elements along it."
            )
        return getitem(x, (*(slice(None),) * position, np.repeat(np.arange(length), counts)))
    count = int(counts.reshape(())[()])
    before, after = x.shape[:position], x.shape[position + 1 :]
    spread = apply(EXPAND_DIMS, x, axes=(position + 1,))
    spread = apply(BROADCAST_TO, spread, shape=(*before, length, count, *after))
    return apply(RESHAPE, spread, shape=(*before, length * count, *after))


@composite("tile")
def tile(x: Any, repetitions: int | Sequence[int], /) -> Value:
    """The array laid side by side so many times along each axis; new axes come in front.

    >>> tile([1.0, 2.0], (2, 2)).data
    array([[1., 2., 1., 2.],
           [1., 2., 1., 2.]])
    """
    x = as_value(x)
    times = as_shape(repetitions, "tile")
    if any(each < 0 for each in times):
        raise ShapeError(f"tile: how often cannot be negative, as in {times}.")
    rank = max(len(times), x.ndim)
    times = (1,) * (rank - len(times)) + times
    shape = (1,) * (rank - x.ndim) + x.shape
    between = tuple(length for each in shape for length in (1, each))
    wide = tuple(length for pair in zip(times, shape, strict=True) for length in pair)
    spread = apply(BROADCAST_TO, apply(RESHAPE, x, shape=between), shape=wide)
    return apply(RESHAPE, spread, shape=tuple(t * s for t, s in zip(times, shape, strict=True)))


# -- padding -------------------------------------------------------------------------------------------------


def _inner(shape: Shape, widths: Any) -> tuple[slice, ...]:
    return tuple(slice(before, before + n) for n, (before, _) in zip(shape, widths, strict=True))


def _pad(x: Any, fill: Any, widths: Any) -> Any:
    x = np.asarray(x)
    out = np.empty(_padded(x, fill, widths), x.dtype)
    out[...] = fill
    out[_inner(x.shape, widths)] = x
    return out


def _padded(x: Any, fill: Any, widths: Any) -> Shape:
    return tuple(before + n + after for n, (before, after) in zip(x.shape, widths, strict=True))


def _pad_transpose(ct: Any, which: int, x: Any, fill: Any, widths: Any) -> Any:
    shape, wide = shape_of(x), shape_of(ct)
    inner = _inner(shape, widths)
    if which == 0:
        index = tuple(normal_slice(part, n) for part, n in zip(inner, wide, strict=True))
        return GETITEM(ct, index=index)
    margin = np.ones(wide, np.bool_)
    margin[inner] = False
    return SUM(WHERE(margin, ct, 0.0), axis=tuple(range(len(wide))), keepdims=False)


def _lower_pad(g: Graph[N], result: Abstract, x: N, fill: N, widths: Any) -> N:
    return g.pad(x, g.cast(fill, x.dtype), [before for before, _ in widths], result.shape)


PAD: Linear = Linear(
    "pad",
    _pad,
    shape=_padded,
    dtype=lambda x, fill, widths: x.dtype,
    transposes=(_pad_transpose,),
    jointly=True,
    moves=True,
    notation=Notation(
        lambda x, attrs: f"pad({x[0]}, {attrs['widths']}, constant_values={x[1]})",
        lambda x, attrs: rf"\operatorname{{pad}}_{{{x[1]}}}\left({x[0]}\right)",
    ),
    domains=(Reals(), Reals()),
    samples=(
        Sample(((3,), ()), {"widths": ((1, 2),)}),
        Sample(((2, 3), ()), {"widths": ((0, 0), (2, 0))}),
        Sample(((0, 2), ()), {"widths": ((1, 1), (0, 1))}),
        Sample(((), ()), {"widths": ()}),
    ),
    lower=_lower_pad,
    doc="x inside a margin filled with one number. widths: how much before and after, for each axis.",
)

_BY_INDEX = ("edge", "reflect", "symmetric", "wrap")


@composite("pad")
def pad(
    x: Any,
    pad_width: Any,
    *,
    mode: Literal["constant", "edge", "reflect", "symmetric", "wrap"] = "constant",
    constant_values: Any = 0,
) -> Value:
    """The array inside a margin.

    pad_width: n, (before, after) for all axes, or one such pair for each axis. mode: what stands in the
    margin, as in `numpy.pad`: constant_values (a number, or numbers in the form of pad_width); the nearest
    element ("edge"); the array mirrored without or with its edge ("reflect", "symmetric") or continued from
    its other end ("wrap").

    >>> pad([1.0, 2.0], (1, 2)).data, pad([1.0, 2.0, 3.0], (1, 1), mode="reflect").data
    (array([0., 1., 2., 0., 0.]), array([2., 1., 2., 3., 2.]))
    """
    x = as_value(x)
    widths = _pairs(pad_width, x.ndim, f"pad: pad_width {pad_width!r}")
    try:
        margins = tuple((operator.index(before), operator.index(after)) for before, after in widths)
    except TypeError:
        raise ShapeError(f"pad: pad_width {pad_width!r} must hold whole numbers.") from None
    if any(width < 0 for pair in margins for width in pair):
        raise ShapeError(f"pad: pad_width {pad_width!r} cannot be negative; to cut something off use a slice.")
    if mode == "constant":
        return _pad_with(x, margins, constant_values)
    if mode not in _BY_INDEX:
        raise DomainError(
            f'pad: there is no mode {mode!r}; choose "constant", "edge", "reflect", "symmetric" or "wrap".'
        )
    padded: Value = x
    for axis, width in enumerate(margins):
        if width == (0, 0):
            continue
        if not x.shape[axis]:
            raise ShapeError(f"pad: mode {mode!r} has nothing to continue: axis {axis} of shape {x.shape} is empty.")
        positions = np.pad(np.arange(x.shape[axis]), width, mode=mode)
        padded = getitem(padded, (*(slice(None),) * axis, positions))
    return padded


def _pad_with(x: Value, widths: tuple[tuple[int, int], ...], fill: Any) -> Value:
    if not isinstance(fill, (Sequence, np.ndarray)) or (isinstance(fill, np.ndarray) and not fill.ndim):
        return apply(PAD, x, fill, widths=widths)
    fills = _pairs(fill, x.ndim, f"pad: constant_values {fill!r}")
    for axis, (pair, width) in enumerate(zip(fills, widths, strict=True)):
        for number, side in zip(pair, ((width[0], 0), (0, width[1])), strict=True):
            if side != (0, 0):
                x = apply(PAD, x, number, widths=(*((0, 0),) * axis, side, *((0, 0),) * (x.ndim - axis - 1)))
    return x


def _pairs(given: Any, rank: int, what: str) -> tuple[tuple[Any, Any], ...]:
    """One pair for each axis, from a number, one for each axis, or a pair for all or for each."""
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if not isinstance(given, Sequence):
        return ((given, given),) * rank
    rows = [tuple(row) if isinstance(row, Sequence) else row for row in given]
    if all(not isinstance(row, tuple) for row in rows):
        if len(rows) == 1:
            return ((rows[0], rows[0]),) * rank
        if len(rows) == 2:
            return ((rows[0], rows[1]),) * rank
    elif all(isinstance(row, tuple) and len(row) in (1, 2) for row in rows):
        pairs = tuple((row[0], row[-1]) for row in rows)
        if len(pairs) == 1:
            return pairs * rank
        if len(pairs) == rank:
            return pairs
    raise ShapeError(f"{what} is neither a number, nor (before, after), nor such a pair for each of {rank} axes.")


# -- triangles -----------------------------------------------------------------------------------------------


def _triangle(name: str, evaluate: Callable[..., Any], kept: str, doc: str) -> Linear:
    """kept: how column - row compares to k where an element stays."""

    def transpose(ct: Any, x: Any, k: int) -> Any:
        return op(ct, k=k)

    def lower(g: Graph[N], result: Abstract, x: N, k: int) -> N:
        n = len(x.shape)
        above = g.map("subtract", g.iota(x.shape, n - 1), g.iota(x.shape, n - 2))
        return g.map("where", g.map(kept, above, g.number(k, INT64), dtype=BOOL), x, g.number(0, x.dtype))

    op = Linear(
        name,
        lambda x, k: evaluate(x, k),
        shape=lambda x, k: x.shape,
        transposes=(transpose,),
        moves=True,
        samples=(
            Sample(((3, 3),), {"k": 0}),
            Sample(((2, 3, 4),), {"k": -1}),
            Sample(((3, 2),), {"k": 1}),
            Sample(((0, 2),), {"k": 0}),
        ),
        lower=lower,
        doc=doc,
    )
    return op


TRIL = _triangle(
    "tril", np.tril, "less_equal", "Zero above the diagonal number k, which counts upwards from the main one."
)
TRIU = _triangle(
    "triu", np.triu, "greater_equal", "Zero below the diagonal number k, which counts upwards from the main one."
)


def tril(x: Any, /, *, k: int = 0) -> Value:
    """The lower triangle of a matrix, or of each of a stack: zeros above diagonal `k` (0 is the main one).

    >>> tril([[1.0, 2.0], [3.0, 4.0]]).data
    array([[1., 0.],
           [3., 4.]])
    """
    return apply(TRIL, _matrix(x, "tril"), k=operator.index(k))


def triu(x: Any, /, *, k: int = 0) -> Value:
    """The upper triangle of a matrix, or of each of a stack: zeros below diagonal `k` (0 is the main one).

    >>> triu([[1.0, 2.0], [3.0, 4.0]]).data
    array([[1., 2.],
           [0., 4.]])
    """
    return apply(TRIU, _matrix(x, "triu"), k=operator.index(k))


def _matrix(x: Any, name: str) -> Value:
    found = as_value(x)
    if found.ndim < 2:
        raise ShapeError(f"{name}: a triangle is part of a matrix, and this array has shape {found.shape}.")
    return found
