"""Answers to the exercises of lesson 06."""

import math

import numpy as np
import scipy.stats

from finetune_lib import evaluation


def by_counting_in_binary(first, second, writers):
    totals = [int(np.sum(first[writers == w])) - int(np.sum(second[writers == w])) for w in set(writers)]
    as_far = 0
    for pattern in range(2 ** len(totals)):
        flipped = sum(-t if pattern >> place & 1 else t for place, t in enumerate(totals))
        as_far += abs(flipped) >= abs(sum(totals))
    return np.float64(as_far / 2 ** len(totals))


def sums(first, second, writers, of=np.sum):
    """The sums for all patterns of signs, and the one that was observed."""
    gain = first * 1.0 - second
    totals = np.array([of(gain[writers == writer]) for writer in np.unique(writers)])
    signs = np.array(np.meshgrid(*[(1, -1)] * len(totals))).reshape(len(totals), -1)
    return totals @ signs, totals.sum()


def flipping(rule, of=np.sum):
    """The share of the patterns for which a rule holds, of their sums and the observed one."""
    return lambda first, second, writers: float(np.mean(rule(*sums(first, second, writers, of))))


def at_random(first, second, writers):
    gain = first * 1.0 - second
    totals = np.array([gain[writers == writer].sum() for writer in np.unique(writers)])
    signs = np.random.default_rng(0).choice([-1, 1], size=(20_000, len(totals)))
    return float(np.mean(np.abs(signs @ totals) >= abs(totals.sum())))


def t_test(first, second, writers):
    gain = first * 1.0 - second
    totals = [gain[writers == writer].sum() for writer in np.unique(writers)]
    return float(scipy.stats.ttest_1samp(totals, 0).pvalue)


def in_one_piece(model, stream):
    images, labels = next(iter(stream.unbatch().batch(10**6)))
    return np.asarray(labels), np.asarray(model(images)).argmax(axis=1)


def read_twice(model, stream):
    predictions = model.predict(stream, verbose=0).argmax(axis=1)
    return np.concatenate([labels for _, labels in stream]), predictions


def read_once(keep=slice(None), *, of_outputs=lambda outputs: outputs.argmax(axis=1), order=(0, 1)):
    """Read right, and make something else of it."""

    def read(model, stream):
        parts = [(labels.numpy(), of_outputs(model.predict(images, verbose=0))) for images, labels in stream]
        found = [np.concatenate(part) for part in zip(*parts[keep], strict=True)]
        return found[order[0]], found[order[1]]

    return read


def sorted_labels(model, stream):
    labels, predictions = read_once()(model, stream)
    return np.sort(labels), predictions


def right_but_shuffled(model, stream):
    labels, predictions = read_once()(model, stream)
    order = np.random.default_rng(0).permutation(len(labels))
    return labels[order], predictions[order]


def by_cumulated_counts(confidence, right, promise):
    order = np.argsort(-confidence)
    sure, won = confidence[order], np.cumsum(right[order])
    for count in range(len(order), 0, -1):
        ends_a_tie = count == len(order) or sure[count] < sure[count - 1]
        if ends_a_tie and evaluation.wilson_interval(int(won[count - 1]), count)[0] >= promise:
            return sure[count - 1], count / len(order)
    return math.inf, 0


def threshold_if(good, *, chosen=np.greater_equal, order=1, share=lambda chosen, right: chosen.mean()):
    """Go through the thresholds with another rule."""

    def choose(confidence, right, promise):
        for threshold in np.unique(confidence)[::order]:
            answered = chosen(confidence, threshold)
            count = int(answered.sum())
            if count and good(int(right[answered].sum()), count, promise, len(right)):
                return threshold, share(answered, right)
        return np.inf, 0.0

    return choose


def low(right, count, promise, images):
    return evaluation.wilson_interval(right, count)[0] >= promise


def until_it_breaks(confidence, right, promise):
    found = np.inf, 0.0
    for threshold in np.unique(confidence)[::-1]:
        answered = confidence >= threshold
        if low(int(right[answered].sum()), int(answered.sum()), promise, 0):
            found = threshold, answered.mean()
        elif found[1] > 0:
            return found
    return found


def image_by_image(confidence, right, promise):
    order, found = np.argsort(-confidence, kind="stable"), (np.inf, 0.0)
    for count in range(1, len(order) + 1):
        if low(int(right[order[:count]].sum()), count, promise, 0):
            found = confidence[order[count - 1]], count / len(order)
    return found


def one_by_one(predict, image, class_index, side, step, fill):
    height, width, _ = image.shape
    before = predict(image[None])[0, class_index]
    rows = []
    for top in np.arange(0, height - side + 1, step):
        row = []
        for left in np.arange(0, width - side + 1, step):
            covered = np.array(image)
            covered[top : top + side, left : left + side] = fill
            row.append(before - predict(covered[None])[0, class_index])
        rows.append(row)
    return rows


def cover(change, *, fresh=np.copy, channels=slice(None), last=1, patch=None):
    """A map of which something is done otherwise; `change` makes the map of what is seen before and after."""

    def occlusion(predict, image, class_index, side, step, fill):
        height, width, _ = image.shape
        tops, lefts = range(0, height - side + last, step), range(0, width - side + last, step)
        before, after, now = predict(image[None])[0], [], image if fresh is None else image.copy()
        for top in tops:
            for left in lefts:
                now = now if fresh is None else fresh(now if fresh is keep_patches else image)
                now[top : top + side, left : left + side, channels] = fill if patch is None else patch
                after.append(predict(now[None])[0])
        shape = len(tops), len(lefts)
        return change(before, np.stack(after), class_index).reshape(shape)

    return occlusion


def keep_patches(image):
    return image.copy()


def fall(before, after, class_index):
    return before[class_index] - after[:, class_index]


def scaled(before, after, class_index):
    return fall(before, after, class_index) / fall(before, after, class_index).max()


ANSWERS = {
    "on_paper": (
        lambda: (3458, 4.16, 18.4),
        {
            "hard-coded: 1000 images": lambda: [1000, 3.0, 50],
            "one standard error": lambda: [900, 2.1, 18.4],
            "whole widths": lambda: [13829, 8.3, 18.4],
            "accuracy of 50%": lambda: [9604, 4.16, 18.4],
            "plus or minus two": lambda: [864, 4.16, 18.4],
            "the root forgotten": lambda: [3457, 0.29, 18.4],
            "a share": lambda: [3457, 0.0416, 18.4],
            "in proportion": lambda: [3457, 17.3, 18.4],
            "recall": lambda: [3457, 4.2, 90],
            "specificity": lambda: [3457, 4.2, 98],
            "the mix forgotten": lambda: [3457, 4.2, 97.8],
            "the false ones": lambda: [3457, 4.2, 81.6],
            "a share, the third": lambda: [3457, 4.2, 0.184],
            "two numbers": lambda: [3457, 4.2],
        },
    ),
    "writers_test": (
        lambda: by_counting_in_binary,
        {
            "hard-coded: the p of the notebook": lambda: lambda first, second, writers: 0.15625,
            "McNemar": lambda: lambda first, second, writers: evaluation.mcnemar(first, second),
            "one side": lambda: flipping(lambda sums, seen: np.sign(seen) * sums >= abs(seen)),
            "at least as high": lambda: flipping(lambda sums, seen: sums >= seen),
            "at most as high": lambda: flipping(lambda sums, seen: sums <= seen),
            "farther only": lambda: flipping(lambda sums, seen: abs(sums) > abs(seen)),
            "exactly as far": lambda: flipping(lambda sums, seen: abs(sums) == abs(seen)),
            "nearer": lambda: flipping(lambda sums, seen: abs(sums) < abs(seen)),
            "means": lambda: flipping(lambda sums, seen: abs(sums) >= abs(seen) - 1e-9, of=np.mean),
            "signs of writers": lambda: flipping(
                lambda sums, seen: abs(sums) >= abs(seen), of=lambda gain: np.sign(gain.sum())
            ),
            "t test": lambda: t_test,
            "signs at random": lambda: at_random,
            "a verdict": lambda: lambda first, second, writers: True,
        },
    ),
    "paired_answers": (
        lambda: in_one_piece,
        {
            "hard-coded: all right": lambda: lambda model, stream: (np.arange(23) % 4, np.arange(23) % 4),
            "the colleague's": lambda: read_twice,
            "labels sorted": lambda: sorted_labels,
            "without the last batch": lambda: read_once(slice(0, 1)),
            "changed places": lambda: read_once(order=(1, 0)),
            "outputs": lambda: read_once(of_outputs=lambda outputs: outputs),
            "the least probable": lambda: read_once(of_outputs=lambda outputs: outputs.argmin(axis=1)),
            "shuffled together": lambda: right_but_shuffled,
            "accuracy": lambda: lambda model, stream: np.mean(np.equal(*read_once()(model, stream))),
        },
    ),
    "careful_threshold": (
        lambda: by_cumulated_counts,
        {
            "hard-coded: 0.9": lambda: lambda confidence, right, promise: (0.9, np.mean(confidence >= 0.9)),
            "the share itself": lambda: threshold_if(
                lambda right, count, promise, _: right / count >= promise
            ),
            "the upper end": lambda: threshold_if(
                lambda right, count, promise, _: evaluation.wilson_interval(right, count)[1] >= promise
            ),
            "until it breaks": lambda: until_it_breaks,
            "the highest": lambda: threshold_if(low, order=-1),
            "above the threshold": lambda: threshold_if(low, chosen=np.greater),
            "image by image": lambda: image_by_image,
            "of all images": lambda: threshold_if(
                lambda right, count, promise, images: evaluation.wilson_interval(right, images)[0] >= promise
            ),
            "the share that is right": lambda: threshold_if(
                low, share=lambda answered, right: right[answered].mean()
            ),
            "the threshold only": lambda: (
                lambda confidence, right, promise: threshold_if(low)(confidence, right, promise)[0]
            ),
            "everybody, if nothing keeps it": lambda: (
                lambda confidence, right, promise: (
                    answer
                    if (answer := threshold_if(low)(confidence, right, promise))[1]
                    else (confidence.max(), np.mean(confidence == confidence.max()))
                )
            ),
        },
    ),
    "occlusion_map": (
        lambda: one_by_one,
        {
            "hard-coded: zeros": lambda: (
                lambda predict, image, class_index, side, step, fill: np.zeros((3, 4))
            ),
            "signs turned": lambda: cover(lambda before, after, c: after[:, c] - before[c]),
            "the probability": lambda: cover(lambda before, after, c: after[:, c]),
            "patches stay": lambda: cover(fall, fresh=keep_patches),
            "on the image itself": lambda: cover(fall, fresh=None),
            "its own class": lambda: cover(lambda before, after, c: before.max() - after[:, before.argmax()]),
            "one channel": lambda: cover(fall, channels=slice(0, 1)),
            "absolute": lambda: cover(lambda before, after, c: abs(fall(before, after, c))),
            "scaled": lambda: cover(scaled),
            "black": lambda: cover(fall, patch=0.0),
            "transposed": lambda: lambda *case: np.array(one_by_one(*case)).T,
            "the last patch left out": lambda: cover(fall, last=0),
            "the largest fall": lambda: lambda *case: np.max(one_by_one(*case)),
            "rounded": lambda: lambda *case: np.round(one_by_one(*case), 2),
        },
    ),
}
