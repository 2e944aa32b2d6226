"""Image files: every kind comes out upright and in colour; folders of many shapes are understood."""

import multiprocessing.pool
import os
import pathlib
import shutil
import signal
import time

import numpy as np
import pictures
import PIL.Image
import pytest
import tensorflow as tf

from finetune_lib import data, photos

UPRIGHT = PIL.Image.new("RGB", (48, 32), "red")
UPRIGHT.paste("lime", (24, 0, 48, 16))
UPRIGHT.paste("blue", (0, 16, 24, 32))
UPRIGHT.paste("white", (24, 16, 48, 32))
# How a camera that was turned has stored an upright picture, by what its EXIF entry then says.
STORED = {
    1: None,
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_90,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_270,
}


def difference(first: np.ndarray, second: object) -> float:
    return float(np.abs(first.astype(float) - np.asarray(second)).mean())


@pytest.mark.parametrize(
    ("kind", "modes", "loss"),
    [
        ("PNG", "RGB RGBA L LA 1 P", 0),
        ("TIFF", "RGB RGBA L LA 1 P CMYK", 0),
        ("BMP", "RGB L 1 P", 0),
        ("GIF", "L 1 P", 0),
        ("JPEG", "RGB L CMYK YCbCr", 6),
        ("WEBP", "RGB RGBA L", 6),
    ],
)
def test_every_kind_of_file_comes_out_in_colour(kind: str, modes: str, loss: float) -> None:
    for mode in modes.split():
        image = pictures.picture(0).convert(mode)
        result = photos.read(pictures.encoded(image, kind), pictures.SIZE)
        assert result.dtype == np.uint8 and result.shape == (32, 48, 3)
        assert difference(result, image.convert("RGB")) <= loss, mode


@pytest.mark.parametrize("transparency", [0, bytes([0, 128, *[255] * 254])], ids=["one", "all"])
def test_a_palette_with_transparency_keeps_its_colours(transparency: int | bytes) -> None:
    image = pictures.picture(0).convert("P")
    content = pictures.encoded(image, transparency=transparency)
    assert np.array_equal(photos.read(content, pictures.SIZE), image.convert("RGB"))


def test_of_sixteen_bits_the_upper_eight_are_kept() -> None:
    grey = np.arange(256, dtype="uint16").reshape(16, 16)
    for kind in ("PNG", "TIFF"):
        content = pictures.encoded(PIL.Image.fromarray(grey * 257), kind)
        assert np.array_equal(photos.read(content, (16, 16)), np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_photos_of_a_turned_camera_stand_upright(orientation: int, kind: str) -> None:
    how = STORED[orientation]
    stored = UPRIGHT if how is None else UPRIGHT.transpose(how)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    result = photos.read(pictures.encoded(stored, kind, exif=exif, quality=95), pictures.SIZE)
    corners = ([4, 4, 28, 28], [4, 44, 4, 44])
    assert difference(result[corners], np.asarray(UPRIGHT)[corners]) < 5


def test_the_middle_is_kept_in_proportion() -> None:
    wide = PIL.Image.new("RGB", (90, 30), "lime")
    wide.paste("red", (0, 0, 30, 30))
    wide.paste("blue", (60, 0, 90, 30))
    for image in (wide, wide.transpose(PIL.Image.Transpose.ROTATE_90)):
        assert (photos.read(pictures.encoded(image), (30, 30)) == [0, 255, 0]).all()
    smaller = photos.read(pictures.encoded(wide), (10, 30))
    assert (smaller[5, [1, 15, 28]] == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]).all()


@pytest.mark.parametrize("size", [(1, 1), (10_000, 10), (10, 10_000), (3000, 2000)])
def test_any_size_is_scaled(size: tuple[int, int]) -> None:
    for kind in ("JPEG", "PNG"):
        result = photos.read(pictures.encoded(PIL.Image.new("RGB", size, "red"), kind), (224, 160))
        assert result.shape == (224, 160, 3) and difference(result, [255, 0, 0]) < 2


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_of_a_moving_picture_the_first_frame_is_read(kind: str) -> None:
    red, blue = PIL.Image.new("RGB", (9, 9), "red"), PIL.Image.new("RGB", (9, 9), "blue")
    content = pictures.encoded(red, kind, save_all=True, append_images=[blue])
    assert difference(photos.read(content, (9, 9)), [255, 0, 0]) < 2


def test_a_folder_as_people_have_them(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    folder = pictures.write_classes(tmp_path / "my photos", **{"Größe XL": 5, "kočka 🐈": 5})
    camera = pictures.encoded(pictures.picture(90), "JPEG")
    pictures.write(folder / "Größe XL" / "2024.06" / "june [1]" / "IMG 0001.JPG", camera)
    pictures.write(folder / "Größe XL" / "2024.06" / "Scan.Png", pictures.encoded(pictures.picture(91)))
    for left_behind in (".DS_Store", "__MACOSX/cat/1.jpg", ".git/cat/1.jpg", "LICENCE.txt"):
        pictures.write(folder / left_behind, b"no image")
    for left_behind in ("Thumbs.db", "desktop.ini", "._1.jpg", ".ipynb_checkpoints/1.jpg", "__MACOSX/1.jpg"):
        pictures.write(folder / "kočka 🐈" / left_behind, b"no image")
    for stranger in ("kočka 🐈/notes.txt", "kočka 🐈/0001", "loose.jpg"):
        pictures.write(folder / stranger, b"no image")
    dataset = data.load(folder, image_size=pictures.SIZE)
    assert dataset.name == "my photos" and dataset.class_names == ("Größe XL", "kočka 🐈")
    assert sum(dataset.sizes.values()) == 12
    assert dataset.notes == (
        "3 files were left out, not named like an image or outside the class folders, such as "
        f"{pathlib.Path('kočka 🐈', '0001')}.",
    )
    assert capsys.readouterr().out == dataset.notes[0] + "\n"


@pytest.mark.parametrize(
    "names",
    [
        {"train": "train", "validation": "validation", "test": "test"},
        {"train": "Training", "validation": "Valid", "test": "TESTING"},
        {"train": "train", "validation": "val"},
        {"train": "train", "test": "test"},
        {"train": "train"},
    ],
)
def test_parts_that_are_given_stay_and_others_come_from_train(
    tmp_path: pathlib.Path, names: dict[str, str]
) -> None:
    given: dict[str, set[str]] = {}
    for first, (part, name) in enumerate(names.items()):
        pictures.write_classes(tmp_path / name, 100 * first, cat=10, dog=15)
        given[part] = {pictures.digest(pictures.picture(100 * first + number)) for number in range(25)}
    dataset = data.load(tmp_path, image_size=pictures.SIZE)
    found = pictures.parts(dataset)
    dealt = {part for part in found if part == "train" or part not in given}
    assert all(found[part] == given[part] for part in set(found) - dealt)
    assert set().union(*(found[part] for part in dealt)) == given["train"]
    assert dataset.sizes == {"train": 25 - 5 * (len(dealt) - 1)} | {
        part: 5 if part in dealt else 25 for part in ("validation", "test")
    }
    for part in found:
        assert set(pictures.labels(getattr(dataset, part))) == {0, 1}


def test_test_photos_without_classes_are_left_out(tmp_path: pathlib.Path) -> None:
    pictures.write_classes(tmp_path / "train", cat=10, dog=10)
    pictures.write(tmp_path / "test" / "1.png", pictures.encoded(pictures.picture(99)))
    dataset = data.load(tmp_path, image_size=pictures.SIZE)
    assert dataset.sizes == {"train": 12, "validation": 4, "test": 4}
    assert dataset.notes[0].endswith(f"such as {pathlib.Path('test', '1.png')}.")


@pytest.mark.parametrize("names", [("cat", "test"), ("car", "train")])
def test_a_class_may_be_called_like_a_part(tmp_path: pathlib.Path, names: tuple[str, str]) -> None:
    pictures.write_classes(tmp_path, **dict.fromkeys(names, 5))
    assert data.load(tmp_path).class_names == names


def test_a_folder_is_found_from_wherever_one_stands(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pictures.write_classes(tmp_path / "here" / "mine", cat=5, dog=5)
    monkeypatch.setenv("HOME", str(tmp_path / "here"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "here"))
    monkeypatch.chdir(tmp_path / "here")
    ways = ("mine", "./mine", "../here/mine/", "~/mine", pathlib.Path("mine"), folder)
    found = [data.load(way, image_size=pictures.SIZE) for way in ways]
    monkeypatch.chdir(tmp_path)
    assert all(pictures.parts(dataset) == pictures.parts(found[-1]) for dataset in found)
    assert {dataset.name for dataset in found} == {"mine"}


def test_links_are_followed_but_not_in_circles(tmp_path: pathlib.Path) -> None:
    stored = pictures.write_classes(tmp_path / "stored", cat=5, dog=4)
    single = pictures.write(tmp_path / "elsewhere.png", pictures.encoded(pictures.picture(50)))
    folder = tmp_path / "linked"
    folder.mkdir()
    try:
        (folder / "cat").symlink_to(stored / "cat", target_is_directory=True)
        (folder / "dog").symlink_to(stored / "dog", target_is_directory=True)
        (stored / "dog" / "single.png").symlink_to(single)
        (stored / "dog" / "broken.png").symlink_to(tmp_path / "nowhere.png")
        (stored / "cat" / "circle").symlink_to(stored, target_is_directory=True)
        (folder / "itself").symlink_to(folder / "itself", target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    dataset = data.load(folder)
    assert dataset.class_names == ("cat", "dog") and sum(dataset.sizes.values()) == 10


def test_names_that_are_no_text(tmp_path: pathlib.Path, capfd: pytest.CaptureFixture) -> None:
    pictures.write_classes(tmp_path, cat=4, dog=5)
    odd = [b"new\nline.png", b"caf\xe9.png", b"-rf \x1b[31m.png", b"\xff\xfe.png"]
    try:
        for number, name in enumerate(odd):
            pictures.write(
                tmp_path / "cat" / os.fsdecode(name), pictures.encoded(pictures.picture(90 + number))
            )
        shutil.move(tmp_path / "cat", tmp_path / os.fsdecode(b"c\xe4t"))
        pictures.write(tmp_path / "dog" / os.fsdecode(b"\xe9"), b"")
    except OSError:
        pytest.skip("this file system takes no such names")
    dataset = data.load(tmp_path)
    assert sum(len(images) for images in pictures.parts(dataset).values()) == 13
    assert dataset.class_names == ("c\\udce4t", "dog") and "\\udce9" in capfd.readouterr().out
    groups = data.load(tmp_path, groups=lambda path: path.name).groups
    assert sum(map(len, groups.values())) == 13
    pictures.write(tmp_path / "dog" / os.fsdecode(b"\xe9.png"), b"")
    with pytest.raises(ValueError, match=r"\\udce9\.png: the file is empty") as caught:
        data.load(tmp_path)
    str(caught.value).encode()


def test_a_folder_is_read_only(tmp_path: pathlib.Path) -> None:
    folder = pictures.write_classes(tmp_path / "mine", cat=5, dog=5)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}
    dataset = data.load(folder)
    assert pictures.parts(dataset)
    assert before == {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)


def test_a_file_without_permission_is_named(tmp_path: pathlib.Path) -> None:
    pictures.write_classes(tmp_path, cat=5, dog=5)
    (tmp_path / "cat" / "3.png").chmod(0)
    if os.access(tmp_path / "cat" / "3.png", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(ValueError, match=r"3\.png: Permission denied"):
        data.load(tmp_path)


def test_a_file_that_vanishes_is_named(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures.write_classes(tmp_path, cat=5, dog=5)
    dataset = data.load(tmp_path)
    shutil.rmtree(tmp_path / "dog")
    with pytest.raises(tf.errors.OpError, match=r"dog.\d\.png was readable before and is not now"):
        list(dataset.train)


def test_two_folders_can_be_read_at_once(tmp_path: pathlib.Path) -> None:
    folders = [
        pictures.write_classes(tmp_path / name, first, cat=40, dog=40)
        for name, first in (("a", 0), ("b", 90))
    ]
    with multiprocessing.pool.ThreadPool(4) as pool:
        found = pool.map(data.load, folders * 2)
    for dataset, folder in zip(found, folders * 2, strict=True):
        assert pictures.parts(dataset) == pictures.parts(data.load(folder))


def test_reading_many_images_can_be_interrupted(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures.write_classes(tmp_path, cat=500, dog=500)
    begun: list[bytes] = []

    def read_and_press_control_c(content: bytes, image_size: tuple[int, int]) -> None:
        begun.append(content)
        time.sleep(0.01)
        if len(begun) == 30:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(photos, "read", read_and_press_control_c)
    with pytest.raises(KeyboardInterrupt):
        data.load(tmp_path)
    time.sleep(0.5)
    stopped = len(begun)
    time.sleep(0.2)
    assert len(begun) == stopped < 300
