"""Exercises of lesson 00: the five steps, what learns, and honest numbers."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras

from finetune_lib import checks, classifier, freezing

STEPS = {
    "pick a network that was pretrained on photos": "choose",
    "set the validation and test photos aside": "prepare",
    "train the head, then some layers below it": "fine-tune",
    "measure the accuracy on the test photos": "evaluate",
    "put the model on a server": "deploy",
}


@checks.task(
    "Which of the actions needs none of the others? And which one must not happen before a number is known?",
    "Photos that are to be a fair test must be set aside before anything has been learned from them.",
)
def five_steps(answer: Sequence[str]) -> str:
    named = [STEPS.get(action) for action in answer]
    if None in named or len(set(named)) < len(STEPS):
        raise checks.Incorrect(
            f"Your list should hold each of the five actions once, letter by letter as above; "
            f"{len(set(named) - {None})} of them were found in it."
        )
    place = {step: number for number, step in enumerate(named)}
    if place["evaluate"] < place["fine-tune"]:
        raise checks.Incorrect(
            "You measure a network that has not learned your classes yet. What would come out?"
        )
    if place["prepare"] > place["fine-tune"]:
        raise checks.Incorrect(
            "Photos that are set aside after the training have been learned from already: the test would only "
            "show what the network remembers."
        )
    if place["deploy"] < place["evaluate"]:
        raise checks.Incorrect("You hand out a model before you know how good it is.")
    if place["choose"] > place["prepare"]:
        raise checks.Incorrect(
            "The course chooses the network first: what it was pretrained on says how large the photos have to "
            "be, and whether they are enough."
        )
    return "Choose, prepare, fine-tune, evaluate, deploy."


@checks.task(
    "Fifty images are one batch of 32, and what else?",
    "Divide, and round so that the last, smaller batch is counted: `math.ceil` does that.",
)
def steps_an_epoch(answer: Callable[[int, int], int]) -> str:
    for images, batch_size in ((50, 32), (64, 32), (65, 32), (10, 32), (1000, 8)):
        found, right = checks.call(answer, images, batch_size), math.ceil(images / batch_size)
        if found == right:
            continue
        if found == images // batch_size:
            raise checks.Incorrect(
                f"With {images} images in batches of {batch_size} you get {found}: the last batch, which is not "
                "full, is missing, and its images would never be seen."
            )
        if found == images // batch_size + 1:
            raise checks.Incorrect(
                f"With {images} images in batches of {batch_size} nothing is left over, and you count a step "
                "without images."
            )
        raise checks.Incorrect(
            f"With {images} images in batches of {batch_size}, an epoch is {right} steps; you get {found!r}. Does "
            "your function use both its arguments?"
        )
    return "So 50 images are 2 steps an epoch. A thousand epochs sound like much, and are 2,000 steps."


@checks.task(
    "An array of shape (3, 4) holds 3 times 4 numbers: `math.prod(weight.shape)`.",
    "Sum that over `model.trainable_weights`, and divide by the sum over `model.weights`.",
)
def share_that_learns(answer: Callable[[keras.Model], float]) -> str:
    names = [str(digit) for digit in range(10)]
    models = [freezing.freeze(classifier.build("GlyphNet", names, weights=None)) for _ in range(2)]
    freezing.unfreeze_from(models[1], "block4")
    for model in models:
        learning, everything = model.trainable_weights, model.weights
        count, total = (sum(math.prod(weight.shape) for weight in part) for part in (learning, everything))
        found = float(checks.call(answer, model))
        if math.isclose(found, count / total, rel_tol=1e-3):
            continue
        if math.isclose(found, len(learning) / len(everything)):
            raise checks.Incorrect(
                f"You count arrays: {len(learning)} of {len(everything)}. But one array holds ten numbers, another "
                "147,456."
            )
        if math.isclose(found, count / (total - count), rel_tol=1e-3):
            raise checks.Incorrect(
                "You divide by what is frozen. The share is of all numbers, these included."
            )
        if math.isclose(found, 100 * count / total, rel_tol=1e-3):
            raise checks.Incorrect("That is in per cent; the docstring asks for a share between 0 and 1.")
        where = freezing.boundary(model)
        raise checks.Incorrect(
            f"For a model that is {where}, the share is {count / total:.6f}; your function says {found:.6g}."
        )
    return "With a frozen backbone 0.4% learn; from block 4 on it is three quarters, for that is where most weights are."


@checks.task(
    "Which of the two dictionaries takes part in the decision? Which one should?",
    "Choosing the luckiest of five results is a decision. Decide with `validation`, then look up the test result.",
)
def honest_report(answer: Callable[[dict, dict], tuple[str, float]]) -> str:
    cases: list[tuple[dict[str, float], dict[str, float]]] = [
        ({"A": 0.81, "B": 0.84, "C": 0.80}, {"A": 0.79, "B": 0.82, "C": 0.85}),
        ({"large": 0.90, "small": 0.70}, {"large": 0.75, "small": 0.76}),
    ]
    for validation, test in cases:
        found: Any = checks.call(answer, dict(validation), dict(test))
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise checks.Incorrect(f"Return two things, the name and the accuracy, not {found!r}.")
        name, accuracy = found
        chosen = max(validation, key=lambda key: validation[key])
        if (name, accuracy) == (chosen, test[chosen]):
            continue
        if accuracy == max(test.values()):
            raise checks.Incorrect(
                "You still choose the network whose *test* result is highest. The best of several lucky draws is "
                "luckier than the rest, and the report inherits the luck."
            )
        if (name, accuracy) == (chosen, validation[chosen]):
            raise checks.Incorrect(
                "The choice is right, but you report the accuracy on the images that decided it: the luck has only "
                "moved from the test images to the validation images."
            )
        if name == chosen:
            raise checks.Incorrect(
                f"{name!r} is the right choice; its accuracy on the test images is {test[chosen]}, not {accuracy!r}."
            )
        raise checks.Incorrect(
            f"With the validation accuracies {validation}, {chosen!r} is to be used; you say {name!r}."
        )
    return "Decide on validation images, and read the test once: what is reported is then right on average."


@checks.task(
    "Square both sides of margin = 1.96 √(p (1 - p) / n), and solve for n.",
    "n = 1.96² p (1 - p) / m².",
)
def images_needed(answer: Callable[[float, float], float]) -> str:
    for accuracy, margin in ((0.85, 0.02), (0.85, 0.03), (0.5, 0.05)):
        found = float(checks.call(answer, accuracy, margin))
        right = 1.96**2 * accuracy * (1 - accuracy) / margin**2
        if abs(found - right) <= max(2, 0.05 * right):  # 2 instead of 1.96, or rounded up
            continue
        if math.isclose(found, math.sqrt(right), rel_tol=0.05):
            raise checks.Incorrect(
                "You have the square root of the answer: the number of images stands under a root, so both sides "
                "have to be squared."
            )
        if math.isclose(found, right / 4, rel_tol=0.1):
            raise checks.Incorrect(
                "That gives a quarter of what is needed: an interval that is `margin` wide in all, half of it to each "
                "side? Or one standard deviation instead of 1.96?"
            )
        raise checks.Incorrect(
            f"For an accuracy of {accuracy} within {margin} it takes about {right:,.0f} images; you get {found:,.0f}. "
            "It depends on both, and on the margin most."
        )
    return "Within two points takes 1,225 images, within one point four times as many."


question_1 = checks.choice(
    __name__,
    "question_1",
    "b",
    {
        "a": "Storing the features is a way to save time that the library uses, not what frozen means: a new image has "
        "to run through the network, too, or nothing could be predicted.",
        "b": "And since it always gives the same features, one may compute them once and store them.",
        "c": "That is fine-tuning with a small rate. Frozen weights do not move at all, to the last bit.",
    },
)

question_2 = checks.choice(
    __name__,
    "question_2",
    "c",
    {
        "a": "Eight images are fewer than chance moves a result of 891: its 95% interval is some 2 points wide to "
        "either side, more if images by the same writer are alike.",
        "b": "A difference that chance may explain is not shown to be zero either. B may well be better.",
        "c": "Lesson 06 tells when two results on the same images do differ: there one counts only the images on "
        "which they disagree.",
    },
)

question_3 = checks.choice(
    __name__,
    "question_3",
    "a",
    {
        "a": "What is common to most photos does not have to be learned again; the few labels are left for what is "
        "special about mushrooms.",
        "b": "It need not have seen a single mushroom: GlyphNet had never seen a digit. What transfers are features "
        "that other pictures share.",
        "c": "It works, only worse with few labels: in lesson 00 it came out below the frozen features, and in "
        "the README's benchmark, with twenty labels a class and more steps, it has caught up with them.",
    },
)
