"""Every backbone: what it sees of raw pixels, saving, cut points, sizes, and weights that cannot be had."""

import importlib
import json
import os
import pathlib
import subprocess
import sys
import types
import warnings

import keras
import numpy as np
import pytest

from finetune_lib import backbones, classifier, data, fitting, freezing, glyphnet, graph

ROOT = pathlib.Path(__file__).parents[1]
SHARED_WEIGHTS = ROOT.parent / "shared" / "keras" / "models" / backbones.mobilenet_v2_url().rpartition("/")[2]
IN_KERAS = {
    "MobileNetV2": "mobilenet_v2",
    "EfficientNetV2B0": "efficientnet_v2",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "ResNet50": "resnet50",
    "ConvNeXtTiny": "convnext",
}


@pytest.fixture(scope="module", params=backbones.ALL, ids=lambda backbone: backbone.name)
def built(request: pytest.FixtureRequest) -> types.SimpleNamespace:
    """A backbone and an untrained classifier on it, of the smallest images that it accepts."""
    backbone = request.param
    sides = (backbone.least_size, backbone.least_size)
    model = classifier.build(backbone.name, ["cat", "dog", "bird"], weights=None, image_size=sides)
    model.get_layer("logits").kernel.assign(
        keras.random.normal(model.get_layer("logits").kernel.shape, seed=0)
    )
    return types.SimpleNamespace(backbone=backbone, model=model)


def photos(height: int, width: int, count: int = 2) -> np.ndarray:
    """Noise, and more of one colour than of another, as in photos: turned-round channels then differ."""
    noise = np.random.default_rng(0).uniform(0, 1, (count, height, width, 3))
    return (noise * [255, 180, 90]).astype("float32")


def keras_own(backbone: backbones.Backbone, height: int, width: int) -> tuple[keras.Model, np.ndarray]:
    """The network as Keras builds it, no random number as it came, and its features of ``photos``."""
    pixels = photos(height, width)
    if backbone.name == "GlyphNet":
        image = keras.Input((height, width, 3))
        base, pixels = keras.Model(image, glyphnet.layers(image)), pixels / 127.5 - 1
    else:
        network = getattr(keras.applications, backbone.name)
        base = network(weights=None, include_top=False, input_shape=(height, width, 3), **small(backbone))
        pixels = preprocess_input(backbone.name)(pixels)
    # Biases and scales are zeros and ones, or next to nothing, until they are trained. Good statistics come
    # last: without them, what reaches the end of MobileNetV2 hardly depends on the image.
    generator = np.random.default_rng(1)
    base.set_weights(
        [w + generator.uniform(0, 0.2, w.shape) if w.ndim == 1 else w for w in base.get_weights()]
    )
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    base(pixels, training=True)
    return base, outputs(base, pixels)


def preprocess_input(name: str):
    """Keras' own preprocessing for a network; it changes float arrays in place, so hand it a copy."""
    return importlib.import_module(f"keras.applications.{IN_KERAS[name]}").preprocess_input


def small(backbone: backbones.Backbone) -> dict[str, float]:
    return {"alpha": 0.35} if "alpha" in backbone.options else {}


def outputs(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(model(images, training=False))  # predict would compile, which takes longer here


def test_a_classifier_is_one_flat_model_that_saves_and_loads_safely(built, tmp_path):
    model = built.model
    assert model.layers[0].name == "image" and model.layers[-1].name == "logits"
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    assert not any(isinstance(layer, (keras.Model, keras.layers.Lambda)) for layer in model.layers)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    images = photos(*model.input_shape[1:3])
    expected = outputs(model, images)
    assert np.array_equal(outputs(loaded, images), expected) and np.ptp(expected) > 0
    assert model.output.dtype == "float32" and model.output.shape == (None, 3)


def test_raw_pixels_give_the_features_of_keras_own_preprocessing(built, tmp_path):
    """With weights from a file, in the format and by the code in which Keras loads ImageNet's."""
    base, expected = keras_own(built.backbone, 64, 48)
    image = keras.Input((64, 48, 3), name="image")
    if built.backbone.name == "GlyphNet":
        model = keras.Model(image, built.backbone.build(image, None))
        model.set_weights(base.get_weights())
    else:
        base.save(tmp_path / "weights.h5")
        model = keras.Model(image, built.backbone.build(image, str(tmp_path / "weights.h5")))
    scale = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 0.01 * scale, "two images are told apart"
    np.testing.assert_allclose(outputs(model, photos(64, 48)), expected, atol=2e-3 * scale)
    names = [layer["name"] for layer in model.get_config()["layers"]]
    assert names == [layer["name"] for layer in built.model.get_config()["layers"]][:-2], (
        "a second network in one session is called the same"
    )


def test_nothing_jumps_across_a_cut_point(built):
    backbone, model = built.backbone, built.model
    assert backbone.fine_tune_from in backbone.cut_points
    assert backbone.licence and backbone.paper and backbone.preprocessing
    images = photos(*model.input_shape[1:3])
    whole = outputs(model, images)
    sizes = []
    for name in backbone.cut_points:
        prefix, suffix = freezing.split(freezing.unfreeze_from(model, name))
        assert len(prefix.outputs) == 1, f"a skip connection crosses {name}"
        assert np.array_equal(outputs(suffix, outputs(prefix, images)), whole)
        sizes.append(prefix.count_params())
    assert sizes == sorted(set(sizes))  # from shallow to deep


def test_the_boundary_can_be_set_and_seen(built):
    model = freezing.freeze(built.model)
    assert [weight.path for weight in model.trainable_weights] == ["logits/kernel", "logits/bias"]
    prefix, _ = freezing.split(model)
    assert prefix.output_shape == model.get_layer("average_pool").output.shape  # one row an image
    freezing.unfreeze_from(model, built.backbone.fine_tune_from)
    first = next(path for path, layer in freezing.leaves(model) if layer.trainable_weights)
    assert first.startswith(built.backbone.fine_tune_from)
    assert freezing.table(model).endswith(f"trained from {first} on")
    freezing.unfreeze_from(model, "image", train_batch_normalization=True)
    fixed = [
        w
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for w in (layer.moving_mean, layer.moving_variance)
    ]
    assert len(model.trainable_weights) == len(model.weights) - len(fixed)
    assert len(graph.trace(model)[2]) == len(model.get_config()["layers"]) - 1  # all but the input


def test_one_pixel_less_than_the_least_size_is_refused(built):
    least = built.backbone.least_size  # which is what the fixture has built with
    with pytest.raises(ValueError, match=f"needs at least {least} pixels a side, not 300x{least - 1}."):
        classifier.build(built.backbone.name, "ab", weights=None, image_size=(300, least - 1))


def test_unknown_options_are_refused(built):
    name = built.backbone.name
    known = "only alpha" if name == "MobileNetV2" else "it takes none"
    with pytest.raises(ValueError, match=f"{name} has no option 'width': {known}"):
        classifier.build(name, "ab", weights=None, width=2)


def problems(model: keras.Model, change) -> list[str]:
    """What ``diagnose`` says where every image was changed like this before it came to the model."""
    images = photos(*model.input_shape[1:3], count=12)
    parts = {
        part: (np.asarray(change(images[rows].copy()), "float32"), np.arange(rows.stop - rows.start) % 3)
        for part, rows in {
            "train": slice(0, 6),
            "validation": slice(6, 9),
            "test": slice(9, 12),
        }.items()
    }
    return [found.problem for found in fitting.diagnose(model, data.from_arrays("small", "abc", **parts))]


def test_diagnose_sees_pixels_that_were_prepared_already(built):
    model, twice = built.model, ["Preprocessing is done twice."]
    mean, deviation = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    assert problems(model, lambda raw: raw) == []
    assert problems(model, lambda raw: raw / 255) == twice
    assert problems(model, lambda raw: raw / 127.5 - 1) == twice
    assert problems(model, lambda raw: (raw - mean) / deviation) == twice
    assert problems(model, preprocess_input("VGG16")) == twice
    if built.backbone.name in IN_KERAS:  # Keras' own does nothing where the network does it
        own = preprocess_input(built.backbone.name)
        assert problems(model, own) == (twice if np.any(own(photos(2, 2)) != photos(2, 2)) else [])


def test_diagnose_sees_a_network_without_its_preprocessing(built):
    first = next(layer for layer in built.model.layers if layer.weights)
    model = keras.Model(first.input, built.model.output)
    assert problems(model, lambda raw: raw) == ["Preprocessing is missing."]
    assert problems(model, lambda raw: raw / 127.5 - 1) == []  # the user's own, before the model


@pytest.mark.parametrize(("name", "side"), [("GlyphNet", (224, 160)), ("MobileNetV2", (33, 47))])
def test_other_sizes_work_without_a_warning(name, side):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = classifier.build(name, "ab", weights=None, image_size=side)
    assert outputs(model, photos(*side)).shape == (2, 2)


def run_with_keras_home(folder: pathlib.Path, program: str) -> dict:
    """The JSON that a program prints last, in a process of its own: Keras settles its folder at import.

    A proxy that nobody serves keeps it off the network.
    """
    off = {key: "http://127.0.0.1:9" for key in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    environment = os.environ | off | {"KERAS_HOME": str(folder), "no_proxy": "", "NO_PROXY": ""}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_weights_that_cannot_be_had_are_named_and_never_replaced_by_random_ones(tmp_path):
    program = """
import json
from finetune_lib import backbones, classifier

def answer(name, **options):
    try:
        return "built: " + classifier.build(name, "ab", image_size=(64, 64), **options).name
    except OSError as error:
        return str(error)

answers = {backbone.name: answer(backbone.name) for backbone in backbones.ALL}
answers["alpha"] = answer("MobileNetV2", alpha=1)
folder = backbones.weights_folder()
for name in ("VGG16", "MobileNetV2"):
    file = answers[name].split()[3]  # "The pretrained weights ... are not on this machine"
    (folder / file).write_bytes(b"not what it says")
answers["damaged, checked"] = answer("VGG16")
answers["damaged"] = answer("MobileNetV2")
print(json.dumps(answers))
"""
    answers = run_with_keras_home(tmp_path, program)
    assert answers["GlyphNet"] == "built: GlyphNet"
    folder = tmp_path / "models"
    published = {
        "MobileNetV2": f"{backbones.mobilenet_v2_url()}",
        "alpha": backbones.mobilenet_v2_url().replace("_0.35_", "_1.0_"),
        "EfficientNetV2B0": "efficientnet_v2/efficientnetv2-b0_notop.h5",
        "VGG16": "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "VGG19": "vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "ResNet50": "resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "ConvNeXtTiny": "convnext/convnext_tiny_notop.h5",
    }
    for name, url in published.items():
        assert f"{url.rpartition('/')[2]} are not on this machine" in answers[name], answers[name]
        assert (
            f"/keras-applications/{url.rpartition('keras-applications/')[2]} on another machine"
            in answers[name]
        )
        assert answers[name].count(f"put the file into {folder}.") == 1
    assert answers["damaged, checked"] == answers["VGG16"]  # Keras compares a hash, and wants to download
    damaged = folder / backbones.mobilenet_v2_url().rpartition("/")[2]
    assert f"Delete {damaged}, which cannot be read, and run this again." in answers["damaged"]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "Connection reset by peer"),
        ValueError("Incomplete or corrupted file detected. The auto file hash does not match."),
    ],
)
def test_a_download_that_broke_off_can_be_tried_again(error, monkeypatch, tmp_path):
    def network(**arguments):
        raise error

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    image = keras.Input((64, 64, 3))
    with pytest.raises(OSError, match=r"could not be downloaded or read: .*(peer|match). Run this again\.$"):
        backbones.build_from_keras(network, backbones.unchanged, image)


@pytest.mark.skipif(not SHARED_WEIGHTS.exists(), reason="needs the MobileNetV2 0.35 weights in ../shared")
def test_imagenet_weights_from_the_keras_folder_give_keras_own_features(tmp_path):
    program = """
import json, warnings
import keras, numpy as np
from finetune_lib import backbones, classifier

warnings.simplefilter("error", UserWarning)
answers = {}
images = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3)).astype("float32")
for width in (224, 160):
    model = classifier.build("MobileNetV2", "ab", image_size=(224, width))
    ours = keras.Model(model.input, model.get_layer("average_pool").input)
    with warnings.catch_warnings(action="ignore"):  # "224 pixels will be loaded as the default"
        base = keras.applications.MobileNetV2((224, width, 3), alpha=0.35, include_top=False)
    pixels = images[:, :, :width]
    theirs = base(keras.applications.mobilenet_v2.preprocess_input(pixels.copy()))
    difference = float(np.abs(ours(pixels) - theirs).max())
    answers[f"224x{width}"] = [difference, float(np.ptp(theirs))]
file = next(backbones.weights_folder().glob("*.h5"))
file.write_bytes(file.read_bytes()[:1_000_000])
try:
    classifier.build("MobileNetV2", "ab")
except OSError as error:
    answers["truncated"] = str(error)
try:
    classifier.build("MobileNetV2", "ab", alpha=0.6)
except ValueError as error:
    answers["alpha"] = str(error)
print(json.dumps(answers))
"""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / SHARED_WEIGHTS.name).write_bytes(SHARED_WEIGHTS.read_bytes())
    answers = run_with_keras_home(tmp_path, program)
    for size in ("224x224", "224x160"):
        difference, spread = answers[size]
        assert difference < 1e-4 < 1 < spread
    assert f"Delete {tmp_path / 'models' / SHARED_WEIGHTS.name}" in answers["truncated"]
    assert "alpha must be one of `0.35`" in answers["alpha"]
