"""The whole way: head first, then deeper, and the stages' own settings."""

import keras
import killed_run
import numpy as np
import pytest
import small_models

from finetune_lib import batches, classifier, data, evaluation, fitting, freezing, stage


def fine_tune(boundaries, **options):
    keras.utils.set_random_seed(0)
    model = small_models.plain()
    settings = {"head_steps": 8, "steps": 16, "batch_size": 20, "verbose": 0} | options
    return model, fitting.fine_tune(model, killed_run.dataset(), boundaries, **settings)


def test_head_first_then_deeper():
    model, reports = fine_tune(("block3", "block2"), cache=True)
    assert [report.label for report in reports] == ["head", "from block3", "from block2"]
    assert [report.epochs for report in reports] == [3, 3, 3]  # 3 steps an epoch: 8, 8 and 8, rounded up
    moved = [{path for path, yes in report.moved.items() if yes} for report in reports]
    assert moved == [{"logits"}, {"block3_conv", "logits"}, {"block2_conv", "block3_conv", "logits"}]
    assert not model.compiled and freezing.boundary(model) == "trained from block2_conv on"


def test_it_is_fit_stage_by_stage():
    model, reports = fine_tune("block2", head_learning_rate=0.02, learning_rate=0.01)
    keras.utils.set_random_seed(0)
    other, dataset = small_models.plain(), killed_run.dataset()
    common = {"batch_size": 20, "views": "auto", "label_smoothing": 0.1, "weight_decay": 0.05, "verbose": 0}
    by_hand = [
        fitting.fit(freezing.freeze(other), dataset, epochs=3, learning_rate=0.02, label="head", **common),
        fitting.fit(
            freezing.unfreeze_from(other, "block2"),
            dataset,
            epochs=6,
            learning_rate=0.01,
            warm_up=0.1,
            layer_rate_ratio=10.0,
            label="from block2",
            **common,
        ),
    ]
    assert [report.history for report in reports] == [report.history for report in by_hand]
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), other.get_weights(), strict=True))


@pytest.fixture
def untrained(monkeypatch) -> None:
    """All is done but the training itself: how stages are set up does not depend on it."""

    def fit(self, *args, callbacks, **options) -> None:
        callbacks[-1].on_epoch_end(0, {"loss": 1.0, "accuracy": 0.0, "val_loss": 1.0, "val_accuracy": 0.0})

    monkeypatch.setattr(keras.Model, "fit", fit)


@pytest.mark.parametrize("boundaries", [(), ("block2", "block3"), ("block2", "block2"), "logits"])
def test_names_that_do_not_go_deeper_are_refused(boundaries):
    with pytest.raises(ValueError, match="from deep to shallow"):
        fine_tune(boundaries)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_rate_ratio": 0.5}, "layer_rate_ratio is 0.5"),
        ({"steps": 0}, "steps is 0; it takes a whole number"),
        ({"head_steps": 0}, "head_steps is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"optimizer": keras.optimizers.SGD(0.1)}, "fine_tune sets optimizer itself"),
        ({"epochs": 3}, "fine_tune sets epochs itself"),
    ],
)
def test_settings_of_all_stages_are_checked_before_the_first(options, message, monkeypatch):
    monkeypatch.setattr(fitting, "fit", None)
    with pytest.raises((ValueError, TypeError), match=message):
        fine_tune("block2", **options)


def test_an_unknown_layer_is_named_before_any_work(monkeypatch):
    monkeypatch.setattr(stage, "_train", None)
    with pytest.raises(ValueError, match="no layer or block called 'block9'"):
        fine_tune(("block3", "block9"))


def test_stopped_in_the_second_stage_and_called_again_in_the_same_notebook(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None) -> None:
            if epoch == 4:
                raise KeyboardInterrupt

    class Quiet(keras.callbacks.Callback):
        pass

    whole, expected = fine_tune("block2", callbacks=[Quiet()])
    keras.utils.set_random_seed(0)
    model, dataset = small_models.plain(), killed_run.dataset()
    settings = {"head_steps": 8, "steps": 16, "batch_size": 20, "verbose": 0, "checkpoint": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        fitting.fine_tune(model, dataset, "block2", callbacks=[Stop()], **settings)
    with pytest.raises(ValueError, match=r"head-from-.* is of another stage.*epochs: 3 there, 30 here"):
        fitting.fine_tune(model, dataset, "block2", callbacks=[Quiet()], **settings | {"head_steps": 90})
    for earlier in ([3, 4], [3, 6]):  # the second time nothing is left to do
        reports = fitting.fine_tune(model, dataset, "block2", callbacks=[Quiet()], **settings)
        assert [report.history for report in reports] == [report.history for report in expected]
        assert [report.earlier_epochs for report in reports] == earlier
        assert all(
            np.array_equal(a, b) for a, b in zip(model.get_weights(), whole.get_weights(), strict=True)
        )
    with pytest.raises(ValueError, match="frozen weights"):  # trained by something else in between
        model.get_layer("block2_conv").kernel.assign(np.ones((3, 3, 4, 4)))
        fitting.fine_tune(model, dataset, "block2", callbacks=[Quiet()], **settings)


def test_views_are_few_where_storing_pays_and_new_ones_where_it_does_not(untrained, monkeypatch):
    asked, of_images, of_activations = [], batches.of_images, batches.of_activations

    def images(*args, **options):
        asked.append(("images", options["views"]))
        return of_images(*args, **options)

    def activations(*args, **options):
        asked.append(("stored", options["views"]))
        return of_activations(*args, **options)

    monkeypatch.setattr(batches, "of_images", images)
    monkeypatch.setattr(batches, "of_activations", activations)
    fine_tune("block1", augment=killed_run.brighten, head_steps=90)
    assert asked == [("stored", 8), ("images", "online")]
    asked.clear()
    fine_tune("block1", augment=killed_run.brighten, head_steps=90, cache=False)
    assert asked == [("images", 8), ("images", "online")]  # the same images, whatever is stored


def test_label_smoothing_is_that_of_the_loss():
    """Whole-number labels become one-hot for it, and the loss is what the formula says."""
    keras.utils.set_random_seed(0)
    model, dataset = freezing.freeze(small_models.plain()), killed_run.dataset()
    model.get_layer("block3_drop").rate = model.get_layer("drop").rate = 0.0
    images, labels = next(iter(dataset.train.batch(60)))
    logits = model.predict(images.numpy().astype("float32"), verbose=0)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = 0.8 * np.eye(3)[labels.numpy()] + 0.2 / 3
    report = fitting.fit(
        model, dataset, epochs=1, learning_rate=0.0, batch_size=60, label_smoothing=0.2, verbose=0
    )
    assert report.history["loss"][0] == pytest.approx(-(targets * logs).sum(axis=1).mean(), rel=1e-4)
    assert report.loss == "cross-entropy on logits, whole-number labels, smoothed by 0.2"
    accuracy = (logits.argmax(axis=1) == labels.numpy()).mean()
    assert report.history["accuracy"][0] == pytest.approx(accuracy, abs=1e-6)


def test_class_weights_and_smoothing_go_together(untrained):
    _, reports = fine_tune("block3", class_weights={0: 1.0, 1: 3.0, 2: 1.0}, label_smoothing=0.1)
    assert all(report.loss.endswith("smoothed by 0.1, weighted by class") for report in reports)


def test_the_best_epoch_is_kept():
    """A rate far too high ends worse than it began: the best weights are from before."""
    keras.utils.set_random_seed(0)
    model, dataset = freezing.unfreeze_from(small_models.plain(), "block1"), killed_run.dataset()
    report = fitting.fit(model, dataset, epochs=10, learning_rate=0.1, patience=10, seed=3, verbose=0)
    validated = dict(zip(report.validated_epochs, report.history["val_accuracy"], strict=True))
    assert validated[report.kept_epoch] == max(validated.values())
    found = evaluation.evaluate(model, dataset, "validation").accuracy
    assert found == pytest.approx(max(validated.values()), abs=1e-6)


def test_digits_are_learned_better_than_by_the_head_alone():
    dataset = data.load("digits_wild", labels_per_class=5)
    model = classifier.build("GlyphNet", dataset.class_names)
    options = {"head_steps": 200, "steps": 200, "augment": dataset.augment, "verbose": 0}
    reports = fitting.fine_tune(model, dataset, "block1", **options)
    head, tuned = (report.history["val_accuracy"][-1] for report in reports)
    assert tuned > head > 0.8
