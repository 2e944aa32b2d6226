"""What the machine is told to be, and that saying so costs no TensorFlow import."""

import socket
import subprocess
import sys
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
