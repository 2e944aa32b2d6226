"""A stand-in for ``tensorflow_model_server``, for machines that lack it; and ``start``, which starts either.

It takes the server's own flags and speaks its formats: REST (tensorflow.org/tfx/serving/api_rest) and gRPC
(the stubs of ``tensorflow-serving-api``), to this machine only. Models are run by TensorFlow's SavedModel
loader, and requests are merged by TensorFlow's batching kernel: the real server is built on both.

    python -m finetune_lib.model_server --rest_api_port=8501 --port=8500 --model_name=digits \\
        --model_base_path=/models/digits
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from finetune_lib import rest_api, served_model, serving

STARTER = "FINETUNE_SERVER_STARTED_BY"


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        program: ``"tensorflow_model_server"``, or the stand-in: ``"finetune_lib.model_server"``.
        rest: the model's address for REST, ``http://127.0.0.1:PORT/v1/models/NAME``. It tells the state; with
            ``/metadata`` behind it, the signatures; with ``:predict``, it takes requests.
        grpc: ``127.0.0.1:PORT``, for gRPC.
        name: the model's.
    """

    program: str
    rest: str
    grpc: str
    name: str


@contextlib.contextmanager
def start(folder: str | os.PathLike, *, batching: bool = False) -> Iterator[Server]:
    """Serve a folder of versions, as ``serving.export_savedmodel`` writes it, while a ``with`` lasts.

    The server is a process of its own, on free ports: TensorFlow Serving's, if ``tensorflow_model_server`` is
    on this machine's path, otherwise the stand-in. It uses no GPU. It ends with the ``with``, whatever
    happens; the stand-in also if this process is killed.

    Args:
        batching: merge requests that come at about the same time, as ``batching.config`` says.

    Raises:
        FileNotFoundError: if the folder holds no version.
        RuntimeError: if the server does not come up; with its last words.
    """
    folder = pathlib.Path(folder).absolute()
    if not serving.versions(folder):
        raise FileNotFoundError(f"{folder} holds no version of a model. Write one with export_savedmodel.")
    rest, port = _free_ports(2)
    command = serving.commands(folder, rest=rest, grpc=port, batching=batching)["tensorflow_model_server"]
    program = "tensorflow_model_server"
    if not shutil.which(program):
        program = "finetune_lib.model_server"
        command = [sys.executable, "-m", program, *command[1:]]
    paths = [str(pathlib.Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        STARTER: str(os.getpid()),
    }
    path = f"/v1/models/{urllib.parse.quote(folder.name)}"
    with tempfile.TemporaryFile() as log:
        # In a session of its own, the Ctrl-C that stops a cell does not reach it.
        process = subprocess.Popen(
            command, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            _wait(program, path, rest, process, log)
            yield Server(program, f"http://127.0.0.1:{rest}{path}", f"127.0.0.1:{port}", folder.name)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except BaseException:  # it takes too long, or Ctrl-C was pressed once more
                process.kill()
                process.wait()


def _wait(program: str, path: str, port: int, process: subprocess.Popen, log: BinaryIO) -> None:
    """Wait until a version is available."""
    end, problem = time.monotonic() + 120, "it was not ready after two minutes"
    while time.monotonic() < end:
        if process.poll() is not None:
            problem = f"it ended with code {process.returncode}"
            break
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with (
            contextlib.closing(connection),
            contextlib.suppress(OSError, http.client.HTTPException, ValueError, KeyError),
        ):
            connection.request("GET", path)
            versions = json.load(connection.getresponse())["model_version_status"]
            if any(version["state"] == "AVAILABLE" for version in versions):
                return
        time.sleep(0.05)  # it does not listen yet, or is loading
    log.seek(0)
    words = log.read().decode(errors="replace").strip()[-2000:]
    raise RuntimeError(f"{program} did not start: {problem}. Its last words:\n{words}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Requests by gRPC."""

    def __init__(self, model: served_model.Model) -> None:
        self.model = model

    def Predict(self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext) -> Any:
        """Run a signature."""
        return _reply(context, lambda: self._predict(request))

    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> Any:
        """The signatures."""
        return _reply(context, lambda: self._describe(request))

    def _predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        number, version = self.model.get(*_asked(request.model_spec))
        signature = request.model_spec.signature_name or "serving_default"
        specs = version.inputs(signature)
        try:
            # The shapes first: a few bytes can claim any number of values.
            tensors = {name: tf.TensorShape(value.tensor_shape) for name, value in request.inputs.items()}
            version.require(signature, {name: tuple(shape.as_list()) for name, shape in tensors.items()})
            if wrong := [name for name in specs if request.inputs[name].dtype != specs[name].dtype]:
                raise ValueError(f"{wrong[0]} is not of type {specs[wrong[0]].dtype.name}")
            values = {name: tf.make_ndarray(request.inputs[name]) for name in specs}
        except (ValueError, TypeError) as error:
            raise served_model.Refused(f"The request cannot be read: {error}") from error
        answers = version.predict(signature, values)
        if unknown := sorted(set(request.output_filter) - answers.keys()):
            raise served_model.Refused(f"output tensor alias not found in signature: {unknown[0]}")
        response = predict_pb2.PredictResponse()
        for name in request.output_filter or answers:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(answers[name]))
        response.model_spec.name, response.model_spec.version.value = request.model_spec.name, number
        response.model_spec.signature_name = signature
        return response

    def _describe(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if list(request.metadata_field) != ["signature_def"]:
            raise served_model.Refused("GetModelMetadataRequest must specify metadata_field: signature_def")
        return self.model.describe(*_asked(request.model_spec))


class States(model_service_pb2_grpc.ModelServiceServicer):
    """Questions by gRPC for the state."""

    def __init__(self, model: served_model.Model) -> None:
        self.model = model

    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> Any:
        """The state of one version, or of all."""
        return _reply(context, lambda: self.model.status(*_asked(request.model_spec)))


def _asked(spec: Any) -> tuple[str, int | None]:
    if not spec.name:
        raise served_model.Refused("Missing ModelSpec")
    if spec.version_label:
        raise served_model.Refused(f"Unrecognized servable version label: {spec.version_label}")
    return spec.name, spec.version.value if spec.HasField("version") else None


def _reply(context: grpc.ServicerContext, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except served_model.Refused as error:
        code, message = error.code, str(error)
    except Exception as error:
        traceback.print_exc()
        code, message = "INTERNAL", f"{type(error).__name__}: {error}"
    return context.abort(grpc.StatusCode[code], message[:1000])  # it travels in a header


def serve(model: served_model.Model, rest_port: int, grpc_port: int) -> None:
    """Answer requests, and look at the model's folder once a second, until the process is told to end."""
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(max_workers=64),  # twice as many as are merged
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", rest_api.LARGEST_REQUEST)],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(model), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(States(model), server)
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    handler = type("ModelHandler", (rest_api.Handler,), {"model": model})
    with rest_api.Server(("127.0.0.1", rest_port), handler) as rest:
        server.start()
        threading.Thread(target=rest.serve_forever, daemon=True).start()
        print(f"{model.name}: REST on port {rest_port}, gRPC on port {grpc_port}", flush=True)
        try:
            while os.environ.get(STARTER, str(os.getppid())) == str(os.getppid()):  # else it was left alone
                time.sleep(1)
                model.poll()
        finally:
            rest.shutdown()
            server.stop(grace=2).wait()


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="finetune_lib.model_server", allow_abbrev=False)
    parser.add_argument("--rest_api_port", type=int, required=True)
    parser.add_argument("--port", type=int, default=8500, help="for gRPC")
    parser.add_argument("--model_name", default="default")
    parser.add_argument("--model_base_path", type=pathlib.Path, required=True)
    parser.add_argument(
        "--enable_batching", nargs="?", const="true", default="false", choices=("true", "false")
    )
    parser.add_argument("--batching_parameters_file", type=pathlib.Path)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        batching = None
        if options.enable_batching == "true":
            file = options.batching_parameters_file
            batching = served_model.batching_numbers(file.read_text(encoding="utf-8") if file else "")
        model = served_model.Model(options.model_name, options.model_base_path, batching)
        model.poll()
        model.get(model.name)  # as the real server, it does not start with a model that cannot be loaded
        serve(model, options.rest_api_port, options.port)
    except (OSError, RuntimeError, ValueError, served_model.Refused) as error:
        sys.exit(f"{parser.prog}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
