"""Answers to the exercises of lesson 03."""

import hashlib

import numpy as np
import tensorflow as tf
from sklearn.utils import class_weight


def weights_by_normalizing_the_say(labels, power):
    labels = labels.tolist()
    say = {label: labels.count(label) ** (1 - power) for label in set(labels)}
    return {
        label: value / sum(say.values()) * len(labels) / labels.count(label) for label, value in say.items()
    }


def powers(labels, exponent):
    classes, sizes = np.unique(labels, return_counts=True)
    return classes.tolist(), sizes.astype(float), sizes ** float(exponent)


def weights_as_they_are(labels, power):
    classes, _, weights = powers(labels, -power)
    return dict(zip(classes, weights, strict=True))


def weights_averaged_over_classes(labels, power):
    classes, _, weights = powers(labels, -power)
    return dict(zip(classes, weights / weights.mean(), strict=True))


def weights_upside_down(labels, power):
    classes, sizes, weights = powers(labels, power)
    return dict(zip(classes, weights * sizes.sum() / (sizes @ weights), strict=True))


def balanced(labels, power):
    weights = class_weight.compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    return dict(enumerate(weights))


def ranks(predictions, model_names, folder_names):
    # The place of each of the model's names in the other list, by sorting both.
    places = np.empty(len(model_names), int)
    places[np.argsort(model_names)] = np.argsort(folder_names)
    return places[predictions].tolist()


def other_way_round(predictions, model_names, folder_names):
    return np.array([model_names.index(folder_names[number]) for number in predictions])


def in_memory(files, decode, augment):
    return tf.data.Dataset.from_tensor_slices([decode(file) for file in files]).map(augment)


def augmented_before_cache(files, decode, augment):
    return tf.data.Dataset.from_tensor_slices(files).map(lambda file: augment(decode(file))).cache()


def never_cached(files, decode, augment):
    return tf.data.Dataset.from_tensor_slices(files).map(decode).map(augment)


def never_augmented(files, decode, augment):
    return tf.data.Dataset.from_tensor_slices(files).map(decode).cache()


def augmented_in_batches(files, decode, augment):
    return tf.data.Dataset.from_tensor_slices(files).map(decode).cache().map(augment).batch(2)


def by_hash(groups, share, seed):
    """Sort the groups by a hash of their name and the seed."""
    names = sorted({*groups.tolist()}, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    chosen = set(names[: max(1, round(share * len(names)))])
    return [group in chosen for group in groups.tolist()]


def by_row(groups, share, seed):
    return np.random.default_rng(seed).random(len(groups)) < share


def by_row_without_seed(groups, share, seed):
    return np.random.default_rng().random(len(groups)) < share


def last_groups(groups, share, seed):
    names = np.unique(groups)
    return np.isin(groups, names[-max(1, round(share * len(names))) :])


def coin_for_each_group(groups, share, seed):
    names = np.unique(groups)
    return np.isin(groups, names[np.random.default_rng(seed).random(len(names)) < share])


def rows_of_groups(groups, share, seed):
    return np.flatnonzero(by_hash(groups, share, seed))


def hashed_seed(run, epoch, image):
    digest = hashlib.sha256(f"{run} {epoch} {image}".encode()).digest()
    return np.frombuffer(digest[:8], "int32")


ANSWERS = {
    "preprocessed_twice": (
        lambda: np.array([-1.008, -0.992]),
        {
            "hard-coded: what one preprocessing gives": lambda: (-1, 1),
            "white first": lambda: [-0.992, -1.008],
            "rounded until they are equal": lambda: [-1.0, -1.0],
            "the offset forgotten": lambda: [-1 / 127.5, 1 / 127.5],
            "as they are stored": lambda: [0, 255],
            "added up": lambda: [-2, 0],
            "one number": lambda: -0.992,
        },
    ),
    "soft_weights": (
        lambda: weights_by_normalizing_the_say,
        {
            "hard-coded: the six classes of the notebook": lambda: (
                lambda labels, power: dict(zip(range(6), [0.33, 0.66, 1.31, 2.62, 5.25, 10.5], strict=True))
            ),
            "not scaled": lambda: weights_as_they_are,
            "1 on average over the classes": lambda: weights_averaged_over_classes,
            "the wrong way round": lambda: weights_upside_down,
            "power ignored": lambda: balanced,
            "every image the same": lambda: lambda labels, power: {label: 1.0 for label in labels.tolist()},
            "a list": lambda: lambda labels, power: list(balanced(labels, power).values()),
        },
    ),
    "right_names": (
        lambda: ranks,
        {
            "hard-coded: the digits of the notebook": lambda: (
                lambda predictions, model_names, folder_names: np.array([9, 4, 8, 7, 2, 1, 6, 5, 0, 3])[
                    predictions
                ]
            ),
            "unchanged": lambda: lambda predictions, model_names, folder_names: predictions,
            "the other way round": lambda: other_way_round,
            "names instead of numbers": lambda: (
                lambda predictions, model_names, folder_names: [model_names[number] for number in predictions]
            ),
            "one table for all": lambda: (
                lambda predictions, model_names, folder_names: [
                    folder_names.index(name) for name in model_names
                ]
            ),
        },
    ),
    "fresh_every_epoch": (
        lambda: in_memory,
        {
            "hard-coded: some images": lambda: (
                lambda files, decode, augment: tf.data.Dataset.from_tensor_slices(tf.zeros((5, 2, 2, 3)))
            ),
            "cached after augmentation": lambda: augmented_before_cache,
            "never cached": lambda: never_cached,
            "never augmented": lambda: never_augmented,
            "in batches": lambda: augmented_in_batches,
            "a list": lambda: lambda files, decode, augment: [augment(decode(file)) for file in files],
        },
    ),
    "whole_groups": (
        lambda: by_hash,
        {
            "hard-coded: the first sixty digits": lambda: (
                lambda groups, share, seed: np.isin(groups, [*map(str, range(60))])
            ),
            "at random, row by row": lambda: by_row,
            "another split on every call": lambda: by_row_without_seed,
            "always the last groups": lambda: last_groups,
            "a coin for each group, so that sometimes none is chosen": lambda: coin_for_each_group,
            "True for what is learned from": lambda: (
                lambda groups, share, seed: ~np.array(by_hash(groups, share, seed))
            ),
            "row numbers": lambda: rows_of_groups,
        },
    ),
    "version_seed": (
        lambda: hashed_seed,
        {
            "hard-coded: (0, 0)": lambda: lambda run, epoch, image: (0, 0),
            "the run forgotten": lambda: lambda run, epoch, image: (epoch, image),
            "the epoch forgotten": lambda: lambda run, epoch, image: (run, image),
            "the image forgotten": lambda: lambda run, epoch, image: (run, epoch),
            "added up": lambda: lambda run, epoch, image: (run, epoch + image),
            "run and epoch added up": lambda: lambda run, epoch, image: (run + epoch, image),
            "room for too few images": lambda: lambda run, epoch, image: (run, 1797 * epoch + image),
            "three numbers": lambda: lambda run, epoch, image: (run, epoch, image),
            "too large": lambda: lambda run, epoch, image: (run, 10**8 * epoch + image),
            "a generator that remembers": lambda: (
                lambda run, epoch, image: np.random.default_rng().integers(0, 2**31, 2)
            ),
        },
    ),
}
