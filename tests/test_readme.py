"""README.md says what is so: its example runs, and its table is what was measured."""

import csv
import pathlib
import re
import sys

import pytest

from finetune_lib import comparison

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_examples_run(
    capsys: pytest.CaptureFixture, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    by_stage, whole_way, deployed = re.findall(r"(?ms)^```python\n(.*?)^```", README)
    assert by_stage.count("epochs=") == 2 and whole_way.count("checkpoint=") == 1
    names: dict[str, object] = {}
    exec(re.sub(r"epochs=\d+", "epochs=10", by_stage), names)
    printed = capsys.readouterr().out
    assert "1 of 9 layers moved" in printed and "5 of 9 layers moved" in printed
    assert "test accuracy" in printed
    exec(whole_way.replace("checkpoint=", "head_steps=20, steps=4, checkpoint="), names)
    exec(whole_way.replace("checkpoint=", "head_steps=20, steps=4, checkpoint="), names)
    printed = capsys.readouterr().out
    assert printed.count("9 of 9 layers moved") == 2
    assert printed.count("2 epochs were done by an earlier run") == 1
    exec(deployed, names)
    assert f"{tmp_path}/served/digits:/models/digits:ro" in capsys.readouterr().out
    assert (
        pathlib.Path("served/digits/1/saved_model.pb").exists()
        and pathlib.Path("function/handler.py").exists()
    )


def test_the_table_is_what_was_measured_with_todays_recipes(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    import digits_transfer

    digits_transfer.report(ROOT / "tests" / "benchmarks" / "measure.csv")
    printed = capsys.readouterr().out.strip()
    (table,) = re.findall(r"(?ms)^<!-- measured -->\n```\n(.*?)\n```", README)
    assert table == printed
    recorded = (ROOT / "tests" / "benchmarks" / "measure.csv").read_text(encoding="utf-8")
    for recipe in (comparison.SCRATCH, comparison.HEAD, comparison.FINE_TUNE):
        assert str(recipe) in recorded
    sys.modules.pop("digits_transfer")


def test_the_gain_is_what_was_measured(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    import freeze_boundary

    monkeypatch.setattr(freeze_boundary, "FIGURE", tmp_path / "figure.png")
    freeze_boundary.report()
    (table,) = re.findall(r"(?ms)^<!-- boundary -->\n```\n(.*?)\n```", README)
    assert table == capsys.readouterr().out.strip("\n")
    sys.modules.pop("freeze_boundary")


def test_the_table_of_recipes_is_what_was_measured_with_todays_defaults(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    import recipes

    recipes.report()
    (table,) = re.findall(r"(?ms)^<!-- recipes -->\n```\n(.*?)\n```", README)
    assert table == capsys.readouterr().out.strip("\n")
    assert table.count("\nours ") == 2, "with other defaults of fine_tune the table is to be measured anew"
    sys.modules.pop("recipes")


def test_what_longer_training_from_scratch_brings_is_what_was_found() -> None:
    with (ROOT / "tests" / "benchmarks" / "search.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    def mean(method: str, steps: int) -> str:
        found = [
            float(row["validation_accuracy"])
            for row in rows
            if (row["method"], row["steps"], row["learning_rate_or_C"]) == (method, str(steps), "0.001")
        ]
        return f"{sum(found) / len(found):.1%}"

    short, long = mean("from scratch", 2400), mean("from scratch", 4800)
    assert f"from scratch rose from {short} with 2,400 steps to {long} with 4,800" in README
    assert f"({mean('glyphs, frozen', 600)} with 600)" in README


def test_links_inside_the_project_resolve() -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", README):
        if not re.match(r"[a-z]+:", target):
            assert (ROOT / target).exists(), target
