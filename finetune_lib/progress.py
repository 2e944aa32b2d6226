"""What a learner has done: each check that said *correct*, kept, shown and printed (all exercises).

The record is a file of lines, ``progress.jsonl``, in the learner's course folder. Lines are only ever added:
two notebooks can be open at once, and a damaged line costs nothing but itself.
"""

import contextlib
import dataclasses
import datetime
import functools
import html
import importlib.metadata
import importlib.resources
import json
import os
import pathlib
import string
import uuid
import warnings
from collections.abc import Iterable

import IPython
import IPython.display

from finetune_lib import environment

TITLES = {
    "lesson_00": "Start here",
    "lesson_01": "Transfer learning",
    "lesson_02": "Gradient descent",
    "lesson_03": "Data",
    "lesson_04": "Freeze and fit",
    "lesson_05": "Fine-tune",
    "lesson_06": "Evaluate",
    "lesson_07": "Deploy",
    "lesson_08": "Compress",
}
CORRECT, SHOWN = "correct", "solution shown"
BAR = 10  # signs in a whole bar
LEFT = "style='text-align:left'"


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened to a task for the first time.

    Attributes:
        lesson: ``"lesson_04"``.
        name: the task's.
        what: ``"correct"``, or ``"solution shown"``.
        time: ISO 8601, with the time zone.
    """

    lesson: str
    name: str
    what: str
    time: str


@dataclasses.dataclass(frozen=True)
class _Row:
    title: str
    tasks: str
    quiz: str
    count: int
    of: int

    def __str__(self) -> str:
        full = BAR * self.count // self.of
        bar = f"{'█' * full}{'░' * (BAR - full)}"
        return f"{self.title:22}{self.tasks:>8}{self.quiz:>8}  {bar}  {self.count} of {self.of}"

    def html(self) -> str:
        width = f"{100 * self.count / self.of:.0f}%"
        bar = (
            "<div style='width:10em;height:0.8em;border:1px solid #595959'>"
            f"<div style='width:{width};height:100%;background:#00735a'></div></div>"
        )
        cells = (self.tasks, self.quiz, bar, f"{self.count} of {self.of}")
        rest = "".join(f"<td {LEFT}>{cell}</td>" for cell in cells)
        return f"<tr><th scope='row' {LEFT}>{self.title}</th>{rest}</tr>"


@functools.cache
def names(lesson: str) -> dict[str, str]:
    """A lesson's tasks and quiz questions, in the notebook's order: name and title."""
    path = importlib.resources.files("finetune_lib.exercises") / f"{lesson}.json"
    return {name: task["title"] for name, task in json.loads(path.read_text(encoding="utf-8")).items()}


def record(lesson: str, name: str, what: str) -> None:
    """Keep that a task was answered rightly, or that its solution was shown: the first time, with the date.

    ``checks`` calls it. What the course's own notebooks of solutions answer is not kept. If the folder cannot
    be written there is a warning, no error: the answer was right all the same.
    """
    if lesson not in TITLES or _solutions_run():
        return
    events, file = _events(), _file()
    time = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    events.setdefault((lesson, name, what), Event(lesson, name, what, time))
    kept = _read(file)
    lines = [json.dumps(dataclasses.asdict(event)) for key, event in events.items() if key not in kept]
    if not lines:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as opened:
            # The line break before it ends a line that was cut short by a crash.
            opened.write("\n" + "\n".join(lines) + "\n")
    except OSError as error:
        warnings.warn(
            f"Your progress cannot be kept in {file.parent} ({error.strerror or error}). Set the variable "
            "FINETUNE_COURSE to a folder that can be written.",
            stacklevel=3,
        )


def done() -> dict[str, dict[str, str]]:
    """The tasks answered rightly: lesson, task, and the time of the first right answer (ISO 8601)."""
    found: dict[str, dict[str, str]] = {lesson: {} for lesson in TITLES}
    for event in _events().values():
        if event.what == CORRECT and event.name in names(event.lesson):
            found[event.lesson][event.name] = event.time
    return found


def show() -> None:
    """Show, for every lesson, how many tasks and quiz questions were answered rightly, with a bar."""
    rows, count, of = [], 0, 0
    for lesson, solved in done().items():
        parts = _tasks_and_quiz(lesson)
        in_tasks, in_quiz = (f"{sum(name in solved for name in part)} of {len(part)}" for part in parts)
        title = f"{lesson[-2:]} {TITLES[lesson]}"
        rows.append(_Row(title, in_tasks, in_quiz, len(solved), len(names(lesson))))
        count, of = count + len(solved), of + len(names(lesson))
    rows.append(_Row("All lessons", "", "", count, of))
    where = f"Kept in {_file()}."
    if environment.on_colab() and _file().parent == environment.local_course_folder():
        where += f"\n{environment.NO_DRIVE_ADVICE}"
    heads = ("lesson", "tasks", "quiz", "", "done")
    head = "<tr>" + "".join(f"<th scope='col' {LEFT}>{text}</th>" for text in heads) + "</tr>"
    IPython.display.display(
        {
            "text/plain": "\n".join([f"{'lesson':22}{'tasks':>8}{'quiz':>8}", *map(str, rows), where]),
            "text/html": f"<table>{head}{''.join(row.html() for row in rows)}</table>"
            f"<p style='white-space:pre-wrap'>{html.escape(where)}</p>",
        },
        raw=True,
    )


def certificate(name: str) -> pathlib.Path:
    """Write a page that lists, lesson by lesson, what was checked and when; a browser shows and prints it.

    Args:
        name: whose it is.

    Returns:
        ``certificate.html`` in the course folder; one that is there is replaced.

    Raises:
        ValueError: without a name, or if no check has said *correct* yet.
        OSError: if the folder cannot be written.
    """
    if not name.strip():
        raise ValueError('A certificate needs a name: progress.certificate("Your Name")')
    solved = done()
    count = sum(map(len, solved.values()))
    if not count:
        raise ValueError(
            f"There is nothing to certify yet: {_file()} holds no task that was answered rightly."
        )
    sections = [_section(lesson, solved[lesson]) for lesson in TITLES]
    template = importlib.resources.files("finetune_lib") / "certificate.html"
    page = string.Template(template.read_text(encoding="utf-8")).substitute(
        name=html.escape(name.strip()),
        count=count,
        of=sum(len(names(lesson)) for lesson in TITLES),
        sections="\n".join(sections),
        date=datetime.date.today().isoformat(),
        version=importlib.metadata.version("finetune-lib"),
    )
    file = _file().with_name("certificate.html")
    hidden = file.with_name(f".writing-{uuid.uuid4().hex}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        hidden.write_text(page, encoding="utf-8")
        return hidden.replace(file)
    except OSError as error:
        raise OSError(
            f"The certificate cannot be written to {file.parent} ({error.strerror or error})."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            hidden.unlink()


def _section(lesson: str, solved: dict[str, str]) -> str:
    """A lesson's part of the certificate: each task, and the quiz as a whole."""
    order = list(_events())

    def helped(name: str) -> bool:
        correct, shown = (lesson, name, CORRECT), (lesson, name, SHOWN)
        return {correct, shown} <= set(order) and order.index(shown) < order.index(correct)

    tasks, quiz = _tasks_and_quiz(lesson)
    rows = []
    for name in tasks:
        when = solved.get(name, "")[:10] or "not yet"
        rows.append((names(lesson)[name], when + ", after its solution was shown" * helped(name)))
    right, with_help = sum(name in solved for name in quiz), sum(map(helped, quiz))
    remark = f", {with_help} after the solution was shown" if with_help else ""
    rows.append(("Quiz", f"{right} of {len(quiz)}{remark}"))
    cells = (f"<tr><td>{html.escape(title)}</td><td>{text}</td></tr>" for title, text in rows)
    head = f"{lesson[-2:]} {TITLES[lesson]}: {len(solved)} of {len(names(lesson))}"
    return f"<section><h2>{head}</h2><table>{''.join(cells)}</table></section>"


def _tasks_and_quiz(lesson: str) -> tuple[list[str], list[str]]:
    quiz = [name for name in names(lesson) if name.startswith("question_")]
    return [name for name in names(lesson) if name not in quiz], quiz


def _file() -> pathlib.Path:
    return environment.course_folder() / "progress.jsonl"


def _events() -> dict[tuple[str, str, str], Event]:
    """What is kept; with Google Drive also what was done before it was mounted."""
    local = environment.local_course_folder() / _file().name
    in_drive = environment.drive() is not None and not os.environ.get("FINETUNE_COURSE")
    return (_read(local) if in_drive else {}) | _read(_file())


def _read(file: pathlib.Path) -> dict[tuple[str, str, str], Event]:
    """The events in a file, the first of each kind, without lines that are damaged."""
    try:
        lines: Iterable[str] = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found: dict[tuple[str, str, str], Event] = {}
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):
            event = Event(**json.loads(line))
            if event.lesson in TITLES and isinstance(event.time, str):
                found.setdefault((event.lesson, event.name, event.what), event)
    return found


def _solutions_run() -> bool:
    """Whether the cell that runs is one of the course's own solutions, with nbgrader's marks."""
    shell = IPython.get_ipython()
    return shell is not None and "### END SOLUTION" in shell.history_manager.input_hist_raw[-1]
