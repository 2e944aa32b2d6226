"""Figures of what transfers: accuracy against labels, filters, activation maps (lessons 01 and 05)."""

from collections.abc import Sequence

import keras
import matplotlib.figure
import numpy as np

from finetune_lib import plots

COLOURS = (plots.BLUE, plots.VERMILION, "#009E73", "#CC79A7", "#E69F00", plots.GREY)
MARKERS = "os^Dvx"


def accuracy_against_labels(labels: Sequence[int], curves: dict[str, np.ndarray]) -> matplotlib.figure.Figure:
    """Accuracy against the number of labels a class, a line a method through the means, each draw a dot.

    Args:
        labels: how many labels a class each column of a curve had.
        curves: accuracies in per cent, ``(draws, len(labels))``, by the method's name; at most six.
    """
    figure = matplotlib.figure.Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for (name, values), colour, marker in zip(curves.items(), COLOURS, MARKERS, strict=False):
        axes.plot(labels, values.mean(axis=0), color=colour, marker=marker, markersize=6, label=name)
        for draw in values:
            axes.plot(labels, draw, marker, color=colour, markersize=3.5, alpha=0.4)
    axes.set(xscale="log", xlabel="labels a class", ylabel="accuracy (%)")
    axes.set_xticks(labels, [str(count) for count in labels])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def accuracy_against_labels_table(labels: Sequence[int], curves: dict[str, np.ndarray]) -> str:
    """Mean and standard deviation over the draws of ``accuracy_against_labels``; of one draw, its value."""
    rows = []
    for name, values in curves.items():
        cells = [f"{mean:.1f}" for mean in values.mean(axis=0)]
        if len(values) > 1:
            cells = [f"{mean} ± {sd:.1f}" for mean, sd in zip(cells, spread(values), strict=True)]
        rows.append([name, *cells, str(len(values))])
    columns = [f"{count} label{'s' if count > 1 else ''}" for count in labels]
    return plots.table(["accuracy (%)", *columns, "draws"], rows)


def spread(values: np.ndarray) -> np.ndarray:
    """The standard deviation over draws (the first axis), unbiased; zeros if there is only one."""
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])


def filters(model: keras.Model, name: str, most: int = 16) -> matplotlib.figure.Figure:
    """The kernels of a convolution that reads RGB, as small colour images, the longest first.

    Grey is zero, and each kernel is scaled by its own largest entry: bright red is a large positive weight
    of red, cyan a large negative one.

    Args:
        model: functional, on raw RGB; preprocessing may come before the convolution.
        name: the layer's.
        most: how many kernels to show.

    Raises:
        ValueError: if the layer is no convolution, or what it reads has not three channels.
    """
    kernels = kernels_on_pixels(model, name)
    figure = matplotlib.figure.Figure(figsize=(8, 1.15 * -(-min(most, len(kernels)) // 8)), layout="tight")
    chosen = longest(kernels)[:most]
    for place, axes in enumerate(figure.subplots(-(-len(chosen) // 8), 8, squeeze=False).flat):
        axes.axis("off")
        if place < len(chosen):
            kernel = kernels[chosen[place]]
            axes.imshow(0.5 + 0.5 * kernel / (np.abs(kernel).max() + 1e-12))
            axes.set_title(str(chosen[place]), fontsize=9)
    return figure


def filters_table(model: keras.Model, name: str, most: int = 16) -> str:
    """What ``filters`` shows, in numbers: each kernel's length, and how much of it is in grey.

    The grey part is the kernel's mean over red, green and blue: all that counts on a grey image. Its share
    is of the squared length, so that grey and colour add up to 100%; of random numbers it is about a third.
    """
    kernels = kernels_on_pixels(model, name)
    grey = np.repeat(kernels.mean(axis=-1, keepdims=True), 3, axis=-1)
    squares, greys = (np.sum(each**2, axis=(1, 2, 3)) for each in (kernels, grey))
    largest = np.sqrt(squares.max())
    rows = [
        [str(number), f"{np.sqrt(squares[number]) / largest:.2f}", f"{greys[number] / squares[number]:.0%}"]
        for number in longest(kernels)[:most]
    ]
    return plots.table(["kernel", "length (longest = 1)", "grey part"], rows)


def longest(kernels: np.ndarray) -> np.ndarray:
    """The numbers of the kernels ``(count, rows, columns, 3)``, the longest first."""
    return np.argsort(-np.sum(kernels**2, axis=(1, 2, 3)), kind="stable")


def kernels_on_pixels(model: keras.Model, name: str) -> np.ndarray:
    """A convolution's kernels as they meet raw RGB pixels, ``(kernels, rows, columns, 3)``.

    What comes before it scales the channels, and may turn them round (VGG16 reads blue first): three images
    of a single colour show how, so that red means red in the result.

    Raises:
        ValueError: as ``filters``.
    """
    layer = model.get_layer(name)
    kernel = getattr(layer, "kernel", None)
    if kernel is None or len(kernel.shape) != 4 or kernel.shape[2] != 3:
        found = (
            "no convolution" if kernel is None or len(kernel.shape) != 4 else f"{kernel.shape[2]} channels"
        )
        raise ValueError(
            f"{name!r} reads {found}. Only a convolution on three channels can be seen in colour."
        )
    height, width = (size or 32 for size in model.input_shape[1:3])
    single = np.zeros((4, height, width, 3), "float32")
    single[range(3), ..., range(3)] = 1.0  # red, green, blue; the last one stays black
    seen = np.asarray(keras.Model(model.input, layer.input)(single, training=False))
    middle = seen[:, seen.shape[1] // 2, seen.shape[2] // 2]
    response = middle[:3] - middle[3]  # of each channel that is read (columns) to each colour (rows)
    return np.einsum("hwck,rc->khwr", np.asarray(kernel), response)


def activation_maps(
    model: keras.Model, image: np.ndarray, names: Sequence[str], channels: int = 8
) -> matplotlib.figure.Figure:
    """What layers make of one image: a row a layer, the image, then its most active channels (bright: high).

    Args:
        model: functional, on raw RGB.
        image: ``(height, width, 3)``, 0..255.
        names: the layers', whose outputs are ``(batch, rows, columns, channels)``.
        channels: how many of each layer, those of the highest mean.
    """
    maps = _maps(model, image, names)
    figure = matplotlib.figure.Figure(figsize=(1.1 * (channels + 1), 1.3 * len(names)), layout="constrained")
    for row, name in zip(figure.subplots(len(names), channels + 1, squeeze=False), names, strict=True):
        for axes in row:
            axes.axis("off")
        row[0].imshow(np.clip(image, 0, 255).astype("uint8"))
        row[0].set_title(f"{name}\n{maps[name].shape[0]}x{maps[name].shape[1]}", fontsize=8)
        for axes, number in zip(row[1:], _most_active(maps[name], channels), strict=False):
            axes.imshow(maps[name][..., number], cmap="viridis", vmin=min(0.0, maps[name].min()))
            axes.set_title(str(number), fontsize=8)
    return figure


def activation_maps_table(
    model: keras.Model, image: np.ndarray, names: Sequence[str], channels: int = 8
) -> str:
    """What ``activation_maps`` shows, in numbers: sizes, the share of zeros, the most active channels."""
    rows = [
        [
            name,
            "x".join(map(str, values.shape)),
            f"{np.mean(values == 0):.0%}",
            " ".join(str(number) for number in _most_active(values, channels)),
        ]
        for name, values in _maps(model, image, names).items()
    ]
    return plots.table(["layer", "rows x columns x channels", "zeros", "most active channels"], rows)


def _maps(model: keras.Model, image: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """What each layer makes of an image, ``(rows, columns, channels)``, by its name."""
    several = keras.Model(model.input, {name: model.get_layer(name).output for name in names})
    outputs = several(np.asarray(image, "float32")[np.newaxis], training=False)
    return {name: np.asarray(outputs[name])[0] for name in names}


def _most_active(values: np.ndarray, channels: int) -> np.ndarray:
    return np.argsort(-values.mean(axis=(0, 1)), kind="stable")[:channels]
