"""The model that goes from lesson to lesson: the same answers, no pair half-written, nothing damaged used."""

import dataclasses
import json
import pathlib
import warnings

import keras
import numpy as np
import pytest

from finetune_lib import classifier, data, evaluation, fitting, freezing, handover


@pytest.fixture(scope="module")
def dataset() -> data.ImageDataset:
    return data.load("digits_wild", labels_per_class=2)


@pytest.fixture(scope="module")
def model(dataset: data.ImageDataset) -> keras.Model:
    built = freezing.freeze(classifier.build("GlyphNet", dataset.class_names, image_size=(32, 32)))
    fitting.fit(built, dataset, epochs=5, learning_rate=3e-3, verbose=0)
    return built


def no_training(*args: object, **settings: object) -> None:
    raise AssertionError("it was trained anew")


def test_what_was_saved_comes_back_with_its_images_and_its_answers(
    model: keras.Model, dataset: data.ImageDataset, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "fine_tune", no_training)
    file = handover.save(model, dataset, labels_per_class=2, place=tmp_path)
    received = handover.receive("digits_wild", "GlyphNet", place=tmp_path)
    assert received.change() < 1e-6 and received.origin == f"{file.name}, as it was saved"
    assert received.dataset.sizes["train"] == 20  # the two labels a class that it was trained on
    expected = evaluation.evaluate(model, dataset, "validation").probabilities
    assert np.array_equal(received.probabilities, expected)
    assert {path.name for path in tmp_path.iterdir()} == {file.name, file.with_suffix(".npz").name}


def test_a_changed_model_is_measured(
    model: keras.Model, dataset: data.ImageDataset, tmp_path: pathlib.Path
) -> None:
    handover.save(model, dataset, labels_per_class=2, place=tmp_path)
    received = handover.receive("digits_wild", "GlyphNet", place=tmp_path)
    assert received.change() < 1e-6
    received.model.set_weights([1.1 * weight for weight in received.model.get_weights()])
    assert received.change() > 0.01


def test_without_one_it_trains_by_the_recipe_of_lesson_05_and_keeps_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def fine_tune(model: keras.Model, dataset: data.ImageDataset, **settings: object) -> None:
        asked.update(settings, images=dataset.sizes["train"])

    monkeypatch.setattr(fitting, "fine_tune", fine_tune)
    monkeypatch.setenv("FINETUNE_COURSE", str(tmp_path))
    first = handover.receive("digits_wild", "GlyphNet")
    assert first.origin.startswith("trained now") and first.change() == 0
    assert asked["images"] == 50 and asked["unfreeze_from"] == "block1" and asked["views"] == "online"
    monkeypatch.setattr(fitting, "fine_tune", no_training)
    assert handover.receive("digits_wild", "GlyphNet").origin.endswith("as it was saved")


@pytest.mark.parametrize("damage", ["model", "answers", "another model", "no answers"])
def test_a_damaged_or_unmatched_pair_is_never_used(
    damage: str, model: keras.Model, dataset: data.ImageDataset, tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    file = handover.save(model, dataset, labels_per_class=2, place=tmp_path)
    answers = file.with_suffix(".npz")
    if damage == "no answers":
        answers.unlink()
    elif damage == "another model":  # stopped between the two files
        before = file.read_bytes()
        model.get_layer("logits").bias.assign_add(np.ones(10, "float32"))
        handover.save(model, dataset, labels_per_class=2, place=tmp_path)
        model.get_layer("logits").bias.assign_sub(np.ones(10, "float32"))
        file.write_bytes(before)
    else:
        broken = file if damage == "model" else answers
        broken.write_bytes(broken.read_bytes()[:200])
    monkeypatch.setattr(fitting, "fine_tune", lambda *args, **settings: None)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert handover.receive("digits_wild", "GlyphNet", place=tmp_path).origin.startswith("trained now")
    assert damage == "no answers" or any("takes its place" in str(warning.message) for warning in said)


def test_answers_that_have_changed_are_refused(
    model: keras.Model, dataset: data.ImageDataset, tmp_path: pathlib.Path
) -> None:
    file = handover.save(model, dataset, labels_per_class=2, place=tmp_path)
    with np.load(file.with_suffix(".npz")) as content:
        record, probabilities = content["record"], content["probabilities"]
    assert json.loads(str(record))["class_names"] == list("0123456789")
    np.savez(file.with_suffix(".npz"), record=record, probabilities=probabilities[::-1])
    with pytest.raises(ValueError, match="no longer gives the answers"):
        handover.receive("digits_wild", "GlyphNet", place=tmp_path)


def test_a_model_of_other_classes_is_refused_and_stays(
    model: keras.Model, dataset: data.ImageDataset, tmp_path: pathlib.Path
) -> None:
    others = dataclasses.replace(dataset, class_names=tuple("abcdefghij"))
    file = handover.save(model, others, labels_per_class=2, place=tmp_path)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"other classes, a, b, .* FINETUNE_COURSE"):
        handover.receive("digits_wild", "GlyphNet", place=tmp_path)
    assert file.read_bytes() == before


def test_a_folder_that_cannot_be_written_costs_a_warning_not_the_model(
    model: keras.Model, dataset: data.ImageDataset, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="FINETUNE_COURSE"):
        handover.save(model, dataset, labels_per_class=2, place=tmp_path / "file")
    monkeypatch.setattr(fitting, "fine_tune", lambda *args, **settings: None)
    with pytest.warns(UserWarning, match="train it again"):
        handover.receive("digits_wild", "GlyphNet", place=tmp_path / "file")


def test_what_was_made_of_a_model_lies_beside_it_whole_or_not_at_all(tmp_path: pathlib.Path) -> None:
    file = handover.keep(b"first", "small.tflite", place=tmp_path / "new")
    assert handover.keep(b"second", "small.tflite", place=tmp_path / "new") == file
    assert file.read_bytes() == b"second" and list(file.parent.iterdir()) == [file]
    with pytest.raises(OSError, match=r"other.tflite cannot be kept .* FINETUNE_COURSE"):
        handover.keep(b"third", "other.tflite", place=file)


def test_code_in_a_strangers_model_is_never_run(
    model: keras.Model, dataset: data.ImageDataset, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras calls a Lambda layer, which can do anything, as soon as it rebuilds the model."""
    planted = tmp_path / "it_ran"
    monkeypatch.setenv("PLANTED", str(planted))
    layer = keras.layers.Lambda(
        lambda logits: (
            __import__("os").makedirs(__import__("os").environ["PLANTED"], exist_ok=True),
            logits,
        )[1]
    )
    stranger = keras.Model(model.input, layer(model.output), name=model.name)
    file = handover.save(stranger, dataset, labels_per_class=2, place=tmp_path)
    planted.rmdir()
    keras.saving.load_model(file, safe_mode=False)
    assert planted.exists()  # so it is a danger
    planted.rmdir()
    monkeypatch.setattr(fitting, "fine_tune", no_training)
    with pytest.raises(ValueError, match="runs code of its author"):
        handover.receive("digits_wild", "GlyphNet", place=tmp_path)
    assert not planted.exists() and file.exists()
