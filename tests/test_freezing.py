"""The freeze boundary: set, and shown, on models built in different ways."""

import keras
import numpy as np
import pytest
import small_models

from finetune_lib import freezing

layers = keras.layers


def trainable(model: keras.Model) -> list[str]:
    return [path for path, layer in freezing.leaves(model) if layer.trainable_weights]


@pytest.mark.parametrize(
    ("build", "head"),
    [
        (small_models.plain, ["logits"]),
        (small_models.skip, ["logits"]),
        (small_models.nested, ["logits"]),
        (small_models.sequential, ["hidden", "predictions"]),
        (small_models.shared, ["logits"]),
    ],
)
def test_freeze_leaves_the_head(build, head):
    model = build()
    assert freezing.freeze(model) is model
    assert trainable(model) == head
    freezing.unfreeze_from(model, model.layers[-1].name)
    freezing.freeze(freezing.freeze(model))
    assert trainable(model) == head


def test_freeze_takes_a_head_of_several_layers_its_normalization_too():
    image = keras.Input((32, 32, 3))
    base = keras.applications.VGG16(weights=None, include_top=False, input_tensor=image)
    x = layers.GlobalAveragePooling2D()(base.get_layer("block1_pool").output)
    x = layers.BatchNormalization(name="head_norm")(layers.Dense(16, activation="relu", name="hidden")(x))
    model = keras.Model(image, layers.Dense(3, activation="softmax", name="predictions")(x))
    freezing.freeze(model)
    assert trainable(model) == ["hidden", "head_norm", "predictions"]
    freezing.unfreeze_from(model, "block1_conv2")
    assert trainable(model) == ["block1_conv2", "hidden", "head_norm", "predictions"]


def test_freeze_without_pooling_takes_the_last_layer_with_weights():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Conv2D(2, 6, name="last")])
    model.trainable = False
    assert trainable(freezing.freeze(model)) == ["last"]
    assert len(model.trainable_weights) == 2, "a model frozen as a whole is opened again"


def test_pooling_inside_a_nested_base_counts():
    base = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()])
    image = keras.Input((8, 8, 3))
    x = layers.Dense(5, name="hidden")(base(image))
    model = keras.Model(image, layers.Dense(3, name="logits")(x))
    assert trainable(freezing.freeze(model)) == ["hidden", "logits"]


def test_unfreeze_from_a_block_keeps_normalization_frozen_unless_asked():
    model = small_models.plain()
    freezing.unfreeze_from(model, "block2", train_batch_normalization=True)
    assert trainable(model) == ["block2_conv", "block2_norm", "block3_conv", "block3_norm", "logits"]
    freezing.unfreeze_from(model, "block2")
    assert trainable(model) == ["block2_conv", "block3_conv", "logits"]
    freezing.unfreeze_from(model, "block3_conv")
    assert trainable(model) == ["block3_conv", "logits"]
    freezing.unfreeze_from(model, "image")
    assert trainable(model) == ["block1_conv", "block2_conv", "block3_conv", "logits"]


def test_unfreeze_a_nested_base_as_a_whole():
    model = small_models.nested()
    assert trainable(freezing.unfreeze_from(model, "base")) == ["base/conv", "logits"]
    model = freezing.unfreeze_from(model, "base", train_batch_normalization=True)
    assert trainable(model) == ["base/conv", "base/norm", "logits"]


def test_flags_inside_a_nested_base_are_reached_whatever_they_were():
    model = small_models.nested()
    base = model.get_layer("base")
    base.get_layer("conv").trainable = False  # Keras' own base.trainable = True would now do nothing
    assert trainable(freezing.unfreeze_from(model, "base")) == ["base/conv", "logits"]
    base.trainable = False
    base.get_layer("norm").trainable = True
    assert trainable(freezing.freeze(model)) == ["logits"]
    assert not base.get_layer("norm").trainable


def test_a_bare_fit_raises_after_each_change():
    model = small_models.plain()
    for change in (freezing.freeze, lambda model: freezing.unfreeze_from(model, "block3")):
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        change(model)
        with pytest.raises(ValueError, match="compile"):
            model.fit(small_models.images(), np.zeros(4), verbose=0)


def test_unknown_names_are_answered_with_near_ones():
    with pytest.raises(ValueError, match=r"Did you mean .*block3"):
        freezing.unfreeze_from(small_models.plain(), "blok3")
    with pytest.raises(ValueError, match="There are block1, block2, block3"):
        freezing.unfreeze_from(small_models.plain(), "?")
    with pytest.raises(ValueError, match=r"inside the nested model 'base'(.|\n)*keras.Model\(base.input"):
        freezing.unfreeze_from(small_models.nested(), "conv")


def test_models_without_a_graph_or_weights_are_refused():
    with pytest.raises(TypeError, match=r"keras.Model\(inputs, outputs\)"):
        freezing.freeze(keras.Sequential([layers.Dense(2)]))
    image = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="No layer"):
        freezing.freeze(keras.Model(image, layers.Flatten()(image)))


def test_table_shows_the_boundary():
    text = freezing.table(
        freezing.unfreeze_from(small_models.plain(), "block3", train_batch_normalization=True)
    )
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert rows["block1_conv"] == ["112", "no"]
    assert rows["block2_norm"] == ["16", "no", "inference"]
    assert rows["block3_norm"] == ["16", "yes", "training"]
    assert rows["logits"] == ["15", "yes"]
    assert text.splitlines()[-1] == "471 parameters, 171 trainable; trained from block3_conv on"
    everything_frozen = small_models.nested()
    everything_frozen.trainable = False
    assert freezing.table(everything_frozen).endswith("0 trainable; nothing is trainable")
