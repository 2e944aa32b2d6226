"""LiteRT files: all kinds, built-in operations only, run by ai-edge-litert."""

import keras
import numpy as np
import pytest
import small_models

from finetune_lib import classifier, compression

RANDOM = np.random.default_rng(0)
CLOSE = {"float32": 1e-4, "float16": 5e-3, "dynamic_int8": 0.1, "int8": 0.15}  # times the answers' spread


def answering(name: str, size: tuple[int, int]) -> keras.Model:
    """A backbone with random weights, whose answers differ from image to image."""
    keras.utils.set_random_seed(0)
    model = classifier.build(name, ["a", "b", "c"], weights=None, image_size=size)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # it takes over the statistics of what it sees, as if trained
    model(images(16, size).astype("float32"), training=True)
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([RANDOM.normal(size=kernel.shape), bias])
    return model


def images(count: int, size: tuple[int, int], channels: int = 3) -> np.ndarray:
    """uint8, each with a mean of its own, so that answers differ."""
    noise = RANDOM.integers(0, 100, (count, *size, channels))
    return (noise + RANDOM.integers(0, 156, (count, 1, 1, channels))).astype("uint8")


# MobileNetV2 with random weights magnifies all rounding. It is here for its operations: are they built in?
# Converting it takes seconds, and the two kinds between have the operations of float32.
@pytest.mark.parametrize(
    ("name", "kinds", "close"),
    [
        ("GlyphNet", compression.KINDS, CLOSE),
        ("MobileNetV2", ("float32", "int8"), {"float32": 1e-3}),
        pytest.param("MobileNetV2", compression.KINDS, {"float32": 1e-3}, marks=pytest.mark.long),
    ],
)
def test_all_kinds_answer_as_keras_does(name, kinds, close, capfd):
    size = (32, 32)
    model, seen = answering(name, size), images(24, size)
    expected = model.predict(seen.astype("float32"), verbose=0)
    before = model.get_weights()
    sizes = {}
    for kind in kinds:
        capfd.readouterr()
        content = compression.convert(model, kind, seen if kind == "int8" else None)
        runner = compression.LiteRTModel(content)
        said = capfd.readouterr()
        assert said.out == said.err == "", "converting says nothing"
        answers = runner.predict(seen)
        assert answers.dtype == np.float32 and answers.shape == expected.shape
        assert np.abs(answers - expected).max() < close.get(kind, np.inf) * expected.std(), kind
        alone = np.concatenate([runner.predict(image[np.newaxis]) for image in seen[:5]])
        assert np.allclose(alone, answers[:5], atol=1e-4 * expected.std()), "whatever else is in the batch"
        sizes[kind] = len(content)
    most = {"float32": 1.0, "float16": 0.55, "dynamic_int8": 0.42, "int8": 0.42}
    assert all(sizes[kind] <= most[kind] * sizes["float32"] for kind in kinds)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(old, new), "the model is only read"


@pytest.fixture(scope="module")
def small() -> keras.Model:
    keras.utils.set_random_seed(0)
    return small_models.plain()


def test_integers_go_in_and_come_out(small):
    seen = images(50, (8, 8))
    seen[0], seen[1] = 0, 255
    runner = compression.LiteRTModel(compression.convert(small, "int8", iter(seen)))
    assert runner.input["dtype"] == runner.output["dtype"] == np.uint8
    assert runner.input["quantization"] == (1.0, 0), "raw pixels are what they are"
    signature = runner.interpreter.get_signature_list()
    assert signature == {"serving_default": {"inputs": ["image"], "outputs": ["logits"]}}
    for kind in ("float32", "float16", "dynamic_int8"):
        runner = compression.LiteRTModel(compression.convert(small, kind))
        assert runner.input["dtype"] == runner.output["dtype"] == np.float32


def test_images_brighter_than_the_representative_ones_are_cut_off(small):
    dark = images(50, (8, 8)) // 4
    runner = compression.LiteRTModel(compression.convert(small, "int8", dark))
    scale, zero_point = runner.input["quantization"]
    assert zero_point == 0 and np.isclose(255 * scale, dark.max(), rtol=0.01)
    bright = np.full((1, 8, 8, 3), 255, "uint8")
    runner.set_images(bright)
    assert (runner.interpreter.get_tensor(runner.input["index"]) == 255).all(), "clipped, not wrapped around"
    assert np.array_equal(runner.predict(bright), runner.predict(bright * 0 + dark.max()))


def test_any_number_type_and_any_count(small):
    runner = compression.LiteRTModel(compression.convert(small, "float32"), threads=2)
    seen = images(7, (8, 8))
    answers = runner.predict(seen, batch_size=3)
    assert np.array_equal(answers, runner.predict(seen.astype("float64")))
    assert np.allclose(answers, small.predict(seen.astype("float32"), verbose=0), atol=1e-4)


def test_softmax_stays_softmax():
    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, keras.layers.Dense(4, activation="softmax", name="probabilities")(x))
    seen = images(20, (8, 8))
    for kind in compression.KINDS:
        content = compression.convert(model, kind, seen if kind == "int8" else None)
        answers = compression.LiteRTModel(content).predict(seen)
        assert np.allclose(answers.sum(axis=-1), 1, atol=0.02), kind


def test_bad_requests_say_what_to_do(small):
    seen = images(4, (8, 8))
    with pytest.raises(ValueError, match=r"no kind 'int4', but: float32, float16, dynamic_int8, int8"):
        compression.convert(small, "int4")
    with pytest.raises(ValueError, match=r"needs representative images.*training images"):
        compression.convert(small, "int8")
    with pytest.raises(ValueError, match=r"does not look at images"):
        compression.convert(small, "float16", seen)
    with pytest.raises(ValueError, match=r"are \(9, 9, 3\); 'plain' takes \(8, 8, 3\)"):
        compression.convert(small, "int8", images(4, (9, 9)))
    with pytest.raises(ValueError, match=r"are \(1, 8, 8, 3\).*not in batches"):
        compression.convert(small, "int8", [seen[:1]])
    with pytest.raises(ValueError, match=r"are none at all"):
        compression.convert(small, "int8", [])
    for wrong in (seen / 255, seen - 128.0, seen * 2.0):
        with pytest.raises(ValueError, match=r"takes raw RGB, 0 to 255"):
            compression.convert(small, "int8", wrong)
    with pytest.raises(TypeError, match=r"no graph of layers"):
        compression.convert(keras.layers.Dense(3), "float32")


def test_models_that_are_no_image_classifier_are_refused():
    one, other = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match=r"2 input\(s\)"):
        compression.convert(keras.Model([one, other], one + other), "float32")
    image = keras.Input((None, None, 3))
    open_size = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    with pytest.raises(ValueError, match=r"images of one size"):
        compression.convert(open_size, "float32")


def test_what_cannot_be_run_says_so(small):
    with pytest.raises(ValueError, match=r"LiteRT cannot run this file of 9 bytes"):
        compression.LiteRTModel(b"no model!")
    runner = compression.LiteRTModel(compression.convert(small, "float32"))
    for wrong in (images(2, (9, 9)), images(2, (8, 8), 1), images(1, (8, 8))[0], images(0, (8, 8))):
        with pytest.raises(ValueError, match=r"takes \(count, 8, 8, 3\)"):
            runner.predict(wrong)


def test_gzip_size_is_of_the_bytes_alone():
    zeros = bytes(10_000)
    assert compression.gzip_size(zeros) < 100
    assert compression.gzip_size(zeros) == compression.gzip_size(zeros)
    assert compression.gzip_size(RANDOM.bytes(10_000)) > 10_000
