"""Each finding fires on its mistake, and a healthy set-up gives none."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from finetune_lib import data, fitting, freezing

layers = keras.layers


def dataset_of(count: int = 12, scale: float = 1.0, offset: float = 0.0, **parts) -> data.ImageDataset:
    generator = np.random.default_rng(0)

    def part(number: int) -> tuple[np.ndarray, np.ndarray]:
        images = generator.integers(0, 256, (number, 8, 8, 3)).astype("float32") * scale + offset
        return images, np.arange(number) % 3

    return data.from_arrays(
        "small", ["a", "b", "c"], **({"train": part(count), "validation": part(6), "test": part(6)} | parts)
    )


def model_of(*preprocessing: keras.layers.Layer, ending: str | None = None, units: int = 3) -> keras.Model:
    image = keras.Input((8, 8, 3), name="image")
    x = image
    for layer in preprocessing:
        x = layer(x)
    x = layers.Conv2D(4, 3, name="conv")(x)
    x = layers.GlobalAveragePooling2D(name="average_pool")(x)
    return keras.Model(image, layers.Dense(units, activation=ending, name="logits")(x))


def scaled() -> keras.layers.Layer:
    return layers.Rescaling(1 / 127.5, offset=-1)


def caffe() -> keras.layers.Layer:
    return layers.Rescaling(1.0, offset=[-103.9, -116.8, -123.7])


def standardised() -> keras.layers.Layer:
    """As EfficientNetV2 and ConvNeXt have it inside."""
    return layers.Normalization(mean=[123.7, 116.3, 103.5], variance=[3410.0, 3263.0, 3292.0])


def problems(model: keras.Model, dataset: data.ImageDataset) -> list[str]:
    return [finding.problem for finding in fitting.diagnose(model, dataset)]


def with_labels(change) -> data.ImageDataset:
    dataset = dataset_of()
    return dataclasses.replace(dataset, train=dataset.train.map(lambda image, label: (image, change(label))))


@pytest.mark.parametrize(
    ("preprocessing", "dataset"),
    [
        ([scaled()], dataset_of()),
        ([caffe()], dataset_of()),
        ([layers.Rescaling(1 / 255)], dataset_of()),
        ([layers.Normalization(mean=[120.0] * 3, variance=[60.0] * 3)], dataset_of()),
        ([standardised()], dataset_of()),
        ([scaled()], dataset_of(offset=-10)),  # noise was added, say
        ([layers.Normalization(mean=[0.5] * 3, variance=[0.08] * 3)], dataset_of(scale=1 / 255)),
        ([layers.Rescaling(1 / 255), layers.ZeroPadding2D()], dataset_of()),
        ([layers.BatchNormalization()], dataset_of()),
        ([], dataset_of(scale=1 / 255)),
        ([layers.Rescaling(2.0, offset=-1)], dataset_of(scale=1 / 255)),
    ],
)
def test_a_healthy_set_up_gives_nothing(preprocessing, dataset):
    model = freezing.freeze(model_of(*preprocessing))
    assert fitting.diagnose(model, dataset) == []
    assert fitting.describe([]) == "Nothing wrong was found."


def test_a_healthy_sequential_and_nested_set_up_gives_nothing():
    sequence = keras.Sequential([keras.Input((8, 8, 3)), scaled()])
    for layer in (layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3, activation="softmax")):
        sequence.add(layer)
    base = keras.Model(*(lambda m: (m.input, m.get_layer("conv").output))(model_of(scaled())), name="base")
    image = keras.Input((8, 8, 3))
    nested = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(base(image))))
    for model in (sequence, nested):
        assert problems(model, dataset_of()) == []


@pytest.mark.parametrize(
    ("preprocessing", "dataset", "evidence"),
    [
        (
            [layers.Rescaling(1 / 255)],
            dataset_of(scale=1 / 255),
            "from 0 to 1 in the data, and from 0 to 0.003922",
        ),
        ([scaled()], dataset_of(scale=1 / 127.5, offset=-1), "from -1 to 1 in the data"),
        ([caffe()], dataset_of(scale=1 / 255), "and from -123.7 to"),
        ([caffe()], dataset_of(offset=-123.7), "from -123.7 to 131.3 in the data"),
        ([scaled()], dataset_of(offset=-123.7), "from -123.7 to 131.3 in the data"),
        ([standardised()], dataset_of(scale=1 / 255), "and from -2.118 to -1.786"),
        ([standardised()], dataset_of(scale=1 / 58, offset=-2.1), "from -2.1 to 2.297 in the data"),
    ],
)
def test_preprocessing_done_twice(preprocessing, dataset, evidence):
    (finding,) = fitting.diagnose(model_of(*preprocessing), dataset)
    assert finding.problem == "Preprocessing is done twice."
    assert evidence in finding.evidence and "'conv'" in finding.evidence


def test_preprocessing_missing():
    (finding,) = fitting.diagnose(model_of(), dataset_of())
    assert finding.problem == "Preprocessing is missing."
    assert "from 0 to 255 where 'conv', the first layer with weights" in finding.evidence
    nested = keras.Sequential([keras.Input((8, 8, 3)), model_of()])
    assert problems(nested, dataset_of()) == ["Preprocessing is missing."]


def test_pixels_that_are_not_numbers():
    images = np.full((6, 8, 8, 3), 99, "float32") + np.arange(6)[:, None, None, None]
    images[2, 0, 0, 0] = np.nan
    images[4, 3, 3, 1] = np.inf
    dataset = dataset_of(test=(images, np.arange(6) % 3))
    (finding,) = fitting.diagnose(model_of(scaled()), dataset)
    assert "Some test images hold pixels that are not numbers" in finding.problem
    assert "2 of 6" in finding.evidence


@pytest.mark.parametrize(
    ("model", "dataset", "evidence"),
    [
        (model_of(scaled(), units=5), dataset_of(), "5 outputs; the data has 3 classes"),
        (model_of(scaled(), units=1), dataset_of(), "1 outputs; the data has 3 classes"),
        (model_of(scaled()), with_labels(lambda label: label + 1), "[3] among 12 labels"),
        (
            model_of(scaled()),
            with_labels(lambda label: tf.one_hot(label, 4)),
            "shape (4,), such as [1.0, 0.0",
        ),
        (model_of(scaled()), with_labels(lambda label: tf.zeros(3)), "such as [0.0, 0.0, 0.0]"),
        (model_of(scaled()), with_labels(lambda label: tf.cast(label, tf.float32) / 2), "[0.5] among"),
    ],
)
def test_labels_that_do_not_fit_the_head(model, dataset, evidence):
    assert evidence in fitting.describe(fitting.diagnose(model, dataset))


def test_healthy_one_hot_and_binary_labels_give_nothing():
    assert problems(model_of(scaled()), with_labels(lambda label: tf.one_hot(label, 3))) == []
    dataset = dataset_of()
    two = {
        part: getattr(dataset, part).map(lambda image, label: (image, label % 2))
        for part in ("train", "validation", "test")
    }
    assert (
        problems(model_of(scaled(), units=1), dataclasses.replace(dataset, class_names=("a", "b"), **two))
        == []
    )


def test_nothing_trainable():
    model = model_of(scaled())
    model.trainable = False
    assert problems(model, dataset_of()) == ["Nothing is trainable."]


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_stale_compile(optimizer):
    dataset = dataset_of()
    model = model_of(scaled())
    model.get_layer("conv").trainable = False
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert problems(model, dataset) == []
    model.fit(dataset.train.batch(8), shuffle=False, verbose=0)
    assert problems(model, dataset) == []
    model.get_layer("conv").trainable = True
    (finding,) = fitting.diagnose(model, dataset)
    assert finding.problem == "The model was compiled before its trainable flags were changed."
    assert "its optimiser trains 2 weights, 4 are trainable now" in finding.evidence
    assert model.compiled, "diagnose changes nothing"
    assert problems(freezing.unfreeze_from(model, "conv"), dataset) == []


def test_a_sorted_and_a_single_class_training_set():
    images = dataset_of(12).train.map(lambda image, label: image)
    images = np.stack(list(images.as_numpy_iterator()))
    sorted_set = dataset_of(train=(images, np.sort(np.arange(12) % 3)))
    (finding,) = fitting.diagnose(model_of(scaled()), sorted_set)
    assert finding.problem == "The training set is sorted by label."
    assert "a bare model.fit" in finding.remedy and "take()" in finding.remedy
    single = dataset_of(train=(images, np.full(12, 1)))
    assert problems(model_of(scaled()), single) == ["The training set holds a single class."]


def test_images_that_stand_in_two_parts():
    images = np.random.default_rng(1).integers(0, 256, (9, 8, 8, 3)).astype("uint8")
    labels = np.arange(9) % 3
    dataset = dataset_of(train=(images, labels), test=(images[[3, 3, 7]], labels[[3, 3, 7]]))
    (finding,) = fitting.diagnose(model_of(scaled()), dataset)
    assert finding.problem == "Images of the training set stand in the test part as well."
    assert finding.evidence.startswith("3 of 3 test images")
    dataset = dataset_of(train=(images, labels), validation=(images[:1], labels[:1]))
    assert "the validation part" in problems(model_of(scaled()), dataset)[0]


def test_an_empty_part():
    dataset = dataset_of()
    empty = dataclasses.replace(dataset, validation=dataset.validation.take(0), train=dataset.train.take(0))
    assert problems(model_of(scaled()), empty) == [
        "The train part is empty.",
        "The validation part is empty.",
    ]


def test_findings_can_be_read():
    model = model_of()
    model.trainable = False
    text = fitting.describe(fitting.diagnose(model, dataset_of()))
    assert text.count("evidence:") == text.count("remedy:") == 2
    assert text.startswith("Nothing is trainable.\n  evidence: all 4 weights")
