"""Checkpoints on disk: whole or not there, the newest sound one counts, one run at a time."""

import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import types

import numpy as np
import pytest

from finetune_lib import checkpoints, environment


def checkpoint(epoch: int, is_final: bool = False) -> checkpoints.Checkpoint:
    array = np.random.default_rng(epoch).integers(0, 256, 3000).astype("uint8")
    return checkpoints.Checkpoint(epoch, is_final, {"epoch": epoch}, {"state/000000": array})


def same(one: checkpoints.Checkpoint | None, other: checkpoints.Checkpoint) -> bool:
    return (
        one is not None
        and (one.epoch, one.is_final, one.record) == (other.epoch, other.is_final, other.record)
        and np.array_equal(one.arrays["state/000000"], other.arrays["state/000000"])
    )


@pytest.fixture
def folder(tmp_path):
    with checkpoints.Folder(tmp_path / "run" / "head") as opened:
        yield opened


def written(folder: checkpoints.Folder) -> list[str]:
    return sorted(path.name.rsplit("-", 1)[0] for path in folder.path.glob("[!.]*"))


def test_what_was_written_is_found_again_and_only_two_are_kept(folder):
    assert folder.newest() is None
    for epoch in (1, 2, 10):
        folder.write(checkpoint(epoch))
    assert same(folder.newest(), checkpoint(10)) and written(folder) == ["epoch-000002", "epoch-000010"]
    folder.write(checkpoint(10, is_final=True))
    assert same(folder.newest(), checkpoint(10, is_final=True))
    assert written(folder) == ["epoch-000010", "finished-000010"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit", "foreign"])
def test_a_damaged_one_is_found_out_and_the_one_before_it_used(folder, damage):
    for epoch in (1, 2):
        folder.write(checkpoint(epoch))
    (path,) = folder.path.glob("epoch-000002-*")
    content = bytearray(path.read_bytes())
    for place in range(0, len(content), 397) if damage == "one bit" else [len(content) // 2]:
        changed = content[:place] if damage == "truncated" else bytearray(content)
        if damage == "empty":
            changed.clear()
        elif damage == "foreign":
            changed = bytearray(b"not an archive")
        elif damage == "one bit":
            changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.warns(
            UserWarning, match=r"epoch-000002-.* is damaged\. The checkpoint before it is used"
        ):
            assert same(folder.newest(), checkpoint(1))
        assert not path.exists()


def test_what_a_killed_run_left_behind_is_removed(tmp_path):
    (tmp_path / ".writing-0123").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    with checkpoints.Folder(tmp_path) as folder:
        assert folder.newest() is None
    assert {path.name for path in tmp_path.iterdir()} <= {".lock", "notes.txt"}


def test_a_full_disk_leaves_what_is_there(folder):
    folder.write(checkpoint(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.write(checkpoint(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert same(folder.newest(), checkpoint(1)) and not list(folder.path.glob(".writing-*"))
    folder.write(checkpoint(2))
    assert same(folder.newest(), checkpoint(2))


def test_a_folder_that_becomes_read_only_leaves_what_is_there():
    root = os.geteuid() == 0  # whom no permission stops
    with tempfile.TemporaryDirectory() as parent:  # not tmp_path, which only its owner may enter
        pathlib.Path(parent).chmod(0o755)
        with checkpoints.Folder(pathlib.Path(parent) / "head") as folder:
            folder.write(checkpoint(1))
            folder.path.chmod(0o555)
            try:
                if root:
                    os.seteuid(65534)
                with pytest.raises(PermissionError):
                    folder.write(checkpoint(2))
            finally:
                if root:
                    os.seteuid(0)
                folder.path.chmod(0o755)
            assert same(folder.newest(), checkpoint(1))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(OSError, match=r"cannot be written to .*file.head \(Not a directory\)\. Name a folder"),
        checkpoints.Folder(tmp_path / "file" / "head"),
    ):
        pass


def test_two_runs_cannot_use_one_folder(tmp_path):
    command = (
        "import pathlib, sys; from finetune_lib import checkpoints\n"
        "assert 'tensorflow' not in sys.modules\n"
        "with checkpoints.Folder(pathlib.Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", command, tmp_path], stdin=pipe, stdout=pipe, text=True
    ) as other:
        assert other.stdout.readline() == "in\n"
        with (
            pytest.raises(OSError, match=r"Another run is using .* Wait until it ends, or stop it"),
            checkpoints.Folder(tmp_path),
        ):
            pass
        with checkpoints.Folder(tmp_path / "another stage"):
            pass
        other.kill()  # which ends its hold
    with checkpoints.Folder(tmp_path) as folder, pytest.raises(OSError, match="Another run"):
        with checkpoints.Folder(tmp_path):  # in the same process, too
            pass
        folder.newest()


def test_names_of_stages(tmp_path):
    assert checkpoints.stage_folder(tmp_path, "head", 7) == tmp_path / "head-from-layer-7"
    assert checkpoints.stage_folder("a", "../b / c", 7) == pathlib.Path("a/.._b_c-from-layer-7")
    assert checkpoints.stage_folder("~/a", "b", 0) == pathlib.Path.home() / "a" / "b-from-layer-0"


@pytest.fixture
def drive(tmp_path, monkeypatch):
    """A stand-in for Colab with Google Drive mounted."""
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(environment, "DRIVE", tmp_path / "MyDrive")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "MyDrive").mkdir()
    return tmp_path / "MyDrive"


def test_on_colab_a_finished_stage_outlives_the_session(drive, tmp_path):
    with checkpoints.Folder(pathlib.Path("runs/head")) as folder:
        folder.write(checkpoint(1))
        assert not list(drive.iterdir()), "only finished stages are worth the time"
        folder.write(checkpoint(2, is_final=True))
        place = drive / "finetune_lib" / "runs" / "head"
        assert [path.name[:15] for path in place.iterdir()] == ["finished-000002"]
        (place / ".writing-0123").write_bytes(b"a copy that was killed")
        for path in folder.path.glob("*.npz"):
            path.unlink()  # a new session, in which it is trained anew
        folder.write(checkpoint(1, is_final=True))
        assert [path.name[:15] for path in place.iterdir()] == ["finished-000001"]
        folder.write(checkpoint(2, is_final=True))
        for path in folder.path.glob("*.npz"):
            path.unlink()
    with checkpoints.Folder(tmp_path / "runs" / "head") as folder:
        assert same(folder.newest(), checkpoint(2, is_final=True))
        (copy,) = place.iterdir()
        copy.unlink()  # as if the session had been killed before the copy, or Drive mounted since
        assert folder.newest().is_final and [path.name for path in place.iterdir()] == [copy.name]
    with checkpoints.Folder(drive / "mine") as folder:  # on Drive already
        folder.write(checkpoint(1, is_final=True))
        assert not (drive / "finetune_lib" / "MyDrive").exists()
    with checkpoints.Folder(tmp_path / "other" / "head") as folder:
        assert folder.newest() is None


def test_a_drive_that_is_full_is_warned_of(drive):
    (drive / "finetune_lib").write_text("a file where a folder should be")
    with checkpoints.Folder(pathlib.Path("runs/head")) as folder:
        with pytest.warns(UserWarning, match="cannot be copied to .*MyDrive"):
            folder.write(checkpoint(1, is_final=True))
        assert same(folder.newest(), checkpoint(1, is_final=True))
