"""The learning-rate range test: what it suggests, and that it leaves no trace."""

import keras
import killed_run
import numpy as np
import pytest
import small_models

from finetune_lib import classifier, data, fitting, freezing, plots, range_test


@pytest.fixture(scope="module")
def digits() -> data.ImageDataset:
    return data.load("digits_wild", labels_per_class=5)


def test_a_head_and_a_trained_network_get_rates_that_suit_them(digits):
    """Heads were best at 1e-3 to 1e-2 and fine-tuning at 3e-4 to 1e-3 (tests/benchmarks)."""
    model = freezing.freeze(classifier.build("GlyphNet", digits.class_names))
    before = model.get_weights()
    head = fitting.learning_rate_range(model, digits, augment=digits.augment, verbose=0)
    assert 1e-3 <= head.suggestion <= 2e-2 and head.suggestion <= head.lowest / 10
    assert not model.compiled
    assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))
    fitting.fit(model, digits, epochs=60, views=1, augment=digits.augment, verbose=0)
    freezing.unfreeze_from(model, "block1")
    tuned = fitting.learning_rate_range(model, digits, augment=digits.augment, verbose=0)
    assert 3e-5 <= tuned.suggestion <= 1e-3 and tuned.suggestion < head.suggestion / 3


def test_nothing_is_left_behind_not_even_statistics_or_random_numbers():
    keras.utils.set_random_seed(0)
    model = freezing.unfreeze_from(small_models.plain(), "block2", train_batch_normalization=True)
    before = [variable.numpy() for variable in model.variables]
    first = fitting.learning_rate_range(model, killed_run.dataset(), steps=20, verbose=0)
    assert all(np.array_equal(b, v) for b, v in zip(before, model.variables, strict=True))
    second = fitting.learning_rate_range(model, killed_run.dataset(), steps=20, verbose=0)
    np.testing.assert_array_equal(first.losses, second.losses)


def test_it_stops_where_the_loss_blows_up():
    keras.utils.set_random_seed(0)
    model = freezing.unfreeze_from(small_models.plain(), "block1")
    result = fitting.learning_rate_range(model, killed_run.dataset(), highest=1e4, steps=60, verbose=0)
    assert len(result.rates) < 60 and np.isfinite(result.losses).all()
    assert result.smoothed[-1] > result.smoothed.min() + result.losses[0]


def test_reading_a_suggestion_off_a_known_curve():
    rates = np.geomspace(1e-6, 1, 121)
    decades = np.log10(rates)
    fall = 2 - 1.5 / (1 + np.exp(-4 * (decades + 3)))  # half-way down at 1e-3
    start = np.full(121, 2.0)
    found = range_test.result(rates, fall + np.where(decades > -1, 30 * (decades + 1) ** 2, 0), start)
    assert 1e-3 <= found.half_way <= 5e-3 and 0.05 < found.lowest < 0.3  # smoothing looks back
    assert found.suggestion == found.half_way
    # Hard and easy batches, however different, do not count: only how each has changed.
    hard = np.random.default_rng(0).uniform(0, 5, 121)
    noisy = range_test.result(rates, fall + hard, start + hard)
    quiet = range_test.result(rates, fall, start)
    assert noisy.suggestion == quiet.suggestion


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowest": 0.0}, "rates must grow from above 0"),
        ({"lowest": 1.0, "highest": 0.1}, "rates must grow"),
        ({"steps": 5}, "at least 20"),
        ({"lowest": 1e30, "highest": 1e35}, r"blew up within \d steps from a rate of 1e\+30"),
    ],
)
def test_what_cannot_be_tested_is_refused(options, message):
    keras.utils.set_random_seed(0)
    model = freezing.unfreeze_from(small_models.plain(), "block1")
    with pytest.raises(ValueError, match=message):
        fitting.learning_rate_range(model, killed_run.dataset(), **{"verbose": 0} | options)


def test_the_figure_says_what_its_table_says():
    rates = np.geomspace(1e-6, 1e-1, 50)
    result = range_test.result(rates, np.linspace(2, 1, 50) ** 2, np.full(50, 4.0))
    (axes,) = plots.range_test(result).axes
    assert axes.get_xscale() == "log" and f"suggested: {result.suggestion:.1e}" in {
        text.get_text() for text in axes.get_legend().get_texts()
    }
    lines = plots.range_test_table(result).splitlines()
    assert sum("lowest" in line for line in lines) == sum("half-way down" in line for line in lines) == 1
    assert 10 <= len(lines) <= 14 and f"{result.lowest:.1e}" in str(result)
