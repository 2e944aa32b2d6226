# %% [markdown]
# # Exercises 03: data
#
# In this notebook, you meet six mistakes that raise no error, predict or measure what each does, and mend them.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/solutions/03_data.ipynb)
#
# The exercises belong to [lesson 03](../03_data.ipynb) and take about 50 minutes. A task's cell ends in a check: run it, and it says *correct*, *incorrect* and why, or *not attempted*. Check as often as you like: attempts and hints are not counted. If you are stuck, add a line such as `exercise.soft_weights.hint()`, and if you have tried and want to compare, `exercise.soft_weights.solution()` (if you look before your answer is right, that is kept).

# %% [markdown] tags=["solutions-only"]
# **These are the solutions.** They are worth more after a try: [the exercises](../exercises/03_data.ipynb).

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
from finetune_lib.exercises import lesson_03 as exercise

# %% [markdown]
# Most tasks use the handwritten digits, and GlyphNet without its head: `features` turns raw pixels, 0 to 255, into the 128 numbers an image that a head would learn from. We train a head on the first seven writers, and keep the others to see how good it is.

# %%
import keras
import numpy as np
from sklearn import linear_model

from finetune_lib import checks, classifier, digits, plots

scans, labels, writers = digits.arrays(wild=False)
network = classifier.build("GlyphNet", [str(digit) for digit in range(10)])
backbone = keras.Model(network.input, network.get_layer("average_pool").output)


def features(images):
    """What GlyphNet's frozen layers make of raw pixels."""
    return backbone.predict(np.asarray(images, "float32"), batch_size=256, verbose=0)


# %% tags=["nbval-ignore-output"]
learn, test = writers < 7, writers >= 7
of_scans = features(scans)
head = linear_model.LogisticRegression(max_iter=200, tol=1e-2).fit(of_scans[learn], labels[learn])
print(f"right on the other writers' digits: {head.score(of_scans[test], labels[test]):.1%}")

# %% [markdown]
# ## 1. Predict: what arrives if images are preprocessed twice?
#
# GlyphNet was pretrained on pixels from -1 to 1, and a layer at its entrance makes them so, out of raw pixels from 0 to 255. A colleague does not know about that layer, has read that networks want pixels from -1 to 1, and makes them so before: all images go through `prepare`, and then through the network with its layer.


# %%
def prepare(images):
    """From a tutorial: pixels from -1 to 1."""
    return keras.applications.mobilenet_v2.preprocess_input(images)


print("prepare: black becomes", prepare(np.array([0.0]))[0], "and white", prepare(np.array([255.0]))[0])
layer = network.layers[1]
print(f"{type(layer).__name__} layer in the network: times 1/{1 / layer.scale:g}, then plus {layer.offset:g}")

# %% [markdown]
# A black pixel is 0 and a white one is 255. What does the network's first convolution receive for each of them? Write down two numbers, `[black, white]`, to three decimals. Paper is enough.

# %%
received = ...
### BEGIN SOLUTION
received = [-1 / 127.5 - 1, 1 / 127.5 - 1]
### END SOLUTION
exercise.preprocessed_twice.check(received)

# %% [markdown]
# When you have an answer, the next cell says what this costs in three cases: `prepare` stands only where the model is *used*; it stands in *training*, too; and in both, and something brings the features back to a common scale before the head, as BatchNormalization would. **Guess** an accuracy for each.

# %% tags=["nbval-ignore-output"]
from sklearn import pipeline, preprocessing

if checks.attempted(received):
    twice = features(prepare(scans.astype("float32")))
    same_head = linear_model.LogisticRegression(max_iter=200, tol=1e-2)
    with_scale = pipeline.make_pipeline(preprocessing.StandardScaler(), same_head)
    accuracies = [
        head.score(twice[test], labels[test]),
        same_head.fit(twice[learn], labels[learn]).score(twice[test], labels[test]),
        with_scale.fit(twice[learn], labels[learn]).score(twice[test], labels[test]),
    ]
    cases = ["only in use", "in training, too", "in both, features rescaled"]
    rows = [[case, f"{accuracy:.1%}"] for case, accuracy in zip(cases, accuracies, strict=True)]
    print(plots.table(["prepare stands", "right on the other writers' digits"], rows))

# %%
if checks.attempted(received):
    assert max(accuracies[:2]) < 0.2 and 0.75 < accuracies[2] < head.score(of_scans[test], labels[test])
    print("The first two are no better than guessing: True")
    print("The third is good, and yet below what the network can do: True")

# %% [markdown]
# Which of the three would you notice?
#
# ## 2. Complete: weights between none and full
#
# In lesson 03 the weight of a class was in inverse proportion to its size. With a long tail of rare classes that goes far. Here an image of the rarest class would count as much as 32 of the commonest, and if its label is wrong, so would the mistake.

# %%
tail = np.repeat(np.arange(6), [64, 32, 16, 8, 4, 2])
print("images in each class:", np.bincount(tail).tolist())

# %% [markdown]
# A softer choice: the weight of a class is in proportion to its size to the power of `-power`. With `power` 1 that is what we had, with 0 all images count alike, and with 1/2 it is in between. Then all weights are multiplied by one number, so that they are **1 on average over the images**: the loss stays as large as it was.
#
# Complete the function. It returns a dictionary, class number to weight, as `fit` takes it (`class_weight` in Keras, `class_weights` in `fitting.fit`).


# %%
def soft_weights(labels, power):
    """The weight of each class; `labels` are whole numbers, `power` is 0 to 1, a float."""
    ### BEGIN SOLUTION
    import numpy as np

    classes, sizes = np.unique(labels, return_counts=True)
    weights = sizes ** -float(power)
    weights = weights * sizes.sum() / (sizes * weights).sum()
    return {int(label): float(weight) for label, weight in zip(classes, weights, strict=True)}
    ### END SOLUTION


exercise.soft_weights.check(soft_weights)

# %% [markdown]
# What does that mean for the classes' *say*, their share of the loss while the network still knows nothing and is equally wrong about every image? Three images in four are of the two largest classes.

# %%
if checks.attempted(soft_weights):
    sizes, say = np.bincount(tail), {}
    for name, power in {"power 0: no weights": 0.0, "power 1/2": 0.5, "power 1": 1.0}.items():
        weights = soft_weights(tail, power)
        say[name] = 100 * sizes * np.array([weights[label] for label in range(6)]) / len(tail)
    names = [f"class {label} ({size} images)" for label, size in enumerate(sizes)]
    rows = [[name, *(f"{say[case][label]:.1f}" for case in say)] for label, name in enumerate(names)]
    print(plots.table(["share of the say (%)", *say], rows))
    plots.show(
        plots.bars(names, say, "share of the say (%)"),
        "Each class's share of the say for the powers 0, 1/2 and 1: with 0 it halves from class to class, with 1/2 "
        "it falls more slowly, with 1 all six are equal.",
    )

# %% [markdown]
# ## 3. Find the mistake: a good network that is right one time in ten
#
# A colleague has trained our head under the names `zero`, `one`, ... `nine`, in that order. To test it, somebody has sorted the other writers' digits into ten folders of the same names. A folder loader numbers the classes in *alphabetical* order, as `data.load` and `keras.utils.image_dataset_from_directory` do.

# %%
model_names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
folder_names = sorted(model_names)
print("folders:", ", ".join(folder_names))
truth = np.array([folder_names.index(model_names[label]) for label in labels[test]])

# %% [markdown]
# The colleague's code, and what it says about a network that was right some 96% of the time above:

# %% tags=["nbval-ignore-output"]
from finetune_lib import evaluation


def compared(predictions):
    """The folders' truth beside the numbers that were predicted."""
    return evaluation.Evaluation("test", tuple(folder_names), truth, np.eye(10)[predictions])


predictions = head.predict(of_scans[test])
print(compared(predictions))

# %% [markdown]
# One in ten: as if it had learned nothing. It is worth a look at *which* mistakes it makes.

# %% tags=["nbval-ignore-output"]
print(plots.confusion_table(compared(predictions), 10))
plots.show(
    plots.confusion_matrix(compared(predictions)),
    "Confusion matrix: every row has one dark cell, but only that of six lies on the diagonal.",
)

# %%
shares = {name: np.bincount(predictions[truth == row]).max() for row, name in enumerate(folder_names)}
assert all(share > 2 / 3 * (truth == row).sum() for row, share in enumerate(shares.values()))
print("of every class, more than two thirds get the same answer: True")
assert (predictions == truth).mean() < 0.15 and (predictions == truth)[truth == 6].mean() > 0.9
print("the only class that is right is:", folder_names[6])

# %% [markdown]
# A network that guesses would have a grey carpet here. This one is sure and consistent. What is wrong? Write the function that mends it, for any two lists of the same names.


# %%
def right_names(predictions, model_names, folder_names):
    """Predictions in the model's numbering (an array of whole numbers), in the numbering of the folders."""
    ### BEGIN SOLUTION
    import numpy as np

    number_of = {name: number for number, name in enumerate(folder_names)}
    return np.array([number_of[model_names[prediction]] for prediction in predictions])
    ### END SOLUTION


exercise.right_names.check(right_names)

# %% tags=["nbval-ignore-output"]
if checks.attempted(right_names):
    mended = compared(right_names(predictions, model_names, folder_names))
    print(mended, plots.confusion_table(mended), sep="\n")
    plots.show(
        plots.confusion_matrix(mended),
        "Confusion matrix of the mended predictions: the dark cells lie on the diagonal.",
    )

# %% [markdown]
# It happens with flowers, too: TensorFlow Datasets has tf_flowers as dandelion, daisy, tulips, sunflowers, roses. Which of them would be right by chance, if your photos lie in folders?
#
# ## 4. Find the mistake: always the same surprise
#
# Four files, each a digit as PNG. `decode` makes pixels of a file, which takes time, and gives the same every time. `augment` gives another look at every call.

# %%
import tensorflow as tf

from finetune_lib import augmentation

files = [tf.io.encode_png(scans[row]).numpy() for row in (3, 14, 25, 36)]


def decode(file):
    """The pixels of a PNG file."""
    return tf.ensure_shape(tf.cast(tf.io.decode_png(file), tf.float32), (32, 32, 3))


def augment(image):
    """A fresh look, another one at each call."""
    seed = tf.random.uniform((2,), maxval=2**31 - 1, dtype=tf.int32)
    return augmentation.drawings(image, seed)


# %% [markdown]
# The colleague was told to decode only once, and to augment in every epoch:


# %%
def surprising_stream(files, decode, augment):
    """A stream of images, decoded once and augmented anew in every epoch."""
    stream = tf.data.Dataset.from_tensor_slices(files)
    return stream.map(decode).map(augment).cache()


stream = surprising_stream(files, decode, augment)
looks = [[image.numpy().tobytes() for image in stream] for epoch in range(5)]
for row in range(4):
    print(f"image {row}: {len({look[row] for look in looks})} different looks in 5 epochs")

# %% [markdown]
# "But I did write `augment`!" What is wrong? Without `cache` the looks would differ, and every file would be decoded in every epoch. Write the stream that does both as it should.


# %%
def fresh_every_epoch(files, decode, augment):
    """A stream of images, one at a time, each decoded once and augmented anew in every epoch."""
    ### BEGIN SOLUTION
    import tensorflow as tf

    stream = tf.data.Dataset.from_tensor_slices(files)
    return stream.map(decode).cache().map(augment)
    ### END SOLUTION


exercise.fresh_every_epoch.check(fresh_every_epoch)

# %%
if checks.attempted(fresh_every_epoch):
    stream = fresh_every_epoch(files, decode, augment)
    epochs = [[image.numpy() for image in stream] for epoch in range(6)]
    titles = [f"epoch {epoch}" for _ in files for epoch in range(6)]
    plots.show(
        plots.image_grid([epochs[epoch][row] for row in range(4) for epoch in range(6)], titles, columns=6),
        "Four digits, one a row, in six epochs: turned, scaled, shifted and inverted differently in each.",
    )

# %% [markdown]
# ## 5. Find the mistake: a network that learns nonsense
#
# "Little data? Augment it first, save everything, and train on the lot." Here are 300 digits, each in five slightly different versions, in a folder of 1,500 images. `groups` says which digit each of them was made from.

# %%
generator = np.random.default_rng(3)
groups = np.repeat(np.arange(300), 5)
versions = augmentation.affine(
    tf.cast(scans[generator.choice(len(scans), 300, replace=False)][groups], tf.float32),
    degrees=tf.constant(generator.uniform(-10, 10, 1500), tf.float32),
    zoom=tf.constant(generator.uniform(0.9, 1.1, 1500), tf.float32),
    shift=tf.constant(generator.uniform(-0.06, 0.06, (1500, 2)), tf.float32),
    fill_mode="constant",
).numpy()
plots.show(
    plots.image_grid(versions[:10], [f"group {group}" for group in groups[:10]], columns=5),
    "Two digits, each in five versions, turned, scaled and shifted a little.",
)

# %% [markdown]
# Now a test of the *test*. We throw the labels away and give each digit a random one, all its versions the same. There is nothing to be learned that would hold for other digits: an honest test says about 10%. To classify, we take the label of the most similar image among those to learn from (the *nearest neighbour*, by GlyphNet's features).
#
# **Guess:** what accuracy will the colleague's split report, and why?

# %% tags=["nbval-ignore-output"]
from sklearn import neighbors

nonsense = generator.integers(0, 10, 300)[groups]
of_versions = features(versions)


def nonsense_accuracy(split):
    """The mean accuracy on random labels, over five splits."""
    scores = []
    for seed in range(5):
        aside = np.asarray(split(groups, 0.2, seed), bool)
        nearest = neighbors.KNeighborsClassifier(1).fit(of_versions[~aside], nonsense[~aside])
        scores.append(nearest.score(of_versions[aside], nonsense[aside]))
    return np.mean(scores)


def torn_groups(groups, share, seed):
    """True for each row that is set aside to test on: about `share` of them."""
    return np.random.default_rng(seed).random(len(groups)) < share


print(f"accuracy on nonsense: {nonsense_accuracy(torn_groups):.1%}")

# %%
assert nonsense_accuracy(torn_groups) > 0.8
print("Over 80% right where nothing can be learned: True")

# %% [markdown]
# What has been measured here? Write a split that cannot be fooled like that. It returns True for every row that is set aside, it takes about `share` of the *groups*, at least one and never all, and no group may stand on both sides. The same seed gives the same split, other seeds others. (It should work for any groups: numbers or names, large and small.)


# %%
def whole_groups(groups, share, seed):
    """True for each row that is set aside to test on; `groups` is an array, one entry a row."""
    ### BEGIN SOLUTION
    import numpy as np

    names = np.random.default_rng(seed).permutation(np.unique(groups))
    count = min(max(1, round(share * len(names))), len(names) - 1)
    return np.isin(groups, names[:count])
    ### END SOLUTION


exercise.whole_groups.check(whole_groups)

# %% tags=["nbval-ignore-output"]
if checks.attempted(whole_groups):
    print(f"accuracy on nonsense, split by group: {nonsense_accuracy(whole_groups):.1%}")

# %% [markdown]
# Random labels are a cheap alarm for any pipeline: if it does well on them, the test knows the answers.
#
# ## 6. Design: a seed for every look
#
# The `augment` of task 4 asks a random generator that remembers how often it was asked. If two processor cores ask in turns, or training goes on after a break, the pictures are others. The library's augmentation takes a *seed* instead, a pair of whole numbers, and makes the same picture of the same seed, always.
#
# So somebody has to choose the seeds. Design a function for up to 1,000 runs of up to 1,000 epochs over up to 10,000 images, such that
#
# - the same run, epoch and image give the same pair, whenever it is asked for;
# - any two that differ in run, epoch or image give different pairs;
# - both numbers fit into 32 bits (the largest is 2,147,483,647).
#
# **Guess:** what is wrong with `(run, epoch + image)`?


# %%
def version_seed(run, epoch, image):
    """A pair of whole numbers; all count from 0, `run` and `epoch` to 999, `image` to 9,999."""
    ### BEGIN SOLUTION
    return run, epoch * 10_000 + image
    ### END SOLUTION


exercise.version_seed.check(version_seed)

# %%
if checks.attempted(version_seed):
    digit = tf.cast(scans[25], tf.float32)
    looks, titles = [], []
    for run, name in ((0, "run 0"), (0, "once more"), (1, "run 1")):
        for epoch in range(6):
            looks.append(augmentation.drawings(digit, tf.constant(version_seed(run, epoch, 25))).numpy())
            titles.append(f"{name}, {epoch}")
    plots.show(
        plots.image_grid(looks, titles, columns=6),
        "One digit in six epochs of run 0, of run 0 again, and of run 1. The first two rows are the same pictures; in "
        "the third all are others.",
    )

# %% [markdown]
# `fitting.fit` numbers its versions in this spirit: that is why a run that was stopped half-way can end as if it had not been.
#
# ## Quiz
#
# **Question 1.** A program prepares photos with `keras.applications.mobilenet_v2.preprocess_input` and trains a head on MobileNetV2. Somebody replaces the network by `keras.applications.ResNet50`, and nothing else. It runs, and the accuracy is a disappointment. What comes first?
#
# - a) The pixels cannot be the reason, or there would have been an error: take a larger network.
# - b) Find out what form of pixels ResNet50 was pretrained on, and use that, once.
# - c) Bring every photo to mean 0 and deviation 1, a form that suits every network.
# - d) Train longer: the network gets used to the pixels that it is given.

# %%
# @title Question 1 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c", "d"]
### BEGIN SOLUTION
answer = "b"
### END SOLUTION
exercise.question_1.check(answer)

# %% [markdown]
# **Question 2.** A network is to tell traffic signs apart, among them "turn left" and "turn right". Which change of the training images would you allow?
#
# - a) Mirrored left to right, as for most photos.
# - b) Turned by 180 degrees.
# - c) A little darker or lighter.
# - d) All three: the more variety, the better.

# %%
# @title Question 2 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c", "d"]
### BEGIN SOLUTION
answer = "c"
### END SOLUTION
exercise.question_2.check(answer)

# %% [markdown]
# **Question 3.** Ten cameras in a forest have taken 1,000 frames each. The network will be used with *new* cameras, in other places. How do you choose what to test on?
#
# - a) All frames of some of the cameras.
# - b) Frames at random: with 10,000 of them, chance hardly matters.
# - c) The last 200 frames of each camera, so that all test frames are later than all training frames.
# - d) Frames at random, after removing copies by their hashes.

# %%
# @title Question 3 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c", "d"]
### BEGIN SOLUTION
answer = "a"
### END SOLUTION
exercise.question_3.check(answer)

# %% [markdown]
# **Question 4.** Of 1,000 plants to test on, 20 are sick. A network calls them all healthy. Trained again with class weights, it finds 16 of the 20, and calls 49 of the 980 healthy ones sick. Which sentence is true?
#
# - a) The weights have made the network worse: its accuracy fell from 98.0% to 94.7%.
# - b) The mean recall of the two classes rose from 50% to 87.5%; whether that is worth 49 false alarms depends on what a sick plant costs.
# - c) With the weights, the network is as good as if it had learned from equally many plants of both kinds.

# %%
# @title Question 4 { display-mode: "form" }
answer = "?"  # @param ["?", "a", "b", "c"]
### BEGIN SOLUTION
answer = "b"
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
