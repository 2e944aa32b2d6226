"""A model for TensorFlow Serving: a versioned SavedModel that takes pixels or image files (lesson 07)."""

import os
import pathlib
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from finetune_lib import compression, decoding, evaluation, lambda_bundle

WARM_UP_RECORDS = 1000  # TensorFlow Serving refuses to load a model with more
BATCHING = """\
max_batch_size { value: 32 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 }
"""


def export_savedmodel(
    model: keras.Model,
    folder: str | os.PathLike,
    class_names: Sequence[str],
    *,
    warm_up: Sequence[bytes] = (),
) -> pathlib.Path:
    """Write a model's next version where TensorFlow Serving looks for it: ``folder/1``, ``folder/2``, ...

    The SavedModel has two signatures, with one result: ``probabilities``, float32 ``(batch, classes)``, each
    row summing to 1, and ``classes``, the name of the most probable one, string ``(batch,)``.

    - ``serving_default`` takes ``image``: float32 ``(batch, height, width, 3)``, raw RGB 0..255.
    - ``encoded`` takes ``image``: string ``(batch,)``, the contents of JPEG or PNG files. ``decoding.decode``
      reads them as ``photos.read`` does.

    A server watches the folder and takes the highest number. So a version is written under another name, and
    gets its number in one step, when it is complete. Beside the versions lies ``batching.config``, for the
    server's ``--batching_parameters_file``; one that is there already stays as it is.

    Args:
        model: functional, one image input of one size, raw RGB 0..255; one output: logits or a softmax, or
            for two classes one logit or a sigmoid. It is not changed.
        folder: the last part of its path is the model's name.
        class_names: label ``i`` is called ``class_names[i]``; kept in the model as an asset, ``classes.txt``.
        warm_up: contents of JPEG or PNG files. A server answers each of them, by both signatures, before it
            takes requests: the first request is then as fast as any. Some three will do.

    Returns:
        The version's folder.

    Raises:
        TypeError: if the model is not functional, or not built.
        ValueError: if it is no classifier of images of one size, or the class names do not fit it; for a name
            that a server could not use; for a warm-up file that is none.
        OSError: if the folder cannot be written; nothing is left in it then.
    """
    _require_fit(model, class_names)
    folder = pathlib.Path(folder).absolute()
    if not re.fullmatch(r"[^/:\\]+", folder.name):
        raise ValueError(
            f"{folder.name!r} cannot be a model's name in a URL; choose a folder without colons."
        )
    records = _warm_up_records(folder.name, warm_up, model.input_shape[1:3])
    hidden = folder / f".writing-{uuid.uuid4().hex}"  # not a number, so a server does not see it
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        _write(model, hidden, class_names)
        if records:
            (hidden / "assets.extra").mkdir(exist_ok=True)
            with tf.io.TFRecordWriter(str(hidden / "assets.extra" / "tf_serving_warmup_requests")) as writer:
                for record in records:
                    writer.write(record.SerializeToString())
        if not (folder / "batching.config").exists():
            (hidden / "batching.config").write_text(BATCHING, encoding="utf-8")
            (hidden / "batching.config").replace(folder / "batching.config")
        while True:
            version = folder / str(max(versions(folder), default=0) + 1)
            try:
                return hidden.rename(version)
            except OSError:
                if not version.exists():  # else another export has just taken that number
                    raise
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or decoding.reason(error)
        raise OSError(
            f"The model cannot be written to {folder} ({reason}). Choose a folder that can be written, on a "
            "disk with room; versions that were there before are as they were."
        ) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def versions(folder: str | os.PathLike) -> list[int]:
    """The versions that a folder holds, in order; a server serves the last one. None without a folder."""
    path = pathlib.Path(folder)
    found = path.iterdir() if path.is_dir() else ()
    return sorted(
        int(each.name) for each in found if re.fullmatch("0|[1-9][0-9]*", each.name) and each.is_dir()
    )


def commands(
    folder: str | os.PathLike, *, rest: int = 8501, grpc: int = 8500, batching: bool = False
) -> dict[str, list[str]]:
    """The command lines that serve a folder of versions: ``"docker"``, and ``"tensorflow_model_server"``.

    Args:
        rest, grpc: the ports on this machine. Docker's are open to this machine only; the bare server's are
            open to the network, too.
        batching: merge requests that come at about the same time, as ``batching.config`` says. One image that
            cannot be decoded then fails all requests that were merged with it.
    """
    path = pathlib.Path(folder).absolute()

    def options(place: str) -> list[str]:
        file = f"--batching_parameters_file={place}/batching.config"
        return ["--enable_batching=true", file] if batching else []

    return {
        "docker": [
            "docker", "run", "--rm", "-p", f"127.0.0.1:{rest}:8501", "-p", f"127.0.0.1:{grpc}:8500",
            "-v", f"{path}:/models/{path.name}:ro", "-e", f"MODEL_NAME={path.name}", "tensorflow/serving",
            *options(f"/models/{path.name}"),
        ],
        "tensorflow_model_server": [
            "tensorflow_model_server", f"--rest_api_port={rest}", f"--port={grpc}",
            f"--model_name={path.name}", f"--model_base_path={path}", *options(str(path)),
        ],
    }  # fmt: skip


def _write(model: keras.Model, folder: pathlib.Path, class_names: Sequence[str]) -> None:
    size = model.input_shape[1:3]
    ending = evaluation.last_activation(model)
    with tempfile.TemporaryDirectory() as scratch:
        asset = pathlib.Path(scratch) / "classes.txt"
        asset.write_bytes("".join(f"{name}\n" for name in class_names).encode())
        lines = tf.lookup.TextFileInitializer(
            str(asset), tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
            tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
        )  # fmt: skip
        names = tf.lookup.StaticHashTable(lines, default_value="")

        def answer(image: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = tf.cast(model(image, training=False), tf.float32)
            if outputs.shape[-1] == 1:
                second = outputs if ending == "sigmoid" else tf.sigmoid(outputs)
                probabilities = tf.concat([1 - second, second], axis=-1)
            else:
                probabilities = outputs if ending == "softmax" else tf.nn.softmax(outputs)
            return {
                "probabilities": probabilities,
                "classes": names.lookup(tf.argmax(probabilities, axis=-1)),
            }

        def answer_files(image: tf.Tensor) -> dict[str, tf.Tensor]:
            # A few at a time: a large PNG takes half a gigabyte while it is decoded.
            return answer(
                tf.map_fn(
                    lambda content: decoding.decode(content, size), image, parallel_iterations=4,
                    fn_output_signature=tf.TensorSpec((*size, 3), tf.float32),
                )
            )  # fmt: skip

        # Not by Keras' ExportArchive, which writes every weight twice.
        module = tf.Module()
        module.weights, module.names = [variable.value for variable in model.variables], names
        pixels = tf.TensorSpec((None, *size, 3), tf.float32, "image")
        files = tf.TensorSpec((None,), tf.string, "image")
        signatures = {
            "serving_default": tf.function(answer, input_signature=[pixels]),
            "encoded": tf.function(answer_files, input_signature=[files]),
        }
        tf.saved_model.save(module, str(folder), signatures)


def _warm_up_records(
    name: str, files: Sequence[bytes], size: tuple[int, int]
) -> list[prediction_log_pb2.PredictionLog]:
    """One request for each signature and file."""
    if 2 * len(files) > WARM_UP_RECORDS:
        raise ValueError(
            f"There are {len(files)} warm-up files; {WARM_UP_RECORDS // 2} is the most, 3 will do."
        )
    records = []
    for position, content in enumerate(files):
        try:
            image = decoding.decode(tf.constant(content, tf.string), size)[tf.newaxis].numpy()
        except (tf.errors.InvalidArgumentError, TypeError, ValueError) as error:
            raise ValueError(f"warm_up[{position}] cannot be decoded: {decoding.reason(error)}") from error
        for signature, value in (("serving_default", image), ("encoded", [content])):
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = name, signature
            request.inputs["image"].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictLog(request=request)
            records.append(prediction_log_pb2.PredictionLog(predict_log=log))
    return records


def _require_fit(model: keras.Model, class_names: Sequence[str]) -> None:
    """Raise TypeError or ValueError, in words, for what could not be served."""
    if not getattr(model, "inputs", None):
        raise TypeError(
            f"{model!r} has no graph of layers. Build it as keras.Model(inputs, outputs), or as a "
            "keras.Sequential that begins with a keras.Input."
        )
    shapes = [tuple(x.shape) for x in (*model.inputs, *model.outputs)]
    if len(shapes) != 2 or len(shapes[0]) != 4 or None in shapes[0][1:] or shapes[0][0] or shapes[0][3] != 3:
        raise ValueError(
            f"{model.name!r} has inputs and outputs of shapes {shapes}. It takes one input, colour images of "
            "one size and any number, (None, height, width, 3); and one output."
        )
    ending = evaluation.last_activation(model)
    outputs = shapes[1][-1] if len(shapes[1]) == 2 else None
    if outputs is None or ending not in {1: ("sigmoid", "linear")}.get(outputs, ("softmax", "linear")):
        raise ValueError(
            f"{model.name!r} ends in {ending!r} of shape {shapes[1]}. It takes (None, classes): logits, "
            "without an activation, or a softmax; or for two classes (None, 1): a logit, or a sigmoid."
        )
    names = list(class_names)
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"class_names is {class_names!r}; it is a list of names, one for each class.")
    if len(names) != max(outputs, 2):
        raise ValueError(
            f"{model.name!r} has {max(outputs, 2)} classes, but there are {len(names)} class names."
        )
    for name in names:
        if names.count(name) > 1 or not name.strip() or name.splitlines() != [name]:
            raise ValueError(
                f"The class name {name!r} is empty, has several lines, or is there twice. Each class needs "
                "one of its own, in one line: a client gets nothing else."
            )
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"The class name {name!r} is no text that can be written as UTF-8.") from error


def _remove_abandoned(folder: pathlib.Path) -> None:
    """Remove what exports that were killed a day ago or earlier have left."""
    for path in folder.glob(".writing-*"):
        if time.time() - path.stat().st_mtime > 24 * 60 * 60:
            shutil.rmtree(path, ignore_errors=True)


def export_lambda(
    model: keras.Model,
    folder: str | os.PathLike,
    class_names: Sequence[str],
    *,
    kind: str = "float32",
    representative: Iterable[np.ndarray] | None = None,
) -> pathlib.Path:
    """Write all that AWS Lambda needs to answer requests with a model, without TensorFlow, into one folder.

    ``handler.py`` answers a request; ``model.tflite`` and ``labels.json`` are the model; ``requirements.txt``
    names the packages, in the versions that are installed here; ``Dockerfile`` makes the container and
    ``template.yaml`` (AWS SAM) what surrounds it; ``event.json`` is a request to try it with. The last three
    say in their first lines how they are used.

    Args:
        model: functional, one image input of one size, raw RGB 0..255; logits or probabilities.
        folder: new, or empty, or an earlier bundle, which is replaced, with whatever was changed in it, but
            for ``samconfig.toml``, where SAM keeps its settings.
        class_names: label ``i`` is called ``class_names[i]``.
        kind, representative: as ``compression.convert`` takes them.

    Returns:
        The folder.

    Raises:
        TypeError: if the model is not functional, or not built.
        ValueError: if the class names do not fit the model, or as ``compression.convert``.
        OSError: if the folder cannot be written, or holds something else. What was there stays as it was.
    """
    _require_fit(model, class_names)
    folder = pathlib.Path(folder).resolve()
    lambda_bundle.require_ours(folder)
    content = compression.convert(model, kind, representative)
    lambda_bundle.write(lambda_bundle.files(model, class_names, content), folder)
    return folder
