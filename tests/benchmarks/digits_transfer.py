"""What transfer gains on the digits, over many draws of the training images.

    python tests/benchmarks/digits_transfer.py search       try recipes, on validation images
    python tests/benchmarks/digits_transfer.py measure      all methods on the test images, 10 draws
    python tests/benchmarks/digits_transfer.py report       the tables of what was measured

``search`` chose the recipes in ``finetune_lib.comparison``; the wrong source (textures) gets the same recipes
as the right one. Only ``measure`` reads the test images. Both write a CSV file beside this one, a row at a
time, and skip the rows it has, so that an interrupted run goes on. A row is keyed by its recipe.
"""

import argparse
import csv
import itertools
import pathlib
import time

import numpy as np
import sklearn.linear_model
import sklearn.pipeline
import sklearn.preprocessing
import sklearn.svm

from finetune_lib import batches, comparison, data, digits, evaluation, plots

# (steps, learning rate) tried. Training from scratch is tried longer than the others: it has further to go.
GRID = {
    "from scratch": [(800, 1e-3), (800, 3e-3), (2400, 3e-4), (2400, 1e-3), (2400, 3e-3), (4800, 1e-3)],
    "glyphs, frozen": list(itertools.product((200, 600), (1e-3, 3e-3, 1e-2))),
    "glyphs, all tuned": list(itertools.product((200, 600), (3e-5, 1e-4, 3e-4))),
}
STRENGTHS = {"logistic": (1e-4, 1e-3, 1e-2), "svm": (1.0, 10.0)}  # C, the inverse of regularisation
NETWORKS = ("from scratch", "glyphs, frozen", "glyphs, block 4 tuned", "glyphs, all tuned")
SETTINGS = {
    ("digits_wild", 5): (
        "logistic on pixels",
        "svm on pixels",
        *NETWORKS,
        "textures, frozen",
        "textures, all tuned",
    ),
    ("digits_wild", 20): NETWORKS,
}
ON_PIXELS = {"logistic": 1e-3, "svm": 10.0}  # the best C of ``search``
COPIES = 20  # augmented copies of each training image for the methods on pixels


def pixels(dataset: data.ImageDataset, part: str) -> tuple[np.ndarray, np.ndarray]:
    """One channel of each image, flat, the ground made 0 and the stroke 1; training images with copies.

    Without this a linear model has no chance: half the images are inverted, so the classes' means are alike.
    """
    if part == "train":
        stream = batches.of_images(
            dataset, epochs=COPIES, batch_size=1000, augment=dataset.augment, views="online", seed=0
        ).training
    else:
        stream = getattr(dataset, part).batch(1000)
    pairs = list(stream.as_numpy_iterator())
    images = np.concatenate([images for images, _ in pairs])[..., 0]
    edges = [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]]
    ground = np.median(np.concatenate(edges, axis=1), axis=1)
    strokes = np.abs(images - ground[:, np.newaxis, np.newaxis]).reshape(len(images), -1)
    strokes /= strokes.max(axis=1, keepdims=True) + 1e-6
    return strokes, np.concatenate([labels for _, labels in pairs])


def on_pixels(dataset: data.ImageDataset, part: str, kind: str, strength: float) -> np.ndarray:
    """Whether logistic regression or an RBF support vector machine on pixels is right, image by image."""
    last = {
        "logistic": sklearn.linear_model.LogisticRegression(C=strength, max_iter=200),
        "svm": sklearn.svm.SVC(C=strength),
    }[kind]
    model = sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(), last)
    model.fit(*pixels(dataset, "train"))
    images, labels = pixels(dataset, part)
    return model.predict(images) == labels


def network(dataset: data.ImageDataset, method: str, seed: int) -> comparison.Answer:
    """Train one of the networks by the published recipes."""
    if method == "from scratch":
        return comparison.from_scratch(dataset, "GlyphNet", seed=seed, verbose=0)
    source, what = method.split(", ")
    start = comparison.frozen(dataset, "GlyphNet", weights=source, seed=seed, verbose=0)
    if what == "frozen":
        return start
    layer = {"block 4 tuned": "block4", "all tuned": "block1"}[what]
    return comparison.fine_tuned(start, dataset, unfreeze_from=layer, seed=seed, verbose=0)


def search(file: pathlib.Path, draws: int) -> None:
    """Validation accuracy of every recipe of the grid, for each network, and of each strength on pixels."""
    rows = Rows(file, ["method", "steps", "learning_rate_or_C", "draw", "validation_accuracy"])
    for draw in range(draws):
        dataset = data.load("digits_wild", labels_per_class=5, seed=draw)
        for kind, strengths in STRENGTHS.items():
            for strength in strengths:
                if rows.lacks(kind, 0, strength, draw):
                    right = on_pixels(dataset, "validation", kind, strength)
                    rows.add(kind, 0, strength, draw, round(right.mean(), 4))
        start = None
        for method, grid in GRID.items():
            for steps, rate in grid:
                if not rows.lacks(method, steps, rate, draw):
                    continue
                options = {"recipe": comparison.Recipe(steps, rate), "seed": draw, "verbose": 0}
                if method == "from scratch":
                    answer = comparison.from_scratch(dataset, "GlyphNet", **options)
                elif method == "glyphs, frozen":
                    answer = comparison.frozen(dataset, "GlyphNet", **options)
                else:
                    start = start or comparison.frozen(dataset, "GlyphNet", seed=draw, verbose=0)
                    answer = comparison.fine_tuned(start, dataset, unfreeze_from="block1", **options)
                result = evaluation.evaluate(answer.model, dataset, "validation")
                rows.add(method, steps, rate, draw, round(result.accuracy, 4))
    scores: dict[tuple, list[float]] = {}
    for *recipe, _draw, accuracy in rows.known:
        scores.setdefault(tuple(recipe), []).append(float(accuracy))
    lines = [
        [*recipe, f"{np.mean(values):.3f}", str(len(values))]
        for recipe, values in sorted(scores.items(), key=lambda item: (item[0][0], -np.mean(item[1])))
    ]
    print(plots.table(["method", "steps", "learning rate or C", "validation accuracy", "draws"], lines))


def measure(file: pathlib.Path, draws: int) -> None:
    """Test accuracy of every method; means, spread, paired differences."""
    rows = Rows(file, ["data", "labels_per_class", "method", "recipe", "draw", "seconds", "right"])
    recipes = f"scratch {comparison.SCRATCH}, head {comparison.HEAD}, tune {comparison.FINE_TUNE}"
    for (name, labels_per_class), methods in SETTINGS.items():
        for draw, method in itertools.product(range(draws), methods):
            kind = method.split(" on pixels")[0]
            recipe = f"C {ON_PIXELS[kind]}" if kind in ON_PIXELS else recipes
            if not rows.lacks(name, labels_per_class, method, recipe, draw):
                continue
            dataset = data.load(name, labels_per_class=labels_per_class, seed=draw)
            started = time.perf_counter()
            if kind in ON_PIXELS:
                right = on_pixels(dataset, "test", kind, ON_PIXELS[kind])
                seconds = time.perf_counter() - started
            else:
                answer = network(dataset, method, draw)
                right, seconds = evaluation.evaluate(answer.model, dataset).correct, answer.seconds
            packed = "".join("01"[int(value)] for value in right)
            rows.add(name, labels_per_class, method, recipe, draw, round(seconds, 1), packed)
    report(file)


def report(file: pathlib.Path) -> None:
    """Print the tables of ``measure``: mean, spread over draws, differences with a bootstrap over writers."""
    rows = Rows(file, [])
    writers = digits.arrays(wild=False)[2]
    writers = writers[np.isin(writers, digits.WRITERS["test"])]
    runs: dict[tuple[str, str], dict[str, dict[int, np.ndarray]]] = {}
    for name, count, method, _recipe, draw, _seconds, right in rows.known:
        by_method = runs.setdefault((name, count), {})
        by_method.setdefault(method, {})[int(draw)] = np.array([int(x) for x in right], bool)
    for (name, count), by_method in runs.items():
        lines = []
        for method, by_draw in by_method.items():
            accuracies = [right.mean() for right in by_draw.values()]
            cells = [method, f"{np.mean(accuracies):.1%}", f"{np.std(accuracies, ddof=1):.1%}"]
            for other in ("from scratch", "glyphs, frozen"):
                paired = sorted(by_draw.keys() & by_method[other].keys())
                first, second = (np.stack([m[draw] for draw in paired]) for m in (by_draw, by_method[other]))
                difference, low, high = evaluation.bootstrap_difference(first, second, writers)
                cells.append("" if method == other else f"{difference:+.1%} ({low:+.1%} to {high:+.1%})")
            lines.append([*cells, str(len(by_draw))])
        print(
            f"\n{name}, {count} labels a class; {len(writers)} test images by {len(set(writers))} writers\n"
        )
        header = ["method", "test accuracy", "sd", "against from scratch", "against frozen", "draws"]
        print(plots.table(header, lines))


class Rows:
    """A CSV file that grows a row at a time and knows which rows it has."""

    def __init__(self, file: pathlib.Path, header: list[str]) -> None:
        self.file = file
        if header and not file.exists():
            file.write_text(",".join(header) + "\n", encoding="utf-8")
        with file.open(newline="", encoding="utf-8") as stream:
            self.known = list(csv.reader(stream))[1:]

    def lacks(self, *key: object) -> bool:
        return list(map(str, key)) not in [row[: len(key)] for row in self.known]

    def add(self, *row: object) -> None:
        self.known.append(list(map(str, row)))
        with self.file.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerow(row)
        print(*[cell for cell in map(str, row) if len(cell) < 50], flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("search", "measure", "report"))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--file", type=pathlib.Path, help="CSV file (default: beside this script)")
    chosen = parser.parse_args()
    default = pathlib.Path(__file__).with_name("search.csv" if chosen.what == "search" else "measure.csv")
    if chosen.what == "report":
        report(chosen.file or default)
    else:
        {"search": search, "measure": measure}[chosen.what](chosen.file or default, chosen.draws)
