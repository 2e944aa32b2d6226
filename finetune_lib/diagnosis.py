"""What is wrong with a model and its data, said before training costs an hour (lesson 04).

Use it as ``fitting.diagnose``. ``fitting.fit`` asks it, too, when a loss is not a number.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from finetune_lib import data, graph


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong: what it is, how we know, and what to do about it."""

    problem: str
    evidence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}\n  evidence: {self.evidence}\n  remedy:   {self.remedy}"


def describe(findings: Sequence[Finding]) -> str:
    """The findings as text to print."""
    return "\n".join(str(finding) for finding in findings) or "Nothing wrong was found."


def diagnose(model: keras.Model, dataset: data.ImageDataset) -> list[Finding]:
    """Look for the mistakes that let training run and its result disappoint.

    Preprocessing missing or done twice (measured on training images, where the first layer with weights
    receives them); pixels that are not numbers; labels that do not fit the head; nothing trainable; a stale
    compile; training images sorted by label, or all of one class; training images that stand in another part
    as well. Reads every image once; changes neither the model nor the data.

    Returns:
        What was found, empty if all is well; ``describe`` makes text of it.

    Raises:
        TypeError: if the model is not functional, or not built.
    """
    surveys = {part: _survey(getattr(dataset, part)) for part in ("train", "validation", "test")}
    found = list(_training_problems(model))
    for part, survey in surveys.items():
        found += label_problems(model, survey.labels, dataset.class_names, part)
        found += _pixel_problems(survey, part)
    if len(surveys["train"].sample):
        found += _range_problems(model, surveys["train"].sample)
        found += _order_problems(surveys["train"].labels)
    for first, second in itertools.combinations(surveys, 2):
        found += _shared_images(surveys, first, second)
    return found


def label_problems(
    model: keras.Model, labels: np.ndarray, class_names: Sequence[str], part: str
) -> Iterator[Finding]:
    """What makes these labels unfit for the model's head.

    Args:
        labels: integers ``(count,)``, or one-hot ``(count, classes)``.
    """
    units, classes = model.output_shape[-1], len(class_names)
    if len(labels) == 0:
        yield Finding(
            f"The {part} part is empty.",
            "it holds no images",
            "Give each part at least one image of each class.",
        )
    elif units != classes and (units, classes) != (1, 2):
        yield Finding(
            "The head does not match the classes.",
            f"the model ends in {units} outputs; the data has {classes} classes",
            f"End the model in keras.layers.Dense({classes}, name='logits').",
        )
    elif labels.ndim > 1:
        if labels.shape[1:] != (units,) or units == 1 or not _is_one_hot(labels):
            yield Finding(
                f"The {part} labels do not fit the head.",
                f"a label of shape {labels.shape[1:]}, such as {labels[0].tolist()}, for {units} output(s)",
                "Use whole numbers, one per image: labels.argmax(-1) of one-hot labels.",
            )
    elif wrong := set(labels.tolist()) - set(range(classes)):
        yield Finding(
            f"Some {part} labels name no class.",
            f"{sorted(wrong)[:5]} among {len(labels)} labels; the classes are 0 to {classes - 1}",
            "Number the classes from 0, and give every class a name.",
        )


def _training_problems(model: keras.Model) -> Iterator[Finding]:
    if not model.trainable_weights:
        yield Finding(
            "Nothing is trainable.",
            f"all {len(model.weights)} weights of {model.name!r} are frozen",
            "Call freezing.freeze(model) for the head, or freezing.unfreeze_from(model, name) for more.",
        )
    if model.compiled and model.optimizer.built:
        # An optimiser names its momentum variables after the weights that it was built to train.
        slots = [variable.path.partition("/")[2] for variable in model.optimizer.variables]
        names = {weight.path.replace("/", "_"): weight for weight in model.weights}
        known = {name for name in names if any(slot.startswith(f"{name}_") for slot in slots)}
        now = {weight.path.replace("/", "_") for weight in model.trainable_weights}
        if known and known != now:
            yield Finding(
                "The model was compiled before its trainable flags were changed.",
                f"its optimiser trains {len(known)} weights, {len(now)} are trainable now; "
                f"they differ in {min(known ^ now)}",
                "Train with fitting.fit, or compile again: until then model.fit trains the old choice.",
            )


def _pixel_problems(survey: "_Survey", part: str) -> Iterator[Finding]:
    if survey.broken:
        yield Finding(
            f"Some {part} images hold pixels that are not numbers.",
            f"{survey.broken} of {len(survey.labels)} images have a NaN or infinite pixel",
            "Find where they are made (a division by zero?) or leave these images out.",
        )


def _range_problems(model: keras.Model, images: np.ndarray) -> Iterator[Finding]:
    # Black and white show what the model makes of raw pixels, whatever these images are.
    extremes = np.stack([np.zeros_like(images[0]), np.full_like(images[0], 255)])
    received, first = np.concatenate([images, extremes]), model
    while isinstance(first, keras.Model):  # a nested base may hold the preprocessing
        inputs, _, calls = graph.trace(first)
        weighted = [call for call in calls if getattr(call.operation, "weights", [])]
        learned = [call for call in weighted if not isinstance(call.operation, keras.layers.Normalization)]
        if not learned:
            return
        call = learned[0]
        before = keras.Model(inputs, next(iter(call.reads.values())))
        received, first = np.asarray(before(received, training=False)), call.operation
    received, black, white = received[:-2], received[-2].min(), received[-1].max()
    low, high, least, most = (float(x) for x in (images.min(), images.max(), received.min(), received.max()))
    expects_raw = -150 < black < white - 0.1 < 160 and (black < 0 or white <= 2)
    evidence = (
        f"pixels run from {low:.4g} to {high:.4g} in the data, and from {least:.4g} to {most:.4g} where "
        f"{first.name!r}, the first layer with weights, receives them"
    )
    prepared = low < -50 or high <= 5  # as by subtracted means, or from 0 or -1 to 1: not raw pixels
    if high > low and (most - least < 0.1 or least < -150 or (expects_raw and prepared)):
        yield Finding(
            "Preprocessing is done twice.",
            evidence,
            "Feed raw pixels, 0 to 255: the model does its own preprocessing.",
        )
    elif least >= 0 and most > 2 and not isinstance(first, keras.layers.BatchNormalization):
        yield Finding(
            "Preprocessing is missing.",
            evidence,
            "Put the backbone's preprocessing first, such as keras.layers.Rescaling(1 / 127.5, offset=-1).",
        )


def _order_problems(labels: np.ndarray) -> Iterator[Finding]:
    numbers = labels.argmax(-1) if labels.ndim > 1 else labels
    if len(np.unique(numbers)) == 1:
        yield Finding(
            "The training set holds a single class.",
            f"all {len(numbers)} labels are {numbers[0]}",
            "Check how the labels are read, and that no split took the first rows of a sorted set.",
        )
    elif 2 < len(numbers) > len(np.unique(numbers)) == np.count_nonzero(np.diff(numbers)) + 1:
        yield Finding(
            "The training set is sorted by label.",
            f"its {len(numbers)} labels come one class after the other",
            "fitting.fit shuffles, but a bare model.fit on a tf.data stream does not, and take() or a split "
            "by position would miss whole classes. Shuffle once, with a seed, before splitting.",
        )


def _shared_images(surveys: dict[str, "_Survey"], first: str, second: str) -> Iterator[Finding]:
    known, other = set(surveys[first].digests), surveys[second].digests
    if shared := sum(digest in known for digest in other):
        word = first.replace("train", "training")
        yield Finding(
            f"Images of the {word} set stand in the {second} part as well.",
            f"{shared} of {len(other)} {second} images equal a {word} image, pixel for pixel",
            f"Remove them from one of the two: accuracy on the {second} part is too good otherwise.",
        )


def _is_one_hot(labels: np.ndarray) -> bool:
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(-1) == 1).all())


@dataclasses.dataclass(frozen=True)
class _Survey:
    """What one pass over a part shows."""

    labels: np.ndarray
    sample: np.ndarray  # the first images, float32
    digests: list[bytes]  # one per image: equal only for equal pixels
    broken: int  # the number of images with a pixel that is not a finite number


def _survey(stream: tf.data.Dataset) -> _Survey:
    labels: list[np.ndarray] = []
    sample: list[np.ndarray] = []
    digests, broken = [], 0
    for image, label in stream.prefetch(16).as_numpy_iterator():
        labels.append(label)
        digests.append(hashlib.blake2b(image.tobytes(), digest_size=16).digest())
        if not np.isfinite(image).all():
            broken += 1
        elif len(sample) < 64:
            sample.append(image.astype("float32"))
    return _Survey(np.array(labels), np.array(sample), digests, broken)
