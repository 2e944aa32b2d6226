"""A stage that goes on where an earlier run of it stopped, and refuses any other's checkpoint (lesson 05)."""

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
SAMPLE = 32  # augmented images by which an augmentation is known
TOLERANCE = 0.05  # in units of a pixel's noise: another machine computes other last bits, which do not count
NEW_HEAD = "a new head"


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
        sample = batches.prepared(numbered, dataset, augment, settings["seed"], 0)
        _, images["augmented images"] = _survey(sample, dataset.image_size)
    return Identity(json.loads(json.dumps(facts)), images)  # as they will be read again


class Progress:
    """What earlier runs of a stage have done, and how this one's is saved.

    Attributes:
        epoch: how many epochs are done.
        is_final: whether the stage is finished.
        history: of these epochs.
        record: what the checkpoint says besides; of a finished stage, its ``report``.
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
        self.is_final = self.found is not None and self.found.is_final
        self.record: dict[str, Any] = self.found.record if self.found else {}
        self.history: dict[str, list[float]] = self.record.get("history", {})
        self.weights = self.suffix.get_weights()  # those of the last finished epoch
        if self.found is not None and self.is_final:
            self.say(f"finished earlier; its weights are taken from {folder.path}. Remove it to train anew")
        elif self.found is not None:
            self.say(f"goes on after epoch {self.epoch}, with the checkpoint in {folder.path}")
        if environment.on_colab() and environment.drive() is None:
            self.say(f"Colab's disk is lost with the session. To keep stages on Drive: {checkpoints.MOUNT}")

    def say(self, message: str) -> None:
        if self.verbose:
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
        self.weights = self.suffix.get_weights()

    def save(
        self,
        pair: training.Pair,
        best: training.Best | None,
        history: dict[str, list[float]],
        seconds: float,
        report: dict | None = None,
    ) -> None:
        """Write a checkpoint; the last one comes with the stage's report. If it cannot be, warn and go on."""
        epoch = len(history["loss"])
        record = {
            "facts": self.identity.facts,
            "history": history,
            "seconds": seconds,
            "best": best.record if best is not None and best.weights is not None else None,
            "weights": fingerprint.weights(self.suffix),
            "report": report,
        }
        # A finished stage needs no optimiser any more.
        variables = training.state(pair) if report is None else pair.suffix.variables
        arrays = dict(self.identity.images) | _pack("state", [variable.numpy() for variable in variables])
        arrays |= _pack("best", best.weights if best is not None and best.weights is not None else [])
        self.weights = self.suffix.get_weights()
        try:
            self.folder.write(checkpoints.Checkpoint(epoch, report is not None, record, arrays))
        except OSError as error:
            warnings.warn(
                f"{self.label}: the checkpoint of epoch {epoch} cannot be written to {self.folder.path} "
                f"({error.strerror or error}). The one before stays. Training goes on; the next is tried.",
                stacklevel=2,
            )

    def rewind(self) -> None:
        """Set the weights to those of the last finished epoch, from which another run can go on."""
        self.suffix.set_weights(self.weights)

    def _require_same(self, found: checkpoints.Checkpoint) -> None:
        """Raise ValueError if the checkpoint is of another stage, and say in what."""
        there, here = found.record["facts"], self.identity.facts
        different = []
        for name in dict.fromkeys([*there, *here]):
            one, other = there.get(name), here.get(name)
            # Run again in the same notebook, the model may hold the checkpoint's own weights.
            is_there = name == "weights at the start" and found.record["weights"] == fingerprint.weights(
                self.suffix
            )
            if one != other and not is_there:
                plain = max(len(str(one)), len(str(other))) < 60  # rather than a SHA-256
                different.append(f"{name}: {one} there, {other} here" if plain else name)
        for name in dict.fromkeys([*self.identity.images, *found.arrays]):
            if "/" not in name and not _alike(found.arrays.get(name), self.identity.images.get(name)):
                different.append(name)
        if different:
            raise ValueError(
                f"The checkpoint in {self.folder.path} is of another stage. They differ in: "
                f"{'; '.join(different)}. To go on with it, build model, data and settings as they were (and "
                "call keras.utils.set_random_seed before building, if weights start at random). To train "
                "anew, name another folder, give the stage another label, or remove that folder."
            )


def stage_folder(model: keras.Model, folder: str | os.PathLike, label: str) -> pathlib.Path:
    """Where the checkpoints of a stage are: in a folder for all stages, one for each label and boundary."""
    places = (place for place, (_, layer) in enumerate(freezing.leaves(model)) if freezing.learns(layer))
    return checkpoints.stage_folder(folder, label, next(places))


def last_record(model: keras.Model, folder: str | os.PathLike, label: str) -> dict | None:
    """What the newest checkpoint of a stage says, whatever it is of; None if there is none."""
    path = stage_folder(model, folder, label)
    found = checkpoints.newest(path) if path.is_dir() else None
    return None if found is None else found.record


def weights(model: keras.Model) -> str:
    """The SHA-256 of the weights above the boundary, as a checkpoint's record holds it."""
    return fingerprint.weights(freezing.split(model)[1])


def _survey(stream: tf.data.Dataset, image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and for each image the sum of its pixels in random proportions: float32 ``(count,)``."""
    shape = (*image_size, 3)
    direction = tf.random.stateless_normal(shape, (FORMAT, 0)) / math.sqrt(math.prod(shape))
    labels, numbers = [np.zeros(0)], [np.zeros(0, "float32")]
    for images, answers in stream.batch(64).prefetch(1):
        labels.append(answers.numpy())
        numbers.append(tf.tensordot(tf.cast(images, tf.float32), direction, 3).numpy())
    return np.concatenate(labels[1:] or labels), np.concatenate(numbers)


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
