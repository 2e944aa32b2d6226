# %% [markdown]
# # Data: nothing lost, nothing leaked, nothing waiting
#
# In this notebook, we load images in three ways, split them so that the result can be believed, prepare them as the network was taught to see, and feed them as fast as it can take them.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/03_data.ipynb)
#
# **Time:** about 45 minutes to read and try: the code runs for 1 to 2 minutes with the digits and 3 to 4 with photos on a CPU with two cores, an estimated 2 minutes on a T4.
#
# ## Learning objectives
#
# After this notebook, you will be able to
#
# - load labelled images by **name**, from a **folder** and from **arrays**, and know what happened to every file;
# - find **leakage** and **duplicates**, and say how much too good they make a result look;
# - give a pretrained network the pixels it was **pretrained on**, and notice when it does not get them;
# - choose **augmentation** that keeps the label, and weigh **rare classes** so that they are not ignored;
# - measure which step of the **input pipeline** the network waits for.
#
# Much of what goes wrong in fine-tuning goes wrong here, and in silence: training runs, the loss falls, and the number at the end is wrong. So in this lesson we break things on purpose, and measure what each mistake costs.
#
# **Terms of this lesson**, in English and 中文: [leakage](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#leakage), [split by writer](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#split-by-writer), [duplicate](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#duplicate), [hash](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#hash), [raw pixels](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#raw-pixels), [preprocessing](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#preprocessing), [imbalance](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#imbalance), [class weights](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#class-weights), [recall](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#recall), [input pipeline](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#input-pipeline), [cache](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#cache), [prefetch](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#prefetch).

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
# The lesson measures on handwritten digits, because for them we know something that is rarely recorded: *who made each image*. Where a section can use other data and another network, it takes what this form says (`auto`: photos of flowers with MobileNetV2 if they can be had here, otherwise digits with GlyphNet).

# %%
# @title Which data and which network for sections 1, 4 and 5? { display-mode: "form" }
data_name = "auto"  # @param ["auto", "digits_wild", "digits", "tf_flowers"] {allow-input: true}
backbone_name = "auto"  # @param ["auto", "GlyphNet", "MobileNetV2", "EfficientNetV2B0", "VGG16"]

from finetune_lib import backbones, classifier, data

data_name, backbone_name = classifier.choose(data_name, backbone_name)

# %% [markdown]
# ## 1. Three ways to load
#
# **By name.** A name is one of the course's own (`digits`, `digits_wild`) or that of an image classification set in [TensorFlow Datasets](https://www.tensorflow.org/datasets/catalog/overview), which is downloaded the first time. One word gives three parts, a size, the class names, and where it all comes from. Read the last line. Where no licence is stated, find it before you publish anything (the photos of tf_flowers are CC BY 2.0, each by its own photographer).

# %%
dataset = data.load(data_name, labels_per_class=20)
print(dataset)
print("classes:", ", ".join(dataset.class_names))
print("from:", dataset.provenance)

# %% [markdown]
# Each part is a *stream* (a `tf.data.Dataset`): it hands out one pair `(image, label)` after the other. Photos are decoded when they are asked for, and kept only while they fit into 512 MB, so that a large set does not fill the memory. Pixels are **raw RGB, 0 to 255**; remember that for section 4.

# %%
image, label = next(iter(dataset.train))
print("image:", image.shape, image.dtype.name, "from", image.numpy().min(), "to", image.numpy().max())
print("label:", int(label), "which means", dataset.class_names[label])

# %% [markdown]
# **From a folder.** Your own photos will come as files, in one folder for each class. Real folders are messy: scans, logos, pictures made for print, photos from a phone held sideways. We draw one picture, in yellow ink on blue paper, and save it in six ways that all occur.

# %%
import pathlib
import tempfile

import numpy as np
import PIL.Image
import PIL.ImageOps

from finetune_lib import digits

scans, scan_labels, writers = digits.arrays(wild=False)
four = [scans[scan_labels == digit][0] for digit in (1, 2, 3, 4)]
ink = np.vstack([np.hstack(four[:2]), np.hstack(four[2:])])
picture = PIL.ImageOps.colorize(PIL.Image.fromarray(ink).convert("L"), "#19407f", "#ffcc4c")

folder = pathlib.Path(tempfile.mkdtemp()) / "mess"
(folder / "paper").mkdir(parents=True)

# %%
grey = picture.convert("L")
clear = picture.convert("RGBA")
clear.putalpha(200)  # half transparent
sideways = PIL.Image.Exif()
sideways[0x0112] = 6  # the number of the note "turn me by 90 degrees to see me upright"

paper = folder / "paper"
grey.save(paper / "grey.png")  # a scanner
picture.convert("P", palette=PIL.Image.Palette.ADAPTIVE).save(paper / "palette.gif")  # an old web page
clear.save(paper / "clear.png")  # a logo
picture.convert("CMYK").save(paper / "print.jpg", quality=95)  # a print shop: four inks
picture.rotate(90).save(paper / "phone.jpg", exif=sideways, quality=95)  # a phone, held sideways
PIL.Image.fromarray(np.asarray(grey).astype("uint16") * 257).save(paper / "16_bit.png")  # a microscope

# %% [markdown]
# **Guess:** if you open these six files and turn each into an array, how many different shapes will you get? A network wants one.

# %% tags=["nbval-ignore-output"]
from finetune_lib import photos, plots

files = sorted(paper.iterdir())
naive = [np.asarray(PIL.Image.open(file)) for file in files]
ours = [photos.read(file.read_bytes(), (64, 64)) for file in files]
rows = [
    [file.name, str(raw.shape), str(raw.max()), str(clean.shape), str(clean.max())]
    for file, raw, clean in zip(files, naive, ours, strict=True)
]
print(plots.table(["file", "as it is", "largest number", "loaded", "largest number"], rows))
assert {clean.shape for clean in ours} == {(64, 64, 3)}

# %% [markdown]
# Three kinds of shape, and four traps that a shape does not show. The numbers in the palette file are not colours but positions in a list of colours. `print.jpg` and `clear.png` both have four numbers a pixel: in one they are four inks, in the other red, green, blue and opacity. The 16-bit file goes up to 52,685, and a careless conversion would cut everything off at 255, to pure white. And the phone's photo has the right shape and lies on its side. In the upper row is what the numbers show without care, in the lower row what the course's library makes of the files: all upright, all RGB (grey stays grey), 0 to 255.

# %%
shown = [np.stack([raw] * 3, axis=-1) if raw.ndim == 2 else raw[..., :3] for raw in naive]
shown = [np.pad(raw, [(1, 1), (1, 1), (0, 0)], constant_values=128) for raw in shown]  # a thin frame
names = [file.name for file in files]
plots.show(
    plots.image_grid([*shown, *ours], [*names, *["loaded"] * 6], columns=6),
    "Six files of the same picture. Upper row, numbers as stored: " + ", ".join(names) + ": wrong colours, "
    "one on its side, one all white. Lower row, loaded by the library: all upright, four in colour, two grey.",
)

# %% [markdown]
# Some files are beyond help: half a download, a text file with the wrong ending. It is best to hear of *all* of them, by name, *before* training starts rather than in epoch 3. So `data.load` opens every file once. We add a second class, and two such files.

# %% tags=["nbval-ignore-output"]
(folder / "blank").mkdir()
for shade in range(6):
    PIL.Image.new("RGB", (64, 64), (40 * shade, 90, 160)).save(folder / "blank" / f"{shade}.png")
half = (paper / "print.jpg").read_bytes()[:700]
(paper / "half_a_download.jpg").write_bytes(half)
(paper / "really_text.jpg").write_text("not a picture")

try:
    data.load(folder, image_size=(64, 64))
except ValueError as error:
    print(str(error).replace(str(folder), "mess"))

# %% [markdown]
# The error says which files, why, and what to do. We ask for the second remedy.

# %% tags=["nbval-ignore-output"]
mess = data.load(folder, image_size=(64, 64), skip_unreadable=True)
print(mess)

# %% [markdown]
# (Folders on two levels, `train/cat`, `test/cat` and so on, work too, and are then left as they are.)
#
# **From arrays.** If the images are in memory already, hand them over with their labels. This is also where you can say *who made* each image, which brings us to the mistake in this lesson that is hardest to see.

# %%
by_writer = data.load((scans, scan_labels), groups=writers)
print(by_writer)
for part in ("train", "validation", "test"):
    print(f"writers in {part}:", *sorted({int(writer) for writer in by_writer.groups[part]}))

# %% [markdown]
# ## 2. Leakage: a promise that cannot be kept
#
# The 1,797 digits come from 14 filled-in forms, some 130 each. (UCI speaks of 13 writers, so one may have filled in two; we shall say "14 writers".) `digits.infer_writers` found the forms from the order of the labels alone: everybody copied the same sequence. Suppose your network will later read the handwriting of *strangers*. You set some images aside to find out how well it will do. Two ways to choose them:
#
# - **at random**: the common way, one line of code;
# - **by writer**: all images of some writers.
#
# We can check which of the two tells the truth. Six writers play the future: nobody may look at them. With the other eight we train and validate, in either way, write down the *promise* (accuracy on the images set aside), and then open the future.
#
# The network is GlyphNet, frozen. Its features do not change while we train the head, so we compute them once, for all experiments. That is the whole trick of lesson 04, in advance.

# %%
import keras

model = classifier.build("GlyphNet", [str(digit) for digit in range(10)])
backbone_alone = keras.Model(model.input, model.get_layer("average_pool").output)
features = backbone_alone.predict(scans.astype("float32"), batch_size=256, verbose=0)
print("features:", features.shape)

# %% [markdown]
# One repeat, in words: draw six writers and put their images away. Split what remains, three quarters to learn from and one quarter aside. Fit the head, here scikit-learn's logistic regression, which is the same single layer of weights as `logits` in our models. Then read off the accuracy twice: on the images set aside, and on the six strangers.

# %%
from sklearn import linear_model


def promise_and_truth(by_writer, seed):
    """Accuracy (%) on the images that were set aside, and on six writers of the future."""
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(14)
    future, pool = np.isin(writers, shuffled[:6]), ~np.isin(writers, shuffled[:6])
    aside = np.isin(writers, shuffled[6:8]) if by_writer else generator.random(len(writers)) < 0.25
    learn, check = pool & ~aside, pool & aside
    head = linear_model.LogisticRegression(max_iter=200, tol=1e-2)
    head.fit(features[learn], scan_labels[learn])
    return [100 * head.score(features[rows], scan_labels[rows]) for rows in (check, future)]


# %% [markdown]
# **Guess:** which promise will be higher, and by how many points will it be missed? We repeat it twelve times, each time with other writers in the future, because a single split can be lucky.

# %% tags=["nbval-ignore-output"]
outcome = {
    way: np.array([promise_and_truth(by_writer, seed) for seed in range(12)])
    for way, by_writer in {"at random": False, "by writer": True}.items()
}
rows = []
for way, values in outcome.items():
    for repeat, (promise, truth) in enumerate(values):
        rows.append([way, str(repeat), f"{promise:.1f}", f"{truth:.1f}", f"{promise - truth:+.1f}"])
print(plots.table(["images set aside", "repeat", "promised (%)", "came true (%)", "too good by"], rows))

# %% tags=["nbval-ignore-output"]
import matplotlib.figure

figure = matplotlib.figure.Figure(figsize=(9, 3), layout="constrained")
panels = figure.subplots(1, 2, sharex=True, sharey=True)
for axes, (way, values) in zip(panels, outcome.items(), strict=True):
    axes.hlines(range(12), values[:, 0], values[:, 1], color=plots.GREY, linewidth=1)
    axes.plot(values[:, 0], range(12), "o", color=plots.VERMILION, label="promised")
    axes.plot(values[:, 1], range(12), "s", color=plots.BLUE, label="came true")
    axes.set(title=f"set aside {way}", xlabel="accuracy (%)")
    axes.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("repeat")
panels[1].legend(frameon=False)
plots.show(
    figure,
    "Promised and true accuracy in twelve repeats, the numbers of the table above. Set aside at random, nearly "
    "every promise lies points above the truth. Set aside by writer, the promise scatters.",
)

# %% tags=["nbval-ignore-output"]
excess = {way: values[:, 0] - values[:, 1] for way, values in outcome.items()}
for way, points in excess.items():
    print(
        f"{way}: too good by {points.mean():+.1f} points on average (standard deviation {points.std(ddof=1):.1f})"
    )

# %% [markdown]
# Look at the left picture. The random split does not merely promise too much. It does so *reliably*: nearly always the same high number, which looks like certainty, and nearly always the truth lies below. The split by writer errs on both sides, and a single one may err by as much, since the two strangers set aside may be tidy or not. But it has no reason to flatter, and on average it does so far less.
#
# A few points may not sound like much. Think in mistakes.

# %%
assert (excess["at random"] > 0).sum() >= 9
assert abs(excess["by writer"].mean()) < excess["at random"].mean()
mistakes_promised, mistakes_made = 100 - outcome["at random"].mean(axis=0)
assert mistakes_made > 2 * mistakes_promised, (mistakes_made, mistakes_promised)
print("after a random split, at least nine of twelve promises were too good: True")
print("and strangers cause more than twice the mistakes that were promised: True")
print("averaged over the repeats, the promise by writer is nearer to the truth: True")

# %% [markdown]
# Neighbouring images are rarely independent: patients have several scans, cameras have a place, a video has frames, a photographer has a style. Ask of every data set: **what will be new when the network is used?** New writers, new patients, new cameras: split by that.
#
# The library does it when you pass `groups`: an array beside arrays, or for a folder a function of the file's path, such as `groups=lambda path: path.stem.split("_")[0]` if names begin with the patient's number. The embedded digits are always split by writer.
#
# ## 3. Duplicates: the same image twice
#
# The crudest leak is a copy. Web scrapes are full of them, and so are folders with a subfolder "new (2)". Let us make such a folder: 400 digits as files, every tenth saved again under another name.

# %%
import shutil

folder = pathlib.Path(tempfile.mkdtemp()) / "scans"
for row in range(400):
    place = folder / f"digit {scan_labels[row]}"
    place.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(scans[row]).save(place / f"scan {row:03}.png")
    if row % 10 == 0:
        shutil.copy(place / f"scan {row:03}.png", place / f"scan {row:03} (2).png")
files = sorted(folder.rglob("*.png"))
print(len(files), "files")

# %% [markdown]
# A *hash* is a fingerprint of a file's content: equal files have equal hashes, different files practically never do. So copies are found without comparing every file with every other. Here is the whole method, by hand.

# %%
import collections
import hashlib

same = collections.defaultdict(list)
for file in files:
    same[hashlib.sha256(file.read_bytes()).hexdigest()].append(file)
copies = [group for group in same.values() if len(group) > 1]
print(f"{len(copies)} images occur more than once, for example {[file.name for file in copies[0]]}")

# %% [markdown]
# **Guess:** if a random fifth of the files becomes the test part, how many of the 40 pairs will be torn, one copy to learn from, the other to be tested on? Such an image is tested on what was learned by heart.

# %%
from sklearn import model_selection

torn, right_on_torn, right_on_others = [], [], []
for seed in range(20):
    learn, test = model_selection.train_test_split(files, test_size=0.2, random_state=seed)
    known = {digest for digest, group in same.items() if set(group) & set(learn)}
    is_torn = np.array([hashlib.sha256(file.read_bytes()).hexdigest() in known for file in test])
    learn_rows, test_rows = ([int(file.stem[5:8]) for file in part] for part in (learn, test))
    head = linear_model.LogisticRegression(max_iter=200, tol=1e-2)
    head.fit(features[learn_rows], scan_labels[learn_rows])
    right = head.predict(features[test_rows]) == scan_labels[test_rows]
    torn.append(is_torn.sum())
    right_on_torn += list(right[is_torn])
    right_on_others += list(right[~is_torn])
print(f"torn pairs in 20 random splits: {np.mean(torn):.1f} on average, {min(torn)} to {max(torn)}")
print(f"expected: 40 pairs * 2 * 0.8 * 0.2 = {40 * 2 * 0.8 * 0.2:.1f}")

# %% tags=["nbval-ignore-output"]
print(
    f"right on torn images: {np.mean(right_on_torn):.1%}, on the other test images: {np.mean(right_on_others):.1%}"
)

# %%
assert np.mean(right_on_torn) > np.mean(right_on_others)
print("torn images are answered better than the others: True")

# %% [markdown]
# About a third of all pairs, and the torn ones are answered better than the others. Here the images are easy and the copies few, so the whole accuracy gains little; the harder the task, the more a copy gives away. `data.load` looks at the hashes for you, keeps one of each, and says so:

# %%
deduplicated = data.load(folder, image_size=(32, 32))
print(deduplicated)

# %%
digests = {
    part: {image.tobytes() for image, _ in getattr(deduplicated, part).as_numpy_iterator()}
    for part in ("train", "validation", "test")
}
assert sum(deduplicated.sizes.values()) == 400
assert not digests["train"] & digests["test"] and not digests["train"] & digests["validation"]
print("no image on two sides: True")

# %% [markdown]
# One more thing to know about this split: where an image goes depends on its file's *content*, not on the file's name or its place in a list. So copy the files under other names, in another order, and load them again.

# %%
renamed = folder.with_name("renamed")
for number, file in enumerate(reversed(files)):
    place = renamed / file.parent.name / f"{number:03}.png"
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, place)
again = data.load(renamed, image_size=(32, 32))
for part, images in digests.items():
    assert {image.tobytes() for image, _ in getattr(again, part).as_numpy_iterator()} == images
print("other names, and every image in the same part: True")

# %% [markdown]
# What a hash cannot find: the same photo scaled, cropped or saved anew. Such near-copies come from the same maker or moment; where you know it, pass it as `groups`.
#
# ## 4. Preprocessing: see as the network was taught to see
#
# A pretrained network has learned from pixels *in one particular form*, and its weights only make sense for that form. There is no standard. This is what some well-known networks make of one orange pixel, red 255, green 128, blue 0:

# %%
pixel = np.array([[[255.0, 128.0, 0.0]]])
for name in ("vgg16", "resnet", "mobilenet_v2", "efficientnet_v2", "convnext"):
    seen = getattr(keras.applications, name).preprocess_input(pixel.copy()).ravel()
    print(f"{name:16}", "  ".join(f"{value:8.2f}" for value in seen))

# %% [markdown]
# Look at the first two rows: the order is reversed, blue first, a habit of a program called Caffe that has outlived it by years. The last two seem to do nothing; those networks begin with layers that scale. In this course each network carries its own preprocessing inside, so you always hand over raw pixels:

# %%
rows = [
    [one.name, f"{one.image_size[0]}", f"{one.least_size}", one.preprocessing, one.licence]
    for one in backbones.ALL
]
print(plots.table(["backbone", "pixels", "at least", "what happens to raw pixels inside", "licence"], rows))

# %% [markdown]
# But you will meet models that do not, and code that scales "to be safe". What does a wrong choice cost? We train a head on frozen features, properly. Then we make three mistakes, each in a line that could stand in anybody's code.
#
# **Guess:** which of these is fatal, and which will you never notice?
#
# 1. `image / 255`, because a tutorial did that;
# 2. `image - 117`, because another tutorial did that;
# 3. the network's own preprocessing is left out.

# %% tags=["nbval-ignore-output"]
from finetune_lib import comparison, evaluation

model = comparison.frozen(dataset, backbone_name).model
right = evaluation.evaluate(model, dataset)
print(right)

# %% tags=["nbval-ignore-output"]
import dataclasses

import tensorflow as tf


def changed(change):
    """The data set with every image changed, in all its parts."""

    def change_pair(image, label):
        return change(tf.cast(image, tf.float32)), label

    parts = {part: getattr(dataset, part).map(change_pair) for part in ("train", "validation", "test")}
    return dataclasses.replace(dataset, **parts)


divided = changed(lambda image: image / 255)
shifted = changed(lambda image: image - 117)

# %% [markdown]
# (`changed` returns the data set with a function applied to every image, as `map` does for a list.)
#
# For the third mistake we need the network without its preprocessing. Our models are one chain of layers, so we can begin a new model in the middle: right before the first layer that has weights.

# %%
first = next(position for position, layer in enumerate(model.layers) if layer.weights)
bare = keras.Model(model.layers[first - 1].output, model.output, name="without_preprocessing")
print("begins with:", bare.layers[1].name)

# %% [markdown]
# (In this section we read the test part several times, since nothing will be decided by it.)

# %% tags=["nbval-ignore-output"]
results = {
    "as it should be": right,
    "image / 255": evaluation.evaluate(model, divided),
    "image - 117": evaluation.evaluate(model, shifted),
    "left out": evaluation.evaluate(bare, dataset),
}
makers = dataset.groups.get("test", np.arange(dataset.sizes["test"]))  # unknown: image by image
differences = {
    name: evaluation.bootstrap_difference(result.correct, right.correct, makers)
    for name, result in results.items()
    if result is not right
}
rows = [
    [name, f"{results[name].accuracy:.1%}", f"{100 * mean:+.1f}", f"{100 * low:+.1f} to {100 * high:+.1f}"]
    for name, (mean, low, high) in differences.items()
]
print(plots.table(["preprocessing", "accuracy", "points lost", "95% interval"], rows))

# %% [markdown]
# Which mistake is fatal depends on the network. Dividing by 255 leaves hardly more than guessing. Leaving the preprocessing out costs GlyphNet a few points on the wild digits; if you took MobileNetV2, look what it does there. A catastrophe you will notice. A loss of a few points looks like a network that is simply not very good, and nobody misses points they never had.

# %%
if (data_name, backbone_name) == ("digits_wild", "GlyphNet"):
    assert results["image / 255"].accuracy < 0.2
    for mistake in ("image - 117", "left out"):
        mean, low, high = differences[mistake]
        assert mean > -0.2 and high < 0, (mistake, differences[mistake])
    print("dividing is fatal; shifting and leaving out cost points in silence: True")

# %% [markdown]
# No loss, no warning and no error tells you. The ranges do: what the images hold, and what the first layer with weights receives. `fitting.diagnose` measures both.

# %%
from finetune_lib import fitting

for name, (network, images) in {
    "as it should be": (model, dataset),
    "image / 255": (model, divided),
    "image - 117": (model, shifted),
    "left out": (bare, dataset),
}.items():
    print(f"--- {name}\n{fitting.describe(fitting.diagnose(network, images))}\n")

# %% [markdown]
# ## 5. Augmentation: the same label, another look
#
# With 20 images of a class, the network learns them by heart. So before each use we change an image in ways that *keep its label*: then it never sees the same pixels twice. The first column below is the image as it is; the others are what one epoch after another gets to see.

# %%
chosen = list(dataset.train.take(3).as_numpy_iterator())
grid, titles = [], []
for row, (image, label) in enumerate(chosen):
    seeds = [tf.constant([row, number]) for number in range(7)]
    grid += [image, *(dataset.augment(tf.cast(image, tf.float32), seed).numpy() for seed in seeds)]
    titles += [dataset.class_names[label], *["augmented"] * 7]
plots.show(
    plots.image_grid(grid, titles, columns=8),
    "Three training images under their labels, each followed by seven augmented versions: turned, shifted, "
    "scaled, lighter or darker, for digits also inverted and noisy.",
)

# %% [markdown]
# Is there one that you could not read? The wild digits are distorted already, and now and then augmentation goes too far with them. How strong should the changes be? As strong as the variety you expect in use, and no stronger than a person can still read. If you cannot tell what an augmented image shows, the network is being taught to guess. Look at a grid like this one before every training.
#
# What keeps a label depends on the task. **Before you go on:** which of these changes would you allow for digits, which for flowers? A mirror image; half a turn; black for white; a slight turn; a different colour.

# %%
upside_down = [scans[scan_labels == digit][4] for digit in (6, 9, 2, 5, 3)]
plots.show(
    plots.image_grid(
        [
            *upside_down,
            *(image[::-1, ::-1] for image in upside_down),
            *(image[:, ::-1] for image in upside_down),
        ],
        ["6", "9", "2", "5", "3"] + ["half a turn"] * 5 + ["mirrored"] * 5,
        columns=5,
    ),
    "The digits 6, 9, 2, 5, 3; turned by 180 degrees, where 6 and 9 become each other; and mirrored, where 2 "
    "and 5 resemble each other and 3 is no digit any more.",
)

# %% [markdown]
# Half a turn makes a 6 of a 9: that would teach a wrong label. A flower may well be mirrored; a digit may not. Black for white, or another colour, leaves a digit what it is; a flower may become another flower. A slight turn is all right for both.
#
# One technical point: every change here is a function of the image **and a seed**, and the seed one of `(run, version, image)`, where an image has a new version in every epoch, or a few that come in turn (`views` in `fitting.fit`). Run it again and you get the same "random" images.

# %%
image = tf.cast(chosen[0][0], tf.float32)
once, again = (dataset.augment(image, tf.constant([3, 1])).numpy() for _ in range(2))
assert np.array_equal(once, again)
print("same seed, same picture: True")

# %% [markdown]
# ## 6. Imbalance: the rare classes
#
# Real classes are rarely the same size. We keep 40 training images each of the digits 0 to 4, and two each of 5 to 9, as if the latter were rare diseases.
#
# The loss is an average over images, so the common half has 20 times the say. The remedy is as old as statistics: let each image count in inverse proportion to the size of its class. scikit-learn computes such weights, and `fit` takes them.

# %%
from sklearn import metrics
from sklearn.utils import class_weight

from finetune_lib import freezing


def rare_after_four(rare, seed):
    """Wild digits, 40 training images each of 0 to 4 and ``rare`` each of 5 to 9; and the training labels."""
    full = data.load("digits_wild", labels_per_class=40, seed=seed)
    images, labels = map(np.stack, zip(*full.train.as_numpy_iterator(), strict=True))
    wanted = [40] * 5 + [rare] * 5
    kept = np.concatenate([np.flatnonzero(labels == digit)[: wanted[digit]] for digit in range(10)])
    train = tf.data.Dataset.from_tensor_slices((images[kept], labels[kept]))
    return dataclasses.replace(full, train=train, sizes=full.sizes | {"train": len(kept)}), labels[kept]


# %%
def balanced(labels):
    """The weight of each class, in inverse proportion to its size; 1 on average over the images."""
    return class_weight.compute_class_weight("balanced", classes=np.arange(10), y=labels)


unbalanced, unbalanced_labels = rare_after_four(rare=2, seed=0)
print("images: ", np.bincount(unbalanced_labels))
print("weights:", balanced(unbalanced_labels).round(2))

# %% [markdown]
# A wrong answer about a rare digit now costs twenty times as much as one about a common digit, so that both halves have the same say. To see what the weights are worth, we also ask what *more images* would be worth: ten of each rare digit instead of two, and no weights.
#
# **Guess:** what share of the fives to nines will be recognised in each case, and what will the weights cost the common classes? (The share of a class that is recognised is its *recall*.)


# %%
def recalls(rare, weigh, seed):
    """Train a head on frozen GlyphNet features; the recall of each class on the validation images."""
    images, labels = rare_after_four(rare, seed)
    keras.utils.set_random_seed(seed)
    model = freezing.freeze(classifier.build("GlyphNet", images.class_names))
    weights = dict(enumerate(balanced(labels))) if weigh else None
    recipe = dict(epochs=20, learning_rate=5e-3, augment=images.augment, verbose=0)
    fitting.fit(model, images, class_weights=weights, seed=seed, **recipe)
    result = evaluation.evaluate(model, images, "validation")
    return metrics.recall_score(result.labels, result.predictions, average=None)


# %% [markdown]
# Three draws of training images for each, so that we see the spread.

# %% tags=["nbval-ignore-output"]
cases = {"2 images": (2, False), "2 images, weighted": (2, True), "10 images": (10, False)}
recall = {
    name: 100 * np.array([recalls(rare, weigh, seed) for seed in range(3)])
    for name, (rare, weigh) in cases.items()
}
names = [f"{digit} ({'common' if digit < 5 else 'rare'})" for digit in range(10)]
plots.show(
    plots.bars(
        names,
        {name: values.mean(axis=0) for name, values in recall.items()},
        "recall on validation images (%), mean of three draws",
    ),
    "Recall of each class in percent, class by class: "
    + "; ".join(f"{name}: {values.mean(axis=0).round().astype(int)}" for name, values in recall.items()),
)

# %% tags=["nbval-ignore-output"]
rows = []
for name, values in recall.items():
    columns = [values[:, :5], values[:, 5:], values]  # common, rare, all ten
    means = [column.mean(axis=1) for column in columns]
    rows.append([name, *(f"{mean.mean():.1f} +- {mean.std(ddof=1):.1f}" for mean in means)])
print(plots.table(["mean recall (%)", "common classes", "rare classes", "all ten"], rows))

# %%
plain, weighted, more = (values.mean(axis=0) for values in recall.values())
assert (weighted - plain)[5:].mean() > 5 > (plain - weighted)[:5].mean()
assert more[5:].mean() > weighted[5:].mean()
print("weights: the rare classes gain more than 5 points, the common ones lose less: True")
print("ten images instead of two help the rare classes more than weights do: True")

# %% [markdown]
# Weights are no magic: they make two images count, but they cannot show the network a third seven.
#
# And mind what we looked at: the mean of the *recalls*, where every class counts the same. Suppose the test set were as lopsided as the training set, and we reported plain accuracy:

# %% tags=["nbval-ignore-output"]
shares = np.bincount(unbalanced_labels) / len(unbalanced_labels)
print(
    f"plain accuracy on a lopsided test set: {plain @ shares:.1f}%,",
    f"while {plain[5:].mean():.0f}% of the rare digits are recognised",
)

# %%
assert plain @ shares > 90 and plain[5:].mean() < 50
print("an accuracy over 90% hides rare classes of which more than half is missed: True")

# %% [markdown]
# So ask of every accuracy: *of what*? [Lesson 06](06_evaluate.ipynb) goes on from here.
#
# ## 7. The input pipeline: what is the network waiting for?
#
# Reading, decoding, scaling, changing, batching: each image goes this way in every epoch. If that takes longer than the network needs for its own work, the network waits, and a GPU does so expensively. The usual advice is to add every trick there is. Ours is to find out first who is waiting for whom, by measuring both sides in the same unit: images a second.
#
# For this we need larger files: 256 digits, blown up to 640x480 pixels, with a little grain, as JPEG.

# %%
folder = pathlib.Path(tempfile.mkdtemp())
for row in range(256):
    large = PIL.Image.fromarray(scans[row]).resize((640, 480), PIL.Image.Resampling.BICUBIC)
    grain = np.random.default_rng(row).normal(0, 8, (480, 640, 3))
    PIL.Image.fromarray(np.clip(np.asarray(large) + grain, 0, 255).astype("uint8")).save(
        folder / f"{row}.jpg"
    )
files = sorted(str(file) for file in folder.iterdir())
print(
    len(files),
    "files of about",
    round(np.mean([pathlib.Path(file).stat().st_size for file in files]) / 1000, -1),
    "kB",
)

# %% [markdown]
# The steps, one at a time. First a plain loop: read, decode, scale, and the next. Then `tf.data` with several images at once (`map` in parallel), which can gain at most as much as there are processor cores. Then `cache`, which keeps what was decoded: the first epoch is as slow as before, all others only copy memory. **Guess:** which of the two steps gains more?

# %% tags=["nbval-ignore-output"]
import time


def images_per_second(stream):
    """How many images come out of a stream of batches, each second."""
    start, count = time.perf_counter(), 0
    for images, _ in stream:
        count += len(images)
    return count / (time.perf_counter() - start)


start = time.perf_counter()
for file in files:
    photos.read(pathlib.Path(file).read_bytes(), (224, 224))
speed = {"one after the other": len(files) / (time.perf_counter() - start)}

decoded = photos.stream_files(files, scan_labels[:256], (224, 224))
speed["parallel map"] = images_per_second(decoded.batch(32))
kept = decoded.cache()
images_per_second(kept.batch(32))  # the first epoch fills the cache
speed["cache, from the second epoch on"] = images_per_second(kept.batch(32))

# %% [markdown]
# And the other side: how fast is the network? We take MobileNetV2 in its smallest size, frozen, so that it only runs forward. Its weights do not matter for its speed, so random ones do.

# %% tags=["nbval-ignore-output"]
network = classifier.build("MobileNetV2", ["a", "b"], weights=None)
batch = tf.cast(next(iter(kept.batch(32)))[0], tf.float32)
forward = tf.function(lambda images: network(images, training=False))
forward(batch)  # the first call compiles
start = time.perf_counter()
for _ in range(8):
    forward(batch).numpy()
network_speed = 8 * 32 / (time.perf_counter() - start)
names = [*speed, "MobileNetV2, frozen"]
figure = plots.bars(
    names, {"speed": [*speed.values(), network_speed]}, "images per second (logarithmic scale)"
)
figure.axes[0].set(xscale="log", xlim=(10, None))
plots.show(
    figure,
    "Images per second after each step of the pipeline, and how many a frozen MobileNetV2 takes: "
    + ", ".join(f"{name} {value:.0f}" for name, value in speed.items())
    + f", MobileNetV2 {network_speed:.0f}.",
)

# %% tags=["nbval-ignore-output"]
print(plots.table(["step", "images per second"], [[name, f"{value:.0f}"] for name, value in speed.items()]))
both = 1 / (1 / speed["parallel map"] + 1 / network_speed)
print(
    f"MobileNetV2 takes {network_speed:.0f} a second; in turns with decoding on the same cores, {both:.0f}."
)

# %% [markdown]
# The cache is what gains; on two cores the parallel map may gain little or nothing, since `tf.data` has work of its own. Now compare with the network. Without a GPU both sides share the same cores, so their times add up, as in the last line: an image costs 1/decoding + 1/network seconds, and a cache saves the first part. With a GPU the network's bar grows many times longer while decoding stays as slow as the cores are: then decoding is nearly all you wait for. (`data.load` keeps for you as many parts as fit into 512 MB.)
#
# The price is that whatever comes before `cache` is frozen too. Augmentation must come *after* it, or the network sees the same "random" change in every epoch, a mistake that is easy to make and hard to notice.
#
# Last, **prefetch**: prepare the next batch while the network works on this one. **Guess:** will it help on the machine you are sitting at?


# %% tags=["nbval-ignore-output"]
def epoch_seconds(stream):
    """How long the network takes for one pass, decoding included."""
    start = time.perf_counter()
    for images, _ in stream:
        forward(tf.cast(images, tf.float32)).numpy()
    return time.perf_counter() - start


in_turns = decoded.take(128).batch(32)
ahead = decoded.take(128).batch(32).prefetch(tf.data.AUTOTUNE)
epoch_seconds(ahead)  # not measured: the first pass warms up
ratios = [epoch_seconds(in_turns) / epoch_seconds(ahead) for _ in range(5)]
print(
    f"time without prefetch / with it: {np.median(ratios):.2f} "
    f"(five pairs: {min(ratios):.2f} to {max(ratios):.2f})"
)

# %% [markdown]
# Above 1, prefetching gained. If 1 lies between the smallest and the largest ratio, nothing can be said. Without a GPU both sides share the same processor cores, and preparing ahead only moves the work. With a GPU the cores are idle while it computes, and prefetching is nearly free: so `fitting.fit` always does it.
#
# ## Your own folder
#
# Give a folder of your own (on Colab: upload a zip, unpack it with `!unzip`, and name the folder), or leave it empty to look at the digits. Look at the counts, the notes and the pictures before you train anything on it.

# %%
# @title Your folder of class folders { display-mode: "form" }
your_folder = ""  # @param {type: "string"}

yours = data.load(your_folder, skip_unreadable=True) if your_folder else deduplicated
print(yours)
counts = collections.Counter(int(label) for _, label in yours.train.as_numpy_iterator())
print("training images of each class:", {yours.class_names[label]: counts[label] for label in sorted(counts)})

# %%
pairs = list(yours.train.take(10).as_numpy_iterator())
names = [yours.class_names[label] for _, label in pairs]
plots.show(
    plots.image_grid([image for image, _ in pairs], names), f"Ten training images: {', '.join(names)}."
)

# %% [markdown]
# To train on it without a notebook: `python -m finetune_lib --data FOLDER`; `--help` explains the rest.
#
# ## Summary
#
# - **Loading** is a decision about every file: upright, RGB, 0 to 255; what cannot be read is named.
# - A **split** must imitate the future: whatever will be new then (writers, patients, cameras) must be new to the test. At random, nearly every promise came out too good.
# - **Copies** are found by hash, and one of each is kept.
# - **Preprocessing** belongs inside the model. A mistake that costs a few points is harder to find than a fatal one.
# - **Augmentation** must keep the label, and should depend on a seed alone.
# - **Class weights** give rare classes a say; more images of them would do more.
# - **Measure** the pipeline in images a second before you tune it.
#
# ## What next
#
# **Practise first:** [the exercises](exercises/03_data.ipynb) check what you write, and say what it shows. They take about 50 minutes.
#
# The images are ready. In [lesson 04](04_freeze_and_fit.ipynb), *Freeze and fit*, the classic recipe meets them line by line, and we see why computing the features once, as we did in section 2, is so fast.
#
# ## Further reading
#
# - S. Kapoor and A. Narayanan, [Leakage and the reproducibility crisis in machine-learning-based science](https://doi.org/10.1016/j.patter.2023.100804), Patterns 2023: leakage in 294 published papers across 17 fields.
# - INRIA, scikit-learn MOOC, [Sample grouping](https://inria.github.io/scikit-learn-mooc/python_scripts/cross_validation_grouping.html): the same digits, the same writers.
# - B. Barz and J. Denzler, [Do we train on test data? Purging CIFAR of near-duplicates](https://arxiv.org/abs/1902.00423), 2020: 3.3% of CIFAR-10's test images have a twin in its training set, 10% of CIFAR-100's.
# - M. Buda et al., [A systematic study of the class imbalance problem in convolutional neural networks](https://arxiv.org/abs/1710.05381), 2018.
# - TensorFlow, [Better performance with the tf.data API](https://www.tensorflow.org/guide/data_performance): map, cache and prefetch in detail.
