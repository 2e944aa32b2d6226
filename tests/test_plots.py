"""Figures say what their tables say."""

import re

import numpy as np
import pytest

from finetune_lib import evaluation, fitting, plots


def a_report(label: str, epochs: int, validated: list[int]) -> fitting.FitReport:
    falling = [1 / epoch for epoch in range(1, epochs + 1)]
    history = {
        "loss": falling,
        "accuracy": [1 - loss / 2 for loss in falling],
        "val_loss": [falling[epoch - 1] + 0.1 for epoch in validated],
        "val_accuracy": [0.9 - falling[epoch - 1] / 2 for epoch in validated],
    }
    return fitting.FitReport(
        label, history, epochs, validated, 1.0, 10, 20, "cross-entropy", {}, "all", True, epochs
    )


def test_learning_curves_put_stages_one_after_the_other() -> None:
    reports = [a_report("frozen", 30, [10, 20, 30]), a_report("fine-tuned", 2, [1, 2])]
    loss, accuracy = plots.learning_curves(reports).axes
    places = [list(line.get_xdata()) for line in loss.get_lines()]
    assert places[0] == list(range(1, 31)) and places[1] == places[2] == [10, 20, 30]
    assert plots.training_means(reports[0], "loss")[1] == pytest.approx(
        np.mean([1 / e for e in range(11, 21)])
    )
    assert [31, 32] in places and [30.5, 30.5] in places  # the second stage, and the boundary between them
    assert {text.get_text() for text in accuracy.texts} == {"frozen", "fine-tuned"}
    lines = plots.learning_curves_table(reports).splitlines()
    assert lines[1].split() == ["frozen", "10", "0.293", "0.854", "0.200", "0.850"]
    assert len(lines) == 1 + 3 + 2


def test_confusions_are_counted_by_true_class() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 1, 1, 1, 0, 2])
    result = evaluation.Evaluation(
        "test", ("ant", "bee", "cow"), labels, np.eye(3, dtype="float32")[predicted]
    )
    (axes,) = plots.confusion_matrix(result).axes
    assert {(t.get_position(), t.get_text()) for t in axes.texts} >= {
        ((1, 0), "2"),
        ((0, 1), "1"),
        ((0, 0), "1"),
    }
    table = plots.confusion_table(result).splitlines()
    assert table[1].split() == ["ant", "bee", "2", "of", "3"] and len(table) == 3


def test_a_shown_figure_carries_words(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(
        plots.IPython.display, "display", lambda *args, **options: shown.append((args, options))
    )
    plots.show(plots.image_grid(np.zeros((3, 8, 8, 3)), ["a", "b", "c"], columns=2), "Three black squares.")
    (bundle,), options = shown[0]
    assert bundle["image/png"].startswith(b"\x89PNG") and bundle["text/plain"] == "Three black squares."
    assert options["metadata"] == {"image/png": {"alt": "Three black squares."}}


def test_columns_line_up() -> None:
    assert plots.table(["name", "n"], [["a", "10"], ["long", "2"]]) == "name   n\na     10\nlong   2"


def test_bars_stand_beside_their_names_with_their_values() -> None:
    (axes,) = plots.bars(["read", "decode"], {"before": [50, 1234.5], "after": [0.25, 99]}, "speed").axes
    assert [text.get_text() for text in axes.texts] == ["50", "1,234", "0.25", "99"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["read", "decode"]
    before, after = ([bar.get_y() for bar in bars] for bars in axes.containers)
    assert before[0] < after[0] < before[1] < after[1] and axes.yaxis_inverted()  # the first one on top


def test_a_confusion_matrix_of_many_classes_still_fits_on_a_page() -> None:
    labels = np.arange(102)
    names = tuple(f"flower {number}" for number in labels)
    result = evaluation.Evaluation("test", names, labels, np.eye(102, dtype="float32"))
    figure = plots.confusion_matrix(result)
    assert max(figure.get_size_inches()) <= 16 and not figure.axes[0].texts


def test_a_path_lies_on_its_contours_and_what_diverges_is_cut_off() -> None:
    def loss(points: np.ndarray) -> np.ndarray:
        return (points**2).sum(axis=-1) + 1

    paths = {
        "there": np.array([[2.0, 1.0], [1.0, 0.5], [0, 0]]),
        "away": np.array([[1.0, 1], [9, 9], [np.inf] * 2]),
    }
    (axes,) = plots.contours(loss, paths, np.zeros(2), ("contrast", "brightness")).axes
    assert axes.get_xlim() == axes.get_ylim() == (-2.5, 2.5)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("contrast", "brightness")
    assert axes.get_lines()[0].get_ydata() == pytest.approx([1, 0.5, 0])
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"there", "away"}
    lines = [re.split(r"  +", line) for line in plots.contours_table(loss, paths, np.zeros(2)).splitlines()]
    assert lines[1:4] == [
        ["there", "0", "(2, 1)", "2.24", "6"],
        ["there", "1", "(1, 0.5)", "1.12", "2.25"],
        ["there", "2", "(0, 0)", "0", "1"],
    ]
    assert lines[-1] == ["away", "2", "(inf, inf)", "inf", "inf"]


def test_loss_curves_have_prediction_and_envelope_in_their_colour() -> None:
    curves = {"slow": 0.9 ** np.arange(33), "fast": 0.5 ** np.arange(33)}
    envelopes = {"fast": 2 * curves["fast"]}
    (axes,) = plots.loss_curves(curves, curves, envelopes).axes
    slow, slow_dots, fast, fast_dots, dashed = axes.get_lines()
    assert slow.get_color() == slow_dots.get_color() != fast.get_color() == dashed.get_color()
    assert list(fast_dots.get_xdata()) == list(range(0, 33, 2)) and axes.get_yscale() == "log"
    assert fast_dots.get_ydata() == pytest.approx(0.25 ** np.arange(17))
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == ["slow", "fast", "predicted", "envelope"]
    lines = plots.loss_curves_table(curves, curves, envelopes).splitlines()
    assert lines[0].split() == ["loss", "at", "step", "0", "1", "2", "5", "10", "20", "32"]
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "slow, measured",
        "slow, predicted",
        "fast, measured",
        "fast, predicted",
        "fast, envelope",
    ]
    assert lines[3].split()[2:5] == ["1", "0.5", "0.25"]
