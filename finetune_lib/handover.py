"""One model goes from lesson to lesson: trained in 05, evaluated in 06, deployed in 07, compressed in 08.

Beside the model lie its answers to the validation images. So whoever opens it can prove that it still gives
the answers it gave when it was saved, or measure by how much it has changed.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import re
import uuid
import warnings
import zipfile
from typing import Any

import keras
import numpy as np

from finetune_lib import backbones, classifier, data, environment, evaluation, fitting

SEED = 0


@dataclasses.dataclass(frozen=True)
class Handover:
    """A fine-tuned model, the images it was trained and validated on, and what it said of them when saved.

    Attributes:
        model: un-compiled, on raw RGB 0..255, to logits.
        dataset: with the training images that the model has learned from.
        probabilities: float32 ``(validation images, classes)``, when it was saved.
        origin: in words, where the model comes from.
    """

    model: keras.Model
    dataset: data.ImageDataset
    probabilities: np.ndarray
    origin: str

    def change(self) -> float:
        """The largest change of a probability since then, over all validation images and classes, 0 to 1."""
        now = evaluation.evaluate(self.model, self.dataset, "validation").probabilities
        return float(np.abs(now - self.probabilities).max())


def recipe(backbone_name: str) -> dict[str, Any]:
    """How lesson 05 trains the model (section 8): labels a class, and what ``fitting.fine_tune`` takes."""
    is_small = backbone_name == "GlyphNet"
    return {
        "labels_per_class": 5 if is_small else 10,
        "unfreeze_from": backbones.get(backbone_name).cut_points[-4],
        "head_steps": 200,
        "head_learning_rate": 2e-3,
        "steps": 80 if is_small else 30,
        "learning_rate": 2e-3 if is_small else 3e-4,
        "views": "online" if is_small else 8,
    }


def save(
    model: keras.Model,
    dataset: data.ImageDataset,
    *,
    labels_per_class: int,
    seed: int = SEED,
    place: pathlib.Path | None = None,
) -> pathlib.Path:
    """Keep a fine-tuned model and its answers to the validation images; one kept before is replaced.

    Args:
        model: named after its backbone, as ``classifier.build`` names it.
        dataset: what it was trained on, as ``data.load`` gave it.
        labels_per_class, seed: what ``data.load`` was told, so that the next lesson gets the same images.
        place: the folder; ``environment.course_folder()`` unless told.

    Returns:
        The model's file.

    Raises:
        OSError: if the folder cannot be written. What was there stays as it was.
    """
    file = _file(dataset.name, model.name, place)
    probabilities = evaluation.evaluate(model, dataset, "validation").probabilities
    hidden = file.with_name(f".writing-{uuid.uuid4().hex}.keras")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        model.save(hidden)
        record = {
            "labels_per_class": labels_per_class,
            "seed": seed,
            "class_names": list(dataset.class_names),
            "sha256": _digest(hidden),
        }
        hidden_answers = hidden.with_suffix(".npz")
        np.savez(hidden_answers, probabilities=probabilities, record=np.array(json.dumps(record)))
        # Two files cannot be renamed at once. Whoever is stopped between them leaves a pair that does not
        # match, which receive() finds out by the hash and replaces.
        hidden_answers.replace(file.with_suffix(".npz"))
        hidden.replace(file)
    except OSError as error:
        raise _unwritable(file, error) from error
    finally:
        for left in (hidden, hidden.with_suffix(".npz")):
            with contextlib.suppress(OSError):
                left.unlink()
    return file


def keep(content: bytes, name: str, *, place: pathlib.Path | None = None) -> pathlib.Path:
    """Write what was made of a model, such as a compressed file, beside it: whole, or not at all.

    Args:
        name: the file's.
        place: the folder; ``environment.course_folder()`` unless told.

    Returns:
        The file. One of that name is replaced.

    Raises:
        OSError: if the folder cannot be written. What was there stays as it was.
    """
    file = (environment.course_folder() if place is None else pathlib.Path(place)) / name
    hidden = file.with_name(f".writing-{uuid.uuid4().hex}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        hidden.write_bytes(content)
        return hidden.replace(file)
    except OSError as error:
        raise _unwritable(file, error) from error
    finally:
        with contextlib.suppress(OSError):
            hidden.unlink()


def receive(data_name: str, backbone_name: str, *, place: pathlib.Path | None = None) -> Handover:
    """The model that lesson 05 saved; where there is none, one trained now by the same recipe, and saved.

    Args:
        data_name, backbone_name: as ``data.load`` and ``classifier.build`` take them.
        place: the folder; ``environment.course_folder()`` unless told.

    Raises:
        ValueError: as ``data.load``; or if the model that is there is of other classes, no longer gives the
            answers it gave, or has a Lambda layer, that is, holds code. It is left where it is.
    """
    how = recipe(backbone_name)
    count = how.pop("labels_per_class")
    dataset = data.load(data_name, labels_per_class=count, seed=SEED)
    file = _file(dataset.name, backbone_name, place)
    record, probabilities = _kept(file)
    if record:
        if record["class_names"] != list(dataset.class_names):
            raise ValueError(
                f"{file} was trained for other classes, {', '.join(record['class_names'])}, on data of the "
                "same name. Move it away, or set the variable FINETUNE_COURSE to another folder."
            )
        if (record["labels_per_class"], record["seed"]) != (count, SEED):
            dataset = data.load(data_name, labels_per_class=record["labels_per_class"], seed=record["seed"])
        try:
            model = keras.saving.load_model(file, compile=False, safe_mode=True)
        except ValueError as error:
            if "Lambda" not in str(error):
                raise
            raise ValueError(
                f"{file} has a Lambda layer, which runs code of its author when the model is opened (lesson "
                "07). No lesson makes one. It is left where it is, unopened; remove it, and train anew."
            ) from error
        received = Handover(model, dataset, probabilities, f"{file.name}, as it was saved")
        if len(probabilities) != dataset.sizes["validation"] or received.change() > 1e-2:
            raise ValueError(
                f"{file} no longer gives the answers to the validation images that it gave when it was "
                "saved: the images or the versions of the libraries have changed. Remove it, and train anew."
            )
        return received
    model = classifier.build(backbone_name, dataset.class_names, image_size=dataset.image_size)
    fitting.fine_tune(model, dataset, augment=dataset.augment, seed=SEED, verbose=0, **how)
    try:
        save(model, dataset, labels_per_class=count, place=place)
    except OSError as error:
        warnings.warn(f"{error} The next lesson will have to train it again.", stacklevel=2)
    now = evaluation.evaluate(model, dataset, "validation").probabilities
    return Handover(model, dataset, now, "trained now, by the recipe of lesson 05")


def _file(dataset_name: str, backbone_name: str, place: pathlib.Path | None) -> pathlib.Path:
    name = re.sub(r"\W+", "_", f"fine_tuned_{dataset_name}_{backbone_name}")
    return (environment.course_folder() if place is None else pathlib.Path(place)) / f"{name}.keras"


def _unwritable(file: pathlib.Path, error: OSError) -> OSError:
    return OSError(
        f"{file.name} cannot be kept in {file.parent} ({error.strerror or error}). Set the variable "
        "FINETUNE_COURSE to a folder that can be written."
    )


def _kept(file: pathlib.Path) -> tuple[dict[str, Any], np.ndarray]:
    """What was recorded of a model, and its answers; nothing, if the pair is not there, or is no pair."""
    try:
        with np.load(file.with_suffix(".npz"), allow_pickle=False) as content:
            record, probabilities = json.loads(str(content["record"])), content["probabilities"]
        if record["sha256"] == _digest(file):
            return record, probabilities
        problem = "is not the model that its record speaks of"
    except FileNotFoundError:
        return {}, np.empty(0)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        problem = f"or its record cannot be read ({error})"
    warnings.warn(f"{file} {problem}. A new one is trained, and takes its place.", stacklevel=3)
    return {}, np.empty(0)


def _digest(file: pathlib.Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
