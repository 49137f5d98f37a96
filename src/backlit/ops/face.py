"""What a value can do: importing this gives `Value` its operators, methods and conversions, and NumPy's protocols."""

from backlit.core.state import no_grad, scope
from backlit.core.value import Buffer, Parameter, Value, values
from backlit.ops import methods, operators

__all__ = ["Buffer", "Parameter", "Value", "methods", "no_grad", "operators", "scope", "values"]
