"""What can be built and what cannot, and what a lesson's form cell means; ``test_backbones`` has the rest."""

import pathlib
import shutil

import keras
import numpy as np
import pytest

from finetune_lib import backbones, catalog, classifier, environment

SHARED_KERAS = pathlib.Path(__file__).parents[2] / "shared" / "keras"
needs_imagenet = pytest.mark.skipif(
    not SHARED_KERAS.exists(), reason="needs the MobileNetV2 0.35 weights in ../shared"
)


def test_glyphnet_sees_pixels_from_minus_one_to_one() -> None:
    model = classifier.build("GlyphNet", "ab")
    scaled = keras.Model(model.input, model.get_layer("rescaling").output)
    images = np.zeros((2, 32, 32, 3), "float32")
    images[1] = 255
    assert scaled.predict(images, verbose=0).reshape(2, -1)[:, 0].tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone_name": "VGG61"}, "no backbone called 'VGG61'. There are: GlyphNet, MobileNetV2, Eff"),
        ({"class_names": ["one"]}, "at least two classes"),
        ({"weights": "imagenet"}, "no weights called 'imagenet'"),
        ({"image_size": (8, 32)}, "at least 16 pixels a side, not 8x32"),
    ],
)
def test_what_cannot_be_built_is_told_why(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier.build(**({"backbone_name": "GlyphNet", "class_names": ["a", "b"]} | arguments))


@needs_imagenet
def test_imagenet_weights_are_found_in_the_keras_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(environment, "can_reach", lambda url: False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert not backbones.photo_weights_available()
    shutil.copytree(SHARED_KERAS, tmp_path, dirs_exist_ok=True)
    assert backbones.photo_weights_available()


def test_auto_is_the_embedded_pair_under_test_and_photos_where_they_can_be_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    embedded, photos = ("digits_wild", "GlyphNet"), ("tf_flowers", "MobileNetV2")
    assert classifier.choose() == classifier.choose("tf_flowers", "MobileNetV2") == embedded
    monkeypatch.setattr(environment, "under_test", lambda: False)
    monkeypatch.setattr(environment, "can_reach", lambda url: True)
    assert (
        classifier.choose()
        == classifier.choose("tf_flowers")
        == classifier.choose("auto", "MobileNetV2")
        == photos
    )
    for name in (backbone.name for backbone in backbones.ALL if "imagenet" in backbone.weights):
        assert classifier.choose("auto", name) == ("tf_flowers", name)
        assert classifier.choose("digits_wild", name) == ("digits_wild", name)
    assert classifier.choose("digits_wild") == classifier.choose("auto", "GlyphNet") == embedded
    assert classifier.choose("digits", "MobileNetV2") == ("digits", "MobileNetV2")
    monkeypatch.setattr(environment, "can_reach", lambda url: False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert classifier.choose() == embedded
    (tmp_path / "data" / "tf_flowers" / "3.0.1").mkdir(parents=True)
    assert not catalog.flowers_available()  # a download that was broken off
    (tmp_path / "data" / "tf_flowers" / "3.0.1" / "dataset_info.json").touch()
    assert not backbones.photo_weights_available() and catalog.flowers_available()
    if SHARED_KERAS.exists():
        shutil.copytree(SHARED_KERAS, tmp_path / "keras")
        assert classifier.choose() == photos
