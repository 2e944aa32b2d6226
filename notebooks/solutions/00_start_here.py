# %% [markdown]
# # Exercises 00: start here
#
# In this notebook, you put the five steps in order, count what learns, and find the mistake in a result that is too good.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/solutions/00_start_here.ipynb)
#
# The exercises belong to [lesson 00](../00_start_here.ipynb) and take about 30 minutes. A task's cell ends in a check: run it, and it says *correct*, *incorrect* and why, or *not attempted*. Check as often as you like: attempts and hints are not counted. If you are stuck, add a line such as `exercise.steps_an_epoch.hint()`, and if you have tried and want to compare, `exercise.steps_an_epoch.solution()` (if you look before your answer is right, that is kept).

# %% [markdown] tags=["solutions-only"]
# **These are the solutions.** They are worth more after a try: [the exercises](../exercises/00_start_here.ipynb).

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
from finetune_lib.exercises import lesson_00 as exercise

# %% [markdown]
# ## 1. The five steps
#
# Somebody wants to sort photos of mushrooms, and has written down what there is to do, in no order:
#
# - `"measure the accuracy on the test photos"`
# - `"train the head, then some layers below it"`
# - `"put the model on a server"`
# - `"pick a network that was pretrained on photos"`
# - `"set the validation and test photos aside"`
#
# Put the five actions into the order in which they are done: one for each of choose, prepare, fine-tune, evaluate, deploy. (Copy them with their quotes.)

# %%
order = ...
### BEGIN SOLUTION
order = [
    "pick a network that was pretrained on photos",
    "set the validation and test photos aside",
    "train the head, then some layers below it",
    "measure the accuracy on the test photos",
    "put the model on a server",
]
### END SOLUTION
exercise.five_steps.check(order)

# %% [markdown]
# ## 2. How many steps is an epoch?
#
# A *step* looks at up to `batch_size` images; an *epoch* is one round through all of them. In lesson 00 there were 50 training images, and 32 made a batch.
#
# **Guess first**, in your head: how many steps was an epoch there? Then write a function that says it for any number of images. The last batch may be smaller than the others, but no image is left out.


# %%
def steps_an_epoch(images, batch_size):
    """How many steps one epoch takes, a whole number."""
    ### BEGIN SOLUTION
    full, rest = divmod(images, batch_size)
    return full + (1 if rest else 0)
    ### END SOLUTION


exercise.steps_an_epoch.check(steps_an_epoch)

# %% [markdown]
# ## 3. What share of the network learns?
#
# Here is lesson 00's network, frozen: only its head learns. `model.weights` is the list of all its arrays of numbers, `model.trainable_weights` of those that training may change; each has a `.shape`.

# %%
from finetune_lib import classifier, freezing

model = freezing.freeze(classifier.build("GlyphNet", [str(digit) for digit in range(10)]))
print(len(model.weights), "arrays, of which", len(model.trainable_weights), "learn:")
for weight in model.trainable_weights:
    print(weight.path, weight.shape)

# %% [markdown]
# **Guess:** what share of all *numbers* is that: a half, a tenth, a hundredth? Write a function that computes it for any model. (Counting arrays is not enough: one of them may hold ten numbers, another a million.)


# %%
def share_that_learns(model):
    """How many of the model's numbers training may change, as a share of all: 0 to 1."""
    ### BEGIN SOLUTION
    import math

    learning = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return learning / sum(math.prod(weight.shape) for weight in model.weights)
    ### END SOLUTION


exercise.share_that_learns.check(share_that_learns)

# %% [markdown]
# ## 4. Find the mistake: a result that is too good
#
# A colleague has trained five networks that are about equally good, and reports the best one. Here is the code, and what it says: each accuracy is one of many random ones around a true 80%.

# %%
import numpy as np


def flattering_report(validation, test):
    """Of several networks, the name of the best one and the accuracy to report.

    `validation` and `test` are dictionaries: a network's name and its accuracy on that part.
    """
    name = max(test, key=test.get)
    return name, test[name]


generator = np.random.default_rng(0)
reported = []
for _ in range(1000):
    validation, test = (dict(zip("ABCDE", generator.normal(0.8, 0.02, 5), strict=True)) for _ in range(2))
    reported.append(flattering_report(validation, test)[1])
print(f"true accuracy of every network: 80.0%; reported on average: {np.mean(reported):.1%}")

# %% [markdown]
# Nobody lied, and yet the report promises what strangers' images will not keep. What is wrong? Write the honest version: it returns the same two things, a name and an accuracy.


# %%
def honest_report(validation, test):
    """Of several networks, the name of the one to use and the accuracy to report."""
    ### BEGIN SOLUTION
    name = max(validation, key=validation.get)  # every decision on the validation images
    return name, test[name]  # and the test images are read once, for the one chosen
    ### END SOLUTION


exercise.honest_report.check(honest_report)

# %% [markdown]
# What does your version say of the same thousand reports?

# %%
from finetune_lib import checks

if checks.attempted(honest_report):
    generator = np.random.default_rng(0)
    reported = []
    for _ in range(1000):
        validation, test = (dict(zip("ABCDE", generator.normal(0.8, 0.02, 5), strict=True)) for _ in range(2))
        reported.append(honest_report(validation, test)[1])
    print(f"true accuracy of every network: 80.0%; reported on average: {np.mean(reported):.1%}")

# %% [markdown]
# ## 5. Design: how many test images do you need?
#
# In lesson 00 an accuracy came with an interval. Somebody will ask you: "about 85% is fine, but I want to know it within two points on either side. How many labelled test images shall I pay for?"
#
# For an accuracy $p$ measured on $n$ images, chance moves the result by about $1.96\sqrt{p(1-p)/n}$ to either side (95% of the time). Turn that around.


# %%
def images_needed(accuracy, margin):
    """How many test images make the 95% interval `margin` wide to either side; both are shares, 0 to 1."""
    ### BEGIN SOLUTION
    return 1.96**2 * accuracy * (1 - accuracy) / margin**2
    ### END SOLUTION


exercise.images_needed.check(images_needed)

# %% [markdown]
# **Guess:** for half the margin, how many times more images is that? The figure draws your function, for three accuracies. (The picture stored here shows what you are after. It goes away if you run the cell before you have an answer.)

# %%
import matplotlib.figure

from finetune_lib import plots

if checks.attempted(images_needed):
    figure = matplotlib.figure.Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    margins = np.linspace(0.005, 0.05, 50)
    for accuracy, colour in ((0.7, plots.BLUE), (0.85, plots.VERMILION), (0.98, plots.GREY)):
        needed = [images_needed(accuracy, margin) for margin in margins]
        axes.plot(100 * margins, needed, color=colour, label=f"accuracy {accuracy:.0%}")
    axes.set(xlabel="margin to either side (points)", ylabel="test images needed", yscale="log")
    axes.legend(frameon=False)
    plots.show(
        figure,
        "Test images needed against the margin, on a logarithmic axis: for an accuracy of 85% some 20,000 for half "
        "a point, 4,900 for one, 1,225 for two, 200 for five; more for 70%, a sixth of that for 98%.",
    )

# %% [markdown]
# Think of it before you promise anybody a tenth of a point.
#
# ## Quiz
#
# **Question 1.** A network is *frozen* while its new head learns. What does that mean?
#
# - a) It computes its features once, at the start, and is not used any more.
# - b) Its weights stay as they are; images still run through it, and what comes out of it stays the same.
# - c) It learns too, but much more slowly than the head.

# %%
# @title Question 1 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c"]
### BEGIN SOLUTION
answer = "b"
### END SOLUTION
exercise.question_1.check(answer)

# %% [markdown]
# **Question 2.** On 891 test images by seven writers, network A is right on 87.1% and network B on 88.0%, eight images more. Which sentence may stand in a report?
#
# - a) B is better than A.
# - b) A and B are equally good.
# - c) B was right a little more often here; with these images alone, chance may explain that.

# %%
# @title Question 2 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c"]
### BEGIN SOLUTION
answer = "c"
### END SOLUTION
exercise.question_2.check(answer)

# %% [markdown]
# **Question 3.** You have five labelled photos of each of ten mushrooms. Why start from a network that was pretrained on other photos, instead of from random weights?
#
# - a) Its weights already find edges, shapes and textures, and fifty photos are far too few to learn these.
# - b) It has seen these very mushrooms, and only has to be told their names.
# - c) Training from random weights cannot work at all.

# %%
# @title Question 3 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c"]
### BEGIN SOLUTION
answer = "a"
### END SOLUTION
exercise.question_3.check(answer)

# %% [markdown]
# ## Your progress
#
# What a check has called *correct* is kept with its date, on this machine, or in Google Drive if that is mounted. So the table is still there after a restart. If you looked at a task's solution before your answer was right, that is kept, too, and the certificate says so. (Answers in the notebook of solutions are not counted.)

# %% tags=["nbval-ignore-output"]
from finetune_lib import progress

progress.show()

# %% [markdown]
# `progress.certificate("Your Name")` writes a page, `certificate.html`, which lists what was checked and when, and returns where it lies. Open it in a browser, and print it from there. (On Colab, download it first, from the folder panel on the left.)
