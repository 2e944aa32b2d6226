"""Photos and ImageNet weights, really downloaded. Run with: pytest -m network

They need a network, or folders with the files where TFDS_DATA_DIR and KERAS_HOME say.
"""

import dataclasses
import os
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from finetune_lib import backbones, catalog, comparison, data, evaluation, fitting

pytestmark = pytest.mark.network

HELD_OUT = ("validation", "test")  # nothing is decided here, so both can tell how good a model is
# The course's recipe for a head has 8 views of each photo; for one that is good enough here, 2 will do.
HEAD, LEAST = comparison.Recipe(steps=200, learning_rate=2e-3, views=2), 0.8


@pytest.fixture(scope="module")
def flowers():
    return data.load("tf_flowers", labels_per_class=50)


@pytest.fixture(scope="module")
def recognised(flowers):
    """Whether each held-out photo is recognised by a new head on ImageNet's features."""
    answer = comparison.frozen(flowers, "MobileNetV2", recipe=HEAD, verbose=0)
    assert fitting.diagnose(answer.model, flowers) == []
    return held_out(answer.model, flowers)


def tuned_too(frozen, dataset):
    """Whether each held-out photo is recognised, frozen and fine-tuned by the course's recipe."""
    boundary = backbones.get("MobileNetV2").fine_tune_from
    tuned = comparison.fine_tuned(frozen, dataset, unfreeze_from=boundary, verbose=0)
    assert not tuned.reports[-1].moved["block_5_project"] and tuned.reports[-1].moved[boundary]
    assert not tuned.reports[-1].moved["block_14_expand_BN"]
    return [held_out(answer.model, dataset) for answer in (frozen, tuned)]


def held_out(model, dataset):
    """Whether the model recognises each held-out photo."""
    return np.concatenate([evaluation.evaluate(model, dataset, part).correct for part in HELD_OUT])


def described(what, **answers):
    lines = [f"\n{what}"]
    for name, correct in answers.items():
        low, high = evaluation.wilson_interval(correct.sum(), len(correct))
        interval = f"95% interval {low:.1%} to {high:.1%}"
        lines.append(f"  {name}: {correct.mean():.1%} of {len(correct)} held-out photos ({interval})")
    return "\n".join(lines)


def test_flowers_with_imagenet_features(flowers, recognised, capsys):
    assert flowers.class_names == ("dandelion", "daisy", "tulips", "sunflowers", "roses")
    with capsys.disabled():
        print(described("tf_flowers, 50 labels a class", frozen=recognised))
    assert recognised.mean() >= LEAST


@pytest.mark.long
def test_fine_tuning_gains_on_flowers(capsys):
    """The course's recipes, over three splits: on a single one the gain is within its noise."""
    every = []
    for seed in (0, 1, 2):
        dataset = data.load("tf_flowers", labels_per_class=100, split_seed=seed)
        every.append(tuned_too(comparison.frozen(dataset, "MobileNetV2", verbose=0), dataset))
    with capsys.disabled():
        for seed, (before, after) in enumerate(every):
            print(described(f"tf_flowers, split {seed}", frozen=before, tuned=after))
            gain = evaluation.bootstrap_difference(after, before)
            print("  gain: {:+.1%} ({:+.1%} to {:+.1%}), image by image".format(*gain))
    means = [np.mean([each[which].mean() for each in every]) for which in (0, 1)]
    assert min(each[0].mean() for each in every) >= 0.84 and means[1] > means[0]


def test_the_same_photos_as_a_folder(flowers, recognised, capsys, tmp_path):
    builder = catalog.find("tf_flowers")
    names = builder.info.features["label"].names
    encoded = builder.as_dataset(split="train", decoders={"image": tfds.decode.SkipDecoding()})
    for number, example in enumerate(encoded.as_numpy_iterator()):
        place = tmp_path / names[example["label"]] / f"{number}.jpg"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(example["image"])
    folder = data.load(tmp_path, labels_per_class=50)
    assert folder.provenance.sha256 == flowers.provenance.sha256 and folder.sizes == flowers.sizes
    assert folder.class_names == tuple(sorted(flowers.class_names))
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*")}
    assert set(folder.places["test"]) <= files
    answer = comparison.frozen(folder, "MobileNetV2", recipe=HEAD, verbose=0)
    correct = held_out(answer.model, folder)
    with capsys.disabled():
        print(described("the same photos as a folder", frozen=correct))
    # The same photos in the same parts, but in another order, so the weights differ a little.
    assert correct.mean() >= LEAST and abs(correct.mean() - recognised.mean()) < 0.04


def test_a_few_photos_of_two_things(flowers, capsys):
    photos = data.example_photos(flowers, flowers.class_names[:2], count=7)
    new = [files.pop() for files in photos.values()]
    started = time.monotonic()
    own = data.from_photos(photos, image_size=(224, 224))
    frozen = comparison.frozen(own, "MobileNetV2", recipe=comparison.Recipe(20, 1e-3, views=2), verbose=0)
    boundary = backbones.get("MobileNetV2").fine_tune_from
    tuned = comparison.fine_tuned(
        frozen, own, unfreeze_from=boundary, recipe=comparison.Recipe(10, 1e-4), verbose=0
    )
    answers = evaluation.classify(tuned.model, new, own.class_names)
    with capsys.disabled():
        print(f"\nSix photos of two things: {time.monotonic() - started:.0f} s, answers {answers}")
    assert {name for name, _ in answers} <= set(own.class_names)


def test_flowers_with_vgg16(capsys):
    url = (
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    )
    # GitHub's networked workflow is where this runs for certain: there it fails rather than being skipped.
    if not backbones.photo_weights_available(url) and "GITHUB_ACTIONS" not in os.environ:
        pytest.skip(f"{url} cannot be reached, nor is the file in {backbones.weights_folder()}")
    few = data.load("tf_flowers", labels_per_class=20)  # few, since VGG16 is slow without a GPU
    few = dataclasses.replace(few, validation=few.validation.take(50), test=few.test.take(200))
    frozen = comparison.frozen(few, "VGG16", recipe=comparison.Recipe(40, 2e-3), verbose=0)
    assert fitting.diagnose(frozen.model, few) == []
    result = evaluation.evaluate(frozen.model, few)
    with capsys.disabled():
        print(f"\nflowers, 20 labels a class, VGG16 frozen, 40 steps: {result}")
    assert result.accuracy > 0.6
