"""Exercises of lesson 05: careful steps, rates of blocks, won and lost, BatchNormalization, early stopping, a rule."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from finetune_lib import checks
from finetune_lib.exercises import mistakes_05


def _tell(stories: Mapping[str, Any], start: str = "") -> None:
    """Raise with the first story that holds."""
    for story, holds in stories.items():
        if holds:
            raise checks.Incorrect(start + story)


SUGGESTIONS = {  # what to think of, should a suggestion be judged wrongly
    "A": "Clipping (A) multiplies all gradients by one number. What does Adam divide by?",
    "B": "A tenth of the loss (B) is a tenth of every gradient. Multiply both running means in Adam's step by that, the one of the gradient and the root of the one of its square.",
    "C": "A ratio (C) does not touch the gradient. What does it multiply, in the first layer?",
    "D": "A trained head (D) hands down a much smaller gradient, and a better direction. Which of these two does Adam keep?",
    "E": "Warm-up (E) acts on the rate itself. How high is the rate in step 0 of a run of 100?",
    "F": "A larger batch (F) makes the gradient more exact. Does the length of Adam's first step depend on the gradient at all?",
}


@checks.task(
    "Adam's first step is rate times gradient / √(gradient²): what is left of the gradient's size?",
    "Sort the six into those that change the gradient and those that change the rate (or what the step is multiplied by).",
)
def careful_steps(answer: str | Sequence[str]) -> str:
    text = answer if isinstance(answer, str) else " ".join(str(letter) for letter in answer)
    letters = re.findall(r"\w", re.sub(r"\band\b", " ", text.lower()))
    named = {letter.upper() for letter in letters}
    if not letters or named - set(SUGGESTIONS) or len(named) < len(letters):
        raise checks.Incorrect(
            f'Name the suggestions that shorten the step by their letters, each once, such as "AF"; your answer is {answer!r}.'
        )
    wrong = [letter for letter in SUGGESTIONS if (letter in named) != (letter in "CE")]
    if wrong:
        raise checks.Incorrect(
            f"{len(SUGGESTIONS) - len(wrong)} of the six suggestions are judged rightly. {SUGGESTIONS[wrong[0]]}"
        )
    return "Whatever only scales the gradient leaves Adam's first step as it was: it takes the sign, and goes as far as the rate says. Later steps differ a little, by how the gradient compares with earlier ones. (A trained head is worth having all the same: for its direction.)"


@checks.task(
    "First make a list of the blocks, each once, in order; `dict.fromkeys` keeps the order. Then give the blocks shares, and the layers those of their blocks.",
    "From block to block the share is multiplied by one number, and after (blocks - 1) such steps by `ratio`. Mind the division if there is one block.",
)
def block_shares(answer: Callable[[list[str], float], Mapping[str, float]]) -> str:
    cases: list[tuple[list[str], float]] = [
        (["stem_conv", "b1_a", "b1_b", "b1_c", "b2_a", "b2_b", "logits"], 8.0),
        (["one_conv", "two_conv", "three_conv"], 100.0),
        (["zeta_conv", "zeta_pool", "alpha_conv", "logits"], 30.0),
        (["block1_a", "block1_b", "block2_a", "head"], 1.0),
        (["only_first", "only_second"], 10.0),
        (["logits"], 50.0),
    ]
    for names, ratio in cases:
        found = checks.call(answer, list(names), ratio)
        if not isinstance(found, Mapping):
            raise checks.Incorrect(
                f"Return a dictionary, from a layer's name to a number, not {type(found).__name__}."
            )
        if set(found) != set(names):
            raise checks.Incorrect(
                f"For the layers {', '.join(names)} your dictionary has the keys {', '.join(map(str, found)) or '(none)'}: every layer needs a share, under its whole name."
            )
        _examine_shares(names, ratio, np.array([float(found[name]) for name in names]))
    return "The ends are fixed and the steps follow: so a ratio means the same for VGG16 and for a network of seven blocks and hundreds of layers. Whether layers or blocks should be evenly spaced is a matter of taste; that a long network's first layers still learn is not."


def _examine_shares(names: list[str], ratio: float, found: np.ndarray) -> None:
    blocks = list(dict.fromkeys(name.split("_")[0] for name in names))
    place = np.array([blocks.index(name.split("_")[0]) for name in names])
    steps = max(1, len(blocks) - 1)
    right = ratio ** ((place - len(blocks) + 1) / steps)
    case = f"For the layers {', '.join(names)} and a ratio of {ratio:g}"
    if found.shape == right.shape and np.allclose(found, right, rtol=1e-3):
        return
    if len(blocks) == 1:
        raise checks.Incorrect(
            f"{case} there is one block only. It is the last one, too, and has the full rate, 1; you give {found[0]:.3g}."
        )
    by_layer = ratio ** (np.arange(len(names)) / (len(names) - 1) - 1)
    straight, divided = 1 / ratio + (1 - 1 / ratio) * place / steps, ratio ** (place - steps + 0.0)
    one_too_many, turned = ratio ** ((place - steps) / len(blocks)), right[0] / right
    stories = {
        "layers stand on the line, not blocks: two layers of one block have different shares.": by_layer,
        "that is the wrong way round: the head would be the slowest, and the first layers, which hold what is common to most pictures, the fastest.": turned,
        "the shares grow by equal *amounts*. On a geometric line they grow by equal *factors*.": straight,
        f"you divide by {ratio:g} from each block to the one below, so the first has {divided[0]:.2g}. The ratio is from end to end.": divided,
        f"the last has 1, but the first has {found[0]:.3g} instead of {1 / ratio:.3g}. From the first of {len(blocks)} blocks to the last there are {steps} steps.": one_too_many,
        "all layers get the same.": np.ones(len(names)),
    }
    _tell({story: np.allclose(found, wrong, rtol=1e-3) for story, wrong in stories.items()}, f"{case}: ")
    shown = ", ".join(f"{value:.3g}" for value in found)
    raise checks.Incorrect(
        f"{case} the first share should be {1 / ratio:.3g} and the last 1, with one share a block; yours are {shown}."
    )


@checks.task(
    "Two masks: wrong before *and* right after; right before *and* wrong after. A change from one wrong answer to another is neither.",
    "Count `truth[mask]` class by class: `np.bincount(..., minlength=classes)`; then `np.stack([won, lost], axis=1)`.",
)
def won_and_lost(answer: Callable[[np.ndarray, np.ndarray, np.ndarray, int], Any]) -> str:
    generator = np.random.default_rng(4)
    for classes, images, rare in ((3, 60, False), (4, 200, False), (6, 90, True)):
        truth = generator.integers(0, classes - 2 if rare else classes, images)
        before, after = (
            np.where(generator.random(images) < share, truth, generator.integers(0, classes, images))
            for share in (0.4, 0.6)
        )
        found = np.asarray(checks.call(answer, before.copy(), after.copy(), truth.copy(), classes))
        right = _fates(before, after, truth, truth, classes)
        if found.shape != right.shape:
            raise checks.Incorrect(
                f"For {classes} classes return a table of {classes} rows (one a class, {'also for those without images' if rare else 'in order'}) and two columns, won and lost; yours has the shape {found.shape}."
            )
        if np.array_equal(found, right):
            continue
        wrong_ones = (
            _fates(before, after, truth, before, classes),
            _fates(before, after, truth, after, classes),
        )
        by_wrong = np.stack([wrong_ones[0][:, 0], wrong_ones[1][:, 1]], axis=1)
        changed = _count(
            truth, classes, (before != truth) & (after == truth), (before != after) & (after != truth)
        )
        now = _count(truth, classes, after == truth, after != truth)
        both = _count(truth, classes, before == truth, after == truth)
        stories = {
            "won and lost have changed places. Won is what was wrong *before*.": right[:, ::-1],
            "you count by what the network answers. Which class has lost an image is a question about its *truth*.": by_wrong,
            "the images that are lost are counted by what they are taken for now, and not by what they are.": wrong_ones[
                1
            ],
            "the lost ones include images that had been wrong already, and are wrong in another way now. There was nothing to lose.": changed,
            "those are the images that are right, and wrong, after fine-tuning. Won and lost are only those that have *crossed* the line.": now,
            "those are right answers before and after. Their difference is what accuracy shows; a class that wins ten and loses ten looks as if nothing had happened.": both,
        }
        start = f"In a test with {classes} classes and {images} images: "
        _tell({story: np.array_equal(found, wrong) for story, wrong in stories.items()}, start)
        raise checks.Incorrect(
            f"In a test with {classes} classes and {images} images, {right[:, 0].sum()} are won and {right[:, 1].sum()} lost in all, {right[0, 0]} and {right[0, 1]} of them of class 0; your first row is {found[0].tolist()}, and your columns sum to {found.sum(axis=0).tolist()}."
        )
    return "Won minus lost is all that accuracy shows. The table shows who pays: a class of which no image is among the new ones has nobody to speak for it. Old images mixed in with the new would (it is called replay, or rehearsal)."


def _count(by: np.ndarray, classes: int, *masks: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(by[mask], minlength=classes) for mask in masks], axis=1)


def _fates(before: Any, after: Any, truth: Any, by: np.ndarray, classes: int) -> np.ndarray:
    """Won and lost images, counted by some class of theirs."""
    return _count(by, classes, (before != truth) & (after == truth), (before == truth) & (after != truth))


LAYERS = ("stem", "stem_bn", "middle", "scaler", "tidy", "logits")  # scaler: a BatchNormalization; tidy: not


def _tiny() -> keras.Model:
    """Two BatchNormalizations, a LayerNormalization, and layers around them, with random weights."""
    generator = np.random.default_rng(5)
    layers = keras.layers
    image = x = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, name="stem")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="stem_bn")(x))
    x = layers.Conv2D(5, 3, name="middle")(x)
    x = layers.BatchNormalization(name="scaler")(x)
    x = layers.LayerNormalization(name="tidy")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, layers.Dense(3, name="logits")(x))
    model.set_weights([generator.uniform(0.5, 1.5, weight.shape) for weight in model.weights])
    return model


@checks.task(
    "Which layers have statistics? `isinstance(layer, keras.layers.BatchNormalization)` asks for them. Keras: `trainable = False` also keeps such a layer in inference mode.",
    "The model has a flag, too. Set `model.trainable = True` first, since that sets all layers' flags; then each layer's: at or after `first`, and no BatchNormalization. Return the model.",
)
def unfreeze(answer: Callable[[keras.Model, str], keras.Model]) -> str:
    generator = np.random.default_rng(6)
    images = generator.normal(size=(4, 6, 6, 2)).astype("float32")
    for first, before in (("stem", True), ("middle", True), ("stem", False), ("tidy", False)):
        model = _tiny()
        model.trainable = before
        old = model.get_weights()
        found = checks.call(answer, model, first)
        if not isinstance(found, keras.Model):
            raise checks.Incorrect(f"Return the model, not {type(found).__name__}.")
        if any(not np.array_equal(*pair) for pair in zip(found.get_weights(), old, strict=True)):
            raise checks.Incorrect("Your function changes weights. It should only say which may change.")
        same = np.allclose(found(images, training=True), found(images, training=False), atol=1e-5)
        if found.trainable_weights:
            found.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
            found.train_on_batch(images, np.ones((4, 3), "float32"))
        moved = {  # layer/weight
            "/".join(weight.path.split("/")[-2:])
            for weight, was in zip(found.weights, old, strict=True)
            if not np.array_equal(weight.numpy(), was)
        }
        start = "frozen as a whole" if not before else "trainable as a whole"
        _examine_moves(f"With a model that was {start} before, and `first` = {first!r}", first, moved, same)
    return "One flag, two meanings: for BatchNormalization `trainable = False` also means the stored statistics are used, and no longer updated. Now training and use are the same function of the image. `freezing.unfreeze_from` does this, also for networks within networks, and un-compiles the model, so that nobody trains on under the old flags."


def _examine_moves(case: str, first: str, moved: set[str], same: bool) -> None:
    layers, position = {name.split("/")[0] for name in moved}, LAYERS.index(first)
    normal = {"stem_bn", "scaler"}
    below = [name for name in LAYERS[:position] if name in layers and name not in normal]
    missing = [name for name in LAYERS[position:] if name not in layers | normal]
    statistics = sorted(name for name in moved if "moving_" in name)
    named = bool(statistics) and first == "stem" and not any("stem_bn" in name for name in statistics)
    only_tidy, learned, differs = missing == ["tidy"], layers & normal, not same
    stories = {
        "nothing learns at all. Look at the model's own flag, not only at its layers': under a frozen model a layer's flag is not asked.": not moved,
        f"layers before it have moved: {', '.join(below)}.": below,
        f"statistics have moved in one layer of two ({', '.join(statistics)}). It is called otherwise, and is a BatchNormalization, too: ask for a layer's kind, not for its name.": named,
        f"statistics have moved ({', '.join(statistics)}) without any gradient: their layer is in training mode. It is in inference mode only if its flag says that it does not learn.": statistics,
        "the stored statistics stay, but scale and shift of a BatchNormalization have moved. The layer should be frozen as a whole.": learned,
        "no statistic has moved, and yet the model answers differently in training and in use: a BatchNormalization still normalises by the batch at hand.": differs,
        "the LayerNormalization is frozen, too. It normalises each image by itself and has no statistics that could drift.": only_tidy,
        f"these layers should have learned and did not: {', '.join(missing)}. Does your function set every flag, whatever it was before?": missing,
    }
    _tell(stories, f"{case}, ")


@checks.task(
    "What is compared in the colleague's `if`, and which way round? Then: what shall decide if that is equal?",
    "Python compares pairs place by place: `(accuracy, -loss) > (best_accuracy, -best_loss)` is the whole rule. The way in which the colleague counts patience was right.",
)
def epoch_to_keep(answer: mistakes_05.Stop) -> str:
    for accuracies, losses, patience in mistakes_05.HISTORIES:
        found = checks.call(answer, list(accuracies), list(losses), patience)
        right = mistakes_05.right_stop(list(accuracies), list(losses), patience)
        if isinstance(found, bool) or not isinstance(found, int | np.integer):
            raise checks.Incorrect(f"Return the epoch's number, a whole number, not {found!r:.60}.")
        if found == right:
            continue
        shown = f"Accuracies {', '.join(map(str, accuracies))}, losses {', '.join(map(str, losses))}, patience {patience}: you keep epoch {found}, to keep is {right}."
        raise checks.Incorrect(f"{shown} {mistakes_05.story_of_stop(answer)}")
    return "`fitting.fit(..., patience=3)` goes by this rule. It leaves one bias: the best of many looks at the validation images is flattered by luck. So `fine_tune` has no patience unless you ask for it: the rate falls to zero, and the last weights are the settled ones."


TABLES: tuple[dict[str, list[float]], ...] = (
    {"head": [70, 80, 75, 60], "top": [71, 81, 76, 61], "half": [69, 80, 99, 60], "all": [72, 82, 77, 60]},
    {"frozen": [80, 90, 85, 70], "top": [82, 91, 87, 69], "all": [81.5, 92, 86, 72]},
    {"A": [70, 80, 90, 60], "B": [90.5, 70.5, 60.5, 80.5]},
    {"A": [70, 80, 90, 60], "B": [71, 81, 90, 60]},
    {"A": [70, 80, 90, 60, 50], "B": [71, 81, 91, 59, 40]},
    {"zero": [70, 80, 90, 60], "one": [71, 81, 91, 20]},
    {"A": [70, 80, 90], "B": [75, 85, 95]},
    {"A": [70, 80, 90, 60, 75, 65, 85, 95], "B": [71, 81, 91, 61, 76, 66, 84, 94]},
    {"A": [70, 80, 90, 60, 75, 65, 85, 95], "B": [71, 81, 91, 61, 76, 66, 86, 94]},
)


@checks.task(
    "Keep a variable `choice`, which begins as the first name, and go through the others once. In what share of the draws is the new one higher?",
    "`np.mean(np.array(scores[name]) > np.array(scores[choice]))` is that share. And before the loop: how many draws are there?",
)
def decide(answer: mistakes_05.Choose) -> str:
    for table in TABLES:
        found = checks.call(answer, {name: list(values) for name, values in table.items()})
        if not isinstance(found, str) or found not in table:
            raise checks.Incorrect(f"Return one of the names {', '.join(table)}; yours is {found!r:.60}.")
        if found != (right := mistakes_05.right_choice(table)):
            shown = "; ".join(f"{name}: {', '.join(map(str, values))}" for name, values in table.items())
            large = [each for each in TABLES if len(next(iter(each.values()))) >= 4]
            # The second time, for whoever has also forgotten what few draws mean.
            same = [
                story
                for tables in (TABLES, large)
                for story, choose in mistakes_05.CHOOSERS.items()
                if _always(answer, choose, tables)
            ]
            otherwise = "Go through your rule with these numbers, on paper."
            raise checks.Incorrect(
                f"{shown}. You choose {found!r}, the rule {right!r}. {[*same, otherwise][0]}"
            )
    return "In pairs, so that hard draws do not count against anybody; by counts, so that one lucky draw does not decide; and cheap first, so that depth has to earn its place. With four draws, three of four is still no proof: a coin does that in 5 of 16 cases. It is a rule for choosing, not for reporting."


def _always(answer: Callable, choose: Callable, tables: Sequence[Mapping]) -> bool:
    """Whether a function chooses as a known rule does, in all of some tables."""
    try:
        return all(answer({**table}) == choose(table) for table in tables)
    except Exception:
        return False


question_1 = checks.choice(
    __name__,
    "question_1",
    "b",
    {
        "a": "With 50 images an epoch is two steps, so 50 epochs are 100 steps: not many for a head, but frozen features under a poor head would still be good features. Here they were overwritten.",
        "b": "The label says `head`, and `fit` trains what the flags say. `freezing.freeze(model)` belongs before the first stage, `unfreeze_from` between the two. The report tells: it lists which layers have moved.",
        "c": "`fit` goes on from the weights that the model has. It would be good news if the pretrained ones were still there.",
        "d": "The ratio slows the early layers down in the *second* stage. By then a random head has sent its gradients through them, at the full rate.",
    },
)

question_2 = checks.choice(
    __name__,
    "question_2",
    "c",
    {
        "a": "Where the loss is lowest in a range test, training is about to diverge: each rate was on trial for one step only, and the loss lags behind the rate.",
        "b": "There the loss is flat: nothing moves. It is safe as not training is safe.",
        "c": "Half-way down the falling part, or a tenth of where it is lowest, if that is less: here 0.0005, since a tenth is 0.001. The test finds the order of magnitude; validation images decide.",
        "d": "Beyond the lowest place the loss is rising already. A stage would spend hundreds of steps where the test spent a few.",
    },
)

question_3 = checks.choice(
    __name__,
    "question_3",
    "b",
    {
        "a": "Equal on images of *this* camera. Lesson 05 had two recipes that were equal on digits, one of which had lost a good part of the old features; no validation accuracy showed it.",
        "b": "It costs nothing here, and it is the safer bet. It is no proof: take images of the new camera for that as soon as there are any.",
        "c": "It has moved more, and to no better place: as many images are right. Moving is a cost, not an achievement.",
    },
)

question_4 = checks.choice(
    __name__,
    "question_4",
    "b",
    {
        "a": "One at a time finds what helps *alone*, in this order. What helps only together it throws away twice.",
        "b": "Twenty steps are too few to see many versions of the images, and without new versions more steps see the same few images again. Try both at once, then take one away.",
        "c": "Seeds make a result more certain. If each alone gains nothing, they would make that more certain.",
    },
)
