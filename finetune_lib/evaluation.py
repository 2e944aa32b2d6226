"""How good is it, and how sure are we: predictions in order, accuracy with intervals (lesson 06)."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import scipy.special
import scipy.stats

from finetune_lib import data, photos


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model's predictions on one part of a data set, in the part's own order.

    Attributes:
        part: ``"train"``, ``"validation"`` or ``"test"``.
        class_names: label ``i`` is called ``class_names[i]``.
        labels: int64 ``(count,)``, the truth.
        probabilities: float32 ``(count, classes)``, each row summing to 1.
        groups: int64 ``(count,)``, who or what made each image, or None where unknown.
    """

    part: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    groups: np.ndarray | None = None

    @property
    def predictions(self) -> np.ndarray:
        """int64 ``(count,)``: the most probable class of each image."""
        return self.probabilities.argmax(axis=-1)

    @property
    def correct(self) -> np.ndarray:
        """bool ``(count,)``: whether each prediction is right."""
        return self.predictions == self.labels

    @property
    def accuracy(self) -> float:
        """The share of right predictions, 0 to 1."""
        return float(self.correct.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy's 95% interval (see ``wilson_interval``)."""
        return wilson_interval(int(self.correct.sum()), len(self.correct))

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.part} accuracy {self.accuracy:.1%} (95% interval {low:.1%} to {high:.1%}, "
            f"{len(self.labels)} images)"
        )


def evaluate(model: keras.Model, dataset: data.ImageDataset, part: str = "test") -> Evaluation:
    """Predict every image of one part of a data set.

    The model may end in logits, a softmax, or one logit or probability of the second of two classes; it need
    not be compiled. Labels may be whole numbers or one-hot. Read the test part once, when every decision has
    been taken on the validation part.
    """
    stream = getattr(dataset, part)
    outputs = model.predict(stream.map(lambda image, label: image).batch(64).prefetch(1), verbose=0)
    labels = np.array([label for _, label in stream.as_numpy_iterator()], np.int64)
    return Evaluation(
        part=part,
        class_names=dataset.class_names,
        labels=labels.argmax(axis=-1) if labels.ndim > 1 else labels,
        probabilities=to_probabilities(model, outputs),
        groups=dataset.groups.get(part),
    )


def classify(
    model: keras.Model, files: Sequence[bytes], class_names: Sequence[str]
) -> list[tuple[str, float]]:
    """What a classifier says of image files: for each the most probable class and its probability, 0 to 1.

    Raises:
        OSError: for a file that is no image.
    """
    height, width = model.input_shape[1:3]
    images = np.stack([photos.read(content, (height, width)) for content in files])
    answers = to_probabilities(model, model.predict(images.astype("float32"), verbose=0))
    return [(class_names[answer.argmax()], float(answer.max())) for answer in answers]


def to_probabilities(model: keras.Model, outputs: np.ndarray) -> np.ndarray:
    """A classifier's outputs ``(count, classes)`` as probabilities of the same shape; logits by the softmax.

    A single output is the second of two classes: ``(count, 1)`` gives ``(count, 2)``.
    """
    ending = last_activation(model)
    if outputs.shape[-1] == 1:
        second = outputs if ending == "sigmoid" else scipy.special.expit(outputs)
        return np.concatenate([1 - second, second], axis=-1)
    return outputs if ending == "softmax" else scipy.special.softmax(outputs, axis=-1)


def last_activation(model: keras.Model) -> str:
    """What a model ends in: ``"softmax"``, ``"sigmoid"``, another activation, or ``"linear"`` for logits."""
    last: Any = model
    while isinstance(last, keras.Model):
        last = last.layers[-1] if isinstance(last, keras.Sequential) else last.operations[-1]
    if hasattr(last, "activation"):  # of a Dense or Activation layer
        return getattr(last.activation, "__name__", "linear")
    name = type(last).__name__.lower()  # a layer or an operation, such as keras.layers.Softmax
    return name if name in ("softmax", "sigmoid") else "linear"


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion (J. Am. Stat. Assoc. 22, 1927), good near 1 too.

    It speaks of new images from the same sources. Images of one writer or patient are alike, so for new
    sources the truth is wider: see ``bootstrap_difference``, which resamples whole groups.
    """
    interval = scipy.stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_difference(
    first: np.ndarray,
    second: np.ndarray,
    groups: np.ndarray,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """How much more often ``first`` is right than ``second``, on the same images, by a bootstrap over groups.

    Both methods meet the same images, so hard images cancel. Whole groups (writers) are drawn with
    replacement, since images of one writer are not independent (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 8). With few groups (the digits' test part has seven writers) the interval is
    somewhat too narrow, and it says nothing of other training images.

    Args:
        first, second: bool ``(count,)`` or ``(runs, count)``: whether each image was predicted rightly, in
            each repeated run.
        groups: integers ``(count,)``.

    Returns:
        ``(difference, low, high)`` in shares of all images: 0.02 is two points.
    """
    advantage = np.atleast_2d(first).mean(axis=0) - np.atleast_2d(second).mean(axis=0)
    members = [advantage[groups == group] for group in np.unique(groups)]
    totals = np.array([member.sum() for member in members])
    counts = np.array([len(member) for member in members])
    drawn = np.random.default_rng(seed).integers(len(members), size=(resamples, len(members)))
    differences = totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return float(advantage.mean()), float(low), float(high)
