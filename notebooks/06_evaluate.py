# %% [markdown]
# # Evaluate: how good is it, how sure are we, and when is it wrong
#
# In this notebook, we take one fine-tuned model and find out how good it is, how far that number can be trusted, which mistakes it makes, whether it knows when it is unsure, and what happens to all this when the images change.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/06_evaluate.ipynb)
#
# **Time:** about 90 minutes to read and try: the code runs for 1 to 2 minutes with the digits and 3 with photos on a CPU with two cores, an estimated 2 minutes on a T4.
#
# ## Learning objectives
#
# After this notebook, you will be able to
#
# - read the test part **once**, keep what was read, and say what reading it twenty times would have cost;
# - give an accuracy with an **interval**, choose the right one, and check by simulation that it keeps its word;
# - decide whether two models **truly differ**: paired, over groups, over seeds;
# - read precision, recall and F1, and work out what becomes of them when the **class mix** changes;
# - measure **calibration**, repair it with one number, and set a threshold for "ask a human";
# - look at confident mistakes and at **Grad-CAM** maps, and test what such maps are worth;
# - measure **leakage** and **distribution shift**, and write down what a reader of your result must know.
#
# It builds on [lesson 05](05_fine_tune.ipynb), which trains the model, and on [lesson 03](03_data.ipynb), which splits the data.
#
# **Terms of this lesson**, in English and 中文: [bootstrap](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#bootstrap), [Wilson's interval](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#wilsons-interval), [t interval](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#t-interval), [McNemar's test](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#mcnemars-test), [p-value](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#p-value), [precision](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#precision), [class mix](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#class-mix), [confidence](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#confidence), [calibration](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#calibration), [temperature](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#temperature), [threshold](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#threshold), [Grad-CAM](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#grad-cam), [distribution shift](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#distribution-shift).

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
# ## The model we judge
#
# As ever: `auto` takes photos and an ImageNet network if they can be had here, otherwise the digits and GlyphNet. Where the text speaks of digits and of writers, read flowers if you took those, and images.

# %%
# @title Which data, and which network? { display-mode: "form" }
data_name = "auto"  # @param ["auto", "digits_wild", "tf_flowers", "cats_vs_dogs"] {allow-input: true}
backbone_name = "auto"  # @param ["auto", "GlyphNet", "MobileNetV2", "EfficientNetV2B0", "VGG16"]

from finetune_lib import classifier

data_name, backbone_name = classifier.choose(data_name, backbone_name)
is_default = (data_name, backbone_name) == ("digits_wild", "GlyphNet")

# %% [markdown]
# `handover.receive` opens the model that you saved in lesson 05. If there is none, it trains one by the same recipe, which takes a quarter of a minute with the digits. Beside the model lie its answers to the validation images, so at the end of the lesson we can prove that we have only read it, and changed nothing.

# %% tags=["nbval-ignore-output"]
from finetune_lib import handover

received = handover.receive(data_name, backbone_name)
model, dataset = received.model, received.dataset
weights_at_the_start = model.get_weights()
print(f"{dataset}\n{received.origin}")

# %% [markdown]
# ## 1. Read the test part once
#
# The test images were set aside for one purpose: to say how good the model is on images that had no part in making it. They can do so only while they have no part in *choosing* it either. Here is what goes wrong otherwise. Twenty models are **equally good**: in truth each is right on 90% of all images. Somebody reads the accuracy of each on the same 890 test images, keeps the best one, and reports its accuracy.
#
# In one case the models have nothing to do with one another. In the other they err mostly on the same images, as models do that were made from the same data.
#
# **Guess:** how much too good is the reported number, in points? Is it better or worse if the models are alike?

# %%
import numpy as np


def twenty_models(alike, images, generator):
    """bool (20, images): right answers of models that are each right on 90%; alike: the share in common."""
    common, own = generator.random(images) < 0.9, generator.random((20, images)) < 0.9
    return np.where(generator.random((20, images)) < alike, common, own)


def too_good(alike, repeats=1000):
    """By how many points a reading is too good: chosen on test; chosen on validation, read there; on test."""
    generator, found = np.random.default_rng(0), []
    for _ in range(repeats):
        right = twenty_models(alike, 260 + 890, generator)
        validation, test = right[:, :260].mean(axis=1), right[:, 260:].mean(axis=1)
        best = validation.argmax()
        found.append([test.max(), validation[best], test[best]])
    return 100 * (np.mean(found, axis=0) - 0.9)


# %%
from finetune_lib import plots

outcome = {"unrelated": too_good(alike=0.0), "mostly the same mistakes": too_good(alike=0.8)}
rows = [[name, *(f"{value:+.1f}" for value in values)] for name, values in outcome.items()]
header = ["20 equally good models", "chosen by test", "chosen by validation", "... then test, once"]
print("the reported accuracy is too good by (points)")
print(plots.table(header, rows))
assert outcome["unrelated"][0] > 1.5 and outcome["mostly the same mistakes"][0] > 0.8
assert all(abs(values[2]) < 0.15 for values in outcome.values())

# %% [markdown]
# Nobody cheated, no model is better than another, and yet the number is too good: the best of twenty readings is mostly the luckiest. The same happens to the *validation* accuracy by which one chooses, and with fewer images it is worse. But then there is a part that nobody has chosen by, and its reading is right on average. That is what it is for.
#
# So: all decisions about our model were taken in lesson 05, on validation images. Now the reading. (Section 9 of lesson 05 has read the same images with the same model, after its last decision. Nothing was chosen since, so this is that reading once more, and not another one: with the model saved there, the number must be the same.) `evaluation.evaluate` keeps the predictions **in order**, each with the identity of its image, so that most later questions can be answered from what we have read.

# %% tags=["nbval-ignore-output"]
from finetune_lib import evaluation

test = evaluation.evaluate(model, dataset)
print(test)

# %% [markdown]
# (We shall look at test images with other models, too, further down, for that is how one learns about evaluation. We choose nothing by it, and the number that we report stays this one.)
#
# A number is easily forgotten or mistyped. Predictions in a file can be looked up, drawn, and compared with next year's model on the same images. Note what stands in each line: **which** image, who made it, the truth, the answer, and how probable the network held *each* class.

# %% tags=["nbval-ignore-output"]
import csv
import pathlib
import tempfile

names = dataset.class_names
places = test.places if test.places is not None else np.array([f"image {i}" for i in range(len(test.labels))])
groups = test.groups if test.groups is not None else np.arange(len(test.labels))
confidence = test.probabilities.max(axis=1)
file = pathlib.Path(tempfile.mkdtemp()) / "predictions.csv"
with file.open("w", newline="", encoding="utf-8") as opened:
    writer = csv.writer(opened)
    writer.writerow(["place", "group", "truth", "answer", *(f"p({name})" for name in names)])
    for place, group, label, answer, row in zip(
        places, groups, test.labels, test.predictions, test.probabilities, strict=True
    ):
        writer.writerow([place, group, names[label], names[answer], *(f"{value:.6f}" for value in row)])
print(*file.read_text(encoding="utf-8").splitlines()[:4], sep="\n")

# %% [markdown]
# An image that somebody asks about is found by its place, in the file as in the arrays. The accuracy counted from the file must be the one that we read:

# %%
with file.open(encoding="utf-8") as opened:
    table = {line["place"]: line for line in csv.DictReader(opened)}
assert len(table) == len(test.labels)
assert np.mean([line["truth"] == line["answer"] for line in table.values()]) == test.accuracy
wanted = len(places) // 2
assert table[places[wanted]]["truth"] == names[test.labels[wanted]]
print("every image stands in the file once, and the file gives the same accuracy: True")

# %% [markdown]
# ## 2. How sure are we?
#
# Other test images would have given another number. An *interval* says how far off ours may be. There are several, and they answer different questions:
#
# - **Wilson's**, a formula: what if we drew other images, each independent of the others?
# - the **bootstrap over images**: the same question without a formula. Draw as many images out of ours, with replacement, read the accuracy, do it ten thousand times;
# - the **bootstrap over writers**: what if other *people* had written? Draw whole writers;
# - the ***t* interval over writers**: each writer's accuracy is one number. Seven numbers, their mean, and Student's formula for few numbers.
#
# **Guess** the order: which is narrowest, which is widest?

# %% tags=["nbval-ignore-output"]
import scipy.stats

from finetune_lib import evaluation_plots

readings = {
    "Wilson": test.interval,
    "bootstrap over images": evaluation.bootstrap_interval(test.correct),
}
if test.groups is not None:
    each = np.array([test.correct[groups == group].mean() for group in np.unique(groups)])
    readings["bootstrap over writers"] = evaluation.bootstrap_interval(test.correct, groups)
    readings["t over writers"] = tuple(scipy.stats.ttest_1samp(each, 0).confidence_interval(0.95))
    print("accuracy of each writer (%):", *(f"{100 * value:.0f}" for value in each))
rows = {name: (100 * test.accuracy, *(100 * end for end in ends)) for name, ends in readings.items()}
print(evaluation_plots.intervals_table(rows, "accuracy (%)"))
plots.show(
    evaluation_plots.intervals(rows, "test accuracy (%), with its 95% interval"),
    "The 95% intervals of the table above, one below the other: Wilson's and the bootstrap over images are "
    "alike, those over writers are wider.",
)

# %%
if is_default:
    width = {name: 100 * (high - low) for name, (low, high) in readings.items()}
    assert abs(width["Wilson"] - width["bootstrap over images"]) < 0.5
    assert width["t over writers"] > width["bootstrap over writers"] > 0.9 * width["Wilson"]
    assert width["t over writers"] > 1.2 * width["Wilson"]
    print("Wilson and the bootstrap over images agree within half a point: True")
    print("t over writers is the widest, clearly wider than Wilson: True")

# %% [markdown]
# ### Do they keep their word?
#
# A 95% interval should hold the truth in 95 of 100 such experiments. That can be checked, since in a simulation the truth is known. First with independent images. Besides Wilson's we try the formula that most people remember, **Wald's**: accuracy plus or minus 1.96 standard errors. For 50 images we need no random numbers: we go through all possible counts of right answers and add up the probabilities of those whose interval holds the truth.
#
# **Guess:** what does Wald's interval do when the accuracy is near 100%?

# %%
counts = np.arange(51)
rate, z = counts / 50, 1.96
error = z * np.sqrt(rate * (1 - rate) / 50)
wald = rate - error, rate + error
wilson = np.array([evaluation.wilson_interval(int(count), 50) for count in counts]).T
truths = np.array([0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99])


def coverage(ends, truth):
    """How probable it is that the interval holds the truth, in %."""
    inside = (ends[0] <= truth) & (truth <= ends[1])
    return 100 * scipy.stats.binom.pmf(counts, 50, truth)[inside].sum()


kept = {name: [coverage(ends, t) for t in truths] for name, ends in (("Wald", wald), ("Wilson", wilson))}
rows = [[name, *(f"{value:.0f}" for value in values)] for name, values in kept.items()]
print("how often a '95%' interval of 50 images holds the truth (%)")
print(plots.table(["true accuracy", *(f"{truth:.0%}" for truth in truths)], rows))
lowest = min(coverage(wilson, truth) for truth in np.linspace(0.5, 0.9999, 2000))
assert 82 < lowest < 86
assert min(kept["Wilson"]) > 91 and max(kept["Wilson"]) < 97.5
assert kept["Wald"][-1] < 45

# %% [markdown]
# Near 100%, where good models are, Wald's interval may miss the truth more often than not: from 50 right answers of 50 it even concludes that there is no doubt at all. Wilson's keeps between 91% and 97% at these seven accuracies. (In between it wobbles, and just below 100% it dips to 84%; nowhere does it collapse.) That is why this course uses it.
#
# Now with writers. In the simulation each writer has an accuracy of his own, scattered about 92% with a standard deviation of 3 points, and writes 127 digits, roughly as ours do. What we want to hold is the accuracy on *all* writers, 92%. **Guess:** which of the three keeps its word with seven writers, as we have? Which with fifty?


# %%
def held(writers, repeats=300):
    """How often each kind of interval holds the accuracy on all writers, in %."""
    generator, hits = np.random.default_rng(0), np.zeros(3)
    who = np.repeat(np.arange(writers), 127)
    for seed in range(repeats):
        own = generator.beta(74.3, 6.5, size=writers)  # mean 0.92, standard deviation 0.03
        right = generator.random((writers, 127)) < own[:, None]
        ends = [
            evaluation.wilson_interval(int(right.sum()), right.size),
            evaluation.bootstrap_interval(right.ravel(), who, resamples=500, seed=seed),
            scipy.stats.ttest_1samp(right.mean(axis=1), 0).confidence_interval(0.95),
        ]
        hits += [low <= 0.92 <= high for low, high in ends]
    return 100 * hits / repeats


# %% tags=["nbval-ignore-output"]
by_writers = {count: held(count) for count in (7, 50)}
rows = [[f"{count} writers", *(f"{value:.0f}" for value in kept)] for count, kept in by_writers.items()]
print("how often a '95%' interval holds the accuracy on all writers (%)")
print(plots.table(["", "Wilson", "bootstrap over writers", "t over writers"], rows))

# %%
assert by_writers[7][0] < 85 and by_writers[50][0] < 85
assert by_writers[7][1] < by_writers[7][2] - 2 and by_writers[50][1] > 90
assert all(values[2] > 91 for values in by_writers.values())
print("Wilson holds it in less than 85%, however many writers there are: True")
print("the bootstrap over writers does with fifty writers, and falls short with seven: True")
print("t over writers holds it in more than 91% of both: True")

# %% [markdown]
# So a formula can be right and still answer the wrong question. Wilson's interval is right for new images *of the same writers*. For new writers, count writers. With dozens of them the bootstrap is fine, and it works for any quantity, such as a difference of two models. With seven, take *t*, or say that the bootstrap is too narrow. (Where you know no groups, as with the flowers, you have only Wilson's, and should say so.)
#
# And there is something that *no* interval above contains: another training. Other seeds, other training images would have given another model. That cannot be read off the test images, only by training again, which is the next section.
#
# ## 3. When do two models truly differ?
#
# Was the fine-tuning worth it? The rival is the model's own first stage: the **frozen** network with a trained head. We train both stages once more for further seeds: the same training images, other batches, other augmentation. (`train` is `fitting.fit` with the settings of lesson 05; on the way it validates on 16 images only.)

# %%
import dataclasses
import math

import keras

from finetune_lib import fitting, freezing

recipe = handover.recipe(backbone_name)
brief = dataclasses.replace(
    dataset, validation=dataset.validation.take(16), sizes=dataset.sizes | {"validation": 16}
)
shared = {"augment": dataset.augment, "views": recipe["views"], "weight_decay": 0.05, "verbose": 0}
gentle = {"learning_rate": recipe["learning_rate"], "warm_up": 0.1, "layer_rate_ratio": 10.0}


# %%
def train(model, steps, smoothing=0.1, **settings):
    """Train for so many steps what is not frozen."""
    epochs = math.ceil(steps / math.ceil(dataset.sizes["train"] / 32))
    fitting.fit(model, brief, epochs=epochs, label_smoothing=smoothing, **shared, **settings)


def copy_of(model):
    """Another model with the same weights."""
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return twin


# %% tags=["nbval-ignore-output"]
seeds = range(3 if backbone_name == "GlyphNet" else 2)
frozen, tuned = [], [model]
for seed in seeds:
    head = classifier.build(backbone_name, names, image_size=dataset.image_size)
    train(freezing.freeze(head), recipe["head_steps"], learning_rate=recipe["head_learning_rate"], seed=seed)
    frozen.append(head)
    if seed > 0:  # of seed 0 we have the fine-tuned one
        tuned.append(freezing.unfreeze_from(copy_of(head), recipe["unfreeze_from"]))
        train(tuned[-1], recipe["steps"], seed=seed, **gentle)
before = [evaluation.evaluate(each, dataset) for each in frozen]
after = [test, *(evaluation.evaluate(each, dataset) for each in tuned[1:])]
for seed in seeds:
    print(f"seed {seed}, frozen:     {before[seed]}\n        fine-tuned: {after[seed]}")

# %% [markdown]
# Look at seed 0, our model. The two intervals **overlap**, so the difference is not certain, one often reads. But both models answered the *same* images, and most images are easy for both or hard for both. An image that both get right, or both wrong, does not say which model is better. Only the images on which exactly one of the two is right do:

# %% tags=["nbval-ignore-output"]
won, lost = (
    int(np.sum(a & ~b)) for a, b in ((test.correct, before[0].correct), (before[0].correct, test.correct))
)
same = len(test.labels) - won - lost
print(f"{same} images tell nothing; {won} only the fine-tuned model gets right, {lost} only the frozen one")

# %% [markdown]
# If the models were equally good, each of these images would fall to either side like a coin. How often does a fair coin come out that uneven, or more so? That is **McNemar's test** of 1947, a binomial test. **Guess** the probability (the *p*-value) before you run it.
#
# Beside it the **paired bootstrap**: the difference in points, with its interval as writers are drawn anew. It says how *large* the difference is, which a *p*-value does not.

# %% tags=["nbval-ignore-output"]
by_hand = scipy.stats.binomtest(won, won + lost, 0.5).pvalue


def compare(first, second):
    """In words: images won and lost, McNemar's p, the difference in points with its interval."""
    difference, low, high = evaluation.bootstrap_difference(first.correct, second.correct, test.groups)
    wins = int(np.sum(first.correct & ~second.correct)), int(np.sum(~first.correct & second.correct))
    interval = f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return [*map(str, wins), f"{evaluation.mcnemar(first.correct, second.correct):.3f}", interval]


header = ["", "won", "lost", "McNemar p", "difference (points)"]
rows = [[f"fine-tuned {seed} against frozen {seed}", *compare(after[seed], before[seed])] for seed in seeds]
print(plots.table(header, rows))

# %%
pairs = [(a, b) for a in seeds for b in seeds if a < b]
assert by_hand == evaluation.mcnemar(test.correct, before[0].correct)
print("the library's McNemar is the binomial test by hand: True")
if is_default:
    overlap = test.interval[0] < before[0].interval[1]
    assert overlap and won > lost
    chances = [evaluation.mcnemar(after[seed].correct, before[seed].correct) for seed in seeds]
    assert max(chances) > 5 * min(chances)
    print("seed 0: the intervals overlap, and fine-tuning wins more images than it loses: True")
    print("the largest p of the three seeds is more than five times the smallest: True")

# %% [markdown]
# Paired, the same images tell more than the two intervals did. But look at all rows. The same recipe, the same images, other seeds, and the *p*-values are far apart. Had we trained only one, we would have told one story or another. A test on one pair of models speaks of **these two models**, not of the two recipes.
#
# Now the opposite check: models that differ in *nothing but the seed*. **Guess:** will the test tell them apart, that is, find *p* below 0.05?

# %% tags=["nbval-ignore-output"]
rows = [
    [f"{name} {a} against {name} {b}", *compare(results[a], results[b])]
    for name, results in (("fine-tuned", after), ("frozen", before))
    for a, b in pairs
]
print(plots.table(header, rows))
silent = [
    evaluation.mcnemar(results[a].correct, results[b].correct)
    for results in (after, before)
    for a, b in pairs
]

# %%
if is_default:
    assert np.median(silent) > 0.2 and min(silent) > 0.001
    print("between seeds the median p is above 0.2: True")

# %% [markdown]
# Two such models disagree on dozens of images, and yet the test can hardly tell which is better. That does not mean that they are equally good: two trainings give two different networks, one of which is a little better, and with enough images the test would find it, rightly. It would still say nothing about the recipe, which is the same. (And if two models *were* equally good, six comparisons at 0.05 would give a false alarm now and then: if they were independent, at least one in a quarter of such experiments.)
#
# To compare *recipes*, take all seeds together: for each image the share of seeds that got it right, then the difference, and its interval over writers. `bootstrap_difference` takes a row for each seed.

# %% tags=["nbval-ignore-output"]
right_after, right_before = (np.stack([each.correct for each in results]) for results in (after, before))
by_seed = 100 * (right_after.mean(axis=1) - right_before.mean(axis=1))
mean, low, high = evaluation.bootstrap_difference(right_after, right_before, test.groups)
rows = {f"seed {seed}": by_seed[seed] for seed in seeds}
shown = {
    name: tuple(100 * value for value in evaluation.bootstrap_difference(a.correct, b.correct, test.groups))
    for name, a, b in zip(rows, after, before, strict=True)
} | {"all seeds": (100 * mean, 100 * low, 100 * high)}
gain, unit, unsure = right_after.mean(axis=0) - right_before.mean(axis=0), "images", shown["all seeds"]
if test.groups is not None:
    unit = "writers"
    each = np.array([100 * gain[groups == group].mean() for group in np.unique(groups)])
    unsure = (each.mean(), *scipy.stats.ttest_1samp(each, 0).confidence_interval(0.95))
    shown["all seeds, t"] = unsure
print(evaluation_plots.intervals_table(shown, "fine-tuned minus frozen (points)"))
plots.show(
    evaluation_plots.intervals(shown, f"fine-tuned minus frozen (points), 95% over {unit}", mark=0),
    "The differences of the table above with their intervals, against a dotted line at zero: the differences lie to its right, some intervals reach across it.",
)

# %%
if is_default:
    assert (by_seed > 0).sum() >= 2 and 0.3 < 100 * mean < 5
    assert unsure[1] < shown["all seeds"][1] and unsure[2] > shown["all seeds"][2]
    print("fine-tuning is ahead on average, and with at least two of three seeds: True")
    print("the t interval over writers reaches further on both sides than the bootstrap's: True")

# %% [markdown]
# So, was it worth it? Fine-tuning was ahead on average. But the bootstrap over seven writers is too narrow, as section 2 has shown, and *t*, which is not, is wider: look where its lower end lies. And none of these intervals contains further seeds; we have three, and only one draw of training images. An honest sentence is: *about two points better on these writers; that it is better for new ones is likely, and these images alone do not settle it.* (The [README](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/README.md) has ten draws.)
#
# ### How many images would it take?
#
# Suppose you hope for *one* point. How many test images do you need so that the test finds it in four of five attempts? What counts is the share $d$ of images on which the models differ. For a difference $\delta$ one needs about
#
# $$n = (1.96 + 0.84)^2 \, \frac{d - \delta^2}{\delta^2}$$
#
# images (1.96 belongs to *p* < 0.05, 0.84 to four in five). If each model got images of its own, unpaired, it would be $2\,(1.96 + 0.84)^2\,a(1-a)/\delta^2$ for each, with the accuracy $a$. **Guess** both for one point, before you look.

# %% tags=["nbval-ignore-output"]
share, point = max(0.012, (won + lost) / len(test.labels)), 0.01  # a share below the point cannot be
paired = math.ceil(2.8**2 * (share - point**2) / point**2)
unpaired = math.ceil(2 * 2.8**2 * test.accuracy * (1 - test.accuracy) / point**2)
print(f"the models differ on {share:.1%} of the images, of which we have {len(test.labels)}")
print(f"one point, paired: {paired} images; unpaired: {unpaired} for each model")
generator, found = np.random.default_rng(0), []
for _ in range(300):
    wins, losses, _ = generator.multinomial(paired, [(share + point) / 2, (share - point) / 2, 1 - share])
    found.append(scipy.stats.binomtest(wins, wins + losses).pvalue < 0.05)
print(f"simulated with {paired} images: found in {np.mean(found):.0%} of the attempts")

# %%
assert 0.7 < np.mean(found) < 0.88
print("the formula keeps its word in the simulation: True")
if is_default:
    assert paired > 3 * len(test.labels) and unpaired > 1.5 * paired
    print("for one point we would need more than three times our images, unpaired many more: True")

# %% [markdown]
# Thousands. By this measure half a point on a thousand test images, however proudly reported, says next to nothing. Pairing costs nothing and saves a good part.
#
# ## 4. Which mistakes?
#
# Accuracy adds up all classes. The confusion matrix takes them apart: rows are the truth, columns the answer.

# %% tags=["nbval-ignore-output"]
plots.show(
    plots.confusion_matrix(test),
    "Confusion matrix of the test images: most counts on the diagonal, the largest ones off it in the table below.",
)
print(plots.confusion_table(test))

# %% [markdown]
# For one class, two questions. **Recall**: of the eights, how many were found? (A row of the matrix.) **Precision**: of those called eight, how many were eights? (A column.) **F1** is their harmonic mean, high only if both are. scikit-learn has them all.

# %% tags=["nbval-ignore-output"]
from sklearn import metrics

classes = range(len(names))
scores = metrics.precision_recall_fscore_support(
    test.labels, test.predictions, labels=classes, zero_division=0
)
precision, recall, f1, support = scores
rows = [
    [name, *(f"{value:.2f}" for value in line[:3]), str(line[3])]
    for name, *line in zip(names, *scores, strict=True)
]
for average in ("macro", "weighted"):
    values = metrics.precision_recall_fscore_support(
        test.labels, test.predictions, average=average, zero_division=0
    )
    rows.append([f"mean, {average}", *(f"{value:.2f}" for value in values[:3]), str(support.sum())])
print(plots.table(["class", "precision", "recall", "F1", "images"], rows))

# %% [markdown]
# The **macro** mean counts each class once, the **weighted** mean counts each image once. (Weighted recall is the accuracy: think it through, then see below.) Here they hardly differ, since the classes are about equally frequent. They part when some classes are rare and badly recognised, and then the macro mean is the one that notices.
#
# ### The class mix is part of the result
#
# Recall belongs to the model: show it more eights, and the *share* of eights found stays. Precision belongs to the model **and to the mix**. Suppose that where the model will work, one class is rare: one image in a hundred. We take the class with the lowest precision. The others share the rest equally. Its recall stays; the false alarms from the other 99% stay, too; but there are few true ones left among them.
#
# **Guess:** what becomes of its precision?

# %% tags=["nbval-ignore-output"]
rare = int(np.argmin(precision))
mix = np.full(len(names), 0.99 / (len(names) - 1))
mix[rare] = 0.01
rates = metrics.confusion_matrix(test.labels, test.predictions, labels=classes, normalize="true")[:, rare]
by_rates = mix[rare] * rates[rare] / (mix * rates).sum()
weight = (mix / (support / support.sum()))[test.labels]
by_weights = metrics.precision_score(
    test.labels, test.predictions, labels=[rare], average="macro", sample_weight=weight
)
print(f"class {names[rare]}: precision {precision[rare]:.0%} in our mix")
print(f"{by_rates:.0%} if it is one image in a hundred (recall {recall[rare]:.0%} in both)")

# %%
assert abs(by_rates - by_weights) < 1e-9 and abs(np.average(recall, weights=support) - test.accuracy) < 1e-9
print("from the confusion rates and from weighted images the same: True")
print("weighted recall is accuracy: True")
if is_default:
    assert by_rates < precision[rare] - 0.3 and by_rates < 0.5
    print("more than 30 points of precision are gone, and most of those called so are something else: True")

# %% [markdown]
# The same model, the same images, only another mix, and of those it calls by that name most are something else. So an accuracy, and above all a precision, is only worth something beside the mix it was measured on. If you know the mix where the model will work, weigh the test images accordingly, as the cell has done in one line.
#
# ## 5. Does it know when it is unsure?
#
# With each answer the network gives a probability, its **confidence**. Can we take it at its word? It is *calibrated* if, of all answers given with 80%, 80% are right. To check this we sort the answers into bins by confidence and compare. The **expected calibration error** (often written ECE) is the distance of confidence and accuracy, averaged over the images.
#
# **Guess:** networks are often said to be too sure of themselves. Ours?

# %% tags=["nbval-ignore-output"]
from finetune_lib import calibration

as_it_is = calibration.reliability(test.probabilities, test.labels)
plots.show(
    evaluation_plots.reliability_diagram({"test images": as_it_is}),
    "Reliability diagram: accuracy against confidence in bins, the table below; the counts of images beneath.",
)
print(evaluation_plots.reliability_table({"test images": as_it_is}))
print(f"mean confidence {confidence.mean():.1%}, accuracy {test.accuracy:.1%}")

# %%
if is_default:
    assert confidence.mean() < test.accuracy - 0.06
    print("the network is more than 6 points less sure than it may be: True")

# %% [markdown]
# Nearly all dots lie **above** the line: it is right more often than it says. This network is too modest. Before we look for the reason, a caution about the number. The error adds up distances, and in a bin of few images the accuracy scatters, so that even a perfect network has an error above zero. How much chance alone gives can be simulated: let each answer be right with exactly the probability that the network stated. **Guess** it for our test images, and for a hundred of them.

# %% tags=["nbval-ignore-output"]
rows = []
for count in (100, len(test.labels)):
    chance = calibration.chance_calibration_error(test.probabilities[:count])
    measured = calibration.expected_calibration_error(test.probabilities[:count], test.labels[:count])
    rows.append(
        [
            str(count),
            *(f"{100 * value:.1f}" for value in (measured, chance.mean(), np.quantile(chance, 0.95))),
        ]
    )
print(
    plots.table(["images", "calibration error (points)", "chance alone, mean", "95% of chance below"], rows)
)
few_chance = calibration.chance_calibration_error(test.probabilities[:100]).mean()

# %%
if is_default:
    assert as_it_is.error > np.quantile(chance, 0.95) + 0.03 and few_chance > 1.5 * chance.mean()
    print("our error is points beyond what chance gives: True")
    print("of a hundred images chance alone gives more than one and a half times as much: True")

# %% [markdown]
# So the modesty is real. The cure is simple: divide all logits by one number, the **temperature** (Guo et al., [1706.04599](https://arxiv.org/abs/1706.04599)). Above 1 it makes the network less sure, below 1 surer. (The functions below take probabilities: their logarithms are the logits, but for one number an image, which the softmax cancels.) It is fitted on *validation* images, so that the test can say whether it helped. **Guess:** above or below 1? And what does it do to the accuracy?

# %% tags=["nbval-ignore-output"]
validation = evaluation.evaluate(model, dataset, "validation")
temperature = calibration.fit_temperature(validation.probabilities, validation.labels)
repaired = calibration.with_temperature(test.probabilities, temperature)
results = {
    "as it is": as_it_is,
    f"temperature {temperature:.2f}": calibration.reliability(repaired, test.labels),
}
plots.show(
    evaluation_plots.reliability_diagram(results),
    "Reliability before and after temperature scaling, the table below: afterwards the dots lie near the line.",
)
print(evaluation_plots.reliability_table(results))
chance_after = np.quantile(calibration.chance_calibration_error(repaired), 0.95)
error_after = calibration.expected_calibration_error(repaired, test.labels)
print(
    f"calibration error: {100 * as_it_is.error:.1f} points, then {100 * error_after:.1f} "
    f"(of chance, 95% are below {100 * chance_after:.1f})"
)

# %%
assert (repaired.argmax(axis=1) == test.predictions).all()
print("not a single answer has changed: True")
if is_default:
    assert temperature < 0.85 and error_after < as_it_is.error / 2 and error_after < chance_after + 0.025
    print("the temperature is below 1, and halves the error at least: True")

# %% [markdown]
# One number, fitted on a few hundred images, and the network means what it says, or nearly so. More it cannot do. Which image is surer than which hardly changes: if the order was wrong, it stays wrong.
#
# ### Where does the modesty come from?
#
# A suspect is the recipe: **label smoothing** asks the network for 91% certainty (with ten classes) instead of 100%. So we fine-tune seed 0 once more from the same head, without it. **Guess:** too sure, or still too modest?

# %% tags=["nbval-ignore-output"]
plain = freezing.unfreeze_from(copy_of(frozen[0]), recipe["unfreeze_from"])
train(plain, recipe["steps"], smoothing=0.0, seed=0, **gentle)
plain_test, plain_validation = (evaluation.evaluate(plain, dataset, part) for part in ("test", "validation"))
plain_temperature = calibration.fit_temperature(plain_validation.probabilities, plain_validation.labels)
rows = [
    [
        name,
        f"{result.accuracy:.1%}",
        f"{result.probabilities.max(axis=1).mean():.1%}",
        f"{heat:.2f}",
        *(
            f"{100 * calibration.expected_calibration_error(each, result.labels):.1f}"
            for each in (result.probabilities, calibration.with_temperature(result.probabilities, heat))
        ),
    ]
    for name, result, heat in (
        ("with label smoothing", test, temperature),
        ("without", plain_test, plain_temperature),
    )
]
print(plots.table(["", "accuracy", "confidence", "temperature", "error before", "after"], rows))

# %%
if is_default:
    too_sure = plain_test.probabilities.max(axis=1).mean() - plain_test.accuracy
    assert plain_temperature > 1.3 and too_sure > 0.02
    cooled = calibration.with_temperature(plain_test.probabilities, plain_temperature)
    errors = [
        calibration.expected_calibration_error(each, test.labels)
        for each in (plain_test.probabilities, cooled)
    ]
    assert errors[1] < errors[0]
    print("without label smoothing the network is too sure, and its temperature well above 1: True")
    print("which makes its error smaller, too: True")

# %% [markdown]
# There it is: without smoothing the usual overconfidence, with it the opposite. A temperature repairs either. So do not ask *whether* networks are overconfident; measure yours.
#
# ### Ask a human
#
# What is a good confidence good for? To decide which answers to *use*. We let the model answer only if its confidence reaches a threshold, and hand the rest to a human. The threshold is chosen on **validation** images: as many answers as possible with 97% of them right. **Guess:** how many of the images will need a human?


# %% tags=["nbval-ignore-output"]
def answered(probabilities, labels):
    """Sorted from sure to unsure: confidence, share answered down to here, share of these that is right."""
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    order, count = np.argsort(-sure, kind="stable"), np.arange(1, len(labels) + 1)
    return sure[order], count / len(labels), np.cumsum(right[order]) / count


repaired_validation = calibration.with_temperature(validation.probabilities, temperature)
sure, share_answered, share_right = answered(repaired_validation, validation.labels)
good = np.flatnonzero(share_right >= 0.97)
threshold = float(sure[good[-1]] if len(good) else np.inf)
answers_itself = repaired.max(axis=1) >= threshold
right_among = test.correct[answers_itself]
low, high = evaluation.wilson_interval(int(right_among.sum()), max(1, len(right_among)))
print(f"threshold {threshold:.2f}: on test images it answers {answers_itself.mean():.0%} itself,")
if not len(good):
    print("no threshold keeps the promise on the validation images")
print(
    f"of which {right_among.mean():.1%} are right (95% interval {low:.1%} to {high:.1%}; all: {test.accuracy:.1%})"
)

# %% tags=["nbval-ignore-output"]
import matplotlib.figure

figure = matplotlib.figure.Figure(figsize=(6.5, 3.4), layout="constrained")
axes = figure.subplots()
rows = []
for name, probabilities, labels, colour in (
    ("validation", repaired_validation, validation.labels, plots.VERMILION),
    ("test", repaired, test.labels, plots.BLUE),
):
    _, covered, right = answered(probabilities, labels)
    begin = len(labels) // 20  # the first few answers are too few to have a share
    axes.plot(100 * covered[begin:], 100 * right[begin:], color=colour, label=name)
    rows.append(
        [name, *(f"{100 * right[math.ceil(part * len(labels)) - 1]:.1f}" for part in (0.5, 0.7, 0.8, 0.9, 1))]
    )
axes.axvline(100 * answers_itself.mean(), color=plots.GREY, linestyle=":")
axes.set(xlabel="answered by the model (%), the surest first", ylabel="of these right (%)")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plots.show(
    figure,
    "Share of right answers against the share answered, the table below: it falls as more are answered.",
)
print(plots.table(["right (%) if answered are", "50%", "70%", "80%", "90%", "100%"], rows))

# %%
if is_default:
    assert right_among.mean() > test.accuracy + 0.02 and 0.5 < answers_itself.mean() < 0.97
    print("the answers it gives itself are right by more than 2 points more often than all of them: True")

# %% [markdown]
# This is how a model with mistakes becomes useful: the human sees a fraction of the images, and those are the doubtful ones. But whose promise is it? The threshold was chosen on the few images of the *validation* part, by only two writers in the case of the digits, and these happen to be harder to read than those of the test part. With easier ones the promise might have been broken. And the interval printed is Wilson's: for other images of the same makers. For new ones it would be wider.
#
# ## 6. The most confident mistakes
#
# What about mistakes that the model makes *without* doubt? No threshold catches them. They are the first thing to look at in any evaluation, and it takes a minute. Above each: the truth and the answer. The table says which images they are, and how sure the model was (after the repair).

# %% tags=["nbval-ignore-output"]
test_images = np.stack([image for image, _ in dataset.test.as_numpy_iterator()])
repaired_confidence = repaired.max(axis=1)
wrong = np.flatnonzero(~test.correct)
wrong = wrong[np.argsort(-repaired_confidence[wrong], kind="stable")][:15]
if not len(wrong):  # a flawless model: then the least sure answers
    wrong = np.argsort(repaired_confidence, kind="stable")[:15]
gap = " " if max(map(len, names)) < 4 else "\n"
words = {i: f"{names[test.labels[i]]}{gap}→ {names[test.predictions[i]]}" for i in range(len(test.labels))}
titles = [f"{number}. {words[i]}" for number, i in enumerate(wrong, 1)]
plots.show(
    plots.image_grid([test_images[i] for i in wrong], titles, columns=5),
    "The most confident mistakes, numbered as in the table below, each with its truth → answer.",
)
rows = [
    [str(number), places[i], words[i].replace("\n", " "), f"{repaired_confidence[i]:.0%}"]
    for number, i in enumerate(wrong, 1)
]
print(plots.table(["", "image", "truth → answer", "confidence"], rows))

# %% [markdown]
# Judge each for yourself before you read on, and put it on one of three heaps:
#
# 1. **the network's fault**: anybody can see what it is;
# 2. **ambiguous**: you would not bet either;
# 3. **label trouble**: you are sure, and the label says something else.
#
# Each heap has its own remedy: more (or other) training images; a threshold, or a better camera; a correction of the labels, *before* anything else. A corrected test set gives a new number, so say which version you used.
#
# Since every image has an identity, we can go back to its source. Our wild digits are distorted scans; here are the same scans before distortion. Do some images change heaps?

# %% tags=["nbval-ignore-output"]
from finetune_lib import digits

if is_default:
    scans, scan_labels, _ = digits.arrays(wild=False)
    rows_of_scans = [int(places[i].split()[1]) for i in wrong]
    titles = [f"{places[i]}: {names[test.labels[i]]}" for i in wrong]
    plots.show(
        plots.image_grid([scans[row] for row in rows_of_scans], titles, columns=5),
        "The scans behind the mistakes above, upright and without noise: " + ", ".join(titles),
    )
    assert (scan_labels[rows_of_scans] == test.labels[wrong]).all()
    assert np.sum((test.labels[wrong] == 8) & (test.predictions[wrong] == 3)) >= 3

# %% [markdown]
# When we looked, we found no wrong label. Many are on the first heap: eights with two plain loops that were called 3, and the network was sure. Some are on the second: a nine with a curved foot, tilted, is not far from a 3 or an 8 even to us. Undistorted, most can be read, so it is the distortion that has moved them. And they come in *kinds*: several are eights that were called 3. A few more training images of that kind may be worth more than many of any other.
#
# ## 7. What does it look at?
#
# **Grad-CAM** (Selvaraju et al., [1610.02391](https://arxiv.org/abs/1610.02391)) draws a map of the places that speak for a class. It takes five steps, and here they are, one a line:
#
# 1. run the image, and keep what one layer makes of it: some rows, columns, and many channels;
# 2. take the gradient of the class's **logit** with respect to that: which value, if it grew, would raise the logit?
# 3. average the gradient over all positions: a weight for each channel;
# 4. add up the channels with these weights: a map as large as the layer's output;
# 5. cut off what is negative (it speaks against the class), and draw it up to the size of the image.

# %%
import tensorflow as tf

from finetune_lib import saliency

layer = saliency.default_layer(model)
inside = keras.Model(model.input, [model.get_layer(layer).output, model.output])


def grad_cam_by_hand(image, class_index):
    """Where the image holds what speaks for the class, 0 to 1."""
    with tf.GradientTape() as tape:
        image = tf.constant(image[np.newaxis], tf.float32)
        tape.watch(image)
        activations, logits = inside(image, training=False)
        logit = logits[0, class_index]
    weights = tf.reduce_mean(tape.gradient(logit, activations), axis=(0, 1, 2))
    coarse = tf.nn.relu(tf.reduce_sum(activations * weights, axis=-1, keepdims=True))
    fine = tf.image.resize(coarse, image.shape[1:3])[0, ..., 0].numpy()
    return fine / max(fine.max(), 1e-12)


# %%
first_wrong = int(wrong[0])
for label in (test.labels[first_wrong], test.predictions[first_wrong]):
    expected = grad_cam_by_hand(test_images[first_wrong], int(label))
    assert np.allclose(saliency.grad_cam(model, test_images[first_wrong], int(label)), expected, atol=1e-4)
rows, columns = model.get_layer(layer).output.shape[1:3]
print(f"saliency.grad_cam gives the same map: True ({layer}: {rows}x{columns} positions)")

# %% [markdown]
# `saliency.grad_cam` does this for any of the course's networks, with a softmax at the end or without, and for any layer with positions. By default it takes the last one. But mind the printed size: if that layer has only a handful of positions, the map is made of a handful of numbers, however smooth it looks when drawn up. Earlier layers see finer, but what they see means less. So we take, of each size, the last layer.

# %% tags=["nbval-ignore-output"]
sizes = {}
for each in model.layers:
    has_positions = len(each.output.shape) == 4 and each.output.shape[1] > 1
    if has_positions and not isinstance(each, keras.layers.ZeroPadding2D):
        sizes[each.output.shape[1]] = each.name
watched = [sizes[size] for size in sorted(sizes)[:3]]  # from the deepest on
generator = np.random.default_rng(0)
right = generator.choice(np.flatnonzero(test.correct), 4, replace=False)
chosen = np.concatenate([right, wrong[:4]])
titles = [words[i] for i in chosen]
for name in watched:
    maps = saliency.grad_cams(model, test_images[chosen], layer=name)
    plots.show(
        evaluation_plots.saliency_grid(test_images[chosen], maps, titles),
        f"Grad-CAM after {name} of four right and four wrong answers; where the maps lie says the table below.",
    )
    print(f"{name}\n{evaluation_plots.saliency_table(maps, titles)}")

# %% [markdown]
# Four right answers, then four wrong ones. What do you think the network looks at? Write it down; the pictures invite a story, and we are about to test it.
#
# First a question for which the maps are good: **why the wrong answer?** For each of the wrong images the map for the *truth*, then the map for the *answer*. **Guess:** are they similar?

# %% tags=["nbval-ignore-output"]
layer = next(sizes[size] for size in sorted(sizes) if size >= 4)  # from here on
mistakes = wrong[:4]
kinds = {"truth": test.labels[mistakes], "answer": test.predictions[mistakes]}
maps = {
    name: saliency.grad_cams(model, test_images[mistakes], labels, layer) for name, labels in kinds.items()
}
titles = [f"{name}: {names[label]}" for name, labels in kinds.items() for label in labels]
twice, all_maps = np.concatenate([test_images[mistakes]] * 2), np.concatenate(list(maps.values()))
plots.show(
    evaluation_plots.saliency_grid(twice, all_maps, titles),
    f"The same mistakes twice: maps after {layer} for the truth, then for the answer, described by the table below.",
)
print(evaluation_plots.saliency_table(all_maps, titles))

# %% [markdown]
# In these images the two maps differ: according to this layer, other places speak for the truth than for the answer. Why, the map does not say. And is it so in general?
#
# ### A map that does not depend on the network would be worthless
#
# Some methods draw beautiful edges whatever the network has learned. Adebayo et al. ([1810.03292](https://arxiv.org/abs/1810.03292)) proposed a simple check: give the network **random weights**, and see whether the map changes. We correlate the maps, pixel by pixel, with the originals: for a random head, for a wholly random network, and, to compare, for a network trained with another seed. A fourth line looks back: for the confident mistakes, the map for the truth against the map for the answer.
#
# **Guess** the four correlations.


# %%
def randomised(model, wanted):
    """A copy in which the kernels of the layers wanted are random numbers of the same spread."""
    twin = copy_of(model)
    for seed, each in enumerate(twin.layers):
        if wanted(each.name) and each.weights:
            random = np.random.default_rng(seed)
            values = each.get_weights()
            each.set_weights([random.normal(0, v.std(), v.shape) if v.ndim > 1 else v for v in values])
    return twin


def correlation(first, second):
    """Of each pair of maps; 0 where one is the same everywhere."""
    first, second = (
        maps.reshape(len(maps), -1) - maps.mean(axis=(1, 2))[:, None] for maps in (first, second)
    )
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / np.maximum(lengths, 1e-9)


# %% tags=["nbval-ignore-output"]
some = test_images[:100] if is_default else test_images[:50]
answers = test.predictions[: len(some)]
original = saliency.grad_cams(model, some, answers, layer)
others = {
    "another seed": tuned[1],
    "random head": randomised(model, lambda name: name == "logits"),
    "random network": randomised(model, lambda name: True),
}
agreement = {
    name: correlation(original, saliency.grad_cams(each, some, answers, layer))
    for name, each in others.items()
}
for_truth, for_answer = (
    saliency.grad_cams(model, test_images[wrong], labels[wrong], layer)
    for labels in (test.labels, test.predictions)
)
agreement["mistakes: truth, answer"] = correlation(for_truth, for_answer)
rows = [[name, *(f"{np.quantile(v, q):+.2f}" for q in (0.25, 0.5, 0.75))] for name, v in agreement.items()]
print(plots.table(["correlation of maps", "lower quarter", "median", "upper quarter"], rows))

# %%
if is_default:
    middle = {name: np.median(values) for name, values in agreement.items()}
    assert middle.pop("another seed") > 0.5 and max(map(abs, middle.values())) < 0.4
    print("another seed: similar maps; random weights, or another class: unrelated ones: True")

# %% [markdown]
# Passed. The maps depend on what was learned and on the class that is asked for, and two fine-tunings of the same pretrained network, on the same images, have similar ones. (Networks that were pretrained separately we have not compared.)
#
# ### Are the hot places the ones that count?
#
# A map claims that certain places matter. That can be tested: **cover** them and see how far the probability of the answer falls. For each image we put a square patch, a third of the image wide and in the image's median colour, over the place where the map is hottest, over its coldest place, and over a random one. And over the **centre** of the image, which takes no map at all.
#
# **Guess:** how do the four rank, and does it depend on the layer?


# %%
side = test_images.shape[1] // 3
span = test_images.shape[1] - side + 1


def covered(images, corners):
    """The images, a patch of the median colour on each with its upper left corner there."""
    images = images.astype("float32")
    for image, (top, left) in zip(images, corners, strict=True):
        image[top : top + side, left : left + side] = np.median(image, axis=(0, 1))
    return images


def hottest(maps, sign=1):
    """Corners of the patches that hold the most of each map; with sign -1, the least."""
    sums = np.pad(maps.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
    sums = sums[:, side:, side:] - sums[:, :-side, side:] - sums[:, side:, :-side] + sums[:, :-side, :-side]
    return [np.unravel_index((sign * each).argmax(), each.shape) for each in sums]


def probabilities_of(model, images):
    """What the model says of an array of images, in the order of the classes."""
    return evaluation.to_probabilities(
        model, model.predict(images.astype("float32"), batch_size=32, verbose=0)
    )


# %% tags=["nbval-ignore-output"]
many = test_images[:300] if is_default else test_images[:100]
answers, sure = (values[: len(many)] for values in (test.predictions, test.probabilities.max(axis=1)))


def fall(corners):
    """How far the probability of the answer falls when patches lie there, for each image, in points."""
    now = probabilities_of(model, covered(many, corners))
    return 100 * (sure - now[np.arange(len(many)), answers])


maps = {name: saliency.grad_cams(model, many, answers, name) for name in watched}
sizes_of = {name: "x".join(map(str, model.get_layer(name).output.shape[1:3])) for name in watched}
falls = {f"hottest, {name} ({sizes_of[name]})": fall(hottest(maps[name])) for name in watched}
falls["coldest, " + layer] = fall(hottest(maps[layer], sign=-1))
falls["random place"] = fall(generator.integers(0, span, (len(many), 2)))
falls["centre"] = fall([(span // 2, span // 2)] * len(many))

# %% tags=["nbval-ignore-output"]
shown = {
    name: (v.mean(), *(v.mean() + sign * 1.96 * v.std() / math.sqrt(len(v)) for sign in (-1, 1)))
    for name, v in falls.items()
}
print(evaluation_plots.intervals_table(shown, "fall (points)"))
plots.show(
    evaluation_plots.intervals(shown, "fall of the answer's probability (points), 95% over images"),
    "How far the probability falls when each place is covered, the table above.",
)

# %%
if is_default:
    deepest, deep, finer, coldest, anywhere, centre = (values.mean() for values in falls.values())
    assert deep > anywhere + 5 and coldest < anywhere - 10 and deepest < anywhere - 3
    assert centre > anywhere + 5 and abs(centre - deep) < 8
    at_an_edge = [0 in corner or span - 1 in corner for corner in hottest(maps[watched[0]])]
    assert np.mean(at_an_edge) > 0.9
    print("4x4 positions: the hottest place counts more than a random one, the coldest much less: True")
    print("2x2 positions, the default: the hottest place counts LESS than a random one: True")
    print("there it lies at the image's edge in more than nine of ten images: True")
    print("and the centre, without any map, counts about as much as the best map's hottest place: True")

# %% [markdown]
# This is what measuring does to stories. On these small images the deepest layer has 2x2 positions. Drawn up, its hottest place lies at the edge, where there is little to cover: by this test its maps are *worse than chance*, although they look like any others. The layer before, with 4x4, points to places that do count. And even so a patch on the centre, where the digit is, does about as well without any map. On larger images the default layer has more positions. With flowers and MobileNetV2 it has 7x7, and when we ran this cell there, its hottest place counted most, more than the centre. So run it on your own images before you believe a map.
#
# So what may one say of a Grad-CAM map? That according to one layer, these places speak for this class. Not that the network "looks at" nothing else, not that it has understood what it looks at, and not that a good-looking map belongs to a good model. Use maps to find suspicions (a watermark, a ruler beside the tumour), then test them by covering.
#
# ## 8. Leakage: a good number for the wrong question
#
# [Lesson 03](03_data.ipynb) showed that a random split promises too much for new writers. Now that we have intervals, the point becomes sharper. Take one pipeline, frozen GlyphNet features and a linear head, and evaluate it in two ways: half of the images **at random** against half of the **writers**. This section always takes digits, since for them alone we know who made each image. Ten splits each, clean and wild digits, and two kinds of head: logistic regression, and the nearest neighbour, which simply remembers.
#
# **Guess:** the random split's interval is narrow. In how many of ten splits does it hold the accuracy on new writers?

# %%
from sklearn import linear_model, model_selection, neighbors

glyphnet = classifier.build("GlyphNet", [str(digit) for digit in range(10)])
glyphnet = keras.Model(glyphnet.input, glyphnet.get_layer("average_pool").output)
heads = {
    "logistic regression": linear_model.LogisticRegression(max_iter=200, tol=1e-2),
    "nearest neighbour": neighbors.KNeighborsClassifier(1),
}
splitters = {"at random": model_selection.ShuffleSplit, "by writer": model_selection.GroupShuffleSplit}


def ten_splits(head, features, labels, writers, splitter):
    """Right answers of each of ten splits, as lists of bool arrays."""
    by = writers if splitter is model_selection.GroupShuffleSplit else None
    splits = splitter(10, test_size=0.5, random_state=0).split(features, labels, by)
    return [head.fit(features[a], labels[a]).predict(features[b]) == labels[b] for a, b in splits]


# %% tags=["nbval-ignore-output"]
accuracies, held_by = {}, {}
for kind, wild in (("clean", False), ("wild", True)):
    pictures, labels, writers = digits.arrays(wild=wild)
    features = glyphnet.predict(pictures.astype("float32"), batch_size=256, verbose=0)
    for name, head in heads.items():
        found = {way: ten_splits(head, features, labels, writers, split) for way, split in splitters.items()}
        accuracies[kind, name] = {
            way: 100 * np.array([right.mean() for right in results]) for way, results in found.items()
        }
        truth = accuracies[kind, name]["by writer"].mean() / 100
        ends = [evaluation.wilson_interval(int(right.sum()), len(right)) for right in found["at random"]]
        held_by[kind, name] = sum(low <= truth <= high for low, high in ends)
rows = [
    [
        f"{kind}, {name}",
        *(f"{v.mean():.1f} ± {v.std(ddof=1):.1f}" for v in by_way.values()),
        str(held_by[kind, name]),
    ]
    for (kind, name), by_way in accuracies.items()
]
print(
    plots.table(["accuracy (%), mean ± spread", "at random", "by writer", "intervals that hold, of 10"], rows)
)

# %%
for by_way in accuracies.values():
    assert by_way["at random"].mean() > by_way["by writer"].mean() + 1
assert max(held_by.values()) <= 5 and held_by["clean", "logistic regression"] <= 1
clean = {way: 100 - values.mean() for way, values in accuracies["clean", "logistic regression"].items()}
assert clean["by writer"] > 1.8 * clean["at random"]
print("split at random every pipeline looks more than a point better: True")
print("clean digits: new writers cause nearly twice the mistakes or more: True")
print("at most half of the random splits' 95% intervals hold the accuracy on new writers: True")

# %% [markdown]
# The interval answers another question: it speaks of further images *from the same writers*. No formula can know that you meant new ones. Leakage does not make a number uncertain; it makes it certain, and wrong. And note the spread: by writer it is larger. It is the random split that looks more trustworthy. And the head that only remembers loses no more than the other: the leak is in the data, not in one greedy method.
#
# Where no group is recorded, look for what could be one: near-copies (lesson 03), a photographer's series, neighbouring frames, a hospital.
#
# ## 9. When the images change
#
# So far, new images came from where the old ones came from. In use, they will not stay there: a dirty lens, another camera, a hand that shakes. We spoil the test images step by step in three ways and watch both models, frozen and fine-tuned: **noise** (standard deviation, as a share of the full range), **blur** (standard deviation in pixels of a 32-pixel image), **rotation** (degrees).
#
# **Guess:** which of the three hurts most? And fine-tuning, which won on clean test images: does it stay ahead, or was its gain a gain on familiar images only?

# %%
import scipy.ndimage

shifted = test_images if is_default else test_images[:200]
truth = test.labels[: len(shifted)]
noise = np.random.default_rng(0).normal(size=(*shifted.shape[:3], 1)).astype("float32")
scale = shifted.shape[1] / 32
spoil = {
    "noise": lambda s: shifted + 255 * s * noise,
    "blur": lambda s: scipy.ndimage.gaussian_filter(shifted.astype("float32"), (0, s * scale, s * scale, 0)),
    "rotation": lambda s: scipy.ndimage.rotate(
        shifted.astype("float32"), s, axes=(1, 2), reshape=False, order=1, mode="nearest"
    ),
}
strengths = {"noise": (0, 0.1, 0.2, 0.3), "blur": (0, 1, 2, 3), "rotation": (0, 20, 40, 60)}

# %% tags=["nbval-ignore-output"]
spoiled = {
    (kind, strength): np.clip(spoil[kind](strength), 0, 255)
    for kind in spoil
    for strength in strengths[kind][1:]
}
said = {
    name: {where: probabilities_of(each, images) for where, images in spoiled.items()}
    | {(kind, 0): result.probabilities[: len(shifted)] for kind in spoil}
    for name, each, result in (("frozen", frozen[0], before[0]), ("fine-tuned", model, test))
}
pictures = [shifted[0], *(images[0] for images in spoiled.values())]
titles = ["as it is", *(f"{kind} {strength:g}" for kind, strength in spoiled)]
plots.show(
    plots.image_grid(pictures, titles, columns=5),
    "One test image as it is and spoiled: " + ", ".join(titles[1:]),
)


# %% tags=["nbval-ignore-output"]
def with_interval(probabilities):
    """Accuracy and Wilson's interval, in %."""
    right = int((probabilities.argmax(axis=1) == truth).sum())
    return [100 * value for value in (right / len(truth), *evaluation.wilson_interval(right, len(truth)))]


curves = {
    name: {kind: np.array([with_interval(at[kind, s]) for s in strengths[kind]]) for kind in strengths}
    for name, at in said.items()
}
plots.show(
    evaluation_plots.accuracy_under_shift(strengths, curves),
    "Accuracy against the strength of noise, blur and rotation, frozen and fine-tuned, with bands; the table below.",
)
print(evaluation_plots.accuracy_under_shift_table(strengths, curves))

# %%
if is_default:
    ends = {kind: curves["fine-tuned"][kind][-1, 0] for kind in strengths}
    at_first = curves["fine-tuned"]["noise"][0, 0]
    assert max(ends.values()) < at_first - 15 and min(ends, key=ends.get) == "rotation"
    ahead = {kind: curves["fine-tuned"][kind][:, 0] - curves["frozen"][kind][:, 0] for kind in strengths}
    assert ahead["noise"][0] > 0.5 and ahead["noise"][-1] > ahead["blur"][-1] + 3
    print("each kind of shift costs more than 15 points in the end, rotation most: True")
    print("fine-tuning is ahead by 3 points more in the strongest noise than in the strongest blur: True")

# %% [markdown]
# Rotation by 60 degrees leaves little: both networks have learned from shapes that were turned by 20 or 25 degrees at most. (*Which* kind hurts most depends on how far we turned each knob, so compare models within a panel, not panels.) Under noise the lead of fine-tuning grows; under strong blur it is gone. One possible reason: GlyphNet was pretrained on sharp and on blurred glyphs, and fine-tuning fitted its layers to digits that are all noisy and all equally sharp. We have not tested it. "Better" holds for the images it was measured on.
#
# ### Does it know that it no longer knows?
#
# That would be the least to ask: if accuracy falls, confidence should fall with it. We follow the fine-tuned model's confidence, after its temperature was fitted, and its calibration error with and without temperature. **Guess:** does the temperature, fitted on clean validation images, still help when the images are spoiled?

# %% tags=["nbval-ignore-output"]
heated = {
    where: calibration.with_temperature(each, temperature) for where, each in said["fine-tuned"].items()
}


def along(measure):
    """A measure of probabilities, in %, for each kind and strength of shift."""
    return {kind: 100 * np.array([measure(kind, s) for s in strengths[kind]]) for kind in strengths}


def error_of(probabilities):
    return calibration.expected_calibration_error(probabilities, truth)


watch = {
    "accuracy": {kind: values[:, 0] for kind, values in curves["fine-tuned"].items()},
    "confidence": along(lambda kind, s: heated[kind, s].max(axis=1).mean()),
    "error, as it is": along(lambda kind, s: error_of(said["fine-tuned"][kind, s])),
    "error, temperature": along(lambda kind, s: error_of(heated[kind, s])),
}
plots.show(
    evaluation_plots.accuracy_under_shift(strengths, watch, "%"),
    "Accuracy, confidence and calibration error of the fine-tuned model against the strength of each shift; table below.",
)
print(evaluation_plots.accuracy_under_shift_table(strengths, watch, "%"))

# %%
if is_default:
    too_sure = watch["confidence"]["rotation"] - watch["accuracy"]["rotation"]
    assert abs(too_sure[0]) < 6 and too_sure[-1] > 20
    assert watch["error, temperature"]["rotation"][-1] > 5 * watch["error, temperature"]["rotation"][0]
    assert watch["confidence"]["rotation"][-1] < watch["confidence"]["rotation"][0] - 15
    print("turned, confidence falls with the accuracy, but not nearly as far: True")
    print("at 60 degrees the repaired model is too sure by more than 20 points: True")
    plain_error, repaired_error = watch["error, as it is"], watch["error, temperature"]
    assert all(repaired_error[kind][-1] > plain_error[kind][-1] + 3 for kind in ("noise", "rotation"))
    assert repaired_error["blur"][-1] < plain_error["blur"][-1] - 3
    print(
        "in the end the temperature makes the error larger under noise and rotation, smaller under blur: True"
    )

# %% [markdown]
# Ovadia et al. ([1906.02530](https://arxiv.org/abs/1906.02530)) found this for many networks and many methods: calibration on familiar images says little about calibration on others. As long as the images are only a little turned or noisy, the temperature still helps. In the strongest noise, and turned by 40 degrees or more, our network is no longer too modest, and the temperature that was right for clean images makes things *worse* than none. Blurred, it stays too modest, and the temperature helps throughout. Nobody could have told beforehand. So the threshold for "ask a human" is no protection against images unlike those it was set on. Watch the mean confidence in use: it does fall, and needs no labels. (Lesson 07 says how to keep an eye on a model that is deployed.)
#
# And the maps? How far do they move when an image is spoiled, though the class is the same?

# %% tags=["nbval-ignore-output"]
moved = {}
for kind in ("noise", "blur"):  # when turned, the digit itself moves
    for strength in strengths[kind][1::2]:
        maps = saliency.grad_cams(
            model, spoiled[kind, strength][: len(some)], test.predictions[: len(some)], layer
        )
        moved[kind, strength] = correlation(original, maps)
rows = [[kind, f"{strength:g}", f"{np.median(values):.2f}"] for (kind, strength), values in moved.items()]
print(plots.table(["shift", "strength", "median correlation with the map of the clean image"], rows))

# %%
if is_default:
    for kind in ("noise", "blur"):
        little, much = (np.median(moved[kind, strength]) for strength in strengths[kind][1::2])
        assert much < little
    print("the more an image is spoiled, the farther its map moves: True")

# %% [markdown]
# ## 10. What to report
#
# All this belongs on one page beside the model, so that whoever uses it knows what was measured, on what, and what was not: a **model card** (Mitchell et al., [1810.03993](https://arxiv.org/abs/1810.03993)). It is printed from the values above. A card that is typed is wrong after the next training.

# %% tags=["nbval-ignore-output"]
worst = [names[i] for i in np.argsort(recall)[:2]]
interval = readings.get("t over writers", test.interval)
makers = (
    f"{len(np.unique(groups))} writers, none of them in training"
    if test.groups is not None
    else "makers unknown"
)
card = {
    "model": f"{backbone_name}, fine-tuned on {dataset.sizes['train']} images of {dataset.name}",
    "measured on": f"{len(test.labels)} test images, {makers}, read once",
    "accuracy": f"{test.accuracy:.1%}, 95% interval {interval[0]:.1%} to {interval[1]:.1%} (other {unit})",
    "other trainings": f"{len(seeds)} seeds: {min(100 * r.accuracy for r in after):.1f}% to {max(100 * r.accuracy for r in after):.1f}%",
    "against frozen": f"{unsure[0]:+.1f} points, {len(seeds)} seeds; 95% interval {unsure[1]:+.1f} to {unsure[2]:+.1f} (other {unit})",
    "weakest classes": f"{', '.join(worst)} (recall {', '.join(f'{value:.0%}' for value in np.sort(recall)[:2])})",
    "confidence": f"divide logits by {temperature:.2f}; calibration error then {100 * error_after:.1f} points",
    "ask a human": f"below {threshold:.2f}: {1 - answers_itself.mean():.0%} of images; the rest {right_among.mean():.1%} right",
    "spoiled images": ", ".join(
        f"{kind} {strengths[kind][-1]:g}: {curves['fine-tuned'][kind][-1, 0]:.0f}%" for kind in strengths
    ),
    "not measured": "other languages of handwriting, other scanners, images that show no digit at all"
    if is_default
    else "other cameras and places, images that show none of the classes",
}
for name, value in card.items():
    print(f"{name:16} {value}")

# %% [markdown]
# And the model? We have looked at it from all sides. It must be what it was:

# %%
change = received.change()
assert change < 1e-5
assert all(np.array_equal(a, b) for a, b in zip(weights_at_the_start, model.get_weights(), strict=True))
print("every weight is what it was, and so is every answer to the validation images: True")

# %% [markdown]
# ## Summary
#
# - Choose by validation, read the test **once**: the best of twenty equal models looks a point or two better than it is.
# - Keep **predictions**, all probabilities, with the identity of each image: intervals, comparisons, class mix, calibration and thresholds can then be had without the model.
# - An interval answers *one* question. Wilson: other images of the same makers. For new makers count **makers**: *t* if they are few, the bootstrap if many. None covers another training: repeat it.
# - Compare models **paired**, on the same images, over several seeds. One point takes thousands of images.
# - **Precision** depends on the class mix. Report the mix, or weigh for the one you will meet.
# - Measure **calibration** against chance; one temperature repairs it, for images like those it was fitted on.
# - **Look** at confident mistakes. They come in kinds.
# - A Grad-CAM map is a suspicion. Randomise, cover, compare with the centre.
# - **Leakage** makes a wrong number look certain. **Shift** makes a right number wrong, and the confidence with it.
#
# ### Try it yourself
#
# 1. In section 1, let the validation part have 2,000 images instead of 260. What becomes of the second column, and why not of the third?
# 2. Fit the temperature on only 30 validation images, ten times with other ones. How far do the temperatures scatter, and does the worst still help?
# 3. Weigh the errors: reading a 1 as a 7 costs ten, everything else one. From the *calibrated* probabilities choose for each image the answer with the least expected cost. What do you gain, and what happens without the repair?
# 4. Repeat the covering test with a patch of half the size, and with white instead of the median colour. Does the order of the layers stay?
# 5. Spoil the images in a way of your own: contrast, a black bar, another background. Before you run it, write down which model will be ahead.
#
# ## What next
#
# **Practise first:** [the exercises](exercises/06_evaluate.ipynb) check what you write, and say what it shows. They take about an hour.
#
# Your model has a card now. **Lesson 07, [Deploy](07_deploy.ipynb)**, puts it where others can use it; **lesson 08, [Compress](08_compress.ipynb)**, makes it smaller and measures what that costs, with the paired test of this lesson.
#
# ## Further reading
#
# - L. Brown, T. Cai and A. DasGupta, [*Interval estimation for a binomial proportion*](https://doi.org/10.1214/ss/1009213286), Statistical Science 16, 2001: why not Wald's interval.
# - T. Dietterich, [*Approximate statistical tests for comparing supervised classification learning algorithms*](https://doi.org/10.1162/089976698300017197), Neural Computation 10, 1998: McNemar's test, and what it does not cover.
# - X. Bouthillier et al., [*Accounting for variance in machine learning benchmarks*](https://arxiv.org/abs/2103.03098), 2021: seeds, splits and other trainings.
# - C. Guo et al., [*On calibration of modern neural networks*](https://arxiv.org/abs/1706.04599), 2017; R. Müller, S. Kornblith and G. Hinton, [*When does label smoothing help?*](https://arxiv.org/abs/1906.02629), 2019.
# - R. Selvaraju et al., [*Grad-CAM*](https://arxiv.org/abs/1610.02391), 2016; J. Adebayo et al., [*Sanity checks for saliency maps*](https://arxiv.org/abs/1810.03292), 2018.
# - C. Northcutt, A. Athalye and J. Mueller, [*Pervasive label errors in test sets destabilize machine learning benchmarks*](https://arxiv.org/abs/2103.14749), 2021: heap 3, in ten famous data sets.
# - Y. Ovadia et al., [*Can you trust your model's uncertainty?*](https://arxiv.org/abs/1906.02530), 2019; D. Hendrycks and T. Dietterich, [*Benchmarking neural network robustness to common corruptions and perturbations*](https://arxiv.org/abs/1903.12261), 2019.
# - M. Mitchell et al., [*Model cards for model reporting*](https://arxiv.org/abs/1810.03993), 2019.
# - scikit-learn, [*Metrics and scoring*](https://scikit-learn.org/stable/modules/model_evaluation.html), and [*Probability calibration*](https://scikit-learn.org/stable/modules/calibration.html).
