"""Lets the folder be run: `python checker FILE`. Siblings are found beside this file, wherever the folder stands."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    package = __package__
    if not package:
        folder = Path(__file__).resolve().parent
        package = folder.name
        sys.path[:] = [*(p for p in sys.path if Path(p or ".").resolve() != folder), str(folder.parent)]
    sys.exit(import_module(package).main(sys.argv[1:]))
