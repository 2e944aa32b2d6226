# %% [markdown]
# # Exercises 02: gradient descent
#
# In this notebook, you predict which descents arrive, hand a gradient down by yourself, and mend two training loops that go wrong without a word.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/solutions/02_gradient_descent.ipynb)
#
# The exercises belong to lessons [02a](../02a_gradient_descent.ipynb) (tasks 1 to 4) and [02b](../02b_fine_tuning_as_descent.ipynb) (tasks 5 and 6), and take about 75 minutes. A task's cell ends in a check: run it, and it says *correct*, *incorrect* and why, or *not attempted*. Check as often as you like: attempts and hints are not counted. If you are stuck, add a line such as `exercise.which_arrive.hint()`, and if you have tried and want to compare, `exercise.which_arrive.solution()` (if you look before your answer is right, that is kept).

# %% [markdown] tags=["solutions-only"]
# **These are the solutions.** They are worth more after a try: [the exercises](../exercises/02_gradient_descent.ipynb).

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
from finetune_lib.exercises import lesson_02 as exercise

# %% [markdown]
# ## 1. Predict: which descents arrive?
#
# A least-squares loss, the mean over 50 examples with two inputs each, is a bowl with the curvatures 1 and 10. Six descents start away from its lowest point, in both directions. Which of them arrive, and which are thrown out?
#
# | run | descent | learning rate | what else |
# |---|---|---|---|
# | A | plain | 0.21 | |
# | B | plain | 0.19 | |
# | C | heavy ball, momentum 0.9 | 0.35 | |
# | D | Nesterov, momentum 0.9 | 0.19 | |
# | E | plain | 0.7 | both inputs of every example were halved before |
# | F | plain | 0.005 | the loss is the *sum* over the 50 examples |
#
# Pencil and paper are enough. Answer by the letters of those that arrive: `"AF"` would be the first and the last.

# %%
arriving = ...
### BEGIN SOLUTION
arriving = "BCE"
### END SOLUTION
exercise.which_arrive.check(arriving)

# %% [markdown]
# Here they run. (As long as the task is untouched, they wait for you.)

# %%
import numpy as np

from finetune_lib import checks, descent

runs = {  # the descent, and by what its curvatures are multiplied
    "A": (descent.SGD(0.21), 1),
    "B": (descent.SGD(0.19), 1),
    "C": (descent.SGD(0.35, momentum=0.9), 1),
    "D": (descent.SGD(0.19, momentum=0.9, nesterov=True), 1),
    "E": (descent.SGD(0.7), 1 / 4),
    "F": (descent.SGD(0.005), 50),
}
if checks.attempted(arriving):
    for letter, (optimizer, factor) in runs.items():
        curvatures = factor * np.array([1.0, 10.0])
        path = descent.trajectory(lambda w, c=curvatures: c * w, np.ones(2), optimizer, 300)
        print(letter, "arrives" if np.abs(path[-1]).max() < 1e-3 else "is thrown out")

# %% [markdown]
# ## 2. Complete: momentum, translated
#
# Not everybody writes momentum as Keras does. This loop keeps a running *average* of the gradients, with a weight `beta` for the past, and steps along it. It is a common way; Adam's numerator is such an average, too.
#
# A colleague moves it to Keras and copies both numbers: 0.5 for the rate, 0.9 for the momentum. **Guess** what happens on the bowl of task 1.

# %%
import keras


def averaged_descent(gradient, weights, rate, beta, steps):
    """Steps along a running average of the gradients."""
    average = np.zeros_like(weights)
    for _ in range(steps):
        average = beta * average + (1 - beta) * gradient(weights)
        weights = weights - rate * average
    return weights


def keras_descent(optimizer, gradient, weights, steps):
    """The same number of steps by an optimizer of Keras."""
    variable = keras.Variable(weights, dtype="float32")
    for _ in range(steps):
        optimizer.apply([keras.ops.convert_to_tensor(gradient(np.asarray(variable)))], [variable])
    return np.asarray(variable)


# %%
def bowl(weights):
    """The gradient of a bowl with the curvatures 1 and 10."""
    return np.array([1, 10], "float32") * weights


here = np.ones(2, "float32")
wanted = averaged_descent(bowl, here, 0.5, 0.9, 20)
copied = keras_descent(keras.optimizers.SGD(0.5, momentum=0.9), bowl, here, 20)
print("the loop, after 20 steps:  distance", f"{np.linalg.norm(wanted):.2f}")
print("copied to Keras:           distance", f"{np.linalg.norm(copied):.1e}")

# %% [markdown]
# Same two numbers, and one of them flies off. Put `averaged_descent` and Keras' rule $v \leftarrow m v - a g$, $w \leftarrow w + v$ side by side: for which $a$ and $m$ do they take the same steps, from the first one on?


# %%
def keras_sgd(rate, beta):
    """The optimizer of Keras that takes the steps of `averaged_descent`."""
    ### BEGIN SOLUTION
    # With v = -rate * average:  v <- beta v - rate (1 - beta) g.
    return keras.optimizers.SGD(rate * (1 - beta), momentum=beta)
    ### END SOLUTION


exercise.keras_sgd.check(keras_sgd)

# %%
if checks.attempted(keras_sgd):
    translated = keras_descent(keras_sgd(0.5, 0.9), bowl, here, 20)
    print("translated, the same place after 20 steps:", np.allclose(translated, wanted, atol=1e-4))

# %% [markdown]
# ## 3. Complete: hand the gradient down
#
# A head turns features $h_i$ into logits $z_i = W^\top h_i$; the loss is the mean of softmax cross-entropy over $n$ examples. Lesson 02a derived $\partial \ell_i / \partial z_i = p_i - \text{onehot}(y_i)$, and from it the gradient by $W$, the head's weights. For a body below that learns, too, a second gradient is needed: by the *features*, so that the chain rule can go on downwards from there.
#
# Write both. (`descent.softmax` makes probabilities of logits, row by row.)
#
# Before you ask the check, ask the method that finds mistakes in any gradient: nudging. The second cell below does so with your function.


# %%
def two_gradients(features, head, labels):
    """The gradients of the mean cross-entropy by the head's weights and by the features: two arrays.

    `features` is (examples, features), `head` (features, classes), `labels` (examples,) whole numbers.
    """
    ### BEGIN SOLUTION
    errors = descent.softmax(features @ head)
    errors[np.arange(len(labels)), labels] -= 1  # p - onehot
    errors = errors / len(labels)  # the mean
    return features.T @ errors, errors @ head.T
    ### END SOLUTION


exercise.two_gradients.check(two_gradients)

# %%
generator = np.random.default_rng(0)
example = generator.normal(size=(6, 4)), generator.normal(size=(4, 3)), np.array([0, 1, 2, 0, 1, 2])
if checks.attempted(two_gradients):
    features, head, labels = example
    by_head, by_features = two_gradients(*example)
    nudged_head = descent.finite_differences(
        lambda w: descent.softmax_cross_entropy(w, features, labels)[0], head
    )
    nudged_features = descent.finite_differences(
        lambda h: descent.softmax_cross_entropy(head, h, labels)[0], features
    )
    print("as by nudging, head:    ", np.allclose(by_head, nudged_head, atol=1e-7))
    print("as by nudging, features:", np.allclose(by_features, nudged_features, atol=1e-7))

# %% [markdown]
# Now use it. Lesson 02b compared what three heads hand down at one moment. We follow it over the head's whole training, on 50 scans, their 64 pixels in the place of features: from a head of zeros and from a random one.
#
# **Guess:** the head of zeros starts by handing down nothing at all. How does its curve go on?

# %%
import matplotlib.figure
import sklearn.datasets

from finetune_lib import plots

scans, digit_labels = sklearn.datasets.load_digits(return_X_y=True)
few, few_labels = scans[:50] / 16, digit_labels[:50]
heads = {"zeros": np.zeros((64, 10)), "random numbers": generator.normal(0, np.sqrt(2 / 74), (64, 10))}


def handed_down(start):
    """The length of the features' gradient along the head's training."""
    path = descent.trajectory(lambda w: two_gradients(few, w, few_labels)[0], start, descent.SGD(0.5), 1000)
    return [np.linalg.norm(two_gradients(few, w, few_labels)[1]) for w in path]


# %% tags=["nbval-ignore-output"]
if checks.attempted(two_gradients):
    lengths = {f"head of {name}": handed_down(start) for name, start in heads.items()}
    looks = (0, 1, 10, 30, 100, 1000)
    rows = [[name, *(f"{values[t]:.3f}" for t in looks)] for name, values in lengths.items()]
    print(plots.table(["length at step", *map(str, looks)], rows))

# %%
if checks.attempted(two_gradients):
    figure = matplotlib.figure.Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    for (name, values), colour in zip(lengths.items(), (plots.BLUE, plots.VERMILION), strict=True):
        axes.plot(values, color=colour, label=name)
    axes.set_xscale("symlog", linthresh=1)
    axes.set(xlabel="steps of the head's training", ylabel="gradient handed down (length)", xlim=(0, 1000))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    plots.show(
        figure,
        "Length of the features' gradient against the steps of the head's training. From a random head it begins at "
        "its highest, nearly 0.19, and falls. From zeros it begins at 0, rises to half of that within 30 steps, and "
        "falls. After 1,000 steps both are below a tenth of where the random head began.",
    )

# %%
if checks.attempted(two_gradients):
    zeros, random = lengths.values()
    print("zeros: nothing at first, later more than a third of the random head's start:", end=" ")
    print(zeros[0] == 0 and max(zeros) > random[0] / 3)
    print("both, after 1,000 steps, less than a sixth of it:", max(zeros[-1], random[-1]) < random[0] / 6)

# %% [markdown]
# A head of zeros protects the features for one step only: what it hands down grows until the head begins to know its classes. (By then its directions mean something, unlike those of a random head.) What makes the gradient small for good is a head that has *learned*: its errors $p - \text{onehot}$ are small. That is "head first".
#
# ## 4. Find the bug: a loss that falls
#
# A colleague trains the smallest classifier there is, 64 pixels to 10 outputs, on the training writers' scans. "It runs, and the loss falls nicely. This is as good as such a small network gets."

# %%
from finetune_lib import digits

_, _, writers = digits.arrays(wild=False)
train, test = (np.isin(writers, digits.WRITERS[part]) for part in ("train", "test"))
pixels = (scans / 16).astype("float32")


def trained(loss_for, seed):
    """The losses of ten epochs, and the accuracy on new writers, in %."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
    model.compile(keras.optimizers.Adam(0.01), loss_for(model), jit_compile=False)
    losses = model.fit(pixels[train], digit_labels[train], epochs=10, verbose=0).history["loss"]
    chosen = model.predict(pixels[test], batch_size=256, verbose=0).argmax(axis=1)
    return losses, 100 * np.mean(chosen == digit_labels[test])


# %% tags=["nbval-ignore-output"]
colleagues = [trained(lambda model: "sparse_categorical_crossentropy", seed) for seed in range(3)]
for losses, accuracy in colleagues:
    print(
        f"loss {losses[0]:.2f} in epoch 1, {losses[-1]:.2f} in epoch 10; new writers: {accuracy:.0f}% right"
    )

# %%
assert all(losses[-1] < losses[0] / 2 and accuracy < 75 for losses, accuracy in colleagues)
print("in each of three runs the loss falls to less than half, and under 75% are recognised: True")

# %% [markdown]
# In lesson 02a, *one single step* of plain descent recognised more than four in five. So something is wrong here, and no error, no warning says so.
#
# Find it, and write the function that would have prevented it: given a model, it returns the loss object that fits the model's output. Labels are whole numbers. Some models end in a softmax (an activation, or a layer of its own), others do not.


# %%
def matching_loss(model):
    """The cross-entropy for whole-number labels that fits what this model puts out."""
    ### BEGIN SOLUTION
    # Ask the model instead of reading it: probabilities are not negative, and add up to one.
    inputs = np.random.default_rng(0).normal(size=(8, *model.input_shape[1:]))
    outputs = np.asarray(model(inputs.astype("float32")))
    is_probabilities = outputs.min() >= 0 and np.allclose(outputs.sum(axis=-1), 1, atol=1e-3)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=not is_probabilities)
    ### END SOLUTION


exercise.matching_loss.check(matching_loss)

# %% tags=["nbval-ignore-output"]
if checks.attempted(matching_loss):
    for losses, accuracy in [trained(matching_loss, seed) for seed in range(3)]:
        print(
            f"loss {losses[0]:.2f} in epoch 1, {losses[-1]:.2f} in epoch 10; new writers: {accuracy:.0f}% right"
        )

# %% [markdown]
# ## 5. Find the bug: a loop that will not leave the frozen alone
#
# GlyphNet, frozen, with a new head. The colleague has read that a loop of one's own is more flexible than `fit`.

# %%
import tensorflow as tf

from finetune_lib import classifier, freezing


def colleagues_step(model, optimizer, loss, images, labels):
    """One step of training; returns the loss before it."""
    with tf.GradientTape() as tape:
        value = loss(labels, model(images))
    slopes = tape.gradient(value, [weight.value for weight in model.weights])
    optimizer.apply(slopes, model.weights)
    return value


# %%
wild, wild_labels, _ = digits.arrays(wild=True)
batch = tf.constant(wild[:32], tf.float32), tf.constant(wild_labels[:32])
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def arrays_that_move(step):
    """How many of a frozen GlyphNet's arrays change in two steps, and how many should."""
    model = freezing.freeze(classifier.build("GlyphNet", [str(digit) for digit in range(10)]))
    before, optimizer = model.get_weights(), keras.optimizers.SGD(0.001, momentum=0.9)
    for _ in range(2):
        step(model, optimizer, cross_entropy, *batch)
    moved = [(new != old).any() for new, old in zip(model.get_weights(), before, strict=True)]
    return sum(moved), len(model.trainable_weights)


moved, learning = arrays_that_move(colleagues_step)
print(f"{learning} arrays are to learn, {moved} have moved")
assert moved > learning == 2

# %% [markdown]
# The frozen body moves. And there is a second fault, which no weight shows: even a version that moves the right arrays may still pay for a backward pass through the whole body and throw it away (lesson 02b, section 6).
#
# Mend both. The check will train small models, with different layers frozen, and has put a spy among the frozen ones: it notices if a backward pass comes through.


# %%
def train_step(model, optimizer, loss, images, labels):
    """One step of training that neither moves nor pays for what is frozen; returns the loss before it."""
    ### BEGIN SOLUTION
    learning = model.trainable_weights
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for weight in learning:
            tape.watch(weight.value)
        value = loss(labels, model(images))
    optimizer.apply(tape.gradient(value, [weight.value for weight in learning]), learning)
    return value
    ### END SOLUTION


exercise.train_step.check(train_step)

# %%
if checks.attempted(train_step):
    moved, learning = arrays_that_move(train_step)
    print(f"{learning} arrays are to learn, {moved} have moved")

# %% [markdown]
# ## 6. Design: a schedule
#
# Write the learning rate as a function of the step's number, 0, 1, 2, ..., for a run of `steps` steps. The customer wants:
#
# - a warm-up: over the first `warm_up` steps the rate rises in a straight line to `peak`;
# - no step wasted: the rate of step 0 is small, but not zero;
# - then half a cosine, from `peak` down to zero at the end of the run;
# - should somebody train on after `steps`, nothing moves any more;
# - `warm_up` may be 0, and then there is none.


# %%
def schedule(step, peak, steps, warm_up):
    """The learning rate of a step."""
    ### BEGIN SOLUTION
    if step < warm_up:
        return peak * (step + 1) / warm_up
    done = min(1.0, (step - warm_up) / (steps - warm_up))  # 0 at the peak, 1 at the end and ever after
    return peak * (1 + np.cos(np.pi * done)) / 2
    ### END SOLUTION


exercise.schedule.check(schedule)

# %% [markdown]
# Is it worth the trouble? We start from weights that *know something already*, trained on 16 numbers a scan (the means of 2 by 2 pixels), and go on with Adam, mini-batches of 16 and a rate that is rather high, 0.3. Ten runs each.
#
# **Guess:** which will do harm in its first steps: a constant rate, your schedule without a warm-up, your schedule with one? And which will end highest?

# %%
coarse = pixels[train].astype("float64").reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
coarse, its_labels = np.hstack([coarse, np.ones((len(coarse), 1))]), digit_labels[train]
assert len(coarse) == 646


def loss_and_gradient(weights, rows=slice(None)):
    """Of some rows, or of all."""
    return descent.softmax_cross_entropy(weights, coarse[rows], its_labels[rows])


knowing = descent.trajectory(
    lambda w: loss_and_gradient(w)[1], np.zeros((17, 10)), descent.SGD(1.0, momentum=0.9), 500
)[-1]


def losses_of(rate, seed):
    """The loss of all digits along 300 steps of Adam from the weights that know something."""
    batches = descent.mini_batches(len(coarse), 16, np.random.default_rng(seed))
    path = descent.trajectory(
        lambda w: loss_and_gradient(w, next(batches))[1], knowing, descent.Adam(rate), 300
    )
    return [loss_and_gradient(weights)[0] for weights in path]


# %% tags=["nbval-ignore-output"]
if checks.attempted(schedule):
    rates = {
        "constant": lambda step: 0.3,
        "no warm-up": lambda step: schedule(step, 0.3, 300, 0),
        "warm-up of 50": lambda step: schedule(step, 0.3, 300, 50),
    }
    curves = {
        name: np.mean([losses_of(rate, seed) for seed in range(10)], axis=0) for name, rate in rates.items()
    }
    looks = (0, 1, 2, 10, 50, 100, 200, 300)
    rows = [[name, *(f"{curve[t]:.2f}" for t in looks)] for name, curve in curves.items()]
    print(plots.table(["mean loss at step", *map(str, looks)], rows))

# %% tags=["nbval-ignore-output"]
if checks.attempted(schedule):
    figure = matplotlib.figure.Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, rate), colour in zip(rates.items(), (plots.GREY, plots.VERMILION, plots.BLUE), strict=True):
        left.plot([rate(step) for step in range(330)], color=colour, label=name)
        right.plot(curves[name], color=colour, label=name)
    right.axhline(curves["constant"][0], color="black", linewidth=0.7, linestyle=":")
    left.set(xlabel="step", ylabel="learning rate")
    right.set(xlabel="step", ylabel="loss, mean of ten runs")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    plots.show(
        figure,
        "Left, the rate: constant 0.3; half a cosine from 0.3 to zero at step 300; the same after a straight climb "
        "over 50 steps. Right, the mean loss: without a warm-up it more than doubles in two steps, with one it "
        "rises later and much less. The two that decay end well below where they began; the constant one buzzes on above them.",
    )

# %%
if checks.attempted(schedule):
    constant, cold, warm = curves.values()
    began = constant[0]
    print("without a warm-up the loss more than doubles:", max(cold) > 2 * began)
    print("with one it rises by less than half as much:", max(warm) - began < (max(cold) - began) / 2)
    print("both schedules end below the constant rate:", max(cold[-1], warm[-1]) < 0.95 * constant[-1])

# %% [markdown]
# Two separate gains: the warm-up saves most of what the weights knew, the decay brings them to rest. (Here the harm could be repaired, for there are 646 labelled scans to repair it with. Fine-tuning seldom has as many.)
#
# ## Quiz
#
# **Question 1.** The training loss has fallen at every one of the first 50 steps. What do you know about the learning rate?
#
# - a) It is below the limit $2/\lambda_{\max}$.
# - b) It is far below the limit, and might be raised.
# - c) Not much: where the steepest direction starts out nearly right, its error may grow for a long time unseen.

# %%
# @title Question 1 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c"]
### BEGIN SOLUTION
answer = "c"
### END SOLUTION
exercise.question_1.check(answer)

# %% [markdown]
# **Question 2.** A paper trains with "SGD, learning rate 0.001, the loss summed over mini-batches of 64". Keras takes the mean. Which rate takes the same steps there?
#
# - a) 0.001: the rule is the same.
# - b) 0.001 / 64.
# - c) 64 times 0.001.

# %%
# @title Question 2 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c"]
### BEGIN SOLUTION
answer = "c"
### END SOLUTION
exercise.question_2.check(answer)

# %% [markdown]
# **Question 3.** With a constant rate and mini-batches, the loss has stopped falling and buzzes about a level that you think too high. What brings it lower?
#
# - a) More epochs of the same.
# - b) A smaller rate from now on, or larger batches.
# - c) Momentum 0.9 at the same rate: it averages the noise away.

# %%
# @title Question 3 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c"]
### BEGIN SOLUTION
answer = "b"
### END SOLUTION
exercise.question_3.check(answer)

# %% [markdown]
# **Question 4.** A linear head with more weights than there are images is fine-tuned by plain descent until it fits every image. Some directions in the space of its weights make no difference to any of the images. What has become of them?
#
# - a) They are what they were before fine-tuning.
# - b) They have shrunk to zero, since nothing supports them.
# - c) They have been filled with noise.

# %%
# @title Question 4 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c"]
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
