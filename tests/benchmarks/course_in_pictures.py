"""README's pictures: from a pretrained network to a deployed one in five steps; and three kinds of descent.

    python tests/benchmarks/course_in_pictures.py    writes course_in_pictures.png and descent.png beside this

It takes a minute, and nothing is drawn by hand. The network is fine-tuned here on the wild digits, five
labels a class, as the row "glyphs, block 4 tuned" of ``digits_transfer.py``; the accuracies are those
measured there, in measure.csv. What a picture says is printed, too, and kept in its file. With other seeds or
versions other digits may stand in it.
"""

import base64
import csv
import dataclasses
import importlib.util
import io
import json
import pathlib
import tempfile
from typing import TypeAlias

import keras
import matplotlib.axes
import matplotlib.colors
import matplotlib.figure
import matplotlib.lines
import matplotlib.patches
import numpy as np
import PIL.Image
import PIL.PngImagePlugin

from finetune_lib import (
    comparison,
    convergence,
    data,
    descent,
    digits,
    evaluation,
    glyphnet,
    plots,
    saliency,
    serving,
    transfer_plots,
)

MEASURED = pathlib.Path(__file__).with_name("measure.csv")
LABELS, SEED, CUT = 5, 0, "block4"
PALE_BLUE = "#dcecf7"
ORANGE = matplotlib.colors.ListedColormap([transfer_plots.COLOURS[4]])
Panel: TypeAlias = matplotlib.figure.SubFigure
# A method in measure.csv, what the picture calls it, and its colour: frozen is grey, what learns is blue.
GAINS = {
    "textures, frozen": ("wrong source, frozen", plots.VERMILION),
    "from scratch": ("from scratch", "black"),
    "glyphs, frozen": ("frozen", plots.GREY),
    "glyphs, block 4 tuned": ("fine-tuned", plots.BLUE),
}
STEPS = (
    ("1  Choose", "which earlier task helps with digits?"),
    ("2  Prepare", "each part by other writers"),
    ("3  Fine-tune", "keep the early layers, train the late"),
    ("4  Evaluate", "where does it look, how sure, how good?"),
    ("5  Deploy", "an image file goes in, an answer comes out"),
    ("What it gains", f"test accuracy, {LABELS} labels a class, ten draws"),
)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A fine-tuned network, the test images, uint8 ``(count, 32, 32, 3)``, and its answers to them."""

    model: keras.Model
    images: np.ndarray
    result: evaluation.Evaluation


def fine_tune(head: comparison.Recipe, tuned: comparison.Recipe) -> Trained:
    """GlyphNet with a new head: the head trained first, then all from ``CUT`` on."""
    dataset = data.load("digits_wild", labels_per_class=LABELS, seed=SEED)
    start = comparison.frozen(dataset, "GlyphNet", recipe=head, seed=SEED, verbose=0)
    answer = comparison.fine_tuned(start, dataset, unfreeze_from=CUT, recipe=tuned, seed=SEED, verbose=0)
    images = np.stack([image for image, _ in dataset.test.as_numpy_iterator()]).astype("uint8")
    return Trained(answer.model, images, evaluation.evaluate(answer.model, dataset))


def accuracies(file: pathlib.Path = MEASURED) -> dict[str, np.ndarray]:
    """The test accuracy of each draw, 0 to 1, by method, of the wild digits with ``LABELS`` a class."""
    found: dict[str, list[float]] = {}
    with file.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if (row["data"], row["labels_per_class"]) == ("digits_wild", str(LABELS)):
                found.setdefault(row["method"], []).append(row["right"].count("1") / len(row["right"]))
    return {method: np.array(values) for method, values in found.items()}


def source_pictures(count: int) -> dict[str, np.ndarray]:
    """Pictures that each source shows GlyphNet, no class twice, uint8 ``(count, 32, 32, 3)``."""
    streams = {
        "glyphs": glyphnet.glyph_stream(glyphnet.TRAINING_FONTS, 1, SEED),
        "textures": glyphnet.texture_stream(1, SEED),
    }
    found = {}
    for source, stream in streams.items():
        images, labels = next(iter(stream.as_numpy_iterator()))
        first = np.sort(np.unique(labels, return_index=True)[1])[:count]
        found[source] = images[first].astype("uint8")
    return found


def ask(model: keras.Model, class_names: tuple[str, ...], image: np.ndarray) -> tuple[bytes, dict]:
    """Send an image, as a PNG file, to the model's AWS Lambda handler: the file, and the answer's JSON."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "png")
    event = {
        "requestContext": {"http": {"method": "POST"}},
        "headers": {"content-type": "image/png"},
        "body": base64.b64encode(buffer.getvalue()).decode(),
        "isBase64Encoded": True,
    }
    with tempfile.TemporaryDirectory() as folder:
        bundle = serving.export_lambda(model, pathlib.Path(folder) / "function", class_names)
        specification = importlib.util.spec_from_file_location("handler_in_picture", bundle / "handler.py")
        handler = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(handler)
        response = handler.handler(event, None)
    if response["statusCode"] != 200:
        raise RuntimeError(f"The handler refused: {response['body']}")
    return buffer.getvalue(), json.loads(response["body"])


def layer_maps(model: keras.Model, image: np.ndarray, most: int) -> dict[str, np.ndarray]:
    """The most active channels of each block's last convolution, ``(most, rows, columns)``, 0 to 1."""
    names = [f"block{number}_conv2" for number in range(1, 5)]
    several = keras.Model(model.input, [model.get_layer(name).output for name in names])
    found = {}
    for name, output in zip(names, several(image[np.newaxis].astype("float32"), training=False), strict=True):
        maps = np.moveaxis(np.asarray(output)[0], -1, 0)
        strongest = maps[np.argsort(-maps.mean(axis=(1, 2)), kind="stable")[:most]]
        found[name] = strongest / (strongest.max(axis=(1, 2), keepdims=True) + 1e-9)
    return found


def examples(result: evaluation.Evaluation) -> list[int]:
    """Right answers, of different classes, that are about 75%, 90% and 99% sure; and the surest mistake."""
    confidence = result.probabilities.max(axis=1)
    chosen: list[int] = []
    for wanted in (0.75, 0.9, 0.99):
        left = np.flatnonzero(result.correct & ~np.isin(result.labels, result.labels[chosen]))
        chosen.append(int(left[np.abs(confidence[left] - wanted).argmin()]))
    return [*chosen, int(np.where(result.correct, 0, confidence).argmax())]


def draw(trained: Trained) -> tuple[matplotlib.figure.Figure, str]:
    """The picture, nine inches wide, and what it says in words, a line a panel."""
    figure = matplotlib.figure.Figure(figsize=(9, 5.4), facecolor="white")
    panels = list(figure.subfigures(2, 3, wspace=0, hspace=0).flat)
    for panel, (title, subtitle) in zip(panels, STEPS, strict=True):
        write(panel, 0.05, 0.91, title, 13, weight="bold")
        write(panel, 0.05, 0.81, subtitle, 8, color="#444444")
    choose, prepare, train, evaluate, deploy, gains = panels
    less_sure, asked, sure, mistake = examples(trained.result)
    measured = accuracies()
    lines = [
        draw_sources(choose, measured),
        draw_writers(prepare),
        draw_boundary(train, trained, sure),
        draw_saliency(evaluate, trained, [sure, less_sure, mistake]),
        draw_answer(deploy, trained, asked),
        draw_gains(gains, measured),
    ]
    return figure, "\n".join(f"{title}: {line}" for (title, _), line in zip(STEPS, lines, strict=True))


def write(panel: Panel, x: float, y: float, text: str, size: float, **options: object) -> None:
    panel.text(x, y, text, size=size, va="center", **options)


def tile(panel: Panel, x: float, y: float, width: float) -> matplotlib.axes.Axes:
    """A square place for a picture; its lower left corner and its width in shares of the panel's width."""
    axes = panel.add_axes((x, y, width, width * panel.bbox.width / panel.bbox.height))
    axes.axis("off")
    return axes


def draw_sources(panel: Panel, measured: dict[str, np.ndarray]) -> str:
    words, columns = [], ((0.05, "letters, symbols", plots.BLUE), (0.55, "textures", plots.VERMILION))
    for (source, pictures), (left, name, colour) in zip(source_pictures(9).items(), columns, strict=True):
        for place, picture in enumerate(pictures):
            row, column = divmod(place, 3)
            tile(panel, left + 0.135 * column, 0.575 - 0.15 * row, 0.127).imshow(picture)
        mean = measured[f"{source}, frozen"].mean()
        write(panel, left, 0.195, name, 9)
        write(panel, left, 0.09, f"{mean:.1%} right", 11, weight="bold", color=colour)
        words.append(f"{name} {mean:.1%}")
    return f"frozen features of {'; of '.join(words)}"


def draw_writers(panel: Panel) -> str:
    images, labels, writers = digits.arrays(wild=True)
    shown = {"train": (0, 3), "validation": (5,), "test": (8, 12)}
    bottom = 0.605
    for (part, who), colour in zip(shown.items(), (plots.BLUE, plots.GREY, plots.VERMILION), strict=True):
        for writer in who:
            if writer not in digits.WRITERS[part]:
                raise ValueError(f"Writer {writer} is not of the {part} part.")
            for column, label in enumerate((2, 3, 5, 7, 9)):
                row = np.flatnonzero((writers == writer) & (labels == label))[1]
                tile(panel, 0.285 + 0.135 * column, bottom, 0.118).imshow(images[row])
            bottom -= 0.14
        word = "validate" if part == "validation" else part
        write(panel, 0.05, bottom + 0.135 + 0.07 * len(who), word, 9, color=colour, weight="bold")
    return f"writers of each part: { {part: len(who) for part, who in digits.WRITERS.items()} }"


def draw_boundary(panel: Panel, trained: Trained, place: int) -> str:
    image, result = trained.images[place], trained.result
    for left, width, shade, colour, word in (
        (0.215, 0.42, "#eeeeee", plots.GREY, "frozen"),
        (0.665, 0.305, PALE_BLUE, plots.BLUE, "learns"),
    ):
        panel.add_artist(matplotlib.patches.Rectangle((left, 0.17), width, 0.57, color=shade, zorder=-1))
        write(panel, left + width / 2, 0.10, word, 10, weight="bold", color=colour, ha="center")
    line = matplotlib.lines.Line2D((0.65, 0.65), (0.14, 0.77), color=plots.VERMILION, lw=2, ls="--")
    panel.add_artist(line)
    tile(panel, 0.05, 0.375, 0.14).imshow(image)
    maps = layer_maps(trained.model, image, 3)
    for (name, pictures), left in zip(maps.items(), (0.228, 0.363, 0.498, 0.68), strict=True):
        for row, picture in enumerate(pictures):
            shades = "Greys_r" if name < CUT else "Blues_r"
            tile(panel, left, 0.56 - 0.18 * row, 0.125).imshow(picture, cmap=shades, vmin=0, vmax=1)
    bars = panel.add_axes((0.845, 0.20, 0.11, 0.51), facecolor="none")
    bars.barh(range(len(result.class_names)), result.probabilities[place], color=plots.BLUE)
    bars.set_yticks(range(len(result.class_names)), result.class_names, fontsize=6.5)
    bars.set_xticks([])
    bars.tick_params(length=0, pad=1)
    bars.invert_yaxis()
    bars.spines[:].set_visible(False)
    return f"the boundary is below {CUT}; a {result.class_names[result.labels[place]]} on its way through"


def draw_saliency(panel: Panel, trained: Trained, places: list[int]) -> str:
    images, result, words = trained.images, trained.result, []
    heats = saliency.grad_cams(trained.model, images[places])
    for heat, place, left in zip(heats, places, (0.05, 0.3525, 0.655), strict=True):
        axes = tile(panel, left, 0.41, 0.285)
        axes.imshow(images[place])
        axes.imshow(np.ones_like(heat), cmap=ORANGE, alpha=0.7 * heat)
        answer, truth = (result.class_names[row[place]] for row in (result.predictions, result.labels))
        label = f"{answer}, {result.probabilities[place].max():.0%} sure"
        verdict, colour = "right", plots.BLUE
        if not result.correct[place]:
            verdict, colour = f"wrong: it is {truth}", plots.VERMILION
        write(panel, left + 0.1425, 0.355, label, 8, color=colour, ha="center")
        write(panel, left + 0.1425, 0.285, verdict, 8, color=colour, ha="center")
        words.append(f"{label}, {verdict}")
    scale = panel.add_axes((0.10, 0.125, 0.79, 0.07))
    scale.plot(result.interval, [0, 0], color=plots.BLUE, linewidth=3, solid_capstyle="butt")
    scale.plot(result.accuracy, 0, "o", color=plots.BLUE, markersize=7)
    scale.set(xlim=(0.8, 1.0), ylim=(-1, 1))
    scale.set_xticks([0.8, 0.9, 1.0], ["80%", "90% of the test digits right", "100%"], fontsize=7.5)
    scale.set_yticks([])
    scale.tick_params(length=2, pad=2)
    scale.spines[["top", "left", "right"]].set_visible(False)
    return f"{'; '.join(words)}; {result}"


def draw_answer(panel: Panel, trained: Trained, place: int) -> str:
    content, answer = ask(trained.model, trained.result.class_names, trained.images[place])
    tile(panel, 0.05, 0.42, 0.24).imshow(trained.images[place])
    write(panel, 0.05, 0.36, f"PNG, {len(content):,} bytes", 8)
    shape = {"boxstyle": "round,pad=0,rounding_size=0.02", "facecolor": PALE_BLUE, "edgecolor": plots.BLUE}
    on_panel = {"transform": panel.transSubfigure}
    panel.add_artist(matplotlib.patches.FancyBboxPatch((0.415, 0.47), 0.235, 0.21, **shape, **on_panel))
    for left, right in ((0.31, 0.39), (0.665, 0.735)):
        head = {"arrowstyle": "-|>", "mutation_scale": 12, "color": "black", "shrinkA": 0, "shrinkB": 0}
        panel.add_artist(
            matplotlib.patches.FancyArrowPatch((left, 0.575), (right, 0.575), **head, **on_panel)
        )
    write(panel, 0.5325, 0.575, "server or\nfunction", 9, ha="center")
    write(panel, 0.86, 0.60, answer["class"], 30, ha="center", color=plots.BLUE)
    best, chance = max(answer["probabilities"].items(), key=lambda pair: pair[1])
    body = f'{{"class": "{answer["class"]}",\n "probabilities":\n  {{"{best}": {chance:.3f}, ...}}}}'
    write(panel, 0.05, 0.17, body, 8.5, family="monospace", linespacing=1.3)
    return f"a PNG file of {len(content)} bytes is answered with class {best}, probability {chance:.3f}"


def draw_gains(panel: Panel, measured: dict[str, np.ndarray]) -> str:
    axes = panel.add_axes((0.38, 0.12, 0.55, 0.66))
    scatter = np.random.default_rng(SEED).uniform(-0.13, 0.13, 100)
    for place, (method, (_, colour)) in enumerate(GAINS.items()):
        values, mean = measured[method], measured[method].mean()
        axes.plot(values, place + scatter[: len(values)], "o", color=colour, markersize=3, alpha=0.35, mew=0)
        axes.plot(mean, place, "D", color=colour, markersize=6)
        options = {"color": colour, "size": 10, "weight": "bold", "ha": "center", "va": "bottom"}
        axes.text(mean, place - 0.26, f"{mean:.1%}", **options)
    axes.set_yticks(range(len(GAINS)), [name.replace(", ", ",\n") for name, _ in GAINS.values()], fontsize=9)
    axes.set_xticks([0.4, 0.6, 0.8, 1.0], ["40%", "60%", "80%", "100%"], fontsize=8)
    axes.set(xlim=(0.25, 1.0), ylim=(len(GAINS) - 0.6, -0.75))
    axes.tick_params(length=2)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "left", "right"]].set_visible(False)
    return ", ".join(f"{name} {measured[method].mean():.1%}" for method, (name, _) in GAINS.items())


def draw_descent(steps: int = 40) -> tuple[list[matplotlib.figure.Figure], str]:
    """The valley of lesson 02a: three descents from one start, and their losses, measured and predicted."""
    valley = convergence.Quadratic(np.array([[2.5, 3.7], [3.7, 8.0]]), np.array([0.5, 0.5]))
    start, (low, high) = np.array([-1.1, 1.7]), np.linalg.eigvalsh(valley.hessian)
    paths, measured, predicted = {}, {}, {}
    for name, optimizer in convergence.best_for_quadratic(low, high).items():
        paths[name] = descent.trajectory(valley.gradient, start, optimizer, steps)
        measured[name] = valley.loss(paths[name])
        predicted[name] = convergence.predicted_losses(valley, start, optimizer, steps)[0]
    figures = [plots.contours(valley.loss, paths, valley.minimizer), plots.loss_curves(measured, predicted)]
    for figure, width in zip(figures, (4.2, 4.8), strict=True):
        figure.set_size_inches(width, 3.2)
    figures[0].subplots_adjust(left=0.17, right=0.96, bottom=0.16)
    far = max(np.abs(measured[name] / predicted[name] - 1).max() for name in paths)
    needed = [f"{name} {np.argmax(loss < loss[0] / 1000)}" for name, loss in measured.items()]
    return figures, f"steps to a thousandth of the loss: {', '.join(needed)}; predicted to {far:.0e}"


def save(figures: list[matplotlib.figure.Figure], words: str, output: pathlib.Path) -> None:
    """Write figures, side by side, as a PNG file that holds its words, too: README must agree with them."""
    rendered = []
    for figure in figures:
        figure.savefig(buffer := io.BytesIO(), dpi=200)
        rendered.append(np.asarray(PIL.Image.open(buffer).convert("RGB")))
    # 256 colours are enough for them, and halve the file.
    method, dither = PIL.Image.Quantize.MAXCOVERAGE, PIL.Image.Dither.NONE
    small = PIL.Image.fromarray(np.hstack(rendered)).quantize(256, method=method, dither=dither)
    description = PIL.PngImagePlugin.PngInfo()
    description.add_text("Description", words)
    partial = output.with_suffix(".part")
    small.save(partial, "png", optimize=True, pnginfo=description)
    partial.replace(output)
    print(f"{words}\n{output}: {output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    folder = pathlib.Path(__file__).parent
    save(*draw_descent(), folder / "descent.png")
    picture, said = draw(fine_tune(comparison.HEAD, comparison.FINE_TUNE))
    save([picture], said, folder / "course_in_pictures.png")
