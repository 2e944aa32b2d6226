"""How much memory training on many photos takes.

    python tests/benchmarks/streaming_memory.py [COUNT]

makes COUNT photos (20,000 if not given) of two classes in a temporary folder, each with its own content,
loads them with ``data.load``, trains a small network for one epoch on all that are for training, and prints
one table. Linux only: it reads /proc.
"""

import argparse
import concurrent.futures
import itertools
import pathlib
import re
import tempfile
import time

import numpy as np
import PIL.Image

BATCH_SIZE = 32


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", nargs="?", type=int, default=20_000)
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        with concurrent.futures.ProcessPoolExecutor() as pool:
            sizes = list(pool.map(write_photo, range(count), itertools.repeat(folder), chunksize=100))
        rows = [("photos", f"{count:,}"), ("their files", f"{sum(sizes) / 2**20:,.0f} MB")]
        rows += [("making them", f"{time.monotonic() - started:.0f} s"), *measured(pathlib.Path(folder))]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value:>12}")


def write_photo(number: int, folder: str) -> int:
    """A JPEG photo of 320x240 pixels: noise of every scale, on the whole darker in class b."""
    generator = np.random.default_rng(number)
    photo = np.zeros((240, 320, 3))
    for scale in (4, 16, 80):
        noise = generator.uniform(0, 85, (240 // scale, 320 // scale, 3))
        photo += noise.repeat(scale, axis=0).repeat(scale, axis=1)
    path = pathlib.Path(folder, "ab"[number % 2], f"{number}.jpg")
    path.parent.mkdir(exist_ok=True)
    PIL.Image.fromarray((photo * (1 - 0.2 * (number % 2))).astype("uint8")).save(path, quality=80)
    return path.stat().st_size


def measured(folder: pathlib.Path) -> list[tuple[str, str]]:
    # Imported here, so that the processes that write the photos start without it.
    import keras

    from finetune_lib import batches, data

    rows = [("peak memory before", f"{peak():,.0f} MB")]
    started = time.monotonic()
    dataset = data.load(folder)
    rows += [("looking through them", f"{time.monotonic() - started:.0f} s")]
    rows += [("peak memory after load", f"{peak():,.0f} MB")]
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((*dataset.image_size, 3)),
            layers.Rescaling(1 / 255),
            layers.AveragePooling2D(16),
            layers.Flatten(),
            layers.Dense(len(dataset.class_names)),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    started = time.monotonic()
    stream = batches.of_images(dataset, epochs=1, batch_size=BATCH_SIZE, augment=None, views=1, seed=0)
    steps = -(-dataset.sizes["train"] // BATCH_SIZE)
    model.fit(
        stream.training,
        steps_per_epoch=steps,
        validation_data=stream.validation,
        shuffle=False,
        verbose=0,
    )
    rows += [("one epoch", f"{time.monotonic() - started:.0f} s")]
    rows += [("peak memory after an epoch", f"{peak():,.0f} MB")]
    height, width = dataset.image_size
    decoded = sum(dataset.sizes.values()) * height * width * 3
    return [("decoded", f"{decoded / 2**20:,.0f} MB"), *rows]


def peak() -> float:
    """The most memory that this process has held so far, in MB."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


if __name__ == "__main__":
    main()
