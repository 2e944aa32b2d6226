"""Tables of numbers on disk, found again by a key: whole or not there at all (lesson 04).

An entry is a folder named by its key: ``entry.json``, and one file of raw numbers for each table. It is
written under a hidden name, and gets its own in one step when all of it is on the disk. What a killed run
leaves behind is never taken for an entry, and several programs can use one folder at once.
"""

import contextlib
import dataclasses
import datetime
import io
import json
import math
import mmap
import os
import pathlib
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np

KEY = re.compile("[0-9a-f]{32}-[0-9a-f]{32}")
DAY, TEN_MINUTES = 24 * 60 * 60.0, 600.0


class NoRoom(OSError):
    """Nothing can be stored: too much, a full disk, a folder that cannot be written. In one line."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the files of an entry hold.

    Attributes:
        count: how many rows each table has.
        shapes: of one row, for each table.
        kinds: the type of its numbers on the disk, likewise.
    """

    count: int
    shapes: tuple[tuple[int, ...], ...]
    kinds: tuple[np.dtype, ...]

    @property
    def sizes(self) -> list[int]:
        """The bytes of each file."""
        pairs = zip(self.shapes, self.kinds, strict=True)
        return [self.count * math.prod(shape) * kind.itemsize for shape, kind in pairs]

    def __str__(self) -> str:
        return ", ".join(f"{shape} {kind}" for shape, kind in zip(self.shapes, self.kinds, strict=True))


@dataclasses.dataclass(frozen=True)
class Stored:
    """An entry, open for reading. Its files stay open, so that it outlives its eviction (not on Windows).

    Attributes:
        key: the name of its folder.
        was_there: whether it was found rather than written.
    """

    key: str
    was_there: bool
    _layout: Layout
    _files: tuple[io.FileIO, ...] = dataclasses.field(repr=False)

    @property
    def count(self) -> int:
        """The number of rows."""
        return self._layout.count

    @property
    def bytes(self) -> int:
        """How much the tables take on the disk."""
        return sum(self._layout.sizes)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of one row, for each table."""
        return self._layout.shapes

    @property
    def dtypes(self) -> tuple[np.dtype, ...]:
        """Of the numbers that ``rows`` returns, for each table: float32 where float16 is stored."""
        return tuple(np.dtype("float32") if kind == np.float16 else kind for kind in self._layout.kinds)

    def rows(self, indices: np.ndarray) -> list[np.ndarray]:
        """Some rows, in the order of ``indices``: ``(len(indices), *shape)`` for each table.

        The files are mapped anew each time: else pages once read would go on counting as this process's.

        Args:
            indices: whole numbers below ``count``.
        """
        chosen, result = np.asarray(indices), []
        tables = zip(self._files, self._layout.shapes, self._layout.kinds, self.dtypes, strict=True)
        for file, shape, kind, dtype in tables:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            table = np.frombuffer(mapped, kind).reshape(self.count, *shape)
            result.append(table[chosen].astype(dtype, copy=False))
        return result

    def close(self) -> None:
        """Close the files; ``rows`` raises ValueError from then on."""
        for file in self._files:
            file.close()


@dataclasses.dataclass(frozen=True)
class Entry:
    """What an entry says of itself, for a list of what a folder holds."""

    key: str
    bytes: int
    last_used: datetime.datetime
    description: str


def entries(folder: pathlib.Path) -> list[Entry]:
    """What the folder holds, the least recently used first; nothing if there is no such folder."""
    found, paths = [], []
    with contextlib.suppress(OSError):
        paths = [path for path in folder.iterdir() if KEY.fullmatch(path.name)]
    for path in paths:
        with contextlib.suppress(OSError):  # another run is removing it
            size, used = sum(file.stat().st_size for file in path.iterdir()), path.stat().st_mtime
            description = "damaged"
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                description = str(json.loads((path / "entry.json").read_bytes())["description"])
                used = (path / "entry.json").stat().st_mtime
            last_used = datetime.datetime.fromtimestamp(used, datetime.UTC).astimezone()
            found.append(Entry(path.name, size, last_used, description))
    return sorted(found, key=lambda entry: entry.last_used)


def clear(folder: pathlib.Path) -> int:
    """Remove all entries, and what killed runs left behind. Returns the number of bytes freed."""
    freed = sum(entry.bytes for entry in entries(folder) if _remove(folder / entry.key))
    return freed + _remove_abandoned(folder, TEN_MINUTES)


def in_words(size: int) -> str:
    """A number of bytes, to be read: ``"1.50 GiB"``."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 2**power:
            return f"{size / 2**power:.2f} {unit}"
    return f"{size} bytes"


def prepare(folder: pathlib.Path) -> None:
    """Make the folder if need be, and remove what runs that were killed a day ago or earlier left there.

    Raises:
        NoRoom: if it can be neither found nor made.
    """
    with _no_room(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder, DAY)


def find(path: pathlib.Path, layout: Layout) -> Stored | None:
    """Open the entry, and note that it was used now. None if there is none; a damaged one is removed.

    Raises:
        NoRoom: if it is there, but cannot be read.
    """
    if found := _open(path, layout, was_there=True):
        with contextlib.suppress(OSError):  # a folder that can only be read will do
            os.utime(path / "entry.json")
    return found


def require_room(folder: pathlib.Path, needed: int, limit: int) -> int:
    """The most bytes that entries may take: the limit, or what they take now and is free.

    Raises:
        NoRoom: if ``needed`` is more.
    """
    with _no_room(folder):
        free = shutil.disk_usage(folder).free
    held = sum(entry.bytes for entry in entries(folder))
    if needed > limit:
        raise NoRoom(
            f"The activations take {in_words(needed)}, but the cache's limit is {in_words(limit)}. Raise "
            'limit_bytes, store "float16", or take fewer views, or fewer or smaller images.'
        )
    if needed > free + held:
        raise NoRoom(
            f"The activations take {in_words(needed)}, but only {in_words(free)} are free in {folder}. Free "
            "some disk space, or set the variable FINETUNE_CACHE to a folder on another disk."
        )
    return min(limit, free + held)


def make_room(folder: pathlib.Path, needed: int, limit: int) -> None:
    """Remove the least recently used entries until ``needed`` bytes fit in.

    Raises:
        NoRoom: if they never would; then nothing is removed.
    """
    most = require_room(folder, needed, limit) - needed
    found = entries(folder)
    held = sum(entry.bytes for entry in found)
    for entry in found:
        if held > most and _remove(folder / entry.key):
            held -= entry.bytes
    if needed and held > most:
        raise NoRoom(f"There are entries in {folder} that cannot be removed to make room.")


class Writer:
    """An entry while it is written, under a hidden name. What is left of it when a ``with`` ends is removed.

    Each method raises NoRoom if the disk is full or the folder cannot be written.
    """

    def __init__(self, folder: pathlib.Path, layout: Layout) -> None:
        self.path, self.layout = folder / f".writing-{uuid.uuid4().hex}", layout
        self.files: list[io.FileIO] = []

    def __enter__(self) -> "Writer":
        with _no_room(self.path.parent):
            self.path.mkdir()
            for number in range(len(self.layout.shapes)):
                self._create(f"{number}.bin")
        return self

    def __exit__(self, *error: object) -> None:
        for file in self.files:
            with contextlib.suppress(OSError):
                file.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def append(self, tables: list[np.ndarray]) -> None:
        """Write some more rows of each table.

        Raises:
            OverflowError: if a number is too large for float16.
        """
        for file, table, kind in zip(self.files, tables, self.layout.kinds, strict=True):
            with np.errstate(over="ignore"):
                numbers = table.astype(kind, copy=False)
            if kind == np.float16 and np.isinf(numbers).sum() > np.isinf(table).sum():
                raise OverflowError(
                    f"An activation is {np.abs(table).max():.3g}, but float16 ends at 65504. Store float32."
                )
            self._write(file, numbers.tobytes())

    def publish(self, key: str, description: str) -> Stored:
        """Give the entry its name. If another run was first, its entry, which is the same, is used."""
        path, facts = self.path.with_name(key), _facts(key, self.layout) | {"description": description}
        with _no_room(path.parent):
            self._create("entry.json")
            self._write(self.files[-1], json.dumps(facts).encode())
            for file in self.files:
                os.fsync(file.fileno())
                file.close()
        for _ in range(2):  # the second time in place of a damaged entry, which _open has removed
            with contextlib.suppress(OSError):
                self.path.rename(path)
            if found := _open(path, self.layout, was_there=False):
                return found
        raise NoRoom(f"Another run has removed from {path.parent} what was just stored there.")

    def _create(self, name: str) -> None:
        self.files.append((self.path / name).open("wb", buffering=0))

    def _write(self, file: io.FileIO, content: bytes) -> None:
        rest = memoryview(content)
        with _no_room(self.path.parent):
            while rest:  # a disk that is nearly full takes a part first
                rest = rest[file.write(rest) :]


@contextlib.contextmanager
def _no_room(folder: pathlib.Path) -> Iterator[None]:
    """Raise NoRoom in place of any other OSError."""
    try:
        yield
    except NoRoom:
        raise
    except OSError as error:
        raise NoRoom(
            f"Activations cannot be stored in {folder}: {error.strerror or error}. Free some disk space, or "
            "set the variable FINETUNE_CACHE to a folder that can be written."
        ) from error


def _facts(key: str, layout: Layout) -> dict[str, Any]:
    """What ``entry.json`` must say, besides a description, for an entry to be trusted."""
    tables = zip(layout.shapes, layout.kinds, strict=True)
    return {"key": key, "count": layout.count, "tables": [[list(shape), kind.str] for shape, kind in tables]}


def _open(path: pathlib.Path, layout: Layout, *, was_there: bool) -> Stored | None:
    with contextlib.ExitStack() as opened, _no_room(path.parent):
        if not path.exists():  # so that nothing is removed: another run may be storing it just now
            return None
        try:
            facts = dict(json.loads((path / "entry.json").read_bytes()))
            del facts["description"]
            names = [f"{number}.bin" for number in range(len(layout.shapes))]
            files = [opened.enter_context((path / name).open("rb", buffering=0)) for name in names]
            sizes = [os.fstat(file.fileno()).st_size for file in files]
            if facts != _facts(path.name, layout) or sizes != layout.sizes:
                raise ValueError(f"{path} is damaged.")
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            _remove(path)
            return None
        opened.pop_all()
    return Stored(path.name, was_there, layout, tuple(files))


def _remove(path: pathlib.Path) -> bool:
    """Remove an entry: its name first, so that never half of one is found under it. Whether it is gone."""
    hidden = path.with_name(f".removing-{uuid.uuid4().hex}")
    try:
        path.rename(hidden)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    shutil.rmtree(hidden, ignore_errors=True)
    return True


def _remove_abandoned(folder: pathlib.Path, seconds: float) -> int:
    """Remove hidden folders in which nothing was written for so long. Returns the number of bytes freed."""
    freed = 0
    for path in [*folder.glob(".writing-*"), *folder.glob(".removing-*")]:
        with contextlib.suppress(OSError):
            files = [file.stat() for file in path.iterdir()]
            if time.time() - max(state.st_mtime for state in [path.stat(), *files]) > seconds:
                shutil.rmtree(path, ignore_errors=True)
                freed += sum(state.st_size for state in files)
    return freed
