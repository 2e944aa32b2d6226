# %% [markdown]
# # Exercises 04: freeze and fit
#
# In this notebook, you build a head, mend two trainings that go wrong in silence, and cut a network to train it for less.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/solutions/04_freeze_and_fit.ipynb)
#
# The exercises belong to [lesson 04](../04_freeze_and_fit.ipynb) and take about 50 minutes. A task's cell ends in a check: run it, and it says *correct*, *incorrect* and why, or *not attempted*. Check as often as you like: attempts and hints are not counted. If you are stuck, add a line such as `exercise.with_new_head.hint()`, and if you have tried and want to compare, `exercise.with_new_head.solution()` (if you look before your answer is right, that is kept).

# %% [markdown] tags=["solutions-only"]
# **These are the solutions.** They are worth more after a try: [the exercises](../exercises/04_freeze_and_fit.ipynb).

# %% tags=["nbval-ignore-output"]
# On Colab: install the course's library, change nothing that is preinstalled. Everywhere: say what runs here.
import importlib.metadata
import sys

VERSION = "0.1.0"
PACKAGE = f"finetune-lib @ git+https://github.com/OWNER-PLACEHOLDER/finetune-course@v{VERSION}"
installed = [package.version for package in importlib.metadata.distributions(name="finetune-lib")]
if "google.colab" in sys.modules and VERSION not in installed:
    print("Installing, about half a minute ...")
    # %pip list --format=freeze --exclude finetune-lib --exclude tensorflow-metadata > /tmp/constraints.txt
    # %pip install -q -c /tmp/constraints.txt "{PACKAGE}"

from finetune_lib import environment

environment.report()

# %%
import keras

from finetune_lib.exercises import lesson_04 as exercise

# %% [markdown]
# ## 1. Predict: how many weights learn?
#
# VGG16, frozen and without its top, turns a photo of 224 x 224 pixels into 512 maps of 7 x 7 numbers. Two heads are proposed for five classes:
#
# - `Flatten`, `Dense(256)`, `BatchNormalization`, `Dense(5)`;
# - `GlobalAveragePooling2D`, `Dense(256)`, `BatchNormalization`, `Dense(5)`.
#
# How many weights does descent move in each? Paper is enough: write down two numbers, `[with Flatten, with pooling]`, exactly.

# %%
learning = ...
### BEGIN SOLUTION
learning = [
    (7 * 7 * 512 + 1) * 256 + 2 * 256 + (256 + 1) * 5,
    (512 + 1) * 256 + 2 * 256 + (256 + 1) * 5,
]
### END SOLUTION
exercise.weights_of_two_heads.check(learning)

# %% [markdown]
# ## 2. Complete: a head by hand
#
# Complete the function. It takes a base and the number of classes, and returns a **flat** model (built on `base.output`) and the number of its weights that learn. The base keeps its weights and is frozen. The head: global average pooling, a `Dense` layer of 16 numbers with ReLU, a `Dense` layer that gives a probability for each class.
#
# **Guess** the number first for a base of 4 maps and 3 classes.


# %%
def with_new_head(base, classes):
    """A flat model on the frozen base, and how many of its weights learn."""
    ### BEGIN SOLUTION
    import math

    import keras

    x = keras.layers.GlobalAveragePooling2D()(base.output)
    x = keras.layers.Dense(16, activation="relu")(x)
    x = keras.layers.Dense(classes, activation="softmax")(x)
    base.trainable = False
    model = keras.Model(base.input, x)
    return model, sum(math.prod(weight.shape) for weight in model.trainable_weights)
    ### END SOLUTION


exercise.with_new_head.check(with_new_head)

# %% [markdown]
# ## 3. Find the mistake: two stages, and only one trains
#
# First the head, then everything at a tenth of the rate: a colleague's code does that on a tiny network. The images are noise, since we only want to know what moves.

# %%
import numpy as np

noise = np.random.default_rng(0).normal(1, 1, (32, 8, 8, 3)).astype("float32")
sides = np.arange(32) % 2


def tiny_model(*between):
    """A base of a convolution and further layers, and a model that calls it."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="convolution")(image)
    for layer in between:
        x = layer(x)
    base = keras.Model(image, x, name="base")
    inputs = keras.Input((8, 8, 3))
    features = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    return base, keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="head")(features))


# %%
def two_stages(base, model, images, labels):
    """Train the head for three epochs, then everything for three at a tenth of the rate."""
    options = {"epochs": 3, "shuffle": False, "verbose": 0}
    base.trainable = False
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(images, labels, **options)
    base.trainable = True
    model.optimizer.learning_rate = 0.01
    model.fit(images, labels, **options)
    return model


def moved(train, base, model):
    """Of the model's arrays, the names of those that a training has changed."""
    before = [weight.numpy() for weight in model.weights]
    train(base, model, noise, sides)
    pairs = zip(model.weights, before, strict=True)
    return [weight.path for weight, old in pairs if weight.numpy().tobytes() != old.tobytes()]


print("moved:", *moved(two_stages, *tiny_model()))

# %% [markdown]
# The convolution is the same, bit for bit, although the flag was set and the second `fit` ran. Write the version that does what its docstring says: the same stages, rates, epochs and order of the images. It returns the model.


# %%
def head_then_all(base, model, images, labels):
    """Train the head for three epochs at 0.1, then everything for three at 0.01; return the model."""
    ### BEGIN SOLUTION
    import keras

    for base_learns, rate in ((False, 0.1), (True, 0.01)):
        base.trainable = base_learns
        model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", jit_compile=False)
        model.fit(images, labels, epochs=3, shuffle=False, verbose=0)
    return model
    ### END SOLUTION


exercise.head_then_all.check(head_then_all)

# %%
from finetune_lib import checks

if checks.attempted(head_then_all):
    print("moved:", *moved(head_then_all, *tiny_model()))

# %% [markdown]
# ## 4. Find the mistake: statistics that should have stayed
#
# The base has BatchNormalization now, and is unfrozen to be fine-tuned. "Its statistics are safe," says the colleague, "the base is called with `training=False`."


# %%
def fine_tuned(base, model, images, labels):
    """Train everything for two epochs, but leave the statistics of BatchNormalization alone."""
    base.trainable = True
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(images, labels, epochs=2, shuffle=False, verbose=0)
    return model


names = moved(fine_tuned, *tiny_model(keras.layers.BatchNormalization(name="normalization")))
print("moved:", *names)

# %% [markdown]
# Write the version that keeps `moving_mean` and `moving_variance` to the last bit, and **uses** them while it trains. The convolutions and the head learn. A base may have several such layers, under any names. Whether their scale and shift stay is decided by the same flag: they do.


# %%
def statistics_kept(base, model, images, labels):
    """Train base and head for two epochs at 0.01, BatchNormalization in inference mode; return the model."""
    ### BEGIN SOLUTION
    import keras

    base.trainable = True
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(images, labels, epochs=2, shuffle=False, verbose=0)
    return model
    ### END SOLUTION


exercise.statistics_kept.check(statistics_kept)

# %% [markdown]
# ## 5. Complete: the same weights, but each image once
#
# Here is a flat network that counts the images which pass its first layer. The convolution is frozen; what follows `pool` learns. Plain training:


# %%
from finetune_lib.exercises import networks_04


def plain(model, images, labels, epochs):
    """Train the whole model, and return it."""
    sgd = keras.optimizers.SGD(0.1)
    model.compile(sgd, "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(images, labels, batch_size=16, epochs=epochs, shuffle=False, verbose=0)
    return model


trained = plain(networks_04.counted_model(), noise, sides, epochs=5)
print("layers:", *(layer.name for layer in trained.layers))
print(f"{len(noise)} images, 5 epochs: {float(trained.get_layer('count').seen):.0f} passed the frozen part")

# %% [markdown]
# Write a version after which the model has the same weights, and which sends each image through the frozen part **once**. It cuts the model after the layer that is named `cut`. All models are rows of layers, as this one, but there may be more than one layer after the cut. No `freezing.split`: this time by hand. Rate, batches and order as in `plain`.


# %%
def trained_on_stored(model, cut, images, labels, epochs):
    """Train what follows the layer `cut` on stored features; return the model, trained."""
    ### BEGIN SOLUTION
    import keras

    below = keras.Model(model.input, model.get_layer(cut).output)
    stored = below.predict(images, verbose=0)
    x = features = keras.Input(stored.shape[1:])
    names = [layer.name for layer in model.layers]
    for layer in model.layers[names.index(cut) + 1 :]:
        x = layer(x)
    above = keras.Model(features, x)  # shares its layers with the model
    above.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", jit_compile=False)
    above.fit(stored, labels, batch_size=16, epochs=epochs, shuffle=False, verbose=0)
    return model
    ### END SOLUTION


exercise.trained_on_stored.check(trained_on_stored)

# %%
if checks.attempted(trained_on_stored):
    model = trained_on_stored(networks_04.counted_model(), "pool", noise, sides, epochs=5)
    print(f"{float(model.get_layer('count').seen):.0f} images passed the frozen part")
    pairs = zip(model.trainable_weights, trained.trainable_weights, strict=True)
    assert all(np.allclose(one, other, rtol=0, atol=1e-5) for one, other in pairs)
    print("the same weights as by plain training: True")

# %% [markdown]
# ## 6. Design: how many versions can you afford?
#
# More stored versions of each image are better for the head and cost more. With $t$ for the frozen part, $b$ for the part that learns (forwards, each image), $E$ epochs and $K$ versions, training on stored features is
#
# $$\text{gain} = \frac{E\,(t + 3b)}{K\,t + 3 E\, b}$$
#
# times less work than plain training. Your budget says how large the gain has to be. Write a function that says how many versions you may store: the largest whole $K$ with at least the wanted gain. No image has more versions than there are epochs; if not even one version leaves that gain, the answer is 0.
#
# **Guess** for a light head, 100 epochs, and a gain of 10.


# %%
def versions_that_fit(t, b, epochs, wanted):
    """The largest number of stored versions with which the gain is `wanted` or more; 0 if there is none."""
    ### BEGIN SOLUTION
    import math

    budget = epochs * (t + 3 * b) / wanted  # the work that may be done, for each image
    left = budget - 3 * epochs * b  # what the head leaves of it
    return max(0, min(epochs, math.floor(left / t)))
    ### END SOLUTION


exercise.versions_that_fit.check(versions_that_fit)

# %% [markdown]
# The figure draws your function for 100 epochs. (The picture stored here shows what you are after. It goes away if you run the cell before you have an answer.)

# %%
import matplotlib.figure

from finetune_lib import plots

heads = {"b = t / 1000": 0.001, "b = t / 100": 0.01, "b = t / 10": 0.1}
if checks.attempted(versions_that_fit):
    gains = [1.5, 2, 3, 5, 10, 20, 50]
    rows = [[name, *(str(versions_that_fit(1, b, 100, gain)) for gain in gains)] for name, b in heads.items()]
    print(plots.table(["versions that fit; gain:", *map(str, gains)], rows))
    figure = matplotlib.figure.Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    line = np.geomspace(1.1, 100, 400)
    styles = zip((plots.BLUE, plots.VERMILION, plots.GREY), ("-", "--", ":"), strict=True)
    for (name, b), (colour, style) in zip(heads.items(), styles, strict=True):
        fits = [versions_that_fit(1, b, 100, gain) for gain in line]
        axes.step(line, fits, style, color=colour, label=name)
    axes.set(xscale="log", xlabel="wanted gain (times less work)", ylabel="versions that fit, of 100")
    axes.set_xticks(gains, [str(gain) for gain in gains])
    axes.minorticks_off()
    axes.legend(frameon=False)
    plots.show(
        figure,
        "Versions that fit into 100 epochs against the wanted gain, the table above: a light head leaves about 100 "
        "divided by the gain; a head of a tenth of the base leaves none beyond a gain of about 4.",
    )

# %% [markdown]
# ## Quiz
#
# **Question 1.** You compile a model, *then* set `base.trainable = False`, and then call `fit` for the first time. What happens to the base?
#
# - a) It is trained, since `compile` has already noted which weights learn.
# - b) Keras warns that the flag came too late.
# - c) It stays as it is, since the training step is built only by the first `fit`.
# - d) Its weights are set back to what they were at `compile`.

# %%
# @title Question 1 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c", "d"]
### BEGIN SOLUTION
answer = "c"
### END SOLUTION
exercise.question_1.check(answer)

# %% [markdown]
# **Question 2.** A functional model calls its base as `base(inputs, training=False)`, and `fit` trains it. Which sentence is true in Keras 3?
#
# - a) BatchNormalization in the base keeps its statistics, frozen or not.
# - b) BatchNormalization in the base keeps its statistics if its own `trainable` is False.
# - c) With a small enough rate the statistics hardly move.
# - d) Once the base is frozen, Dropout in it is switched off, too.

# %%
# @title Question 2 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c", "d"]
### BEGIN SOLUTION
answer = "b"
### END SOLUTION
exercise.question_2.check(answer)

# %% [markdown]
# **Question 3.** A program begins with `keras.utils.set_random_seed(0)`. Its images come from `stream.cache().map(augment)`, where `augment` takes its numbers from `tf.random.uniform`. What does the network see of one image in ten epochs?
#
# - a) One version, since the cache keeps what was augmented.
# - b) Ten different versions.
# - c) One version, since all images are changed by the same number.
# - d) One version, since every pass begins with the same random numbers.

# %%
# @title Question 3 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c", "d"]
### BEGIN SOLUTION
answer = "d"
### END SOLUTION
exercise.question_3.check(answer)

# %% [markdown]
# **Question 4.** With the classic recipe (batches of 32, rate 0.001, 10 epochs), A trains a head on 40 photos and B on 4,000. A's loss was still falling steeply when the ten epochs were over, and its head is right on far fewer new photos than B's. What should A try first?
#
# - a) More epochs: A has made 20 steps, B 1,250.
# - b) More photos: 40 are too few for any head.
# - c) A larger network, since both have trained equally long.
# - d) Unfreeze the base, since its features are worse with few photos.

# %%
# @title Question 4 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c", "d"]
### BEGIN SOLUTION
answer = "a"
### END SOLUTION
exercise.question_4.check(answer)

# %% [markdown]
# ## Your progress
#
# What a check has called *correct* is kept with its date, on this machine, or in Google Drive if that is mounted. So the table is still there after a restart. If you looked at a task's solution before your answer was right, that is kept, too, and the certificate says so. (Answers in the notebook of solutions are not counted.)

# %% tags=["nbval-ignore-output"]
from finetune_lib import progress

progress.show()

# %% [markdown]
# `progress.certificate("Your Name")` writes a page, `certificate.html`, which lists what was checked and when, and returns where it lies. Open it in a browser, and print it from there. (On Colab, download it first, from the folder panel on the left.)
