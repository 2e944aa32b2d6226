"""Answers to the exercises of lessons 02a and 02b."""

import keras
import numpy as np
import tensorflow as tf

from finetune_lib import descent


def by_loops(features, head, labels):
    """Both gradients, example by example."""
    by_head, by_features = np.zeros(head.shape), np.zeros(features.shape)
    for row, (feature, label) in enumerate(zip(features, labels, strict=True)):
        error = descent.softmax(feature @ head)
        error[label] -= 1
        by_head += np.outer(feature, error) / len(labels)
        by_features[row] = head @ error / len(labels)
    return [by_head, by_features]


def gradients(mean=True, sign=1, wanted=True, stable=True, turned=False, classes=None):
    """Both gradients, with the mistakes that are asked for."""

    def answer(features, head, labels):
        logits = features @ head
        with np.errstate(over="ignore", invalid="ignore"):
            errors = (
                descent.softmax(logits) if stable else np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            )
        if wanted:
            errors = errors - np.eye(classes or head.shape[1])[labels]
        errors = sign * errors / (len(labels) if mean else 1)
        return features.T @ errors, head @ errors.T if turned else errors @ head.T

    return answer


def features_not_divided(features, head, labels):
    by_head, by_features = by_loops(features, head, labels)
    return by_head, by_features * len(labels)


def loss_by_the_last_layer(model):
    """Reads what the model's last layer is."""
    last = model.layers[-1]
    activation = getattr(last, "activation", None)
    is_softmax = isinstance(last, keras.layers.Softmax) or getattr(activation, "__name__", "") == "softmax"
    return keras.losses.SparseCategoricalCrossentropy(from_logits=not is_softmax)


@tf.function
def compiled_slopes(model, loss, images, labels):
    """In a graph, where what nobody asks for is pruned."""
    value = loss(labels, model(images))
    return value, tf.gradients(value, [weight.value for weight in model.trainable_weights])


def compiled_step(model, optimizer, loss, images, labels):
    value, slopes = compiled_slopes(model, loss, images, labels)
    optimizer.apply(slopes, model.trainable_weights)
    return value


def step(which, watch_all=True, apply=True, returned=None, watch=True):
    """One step for the weights that ``which`` takes from a model, with the mistakes that are asked for."""

    def answer(model, optimizer, loss, images, labels):
        weights = which(model)
        with tf.GradientTape(watch_accessed_variables=watch_all) as tape:
            for weight in weights if watch else ():
                tape.watch(weight.value)
            value = loss(labels, model(images))
        slopes = tape.gradient(value, [weight.value for weight in weights])
        if apply:
            optimizer.apply(slopes, weights)
        return value if returned is None else returned

    return answer


def scheduled(first=1, beyond=True, whole=False, straight=False, from_zero=False, warm=True):
    """A schedule with the mistakes that are asked for."""

    def answer(step, peak, steps, warm_up):
        if not warm:
            warm_up = 0
        if step < warm_up:
            return peak * (step + first) / warm_up
        done = step / steps if from_zero else (step - warm_up) / (steps - warm_up)
        done = min(1, done) if beyond else done
        if straight:
            return peak * (1 - done)
        return peak * (1 + np.cos((2 if whole else 1) * np.pi * done)) / 2

    return answer


def down_to_minus_the_peak(step, peak, steps, warm_up):
    rate = scheduled()(step, peak, steps, warm_up)
    return rate if step < warm_up else 2 * rate - peak


def climbing_first(step, peak, steps, warm_up):
    climb = (step + 1) / warm_up
    return peak * climb if climb <= 1 else scheduled()(step, peak, steps, warm_up)


def by_keras(step, peak, steps, warm_up):
    """Keras' own cosine; it would waste step 0, so it is asked one step later."""
    options = {"warmup_target": peak, "warmup_steps": warm_up} if warm_up else {}
    start = 0.0 if warm_up else peak
    cosine = keras.optimizers.schedules.CosineDecay(start, steps - warm_up, **options)
    return float(cosine(step + 1))


SGD = keras.optimizers.SGD

ANSWERS = {
    "which_arrive": (
        lambda: ["e", "b", "c"],
        {
            "hard-coded: all six": lambda: "ABCDEF",
            "the small rates": lambda: "B, F",
            "the heavy ball beyond plain descent's limit": lambda: "BE",
            "Nesterov taken for the heavy ball": lambda: "B, C, D and E",
            "inputs taken to halve the curvature": lambda: "BC",
            "a sum over 50 taken for a mean": lambda: "BCEF",
            "words instead of letters": lambda: "the plain ones",
        },
    ),
    "keras_sgd": (
        lambda: lambda rate, beta: SGD(learning_rate=rate - beta * rate, momentum=beta, nesterov=False),
        {
            "hard-coded: the classic recipe": lambda: lambda rate, beta: SGD(0.001, momentum=0.9),
            "both numbers copied": lambda: lambda rate, beta: SGD(rate, momentum=beta),
            "divided instead of multiplied": lambda: lambda rate, beta: SGD(rate / (1 - beta + 1e-9), beta),
            "what is forgotten taken for momentum": lambda: (
                lambda rate, beta: SGD(rate * (1 - beta), 1 - beta)
            ),
            "no momentum": lambda: lambda rate, beta: SGD(rate * (1 - beta)),
            "Nesterov": lambda: lambda rate, beta: SGD(rate * (1 - beta), beta, nesterov=True),
            "two numbers": lambda: lambda rate, beta: (rate * (1 - beta), beta),
            "an optimizer": lambda: SGD(0.05, 0.9),
        },
    ),
    "two_gradients": (
        lambda: by_loops,
        {
            "hard-coded: three classes": lambda: gradients(classes=3),
            "a sum": lambda: gradients(mean=False),
            "uphill and downhill exchanged": lambda: gradients(sign=-1),
            "what is wanted not subtracted": lambda: gradients(wanted=False),
            "overflow": lambda: gradients(stable=False),
            "turned on its side": lambda: gradients(turned=True),
            "only one of them a mean": lambda: features_not_divided,
            "only the head's": lambda: lambda features, head, labels: by_loops(features, head, labels)[0],
        },
    ),
    "matching_loss": (
        lambda: loss_by_the_last_layer,
        {
            "hard-coded: logits": lambda: (
                lambda model: keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            ),
            "probabilities": lambda: lambda model: keras.losses.SparseCategoricalCrossentropy(),
            "a name": lambda: lambda model: "sparse_categorical_crossentropy",
            "one column for each class": lambda: (
                lambda model: keras.losses.CategoricalCrossentropy(from_logits=True)
            ),
            "the class": lambda: lambda model: keras.losses.SparseCategoricalCrossentropy,
            "the activation of the last layer": lambda: (
                lambda model: keras.losses.SparseCategoricalCrossentropy(
                    from_logits=model.layers[-1].activation.__name__ != "softmax"
                )
            ),
        },
    ),
    "train_step": (
        lambda: compiled_step,
        {
            "hard-coded: the head": lambda: step(lambda model: model.layers[-1].weights, watch_all=False),
            "the colleague's": lambda: step(lambda model: model.weights),
            "pays for all": lambda: step(lambda model: model.trainable_weights),
            "nothing applied": lambda: step(lambda model: model.trainable_weights, False, apply=False),
            "watches nothing": lambda: step(lambda model: model.trainable_weights, False, watch=False),
            "something else returned": lambda: step(
                lambda model: model.trainable_weights, False, returned=7.0
            ),
        },
    ),
    "schedule": (
        lambda: by_keras,
        {
            "hard-coded: the peak": lambda: lambda step, peak, steps, warm_up: peak,
            "step 0 wasted": lambda: scheduled(first=0),
            "up again after the end": lambda: scheduled(beyond=False),
            "a whole wave": lambda: scheduled(whole=True),
            "a straight line": lambda: scheduled(straight=True),
            "a cosine down to minus the peak": lambda: down_to_minus_the_peak,
            "the cosine counted from step 0": lambda: scheduled(from_zero=True),
            "no warm-up": lambda: scheduled(warm=False),
            "division by zero": lambda: climbing_first,
        },
    ),
}
