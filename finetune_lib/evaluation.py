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
        groups: ``(count,)``, who or what made each image, or None where unknown.
        places: str ``(count,)``, which image each row is about (see ``data.ImageDataset``), or None.
    """

    part: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    groups: np.ndarray | None = None
    places: np.ndarray | None = None

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
        groups=_of_each(dataset.groups.get(part), labels),
        places=_of_each(dataset.places.get(part), labels),
    )


def _of_each(known: np.ndarray | None, labels: np.ndarray) -> np.ndarray | None:
    """What is known of each image; nothing, if the part was cut down and it is of others, too."""
    return known if known is not None and len(known) == len(labels) else None


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
    """Wilson's score interval for a proportion (J. Am. Stat. Assoc. 22, 1927), usable near 1 too.

    It speaks of new images from the same sources. Images of one writer or patient are alike, so for new
    sources it is too narrow: see ``bootstrap_interval``, which resamples whole groups.
    """
    interval = scipy.stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(
    correct: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval of an accuracy by the bootstrap, over whole groups or image by image.

    Whole groups (writers) are drawn with replacement, since images of one writer are not independent (Efron
    and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8). With few groups (the digits' test part
    has seven writers) the interval is somewhat too narrow. Of a model that is never wrong it knows no doubt:
    there ``wilson_interval`` is better.

    Args:
        correct: bool ``(count,)``, or ``(runs, count)`` for the mean accuracy of repeated runs: whether each
            image was predicted rightly.
        groups: ``(count,)``, who or what made each image. None takes the images for independent.

    Returns:
        ``(low, high)`` in shares of all images, 0 to 1.

    Raises:
        ValueError: if the lengths differ, or if there are no images.
    """
    return _bootstrap(np.atleast_2d(correct).mean(axis=0), groups, resamples, confidence, seed)


def bootstrap_difference(
    first: np.ndarray,
    second: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """How much more often ``first`` is right than ``second``, on the same images, by a bootstrap over groups.

    Both methods meet the same images, so hard images cancel. For the rest see ``bootstrap_interval``. It says
    nothing of other training images.

    Args:
        first, second: bool ``(count,)`` or ``(runs, count)``: whether each image was predicted rightly, in
            each repeated run.
        groups: ``(count,)``, who or what made each image. None takes the images for independent.

    Returns:
        ``(difference, low, high)`` in shares of all images: 0.02 is two points.

    Raises:
        ValueError: if the lengths differ, or if there are no images.
    """
    means = [np.atleast_2d(each).mean(axis=0) for each in (first, second)]
    _require_same_images(*means)
    advantage = means[0] - means[1]
    return float(advantage.mean()), *_bootstrap(advantage, groups, resamples, confidence, seed)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """The p-value of McNemar's exact test (Psychometrika 12, 1947): do two models err equally often?

    Images on which both are right, or both wrong, say nothing. Of the others, if the models are equally good,
    each goes to either with probability 1/2. The images are taken for independent: with groups, prefer
    ``bootstrap_difference``.

    Args:
        first, second: bool ``(count,)``: whether each image was predicted rightly.

    Returns:
        0 to 1; 1 if no image tells the models apart.

    Raises:
        ValueError: if the lengths differ.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    _require_same_images(first, second)
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(~first & second))
    if only_first + only_second == 0:
        return 1.0
    return float(scipy.stats.binomtest(only_first, only_first + only_second).pvalue)


def _bootstrap(
    values: np.ndarray, groups: np.ndarray | None, resamples: int, confidence: float, seed: int
) -> tuple[float, float]:
    """The interval of the mean of ``(count,)`` values, each of an image, as groups are drawn anew."""
    groups = np.arange(len(values)) if groups is None else np.asarray(groups)
    if len(values) == 0:
        raise ValueError("There are no images to draw from.")
    if groups.shape != values.shape:
        raise ValueError(f"groups says who made {len(groups)} images, but there are {len(values)}.")
    _, members = np.unique(groups, return_inverse=True)
    totals, counts = np.bincount(members, values), np.bincount(members)
    generator = np.random.default_rng(seed)
    means = []
    most = max(1, 2_000_000 // len(counts))  # resamples at a time, so that many images fit into the memory
    for start in range(0, resamples, most):
        drawn = generator.integers(len(counts), size=(min(most, resamples - start), len(counts)))
        means.append(totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def _require_same_images(first: np.ndarray, second: np.ndarray) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"The first has answers to {first.shape[-1]} images, the second to {second.shape[-1]}. Compare "
            "two models on the same images, in the same order."
        )
