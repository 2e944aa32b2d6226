"""How fast each weight moves: against Keras' own optimisers, and against Adam written out in NumPy."""

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

from finetune_lib import fitting, freezing, optimizers


def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return freezing.unfreeze_from(small_models.plain(), "block2", train_batch_normalization=True)


def gradients(network: keras.Model, step: int) -> list[np.ndarray]:
    """The same for every optimiser, of very different sizes."""
    generator = np.random.default_rng(step)
    return [
        10.0 ** (number - 3) * generator.normal(size=weight.shape).astype("float32")
        for number, weight in enumerate(network.trainable_weights)
    ]


def moved(optimizer: keras.optimizers.Optimizer, network: keras.Model, steps: int = 5) -> list[np.ndarray]:
    """The weights after a few steps in a compiled function, as in training."""
    apply = tf.function(lambda given: optimizer.apply(given, network.trainable_weights))
    for step in range(steps):
        apply([tf.constant(gradient) for gradient in gradients(network, step)])
    return [weight.numpy() for weight in network.trainable_weights]


def adam_by_hand(
    network: keras.Model, rates: dict[str, float], decay: float, steps: int = 5
) -> list[np.ndarray]:
    """Kingma and Ba's algorithm 1 with Loshchilov and Hutter's decay, each layer at its own rate."""
    weights = [weight.numpy().astype("float64") for weight in network.trainable_weights]
    layer_of = {
        id(w): path
        for path, layer in freezing.leaves(network)
        for w in getattr(layer, "trainable_weights", [])
    }
    paths = [layer_of[id(weight)] for weight in network.trainable_weights]
    m, v = [0.0] * len(weights), [0.0] * len(weights)
    for t in range(1, steps + 1):
        for i, gradient in enumerate(gradients(network, t - 1)):
            m[i] = 0.9 * m[i] + 0.1 * gradient
            v[i] = 0.999 * v[i] + 0.001 * gradient**2
            step = (m[i] / (1 - 0.9**t)) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-7 / np.sqrt(1 - 0.999**t))
            if weights[i].ndim > 1:
                weights[i] -= rates[paths[i]] * decay * weights[i]
            weights[i] -= rates[paths[i]] * step
    return weights


@pytest.mark.parametrize(("ratio", "decay"), [(1.0, 0.3), (10.0, 0.0), (25.0, 0.3)])
def test_it_is_adam_with_a_rate_for_each_layer_and_decay_of_kernels_only(ratio, decay):
    network = model()
    shares = optimizers.layer_rates(network, ratio)
    expected = adam_by_hand(network, {path: 0.01 * share for path, share in shares.items()}, decay)
    start = [weight.numpy() for weight in network.trainable_weights]
    got = moved(optimizers.adam(network, 0.01, layer_rate_ratio=ratio, weight_decay=decay), network)
    for before, one, other in zip(start, got, expected, strict=True):
        np.testing.assert_allclose(one - before, other - before, rtol=2e-4, atol=2e-6)


def test_biases_and_normalisation_of_several_axes_are_not_decayed_either():
    image = keras.Input((4, 8))
    x = keras.layers.LayerNormalization(axis=(1, 2))(image)
    x = keras.layers.MultiHeadAttention(2, 4)(x, x)
    network = keras.Model(image, keras.layers.Dense(3)(x))
    wide = [w for w in network.trainable_weights if len(w.shape) == 2 and w.name in ("bias", "gamma", "beta")]
    assert len(wide) == 5
    for weight in network.trainable_weights:
        weight.assign(keras.ops.ones_like(weight))
    optimizer = optimizers.adam(network, 0.1, weight_decay=0.5)
    optimizer.build(network.trainable_weights)
    optimizer.apply([keras.ops.zeros_like(w) for w in network.trainable_weights], network.trainable_weights)
    decayed = {w.path for w in network.trainable_weights if np.any(w.numpy() != 1)}
    assert decayed == {w.path for w in network.trainable_weights if w.name == "kernel"}


def test_with_one_rate_it_is_keras_adamw():
    first, second = model(), model()
    theirs = keras.optimizers.AdamW(0.01, weight_decay=0.3)
    theirs.exclude_from_weight_decay([w for w in first.trainable_weights if len(w.shape) == 1])
    ours = optimizers.adam(second, 0.01, weight_decay=0.3)
    for one, other in zip(moved(theirs, first), moved(ours, second), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    assert type(optimizers.adam(first, 0.01)) is keras.optimizers.Adam  # to the bit what fit did before


def test_scaling_the_gradient_instead_would_do_nothing():
    """Why it is the update that is scaled: Adam divides by the gradient's size."""
    steps = []
    for scale in (1.0, 0.01):
        network = model()
        weight = network.trainable_weights[-2]
        before, optimizer = weight.numpy(), keras.optimizers.Adam(0.01)
        optimizer.build(network.trainable_weights)
        optimizer.apply([scale * gradient for gradient in gradients(network, 0)], network.trainable_weights)
        steps.append(weight.numpy() - before)
    np.testing.assert_allclose(*steps, rtol=0.02)


def test_rates_lie_on_a_geometric_line():
    network = freezing.unfreeze_from(small_models.plain(), "block1")
    rates = optimizers.layer_rates(network, 1000.0)
    assert list(rates) == ["block1_conv", "block2_conv", "block3_conv", "logits"]
    np.testing.assert_allclose(list(rates.values()), [0.001, 0.01, 0.1, 1.0])
    assert optimizers.layer_rates(freezing.freeze(network), 1000.0) == {"logits": 1.0}
    nested = freezing.unfreeze_from(small_models.nested(), "base")
    assert list(optimizers.layer_rates(nested, 4.0).values()) == [0.25, 1.0]


def test_the_rate_rises_on_a_line_and_falls_on_a_cosine():
    rates = [float(optimizers.schedule(0.1, 100, 0.2)(step)) for step in range(101)]
    np.testing.assert_allclose(rates[:21], np.linspace(0, 0.1, 21), atol=1e-8)
    cosine = 0.05 * (1 + np.cos(np.pi * np.arange(81) / 80))
    np.testing.assert_allclose(rates[20:], cosine, atol=1e-7)
    assert float(optimizers.schedule(0.1, 100)(0)) == pytest.approx(0.1)
    assert float(optimizers.schedule(0.1, 3, 0.1)(0)) == pytest.approx(0.1)  # no step is a tenth of three


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warm_up": 1.0}, "warm_up is 1.0; it takes a number from 0 to less than 1"),
        ({"warm_up": -0.1}, "warm_up is -0.1"),
        ({"layer_rate_ratio": 0.5}, "layer_rate_ratio is 0.5; it takes a number from 1"),
        ({"weight_decay": "much"}, "weight_decay is 'much'"),
        ({"label_smoothing": 1}, "label_smoothing is 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"patience": 0}, "patience is 0; it takes a whole number of at least 1"),
        ({"views": "few"}, "views is 'few'"),
        ({"optimizer": keras.optimizers.SGD(0.1), "warm_up": 0.1}, "Give your optimizer a schedule"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fitting.fit(small_models.plain(), None, epochs=1, **options)
