"""Replays the certificate of a gradient, and believes nothing of what it was told but the inputs.

    python checker FILE        (this folder alone, wherever it was copied to, will do)

It says `certified to k digits`, or names the first wrong step. For this it goes over the file twice.

* Step by step: each recorded number (a value, a local partial, a product, a sum) is held against what follows from
  the recorded numbers it was made of. What is further off than rounding explains is a wrong step.
* From the inputs alone: forward and backward once more, in exact fractions where the ops are rational, elsewhere in
  intervals whose ends are rounded outward. The true gradient lies inside; k is the number of significant digits
  to which the recorded one agrees with all that the interval holds.

What trust rests on: the files in this folder, and Python's `int`, `fractions` and `decimal`. Not on the rest of
Backlit, of which nothing is imported, nor on NumPy or the C library's functions, nor on any recorded number but the
inputs. What it cannot know is whether the graph in the file (ops, edges, inputs) is the function that was meant.
Numbers of ops it has no rule for and that have no derivative (`argmax`, say) stand in the file as "given": they are
taken as they are, and it says which they were.

Conventions: nothing flows where `relu`, `where`, `maximum` and `clip` did not choose; the slope of `relu` and `abs` at
0 is 0; those that tie in a maximum share equally; `leaky_relu` and `elu` have at 0 the slope of their left side; jumps
have slope 0; 0 to the power 0 is 1, with slope 0.
"""

from __future__ import annotations

from .document import SCHEMA, MalformedError  # noqa: TID252
from .verdict import Verdict, judge, main, verify  # noqa: TID252

__all__ = ["SCHEMA", "MalformedError", "Verdict", "judge", "main", "verify"]
