"""Answers to the exercises of lesson 05."""

import keras
import numpy as np


def shares_by_geomspace(names, ratio):
    blocks = sorted({name.split("_")[0] for name in names}, key=[n.split("_")[0] for n in names].index)
    shares = dict(zip(blocks, np.geomspace(1, 1 / ratio, len(blocks))[::-1], strict=True))
    if len(blocks) == 1:
        shares = {blocks[0]: np.float32(1)}
    return {name: shares[name.partition("_")[0]] for name in names}


def per_block(share):
    """A wrong rule, as a function of a block's place and how many there are."""

    def shares(names, ratio):
        blocks = list(dict.fromkeys(name.split("_")[0] for name in names))
        return {name: share(blocks.index(name.split("_")[0]), len(blocks), ratio) for name in names}

    return shares


def shares_by_layer(names, ratio):
    last = max(1, len(names) - 1)
    return {name: ratio ** (place / last - 1) for place, name in enumerate(names)}


def counted_one_by_one(before, after, truth, classes):
    table = [[0, 0] for _ in range(classes)]
    for old, new, right in zip(before, after, truth, strict=True):
        if (old == right) != (new == right):
            table[right][int(old == right)] += 1
    return table


def counted_by(won_by, lost_by):
    """Won and lost images, counted by something else than their truth: 0 for before, 1 for after."""

    def table(before, after, truth, classes):
        answers, masks = (
            (before, after),
            ((before != truth) & (after == truth), (before == truth) & (after != truth)),
        )
        pairs = zip((answers[won_by], answers[lost_by]), masks, strict=True)
        return np.stack([np.bincount(by[mask], minlength=classes) for by, mask in pairs], axis=1)

    return table


def changed_counts_as_lost(before, after, truth, classes):
    masks = (before != truth) & (after == truth), (before != after) & (after != truth)
    return np.stack([np.bincount(truth[mask], minlength=classes) for mask in masks], axis=1)


def right_and_wrong(before, after, truth, classes):
    masks = after == truth, after != truth
    return np.stack([np.bincount(truth[mask], minlength=classes) for mask in masks], axis=1)


def right_before_and_after(before, after, truth, classes):
    masks = before == truth, after == truth
    return np.stack([np.bincount(truth[mask], minlength=classes) for mask in masks], axis=1)


def swapped(before, after, truth, classes):
    return np.array(counted_one_by_one(before, after, truth, classes))[:, ::-1]


def without_empty_classes(before, after, truth, classes):
    return np.array(counted_one_by_one(before, after, truth, classes))[np.unique(truth)]


def sums(before, after, truth, classes):
    return np.sum(counted_one_by_one(before, after, truth, classes), axis=0)


def unfreeze_backwards(model, first):
    model.trainable = True
    learns = True
    for layer in reversed(model.layers):
        layer.trainable = learns and type(layer).__name__ != "BatchNormalization"
        learns = learns and layer.name != first
    return model


def flags(wanted, *, model_flag=True, give_back=True):
    """Unfreeze with a condition for each layer."""

    def unfreeze(model, first):
        if model_flag:
            model.trainable = True
        names = [layer.name for layer in model.layers]
        for place, layer in enumerate(model.layers):
            layer.trainable = wanted(layer, place >= names.index(first))
        return model if give_back else None

    return unfreeze


def is_batch_norm(layer):
    return isinstance(layer, keras.layers.BatchNormalization)


def statistics_by_momentum(model, first):
    model = flags(lambda layer, after: after)(model, first)
    for layer in model.layers:
        if is_batch_norm(layer):
            layer.momentum = 1.0
    return model


def scale_and_shift_fixed_only(model, first):
    model = statistics_by_momentum(model, first)
    for layer in model.layers:
        if is_batch_norm(layer):
            layer.gamma.trainable = layer.beta.trainable = False
    return model


def keep_with_a_counter(val_accuracy, val_loss, patience):
    best, epoch, waited = (-1.0, 0.0), 0, 0
    for number, pair in enumerate(zip(val_accuracy, (-loss for loss in val_loss), strict=True), start=1):
        waited += 1
        if pair > best:
            best, epoch, waited = pair, number, 0
        if waited == patience:
            break
    return np.int64(epoch)


def keep(key, *, patient=True, first=1):
    """The epoch with the highest key."""

    def epoch(val_accuracy, val_loss, patience):
        keys = [key(*pair) for pair in zip(val_accuracy, val_loss, strict=True)]
        best = 0
        for place in range(len(keys)):
            best = place if keys[place] > keys[best] else best
            if patient and place - best >= patience:
                break
        return best + first

    return epoch


def impatient(val_accuracy, val_loss, patience):
    best, waited = 0, 0
    for place in range(1, len(val_loss)):
        if (val_accuracy[place], -val_loss[place]) > (val_accuracy[best], -val_loss[best]):
            best = place
        else:
            waited += 1
        if waited == patience:
            break
    return best + 1


def decide_by_counting(scores):
    names = list(scores)
    choice = names.pop(0)
    draws = len(scores[choice])
    while names and draws > 3:
        name = names.pop(0)
        higher = sum(new > old for new, old in zip(scores[name], scores[choice], strict=True))
        choice = name if 4 * higher >= 3 * draws else choice
    return choice


def decide_if(rule, least=4):
    """Go through the recipes with another rule."""

    def decide(scores):
        choice, *others = scores
        for name in others:
            if len(scores[choice]) >= least and rule(np.array(scores[name]), np.array(scores[choice])):
                choice = name
        return choice

    return decide


def stop_at_the_first(scores):
    choice, *others = scores
    for name in others:
        if len(scores[choice]) < 4 or np.mean(np.array(scores[name]) > scores[choice]) < 0.75:
            break
        choice = name
    return choice


def against_the_first(scores):
    first, *others = scores
    ahead = [name for name in others if np.mean(np.array(scores[name]) > scores[first]) >= 0.75]
    return [first, *ahead][-1] if len(scores[first]) > 3 else first


ANSWERS = {
    "careful_steps": (
        lambda: ["e", "C"],
        {
            "hard-coded: the example": lambda: "AF",
            "those that lower the gradient, too": lambda: "BCDE",
            "clipping and rates": lambda: "ACE",
            "larger batch, too": lambda: "CEF",
            "the ratio only": lambda: "C",
            "the warm-up only": lambda: "E",
            "head first, too": lambda: "CDE",
            "a letter too many": lambda: "CEG",
        },
    ),
    "block_shares": (
        lambda: shares_by_geomspace,
        {
            "hard-coded: VGG16": lambda: (
                lambda names, ratio: {f"block{n}_conv1": ratio ** (n / 5 - 1) for n in range(6)}
            ),
            "by layer": lambda: shares_by_layer,
            "turned round": lambda: per_block(
                lambda place, count, ratio: ratio ** -(place / max(1, count - 1))
            ),
            "equal amounts": lambda: per_block(
                lambda place, count, ratio: 1 / ratio + (1 - 1 / ratio) * place / max(1, count - 1)
            ),
            "divided block by block": lambda: per_block(
                lambda place, count, ratio: ratio ** (place - count + 1)
            ),
            "a step too many": lambda: per_block(
                lambda place, count, ratio: ratio ** ((place - count + 1) / count)
            ),
            "one block divided by zero": lambda: per_block(
                lambda place, count, ratio: ratio ** (place / (count - 1) - 1)
            ),
            "one block at a tenth": lambda: per_block(
                lambda place, count, ratio: ratio ** (place / max(1, count - 1) - 1)
            ),
            "the same for all": lambda: lambda names, ratio: dict.fromkeys(names, 1.0),
            "a list": lambda: lambda names, ratio: list(shares_by_layer(names, ratio).values()),
            "sorted blocks": lambda: (
                lambda names, ratio: dict(
                    zip(names, sorted(shares_by_geomspace(names, ratio).values(), reverse=True), strict=True)
                )
            ),
        },
    ),
    "won_and_lost": (
        lambda: counted_one_by_one,
        {
            "hard-coded: one win a class": lambda: (
                lambda before, after, truth, classes: np.array([[1, 0]] * classes)
            ),
            "swapped": lambda: swapped,
            "by the wrong answers": lambda: counted_by(0, 1),
            "by the answers afterwards": lambda: counted_by(1, 1),
            "changed is lost": lambda: changed_counts_as_lost,
            "right and wrong after": lambda: right_and_wrong,
            "right before and after": lambda: right_before_and_after,
            "classes without images left out": lambda: without_empty_classes,
            "sums": lambda: sums,
        },
    ),
    "unfreeze": (
        lambda: unfreeze_backwards,
        {
            "hard-coded: the colleague's names": lambda: (
                lambda model, first: (
                    [
                        setattr(layer, "trainable", layer.name in ("block2_conv", "logits"))
                        for layer in model.layers
                    ]
                    and model
                )
            ),
            "the colleague's": lambda: flags(lambda layer, after: after),
            "everything": lambda: flags(lambda layer, after: not is_batch_norm(layer)),
            "by the name of the layer": lambda: flags(
                lambda layer, after: after and "bn" not in layer.name and "norm" not in layer.name
            ),
            "every kind of normalisation": lambda: flags(
                lambda layer, after: after and "Normalization" not in type(layer).__name__
            ),
            "the model's flag forgotten": lambda: flags(
                lambda layer, after: after and not is_batch_norm(layer), model_flag=False
            ),
            "statistics held by momentum": lambda: statistics_by_momentum,
            "momentum, scale and shift held": lambda: scale_and_shift_fixed_only,
            "one layer only": lambda: (
                lambda model, first: flags(lambda layer, after: layer.name in (first, "logits"))(model, first)
            ),
            "nothing returned": lambda: flags(lambda layer, after: after, give_back=False),
        },
    ),
    "epoch_to_keep": (
        lambda: keep_with_a_counter,
        {
            "hard-coded: epoch 19": lambda: lambda val_accuracy, val_loss, patience: 19,
            "by the loss": lambda: keep(lambda accuracy, loss: -loss),
            "patience ignored": lambda: keep(lambda accuracy, loss: (accuracy, -loss), patient=False),
            "from 0": lambda: keep(lambda accuracy, loss: (accuracy, -loss), first=0),
            "the first of equals": lambda: keep(lambda accuracy, loss: accuracy),
            "the higher loss of equals": lambda: keep(lambda accuracy, loss: (accuracy, loss)),
            "not in a row": lambda: impatient,
            "the last epoch": lambda: lambda val_accuracy, val_loss, patience: len(val_loss),
            "one too early": lambda: (
                lambda val_accuracy, val_loss, patience: (
                    keep_with_a_counter(val_accuracy, val_loss, patience - 1) or 1
                )
            ),
            "one too late": lambda: (
                lambda val_accuracy, val_loss, patience: keep_with_a_counter(
                    val_accuracy, val_loss, patience + 1
                )
            ),
            "the accuracy instead of the epoch": lambda: (
                lambda val_accuracy, val_loss, patience: max(val_accuracy)
            ),
        },
    ),
    "decide": (
        lambda: decide_by_counting,
        {
            "hard-coded: from block 1": lambda: lambda scores: "from block 1",
            "the highest mean": lambda: lambda scores: max(scores, key=lambda name: np.mean(scores[name])),
            "the first gap": lambda: stop_at_the_first,
            "against the first": lambda: against_the_first,
            "sorted": lambda: decide_if(lambda new, old: np.mean(np.sort(new) > np.sort(old)) >= 0.75),
            "equal is higher": lambda: decide_if(lambda new, old: np.mean(new >= old) >= 0.75),
            "half": lambda: decide_if(lambda new, old: np.mean(new > old) > 0.5),
            "more than three quarters": lambda: decide_if(lambda new, old: np.mean(new > old) > 0.75),
            "all": lambda: decide_if(lambda new, old: np.all(new > old)),
            "two draws are enough": lambda: decide_if(lambda new, old: np.mean(new > old) >= 0.75, least=1),
            "the first": lambda: lambda scores: next(iter(scores)),
            "the last": lambda: lambda scores: [*scores][-1],
        },
    ),
}
