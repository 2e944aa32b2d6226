"""Fine-tuning on stored activations against plain ``keras.Model.fit``, side by side.

    python tests/benchmarks/freeze_boundary.py measure     all jobs in turn; about 20 minutes on two cores
    python tests/benchmarks/freeze_boundary.py report      the table, and the figure beside this file
    python tests/benchmarks/freeze_boundary.py memory      resident memory against the number of images
    python tests/benchmarks/freeze_boundary.py bfloat16    what it costs in agreement, on real photos

VGG16 with random weights (they are as fast as trained ones), 160x160 pixels, batches of 32, 256 training and
32 validation images. Both ways get the same batches in the same order, the same Adam with the same schedule,
and ``jit_compile=False``, which is the faster choice for plain ``fit``, too, on a processor.

Every run is a process of its own with an empty cache; its time is that of the whole job, tracing and the
prefix's pass included, but not imports and building the model. Ways alternate; the minimum of three repeats
counts. A repeat that something held up does not: one in which the processor was busy for less than 1.8 times
the wall-clock time (1.5 times if it took under 15 seconds, much of them tracing, which takes one core), or
other programs took over a tenth of a core. Times of more epochs than were run are composed: the measured time
and as many more epochs of median length. Where no repeat was left, the time is that of its epochs alone, at
their median length, the least that it can be. Both are labelled computed.
"""

import argparse
import csv
import dataclasses
import hashlib
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import keras
import matplotlib.figure
import numpy as np

from finetune_lib import activation_cache, batches, classifier, data, evaluation, fitting, freezing, plots

RESULTS = pathlib.Path(__file__).with_name("freeze_boundary.csv")
FIGURE = pathlib.Path(__file__).with_name("freeze_boundary.png")
SIZE, BATCH_SIZE, EPOCHS = 160, 32, 10
IMAGES, VALIDATION_IMAGES = 256, 32
REPEATS, TRIES = 3, 8
CLASSES = tuple("abcde")
# What learns, and for each way of running it the settings of the cache; None is plain fit.
WAYS = {
    ("head", "plain"): None,
    ("head", "stored"): activation_cache.Cache(),
    ("block 5 and head", "plain"): None,
    ("block 5 and head", "stored"): activation_cache.Cache(),
    ("head", "stored, bfloat16 prefix"): activation_cache.Cache(prefix_dtype="bfloat16"),
}


class Clock(keras.callbacks.Callback):
    """The seconds of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds.append(time.perf_counter() - self.started)


def images(count: int) -> data.ImageDataset:
    """Random images with random labels: how fast they are learned does not depend on what they show."""
    generator = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        pixels = generator.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
        return pixels, generator.integers(0, len(CLASSES), count)

    validation = part(VALIDATION_IMAGES)
    return data.from_arrays("random", CLASSES, train=part(count), validation=validation, test=validation)


def vgg16(learning: str) -> keras.Model:
    """VGG16 with a new head, the same random numbers every time."""
    keras.utils.set_random_seed(0)
    model = classifier.build("VGG16", CLASSES, weights=None, image_size=(SIZE, SIZE))
    return freezing.freeze(model) if learning == "head" else freezing.unfreeze_from(model, "block5")


def plain(model: keras.Model, dataset: data.ImageDataset, epochs: int, clock: Clock) -> None:
    """What one writes without the library: compile, fit."""
    steps = dataset.sizes["train"] // BATCH_SIZE
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, epochs * steps)
    model.compile(
        keras.optimizers.Adam(schedule),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    stream = batches.of_images(dataset, epochs=epochs, batch_size=BATCH_SIZE, augment=None, views=1, seed=0)
    model.fit(
        stream.training,
        epochs=epochs,
        steps_per_epoch=steps,
        validation_data=stream.validation,
        callbacks=[clock],
        verbose=0,
    )


def run(learning: str, way: str, count: int, epochs: int) -> dict:
    """One run in this process."""
    dataset, model, clock = images(count), vgg16(learning), Clock()
    before, all_before, started = os.times(), all_cores(), time.perf_counter()
    if (cache := WAYS[learning, way]) is None:
        plain(model, dataset, epochs, clock)
    else:
        with tempfile.TemporaryDirectory() as folder:
            cache = dataclasses.replace(cache, folder=pathlib.Path(folder))
            fitting.fit(model, dataset, epochs=epochs, cache=cache, callbacks=[clock], verbose=0)
    seconds, after, all_after = time.perf_counter() - started, os.times(), all_cores()
    own = after.user + after.system - before.user - before.system
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights()))
    return {
        "learning": learning,
        "way": way,
        "images": count,
        "epochs": epochs,
        "seconds": round(seconds, 3),
        "epoch": round(statistics.median(clock.seconds[1:] or clock.seconds), 4),
        "busy": round(own / seconds, 2),
        "others": round((all_after - all_before - own) / seconds, 2),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "weights": digest.hexdigest()[:16],
    }


def all_cores() -> float:
    """The seconds for which cores worked since the machine was started, stolen ones included. Linux only."""
    ticks = [int(word) for word in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle, waiting_for_disk = ticks[3:5]
    return (sum(ticks) - idle - waiting_for_disk) / os.sysconf("SC_CLK_TCK")


def run_apart(learning: str, way: str, count: int, epochs: int) -> dict:
    """One run in a process of its own."""
    command = [sys.executable, __file__, "run", learning, way, str(count), str(epochs)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure() -> None:
    """All ways in turn, until each has enough undisturbed repeats."""
    kept = {way: 0 for way in WAYS}
    with RESULTS.open("w", newline="") as file:
        writer = None
        for _ in range(TRIES):
            for way in WAYS:
                if kept[way] == REPEATS:
                    continue
                row = run_apart(*way, IMAGES, EPOCHS)
                row["rejected"] = disturbed(row)
                kept[way] += not row["rejected"]
                writer = writer or csv.DictWriter(file, row, lineterminator="\n")
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
                file.flush()
                print(row, flush=True)


def disturbed(row: dict) -> bool:
    """Whether something else held the run up."""
    return row["others"] > 0.1 or row["busy"] < (1.8 if row["seconds"] > 15 else 1.5)


def runs(learning: str, way: str) -> list[dict]:
    """All repeats, numbers as numbers, the fastest first."""
    with RESULTS.open(newline="") as file:
        found = [row for row in csv.DictReader(file) if (row["learning"], row["way"]) == (learning, way)]
    numbers = ("epochs", "seconds", "epoch", "busy", "others")
    return sorted(
        ({**row, **{name: float(row[name]) for name in numbers}} for row in found),
        key=lambda row: row["seconds"],
    )


def measured(learning: str, way: str) -> dict | None:
    """The repeat that took least time of those that nothing held up."""
    return next((row for row in runs(learning, way) if not disturbed(row)), None)


def seconds_for(learning: str, way: str, epochs: int) -> float:
    """Of so many epochs: measured, or composed of measured parts."""
    if row := measured(learning, way):
        return row["seconds"] + (epochs - row["epochs"]) * row["epoch"]
    return epochs * min(row["epoch"] for row in runs(learning, way))


def report() -> None:
    """Print the table, and draw time against epochs and against images."""
    rows = []
    for learning, way in WAYS:
        if way != "plain":
            same = runs(learning, way)[0]["weights"] == runs(learning, "plain")[0]["weights"]
            both = measured(learning, way) and measured(learning, "plain")
            for epochs in (EPOCHS, 3 * EPOCHS):
                ours, theirs = seconds_for(learning, way, epochs), seconds_for(learning, "plain", epochs)
                how = "measured" if both and epochs == EPOCHS else "computed"
                weights = "bit-equal" if same else "other"
                rows.append([learning, way, epochs, theirs, ours, theirs / ours, how, weights])
    views, epochs = 4, 3 * EPOCHS
    plain_epochs = seconds_for("head", "plain", epochs)
    stored = seconds_for("head", "stored", epochs)
    one_pass = seconds_for("head", "stored", 0)
    ours = stored + (views - 1) * one_pass * IMAGES / (IMAGES + VALIDATION_IMAGES)
    rows.append(
        ["head", f"stored, {views} views", epochs, plain_epochs, ours, plain_epochs / ours, "computed", ""]
    )
    shown = [
        [learning, way, str(epochs), f"{theirs:.1f}", f"{ours:.1f}", f"{ratio:.1f}", how, weights]
        for learning, way, epochs, theirs, ours, ratio, how, weights in rows
    ]
    titles = ["what learns", "way", "epochs", "plain fit (s)", "ours (s)", "times faster", "", "weights"]
    print(plots.table(titles, shown))
    draw()


def draw() -> None:
    """Time of the whole job against epochs, and against images at 10 epochs."""
    figure = matplotlib.figure.Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    styles = {"head": plots.BLUE, "block 5 and head": plots.VERMILION}
    for learning, colour in styles.items():
        for way, line in (("plain", "--"), ("stored", "-")):
            epochs = np.arange(1, 3 * EPOCHS + 1)
            times = [seconds_for(learning, way, count) / 60 for count in epochs]
            panels[0].plot(epochs, times, line, color=colour, label=f"{learning}, {way}")
            panels[0].plot(EPOCHS, times[EPOCHS - 1], "o", color=colour)
            counts = np.arange(0, 2001, 100)
            panels[1].plot(
                counts, seconds_for(learning, way, EPOCHS) / 60 * counts / IMAGES, line, color=colour
            )
    panels[0].set(xlabel=f"epochs, with {IMAGES} images", ylabel="minutes, two cores")
    panels[1].set(xlabel=f"images, for {EPOCHS} epochs (in proportion)", ylabel="minutes, two cores")
    panels[0].legend(frameon=False, fontsize=9)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FIGURE, dpi=120)


def memory() -> None:
    """Peak resident memory of block 5 and head, stored, with ever more images, one epoch."""
    for count in (256, 512, 1024):
        row = run_apart("block 5 and head", "stored", count, 2)
        print(f"{count:5} images: peak {row['peak_bytes'] / 2**30:.2f} GiB resident", flush=True)


def bfloat16() -> None:
    """How often a prefix in bfloat16 leads to the same predictions: MobileNetV2, real weights and photos."""
    dataset = data.load("tf_flowers", labels_per_class=20)
    predictions = []
    for dtype in ("float32", "bfloat16"):
        model = classifier.build("MobileNetV2", dataset.class_names)
        freezing.freeze(model)
        cache = activation_cache.Cache(prefix_dtype=dtype)
        fitting.fit(model, dataset, epochs=20, learning_rate=2e-3, cache=cache, verbose=0)
        predictions.append(evaluation.evaluate(model, dataset))
    same = np.mean(predictions[0].predictions == predictions[1].predictions)
    print(
        f"same prediction on {same:.1%} of {len(predictions[0].predictions)} test photos; accuracy "
        + " and ".join(f"{one.accuracy:.1%}" for one in predictions)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["measure", "report", "memory", "bfloat16", "run"])
    parser.add_argument("run", nargs="*", help="of one run: what learns, way, images, epochs")
    options = parser.parse_args()
    if options.command == "run":
        learning, way, count, epochs = options.run
        print(json.dumps(run(learning, way, int(count), int(epochs))))
    else:
        {"measure": measure, "report": report, "memory": memory, "bfloat16": bfloat16}[options.command]()
