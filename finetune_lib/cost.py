"""What one training step costs, depending on which layers learn: arithmetic and memory (lesson 02b).

Counted from the model's graph; nothing is run. A multiplication with the addition that follows it counts as
one. Convolutions and dense layers are counted; the rest (pooling, normalisation, activations) is little.
"""

import dataclasses
import math
from collections.abc import Collection, Sequence
from typing import Any

import keras

from finetune_lib import freezing, graph

BYTES = 4  # of a float32


class OpenSize(ValueError):
    """A model takes images of any size, and what it costs depends on theirs."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer of a model's graph.

    Attributes:
        name: the layer's.
        weights: how many numbers it holds.
        parameters: how many of them gradient descent can change: all but BatchNormalization's statistics.
        multiply_adds: an image, forwards.
        reads: the tensors it takes, by identity, and how many numbers each holds for an image.
        makes: the tensors it gives, likewise.
    """

    name: str
    weights: int
    parameters: int
    multiply_adds: int
    reads: dict[int, int]
    makes: dict[int, int]


@dataclasses.dataclass(frozen=True)
class Step:
    """What one training step costs.

    Attributes:
        weights: how many numbers the model holds.
        trained_parameters: how many of them the step changes.
        forward: multiply-additions an image, from pixels to logits.
        weight_gradients: multiply-additions an image for the gradients of the weights that learn.
        input_gradients: multiply-additions an image to carry the gradient down to the lowest layer that
            learns. The layers on its way pay them, whether they learn or not.
        weight_bytes: of all weights.
        learning_bytes: of a gradient for each parameter that learns, and what the optimiser remembers of it.
        activation_bytes: of what a batch must keep from the forward for the backward pass: every output from
            the lowest layer that learns upwards, and what goes into the layers that learn. A lower bound.
    """

    weights: int
    trained_parameters: int
    forward: int
    weight_gradients: int
    input_gradients: int
    weight_bytes: int
    learning_bytes: int
    activation_bytes: int

    @property
    def multiply_adds(self) -> int:
        """All arithmetic, an image."""
        return self.forward + self.weight_gradients + self.input_gradients

    @property
    def memory_bytes(self) -> int:
        """All memory, a batch."""
        return self.weight_bytes + self.learning_bytes + self.activation_bytes


def layers(model: keras.Model) -> list[Layer]:
    """The layers of a flat functional model, from input to output.

    Raises:
        TypeError: if the model is not functional, or not built.
        ValueError: if one of its layers is itself a model.
        OpenSize: if the size of its images is open.
    """
    if None in model.input_shape[1:]:
        raise OpenSize(
            f"{model.name!r} takes images of any size {model.input_shape}; what a step costs depends on it. "
            "Build the model for one size."
        )
    found = []
    for call in graph.trace(model)[2]:
        layer = call.operation
        if isinstance(layer, keras.Model):
            raise ValueError(
                f"{layer.name!r} is a model inside {model.name!r}, so its layers cannot be told apart. "
                "Build the model flat, as classifier.build does."
            )
        weights = getattr(layer, "weights", [])
        found.append(
            Layer(
                name=layer.name,
                weights=_numbers(weights),
                parameters=_numbers([weight for weight in weights if not weight.name.startswith("moving_")]),
                multiply_adds=_multiply_adds(call, next(iter(call.makes.values())).shape),
                reads={key: math.prod(x.shape[1:]) for key, x in call.reads.items()},
                makes={key: math.prod(x.shape[1:]) for key, x in call.makes.items()},
            )
        )
    return found


def step(
    counted: Sequence[Layer], learning: Collection[str], *, batch_size: int = 32, optimizer_memory: int = 2
) -> Step:
    """What a training step costs if some layers learn and the others are frozen.

    Args:
        counted: what ``layers`` gave.
        learning: names of layers, or of blocks: ``"block4"`` means every layer called ``block4_`` something.
        batch_size: images a step.
        optimizer_memory: how many numbers the optimiser keeps for each parameter: 0 for plain SGD, 1 with
            momentum, 2 for Adam.

    Raises:
        ValueError: if a name matches no layer.
    """
    chosen = {name: [layer for layer in counted if freezing.is_called(layer.name, name)] for name in learning}
    if unknown := [name for name, found in chosen.items() if not found]:
        names = [layer.name for layer in counted if layer.parameters]
        raise ValueError(f"There is no layer or block called {unknown[0]!r}, but: {', '.join(names)}.")
    learns = {layer.name for found in chosen.values() for layer in found if layer.parameters}
    varies: set[int] = set()  # tensors that depend on a weight that learns
    kept: dict[int, int] = {}
    weight_gradients = input_gradients = 0
    for layer in counted:
        if varies & layer.reads.keys():
            input_gradients += layer.multiply_adds
        if layer.name in learns:
            weight_gradients += layer.multiply_adds
            kept |= layer.reads
        if layer.name in learns or varies & layer.reads.keys():
            varies |= layer.makes.keys()
            kept |= layer.makes
    trained = sum(layer.parameters for layer in counted if layer.name in learns)
    weights = sum(layer.weights for layer in counted)
    return Step(
        weights=weights,
        trained_parameters=trained,
        forward=sum(layer.multiply_adds for layer in counted),
        weight_gradients=weight_gradients,
        input_gradients=input_gradients,
        weight_bytes=BYTES * weights,
        learning_bytes=BYTES * trained * (1 + optimizer_memory),
        activation_bytes=BYTES * batch_size * sum(kept.values()),
    )


def gain_by_storing(
    prefix: keras.Model, suffix: keras.Model, sizes: dict[str, int], epochs: int, views: int, validations: int
) -> float:
    """How many times less arithmetic training takes if the frozen prefix's activations are stored.

    With t multiply-additions in the prefix and b in the suffix, an image costs t + 3b a step on images (b
    forwards, about 2b backwards), 3b on activations, and t once for each of its views (lesson 04).

    Args:
        sizes: the number of ``"train"`` and ``"validation"`` images.
        epochs: passes over the training images.
        views: how many augmented versions of a training image there are.
        validations: passes over the validation images.

    Raises:
        OpenSize: if the size of the model's images is open.
    """
    t, b = forward(prefix), forward(suffix)
    trained, measured = sizes["train"] * epochs, sizes["validation"] * validations
    suffixes = trained * 3 * b + measured * b
    on_images = (trained + measured) * t + suffixes
    return on_images / max(1, (sizes["train"] * views + sizes["validation"]) * t + suffixes)


def forward(model: keras.Model) -> int:
    """The multiply-additions of one image from input to output; functional models inside it are opened.

    Raises:
        TypeError: if the model is not functional, or not built.
        OpenSize: if the size of its images is open.
    """
    graph.require(model)
    return _forward(model, model.inputs)


def _forward(model: keras.Model, images: Sequence[keras.KerasTensor]) -> int:
    inputs, _, calls = graph.trace(model)
    # A base model that takes images of any size is called on images of one size: its graph anew, for that.
    renewed = {
        key: keras.Input(batch_shape=image.shape, dtype=image.dtype)
        for (key, old), image in zip(graph.tensors(inputs).items(), images, strict=True)
        if old.shape != image.shape
    }
    if renewed:
        graph.repeat(calls, renewed)
    total = 0
    for call in calls:
        is_graph = isinstance(call.operation, keras.Model) and getattr(call.operation, "inputs", None)
        taken = [renewed.get(key, tensor) for key, tensor in call.reads.items()]
        makes = [renewed.get(key, tensor) for key, tensor in call.makes.items()]
        total += _forward(call.operation, taken) if is_graph else _multiply_adds(call, makes[0].shape)
    return total


def _multiply_adds(call: graph.Call, made: Sequence[int | None]) -> int:
    """Every entry of a kernel meets the image once for each position of the output, whose shape is given."""
    kernels = [weight for weight in getattr(call.operation, "weights", []) if len(weight.shape) > 1]
    positions = [size for size in made[1:-1] if size is not None]
    if kernels and None in made[1:-1]:
        raise OpenSize(
            f"What {call.operation.name!r} costs depends on the size of the images, which is open. Build the "
            "model for one size."
        )
    return sum(math.prod(weight.shape) for weight in kernels) * (math.prod(positions) if kernels else 0)


def _numbers(weights: Sequence[Any]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)
