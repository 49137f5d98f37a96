"""The command `backlit`: what all its commands share, and where each is found."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, Any

import typer

from backlit.cli import cache, demo, draw, explain, rewind, runs, train, verify, why
from backlit.cli.screen import say
from backlit.core.errors import BacklitError

WRONG_USE, INTERRUPTED, PIPE_CLOSED = 2, 130, 141
"""Exit codes: a mistake in what was asked; Ctrl-C (128 + SIGINT); nobody reads on (128 + SIGPIPE)."""


class Commands(typer.core.TyperGroup):
    """The commands, none of which shows a traceback for a mistake of its user."""

    def invoke(self, ctx: Any) -> object:
        """Run a command. What the user can mend becomes one message on standard error and exit code 2."""
        try:
            return super().invoke(ctx)
        except BacklitError as error:
            say(f"error: {error}")
            raise typer.Exit(WRONG_USE) from None
        except BrokenPipeError:
            _let_go_of_output()
            raise typer.Exit(PIPE_CLOSED) from None


app = typer.Typer(
    cls=Commands,
    name="backlit",
    help="Backpropagation, illuminated: every gradient can be run, explained, checked and drawn.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help needs no further imports
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from backlit import __version__

        print(f"backlit {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Backpropagation, illuminated: every gradient can be run, explained, checked and drawn."""


for command in (explain, draw, why, verify, train, rewind, runs, demo, cache):
    command.register(app)


def _let_go_of_output() -> None:
    """Standard output leads nowhere from now on, so that nothing complains when it is flushed at the end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # standard output is no file
        sys.stdout = io.StringIO()


def app_main() -> None:
    """What the `backlit` command runs. It always ends with an exit code."""
    try:
        try:
            app(prog_name="backlit")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _let_go_of_output()
        sys.exit(PIPE_CLOSED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
