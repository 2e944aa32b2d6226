"""AWS Lambda bundles: the notebook's answers, no TensorFlow, and a reason for whatever cannot be answered."""

import base64
import copy
import importlib.metadata
import importlib.util
import json
import logging
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request
import venv
import zlib
from collections.abc import Iterator
from typing import Any

import hypothesis
import hypothesis.strategies as st
import keras
import lambda_runtime
import numpy as np
import pictures
import PIL.Image
import pytest
import scipy.special
import small_models
import tensorflow_datasets as tfds

from finetune_lib import catalog, classifier, compression, evaluation, lambda_bundle, photos, serving

NAMES = ["zero", "one", "two", "three", "four", "fünf", "六", "7", 'say "8"', "nine & more"]
SIZE = (32, 32)
# Pillow warns of odd images, and of large ones before the handler refuses them.
pytestmark = pytest.mark.filterwarnings("ignore")
FILES = {
    f"{kind} {number}": pictures.encoded(pictures.picture(number), kind)
    for kind in ("PNG", "JPEG", "GIF", "BMP")
    for number in range(5)
}


def answering() -> keras.Model:
    """GlyphNet with a head of random numbers, whose answers differ from image to image."""
    model = classifier.build("GlyphNet", NAMES, image_size=SIZE)
    kernel, bias = model.get_layer("logits").get_weights()
    random = np.random.default_rng(0)
    model.get_layer("logits").set_weights([random.normal(size=kernel.shape), random.normal(size=bias.shape)])
    return model


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return answering()


@pytest.fixture(scope="module")
def bundle(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return serving.export_lambda(model, tmp_path_factory.mktemp("float32") / "bundle", NAMES)


@pytest.fixture(scope="module")
def function(bundle: pathlib.Path) -> types.ModuleType:
    return imported(bundle)


def imported(bundle: pathlib.Path) -> types.ModuleType:
    """A bundle's handler.py, as a cold start imports it."""
    specification = importlib.util.spec_from_file_location("handler_of_a_bundle", bundle / "handler.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def sample(bundle: pathlib.Path) -> dict[str, Any]:
    return json.loads((bundle / "event.json").read_text())


def request(bundle: pathlib.Path, content: bytes, kind: str = "image/png") -> dict[str, Any]:
    """The event for a file that is sent by POST."""
    event = sample(bundle) | {"body": base64.b64encode(content).decode()}
    event["headers"]["content-type"] = kind
    return event


def answered(function: types.ModuleType, event: object) -> tuple[int, dict[str, Any]]:
    """Status and body, once the response has been looked at: JSON, and an error that says something."""
    response = function.handler(event, None)
    body = json.loads(response["body"])
    json.dumps(response, allow_nan=False)
    assert response["headers"]["Content-Type"] == "application/json"
    if response["statusCode"] == 200:
        assert abs(sum(body["probabilities"].values()) - 1) < 0.02
    else:
        assert 400 <= response["statusCode"] < 500 and list(body) == ["error"] and len(body["error"]) > 30
        assert "Traceback" not in body["error"] and ".py" not in body["error"]
    return response["statusCode"], body


def probabilities(function: types.ModuleType, bundle: pathlib.Path, content: bytes) -> np.ndarray:
    status, body = answered(function, request(bundle, content))
    assert status == 200
    assert body["class"] == max(body["probabilities"], key=body["probabilities"].__getitem__)
    return np.array(list(body["probabilities"].values()))


def images(files: dict[str, bytes], size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.stack([photos.read(content, size) for content in files.values()]).astype("float32")


def test_a_bundle_holds_all_that_lambda_needs(bundle: pathlib.Path, function: types.ModuleType) -> None:
    files = {"Dockerfile", "event.json", "handler.py", "labels.json", "model.tflite", "requirements.txt"}
    assert {path.name for path in bundle.iterdir()} - {"__pycache__"} == files | {"template.yaml"}
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"], "nothing else is left"
    pinned = dict(line.split("==") for line in (bundle / "requirements.txt").read_text().splitlines())
    assert {"numpy", "pillow", "ai-edge-litert"} < set(pinned) and len(pinned) < 12
    assert all(importlib.metadata.version(name) == version for name, version in pinned.items())
    assert not {"tensorflow", "keras"} & set(pinned)
    python = f"lambda/python:3.{max(12, sys.version_info.minor)}\n"
    assert re.findall(r"^FROM public.ecr.aws/(.*\n)", (bundle / "Dockerfile").read_text(), re.M) == [python]
    status, body = answered(function, sample(bundle))
    assert status == 200 and list(body["probabilities"]) == NAMES and re.fullmatch(r"\w{12}", body["model"])
    assert len((bundle / "handler.py").read_text().splitlines()) < 150


def test_it_answers_what_keras_answers(
    model: keras.Model, bundle: pathlib.Path, function: types.ModuleType
) -> None:
    answers = np.array([probabilities(function, bundle, content) for content in FILES.values()])
    outputs = model.predict(images(FILES), verbose=0)
    assert np.abs(answers - evaluation.to_probabilities(model, outputs)).max() < 1e-5
    assert len(set(answers.argmax(axis=-1))) > 1, "the pictures differ"
    runner = compression.LiteRTModel((bundle / "model.tflite").read_bytes())
    assert np.array_equal(
        answers, scipy.special.softmax(runner.predict(images(FILES), batch_size=1), axis=-1)
    )


def test_int8_answers_what_the_file_answers(model: keras.Model, tmp_path: pathlib.Path) -> None:
    bundle = serving.export_lambda(model, tmp_path / "b", NAMES, kind="int8", representative=images(FILES))
    function = imported(bundle)
    assert function.INPUT["dtype"] == np.uint8
    answers = np.array([probabilities(function, bundle, content) for content in FILES.values()])
    runner = compression.LiteRTModel((bundle / "model.tflite").read_bytes())
    assert np.array_equal(
        answers, scipy.special.softmax(runner.predict(images(FILES), batch_size=1), axis=-1)
    )
    expected = evaluation.to_probabilities(model, model.predict(images(FILES), verbose=0))
    assert np.mean(answers.argmax(axis=-1) == expected.argmax(axis=-1)) >= 0.8


@pytest.mark.parametrize("ending", ["softmax", "sigmoid", None])
def test_models_that_end_in_probabilities_or_in_one_number(
    ending: str | None, tmp_path: pathlib.Path
) -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 6, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 99)(image))
    model = keras.Model(image, keras.layers.Dense(3 if ending == "softmax" else 1, activation=ending)(x))
    names = NAMES[: 3 if ending == "softmax" else 2]
    bundle = serving.export_lambda(model, tmp_path / "bundle", names)
    function = imported(bundle)
    answers = np.array([probabilities(function, bundle, content) for content in FILES.values()])
    outputs = model.predict(images(FILES, (8, 6)), verbose=0)
    assert np.abs(answers - evaluation.to_probabilities(model, outputs)).max() < 1e-5


def zoo() -> dict[str, bytes]:
    """Files of every kind that is accepted, and of every kind of number in them."""
    picture, exif = pictures.picture(1), PIL.Image.Exif()
    exif[0x0112] = 6
    transparency = bytes([0, 128, *[255] * 254])
    large = PIL.Image.effect_noise((2000, 1500), 60).convert("RGB")
    grey = PIL.Image.fromarray(np.arange(1536, dtype="uint16").reshape(32, 48) * 42)
    palette = picture.convert("P")
    files = {
        f"{kind} {mode}": pictures.encoded(picture.convert(mode), kind)
        for kind, modes in {
            "PNG": "RGB RGBA L LA 1 P",
            "JPEG": "RGB L CMYK YCbCr",
            "GIF": "L 1 P",
            "WEBP": "RGB RGBA L",
            "BMP": "RGB L 1 P",
        }.items()
        for mode in modes.split()
    }
    return files | {
        "PNG of 16 bits": pictures.encoded(grey),
        "PNG of a transparent palette": pictures.encoded(palette, transparency=transparency),
        "JPEG of a turned camera": pictures.encoded(picture, "JPEG", exif=exif),
        "PNG of a turned camera": pictures.encoded(picture, exif=exif),
        "WEBP of a turned camera": pictures.encoded(picture, "WEBP", exif=exif),
        "large JPEG": pictures.encoded(large, "JPEG", quality=70),
        "large progressive JPEG": pictures.encoded(large, "JPEG", quality=70, progressive=True, exif=exif),
        "JPEG of two frames": pictures.encoded(picture, "MPO", save_all=True, append_images=[large]),
        "moving GIF": pictures.encoded(palette, "GIF", save_all=True, append_images=[large.resize((48, 32))]),
        "one pixel": pictures.encoded(PIL.Image.new("RGB", (1, 1), "red")),
        "a line": pictures.encoded(PIL.Image.new("L", (1, 5000), 77)),
    }  # fmt: skip


def test_it_sees_the_pixels_that_the_notebook_sees(
    bundle: pathlib.Path, function: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = zoo()
    for name, content in files.items():
        for size in ((32, 32), (48, 20), (7, 31), (224, 224)):
            monkeypatch.setitem(function.LABELS, "image_size", list(size))
            seen = function.read(content)
            assert seen.dtype == np.uint8 and np.array_equal(seen, photos.read(content, size)), (name, size)
        monkeypatch.setitem(function.LABELS, "image_size", list(SIZE))
        assert answered(function, request(bundle, content, "application/octet-stream"))[0] == 200, name


def test_api_gateways_older_events_and_odd_spellings_are_understood(
    bundle: pathlib.Path, function: types.ModuleType
) -> None:
    event = request(bundle, FILES["PNG 0"])
    expected = answered(function, event)
    older = {
        "httpMethod": "POST",
        "path": "/classify",
        "headers": {"Content-Type": "IMAGE/PNG; charset=binary"},
        "multiValueHeaders": {"Content-Type": ["image/png"]},
        "queryStringParameters": None,
        "requestContext": {"httpMethod": "POST", "stage": "prod"},
        "body": event["body"],
        "isBase64Encoded": True,
    }
    assert answered(function, older) == expected
    for kind in ("image/jpeg", "image/jpg", " image/png ;x=y", "application/octet-stream"):
        assert answered(function, request(bundle, FILES["PNG 0"], kind)) == expected, "what it is decides"


def without(event: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in keys}


def bad_events(good: dict[str, Any]) -> dict[str, tuple[object, int, str]]:
    """What may come instead of a good event, the status it gets, and words that the message has."""

    def sent(content: bytes, **changes: object) -> dict[str, Any]:
        return good | {"body": base64.b64encode(content).decode()} | changes

    def method(name: object) -> dict[str, Any]:
        context = good["requestContext"]
        return good | {"requestContext": context | {"http": context["http"] | {"method": name}}}

    def kind(name: object) -> dict[str, Any]:
        return good | {"headers": good["headers"] | {"content-type": name}}

    png, gif = FILES["PNG 0"], FILES["GIF 0"]
    no_http = {
        f"no HTTP {number}": (event, 400, "no HTTP request")
        for number, event in enumerate([None, [], [good], 7, "POST", True, {}, {"key1": "value1"}])
    }
    return no_http | {
        "no context": (without(good, "requestContext"), 400, "event.json"),
        "an odd context": (good | {"requestContext": "POST"}, 400, "event.json"),
        "odd headers": (good | {"headers": ["content-type"]}, 400, "event.json"),
        "a list of types": (kind(["image/png"]), 400, "event.json"),
        "an odd body": (good | {"body": {"image": 1}}, 400, "event.json"),
        "a number as body": (good | {"body": 7}, 400, "event.json"),
        "GET": (method("GET"), 405, "Only POST"),
        "HEAD": (method("HEAD"), 405, "Only POST"),
        "OPTIONS": (method("OPTIONS"), 405, "Only POST"),
        "an odd method": (method({"a": 1}), 405, "Only POST"),
        "no type": (good | {"headers": {}}, 415, "missing; image/jpeg, image/png"),
        "no headers": (good | {"headers": None}, 415, "missing"),
        "curl without a type": (kind("application/x-www-form-urlencoded"), 415, "curl -H 'Content-Type"),
        "a form": (kind("multipart/form-data; boundary=x"), 415, "--data-binary"),
        "JSON": (kind("application/json"), 415, "application/json"),
        "an unusual image": (kind("image/heic"), 415, "image/heic"),
        "a drawing": (kind("image/svg+xml"), 415, "image/svg+xml"),
        "a long type": (kind("x" * 100_000), 415, "image/jpeg"),
        "a strange type": (kind("имя/\ud800\x00"), 415, "image/jpeg"),
        "no body": (without(good, "body"), 400, "no body"),
        "null": (good | {"body": None}, 400, "no body"),
        "an empty body": (good | {"body": ""}, 400, "no body"),
        "an empty file": (sent(b""), 400, "no body"),
        "text": (good | {"body": "hello", "isBase64Encoded": False}, 400, "came as text"),
        "an image as text": (good | {"body": png.decode("latin1"), "isBase64Encoded": False}, 400, "as text"),
        "no flag": (without(good, "isBase64Encoded"), 400, "came as text"),
        "no base64": (good | {"body": "hello!"}, 400, "no valid base64"),
        "base64 cut short": (good | {"body": good["body"][:-3]}, 400, "no valid base64"),
        "unicode": (good | {"body": "Größe 🐈" * 100}, 400, "no valid base64"),
        "half a character": (good | {"body": "\ud83d"}, 400, "no valid base64"),
        "not an image": (sent(b"hello, world" * 10), 400, "no JPEG, PNG, WEBP, GIF, BMP file"),
        "a page": (sent(b"<!doctype html><img src=x>"), 400, "no JPEG"),
        "a program": (sent(b"\x7fELF" + bytes(200)), 400, "no JPEG"),
        "PostScript": (sent(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), 400, "no JPEG"),
        "a TIFF": (sent(pictures.encoded(pictures.picture(0), "TIFF")), 400, "no JPEG"),
        "an ICO": (sent(pictures.encoded(pictures.picture(0), "ICO")), 400, "no JPEG"),
        "zeros": (sent(bytes(5000)), 400, "no JPEG"),
        "a beginning": (sent(png[:8]), 400, "no JPEG"),
        "half a PNG": (sent(png[: len(png) // 2]), 400, "damaged or cut short"),
        "half a JPEG": (sent(FILES["JPEG 0"][:500]), 400, "damaged or cut short"),
        "a large file": (sent(bytes(4_500_003)), 413, "more than 4,500,000 bytes"),
        "a large nothing": (good | {"body": "A" * 20_000_000}, 413, "Scale the image down"),
        "a bomb": (sent(bomb(60_000, 60_000)), 413, "over 25,000,000 pixels"),
        "a smaller bomb": (sent(bomb(5001, 5000)), 413, "over 25,000,000 pixels"),
        "a bomb that Pillow warns of": (sent(bomb(10_000, 10_000)), 413, "over 25,000,000 pixels"),
        "a GIF bomb": (sent(gif[:6] + b"\xff\xff\xff\xff" + gif[10:]), 413, "pixels"),
        "no pixels": (sent(bomb(0, 0)), 400, ""),
        "a JPEG of 1,000 scans": (sent(pictures.of_many_scans(1000)), 413, "or 100 scans"),
    }  # fmt: skip


def bomb(width: int, height: int) -> bytes:
    """A PNG file that says it is so large, of a few bytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_whatever_cannot_be_answered_gets_a_reason(bundle: pathlib.Path, function: types.ModuleType) -> None:
    good = request(bundle, FILES["PNG 0"])
    expected, before = answered(function, good), copy.deepcopy(good)
    for name, (event, status, words) in bad_events(good).items():
        found = answered(function, event)
        assert found[0] == status and words in found[1]["error"], (name, found)
        assert answered(function, good) == expected, f"after {name}"
    assert good == before
    assert function.handler(bad_events(good)["GET"][0], None)["headers"]["Allow"] == "POST"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=20), inside, max_size=3),
    max_leaves=6,
)
PLACES = [
    ["requestContext"], ["requestContext", "http"], ["requestContext", "http", "method"], ["httpMethod"],
    ["headers"], ["headers", "content-type"], ["headers", "Content-Type"], ["body"], ["isBase64Encoded"],
]  # fmt: skip


@hypothesis.settings(max_examples=200, deadline=None, derandomize=True, database=None)
@hypothesis.given(changes=st.lists(st.tuples(st.sampled_from(PLACES), JSON), max_size=3), other=JSON)
def test_no_event_breaks_it(
    bundle: pathlib.Path, function: types.ModuleType, changes: list, other: object
) -> None:
    good = request(bundle, FILES["PNG 0"])
    event: Any = copy.deepcopy(good)
    for (*way, last), value in changes:
        place = event
        for key in way:
            place = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[last] = value
    answered(function, event)
    answered(function, other)
    assert answered(function, good)[0] == 200


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """A file with some bytes changed, cut out, doubled, or its end missing."""
    result = bytearray(content)
    how, place = random.integers(5), int(random.integers(len(content)))
    length = int(random.integers(1, 64))
    if how == 0:
        return bytes(result[:place])
    if how == 1:
        del result[place : place + length]
    if how == 2:
        result[place:place] = result[max(0, place - length) : place]
    if how == 3:
        result[place : place + length] = random.bytes(length)
    if how == 4:
        for spot in random.integers(len(content), size=length):
            result[spot] ^= 1 << int(random.integers(8))
    return bytes(result)


def damaged_files(each: int) -> Iterator[bytes]:
    random = np.random.default_rng(0)
    for content in [content for content in zoo().values() if len(content) < 50_000]:
        for _ in range(each):
            yield damaged(content, random)


def test_damaged_images_are_read_as_in_the_notebook_or_refused(
    bundle: pathlib.Path, function: types.ModuleType
) -> None:
    statuses = []
    expected = answered(function, sample(bundle))
    for content in damaged_files(30):
        status, body = answered(function, request(bundle, content))
        statuses.append(status)
        try:
            pixels = photos.read(content, SIZE)
        except OSError:
            assert status in (400, 413), body
        else:
            if status == 200:
                assert np.array_equal(function.read(content), pixels)
            else:
                assert status == 413 or "no JPEG" in body["error"] or "no body" in body["error"], body
    assert set(statuses) <= {200, 400, 413} and len(statuses) > 600
    assert statuses.count(200) > 50 and statuses.count(400) > 200, "of both kinds"
    assert answered(function, sample(bundle)) == expected


@pytest.mark.parametrize("broken", ["NaN", "an exception"])
def test_what_nobody_foresaw_is_logged_and_not_told(
    bundle: pathlib.Path,
    function: types.ModuleType,
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def classify(image: np.ndarray) -> dict[str, Any]:
        if broken == "NaN":
            return {"class": "zero", "probabilities": {"zero": float("nan")}}
        raise RuntimeError("secret")

    monkeypatch.setattr(function, "classify", classify)
    response = function.handler(sample(bundle), None)
    assert response["statusCode"] == 500 and "secret" not in response["body"]
    assert "log" in json.loads(response["body"])["error"]
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info and (broken == "NaN" or "secret" in str(record.exc_info[1]))


@pytest.fixture(scope="module")
def small() -> keras.Model:
    keras.utils.set_random_seed(0)
    return small_models.plain()


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """All that is in a folder, with hidden files."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_export_replaces_the_first(
    small: keras.Model, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new" / "bundle"
    assert serving.export_lambda(small, folder, ["a", "b", "c"]) == folder
    converted = (folder / "model.tflite").read_bytes()
    monkeypatch.setattr(compression, "convert", lambda *arguments: converted)
    (folder / "samconfig.toml").write_text("region = 1")
    (folder / ".aws-sam").mkdir()
    (folder / "handler.py").write_text("old")
    imported(serving.export_lambda(small, folder, ["x", "y", "z"]))
    assert json.loads((folder / "labels.json").read_text())["class_names"] == ["x", "y", "z"]
    assert (folder / "handler.py").read_text() != "old"
    assert (folder / "samconfig.toml").read_text() == "region = 1" and not (folder / ".aws-sam").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]
    (tmp_path / "empty").mkdir()
    assert serving.export_lambda(small, str(tmp_path / "empty"), ["x", "y", "z"]) == tmp_path / "empty"


def test_what_is_not_a_bundle_is_not_touched(small: keras.Model, tmp_path: pathlib.Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "handler.py").write_text("my own")
    before = contents(tmp_path)
    with pytest.raises(
        FileExistsError, match=r"holds 'thesis.tex', which is not of a bundle.*another folder"
    ):
        serving.export_lambda(small, tmp_path, ["a", "b", "c"])
    with pytest.raises(NotADirectoryError, match=r"thesis.tex is a file"):
        serving.export_lambda(small, tmp_path / "thesis.tex", ["a", "b", "c"])
    with pytest.raises(OSError, match=r"cannot be written to .*another folder"):
        serving.export_lambda(small, tmp_path / "thesis.tex" / "bundle", ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"3 classes.*2 class names"):
        serving.export_lambda(small, tmp_path / "new", ["a", "b"])
    with pytest.raises(ValueError, match=r"no kind 'int4'"):
        serving.export_lambda(small, tmp_path / "new", ["a", "b", "c"], kind="int4")
    with pytest.raises(ValueError, match=r"needs representative images"):
        serving.export_lambda(small, tmp_path / "new", ["a", "b", "c"], kind="int8")
    with pytest.raises(TypeError):
        serving.export_lambda(keras.layers.Dense(3), tmp_path / "new", ["a", "b", "c"])  # type: ignore
    assert contents(tmp_path) == before


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    ("step", "calls"), [("write_bytes", 1), ("write_bytes", 5), ("rename", 1), ("rename", 2)]
)
def test_when_it_is_stopped_the_old_bundle_is_still_there(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    calls: int,
    error: BaseException,
) -> None:
    old, new = ({name: word for name in lambda_bundle.NAMES} for word in (b"old", b"new"))
    folder = tmp_path / "bundle"
    lambda_bundle.write(old, folder)
    before, made = contents(tmp_path), getattr(pathlib.Path, step)
    left = calls

    def stop(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise error
        return made(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, step, stop)
        with pytest.raises((OSError, KeyboardInterrupt)) as caught:
            lambda_bundle.write(new, folder)
    assert isinstance(error, KeyboardInterrupt) or "No space left on device" in str(caught.value)
    assert contents(tmp_path) == before
    lambda_bundle.write(new, folder)
    assert contents(tmp_path) == {f"bundle/{name}": content for name, content in new.items()}


# From here on: as at AWS, with AWS's own runtime client.


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The interpreter of an environment that has AWS's runtime client, as its image has, and nothing else."""
    if sys.platform != "linux":
        pytest.skip("needs Linux, as Lambda is")
    return environment(tmp_path_factory.mktemp("client"), "awslambdaric")


def environment(folder: pathlib.Path, *packages: str) -> pathlib.Path:
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return python


@pytest.fixture(scope="module")
def package(
    client: pathlib.Path, bundle: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """What is put into /var/task: the bundle, and what its requirements.txt names."""
    folder = tmp_path_factory.mktemp("var") / "task"
    shutil.copytree(bundle, folder, ignore=shutil.ignore_patterns("__pycache__"))
    install: list[str | pathlib.Path] = ["-m", "pip", "install", "-q", "--no-deps", "--target", folder, "-r"]
    subprocess.run([client, *install, folder / "requirements.txt"], check=True)
    return folder


def size(path: pathlib.Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) or path.stat().st_size


@pytest.mark.own_environment
def test_it_fits_into_a_zip_file_for_lambda(package: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    sizes = sorted(((size(path), path.name) for path in package.iterdir()), reverse=True)
    total = sum(bytes_ for bytes_, _ in sizes)
    with capsys.disabled():
        print(f"\nunzipped {total / 1e6:.0f} MB of 250 MB:", end=" ")
        print(", ".join(f"{name} {bytes_ / 1e6:.1f}" for bytes_, name in sizes if bytes_ > 1e6))
    assert total < 250e6
    assert not {"tensorflow", "keras", "scipy"} & {name for _, name in sizes}


@pytest.mark.own_environment
def test_awss_runtime_client_meets_good_bad_and_hostile_events(
    client: pathlib.Path,
    package: pathlib.Path,
    model: keras.Model,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture,
) -> None:
    expected = evaluation.to_probabilities(model, model.predict(images(FILES), verbose=0))
    good = request(package, FILES["PNG 0"])
    before, counts, seconds = set(package.rglob("*")), dict[int, int](), list[float]()
    with lambda_runtime.running(client, package, tmp_path / "scratch") as function:

        def send(event: object, words: str = "") -> int:
            answer = function(event)
            assert answer.place == "response", answer
            counts[answer.status] = counts.get(answer.status, 0) + 1
            if answer.status != 200:
                assert 400 <= answer.status < 500 and words in answer.body["error"], answer
            else:
                seconds.append(answer.seconds)
            return answer.status

        for row, content in enumerate(FILES.values()):
            answers = list(function(request(package, content)).body["probabilities"].values())
            assert np.abs(answers - expected[row]).max() < 1e-5
        first = function(good).body
        for name, (event, status, words) in bad_events(good).items():
            assert send(event, words) == status, name
            assert send(good) == 200, name
        for number, content in enumerate(damaged_files(10)):
            assert send(request(package, content)) in (200, 400, 413)
            if number % 10 == 0:
                assert send(good) == 200
        usual = np.median(seconds)
        # AWS sends JSON only. What is none does not reach the handler, and does no harm.
        for raw in (b"", b"{", b"\xff", b"NaN,", b"[" * 200_000, b'{"a":' * 200_000):
            assert function(raw).place == "error"
            assert send(good) == 200
        assert send(b"[" * 900 + b"]" * 900) == 400 and send(b"1e999") == 400, "odd, but JSON"
        used = function.memory("VmRSS")
        exif = PIL.Image.Exif()
        exif[0x0112] = 5  # the largest that is taken, and to be turned as well
        for kind in ("PNG", "WEBP"):
            largest = PIL.Image.new("RGBA", (5000, 5000), "red")
            assert send(request(package, pictures.encoded(largest, kind, exif=exif))) == 200
            assert send(good) == 200
        assert function(good).body == first and function.process.poll() is None, "the same process all along"
        limit = re.search(r"MemorySize: (\d+)", (package / "template.yaml").read_text())
        most = function.memory()
        assert limit and most < 0.7 * float(limit[1]), "the rest is for a larger model"
        log = function.log.read_text()
    with capsys.disabled():
        print(f"\ncold start {function.seconds:.2f} s, then {1000 * usual:.1f} ms (median) by AWS's client;")
        print(f"answers {counts}; {used:.0f} MB, at most {most:.0f} MB")
    assert "handler.py" not in log, "nothing unforeseen"
    assert set(package.rglob("*")) == before and not list((tmp_path / "scratch").iterdir())


@pytest.mark.own_environment
def test_a_bundle_without_its_model_says_so_in_the_log(
    client: pathlib.Path, package: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    broken = tmp_path / "task"
    broken.mkdir()
    for path in package.iterdir():
        if path.name != "model.tflite":
            (broken / path.name).symlink_to(path)
    with (
        pytest.raises(ChildProcessError, match=r"(?s)does not start.*model\.tflite"),
        lambda_runtime.running(client, broken, tmp_path / "scratch"),
    ):
        pass


@pytest.mark.own_environment
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_all_requirements_have_wheels_for_awss_image(
    client: pathlib.Path, bundle: pathlib.Path, machine: str
) -> None:
    """Amazon Linux 2023 has glibc 2.34; the image's Python stands in the Dockerfile. Before, it was 2.26."""
    python = re.search(r"python:(3\.\d+)", (bundle / "Dockerfile").read_text())
    assert python
    command: list[str | pathlib.Path] = [client, "-m", "pip", "install", "-q", "--dry-run", "--no-deps"]
    command += ["--only-binary=:all:", "--target", bundle.parent / "nowhere"]
    command += ["-r", bundle / "requirements.txt"]
    for newest, version, works in ((34, python[1], True), (26, "3.11", False)):
        platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in range(17, newest + 1)]
        done = subprocess.run(
            [*command, f"--python-version={version}", *platforms], capture_output=True, text=True
        )
        assert (done.returncode == 0) == works, done.stderr
        assert works or "ai-edge-litert" in done.stderr


@pytest.mark.own_environment
def test_awss_linter_finds_nothing_in_the_template(bundle: pathlib.Path, tmp_path: pathlib.Path) -> None:
    python = environment(tmp_path / "linter", "cfn-lint")
    options = ["--include-checks", "I", "--"]
    command: list[str | pathlib.Path] = [python.with_name("cfn-lint"), *options, bundle / "template.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.own_environment
def test_the_container_answers(model: keras.Model, bundle: pathlib.Path) -> None:
    """By AWS's emulator, which is in the image."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("needs Docker")
    name = f"finetune-lambda-{time.time_ns()}"
    subprocess.run(["docker", "build", "-q", "-t", name, bundle], check=True)
    start = ["docker", "run", "--rm", "-d", "-p", "127.0.0.1::8080", name]
    try:
        container = subprocess.run(start, check=True, capture_output=True, text=True).stdout.strip()
        try:
            ask = ["docker", "port", container, "8080/tcp"]
            address = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split()[0]
            url = f"http://{address}/2015-03-31/functions/function/invocations"
            expected = evaluation.to_probabilities(model, model.predict(images(FILES), verbose=0))
            for row, content in enumerate(FILES.values()):
                answer = posted(url, request(bundle, content))
                assert answer["statusCode"] == 200
                answers = list(json.loads(answer["body"])["probabilities"].values())
                assert np.abs(answers - expected[row]).max() < 1e-5
            for what, (event, status, _) in bad_events(request(bundle, FILES["PNG 0"])).items():
                if len(json.dumps(event)) < 6_000_000:  # the emulator's limit, as Lambda's
                    assert posted(url, event)["statusCode"] == status, what
        finally:
            subprocess.run(["docker", "kill", container], check=True, capture_output=True)
    finally:
        subprocess.run(["docker", "rmi", "-f", name], capture_output=True)


def posted(url: str, event: object) -> dict[str, Any]:
    """The answer of Lambda's emulator, once it listens."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, json.dumps(event).encode(), timeout=60) as response:
                return json.load(response)
        except (ConnectionError, urllib.error.URLError):
            time.sleep(0.1)
    raise TimeoutError(url)


@pytest.mark.network
def test_photos_get_the_answers_of_the_notebook(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    builder = catalog.find("tf_flowers")
    model = classifier.build("MobileNetV2", builder.info.features["label"].names)
    kernel, bias = model.get_layer("logits").get_weights()
    random = np.random.default_rng(0).normal(scale=0.1, size=kernel.shape)
    model.get_layer("logits").set_weights([random, bias])
    encoded = builder.as_dataset(split="train[:40]", decoders={"image": tfds.decode.SkipDecoding()})
    files = {str(number): each["image"] for number, each in enumerate(encoded.as_numpy_iterator())}
    height, width = model.input_shape[1:3]
    bundle = serving.export_lambda(model, tmp_path / "bundle", builder.info.features["label"].names)
    function = imported(bundle)
    answers = np.array([probabilities(function, bundle, content) for content in files.values()])
    outputs = model.predict(images(files, (height, width)), verbose=0)
    runner = compression.LiteRTModel((bundle / "model.tflite").read_bytes())
    same = runner.predict(images(files, (height, width)), batch_size=1)
    change = np.abs(answers - evaluation.to_probabilities(model, outputs)).max()
    with capsys.disabled():
        print(f"\n{len(files)} photos, MobileNetV2: a Lambda's answers differ from Keras' by {change:.1e}")
    assert np.array_equal(answers, scipy.special.softmax(same, axis=-1))
    assert change < 1e-3 and len(set(answers.argmax(axis=-1))) > 1
