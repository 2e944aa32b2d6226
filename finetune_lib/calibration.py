"""Does the network know how sure it may be: reliability, calibration error, temperature (lesson 06)."""

import dataclasses
import warnings

import numpy as np
import scipy.optimize
import scipy.special

LEAST, MOST = 0.05, 20.0  # temperatures beyond these fit a handful of images, not a network


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, in bins of equal width.

    Attributes:
        edges: float64 ``(bins + 1,)``, from 0 to 1. A bin holds its upper edge, not its lower one.
        counts: int64 ``(bins,)``: images in each bin.
        confidence: float64 ``(bins,)``: the mean probability of the answers given; NaN in an empty bin.
        accuracy: float64 ``(bins,)``: the share of right answers; NaN in an empty bin.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of confidence and accuracy over all images."""
        filled = self.counts > 0
        distances = np.abs(self.accuracy - self.confidence)[filled]
        return float(np.average(distances, weights=self.counts[filled]))


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> Reliability:
    """Sort the images by the probability of the answer given, and compare it with how often that is right.

    Args:
        probabilities: ``(count, classes)``, each row summing to 1.
        labels: integers ``(count,)``, the truth.
        bins: of equal width between 0 and 1.

    Raises:
        ValueError: if the rows are not probabilities, or the lengths differ, or there are no images.
    """
    probabilities, labels = _checked(probabilities, labels)
    return _binned(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, bins)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """How far confidence and accuracy lie apart, 0 to 1, averaged over the images (Guo et al., 1706.04599).

    Of few images it is too large, since in a bin of few the accuracy scatters, and every distance counts as
    positive: compare it with ``chance_calibration_error``. Arguments and errors as of ``reliability``.
    """
    return reliability(probabilities, labels, bins).error


def chance_calibration_error(
    probabilities: np.ndarray, bins: int = 10, *, repeats: int = 1000, seed: int = 0
) -> np.ndarray:
    """The calibration errors that chance alone gives a perfectly calibrated network of the same confidences.

    In each repeat, an answer given with probability 0.8 is right with probability 0.8.

    Args:
        probabilities: ``(count, classes)``, each row summing to 1.

    Returns:
        float64 ``(repeats,)``.

    Raises:
        ValueError: if the rows are not probabilities, or there are none.
    """
    probabilities, _ = _checked(probabilities)
    confidence = probabilities.max(axis=1)
    generator = np.random.default_rng(seed)
    drawn = (generator.random(len(confidence)) < confidence for _ in range(repeats))
    return np.array([_binned(confidence, right, bins).error for right in drawn])


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes validation images most probable (Guo et al., arXiv:1706.04599).

    Above 1 the network was too sure of itself, below 1 not sure enough. Fit it on validation images, never on
    those that you then measure calibration on.

    Args:
        probabilities: ``(count, classes)``, each row summing to 1; of logits take the softmax first.
        labels: integers ``(count,)``, the truth.

    Returns:
        0.05 to 20. At either end it warns: there is too little to fit, as where every answer is right.

    Raises:
        ValueError: as ``reliability``.
    """
    probabilities, labels = _checked(probabilities, labels)
    logits = _logarithm(probabilities)
    rows = np.arange(len(labels))

    def loss(logarithm: float) -> float:
        return float(-scipy.special.log_softmax(logits / np.exp(logarithm), axis=1)[rows, labels].mean())

    ends = np.log(LEAST), np.log(MOST)
    found = scipy.optimize.minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-6})
    temperature = float(np.exp(found.x))
    if not 1.01 * LEAST < temperature < MOST / 1.01:
        warnings.warn(
            f"The temperature {temperature:.2g} is at the end of its range: these {len(labels)} images do "
            "not determine it. Fit it on more images, among them some wrong answers and more right ones.",
            stacklevel=2,
        )
    return temperature


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities as if the logits had been divided by the temperature.

    The logarithms of probabilities are the logits, but for a number that is the same for all classes of an
    image, and the softmax does not see that number. The order of the classes stays, and with it each answer.

    Args:
        probabilities: ``(count, classes)``, each row summing to 1.
        temperature: above zero.

    Returns:
        float64 ``(count, classes)``.

    Raises:
        ValueError: if the temperature is not above zero, or the rows are not probabilities.
    """
    if not temperature > 0:
        raise ValueError(f"A temperature is above zero, not {temperature}.")
    probabilities, _ = _checked(probabilities)
    return scipy.special.softmax(_logarithm(probabilities) / temperature, axis=1)


def _logarithm(probabilities: np.ndarray) -> np.ndarray:
    """Of a probability that was rounded to zero, the logarithm of the smallest number instead."""
    return np.log(np.maximum(probabilities, np.finfo("float32").tiny))


def _binned(confidence: np.ndarray, right: np.ndarray, bins: int) -> Reliability:
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 in empty bins
        means = [np.bincount(place, each, minlength=bins) / counts for each in (confidence, right)]
    return Reliability(edges, counts, *means)


def _checked(probabilities: np.ndarray, labels: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, the probabilities in float64.

    Raises:
        ValueError: with what is wrong, and what to do.
    """
    probabilities = np.asarray(probabilities, "float64")
    if probabilities.ndim != 2 or 0 in probabilities.shape:
        raise ValueError(f"Probabilities are (count, classes), not of the shape {probabilities.shape}.")
    if probabilities.min() < 0 or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError(
            "These are not probabilities: some are below 0, or a row does not sum to 1. If they are logits, "
            "take the softmax first: evaluation.evaluate does it."
        )
    labels = np.zeros(len(probabilities), int) if labels is None else np.asarray(labels)
    if labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"There are probabilities of {len(probabilities)} images, and labels of the shape {labels.shape}."
        )
    return probabilities, labels
