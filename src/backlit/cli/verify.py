"""`backlit verify`: the certificate of a gradient, replayed by the checker that trusts nothing of Backlit."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from backlit.core.errors import DataError

CANNOT_TELL = 3
"""The exit code where nothing is wrong, but not enough is certain."""

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="A certificate, as backlit.certificate(loss).save(FILE) wrote it; - for standard input."
    ),
]


def register(app: typer.Typer) -> None:
    """Give the app its `verify` command."""
    app.command("verify")(verify)


def verify(
    file: File,
    digits: Annotated[
        int, typer.Option(min=0, max=17, help="Be content only with so many certified digits (else exit code 3).")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Write the verdict as JSON.")] = False,
) -> None:
    """Replay the certificate of a gradient without the engine, in exact fractions and intervals.

    Says to how many digits the gradient is certified, or names the first wrong step.

    Exit code 0: certified. 1: a step is wrong. 2: the file is no certificate. 3: it could not be told, or the digits
    are too few.
    """
    from backlit.explain import checker

    try:
        verdict = checker.verify(file)
    except checker.MalformedError as error:
        raise DataError(f"{file} is not a certificate that can be checked: {error}.") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from None
    if as_json:
        print(json.dumps(verdict.to_dict(), indent=2, allow_nan=False))
    else:
        _say(str(verdict))
    if verdict.exit_code:
        raise typer.Exit(verdict.exit_code)
    if verdict.digits is not None and verdict.digits < digits:
        if not as_json:
            _say(f"  That is fewer than the {digits} digits asked for.")
        raise typer.Exit(CANNOT_TELL)


def _say(text: str) -> None:
    """Write to standard output, with `?` for what its encoding lacks."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))
