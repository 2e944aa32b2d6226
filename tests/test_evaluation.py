"""Intervals against closed forms and simulation; predictions in order."""

import keras
import numpy as np
import pytest

from finetune_lib import data, evaluation


def test_wilson_interval_is_wilsons_formula() -> None:
    low, high = evaluation.wilson_interval(45, 50)
    p, n, z = 0.9, 50, 1.959964
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert low == pytest.approx(centre - half, abs=1e-6) and high == pytest.approx(centre + half, abs=1e-6)
    assert evaluation.wilson_interval(50, 50)[1] == 1.0


def test_wilson_interval_covers_the_truth_as_often_as_it_says() -> None:
    drawn = np.random.default_rng(0).binomial(200, 0.88, size=2000)
    covered = [low <= 0.88 <= high for low, high in (evaluation.wilson_interval(k, 200) for k in drawn)]
    assert 0.93 < np.mean(covered) < 0.97


def test_bootstrap_resamples_whole_groups() -> None:
    # The first method wins on every image of one group in five, and nowhere else.
    groups = np.repeat(np.arange(5), 100)
    first, second = np.ones(500, bool), groups != 0
    difference, low, high = evaluation.bootstrap_difference(first, second, groups)
    assert difference == pytest.approx(0.2)
    assert low == 0 and 0.5 <= high <= 0.7  # drawn 0 to 3 times of 5
    alone = evaluation.bootstrap_difference(first, second, np.arange(500))
    assert alone[2] - alone[1] < 0.1  # images taken for independent: too sure of itself


def ending_in(*layers: keras.Layer) -> keras.Model:
    return keras.Sequential([keras.Input((3,)), *layers])


def test_logits_and_probabilities_both_become_probabilities() -> None:
    logits = np.array([[2.0, 0.0, -1.0], [0.1, 0.2, 0.3]], "float32")
    soft = evaluation.to_probabilities(ending_in(keras.layers.Dense(3)), logits)
    assert np.allclose(soft.sum(axis=1), 1) and np.allclose(soft[0, 0] / soft[0, 1], np.exp(2.0))
    for softmax in ([keras.layers.Dense(3, "softmax")], [keras.layers.Dense(3), keras.layers.Softmax()]):
        assert np.array_equal(evaluation.to_probabilities(ending_in(*softmax), soft), soft)


def test_a_single_output_is_the_second_of_two_classes() -> None:
    column = np.array([[0.0], [2.0]], "float32")
    from_logit = evaluation.to_probabilities(ending_in(keras.layers.Dense(1)), column)
    assert np.allclose(from_logit, [[0.5, 0.5], [0.1192, 0.8808]], atol=1e-4)
    from_sigmoid = evaluation.to_probabilities(ending_in(keras.layers.Dense(1, "sigmoid")), column / 4)
    assert from_sigmoid.tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_predictions_come_in_the_order_of_the_part() -> None:
    images = np.zeros((130, 8, 8, 3), "uint8")
    labels = np.arange(130) % 3
    images[np.arange(130), labels] = 255  # a bright row says the class
    dataset = data.from_arrays("rows", "abc", *(), train=(images, labels), validation=(images, labels),
                               test=(images, labels), groups={"test": labels})  # fmt: skip
    image = keras.Input((8, 8, 3))
    rows = keras.layers.GlobalAveragePooling1D()(
        keras.layers.Permute((2, 1))(keras.layers.Reshape((8, 24))(image))
    )
    model = keras.Model(image, rows[:, :3] / 255)
    result = evaluation.evaluate(model, dataset)
    assert (result.predictions == labels).all() and result.accuracy == 1 and (result.groups == labels).all()
    assert str(result).startswith("test accuracy 100.0% (95% interval 97.1% to 100.0%, 130 images)")


def writers_of(generator: np.random.Generator, writers: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Right answers for writers whose own accuracies scatter about 0.85, and who wrote each image."""
    own = generator.beta(17, 3, size=writers)
    return (generator.random((writers, each)) < own[:, None]).ravel(), np.repeat(np.arange(writers), each)


def test_only_the_bootstrap_over_groups_covers_the_accuracy_on_new_writers() -> None:
    generator = np.random.default_rng(0)
    covered = {"groups": 0, "images": 0, "wilson": 0}
    for seed in range(300):
        correct, groups = writers_of(generator, writers=20, each=40)
        found = {
            "groups": evaluation.bootstrap_interval(correct, groups, resamples=400, seed=seed),
            "images": evaluation.bootstrap_interval(correct, resamples=400, seed=seed),
            "wilson": evaluation.wilson_interval(int(correct.sum()), len(correct)),
        }
        for name, (low, high) in found.items():
            covered[name] += low <= 0.85 <= high
    assert covered["groups"] > 0.86 * 300  # somewhat below 95%, with twenty writers
    assert covered["images"] < 0.8 * 300 and covered["wilson"] < 0.8 * 300


def test_without_groups_the_bootstrap_agrees_with_wilson() -> None:
    correct = np.arange(500) < 430
    low, high = evaluation.bootstrap_interval(correct)
    expected = evaluation.wilson_interval(430, 500)
    assert (low, high) == pytest.approx(expected, abs=0.006)
    assert evaluation.bootstrap_interval(correct, np.arange(500)) == (low, high)
    assert evaluation.bootstrap_interval(np.stack([correct, correct])) == (low, high)


def test_many_images_are_drawn_in_portions_with_the_same_result() -> None:
    correct = np.arange(30_000) % 10 != 0
    low, high = evaluation.bootstrap_interval(correct, resamples=200)
    assert low < 0.9 < high and high - low < 0.01


def test_groups_may_be_names_and_need_not_stand_together() -> None:
    correct = np.array([True, False, True, False, True, True])
    named = evaluation.bootstrap_interval(correct, np.array(["anna", "ben", "anna", "ben", "cara", "anna"]))
    assert named == evaluation.bootstrap_interval(correct, np.array([0, 1, 0, 1, 2, 0]))


def test_a_difference_without_groups_is_image_by_image() -> None:
    first, second = np.arange(400) < 360, np.arange(400) < 340
    difference, low, high = evaluation.bootstrap_difference(first, second)
    assert difference == pytest.approx(0.05) and 0.025 < low < 0.035 and 0.065 < high < 0.075


def test_mcnemar_is_the_exact_binomial_test_of_those_that_differ() -> None:
    first = np.repeat([True, True, False, False], [80, 10, 2, 8])
    second = np.repeat([True, False, True, False], [80, 10, 2, 8])
    # Of 12 images, 10 or more go to one side: 2 * (1 + 12 + 66) / 2**12.
    assert evaluation.mcnemar(first, second) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert evaluation.mcnemar(second, first) == evaluation.mcnemar(first, second)
    assert evaluation.mcnemar(first, first) == 1


def test_mcnemar_seldom_tells_equal_models_apart() -> None:
    generator = np.random.default_rng(0)
    values = [evaluation.mcnemar(*(generator.random((2, 300)) < 0.85)) for _ in range(1000)]
    assert 0.02 < np.mean(np.array(values) < 0.05) < 0.06


def test_answers_to_other_images_are_not_compared() -> None:
    for function in (evaluation.mcnemar, evaluation.bootstrap_difference):
        with pytest.raises(ValueError, match="answers to 3 images, the second to 4"):
            function(np.ones(3, bool), np.ones(4, bool))
    with pytest.raises(ValueError, match="who made 2 images, but there are 3"):
        evaluation.bootstrap_interval(np.ones(3, bool), np.arange(2))
    with pytest.raises(ValueError, match="no images"):
        evaluation.bootstrap_interval(np.ones(0, bool))
