"""What the sliders show: the numbers in the text, and that the picture shows the same."""

import re

import numpy as np
import pytest

from finetune_lib import classifier, convergence, cost, descent, digits, explorers

WANTED = 1 - digits.arrays(wild=False)[0][2][:, :, 0] / 255
DARK = 0.4 * WANTED


@pytest.mark.parametrize(
    ("part_of_limit", "words"),
    [
        (0.1, "Each step is 0.80 times the one before: it creeps up"),
        (0.5, "The first step lands"),
        (0.9, "Each step is 0.80 times the one before, and back: it jumps to and fro, ever nearer"),
        (1.1, "Each step is 1.20 times the one before, and back: it jumps to and fro, ever farther out"),
    ],
)
def test_one_weight_does_what_the_text_says(part_of_limit: float, words: str) -> None:
    limit = 2 / np.mean(DARK**2)
    figure, text = explorers.one_parameter(DARK, WANTED, part_of_limit * limit)
    assert words in text and "best: 2.5" in text
    (_, steps, start, best) = figure.axes[0].get_lines()
    hops = 2.5 * (1 - (1 - 2 * part_of_limit) ** np.arange(13))
    inside = hops[np.abs(hops - 2.5) <= 4]
    assert steps.get_xdata() == pytest.approx(inside) and start.get_xdata()[0] == 0
    assert best.get_xdata()[0] == pytest.approx(2.5)
    restored = np.asarray(figure.axes[2].get_images()[0].get_array())
    assert restored == pytest.approx(hops[-1] * DARK, rel=1e-6, abs=1e-9)


def test_learning_rate_and_momentum_say_what_the_path_does() -> None:
    quadratic = convergence.Quadratic(np.diag([1.0, 4.0]), np.array([0.5, -0.5]))
    figure, text = explorers.learning_rate_and_momentum(quadratic, 0.1, 0.5, nesterov=True)
    path = descent.trajectory(
        quadratic.gradient, quadratic.minimizer + explorers.START, descent.SGD(0.1, 0.5, True), 40
    )
    drawn = figure.axes[0].get_lines()[0]
    assert np.stack([drawn.get_xdata(), drawn.get_ydata()], axis=1) == pytest.approx(path)
    assert text.startswith("learning rate 0.1, momentum 0.5, Nesterov: converges\n")
    assert f"{np.linalg.norm(path[-1] - quadratic.minimizer):.3g} after 40 steps" in text
    assert "diverges" in explorers.learning_rate_and_momentum(quadratic, 0.51)[1]


@pytest.mark.parametrize(("number", "part", "steps"), [(10, 0.5, 66), (10, 1.05, "never"), (1, 0.5, 1)])
def test_the_condition_number_gives_the_number_of_steps(number, part, steps) -> None:
    _, text = explorers.condition_number(number, part)
    assert f"steps to come 1,000 times nearer: {steps};" in text
    rate, best = 2 * part / number, 2 / (1 + number)
    assert f"{abs(1 - rate):.3f} along the floor, {abs(1 - rate * number):.3f} across" in text
    assert f"the best rate {best:.3g}" in text
    if steps not in ("never", 1):  # as many as the text says are enough, one less is not
        assert (1 - rate) ** steps <= 1e-3 < (1 - rate) ** (steps - 1)


def test_a_mini_batch_is_as_noisy_as_the_text_says() -> None:
    generator = np.random.default_rng(0)
    inputs = np.stack([generator.normal(size=200), np.ones(200)], axis=1)
    targets = inputs @ [1.0, 2.0] + generator.normal(size=200)
    sizes = {}
    for batch_size in (1, 16, 200):
        figure, text = explorers.mini_batch(inputs, targets, batch_size, 0.1)
        measured, formula = map(float, re.findall(r"([\d.e-]+) (?:in 400|by the)", text))
        assert measured == pytest.approx(formula, rel=0.1, abs=1e-9)
        sizes[batch_size] = formula, float(text.split(": ")[-1])
        assert len(figure.axes[0].get_lines()[0].get_xdata()) == 151
    assert sizes[1][0] == pytest.approx(4 * np.sqrt(199 / 184) * sizes[16][0], rel=0.01)
    assert sizes[200][0] == 0 and sizes[1][1] > sizes[16][1] > sizes[200][1]
    assert text == explorers.mini_batch(inputs, targets, 200, 0.1)[1]  # the same values, the same picture


def test_freezing_shows_the_costs_of_the_choice() -> None:
    counted = cost.layers(classifier.build("GlyphNet", ["a", "b"], weights=None))
    figure, text = explorers.freezing_cost(counted, ["block4", "logits"], 16)
    step = cost.step(counted, ["block4", "logits"], batch_size=16)
    assert text.startswith("learning: block4, logits\n") and f"{step.trained_parameters:,} of 293," in text
    ends = [
        max(bar.get_x() + bar.get_width() for bars in axes.containers for bar in bars if bar.get_y() < 0.5)
        for axes in figure.axes
    ]
    assert ends == pytest.approx([step.multiply_adds / 1e9, step.memory_bytes / 1e6])
    assert "learning: nothing\n" in explorers.freezing_cost(counted, [], 16)[1]
