# %% [markdown]
# # Exercises 05: fine-tune
#
# In this notebook, you tell real carefulness from apparent, set a rate for each block, find out who pays for a gain, mend two trainings that go wrong unseen, and write a rule that decides.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/solutions/05_fine_tune.ipynb)
#
# The exercises belong to [lesson 05](../05_fine_tune.ipynb) and take about 60 minutes. A task's cell ends in a check: run it, and it says *correct*, *incorrect* and why, or *not attempted*. Check as often as you like: attempts and hints are not counted. If you are stuck, add a line such as `exercise.block_shares.hint()`, and if you have tried and want to compare, `exercise.block_shares.solution()` (if you look before your answer is right, that is kept).

# %% [markdown] tags=["solutions-only"]
# **These are the solutions.** They are worth more after a try: [the exercises](../exercises/05_fine_tune.ipynb).

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
from finetune_lib.exercises import lesson_05 as exercise

# %% [markdown]
# All tasks use GlyphNet and the wild digits, or models so small that they train while you blink. Five labelled images of each digit are ours to learn from (`few`), drawn from five writers; two other writers judge.

# %%
import keras
import numpy as np

from finetune_lib import checks, classifier, digits, plots

images, labels, writers = digits.arrays(wild=True)
learn, judge = (np.isin(writers, digits.WRITERS[part]) for part in ("train", "validation"))
generator = np.random.default_rng(1)
few = np.concatenate(
    [generator.choice(np.flatnonzero(learn & (labels == digit)), 5, replace=False) for digit in range(10)]
)
print(f"{len(few)} images to learn from, {judge.sum()} to judge by")

# %% [markdown]
# The features of the frozen network, and two heads for them: one is trained (logistic regression, to convergence), one is random.

# %%
from sklearn import linear_model

network = classifier.build("GlyphNet", [str(digit) for digit in range(10)])
body = keras.Model(network.input, network.get_layer("average_pool").output)
features = body.predict(images.astype("float32"), batch_size=256, verbose=0)
fitted = linear_model.LogisticRegression(max_iter=500).fit(features[few], labels[few])
heads = {
    "trained": [fitted.coef_.T, fitted.intercept_],
    "random": [np.asarray(keras.initializers.GlorotUniform(0)((128, 10))), np.zeros(10)],
}


def glyphnet_with(head):
    """The pretrained network with one of the two heads; everything learns."""
    model = classifier.build("GlyphNet", [str(digit) for digit in range(10)])
    model.get_layer("logits").set_weights(heads[head])
    model.trainable = True
    return model


# %% [markdown]
# ## 1. Predict: six ways to be careful
#
# A recipe begins with a random head, `Adam(0.001)` and a batch of 32, and everything learns. At the very first step, a weight of the first layer moves by about 0.001. Somebody says that this is too far for features that were good, and six colleagues make six suggestions. Each is to change that one thing, and nothing else:
#
# | | suggestion |
# |---|---|
# | A | clip the gradient: `Adam(0.001, global_clipnorm=0.1)`; its length is far above 0.1 |
# | B | multiply the loss by a tenth |
# | C | `layer_rate_ratio=10` |
# | D | a trained head instead of the random one |
# | E | `warm_up=0.1`, in a run of 100 steps |
# | F | a batch of 256 images, whose gradient is less noisy |
#
# Which of them make **the first step of the first layer** shorter, by half or more? Answer by their letters: `"AF"` would be the first and the last.

# %%
shorter = ...
### BEGIN SOLUTION
shorter = "CE"
### END SOLUTION
exercise.careful_steps.check(shorter)

# %% [markdown]
# And here they are measured. (As long as the task is untouched, they wait for you.)

# %%
import tensorflow as tf

from finetune_lib import optimizers

cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
one_batch = generator.permutation(few)[:32]


def first_step(make, head="random", factor=1.0, rows=one_batch):
    """The first layer's weights: median move in one step, median slope; and the length of the whole gradient."""
    model = glyphnet_with(head)
    weights, kernel = model.trainable_weights, model.get_layer("block1_conv1").kernel
    old = kernel.numpy()
    with tf.GradientTape() as tape:
        loss = factor * cross_entropy(labels[rows], model(images[rows].astype("float32")))
    slopes = tape.gradient(loss, [weight.value for weight in weights])
    make(model).apply(slopes, weights)
    place = [weight.path for weight in weights].index(kernel.path)
    move, slope = (np.median(np.abs(values)) for values in (kernel.numpy() - old, slopes[place]))
    return move, slope, float(tf.linalg.global_norm(slopes))


# %% tags=["nbval-ignore-output"]
def plain(model):
    return keras.optimizers.Adam(0.001)


suggestions = {
    "as it was": first_step(plain),
    "A. clipped": first_step(lambda model: keras.optimizers.Adam(0.001, global_clipnorm=0.1)),
    "B. a tenth of the loss": first_step(plain, factor=0.1),
    "C. ratio 10": first_step(lambda model: optimizers.adam(model, 0.001, layer_rate_ratio=10.0)),
    "D. trained head": first_step(plain, head="trained"),
    "E. warm-up": first_step(lambda model: keras.optimizers.Adam(optimizers.schedule(0.001, 100, 0.1))),
    "F. batch of 256": first_step(plain, rows=np.flatnonzero(learn)[:256]),
}
if checks.attempted(shorter):
    rows = [[name, f"{move:.5f}", f"{slope:.1e}"] for name, (move, slope, _) in suggestions.items()]
    print(plots.table(["suggestion", "a weight moves by", "slope of the loss"], rows))

# %%
moves, slopes = ({name[0]: values[place] for name, values in suggestions.items()} for place in (0, 1))
assert all((moves[letter] < moves["a"] / 2) == (letter in "CE") for letter in "ABCDEF")
assert 0.0009 < moves["a"] < 0.0011 and suggestions["as it was"][2] > 5 and slopes["D"] < slopes["a"] / 20
if checks.attempted(shorter):
    print("with a trained head the slope is less than a twentieth, and the step is as long: True")

# %% [markdown]
# (With another optimiser the list would be another one. For which letters would `SGD` answer differently?)
#
# ## 2. Complete: one rate for each block
#
# `layer_rate_ratio` places the *layers* on a geometric line. VGG16 has blocks of two and of three layers, so a block of three takes a larger share of the way than one of two, for no reason but its length. We want another rule:
#
# - all layers of a block have the same share of the rate;
# - the *blocks* lie on a geometric line: the first has `1 / ratio` and the last 1;
# - if there is only one block, it has the full rate.
#
# A layer's block is what stands before the first `_` of its name, and a name without `_` is a block of its own. The layers are given in order, those of a block side by side.


# %%
def block_shares(names, ratio):
    """Each layer's share of the rate: a dictionary, name to number. `names` go from input to output."""
    ### BEGIN SOLUTION
    blocks = list(dict.fromkeys(name.split("_")[0] for name in names))
    last = max(1, len(blocks) - 1)
    return {name: ratio ** ((blocks.index(name.split("_")[0]) - len(blocks) + 1) / last) for name in names}
    ### END SOLUTION


exercise.block_shares.check(block_shares)

# %% [markdown]
# Both rules for VGG16, with a ratio of 10. **Guess:** which layers come off worse if blocks count?

# %%
import matplotlib.figure

sizes = {"block1": 2, "block2": 2, "block3": 3, "block4": 3, "block5": 3}
vgg16 = [f"{block}_conv{number}" for block, count in sizes.items() for number in range(1, count + 1)]
vgg16.append("logits")
by_layer = 10.0 ** (np.arange(len(vgg16)) / (len(vgg16) - 1) - 1)
if checks.attempted(block_shares):
    by_block = [block_shares(vgg16, 10.0)[name] for name in vgg16]
    rows = [
        [name, f"{one:.2f}", f"{other:.2f}"]
        for name, one, other in zip(vgg16, by_layer, by_block, strict=True)
    ]
    print(plots.table(["layer", "layers on a line", "blocks on a line"], rows))

# %%
if checks.attempted(block_shares):
    figure = matplotlib.figure.Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(vgg16, by_layer, "o-", color=plots.GREY, label="layers on a line")
    axes.plot(vgg16, by_block, "s", color=plots.BLUE, label="blocks on a line", markersize=8)
    axes.set(yscale="log", ylabel="share of the rate")
    axes.tick_params("x", rotation=60)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    plots.show(
        figure,
        "Share of the rate on a logarithmic axis against VGG16's layers, the numbers of the table: layers on a straight "
        "line from 0.1 to 1; blocks on steps that are equally high, two or three layers wide, from 0.1 to 1.",
    )

# %% [markdown]
# ## 3. Complete: who pays for the gain?
#
# The customer complains: 3, 5 and 8 are confused too often. So the colleague has all images of these three that the five writers have written labelled, nearly four times as many as there were of all ten digits together, and fine-tunes the network on them, at a low rate, from the trained head, for three epochs.

# %% tags=["nbval-ignore-output"]
complained = np.isin(labels, (3, 5, 8))
more = np.flatnonzero(learn & complained)
model = glyphnet_with("trained")
inputs = images.astype("float32")
before = model.predict(inputs[judge], batch_size=256, verbose=0).argmax(axis=1)
model.compile(keras.optimizers.Adam(3e-4), cross_entropy, jit_compile=False)
keras.utils.set_random_seed(0)
model.fit(inputs[more], labels[more], epochs=3, verbose=0)
after = model.predict(inputs[judge], batch_size=256, verbose=0).argmax(axis=1)
truth = labels[judge]
of_them = complained[judge]
for name, found in (("before", before), ("after", after)):
    print(f"3, 5 and 8, {name}: {np.mean((found == truth)[of_them]):.0%} right")

# %%
assert len(more) == 195 and len(more) > 3.5 * len(few)
gain = np.mean((after == truth)[of_them]) - np.mean((before == truth)[of_them])
assert gain > 0.05
print(f"{len(more)} images; 3, 5 and 8 are recognised better by more than 5 points: True")

# %% [markdown]
# The customer is delighted with the three digits. How are the others? Write the table that the colleague should have looked at: for each *true* class, how many images were **won** (wrong before, right after) and how many **lost** (right before, wrong after).


# %%
def won_and_lost(before, after, truth, classes):
    """An array of shape (classes, 2), whole numbers: won and lost images of each class.

    `before`, `after` and `truth` are arrays of class numbers, from 0 to `classes` - 1, one an image.
    """
    ### BEGIN SOLUTION
    import numpy as np

    won = truth[(before != truth) & (after == truth)]
    lost = truth[(before == truth) & (after != truth)]
    return np.stack([np.bincount(fate, minlength=classes) for fate in (won, lost)], axis=1)
    ### END SOLUTION


exercise.won_and_lost.check(won_and_lost)

# %% tags=["nbval-ignore-output"]
if checks.attempted(won_and_lost):
    fates = np.asarray(won_and_lost(before, after, truth, 10))
    rows = [[str(digit), str(won), str(lost)] for digit, (won, lost) in enumerate(fates)]
    rows.append(["all", *(str(value) for value in fates.sum(axis=0))])
    print(plots.table(["digit", "won", "lost"], rows))
    plots.show(
        plots.bars([str(digit) for digit in range(10)], {"won": fates[:, 0], "lost": fates[:, 1]}, "images"),
        "Images won and lost, two bars for each digit, the numbers of the table: 3, 5 and 8 win and lose next to "
        "nothing; the other seven lose, some a dozen and more.",
    )

# %%
if checks.attempted(won_and_lost):
    chosen = np.isin(range(10), (3, 5, 8))
    assert (
        fates[chosen, 0].sum() > 2 * fates[chosen, 1].sum()
        and fates[~chosen, 1].sum() > 2 * fates[:, 0].sum()
    )
    print("3, 5 and 8 win; the others lose more than twice what is won in all: True")

# %% [markdown]
# It is lesson 05's forgetting, inside one task: what no image speaks for, no gradient protects. The rate was low, the head was trained, and only three epochs were run. What would you have trained on instead?
#
# ## 4. Find the bug: two losses for one network
#
# A small network, with a BatchNormalization in each of its two blocks. The colleague does not use `freezing`: "Keras has flags for that." From `block2_conv` on the network shall learn.


# %%
def small_network():
    """Two blocks, each with a BatchNormalization, and a head."""
    keras.utils.set_random_seed(0)
    image = x = keras.Input((32, 32, 3))
    for block in ("block1", "block2"):
        x = keras.layers.Conv2D(8, 3, strides=2, name=f"{block}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"{block}_norm")(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    head = keras.layers.Dense(10, kernel_initializer=keras.initializers.RandomNormal(0, 1), name="logits")
    return keras.Model(image, head(x))


def colleagues_unfreeze(model, first):
    """The layer called `first` and all after it learn, all before it are frozen."""
    names = [layer.name for layer in model.layers]
    for place, layer in enumerate(model.layers):
        layer.trainable = place >= names.index(first)
    return model


# %% [markdown]
# First its statistics: we let it look at all the writers' images, which stands for pretraining. Then one batch of eight digits, the eight brightest of ours, at a **learning rate of zero**, so that no step moves a weight: the loss that training reports, against that of the same weights on the same eight images in use.


# %%
def two_losses(unfreeze):
    """Of the same weights and images: the loss as in training and as in use; and how many arrays moved."""
    model, pixels = small_network(), inputs / 127.5 - 1
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            part = keras.Model(model.input, layer.input)
            seen = part.predict(pixels[learn], batch_size=256, verbose=0)
            layer.set_weights([np.ones(8), np.zeros(8), seen.mean(axis=(0, 1, 2)), seen.var(axis=(0, 1, 2))])
    unfreeze(model, "block2_conv")
    model.compile(keras.optimizers.SGD(0.0), cross_entropy, jit_compile=False)
    brightest = few[np.argsort(images[few].mean(axis=(1, 2, 3)))[-8:]]
    old, eight = model.get_weights(), (pixels[brightest], labels[brightest])
    in_use = float(cross_entropy(eight[1], model(eight[0], training=False)))
    in_training = float(cross_entropy(eight[1], model(eight[0], training=True)))
    model.train_on_batch(*eight)
    moved = sum(not np.array_equal(*pair) for pair in zip(model.get_weights(), old, strict=True))
    return in_training, in_use, moved


# %% tags=["nbval-ignore-output"]
in_training, in_use, moved = two_losses(colleagues_unfreeze)
print(f"loss in training {in_training:.4f}, in use {in_use:.4f}; arrays that moved: {moved}")

# %%
assert abs(in_training - in_use) > 1e-3 and moved == 2
print("two losses for the same weights and images, and two arrays moved at a rate of zero: True")

# %% [markdown]
# What trains is not what is used, and something moves by itself. Write the function that mends it, in plain Keras. It must not depend on what the flags were before, and it should freeze no more than it has to. Its check trains small models, with other layers and other names.


# %%
def unfreeze(model, first):
    """The layer called `first` and all after it learn, but for BatchNormalization; returns the model."""
    ### BEGIN SOLUTION
    model.trainable = True  # the model has a flag of its own, which sets those of all its layers
    names = [layer.name for layer in model.layers]
    for place, layer in enumerate(model.layers):
        is_normalization = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = place >= names.index(first) and not is_normalization
    return model
    ### END SOLUTION


exercise.unfreeze.check(unfreeze)

# %%
if checks.attempted(unfreeze):
    in_training, in_use, moved = two_losses(unfreeze)
    print("one loss, and nothing moved:", abs(in_training - in_use) < 1e-5 and moved == 0)

# %% [markdown]
# ## 5. Find the bug: stopped too early
#
# A head is trained on our `few` images, with Adam at a rate that is rather high, and after each epoch the colleague looks at the validation images. They want to keep the best epoch, and not to wait for ever.

# %%
from finetune_lib import descent

with_bias = np.hstack([features, np.ones((len(features), 1))])
batches = descent.mini_batches(len(few), 16, np.random.default_rng(1))


def slope(weights):
    """The gradient of the next mini-batch's loss."""
    rows = few[next(batches)]
    return descent.softmax_cross_entropy(weights, with_bias[rows], labels[rows])[1]


path = descent.trajectory(slope, np.zeros((129, 10)), descent.Adam(0.01), 80)[4::4]  # four steps an epoch
val_loss = [descent.softmax_cross_entropy(w, with_bias[judge], labels[judge])[0] for w in path]
val_accuracy = [np.mean((with_bias[judge] @ w).argmax(axis=1) == labels[judge]) for w in path]


# %%
def colleagues_epoch(val_accuracy, val_loss, patience):
    """The epoch, from 1, whose weights are kept; after `patience` epochs without a better one, we stop."""
    best = 0
    for epoch, loss in enumerate(val_loss):
        if loss < val_loss[best]:
            best = epoch
        if epoch - best >= patience:
            break
    return best + 1


# %% tags=["nbval-ignore-output"]
kept = colleagues_epoch(val_accuracy, val_loss, patience=3)
figure = matplotlib.figure.Figure(figsize=(8.5, 3), layout="constrained")
axes_of_both = figure.subplots(1, 2)
for axes, values, name in (
    (axes_of_both[0], val_loss, "loss"),
    (axes_of_both[1], val_accuracy, "accuracy"),
):
    axes.plot(range(1, 21), values, ".-", color=plots.BLUE)
    axes.plot(kept, values[kept - 1], "o", color=plots.VERMILION, markersize=10)
    axes.set(xlabel="epoch", ylabel=f"validation {name}", xticks=range(2, 21, 2))
    axes.spines[["top", "right"]].set_visible(False)
plots.show(
    figure,
    "Validation loss and accuracy against the epoch, the table below, with the colleague's epoch marked: the loss is "
    "lowest there, jumps up after it and stays above, while accuracy goes on growing.",
)
looks = (1, 2, 3, 4, 5, 6, 10, 15, 20)
rows = [["loss", *(f"{val_loss[epoch - 1]:.2f}" for epoch in looks)]]
rows.append(["accuracy (%)", *(f"{100 * val_accuracy[epoch - 1]:.1f}" for epoch in looks)])
print(plots.table(["epoch", *map(str, looks)], rows), f"\nkept: epoch {kept}")

# %%
assert kept <= 5 and val_accuracy[-1] > val_accuracy[kept - 1] + 0.025
print("epochs are thrown away that recognise at least 2.5 points more: True")

# %% [markdown]
# The loss is right to rise: the network gets surer of its mistakes, and each costs more. It still makes fewer of them. If what you want is right answers, the loss is the wrong judge.
#
# Write the mended version. Better is a higher accuracy, or, at the *same* accuracy, a lower loss (with 260 images, equal accuracies are common). Once `patience` epochs **in a row** have not been better than the best so far, the training is over, and what would come after is never seen.


# %%
def epoch_to_keep(val_accuracy, val_loss, patience):
    """The epoch, counted from 1, whose weights are kept. Two lists, a value an epoch."""
    ### BEGIN SOLUTION
    best = 0
    for epoch, (accuracy, loss) in enumerate(zip(val_accuracy, val_loss, strict=True)):
        if (accuracy, -loss) > (val_accuracy[best], -val_loss[best]):
            best = epoch
        if epoch - best >= patience:
            break
    return best + 1
    ### END SOLUTION


exercise.epoch_to_keep.check(epoch_to_keep)

# %% tags=["nbval-ignore-output"]
if checks.attempted(epoch_to_keep):
    mended = epoch_to_keep(val_accuracy, val_loss, patience=3)
    for name, epoch in (("by loss", kept), ("by accuracy", mended)):
        print(f"{name}: epoch {epoch}, {val_accuracy[epoch - 1]:.1%} right")

# %% [markdown]
# One doubt remains, for both: the epoch is chosen by the same images that we then quote. What did lesson 05 do instead, to have nothing to choose?
#
# ## 6. Design: a rule that decides
#
# Four recipes, each deeper than the one before, on six draws of training images. (The numbers are invented, to hold every trap at once.)

# %%
measured = {
    "frozen": [80.1, 85.4, 82.0, 84.2, 78.9, 83.3],
    "from block 4": [80.9, 86.1, 82.6, 84.9, 79.3, 83.2],
    "from block 3": [80.4, 85.9, 82.3, 84.6, 89.4, 82.9],
    "from block 1": [82.2, 87.0, 83.9, 84.7, 80.8, 84.6],
}
rows = [
    [name, *(f"{value:.1f}" for value in values), f"{np.mean(values):.1f}"]
    for name, values in measured.items()
]
print(plots.table(["validation (%)", *(f"draw {draw}" for draw in range(6)), "mean"], rows))

# %% [markdown]
# One colleague takes the highest mean. One stops at the first depth that gains nothing over the one before. One says that the ranges overlap, and stays frozen. Write the rule of this course, so that nobody has to argue:
#
# - one recipe is **ahead** of another if it is higher in at least three quarters of the draws, each compared with the *same* draw; equal is not higher;
# - begin with the first recipe, which is the cheapest, and go through the others in their order: whichever is ahead of the present choice becomes the choice;
# - with fewer than four draws nothing is decided: the first stays.
#
# Before you write it: which of the four will it choose?


# %%
def decide(scores):
    """The name of the recipe to take. `scores`: name to accuracies, one a draw; the cheapest comes first."""
    ### BEGIN SOLUTION
    import numpy as np

    choice, *others = scores
    if len(scores[choice]) < 4:
        return choice
    for name in others:
        if np.mean(np.array(scores[name]) > np.array(scores[choice])) >= 3 / 4:
            choice = name
    return choice
    ### END SOLUTION


exercise.decide.check(decide)

# %% tags=["answer-in-figure"]
if checks.attempted(decide):
    choice = decide(measured)
    figure = matplotlib.figure.Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    gains = np.array(list(measured.values())) - measured["frozen"]
    axes.plot(list(measured), gains, ".-", color=plots.GREY)
    axes.plot([choice] * 6, gains[list(measured).index(choice)], "o", color=plots.BLUE, markersize=9)
    axes.set(ylabel="points above frozen, same draw")
    axes.spines[["top", "right"]].set_visible(False)
    plots.show(
        figure,
        "Points above frozen for each recipe, a line a draw: from block 3 one draw stands 10.5 points up and the others "
        f"near zero; from block 1 all six stand between 0.5 and 2.1. Chosen: {choice}.",
    )
    print(f"chosen: {choice}; the highest mean: {max(measured, key=lambda name: np.mean(measured[name]))}")

# %% [markdown]
# One lucky draw makes a mean. It does not make three quarters of the draws.
#
# ## Quiz
#
# **Question 1.** A colleague has read "head first", and writes:
#
# ```python
# model = classifier.build("GlyphNet", names)
# freezing.unfreeze_from(model, "block1")
# fitting.fit(model, dataset, epochs=50, label="head")
# fitting.fit(model, dataset, epochs=50, layer_rate_ratio=10.0, label="the rest")
# ```
#
# The second stage begins below what frozen features would give. Why?
#
# - a) 50 epochs are too few for a head.
# - b) The boundary was moved before the head was trained: the first stage trains everything, at one rate.
# - c) `fit` was called twice, and the second call starts from pretrained weights again.
# - d) The ratio of the second stage is too low.

# %%
# @title Question 1 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c", "d"]
### BEGIN SOLUTION
answer = "b"
### END SOLUTION
exercise.question_1.check(answer)

# %% [markdown]
# **Question 2.** A range test: the loss is flat up to a rate of 0.00003, half-way down at 0.0005, lowest at 0.01, and three times as high at 0.03. What do you try first as the highest rate of a stage?
#
# - a) 0.01, where the loss is lowest.
# - b) 0.00001, to be safe.
# - c) 0.0005; then perhaps some times that, if validation images agree.
# - d) 0.02, between the lowest and the cliff.

# %%
# @title Question 2 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c", "d"]
### BEGIN SOLUTION
answer = "c"
### END SOLUTION
exercise.question_2.check(answer)

# %% [markdown]
# **Question 3.** Two recipes are equally good on the validation images. One has kept nearly all of the old task, the other has lost half. Next month there will be another camera. Which do you take?
#
# - a) Either: equal is equal.
# - b) The one that has kept the old task: its features have moved less, and what is lost may be what the new camera needs.
# - c) The one that has lost it: it has adapted more to the new task.

# %%
# @title Question 3 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c"]
### BEGIN SOLUTION
answer = "b"
### END SOLUTION
exercise.question_3.check(answer)

# %% [markdown]
# **Question 4.** To the same recipe of 20 steps a colleague adds augmentation: nothing gained. Without it, four times the steps: nothing gained. "So neither helps." What do you say?
#
# - a) That is how it is done: change one thing at a time, keep what gains.
# - b) Each was tried without the other; the gain may need both.
# - c) More seeds would have shown that each alone helps.

# %%
# @title Question 4 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c"]
### BEGIN SOLUTION
answer = "b"
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
