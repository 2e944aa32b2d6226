"""The figures of lesson 06 show what their tables say."""

import re

import numpy as np
import pytest

from finetune_lib import calibration, evaluation_plots


def test_intervals_are_drawn_from_low_to_high() -> None:
    rows = {"Wilson": (86.0, 83.5, 88.0), "over writers": (86.0, 80.0, 91.0)}
    (axes,) = evaluation_plots.intervals(rows, "accuracy (%)", mark=0).axes
    lines = [list(line.get_xdata()) for line in axes.lines]
    assert lines == [[83.5, 88.0], [86.0], [80.0, 91.0], [86.0], [0, 0]] and axes.yaxis_inverted()
    assert [text.get_text() for text in axes.get_yticklabels()] == list(rows)
    table = evaluation_plots.intervals_table(rows, "accuracy").splitlines()
    assert table[1].split() == ["Wilson", "86.0", "83.5", "88.0", "4.5"]


def two_bins() -> calibration.Reliability:
    first = np.array([0.8] * 4 + [0.6] * 2)
    probabilities = np.stack([first, 1 - first], axis=1)
    return calibration.reliability(probabilities, np.array([0, 0, 0, 1, 0, 1]), bins=5)


def test_a_reliability_diagram_leaves_empty_bins_out() -> None:
    upper, lower = evaluation_plots.reliability_diagram({"as it is": two_bins()}).axes
    diagonal, line = upper.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    assert line.get_xdata() == pytest.approx([0.6, 0.8]) and line.get_ydata() == pytest.approx([0.5, 0.75])
    assert [bar.get_height() for bar in lower.patches] == [0, 0, 2, 4, 0]
    assert upper.get_legend().get_texts()[0].get_text() == "as it is (error 6.7 points)"
    table = evaluation_plots.reliability_table({"as it is": two_bins()}).splitlines()
    assert re.split(r"  +", table[1]) == ["as it is", "0.40 to 0.60", "2", "0.60", "0.50", "-0.10"]
    assert len(table) == 3


def corner() -> np.ndarray:
    heat = np.zeros((8, 12), "float32")
    heat[0, 0] = 1
    return heat


def test_a_saliency_grid_shows_each_image_above_its_map() -> None:
    images = [np.full((8, 12, 3), 40 * place) for place in range(3)]
    maps = [corner(), np.ones((8, 12)), np.zeros((8, 12))]
    figure = evaluation_plots.saliency_grid(images, maps, ["a", "b", "c"], columns=2)
    assert len(figure.axes) == 8  # two images a row, each above its map, the last place empty
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "", "", "c", "", "", ""]
    shown = figure.axes[2].images
    assert (shown[0].get_array() == 0).all() and np.array_equal(shown[1].get_array(), maps[0])
    assert (figure.axes[4].images[0].get_array() == 80).all()
    with pytest.raises(ValueError, match="3 images, 3 maps and 1 titles"):
        evaluation_plots.saliency_grid(images, maps, ["a"])


def test_a_saliency_table_says_where_the_maps_lie() -> None:
    maps = [corner(), np.ones((8, 12)), np.zeros((8, 12))]
    lines = evaluation_plots.saliency_table(maps, ["in the\ncorner", "even", "none"]).splitlines()
    assert re.split(r"  +", lines[1]) == ["in the corner", "(0.06, 0.04)", "0%", "1%"]
    assert re.split(r"  +", lines[2]) == ["even", "(0.50, 0.50)", "25%", "100%"]
    assert lines[3].split() == ["none", "nowhere", "-", "-"]
    assert np.isnan(evaluation_plots.centre_of_mass(maps[2])).all()
    assert np.isnan(evaluation_plots.share_in_the_middle(maps[2]))


def test_accuracy_under_shift_has_a_panel_a_kind_and_bands_where_intervals_are_known() -> None:
    strengths = {"noise": [0, 10], "blur": [0, 1, 2]}
    curves = {
        "frozen": {"noise": np.array([[80.0, 78, 82], [60, 57, 63]]), "blur": np.full((3, 3), 50.0)},
        "fine-tuned": {"noise": np.array([85.0, 70]), "blur": np.array([85.0, 80, 75])},
    }
    noise, blur = evaluation_plots.accuracy_under_shift(strengths, curves).axes
    assert [line.get_ydata().tolist() for line in noise.lines] == [[80, 60], [85, 70]]
    assert len(noise.collections) == 1 and noise.collections[0].get_paths()[0].vertices[:, 1].max() == 82
    assert blur.get_xlabel() == "blur" and noise.get_ylabel() == "accuracy (%)"
    lines = evaluation_plots.accuracy_under_shift_table(strengths, curves).splitlines()
    assert re.split(r"  +", lines[2]) == ["noise", "10", "60.0 (57.0 to 63.0)", "70.0"]
    assert len(lines) == 1 + 2 + 3
