"""A stage that goes on where an earlier run of it stopped, and refuses any other's checkpoint (lesson 05)."""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import sys
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from finetune_lib import batches, checkpoints, data, environment, fingerprint, freezing, training

FORMAT = 1
SAMPLE, SAMPLE_VIEWS = 32, 4  # augmented images and views of each by which an augmentation is known
TOLERANCE = 0.05  # in units of a pixel's noise: another machine computes other last bits, which do not count
NEW_HEAD = "a new head"


class OtherStage(ValueError):
    """A checkpoint is of another model, other data or settings.

    Attributes:
        differences: in what, in words.
        folder: where the checkpoint is.
    """

    def __init__(self, folder: pathlib.Path, differences: list[str]) -> None:
        self.folder, self.differences = folder, differences
        super().__init__(
            f"The checkpoint in {_places(folder)} is of another stage. They differ in: "
            f"{'; '.join(differences)}. To go on with it, build model, data and settings as they were (and "
            "call keras.utils.set_random_seed before building, if weights start at random). To train anew, "
            f"name another folder, give the stage another label, or remove {_places(folder)}."
        )


@dataclasses.dataclass(frozen=True)
class Identity:
    """Which stage it is: what decides its result.

    Attributes:
        facts: what can be said in JSON, by name.
        images: labels, and one number that stands for each image, by part.
    """

    facts: dict[str, Any]
    images: dict[str, np.ndarray]


def identify(
    model: keras.Model,
    parts: tuple[keras.Model, keras.Model],
    dataset: data.ImageDataset,
    augment: batches.Augment | None,
    settings: dict[str, Any],
) -> Identity:
    """Read off which stage this is; goes through all training and validation images once.

    The weights that learn count as they are at the start, but not if a new head is all that learns: a head is
    usually made of random numbers, others each time a notebook is run.
    """
    layers = [layer for _, layer in freezing.leaves(model)]
    head = freezing.head(model)
    is_head = all(layer in head or not freezing.learns(layer) for layer in model.layers)
    facts = {
        "format": FORMAT,
        "frozen layers": fingerprint.architecture(parts[0]),
        "frozen weights": fingerprint.weights(parts[0]),
        "trained layers": [
            fingerprint.architecture(parts[1]),
            [place for place, layer in enumerate(layers) if freezing.learns(layer)],
        ],
        "weights at the start": NEW_HEAD if is_head else fingerprint.weights(parts[1]),
        "classes": list(dataset.class_names),
        **settings,
    }
    images = {}
    for part in ("train", "validation"):
        stream = getattr(dataset, part)
        images[f"{part} labels"], images[f"{part} images"] = _survey(stream, dataset.image_size)
    if augment is not None:
        numbered = dataset.train.take(SAMPLE).enumerate()
        samples = tf.data.Dataset.range(SAMPLE_VIEWS).flat_map(
            lambda view: batches.prepared(numbered, dataset, augment, settings["seed"], view)
        )
        images["augmented images"] = _survey(samples, dataset.image_size)[1]
    return Identity(json.loads(json.dumps(facts)), images)  # as they will be read again


class Progress:
    """What earlier runs of a stage have done, and how this one's is saved.

    Attributes:
        epoch: how many epochs are done.
        history: of these epochs.
        moved: the places of layers whose weights they changed.
        seconds: they took.
        report: of a finished stage; otherwise None.
    """

    def __init__(
        self,
        folder: checkpoints.Folder,
        identity: Identity,
        suffix: keras.Model,
        label: str,
        verbose: int,
    ) -> None:
        self.folder, self.identity, self.suffix = folder, identity, suffix
        self.label, self.verbose = label, verbose
        self.found = folder.newest()
        if self.found is not None:
            self._require_same(self.found)
        self.epoch = self.found.epoch if self.found else 0
        record = self.found.record if self.found else {}
        self.history: dict[str, list[float]] = record.get("history", {})
        self.moved: list[int] = record.get("moved", [])
        self.seconds: float = record.get("seconds", 0.0)
        self.report: dict[str, Any] | None = record.get("report")
        self.start = self.suffix.get_weights()
        if self.report is not None:  # said whatever ``verbose`` is: nothing is trained
            places = _places(folder.path)
            self.say(f"finished earlier; its weights are taken from {places}. Remove it to train anew", True)
        elif self.found is not None:
            self.say(f"goes on after epoch {self.epoch}, with the checkpoint in {folder.path}")
        if environment.on_colab() and environment.drive() is None:
            self.say(f"Colab's disk is lost with the session. To keep stages on Drive: {checkpoints.MOUNT}")

    def say(self, message: str, always: bool = False) -> None:
        if self.verbose or always:
            print(f"{self.label}: {message}", file=sys.stderr)

    def restore(self, pair: training.Pair | None, best: training.Best | None) -> None:
        """Set what the checkpoint holds: the suffix's weights, and all else that training goes on from.

        Args:
            pair: None where nothing is trained any more.
            best: where the best weights are kept.
        """
        if self.found is None:
            return
        arrays, record = self.found.arrays, self.found.record
        _unpack(arrays, "state", self.suffix.variables if pair is None else training.state(pair))
        if best is not None and record["best"] is not None:
            best.record, best.weights = record["best"], _unpack(arrays, "best", self.suffix.weights, False)
        self.found = None  # it may be large

    def save(
        self,
        pair: training.Pair,
        best: training.Best | None,
        history: dict[str, list[float]],
        moved: list[int],
        seconds: float,
        report: dict | None = None,
    ) -> None:
        """Write a checkpoint; the last one comes with the stage's report. If it cannot be, warn and go on."""
        epoch = len(history["loss"])
        best_weights = best.weights if best is not None and best.weights is not None else []
        record = {
            "facts": self.identity.facts,
            "history": history,
            "moved": moved,
            "seconds": seconds,
            "best": best.record if best is not None and best_weights else None,
            "weights": [fingerprint.of_arrays(each) for each in (self.suffix.get_weights(), best_weights)],
            "report": report,
        }
        # A finished stage needs no optimiser any more.
        variables = training.state(pair) if report is None else pair.suffix.variables
        arrays = dict(self.identity.images) | _pack("state", [variable.numpy() for variable in variables])
        arrays |= _pack("best", best_weights)
        try:
            self.folder.write(checkpoints.Checkpoint(epoch, report is not None, record, arrays))
        except OSError as error:
            warnings.warn(
                f"{self.label}: the checkpoint of epoch {epoch} cannot be written to {self.folder.path} "
                f"({error.strerror or error}). The one before stays. Training goes on; the next is tried.",
                stacklevel=2,
            )

    def rewind(self) -> None:
        """Set the weights to those on the disk, or as they came: from either another run can go on."""
        self.suffix.set_weights(self.start)
        with contextlib.suppress(OSError):  # of a disk that is gone
            if found := self.folder.newest():
                _unpack(found.arrays, "state", self.suffix.variables)

    def _require_same(self, found: checkpoints.Checkpoint) -> None:
        """Raise OtherStage if the checkpoint is of another stage."""
        there, here = dict(found.record["facts"]), dict(self.identity.facts)
        # Run again in the same notebook, the model may hold the checkpoint's own weights.
        if fingerprint.weights(self.suffix) in found.record["weights"]:
            there["weights at the start"] = here["weights at the start"]
        differences = _differences(there, here)
        for name in dict.fromkeys([*self.identity.images, *found.arrays]):
            if "/" not in name and not _alike(found.arrays.get(name), self.identity.images.get(name)):
                differences.append(name)
        if differences:
            raise OtherStage(self.folder.path, differences)


def reached(model: keras.Model, folder: str | os.PathLike, label: str) -> dict[str, Any] | None:
    """The record of a stage's newest checkpoint, whatever it is of; None if there is none.

    Its ``is_here`` says whether the model's weights are the checkpoint's.
    """
    found = checkpoints.newest(stage_folder(model, folder, label), clean_up=False)
    if found is None:
        return None
    return found.record | {
        "is_here": fingerprint.weights(freezing.split(model)[1]) in found.record["weights"]
    }


def require_same_settings(path: pathlib.Path, record: dict[str, Any], facts: dict[str, Any]) -> None:
    """Raise OtherStage if a checkpoint was made with other settings."""
    there = {name: value for name, value in record["facts"].items() if name in facts}
    if differences := _differences(there, json.loads(json.dumps(facts))):
        raise OtherStage(path, differences)


def stage_folder(model: keras.Model, folder: str | os.PathLike, label: str) -> pathlib.Path:
    """Where the checkpoints of a stage are: in a folder for all stages, one for each label and boundary."""
    places = (place for place, (_, layer) in enumerate(freezing.leaves(model)) if freezing.learns(layer))
    return checkpoints.stage_folder(folder, label, next(places))


def _survey(stream: tf.data.Dataset, image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and for each image the sum of its pixels in random proportions: float64 ``(count,)``."""
    shape = (*image_size, 3)
    direction = np.random.default_rng(FORMAT).normal(size=shape) / math.sqrt(math.prod(shape))
    labels, numbers = [np.zeros(0)], [np.zeros(0)]
    for images, answers in stream.batch(64).prefetch(1):
        labels.append(answers.numpy())
        numbers.append(np.tensordot(images.numpy(), direction, 3))
    return np.concatenate(labels[1:] or labels), np.concatenate(numbers)


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """In what two sets of facts differ, in words."""
    found = []
    for name in dict.fromkeys([*there, *here]):
        one, other = there.get(name), here.get(name)
        if one != other:
            plain = max(len(str(one)), len(str(other))) < 60  # rather than a SHA-256
            found.append(f"{name}: {one} there, {other} here" if plain else name)
    return found


def _places(path: pathlib.Path) -> str:
    """A stage's folder, and where its copy is on Drive."""
    drive = checkpoints.drive_folder(path)
    return str(path) if drive is None else f"{path} and {drive}"


def _alike(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    return np.allclose(one, other, rtol=0, atol=TOLERANCE, equal_nan=True)


def _pack(kind: str, values: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays as bytes, whatever their number format, by name."""
    return {
        f"{kind}/{number:06d}": np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        for number, value in enumerate(values)
    }


def _unpack(
    arrays: dict[str, np.ndarray], kind: str, variables: list[keras.Variable], assign: bool = True
) -> list[np.ndarray]:
    """The inverse of ``_pack``, in the variables' shapes and number formats; set to them if ``assign``."""
    values = []
    for number, variable in enumerate(variables):
        like = variable.numpy()
        value = np.frombuffer(arrays[f"{kind}/{number:06d}"].tobytes(), like.dtype).reshape(like.shape)
        values.append(value)
        if assign:
            variable.assign(value)
    return values
