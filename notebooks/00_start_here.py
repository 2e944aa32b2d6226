# %% [markdown]
# # Start here: fine-tune a network in five steps
#
# In this notebook, we take a neural network that has learned one thing and teach it another, from five examples of each class.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/00_start_here.ipynb)
#
# **Time:** about 20 minutes to read and try, more with photos of your own: the code runs for about 1 minute on a CPU with two cores, an estimated 1 minute on a T4. The results of an earlier run are stored below. To guess honestly, clear them first (Colab: *Edit > Clear all outputs*; JupyterLab: *Edit > Clear Outputs of All Cells*).
#
# ## Learning objectives
#
# After this notebook, you will be able to
#
# - name the five steps from a pretrained network to one that works for you: **choose, prepare, fine-tune, evaluate, deploy**;
# - say in one sentence each what training **from scratch**, **frozen features** and **fine-tuning** are;
# - read a test accuracy together with its interval, and say why a single number is not enough;
# - try all of it on a few photos of your own.
#
# You need no experience with neural networks, only a little Python. Press the play button of each cell from top to bottom, and stop where a question asks you to guess. A guess that turns out wrong is the fastest way to learn.
#
# **Terms of this lesson**, in English and 中文: [transfer learning](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#transfer-learning), [backbone](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#backbone), [head](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#head), [feature](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#feature), [from scratch](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#from-scratch), [fine-tuning](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#fine-tuning), [freeze boundary](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#freeze-boundary), [augmentation](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#augmentation), [step](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#step), [epoch](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#epoch), [test part](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#test-part), [interval](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#interval), [model card](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#model-card).

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
# The lines above say what this machine has: versions, and a GPU if there is one. A GPU is a processor made for many small sums at once, which is most of what a neural network does. Nothing in this notebook needs one, but real photos are more fun with it. On Colab you get one (a "T4") for free under **Runtime > Change runtime type > T4 GPU > Save**. Colab then starts a fresh machine, so run the notebook again from the top.
#
# ## Choose the data and the network
#
# The cell below is the one choice to make. `auto` takes **photos** of flowers and MobileNetV2, a network pretrained on ImageNet's million photos, if both can be had here, as on Colab. Otherwise it takes what comes with the course: handwritten **digits**, and GlyphNet, a small network that we pretrained on *printed letters and symbols*. The code that follows is the same for both. Where the text speaks of digits, read flowers if you took those.

# %%
# @title What shall we learn, and from which network? { display-mode: "form" }
data_name = "auto"  # @param ["auto", "digits_wild", "digits", "tf_flowers"] {allow-input: true}
backbone_name = "auto"  # @param ["auto", "GlyphNet", "MobileNetV2", "EfficientNetV2B0", "VGG16"]
labels_per_class = 5  # @param {type: "integer"}

from finetune_lib import classifier

data_name, backbone_name = classifier.choose(data_name, backbone_name)

# %% [markdown]
# ## Step 1: choose a pretrained network
#
# A neural network is a chain of **layers**. Each layer takes numbers in, multiplies them by **weights** (also called parameters), and hands the results on. *Learning* means adjusting the weights, a little at a time, so that the answers get better.
#
# A network that sorts images has two parts. The **backbone**, most of the chain, turns pixels into a hundred or a thousand numbers called *features*: this much of a vertical stroke, that much of a closed loop. The **head** is the last layer, which weighs the features and gives each class a score (a *logit*; the highest score wins).
#
# Training a backbone takes many images. Somebody else has often done it already, for another task. Because edges, strokes and corners are useful in almost every picture, their backbone can be a far better start than random numbers; we shall measure it. That is **transfer learning**, and choosing whose backbone to take is the first step.

# %%
from finetune_lib import backbones, freezing

backbone = backbones.get(backbone_name)
print(
    f"{backbone.name}: images of {backbone.image_size} pixels, pretrained on", " or ".join(backbone.weights)
)

# %% [markdown]
# A *model card* says what a network has seen and how well it did there. Reading it is part of choosing. This is GlyphNet's. Note what is not on the list: it has never seen a digit, nor anything written by hand. But a sceptic will spot an O, an I, a Z and an S: shapes that digits share. Shared shapes are exactly what transfers.

# %%
import textwrap

from finetune_lib import glyphnet

card = glyphnet.model_cards()["glyphs"]
print(textwrap.fill("It saw " + card["saw"] + ".", 90))
print(
    f"{card['pictures']:,} pictures; right on {card['held_out_accuracy']['glyphs in fonts never seen']:.0%} "
    "of glyphs in fonts it had never seen."
)

# %%
import numpy as np

from finetune_lib import plots

images, labels = next(iter(glyphnet.glyph_stream(glyphnet.TRAINING_FONTS, steps=1, seed=0)))
names = [glyphnet.GLYPHS[label] for label in labels[:20]]
plots.show(
    plots.image_grid(np.asarray(images[:20]), names),
    "Twenty of the pictures GlyphNet learned from, printed letters and symbols, small, skewed and noisy: "
    + " ".join(names),
)

# %% [markdown]
# ## Step 2: prepare the data
#
# A learner needs three separate piles of images (later lessons say *parts*).
#
# - **Training** images are what the network learns from. We take only a few of each class: labels cost somebody's time.
# - **Validation** images tell *us* how the training goes. All our decisions are made on them.
# - **Test** images are read at the end, when nothing is left to decide. A result on images that influenced a decision would flatter us.
#
# The digits' piles also come from *different people*. A network that knows somebody's handwriting already would do better than it will with a stranger's.

# %%
from finetune_lib import data

dataset = data.load(data_name, labels_per_class=labels_per_class)
print(dataset)
print("From:", dataset.provenance)

# %%
count = min(50, dataset.sizes["train"])
pairs = list(dataset.train.take(count).as_numpy_iterator())
names = [dataset.class_names[label] for _, label in pairs]
plots.show(
    plots.image_grid(np.stack([image for image, _ in pairs]), names),
    f"The {count} training images, each under its label: {', '.join(sorted(set(names)))}.",
)

# %% [markdown]
# These are all the images the network will learn from. The digits are real handwriting, made harder on purpose: turned, shifted, faded, noisy, half of them dark on bright. They are still easy for you. **How many of a hundred new ones will a network get right after seeing only these?** With ten classes, somebody who guesses blindly gets ten.
#
# ## Step 3: fine-tune
#
# We train three networks of the very same shape on the very same images. Each time an image comes up it is turned, shifted, faded or inverted a little differently. This is called *augmentation*. One look at up to 32 images, after which the weights are adjusted, is a *step*; one round through all training images is an *epoch*.
#
# 1. **From scratch**: every weight of the backbone starts as a random number. There is no transfer.
# 2. **Frozen**: the pretrained backbone stays as it is. Only a new head learns. What the backbone makes of an image is then always the same, so the library computes it once, for eight versions of each image, and trains the head on that. (Watch how long this one takes.)
# 3. **Fine-tuned**: we take the frozen network with its trained head, *unfreeze* layers of the backbone, and let them go on learning, more slowly.
#
# To be fair to the first, it takes as many steps as the other two stages together: it has further to go. (Without a GPU a large network for photos would keep you waiting, so there this one is left out.)
#
# **Guess now:** in which order will they finish, and how far apart? Write down three percentages.

# %% tags=["nbval-ignore-output"]
import dataclasses

from finetune_lib import comparison

head_recipe, tune_recipe = comparison.recipes(backbone_name)
if backbone_name == "GlyphNet":  # 300 steps each, half of the usual, so that you need not wait long
    head_recipe, tune_recipe = (
        dataclasses.replace(recipe, steps=recipe.steps // 2) for recipe in (head_recipe, tune_recipe)
    )
answers = []
if backbone_name == "GlyphNet" or environment.gpu_names():
    recipe = comparison.Recipe(head_recipe.steps + tune_recipe.steps, comparison.SCRATCH.learning_rate)
    answers.append(comparison.from_scratch(dataset, backbone_name, recipe=recipe))

# %% tags=["nbval-ignore-output"]
frozen = comparison.frozen(dataset, backbone_name, recipe=head_recipe)
print(frozen.reports[-1])

# %% [markdown]
# Read the second line of the report: a small share of the parameters was trained, one layer moved, and the others are bit-identical. The library checks that after every training, because a network that is frozen in name only is a common and silent mistake. (*Loss* is the number that training pushes down: how surprised the network is by the right answers.)
#
# Now we move the **freeze boundary**. The named layer and all after it may learn; whatever lies before it stays. For GlyphNet the named layer is the very first one, so nothing stays frozen; for MobileNetV2 it is one in the middle.

# %% tags=["nbval-ignore-output"]
tuned = comparison.fine_tuned(frozen, dataset, unfreeze_from=backbone.fine_tune_from, recipe=tune_recipe)
answers += [frozen, tuned]
print(tuned.reports[-1])

# %%
print(freezing.table(tuned.model, tuned.reports[-1]))

# %% [markdown]
# How did the learning go? The curves show both stages one after the other: first the head alone, then more. The grey line is where the boundary moved. Ask yourself: when did the network know its few training images by heart? Did the validation accuracy follow? And after the boundary moved, did validation accuracy and validation loss tell the same story? (A network can be right more often and, where it is wrong, surer of it.)

# %% tags=["nbval-ignore-output"]
plots.show(
    plots.learning_curves(tuned.reports),
    "Learning curves of both stages: loss and accuracy on training and validation images, epoch by epoch.",
)
print(plots.learning_curves_table(tuned.reports))

# %% [markdown]
# ## Step 4: evaluate
#
# Now the test images. Next to each accuracy stands its **95% interval**. With other test images from the same sources we would get a slightly different number; the interval says how different.

# %% tags=["nbval-ignore-output"]
from finetune_lib import evaluation, results

evaluations = [evaluation.evaluate(answer.model, dataset) for answer in answers]
print(results.table(answers, evaluations))

# %% [markdown]
# Compare with your guess. On the digits, both networks that start from pretrained features beat the one that starts from nothing, which took as many steps. The next cell holds us to this claim: it fails if it is not so. How *far* they beat it is partly a matter of patience: with four times the steps, training from scratch comes within a few points of frozen features ([lesson 01](01_transfer_learning.ipynb), section 4).

# %%
accuracy = {answer.name: result.accuracy for answer, result in zip(answers, evaluations, strict=True)}
if (data_name, backbone_name, labels_per_class) == ("digits_wild", "GlyphNet", 5):
    assert min(accuracy["frozen"], accuracy["fine-tuned"]) > accuracy["from scratch"], accuracy
    print("frozen and fine-tuned both beat from scratch: True")

# %% [markdown]
# And did fine-tuning gain anything over frozen features? Their intervals overlap, but that settles nothing: both met the *same* images, so hard images hurt both. We compare image by image, and ask how the difference would change with other writers (a *bootstrap*: draw as many writers as there are, some of them twice, and look again, ten thousand times).
#
# **Guess first:** can one run on a few hundred images tell two good networks apart?

# %% tags=["nbval-ignore-output"]
correct = [result.correct for result in evaluations[-2:]]
groups = dataset.groups.get("test", np.arange(dataset.sizes["test"]))  # without known writers, image by image
difference, low, high = evaluation.bootstrap_difference(correct[1], correct[0], groups)
print(f"fine-tuned minus frozen: {difference:+.1%} (95% interval {low:+.1%} to {high:+.1%})")
print("On these test writers they", "differ." if low > 0 or high < 0 else "cannot be told apart.")

# %% [markdown]
# If the interval holds zero, this run proves nothing either way, however tempting the percentages look. And even if it does not, other training images might turn the tables. So the course's benchmark repeats the comparison on the digits with ten draws of training images, with more labels, with twice the steps, and four times for training from scratch; its table stands in the [README](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/README.md). Never trust a single run, ours included.
#
# A percentage hides *which* images go wrong. So look at some.

# %% tags=["nbval-ignore-output"]
result = evaluations[-1]
wrong = np.flatnonzero(~result.correct)[:10]
test_images = [image for image, _ in dataset.test.as_numpy_iterator()]
names = [
    f"{result.class_names[result.labels[i]]} as {result.class_names[result.predictions[i]]}" for i in wrong
]
plots.show(
    plots.image_grid([test_images[i] for i in wrong], names),
    "Test images that the fine-tuned network got wrong, the truth and its answer above each: "
    + ", ".join(names),
)

# %% tags=["nbval-ignore-output"]
plots.show(
    plots.confusion_matrix(result),
    f"Confusion matrix of {len(result.labels)} test images, true class by row, predicted class by column.",
)
print(plots.confusion_table(result))

# %% [markdown]
# Would you have got all of these right? If you are looking at digits, compare the wrong sevens with the sevens among the training images: what do many of them have that the others lack? [Lesson 06](06_evaluate.ipynb) goes on from here: which mistakes are the network's, which are the label's, and how sure the network was.
#
# ## Step 5: deploy
#
# A model that lives in a notebook helps nobody. The least that *deploying* means: save it to a file, load that file where it is needed, and get the same answers. The preprocessing is inside the model, so whoever uses it hands over plain pixels, 0 to 255, and need not know what this network likes its pixels scaled to. [Lesson 07](07_deploy.ipynb) will put it behind a web address with TensorFlow Serving and AWS Lambda.

# %%
import keras

tuned.model.save("my_first_model.keras")
loaded = keras.saving.load_model("my_first_model.keras")
images = np.stack([image for image, _ in dataset.test.take(8).as_numpy_iterator()]).astype("float32")
assert np.allclose(loaded.predict(images, verbose=0), tuned.model.predict(images, verbose=0), atol=1e-4)
print("my_first_model.keras gives the same answers: True")

# %% [markdown]
# ## Your own photos
#
# Now for two things of yours: a cup and a pen, your cat and the neighbour's, two plants. Name them, then give at least **six photos of each**. Turn the thing, move the light, change the background: whatever stays the same in all photos of one thing is what the network will go by.

# %%
# @title Name your two things, and how the photos come { display-mode: "form" }
first_thing = "cup"  # @param {type: "string"}
second_thing = "pen"  # @param {type: "string"}
how = "stand-ins"  # @param ["stand-ins", "upload", "webcam"]

from finetune_lib import widgets

if how != "stand-ins" and not backbones.photo_weights_available():
    print(backbones.missing_weights_message(backbones.mobilenet_v2_url()))
boxes = {name: widgets.photo_box(name) for name in (first_thing, second_thing)} if how == "upload" else {}

# %% [markdown]
# - `upload`: run the cell above; on Colab a dialogue asks for files, elsewhere a button appears. Choose all photos of a thing at once.
# - `webcam` (Colab only): the next cell takes six photos of each thing, one press each.
# - `stand-ins`: images of the first two classes of our data, handed over as files just as photos would be, so that you see what happens.

# %%
if how == "upload":
    photos = {name: widgets.photos_in(box) for name, box in boxes.items()}
elif how == "webcam":
    names = (first_thing, second_thing)
    photos = {name: [widgets.take_photo(f"{name}, photo {i} of 6") for i in range(1, 7)] for name in names}
else:
    photos = data.example_photos(dataset, dataset.class_names[:2], count=13)
set_aside = [file for files in photos.values() for file in files[-1:]]  # the last of each, for the very end
photos = {name: files[:-1] for name, files in photos.items()}
print(how, {name: len(files) for name, files in photos.items()})

# %% [markdown]
# Photos of things need a backbone that has seen photos: MobileNetV2, whose weights are a download of 2 MB. The stand-ins keep the backbone from above. The rest is what you know already: freeze, train the head, unfreeze, train on. A hundred steps of each are plenty for so few images, and take less than a minute.

# %% tags=["nbval-ignore-output"]
own_backbone = backbone if how == "stand-ins" else backbones.get("MobileNetV2")
own = data.from_photos(photos, image_size=own_backbone.image_size)
print(own)
own_head, own_tune = (comparison.Recipe(steps=100, learning_rate=rate) for rate in (1e-3, 1e-4))
own_frozen = comparison.frozen(own, own_backbone.name, recipe=own_head)
own_tuned = comparison.fine_tuned(own_frozen, own, unfreeze_from=own_backbone.fine_tune_from, recipe=own_tune)

# %% [markdown]
# A fifth of the photos of each thing was kept back as the test pile. These the network has never seen. What does it say?

# %% tags=["nbval-ignore-output"]
own_result = evaluation.evaluate(own_tuned.model, own)
names = [
    f"{own.class_names[prediction]}, {probability:.0%}"
    for prediction, probability in zip(
        own_result.predictions, own_result.probabilities.max(axis=1), strict=True
    )
]
own_images = [image for image, _ in own.test.as_numpy_iterator()]
plots.show(
    plots.image_grid(own_images, names, columns=6), "Photos kept back, and the answers: " + "; ".join(names)
)
print(own_result)

# %% [markdown]
# Look at the interval behind the accuracy: with a handful of test photos it is very wide. That is honest. It shrinks when you test on more photos, and only then.
#
# Now a new one. **Try this:** photograph one of the things in front of a background that none of the photos had. If the network fails, what has it learned instead of your things?

# %%
new_box = widgets.photo_box("a new photo") if how == "upload" else []

# %% tags=["nbval-ignore-output"]
if how == "webcam":
    new_box = [widgets.take_photo("a new photo")]
new_photos = widgets.photos_in(new_box) or set_aside
for name, probability in evaluation.classify(own_tuned.model, new_photos, own.class_names):
    print(f"This is a {name}, with probability {probability:.0%}.")

# %% [markdown]
# ## Summary
#
# - **Choose** a backbone that was pretrained on something related, and read its model card.
# - **Prepare** three piles of images that share nothing, not even a writer.
# - **Fine-tune** in two stages: first the head on frozen features, then more layers, more slowly. Check what moved.
# - **Evaluate** once on the test pile, with an interval, and look at the mistakes.
# - **Deploy** the model with its preprocessing inside, and check that its answers are the same.
#
# ## What next
#
# **Practise first:** [the exercises](exercises/00_start_here.ipynb) check what you write, and say what it shows. They take about 30 minutes. What you got right is kept: a table at the end of each exercise notebook counts it for all lessons, also after a restart. On Colab, mount Google Drive for that, as the first code cell says.
#
# This is the map of the course. Each lesson is a notebook of its own.
#
# | lesson | question it answers |
# |---|---|
# | 00 Start here | What are the five steps? *(this notebook)* |
# | [01 Transfer learning](01_transfer_learning.ipynb) | What transfers, when does it help, and when does it hurt? |
# | 02 Gradient descent, [a](02a_gradient_descent.ipynb) and [b](02b_fine_tuning_as_descent.ipynb) | What does one step of learning do, in formulas and in pictures? |
# | [03 Data](03_data.ipynb) | What can go wrong before training even starts? |
# | [04 Freeze and fit](04_freeze_and_fit.ipynb) | How does the classic recipe work, line by line? |
# | [05 Fine-tune](05_fine_tune.ipynb) | How deep, how fast, and with which safeguards? |
# | [06 Evaluate](06_evaluate.ipynb) | How good is it, how sure are we, and what does it look at? |
# | [07 Deploy](07_deploy.ipynb) | How does it answer requests, on a server or as a function? |
# | [08 Compress](08_compress.ipynb) | How small and how fast can it get? |
#
# ## Further reading
#
# - J. Yosinski et al., [How transferable are features in deep neural networks?](https://arxiv.org/abs/1411.1792), 2014: the experiment behind "early layers are general, late layers are specific".
# - A. Kumar et al., [Fine-tuning can distort pretrained features and underperform out-of-distribution](https://arxiv.org/abs/2202.10054), 2022: why the head comes first.
# - M. Sandler et al., [MobileNetV2](https://arxiv.org/abs/1801.04381), 2018: the network for photos used here.
# - Keras' guide [Transfer learning and fine-tuning](https://keras.io/guides/transfer_learning/): the same idea in plain Keras.
