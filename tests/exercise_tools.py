"""Makes exercises of solutions: notebooks/solutions/NN_name.py is all that an author writes.

Between nbgrader's markers, `### BEGIN SOLUTION` and `### END SOLUTION`, stands what learners are to find.
`notebook_tools.py build` derives notebooks/exercises/NN_name.ipynb, in which a stub stands there instead, and
finetune_lib/exercises/lesson_NN.json, from which `task.solution()` takes the code it shows.

python tests/exercise_tools.py table    the right and wrong answers that the checks are tested with
"""

import contextlib
import importlib
import io
import pathlib
import re
import sys
import textwrap

import nbformat

from finetune_lib.teach import assignments
from finetune_lib.teach.assignments import CHECK, REGION, SOLUTIONS_ONLY, STUB

ANSWER_IN_FIGURE = "answer-in-figure"  # the tag of a cell whose picture would give a task's answer away


def is_solutions(source: pathlib.Path) -> bool:
    """Whether a notebook's source is one of solutions."""
    return source.parent.name == "solutions"


def exercises_of(source: pathlib.Path) -> pathlib.Path:
    """Where the exercises of a source of solutions belong."""
    return source.parents[1] / "exercises" / source.with_suffix(".ipynb").name


def lesson(source: pathlib.Path) -> str:
    """The module of a lesson's tasks: ``lesson_04`` for 04_freeze_and_fit."""
    return f"lesson_{source.name[:2]}"


def stubbed(code: str) -> str:
    """A cell's code with a stub for each solution; none under a form's field, which is a place to answer."""

    def stub(match: re.Match) -> str:
        under_a_field = re.search(r"#\s?@param.*\n\Z", code[: match.start()])
        return "" if under_a_field else f"{match[1]}{STUB}\n"

    return REGION.sub(stub, code).rstrip("\n")


def derive(solved: nbformat.NotebookNode, badges: tuple[str, str]) -> nbformat.NotebookNode:
    """The exercises of a notebook of solutions, not executed.

    Args:
        solved: with or without outputs; is left as it is.
        badges: that of the solutions, and that of the exercises.
    """
    derived = nbformat.from_dict(solved)
    derived.cells = [cell for cell in derived.cells if SOLUTIONS_ONLY not in cell.metadata.get("tags", [])]
    for cell in derived.cells:
        if cell.cell_type == "code":
            cell.source = stubbed(cell.source)
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = cell.source.replace(*badges)
    return derived


def keep_figures(executed: nbformat.NotebookNode, solved: nbformat.NotebookNode) -> None:
    """Put the solutions' figures under the cells that show none as long as the task is untouched.

    They tell the learner what to aim at, but for those that are tagged as telling the answer. nbval does not
    compare pictures, but it would miss their words; the alternative text stays.
    """
    solutions = {cell.id: cell for cell in solved.cells}
    for cell in executed.cells:
        gives_away = ANSWER_IN_FIGURE in cell.metadata.get("tags", [])
        if cell.cell_type == "code" and not gives_away and not figures(cell):
            for figure in figures(solutions[cell.id]):
                figure.data.pop("text/plain", None)
                cell.outputs.append(figure)


def figures(cell: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The pictures among a cell's outputs."""
    found = [output for output in cell.outputs if "image/png" in output.get("data", {})]
    return [nbformat.from_dict(output) for output in found]


def solutions(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """What to show as each task's solution: its cell's code, without markers, placeholder and check."""
    found = {}
    for cell in notebook.cells:
        check = CHECK.search(cell.source)
        if cell.cell_type == "code" and check and REGION.search(cell.source):
            code = REGION.sub(lambda match: match[2], cell.source[: check.start()])
            found[check[1]] = re.sub(r"(?m)^(\w+ = (\.\.\.|\"\?\").*|# @title.*)\n", "", code).strip()
    return found


def for_the_library(notebook: nbformat.NotebookNode) -> dict[str, dict[str, str]]:
    """What the library keeps of each task: its title, and the code of its solution."""
    titles = {question.name: question.title for question in assignments.questions(notebook)}
    return {
        name: {"title": re.sub(r"^\d+\. ", "", titles[name]), "solution": code}
        for name, code in solutions(notebook).items()
    }


def untouched(notebook: nbformat.NotebookNode) -> dict[str, object]:
    """Each task's answer in a derived notebook as it is: a placeholder, or a function that does nothing."""
    found: dict[str, object] = {}
    for cell in notebook.cells:
        check = CHECK.search(cell.source)
        if cell.cell_type == "code" and check:
            names: dict[str, object] = {}
            exec(cell.source[: check.start()], names)
            found[check[1]] = eval(check[2], names)
    return found


def table() -> str:
    """Every task with the answers it is tested with, and what each is told."""
    lines = []
    for path in sorted((pathlib.Path(__file__).parent / "exercise_answers").glob("lesson_*.py")):
        tasks = importlib.import_module(f"finetune_lib.exercises.{path.stem}")
        answers = importlib.import_module(f"exercise_answers.{path.stem}")
        lines.append(path.stem)
        for name, (right, wrong) in answers.ANSWERS.items():
            with contextlib.redirect_stdout(io.StringIO()):
                judged = {"another right answer": getattr(tasks, name).judge(right())}
                judged |= {what: getattr(tasks, name).judge(answer()) for what, answer in wrong.items()}
            lines.append(f"  {name}")
            for what, outcome in judged.items():
                text = textwrap.shorten(f"{what}: {outcome}", 200)
                lines.append(textwrap.fill(text, 106, initial_indent="    ", subsequent_indent="      "))
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:] != ["table"]:
        sys.exit(__doc__)
    print(table())
