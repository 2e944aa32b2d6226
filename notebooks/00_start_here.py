# %% [markdown]
# # Start here: fine-tune a network in five steps
#
# In this notebook, we take a neural network that has learned one thing and teach it another, from five examples of each class.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/00_start_here.ipynb)
#
# **Time:** about 5 minutes of reading; the code runs for about 1 minute on a CPU and 1 minute on a T4.
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

# %% tags=["nbval-ignore-output"]
# On Colab: install the course's library, change nothing that is preinstalled. Everywhere: say what runs here.
environment.report()

# %% [markdown]
# The line above says what this machine has. Everything in this notebook runs without a GPU. With real photos a GPU is several times faster: on Colab you get a free one under **Runtime > Change runtime type > T4 GPU > Save**. Colab then starts a fresh machine, so run the notebook again from the top.
#
# ## Choose the data and the network
#
# The cell below is the only setting in this notebook. `auto` takes photos of flowers and a network pretrained on ImageNet if both can be had here, which is so on Colab. Without a network it takes what comes with the course: handwritten digits, and GlyphNet, a small network that we pretrained on *printed letters and symbols*. The rest of the notebook is the same for both.

# %%
# @title What shall we learn, and from which network? { display-mode: "form" }
data_name = "auto"  # @param ["auto", "digits_wild", "digits", "tf_flowers"] {allow-input: true}
backbone_name = "auto"  # @param ["auto", "GlyphNet", "MobileNetV2"]
labels_per_class = 5  # @param {type: "integer"}

from finetune_lib import classifier

data_name, backbone_name = classifier.choose(data_name, backbone_name)

# %% [markdown]
# ## Step 1: choose a pretrained network
#
# A network that sorts images has two parts. The **backbone** is a long chain of layers that turns pixels into a few hundred numbers called *features*: this much of a vertical stroke, that much of a closed loop. The **head** is one last layer that weighs the features and names a class.
#
# Training a backbone takes many images. Somebody else has often done it already, for another task. Because edges, strokes and corners are useful in almost every picture, their backbone is a far better start than random numbers. That is **transfer learning**, and choosing whose backbone to take is the first step.

# %%
from finetune_lib import backbones, freezing

backbone = backbones.get(backbone_name)
print(backbone.name, "expects", backbone.image_size, "pixels; weights:", ", ".join(backbone.weights))

# %% [markdown]
# GlyphNet comes with a *model card*, which says what it has seen and how well it did there. Reading it is part of choosing. Note what is missing from its list: GlyphNet has never seen a digit, nor anything written by hand.

# %%
import textwrap

from finetune_lib import glyphnet

card = glyphnet.model_cards()["glyphs"]
print(textwrap.fill("It saw " + card["saw"] + ".", 90))
print(f"{card['pictures']:,} pictures; right on {card['held_out_accuracy']['glyphs in fonts never seen']:.0%} "
      "of glyphs in fonts it had never seen.")

# %%
import numpy as np

from finetune_lib import plots

images, labels = next(iter(glyphnet.glyph_stream(glyphnet.TRAINING_FONTS, steps=1, seed=0)))
names = [glyphnet.GLYPHS[label] for label in labels[:20]]
plots.show(
    plots.image_grid(np.asarray(images[:20]), names),
    "Twenty of the pictures GlyphNet learned from, printed letters and symbols, small, skewed and noisy: " + " ".join(names),
)

# %% [markdown]
# ## Step 2: prepare the data
#
# A learner needs three separate piles of images.
#
# - **Training** images are what the network learns from. We take only five of each class: labels cost somebody's time.
# - **Validation** images tell *us* how the training goes. All our decisions are made on them.
# - **Test** images are looked at once, at the end. A result on images that influenced any decision would flatter us.
#
# For the digits the piles also differ in *who wrote them*. A network that knows a person's handwriting already would do better than it will with a stranger's.

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
# These are all the labelled images we have. The digits are real handwriting, made harder on purpose: turned, shifted, faded, noisy, half of them dark on bright. The classes are easy for you. **How many of a thousand new ones would a network get right after seeing only these?** Somebody who guesses blindly gets one in ten.
#
# ## Step 3: fine-tune
#
# We train three networks of the very same shape on the very same images, each with the recipe that suited it best on validation images. Before each step training images are turned and shifted a little at random, so that no picture comes twice. This is called *augmentation*.
#
# 1. **From scratch**: every weight starts as a random number. There is no transfer.
# 2. **Frozen**: the pretrained backbone stays as it is. Only a new head learns.
# 3. **Fine-tuned**: we take the frozen network with its trained head, *unfreeze* the backbone, and let everything go on learning, more slowly.
#
# **Guess now:** in which order will they finish, and how far apart? Write down three percentages.

# %% tags=["nbval-ignore-output"]
from finetune_lib import comparison

answers = []
if backbone_name == "GlyphNet" or environment.gpu_names():  # a large network from scratch is too slow without a GPU
    answers.append(comparison.from_scratch(dataset, backbone_name))

# %% tags=["nbval-ignore-output"]
frozen = comparison.frozen(dataset, backbone_name)
print(frozen.reports[-1])

# %% [markdown]
# The report above says what moved: the head, and nothing else. Every frozen weight is still the same to the last bit. `fit` checks that after each training, because a network that is frozen in name only is a common and silent mistake.
#
# Now we move the **freeze boundary**. Everything from the named layer on may learn; whatever lies before it stays.

# %% tags=["nbval-ignore-output"]
tuned = comparison.fine_tuned(frozen, dataset, unfreeze_from=backbone.fine_tune_from)
answers += [frozen, tuned]
print(tuned.reports[-1])

# %%
print(freezing.table(tuned.model, tuned.reports[-1]))

# %% [markdown]
# How did the learning go? The curves show both stages one after the other: first the head alone, then everything. Look at the step where the boundary moves.

# %% tags=["nbval-ignore-output"]
plots.show(
    plots.learning_curves(tuned.reports),
    "Learning curves of both stages: loss and accuracy on training and validation images, epoch by epoch.",
)
print(plots.learning_curves_table(tuned.reports))

# %% [markdown]
# ## Step 4: evaluate
#
# Now, once, the test images. Next to each accuracy stands its **95% interval**. With another few hundred test images from the same sources we would get a slightly different number; the interval says how different. Two results whose intervals overlap widely are not worth arguing about.

# %% tags=["nbval-ignore-output"]
from finetune_lib import evaluation, results

evaluations = [evaluation.evaluate(answer.model, dataset) for answer in answers]
print(results.table(answers, evaluations))

# %% [markdown]
# Compare with your guess. With five examples of each digit, the pretrained features alone beat everything that the same network can learn from scratch, and fine-tuning adds to that. The next cell holds us to this claim: it fails if it is not so.

# %%
accuracy = {answer.name: result.accuracy for answer, result in zip(answers, evaluations, strict=True)}
assert accuracy["fine-tuned"] > accuracy["frozen"] > accuracy.get("from scratch", 0), accuracy
print("from scratch < frozen < fine-tuned: True")

# %% [markdown]
# This was one draw of fifty training images. With other draws the percentages change by a point or two, and so we repeat the whole comparison ten times in the course's benchmark (`tests/benchmarks/digits_transfer.py`); its table is in the README. Never trust a single run, ours included.
#
# A percentage hides *which* images go wrong. So look at them.

# %% tags=["nbval-ignore-output"]
result = evaluations[-1]
wrong = np.flatnonzero(~result.correct)[:10]
test_images = [image for image, _ in dataset.test.as_numpy_iterator()]
names = [f"{result.class_names[result.labels[i]]} as {result.class_names[result.predictions[i]]}" for i in wrong]
plots.show(
    plots.image_grid(np.stack([test_images[i] for i in wrong]), names),
    "Test images that the fine-tuned network got wrong, the truth and its answer above each: " + ", ".join(names),
)

# %% tags=["nbval-ignore-output"]
plots.show(
    plots.confusion_matrix(result),
    f"Confusion matrix of {len(result.labels)} test images, true class by row, predicted class by column.",
)
print(plots.confusion_table(result))

# %% [markdown]
# Would you have got all of these right? Lesson 06 goes on from here: which mistakes are the network's, which are the label's, and how sure the network was.
#
# ## Step 5: deploy
#
# A model that lives in a notebook helps nobody. The least that *deploying* means: save it, load it somewhere else, and get the same answers. The preprocessing is inside the model, so whoever uses it hands over plain pixels and cannot get it wrong. Lesson 07 puts it behind a web address with TensorFlow Serving and AWS Lambda.

# %%
import pathlib
import tempfile

import keras

folder = pathlib.Path(tempfile.mkdtemp())
tuned.model.save(folder / "model.keras")
loaded = keras.saving.load_model(folder / "model.keras")
again = evaluation.evaluate(loaded, dataset)
print("same answers after loading:", np.array_equal(again.probabilities, result.probabilities))

# %% [markdown]
# ## Your own photos
#
# Now for two things of yours: a cup and a pen, your cat and the neighbour's, two plants. Name them, then give at least **six photos of each**. Turn the thing, move the light, change the background: whatever stays the same in all photos of one thing is what the network will go by.

# %%
# @title Name your two things { display-mode: "form" }
first_thing = "cup"  # @param {type: "string"}
second_thing = "pen"  # @param {type: "string"}
use_webcam = False  # @param {type: "boolean"}

import IPython.display

from finetune_lib import widgets

boxes = {name: widgets.photo_box(name) for name in (first_thing, second_thing)}
for box in boxes.values():
    IPython.display.display(box)

# %% [markdown]
# Press the buttons above and choose your files; or, on Colab, tick `use_webcam`, and the next cell takes the photos. If you give none, it goes on with a stand-in, so that you see what happens: test images of two classes, handed over as files just as your photos would be.

# %%
photos = {name: widgets.photos_in(box) for name, box in boxes.items()}
if use_webcam:
    photos = {name: [widgets.take_photo() for _ in range(6)] for name in boxes}
given = any(photos.values())
if not given:
    photos = data.example_photos(dataset, class_names=dataset.class_names[:2], count=12)
print({name: len(files) for name, files in photos.items()}, "yours" if given else "stand-ins")

# %% [markdown]
# Photos of things need a backbone that has seen photos. MobileNetV2 has seen a million of them, of a thousand kinds of things (ImageNet). Its weights are a download of 2 MB; if they cannot be had, the next cell says which file is missing and where to put it. The stand-ins are fine with the backbone from above.

# %% tags=["nbval-ignore-output"]
own_backbone = "MobileNetV2" if given else backbone_name
own = data.from_photos(photos, image_size=backbones.get(own_backbone).image_size)
own_frozen = comparison.frozen(own, own_backbone)
own_tuned = comparison.fine_tuned(own_frozen, own, unfreeze_from=backbones.get(own_backbone).fine_tune_from)

# %% [markdown]
# A fifth of your photos was kept back as the test pile. These the network has never seen. What does it say?

# %% tags=["nbval-ignore-output"]
own_result = evaluation.evaluate(own_tuned.model, own)
names = [
    f"{own.class_names[prediction]}, {probability:.0%}"
    for prediction, probability in zip(own_result.predictions, own_result.probabilities.max(axis=1), strict=True)
]
own_images = np.stack([image for image, _ in own.test.as_numpy_iterator()])
plots.show(plots.image_grid(own_images, names, columns=6), "Photos kept back, with the network's answer: " + ", ".join(names))
print(own_result)

# %% [markdown]
# Look at the interval behind the accuracy: with a handful of test photos it is very wide. That is honest. It will shrink when you take more photos, and only then.
#
# **Try this:** photograph both things in front of a *new* background. If the network fails, what has it learned instead of your things?
#
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
# This is the map of the course. Each lesson is a notebook of its own.
#
# | lesson | question it answers |
# |---|---|
# | 00 Start here | What are the five steps? *(this notebook)* |
# | 01 Transfer learning | What transfers, when does it help, and when does it hurt? |
# | 02 Gradient descent | What does one step of learning do, in formulas and in pictures? |
# | 03 Data | What can go wrong before training even starts? |
# | 04 Freeze and fit | How does the classic recipe work, line by line? |
# | 05 Fine-tune | How deep, how fast, and with which safeguards? |
# | 06 Evaluate | How good is it, how sure are we, and what does it look at? |
# | 07 Deploy | How does it answer requests, on a server or as a function? |
# | 08 Compress | How small and how fast can it get? |
#
# ## Further reading
#
# - J. Yosinski et al., [How transferable are features in deep neural networks?](https://arxiv.org/abs/1411.1792), 2014: the experiment behind "early layers are general, late layers are specific".
# - A. Kumar et al., [Fine-tuning can distort pretrained features and underperform out-of-distribution](https://arxiv.org/abs/2202.10054), 2022: why the head comes first.
# - M. Sandler et al., [MobileNetV2](https://arxiv.org/abs/1801.04381), 2018: the network for photos used here.
# - Keras' guide [Transfer learning and fine-tuning](https://keras.io/guides/transfer_learning/): the same idea in plain Keras.
