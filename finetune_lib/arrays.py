"""Images in memory (lesson 03)."""

import hashlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from finetune_lib import splits


def in_arrays(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    groups: Sequence | None = None,
    class_names: Sequence[str] | None = None,
) -> splits.Collection:
    """Images in memory, checked, grey ones with their channel three times.

    Arguments: as for arrays in ``data.load``.

    Raises:
        ValueError: if shapes do not fit, pixels are not raw, labels name no class, or all are one.
    """
    try:
        images, labels = np.asarray(images), np.asarray(labels)
    except ValueError as error:  # NumPy's own words are of an "inhomogeneous shape"
        raise ValueError("The images differ in size. Scale them to one, or give them as a folder.") from error
    given = images.shape
    if images.ndim == 3 or images.shape[-1:] == (1,):
        images = np.repeat(images.reshape(*images.shape[:3], 1), 3, axis=-1)
    if images.ndim != 4 or images.shape[-1] != 3 or labels.shape != (len(images),) or not len(images):
        raise ValueError(
            f"Images of shape {given} and labels of shape {labels.shape} do not fit: images are "
            "(count, height, width, 3), or (count, height, width) if grey; labels are (count,); count is at "
            "least 1."
        )
    if images.dtype.kind not in "biuf" or labels.dtype.kind not in "biuSUO":
        raise ValueError(
            f"Images of {images.dtype} and labels of {labels.dtype} do not fit: images hold numbers; labels "
            "whole numbers (labels.astype(int)) or names."
        )
    images = images if images.dtype == np.uint8 else images.astype("float32")
    low, high = images.min(), images.max()
    if not 0 <= low <= high <= 255 or high <= 1:  # not a number is in no order
        raise ValueError(
            f"The pixels run from {low:.6g} to {high:.6g}; they must be raw, 0 to 255 (every backbone does "
            "its own preprocessing). Undo whatever scaled them, for example images * 255."
        )
    known, numbers = np.unique(labels, return_inverse=True)
    if class_names is None:
        class_names = [str(name) for name in known]
    elif known.dtype.kind not in "iu" or known[0] < 0 or known[-1] >= len(class_names):
        raise ValueError(
            f"With {len(class_names)} class names the labels must be whole numbers from 0 to "
            f"{len(class_names) - 1}; they run from {known[0]} to {known[-1]}."
        )
    else:
        numbers = labels
    if len(class_names) < 2:
        raise ValueError(f"It takes at least two classes; all labels are {str(known[0])!r}.")
    if groups is not None and np.shape(groups) != labels.shape:
        raise ValueError(
            f"For {len(labels)} images in arrays, groups is a sequence of {len(labels)} entries."
        )
    numbers = numbers.astype("int64")
    return splits.Collection(
        name="arrays",
        class_names=tuple(class_names),
        labels=numbers,
        digests=[hashlib.sha256(image.tobytes()).hexdigest() for image in images],
        places=[f"image {row}" for row in range(len(images))],
        parts=np.full(len(images), ""),
        groups=None if groups is None else [str(group) for group in groups],
        stream=lambda rows: tf.data.Dataset.from_tensor_slices((images[rows], numbers[rows])),
    )
