"""A whole array of gradients at one look: how large it is, and what stands out in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.numbers import shape_of
from backlit.explain.answer import Picture, Standout
from backlit.explain.blocks import Index
from backlit.explain.formula import number_text
from backlit.explain.naming import at
from backlit.explain.sums import axis_word

FAR = 5.0  # times the median norm of its neighbours: then a row or column stands out


def picture(gradient: Any, data: Any, name: str, top: int) -> Picture:
    """Sizes and standouts of a gradient; `data` is the array by which it is one."""
    g = np.asarray(gradient, np.float64)
    good = g[np.isfinite(g)]
    norm, own = _norm(g), _norm(np.asarray(data, np.float64))
    return Picture(
        shape=shape_of(gradient),
        norm=norm,
        mean=float(good.mean()) if good.size else float("nan"),
        largest=float(good.max()) if good.size else float("nan"),
        smallest=float(good.min()) if good.size else float("nan"),
        zeros=int(np.sum(g == 0)),
        not_finite=int(g.size - good.size),
        relative=norm / own if own and np.isfinite(norm) else None,
        standouts=tuple(_standouts(g, np.asarray(data, np.float64), name, top)) if good.size == g.size else (),
    )


def _norm(x: Any) -> float:
    largest = float(np.max(np.abs(x), initial=0.0))
    if not largest or not np.isfinite(largest):
        return largest
    return largest * float(np.sqrt(np.sum((x / largest) ** 2)))  # does not overflow


def largest_at(gradient: Any) -> Index:
    """Where the element is whose size is largest; NaN counts as larger than anything."""
    g = np.abs(np.asarray(gradient, np.float64))
    flat = int(np.argmax(np.where(np.isnan(g), np.inf, g)))
    return tuple(int(i) for i in np.unravel_index(flat, g.shape))


def _standouts(g: Any, data: Any, name: str, top: int) -> list[Standout]:
    found = []
    norm, sizes = _norm(g), np.abs(g).reshape(-1)
    for flat in _largest(sizes, top):
        index = tuple(int(i) for i in np.unravel_index(flat, g.shape))
        value = float(g[index])
        if not value:
            break
        share = f"{number_text(100 * (value / norm) ** 2, 2)} % of the squared norm"
        found.append(Standout(at(name, index), value, share))
    for axis in range(g.ndim if g.ndim > 1 else 0):
        found += _along(g, data, axis)
    if g.ndim == 1 and (dead := np.flatnonzero(g == 0)).size and dead.size < g.size:
        found.append(Standout(f"{dead.size} of {g.size} elements", 0.0, f"exactly zero: {_some(dead)}"))
    return found


def _largest(sizes: Any, top: int) -> Any:
    """The positions of the largest, in order; equal ones in the order in which they stand."""
    if sizes.size > top:
        least = np.partition(sizes, sizes.size - top)[sizes.size - top]
        places = np.flatnonzero(sizes >= least)
    else:
        places = np.arange(sizes.size)
    return places[np.argsort(-sizes[places], kind="stable")][:top]


def _along(g: Any, data: Any, axis: int) -> list[Standout]:
    """Rows or columns that are zero, far larger than the others, or all the same."""
    found: list[Standout] = []
    count = g.shape[axis]
    if count < 2:
        return found
    word = axis_word(g.ndim, axis)
    flat, own = (np.moveaxis(x, axis, 0).reshape(count, -1) for x in (g, data))
    scale = float(np.max(np.abs(flat)))
    norms = scale * np.sqrt(np.sum((flat / (scale or 1.0)) ** 2, axis=1))
    dead = np.flatnonzero(norms == 0)
    plural = f"{word}s" if g.ndim == 2 else f"places along {word}"
    if dead.size and dead.size < count:
        found.append(Standout(f"{dead.size} of {count} {plural}", 0.0, f"exactly zero: {_some(dead)}"))
    alive = norms[norms > 0]
    median = float(np.median(alive)) if alive.size else 0.0
    if alive.size > 2 and median and np.isfinite(norms.max()) and norms.max() > FAR * median:
        k = int(np.argmax(norms))
        times = number_text(norms[k] / median, 3)
        found.append(Standout(f"{word} {k}", float(norms[k]), f"the norm of this {word} is {times} times the median"))
    if alive.size == count and np.all(flat == flat[0]) and np.all(own == own[0]):
        text = f"all {plural} hold the same numbers and get the same gradient, so they will stay the same: symmetric"
        found.append(Standout(f"all {count} {plural}", float(norms[0]), text))
    return found


def _some(where: Any) -> str:
    shown = ", ".join(str(int(i)) for i in where[:8])
    return shown + (", …" if len(where) > 8 else "")


def zeros_in(gradient: Any) -> Index | None:
    """An element that is exactly zero, in a row or column all of which is; None if there is no such row or column."""
    g = np.asarray(gradient, np.float64)
    if g.ndim == 1:
        dead = np.flatnonzero(g == 0)
        return (int(dead[0]),) if dead.size else None
    for axis in reversed(range(g.ndim)):
        rest = tuple(a for a in range(g.ndim) if a != axis)
        dead = np.flatnonzero(np.all(g == 0, axis=rest))
        if dead.size:
            index = [0] * g.ndim
            index[axis] = int(dead[0])
            return tuple(index)
    return None
