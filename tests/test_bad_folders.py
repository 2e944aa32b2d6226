"""Folders that cannot be used: each gets an error that says what is wrong and what to do."""

import pathlib
import shutil
import struct
import zlib
from collections.abc import Callable

import pictures
import pytest

from finetune_lib import data

JPEG = pictures.encoded(pictures.picture(100), "JPEG")
PNG = pictures.encoded(pictures.picture(100))
GIF = pictures.encoded(pictures.picture(100), "GIF")
FLOATS = pictures.encoded(pictures.picture(100).convert("F"), "TIFF")
VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(200)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
WEB_PAGE = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>"
BOTH = {"cat": 5, "dog": 5}


def bomb() -> bytes:
    """A PNG file of 48 KB with 20,000 x 20,000 pixels in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(2501 * 20_000)))
    return b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b"")


def added(name: str, content: bytes = b"") -> Callable[[pathlib.Path], object]:
    """5 cats, 5 dogs and one more file."""
    return lambda folder: pictures.write(pictures.write_classes(folder, **BOTH) / name, content)


def classes(**counts: int) -> Callable[[pathlib.Path], object]:
    return lambda folder: pictures.write_classes(folder, **counts)


def parts(**counts: dict[str, int]) -> Callable[[pathlib.Path], object]:
    return lambda folder: [
        pictures.write_classes(folder / part, 100 * first, **each)
        for first, (part, each) in enumerate(counts.items())
    ]


def each_file(pattern: str, content: bytes) -> Callable[[pathlib.Path], object]:
    """5 cats and 5 dogs, of which those files hold something else."""
    return lambda folder: [
        path.write_bytes(content) for path in pictures.write_classes(folder, **BOTH).glob(pattern)
    ]


def loose(folder: pathlib.Path) -> None:
    pictures.write_classes(folder.parent, **{folder.name: 7})


def under_both_names(folder: pathlib.Path) -> None:
    pictures.write_classes(folder, cat=5)
    shutil.copytree(folder / "cat", folder / "dog")


def group_of(path: pathlib.Path) -> str:
    return {"cat": "123", "dog": "124", "elk": "134"}[path.parts[0]][int(path.stem) % 3]


# What is in the folder "mine", what is said of it, and how it is loaded if not in the plainest way.
CASES: dict[str, tuple] = {
    "no such folder": (lambda folder: None, "mine does not exist. Give a folder that holds one folder for"),
    "a file": (lambda folder: folder.write_bytes(b"PK"), "mine is a file; unpack it first."),
    "nothing": (pathlib.Path.mkdir, "mine holds no images. Make one folder for each class: ...mine/cat"),
    "loose images": (loose, "holds 7 images, but no class folders. Make one folder for each class:"),
    "one class": (classes(cat=5), "a single class, 'cat'; it takes at least two. Make one folder for each"),
    "classes one level down": (
        parts(flowers={"rose": 5, "tulip": 5}),
        "a single class, 'flowers'; ...If the classes are the folders inside it, give ...mine/flowers.",
    ),
    "an empty class": (
        lambda folder: (pictures.write_classes(folder, **BOTH) / "elk").mkdir(),
        "The class folder ...elk holds no images. Put images into it (.avif, ...), or move it away.",
    ),
    "a class of text": (added("elk/a.txt"), "elk holds no images, only a.txt and the like. Put images"),
    "half a JPEG": (
        added("cat/x.jpg", JPEG[:-300]),
        "1 image file cannot be read: ...x.jpg: it is damaged or cut short (...) Mend or remove them, or "
        "leave them out: skip_unreadable=True, or --skip-unreadable.",
    ),
    "half a PNG": (added("cat/x.png", PNG[:-300]), "x.png: it is damaged or cut short (image file is trunc"),
    "half a GIF": (added("cat/x.gif", GIF[:-300]), "x.gif: it is damaged or cut short"),
    "no bytes": (added("cat/x.jpg"), "x.jpg: the file is empty"),
    "text": (added("cat/x.jpg", b"a cat"), "x.jpg: it is not an image that Pillow can read"),
    "a web page": (added("cat/x.png", WEB_PAGE), "x.png: it is not an image that Pillow can read"),
    "HEIC": (added("cat/x.HEIC", HEIC), "x.HEIC: it is HEIC or a video, ...; save it as JPEG"),
    "a video": (added("cat/x.jpg", VIDEO), "x.jpg: it is HEIC or a video, which Pillow cannot read"),
    "32-bit floats": (added("cat/x.tif", FLOATS), "x.tif: it has one number of 32 bits ...save it with 8"),
    "a bomb": (
        lambda folder: added("cat/x.png", bomb())(folder),
        "x.png: it is unreasonably large: Image size (400000000 pixels)",
    ),
    "many damaged files": (
        each_file("cat/*", b""),
        "5 image files cannot be read: ...0.png: ...1.png: ...2.png: ...3.png: ...4.png: the file is empty",
    ),
    "a class damaged, skipped": (
        each_file("cat/*", b""),
        "'cat' has only 0 different images to share out ...5 unreadable files were left out, such as cat/0",
        {"skip_unreadable": True},
    ),
    "all damaged, skipped": (
        each_file("*/*", WEB_PAGE),
        "'cat' has only 0 different images to share out ...10 unreadable files were left out",
        {"skip_unreadable": True},
    ),
    "a class not in test": (
        parts(train=BOTH, test={"cat": 3}),
        "Class 'dog' has no images in the test part of ...mine. Every class needs some in every part that "
        "you give; or give class folders without parts above them.",
    ),
    "a class not in train": (
        parts(train={"cat": 5}, val=BOTH),
        "Class 'dog' has no images in the train part",
    ),
    "no train": (
        parts(test=BOTH, val=BOTH),
        "holds the folders test, val. If train, validation or test stand there, then train at least",
    ),
    "parts beside classes": (
        parts(train=BOTH, test=BOTH, cows={"a": 3}),
        "the folders cows, test, train. ...nothing else beside them: move the others away, or rename",
    ),
    "two images of a class": (
        classes(cat=5, dog=2),
        "'dog' has only 2 different images to share out in ... It takes at least "
        "3: one for each of train, validation, test. Add images, or leave the class out.",
    ),
    "one image for two parts": (
        parts(train={"cat": 5, "dog": 1}, test=BOTH),
        "'dog' has only 1 different image to share out in ...at least 2: one for each of train, validation.",
    ),
    "a class of copies": (
        each_file("cat/*", PNG),
        "'cat' has only 1 different image to share out ...4 images were left out: identical to another one",
    ),
    "the same under two names": (
        under_both_names,
        "'cat' has only 0 different images to share out ...10 images were left out: the same image stands "
        "under different classes (cat/0.png = dog/0.png; ...). Decide which class is right.",
    ),
    "two groups": (
        classes(**BOTH),
        "'cat' has only 2 groups to share out",
        {"groups": lambda path: int(path.stem) % 2},
    ),
    "groups that cannot be dealt out": (
        classes(cat=3, dog=3, elk=3),
        "has 3 groups, but they hold other classes, too, and no way was found to give each of train, "
        "validation, test some of every class. Add or divide groups, or try another split_seed.",
        {"groups": group_of},
    ),
    "groups in two parts": (
        parts(train=BOTH, test=BOTH),
        "10 groups stand in more than one part of ...mine, for example '0' in test and train. ...Move each "
        "group's images into one part, or give class folders",
        {"groups": lambda path: int(path.stem) % 10},
    ),
    "groups that fail": (
        added("cat/x.png", PNG),
        "The function groups failed for cat/x.png: ValueError(",
        {"groups": lambda path: int(path.stem) % 3},
    ),
    "groups in a list": (classes(**BOTH), "For a folder, groups is a function of a file's", {"groups": [1]}),
    "class names": (classes(**BOTH), "class_names does not go with a folder", {"class_names": ["a", "b"]}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_bad_folder_gets(case: str, tmp_path: pathlib.Path) -> None:
    make, words, *options = CASES[case]
    make(tmp_path / "mine")
    kind = NotADirectoryError if case in ("no such folder", "a file") else ValueError
    with pytest.raises(kind, match=pictures.said(words.replace("/", str(pathlib.Path("/"))))) as caught:
        data.load(tmp_path / "mine", image_size=pictures.SIZE, **(options[0] if options else {}))
    assert caught.type is kind


def test_damaged_files_are_skipped_when_asked(tmp_path: pathlib.Path) -> None:
    pictures.write_classes(tmp_path, **BOTH)
    pictures.write(tmp_path / "cat" / "1 half.jpg", JPEG[:-300])
    pictures.write(tmp_path / "dog" / "2 page.jpg", WEB_PAGE)
    dataset = data.load(tmp_path, image_size=pictures.SIZE, skip_unreadable=True)
    assert sum(dataset.sizes.values()) == 10
    assert dataset.notes[0].startswith("2 unreadable files were left out, such as ")


def test_of_very_many_damaged_files_a_hundred_are_listed(tmp_path: pathlib.Path) -> None:
    pictures.write_classes(tmp_path, **BOTH)
    for number in range(130):
        pictures.write(tmp_path / "cat" / f"x{number}.jpg", b"")
    with pytest.raises(ValueError, match="130 image files cannot be read") as caught:
        data.load(tmp_path)
    assert "... and 30 more" in str(caught.value) and str(caught.value).count("the file is empty") == 100
