"""The rules that answers to lesson 06's exercises follow, right and wrong, each with what to tell whoever uses it."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import scipy.stats

from finetune_lib import evaluation

Verdict = Callable[
    [np.ndarray, np.ndarray, np.ndarray], float
]  # first and second right, writers: the p-value
Choose = Callable[[np.ndarray, np.ndarray, float], tuple[float, float]]  # confidence, right, promise
Cover = Callable[..., np.ndarray]


def _flipped(totals: np.ndarray) -> tuple[np.ndarray, float]:
    """The sum for every pattern of signs, and the sum that was observed."""
    signs = np.array(list(itertools.product((1, -1), repeat=len(totals))))
    return signs @ totals, totals.sum()


def net_wins(first: np.ndarray, second: np.ndarray, writers: np.ndarray) -> np.ndarray:
    """Each writer's images won less images lost."""
    gain = first.astype(int) - second.astype(int)
    return np.array([gain[writers == writer].sum() for writer in np.unique(writers)])


def by_writers(first: np.ndarray, second: np.ndarray, writers: np.ndarray) -> float:
    sums, seen = _flipped(net_wins(first, second, writers))
    return float(np.mean(np.abs(sums) >= abs(seen)))


def _one_sided(sign: int) -> Verdict:
    def verdict(first: np.ndarray, second: np.ndarray, writers: np.ndarray) -> float:
        sums, seen = _flipped(net_wins(first, second, writers))
        return float(np.mean(sign * sums >= sign * seen))

    return verdict


def _towards(first: np.ndarray, second: np.ndarray, writers: np.ndarray) -> float:
    """One-sided, on the side where the observed sum lies."""
    return _one_sided(1 if first.sum() >= second.sum() else -1)(first, second, writers)


def _strict(first: np.ndarray, second: np.ndarray, writers: np.ndarray) -> float:
    sums, seen = _flipped(net_wins(first, second, writers))
    return float(np.mean(np.abs(sums) > abs(seen)))


def _mcnemar(first: np.ndarray, second: np.ndarray, writers: np.ndarray) -> float:
    return evaluation.mcnemar(first, second)


def _each_alike(first: np.ndarray, second: np.ndarray, writers: np.ndarray) -> float:
    """Means instead of sums."""
    counts = np.unique(writers, return_counts=True)[1]
    sums, seen = _flipped(net_wins(first, second, writers) / counts)
    return float(np.mean(np.abs(sums) >= abs(seen) - 1e-9))


def _signs_only(first: np.ndarray, second: np.ndarray, writers: np.ndarray) -> float:
    sums, seen = _flipped(np.sign(net_wins(first, second, writers)))
    return float(np.mean(np.abs(sums) >= abs(seen)))


def _exactly_equal(first: np.ndarray, second: np.ndarray, writers: np.ndarray) -> float:
    sums, seen = _flipped(net_wins(first, second, writers))
    return float(np.mean(np.abs(sums) == abs(seen)))


def _student(first: np.ndarray, second: np.ndarray, writers: np.ndarray) -> float:
    return float(scipy.stats.ttest_1samp(net_wins(first, second, writers), 0).pvalue)


VERDICTS: dict[str, Verdict] = {
    "That is McNemar's test. It takes the images for independent: each may fall to either side by itself. Here a writer's images change sides together.": _mcnemar,
    "You count only the sums that are as far out on the side where yours lies. Before you looked, either model could have been the better one: count both sides.": _towards,
    "You count the sums that are at least as high as yours. At least as *far from zero* is asked for, above or below it.": _one_sided(
        1
    ),
    "You count the sums that are at most as high as yours. At least as *far from zero* is asked for, above or below it.": _one_sided(
        -1
    ),
    "The observed pattern is one of all patterns, too: *at least* as far from zero. Without it, p could be 0, and no test with so few writers can be that sure.": _strict,
    "You add up the writers' means, in which a writer of few images counts as much as one of many. Add up images.": _each_alike,
    "You count which model each writer speaks for, and not by how many images. That is the sign test. It throws away how clear each writer is.": _signs_only,
    "You count only the sums that are exactly as far from zero, and forget those that are farther.": _exactly_equal,
    "That is a *t* test on the writers' sums. It is no bad test, but it takes them for normally distributed. Here the patterns of signs decide, nothing else.": _student,
    "That is the distance of what was observed, 1 less the share that was asked for.": lambda *case: (
        1 - by_writers(*case)
    ),
}


def answered_by(
    good: Callable[[int, int, float], bool], *, highest: bool = False, strict: bool = False
) -> Choose:
    """The lowest threshold, or the highest, at which what is answered is good."""

    def choose(confidence: np.ndarray, right: np.ndarray, promise: float) -> tuple[float, float]:
        thresholds = np.unique(confidence)
        for threshold in thresholds[::-1] if highest else thresholds:
            chosen = confidence > threshold if strict else confidence >= threshold
            if chosen.any() and good(int(right[chosen].sum()), int(chosen.sum()), promise):
                return float(threshold), float(chosen.mean())
        return math.inf, 0.0

    return choose


def end_of_interval(right: int, count: int, side: int) -> float:
    """The lower end (-1) or the upper one (1) of Wilson's 95% interval; much faster than SciPy's."""
    share, z = right / count, 1.96
    middle, root = share + z**2 / (2 * count), math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return (middle + side * z * root) / (1 + z**2 / count)


def _low(right: int, count: int, promise: float) -> bool:
    return end_of_interval(right, count, -1) >= promise


def _high(right: int, count: int, promise: float) -> bool:
    return end_of_interval(right, count, 1) >= promise


def _share(right: int, count: int, promise: float) -> bool:
    return right / count >= promise


def _until_it_breaks(confidence: np.ndarray, right: np.ndarray, promise: float) -> tuple[float, float]:
    """From the surest on, and stops where the promise first breaks after it held."""
    found = (math.inf, 0.0)
    for threshold in np.unique(confidence)[::-1]:
        chosen = confidence >= threshold
        if _low(int(right[chosen].sum()), int(chosen.sum()), promise):
            found = float(threshold), float(chosen.mean())
        elif found[1]:
            break
    return found


def _ties_torn(confidence: np.ndarray, right: np.ndarray, promise: float) -> tuple[float, float]:
    """One image after the other, the surest first, also among images that are equally sure."""
    order, found = np.argsort(-confidence, kind="stable"), (math.inf, 0.0)
    for count in range(1, len(order) + 1):
        if _low(int(right[order[:count]].sum()), count, promise):
            found = float(confidence[order[count - 1]]), count / len(order)
    return found


def _of_all(confidence: np.ndarray, right: np.ndarray, promise: float) -> tuple[float, float]:
    """Counts what is not answered as wrong."""
    for threshold in np.unique(confidence):
        chosen = confidence >= threshold
        if end_of_interval(int(right[chosen].sum()), len(right), -1) >= promise:
            return float(threshold), float(chosen.mean())
    return math.inf, 0.0


careful = answered_by(_low)
THRESHOLDS: dict[str, Choose] = {
    "You go by the share of right answers itself. Of the few answers on which it was chosen it is true; of the next ones it may be less. Ask for the interval's lower end.": answered_by(
        _share
    ),
    "You go by the *upper* end of the interval: so good it might be. A promise is about how bad it might be.": answered_by(
        _high
    ),
    "You go from the surest answers down and stop where the promise first breaks. It may hold again further down, where there are more images and the interval is narrower. The lowest threshold of all is asked for.": _until_it_breaks,
    "That is the *highest* threshold that keeps the promise. It answers fewer images than it could.": answered_by(
        _low, highest=True
    ),
    "An image whose confidence *equals* the threshold is answered, too: `>=`.": answered_by(
        _low, strict=True
    ),
    "You go image by image, and stop between images that are equally sure. No threshold can answer one of them and leave the other.": _ties_torn,
    "You divide by all images. What a human answers is no mistake of the model's: the promise is about the answered ones.": _of_all,
}


def covering(
    *,
    sign: int = 1,
    after_only: bool = False,
    accumulate: bool = False,
    own_class: bool = False,
    channels: slice = slice(None),
    transposed: bool = False,
    absolute: bool = False,
    scaled: bool = False,
    black: bool = False,
) -> Cover:
    """An occlusion map, with one thing done otherwise."""

    def cover(predict, image, class_index, side, step, fill):  # type: ignore[no-untyped-def]
        height, width = image.shape[:2]
        tops, lefts = (range(0, size - side + 1, step) for size in (height, width))
        stack, now = [image], image.copy()
        for top, left in itertools.product(tops, lefts):
            now = now.copy() if accumulate else image.copy()
            now[top : top + side, left : left + side, channels] = 0 if black else fill
            stack.append(now)
        found = predict(np.stack(stack))
        column = int(found[0].argmax()) if own_class else class_index
        falls = found[1:, column] if after_only else sign * (found[0, column] - found[1:, column])
        falls = falls.reshape(len(tops), len(lefts))
        falls = np.abs(falls) if absolute else falls / falls.max() if scaled else falls
        return falls.T if transposed else falls

    return cover


occlusion = covering()
COVERS: dict[str, Cover] = {
    "the signs are turned round. Where covering *lowers* the probability, the number is positive: without minus with patch.": covering(
        sign=-1
    ),
    "you return the probability under the patch. The fall is asked for: what it was without the patch, less what it is with it.": covering(
        after_only=True
    ),
    "the earlier patches are still there when the next is laid: each must begin with a fresh copy of the image.": covering(
        accumulate=True
    ),
    "you watch the class that the model holds most probable, and not the one that was asked for. The map of another class is a question one may ask, too.": covering(
        own_class=True
    ),
    "only the first channel is covered. Red is gone, and green and blue still show what is there.": covering(
        channels=slice(1)
    ),
    "you take the absolute value. Where covering *raises* the probability, something spoke against the class, and the number is negative: keep the difference.": covering(
        absolute=True
    ),
    "the map is divided by its maximum. Then nobody can see any more whether covering costs 50 points or half a point.": covering(
        scaled=True
    ),
    "the patch is black, and not `fill`.": covering(black=True),
    "rows and columns have changed places.": covering(transposed=True),
}
