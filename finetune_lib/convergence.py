"""What gradient descent will do, in closed form: for quadratic losses, and for the noise of mini-batches.

Lesson 02a holds it against what ``descent.trajectory`` does, lesson 02b the part on noise.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from finetune_lib import descent

DOUBLE_ROOT = 1e-6  # two roots nearer than this are treated as one


@dataclasses.dataclass(frozen=True)
class Quadratic:
    """L(w) = (w - w*)^T H (w - w*) / 2: least squares exactly, any smooth loss near its minimum.

    Attributes:
        hessian: H, symmetric, ``(weights, weights)``; for the mean of least squares X^T X / n.
        minimizer: w*, ``(weights,)``.
    """

    hessian: np.ndarray
    minimizer: np.ndarray

    def loss(self, weights: np.ndarray) -> np.ndarray:
        """L of one ``(weights,)`` or many ``(..., weights)``, above the loss at the minimum."""
        error = weights - self.minimizer
        return np.einsum("...i,ij,...j->...", error, self.hessian, error) / 2

    def gradient(self, weights: np.ndarray) -> np.ndarray:
        """H (w - w*)."""
        return self.hessian @ (weights - self.minimizer)


def convergence_rates(curvatures: np.ndarray, optimizer: descent.SGD) -> np.ndarray:
    """By which factor the error shrinks a step in the end, along eigenvectors of these ``curvatures``.

    Plain: |1 - a lambda|, below 1 exactly if a < 2 / lambda. With momentum m the larger root of
    r^2 - (1 + m - a lambda) r + m, for Nesterov's of r^2 - (1 + m)(1 - a lambda) r + m (1 - a lambda);
    where the roots are complex the error swings, and shrinks by sqrt(m) a step.
    """
    return np.abs(_roots(curvatures, optimizer)).max(axis=0)


def predicted_errors(
    curvatures: np.ndarray, optimizer: descent.SGD, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """The error along each eigenvector after 0, 1, ..., ``steps`` steps, as a part of what it was.

    Returns:
        the errors, and an envelope that their absolute values never exceed, each ``(steps + 1, curvatures)``.
        Without momentum the errors are (1 - a lambda)^t; with it a sum of the two roots' powers, which for
        complex roots is a damped oscillation.
    """
    first, second = _roots(curvatures, optimizer)
    first_step = 1 + optimizer.momentum if optimizer.nesterov else 1
    after_one = 1 - _constant_rate(optimizer) * curvatures * first_step
    t = np.arange(steps + 1)[:, np.newaxis]
    double = np.abs(first - second) < DOUBLE_ROOT
    apart = np.where(double, 1, first - second)
    share = (after_one - second) / apart  # errors = share first^t + (1 - share) second^t
    with np.errstate(over="ignore", invalid="ignore"):  # a diverging descent, long enough
        errors = (share * first**t + (1 - share) * second**t).real
        envelope = np.abs(share) * np.abs(first) ** t + np.abs(1 - share) * np.abs(second) ** t
    if double.any():  # the limit of both for equal roots: r^t + t (e_1 - r) r^(t - 1)
        middle = ((first + second) / 2).real
        slope = t * (after_one - middle) * middle ** np.maximum(t - 1, 0)
        errors = np.where(double, middle**t + slope, errors)
        envelope = np.where(double, np.abs(middle) ** t + np.abs(slope), envelope)
    return errors, envelope


def predicted_losses(
    quadratic: Quadratic, start: np.ndarray, optimizer: descent.SGD, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """The loss after 0, 1, ..., ``steps`` steps from ``start``, and its envelope, each ``(steps + 1,)``."""
    curvatures, directions = np.linalg.eigh(quadratic.hessian)
    parts = curvatures * (directions.T @ (start - quadratic.minimizer)) ** 2 / 2
    errors, envelope = predicted_errors(curvatures, optimizer, steps)
    return errors**2 @ parts, envelope**2 @ parts


def best_for_quadratic(smallest: float, largest: float) -> dict[str, descent.SGD]:
    """The constants that shrink the worst error fastest, for curvatures between the two given.

    With k = largest / smallest, the condition number: ``"plain"`` and ``"heavy ball"`` are Polyak's (1964),
    with rates (k - 1)/(k + 1) and (sqrt(k) - 1)/(sqrt(k) + 1); ``"Nesterov"`` is the usual choice for that
    method, with rate 1 - 1/sqrt(k).
    """
    low, high = math.sqrt(smallest), math.sqrt(largest)
    momentum = (high - low) / (high + low)
    return {
        "plain": descent.SGD(2 / float(smallest + largest)),
        "heavy ball": descent.SGD((2 / (high + low)) ** 2, momentum**2),
        "Nesterov": descent.SGD(1 / float(largest), momentum, nesterov=True),
    }


def largest_curvature(
    gradient: Callable[[np.ndarray], np.ndarray], weights: np.ndarray, iterations: int = 100
) -> float:
    """The largest eigenvalue of a convex loss' Hessian at ``weights``.

    By power iteration on differences of gradients: (g(w + h d) - g(w - h d)) / 2h is H d; H is never made.
    """
    direction = np.random.default_rng(0).normal(size=weights.shape)
    curvature = 0.0
    for _ in range(iterations):
        direction /= np.linalg.norm(direction)
        step = 1e-5 * direction
        change = (gradient(weights + step) - gradient(weights - step)) / 2e-5
        curvature, direction = float(np.vdot(direction, change)), change
        if not change.any():
            break  # flat: there is no direction to go on with
    return curvature


def gradient_variance(gradients: np.ndarray, batch_size: int) -> float:
    """The mean squared distance of a mini-batch's mean gradient from that of all examples.

    S / B * (n - B) / (n - 1), where S is the same for batches of one: the mean of |g_i - g|^2. The last
    factor is due to drawing without replacement: with all n examples in the batch there is no noise.

    Args:
        gradients: each example's own, ``(examples, ...)``.
    """
    count = len(gradients)
    if not 1 <= batch_size <= count:
        raise ValueError(f"A batch of {batch_size} cannot be drawn from {count} examples.")
    spread = ((gradients - gradients.mean(axis=0)) ** 2).reshape(count, -1).sum(axis=1).mean()
    return float(spread / batch_size * (count - batch_size) / max(1, count - 1))


def noise_floor(curvatures: np.ndarray, variances: np.ndarray, learning_rate: float) -> float:
    """The mean loss, above the minimum, that plain descent with noisy gradients ends up at.

    The sum over eigenvectors of a s^2 / (2 (2 - a lambda)), for noise of variance s^2 that does not depend on
    the weights and is drawn anew at every step: each error becomes a random walk that is pulled back.
    Infinite where a lambda is 2 or more.

    Args:
        curvatures: eigenvalues of the Hessian.
        variances: of the gradient's noise along the same eigenvectors.
    """
    pull = 2 - learning_rate * curvatures
    return float(np.sum(learning_rate * variances / (2 * pull))) if (pull > 0).all() else math.inf


def _roots(curvatures: np.ndarray, optimizer: descent.SGD) -> np.ndarray:
    """The two roots of the error's recurrence for each curvature, complex, ``(2, curvatures)``."""
    shrink = 1 - _constant_rate(optimizer) * np.asarray(curvatures, float)
    if optimizer.nesterov:
        total, product = (1 + optimizer.momentum) * shrink, optimizer.momentum * shrink
    else:
        total, product = optimizer.momentum + shrink, np.full_like(shrink, optimizer.momentum)
    spread = np.sqrt(total.astype(complex) ** 2 / 4 - product)
    return np.stack([total / 2 + spread, total / 2 - spread])


def _constant_rate(optimizer: descent.SGD) -> float:
    if callable(optimizer.learning_rate):
        raise ValueError("Closed forms are for a constant learning rate; this optimiser has a schedule.")
    return optimizer.learning_rate
