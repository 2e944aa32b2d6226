# %% [markdown]
# # Fine-tune: how deep, how fast, and with which safeguards
#
# In this notebook, we watch a common recipe make a good network worse, find out which of its parts does the damage, and put together a recipe that makes it better.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/05_fine_tune.ipynb)
#
# **Time:** about 75 minutes to read and try: the code runs for 1 to 2 minutes with the digits and 3 with photos on a CPU with two cores, an estimated 2 minutes on a T4.
#
# ## Learning objectives
#
# After this notebook, you will be able to
#
# - recognise a recipe in which fine-tuning **hurts**, and name the part that does the damage;
# - choose **rates**: low, warmed up, decayed, lower for early layers; and find the cliff with a **range test**;
# - say why BatchNormalization stays **frozen**, and show what happens otherwise;
# - decide **how deep** to unfreeze, and measure what the network **forgets**;
# - run the whole recipe in one call, and give a reason for each of its settings;
# - see **which images** a fine-tuning has won and lost, and judge whether it was worth it.
#
# It builds on [lesson 02b](02b_fine_tuning_as_descent.ipynb) (descent from pretrained weights) and lesson 04 (freezing, storing, counting steps).
#
# **Terms of this lesson**, in English and 中文: [depth](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#depth), [discriminative fine-tuning](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#discriminative-fine-tuning), [range test](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#range-test), [label smoothing](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#label-smoothing), [overfitting](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#overfitting), [unfreeze](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#unfreeze), [gradual unfreezing](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#gradual-unfreezing), [surgical fine-tuning](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#surgical-fine-tuning), [margin](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#margin), [paired comparison](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#paired-comparison), [safe mode](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#safe-mode), [handover](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#handover).

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
# ## What we start from, and what we must beat
#
# As ever: `auto` takes photos and an ImageNet network if they can be had here, otherwise the digits and GlyphNet. Where the text speaks of digits, read flowers if you took those. The old task is measured with GlyphNet only, since GlyphNet's is the one we have here.

# %%
# @title Which data, and which network? { display-mode: "form" }
data_name = "auto"  # @param ["auto", "digits_wild", "tf_flowers", "cats_vs_dogs"] {allow-input: true}
backbone_name = "auto"  # @param ["auto", "GlyphNet", "MobileNetV2", "EfficientNetV2B0", "VGG16"]

from finetune_lib import backbones, classifier

data_name, backbone_name = classifier.choose(data_name, backbone_name)
backbone = backbones.get(backbone_name)
# Where to unfreeze from: near the head, deeper, deepest.
depths = [backbone.cut_points[place] for place in (-1, -2, -4)]

# %% [markdown]
# A network learns a little differently from other training images. So we repeat whatever we compare with other **draws** of them. That takes time, and a CPU has little of it: the next cell says how many draws, how many labels a class, how many steps at which rate, and how many augmented versions there are of each image (`"online"`: a new one each time). With a GPU, raise them. Where the rate comes from, section 7 will tell.

# %%
is_default = (data_name, backbone_name) == ("digits_wild", "GlyphNet")
if backbone_name == "GlyphNet":
    draws, label_counts, steps, rate, views = 2, (2, 5, 20), 80, 2e-3, "online"
else:
    draws, label_counts, steps, rate, views = 1, (5, 10), 30, 3e-4, 8
few = label_counts[1]  # labels a class, wherever we do not vary them

# %% [markdown]
# The mark to beat is what lesson 04 left us with: **frozen features and a trained head**. It is cheap, and it cannot break anything. Fine-tuning costs more, and has to earn it.
#
# Which images shall decide? Everything in this lesson is a decision, so we look at **validation** images, until section 9, where we read the test images, once.
#
# First the draws, and two small tools: a network with given weights, and a measurement.

# %%
import keras

from finetune_lib import data, evaluation

datasets = {
    (count, draw): data.load(data_name, labels_per_class=count, seed=draw)
    for count in label_counts
    for draw in range(draws)
}
dataset = datasets[few, 0]


def network(weights=None):
    """The pretrained network with a new head; or with these weights."""
    model = classifier.build(backbone_name, dataset.class_names, image_size=dataset.image_size)
    if weights is not None:
        model.set_weights(weights)
    return model


# %%
probe = network()  # one for all measurements: it takes over whichever weights we ask about


def accuracy(weights, dataset, part="validation"):
    """How many of all images of a part a network with these weights gets right, in %."""
    probe.set_weights(weights)
    return 100 * evaluation.evaluate(probe, dataset, part).accuracy


# %% [markdown]
# With the digits we shall train more than thirty networks, each for a few steps. For one network `fitting.fine_tune` does all that is needed, and section 8 comes to it. But each call compiles its steps anew, which takes as long as dozens of small steps. So we do as in [lesson 02b](02b_fine_tuning_as_descent.ipynb): one network and one compiled step for each kind of training, and each training begins by setting weights and optimiser back. You need not read the next cells now. Run them, remember that `train(weights, learner, examples, rates)` gives back new weights, and return to them when you want to know how. The parts we know: `freezing.split` cuts at the boundary (lesson 04), `optimizers.adam` makes the optimiser.

# %%
import tensorflow as tf

from finetune_lib import freezing, optimizers


# %%
class Learner:
    """A network that learns from a boundary on (None: its head alone), with one step for all its trainings."""

    def __init__(self, boundary, layer_rate_ratio=1.0, weight_decay=0.0, label_smoothing=0.0):
        self.model = network()
        freezing.freeze(self.model) if boundary is None else freezing.unfreeze_from(self.model, boundary)
        self.parts = freezing.split(self.model)
        kind = {"layer_rate_ratio": layer_rate_ratio, "weight_decay": weight_decay}
        self.optimizer = optimizers.adam(self.model, 1e-3, **kind)
        self.optimizer.build(self.parts[1].trainable_variables)
        self.loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)

    @tf.function(reduce_retracing=True)
    def step(self, inputs, labels, stored):
        """One step on a batch of images, or of what the frozen part has made of them and is stored."""
        prefix, suffix = self.parts
        features = inputs if stored else prefix(inputs, training=False)
        with tf.GradientTape() as tape:
            logits = suffix(features, training=True)
            value = self.loss(tf.one_hot(labels, logits.shape[-1]), logits)
        self.optimizer.apply(tape.gradient(value, [each.value for each in suffix.trainable_variables]))


# %% [markdown]
# Which batches does it get? The same that `fit` would take: of new versions of the images each time, or, with a large network, of activations that are stored. Within a draw, all that is augmented meets the same ones, in the same order.

# %%
import dataclasses
import math

from finetune_lib import batches

# %%
streams = {}


def batches_for(learner, count, draw, steps, is_augmented):
    """Batches of a draw, and whether they are stored activations. Those of digits are small: we keep them."""
    key = count, draw, is_augmented
    if key in streams and len(streams[key][0]) >= steps:
        return streams[key]
    dataset = datasets[count, draw]
    sizes = dataset.sizes | {"validation": 16}  # we validate at the end alone, and then on all images
    stream = batches.of_stage(
        learner.parts,
        dataclasses.replace(dataset, validation=dataset.validation.take(16), sizes=sizes),
        **{"cache": True, "validations": 0, "label": "", "verbose": 0, "batch_size": 32, "seed": draw},
        epochs=math.ceil(steps / math.ceil(sizes["train"] / 32)),
        augment=dataset.augment if is_augmented else None,
        views=views,
    )
    if not is_default:
        return stream.training, stream.stored
    streams[key] = list(stream.training), stream.stored
    return streams[key]


# %% [markdown]
# And the training itself: set back, then a step on each batch, at that step's rate.

# %%
import functools

new_learner = functools.cache(Learner)  # asked for the same kind again, it gives the same learner


@functools.cache
def rates(highest, steps, warm_up):
    """The rate of each step: up a straight line, then down half a cosine to zero."""
    schedule = optimizers.schedule(highest, steps, warm_up)
    return [float(schedule(step)) for step in range(steps)]


def train(weights, learner, examples, rates):
    """The weights after a step at each of these rates."""
    stream, stored = examples
    for memory in learner.optimizer.variables:
        memory.assign(keras.ops.zeros_like(memory))
    # Only now the weights: an optimiser's variables may include them (LayerwiseAdam, section 3).
    learner.model.set_weights(weights)
    for (inputs, labels), rate in zip(stream, rates, strict=False):
        learner.optimizer.learning_rate = rate
        learner.step(inputs, labels, stored)
    return learner.model.get_weights()


# %% [markdown]
# Now the heads, one for each draw: 200 steps, to where more would change little (lesson 04). They, and whatever we compare with them later, meet equally many versions of each image: a head on a few *stored* versions would be done sooner, and we might take for a gain of fine-tuning what comes of seeing more versions. `safeguards` are two settings whose turn comes in section 8.

# %% tags=["nbval-ignore-output"]
heads, head_rate = {}, 2e-3
safeguards = {"label_smoothing": 0.1, "weight_decay": 0.05}


def train_head(count, draw):
    """The weights of the pretrained network with a head that is trained on a draw."""
    learner = new_learner(None, **safeguards)
    examples = batches_for(learner, count, draw, 200, True)
    return train(network().get_weights(), learner, examples, rates(head_rate, 200, 0.0))


for draw in range(draws):
    heads[few, draw] = train_head(few, draw)
    found = accuracy(heads[few, draw], datasets[few, draw])
    print(f"draw {draw}: {found:.1f}% of {datasets[few, draw].sizes['validation']} validation images right")

# %% [markdown]
# ## 1. A recipe that hurts
#
# Here is how fine-tuning is often written when it is written in a hurry. The pretrained network gets a new head, all is set to trainable, the optimiser is called by its name, and ten epochs are a round number. Every line is legal, and training accuracy will look fine.


# %% tags=["nbval-ignore-output"]
def random_head(seed):
    """The weights of the pretrained network with a head of random numbers, as Keras makes them by default."""
    *body, kernel, bias = network().get_weights()
    return [*body, keras.initializers.GlorotUniform(seed)(kernel.shape).numpy(), bias]


ten_epochs = 10 * math.ceil(dataset.sizes["train"] / 32)  # in steps
plain_adam = new_learner(depths[-1])  # plain Adam, all layers at one rate
examples = batches_for(plain_adam, few, 0, ten_epochs, False)
weights = train(random_head(0), plain_adam, examples, ten_epochs * [1e-3])
print(f"10 epochs, accuracy on the training images {accuracy(weights, dataset, 'train'):.0f}%")

# %% [markdown]
# (`depths[-1]` is `block1`, so everything learns. With a large network it is a block in the middle, to save time. 0.001 is Adam's default rate.)
#
# **Guess:** how many *validation* images does it get right, where frozen features got the share printed above?

# %% tags=["nbval-ignore-output"]
naive = accuracy(weights, dataset)
frozen = accuracy(heads[few, 0], dataset)
print(f"validation: naive {naive:.1f}%, frozen features {frozen:.1f}%")

# %%
if is_default:
    assert naive < frozen - 15
    print("more than 15 points below frozen features: True")

# %% [markdown]
# All that effort, to be far worse than if we had let the network be. The features were good; we broke them. What did it? There are five suspects:
#
# 1. the **random head**, through which all learning passes;
# 2. **one rate for all**, as high in the first step as in the last, and as high in the first layer as in the head;
# 3. **ten epochs**, which here are a handful of steps;
# 4. **no augmentation**: the same few images, again and again;
# 5. **everything** was unfrozen.
#
# We question them one by one: repair one, keep it repaired, repair the next. Suspect 5 stays as it is to the end; section 5 is about it. **Guess** first: which repair gains most? Which gains nothing at all? After which are we back at what we had with frozen features?


# %%
def tuned(
    count, draw, boundary, steps, *, learning_rate, warm_up=None, head_first=True, augment=True, **kind
):
    """Weights of a draw, trained from the boundary on, after its trained head or a random one."""
    learner = new_learner(boundary, **kind)
    start = heads[count, draw] if head_first else random_head(draw)
    examples = batches_for(learner, count, draw, steps, augment)
    is_constant = warm_up is None
    rate_of_each = steps * [learning_rate] if is_constant else rates(learning_rate, steps, warm_up)
    return train(start, learner, examples, rate_of_each)


# %% [markdown]
# Suspect 2 gets three repairs at once: the rate rises over the first tenth of the steps, then falls to zero, and is ten times lower in the first layer than in the head. (Section 3 looks at the last of these alone.) The two safeguards of section 8, with which the head was trained, come along, so this row cannot tell them apart. The highest rate stays what it was, 0.001. At the end suspect 3 gets 80 steps. That is still few (`fitting.fine_tune` takes 600), so on the digits we make them twice as long, 0.002.

# %%
constant = {"learning_rate": 1e-3}  # plain Adam, without warm-up and decay
gentle = {"learning_rate": rate, "warm_up": 0.1, "layer_rate_ratio": 10.0, **safeguards}
as_fast = gentle | {"learning_rate": 1e-3}
if is_default:
    assert ten_epochs == 20 and steps == 80

repairs = {
    "naive": {"steps": ten_epochs, "head_first": False, "augment": False, **constant},
    "1. head first": {"steps": ten_epochs, "augment": False, **constant},
    "2. gentle rates": {"steps": ten_epochs, "augment": False, **as_fast},
    "3. augmentation": {"steps": ten_epochs, **as_fast},
    "4. more steps": {"steps": steps, **gentle},
}

# %% tags=["nbval-ignore-output"]
import numpy as np

from finetune_lib import plots

trained = {
    (name, draw): tuned(few, draw, depths[-1], **settings)
    for draw in range(draws)
    for name, settings in repairs.items()
    if (name, draw) != ("naive", 0)
}
trained["naive", 0] = weights  # the one that we have seen
trained |= {("frozen", draw): heads[few, draw] for draw in range(draws)}

# %% tags=["nbval-ignore-output"]
scores = {
    name: np.array([accuracy(trained[name, draw], datasets[few, draw]) for draw in range(draws)])
    for name in ("frozen", *repairs)
}
rows = []
for name, values in scores.items():
    ahead = (values - scores["frozen"]).mean()
    rows.append([name, *(f"{value:.1f}" for value in values), f"{values.mean():.1f}", f"{ahead:+.1f}"])
header = ["validation accuracy (%)", *(f"draw {draw}" for draw in range(draws)), "mean", "against frozen"]
print(plots.table(header, rows))

# %% tags=["nbval-ignore-output"]
import matplotlib.figure

figure = matplotlib.figure.Figure(figsize=(7.5, 2.8), layout="constrained")
axes = figure.subplots()
for place, (name, values) in enumerate(scores.items()):
    colour = plots.GREY if name == "frozen" else plots.VERMILION if place < 3 else plots.BLUE
    axes.plot(values, [place] * draws, "o", color=colour, alpha=0.5)
    axes.plot(values.mean(), place, "|", color=colour, markersize=18, markeredgewidth=3)
axes.axvline(scores["frozen"].mean(), color=plots.GREY, linestyle=":")
axes.set_yticks(range(len(scores)), scores)
axes.invert_yaxis()
axes.set_xlabel("validation accuracy (%): dots are draws, bars are means")
axes.spines[["top", "right"]].set_visible(False)
plots.show(
    figure,
    "Validation accuracy of frozen features and of the recipe after each repair, the table above: the naive one lies "
    "far below frozen features, head first closes most of the gap, gentle rates most of the rest, augmentation in 20 "
    "steps changes little, and with more steps the recipe passes the dotted line of frozen features.",
)

# %%
if is_default:
    mean = {name: values.mean() for name, values in scores.items()}
    assert (scores["1. head first"] > scores["naive"] + 15).all()
    assert mean["1. head first"] < mean["frozen"] - 2
    assert mean["2. gentle rates"] > mean["1. head first"] + 1
    assert mean["4. more steps"] > mean["frozen"]
    print("head first gains more than 15 points in each draw, and is still below frozen: True")
    print("gentle rates gain further; more steps, with augmentation, lead beyond frozen: True")

# %% [markdown]
# Read it as two halves. The first two repairs **stop the damage**: they bring us back to about where we would be without fine-tuning. The last two **make the gain**, the last one also by doubling the rate. What more steps gain *without* augmentation this table does not say: measure it (*Try it yourself* 3).
#
# This is why "I tried fine-tuning, and it did not help" is so common. Half a recipe is harmful, or gains little. The rest of the lesson takes the parts one at a time.
#
# ## 2. Head first, and what it does not protect from
#
# [Lesson 02b](02b_fine_tuning_as_descent.ipynb) has measured why the head comes first: a random head sends large, meaningless gradients down into features that were good (linear probing, then fine-tuning, LP-FT: Kumar et al., [2202.10054](https://arxiv.org/abs/2202.10054)). With a trained head the gradient is many times smaller. And yet our table shows a loss *with* a trained head: repair 1 is still below frozen. How can a small gradient do harm?
#
# We look at the very first step: how far does it move the body of the network, relative to the length of its weights? With both heads, and with two optimisers at the same rate of 0.001. **Guess:** for which optimiser does a trained head make the first step shorter?

# %%
images, labels = (np.stack(part) for part in zip(*dataset.train.as_numpy_iterator(), strict=True))
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def first_step(weights, optimizer):
    """How far one step on all training images moves the weights below the head, relative to their length."""
    twin = freezing.unfreeze_from(network(weights), depths[-1])
    body = [weight for weight in twin.trainable_weights if "logits" not in weight.path]
    before = [weight.numpy() for weight in body]
    with tf.GradientTape() as tape:
        value = cross_entropy(labels, twin(images.astype("float32")))
    slopes = tape.gradient(value, [weight.value for weight in body])
    optimizer.apply(slopes, body)
    moved = sum(np.sum((weight.numpy() - old) ** 2) for weight, old in zip(body, before, strict=True))
    return math.sqrt(moved / sum(np.sum(old**2) for old in before))


# %% tags=["nbval-ignore-output"]
starts = {"random head": random_head(0), "trained head": heads[few, 0]}
kinds = {"SGD": keras.optimizers.SGD, "Adam": keras.optimizers.Adam}
first = {
    (name, kind): first_step(start, make(1e-3))
    for name, start in starts.items()
    for kind, make in kinds.items()
}
rows = [[kind, *(f"{100 * first[name, kind]:.3f}%" for name in starts)] for kind in kinds]
print(plots.table(["the first step moves the body by", *starts], rows))

# %%
sgd, adam = (first["random head", kind] / first["trained head", kind] for kind in kinds)
assert 0.8 < adam < 1.25
if is_default:
    assert sgd > 3 and first["trained head", "Adam"] > 10 * first["trained head", "SGD"]
    print("SGD: more than three times shorter with a trained head: True")
print("Adam: as long with a trained head as with a random one: True")

# %% [markdown]
# That is the new fact. `SGD` steps in proportion to the gradient, so a trained head quiets it. **Adam divides by the gradient's size**: its first step moves every weight by the full rate, however little there is to learn. Head first tells it a better direction, and does not slow it down at all. For Adam, being careful has to come from the rate.
#
# (That is also how the classic code got away with so little: its `SGD(0.001)` hardly moved anything.)
#
# ## 3. Low rates, and lower below
#
# **Warm-up** and **decay** we know from lesson 02b: Adam's first steps rest on a single batch's noisy signs, so they should be short; its last ones should be, too, so that the weights settle. What is new is a rate for each *layer*.
#
# The reason is what the layers hold. Early ones hold what is common to most pictures (edges, strokes), late ones what is particular to the old task. So let the early ones move least. Howard and Ruder ([1801.06146](https://arxiv.org/abs/1801.06146)) call it *discriminative fine-tuning*, and divide the rate by 2.6 from each layer to the one below. That was for a network of a few layers. **Guess:** what remains for the first layer of a network of 50?

# %%
for layers in (4, 9, 50):
    print(f"{layers:2} layers: the first has {2.6 ** (1 - layers):.0e} of the last one's rate")
model = freezing.unfreeze_from(network(), depths[-1])
shares = optimizers.layer_rates(model, ratio=10.0)
print("\nwith a ratio of 10 from end to end:")
print(plots.table(["layer", "share of the rate"], [[path, f"{share:.2f}"] for path, share in shares.items()]))
assert math.isclose(min(shares.values()), 0.1) and math.isclose(max(shares.values()), 1.0)

# %% [markdown]
# Nothing. So we fix the ratio from end to end, `layer_rate_ratio=10`, and place the layers between on a geometric line: the same for a network of any length.
#
# ### Scale the step, not the gradient
#
# How does one give a layer a tenth of the rate? It seems natural to multiply its gradient by a tenth: with plain gradient descent that is the same thing. **Guess:** is it with Adam?

# %%
gradient = np.array([[0.5, -0.2]])


def step_of(optimizer, weight, slope):
    """What one step does to a weight that was zero."""
    optimizer.apply([keras.ops.convert_to_tensor(slope, "float32")], [weight])
    return weight.numpy().ravel()


def new_weight():
    return keras.Variable([[0.0, 0.0]], name="kernel")


scaled = new_weight()
a_tenth = optimizers.LayerwiseAdam(0.01, [([scaled], 0.1)])
steps_taken = {
    "SGD": step_of(keras.optimizers.SGD(0.01), new_weight(), gradient),
    "SGD, gradient / 10": step_of(keras.optimizers.SGD(0.01), new_weight(), gradient / 10),
    "Adam": step_of(keras.optimizers.Adam(0.01), new_weight(), gradient),
    "Adam, gradient / 10": step_of(keras.optimizers.Adam(0.01), new_weight(), gradient / 10),
    "LayerwiseAdam, share 0.1": step_of(a_tenth, scaled, gradient),
}
for name, step in steps_taken.items():
    print(f"{name:25} {step[0]:+.4f} {step[1]:+.4f}")

# %%
sgd, sgd_tenth, adam, adam_tenth, layerwise = steps_taken.values()
assert np.allclose(sgd_tenth, sgd / 10, rtol=1e-3)
assert np.allclose(adam_tenth, adam, rtol=1e-3) and np.allclose(layerwise, adam / 10, rtol=1e-3)
print("for Adam a tenth of the gradient is the same step; a tenth of the step is a tenth: True")

# %% [markdown]
# Adam's step is $a\, \hat m / (\sqrt{\hat v} + \varepsilon)$, with running means $\hat m$ of the gradient and $\hat v$ of its square. Multiply all gradients by $c$: the numerator grows by $c$, the denominator by $\sqrt{c^2}$, and $c$ is gone. It is section 2 once more.
#
# `optimizers.LayerwiseAdam` therefore scales the *step*. It is Keras' Adam with one method replaced, which Keras calls for each weight, and these are its two lines that matter:
#
# ```python
# rate = learning_rate * share
# super().update_step(gradient, variable, rate)
# ```
#
# What does the ratio do to a real network? Our rate of 0.002 is on the safe side, as we shall see. To see a difference, we go five times as fast on purpose, 0.01, with a ratio of 10 and with none. **Guess:** in which layers do the two differ most?

# %% tags=["nbval-ignore-output"]
fast = 5 * rate
for draw in range(draws):
    for ratio in (10.0, 1.0):
        settings = gentle | {"learning_rate": fast, "layer_rate_ratio": ratio}
        trained[f"too fast, ratio {ratio:.0f}", draw] = tuned(few, draw, depths[-1], steps, **settings)


def kernels(weights):
    """Each layer's kernel, by its name."""
    probe.set_weights(weights)
    return {name: probe.get_layer(name).get_weights()[0] for name in shares}


def moved(weights, start):
    """How far each layer's kernel has moved, relative to its length, in %."""
    new, old = kernels(weights), kernels(start)
    return {name: 100 * np.linalg.norm(new[name] - old[name]) / np.linalg.norm(old[name]) for name in shares}


# %% tags=["nbval-ignore-output"]
distances = {
    name: moved(trained[old_name, 0], heads[few, 0])
    for name, old_name in {
        f"rate {rate:g}, ratio 10": "4. more steps",
        f"rate {fast:g}, ratio 10": "too fast, ratio 10",
        f"rate {fast:g}, no ratio": "too fast, ratio 1",
    }.items()
}
below = list(shares)[:-1]  # the layers below the head
shown = below[:: max(1, len(below) // 8)]
rows = [[name, *(f"{values[name]:.0f}" for values in distances.values())] for name in shown]
print(plots.table(["layer, moved by (%)", *distances], rows))
plots.show(
    plots.bars(
        shown,
        {name: [values[layer] for layer in shown] for name, values in distances.items()},
        "moved by (%)",
    ),
    "How far each layer has moved, three bars a layer, the numbers of the table above: without a ratio the first "
    "layers have moved several times as far as with a ratio of 10; the last ones about as far.",
)

# %%
_, with_ratio, without = ([values[layer] for layer in below] for values in distances.values())
if is_default:
    assert without[0] > 2.5 * with_ratio[0] and without[-1] < 2 * with_ratio[-1]
    print("without a ratio the first layer moves more than 2.5 times as far, the last less than twice: True")

# %% [markdown]
# And the accuracy on digits? Hold your breath; it comes in section 6, with a surprise.
#
# ## 4. BatchNormalization: statistics that move by themselves
#
# GlyphNet has no BatchNormalization; most larger networks do. Such a layer subtracts a mean and divides by a standard deviation, channel by channel. In training mode it takes them from the batch at hand, and keeps running averages of them, for later. Lesson 04 has shown that these averages move in a base that one believed to be frozen. How bad is that? First: how good are the statistics of a small batch? (We take one number an image and channel, the pooled feature. A layer after a convolution also averages over rows and columns, so its error is smaller; but neighbouring pixels are alike, and count for less than their number.)

# %%
everybody = data.load("digits_wild")  # all 646 training images
pool = np.stack([image for image, _ in everybody.train.as_numpy_iterator()]).astype("float32")
glyph_network = classifier.build("GlyphNet", everybody.class_names)
to_features = keras.Model(glyph_network.input, glyph_network.get_layer("average_pool").output)
channels = to_features.predict(pool, batch_size=256, verbose=0)
generator = np.random.default_rng(0)
for size in (2, 8, 32):
    drawn = [channels[generator.choice(len(pool), size, replace=False)].std(axis=0) for _ in range(200)]
    off = np.abs(np.array(drawn) / channels.std(axis=0) - 1).mean()
    print(f"{size:2} images: the standard deviation of a channel is off by {off:.0%} on average")

# %% [markdown]
# The weights above such a layer were trained for the statistics of a large data set. In training mode they now get those of a handful, which even differ from batch to batch. Wu and He ([1803.08494](https://arxiv.org/abs/1803.08494)) show the error of networks rising steeply as batches get small.
#
# Second: no training is needed to do this damage. We build a tiny network with a BatchNormalization that knows all the digits, and only *show* it ten of them, thirty times, in training mode, as `fit` would. There is no loss, no gradient, no optimiser. Once the layer is as `freezing.unfreeze_from` leaves it, once as Keras makes it unless told otherwise. **Guess:** what moves?

# %%
inputs = keras.Input((32, 32, 3), name="image")
x = keras.layers.Conv2D(8, 3, name="convolution")(inputs)
x = keras.layers.BatchNormalization(name="normalization")(x)
x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
tiny = keras.Model(inputs, keras.layers.Dense(10, name="logits")(x))
convolved = tiny.get_layer("convolution")(pool).numpy()
known = [convolved.mean(axis=(0, 1, 2)), convolved.var(axis=(0, 1, 2))]  # of all digits
tiny.get_layer("normalization").set_weights([np.ones(8), np.zeros(8), *known])

# %% tags=["nbval-ignore-output"]
moved_weights, drift = {}, {}
for learns in (False, True):
    freezing.unfreeze_from(tiny, "convolution", train_batch_normalization=learns)
    old_weights, old_answers = tiny.get_weights(), tiny(pool[:200]).numpy()
    for _ in range(30):
        tiny(pool[:10], training=True)
    pairs = zip(tiny.weights, old_weights, strict=True)
    moved_weights[learns] = [weight.name for weight, old in pairs if not np.array_equal(weight.numpy(), old)]
    drift[learns] = np.linalg.norm(tiny(pool[:200]).numpy() - old_answers) / np.linalg.norm(old_answers)
print(f"the answers to 200 images have changed by {drift[True]:.0%}")

# %%
for learns, names in moved_weights.items():
    print(f"BatchNormalization trainable: {learns!s:5}  moved: {', '.join(names) or 'nothing'}")
assert moved_weights == {True: ["moving_mean", "moving_variance"], False: []}
assert drift[True] > 0.01 and drift[False] < 1e-4
print("the answers have changed by more than 1%, without any training: True")

# %% [markdown]
# Nobody has trained it, and the network answers differently. So **freeze BatchNormalization**, also in the blocks that you unfreeze: `unfreeze_from` does, unless you ask for `train_batch_normalization=True`, and `fit` checks afterwards that the statistics are the same, bit by bit. Consider letting it learn when you have thousands of images and batches of 32 or more (a rule of thumb, not measured here); or from scratch, where there is nothing to keep.
#
# ## 5. How deep?
#
# Now the fifth suspect. Unfreezing from the top down, we get four candidates: the head alone, and three boundaries, each deeper. Deeper means more freedom, and more to lose; also more work: only what lies *below* the boundary can be computed once and stored.

# %%
from finetune_lib import cost

whole = cost.forward(model)
rows = []
for depth in (None, *depths):
    place = network()
    freezing.freeze(place) if depth is None else freezing.unfreeze_from(place, depth)
    learning = sum(math.prod(weight.shape) for weight in place.trainable_weights)
    below_it = cost.forward(freezing.split(place)[0]) / whole
    rows.append([depth or "head", f"{learning:,}", f"{below_it:.0%}"])
print(plots.table(["trained from", "parameters that learn", "of the arithmetic is below, and stored"], rows))

# %% [markdown]
# A common rule says: *the fewer labels, the fewer layers*, because many weights and few images overfit. It sounds reasonable. Each depth gets the same steps on the same versions of the images, at the same rates, from the same trained head; with 2, 5 and 20 labels a class, if you took the digits.
#
# **Guess:** sketch the four lines: accuracy against labels. Do they cross? At 2 labels a class, which is on top?

# %% tags=["nbval-ignore-output"]
for count in label_counts:
    for draw in range(draws):
        if (count, draw) not in heads:
            heads[count, draw] = train_head(count, draw)


def at_depth(depth, count, draw):
    """Validation accuracy of a draw with the boundary at this depth; None for the head alone."""
    if depth is None:
        return accuracy(heads[count, draw], datasets[count, draw])
    if (depth, count) == (depths[-1], few):  # section 1 has trained it
        return scores["4. more steps"][draw]
    return accuracy(tuned(count, draw, depth, steps, **gentle), datasets[count, draw])


curves = {
    depth or "head": np.array(
        [[at_depth(depth, count, draw) for count in label_counts] for draw in range(draws)]
    )
    for depth in (None, *depths)
}

# %% tags=["nbval-ignore-output"]
from finetune_lib import transfer_plots

plots.show(
    transfer_plots.accuracy_against_labels(label_counts, curves),
    "Validation accuracy against labels a class, one line a depth, a dot a draw, the table below: all lines rise with "
    "the labels; the deepest is at or near the top, the head at or near the bottom; with the fewest labels the draws "
    "lie much farther apart than the lines.",
)
print(transfer_plots.accuracy_against_labels_table(label_counts, curves))

# %%
gain = curves[depths[-1]] - curves["head"]  # each draw against its own head
if is_default:
    assert gain.mean() > 0.5 and gain[:, 0].mean() > -1 and np.sum(gain > 0) >= 4
    assert abs(curves[depths[-1]].mean() - curves[depths[-2]].mean()) < 2
    print("from the deepest boundary on: ahead of the head on average, in at least 4 of 6 pairs: True")
    print("with 2 labels a class it is on average not more than a point behind: True")
    print("from block 1 and from block 3 on differ by less than 2 points on average: True")

# %% tags=["nbval-ignore-output"]
more = (curves["head"][:, -1] - curves["head"][:, -2]).mean()
print(f"the head: from {label_counts[-2]} to {label_counts[-1]} labels a class {more:+.1f} points")
print(f"{label_counts[-2]} labels: from the head to the deepest boundary {gain[:, -2].mean():+.1f} points")

# %% [markdown]
# On the digits the rule does not hold: the deepest is not the one that suffers from few labels. Freedom is not what overfits; *how far one goes* is. Starting from a trained head, with low rates that fall to zero, the network stays near where it began (section 2 of lesson 02b), however many weights may move. (Mind the spread, too: with two labels a class, *which* two matters more than anything in this lesson.)
#
# Then what should decide the depth? *Where the new images differ from the old.* Features become more particular from layer to layer (Yosinski et al., [1411.1792](https://arxiv.org/abs/1411.1792)). Lee et al. ([2210.11466](https://arxiv.org/abs/2210.11466)) tried each block alone: where the pictures had changed (noise, blur, contrast), the *first* block was the one to tune; where the labels had, the last. Wild digits are faded, noisy, inverted strokes of a pen: a change of the picture. Photos of flowers look like ImageNet's. Our table does not show that the first block matters most: from block 3 on does about as well as from block 1 on. Only block 1 trained alone would tell (*Try it yourself* 2). So:
#
# - **Try three depths**, the top block, the middle, and the deepest that you can afford, from the same head, on validation images, with more than one draw. Which of the two deeper ones is the best on digits, two draws cannot say.
# - **If two are equally good, take the shallower**: it is cheaper, and forgets less, as we shall see.
# - **Mind the last two lines above.** If labels can be had, they may gain more than any depth does.
#
# ## 6. What is forgotten
#
# GlyphNet's old head, for letters and symbols, still exists. Lesson 02b put it back on a fine-tuned network, to see what the features still know of the old task. We do the same to the models of this lesson. (Nobody will ask a network for flowers what it remembers of ImageNet's hammers; but we could not check it either, since its old head is not here. So this section is GlyphNet's alone.)
#
# **Guess:** accuracy on digits against accuracy on glyphs. Will the models that are best at the new task be those that have kept, or those that have given up, the old one?

# %% tags=["nbval-ignore-output"]
from finetune_lib import glyphnet

old_task = glyphnet.glyph_stream(glyphnet.HELD_OUT_FONTS, steps=2, seed=5)
glyphs, glyph_labels = (np.concatenate(parts) for parts in zip(*old_task.as_numpy_iterator(), strict=True))
with_old_head = glyphnet.source_classifier(len(glyphnet.GLYPHS))
glyphnet.load_weights(with_old_head, "glyphs")


def remembered(weights):
    """How many glyphs in unknown fonts these weights' features still tell apart, with the old head, in %."""
    probe.set_weights(weights)
    for layer in with_old_head.layers:
        if layer.name.startswith("block") and layer.weights:
            layer.set_weights(probe.get_layer(layer.name).get_weights())
    answers = with_old_head.predict(glyphs, batch_size=256, verbose=0).argmax(axis=1)
    return 100 * np.mean(answers == glyph_labels)


# %% tags=["nbval-ignore-output"]
compared = {
    "frozen": "frozen",
    "naive": "naive",
    "1. head first": "head first, rate 0.001 for all",
    "4. more steps": "gentle: 0.002, ratio 10",
    "too fast, ratio 10": "0.01, ratio 10",
    "too fast, ratio 1": "0.01, one rate for all",
}
if backbone_name == "GlyphNet":
    for name in compared:
        if name not in scores:
            scores[name] = np.array(
                [accuracy(trained[name, draw], datasets[few, draw]) for draw in range(draws)]
            )
    memory = {
        label: np.array([[remembered(trained[name, draw]), scores[name][draw]] for draw in range(draws)])
        for name, label in compared.items()
    }
    rows = [
        [label, *(f"{pair.mean():.0f} ({' '.join(f'{value:.0f}' for value in pair)})" for pair in values.T)]
        for label, values in memory.items()
    ]
    print(plots.table(["mean (each draw)", "old task: glyphs (%)", "new task: digits (%)"], rows))

# %% tags=["nbval-ignore-output"]
if backbone_name == "GlyphNet":
    figure = matplotlib.figure.Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    styles = zip(memory.items(), transfer_plots.COLOURS, transfer_plots.MARKERS, strict=False)
    for (label, values), colour, marker in styles:
        axes.plot(values[:, 0], values[:, 1], marker, color=colour, markersize=9, label=label)
    axes.axhline(memory["frozen"][:, 1].mean(), color=plots.GREY, linestyle=":")
    axes.set(
        xlabel="old task: glyphs recognised (%)", ylabel="new task: digits recognised (%)", xlim=(0, 103)
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    plots.show(
        figure,
        "Digits against glyphs, a point a draw, the table above: the gentle recipe stands at the top right, above "
        "frozen features and nearly as far right; 0.01 with a ratio about as high but far to the left; 0.01 "
        "without a ratio lower and farthest left; the naive one at the bottom.",
    )

# %%
if is_default:
    old, new = (np.array([values[:, place].mean() for values in memory.values()]) for place in (0, 1))
    frozen_old, _, _, gentle_old, fast_old, no_ratio_old = old
    assert frozen_old - gentle_old < 6 < 15 < frozen_old - fast_old and no_ratio_old < fast_old - 15
    assert no_ratio_old < frozen_old / 2
    assert abs(new[4] - new[3]) < 4 and new[5] < new[4]
    print("gentle: less than 6 points of the old task are lost: True")
    print("rate 0.01: more than 15; without a ratio at least another 15: True")
    print("yet on digits rate 0.01 with a ratio is within 4 points of gentle; without one it is lower: True")

# %% [markdown]
# Here is the surprise. At a rate of 0.01 with a ratio of 10 the network loses a good part of its old task, **and the digits hardly show it**. A good validation accuracy does not tell you that the features are still what they were. (Without a ratio the digits suffer, too.) And the ratio is what protects them: with one rate for all, most of the old task is gone.
#
# Is forgetting bad, then? Not in itself. If nobody will ask for glyphs again, accuracy on digits is all that counts. But it is worth knowing when
#
# - **the old task goes on**: one body with two heads, or a model that has to recognise old classes, too;
# - **the new images will not all look like the few that you have**: what was forgotten is what they might have needed. Kumar et al. found just that: fine-tuned networks gained on familiar images and lost on unfamiliar ones;
# - **you choose between recipes of equal accuracy**: take the one that has moved less.
#
# What helps: a lower rate, a higher ratio, a boundary further up, fewer steps. There are stronger means, for instance a penalty on moving those weights that mattered to the old task (Kirkpatrick et al., [1612.00796](https://arxiv.org/abs/1612.00796)). The surest is to leave the old network as it is and keep both.
#
# ## 7. The range test: where is the cliff?
#
# On the digits, 0.002 was fine and 0.01 too fast. How would one know beforehand, for another network? By trying *all* rates in a single short run (Smith, [1506.01186](https://arxiv.org/abs/1506.01186)): start at a rate at which nothing moves, multiply it by a little in each step, and watch the loss. `fitting.learning_rate_range` does this, compares each batch with itself before the first step (so that easy batches do not pass for good rates), and puts the weights back in the end.
#
# We ask it about two trainings: a new head on frozen features, and the whole network under a trained head, with a ratio of 10. **Guess:** which bears the higher rate, and by what factor?

# %% tags=["nbval-ignore-output"]
from finetune_lib import fitting

options = {
    "lowest": 1e-5,
    "steps": 80 if backbone_name == "GlyphNet" else 40,
    "augment": dataset.augment,
    "verbose": 0,
}
new_head = freezing.freeze(network())
under_a_head = freezing.unfreeze_from(network(heads[few, 0]), depths[-1])
ranges = {
    "a new head": fitting.learning_rate_range(new_head, dataset, **options),
    "the network under it": fitting.learning_rate_range(
        under_a_head, dataset, layer_rate_ratio=10.0, **options
    ),
}
for name, found in ranges.items():
    print(f"{name}: {found}")

# %% tags=["nbval-ignore-output"]
body_range = ranges["the network under it"]
plots.show(
    plots.range_test(body_range),
    "Loss against the learning rate, on a logarithmic axis, for the network under a trained head, the table below: "
    "flat at low rates, falling to a valley, then rising steeply; the suggestion is marked well to the left of the "
    "valley's bottom.",
)
print(plots.range_test_table(body_range))

# %%
if is_default:
    assert ranges["a new head"].suggestion > 4 * body_range.suggestion
    assert body_range.suggestion < rate < fast and body_range.lowest < fast
    print("a new head bears more than four times the rate: True")
    print("0.01 lies beyond the valley: True")

# %% [markdown]
# Read the curve in three parts: **flat** (too low to matter), **falling** (the useful range), **rising** (the cliff). The suggestion is deliberately on the low side: half-way down, or a tenth of where the loss is lowest. The useful range goes on beyond it; our 0.002 is in its upper part, which validation images had to confirm. 0.01 lies beyond the bottom of the valley.
#
# What the test does *not* know: anything about forgetting or overfitting. It looks at training images for less than a hundred steps. So take the order of magnitude from it, and the decision from validation images.
#
# ## 8. The recipe, in one call
#
# All of the above is one function, `fitting.fine_tune(model, dataset, "block1")`. These are its defaults:

# %%
import inspect

parameters = inspect.signature(fitting.fine_tune).parameters
defaults = {name: each.default for name, each in parameters.items() if isinstance(each.default, int | float)}
for name, value in defaults.items():
    print(f"{name:20} {value}")
assert defaults["head_steps"] == defaults["steps"] == 600 and defaults["layer_rate_ratio"] == 10
assert defaults["learning_rate"] == defaults["head_learning_rate"] == 0.001 and defaults["warm_up"] == 0.1
assert defaults["label_smoothing"] == 0.1 and defaults["weight_decay"] == 0.05

# %% [markdown]
# | setting | the reason for it |
# |---|---|
# | two stages, the head first | a random head breaks features (section 2); on stored features the head costs next to nothing |
# | `head_steps`, `steps` | steps, not epochs: how many are needed hardly depends on how many images make an epoch (section 1) |
# | `learning_rate` | of the last layer; from the falling part of the range test (section 7) |
# | `warm_up` | Adam's first steps are full ones, whatever the gradient says (section 2) |
# | decay, half a cosine to zero | lets the weights settle; then the *last* weights are the ones to keep (lesson 02b) |
# | `layer_rate_ratio` | early layers hold what is common to most pictures, and forget it unseen (sections 3 and 6) |
# | `label_smoothing` | few images are soon known by heart; asked for 91% certainty (with ten classes) instead of 100%, the network does not go on pushing (Szegedy et al., [1512.00567](https://arxiv.org/abs/1512.00567)) |
# | `weight_decay` | the usual value; pulls kernels towards zero a little, not biases; hardly matters in so few steps |
# | BatchNormalization frozen | its statistics move by themselves (section 4) |
# | `augment=dataset.augment` | *not* a default, since only you know what keeps a label (lesson 03); without it, the same few images come again and again (*Try it yourself* 3 measures it) |
#
# The first network of section 1 that beat frozen features was made by hand: a head, its weights in a learner with another boundary, a second training, with a step that we wrote ourselves. We ask for the same in one call, with our shorter stages, from the deepest boundary again, so that the two can be compared. (By the rule of section 5 block 3 would do on the digits: about as good, and cheaper.) Fine-tuning has moved the weights of the hand-made network by some distance. **Guess:** how far from them will the new ones end, in per cent of that distance?

# %% tags=["nbval-ignore-output"]
dataset = datasets[few, 0]
model = classifier.build(backbone_name, dataset.class_names, image_size=dataset.image_size)
reports = fitting.fine_tune(
    model,
    dataset,
    depths[-1],
    head_steps=200,
    steps=steps,
    head_learning_rate=head_rate,
    learning_rate=rate,
    augment=dataset.augment,
    views=views,
    verbose=0,
)
for report in reports:
    print(report)


# %% tags=["nbval-ignore-output"]
def distance(one, other):
    """The length of the difference of two lists of weights."""
    return math.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(one, other, strict=True)))


by_hand = trained["4. more steps", 0]
apart = distance(model.get_weights(), by_hand) / distance(by_hand, heads[few, 0])
print(f"apart by {apart:.3%} of the way that fine-tuning has moved them")

# %%
if is_default and not environment.gpu_names():  # a GPU adds up in another order each time
    assert apart < 0.05
    print("the same weights as by hand, but for less than 5% of the way that they have moved: True")

# %% [markdown]
# There is no magic in it, and no luck: training depends on nothing but data, settings and seed. The little that is left is rounding: `fit` does the same arithmetic as our step, but not in quite the same order. (It can do more: with `checkpoint="my_run"` it survives being killed at any moment, and goes on where it was.)
#
# Both stages on one axis. The grey line is where the boundary moved. **Before you read the table:** in which stage is training accuracy at its end? What do the validation curves do before the line, and after it?

# %% tags=["nbval-ignore-output"]
plots.show(
    plots.learning_curves(reports),
    "Loss and accuracy of both stages against the epoch, training and validation, the table below: in the first stage "
    "training accuracy goes to 1 and the validation curves level off; beyond the grey line validation loss falls once "
    "more.",
)
print(plots.learning_curves_table(reports))

# %%
first_stage, second_stage = (report.history for report in reports)
if is_default:
    assert first_stage["accuracy"][-1] > 0.95
    assert second_stage["val_loss"][-1] < first_stage["val_loss"][-1]
    print("training images known by heart in the first stage: True")
    print("beyond the boundary validation loss falls further: True")

# %% [markdown]
# In the first stage the network has soon learned all that a head can learn from these features: the curves go flat, and more steps would not help. Then the boundary moves, the features themselves learn, and there is room again.
#
# One draw shows what is possible, not what is to be expected. For that we have the six pairs of section 5: each draw's fine-tuned network against *its own* frozen one.

# %% tags=["nbval-ignore-output"]
rows = [
    [f"{count} labels a class", *(f"{value:+.1f}" for value in column), f"{column.mean():+.1f}"]
    for count, column in zip(label_counts, gain.T, strict=True)
]
print(plots.table(["fine-tuned minus frozen", *(f"draw {draw}" for draw in range(draws)), "mean"], rows))
print(f"all pairs: {gain.mean():+.1f} points on average, {np.sum(gain > 0)} of {gain.size} above zero")

# %% [markdown]
# Why *pairs*? Because draws differ more than recipes do: subtract within a draw, and what is hard about it is gone. It is still a small sample. The benchmark in the [README](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/README.md) repeats it with ten draws, on test images, with the default number of steps, and against the recipes of Keras' guide and of fast.ai.
#
# ## 9. Which images crossed the line?
#
# All decisions are taken. Now, once, the **test images**: the frozen network of draw 0, and the fine-tuned one of section 8. A network with a higher accuracy is not right wherever the other was, and then some. It wins some images and loses others. **Guess:** for each image lost, how many are won?

# %% tags=["nbval-ignore-output"]
frozen_network = network(heads[few, 0])
before, after = (evaluation.evaluate(each, dataset) for each in (frozen_network, model))
groups = dataset.groups.get("test", np.arange(dataset.sizes["test"]))  # without known writers, image by image
difference, low, high = evaluation.bootstrap_difference(after.correct, before.correct, groups)
print(f"frozen:     {before}\nfine-tuned: {after}")
print(f"difference: {difference:+.1%} (95% interval {low:+.1%} to {high:+.1%})")

# %% tags=["nbval-ignore-output"]
fates = {
    "right before and after": before.correct & after.correct,
    "won": ~before.correct & after.correct,
    "lost": before.correct & ~after.correct,
    "wrong before and after": ~before.correct & ~after.correct,
}
kept, won, lost, wrong = (int(fate.sum()) for fate in fates.values())
print(
    plots.table(
        ["", "right when fine-tuned", "wrong when fine-tuned"],
        [
            ["right when frozen", str(kept), f"{lost} lost"],
            ["wrong when frozen", f"{won} won", str(wrong)],
        ],
    )
)

# %% [markdown]
# Only the two corners *won* and *lost* speak of the difference between the networks; the others would be the same whichever we took. Have a look at them. Above each: the truth, and what the answer was before and is now.

# %% tags=["nbval-ignore-output"]
test_images = np.stack([image for image, _ in dataset.test.as_numpy_iterator()])


def show_fate(fate, most=20):
    """The first images that were won, or lost."""
    chosen = np.flatnonzero(fates[fate])[:most]
    names = [
        f"{dataset.class_names[before.labels[i]]}: {dataset.class_names[before.predictions[i]]} → "
        f"{dataset.class_names[after.predictions[i]]}"
        for i in chosen
    ]
    columns = 10 if max(map(len, dataset.class_names)) < 3 else 4
    plots.show(
        plots.image_grid([test_images[i] for i in chosen], names, columns=columns),
        f"Test images {fate} by fine-tuning; truth: answer before → answer after. " + "; ".join(names),
    )


show_fate("won")

# %% tags=["nbval-ignore-output"]
show_fate("lost")

# %% [markdown]
# Before you read on: what have the won ones in common? The lost ones? Write it down, then we count. Three questions to the numbers: which classes are they; how *sure* was the frozen network, measured by its **margin**, the distance between its first and its second choice; and how sure is the fine-tuned one?

# %% tags=["nbval-ignore-output"]


def margin(result):
    """How much more probable the first choice is than the second, for each image."""
    ordered = np.sort(result.probabilities, axis=1)
    return ordered[:, -1] - ordered[:, -2]


margins = {fate: [np.median(margin(each)[rows]) for each in (before, after)] for fate, rows in fates.items()}
rows = []
for fate, chosen in fates.items():
    classes = np.bincount(before.labels[chosen], minlength=len(dataset.class_names))
    most = [f"{dataset.class_names[i]} ({classes[i]})" for i in np.argsort(-classes, kind="stable")[:3]]
    rows.append([fate, str(chosen.sum()), *(f"{value:.2f}" for value in margins[fate]), ", ".join(most)])
print(plots.table(["images", "count", "median margin, frozen", "fine-tuned", "most frequent classes"], rows))

# %%
crossed, stayed = (
    np.concatenate([margin(before)[fates[fate]] for fate in names])
    for names in (["won", "lost"], ["right before and after"])
)
if is_default:
    assert won > lost and difference > 0
    assert np.median(crossed) < np.median(stayed) / 2
    print("more images are won than lost: True")
    print(
        "the frozen network's margin on those that crossed is less than half of that on those right both times: True"
    )

# %% [markdown]
# What they have in common is that they were *close*. The frozen network had two answers in mind, and hardly preferred one. Fine-tuning moves the line between classes, and whoever stood near it may find himself on the other side; most that were clear stay clear. (Those wrong both times were close, too: a small margin says that an image is hard, not that it will cross.) Of those that crossed, more came to our side than left it; on this one draw, `difference` above says how sure that is.
#
# (Useful beyond this lesson: the images with the smallest margins are the ones to have labelled next.)
#
# ### Where in the network has it changed?
#
# The answers differ; since which layer? We send the same test images through both networks and compare what comes out of each block: the length of the difference, relative to the length of what came out before. **Guess:** is the change largest at the bottom, where all begins, or at the top?

# %% tags=["nbval-ignore-output"]


def end_of(block):
    """The last layer of a block that still gives a picture: rows, columns, channels."""
    named = [layer for layer in model.layers if freezing.is_called(layer.name, block)]
    return [layer.name for layer in named if len(layer.output.shape) == 4][-1]


watched = [end_of(block) for block in backbone.cut_points]
sample = test_images[:64].astype("float32")
outputs = [
    keras.Model(each.input, [each.get_layer(name).output for name in watched])(sample, training=False)
    for each in (frozen_network, model)
]
changes = {
    name: 100 * np.linalg.norm(new.numpy() - old.numpy()) / np.linalg.norm(old.numpy())
    for name, old, new in zip(watched, *outputs, strict=True)
}


# %% tags=["nbval-ignore-output"]
def most_active(output):
    """The eight channels with the highest mean, for each image."""
    return [set(row) for row in np.argsort(-output.numpy().mean(axis=(1, 2)), axis=1)[:, :8]]


shared = {
    name: np.mean([len(a & b) for a, b in zip(most_active(old), most_active(new), strict=True)])
    for name, old, new in zip(watched, *outputs, strict=True)
}
plots.show(
    plots.bars(list(changes), {"change": list(changes.values())}, "change of what comes out (%)"),
    "Relative change of each block's output in percent: "
    + ", ".join(f"{name} {value:.0f}" for name, value in changes.items()),
)
rows = [[name, f"{value:.1f}", f"{shared[name]:.1f}"] for name, value in changes.items()]
print(plots.table(["after", "change (%)", "of the 8 most active channels, still among them"], rows))

# %%
values = list(changes.values())
if is_default:
    assert values[-1] > 1.5 * values[0] and values[0] > 1 and min(shared.values()) > 4.5
    print("after the last block the change is more than 1.5 times what it is after the first: True")
    print("and yet more than half of the most active channels are the same: True")

# %% [markdown]
# Each block adds its own change to what it is handed, so the change grows on its way up. Now a single image, one that was won: its most active channels before fine-tuning, then after, their numbers above them. Compare row by row: which channels have come to the front, and does any show something that was not there before?

# %% tags=["nbval-ignore-output"]
chosen = test_images[np.flatnonzero(fates["won"])[0] if won else 0]
for name, each in (("frozen", frozen_network), ("fine-tuned", model)):
    plots.show(
        transfer_plots.activation_maps(each, chosen, watched),
        f"The {name} network on one image: what its most active channels show after each block, as the table below says.",
    )
    print(f"{name}\n{transfer_plots.activation_maps_table(each, chosen, watched)}")

# %% [markdown]
# After the first blocks the two can hardly be told apart; further up the order has changed, and the weights that the channels carry, but mostly the same channels speak. Fine-tuning has not built a new network. It has shifted the weight that is given to what was there already.
#
# ## 10. Save it
#
# Lessons 06 to 08 evaluate, deploy and compress a fine-tuned model: take yours along. One file holds layers, weights and preprocessing. It loads in Keras' **safe mode**, which refuses to run code that somebody may have hidden in a file, and without this course's library. Beside it `handover.save` keeps the model's answers to the validation images, so that each lesson can prove that it still gives the same ones. (On Colab mount Google Drive first, or it is gone with the session; the lessons then train one anew.)

# %%
from finetune_lib import handover

file = handover.save(model, dataset, labels_per_class=few)
loaded = keras.saving.load_model(file, safe_mode=True)
answers = [each.predict(test_images.astype("float32"), batch_size=64, verbose=0) for each in (model, loaded)]
assert np.allclose(*answers, atol=1e-4)
print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB; the same answers to {len(test_images)} images: True")

# %%
used = {
    "labels_per_class": few,
    "unfreeze_from": depths[-1],
    "head_steps": 200,
    "head_learning_rate": head_rate,
    "steps": steps,
    "learning_rate": rate,
    "views": views,
}
same = handover.recipe(backbone_name) == used
print(f"the recipe by which lessons 06 to 08 train one where nothing was saved: {same}")

# %% [markdown]
# ## 11. Which recipe?
#
# What to do with the next network and the next data, on one page. Each question is answered by a measurement of this course, none by taste.


# %%
chart = """
Is there a network pretrained on / pictures like yours? | no | Weigh other sources; with many labels, / from scratch (lesson 01)
A head on frozen features: / good enough for its purpose? | yes | Stop. Nothing is cheaper, / nothing is forgotten (lesson 04)
fine_tune from top, middle, bottom: / is one better, in most draws? | no | Below frozen? Repair (section 1). / Equal? More labels, or stay frozen
Is a shallower one / as good? | yes | Take that: cheaper, / forgets less (sections 5 and 6)
Must the old task survive, or will / images come that look different? | yes | Measure it. Lower rate, higher / ratio, fewer layers (section 6)
"""
questions = [line.replace(" / ", "\n").split(" | ") for line in chart.strip().splitlines()]
last = "Read the test images, once.\nSave it (sections 9 and 10)"


# %%
def decision_chart(questions, last):
    """The questions one below the other, and to the right what to do where an answer leads aside."""
    figure = matplotlib.figure.Figure(figsize=(8.5, 7))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 10), ylim=(-len(questions) - 0.4, 0.4))
    axes.axis("off")

    def box(x, y, text, colour):
        style = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": colour, "linewidth": 2}
        return axes.text(x, y, text, ha="center", va="center", bbox=style).get_bbox_patch()

    def arrow(start, end, place_from, place_to, word, x, y):
        style = {"arrowstyle": "-|>", "color": "black", "patchA": start, "patchB": end}
        axes.annotate("", place_to, place_from, arrowprops=style)
        axes.text(x, y, word, ha="center", va="center", color=plots.VERMILION, weight="bold")

    lefts = [box(2.4, -place, f"{place + 1}. {row[0]}", plots.BLUE) for place, row in enumerate(questions)]
    lefts.append(box(2.4, -len(questions), last, plots.GREY))
    for place, (_, aside, action) in enumerate(questions):
        right = box(7.6, -place, action, plots.VERMILION)
        onward = "then" if place == len(questions) - 1 else {"yes": "no", "no": "yes"}[aside]
        arrow(lefts[place], right, (2.4, -place), (7.6, -place), aside, 5.1, 0.1 - place)
        arrow(lefts[place], lefts[place + 1], (2.4, -place), (2.4, -place - 1), onward, 2.8, -place - 0.5)
    return figure


# %%
plots.show(
    decision_chart(questions, last),
    "Decision chart: five questions one below the other, an arrow to the right to what to do, an arrow down to the next "
    "question; the table below says the same.",
)
rows = [
    [f"{number}. {question}", f"{ending}: {action}"]
    for number, (question, ending, action) in enumerate(questions, 1)
]
for left, right in [*rows, ["6.", last]]:
    print(f"{' '.join(left.split())}\n     {' '.join(right.split())}")

# %% [markdown]
# And the cheat sheet, to keep beside the keyboard:
#
# | what | start with | sign that it is wrong | then |
# |---|---|---|---|
# | head | trained first, on frozen features, hundreds of steps | fine-tuned is far below frozen | was the head random, or trained for 20 steps only? |
# | rate of the last layer | the range test's suggestion to some times that; 0.001 here | validation falls at once: too high; nothing moves: too low | a third, or three times |
# | rates below | `layer_rate_ratio=10` | the old task collapses | 30, or 100 |
# | warm-up, decay | a tenth of the steps, half a cosine | the first epochs throw accuracy down; the last ones jump | on, both |
# | steps | 600 each stage; not 20 | training accuracy is still rising at the end | twice as many |
# | augmentation | what keeps the label (lesson 03) | training accuracy 100% at once, validation flat | more of it, before more steps |
# | depth | top, middle, deepest | none gains in most draws | stay frozen, get labels |
# | BatchNormalization | frozen | frozen weights are bit-identical, answers are not | `unfreeze_from` freezes it |
# | stopping | none: the rate falls to zero | you need it, since steps are dear | `patience=3`, which goes by validation *accuracy* |
# | to compare | the same images, several draws, paired | one run of each | more draws, or no claim |
#
# ## Summary
#
# - Half a recipe **hurts**: here a random head cost far more than fine-tuning gained, and one high rate under a trained head still more than two points. First stop the damage (head first, gentle rates), then make the gain (steps **and** augmentation).
# - A trained head makes the gradient small; **Adam steps as far all the same**. Carefulness is in the rate: warmed up, decayed, lower for early layers. For Adam the *step* is scaled, not the gradient.
# - **BatchNormalization** moves without being trained. Freeze it.
# - **Depth**: try three, by validation, over draws. With gentle rates, few labels are no reason to stay shallow.
# - **Forgetting** need not show in the new task's accuracy. Measure it if you need the old task, or if images unlike yours will come.
# - The **range test** finds the order of magnitude and the cliff, not the decision.
# - Fine-tuning moves the line between classes: here it won and lost mostly images that were **close** to it.
#
# ### Try it yourself
#
# 1. *Gradual unfreezing*: `fitting.fine_tune(..., ("block4", "block3", "block1"), ...)` moves the boundary in stages, with the steps shared out. Is it better than `"block1"` at once, in both draws?
# 2. *Surgical fine-tuning*: unfreeze `network(heads[few, 0])` from `"block1"` on, set `trainable = False` for all layers of blocks 2 to 4, and train it by `fitting.fit` with the settings of `gentle`, augmented. How much of the gain does block 1 make alone?
# 3. In the table of section 1, change the order of the last two repairs: more steps first. Do they gain anything without augmentation? What does a table like this say of a repair, and what does it not say?
# 4. Set `layer_rate_ratio` to 100 at a rate of 0.01. What do digits and glyphs say?
# 5. Look at the ten test images with the smallest margins. How sure are *you*?
#
# ## What next
#
# **Practise first:** [the exercises](exercises/05_fine_tune.ipynb) check what you write, and say what it shows. They take about an hour.
#
# Your model is better on average. **[Lesson 06, Evaluate](06_evaluate.ipynb)**: how good is it really, how sure may we be, when is it wrong with confidence, and what does it look at?
#
# ## Further reading
#
# - A. Kumar et al., [*Fine-tuning can distort pretrained features and underperform out-of-distribution*](https://arxiv.org/abs/2202.10054), 2022: head first.
# - J. Howard and S. Ruder, [*Universal language model fine-tuning for text classification*](https://arxiv.org/abs/1801.06146), 2018: discriminative rates, gradual unfreezing, a warm-up.
# - J. Yosinski et al., [*How transferable are features in deep neural networks?*](https://arxiv.org/abs/1411.1792), 2014, and Y. Lee et al., [*Surgical fine-tuning improves adaptation to distribution shifts*](https://arxiv.org/abs/2210.11466), 2022: which layers.
# - L. Smith, [*Cyclical learning rates for training neural networks*](https://arxiv.org/abs/1506.01186), 2015: the range test.
# - J. Kirkpatrick et al., [*Overcoming catastrophic forgetting in neural networks*](https://arxiv.org/abs/1612.00796), 2017.
# - Y. Wu and K. He, [*Group normalization*](https://arxiv.org/abs/1803.08494), 2018: what small batches do to BatchNormalization.
# - C. Szegedy et al., [*Rethinking the Inception architecture for computer vision*](https://arxiv.org/abs/1512.00567), 2015: label smoothing. I. Loshchilov and F. Hutter, [*Decoupled weight decay regularization*](https://arxiv.org/abs/1711.05101), 2017: AdamW.
