"""Photos and ImageNet weights, really downloaded. Run with: pytest -m network

They need a network, or folders with the files where TFDS_DATA_DIR and KERAS_HOME say.
"""

import dataclasses
import time

import pytest

from finetune_lib import backbones, comparison, data, evaluation, fitting

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def flowers():
    dataset = data.load("tf_flowers", labels_per_class=20)
    return dataclasses.replace(dataset, validation=dataset.validation.take(50))


def test_flowers_with_imagenet_features(flowers, capsys):
    assert flowers.class_names == ("dandelion", "daisy", "tulips", "sunflowers", "roses")
    frozen = comparison.frozen(flowers, "MobileNetV2", recipe=comparison.Recipe(40, 3e-3), verbose=0)
    assert fitting.diagnose(frozen.model, flowers) == []
    boundary = backbones.get("MobileNetV2").fine_tune_from
    tuned = comparison.fine_tuned(
        frozen, flowers, unfreeze_from=boundary, recipe=comparison.Recipe(20, 1e-4), verbose=0
    )
    assert not tuned.reports[-1].moved["block_12_project"] and tuned.reports[-1].moved["block_13_expand"]
    assert not tuned.reports[-1].moved["block_14_expand_BN"]
    results = [evaluation.evaluate(answer.model, flowers) for answer in (frozen, tuned)]
    with capsys.disabled():
        print("\nflowers, 20 labels a class, short recipes, frozen and fine-tuned:", *results, sep="\n  ")
    assert min(result.accuracy for result in results) > 0.65


def test_a_few_photos_of_two_things(flowers, capsys):
    photos = data.example_photos(flowers, flowers.class_names[:2], count=7)
    new = [files.pop() for files in photos.values()]
    started = time.monotonic()
    own = data.from_photos(photos, image_size=(224, 224))
    frozen = comparison.frozen(own, "MobileNetV2", recipe=comparison.Recipe(100, 1e-3), verbose=0)
    boundary = backbones.get("MobileNetV2").fine_tune_from
    tuned = comparison.fine_tuned(
        frozen, own, unfreeze_from=boundary, recipe=comparison.Recipe(100, 1e-4), verbose=0
    )
    answers = evaluation.classify(tuned.model, new, own.class_names)
    with capsys.disabled():
        print(f"\nSix photos of two things: {time.monotonic() - started:.0f} s, answers {answers}")
    assert {name for name, _ in answers} <= set(own.class_names)


def test_flowers_with_vgg16(flowers, capsys):
    url = (
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    )
    if not backbones.photo_weights_available(url):
        pytest.skip(f"{url} cannot be reached, nor is the file in {backbones.weights_folder()}")
    frozen = comparison.frozen(flowers, "VGG16", recipe=comparison.Recipe(20, 1e-3), verbose=0)
    assert fitting.diagnose(frozen.model, flowers) == []
    result = evaluation.evaluate(frozen.model, flowers)
    with capsys.disabled():
        print(f"\nflowers, 20 labels a class, VGG16 frozen, 20 steps: {result}")
    assert result.accuracy > 0.6
