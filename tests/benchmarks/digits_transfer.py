"""What transfer gains on the digits, over many draws of the training images.

    python tests/benchmarks/digits_transfer.py search            recipes, compared on validation images
    python tests/benchmarks/digits_transfer.py measure           all methods on the test images, 10 draws

Recipes are chosen by ``search`` alone, every network with the same grid and the same augmented images. The
test images are read by ``measure`` only. Both write a CSV file a row at a time and skip the rows it has, so
an interrupted run goes on where it stopped.
"""

import argparse
import csv
import itertools
import pathlib
import time
from collections.abc import Callable

import numpy as np
import sklearn.linear_model
import sklearn.pipeline
import sklearn.preprocessing
import sklearn.svm

from finetune_lib import comparison, data, digits, evaluation, fitting, plots

# Training from scratch is tried longer too: it has further to go.
STEPS = {False: (200, 800), True: (200, 800, 2400)}
LEARNING_RATES = (5e-4, 1e-3, 2e-3, 4e-3)
COPIES = 20  # augmented copies of each training image for the methods on pixels


def pixels(dataset: data.ImageDataset, part: str) -> tuple[np.ndarray, np.ndarray]:
    """One channel of each image, flat, 0..1; training images with augmented copies."""
    if part == "train":
        stream = fitting.training_batches(
            dataset, epochs=COPIES, batch_size=1000, augment=dataset.augment, seed=0
        )
        batches = list(stream.as_numpy_iterator())
    else:
        batches = list(getattr(dataset, part).batch(1000).as_numpy_iterator())
    images = np.concatenate([images for images, _ in batches])[..., 0]
    return images.reshape(len(images), -1) / 255, np.concatenate([labels for _, labels in batches])


def on_pixels(dataset: data.ImageDataset, part: str, kind: str, strength: float) -> np.ndarray:
    """Whether logistic regression or an RBF support vector machine on pixels is right, image by image."""
    last = {
        "logistic": sklearn.linear_model.LogisticRegression(C=strength, max_iter=1000),
        "svm": sklearn.svm.SVC(C=strength),
    }[kind]
    model = sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(), last)
    model.fit(*pixels(dataset, "train"))
    images, labels = pixels(dataset, part)
    return model.predict(images) == labels


def networks(
    dataset: data.ImageDataset, seed: int, wanted: Callable[[str], bool]
) -> dict[str, comparison.Answer]:
    """The wanted methods that are networks, trained with the published recipes."""
    quiet = {"seed": seed, "verbose": 0}
    answers = {}
    if wanted("from scratch"):
        answers["from scratch"] = comparison.from_scratch(dataset, "GlyphNet", **quiet)
    for source in ("glyphs", "textures"):
        names = f"{source}, frozen", f"{source}, block 4 tuned", f"{source}, all tuned"
        if not any(map(wanted, names)):
            continue
        start = comparison.frozen(dataset, "GlyphNet", weights=source, **quiet)
        answers[names[0]] = start
        for name, layer in ((names[1], "block4"), (names[2], "block1")):
            answers[name] = comparison.fine_tuned(start, dataset, unfreeze_from=layer, **quiet)
    return answers


def search(file: pathlib.Path, draws: int) -> None:
    """Validation accuracy of every recipe of the grid, for each network, and of each strength on pixels."""
    rows = Rows(file, ["method", "steps", "learning_rate_or_C", "draw", "validation_accuracy"])
    for draw in range(draws):
        dataset = data.load("digits_wild", labels_per_class=5, seed=draw)
        for kind in ("logistic", "svm"):
            for strength in (0.001, 0.01, 0.1, 1.0, 10.0):
                if rows.lacks(kind, 0, strength, draw):
                    right = on_pixels(dataset, "validation", kind, strength)
                    rows.add(kind, 0, strength, draw, round(right.mean(), 4))
        for method in ("from scratch", "glyphs, frozen", "glyphs, all tuned", "textures, all tuned"):
            source = method.split(",")[0]
            start = None
            for steps, rate in itertools.product(STEPS[method == "from scratch"], LEARNING_RATES):
                if not rows.lacks(method, steps, rate, draw):
                    continue
                options = {"recipe": comparison.Recipe(steps, rate), "seed": draw, "verbose": 0}
                if method == "from scratch":
                    answer = comparison.from_scratch(dataset, "GlyphNet", **options)
                elif method == "glyphs, frozen":
                    answer = comparison.frozen(dataset, "GlyphNet", **options)
                else:
                    start = start or comparison.frozen(
                        dataset, "GlyphNet", weights=source, seed=draw, verbose=0
                    )
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
    """Test accuracy of every method on clean and wild digits; means, spread, paired differences."""
    rows = Rows(file, ["data", "labels_per_class", "method", "draw", "seconds", "right"])
    for name, labels_per_class in (("digits_wild", 5), ("digits", 5), ("digits_wild", 10)):
        for draw in range(draws):
            dataset = data.load(name, labels_per_class=labels_per_class, seed=draw)
            key = name, labels_per_class

            def lacking(method: str, key: tuple = key, draw: int = draw) -> bool:
                return rows.lacks(*key, method, draw)

            for kind, strength in (("logistic", 0.001), ("svm", 1.0)):
                method = f"{kind} on pixels"
                if lacking(method):
                    started = time.perf_counter()
                    right = on_pixels(dataset, "test", kind, strength)
                    rows.add(*key, method, draw, round(time.perf_counter() - started, 1), packed(right))
            for method, answer in networks(dataset, draw, lacking).items():
                if lacking(method):
                    right = evaluation.evaluate(answer.model, dataset).correct
                    rows.add(*key, method, draw, round(answer.seconds, 1), packed(right))
    report(rows)


def report(rows: "Rows") -> None:
    """Print the tables of ``measure``."""
    writers = digits.arrays(wild=False)[2]
    writers = writers[np.isin(writers, digits.WRITERS["test"])]
    for name, count in dict.fromkeys((row[0], row[1]) for row in rows.known):
        runs: dict[str, list[np.ndarray]] = {}
        for row in rows.known:
            if (row[0], row[1]) == (name, count):
                runs.setdefault(row[2], []).append(np.array([int(x) for x in row[5]], bool))
        lines = []
        for method, rights in runs.items():
            accuracy = [right.mean() for right in rights]
            difference, low, high = evaluation.bootstrap_difference(
                np.stack(rights), np.stack(runs["from scratch"][: len(rights)]), writers
            )
            lines.append(
                [
                    method,
                    f"{np.mean(accuracy):.1%}",
                    f"{np.std(accuracy, ddof=1):.1%}",
                    f"{difference:+.1%} ({low:+.1%} to {high:+.1%})",
                    str(len(rights)),
                ]
            )
        print(f"\n{name}, {count} labels a class, {len(writers)} test images of {len(set(writers))} writers")
        header = ["method", "mean test accuracy", "spread (sd)", "against from scratch (95%)", "draws"]
        print(plots.table(header, lines))
        pair = np.stack(runs["glyphs, all tuned"]), np.stack(runs["glyphs, frozen"])
        difference, low, high = evaluation.bootstrap_difference(*pair, writers)
        print(f"all tuned against frozen: {difference:+.1%} ({low:+.1%} to {high:+.1%})")


def packed(right: np.ndarray) -> str:
    """0 and 1, image by image, as one string."""
    return "".join("01"[int(value)] for value in right)


class Rows:
    """A CSV file that grows a row at a time and knows which rows it has."""

    def __init__(self, file: pathlib.Path, header: list[str]) -> None:
        self.file = file
        if not file.exists():
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
    parser.add_argument("what", choices=("search", "measure"))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--file", type=pathlib.Path, help="CSV file (default: WHAT.csv in this folder)")
    chosen = parser.parse_args()
    {"search": search, "measure": measure}[chosen.what](
        chosen.file or pathlib.Path(f"{chosen.what}.csv"), chosen.draws
    )
