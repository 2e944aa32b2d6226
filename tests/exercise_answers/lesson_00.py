"""Answers to the exercises of lesson 00."""

import math

STEPS = (
    "pick a network that was pretrained on photos",
    "set the validation and test photos aside",
    "train the head, then some layers below it",
    "measure the accuracy on the test photos",
    "put the model on a server",
)


def best_of_test(validation, test):
    name = max(test, key=test.get)
    return name, test[name]


def best_validation(validation, test):
    name = max(validation, key=validation.get)
    return name, validation[name]


def sorted_by_validation(validation, test):
    pairs = sorted((accuracy, name) for name, accuracy in validation.items())
    return [pairs[-1][1], test[pairs[-1][1]]]


ANSWERS = {
    "five_steps": (
        lambda: STEPS,  # a tuple
        {
            "hard-coded: the order in which they were written down": lambda: [
                STEPS[n] for n in (3, 2, 4, 0, 1)
            ],
            "the test photos set aside after training": lambda: [STEPS[n] for n in (0, 2, 1, 3, 4)],
            "deployed before it was measured": lambda: [STEPS[n] for n in (0, 1, 2, 4, 3)],
            "the names of the steps": lambda: ["choose", "prepare", "fine-tune", "evaluate", "deploy"],
        },
    ),
    "steps_an_epoch": (
        lambda: lambda images, batch_size: -(-images // batch_size),
        {
            "hard-coded: 2 steps": lambda: lambda images, batch_size: 2,
            "rounded down": lambda: lambda images, batch_size: images // batch_size,
            "one more than rounded down": lambda: lambda images, batch_size: images // batch_size + 1,
            "a number instead of a function": lambda: 2,
        },
    ),
    "share_that_learns": (
        lambda: (
            lambda model: (
                sum(layer.count_params() for layer in model.layers if layer.trainable_weights)
                / model.count_params()
            )
        ),
        {
            "hard-coded: that of the frozen network": lambda: lambda model: 1290 / 294594,
            "arrays counted, not numbers": lambda: (
                lambda model: len(model.trainable_weights) / len(model.weights)
            ),
            "divided by what is frozen": lambda: (
                lambda model: (
                    sum(math.prod(weight.shape) for weight in model.trainable_weights)
                    / sum(math.prod(weight.shape) for weight in model.non_trainable_weights)
                )
            ),
            "in per cent": lambda: (
                lambda model: (
                    100
                    * sum(math.prod(weight.shape) for weight in model.trainable_weights)
                    / model.count_params()
                )
            ),
        },
    ),
    "honest_report": (
        lambda: sorted_by_validation,
        {
            "hard-coded: always the first": lambda: lambda validation, test: ("A", test.get("A")),
            "the best on the test images": lambda: best_of_test,
            "the validation accuracy reported": lambda: best_validation,
        },
    ),
    "images_needed": (
        lambda: lambda accuracy, margin: math.ceil(4 * accuracy * (1 - accuracy) / margin**2),
        {
            "hard-coded: 1,225": lambda: lambda accuracy, margin: 1225,
            "not squared": lambda: (
                lambda accuracy, margin: 1.96 * (accuracy * (1 - accuracy)) ** 0.5 / margin
            ),
            "the whole width taken for the margin": lambda: (
                lambda accuracy, margin: 0.25 * 1.96**2 * accuracy * (1 - accuracy) / margin**2
            ),
        },
    ),
}
