"""Images in: by name, from a folder, arrays or a few photos, in parts that share nothing (lesson 03)."""

import dataclasses
import io
import numbers
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import PIL.Image
import tensorflow as tf

from finetune_lib import arrays, augmentation, catalog, digits, photos, splits

PHOTO_SIZE = (224, 224)
KEPT_BYTES = 512 * 2**20
LEAST_PHOTOS = 4
# Tuned streams can take a minute to close, so that training seems to hang at its end (TensorFlow 2.21).
UNTUNED = tf.data.Options()
UNTUNED.autotune.enabled = False


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where images come from.

    Attributes:
        source: in words.
        url: where they can be had, ``""`` if nowhere known.
        licence: what one may do with them, ``""`` if unknown.
        sha256: of all images with their classes, whatever their order and file names; ``""`` if unknown.
    """

    source: str
    url: str = ""
    licence: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        known = [
            self.url,
            self.licence and f"licence: {self.licence}",
            self.sha256 and f"SHA-256 {self.sha256[:16]}…",
        ]
        return ", ".join([self.source, *filter(None, known)])


ARRAYS = Provenance("arrays given by the caller")


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
        provenance: where the images come from: URL, licence and hash, where known.
        augment: a change of an image that keeps its label and suits these images (see ``augmentation``).
        groups: for each part that has them, ``(size,)``: who or what made each image (a writer, a
            patient, a camera). Images of one group are alike, so a group never stands in two parts.
        places: likewise, if known, which image it is: ``"roses/12.jpg"``, ``"digit 915"``.
        notes: what was left out (copies, unreadable files), a sentence each; ``load`` prints them.
    """

    name: str
    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    class_names: tuple[str, ...]
    sizes: dict[str, int]
    image_size: tuple[int, int]
    provenance: Provenance
    augment: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    groups: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    places: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in ("train", "validation", "test"):
            object.__setattr__(self, part, getattr(self, part).with_options(UNTUNED))  # self is frozen

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {part}" for part, count in self.sizes.items())
        height, width = self.image_size
        return f"{self.name}: {len(self.class_names)} classes, {height}x{width} pixels, images: {counts}"


def load(
    source: str | os.PathLike | tuple[np.ndarray, np.ndarray],
    *,
    labels_per_class: int | None = None,
    seed: int = 0,
    image_size: tuple[int, int] | None = None,
    groups: Sequence | Callable[[pathlib.Path], str] | None = None,
    class_names: Sequence[str] | None = None,
    split_seed: int = 0,
    skip_unreadable: bool = False,
) -> ImageDataset:
    """Load labelled images, and divide them into training, validation and test parts.

    About 60% of each class train, 20% validate and 20% test, unless the source has parts of its own. Copies
    of an image, and images of one group, never stand in two parts (see ``splits.split``). Photos are decoded
    when they are asked for, so any number fits; what takes no more than 512 MB decoded is kept in memory.

    Args:
        source: one of

            - ``"digits"`` or ``"digits_wild"``, which come with scikit-learn and are split by writer;
            - a folder that holds one folder of images for each class, or such folders under ``train``,
              ``validation`` and ``test`` (missing ones are taken from ``train``);
            - the name of an image classification set in TensorFlow Datasets, such as ``"tf_flowers"``, which
              is downloaded the first time;
            - arrays ``(images, labels)``: images uint8, or numbers 0..255, ``(count, height, width, 3)``, or
              grey ``(count, height, width)``; labels ``(count,)``, whole numbers or names.
        labels_per_class: how many training images of each class to keep; None keeps all of them.
        seed: which training images are kept. Validation and test images never change with it.
        image_size: ``(height, width)`` to which photos are cut and scaled, by default 224x224. Digits and
            arrays keep their size.
        groups: who or what made each image: for arrays one entry an image; for a folder a function of a
            file's path relative to it, such as ``lambda path: path.stem.split("_")[0]``.
        class_names: for arrays with labels 0, 1, 2, ...: their names.
        split_seed: another one divides the images otherwise.
        skip_unreadable: leave out image files that cannot be read, and say how many, instead of raising.

    Raises:
        ValueError: for an unknown name; unreadable files; fewer than two classes; a class that would be
            missing from a part, or has fewer than ``labels_per_class`` training images; arguments that do
            not fit the source. The message says what to do.
        OSError: if a folder does not exist, or a set has to be downloaded and cannot be.
    """
    pair = isinstance(source, tuple) and len(source) == 2
    if not pair and not (isinstance(source, str | os.PathLike) and str(source)):
        raise ValueError(
            "Images come by a data set's name, from a folder, or as a pair of arrays (images, labels), not "
            f"from {source!r:.60}."
        )
    if image_size is not None:
        photos.require_size(image_size)
    if not isinstance(labels_per_class, numbers.Integral | None):
        raise ValueError(f"labels_per_class is {labels_per_class!r}; it is a whole number, or None: all.")
    if isinstance(source, str) and source in ("digits", "digits_wild"):
        _refuse(
            source,
            image_size=image_size,
            groups=groups,
            class_names=class_names,
            split_seed=split_seed or None,
        )
        return _load_digits(source, labels_per_class, seed)
    augment = augmentation.photos
    if isinstance(source, tuple):
        _refuse("a pair of arrays", image_size=image_size)
        if callable(groups):
            raise ValueError("For arrays, groups is a sequence with one entry an image.")
        found = arrays.in_arrays(*source, groups=groups, class_names=class_names)
        image_size, provenance, name = np.shape(source[0])[1:3], ARRAYS, "arrays"
    elif _is_folder(source):
        _refuse("a folder", class_names=class_names)
        if groups is not None and not callable(groups):
            raise ValueError("For a folder, groups is a function of a file's path; see data.load.")
        folder = pathlib.Path(_expanded(source)).absolute()
        image_size = image_size or PHOTO_SIZE
        found = photos.in_folder(folder, image_size, group_of=groups, skip_unreadable=skip_unreadable)
        provenance, name = Provenance(f"the folder {folder}"), folder.name
    else:
        _refuse("a set of TensorFlow Datasets", groups=groups, class_names=class_names)
        image_size = image_size or PHOTO_SIZE
        found, info = catalog.in_catalog(str(source), image_size)
        name = str(source).replace("/", "_")
        provenance = Provenance(
            f"TensorFlow Datasets {info.full_name}",
            url=info.homepage,
            licence=getattr(info.redistribution_info, "license", None) or "not stated",
        )
    rows, notes = splits.split(found, split_seed)
    if labels_per_class is not None:
        rows["train"] = splits.draw_per_class(found, rows["train"], labels_per_class, seed)
    for note in (notes := [*found.notes, *notes]):
        print(note)
    sizes = {part: len(members) for part, members in rows.items()}
    streams = {part: found.stream(members) for part, members in rows.items()}
    return ImageDataset(
        name=name,
        **(streams if pair else _kept(streams, sizes, image_size)),
        class_names=found.class_names,
        sizes=sizes,
        image_size=image_size,
        provenance=dataclasses.replace(provenance, sha256=splits.fingerprint(found)),
        augment=augment,
        groups={} if found.groups is None else _by_part(found.groups, rows),
        places=_by_part(found.places, rows),
        notes=tuple(notes),
    )


def from_photos(files: Mapping[str, Sequence[bytes]], *, image_size: tuple[int, int]) -> ImageDataset:
    """Make a data set of a learner's own pictures: a few of each thing, as encoded files.

    Args:
        files: for each class name the contents of its image files (JPEG, PNG, WebP ...), at least 4
            different ones; a file given twice counts once. About a fifth of each class, at least one, is kept
            for validation and as many for test.
        image_size: ``(height, width)`` that the backbone wants.

    Raises:
        ValueError: for fewer than two classes, fewer than 4 photos of a class, or a file that is no image.
    """
    if len(files) < 2:
        raise ValueError(f"It takes at least two things, with different names; photos came of {list(files)}.")
    photos.require_size(image_size)
    images, labels = [], []
    for label, (name, contents) in enumerate(files.items()):
        different = list(dict.fromkeys(contents))
        if len(different) < LEAST_PHOTOS:
            raise ValueError(
                f"{len(different)} different photos of {name!r} are too few; give at least {LEAST_PHOTOS}."
            )
        for content in different:
            try:
                images.append(photos.read(content, image_size))
            except OSError as error:
                raise ValueError(
                    f"Photo {contents.index(content) + 1} of {name!r} cannot be read: {error}. Save it as "
                    "JPEG or PNG, or leave it out."
                ) from error
            labels.append(label)
    own = load((np.stack(images), np.array(labels)), class_names=list(files))
    return dataclasses.replace(own, name="own_photos", provenance=Provenance("the learner's own photos"))


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


def from_arrays(
    name: str,
    class_names: Sequence[str],
    *,
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    provenance: Provenance = ARRAYS,
    augment: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = augmentation.photos,
    groups: dict[str, np.ndarray] | None = None,
    places: dict[str, np.ndarray] | None = None,
) -> ImageDataset:
    """Make an ``ImageDataset`` from arrays in memory.

    Args:
        train, validation, test: ``(images, labels)``; images uint8 or float32 ``(count, height, width, 3)``,
            raw RGB 0..255; labels integers ``(count,)`` from 0 to ``len(class_names) - 1``.
        augment, groups, places: see ``ImageDataset``.

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
        places=places or {},
        **streams,
    )


def _load_digits(name: str, labels_per_class: int | None, seed: int) -> ImageDataset:
    images, labels, writers = digits.arrays(wild=name == "digits_wild")
    rows = digits.split(labels, writers, labels_per_class, seed)
    return from_arrays(
        name,
        [str(digit) for digit in range(10)],
        **{part: (images[chosen], labels[chosen]) for part, chosen in rows.items()},
        provenance=Provenance(digits.SOURCE, digits.URL, digits.LICENCE),
        augment=augmentation.drawings,
        groups={part: writers[chosen] for part, chosen in rows.items()},
        places={part: np.array([f"digit {row}" for row in chosen]) for part, chosen in rows.items()},
    )


def _is_folder(source: str | os.PathLike) -> bool:
    """A path, or a name that stands for a folder here or cannot be anything else."""
    if not isinstance(source, str):
        return True
    return os.path.exists(_expanded(source)) or source.startswith((".", "/", "~")) or "\\" in source  # noqa: PTH110


def _expanded(source: str | os.PathLike) -> str:
    return os.path.expanduser(os.fspath(source))  # noqa: PTH111 (Path.expanduser raises for "~nobody")


def _by_part(groups: Sequence[str], rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {part: np.array([groups[row] for row in members]) for part, members in rows.items()}


def _kept(
    streams: dict[str, tf.data.Dataset], sizes: dict[str, int], image_size: tuple[int, int]
) -> dict[str, tf.data.Dataset]:
    """The parts that fit into memory are decoded once and kept, training first; the others each time anew."""
    room, result = KEPT_BYTES, {}
    for part in splits.PARTS:
        room -= sizes[part] * image_size[0] * image_size[1] * 3
        result[part] = streams[part].cache() if room >= 0 else streams[part]
    return result


def _refuse(source: str, **arguments: object) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"{name} does not go with {source}; leave it out.")
