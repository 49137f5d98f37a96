"""The family of errors. Each is a `BacklitError` and also the built-in kind that a Python programmer would expect."""

from __future__ import annotations


class BacklitError(Exception):
    """Base of every error raised on purpose by Backlit."""


class ShapeError(BacklitError, ValueError):
    """Shapes that do not fit together, or an axis that is not there."""


class DtypeError(BacklitError, TypeError):
    """A dtype where another is needed, such as an integer where only a real number has a derivative."""


class DomainError(BacklitError, ValueError):
    """A value outside the domain of the operation."""


class IndexingError(BacklitError, IndexError):
    """An index outside the array, or of a kind that cannot index."""


class GraphError(BacklitError, RuntimeError):
    """A question the graph cannot answer, such as the gradient of a value that nothing was computed from."""


class ConversionError(BacklitError, TypeError):
    """A conversion that would silently cut a value from its graph."""


class TracedValueError(BacklitError, TypeError):
    """A number was asked of a value that, while its function is traced, has only a shape and a dtype."""


class NonFiniteError(BacklitError, FloatingPointError):
    """The first NaN or infinity, found by `trace_nonfinite`."""


class ExpressionError(BacklitError, ValueError):
    """An expression given as text that cannot be read; the message holds a caret under the place."""


class DataError(BacklitError, ValueError):
    """A file or data set that is damaged or not of the expected form."""


class BacklitWarning(UserWarning):
    """Base of every warning given by Backlit."""


class BroadcastWarning(BacklitWarning):
    """Two vectors of one length, one a row and one a column, were broadcast to a square inside a loss."""


class StaleGradientWarning(BacklitWarning):
    """A gradient was added to one that belongs to an older value of the parameter (`zero_grad` was forgotten)."""


class NonFiniteWarning(BacklitWarning):
    """A NaN or an infinity, where the user asked to be warned and not stopped."""
