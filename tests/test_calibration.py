"""Calibration against numbers worked out by hand, and against networks whose calibration is known."""

import numpy as np
import pytest
import scipy.special

from finetune_lib import calibration


def drawn_from(logits: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The logits' probabilities, and labels drawn from them: perfectly calibrated by construction."""
    probabilities = scipy.special.softmax(logits, axis=1)
    chances = np.random.default_rng(seed).random((len(logits), 1))
    return probabilities, (probabilities.cumsum(axis=1) < chances).sum(axis=1)


def some_logits(count: int, scale: float = 2.0) -> np.ndarray:
    return scale * np.random.default_rng(1).normal(size=(count, 5))


def test_bins_hold_what_was_put_into_them() -> None:
    # Four answers of 0.8, of which three are right, and two of 0.6, of which one is right.
    first = np.array([0.8] * 4 + [0.6] * 2)
    probabilities = np.stack([first, 1 - first], axis=1)
    labels = np.array([0, 0, 0, 1, 0, 1])
    result = calibration.reliability(probabilities, labels, bins=5)
    assert result.counts.tolist() == [0, 0, 2, 4, 0]  # 0.6 is the upper edge of its bin
    assert result.confidence[2:4] == pytest.approx([0.6, 0.8])
    assert result.accuracy[2:4] == pytest.approx([0.5, 0.75])
    assert np.isnan(result.accuracy[[0, 1, 4]]).all()
    expected = (4 * abs(0.75 - 0.8) + 2 * abs(0.5 - 0.6)) / 6
    assert calibration.expected_calibration_error(probabilities, labels, 5) == pytest.approx(expected)


def test_certainty_is_in_the_last_bin() -> None:
    result = calibration.reliability(np.eye(2), np.array([0, 1]))
    assert result.counts[-1] == 2 and result.error == 0


def test_a_calibrated_network_has_the_error_of_chance_and_less_with_more_images() -> None:
    chance = {}
    for count in (100, 10_000):
        probabilities, labels = drawn_from(some_logits(count))
        chance[count] = calibration.chance_calibration_error(probabilities, repeats=200)
        measured = calibration.expected_calibration_error(probabilities, labels)
        assert measured < np.quantile(chance[count], 0.99), count
    assert chance[100].mean() > 0.03 > 0.01 > chance[10_000].mean()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_a_network_is_found_again(temperature: float) -> None:
    logits = some_logits(20_000)
    _, labels = drawn_from(logits)
    stated = scipy.special.softmax(logits * temperature, axis=1)  # too sure where the temperature is above 1
    found = calibration.fit_temperature(stated, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    repaired = calibration.with_temperature(stated, found)
    assert calibration.expected_calibration_error(repaired, labels) < 0.015
    assert np.array_equal(repaired.argmax(axis=1), stated.argmax(axis=1))


def test_a_temperature_divides_the_logits() -> None:
    logits = some_logits(20)
    probabilities = scipy.special.softmax(logits, axis=1).astype("float32")
    expected = scipy.special.softmax(logits / 3, axis=1)
    assert np.allclose(calibration.with_temperature(probabilities, 3), expected, atol=1e-6)
    certain = calibration.with_temperature(np.eye(3, dtype="float32"), 50)
    assert np.isfinite(certain).all() and np.allclose(certain.sum(axis=1), 1)


def test_where_all_answers_are_right_no_temperature_is_determined() -> None:
    probabilities = np.array([[0.7, 0.3], [0.6, 0.4]])
    with pytest.warns(UserWarning, match="at the end of its range: these 2 images"):
        calibration.fit_temperature(probabilities, np.array([0, 0]))


@pytest.mark.parametrize(
    ("probabilities", "labels", "words"),
    [
        (np.array([[2.0, -1.0]]), [0], "take the softmax first"),
        (np.array([[0.9, 0.9]]), [0], "does not sum to 1"),
        (np.array([0.5, 0.5]), [0], r"not of the shape \(2,\)"),
        (np.zeros((0, 3)), [], r"not of the shape \(0, 3\)"),
        (np.array([[0.5, 0.5]]), [0, 1], "of 1 images, and labels of the shape"),
    ],
)
def test_what_are_no_probabilities_is_said(probabilities: np.ndarray, labels: list, words: str) -> None:
    for function in (calibration.reliability, calibration.fit_temperature):
        with pytest.raises(ValueError, match=words):
            function(probabilities, np.array(labels, int))


def test_a_temperature_is_above_zero() -> None:
    with pytest.raises(ValueError, match="above zero, not 0"):
        calibration.with_temperature(np.array([[0.5, 0.5]]), 0)
