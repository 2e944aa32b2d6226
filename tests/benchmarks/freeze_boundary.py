"""Fine-tuning on stored activations against plain ``keras.Model.fit``, side by side.

    python tests/benchmarks/freeze_boundary.py measure     all jobs in turn; about 35 minutes on two cores
    python tests/benchmarks/freeze_boundary.py memory      what 20,000 photos take; about 20 minutes
    python tests/benchmarks/freeze_boundary.py bfloat16    what it costs in agreement, on real photos
    python tests/benchmarks/freeze_boundary.py report      the table, and the figure beside this file

``freeze_boundary_torch.py`` measures PyTorch. VGG16 with random weights (they are as fast as trained ones),
batches of 32: 512 training and 32 validation images of 160x160 pixels for 10 epochs, and 256 and 32 of
224x224 for 2. Both ways get the same batches in the same order, the same Adam with the same schedule, and
``jit_compile=False``, which is what Keras chooses on a processor.

Every run is a process of its own with an empty cache; its time is that of the whole job, tracing and the
prefix's pass included, but not imports and building the model. Ways alternate; the minimum of three repeats
counts. A repeat that something held up does not: one in which the processor was busy for less than 1.8 times
the wall-clock time (1.5 times if it took under 15 seconds, much of them tracing, which takes one core), or
other programs took over a tenth of a core. Times of more epochs than were run are composed: the measured time
and as many more epochs of median length. Where no repeat was left, the time is that of its epochs alone, at
their median length, the least that it can be. PyTorch's time is scaled to as many images. All these are
labelled computed.
"""

import argparse
import concurrent.futures
import csv
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import keras
import matplotlib.figure
import numpy as np
import streaming_memory

from finetune_lib import activation_cache, batches, classifier, data, evaluation, fitting, freezing, plots

RESULTS = pathlib.Path(__file__).with_name("freeze_boundary.csv")
FACTS = pathlib.Path(__file__).with_name("freeze_boundary.json")  # what the other commands found
FIGURE = pathlib.Path(__file__).with_name("freeze_boundary.png")
BATCH_SIZE, VALIDATION_IMAGES = 32, 32
REPEATS, TRIES = 3, 6
CLASSES = tuple("abcde")
# The settings of the cache, for each way; None is plain fit.
WAYS = {
    "plain": None,
    "stored": activation_cache.Cache(),
    "stored, bfloat16 prefix": activation_cache.Cache(prefix_dtype="bfloat16"),
}


@dataclasses.dataclass(frozen=True)
class Job:
    """What is run: what learns, how, on images of which size and how many, for how long."""

    learning: str
    way: str
    size: int = 160
    images: int = 512
    epochs: int = 10


JOBS = [
    Job("head", "plain"),
    Job("head", "stored"),
    Job("block 5 and head", "plain"),
    Job("block 5 and head", "stored"),
    Job("head", "stored, bfloat16 prefix"),
    Job("head", "plain", 224, 256, 2),
    Job("head", "stored", 224, 256, 2),
    Job("block 5 and head", "plain", 224, 256, 2),
    Job("block 5 and head", "stored", 224, 256, 2),
]


class Clock(keras.callbacks.Callback):
    """The seconds of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds.append(time.perf_counter() - self.started)


def random_images(count: int, size: int) -> data.ImageDataset:
    """Random images with random labels: how fast they are learned does not depend on what they show."""
    generator = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        pixels = generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        return pixels, generator.integers(0, len(CLASSES), count)

    validation = part(VALIDATION_IMAGES)
    return data.from_arrays("random", CLASSES, train=part(count), validation=validation, test=validation)


def vgg16(learning: str, dataset: data.ImageDataset) -> keras.Model:
    """VGG16 with a new head, the same random numbers every time."""
    keras.utils.set_random_seed(0)
    model = classifier.build("VGG16", dataset.class_names, weights=None, image_size=dataset.image_size)
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


def run(job: Job) -> dict:
    """One run in this process."""
    dataset, clock = random_images(job.images, job.size), Clock()
    model = vgg16(job.learning, dataset)
    before, all_before, started = os.times(), all_cores(), time.perf_counter()
    if (cache := WAYS[job.way]) is None:
        plain(model, dataset, job.epochs, clock)
    else:
        with tempfile.TemporaryDirectory() as folder:
            cache = dataclasses.replace(cache, folder=pathlib.Path(folder))
            fitting.fit(model, dataset, epochs=job.epochs, cache=cache, callbacks=[clock], verbose=0)
    seconds, after, all_after = time.perf_counter() - started, os.times(), all_cores()
    own = after.user + after.system - before.user - before.system
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights()))
    return dataclasses.asdict(job) | {
        "seconds": round(seconds, 3),
        "epoch": round(statistics.median(clock.seconds[1:]), 4),
        "busy": round(own / seconds, 2),
        "others": round((all_after - all_before - own) / seconds, 2),
        "weights": digest.hexdigest()[:16],
    }


def all_cores() -> float:
    """The seconds for which cores worked since the machine was started, stolen ones included. Linux only."""
    ticks = [int(word) for word in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle, waiting_for_disk = ticks[3:5]
    return (sum(ticks) - idle - waiting_for_disk) / os.sysconf("SC_CLK_TCK")


def run_apart(job: Job) -> dict:
    """One run in a process of its own."""
    command = [sys.executable, __file__, "run", json.dumps(dataclasses.asdict(job))]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure() -> None:
    """All jobs in turn, until each has enough undisturbed repeats."""
    kept = dict.fromkeys(JOBS, 0)
    with RESULTS.open("w", newline="") as file:
        writer = None
        for _ in range(TRIES):
            for job in JOBS:
                if kept[job] == REPEATS:
                    continue
                row = run_apart(job)
                row["rejected"] = disturbed(row)
                kept[job] += not row["rejected"]
                writer = writer or csv.DictWriter(file, row, lineterminator="\n")
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
                file.flush()
                print(row, flush=True)


def disturbed(row: dict) -> bool:
    """Whether something else held the run up."""
    return row["others"] > 0.1 or row["busy"] < (1.8 if row["seconds"] > 15 else 1.5)


def runs(learning: str, way: str, size: int = 160) -> list[dict]:
    """All repeats, numbers as numbers, the fastest first."""
    with RESULTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = ("images", "epochs", "seconds", "epoch", "busy", "others")
    found = [
        {**row, **{name: float(row[name]) for name in numbers}}
        for row in rows
        if (row["learning"], row["way"], row["size"]) == (learning, way, str(size))
    ]
    return sorted(found, key=lambda row: row["seconds"])


def measured(learning: str, way: str, size: int = 160) -> dict | None:
    """The repeat that took least time of those that nothing held up."""
    return next((row for row in runs(learning, way, size) if not disturbed(row)), None)


def seconds_for(learning: str, way: str, epochs: int, size: int = 160) -> float:
    """Of so many epochs: measured, or composed of measured parts."""
    if row := measured(learning, way, size):
        return row["seconds"] + (epochs - row["epochs"]) * row["epoch"]
    return epochs * min(row["epoch"] for row in runs(learning, way, size))


def report() -> None:
    """Print the table and what else was found, and draw time against epochs and against images."""
    rows = []

    def add(learning: str, way: str, size: int, epochs: int, theirs: float, ours: float, *notes: str) -> None:
        numbers = f"{theirs:.1f}", f"{ours:.1f}", f"{theirs / ours:.1f}"
        rows.append([learning, way, str(size), str(epochs), *numbers, *notes])

    facts = json.loads(FACTS.read_text())
    for learning, way, size in dict.fromkeys((job.learning, job.way, job.size) for job in JOBS):
        if way != "plain":
            ours, theirs = measured(learning, way, size), measured(learning, "plain", size)
            same = runs(learning, way, size)[0]["weights"] == runs(learning, "plain", size)[0]["weights"]
            for epochs in (10, 30):
                both_measured = ours and theirs and ours["epochs"] == epochs
                times = (seconds_for(learning, each, epochs, size) for each in ("plain", way))
                how = "measured" if both_measured else "computed"
                add(learning, way, size, epochs, *times, how, "bit-equal" if same else "other")
    job, views, epochs = JOBS[0], 4, 30
    one_pass = seconds_for("head", "stored", 0) * job.images / (job.images + VALIDATION_IMAGES)
    ours = seconds_for("head", "stored", epochs) + (views - 1) * one_pass
    theirs = seconds_for("head", "plain", epochs)
    add("head", f"stored, {views} views", job.size, epochs, theirs, ours, "computed", "")
    torch = facts["torch"]
    more_images = (job.images + VALIDATION_IMAGES) / (torch["images"] + VALIDATION_IMAGES)
    ours = seconds_for("head", "stored", torch["epochs"])
    name = f"stored, against PyTorch {torch['version']}"
    add("head", name, job.size, torch["epochs"], min(torch["seconds"]) * more_images, ours, "computed", "")
    titles = [
        "what learns",
        "way",
        "pixels",
        "epochs",
        "plain (s)",
        "ours (s)",
        "times faster",
        "",
        "weights",
    ]
    print(plots.table(titles, rows))
    held, price = facts["memory"], facts["bfloat16"]
    print(
        f"Memory: block 5 and head, {held['images']:,} photos of {held['size']} pixels, "
        f"{held['stored_gib']:.1f} GiB stored: {held['peak_gib']:.1f} GiB resident at most.\n"
        f"bfloat16 prefix: the same answer on {price['same']:.1%} of {price['photos']} test photos "
        f"(MobileNetV2, flowers); accuracy {price['bfloat16']:.1%}, with float32 {price['float32']:.1%}."
    )
    draw()


def draw() -> None:
    """Time of the whole job against epochs, and against images at 10 epochs."""
    figure = matplotlib.figure.Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    styles = {"head": plots.BLUE, "block 5 and head": plots.VERMILION}
    job = JOBS[0]
    for learning, colour in styles.items():
        for way, line in (("plain", "--"), ("stored", "-")):
            epochs = np.arange(1, 31)
            times = [seconds_for(learning, way, count) / 60 for count in epochs]
            panels[0].plot(epochs, times, line, color=colour, label=f"{learning}, {way}")
            panels[0].plot(job.epochs, times[job.epochs - 1], "o", color=colour)
            counts = np.arange(0, 2001, 100)
            minutes = seconds_for(learning, way, job.epochs) / 60 * counts / job.images
            panels[1].plot(counts, minutes, line, color=colour)
    panels[0].set(xlabel=f"epochs, with {job.images} images", ylabel="minutes, two cores")
    panels[1].set(xlabel=f"images, for {job.epochs} epochs (in proportion)", ylabel="minutes, two cores")
    panels[0].legend(frameon=False, fontsize=9)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FIGURE, dpi=120)


def note(name: str, found: dict) -> None:
    """Keep what a command found beside what the others did."""
    facts = json.loads(FACTS.read_text()) if FACTS.exists() else {}
    FACTS.write_text(json.dumps(facts | {name: found}, indent=2, sort_keys=True) + "\n")
    print(found)


def memory(count: int = 25_000, size: int = 160) -> None:
    """Peak resident memory of block 5 and head, stored, on photos from a folder; a fifth of them are kept
    for the test. Linux only.
    """
    with tempfile.TemporaryDirectory() as folder:
        photos, cache = pathlib.Path(folder, "photos"), pathlib.Path(folder, "cache")
        photos.mkdir()
        with concurrent.futures.ProcessPoolExecutor() as pool:
            made = pool.map(
                streaming_memory.write_photo, range(count), itertools.repeat(photos), chunksize=100
            )
            print(f"{sum(made) / 2**20:,.0f} MB of photos", flush=True)
        dataset = data.load(photos, image_size=(size, size))
        model = vgg16("block 5 and head", dataset)
        print(dataset, flush=True)
        report = fitting.fit(model, dataset, epochs=2, cache=activation_cache.Cache(folder=cache))
        print(report)
        stored = sum(entry.bytes for entry in activation_cache.entries(cache))
    if not report.stored:
        raise SystemExit("nothing was stored")
    found = {
        "images": dataset.sizes["train"] + dataset.sizes["validation"],
        "size": size,
        "stored_gib": stored / 2**30,
    }
    note("memory", found | {"peak_gib": streaming_memory.peak() / 1024})


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
    accuracies = dict(zip(("float32", "bfloat16"), (one.accuracy for one in predictions), strict=True))
    note("bfloat16", {"same": float(same), "photos": len(predictions[0].predictions), **accuracies})


if __name__ == "__main__":
    commands = {each.__name__: each for each in (measure, report, memory, bfloat16)}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=[*commands, "run"])
    parser.add_argument("job", nargs="?", help="of one run, as measure gives it")
    options = parser.parse_args()
    if options.command == "run":
        print(json.dumps(run(Job(**json.loads(options.job)))))
    else:
        commands[options.command]()
