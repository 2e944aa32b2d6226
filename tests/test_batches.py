"""The batches of a stage: order and views are functions of (seed, epoch, index), whatever is read."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from finetune_lib import activation_cache, batches, data

layers = keras.layers
COUNT, VALIDATION = 10, 5


def numbered() -> data.ImageDataset:
    """Image ``i`` is ``10 * i`` all over, and its label ``i % 3``; validation images are ``100 + i``."""

    def part(count: int, start: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        numbers = np.arange(count)
        images = np.ones((count, 4, 4, 3)) * (start + step * numbers)[:, None, None, None]
        return images.astype("uint8"), numbers % 3

    validation = part(VALIDATION, 100, 1)
    return data.from_arrays(
        "numbered", ["a", "b", "c"], train=part(COUNT, 0, 10), validation=validation, test=validation
    )


def shift(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Adds a number below 5, so that it is seen which image it was, and by how much it was changed."""
    return image + tf.random.stateless_uniform((), seed, maxval=4.9)


def averages() -> keras.Model:
    """A prefix from which image and change can be read."""
    image = keras.Input((4, 4, 3))
    return keras.Model(image, layers.GlobalAveragePooling2D()(image), name="averages")


OPTIONS = {"epochs": 3, "batch_size": 4, "augment": shift, "views": "online", "seed": 5}


def read(stream: tf.data.Dataset) -> list[tuple]:
    return list(stream.as_numpy_iterator())


def epochs_of(stream: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    """``(epochs, count)``: which image came when, and by how much it was changed."""
    first = [inputs.reshape(len(inputs), -1)[:, 0] for inputs, _ in stream]
    values = np.concatenate(first).reshape(-1, COUNT)
    order = np.floor(values / 10).astype(int)
    return order, values - 10 * order


def by_image(stream: tf.data.Dataset) -> np.ndarray:
    """``(epochs, count)``: by how much each image was changed, sorted by image."""
    order, change = epochs_of(read(stream))
    return np.take_along_axis(change, order.argsort(axis=1), axis=1)


def test_each_epoch_has_each_image_once_in_an_order_of_its_own() -> None:
    stream = read(batches.of_images(numbered(), **OPTIONS).training)
    assert [len(labels) for _, labels in stream] == [4, 4, 2] * 3
    assert stream[0][0].dtype == np.float32 and stream[0][0].shape == (4, 4, 4, 3)
    order, _ = epochs_of(stream)
    np.testing.assert_array_equal(np.sort(order, axis=1), [range(COUNT)] * 3)
    assert len({tuple(epoch) for epoch in order} | {tuple(range(COUNT))}) == 4
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in stream]), order.ravel() % 3)


def test_order_and_changes_depend_on_the_seed_and_on_nothing_that_ran_before() -> None:
    streams = []
    for number, changed in enumerate([{}, {}, {"epochs": 2}, {"batch_size": 10}, {"seed": 6}]):
        tf.random.set_seed(number)
        keras.utils.set_random_seed(number)
        tf.random.uniform(())
        streams.append(epochs_of(read(batches.of_images(numbered(), **OPTIONS | changed).training)))
    for order, change in streams[1:4]:
        np.testing.assert_array_equal(order, streams[0][0][: len(order)])
        np.testing.assert_array_equal(change, streams[0][1][: len(order)])
    assert all((streams[4][0] != order).any(axis=1).all() for order in streams[0][0][:, None])
    assert not np.isin(streams[4][1], streams[0][1]).any()


def test_no_stream_is_tuned_so_that_none_is_slow_to_close(tmp_path) -> None:
    options = OPTIONS | {"views": 2}
    cache = activation_cache.Cache(folder=tmp_path)
    dataset = numbered()
    streams = [dataset.train, dataset.validation, dataset.test.batch(2)]
    for made in (
        batches.of_images(dataset, **options),
        batches.of_activations(dataset, averages(), cache=cache, **options),
    ):
        streams += [made.training, made.validation]
    assert all(stream.options().autotune.enabled is False for stream in streams)


def test_views_are_taken_in_turn_and_online_never_repeats() -> None:
    changes = {
        views: by_image(batches.of_images(numbered(), **OPTIONS | {"views": views, "epochs": 7}).training)
        for views in (1, 3, 7, 20, "online")
    }
    online = changes["online"]
    assert len(np.unique(online)) == 7 * COUNT  # another one for each image in each epoch
    for views in (1, 3, 7, 20):
        np.testing.assert_array_equal(changes[views], online[np.arange(7) % views])
    order, _ = epochs_of(read(batches.of_images(numbered(), **OPTIONS | {"views": 1}).training))
    assert (order[0] != order[1]).any()  # though each image looks the same


@pytest.mark.parametrize(
    ("buffer", "memory"), [(2**20, 2**20), (4 * 4 * 3 * 5, 0)], ids=["all-memory", "some-disk"]
)
@pytest.mark.parametrize(
    ("views", "runs"), [(1, 1), (2, 2), (5, 3), (None, 1)], ids=["one", "two", "more than epochs", "none"]
)
def test_activations_are_what_the_prefix_makes_of_the_images(
    views, runs, buffer, memory, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(batches, "MEMORY_BYTES", memory)
    monkeypatch.setattr(batches, "SHUFFLE_BYTES", buffer)
    dataset, prefix, seen = numbered(), averages(), []
    options = OPTIONS | ({"views": "online", "augment": None} if views is None else {"views": views})
    images = batches.of_images(dataset, **options)
    activations = batches.of_activations(
        dataset, prefix, cache=activation_cache.Cache(tmp_path), progress=seen.append, **options
    )
    assert (images.stored, activations.stored) == (False, True)
    assert seen == [4, 4, 2] * runs + [4, 1]
    assert batches.count_views(options["augment"], options["views"], 3) == runs
    for part in ("training", "validation"):
        pairs = [read(getattr(stream, part)) for stream in (images, activations)]
        for (inputs, labels), (found, found_labels) in zip(*pairs, strict=True):
            np.testing.assert_array_equal(prefix(inputs, training=False), found)
            np.testing.assert_array_equal(labels, found_labels)
    assert len(pairs[0]) == 2
    order, _ = epochs_of(read(images.training))
    assert (order[0] != np.arange(COUNT)).any()


def test_validation_is_in_order_and_not_augmented(tmp_path) -> None:
    dataset = numbered()
    streams = [
        batches.of_images(dataset, **OPTIONS).validation,
        batches.of_activations(
            dataset, averages(), cache=activation_cache.Cache(tmp_path), **OPTIONS | {"views": 2}
        ).validation,
    ]
    for stream in streams:
        for _ in range(2):  # it is gone through more than once
            inputs, labels = map(np.concatenate, zip(*read(stream), strict=True))
            assert inputs.dtype == np.float32
            np.testing.assert_array_equal(inputs.reshape(VALIDATION, -1)[:, 0], 100 + np.arange(VALIDATION))
            np.testing.assert_array_equal(labels, np.arange(VALIDATION) % 3)


@pytest.mark.parametrize("memory", [2**20, 0], ids=["memory", "disk"])
def test_several_tensors_of_any_type_and_one_hot_labels(memory, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(batches, "MEMORY_BYTES", memory)
    image = keras.Input((4, 4, 3))
    mean = layers.GlobalAveragePooling2D()(image)
    prefix = keras.Model(image, [mean, keras.ops.cast(image[:, 0, 0], "int32"), layers.MaxPooling2D()(image)])
    dataset = numbered()
    one_hot = {
        part: getattr(dataset, part).map(lambda image, label: (image, tf.one_hot(label, 3)))
        for part in ("train", "validation")
    }
    dataset = dataclasses.replace(dataset, **one_hot)
    stream = batches.of_activations(
        dataset, prefix, cache=activation_cache.Cache(tmp_path), **OPTIONS | {"augment": None}
    )
    for (means, corners, maxima), labels in [*read(stream.training), *read(stream.validation)]:
        assert [x.dtype.name for x in (means, corners, maxima)] == ["float32", "int32", "float32"]
        assert [x.shape[1:] for x in (means, corners, maxima)] == [(3,), (3,), (2, 2, 3)]
        np.testing.assert_array_equal(means, corners)
        np.testing.assert_array_equal(maxima, np.broadcast_to(means[:, None, None], maxima.shape))
        numbers = np.where(means[:, 0] < 100, means[:, 0] / 10, means[:, 0] - 100).astype(int)
        np.testing.assert_array_equal(labels, np.eye(3)[numbers % 3])


def test_what_is_read_into_memory_needs_no_open_file(tmp_path, monkeypatch) -> None:
    opened, stored = [], activation_cache.stored

    def spy(*args, **options) -> tuple:
        found = stored(*args, **options)
        opened.append(found[0])
        return found

    monkeypatch.setattr(activation_cache, "stored", spy)
    for memory in (0, 2**20):
        monkeypatch.setattr(batches, "MEMORY_BYTES", memory)
        stream = batches.of_activations(
            numbered(), averages(), cache=activation_cache.Cache(tmp_path), **OPTIONS | {"views": 1}
        )
        if memory:
            for each in opened[2:]:
                with pytest.raises(ValueError):
                    each.rows(np.arange(1))
        else:
            assert len(opened[0].rows(np.arange(3))[0]) == 3
        assert len(read(stream.training)) == 9
    assert [each.was_there for each in opened] == [False, False, True, True]


def test_labels_stay_with_their_images_if_these_come_in_another_order_each_time(tmp_path) -> None:
    dataset = numbered()
    dataset = dataclasses.replace(dataset, train=dataset.train.shuffle(COUNT))
    options = OPTIONS | {"views": 2}
    stream = batches.of_activations(
        dataset, averages(), cache=activation_cache.Cache(tmp_path), **options
    ).training
    for means, labels in read(stream):
        np.testing.assert_array_equal(np.floor(means[:, 0] / 10) % 3, labels)


def test_images_are_read_once_and_again_only_where_theirs_may_be_stored(tmp_path) -> None:
    reads = tf.Variable(0)

    def counted(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        reads.assign_add(1)
        return shift(image, seed)

    counts = []
    for _ in range(2):
        reads.assign(0)
        batches.of_activations(
            numbered(),
            averages(),
            cache=activation_cache.Cache(tmp_path),
            **OPTIONS | {"views": 3, "augment": counted},
        )
        counts.append(int(reads))
    assert counts == [3 * COUNT, 3 * COUNT]  # computed, then looked up


def test_an_augmentation_may_lose_the_shape_but_not_change_it(tmp_path) -> None:
    def python(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(lambda image: image + 1, [image], tf.float32)

    def crop(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return image[:3]

    options = OPTIONS | {"views": 1, "augment": python}
    cache = activation_cache.Cache(tmp_path)
    for stream in (
        batches.of_images(numbered(), **options),
        batches.of_activations(numbered(), averages(), cache=cache, **options),
    ):
        np.testing.assert_array_equal(by_image(stream.training), np.ones((3, COUNT)))
        assert stream.training.element_spec[0].shape[1:].is_fully_defined()
    with pytest.raises(ValueError, match=r"\[3,4,3\]"):
        batches.of_images(numbered(), **options | {"augment": crop}).training  # noqa: B018


class EveryBatch(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None) -> None: ...


class EveryTestBatch(keras.callbacks.Callback):
    def on_test_batch_end(self, batch, logs=None) -> None: ...


class OldName(keras.callbacks.Callback):
    def on_batch_end(self, batch, logs=None) -> None: ...


def test_many_steps_at_once_where_they_are_small_and_nobody_counts_them(tmp_path) -> None:
    stream = batches.of_activations(
        numbered(), averages(), cache=activation_cache.Cache(tmp_path), **OPTIONS | {"views": 1}
    )
    for steps in (1, 2, 97, 100, 101, 202, 600):
        at_once = batches.steps_at_once(stream, steps, 600, 4, [])
        assert steps % at_once == 0 and at_once <= 100
    assert [batches.steps_at_once(stream, steps, 600, 4, []) for steps in (6, 97, 600, 101)] == [
        6,
        97,
        100,
        1,
    ]
    # In each of these epochs 5 returns to Python are saved. It takes 500 to make up for a larger graph.
    assert [batches.steps_at_once(stream, 6, epochs, 4, []) for epochs in (99, 100)] == [1, 6]
    quiet = [
        keras.callbacks.EarlyStopping("val_loss"),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
    ]
    assert batches.steps_at_once(stream, 6, 600, 4, quiet) == 6
    for watching in (
        EveryBatch(),
        EveryTestBatch(),
        OldName(),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None),
    ):
        assert batches.steps_at_once(stream, 6, 600, 4, [*quiet, watching]) == 1
    assert batches.steps_at_once(stream, 6, 600, 2**20, []) == 1  # 3 numbers an image: 12 MiB a batch
    assert batches.steps_at_once(batches.of_images(numbered(), **OPTIONS), 6, 600, 4, []) == 1
