"""Figures, each with a text table that says the same (every lesson)."""

import io
from collections.abc import Callable, Sequence

import IPython.display
import matplotlib.figure
import matplotlib.lines
import numpy as np
import sklearn.metrics

from finetune_lib import evaluation, fitting

# Okabe and Ito's palette: told apart with every common kind of colour blindness.
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#666666"
MOST_COUNTS = 30  # with more classes than this a confusion matrix shows shades only


def show(figure: matplotlib.figure.Figure, alternative_text: str) -> None:
    """Show a figure in a notebook, with words for those who cannot see it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
    IPython.display.display(
        {"image/png": buffer.getvalue(), "text/plain": alternative_text},
        raw=True,
        metadata={"image/png": {"alt": alternative_text}},
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text in columns; the first column to the left, the others to the right."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def image_grid(
    images: Sequence[np.ndarray], titles: Sequence[str] | None = None, *, columns: int = 10
) -> matplotlib.figure.Figure:
    """Images ``(height, width, 3)``, 0..255, in rows of ``columns``, each under its title."""
    rows = max(1, -(-len(images) // columns))
    figure = matplotlib.figure.Figure(figsize=(columns, rows * (1.3 if titles else 1.0)), layout="tight")
    for index, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis("off")
        if index < len(images):
            axes.imshow(np.clip(images[index], 0, 255).astype("uint8"))
            if titles:
                axes.set_title(titles[index], fontsize=9)
    return figure


def learning_curves(reports: Sequence[fitting.FitReport]) -> matplotlib.figure.Figure:
    """Loss and accuracy against the epoch, training and validation, stages one after the other.

    Where a stage was not validated after every epoch, the training curve is the mean over the epochs since
    the last validation, and single epochs stand behind it in a pale line.
    """
    figure = matplotlib.figure.Figure(figsize=(10, 3.6), layout="constrained")
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        first = 0
        for stage, report in enumerate(reports):
            every = first + 1 + np.arange(report.epochs)
            axes.plot(every, report.history[quantity], color=BLUE, alpha=0.25, linewidth=1)
            for values, colour, style, label in (
                (training_means(report, quantity), BLUE, "--", "training"),
                (report.history[f"val_{quantity}"], VERMILION, "-", "validation"),
            ):
                places = first + np.array(report.validated_epochs)
                axes.plot(places, values, style, color=colour, label=None if stage else label)
            if stage:
                axes.axvline(first + 0.5, color=GREY, linewidth=1)
            middle = first + report.epochs / 2 + 0.5
            axes.text(middle, 1.02, report.label, ha="center", transform=axes.get_xaxis_transform())
            first += report.epochs
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.set_ylim(0, 1.005 if quantity == "accuracy" else None)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def training_means(report: fitting.FitReport, quantity: str) -> list[float]:
    """A training quantity's mean over the epochs up to each validated one, since the one before."""
    windows = np.split(np.array(report.history[quantity]), report.validated_epochs[:-1])
    return [float(window.mean()) for window in windows]


def learning_curves_table(reports: Sequence[fitting.FitReport]) -> str:
    """The first, middle and last validated epoch of each stage of ``learning_curves``."""
    rows = []
    for report in reports:
        for place in sorted({0, len(report.validated_epochs) // 2, len(report.validated_epochs) - 1}):
            values = [training_means(report, quantity)[place] for quantity in ("loss", "accuracy")]
            values += [report.history[f"val_{quantity}"][place] for quantity in ("loss", "accuracy")]
            epoch = str(report.validated_epochs[place])
            rows.append([report.label, epoch, *(f"{value:.3f}" for value in values)])
    return table(["stage", "epoch", "loss", "accuracy", "validation loss", "validation accuracy"], rows)


def confusion_matrix(result: evaluation.Evaluation) -> matplotlib.figure.Figure:
    """How often each true class (row) was taken for each class (column)."""
    counts = sklearn.metrics.confusion_matrix(
        result.labels, result.predictions, labels=range(len(result.class_names))
    )
    size = min(2.5 + 0.4 * len(counts), 16)
    figure = matplotlib.figure.Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count and len(counts) <= MOST_COUNTS:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    axes.set(xlabel="predicted", ylabel="true", title=f"{result.part}: {result.accuracy:.1%} right")
    letters = 10 if len(counts) <= MOST_COUNTS else 900 / 2.5 / len(counts)
    upright = max(map(len, result.class_names)) > 3
    axes.set_xticks(range(len(counts)), result.class_names, rotation=90 if upright else 0, fontsize=letters)
    axes.set_yticks(range(len(counts)), result.class_names, fontsize=letters)
    return figure


def confusion_table(result: evaluation.Evaluation, most: int = 5) -> str:
    """The most frequent mistakes of ``confusion_matrix``, in words."""
    counts = sklearn.metrics.confusion_matrix(
        result.labels, result.predictions, labels=range(len(result.class_names))
    )
    mistakes = counts - np.diag(np.diag(counts))
    places = [np.unravel_index(place, counts.shape) for place in np.argsort(-mistakes, axis=None)[:most]]
    names = result.class_names
    rows = [
        [names[i], names[j], f"{mistakes[i, j]} of {counts[i].sum()}"] for i, j in places if mistakes[i, j]
    ]
    return table(["true", "predicted", "times"], rows)


def bars(
    names: Sequence[str], series: dict[str, Sequence[float]], axis_label: str
) -> matplotlib.figure.Figure:
    """Horizontal bars, for each name one of each series, the first name on top, every bar with its value."""
    figure = matplotlib.figure.Figure(
        figsize=(8, 0.8 + 0.22 * len(names) * len(series)), layout="constrained"
    )
    axes = figure.subplots()
    for place, (label, values) in enumerate(series.items()):
        rows = np.arange(len(names)) + (place - (len(series) - 1) / 2) * 0.8 / len(series)
        drawn = axes.barh(rows, values, 0.8 / len(series), color=(BLUE, VERMILION, GREY)[place], label=label)
        axes.bar_label(
            drawn,
            [f"{value:,.3g}" if value < 100 else f"{value:,.0f}" for value in values],
            padding=3,
            fontsize=9,
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(axis_label)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        figure.legend(loc="outside upper right", ncols=len(series), frameon=False)
    return figure


def contours(
    loss: Callable[[np.ndarray], np.ndarray],
    paths: dict[str, np.ndarray],
    minimizer: np.ndarray,
    names: tuple[str, str] = ("first weight", "second weight"),
    reach: float | None = None,
) -> matplotlib.figure.Figure:
    """A loss of two weights as contours, and the paths that descents took on it (lesson 02a).

    Args:
        loss: takes points ``(..., 2)`` to losses ``(...)``.
        paths: each ``(steps + 1, 2)``, by label. What leaves the picture is cut off at its edge.
        minimizer: the lowest point, marked by a star.
        names: of the two weights.
        reach: how far the picture goes from the minimizer; by default a little farther than the starts.
    """
    figure = matplotlib.figure.Figure(figsize=(6, 4.6))
    axes = figure.subplots()
    figure.subplots_adjust(left=0.13, right=0.98, bottom=0.12, top=0.97)
    reach = reach or 1.25 * max(float(np.abs(path[0] - minimizer).max()) for path in paths.values())
    line = np.linspace(-reach, reach, 80)
    grid = np.stack(np.meshgrid(minimizer[0] + line, minimizer[1] + line), axis=-1)
    values = loss(grid)
    lowest = values.min()
    # The square root spaces the lines of a parabola evenly.
    levels = lowest + (values.max() - lowest) * np.linspace(0.02, 1, 14) ** 2
    axes.contour(grid[..., 0], grid[..., 1], values, levels=levels, colors=GREY, linewidths=0.6, alpha=0.7)
    for (label, path), colour, marker in zip(
        paths.items(), (BLUE, VERMILION, "#009E73"), "os^", strict=False
    ):
        inside = np.where(np.isfinite(path), path, np.nan)
        axes.plot(inside[:, 0], inside[:, 1], color=colour, linewidth=1.2, label=label)
        axes.plot(inside[:, 0], inside[:, 1], marker, color=colour, markersize=3.5)
        axes.plot(*path[0], marker, color=colour, markersize=9, markerfacecolor="white")
    axes.plot(*minimizer, "*", color="black", markersize=12)
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.set_xlim(minimizer[0] - reach, minimizer[0] + reach)
    axes.set_ylim(minimizer[1] - reach, minimizer[1] + reach)
    if len(paths) > 1:
        axes.legend(frameon=True, loc="upper right", fontsize=9)
    return figure


def contours_table(
    loss: Callable[[np.ndarray], np.ndarray], paths: dict[str, np.ndarray], minimizer: np.ndarray
) -> str:
    """Where the paths of ``contours`` are at a few steps, and how far from the minimum."""
    rows = []
    for label, path in paths.items():
        for number in _few(len(path)):
            point = path[number]
            with np.errstate(over="ignore", invalid="ignore"):
                distance, value = np.linalg.norm(point - minimizer), loss(point)
            place = f"({point[0]:.3g}, {point[1]:.3g})"
            rows.append([label, str(number), place, f"{distance:.3g}", f"{value:.3g}"])
    return table(["path", "step", "weights", "distance to the minimum", "loss"], rows)


def loss_curves(
    curves: dict[str, np.ndarray],
    predicted: dict[str, np.ndarray] | None = None,
    envelopes: dict[str, np.ndarray] | None = None,
    label: str = "loss above the minimum",
) -> matplotlib.figure.Figure:
    """Losses against steps, on a logarithmic axis (lesson 02a).

    Args:
        curves: measured, ``(steps + 1,)`` each, by label: lines.
        predicted: for some or all of the labels: dots on the lines, if the prediction is right.
        envelopes: upper bounds for some or all of the labels: dashed.
    """
    figure = matplotlib.figure.Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    colours = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
    for (name, values), colour in zip(curves.items(), colours, strict=False):
        axes.plot(values, color=colour, linewidth=1.4, label=name)
        if predicted and name in predicted:
            every = max(1, len(values) // 16)
            steps = np.arange(0, len(values), every)
            axes.plot(
                steps, predicted[name][::every], "o", color=colour, markersize=4, markerfacecolor="none"
            )
        if envelopes and name in envelopes:
            axes.plot(envelopes[name], "--", color=colour, linewidth=1)
    axes.set(xlabel="step", ylabel=label, yscale="log")
    handles, labels = axes.get_legend_handles_labels()
    if predicted:
        handles.append(
            matplotlib.lines.Line2D([], [], linestyle="", marker="o", color=GREY, fillstyle="none")
        )
        labels.append("predicted")
    if envelopes:
        handles.append(matplotlib.lines.Line2D([], [], linestyle="--", color=GREY))
        labels.append("envelope")
    axes.legend(handles, labels, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def loss_curves_table(
    curves: dict[str, np.ndarray],
    predicted: dict[str, np.ndarray] | None = None,
    envelopes: dict[str, np.ndarray] | None = None,
) -> str:
    """The curves of ``loss_curves`` at a few steps, measured, predicted and bounded."""
    kinds = {"measured": curves, "predicted": predicted or {}, "envelope": envelopes or {}}
    length = min(len(values) for values in curves.values())
    rows = [
        [f"{name}, {kind}", *(f"{values[name][number]:.3g}" for number in _few(length))]
        for name in curves
        for kind, values in kinds.items()
        if name in values
    ]
    return table(["loss at step", *map(str, _few(length))], rows)


def range_test(result: fitting.RangeTest) -> matplotlib.figure.Figure:
    """The loss against the learning rate, the suggestion marked (lesson 05)."""
    figure = matplotlib.figure.Figure(figsize=(7.5, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(result.rates, result.losses, ".", color=GREY, alpha=0.5, label="loss of each batch")
    axes.plot(result.rates, result.smoothed, color=BLUE, label="smoothed")
    axes.axvline(
        result.suggestion, color=VERMILION, linestyle="--", label=f"suggested: {result.suggestion:.1e}"
    )
    axes.set(xlabel="learning rate", ylabel="loss", xscale="log")
    axes.set_ylim(0, 1.5 * result.smoothed[: len(result.rates) // 2 + 1].max())
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def range_test_table(result: fitting.RangeTest) -> str:
    """The smoothed loss of ``range_test`` at one rate in ten, half-way down, and at its lowest."""
    marks = {result.half_way: "half-way down", result.lowest: "lowest"}
    tenth = max(1, len(result.rates) // 10)
    rows = [
        [f"{rate:.1e}", f"{result.smoothed[place]:.3f}", marks.get(rate, "")]
        for place, rate in enumerate(result.rates)
        if rate in marks or place % tenth == 0
    ]
    return table(["learning rate", "smoothed loss", ""], rows)


def _few(count: int) -> list[int]:
    """A few of the numbers 0 to count - 1: the first ones close together, the last one among them."""
    return sorted(
        {number for number in (0, 1, 2, 5, 10, 20, 50, 100, 200, 500) if number < count} | {count - 1}
    )
