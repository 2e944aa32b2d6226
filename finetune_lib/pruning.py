"""Weights that are zero and stay zero while the others learn on: magnitude pruning (lesson 08)."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from finetune_lib import freezing, graph


def prune(model: keras.Model, sparsity: float) -> dict[str, np.ndarray]:
    """Set the smallest of all entries of ``kernels(model)`` to zero (Han et al., arXiv:1506.02626).

    One threshold for all of them: layers with many small entries lose more. What is zero already is the
    smallest there is, so that one can go on from 50% to 75% (gradual pruning: Zhu and Gupta,
    arXiv:1710.01878). Training would move the zeros again: see ``held``.

    Args:
        sparsity: the share of the entries that are to be zero, 0 to less than 1.

    Returns:
        Which entries are left: for each kernel, by its layer's path, bool of its shape.

    Raises:
        TypeError: if the model is not functional, or not built.
        ValueError: if the share is out of its range, or there is no kernel.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity is {sparsity!r}; it is a share, such as 0.75, and less than 1.")
    found = kernels(model)
    sizes = np.concatenate([np.abs(kernel.numpy()).ravel() for kernel in found.values()])
    left = np.ones(len(sizes), bool)
    left[np.argsort(sizes, kind="stable")[: round(sparsity * len(sizes))]] = False
    masks, first = {}, 0
    for path, kernel in found.items():
        last = first + int(np.prod(kernel.shape))
        masks[path], first = left[first:last].reshape(kernel.shape), last
        kernel.assign(kernel.numpy() * masks[path])
    return masks


@contextlib.contextmanager
def held(model: keras.Model, masks: dict[str, np.ndarray]) -> Iterator[None]:
    """While this context lasts, what the masks leave out stays zero, whoever trains the model.

        masks = pruning.prune(model, 0.75)
        with pruning.held(model, masks):
            fitting.fit(model, dataset, epochs=10)

    It works as Keras' own kernel constraints do, which every optimiser applies after each of its steps. On
    leaving, each kernel gets back the constraint it had, so that the saved model is plain Keras.

    Args:
        masks: what ``prune`` gave.

    Raises:
        ValueError: if masks and kernels do not fit each other.
        RuntimeError: on leaving, if training moved an entry that is left out. An optimiser that replaces the
            weights by averages of theirs (``use_ema``) does.
    """
    found = kernels(model)
    if {path: mask.shape for path, mask in masks.items()} != {path: k.shape for path, k in found.items()}:
        raise ValueError(f"The masks are not those of {model.name!r}: prune(model, sparsity) makes them.")
    before = {path: kernel.constraint for path, kernel in found.items()}
    for path, kernel in found.items():
        kernel.constraint = _Mask(masks[path], before[path])
        kernel.assign(kernel.numpy() * masks[path])
    try:
        yield
    finally:
        for path, kernel in found.items():
            kernel.constraint = before[path]
    if moved := [path for path, kernel in found.items() if kernel.numpy()[~masks[path]].any()]:
        raise RuntimeError(
            f"Entries of {', '.join(moved)} that were pruned have moved. Was the optimiser made with "
            "use_ema, or did a callback set the weights?"
        )


def sparsity(model: keras.Model) -> dict[str, float]:
    """The share of zeros in each of ``kernels(model)``, by its path; last, as ``"all"``, in all of them."""
    found = {path: kernel.numpy() for path, kernel in kernels(model).items()}
    zeros = {path: int(np.sum(kernel == 0)) for path, kernel in found.items()}
    shares = {path: zeros[path] / kernel.size for path, kernel in found.items()}
    return shares | {"all": sum(zeros.values()) / sum(kernel.size for kernel in found.values())}


def kernels(model: keras.Model) -> dict[str, Any]:
    """What may be pruned: the kernels (``keras.Variable``) of all layers but the last, by the layer's path.

    Not biases and BatchNormalization, which are few. And not the last kernel, which makes the logits: a new
    head on strong features has small entries, so that a threshold for all would take the head away first.

    A layer with several, such as SeparableConv2D, has one entry each: ``path/depthwise_kernel``.

    Raises:
        TypeError: if the model is not functional, or not built.
        ValueError: if there is none.
    """
    graph.require(model)
    layers = []
    for path, layer in freezing.leaves(model):
        named = [weight for weight in layer.weights if weight.name.endswith("kernel")]
        layers += (
            [{path if len(named) == 1 else f"{path}/{each.name}": each for each in named}] if named else []
        )
    if len(layers) < 2:
        raise ValueError(
            f"{model.name!r} has {len(layers)} layer(s) with a kernel, and the last one is left as it is. So "
            "there is nothing to prune."
        )
    return {path: kernel for layer in layers[:-1] for path, kernel in layer.items()}


class _Mask(keras.constraints.Constraint):
    """Keras calls it after every step of an optimiser."""

    def __init__(self, mask: np.ndarray, also: Callable | None) -> None:
        self.mask, self.also = mask, also

    def __call__(self, value: Any) -> Any:
        kept = value if self.also is None else self.also(value)
        # Not a product: what has become infinite would give NaN, and not be found where it is.
        return keras.ops.where(self.mask, kept, 0.0)
