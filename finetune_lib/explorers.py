"""What the sliders of lessons 02a and 02b show: plain functions from their values to picture and text.

``widgets`` puts controls in front of them. Each returns ``(figure, text)``, and the text says what the figure
shows, with its numbers.
"""

import math
from collections.abc import Collection, Sequence

import matplotlib.figure
import numpy as np

from finetune_lib import convergence, cost, descent, plots

Shown = tuple[matplotlib.figure.Figure, str]
START = np.array([-1.6, 1.2])
DRAWS = 400  # mini-batches drawn to measure their noise


def one_parameter(dark: np.ndarray, wanted: np.ndarray, learning_rate: float, steps: int = 12) -> Shown:
    """Descent of one weight w, from 0, by which the pixels of a dark picture are multiplied (lesson 02a).

    The loss is the mean of (w x - y)^2 / 2 over the pixels, x of the dark picture, y of the one it should be,
    both ``(height, width)``, 0..1.
    """
    inputs, targets = dark.reshape(-1, 1), wanted.ravel()

    def loss(w: float) -> float:
        return descent.least_squares(np.array([w]), inputs, targets)[0]

    def gradient(w: np.ndarray) -> np.ndarray:
        return descent.least_squares(w, inputs, targets)[1]

    path = descent.trajectory(gradient, np.zeros(1), descent.SGD(learning_rate), steps)[:, 0]
    best = float(inputs[:, 0] @ targets / (inputs[:, 0] @ inputs[:, 0]))
    figure = matplotlib.figure.Figure(figsize=(9.5, 3.4))
    panels = figure.subplots(1, 4, width_ratios=(2.2, 1, 1, 1))
    figure.subplots_adjust(left=0.08, right=0.99, bottom=0.15, top=0.93, wspace=0.12)
    reach = 1.6 * abs(best)
    line = np.linspace(best - reach, best + reach, 120)
    panels[0].plot(line, [loss(w) for w in line], color=plots.GREY, linewidth=1)
    inside = path[np.abs(path - best) <= reach]
    panels[0].plot(inside, [loss(w) for w in inside], "o-", color=plots.BLUE, markersize=4, linewidth=1)
    panels[0].plot(path[0], loss(path[0]), "o", color=plots.BLUE, markersize=9, markerfacecolor="white")
    panels[0].plot(best, loss(best), "*", color="black", markersize=12)
    panels[0].set(xlabel="weight w", ylabel="loss", xlim=(line[0], line[-1]))
    pictures = {"dark": dark, f"after {steps} steps": path[-1] * dark, "wanted": wanted}
    for axes, (title, picture) in zip(panels[1:], pictures.items(), strict=True):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=10)
        axes.axis("off")
    first, second = path[1] - path[0], path[2] - path[1]
    lines = [
        f"learning rate {learning_rate:.3g}: w goes {_listed(path[:5])} ... {path[-1]:.3g}; best: {best:.3g}",
        f"loss: {loss(path[0]):.3g} at the start, {loss(path[-1]):.3g} after {steps} steps; "
        f"smallest possible {loss(best):.3g}",
        _in_words(second / first),
    ]
    return figure, "\n".join(lines)


def learning_rate_and_momentum(
    quadratic: convergence.Quadratic,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    steps: int = 40,
) -> Shown:
    """Descent of two weights on a quadratic loss, its path drawn on the contours (lesson 02a)."""
    optimizer = descent.SGD(learning_rate, momentum, nesterov)
    start = quadratic.minimizer + START
    path = descent.trajectory(quadratic.gradient, start, optimizer, steps)
    curvatures = np.linalg.eigvalsh(quadratic.hessian)
    rates = convergence.convergence_rates(curvatures, optimizer)
    distances = np.linalg.norm(path - quadratic.minimizer, axis=1)
    lines = [
        f"learning rate {learning_rate:.3g}, momentum {momentum:.3g}{', Nesterov' if nesterov else ''}: "
        + ("converges" if rates.max() < 1 else "diverges"),
        f"distance to the minimum: {distances[0]:.3g} at the start, {distances[-1]:.3g} after {steps} steps",
        "error multiplied a step, in the end: "
        + ", ".join(
            f"{rate:.3f} where the curvature is {c:.3g}" for rate, c in zip(rates, curvatures, strict=True)
        ),
    ]
    return plots.contours(quadratic.loss, {"path": path}, quadratic.minimizer), "\n".join(lines)


def condition_number(number: float, part_of_limit: float, steps: int = 40) -> Shown:
    """Plain descent in a valley whose walls are ``number`` times as curved as its floor (lesson 02a).

    Args:
        number: the condition number, at least 1.
        part_of_limit: the learning rate, as a part of 2 / (largest curvature).
    """
    turn = np.array([[math.cos(0.5), -math.sin(0.5)], [math.sin(0.5), math.cos(0.5)]])
    quadratic = convergence.Quadratic(turn @ np.diag([1.0, number]) @ turn.T, np.zeros(2))
    optimizer = descent.SGD(part_of_limit * 2 / number)
    path = descent.trajectory(quadratic.gradient, START, optimizer, steps)
    flat, steep = convergence.convergence_rates(np.array([1.0, number]), optimizer)
    best = (number - 1) / (number + 1)
    distances = np.linalg.norm(path, axis=1)
    lines = [
        f"condition number {number:.3g}, learning rate {optimizer.learning_rate:.3g} "
        f"= {part_of_limit:.3g} of the limit {2 / number:.3g}",
        f"error multiplied a step: {flat:.3f} along the floor, {steep:.3f} across the valley",
        f"distance to the minimum: {distances[0]:.3g} at the start, {distances[-1]:.3g} after {steps} steps",
        f"steps to come 1,000 times nearer: {_steps(max(flat, steep))}; with the best rate "
        f"{2 / (1 + number):.3g}: {_steps(best)}",
    ]
    return plots.contours(quadratic.loss, {"path": path}, np.zeros(2)), "\n".join(lines)


def mini_batch(
    inputs: np.ndarray,
    targets: np.ndarray,
    batch_size: int,
    learning_rate: float,
    steps: int = 150,
    seed: int = 0,
) -> Shown:
    """Least squares of two weights with gradients from mini-batches, and how noisy these are (lesson 02b)."""
    generator = np.random.default_rng(seed)
    batches = descent.mini_batches(len(targets), batch_size, generator)

    def gradient(weights: np.ndarray) -> np.ndarray:
        rows = next(batches)
        return descent.least_squares(weights, inputs[rows], targets[rows])[1]

    best = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    lowest = descent.least_squares(best, inputs, targets)[0]
    quadratic = convergence.Quadratic(inputs.T @ inputs / len(targets), best)
    path = descent.trajectory(gradient, best + 0.4 * START, descent.SGD(learning_rate), steps)
    alone = descent.least_squares(best, inputs, targets, "none")[1]
    measured = np.mean(
        [
            np.sum(alone[generator.choice(len(targets), batch_size, replace=False)].mean(axis=0) ** 2)
            for _ in range(DRAWS)
        ]
    )
    with np.errstate(over="ignore", invalid="ignore"):
        settled = np.mean(quadratic.loss(path[steps // 2 :]))
    lines = [
        f"batch size {batch_size} of {len(targets)}, learning rate {learning_rate:.3g}, {steps} steps",
        f"size of the gradient's noise at the minimum: {math.sqrt(measured):.3g} in {DRAWS} batches, "
        f"{math.sqrt(convergence.gradient_variance(alone, batch_size)):.3g} by the formula",
        f"mean loss of the second half, above the minimum of {lowest:.3g}: {settled:.3g}",
    ]
    return plots.contours(quadratic.loss, {"path": path}, best, reach=0.8), "\n".join(lines)


def freezing_cost(counted: Sequence[cost.Layer], learning: Collection[str], batch_size: int) -> Shown:
    """What a step with Adam costs if the named layers or blocks learn, and if all do (lesson 02b)."""
    everything = [layer.name for layer in counted if layer.parameters]
    full = cost.step(counted, everything, batch_size=batch_size)
    chosen = cost.step(counted, learning, batch_size=batch_size)
    steps = {"everything learns": full, "your choice": chosen}
    figure = matplotlib.figure.Figure(figsize=(9.5, 2.6))
    figure.subplots_adjust(left=0.15, right=0.98, bottom=0.2, top=0.72, wspace=0.08)
    panels = figure.subplots(1, 2)
    panels[1].set_yticks([])
    for axes, unit, scale, parts in (
        (
            panels[0],
            "billion multiply-additions an image",
            1e9,
            {
                "forward": "forward",
                "weight_gradients": "weights' gradients",
                "input_gradients": "carried down",
            },
        ),
        (
            panels[1],
            f"MB in memory, batch of {batch_size}",
            1e6,
            {
                "weight_bytes": "weights",
                "learning_bytes": "gradients, Adam",
                "activation_bytes": "activations",
            },
        ),
    ):
        left = np.zeros(2)
        for (field, label), colour in zip(
            parts.items(), (plots.GREY, plots.BLUE, plots.VERMILION), strict=True
        ):
            widths = np.array([getattr(step, field) / scale for step in steps.values()])
            axes.barh([1, 0], widths, left=left, color=colour, label=label)
            left += widths
        axes.set(xlabel=unit, ylim=(-0.5, 1.5))
        axes.locator_params(axis="x", nbins=5)
        axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks([1, 0], steps)
    lines = [
        f"learning: {', '.join(learning) or 'nothing'}",
        f"parameters that learn: {chosen.trained_parameters:,} of {full.trained_parameters:,} "
        f"({chosen.trained_parameters / full.trained_parameters:.2%})",
        f"arithmetic a step: {chosen.multiply_adds / 1e9:.3g} billion multiply-additions an image, "
        f"{chosen.multiply_adds / full.multiply_adds:.0%} of training everything",
        f"memory a step: {chosen.memory_bytes / 1e6:,.0f} MB for a batch of {batch_size}, "
        f"{chosen.memory_bytes / full.memory_bytes:.0%} of training everything",
    ]
    return figure, "\n".join(lines)


def _in_words(ratio: float) -> str:
    """What a path does whose steps are each ``ratio`` times the one before."""
    if ratio > 1e-6:
        return f"Each step is {ratio:.2f} times the one before: it creeps up from one side."
    if ratio > -1e-6:
        return "The first step lands at the bottom."
    if abs(ratio + 1) < 1e-6:
        return "Each step is as long as the one before, and back: it jumps to and fro for ever."
    if ratio > -1:
        return f"Each step is {-ratio:.2f} times the one before, and back: it jumps to and fro, ever nearer."
    return f"Each step is {-ratio:.2f} times the one before, and back: it jumps to and fro, ever farther out."


def _steps(rate: float) -> str:
    """How many steps shrink an error a thousandfold."""
    if rate >= 1:
        return "never"
    return f"{max(1, math.ceil(math.log(1000) / -math.log(rate)))}" if rate > 0 else "1"


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
