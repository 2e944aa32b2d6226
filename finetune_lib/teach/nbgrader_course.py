"""A course folder for nbgrader (https://nbgrader.readthedocs.io, 0.9.6), made of the notebooks of solutions.

A task's cell is split into the answer, which learners write, and its check, which nbgrader restores and
grades: a point each. The given code is locked. The learner sees what the course's own exercises show.
"""

import importlib.util
import json
import pathlib
import re
import shlex
import shutil
import sys
import tempfile
import urllib.parse

import nbformat

from finetune_lib.teach import assignments

BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\((https://colab\.research\.google\.com/github/[^)]*)\)")
RELATIVE_LINK = re.compile(r"\]\((?!https?:|#)([^)\s]+)\)")
# Instead of the badge, which leads to a notebook that nbgrader cannot grade.
INSTEAD_OF_THE_BADGE = (
    "**To hand in:** here each check stands in a cell of its own, below its task. Keep all cells, and hand "
    "in this notebook under the name it has."
)
TESTS = """\
### BEGIN HIDDEN TESTS
from finetune_lib.teach import nbgrader_tests
nbgrader_tests.listen(exercise.{name})
### END HIDDEN TESTS
exercise.{name}.check({expression})
### BEGIN HIDDEN TESTS
nbgrader_tests.assert_correct(exercise.{name})
### END HIDDEN TESTS"""
NEXT = """\
# {count} assignments for nbgrader

`source/` holds the solutions: keep this folder to yourself.

Once: nbgrader gets an environment of its own. The notebooks run in the course's, `{python}`,
as `jupyter/kernels/python3/kernel.json` says.

    python3 -m venv ~/nbgrader
    ~/nbgrader/bin/python -m pip install nbgrader

For each assignment, here {name}:

    source ~/nbgrader/bin/activate
    cd {folder}
    nbgrader generate_assignment {name}

Hand out `release/{name}/{name}.ipynb`.
Put what comes back where nbgrader looks for it, a folder a student:
`submitted/STUDENT/{name}/{name}.ipynb`. Then

    nbgrader autograde {name}
    nbgrader generate_feedback {name}
    nbgrader export

The points are in `grades.csv`, and a page for each student in `feedback/`.

- That every check "has changed" is only a warning: nbgrader puts its hidden part back. After an ERROR the
  notebook was not graded, and `grades.csv` says 0: mend it, and call `autograde` with `--student STUDENT`.
- What comes back must have begun as a file in `release/`. The course's own exercises lack nbgrader's marks;
  `python -m finetune_lib.teach grade` grades those.
- Learners see the checks' answers while they work, and the solutions are public. The points show who has
  done the work, not who could do it alone.

Autograding runs the students' code as you. For work that you do not trust, do it in a container or on a
machine that holds nothing of yours.

The assignments: {names}"""


def make(folder: pathlib.Path, notebooks: pathlib.Path) -> str:
    """Write a course folder of all lessons' exercises.

    Args:
        folder: is made. A folder that exists must be empty.
        notebooks: the folder that holds ``solutions`` and ``exercises``.

    Returns:
        What to do next; also written to its ``README.md``.

    Raises:
        ValueError: if the folder is not empty, a notebook is none, or this Python has no kernel.
        OSError: if there are no solutions, or the folder cannot be written.
    """
    folder = folder.expanduser().absolute()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ValueError(
            f"{folder} exists, and is no empty folder. It may hold a gradebook and submissions, so nothing "
            "in it is touched: name another folder."
        )
    if importlib.util.find_spec("ipykernel") is None:
        raise ValueError(f"The notebooks need a kernel: {sys.executable} -m pip install ipykernel")
    found = assignments.everything(notebooks)
    names = [assignment.name for assignment in found]
    text = NEXT.format(
        count=len(names),
        python=sys.executable,
        folder=shlex.quote(str(folder)),
        name=names[0],
        names=", ".join(names),
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise OSError(f"The course cannot be written to {folder} ({error.strerror}).") from error
    try:
        for assignment in found:
            path = partial / "source" / assignment.name / f"{assignment.name}.ipynb"
            path.parent.mkdir(parents=True)
            nbformat.write(source(assignment), path)
        kernel = partial / "jupyter" / "kernels" / "python3" / "kernel.json"
        kernel.parent.mkdir(parents=True)
        kernel.write_text(json.dumps(kernel_specification(), indent=1) + "\n", encoding="utf-8")
        shutil.copyfile(
            pathlib.Path(__file__).with_name("nbgrader_config.py"), partial / "nbgrader_config.py"
        )
        (partial / "README.md").write_text(text + "\n", encoding="utf-8")
        partial.chmod(0o755)
        if folder.is_dir():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return text


def source(assignment: assignments.Assignment) -> nbformat.NotebookNode:
    """The teacher's version of an assignment, without outputs: what `generate_assignment` takes."""
    questions = {question.cell_id: question for question in assignment.questions}
    texts = {cell.id: cell.source for cell in assignment.exercises.cells}
    made = nbformat.v4.new_notebook(metadata=assignment.solutions.metadata)
    badge = next(match for text in texts.values() if (match := BADGE.search(text)))
    for cell in assignment.solutions.cells:
        if cell.id not in texts:  # for readers of the solutions only
            continue
        if cell.cell_type == "markdown":
            text = standing_alone(texts[cell.id], badge[1])
            made.cells.append(nbformat.v4.new_markdown_cell(text, id=cell.id))
        elif question := questions.get(cell.id):
            answer = assignments.CHECK.sub("", cell.source).rstrip()
            made.cells.append(_code(answer, cell.id, question.name, solution=True))
            tests = TESTS.format(name=question.name, expression=question.expression)
            made.cells.append(_code(tests, f"{cell.id}-check", f"{question.name}_check", grade=True))
        else:
            made.cells.append(_code(cell.source, cell.id, f"given_{cell.id}", locked=True))
    nbformat.validate(made)
    return made


def standing_alone(text: str, address: str) -> str:
    """A text as it can be read outside the repository; ``address`` is that of the exercises on Colab."""

    def absolute(match: re.Match) -> str:
        target = urllib.parse.urljoin(address, match[1])
        if not urllib.parse.urlsplit(target).path.endswith(".ipynb"):
            target = target.replace("colab.research.google.com/github", "github.com")
        return f"]({target})"

    return RELATIVE_LINK.sub(absolute, BADGE.sub(INSTEAD_OF_THE_BADGE, text))


def kernel_specification() -> dict[str, object]:
    """A kernel of the Python that runs this, with the library it has imported."""
    found: dict[str, object] = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
    }
    library = pathlib.Path(__file__).resolve().parents[2]
    if library.name not in ("site-packages", "dist-packages"):  # a clone, installed or not
        found["env"] = {"PYTHONPATH": str(library)}
    return found


def _code(
    text: str, cell_id: str, name: str, *, grade: bool = False, solution: bool = False, locked: bool = False
) -> nbformat.NotebookNode:
    """A cell with nbgrader's metadata (version 3)."""
    metadata: dict[str, object] = {
        "grade": grade,
        "grade_id": name,
        "locked": locked or grade,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    if grade:
        metadata["points"] = 1
    return nbformat.v4.new_code_cell(text, id=cell_id, metadata={"nbgrader": metadata})
