"""README.md says what is so: its example runs, its tables are what was measured; README.zh-CN.md agrees."""

import csv
import pathlib
import re
import sys

import notebook_tools
import PIL.Image
import pytest

from finetune_lib import comparison

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
PICTURES = {"course_in_pictures": 11, "descent": 3}  # and how many numbers their alternative texts hold


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


def blocks(text: str) -> list[str]:
    return re.findall(r"(?ms)^```.*?^```$", text)


def rows(mark: str) -> list[list[str]]:
    """The lines of a measured table, a cell wherever there are two spaces."""
    (table,) = re.findall(rf"(?ms)^<!-- {mark} -->\n```\n(.*?)\n```", README)
    return [re.split(r"  +", line.strip()) for line in table.splitlines()]


def test_code_in_chinese_is_word_for_word_the_same() -> None:
    assert not set(blocks(CHINESE)) - set(blocks(README))
    shown = [block for block in blocks(README) if re.match("```(sh|python|text)", block)]
    assert [block for block in blocks(CHINESE) if re.match("```(sh|python|text)", block)] == shown


def test_the_chinese_results_are_those_of_the_tables() -> None:
    transfer = {
        (cells[0], place // 11): cells[1] for place, cells in enumerate(rows("measured")) if cells[1:]
    }
    three = ("from scratch", "glyphs, frozen", "glyphs, block 4 tuned")
    few = [transfer[name, 0] for name in (*three, "textures, frozen")]
    boundary = rows("boundary")
    faster = [cells[6] for cells in boundary if cells[1:4] == ["stored", "160", "10"]]
    recipes = [cells[2] for cells in rows("recipes") if cells[1:] and cells[1].endswith("%")]
    few_and_many = [*few, *(transfer[name, 1] for name in three)]
    section = re.search(r"(?ms)^## 主要结果$(.*?)^## ", CHINESE)[1]
    found = re.findall(r"[\d.]+%|[\d.]+(?= 倍)", section)
    assert len(faster) == 2 and len(recipes) == 9
    assert found == [*few_and_many, *faster, *recipes]


def test_both_pages_have_the_same_badges_pictures_and_lessons() -> None:
    def targets(text: str) -> list[str]:
        inside = re.findall(
            r"\]\((https://(?:colab|img|github)[^)]*|notebooks/\d[^)]*|notebooks/ex[^)]*)\)", text
        )
        return sorted(target for target in inside if not target.endswith("/issues"))

    assert targets(README) == targets(CHINESE)


def test_badges_and_citation_agree_with_the_project() -> None:
    project = notebook_tools.project()
    assert 'requires-python = ">=3.11,<3.14"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "Python-3.11_to_3.13-" in README
    assert f"version = {{{project.version}}}" in README
    verified = re.search(r"(?m)^\| ([\w-]+) \|[^|]*\| a Colab GPU", README)[1]
    assert ("GPU-not_yet-" in README) == (verified == "never")
    fork = notebook_tools.Project(ROOT, "https://github.com/ann/her.course", "1.2.3")
    for text in (README, CHINESE):
        assert project.slug.split("/")[0] not in notebook_tools.rename(text, fork, project.slug)


def test_the_map_names_modules_that_are_there() -> None:
    for text in (README, CHINESE):
        table = re.findall(r"(?m)^\|[^|]*\| → \| (.*) \|$", text)
        named = [name for line in table for name in re.findall(r"`(\w+)`", line)]
        assert len(table) == 11 and len(named) > 30
        for name in named:
            assert (ROOT / "finetune_lib" / f"{name}.py").exists() or (ROOT / "finetune_lib" / name).is_dir()


@pytest.mark.parametrize("name", PICTURES)
def test_the_alternative_text_of_a_picture_is_what_it_says(name: str) -> None:
    path = ROOT / "tests" / "benchmarks" / f"{name}.png"
    with PIL.Image.open(path) as picture:
        assert picture.width >= 1800
        said = re.findall(r"\d[\d.]*\d|\d{2,}", picture.text["Description"])
    assert path.stat().st_size < 300_000
    for text in (README, CHINESE):
        (words,) = re.findall(rf"!\[([^]]{{100,}})\]\(tests/benchmarks/{name}.png\)", text)
        numbers = re.findall(r"\d[\d.]*\d|\d{2,}", words)
        assert len(numbers) == PICTURES[name] and set(numbers) <= set(said)


def test_the_pictures_are_made_of_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    import course_in_pictures

    measured = course_in_pictures.accuracies()
    table = {cells[0]: cells[1] for cells in rows("measured")[3:11]}
    assert {method: f"{values.mean():.1%}" for method, values in measured.items()} == table
    hardly = comparison.Recipe(steps=4, learning_rate=1e-3)
    figure, words = course_in_pictures.draw(course_in_pictures.fine_tune(hardly, hardly))
    course_in_pictures.save([figure], words, tmp_path / "picture.png")
    assert words.count("\n") == 5 and "wrong: it is" in words
    figures, words = course_in_pictures.draw_descent()
    course_in_pictures.save(figures, words, tmp_path / "descent.png")
    with PIL.Image.open(ROOT / "tests" / "benchmarks" / "descent.png") as picture:
        assert picture.text["Description"].split(";")[0] == words.split(";")[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["descent.png", "picture.png"]
    sys.modules.pop("course_in_pictures")
