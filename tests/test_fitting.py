"""Fitting one stage: what moves, what must not, and how fit fails."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from finetune_lib import batches, data, fitting, freezing, training

layers = keras.layers


def small_dataset(count: int = 20, classes: int = 3, size: int = 8) -> data.ImageDataset:
    """Images whose brightness is their class."""
    generator = np.random.default_rng(0)

    def part(number: int) -> tuple[np.ndarray, np.ndarray]:
        labels = generator.integers(0, classes, number)
        images = generator.uniform(0, 60, (number, size, size, 3)) + 60 * labels[:, None, None, None]
        return images.astype("uint8"), labels

    names = [f"class{i}" for i in range(classes)]
    return data.from_arrays("small", names, train=part(count), validation=part(7), test=part(6))


def small_model(ending: str | None = None, units: int = 3) -> keras.Model:
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(4, 3, name="block1_conv")(x)
    x = layers.BatchNormalization(name="block1_norm")(x)
    x = layers.ReLU()(x)
    x = layers.Dropout(0.5, name="block1_drop")(x)
    x = layers.Conv2D(4, 3, name="block2_conv")(x)
    x = layers.BatchNormalization(name="block2_norm")(x)
    x = layers.GlobalAveragePooling2D(name="average_pool")(x)
    x = layers.Dropout(0.3, name="drop")(x)
    return keras.Model(image, layers.Dense(units, activation=ending, name="logits")(x), name="small")


def fresh(**options) -> keras.Model:
    keras.utils.set_random_seed(0)
    return small_model(**options)


def weights_of(model: keras.Model) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy() for weight in model.weights}


def changed(before: dict, after: dict) -> set[str]:
    """The layers of which a weight is not bit-identical."""
    return {path.split("/")[0] for path in before if before[path].tobytes() != after[path].tobytes()}


def test_fit_trains_exactly_what_is_trainable():
    model, dataset = fresh(), small_dataset()
    before = weights_of(model)
    report = fitting.fit(freezing.freeze(model), dataset, epochs=2, batch_size=8, verbose=0, label="head")
    middle = weights_of(model)
    assert changed(before, middle) == {"logits"} == {path for path, moved in report.moved.items() if moved}
    freezing.unfreeze_from(model, "block2")
    report = fitting.fit(model, dataset, epochs=1, learning_rate=1e-4, batch_size=8, verbose=0)
    assert changed(middle, weights_of(model)) == {"block2_conv", "logits"}
    assert report.boundary == "trained from block2_conv on"
    assert report.trained_parameters == 4 * 4 * 9 + 4 + 15 < report.total_parameters == model.count_params()
    assert not model.compiled
    table = freezing.table(model, report)
    assert [line.split()[-1] for line in table.splitlines()[1:-1]] == ["no", "no", "yes", "no", "yes"]


def test_the_first_step_is_traced_once(monkeypatch):
    traced, step = [], training.Pair.train_step

    def counted(pair, data):
        traced.append(pair)
        return step(pair, data)

    monkeypatch.setattr(training.Pair, "train_step", counted)
    fitting.fit(freezing.freeze(fresh()), small_dataset(), epochs=2, verbose=0)
    assert len(traced) == 1


def test_normalization_moves_when_asked():
    model = freezing.unfreeze_from(fresh(), "block2", train_batch_normalization=True)
    before = weights_of(model)
    report = fitting.fit(model, small_dataset(), epochs=1, verbose=0)
    assert changed(before, weights_of(model)) == {"block2_conv", "block2_norm", "logits"}
    assert report.moved["block2_norm"] and not report.moved["block1_norm"]


def usual_model(dropout: float = 0.9) -> tuple[keras.Model, keras.Model]:
    """What guides show: a base called with training=False in a functional model. Returns base and model."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(8, 3, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    base = keras.Model(image, layers.Dropout(dropout, name="drop")(x), name="base")
    image = keras.Input((8, 8, 3), name="image")
    x = layers.GlobalAveragePooling2D()(base(image, training=False))
    return base, keras.Model(image, layers.Dense(3, name="logits")(x))


def train_as_usual(model: keras.Model, dataset: data.ImageDataset) -> None:
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    model.fit(dataset.train.batch(8), shuffle=False, verbose=0)


def test_usual_construction_lets_dropout_fire_in_the_frozen_base_and_ours_does_not():
    dataset, usual, ours = small_dataset(), {}, {}
    _, start = usual_model()
    for dropout in (0.0, 0.9):
        base, model = usual_model(dropout)
        base.trainable = False
        model.set_weights([weights_of(start)[weight.path] for weight in model.weights])
        train_as_usual(model, dataset)
        usual[dropout] = weights_of(model)["logits/kernel"]
        _, model = usual_model(dropout)
        model.set_weights([weights_of(start)[weight.path] for weight in model.weights])
        fitting.fit(freezing.freeze(model), dataset, epochs=1, verbose=0)
        ours[dropout] = weights_of(model)["logits/kernel"]
    assert not np.array_equal(usual[0.0], usual[0.9])
    np.testing.assert_array_equal(ours[0.0], ours[0.9])


def test_usual_construction_moves_statistics_after_unfreezing_and_ours_does_not():
    dataset = small_dataset()
    base, model = usual_model()
    base.trainable = True
    before = base.get_layer("norm").moving_mean.numpy()
    train_as_usual(model, dataset)
    assert not np.array_equal(base.get_layer("norm").moving_mean, before)

    base, model = usual_model()
    report = fitting.fit(freezing.unfreeze_from(model, "base"), dataset, epochs=1, verbose=0)
    np.testing.assert_array_equal(base.get_layer("norm").moving_mean, before)
    assert report.moved == {"base/conv": True, "base/norm": False, "logits": True}


def test_dropout_in_the_trained_part_fires():
    histories = []
    for rate in (0.0, 0.5):
        image = keras.Input((8, 8, 3))
        x = layers.Dropout(rate)(layers.Flatten()(layers.Rescaling(1 / 255)(image)))
        # Zeros: a Dropout that never fires takes no random numbers, so others would come after it.
        model = keras.Model(image, layers.Dense(3, kernel_initializer="zeros")(x))
        histories.append(fitting.fit(model, small_dataset(), epochs=2, verbose=0).history["loss"])
    assert histories[0] != histories[1]


def test_the_same_seed_gives_the_same_weights_whatever_ran_before():
    results = []
    for seed, global_seed in ((3, 1), (3, 2), (4, 1)):
        model = freezing.unfreeze_from(fresh(), "block1")
        keras.utils.set_random_seed(global_seed)
        dataset = small_dataset()
        fitting.fit(model, dataset, epochs=2, batch_size=8, verbose=0, seed=seed, augment=brighten)
        results.append(weights_of(model))
    assert not changed(results[0], results[1])
    assert changed(results[0], results[2])


def brighten(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.image.stateless_random_brightness(image, 40.0, seed)


class Sabotage(keras.callbacks.Callback):
    """Does something to the model when training ends."""

    def __init__(self, action) -> None:
        super().__init__()
        self.action = action

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.action()


def test_verification_names_frozen_layers_that_moved():
    model = freezing.freeze(fresh())
    kernel = model.get_layer("block1_conv").kernel

    def nudge() -> None:
        model.get_layer("block1_conv").trainable = True
        kernel.assign(kernel * 1.0001)

    with pytest.raises(RuntimeError, match="block1_conv"):
        fitting.fit(model, small_dataset(), epochs=1, verbose=0, callbacks=[Sabotage(nudge)])
    model = freezing.unfreeze_from(fresh(), "block2")
    mean = model.get_layer("block2_norm").moving_mean
    with pytest.raises(RuntimeError, match="block2_norm"):
        fitting.fit(
            model,
            small_dataset(),
            epochs=1,
            verbose=0,
            callbacks=[Sabotage(lambda: mean.assign(mean + 1e-6))],
        )


def test_a_loss_that_is_not_a_number_restores_the_weights():
    model = freezing.unfreeze_from(fresh(), "block1")
    before = weights_of(model)
    with pytest.raises(FloatingPointError, match=r"epoch 1, step \d(.|\n)*learning rate(.|\n)*1e\+30"):
        fitting.fit(
            model, small_dataset(), epochs=3, batch_size=8, verbose=0, optimizer=keras.optimizers.SGD(1e30)
        )
    assert not changed(before, weights_of(model))


def test_weights_that_are_not_numbers_are_noticed_even_if_no_loss_shows_them():
    model = freezing.unfreeze_from(fresh(), "block1")
    before, kernel = weights_of(model), model.get_layer("block1_conv").kernel
    with pytest.raises(FloatingPointError, match="block1_conv/kernel"):
        fitting.fit(
            model,
            small_dataset(),
            epochs=1,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_train_end=lambda _: kernel.assign(kernel * np.nan))],
        )
    assert not changed(before, weights_of(model))


def test_pixels_that_are_not_numbers_are_named_as_the_cause():
    dataset = small_dataset()
    broken = dataset.train.map(lambda image, label: (tf.cast(image, tf.float32) / 0.0, label))
    with pytest.raises(FloatingPointError, match=r"pixels that are not numbers(.|\n)*20 of 20"):
        fitting.fit(freezing.freeze(fresh()), dataclasses.replace(dataset, train=broken), epochs=1, verbose=0)


def test_ctrl_c_leaves_a_usable_model():
    model = freezing.freeze(fresh())
    before = weights_of(model)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitting.fit(model, small_dataset(), epochs=1, verbose=0, callbacks=[Sabotage(interrupt)])
    assert changed(before, weights_of(model)) == {"logits"}
    assert not model.compiled
    fitting.fit(model, small_dataset(), epochs=1, verbose=0)


def test_nothing_trainable_and_wrong_labels_are_refused_before_training():
    dataset = small_dataset()
    model = fresh()
    model.trainable = False
    with pytest.raises(ValueError, match="Nothing in 'small' is trainable"):
        fitting.fit(model, dataset, epochs=1)
    with pytest.raises(ValueError, match="3 outputs; the data has 4 classes"):
        fitting.fit(fresh(), small_dataset(classes=4), epochs=1)
    shifted = dataset.train.map(lambda image, label: (image, label + 1))
    with pytest.raises(ValueError, match=r"\[3\] among 20 labels; the classes are 0 to 2"):
        fitting.fit(fresh(), dataclasses.replace(dataset, train=shifted), epochs=1)
    with pytest.raises(ValueError, match="validation part is empty"):
        fitting.fit(fresh(), dataclasses.replace(dataset, validation=dataset.validation.take(0)), epochs=1)
    with pytest.raises(TypeError, match="no graph of layers"):
        fitting.fit(keras.Sequential([layers.Dense(3)]), dataset, epochs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it takes a whole number of at least 1"),
        ({"epochs": 2.5}, "epochs is 2.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1; it takes a whole number of at least 0"),
        ({"seed": None}, "seed is None"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; it takes an object"),
        ({"callbacks": [keras.callbacks.BackupAndRestore("backup")]}, "BackupAndRestore cannot be used"),
    ],
)
def test_settings_are_checked_before_any_work(options, message, monkeypatch):
    monkeypatch.setattr(batches, "of_stage", None)
    with pytest.raises((TypeError, ValueError), match=message):
        fitting.fit(fresh(), small_dataset(), **{"epochs": 1} | options)


def test_a_head_without_pooling_is_refused():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Dense(3)(layers.Conv2D(4, 3)(image)))
    with pytest.raises(ValueError, match="GlobalAveragePooling2D or Flatten before its last layer"):
        fitting.fit(freezing.freeze(model), small_dataset(), epochs=1)


@pytest.mark.parametrize(
    ("ending", "units", "one_hot", "words"),
    [
        (None, 3, False, "cross-entropy on logits, whole-number labels"),
        (None, 3, True, "cross-entropy on logits, one-hot labels"),
        ("softmax", 3, False, "cross-entropy on softmax probabilities, whole-number labels"),
        ("softmax", 3, True, "cross-entropy on softmax probabilities, one-hot labels"),
        (None, 1, False, "binary cross-entropy on logits, labels 0 and 1"),
        ("sigmoid", 1, False, "binary cross-entropy on sigmoid probabilities, labels 0 and 1"),
    ],
)
def test_the_loss_fits_the_head_and_learns(ending, units, one_hot, words):
    dataset = small_dataset(40, classes=2 if units == 1 else 3)
    if one_hot:
        parts = {part: getattr(dataset, part) for part in ("train", "validation", "test")}
        turned = {
            part: s.map(lambda image, label: (image, tf.one_hot(label, 3))) for part, s in parts.items()
        }
        dataset = dataclasses.replace(dataset, **turned)
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 127.5, offset=-1)(image))
    model = keras.Model(image, layers.Dense(units, activation=ending)(x))
    report = fitting.fit(model, dataset, epochs=40, learning_rate=0.2, batch_size=20, verbose=0)
    assert report.loss == words
    assert report.history["accuracy"][-1] > 0.9
    assert report.history["val_accuracy"][-1] > 0.8


def test_heads_that_no_loss_fits_are_refused():
    for options in ({"ending": "relu"}, {"ending": "sigmoid"}):
        with pytest.raises(ValueError, match="no classification loss fits"):
            fitting.fit(fresh(**options), small_dataset(), epochs=1)
    with pytest.raises(ValueError, match="no classification loss fits"):
        fitting.fit(fresh(ending="softmax", units=1), small_dataset(classes=2), epochs=1)


def test_softmax_as_a_layer_or_an_operation_is_recognised():
    for ending in (layers.Softmax(), keras.ops.softmax):
        model = fresh()
        model = keras.Model(model.input, ending(model.output))
        report = fitting.fit(freezing.freeze(model), small_dataset(), epochs=1, verbose=0)
        assert "softmax" in report.loss


def test_the_hand_built_vgg16_of_tutorials_works():
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    x = layers.GlobalAveragePooling2D()(base.output)
    x = layers.Dense(16, activation="relu", name="hidden")(x)
    model = keras.Model(base.input, layers.Dense(3, activation="softmax", name="predictions")(x))
    dataset = small_dataset(8, size=32)
    freezing.freeze(model)
    assert [layer.name for layer in model.layers if layer.trainable_weights] == ["hidden", "predictions"]
    freezing.unfreeze_from(model, "block5_conv3")
    report = fitting.fit(model, dataset, epochs=1, learning_rate=1e-4, batch_size=8, verbose=0)
    assert [path for path, moved in report.moved.items() if moved] == [
        "block5_conv3",
        "hidden",
        "predictions",
    ]


def test_a_boundary_in_the_middle_of_a_residual_block_works():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(layers.Rescaling(1 / 255)(image))
    y = layers.ReLU()(layers.Conv2D(4, 3, padding="same", name="block_conv1")(x))
    y = layers.Conv2D(4, 3, padding="same", name="block_conv2")(y)
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    model = keras.Model(image, layers.Dense(3, name="logits")(x))
    before = weights_of(model)
    fitting.fit(freezing.unfreeze_from(model, "block_conv2"), small_dataset(), epochs=1, verbose=0)
    assert changed(before, weights_of(model)) == {"block_conv2", "logits"}


def test_what_is_saved_is_one_plain_model(tmp_path):
    model, dataset = freezing.freeze(fresh()), small_dataset()
    best = tmp_path / "best.keras"
    saver = keras.callbacks.ModelCheckpoint(best, save_best_only=True, monitor="val_loss")
    stopper = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)
    fitting.fit(model, dataset, epochs=2, verbose=0, callbacks=[saver, stopper])
    model.save(tmp_path / "model.keras")
    images = next(iter(dataset.test.batch(6)))[0]
    for file in ("model.keras", "best.keras"):
        loaded = keras.models.load_model(tmp_path / file, safe_mode=True)
        assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
        if file == "model.keras":
            np.testing.assert_array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))


def test_early_stopping_and_a_given_optimizer():
    optimizer = keras.optimizers.SGD(0.0)
    stopper = keras.callbacks.EarlyStopping("val_loss", patience=1)
    for _ in range(2):  # the optimiser is copied, so it can be used again
        report = fitting.fit(
            freezing.freeze(fresh()),
            small_dataset(),
            epochs=9,
            optimizer=optimizer,
            callbacks=[stopper],
            verbose=0,
        )
        assert report.epochs == len(report.history["loss"]) == 2
        assert not any(report.moved[name] for name in ("block1_conv", "logits"))


def test_long_stages_are_validated_ten_times_unless_a_callback_may_want_more():
    dataset = small_dataset()
    model = freezing.freeze(fresh())
    report = fitting.fit(model, dataset, epochs=25, verbose=0)
    assert report.validated_epochs == [3, 5, 8, 10, 13, 15, 18, 20, 23, 25]
    assert len(report.history["val_loss"]) == 10 and len(report.history["loss"]) == 25
    watched = fitting.fit(model, dataset, epochs=12, callbacks=[keras.callbacks.Callback()], verbose=0)
    assert watched.validated_epochs == list(range(1, 13)) and len(watched.history["val_loss"]) == 12


def test_report_and_progress_can_be_read(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)  # by which the bar may be cut
    report = fitting.fit(freezing.freeze(fresh()), small_dataset(), epochs=2, label="new head")
    progress = capsys.readouterr()
    assert progress.out == ""
    assert "new head: epoch 2/2" in progress.err and "validation accuracy=" in progress.err
    lines = str(report).splitlines()
    assert lines[0].startswith("new head: 2 epochs on stored activations in ")
    assert lines[0].endswith(" s, trained from logits on")
    assert "15 of 307 parameters trained; 1 of 5 layers moved" in lines[1]
    fitting.fit(freezing.freeze(fresh()), small_dataset(), epochs=1, verbose=0)
    assert capsys.readouterr().err == ""


def test_class_weights_weigh_the_loss_of_each_image():
    dataset = small_dataset(24, classes=3)
    images, labels = map(np.stack, zip(*dataset.train.as_numpy_iterator(), strict=True))
    weights = {0: 0.5, 1: 1.0, 2: 4.0}
    model = freezing.freeze(fresh())
    model.get_layer("drop").rate = 0.0  # so that the loss in training can be foretold
    probabilities = keras.ops.softmax(model.predict(images.astype("float32"), verbose=0)).numpy()
    losses = -np.log(probabilities[np.arange(len(labels)), labels])
    expected = np.mean([weights[label] * loss for label, loss in zip(labels, losses, strict=True)])
    report = fitting.fit(
        model, dataset, epochs=1, batch_size=24, learning_rate=0.0, class_weights=weights, verbose=0
    )
    assert report.history["loss"][0] == pytest.approx(expected, rel=1e-4)
    assert "weighted by class" in report.loss and abs(expected - losses.mean()) > 0.1
    for wrong in ({0: 1.0, 1: 1.0}, {1: 1.0, 2: 1.0, 3: 1.0}, {}):
        with pytest.raises(ValueError, match="one weight for each of 0 to 2"):
            fitting.fit(model, dataset, epochs=1, class_weights=wrong)
