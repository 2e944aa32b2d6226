# %% [markdown]
# # Gradient descent: one step, then a thousand
#
# In this notebook, we derive the one rule by which every network of this course learns, check each formula with numbers, and move its settings by hand.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/02a_gradient_descent.ipynb)
#
# **Time:** about 75 minutes to read and try: the code runs for less than 1 minute on a CPU with two cores, and not faster, an estimated 1 minute, on a T4, which has nothing to do here.
#
# ## Learning objectives
#
# After this notebook, you will be able to
#
# - do gradient descent **by hand**, and say from a picture whether the learning rate is too small or too large;
# - derive the **gradient** of least squares and of softmax cross-entropy, and check any gradient in three ways;
# - predict how fast gradient descent **converges**, at which rate it **diverges**, and why scaled inputs matter;
# - explain what **momentum** does, and read `SGD(0.001, momentum=0.9)` as a sentence;
# - reproduce Keras' optimisers, **Adam** included, in a few lines of NumPy.
#
# You need school calculus (a derivative is a slope) and matrix times vector. Where we need more, it is explained. The second half, [lesson 02b](02b_fine_tuning_as_descent.ipynb), applies all this to fine-tuning.
#
# **Terms of this lesson**, in English and 中文: [loss](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#loss), [gradient](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#gradient), [learning rate](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#learning-rate), [curvature](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#curvature), [cross-entropy](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#cross-entropy), [logits](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#logits), [Hessian](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#hessian), [condition number](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#condition-number), [convergence](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#convergence), [momentum](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#momentum), [Nesterov](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#nesterov), [Adam](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#adam), [weight decay](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#weight-decay).

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
# ## 1. One weight, by hand
#
# Somebody photographed a handwritten digit in poor light. We want the picture as it should be, and allow ourselves the smallest network in the world: a single weight $w$ that every pixel is multiplied by. Which $w$?

# %%
# @title Which digit shall we restore?
digit = 2  # @param {type: "slider", min: 0, max: 9}

import numpy as np

from finetune_lib import digits, plots

scans, scan_labels, writers = digits.arrays(wild=False)
wanted = 1 - scans[scan_labels == digit][0][:, :, 0] / 255  # dark ink on white paper, 0 to 1
generator = np.random.default_rng(0)
dark = np.clip(0.4 * wanted + generator.normal(0, 0.03, wanted.shape), 0, 1)

# %%
pictures = [np.repeat(255 * picture[:, :, np.newaxis], 3, axis=-1) for picture in (dark, wanted)]
plots.show(
    plots.image_grid(pictures, ["dark", "wanted"], columns=2),
    "Two pictures of the same handwritten digit: black ink on dark, grainy grey on the left, dark ink on white paper on the right.",
)

# %% [markdown]
# To choose, we need a number that says how wrong a given $w$ is: the **loss**. We take every pixel's squared error, halved, and average. (The half will cancel a 2 later.) Now try some weights.

# %%
x, y = dark.ravel(), wanted.ravel()  # 1,024 pixels each


def loss(w):
    """How wrong the weight w is: the mean over the pixels of half the squared error."""
    return np.mean((w * x - y) ** 2) / 2


for w in (0, 1, 2, 3, 4):
    print(f"w = {w}: loss {loss(w):.4f}")

# %% [markdown]
# The best one lies between 2 and 3. With a million weights nobody can try all combinations. So we look for a way to get *better* from wherever we are: stand at some $w$, nudge it a little, and see which way is down.

# %%
w = 1.0
slope = (loss(w + 0.001) - loss(w)) / 0.001
print(f"at w = {w} the slope is {slope:.4f}")

# %% [markdown]
# The slope is negative: the loss falls if $w$ grows. So we add something to $w$: let us take 4 times the steepness. Then we nudge again.
#
# **Guess:** will the second step be longer or shorter than the first?

# %%
for _ in range(5):
    slope = (loss(w + 0.001) - loss(w)) / 0.001
    print(f"w = {w:.4f}, loss {loss(w):.5f}, slope {slope:+.4f}, so we move by {-4 * slope:+.4f}")
    w = w - 4 * slope

# %% [markdown]
# Shorter every time: the slope itself flattens towards the bottom. That is gradient descent. We only made up one thing, the factor 4. It is called the **learning rate**, and it is yours now.
#
# Start at $w = 0$ and take twelve steps. Move the slider (or click it and use the arrow keys), and look for four things:
#
# 1. a rate so small that twelve steps do not suffice;
# 2. the rate that reaches the bottom in a **single** step;
# 3. a rate that jumps over the bottom every time, and still arrives;
# 4. the largest rate that does not make things worse.
#
# (On GitHub or in a PDF, where sliders cannot move, you see one position of it.)

# %%
from finetune_lib import widgets

widgets.one_parameter_explorer(dark, wanted)

# %% [markdown]
# Write down your rates for 2 and 4. One should be about twice the other, and soon we shall know why.
#
# ### The formula
#
# Our loss, with $n$ pixels $x_i$ and wanted values $y_i$, is
#
# $$L(w) = \frac{1}{n} \sum_{i=1}^{n} \tfrac{1}{2} (w x_i - y_i)^2 .$$
#
# Differentiate each term: the outer derivative is $(w x_i - y_i)$, the inner one $x_i$. So
#
# $$L'(w) = \frac{1}{n} \sum_i (w x_i - y_i)\, x_i, \qquad\qquad w_{t+1} = w_t - a\, L'(w_t),$$
#
# where $a$ is the learning rate. In words: *error times input*, averaged. No nudging any more, and it should give what nudging gave. (Nudged by $\pm h$ to both sides, the estimate is better than with one.)


# %%
def derivative(w):
    """The slope of the loss, by the formula."""
    return np.mean((w * x - y) * x)


h = 1e-5
for w in (0.0, 1.0, 3.0):
    nudged = (loss(w + h) - loss(w - h)) / (2 * h)
    print(f"w = {w}: formula {derivative(w):+.6f}, nudged {nudged:+.6f}")
    assert abs(derivative(w) - nudged) < 1e-9

# %% [markdown]
# The bottom, at $w^*$, is where the slope is zero: $w^* = \sum_i x_i y_i / \sum_i x_i^2$. And because the slope is a straight line in $w$, with some steepness $\lambda$ (the **curvature** of the loss), we can say what one step does to the *error* $e_t = w_t - w^*$:
#
# $$L'(w) = \lambda\,(w - w^*), \quad \lambda = \frac{1}{n} \sum_i x_i^2, \qquad\text{so}\qquad e_{t+1} = (1 - a \lambda)\, e_t .$$
#
# Each step multiplies the error by the same number. Everything you saw on the slider is in this one line.

# %%
curvature = np.mean(x**2)
w_best = np.sum(x * y) / np.sum(x**2)
print(f"best w {w_best:.3f}, curvature {curvature:.4f}")
print(f"one step to the bottom: 1 / curvature = {1 / curvature:.3g}")
print(f"limit, beyond which it diverges: 2 / curvature = {2 / curvature:.3g}")

w, a = 0.0, 4.0
for _ in range(3):
    error_before, w = w - w_best, w - a * derivative(w)
    print(f"error multiplied by {(w - w_best) / error_before:.6f}; predicted {1 - a * curvature:.6f}")
    assert np.isclose((w - w_best) / error_before, 1 - a * curvature)
assert abs(derivative(w_best)) < 1e-12

# %% [markdown]
# We had darkened the picture by 0.4, and 1/0.4 = 2.5 would undo it; the noise makes the best weight a little smaller.
#
# Compare with your notes. Between 0 and $1/\lambda$ it creeps, at $1/\lambda$ it lands, up to $2/\lambda$ it hops to and fro, and beyond $2/\lambda$ each step makes the error larger.
#
# Notice what the limit depends on: on $x$ only. Had the pixels been 0 to 255 instead of 0 to 1, $\lambda$ would be $255^2 = 65{,}025$ times larger, and the limit as much smaller (the cell below). *A learning rate means nothing without the scale of the inputs.*
#
# %%
ratio = np.mean((255 * x) ** 2) / curvature
print(f"with pixels 0 to 255: curvature {ratio:,.0f} times larger, limit {2 / curvature / ratio:.2g}")
assert np.isclose(ratio, 255**2)

# %% [markdown]
# ## 2. Many weights: the gradient
#
# Nothing new happens with many weights $W$, inputs $x_i$ and a network $f(x; W)$:
#
# $$L(W) = \sum_i \ell\big(y_i, f(x_i; W)\big), \qquad W^* = \operatorname{argmin}_W L(W), \qquad W_{t+1} = W_t - a\,\nabla L(W_t).$$
#
# Here $\ell$ is one example's loss, and $\operatorname{argmin} L$ is the $W$ at which $L$ is smallest. (Textbooks write the sum, so do we here; below we divide by the number of examples again, and see at the end of this section what difference that makes.)
#
# The **gradient** $\nabla L$ is the list of all slopes, one for each weight, the others held still. It points where the loss rises fastest; we go the other way.
#
# ### Least squares
#
# Our next photograph was taken in fog: everything is paler *and* brighter. We need two weights, a contrast $w_1$ and a brightness $w_2$: pixel times $w_1$ plus $w_2$. With a column of ones beside the pixels, $X = [\,\text{pixel}, 1\,]$, that is $X w$. For one example, on paper:
#
# $$\ell_i = \tfrac12 (x_i \cdot w - y_i)^2, \qquad \frac{\partial \ell_i}{\partial w_j} = (x_i \cdot w - y_i)\, x_{ij}, \qquad\text{together}\quad \nabla L = \frac1n X^\top (X w - y).$$
#
# ($X$ has one row per example; $X^\top$ is $X$ with rows and columns exchanged, so that each of its rows holds one input of all examples.)
#
# *Error times input* again. We get it in three ways: from the formula, which is `descent.least_squares`; by nudging one weight after the other; and from TensorFlow, which records what is computed on a `tf.GradientTape` and differentiates it.

# %%
foggy = np.clip(0.3 + 0.4 * wanted + generator.normal(0, 0.03, wanted.shape), 0, 1)
X = np.stack([foggy.ravel(), np.ones(foggy.size)], axis=1)
plots.show(
    plots.image_grid(
        [np.repeat(255 * foggy[:, :, np.newaxis], 3, axis=-1), pictures[1]], ["foggy", "wanted"], columns=2
    ),
    "The same digit, grey in grey on the left, dark ink on white paper on the right.",
)

# %%
import tensorflow as tf

from finetune_lib import descent


def three_gradients(loss_function, tensor_loss, weights):
    """The gradient by formula, by nudging, and by TensorFlow; and the largest relative differences."""
    by_formula = loss_function(weights)[1]
    nudged = descent.finite_differences(lambda w: loss_function(w)[0], weights)
    variable = tf.Variable(weights)
    with tf.GradientTape() as tape:
        value = tensor_loss(variable)
    by_tape = tape.gradient(value, variable).numpy()
    largest = np.abs(by_formula).max()
    off = [np.abs(other - by_formula).max() / largest for other in (nudged, by_tape)]
    print(f"largest relative difference: nudged {off[0]:.0e}, TensorFlow {off[1]:.0e}")
    assert off[0] < 1e-7 and off[1] < 1e-12
    return by_formula, nudged, by_tape


# %% [markdown]
# **Guess:** to how many digits will they agree? Nudging has an error of its own; the other two should differ by rounding only (a `float64` holds about 16 digits).

# %% tags=["nbval-ignore-output"]
gradients = three_gradients(
    lambda w: descent.least_squares(w, X, y),
    lambda w: tf.reduce_mean((tf.linalg.matvec(X, w) - y) ** 2) / 2,
    np.array([1.0, 0.5]),
)
for way, gradient in zip(("formula", "nudged", "TensorFlow"), gradients, strict=True):
    print(f"{way:10}", gradient)

# %% [markdown]
# The cell would have stopped with an error had the nudged gradient been off by more than $10^{-7}$ of the largest slope, or TensorFlow's by more than $10^{-12}$. Remember this way of checking: it finds mistakes in any gradient you will ever derive.
#
# ### Softmax cross-entropy
#
# Now a task with classes: which digit is it? We take the 8x8 scans that the digits were enlarged from, 64 pixels and a 1, and a matrix $W$ with one column per class. The scores $z = W^\top x$, called **logits**, become probabilities by the **softmax**, and the loss is minus the logarithm of the probability of the right class $y$:
#
# $$p_k = \frac{e^{z_k}}{\sum_j e^{z_j}}, \qquad \ell = -\log p_y = \log \sum_j e^{z_j} - z_y .$$
#
# Differentiate by a logit. The first term gives $e^{z_k} / \sum_j e^{z_j} = p_k$, the second gives 1 for the right class and 0 for the others. So $\partial \ell / \partial z_k = p_k - \text{onehot}(y)_k$, where $\text{onehot}(y)$ is the list with 1 at the right class and 0 elsewhere. With $z = W^\top x$
#
# $$\nabla_W\, \ell = x\, (p - \text{onehot}(y))^\top .$$
#
# *Error times input*, a third time: the error is now "probability given minus probability wanted". It is the gradient of the last layer of every classifier in this course.

# %% tags=["nbval-ignore-output"]
import sklearn.datasets

scans_8x8, labels = sklearn.datasets.load_digits(return_X_y=True)
inputs = np.hstack([scans_8x8 / 16, np.ones((len(labels), 1))])
train, test = np.isin(writers, digits.WRITERS["train"]), np.isin(writers, digits.WRITERS["test"])

some = inputs[train][:100], labels[train][:100]
_ = three_gradients(
    lambda weights: descent.softmax_cross_entropy(weights, *some),
    lambda weights: tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(logits=some[0] @ weights, labels=some[1])
    ),
    generator.normal(size=(65, 10)),
)

# %% [markdown]
# Agreed, for all 650 weights. Now use it. We start with $W = 0$: every class has probability 1/10. Then we take **one single step**.
#
# **Guess:** what share of digits by people it has never seen does the network recognise after one step? At the start it guesses one in ten.


# %%
def recognised(weights, rows):
    """Which share of these digits gets the highest logit for the right class."""
    return np.mean((inputs[rows] @ weights).argmax(axis=1) == labels[rows])


def gradient_of_all(weights):
    """The gradient over all training digits, mean convention."""
    return descent.softmax_cross_entropy(weights, inputs[train], labels[train])[1]


one_step = -1.0 * gradient_of_all(np.zeros((65, 10)))
share = recognised(one_step, test)
print(f"after one step: {share:.1%} of {test.sum()} digits by {len(set(writers[test]))} new writers")

# %%
assert share > 0.8

# %% [markdown]
# More than four out of five, with one step! Let us look at what it learned: for each class 64 weights, drawn as a picture.

# %%
templates = one_step[:64].T.reshape(10, 8, 8)
shades = 127.5 + 127.5 * templates / np.abs(templates).max()
plots.show(
    plots.image_grid(
        [np.repeat(shade[:, :, np.newaxis], 3, axis=-1) for shade in shades], [str(k) for k in range(10)]
    ),
    "The weights of the ten classes as pictures of 8 by 8 pixels, light where ink speaks for the class, dark where it "
    "speaks against it: 0 is a clear ring, others, such as 8, hardly resemble their digit.",
)

# %% [markdown]
# The formula says why. With all probabilities 1/10, minus the gradient of column $k$ is $\frac1n \big( \sum_{y_i = k} x_i - \frac{1}{10} \sum_i x_i \big)$: the sum of the images of class $k$, minus a tenth of the sum of all. Each class occurs about equally often, so this is, up to a common factor, the *average* digit of the class less the average of everything: what makes a 0 *different*. All later steps refine this.

# %%
by_hand = (
    np.stack(
        [inputs[train][labels[train] == k].sum(axis=0) - inputs[train].sum(axis=0) / 10 for k in range(10)],
        axis=1,
    )
    / train.sum()
)
assert np.allclose(one_step, by_hand)
print("the first step is, for each class, the sum of its images less a tenth of all, over n: True")

# %% [markdown]
# ### Sum or mean?
#
# We wrote $L = \sum_i \ell_i$ above but computed a mean. The minimum is the same. The gradient of the sum is $n$ times larger, so its learning rate must be $n$ times *smaller* for the same path. Here $n$ is several hundred.
#
# **Guess:** what happens if somebody takes the mean's learning rate, 1.0, with the sum?


# %%
def path_and_losses(reduction, rate, steps=30):
    """The weights along a descent, and the mean loss at each point."""
    path = descent.trajectory(
        lambda weights: descent.softmax_cross_entropy(weights, inputs[train], labels[train], reduction)[1],
        np.zeros((65, 10)),
        descent.SGD(rate),
        steps,
    )
    return path, np.array([descent.softmax_cross_entropy(w, inputs[train], labels[train])[0] for w in path])


n = train.sum()
runs = {
    "mean, rate 1": path_and_losses("mean", 1.0),
    "sum, rate 1/n": path_and_losses("sum", 1.0 / n),
    "sum, rate 1": path_and_losses("sum", 1.0),
}
rows = [[name, *(f"{losses[t]:.3g}" for t in (0, 1, 2, 5, 10, 30))] for name, (_, losses) in runs.items()]
print(f"n = {n}")
print(plots.table(["mean loss at step", "0", "1", "2", "5", "10", "30"], rows))
assert np.allclose(runs["mean, rate 1"][0], runs["sum, rate 1/n"][0], rtol=1e-9)
assert runs["sum, rate 1"][1].max() > 100 * runs["sum, rate 1"][1][0]

# %% [markdown]
# Same rule, same data, same number 1.0: one path descends, the other is thrown out to losses more than a hundred times worse than knowing nothing. (The slope of cross-entropy is bounded, so it is thrown far but not for ever, and on data as easy as these it finds its way back. On squared errors it would not: section 3.) Textbooks write sums; Keras takes the mean over the batch (`reduction="sum_over_batch_size"`), so that a rate keeps its meaning when the batch size changes. When you read a learning rate in a paper, ask: sum or mean? (In the next cell, `from_logits=True` tells Keras that it gets the scores $z$, not probabilities. Its default is probabilities, and no error comes if that is wrong.)

# %%
import keras

logits = tf.constant(inputs[train][:64] @ one_step)
for reduction in ("sum_over_batch_size", "sum"):
    keras_loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction=reduction, dtype="float64"
    )
    ours = descent.softmax_cross_entropy(
        one_step, inputs[train][:64], labels[train][:64], "sum" if reduction == "sum" else "mean"
    )[0]
    theirs = float(keras_loss(labels[train][:64], logits))
    print(f"{reduction}: Keras {theirs:.5f}, ours {ours:.5f}")
    assert abs(theirs - ours) < 1e-9 * ours

# %% [markdown]
# ## 3. How fast, and when not at all
#
# Back to the fog, whose loss is a bowl over two weights. Written around its lowest point $w^*$ it is
#
# $$L(w) = L(w^*) + \tfrac12 (w - w^*)^\top H\, (w - w^*), \qquad H = \tfrac1n X^\top X .$$
#
# $H$ is the **Hessian**, the table of all second derivatives. The gradient is $H (w - w^*)$, so a step turns the error $e_t = w_t - w^*$ into
#
# $$e_{t+1} = e_t - a H e_t .$$
#
# An **eigenvector** of $H$ is a direction that $H$ only stretches: $H u = \lambda u$. The factor $\lambda$ is its **eigenvalue**, the curvature of the bowl in that direction. There are as many such directions as weights, at right angles to each other, and every error is a sum of parts along them. A part along $u$ becomes $(1 - a\lambda)$ times itself. So in each of these directions, separately, gradient descent does just what it did with one weight:
#
# $$e_t = (1 - a \lambda)^t\, e_0 .$$
#
# For convergence every $|1 - a\lambda|$ must be below 1, and that is decided by the *steepest* direction: $\boldsymbol{a < 2 / \lambda_{\max}}$. How long it takes is decided by the *flattest*.

# %%
H = X.T @ X / len(X)
curvatures, directions = np.linalg.eigh(H)
w_best = np.linalg.lstsq(X, y, rcond=None)[0]
limit = 2 / curvatures[-1]
print(f"curvatures {curvatures[0]:.4f} and {curvatures[1]:.4f}, so the limit is {limit:.3f}")
print(f"their ratio, the condition number: {curvatures[1] / curvatures[0]:.1f}")

# %% [markdown]
# If we know $w_0$, we know the loss of every later step without taking one: $L(w_t) - L(w^*) = \sum_j \frac12 \lambda_j (1 - a\lambda_j)^{2t} c_j^2$, with $c_j$ the part of $e_0$ along eigenvector $j$. We predict with that formula, then descend, and draw both: lines are measured, dots predicted.
#
# **Guess** the order of these four rates by the loss after 100 steps: 0.2, 0.9, 0.99 and 1.01 times the limit.

# %%
parts = directions.T @ (np.zeros(2) - w_best)  # c: the error at the start, along each eigenvector
steps = np.arange(101)[:, np.newaxis]
measured, predicted, envelopes = {}, {}, {}
for part_of_limit in (0.2, 0.9, 0.99, 1.01):
    rate, name = part_of_limit * limit, f"{part_of_limit:g} of the limit"
    predicted[name] = (curvatures / 2 * (1 - rate * curvatures) ** (2 * steps) * parts**2).sum(axis=1)
    path = descent.trajectory(
        lambda w: descent.least_squares(w, X, y)[1], np.zeros(2), descent.SGD(rate), len(steps) - 1
    )
    lowest = descent.least_squares(w_best, X, y)[0]
    measured[name] = np.array([descent.least_squares(w, X, y)[0] - lowest for w in path])
    envelopes[name] = predicted[name][0] * np.abs(1 - rate * curvatures).max() ** (2 * steps[:, 0])
    assert np.allclose(measured[name], predicted[name], rtol=1e-6)
assert sorted(measured, key=lambda name: measured[name][100]) == [
    f"{part:g} of the limit" for part in (0.9, 0.99, 0.2, 1.01)
]
print(plots.loss_curves_table(measured, predicted, envelopes))

# %%
plots.show(
    plots.loss_curves(measured, predicted, envelopes),
    "Loss against steps for four rates, the numbers of the table above: every prediction lies on its measured "
    "curve, the curves stay below their envelopes, and at 1.01 of the limit the loss rises from the first step.",
)

# %% [markdown]
# Every dot sits on its line: the assertion asks for six digits. The dashed envelope is the loss at the start times $\max_j |1 - a\lambda_j|^{2t}$, a guarantee that holds wherever you start.
#
# The order, 0.9, 0.99, 0.2, 1.01, may surprise. A rate of 0.2 of the limit starts fastest (its steep direction is done in a few steps) and then crawls along the flat one; 0.9 overtakes it, and in the end even 0.99 does, which jumps across the valley for a long time. And just beyond the limit the loss rises, by a few percent a step, for ever.
#
# **Divergence can hide.** Let us start at a better place: contrast zero, brightness equal to the mean of the wanted picture. The steep direction is nearly right there, so that hardly anything is left to grow.

# %%
rate = 1.01 * limit
start = np.array([0.0, y.mean()])
path = descent.trajectory(lambda w: descent.least_squares(w, X, y)[1], start, descent.SGD(rate), 1000)
losses = [descent.least_squares(w, X, y)[0] for w in path]
print(f"the steep direction's error grows by {abs(1 - rate * curvatures[-1]) - 1:.1%} a step")
for step in (0, 10, 50, 100, 200, 1000):
    print(f"step {step:4}: loss {losses[step]:.3g}")
assert min(losses[:51]) < 0.8 * losses[0] and losses[1000] > 1e6 * losses[0]

# %% [markdown]
# Had we stopped after fifty steps, we would have praised the learning rate. A loss that falls is no proof that the rate is below its limit.
#
# ### The condition number
#
# The steepest direction sets the limit of the rate, the flattest pays for it. The ratio $\kappa = \lambda_{\max} / \lambda_{\min}$ is the **condition number**, and it says how long descent takes: with the best rate, $a = 2 / (\lambda_{\min} + \lambda_{\max})$, both ends shrink equally fast, by $(\kappa - 1)/(\kappa + 1)$ a step. For a large $\kappa$, steps needed grow in proportion to it.
#
# Try it. At condition number 1 the valley is round. Make it narrow, then look for the rate that comes nearest in 40 steps.

# %%
widgets.condition_explorer()

# %% [markdown]
# Is the best rate really best, and does the number of steps really grow like $\kappa$? We compare with all other rates on a fine grid.

# %%
from finetune_lib import convergence

for kappa in (2, 10, 100, 1000):
    ends = np.array([1.0, kappa])
    best = convergence.best_for_quadratic(1.0, kappa)["plain"]
    rate = convergence.convergence_rates(ends, best).max()
    grid = [
        convergence.convergence_rates(ends, descent.SGD(a)).max() for a in np.linspace(0, 2 / kappa, 2001)
    ]
    needed = np.ceil(np.log(1000) / -np.log(rate))
    print(f"condition number {kappa:4}: error times {rate:.4f} a step, {needed:6.0f} steps to 1/1000")
    assert np.isclose(rate, (kappa - 1) / (kappa + 1)) and rate <= min(grid) + 1e-12

# %% [markdown]
# ### Scaling the inputs
#
# Our fog has pixels from 0 to 1; its condition number was the first thing we computed in this section. Pixels come as 0 to 255, networks like -1 to 1, statisticians subtract the mean and divide by the standard deviation ("standardise"). It is the same picture and the same network each time; only the numbers on the axis change.
#
# **Guess:** by what factor do the steps needed differ between the best and the worst of these?

# %%
pixels = foggy.ravel()
scalings = {
    "0 to 255": 255 * pixels,
    "0 to 1": pixels,
    "-1 to 1": 2 * pixels - 1,
    "standardised": (pixels - pixels.mean()) / pixels.std(),
}
rows, condition = [], {}
for name, column in scalings.items():
    columns = np.stack([column, np.ones(len(column))], axis=1)
    low, high = np.linalg.eigvalsh(columns.T @ columns / len(column))
    condition[name] = high / low
    shrink = (high - low) / (high + low)
    needed = max(1, int(np.ceil(np.log(1000) / -np.log(shrink)))) if shrink > 1e-9 else 1
    rows.append([name, f"{condition[name]:,.3g}", f"{2 / (low + high):.3g}", f"{needed:,}"])
print(plots.table(["pixels", "condition number", "best rate", "steps to 1/1000"], rows))
assert condition["0 to 255"] > 1000 * condition["0 to 1"] and condition["0 to 1"] > 3 * condition["-1 to 1"]
assert np.isclose(condition["standardised"], 1)

# %% [markdown]
# From a million steps to one (for a digit in other fog, other numbers, the same story). That is why the networks in this course begin with a layer such as `Rescaling(1/127.5, offset=-1)`, and why batch normalisation, which standardises between the layers, lets deep networks train faster.
#
# There is a second way to see it. Let the old weights be $w = D\,v$ with the new weights $v$ (standardising is such a change). A step of plain descent on $v$ moves $w$ by $-a\,D D^\top \nabla L(w)$: plain descent in the new scale *is* descent in the old scale with the gradient multiplied by a matrix. That is called **preconditioning**, and the cell shows that both give the same path. Keep it in mind for Adam.

# %%
mean, deviation = pixels.mean(), pixels.std()
D = np.array(
    [[1 / deviation, 0], [-mean / deviation, 1]]
)  # weights for raw pixels from those for standardised ones
standardised = X @ D
assert np.allclose(standardised[:, 0], scalings["standardised"])

new = descent.trajectory(
    lambda v: descent.least_squares(v, standardised, y)[1], np.zeros(2), descent.SGD(0.5), 20
)
old = descent.trajectory(
    lambda w: D @ D.T @ descent.least_squares(w, X, y)[1], np.zeros(2), descent.SGD(0.5), 20
)
assert np.allclose(new @ D.T, old)
print("descent on scaled inputs = preconditioned descent on raw inputs: True")
print("contrast and brightness found:", np.round(old[-1], 3), "best:", np.round(w_best, 3))

# %% [markdown]
# ## 4. Momentum
#
# We cannot always scale the valley away. But a ball that rolls through it does not stop at every step to ask for the slope: it *keeps going*, gathering speed along the floor, while the swings across the valley cancel. Polyak's **heavy ball** (1964) gives the weights a velocity $v$:
#
# $$v_{t+1} = m\, v_t - a\, \nabla L(w_t), \qquad w_{t+1} = w_t + v_{t+1} .$$
#
# The momentum $m$, between 0 and 1, is what remains of the speed at each step. Without momentum, find the rate that comes nearest to the minimum in 40 steps. Then find a pair of rate and momentum that comes a thousand times nearer. Then turn the momentum up to 0.98 and see what is too much. (The box "Nesterov" is a variant that we come to below.)

# %%
valley = convergence.Quadratic(np.array([[2.5, 3.7], [3.7, 8.0]]), np.array([0.5, 0.5]))
low, high = np.linalg.eigvalsh(valley.hessian)
print(f"curvatures {low:.2f} and {high:.2f}, condition number {high / low:.1f}")
widgets.descent_explorer(valley)

# %% [markdown]
# ### A damped oscillator
#
# With high momentum the ball swings around the bottom like a pendulum in syrup. That is more than a likeness. (This part uses complex numbers. You may skip to the figure: what matters is that the swings shrink by $\sqrt m$ a step, whatever the curvature.) Along one eigenvector, put the two lines together ($v_t = e_t - e_{t-1}$):
#
# $$e_{t+1} = (1 + m - a\lambda)\, e_t - m\, e_{t-1} .$$
#
# Try $e_t = r^t$: it fits if $r^2 - (1 + m - a\lambda)\, r + m = 0$. The two solutions multiply to $m$. If the number under the root of the quadratic formula is negative, they are the complex numbers $\sqrt m\,(\cos\theta \pm i \sin\theta)$, whose powers turn by $\theta$ and shrink by $\sqrt m$ each time, and $e_t$ is a **damped oscillation**,
#
# $$e_t = (\sqrt m)^t\, \big( A \cos \theta t + B \sin \theta t \big), \qquad \cos\theta = \frac{1 + m - a\lambda}{2 \sqrt m},$$
#
# with $A = e_0$, and $B$ such that $e_1 = (1 - a\lambda)\, e_0$. Damped by $\sqrt m$, *whatever the curvature*: that is the strength of momentum. If the solutions are real and positive (little momentum, small rate), the ball creeps ("overdamped"); if they are negative (a large rate), it jumps to and fro as without momentum. On the border to creeping, at $m = (1 - \sqrt{a\lambda})^2$, it comes to rest fastest.


# %%
def swing(a, curvature, m, steps):
    """The damped oscillation's formula, from an error of 1, for complex roots."""
    t = np.arange(steps + 1)
    theta = np.arccos((1 + m - a * curvature) / (2 * np.sqrt(m)))
    second = ((1 - a * curvature) / np.sqrt(m) - np.cos(theta)) / np.sin(theta)
    return np.sqrt(m) ** t * (np.cos(theta * t) + second * np.sin(theta * t))


a, curve, errors = 0.1, np.array([[1.0]]), {}
for m in (0.2, (1 - np.sqrt(a)) ** 2, 0.9):
    ball = descent.SGD(a, momentum=m)
    errors[m] = descent.trajectory(lambda e: curve @ e, np.ones(1), ball, 60)[:, 0]
    assert np.allclose(errors[m], convergence.predicted_errors(np.ones(1), ball, 60)[0][:, 0], atol=1e-9)
assert np.allclose(errors[0.9], swing(a, 1.0, 0.9, 60), atol=1e-12)
rates = {
    m: convergence.convergence_rates(np.ones(1), descent.SGD(a, m))[0] for m in np.linspace(0, 0.99, 991)
}
assert abs(min(rates, key=rates.get) - (1 - np.sqrt(a)) ** 2) < 1e-3
print("error at step    0       10       20       40       60")
for m, values in errors.items():
    print(f"m = {m:.3f}  ", *(f"{values[t]:8.4f}" for t in (0, 10, 20, 40, 60)))

# %%
import matplotlib.figure

figure = matplotlib.figure.Figure(figsize=(8, 3.4), layout="constrained")
axes = figure.subplots()
for (m, values), colour, word in zip(
    errors.items(), (plots.GREY, plots.BLUE, plots.VERMILION), ("creeps", "just right", "swings"), strict=True
):
    axes.plot(values, color=colour, label=f"m = {m:.2f}: {word}")
envelope = convergence.predicted_errors(np.ones(1), descent.SGD(a, momentum=0.9), 60)[1][:, 0]
for sign in (-1, 1):
    axes.plot(sign * envelope, ":", color=plots.VERMILION, linewidth=1)
axes.axhline(0, color="black", linewidth=0.5)
axes.set(xlabel="step", ylabel="error")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plots.show(
    figure,
    "Error against steps for three momenta, the numbers above: 0.2 creeps to zero from one side, 0.47 gets there "
    "fastest, 0.9 swings around zero between two dotted curves that shrink by the root of 0.9 a step.",
)

# %% [markdown]
# ### The best values for a quadratic
#
# For curvatures from $\lambda_{\min}$ to $\lambda_{\max}$, the best pair makes both ends just right:
#
# $$a = \Big( \frac{2}{\sqrt{\lambda_{\max}} + \sqrt{\lambda_{\min}}} \Big)^2, \qquad m = \Big( \frac{\sqrt\kappa - 1}{\sqrt\kappa + 1} \Big)^2, \qquad \text{in the long run, error times } \frac{\sqrt\kappa - 1}{\sqrt\kappa + 1} \text{ a step.}$$
#
# It is the formula of plain descent with $\sqrt\kappa$ in place of $\kappa$. **Nesterov's** variant takes the gradient where the momentum is about to carry the ball, looking ahead before it steps:
#
# $$v_{t+1} = m\, v_t - a\, \nabla L(w_t + m\, v_t), \qquad w_{t+1} = w_t + v_{t+1} .$$
#
# With its usual constants, $a = 1/\lambda_{\max}$ and the square root of the $m$ above, it shrinks the error by $1 - 1/\sqrt\kappa$ a step in the long run, which takes about twice the heavy ball's steps. In return, its promise holds for every smooth bowl with some least curvature, also one that is not a quadratic; the heavy ball with its best constants can circle there for ever (Lessard et al., below).
#
# First the three ways through the valley of the sliders, each with its best constants. **Guess** which path swings most.

# %%
paths = {
    name: descent.trajectory(valley.gradient, np.array([-1.1, 1.7]), optimizer, 25)
    for name, optimizer in convergence.best_for_quadratic(low, high).items()
}
print(plots.contours_table(valley.loss, paths, valley.minimizer))

# %%
plots.show(
    plots.contours(valley.loss, paths, valley.minimizer),
    "Three descents on the contours of a slanted valley, the table above. Plain descent zigzags across it, the "
    "heavy ball swings out widest and then settles, Nesterov's path turns into the valley and glides along it.",
)

# %% [markdown]
# Now a narrower valley, condition number 100, and what the formulas predict for it.

# %%
kappa = 100
quadratic = convergence.Quadratic(np.diag([1.0, kappa]), np.zeros(2))
bests = convergence.best_for_quadratic(1.0, kappa)
measured, predicted = {}, {}
for name, optimizer in bests.items():
    path = descent.trajectory(quadratic.gradient, np.ones(2), optimizer, 400)
    measured[name] = quadratic.loss(path[:151])
    predicted[name] = convergence.predicted_losses(quadratic, np.ones(2), optimizer, 150)[0]
    distance = np.linalg.norm(path, axis=1)
    rate = convergence.convergence_rates(np.array([1.0, kappa]), optimizer).max()
    print(
        f"{name:10}  rate {optimizer.learning_rate:.4f}, momentum {optimizer.momentum:.3f}: in the long run, error times "
        f"{rate:.4f} a step; measured: {np.flatnonzero(distance > distance[0] / 1000).max() + 1} steps to 1/1000"
    )
    assert np.allclose(measured[name], predicted[name], rtol=1e-4, atol=1e-16)
print(plots.loss_curves_table(measured, predicted))

# %%
plots.show(
    plots.loss_curves(measured, predicted),
    "Loss against steps at condition number 100 for the best plain descent, heavy ball and Nesterov, the numbers "
    "of the table above: predictions lie on the curves; both momenta end many orders of magnitude below plain.",
)

# %% [markdown]
# The heavy ball first makes things *worse*, more than ten times. Its rate, 0.033, is beyond plain descent's limit of 0.02: the first steps overshoot the floor, further each time, until the momentum cancels the swings. Nesterov's rate is three times smaller, and nothing of the kind happens. Now the formulas: no pair on a grid does better than the best heavy ball, and what its square root is worth grows with the condition number.

# %%
assert measured["heavy ball"].max() > 10 * measured["heavy ball"][0]
assert measured["Nesterov"].max() == measured["Nesterov"][0]
ends = np.array([1.0, kappa])
grid = [
    convergence.convergence_rates(ends, descent.SGD(a, m)).max()
    for a in np.linspace(0.002, 0.04, 77)
    for m in np.linspace(0, 0.95, 96)
]
assert (np.sqrt(kappa) - 1) / (np.sqrt(kappa) + 1) <= min(grid) + 1e-6
print(f"best pair of {len(grid):,}: error times {min(grid):.4f} a step")
for kappa in (100, 10_000, 1_000_000):
    rates = {
        name: convergence.convergence_rates(np.array([1.0, kappa]), optimizer).max()
        for name, optimizer in convergence.best_for_quadratic(1.0, kappa).items()
    }
    worth = {name: np.log(rates[name]) / np.log(rates["plain"]) for name in ("Nesterov", "heavy ball")}
    print(
        f"condition number {kappa:9,}: in the long run a step of Nesterov's is worth {worth['Nesterov']:5.0f} "
        f"plain ones, one of the heavy ball {worth['heavy ball']:5.0f}"
    )
    assert np.isclose(worth["heavy ball"], np.sqrt(kappa), rtol=0.01)
    assert np.isclose(rates["Nesterov"], 1 - 1 / np.sqrt(kappa))

# %% [markdown]
# ### The classic recipe: SGD(0.001, momentum 0.9)
#
# You will meet this line in many fine-tuning scripts. Now we can read it. On a long straight slope, with constant gradient $g$, the velocity approaches $-a g\,(1 + m + m^2 + \dots) = -\frac{a}{1 - m}\, g$. So 0.9 means *ten times* the learning rate in directions in which the slope persists (two thirds of that after ten steps), and about half of it in directions in which the slope alternates: there the sum is $1 - m + m^2 - \dots = \frac{1}{1 + m}$.

# %%
for name, sign in (("same slope every step", 1), ("slope changes sign", -1)):
    velocity, m, a, speeds = 0.0, 0.9, 0.001, []
    for step in range(200):
        velocity = m * velocity - a * sign**step
        speeds.append(abs(velocity) / a)
    print(f"{name}: after 10 steps {speeds[9]:.2f}, after 200 {speeds[-1]:.2f} times the learning rate")
    assert np.isclose(speeds[-1], 1 / (1 - sign * m))

# %% [markdown]
# And the limit moves: with momentum $m$ the heavy ball converges up to $a < 2(1 + m)/\lambda_{\max}$, nearly twice as far. Nesterov's caution has a price: its limit is *lower* than without momentum, $\frac{2 (1 + m)}{(1 + 2m)\, \lambda_{\max}}$.

# %%
for nesterov in (False, True):
    for m in (0.5, 0.9):
        edge = 2 * (1 + m) / (1 + 2 * m if nesterov else 1)  # for a curvature of 1
        below, above = (
            convergence.convergence_rates(np.ones(1), descent.SGD(edge * factor, m, nesterov))[0]
            for factor in (0.999, 1.001)
        )
        print(
            f"{'Nesterov' if nesterov else 'heavy ball'}, momentum {m}: error times {below:.4f} just below "
            f"a = {edge:.3g}, times {above:.4f} just above"
        )
        assert below < 1 < above

# %% [markdown]
# ### Is it what Keras does?
#
# A claim like that is easily checked: give Keras' optimiser and ours the same weights and the same gradients, fifty times, on the digits, and compare. Keras computes in `float32`, which holds 7 digits, so we allow a relative difference of $10^{-4}$ of the largest weight after fifty steps. First, the two rules that are still missing.
#
# **Adam** gives every weight a step size of its own. It keeps running means of the gradient (that is momentum) and of its square,
#
# $$\bar g \leftarrow \beta_1 \bar g + (1 - \beta_1)\, g, \qquad \overline{g^2} \leftarrow \beta_2 \overline{g^2} + (1 - \beta_2)\, g^2, \qquad w \leftarrow w - a\, \frac{\bar g / (1 - \beta_1^t)}{\sqrt{\overline{g^2} / (1 - \beta_2^t)} + \epsilon},$$
#
# with $\beta_1 = 0.9$, $\beta_2 = 0.999$ and a tiny $\epsilon$: it steps by the gradient over its typical size. (Both means start at zero; dividing by $1 - \beta^t$ corrects for that.) It is a preconditioner, a diagonal one, learned on the way: a weight whose gradients are always small gets the same step as the others. In the very first step the corrected means are just $g$ and $g^2$, the quotient is $g / |g| = \pm 1$, and every weight whose slope is clearly above $\epsilon$ moves by $a$, downhill, however small the slope.
#
# **Weight decay** pulls weights towards zero, to keep them from growing more than the data demand. With plain descent it does not matter whether one adds $\frac d2 \|w\|^2$ to the loss or shrinks $w \leftarrow w - a\,d\,w$ at each step. With Adam it does: in the loss, the pull is divided by $\sqrt{\overline{g^2}}$ like everything else, so weights with large gradients hardly decay. **AdamW** shrinks the weights directly: the decay is *decoupled*.

# %%
pairs = {
    "SGD": (keras.optimizers.SGD(0.1), descent.SGD(0.1)),
    "momentum": (keras.optimizers.SGD(0.1, momentum=0.9), descent.SGD(0.1, 0.9)),
    "Nesterov": (
        keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        descent.SGD(0.1, 0.9, nesterov=True),
    ),
    "Adam": (keras.optimizers.Adam(0.01), descent.Adam(0.01)),
    "AdamW": (keras.optimizers.AdamW(0.01, weight_decay=0.1), descent.Adam(0.01, weight_decay=0.1)),
}
start = generator.normal(scale=0.1, size=(65, 10)).astype("float32")
differences = {}
for name, (theirs, ours) in pairs.items():
    variable = keras.Variable(start)
    for _ in range(50):
        gradient = gradient_of_all(np.asarray(variable, "float64"))
        theirs.apply([tf.constant(gradient, tf.float32)], [variable])
    end = descent.trajectory(gradient_of_all, start.astype("float64"), ours, 50)[-1]
    differences[name] = np.abs(np.asarray(variable) - end).max() / np.abs(end).max()
assert max(differences.values()) < 1e-4, differences
print("after 50 steps, Keras and NumPy agree:", ", ".join(differences))

# %% tags=["nbval-ignore-output"]
for name, difference in differences.items():
    print(f"{name:9} largest difference, relative to the largest weight: {difference:.0e}")

# %% [markdown]
# The whole of SGD and Adam is a few lines. Here they are; `memory` is what an optimiser keeps from one step to the next. (Nesterov's is written for the point at which the gradient is taken, so that no second point need be stored; that is Keras' form, too.)

# %% tags=["nbval-ignore-output"]
import inspect

print(inspect.getsource(descent.SGD.step))
print(inspect.getsource(descent.Adam.step))

# %% [markdown]
# Now the two statements from above. First: Adam's first step has the same size for every weight with a clear slope.

# %%
first = descent.trajectory(gradient_of_all, start.astype("float64"), descent.Adam(0.01), 1)
moved = np.abs(first[1] - first[0])
slopes = np.abs(gradient_of_all(first[0]))
clear = slopes > 1e-3
print(f"{clear.sum()} slopes from {slopes[clear].min():.4f} to {slopes[clear].max():.4f}")
print(f"Adam's first steps: from {moved[clear].min():.4f} to {moved[clear].max():.4f}")
assert np.allclose(moved[clear], 0.01, rtol=0.01) and slopes[clear].max() > 50 * slopes[clear].min()

# %% [markdown]
# Second, the decay. A few pixels at the edge are white in every training scan, so these data say nothing about their weights: only the decay moves them, and shows undisguised. We start these weights somewhere, take ten steps, and compare a strong decay (0.1) with one a hundred times weaker.
#
# **Guess:** with the decay *in the loss*, how much faster does the strong one shrink them?

# %%
idle = np.flatnonzero(inputs[train].max(axis=0) == 0)
begin = start.astype("float64")
begin[idle] = 0.5
print(f"{len(idle)} pixels without ink. Their weights start at 0.5; after 10 steps of Adam with rate 0.01:")
ends = {}
for strength in (0.1, 0.001):
    in_loss = descent.trajectory(
        lambda w, d=strength: gradient_of_all(w) + d * w, begin, descent.Adam(0.01), 10
    )
    decoupled = descent.trajectory(gradient_of_all, begin, descent.Adam(0.01, weight_decay=strength), 10)
    ends[strength] = in_loss[-1][idle], decoupled[-1][idle]
    print(
        f"decay {strength}: in the loss {in_loss[-1][idle].mean():.4f}, decoupled {decoupled[-1][idle].mean():.6f}"
    )

# %%
for strength, (in_loss, decoupled) in ends.items():
    assert np.allclose(in_loss, 0.4, atol=2e-3) and np.allclose(decoupled, 0.5 * (1 - 0.01 * strength) ** 10)

plain_in_loss = descent.trajectory(lambda w: gradient_of_all(w) + 0.1 * w, begin, descent.SGD(0.1), 10)
shrinking = begin
for _ in range(10):
    shrinking = (1 - 0.1 * 0.1) * shrinking - 0.1 * gradient_of_all(shrinking)
assert np.allclose(plain_in_loss[-1], shrinking)
print("with plain descent, decay in the loss and shrinking are the same: True")

# %% [markdown]
# Not at all! In the loss, Adam divides the pull by its own size, and all that remains is ten steps of 0.01, whatever the strength. Decoupled, the weights shrink by $(1 - a d)$ a step, as asked. This is why fine-tuning recipes say AdamW.
#
# ## Summary
#
# - **One rule**: $W_{t+1} = W_t - a \nabla L(W_t)$. For least squares and for softmax cross-entropy alike, the gradient is *error times input*. Check any gradient by nudging.
# - **The learning rate** is a length only together with the inputs' scale and with the sum-or-mean convention. On a quadratic each direction's error is multiplied by $1 - a\lambda$ a step: the steepest direction sets the limit $2/\lambda_{\max}$, the flattest the time, and a falling loss does not prove that you are below the limit.
# - **The condition number** $\kappa$ is the price. Scaling the inputs lowers it; momentum, in the long run, replaces it by its square root.
# - **Momentum** is a damped oscillator. `SGD(0.001, momentum=0.9)` moves with a rate of 0.01 where the slope persists and with half of 0.001 where it alternates.
# - **Adam** divides every gradient by its typical size; with it, weight decay belongs outside the loss (AdamW).
#
# ### Try it yourself
#
# 1. Choose another digit in the form above and run all cells. Which numbers change, which do not?
# 2. Make the fog denser (`0.6 + 0.2 * wanted`). Predict what happens to the condition number before you look.
# 3. Copy `SGD.step` into a cell of its own, change one sign, and see which check catches it.
#
# ## What next
#
# **Practise:** [the exercises](exercises/02_gradient_descent.ipynb) check what you write, and say what it shows. Tasks 1 to 4 belong to this lesson, 5 and 6 to the next.
#
# [Lesson 02b](02b_fine_tuning_as_descent.ipynb): what happens when the gradient is noisy, and when $W_0$ is not zero but a pretrained network. Or go on with [lesson 03](03_data.ipynb), data.
#
# ## Further reading
#
# - B. Polyak, *Some methods of speeding up the convergence of iteration methods*, 1964: the heavy ball.
# - G. Goh, [*Why momentum really works*](https://distill.pub/2017/momentum/), Distill 2017: more sliders.
# - I. Sutskever et al., [*On the importance of initialization and momentum in deep learning*](https://proceedings.mlr.press/v28/sutskever13.html), 2013.
# - D. Kingma and J. Ba, [*Adam*](https://arxiv.org/abs/1412.6980), 2015; I. Loshchilov and F. Hutter, [*Decoupled weight decay regularization*](https://arxiv.org/abs/1711.05101), 2019.
# - S. Boyd and L. Vandenberghe, [*Convex optimization*](https://web.stanford.edu/~boyd/cvxbook/), chapter 9: the proofs for plain descent.
# - L. Lessard, B. Recht and A. Packard, [*Analysis and design of optimization algorithms via integral quadratic constraints*](https://arxiv.org/abs/1408.3595), 2016: a loss on which the heavy ball circles.
