"""Stages that go on where they stopped, and refuse the checkpoints of others (see also test_kills)."""

import dataclasses
import pathlib
import resource
import shutil
import sys
import types

import keras
import killed_run
import numpy as np
import pytest
import small_models
import tensorflow as tf

from finetune_lib import data, environment, fitting, freezing, optimizers, resume

EPOCHS = 4


@pytest.fixture(scope="module")
def dataset() -> data.ImageDataset:
    return killed_run.dataset()


def head_model(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return freezing.freeze(small_models.plain())


def deep_model() -> keras.Model:
    return freezing.unfreeze_from(head_model(), "block2", train_batch_normalization=True)


def fit(model: keras.Model, dataset: data.ImageDataset, checkpoint, **options) -> fitting.FitReport:
    chosen = {"epochs": EPOCHS, "batch_size": 16, "learning_rate": 0.01, "verbose": 0} | options
    return fitting.fit(model, dataset, checkpoint=checkpoint, **chosen)


def bits(model: keras.Model) -> list[bytes]:
    return [weight.tobytes() for weight in model.get_weights()]


@dataclasses.dataclass(frozen=True)
class Whole:
    """A stage that was never stopped, and the folder of its checkpoints, which is to be copied, not used."""

    weights: list[bytes]
    report: fitting.FitReport
    folder: pathlib.Path


@pytest.fixture(scope="module")
def whole_head(dataset, tmp_path_factory) -> Whole:
    model, folder = head_model(), tmp_path_factory.mktemp("head")
    report = fit(model, dataset, folder)
    return Whole(bits(model), report, folder)


@pytest.fixture(scope="module")
def whole_deep(dataset) -> Whole:
    model = deep_model()
    report = fit(model, dataset, None, callbacks=[Quiet()])
    return Whole(bits(model), report, pathlib.Path("of no checkpoints"))


@pytest.fixture
def finished(whole_head, tmp_path) -> pathlib.Path:
    """A folder with a finished head, as ``fit(head_model(), dataset, folder)`` leaves it."""
    return shutil.copytree(whole_head.folder, tmp_path / "finished")


class Stop(keras.callbacks.Callback):
    """Does something when so many epochs are done and saved: at once, or in the middle of the next."""

    def __init__(self, done: int, action, half_way: bool = False) -> None:
        super().__init__()
        self.done, self.action, self.half_way, self.now = done, action, half_way, 0

    def on_epoch_begin(self, epoch, logs=None) -> None:
        self.now = epoch
        if not self.half_way and epoch == self.done:
            self.action()

    def on_train_batch_end(self, batch, logs=None) -> None:
        if self.half_way and self.now == self.done and batch == 1:
            self.action()


def interrupt() -> None:
    raise KeyboardInterrupt


def run_out_of_memory() -> None:
    raise MemoryError


class Quiet(keras.callbacks.Callback):
    """Nothing; with a callback, each epoch is validated, with this one or with ``Stop``."""


@pytest.mark.parametrize(
    ("stopped", "half_way", "anew"),
    [(interrupt, False, True), (interrupt, True, False), (run_out_of_memory, True, True)],
)
def test_stopped_and_run_again_it_ends_as_if_nothing_had_been(
    dataset, whole_deep, tmp_path, stopped, half_way, anew, capsys
):
    model = deep_model()
    with pytest.raises((KeyboardInterrupt, MemoryError)):
        fit(model, dataset, tmp_path, callbacks=[Stop(2, stopped, half_way)])
    if anew:  # the notebook from its top; otherwise the cell once more
        model = deep_model()
    report = fit(model, dataset, tmp_path, callbacks=[Quiet()], verbose=1)
    assert bits(model) == whole_deep.weights
    assert (report.history, report.moved) == (whole_deep.report.history, whole_deep.report.moved)
    assert report.earlier_epochs == 2 and report.epochs == EPOCHS
    assert "goes on after epoch 2, with the checkpoint in" in capsys.readouterr().err
    assert "2 epochs were done by an earlier run" in str(report)


OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "averages": lambda: keras.optimizers.Adam(0.01, use_ema=True),
    "accumulation": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=3),
    "schedule": lambda: keras.optimizers.RMSprop(keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9)),
}


def test_the_courses_own_optimizer_can_be_given_and_goes_on(dataset, tmp_path):
    """It holds weights, which are others in a model built anew, and have changed in one that was stopped."""
    whole = deep_model()
    expected = fit(whole, dataset, None, layer_rate_ratio=5.0, weight_decay=0.1, callbacks=[Quiet()])

    def given(model: keras.Model) -> keras.optimizers.Optimizer:
        rate = optimizers.schedule(0.01, 4 * EPOCHS)
        return optimizers.adam(model, rate, layer_rate_ratio=5.0, weight_decay=0.1)

    model = deep_model()
    with pytest.raises(KeyboardInterrupt):
        fit(model, dataset, tmp_path, optimizer=given(model), callbacks=[Stop(2, interrupt)])
    report = fit(model, dataset, tmp_path, optimizer=given(model), callbacks=[Quiet()])
    assert bits(model) == bits(whole) and report.history == expected.history
    other = optimizers.adam(model, 0.01)
    with pytest.raises(ValueError, match="in: optimizer"):
        fit(model, dataset, tmp_path, optimizer=other, callbacks=[Quiet()])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_of_ones_own_goes_on(dataset, tmp_path, name):
    """Made anew each time the cell runs, and Keras numbers them through the session."""
    whole = head_model()
    expected = fit(whole, dataset, None, optimizer=OPTIMIZERS[name](), callbacks=[Quiet()])
    model = head_model()
    with pytest.raises(KeyboardInterrupt):
        fit(model, dataset, tmp_path, optimizer=OPTIMIZERS[name](), callbacks=[Stop(2, interrupt)])
    report = fit(model, dataset, tmp_path, optimizer=OPTIMIZERS[name](), callbacks=[Quiet()])
    assert bits(model) == bits(whole) and report.history == expected.history
    (final,) = tmp_path.glob("*/finished-*")
    final.unlink()  # killed between the last epoch and the end
    again = head_model()
    fit(again, dataset, tmp_path, optimizer=OPTIMIZERS[name](), callbacks=[Quiet()])
    assert bits(again) == bits(whole)


def test_what_callbacks_change_is_saved(dataset, tmp_path):
    class Shrink(Stop):
        def on_epoch_end(self, epoch, logs=None) -> None:
            kernel = self.model.suffix.get_layer("logits").kernel
            kernel.assign(kernel * 0.5)

    whole, model = head_model(), head_model()
    fit(whole, dataset, None, callbacks=[Shrink(9, interrupt)])
    with pytest.raises(KeyboardInterrupt):
        fit(model, dataset, tmp_path, callbacks=[Shrink(2, interrupt)])
    fit(model, dataset, tmp_path, callbacks=[Shrink(9, interrupt)])
    assert bits(model) == bits(whole)


def test_a_callback_that_stops_training_does_not_finish_the_stage(dataset, whole_head, tmp_path):
    """Such as one that watches the time."""
    model = head_model()

    class TimeIsUp(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None) -> None:
            self.model.stop_training = epoch == 1

    assert fit(model, dataset, tmp_path, callbacks=[TimeIsUp()]).epochs == 2
    report = fit(model, dataset, tmp_path, callbacks=[Quiet()])
    assert bits(model) == whole_head.weights and (report.epochs, report.earlier_epochs) == (EPOCHS, 2)


def test_a_finished_stage_is_not_trained_again_and_says_so(
    dataset, whole_head, finished, capsys, monkeypatch
):
    monkeypatch.setattr(keras.Model, "fit", None)
    again = head_model()
    for _ in range(2):  # a model built anew, and the same one once more
        report = fit(again, dataset, finished)
        assert bits(again) == whole_head.weights and not again.compiled
        assert "finished earlier; its weights are taken from" in capsys.readouterr().err  # verbose or not
        assert dataclasses.replace(report, earlier_epochs=0) == whole_head.report
        assert report.earlier_epochs == EPOCHS


def test_stages_share_a_folder(dataset, tmp_path):
    """Run again from the top, neither stage is trained twice, nor takes the other's weights."""
    finals = []
    for _ in range(2):
        model = head_model()
        reports = [fit(model, dataset, tmp_path)]
        middle = bits(model)
        freezing.unfreeze_from(model, "block2")
        reports.append(fit(model, dataset, tmp_path, learning_rate=1e-3))
        finals.append([middle, bits(model), [report.history for report in reports]])
        assert middle != bits(model)
    assert finals[0] == finals[1]
    assert [report.earlier_epochs for report in reports] == [EPOCHS, EPOCHS]


def test_best_weights_and_patience_go_on(dataset, tmp_path):
    """Accuracy cannot get better at a rate of almost nothing, so patience runs out."""
    options = {"learning_rate": 1e-12, "patience": 3, "epochs": 8, "label_smoothing": 0.1}
    whole = head_model()
    expected = fit(whole, dataset, None, callbacks=[Quiet()], **options)
    assert expected.epochs < 8 and expected.kept_epoch < expected.epochs
    model = head_model()
    with pytest.raises(KeyboardInterrupt):
        fit(model, dataset, tmp_path, callbacks=[Stop(2, interrupt)], **options)
    report = fit(model, dataset, tmp_path, callbacks=[Quiet()], **options)
    assert bits(model) == bits(whole)
    assert (report.history, report.kept_epoch) == (expected.history, expected.kept_epoch)
    assert f"weights of epoch {report.kept_epoch}" in str(report)


def test_a_run_killed_between_its_last_epoch_and_its_end(dataset, tmp_path, monkeypatch):
    whole = head_model()
    fit(whole, dataset, tmp_path, patience=9, callbacks=[Quiet()])
    (final,) = tmp_path.glob("*/finished-*")
    final.unlink()
    model = head_model()
    monkeypatch.setattr(keras.Model, "fit", None)  # nothing is left to train
    report = fit(model, dataset, tmp_path, patience=9, callbacks=[Quiet()])
    assert bits(model) == bits(whole) and report.earlier_epochs == report.epochs == EPOCHS
    assert report.moved["logits"] and list(tmp_path.glob("*/finished-*"))


def test_layers_are_called_as_they_are_now(dataset, tmp_path):
    """Keras numbers unnamed layers through the session."""
    reports = []
    for _ in range(2):
        image = keras.Input((8, 8, 3))
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
        model = freezing.freeze(keras.Model(image, keras.layers.Dense(3, kernel_initializer="zeros")(x)))
        model.layers[1].set_weights([np.ones((3, 3, 3, 4)), np.zeros(4)])
        reports.append((model, fit(model, dataset, tmp_path)))
    (_, first), (model, report) = reports
    assert report.earlier_epochs == EPOCHS and list(first.moved.values()) == list(report.moved.values())
    names = [layer.name for layer in model.layers if layer.weights]
    assert list(report.moved) == names != list(first.moved)
    assert report.boundary == f"trained from {names[-1]} on"


def test_a_damaged_checkpoint_costs_an_epoch_and_nothing_else(dataset, whole_head, finished):
    (final,) = finished.glob("*/finished-*")
    final.write_bytes(final.read_bytes()[:-1])
    model = head_model()
    with pytest.warns(UserWarning, match="is damaged"):
        report = fit(model, dataset, finished)
    assert bits(model) == whole_head.weights and report.earlier_epochs == EPOCHS


def test_a_full_disk_warns_and_training_goes_on(dataset, whole_head, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    model = head_model()

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))

    try:
        with pytest.warns(UserWarning, match=r"epoch 3 cannot be written .*File too large.*Training goes on"):
            fit(model, dataset, tmp_path / "one", callbacks=[Stop(2, fill)])
        assert bits(model) == whole_head.weights
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with pytest.warns(UserWarning, match="epoch 3"), pytest.raises(KeyboardInterrupt):
            again = head_model()
            fit(again, dataset, tmp_path / "two", callbacks=[Stop(2, fill), Stop(3, interrupt)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    for place in ("one", "two"):  # in the second, with the model as it was left
        model = head_model() if place == "one" else again
        assert fit(model, dataset, tmp_path / place, callbacks=[Quiet()]).earlier_epochs == 2
        assert bits(model) == whole_head.weights


def test_a_folder_that_vanishes_warns_and_training_goes_on(dataset, tmp_path):
    model = head_model()
    with pytest.warns(UserWarning, match=r"No such file or directory.*Training goes on"):
        report = fit(
            model, dataset, tmp_path / "run", callbacks=[Stop(2, lambda: shutil.rmtree(tmp_path / "run"))]
        )
    assert report.epochs == EPOCHS


def test_a_folder_in_use_is_refused_before_any_work(dataset, tmp_path):
    model = head_model()

    def second() -> None:
        with pytest.raises(OSError, match="Another run is using"):
            fit(head_model(), dataset, tmp_path)
        second.happened = True

    fit(model, dataset, tmp_path, callbacks=[Stop(2, second)])
    assert second.happened


def other_images(dataset):
    return dataclasses.replace(dataset, train=dataset.train.map(lambda image, label: (255 - image, label)))


def other_order(dataset):
    return dataclasses.replace(dataset, train=dataset.train.skip(1).concatenate(dataset.train.take(1)))


def other_validation_labels(dataset):
    turned = dataset.validation.map(lambda image, label: (image, 2 - label))
    return dataclasses.replace(dataset, validation=turned)


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"epochs": 5}, None, "epochs: 4 there, 5 here"),
        ({"learning_rate": 0.02}, None, "learning_rate: 0.01 there, 0.02 here"),
        ({"seed": 1}, None, "seed: 0 there, 1 here"),
        ({"class_weights": {0: 1, 1: 2, 2: 1}}, None, r"class_weights: None there, \[1.0, 2.0, 1.0\] here"),
        ({"optimizer": keras.optimizers.SGD(0.01)}, None, "learning_rate: 0.01 there, None here; optimizer"),
        ({"augment": killed_run.brighten}, None, "augmented images"),
        ({"label": "Training"}, None, "label: training there, Training here"),
        ({"patience": 2}, None, "patience: None there, 2 here"),
        ({}, other_images, r"in: train images\. To go on"),
        ({}, other_order, "train labels; train images"),
        ({}, other_validation_labels, "in: validation labels"),
    ],
)
def test_another_setting_or_data_set_is_refused(dataset, finished, options, change, message):
    files = sorted(finished.rglob("*"))
    model = head_model()
    before = bits(model)
    if "label" in options:  # as on a disk that takes both names for one
        (finished / "training-from-layer-13").rename(finished / "Training-from-layer-13")
        files = sorted(finished.rglob("*"))
    with pytest.raises(resume.OtherStage, match=f"is of another stage.*{message}"):
        fit(model, change(dataset) if change else dataset, finished, **options)
    assert bits(model) == before and sorted(finished.rglob("*")) == files


def test_another_model_is_refused_but_a_new_random_head_is_not(dataset, finished):
    frozen = head_model()
    frozen.get_layer("block2_conv").kernel.assign_add(np.full((3, 3, 4, 4), 1e-6))
    with pytest.raises(ValueError, match=r"in: frozen weights\. To go on"):
        fit(frozen, dataset, finished)
    dropping = head_model()
    dropping.get_layer("drop").rate = 0.25
    with pytest.raises(ValueError, match=r"in: trained layers\. To go on"):
        fit(dropping, dataset, finished)
    other_head = head_model()
    other_head.get_layer("logits").kernel.assign(np.ones((4, 3)))
    assert fit(other_head, dataset, finished).earlier_epochs == EPOCHS
    # Where more than the head learns, the weights that it starts at count.
    first = freezing.unfreeze_from(head_model(), "block3")
    fit(first, dataset, finished)
    other = freezing.unfreeze_from(head_model(), "block3")
    other.get_layer("logits").kernel.assign(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"in: weights at the start\. To go on"):
        fit(other, dataset, finished)
    assert fit(first, dataset, finished).earlier_epochs == EPOCHS  # the cell once more


def test_epochs_that_were_validated_otherwise_are_refused(dataset, tmp_path):
    """With callbacks each epoch is validated, without them ten are: patience would run out elsewhere."""
    with pytest.raises(KeyboardInterrupt):
        fit(head_model(), dataset, tmp_path, epochs=20, callbacks=[Stop(2, interrupt)])
    with pytest.raises(ValueError, match="validations: 20 there, 10 here"):
        fit(head_model(), dataset, tmp_path, epochs=20)


def test_an_augmentation_that_differs_in_later_views_only_is_refused(dataset, tmp_path):
    first_view = tf.stack([tf.random.fold_in(tf.constant([0, 0]), index) for index in range(60)])

    def other(image, seed):
        is_first = tf.reduce_any(tf.reduce_all(first_view == seed, axis=1))
        return tf.where(is_first, killed_run.brighten(image, seed), image)

    fit(head_model(), dataset, tmp_path, augment=killed_run.brighten)
    with pytest.raises(ValueError, match="augmented images"):
        fit(head_model(), dataset, tmp_path, augment=other)


NOTEBOOK_LAYER = """
class Scale(keras.layers.Layer):
    def call(self, x):
        return x * {factor}

def build():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Lambda(lambda x: x + {shift})(Scale()(image))
    x = keras.layers.Conv2D(4, 3, kernel_initializer="ones")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3, kernel_initializer="zeros")(x))
"""


def test_code_of_a_notebook_is_known_by_what_it_does(dataset, tmp_path):
    """Its source is in no file, and the file names in it are others in each kernel."""

    def model(kernel: int, **numbers: float) -> keras.Model:
        source = compile(NOTEBOOK_LAYER.format(**numbers), f"/tmp/ipykernel_{kernel}/1.py", "exec")
        names = {"keras": keras, "__name__": "a_notebook"}
        exec(source, names)
        return freezing.freeze(names["build"]())

    fit(model(1, factor=0.01, shift=1), dataset, tmp_path)
    assert fit(model(2, factor=0.01, shift=1), dataset, tmp_path).earlier_epochs == EPOCHS
    for numbers in ({"factor": 0.02, "shift": 1}, {"factor": 0.01, "shift": 2}):
        with pytest.raises(ValueError, match=r"in: frozen layers\. To go on"):
            fit(model(3, **numbers), dataset, tmp_path)


def test_last_bits_do_not_make_another_data_set(dataset, tmp_path):
    """Another machine decodes and augments with other last bits; a finished stage is still found there."""
    floats = dataclasses.replace(
        dataset, train=dataset.train.map(lambda image, label: (tf.cast(image, tf.float32), label))
    )
    fit(head_model(), floats, tmp_path)
    nudged = dataclasses.replace(
        floats, train=floats.train.map(lambda image, label: (image * 1.000001, label))
    )
    assert fit(head_model(), nudged, tmp_path).earlier_epochs == EPOCHS


def test_weights_that_are_lost_are_not_saved(dataset, tmp_path):
    model = head_model()
    kernel = model.get_layer("logits").kernel
    with pytest.raises(FloatingPointError, match="logits/kernel"):
        fit(model, dataset, tmp_path, epochs=2, callbacks=[Spoil(kernel)])
    assert not list(tmp_path.glob("*/*.npz"))


class Spoil(keras.callbacks.Callback):
    """Makes weights NaN before the epoch ends, which no loss shows any more."""

    def __init__(self, kernel) -> None:
        super().__init__()
        self.kernel = kernel

    def on_test_end(self, logs=None) -> None:
        self.kernel.assign(self.kernel * np.nan)


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.EarlyStopping(),
        keras.callbacks.ReduceLROnPlateau(),
        keras.callbacks.ModelCheckpoint("x.keras"),
        keras.callbacks.BackupAndRestore("x"),
    ],
)
def test_callbacks_that_forget_are_refused(dataset, tmp_path, callback):
    with pytest.raises(ValueError, match=f"{type(callback).__name__} cannot be used"):
        fit(head_model(), dataset, tmp_path, callbacks=[callback])
    assert not list(tmp_path.iterdir())


def test_mixed_precision_goes_on(dataset, tmp_path):
    """The loss scale is the optimiser's, too."""
    results = []
    try:
        keras.config.set_dtype_policy("mixed_float16")
        for stop in (False, True):
            model = head_model()
            freezing.unfreeze_from(model, "block3")
            if stop:
                with pytest.raises(KeyboardInterrupt):
                    fit(model, dataset, tmp_path, weight_decay=0.1, callbacks=[Stop(2, interrupt)])
            place = tmp_path if stop else None
            report = fit(model, dataset, place, weight_decay=0.1, callbacks=[Quiet()])
            results.append((bits(model), report.history))
    finally:
        keras.config.set_dtype_policy("float32")
    assert results[0] == results[1] and report.earlier_epochs == 2


def test_on_colab_without_drive_the_way_to_it_is_told(dataset, finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(environment, "DRIVE", tmp_path / "absent")
    fit(head_model(), dataset, finished, verbose=1)
    assert "drive.mount('/content/drive')" in capsys.readouterr().err


def test_a_new_colab_session_takes_finished_stages_from_drive(dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(environment, "DRIVE", tmp_path / "MyDrive")
    (tmp_path / "MyDrive").mkdir()
    finals = []
    for session in ("first", "second"):
        (tmp_path / session).mkdir()
        monkeypatch.chdir(tmp_path / session)
        model, reports = killed_run.run(
            pathlib.Path("runs"), True, False, True, head_steps=16, steps=16, verbose=0
        )
        finals.append((bits(model), [report.history for report in reports]))
        shutil.rmtree(tmp_path / session)  # where Colab keeps nothing
    assert finals[0] == finals[1] and [report.earlier_epochs for report in reports] == [2, 2]
