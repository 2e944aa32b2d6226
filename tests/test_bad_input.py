"""Names, arrays, photos and settings that cannot be right: each gets an error that says what to do."""

import numpy as np
import pictures
import pytest

from finetune_lib import data

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 6, 3), dtype="uint8")
LABELS = np.arange(20) % 2
PHOTOS = [pictures.encoded(pictures.picture(number)) for number in range(12)]

ARRAYS = {
    "flat images": (IMAGES.reshape(20, -1), LABELS, "shape (20, 144) and labels of shape (20,) do not fit:"),
    "one image": (IMAGES[0], LABELS[0], "shape (8, 6, 3) and labels of shape () do not fit: images are"),
    "four channels": (IMAGES[..., [0, 1, 2, 0]], LABELS, "Images of shape (20, 8, 6, 4) and labels of shape"),
    "channels first": (IMAGES.transpose(0, 3, 1, 2), LABELS, "Images of shape (20, 3, 8, 6) and labels"),
    "too few labels": (IMAGES, LABELS[:19], "shape (20, 8, 6, 3) and labels of shape (19,) do not fit"),
    "one-hot labels": (IMAGES, np.eye(2)[LABELS], "labels of shape (20, 2) do not fit: ...labels are "),
    "nothing": (IMAGES[:0], LABELS[:0], "Images of shape (0, 8, 6, 3) ...count is at least 1."),
    "images of two sizes": ([*IMAGES, IMAGES[0, :4]], LABELS, "The images differ in size. Scale them"),
    "file names": (np.array(["a.jpg"] * 20), LABELS, "Images of shape (20,) and labels of shape (20,)"),
    "scaled to 1": (IMAGES / 255, LABELS, "The pixels run from 0 to 1; they must be raw, 0 to 255 ...* 255."),
    "scaled to -1": (IMAGES / 127.5 - 1, LABELS, "The pixels run from -1 to 1; they must be raw"),
    "minus the mean": (IMAGES - 120.0, LABELS, "The pixels run from -120 to 135; they must be raw"),
    "16 bits": (IMAGES.astype("uint16") * 257, LABELS, "The pixels run from 0 to 65535; they must be raw"),
    "zeros and ones": (IMAGES % 2, LABELS, "The pixels run from 0 to 1; they must be raw, 0 to 255"),
    "not a number": (np.where(IMAGES > 250, np.nan, IMAGES), LABELS, "The pixels run from nan to nan; they"),
    "an infinite pixel": (np.where(IMAGES > 250, np.inf, IMAGES), LABELS, "The pixels run from 0 to inf;"),
    "labels with a point": (IMAGES, LABELS / 1, "labels of float64 do not fit: ...whole numbers (labels.ast"),
    "one class": (IMAGES, LABELS * 0, "It takes at least two classes; all labels are '0'."),
    "two images of a class": (IMAGES, [0, 0] + [1] * 18, "'0' has only 2 different images to share out"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARRAYS)
def test_what_bad_arrays_get(case: str) -> None:
    images, labels, words = ARRAYS[case]
    with pytest.raises(ValueError, match=pictures.said(words)):
        data.load((images, labels))


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        (LABELS + 1, {"class_names": ["a", "b"]}, "whole numbers from 0 to 1; they run from 1 to 2."),
        (LABELS - 1, {"class_names": ["a", "b"]}, "whole numbers from 0 to 1; they run from -1 to 0."),
        (["a", "b"] * 10, {"class_names": ["a", "b"]}, "With 2 class names the labels must be whole numbers"),
        (LABELS, {"class_names": ["a", "b", "c"]}, "'c' has only 0 different images to share out"),
        (LABELS, {"class_names": ["a"]}, "With 1 class names the labels must be whole numbers from 0 to 0"),
        (LABELS, {"groups": [1, 2, 3]}, "For 20 images in arrays, groups is a sequence of 20 entries."),
        (LABELS, {"groups": str}, "For arrays, groups is a sequence with one entry an image."),
        (LABELS, {"groups": LABELS}, "'0' has only 1 group to share out"),
        (LABELS, {"image_size": (8, 6)}, "image_size does not go with a pair of arrays; leave it out."),
        (LABELS, {"labels_per_class": 7}, "'0' has 6 training images; 7 were asked for as labels_per_class."),
        (
            LABELS,
            {"labels_per_class": 0},
            "0 were asked for as labels_per_class. Ask for 1 to 6, or for none",
        ),
        (LABELS, {"labels_per_class": -5}, "has 6 training images; -5 were asked for"),
        (LABELS, {"labels_per_class": 0.5}, "labels_per_class is 0.5; it is a whole number, or None: all."),
        (LABELS, {"labels_per_class": "5"}, "labels_per_class is '5'; it is a whole number"),
    ],
)
def test_what_bad_settings_for_arrays_get(labels: np.ndarray, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=pictures.said(words)):
        data.load((IMAGES, labels), **options)


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        (
            "",
            {},
            "by a data set's name, from a folder, or as a pair of arrays (images, labels), not from ''.",
        ),
        (None, {}, "or as a pair of arrays (images, labels), not from None."),
        ([IMAGES, LABELS], {}, "or as a pair of arrays (images, labels), not from [array("),
        ((IMAGES,), {}, "or as a pair of arrays (images, labels), not from (array("),
        (IMAGES, {}, "or as a pair of arrays (images, labels), not from array("),
        ("digits", {"image_size": (224, 224)}, "image_size does not go with digits; leave it out."),
        ("digits", {"groups": [1]}, "groups does not go with digits; leave it out."),
        ("digits", {"class_names": ["a"]}, "class_names does not go with digits"),
        ("digits_wild", {"split_seed": 1}, "split_seed does not go with digits_wild; leave it out."),
        (
            "digits",
            {"labels_per_class": 65},
            "Class 4 has 64 training images; 65 were asked for ...Ask for 1 to 64",
        ),
        ("digits", {"labels_per_class": 0}, "training images; 0 were asked for"),
        ("digits", {"labels_per_class": 5.0}, "labels_per_class is 5.0; it is a whole number"),
        (
            "tf_flowers",
            {"groups": str},
            "groups does not go with a set of TensorFlow Datasets; leave it out.",
        ),
        ("tf_flowers", {"class_names": ["a", "b"]}, "class_names does not go with a set of TensorFlow Data"),
        ("tf_flowers", {"image_size": 224}, "image_size is 224; it is (height, width) in pixels, such as"),
        ("tf_flowers", {"image_size": (0, 0)}, "image_size is (0, 0); it is (height, width) in pixels"),
        ("tf_flowers", {"image_size": (224, 224, 3)}, "image_size is (224, 224, 3); it is (height, width)"),
        ("tf_flowers", {"image_size": (0.5, 0.5)}, "image_size is (0.5, 0.5); it is (height, width) in pix"),
        (
            "~nobody-of-this-name/x",
            {},
            "x does not exist. Give a folder that holds one folder for each class",
        ),
        ("./nowhere", {}, "nowhere does not exist. Give a folder that holds"),
    ],
)
def test_what_bad_sources_and_settings_get(source: object, options: dict, words: str) -> None:
    with pytest.raises((ValueError, NotADirectoryError), match=pictures.said(words)):
        data.load(source, **options)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"cup": PHOTOS}, "It takes at least two things, with different names; photos came of ['cup']."),
        ({}, "It takes at least two things"),
        (
            {"cup": PHOTOS[:6], "pen": PHOTOS[6:9]},
            "3 different photos of 'pen' are too few; give at least 4.",
        ),
        ({"cup": PHOTOS[:6], "pen": PHOTOS[6:7] * 6}, "1 different photos of 'pen' are too few"),
        ({"cup": PHOTOS[:6], "pen": []}, "0 different photos of 'pen' are too few"),
        (
            {"cup": PHOTOS[:6], "pen": [*PHOTOS[6:], b""]},
            "Photo 7 of 'pen' cannot be read: the file is empty.",
        ),
        (
            {"cup": PHOTOS[:6], "pen": [b"a pen", *PHOTOS[6:]]},
            "Photo 1 of 'pen' cannot be read: it is not an ",
        ),
        (
            {"cup": PHOTOS[:6], "pen": [*PHOTOS[6:], PHOTOS[0][:-99]]},
            "Photo 7 of 'pen' cannot be read: it is ",
        ),
        ({"cup": PHOTOS[:6], "pen": [*PHOTOS[6:], "a.jpg"]}, "Photo 7 of 'pen' cannot be read: ...'str'"),
        ({"cup": PHOTOS[:6], "pen": PHOTOS[:6]}, "has only 0 different images ...under different classes"),
    ],
)
def test_what_bad_photos_get(files: dict, words: str) -> None:
    with pytest.raises(ValueError, match=pictures.said(words)):
        data.from_photos(files, image_size=(16, 16))


def test_what_a_bad_size_for_photos_gets() -> None:
    with pytest.raises(ValueError, match=pictures.said("image_size is 16; it is (height, width) in pixels")):
        data.from_photos({"cup": PHOTOS[:6], "pen": PHOTOS[6:]}, image_size=16)
