# %% [markdown]
# # Exercises 01: transfer learning
#
# In this notebook, you predict which network answers which question, count what a pretraining is worth in labels, mend a choice that cannot be right, and find the machine on which a job is cheapest.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/solutions/01_transfer_learning.ipynb)
#
# The exercises belong to [lesson 01](../01_transfer_learning.ipynb) and take about 60 minutes. A task's cell ends in a check: run it, and it says *correct*, *incorrect* and why, or *not attempted*. Check as often as you like: attempts and hints are not counted. If you are stuck, add a line such as `exercise.which_eye.hint()`, and if you have tried and want to compare, `exercise.which_eye.solution()` (if you look before your answer is right, that is kept).

# %% [markdown] tags=["solutions-only"]
# **These are the solutions.** They are worth more after a try: [the exercises](../exercises/01_transfer_learning.ipynb).

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
from finetune_lib.exercises import lesson_01 as exercise

# %% [markdown]
# ## 1. Predict: which eye for which question?
#
# Three networks of one build are lesson 01's: one with random weights, one that learned textures, one that learned glyphs. All are frozen. This is what the two pretrainings asked, and what they varied without asking:
#
# | network | was asked | saw in every variety, and was not asked |
# |---|---|---|
# | `t`, textures | the direction of the stripes, and how fine they are | where each stripe runs, how strong the contrast is |
# | `g`, glyphs | which of 116 letters and symbols it is (no digit among them) | typeface, place, size, tilt, thickness, brightness, contrast, dark on bright or bright on dark |
# | `r`, random | nothing | nothing |
#
# Four questions, each with a linear head on 50 labelled pictures. A, C and D are about scanned digits, half of which are inverted; B is about stripes, which it would be no use to invert.
#
# - A: is the digit mirrored? (Only 2, 3, 4, 5 and 7 are shown.)
# - B: in which of eight directions do the stripes run?
# - C: is the picture a little brighter than the others, ground and stroke together?
# - D: does the digit stand left or right of the middle?
#
# Which network's features answer each question best? Write four letters, for A, B, C and D in this order: `"rtgr"` would mean random for A, textures for B, and so on.

# %%
eyes_for_abcd = ...
### BEGIN SOLUTION
eyes_for_abcd = "gtrr"
### END SOLUTION
exercise.which_eye.check(eyes_for_abcd)

# %% [markdown]
# Now the measurement. These are the pictures:

# %%
import numpy as np
import tensorflow as tf

from finetune_lib import augmentation, digits, glyphnet

scans, which, _ = digits.arrays(wild=False)
scans, which = scans[:900].astype("float32"), which[:900]
generator = np.random.default_rng(0)
inverted, yes = (generator.permutation(900) % 2 for _ in range(2))
on = yes[:, np.newaxis, np.newaxis, np.newaxis]


def half_inverted(images):
    """Every second image, by chance, as its negative."""
    return np.where(inverted[:, np.newaxis, np.newaxis, np.newaxis], 255 - images, images)


shift = tf.constant(np.stack([0.24 * yes - 0.12, 0 * yes], axis=-1), tf.float32)
still = tf.zeros(900), tf.ones(900)
moved = augmentation.affine(
    tf.constant(scans), degrees=still[0], zoom=still[1], shift=shift, fill_mode="constant"
)
stripes, kinds = (np.concatenate(part) for part in zip(*glyphnet.texture_stream(3, seed=123), strict=True))

# %%
from finetune_lib import checks, plots

asymmetric = np.isin(which, [2, 3, 4, 5, 7])
questions = {
    "A mirrored": (half_inverted(np.where(on, scans[:, :, ::-1], scans))[asymmetric], yes[asymmetric]),
    "B direction": (stripes, kinds % 8),
    "C brighter": (np.clip(0.8 * half_inverted(scans) + 45 * on, 0, 255), yes),
    "D left or right": (half_inverted(moved.numpy()), yes),
}

shown = [
    (question[2:] + "?", images[picture])
    for question, (images, _) in questions.items()
    for picture in range(8)
]
plots.show(
    plots.image_grid([picture for _, picture in shown], [title for title, _ in shown], columns=8),
    "Eight pictures a row for each of the four questions: digits, some mirrored; stripes in many directions; digits, "
    "some a little brighter; digits left or right of the middle. About half of the digits are negatives.",
)

# %% [markdown]
# The networks see every picture once, and the heads learn from the same draws for all three. (We also keep what leaves block 3, for task 4.) By blind guessing one is right in 50% of A, C and D, and in 12.5% of B.

# %%
import keras
import threadpoolctl
from sklearn import linear_model, pipeline, preprocessing

from finetune_lib import classifier

ten_digits = [str(digit) for digit in range(10)]
picture = keras.Input((32, 32, 3))
seen = {}
for letter, weights in (("r", None), ("t", "textures"), ("g", "glyphs")):
    keras.utils.set_random_seed(0)
    model = classifier.build("GlyphNet", ten_digits, weights=weights)
    block3 = keras.layers.GlobalAveragePooling2D()(model.get_layer("block3_pool").output)
    outputs = {letter: model.get_layer("average_pool").output, f"{letter}, block 3": block3}
    seen |= keras.Model(model.input, outputs)(picture)
all_eyes = keras.Model(picture, seen)


def head_on(features, labels):
    """A linear head: every feature scaled to deviation 1, then logistic regression."""
    logistic = linear_model.LogisticRegression(C=0.1, max_iter=300)
    with threadpoolctl.threadpool_limits(1):  # such small sums are slower on two cores than on one
        return pipeline.make_pipeline(preprocessing.StandardScaler(), logistic).fit(features, labels)


# %%
accuracy = {}
for question, (images, labels) in questions.items():
    features = all_eyes.predict(images, batch_size=128, verbose=0)
    accuracy[question] = {letter: [] for letter in "rtg"}
    for draw in range(5):
        order = np.random.default_rng(draw).permutation(len(labels))
        known, new = order[:50], order[50:450]
        for letter, scores in accuracy[question].items():
            head = head_on(features[letter][known], labels[known])
            scores.append(100 * head.score(features[letter][new], labels[new]))

# %% tags=["nbval-ignore-output"]
if checks.attempted(eyes_for_abcd):
    rows = [
        [question, *(f"{np.mean(scores):.0f} ± {np.std(scores, ddof=1):.0f}" for scores in by_eye.values())]
        for question, by_eye in accuracy.items()
    ]
    print(plots.table(["accuracy (%), 5 draws", "r", "t", "g"], rows))

# %%
best = "".join(max(by_eye, key=lambda eye: np.mean(by_eye[eye])) for by_eye in accuracy.values())
lead = [
    np.subtract(by_eye[eye], by_eye[other]).mean()
    for eye, by_eye in zip(best, accuracy.values(), strict=True)
    for other in "rtg"
    if other != eye
]
assert exercise.which_eye.judge(best).verdict == checks.CORRECT and min(lead) > 3
assert np.mean(accuracy["C brighter"]["g"]) < 65
print("measured on the same draws, each best network is ahead of both others: True")

# %% [markdown]
# ## 2. Complete: how much of the picture?
#
# Lesson 01 wrote beside each layer of GlyphNet the *window* of the picture that one number of its output depends on. Its loop knew two kinds of layers: 3x3 convolutions, and 2x2 poolings that halve the picture. Others need more: ResNet50 begins with a 7x7 convolution that moves on by 2 pixels and a 3x3 pooling that does, too; MobileNetV2 is full of 1x1 convolutions.
#
# Write it for any stack. A layer is a pair `(size, stride)`: `size` numbers in a row are looked at for one output, and the next output looks `stride` further. For the stack return a pair, too: the width of the window of one number of the last output, and how far the windows of two neighbours lie apart, both in pixels of the picture.


# %%
def window_and_spacing(layers):
    """The window and the spacing, in pixels, after a stack of layers; `layers` is a list of (size, stride)."""
    ### BEGIN SOLUTION
    window, spacing = 1, 1
    for size, stride in layers:
        window += (size - 1) * spacing  # size - 1 further numbers, each a spacing away
        spacing *= stride  # counts for the layers above, not for this one
    return window, spacing
    ### END SOLUTION


exercise.window_and_spacing.check(window_and_spacing)

# %% [markdown]
# Can it be believed? Ask a network: which pixels have any influence at all on one number, in the middle of block 3's output? The gradient of that number by the pixels says so, pixel by pixel. We take GlyphNet on pictures of 64 pixels of noise, and the average over 32 of them.

# %%
glyphs = classifier.build("GlyphNet", ten_digits, weights="glyphs", image_size=(64, 64))
up_to_block3 = keras.Model(glyphs.input, glyphs.get_layer("block3_conv2").output)
noise = tf.constant(np.random.default_rng(0).uniform(0, 255, (32, 64, 64, 3)), tf.float32)
with tf.GradientTape() as tape:
    tape.watch(noise)
    middle = tf.reduce_sum(up_to_block3(noise)[:, 8, 8])
influence = np.abs(tape.gradient(middle, noise)).mean(axis=(0, 3))
rows = np.flatnonzero(influence.sum(axis=1))
print(f"pixels with any influence: from row {rows[0]} to {rows[-1]}, {len(rows)} in all")

# %%
if checks.attempted(window_and_spacing):
    glyphnet_stack = [(3, 1), (3, 1), (2, 2), (3, 1), (3, 1), (2, 2), (3, 1), (3, 1)]
    print("by your function:", window_and_spacing(glyphnet_stack)[0], "pixels")
    resnet_begins = [(7, 2), (3, 2)]
    print(
        "after the first two layers of ResNet50: window and spacing", tuple(window_and_spacing(resnet_begins))
    )

# %% [markdown]
# **Guess:** within this window, does every pixel count about the same? What share of the influence comes from the quarter of its area in the middle?

# %%
import matplotlib.figure
import matplotlib.patches

if checks.attempted(window_and_spacing):
    size = window_and_spacing(glyphnet_stack)[0]
    figure = matplotlib.figure.Figure(figsize=(4.4, 3.8), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(influence / influence.max(), cmap="viridis")
    for side, line in ((size, "-"), (size // 2, "--")):
        corner = rows[0] + (size - side) / 2 - 0.5
        square = {"fill": False, "edgecolor": "white", "linestyle": line}
        axes.add_patch(matplotlib.patches.Rectangle((corner, corner), side, side, **square))
    figure.colorbar(drawn, label="influence (largest = 1)")
    plots.show(
        figure,
        "The influence of each pixel on one number after block 3: nothing outside a square of 32 pixels, faint at "
        "its rim, bright in its middle. A dashed square marks the inner quarter of the area.",
    )
    inner = influence[rows[8] : rows[-8], rows[8] : rows[-8]].sum() / influence.sum()
    print(f"more than half of the influence comes from the inner quarter of the area: {inner > 0.5}")

# %% [markdown]
# The window is an outer limit. Many paths through the kernels lead to its middle and only one to each corner, so what a unit *effectively* sees is smaller (Luo et al., [NeurIPS 2016](https://proceedings.neurips.cc/paper_files/paper/2016/hash/c8067ad1937f728f51288b3eb986afaa-Abstract.html)). Keep that in mind when a network is to judge large things in large photos.
#
# ## 3. Complete: what is a pretraining worth, in labels?
#
# "Seven points more" means little to whoever pays for labels. They ask: *how many labels does it spare me?* So let us find the number of labels at which training from scratch has caught up.
#
# The data are the [README](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/README.md#what-transfer-gains)'s benchmark on the wild digits: how many of the 891 test images were right, in ten draws with 5 labels a class and in ten with 20. As accuracies they become arrays of draws by counts; in a row all methods learned from the same images. (Unlike in lesson 01, the twenty images of a row do not contain its five. So a row's line is one that might have been; ten of them show the spread.)

# %%
COUNTS = [5, 20]
right = {
    "from scratch": [
        [755, 741, 734, 742, 744, 738, 742, 740, 753, 703],
        [818, 827, 847, 815, 814, 825, 823, 802, 825, 814],
    ],
    "frozen": [
        [794, 809, 791, 734, 823, 751, 739, 742, 790, 743],
        [823, 827, 820, 807, 812, 821, 808, 814, 816, 809],
    ],
    "fine-tuned": [
        [803, 831, 804, 765, 835, 772, 775, 792, 812, 785],
        [843, 845, 848, 833, 843, 844, 836, 831, 842, 840],
    ],
}
scratch, frozen, tuned = (100 * np.array(images).T / 891 for images in right.values())
for name, values in zip(right, (scratch, frozen, tuned), strict=True):
    with_5, with_20 = values.mean(axis=0)
    print(f"{name:12}  {with_5:.1f}% with 5 labels a class, {with_20:.1f}% with 20")

# %% [markdown]
# For each draw, find the number of labels at which its gain, pretrained less from scratch, comes down to zero for the first time. Between two counts, take the gain for a straight line over the *logarithm* of the count: from 5 to 10 labels is as far as from 10 to 20. If there is no gain at the first count already, that count is the answer; if the gain is above zero at all counts, `np.inf`.


# %%
def caught_up(counts, pretrained, scratch):
    """For each draw, how many labels it takes from scratch to catch up: an array, one number a draw.

    `counts` are labels a class, rising; the others are accuracies, an array (draws, counts) each.
    """
    ### BEGIN SOLUTION
    import numpy as np

    found = []
    for gains in np.asarray(pretrained) - np.asarray(scratch):
        behind = np.flatnonzero(gains <= 0)  # the counts at which from scratch has caught up
        if len(behind) == 0:
            found.append(np.inf)
        elif behind[0] == 0:
            found.append(counts[0])
        else:
            after = behind[0]
            share = gains[after - 1] / (gains[after - 1] - gains[after])
            found.append(counts[after - 1] * (counts[after] / counts[after - 1]) ** share)
    return np.array(found)
    ### END SOLUTION


exercise.caught_up.check(caught_up)

# %% [markdown]
# **Guess:** do the ten draws agree? And does fine-tuning go on sparing labels where frozen features no longer do?

# %%
if checks.attempted(caught_up):
    for name, values in (("frozen", frozen), ("fine-tuned", tuned)):
        found = np.sort(caught_up(COUNTS, values, scratch))
        print(f"{name:10} from scratch has caught up at", ", ".join(f"{count:.0f}" for count in found))

# %%
if checks.attempted(caught_up):
    figure = matplotlib.figure.Figure(figsize=(8, 3.4), layout="constrained")
    for axes, (name, values) in zip(
        figure.subplots(1, 2, sharey=True), (("frozen", frozen), ("fine-tuned", tuned)), strict=True
    ):
        axes.plot(COUNTS, (values - scratch).T, "o-", color=plots.BLUE, alpha=0.6, markersize=4)
        found = caught_up(COUNTS, values, scratch)
        axes.plot(
            found[np.isfinite(found)], 0 * found[np.isfinite(found)], "x", color=plots.VERMILION, markersize=9
        )
        axes.axhline(0, color="black", linewidth=1)
        axes.set(xscale="log", title=name, xlabel="labels a class")
        axes.set_xticks(COUNTS, [str(count) for count in COUNTS])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("gain over from scratch (points)")
    plots.show(
        figure,
        "The gain over from scratch with 5 and 20 labels, a line a draw. Frozen: from -1 to 9 points with 5 labels, "
        "around zero with 20; crosses where from scratch has caught up, from 5 to 20 labels. Fine-tuned: all lines stay above "
        "zero.",
    )

# %% [markdown]
# "It is worth ten labels a class" would be a story about one draw. What may be said: frozen features are caught up with somewhere between 5 and 20 labels, or a little above; from a fine-tuned network, from scratch is behind in all ten draws even with 20. The same pretraining, and another boundary.
#
# ## 4. Find the mistake: the wrong network, with full marks
#
# A colleague chooses among four frozen networks for the wild digits, by a linear probe on two labels a class: three from task 1, and the glyph network with the channels of block 3 beside those of block 4. Here are their accuracies, for 20 draws of the training images: `probe(network, draw, part)` looks them up. A part is `"train"`, `"validation"` or `"test"`.

# %%
wild, which, writers = digits.arrays(wild=True)
features = all_eyes.predict(wild.astype("float32"), batch_size=128, verbose=0)
networks = {"random": "r", "textures": "t", "glyphs": "g"}
networks = {name: features[letter] for name, letter in networks.items()}
networks["glyphs, two blocks"] = np.hstack([features["g"], features["g, block 3"]])
probed = {}
for draw in range(20):
    rows = digits.split(which, writers, 2, draw)
    for name, values in networks.items():
        head = head_on(values[rows["train"]], which[rows["train"]])
        for part, members in rows.items():
            probed[name, draw, part] = 100 * head.score(values[members], which[members])


def probe(network, draw, part):
    """The accuracy in %, on a part of the data, of a head that learned from a draw."""
    return probed[network, draw, part]


# %%
def colleagues_choice(networks, draws, probe):
    """Of several networks, the one to use."""
    scores = {}
    for place, network in enumerate(networks):
        draw = draws[place % len(draws)]
        scores[network] = probe(network, draw, "train")
    return max(scores, key=scores.get)


# %% tags=["nbval-ignore-output"]
chosen = colleagues_choice([*networks], range(20), probe)
print("chosen:", chosen, f"with {probe(chosen, 0, 'train'):.0f}% right")

# %%
means = {
    name: np.mean(
        [[probe(name, draw, part) for part in ("train", "validation")] for draw in range(20)], axis=0
    )
    for name in networks
}
assert means["random"][0] > 95 and means["random"][1] < 25 and means["glyphs"][1] > 60
print("random weights: over 95% right on training images, under 25% on validation images: True")

# %% [markdown]
# "Random weights it is: perfect, and nothing to download."
#
# There are *two* mistakes in these lines. The first shouts. The second stays when the first is mended, and only matters among networks that are close to each other, so ask yourself: if two networks were equally good, what would decide? Write the function without either. It asks `probe` for what it needs, and only for what may be used in a choice.


# %%
def choose(networks, draws, probe):
    """Of several networks (a list of names), the one to use; `draws` is a list of draws that may be asked for."""
    ### BEGIN SOLUTION
    import numpy as np

    def mean(network):
        return np.mean([probe(network, draw, "validation") for draw in draws])  # the same draws for all

    return max(networks, key=mean)
    ### END SOLUTION


exercise.choose.check(choose)

# %% [markdown]
# How much does the second mistake cost? We let both ways choose between the two closest networks a thousand times, from three draws each: once the same three for both, once three of its own for each. The judge is the test accuracy over all 20 draws, which no choice has seen. **Guess:** how often is each right?

# %% tags=["nbval-ignore-output"]
close = ["glyphs", "glyphs, two blocks"]
truth = max(close, key=lambda name: np.mean([probe(name, draw, "test") for draw in range(20)]))
if checks.attempted(choose):
    generator = np.random.default_rng(0)
    right = {"the same draws": 0, "draws of their own": 0}
    for _ in range(1000):
        three, others = (generator.choice(20, 3, replace=False).tolist() for _ in range(2))
        right["the same draws"] += choose(close, three, probe) == truth
        own = dict(zip(close, (three, others), strict=True))
        means = {name: np.mean([probe(name, draw, "validation") for draw in own[name]]) for name in close}
        right["draws of their own"] += max(means, key=means.get) == truth
    for way, count in right.items():
        print(f"{way:18}  right in {count / 1000:.0%} of the choices")

# %%
if checks.attempted(choose):
    print("the same draws choose better:", right["the same draws"] > right["draws of their own"] + 50)

# %% [markdown]
# A lucky draw lifts every network. What is common to both drops out of a difference, but only if both had the same luck.
#
# ## 5. Design: which machine is the cheapest?
#
# You rent machines by the second. While one batch is computed, the next is read and decoded, so the slower of the two sets the pace: a machine gets through
#
# $$\min\Big(\text{images it reads a second},\; \frac{\text{multiply-additions it does a second}}{\text{multiply-additions an image}}\Big)$$
#
# images a second. Its start is billed, too. Here are two; the numbers are invented, but of a usual kind. (Put in what you measure and pay.) The GPU computes twenty times as fast, and costs six times as much.

# %%
machines = {
    "two cores": {"speed": 1e11, "reads": 200, "price_an_hour": 0.10, "start_seconds": 30},
    "GPU": {"speed": 2e12, "reads": 200, "price_an_hour": 0.60, "start_seconds": 120},
}

# %% [markdown]
# **Guess:** does the GPU pay for a small network, for a large one, for both, for neither? Then write the function that decides. `images` counts every image as often as it is used: epochs times the size of the training part.


# %%
def cheapest(images, multiply_adds, machines):
    """The name of the machine on which a job costs least, and what it costs there: a pair.

    `multiply_adds` is the work of one training step, an image; `machines` a dictionary like the one above.
    """
    ### BEGIN SOLUTION
    costs = {}
    for name, machine in machines.items():
        pace = min(machine["reads"], machine["speed"] / multiply_adds)
        seconds = machine["start_seconds"] + images / pace
        costs[name] = machine["price_an_hour"] * seconds / 3600
    best = min(costs, key=costs.get)
    return best, costs[best]
    ### END SOLUTION


exercise.cheapest.check(cheapest)

# %% [markdown]
# Four jobs, their work counted from the networks (`finetune_lib.cost`) for photos of 160 pixels: the head alone, or everything, for the smallest MobileNetV2 and for VGG16. All take 2,000 photos for 10 epochs, and the frozen layers are computed anew in each.

# %%
from finetune_lib import cost

jobs = {}
for name in ("MobileNetV2", "VGG16"):
    counted = cost.layers(classifier.build(name, ten_digits, weights=None, image_size=(160, 160)))
    everything = [layer.name for layer in counted if layer.parameters]
    jobs[f"{name}, head"] = cost.step(counted, ["logits"]).multiply_adds
    jobs[f"{name}, all"] = cost.step(counted, everything).multiply_adds
for job, work in jobs.items():
    print(f"{job:17} {work / 1e9:6.2f} billion multiply-additions an image", end="")
    if checks.attempted(cheapest):
        machine, price = cheapest(20_000, work, machines)
        print(f"; cheapest on {machine}, {price:.4f}", end="")
    print()

# %%
if checks.attempted(cheapest):
    works = np.geomspace(1e7, 1e11, 200)
    prices = {
        name: np.array([cheapest(20_000, work, {name: machine})[1] for work in works])
        for name, machine in machines.items()
    }
    two_cores, gpu = prices.values()
    print(f"for little work the GPU costs {gpu[0] / two_cores[0]:.0f} times as much")
    print(f"it pays from {works[gpu < two_cores][0] / 1e9:.1f} billion multiply-additions an image on")

# %%
if checks.attempted(cheapest):
    figure = matplotlib.figure.Figure(figsize=(7.5, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(works, two_cores, color=plots.BLUE, label="two cores")
    axes.plot(works, gpu, "--", color=plots.VERMILION, label="GPU")
    for job, work in jobs.items():
        axes.axvline(work, color=plots.GREY, linestyle=":", linewidth=1)
        axes.text(work, 9, job, rotation=90, ha="right", va="top", fontsize=8)
    axes.set(xscale="log", yscale="log", ylim=(0.002, 10))
    axes.set(xlabel="multiply-additions an image", ylabel="price of the job")
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    plots.show(
        figure,
        "Price of a job of 20,000 images against the work an image, both axes logarithmic. Both lines are flat "
        "as long as reading sets the pace, the GPU ten times higher; two cores rise from half a billion on, the "
        "GPU from ten billion. They cross at six billion: MobileNetV2 lies far left of it, VGG16 right.",
    )

# %% [markdown]
# **Guess** once more: with the frozen layers computed in the first epoch only and then stored, VGG16's head is a tenth of the work. Where is it cheapest now?

# %%
if checks.attempted(cheapest):
    where = [cheapest(20_000, work, machines)[0] for work in jobs.values()]
    print("MobileNetV2 on two cores, VGG16 on the GPU:", where == ["two cores"] * 2 + ["GPU"] * 2)
    print("VGG16, head, stored: cheapest on", cheapest(20_000, jobs["VGG16, head"] / 10, machines)[0])

# %% [markdown]
# A GPU that waits for photos costs as much as one that computes. Twenty times the speed for six times the price pays only where arithmetic is what takes the time. And a frozen prefix that is computed once and stored (`fitting.fit` does that) takes the arithmetic out of all epochs but the first: many a transfer needs no GPU at all.
#
# ## Quiz
#
# **Question 1.** On the wild digits, with five labels a class, frozen texture features reach 33% and training from scratch 83%. What do you conclude?
#
# - a) The texture network was trained badly: a well-trained one never hurts.
# - b) For this target, at this boundary, textures are the wrong source; another source, or more layers that learn, may still help.
# - c) Transfer from textures is negative, so that network helps with no task.
# - d) Five labels are too few for a linear head; with more, it would overtake.

# %%
# @title Question 1 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c", "d"]
### BEGIN SOLUTION
answer = "b"
### END SOLUTION
exercise.question_1.check(answer)

# %% [markdown]
# **Question 2.** Somebody prints the first layer's kernels of a network, sees coloured confetti and no edges, and says: "This was never trained." What do you answer?
#
# - a) Right: every trained network for pictures has edges in its first layer.
# - b) Kernels say little: compare what its features are worth, with a linear probe, to those of random weights.
# - c) Wrong: the colours are what it has learned.

# %%
# @title Question 2 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c"]
### BEGIN SOLUTION
answer = "b"
### END SOLUTION
exercise.question_2.check(answer)

# %% [markdown]
# **Question 3.** Frozen features won with 5 labels a class. Now there are 500, and training everything from scratch is ahead by four points. Why can more labels not save the frozen features?
#
# - a) A head on frozen features learns nothing from more labels.
# - b) Pretraining wears off when many new images come in.
# - c) The head reads only what the frozen layers kept; what they have thrown away, no label brings back.

# %%
# @title Question 3 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c"]
### BEGIN SOLUTION
answer = "c"
### END SOLUTION
exercise.question_3.check(answer)

# %% [markdown]
# **Question 4.** You have 30 labelled microscope pictures of each of six kinds of grain, and a network that was pretrained on photos of all sorts of things. What is the first thing to run?
#
# - a) Everything from scratch, since microscope pictures are not like photos.
# - b) Fine-tune all layers at once at the rate of training from scratch, since the task is so different.
# - c) Linear probes on the frozen features, after several blocks, judged on validation pictures.
# - d) Nothing yet: the similarity of the pictures decides, and one sees that by eye.

# %%
# @title Question 4 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c", "d"]
### BEGIN SOLUTION
answer = "c"
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
