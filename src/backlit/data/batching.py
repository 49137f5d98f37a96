"""A data set in batches, in an order that is a pure function of a key."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from backlit.core import threefry
from backlit.core.errors import DataError, DomainError, IndexingError
from backlit.core.value import Value
from backlit.data.accepting import as_dataset
from backlit.data.dataset import Dataset
from backlit.data.seeds import Ints, Seed, Words, whole, words_of


def batch_indices(n: int, size: int | None, key: Seed | None, batch: int) -> Ints:
    """The rows of one batch: (size,) int64, or fewer in the last one.

    The order of all `n` rows is `threefry.permutation(key, n)`, or 0 to n - 1 if `key` is None; batch i is its part
    from i * size to (i + 1) * size. So any batch can be made again without those before it. size: None for all rows.
    Raises: IndexingError for a batch that is not there. Cost: a sort of n numbers, which is kept for the last few
    orders.

    >>> [batch_indices(5, 2, 0, i).tolist() for i in range(3)]
    [[1, 2], [0, 4], [3]]
    """
    rows = whole(n, "n", "batch_indices")
    length = rows if size is None else whole(size, "size", "batch_indices")
    count = -(-rows // length)
    place = operator.index(batch)
    if not 0 <= place < count:
        raise IndexingError(
            f"batch_indices: there is no batch {place}; {rows} rows in batches of {length} make {count}, numbered "
            f"from 0 to {count - 1}."
        )
    order = np.arange(rows) if key is None else _order(words_of(key, "batch_indices"), rows)
    return order[place * length : (place + 1) * length].copy()


@lru_cache(maxsize=4)
def _order(words: Words, rows: int) -> Ints:
    found = threefry.permutation(words, rows)
    found.flags.writeable = False
    return found


class Batches(Sequence[Any]):
    """The batches of one epoch: a sequence, so with a length, places and slices; made by `batches`.

    Going through it twice gives the same batches twice.
    """

    __slots__ = ("_arrays", "_count", "_key", "_rows", "_single", "_size")

    def __init__(self, arrays: Sequence[Any], single: bool, size: int, key: Words | None, drop_last: bool) -> None:
        self._arrays = arrays
        self._single = single
        self._rows = len(arrays[0])
        self._size = size
        self._key = key
        self._count = self._rows // size if drop_last else -(-self._rows // size)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(self._count))]
        i = operator.index(place)
        i += self._count if i < 0 else 0
        if not 0 <= i < self._count:
            raise IndexingError(f"there is no batch {place} among {self._count}.")
        start, stop = i * self._size, (i + 1) * self._size
        where: Any = slice(start, stop) if self._key is None else _order(self._key, self._rows)[start:stop]
        parts = tuple(array[where] for array in self._arrays)
        return parts[0] if self._single else parts

    def __repr__(self) -> str:
        order = "in their order" if self._key is None else "shuffled"
        return f"Batches({self._count} of {self._size}, {self._rows} rows {order})"


def batches(
    data: Any, size: int | None = 32, shuffle: bool = True, key: Seed | None = None, drop_last: bool = False
) -> Batches:
    """The rows of `data` in batches of `size`, each row once: what one epoch of training goes through.

    data: a Dataset or whatever `as_dataset` takes, for batches `(x, y)`; a tuple of any number of arrays of equal
    length, for tuples of as many; or one array, for arrays. size: None for one batch of everything. With `drop_last`
    a last batch with fewer rows is left out. key: a key, or a whole number that stands for one; the order is a pure
    function of it, so give each epoch its own: `bl.random.fold_in(key, epoch)`.

    Raises: DomainError for shuffle=True without a key, or a size that leaves no batch. Without shuffling the batches
    are views, not copies.

    >>> x, y = np.arange(5.0), np.arange(5.0) ** 2
    >>> for a, b in batches((x, y), 2, key=0):
    ...     print(a, b)
    [1. 2.] [1. 4.]
    [0. 4.] [ 0. 16.]
    [3.] [9.]
    """
    arrays, single = _arrays(data)
    rows = len(arrays[0])
    length = rows if size is None else whole(size, "size", "batches")
    if drop_last and length > rows:
        raise DomainError(f"batches: size={length} of {rows} rows with drop_last=True leaves no batch; lower the size.")
    if shuffle and key is None:
        raise DomainError(
            "batches: shuffle=True needs a key, as no random state is hidden anywhere. Write "
            "key=bl.random.fold_in(key, epoch) for another order in each epoch, or shuffle=False for the order of the "
            "data."
        )
    return Batches(arrays, single, length, words_of(key, "batches") if shuffle else None, bool(drop_last))


def _arrays(data: Any) -> tuple[list[Any], bool]:
    if isinstance(data, (np.ndarray, Value)):
        arrays, single = [data.data if isinstance(data, Value) else data], True
    elif isinstance(data, tuple) and all(isinstance(part, np.ndarray) for part in data) and data:
        arrays, single = list(data), False
    else:
        found: Dataset = as_dataset(data)
        arrays, single = [found.inputs, found.targets], False
    shapes = [np.shape(array) for array in arrays]
    if any(not shape or not shape[0] for shape in shapes):
        raise DataError(f"batches: arrays of shapes {', '.join(map(str, shapes))}; each needs at least one row.")
    if len({shape[0] for shape in shapes}) > 1:
        raise DataError(
            f"batches: arrays of shapes {', '.join(map(str, shapes))}; row i of each belongs together, so they need "
            "equally many."
        )
    return arrays, single
