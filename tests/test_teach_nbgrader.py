"""The course folder for nbgrader: what is in it, and the points that nbgrader gives."""

import contextlib
import csv
import itertools
import os
import pathlib
import re
import sqlite3
import subprocess
import sys

import exercise_tools
import nbformat
import pytest

from finetune_lib import checks
from finetune_lib.exercises import lesson_00
from finetune_lib.teach import __main__ as teach
from finetune_lib.teach import assignments, nbgrader_course, nbgrader_tests

NOTEBOOKS = pathlib.Path(__file__).resolve().parents[1] / "notebooks"
HIDDEN = re.compile(r"(?ms)^### BEGIN HIDDEN TESTS\n.*?^### END HIDDEN TESTS$")
NAMES = [path.stem for path in sorted((NOTEBOOKS / "exercises").glob("*.ipynb"))]


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("wanted", ["04", "4", "lesson_04", "04_freeze_and_fit", " 04_freeze_and_fit.ipynb"])
def test_a_lesson_is_found_by_any_of_its_names(wanted):
    found = assignments.find(wanted, NOTEBOOKS)
    assert (found.lesson, found.name) == ("lesson_04", "04_freeze_and_fit")
    first, last = found.questions[0], found.questions[-1]
    assert (first.name, first.expression) == ("weights_of_two_heads", "learning")
    assert first.title == "1. Predict: how many weights learn?" and last.title == "Question 4"
    assert assignments.CHECK.search(first.source) and "SOLUTION" not in first.source


def test_what_cannot_be_found_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"no lesson '9' .* only 00_start_here, 01_"):
        assignments.find("9", NOTEBOOKS)
    with pytest.raises(FileNotFoundError, match=r"no solutions in .* Clone .* --notebooks FOLDER"):
        assignments.everything(tmp_path)
    solutions = tmp_path / "solutions"
    solutions.mkdir()
    (solutions / "03_data.ipynb").write_text("no JSON")
    with pytest.raises(ValueError, match=r"03_data\.ipynb is not a notebook"):
        assignments.find("3", tmp_path)
    (solutions / "03_data.ipynb").write_bytes((NOTEBOOKS / "solutions" / "03_data.ipynb").read_bytes())
    with pytest.raises(FileNotFoundError, match="need their exercises"):
        assignments.find("3", tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_an_assignment_has_every_task_once_and_its_given_code_locked(name):
    assignment = assignments.find(name, NOTEBOOKS)
    tasks = list(exercise_tools.solutions(assignment.solutions))
    assert [question.name for question in assignment.questions] == tasks
    assert all(question.title for question in assignment.questions)
    handed_out = {cell.id: cell.source for cell in assignment.exercises.cells}
    assert all(handed_out[question.cell_id] == question.source for question in assignment.questions)

    made = nbgrader_course.source(assignment)
    nbformat.validate(made)
    assert not any(cell.outputs or cell.execution_count for cell in code(made))
    marks = [cell.metadata.nbgrader for cell in code(made)]
    assert len({mark.grade_id for mark in marks}) == len(marks)
    assert all(re.fullmatch(r"\w+", mark.grade_id) and mark.schema_version == 3 for mark in marks)
    assert all(mark.solution + mark.locked == 1 for mark in marks)
    assert [mark.grade_id for mark in marks if mark.solution] == tasks
    graded = [mark for mark in marks if mark.grade]
    assert [mark.grade_id for mark in graded] == [f"{task}_check" for task in tasks]
    assert all(mark.points == 1 and mark.locked for mark in graded)
    # Each answer is followed by its check. Both together are the cell of the exercises.
    for answer, check in itertools.pairwise(code(made)):
        if answer.metadata.nbgrader.solution:
            assert check.metadata.nbgrader.grade_id == f"{answer.metadata.nbgrader.grade_id}_check"
            visible = HIDDEN.sub("", check.source).strip()
            together = f"{exercise_tools.stubbed(answer.source)}\n{visible}"
            assert re.sub(r"\n+", "\n", together) == re.sub(r"\n+", "\n", handed_out[answer.id])
            assert len(HIDDEN.findall(check.source)) == 2
    texts = "\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    assert "To hand in:" in texts and "colab-badge" not in texts and "These are the solutions" not in texts
    assert not nbgrader_course.RELATIVE_LINK.search(texts)


def test_links_lead_into_the_repository_from_anywhere():
    address = "https://colab.research.google.com/github/ada/course/blob/v1/notebooks/exercises/03_data.ipynb"
    text = (
        "[lesson](../03_data.ipynb), [words](../glossary.md#head), [there](#below), [paper](https://a.org/b)"
    )
    assert nbgrader_course.standing_alone(text, address) == (
        "[lesson](https://colab.research.google.com/github/ada/course/blob/v1/notebooks/03_data.ipynb), "
        "[words](https://github.com/ada/course/blob/v1/notebooks/glossary.md#head), [there](#below), "
        "[paper](https://a.org/b)"
    )


def make(folder, *options):
    """Call the command; returns its exit code."""
    return teach.main(["nbgrader", str(folder), "--notebooks", str(NOTEBOOKS), *options])


def test_a_course_folder_is_whole_and_the_same_each_time(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name in ("one course", "empty"):
        assert make(tmp_path / name) == 0
    said = capsys.readouterr().out
    assert "nbgrader autograde 00_start_here" in said and str(tmp_path / "one course") in said
    first, second = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "one course", tmp_path / "empty")
    )
    files = {"README.md", "nbgrader_config.py", str(pathlib.Path("jupyter/kernels/python3/kernel.json"))}
    assert set(first) == files | {str(pathlib.Path("source", name, f"{name}.ipynb")) for name in NAMES}
    assert {name for name in first if first[name] != second[name]} == {"README.md"}  # names its folder
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "one course"]


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path, capsys):
    gradebook = tmp_path / "course" / "gradebook.db"
    gradebook.parent.mkdir()
    gradebook.write_text("a term's work")
    (tmp_path / "file").touch()
    for name in ("course", "file", "file/course"):
        assert make(tmp_path / name) == 2
        said = capsys.readouterr()
        assert said.err.count("\n") == 1 and str(tmp_path / name) in said.err and not said.out
    assert make(tmp_path / "other", "--notebooks", str(tmp_path)) == 2
    assert "Clone the course's repository" in capsys.readouterr().err
    assert gradebook.read_text() == "a term's work"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["course", "file", "gradebook.db"]


def test_without_a_kernel_the_command_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(nbgrader_course.importlib.util, "find_spec", lambda name: None)
    assert make(tmp_path / "course") == 2
    assert "pip install ipykernel" in capsys.readouterr().err and not list(tmp_path.iterdir())


# Eight times the command would take half a minute; what the command calls, called eight times, some seconds.
GENERATE = """
import sys
from nbgrader.apps import NbGraderAPI
from traitlets.config.loader import PyFileConfigLoader

api = NbGraderAPI(config=PyFileConfigLoader("nbgrader_config.py").load_config())
for name in sys.argv[1:]:
    done = api.generate_assignment(name)
    assert done["success"], done
"""


def test_the_hidden_part_of_a_check_takes_its_verdict(monkeypatch):
    monkeypatch.setattr(checks.Task, "judge", checks.Task.judge)  # is put back after the test
    question = lesson_00.question_1
    for said, letter in (("Not attempted", "?"), ("Incorrect", "a"), (None, " B")):
        nbgrader_tests.listen(question)
        with pytest.raises(nbgrader_tests.NoPoint, match="was not checked"):
            nbgrader_tests.assert_correct(question)
        lesson_00.question_2.check("c")  # right, but another one
        question.check(letter)
        with pytest.raises(nbgrader_tests.NoPoint, match=said) if said else contextlib.nullcontext():
            nbgrader_tests.assert_correct(question)


class Course:
    """A course folder, and nbgrader in an environment that is not activated."""

    def __init__(self, folder, programs):
        self.folder, self.programs = folder, programs

    def call(self, program, *words):
        """Call nbgrader, or its Python; returns what it logs."""
        done = subprocess.run(
            [self.programs / program, *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    def released(self, name):
        return nbformat.read(self.folder / "release" / name / f"{name}.ipynb", as_version=4)

    def hand_in(self, student, name, notebook):
        path = self.folder / "submitted" / student / name / f"{name}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)

    def points(self, student, name):
        """What the gradebook says, by task."""
        query = """
            SELECT base_cell.name, grade.auto_score, grade.needs_manual_grade FROM grade
            JOIN base_cell ON base_cell.id = grade.cell_id
            JOIN submitted_notebook ON submitted_notebook.id = grade.notebook_id
            JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id
            JOIN notebook ON notebook.id = submitted_notebook.notebook_id
            WHERE submitted_assignment.student_id = ? AND notebook.name = ?"""
        with sqlite3.connect(self.folder / "gradebook.db") as gradebook:
            rows = gradebook.execute(query, (student, name)).fetchall()
        assert not any(by_hand for *_, by_hand in rows)
        return {cell.removesuffix("_check"): score for cell, score, _ in rows}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course folder with a newly installed nbgrader, or that of the environment that NBGRADER names."""
    folder = tmp_path_factory.mktemp("teach")
    environment = pathlib.Path(os.environ.get("NBGRADER") or folder / "nbgrader")
    if not (environment / "bin" / "nbgrader").exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        words = [environment / "bin" / "python", "-m", "pip", "install", "-q", "nbgrader"]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    assert make(folder / "a course") == 0
    made = Course(folder / "a course", environment / "bin")
    made.call("nbgrader", "generate_assignment", NAMES[0])
    made.call("python", "-c", GENERATE, *NAMES[1:])
    return made


@pytest.mark.own_environment
@pytest.mark.parametrize("name", NAMES)
def test_what_nbgrader_releases_is_the_exercises(course, name):
    assignment = assignments.find(name, NOTEBOOKS)
    released = code(course.released(name))
    text = "\n".join(cell.source for cell in released)
    assert not re.search(r"(BEGIN|END) (SOLUTION|HIDDEN)|nbgrader_tests", text)
    checked = re.findall(r"(?m)^exercise\.(\w+)\.check\(", text)
    assert checked == [question.name for question in assignment.questions]
    sources = {cell.id: cell.source for cell in released}
    for question in assignment.questions:
        handed_out = assignments.CHECK.sub("", question.source).rstrip()
        answer = sources[question.cell_id]
        # A form's field is the place to answer; the course puts no stub below it, nbgrader does.
        assert answer == handed_out or (
            "# @param" in handed_out and answer == f"{handed_out}\n{assignments.STUB}"
        )
    untouched = exercise_tools.untouched(joined(course.released(name)))
    assert untouched.keys() == {question.name for question in assignment.questions}


def joined(notebook):
    """Answers and checks in one cell again."""
    cells = code(notebook)
    for answer, check in itertools.pairwise(cells):
        if answer.metadata.nbgrader.solution:
            answer.source += f"\n{check.source}"
    notebook.cells = [cell for cell in cells if not cell.metadata.nbgrader.grade]
    return notebook


def solved(course, name):
    """The released notebook, with the course's solutions; and its code cells by name."""
    notebook = course.released(name)
    sources = {cell.id: cell.source for cell in assignments.find(name, NOTEBOOKS).solutions.cells}
    for cell in code(notebook):
        if cell.metadata.nbgrader.solution:
            answer = assignments.CHECK.sub("", sources[cell.id])
            cell.source = re.sub(r"(?m)^ *### (BEGIN|END) SOLUTION\n", "", answer)
    return notebook, {cell.metadata.nbgrader.grade_id: cell for cell in code(notebook)}


@pytest.mark.own_environment
def test_the_gradebook_has_the_points_that_the_answers_deserve(course):
    name = NAMES[0]
    tasks = [question.name for question in assignments.find(name, NOTEBOOKS).questions]
    expected = {"ada": dict.fromkeys(tasks, 1.0), "untouched": dict.fromkeys(tasks, 0.0)}
    course.hand_in("untouched", name, course.released(name))
    notebook, cells = solved(course, name)
    cells["steps_an_epoch"].source += "\nimport warnings\nwarnings.warn('a right answer may warn')"
    cells["steps_an_epoch_check"].source = "import sys\nprint('on stderr', file=sys.stderr)\n"
    course.hand_in("ada", name, notebook)

    notebook, cells = solved(course, name)
    cells[
        "steps_an_epoch"
    ].source = "def steps_an_epoch(images, batch_size):\n    return images // batch_size"
    cells["share_that_learns"].source = "def share_that_learns(model):\n    return ("
    cells["images_needed"].source = "def images_needed(accuracy, margin):\n    raise KeyError('mine')"
    cells["images_needed_check"].source = "print('all is well')"
    cells["question_2"].source = cells["question_2"].source.replace('answer = "', 'answer = "not ')
    del cells["question_3"].metadata["nbgrader"]  # as some editors do; the answer counts all the same
    notebook.cells.remove(cells["honest_report_check"])
    course.hand_in("half", name, notebook)
    right = ("five_steps", "honest_report", "question_1", "question_3")
    expected["half"] = {task: float(task in right) for task in tasks}

    notebook, cells = solved(course, name)
    for cell in ("given_" + notebook.cells[1].id, "honest_report", "honest_report_check", "question_2"):
        notebook.cells.remove(cells[cell])
    cells["images_needed_check"].metadata["nbgrader"]["points"] = 100
    course.hand_in("holes", name, notebook)
    expected["holes"] = {task: float(task not in ("honest_report", "question_2")) for task in tasks}

    course.call("nbgrader", "autograde", name)
    assert {student: course.points(student, name) for student in expected} == expected
    course.call("nbgrader", "generate_feedback", name)
    page = (course.folder / "feedback" / "half" / name / f"{name}.html").read_text(encoding="utf-8")
    assert "the last batch" in page.lower() and "(Score: 4.0 / 8.0)" in page
    course.call("nbgrader", "export")
    with (course.folder / "grades.csv").open() as opened:
        rows = {row["student_id"]: row for row in csv.DictReader(opened) if row["assignment"] == name}
    assert {student: float(row["score"]) for student, row in rows.items()} == {
        student: sum(points.values()) for student, points in expected.items()
    }
    assert {float(row["max_score"]) for row in rows.values()} == {8.0}
