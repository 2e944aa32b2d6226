"""The batches of a stage: in which order, in which views, from images or from stored activations (lesson 04).

Order and augmentation are functions of ``(seed, epoch, index of the image)``, whatever ran before. Both ways
give the same images in the same order, so the same weights come out.
"""

import contextlib
import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
import tqdm

from finetune_lib import activation_cache, cost, data

SHUFFLE_BYTES = 256 * 2**20  # the most memory that shuffling may take
MEMORY_BYTES = 256 * 2**20  # activations that take no more than this are read once
LEAST_GAIN = 1.1  # less than this, and storing activations is not worth it
MOST_STEPS = 100  # that Keras runs at once, without coming back to Python
LEAST_RETURNS = (
    500  # to Python that must be saved: a graph of many steps takes a third of a second longer to make
)
SMALL_BATCH = 2**20  # bytes of stored activations; larger ones take so long that coming back costs nothing

AUTO_VIEWS = 8  # heads lose less than a point with 8, see tests/benchmarks/augmented_views.py

Augment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Views = int | Literal["online", "auto"]


@dataclasses.dataclass(frozen=True)
class Batches:
    """What a stage learns from, and what it is measured on.

    Attributes:
        training: ``(inputs, labels)`` of all epochs in one stream, each epoch in an order of its own.
        validation: ``(inputs, labels)``, in order and without augmentation.
        stored: whether the inputs are activations of the frozen prefix, not images.
        entries: what is read while training. Close them afterwards: TensorFlow would keep them open.
    """

    training: tf.data.Dataset
    validation: tf.data.Dataset
    stored: bool
    entries: tuple[activation_cache.Stored, ...] = ()


def of_stage(
    parts: tuple[keras.Model, keras.Model],
    dataset: data.ImageDataset,
    *,
    cache: bool | activation_cache.Cache,
    validations: int,
    label: str,
    verbose: int,
    **options: Any,
) -> Batches:
    """From stored activations, if that pays and there is room for them; otherwise from images.

    Args:
        parts: prefix and suffix, see ``freezing.split``.
        cache: whether to store, or how.
        validations: how often the validation images are gone through.
        label: the stage's name. What is expected is printed on the standard error stream, unless ``verbose``
            is 0.
        options: as of ``of_images``; ``views`` may also be ``"auto"``, whatever ``cache`` says.
    """
    augment, epochs = options["augment"], options["epochs"]
    if options["views"] == "auto":
        options["views"] = _best_views(parts, dataset, epochs, validations)
    views = options["views"]
    if not cache or (augment is not None and views == "online"):
        return of_images(dataset, **options)

    def say(message: str) -> None:
        if verbose:
            print(f"{label}: {message}", file=sys.stderr)

    times = count_views(augment, views, epochs)
    images = times * dataset.sizes["train"] + dataset.sizes["validation"]
    settings = cache if isinstance(cache, activation_cache.Cache) else activation_cache.Cache()
    try:
        gain = cost.gain_by_storing(*parts, dataset.sizes, epochs, times, validations)
        if gain < LEAST_GAIN:
            return of_images(dataset, **options)
        needed = activation_cache.needed_bytes(parts[0], images, settings.storage, dataset.image_size)
        size = activation_cache.in_words(needed)
        activation_cache.require_room(settings, needed)  # for all parts and views, an entry each
        say(
            f"the frozen part runs once over {images:,} images, unless what it makes of them ({size}) is "
            f"stored already; all in all about {gain:.1f} times less arithmetic"
        )
        with tqdm.tqdm(
            total=images, desc=f"{label}: frozen part", unit="image", disable=not verbose, leave=False
        ) as bar:
            return of_activations(dataset, parts[0], cache=settings, progress=bar.update, **options)
    except (activation_cache.NoRoom, cost.OpenSize) as error:
        say(f"trains on images, which takes longer: {error}")
    return of_images(dataset, **options)


def of_images(
    dataset: data.ImageDataset,
    *,
    epochs: int,
    batch_size: int,
    augment: Augment | None,
    views: Views,
    seed: int,
    first_epoch: int = 0,
) -> Batches:
    """Batches of images, float32 ``(batch, height, width, 3)`` 0..255, augmented as they are asked for.

    Args:
        first_epoch: how many epochs to leave out, which a run before has done.
    """

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        numbered = _shuffled(dataset.train.enumerate(), dataset, batch_size, seed, epoch)
        view = epoch if views == "online" else epoch % views
        return prepared(numbered, dataset, augment, seed, view).batch(batch_size)

    in_order = prepared(dataset.validation.enumerate(), dataset, None, seed, 0).batch(batch_size)
    return Batches(
        _ahead(tf.data.Dataset.range(first_epoch, epochs).flat_map(one_epoch)),
        _ahead(in_order),
        stored=False,
    )


def of_activations(
    dataset: data.ImageDataset,
    prefix: keras.Model,
    *,
    epochs: int,
    batch_size: int,
    augment: Augment | None,
    views: int,
    seed: int,
    cache: activation_cache.Cache,
    first_epoch: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Batches:
    """Batches of what the frozen prefix makes of the images; it runs once over each view, or not at all.

    Args:
        prefix: see ``freezing.split``.
        progress: called with the number of images that each step took.

    Raises:
        activation_cache.NoRoom: if the activations cannot be stored.
    """

    def stored(part: str, augment: Augment | None, view: int) -> tuple[activation_cache.Stored, np.ndarray]:
        examples = prepared(getattr(dataset, part).enumerate(), dataset, augment, seed, view)
        entry, labels = activation_cache.stored(
            prefix,
            examples,
            dataset.sizes[part],
            batch_size=batch_size,
            cache=cache,
            progress=progress,
            others=new,
        )
        opened.callback(entry.close)
        if not entry.was_there:
            new.append(entry.key)
        return entry, labels

    new: list[str] = []
    with contextlib.ExitStack() as opened:
        training = [stored("train", augment, view) for view in range(count_views(augment, views, epochs))]
        validation = stored("validation", None, 0)
        read, read_validation = _reader(training), _reader([validation])
        opened.pop_all()
    activation_cache.release()

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        order = _shuffled(tf.data.Dataset.range(dataset.sizes["train"]), dataset, batch_size, seed, epoch)
        view = epoch % len(training)
        return order.batch(batch_size).map(
            lambda rows: read(view, rows), tf.data.AUTOTUNE, deterministic=True
        )

    in_order = tf.data.Dataset.range(dataset.sizes["validation"]).batch(batch_size)
    return Batches(
        _ahead(tf.data.Dataset.range(first_epoch, epochs).flat_map(one_epoch)),
        _ahead(in_order.map(lambda rows: read_validation(0, rows))),
        stored=True,
        entries=tuple(entry for entry, _ in (*training, validation)),
    )


def steps_at_once(
    stream: Batches, steps: int, epochs: int, batch_size: int, callbacks: Sequence[keras.callbacks.Callback]
) -> int:
    """How many steps Keras runs without coming back to Python, which would cost more than a small step.

    Args:
        steps: in an epoch.
        callbacks: one, if a callback wants to see each batch.
    """
    sizes = [math.prod(spec.shape[1:]) for spec in keras.tree.flatten(stream.training.element_spec[0])]
    names = [f"on_{part}batch_{end}" for part in ("train_", "test_", "") for end in ("begin", "end")]
    watched = any(
        name in vars(callback)  # LambdaCallback
        or getattr(type(callback), name) is not getattr(keras.callbacks.Callback, name)
        for callback in callbacks
        for name in names
    )
    if watched or not stream.stored or 4 * batch_size * sum(sizes) > SMALL_BATCH:
        return 1
    most = max(part for part in range(1, MOST_STEPS + 1) if steps % part == 0)
    return most if epochs * (steps - steps // most) >= LEAST_RETURNS else 1


def count_views(augment: Augment | None, views: int, epochs: int) -> int:
    """How many times the prefix sees each training image."""
    return 1 if augment is None else min(views, epochs)


def prepared(
    numbered: tf.data.Dataset,
    dataset: data.ImageDataset,
    augment: Augment | None,
    seed: int,
    view: int | tf.Tensor,
) -> tf.data.Dataset:
    """``(image, label)`` of ``(index, (image, label))``, float32 and augmented."""
    view_seed = tf.stack([seed, tf.cast(view, tf.int32)])

    def prepare(index: tf.Tensor, example: tuple) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = tf.cast(example[0], tf.float32), example[1]
        if augment is not None:
            image = augment(image, tf.random.fold_in(view_seed, tf.cast(index, tf.int32)))
        return tf.ensure_shape(image, (*dataset.image_size, 3)), label  # an augmentation may have lost it

    return numbered.map(prepare, tf.data.AUTOTUNE, deterministic=True)


def _best_views(
    parts: tuple[keras.Model, keras.Model], dataset: data.ImageDataset, epochs: int, validations: int
) -> Views:
    """A few views where storing pays, otherwise a new one in every epoch, which then costs nothing."""
    try:
        times = min(AUTO_VIEWS, epochs)
        gain = cost.gain_by_storing(*parts, dataset.sizes, epochs, times, validations)
    except cost.OpenSize:
        return "online"
    return AUTO_VIEWS if gain >= LEAST_GAIN else "online"


def _ahead(stream: tf.data.Dataset) -> tf.data.Dataset:
    """The stream, made while the step before runs."""
    return stream.prefetch(tf.data.AUTOTUNE).with_options(data.UNTUNED)


def _shuffled(
    elements: tf.data.Dataset, dataset: data.ImageDataset, batch_size: int, seed: int, epoch: tf.Tensor
) -> tf.data.Dataset:
    """The order of an epoch; the same one whether images are shuffled or their numbers."""
    image_spec = dataset.train.element_spec[0]
    image_bytes = math.prod((*dataset.image_size, 3)) * image_spec.dtype.size
    buffer = max(batch_size, min(dataset.sizes["train"], SHUFFLE_BYTES // image_bytes))
    # tf.data mixes the graph's seed into every shuffle. Fixed, the order depends on our seed alone.
    tf.compat.v1.get_default_graph().seed = 1
    epoch_seed = tf.stack([seed, tf.cast(epoch, tf.int32)])
    order_seed = tf.random.stateless_uniform((), epoch_seed, minval=None, maxval=None, dtype=tf.int64)
    return elements.shuffle(buffer, seed=order_seed, reshuffle_each_iteration=False)


def _reader(found: Sequence[tuple[activation_cache.Stored, np.ndarray]]) -> Callable:
    """``(view, rows) -> (activations, labels)``; activations a tensor, or a tuple if several cross."""
    views, labels = zip(*found, strict=True)
    count, answers = views[0].count, tf.constant(np.stack(labels))
    if sum(view.bytes for view in views) <= MEMORY_BYTES:
        columns = zip(*(view.rows(np.arange(count)) for view in views), strict=True)
        tensors = [tf.constant(np.concatenate(column)) for column in columns]
        for each in views:
            each.close()

        def read(view: tf.Tensor, rows: tf.Tensor) -> list[tf.Tensor]:
            return [tf.gather(tensor, tf.cast(view, tf.int64) * count + rows) for tensor in tensors]

    else:
        shapes, dtypes = views[0].shapes, views[0].dtypes

        def read(view: tf.Tensor, rows: tf.Tensor) -> list[tf.Tensor]:
            found = tf.numpy_function(lambda view, rows: views[view].rows(rows), [view, rows], dtypes)
            return [tf.ensure_shape(x, (None, *shape)) for x, shape in zip(found, shapes, strict=True)]

    def read_both(view: tf.Tensor, rows: tf.Tensor) -> tuple:
        activations = read(view, rows)
        return activations[0] if len(activations) == 1 else tuple(activations), tf.gather(answers[view], rows)

    return read_both
