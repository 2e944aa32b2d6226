"""Exercises of lesson 06: numbers on paper, a test for writers, two readings, a promise, a map without gradients."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import scipy.special
import tensorflow as tf

from finetune_lib import checks
from finetune_lib.exercises import mistakes_06


def _tell(stories: Mapping[str, Any], start: str = "") -> None:
    """Raise with the first story that holds."""
    for story, holds in stories.items():
        if holds:
            raise checks.Incorrect(start + story)


ON_PAPER: tuple[tuple[str, float, float, dict[str, float]], ...] = (  # name, from, to, wrong ways
    (
        "The number of images",
        3400,
        3650,
        {
            "is for one standard error to either side, which holds the truth in two of three cases only. What factor makes that 95%?": 900,
            "is for an interval of one point *in all*. Plus or minus one is twice as wide.": 13830,
            "is for an accuracy of 50%, the worst case. We know more: about 90%.": 9604,
            "is for plus or minus *two* points.": 864,
            "is the ratio of the widths, which has still to be squared.": 58.8,
            "is for an accuracy of 99%.": 380,
        },
    ),
    (
        "The number of points",
        4.1,
        4.3,
        {
            "is the whole width, from end to end. Asked for is how far it goes to *either* side.": 8.32,
            "is one standard error. What factor makes that 95%?": 2.12,
            "is a share, it seems. In points, please.": 0.0416,
            "is for an accuracy of 50%.": 6.93,
            "is what you get if you divide by the number of images; it is the root of the number.": 0.294,
            "is what a proportion would give: a part of the images, as many times the points. The points grow with the root only.": 17.3,
        },
    ),
    (
        "The percentage",
        18,
        19,
        {
            "is how many of the *defects* are found. We ask the other way round: of the parts that it reports, how many are defective.": 90,
            "is how many of the *good* parts pass. We look at the alarms.": 98,
            "would be right if every other part were defective. Here it is one in 200.": 97.83,
            "is the percentage of *false* alarms among the alarms.": 81.6,
            "is how many of all parts make an alarm. How many of those are defects?": 2.44,
            "is how many of all parts are defects that are found. Divide by the alarms, not by all parts.": 0.45,
            "is a share, it seems. In percent, please.": 0.184,
        },
    ),
)


@checks.task(
    "The interval goes 1.96 standard errors to either side, and a standard error is √(a(1 - a)/n). Solve for n. For the third, think of 20,000 parts.",
    "n = 1.96² · a(1 - a) / 0.01². Of 20,000 parts 100 are defective: 90 alarms are real. And 2% of the 19,900 good ones are false alarms.",
)
def on_paper(answer: Sequence[float]) -> str:
    found = np.asarray(answer, dtype=float)
    if found.shape != (3,):
        raise checks.Incorrect(f"The answer is three numbers in brackets, not {answer!r:.60}.")
    good = [low <= value <= high for value, (_, low, high, _) in zip(found, ON_PAPER, strict=True)]
    for value, is_good, (name, low, _, wrong) in zip(found, good, ON_PAPER, strict=True):
        if not is_good:
            start = f"Numbers that are right: {sum(good)} of 3. {name} is not: {value:g} "
            story = min(wrong, key=lambda story: abs(wrong[story] - value))
            _tell({story: math.isclose(value, wrong[story], rel_tol=0.02)}, start)
            raise checks.Incorrect(f"{start}is too {'small' if value < low else 'large'}.")
    return "About a quarter of the width costs 17 times the images: two or three hundred images tell good from bad, and not good from slightly better. And where defects are rare, most alarms are false, however good 90% and 98% sound: nothing but the mix has done that."


def _writers_cases() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    cases = []
    for seed, (count, lead) in enumerate([(7, 0.75), (5, 0.8), (8, 0.35), (6, 0.25), (4, 0.65), (3, 0.5)]):
        generator = np.random.default_rng(seed)
        writers = np.repeat(generator.permutation(50)[:count], generator.integers(8, 40, count))
        leads = dict(zip(np.unique(writers), np.clip(generator.normal(lead, 0.25, count), 0, 1), strict=True))
        both = generator.random(len(writers)) < 0.8
        wins = generator.random(len(writers)) < np.array([leads[writer] for writer in writers])
        parted = generator.random(len(writers)) < 0.3
        order = generator.permutation(len(writers))
        first, second = np.where(parted, wins, both), np.where(parted, ~wins, both)
        cases.append((first[order], second[order], writers[order]))
    return [*cases, (cases[0][0], cases[0][0], cases[0][2])]


@checks.task(
    "For each writer: `first[mine].sum() - second[mine].sum()`, whole numbers. Then every pattern of signs, the observed one among them: `itertools.product((1, -1), repeat=count)`.",
    "With `totals` as an array and `signs` as an array of all patterns, `signs @ totals` holds all sums. Compare their absolute values with `abs(totals.sum())`, and take the mean.",
)
def writers_test(answer: mistakes_06.Verdict) -> str:
    cases = _writers_cases()
    wrong = dict.fromkeys(mistakes_06.VERDICTS, True)
    first_failure = ""
    for case in cases:
        found = checks.call(answer, *(array.copy() for array in case))
        if isinstance(found, bool) or not isinstance(found, int | float | np.number):
            raise checks.Incorrect(f"Return one number, the share of the patterns, not {found!r:.60}.")
        right = mistakes_06.by_writers(*case)
        for story, verdict in mistakes_06.VERDICTS.items():
            wrong[story] &= bool(np.isclose(verdict(*case), float(found), atol=1e-6, equal_nan=True))
        if not first_failure and not math.isclose(right, found, abs_tol=1e-6):
            totals = mistakes_06.net_wins(*case).tolist()
            first_failure = f"For writers who have won, less lost, {', '.join(map(str, totals))} images, the share is {right:.4f}; yours is {float(found):.4f}."
            near = abs(right - found) < 0.05
    if not first_failure:
        return "Writers are the units that are drawn, so writers are what the test turns over. It needs no formula and no normal distribution. And mind its limit: with seven writers there are 128 patterns, so p is never below 2/128; with five it is never below 0.06, however many images each of them has written."
    _tell({f"{first_failure} {story}": holds for story, holds in wrong.items()})
    if near:
        raise checks.Incorrect(
            f"{first_failure} That is near, but not exact. Do you draw signs at random, or have you left out the pattern that was observed? With so few writers all patterns can be gone through, and then two people get the same p."
        )
    raise checks.Incorrect(
        f"{first_failure} Do you turn over whole writers, each with all images of that writer?"
    )


class _Stream:
    """Images whose prediction can be told from their pixels; in another order at every reading."""

    def __init__(self, images: int, batch: int, *, moves: bool) -> None:
        generator = np.random.default_rng(images)
        self.labels = generator.integers(0, 4, images)
        self.predictions = np.where(generator.random(images) < 0.6, self.labels, (self.labels + 1) % 4)
        self.pixels = (np.eye(4)[self.predictions] + generator.uniform(0, 0.5, (images, 4))).astype("float32")
        self.order, self.batch, self.moves = np.random.default_rng(1), batch, moves

    def dataset(self) -> tf.data.Dataset:
        def read() -> Any:
            rows = np.arange(len(self.labels))
            for row in self.order.permutation(rows) if self.moves else rows:
                yield self.pixels[row], self.labels[row]

        kinds = tf.TensorSpec((4,), "float32"), tf.TensorSpec((), "int64")
        stream = tf.data.Dataset.from_generator(read, output_signature=kinds)
        return stream.apply(tf.data.experimental.assert_cardinality(len(self.labels))).batch(self.batch)


def _pairs(labels: Any, predictions: Any) -> list[tuple[int, int]]:
    return sorted(zip(np.asarray(labels).tolist(), np.asarray(predictions).tolist(), strict=True))


@checks.task(
    "Each reading of the stream has an order of its own. How often does the colleague read it? Where do an image and its label come together for certain?",
    "Go through the stream once: `for images, labels in stream:`. In each turn predict these images, and keep both. At the end `np.concatenate` the parts.",
)
def paired_answers(answer: Callable[[keras.Model, tf.data.Dataset], Any]) -> str:
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Dense(4, use_bias=False, kernel_initializer="identity")(image))
    model.compile(run_eagerly=True)  # each stream has batches of other sizes: nothing is gained by tracing
    for images, batch, moves in ((23, 5, True), (8, 8, True), (23, 4, False)):
        stream = _Stream(images, batch, moves=moves)
        result = checks.call(answer, model, stream.dataset())
        case = f"For a stream of {images} images in batches of {batch}"
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise checks.Incorrect(f"Return two arrays, labels and predictions, not {result!r:.60}.")
        found = [np.asarray(part) for part in result]
        if found[1].ndim == 2 and found[1].shape[-1] == 4:
            raise checks.Incorrect(
                f"{case} your predictions have the shape {found[1].shape}: a number for each class. Which class is it?"
            )
        if found[0].shape != (images,) or found[1].shape != (images,):
            raise checks.Incorrect(
                f"{case} your arrays have the shapes {found[0].shape} and {found[1].shape}; every image belongs in once, also those of a last batch that is smaller."
            )
        _examine_pairs(stream, found[0], found[1], f"{case}, ")
    return "An image and its label meet in one place only, in the batch. `model.evaluate` reads once, too, and was right all the time. `evaluation.evaluate` reads labels and images one after the other, and may: the test streams of `data.load` have a fixed order. Ask that of every stream; Keras' `image_dataset_from_directory` shuffles anew at each reading unless it is told `shuffle=False`."


def _examine_pairs(stream: _Stream, labels: np.ndarray, predictions: np.ndarray, case: str) -> None:
    right = _pairs(stream.labels, stream.predictions)
    if _pairs(labels, predictions) == right:
        if not stream.moves and not np.array_equal(labels, stream.labels):
            raise checks.Incorrect(
                f"{case}whose order is fixed, your pairs are right, but in another order. Leave them as they come: the place is how an image is found again."
            )
        return
    same = sorted(labels) == sorted(stream.labels) and sorted(predictions) == sorted(stream.predictions)
    in_order = np.array_equal(labels, np.sort(labels))
    _tell(
        {
            "the two arrays have changed places: labels first.": _pairs(predictions, labels) == right,
            "the labels come sorted. Sorting one array, or each by itself, tears the pairs apart.": same
            and in_order,
            f"all labels are there and all predictions, but they do not belong together: as pairs, they agree {int((labels == predictions).sum())} times, and should {int((stream.labels == stream.predictions).sum())} times. The stream was read more than once, and each reading has its own order. (A fixed seed would not help: the order of this stream does not come from TensorFlow.)": same,
            "the labels are not those of the stream.": sorted(labels) != sorted(stream.labels),
        },
        case,
    )
    raise checks.Incorrect(f"{case}the labels are right, and the predictions are not the model's.")


def _promises() -> list[tuple[np.ndarray, np.ndarray, float]]:
    cases = []
    for seed, (images, promise) in enumerate(
        [(260, 0.9), (120, 0.8), (200, 0.85), (80, 0.75), (30, 0.98), (300, 0.93), (150, 0.7)]
    ):
        generator = np.random.default_rng(100 + seed)
        confidence = np.round(generator.beta(5, 1.5, images), 2)
        right = generator.random(images) < confidence ** (0.6 if seed % 2 else 0.5)
        cases.append((confidence, right, promise))
    return cases


@checks.task(
    "The candidates are the confidences themselves: `np.unique(confidence)` has each once, in rising order. For each, which images would be answered, and what is the lower end of *their* interval?",
    "Go up from the lowest candidate, with `chosen = confidence >= threshold`, and return the first with `low_end(right[chosen].sum(), chosen.sum()) >= promise`. After the loop: `return np.inf, 0.0`.",
)
def careful_threshold(answer: mistakes_06.Choose) -> str:
    wrong = dict.fromkeys(mistakes_06.THRESHOLDS, True)
    failure = ""
    for confidence, right, promise in _promises():
        result = checks.call(answer, confidence.copy(), right.copy(), promise)
        found = np.asarray(result, dtype=float)
        if found.shape != (2,):
            raise checks.Incorrect(
                f"Return two numbers, the threshold and the share of images answered, not {result!r:.60}."
            )
        best = mistakes_06.careful(confidence, right, promise)
        for story, choose in mistakes_06.THRESHOLDS.items():
            wrong[story] &= bool(np.allclose(choose(confidence, right, promise), found, atol=1e-6))
        if failure or np.allclose(found, best, atol=1e-6):
            continue
        failure = f"With {len(right)} images and a promise of {promise:.0%}, you take the threshold {found[0]:.4g} and answer {found[1]:.1%}; "
        if math.isinf(best[0]):
            failure += "here no threshold keeps the promise, so nobody should be answered: `np.inf` and 0."
        else:
            failure += f"the lowest one that keeps the promise is {best[0]:.4g} and answers {best[1]:.1%}."
        if math.isclose(found[0], best[0], abs_tol=1e-9):
            chosen = confidence >= best[0]
            is_right = math.isclose(found[1], right[chosen].mean() if chosen.any() else 0, abs_tol=1e-9)
            failure += " The threshold is right, and the share is that of the right answers; asked for is the share of all images that is answered."[
                : None if is_right else 24
            ]
    if not failure:
        return "A threshold that is just good enough on the images it was chosen by is too low every other time. The interval's lower end pays for that with fewer answers: the price of a promise made on few images. More validation images make it cheaper. (It is one of many thresholds looked at, so it breaks a little more often than one interval would. And it speaks of images like these.)"
    _tell({f"{failure} {story}": holds for story, holds in wrong.items()})
    raise checks.Incorrect(failure)


@checks.task(
    "The corners lie at 0, step, 2 · step, ... as long as the patch still fits: `range(0, height - side + 1, step)`. For each, a *copy* of the image with `fill` in `[top:top + side, left:left + side]`.",
    "Stack the image and all covered copies, and call `predict` once. Row 0 is the probability without a patch; subtract the others' from it, and `reshape` them to rows and columns of patches.",
)
def occlusion_map(answer: mistakes_06.Cover) -> str:
    for seed, (height, width, side, step) in enumerate([(9, 12, 3, 3), (10, 7, 4, 2), (6, 6, 3, 1)]):
        generator = np.random.default_rng(seed)
        weights = generator.normal(0, 0.04, (height * width * 3, 4))
        image = generator.uniform(0, 4, (height, width, 3)).astype("float32")

        def predict(images: np.ndarray, shape: tuple = image.shape, weights: np.ndarray = weights) -> Any:
            images = np.asarray(images, "float64")
            if images.ndim != 4 or images.shape[1:] != shape:
                raise ValueError(f"predict takes (count, {', '.join(map(str, shape))}), not {images.shape}")
            return scipy.special.softmax(images.reshape(len(images), -1) @ weights, axis=1)

        class_index = int(np.argsort(predict(image[None])[0])[-2])  # not the most probable one
        case = predict, image.copy(), class_index, side, step, 2.0
        result = checks.call(answer, *case)
        found = np.asarray(result, dtype=float)
        if not np.array_equal(case[1], image):
            raise checks.Incorrect(
                "Your function paints on the image that it was given. Whoever calls it twice gets another map the second time: paint on copies."
            )
        right = mistakes_06.occlusion(*case)
        start = f"For an image of {height} x {width}, a patch of {side} and a step of {step}, "
        if found.shape != right.shape and found.shape != right.T.shape:
            raise checks.Incorrect(
                f"{start}{right.shape[0]} x {right.shape[1]} patches lie wholly inside, the last one at the edge or just before it; your map has the shape {found.shape}."
            )
        if found.shape == right.shape and np.allclose(found, right, atol=1e-5):
            continue
        for story, cover in mistakes_06.COVERS.items():
            known = cover(predict, image.copy(), *case[2:])
            if known.shape == found.shape and np.allclose(found, known, atol=1e-5):
                raise checks.Incorrect(start + story)
        raise checks.Incorrect(
            f"{start}covering at the upper left corner takes {right.flat[0]:+.4f} from the class's probability, and at the lower right {right.flat[-1]:+.4f}; yours are {found.flat[0]:+.4f} and {found.flat[-1]:+.4f}."
        )
    return "This map asks the model and nothing else: no gradient, no layer to choose, and it works for a model that you can only call. It has its own blind spots: a patch is an unusual picture, too, and if two places say the same, covering one of them costs nothing."


question_1 = checks.choice(
    __name__,
    "question_1",
    "c",
    {
        "a": "Two intervals may overlap while the difference is certain: they say how far each accuracy may be off, and images that are hard for both move both to the same side. That cancels in the difference.",
        "b": "It was higher on these images. Whether it is on others is the question; 25 against 7 is what answers it.",
        "c": "The images that both get right, or both wrong, say nothing. Of the 32 others, 25 speak for one model; a fair coin falls that unevenly, to either side, in about 2 of 1,000 cases. (For new writers one would still count writers.)",
        "d": "More images are welcome, but the images that are there have not been used: paired, they tell the two models apart.",
    },
)

question_2 = checks.choice(
    __name__,
    "question_2",
    "b",
    {
        "a": "A temperature divides all logits of an image alike. The largest stays the largest, so not one answer changes.",
        "b": "The answers stay, the highest probabilities shrink. So a threshold that was set before means something else afterwards: set it anew. And it is fitted for images like the validation images.",
        "c": "The dots lie *below* the line: fewer are right than it says. It is too sure of itself, and a temperature above 1 makes it less so.",
        "d": "Then the test images would have helped to make what they are to judge. The temperature is a parameter, though only one: fit it on validation images.",
    },
)

question_3 = checks.choice(
    __name__,
    "question_3",
    "d",
    {
        "a": "It shows which places spoke for the class, in one layer. Neither that nothing else did, nor why: a map that lies on the lung may be about a tube in it.",
        "b": "A map that surprises you is a good reason to look closer. One that pleases you is not a reason to stop.",
        "c": "Twenty pictures that somebody has chosen are twenty pictures. And even all of them would show where, not why.",
        "d": "A suspicion, or its opposite, has to be tested: cover the place, or put the suspect into other images, and see whether the answers change. Then evaluate on images of another hospital.",
    },
)

question_4 = checks.choice(
    __name__,
    "question_4",
    "b",
    {
        "a": "The interval was computed rightly, for a model that had nothing to do with these images. This one was chosen by them, as the luckiest of thirty.",
        "b": "Thirty looks at the test part make it a validation part: the best of thirty is partly the luckiest. New images have to judge. And they come from a new camera, on which nothing has been measured yet: for that, too, one has to collect some.",
        "c": "A wider interval does not help: it is the middle that is wrong. The reading is too good on average, not just uncertain.",
        "d": "Luck that was in thirty readings does not go away by reading the thirty-first time. And the same images would judge.",
    },
)
