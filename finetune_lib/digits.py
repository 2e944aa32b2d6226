"""The embedded data: scikit-learn's handwritten digits, clean or wild, and their writers (lesson 03)."""

import re

import numpy as np
import sklearn.datasets
import tensorflow as tf

from finetune_lib import augmentation

SOURCE = (
    "Optical Recognition of Handwritten Digits (E. Alpaydin and C. Kaynak, UCI Machine Learning Repository), "
    "the 1,797 test images that scikit-learn bundles"
)
URL = "https://doi.org/10.24432/C50P49"
LICENCE = "CC BY 4.0"
# Which inferred writers serve which purpose (14 writers, numbered in file order).
WRITERS = {"train": range(0, 5), "validation": range(5, 7), "test": range(7, 14)}


def arrays(*, wild: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 handwritten digits, drawn up from 8x8 to 32x32 pixels, with their writers.

    Args:
        wild: each image also gets one fixed ``distort``: rotated, scaled, shifted, half of them inverted,
            contrast lowered, noise added. The same distortions on every call and every machine.

    Returns:
        images uint8 ``(1797, 32, 32, 3)``, labels int64 ``(1797,)``, writers int64 ``(1797,)``.
    """
    scans, labels = sklearn.datasets.load_digits(return_X_y=True)
    small = scans.reshape(-1, 8, 8, 1).astype("float32") * (255 / 16)
    grey = tf.clip_by_value(tf.image.resize(small, (32, 32), method="bicubic"), 0, 255)
    images = tf.repeat(grey, 3, axis=-1)
    if wild:
        seeds = np.stack([np.full(len(labels), 1797), np.arange(len(labels))], axis=-1).astype("int32")
        stream = (
            tf.data.Dataset.from_tensor_slices((images, seeds)).map(augmentation.distort).batch(len(labels))
        )
        images = next(iter(stream))
    return np.asarray(tf.round(images)).astype("uint8"), labels.astype("int64"), infer_writers(labels)


def infer_writers(labels: np.ndarray) -> np.ndarray:
    """Who wrote each digit, inferred from the label sequence alone.

    The file is in writer order, and every writer filled in the same form: three runs of 0 to 9, then
    0 9 5 5 6 5 0 9 8 9 8 4 1 7 7 3 and so on. A few scans are missing, so each digit of the three runs is
    optional in the pattern. Each match is the beginning of a filled-in form; there are 14. (UCI speaks of 13
    writers, so one may have filled in two. INRIA's scikit-learn MOOC infers writers in the same way, with one
    boundary at row 915 where this pattern finds 906: rows 906 to 914 are that form's first run, of which the
    0 is missing.)

    Args:
        labels: integers ``(1797,)`` in the file's order.

    Returns:
        int64 ``(1797,)``: 0 for the first writer, 13 for the last.
    """
    sequence = "".join(str(label) for label in labels)
    one_form = "(?:0?1?2?3?4?5?6?7?8?9?){3}0?95565098984177"
    starts = [match.start() for match in re.finditer(one_form, sequence)]
    return np.searchsorted(starts, np.arange(len(labels)), side="right") - 1


def split(
    labels: np.ndarray, writers: np.ndarray, labels_per_class: int | None, seed: int
) -> dict[str, np.ndarray]:
    """Each part's rows, by writer; of the training rows ``labels_per_class`` of each class, drawn by seed.

    Raises:
        ValueError: if a class has fewer training rows.
    """
    rows = {part: np.flatnonzero(np.isin(writers, who)) for part, who in WRITERS.items()}
    if labels_per_class is None:
        return rows
    generator = np.random.default_rng(seed)
    chosen = []
    for label in range(10):
        candidates = rows["train"][labels[rows["train"]] == label]
        if not 1 <= labels_per_class <= len(candidates):
            raise ValueError(
                f"Class {label} has {len(candidates)} training images; {labels_per_class} were asked for as "
                f"labels_per_class. Ask for 1 to {len(candidates)}, or for none: then all are used."
            )
        chosen.append(generator.choice(candidates, labels_per_class, replace=False))
    return rows | {"train": np.sort(np.concatenate(chosen))}
