"""An assignment: what a lesson's notebook of solutions says about its tasks.

Between nbgrader's markers, `### BEGIN SOLUTION` and `### END SOLUTION`, stands what learners are to find.
Each task's cell ends in its check.
"""

import dataclasses
import pathlib
import re

import nbformat

STUB = "# your code here"
REGION = re.compile(r"(?m)^( *)### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION(?:\n|\Z)", re.DOTALL)
CHECK = re.compile(r"(?m)^exercise\.(\w+)\.check\((.*)\)\s*\Z", re.DOTALL)
SOLUTIONS_ONLY = "solutions-only"  # the tag of a cell that the exercises do not have
CLONE = (
    "The solutions are not part of the installed library. Clone the course's repository, and call this in "
    "its folder, or name its folder of notebooks: --notebooks FOLDER"
)


@dataclasses.dataclass(frozen=True)
class Question:
    """One cell that is graded: a task, or a question of the quiz.

    Attributes:
        name: the task's, in the lesson's module of tasks: ``"steps_an_epoch"``, ``"question_1"``.
        title: the heading above it: ``"2. How many steps is an epoch?"``, ``"Question 1"``.
        cell_id: of its cell, the same in the solutions and in the exercises.
        expression: what its check is handed: ``"steps_an_epoch"``, ``"answer"``.
        source: the cell's code in the exercises, as handed out.
    """

    name: str
    title: str
    cell_id: str
    expression: str
    source: str


@dataclasses.dataclass(frozen=True)
class Assignment:
    """The exercises of a lesson.

    Attributes:
        lesson: the module of its tasks: ``"lesson_04"``.
        name: ``"04_freeze_and_fit"``.
        solutions: with nbgrader's markers, from ``notebooks/solutions``.
        exercises: what learners get, from ``notebooks/exercises``.
        questions: in the order of the notebook.
    """

    lesson: str
    name: str
    solutions: nbformat.NotebookNode
    exercises: nbformat.NotebookNode
    questions: tuple[Question, ...]


def find(lesson: str, notebooks: pathlib.Path) -> Assignment:
    """The assignment of a lesson.

    Args:
        lesson: ``"04"``, ``"4"``, ``"lesson_04"`` or ``"04_freeze_and_fit"``.
        notebooks: the folder that holds ``solutions`` and ``exercises``.

    Raises:
        ValueError: if there is no such lesson, or a notebook that is none.
        OSError: if there are no solutions, or the exercises are missing.
    """
    known = _names(notebooks)
    wanted = lesson.strip().removesuffix(".ipynb").removeprefix("lesson_")
    wanted = wanted.zfill(2) if wanted.isdecimal() else wanted
    for name in known:
        if wanted in (name, name[:2]):
            return _read(name, notebooks)
    raise ValueError(f"There is no lesson {lesson!r} in {notebooks / 'solutions'}, only {', '.join(known)}.")


def everything(notebooks: pathlib.Path) -> list[Assignment]:
    """The assignments of all lessons, in order; raises as ``find`` does."""
    return [_read(name, notebooks) for name in _names(notebooks)]


def _names(notebooks: pathlib.Path) -> list[str]:
    """``"00_start_here"`` and so on."""
    found = sorted(path.stem for path in (notebooks / "solutions").glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise FileNotFoundError(f"There are no solutions in {notebooks / 'solutions'}. {CLONE}")
    return found


def _read(name: str, notebooks: pathlib.Path) -> Assignment:
    """Read both notebooks of an assignment."""
    both = []
    for path in (notebooks / part / f"{name}.ipynb" for part in ("solutions", "exercises")):
        try:
            both.append(nbformat.read(path, as_version=4))
        except FileNotFoundError:
            raise FileNotFoundError(f"There is no {path}; the solutions need their exercises.") from None
        except nbformat.reader.NotJSONError:
            raise ValueError(f"{path} is not a notebook.") from None
    solutions, exercises = both
    return Assignment(f"lesson_{name[:2]}", name, solutions, exercises, questions(exercises))


def questions(exercises: nbformat.NotebookNode) -> tuple[Question, ...]:
    """The cells that are graded, of a notebook of exercises or of solutions."""
    found, heading = [], ""
    for cell in exercises.cells:
        if cell.cell_type == "markdown":
            headings = re.findall(r"(?m)^#+ (.*)$", cell.source)
            heading = headings[-1].strip() if headings else heading
        elif cell.cell_type == "code" and (check := CHECK.search(cell.source)):
            form = re.match(r"# @title (.*?)\s*(?:\{.*)?\n", cell.source)
            title = form[1] if form else heading
            found.append(Question(check[1], title, cell.id, check[2], cell.source))
    return tuple(found)
