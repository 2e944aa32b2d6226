"""Figures, each with a text table that says the same (every lesson)."""

import io
from collections.abc import Sequence

import IPython.display
import matplotlib.figure
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
