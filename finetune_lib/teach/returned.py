"""Reads a folder of returned notebooks: whose each is, whether it can be run, and where its tasks are.

Nothing is run here, and nothing that a learner can hand in stops the reading: what is wrong with a file is
said in words.
"""

import dataclasses
import json
import os
import pathlib
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import nbformat

from finetune_lib import progress
from finetune_lib.teach import assignments

LARGEST = 100 * 2**20  # bytes of a notebook; stored outputs of 50 MB happen
MODULE = re.compile(r"finetune_lib\.exercises(?:\s+import\s+|\.)(lesson_\d\d)")
MARKER = "### BEGIN SOLUTION"
IGNORED = "__MACOSX"  # in archives that were made on a Mac
MOODLE = "_assignsubmission_file"  # behind the name and number of each student, in folders and files


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of code: its text, and the names by which it may be known (Colab keeps them in the metadata)."""

    source: str
    ids: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Notebook:
    """A file, read.

    Attributes:
        path: below the folder of returned notebooks.
        cells: of code; empty if there is a problem.
        problem: why it cannot be run, or nothing.
        modified: seconds since 1970.
    """

    path: str
    cells: tuple[Cell, ...] = ()
    problem: str = ""
    modified: float = 0.0

    @property
    def lessons(self) -> set[str]:
        """The lessons whose tasks it imports, otherwise the one that its name has: ``{"lesson_04"}``."""
        imported = {name for cell in self.cells for name in MODULE.findall(cell.source)}
        name = pathlib.PurePath(self.path).name.lower()  # may be "wang_04_freeze_and_fit (1).ipynb"
        return imported or {
            lesson
            for lesson, title in progress.TITLES.items()
            if f"{lesson[-2:]}_{title.lower().replace(' ', '_').replace('-', '_')}" in name
        }

    @property
    def has_markers(self) -> bool:
        """Whether it is a copy of the course's solutions."""
        return any(MARKER in cell.source for cell in self.cells)


@dataclasses.dataclass(frozen=True)
class HandIn:
    """What a student has returned for a lesson.

    Attributes:
        student: the first part of the path below the folder, up to what Moodle adds to it.
        notebook: the one that is graded; its path is empty if there is none.
        remark: what else the teacher should know.
    """

    student: str
    notebook: Notebook
    remark: str = ""


def clean(text: str) -> str:
    """Text that can be written anywhere: no control characters, and nothing that UTF-8 does not have."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]", "\ufffd", text.replace("\r\n", "\n"))


def collect(folder: pathlib.Path, lesson: str) -> tuple[list[HandIn], list[str]]:
    """What each student has returned, by name, and the files beside that are no notebooks.

    Args:
        folder: holds ``student.ipynb`` or ``student/.../anything.ipynb``.
        lesson: ``"lesson_04"``.

    Raises:
        ValueError: if there is nothing that could be a notebook.
        OSError: if the folder is missing or cannot be read.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"There is no folder {folder}; it should hold the returned notebooks.")
    students: dict[str, list[Notebook]] = {}
    aside = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name == IGNORED:
            continue
        if not entry.is_dir() and entry.suffix.lower() != ".ipynb":
            aside.append(clean(entry.name))
            continue
        student = entry.stem if entry.suffix.lower() == ".ipynb" else entry.name
        student = student.partition(MOODLE)[0] or student  # leaves the name and a number
        students.setdefault(clean(student), []).extend(_below(entry, folder))
    if not any(notebook.path for found in students.values() for notebook in found):
        raise ValueError(
            f"There is no notebook in {folder}. It should hold student.ipynb, or a folder a student with a "
            "notebook in it."
        )
    by_name = sorted(students.items(), key=lambda student: (student[0].casefold(), student[0]))
    return [_choose(student, found, lesson) for student, found in by_name], aside


def _below(entry: pathlib.Path, folder: pathlib.Path) -> list[Notebook]:
    """The notebooks of a file or folder; if there is none, one without a path that says so."""
    if entry.is_symlink() or not entry.is_dir():
        return [read(entry, folder)]
    errors, found, others = list[OSError](), list[Notebook](), list[str]()
    for parent, folders, files in os.walk(entry, onerror=errors.append):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != IGNORED)
        for file in sorted(name for name in files if not name.startswith(".")):
            if file.lower().endswith(".ipynb"):
                found.append(read(pathlib.Path(parent, file), folder))
            else:
                others.append(clean(file))
    problem = f"no notebook in the folder, only: {_first(others)}" if others else "an empty folder"
    problem = f"{clean(entry.name)} cannot be read ({errors[0].strerror})" if errors else problem
    return found or [Notebook("", problem=problem)]


def _first(names: Sequence[str]) -> str:
    """The first three, and how many more."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _choose(student: str, found: list[Notebook], lesson: str) -> HandIn:
    """Decide which notebook is graded: of this lesson, readable, no copy of the solutions, the newest."""

    def rank(notebook: Notebook) -> tuple:
        sound, own = not notebook.problem, not notebook.has_markers
        return lesson in notebook.lessons, sound, own, notebook.modified, notebook.path

    this = [notebook for notebook in found if not notebook.lessons or lesson in notebook.lessons]
    if not this:
        lessons = ", ".join(sorted({name for notebook in found for name in notebook.lessons}))
        problem = f"no notebook of {lesson}: what was returned is of {lessons}".replace("lesson_", "lesson ")
        return HandIn(student, Notebook(found[0].path, problem=problem))
    chosen = max(this, key=rank)
    others = [notebook.path for notebook in this if notebook is not chosen and notebook.path]
    remarks = []
    if others:
        remarks.append(f"several notebooks were returned; not graded: {_first(others)}")
    if chosen.has_markers:
        remarks.append(f"holds the markers of the course's solutions ({MARKER})")
    return HandIn(student, chosen, "; ".join(remarks))


def read(path: pathlib.Path, folder: pathlib.Path) -> Notebook:
    """Read a file; nothing is raised."""
    name, modified = clean(path.relative_to(folder).as_posix()), 0.0
    try:
        details = path.lstat()
        modified = details.st_mtime
        if problem := _problem_of_file(details):
            return Notebook(name, problem=problem, modified=modified)
        text = path.read_bytes().decode("utf-8-sig")
        return Notebook(name, tuple(_cells(text)), modified=modified)
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = "the file is not UTF-8 text, as every notebook is"
    except json.JSONDecodeError as error:
        problem = f"the file is not JSON, as every notebook is: {error.msg} in line {error.lineno}"
    except NotRunnable as error:
        problem = str(error)
    except Exception as error:  # JSON can be of any shape, and nested too deeply to be read
        problem = f"the file is JSON, but no notebook that can be read ({type(error).__name__})"
    return Notebook(name, problem=problem, modified=modified)


class NotRunnable(Exception):
    """Why a notebook cannot be run."""


def _problem_of_file(details: os.stat_result) -> str:
    if stat.S_ISLNK(details.st_mode):
        return "it is a symbolic link; what it points to was not returned"
    if not stat.S_ISREG(details.st_mode):
        return "it is no ordinary file"
    if details.st_size == 0:
        return "the file is empty (0 bytes)"
    if details.st_size > LARGEST:
        return f"the file is too large to be read ({details.st_size / 2**20:.0f} MB)"
    return ""


def _cells(text: str) -> Iterator[Cell]:
    """The cells of code of a notebook of any version."""
    parsed = json.loads(text)
    if not isinstance(parsed, dict) or not {"cells", "worksheets"} & parsed.keys():
        raise NotRunnable("the file is JSON, but no notebook: it has no cells")
    if "cells" not in parsed:  # format 3 and older
        parsed = nbformat.convert(nbformat.reader.reads(text), to_version=4)
    metadata = parsed.get("metadata") or {}
    kernel, language = (metadata.get(key) or {} for key in ("kernelspec", "language_info"))
    written_in = str(kernel.get("language") or language.get("name") or "python")
    if "python" not in written_in.lower():
        raise NotRunnable(f"its kernel is of the language {clean(written_in)[:40]}, not Python")
    found = [_cell(cell) for cell in parsed["cells"] if cell.get("cell_type") == "code"]
    if not any(cell.source.strip() for cell in found):
        raise NotRunnable("it has no cells with code")
    yield from found


def _cell(cell: Mapping[str, Any]) -> Cell:
    source = cell.get("source", "")
    ids = (cell.get("id"), (cell.get("metadata") or {}).get("id"))
    return Cell(
        source if isinstance(source, str) else "".join(source), frozenset(map(str, filter(None, ids)))
    )


def places(question: assignments.Question, cells: Sequence[Cell]) -> list[int]:
    """In which cells, counted from 0, a task is answered.

    Those that call its check; otherwise those with its cell's name, or its title in the quiz, as far as what
    the check is handed is in them.
    """
    call = re.compile(rf"(?m)^[^#\n]*\.{question.name}\.check\(")
    calling = [number for number, cell in enumerate(cells) if call.search(cell.source)]
    if calling:
        return calling
    title = re.compile(rf"@title\s+Question\s+{question.name.removeprefix('question_')}\b")
    answered = re.compile(rf"\b{re.escape(question.expression)}\b")
    return [
        number
        for number, cell in enumerate(cells)
        if (question.cell_id in cell.ids or title.search(cell.source)) and answered.search(cell.source)
    ]
