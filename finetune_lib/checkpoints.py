"""Where a stage got to, on disk: a file is whole or not there, and the newest sound one counts (lesson 05).

Each stage has a folder. A file is written under a hidden name, and gets its own in one step when all of it is
on the disk; its name holds the SHA-256 of its content, so that a damaged one is found out and the one before
it used. On Colab a finished stage is copied to Google Drive if that is mounted, and fetched from there.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import uuid
import warnings
from typing import Any

import filelock
import numpy as np

from finetune_lib import environment

NAME = re.compile(r"(epoch|finished)-(\d{6,})-([0-9a-f]{32})\.npz")
KEPT = 2  # the newest, and the one before it
MOUNT = "from google.colab import drive; drive.mount('/content/drive')"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What is kept of a stage after an epoch.

    Attributes:
        epoch: how many epochs are done.
        is_final: whether the stage is.
        record: what can be said in JSON.
        arrays: the rest, by name.
    """

    epoch: int
    is_final: bool
    record: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Folder:
    """The checkpoints of one stage. Between ``with`` and its end no other run can use them.

    Raises (on entering):
        OSError: if another run uses the folder, or it can be neither made nor written.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path.absolute()
        self.lock = filelock.FileLock(self.path / ".lock")

    def __enter__(self) -> "Folder":
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock.acquire(timeout=0)
            for left in self.path.glob(".writing-*"):  # by a run that was killed: only one runs at a time
                left.unlink()
        except filelock.Timeout:
            raise OSError(
                f"Another run is using {self.path}. Wait until it ends, or stop it; or name another folder."
            ) from None
        except OSError as error:
            self.lock.release()
            raise OSError(
                f"Checkpoints cannot be written to {self.path} ({error.strerror or error}). Name a folder "
                "that you may write to."
            ) from error
        return self

    def __exit__(self, *error: object) -> None:
        self.lock.release()

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is sound, fetched from Drive if there is none here; or None."""
        drive = drive_folder(self.path)
        if drive is not None and not _files(self.path):
            with _warning(f"Finished stages cannot be fetched from {drive}"):
                for file in _files(drive):
                    _copy(file, self.path)
        found = newest(self.path)
        if found is not None and found.is_final:  # it may have been killed before the copy, or mounted since
            self._copy_to_drive()
        return found

    def write(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint, and remove all but the last two. A full disk loses nothing.

        Raises:
            OSError: if it cannot be written. Those that are there stay as they are.
        """
        arrays: dict[str, Any] = dict(checkpoint.arrays)
        arrays["record"] = np.frombuffer(json.dumps(checkpoint.record).encode(), np.uint8)
        archive = io.BytesIO()
        np.savez(archive, **arrays)
        content = archive.getbuffer()
        hidden = self.path / f".writing-{uuid.uuid4().hex}"
        try:
            with hidden.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            kind = "finished" if checkpoint.is_final else "epoch"
            path = self.path / f"{kind}-{checkpoint.epoch:06d}-{_digest(content)}.npz"
            hidden.rename(path)
        finally:
            hidden.unlink(missing_ok=True)
        for old in _files(self.path)[:-KEPT]:
            old.unlink(missing_ok=True)
        if checkpoint.is_final:
            self._copy_to_drive()

    def _copy_to_drive(self) -> None:
        """Keep a finished stage on Drive as well, and nothing else of it."""
        drive, path = drive_folder(self.path), _files(self.path)[-1]
        if drive is None or (drive / path.name).exists():
            return
        with _warning(f"The finished stage cannot be copied to {drive}"):
            _copy(path, drive)
            for old in {*_files(drive), *drive.glob(".writing-*")} - {drive / path.name}:
                old.unlink()


def newest(path: pathlib.Path, *, clean_up: bool = True) -> Checkpoint | None:
    """The newest checkpoint in a folder that is sound.

    Args:
        clean_up: remove damaged ones, with a warning.
    """
    for file in reversed(_files(path)):
        content = file.read_bytes()
        kind, epoch, digest = NAME.fullmatch(file.name).groups()  # type: ignore[union-attr]
        if _digest(content) == digest:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = dict(archive)
            record = json.loads(arrays.pop("record").tobytes())
            return Checkpoint(int(epoch), kind == "finished", record, arrays)
        if clean_up:
            with contextlib.suppress(OSError):
                file.unlink()
            warnings.warn(f"{file} is damaged. The checkpoint before it is used, if any.", stacklevel=2)
    return None


def stage_folder(folder: str | os.PathLike, label: str, first: int) -> pathlib.Path:
    """The folder of one stage.

    Args:
        folder: of all stages.
        label: the stage's name.
        first: the place of the first layer that learns. Not its name: Keras numbers unnamed layers through
            the session, so that a model built anew has other names.
    """
    expanded = pathlib.Path(os.path.expanduser(folder))  # noqa: PTH111 (Path.expanduser raises for "~nobody")
    name = re.sub(r"[^\w.-]+", "_", label)[:60]
    return expanded / f"{name}-from-layer-{first}"


def drive_folder(path: pathlib.Path) -> pathlib.Path | None:
    """Where on Google Drive a stage is kept as well; None where there is no Drive, or the stage is on it."""
    drive = environment.drive()
    if drive is None or path.is_relative_to(drive):
        return None
    here = pathlib.Path.cwd()
    place = path.relative_to(here) if path.is_relative_to(here) else path.relative_to(path.anchor)
    return drive / "finetune_lib" / place


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    """The checkpoints in a folder, the oldest first; a finished stage is newer than its epochs."""
    found = [(match, file) for file in path.glob("*.npz") if (match := NAME.fullmatch(file.name))]
    return [
        file for match, file in sorted(found, key=lambda pair: (pair[0][1] == "finished", int(pair[0][2])))
    ]


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _copy(file: pathlib.Path, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    hidden = folder / f".writing-{uuid.uuid4().hex}"
    try:
        shutil.copyfile(file, hidden)
        hidden.replace(folder / file.name)
    finally:
        hidden.unlink(missing_ok=True)


@contextlib.contextmanager
def _warning(what: str) -> Any:
    """Turn an OSError into a warning."""
    try:
        yield
    except OSError as error:
        warnings.warn(f"{what} ({error.strerror or error}).", stacklevel=4)
