"""A model server, by REST and gRPC: the answers of Keras, versions swapped, bad requests refused."""

import base64
import collections
import concurrent.futures
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import grpc
import hypothesis
import keras
import numpy as np
import pytest
import requests
import serving_clients
import small_models
import tensorflow as tf
from hypothesis import strategies
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
)

from finetune_lib import evaluation, model_server, photos, rest_api, served_model, serving

FILES = serving_clients.files(8)
IMAGES = np.stack([photos.read(content, serving_clients.SIZE) for content in FILES]).astype("float32")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return serving_clients.model(0)


@pytest.fixture(scope="module")
def expected(model: keras.Model) -> np.ndarray:
    return evaluation.to_probabilities(model, model.predict(IMAGES, verbose=0))


@pytest.fixture(scope="module")
def folder(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("served") / "digits"
    serving.export_savedmodel(model, path, serving_clients.NAMES, warm_up=FILES[:2])
    return path


@pytest.fixture(scope="module", params=["stand-in", "tensorflow_serving"])
def program(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def server(program: str, folder: pathlib.Path, stand_in: served_model.Model) -> Iterator[model_server.Server]:
    """The stand-in in this process, which saves a start."""
    if program == "stand-in":
        with serving_clients.in_this_process(stand_in) as running:
            yield running
    else:
        with serving_clients.served(program, folder) as running:
            yield running


@pytest.fixture(scope="module")
def merging(program: str, folder: pathlib.Path) -> Iterator[model_server.Server]:
    with serving_clients.served(program, folder, batching=True) as running:
        yield running


@pytest.fixture(scope="module")
def stand_in(folder: pathlib.Path) -> Iterator[served_model.Model]:
    """What the stand-in runs, in this process."""
    held = served_model.Model("digits", folder, None)
    held.poll()
    yield held


def test_every_way_gives_the_answers_of_keras(server: model_server.Server, expected: np.ndarray) -> None:
    names = [serving_clients.NAMES[best] for best in expected.argmax(axis=-1)]
    ways = {
        "REST, files": serving_clients.by_rest(server, FILES),
        "gRPC, files": serving_clients.by_grpc(server, FILES, "encoded"),
        "gRPC, pixels": serving_clients.by_grpc(server, IMAGES, "serving_default"),
    }
    answer = requests.post(f"{server.rest}:predict", json={"inputs": IMAGES.tolist()}, timeout=60)
    ways["REST, pixels, by columns"] = answer.json()["outputs"].values()
    for way, (first, second) in ways.items():
        probabilities, classes = (second, first) if isinstance(first[0], str) else (first, second)
        assert np.allclose(np.array(probabilities, "float32"), expected, atol=1e-6), way
        assert list(classes) == names, way


def test_rest_takes_rows_and_columns(server: model_server.Server) -> None:
    value = {"b64": base64.b64encode(FILES[0]).decode()}
    row = serving_clients.ask_rest(server, FILES[:1]).json()["predictions"]
    bodies = ({"instances": [{"image": value}]}, {"inputs": {"image": [value]}}, {"inputs": [value]})
    for body in bodies:
        address = f"{server.rest}/versions/1:predict"
        answer = requests.post(address, json=body | {"signature_name": "encoded"}, timeout=60).json()
        if "outputs" in answer:
            answer = {"predictions": [{key: value[0] for key, value in answer["outputs"].items()}]}
        assert answer == {"predictions": row}


def test_state_and_signatures(server: model_server.Server) -> None:
    states = requests.get(server.rest, timeout=60).json()["model_version_status"]
    assert states == [
        {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
    assert requests.get(f"{server.rest}/versions/1", timeout=60).json()["model_version_status"] == states
    found = requests.get(f"{server.rest}/metadata", timeout=60).json()
    assert found["model_spec"]["name"] == "digits" and found["model_spec"]["version"] == "1"
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = server.name
    with serving_clients.stub(server) as stub:
        response = stub.GetModelMetadata(asked, timeout=60)
    packed = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(packed)
    for name, kind, shape in (
        ("serving_default", "DT_FLOAT", [-1, 32, 32, 3]),
        ("encoded", "DT_STRING", [-1]),
    ):
        signature = found["metadata"]["signature_def"]["signature_def"][name]
        assert set(signature["inputs"]) == {"image"} and signature["inputs"]["image"]["dtype"] == kind
        assert [int(each["size"]) for each in signature["inputs"]["image"]["tensor_shape"]["dim"]] == shape
        assert set(signature["outputs"]) == {"probabilities", "classes"}
        assert set(packed.signature_def[name].outputs) == {"probabilities", "classes"}
        assert signature["method_name"] == "tensorflow/serving/predict"
    question = get_model_status_pb2.GetModelStatusRequest()
    question.model_spec.name = server.name
    with grpc.insecure_channel(server.grpc) as channel:
        status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(question, timeout=60)
    assert [each.version for each in status.model_version_status] == [1]


def test_grpc_gives_what_is_asked_for(server: model_server.Server) -> None:
    asked = serving_clients.request(server, FILES[:2])
    asked.output_filter.append("classes")
    asked.model_spec.version.value = 1
    with serving_clients.stub(server) as stub:
        response = stub.Predict(asked, timeout=60)
    assert list(response.outputs) == ["classes"] and response.model_spec.version.value == 1


BAD = {
    "no image": (400, {"instances": [{"b64": "AAAA"}]}),
    "one bad image among good ones": (
        400, {"instances": [{"b64": base64.b64encode(content).decode()} for content in (FILES[0], b"none")]}
    ),
    "no base64": (400, {"instances": [{"b64": "!!"}]}),
    "no signature": (400, {"signature_name": "other", "instances": [{"b64": ""}]}),
    "a signature that is no name": (400, {"signature_name": 1, "instances": [{"b64": ""}]}),
    "another input": (400, {"instances": [{"picture": {"b64": ""}}]}),
    "numbers for text": (400, {"instances": [1, 2]}),
    "text for numbers": (400, {"signature_name": "serving_default", "instances": ["a"]}),
    "pixels of another shape": (400, {"signature_name": "serving_default", "instances": [[[[1, 2, 3]]]]}),
    "ragged pixels": (400, {"signature_name": "serving_default", "instances": [[[1, 2], [3]]]}),
    "nothing": (400, {}),
    "no rows": (400, {"instances": []}),
    "both": (400, {"instances": [1], "inputs": [1]}),
    "a list": (400, []),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_requests_are_refused(kind: str, server: model_server.Server) -> None:
    if kind == "pixels of another shape" and server.program != "finetune_lib.model_server":
        pytest.skip("TensorFlow Serving leaves that to the model")
    status, body = BAD[kind]
    if isinstance(body, dict):
        body = {"signature_name": "encoded"} | body
    answer = requests.post(f"{server.rest}:predict", json=body, timeout=60)
    assert answer.status_code == status and set(answer.json()) == {"error"}, answer.text


def test_what_is_not_there_is_not_found(server: model_server.Server) -> None:
    other = server.rest.replace("digits", "letters")
    for address in (f"{other}:predict", f"{server.rest}/versions/7:predict"):
        answer = requests.post(address, json={"instances": [1]}, timeout=60)
        assert answer.status_code == 404 and "Servable not found" in answer.json()["error"]
    for address in (other, f"{other}/metadata", f"{server.rest}/versions/7"):
        assert requests.get(address, timeout=60).status_code == 404
    request = serving_clients.request(server, FILES[:1])
    request.model_spec.name = "letters"
    assert serving_clients.refusal(server, request)[0] == "NOT_FOUND"
    for change in ({"image": None}, {"picture": FILES[:1]}, {"image": [b"no image"]}):
        request = serving_clients.request(server, FILES[:1])
        for name, value in change.items():
            del request.inputs["image"]
            if value is not None:
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        assert serving_clients.refusal(server, request)[0] == "INVALID_ARGUMENT", change
    assert serving_clients.refusal(server, predict_pb2.PredictRequest())[0] == "INVALID_ARGUMENT"


def test_damaged_images_are_answered_or_refused(
    server: model_server.Server, expected: np.ndarray, folder: pathlib.Path
) -> None:
    contents = serving_clients.damaged([*FILES[:3], *serving_clients.jpegs(3)], 60)
    codes = collections.Counter(serving_clients.ask_rest(server, [each]).status_code for each in contents)
    with serving_clients.stub(server) as stub:
        for content in contents:
            call = stub.Predict.future(serving_clients.request(server, [content]), timeout=60)
            codes[call.code().name] += 1
    assert set(codes) == {200, 400, "OK", "INVALID_ARGUMENT"}, codes
    assert codes[200] == codes["OK"] and codes[400] > 20
    assert np.allclose(serving_clients.by_rest(server, FILES)[0], expected, atol=1e-6), "it still answers"
    assert {path.name for path in folder.iterdir()} == {"1", "batching.config"}, "nothing is left behind"


def test_merged_requests_have_the_same_answers(merging: model_server.Server, expected: np.ndarray) -> None:
    def ask(number: int) -> np.ndarray:
        rows = [number % 8, (3 * number) % 8]
        if number % 4 == 3:
            return serving_clients.by_grpc(merging, IMAGES[rows], "serving_default")[0]
        chosen = [FILES[row] for row in rows]
        if number % 2:
            return serving_clients.by_grpc(merging, chosen, "encoded")[0]
        return serving_clients.by_rest(merging, chosen)[0]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for number, answer in enumerate(pool.map(ask, range(96))):
            assert np.allclose(answer, expected[[number % 8, (3 * number) % 8]], atol=1e-5)
    assert serving_clients.ask_rest(merging, [FILES[0]] * 33).status_code == 400, "more than a batch"


def test_who_is_merged_with_a_file_that_is_no_image_is_refused_too(
    merging: model_server.Server, server: model_server.Server
) -> None:
    contents = [[b"no image"], *([content] for content in FILES[1:])]
    for asked, most in ((merging, 40), (server, 5)):
        codes: collections.Counter = collections.Counter()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for _ in range(5):
                replies = pool.map(lambda each, asked=asked: serving_clients.ask_rest(asked, each), contents)
                codes.update(reply.status_code for reply in replies)
        assert set(codes) <= {200, 400} and 5 <= codes[400] <= most
        assert (codes[400] > 5) == (asked is merging), "the price of merging, and of that alone"
        assert serving_clients.ask_rest(asked, FILES[:1]).status_code == 200


def test_a_new_version_takes_over_without_a_failed_request(
    merging: model_server.Server, folder: pathlib.Path, expected: np.ndarray
) -> None:
    other = serving_clients.model(1)
    others = evaluation.to_probabilities(other, other.predict(IMAGES, verbose=0))
    assert np.abs(others - expected).max() > 0.01
    stopped, seen = threading.Event(), []

    def ask() -> None:
        while not stopped.wait(0.04):
            seen.append(serving_clients.by_rest(merging, FILES)[0])  # raises unless it is answered

    def wait_for(wanted: np.ndarray) -> None:
        end = time.monotonic() + 60
        while not np.allclose(serving_clients.by_grpc(merging, FILES, "encoded")[0], wanted, atol=1e-6):
            assert time.monotonic() < end
            time.sleep(0.1)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        second = folder / "2"
        try:
            wait_for(expected)
            assert serving.export_savedmodel(other, folder, serving_clients.NAMES) == second
            wait_for(others)
            states = requests.get(merging.rest, timeout=60).json()["model_version_status"]
            assert {each["version"]: each["state"] for each in states}["2"] == "AVAILABLE"
            shutil.rmtree(second)  # roll back
            wait_for(expected)
        finally:
            shutil.rmtree(second, ignore_errors=True)
            stopped.set()
        for each in asking:
            each.result()
    assert len(seen) > 5
    for answer in seen:
        assert any(np.allclose(answer, each, atol=1e-5) for each in (expected, others)), "one or the other"


# What follows is about the stand-in alone.


def test_versions_come_and_go(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "digits"
    shutil.copytree(
        serving.export_savedmodel(small_models.sequential(), tmp_path / "kept", list("abc")), place / "1"
    )
    held = served_model.Model("digits", place, None)
    with pytest.raises(served_model.Refused, match="not found"):
        held.get("digits")

    def states() -> dict[int, str]:
        held.poll()
        found = held.status("digits", None).model_version_status
        return {each.version: served_model.State.Name(each.state) for each in found}

    assert states() == {1: "AVAILABLE"}
    (place / "2").mkdir()
    (place / "2" / "saved_model.pb").write_bytes(b"no model")
    assert states() == states() == {1: "AVAILABLE", 2: "END"}, "the broken one is not served"
    assert held.status("digits", 2).model_version_status[0].status.error_message
    assert held.get("digits")[0] == 1
    shutil.rmtree(place / "2")
    assert states() == {1: "AVAILABLE"}
    shutil.copytree(tmp_path / "kept" / "1", place / "2")
    assert states() == {1: "END", 2: "AVAILABLE"} and held.get("digits")[0] == 2
    with pytest.raises(served_model.Refused, match=r"Specific\(digits, 1\)"):
        held.get("digits", 1)
    (place / "2").rename(tmp_path / "taken away")
    assert states() == {1: "AVAILABLE", 2: "END"}, "rolled back"
    (place / "1").rename(tmp_path / "too")
    held.poll()  # it has ended,
    held.poll()  # and is forgotten
    with pytest.raises(served_model.Refused, match="any versions"):
        held.status("digits", None)


JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats()
    | strategies.text(max_size=8) | strategies.just({"b64": base64.b64encode(FILES[0]).decode()}),
    lambda inner: strategies.lists(inner, max_size=4)
    | strategies.dictionaries(strategies.sampled_from(["image", "b64", "x", ""]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
BODIES = strategies.fixed_dictionaries(
    {},
    optional={
        "instances": JSON, "inputs": JSON, "signature_name": strategies.sampled_from(["encoded", "x", "", 1])
    },
)  # fmt: skip


@hypothesis.settings(max_examples=300, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(
    body=BODIES.map(lambda body: json.dumps(body).encode()) | JSON.map(lambda body: json.dumps(body).encode())
    | strategies.binary(max_size=60)
)  # fmt: skip
def test_any_body_is_answered_or_refused(body: bytes, stand_in: served_model.Model) -> None:
    try:
        answer = rest_api.answer(stand_in, "digits", None, body)
    except served_model.Refused as error:
        assert error.code == "INVALID_ARGUMENT"
    else:
        assert set(answer) & {"predictions", "outputs"}


def test_bodies_that_break_parsers(stand_in: served_model.Model) -> None:
    huge = '{"instances": [' + "9" * 5000 + "]}"
    for body in ("[" * 100_000, '{"instances": ' * 10_000, huge, '{"instances": [1e400]}', "\ud800", "NaN"):
        with pytest.raises(served_model.Refused):
            rest_api.answer(stand_in, "digits", None, body.encode(errors="surrogatepass"))
    pixels = json.dumps({"instances": np.full((1, 32, 32, 3), 1e39).tolist()}).encode()
    with pytest.raises(served_model.Refused, match="too large for float32"):
        rest_api.answer(stand_in, "digits", None, pixels)
    many = json.dumps({"signature_name": "encoded", "instances": ["x"] * 1025}).encode()
    with pytest.raises(served_model.Refused, match="at most 1024"):
        rest_api.answer(stand_in, "digits", None, many)


def test_a_tensor_that_claims_much_is_not_made(server: model_server.Server) -> None:
    if server.program != "finetune_lib.model_server":
        pytest.skip("TensorFlow Serving makes it")
    for shape in ([2**40], [2**31, 2**31], [-5], [0], []):
        request = serving_clients.request(server, [b"x"])
        del request.inputs["image"].tensor_shape.dim[:]
        for size in shape:
            request.inputs["image"].tensor_shape.dim.add(size=size)
        assert serving_clients.refusal(server, request)[0] == "INVALID_ARGUMENT", shape
    request = serving_clients.request(server, IMAGES[:2], "serving_default")
    request.inputs["image"].tensor_content = b"too short"
    assert serving_clients.refusal(server, request)[0] == "INVALID_ARGUMENT"
    for wrong in ([1.0], [[b"x"]], b"x"):
        assert (
            serving_clients.refusal(server, serving_clients.request(server, wrong))[0] == "INVALID_ARGUMENT"
        )
    request = serving_clients.request(server, FILES[:1])
    request.model_spec.version_label = "stable"
    assert serving_clients.refusal(server, request)[0] == "INVALID_ARGUMENT"


def raw(server: model_server.Server, content: bytes) -> bytes:
    """What comes back for these bytes, until the server closes."""
    host, port = server.rest.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_broken_http_is_refused_and_the_server_goes_on(server: model_server.Server) -> None:
    if server.program != "finetune_lib.model_server":
        pytest.skip("TensorFlow Serving has a web server of its own")
    path = server.rest[server.rest.index("/v1") :].encode()
    post = b"POST " + path + b":predict HTTP/1.1\r\nHost: x\r\n"
    for content, status in (
        (b"\r\n\r\n", b""),
        (b"nonsense\r\n\r\n", b""),  # taken for HTTP 0.9, which has no status
        (b"\x00\xff" * 50 + b"\r\n\r\n", b""),
        (b"GET " + b"/x" * 40_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET /etc/passwd HTTP/1.1\r\n\r\n", b"400"),
        (b"PUT " + path + b" HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"400"),
        (post + b"\r\n", b"400"),
        (post + b"Content-Length: -1\r\n\r\n", b"400"),
        (post + b"Content-Length: many\r\n\r\n", b"400"),
        (post + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (post + b"Content-Length: 100\r\n\r\n{", b"400"),
        (b"GET " + path + b"/versions/" + b"9" * 30 + b" HTTP/1.1\r\n\r\n", b"404"),
    ):
        answer = raw(server, content)
        assert answer.startswith(b"HTTP/1.1 " + status if status else b""), (content[:60], answer[:200])
        assert status != b"400" or b'{"error": "' in answer
    for _ in range(20):  # clients that say nothing
        socket.create_connection(("127.0.0.1", int(server.rest.split(":")[2].split("/")[0]))).close()
    assert requests.get(server.rest, timeout=60).status_code == 200


def test_a_body_that_is_too_long_is_refused(server: model_server.Server) -> None:
    if server.program != "finetune_lib.model_server":
        pytest.skip("TensorFlow Serving takes it")
    host, port = server.rest.split("/")[2].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request("POST", "/v1/models/digits:predict", b" " * (rest_api.LARGEST_REQUEST + 1))
    answer = connection.getresponse()
    assert answer.status == 400 and b"more than 67,108,864 bytes" in answer.read()
    connection.request("GET", "/v1/models/digits")  # the same connection
    assert connection.getresponse().status == 200
    connection.close()


def put_on_path(path: pathlib.Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that calls itself tensorflow_model_server, first on the path."""
    file = path / "tensorflow_model_server"
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(path), prepend=os.pathsep)


def test_a_server_that_dies_says_why(
    folder: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path, "#!/bin/sh\necho 'Not enough of something' >&2\nexit 3\n", monkeypatch)
    words = "tensorflow_model_server did not start: it ended with code 3. Its last words:\nNot enough of some"
    with pytest.raises(RuntimeError, match=words), model_server.start(folder):
        pass
    with pytest.raises(FileNotFoundError, match="holds no version"), model_server.start(tmp_path / "none"):
        pass


FAKE = f"""#!{sys.executable}
import http.server, json, os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it takes more than asking
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        state = {{"state": "AVAILABLE", "flags": sys.argv[1:], "process": os.getpid()}}
        self.wfile.write(json.dumps({{"model_version_status": [state]}}).encode())
port = int(sys.argv[1].removeprefix("--rest_api_port="))
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, SystemExit])
def test_the_real_server_is_preferred_and_always_ended(
    end: type | None, folder: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path, FAKE, monkeypatch)
    real = subprocess.Popen.wait  # does not wait for five seconds here
    monkeypatch.setattr(subprocess.Popen, "wait", lambda self, timeout=None: real(self, timeout and 0.2))
    try:
        with model_server.start(folder, batching=True) as server:
            (state,) = requests.get(server.rest, timeout=60).json()["model_version_status"]
            assert server.program == "tensorflow_model_server" and server.name == "digits"
            assert f"--model_base_path={folder}" in state["flags"]
            assert "--enable_batching=true" in state["flags"]
            if end:
                raise end
    except (KeyboardInterrupt, SystemExit):
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(state["process"], 0)


def test_bad_flags_and_folders_end_it_with_a_sentence(
    folder: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    known = ["--rest_api_port=1", "--model_name=digits"]
    with pytest.raises(SystemExit, match=r"Servable not found for request: Latest\(digits\)"):
        model_server.main([*known, f"--model_base_path={tmp_path}"])
    (tmp_path / "config").write_text("what")
    batching = ["--enable_batching", f"--batching_parameters_file={tmp_path}/config"]
    with pytest.raises(SystemExit, match="does not know"):
        model_server.main([*known, f"--model_base_path={folder}", *batching])
    with pytest.raises(SystemExit, match="2"):
        model_server.main([*known, "--model_base", str(folder)])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = [f"--rest_api_port={port}", f"--port={model_server._free_ports(1)[0]}", "--model_name=digits"]
        with pytest.raises(SystemExit, match=r"finetune_lib.model_server: .*in use"):
            model_server.main([*flags, f"--model_base_path={folder}"])


def test_it_ends_when_whoever_started_it_is_gone(
    stand_in: served_model.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(model_server.STARTER, "1234567")
    start = time.monotonic()
    model_server.serve(stand_in, *model_server._free_ports(2))
    assert time.monotonic() - start < 5
