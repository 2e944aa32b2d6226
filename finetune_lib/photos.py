"""Image files: read one upright and in colour, look through many, find them in folders (lesson 03)."""

import hashlib
import io
import multiprocessing.pool
import os
import pathlib
import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import PIL.Image
import PIL.ImageOps
import tensorflow as tf
import tqdm

from finetune_lib import splits

# What a photo's file name ends in. HEIC is named, and then refused, rather than overlooked.
ENDINGS = frozenset((".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"))
ENDINGS |= {".pbm", ".pgm", ".png", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
PART_NAMES = (
    dict.fromkeys(("train", "training"), "train")
    | dict.fromkeys(("validation", "valid", "val"), "validation")
    | dict.fromkeys(("test", "testing"), "test")
)
LISTED = 100  # how many unreadable files an error lists

# Pillow warns of odd metadata, which does not concern the pixels, and of large images. Filtered once and for
# all, since warnings.catch_warnings is not safe in the threads that read.
warnings.filterwarnings("ignore", module=r"PIL\.")


def require_size(image_size: tuple[int, int]) -> None:
    """Raise ValueError unless ``image_size`` is a height and a width in pixels."""
    shape = np.array(image_size)
    if shape.shape != (2,) or shape.dtype.kind != "i" or (shape < 1).any():
        raise ValueError(
            f"image_size is {image_size!r}; it is (height, width) in pixels, such as (224, 224)."
        )


def read(content: bytes, image_size: tuple[int, int]) -> np.ndarray:
    """Decode an image file: upright, as RGB, the largest centred cut of the wanted shape, scaled.

    Grey, palette, CMYK and transparent images are turned into RGB as Pillow does it; of 16 bits a pixel the
    upper 8 are kept; of a moving picture the first frame.

    Args:
        image_size: ``(height, width)``.

    Returns:
        uint8 ``(*image_size, 3)``, 0..255.

    Raises:
        OSError: if it is no image, is cut short, or is unreasonably large; the message says which.
    """
    if not content:
        raise OSError("the file is empty")
    height, width = image_size
    try:
        with PIL.Image.open(io.BytesIO(content)) as photo:
            # A JPEG can be decoded at a half, a quarter or an eighth of its size, which is faster.
            photo.draft(photo.mode, (2 * max(image_size), 2 * max(image_size)))
            upright = PIL.ImageOps.exif_transpose(photo)
            if upright.mode.startswith("I;16"):
                upright = PIL.Image.fromarray((np.asarray(upright) >> 8).astype("uint8"))
            if upright.mode not in ("I", "F"):
                return np.asarray(PIL.ImageOps.fit(upright.convert("RGB"), (width, height)))
    except PIL.UnidentifiedImageError:
        if content[4:8] == b"ftyp":
            raise OSError("it is HEIC or a video, which Pillow cannot read; save it as JPEG") from None
        raise OSError("it is not an image that Pillow can read") from None
    except PIL.Image.DecompressionBombError as error:
        raise OSError(f"it is unreasonably large: {error}") from error
    except Exception as error:  # damaged files make Pillow's decoders raise almost anything
        raise OSError(f"it is damaged or cut short ({str(error) or type(error).__name__})") from error
    raise OSError("it has one number of 32 bits a pixel, of unknown range; save it with 8 bits a colour")


def in_folder(
    folder: pathlib.Path,
    image_size: tuple[int, int],
    *,
    group_of: Callable[[pathlib.Path], str] | None = None,
    skip_unreadable: bool = False,
) -> splits.Collection:
    """The images of a folder that holds one folder for each class, or such folders under train, test ...

    Every file is read and decoded once, to find copies and damage now rather than in the middle of training.

    Args:
        folder: ``folder/CLASS/...`` or ``folder/PART/CLASS/...``, where PART is train, validation or test (or
            training, valid, val, testing). Inside a class folder images may stand in folders of any depth.
        group_of: for a file's path, relative to ``folder``, who or what made the image.
        skip_unreadable: leave out files that cannot be read, and say how many, instead of raising.

    Raises:
        ValueError: if there are no images, only one class, an empty class, or unreadable files.
        OSError: if the folder does not exist or cannot be read.
    """
    if not folder.is_dir():
        reason = "is a file; unpack it first" if folder.exists() else "does not exist"
        raise NotADirectoryError(f"{folder} {reason}. Give a folder that holds one folder for each class.")
    paths: list[pathlib.Path] = []
    parts: list[str] = []
    names: list[str] = []
    left_out: list[pathlib.Path] = []
    class_folders: dict[str, pathlib.Path] = {}
    for place, part in _part_folders(folder).items():
        for class_folder in _folders(place):
            files = _files(class_folder, "**/*")
            images = [path for path in files if path.suffix.lower() in ENDINGS]
            if not images:
                raise ValueError(_empty_class(class_folder, files))
            name = _text(class_folder.name)
            class_folders[name] = class_folder
            left_out += [path for path in files if path.suffix.lower() not in ENDINGS]
            paths += images
            parts += [part] * len(images)
            names += [name] * len(images)
        left_out += [path for path in _files(place, "*") if path.suffix.lower() in ENDINGS]
    if len(class_folders) < 2:
        raise ValueError(_too_few_classes(folder, class_folders, len(left_out)))
    class_names = sorted(class_folders)
    digests, problems = look_through(paths, image_size)
    if problems and not skip_unreadable:
        raise ValueError(_unreadable(problems))
    good = [row for row, digest in enumerate(digests) if digest]
    notes = []
    if problems:
        path, reason = next(iter(problems.items()))
        notes.append(
            f"{splits.were(len(problems), 'unreadable file')} left out, such as "
            f"{_text(path.relative_to(folder))} ({reason})."
        )
    if left_out:
        notes.append(
            f"{splits.were(len(left_out), 'file')} left out, not named like an image or outside the class "
            f"folders, such as {_text(left_out[0].relative_to(folder))}."
        )
    numbers = {name: number for number, name in enumerate(class_names)}
    labels = np.array([numbers[names[row]] for row in good], "int64")
    return splits.Collection(
        name=str(folder),
        class_names=tuple(class_names),
        labels=labels,
        digests=[digests[row] for row in good],
        places=[_text(paths[row].relative_to(folder)) for row in good],
        parts=np.array([parts[row] for row in good], str),
        groups=[_group(group_of, paths[row].relative_to(folder)) for row in good] if group_of else None,
        stream=lambda rows: stream_files([paths[good[row]] for row in rows], labels[rows], image_size),
        notes=tuple(notes),
    )


def look_through(
    paths: Sequence[pathlib.Path], image_size: tuple[int, int]
) -> tuple[list[str], dict[pathlib.Path, str]]:
    """Read and decode every file once, several at a time.

    Returns:
        For each file the SHA-256 of its content, ``""`` if it cannot be read; and for each of those why.
    """

    def look(path: pathlib.Path) -> tuple[str, str]:
        try:
            content = path.read_bytes()
            read(content, image_size)
        except OSError as error:
            return "", error.strerror or str(error)
        return hashlib.sha256(content).hexdigest(), ""

    # Threads suffice: Pillow decodes outside Python's lock.
    with multiprocessing.pool.ThreadPool() as pool:
        looked = list(progress(pool.imap(look, paths, chunksize=8), "reading images", len(paths)))
    problems = {path: reason for path, (digest, reason) in zip(paths, looked, strict=True) if not digest}
    return [digest for digest, _ in looked], problems


def stream_files(
    files: Sequence[pathlib.Path], labels: np.ndarray, image_size: tuple[int, int]
) -> tf.data.Dataset:
    """``(image, label)`` of each file in order, decoded when it is asked for, a few ahead."""

    def read_file(path: bytes) -> np.ndarray:
        try:
            return read(pathlib.Path(os.fsdecode(path)).read_bytes(), image_size)
        except OSError as error:
            raise OSError(f"{os.fsdecode(path)} was readable before and is not now: {error}") from error

    paths = tf.constant([os.fsencode(file) for file in files], tf.string)
    pairs = tf.data.Dataset.from_tensor_slices((paths, labels))
    return pairs.map(
        lambda path, label: (decoded(read_file, path, image_size), label), num_parallel_calls=tf.data.AUTOTUNE
    )


def decoded(
    function: Callable[[bytes], np.ndarray], content: tf.Tensor, image_size: tuple[int, int]
) -> tf.Tensor:
    """A Python function from bytes to uint8 ``(*image_size, 3)`` as a step of a ``tf.data`` stream."""
    image = tf.numpy_function(function, [content], tf.uint8, stateful=False)
    return tf.ensure_shape(image, (*image_size, 3))


def progress(items: Iterable, description: str, total: int) -> tqdm.tqdm:
    """A progress bar on the standard error stream, which appears only where it takes over two seconds."""
    return tqdm.tqdm(items, description, total, delay=2, unit=" images")


def _part_folders(folder: pathlib.Path) -> dict[pathlib.Path, str]:
    """Where class folders stand, and whose part that is: train, validation and test, or ``folder`` itself."""
    folders = _folders(folder)
    parts = {place: PART_NAMES[place.name.lower()] for place in folders if place.name.lower() in PART_NAMES}
    complete = "train" in parts.values() and len(parts) == len(folders)
    if complete:
        return parts
    if len(set(parts.values())) > 1:
        raise ValueError(
            f"{folder} holds the folders {', '.join(_text(place.name) for place in folders)}. If train, "
            "validation or test stand there, then train at least, and nothing else beside them: move the "
            "others away, or rename what is a class."
        )
    return {folder: ""}  # a single one beside others is a class: a train among cars


def _folders(place: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not _hidden(path.name))


def _files(place: pathlib.Path, pattern: str) -> list[pathlib.Path]:
    return sorted(
        path
        for path in place.glob(pattern)
        if path.is_file() and not any(map(_hidden, path.relative_to(place).parts))
    )


def _hidden(name: str) -> bool:
    # What Finder, Explorer, Jupyter and others leave behind, also inside of zip files.
    return name.startswith((".", "__MACOSX")) or name.lower() in ("thumbs.db", "desktop.ini")


def _group(group_of: Callable[[pathlib.Path], str], path: pathlib.Path) -> str:
    try:
        return str(group_of(path))
    except Exception as error:
        raise ValueError(f"The function groups failed for {_text(path)}: {error!r}") from error


def _text(path: str | os.PathLike) -> str:
    """A path that can be printed and written to files, even if its bytes are no text."""
    return os.fspath(path).encode(errors="backslashreplace").decode()


def _empty_class(class_folder: pathlib.Path, files: Sequence[pathlib.Path]) -> str:
    others = f", only {files[0].name} and the like" if files else ""
    return (
        f"The class folder {class_folder} holds no images{others}. Put images into it "
        f"({', '.join(sorted(ENDINGS - {'.heic', '.heif'}))}), or move it away."
    )


def _too_few_classes(folder: pathlib.Path, class_folders: dict[str, pathlib.Path], loose: int) -> str:
    wanted = (
        f"Make one folder for each class: {folder / 'cat'}, {folder / 'dog'}, ..., and put the images there."
    )
    for name, inside in class_folders.items():
        hint = f" If the classes are the folders inside it, give {_text(inside)}." if _folders(inside) else ""
        return f"{folder} holds a single class, {name!r}; it takes at least two.{hint} {wanted}"
    return f"{folder} holds {f'{loose} images, but no class folders' if loose else 'no images'}. {wanted}"


def _unreadable(problems: dict[pathlib.Path, str]) -> str:
    lines = [f"  {_text(path)}: {reason}" for path, reason in problems.items()]
    more = [f"  ... and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return "\n".join(
        [
            f"{len(lines)} image file{'' if len(lines) == 1 else 's'} cannot be read:",
            *lines[:LISTED],
            *more,
            "Mend or remove them, or leave them out: skip_unreadable=True, or --skip-unreadable.",
        ]
    )
