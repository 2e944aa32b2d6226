"""A folder of versions as a model server holds it: loaded, swapped, and run on requests (lesson 07)."""

import os
import pathlib
import re
import sys
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, prediction_log_pb2

from finetune_lib import decoding, serving

MOST_IMAGES = 1024  # in one request
State = get_model_status_pb2.ModelVersionStatus.State


class Refused(Exception):
    """An answer that is an error.

    Attributes:
        code: gRPC's name for its kind, such as ``"NOT_FOUND"``.
    """

    def __init__(self, message: str, code: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.code = code


class Version:
    """One version of a model, loaded and warmed up.

    Args:
        batching: the numbers of ``batching.config``; None runs each request by itself.

    Attributes:
        metadata: its signatures, as the server's metadata calls show them.
    """

    def __init__(self, folder: pathlib.Path, batching: Mapping[str, int] | None) -> None:
        self._loaded = tf.saved_model.load(str(folder))
        graph = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0]
        self.metadata = get_model_metadata_pb2.SignatureDefMap(signature_def=graph.signature_def)
        self._run: dict[str, Any] = dict(self._loaded.signatures.items())
        self._specs = {name: run.structured_input_signature[1] for name, run in self._run.items()}
        if batching is not None:
            self._run = {name: _merging(run, self._specs[name], batching) for name, run in self._run.items()}
        records = folder / "assets.extra" / "tf_serving_warmup_requests"
        for record in tf.data.TFRecordDataset(str(records)) if records.exists() else ():
            request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
            values = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            self.predict(request.model_spec.signature_name, values)

    def inputs(self, signature: str) -> dict[str, tf.TensorSpec]:
        """What a signature takes, by name. Raises Refused if there is none of that name."""
        if signature not in self._specs:
            raise Refused(f'Serving signature name: "{signature}" not found in signature def')
        return self._specs[signature]

    def require(self, signature: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raise Refused unless a signature takes just these inputs, of these shapes."""
        specs = self.inputs(signature)
        if shapes.keys() != specs.keys():
            raise Refused(f"The inputs are {sorted(shapes)}; {signature} takes {sorted(specs)}.")
        for name, shape in shapes.items():
            wanted = specs[name].shape
            if not wanted.is_compatible_with(shape) or not 0 < shape[0] <= MOST_IMAGES:
                takes = f"{signature} takes {wanted}, at least one and at most {MOST_IMAGES} of them"
                raise Refused(f"{name} has shape {shape}; {takes}.")

    def predict(self, signature: str, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a signature. Raises Refused if the values do not fit, or the model or its queue refuse them."""
        self.require(signature, {name: np.shape(value) for name, value in values.items()})
        specs = self._specs[signature]
        try:
            tensors = {name: tf.constant(value, specs[name].dtype) for name, value in values.items()}
            return {name: value.numpy() for name, value in self._run[signature](**tensors).items()}
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, TypeError, ValueError) as error:
            raise Refused(decoding.reason(error)) from error
        except tf.errors.ResourceExhaustedError as error:
            raise Refused(decoding.reason(error), "RESOURCE_EXHAUSTED") from error
        except tf.errors.UnavailableError as error:  # the queue is full
            raise Refused(decoding.reason(error), "UNAVAILABLE") from error


class Model:
    """A folder of versions, of which the highest is served. The one before answers until that is ready."""

    def __init__(self, name: str, folder: pathlib.Path, batching: Mapping[str, int] | None) -> None:
        self.name, self.folder, self.batching = name, folder, batching
        self._served: dict[int, Version] = {}  # replaced as a whole, since other threads read it
        self._states: dict[int, tuple[int, str]] = {}

    def poll(self) -> None:
        """Look at the folder, and load or unload what has changed. One that fails is not tried again."""
        found = serving.versions(self.folder)
        known = {number: self._states[number] for number in self._states if number in {*found, *self._served}}
        newest = found[-1] if found else None
        if newest is None:
            self._served = {}
        elif newest not in self._served and known.get(newest, (State.END, "")) == (State.END, ""):
            self._states = known | {newest: (State.LOADING, "")}
            try:
                self._served = {newest: Version(self.folder / str(newest), self.batching)}
            except Exception as error:
                known[newest] = (State.END, decoding.reason(error))
                print(
                    f"Version {newest} of {self.name}: {decoding.reason(error)}", file=sys.stderr, flush=True
                )
        ended = {number: (State.END, known[number][1]) for number in known.keys() - self._served.keys()}
        self._states = ended | dict.fromkeys(self._served, (State.AVAILABLE, ""))

    def get(self, name: str, number: int | None = None) -> tuple[int, Version]:
        """The version of that number, or the newest, and its number. Raises Refused if it is not served."""
        served = self._served if name == self.name else {}
        chosen = max(served, default=-1) if number is None else number
        if chosen not in served:
            asked = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise Refused(f"Servable not found for request: {asked}", "NOT_FOUND")
        return chosen, served[chosen]

    def status(self, name: str, number: int | None) -> get_model_status_pb2.GetModelStatusResponse:
        """What is known of all versions, or of one. Raises Refused if nothing is."""
        states = self._states if name == self.name else {}
        known = [key for key in sorted(states, reverse=True) if number in (None, key)]
        if not known:
            versions = "any versions" if number is None else f"version {number}"
            raise Refused(f"Could not find {versions} of model {name}", "NOT_FOUND")
        response = get_model_status_pb2.GetModelStatusResponse()
        for key in known:
            state, problem = states[key]
            entry = response.model_version_status.add(version=key, state=state)
            entry.status.error_code, entry.status.error_message = 2 if problem else 0, problem  # UNKNOWN, OK
        return response

    def describe(self, name: str, number: int | None) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version. Raises Refused if it is not served."""
        chosen, version = self.get(name, number)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name, response.model_spec.version.value = name, chosen
        response.metadata["signature_def"].Pack(version.metadata)
        return response


def batching_numbers(text: str) -> dict[str, int]:
    """What a batching configuration says, such as ``max_batch_size { value: 32 }``.

    Raises:
        ValueError: for anything that is no such line.
    """
    names = "max_batch_size|batch_timeout_micros|max_enqueued_batches|num_batch_threads"
    entry = rf"({names})\s*\{{\s*value\s*:\s*([0-9]+)\s*\}}"
    text = re.sub("#.*", "", text)
    if rest := re.sub(entry, "", text).strip():
        raise ValueError(f"The batching configuration says {rest!r}, which the stand-in does not know.")
    return {name: int(value) for name, value in re.findall(entry, text)}


def _merging(run: Callable, specs: Mapping[str, tf.TensorSpec], batching: Mapping[str, int]) -> Callable:
    """The function, with calls that come at about the same time merged into one along the first dimension."""
    inputs, outputs = sorted(specs), sorted(run.structured_outputs)  # type: ignore[attr-defined]

    @tf.nondifferentiable_batch_function(
        num_batch_threads=batching.get("num_batch_threads", os.cpu_count() or 1),
        max_batch_size=batching.get("max_batch_size", 1000),
        batch_timeout_micros=batching.get("batch_timeout_micros", 0),
        max_enqueued_batches=batching.get("max_enqueued_batches", 10),
        enable_large_batch_splitting=False,
    )
    def merged(*values: tf.Tensor) -> list[tf.Tensor]:
        answers = run(**dict(zip(inputs, values, strict=True)))
        return [answers[name] for name in outputs]

    @tf.function(input_signature=[specs[name] for name in inputs])
    def one(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        # Kernels of one name share a queue, which the versions and signatures of a model must not.
        with tf.name_scope(f"queue_{uuid.uuid4().hex}"):
            return dict(zip(outputs, merged(*values), strict=True))

    return lambda **values: one(*(values[name] for name in inputs))
