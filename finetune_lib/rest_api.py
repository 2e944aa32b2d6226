"""What a model server says over REST, as tensorflow.org/tfx/serving/api_rest has it (lesson 07)."""

import base64
import http.server
import json
import re
import sys
import traceback
import urllib.parse
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from finetune_lib import served_model

LARGEST_REQUEST = 64 * 2**20  # bytes
PREDICT = re.compile(r"/v1/models/([^/:]+)(?:/versions/([0-9]+))?:predict")
STATUS = re.compile(r"/v1/models/([^/:]+)(?:/versions/([0-9]+))?(/metadata)?")
HTTP = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503}


class Handler(http.server.BaseHTTPRequestHandler):
    """Requests by REST."""

    model: served_model.Model
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # header and body leave together
    timeout = 60

    def do_GET(self) -> None:
        """The state, or the signatures."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Predict."""
        self._answer(self._post)

    def _get(self) -> Any:
        name, number, found = self._match(STATUS)
        if not found[3]:
            return _message(self.model.status(name, number))
        response = self.model.describe(name, number)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return {
            "model_spec": _message(response.model_spec),
            "metadata": {"signature_def": _message(signatures)},
        }

    def _post(self) -> Any:
        body = self._body()
        name, number, _ = self._match(PREDICT)
        return answer(self.model, name, number, body)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,12}", length):
            self.close_connection = True
            raise served_model.Refused("The request does not say its Content-Length.")
        if int(length) <= LARGEST_REQUEST:
            return self.rfile.read(int(length))
        rest = int(length)
        while rest and (part := self.rfile.read(min(rest, 2**20))):  # or the client would not hear the answer
            rest -= len(part)
        raise served_model.Refused(f"The request has more than {LARGEST_REQUEST:,} bytes.")

    def _match(self, pattern: re.Pattern[str]) -> tuple[str, int | None, re.Match[str]]:
        found = pattern.fullmatch(self.path.split("?")[0])
        if not found:
            raise served_model.Refused(f"Malformed request: {self.command} {self.path}")
        return urllib.parse.unquote(found[1]), int(found[2]) if found[2] else None, found

    def _answer(self, make: Callable[[], Any]) -> None:
        try:
            self._send(200, make())
        except served_model.Refused as error:
            self._send(HTTP[error.code], {"error": str(error)})
        except (ConnectionError, TimeoutError):  # the client has gone
            self.close_connection = True
        except Exception as error:
            traceback.print_exc()
            self._send(500, {"error": f"{type(error).__name__}: {error}"})

    def _send(self, status: int, content: Any) -> None:
        body = json.dumps(content, ensure_ascii=False).encode(errors="backslashreplace")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses by itself: bad lines, headers or methods."""
        self.close_connection = True
        self._send(400 if code >= 500 else code, {"error": f"Malformed request: {message or code}"})

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def _message(message: Any) -> Any:
    """A message as its JSON says, also of fields that hold nothing."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


class Server(http.server.ThreadingHTTPServer):
    """A thread for each connection."""

    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):  # the client has gone
            super().handle_error(request, client_address)


def answer(model: served_model.Model, name: str, number: int | None, body: bytes) -> dict[str, Any]:
    """Answer a REST request, by rows (``instances``) or by columns (``inputs``). Raises Refused."""
    _, version = model.get(name, number)
    try:
        request = json.loads(body)
        if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
            raise ValueError("it is no object with either 'instances' or 'inputs'")
        signature = request.get("signature_name", "serving_default")
        if not isinstance(signature, str):
            raise ValueError("signature_name is not a string")
        specs = version.inputs(signature)
        columns = _columns(request, list(specs))
        values = {key: _array(value, specs[key].dtype) for key, value in columns.items() if key in specs}
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise served_model.Refused(f"The request cannot be read: {error}") from error
    version.require(signature, {key: np.shape(values[key]) if key in values else () for key in columns})
    answers = {key: _plain(value) for key, value in version.predict(signature, values).items()}
    if "inputs" in request:
        return {"outputs": answers if len(answers) > 1 else next(iter(answers.values()))}
    rows = [dict(zip(answers, row, strict=True)) for row in zip(*answers.values(), strict=True)]
    return {"predictions": rows if len(answers) > 1 else [next(iter(row.values())) for row in rows]}


def _columns(request: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The values of each input, from rows or columns."""

    def is_named(value: Any) -> bool:
        return isinstance(value, dict) and value.keys() != {"b64"}

    columns, rows = request.get("inputs"), request.get("instances")
    if "inputs" in request:
        if not is_named(columns) and len(names) > 1:
            raise ValueError("there are several inputs, so it takes an object of names and values")
        return columns if isinstance(columns, dict) and is_named(columns) else {names[0]: columns}
    if not isinstance(rows, list) or not rows:
        raise ValueError("'instances' is not a list of at least one")
    named = [is_named(row) for row in rows]
    if any(named) != all(named) or (not all(named) and len(names) > 1):
        raise ValueError("'instances' holds values that do not say of which input they are")
    if not all(named):
        return {names[0]: rows}
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ValueError("the objects in 'instances' do not all have the same names")
    return {key: [row[key] for row in rows] for key in rows[0]}


def _array(value: Any, dtype: tf.DType) -> np.ndarray:
    """Numbers, or strings and ``{"b64": ...}``, or nested lists of them, as an array."""
    if dtype == tf.string:
        return np.array(_strings(value), object)
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "iuf":
        raise ValueError(f"not all values are numbers: {str(value)[:60]}")
    with np.errstate(over="ignore"):
        result = numbers.astype(dtype.as_numpy_dtype)
    if (np.isinf(result) & np.isfinite(numbers)).any():
        raise ValueError(f"a number is too large for {dtype.name}")
    return result


def _strings(value: Any) -> Any:
    if isinstance(value, list):
        return [_strings(each) for each in value]
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        text = value["b64"]
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    raise ValueError(f'neither a string nor {{"b64": ...}}: {str(value)[:60]}')


def _plain(values: np.ndarray) -> list:
    """Lists of strings, or of the shortest decimal numbers that give the same float32 again."""
    if values.dtype == object:
        return [text.decode() for text in values]
    return values.astype(str).astype(float).tolist()
