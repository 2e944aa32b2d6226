"""The server and the rules that answers to lesson 07's exercises are compared with, each with what to tell."""

import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import PIL.Image
import tensorflow as tf

from finetune_lib import rest_api, served_model

MOST_FILES = 32  # in one request
Limit = Callable[[np.ndarray, int, float], float]  # confidences in order, answers in a window, rate


ON_PAPER: tuple[tuple[str, float, float, dict[str, float]], ...] = (  # name, from, to, wrong ways
    (
        "The percentage of cold starts",
        60,
        61.5,
        {
            "is the percentage that finds it *warm*.": 39.3,
            "is a share, it seems. In percent, please.": 0.607,
            "is right if the requests come like a clock, every 20 minutes. Independent ones often come in quick succession.": 100,
            "is a straight line's answer. The chance that nobody came in the last 10 minutes is an exponential function.": 50,
            "counts the requests of an hour, and the minutes of the wait: bring both to minutes.": 0,
        },
    ),
    (
        "The number of requests a day",
        434_000,
        439_000,
        {
            "leaves out the fee for each request.": 480_000,
            "leaves out the computation: the fee is only a part of what a request costs.": 4_800_000,
            "leaves out that the function has 2 GB: a GB second is half a second of it.": 800_000,
            "takes the 60 milliseconds for seconds.": 480,
            "is for an hour. The server costs 0.96 dollars a *day*.": 18_182,
            "takes 0.20 dollars for the price of *one* request.": 4.8,
        },
    ),
    (
        "The throughput",
        7.1,
        7.3,
        {
            "would be so if a batch took no longer than one image. Each image in it still takes its 0.5 ms.": 32,
            "is what batches of any size come near to and never reach: 4 ms are still spent on each batch.": 9,
            "is the wrong way round, or a share of the time.": 0.139,
            "is the number of images a second with batches. Compared with one by one, please.": 1600,
            "is how much longer a whole batch takes than one image. How many images are done in that time?": 4.44,
        },
    ),
    (
        "The number of false alarms",
        3.55,
        3.65,
        {
            "is for a window a *day*.": 0.15,
            "is for one day.": 0.12,
            "is the number of windows. One in 200 of them raises an alarm.": 720,
            "is for a limit that chance exceeds once in 100 windows.": 7.2,
        },
    ),
)


class Version:
    """A model that reads PNG files by a simple rule, in the place of a loaded SavedModel (served_model.Version)."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.signatures: list[str] = []  # those that have been asked for
        self.rows: list[int] = []  # images in each request that came as far

    def inputs(self, signature: str) -> dict[str, tf.TensorSpec]:
        self.signatures.append(signature)
        known = {
            "encoded": tf.TensorSpec((None,), tf.string),
            "serving_default": tf.TensorSpec((None, 6, 6, 3)),
        }
        if signature not in known:
            raise served_model.Refused(f'Serving signature name: "{signature}" not found in signature def')
        return {"image": known[signature]}

    def require(self, signature: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        if set(shapes) != {"image"}:
            raise served_model.Refused(f"The inputs are {sorted(shapes)}; {signature} takes ['image'].")
        self.rows.append(shapes["image"][0] if shapes["image"] else 0)

    def class_of(self, content: bytes) -> int:
        """The class of a file; raises Refused for one that cannot be decoded."""
        try:
            with PIL.Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                image.load()
        except Exception as error:
            raise served_model.Refused("Expected image (JPEG, PNG), got an unknown or damaged one") from error
        return int(hashlib.sha256(content).digest()[0]) % len(self.names)

    def predict(self, signature: str, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if signature == "encoded":
            numbers = [self.class_of(content) for content in values["image"]]
        else:
            numbers = [int(image.sum()) % len(self.names) for image in values["image"]]
        probabilities = np.full((len(numbers), len(self.names)), 0.05, "float32")
        probabilities[range(len(numbers)), numbers] = 1 - 0.05 * (len(self.names) - 1)
        names = np.array([self.names[number].encode() for number in numbers], object)
        return {"probabilities": probabilities, "classes": names}


class Server:
    """Answers requests as the stand-in's REST does, without a network; ``full`` says 503 from then on.

    Args:
        full: the number of the first request (from 0) that is not taken; None takes all.
    """

    words = "The batch scheduling queue to which this task was submitted is full"

    def __init__(self, names: list[str], full: int | None = None) -> None:
        self.version, self.full = Version(names), full
        self.bodies: list[Any] = []
        self.refusals: list[str] = []

    def get(self, name: str, number: int | None = None) -> tuple[int, Version]:
        return 1, self.version

    def ask(self, body: Any) -> tuple[int, dict[str, Any]]:
        """HTTP's status and what the JSON said."""
        content = json.dumps(body)
        if len(self.bodies) > 1000:
            raise RecursionError("a thousand requests, and no end")
        self.bodies.append(json.loads(content))
        if self.full is not None and len(self.bodies) > self.full:
            return 503, {"error": self.words}
        try:
            answer = rest_api.answer(self, "photos", None, content.encode())  # type: ignore[arg-type]
            return 200, json.loads(json.dumps(answer))
        except served_model.Refused as error:
            self.refusals.append(str(error))
            return rest_api.HTTP[error.code], {"error": str(error)}


def window_means(confidence: np.ndarray, size: int) -> np.ndarray:
    """The mean of every window of that many answers in a row."""
    return np.convolve(confidence, np.full(size, 1 / size), "valid")


def _place(of_count: Callable[[float], float], largest: bool = False) -> Limit:
    """The mean of a window at a place that depends on rate times windows; from below, or from above."""

    def limit(confidence: np.ndarray, size: int, rate: float) -> float:
        means = np.sort(window_means(confidence, size))
        means = means[::-1] if largest else means
        return float(means[int(np.clip(of_count(rate * len(means)), 0, len(means) - 1))])

    return limit


def _of_means(confidence: np.ndarray, size: int, rate: float) -> float:
    return float(np.quantile(window_means(confidence, size), rate))


def _of_answers(confidence: np.ndarray, size: int, rate: float) -> float:
    return float(np.quantile(confidence, rate))


def _answers_in_order(confidence: np.ndarray, size: int, rate: float) -> float:
    return float(np.sort(confidence)[int(rate * len(confidence))])


def _side_by_side(confidence: np.ndarray, size: int, rate: float) -> float:
    """Windows that do not overlap."""
    means = np.sort(window_means(confidence, size)[::size])
    return float(means[int(rate * len(means))])


def _normal(of: Callable[[np.ndarray, int], tuple[float, float]]) -> Limit:
    """Mean and standard error, and the quantile of a normal distribution."""

    def limit(confidence: np.ndarray, size: int, rate: float) -> float:
        mean, error = of(confidence, size)
        return mean + float(tf.math.ndtri(tf.constant(rate, tf.float64))) * error

    return limit


def _of_independent(confidence: np.ndarray, size: int) -> tuple[float, float]:
    return float(confidence.mean()), float(confidence.std() / math.sqrt(size))


def _of_windows(confidence: np.ndarray, size: int) -> tuple[float, float]:
    means = window_means(confidence, size)
    return float(means.mean()), float(means.std())


quiet = _place(math.floor)
LIMITS: dict[str, Limit] = {
    "That is the formula for independent answers. Answers of one writer are alike, so windows scatter more widely than it thinks. Count windows.": _normal(
        _of_independent
    ),
    "You take the windows' mean and spread, and the rest from a normal distribution. Nobody has said that windows follow one: sort them, and count.": _normal(
        _of_windows
    ),
    "You look at single answers. A window's *mean* scatters far less than one answer does.": _of_answers,
    "You sort single answers and count among them. A window's *mean* scatters far less than one answer does.": _answers_in_order,
    "Your windows lie side by side. Here one begins at every answer: a monitor looks all the time, not only when a window happens to be full.": _side_by_side,
    "`np.quantile` goes between two windows, and its count is another one: try how many windows lie below it. Sort the means, and take one of them.": _of_means,
    "That is the same place from the other end: an alarm for windows that are *surer* than usual.": _place(
        math.floor, largest=True
    ),
    "You leave one alarm unused: a limit that *equals* a window's mean does not make it an alarm, so you may go one window further.": _place(
        lambda count: math.floor(count) - 1
    ),
    "That is one window too far: count how many means lie below your limit.": _place(
        lambda count: math.floor(count) + 1
    ),
    "The lowest window of all never raises an alarm, and some false alarms were allowed: it sees less than it could.": _place(
        lambda count: 0
    ),
    "The last window is missing: with n answers there are n - size + 1 windows.": lambda confidence, size, rate: (
        quiet(confidence[:-1], size, rate)
    ),
}
