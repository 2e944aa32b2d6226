"""Grad-CAM against maps that are known, on every backbone, and its errors."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import small_models

from finetune_lib import backbones, classifier, saliency

layers = keras.layers


def photo(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (size, size, 3)).astype("float32")


def detector(ending: str = "logits") -> keras.Model:
    """Class 0 wants red, class 1 green, class 2 whatever is dark; the maps are the image itself, halved."""
    image = keras.Input((8, 8, 3), name="image")
    scaled = layers.Rescaling(1 / 255, name="scaled")(image)
    seen = layers.AveragePooling2D(2, name="seen")(scaled)
    pooled = layers.GlobalAveragePooling2D(name="average_pool")(seen)
    activation = "softmax" if ending == "softmax" else None
    outputs = layers.Dense(3, activation=activation, name="head")(pooled)
    if ending == "softmax layer":
        outputs = layers.Softmax(name="softmax")(outputs)
    elif ending == "softmax operation":
        outputs = keras.ops.softmax(outputs)
    elif ending == "activation":
        outputs = layers.Activation("softmax")(outputs)
    model = keras.Model(image, outputs, name="detector")
    kernel = np.array([[4, -4, -1], [-4, 4, -1], [0, 0, -1]], "float32")
    model.get_layer("head").set_weights([kernel, np.array([0, 0, 0.5], "float32")])
    return model


def red_and_green() -> np.ndarray:
    """Red at the top left, green at the bottom right."""
    image = np.zeros((8, 8, 3), "float32")
    image[:4, :4, 0] = 255
    image[4:, 4:, 1] = 255
    return image


def test_the_map_lies_where_the_class_is() -> None:
    model, image = detector(), red_and_green()
    red, green = (saliency.grad_cam(model, image, number) for number in (0, 1))
    assert red.shape == (8, 8) and red.dtype == np.float32 and red.min() == 0 and red.max() == 1
    assert red[:3, :3].min() > 0.7 and red[5:, 5:].max() == 0
    assert np.allclose(green, red[::-1, ::-1], atol=1e-6)


def cam(model: keras.Model, image: np.ndarray, number: int) -> np.ndarray:
    """Zhou et al.'s class activation map of a linear head on average pooling, which Grad-CAM equals there."""
    features = keras.Model(model.input, model.get_layer("average_pool").input)(image[np.newaxis])
    weights = np.asarray(model.layers[-1].kernel)[:, number]
    coarse = np.maximum(np.asarray(features)[0] @ weights, 0)
    fine = keras.ops.image.resize(coarse[..., np.newaxis], image.shape[:2], data_format="channels_last")
    fine = np.asarray(fine)[..., 0]
    return fine / fine.max() if fine.max() > 0 else fine


@pytest.mark.parametrize("number", range(3))
def test_it_equals_the_class_activation_map_of_a_linear_head(number: int) -> None:
    model = classifier.build("GlyphNet", ["a", "b", "c"], image_size=(64, 48))
    kernel = model.get_layer("logits").kernel
    kernel.assign(keras.random.normal(kernel.shape, seed=number))
    image = np.random.default_rng(number).uniform(0, 255, (64, 48, 3)).astype("float32")
    assert np.allclose(saliency.grad_cam(model, image, number), cam(model, image, number), atol=1e-5)


@pytest.mark.parametrize("ending", ["softmax", "softmax layer", "softmax operation", "activation"])
def test_the_gradient_is_the_logits_whatever_the_ending(ending: str) -> None:
    model, image = detector(ending), red_and_green()
    image[..., 0] *= 40  # a probability of 1, whose own gradient is 0
    assert model(image[np.newaxis])[0, 0] == 1
    for number in range(3):
        expected = saliency.grad_cam(detector(), image, number)
        assert np.allclose(saliency.grad_cam(model, image, number), expected, atol=1e-6)


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_a_single_output_speaks_for_the_second_of_two_classes(activation: str | None) -> None:
    base = detector()
    outputs = layers.Dense(1, activation=activation, name="single")(base.get_layer("average_pool").output)
    model = keras.Model(base.input, outputs)
    kernel = np.array([[-4], [4], [0]], "float32")
    model.get_layer("single").set_weights([kernel, np.zeros(1, "float32")])
    image = red_and_green()
    for number, bias in ((0, -1.0), (1, 1.0)):
        expected = saliency.grad_cam(base, image, number)  # the first of the two is red, the second green
        assert np.allclose(saliency.grad_cam(model, image, number), expected, atol=1e-6)
        model.get_layer("single").bias.assign([bias])
        assert np.allclose(saliency.grad_cam(model, image), expected, atol=1e-6)  # the one it answers


@pytest.fixture(scope="module", params=backbones.ALL, ids=lambda backbone: backbone.name)
def built(request: pytest.FixtureRequest) -> keras.Model:
    """An untrained classifier, of images just large enough that the last maps have several positions."""
    backbone = request.param
    size = 2 * backbone.least_size
    model = classifier.build(backbone.name, ["a", "b", "c"], weights=None, image_size=(size, size))
    kernel = model.get_layer("logits").kernel
    kernel.assign(keras.random.normal(kernel.shape, seed=0))
    return model


def test_every_backbone_gives_the_map_of_a_linear_head_and_stays_as_it_is(built: keras.Model) -> None:
    image = photo(built.input_shape[1])
    weights, config, flags = built.get_weights(), built.get_config(), [x.trainable for x in built.layers]
    read = built.get_layer("average_pool").input.shape[1:3]
    assert min(read) > 1
    maps = saliency.grad_cams(built, np.stack([image] * 3), np.arange(3))
    for number, heat in enumerate(maps):
        assert np.allclose(heat, cam(built, image, number), atol=2e-3), number
        assert np.isfinite(heat).all() and heat.min() >= 0 and heat.max() in (0, 1)
    assert any(heat.max() == 1 for heat in maps)
    assert built.get_config() == config and [x.trainable for x in built.layers] == flags
    assert all(np.array_equal(one, two) for one, two in zip(weights, built.get_weights(), strict=True))


def test_every_backbone_has_maps_before_its_last(built: keras.Model) -> None:
    deep = [layer.name for layer in built.layers if isinstance(layer, layers.Conv2D)][-2]
    heat = saliency.grad_cam(built, photo(built.input_shape[1]), 0, deep)
    assert heat.shape == built.input_shape[1:3] and np.isfinite(heat).all()


def test_many_images_have_the_maps_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saliency, "BATCH", 2)
    model = classifier.build("GlyphNet", ["a", "b"])
    model.get_layer("logits").kernel.assign(keras.random.normal((128, 2), seed=0))
    images, numbers = np.stack([photo(32, seed) for seed in range(5)]), np.array([0, 1, 1, 0, 1])
    maps = saliency.grad_cams(model, images, numbers)
    for image, number, heat in zip(images, numbers, maps, strict=True):
        assert np.allclose(saliency.grad_cam(model, image, number), heat, atol=1e-5)
    answers = np.asarray(model(images)).argmax(axis=1)
    assert np.allclose(
        saliency.grad_cams(model, images), saliency.grad_cams(model, images, answers), atol=1e-5
    )


@pytest.mark.parametrize("make", [small_models.plain, small_models.skip, small_models.nested])
def test_models_built_in_other_ways(make: Callable[[], keras.Model]) -> None:
    model = make()
    heat = saliency.grad_cam(model, small_models.images()[0])
    assert heat.shape == (8, 8) and np.isfinite(heat).all()


def test_a_flattened_sequential_and_a_frozen_one_have_maps() -> None:
    model = small_models.sequential()
    model.trainable = False
    assert saliency.default_layer(model) == "conv"
    assert saliency.grad_cam(model, small_models.images()[0]).max() <= 1


def test_an_image_without_anything_has_a_map_without_anything() -> None:
    model = detector()
    for image in (np.zeros((8, 8, 3)), np.full((8, 8, 3), 255)):
        for number in range(3):
            heat = saliency.grad_cam(model, image, number)
            assert np.isfinite(heat).all() and np.ptp(heat) < 1e-6
    new = classifier.build("GlyphNet", ["a", "b"])  # a head of zeros speaks for nothing
    assert saliency.grad_cam(new, photo(32)).max() == 0


def test_what_is_asked_for_wrongly_is_said() -> None:
    model, image = detector(), red_and_green()
    with pytest.raises(ValueError, match=r"not of the shape \(2, 8, 8, 3\).*grad_cams"):
        saliency.grad_cam(model, np.stack([image, image]))
    with pytest.raises(ValueError, match=r"takes images of the shape \(8, 8, 3\).*given \(16, 8, 3\)"):
        saliency.grad_cam(model, np.zeros((16, 8, 3)))
    for number in (3, -1):
        with pytest.raises(ValueError, match=f"from 0 to 2, not .{number}"):
            saliency.grad_cam(model, image, number)
    with pytest.raises(ValueError, match="whole number"):
        saliency.grad_cams(model, image[np.newaxis], np.array([0.5]))
    with pytest.raises(ValueError, match="A class for each image, 2, is needed"):
        saliency.grad_cams(model, np.stack([image, image]), np.array([0]))
    with pytest.raises(ValueError, match=r"no layer 'sean'\. Did you mean 'seen'"):
        saliency.grad_cam(model, image, layer="sean")
    with pytest.raises(ValueError, match=r"'average_pool' does not return .* seen"):
        saliency.grad_cam(model, image, layer="average_pool")
    flat = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(ValueError, match="more than one position"):
        saliency.grad_cam(flat, image)
    image_in = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="not a number for each class"):
        saliency.grad_cam(keras.Model(image_in, layers.Conv2D(2, 1)(image_in)), image)


def test_a_layer_beside_the_way_to_the_answer_is_refused() -> None:
    image = keras.Input((8, 8, 3))
    seen = layers.Conv2D(4, 3, name="seen")(image)
    aside = layers.Conv2D(4, 3, name="aside")(seen)
    pooled = layers.GlobalAveragePooling2D()(seen)
    pooled = pooled + keras.ops.stop_gradient(layers.GlobalAveragePooling2D()(aside))
    model = keras.Model(image, layers.Dense(2)(pooled))
    with pytest.raises(ValueError, match="does not lead to the model's answer"):
        saliency.grad_cam(model, red_and_green(), 0, "aside")


def test_a_softmax_inside_a_nested_head_is_refused() -> None:
    image = keras.Input((8, 8, 3))
    head = keras.Sequential([keras.Input((4,)), layers.Dense(2, "softmax")], name="nested_head")
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    with pytest.raises(ValueError, match="inside the nested model 'nested_head'"):
        saliency.grad_cam(keras.Model(image, head(pooled)), red_and_green())
