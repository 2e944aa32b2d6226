"""The model cut in two, at its boundary or after a layer, and joined again: not a bit changes."""

import json
import re
import types

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

from finetune_lib import backbones, classifier, freezing

layers = keras.layers

# Inside skip connections: where a cut is refused, and the nearest places before and after it that work.
REFUSED = {
    "MobileNetV2": [("block_15_project_BN", "block_14_add", "block_15_add")],
    "EfficientNetV2B0": [
        ("block2b_expand_activation", "block2a_project_bn", "block2b_add"),
        ("block4a_se_reduce", "block4a_activation", "block4a_se_excite"),  # squeeze and excitation
    ],
    "ResNet50": [("conv2_block1_0_bn", "pool1_pool", "conv2_block1_add")],  # a convolution in the shortcut
    "ConvNeXtTiny": [("convnext_tiny_stage_1_block_2_identity", "add_4", "add_5")],
}


# Their graphs are built as GlyphNet's is, and as that of small_models.skip.
ALIKE = ("VGG16", "VGG19", "ResNet50")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(backbone, id=backbone.name, marks=[pytest.mark.long] if backbone.name in ALIKE else [])
        for backbone in backbones.ALL
    ],
)
def built(request: pytest.FixtureRequest) -> types.SimpleNamespace:
    """A classifier of the smallest images that its backbone takes, no number in it as it came."""
    backbone = request.param
    keras.utils.set_random_seed(0)
    sides = (backbone.least_size, backbone.least_size)
    model = classifier.build(backbone.name, ["cat", "dog", "bird"], weights=None, image_size=sides)
    generator = np.random.default_rng(1)
    values = [w + generator.uniform(0, 0.2, w.shape) if w.ndim == 1 else w for w in model.get_weights()]
    model.set_weights([*values[:-2], generator.normal(size=values[-2].shape), values[-1]])
    images = generator.uniform(0, 255, (3, *sides, 3)).astype("float32")
    for layer in model.layers:  # without good statistics, hardly anything reaches the end of MobileNetV2
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)
    called = outputs(model, images)
    assert np.ptp(called, axis=0).max() > 1e-2 * np.abs(called).max(), "the images are told apart"
    return types.SimpleNamespace(
        name=backbone.name,
        backbone=backbone,
        model=model,
        graph=graph_of(model),
        images=images,
        called=called,
    )


def outputs(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(model(images, training=False))


def in_parts(parts: tuple[keras.Model, keras.Model], images: np.ndarray) -> np.ndarray:
    prefix, suffix = parts
    return np.asarray(suffix(prefix(images, training=False), training=False))


def graph_of(model: keras.Model) -> list:
    """What is called on what, and with which settings, as it is saved."""
    config = json.loads(model.to_json())["config"]
    return [config[key] for key in ("name", "layers", "input_layers", "output_layers")]


def require_same(joined: keras.Model, model: keras.Model, graph: list | None = None) -> None:
    """Asserts that they hold the same layers, not copies, called in the same way, and take the same input."""
    expected = [layer for layer in model.layers if not isinstance(layer, layers.InputLayer)]
    assert [layer for layer in joined.layers if not isinstance(layer, layers.InputLayer)] == expected
    assert all(joined.get_layer(layer.name) is layer for layer in expected)
    assert [x.name for x in joined.inputs] == [x.name for x in model.inputs]
    assert joined.name == model.name and not joined.compiled
    if not isinstance(model, keras.Sequential):  # the joined model is always a functional one
        assert graph_of(joined) == (graph or graph_of(model))


def test_cut_and_joined_it_predicts_the_same(built):
    """Cut after the layers of that name; test_backbones cuts before them, at the boundary."""
    require_cut(built, built.backbone.fine_tune_from)


@pytest.mark.long
def test_cut_at_every_cut_point_it_predicts_the_same_compiled(built):
    whole = built.model.predict(built.images, verbose=0)
    for name in built.backbone.cut_points:
        prefix, suffix, joined = require_cut(built, name)
        predicted = suffix.predict(prefix.predict(built.images, verbose=0), verbose=0)
        if built.name != "ConvNeXtTiny":  # see the next test
            assert np.array_equal(predicted, whole)
        np.testing.assert_allclose(predicted, whole, atol=1e-6 * np.abs(whole).max())
    # Whatever the cut, it is the same graph of the same layers: one compilation of it is enough.
    assert np.array_equal(joined.predict(built.images, verbose=0), whole)


def require_cut(built: types.SimpleNamespace, name: str) -> tuple[keras.Model, keras.Model, keras.Model]:
    """Asserts that the parts, and the model joined of them, say what the whole says; returns all three."""
    prefix, suffix = freezing.split(built.model, after=name)
    assert len(prefix.outputs) == 1
    assert np.array_equal(in_parts((prefix, suffix), built.images), built.called)
    joined = freezing.join(prefix, suffix)
    require_same(joined, built.model, built.graph)
    assert np.array_equal(outputs(joined, built.images), built.called)
    return prefix, suffix, joined


def test_only_tensorflow_regrouping_sums_tells_compiled_parts_from_the_whole(built):
    """Keras 3.13's layer normalisation adds a + (b + c), but in a suffix that begins there, (a + b) + c."""
    if built.name == "ConvNeXtTiny":
        parts = freezing.split(built.model, after="convnext_tiny_stage_1")
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
        try:
            whole, prefix, suffix = (
                tf.function(lambda x, part=part: part(x, training=False)) for part in (built.model, *parts)
            )
            assert np.array_equal(suffix(prefix(built.images)), whole(built.images))
        finally:
            tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})


def test_the_joined_model_is_saved_loaded_and_copied(built, tmp_path):
    joined = freezing.join(*freezing.split(built.model, after=built.backbone.fine_tune_from))
    joined.save(tmp_path / "joined.keras")
    loaded = keras.models.load_model(tmp_path / "joined.keras", safe_mode=True)
    copy = keras.models.clone_model(joined)
    copy.set_weights(joined.get_weights())
    for model in (loaded, copy):
        assert graph_of(model) == built.graph
        assert np.array_equal(outputs(model, built.images), built.called)


def test_other_weights_in_the_suffix_are_noticed(built):
    prefix, suffix = freezing.split(built.model, after=built.backbone.cut_points[-1])
    other = keras.models.clone_model(suffix)  # with new random weights
    assert not np.array_equal(in_parts((prefix, other), built.images), built.called)
    assert not np.array_equal(outputs(freezing.join(prefix, other), built.images), built.called)
    layer = next(layer for layer in suffix.layers if layer.weights)
    value = layer.get_weights()
    layer.set_weights([1.01 * weight for weight in value])
    assert not np.array_equal(in_parts((prefix, suffix), built.images), built.called)
    layer.set_weights(value)
    assert np.array_equal(in_parts((prefix, suffix), built.images), built.called)


def test_a_cut_inside_a_skip_connection_names_the_nearest_places_that_work(built):
    names = [layer["name"] for layer in built.graph[1]]
    for inside, before, behind in REFUSED.get(built.name, []):
        with pytest.raises(ValueError, match=f"right after '{inside}'") as caught:
            freezing.split(built.model, after=inside)
        assert re.findall("after '([^']*)', the nearest", str(caught.value)) == [before, behind]
        for place in (before, behind):
            parts = freezing.split(built.model, after=place)
            assert len(parts[0].outputs) == 1
            assert np.array_equal(in_parts(parts, built.images), built.called)
        for between in names[names.index(before) + 1 : names.index(behind)]:
            with pytest.raises(ValueError, match="a skip connection runs past it"):
                freezing.split(built.model, after=between)
    if built.name == "GlyphNet":  # nothing skips a layer there
        for name in names:
            parts = freezing.split(built.model, after=name)
            require_same(freezing.join(*parts), built.model, built.graph)
            assert np.array_equal(in_parts(parts, built.images), built.called)


SMALL = [
    (small_models.plain, "image"),
    (small_models.plain, "rescaling"),
    (small_models.plain, "block2"),
    (small_models.plain, "block2_conv"),
    (small_models.plain, "drop"),
    (small_models.plain, "logits"),
    (small_models.skip, "image"),
    (small_models.skip, "stem"),
    (small_models.skip, "block"),
    (small_models.skip, "pool"),
    (small_models.nested, "base"),
    (small_models.nested, "logits"),
    (small_models.sequential, "conv"),
    (small_models.sequential, "hidden"),
    (small_models.sequential, "predictions"),
    (small_models.shared, "image"),
    (small_models.shared, "between"),
    (small_models.shared, "twice"),
]


@pytest.mark.parametrize(("build", "name"), SMALL)
def test_cut_after_a_layer_whatever_learns(build, name):
    model, images = build(), small_models.images()
    expected = outputs(model, images)
    for change in (lambda model: model, freezing.freeze, lambda model: freezing.unfreeze_from(model, name)):
        change(model)
        learning = [layer.trainable for _, layer in freezing.leaves(model)]
        parts = freezing.split(model, after=name)
        assert len(parts[0].outputs) == len(parts[1].inputs) == 1
        joined = freezing.join(*parts)
        require_same(joined, model)
        assert [layer.trainable for _, layer in freezing.leaves(model)] == learning
        assert np.array_equal(in_parts(parts, images), expected)
        assert np.array_equal(outputs(joined, images), expected)


@pytest.mark.parametrize(("build", "name"), [SMALL[0], SMALL[8], SMALL[10], SMALL[13], SMALL[14], SMALL[-1]])
def test_parts_are_compiled_saved_and_loaded(build, name, tmp_path):
    model, images = build(), small_models.images()
    parts = freezing.split(model, after=name)
    cut = parts[1].predict(parts[0].predict(images, verbose=0), verbose=0)
    assert np.array_equal(cut, model.predict(images, verbose=0))
    loaded = []
    for part in (*parts, freezing.join(*parts)):
        part.save(tmp_path / "part.keras")
        loaded.append(keras.models.load_model(tmp_path / "part.keras", safe_mode=True))
    assert np.array_equal(in_parts((loaded[0], loaded[1]), images), outputs(model, images))
    for joined in (loaded[2], freezing.join(loaded[0], loaded[1])):
        assert np.array_equal(outputs(joined, images), outputs(model, images))


def test_the_cut_lies_right_after_the_layer():
    for name in ("rescaling", "block2_conv", "block2_norm", "drop"):
        prefix, suffix = freezing.split(small_models.plain(), after=name)
        assert (prefix.name, suffix.name) == ("plain_prefix", "plain_suffix")
        assert prefix.layers[-1].name == name
        assert name not in [layer.name for layer in suffix.layers]
    assert freezing.split(small_models.plain(), after="block2")[0].layers[-1].name == "block2_drop"
    prefix, _ = freezing.split(small_models.skip(), after="block")  # up to y + z, which is no layer
    kept = [layer["name"] for layer in prefix.get_config()["layers"]]
    assert "block_shortcut" in kept and kept[-1].startswith("add"), "a block ends with its skip connection"


def test_cuts_are_refused_just_where_a_path_goes_round():
    """Random graphs; whether a path goes round a layer is found out by walking every path."""
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(12):
        parents = {
            f"l{i}": sorted({int(j) for j in generator.integers(max(0, i - 3), i, 2)}) for i in range(1, 8)
        }
        image = keras.Input((4,), name="l0")
        tensors = [image]
        for name, chosen in parents.items():
            x = tensors[chosen[0]] if len(chosen) == 1 else layers.Add()([tensors[i] for i in chosen])
            tensors.append(layers.Dense(4, name=name)(x))
        model = keras.Model(image, tensors[-1])
        rows = generator.normal(size=(2, 4)).astype("float32")

        def paths(name: str, parents: dict = parents) -> list[set[str]]:
            found = [path for i in parents.get(name, []) for path in paths(f"l{i}", parents)]
            return [path | {name} for path in found] or [{name}]

        for name in [layer.name for layer in model.layers if layer.name.startswith("l")]:
            if all(name in path for path in paths("l7")):
                assert np.array_equal(in_parts(freezing.split(model, after=name), rows), outputs(model, rows))
            else:
                refused += 1
                with pytest.raises(ValueError, match="skip connection"):
                    freezing.split(model, after=name)
    assert refused > 10


def test_names_that_cannot_be_cut_after_are_answered_with_what_to_do():
    with pytest.raises(ValueError, match=r"no layer or block called 'blok3'\. Did you mean .*block3"):
        freezing.split(small_models.plain(), after="blok3")
    with pytest.raises(ValueError, match=r"inside the nested model 'base'(.|\n)*keras.Model\(base.input"):
        freezing.split(small_models.nested(), after="conv")
    with pytest.raises(TypeError, match=r"keras.Model\(inputs, outputs\)"):
        freezing.split(keras.Sequential([layers.Dense(2)]), after="dense")
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    model = keras.Model([first, second], layers.Add(name="sum")([first, layers.Dense(4)(second)]))
    with pytest.raises(ValueError, match=r"several tensors.* Cut after 'sum', the nearest after it\.$"):
        freezing.split(model, after="second")
    model = keras.Model([first, second], [first + second, first - second])
    with pytest.raises(ValueError, match="Cut after no layer"):
        freezing.split(model, after="first")


def test_parts_that_do_not_fit_are_not_joined():
    prefix, suffix = freezing.split(small_models.plain(), after="block2")
    other = freezing.split(freezing.unfreeze_from(small_models.skip(), "block_conv2"))
    expected = r"'plain_suffix' takes \(None, 8, 8, 4\), but 'skip_prefix' returns .* and "
    with pytest.raises(ValueError, match=expected):
        freezing.join(other[0], suffix)
    with pytest.raises(ValueError, match=r"freezing\.split made of one model"):
        freezing.join(suffix, prefix)
    with pytest.raises(ValueError, match="used 2 times"):
        freezing.join(prefix, freezing.split(small_models.plain(), after="block1")[1])
    unbuilt = keras.Sequential([layers.Dense(2)])
    for pair in ((unbuilt, suffix), (prefix, unbuilt)):
        with pytest.raises(TypeError, match="no graph of layers"):
            freezing.join(*pair)


def test_parts_compute_in_the_precision_of_the_whole():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, name="conv", dtype="mixed_bfloat16")(image)
    x = layers.GlobalAveragePooling2D(dtype="mixed_bfloat16")(x)
    model = keras.Model(image, layers.Dense(3, name="logits", dtype="float32")(x))
    parts = freezing.split(model, after="conv")
    assert parts[0].output.dtype == parts[1].input.dtype == "bfloat16"
    assert np.array_equal(in_parts(parts, small_models.images()), outputs(model, small_models.images()))


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (small_models.plain, "image"),
        (small_models.plain, "block2"),
        (small_models.plain, "logits"),
        (small_models.skip, "stem"),
        (small_models.skip, "block_conv1"),
        (small_models.skip, "block_conv2"),
        (small_models.skip, "block_shortcut"),
        (small_models.skip, "logits"),
        (small_models.nested, "base"),
        (small_models.nested, "logits"),
        (small_models.sequential, "conv"),
        (small_models.sequential, "hidden"),
        (small_models.shared, "between"),
        (small_models.shared, "logits"),
    ],
)
def test_split_parts_join_to_the_whole(build, name):
    model = freezing.unfreeze_from(build(), name)
    expected = model(small_models.images(), training=False)
    for _ in range(2):  # cutting leaves no trace
        prefix, suffix = freezing.split(model)
        assert prefix.trainable_weights == []
        assert {id(weight) for weight in suffix.trainable_weights} == {id(w) for w in model.trainable_weights}
        joined = suffix(prefix(small_models.images(), training=False), training=False)
        np.testing.assert_array_equal(joined, expected)


def test_join_puts_several_tensors_where_they_belong():
    for name in ("block_conv1", "block_conv2", "block_shortcut"):
        model = freezing.unfreeze_from(small_models.skip(), name)
        parts = freezing.split(model)
        joined = freezing.join(*parts)
        require_same(joined, model)
        assert np.array_equal(outputs(joined, small_models.images()), outputs(model, small_models.images()))


def test_split_with_nothing_trainable_hands_the_outputs_on():
    model = small_models.plain()
    model.trainable = False
    prefix, suffix = freezing.split(model)
    np.testing.assert_array_equal(suffix(prefix(small_models.images())), model(small_models.images()))
    require_same(freezing.join(prefix, suffix), model)


def test_split_crosses_a_skip_connection_with_several_tensors():
    prefix, suffix = freezing.split(freezing.unfreeze_from(small_models.skip(), "block_conv2"))
    assert len(prefix.outputs) == len(suffix.inputs) == 2


def test_split_puts_random_layers_where_they_belong():
    model = freezing.unfreeze_from(small_models.plain(), "block3")
    prefix, suffix = freezing.split(model)
    assert [layer.name for layer in prefix.layers][-1] == "block2_norm"
    names = [layer.name for layer in suffix.layers]
    assert "block2_drop" in names and "block1_drop" not in names
    prefix, suffix = freezing.split(freezing.freeze(model))
    assert [layer.name for layer in suffix.layers][1:] == ["block3_drop", "average_pool", "drop", "logits"]


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
    prefix, _ = freezing.split(freezing.freeze(small_models.skip()))
    assert prefix.output_shape == (None, 4)


def test_split_refuses_a_boundary_inside_a_nested_model():
    model = small_models.nested()
    model.get_layer("base").get_layer("conv").trainable = False
    model.get_layer("base").get_layer("norm").trainable = True
    with pytest.raises(ValueError, match="'base' is frozen in part"):
        freezing.split(model)


def test_split_does_not_change_what_is_saved(tmp_path):
    model = freezing.freeze(small_models.skip())
    config = model.get_config()
    freezing.split(model)
    assert model.get_config() == config
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(small_models.images()), model(small_models.images()))
