"""A model as a LiteRT file of fewer bytes, run without TensorFlow (lesson 08).

LiteRT is what TensorFlow Lite is called now. Pruning and distillation, which shrink the model itself before
it is converted, are in ``pruning`` and ``distillation``.
"""

import contextlib
import gzip
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import interpreter

from finetune_lib import graph

KINDS = ("float32", "float16", "dynamic_int8", "int8")


def convert(model: keras.Model, kind: str, representative: Iterable[np.ndarray] | None = None) -> bytes:
    """Turn a classifier into the contents of a ``.tflite`` file, with LiteRT's built-in operations only.

    - ``"float32"``: the weights as they are; the same answers but for rounding.
    - ``"float16"``: weights in half the bytes. On a CPU they are turned back into float32 when the file is
      opened, so download and disk gain, memory and time do not.
    - ``"dynamic_int8"``: large kernels as int8, a scale for each output channel; the rest float32. What flows
      between layers is rounded to int8 on the way, by a scale found for each image when it is there.
    - ``"int8"``: kernels, activations, input and output as integers, for processors that have nothing else.
      The scales of the activations are fixed beforehand, from what the representative images make of them
      (Jacob et al., arXiv:1712.05877). The input is uint8, as a camera gives it, and so is the output.

    The file's signature calls the input ``image``, and the output as the model's last layer is called. It
    takes one image; ``resize_tensor_input`` makes it any number. ``LiteRTModel`` sees to types, scales and
    batches.

    Args:
        model: functional, one input, raw RGB 0..255 of one size, and one output. It is not changed.
        kind: one of ``KINDS``.
        representative: for ``"int8"``: images ``(height, width, 3)`` or an array of them, raw RGB 0..255,
            such as the model will meet: 100 or more, of all classes. Training images will do.

    Raises:
        TypeError: if the model is not functional, or not built.
        ValueError: for an unknown kind; several inputs or outputs, or an open image size; a representative
            set that is missing, empty, of another shape or another scale, or given to a kind that does not
            look at it.
    """
    graph.require(model)
    if kind not in KINDS:
        raise ValueError(f"There is no kind {kind!r}, but: {', '.join(KINDS)}.")
    if len(model.inputs) != 1 or len(model.outputs) != 1 or None in model.inputs[0].shape[1:]:
        shapes = [x.shape for x in (*model.inputs, *model.outputs)]
        raise ValueError(
            f"{model.name!r} has {len(model.inputs)} input(s) and {len(model.outputs)} output(s), of shapes "
            f"{shapes}. It takes one of each, and images of one size: build the model for that."
        )
    shape = tuple(model.inputs[0].shape[1:])
    images = _representative(representative, shape, model.name) if kind == "int8" else []
    if kind != "int8" and representative is not None:
        raise ValueError(f"{kind!r} does not look at images; leave representative out, or ask for 'int8'.")
    name = model.layers[-1].name
    with tempfile.TemporaryDirectory() as folder, _silence():
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint(
            "serve",
            lambda image: {name: model(image, training=False)},
            input_signature=[tf.TensorSpec((None, *shape), tf.float32, "image")],
        )
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if kind != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if kind == "int8":
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: ([image[np.newaxis]] for image in images)
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        return converter.convert()


class LiteRTModel:
    """A LiteRT file, run by ai-edge-litert: raw images in, what the Keras model would answer out.

    Args:
        content: what ``convert`` gave, or a ``.tflite`` file holds: one image input, one output.
        threads: how many of the processor's.

    Attributes:
        interpreter: LiteRT's own, for whoever wants to look inside, or to time ``invoke`` alone.
        input, output: LiteRT's details: ``name``, ``dtype``, ``shape``, ``quantization`` (scale, zero point),
            ``index``.

    Raises:
        ValueError: if the contents are no LiteRT file, or hold operations that are not built in.
    """

    def __init__(self, content: bytes, *, threads: int = 1) -> None:
        try:
            with _silence():
                self.interpreter = interpreter.Interpreter(model_content=content, num_threads=threads)
                self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"LiteRT cannot run this file of {len(content):,} bytes: {error}") from error
        (self.input,) = self.interpreter.get_input_details()
        (self.output,) = self.interpreter.get_output_details()
        self._allocated = tuple(self.input["shape"])

    def predict(self, images: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
        """The answers to images ``(count, height, width, 3)``, raw RGB 0..255, of any number type.

        Where the file takes or gives integers, these stand for ``scale * (integer - zero_point)``.

        Returns:
            float32 ``(count, classes)``: logits, if the Keras model's last layer gives logits.

        Raises:
            ValueError: if the images have another shape.
        """
        images, wanted = np.asarray(images), tuple(self.input["shape"][1:])
        if images.shape[1:] != wanted or not len(images):
            raise ValueError(
                f"The images have shape {images.shape}; this file takes (count, "
                f"{', '.join(map(str, wanted))}), at least one of them."
            )
        answers = [
            self._run(images[first : first + batch_size]) for first in range(0, len(images), batch_size)
        ]
        return np.concatenate(answers)

    def set_images(self, images: np.ndarray) -> None:
        """Put images where ``interpreter.invoke()`` finds them, as numbers of the file's own type."""
        if images.shape != self._allocated:
            self.interpreter.resize_tensor_input(self.input["index"], images.shape)
            self.interpreter.allocate_tensors()
            self._allocated = images.shape
        self.interpreter.set_tensor(self.input["index"], _quantised(images, self.input))

    def _run(self, images: np.ndarray) -> np.ndarray:
        self.set_images(images)
        self.interpreter.invoke()
        answers = self.interpreter.get_tensor(self.output["index"])
        scale, zero_point = self.output["quantization"]
        return (answers.astype("float32") - zero_point) * np.float32(scale) if scale else answers


def gzip_size(content: bytes) -> int:
    """How many bytes are left of a file when it is sent over the network, as gzip packs it."""
    return len(gzip.compress(content, mtime=0))


def _quantised(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    scale, zero_point = details["quantization"]
    if not scale:
        return values.astype(details["dtype"])
    limits = np.iinfo(details["dtype"])
    return np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(details["dtype"])


def _representative(images: Iterable[np.ndarray] | None, shape: tuple, name: str) -> list[np.ndarray]:
    if images is None:
        raise ValueError(
            "'int8' needs representative images, to see how large the numbers between the layers get: "
            "convert(model, 'int8', images), 100 or more raw images, such as training images."
        )
    found = [np.asarray(image, "float32") for image in images]
    if not found or any(image.shape != shape for image in found):
        other = next((image.shape for image in found if image.shape != shape), "none at all")
        raise ValueError(
            f"The representative images are {other}; {name!r} takes {shape}. Give an array (count, "
            f"{', '.join(map(str, shape))}), or such images one by one, without labels and not in batches."
        )
    low, high = min(image.min() for image in found), max(image.max() for image in found)
    if not (low >= 0 and 1 < high <= 255):
        raise ValueError(
            f"The representative images run from {low:g} to {high:g}; it takes raw RGB, 0 to 255, as the "
            "model does. Its own first layers scale them."
        )
    return found


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing on the standard error stream: the converter's C++ part writes there, past Python."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere, warnings.catch_warnings():  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
