"""The files that AWS Lambda needs to answer requests with a model, without TensorFlow (lesson 07).

The texts that are the same for every model lie in the folder ``aws_lambda``. ``serving.export_lambda`` is the
function to call.
"""

import base64
import importlib.metadata
import importlib.resources
import io
import json
import pathlib
import shutil
import sys
import uuid
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import packaging.requirements
import PIL.Image

from finetune_lib import evaluation

STATIC = ("handler.py", "Dockerfile", "template.yaml", "event.json")
NAMES = {*STATIC, "labels.json", "model.tflite", "requirements.txt"}
SETTINGS = "samconfig.toml"  # where AWS SAM keeps the answers that it was given
BY_TOOLS = {SETTINGS, ".aws-sam", "__pycache__", ".DS_Store"}


def files(model: keras.Model, class_names: Sequence[str], content: bytes) -> dict[str, bytes]:
    """The files of a bundle by name, for a model whose LiteRT file has this content."""
    folder = importlib.resources.files("finetune_lib") / "aws_lambda"
    static = {name: (folder / name).read_bytes() for name in STATIC}
    height, width = model.input_shape[1:3]
    labels = {
        "class_names": list(class_names),
        "image_size": [height, width],
        "logits": evaluation.last_activation(model) == "linear",
    }
    # AWS's images for Python 3.11 and older have a C library that is too old for ai-edge-litert.
    python = f"python:3.{max(12, sys.version_info.minor)}"
    event = json.loads(static["event.json"])
    event["body"] = base64.b64encode(_picture(height, width)).decode()
    requirements = sorted(_pinned("numpy", "pillow", "ai-edge-litert"))
    return static | {
        "Dockerfile": static["Dockerfile"].replace(b"python:3.13", python.encode()),
        "event.json": json.dumps(event, indent=2).encode(),
        "labels.json": json.dumps(labels, indent=2, ensure_ascii=False).encode(),
        "model.tflite": content,
        "requirements.txt": "".join(f"{line}\n" for line in requirements).encode(),
    }


def require_ours(folder: pathlib.Path) -> None:
    """Raise OSError if a folder holds anything but a bundle: a new bundle would take its place."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file. Give a folder for the bundle, such as a new one.")
    others = {path.name for path in folder.iterdir()} - NAMES - BY_TOOLS if folder.exists() else set()
    if others:
        raise FileExistsError(
            f"{folder} holds {min(others)!r}, which is not of a bundle, and would be lost. Move it away, or "
            "give another folder."
        )


def write(content: Mapping[str, bytes], folder: pathlib.Path) -> None:
    """Write files into a folder, in place of a bundle that may be there, which stays if anything goes wrong.

    Raises:
        OSError: if the folder cannot be written.
    """
    hidden, old = (folder.with_name(f".{what}-{uuid.uuid4().hex}") for what in ("writing", "replaced"))
    try:
        hidden.mkdir(parents=True)
        for name, part in content.items():
            (hidden / name).write_bytes(part)
        if (folder / SETTINGS).exists():
            shutil.copy2(folder / SETTINGS, hidden)
        if folder.exists():
            folder.rename(old)
        hidden.rename(folder)
    except OSError as error:
        raise OSError(
            f"The bundle cannot be written to {folder}: {error.strerror or error}. Give another folder."
        ) from error
    finally:
        if old.exists() and not folder.exists():  # stopped between the two
            old.rename(folder)
        for path in (old, hidden):
            shutil.rmtree(path, ignore_errors=True)


def _picture(height: int, width: int) -> bytes:
    """A picture of soft colours, as a PNG file."""
    down, right = np.meshgrid(np.linspace(0, 255, height), np.linspace(0, 255, width), indexing="ij")
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.stack([right, down, 255 - right], axis=-1).astype("uint8")).save(buffer, "PNG")
    return buffer.getvalue()


def _pinned(*names: str) -> set[str]:
    """These packages and all that they need on Linux, in the versions that are installed here."""
    pinned: set[str] = set()
    linux = {"extra": "", "sys_platform": "linux", "platform_system": "Linux"}
    for name in names:
        pinned.add(f"{name}=={importlib.metadata.version(name)}")
        needed = map(packaging.requirements.Requirement, importlib.metadata.requires(name) or ())
        pinned |= _pinned(*(each.name for each in needed if not each.marker or each.marker.evaluate(linux)))
    return pinned
