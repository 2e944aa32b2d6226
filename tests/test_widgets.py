"""Photos handed over in either version of ipywidgets, the webcam with a stand-in for Colab, the explorers."""

import base64
import html
import re
import sys
import types

import ipywidgets
import numpy as np
import pytest

from finetune_lib import classifier, convergence, explorers, widgets


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


def explorer() -> widgets.Explorer:
    return widgets.descent_explorer(convergence.Quadratic(np.diag([1.0, 4.0]), np.zeros(2)))


def test_a_moved_control_changes_picture_and_text() -> None:
    shown = explorer()
    assert [control.description for control in shown.controls.values()] == [
        "learning rate",
        "momentum",
        "Nesterov",
    ]
    before = shown.text, shown.picture.value, shown.readout.value
    shown.controls["momentum"].value = 0.5
    expected = explorers.learning_rate_and_momentum(
        convergence.Quadratic(np.diag([1.0, 4.0]), np.zeros(2)), shown.controls["learning_rate"].value, 0.5
    )[1]
    assert shown.text == expected != before[0]
    assert shown.picture.value != before[1] and html.escape(expected) in shown.picture.value
    assert shown.readout.value == before[2].replace(html.escape(before[0]), html.escape(expected))


def test_where_controls_cannot_work_a_picture_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    displayed: list = []
    monkeypatch.setattr(
        widgets.IPython.display, "display", lambda *args, **options: displayed.append((args, options))
    )
    shown = explorer()
    shown._ipython_display_()
    (bundle,), options = displayed.pop()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == shown.box.model_id
    assert bundle["image/png"].startswith(b"\x89PNG") and bundle["text/plain"] == shown.text
    assert options == {"raw": True, "metadata": {"image/png": {"alt": shown.text}}}
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    shown._ipython_display_()
    assert displayed == [((shown.box,), {})]  # Colab chooses for itself among the kinds in a bundle


def test_every_explorer_starts_and_can_be_moved_to_both_ends() -> None:
    generator = np.random.default_rng(0)
    pixels = generator.uniform(size=(8, 8))
    inputs = np.stack([generator.normal(size=50), np.ones(50)], axis=1)
    model = classifier.build("GlyphNet", ["a", "b"], weights=None)
    for shown in (
        widgets.one_parameter_explorer(pixels, pixels),
        explorer(),
        widgets.condition_explorer(),
        widgets.mini_batch_explorer(inputs, inputs[:, 0]),
        widgets.freeze_explorer(model),
    ):
        for control in shown.controls.values():
            if isinstance(control, ipywidgets.FloatSlider):
                assert not control.continuous_update
                values = [control.min, control.max]
            else:
                values = [False, True] if isinstance(control, ipywidgets.Checkbox) else [control.options[-1]]
            for value in values:
                before, control.value = shown.text, value
                assert shown.picture.value.count("<img alt=") == 1 and shown.text
            assert shown.text != before or control.value is False


@pytest.mark.parametrize(
    ("backbone_name", "boxes"),
    [
        ("VGG16", ["block1", "block2", "block3", "block4", "block5", "logits"]),
        ("MobileNetV2", ["Conv1", "bn", "expanded", *(f"block_{n}" for n in range(1, 17)), "Conv", "logits"]),
    ],
)
def test_the_freeze_explorer_has_a_box_a_block(backbone_name: str, boxes: list[str]) -> None:
    shown = widgets.freeze_explorer(classifier.build(backbone_name, ["a", "b"], weights=None))
    assert list(shown.controls) == [*boxes, "batch_size"]
    for box in boxes:
        shown.controls[box].value = True
    trained, everything = re.search(r"learn: ([\d,]+) of ([\d,]+)", shown.text).groups()
    assert trained == everything
