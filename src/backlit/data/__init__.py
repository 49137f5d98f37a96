"""Data to learn from, as plain NumPy arrays."""

from __future__ import annotations

from backlit.data.digits import Digits, load_digits

__all__ = ["Digits", "load_digits"]
