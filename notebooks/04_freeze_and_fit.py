# %% [markdown]
# # Freeze and fit: the classic recipe, line by line
#
# In this notebook, we build the classic recipe of transfer learning by hand, prove what it trains and what it leaves alone, and then see how much of the work was for nothing.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/04_freeze_and_fit.ipynb)
#
# **Time:** about 60 minutes to read and try: the code runs for about 1 minute with the digits and 2 to 3 with photos on a CPU with two cores, an estimated 2 minutes on a T4.
#
# ## Learning objectives
#
# After this notebook, you will be able to
#
# - write the classic recipe in **today's Keras**, and read code of 2016 to 2018 without falling for what has changed since;
# - **count** what trains, by a formula and by two tools;
# - **prove** that frozen weights did not move, and name three ways in which freezing goes wrong in silence;
# - **cut** a network at its freeze boundary, store what lies below, and train what lies above: and know what is gained and what is not lost;
# - **predict** how much that saves, with augmentation and without;
# - judge a recipe by its **steps**, not by its epochs.
#
# It builds on [lesson 03](03_data.ipynb) (preprocessing, augmentation) and on [lesson 02b](02b_fine_tuning_as_descent.ipynb) (what a step costs).
#
# **Terms of this lesson**, in English and 中文: [classic recipe](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#classic-recipe), [top](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#top), [pooling](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#pooling), [one-hot](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#one-hot), [compile](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#compile), [BatchNormalization](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#batchnormalization), [Dropout](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#dropout), [inference mode](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#inference-mode), [bit for bit](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#bit-for-bit), [stored activations](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#stored-activations), [suffix](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#suffix), [version of an image](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#version-of-an-image).

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
# ## 1. The recipe as it used to be written
#
# Many tutorials teach transfer learning with some twenty lines of Keras. They go back to an example in Keras' documentation of those years, and look like this:
#
# ```python
# from keras.applications.vgg16 import VGG16
# from keras.layers import Dense, GlobalAveragePooling2D
# from keras.models import Model
# from keras.optimizers import SGD
# from keras.preprocessing.image import ImageDataGenerator
#
# photos = ImageDataGenerator(rescale=1./255).flow_from_directory(
#     'photos/train', target_size=(224, 224), batch_size=32, class_mode='categorical')
#
# base_model = VGG16(weights='imagenet', include_top=False)
# x = GlobalAveragePooling2D()(base_model.output)
# x = Dense(1024, activation='relu')(x)
# predictions = Dense(10, activation='softmax')(x)
# model = Model(inputs=base_model.input, outputs=predictions)
#
# for layer in base_model.layers:
#     layer.trainable = False
#
# model.compile(optimizer=SGD(lr=0.001, momentum=0.9), loss='categorical_crossentropy', metrics=['accuracy'])
# model.fit_generator(photos, steps_per_epoch=len(photos), epochs=10)
# ```
#
# In words:
#
# - `VGG16(include_top=False)` is a network pretrained on ImageNet, without its *top*: its own last layers, which tell a thousand classes of ImageNet apart. We have other classes.
# - What is left turns a photo of 224 x 224 pixels into 512 maps of 7 x 7 numbers. `GlobalAveragePooling2D` keeps the mean of each map. These are the 512 **features** of the photo.
# - Two `Dense` layers are the new **head**. Their weights start at random.
# - `trainable = False` **freezes** the base (the *backbone* of lessons 00 and 01). Only the head is to learn.
# - `compile` says how: gradient descent with momentum, on cross-entropy. `fit` does it, in 10 rounds over the photos (**epochs**), 32 photos a step.
#
# It is still a good recipe to begin with. **Guess:** one statement was wrong from the first day, for this network, without ever raising. Which? (You have met it in lesson 03.) And if you know Keras: which three raise an error today? (Section 3 tells.)
#
# Pick the data and the network. `auto` takes photos of flowers and MobileNetV2 if they can be had here, otherwise the wild digits and GlyphNet, which has VGG16's pattern in small.

# %%
# @title Which data and which network? { display-mode: "form" }
data_name = "auto"  # @param ["auto", "digits_wild", "tf_flowers", "cats_vs_dogs"] {allow-input: true}
backbone_name = "auto"  # @param ["auto", "GlyphNet", "MobileNetV2", "VGG16"]

from finetune_lib import classifier

data_name, backbone_name = classifier.choose(data_name, backbone_name)

# %% [markdown]
# Few labels: five images of each digit, or twenty of each kind of photo. (Of the photos that are kept for validation and testing we take the first hundred and two hundred, so that nobody without a GPU has to wait.)

# %%
import dataclasses

from finetune_lib import data

is_small = backbone_name == "GlyphNet"
dataset = data.load(data_name, labels_per_class=5 if is_small else 20)
if not is_small:
    kept = {"validation": min(100, dataset.sizes["validation"]), "test": min(200, dataset.sizes["test"])}
    streams = {part: getattr(dataset, part).take(count) for part, count in kept.items()}
    dataset = dataclasses.replace(dataset, **streams, sizes=dataset.sizes | kept)
print(dataset)

# %% [markdown]
# A few hundred images fit into memory, so we may hold each part in two arrays. Pixels are raw, 0 to 255.

# %%
import keras
import numpy as np


def arrays(stream):
    """A part of a data set in memory: float32 images, and labels as whole numbers."""
    images, labels = zip(*stream.as_numpy_iterator(), strict=True)
    return np.stack(images).astype("float32"), np.array(labels)


images, labels = arrays(dataset.train)
classes = len(dataset.class_names)
one_hot = keras.utils.to_categorical(labels, classes)
print("a label as a whole number:", labels[0], " and one-hot:", one_hot[0])

# %% [markdown]
# ## 2. The same today, by hand
#
# First the base. The three networks want their pixels scaled in different ways (lesson 03). The old code left that to the data generator, where it is easily forgotten. Today it goes **into the model**, between the image and the first layer, and whoever uses the model hands over plain pixels.

# %%
from finetune_lib import backbones, glyphnet


def base_and_preprocessing(name, image_size):
    """A pretrained network without its top, which takes raw pixels."""
    image = keras.Input((*image_size, 3), name="image")
    options = {"weights": "imagenet", "include_top": False, "input_shape": image.shape[1:]}
    if name == "VGG16":  # blue, green, red, each less its mean over ImageNet
        maps = keras.applications.VGG16(input_tensor=backbones.caffe(image), **options).output
    elif name == "MobileNetV2":  # -1 to 1; alpha: the narrowest that Keras has weights for
        pixels = backbones.minus_one_to_one(image)
        maps = keras.applications.MobileNetV2(input_tensor=pixels, alpha=0.35, **options).output
    else:
        maps = glyphnet.layers(backbones.minus_one_to_one(image))
    base = keras.Model(image, maps, name=name)
    if name == "GlyphNet":
        glyphnet.load_weights(base, "glyphs")
    return base


# %% [markdown]
# Then the head, the boundary, and the settings: line by line what the old code says. (`set_random_seed` makes the random start of the head repeatable. `jit_compile=False` keeps Keras from compiling with XLA, which makes convolutions slower on a CPU.) We go on from `base.output`, as the old code did, so that the model is *flat*: one row of layers, each of which can be found by its name, and between any two of which one can cut. Many of today's tutorials call `base(inputs)` instead, which makes a model in a model; section 5 shows what can go wrong there.

# %%
keras.utils.set_random_seed(0)
base = base_and_preprocessing(backbone_name, dataset.image_size)

pooled = keras.layers.GlobalAveragePooling2D(name="average_pool")(base.output)
hidden = keras.layers.Dense(1024, activation="relu", name="hidden")(pooled)
probabilities = keras.layers.Dense(classes, activation="softmax", name="probabilities")(hidden)
model = keras.Model(base.input, probabilities, name="classic")

base.trainable = False  # all of its layers


def compile_classic(model, **options):
    """The classic optimiser, loss and metric."""
    sgd = keras.optimizers.SGD(learning_rate=0.001, momentum=0.9)
    model.compile(sgd, "categorical_crossentropy", metrics=["accuracy"], jit_compile=False, **options)


compile_classic(model)

# %% [markdown]
# Before we train, we put aside a copy of **all** weights: later we want to prove what moved. And we ask Keras to note, after each epoch, what two places of the network say about the first image: the features, and the answer at the end.

# %%
at_start = model.get_weights()
to_features = keras.Model(base.input, pooled, name="features")
to_features.jit_compile = False  # as in training: on a GPU, XLA would round otherwise
noted = []


def note(epoch, logs):
    """The features and the answer for the first image, after an epoch."""
    noted.append((to_features(images[:1]).numpy()[0], model(images[:1]).numpy()[0]))


# %% tags=["nbval-ignore-output"]
keras.utils.set_random_seed(0)  # the order of the images
history = model.fit(
    images,
    one_hot,
    batch_size=32,
    epochs=10,
    callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=note)],
    verbose=0,
).history
at_end = model.get_weights()
for epoch in (1, 2, 5, 10):
    loss, accuracy = history["loss"][epoch - 1], history["accuracy"][epoch - 1]
    print(f"epoch {epoch:2}: loss {loss:.2f}, training accuracy {accuracy:.0%}")

# %%
assert min(history["loss"]) < history["loss"][0]
print("the loss falls: True")

# %% [markdown]
# It learns. Whether it learns *enough* is the last question of this lesson; first we want to know what we have done.
#
# ## 3. What has changed since then
#
# | 2016 to 2018 | today | the old line, run today |
# |---|---|---|
# | `SGD(lr=0.001)` | `SGD(learning_rate=0.001)` | raises |
# | `SGD(decay=1e-6)` | a schedule, such as `CosineDecay`, as the rate | **ignored, with a warning** |
# | `Model(input=..., output=...)` | `Model(inputs, outputs)` | raises |
# | `fit(nb_epoch=10)` | `fit(epochs=10)` | raises |
# | `fit_generator`, `predict_generator` | `fit`, `predict`, with any data | raises |
# | `Sequential.predict_classes(x)` | `predict(x).argmax(axis=-1)` | raises |
# | `keras.preprocessing.image.ImageDataGenerator` | `keras.utils.image_dataset_from_directory`, and `map` for changes | raises; a deprecated copy is left in `tf.keras` |
# | `rescale=1./255` | the network's own preprocessing, inside the model | **runs, and is wrong** for all three networks here |
# | whole-number labels as a column, `(n, 1)`, hence mostly one-hot | one-hot with `categorical_crossentropy`, whole numbers, `(n,)`, with `sparse_categorical_crossentropy` | the wrong pair raises |
# | `softmax`, then the loss | the same; or logits, and `from_logits=True` | logits without `from_logits` **train wrongly** |
# | frozen BatchNormalization used the *batch's* statistics | it uses its *stored* ones | **other results** |
# | `trainable`, then `compile` | the same | the wrong order: **section 5** |
#
# A change that raises is harmless: it costs a minute. Those in bold do not stop the program; one warns, the others say nothing. Let us see for ourselves, the loud ones first. **Guess:** which of the messages will tell you what to write instead?


# %%
def fit_small(labels, loss="categorical_crossentropy", **options):
    """Train a small network on six examples of three classes."""
    small = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    small.compile("sgd", loss)
    small.fit(np.zeros((6, 4)), labels, verbose=0, **options)


whole = np.arange(6) % 3
old_lines = {
    "SGD(lr=0.001)": lambda: keras.optimizers.SGD(lr=0.001),
    "Model(input=, output=)": lambda: keras.Model(input=base.input, output=pooled),
    "fit(nb_epoch=1)": lambda: fit_small(np.eye(3)[whole], nb_epoch=1),
    "fit_generator": lambda: model.fit_generator,
    "predict_classes": lambda: keras.Sequential().predict_classes,
    "ImageDataGenerator": lambda: keras.preprocessing.image.ImageDataGenerator,
    "whole-number labels": lambda: fit_small(whole),
    "one-hot, sparse": lambda: fit_small(np.eye(3)[whole], "sparse_categorical_crossentropy"),
}

# %% tags=["nbval-ignore-output"]
raised = []
for name, line in old_lines.items():
    try:
        line()
    except Exception as error:
        raised.append(name)
        message = str(error).split(": <")[0].split(" Received")[0]
        print(f"{name:22} {type(error).__name__}: {message[:90]}")

# %%
assert raised == list(old_lines)
print(f"all {len(old_lines)} old lines raise: True")

# %% [markdown]
# None says what to write instead; that is what the table is for. So the three in the old code are the import of `ImageDataGenerator`, `lr=` and `fit_generator`. The one that never raised is `rescale=1./255`: it makes pixels from 0 to 1, for a network that was trained on something else, as the next cell says. [Lesson 03](03_data.ipynb) measures what such a mistake costs.
#
# Now for the quiet ones. `ImageDataGenerator` is still found by its old address in TensorFlow, where much code looks for it. It still works there, and its documentation begins with a single word. The old argument `decay`, on the other hand, does nothing any more:

# %%
import warnings

import tensorflow as tf

print("VGG16 was trained on", backbones.get("VGG16").preprocessing)
print(tf.keras.preprocessing.image.ImageDataGenerator.__doc__.strip().splitlines()[0])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    keras.optimizers.SGD(learning_rate=0.001, decay=1e-6)
ignored = [str(warning.message) for warning in caught if "decay" in str(warning.message)]
print(ignored[0])
assert len(ignored) == 1

# %% [markdown]
# ### Loss, labels and logits
#
# One-hot labels and whole numbers are two spellings of the same thing, and so are their losses: minus the logarithm of the probability that the network gave to the right class. With many classes, whole numbers are shorter.
#
# A network can also end in **logits**, the scores before the softmax. Then the loss must know, by `from_logits=True`; it is computed more exactly that way. If it is not told, it takes scores for probabilities, and nothing raises. **Guess:** a network is sure of a wrong answer. Will descent still correct it?

# %%
logits = tf.constant([[3.0, -2.0, -1.0]])  # sure of class 0
truth = np.array([1])
losses = {
    "one-hot, probabilities": keras.losses.CategoricalCrossentropy()(np.eye(3)[truth], tf.nn.softmax(logits)),
    "whole, probabilities": keras.losses.SparseCategoricalCrossentropy()(truth, tf.nn.softmax(logits)),
    "whole, logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)(truth, logits),
}
for name, value in losses.items():
    print(f"{name:24} {float(value):.4f}")
assert np.allclose(list(losses.values()), losses["whole, logits"], rtol=1e-4)

# %%
slopes = {}
for told in (True, False):
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = keras.losses.SparseCategoricalCrossentropy(from_logits=told)(truth, logits)
    slopes[told] = tape.gradient(value, logits).numpy()[0]
    print(f"from_logits={told!s:5} slopes of the logits:", np.round(slopes[told], 3) + 0.0)
assert slopes[True][1] < -0.9 and not slopes[False].any()

# %% [markdown]
# Told, descent pushes the right class up with nearly full force. Not told, all slopes are *zero*: what is below 0 or above 1 cannot be a probability, so Keras cuts it off, and beyond the cut nothing is felt. By itself this image will never be corrected. What that does to a whole training we try out as soon as training is cheap, at the end of section 6. (`fitting.fit` looks at the model's last layer and picks the loss that fits.)
#
# ## 4. What learns?
#
# **Guess:** which share of the classic model's weights, with VGG16 as base, is trained: a half, a tenth, a thirtieth, a thousandth?
#
# By hand: a 3 x 3 convolution has nine weights for each pair of an incoming and an outgoing channel, and a bias for each outgoing one. A dense layer has one weight for each pair, and the biases. VGG16 has thirteen convolutions; we write down how wide they are.

# %%
import itertools

widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
by_hand = {
    "base": sum((9 * before + 1) * after for before, after in itertools.pairwise(widths)),
    "hidden": (512 + 1) * 1024,
    "probabilities": (1024 + 1) * 10,
}
for name, count in by_hand.items():
    print(f"{name:14} {count:10,}  {count / sum(by_hand.values()):.2%}")

# %% [markdown]
# Keras must agree. To count weights one need not download them: `weights=None` gives random ones. We wrap the lines of the head into a function; they will be needed again.


# %%
def classic(base, classes):
    """The classic model on a base, which it freezes; its head is new."""
    pooled = keras.layers.GlobalAveragePooling2D(name="average_pool")(base.output)
    hidden = keras.layers.Dense(1024, activation="relu", name="hidden")(pooled)
    answer = keras.layers.Dense(classes, activation="softmax", name="probabilities")(hidden)
    base.trainable = False
    return keras.Model(base.input, answer, name="classic")


vgg = keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3))
classic_vgg = classic(vgg, classes=10)
assert vgg.count_params() == by_hand["base"] == 14_714_688
assert sum(np.prod(weight.shape) for weight in classic_vgg.trainable_weights) == 535_562
assert 25 < classic_vgg.count_params() / 535_562 < 32
print(
    f"{classic_vgg.count_params():,} weights, {by_hand['hidden'] + by_hand['probabilities']:,} of them learn"
)

# %% [markdown]
# About one in thirty: 15 million weights, half a million of them trained, nearly all in the hidden layer. `model.summary()` counts them, too; `freezing.table` takes one line a layer, and says where the **freeze boundary** is. Here is the table of the model that we trained.

# %%
from finetune_lib import freezing

table = freezing.table(model)
print(table if is_small else "\n".join(table.splitlines()[-4:]))
if is_small:
    share = sum(np.prod(weight.shape) for weight in model.trainable_weights) / model.count_params()
    assert 0.3 < share < 0.35

# %% [markdown]
# GlyphNet is so small that the head, which we took over as it stands, makes up a third of it. (A head of a single layer would do, as in lesson 00: *Try it yourself* 1.)
#
# ## 5. Did nothing else move?
#
# A frozen layer is a promise. We have the weights from before and after; comparing them bit by bit settles it.

# %%
for weight, before, after in zip(model.weights, at_start, at_end, strict=True):
    is_same = before.tobytes() == after.tobytes()
    assert is_same != (weight.path.split("/")[0] in ("hidden", "probabilities")), weight.path
print("hidden and probabilities have moved, every other weight is the same bit for bit: True")

# %% [markdown]
# Do this after *every* training with frozen layers. It takes next to no time, and there are at least three ways in which the promise is broken, or kept when it should not be, without a word. We provoke them on a network that is small enough to break in a second: a base of one convolution with BatchNormalization and Dropout, and a head. It is put together in the way that Keras' guides recommend, as a model in a model, called with `training=False`.

# %%
noise = np.random.default_rng(0).normal(3, 2, (64, 8, 8, 3)).astype("float32")
sides = np.arange(64) % 2


def tiny_model():
    """A base, and a model that holds it."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="convolution")(image)
    x = keras.layers.BatchNormalization(name="normalization")(x)
    base = keras.Model(image, keras.layers.Dropout(0.5)(x), name="base")
    inputs = keras.Input((8, 8, 3))
    features = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    return base, keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(features))


def what_fit_moves(base, model):
    """The names of the base's arrays that an epoch of training changes."""
    before = base.get_weights()
    model.fit(noise, sides, verbose=0)
    pairs = zip(base.weights, before, strict=True)
    return [weight.name for weight, old in pairs if weight.numpy().tobytes() != old.tobytes()]


# %% [markdown]
# ### Trap 1: `trainable` without `compile`
#
# We freeze, compile and train. Then we want to fine-tune, unfreeze, and forget to compile. Then the other way round: freeze again, and forget again. **Guess** what moves each time.

# %%
tiny_base, tiny = tiny_model()
tiny_base.trainable = False
tiny.compile("sgd", "sparse_categorical_crossentropy")
moved = {"frozen, compiled": what_fit_moves(tiny_base, tiny)}

tiny_base.trainable = True
moved["unfrozen, NOT compiled"] = what_fit_moves(tiny_base, tiny)
tiny.compile("sgd", "sparse_categorical_crossentropy")
moved["unfrozen, compiled"] = what_fit_moves(tiny_base, tiny)

tiny_base.trainable = False
moved["frozen, NOT compiled"] = what_fit_moves(tiny_base, tiny)
for case, names in moved.items():
    print(f"{case:24}", *(names or ["nothing"]))
assert not tiny_base.trainable_weights  # what it calls itself in the end
assert not moved["frozen, compiled"] and not moved["unfrozen, NOT compiled"]
assert len(moved["unfrozen, compiled"]) == len(moved["frozen, NOT compiled"]) == 6

# %% [markdown]
# The first time that `fit` runs after `compile`, Keras builds its training step, and with it the list of weights to move. Flags that are set later are looked at by nobody. Line 2 wastes an evening; line 4 trains the very weights that you meant to protect, while `summary()` calls them frozen.
#
# So: **set the flags, then compile, and compile again after each change.** Whoever forgets it should be told. Our `freezing.freeze`, which freezes all but the head, therefore un-compiles the model:

# %% tags=["nbval-ignore-output"]
freezing.freeze(tiny)
try:
    tiny.fit(noise, sides, verbose=0)
except ValueError as error:
    print(str(error).splitlines()[0])
else:
    raise AssertionError("it should have been refused")

# %% [markdown]
# ### Trap 2: BatchNormalization keeps learning
#
# BatchNormalization standardises each channel: it subtracts a mean and divides by a spread, then scales and shifts by numbers that learn. In training it takes mean and spread from the batch, and keeps running averages of them; in use it takes these averages.
#
# Look at line 3 again. Among what moved are `moving_mean` and `moving_variance`, the statistics that BatchNormalization has stored. They are not trained by descent; the layer overwrites them, batch by batch, whenever it runs in training mode. But we called the base with `training=False`! Many tutorials promise that this keeps the statistics still, also once the base is unfrozen. In Keras 3 it does not: `fit` calls the whole model with `training=True`, and that wins over what was written inside ([keras issue 20285](https://github.com/keras-team/keras/issues/20285)). So the statistics of a few images replace those of a million, little by little, and everything above was trained for the old ones.
#
# What does work is the layer's own flag. With `trainable = False`, BatchNormalization runs on its stored statistics. (Only since TensorFlow 2. In the classic code a frozen one still normalised by the batch it saw, which made transfer with Inception or ResNet worse than it need have been; VGG16 has no such layer.)

# %%
tiny_base.trainable = True
tiny_base.get_layer("normalization").trainable = False
tiny.compile("sgd", "sparse_categorical_crossentropy")
names = what_fit_moves(tiny_base, tiny)
print("unfrozen but for BatchNormalization:", *names)
assert names == ["kernel", "bias"]

# %% [markdown]
# ### Trap 3: Dropout in a frozen base
#
# Dropout sets a random part of the numbers to zero, in training only. It has no weights, so no comparison of weights can find it out. Freeze the base, and ask the network twice about the same images, as `fit` asks it:

# %%
tiny_base.trainable = False
once, again = (tiny(noise, training=True).numpy() for _ in range(2))
print("frozen, but not the same twice:", not np.array_equal(once, again))
assert not np.array_equal(once, again)

# %% [markdown]
# The frozen base throws dice, although it can learn nothing from them. EfficientNet has such layers. Traps 2 and 3 have one cure: do not let the base run in training mode at all. Call it by itself, `base(images, training=False)`, outside of the model that `fit` trains, and train the rest on what it returns. That is what the next section is about; the cure also saves most of the work.
#
# ## 6. The frozen part is a constant
#
# After each epoch we noted two things about the same image: its features and the network's answer.

# %%
features_noted, answers_noted = (np.stack(values) for values in zip(*noted, strict=True))
assert all(row.tobytes() == features_noted[0].tobytes() for row in features_noted)
print("the features after epoch 1 and after epoch 10 are the same bit for bit: True")

# %% tags=["nbval-ignore-output"]
import matplotlib.figure

from finetune_lib import plots

figure = matplotlib.figure.Figure(figsize=(9, 2.8), layout="constrained")
left_axes, right_axes = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
shades = {"aspect": "auto", "cmap": "cividis", "interpolation": "nearest"}
figure.colorbar(left_axes.imshow(features_noted, **shades), ax=left_axes)
figure.colorbar(right_axes.imshow(answers_noted, vmin=0, **shades), ax=right_axes)
left_axes.set(title="below the boundary: features", xlabel="feature", ylabel="epoch")
right_axes.set(title="above: probabilities", xlabel="class", xticks=range(0, classes, max(1, classes // 5)))
left_axes.set_yticks(range(10), range(1, 11))
plots.show(
    figure,
    "The first image after each of ten epochs, a row each. Left, its features: all rows are alike, so that the "
    "columns form unbroken stripes. Right, the probabilities of the classes: they change from row to row.",
)
true = labels[0]
rows = [
    [str(epoch), f"{features_noted[epoch - 1].mean():.4f}", f"{answers_noted[epoch - 1][true]:.3f}"]
    for epoch in (1, 5, 10)
]
print(plots.table(["epoch", "mean feature", "probability of the true class"], rows))

# %% [markdown]
# Ten times the base has looked at this image, and ten times it has said the same. For every one of the images, in every epoch, we paid for an answer that we had already.
#
# (It is a constant as long as three things hold: no weight below the boundary moves, no layer there behaves differently in training, and the image is the same. Section 5 was about the first two; section 9 is about the third.)
#
# **So cut the network there.** Below the cut: `to_features`, from the image to the pooled features. Above: the head, from the features to the probabilities. We let the first run over the images *once* and keep what comes out. **Guess:** if we then train the head alone, from the same start, on the same images in the same order, how near will its weights come to those of the plain training?

# %%
stored = to_features.predict(images, batch_size=32, verbose=0)
print("images:", images.shape, " stored features:", stored.shape)

inputs = keras.Input(stored.shape[1:])
head = keras.Model(inputs, model.get_layer("probabilities")(model.get_layer("hidden")(inputs)), name="head")

model.set_weights(at_start)  # the head shares its two layers with the model
compile_classic(head)
keras.utils.set_random_seed(0)  # the same order of the images as before
_ = head.fit(stored, one_hot, batch_size=32, epochs=10, verbose=0)

# %% tags=["nbval-ignore-output"]
pairs = list(zip(model.get_weights(), at_end, strict=True))
print("the same bit for bit:", all(here.tobytes() == there.tobytes() for here, there in pairs))
print("largest difference:", max(np.abs(here - there).max() for here, there in pairs))

# %%
distance = max(np.abs(here - there).max() for here, there in pairs)
travelled = max(np.abs(there - start).max() for there, start in zip(at_end, at_start, strict=True))
tolerance = travelled * (1e-2 if environment.gpu_names() else 1e-4)  # GPUs multiply with fewer digits
assert distance <= tolerance, (distance, travelled)
print("the same weights as by plain training: True")

# %% [markdown]
# Not similar weights: *the same*, here to the last bit. (On a GPU, which adds up in another order and rounds more coarsely, nearly the same.) It cannot be otherwise: descent on the head sees the same numbers, whether they have just been computed or were computed yesterday. The trick is as old as the recipe: Keras' own blog trained on stored "bottleneck features" in 2016. Most code has forgotten it, because doing it by hand is a nuisance.
#
# And at once we can afford an experiment, which with the whole network one would think twice about. In section 3 a loss took logits for probabilities. Two heads that end in logits, the same start, the same ten epochs; one loss is told, one is not. **Guess:** how much worse will the second be?

# %% tags=["nbval-ignore-output"]
knows = {}
for told in (True, False):
    keras.utils.set_random_seed(0)
    with_logits = keras.Sequential(
        [inputs, keras.layers.Dense(1024, activation="relu"), keras.layers.Dense(classes)]
    )
    sgd = keras.optimizers.SGD(learning_rate=0.001, momentum=0.9)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=told)
    with_logits.compile(sgd, loss, jit_compile=False)
    fall = with_logits.fit(stored, labels, batch_size=32, epochs=10, verbose=0).history["loss"]
    knows[told] = np.mean(with_logits(stored).numpy().argmax(axis=1) == labels)
    print(f"from_logits={told!s:5} loss {fall[0]:.2f} to {fall[-1]:.2f}, training accuracy {knows[told]:.0%}")

# %%
if is_small:
    assert knows[True] > 0.9 and knows[False] < 0.3 and np.log(classes) < fall[-1] < fall[0]
    print("not told, it does not even learn its training images: True")

# %% [markdown]
# Nothing raised, and the loss even fell. But whoever guesses blindly among ten classes pays $\ln 10 = 2.3$; a loss far above that is a warning. Compare your first loss with the logarithm of the number of classes, always.
#
# ## 7. The library does the cutting
#
# `freezing.split` finds the boundary and cuts there, for any functional model, also in the middle of a base, also where skip connections cross.

# %%
prefix, suffix = freezing.split(freezing.freeze(model))
print("prefix:", prefix.layers[0].name, "...", prefix.layers[-1].name, " makes", prefix.output_shape)
print("suffix:", " ".join(layer.name for layer in suffix.layers[1:]), " makes", suffix.output_shape)
assert np.allclose(prefix.predict(images, batch_size=32, verbose=0), stored, rtol=1e-2, atol=1e-3)
assert np.allclose(suffix.predict(stored, verbose=0), head.predict(stored, verbose=0), atol=1e-3)
print("both parts do what ours do: True")

# %% [markdown]
# And `fitting.fit` does everything that we did: it splits, runs the prefix once in inference mode (no trap 2, no trap 3), stores the activations on disk, compiles (no trap 1), trains the suffix, and compares all weights afterwards. It takes our hand-built model as it is.

# %% tags=["nbval-ignore-output"]
from finetune_lib import fitting

sgd = keras.optimizers.SGD(learning_rate=0.001, momentum=0.9)
model.set_weights(at_start)
report = fitting.fit(model, dataset, epochs=10, optimizer=sgd, label="classic", verbose=0)
print(report)

# %% [markdown]
# (The validation accuracy is that of images which are kept for decisions.) The weights are not those of our own training, because the library shuffles in an order of its own, the same on every machine. To see that storing changed nothing here either, we forbid it, `cache=False`, and let the frozen part run in every epoch. (With photos we skip that: it would take the minutes we have just saved.)

# %%
if is_small:
    by_storing = model.get_weights()
    model.set_weights(at_start)
    plain = fitting.fit(model, dataset, epochs=10, optimizer=sgd, cache=False, verbose=0)
    assert report.stored and not plain.stored
    pairs = zip(model.get_weights(), by_storing, strict=True)
    assert all(np.allclose(here, there, rtol=0, atol=tolerance) for here, there in pairs)
    print("the same weights with stored activations and without: True")

# %% [markdown]
# Storing on disk pays a second time: another training with the same base and the same images, with another rate or for more epochs, finds the activations there. They are found by *what they were computed from* (the weights, every bit of the images, the versions of the libraries), so that nothing outdated is ever used.

# %%
from finetune_lib import activation_cache

folder = activation_cache.default_folder()
entries_before = len(activation_cache.entries(folder))
fitting.fit(model, dataset, epochs=3, learning_rate=1e-4, verbose=0)
assert len(activation_cache.entries(folder)) == entries_before
print("another training found everything stored: True")

# %% [markdown]
# ## 8. What it saves
#
# Let us count multiplications, as in lesson 02b. Take $t$ for what one image costs in the frozen part, forwards, and $b$ for the part that learns. Its backward pass costs about $2b$ more. So, for each image:
#
# - **plain**: $t + 3b$ in every one of $E$ epochs, together $E\,(t + 3b)$;
# - **stored**: $t$ once, and $3b$ in every epoch, together $t + 3 E\, b$.
#
# (For this head it is nearer $2b$: its lowest layer, which holds most of it, hands no gradient down, since nothing below it learns. We keep $3b$, which understates the gain.)
#
# If there are $K$ versions of each image, to which we come in section 9, the base has to run over all of them: $K\,t + 3 E\, b$. The ratio says how many times less work it is:
#
# $$\text{gain} = \frac{E\,(t + 3b)}{K\,t + 3 E\, b}.$$
#
# **Guess** it for VGG16 and 10 epochs, with $K = 1$. And what is the most it can ever be, with more and more epochs?

# %%
from finetune_lib import cost


def gain(t, b, epochs, versions=1):
    """How many times less work training is on stored activations; no image has more versions than epochs."""
    return epochs * (t + 3 * b) / (min(versions, epochs) * t + 3 * epochs * b)


counted = {}
for name, each in {"VGG16, 224 pixels": classic_vgg, "this model": model}.items():
    t, b = (cost.forward(part) for part in freezing.split(each))
    counted[name] = t, b
    print(f"{name:18} t = {t / 1e6:9,.1f} million, b = {b / 1e6:.2f} million multiplications an image")

# %%
epochs = [1, 3, 10, 30, 100, 1000]
rows = []
for name, (t, b) in counted.items():
    for versions in (1, 8):
        values = [f"{gain(t, b, count, versions):,.1f}" for count in epochs]
        rows.append([f"{name}, K = {versions}", *values, f"{(t + 3 * b) / (3 * b):,.0f}"])
print(plots.table(["times less work; epochs:", *map(str, epochs), "for ever"], rows))

# %%
t, b = counted["VGG16, 224 pixels"]
assert 9.9 < gain(t, b, 10) < 10 and 3 * 10 * b < t / 500
sizes = {"train": 50, "validation": 0}
library = cost.gain_by_storing(*freezing.split(classic_vgg), sizes, epochs=10, views=1, validations=0)
assert np.isclose(library, gain(t, b, 10))
print("ten epochs of the classic recipe with VGG16: about ten times less work: True")

# %% tags=["nbval-ignore-output"]
from finetune_lib import transfer_plots

figure = matplotlib.figure.Figure(figsize=(7.5, 3.8), layout="constrained")
axes = figure.subplots()
line = np.unique(np.logspace(0, 4, 60).astype(int))
for (name, (t, b)), colour in zip(counted.items(), transfer_plots.COLOURS, strict=False):
    for versions, style in ((1, "-"), (8, "--")):
        values = [gain(t, b, count, versions) for count in line]
        axes.plot(line, values, style, color=colour, label=f"{name}, K = {versions}")
axes.axvline(10, color=plots.GREY, linewidth=1, linestyle=":")
axes.text(10.5, 3000, "the classic\n10 epochs", color=plots.GREY)
axes.set(xscale="log", yscale="log", xlabel="epochs", ylabel="times less work")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
plots.show(
    figure,
    "Times less work against epochs, both logarithmic, the table above. With one version VGG16's line rises as the number "
    "of epochs does, and bends only after thousands. With eight versions it stays at one for eight epochs and runs an eighth as high. The lines "
    "of the network that was trained here begin alike and flatten out early.",
)

# %% [markdown]
# The frozen part of VGG16 costs so much more than the head that $b$ hardly counts: $E$ epochs for the price of one. In the long run the head's own work is the limit, $(t + 3b) / 3b$; for GlyphNet, whose head is large compared with it, that is soon reached.
#
# Counting needs no clock, and says nothing about time: to start a step takes time, too, whatever is in it. So we also measure, both ways on the same images. (For the digits we repeat the few images until there are a thousand, so that there is something to measure. Nothing is asserted here: the ratios depend on your machine, and on what else it does.)

# %% tags=["nbval-ignore-output"]
import time

repeats = 20 if is_small else 1
whole = repeats * len(images) // 32 * 32  # full batches: another size would be compiled anew
many = np.tile(images, (repeats, 1, 1, 1))[:whole]
many_labels = np.tile(one_hot, (repeats, 1))[:whole]
options = {"batch_size": 32, "verbose": 0}


def on_images():
    model.fit(many, many_labels, epochs=10, **options)


def on_stored():
    head.fit(to_features.predict(many, **options), many_labels, epochs=10, **options)


def seconds(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# %% [markdown]
# The third way below runs 32 steps at once before Keras comes back to Python (`steps_per_execution`), which takes part of the starting away.

# %% tags=["nbval-ignore-output"]
freezing.freeze(model)
compile_classic(model)
model.fit(many[:64], many_labels[:64], **options)  # the first steps compile: not measured
head.fit(stored[:32], many_labels[:32], **options)
spent = {"plain": seconds(on_images), "stored": seconds(on_stored)}

compile_classic(head, steps_per_execution=32)
head.fit(np.tile(stored, (repeats, 1))[:whole], many_labels, **options)
spent["stored, 32 steps at once"] = seconds(on_stored)

for name, value in spent.items():
    print(f"{name:25} {value:5.1f} s, {spent['plain'] / value:4.1f} times faster than plain")
print(f"{'counted':25} {gain(*counted['this model'], 10):14.1f}")

# %% [markdown]
# With a base as small as GlyphNet, much of the time that is left is not arithmetic, as the third line shows. The larger the base, the nearer the time comes to the count. For the classic base, VGG16, with 512 photos of 160 pixels and ten epochs on two cores, whole jobs with everything that belongs to them, see the table [What the freeze boundary saves](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/README.md#what-the-freeze-boundary-saves): the head was trained 9.3 times faster, with bit-equal weights.
#
# ## 9. Augmentation: store versions, not one
#
# Augmentation makes a new version of each image in each epoch: turned, shifted, faded. Then the frozen part does not meet the same image twice, and there is nothing to store. Or is there? A version is an image like any other. Make $K$ versions of each, store the features of all, and take them **in turn**, one an epoch: after $K$ epochs the first comes again.
#
# There are wrong ways to do it that look almost the same in code. Here are three pipelines of `tf.data`, for a single image. All make a version at random, and all keep what is expensive in a `cache`. `fit` goes through such a stream once an epoch. **Guess:** how many different versions does a network get to see in six epochs, from each?

# %%
chosen = tf.constant(images[8])
single = tf.data.Dataset.from_tensors(chosen)


def at_random(image):
    """A version of an image, by the next random number."""
    return dataset.augment(image, tf.random.uniform((2,), maxval=2**31 - 1, dtype=tf.int32))


def in_turn(epoch, versions=3):
    """One of three versions of the image, by the number of the epoch."""
    return dataset.augment(chosen, tf.constant([0, epoch % versions])).numpy()


keras.utils.set_random_seed(0)
turn = keras.layers.RandomRotation(0.1)
streams = {
    "map, then cache": single.map(at_random).cache(),
    "cache, then map": single.cache().map(at_random),
    "cache, then a Keras layer": single.cache().map(lambda image: turn(image, training=True)),
}
seen = {name: [next(iter(stream)).numpy() for _ in range(6)] for name, stream in streams.items()}
seen["3 versions in turn"] = [in_turn(epoch) for epoch in range(6)]

# %%
different = {name: len({picture.tobytes() for picture in pictures}) for name, pictures in seen.items()}
for name, count in different.items():
    print(f"{name:25} {count} different in six epochs")
assert list(different.values()) == [1, 1, 6, 3]

# %% tags=["nbval-ignore-output"]
figure = plots.image_grid([picture for pictures in seen.values() for picture in pictures], columns=6)
for place, axes in enumerate(figure.axes):
    row, epoch = divmod(place, 6)
    axes.set_title(list(seen)[row] if epoch == 0 else "", loc="left", fontsize=9)
    axes.text(0.5, -0.02, epoch + 1, ha="center", va="top", fontsize=8, transform=axes.transAxes)
plots.show(
    figure,
    "One image in epochs 1 to 6. First row, map then cache: six times the same version. Second row, cache then map "
    "in a seeded program: six times the same, too. Third row, cache then a layer of Keras: six different ones. Fourth row, three versions in turn: 1, 2, 3, 1, 2, 3.",
)

# %% [markdown]
# The first is the well-known mistake: what stands before the cache is frozen with the rest. The network trains on one bent copy of each image, for ever.
#
# The second is what everybody recommends, and here it does *the same*. We called `set_random_seed`, so that the run could be repeated; and in a seeded program TensorFlow's own random functions, `tf.random` and `tf.image.random_...`, begin the same numbers with every pass. So a careful person, who seeds, gets no augmentation. The third uses a layer of Keras, which counts on from pass to pass; but what it draws depends on all that ran before.
#
# The way out is to let nothing depend on what ran before: the version is a function of **(seed, image, number of the version)**. That can be repeated, it can differ from epoch to epoch, and it can be stored. `fitting.fit(..., augment=..., views=8)` does that with eight versions; `views="online"` makes a new one in every epoch, and stores nothing.
#
# ## 10. How good is it? Count the steps
#
# At last: how well does the classic recipe recognise images that it has never seen? Since the frozen part is a constant, it runs over the test images once, for all that follows.

# %%
from finetune_lib import evaluation

test_images, test_labels = arrays(dataset.test)
test_features = to_features.predict(test_images, batch_size=32, verbose=0)


def recognised(model):
    """For each test image, whether the model's head names its class."""
    suffix = freezing.split(model)[1]
    return suffix(test_features).numpy().argmax(axis=1) == test_labels


model.set_weights(at_end)  # of the plain training in section 2
correct = recognised(model)

# %% tags=["nbval-ignore-output"]
low, high = evaluation.wilson_interval(correct.sum(), len(correct))
print(f"test accuracy {correct.mean():.1%} (95% interval {low:.1%} to {high:.1%}, {len(correct)} images)")

# %% [markdown]
# (The interval speaks of other images from the same sources. For other writers, see the comparison at the end.)
#
# **Count the steps.** "Ten epochs" sounds like much, and it was, for those who had thousands of photos. What moves the weights, though, is a step, and how many steps an epoch has depends on how many images there are:


# %%
def steps_in(epochs, count):
    """Batches of 32; the last of an epoch may be smaller."""
    return epochs * -(-count // 32)


for name, count in {"here": len(images), "2,000 photos": 2_000, "ImageNet": 1_281_167}.items():
    print(f"{name:13} {steps_in(10, count):9,} steps in 10 epochs")
if is_small:
    assert steps_in(10, len(images)) == 20

# %% [markdown]
# Is that enough? The training loss in section 2 has become small, so one might think so. What if the head simply goes on? On stored features that costs next to nothing.
#
# How far may it go for a fair comparison? As far as **the same arithmetic** takes it. Ten plain epochs cost $10\,(t + 3b)$. Spend $t$ of it on storing, and the rest on the head:

# %%
allowed = {name: int((10 * (t + 3 * b) - t) / (3 * b)) for name, (t, b) in counted.items()}
for name, count in allowed.items():
    print(f"{name:18} 10 plain epochs = {count:,} on stored features")
assert allowed["VGG16, 224 pixels"] > 50_000
long = min(300, allowed["this model"])
print("we shall take", long)

# %% [markdown]
# We let the head of section 6 start afresh and go on that far, and look at it now and then. **Guess:** once it knows the few training images by heart, will it still get better on images that it does not learn from, and by how many points?

# %% tags=["nbval-ignore-output"]
validation_images, validation_labels = arrays(dataset.validation)
validation_features = to_features.predict(validation_images, batch_size=32, verbose=0)
model.set_weights(at_start)
compile_classic(head)
endless = tf.data.Dataset.from_tensor_slices((stored, one_hot)).shuffle(len(stored)).batch(32).repeat()
looks, curve = [1, 2, 5, 10, 20, 50, 100, long], []
for before, look in itertools.pairwise([0, *looks]):
    steps = steps_in(look - before, len(images))
    head.fit(endless, steps_per_epoch=steps, shuffle=False, verbose=0)
    answers = [head(part).numpy().argmax(axis=1) for part in (stored, validation_features)]
    truths = labels, validation_labels
    curve.append([100 * np.mean(answer == true) for answer, true in zip(answers, truths, strict=True)])
curve, taken = np.array(curve), [steps_in(look, len(images)) for look in looks]
rows = [[str(count), *(f"{value:.1f}" for value in pair)] for count, pair in zip(taken, curve, strict=True)]
print(plots.table(["steps", "training accuracy (%)", "validation accuracy (%)"], rows))

# %% tags=["nbval-ignore-output"]
figure = matplotlib.figure.Figure(figsize=(6.5, 3.4), layout="constrained")
axes = figure.subplots()
axes.plot(taken, curve[:, 0], "s--", color=plots.BLUE, label="training")
axes.plot(taken, curve[:, 1], "o-", color=plots.VERMILION, label="validation")
classic_steps = steps_in(10, len(images))
axes.axvline(classic_steps, color=plots.GREY, linewidth=1, linestyle=":")
axes.text(classic_steps * 1.05, 5, "the classic 10 epochs", color=plots.GREY)
axes.set(xscale="log", xlabel="steps", ylabel="accuracy (%)", ylim=(0, 103))
axes.set_xticks(taken, [str(count) for count in taken])
axes.minorticks_off()
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plots.show(
    figure,
    "Training and validation accuracy against steps, on a logarithmic axis, the table above: both rise steeply "
    "until about where the classic recipe stops; validation accuracy rises a little further after it.",
)

# %% [markdown]
# The classic recipe stops just before the curve flattens. The network knows (nearly) all training images by heart by then, and yet it goes on improving on others: right is not all that the loss asks for, it asks for *surely* right.

# %%
if is_small:
    at_ten, at_last = curve[looks.index(10)], curve[-1]
    assert at_ten[0] > 90 and at_last[0] == 100 and at_last[1] > at_ten[1] + 2
    print("with more steps, validation accuracy rises by more than two points: True")

# %% [markdown]
# That was one draw of training images. Now the test, with three draws, and five ways to train the very same head, by the very same optimiser. (The number of epochs was settled by arithmetic, not by looking at test images.)
#
# 1. the classic 10 epochs;
# 2. the same, at three times the rate: if steps are few, may they be longer?
# 3. at the classic rate, as many epochs as the same arithmetic allows;
# 4. as many, augmented, but with **one** stored version: the mistake of section 9;
# 5. as many, augmented, with **eight** stored versions (which costs seven more runs of the base, and so up to twice the work).
#
# (On photos at most 300 epochs, and one draw where versions are made, so that nobody waits.)
#
# (The first draw has the training images of section 2. Its head starts at other random numbers, and the images come in another order; with so few steps that can make a difference of some points. Compare within the table.)
#
# **Guess** their order, and write down by how many points each will differ from the first.


# %%
def trained(images, epochs, seed, rate=0.001, **options):
    """Train a new classic head on the same base, on stored features; which test images it gets right."""
    keras.utils.set_random_seed(seed)
    new = classic(base, classes)
    sgd = keras.optimizers.SGD(learning_rate=rate, momentum=0.9)
    fitting.fit(new, images, epochs=epochs, optimizer=sgd, seed=seed, verbose=0, **options)
    return recognised(new)


ways = {
    "10 epochs": {"epochs": 10},
    "10 epochs, rate 0.003": {"epochs": 10, "rate": 0.003},
    f"{long} epochs": {"epochs": long},
    f"{long} epochs, 1 version": {"epochs": long, "augment": dataset.augment, "views": 1},
    f"{long} epochs, 8 versions": {"epochs": long, "augment": dataset.augment, "views": 8},
}

# %% tags=["nbval-ignore-output"]
results = {way: [] for way in ways}
for seed in range(3):
    if seed == 0:
        few = dataset
    else:  # other training images, as many; the same validation images
        drawn = data.load(data_name, labels_per_class=5 if is_small else 20, seed=seed)
        few = dataclasses.replace(dataset, train=drawn.train)
    for way, options in ways.items():
        if is_small or seed == 0 or "version" not in way:  # versions of photos take a while
            results[way].append(trained(few, seed=seed, **options))

each = {way: [100 * answer.mean() for answer in answers] for way, answers in results.items()}
rows = [
    [way, f"{np.mean(values):.1f}", "  ".join(f"{value:.1f}" for value in values)]
    for way, values in each.items()
]
print(plots.table(["the same head", "test accuracy (%)", "each draw"], rows))

# %% tags=["nbval-ignore-output"]
figure = matplotlib.figure.Figure(figsize=(7.5, 2.6), layout="constrained")
axes = figure.subplots()
for place, (values, colour) in enumerate(zip(each.values(), transfer_plots.COLOURS, strict=False)):
    axes.plot(values, [place] * len(values), "o", color=colour, alpha=0.5)
    axes.plot(np.mean(values), place, "|", color=colour, markersize=22, markeredgewidth=3)
axes.set_yticks(range(len(each)), each)
axes.set_ylim(len(each) - 0.5, -0.5)
axes.set_xlabel("test accuracy (%): dots are draws, bars are means")
axes.spines[["top", "right"]].set_visible(False)
plots.show(
    figure,
    "Test accuracy of the five ways, a dot a draw and a bar at the mean, the table above: on the digits 10 epochs "
    "at either rate and one version are lowest, 8 versions are highest, and one version is worse than none.",
)

# %% [markdown]
# All ways met the same test images, so we compare them image by image, averaged over the draws. How would the difference change with other writers (or, of photos, with other photos)? The bootstrap of lesson 00 draws them anew, ten thousand times. It knows nothing of other training images; for these, look at the dots.

# %% tags=["nbval-ignore-output"]
groups = dataset.groups.get("test", np.arange(len(test_labels)))
short, faster, longer, one, eight = (np.array(answers) for answers in results.values())
comparisons = {
    "10 epochs, faster, against 10": (faster, short),
    "more epochs against 10": (longer, short),
    "8 versions against none": (eight, longer[: len(eight)]),
    "8 versions against 1": (eight, one),
}
for name, (better, worse) in comparisons.items():
    difference, low, high = evaluation.bootstrap_difference(better, worse, groups)
    print(f"{name:29} {100 * difference:+.1f} points (95% interval {100 * low:+.1f} to {100 * high:+.1f})")

# %%
if is_small:
    ten, quick, none, single, several = (np.mean(values) for values in each.values())
    assert (
        none > quick
        and none - ten > 2
        and several - none > 0.5
        and several - single > 3
        and none - single > 1
    )
    assert (eight.mean(axis=1) > one.mean(axis=1)).all()
    print("more steps gain more than 2 points, and more than a higher rate does: True")
    print("eight versions are better than none, a single one is worse than none: True")
    print("eight versions are better than a single one in each draw, by more than 3 points on average: True")

# %% [markdown]
# Nothing about the network has changed from row to row. With so few images, ten epochs are few steps. Longer ones did not replace more of them (here; try other rates), and more cost next to nothing once the constant part is computed once. (With thousands of photos ten epochs may be plenty.) And on the digits a single stored version does harm. Perhaps because the head learns from bent copies only, without seeing that one digit can be bent in many ways; we have not tested why.
#
# This is what storing is really for. Not to be done sooner, but to afford, for about the same work, the training that the head needs.
#
# ## Summary
#
# - The **classic recipe** is a pretrained base, a pooling, a new head, `trainable = False`, `compile`, `fit`. Much of the old spelling raises today; what does *not* raise deserves your attention: preprocessing, logits without `from_logits`, ignored arguments.
# - **Count** what trains by the formula; compare **bits** before and after. A flag is read at the first `fit` after a `compile`, and not again until the next `compile`; BatchNormalization obeys its own flag, not `training=False`; Dropout fires in a frozen base that `fit` runs.
# - The frozen part is a **constant function** of the image. Cut at the boundary, run it once, train the head on what it gives: the same weights.
# - The **gain** is $E(t + 3b) / (K t + 3 E b)$ for up to $E$ versions: about $E$ times for a small head on a large base, and $K$ times less than that with $K$ versions.
# - **Versions** must depend on their number, not on what ran before. Store several: on the digits a single one was worse than none.
# - Judge a recipe by its **steps**, not by its epochs: with few images, ten epochs are few.
#
# ### Try it yourself
#
# 1. Replace the classic head by a single `Dense` layer that starts at zeros (`kernel_initializer="zeros"`), as `classifier.build` does. How many weights learn now? Does accuracy suffer?
# 2. Three times the rate did not replace the missing steps. What does ten times the rate do, to training and to test accuracy?
# 3. In trap 1, change the flag after `compile` but *before* the first `fit`. What moves, and why?
# 4. With VGG16 and 10 epochs, for which $K$ does the formula fall below 1? `gain` never does. Why is that right?
#
# ## What next
#
# **Practise first:** [the exercises](exercises/04_freeze_and_fit.ipynb) check what you write, and say what it shows. They take about 50 minutes.
#
# The head has learned most of what fixed features can teach it. To get further, the base must move. [**Lesson 05, Fine-tune**](05_fine_tune.ipynb): which layers, how fast, with which safeguards, and how many steps, which then are no longer free.
#
# ## Further reading
#
# - J. Donahue et al., [*DeCAF: a deep convolutional activation feature for generic visual recognition*](https://arxiv.org/abs/1310.1531), 2013, and A. S. Razavian et al., [*CNN features off-the-shelf: an astounding baseline for recognition*](https://arxiv.org/abs/1403.6382), 2014: frozen features, before there was a recipe.
# - K. Simonyan and A. Zisserman, [*Very deep convolutional networks for large-scale image recognition*](https://arxiv.org/abs/1409.1556), 2014: VGG16.
# - F. Chollet, [*Building powerful image classification models using very little data*](https://blog.keras.io/building-powerful-image-classification-models-using-very-little-data.html), 2016: the ancestor of many tutorials, with stored "bottleneck features".
# - Keras' guide [*Transfer learning and fine-tuning*](https://keras.io/guides/transfer_learning/), and [keras issue 20285](https://github.com/keras-team/keras/issues/20285) on what `fit` does to `training=False`.
# - [keras pull request 9965](https://github.com/keras-team/keras/pull/9965), 2018: why a frozen BatchNormalization should use its stored statistics.
