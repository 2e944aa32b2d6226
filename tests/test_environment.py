"""What the machine is told to be, and that saying so costs no TensorFlow import."""

import pathlib
import socket
import subprocess
import sys
import tempfile
import types

import pytest

from finetune_lib import environment


def test_importing_the_library_does_not_import_tensorflow() -> None:
    code = "import sys, finetune_lib, finetune_lib.environment; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_a_notebook_under_pytest_knows_it() -> None:
    assert environment.under_test()


def test_versions_are_real() -> None:
    import tensorflow as tf

    assert environment.versions()["tensorflow"] == tf.__version__


def test_colab_without_a_gpu_is_shown_the_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(environment, "gpu_names", list)
    environment.report()
    assert "runs on the processor" in capsys.readouterr().out
    monkeypatch.setattr(environment, "on_colab", lambda: True)
    environment.report()
    assert "Runtime > Change runtime type" in capsys.readouterr().out
    monkeypatch.setattr(environment, "gpu_names", lambda: ["Tesla T4"])
    environment.report()
    assert "GPU: Tesla T4" in capsys.readouterr().out


@pytest.fixture
def colab(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Colab, whose disk is new; returns where Google Drive would be mounted."""
    monkeypatch.delenv("FINETUNE_COURSE", raising=False)
    monkeypatch.setattr(environment, "on_colab", lambda: True)
    monkeypatch.setattr(environment, "DRIVE", tmp_path / "drive" / "MyDrive")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return environment.DRIVE


def test_colab_without_drive_is_told_what_will_be_lost(
    colab: pathlib.Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment.course_folder() == environment.local_course_folder()
    for _ in range(2):  # as often as the cell is run
        environment.report()
        printed = capsys.readouterr().out
        assert "not mounted" in printed and "\n    from google.colab import drive; drive.mount(" in printed
    monkeypatch.setenv("FINETUNE_COURSE", "elsewhere")
    environment.report()
    assert "Drive" not in capsys.readouterr().out


def test_a_new_session_is_told_what_is_left_of_the_old_one(
    colab: pathlib.Path, capsys: pytest.CaptureFixture, tmp_path: pathlib.Path
) -> None:
    colab.mkdir(parents=True)
    assert environment.course_folder() == colab / "finetune_course"
    environment.report()
    printed = capsys.readouterr().out
    assert "kept in Google Drive" in printed and "new session" not in printed, "the first of all"
    environment.course_folder().mkdir()
    (tmp_path / "finetune_lib_session").unlink()  # the session's disk is gone, Drive is not
    environment.report()
    assert "This is a new session" in capsys.readouterr().out
    environment.report()
    assert "new session" not in capsys.readouterr().out


def test_a_drive_that_lost_its_connection_is_mounted_again(
    colab: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    colab.parent.mkdir()
    assert environment.drive() is None
    environment.report()
    printed = capsys.readouterr().out
    assert "no longer answers" in printed and "force_remount=True" in printed


def test_work_is_kept_among_the_users_data_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FINETUNE_COURSE", raising=False)
    assert environment.course_folder().parts[-2:] == ("finetune_lib", "course")
    monkeypatch.setenv("FINETUNE_COURSE", "~/mine")
    assert environment.course_folder() == pathlib.Path.home() / "mine"


def test_colab_is_known_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not environment.on_colab()
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    assert environment.on_colab()


def test_an_address_that_does_not_answer_is_out_of_reach() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert not environment.can_reach(f"http://127.0.0.1:{port}/", seconds=1)
    assert not environment.can_reach("no address at all")
