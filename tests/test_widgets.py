"""Photos handed over in either version of ipywidgets, and the webcam with a stand-in for Colab."""

import base64
import sys
import types

import pytest

from finetune_lib import widgets


def test_files_come_out_of_the_box_in_both_forms() -> None:
    assert widgets.photos_in(widgets.photo_box("cup")) == []
    version_7 = {"b.png": {"metadata": {"size": 2}, "content": b"bb"}, "a.png": {"content": b"a"}}
    version_8 = (
        {"name": "b.png", "content": memoryview(b"bb")},
        {"name": "a.png", "content": memoryview(b"a")},
    )
    for value in (version_7, version_8):
        assert widgets.photos_in(types.SimpleNamespace(value=value)) == [b"bb", b"a"]


def test_the_webcam_gives_what_the_browser_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="Colab only"):
        widgets.take_photo()
    sent = "data:image/jpeg;base64," + base64.b64encode(b"a photo").decode()
    output = types.ModuleType("google.colab.output")
    output.eval_js = lambda script: sent
    colab = types.ModuleType("google.colab")
    colab.output = output
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    assert widgets.take_photo() == b"a photo"

    def refused(script: str) -> str:
        raise RuntimeError("NotAllowedError")

    output.eval_js = refused
    with pytest.raises(OSError, match="NotAllowedError"):
        widgets.take_photo()
