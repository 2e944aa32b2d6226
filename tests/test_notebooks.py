"""The notebooks are what their sources say, and the gate that compares their outputs can fail."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import exercise_tools
import nbformat
import notebook_tools
import pytest

ROOT = notebook_tools.ROOT
SOURCES = notebook_tools.sources()


def test_every_notebook_has_its_source():
    notebooks = {
        path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
    }
    exercises = {exercise_tools.exercises_of(path) for path in SOURCES if exercise_tools.is_solutions(path)}
    assert notebooks == exercises | {path.with_suffix(".ipynb") for path in SOURCES}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.relative_to(ROOT / "notebooks").as_posix())
def test_regenerating_into_an_empty_folder_gives_the_same_inputs(source, tmp_path):
    pairs = {source.with_suffix(".ipynb"): notebook_tools.read(source)}
    if exercise_tools.is_solutions(source):
        of = notebook_tools.project()
        pairs[exercise_tools.exercises_of(source)] = notebook_tools.exercises(source, of)
        solutions = ROOT / "finetune_lib" / "exercises" / f"{exercise_tools.lesson(source)}.json"
        assert json.loads(solutions.read_text()) == exercise_tools.for_the_library(
            notebook_tools.read(source)
        )
    for path, new in pairs.items():
        committed = notebook_tools.inputs(nbformat.read(path, as_version=4))
        notebook_tools.write(new, tmp_path / "new.ipynb")
        notebook_tools.write(committed, tmp_path / "committed.ipynb")
        assert (tmp_path / "new.ipynb").read_text() == (tmp_path / "committed.ipynb").read_text(), (
            f"run: python tests/notebook_tools.py build {source.stem}"
        )


@pytest.fixture
def course(tmp_path):
    """A copy of the project's gate, with no lesson in it yet; its name is as awkward as a user's."""
    root = tmp_path / "a course 课程"
    for name in ["pyproject.toml", "conftest.py"]:
        (root / "notebooks").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root)
    (root / "tests").mkdir()
    for name in ["notebook_tools.py", "exercise_tools.py", "notebook_rules.py", "nbval_sanitize.cfg"]:
        shutil.copy(ROOT / "tests" / name, root / "tests")
    return root


def run(root, *command):
    """Run a command as in a terminal: without what the pytest around it put into the environment."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))
    }
    return subprocess.run(
        [sys.executable, *command], cwd=root, env=environment, capture_output=True, text=True, timeout=300
    )


def cell(source, stored="", stream="stdout", count=1):
    """A code cell with what is stored under it."""
    outputs = [nbformat.v4.new_output("stream", name=stream, text=stored)] if stored else []
    return nbformat.v4.new_code_cell(source, outputs=outputs, execution_count=count)


def widget(source, stored):
    """A code cell that shows a widget."""
    result = nbformat.v4.new_output("execute_result", {"text/plain": stored}, execution_count=1)
    return nbformat.v4.new_code_cell(source, outputs=[result], execution_count=1)


def figure_of_the_solution(source, stored):
    """A code cell of exercises: it shows no figure as long as the task is untouched, but one is stored."""
    made = cell(source, stored)
    picture = {"image/png": "AAAA", "text/plain": "a rising line"}
    solution = nbformat.v4.new_output(
        "display_data", picture, metadata={"image/png": {"alt": "a rising line"}}
    )
    made.id = "hint"
    solved = nbformat.v4.new_code_cell(outputs=[solution], id=made.id)
    exercise_tools.keep_figures(*(nbformat.v4.new_notebook(cells=[one]) for one in (made, solved)))
    return made


def test_the_gate_can_fail(course):
    notebooks = {
        "right": [
            cell("print(1)", "1\n"),
            cell("import sys; print('of this machine', file=sys.stderr)", "of another machine\n", "stderr"),
            widget("import ipywidgets; ipywidgets.FileUpload()", "FileUpload(value=0, other='attributes')"),
            cell("print(sys.stdout)", "<ipykernel.iostream.OutStream object at 0x7fffffffffff>\n"),
            figure_of_the_solution("print(1)", "1\n"),
        ],
        "wrong": [
            cell("print(1)", "2\n"),
            cell("print(1)"),  # its output is missing
            cell("1 / 0"),
            cell("print(1)", count=None),  # not compared: this is why the rule cells_are_run exists
        ],
    }
    for name, cells in notebooks.items():
        nbformat.write(nbformat.v4.new_notebook(cells=cells), course / "notebooks" / f"{name}.ipynb")
    result = run(course / "notebooks", "-m", "pytest", "-rA", "--color=no")  # from any folder
    outcomes = set(re.findall(r"(?m)^(PASSED|FAILED) (?:\S*/)?(\w+)\.ipynb::Cell (\d)", result.stdout))
    passed = {("PASSED", "right", str(number)) for number in range(5)} | {("PASSED", "wrong", "3")}
    failed = {("FAILED", "wrong", str(number)) for number in range(3)}
    assert outcomes == passed | failed, result.stdout
    assert result.returncode == 1


LESSON = """\
# %% [markdown]
# # A lesson
# [![Open in Colab](old)](old)

# %%
import sys, ipywidgets
print("progress", file=sys.stderr)
for step in range(3):
    print("step", step, end="\\r")
ipywidgets.IntSlider(3)

# %%
ipywidgets.IntSlider(3)
"""


def test_building_is_repeatable_and_a_failure_leaves_the_old_notebook(course):
    source = course / "notebooks" / "00_lesson.py"
    source.write_text(LESSON)
    build = ("tests/notebook_tools.py", "build", "00")
    first = run(course, *build)
    assert first.returncode == 0, first.stderr
    built = source.with_suffix(".ipynb")
    once = built.read_text()
    assert run(course, *build).returncode == 0
    assert built.read_text() == once
    assert "notebooks/00_lesson.ipynb" in source.read_text()  # the badge
    notebook = nbformat.read(built, as_version=4)
    assert [c.execution_count for c in notebook.cells if c.cell_type == "code"] == [1, 2]
    assert not [
        word for word in ("progress\n", "widget-view", "widget-state", "iopub", "step 0") if word in once
    ]
    assert notebook.cells[2].outputs[0].data["text/plain"].startswith("IntSlider(")
    assert run(course, "-m", "pytest").returncode == 0

    source.write_text(LESSON + "\n# %%\n1 / 0\n")
    result = run(course, *build)
    assert result.returncode == 1
    assert "00_lesson.ipynb: cell 3 failed" in result.stderr and "ZeroDivisionError" in result.stderr
    assert built.read_text() == once
    assert {path.name for path in built.parent.iterdir()} == {"00_lesson.py", "00_lesson.ipynb"}


def test_an_edit_changes_only_its_own_cell_id(tmp_path):
    source = tmp_path / "lesson.py"
    source.write_text(LESSON)
    before = [c.id for c in notebook_tools.read(source).cells]
    source.write_text(LESSON.replace("# # A lesson", "# # Another lesson"))
    after = [c.id for c in notebook_tools.read(source).cells]
    assert before[0] != after[0] and before[1:] == after[1:] and len(set(before)) == 3


def test_one_command_points_everything_at_a_fork(tmp_path):
    old = notebook_tools.project()
    for name in ["pyproject.toml", "notebooks"]:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    readme = f"[lessons]({old.repository}/tree/v{old.version}/notebooks)\n"
    (tmp_path / "README.md").write_text(readme)
    notebook_tools.point_to("ann/her.course", tmp_path)
    forked = notebook_tools.project(tmp_path)
    assert (forked.slug, forked.version) == ("ann/her.course", old.version)
    assert (tmp_path / "README.md").read_text() == readme.replace(old.slug, forked.slug)
    for source in notebook_tools.sources(tmp_path):
        text, path = source.read_text(), source.with_suffix(".ipynb")
        assert old.slug not in text + path.read_text()
        was = nbformat.read(ROOT / path.relative_to(tmp_path), as_version=4)
        now = nbformat.read(path, as_version=4)
        assert notebook_tools.inputs(now) == notebook_tools.read(source)
        outputs = [str([c.get("outputs") for c in cells]) for cells in (was.cells, now.cells)]
        assert outputs[0].replace(old.slug, forked.slug) == outputs[1]
    assert notebook_tools.sources(tmp_path), "there are notebooks to rewrite"
    with pytest.raises(ValueError, match="OWNER/NAME"):
        notebook_tools.point_to("https://example.org/ann/course", tmp_path)


def test_a_new_version_renews_the_tags():
    new = notebook_tools.Project(pathlib.Path("/"), "https://github.com/ann/course", "1.2.3")
    text = "github.com/ann/course/blob/v0.1.0/x.md, github.com/bob/course/blob/v0.1.0/x.md"
    assert notebook_tools.rename(text, new, "ann/course") == text.replace("v0.1.0", "v1.2.3", 1)
