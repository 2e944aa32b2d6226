"""Answers to the exercises of lesson 04."""

import fractions

import keras
import numpy as np


def head_on(base, classes, *, pooling=keras.layers.GlobalAveragePooling2D, activation="softmax"):
    hidden = keras.layers.Dense(16, activation="relu")(pooling()(base.output))
    return keras.Model(base.input, keras.layers.Dense(classes, activation=activation)(hidden))


def frozen_layer_by_layer(base, classes):
    model = head_on(base, classes)
    for layer in model.layers[:-2]:
        layer.trainable = False
    return [model, base.output.shape[-1] * 16 + 16 + 17 * classes]


def hard_coded_count(base, classes):
    return frozen_layer_by_layer(base, classes)[0], 131


def never_frozen(base, classes):
    model = head_on(base, classes)
    return model, sum(np.prod(weight.shape) for weight in model.trainable_weights)


def all_frozen(base, classes):
    model = head_on(base, classes)
    model.trainable = False
    return model, 0


def nested(base, classes):
    base.trainable = False
    inputs = keras.Input((8, 8, 3))
    hidden = keras.layers.Dense(16)(keras.layers.GlobalAveragePooling2D()(base(inputs)))
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(hidden)), 131


def flattened(base, classes):
    base.trainable = False
    return head_on(base, classes, pooling=keras.layers.Flatten), 131


def logits(base, classes):
    base.trainable = False
    return head_on(base, classes, activation=None), 131


def everything_counted(base, classes):
    model = frozen_layer_by_layer(base, classes)[0]
    return model, model.count_params()


def run(model, images, labels, rate, epochs, **options):
    sgd = keras.optimizers.SGD(rate)
    model.compile(sgd, "sparse_categorical_crossentropy", jit_compile=False)
    options = {"shuffle": False, "verbose": 0} | options
    model.fit(images, labels, epochs=epochs, **options)
    return model


def stages(freeze, unfreeze, rates=(0.1, 0.01), compiles=True):
    """A training in two stages, with the flags and rates given."""

    def train(base, model, images, labels):
        base.trainable = not freeze
        run(model, images, labels, rates[0], 3)
        base.trainable = unfreeze
        if compiles:
            return run(model, images, labels, rates[1], 3)
        model.optimizer.learning_rate = rates[1]
        model.fit(images, labels, epochs=3, shuffle=False, verbose=0)
        return model

    return train


def flags_of_layers(base, model, images, labels):
    """The head by `train_on_batch`; the flags of the layers instead of the base's."""
    for learns, rate in ((False, 0.1), (True, 0.01)):
        for layer in base.layers:
            layer.trainable = learns
        model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", jit_compile=False)
        for _ in range(3):
            model.train_on_batch(images, labels)
    return model


def normalization_frozen(base, model, images, labels):
    for layer in base.layers:
        layer.trainable = not hasattr(layer, "moving_mean")
    return run(model, images, labels, 0.01, 2)


def one_name_frozen(base, model, images, labels):
    base.get_layer("normalization").trainable = False
    return run(model, images, labels, 0.01, 2)


def all_learns(base, model, images, labels):
    return run(model, images, labels, 0.01, 2)


def base_frozen(base, model, images, labels):
    base.trainable = False
    return run(model, images, labels, 0.01, 2)


def put_back(base, model, images, labels):
    before = {weight.path: weight.numpy() for weight in base.weights if "moving" in weight.path}
    run(model, images, labels, 0.01, 2)
    for weight in base.weights:
        if weight.path in before:
            weight.assign(before[weight.path])
    return model


def cut_by_sequential(model, cut, images, labels, epochs):
    place = model.layers.index(model.get_layer(cut)) + 1
    features = images
    for layer in model.layers[1:place]:
        features = layer(features)
    features = np.asarray(features)
    above = keras.Sequential([keras.Input(features.shape[1:]), *model.layers[place:]])
    run(above, features, labels, 0.1, epochs, batch_size=16)
    return model


def plainly(model, cut, images, labels, epochs):
    return run(model, images, labels, 0.1, epochs, batch_size=16)


def only_the_last(model, cut, images, labels, epochs):
    for layer in model.layers[:-1]:
        layer.trainable = False
    below = keras.Model(model.input, model.layers[-2].output)
    features = below.predict(images, verbose=0)
    above = keras.Sequential([keras.Input(features.shape[1:]), model.layers[-1]])
    run(above, features, labels, 0.1, epochs, batch_size=16)
    return model


def a_layer_of_its_own(model, cut, images, labels, epochs):
    below = keras.Model(model.input, model.get_layer(cut).output)
    features = below.predict(images, verbose=0)
    above = keras.Sequential([keras.Input(features.shape[1:]), keras.layers.Dense(2, activation="softmax")])
    run(above, features, labels, 0.1, epochs, batch_size=16)
    return model


def hard_coded_epochs(model, cut, images, labels, epochs):
    return cut_by_sequential(model, cut, images, labels, 5)


def by_trying(t, b, epochs, wanted):
    """Try every number of versions, in whole numbers."""
    t, b, wanted = (fractions.Fraction(value) for value in (t, b, wanted))
    fits = [k for k in range(1, epochs + 1) if epochs * (t + 3 * b) >= wanted * (k * t + 3 * epochs * b)]
    return np.int64(max(fits, default=0))


def exactly(t, b, epochs, wanted):
    return (epochs * (t + 3 * b) / wanted - 3 * epochs * b) / t


TWO = np.array([7 * 7 * 512 + 1, 513]) * 256 + 2 * 256 + 257 * 5

ANSWERS = {
    "weights_of_two_heads": (
        lambda: TWO,
        {
            "hard-coded: the lesson's head": lambda: [535_562, 535_562],
            "the other way round": lambda: TWO[::-1],
            "four numbers for each input of BatchNormalization": lambda: TWO + 512,
            "BatchNormalization forgotten": lambda: TWO - 512,
            "the biases forgotten": lambda: TWO - 261,
            "with the base": lambda: TWO + 14_714_688,
            "one of them wrong": lambda: (6_424_581, 133_000),
            "one number": lambda: 6_424_581,
        },
    ),
    "with_new_head": (
        lambda: frozen_layer_by_layer,
        {
            "hard-coded: the number of one case": lambda: hard_coded_count,
            "the base not frozen": lambda: never_frozen,
            "everything frozen": lambda: all_frozen,
            "a model in a model": lambda: nested,
            "flattened": lambda: flattened,
            "logits": lambda: logits,
            "all weights counted": lambda: everything_counted,
            "only the model": lambda: lambda base, classes: head_on(base, classes),
        },
    ),
    "head_then_all": (
        lambda: flags_of_layers,
        {
            "hard-coded: the model as it came": lambda: lambda base, model, images, labels: model,
            "not compiled again": lambda: stages(True, True, compiles=False),
            "never frozen": lambda: stages(False, True),
            "the high rate twice": lambda: stages(True, True, rates=(0.1, 0.1)),
            "a rate of its own": lambda: stages(True, True, rates=(0.1, 0.001)),
        },
    ),
    "statistics_kept": (
        lambda: normalization_frozen,
        {
            "hard-coded: one layer's name": lambda: one_name_frozen,
            "nothing frozen": lambda: all_learns,
            "the whole base frozen": lambda: base_frozen,
            "the statistics put back afterwards": lambda: put_back,
            "not trained": lambda: lambda base, model, images, labels: model,
        },
    ),
    "trained_on_stored": (
        lambda: cut_by_sequential,
        {
            "hard-coded: five epochs": lambda: hard_coded_epochs,
            "plain training": lambda: plainly,
            "only the last layer": lambda: only_the_last,
            "layers of its own": lambda: a_layer_of_its_own,
        },
    ),
    "versions_that_fit": (
        lambda: by_trying,
        {
            "hard-coded: 10": lambda: lambda t, b, epochs, wanted: 10,
            "not rounded": lambda: exactly,
            "rounded up": lambda: (
                lambda t, b, epochs, wanted: max(0, min(epochs, int(np.ceil(exactly(t, b, epochs, wanted)))))
            ),
            "as if the head cost nothing": lambda: lambda t, b, epochs, wanted: int(epochs // wanted),
            "more versions than epochs": lambda: (
                lambda t, b, epochs, wanted: max(0, int(np.floor(exactly(t, b, epochs, wanted))))
            ),
            "less than none": lambda: (
                lambda t, b, epochs, wanted: min(epochs, int(np.floor(exactly(t, b, epochs, wanted))))
            ),
            "no backward pass": lambda: (
                lambda t, b, epochs, wanted: max(
                    0, min(epochs, int((epochs * (t + b) / wanted - epochs * b) / t))
                )
            ),
        },
    ),
}
