"""What the checks of lesson 08's exercises try answers on, and the rules that these follow, right and wrong."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.special

from finetune_lib import checks, evaluation


class Machine:
    """A clock of its own, and work that takes time on it.

    Args:
        seed: of the interruptions.
        heat: by how much of its time each call makes the next one slower, whoever makes it.
        opening: how many times as long the first call of the first work takes, on top.
        interruptions: the share of the calls that take twenty times as long.
    """

    def __init__(
        self, seed: int = 0, *, heat: float = 0.0, opening: float = 0.0, interruptions: float = 0.0
    ) -> None:
        self.heat, self.opening, self.interruptions = heat, opening, interruptions
        self.now, self.reads, self.log = 100.0, 0, ""
        self._generator = np.random.default_rng(seed)

    def clock(self) -> float:
        self.reads += 1
        return self.now

    def work(self, letter: str, seconds: float) -> Callable[[], None]:
        """What takes so many seconds each time it is called, were it not for the rest."""

        def run() -> None:
            factor = 1 + self.heat * len(self.log)
            if letter == "a" and letter not in self.log:
                factor += self.opening
            if self._generator.random() < self.interruptions:
                factor *= 20
            self.log += letter
            self.now += seconds * factor

        return run

    @property
    def switches(self) -> int:
        """How often it went from one work to the other."""
        return sum(one != other for one, other in zip(self.log, self.log[1:], strict=False))


def scales(values: np.ndarray, low: float, high: float) -> dict[str, list[float]]:
    """Wrong scales for int8, by what to tell of them."""
    widest = max(high, 0.0) - min(low, 0.0)
    largest = max(abs(low), abs(high))
    own = max(values.max(), 0) - min(values.min(), 0)
    return {
        "The scale is symmetric about zero: from there to the larger end, twice. If the range is not, integers are left unused; after a ReLU that is half of them.": [
            2 * largest / 255,
            largest / 127,
            largest / 128,
        ],
        "You take the range of the values themselves. It is fixed beforehand: when the first image comes, nobody knows the others.": [
            own / 255,
            (values.max() - values.min()) / 255,
        ],
        "The range does not hold 0, and you do not widen it until it does: no integer stands for 0.0.": [
            (high - low) / 255
        ],
        "There are 256 integers, and so 255 steps from the lowest to the highest.": [widest / 256],
        "You leave an integer out: from -128 to 127 there are 255 steps.": [widest / 254],
        "That is steps for one unit. The scale is what one step is worth.": [255 / widest],
    }


def examine_scale(case: str, scale: float, zero: float, values: np.ndarray, low: float, high: float) -> None:
    """Raise what is wrong with a scale and a zero point for int8."""
    widest = max(high, 0.0) - min(low, 0.0)
    if zero != round(zero):
        raise checks.Incorrect(
            f"{case}your zero point is {zero:.4g}. 0.0 then lies between two integers, and each padded border becomes a little more or less than nothing. It has to be whole."
        )
    if not np.isclose(scale, widest / 255, rtol=1e-4):
        for story, wrong in scales(values, low, high).items():
            if any(np.isclose(scale, value, rtol=1e-4) for value in wrong):
                raise checks.Incorrect(case + story)
        raise checks.Incorrect(
            f"{case}your scale is {scale:.4g}; 255 steps of it are {255 * scale:.4g}. How long is the range that has to be covered?"
        )
    off = zero - (-128 - min(low, 0.0) / scale)
    if abs(off) > 0.51:
        if abs(off - 128) < 0.51:
            raise checks.Incorrect(
                f"{case}your zero point is {zero:.0f}. That is for integers from 0 on; those of int8 begin at -128."
            )
        ends = [scale * (end - zero) for end in (-128, 127)]
        raise checks.Incorrect(
            f"{case}the scale is right. With a zero point of {zero:.0f} the integers -128 and 127 stand for {ends[0]:.3g} and {ends[1]:.3g}."
        )


def examine_integers(case: str, integers: np.ndarray, scale: float, zero: float, values: np.ndarray) -> None:
    """Raise what is wrong with the integers, if scale and zero point are right."""
    exact = values.astype(float) / scale + zero
    beyond = (exact < -129) | (exact > 128)
    right = np.clip(np.rint(exact), -128, 127)
    if wrong := np.flatnonzero(beyond & (integers != right)).tolist():
        value, given = values.flat[wrong[0]], int(integers.flat[wrong[0]])
        raise checks.Incorrect(
            f"{case}a value of {value:.3g}, beyond the range, becomes {given}, which stands for {scale * (given - zero):.3g}. It should stop at the end of the integers: the brightest pixel turns dark otherwise."
        )
    error = np.abs(integers - exact)[~beyond & (exact >= -128) & (exact <= 127)]
    if error.max() <= 0.51:
        return
    if error.max() <= 1.01:
        raise checks.Incorrect(
            f"{case}you are off by up to {error.max():.2f} steps, and always by cutting off the fraction. To the nearest integer it is half a step, and the errors cancel out."
        )
    place = int(np.argmax(np.abs(integers - right)))
    raise checks.Incorrect(
        f"{case}scale and zero point are right. A value of {values.flat[place]:.3g} becomes {integers.flat[place]}, which stands for {scale * (integers.flat[place] - zero):.3g}."
    )


def softenings(probabilities: np.ndarray, temperature: float) -> dict[str, np.ndarray]:
    """What the known ways to soften probabilities give: the right one, and others by what to tell of them."""
    count = probabilities.shape[1]
    roots, powers = probabilities ** (1 / temperature), probabilities**temperature
    with np.errstate(divide="ignore"):
        logits = np.maximum(np.log(probabilities), -1e300)
    return {
        "right": roots / roots.sum(axis=1, keepdims=True),
        "You take the probabilities for logits. They lie between 0 and 1, so the softmax makes nearly the same of all of them: the teacher seems to know nothing.": scipy.special.softmax(
            probabilities / temperature, axis=1
        ),
        "Divided by the temperature, the probabilities of an image no longer sum to 1, and their ratios are as before.": probabilities
        / temperature,
        "That is the wrong way round: what was likely becomes likelier still.": powers
        / powers.sum(axis=1, keepdims=True),
        "The ratios are right, but the numbers of an image do not sum to 1.": roots,
        "The sums run over the images of a class. Each *image* has probabilities that sum to 1.": roots
        / roots.sum(axis=0, keepdims=True),
        "These sum to 1 over all images together. Each image has its own probabilities.": roots / roots.sum(),
        "That is label smoothing: all classes get the same on top, and what the teacher says of each is drowned.": probabilities
        / temperature
        + (1 - 1 / temperature) / count,
        "Those are logits, divided by the temperature. Asked are probabilities.": logits / temperature,
        "Nothing has changed.": probabilities,
    }


Slope = Callable[[np.ndarray], np.ndarray]


def descend(
    weights: np.ndarray,
    slope: Slope,
    steps: int,
    rate: float,
    after: Callable[[np.ndarray], np.ndarray],
    *,
    momentum: float = 0.9,
) -> np.ndarray:
    """Gradient descent with momentum; ``after`` each step the weights are what it makes of them."""
    velocity = np.zeros_like(weights)
    for _ in range(steps):
        velocity = momentum * velocity - rate * slope(weights)
        weights = after(weights + velocity)
    return weights


def trainings(weights: np.ndarray, mask: np.ndarray, slope: Slope, steps: int, rate: float) -> dict[str, Any]:
    """Where the known ways to train what is pruned end: the right one, and others by what to tell of them."""

    def held(values: np.ndarray) -> np.ndarray:
        return values * mask

    def free(values: np.ndarray) -> np.ndarray:
        return values

    def largest(values: np.ndarray) -> np.ndarray:
        least = np.sort(np.abs(values).ravel())[-int(mask.sum())]
        return values * (np.abs(values) >= least)

    start = weights * mask
    moved = descend(start, slope, steps, rate, free)
    stories = {
        "These are the colleague's weights: trained without a mask, and cut at the end. What was trained is not what is returned.": held(
            moved
        ),
        "The mask was applied once, before the first step. From then on every step moved the zeros as well.": moved,
        "The gradient is masked and the weights are not: what should be zero has kept the value that it came with.": descend(
            weights, lambda values: held(slope(values)), steps, rate, free
        ),
        "After every step you keep the largest anew. So the zeros are as many as agreed, and in other places than the mask's.": descend(
            start, slope, steps, rate, largest
        ),
        "The mask is the wrong way round: True says that a weight is left.": descend(
            weights * ~mask, slope, steps, rate, lambda values: values * ~mask
        ),
        "The zeros stay, but the momentum is gone: each step remembers 0.9 times the one before.": descend(
            start, slope, steps, rate, held, momentum=0.0
        ),
        "The zeros stay, and you take one step too few.": descend(start, slope, steps - 1, rate, held),
        "The zeros stay, and you take one step too many.": descend(start, slope, steps + 1, rate, held),
        "The weights are pruned, and nothing was trained.": start,
    }
    return {"right": descend(start, slope, steps, rate, held)} | stories


Correct = np.ndarray  # bool, one an image
Ship = Callable[[Mapping[str, tuple[int, Correct]], tuple[int, Correct], np.ndarray, float], str]
IsSafe = Callable[[Correct, Correct, np.ndarray, float], bool]  # original, candidate, writers, most


def shipper(is_safe: IsSafe, *, with_original: bool = True, by_size: bool = True) -> Ship:
    """The smallest, or the best, of the candidates that are safe; the original, if there is none."""

    def choose(
        candidates: Mapping[str, tuple[int, Correct]],
        original: tuple[int, Correct],
        groups: np.ndarray,
        most: float,
    ) -> str:
        known = {
            name: (size, correct)
            for name, (size, correct) in candidates.items()
            if is_safe(original[1], correct, groups, most)
        }
        if with_original or not known:
            known["original"] = original
        return min(known, key=lambda name: known[name][0] if by_size else -known[name][1].mean())

    return choose


def loss(original: Correct, candidate: Correct, groups: np.ndarray | None) -> tuple[float, float, float]:
    """How much a candidate loses, in shares of all images, and from where to where that may be."""
    return evaluation.bootstrap_difference(original, candidate, groups, resamples=2000)


def _wilson(correct: Correct) -> tuple[float, float]:
    return evaluation.wilson_interval(int(correct.sum()), len(correct))


def _high(original: Correct, candidate: Correct, groups: np.ndarray, most: float) -> bool:
    return loss(original, candidate, groups)[2] <= most


right_ship = shipper(_high)
SHIPPERS: dict[str, Ship] = {
    "You go by the loss as it was measured. With so few images it may well be larger in truth: ask how large it could be.": shipper(
        lambda first, second, groups, most: loss(first, second, groups)[0] <= most
    ),
    "You let pass whatever has not been *shown* to lose anything. With few images nothing can be shown; and with many, a loss that is sure and small enough is refused.": shipper(
        lambda first, second, groups, most: loss(first, second, groups)[1] <= 0
    ),
    "You go by McNemar's p-value, which asks whether there is a loss at all. Asked is whether it is larger than agreed.": shipper(
        lambda first, second, groups, most: evaluation.mcnemar(first, second) > 0.05
    ),
    "You go by the lower end of the interval, the most favourable case.": shipper(
        lambda first, second, groups, most: loss(first, second, groups)[1] <= most
    ),
    "You draw image by image. If one writer pays for it all, the next customer may be like that writer: give the groups to the bootstrap.": shipper(
        lambda first, second, groups, most: loss(first, second, None)[2] <= most
    ),
    "You compare two intervals, each with all its doubt. Both have seen the same images: take the interval of the difference.": shipper(
        lambda first, second, groups, most: _wilson(first)[1] - _wilson(second)[0] <= most
    ),
    "The loss is the wrong way round: `bootstrap_difference(first, second)` says how much more often the *first* is right.": shipper(
        lambda first, second, groups, most: loss(second, first, groups)[2] <= most
    ),
    "`most` is a share, as the loss is: 0.02 is two points. You compare shares with points.": shipper(
        lambda first, second, groups, most: 100 * loss(first, second, groups)[2] <= most
    ),
    "You forget that the original can be shipped, too: a candidate that is larger is of no use.": shipper(
        _high, with_original=False
    ),
    "You ship the most accurate of those that are safe. They are all good enough: what counts now is the size.": shipper(
        _high, by_size=False
    ),
    "You ship the smallest file, whatever it loses.": shipper(lambda *_: True),
    "You ship the original, always.": shipper(lambda *_: False),
}


def judged(images: int, losses: list[int], wins: list[int]) -> tuple[Correct, Correct, np.ndarray]:
    """Right answers of an original and a candidate, and the writers, with so many images each.

    Args:
        losses, wins: for each writer the images that only the original, or only the candidate, has right.
    """
    first, second = np.ones((2, len(losses), images), bool)
    first[:, -images // 10 :] = second[:, -images // 10 :] = False
    for row, (lost, won) in enumerate(zip(losses, wins, strict=True)):
        second[row, :lost] = False
        second[row, images - won :] = True
    return first.ravel(), second.ravel(), np.repeat(np.arange(len(losses)), images)


def shipments() -> list[tuple[dict[str, tuple[int, Correct]], tuple[int, Correct], np.ndarray, float]]:
    """What to try an answer on: in each another rule goes wrong."""
    none = [0] * 8
    tried = [  # images a writer, most; name: bytes, images lost and won of each writer
        (40, 0.02, {"tiny": (90, [1, *none[1:]], none), "half": (500, none, none)}),
        (20, 0.02, {"half": (510, none, none), "small": (130, [1, 0, 1, 0, 0, 0, 1, 0], none)}),
        (20, 0.02, {"small": (140, [1, 0, 1, 0, 1, 0, 1, 0], none), "half": (515, none, none)}),
        (120, 0.02, {"half": (480, none, none), "whole": (240, [1] * 8, none)}),
        (120, 0.02, {"bits": (110, [10, *none[1:]], none), "half": (470, none, none)}),
        (100, 0.02, {"whole": (230, [2] * 8, [2] * 8), "half": (505, none, none)}),
        (100, 0.01, {"indexed": (1500, none, none), "bits": (120, [4] * 8, none)}),
        (100, 0.03, {"student": (60, [9] * 8, none), "bits": (130, [7] * 8, [1] * 8)}),
        (100, 0.02, {"student": (50, none, [4] * 8), "whole": (260, [1] * 8, none)}),
        (100, 0.005, {"whole": (255, none, [3] * 8), "tiny": (70, [1] * 8, none)}),
    ]
    found = []
    for images, most, files in tried:
        candidates = {}
        for name, (size, losses, wins) in files.items():
            first, second, groups = judged(images, losses, wins)
            candidates[name] = (size, second)
        found.append((candidates, (1000, first), groups, most))
    return found
