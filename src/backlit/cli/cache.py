"""`backlit cache`: the machine code that is kept on disk."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from backlit.cli.screen import show
from backlit.core.errors import DataError

SHOWN = 20


def register(app: typer.Typer) -> None:
    """Give the app its `cache` command."""
    app.command("cache")(cache)


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it.")] = False,
    every: Annotated[bool, typer.Option("--all", help=f"Show every entry, not the last {SHOWN} only.")] = False,
) -> None:
    """Show the machine code that is kept on disk, so that what was compiled once starts at once; or clear it.

    Where it is kept: BACKLIT_CACHE_DIR, if that is set ("off" for nowhere), else the folder for such files of your
    system. It can be removed at any time, and is made again as needed.
    """
    from backlit.compiler.cache import VARIABLE, Cache, folder

    where = folder()
    if where is None:
        show(f"Nothing is kept: {VARIABLE} says so.")
        return
    kept = Cache(where)
    if clear:
        try:
            count = kept.clear()
        except OSError as error:
            raise DataError(f"{where} cannot be cleared: {error.strerror or error}.") from None
        show(f"Removed {_count(count)} from {where}.")
        return
    entries = kept.entries()
    hits, misses = kept.counts()
    lines = [f"Machine code in {where}", ""]
    if reason := kept.distrusted():
        lines += [f"Not used: {reason}", ""]
    size = sum(entry.size for entry in entries)
    asked = hits + misses
    lines.append(f"{_count(len(entries))}, {_size(size)} of {_size(kept.limit)} that may be kept")
    common = kept.common.entries()
    if common:
        functions = "1 function" if len(common) == 1 else f"{len(common)} functions"
        lines.append(f"and {functions} that programs have in common, {_size(sum(entry.size for entry in common))}")
    lines.append(f"{hits} of {asked} times found" + (f" ({100 * hits / asked:.0f} %)" if asked else ""))
    shown = entries if every else entries[:SHOWN]
    if shown:
        lines += ["", f"{'entry':<18}{'size':>10}  last used"]
        now = time.time()
        lines += [f"{entry.name[:16]:<18}{_size(entry.size):>10}  {_ago(now - entry.used)}" for entry in shown]
    if len(entries) > len(shown):
        lines.append(f"… and {len(entries) - len(shown)} more (--all)")
    show("\n".join(lines))


def _count(n: int) -> str:
    return f"{n} {'entry' if n == 1 else 'entries'}"


def _size(n: int) -> str:
    """
    >>> _size(900), _size(26_000), _size(268_435_456)
    ('900 B', '26.0 kB', '268.4 MB')
    """
    return f"{n} B" if n < 1000 else f"{n / 1e3:.1f} kB" if n < 1e6 else f"{n / 1e6:.1f} MB"


def _ago(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            n = int(seconds // length)
            return f"{n} {unit}{'' if n == 1 else 's'} ago"
    return "just now"
