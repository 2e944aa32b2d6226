"""Real downloads. Run with: pytest -m network

They need a network, or folders with the files where TFDS_DATA_DIR and KERAS_HOME say.
"""

import keras
import pytest
import tensorflow_datasets as tfds

pytestmark = pytest.mark.network


def test_tf_flowers_loads_in_its_published_label_order():
    dataset, info = tfds.load("tf_flowers", split="train", with_info=True, as_supervised=True)
    image, label = next(iter(dataset))
    assert image.shape[-1] == 3 and 0 <= int(label) < 5
    assert info.features["label"].names == ["dandelion", "daisy", "tulips", "sunflowers", "roses"]


def test_imagenet_weights_load():
    model = keras.applications.MobileNetV2(alpha=0.35, input_shape=(224, 224, 3), include_top=False)
    assert model.output_shape == (None, 7, 7, 1280)
