"""Small models, built in different ways, that tests cut and freeze."""

import keras
import numpy as np

layers = keras.layers


def plain() -> keras.Model:
    """Three blocks, BatchNormalization, Dropout deep in the model and before the head."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(image)
    for block in (1, 2, 3):
        x = layers.Conv2D(4, 3, padding="same", name=f"block{block}_conv")(x)
        x = layers.BatchNormalization(name=f"block{block}_norm")(x)
        x = layers.Dropout(0.5, name=f"block{block}_drop")(x)
    x = layers.GlobalAveragePooling2D(name="average_pool")(x)
    x = layers.Dropout(0.5, name="drop")(x)
    return keras.Model(image, layers.Dense(3, name="logits")(x), name="plain")


def skip() -> keras.Model:
    """A residual block with a shortcut convolution, and an addition that is an operation, not a layer."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    y = layers.Conv2D(4, 3, padding="same", name="block_conv1")(x)
    y = layers.BatchNormalization(name="block_norm1")(y)
    y = keras.ops.relu(y)
    y = layers.Conv2D(4, 3, padding="same", name="block_conv2")(y)
    z = layers.Conv2D(4, 1, name="block_shortcut")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(keras.ops.relu(y + z))
    return keras.Model(image, layers.Dense(3, name="logits")(x), name="skip")


def nested() -> keras.Model:
    base = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(name="norm")],
        name="base",
    )
    image = keras.Input((8, 8, 3), name="image")
    x = layers.GlobalAveragePooling2D()(base(image, training=False))
    return keras.Model(image, layers.Dense(3, name="logits")(x), name="nested")


def sequential() -> keras.Model:
    """Built by add(), which calls the first layers several times."""
    model = keras.Sequential([keras.Input((8, 8, 3))], name="sequence")
    for layer in (layers.Conv2D(4, 3, name="conv"), layers.Flatten(), layers.Dense(5, name="hidden")):
        model.add(layer)
    model.add(layers.Dense(3, activation="softmax", name="predictions"))
    return model


def shared() -> keras.Model:
    image = keras.Input((8, 8, 3), name="image")
    twice = layers.Conv2D(3, 3, padding="same", name="twice")
    x = layers.Conv2D(3, 3, name="between", padding="same")(twice(image))
    x = layers.GlobalMaxPooling2D()(twice(x))
    return keras.Model(image, layers.Dense(3, name="logits")(x), name="shared")


def images(count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, 8, 8, 3)).astype("float32")
