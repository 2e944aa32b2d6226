"""Fitting on stored activations: the same weights as on images, what is said, and how it falls back."""

import dataclasses
import pathlib
import shutil
import types
from collections.abc import Iterator

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

from finetune_lib import activation_cache, batches, classifier, cost, data, fitting, freezing

layers = keras.layers
EPOCHS, BATCH_SIZE = 3, 8


def shortened(dataset: data.ImageDataset, train: int, validation: int) -> data.ImageDataset:
    sizes = {"train": train, "validation": validation, "test": dataset.sizes["test"]}
    parts = {part: getattr(dataset, part).take(sizes[part]) for part in ("train", "validation")}
    return dataclasses.replace(dataset, sizes=sizes, **parts)


@pytest.fixture(scope="module")
def digits() -> data.ImageDataset:
    """20 for training, so that the last batch is smaller, 12 for validation."""
    return shortened(data.load("digits", labels_per_class=2), 20, 12)


@pytest.fixture(scope="module")
def small() -> data.ImageDataset:
    """Images for ``small_models``, whose brightness is their class."""
    generator = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = generator.integers(0, 3, count)
        images = generator.uniform(0, 60, (count, 8, 8, 3)) + 60 * labels[:, None, None, None]
        return images.astype("uint8"), labels

    return data.from_arrays("small", ["a", "b", "c"], train=part(20), validation=part(11), test=part(2))


def brighten(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.image.stateless_random_brightness(image, 60.0, seed)


def one_hot(dataset: data.ImageDataset) -> data.ImageDataset:
    classes = len(dataset.class_names)
    parts = {
        part: getattr(dataset, part).map(lambda image, label: (image, tf.one_hot(label, classes)))
        for part in ("train", "validation")
    }
    return dataclasses.replace(dataset, **parts)


def glyphnet(layer: str | None = None, softmax: bool = False) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = classifier.build("GlyphNet", list("0123456789"))
    if softmax:
        model = keras.Model(model.input, layers.Softmax()(model.output))
    return freezing.unfreeze_from(model, layer) if layer else freezing.freeze(model)


def small_model(build, layer: str | None = None, **options) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = build()
    return freezing.unfreeze_from(model, layer, **options) if layer else freezing.freeze(model)


def with_a_class_of_ones_own() -> keras.Model:
    """A model in the model that has no graph."""

    class Stem(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="stem")
            self.convolution = layers.Conv2D(4, 3, name="convolution")

        def call(self, images):
            return self.convolution(images)

    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(Stem()(image))
    return keras.Model(image, layers.Dense(3, name="logits")(x))


def whole_numbers() -> keras.Model:
    """What crosses the boundary is whole numbers."""
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="convolution")(image))
    x = layers.Embedding(2, 3, name="embedding")(keras.ops.cast(x > 0, "int32"))
    return keras.Model(image, layers.Dense(3, name="logits")(layers.Flatten()(x)))


def weights_of(model: keras.Model) -> list[bytes]:
    return [weight.numpy().tobytes() for weight in model.weights]


@pytest.fixture
def ways(tmp_path, monkeypatch) -> "Ways":
    return Ways(tmp_path / "cache", monkeypatch)


class Ways:
    """Fits on images, on activations just stored, and on those found again, from memory and from disk."""

    def __init__(self, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.opened: list[activation_cache.Stored] = []
        stored = activation_cache.stored

        def spy(*args, **options) -> tuple:
            found = stored(*args, **options)
            self.opened.append(found[0])
            return found

        monkeypatch.setattr(activation_cache, "stored", spy)

    def agree(self, build, dataset: data.ImageDataset, ways: str = "stored", **options) -> fitting.FitReport:
        """What is found is fitted in many steps at once, what has just been stored one step at a time."""
        options = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "verbose": 0} | options
        model = build()
        before = weights_of(model)
        on_images = fitting.fit(model, dataset, cache=False, **options)
        assert not on_images.stored and not self.folder.exists()
        expected = weights_of(model)
        assert expected != before
        for way in ways.split():
            self.monkeypatch.setattr(batches, "MEMORY_BYTES", 0 if "disk" in way else 2**28)
            self.monkeypatch.setattr(batches, "LEAST_RETURNS", 1 if "found" in way else 500)
            self.opened.clear()
            model = build()
            report = fitting.fit(model, dataset, cache=activation_cache.Cache(self.folder), **options)
            assert report.stored and "on stored activations" in str(report)
            assert {each.was_there for each in self.opened} == {"found" in way}
            for each in self.opened:
                with pytest.raises(ValueError):  # closed
                    each.rows(np.arange(1))
            assert weights_of(model) == expected, way
            assert report.history == on_images.history, way
            assert (report.moved, report.loss) == (on_images.moved, on_images.loss)
        return on_images


@pytest.mark.parametrize(
    ("layer", "options", "runs"),
    [
        ("block4", {"ways": "stored found"}, 1),
        ("block4", {"views": 3, "augment": brighten, "epochs": 5}, 3),
        (None, {"views": 4, "augment": brighten, "epochs": 2, "ways": "stored found-on-disk"}, 2),
    ],
    ids=["no augmentation", "more epochs than views", "fewer epochs than views"],
)
def test_the_same_weights_come_out_as_on_images(layer, options, runs, digits, ways) -> None:
    ways.agree(lambda: glyphnet(layer), digits, **options)
    assert [each.count for each in ways.opened] == [20] * runs + [12]


def test_a_softmax_head_with_one_hot_labels_and_class_weights(digits, ways) -> None:
    weights = {label: 0.5 + label / 9 for label in range(10)}
    ways.agree(lambda: glyphnet(softmax=True), one_hot(digits), class_weights=weights)


@pytest.mark.parametrize(
    ("build", "layer", "options"),
    [
        (small_models.plain, "block3", {}),
        (small_models.plain, "block3", {"train_batch_normalization": True}),
        (small_models.sequential, None, {}),
        (small_models.skip, "block_conv2", {}),
        (small_models.nested, None, {}),
        (with_a_class_of_ones_own, None, {}),
        (whole_numbers, "embedding", {}),
    ],
    ids=[
        "Dropout on both sides, BatchNormalization frozen",
        "BatchNormalization trained",
        "Sequential",
        "skip connection",
        "nested model",
        "subclassed model inside",
        "whole numbers",
    ],
)
def test_the_same_weights_come_out_however_the_model_is_built(build, layer, options, small, ways) -> None:
    # Found again, too, where that is harder: several tensors, whole numbers, random numbers, one's own code.
    is_found = "train_batch_normalization" in options or build in (
        small_models.skip,
        with_a_class_of_ones_own,
        whole_numbers,
    )
    which = "stored found-on-disk" if is_found else "stored"
    ways.agree(lambda: small_model(build, layer, **options), small, which)
    if build is small_models.skip:
        assert len(ways.opened[0].shapes) == 2


def test_dropout_depends_on_the_seed_not_on_what_was_drawn_before(small) -> None:
    weights = []
    for drawn, seed in ((0, 1), (3, 1), (0, 2)):
        model = small_model(small_models.plain)
        for _ in range(drawn):
            model(small_models.images(), training=True)
        # One step an epoch: the order of the images changes no more than last digits.
        fitting.fit(model, small, epochs=2, batch_size=20, seed=seed, verbose=0)
        weights.append(model.get_layer("logits").kernel.numpy())
    np.testing.assert_array_equal(weights[0], weights[1])
    assert np.abs(weights[0] - weights[2]).max() > 1e-4


def test_plain_keras_gives_the_same_weights(digits, ways) -> None:
    model = glyphnet("block4")
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, decay_steps=EPOCHS * 3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss, metrics=["accuracy"], jit_compile=False)
    stream = batches.of_images(
        digits, epochs=EPOCHS, batch_size=BATCH_SIZE, augment=None, views="online", seed=0
    )
    history = model.fit(
        stream.training,
        epochs=EPOCHS,
        steps_per_epoch=3,
        shuffle=False,
        validation_data=stream.validation,
        verbose=0,
    )
    stored = glyphnet("block4")
    report = fitting.fit(stored, digits, epochs=EPOCHS, batch_size=BATCH_SIZE, cache=True, verbose=0)
    assert report.stored
    assert weights_of(stored) == weights_of(model)
    assert report.history == history.history


def test_a_trained_head_does_not_make_the_activations_strangers(digits, ways) -> None:
    model = glyphnet()
    cache = activation_cache.Cache(ways.folder)
    for _ in range(2):
        fitting.fit(model, digits, epochs=2, cache=cache, verbose=0)
    assert [each.was_there for each in ways.opened] == [False, False, True, True]
    kernel = model.get_layer("block4_conv1").kernel
    kernel.assign(kernel * 1.01)  # as if block 4 had been trained
    fitting.fit(model, digits, epochs=2, cache=cache, verbose=0)
    assert [each.was_there for each in ways.opened[4:]] == [False] * 2


def test_online_views_are_never_stored(digits, ways) -> None:
    for options in ({"augment": brighten}, {"augment": None}):
        cache = activation_cache.Cache(ways.folder)
        report = fitting.fit(glyphnet(), digits, epochs=2, views="online", cache=cache, verbose=0, **options)
        assert report.stored == (options["augment"] is None)
    assert len(ways.opened) == 2


def test_smaller_numbers_give_nearly_the_same(digits, tmp_path) -> None:
    images = next(digits.train.batch(20).as_numpy_iterator())[0].astype("float32")
    logits = []
    for settings in ({}, {"storage": "float16"}, {"prefix_dtype": "bfloat16"}):
        model = glyphnet()
        cache = activation_cache.Cache(tmp_path, **settings)
        fitting.fit(model, digits, epochs=EPOCHS, cache=cache, verbose=0)
        logits.append(model(images).numpy())
    differences = [np.abs(other - logits[0]).max() / np.abs(logits[0]).max() for other in logits[1:]]
    assert 0 < differences[0] < 2e-3 and 0 < differences[1] < 5e-2
    assert len({entry.bytes for entry in activation_cache.entries(tmp_path)}) >= 4


def test_what_is_expected_is_said_before_work_starts(digits, tmp_path, capsys) -> None:
    model = glyphnet("block4")
    counted = cost.layers(model)
    places = [layer.name for layer in counted]
    below = sum(layer.multiply_adds for layer in counted[: places.index("block4_conv1")])
    above = sum(layer.multiply_adds for layer in counted) - below
    # 20 images in 2 views and 12 for validation, 4x4x64 numbers each (block3_pool); 6 epochs.
    images = 2 * 20 + 12
    gain = 6 * (20 * (below + 3 * above) + 12 * (below + above))
    gain /= images * below + 6 * (20 * 3 * above + 12 * above)
    options = {"epochs": 6, "augment": brighten, "views": 2, "label": "block 4"}
    report = fitting.fit(model, digits, cache=activation_cache.Cache(tmp_path), **options)
    printed = capsys.readouterr()
    assert printed.out == "" and gain > 1.2
    assert printed.err.splitlines()[0] == (
        "block 4: the frozen part runs once over 52 images, unless what it makes of them (208.00 KiB) is "
        f"stored already; all in all about {gain:.1f} times less arithmetic"
    )
    assert 52 * 4 * 4 * 64 * 4 == 208 * 2**10 and report.stored
    tables = sum(file.stat().st_size for file in tmp_path.glob("*/*.bin"))
    assert tables == 208 * 2**10
    assert "frozen part: " in printed.err and "/52 " in printed.err  # a bar
    assert "trains on images" not in printed.err
    fitting.fit(glyphnet(), digits, epochs=2, cache=activation_cache.Cache(tmp_path), verbose=0)
    assert capsys.readouterr() == ("", "")


def no_room_for_anything(folder: pathlib.Path) -> activation_cache.Cache:
    return activation_cache.Cache(folder, limit_bytes=100)


def room_for_one_view(folder: pathlib.Path) -> activation_cache.Cache:
    return activation_cache.Cache(folder, limit_bytes=2 * 20 * 128 * 4)


def not_a_folder(folder: pathlib.Path) -> activation_cache.Cache:
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("I was here first.")
    return activation_cache.Cache(folder)


THREE_VIEWS = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "augment": brighten, "views": 3}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (no_room_for_anything, "limit is 100 bytes"),
        (room_for_one_view, "limit is 20.00 KiB"),
        (not_a_folder, "cannot be stored in"),
    ],
)
def test_without_room_it_trains_on_images_and_says_so_in_one_line(
    settings, reason, digits, tmp_path, capsys, monkeypatch
) -> None:
    def train(verbose: int) -> None:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(keras.Model, "fit", interrupted)  # all has been said by then
            fitting.fit(glyphnet(), digits, cache=settings(folder), verbose=verbose, **THREE_VIEWS)

    folder = tmp_path / "cache"
    train(verbose=1)
    told = [line for line in capsys.readouterr().err.splitlines() if "trains on images" in line]
    assert len(told) == 1 and reason in told[0]
    assert told[0].split("\r")[-1].strip().startswith("training: trains on images, which takes longer: ")
    assert not folder.is_dir() or not list(folder.iterdir())
    capsys.readouterr()
    train(verbose=0)
    assert capsys.readouterr() == ("", "")


def test_without_room_the_same_weights_come_out(digits, tmp_path) -> None:
    weights = []
    for cache in (False, not_a_folder(tmp_path / "file")):
        model = glyphnet()
        report = fitting.fit(model, digits, cache=cache, verbose=0, **THREE_VIEWS)
        assert not report.stored and "3 epochs on images" in str(report)
        weights.append(weights_of(model))
    assert weights[0] == weights[1]


def test_from_scratch_nothing_is_stored(digits, tmp_path, capsys) -> None:
    model = classifier.build("GlyphNet", list("0123456789"), weights=None)
    cache = activation_cache.Cache(tmp_path / "cache")
    report = fitting.fit(model, digits, epochs=1, cache=cache)
    assert not report.stored and not cache.folder.exists()
    assert "frozen part" not in (told := capsys.readouterr().err) and "trains on images" not in told


def test_images_of_any_size_are_trained_on_as_they_are(small, tmp_path, capsys) -> None:
    def build() -> keras.Model:
        keras.utils.set_random_seed(0)
        image = keras.Input((None, None, 3))
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="convolution")(image))
        return freezing.freeze(keras.Model(image, layers.Dense(3)(x)))

    weights = []
    for cache in (False, activation_cache.Cache(tmp_path)):
        model = build()
        assert not fitting.fit(model, small, epochs=2, cache=cache).stored
        weights.append(weights_of(model))
    assert weights[0] == weights[1]
    told = capsys.readouterr().err
    assert told.count("trains on images") == 1 and "'convolution'" in told and "one size" in told
    assert not list(tmp_path.iterdir())


def test_views_and_cache_are_checked_before_training(small, tmp_path) -> None:
    for views in (0, -1, "often", 2.5, None):
        with pytest.raises(ValueError, match=r"views is .* a whole number of at least 1, or 'online'"):
            fitting.fit(small_model(small_models.plain), small, epochs=1, augment=brighten, views=views)
    for cache in ("yes", None, tmp_path, 1):
        with pytest.raises(TypeError, match=r"cache is .* True, False, or .*Cache\(folder="):
            fitting.fit(small_model(small_models.plain), small, epochs=1, cache=cache)
    options = {"epochs": 1, "augment": brighten, "views": np.int64(2), "seed": np.int64(3)}
    assert fitting.fit(small_model(small_models.plain), small, verbose=0, **options)


class Counter(keras.callbacks.Callback):
    """Counts batches, and what each epoch brings."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[int]] = {"train": [], "test": []}

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.seen["train"].append(batch)

    def on_test_batch_end(self, batch, logs=None) -> None:
        self.seen["test"].append(batch)


def test_callbacks_see_each_batch(digits, monkeypatch) -> None:
    monkeypatch.setattr(batches, "LEAST_RETURNS", 1)
    counter, seen = Counter(), []
    other = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    for callback in (counter, other):
        report = fitting.fit(
            glyphnet(), digits, epochs=2, batch_size=BATCH_SIZE, callbacks=[callback], verbose=0
        )
        assert report.stored
    assert counter.seen == {"train": [0, 1, 2] * 2, "test": [0, 1] * 2}
    assert seen == [0, 1, 2] * 2


def test_what_is_saved_is_the_whole_model_and_early_stopping_restores_the_best(digits, tmp_path) -> None:
    model, best = glyphnet("block4"), tmp_path / "best.keras"
    callbacks = [
        keras.callbacks.ModelCheckpoint(best, monitor="val_loss", save_best_only=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.weights.h5", save_weights_only=True),
        keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True),
    ]
    # A rate that is far too high, so that it gets worse at once.
    optimizer = keras.optimizers.Adam(0.1)
    report = fitting.fit(
        model, digits, epochs=9, optimizer=optimizer, callbacks=callbacks, verbose=0, batch_size=BATCH_SIZE
    )
    assert report.stored and report.epochs < 9
    assert report.epochs == len(report.history["val_loss"]) == np.argmin(report.history["val_loss"]) + 2
    loaded = keras.models.load_model(best, safe_mode=True)
    images = next(digits.validation.batch(12).as_numpy_iterator())[0].astype("float32")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    glyphnet("block4").load_weights(tmp_path / "best.weights.h5")


def test_early_stopping_alone_stops_at_the_same_epoch(digits, ways) -> None:
    def patience() -> list:
        return [keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)]

    reports = []
    for cache in (False, activation_cache.Cache(ways.folder)):
        model = glyphnet()
        options = {"optimizer": keras.optimizers.SGD(1.0), "callbacks": patience(), "batch_size": BATCH_SIZE}
        reports.append((fitting.fit(model, digits, epochs=12, cache=cache, verbose=0, **options), model))
    assert reports[0][0].history == reports[1][0].history and reports[1][0].epochs < 12
    assert weights_of(reports[0][1]) == weights_of(reports[1][1])


def test_a_loss_that_is_not_a_number_is_found_among_many_steps_at_once(digits, monkeypatch) -> None:
    chosen, steps_at_once = [], batches.steps_at_once
    monkeypatch.setattr(batches, "LEAST_RETURNS", 1)
    monkeypatch.setattr(
        batches, "steps_at_once", lambda *args: chosen.append(steps_at_once(*args)) or chosen[-1]
    )
    model = glyphnet("block4")
    before = weights_of(model)
    with pytest.raises(FloatingPointError, match=r"epoch \d(.|\n)*learning rate(.|\n)*1e\+30"):
        fitting.fit(
            model,
            digits,
            epochs=3,
            batch_size=BATCH_SIZE,
            optimizer=keras.optimizers.SGD(1e30),
            verbose=0,
        )
    assert chosen == [3]
    assert weights_of(model) == before and not model.compiled


def interrupted(*args, **options) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["augmentation", "second batch", "validation"])
def test_ctrl_c_while_activations_are_stored(where, digits, tmp_path, monkeypatch) -> None:
    model, taken = glyphnet(), []
    before = weights_of(model)

    def update(self, count) -> None:
        taken.append(count)
        if sum(taken) > {"augmentation": 0, "second batch": BATCH_SIZE, "validation": 20}[where]:
            raise KeyboardInterrupt

    options = {"epochs": 2, "batch_size": BATCH_SIZE, "views": 1, "cache": activation_cache.Cache(tmp_path)}
    augment = interrupted if where == "augmentation" else brighten
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(batches.tqdm.tqdm, "update", update)
        fitting.fit(model, digits, augment=augment, **options)
    assert weights_of(model) == before and not model.compiled
    assert [path.name for path in tmp_path.glob(".*")] == []
    # A part that was stored before is whole; what was being stored is gone.
    assert len(activation_cache.entries(tmp_path)) == (where == "validation")
    if where != "augmentation":
        assert fitting.fit(model, digits, augment=brighten, verbose=0, **options).stored


@pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
def mixed_precision(request) -> Iterator[str]:
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


def test_mixed_precision_works_with_a_float32_head(mixed_precision, ways) -> None:
    dataset = shortened(data.load("digits", labels_per_class=4), 40, 30)
    model = glyphnet()
    assert model.output.dtype == "float32" and model.get_layer("logits").compute_dtype == "float32"
    assert model.get_layer("block4_conv1").compute_dtype == mixed_precision.removeprefix("mixed_")
    made: list[keras.Model] = []

    def build() -> keras.Model:
        made.append(glyphnet("block4"))
        return made[-1]

    options = {"epochs": 4, "views": 2, "augment": brighten, "learning_rate": 3e-3}
    report = ways.agree(build, dataset, **options)
    assert report.history["val_accuracy"][-1] > 0.8
    for model in made:
        assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)
        assert {weight.dtype for weight in model.weights} == {"float32"}


def test_under_mixed_precision_layers_in_float32_stay_exact(mixed_precision, small, ways) -> None:
    made: list[keras.Model] = []

    def build() -> keras.Model:
        keras.utils.set_random_seed(0)
        image = keras.Input((8, 8, 3))
        x = layers.Rescaling(1 / 255, dtype="float32")(image)
        x = layers.Conv2D(4, 3, dtype="float32", name="first")(x)
        x = layers.Conv2D(4, 3, dtype="float32", name="last")(x)
        x = layers.GlobalAveragePooling2D(dtype="float32")(x)
        model = keras.Model(image, layers.Dense(3, dtype="float32", name="logits")(x))
        made.append(freezing.unfreeze_from(model, "last"))
        return made[-1]

    options = {"augment": brighten, "views": 2}
    ways.agree(build, small, **options)
    keras.config.set_dtype_policy("float32")
    exact = build()
    cache = activation_cache.Cache(ways.folder)
    fitting.fit(exact, small, epochs=EPOCHS, batch_size=BATCH_SIZE, verbose=0, cache=cache, **options)
    assert weights_of(made[0]) == weights_of(made[1]) == weights_of(exact)


def test_the_usual_nested_model_whose_base_takes_images_of_any_size_is_stored(small, ways) -> None:
    def build() -> keras.Model:
        keras.utils.set_random_seed(0)
        base = keras.Sequential(
            [keras.Input((None, None, 3)), layers.Conv2D(4, 3, name="convolution")], name="base"
        )
        base.trainable = False
        image = keras.Input((8, 8, 3))
        x = layers.GlobalAveragePooling2D()(base(image))
        return keras.Model(image, layers.Dense(3, name="logits")(x))

    ways.agree(build, small)


def test_no_work_begins_that_a_small_disk_would_end(digits, tmp_path, monkeypatch, capsys) -> None:
    usage = types.SimpleNamespace(free=2 * 20 * 128 * 4)  # room for two views of three
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(activation_cache, "stored", None)
    report = fitting.fit(
        glyphnet(),
        digits,
        epochs=3,
        views=3,
        augment=digits.augment,
        cache=activation_cache.Cache(tmp_path),
    )
    assert not report.stored and "are free in" in capsys.readouterr().err
