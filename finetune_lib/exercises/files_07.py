"""The files that lesson 07's exercises are checked with: images, events of a cloud function, strangers' models."""

import base64
import io
import json
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable
from typing import Any

import keras
import numpy as np
import PIL.Image


def picture(generator: np.random.Generator, height: int, width: int, mode: str = "RGB") -> PIL.Image.Image:
    """A picture of random pixels."""
    channels = {"RGB": (3,), "RGBA": (4,), "L": ()}[mode]
    pixels = generator.integers(0, 256, (height, width, *channels), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


def as_file(image: PIL.Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The contents of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def some_files(seed: int, count: int, damaged: Collection[int]) -> list[bytes]:
    """PNG files, of which the damaged ones are cut in half."""
    generator = np.random.default_rng(seed)
    whole = [as_file(picture(generator, 6, 6)) for _ in range(count)]
    return [
        content[: len(content) // 2] if place in damaged else content for place, content in enumerate(whole)
    ]


def event(content: bytes | str, kind: str | None = "image/png", name: str = "content-type") -> dict[str, Any]:
    """A request as AWS hands it over, cut down to what counts."""
    body = content if isinstance(content, str) else base64.b64encode(content).decode("ascii")
    headers = {"accept": "*/*"} | ({name: kind} if kind else {})
    method = {"http": {"method": "POST", "path": "/"}}
    return {
        "version": "2.0",
        "headers": headers,
        "requestContext": method,
        "body": body,
        "isBase64Encoded": True,
    }


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def claims(height: int, width: int) -> bytes:
    """A PNG file that says it is so large, and breaks off. Whoever decodes it gets an error."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + _chunk(b"IDAT", zlib.compress(bytes(64))[:-6] + bytes(6))
    )


def with_a_long_text(content: bytes) -> bytes:
    """A PNG file with a packed text of two megabytes, which Pillow refuses with a ValueError."""
    text = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2_000_000)))
    return content[:33] + text + content[33:]


def saved(
    model: keras.Model, path: pathlib.Path, change: Callable[[dict], None] | None = None
) -> pathlib.Path:
    """A model's .keras file, whose description may be changed after it was saved."""
    model.save(path)
    if change:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        config = json.loads(parts["config.json"])
        change(config)
        parts["config.json"] = json.dumps(config).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
    return path


def layer_of(config: Any, name: str) -> dict:
    """The description of the layer of that name, at whatever depth."""
    found = [each for each in every(config) if isinstance(each.get("config"), dict)]
    return next(each for each in found if each["config"].get("name") == name)


def every(value: Any) -> Iterable[dict]:
    """Every dictionary in a description, from the outside in."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from every(each)


def guarded() -> list[tuple[str, dict, int | np.ndarray, str]]:
    """What comes in, the event, and what should come out: pixels, or a status (0: any 4xx); and why."""
    generator = np.random.default_rng(int.from_bytes(os.urandom(4)))
    height, width = (int(side) for side in generator.integers(20, 60, 2))
    colour, grey, clear = (picture(generator, height, width, mode) for mode in ("RGB", "L", "RGBA"))
    png, jpeg = as_file(colour), as_file(picture(generator, height, width), "JPEG")
    pixels = {
        content: np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB")) for content in (png, jpeg)
    }
    wide, square = (PIL.Image.new("L", size, 200) for size in ((8000, 100), (1000, 1000)))
    over = as_file(PIL.Image.new("1", (1100, 1000)))
    full = png + bytes(100_000 - len(png))
    return [
        ("a PNG file", event(png), pixels[png], ""),
        ("a JPEG file, its header written `Content-Type: image/jpeg`", event(jpeg, "image/jpeg", "Content-Type"), pixels[jpeg], "Header names may be written in any case."),
        ("a file of the type `image/png; charset=binary`", event(png, "image/png; charset=binary"), pixels[png], "What stands behind the semicolon does not count."),
        ("a file of the type `Image/PNG`", event(png, "Image/PNG"), pixels[png], "Capitals do not count."),
        ("a grey PNG file", event(as_file(grey)), np.asarray(grey.convert("RGB")), "The network wants three channels: `convert`."),
        ("a PNG file with transparency", event(as_file(clear)), np.asarray(clear.convert("RGB")), "The network wants three channels: `convert`."),
        ("a picture of 8,000 x 100 pixels", event(as_file(wide)), np.asarray(wide.convert("RGB")), "That is less than a million: the limit is for height times width."),
        ("a file of 90,000 bytes", event(full[:90_000]), pixels[png], "The limit is for the file: its base64 text is a third longer."),
        ("a file of exactly 100,000 bytes", event(full), pixels[png], "*More* than that is too much."),
        ("a picture of exactly 1,000,000 pixels", event(as_file(square)), np.asarray(square.convert("RGB")), "*More* than that is too much."),
        ("a file of the type text/plain", event(png, "text/plain"), 415, "Two types are taken, whatever is inside."),
        ("a file without a Content-Type", event(png, None), 415, "A missing header is the sender's fault, too."),
        ("a body of which isBase64Encoded says False", event(png) | {"isBase64Encoded": False}, 400, "It came as text, and whatever it looks like, it is not what was sent."),
        ("an empty body", event(""), 400, ""),
        ("a request whose body is None", event("") | {"body": None}, 400, ""),
        ("base64 that breaks off in the middle of a group", event("aGVsb"), 400, "`base64.b64decode` raises a ValueError."),
        ("a PNG file with zeros behind it, 100,001 bytes", event(full + b"\0"), 413, ""),
        ("bytes that are no image", event(generator.bytes(500)), 400, ""),
        ("half a PNG file", event(png[: len(png) // 2]), 400, "`PIL.Image.open` reads the head only. It breaks where the pixels are read, later."),
        ("half a JPEG file", event(jpeg[: len(jpeg) // 2], "image/jpeg"), 400, ""),
        ("a GIF file that calls itself image/png", event(as_file(grey, "GIF")), 400, "The sender's word is worth nothing: tell Pillow which `formats` it may read."),
        ("a PNG file with a packed text of two megabytes in it", event(with_a_long_text(png)), 400, "Damaged and hostile files make Pillow raise all kinds of errors: here it is a ValueError."),
        ("a good PNG file of 1,100,000 pixels", event(over), 413, "How many pixels it has, and not how many bytes, is what memory is for."),
        ("a PNG file that says it has 3,000 x 3,000 pixels, and breaks off", event(claims(3000, 3000)), 413, "You have begun to decode it before you looked at its size: with a bomb, that is too late."),
        ("a PNG file that says it has 20,000 x 20,000 pixels", event(claims(20_000, 20_000)), 413, "That is so large that Pillow itself refuses to open it, by a `PIL.Image.DecompressionBombError`."),
        ("an event that is no HTTP request at all", {"hello": "Lambda"}, 0, "Use `get` where something may be missing."),
    ]  # fmt: skip


def _layers(*layers: keras.layers.Layer, name: str) -> keras.Sequential:
    return keras.Sequential([keras.Input((6,)), *layers], name=name)


def strangers(folder: pathlib.Path) -> list[tuple[str, pathlib.Path, set[str], str]]:
    """A story of what is inside, the file, the layers to be reported, and where to look for them."""
    payload = lambda x: (__import__("os").environ.update(FINETUNE_EXERCISE_GUEST="1"), x)[1]  # noqa: E731
    code: dict[str, Any] = {"class_name": "__lambda__", "config": {"value": ["4wEA", None, None]}}
    visit = {"module": "guest_book", "class_name": "function", "config": "visit", "registered_name": "visit"}
    dense, lambda_layer = keras.layers.Dense, keras.layers.Lambda
    plain = _layers(
        dense(4, name="Lambda"), dense(3, kernel_regularizer="l2", name="__lambda__"), name="lambdas"
    )
    inner = _layers(dense(6, name="mink"), lambda_layer(payload, name="otter"), name="holt")
    deep = _layers(dense(6, name="shrew"), _layers(inner, dense(6, name="mole"), name="burrow"), name="field")
    image = keras.Input((6, 6))
    wrapped = keras.layers.TimeDistributed(lambda_layer(payload, name="newt"), name="pond")(image)
    wrapped = keras.layers.Dropout(0.1, name="reed")(wrapped)

    def change(name: str, key: str, value: Any) -> Callable[[dict], None]:
        return lambda config: layer_of(config, name)["config"].update({key: value})

    def rename(config: dict) -> None:
        layer_of(config, "toad")["module"] = "keras_tools.layers"

    hidden = {"module": "keras.initializers", "class_name": "Constant", "config": {"value": [[1, code]]}}
    pair = _layers(dense(6, name="toad"), dense(2, name="frog"), name="bog")
    files = [
        ("harmless: layers may have any name, also `Lambda` or `__lambda__`", plain, None, set(), ""),
        ("a Lambda layer with code", _layers(lambda_layer(payload, name="vole"), dense(2), name="barn"), None, {"vole"}, "Its `config` holds a `function`, and that is a dictionary, too."),
        ("a Lambda layer in a model in a model in a model", deep, None, {"otter"}, "A model can be a layer of a model: go down as far as it goes."),
        ("a Lambda layer inside of another layer, a TimeDistributed", keras.Model(image, wrapped, name="lake"), None, {"newt"}, "Not every layer lies in a list of `layers`. Go down into all values, whatever their key is."),
        ("an activation that is a function `visit` of the module `guest_book`", pair, change("frog", "activation", visit), {"frog"}, "No code is in the file, but the name of a program that opening would import: look at `module`, and not only that of layers."),
        ("a layer of the module `keras_tools.layers`, which is no part of Keras", pair, rename, {"toad"}, "Anybody may call a module so. Keras' own are `keras`, and what begins with `keras.`, with the dot."),
        ("code where nobody looks: in lists, in the initializer of a Dense layer", pair, change("toad", "kernel_initializer", hidden), {"toad"}, "Lists may hold lists."),
    ]  # fmt: skip
    return [
        (what, saved(model, folder / f"{number}.keras", how), names, where)
        for number, (what, model, how, names, where) in enumerate(files)
    ]
