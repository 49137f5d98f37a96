"""Machine code kept on disk, so that what was compiled once need not be compiled again.

An entry is one file, named by a hash of all that decides what is in it, and holding a checksum of it. Files appear
whole or not at all, so any number of processes may write at once; one that is damaged is as good as absent. Whatever
goes wrong here (no folder, no rights, no space), compiling goes on without a cache.

Where: `BACKLIT_CACHE_DIR`, if it is set ("off" for no cache); else the user's own folder for such files.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backlit.core.files import write_whole

VARIABLE = "BACKLIT_CACHE_DIR"
LIMIT = 256 << 20
"""How many bytes may be kept; when there are more, those used longest ago are removed."""
_MAGIC = b"backlit\1"
_SUFFIX = ".code"
_LEFT_OVER = 3600  # seconds after which an unfinished file is taken to be left by a process that died


@dataclass(frozen=True)
class Kept:
    """One entry, as `backlit cache` shows it. used: when it was last written or read, in seconds since 1970."""

    name: str
    size: int
    used: float


@dataclass(frozen=True)
class Cache:
    """A folder of machine code. `get` and `put` never raise for what is wrong with the disk.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     kept = Cache(Path(folder))
    ...     key = kept.key("text", "cpu")
    ...     kept.get(key), kept.put(key, [b"code"]), kept.get(key)
    (None, True, [b'code'])
    """

    folder: Path
    limit: int = LIMIT

    @property
    def common(self) -> Cache:
        """Where the code of functions is kept that programs have in common."""
        return Cache(self.folder / "common", self.limit)

    @staticmethod
    def key(*parts: str) -> str:
        """The name under which code is kept that these texts decide."""
        digest = hashlib.sha256()
        for part in parts:
            data = part.encode()
            digest.update(struct.pack("<Q", len(data)))
            digest.update(data)
        return digest.hexdigest()

    def get(self, key: str) -> list[bytes] | None:
        """What was kept, or None. Something damaged is removed."""
        path = self.folder / (key + _SUFFIX)
        try:
            data = path.read_bytes()
        except OSError:
            with suppress(OSError):
                self._make()
                self._count("misses")
            return None
        found = _opened(data, key)
        if found is None:
            with suppress(OSError):
                path.unlink()
            self._count("misses")
            return None
        with suppress(OSError):
            os.utime(path)
        self._count("hits")
        return found

    def put(self, key: str, objects: Sequence[bytes]) -> bool:
        """Keep it. Whether that went well."""
        payload = b"".join([struct.pack("<I", len(objects)), *(struct.pack("<Q", len(x)) + x for x in objects)])
        try:
            self._make()
            if self.distrusted():
                return False
            write_whole(self.folder / (key + _SUFFIX), _MAGIC + _checksum(payload, key) + payload)
            self._shrink()
        except OSError:
            return False
        return True

    def distrusted(self) -> str:
        """Why code from this folder is not run, if it is not: somebody else may write there."""
        if os.name != "posix":
            return ""
        try:
            found = self.folder.stat()
        except OSError:
            return ""
        if found.st_uid not in (os.geteuid(), 0):
            return f"{self.folder} belongs to another user, whose code would be run. Set {VARIABLE} to your own folder."
        if stat.S_IMODE(found.st_mode) & stat.S_IWOTH:
            return f"anybody may write into {self.folder}, and its code would be run: chmod o-w {self.folder}"
        return ""

    # -- what is there ------------------------------------------------------------------------------------------

    def entries(self) -> list[Kept]:
        """What is kept, the last used first."""
        return sorted(self._scan(_SUFFIX), key=lambda kept: -kept.used)

    def counts(self) -> tuple[int, int]:
        """How often something was found, and how often not, since the cache was cleared."""
        return self._length("hits"), self._length("misses")

    def clear(self) -> int:
        """Remove all entries; how many there were. Raises OSError if one cannot be removed."""
        found = self.entries()
        for kept in found:
            (self.folder / kept.name).unlink(missing_ok=True)
        for kept in self._scan(".part"):
            (self.folder / kept.name).unlink(missing_ok=True)
        for name in ("hits", "misses"):
            (self.folder / name).unlink(missing_ok=True)
        if (self.folder / "common").is_dir():
            self.common.clear()
            with suppress(OSError):  # somebody keeps something again
                self.common.folder.rmdir()
        return len(found)

    def _make(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _scan(self, suffix: str) -> Iterator[Kept]:
        try:
            with os.scandir(self.folder) as files:
                for file in files:
                    if file.name.endswith(suffix):
                        with suppress(OSError):  # removed meanwhile
                            about = file.stat()
                            yield Kept(file.name, about.st_size, about.st_mtime)
        except OSError:
            return

    def _shrink(self) -> None:
        """Make room: below three quarters of what may be kept, so that this is not to be done at once again."""
        found = self.entries()
        size = sum(kept.size for kept in found)
        if size > self.limit:
            while found and size > self.limit * 3 // 4:
                oldest = found.pop()
                size -= oldest.size
                with suppress(OSError):
                    (self.folder / oldest.name).unlink()
        for part in self._scan(".part"):
            if time.time() - part.used > _LEFT_OVER:
                with suppress(OSError):
                    (self.folder / part.name).unlink()

    def _count(self, name: str) -> None:
        """Add one. The count is the length of a file, which the system lets many lengthen at once."""
        with suppress(OSError):
            handle = os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(handle, b".")
            finally:
                os.close(handle)

    def _length(self, name: str) -> int:
        try:
            return (self.folder / name).stat().st_size
        except OSError:
            return 0


def _checksum(payload: bytes, key: str) -> bytes:
    return hashlib.sha256(key.encode() + payload).digest()


def _opened(data: bytes, key: str) -> list[bytes] | None:
    """The objects of a file, or None if it is not as it was written."""
    begin = len(_MAGIC) + 32
    payload = data[begin:]
    if not data.startswith(_MAGIC) or data[len(_MAGIC) : begin] != _checksum(payload, key):
        return None
    (count,) = struct.unpack_from("<I", payload)
    objects, at = [], 4
    for _ in range(count):
        (size,) = struct.unpack_from("<Q", payload, at)
        objects.append(payload[at + 8 : at + 8 + size])
        at += 8 + size
    return objects


def folder() -> Path | None:
    """Where machine code is kept; None if it shall not be."""
    said = os.environ.get(VARIABLE)
    if said is not None:
        return None if said.strip().lower() in ("", "0", "off", "none") else Path(said)
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # nobody's home
        return None
    return base / "backlit" / "code"


def standard() -> Cache | None:
    """The cache that compiling uses, unless there is none or it cannot be trusted."""
    where = folder()
    if where is None:
        return None
    found = Cache(where)
    return None if found.distrusted() else found
