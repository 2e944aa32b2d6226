"""Grad-CAM: which places of an image speak for a class (Selvaraju et al., arXiv:1610.02391; lesson 06)."""

import difflib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from finetune_lib import evaluation, graph

BATCH = 32


def grad_cam(
    model: keras.Model, image: np.ndarray, class_index: int | None = None, layer: str | None = None
) -> np.ndarray:
    """Where an image holds what speaks for a class, according to one layer of the model.

    The gradient of the class's logit tells how much each channel of the layer counts: averaged over all
    positions it is the channel's weight. The channels' weighted sum, its negative part cut off, is the map;
    it is drawn up to the size of the image and divided by its maximum. So a map says nothing of how strongly
    an image speaks for the class, only where.

    Of a softmax head the *logit* is taken, too: probabilities compete, and the gradient of one that is nearly
    1 vanishes. The last layer is repeated without its softmax, or what its softmax reads is taken.

    Args:
        model: functional or Sequential, one image in, a number for each class out (logits or a softmax), or a
            single one for the second of two classes. It is not changed.
        image: ``(height, width, channels)``, as the model takes it: here raw RGB 0..255.
        class_index: the class; None for the one that the model answers.
        layer: whose output to look at, ``(batch, rows, columns, channels)``; by default ``default_layer``.

    Returns:
        float32 ``(height, width)``, 0..1; zeros if no place speaks for the class.

    Raises:
        TypeError: if the model has no graph of layers.
        ValueError: for a model with several inputs or outputs or no such layer, an image of another shape, a
            class or a layer that is not there, or a layer that is not 4-dimensional.
    """
    image = np.asarray(image)
    if image.ndim != 3:
        raise ValueError(
            f"An image is (height, width, channels), not of the shape {image.shape}. Of several images, "
            "grad_cams makes the maps."
        )
    chosen = None if class_index is None else np.array([class_index])
    return grad_cams(model, image[np.newaxis], chosen, layer)[0]


def grad_cams(
    model: keras.Model, images: np.ndarray, class_indices: np.ndarray | None = None, layer: str | None = None
) -> np.ndarray:
    """``grad_cam`` of many images at once, which is much faster.

    Args:
        images: ``(count, height, width, channels)``.
        class_indices: integers ``(count,)``, a class for each image.

    Returns:
        float32 ``(count, height, width)``, each map 0..1.

    Raises:
        TypeError, ValueError: as ``grad_cam``.
    """
    images = np.asarray(images, "float32")
    inside, classes = _inside(model, layer)
    _require_images(model, images)
    if class_indices is not None:
        class_indices = np.asarray(class_indices)
        _require_classes(class_indices, len(images), classes)
    maps = []
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        chosen = None if class_indices is None else class_indices[rows]
        maps.append(_maps(inside, images[rows], chosen))
    return np.concatenate(maps)


def default_layer(model: keras.Model) -> str:
    """The last layer, or operation, whose output still has positions: ``(batch, rows, columns, channels)``.

    In a classifier it is what the head's pooling reads. Outputs with a single position do not count.

    Raises:
        TypeError: if the model has no graph of layers.
        ValueError: if there is none.
    """
    return _default(graph.trace(model)[2]).operation.name


def _inside(model: keras.Model, layer: str | None) -> tuple[keras.Model, int]:
    """A model with the same layers that returns ``(maps, logits)``, and the number of classes."""
    inputs, outputs, calls = graph.trace(model)
    if len(graph.tensors(inputs)) != 1 or len(graph.tensors(outputs)) != 1:
        raise ValueError(
            f"{model.name!r} has several inputs or outputs. Grad-CAM here takes one image to one."
        )
    call = _default(calls) if layer is None else _named(calls, layer)
    (maps,) = call.makes.values()
    (output,) = graph.tensors(outputs).values()
    logits = _logits(model, output, calls)
    if len(logits.shape) != 2:
        raise ValueError(f"{model.name!r} returns {output.shape}, and not a number for each class.")
    return keras.Model(inputs, [maps, logits]), max(2, logits.shape[-1])


def _maps(inside: keras.Model, images: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)  # or nothing would be recorded where all layers are frozen
        activations, logits = inside(images, training=False)
        logits = tf.cast(logits, "float32")
        if logits.shape[-1] == 1:  # the second of two classes; what speaks against it, speaks for the first
            logits = tf.concat([-logits, logits], axis=-1)
        classes = tf.argmax(logits, axis=-1) if classes is None else tf.constant(classes, tf.int64)
        total = tf.reduce_sum(tf.gather(logits, classes, axis=1, batch_dims=1))
    slopes = tape.gradient(total, activations)
    if slopes is None:
        raise ValueError("What this layer makes does not lead to the model's answer. Choose another layer.")
    activations, slopes = (tf.cast(each, "float32") for each in (activations, slopes))
    weights = tf.reduce_mean(slopes, axis=(1, 2), keepdims=True)
    coarse = tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1, keepdims=True))
    maps = keras.ops.image.resize(
        coarse, images.shape[1:3], interpolation="bilinear", data_format="channels_last"
    )
    maps = np.asarray(maps)[..., 0]
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, highest, out=np.zeros_like(maps), where=highest > 0)


def _has_positions(call: graph.Call) -> bool:
    outputs = list(call.makes.values())
    return len(outputs) == 1 and len(outputs[0].shape) == 4


def _default(calls: list[graph.Call]) -> graph.Call:
    for call in reversed(calls):
        if _has_positions(call) and tuple(next(iter(call.makes.values())).shape[1:3]) != (1, 1):
            return call
    raise ValueError(
        "No layer of this model returns (batch, rows, columns, channels) with more than one position. "
        "Grad-CAM needs one: a convolution, or what follows it."
    )


def _named(calls: list[graph.Call], layer: str) -> graph.Call:
    named = [call for call in calls if call.operation.name == layer]
    good = list(dict.fromkeys(call.operation.name for call in calls if _has_positions(call)))
    if not named:
        near = difflib.get_close_matches(layer, good) or good[-3:]
        raise ValueError(f"There is no layer {layer!r}. Did you mean {' or '.join(map(repr, near))}?")
    if not _has_positions(named[-1]):
        raise ValueError(
            f"{layer!r} does not return (batch, rows, columns, channels). Those that do: ..., "
            f"{', '.join(good[-5:])}."
        )
    return named[-1]


def _logits(model: keras.Model, output: Any, calls: list[graph.Call]) -> Any:
    """What the model's softmax or sigmoid reads; the output itself if it has none."""
    call = next(call for call in reversed(calls) if id(output) in call.makes)
    operation = call.operation
    ending = evaluation.last_activation(model)
    if ending not in ("softmax", "sigmoid"):
        return output
    if isinstance(operation, keras.Model):
        raise ValueError(
            f"The {ending} lies inside the nested model {operation.name!r}. Call its layers one by one, so "
            "that the whole is one flat model."
        )
    read = next(iter(call.reads.values()))
    if not isinstance(operation, keras.layers.Dense):
        return read
    bare = keras.layers.Dense.from_config(operation.get_config() | {"activation": "linear"})
    logits = bare(read)
    bare.set_weights(operation.get_weights())
    return logits


def _require_images(model: keras.Model, images: np.ndarray) -> None:
    wanted = tuple(model.input_shape[1:])
    fits = images.ndim == 4 and len(images) > 0
    if not fits or any(size not in (None, got) for size, got in zip(wanted, images.shape[1:], strict=True)):
        raise ValueError(
            f"{model.name!r} takes images of the shape {wanted} each, and was given {images.shape[1:]}. "
            "data.load and photos.read bring them to size."
        )


def _require_classes(chosen: np.ndarray, count: int, classes: int) -> None:
    if chosen.shape != (count,):
        raise ValueError(f"A class for each image, {count}, is needed; given is the shape {chosen.shape}.")
    if not np.issubdtype(chosen.dtype, np.integer) or chosen.min() < 0 or chosen.max() >= classes:
        raise ValueError(f"A class is a whole number from 0 to {classes - 1}, not {chosen.tolist()[:5]}.")
