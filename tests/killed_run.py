"""Two stages with checkpoints, to be killed.

    python killed_run.py CHECKPOINTS RESULT [stored] [augmented] [dropout]

Says ``ready`` when the work begins. Leaves weights and histories in RESULT when both stages are finished.
"""

import json
import pathlib
import sys

import keras
import numpy as np
import small_models
import tensorflow as tf

from finetune_lib import data, environment, fitting

EPOCHS = 30


def brighten(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.image.stateless_random_brightness(image, 40.0, seed)


def dataset() -> data.ImageDataset:
    generator = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = generator.integers(0, 3, count)
        images = generator.uniform(0, 150, (count, 8, 8, 3)) + 30 * labels[:, None, None, None]
        return images.astype("uint8"), labels

    names = ["dark", "grey", "bright"]
    return data.from_arrays("brightness", names, train=part(60), validation=part(30), test=part(10))


def run(checkpoint: pathlib.Path | None, cache: bool, augmented: bool, dropout: bool, **options) -> tuple:
    """The trained model and the reports of both stages."""
    keras.utils.set_random_seed(0)
    model = small_models.plain()
    if not dropout:
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
    settings = {
        "head_steps": EPOCHS * 8,
        "head_learning_rate": 1e-2,
        "steps": EPOCHS * 8,
        "learning_rate": 1e-2,
        "batch_size": 8,
        "weight_decay": 0.01,
        "label_smoothing": 0.1,
        "patience": EPOCHS,
        "augment": brighten if augmented else None,
        "views": 4,
        "cache": cache,
        "checkpoint": checkpoint,
    }
    return model, fitting.fine_tune(model, dataset(), "block2", **settings | options)


def write(path: pathlib.Path, model: keras.Model, reports: tuple[fitting.FitReport, ...]) -> None:
    histories = json.dumps([[report.history, report.kept_epoch, report.moved] for report in reports])
    np.savez(path, *model.get_weights(), histories=np.array(histories))


if __name__ == "__main__":
    environment.log_errors_only()
    print("ready", flush=True)
    words = sys.argv[3:]
    flags = [word in words for word in ("stored", "augmented", "dropout")]
    write(pathlib.Path(sys.argv[2]), *run(pathlib.Path(sys.argv[1]), *flags, verbose=0))
