"""Frozen activations on disk: computed once, found again by what they were computed from (lesson 04)."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Collection
from typing import Any

import keras
import numpy as np
import platformdirs
import tensorflow as tf

from finetune_lib import environment, fingerprint, store

NoRoom = store.NoRoom
Stored = store.Stored
Entry = store.Entry
entries, clear, in_words = store.entries, store.clear, store.in_words

FORMAT = 1  # of an entry and its key; a change makes all earlier entries strangers
SMALL_FLOATS = ("float16", "bfloat16", "float32")
# They change the last bits of TensorFlow's results.
VARIABLES = (
    *("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "NVIDIA_TF32_OVERRIDE"),
    *("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"),
)


@dataclasses.dataclass(frozen=True)
class Cache:
    """How activations are stored.

    Attributes:
        folder: where; None: ``default_folder()``.
        limit_bytes: the most that all entries in the folder may take; the least recently used ones go first.
        storage: ``"float32"``, exact, or ``"float16"``, half the bytes, with 11 significant bits.
        prefix_dtype: what the frozen part computes in: ``"float32"``, or ``"bfloat16"``, which is faster on
            many processors and keeps 8 significant bits.
    """

    folder: pathlib.Path | None = None
    limit_bytes: int = 4 * 2**30
    storage: str = "float32"
    prefix_dtype: str = "float32"

    def __post_init__(self) -> None:
        for name, known in (("storage", ("float32", "float16")), ("prefix_dtype", ("float32", "bfloat16"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it is one of {', '.join(known)}.")


def default_folder() -> pathlib.Path:
    """The folder that the variable FINETUNE_CACHE names, otherwise one in the user's cache folder."""
    if chosen := os.environ.get("FINETUNE_CACHE"):
        return pathlib.Path(os.path.expanduser(chosen))  # noqa: PTH111 (Path.expanduser raises for "~nobody")
    return platformdirs.user_cache_path("finetune_lib", appauthor=False) / "activations"


def require_room(cache: Cache, needed: int) -> None:
    """Raise NoRoom if so many bytes cannot be stored, whatever is removed for them."""
    store.prepare(_folder(cache))
    store.require_room(_folder(cache), needed, cache.limit_bytes)


def needed_bytes(
    prefix: keras.Model, count: int, storage: str = "float32", image_size: tuple[int, int] | None = None
) -> int:
    """How much room the activations of ``count`` images take.

    Args:
        image_size: ``(height, width)``, for a prefix that takes images of any size.

    Raises:
        ValueError: if the activations' size depends on the image's, and that is not given.
    """
    return sum(_layout(prefix, count, storage, None if image_size is None else (*image_size, 3)).sizes)


def stored(
    prefix: keras.Model,
    examples: tf.data.Dataset,
    count: int,
    *,
    batch_size: int,
    cache: Cache,
    progress: Callable[[int], object] | None = None,
    others: Collection[str] = (),
) -> tuple[Stored, np.ndarray]:
    """The prefix's activations on the images, from the cache, or computed and put there; and the labels.

    They are found again by what they depend on: the prefix's graph, weights and image size; every bit of the
    images, in order; batch size and number formats; the versions of TensorFlow and Keras, and the device. In
    float32 they are what ``prefix(batch, training=False)`` gives, bit for bit.

    Args:
        prefix: functional, its first axis the image's (see ``freezing.split``).
        examples: ``(image, label)``, unbatched, all of one size. If they are others each time they are read,
            nothing is found again, but activations and labels still belong together.
        count: how many there are.
        batch_size: images per call of the prefix; the last call takes the rest.
        progress: called with the number of images of each batch that was computed; not at all on a hit.
        others: keys of entries that are known to be of other images. Where there are none but these, images
            are read only once, while they are computed; otherwise first to see whether theirs is there.

    Raises:
        NoRoom: if they are too large, or cannot be written; the message is one line. Nothing stays behind.
        OverflowError: if a number is too large for float16.
        ValueError: if there are no images, or not ``count``, or their size is unknown.
    """
    spec = examples.element_spec[0]
    shape = tuple(spec.shape)
    if count < 1 or None in shape:
        raise ValueError(f"There must be images, all of one known size; there are {count} of size {shape}.")
    folder = _folder(cache)
    store.prepare(folder)
    batches = examples.take(count + 1).batch(batch_size).prefetch(tf.data.AUTOTUNE)
    layout = _layout(prefix, count, cache.storage, shape)
    start = _start_of_key(prefix, batches, batch_size, cache)
    if any(path.name not in others for path in folder.glob(f"{start}-*")):
        digest, labels = hashlib.sha256(), []
        for images, answers in batches:
            _add_images(digest, images)
            labels.append(answers.numpy())
        if found := store.find(folder / _key(start, digest), layout):
            return found, np.concatenate(labels)
    store.make_room(folder, sum(layout.sizes), cache.limit_bytes)
    compute = _compiled(prefix, spec, cache.prefix_dtype, start)
    with store.Writer(folder, layout) as writer:
        digest, labels, done = hashlib.sha256(), [], 0
        for images, answers in batches:
            done += len(images)
            _add_images(digest, images)
            labels.append(answers.numpy())
            writer.append([tensor.numpy() for tensor in compute(images)])
            if progress is not None:
                progress(len(images))
        if done != count:
            raise ValueError(f"{count} images were announced, but {'more' if done > count else done} came.")
        # The key is of the images that were computed. Were they others on each reading, none would be found.
        description = f"{prefix.name}: {count} images {shape[0]}x{shape[1]} -> {layout}"
        result = writer.publish(_key(start, digest), description)
    store.make_room(folder, 0, cache.limit_bytes)  # another run may have written in the meantime
    return result, np.concatenate(labels)


def release() -> None:
    """Let go of the last prefix, which is kept for the next view of the same images."""
    _compiled.cache_clear()


def _folder(cache: Cache) -> pathlib.Path:
    return pathlib.Path(os.path.expanduser(cache.folder or default_folder()))  # noqa: PTH111


def _layout(prefix: keras.Model, count: int, storage: str, image: tuple[int, ...] | None) -> store.Layout:
    """What the prefix hands on. It may be more than one tensor, where skip connections cross the boundary."""
    outputs = prefix.outputs
    if image is not None:
        outputs = keras.tree.flatten(prefix.compute_output_spec(keras.KerasTensor((None, *image))))
    if any(None in tensor.shape[1:] for tensor in outputs):
        raise ValueError(f"{prefix.name!r} takes images of any size: say image_size=(height, width).")
    kinds = [np.dtype(storage if x.dtype in SMALL_FLOATS else x.dtype) for x in outputs]
    return store.Layout(count, tuple(tuple(x.shape[1:]) for x in outputs), tuple(kinds))


def _start_of_key(prefix: keras.Model, batches: tf.data.Dataset, batch_size: int, cache: Cache) -> str:
    """The first half of the key: everything but the images."""
    digest, has_foreign_code = fingerprint.of(prefix)
    facts = [FORMAT, digest, cache.storage, cache.prefix_dtype, int(batch_size)]
    facts += [tf.__version__, keras.__version__, environment.processor(), *environment.gpu_names()]
    # Sums are taken in another order by another number of threads.
    affinity = getattr(os, "sched_getaffinity", None)
    facts += [len(affinity(0)) if affinity else os.cpu_count()]
    facts += [tf.config.threading.get_intra_op_parallelism_threads()]
    facts += [tf.config.experimental.tensor_float_32_execution_enabled()]
    facts += [os.environ.get(variable) for variable in VARIABLES]
    if has_foreign_code:  # its source is not all it may depend on, so what it computes counts, too
        for images, _ in batches.take(1):
            results = keras.tree.flatten(prefix(images, training=False))
            facts += [hashlib.sha256(result.numpy().tobytes()).hexdigest() for result in results]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _add_images(digest: Any, batch: tf.Tensor) -> None:
    digest.update(f"{batch.shape} {batch.dtype.name};".encode())
    digest.update(batch.numpy().tobytes())


def _key(start: str, images: Any) -> str:
    return f"{start}-{images.hexdigest()[:32]}"


@functools.lru_cache(maxsize=1)  # the next view of the same images needs the same
def _compiled(
    prefix: keras.Model, image: tf.TensorSpec, dtype: str, start_of_key: str
) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    network = _in_bfloat16(prefix) if dtype == "bfloat16" else prefix

    # One trace serves the last, smaller batch, too. XLA slows convolutions down on a CPU.
    any_number = tf.TensorSpec((None, *image.shape), image.dtype)

    @tf.function(input_signature=[any_number], autograph=False, jit_compile=False)
    def compute(batch: tf.Tensor) -> list[tf.Tensor]:
        outputs = keras.tree.flatten(network(batch, training=False))
        return [tf.cast(x, tf.float32) if x.dtype.name in SMALL_FLOATS else x for x in outputs]

    return compute


def _in_bfloat16(model: keras.Model) -> keras.Model:
    """A copy that computes in bfloat16, with weights in float32."""
    copies: list[tuple[Any, Any]] = []

    def copy(operation: Any) -> Any:  # a layer, or an operation such as x + y
        copies.append((operation, type(operation).from_config(_with_bfloat16(operation.get_config()))))
        return copies[-1][1]

    result = keras.models.clone_model(model, clone_function=copy, recursive=True)
    for operation, twin in copies:
        for weight, value in zip(*(getattr(x, "weights", []) for x in (twin, operation)), strict=True):
            weight.assign(value)
        if isinstance(twin, keras.layers.Normalization):
            twin.finalize_state()  # it works with constants that it makes of its weights
    return result


def _with_bfloat16(config: Any) -> Any:
    """A layer's configuration with its dtype changed, and those of the layers in it."""
    if isinstance(config, list | tuple):
        return type(config)(map(_with_bfloat16, config))
    if not isinstance(config, dict):
        return config
    result = {key: _with_bfloat16(value) for key, value in config.items()}
    is_layer = {"trainable", "dtype"} <= config.keys()
    if is_layer and keras.dtype_policies.get(config["dtype"]).name == "float32":
        result["dtype"] = "mixed_bfloat16"
    return result
