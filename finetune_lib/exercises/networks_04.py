"""Small networks for the exercises of lesson 04, and plain descent to compare a training with."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from finetune_lib import checks


def _new(kind: type, name: str, *arguments: Any, seed: int = 0, **options: Any) -> keras.Layer:
    """A layer with a start of its own, whatever random numbers were drawn before."""
    return kind(*arguments, name=name, kernel_initializer=keras.initializers.GlorotUniform(seed), **options)


def small_base(filters: int, blocks: int, seed: int) -> keras.Model:
    """Blocks of convolution, BatchNormalization and ReLU."""
    x = image = keras.Input((8, 8, 3))
    for block in range(1, blocks + 1):
        convolution = _new(keras.layers.Conv2D, f"block{block}", filters, 3, seed=seed + block)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(name=f"scale{block}")(convolution(x)))
    return keras.Model(image, x)


def examples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, in two classes."""
    generator = np.random.default_rng(seed)
    return generator.normal(1, 1, (count, 8, 8, 3)).astype("float32"), np.arange(count) % 2


def pair(seed: int, normalized: tuple[str, ...] = ()) -> tuple[keras.Model, keras.Model]:
    """A base, and a model that calls it; BatchNormalization by the names in ``normalized``."""
    x = image = keras.Input((8, 8, 3))
    for number, name in enumerate(normalized or ("",)):
        x = _new(keras.layers.Conv2D, f"convolution{number}", 4, 3, seed=seed + number)(x)
        x = keras.layers.BatchNormalization(name=name)(x) if name else x
    base = keras.Model(image, x)
    inputs = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    head = _new(keras.layers.Dense, "head", 2, seed=seed, activation="softmax")
    return base, keras.Model(inputs, head(pooled))


def values(model: keras.Model) -> dict[str, np.ndarray]:
    """Copies of all weights, by the names of their layer and their own."""
    return {"/".join(weight.path.split("/")[-2:]): weight.numpy().copy() for weight in model.weights}


def descend(
    model: keras.Model, weights: Any, examples: Any, rate: float, epochs: int, batch: int = 32
) -> None:
    """Plain gradient descent with the network in inference mode, as `fit` without shuffling would do it."""
    images, labels = examples
    weights = [weight.value for weight in weights]
    for _ in range(epochs):
        for start in range(0, len(images), batch):
            with tf.GradientTape() as tape:
                answers = model(images[start : start + batch], training=False)
                truth = tf.constant(labels[start : start + batch])
                loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(truth, answers))
            for weight, slope in zip(weights, tape.gradient(loss, weights), strict=True):
                weight.assign_sub(rate * slope)


def near(found: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    """Whether all weights of the second are found in the first, but for rounding."""
    return all(np.allclose(found[name], value, rtol=0, atol=1e-5) for name, value in right.items())


class CountImages(keras.layers.Layer):
    """Hands on what it gets, and counts the images."""

    def build(self, input_shape: Any) -> None:
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")

    def call(self, images: Any) -> Any:
        self.seen.assign_add(keras.ops.cast(keras.ops.shape(images)[0], "float32"))
        return images


def counted_model(layers: int = 1, seed: int = 0) -> keras.Model:
    """A flat network that counts images; frozen up to the layer `pool`, with some layers after it."""
    image = keras.Input((8, 8, 3), name="image")
    x = CountImages(name="count")(image)
    x = _new(keras.layers.Conv2D, "convolution", 6, 3, seed=seed, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    for number in range(layers - 1):
        x = _new(keras.layers.Dense, f"hidden{number}", 5, seed=seed + 9 + number, activation="tanh")(x)
    x = _new(keras.layers.Dense, "probabilities", 2, seed=seed, activation="softmax")(x)
    model = keras.Model(image, x)
    model.get_layer("convolution").trainable = False
    return model


def trained(answer: Any, model: keras.Model, *arguments: Any) -> dict[str, np.ndarray]:
    """The weights after the learner's training, by name."""
    names = values(model).keys()
    found = checks.call(answer, *arguments)
    if not isinstance(found, keras.Model):
        raise checks.Incorrect("Return the trained model.")
    weights = values(found)
    if weights.keys() != names:
        raise checks.Incorrect("Return the model that was handed over, trained: yours has other weights.")
    return weights
