"""What is known of a class after grading, and its two tables: ``grades.csv`` and ``answers.csv``."""

import collections
import csv
import dataclasses
import io
import pathlib
import re
import tempfile
import textwrap
from collections.abc import Iterable, Sequence

from finetune_lib.teach import assignments

CORRECT, INCORRECT, NOT_ATTEMPTED = "correct", "incorrect", "not attempted"
ERROR, MISSING, NOT_REACHED, NOT_RUN = "error", "missing", "not reached", "not run"
JUDGED = (CORRECT, INCORRECT)
COUNTED = (*JUDGED, NOT_ATTEMPTED, ERROR)  # in the share of those who solved a task
VERDICTS = (CORRECT, INCORRECT, NOT_ATTEMPTED, ERROR, MISSING, NOT_REACHED, NOT_RUN)
SUMMARY, GRADES, ANSWERS = "summary.html", "grades.csv", "answers.csv"
LONGEST_CODE = 8000  # characters of an answer in the report
LONGEST_HEADING = 90  # characters of a question
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


@dataclasses.dataclass(frozen=True)
class Answer:
    """A student's answer to one task.

    Attributes:
        verdict: one of ``VERDICTS``.
        message: what the check said, or the error.
        code: the cell's.
    """

    question: assignments.Question
    verdict: str
    message: str = ""
    code: str = ""


@dataclasses.dataclass(frozen=True)
class Graded:
    """A student's notebook, graded.

    Attributes:
        notebook: its path below the folder of returned notebooks; may be empty.
        answers: one for each task, in the order of the lesson.
        problem: what the teacher should look at; empty if there is nothing.
        seconds: how long it ran.
        is_copy: whether it holds the markers of the course's solutions.
    """

    student: str
    notebook: str
    answers: tuple[Answer, ...]
    problem: str
    seconds: float
    is_copy: bool = False

    @property
    def was_run(self) -> bool:
        """Whether its points say anything."""
        return any(answer.verdict != NOT_RUN for answer in self.answers)

    @property
    def points(self) -> int:
        """One for each correct answer."""
        return sum(answer.verdict == CORRECT for answer in self.answers)

    def __str__(self) -> str:
        problem = f" ({self.problem})" if self.problem else ""
        return f"{self.student}: {self.points} of {len(self.answers)}{problem}"


@dataclasses.dataclass(frozen=True)
class How:
    """How a class was graded: the limits, and the files that were left aside."""

    minutes: float
    gigabytes: float
    aside: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Mistake:
    """Wrong answers that a check, or Python, said the same about.

    Attributes:
        message: of the first of them.
        students: who gave such an answer.
        examples: of their code, each different, at most two.
    """

    verdict: str
    message: str
    students: tuple[str, ...]
    examples: tuple[str, ...]


def heading(assignment: assignments.Assignment, question: assignments.Question) -> str:
    """A task's title, without its number; that of a question in the quiz with its first sentence."""
    for cell in assignment.exercises.cells if question.title.startswith("Question ") else ():
        _, found, text = cell.source.partition(f"**{question.title}.**")
        if cell.cell_type == "markdown" and found:
            text = re.sub(r"[*`]", "", text.strip().split("\n\n")[0])
            sentence = " ".join(re.split(r"(?<=[.?])\s", text)[0].split())
            sentence = textwrap.shorten(sentence, LONGEST_HEADING, placeholder="\N{NO-BREAK SPACE}…")
            return f"{question.title}: {sentence}"
    return re.sub(r"^[0-9]+[.] ", "", question.title)


def mistakes(graded: Iterable[Graded], place: int) -> list[Mistake]:
    """The wrong answers to a task (its place, from 0), most common first.

    Grouped by what was said about them, whatever numbers were in it.
    """
    groups: dict[tuple[str, str], list[tuple[str, Answer]]] = collections.defaultdict(list)
    for student in graded:
        answer = student.answers[place]
        if answer.verdict in (INCORRECT, ERROR):
            groups[answer.verdict, normalised(answer.message)].append((student.student, answer))
    found = []
    for (verdict, _), members in groups.items():
        examples = tuple(dict.fromkeys(shortened(answer.code) for _, answer in members))[:2]
        names = tuple(name for name, _ in members)
        found.append(Mistake(verdict, members[0][1].message, names, examples))
    return sorted(found, key=lambda mistake: -len(mistake.students))


def normalised(message: str) -> str:
    """A message without its numbers: two answers that differ in these alone are the same mistake."""
    return " ".join(re.sub(r"0x[0-9a-f]+|[-\u2212]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", "#", message).split())


def shortened(code: str) -> str:
    """Code that fits into a report."""
    code = code.strip("\n")
    return code if len(code) <= LONGEST_CODE else code[:LONGEST_CODE] + "\n# ... and so on"


def harmless(value: object) -> object:
    """A value for a cell of a table; what a spreadsheet would take for a formula gets a ``'``."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def grades(assignment: assignments.Assignment, graded: Iterable[Graded]) -> str:
    """The table with a row a student."""
    names = [question.name for question in assignment.questions]
    rows = [
        [
            *(one.student, one.notebook, one.points, len(one.answers)),
            *(answer.verdict for answer in one.answers),
            one.problem,
        ]
        for one in graded
    ]
    return _table(["student", "notebook", "points", "of", *names, "problem"], rows)


def answers(graded: Iterable[Graded]) -> str:
    """The table with a row a student and task."""
    rows = [
        [one.student, answer.question.name, answer.verdict, answer.message, shortened(answer.code)]
        for one in graded
        for answer in one.answers
    ]
    return _table(["student", "task", "verdict", "message", "code"], rows)


def _table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([map(harmless, row) for row in (header, *rows)])
    return text.getvalue()


def prepare(output: pathlib.Path, folder: pathlib.Path) -> None:
    """See that a report can be written before anything is graded.

    Raises:
        ValueError: if it would lie among the returned notebooks.
        OSError: if the folder cannot be made or written.
    """
    if output.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"{output} is inside {folder}, where it would be taken for a student's. Choose another --output."
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output).close()
    except OSError as error:
        raise OSError(
            f"The report cannot be written to {output}: {error.strerror}. Choose another --output."
        ) from None


def write(
    output: pathlib.Path, assignment: assignments.Assignment, graded: Sequence[Graded], page: str
) -> None:
    """Write the report; it takes the place of an earlier one only when all of it is on the disk."""
    texts = {GRADES: grades(assignment, graded), ANSWERS: answers(graded), SUMMARY: page}
    parts = {name: output / f".{name}.part" for name in texts}
    try:
        for name, text in texts.items():
            # Excel takes a table for UTF-8 only if it begins with a byte order mark.
            encoding = "utf-8" if name == SUMMARY else "utf-8-sig"
            parts[name].write_text(text, encoding=encoding, newline="")
        for name, part in parts.items():
            part.replace(output / name)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
