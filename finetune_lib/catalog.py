"""Photos by name from TensorFlow Datasets' catalogue (lesson 03)."""

import difflib
import hashlib
import os
import pathlib
import re
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import tensorflow as tf

from finetune_lib import environment, photos, splits

FLOWERS_URL = "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz"
CATALOGUE = "https://www.tensorflow.org/datasets/catalog/overview"


def in_catalog(name: str, image_size: tuple[int, int]) -> tuple[splits.Collection, Any]:
    """An image classification set of TensorFlow Datasets, downloaded the first time.

    Its own training, validation and test splits become the parts; images without a label are left out. The
    encoded files are read once, for their digests, and decoded when they are asked for.

    Args:
        name: as ``tfds.load`` takes it: ``"tf_flowers"``, ``"eurosat/rgb"``, ``"tf_flowers:3.0.1"``.
        image_size: ``(height, width)``.

    Returns:
        The collection, and TensorFlow Datasets' own description of it (``tfds.core.DatasetInfo``).

    Raises:
        ValueError: if there is no such set, or not one of images with one label each.
        OSError: if it has to be downloaded and cannot be.
    """
    builder = find(name)
    prepare(builder)
    pieces = [part for part in builder.info.splits if part in splits.PARTS]
    if not pieces:
        raise ValueError(
            f"{name} has no training, validation or test split, only {', '.join(builder.info.splits)}."
        )
    labels: list[int] = []
    digests: list[str] = []
    parts: list[str] = []
    for part in pieces:
        count = builder.info.splits[part].num_examples
        for example in photos.progress(_encoded(builder, part).as_numpy_iterator(), f"reading {part}", count):
            labels.append(int(example["label"]))
            digests.append(hashlib.sha256(example["image"]).hexdigest())
            parts.append(part if "train" in pieces else "")
    known = np.flatnonzero(np.array(labels) >= 0)  # some test splits are published without their labels
    unlabelled = len(labels) - len(known)
    collection = splits.Collection(
        name=name,
        class_names=tuple(builder.info.features["label"].names),
        labels=np.array(labels)[known],
        digests=[digests[row] for row in known],
        places=[f"image {row} of {name}" for row in known],
        parts=np.array(parts)[known],
        groups=None,
        stream=lambda rows: _stream(builder, pieces, known[rows], len(labels), image_size),
        notes=(f"{splits.were(unlabelled, 'image')} left out, without a label.",) if unlabelled else (),
    )
    return collection, builder.info


def find(name: str) -> Any:
    """TensorFlow Datasets' builder of an image classification set; downloads nothing.

    Raises:
        ValueError: if there is none, or not one of images with one label each.
        OSError: if TensorFlow Datasets does not work here.
    """
    import tensorflow_datasets as tfds

    if not hasattr(tfds, "builder"):  # its import only prints what went wrong
        raise OSError(
            "TensorFlow Datasets does not work with the packages installed here. On Colab run the lesson's "
            "first cell; elsewhere pip install 'tensorflow-metadata<1.18' importlib_resources. Then restart."
        )
    try:
        builder = tfds.builder(name)
    except Exception as error:  # an unknown name, version or configuration: no common type
        # Without the community's sets, whose list is fetched from the network, for minutes if there is none.
        known = tfds.list_builders(with_community_datasets=False)
        if re.split("[/:]", name)[0] in known:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"TensorFlow Datasets cannot open {name!r}: {reason}") from error
        near = difflib.get_close_matches(name.lower(), {"digits", "digits_wild", *known}, n=3)
        meant = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
        raise ValueError(
            f"There is no data set called {name!r}: it is neither a folder in {pathlib.Path.cwd()}, nor "
            f"'digits' or 'digits_wild', nor in TensorFlow Datasets ({CATALOGUE}).{meant}"
        ) from None
    features = builder.info.features
    wanted = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    if not all(key in features and isinstance(features[key], kind) for key, kind in wanted.items()):
        raise ValueError(
            f"{name} is not a set of images with one label each: it holds {', '.join(features)}. "
            f"Choose an image classification set: {CATALOGUE}#image_classification"
        )
    return builder


def prepare(builder: Any) -> None:
    """Download a set and write it where TensorFlow Datasets keeps it, unless it is there.

    Raises:
        OSError: if that fails; without a network at once, where TensorFlow Datasets alone tries for minutes.
    """
    name = builder.info.full_name
    if builder.is_prepared():
        return
    urls = [] if builder.MANUAL_DOWNLOAD_INSTRUCTIONS else list(builder.url_infos or [])[:3]
    if urls and not any(map(_answers, urls)):
        raise OSError(
            f"{name} is not on this machine ({builder.data_dir}), and {urls[0]} cannot be reached: "
            "it takes a network the first time. Without one, use 'digits_wild', which comes with the course, "
            "or a folder of your own images."
        )
    try:
        builder.download_and_prepare()
    except Exception as error:  # no network, no space, files to be fetched by hand: no common type
        reason = " ".join(str(error).split())[:500]
        raise OSError(
            f"{name} could not be downloaded and prepared in {builder.data_dir} "
            f"({type(error).__name__}: {reason}). 'digits_wild' comes with the course and needs no download."
        ) from error


def flowers_available() -> bool:
    """Whether the photos of tf_flowers are on this machine or can be downloaded."""
    default = os.path.expanduser("~/tensorflow_datasets")  # noqa: PTH111 (Path.home raises without a home)
    folder = pathlib.Path(os.environ.get("TFDS_DATA_DIR", default))
    prepared = any(folder.glob("tf_flowers/*/dataset_info.json"))
    return prepared or environment.can_reach(FLOWERS_URL)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5).close()
    except urllib.error.HTTPError:
        return True  # some servers refuse to send the header of a file alone
    except (OSError, ValueError):
        return False
    return True


def _encoded(builder: Any, part: str) -> tf.data.Dataset:
    import tensorflow_datasets as tfds

    # In the files' own order, which a parallel read would not keep.
    return builder.as_dataset(
        split=part,
        decoders={"image": tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )


def _stream(
    builder: Any, pieces: list[str], rows: np.ndarray, count: int, image_size: tuple[int, int]
) -> tf.data.Dataset:
    """``(image, label)`` of ``rows`` in the files' order, which TensorFlow Datasets has mixed."""
    examples = _encoded(builder, pieces[0])
    for part in pieces[1:]:
        examples = examples.concatenate(_encoded(builder, part))
    wanted = tf.constant(np.isin(np.arange(count), rows))
    members = examples.enumerate().filter(lambda row, example: wanted[row])
    return members.map(
        lambda row, example: (
            photos.decoded(lambda content: photos.read(content, image_size), example["image"], image_size),
            example["label"],
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).apply(tf.data.experimental.assert_cardinality(len(rows)))
