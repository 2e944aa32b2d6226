# %% [markdown]
# # Transfer learning: what transfers, when it helps, and when it hurts
#
# In this notebook, we look inside pretrained networks, measure what their features are worth from one to twenty labels a class, find a task that the best of them makes worse, and work out what the training costs.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/01_transfer_learning.ipynb)
#
# **Time:** about 75 minutes to read and try: the code runs for 1 to 2 minutes on a CPU with two cores, an estimated 1 minute on a T4.
#
# ## Learning objectives
#
# After this notebook, you will be able to
#
# - describe a transfer by its **source**, its **target**, its **start** and its **freeze boundary**;
# - look at **filters** and **activations**, and say what they show and what they cannot show;
# - explain why early layers are **general** and late ones **specific**, and measure it with a linear probe;
# - predict from two questions, **how many labels?** and **how similar?**, whether to freeze, to fine-tune or to train everything;
# - **choose** a pretrained network by evidence that costs no training of a backbone;
# - compute what a training job **costs**, from counted work, a measured speed and your own prices.
#
# It builds on [lesson 00](00_start_here.ipynb).
#
# **Terms of this lesson**, in English and 中文: [source](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#source), [target](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#target), [transfer gain](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#transfer-gain), [negative transfer](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#negative-transfer), [kernel](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#kernel), [activation](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#activation), [channel](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#channel), [invariance](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#invariance), [linear probe](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#linear-probe), [general and specific features](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#general-and-specific-features), [multiply-adds](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#multiply-adds), [break-even](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#break-even).

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
# The form below says what the pictures of section 2 and the main experiment in section 4 use. Sections 3 and 5 always take the course's own small network: they need two pretrainings of one network about which everything is known, and that rarely comes with published ones.
#
# A *draw* is a choice of training images. A result on one draw may be luck, so we repeat: twice where it is cheap, once where it is dear (a whole network from random numbers). On a GPU, raise the numbers. Where this lesson rests on so few draws, it says so, and compares with ten.
#
# The text describes the wild digits and GlyphNet. With other data and networks your numbers differ: ask of each sentence whether it still holds.

# %%
# @title Which data and network, and how many draws? { display-mode: "form" }
data_name = (
    "auto"  # @param ["auto", "digits_wild", "digits", "tf_flowers", "cats_vs_dogs"] {allow-input: true}
)
backbone_name = "auto"  # @param ["auto", "GlyphNet", "MobileNetV2", "EfficientNetV2B0", "VGG16"]
draws = 2  # @param {type: "integer"}
scratch_draws = 1  # @param {type: "integer"}

from finetune_lib import backbones, classifier

data_name, backbone_name = classifier.choose(data_name, backbone_name)
if backbone_name != "GlyphNet" and not environment.gpu_names():
    draws, scratch_draws = 1, 0  # large networks on photos would keep you waiting
backbone = backbones.get(backbone_name)

# %% [markdown]
# ## 1. A transfer in four words
#
# A **task** is a distribution of images $x$ together with a question, that is, which label $y$ belongs to each. For the **source** task somebody had plenty of labels and trained a network. For the **target** task, ours, we have few.
#
# A network that sorts images is a chain of blocks, the backbone, with a head at the end:
#
# $$f(x) = \text{head}\,\big(\, g_4(\, g_3(\, g_2(\, g_1(x))))\,\big) .$$
#
# Pretraining is gradient descent on the source, from random numbers $W_0$ to $W_{\text{pre}}$. Then the head, which answers the source's question, is thrown away, and a new one for ours takes its place. Two choices remain:
#
# - the **start**: does our own descent begin at $W_0$, or at the $W_{\text{pre}}$ of some source?
# - the **freeze boundary**: which blocks are held fixed, and from which one on do weights move?
#
# Each method of this lesson is one pair of answers:
#
# | method | start | what learns |
# |---|---|---|
# | from scratch | random numbers | everything |
# | random frozen | random numbers | the head |
# | frozen | a source's weights | the head |
# | fine-tuned | a source's weights | the head, then the last blocks with it |
#
# So two things can transfer: the *function* that the frozen blocks compute, and the *place* where the others begin. The **transfer gain** is a difference of accuracies on the target, with the same labels:
#
# $$\text{gain} = \text{accuracy (with } W_{\text{pre}}) \; - \; \text{accuracy (from scratch)} .$$
#
# Below zero it is called **negative transfer**. Note that the gain belongs to no network. It belongs to source, target, number of labels and boundary together, and in this lesson we shall vary all four.
#
# ## 2. What a pretrained network sees
#
# ### Filters
#
# The first layer reads pixels, so its weights can be shown as what they meet: small colour images, called *kernels* or *filters*. Each one slides over the picture and answers strongly where the picture looks like it. That is a *convolution*. The answers of one kernel make a new picture, called a *channel*; the next layer's kernels read all channels at once. Between blocks, *pooling* keeps one number of every 2 x 2 and so halves the picture. Grey means zero, and each is scaled by its own largest weight.

# %%
import keras

from finetune_lib import data, plots, transfer_plots

dataset = data.load(data_name, labels_per_class=20)
pretrained = classifier.build(backbone_name, dataset.class_names, image_size=dataset.image_size)
first_layer = next(layer.name for layer in pretrained.layers if isinstance(layer, keras.layers.Conv2D))
plots.show(
    transfer_plots.filters(pretrained, first_layer),
    f"Sixteen kernels of {first_layer} as colour images of a few pixels, under their numbers. Those of "
    "GlyphNet look like colourful noise. The table below says how long each is and how much of it is grey.",
)
print(transfer_plots.filters_table(pretrained, first_layer, most=8))

# %% [markdown]
# With a network that learned from photos, you would see edges in all directions and blobs of opposite colours. GlyphNet's look like confetti, and there is a small mystery in them. It never saw a colour: all its training pictures were grey. **Guess:** where do these colours come from?
#
# We have a witness. The course ships a second pretraining of the same network, on *textures*: noise with a direction and a grain, and no shape at all. And we can build the network with random numbers, from the seed that pretraining used.

# %%
import numpy as np

ten_digits = [str(digit) for digit in range(10)]
glyphnets = {}
for source, weights in (("random", None), ("textures", "textures"), ("glyphs", "glyphs")):
    keras.utils.set_random_seed(0)
    glyphnets[source] = classifier.build("GlyphNet", ten_digits, weights=weights)

kernels = {
    source: transfer_plots.kernels_on_pixels(model, "block1_conv1") for source, model in glyphnets.items()
}
grey = {source: kernel.mean(axis=-1, keepdims=True) for source, kernel in kernels.items()}
colour = {source: kernels[source] - grey[source] for source in kernels}
largest = np.abs(colour["random"]).max()
for source in ("textures", "glyphs"):
    apart = np.abs(colour[source] - colour["random"]).max() / largest
    print(
        f"{source:8}  its colours and those of the random numbers differ by less than 1 in 10,000: {apart < 1e-4}"
    )
    assert apart < 1e-4

# %% [markdown]
# Both trained networks carry the *same* colours, and they are those of the random numbers at which both began. In a grey picture red, green and blue are equal, so the three slopes of the loss are equal, and descent moves the three weights by equal steps. Their differences never change. (Lesson 02b calls this by its name: what the images do not determine is kept from the start.)
#
# Two lessons. We have found $W_0$, so from here on we know exactly what pretraining did, and "random" below always means *these* random numbers. And a picture of weights shows more than what was learned. What a grey picture meets is only the grey part, so let us look at that.

# %%
rows = [grey[source] / np.abs(grey[source]).max(axis=(1, 2, 3), keepdims=True) for source in grey]
shown = 127.5 + 127.5 * np.repeat(np.concatenate(rows), 3, axis=-1)
titles = [f"{source} {number}" for source in grey for number in range(16)]
plots.show(
    plots.image_grid(shown, titles, columns=16),
    "The grey part of the sixteen kernels of GlyphNet's first layer, in three rows: as the random numbers made "
    "them, after learning textures, and after learning glyphs. Most kernels look alike in all three rows.",
)

# %% [markdown]
# Compare a column from top to bottom. **Guess:** how far, relative to its length, has the grey part of the first layer moved from its random start while the network learned to tell 116 glyphs apart? And the last?
#
# ### Where pretraining moved the weights
#
# For every layer we take the distance from $W_0$, divided by the length of $W_0$. Beside it stands how large a window of the picture one number of its output depends on.

# %%
window, spacing, places, windows = 1, 1, [], []
for layer in glyphnets["random"].layers:
    if isinstance(layer, keras.layers.Conv2D):
        window += 2 * spacing  # a 3x3 kernel reaches one further on either side
        places.append(layer.name)
        windows.append(window)
    if isinstance(layer, keras.layers.MaxPooling2D):
        window += spacing
        spacing *= 2


def kernel_of(source, name):
    """A layer's kernel as an array; of the first layer the grey part, all that grey pictures can move."""
    kernel = np.asarray(glyphnets[source].get_layer(name).kernel)
    return kernel.mean(axis=2, keepdims=True) if name == places[0] else kernel


moved, each_weight = {}, {}
for source in ("textures", "glyphs"):
    starts = [kernel_of("random", name) for name in places]
    steps = [kernel_of(source, name) - start for name, start in zip(places, starts, strict=True)]
    pairs = zip(steps, starts, strict=True)
    moved[source] = np.array([np.linalg.norm(step) / np.linalg.norm(start) for step, start in pairs])
    each_weight[source] = np.array([np.sqrt(np.mean(step**2)) for step in steps])

# %%
cells = [
    [name, f"{size} px", f"{textures:.2f}", f"{glyphs:.2f}", f"{single:.3f}"]
    for name, size, textures, glyphs, single in zip(
        places, windows, moved["textures"], moved["glyphs"], each_weight["glyphs"], strict=True
    )
]
header = ["layer", "window", "moved by textures", "moved by glyphs", "each weight, by glyphs"]
print(plots.table(header, cells))
plots.show(
    plots.bars(places, moved, "distance from the random start / its length"),
    "How far each layer moved from its random start, layer by layer, the numbers of the table above: the "
    "first ones least, the last ones most, and with glyphs much further than with textures.",
)

# %%
assert moved["glyphs"][0] < 0.6 and moved["glyphs"][-1] > 1.5
assert (moved["glyphs"] > moved["textures"]).all()
assert each_weight["glyphs"].max() < 2 * each_weight["glyphs"].min()
print("the first layer moved by less than its length, the last by more than 1.5 times its own: True")
print("and yet a single weight moved about equally far in every layer: True")

# %% [markdown]
# Compared with where it started, the last layer moved several times as far as the first. It is tempting to read this as "the first layer had little to learn". But look at the last column (the root of the mean square): a single weight moved about equally far everywhere. Deep layers read more numbers, so they start from smaller ones, and equal steps change them more. *What a layer is good for cannot be read off its weights.*
#
# That early layers are **general** and late ones **specific** (Yosinski et al., [1411.1792](https://arxiv.org/abs/1411.1792)) is a statement about what their features can be used for. Section 3 asks the features themselves.
#
# ### What becomes of one picture
#
# Let us follow one validation picture through the network. Each row below shows a layer's most active channels: bright where the channel answers.

# %% tags=["nbval-ignore-output"]
from finetune_lib import freezing

wanted = min(3, len(dataset.class_names) - 1)
sample = next(image for image, label in dataset.validation.as_numpy_iterator() if label == wanted)
looked_at = [
    next(layer.name for layer in pretrained.layers if freezing.is_called(layer.name, cut))
    for cut in backbone.cut_points[:4]
]
plots.show(
    transfer_plots.activation_maps(pretrained, sample, looked_at),
    "One picture and the most active channels of the first layer of each of four blocks, early ones above: "
    "sizes, zeros and channels are in the table below. In GlyphNet's early rows the picture can be recognised "
    "in outlines; in later rows a channel is a few large squares.",
)
print(transfer_plots.activation_maps_table(pretrained, sample, looked_at))

# %% [markdown]
# Early maps are still pictures: an outline, one side of every stroke. Late maps are a few squares each, and where they are bright says only *that* something was found, and roughly where. In GlyphNet many numbers are exactly zero: a channel that does not find what it looks for is silent.
#
# ### What a unit likes
#
# What does a late channel look for? We ask for its **favourites**: the six validation pictures that excite it most. If a channel has learned something about digits, its favourites should be of one kind. GlyphNet has never seen a digit, and our wild digits are turned, faded and half of them inverted. **Guess:** take two of a channel's six favourites at random. How often do they show the same digit: with glyphs, with textures, with random weights? Blind chance is one in ten.

# %%
wild = data.load("digits_wild", labels_per_class=5)
pictures, digits_shown = map(np.stack, zip(*wild.validation.as_numpy_iterator(), strict=True))


def features_of(source, images):
    """The 128 numbers that the head would read, for each image."""
    to_features = keras.Model(glyphnets[source].input, glyphnets[source].get_layer("average_pool").output)
    return to_features.predict(images.astype("float32"), batch_size=256, verbose=0)


favourites, agreement = {}, {}
for source in glyphnets:
    excitement = features_of(source, pictures)
    top = np.argsort(-excitement, axis=0)[:6].T  # for each channel, six pictures
    liked = digits_shown[top]
    pairs = [liked[:, i] == liked[:, j] for i in range(6) for j in range(i)]
    used = excitement.max(axis=0) > 0
    favourites[source], agreement[source] = top[used], np.mean(pairs, axis=0)[used]

# %% tags=["nbval-ignore-output"]
for source, values in agreement.items():
    print(f"{source:8} two favourites of a channel show the same digit: {values.mean():.0%}")

# %%
assert agreement["glyphs"].mean() > 0.3 > 0.2 > agreement["random"].mean()
assert agreement["glyphs"].mean() > agreement["textures"].mean() + 0.05 > agreement["random"].mean() + 0.1
print(
    "favourites agree most with glyphs, then with textures, and with random weights hardly more than by chance: True"
)

# %% tags=["nbval-ignore-output"]
shown, titles = [], []
best = {source: np.argsort(-values, kind="stable")[:5] for source, values in agreement.items()}
for row in range(5):
    for source in ("glyphs", "textures"):
        for picture in favourites[source][best[source][row]]:
            shown.append(pictures[picture])
            titles.append(f"{source}: {digits_shown[picture]}")
plots.show(
    plots.image_grid(shown, titles, columns=12),
    "The five most single-minded channels of either network, a row each: left six favourites of a channel "
    "learned on glyphs, right six of one learned on textures. On the left each row shows another digit, dark on "
    "bright and bright on dark; on the right nearly all rows show ones: thick bars of one direction.",
)

# %% tags=["nbval-ignore-output"]
liked = {}
for source in ("glyphs", "textures"):
    decided = favourites[source][agreement[source] > 0.65]  # at least five of the six agree
    kinds = {int(np.bincount(digits_shown[row]).argmax()) for row in decided}
    liked[source] = len(kinds)
    print(
        f"{source:8} {len(decided):2} channels have five or six favourites of one digit; digits liked: {sorted(kinds)}"
    )

# %%
assert liked["glyphs"] >= 8 and liked["textures"] <= 5
print("the glyph network has such channels for nearly every digit, the texture network for a few: True")

# %% [markdown]
# These are the most single-minded channels of each network, so do not take them for typical; the percentages above are over all. On the right it is nearly always the one: a thick bar of a certain direction, which is what a texture network knows. On the left nearly every digit has its channel, and the favourites come in either polarity, dark on bright and bright on dark. GlyphNet seems not to care.
#
# Let us test that. Invert each validation picture, and look which of all the pictures has the features most like those of the inverted one. **Guess:** how often will a network find the right picture again?


# %%
def found_again(source, changed):
    """The share of changed pictures whose features are most like those of their own originals."""
    originals, others = features_of(source, pictures), features_of(source, changed)
    mean, deviation = originals.mean(axis=0), originals.std(axis=0) + 1e-6
    first, second = ((values - mean) / deviation for values in (originals, others))
    first, second = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (first, second))
    nearest = (second @ first.T).argmax(axis=1)
    return np.mean(nearest == np.arange(len(pictures)))


# %% tags=["nbval-ignore-output"]
found = {source: found_again(source, 255 - pictures) for source in glyphnets}
for source, share in found.items():
    print(f"{source:8} finds the picture that was inverted: {share:.0%} of {len(pictures)}")

# %%
assert found["glyphs"] > 0.9 and max(found["random"], found["textures"]) < 0.2
print("glyphs find more than nine in ten, the others fewer than two: True")

# %% [markdown]
# A large part of what transfers to our wild digits is this **invariance**: a letter keeps its name when it is inverted, so GlyphNet had to give both polarities the same features. (To have seen both is not enough: textures, too, are as often bright as dark, and that network finds next to nothing. Nothing in *its* question asked it to look past polarity so far.) The other part is shapes that letters and digits share, as lesson 00 said. Invariance also has a price, and section 3 will present the bill.
#
# ## 3. From general to specific: one network, two questions
#
# How much does a block know about a question? A **linear probe** finds out: cut the network after the block, average each channel over the picture, and train nothing but a linear head on these numbers. If the head does well, the answer was there, laid out so that a weighted sum can read it.
#
# We put two questions to the same pictures: 50 scans of digits, half of them inverted.
#
# 1. Which digit is it?
# 2. Is it dark on bright?
#
# The second is so easy that one look at a corner of the picture would do. **Guess**, for the glyph network: how will the two accuracies go with depth, from block 1 to block 4? (By guessing blindly one gets 10% and 50%.)

# %%
import threadpoolctl
from sklearn import linear_model, pipeline, preprocessing


def head_on(features, labels):
    """A linear head: every feature scaled to deviation 1, then logistic regression."""
    logistic = linear_model.LogisticRegression(C=0.1, max_iter=300)
    head = pipeline.make_pipeline(preprocessing.StandardScaler(), logistic)
    with threadpoolctl.threadpool_limits(1):  # such small sums are slower on two cores than on one
        return head.fit(features, labels)


# %%
def after_each_block(model, cut_points):
    """A model that gives the channels' means after each block."""
    begins = [
        next(layer for layer in model.layers if freezing.is_called(layer.name, cut)) for cut in cut_points
    ]
    ends = [layer.input for layer in begins[1:]] + [model.get_layer("average_pool").input]
    return keras.Model(model.input, [keras.layers.GlobalAveragePooling2D()(end) for end in ends])


glyphnet_blocks = backbones.get("GlyphNet").cut_points
watched = {source: after_each_block(model, glyphnet_blocks) for source, model in glyphnets.items()}


def half_inverted(stream, seed):
    """A stream's images, half of them inverted; which digit each shows, and whether it is inverted."""
    images, labels = map(np.stack, zip(*stream.as_numpy_iterator(), strict=True))
    inverted = np.random.default_rng(seed).permutation(len(images)) % 2
    images = np.where(inverted[:, np.newaxis, np.newaxis, np.newaxis], 255 - images, images)
    return images.astype("float32"), {"which digit?": labels, "dark on bright?": inverted}


# %% tags=["nbval-ignore-output"]
probed = {question: {source: [] for source in glyphnets} for question in ("which digit?", "dark on bright?")}
for draw in range(3):
    clean = data.load("digits", labels_per_class=5, seed=draw)
    learned_from, answers = half_inverted(clean.train, draw)
    asked, truth = half_inverted(clean.validation, 100)
    for source, blocks in watched.items():
        known, new = (blocks.predict(images, batch_size=256, verbose=0) for images in (learned_from, asked))
        for question, by_source in probed.items():
            pairs = zip(known, new, strict=True)
            heads = [(head_on(block, answers[question]), other) for block, other in pairs]
            by_source[source].append([100 * head.score(other, truth[question]) for head, other in heads])
probed = {
    question: {source: np.array(values) for source, values in by_source.items()}
    for question, by_source in probed.items()
}

# %% tags=["nbval-ignore-output"]
for question, by_source in probed.items():
    cells = [
        [
            source,
            *(
                f"{mean:.0f} ± {sd:.0f}"
                for mean, sd in zip(values.mean(axis=0), transfer_plots.spread(values), strict=True)
            ),
        ]
        for source, values in by_source.items()
    ]
    print(plots.table([f"{question} (%)", *glyphnet_blocks], cells), end="\n\n")

# %% tags=["nbval-ignore-output"]
import matplotlib.figure

figure = matplotlib.figure.Figure(figsize=(9, 3.4), layout="constrained")
for axes, (question, by_source) in zip(figure.subplots(1, 2), probed.items(), strict=True):
    for (source, values), colour_of, marker in zip(
        by_source.items(), (plots.GREY, plots.VERMILION, plots.BLUE), "s^o", strict=True
    ):
        axes.plot(glyphnet_blocks, values.T, marker, color=colour_of, markersize=3.5, alpha=0.4)
        axes.plot(glyphnet_blocks, values.mean(axis=0), marker + "-", color=colour_of, label=source)
    axes.axhline(50 if "dark" in question else 10, color="black", linestyle=":", linewidth=1)
    axes.set(title=question, xlabel="probe after", ylabel="accuracy (%)", ylim=(0, 104))
    axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
plots.show(
    figure,
    "Accuracy of a linear probe after each block, for two questions, the tables above; dotted lines are blind "
    "guessing. Which digit: the glyph network climbs with every block, far above the other two. Dark on bright: "
    "random weights stay at the top, the glyph network falls from the top to near guessing.",
)

# %%
digit, polarity = (
    {source: values.mean(axis=0) for source, values in by_source.items()} for by_source in probed.values()
)
assert (np.diff(digit["glyphs"]) > 0).all() and digit["glyphs"][-1] > digit["random"][-1] + 25
assert polarity["glyphs"][0] > 95 and polarity["glyphs"][-1] < 75 < 90 < polarity["random"][-1]
print("the glyph network knows more about digits with every block: True")
print("and the random network answers the easy question better than the glyph network does: True")

# %% [markdown]
# With every block a head can read more about shapes. Polarity is read without a mistake after two blocks, and after four a linear head can hardly read it at all, which it can from random numbers. Nothing broke. For an A to be an A in any light, the features must not depend on the light, so that difference was given up. **A feature is general or specific only with respect to a question.**
#
# So, on this question, the excellent source is worse than random frozen features. And here is a cure, in the course's own terms: **the boundary**. What the question needs is still there after block 2: cut there, and the head has it. If a pretrained network disappoints, probe its earlier blocks before you give it up.

# %% [markdown]
# ## 4. Five ways, one to twenty labels
#
# Now the main experiment: wild digits (or your data), and every method of section 1, with 1, 2, 5 and 20 labels a class. The draws are *nested*: the one image of a class is among the two, these are among the five, and so on. So a curve rises because of more labels, not because of other ones. The cells up to *The result* build the experiment. On a first reading you may run them and go on there; nothing later asks you to know them.

# %%
import functools


@functools.cache
def twenty(name, draw):
    """Data with twenty training images of each class."""
    return data.load(name, labels_per_class=20, seed=draw)


def rank(labels):
    """For each image, how many before it show the same class."""
    return np.array([np.sum(labels[:place] == label) for place, label in enumerate(labels)])


# %% [markdown]
# ### The frozen ways
#
# A frozen backbone is a constant function of the picture. So each source's backbone runs once over every image, in eight augmented versions, and all heads learn from the stored features. The next cell joins the backbones of all sources into one model with several outputs: GlyphNet has two sources, networks from Keras one, ImageNet; the same network with random weights is always among them.


# %%
@functools.cache
def eyes(network, image_size):
    """The sources of a network, and a model that gives the features of all of them at once."""
    sources = [*backbones.get(network).weights, "random"]
    image, outputs = keras.Input((*image_size, 3)), []
    for source in sources:
        keras.utils.set_random_seed(0)
        weights = None if source == "random" else source
        model = classifier.build(network, ten_digits, weights=weights, image_size=image_size)
        eye = keras.Model(model.input, model.get_layer("average_pool").output, name=source)
        outputs.append(eye(image))
    return sources, keras.Model(image, outputs)


# %%
from finetune_lib import batches


def outputs_of(model, full, part, draw=0, views=0):
    """What a model gives for a part's images, and the labels; augmented, if there are views."""
    images = getattr(full, part).repeat(max(1, views))
    augment = full.augment if views else None
    stream = batches.prepared(images.enumerate(), full, augment, draw, 0).batch(64)
    outputs = model.predict(stream.map(lambda image, label: image), verbose=0)
    return outputs, np.array([label for _, label in images.as_numpy_iterator()])


def seen(network, full, part, draw=0, views=0):
    """The features of a part's images by source, and the labels; augmented, if there are views."""
    sources, model = eyes(network, full.image_size)
    features, labels = outputs_of(model, full, part, draw, views)
    return dict(zip(sources, features, strict=True)), labels


# %% [markdown]
# Whatever depends on nothing that changes is worth computing once. `functools.cache` remembers what a function gave for its arguments: the second call costs nothing. For each source and each count, we train a head on the images whose rank in their class is below the count, and keep its accuracy on the validation images (for decisions, section 7) and on the test images.


# %%
COUNTS = (1, 2, 5, 20)  # labels a class


@functools.cache
def new_images(network, name):
    """The features and labels of the validation and test images, which are the same in all draws."""
    return {part: seen(network, twenty(name, 0), part) for part in ("validation", "test")}


@functools.cache
def frozen(network, name, draw, views=8):
    """For each source and count: the head, its accuracy on validation images, and on test images."""
    features, labels = seen(network, twenty(name, draw), "train", draw, views)
    once = len(labels) // max(1, views)
    ranks = np.tile(rank(labels[:once]), max(1, views))
    found = {}
    for source, values in features.items():
        for count in COUNTS:
            head = head_on(values[ranks < count], labels[ranks < count])
            parts = new_images(network, name).values()
            found[source, count] = head, *(100 * head.score(other[source], truth) for other, truth in parts)
    return found


# %% tags=["nbval-ignore-output"]
sources, _ = eyes(backbone_name, dataset.image_size)
lead = sources[0]  # the network's own first choice: glyphs, or ImageNet


def frozen_curve(network, name, source, part, draws, views=8):
    """Accuracies in per cent, ``(draws, counts)``; part 1 is validation, 2 is test."""
    return np.array(
        [[frozen(network, name, draw, views)[source, count][part] for count in COUNTS] for draw in draws]
    )


curves = {
    f"{source}, frozen": frozen_curve(backbone_name, data_name, source, 2, range(draws)) for source in sources
}

# %% [markdown]
# ### Fine-tuned, and from scratch
#
# For these two, weights of the backbone move, so each needs a training of its own. Fine-tuning begins with the head that was just found. That head has learned on features scaled to deviation 1; a scaling followed by a linear layer is a linear layer, so it can be *folded* into the model's own head.


# %%
def folded(head):
    """A head's weights as those of one Dense layer that reads the raw features."""
    scaler, linear = head
    kernel = (linear.coef_ / scaler.scale_).T
    bias = linear.intercept_ - scaler.mean_ @ kernel
    if len(bias) == 1:  # of two classes scikit-learn keeps one; a logit each says the same
        kernel, bias = np.hstack([-kernel, kernel]) / 2, np.array([-bias[0], bias[0]]) / 2
    return [kernel, bias]


values, _ = new_images(backbone_name, data_name)["validation"]
head = frozen(backbone_name, data_name, 0)[lead, 5][0]
kernel, bias = folded(head)
same = np.mean((values[lead] @ kernel + bias).argmax(axis=1) == head.predict(values[lead]))
print(f"the folded head gives the same answers: {same > 0.995}")
assert same > 0.995

# %% [markdown]
# The boundary cuts a network into two halves. The one below is a constant: it runs once over eight versions of each image, for all counts, and what it gives is stored. The one above learns. If everything learns, there is nothing to store, and every image is augmented anew each time.

# %%
import tensorflow as tf


@functools.cache
def halves(network, name, draw, start, boundary):
    """A network cut at the boundary: what is constant, and what is to learn."""
    full = twenty(name, draw)
    keras.utils.set_random_seed(draw)
    model = classifier.build(network, full.class_names, weights=start, image_size=full.image_size)
    everything = boundary == model.layers[0].name
    freezing.unfreeze_from(model, boundary, train_batch_normalization=everything)
    if everything:  # only the images are constant
        return keras.Model(model.input, model.input), model
    return freezing.split(model)


@functools.cache
def stored(network, name, draw, start, boundary, part, views=0):
    """What the constant half gives for a part's images, and the labels."""
    return outputs_of(halves(network, name, draw, start, boundary)[0], twenty(name, draw), part, draw, views)


# %%
import math


def batches_of(network, name, draw, count, start, boundary):
    """Batches without end of the first images of each class, for the half that learns; at most 32 in each."""
    full = twenty(name, draw)
    views = 8 if halves(network, name, draw, start, boundary)[0].weights else 0
    values, labels = stored(network, name, draw, start, boundary, "train", views)
    ranks = np.tile(rank(labels[: len(labels) // max(1, views)]), max(1, views))
    examples = tf.data.Dataset.from_tensor_slices((values[ranks < count], labels[ranks < count]))
    images = count * len(full.class_names)
    examples = examples.shuffle(images, seed=draw).repeat()
    if not views:
        examples = batches.prepared(examples.enumerate(), full, full.augment, draw, 0)
    return examples.batch(math.ceil(images / math.ceil(images / 32)))


# %% [markdown]
# To compile a training step takes as long as many steps of it. So all runs with the same boundary and recipe share one network. It is compiled once, and for each run its weights and what its optimizer remembers are set back.
#
# What distinguishes the runs are the arguments of `trained`, and they are the four words of section 1: the images (target and count), the **start**, the **boundary**, and how long and fast to go.

# %%
from finetune_lib import comparison


@functools.cache
def learner(network, name, boundary, steps, learning_rate):
    """The network that learns above a boundary, compiled; the rate falls along half a cosine to zero."""
    model = keras.models.clone_model(halves(network, name, 0, None, boundary)[1])
    adam = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    at_once = math.gcd(steps, 50)  # so many steps without coming back to Python, which takes time
    model.compile(adam, loss, jit_compile=False, steps_per_execution=at_once)
    return model


# %%
@functools.cache
def trained(network, name, draw, count, start, boundary, steps, learning_rate, head_first=False):
    """Train what lies above a boundary; the test accuracy in per cent."""
    place = network, name, draw, start, boundary
    model = learner(network, name, boundary, steps, learning_rate)
    model.set_weights(halves(*place)[1].get_weights())
    logits = model.get_layer("logits")
    random_head = keras.initializers.GlorotUniform(seed=draw)(logits.kernel.shape)
    logits.set_weights([random_head, np.zeros(logits.units)])
    if head_first:
        logits.set_weights(folded(frozen(network, name, draw)[start, count][0]))
    for memory in model.optimizer.variables:
        memory.assign(keras.ops.zeros_like(memory))
    model.fit(batches_of(network, name, draw, count, start, boundary).take(steps), verbose=0)
    values, labels = stored(*place, "test")
    return 100 * np.mean(model.predict(values, batch_size=64, verbose=0).argmax(axis=1) == labels)


# %% [markdown]
# The fine-tuned network trains its last block together with the head for 150 steps, at a low rate. That takes seconds, because all blocks below are still a constant.
#
# The one from scratch gets more than three times as many, 500 steps at the usual rate, through all blocks. Its head starts at random numbers: the zeros that this course starts heads at protect good features (lesson 02b), but here there are none to protect.

# %% tags=["nbval-ignore-output"]
boundary = backbone.cut_points[-1]  # the last block
bottom = pretrained.layers[0].name
TUNE_STEPS, SCRATCH_STEPS = 150, 500
tune_rate, scratch_rate = comparison.recipes(backbone_name)[1].learning_rate, comparison.SCRATCH.learning_rate


def tuned_curve(draws, start, boundary, steps, rate, head_first):
    """Test accuracies in per cent, ``(draws, counts)``."""
    rest = (start, boundary, steps, rate, head_first)
    return np.array(
        [[trained(backbone_name, data_name, draw, count, *rest) for count in COUNTS] for draw in draws]
    )


curves["fine-tuned"] = tuned_curve(range(draws), lead, boundary, TUNE_STEPS, tune_rate, True)

# %% tags=["nbval-ignore-output"]
if scratch_draws:
    curves["from scratch"] = tuned_curve(
        range(scratch_draws), None, bottom, SCRATCH_STEPS, scratch_rate, False
    )

# %% [markdown]
# ### The result
#
# **Guess** before you look: the order of the five with one label a class and with twenty. Where will training from scratch catch up?

# %% tags=["nbval-ignore-output"]
plots.show(
    transfer_plots.accuracy_against_labels(COUNTS, curves),
    "Test accuracy against labels a class, a line a method through its means and a dot for each draw; the "
    "numbers are in the table below. On the digits fine-tuned and frozen glyphs lie far above all others at one "
    "label; from scratch rises steeply and comes nearest at twenty; textures and random weights stay low.",
)
print(transfer_plots.accuracy_against_labels_table(COUNTS, curves))

# %%
if (data_name, backbone_name) == ("digits_wild", "GlyphNet") and scratch_draws:
    mean = {name: values.mean(axis=0) for name, values in curves.items()}
    scratch, glyphs, fine_tuned = (mean[name] for name in ("from scratch", "glyphs, frozen", "fine-tuned"))
    assert (glyphs[:3] > scratch[:3] + 5).all() and glyphs[1] > scratch[2]
    assert fine_tuned.mean() > glyphs.mean() and fine_tuned[-1] > glyphs[-1] - 0.5
    assert (glyphs > mean["textures, frozen"] + 15).all()
    assert (mean["textures, frozen"] > mean["random, frozen"]).all()
    assert all(scratch[-1] - scratch[0] > values[-1] - values[0] for values in (glyphs, fine_tuned))
    print("with 1 to 5 labels, frozen glyphs beat from scratch by more than 5 points: True")
    print("two labels with frozen glyphs are worth more than five from scratch in so few steps: True")
    print("fine-tuning adds to frozen features, on average over the counts: True")
    print("frozen: glyphs beat textures, and textures beat random numbers, at every count: True")
    print("from scratch gains more from more labels than glyphs do, frozen or fine-tuned: True")

# %% [markdown]
# How to read the picture:
#
# - **Few labels:** what the network brings along is worth more than what the labels can teach it. Two labels a class with glyphs beat five from scratch, *in its 500 steps*. Remember this sentence: we shall soon take it back.
# - **More labels:** from scratch rises fastest, because labels are all it has.
# - **Fine-tuning** adds a little to frozen features. It cannot add much where there is little to learn from.
# - **Textures**, the wrong source, are far behind glyphs, yet ahead of random numbers *as frozen features*. Section 5 will show a target where they are not.
#
# ### What patience buys
#
# From scratch had 500 steps. Is that fair? It is more than three times what fine-tuning took, and much dearer, as the count of multiplications says (each with its addition):

# %%
from finetune_lib import cost

network = classifier.build(backbone_name, dataset.class_names, weights=None, image_size=dataset.image_size)
counted = cost.layers(network)
blocks = [layer.name for layer in counted if layer.parameters]
one_step = cost.step(counted, blocks).multiply_adds
freezing.unfreeze_from(network, boundary)
below, above = (cost.forward(part) for part in freezing.split(network))
images = 5 * len(dataset.class_names)
per_step = images / math.ceil(images / 32)
work = {
    "frozen": images * 8 * (below + above),
    "fine-tuned": images * (8 * (below + above) + 8 * below) + TUNE_STEPS * per_step * 3 * above,
    "from scratch": SCRATCH_STEPS * per_step * one_step,
}
for name, amount in work.items():
    print(
        f"{name:12} with 5 labels a class: {amount / 1e9:7.1f} billion, {amount / work['frozen']:5.1f} times frozen"
    )
assert work["frozen"] < work["fine-tuned"] < work["from scratch"] / 2

# %% [markdown]
# And still it is not enough. The course's benchmark gives training from scratch nearly five times the steps, 2,400, on ten draws of other images. Its table stands in the [README](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/README.md); these are its rows (a test of the project compares them):

# %% tags=["nbval-ignore-output"]
BENCHMARK = {
    "from scratch": {5: (83.0, 1.6), 20: (92.1, 1.3)},
    "glyphs, frozen": {5: (86.6, 3.7), 20: (91.5, 0.8)},
    "glyphs, block 4 tuned": {5: (89.5, 2.7), 20: (94.3, 0.6)},
}  # labels a class: mean and standard deviation of the test accuracy (%) over ten draws
same = (data_name, backbone_name) == ("digits_wild", "GlyphNet")
here = curves | {"glyphs, block 4 tuned": curves["fine-tuned"]} if same else {}
rows = []
for name, by_count in BENCHMARK.items():
    for count, (average, spread) in by_count.items():
        values = here.get(name)
        ours = "" if values is None else f"{values.mean(axis=0)[COUNTS.index(count)]:.1f}"
        rows.append([name, str(count), ours, f"{average:.1f} ± {spread:.1f}"])
print(plots.table(["wild digits", "labels", "above (%)", "benchmark, ten draws (%)"], rows))

# %%
gains = {
    count: BENCHMARK["glyphs, frozen"][count][0] - BENCHMARK["from scratch"][count][0] for count in (5, 20)
}
assert gains[5] > 2 > 1 > gains[20]
if (data_name, backbone_name) == ("digits_wild", "GlyphNet"):
    assert BENCHMARK["from scratch"][5][0] > curves["glyphs, frozen"].mean(axis=0)[1] + 3
if "from scratch" in here:
    assert here["from scratch"].mean(axis=0)[2] < BENCHMARK["from scratch"][5][0] - 5
print(
    "with patience, from scratch comes within a few points at 5 labels and catches up with frozen at 20: True"
)

# %% [markdown]
# (Frozen glyphs differ from table to table, too: lesson 00, this lesson and the benchmark draw other training images and train the head in other ways. Compare within a table, not between tables.) So our picture flatters transfer. With patience, five labels from scratch are worth more than two with glyphs: the sentence is taken back. At 5 labels most of the distance is *time* that we did not give. Patience closes much of it at 5 labels, and all of it at 20, where from scratch draws level with frozen features; fine-tuning stays ahead of both. Whenever you read "pretraining gained 20 points", ask for how long the other one was trained. What transfer saves first is time, and labels second. (He et al., [1811.08883](https://arxiv.org/abs/1811.08883), found the same for object detection on a large scale: with enough images and patience, from scratch caught up.)
#
# ## 5. When it hurts
#
# ### The same source, another target
#
# On wild digits, textures beat random numbers at every count. Take the *clean* scans instead: upright, none inverted, and no augmentation. Everything else stays. **Guess:** which of textures and random numbers will be ahead now?

# %% tags=["nbval-ignore-output"]
clean = {
    source: frozen_curve("GlyphNet", "digits", source, 1, range(3), views=0)
    for source in ("glyphs", "textures", "random")
}
print("clean digits, validation images, frozen")
print(transfer_plots.accuracy_against_labels_table(COUNTS, clean))

# %%
wild_scores = {
    source: frozen_curve("GlyphNet", "digits_wild", source, 1, range(3)) for source in ("textures", "random")
}
assert (clean["random"].mean(axis=0) > clean["textures"].mean(axis=0)).all()
assert (wild_scores["textures"].mean(axis=0) > wild_scores["random"].mean(axis=0)).all()
print("clean digits: random numbers beat textures at every count: True")
print("wild digits: textures beat random numbers at every count: True")

# %% [markdown]
# It turned round. On clean digits, learning textures made the network *worse than the random numbers it started from*: the same source, the same digits, other conditions.
#
# A likely reason (*Try it yourself* 1, below, puts it to the test): random numbers ignore nothing on purpose, so every difference between two scans leaves a trace in their features, and when all scans are upright and dark on bright, nearly any trace helps. Training on textures sharpened some differences, such as directions, and let others go. On wild digits most traces in the random features come from light, place and slant, which say nothing of the digit; there the little that textures share with strokes is worth more than everything that was kept.
#
# So "similar" is not a property of two names. What counts is which differences the source taught a network to keep and which to ignore, and whether the target agrees.
#
# ### The boundary decides
#
# Does a source that does not fit hurt even if it may be unlearned? Wild digits again, five labels a class, one draw. We vary the start, random numbers or textures, and the boundary. The first column is the frozen result of section 4; in the others both starts get the same 500 steps, the same rate and the same random head.
#
# **Guess:** if everything may move, which start will end up ahead?

# %% tags=["nbval-ignore-output"]
boundaries = {"block 4 and the head": "block4", "everything": "image"}
ends = {}
for start, weights in (("random", None), ("textures", "textures")):
    ends[start] = [frozen("GlyphNet", "digits_wild", 0)[start, 5][2]]
    for place in boundaries.values():
        ends[start].append(
            trained("GlyphNet", "digits_wild", 0, 5, weights, place, SCRATCH_STEPS, 1e-3, False)
        )
columns = ["the head", *boundaries]
plots.show(
    plots.bars(columns, ends, "test accuracy (%), one draw, 5 labels a class"),
    "Test accuracy by what may learn, from random numbers and from textures, the numbers of the table below: "
    "for both starts it rises steeply the lower the boundary lies.",
)
cells = [[start, *(f"{value:.1f}" for value in values)] for start, values in ends.items()]
print(plots.table(["start (test accuracy, %)", *columns], cells))

# %%
assert all(np.diff(values).min() > 0 for values in ends.values())
assert ends["textures"][-1] > ends["random"][-1] - 6
print("both starts gain with every block that may move: True")
print("with everything free, textures are at most a few points behind random numbers: True")

# %% [markdown]
# What costs most is to *hold fixed* what does not fit, be it textures or random numbers. Set free, at this rate and on this draw, a source that does not fit does no harm any more. (A pretrained network may even have an advantage that has nothing to do with what it knows: weights of sensible sizes, channels that differ from each other. Raghu et al., [1902.07208](https://arxiv.org/abs/1902.07208), measured such "feature-independent" benefits with medical images.)
#
# Mind the *rate*, too: here everything moved at the rate of training from scratch. The README's table has a row "textures, all tuned" by the careful recipe that suits glyphs, 600 steps at 3e-4. It stays twenty points behind training from scratch (which had four times the steps, so the rate is not all of it). Careful steps keep what the network knows, and that is right only if it is worth keeping.
#
# ## 6. Which tasks suit fine-tuning?
#
# Two questions about a task sum up the measurements: *how many labels*, and *how similar is the source*, in the sense of section 5. Here is the gain over training from scratch (at its 500 steps), for both.

# %% tags=["nbval-ignore-output"]
if "from scratch" in curves:
    shared = min(draws, scratch_draws)  # the draws that both have
    gain = {
        name: (values[:shared] - curves["from scratch"][:shared]).mean(axis=0)
        for name, values in curves.items()
        if name != "from scratch"
    }
    cells = [[name, *(f"{value:+.0f}" for value in values)] for name, values in gain.items()]
    print(plots.table(["gain in points", *(f"{count} label{'s' * (count > 1)}" for count in COUNTS)], cells))

# %%
if (data_name, backbone_name) == ("digits_wild", "GlyphNet") and scratch_draws:
    assert gain["glyphs, frozen"][:3].mean() > gain["glyphs, frozen"][-1] + 5
    assert gain["textures, frozen"][-1] < -10 and gain["textures, frozen"][-1] < gain["textures, frozen"][0]
    assert (gain["random, frozen"] < gain["textures, frozen"]).all()
    print("similar source: the gain shrinks as labels grow. Dissimilar and frozen: the loss grows: True")

# %% [markdown]
# A minus is negative transfer: frozen features from the wrong place, and the more so the more there would be to learn. (Remember section 4: with patience from scratch, every number here would be lower, and that of frozen glyphs at 20 labels about zero.) As advice, with the measurement that each line rests on:
#
# | | **few labels** (1 to 5 a class) | **many labels** (20 and more) |
# |---|---|---|
# | **similar source** | Freeze; fine-tune the last block gently. The gain is largest here (section 4). | Fine-tune. It stays ahead of frozen features and of from scratch (README, 20 labels). |
# | **dissimilar source** | Look for a nearer source, or label more. Otherwise put the boundary low, before the source's own blocks (section 3). | Train everything, at the rate of training from scratch. The pretrained weights were no worse a start with 5 labels (section 5); with many it was not measured here. |
#
# Two cases lie outside this table. If the target's images *are* the source's, with the same classes, you need no training at all. And if labels are plentiful and time is too, from scratch is a respectable answer.
#
# ## 7. Choosing a pretrained network
#
# ### What is on offer
#
# We count before we download. **Guess:** ResNet50 has more parameters than VGG16. Which of the two has more to compute for an image, and by what factor?
#
# Every network of the course's library is built with random weights, and its parameters and its multiplications for one image, at its own image size, are counted.

# %%
rows = []
for one in backbones.ALL:
    step = cost.step(cost.layers(classifier.build(one.name, ten_digits, weights=None)), ["logits"])
    sizes = [str(one.image_size[0]), f"{step.weights / 1e6:.1f}", f"{step.forward / 1e6:,.0f}"]
    rows.append([one.name, *sizes, " or ".join(one.weights), one.licence])
print(
    plots.table(
        ["network", "pixels", "parameters (millions)", "multiply-adds (millions)", "learned on", "licence"],
        rows,
    )
)

# %% [markdown]
# ResNet50 has more parameters than VGG16, and a quarter of its arithmetic. VGG16 is the lead example of this course, so let us take it apart: five blocks of two or three 3x3 convolutions, each followed by a pooling that halves the picture, and each with twice the channels of the one before, but for the last, which keeps 512.

# %%
vgg = classifier.build("VGG16", ten_digits, weights=None)
vgg_layers = cost.layers(vgg)
cells, sums = [], {}
for block in backbones.get("VGG16").cut_points:
    members = [layer for layer in vgg_layers if freezing.is_called(layer.name, block)]
    sums[block] = sum(layer.weights for layer in members), sum(layer.multiply_adds for layer in members)
    convolutions = sum(layer.weights > 0 for layer in members)
    cells.append([block, str(convolutions), f"{sums[block][0]:,}", f"{sums[block][1] / 1e6:,.0f}"])
print(plots.table(["block", "convolutions", "parameters", "multiply-adds (millions)"], cells))
parameters, multiply_adds = (sum(values) for values in zip(*sums.values(), strict=True))
print(f"in all {parameters:,} parameters, {multiply_adds / 1e9:.2f} billion multiply-adds")
assert parameters == 14_714_688 and round(multiply_adds / 1e9, 2) == 15.35
assert sums["block5"][0] > 180 * sums["block1"][0] and sums["block1"][1] > sums["block5"][1]

# %% [markdown]
# Without its top, 14.7 million parameters and 15.35 billion multiply-adds. Block 5 has more than 180 times as many parameters as block 1, and yet costs less: block 1 has few weights, but applies them at 50,176 places. Parameters say how large the file is; multiply-adds are a first estimate of how long you wait, good within one kind of network. Between kinds, measure (section 8).
#
# A good score on ImageNet is a first hint (Kornblith et al., [1805.08974](https://arxiv.org/abs/1805.08974), found it and the accuracy after transfer closely correlated over twelve data sets), and so is the model card: what did it see, may you use it? But section 5 has shown that similarity cannot be read off names.
#
# ### Evidence before fine-tuning
#
# So measure: let each candidate run over your few labelled images (here in eight augmented versions) and your validation images, then fit a linear probe. No backbone is trained. The test images stay closed, for this is a decision.
#
# **Guess:** with how few labels a class can glyphs, textures and random numbers be told apart?

# %% tags=["nbval-ignore-output"]
evidence = {source: frozen_curve(backbone_name, data_name, source, 1, range(draws + 1)) for source in sources}
print("linear probe, validation images")
print(transfer_plots.accuracy_against_labels_table(COUNTS, evidence))
images = 2 * len(dataset.class_names)
probing = (8 * images + dataset.sizes["validation"]) * (below + above)
everything_tuned = SCRATCH_STEPS * min(32, images) * one_step
print(
    f"work of a probe with 2 labels a class: {probing / 1e9:.1f} billion multiply-adds, "
    f"1/{everything_tuned / probing:.0f} of training everything for {SCRATCH_STEPS} steps"
)

# %%
if backbone_name == "GlyphNet" and data_name == "digits_wild":
    ranked = np.stack([evidence[source] for source in ("glyphs", "textures", "random")])
    right = (ranked[0] > ranked[1:]).all(axis=0)
    assert right.all() and dataset.sizes["validation"] == 260
    assert curves["fine-tuned"].mean(axis=0)[2] > max(ends["textures"]) and everything_tuned > 20 * probing
    print("the probe picks glyphs in every draw, even with one label a class: True")
    print(
        "and on the test images fine-tuned glyphs beat everything that began with textures (5 labels): True"
    )

# %% [markdown]
# Ten labelled images to learn from and 260 labelled validation images pick the right source in every draw, for candidates that lie 40 points apart. If they are closer, compare them in pairs, draw by draw and image by image (lesson 00); and if the difference is not clearly above zero, take the smaller network, or label more.
#
# What a probe cannot see: how a network will do once *everything* in it moves. Random numbers came last, and yet trained from scratch they went far beyond their probe. It judges what is there, not what can be learned. For few labels, where you will freeze most of the network, that is the right question.
#
# ## 8. What cloud hardware changes, and what it costs
#
# A rented GPU changes no formula of this lesson and, beyond rounding, no accuracy. The work, counted in multiply-adds, is the same. What changes is how many of them are done in a second, how much memory there is, and that somebody charges by the hour. So a decision needs three numbers: the **work** of the job, which we count; the **speed** of a machine, which we measure; and its **price**, which only you know.
#
# Measure first: VGG16's forward pass, on this machine. (Its weights are random numbers, which are as fast as any.)

# %% tags=["nbval-ignore-output"]
import time

photos_shown = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3)).astype("float32")
vgg.predict_on_batch(photos_shown)  # the first call compiles
seconds = []
for _ in range(3):
    began = time.perf_counter()
    vgg.predict_on_batch(photos_shown)
    seconds.append(time.perf_counter() - began)
speed = len(photos_shown) * cost.forward(vgg) / min(seconds)
print(
    f"{min(seconds) / len(photos_shown) * 1000:.0f} ms an image, {speed / 1e9:.0f} billion multiply-adds a second"
)

# %% [markdown]
# Now your job and your prices. **All values in this form are made up, as examples.** Put in the price of an hour of this machine (its electricity, if it is yours) and of one that you could rent, in any currency, and how many times faster that one is. The last is an assumption until you have run the cell above on both: an hour's rent at most. *Set-up* is the time that is paid for before training begins: starting, installing, copying images.

# %%
# @title Your job, your machines, your prices { display-mode: "form" }
photos = 20000  # @param {type: "integer"}
epochs = 10  # @param {type: "integer"}
versions = 1  # @param {type: "integer"}
price_here = 0.05  # @param {type: "number"}
price_there = 0.50  # @param {type: "number"}
times_faster_there = 30.0  # @param {type: "number"}
set_up_minutes_there = 10.0  # @param {type: "number"}

# %% [markdown]
# The work of fine-tuning VGG16, by boundary; and, where a part is frozen, in two ways: *plain*, which computes the frozen part in every epoch, and *stored*, once (as `fitting.fit` does; lesson 04 shows how). Augmentation multiplies what is stored: with $v$ stored versions of each photo the frozen part is paid $v$ times, as the form's `versions` says.
#
# **Guess**, for the head alone and ten epochs: what saves more time, storing or the rented machine?


# %%
def jobs(photos, epochs, versions):
    """Multiply-adds of each way to train VGG16 on so many photos, some versions of each stored."""
    ways = {"everything": ["block1", "block2", "block3", "block4", "block5", "logits"]}
    ways |= {"block 5 and head": ["block5", "logits"], "head": ["logits"]}
    work = {}
    for name, learning in ways.items():
        step = cost.step(vgg_layers, learning)
        work[f"{name}, plain"] = photos * epochs * step.multiply_adds
        before = [layer.multiply_adds for layer in vgg_layers if layer.multiply_adds]
        named = [layer.name for layer in vgg_layers if layer.multiply_adds]
        boundary = next(i for i, known in enumerate(named) if freezing.is_called(known, learning[0]))
        below = sum(before[:boundary])
        if below:
            work[f"{name}, stored"] = photos * (versions * below + epochs * (step.multiply_adds - below))
    return work


def bill(work, speed, price, set_up_minutes=0.0):
    """Hours and price of some work on a machine."""
    hours = work / speed / 3600 + set_up_minutes / 60
    return hours, hours * price


# %% tags=["nbval-ignore-output"]
rows, hours = [], {"here": [], "there": []}
work = jobs(photos, epochs, versions)
for name, amount in work.items():
    machines = {
        "here": bill(amount, speed, price_here),
        "there": bill(amount, speed * times_faster_there, price_there, set_up_minutes_there),
    }
    cells = [f"{amount / 1e12:,.0f}"]
    for place, (duration, price) in machines.items():
        hours[place].append(duration)
        cells += [f"{duration:.2f}", f"{price:.2f}"]
    rows.append([name, *cells])
print(plots.table(["VGG16", "trillions", "hours here", "price here", "hours there", "price there"], rows))
figure = plots.bars(list(work), hours, "hours (logarithmic)")
figure.axes[0].set(xscale="log")
plots.show(
    figure,
    "Hours of each way to train VGG16, here and on the rented machine, the numbers of the table above. Storing "
    "shortens the head's training here about as many times as there are epochs for each version.",
)

# %%
ratio = work["head, plain"] / work["head, stored"]
assert abs(ratio * versions / epochs - 1) < 0.05
saved = work["block 5 and head, plain"] / work["block 5 and head, stored"]
assert (epochs, versions) != (10, 1) or 3 < saved < 5
print(f"storing divides the head's work by epochs / versions, {epochs / versions:g}: True")
memory = {
    learning: cost.step(vgg_layers, [*blocks_of, "logits"]).memory_bytes
    for learning, blocks_of in (("everything", list(sums)), ("head", []))
}
print(
    f"memory of a step with 32 photos, at least: everything {memory['everything'] / 1e9:.1f} GB, "
    f"head {memory['head'] / 1e9:.2f} GB"
)

# %% [markdown]
# The bill has two break-evens, and both are simple. Let the rented machine be $s$ times faster and $r$ times dearer an hour.
#
# - *Without set-up it is cheaper if $s > r$.* The size of the job does not matter.
# - *With a set-up of $h$ paid hours*, work of $t$ hours here costs $t$ here and $r\,(t/s + h)$ there, in prices of this machine: cheaper only if $t > \dfrac{r\,h}{1 - r/s}$.

# %%
dearer = price_there / price_here if price_here else math.inf
if times_faster_there > dearer:
    enough = dearer * set_up_minutes_there / 60 / (1 - dearer / times_faster_there)
    here, there = (
        bill(enough * 3600 * speed, *machine)[1]
        for machine in ((speed, price_here), (speed * times_faster_there, price_there, set_up_minutes_there))
    )
    assert math.isclose(here, there)
    print(
        f"{dearer:.0f} times dearer, {times_faster_there:.0f} times faster: cheaper for jobs of more than {enough:.1f} hours here"
    )
else:  # or free here
    print(f"{dearer:.0f} times dearer, {times_faster_there:.0f} times faster: never cheaper, only sooner")

# %% [markdown]
# Compare this with the hours in the table: which jobs would you send away? Change the numbers and run these cells again. The rented machine saves time on everything but the smallest jobs, and money only above the break-even. Storing saves both wherever something is frozen and epochs outnumber versions, and needs no contract. For a large job, do both.
#
# What does not stand in the bill:
#
# - **Memory.** Training everything keeps every activation for the way back. The larger the part that learns, the sooner a card is full.
# - **Idle hours.** A rented machine costs the same while you read. Prepare and try out on a small one, and rent for the run.
# - **Interruptions.** Cheap machines and free sessions end without warning. `fit(..., checkpoint=FOLDER)` goes on where it stopped.
# - **Repeats.** You will train more than once: other draws, other rates. Multiply.
#
# ## Summary
#
# - A transfer is **source, target, start and boundary**; the gain belongs to all four together, and to the number of labels.
# - Weights and pictures of them mislead; **probes** tell what a block's features are good for. Late blocks are specific to what the source had to tell apart, and to ignore.
# - Much of what transferred was **invariance**. On a question about what had been ignored, the best source was worse than random numbers, and cutting lower mended it.
# - Transfer gains most with **few labels**, and part of what it gains is time: a network from scratch needs patience, and labels, to catch up.
# - What does not fit hurts where it is **held fixed**. Whether a source fits depends on the target: textures beat random numbers on wild digits and lost to them on clean ones.
# - **Choose by a probe** on validation images: no training of the backbone, few labels.
# - Hardware changes **hours and prices**, not results. Count the work first: moving the boundary and storing what lies below changes the work itself.
#
# ### Try it yourself
#
# 1. Section 5 guessed that random numbers keep what textures let go. Ask a third question in the manner of section 3: is the digit moved to the left or to the right (`np.roll` by 4 pixels)? Predict the three accuracies after block 4, then measure. Does the guess hold? And for up and down?
# 2. In section 5, add `glyphs` as a third start. Does the order at the head survive when everything may move?
# 3. In section 8, find the number of epochs at which storing beats a machine thirty times faster, for the head alone. Why can storing never save more than a certain factor for block 5 and head?
#
# ## What next
#
# **Practise first:** [the exercises](exercises/01_transfer_learning.ipynb) check what you write, and say what it shows. They take about an hour.
#
# [Lesson 02a](02a_gradient_descent.ipynb) and [02b](02b_fine_tuning_as_descent.ipynb): what one step of learning does, and why the place where it starts is what you keep. Lesson 04 turns the boundary into a recipe, and lesson 05 asks how deep to go.
#
# ## Further reading
#
# - J. Yosinski et al., [*How transferable are features in deep neural networks?*](https://arxiv.org/abs/1411.1792), 2014: layer by layer, from general to specific; distant features can still beat random ones.
# - S. J. Pan and Q. Yang, [*A survey on transfer learning*](https://doi.org/10.1109/TKDE.2009.191), 2010: the definitions of source and target.
# - Z. Wang et al., [*Characterizing and avoiding negative transfer*](https://arxiv.org/abs/1811.09751), 2019: a definition that compares like with like.
# - M. Raghu et al., [*Transfusion: understanding transfer learning for medical imaging*](https://arxiv.org/abs/1902.07208), 2019: what remains of transfer when images differ much.
# - K. He, R. Girshick and P. Dollár, [*Rethinking ImageNet pre-training*](https://arxiv.org/abs/1811.08883), 2018: what patience buys.
# - S. Kornblith, J. Shlens and Q. V. Le, [*Do better ImageNet models transfer better?*](https://arxiv.org/abs/1805.08974), 2019: sixteen networks, twelve targets.
# - M. Zeiler and R. Fergus, [*Visualizing and understanding convolutional networks*](https://arxiv.org/abs/1311.2901), 2013: what units of a large network like.
# - K. Simonyan and A. Zisserman, [*Very deep convolutional networks for large-scale image recognition*](https://arxiv.org/abs/1409.1556), 2014: VGG16.
