# %% [markdown]
# # Fine-tuning, seen by gradient descent
#
# In this notebook, we let gradient descent start at pretrained weights, with noisy gradients and with parts of the network frozen, and measure what that changes.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/02b_fine_tuning_as_descent.ipynb)
#
# **Time:** about 75 minutes to read and try: the code runs for about 1 minute on a CPU with two cores, an estimated 1 minute on a T4.
#
# ## Learning objectives
#
# After this notebook, you will be able to
#
# - say how **noisy** a mini-batch's gradient is, and why learning rates are warmed up and decayed;
# - explain why **where you start** decides what you get, and why fine-tuning takes **small steps**;
# - describe **freezing** as a projection of the gradient, and the frozen part as a constant;
# - show what a random head does to pretrained features, and why one trains the **head first**;
# - predict what a training step **costs** for any choice of frozen layers, and avoid an expensive surprise.
#
# It builds on [lesson 02a](02a_gradient_descent.ipynb): gradient, learning rate, curvature, momentum.
#
# **Terms of this lesson**, in English and 中文: [mini-batch](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#mini-batch), [noise floor](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#noise-floor), [decay](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#decay), [warm-up](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#warm-up), [minimum](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#minimum), [forgetting](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#forgetting), [projection](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#projection), [prefix](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#prefix), [head first](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#head-first), [eager execution](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#eager-execution), [backward pass](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#backward-pass).

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

# %% [markdown]
# ## 1. Gradients from a handful of examples
#
# A gradient over all examples is a mean over $n$ of them. What if we average over a few only, a **mini-batch** of size $B$? One step then costs $B/n$ of the full one. We ask what it is worth, on the digits, the 650 weights and the loss of lesson 02a, some steps into training.

# %%
import numpy as np
import sklearn.datasets

from finetune_lib import convergence, descent, digits, plots

_, _, writers = digits.arrays(wild=False)
scans, labels = sklearn.datasets.load_digits(return_X_y=True)
inputs = np.hstack([scans / 16, np.ones((len(labels), 1))])
is_training = np.isin(writers, digits.WRITERS["train"])
X, y = inputs[is_training], labels[is_training]


def gradient_of_all(weights):
    """The gradient over all training digits."""
    return descent.softmax_cross_entropy(weights, X, y)[1]


W = descent.trajectory(gradient_of_all, np.zeros((65, 10)), descent.SGD(1.0), 5)[-1]
each = descent.softmax_cross_entropy(W, X, y, "none")[1]  # each example's own gradient
full = each.mean(axis=0)
print(f"{len(each)} gradients of {full.size} slopes each")

# %% [markdown]
# First: a mini-batch's gradient is right **on average** ("unbiased"). Shuffle the examples and cut them into equal batches: every example is in one batch, so the mean of the batches' gradients is the full gradient, exactly.

# %%
generator = np.random.default_rng(0)
order = generator.permutation(len(each))
mini_batches = [each[rows].mean(axis=0) for rows in np.split(order, 34)]  # 646 = 34 x 19
assert np.allclose(np.mean(mini_batches, axis=0), full, atol=1e-15)
print(f"mean over {len(mini_batches)} batches of {len(order) // len(mini_batches)} = full gradient: True")

# %% [markdown]
# Second: a single one is off. The mean squared distance from the full gradient, its **variance**, as a mean over all batches that could be drawn, follows from the spread of the single gradients, $S = \frac1n \sum_i \| g_i - g \|^2$:
#
# $$\text{mean of } \| g_{\text{batch}} - g \|^2 = \frac{S}{B} \cdot \frac{n - B}{n - 1} .$$
#
# The first factor is what averaging $B$ independent numbers does. The second corrects for drawing without replacement: a batch of all $n$ has no noise.
#
# **Guess:** with batches four times larger, by what factor does the *typical distance*, the root of the variance, shrink?

# %%
rows = []
for size in (1, 4, 16, 64, 256):
    draws = [each[generator.choice(len(each), size, replace=False)].mean(axis=0) for _ in range(1000)]
    measured = np.mean([np.sum((draw - full) ** 2) for draw in draws])
    formula = convergence.gradient_variance(each, size)
    rows.append([size, measured, formula])
    assert abs(measured / formula - 1) < 0.1
shown = [[str(size), f"{a:.2g}", f"{b:.2g}", f"{np.sqrt(b / np.sum(full**2)):.1f}"] for size, a, b in rows]
print(
    plots.table(
        ["batch size", "measured variance", "formula", "typical distance / length of full gradient"], shown
    )
)
even = next(size for size in range(1, 646) if convergence.gradient_variance(each, size) < np.sum(full**2))
print(f"up to batch size {even - 1} the noise is larger than the gradient itself")

# %%
import matplotlib.figure

figure = matplotlib.figure.Figure(figsize=(6, 3.4), layout="constrained")
axes = figure.subplots()
sizes = np.arange(1, len(each))
axes.plot(
    sizes, [convergence.gradient_variance(each, size) for size in sizes], color=plots.GREY, label="formula"
)
axes.plot(sizes, rows[0][2] / sizes, ":", color=plots.GREY, label="formula with replacement")
axes.plot([row[0] for row in rows], [row[1] for row in rows], "o", color=plots.BLUE, label="measured")
axes.axhline(np.sum(full**2), color=plots.VERMILION, linewidth=1, label="squared length of the full gradient")
axes.set(xlabel="batch size", ylabel="variance of the gradient", xscale="log", yscale="log", ylim=(1e-3, 30))
axes.legend(frameon=False, fontsize=9)
axes.spines[["top", "right"]].set_visible(False)
plots.show(
    figure,
    "Variance of the gradient against batch size, both logarithmic: the measured points of the table lie on the "
    "formula's line, which falls as 1 / B, at first along the dotted line of drawing with replacement, and plunges to zero at the full batch. The squared length of the full "
    "gradient is a horizontal line, which the variance crosses between batch sizes 64 and 256.",
)

# %% [markdown]
# The typical distance halves with every row of the table (a little more in the last: 256 is already a good part of all 646): four times the work for half the noise. So small batches are the better bargain, as long as their noise can be borne. Even where it is *larger than the gradient itself*, training works all the same, because the errors of many steps average out, as long as each step is small.
#
# See for yourself, on the fog of lesson 02a (contrast and brightness of a picture; here with scaled pixels). Each example is one of 1,024 pixels. At batch size 1: which rate gives the lowest loss? How far up can you go before it no longer settles? Then raise the batch size.

# %%
from finetune_lib import widgets

pictures, picture_labels, _ = digits.arrays(wild=False)
wanted = 1 - pictures[picture_labels == 2][0][:, :, 0] / 255
foggy = np.clip(0.3 + 0.4 * wanted + generator.normal(0, 0.03, wanted.shape), 0, 1).ravel()
fog = np.stack([(foggy - foggy.mean()) / foggy.std(), np.ones(foggy.size)], axis=1)
targets = wanted.ravel()
widgets.mini_batch_explorer(fog, targets)

# %% [markdown]
# ### Why the rate is decayed
#
# With a constant rate the path arrives, and then buzzes around the minimum for ever: each step adds noise, each step pulls back. Along an eigenvector of curvature $\lambda$, with noise of variance $\sigma^2$, a step makes of the error $e$ the sum of two independent parts, $(1 - a\lambda)\, e$ and $a$ times the noise. Variances of independent parts add, so the error's variance settles where $V = (1 - a\lambda)^2 V + a^2 \sigma^2$, which gives a mean loss, above the minimum, of
#
# $$\tfrac12 \lambda V = \frac{a\, \sigma^2}{2\,(2 - a \lambda)} \quad \text{for each direction.}$$
#
# For small rates: *proportional to the rate, and to one over the batch size*. We check it on the fog, with batches of 8 that are drawn anew at every step, as the formula assumes. And we look at what Keras does instead: shuffle, then take batch after batch, so that in each epoch every example comes once.
#
# **Guess:** does shuffling buzz more, less or the same?

# %%
best = np.linalg.lstsq(fog, targets, rcond=None)[0]
bowl = convergence.Quadratic(fog.T @ fog / len(fog), best)
curvatures, directions = np.linalg.eigh(bowl.hessian)
alone = descent.least_squares(best, fog, targets, "none")[1] @ directions
variances = np.array([convergence.gradient_variance(alone[:, [j]], 8) for j in range(2)])


def noisy(seed, shuffled=True):
    """A function that gives the gradient of another mini-batch of 8 pixels each time."""
    generator = np.random.default_rng(seed)
    epochs = descent.mini_batches(len(fog), 8, generator)

    def gradient(weights):
        rows = next(epochs) if shuffled else generator.choice(len(fog), 8, replace=False)
        return descent.least_squares(weights, fog[rows], targets[rows])[1]

    return gradient


# %%
print("mean loss above the minimum")
for rate in (0.4, 0.1, 0.025):
    drawn, shuffled = (
        bowl.loss(descent.trajectory(noisy(0, way), best, descent.SGD(rate), 20_000)[1000:]).mean()
        for way in (False, True)
    )
    formula = convergence.noise_floor(curvatures, variances, rate)
    print(f"rate {rate:5}: formula {formula:.1e}, drawn anew {drawn:.1e}, shuffled {shuffled:.1e}")
    assert abs(drawn / formula - 1) < 0.25, (drawn, formula)
    assert shuffled < 1.05 * drawn

# %% [markdown]
# A quarter of the rate, about a quarter of the floor. Shuffling is quieter, and the more so the smaller the rate: the batches of an epoch average to the full gradient, as the first cell showed, so the errors of early and late ones cancel. A smaller rate, though, means also a slower way down. To have both, begin with a large rate and let it fall: `descent.cosine`, half a cosine from the top to zero, is the schedule that `fitting.fit` uses unless told otherwise.
#
# **Guess** the order after 100 and after 600 steps: constant 0.4, constant 0.025, cosine from 0.4.

# %%
schedules = {"constant 0.4": 0.4, "constant 0.025": 0.025, "cosine from 0.4": descent.cosine(0.4, 600)}
curves = {
    name: np.mean(
        [
            bowl.loss(descent.trajectory(noisy(seed), best + 2.0, descent.SGD(rate), 600))
            for seed in range(20)
        ],
        axis=0,
    )
    for name, rate in schedules.items()
}
print(plots.loss_curves_table(curves))
assert curves["constant 0.025"][100] > 10 * curves["cosine from 0.4"][100]
assert curves["constant 0.4"][600] > 5 * curves["cosine from 0.4"][600]

# %%
plots.show(
    plots.loss_curves(curves),
    "Mean loss over twenty runs against steps, the numbers above: a constant 0.4 falls fast and stays at its "
    "floor; a constant 0.025 falls slowly to a lower one; the cosine falls as fast as the first and ends near the second.",
)

# %% [markdown]
# The cosine is down after a few dozen steps, like the large rate, *and* ends about as low as the small one.
#
# ### Why the rate is warmed up
#
# The limit $2/\lambda_{\max}$ is not the same everywhere. For a single layer, cross-entropy is most curved where the network is undecided, that is, early; once most digits are clear, the ground is flatter. (In deep networks curvature may rise instead; that early steps are the risky ones holds there, too.) `convergence.largest_curvature` measures $\lambda_{\max}$ wherever we stand.

# %%
path = descent.trajectory(gradient_of_all, np.zeros((65, 10)), descent.SGD(1.0), 300)
for step in (0, 10, 100, 300):
    curvature = convergence.largest_curvature(gradient_of_all, path[step])
    print(f"after {step:3} steps: largest curvature {curvature:.2f}, limit of the rate {2 / curvature:.1f}")
assert curvature < convergence.largest_curvature(gradient_of_all, path[0]) / 2

# %% [markdown]
# So a rate of 5 is far beyond the limit at first, and safe later. Start at once with it, or climb to it over 80 steps: the **warm-up**.

# %%
starts = {"at once": descent.SGD(5.0), "warmed up": descent.SGD(lambda step: 5.0 * min(1, (step + 1) / 80))}
losses = {}
for name, optimizer in starts.items():
    path = descent.trajectory(gradient_of_all, np.zeros((65, 10)), optimizer, 150)
    losses[name] = [descent.softmax_cross_entropy(weights, X, y)[0] for weights in path]
    rises = np.sum(np.diff(losses[name]) > 0)
    print(
        f"{name:9}: worst loss {max(losses[name]):.2f}, steps on which it rose {rises}, end {losses[name][-1]:.3f}"
    )
assert (np.diff(losses["warmed up"]) < 0).all() and max(losses["at once"]) > 1.2 * losses["at once"][0]

# %% [markdown]
# Warmed up, it never goes uphill. Here the network recovers either way, and the warm-up even costs a few steps, because it knew nothing that could be lost. A *pretrained* network thrown about like this would lose what it knows. And Adam needs a warm-up even more. Its first step moves every weight by the full rate, in the direction of a sign that a noisy mini-batch gave:

# %%
clear = np.abs(full) > 1e-4
wrong = np.mean([np.mean(np.sign(draw[clear]) != np.sign(full[clear])) for draw in mini_batches])
print(
    f"batches of 19: {wrong:.0%} of the slopes have the wrong sign, so Adam's first step takes these weights uphill"
)
assert wrong > 0.2

# %% [markdown]
# ## 2. Where you start is what you keep
#
# Now to fine-tuning. The rule stays the same, only $W_0$ is not zero but $W_{\text{pre}}$, the pretrained weights. Why should that matter, if the descent arrives at the minimum anyway?
#
# Because there are many minima. With fewer images than weights, infinitely many $W$ fit all images perfectly. To see which one descent finds, we take GlyphNet's 128 features and a linear head, by least squares (a loss for which everything can be computed).
#
# - *Pretraining*: clean digits, 646 images.
# - *Fine-tuning*: 50 wild digits, turned and shifted and faded; 128 weights a class.

# %%
import keras

from finetune_lib import classifier

network = classifier.build("GlyphNet", [str(digit) for digit in range(10)])
to_features = keras.Model(network.input, network.get_layer("average_pool").output)
clean, wild = (digits.arrays(wild=is_wild)[0] for is_wild in (False, True))
features = {
    name: to_features.predict(images.astype("float32"), batch_size=256, verbose=0).astype("float64")
    for name, images in {"clean": clean, "wild": wild}.items()
}
scale = features["clean"][is_training].std(axis=0) + 1e-3
features = {name: values / scale for name, values in features.items()}
one_hot = np.eye(10)[labels]
rows = digits.split(labels, writers, labels_per_class=5, seed=0)
print(f"{len(rows['train'])} wild images to fine-tune on, {features['wild'].shape[1]} features each")

# %% [markdown]
# Pretraining is solved in one go, with a little weight decay. Then we fine-tune on the 50 wild images, 3,000 steps, from $W_{\text{pre}}$ and from zero, and follow the accuracy on the wild digits of seven new writers. Five draws of the 50 images.
#
# **Guess:** both descents drive the loss on the 50 images towards zero. Will more steps always help? Will they end up equally good?

# %%
source, source_wanted = features["clean"][is_training], one_hot[is_training]
pretrained = np.linalg.solve(source.T @ source + np.eye(128), source.T @ source_wanted)


def share_right(W):
    """How many wild digits by new writers get the highest output for the right class."""
    return np.mean((features["wild"][rows["test"]] @ W).argmax(axis=1) == labels[rows["test"]])


looks = [0, 1, 3, 10, 30, 100, 300, 1000, 3000]
accuracy, fits = {"from pretrained": [], "from zero": []}, []
for seed in range(5):
    chosen = digits.split(labels, writers, labels_per_class=5, seed=seed)["train"]
    few, few_wanted = features["wild"][chosen], one_hot[chosen]
    largest = np.linalg.eigvalsh(few.T @ few / 50)[-1]
    for name, W_0 in (("from pretrained", pretrained), ("from zero", 0 * pretrained)):
        path = descent.trajectory(
            lambda W, X=few, Y=few_wanted: X.T @ (X @ W - Y) / 50, W_0, descent.SGD(1 / largest), 3000
        )
        fits.append([np.sum((few @ path[look] - few_wanted) ** 2) / 100 for look in looks])
        accuracy[name].append([100 * share_right(path[look]) for look in looks])
accuracy = {name: np.array(values) for name, values in accuracy.items()}

# %% tags=["nbval-ignore-output"]
rows_shown = [[name, *(f"{value:.1f}" for value in values.mean(axis=0))] for name, values in accuracy.items()]
rows_shown.append(["loss on the 50", *(f"{value:.2g}" for value in fits[0])])
print("test accuracy (%), mean of five draws; loss from pretrained, first draw")
print(plots.table(["steps", *map(str, looks)], rows_shown))

# %%
figure = matplotlib.figure.Figure(figsize=(7, 3.6), layout="constrained")
axes = figure.subplots()
for (name, values), colour in zip(accuracy.items(), (plots.BLUE, plots.VERMILION), strict=True):
    axes.plot(range(len(looks)), values.T, color=colour, linewidth=0.7, alpha=0.4)
    axes.plot(range(len(looks)), values.mean(axis=0), "o-", color=colour, label=name)
axes.axhline(
    accuracy["from pretrained"][0, 0],
    color=plots.GREY,
    linewidth=1,
    linestyle=":",
    label="pretrained, as it is",
)
axes.set_xticks(range(len(looks)), looks)
axes.set(xlabel="steps", ylabel="test accuracy (%)", ylim=(60, 95))
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plots.show(
    figure,
    "Test accuracy against steps, five draws and their mean, the table above. From pretrained the curve rises a "
    "little until about 30 steps, then falls well below where it began. From zero it rises, falls, and stays lower.",
)

# %% tags=["nbval-ignore-output"]
tuned, scratch = (accuracy[name].mean(axis=0) for name in accuracy)
gain = accuracy["from pretrained"][:, looks.index(30)] - accuracy["from pretrained"][:, 0]
loss_in_the_end = accuracy["from pretrained"][:, -1] - accuracy["from pretrained"][:, 0]
print(f"30 steps: {gain.mean():+.1f} points against pretrained ({gain.min():+.1f} to {gain.max():+.1f})")
print(
    f"3,000 steps: {loss_in_the_end.mean():+.1f} points ({loss_in_the_end.min():+.1f} to {loss_in_the_end.max():+.1f})"
)
assert gain.min() > 0 and loss_in_the_end.max() < 0
assert (tuned > scratch).all() and fits[0][-1] < 1e-3 * fits[0][0]
print("from pretrained is better than from zero at every look: True")

# %% [markdown]
# Fine-tuning gained a little and then lost more than it had gained, on every draw, while the loss on the 50 images fell and fell. (That the head from the clean digits could be bettered at all is because its weight decay was weak: *Try it yourself* 1. We looked at test accuracies to *show* this. To *choose* the number of steps, use validation images.)
#
# ### Which minimum is it?
#
# The gradient, $X^\top(XW - Y)/n$, is always a weighted sum of the images' feature vectors. So descent moves only within the space of all such sums; across it $W$ stays *exactly* where it began. Among all $W$ that fit the images, descent therefore arrives at the one **nearest to where it started**:
#
# $$W_\infty = W_0 + X^{+} (Y - X W_0),$$
#
# with the pseudo-inverse $X^+$, the matrix that gives *shortest* solutions: $X^+ b$ is the shortest $w$ with $X w = b$. We check it, on the last draw. To be there quickly, we use the best momentum for these curvatures, as in lesson 02a.

# %%
curvatures = np.linalg.eigvalsh(few.T @ few / 50)
seen = curvatures[curvatures > 1e-9 * curvatures[-1]]
heavy_ball = convergence.best_for_quadratic(seen[0], seen[-1])["heavy ball"]
steps = int(np.log(1e-8) / np.log(convergence.convergence_rates(seen, heavy_ball).max()))
print(f"{len(seen)} of {len(curvatures)} curvatures are above zero; heavy ball for {steps} steps")

across = np.eye(128) - np.linalg.pinv(few) @ few  # projects onto the directions that no image speaks of
for name, W_0 in (("pretrained", pretrained), ("zero", 0 * pretrained)):
    end = descent.trajectory(lambda W: few.T @ (few @ W - few_wanted) / 50, W_0, heavy_ball, steps)[-1]
    nearest = W_0 + np.linalg.pinv(few) @ (few_wanted - few @ W_0)
    kept = np.linalg.norm(across @ end) / np.linalg.norm(end)
    print(
        f"from {name}: fits to {np.abs(few @ end - few_wanted).max():.0e}; the part of it on which no image "
        f"of the 50 has a say is {kept:.0%} as long as the whole"
    )
    assert np.allclose(end, nearest, atol=1e-4) and np.allclose(across @ end, across @ W_0, atol=1e-9)

# %% [markdown]
# That is transfer learning in one formula. What the new images determine is learned from them; *everything else is kept from $W_0$*. Start at zero, and everything else is zero. Start at weights that know something, and they go on knowing it.
#
# ## 3. Small steps: moving and forgetting
#
# Now all of GlyphNet. It was pretrained to tell printed glyphs apart, and this old head still exists. So we can measure what fine-tuning on digits does to the *old* task: put the old head back, and test it on glyphs in fonts it never saw.

# %% tags=["nbval-ignore-output"]
import tensorflow as tf

from finetune_lib import comparison, data, fitting, freezing, glyphnet

dataset = data.load("digits_wild", labels_per_class=5)
old_task = glyphnet.glyph_stream(glyphnet.HELD_OUT_FONTS, steps=2, seed=5)
glyphs, glyph_labels = (np.concatenate(parts) for parts in zip(*old_task.as_numpy_iterator(), strict=True))


with_old_head = glyphnet.source_classifier(len(glyphnet.GLYPHS))
glyphnet.load_weights(with_old_head, "glyphs")


def share_of_glyphs(model):
    """How many glyphs the model's features still tell apart, with the head of the old task."""
    for layer in with_old_head.layers:
        if layer.name.startswith("block") and layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return np.mean(with_old_head.predict(glyphs, batch_size=256, verbose=0).argmax(axis=1) == glyph_labels)


print(f"{network.count_params():,} weights; {len(glyphnet.GLYPHS)} kinds of glyphs")
print(f"{share_of_glyphs(network):.1%} of {len(glyphs)} pictures recognised")

# %% [markdown]
# The recipe: first train the new head (lesson 00), then all layers, by `SGD` with momentum 0.9 for 100 steps. We only vary the learning rate, from the classic 0.001 up. Each run gives three numbers: how far the weights have moved, relative to their length; the accuracy on digits; the accuracy on glyphs.

# %% tags=["nbval-ignore-output"]
start = comparison.frozen(
    dataset, "GlyphNet", recipe=comparison.Recipe(steps=200, learning_rate=3e-3, views=8), verbose=0
).model
test_images, test_labels = (np.stack(part) for part in zip(*dataset.test.as_numpy_iterator(), strict=True))


def share_of_digits(model):
    """How many wild digits by new writers the model recognises."""
    return np.mean(
        model.predict(test_images.astype("float32"), batch_size=256, verbose=0).argmax(axis=1) == test_labels
    )


def body(model):
    """All weights below the head, in one list."""
    return np.concatenate([weight.numpy().ravel() for layer in model.layers[:-1] for weight in layer.weights])


# %% [markdown]
# The descent itself is a few lines. To compile a training step takes as long as many steps of it. So we compile one, for one network, and begin each run by setting its weights and its momentum back.

# %%
learner = freezing.unfreeze_from(keras.models.clone_model(start), "block1")
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
sgd = keras.optimizers.SGD(momentum=0.9)
sgd.build(learner.trainable_variables)


@tf.function(reduce_retracing=True)
def step(images, labels):
    """One step of gradient descent on a batch."""
    with tf.GradientTape() as tape:
        value = cross_entropy(labels, learner(images))
    sgd.apply(tape.gradient(value, [weight.value for weight in learner.trainable_weights]))


def descend(weights, rate, stream):
    """Let the learner begin at these weights, and take a step on each batch of the stream."""
    learner.set_weights(weights)
    for memory in sgd.variables:
        memory.assign(keras.ops.zeros_like(memory))
    sgd.learning_rate = rate
    for images, labels in stream:
        step(images, labels)


# %% [markdown]
# Two seeds, each with its own order of the images and its own augmentations; all rates meet the same batches.
#
# **Guess:** at which rate will accuracy on digits be best? And what will remain of the glyphs?

# %% tags=["nbval-ignore-output"]
from finetune_lib import batches

augmented = {"augment": dataset.augment, "views": "online"}
streams = {
    seed: list(batches.of_images(dataset, epochs=50, batch_size=32, seed=seed, **augmented).training)
    for seed in (0, 1)
}
measured = {}
for rate in (0.001, 0.01, 0.03):
    for seed, stream in streams.items():
        descend(start.get_weights(), rate, stream)
        distance = np.linalg.norm(body(learner) - body(start)) / np.linalg.norm(body(start))
        measured[rate, seed] = [
            100 * distance,
            100 * share_of_digits(learner),
            100 * share_of_glyphs(learner),
        ]

# %% tags=["nbval-ignore-output"]
before = 0.0, 100 * share_of_digits(start), 100 * share_of_glyphs(start)
rows_shown = [["head only", "", *(f"{value:.1f}" for value in before)]]
for (rate, seed), values in measured.items():
    rows_shown.append([str(rate), str(seed), *(f"{value:.1f}" for value in values)])
print(plots.table(["learning rate", "seed", "distance moved (%)", "digits (%)", "glyphs (%)"], rows_shown))

# %% tags=["nbval-ignore-output"]
figure = matplotlib.figure.Figure(figsize=(9, 3.2), layout="constrained")
rates = sorted({rate for rate, _ in measured})
names = ("distance moved (%)", "new task: digits (%)", "old task: glyphs (%)")
for axes, column, name in zip(figure.subplots(1, 3), range(3), names, strict=True):
    values = np.array([[measured[rate, seed][column] for rate in rates] for seed in (0, 1)])
    axes.plot(rates, values.T, "o", color=plots.BLUE, markersize=4)
    axes.plot(rates, values.mean(axis=0), color=plots.BLUE)
    axes.axhline(before[column], color=plots.GREY, linestyle=":")
    axes.set(xlabel="learning rate", title=name, xscale="log", yscale="log" if column == 0 else "linear")
    axes.spines[["top", "right"]].set_visible(False)
plots.show(
    figure,
    "Three panels against the learning rate, the numbers of the table above; dotted lines show the head-only "
    "model. The distance grows with the rate; accuracy on digits starts near the dotted line and "
    "collapses, accuracy on glyphs starts near it and collapses even further.",
)

# %%
import itertools

mean = {rate: np.mean([measured[rate, seed] for seed in (0, 1)], axis=0) for rate in rates}
assert all(mean[low][0] < mean[high][0] for low, high in itertools.pairwise(rates))
assert abs(mean[0.001][1] - before[1]) < 4 and mean[0.001][2] > before[2] - 2
assert mean[0.03][1] < before[1] - 10 and mean[0.03][2] < before[2] - 30
print("the distance grows with the rate: True")
print("0.001 changes the glyphs by less than two points, the digits by less than four: True")
print("0.03 costs more than 10 points on digits and more than 30 on glyphs: True")

# %% [markdown]
# At the classic rate the network hardly moves, and forgets nothing; on digits it changes by little more than two seeds differ. (A gain worth the name takes augmentation and patience: lesson 00 shows one, lesson 05 how.) At large rates it is thrown out of the region in which its features mean something: it forgets the old task *and* fails at the new one, for which 50 images cannot replace what was lost. 0.001 is no magic number, but it is on the safe side of this cliff. Where the cliff is depends on the network, its inputs and its loss (lesson 02a); lesson 05 will find it with a range test.
#
# ## 4. Freezing is a projection
#
# What does `trainable = False` mean to gradient descent? The gradient has a slope for every weight. Freezing replaces the slopes of frozen weights by zero: it *projects* the gradient onto the coordinates that may move,
#
# $$W_{t+1} = W_t - a\, P\, \nabla L(W_t), \qquad P = \text{diagonal of ones (trainable) and zeros (frozen)}.$$
#
# The slopes that remain are the same as without freezing. We check: the full gradient times $P$, against what Keras' `train_on_batch` does to a frozen model.

# %%
images, true = tf.constant(test_images[:32], tf.float32), tf.constant(test_labels[:32])

model = keras.models.clone_model(start)
model.set_weights(start.get_weights())
freezing.unfreeze_from(model, "block4")
P = [float(weight.trainable) for weight in model.weights]
old = model.get_weights()

with tf.GradientTape() as tape:
    value = cross_entropy(true, model(images))
slopes = tape.gradient(value, [weight.value for weight in model.weights])
projected = [-0.01 * keep * slope.numpy() for keep, slope in zip(P, slopes, strict=True)]

model.compile(keras.optimizers.SGD(0.01), cross_entropy, jit_compile=False)
model.train_on_batch(images, true)
moves = [after - before for after, before in zip(model.get_weights(), old, strict=True)]
for keep, move, expected in zip(P, moves, projected, strict=True):
    assert np.abs(move - expected).max() <= 1e-3 * np.abs(expected).max() + 1e-7 and (keep or not move.any())
print(
    f"{sum(P):.0f} of {len(P)} weight arrays moved, each as the projected gradient says; the others not by one bit"
)

# %% [markdown]
# ### The frozen prefix is a constant
#
# If no weight below the boundary moves, the output of that part, for a given image, never changes. It is a *constant function*: as long as the images stay the same, compute it once, and train the rest on its results as if they were the data. `freezing.split` cuts the model there.

# %%
prefix, suffix = freezing.split(model)
stored = prefix(images)  # computed once
whole = keras.models.clone_model(model)
whole.set_weights(model.get_weights())
freezing.unfreeze_from(whole, "block4")
for part in (whole, suffix):
    part.compile(keras.optimizers.SGD(0.01, momentum=0.9), cross_entropy, jit_compile=False)
for _ in range(5):
    whole.train_on_batch(images, true)
    suffix.train_on_batch(stored, true)
assert np.allclose(prefix(images), stored)
assert all(
    np.allclose(a, b, atol=1e-5) for a, b in zip(whole.get_weights(), model.get_weights(), strict=True)
)
print("the whole model on images = the suffix on stored activations, after 5 steps: True")
print(
    f"an image has {np.prod(images.shape[1:]):,} numbers, its activation at the boundary {np.prod(stored.shape[1:]):,}"
)

# %% [markdown]
# This is the idea that the whole course is built around. Lesson 04 turns it into training that is several times faster, with the same result.
#
# ## 5. Head first
#
# A new head starts at random. What does that do to the features below it? By the chain rule the gradient reaches them *through the head's weights*: $\partial \ell / \partial \text{features} = W_{\text{head}}\,(p - \text{onehot})$. A head of random numbers sends random directions down, and a network that does not know yet what it sees sends large ones. Let us measure the gradient that arrives in the body, for three heads.


# %%
def slope_of_body(head_weights):
    """The length of the gradient of all weights below the head."""
    model = keras.models.clone_model(start)
    model.set_weights(start.get_weights())
    model.get_layer("logits").set_weights(head_weights)
    below = [weight for weight in model.weights if "logits" not in weight.path]
    train_images, train_labels = (
        np.stack(part) for part in zip(*dataset.train.as_numpy_iterator(), strict=True)
    )
    with tf.GradientTape() as tape:
        value = cross_entropy(train_labels, model(train_images.astype("float32")))
    slopes = tape.gradient(value, [weight.value for weight in below])
    return float(np.sqrt(sum(np.sum(slope.numpy() ** 2) for slope in slopes)))


random_head = [keras.initializers.GlorotUniform(seed=0)((128, 10)).numpy(), np.zeros(10)]
slopes = {
    "random (Keras' default)": slope_of_body(random_head),
    "zeros": slope_of_body([np.zeros((128, 10)), np.zeros(10)]),
    "trained": slope_of_body(start.get_layer("logits").get_weights()),
}
for name, slope in slopes.items():
    print(f"{name:24} length of the body's gradient: {slope:.3g}")
assert slopes["zeros"] == 0 and slopes["random (Keras' default)"] > 5 * slopes["trained"] > 0

# %% [markdown]
# A head of zeros sends nothing down at first (which is why this course's heads start at zeros); a random one sends a gradient many times that of a trained head, and in a meaningless direction. **LP-FT** (linear probing, then fine-tuning; Kumar et al., [2202.10054](https://arxiv.org/abs/2202.10054)) draws the conclusion: train the head first, then the rest.
#
# Their sharpest finding concerns images *unlike* the training images: compared with training the head alone, fine-tuning from a random head gained 2 points on familiar images and lost 7 on unfamiliar ones; head first lost neither. We try something similar, smaller and harsher: learn from 50 **clean** digits, then test on clean and on **wild** ones. Four ways, the same 40 steps at the same rate for the body, three draws. We also measure how far the features have moved on the wild images: the mean distance from the pretrained features, relative to their length.
#
# **Guess:** will a head of zeros end nearer to the random head or to head first: in accuracy, and in how far the features move?

# %% tags=["nbval-ignore-output"]
pretrained_features = to_features.predict(test_images.astype("float32"), batch_size=256, verbose=0)
watched = keras.Model(learner.input, [learner.output, learner.get_layer("average_pool").output])


def outcome(clean_dataset):
    """Accuracy of the learner on clean and wild digits, and how far its features moved on the wild, in %."""
    clean_images, clean_labels = (
        np.stack(part) for part in zip(*clean_dataset.test.as_numpy_iterator(), strict=True)
    )
    clean_logits, _ = watched.predict(clean_images.astype("float32"), batch_size=256, verbose=0)
    wild_logits, features = watched.predict(test_images.astype("float32"), batch_size=256, verbose=0)
    right = [
        100 * np.mean(logits.argmax(axis=1) == truth)
        for logits, truth in ((clean_logits, clean_labels), (wild_logits, test_labels))
    ]
    moved = np.linalg.norm(features - pretrained_features, axis=1)
    return [*right, 100 * np.mean(moved / np.linalg.norm(pretrained_features, axis=1))]


# %% tags=["nbval-ignore-output"]
def trained_head(clean_dataset, seed):
    """The weights of the pretrained network, with a head that has been trained on its features."""
    model = freezing.freeze(classifier.build("GlyphNet", clean_dataset.class_names))
    fitting.fit(model, clean_dataset, epochs=40, learning_rate=3e-3, seed=seed, verbose=0)
    return model.get_weights()


# %% tags=["nbval-ignore-output"]
ways = ("random head, all at once", "zero head, all at once", "head first")
results = {way: [] for way in ("head only", *ways)}
for seed in range(3):
    clean_dataset = data.load("digits", labels_per_class=5, seed=seed)
    head_first = trained_head(clean_dataset, seed)
    descend(head_first, 0.0, [])  # no step at all
    results["head only"].append(outcome(clean_dataset))
    random = keras.initializers.GlorotUniform(seed)((128, 10)).numpy()
    kernels = {ways[0]: random, ways[1]: np.zeros((128, 10))}
    begins = {way: [*head_first[:-2], kernel, np.zeros(10)] for way, kernel in kernels.items()}
    twenty_epochs = {"epochs": 20, "batch_size": 32, "augment": None, "views": 1, "seed": seed}
    stream = list(batches.of_images(clean_dataset, **twenty_epochs).training)
    for way, weights in (begins | {"head first": head_first}).items():
        descend(weights, 0.001, stream)
        results[way].append(outcome(clean_dataset))

# %% tags=["nbval-ignore-output"]
results = {way: np.array(values) for way, values in results.items()}
shown = [
    [
        way,
        *(
            f"{mean:.1f} (± {sd:.1f})"
            for mean, sd in zip(values.mean(axis=0), values.std(axis=0, ddof=1), strict=True)
        ),
    ]
    for way, values in results.items()
]
print("mean and standard deviation over three draws")
print(plots.table(["way", "clean digits (%)", "wild digits (%)", "features moved (%)"], shown))

# %%
clean_gap, wild_gap, _ = (results["head first"] - results["random head, all at once"]).min(axis=0)
assert clean_gap > 2 and wild_gap > 10
assert (results["random head, all at once"][:, 2] > 5 * results["head first"][:, 2]).all()
print(
    "in every draw, head first wins by more than 2 points on clean and by more than 10 on wild digits: True"
)
print("and the random head moves the features more than five times as far: True")

# %% [markdown]
# The random head did not only learn less: it *bent the features* in directions that no image had asked for, and what they knew of turned and faded shapes was gone. Zeros repair most of it: they move the features, too, but where the images want them. Head first moves them least and is, here, about as good as the untouched features: with 50 images, at this rate, it risks nothing. And it is cheap: the head's training needs the features only once.
#
# ## 6. The eager-tape surprise
#
# Freezing should also save time: no slopes are needed below the boundary, so the backward pass can stop there. With `model.fit` it does. In a loop of your own it may not, and nobody tells you. `layer.trainable = False` is Keras' affair; a `tf.GradientTape` watches every `tf.Variable` that is read and was *created* trainable. Keras' flag, set later, does not change that:

# %%
freezing.freeze(start)
with tf.GradientTape() as naive:
    value = cross_entropy(true, start(images))
print(
    "weights to train:", len(start.trainable_weights), " watched by the tape:", len(naive.watched_variables())
)

with tf.GradientTape(watch_accessed_variables=False) as told:
    for weight in start.trainable_weights:
        told.watch(weight.value)
    value = cross_entropy(true, start(images))
print("told what to watch:", len(told.watched_variables()))
assert len(naive.watched_variables()) == len(start.weights) and len(told.watched_variables()) == 2

# %% [markdown]
# A naive loop that runs *eagerly* pays for the backward pass through the whole network, and throws it away. Inside a `tf.function` TensorFlow sees the whole graph and prunes what nobody asked for; `fit` works like that. We time them. (Timings scatter, so nothing is asserted here; watch the ratio.)
#
# **Guess:** a forward pass costs 1. What will the naive loop cost, and the one that was told?

# %%
import time

batch = tf.constant(test_images[:128], tf.float32)
batch_labels = tf.constant(test_labels[:128])


def gradient_of_head(watch_everything):
    """The head's gradient; the tape watches either everything that is read, or the head alone."""
    with tf.GradientTape(watch_accessed_variables=watch_everything) as tape:
        for weight in start.trainable_weights:
            tape.watch(weight.value)
        value = cross_entropy(batch_labels, start(batch))
    return tape.gradient(value, [weight.value for weight in start.trainable_weights])


# %% tags=["nbval-ignore-output"]
compiled = tf.function(lambda: gradient_of_head(True))
loops = {
    "forward": lambda: start(batch),
    "tf.function, forward": tf.function(lambda: start(batch)),
    "eager, naive": lambda: gradient_of_head(True),
    "eager, told what to watch": lambda: gradient_of_head(False),
    "tf.function, naive": compiled,
}
seconds = {name: [] for name in loops}
for _ in range(8):  # in turn, so that a busy machine disturbs all alike
    for name, loop in loops.items():
        began = time.perf_counter()
        loop()
        seconds[name].append(time.perf_counter() - began)
for name, values in seconds.items():
    print(f"{name:26} {min(values) / min(seconds['forward']):.1f} times a forward pass")

# %%
for naive_slope, told_slope, compiled_slope in zip(
    gradient_of_head(True), gradient_of_head(False), compiled(), strict=True
):
    assert np.allclose(naive_slope, told_slope, atol=1e-6) and np.allclose(
        naive_slope, compiled_slope, atol=1e-5
    )
print("all three give the same gradient: True")

# %% [markdown]
# Told what to watch, the eager loop costs little more than a forward pass; the naive one nearly three times as much, as the count below will say. Compiled, everything is faster, and the gradient costs hardly more than the compiled forward pass.
#
# ## 7. What a step costs
#
# How much *should* freezing save? Count multiplications. A layer that passes an image forwards does some number $F$ of them. Going back, it does another $F$ for the slopes of its own weights, if it learns, and another $F$ to hand the gradient down, **if anything below it learns**. So:
#
# - training everything costs about 3 forward passes;
# - training the head costs 1;
# - a frozen layer *above* a trained one still costs 2.
#
# Memory follows the same line: the backward pass needs the activations of every layer from the lowest trained one upwards.
#
# **Guess**, for VGG16: what is cheaper to train, block 1 alone, with 39 thousand parameters, or block 5 alone, with 7 million? Tick the boxes and read.

# %%
# @title Which network shall we explore?
explored = "VGG16"  # @param ["VGG16", "GlyphNet", "ResNet50", "MobileNetV2"]

explored_model = classifier.build(explored, dataset.class_names, weights=None)
widgets.freeze_explorer(explored_model)

# %%
from finetune_lib import cost

vgg = cost.layers(classifier.build("VGG16", dataset.class_names, weights=None))
everything = cost.step(vgg, ["block1", "block2", "block3", "block4", "block5", "logits"])
for choice in (["logits"], ["block1"], ["block5"], ["block5", "logits"]):
    step = cost.step(vgg, choice)
    print(
        f"{' and '.join(choice):18} {step.trained_parameters:10,} parameters, "
        f"{step.multiply_adds / step.forward:.2f} forward passes, {step.memory_bytes / 1e6:6,.0f} MB"
    )
print(
    f"{'everything':18} {everything.trained_parameters:10,} parameters, "
    f"{everything.multiply_adds / everything.forward:.2f} forward passes, {everything.memory_bytes / 1e6:6,.0f} MB"
)
block_1, block_5 = cost.step(vgg, ["block1"]), cost.step(vgg, ["block5"])
assert block_1.multiply_adds > 1.5 * block_5.multiply_adds and block_1.memory_bytes > 5 * block_5.memory_bytes

# %% [markdown]
# Block 1 has few parameters and is dear; block 5 has many and is cheap. *Parameters are not what training costs.* It is the depth of the lowest layer that learns. This is why fine-tuning goes from the top down.
#
# ## Summary
#
# - A mini-batch's gradient is right on average; its variance falls as $1/B$. A constant rate ends on a noise floor in proportion to it: rates are **decayed**. Where early steps are the risky ones, they are **warmed up**.
# - With fewer images than weights, descent ends at the minimum **nearest to its start**. What the images do not determine is kept from $W_{\text{pre}}$; too many steps spoil even what they do.
# - Too large a rate throws the network off its features: it **forgets** the old task and fails at the new one.
# - **Freezing** projects the gradient. The part below the boundary is a constant: compute it once.
# - **Head first**: a random head bends good features. Start it at zeros or, safer, train it first.
# - A step's **cost** is set by the lowest layer that learns, provided that your loop knows what to watch.
#
# ### Try it yourself
#
# 1. In section 2, replace `np.eye(128)` by `100 * np.eye(128)`. What happens to the pretrained head, and to fine-tuning's gain? An assertion will stop you: which, and why is it right to?
# 2. In section 5, train the head for 5 and for 500 epochs. How much is enough?
# 3. In section 7, find the cheapest way to train at least 10 million of VGG16's parameters.
#
# ## What next
#
# **Practise:** tasks 5 and 6 of [the exercises](exercises/02_gradient_descent.ipynb), and their quiz, belong to this lesson.
#
# [Lesson 03](03_data.ipynb): what can go wrong with the data, before any descent begins.
#
# ## Further reading
#
# - L. Bottou, F. Curtis and J. Nocedal, [*Optimization methods for large-scale machine learning*](https://arxiv.org/abs/1606.04838), 2018: noise, floors and schedules.
# - P. Goyal et al., [*Accurate, large minibatch SGD*](https://arxiv.org/abs/1706.02677), 2017: warm-up, and the rate in proportion to the batch size.
# - A. Kumar et al., [*Fine-tuning can distort pretrained features and underperform out-of-distribution*](https://arxiv.org/abs/2202.10054), 2022.
# - S. Gunasekar et al., [*Characterizing implicit bias in terms of optimization geometry*](https://arxiv.org/abs/1802.08246), 2018: which minimum descent finds.
# - J. Kirkpatrick et al., [*Overcoming catastrophic forgetting in neural networks*](https://arxiv.org/abs/1612.00796), 2017.
