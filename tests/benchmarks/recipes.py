"""The recipe of fitting.fine_tune against those of Keras' guide and of fast.ai, over many draws.

    python tests/benchmarks/recipes.py measure digits_wild     10 draws of the training images
    python tests/benchmarks/recipes.py measure tf_flowers      5 splits; needs the photos and ImageNet weights
    python tests/benchmarks/recipes.py report                  the table

All begin with the same pretrained network and a new linear head on its average features, and meet the same
images in batches of 32, with a new augmentation of each in every epoch (ours: as its default has it). What
Keras' guide and fast.ai do is done here in plain Keras, on images, from their published code:

- Keras' guide (https://keras.io/guides/transfer_learning): Dropout of 0.2 before the head, Adam at 1e-3 on
  the head for 20 epochs, then on all layers but BatchNormalization at 1e-5 for 10.
- fast.ai's ``Learner.fine_tune`` (fastai/callback/schedule.py): one epoch of the head and BatchNormalization,
  then all; one-cycle rates up to 2e-3, then up to 1e-3 for the head, a hundredth for the first third of the
  network's layers and a tenth for the rest; momentum from 0.95 to 0.85 and back; Adam with a squared momentum
  of 0.99, an epsilon of 1e-5 and decay of 0.01 on kernels. Its head of two layers is left out.

Both are also run with as many steps in each stage as ours takes (fast.ai's on digits only: on photos a run
takes minutes). A row of the CSV file is one run; those that are there are skipped. What was measured with
other settings is another row.
"""

import argparse
import csv
import inspect
import itertools
import math
import pathlib
import statistics
import time

import keras
import numpy as np
import scipy.stats

from finetune_lib import (
    backbones,
    batches,
    classifier,
    data,
    evaluation,
    fitting,
    freezing,
    optimizers,
    plots,
)

RESULTS = pathlib.Path(__file__).with_name("recipes.csv")
FIELDS = ("data", "recipe", "draw", "accuracy", "head_accuracy", "seconds", "settings")
BATCH_SIZE = 32
DEFAULTS = {name: each.default for name, each in inspect.signature(fitting.fine_tune).parameters.items()}
STEPS = (DEFAULTS["head_steps"], DEFAULTS["steps"])
# Data: backbone, labels a class, draws.
SETTINGS = {"digits_wild": ("GlyphNet", 5, 10), "tf_flowers": ("MobileNetV2", 20, 5)}
RECIPES = ("ours", "Keras' guide", "Keras' guide, our steps", "fast.ai", "fast.ai, our steps")


def settings(recipe: str) -> str:
    """What tells one version of a recipe from another."""
    if recipe != "ours":
        return str(STEPS) if "our steps" in recipe or recipe == "fast.ai" else ""
    names = ("head_learning_rate", "learning_rate", "warm_up", "layer_rate_ratio", "weight_decay")
    return (
        ", ".join(f"{name} {DEFAULTS[name]}" for name in (*names, "label_smoothing", "views")) + f", {STEPS}"
    )


def load(data_name: str, draw: int) -> data.ImageDataset:
    """Digits: other training images, the same test images; flowers: another split of all photos."""
    labels_per_class = SETTINGS[data_name][1]
    if data_name == "digits_wild":
        return data.load(data_name, labels_per_class=labels_per_class, seed=draw)
    return data.load(data_name, labels_per_class=labels_per_class, split_seed=draw)


def accuracy(model: keras.Model, dataset: data.ImageDataset) -> float:
    return evaluation.evaluate(model, dataset).accuracy


def ours(dataset: data.ImageDataset, backbone: backbones.Backbone, seed: int) -> tuple[float, float]:
    """Test accuracy of the head alone (trained in a run of its own), and in the end."""
    scores = []
    for steps in (1, DEFAULTS["steps"]):
        model = classifier.build(backbone.name, dataset.class_names)
        options = {"augment": dataset.augment, "seed": seed, "verbose": 0}
        if steps == 1:  # so little that nothing moves
            options["learning_rate"] = 0.0
        fitting.fine_tune(model, dataset, backbone.fine_tune_from, steps=steps, **options)
        scores.append(accuracy(model, dataset))
    return scores[0], scores[1]


def new_head(model: keras.Model, classes: int, dropout: float) -> keras.Model:
    """The pretrained network with a head of random numbers, as Keras and fast.ai begin."""
    features = keras.layers.Dropout(dropout)(model.get_layer("average_pool").output)
    return keras.Model(model.input, keras.layers.Dense(classes, name="logits")(features))


def train(model: keras.Model, dataset: data.ImageDataset, epochs: int, optimizer, seed: int) -> None:
    """Plain Keras."""
    stream = batches.of_images(
        dataset, epochs=epochs, batch_size=BATCH_SIZE, augment=dataset.augment, views="online", seed=seed
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    steps = math.ceil(dataset.sizes["train"] / BATCH_SIZE)
    model.fit(stream.training, epochs=epochs, steps_per_epoch=steps, shuffle=False, verbose=0)


def keras_guide(
    dataset: data.ImageDataset, backbone: backbones.Backbone, seed: int, epochs: tuple[int, int]
) -> tuple[float, float]:
    model = classifier.build(backbone.name, dataset.class_names)
    model = freezing.freeze(new_head(model, len(dataset.class_names), dropout=0.2))
    train(model, dataset, epochs[0], keras.optimizers.Adam(), seed)
    head = accuracy(model, dataset)
    freezing.unfreeze_from(model, model.layers[0].name)  # BatchNormalization stays in inference mode
    train(model, dataset, epochs[1], keras.optimizers.Adam(1e-5), seed)
    return head, accuracy(model, dataset)


def fast_ai(
    dataset: data.ImageDataset, backbone: backbones.Backbone, seed: int, epochs: tuple[int, int]
) -> tuple[float, float]:
    model = classifier.build(backbone.name, dataset.class_names)
    model = freezing.freeze(new_head(model, len(dataset.class_names), dropout=0.0))
    for layer in model.layers:  # train_bn=True: they learn, in training mode, from the first stage on
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = True
    steps = [count * math.ceil(dataset.sizes["train"] / BATCH_SIZE) for count in epochs]
    base = 2e-3
    train(model, dataset, epochs[0], one_cycle(model, base, steps[0], rising=0.99, div=25), seed)
    head = accuracy(model, dataset)
    freezing.unfreeze_from(model, model.layers[0].name, train_batch_normalization=True)
    train(model, dataset, epochs[1], one_cycle(model, base / 2, steps[1], rising=0.3, div=5, mult=100), seed)
    return head, accuracy(model, dataset)


def one_cycle(model, rate: float, steps: int, *, rising: float, div: float, mult: float = 1.0):
    """fast.ai's optimiser: three groups of layers, two of the body and the head; rate and momentum cycled."""
    learning = [layer for layer in model.layers if layer.trainable_weights]
    body, groups = learning[:-1], []
    for place, layer in enumerate(body):
        third = place < len(body) / 3
        groups.append((layer.trainable_weights, 1 / mult if third else 1 / math.sqrt(mult)))
    groups.append((learning[-1].trainable_weights, 1.0))
    rates = OneCycle(steps, rising, rate / div, rate, rate / 1e5)
    return CycledAdam(rates, OneCycle(steps, rising, 0.95, 0.85, 0.95), groups)


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Half a cosine from start to middle, and one from there to the end."""

    def __init__(self, steps: int, rising: float, start: float, middle: float, end: float) -> None:
        self.steps, self.rising, self.values = steps, rising, (start, middle, end)

    def __call__(self, step):
        done = keras.ops.cast(step, "float32") / self.steps
        start, middle, end = self.values

        def cosine(one: float, other: float, share):
            return one + (1 - keras.ops.cos(math.pi * share)) * (other - one) / 2

        falling = (done - self.rising) / (1 - self.rising)
        return keras.ops.where(
            done < self.rising, cosine(start, middle, done / self.rising), cosine(middle, end, falling)
        )


class CycledAdam(optimizers.LayerwiseAdam):
    """Adam with a momentum that changes from step to step."""

    def __init__(self, rate, momentum: OneCycle, groups: list) -> None:
        super().__init__(rate, groups, weight_decay=0.01)
        self.momentum_schedule, self.beta_2, self.epsilon = momentum, 0.99, 1e-5

    @property
    def beta_1(self):
        return self.momentum_schedule(self.iterations)

    @beta_1.setter
    def beta_1(self, value: float) -> None:
        """Keras sets its default."""


def run(
    recipe: str, dataset: data.ImageDataset, backbone: backbones.Backbone, draw: int
) -> tuple[float, float]:
    keras.utils.set_random_seed(draw)
    steps_an_epoch = math.ceil(dataset.sizes["train"] / BATCH_SIZE)
    our_epochs = tuple(math.ceil(count / steps_an_epoch) for count in STEPS)
    if recipe == "ours":
        return ours(dataset, backbone, draw)
    if recipe.startswith("Keras"):
        return keras_guide(dataset, backbone, draw, our_epochs if "our steps" in recipe else (20, 10))
    # How many epochs fast.ai's second stage takes is the user's choice: as many steps as ours has in all.
    default = (1, sum(our_epochs) - 1)
    return fast_ai(dataset, backbone, draw, our_epochs if "our steps" in recipe else default)


def rows() -> list[dict]:
    """What was measured so far."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def measure(data_name: str) -> None:
    """Measure what is missing, a row at a time."""
    backbone_name, _, draws = SETTINGS[data_name]
    backbone = backbones.get(backbone_name)
    there = {(row["data"], row["recipe"], row["draw"], row["settings"]) for row in rows()}
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if not there:
            writer.writeheader()
        recipes = RECIPES if data_name == "digits_wild" else RECIPES[:-1]
        for draw, recipe in itertools.product(range(draws), recipes):
            if (data_name, recipe, str(draw), settings(recipe)) in there:
                continue
            started = time.perf_counter()
            head, tuned = run(recipe, load(data_name, draw), backbone, draw)
            seconds = round(time.perf_counter() - started, 1)
            values = (data_name, recipe, draw, round(tuned, 4), round(head, 4), seconds, settings(recipe))
            writer.writerow(row := dict(zip(FIELDS, values, strict=True)))
            file.flush()
            print(row, flush=True)


def report() -> None:
    """Print mean and spread over draws, and paired differences with a 95% t interval over draws."""
    for data_name, (backbone_name, labels_per_class, _) in SETTINGS.items():
        found: dict[str, dict[str, dict]] = {}
        for row in rows():
            if (row["data"], row["settings"]) == (data_name, settings(row["recipe"])):
                found.setdefault(row["recipe"], {})[row["draw"]] = row
        lines = []
        for recipe in filter(found.get, RECIPES):
            values = [100 * float(row["accuracy"]) for row in found[recipe].values()]
            heads = [100 * float(row["head_accuracy"]) for row in found[recipe].values()]
            line = [recipe, f"{statistics.mean(heads):.1f}%", f"{statistics.mean(values):.1f}%"]
            line.append(f"{statistics.stdev(values):.1f}%")
            shared = found["ours"].keys() & found[recipe].keys()
            ahead = [
                100 * (float(found["ours"][draw]["accuracy"]) - float(found[recipe][draw]["accuracy"]))
                for draw in shared
            ]
            if recipe != "ours":
                half = scipy.stats.t.ppf(0.975, len(ahead) - 1) * scipy.stats.sem(ahead)
                mean = np.mean(ahead)
                line.append(f"{mean:+.1f}% ({mean - half:+.1f}% to {mean + half:+.1f}%)")
            else:
                line.append("")
            lines.append([*line, str(len(values))])
        print(f"\n{data_name}, {backbone_name}, {labels_per_class} labels a class\n")
        print(plots.table(["recipe", "head", "fine-tuned", "sd", "ours is ahead by", "draws"], lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["measure", "report"])
    parser.add_argument("data", nargs="?", choices=list(SETTINGS), default="digits_wild")
    options = parser.parse_args()
    if options.command == "measure":
        measure(options.data)
    else:
        report()
