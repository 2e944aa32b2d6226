"""Figures of lesson 06, each with its table: intervals, reliability, saliency maps, accuracy under shift."""

from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np

from finetune_lib import calibration, plots, transfer_plots


def intervals(
    rows: Mapping[str, tuple[float, float, float]], axis_label: str, *, mark: float | None = None
) -> matplotlib.figure.Figure:
    """Values with their intervals, one below the other, the first on top.

    Args:
        rows: ``(value, low, high)`` by name.
        axis_label: what the values are.
        mark: where to draw a dotted line, such as at 0.
    """
    figure = matplotlib.figure.Figure(figsize=(8, 0.9 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (value, low, high) in enumerate(rows.values()):
        axes.plot([low, high], [place, place], color=plots.BLUE, linewidth=2)
        axes.plot(value, place, "o", color=plots.BLUE)
    if mark is not None:
        axes.axvline(mark, color=plots.GREY, linestyle=":")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(axis_label)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def intervals_table(rows: Mapping[str, tuple[float, float, float]], name: str, digits: int = 1) -> str:
    """What ``intervals`` shows, in numbers, and how wide each interval is."""
    lines = [
        [label, *(f"{number:.{digits}f}" for number in (value, low, high, high - low))]
        for label, (value, low, high) in rows.items()
    ]
    return plots.table(["", name, "from", "to", "width"], lines)


def reliability_diagram(results: Mapping[str, calibration.Reliability]) -> matplotlib.figure.Figure:
    """Accuracy against confidence, and below how many answers were given with which confidence.

    On the dotted line a network is right as often as it says. Above it, it could be surer of itself; below
    it, it is too sure. A dot's size grows with the number of images in its bin.

    Args:
        results: by name, at most six.
    """
    figure = matplotlib.figure.Figure(figsize=(6, 5.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], ":", color=plots.GREY)
    styles = zip(results.items(), transfer_plots.COLOURS, transfer_plots.MARKERS, strict=False)
    for place, ((name, result), colour, marker) in enumerate(styles):
        filled = result.counts > 0
        share = result.counts / result.counts.sum()
        upper.plot(result.confidence[filled], result.accuracy[filled], color=colour, linewidth=1)
        upper.scatter(
            result.confidence[filled],
            result.accuracy[filled],
            s=15 + 300 * share[filled],
            color=colour,
            marker=marker,
            alpha=0.7,
            label=f"{name} (error {100 * result.error:.1f} points)",
        )
        width = np.diff(result.edges) / len(results)
        lower.bar(result.edges[:-1] + place * width, result.counts, width, align="edge", color=colour)
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.03))
    legend = upper.legend(frameon=False, loc="upper left", fontsize=9)
    for handle in legend.legend_handles:
        handle.set_sizes([40])
    lower.set(xlabel="confidence", ylabel="images")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def reliability_table(results: Mapping[str, calibration.Reliability]) -> str:
    """What ``reliability_diagram`` shows, a line for each bin that holds images."""
    lines = [
        [
            name,
            f"{result.edges[place]:.2f} to {result.edges[place + 1]:.2f}",
            str(result.counts[place]),
            f"{result.confidence[place]:.2f}",
            f"{result.accuracy[place]:.2f}",
            f"{result.accuracy[place] - result.confidence[place]:+.2f}",
        ]
        for name, result in results.items()
        for place in np.flatnonzero(result.counts)
    ]
    header = ["", "bin", "images", "confidence", "accuracy", "accuracy - confidence"]
    return plots.table(header, lines)


def saliency_grid(
    images: Sequence[np.ndarray], maps: Sequence[np.ndarray], titles: Sequence[str], *, columns: int = 8
) -> matplotlib.figure.Figure:
    """Images, and below each the same in grey under its map: yellow where it is 1, barely dimmed where 0.

    Args:
        images: ``(height, width, 3)``, 0..255.
        maps: ``(height, width)``, 0..1, one for each image.
        titles: one for each image; of several lines, if it is long.
        columns: images in a row.

    Raises:
        ValueError: if there are not as many maps and titles as images.
    """
    if not len(images) == len(maps) == len(titles):
        raise ValueError(
            f"{len(images)} images, {len(maps)} maps and {len(titles)} titles do not go together."
        )
    columns = min(columns, max(1, len(images)))
    rows = max(1, -(-len(images) // columns))
    figure = matplotlib.figure.Figure(figsize=(1.2 * columns, 2.7 * rows), layout="constrained")
    grid = figure.subplots(2 * rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for place, (image, heat, title) in enumerate(zip(images, maps, titles, strict=True)):
        row, column = divmod(place, columns)
        shown = np.clip(image, 0, 255).astype("uint8")
        grid[2 * row, column].imshow(shown)
        grid[2 * row, column].set_title(title, fontsize=9)
        grid[2 * row + 1, column].imshow(shown.mean(axis=-1), cmap="gray", vmin=0, vmax=255)
        grid[2 * row + 1, column].imshow(heat, cmap="viridis", vmin=0, vmax=1, alpha=0.2 + 0.5 * heat)
    return figure


def saliency_table(maps: Sequence[np.ndarray], titles: Sequence[str]) -> str:
    """Where the maps of ``saliency_grid`` lie.

    Their centre of mass, in shares of the height from the top and of the width from the left; the share of
    the map within the middle, half the height by half the width; and how much of the image is above 0.5.
    """
    lines = []
    for heat, title in zip(maps, [title.replace("\n", " ") for title in titles], strict=True):
        if heat.sum() == 0:
            lines.append([title, "nowhere", "-", "-"])
            continue
        down, right = centre_of_mass(heat)
        above = np.mean(heat > 0.5)
        lines.append(
            [title, f"({down:.2f}, {right:.2f})", f"{share_in_the_middle(heat):.0%}", f"{above:.0%}"]
        )
    return plots.table(["map", "centre (down, right)", "in the middle", "above 0.5"], lines)


def centre_of_mass(heat: np.ndarray) -> tuple[float, float]:
    """Of a map ``(height, width)``: how far down and to the right, 0..1; NaN if the map is zero."""
    if heat.sum() == 0:
        return float("nan"), float("nan")
    down, right = (
        float(np.average((np.arange(size) + 0.5) / size, weights=heat.sum(axis=1 - axis)))
        for axis, size in enumerate(heat.shape)
    )
    return down, right


def share_in_the_middle(heat: np.ndarray) -> float:
    """How much of a map lies in the middle quarter of the image's area; 0.25 if it is even, NaN if zero."""
    height, width = heat.shape
    middle = heat[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return float(middle.sum() / heat.sum()) if heat.sum() > 0 else float("nan")


def accuracy_under_shift(
    strengths: Mapping[str, Sequence[float]],
    curves: Mapping[str, Mapping[str, np.ndarray]],
    quantity: str = "accuracy (%)",
) -> matplotlib.figure.Figure:
    """How a quantity changes as images are spoiled more and more: a panel a kind of shift, a line a model.

    Args:
        strengths: of each kind of shift, in order.
        curves: by the line's name, then by the kind of shift: ``(strengths,)``, or ``(strengths, 3)`` for the
            value and its interval, which is drawn as a band. At most six lines.
        quantity: what the values are.
    """
    figure = matplotlib.figure.Figure(figsize=(3.3 * len(strengths) + 0.5, 3.4), layout="constrained")
    panels = figure.subplots(1, len(strengths), sharey=True, squeeze=False)[0]
    for axes, (kind, steps) in zip(panels, strengths.items(), strict=True):
        styles = zip(curves.items(), transfer_plots.COLOURS, transfer_plots.MARKERS, strict=False)
        for (name, by_kind), colour, marker in styles:
            values = np.asarray(by_kind[kind], float).reshape(len(steps), -1)
            axes.plot(steps, values[:, 0], color=colour, marker=marker, markersize=5, label=name)
            if values.shape[1] == 3:
                axes.fill_between(steps, values[:, 1], values[:, 2], color=colour, alpha=0.15, linewidth=0)
        axes.set_xticks(steps, [f"{step:g}" for step in steps])
        axes.set(xlabel=kind)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(quantity)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def accuracy_under_shift_table(
    strengths: Mapping[str, Sequence[float]],
    curves: Mapping[str, Mapping[str, np.ndarray]],
    quantity: str = "accuracy (%)",
) -> str:
    """What ``accuracy_under_shift`` shows; intervals in brackets."""
    lines = []
    for kind, steps in strengths.items():
        for place, strength in enumerate(steps):
            cells = []
            for by_kind in curves.values():
                value, *ends = np.asarray(by_kind[kind], float).reshape(len(steps), -1)[place]
                ends = f" ({ends[0]:.1f} to {ends[1]:.1f})" if ends else ""
                cells.append(f"{value:.1f}{ends}")
            lines.append([kind, f"{strength:g}", *cells])
    return plots.table([quantity, "strength", *curves], lines)
