"""Photos handed over in either version of ipywidgets, and the webcam with a stand-in for Colab."""

import base64
import sys
import types

import pytest

from finetune_lib import widgets


def test_files_come_out_of_the_box_in_all_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    box = widgets.photo_box("cup")
    assert box.description.startswith("cup") and widgets.photos_in(box) == []
    files = types.ModuleType("google.colab.files")
    files.upload = lambda: {"b.png": b"bb", "a.png": b"a"}
    colab = types.ModuleType("google.colab")
    colab.files = files
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "google.colab", colab)
        patch.setitem(sys.modules, "google.colab.files", files)
        assert widgets.photos_in(widgets.photo_box("cup")) == [b"bb", b"a"]
    version_7 = {"b.png": {"metadata": {"size": 2}, "content": b"bb"}, "a.png": {"content": b"a"}}
    version_8 = (
        {"name": "b.png", "content": memoryview(b"bb")},
        {"name": "a.png", "content": memoryview(b"a")},
    )
    for value in (version_7, version_8):
        assert widgets.photos_in(types.SimpleNamespace(value=value)) == [b"bb", b"a"]


def test_the_webcam_gives_what_the_browser_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="Colab only"):
        widgets.take_photo("cup")
    sent = "data:image/jpeg;base64," + base64.b64encode(b"a photo").decode()
    output = types.ModuleType("google.colab.output")
    output.eval_js = lambda script: sent if script.rstrip().endswith('("a \\"cup\\"")') else script
    colab = types.ModuleType("google.colab")
    colab.output = output
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    assert widgets.take_photo('a "cup"') == b"a photo"

    def refused(script: str) -> str:
        raise RuntimeError("NotAllowedError")

    output.eval_js = refused
    with pytest.raises(OSError, match="NotAllowedError"):
        widgets.take_photo("cup")
