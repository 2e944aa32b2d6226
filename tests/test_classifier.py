"""One flat model from raw pixels: built, saved, loaded; missing weights; what the form cell means."""

import pathlib
import shutil

import keras
import numpy as np
import pytest

from finetune_lib import backbones, catalog, classifier, environment, freezing

SHARED_KERAS = pathlib.Path(__file__).parents[2] / "shared" / "keras"
needs_imagenet = pytest.mark.skipif(
    not SHARED_KERAS.exists(), reason="needs the MobileNetV2 0.35 weights in ../shared"
)


def random_image(backbone: backbones.Backbone) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (2, *backbone.image_size, 3)).astype("float32")


@pytest.mark.parametrize("backbone", backbones.ALL, ids=lambda backbone: backbone.name)
def test_a_classifier_is_one_flat_model_that_saves_and_loads_safely(
    backbone: backbones.Backbone, tmp_path: pathlib.Path
) -> None:
    model = classifier.build(backbone.name, ["cat", "dog", "bird"], weights=None)
    assert model.layers[0].name == "image" and model.layers[-1].name == "logits"
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    assert not any(isinstance(layer, (keras.Model, keras.layers.Lambda)) for layer in model.layers)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    images = random_image(backbone)
    assert np.array_equal(model.predict(images, verbose=0), loaded.predict(images, verbose=0))
    assert model.output.dtype == "float32" and model.output.shape == (None, 3)


@pytest.mark.parametrize("backbone", backbones.ALL, ids=lambda backbone: backbone.name)
def test_nothing_jumps_across_a_cut_point(backbone: backbones.Backbone) -> None:
    assert backbone.fine_tune_from in backbone.cut_points and backbone.licence
    model = classifier.build(backbone.name, ["cat", "dog"], weights=None)
    model.get_layer("logits").set_weights([np.ones(model.get_layer("logits").kernel.shape), np.zeros(2)])
    images = random_image(backbone)
    whole = model.predict(images, verbose=0)
    sizes = []
    for name in backbone.cut_points:
        prefix, suffix = freezing.split(freezing.unfreeze_from(model, name))
        assert len(prefix.outputs) == 1, f"a skip connection crosses {name}"
        assert np.array_equal(suffix.predict(prefix.predict(images, verbose=0), verbose=0), whole)
        sizes.append(prefix.count_params())
    assert sizes == sorted(set(sizes))  # from shallow to deep


def test_mobilenet_sees_what_keras_own_preprocessing_gives() -> None:
    backbone = backbones.get("MobileNetV2")
    images = random_image(backbone)
    ours = classifier.build("MobileNetV2", "ab", weights=None)
    base = keras.applications.MobileNetV2((224, 224, 3), alpha=0.35, include_top=False, weights=None)
    base.set_weights(ours.get_weights()[:-2])
    theirs = base.predict(keras.applications.mobilenet_v2.preprocess_input(images.copy()), verbose=0)
    features = keras.Model(ours.input, ours.get_layer("average_pool").input).predict(images, verbose=0)
    assert np.allclose(features, theirs, atol=1e-5)


def test_glyphnet_sees_pixels_from_minus_one_to_one() -> None:
    model = classifier.build("GlyphNet", "ab")
    scaled = keras.Model(model.input, model.get_layer("rescaling").output)
    images = np.zeros((2, 32, 32, 3), "float32")
    images[1] = 255
    assert scaled.predict(images, verbose=0).reshape(2, -1)[:, 0].tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone_name": "VGG61"}, "no backbone called 'VGG61'. There are: GlyphNet, MobileNetV2"),
        ({"class_names": ["one"]}, "at least two classes"),
        ({"weights": "imagenet"}, "no weights called 'imagenet'"),
        ({"image_size": (8, 32)}, "at least 16 pixels a side, not 8x32"),
    ],
)
def test_what_cannot_be_built_is_told_why(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier.build(**({"backbone_name": "GlyphNet", "class_names": ["a", "b"]} | arguments))


def test_weights_that_cannot_be_downloaded_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    def no_network(*args: object, **kwargs: object) -> str:
        raise Exception("URL fetch failure on https://...: None -- [Errno -2] Name or service not known")

    monkeypatch.setattr(keras.applications, "MobileNetV2", no_network)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(OSError, match=r"mobilenet_v2_weights_.*_0.35_224_no_top.h5 are not on this machine"):
        classifier.build("MobileNetV2", "ab")


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
