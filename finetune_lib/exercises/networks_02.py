"""A small network for the exercises of lessons 02a and 02b, which notices a backward pass."""

from collections.abc import Callable

import keras
import tensorflow as tf


def spied_model() -> tuple[keras.Model, list[int]]:
    """Three layers that learn, and a spy above the first: the list grows if a backward pass comes through."""
    visits: list[int] = []

    @tf.custom_gradient
    def watched(values: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def backwards(slopes: tf.Tensor) -> tf.Tensor:
            if tf.executing_eagerly():  # a tf.function only traces this, and prunes it if nobody needs it
                visits.append(1)
            return slopes

        return tf.identity(values), backwards

    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(6, "tanh", name="body")(inputs)
    outputs = keras.layers.Lambda(watched, output_shape=(6,), name="spy")(outputs)
    outputs = keras.layers.Dense(5, "tanh", name="middle")(outputs)
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(outputs)), visits
