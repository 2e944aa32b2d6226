"""The shipped weights are what their cards say; the recipe runs, twice alike; the digits were never seen."""

import hashlib
import pathlib
import shutil

import keras
import numpy as np
import pytest

from finetune_lib import backbones, classifier, glyphnet


def with_source_head(source: str) -> keras.Model:
    model = glyphnet.source_classifier(glyphnet.model_cards()[source]["classes"])
    glyphnet.load_weights(model, source)
    return model


@pytest.mark.parametrize("source", ["glyphs", "textures"])
def test_shipped_weights_are_as_good_as_their_card_says(source: str) -> None:
    card = glyphnet.model_cards()[source]
    stream = {
        "glyphs": glyphnet.glyph_stream(glyphnet.HELD_OUT_FONTS, 6, seed=7),
        "textures": glyphnet.texture_stream(6, seed=7),
    }[source]
    model = with_source_head(source)
    right = [model.predict_on_batch(images).argmax(-1) == np.array(labels) for images, labels in stream]
    published = next(iter(card["held_out_accuracy"].values()))
    assert np.mean(right) == pytest.approx(published, abs=0.03)


def test_there_is_no_digit_and_no_glyph_twice() -> None:
    assert not any(glyph.isnumeric() for glyph in glyphnet.GLYPHS)
    assert len(set(glyphnet.GLYPHS)) == len(glyphnet.GLYPHS) == 116


def test_every_glyph_is_drawn_in_training_and_in_held_out_fonts() -> None:
    for fonts in (glyphnet.TRAINING_FONTS, glyphnet.HELD_OUT_FONTS):
        drawings, labels = glyphnet.draw_glyphs(fonts)
        assert set(labels) == set(range(116))
        assert drawings.shape == (len(labels), 64, 64) and drawings.dtype == np.uint8
        assert (drawings.max(axis=(1, 2)) > 200).all()
    assert not set(glyphnet.TRAINING_FONTS) & set(glyphnet.HELD_OUT_FONTS)


@pytest.mark.parametrize("source", ["glyphs", "textures"])
def test_the_recipe_runs_and_gives_the_same_weights_twice(
    source: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glyphnet, "BATCH_SIZE", 16)
    monkeypatch.setattr(glyphnet, "TRAINING_FONTS", glyphnet.TRAINING_FONTS[:2])
    monkeypatch.setattr(glyphnet, "HELD_OUT_FONTS", glyphnet.HELD_OUT_FONTS[:1])
    cards = [glyphnet.pretrain(source, tmp_path / name, steps=2, seed=5) for name in ("first", "second")]
    assert cards[0]["sha256"] == cards[1]["sha256"]
    written = (tmp_path / "first" / f"{source}.npz").read_bytes()
    assert hashlib.sha256(written).hexdigest() == cards[0]["sha256"]
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == [f"{source}.json", f"{source}.npz"]


def test_damaged_or_unknown_weights_are_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(glyphnet.WEIGHTS_FOLDER, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "glyphs.npz").open("r+b") as file:
        file.seek(1000)
        file.write(b"\x00\x01\x02")
    monkeypatch.setattr(glyphnet, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"glyphs\.npz is damaged"):
        classifier.build("GlyphNet", "ab")
    with pytest.raises(ValueError, match="no weights called 'photos'"):
        glyphnet.load_weights(with_source_head("textures"), "photos")


def test_weights_reach_every_layer_and_only_theirs() -> None:
    pretrained = classifier.build("GlyphNet", "abc")
    with np.load(glyphnet.WEIGHTS_FOLDER / "glyphs.npz") as arrays:
        for block in range(1, 5):
            kernel = pretrained.get_layer(f"block{block}_conv2").get_weights()[0]
            assert np.array_equal(kernel, arrays[f"block{block}_conv2/kernel"])
    scratch = classifier.build("GlyphNet", "abc", weights=None)
    assert scratch.count_params() == pretrained.count_params()
    assert not np.array_equal(
        scratch.get_layer("block1_conv1").get_weights()[0],
        pretrained.get_layer("block1_conv1").get_weights()[0],
    )
    assert backbones.get("GlyphNet").image_size == (32, 32)
