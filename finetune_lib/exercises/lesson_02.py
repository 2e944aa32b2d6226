"""Exercises of lessons 02a and 02b: limits of the rate, gradients by hand, losses and loops that fit, a schedule."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from finetune_lib import checks, descent
from finetune_lib.exercises import networks_02

RUNS = {  # what to think of, should a run be judged wrongly
    "A": "Rate times curvature is 2.1 along the steepest direction of run A. By what does each step multiply the error there?",
    "B": "Rate times curvature is 1.9 along the steepest direction of run B: each step jumps over the bottom. Is the error on the other side larger or smaller?",
    "C": "Run C is beyond 2 / λ, but that is the limit of plain descent. Where is the heavy ball's?",
    "D": "Run D is Nesterov's, not the heavy ball: it takes the gradient ahead of where it stands, and its limit is lower than plain descent's, not higher.",
    "E": "In run E the inputs were halved, and inputs enter the curvature as squares. What is the largest curvature now?",
    "F": "A rate of 0.005 looks small, but in run F the loss is a sum over 50 examples. What does that do to the curvature?",
}


@checks.task(
    "Find rate times largest curvature for each run. For E and F ask first what has become of the curvature.",
    "That product must stay below 2 for plain descent, below 2(1 + m) for the heavy ball, and below 2(1 + m)/(1 + 2m) for Nesterov.",
)
def which_arrive(answer: str | Sequence[str]) -> str:
    text = answer if isinstance(answer, str) else " ".join(str(letter) for letter in answer)
    letters = re.findall(r"\w", re.sub(r"\band\b", " ", text.lower()))
    named = {letter.upper() for letter in letters}
    if not letters or named - set(RUNS) or len(named) < len(letters):
        raise checks.Incorrect(
            f'Name the runs that arrive by their letters, each once, such as "AF"; your answer is {answer!r}.'
        )
    wrong = [letter for letter in RUNS if (letter in named) != (letter in "BCE")]
    if wrong:
        raise checks.Incorrect(
            f"{len(RUNS) - len(wrong)} of the six runs are judged rightly. {RUNS[wrong[0]]}"
        )
    return "One product decides: rate times largest curvature. Its limit is 2 for plain descent, 3.8 for the heavy ball and 1.36 for Nesterov with momentum 0.9. The scale of the inputs, and sum or mean, change the curvature and nothing else."


def _tell(found: np.ndarray, right: np.ndarray, stories: dict[str, np.ndarray], otherwise: str) -> None:
    """Raise if numbers are not the right ones: with the story of the wrong ones that they are, if it is known."""
    if not np.allclose(found, right, rtol=1e-5, atol=1e-6):
        known = [story for story, wrong in stories.items() if np.allclose(found, wrong, rtol=1e-5, atol=1e-6)]
        raise checks.Incorrect([*known, otherwise][0])


def _path(optimizer: keras.optimizers.Optimizer) -> np.ndarray:
    """Where an optimizer of Keras goes from 1 if the slope is 1, 1, 1, -1, 0, 2."""
    variable, path = keras.Variable(1.0), []
    for slope in (1.0, 1.0, 1.0, -1.0, 0.0, 2.0):
        optimizer.apply([tf.constant(slope)], [variable])
        path.append(float(variable))
    return np.array(path)


@checks.task(
    "Multiply the average by minus the rate and call that v. How does v change at a step?",
    "v ← beta v - rate (1 - beta) g. Compare with Keras' v ← m v - a g, term by term.",
)
def keras_sgd(answer: Callable[[float, float], keras.optimizers.Optimizer]) -> str:
    for rate, beta in ((0.01, 0.9), (0.3, 0.8), (0.2, 0.0), (0.1, 0.99)):
        found = checks.call(answer, rate, beta)
        if not isinstance(found, keras.optimizers.Optimizer):
            raise checks.Incorrect(
                f"Your function should return an optimizer, such as `keras.optimizers.SGD(...)`, not {found!r:.60}."
            )
        sgd, right_rate = keras.optimizers.SGD, rate * (1 - beta)
        path, right = _path(found), _path(sgd(right_rate, momentum=beta))
        copied = _path(sgd(rate, momentum=beta))
        divided = _path(sgd(rate / (1 - beta), momentum=beta))
        exchanged = _path(sgd(right_rate, momentum=1 - beta))
        forgetful = _path(sgd(right_rate))
        nesterov = _path(sgd(right_rate, momentum=beta, nesterov=True))
        case = f"For a rate of {rate} and beta = {beta}"
        stories = {
            f"{case}: those are the colleague's two numbers. Look at the very first step, when the average and the velocity start at zero: how far does each go for a gradient g?": copied,
            f"{case}: the factor {1 - beta:.2g} is the right one, but you divide by it. Keras' velocity already sums up gradients that the average weighs down.": divided,
            f"{case}: momentum is what *remains* of the speed at a step. You let {1 - beta:.2g} of it remain.": exchanged,
            f"{case}: the first step is right, the second not. Your optimizer has no momentum, and forgets the first.": forgetful,
            f"{case}: the two numbers are right, but Nesterov's variant looks ahead, which the loop does not.": nesterov,
        }
        otherwise = f"{case}, the loop's first step for a gradient of 1 is {right[0] - 1:+.3g} and its second {right[1] - right[0]:+.3g}; your optimizer's are {path[0] - 1:+.3g} and {path[1] - path[0]:+.3g}. Do both numbers depend on what your function is given?"
        _tell(path, right, stories, otherwise)
    return "So `SGD(0.001, momentum=0.9)` is a rate of 0.01 along an average of the gradients, and a recipe's rate means nothing without its convention. There is a third, PyTorch's: v ← m v + g, w ← w - a v. It agrees with Keras' as long as the rate is constant; when a schedule lowers it, Keras' velocity still remembers the old one."


@checks.task(
    "The head's gradient is lesson 02a's: features times error, averaged. For the features, ask how much z_k grows if h_j does: it is W_jk.",
    "With `errors` = (p - onehot) / n, of shape (examples, classes): `features.T @ errors`, and errors times the head, turned so that the shapes fit.",
)
def two_gradients(answer: Callable[[np.ndarray, np.ndarray, np.ndarray], Any]) -> str:
    generator = np.random.default_rng(2)
    for examples, width, classes, size in ((8, 5, 3, 1.0), (4, 3, 6, 1.0), (5, 2, 4, 10_000.0)):
        features, head = generator.normal(size=(examples, width)), generator.normal(size=(width, classes))
        features, labels = size * features, generator.integers(0, classes, examples)
        found = checks.call(answer, features.copy(), head.copy(), labels.copy())
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise checks.Incorrect(
                f"Return two arrays, the head's gradient and the features', not one {type(found).__name__}."
            )
        p = descent.softmax(features @ head)
        errors = (p - np.eye(classes)[labels]) / examples
        _compare("head", np.asarray(found[0], float), lambda e, h=features: h.T @ e, errors, p)
        _compare("features", np.asarray(found[1], float), lambda e, w=head: e @ w.T, errors, p)
    return "That is a step of backpropagation: errors times what came in, for the layer's own weights, and errors times the weights, for everything below. With a head of zeros the second is zero, whatever the errors are."


def _compare(name: str, found: np.ndarray, chain: Callable, errors: np.ndarray, p: np.ndarray) -> None:
    """Raise if a gradient is not ``chain(errors)``."""
    if found.shape != (shape := chain(errors).shape):
        turned = " It looks as if it were turned on its side." if found.shape == shape[::-1] else ""
        raise checks.Incorrect(
            f"A gradient has a slope for every number. For the {name} it should have the shape {shape} here; yours has {found.shape}.{turned}"
        )
    gradient, right, examples = f"The gradient of the {name}", chain(errors), len(errors)
    summed, uphill, unwanted = chain(errors * examples), chain(-errors), chain(p / examples)
    stories = {
        f"{gradient} is {examples} times too large for {examples} examples: that is the sum's, and the loss is a mean.": summed,
        f"{gradient} has the wrong sign: that way is downhill. The minus comes with the step.": uphill,
        f"{gradient} pushes every class down, the right one, too. What is wanted of the right class has not been subtracted.": unwanted,
    }
    otherwise = f"{gradient} is off by up to {np.abs(found - right).max():.2g}, where the largest slope is {np.abs(right).max():.2g}. Nudge one weight and see."
    if np.isnan(found).any():
        otherwise = f"{gradient} is NaN where logits are in the thousands: exp() overflows. `descent.softmax` subtracts the largest logit first."
    _tell(found, right, stories, otherwise)


@checks.task(
    "Print `model(pixels[:2])`: can these numbers be what `sparse_categorical_crossentropy` expects unless told otherwise?",
    "Numbers below 0 are no probabilities. `keras.losses.SparseCategoricalCrossentropy` has an argument for that; how can a function see, from a model's outputs, which of the two they are?",
    "`from_logits=True` if the outputs are negative anywhere, or do not add up to 1; else `from_logits=False`.",
)
def matching_loss(answer: Callable[[keras.Model], Any]) -> str:
    generator = np.random.default_rng(3)
    inputs, labels = generator.normal(size=(40, 4)).astype("float32"), generator.integers(0, 5, 40)
    for softmax in ("no softmax", "a softmax as activation", "a layer Softmax"):
        activation = "softmax" if "activation" in softmax else None
        spread = keras.initializers.RandomNormal(0, 1.5, seed=4)
        dense = keras.layers.Dense(5, activation, kernel_initializer=spread)
        model = keras.Sequential([keras.Input((4,)), dense])
        if "layer" in softmax:
            model.add(keras.layers.Softmax())
        loss = checks.call(answer, model)
        if isinstance(loss, str | type) or not callable(loss):
            raise checks.Incorrect(
                f"Return a loss object, such as `keras.losses....(...)`, whose settings you choose, not {loss!r:.60}. Of a name Keras makes a loss with default settings, and one of these is the bug."
            )
        outputs = np.asarray(model(inputs))
        try:
            found = float(np.mean(loss(labels, outputs)))
        except Exception as error:
            raise checks.Incorrect(
                f"Given labels that are whole numbers, your loss raised {type(error).__name__}: {error}. Keras has one cross-entropy for whole numbers and another for one column a class; their names differ in a word."
            ) from None
        _examine_loss(found, softmax, outputs, labels)
    return "Logits given for probabilities are clipped to between nearly 0 and nearly 1, and what is clipped has no slope: only the few outputs in between learn. A head of zeros would have learned nothing, ever, at a loss of log 10 = 2.303. It is why `fitting.fit` picks the loss by itself, and says which."


def _examine_loss(found: float, softmax: str, outputs: np.ndarray, labels: np.ndarray) -> None:
    """Raise if a loss is not the cross-entropy of these outputs."""
    classes, rows = outputs.shape[1], np.arange(len(labels))
    likely = [np.clip(p, 1e-7, 1)[rows, labels] for p in (descent.softmax(outputs), outputs)]
    as_logits, as_probabilities = (float(-np.log(p).mean()) for p in likely)
    right = as_logits if softmax == "no softmax" else as_probabilities
    if math.isclose(found, right, rel_tol=1e-3):
        return
    start = f"For a model with {softmax}, the mean loss is {right:.3f}; yours says {found:.3f}."
    if softmax == "no softmax":
        span = f"from {outputs.min():.1f} to {outputs.max():.1f}"
        raise checks.Incorrect(f"{start} It reads these outputs, {span}, as probabilities.")
    if math.isclose(found, as_logits, rel_tol=1e-3):
        lowest = math.log(1 + (classes - 1) / math.e)
        story = f"It takes the softmax of a softmax, which is nearly flat: even were every answer right and certain, this loss could not fall below {lowest:.2f}. (Keras notices and warns if it sees the softmax as the model's last step; given plain arrays, or with another layer in between, it does not.)"
        raise checks.Incorrect(f"{start} {story}")
    raise checks.Incorrect(f"{start} It is no cross-entropy of these outputs.")


@checks.task(
    "Which list of weights holds those that may move? And what did lesson 02b tell the tape, in section 6?",
    "Make the tape with `watch_accessed_variables=False`, and let it `watch(weight.value)` for each weight in `model.trainable_weights`; ask for their slopes only, and apply these.",
)
def train_step(answer: Callable) -> str:
    generator = np.random.default_rng(5)
    images = tf.constant(generator.normal(size=(12, 4)), tf.float32)
    labels = tf.constant(generator.integers(0, 3, 12))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for frozen in (("body", "middle"), ("body",), ()):
        model, visits = networks_02.spied_model()
        for name in frozen:
            model.get_layer(name).trainable = False
        with tf.GradientTape() as tape:
            value = loss(labels, model(images))
        slopes = tape.gradient(value, [weight.value for weight in model.weights])
        visits.clear()
        before = model.get_weights()
        try:
            found = checks.call(answer, model, keras.optimizers.SGD(0.1), loss, images, labels)
        except checks.Incorrect as wrong:
            if "No gradients provided" not in str(wrong):
                raise
            raise checks.Incorrect(
                "No slope came back: the tape watches nothing of what you ask it for. With `watch_accessed_variables=False` it has to be told, `tape.watch(weight.value)` for each weight that learns, before the model is called."
            ) from None
        moves = [new - old for new, old in zip(model.get_weights(), before, strict=True)]
        _examine_moves(model, moves, [-0.1 * slope.numpy() for slope in slopes])
        if visits and frozen:
            story = "The right arrays move, and the others do not. But the spy saw a backward pass come through the frozen layers: the tape watches every variable that was created trainable, asks for their slopes on the way down, and throws them away. In a large network that is most of the time."
            raise checks.Incorrect(story)
        if not math.isclose(before_step := float(np.mean(found)), float(value), rel_tol=1e-3):
            raise checks.Incorrect(
                f"The weights are right. Return the loss before the step, too: {float(value):.3f} here, not {before_step:.3f}."
            )
    return "Two lists decide: what the tape watches is paid for, what is applied moves. `fit` takes care of both. In a `tf.function` TensorFlow would prune the useless backward pass, but a list with frozen weights in it would move them there as well."


def _examine_moves(model: keras.Model, moves: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    """Raise if a frozen array has moved, or if another one has not moved as the gradient says."""
    arrays = list(zip(model.weights, moves, wanted, strict=True))
    frozen = [weight.path for weight in model.weights if not weight.trainable]
    moved = [weight.path for weight, move, _ in arrays if move.any()]
    idle = [weight.path for weight in model.trainable_weights if weight.path not in moved]
    off = [w.path for w, move, right in arrays if not np.allclose(move, right, rtol=1e-2, atol=1e-6)]
    story = ""
    if wrong := [name for name in frozen if name in moved]:
        story = f"{len(frozen)} arrays are frozen, and {len(wrong)} of them have moved, {wrong[0]} for example. To the tape `trainable = False` means nothing, nor to the optimizer: both do as they are told."
    elif not moved:
        story = "No array at all has moved. Are the slopes applied?"
    elif idle:
        story = f"{len(idle + moved)} arrays are to learn, but {', '.join(idle)} stood still. Which layers are frozen is a property of the model that you are given; ask it."
    elif wrong := [name for name in off if name in moved]:
        story = f"{wrong[0]} has not moved by minus the rate times its slope. Does the tape record the loss of these images, and does each slope go to its own weight, once?"
    if story:
        raise checks.Incorrect(story)


@checks.task(
    "Two cases: during the warm-up, and after it. In the second, first find which share of the way down is done, from 0 to 1; never more than 1.",
    "Warm-up: `peak * (step + 1) / warm_up`. After it: `peak * (1 + cos(π done)) / 2`, where `done` counts from the end of the warm-up.",
)
def schedule(answer: Callable[[int, float, int, int], float]) -> str:
    for peak, steps, warm_up in ((3.0, 600, 150), (0.1, 1000, 100), (1.0, 400, 0)):
        looks = (0, warm_up // 2, *(warm_up + share * (steps - warm_up) // 4 for share in range(4)))
        after = (steps - 1, steps, steps + steps // 4, 2 * steps)
        rates = {at: float(checks.call(answer, at, peak, steps, warm_up)) / peak for at in looks + after}
        run = f"In a run of {steps} steps with a warm-up of {warm_up}, step"
        if warm_up:
            _examine_climb(rates, looks[1], run)
        _examine_descent(rates, looks[2:], after, run)
    return "A rate that starts small, because the first steps are the risky ones, and ends small, because the last ones decide how quietly it comes to rest. `descent.cosine(peak, steps, warm_up)` is the course's own, and half a cosine is what `fitting.fit` follows unless told otherwise."


def _examine_climb(rates: dict[int, float], middle: int, run: str) -> None:
    """Raise if the rates, as shares of the peak, do not climb in a straight line from nearly zero."""
    if rates[0] > 0.5:
        constant = (
            " Nor is there anything else: the rate never changes." if len(set(rates.values())) == 1 else ""
        )
        raise checks.Incorrect(
            f"{run} 0 already goes at {rates[0]:.0%} of the peak: there is no warm-up.{constant}"
        )
    if rates[0] == 0:
        raise checks.Incorrect(f"{run} 0 has a rate of 0 and moves nothing: it is wasted.")
    if not abs(rates[middle] - 0.5) <= 0.03:
        story = f"is half-way up, and its rate should be half the peak; it is {rates[middle]:.0%}. Is your climb a straight line?"
        raise checks.Incorrect(f"{run} {middle} {story}")


def _examine_descent(rates: dict[int, float], quarters: tuple, after: tuple, run: str) -> None:
    """Raise if the rates do not go down from the peak along half a cosine, and stay at zero."""
    for done, step in zip((0, 0.25, 0.5, 0.75), quarters, strict=True):
        found, right = rates[step], (1 + math.cos(math.pi * done)) / 2
        if abs(found - right) <= 0.03:
            continue
        story = f"is {done:.0%} of the way down; half a cosine is at {right:.0%} of the peak there, and your schedule at {found:.0%}."
        if done == 0:
            story = f"is the top, and its rate should be the peak; it is {found:.0%} of it. From which step on does your cosine count?"
        elif abs(found - math.cos(math.pi * done)) <= 0.03:
            story += " That cosine goes on to minus the peak, and steps with a negative rate climb: lift it, and halve it."
        elif abs(found - (1 - done)) <= 0.03:
            story += " That is a straight line."
        elif abs(found - math.cos(math.pi * done) ** 2) <= 0.03:
            story += " That is a whole wave, down and up again."
        raise checks.Incorrect(f"{run} {step} {story}")
    for step in after:
        if not abs(rates[step]) <= 0.03:
            story = f"should have a rate of (nearly) zero, and has {rates[step]:.0%} of the peak. What does a cosine do beyond π?"
            raise checks.Incorrect(f"{run} {step} {story}")


question_1 = checks.choice(
    __name__,
    "question_1",
    "c",
    {
        "a": "Lesson 02a ran just beyond the limit from a good start: after fifty steps one would have praised the rate, and after a thousand the loss was more than a million times what it had been.",
        "b": "A loss that falls at every step does not even show that the rate is below the limit; how far, still less.",
        "c": "What falls is the sum over all directions; it may hide one that grows. Watch it for longer, or measure the curvature.",
    },
)

question_2 = checks.choice(
    __name__,
    "question_2",
    "c",
    {
        "a": "The rule is the same, the gradient is not: a sum's is 64 times a mean's. With 0.001 you would crawl.",
        "b": "The other way round. The mean's gradient is the smaller one, so that its rate has to be the larger one.",
        "c": "0.064, for a gradient that is 64 times smaller. Ask of every rate you read: sum or mean?",
    },
)

question_3 = checks.choice(
    __name__,
    "question_3",
    "b",
    {
        "a": "On its floor a descent at a constant rate stays: each step adds as much noise as it takes away, for as long as you like.",
        "b": "The floor is in proportion to the rate, and to one over the batch size. A schedule lowers the rate by and by.",
        "c": "Momentum 0.9 at the same rate goes on with the rate times ten, and lifts the floor about as much. With a tenth of the rate it would be where you are now.",
    },
)

question_4 = checks.choice(
    __name__,
    "question_4",
    "a",
    {
        "a": "The gradient is a sum of the images' features, and has no part along such a direction. From pretrained weights you keep what they knew, from zeros you keep zeros.",
        "b": "Only weight decay would do that. Plain descent moves nothing along directions in which the loss is flat.",
        "c": "Noise comes with mini-batches, and even their gradients are sums of the images' features: no part of them points there.",
    },
)
