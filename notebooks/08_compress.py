# %% [markdown]
# # Compress: smaller and faster, and what it costs
#
# In this notebook, we make the fine-tuned model smaller in three ways, measure what each of them gains in bytes and in time, and find out which of the losses are real and which are noise.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/08_compress.ipynb)
#
# **Time:** about 75 minutes to read and try: the code runs for 1 to 2 minutes with the digits and 6 to 10 with flowers and MobileNetV2 on a CPU with two cores, an estimated 5 minutes on a T4.
#
# ## Learning objectives
#
# After this notebook, you will be able to
#
# - tell **download, memory and latency** apart, and say which of them a method helps;
# - **quantise** a kernel by hand, predict its rounding error, and convert a model to float16 and int8 with LiteRT;
# - choose a **representative set**, and recognise a bad one without labels;
# - **prune** a network so that its zeros hold while it is fine-tuned, and say what that gains;
# - **distil** a model into a smaller student, and say what it learns from;
# - put it all into **one table**, and name the differences in it that are noise.
#
# It builds on [lesson 05](05_fine_tune.ipynb), whose model it compresses, and on lesson 06 (intervals, McNemar's test).
#
# **Terms of this lesson**, in English and 中文: [latency](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#latency), [LiteRT](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#litert), [quantisation](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#quantisation), [scale](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#scale), [zero point](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#zero-point), [int8](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#int8), [representative set](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#representative-set), [agreement](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#agreement), [pruning](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#pruning), [constraint](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#constraint), [distillation](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#distillation), [teacher](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#teacher), [student](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#student).

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
# ## The model that we have
#
# As ever: `auto` takes photos and an ImageNet network if they can be had here, otherwise the digits and GlyphNet. Where the text speaks of digits, read flowers if you took those.

# %%
# @title Which data, and which network? { display-mode: "form" }
data_name = "auto"  # @param ["auto", "digits_wild", "tf_flowers", "cats_vs_dogs"] {allow-input: true}
backbone_name = "auto"  # @param ["auto", "GlyphNet", "MobileNetV2", "EfficientNetV2B0", "VGG16"]

from finetune_lib import backbones, classifier

data_name, backbone_name = classifier.choose(data_name, backbone_name)
backbone = backbones.get(backbone_name)

# %% [markdown]
# Your model of lesson 05, with its answers to the validation images as they were when it was saved. If there is none here, one is trained now by the same recipe.

# %% tags=["nbval-ignore-output"]
from finetune_lib import handover

received = handover.receive(data_name, backbone_name)
model, weights_at_the_start = received.model, received.model.get_weights()
print(f"{model.name}, {received.origin}")
print(received.dataset)

# %% [markdown]
# How often we repeat what depends on chance, and how long we train: small numbers, for a CPU. With a GPU, raise them. (`hasty` and `patient` are for section 4.)

# %%
is_default = (data_name, backbone_name) == ("digits_wild", "GlyphNet")
if backbone_name == "GlyphNet":
    draws, steps, rate, hasty, patient = 2, 30, 2e-3, 3, 8
else:
    draws, steps, rate, hasty, patient = 1, 20, 3e-4, 1, 2

# %% [markdown]
# All decisions are taken on **validation** images; the test images wait until section 6. The validation images as an array, what the model answers, and the truth:

# %% tags=["nbval-ignore-output"]
import dataclasses

import keras
import numpy as np

from finetune_lib import evaluation


def at_most(dataset, count, *parts):
    """The same with at most so many images in some parts: of large data sets a CPU need not see all."""
    fewer = {part: min(count, dataset.sizes[part]) for part in parts}
    streams = {part: getattr(dataset, part).take(some) for part, some in fewer.items()}
    return dataclasses.replace(dataset, **streams, sizes=dataset.sizes | fewer)


dataset = at_most(received.dataset, 1000, "validation", "test")
images = np.stack([image for image, _ in dataset.validation.as_numpy_iterator()])
original = evaluation.evaluate(model, dataset, "validation")
print(original)

# %% [markdown]
# ## 1. Where the bytes are
#
# "The model is too big" can mean three different things. The **download**: bytes of the file, which somebody pays for and waits for. The **memory** that weights and activations take while it runs. And the **latency**: how long one answer takes. Weights make the download; multiplications make most of the latency. Are they in the same layers?
#
# We count both, block by block. **Guess:** which block has most of the weights? Which does most of the work?

# %%
from finetune_lib import cost, freezing, plots

counted = cost.layers(model)
share, block = {}, "first layers"
for layer in counted:
    block = next((name for name in backbone.cut_points if freezing.is_called(layer.name, name)), block)
    block = "logits" if layer.name == "logits" else block
    weights, work = share.get(block, (0, 0))
    share[block] = (weights + layer.weights, work + layer.multiply_adds)
share = {name: pair for name, pair in share.items() if sum(pair)}
total = np.sum(list(share.values()), axis=0)

# %%
rows = [
    [name, f"{weights:,}", f"{weights / total[0]:.0%}", f"{work:,}", f"{work / total[1]:.0%}"]
    for name, (weights, work) in [*share.items(), ("all", total)]
]
print(plots.table(["block", "weights", "", "multiply-adds", ""], rows))
print(f"\n{4 * total[0] / 1e6:.2f} MB as float32")

# %%
percent = {
    kind: [100 * pair[place] / total[place] for pair in share.values()]
    for place, kind in enumerate(("weights", "multiply-adds"))
}
plots.show(
    plots.bars(list(share), percent, "share of all (%)"),
    "Share of the weights and of the multiply-adds of each block, in percent, the table above.",
)

# %%
if is_default:
    weights, work = (dict(zip(share, percent[kind], strict=True)) for kind in percent)
    assert weights["block4"] > 70 and 20 < work["block4"] < 30
    print("block 4 has more than 70% of the weights and does about a quarter of the work: True")

# %% [markdown]
# The last block has the bytes, and the work is shared out almost evenly: a kernel of an early layer has few entries, but meets the image at many places. So whoever takes the last block away shrinks the file by three quarters, and the time by a quarter or so. (Multiply-adds are an estimate of the time. Traffic to memory counts, too: depthwise layers, as MobileNetV2 has them, take longer than their multiply-adds suggest. So in the end, the stopwatch.) Keep this picture in mind: in section 4 we shall cut there.
#
# ## 2. Quantisation
#
# A float32 takes four bytes, an int8 one. **Quantisation** keeps the integers, and one scale for many of them: the weight is about *scale x integer*. First by hand, on the largest kernel of the network.


# %%
def quantise(kernel, axis=None):
    """Integers -127 to 127 and their scale, one for the whole kernel or one for each place along the other axes."""
    scale = np.abs(kernel).max(axis=axis, keepdims=True) / 127
    return np.rint(kernel / scale).astype("int8"), scale


kernels = {layer.name: layer.kernel.numpy() for layer in model.layers if hasattr(layer, "kernel")}
largest = max(kernels, key=lambda name: kernels[name].size)
kernel = kernels[largest]
integers, scale = quantise(kernel)
print(f"{largest}: {kernel.shape}, four bytes each: {kernel.nbytes:,} bytes, as integers {integers.nbytes:,}")

# %% [markdown]
# Rounding to whole numbers is off by anything between -½ and +½, evenly, so by $1/\sqrt{12} \approx 0.29$ in the root mean square; times the scale. That is a prediction. And an improvement suggests itself: the largest weight of *one* output channel sets the scale for all of them. With a scale **for each output channel** the others are rounded more finely. **Guess:** how large is the error, relative to the weights? By what factor do scales for each channel lower it?


# %% tags=["nbval-ignore-output"]
def error_of(kernel, axis):
    """Measured and predicted rounding error, in % of the weights' root mean square."""
    integers, scale = quantise(kernel, axis)
    off, predicted = integers * scale - kernel, np.broadcast_to(scale, kernel.shape) / np.sqrt(12)
    return [100 * np.sqrt(np.mean(each**2) / np.mean(kernel**2)) for each in (off, predicted)]


errors = {"one scale": error_of(kernel, None), "one for each channel": error_of(kernel, (0, 1, 2))}
rows = [[name, *(f"{value:.2f}" for value in pair)] for name, pair in errors.items()]
print(plots.table(["error (% of the weights)", "measured", "predicted"], rows))

# %%
if is_default:
    whole, channels = errors.values()
    assert abs(whole[0] / whole[1] - 1) < 0.05 and abs(channels[0] / channels[1] - 1) < 0.05
    assert channels[0] < whole[0] / 1.3 and whole[0] < 5
    print("the prediction is right within 5%: True")
    print("a scale for each channel has an error at least 1.3 times smaller: True")

# %% [markdown]
# Weights lie on both sides of zero. **Activations** often do not: after ReLU they are never negative. For them the integers get a **zero point** as well, the integer that stands for 0: *value = scale x (integer - zero point)*. By hand on the network's last numbers, its logits: 256 values, 255 steps, from the lowest to the highest.
#
# Does such rounding change answers? Only where two logits are closer to each other than the rounding is coarse. So the **margin** decides, the distance between the first and the second logit (lesson 05 took it between probabilities). **Guess:** of the validation images, how many change their answer if all logits are rounded so?

# %% tags=["nbval-ignore-output"]
logits = model.predict(images.astype("float32"), batch_size=64, verbose=0)
low, high = logits.min(), logits.max()
scale = (high - low) / 255
zero_point = np.rint(-low / scale)
integers = np.clip(np.rint(logits / scale) + zero_point, 0, 255).astype("uint8")
rounded = scale * (integers.astype("float32") - zero_point)

ordered = np.sort(logits, axis=1)
margins = ordered[:, -1] - ordered[:, -2]
changed = (rounded.argmax(axis=1) != logits.argmax(axis=1)).sum()
print(f"scale {scale:.3f}, zero point {zero_point:.0f}, largest error {np.abs(rounded - logits).max():.3f}")
print(
    f"median margin {np.median(margins):.2f}; {(margins < scale).sum()} of {len(margins)} margins are below the scale"
)
print(f"{changed} answers change")

# %%
assert np.abs(rounded - logits).max() < 0.51 * scale
assert changed <= (margins < 1.01 * scale).sum()
print("no error is above half a step, and only answers with a margin below one step change: True")
if is_default:
    assert np.median(margins) > 20 * scale
    print("the median margin is more than 20 steps: True")

# %% [markdown]
# Rounding the *last* numbers is nearly harmless: an answer is the largest of a few, and mostly by far. In a real int8 file every layer rounds, and cuts off what its 256 values do not reach. Whether that adds up, we measure.
#
# ### The same by machine
#
# **LiteRT** (TensorFlow Lite's new name) keeps a network in one flat file, and runs it without TensorFlow: on phones, on small computers, in a cloud function (lesson 07). `compression.convert` makes such a file of four kinds, with built-in operations only:
#
# | kind | kernels | between the layers | in and out |
# |---|---|---|---|
# | `float32` | float32 | float32 | float32 |
# | `float16` | float16 | float32 | float32 |
# | `dynamic_int8` | int8, a scale for each channel | rounded to int8 for each multiplication, by a scale found on the spot | float32 |
# | `int8` | int8, a scale for each channel | int8, by scales fixed beforehand | uint8 |
#
# The last kind has to know beforehand how large the numbers between the layers get. So it wants to see **representative images**. They need no labels, and there are plenty: all those training images of which our model has seen only a few.

# %% tags=["nbval-ignore-output"]
from finetune_lib import compression, data

everything = at_most(data.load(data_name), 2000, "train")
plenty = np.stack([image for image, _ in everything.train.take(1000).as_numpy_iterator()])
random = np.random.default_rng(0)
representative = plenty[random.choice(len(plenty), 100, replace=False)]

files = {
    kind: compression.convert(model, kind, representative if kind == "int8" else None)
    for kind in compression.KINDS
}
runners = {name: compression.LiteRTModel(content) for name, content in files.items()}

# %% [markdown]
# Is what we did by hand what LiteRT does? We look for our kernel in the file (there the output channels come first), and compare integer by integer. And what do input and output look like?

# %% tags=["nbval-ignore-output"]
ours = np.moveaxis(quantise(kernel, (0, 1, 2))[0], -1, 0)
inside = runners["int8"].interpreter
theirs = [
    inside.get_tensor(details["index"])
    for details in inside.get_tensor_details()
    if details["dtype"] == np.int8 and tuple(details["shape"]) == ours.shape
]
same = max((np.mean(found == ours) for found in theirs), default=0.0)
print(f"{same:.2%} of {ours.size:,} integers are the same")
for kind, runner in runners.items():
    ends = [f"{end['dtype'].__name__} {end['quantization']}" for end in (runner.input, runner.output)]
    print(f"{kind:12}  in: {ends[0]:20}  out: {ends[1]}")

# %%
if is_default:
    assert same > 0.99
    assert (
        runners["int8"].input["quantization"][1] == 0 and 0.97 < runners["int8"].input["quantization"][0] <= 1
    )
    print(
        "more than 99% of our integers are the file's; an input scale of about 1 takes pixels as they are: True"
    )

# %% [markdown]
# Now size, and answers. How do we compare with the original? By **accuracy**, by **agreement** (on how many images the two give the same class), and by **McNemar's test** of lesson 06: of the images on which only one of the two is right, is it the same one too often for chance? **Guess** the agreement of each kind.


# %%
def judged(runner, images, truth):
    """A LiteRT model's answers in place of the original's, as an ``Evaluation``."""
    probabilities = evaluation.to_probabilities(model, runner.predict(images))
    return dataclasses.replace(truth, probabilities=probabilities)


def compared(result, reference):
    """Accuracy, agreement with the reference, and McNemar's p-value, as three cells of a table."""
    agreement = np.mean(result.predictions == reference.predictions)
    p = evaluation.mcnemar(result.correct, reference.correct)
    return [f"{result.accuracy:.1%}", f"{agreement:.1%}", "< 0.01" if p < 0.005 else f"{p:.2f}"]


# %% tags=["nbval-ignore-output"]
results = {kind: judged(runner, images, original) for kind, runner in runners.items()}
rows = []
for kind, content in files.items():
    change = np.abs(runners[kind].predict(images) - logits).max()
    packed = compression.gzip_size(content)
    cells = [f"{len(content) / 1e3:,.0f}", f"{packed / 1e3:,.0f}", f"{change:.4f}"]
    rows.append([kind, *cells, *compared(results[kind], original)])
print(plots.table(["", "kB", "gzip", "largest change", "accuracy", "agreement", "p"], rows))

# %%
sizes = {kind: len(content) for kind, content in files.items()}
agreements = {kind: np.mean(each.predictions == original.predictions) for kind, each in results.items()}
clear = margins > 0.01  # of a near tie the last bits decide
assert (results["float32"].predictions == original.predictions)[clear].all()
print("float32 in LiteRT gives the same answers to all images but near ties: True")
scale, zero_point = runners["int8"].output["quantization"]
if is_default:
    assert sizes["float16"] < 0.52 * sizes["float32"] and sizes["int8"] < 0.28 * sizes["float32"]
    assert min(agreements.values()) > 0.95
    assert min(evaluation.mcnemar(each.correct, original.correct) for each in results.values()) > 0.05
    print("half and about a quarter of the bytes; every kind agrees on more than 95%: True")
    assert scale * (255 - zero_point) < logits.max() - 0.3
    print("no difference in accuracy is told from chance: True")
    print("the largest logit is beyond what int8's output can stand for: True")

# %% [markdown]
# Why is int8's largest change so much larger than half a step? Its output can stand for no more than *scale x (255 - zero point)*, and that was fixed by a hundred images. Compare it with our largest logit: it is cut off. Here that costs nothing, since the largest stays the largest.
#
# A quarter of the bytes, and no difference that this many images could tell from noise. That is not "no loss": some answers did change, and on more images one would see which way. It is what we can say.
#
# ### And the time?
#
# Timing is easily done wrong. Other programs run on the same machine, the clock rate changes, a first call is slower. So we run all candidates **in turns**, one thread each, one image at a time, count **processor time**, and take the **ratio** to float32 LiteRT *of the same round*; the spread over the rounds is shown. If wall time, below the table, were much more than processor time, something else would have been running, or the work would have been spread over several cores. **Guess** first: how much faster is int8? And float16?

# %%
import time


def race(contenders, rounds=15, repeats=6):
    """Seconds for each call, ``(rounds, contenders)``, all in turns, and the same by the wall clock."""
    spent = np.empty((2, rounds, len(contenders)))
    for number in range(rounds):
        for place, call in enumerate(contenders.values()):
            call()  # to warm up
            before = time.process_time(), time.perf_counter()
            for _ in range(repeats):
                call()
            after = time.process_time(), time.perf_counter()
            spent[:, number, place] = np.subtract(after, before) / repeats
    return spent[0], spent[1]


def ratios(contenders, **options):
    """The median time of each, relative to the first of the same round, with the quartiles; and all seconds."""
    seconds, wall = race(contenders, **options)
    relative = np.quantile(seconds / seconds[:, :1], [0.5, 0.25, 0.75], axis=0).T
    return dict(zip(contenders, relative, strict=True)), np.median(seconds, axis=0), np.median(wall, axis=0)


# %% tags=["nbval-ignore-output"]
def ready(runners):
    """What runs one answer of each, an image laid in."""
    for runner in runners.values():
        runner.set_images(images[:1])
    return {name: runner.interpreter.invoke for name, runner in runners.items()}


one = images[:1].astype("float32")
latency, seconds, wall = ratios(ready(runners) | {"Keras": lambda: model.predict_on_batch(one)})
rows = [
    [name, f"{1e3 * spent:.2f}", f"{middle:.2f}", f"{low:.2f} to {high:.2f}"]
    for (name, (middle, low, high)), spent in zip(latency.items(), seconds, strict=True)
]
print(plots.table(["", "ms", "ratio to float32", "middle half of the rounds"], rows))
print(f"wall time is {np.median(wall / seconds):.2f} times processor time")
print(f"float16 is within a quarter of float32: {0.8 < latency['float16'][0] < 1.25}")
print(f"the same network in Keras is slower, image by image: {latency['Keras'][0] > 1}")

# %% [markdown]
# What did you expect of float16? Its kernels become float32 when the file is opened, so nothing but the download is gained. How much int8 gains depends on the processor: newer ones have instructions that multiply many int8 at a time, older ones hardly gain. And on the network: MobileNetV2's depthwise convolutions made `dynamic_int8` more than one and a half times *slower* than float32, on the machine where we tried it. So measure. And there is hardware that has *only* integers: there, `int8` is the one kind that runs at all.
#
# ### A bad representative set
#
# `int8` fixes its scales by what it is shown. Show it images that are not like those it will meet, and larger numbers will not fit: they are cut off. Beside our 100 random images: a single one; and the 100 as if somebody had taken them in the dark, a quarter as bright. **Guess:** which of these does damage? How would you notice it without labels?

# %% tags=["nbval-ignore-output"]
sets = {"1 image": plenty[:1], "100 dark images": representative // 4}
by_set = {"100 images": runners["int8"]}
by_set |= {
    name: compression.LiteRTModel(compression.convert(model, "int8", seen)) for name, seen in sets.items()
}

# %% tags=["nbval-ignore-output"]
answers = {name: judged(runner, images, original) for name, runner in by_set.items()}
rows = []
for name, runner in by_set.items():
    off = np.abs(runner.predict(images) - logits).mean()
    step = runner.input["quantization"][0]
    rows.append([name, f"{step:.3f}", f"{off:.2f}", *compared(answers[name], original)])
print(
    plots.table(
        ["representative", "input scale", "mean change of logits", "accuracy", "agreement", "p"], rows
    )
)

# %%
if is_default:
    agreement = {name: np.mean(each.predictions == original.predictions) for name, each in answers.items()}
    assert agreement["100 images"] > 0.95 and agreement["100 dark images"] < 0.8
    assert evaluation.mcnemar(answers["100 dark images"].correct, original.correct) < 0.001
    assert by_set["100 dark images"].input["quantization"][0] < 0.3
    print("100 random images agree on more than 95%, dark ones on less than 80%: True")
    print("the damage of dark images is no noise (p below 0.001), and the input scale shows it: True")

# %% [markdown]
# The dark set taught the file that a pixel is at most 63, so everything brighter counts as 63. Nothing warns, and the file works. Two checks need no label. The **input scale**, about 1 for raw pixels, shows a set of the wrong brightness, and nothing else: too few kinds of image can have a perfect input scale, and cut off numbers further inside. The **agreement with the float32 file**, on unlabelled images from where it will be used, shows that as well. (Look at the single image: how far its logits are off, and its agreement.) So: 100 or more, at random, from where the model's own images will come from.
#
# ## 3. Pruning
#
# The second way to save: do without weights. **Magnitude pruning** sets the smallest ones to zero (Han et al., [1506.02626](https://arxiv.org/abs/1506.02626)). The idea is that a small weight contributes little. Before we do so, we look at how large they are, layer by layer. **Guess:** if we put *one* threshold at the middle of all weights, which layer loses most?

# %% tags=["nbval-ignore-output"]
import matplotlib.figure

middle = np.median(np.abs(np.concatenate([each.ravel() for each in kernels.values()])))
below = {name: np.mean(np.abs(each) <= middle) for name, each in kernels.items()}
in_order = sorted(below, key=lambda name: -kernels[name].size)
shown = [name for name in below if len(below) < 12 or name in (*in_order[:10], "logits")]
print(
    plots.table(
        ["kernel", "entries", "below the threshold"],
        [[name, f"{kernels[name].size:,}", f"{below[name]:.0%}"] for name in shown],
    )
)

# %% tags=["nbval-ignore-output"]
figure = matplotlib.figure.Figure(figsize=(7.5, 0.34 * len(shown) + 0.8), layout="constrained")
axes = figure.subplots()
sizes_of = [np.log10(np.abs(kernels[name]).ravel() + 1e-9) for name in shown]
boxes = axes.boxplot(
    sizes_of, orientation="horizontal", whis=(5, 95), showfliers=False, patch_artist=True, widths=0.6
)
for patch, name in zip(boxes["boxes"], shown, strict=True):
    patch.set_facecolor(plots.VERMILION if name == "logits" else plots.BLUE)
axes.axvline(np.log10(middle), color=plots.GREY, linestyle="--")
axes.set_yticks(range(1, len(shown) + 1), shown)
axes.invert_yaxis()
ticks = np.arange(-3, 1)
axes.set_xticks(ticks, [f"{10.0**tick:g}" for tick in ticks])
axes.set_xlim(-3.4, 0.3)
axes.set_xlabel("size of an entry: boxes hold the middle half, whiskers 90%; dashed: the middle of all")
axes.spines[["top", "right"]].set_visible(False)
plots.show(
    figure,
    "Sizes of each kernel's entries on a logarithmic axis; how many are below the dashed line the table says.",
)

# %%
if is_default:
    assert below["logits"] > 0.9 and below["block1_conv1"] < 0.3
    print("the threshold would take more than 90% of the head: True")

# %% [markdown]
# The head! It was trained on strong features, so small numbers were enough for it. A threshold for all would take it away first, and with it every answer. "Small" means small *for what it is multiplied with*, which the threshold does not know. `pruning.prune` therefore leaves the last kernel alone, and takes one threshold for all others. (Many recipes spare the first layer as well, or give every layer the same share: Zhu and Gupta, [1710.01878](https://arxiv.org/abs/1710.01878).)
#
# One shot, without any training, at 50, 75 and 90%. **Guess** the accuracies.


# %%
def copy_of(model):
    """Another model with the same weights."""
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return twin


def accuracy(model):
    """How many of all validation images the model gets right, in %."""
    batches = np.array_split(images.astype("float32"), len(images) // 64 + 1)
    predicted = [model(batch, training=False).numpy().argmax(axis=1) for batch in batches]
    return 100 * np.mean(np.concatenate(predicted) == original.labels)


# %% tags=["nbval-ignore-output"]
from finetune_lib import pruning

shares = (0.5, 0.75, 0.9)
one_shot = {}
for goal in shares:
    candidate = copy_of(model)
    pruning.prune(candidate, goal)
    one_shot[goal] = accuracy(candidate)
print(
    ", ".join(f"{goal:.0%} zeros: {one_shot[goal]:.1f}%" for goal in shares),
    f"(before: {accuracy(model):.1f}%)",
)

# %%
if is_default:
    assert one_shot[0.5] > accuracy(model) - 5 and one_shot[0.9] < 50
    print("half of the weights cost less than 5 points, nine tenths more than half of the answers: True")

# %% [markdown]
# On digits, half of the weights were hardly needed. At 90% little is left. Now the weights that are left can **learn to do without** the others. But a plain optimiser would move the zeros, too: their gradient is not zero. The zeros have to be *held*. Keras has a place for that: a **constraint**, which every optimiser applies to a kernel after each of its steps. Ours sets to zero whatever the mask leaves out; `pruning.held` puts it there, takes it away afterwards, and checks that all zeros are where they were.
#
# We go up in steps, to 75 and then to 90%, with a little training at each (**gradual pruning**). Beside it, in the same two stages, the original *without* pruning: more training is a gain of its own, which pruning must not take credit for. **Guess** where the two will come out.

# %%
import math

from finetune_lib import fitting

boundary = handover.recipe(backbone_name)["unfreeze_from"]
brief = dataclasses.replace(
    dataset, validation=dataset.validation.take(16), sizes=dataset.sizes | {"validation": 16}
)


def train(candidate, boundary, steps, seed, rate=rate):
    """Train so many steps on the labelled images, almost as in lesson 05; on the way hardly any validation."""
    freezing.unfreeze_from(candidate, boundary)
    epochs = math.ceil(steps / math.ceil(dataset.sizes["train"] / 32))
    options = {"warm_up": 0.1, "label_smoothing": 0.1, "augment": dataset.augment, "views": "online"}
    fitting.fit(candidate, brief, epochs=epochs, learning_rate=rate, seed=seed, verbose=0, **options)


# %% tags=["nbval-ignore-output"]
goals, scores, pruned = shares[1:], {}, {}
for seed in range(draws):
    candidate = copy_of(model)
    for goal in goals if seed == 0 else goals[:1]:
        with pruning.held(candidate, pruning.prune(candidate, goal)):
            train(candidate, boundary, steps, seed)
        scores["pruned", goal, seed] = accuracy(candidate)
        pruned[goal, seed] = copy_of(candidate)

control = copy_of(model)
for stage in range(len(goals)):
    train(control, boundary, steps, seed=0)
    scores["not pruned", stage] = accuracy(control)

# %% tags=["nbval-ignore-output"]
rows = []
for stage, goal in enumerate(goals):
    found = [scores.get(("pruned", goal, seed)) for seed in range(draws)]
    cells = ["" if value is None else f"{value:.1f}" for value in found]
    rows.append([f"{goal:.0%} zeros", f"{one_shot[goal]:.1f}", *cells])
    rows.append(["not pruned, as many steps", f"{accuracy(model):.1f}", f"{scores['not pruned', stage]:.1f}"])
    rows[-1] += [""] * (draws - 1)
header = ["validation accuracy (%)", "before", *(f"trained, seed {seed}" for seed in range(draws))]
print(plots.table(header, rows))

# %% tags=["nbval-ignore-output"]
figure = matplotlib.figure.Figure(figsize=(7, 3.4), layout="constrained")
axes = figure.subplots()
at = [100 * goal for goal in shares]
axes.plot(
    at, [one_shot[goal] for goal in shares], "s--", color=plots.VERMILION, label="one shot, not trained"
)
means = [np.mean([value for case, value in scores.items() if case[:2] == ("pruned", goal)]) for goal in goals]
axes.plot(at[1:], means, "-o", color=plots.BLUE, label="gradual, trained under masks")
axes.axhline(accuracy(model), color=plots.GREY, linestyle=":", label="the original")
axes.set(xlabel="zeros (%)", ylabel="validation accuracy (%)", ylim=(0, 100))
axes.set_xticks(at, [f"{value:.0f}" for value in at])
axes.legend(frameon=False, loc="lower left")
axes.spines[["top", "right"]].set_visible(False)
plots.show(
    figure,
    "Validation accuracy against the share of zeros: one shot falls steeply after 50%; trained under masks (mean over the "
    "seeds of the table above) it stays near the original's dotted line at 75% and is far above one shot at 90%.",
)

# %%
if is_default:
    at_75, at_90 = means
    assert at_75 > one_shot[0.75] + 5 and at_75 > accuracy(model) - 8
    assert at_90 > one_shot[0.9] + 15 and at_90 < accuracy(model) - 8
    print("training under masks lifts 75% zeros by more than 5 points, to within 8 of the original: True")
    print("at 90% it gains more than 15 points, and more than 8 are still missing: True")

# %% [markdown]
# On these few validation images three quarters of GlyphNet's weights can go, with a little training, at a cost that can hardly be seen; section 6 asks again. At nine tenths this small network runs out of room. (Larger networks bear more: Han et al. took 89 to 92% from AlexNet and VGG16, which have hundreds of times as many weights as GlyphNet. MobileNetV2, made to be small, bears less: on flowers, already 50% in one shot cost much.) Compare with *not pruned*, too: what pruning cost is the distance to the row below.
#
# ### What it gains
#
# `held` has compared the zeros before and after training; we count them once more. Then bytes and time. **Guess** before you look: with three quarters of the weights zero, how much smaller is the file? How much faster is it?

# %% tags=["nbval-ignore-output"]
slim = pruned[0.75, 0]
found = pruning.sparsity(slim)
names = [name for name in found if name in shown or name == "all"]
print(plots.table(["kernel", "zeros"], [[name, f"{found[name]:.1%}"] for name in names]))

files["pruned 75%"] = compression.convert(slim, "float32")
runners["pruned 75%"] = compression.LiteRTModel(files["pruned 75%"])
latency, _, _ = ratios(ready({name: runners[name] for name in ("float32", "pruned 75%")}))
for name in ("float32", "pruned 75%"):
    content, (middle, low, high) = files[name], latency[name]
    packed = compression.gzip_size(content)
    print(
        f"{name:10}  {len(content):9,} bytes, gzip {packed:9,}; time {middle:.2f} ({low:.2f} to {high:.2f})"
    )
print(f"pruned, it takes the same time within 15%: {abs(latency['pruned 75%'][0] - 1) < 0.15}")

# %%
plain, slimmed = (files[name] for name in ("float32", "pruned 75%"))
assert abs(found["all"] - 0.75) < 1e-3 and abs(len(slimmed) / len(plain) - 1) < 0.01
assert compression.gzip_size(slimmed) < 0.5 * compression.gzip_size(plain)
print("75% zeros after training, a file of the same size, and less than half of it after gzip: True")

# %% [markdown]
# The file is as large as before: a zero is a float32 like any other, with four bytes. Only when it is *packed* for the way do the many zeros cost little. And it is not faster: the processor multiplies by zero as patiently as by anything else. To gain time, zeros would have to come in **blocks** that a whole multiplication can skip (whole channels: *structured* pruning, *Try it yourself* 4), or run on libraries and hardware made for it. So unstructured pruning is a method for the **download**. Whoever promises more of it should show a stopwatch.
#
# ## 4. Distillation
#
# Third way: a smaller network in the first place. Section 1 says where to cut: block 4 has most of the bytes. Our **student** is the fine-tuned network without its last block, and with a new head. It starts with the teacher's weights below; what has to be learned is the new head and the block under it.


# %%
def new_student(model):
    """The model up to its last block, with the same weights, and a new head of zeros."""
    prefix, _ = freezing.split(freezing.unfreeze_from(copy_of(model), backbone.cut_points[-1]))
    pooled = keras.layers.GlobalAveragePooling2D(name="student_pool")(prefix.output)
    head = keras.layers.Dense(len(dataset.class_names), kernel_initializer="zeros", name="logits")
    student = keras.Model(prefix.input, head(pooled), name="student")
    return freezing.unfreeze_from(student, backbone.cut_points[-2])


student = new_student(model)
for each in (model, student):
    print(f"{each.name}: {each.count_params():,} weights, {cost.forward(each):,} multiply-adds")

# %%
smaller = model.count_params() / student.count_params()
lighter = cost.forward(model) / cost.forward(student)
if is_default:
    assert smaller > 4 and 1.3 < lighter < 1.4
    print("a quarter of the weights, and about three quarters of the work: True")

# %% [markdown]
# What shall it learn from? Three candidates, with about as many steps:
#
# 1. the **labels** of the few labelled images, as ever;
# 2. the **teacher's answers** to the same few images. They say more than a label: that this 4 looks a little like a 9 (Hinton et al., [1503.02531](https://arxiv.org/abs/1503.02531), who called it *dark knowledge*). To make such hints louder, the logits are divided by a **temperature**, here 2, before the softmax;
# 3. the teacher's answers to **all** training images. Nobody has to label them: the teacher does.
#
# In all three the images are augmented: for the labels anew each time; for the teacher in a few copies, about each of which it is asked once, so that student and teacher see the very same ("a good teacher is patient and consistent", Beyer et al., [2106.05237](https://arxiv.org/abs/2106.05237)). **Guess:** which wins? What gains more, the softer answers, or the additional images?

# %% tags=["nbval-ignore-output"]
from finetune_lib import distillation

options = {"temperature": 2.0, "learning_rate": 2 * rate, "augment": dataset.augment}
taught = 2 * math.ceil(hasty * everything.sizes["train"] / 32)  # steps: two passes over the copies
again = math.ceil(taught * 32 / (8 * dataset.sizes["train"]))  # passes over 8 copies of the few images
students, learned = {}, {}
for seed in range(draws):
    for name in ("labels", "teacher, same images", "teacher, all images"):
        if seed and name == "teacher, same images":
            continue  # one seed, to save time
        student = new_student(model)
        if name == "labels":
            train(student, backbone.cut_points[-2], taught, seed, 2 * rate)
        elif name == "teacher, same images":
            distillation.distil(model, student, dataset, copies=8, epochs=again, seed=seed, **options)
        else:
            distillation.distil(model, student, everything, copies=hasty, epochs=2, seed=seed, **options)
        students[name, seed], learned[name, seed] = student, accuracy(student)

# %% tags=["nbval-ignore-output"]
rows = []
for name in dict.fromkeys(name for name, _ in learned):
    values = [learned.get((name, seed)) for seed in range(draws)]
    rows.append([name, *("" if value is None else f"{value:.1f}" for value in values)])
rows.append(["(the teacher itself)", f"{accuracy(model):.1f}", *[""] * (draws - 1)])
header = ["the student learned from", *(f"seed {seed}" for seed in range(draws))]
print(f"about {taught} steps each; validation accuracy in %\n{plots.table(header, rows)}")

# %%
if is_default:
    by = {
        name: np.array([learned[name, seed] for seed in range(draws)])
        for name in ("labels", "teacher, all images")
    }
    best = by["teacher, all images"]
    assert (best > by["labels"] + 4).all() and best.mean() > accuracy(model) - 6
    assert best[0] > learned["teacher, same images", 0] + 3
    print("the teacher's answers to all images beat labels by more than 4 points, with each seed: True")
    print("and the same few images by more than 3; the student comes within 6 points of its teacher: True")

# %% [markdown]
# On the same few images the teacher's answers gained nothing that we could see (one seed, and the recipes differ a little). What gains is that it can answer for images that **nobody has labelled**. This is worth remembering beyond compression: a model that you have fine-tuned on a few labels can label thousands of images for a smaller one, as long as these come from the same source.
#
# (Why is it *one* temperature, and no second loss? The student is trained by plain cross-entropy on the softened answers, so that its logits come out divided by the temperature, too; in the end its head is multiplied by it. `distillation.distil` does just this.)
#
# These students had little time. The paper of Beyer et al. is called "patient" for a reason, so one more student gets more copies, and at least twice the steps. **Guess** its validation accuracy. Is patience worth the price?

# %% tags=["nbval-ignore-output"]
student = new_student(model)
distillation.distil(model, student, everything, copies=patient, epochs=2, seed=0, **options)
first = students["teacher, all images", 0]
found = [evaluation.evaluate(each, dataset, "validation") for each in (first, student)]
for name, result in zip(("hasty", "patient"), found, strict=True):
    print(
        f"{name:8} {result}; against the original p = {evaluation.mcnemar(result.correct, original.correct):.2f}"
    )

# %%
if is_default:
    assert all(evaluation.mcnemar(result.correct, original.correct) > 0.05 for result in found)
    print("neither can be told from the original on validation images (p above 0.05): True")

# %% [markdown]
# On these images neither student can be told from its teacher. Shall we save the time, then, and be hasty? Write down what you would do. We take both along to the test images.
#
# ## 5. Combinations
#
# Pruning, distillation and quantisation save in different places, so they can be combined (Han et al., [1510.00149](https://arxiv.org/abs/1510.00149)). Two of them for our table: pruned and int8, and distilled and int8. **Guess:** which file is the smallest when packed?

# %% tags=["nbval-ignore-output"]
files["pruned 75%, int8"] = compression.convert(slim, "int8", representative)
files["distilled"] = compression.convert(student, "float32")
files["distilled, int8"] = compression.convert(student, "int8", representative)
files["hasty, int8"] = compression.convert(first, "int8", representative)
runners = {name: compression.LiteRTModel(content) for name, content in files.items()}

rows = []
for name, content in files.items():
    result = judged(runners[name], images, original)
    rows.append(
        [name, f"{len(content):,}", f"{compression.gzip_size(content):,}", *compared(result, original)]
    )
print(plots.table(["validation images", "bytes", "gzip", "accuracy", "agreement", "p"], rows))

# %%
packed = {name: compression.gzip_size(content) for name, content in files.items()}
if is_default:
    assert packed["distilled, int8"] < min(packed["pruned 75%, int8"], packed["float32"] / 12)
    print(
        "distilled and int8 packs to less than pruned and int8, and to less than a twelfth of float32: True"
    )

# %% [markdown]
# Now we **decide**, before any test image is seen. Our wish is a small download. Of the files that are within a tenth of the smallest packed size, we take the one that agrees most with the original on validation images, provided that it is within 5 points of its accuracy.

# %% tags=["nbval-ignore-output"]
agreement, near = {}, {}
for name, runner in runners.items():
    result = judged(runner, images, original)
    agreement[name] = np.mean(result.predictions == original.predictions)
    near[name] = result.accuracy > original.accuracy - 0.05
smallest = min(size for name, size in packed.items() if near[name])
allowed = [name for name in files if near[name] and packed[name] < 1.1 * smallest]
chosen = max(allowed, key=agreement.get)
print(f"small and near enough: {'; '.join(allowed)}. We take: {chosen}")

# %%
if is_default:
    assert chosen == "distilled, int8" and agreement["hasty, int8"] < agreement["distilled, int8"]
    assert agreement["pruned 75%"] > agreement["distilled, int8"] - 0.03
    print("we take the patient student as int8: True")
    print("pruned 75% agrees about as often as it, or more often: True")

# %% [markdown]
# ## 6. One table, one figure
#
# All decisions are taken. Now, once, the **test images**: every candidate against the original. **Guess:** which one has lost most?

# %% tags=["nbval-ignore-output"]
test_images = np.stack([image for image, _ in dataset.test.as_numpy_iterator()])
reference = evaluation.evaluate(model, dataset, "test")
tested = {name: judged(runner, test_images, reference) for name, runner in runners.items()}
latency, _, _ = ratios(ready(runners), rounds=25)

# %% tags=["nbval-ignore-output"]
rows = []
for name, result in tested.items():
    low, high = (100 * end for end in result.interval)
    middle, fast, slow = latency[name]
    right, agreement, p = compared(result, reference)
    bytes_of = [f"{size / 1e3:,.0f}" for size in (len(files[name]), packed[name])]
    times = f"{middle:.2f} ({fast:.2f} to {slow:.2f})"
    rows.append([name, *bytes_of, times, right, f"{low:.1f} to {high:.1f}", agreement, p])
print(f"{reference}\n")
print(
    plots.table(["", "kB", "gzip", "time (middle half)", "accuracy", "95% interval", "agreement", "p"], rows)
)


# %%
families = {"pruned": plots.VERMILION, "distilled": "#009E73", "hasty": plots.GREY}


def scatter(axes, across):
    """A candidate each: accuracy with its interval, against what ``across`` gives for its name."""
    for (name, result), marker in zip(tested.items(), "os^DvPpXh", strict=True):
        colour = next((families[word] for word in families if name.startswith(word)), plots.BLUE)
        right, (low, high) = 100 * result.accuracy, result.interval
        spread = [[right - 100 * low], [100 * high - right]]
        style = {"color": colour, "markersize": 9, "capsize": 3, "label": name}
        axes.errorbar(across(name), right, yerr=spread, elinewidth=1, fmt=marker, **style)
    axes.axhline(100 * reference.accuracy, color=plots.GREY, linestyle=":")
    axes.spines[["top", "right"]].set_visible(False)


# %% tags=["nbval-ignore-output"]
figure = matplotlib.figure.Figure(figsize=(10, 4.2), layout="constrained")
left, right = figure.subplots(1, 2, sharey=True)
scatter(left, lambda name: packed[name] / 1e3)
scatter(right, lambda name: latency[name][0])
left.set(xscale="log", xlabel="packed size (kB, gzip)", ylabel="test accuracy (%), 95% interval")
left.xaxis.set_major_formatter("{x:,.0f}")
right.set(xlabel="time of one image, relative to float32", xlim=(0, None))
figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
plots.show(
    figure,
    "Test accuracy with its 95% interval, left against the packed size, right against the time relative to float32; the "
    "numbers are in the table above. The dotted line is the original.",
)

# %%
p_values = {name: evaluation.mcnemar(each.correct, reference.correct) for name, each in tested.items()}
lost = {name: 100 * (reference.accuracy - each.accuracy) for name, each in tested.items()}
if is_default:
    kinds = ("float32", "float16", "dynamic_int8", "int8")
    assert all(p_values[name] > 0.01 and abs(lost[name]) < 1.5 for name in kinds)
    assert lost["pruned 75%"] < 6 and lost["distilled, int8"] < 4
    assert lost["pruned 75%"] > lost["distilled, int8"] + 0.5
    assert lost["hasty, int8"] > 4 and p_values["hasty, int8"] < 0.001
    assert [len(np.unique(dataset.groups[part])) for part in ("validation", "test")] == [2, 7]
    print("no kind of quantisation alone can be told from the original (p above 0.01): True")
    print("pruned loses less than 6 points, distilled less than 4: True")
    print("the hasty student loses more than 4 points, and that is no noise (p below 0.001): True")

# %% [markdown]
# Look at the **hasty** student of the digits. On validation images it was not told from the original; on test images it is far behind. Did we do something wrong? Whoever read its large p as "equal" did. The validation part is small, and, if you took the digits, written by two people; the test part by seven. A difference that a few hundred images cannot tell from noise may still be one of several points, and new writers may bring it out. *Agreement* was lower for the hasty student, but it is no oracle: *pruned 75%* agreed about as often as the patient student, and lost more on the test. What helps is more images, from more people.
#
# How to read it:
#
# - **Intervals that overlap prove nothing**: each is for one model on its own, and all meet the same images. Compare *pruned 75%* with the original: first by their intervals, then by the paired test.
# - A **large p is not a proof of equality.** It says that these images cannot tell the two apart. How large a loss could hide is what the *upper end* of the interval of the difference says, below. McNemar's p is for other images by the same writers; the interval, *t* over writers where they are known, is for new ones (lesson 06).
# - We ask for eight *p* values, so one below 0.05 now and then is to be expected where nothing is different. One below 0.05 / 8 is worth a name (Bonferroni).
# - The rows of pruned and distilled models stand for **one seed each**. Sections 3 and 4 have shown by how much others differ.
# - **Agreement** is not accuracy. A candidate can be as often right, and on other images: where many people have got used to the old answers, that matters.

# %% tags=["nbval-ignore-output"]
import scipy.stats

whose = reference.groups


def points_lost(result):
    """Points lost against the original, and their 95% interval: t over writers, where these are known."""
    if whose is None:
        found = evaluation.bootstrap_difference(reference.correct, result.correct)
        return [100 * value for value in found]
    lost = 100.0 * reference.correct - 100.0 * result.correct
    each = np.array([lost[whose == who].mean() for who in np.unique(whose)])
    half = scipy.stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / math.sqrt(len(each))
    return [each.mean(), each.mean() - half, each.mean() + half]


rows = []
for name, result in tested.items():
    middle, low, high = points_lost(result)
    verdict = "yes" if p_values[name] < 0.05 / (len(p_values) - 1) else "no"
    lost = f"{round(middle, 1) + 0.0:+.1f}"  # no -0.0
    rows.append([name, lost, f"{low:+.1f} to {high:+.1f}", f"{p_values[name]:.4f}", verdict])
print(plots.table(["", "points lost", "95% interval", "p", "told from chance"], rows))

# %%
if is_default:
    ends = {name: points_lost(result)[2] for name, result in tested.items()}
    assert ends["int8"] < 1.5 and 0.5 < ends["distilled, int8"] < 6
    print(
        "int8 loses less than 1.5 points for new writers, too; what the patient student may lose is more: True"
    )

# %% [markdown]
# ## 7. Which to take
#
# | your trouble is | take | because (our numbers) |
# |---|---|---|
# | nothing in particular | float32 LiteRT | same answers, without TensorFlow, faster on single images than Keras (section 2) |
# | the download, and no risk | float16 | half the bytes, logits hardly move |
# | the download, and a CPU | dynamic int8 | a quarter of the bytes; no representative set that could be wrong; but measure its time (section 2) |
# | a chip that has integers only | int8 | nothing else runs; **check its agreement with float32**, and the input scale |
# | the download, and time to train | distilled **patiently**, int8 | a twelfth or less; needs unlabelled images of the same source |
# | latency | LiteRT; int8 if your processor likes it; a smaller network | a better runtime, cheaper multiplications or fewer of them make it faster; pruned zeros do not |
#
# And what this lesson has *not* measured: a phone, a GPU or an accelerator ("delegates" of LiteRT), where ratios are others, float16 is faster, and int8 may be much faster; energy; memory while running. Measure on the device that you will use. How the file gets there, and how it stays the same, is the matter of lesson 07.
#
# What of our own choice, made on validation images?

# %% tags=["nbval-ignore-output"]
print(
    f"{chosen}: {packed[chosen]:,} bytes packed, {packed['float32'] / packed[chosen]:.0f} times less; {tested[chosen]}"
)

# %% [markdown]
# ## 8. The end: what was changed, and what was not
#
# The compressed file goes beside the model that it was made of. It is written under another name first, then renamed: whoever is interrupted leaves no half a file. Read back, it must give the same answers, **bit for bit**. And the model that we received must be what it was: all that we changed were copies.

# %%
name = f"fine_tuned_{dataset.name}_{backbone_name}.tflite"
place = handover.keep(files[chosen], name)
read = compression.LiteRTModel(place.read_bytes())
assert np.array_equal(read.predict(images), runners[chosen].predict(images))
print(f"{name} is written, and gives the same answers bit for bit: True")

# %%
assert all(np.array_equal(a, b) for a, b in zip(weights_at_the_start, model.get_weights(), strict=True))
assert received.change() < 1e-2
print("no weight of the model that we received has changed, and it gives the answers that it gave: True")

# %% [markdown]
# ## Summary
#
# - **Download, memory, latency** are three things. Weights make the download, multiplications the latency; they are in different layers.
# - **Quantisation** rounds to *scale x integer*. The error is predictable, and small against the margins between logits: a quarter of the bytes, and no difference that our images could tell from noise. **float16** halves the file, and gains nothing else on a CPU.
# - Full **int8** is as good as its representative set. Agreement with float32, on unlabelled images, shows a bad one.
# - **Pruning**: leave the head alone, go up in steps, hold the zeros. It makes the *packed* file smaller, not the file, and not the time. Here it cost points on new writers that validation images had not shown.
# - **Distillation** gained most by images that nobody had labelled, and by patience. A smaller network is the only one of the three that saves multiplications.
# - One table, paired tests, spread over rounds and seeds. A large *p* says "cannot tell", not "equal": the hasty student has shown it.
#
# ### Try it yourself
#
# 1. How few representative images are enough? Try 1, 3, 10, 30 and 100, five draws each, and plot the agreement.
# 2. Quantise all kernels of a copy by hand to 8, 6, 4 and 3 bits (`quantise` with another number than 127), and set them as its weights. Where does accuracy break?
# 3. Prune with the teacher's answers: inside `pruning.held`, call `distillation.distil(model, candidate, everything, ...)` instead of `train`. How far does 90% get?
# 4. *Structured* pruning: take the half of the channels of `block4_conv1` with the longest kernels, build a network with those only, and train it a little. What do file and stopwatch say?
# 5. A narrow student from scratch, with half as many channels everywhere, has a quarter of the work. How many steps does it need to reach the short one?
#
# ## What next
#
# **Practise first:** [the exercises](exercises/08_compress.ipynb) check what you write, and say what it shows. They take about an hour.
#
# This was the last lesson. You have a model, know how good it is ([lesson 06](06_evaluate.ipynb)), can put it to work ([lesson 07](07_deploy.ipynb)), and have a file a fraction of its size. Now do it with images of your own: begin at [lesson 00](00_start_here.ipynb) with your photos, and stop wherever the model is good enough. At the end of the exercises `progress.show()` says what is left, and `progress.certificate("Your Name")` writes down what you have done.
#
# ## Further reading
#
# - B. Jacob et al., [*Quantization and training of neural networks for efficient integer-arithmetic-only inference*](https://arxiv.org/abs/1712.05877), 2017: scale, zero point, int8 throughout. LiteRT's own pages: [post-training quantisation](https://ai.google.dev/edge/litert/models/post_training_quantization).
# - M. Nagel et al., [*A white paper on neural network quantization*](https://arxiv.org/abs/2106.08295), 2021: what to do where int8 does lose.
# - S. Han et al., [*Learning both weights and connections for efficient neural networks*](https://arxiv.org/abs/1506.02626), 2015, and [*Deep compression*](https://arxiv.org/abs/1510.00149), 2015. M. Zhu and S. Gupta, [*To prune, or not to prune*](https://arxiv.org/abs/1710.01878), 2017: gradual pruning.
# - D. Blalock et al., [*What is the state of neural network pruning?*](https://arxiv.org/abs/2003.03033), 2020: why published comparisons can hardly be compared.
# - G. Hinton et al., [*Distilling the knowledge in a neural network*](https://arxiv.org/abs/1503.02531), 2015. L. Beyer et al., [*Knowledge distillation: a good teacher is patient and consistent*](https://arxiv.org/abs/2106.05237), 2021.
