"""Exercises of lesson 03: pixels, weights, names, streams, splits and seeds."""

import collections
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from finetune_lib import checks


@checks.task(
    "`prepare` makes -1 of black and 1 of white. What does the `Rescaling` layer make of these two numbers?",
    "For white: 1 times 1/127.5, less 1, is -0.992.",
)
def preprocessed_twice(answer: Sequence[float]) -> str:
    found = np.array(answer, dtype=float)
    if found.shape != (2,):
        raise checks.Incorrect(f"The answer is two numbers in brackets, `[black, white]`, not {answer!r}.")
    step = 1 / 127.5

    def is_near(black: float, white: float) -> bool:
        return bool(np.abs(found - [black, white]).max() < 0.003)

    if is_near(-1 - step, -1 + step):
        return "Black and white should be 2 apart and are 0.016 apart: a nearly black picture, whatever it shows. Arithmetic does not notice that it was done before, so there is no error and no warning. The cure is to have one place for it, inside the model."
    wrong = [(-1, 1), (-1 + step, -1 - step), (-1, -1), (-step, step), (0, 255)]
    stories = [
        "That is what arrives if only one of the two is at work. The layer cannot know that somebody was there before: it multiplies and subtracts once more.",
        "The right numbers in the wrong order: black comes first.",
        "Nearly, but if both were the same, no network could tell a 1 from an 8. Calculate to three decimals: a little is left between them.",
        "You have multiplied twice and subtracted nothing the second time. The layer has an offset, too.",
        "That is how images are stored. They go through `prepare`, and then through the layer.",
    ]
    for values, story in zip(wrong, stories, strict=True):
        if is_near(*values):
            raise checks.Incorrect(story)
    raise checks.Incorrect(
        f"You expect {found[0]:.4g} for black and {found[1]:.4g} for white. Take white: `prepare` makes 1 of 255. Now put that 1 through the layer: times its scale, plus its offset. Then the same for black."
    )


@checks.task(
    "`np.unique(labels, return_counts=True)` gives the classes and their sizes. With `power` 0 all weights are 1.",
    "Take `weights = sizes ** -power`, with sizes as floats. Averaged over the images, class by class, that is `(sizes * weights).sum() / sizes.sum()`: divide by it.",
)
def soft_weights(answer: Callable[[np.ndarray, float], Mapping[int, float]]) -> str:
    cases = [([0] * 30 + [1] * 6, 1.0), ([1] * 9 + [0] * 4 + [2], 0.5), ([2] * 8 + [0] * 2 + [1] * 4, 0.0)]
    for listed, power in [*cases, (cases[1][0], 1.0)]:
        labels = np.array(listed)
        found = checks.call(answer, labels.copy(), power)
        sizes = {label: listed.count(label) for label in sorted(set(listed))}
        if not isinstance(found, Mapping) or not set(sizes) <= set(found):
            raise checks.Incorrect(
                f"Return a dictionary with each class number of `labels` as a key: `fit` looks the weight of an image up by its label. For labels with the classes {list(sizes)}, yours was: {found!r}."
            )
        _judge_weights(sizes, power, {label: float(found[label]) for label in sizes})
    return "With power 1 each class has the same say, with 0 each image, with 1/2 something in between. And because the weights are 1 on average over the images, the learning rate that was right before stays right."


def _judge_weights(sizes: dict[int, int], power: float, found: dict[int, float]) -> None:
    total = sum(sizes.values())

    def weights(power: float) -> dict[int, float]:
        mean = sum(size ** (1 - power) for size in sizes.values()) / total
        return {label: size**-power / mean for label, size in sizes.items()}

    def is_like(other: dict[int, float], scale: float = 1.0) -> bool:
        return all(math.isclose(found[label], scale * other[label], rel_tol=1e-3) for label in sizes)

    right = weights(power)
    if is_like(right):
        return
    case = f"For classes of {', '.join(map(str, sizes.values()))} images and power {power:g}"
    first = next(iter(sizes))
    if is_like(right, found[first] / right[first]):
        mean = sum(size * found[label] for label, size in sizes.items()) / total
        raise checks.Incorrect(
            f"{case}, your weights stand in the right proportion to each other, but averaged over the images they are {mean:.3g}, not 1. The loss would be {mean:.3g} times as large as without weights, and so would every step of plain gradient descent. Mind that a large class holds more of the images."
        )
    if is_like(weights(1.0)):
        raise checks.Incorrect(f"{case}, you give the weights of power 1. Does your function use `power`?")
    if is_like(weights(0.0)):
        raise checks.Incorrect(f"{case}, every weight is 1, so that the large classes have most of the say.")
    if found[max(sizes, key=lambda label: sizes[label])] > found[min(sizes, key=lambda label: sizes[label])]:
        raise checks.Incorrect(
            f"{case}, the largest class gets the largest weight, {max(found.values()):.3g}: that makes the imbalance worse. The exponent is negative."
        )
    raise checks.Incorrect(f"{case}, the weights are {_listed(right)}; you give {_listed(found)}.")


def _listed(weights: dict[int, float]) -> str:
    return ", ".join(f"{value:.3f}" for value in weights.values())


@checks.task(
    "Take one prediction. What is it called, if the model says it? And where does that name stand in the other list?",
    "`model_names[number]` is the name, and `list(folder_names).index(name)` the number that the folders give it.",
)
def right_names(answer: Callable[[np.ndarray, list[str], list[str]], Sequence[int]]) -> str:
    flowers = ["dandelion", "daisy", "tulips", "sunflowers", "roses"]  # as TensorFlow Datasets has them
    trees = ["oak", "ash", "elm", "yew", "fir", "box", "bay"]
    for model_names, folder_names in ((flowers, sorted(flowers)), (trees, sorted(trees)), (trees, trees)):
        count = len(model_names)
        predictions = np.array([*range(count), 2, 0, 2])
        found = np.asarray(checks.call(answer, predictions.copy(), list(model_names), list(folder_names)))
        if found.shape != predictions.shape:
            raise checks.Incorrect(
                f"{len(predictions)} predictions went in, and an answer of shape {found.shape} came out: one number for each prediction is asked for."
            )
        if found.dtype.kind not in "iuf":
            raise checks.Incorrect(
                f"Names are what connects the two lists, but the truth is stored as numbers: give {folder_names[0]!r} its number among the folders, 0, rather than {str(found[0])!r}."
            )
        right = np.array([folder_names.index(model_names[number]) for number in predictions])
        if np.array_equal(found, right):
            continue
        if np.array_equal(found, predictions):
            raise checks.Incorrect(
                f"The numbers come back unchanged: class 0 is {model_names[0]!r} for the model and {folder_names[0]!r} for the folders."
            )
        inverse = [model_names.index(folder_names[number]) for number in predictions]
        if np.array_equal(found, inverse):
            raise checks.Incorrect(
                "You go the wrong way round: you look a prediction up among the folders and return the model's number for that name. The prediction is the model's, so its name stands in the model's list."
            )
        wrong = int(np.flatnonzero(found != right)[0])
        raise checks.Incorrect(
            f"The model says {predictions[wrong]}, which it calls {model_names[predictions[wrong]]!r}; among the folders that is number {right[wrong]}. Your function says {found[wrong]}. Does it use both lists?"
        )
    return "Numbers of classes mean nothing without the list they belong to: go from number to name to number. So keep the class names with every model that you save."


@checks.task(
    "What comes before `cache` is done once and remembered, what comes after it is done in every epoch. What should be remembered?",
    "`map(decode)`, then `cache()`, then `map(augment)`.",
)
def fresh_every_epoch(answer: Callable[..., tf.data.Dataset]) -> str:
    read: list[bytes] = []

    def pixels(file: bytes) -> np.ndarray:
        read.append(file)
        return np.full((2, 2, 3), 10 * float(file), "float32")

    def decode(file: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(pixels, [file], tf.float32), (2, 2, 3))

    changes = itertools.count(1)

    def change() -> np.float32:
        return np.float32(1 + 0.01 * next(changes))

    def augment(image: tf.Tensor) -> tf.Tensor:
        # Not tf.random: whoever has set a global seed would get the same numbers in every epoch.
        return image + tf.ensure_shape(tf.numpy_function(change, [], tf.float32), ())

    files = [b"3", b"7", b"4", b"9", b"5"]
    stream = checks.call(answer, files, decode, augment)
    if not isinstance(stream, tf.data.Dataset):
        raise checks.Incorrect(f"Return a stream, a `tf.data.Dataset`, and not a {type(stream).__name__}.")
    epochs = []
    for _ in range(3):
        images = [np.asarray(image) for image in itertools.islice(iter(stream), 2 * len(files))]
        if len(images) != len(files) or {image.shape for image in images} != {(2, 2, 3)}:
            raise checks.Incorrect(
                f"For {len(files)} files, an epoch of your stream holds {len(images)} things, the first of shape {images[0].shape if images else 'unknown'}. It should hold every file's image once, one at a time."
            )
        epochs.append(sorted(float(image.ravel()[0]) for image in images))
    if not read:
        raise checks.Incorrect(
            "Your stream holds images, but it never called `decode` on the files it was given."
        )
    if epochs[0] == sorted(10 * float(file) for file in files):
        raise checks.Incorrect("Every epoch shows the images as they were decoded: nothing augments them.")
    if epochs[0] == epochs[1]:
        raise checks.Incorrect(
            "The images are changed, but in epoch 2 they are the same as in epoch 1, to the last pixel: the change was remembered, too."
        )
    if len(read) > len(files):
        raise checks.Incorrect(
            f"The images are new in every epoch, but in three epochs {len(files)} files were decoded {len(read)} times. Decoding gives the same every time, and takes long: once is enough."
        )
    if [int(value // 10) for value in epochs[2]] != sorted(int(file) for file in files):
        raise checks.Incorrect("The images of your stream are not those of the files that it was given.")
    return "What is always the same is remembered, what should be new is not. The same goes for `shuffle`: in front of `cache` it is done once, and every epoch has the same order. (If a program calls `keras.utils.set_random_seed`, even this stream repeats its looks; task 6 has the cure, lesson 04 the reason.)"


@checks.task(
    "Draw among the groups, not among the rows: `np.unique(groups)` lists each group once.",
    "`np.random.default_rng(seed).permutation(np.unique(groups))` puts the groups in a random order; take the first ones for the test, at least one, and `np.isin(groups, chosen)` says which rows are theirs.",
)
def whole_groups(answer: Callable[[np.ndarray, float, int], np.ndarray]) -> str:
    shares, splits = [], set()
    for count, share in ((40, 0.25), (3, 0.3), (50, 0.2)):
        generator = np.random.default_rng(count)
        names = np.array([f"patient {number:02}" for number in range(count)])
        groups = generator.permutation(np.repeat(names, generator.integers(1, 9, count)))
        for seed in range(8):
            aside = _aside(answer, groups, share, seed)
            for name in names:
                torn = aside[groups == name]
                if 0 < torn.sum() < len(torn):
                    raise checks.Incorrect(
                        f"Of {name}'s {len(torn)} rows, {torn.sum()} would be tested on and {(~torn).sum()} learned from. The draw has to be among groups, not among rows."
                    )
            if aside.all() or not aside.any():
                raise checks.Incorrect(
                    f"With {count} groups, share {share} and seed {seed}, nothing is left to {'learn from' if aside.all() else 'test on'}."
                )
            if count == 40:
                splits.add(aside.tobytes())
            shares.append(len(np.unique(groups[aside])) / count - share)
    if len(splits) == 1:
        raise checks.Incorrect(
            "No group is torn, but eight seeds give one and the same split. A single one may be lucky; to see the spread, one has to draw others."
        )
    if abs(np.mean(shares[:8])) > 0.12 or abs(np.mean(shares[-8:])) > 0.12:
        raise checks.Incorrect(
            f"No group is torn, but of 40 groups, a quarter of which should be tested on, {40 * (0.25 + np.mean(shares[:8])):.0f} are, on average over eight seeds. True means: to test on."
        )
    return (
        "Whole groups on either side: what is new to the test is what will be new when the network is used."
    )


def _aside(answer: Callable[..., np.ndarray], groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    first, again = (np.asarray(checks.call(answer, groups.copy(), share, seed)) for _ in range(2))
    if first.shape != groups.shape or (first.dtype != bool and not set(np.unique(first)) <= {0, 1}):
        raise checks.Incorrect(
            f"For {len(groups)} rows, return {len(groups)} times True or False: True where a row is set aside to test on. Yours is an array of shape {first.shape} and type {first.dtype}."
        )
    if not np.array_equal(first, again):
        raise checks.Incorrect(
            f"Two calls with the same groups, share and seed ({seed}) give two splits. Then nobody can check your result, and a second run tests on what the first has learned from."
        )
    return first.astype(bool)


@checks.task(
    "The pair has two places, and three things have to go in. Which two of them could share a place?",
    "Number all versions of all images in a run: epoch 0 takes the numbers 0 to 9,999, epoch 1 those from 10,000 on.",
)
def version_seed(answer: Callable[[int, int, int], tuple[int, int]]) -> str:
    images = {*range(6), 10, 50, 99, 100, 101, 255, 256, 500, 512, 999, 1000, 1024, 4999, 5000, 9998, 9999}
    epochs, runs = {0, 1, 2, 3, 10, 99, 100, 999}, {0, 1, 2, 99, 999}
    start = _pair(answer, 0, 0, 0)
    if _pair(answer, 0, 0, 0) != start:
        raise checks.Incorrect(
            "Two calls with the same run, epoch and image give two seeds. Run the training again, and no picture is as it was."
        )
    # Where epochs or runs step by a number that is itself that of an image, an epoch or a run, they may collide.
    for other in (_pair(answer, 0, 1, 0), _pair(answer, 1, 0, 0)):
        steps = {abs(after - before) for before, after in zip(start, other, strict=True)}
        images |= {step for step in steps if step < 10_000}
        epochs |= {step for step in steps if step < 1000}
        runs |= {step for step in steps if step < 1000}
    seen = collections.defaultdict(list)
    for run, epoch, image in itertools.product(sorted(runs), sorted(epochs), sorted(images)):
        seen[_pair(answer, run, epoch, image)].append((run, epoch, image))
    if len(seen) == 1:
        raise checks.Incorrect(
            f"Every image of every epoch gets the seed {start}: they are all changed in one way."
        )
    for seed, places in seen.items():
        if len(places) > 1:
            raise checks.Incorrect(_shared_seed(seed, places[0], places[1]))
    return "Any picture of any epoch can be made again, alone, in any order and on any number of processor cores, and no two are changed alike. A generator that remembers how often it was asked cannot do that."


def _pair(answer: Callable[..., Any], run: int, epoch: int, image: int) -> tuple[int, int]:
    found = np.asarray(checks.call(answer, run, epoch, image))
    if found.shape != (2,) or found.dtype.kind not in "iu":
        raise checks.Incorrect(
            f"A seed is a pair of whole numbers, `(first, second)`. For run {run}, epoch {epoch}, image {image} yours is of shape {found.shape} and type {found.dtype}."
        )
    if found.min() < -(2**31) or found.max() >= 2**31:
        raise checks.Incorrect(
            f"For run {run}, epoch {epoch}, image {image} you give {tuple(found.tolist())}, which does not fit into 32 bits: from -2**31 up to 2**31 - 1."
        )
    return int(found[0]), int(found[1])


def _shared_seed(seed: tuple[int, int], first: tuple[int, int, int], other: tuple[int, int, int]) -> str:
    one, two = (f"run {run}, epoch {epoch}, image {image}" for run, epoch, image in (first, other))
    names = ("run", "epoch", "image")
    differ = [name for name, was, now in zip(names, first, other, strict=True) if was != now]
    stories = {
        "run": "A second run sees exactly what the first saw, so it says nothing about the spread.",
        "epoch": "The image looks the same in both epochs, as if its augmentation had been cached.",
        "image": "Both images are turned and shifted alike.",
    }
    together = f"They differ in {' and '.join(differ)}, and the differences cancel out."
    story = stories[differ[0]] if len(differ) == 1 else together
    return f"`{one}` and `{two}` get the same seed, {seed}. {story}"


question_1 = checks.choice(
    __name__,
    "question_1",
    "b",
    {
        "a": "Any array of the right shape runs through any network. Wrong pixels raise no error: they only cost points, few or nearly all.",
        "b": "Blue, green, red, less ImageNet's mean: ResNet50 has learned from these numbers, and its weights mean something for no others. Best of all, put it inside the model, where nobody forgets it.",
        "c": "There is no form that suits all: each network's weights fit the form that it was pretrained on. For one that was trained on blue, green, red in -124 to 151, a deviation of 1 is a picture without contrast.",
        "d": "The frozen weights cannot adapt, and if they could, you would spend your few labels on learning anew what the network already knew about the right pixels.",
    },
)

question_2 = checks.choice(
    __name__,
    "question_2",
    "c",
    {
        "a": "Photos of flowers may be mirrored, and most recipes do it. But a mirrored sign for `turn left` is one for `turn right`, under the old label.",
        "b": "Turned by half, an arrow to the left points to the right: the label would be wrong.",
        "c": "Light and shade change from hour to hour, and the sign means the same. Look at a grid of pictures before you train: could you still read every one?",
        "d": "More variety helps as long as the label stays true. A change that turns one class into another teaches mistakes, and the more of it, the more of them.",
    },
)

question_3 = checks.choice(
    __name__,
    "question_3",
    "a",
    {
        "a": "What is new in use is the camera, with its place, its light and its background; so it has to be new in the test.",
        "b": "More images make chance smaller, and the leak not at all: every frame still has near-copies of itself among the frames that were learned from.",
        "c": "That would imitate another future: the same ten cameras, later. It is right if that is where the network will be used, and too good for cameras that it has never seen.",
        "d": "A hash finds copies that are equal in every byte. Two frames of a deer that stands still differ in noise, and no hash tells.",
    },
)

question_4 = checks.choice(
    __name__,
    "question_4",
    "b",
    {
        "a": "The first network recognises no sick plant at all, and its accuracy is 98% because 98% of the plants are healthy. Accuracy is the wrong judge where one class is most of the images.",
        "b": "From (100 + 0) / 2 to (95 + 80) / 2 per cent. Weights trade mistakes of one kind for another; which kind costs more is not a question about networks.",
        "c": "Weights let twenty plants count as much as the others, but they are still the same twenty: the network has seen no other sick plant, and more of them would help it more.",
    },
)
