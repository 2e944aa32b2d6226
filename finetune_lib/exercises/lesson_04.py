"""Exercises of lesson 04: what learns, what must not move, and what storing saves."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from finetune_lib import checks
from finetune_lib.exercises import networks_04


@checks.task(
    "The last block of VGG16 hands on 7 x 7 x 512 numbers. How many of them does each pooling pass to the first `Dense`?",
    "A `Dense` layer from n to m numbers has (n + 1) m weights. BatchNormalization stores four numbers for each of its inputs; which of them does descent move?",
    "With n = 7 * 7 * 512, and with n = 512: (n + 1) * 256 + 2 * 256 + 257 * 5.",
)
def weights_of_two_heads(answer: Iterable[float]) -> str:
    found = np.asarray(answer, dtype=float)
    if found.shape != (2,):
        raise checks.Incorrect(
            f"Two numbers are asked for, `[with Flatten, with pooling]`; yours has the shape {found.shape}."
        )
    inputs = np.array([7 * 7 * 512, 512])

    def is_like(numbers: Any) -> bool:
        return np.array_equal(found, numbers)

    right = (inputs + 1) * 256 + 2 * 256 + 257 * 5
    if is_like(right):
        return "6.4 million against 133 thousand: `Flatten` gives each of the 49 places weights of its own, and a few labels have to pay for all of them. Most of a head is decided by what stands in front of its first `Dense`."
    if is_like(right[::-1]):
        raise checks.Incorrect("Both numbers are right, but the head with `Flatten` was asked for first.")
    if is_like(right + 2 * 256):
        raise checks.Incorrect(
            "You count four numbers for each input of BatchNormalization. It has them, but its mean and its variance are not moved by descent: Keras calls them non-trainable, even if nothing is frozen."
        )
    if is_like(right - 2 * 256):
        raise checks.Incorrect(
            "The two `Dense` layers are right, but BatchNormalization learns, too: a scale and a shift for each input."
        )
    if is_like(right - 256 - 5):
        raise checks.Incorrect("The biases are missing: each `Dense` has one for every number it gives.")
    if is_like(right + 14_714_688):
        raise checks.Incorrect(
            "You count the 14,714,688 weights of the base as well; they are frozen. Only what learns was asked for."
        )
    if found[0] == found[1]:
        raise checks.Incorrect(
            "The two heads differ a lot: `Flatten` keeps all 7 x 7 places of every map, pooling makes one number of them."
        )
    off = [
        name for name, is_right in zip(("Flatten", "pooling"), found == right, strict=True) if not is_right
    ]
    raise checks.Incorrect(
        f"The number for the head with {' and that with '.join(off)} is not right. Count layer by layer: the first `Dense`, BatchNormalization, the second `Dense`."
    )


@checks.task(
    "The head goes on from `base.output`, and the model goes from `base.input` to the head's end.",
    "`base.trainable = False` freezes all layers of the base, BatchNormalization as well.",
    "The number: sum `math.prod(weight.shape)` over `model.trainable_weights`.",
)
def with_new_head(answer: Callable[[keras.Model, int], tuple[keras.Model, int]]) -> str:
    for filters, blocks, classes in ((4, 1, 3), (6, 2, 7)):
        base = networks_04.small_base(filters, blocks, seed=filters)
        before = [weight.numpy() for weight in base.weights]
        found: Any = checks.call(answer, base, classes)
        if not isinstance(found, tuple | list) or len(found) != 2 or not isinstance(found[0], keras.Model):
            raise checks.Incorrect("Return two things: the model, and the number of its weights that learn.")
        model, count = found[0], float(found[1])
        _examine_head(model, base, classes)
        if any(not np.array_equal(old, now.numpy()) for old, now in zip(before, base.weights, strict=True)):
            raise checks.Incorrect("The base came with its weights, and your function has changed them.")
        learning = sum(math.prod(weight.shape) for weight in model.trainable_weights)
        right = (filters + 1) * 16 + 17 * classes
        if learning != right:
            raise checks.Incorrect(
                f"The base is frozen, and {learning} weights learn; with {filters} maps and {classes} classes a head as described has {right}. Look at its layers once more: pooling, 16 numbers, classes."
            )
        if count == model.count_params() or count == len(model.trainable_weights):
            what = "all weights" if count == model.count_params() else "arrays"
            raise checks.Incorrect(f"The model is right. Your number, {count:g}, counts {what}.")
        if count != right:
            raise checks.Incorrect(
                f"The model is right, and {right} of its weights learn for a base of {filters} maps and {classes} classes. Your number is {count:g}."
            )
    return "One flat model, frozen below the head, and a count that agrees with the formula. Whoever counts before training notices at once if the flag was set on the wrong thing."


def _examine_head(model: keras.Model, base: keras.Model, classes: int) -> None:
    inside = {id(weight) for weight in base.weights}
    if not inside <= {id(weight) for weight in model.weights}:
        raise checks.Incorrect("The base's layers are not in your model. Go on from `base.output`.")
    if any(isinstance(layer, keras.Model) for layer in model.layers):
        raise checks.Incorrect(
            "That is a model in a model. It computes the right thing, but the task asks for a flat one, in which one can cut anywhere: go on from `base.output` instead of calling the base."
        )
    if any(id(weight) in inside for weight in model.trainable_weights):
        raise checks.Incorrect(
            "The base still learns: some of its weights are among `model.trainable_weights`."
        )
    if not model.trainable_weights:
        raise checks.Incorrect(
            "Nothing learns. `model.trainable = False` freezes the head as well; it is the base that has to keep still."
        )
    images = np.random.default_rng(0).uniform(0, 9, (5, 8, 8, 3)).astype("float32")
    answers = np.asarray(model(images))
    if answers.shape != (5, classes):
        raise checks.Incorrect(
            f"For five images and {classes} classes your model answers with the shape {answers.shape}; it should be (5, {classes})."
        )
    if answers.min() < 0 or not np.allclose(answers.sum(axis=1), 1, atol=1e-4):
        raise checks.Incorrect("The answers are not probabilities: they do not add up to 1 for each image.")


@checks.task(
    "The colleague's flag is right, and set in time. Who looks at it, and when?",
    "`fit` keeps the training step that it built the first time after `compile`.",
    "Compile again between the two stages, with the second rate.",
)
def head_then_all(answer: Callable[..., keras.Model]) -> str:
    for seed in (1, 2):
        base, model = networks_04.pair(seed)
        examples = networks_04.examples(32, seed)
        start, found = networks_04.values(model), networks_04.trained(answer, model, base, model, *examples)
        first = {
            "head": lambda model: model.layers[-1].trainable_weights,
            "all": lambda model: model.trainable_weights,
        }
        rights = {}
        for name, stage in {
            "right": ("head", 0.01),
            "never frozen": ("all", 0.01),
            "rate": ("head", 0.1),
        }.items():
            _, other = networks_04.pair(seed)
            networks_04.descend(other, first[stage[0]](other), examples, 0.1, 3)
            networks_04.descend(other, other.trainable_weights, examples, stage[1], 3)
            rights[name] = networks_04.values(other)
        still = [name for name in start if np.array_equal(start[name], found[name])]
        if len(still) == len(start):
            raise checks.Incorrect("Every weight is as it was, bit for bit: nothing was trained.")
        if "convolution0/kernel" in still:
            raise checks.Incorrect(
                "The base is the same bit for bit after both stages: the second one trained the head only, whatever the base's flag says by then."
            )
        if any(name.startswith("head") for name in still):
            raise checks.Incorrect("The head has not moved. It learns in both stages.")
        if networks_04.near(found, rights["right"]):
            continue
        if networks_04.near(found, rights["never frozen"]):
            raise checks.Incorrect(
                "The base moves now, but in the first stage, too, at the high rate: the random head shakes the base before it has learned anything. The base has to be frozen when the first `fit` starts."
            )
        if networks_04.near(found, rights["rate"]):
            raise checks.Incorrect(
                "Both stages train what they should, but the second at the rate of the first, 0.1. `compile` takes a new optimiser, and with it a new rate."
            )
        raise checks.Incorrect(
            "The base and the head both moved, but the weights are not those of three steps on the head at a rate of 0.1 and then three on everything at 0.01. Change nothing but the order of the colleague's lines and what is missing."
        )
    return "Flags, `compile`, `fit`; flags, `compile`, `fit`. The base's bits prove it: no message would have told."


@checks.task(
    "`fit` runs the whole model in training mode, and that wins over the `training=False` inside. What does BatchNormalization obey instead?",
    "Go through `base.layers`, find those that are a `keras.layers.BatchNormalization`, and set a flag before `compile`.",
)
def statistics_kept(answer: Callable[..., keras.Model]) -> str:
    for seed, names in ((3, ("normalization",)), (4, ("scale_one", "scale_two"))):
        base, model = networks_04.pair(seed, names)
        for name in names:
            base.get_layer(name).moving_variance.assign([2.0, 3.0, 0.5, 1.5])
            base.get_layer(name).moving_mean.assign([0.5, -0.5, 1.0, 0.0])
        examples = networks_04.examples(32, seed)
        start, reference = networks_04.values(model), keras.models.clone_model(model)
        reference.set_weights(model.get_weights())
        found = networks_04.trained(answer, model, base, model, *examples)
        moved = {name for name in start if not np.array_equal(start[name], found[name])}
        if not moved:
            raise checks.Incorrect("Every weight is as it was, bit for bit: nothing was trained.")
        statistics = sorted(name for name in moved if "moving" in name)
        if statistics:
            step = np.abs(found[statistics[0]] - start[statistics[0]]).max()
            raise checks.Incorrect(
                f"{' and '.join(statistics)} moved, the first by up to {step:.2g}. These are the statistics that the base came with; every bit of them must stay."
            )
        if not any(name.startswith("convolution") for name in moved):
            raise checks.Incorrect(
                "The statistics have stayed, and so has everything else in the base: you have frozen the whole of it. Its convolutions are to learn."
            )
        if "head/kernel" not in moved:
            raise checks.Incorrect("The base learns, its statistics stay, but the head is frozen.")
        learning = [w for w in reference.trainable_weights if "convolution" in w.path or "head" in w.path]
        networks_04.descend(reference, learning, examples, 0.01, 2)
        right = {
            name: value
            for name, value in networks_04.values(reference).items()
            if name.startswith(("conv", "head"))
        }
        if not networks_04.near(found, right):
            raise checks.Incorrect(
                "The statistics are the same bit for bit in the end, but during training the layer did not *use* them: the convolutions came out as if each batch had been normalised by its own mean and variance. (Or rate or epochs have changed.) The layer has to run in inference mode while `fit` runs."
            )
    return "A BatchNormalization with `trainable = False` runs on its stored statistics, whatever `fit` says. So what is trained around it meets the same numbers as in use."


@checks.task(
    "Two models that share their layers with the given one: from `model.input` to the output of the layer `cut`, and from a new `keras.Input` through the layers after it.",
    "`names = [layer.name for layer in model.layers]` and `names.index(cut)` say where the layers after the cut begin; call them one after the other.",
    "`predict` once with the first; compile and fit the second on what came out. Its layers are those of `model`, so `model` is trained, too.",
)
def trained_on_stored(answer: Callable[..., keras.Model]) -> str:
    for layers, count, epochs in ((1, 40, 4), (3, 24, 6)):
        examples = networks_04.examples(count, layers)
        model, plain = (networks_04.counted_model(layers, seed=layers) for _ in range(2))
        start, found = (
            networks_04.values(model),
            networks_04.trained(answer, model, model, "pool", *examples, epochs),
        )
        networks_04.descend(plain, plain.trainable_weights, examples, 0.1, epochs, batch=16)
        right, seen = networks_04.values(plain), found.pop("count/seen")
        start.pop("count/seen"), right.pop("count/seen")
        if all(np.array_equal(start[name], found[name]) for name in start):
            raise checks.Incorrect(
                "The model that you return is as it was. Did you train layers of your own instead of the model's?"
            )
        if not np.array_equal(start["convolution/kernel"], found["convolution/kernel"]):
            raise checks.Incorrect(
                "The convolution moved. It lies below the cut and has to stay, bit for bit."
            )
        names = {name.split("/")[0] for name in right if name.startswith(("hidden", "prob"))}
        moved = {name.split("/")[0] for name in start if not np.array_equal(start[name], found[name])}
        if names - moved:
            raise checks.Incorrect(
                f"After the cut there may be several layers, and all learn. Not moved: {', '.join(sorted(names - moved))}."
            )
        if not all(np.allclose(found[name], value, rtol=0, atol=1e-5) for name, value in right.items()):
            raise checks.Incorrect(
                f"The right layers learn, but they do not end where {epochs} plain epochs end. Rate 0.1, batches of 16, `shuffle=False` and `epochs` have to be as in the plain version."
            )
        if seen > count:
            raise checks.Incorrect(
                f"The same weights, but {seen:.0f} images went through the frozen part, for {count} images. Once for each is enough: store what comes out."
            )
        if seen < count:
            raise checks.Incorrect(f"Only {seen:.0f} of {count} images went through the frozen part.")
    return "The same weights, and each image went through the frozen part once. How much that saves depends on how heavy the part below the cut is, and on the epochs."


@checks.task(
    "Set the gain equal to what is wanted, and solve for K.",
    "K t = E (t + 3 b) / wanted - 3 E b. The largest whole number below it; and what are its limits at both ends?",
    "`max(0, min(epochs, math.floor(K)))`: not even one version may fit, and more than one an epoch are never used.",
)
def versions_that_fit(answer: Callable[[float, float, int, float], int]) -> str:
    cases = (
        (1000, 0, 30, 2.5),
        (1000, 30, 60, 4.0),
        (500, 100, 100, 2.0),
        (1000, 1, 10, 0.5),
        (100, 100, 50, 4.0),
    )
    for t, b, epochs, wanted in cases:
        exact = (epochs * (t + 3 * b) / wanted - 3 * epochs * b) / t
        right = max(0, min(epochs, math.floor(exact)))
        found = float(checks.call(answer, t, b, epochs, wanted))
        if found == right:
            continue
        case = f"With t = {t}, b = {b}, {epochs} epochs and a wanted gain of {wanted:g}"
        if not found.is_integer():
            raise checks.Incorrect(f"{case} you get {found:.2f} versions; half a version cannot be stored.")
        if found == max(0, min(epochs, math.ceil(exact))):
            raise checks.Incorrect(
                f"{case} you round up to {found:g} versions, and the gain falls below what was wanted."
            )
        if found > epochs:
            raise checks.Incorrect(
                f"{case} you store {found:g} versions, and the last ones are never looked at: there is one in each epoch."
            )
        if found < 0:
            raise checks.Incorrect(
                f"{case} you get {found:g}. If not even one version leaves that gain, the answer is 0."
            )
        if found == math.floor(epochs / wanted):
            raise checks.Incorrect(
                f"{case} you get {found:g}, as if the head cost nothing. Here its own work, 3 b an image and epoch, leaves room for {right}."
            )
        if found == max(0, min(epochs, math.floor((epochs * (t + b) / wanted - epochs * b) / t))):
            raise checks.Incorrect(
                f"{case} you get {found:g}: the head's backward pass is missing. An image costs 3 b there, not b."
            )
        raise checks.Incorrect(
            f"{case}, {right} versions fit; you get {found:g}. Put both into the formula of the gain."
        )
    return "For a light head it is nearly epochs / gain: what you store is what you pay. Where the head itself is heavy, a wish may be out of reach even with a single version."


question_1 = checks.choice(
    __name__,
    "question_1",
    "c",
    {
        "a": "`compile` looks at no flag. The list of what to move is made when the training step is built, and that is at the first `fit`.",
        "b": "Keras gives no such message, neither here nor where the flag really is ignored. That is why the bits are worth a comparison.",
        "c": "The training step is built at the first `fit`, and the flag is read then. It is ignored only if it is changed *after* that; still, `compile` last is the order that is always right.",
        "d": "Freezing changes which weights are moved, not what they are. They stay exactly as they were loaded.",
    },
)

question_2 = checks.choice(
    __name__,
    "question_2",
    "b",
    {
        "a": "Only outside of `fit`. In Keras 3, `fit` calls the outer model in training mode, and that wins over the argument inside.",
        "b": "So freeze those layers by their own flag before you compile; or call the base by itself, outside of the model that `fit` trains, and store what it gives.",
        "c": "They have weights that descent moves, the scale and the shift; their mean and variance are overwritten in training mode without any descent, at any rate, even one of 0.",
        "d": "Dropout obeys the mode that it is called in, not `trainable`: it has no weights to freeze. In a frozen base that `fit` runs, it throws dice.",
    },
)

question_3 = checks.choice(
    __name__,
    "question_3",
    "d",
    {
        "a": "`cache` stands before `map` here, so it holds the images as they were loaded. That is the right order, and the trap lies elsewhere.",
        "b": "That is what one expects, and what happens without a seed. Count the different versions, and you see that the seed has taken it away.",
        "c": "Within one epoch the images do differ from each other: each takes the next random number. It is the next pass that begins with the first number again.",
        "d": "In a seeded program `tf.data` starts its random numbers anew with each pass. Make the version a function of seed, image and epoch instead: then it can be repeated *and* differs.",
    },
)

question_4 = checks.choice(
    __name__,
    "question_4",
    "a",
    {
        "a": "40 images are two steps an epoch, so A has made 20 steps and B 1,250. At a rate of 0.001, 20 steps are a stroll. On stored features more of them cost nearly nothing.",
        "b": "It may be so in the end, but this comparison cannot show it: A was stopped on the slope. First give both the same number of steps.",
        "c": "Both have had ten epochs, but an epoch is not a fixed amount of training. What moves the weights is a step.",
        "d": "A frozen base gives the same features whatever the number of images is. The head is what has not come far.",
    },
)
