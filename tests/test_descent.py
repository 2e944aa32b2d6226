"""Gradient descent in NumPy, held against Keras' losses and optimisers, and against finite differences."""

import itertools
import warnings
from collections.abc import Callable, Iterator

import hypothesis
import keras
import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf
from hypothesis import strategies

from finetune_lib import descent

LOSSES = ("least_squares", "softmax_cross_entropy")
REDUCTIONS = {"sum": "sum", "mean": "sum_over_batch_size", "none": "none"}  # our name: Keras' name

thoroughly = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
seeds, sizes = strategies.integers(0, 2**32 - 1), strategies.integers(1, 6)


def problem(name: str, seed: int, examples: int, features: int, classes: int, scale: float = 1.0) -> tuple:
    """Random weights, inputs and answers for the loss of that name."""
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(examples, features))
    if name == "least_squares":
        return scale * generator.normal(size=features), inputs, generator.normal(size=examples)
    weights, labels = generator.normal(size=(features, classes)), generator.integers(0, classes, examples)
    return scale * weights, inputs, labels


def keras_loss(name: str, reduction: str) -> Callable:
    """The same loss by Keras in float64, a function of (weights, inputs, answers)."""
    if name == "least_squares":
        squares = keras.losses.MeanSquaredError(reduction=REDUCTIONS[reduction], dtype="float64")
        return lambda w, x, y: squares(y[:, np.newaxis], tf.linalg.matvec(x, w)[:, tf.newaxis]) / 2
    entropy = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction=REDUCTIONS[reduction], dtype="float64"
    )
    return lambda w, x, y: entropy(y, tf.matmul(x, w))


# --- losses ---


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", LOSSES)
@hypothesis.given(
    seed=seeds, examples=sizes, features=sizes, classes=sizes, scale=strategies.sampled_from((1, 1e4))
)
@thoroughly
def test_losses_and_gradients_are_those_of_keras(name, reduction, seed, examples, features, classes, scale):
    weights, inputs, answers = problem(name, seed, examples, features, classes, scale)
    loss, gradient = getattr(descent, name)(weights, inputs, answers, reduction)
    variable = tf.Variable(weights)
    with tf.GradientTape() as tape:
        expected = keras_loss(name, reduction)(variable, inputs, answers)
    slope = tape.gradient(expected, variable)  # of the sum, where each example has its own loss
    total = gradient.sum(axis=0) if reduction == "none" else gradient
    assert np.isfinite(loss).all()
    np.testing.assert_allclose(loss, expected, rtol=1e-10, atol=1e-12 * scale)
    np.testing.assert_allclose(total, slope, rtol=1e-10, atol=1e-12 * scale)


@pytest.mark.parametrize("name", LOSSES)
@hypothesis.given(seed=seeds, examples=sizes, features=sizes, classes=sizes)
@thoroughly
def test_gradients_agree_with_finite_differences(name, seed, examples, features, classes):
    function = getattr(descent, name)
    weights, inputs, answers = problem(name, seed, examples, features, classes)
    nudged = descent.finite_differences(lambda w: function(w, inputs, answers)[0], weights)
    np.testing.assert_allclose(function(weights, inputs, answers)[1], nudged, rtol=1e-8, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
@hypothesis.given(seed=seeds, examples=sizes, features=sizes, classes=sizes)
@thoroughly
def test_the_sum_is_n_times_the_mean_and_each_part_that_of_its_example_alone(
    name, seed, examples, features, classes
):
    function = getattr(descent, name)
    weights, inputs, answers = problem(name, seed, examples, features, classes)
    whole, mean, parts = (function(weights, inputs, answers, reduction) for reduction in REDUCTIONS)
    alone = [function(weights, inputs[[row]], answers[[row]], "sum") for row in range(examples)]
    for total, average, each, singles in zip(whole, mean, parts, zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(total, examples * average, rtol=1e-12)
        np.testing.assert_allclose(total, each.sum(axis=0), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(each, np.stack(singles), rtol=1e-12, atol=1e-13)


def test_finite_differences_are_as_good_for_large_weights():
    gradient = descent.finite_differences(lambda w: float((w**2).sum()), np.array([1.0, 1e6]))
    assert abs(gradient[1] / 2e6 - 1) < 1e-9


@hypothesis.given(
    logits=strategies.lists(strategies.floats(-1e4, 1e4), min_size=1, max_size=5),
    shift=strategies.floats(-1e4, 1e4),
)
@thoroughly
def test_softmax_gives_probabilities_that_depend_on_differences_only(logits, shift):
    rows = np.array([logits, np.add(logits, shift)])
    probabilities = descent.softmax(rows)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-14)
    np.testing.assert_allclose(probabilities[0], probabilities[1], rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "weights", "inputs", "answers"),
    [
        ("least_squares", 3, (5, 2), 5),
        ("least_squares", (2, 1), (5, 2), 5),
        ("least_squares", 2, (5, 2), (5, 1)),
        ("least_squares", 2, (1, 2), ()),
        ("least_squares", 2, (0, 2), 0),
        ("softmax_cross_entropy", 2, (5, 2), 5),
        ("softmax_cross_entropy", (2, 3), (5, 3), 5),
        ("softmax_cross_entropy", (2, 3), (5, 2), (5, 3)),
    ],
)
def test_shapes_that_do_not_fit_are_named(name, weights, inputs, answers):
    arguments = np.ones(weights), np.ones(inputs), np.ones(answers, int)
    for reduction in REDUCTIONS:
        with pytest.raises(ValueError, match=r"Shapes do not fit.*at least one example") as error:
            getattr(descent, name)(*arguments, reduction)
        assert "weights {}, inputs {}, answers {}".format(*(a.shape for a in arguments)) in str(error.value)


@pytest.mark.parametrize("labels", [[0, 3], [-1, 2]])
def test_labels_without_a_class_are_refused(labels):
    with pytest.raises(ValueError, match=f"Labels are {labels[0]} to {labels[1]}; .* take 0 to 2"):
        descent.softmax_cross_entropy(np.ones((2, 3)), np.ones((2, 2)), np.array(labels))


@pytest.mark.parametrize("name", LOSSES)
def test_an_unknown_reduction_is_answered_with_those_there_are(name):
    with pytest.raises(ValueError, match=r"no reduction 'average'; choose 'sum', 'mean' or 'none'"):
        getattr(descent, name)(*problem(name, 0, 3, 2, 2), "average")


# --- optimisers ---

STEPS = 50
OPTIMIZERS = {
    "SGD": (descent.SGD, keras.optimizers.SGD, {}),
    "momentum": (descent.SGD, keras.optimizers.SGD, {"momentum": 0.9}),
    "nesterov": (descent.SGD, keras.optimizers.SGD, {"momentum": 0.8, "nesterov": True}),
    "Adam": (descent.Adam, keras.optimizers.Adam, {}),
    "other Adam": (descent.Adam, keras.optimizers.Adam, {"beta_1": 0.7, "beta_2": 0.9, "epsilon": 0.01}),
    "AdamW": (descent.Adam, keras.optimizers.AdamW, {"weight_decay": 0.1}),
}


@pytest.fixture(params=("float32", "float64"))
def floats(request: pytest.FixtureRequest) -> Iterator[str]:
    """Keras computes in these, learning rates and schedules included."""
    before = keras.config.floatx()
    keras.config.set_floatx(request.param)
    yield request.param
    keras.config.set_floatx(before)


@pytest.mark.parametrize("warm_up", [None, 0, 10], ids=["constant", "cosine", "warm-up"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers_step_as_those_of_keras(name, warm_up, floats):
    ours, theirs, constants = OPTIMIZERS[name]
    images, labels = (array[:300] for array in sklearn.datasets.load_digits(return_X_y=True))
    images = (images / 16).astype(floats)
    start = np.random.default_rng(0).normal(scale=0.1, size=(64, 10)).astype(floats)
    peak = np.float64(0.05 if "Adam" in name else 0.5)
    rate = their_rate = peak
    if warm_up is not None:  # the last steps are past the schedule's end
        rate = descent.cosine(peak, STEPS - 5, warm_up)
        their_rate = keras.optimizers.schedules.CosineDecay(peak, STEPS - 5)
    if warm_up:
        their_rate = keras.optimizers.schedules.CosineDecay(
            np.float64(0), STEPS - 5 - warm_up, warmup_target=peak, warmup_steps=warm_up
        )
    config = theirs(**constants).get_config() | {"learning_rate": their_rate}
    exact = {key: np.float64(value) if isinstance(value, float) else value for key, value in config.items()}
    optimizer, variable = theirs(**exact), keras.Variable(start)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = [start]
    for _ in range(STEPS):
        with tf.GradientTape() as tape:
            value = loss(labels, tf.matmul(images, variable.value))
        optimizer.apply([tape.gradient(value, variable.value)], [variable])
        expected.append(variable.value.numpy())
    path = descent.trajectory(
        lambda w: descent.softmax_cross_entropy(w, images, labels)[1], start, ours(rate, **constants), STEPS
    )
    assert path.dtype == floats and abs(path[-1] - start).max() > 0.1
    np.testing.assert_allclose(path, expected, rtol=0, atol={"float32": 1e-4, "float64": 1e-12}[floats])


@hypothesis.given(
    peak=strategies.floats(1e-4, 10), warm_up=strategies.integers(0, 50), fall=strategies.integers(1, 50)
)
@thoroughly
def test_cosine_climbs_in_a_line_and_falls_in_a_curve_to_zero(peak, warm_up, fall):
    schedule = descent.cosine(peak, warm_up + fall, warm_up)
    rates = np.array([schedule(number) for number in range(warm_up + fall + 3)])
    np.testing.assert_allclose(rates[:warm_up], peak * np.arange(warm_up) / max(1, warm_up))
    descends = rates[warm_up : warm_up + fall + 1]
    assert (np.diff(descends) < 0).all() and (abs(rates[warm_up + fall :]) <= 1e-15 * peak).all()
    np.testing.assert_allclose(descends + descends[::-1], peak)


# --- trajectories ---


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_trajectory_is_a_loop_with_its_start_first(name, dtype):
    optimizer = OPTIMIZERS[name][0](lambda number: 0.1 / (1 + number), **OPTIMIZERS[name][2])
    start = np.arange(6, dtype=dtype).reshape(2, 3)
    weights, memory, expected = start, optimizer.start(start), [start]
    for number in range(7):
        weights, memory = optimizer.step(weights, 2 * weights, memory, number)
        expected.append(weights)
    path = descent.trajectory(lambda w: 2 * w, start, optimizer, 7)
    assert path.shape == (8, 2, 3) and path.dtype == dtype
    np.testing.assert_array_equal(path, expected)
    np.testing.assert_array_equal(start, np.arange(6).reshape(2, 3))
    assert descent.trajectory(lambda w: 2 * w, start, optimizer, 0).shape == (1, 2, 3)


def test_whole_numbers_to_start_from_do_not_round_the_path():
    path = descent.trajectory(lambda w: w, np.array([4, -2]), descent.SGD(0.25), 1)
    np.testing.assert_array_equal(path, [[4, -2], [3, -1.5]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_that_diverges_ends_in_infinity_without_a_warning(name, dtype):
    def gradient(weights: np.ndarray) -> np.ndarray:
        return descent.softmax_cross_entropy(weights, np.eye(2), np.arange(2))[1] + weights**3

    optimizer = OPTIMIZERS[name][0](1e300 if "Adam" in name else 10, **OPTIMIZERS[name][2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = descent.trajectory(gradient, np.full((2, 2), 5, dtype), optimizer, 400)
    assert path.shape == (401, 2, 2) and not np.isfinite(path[-1]).any()


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "AdamW"])
def test_a_frozen_weight_never_moves(name):
    """Freezing is a gradient of zero; only weight decay would still move it."""
    mask, start = np.array([0, 1, 0, 1, 0]), np.linspace(-3, 4, 5)
    optimizer = OPTIMIZERS[name][0](0.1, **OPTIMIZERS[name][2])
    path = descent.trajectory(lambda w: mask * np.sin(w), start, optimizer, 20)
    assert ((path[1:] == start) == (mask == 0)).all()


# --- mini-batches ---


@hypothesis.given(seed=seeds, examples=strategies.integers(1, 40), data=strategies.data())
@thoroughly
def test_every_epoch_is_a_partition_of_the_rows(seed, examples, data):
    batch_size = data.draw(strategies.integers(1, examples))
    batches = descent.mini_batches(examples, batch_size, np.random.default_rng(seed))
    for _ in range(3):
        epoch = list(itertools.islice(batches, examples // batch_size))
        assert {len(batch) for batch in epoch} == {batch_size}
        rows = np.concatenate(epoch).tolist()
        assert len(set(rows)) == len(rows) and set(rows) <= set(range(examples))


def test_every_epoch_has_a_new_order_and_leaves_out_others():
    batches = descent.mini_batches(50, 20, np.random.default_rng(0))
    epochs = [np.concatenate(list(itertools.islice(batches, 2))) for _ in range(200)]
    assert len({tuple(epoch) for epoch in epochs}) == 200
    counts = np.bincount(np.concatenate(epochs), minlength=50)
    assert counts.min() > 130 and counts.max() < 185  # 160 on average


@pytest.mark.parametrize("batch_size", [-1, 0, 6])
def test_a_batch_that_cannot_be_drawn_is_refused(batch_size):
    with pytest.raises(ValueError, match=f"batch of {batch_size} cannot be drawn from 5"):
        next(descent.mini_batches(5, batch_size, np.random.default_rng(0)))
