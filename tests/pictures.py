"""Real image files for the tests of data, photos, splits and catalog."""

import hashlib
import importlib.metadata
import io
import pathlib
import re

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from finetune_lib import data

FLOWERS = pathlib.Path(__file__).parents[2] / "shared" / "tfds"
needs_flowers = pytest.mark.skipif(not FLOWERS.exists(), reason="needs the tf_flowers photos in ../shared")
SIZE = (32, 48)  # height and width of every picture here, so that reading one leaves its pixels alone


def picture(number: int) -> PIL.Image.Image:
    """A picture like no other: coloured clouds."""
    clouds = np.random.default_rng(number).integers(0, 256, (4, 6, 3), dtype="uint8")
    return PIL.Image.fromarray(clouds).resize((48, 32))


def encoded(image: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def of_many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes over and over. One of 25,000,000 pixels took 20 seconds."""
    content = encoded(picture(0), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * count + content[-2:]


def write(path: pathlib.Path, content: bytes) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_classes(folder: pathlib.Path, first: int = 0, **counts: int) -> pathlib.Path:
    """``folder/CLASS/NUMBER.png`` for so many pictures of each class, numbered on from ``first``."""
    for name, count in counts.items():
        for number in range(first, first + count):
            write(folder / name / f"{number}.png", encoded(picture(number)))
        first += count
    return folder


def digest(image: PIL.Image.Image | np.ndarray) -> str:
    return hashlib.sha256(np.asarray(image).tobytes()).hexdigest()


def digests(stream: tf.data.Dataset) -> list[str]:
    """What the images are, in order."""
    return [digest(image) for image, _ in stream.as_numpy_iterator()]


def labels(stream: tf.data.Dataset) -> list[int]:
    return [int(label) for _, label in stream.as_numpy_iterator()]


def parts(dataset: data.ImageDataset) -> dict[str, set[str]]:
    """What the images of each part are."""
    found = {part: digests(getattr(dataset, part)) for part in dataset.sizes}
    assert {part: len(images) for part, images in found.items()} == dataset.sizes
    return {part: set(images) for part, images in found.items()}


def use_catalogue(monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path) -> None:
    """Have TensorFlow Datasets keep its files in ``folder``."""
    version = importlib.metadata.version("tensorflow-metadata")
    if tuple(map(int, version.split(".")[:2])) >= (1, 18):
        pytest.skip(f"needs tensorflow-metadata<1.18, as this project asks for; here is {version}")
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    import tensorflow_datasets as tfds

    # It reads the variable once, when it is imported, which another test may have caused.
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(folder), raising=False)


def said(words: str) -> str:
    """A pattern that finds these words, whatever the white space; ``...`` stands for anything."""
    pieces = [r"\s+".join(map(re.escape, piece.split())) for piece in words.split("...")]
    return "(?s)" + ".*".join(pieces)
