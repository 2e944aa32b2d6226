"""Gradient descent from first principles, in NumPy (lessons 02a and 02b).

Losses give ``(loss, gradient)``; optimisers turn a gradient into the next weights; ``trajectory`` repeats
that. What it will do is predicted in ``convergence``. Everything is float64 unless the weights are not.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

import numpy as np

Reduction = Literal["sum", "mean", "none"]
Rate = float | Callable[[int], float]


# --- losses ---


def least_squares(
    weights: np.ndarray, inputs: np.ndarray, targets: np.ndarray, reduction: Reduction = "mean"
) -> tuple[Any, np.ndarray]:
    """The loss l_i = (x_i . w - y_i)^2 / 2 and its gradient (x_i . w - y_i) x_i.

    Args:
        weights: ``(features,)``.
        inputs: ``(examples, features)``.
        targets: ``(examples,)``.
        reduction: ``"sum"`` over the examples, their ``"mean"`` (what Keras does), or ``"none"``: each
            example's own loss ``(examples,)`` and gradient ``(examples, features)``.

    Raises:
        ValueError: if shapes do not fit, or for an unknown reduction.
    """
    _require_shapes(inputs, targets, weights, weights.ndim == 1)
    residuals = inputs @ weights - targets
    losses = residuals**2 / 2
    if reduction == "none":
        return losses, residuals[:, np.newaxis] * inputs
    return _reduced(losses, inputs.T @ residuals, reduction)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities from logits ``(..., classes)``: exp(z_k) / sum_j exp(z_j), without overflow."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def softmax_cross_entropy(
    weights: np.ndarray, inputs: np.ndarray, labels: np.ndarray, reduction: Reduction = "mean"
) -> tuple[Any, np.ndarray]:
    """The loss l_i = -log softmax(x_i . W)[y_i] and its gradient x_i (p_i - one_hot(y_i))^T.

    Args:
        weights: ``(features, classes)``.
        inputs: ``(examples, features)``.
        labels: whole numbers ``(examples,)``, 0 to classes - 1.
        reduction: as for ``least_squares``; with ``"none"`` gradients ``(examples, features, classes)``.

    Raises:
        ValueError: if shapes or labels do not fit, or for an unknown reduction.
    """
    _require_shapes(inputs, labels, weights, weights.ndim == 2)
    if labels.min() < 0 or labels.max() >= weights.shape[1]:
        raise ValueError(
            f"Labels are {labels.min()} to {labels.max()}; weights for {weights.shape[1]} classes "
            f"take 0 to {weights.shape[1] - 1}."
        )
    rows = np.arange(len(labels))
    logits = inputs @ weights
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[rows, labels]
    errors = softmax(logits)
    errors[rows, labels] -= 1
    if reduction == "none":
        return losses, inputs[:, :, np.newaxis] * errors[:, np.newaxis, :]
    return _reduced(losses, inputs.T @ errors, reduction)


def finite_differences(loss: Callable[[np.ndarray], float], weights: np.ndarray) -> np.ndarray:
    """The gradient by nudging one weight after the other: (L(w + h) - L(w - h)) / 2h.

    The step h, about 6e-6 for a weight of 1, balances two errors: the curve's own bend, which grows as h^2,
    and rounding, which grows as 1/h.
    """
    gradient = np.zeros(weights.shape)
    for place in np.ndindex(weights.shape):
        nudge = np.zeros(weights.shape)
        step = float(np.finfo(float).eps) ** (1 / 3) * max(1.0, abs(float(weights[place])))
        nudge[place] = step
        gradient[place] = (loss(weights + nudge) - loss(weights - nudge)) / (2 * step)
    return gradient


# --- optimisers, in Keras' conventions ---


class Optimizer(Protocol):
    """What ``trajectory`` needs: ``start`` makes the memory, ``step`` takes one step with it."""

    def start(self, weights: np.ndarray) -> tuple: ...

    def step(
        self, weights: np.ndarray, gradient: np.ndarray, memory: tuple, number: int
    ) -> tuple[np.ndarray, tuple]: ...


@dataclasses.dataclass(frozen=True)
class SGD:
    """Gradient descent, with momentum if asked: v <- m v - a g, then w <- w + v, as ``keras.optimizers.SGD``.

    With ``nesterov`` w <- w + m v - a g, with the new v: Nesterov's method, seen from the point at which it
    takes the gradient (Sutskever et al., 2013). The method is only stochastic if the gradient is.

    Attributes:
        learning_rate: a; a number, or a function of the step's number 0, 1, 2, ...
        momentum: m, from 0 (plain gradient descent) to below 1 (Polyak's heavy ball, 1964).
        nesterov: see above.
    """

    learning_rate: Rate
    momentum: float = 0.0
    nesterov: bool = False

    def start(self, weights: np.ndarray) -> tuple:
        return (np.zeros_like(weights),)

    def step(
        self, weights: np.ndarray, gradient: np.ndarray, memory: tuple, number: int
    ) -> tuple[np.ndarray, tuple]:
        move = rate_at(self.learning_rate, number) * gradient
        velocity = self.momentum * memory[0] - move
        ahead = self.momentum * velocity - move if self.nesterov else velocity
        return weights + ahead, (velocity,)


@dataclasses.dataclass(frozen=True)
class Adam:
    """Every weight with a step size of its own (Kingma and Ba, arXiv 1412.6980), as in Keras.

    m and v are running means of g and g^2; w <- w - a m' / (sqrt(v') + e), where the strokes correct for a
    start at zero. (Keras applies e before that correction, as the end of the paper's section 2 proposes.)

    Attributes:
        learning_rate: a; a number, or a function of the step's number.
        weight_decay: d; before each step w <- w - a d w, decoupled from the gradient (Loshchilov and Hutter,
            arXiv 1711.05101), as ``keras.optimizers.AdamW``.
    """

    learning_rate: Rate
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float = 0.0

    def start(self, weights: np.ndarray) -> tuple:
        return np.zeros_like(weights), np.zeros_like(weights)

    def step(
        self, weights: np.ndarray, gradient: np.ndarray, memory: tuple, number: int
    ) -> tuple[np.ndarray, tuple]:
        rate = rate_at(self.learning_rate, number)
        weights = weights - rate * self.weight_decay * weights
        mean = memory[0] + (1 - self.beta_1) * (gradient - memory[0])
        square = memory[1] + (1 - self.beta_2) * (gradient**2 - memory[1])
        correction = math.sqrt(1 - self.beta_2 ** (number + 1)) / (1 - self.beta_1 ** (number + 1))
        return weights - rate * correction * mean / (np.sqrt(square) + self.epsilon), (mean, square)


def rate_at(learning_rate: Rate, number: int) -> float:
    """The learning rate of step ``number``, whether it is a number or a schedule."""
    return learning_rate(number) if callable(learning_rate) else learning_rate


def cosine(peak: float, steps: int, warm_up: int = 0) -> Callable[[int], float]:
    """A schedule: up to ``peak`` in a straight line over ``warm_up`` steps, then along half a cosine to zero.

    As ``keras.optimizers.schedules.CosineDecay`` with ``warmup_target`` (Loshchilov and Hutter, arXiv
    1608.03983; warm-up: Goyal et al., arXiv 1706.02677).
    """

    def rate(number: int) -> float:
        if number < warm_up:
            return peak * number / warm_up
        done = min(1.0, (number - warm_up) / (steps - warm_up))
        return peak * (1 + math.cos(math.pi * done)) / 2

    return rate


def trajectory(
    gradient: Callable[[np.ndarray], np.ndarray], start: np.ndarray, optimizer: Optimizer, steps: int
) -> np.ndarray:
    """Every point of a descent, the start included: ``(steps + 1, *start.shape)``.

    ``gradient`` may draw a new mini-batch at every call. A descent that diverges is not stopped: where the
    numbers become too large, they become infinite or NaN.
    """
    path = np.empty((steps + 1, *start.shape), np.result_type(start.dtype, 0.0))
    path[0] = start
    memory = optimizer.start(start)
    with np.errstate(over="ignore", invalid="ignore"):
        for number in range(steps):
            path[number + 1], memory = optimizer.step(path[number], gradient(path[number]), memory, number)
    return path


def mini_batches(examples: int, batch_size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Row numbers of one mini-batch after the other, for ever; each epoch in a new order.

    As in Keras, no example comes twice in an epoch; unlike there, a rest that fills no batch is left out.
    """
    if not 1 <= batch_size <= examples:
        raise ValueError(f"A batch of {batch_size} cannot be drawn from {examples} examples.")
    while True:
        order = generator.permutation(examples)
        for first in range(0, examples - batch_size + 1, batch_size):
            yield order[first : first + batch_size]


def _reduced(losses: np.ndarray, gradient: np.ndarray, reduction: str) -> tuple[float, np.ndarray]:
    if reduction not in ("sum", "mean"):
        raise ValueError(f"There is no reduction {reduction!r}; choose 'sum', 'mean' or 'none'.")
    count = len(losses) if reduction == "mean" else 1
    return float(losses.sum() / count), gradient / count


def _require_shapes(inputs: np.ndarray, answers: np.ndarray, weights: np.ndarray, fits: bool) -> None:
    if not fits or answers.ndim != 1 or inputs.shape != (len(answers), len(weights)) or not len(answers):
        raise ValueError(
            f"Shapes do not fit: weights {weights.shape}, inputs {inputs.shape}, answers {answers.shape}. "
            "Inputs are (examples, features), answers (examples,), weights (features,) or, for classes, "
            "(features, classes); there is at least one example."
        )
