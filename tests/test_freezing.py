"""The freeze boundary: set, shown, and cut, on models built in different ways."""

import keras
import numpy as np
import pytest

from finetune_lib import freezing

layers = keras.layers


def plain_model() -> keras.Model:
    """Three blocks, BatchNormalization, Dropout deep in the model and before the head."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(image)
    for block in (1, 2, 3):
        x = layers.Conv2D(4, 3, padding="same", name=f"block{block}_conv")(x)
        x = layers.BatchNormalization(name=f"block{block}_norm")(x)
        x = layers.Dropout(0.5, name=f"block{block}_drop")(x)
    x = layers.GlobalAveragePooling2D(name="average_pool")(x)
    x = layers.Dropout(0.5, name="drop")(x)
    return keras.Model(image, layers.Dense(3, name="logits")(x), name="plain")


def skip_model() -> keras.Model:
    """A residual block with a shortcut convolution, and an addition that is an operation, not a layer."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    y = layers.Conv2D(4, 3, padding="same", name="block_conv1")(x)
    y = layers.BatchNormalization(name="block_norm1")(y)
    y = keras.ops.relu(y)
    y = layers.Conv2D(4, 3, padding="same", name="block_conv2")(y)
    z = layers.Conv2D(4, 1, name="block_shortcut")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(keras.ops.relu(y + z))
    return keras.Model(image, layers.Dense(3, name="logits")(x), name="skip")


def nested_model() -> keras.Model:
    base = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(name="norm")],
        name="base",
    )
    image = keras.Input((8, 8, 3), name="image")
    x = layers.GlobalAveragePooling2D()(base(image, training=False))
    return keras.Model(image, layers.Dense(3, name="logits")(x), name="nested")


def sequential_model() -> keras.Model:
    """Built by add(), which calls the first layers several times."""
    model = keras.Sequential([keras.Input((8, 8, 3))], name="sequence")
    for layer in (layers.Conv2D(4, 3, name="conv"), layers.Flatten(), layers.Dense(5, name="hidden")):
        model.add(layer)
    model.add(layers.Dense(3, activation="softmax", name="predictions"))
    return model


def shared_model() -> keras.Model:
    image = keras.Input((8, 8, 3), name="image")
    twice = layers.Conv2D(3, 3, padding="same", name="twice")
    x = layers.Conv2D(3, 3, name="between", padding="same")(twice(image))
    x = layers.GlobalMaxPooling2D()(twice(x))
    return keras.Model(image, layers.Dense(3, name="logits")(x), name="shared")


def trainable(model: keras.Model) -> list[str]:
    return [path for path, layer in freezing.leaves(model) if layer.trainable_weights]


def images(count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, 8, 8, 3)).astype("float32")


@pytest.mark.parametrize(
    ("build", "head"),
    [
        (plain_model, ["logits"]),
        (skip_model, ["logits"]),
        (nested_model, ["logits"]),
        (sequential_model, ["hidden", "predictions"]),
        (shared_model, ["logits"]),
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
    model = plain_model()
    freezing.unfreeze_from(model, "block2", train_batch_normalization=True)
    assert trainable(model) == ["block2_conv", "block2_norm", "block3_conv", "block3_norm", "logits"]
    freezing.unfreeze_from(model, "block2")
    assert trainable(model) == ["block2_conv", "block3_conv", "logits"]
    freezing.unfreeze_from(model, "block3_conv")
    assert trainable(model) == ["block3_conv", "logits"]
    freezing.unfreeze_from(model, "image")
    assert trainable(model) == ["block1_conv", "block2_conv", "block3_conv", "logits"]


def test_unfreeze_a_nested_base_as_a_whole():
    model = nested_model()
    assert trainable(freezing.unfreeze_from(model, "base")) == ["base/conv", "logits"]
    model = freezing.unfreeze_from(model, "base", train_batch_normalization=True)
    assert trainable(model) == ["base/conv", "base/norm", "logits"]


def test_flags_inside_a_nested_base_are_reached_whatever_they_were():
    model = nested_model()
    base = model.get_layer("base")
    base.get_layer("conv").trainable = False  # Keras' own base.trainable = True would now do nothing
    assert trainable(freezing.unfreeze_from(model, "base")) == ["base/conv", "logits"]
    base.trainable = False
    base.get_layer("norm").trainable = True
    assert trainable(freezing.freeze(model)) == ["logits"]
    assert not base.get_layer("norm").trainable


def test_a_bare_fit_raises_after_each_change():
    model = plain_model()
    for change in (freezing.freeze, lambda model: freezing.unfreeze_from(model, "block3")):
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        change(model)
        with pytest.raises(ValueError, match="compile"):
            model.fit(images(), np.zeros(4), verbose=0)


def test_unknown_names_are_answered_with_near_ones():
    with pytest.raises(ValueError, match=r"Did you mean .*block3"):
        freezing.unfreeze_from(plain_model(), "blok3")
    with pytest.raises(ValueError, match="There are block1, block2, block3"):
        freezing.unfreeze_from(plain_model(), "?")
    with pytest.raises(ValueError, match=r"inside the nested model 'base'(.|\n)*keras.Model\(base.input"):
        freezing.unfreeze_from(nested_model(), "conv")


def test_models_without_a_graph_or_weights_are_refused():
    with pytest.raises(TypeError, match=r"keras.Model\(inputs, outputs\)"):
        freezing.freeze(keras.Sequential([layers.Dense(2)]))
    image = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="No layer"):
        freezing.freeze(keras.Model(image, layers.Flatten()(image)))


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (plain_model, "image"),
        (plain_model, "block2"),
        (plain_model, "logits"),
        (skip_model, "stem"),
        (skip_model, "block_conv1"),
        (skip_model, "block_conv2"),
        (skip_model, "block_shortcut"),
        (skip_model, "logits"),
        (nested_model, "base"),
        (nested_model, "logits"),
        (sequential_model, "conv"),
        (sequential_model, "hidden"),
        (shared_model, "between"),
        (shared_model, "logits"),
    ],
)
def test_split_parts_join_to_the_whole(build, name):
    model = freezing.unfreeze_from(build(), name)
    expected = model(images(), training=False)
    for _ in range(2):  # cutting leaves no trace
        prefix, suffix = freezing.split(model)
        assert prefix.trainable_weights == []
        assert {id(weight) for weight in suffix.trainable_weights} == {id(w) for w in model.trainable_weights}
        joined = suffix(prefix(images(), training=False), training=False)
        np.testing.assert_array_equal(joined, expected)


def test_split_with_nothing_trainable_hands_the_outputs_on():
    model = plain_model()
    model.trainable = False
    prefix, suffix = freezing.split(model)
    np.testing.assert_array_equal(suffix(prefix(images())), model(images()))


def test_split_crosses_a_skip_connection_with_several_tensors():
    prefix, suffix = freezing.split(freezing.unfreeze_from(skip_model(), "block_conv2"))
    assert len(prefix.outputs) == len(suffix.inputs) == 2


def test_split_puts_random_layers_where_they_belong():
    model = freezing.unfreeze_from(plain_model(), "block3")
    prefix, suffix = freezing.split(model)
    assert [layer.name for layer in prefix.layers][-1] == "block2_norm"
    names = [layer.name for layer in suffix.layers]
    assert "block2_drop" in names and "block1_drop" not in names
    prefix, suffix = freezing.split(freezing.freeze(model))
    assert [layer.name for layer in suffix.layers][2:] == ["block3_drop", "average_pool", "drop", "logits"]


def test_split_keeps_a_residual_block_whole_whatever_it_draws():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    y = layers.Dropout(0.5, name="depth")(layers.Conv2D(4, 3, padding="same", name="block_conv")(x))
    x = layers.Conv2D(5, 3, name="top_conv")(layers.Add(name="block_add")([x, y]))
    pools = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
    drops = [layers.Dropout(0.5, name=f"drop{i}")(pool) for i, pool in enumerate(pools)]
    model = keras.Model(image, layers.Dense(3, name="logits")(layers.Concatenate()(drops)))
    prefix, suffix = freezing.split(freezing.unfreeze_from(model, "top_conv"))
    assert [layer.name for layer in prefix.layers][-2:] == ["depth", "block_add"] and len(prefix.outputs) == 1
    model.get_layer("top_conv").trainable = False
    _, suffix = freezing.split(model)
    assert {"drop0", "drop1"} < {layer.name for layer in suffix.layers}, "no skip passes around the head's"


def test_split_includes_pooling_because_its_output_is_smaller():
    prefix, _ = freezing.split(freezing.freeze(skip_model()))
    assert prefix.output_shape == (None, 4)


def test_split_refuses_a_boundary_inside_a_nested_model():
    model = nested_model()
    model.get_layer("base").get_layer("conv").trainable = False
    model.get_layer("base").get_layer("norm").trainable = True
    with pytest.raises(ValueError, match="'base' is frozen in part"):
        freezing.split(model)


def test_split_does_not_change_what_is_saved(tmp_path):
    model = freezing.freeze(skip_model())
    config = model.get_config()
    freezing.split(model)
    assert model.get_config() == config
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(images()), model(images()))


def test_table_shows_the_boundary():
    text = freezing.table(freezing.unfreeze_from(plain_model(), "block3", train_batch_normalization=True))
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert rows["block1_conv"] == ["112", "no"]
    assert rows["block2_norm"] == ["16", "no", "inference"]
    assert rows["block3_norm"] == ["16", "yes", "training"]
    assert rows["logits"] == ["15", "yes"]
    assert text.splitlines()[-1] == "471 parameters, 171 trainable; trained from block3_conv on"
    everything_frozen = nested_model()
    everything_frozen.trainable = False
    assert freezing.table(everything_frozen).endswith("0 trainable; nothing is trainable")
