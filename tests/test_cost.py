"""What a step costs: counted by hand, and against the operations that TensorFlow runs."""

import math

import keras
import pytest
import tensorflow as tf

from finetune_lib import classifier, cost, freezing

layers = keras.layers


def test_vgg16_is_counted_as_in_the_literature() -> None:
    counted = cost.layers(classifier.build("VGG16", ["a", "b"], weights=None))
    blocks = [
        sum(layer.multiply_adds for layer in counted if layer.name.startswith(f"block{number}"))
        for number in range(1, 6)
    ]
    assert [round(block / 1e9, 2) for block in blocks] == [1.94, 2.77, 4.62, 4.62, 1.39]
    everything = cost.step(counted, [f"block{number}" for number in range(1, 6)] + ["logits"])
    assert everything.weights == everything.trained_parameters == 14_714_688 + 2 * 513
    assert everything.weight_bytes == 4 * everything.weights
    assert everything.learning_bytes == 3 * everything.weight_bytes  # gradient, and Adam's two means


def a_model(image_size: int | None = 8) -> keras.Model:
    """Two convolutions with a skip around the second, and a head."""
    image = keras.Input((image_size, image_size, 3), name="image")
    first = layers.Conv2D(4, 3, padding="same", name="block1_conv")(image)
    second = layers.Conv2D(4, 3, padding="same", name="block2_conv")(first)
    normal = layers.BatchNormalization(name="block2_norm")(second)
    pooled = layers.GlobalAveragePooling2D(name="average_pool")(layers.Add(name="add")([first, normal]))
    return keras.Model(image, layers.Dense(2, name="logits")(pooled), name="small")


FIRST, SECOND, HEAD = 64 * 27 * 4, 64 * 36 * 4, 4 * 2  # multiply-additions of the layers above
MAP = 64 * 4  # numbers in one of their feature maps


@pytest.mark.parametrize(
    ("learning", "weight_gradients", "input_gradients", "kept"),
    [
        ([], 0, 0, 0),
        (["logits"], HEAD, 0, 4 + 2),
        (["block2"], SECOND, HEAD, 4 * MAP + 4 + 2),  # what goes in, two outputs, the sum, the pooled, logits
        (["block2_norm"], 0, HEAD, 3 * MAP + 4 + 2),
        (["block1_conv"], FIRST, SECOND + HEAD, 8 * 8 * 3 + 4 * MAP + 4 + 2),
        (["block1", "block2", "logits"], FIRST + SECOND + HEAD, SECOND + HEAD, 192 + 4 * MAP + 4 + 2),
    ],
)
def test_a_step_is_counted_as_by_hand(learning, weight_gradients, input_gradients, kept) -> None:
    step = cost.step(cost.layers(a_model()), learning, batch_size=16, optimizer_memory=1)
    assert step.forward == FIRST + SECOND + HEAD
    assert (step.weight_gradients, step.input_gradients) == (weight_gradients, input_gradients)
    assert step.activation_bytes == 4 * 16 * kept
    assert step.learning_bytes == 4 * 2 * step.trained_parameters
    assert step.memory_bytes == step.weight_bytes + step.learning_bytes + step.activation_bytes


def test_statistics_are_weights_that_no_gradient_changes() -> None:
    model = a_model()
    counted = cost.layers(model)
    step = cost.step(counted, ["block2_norm"])
    assert step.weights == model.count_params() and step.trained_parameters == 2 * 4
    model.trainable = False  # what is frozen at the moment does not matter
    assert [layer.parameters for layer in cost.layers(model)] == [layer.parameters for layer in counted]


def executed(model: keras.Model, learning: list[str]) -> int:
    """Multiply-additions of the operations that TensorFlow runs for one image's gradients."""
    chosen = [layer for layer in model.layers if layer.name in learning]
    weights = [weight.value for layer in chosen for weight in layer.trainable_weights]

    def gradients(images: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            outputs = model(images, training=False)
            loss = tf.reduce_sum(outputs**2)
        return [*tape.gradient(loss, weights), outputs]

    concrete = tf.function(gradients).get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:])))
    # Only what the results need: TensorFlow, too, leaves out the rest when it runs the graph.
    ends = [output.op.name for output in concrete.outputs]
    needed = tf.compat.v1.graph_util.extract_sub_graph(concrete.graph.as_graph_def(), ends).node
    total = 0
    for operation in (concrete.graph.get_operation_by_name(node.name) for node in needed):
        if operation.type == "MatMul":
            # (a, b) times (b, c), whichever is transposed: the three sides, each twice in the shapes.
            shapes = [*operation.inputs[0].shape, *operation.inputs[1].shape, *operation.outputs[0].shape]
            total += math.isqrt(math.prod(shapes))
        elif "onv2d" in operation.type.replace("2D", "2d"):
            backwards = "Backprop" in operation.type
            positions = (operation.inputs[2] if backwards else operation.outputs[0]).shape[1:3]
            kernel = operation.outputs[0] if operation.type.endswith("Filter") else operation.inputs[1]
            total += math.prod([*positions, *kernel.shape])
    return total


@pytest.mark.parametrize(
    ("backbone_name", "learning"),
    [
        ("GlyphNet", []),
        ("GlyphNet", ["logits"]),
        ("GlyphNet", ["block4"]),
        ("GlyphNet", ["block1"]),
        ("GlyphNet", ["block", "logits"]),
        ("MobileNetV2", ["block_16"]),
    ],
)
def test_tensorflow_runs_just_as_many(backbone_name: str, learning: list[str]) -> None:
    model = classifier.build(backbone_name, ["a", "b", "c"], weights=None)
    names = [layer.name for layer in model.layers if any(layer.name.startswith(name) for name in learning)]
    assert cost.step(cost.layers(model), names).multiply_adds == executed(model, names)


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no layer or block called 'block9'.*block1_conv"):
        cost.step(cost.layers(a_model()), ["block9"])
    with pytest.raises(cost.OpenSize, match="any size"):
        cost.layers(a_model(image_size=None))
    with pytest.raises(cost.OpenSize, match=r"'block1_conv' costs depends.*for one size"):
        cost.forward(a_model(image_size=None))
    with pytest.raises(TypeError, match="no graph"):
        cost.forward(keras.Sequential([layers.Dense(3)]))
    image = keras.Input((8, 8, 3))
    nested = keras.Model(image, a_model()(image), name="nested")
    with pytest.raises(ValueError, match="'small' is a model inside 'nested'"):
        cost.layers(nested)


def test_forward_opens_models_in_the_model_and_counts_shared_layers_each_time() -> None:
    assert cost.forward(a_model()) == FIRST + SECOND + HEAD
    image = keras.Input((8, 8, 3))
    inner = a_model()
    outer = keras.Model(image, layers.Dense(5)(inner(image)))
    assert cost.forward(outer) == FIRST + SECOND + HEAD + 2 * 5
    assert cost.forward(keras.Sequential([image, inner, layers.Dense(5)])) == cost.forward(outer)
    twice = layers.Conv2D(3, 3, padding="same")
    assert cost.forward(keras.Model(image, twice(twice(image)))) == 2 * 64 * 27 * 3

    # Called on images of one size, a model that takes any size costs what one of that size does.
    assert cost.forward(keras.Model(image, a_model(image_size=None)(image))) == FIRST + SECOND + HEAD

    class Stem(keras.Model):  # it has no graph that could be opened
        def __init__(self) -> None:
            super().__init__()
            self.convolution = layers.Conv2D(4, 3, padding="same")

        def call(self, images: tf.Tensor) -> tf.Tensor:
            return self.convolution(images)

    assert cost.forward(keras.Model(image, Stem()(image))) == FIRST
    prefix, suffix = freezing.split(freezing.freeze(a_model()))
    assert (cost.forward(prefix), cost.forward(suffix)) == (FIRST + SECOND, HEAD)


@pytest.mark.parametrize(
    ("learning", "tolerance"),
    # A little too careful: 3b counts a gradient for what enters the lowest layer that learns, too.
    [("logits", 1e-3), ("block5", 0.1)],
)
def test_the_gain_agrees_with_the_arithmetic_of_the_steps(learning, tolerance) -> None:
    model = classifier.build("VGG16", ["a", "b"], weights=None, image_size=(32, 32))
    freezing.freeze(model) if learning == "logits" else freezing.unfreeze_from(model, learning)
    prefix, suffix = freezing.split(model)
    counted, epochs = cost.layers(model), 30
    step = cost.step(counted, [learning, "logits"])
    below = sum(
        layer.multiply_adds
        for layer in counted
        if not any(layer.name.startswith(name) for name in (learning, "logits"))
    )
    sizes = {"train": 256, "validation": 64, "test": 1000}
    for views, validations in ((1, 0), (1, 10), (4, 30)):
        on_images = 256 * epochs * step.multiply_adds + 64 * validations * step.forward
        steps = 256 * epochs * (step.multiply_adds - below) + 64 * validations * (step.forward - below)
        stored = (256 * views + 64) * below + steps
        gain = cost.gain_by_storing(prefix, suffix, sizes, epochs, views, validations)
        assert (1 - tolerance) * on_images / stored < gain < on_images / stored


def test_the_gain_is_that_of_the_lesson() -> None:
    """E (t + 3 b) / (K t + 3 E b), if there is nothing to validate."""
    prefix, suffix = freezing.split(freezing.unfreeze_from(a_model(), "block2"))
    t, b = FIRST, SECOND + HEAD
    assert (cost.forward(prefix), cost.forward(suffix)) == (t, b)
    sizes = {"train": 7, "validation": 0}
    for epochs, views in ((1, 1), (10, 1), (10, 4)):
        expected = epochs * (t + 3 * b) / (views * t + 3 * epochs * b)
        assert cost.gain_by_storing(prefix, suffix, sizes, epochs, views, 0) == pytest.approx(expected)
    everything = freezing.split(freezing.unfreeze_from(a_model(), "block1"))
    assert cost.gain_by_storing(*everything, {"train": 7, "validation": 3}, 10, 1, 10) == 1.0
