"""Clients of a model server; and servers: the stand-in, and TensorFlow's own where that is."""

import base64
import contextlib
import os
import pathlib
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import keras
import numpy as np
import pictures
import PIL.Image
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from finetune_lib import classifier, model_server, served_model, serving

NAMES = [*"012345678", "\u4e2d\u6587"]  # one that is not ASCII
SIZE = (32, 32)
WANTED = os.environ.get("TENSORFLOW_SERVING", "")  # "docker", or the program's path; then it must be there


def model(seed: int) -> keras.Model:
    """A small network of random weights, whose answers differ from image to image."""
    keras.utils.set_random_seed(seed)
    built = classifier.build("GlyphNet", NAMES, image_size=SIZE)
    kernel, bias = built.get_layer("logits").get_weights()
    kernel = np.random.default_rng(seed).normal(size=kernel.shape, scale=0.02)
    built.get_layer("logits").set_weights([kernel, bias])
    return built


def files(count: int) -> list[bytes]:
    """PNG files of the model's size, each like no other."""
    return [pictures.encoded(pictures.picture(number).resize(SIZE)) for number in range(count)]


def damaged(contents: list[bytes], count: int) -> list[bytes]:
    """Image files with bits flipped, cut short, with pieces of one in another, and no images at all."""
    generator = np.random.default_rng(0)
    found = []
    for number in range(count):
        content = bytearray(contents[number % len(contents)])
        place, kind = int(generator.integers(len(content))), number % 4
        if kind == 0:
            for each in generator.integers(len(content), size=1 + number % 7):
                content[each] ^= 1 << int(generator.integers(8))
        elif kind == 1:
            content = content[:place]
        elif kind == 2:
            content[place : place + 20] = generator.bytes(20)
        else:
            content = content[: number % 20] + generator.bytes(int(generator.integers(200)))
        found.append(bytes(content))
    return found


def jpegs(count: int) -> list[bytes]:
    return [pictures.encoded(pictures.picture(number).resize((60, 80)), "JPEG") for number in range(count)]


def ask_rest(server: model_server.Server, contents: list[bytes], **more: Any) -> requests.Response:
    instances = [{"b64": base64.b64encode(content).decode()} for content in contents]
    body = {"signature_name": "encoded", "instances": instances} | more
    return requests.post(f"{server.rest}:predict", json=body, timeout=60)


def by_rest(server: model_server.Server, contents: list[bytes]) -> tuple[np.ndarray, list[str]]:
    answer = ask_rest(server, contents)
    assert answer.status_code == 200, answer.text
    rows = answer.json()["predictions"]
    return np.array([row["probabilities"] for row in rows], "float32"), [row["classes"] for row in rows]


@contextlib.contextmanager
def stub(server: model_server.Server) -> Iterator[prediction_service_pb2_grpc.PredictionServiceStub]:
    with grpc.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request(
    server: model_server.Server, image: Any, signature: str = "encoded"
) -> predict_pb2.PredictRequest:
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = server.name, signature
    made.inputs["image"].CopyFrom(tf.make_tensor_proto(image))
    return made


def by_grpc(server: model_server.Server, image: Any, signature: str) -> tuple[np.ndarray, list[str]]:
    with stub(server) as asked:
        outputs = asked.Predict(request(server, image, signature), timeout=60).outputs
    names = tf.make_ndarray(outputs["classes"])
    return tf.make_ndarray(outputs["probabilities"]), [name.decode() for name in names]


def refusal(server: model_server.Server, asked: predict_pb2.PredictRequest) -> tuple[str, str]:
    """The code and the words of a refused request by gRPC."""
    with stub(server) as made, pytest.raises(grpc.RpcError) as error:
        made.Predict(asked, timeout=60)
    return error.value.code().name, error.value.details()


@contextlib.contextmanager
def served(program: str, folder: pathlib.Path, *, batching: bool = False) -> Iterator[model_server.Server]:
    """A server: ``"stand-in"``, or ``"tensorflow_serving"``, skipped where there is none."""
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        if program == "stand-in":
            patch.setattr(shutil, "which", lambda name: None)
            server = stack.enter_context(model_server.start(folder, batching=batching))
            assert server.program == "finetune_lib.model_server"
        elif WANTED == "docker" or (not WANTED and _image_is_here()):
            server = stack.enter_context(_docker(folder, batching))
        elif WANTED or shutil.which("tensorflow_model_server"):
            if WANTED:
                patch.setenv("PATH", str(pathlib.Path(WANTED).parent), prepend=os.pathsep)
            server = stack.enter_context(model_server.start(folder, batching=batching))
            assert server.program == "tensorflow_model_server"
        else:
            pytest.skip("needs tensorflow_model_server, or Docker with the image tensorflow/serving")
        patch.undo()
        yield server


@contextlib.contextmanager
def in_this_process(held: served_model.Model) -> Iterator[model_server.Server]:
    """The stand-in, as a thread."""
    rest, port = model_server._free_ports(2)
    thread = threading.Thread(target=model_server.serve, args=(held, rest, port))
    thread.start()
    address = f"http://127.0.0.1:{rest}/v1/models/{held.name}"
    try:
        while "AVAILABLE" not in _state(address):
            assert thread.is_alive()
        yield model_server.Server("finetune_lib.model_server", address, f"127.0.0.1:{port}", held.name)
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(model_server.STARTER, "0")  # as if whoever started it was gone
            thread.join()


def _image_is_here() -> bool:
    if not shutil.which("docker"):
        return False
    asked = subprocess.run(["docker", "image", "inspect", "tensorflow/serving"], capture_output=True)
    return asked.returncode == 0


@contextlib.contextmanager
def _docker(folder: pathlib.Path, batching: bool) -> Iterator[model_server.Server]:
    """The command that ``serving.commands`` gives, on free ports."""
    rest, port = model_server._free_ports(2)
    words = serving.commands(folder, rest=rest, grpc=port, batching=batching)["docker"]
    container = f"serving_{uuid.uuid4().hex}"
    words[2:2] = ["--name", container]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    address = f"http://127.0.0.1:{rest}/v1/models/{folder.name}"
    try:
        end = time.monotonic() + 300  # it may have to be downloaded
        while "AVAILABLE" not in _state(address):
            assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
            time.sleep(0.2)
        yield model_server.Server("docker", address, f"127.0.0.1:{port}", folder.name)
    finally:
        subprocess.run(["docker", "kill", container], capture_output=True)
        process.communicate()


def _state(address: str) -> str:
    try:
        return requests.get(address, timeout=5).text
    except requests.RequestException:
        return ""


def picture_file(mode: str, kind: str, size: tuple[int, int] = (48, 32), **options: Any) -> bytes:
    """A picture as a file of this kind and colour mode."""
    image = pictures.picture(7).resize(size)
    if mode == "I;16":
        return pictures.encoded(
            PIL.Image.fromarray(np.asarray(image.convert("L")).astype("uint16") * 257), kind
        )
    return pictures.encoded(image.convert(mode), kind, **options)
