"""The digits, their writers and splits; photos and arrays; what bad input is told."""

import io
import pathlib

import numpy as np
import PIL.Image
import pytest
import sklearn.datasets
import tensorflow as tf

from finetune_lib import augmentation, data, digits

FLOWERS = pathlib.Path(__file__).parents[2] / "shared" / "tfds"


def images_of(stream: tf.data.Dataset) -> np.ndarray:
    return np.stack([image for image, _ in stream.as_numpy_iterator()])


def test_writers_are_found_in_a_file_with_missing_scans() -> None:
    generator = np.random.default_rng(0)
    form = "0123456789" * 3 + "09556509898417735100227820126337334666491509528200176321746313917684314053"
    labels, truth = [], []
    for writer in range(20):
        missing = generator.choice(30, size=2, replace=False) if writer else []
        labels += [int(digit) for place, digit in enumerate(form) if place not in missing]
        truth += [writer] * (len(form) - len(missing))
    assert (digits.infer_writers(np.array(labels)) == truth).all()


def test_the_digits_have_fourteen_writers() -> None:
    writers = digits.infer_writers(sklearn.datasets.load_digits().target)
    sizes = np.bincount(writers)
    assert len(sizes) == 14 and sizes.min() >= 120 and sizes.max() <= 130
    assert (np.diff(writers) >= 0).all()
    assert np.flatnonzero(np.diff(writers))[6] + 1 == 906


def test_parts_share_no_writer_and_no_image() -> None:
    dataset = data.load("digits")
    writers = {part: set(dataset.groups[part]) for part in ("train", "validation", "test")}
    assert not writers["train"] & writers["validation"] and not writers["train"] & writers["test"]
    assert not writers["validation"] & writers["test"]
    seen = [{image.tobytes() for image in images_of(getattr(dataset, part))} for part in writers]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


def test_a_draw_changes_the_training_images_only() -> None:
    first, again, other = (data.load("digits_wild", labels_per_class=5, seed=seed) for seed in (0, 0, 1))
    assert first.sizes == {"train": 50, "validation": 260, "test": 891}
    assert np.array_equal(images_of(first.train), images_of(again.train))
    assert not np.array_equal(images_of(first.train), images_of(other.train))
    assert np.array_equal(images_of(first.test), images_of(other.test))
    labels = [int(label) for _, label in first.train]
    assert np.bincount(labels).tolist() == [5] * 10


def test_wild_images_differ_from_clean_ones_as_described() -> None:
    clean, labels, _ = digits.arrays(wild=False)
    wild, wild_labels, _ = digits.arrays(wild=True)
    assert clean.shape == wild.shape == (1797, 32, 32, 3) and wild.dtype == np.uint8
    assert np.array_equal(labels, wild_labels)
    # The same on every machine, but for a rounded pixel here and there.
    assert wild.mean() == pytest.approx(125.47, abs=0.02) and wild.std() == pytest.approx(77.95, abs=0.02)
    corners = wild[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean(axis=(1, 2))
    assert 0.4 < (corners > 127).mean() < 0.6  # about half are inverted: dark on bright


def test_distortions_depend_on_the_seed_alone() -> None:
    image = tf.constant(digits.arrays(wild=False)[0][0], tf.float32)
    for change in (augmentation.distort, augmentation.drawings, augmentation.photos):
        first = change(image, tf.constant([3, 4]))
        tf.random.normal((3,))  # a stateful generator would move on
        assert np.array_equal(first, change(image, tf.constant([3, 4])))
        assert not np.array_equal(first, change(image, tf.constant([3, 5])))
        assert first.shape == (32, 32, 3) and float(tf.reduce_min(first)) >= 0
        assert float(tf.reduce_max(first)) <= 255


def test_affine_rotates_zooms_and_shifts() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (9, 9, 3)).astype("float32")

    def changed(degrees: float = 0, zoom: float = 1, shift: tuple[float, float] = (0, 0)) -> np.ndarray:
        return augmentation.affine(
            tf.constant(image),
            degrees=tf.constant(degrees, tf.float32),
            zoom=tf.constant(zoom, tf.float32),
            shift=tf.constant(shift, tf.float32),
            fill_mode="constant",
        ).numpy()

    assert np.allclose(changed(), image, atol=1e-3)
    assert np.allclose(changed(degrees=90), np.rot90(image), atol=1e-2)
    assert np.allclose(changed(shift=(2 / 9, 0))[:, 2:], image[:, :-2], atol=1e-2)
    assert np.allclose(changed(zoom=2)[::2, ::2], image[2:7, 2:7], atol=1e-2)


@pytest.mark.parametrize(
    ("labels_per_class", "message"), [(10_000, "10000 were asked for"), (65, "has 6. training images")]
)
def test_too_many_labels_are_refused(labels_per_class: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data.load("digits", labels_per_class=labels_per_class)


def test_from_arrays_refuses_what_cannot_be_right() -> None:
    good = np.zeros((4, 8, 8, 3), "uint8"), np.array([0, 1, 0, 1])
    cases = {
        "holds no images": (good[0][:0], good[1][:0]),
        "must be .count, height, width, 3.": (good[0][..., 0], good[1]),
        "has 4 images, labels .3,.": (good[0], good[1][:3]),
        "run from 1 to 2": (good[0], good[1] + 1),
        "run from -1 to 0": (good[0], good[1] - 1),
    }
    for message, bad in cases.items():
        with pytest.raises(ValueError, match=message):
            data.from_arrays("mine", ["a", "b"], train=good, validation=bad, test=good)


def encoded(image: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_photos_come_out_upright_in_colour_and_in_three_parts() -> None:
    turned = PIL.Image.new("RGB", (40, 60), "red")
    turned.paste("blue", (0, 0, 40, 30))
    exif = PIL.Image.Exif()
    exif[0x0112] = 3  # upside down
    assert (
        data.read_photo(encoded(turned, "JPEG", exif=exif, quality=95), (32, 32))[4, 16] > [200, -1, -1]
    ).all()
    files = {
        "grey": [encoded(PIL.Image.new("L", (50, 40), shade)) for shade in range(0, 250, 25)],
        "clear": [
            encoded(PIL.Image.new("RGBA", (40, 50), (shade, 0, 0, 255))) for shade in range(0, 250, 50)
        ],
    }
    dataset = data.from_photos(files, image_size=(32, 32))
    assert dataset.sizes == {"train": 9, "validation": 3, "test": 3}
    assert dataset.class_names == ("grey", "clear") and images_of(dataset.train).shape == (9, 32, 32, 3)


def test_bad_photos_are_named() -> None:
    good = [encoded(PIL.Image.new("RGB", (40, 40), (shade, 0, 0))) for shade in range(4)]
    with pytest.raises(ValueError, match="at least two things"):
        data.from_photos({"cup": good}, image_size=(32, 32))
    with pytest.raises(ValueError, match="3 different photos of 'pen' are too few"):
        data.from_photos({"cup": good, "pen": good[:3]}, image_size=(32, 32))
    with pytest.raises(ValueError, match="1 different photos of 'pen'"):
        data.from_photos({"cup": good, "pen": good[:1] * 6}, image_size=(32, 32))
    for broken in (b"", b"not an image", good[0][:40]):
        with pytest.raises(ValueError, match="Photo 2 of 'pen'"):
            data.from_photos({"cup": good, "pen": [good[0], broken, *good[2:]]}, image_size=(32, 32))


def test_an_unknown_name_is_told_so() -> None:
    with pytest.raises(ValueError, match="no data set called 'digitz'"):
        data.load("digitz")


@pytest.mark.skipif(not FLOWERS.exists(), reason="needs the prepared tf_flowers photos in ../shared")
def test_flowers_from_tensorflow_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(FLOWERS))
    import tensorflow_datasets as tfds

    # TFDS reads the variable once, when it is imported, which another test may have caused.
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(FLOWERS), raising=False)
    dataset = data.load("tf_flowers", labels_per_class=3)
    assert dataset.class_names == ("dandelion", "daisy", "tulips", "sunflowers", "roses")
    assert dataset.sizes == {"train": 15, "validation": 200, "test": 200}
    assert np.bincount([int(label) for _, label in dataset.train]).tolist() == [3] * 5
    image, _ = next(iter(dataset.test))
    assert image.shape == (224, 224, 3) and 200 < float(tf.reduce_max(image)) <= 255
