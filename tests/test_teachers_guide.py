"""The teacher's guide says what is so: cells, minutes, commands, and its worked example.

That its links lead somewhere is shown by test_published_files.py.
"""

import functools
import importlib.util
import pathlib
import re
import shutil
import subprocess
import types

import exercise_tools
import nbformat
import notebook_rules
import notebook_tools
import pytest

from finetune_lib import checks
from finetune_lib.teach import __main__ as teach

ROOT = notebook_tools.ROOT
GUIDE = ROOT / "notebooks" / "teachers"
PAGES = sorted(GUIDE.glob("*.md"))
LESSONS = [path for path in notebook_tools.sources() if path.parent == ROOT / "notebooks"]
SOLUTIONS = [path for path in notebook_tools.sources() if exercise_tools.is_solutions(path)]
CELL = re.compile(r"(?m)^ +- \*Cell:\* \[(.+)\]\(\.\./(\w+)\.ipynb\): `(.+)`$")
EXAMPLE = re.compile(r"(?ms)^<!-- file: (\S+) -->\n```python\n(.*?)^```")


read = functools.cache(notebook_tools.read)


def text_of(page: str) -> str:
    return (GUIDE / page).read_text(encoding="utf-8")


def prose(text: str) -> str:
    """Markdown without fenced blocks."""
    return re.sub(r"(?ms)^ *```.*?^ *```", "", text)


def part(lesson: pathlib.Path) -> str:
    """What lessons.md says of a lesson."""
    number = lesson.name.split("_")[0]
    parts = re.split(rf"(?m)^## {number} .*\n", text_of("lessons.md"))
    assert len(parts) == 2, f"notebooks/teachers/lessons.md has no section '## {number} ...'"
    return parts[1].split("\n## ")[0]


def headings_and_cells(lesson: pathlib.Path) -> list[tuple[str, str]]:
    """Of the cells of code that show something: the heading above, and the first line."""
    heading, found = "", []
    for cell in nbformat.read(lesson.with_suffix(".ipynb"), as_version=4).cells:
        if cell.cell_type == "code" and cell.outputs:
            found.append((heading, cell.source.strip().splitlines()[0]))
        elif cell.cell_type == "markdown" and (titles := re.findall(r"(?m)^#+ (.+)", prose(cell.source))):
            heading = titles[-1]
    return found


def headings(lesson: pathlib.Path) -> set[str]:
    texts = [cell.source for cell in read(lesson).cells if cell.cell_type == "markdown"]
    return {title for text in texts for title in re.findall(r"(?m)^#+ (.+)", prose(text))}


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_lesson_has_objectives_plans_of_90_minutes_and_misconceptions(lesson):
    text = part(lesson)
    objectives = text.split("**Objectives.**")[1].split("\n| minutes")[0]
    assert len(re.findall(r"(?m)^- ", objectives)) >= 3
    plans = re.findall(r"\| minutes \| part \| what you do \|\n\|---:\|---\|---\|\n((?:\|.*\n)+)", text)
    assert plans
    known = {title.split(".")[0] for title in headings(lesson)}
    for plan in plans:
        assert sum(int(minutes) for minutes in re.findall(r"(?m)^\| (\d+) \|", plan)) == 90, plan
        named = re.findall(r"(?m)^\| \d+ \| Sections? (\d+)(?: and (\d+))? \|", plan)
        assert {number for pair in named for number in pair if number} <= known, plan
    misconceptions = re.findall(r"(?m)^\d\. \*\*\"", text)
    assert len(misconceptions) >= 3
    for label in ("*Why one thinks so:*", "*Cell:*", "*Ask first:*", "*It shows:*"):
        assert text.count(f"   - {label}") == len(misconceptions), label


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_the_cells_of_the_misconceptions_stand_in_the_lesson(lesson):
    cells, text = headings_and_cells(lesson), part(lesson)
    quoted = CELL.findall(text)
    assert len(quoted) == text.count("*Cell:*")
    for heading, notebook, line in quoted:
        assert notebook == lesson.stem
        assert cells.count((heading, line)) == 1, f"{heading}: {line}"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_what_may_be_left_out_is_there(lesson):
    titles = {title.rstrip(":") for title in headings(lesson)} | {
        title.split(". ")[-1] for title in headings(lesson)
    }
    (line,) = re.findall(r"(?m)^- \*\*Short of time:\*\* .*", part(lesson))
    for name in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", line):
        assert name in titles, name
    (exercises,) = re.findall(r"(?m)^- \*\*Exercises:\*\* .*", part(lesson))
    (solutions,) = [path for path in SOLUTIONS if path.name[:2] == lesson.name[:2]]
    tasks = re.findall(r"(?m)^# ## (\d)\. ", solutions.read_text(encoding="utf-8"))
    assert set(re.findall(r"\d", re.sub(r"section \d", "", exercises))) <= set(tasks), exercises


def test_the_times_are_those_of_the_lessons():
    rows = re.findall(r"(?m)^\| \[(\w+) .*\]\(#.*\) \| (\d+) min \| .* \| (\d+) min", text_of("lessons.md"))
    assert [row[0] for row in rows] == [lesson.name.split("_")[0] for lesson in LESSONS]
    stated: dict[str, int] = {}
    for number, reading, exercises in rows:
        (lesson,) = [path for path in LESSONS if path.name.startswith(f"{number}_")]
        first = read(lesson).cells[0].source
        assert re.findall(r"\*\*Time:\*\* about (\d+) minutes", first) == [reading], number
        stated[number[:2]] = stated.get(number[:2], 0) + int(exercises)
    for path in SOLUTIONS:
        first = read(path).cells[0].source
        assert re.findall(r"takes? about (\d+) minutes", first) == [str(stated[path.name[:2]])], path


def test_both_plans_have_every_lesson():
    anchors_of_lessons = set(re.findall(r"\]\(#(\d\d\w?-[\w-]+)\)", text_of("lessons.md")))
    assert len(anchors_of_lessons) == len(LESSONS)
    guide = text_of("README.md")
    two_days = guide.split("## Two days")[1].split("\n## ")[0]
    ten_weeks = guide.split("## Ten weeks")[1].split("\n## ")[0]
    for plan in (two_days, ten_weeks):
        assert set(re.findall(r"lessons\.md#([\w-]+)", plan)) == anchors_of_lessons
    assert re.findall(r"(?m)^\| (\d+) \| \[", ten_weeks) == [str(week) for week in range(1, 11)]
    assert sum(map(int, re.findall(r"(?m)^\| (\d+), ", ten_weeks))) == 20, "points of the project"
    assert (
        sum(map(int, re.findall(r"(\d+)%[;.]", ten_weeks.split("for the mark:**")[1].split("[Why")[0])))
        == 100
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    text = page.read_text(encoding="utf-8")
    shells = re.findall(r"(?ms)^ *```sh\n(.*?)^ *```", text)
    for block in shells:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)
    joined = text.replace("\\\n", " ")
    called = re.findall(r"python -m finetune_lib\.teach ([^`\n]+)", joined)
    for command in called:
        teach.parse(command.split())  # exits, and so fails, where an option is unknown
    assert called or page.name != "grading.md"
    tools = (ROOT / "tests" / "notebook_tools.py").read_text(encoding="utf-8")
    (known,) = re.findall(r'add_argument\("command", choices=\[(.*)\]\)', tools)
    for command in re.findall(r"tests/notebook_tools\.py ([\w-]+)", text):
        assert f'"{command}"' in known, command
    for name in re.findall(r"nbgrader (?:generate_assignment|autograde|generate_feedback) (\w+)", text):
        assert name in {path.stem for path in SOLUTIONS}
    assert notebook_tools.project().slug not in text, "point-to renames nothing here, and need not"


def load(name: str, path: pathlib.Path) -> types.ModuleType:
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def clone(tmp_path):
    """A clone with the files of the worked example, and a function that writes one of them."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for linked in ("03_data", "05_fine_tune"):
        (tmp_path / "notebooks").mkdir(exist_ok=True)
        shutil.copy(ROOT / "notebooks" / f"{linked}.ipynb", tmp_path / "notebooks")
    files = dict(EXAMPLE.findall(text_of("adding_a_lesson.md")))
    assert len(files) == 4

    def write(name: str) -> pathlib.Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[name], encoding="utf-8")
        return path

    return write


def test_the_lesson_of_the_example_can_be_built_and_keeps_the_rules(clone, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "build")  # building sets it
    source = clone("notebooks/09_which_augmentation.py")
    assert notebook_tools.build(["09"], tmp_path) == 0
    solutions = clone("notebooks/solutions/09_which_augmentation.py")
    project = notebook_tools.project(tmp_path)
    exercises = notebook_tools.exercises(solutions, project)
    notebook_tools.write(exercises, exercise_tools.exercises_of(solutions))
    lesson = notebook_rules.read(source.with_suffix(".ipynb"), project)
    for rule in notebook_rules.RULES:
        assert not list(rule(lesson)), rule.__name__
    printed = "".join(output.get("text", "") for cell in lesson.code for output in cell.outputs)
    assert printed.count(": True") == 2
    # A build renews what the placeholders stand for, and nothing else.
    built = notebook_tools.read(source).cells
    assert [cell.source for cell in built] == [cell.source for cell in lesson.notebook.cells]


def test_the_task_of_the_example_tells_right_from_wrong(clone):
    tasks = load("finetune_lib.exercises.lesson_09", clone("finetune_lib/exercises/lesson_09.py"))
    answers = load("exercise_answers.lesson_09", clone("tests/exercise_answers/lesson_09.py")).ANSWERS
    solved = notebook_tools.read(clone("notebooks/solutions/09_which_augmentation.py"))
    (right, wrong), task = answers["shift_right"], tasks.shift_right
    assert task.judge(right()).verdict == checks.CORRECT
    outcomes = [task.judge(answer()) for answer in wrong.values()]
    assert {outcome.verdict for outcome in outcomes} == {checks.INCORRECT}
    assert len({outcome.message for outcome in outcomes}) == len(outcomes) >= 3
    names: dict[str, object] = {}
    exec("import numpy as np\n" + exercise_tools.solutions(solved)["shift_right"], names)
    assert task.judge(names["shift_right"]).verdict == checks.CORRECT
    derived = exercise_tools.derive(solved, ("", ""))
    untouched = exercise_tools.untouched(nbformat.from_dict(derived))
    assert task.judge(untouched["shift_right"]).verdict == checks.NOT_ATTEMPTED
