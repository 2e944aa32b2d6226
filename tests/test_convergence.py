"""What closed forms say of gradient descent, held against runs of it and against linear algebra."""

import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from finetune_lib import convergence, descent

thoroughly = hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
seeds, sizes = strategies.integers(0, 2**32 - 1), strategies.integers(1, 5)
momenta = strategies.one_of(strategies.just(0.0), strategies.floats(0, 0.99))


def quadratic(seed: int, size: int) -> convergence.Quadratic:
    """A random one, with curvatures from 0.01 to 10 in random directions; some directions are flat."""
    generator = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(generator.normal(size=(size, size)))
    curvatures = 10 ** generator.uniform(-2, 1, size) * [1, *generator.integers(0, 2, size - 1)]
    return convergence.Quadratic((directions * curvatures) @ directions.T, generator.normal(size=size))


def recurrence(curvature: float, optimizer: descent.SGD) -> np.ndarray:
    """The matrix that takes (error now, error before) to (error next, error now)."""
    shrink, momentum = 1 - optimizer.learning_rate * curvature, optimizer.momentum
    if optimizer.nesterov:
        return np.array([[(1 + momentum) * shrink, -momentum * shrink], [1, 0]])
    return np.array([[momentum + shrink, -momentum], [1, 0]])


def growth(curvatures: np.ndarray, optimizer: descent.SGD, steps: int) -> np.ndarray:
    """How much larger than the start any error, rounding's included, may have become: ``(steps + 1,)``."""
    each = np.stack([recurrence(curvature, optimizer) for curvature in curvatures])
    powers = np.stack([np.linalg.matrix_power(each, t) for t in range(steps + 1)])
    return np.maximum.accumulate(np.linalg.norm(powers, 2, axis=(-2, -1)).max(axis=1))


def run(curvature: float, optimizer: descent.SGD, steps: int) -> np.ndarray:
    """The errors of a descent along one direction, with 1 at the start."""
    return descent.trajectory(lambda w: curvature * w, np.ones(1), optimizer, steps)[:, 0]


# --- quadratics ---


@hypothesis.given(seed=seeds, size=sizes)
@thoroughly
def test_a_quadratic_has_the_gradient_of_its_loss(seed, size):
    bowl = quadratic(seed, size)
    points = np.random.default_rng(seed).normal(size=(2, 3, size))
    losses = bowl.loss(points)
    assert losses.shape == (2, 3) and (losses > -1e-12).all() and bowl.loss(bowl.minimizer) == 0
    for place in np.ndindex(2, 3):
        np.testing.assert_allclose(losses[place], bowl.loss(points[place]), rtol=1e-12)
        nudged = descent.finite_differences(lambda w: float(bowl.loss(w)), points[place])
        np.testing.assert_allclose(bowl.gradient(points[place]), nudged, rtol=1e-8, atol=1e-8)


def test_the_mean_of_least_squares_is_a_quadratic():
    generator = np.random.default_rng(0)
    inputs, targets, weights = (generator.normal(size=size) for size in [(20, 3), 20, 3])
    bowl = convergence.Quadratic(inputs.T @ inputs / 20, np.linalg.lstsq(inputs, targets)[0])
    loss, gradient = descent.least_squares(weights, inputs, targets)
    least, _ = descent.least_squares(bowl.minimizer, inputs, targets)
    np.testing.assert_allclose(bowl.loss(weights), loss - least)
    np.testing.assert_allclose(bowl.gradient(weights), gradient)


# --- runs foretold ---


@hypothesis.given(
    seed=seeds, size=sizes, rate=strategies.floats(1e-3, 3), momentum=momenta, nesterov=strategies.booleans()
)
@thoroughly
def test_losses_are_those_foretold(seed, size, rate, momentum, nesterov):
    """From far below the rate that diverges to far above."""
    bowl, steps = quadratic(seed, size), 40
    curvatures = np.linalg.eigvalsh(bowl.hessian)
    optimizer = descent.SGD(rate / curvatures[-1], momentum, nesterov)
    start = np.random.default_rng(seed + 1).normal(size=size)
    losses = bowl.loss(descent.trajectory(bowl.gradient, start, optimizer, steps))
    foretold, envelope = convergence.predicted_losses(bowl, start, optimizer, steps)
    assert foretold.shape == envelope.shape == (steps + 1,)
    size_of_start = curvatures[-1] * np.sum((start - bowl.minimizer) ** 2)
    rounding = 1e-10 * size_of_start * growth(curvatures, optimizer, steps) ** 2
    assert (abs(foretold - losses) <= rounding).all()
    assert (losses <= envelope + rounding).all()


@hypothesis.given(
    curvature=strategies.floats(0.01, 10),
    momentum=momenta,
    nesterov=strategies.booleans(),
    upper=strategies.booleans(),
    offset=strategies.sampled_from([0.0, *(sign * 10.0**-k for k in range(2, 18) for sign in (-1, 1))]),
)
@thoroughly
def test_errors_are_those_foretold_near_double_roots_too(curvature, momentum, nesterov, upper, offset):
    if nesterov:
        double = 1 if upper else ((1 - momentum) / (1 + momentum)) ** 2
    else:
        double = (1 + (1 if upper else -1) * momentum**0.5) ** 2
    optimizer = descent.SGD((double + offset) / curvature, momentum, nesterov)
    errors, envelope = convergence.predicted_errors(np.array([curvature]), optimizer, 100)
    rounding = 1e-9 * growth([curvature], optimizer, 100)
    np.testing.assert_array_less(abs(errors[:, 0] - run(curvature, optimizer, 100)), rounding)
    np.testing.assert_array_less(abs(run(curvature, optimizer, 100)), envelope[:, 0] + rounding)


@pytest.mark.parametrize(
    "optimizer",
    [
        descent.SGD(0.5),
        descent.SGD(1.7),
        descent.SGD(0.3, 0.9),
        descent.SGD(0.2, 0.8, nesterov=True),
        convergence.best_for_quadratic(1, 10)["heavy ball"],  # a double root, up to rounding
        convergence.best_for_quadratic(1, 10)["Nesterov"],
    ],
)
def test_the_envelope_is_touched(optimizer):
    errors, envelope = convergence.predicted_errors(np.ones(1), optimizer, 60)
    assert (abs(errors) / envelope).max(where=np.arange(61)[:, np.newaxis] > 20, initial=0) > 0.99


@hypothesis.given(
    curvature=strategies.floats(0.01, 10),
    rate=strategies.floats(1e-3, 3),
    momentum=momenta,
    nesterov=strategies.booleans(),
)
@thoroughly
def test_rates_are_the_spectral_radius_of_the_recurrence(curvature, rate, momentum, nesterov):
    optimizer = descent.SGD(rate / curvature, momentum, nesterov)
    radius = abs(np.linalg.eigvals(recurrence(curvature, optimizer))).max()
    (found,) = convergence.convergence_rates(np.array([curvature]), optimizer)
    assert abs(found - radius) < 1e-7  # half the digits, as at a double root


@hypothesis.given(curvature=strategies.floats(0.01, 10), momentum=momenta, share=strategies.floats(0.01, 3))
@thoroughly
def test_descent_converges_below_the_known_rate_only(curvature, momentum, share):
    """2 / lambda; the heavy ball bears (1 + m) times as much."""
    hypothesis.assume(abs(share - 1) > 1e-6)
    rate = share * 2 * (1 + momentum) / curvature
    (found,) = convergence.convergence_rates(np.array([curvature]), descent.SGD(rate, momentum))
    assert (found < 1) == (share < 1)
    if momentum == 0:
        assert found == pytest.approx(abs(1 - rate * curvature), abs=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 1.2, 1.9, 2.1, 3.5])
def test_in_the_long_run_the_error_shrinks_by_the_rate(rate, momentum, nesterov):
    optimizer = descent.SGD(rate, momentum, nesterov)
    errors = abs(run(1.0, optimizer, 400))
    lengths = np.maximum(errors[1:], errors[:-1])  # of two, since one may be passing through zero
    measured = (lengths[399] / lengths[199]) ** (1 / 200)
    assert measured == pytest.approx(convergence.convergence_rates(np.ones(1), optimizer)[0], rel=0.02)


# --- the best constants ---


@hypothesis.given(smallest=strategies.floats(0.01, 10), condition=strategies.floats(1, 1e4))
@thoroughly
def test_the_best_constants_have_the_rates_known_for_them(smallest, condition):
    curvatures = smallest * np.linspace(1, condition, 50)
    root = np.sqrt(condition)
    best = convergence.best_for_quadratic(curvatures[0], curvatures[-1])
    worst = {name: convergence.convergence_rates(curvatures, best[name]).max() for name in best}
    known = {
        "plain": (condition - 1) / (condition + 1),
        "heavy ball": (root - 1) / (root + 1),
        "Nesterov": 1 - 1 / root,
    }
    assert worst == pytest.approx(known, abs=1e-6)


@pytest.mark.parametrize("condition", [1.0, 2.0, 30.0, 1e4])
def test_no_other_constants_are_better(condition):
    ends = np.array([1, condition])
    best = convergence.best_for_quadratic(*ends)
    rivals = {"plain": [0.0], "heavy ball": [*np.linspace(0, 0.99, 50), best["heavy ball"].momentum]}
    for name, momenta_tried in rivals.items():
        least = convergence.convergence_rates(ends, best[name]).max()
        for factor, momentum in itertools.product(np.geomspace(0.2, 5, 41), momenta_tried):
            other = descent.SGD(factor * best[name].learning_rate, momentum)
            assert convergence.convergence_rates(ends, other).max() >= least - 1e-6


def test_closed_forms_refuse_a_schedule():
    optimizer, bowl = descent.SGD(descent.cosine(0.1, 10)), quadratic(0, 2)
    for ask in (
        lambda: convergence.convergence_rates(np.ones(2), optimizer),
        lambda: convergence.predicted_errors(np.ones(2), optimizer, 5),
        lambda: convergence.predicted_losses(bowl, np.zeros(2), optimizer, 5),
    ):
        with pytest.raises(ValueError, match="constant learning rate"):
            ask()


# --- curvature ---


@hypothesis.given(seed=seeds, size=sizes)
@thoroughly
def test_the_largest_curvature_is_the_largest_eigenvalue(seed, size):
    bowl = quadratic(seed, size)
    weights = np.random.default_rng(seed).normal(size=size)
    largest = np.linalg.eigvalsh(bowl.hessian)[-1]
    assert convergence.largest_curvature(bowl.gradient, weights, 1000) == pytest.approx(largest, rel=1e-3)
    assert convergence.largest_curvature(bowl.gradient, weights) <= largest * (1 + 1e-6)


def test_the_largest_curvature_of_softmax_regression_is_that_of_its_hessian():
    generator = np.random.default_rng(0)
    inputs, weights = generator.normal(size=(30, 4)), generator.normal(size=(4, 3))
    labels = generator.integers(0, 3, 30)
    hessian = np.zeros((12, 12))
    for x, p in zip(inputs, descent.softmax(inputs @ weights), strict=True):
        hessian += np.kron(np.outer(x, x), np.diag(p) - np.outer(p, p)) / 30
    found = convergence.largest_curvature(
        lambda w: descent.softmax_cross_entropy(w, inputs, labels)[1], weights
    )
    assert found == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-6)


def test_a_plane_has_no_curvature():
    assert convergence.largest_curvature(lambda w: np.ones(3), np.zeros(3)) == 0


# --- noise ---


@hypothesis.given(
    seed=seeds, count=strategies.integers(1, 7), shape=strategies.sampled_from([(), (2,), (2, 3)])
)
@hypothesis.settings(thoroughly, max_examples=40)
def test_the_gradient_s_variance_is_the_average_over_all_mini_batches(seed, count, shape):
    gradients = np.random.default_rng(seed).normal(size=(count, *shape))
    for batch_size in range(1, count + 1):
        distances = [
            np.sum((gradients[list(rows)].mean(axis=0) - gradients.mean(axis=0)) ** 2)
            for rows in itertools.combinations(range(count), batch_size)
        ]
        found = convergence.gradient_variance(gradients, batch_size)
        assert found == pytest.approx(np.mean(distances), rel=1e-10, abs=1e-15)
    assert found == 0, "of all examples"


@pytest.mark.parametrize("learning_rate", [0.02, 0.3, 0.9])
def test_noise_ends_at_the_floor(learning_rate):
    generator = np.random.default_rng(0)
    curvatures, variances = np.array([0.5, 2.0]), np.array([4.0, 1.0])

    def gradient(weights: np.ndarray) -> np.ndarray:
        return curvatures * weights + np.sqrt(variances) * generator.normal(size=weights.shape)

    path = descent.trajectory(gradient, np.ones((500, 2)), descent.SGD(learning_rate), 1500)
    losses = path[700:] ** 2 @ curvatures / 2
    assert losses.mean() == pytest.approx(
        convergence.noise_floor(curvatures, variances, learning_rate), rel=0.03
    )


@pytest.mark.parametrize("learning_rate", [1.0, 1.5])
def test_noise_has_no_floor_where_descent_diverges(learning_rate):
    with np.errstate(all="raise"):
        assert convergence.noise_floor(np.array([0.5, 2.0]), np.ones(2), learning_rate) == np.inf
