"""Images in: load a data set by name, from arrays or a few photos; keep its parts apart (lesson 03)."""

import dataclasses
import io
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import PIL.Image
import PIL.ImageOps
import tensorflow as tf

from finetune_lib import augmentation, digits, environment

FLOWERS_URL = "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz"
LEAST_PHOTOS = 4
KEPT_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class ImageDataset:
    """A labelled image collection in three parts that share no image and, where known, no maker.

    Attributes:
        name: what was loaded, for reports and folder names.
        train, validation, test: unbatched ``tf.data.Dataset`` of ``(image, label)``; image uint8 or float32
            ``(height, width, 3)``, raw RGB 0..255; label int64 ``()``.
        class_names: label ``i`` is called ``class_names[i]``.
        sizes: the number of images of each part, keyed ``"train"``, ``"validation"``, ``"test"``.
        image_size: ``(height, width)`` in pixels.
        provenance: where the images come from, and their licence.
        augment: a change of an image that keeps its label and suits these images (see ``augmentation``).
        groups: for each part that has them, int64 ``(size,)``: who or what made each image (a writer, a
            patient, a camera). Images of one group are alike, so a group never stands in two parts.
    """

    name: str
    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    class_names: tuple[str, ...]
    sizes: dict[str, int]
    image_size: tuple[int, int]
    provenance: str
    augment: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    groups: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {part}" for part, count in self.sizes.items())
        height, width = self.image_size
        return f"{self.name}: {len(self.class_names)} classes, {height}x{width} pixels, images: {counts}"


def load(name: str, *, labels_per_class: int | None = None, seed: int = 0) -> ImageDataset:
    """Load a data set by name.

    Args:
        name: ``"digits"`` or ``"digits_wild"``, which come with scikit-learn and are split by writer (see
            ``digits``), or the name of an image classification set in TensorFlow Datasets, for example
            ``"tf_flowers"``, which is downloaded once; its photos are cut square and scaled to 224x224.
        labels_per_class: how many training images of each class to keep; None keeps all of them.
        seed: which training images are kept. Validation and test images never change.

    Raises:
        ValueError: for an unknown name, or a class with fewer than ``labels_per_class`` training images.
        OSError: if a set has to be downloaded and cannot be.
    """
    if name in ("digits", "digits_wild"):
        images, labels, writers = digits.arrays(wild=name == "digits_wild")
        rows = {part: np.flatnonzero(np.isin(writers, who)) for part, who in digits.WRITERS.items()}
        if labels_per_class is not None:
            rows["train"] = draw_per_class(labels, rows["train"], labels_per_class, seed)
        return from_arrays(
            name,
            [str(digit) for digit in range(10)],
            train=(images[rows["train"]], labels[rows["train"]]),
            validation=(images[rows["validation"]], labels[rows["validation"]]),
            test=(images[rows["test"]], labels[rows["test"]]),
            provenance=digits.PROVENANCE,
            augment=augmentation.drawings,
            groups={part: writers[chosen] for part, chosen in rows.items()},
        )
    return load_tfds(name, labels_per_class=labels_per_class, seed=seed)


def load_tfds(
    name: str, *, labels_per_class: int | None, seed: int, image_size: tuple[int, int] = (224, 224)
) -> ImageDataset:
    """An image classification set of TensorFlow Datasets: 20% of each class to test, 20% to validate.

    Arguments and errors: as ``load``.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"There is no data set called {name!r}: neither 'digits' nor 'digits_wild', nor one of "
            "TensorFlow Datasets (https://www.tensorflow.org/datasets/catalog)."
        ) from error
    except Exception as error:
        raise OSError(
            f"{name} could not be downloaded and prepared ({type(error).__name__}: {error}). It needs a "
            "network the first time. Without one, use 'digits_wild', which comes with the course."
        ) from error
    if not {"image", "label"} <= set(builder.info.features):
        raise ValueError(
            f"{name} has no images with one label each; its features are {builder.info.features}."
        )
    encoded = builder.as_dataset(split="all", decoders={"image": tfds.decode.SkipDecoding()})
    labels = np.array([example["label"] for example in encoded.as_numpy_iterator()])
    # A fixed seed: whatever is drawn for training, the validation and test images stay the same.
    shuffled = np.random.default_rng(0).permutation(len(labels))
    rows: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        fifth = len(members) // 5
        rows["test"] += list(members[:fifth])
        rows["validation"] += list(members[fifth : 2 * fifth])
        rows["train"] += list(members[2 * fifth :])
    chosen = {part: np.sort(members) for part, members in rows.items()}
    if labels_per_class is not None:
        chosen["train"] = draw_per_class(labels, chosen["train"], labels_per_class, seed)

    def stream(part: str) -> tf.data.Dataset:
        wanted = tf.constant(np.isin(np.arange(len(labels)), chosen[part]))

        def decode(row: tf.Tensor, example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            photo = tf.io.decode_image(example["image"], channels=3, expand_animations=False)
            return square(photo, image_size), example["label"]

        members = encoded.enumerate().filter(lambda row, example: wanted[row])
        decoded = members.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        counted = decoded.apply(tf.data.experimental.assert_cardinality(len(chosen[part])))
        # A small part is decoded once and kept; a large one is decoded anew each time, so memory stays small.
        fits = len(chosen[part]) * image_size[0] * image_size[1] * 3 <= KEPT_BYTES
        return counted.cache() if fits else counted

    return ImageDataset(
        name=name,
        train=stream("train"),
        validation=stream("validation"),
        test=stream("test"),
        class_names=tuple(builder.info.features["label"].names),
        sizes={part: len(members) for part, members in chosen.items()},
        image_size=image_size,
        provenance=f"TensorFlow Datasets {builder.info.full_name}, {builder.info.homepage}",
        augment=augmentation.photos,
    )


def photos_available() -> bool:
    """Whether the photos of tf_flowers are on this machine or can be downloaded."""
    default = os.path.expanduser("~/tensorflow_datasets")  # noqa: PTH111 (Path.home raises without a home)
    folder = pathlib.Path(os.environ.get("TFDS_DATA_DIR", default))
    prepared = any(folder.glob("tf_flowers/*/dataset_info.json"))
    return prepared or environment.can_reach(FLOWERS_URL)


def square(photo: tf.Tensor, image_size: tuple[int, int]) -> tf.Tensor:
    """Cut the largest centred square and scale it: ``(height, width, 3)`` to uint8 ``(*image_size, 3)``."""
    height, width = tf.shape(photo)[0], tf.shape(photo)[1]
    side = tf.minimum(height, width)
    cut = tf.image.crop_to_bounding_box(photo, (height - side) // 2, (width - side) // 2, side, side)
    return tf.cast(
        tf.round(tf.clip_by_value(tf.image.resize(cut, image_size, antialias=True), 0, 255)), tf.uint8
    )


def from_photos(
    photos: Mapping[str, Sequence[bytes]], *, image_size: tuple[int, int], seed: int = 0
) -> ImageDataset:
    """Make a data set of a learner's own pictures: a few of each thing, as encoded files.

    Args:
        photos: for each class name the contents of its image files (JPEG, PNG, WebP ...), at least 4
            different ones; a file given twice counts once. A fifth of each class (at least one) is kept
            for validation and as many for test.
        image_size: ``(height, width)`` that the backbone wants.

    Raises:
        ValueError: for fewer than two classes, fewer than 4 photos of a class, or a file that is no image.
    """
    if len(photos) < 2:
        raise ValueError(
            f"It takes at least two things, with different names; photos came of {list(photos)}."
        )
    photos = {name: list(dict.fromkeys(files)) for name, files in photos.items()}
    for name, files in photos.items():
        if len(files) < LEAST_PHOTOS:
            raise ValueError(
                f"{len(files)} different photos of {name!r} are too few; give at least {LEAST_PHOTOS}."
            )
    generator = np.random.default_rng(seed)
    parts: dict[str, list[tuple[np.ndarray, int]]] = {"train": [], "validation": [], "test": []}
    for label, (name, files) in enumerate(photos.items()):
        decoded = []
        for number, content in enumerate(files, start=1):
            try:
                decoded.append(read_photo(content, image_size))
            except (OSError, PIL.Image.DecompressionBombError) as error:
                raise ValueError(
                    f"Photo {number} of {name!r} is not an image that can be read. Save it as JPEG or PNG "
                    "(phones may write HEIC), or leave it out."
                ) from error
        held_out = max(1, len(files) // 5)
        for place, index in enumerate(generator.permutation(len(files))):
            part = "test" if place < held_out else "validation" if place < 2 * held_out else "train"
            parts[part].append((decoded[index], label))
    for members in parts.values():
        generator.shuffle(members)  # type: ignore[arg-type]
    stacked = {
        part: (np.stack([image for image, _ in members]), np.array([label for _, label in members]))
        for part, members in parts.items()
    }
    return from_arrays(
        "own_photos",
        list(photos),
        train=stacked["train"],
        validation=stacked["validation"],
        test=stacked["test"],
        provenance="the learner's own photos",
        augment=augmentation.photos,
    )


def example_photos(dataset: ImageDataset, class_names: Sequence[str], count: int) -> dict[str, list[bytes]]:
    """Stand-ins for a learner's photos: ``count`` validation images of each class, as PNG files' contents."""
    files: dict[str, list[bytes]] = {name: [] for name in class_names}
    for image, label in dataset.validation.as_numpy_iterator():
        name = dataset.class_names[label]
        if name in files and len(files[name]) < count:
            buffer = io.BytesIO()
            PIL.Image.fromarray(image.astype("uint8")).save(buffer, "PNG")
            files[name].append(buffer.getvalue())
    return files


def read_photo(content: bytes, image_size: tuple[int, int]) -> np.ndarray:
    """Decode an image file, upright, as RGB, cut square and scaled: uint8 ``(*image_size, 3)``.

    Raises:
        OSError: if it is not an image (Pillow's ``UnidentifiedImageError``) or is cut short.
    """
    with PIL.Image.open(io.BytesIO(content)) as photo:
        upright = PIL.ImageOps.exif_transpose(photo).convert("RGB")
        return np.asarray(PIL.ImageOps.fit(upright, (image_size[1], image_size[0])))


def from_arrays(
    name: str,
    class_names: Sequence[str],
    *,
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    provenance: str = "arrays given by the caller",
    augment: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = augmentation.photos,
    groups: dict[str, np.ndarray] | None = None,
) -> ImageDataset:
    """Make an ``ImageDataset`` from arrays in memory.

    Args:
        train, validation, test: ``(images, labels)``; images uint8 or float32 ``(count, height, width, 3)``,
            raw RGB 0..255; labels integers ``(count,)`` from 0 to ``len(class_names) - 1``.
        augment, groups: see ``ImageDataset``.

    Raises:
        ValueError: if a part is empty, has another shape, or has labels without a class name.
    """
    parts = {"train": train, "validation": validation, "test": test}
    for part, (images, labels) in parts.items():
        if len(images) == 0:
            raise ValueError(f"The {part} part of {name!r} holds no images. Every part needs at least one.")
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(
                f"The {part} images of {name!r} have shape {images.shape}; "
                "they must be (count, height, width, 3). Turn grey images into RGB by repeating the channel."
            )
        if labels.shape != (len(images),):
            raise ValueError(f"The {part} part of {name!r} has {len(images)} images, labels {labels.shape}.")
        if labels.min() < 0 or labels.max() >= len(class_names):
            raise ValueError(
                f"The {part} labels of {name!r} run from {labels.min()} to {labels.max()}, "
                f"but there are {len(class_names)} class names (labels 0 to {len(class_names) - 1})."
            )
    if len({images.shape[1:] for images, _ in parts.values()}) > 1:
        sizes = {part: images.shape[1:3] for part, (images, _) in parts.items()}
        raise ValueError(f"The parts of {name!r} have images of different sizes, {sizes}. Scale them to one.")
    streams = {
        part: tf.data.Dataset.from_tensor_slices((images, np.asarray(labels, np.int64)))
        for part, (images, labels) in parts.items()
    }
    return ImageDataset(
        name=name,
        class_names=tuple(class_names),
        sizes={part: len(labels) for part, (_, labels) in parts.items()},
        image_size=(train[0].shape[1], train[0].shape[2]),
        provenance=provenance,
        augment=augment,
        groups=groups or {},
        **streams,
    )


def draw_per_class(labels: np.ndarray, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw ``count`` of ``rows`` for each class, without replacement; returns the chosen rows in file order.

    Raises:
        ValueError: if a class has fewer than ``count`` rows.
    """
    generator = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels[rows]):
        candidates = rows[labels[rows] == label]
        if len(candidates) < count:
            raise ValueError(f"Class {label} has {len(candidates)} training images; {count} were asked for.")
        chosen.append(generator.choice(candidates, count, replace=False))
    return np.sort(np.concatenate(chosen))
