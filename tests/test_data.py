"""The digits and their writers; arrays; a learner's own photos; photos that do not fit into memory."""

import pathlib
import subprocess
import sys

import numpy as np
import pictures
import PIL.Image
import pytest
import sklearn.datasets
import tensorflow as tf

from finetune_lib import augmentation, data, digits, photos


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
    assert np.bincount(pictures.labels(first.train)).tolist() == [5] * 10


def test_each_image_is_known_by_its_place(tmp_path: pathlib.Path) -> None:
    dataset, every = data.load("digits_wild", labels_per_class=2), digits.arrays(wild=True)[0]
    pictures.write_classes(tmp_path, cats=8, dogs=8)
    folder = data.load(tmp_path, image_size=pictures.SIZE)
    arrays = data.load((every[:40], np.arange(40) % 2), class_names=["even", "odd"])
    for part in ("train", "validation", "test"):
        rows = [int(place.removeprefix("digit ")) for place in dataset.places[part]]
        assert np.array_equal(images_of(getattr(dataset, part)), every[rows])
        files = np.stack([np.asarray(PIL.Image.open(tmp_path / place)) for place in folder.places[part]])
        assert np.array_equal(images_of(getattr(folder, part)), files)
        numbers = [int(place.removeprefix("image ")) for place in arrays.places[part]]
        assert np.array_equal(images_of(getattr(arrays, part)), every[numbers])


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


def test_arrays_are_divided_as_files_are() -> None:
    images = np.stack([np.asarray(pictures.picture(number)) for number in range(40)])
    names = np.array(["dog", "cat"]).repeat(20)
    dataset = data.load((images, names))
    assert dataset.name == "arrays" and dataset.class_names == ("cat", "dog")
    assert dataset.sizes == {"train": 24, "validation": 8, "test": 8} and dataset.image_size == (32, 48)
    known = [pictures.digest(image) for image in images]
    found = pictures.parts(dataset)
    assert set().union(*found.values()) == set(known)
    for image, label in dataset.train.as_numpy_iterator():
        assert dataset.class_names[label] == names[known.index(pictures.digest(image))]
    again = data.load((images[::-1], names[::-1]), labels_per_class=4)
    assert pictures.parts(again) == found | {"train": pictures.parts(again)["train"]}
    assert pictures.parts(again)["train"] < found["train"] and again.sizes["train"] == 8
    assert again.provenance == dataset.provenance and len(dataset.provenance.sha256) == 64
    assert pictures.parts(data.load((images, names), split_seed=1)) != found


def test_arrays_of_many_forms_are_taken() -> None:
    generator = np.random.default_rng(0)
    grey = generator.integers(0, 256, (20, 8, 6))
    numbers = [0, 1] * 10
    wanted = pictures.parts(data.load((np.repeat(grey[..., None], 3, axis=-1).astype("uint8"), numbers)))
    forms = (grey.astype("uint8"), grey[..., None].astype("uint8"), grey.astype("uint8").tolist())
    for images in forms[:2]:
        assert pictures.parts(data.load((images, numbers))) == wanted
    for images in (grey, grey.astype("float64"), forms[2], tf.constant(grey)):
        dataset = data.load((images, numbers), class_names=["a", "b"])
        assert dataset.train.element_spec[0].dtype == tf.float32 and dataset.class_names == ("a", "b")
        assert dataset.image_size == (8, 6) and next(iter(dataset.train))[0].shape == (8, 6, 3)


def test_arrays_are_divided_by_group() -> None:
    images = np.stack([np.asarray(pictures.picture(number)) for number in range(60)])
    patients = np.arange(60) // 6
    dataset = data.load((images, np.arange(60) % 2), groups=patients)
    assert {part: len(set(groups)) for part, groups in dataset.groups.items()} == {
        "train": 6,
        "validation": 2,
        "test": 2,
    }
    known = [pictures.digest(image) for image in images]
    for part, groups in dataset.groups.items():
        found = pictures.digests(getattr(dataset, part))
        assert [str(patients[known.index(digest)]) for digest in found] == groups.tolist()


def test_a_learners_photos_come_in_three_parts() -> None:
    files = {
        "grey": [pictures.encoded(PIL.Image.new("L", (50, 40), shade)) for shade in range(5, 255, 25)],
        "red": [
            pictures.encoded(PIL.Image.new("RGBA", (40, 50), (shade, 0, 0, 255)))
            for shade in range(5, 255, 50)
        ],
    }
    dataset = data.from_photos(files | {"red": files["red"] * 2}, image_size=(32, 32))
    assert dataset.sizes == {"train": 9, "validation": 3, "test": 3} and dataset.name == "own_photos"
    assert dataset.class_names == ("grey", "red") and dataset.image_size == (32, 32)
    assert pictures.parts(dataset) == pictures.parts(data.from_photos(files, image_size=(32, 32)))
    examples = data.example_photos(dataset, ["red"], 1)
    assert photos.read(examples["red"][0], (32, 32)).tobytes() in {
        image.tobytes() for image in images_of(dataset.validation)
    }


def test_what_does_not_fit_into_memory_is_decoded_anew(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures.write_classes(tmp_path, cat=10, dog=10)
    decoded: list[bytes] = []
    read = photos.read
    monkeypatch.setattr(photos, "read", lambda content, size: decoded.append(content) or read(content, size))
    for room, anew in ((20, 0), (16, 4), (11, 12 + 4 + 4), (0, 20)):
        monkeypatch.setattr(data, "KEPT_BYTES", room * 32 * 48 * 3)
        dataset = data.load(tmp_path, image_size=pictures.SIZE)
        first = {part: pictures.digests(getattr(dataset, part)) for part in dataset.sizes}
        decoded.clear()
        assert {part: pictures.digests(getattr(dataset, part)) for part in dataset.sizes} == first
        assert len(decoded) == anew


GROWTH_OF_PEAK_MEMORY = """
import re, sys
from finetune_lib import data

def peak():  # in MB; resource.getrusage would count the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024

for data.KEPT_BYTES in (0, 2**40):
    dataset = data.load(sys.argv[1])
    list(dataset.train.batch(32).take(3))
    before = peak()
    for part in (dataset.train, dataset.validation, dataset.test) * 2:
        for image, label in part:
            pass
    print(peak() - before)
"""


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="measures memory as Linux does")
def test_photos_stream_through_little_memory_and_without_warnings(tmp_path: pathlib.Path) -> None:
    for number in range(1500):
        small = pictures.encoded(pictures.picture(number), "JPEG")
        pictures.write(tmp_path / "ab"[number % 2] / f"{number}.jpg", small)
    palette = pictures.encoded(pictures.picture(0).convert("P"), transparency=bytes([0, 128, *[255] * 254]))
    pictures.write(tmp_path / "a" / "palette.png", palette)
    cut_short = pictures.encoded(pictures.picture(1500), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    pictures.write(tmp_path / "b" / "exif.jpg", cut_short)
    command = [sys.executable, "-c", GROWTH_OF_PEAK_MEMORY, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    streamed, kept = map(int, run.stdout.split()[-2:])
    assert streamed < 60 and kept > 180  # MB; the photos are 226 MB when decoded
    assert "UserWarning" not in run.stderr
