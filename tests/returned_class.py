"""A class of forty that returns lesson 00's exercises: 28 notebooks that run, and 12 broken in twelve ways.

The answers are such as learners write. ``make`` writes the folder, in the shapes in which Moodle, nbgrader
and mail deliver them, and knows what each student should be told.
"""

import dataclasses
import json
import os
import pathlib
import textwrap
from collections.abc import Callable

import nbformat
from exercise_answers import lesson_00

from finetune_lib.teach import assignments

TASKS = ("five_steps", "steps_an_epoch", "share_that_learns", "honest_report", "images_needed")
QUIZ = ("question_1", "question_2", "question_3")


def _order(*numbers: int) -> str:
    return "order = [\n" + "".join(f'    "{lesson_00.STEPS[number]}",\n' for number in numbers) + "]"


# What stands in place of "# your code here". Names that begin with "right" are.
ANSWERS = {
    "five_steps": {
        "right": _order(0, 1, 2, 3, 4),
        "test after training": _order(0, 2, 1, 3, 4),
        "served too early": _order(0, 1, 2, 4, 3),
        "prepared first": _order(1, 0, 2, 3, 4),
        "numbers": "order = [1, 2, 3, 4, 5]",
        "typing error": 'order = ["pick a network", "set the photos aside"',
    },
    "steps_an_epoch": {
        "right": "import math\nreturn math.ceil(images / batch_size)",
        "right, without math": "return -(-images // batch_size)",
        "right, with if": "n = images // batch_size\nif images % batch_size:\n    n += 1\nreturn n",
        "floor": "return images // batch_size",
        "floor, in two lines": "steps = int(images / batch_size)\nreturn steps",
        "one more": "return images // batch_size + 1",
        "printed": "print(images / batch_size)",
        "no import": "return ceil(images / batch_size)",
        "hostile": 'x = "</pre><script>document.title = 1</script>"\nreturn 1 & 2 < 3  # ]]> &lt;',
    },
    "share_that_learns": {
        "right": "import math\n"
        "learn = sum(math.prod(w.shape) for w in model.trainable_weights)\n"
        "return learn / sum(math.prod(w.shape) for w in model.weights)",
        "right, with numpy": "import numpy as np\n"
        "count = lambda weights: sum(np.prod(w.shape) for w in weights)\n"
        "return count(model.trainable_weights) / count(model.weights)",
        "arrays": "return len(model.trainable_weights) / len(model.weights)",
        "per cent": "import math\n"
        "learn = sum(math.prod(w.shape) for w in model.trainable_weights)\n"
        "return 100 * learn / model.count_params()",
        "of the frozen": "import math\n"
        "a = sum(math.prod(w.shape) for w in model.trainable_weights)\n"
        "b = sum(math.prod(w.shape) for w in model.non_trainable_weights)\n"
        "return a / b",
        "a number": "return 0.0044",
    },
    "honest_report": {
        "right": "name = max(validation, key=validation.get)\nreturn name, test[name]",
        "right, sorted": "best = sorted(validation, key=lambda n: validation[n])[-1]\n"
        "return best, test[best]",
        "best on test": "name = max(test, key=test.get)\nreturn name, test[name]",
        "validation accuracy": "name = max(validation, key=validation.get)\nreturn name, validation[name]",
        "the name alone": "return max(validation, key=validation.get)",
    },
    "images_needed": {
        "right": "return 1.96**2 * accuracy * (1 - accuracy) / margin**2",
        "right, rounded": "import math\nreturn math.ceil(4 * accuracy * (1 - accuracy) / margin**2)",
        "root": "return 1.96 * (accuracy * (1 - accuracy)) ** 0.5 / margin",
        "whole width": "return 1.96**2 * accuracy * (1 - accuracy) / (2 * margin) ** 2",
        "nothing": "n = 1.96**2 * accuracy * (1 - accuracy) / margin**2",
    },
}
SLEEP = 10**6 + os.getpid()  # seconds, by which what a notebook has started is known
LETTERS = {"question_1": "b", "question_2": "c", "question_3": "a"}  # the right ones
ERRORS = ("typing error",)  # answers with which the cell itself fails


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a student should be told: the verdicts in order, and a part of the problem ("" for none)."""

    verdicts: tuple[str, ...]
    problem: str = ""


# A student's answers to the five tasks, "-" for none, and to the quiz.
SOUND = {
    "Amara Okafor": ("right", "right", "right", "right", "right", "bca"),
    "Anna Schmidt": ("right", "right, without math", "right, with numpy", "right, sorted", "right", "bca"),
    "Bo Li": ("right", "right", "right", "right", "right, rounded", "bcb"),
    "Carla Rossi": ("right", "floor", "arrays", "best on test", "right", "bca"),
    "Chidi Eze": ("right", "floor, in two lines", "right", "right", "root", "cca"),
    "Dmitri Ivanov": ("test after training", "right", "arrays", "right", "whole width", "bac"),
    "Elif Kaya": ("right", "right, with if", "per cent", "validation accuracy", "right", "bca"),
    "Fatima Zahra": ("right", "floor", "right", "best on test", "right", "bba"),
    "Gabriel Souza": ("prepared first", "one more", "of the frozen", "right", "right", "bca"),
    "Hana Sato": ("right", "right", "right", "right", "right", "bc?"),
    "Ines Garcia": ("right", "printed", "a number", "the name alone", "nothing", "aaa"),
    "Jonas Weber": ("right", "right", "-", "-", "-", "???"),
    "Kwame Mensah": ("served too early", "floor", "arrays", "right", "right", "bca"),
    "Lena Nowak": ("right", "no import", "right", "best on test", "right", "bca"),
    "Mei Chen": ("right", "right", "right", "right", "right", "bca"),
    "Nikhil Rao": ("numbers", "floor", "arrays", "best on test", "root", "cbc"),
    "O'Brien, Sean": ("right", "right", "per cent", "right", "whole width", "bca"),
    "Priya Singh": ("right", "right, without math", "right", "right", "right", "bca"),
    "Quentin Dubois": ("-", "-", "-", "-", "-", "???"),
    "Rosa Lopez": ("test after training", "right", "right", "validation accuracy", "right", "bca"),
    "Sofia Lindqvist": ("right", "right", "right", "right", "right", "bca"),
    "Tomasz Kowalski": ("right", "right", "arrays", "right", "right", "bca"),
    "Uma Patel": ("right", "right", "right", "right", "right", "bca"),
    "Zoë Martin": ("right", "hostile", "right", "right", "right", "bca"),
    "王小明": ("right", "floor", "right", "right", "root", "bca"),
    "김지우": ("right", "right", "right", "best on test", "right", "bba"),
    "=1+2": ("right", "right", "right", "right", "right", "bca"),
    "<script>alert(1)<": ("typing error", "right", "right", "right", "right", "bca"),
}


def verdicts(answers: tuple[str, ...]) -> tuple[str, ...]:
    """What the checks should say of a student's answers."""
    told = [
        "not attempted" if name == "-" else "correct" if name.startswith("right") else "incorrect"
        for name in answers[:-1]
    ]
    told = ["error" if name in ERRORS else verdict for name, verdict in zip(answers, told, strict=False)]
    for letter, right in zip(answers[-1], LETTERS.values(), strict=True):
        told.append("not attempted" if letter == "?" else "correct" if letter == right else "incorrect")
    return tuple(told)


def answered(assignment: assignments.Assignment, answers: tuple[str, ...]) -> nbformat.NotebookNode:
    """The exercises with a student's answers in them."""
    notebook = nbformat.from_dict(assignment.exercises)
    cells = {question.name: question.cell_id for question in assignment.questions}
    by_id = {cell.id: cell for cell in notebook.cells}
    for task, name in zip(TASKS, answers, strict=False):
        if name != "-":
            fill(by_id[cells[task]], ANSWERS[task][name])
    for question, letter in zip(QUIZ, answers[-1], strict=True):
        cell = by_id[cells[question]]
        cell.source = cell.source.replace('answer = "?"', f'answer = "{letter}"')
    return notebook


def fill(cell: nbformat.NotebookNode, code: str) -> None:
    """Write an answer where the cell asks for one."""
    for stub in ("    # your code here", "# your code here"):
        if stub in cell.source:
            indent = stub[: stub.index("#")]
            cell.source = cell.source.replace(stub, textwrap.indent(code, indent))
            return
    raise AssertionError(f"no place for an answer in {cell.source}")


class Room:
    """Writes notebooks into a folder, and keeps what is expected of each."""

    def __init__(self, folder: pathlib.Path, assignment: assignments.Assignment) -> None:
        self.folder, self.assignment = folder, assignment
        self.expected: dict[str, Expected] = {}

    def cell(self, notebook: nbformat.NotebookNode, task: str) -> nbformat.NotebookNode:
        """The cell of a task."""
        (cell_id,) = (each.cell_id for each in self.assignment.questions if each.name == task)
        return next(cell for cell in notebook.cells if cell.get("id") == cell_id)

    def write(self, path: str, content: nbformat.NotebookNode | bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            target.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    def solved(self) -> nbformat.NotebookNode:
        """All right."""
        return answered(self.assignment, SOUND["Amara Okafor"])


RIGHT = verdicts(SOUND["Amara Okafor"])
NOTHING = ("not run",) * 8


def make(folder: pathlib.Path, assignment: assignments.Assignment) -> dict[str, Expected]:
    """Write the forty notebooks; what is expected, by student."""
    room = Room(folder, assignment)
    for number, (student, answers) in enumerate(SOUND.items()):
        notebook = answered(assignment, answers)
        room.expected[student] = Expected(verdicts(answers))
        if change := CHANGES.get(student):
            change(room, notebook)
        if number % 4 == 1:
            room.write(f"{student}/{assignment.name}.ipynb", notebook)
        elif number % 4 == 2:  # as nbgrader collects them
            room.write(f"{student}/{assignment.name}/{assignment.name}.ipynb", notebook)
        elif number % 4 == 3:  # as Moodle delivers them, with folders or without
            room.expected[f"{student}_48213"] = room.expected.pop(student)
            between = "_/" if number % 8 == 3 else "_"
            room.write(f"{student}_48213_assignsubmission_file{between}notebook (final).ipynb", notebook)
        else:
            room.write(f"{student}.ipynb", notebook)
    for student, write in BROKEN.items():
        room.expected[student] = write(room, student)
    return room.expected


# What some of those do whose notebooks run.


def as_colab_saves(room: Room, notebook: nbformat.NotebookNode) -> None:
    """No ids of cells but in the metadata; and the line with the check is lost."""
    notebook.nbformat_minor = 0
    for cell in notebook.cells:
        cell.metadata["id"] = cell.pop("id")
        if "exercise.steps_an_epoch.check" in cell.source:
            cell.source = cell.source[: cell.source.index("exercise.")]


def floods(room: Room, notebook: nbformat.NotebookNode) -> None:
    """Prints 200 MB, waits for an answer, leaves, starts programs, and forks."""
    hooligan = f"""\
        import os, signal, subprocess, sys
        for _ in range(200):
            print("x" * 10**6)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep({SLEEP})"], start_new_session=True)
        subprocess.Popen("sleep {SLEEP}", shell=True)
        exit()
        if hasattr(os, "fork") and os.fork() == 0:
            import time
            time.sleep({SLEEP})
        sys.exit("goodbye")"""
    notebook.cells.insert(4, nbformat.v4.new_code_cell(textwrap.dedent(hooligan)))
    notebook.cells.insert(5, nbformat.v4.new_code_cell('name = input("Your name? ")'))


def checks_elsewhere(room: Room, notebook: nbformat.NotebookNode) -> None:
    """Below the answer, in a cell of its own; and another answer is tried twice."""
    cell = room.cell(notebook, "honest_report")
    cell.source, check = cell.source.split("exercise.", 1)
    place = notebook.cells.index(cell)
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell("exercise." + check))
    first = nbformat.v4.new_code_cell(
        "def steps_an_epoch(images, batch_size):\n    return images // batch_size\n\n"
        "exercise.steps_an_epoch.check(steps_an_epoch)"
    )
    notebook.cells.insert(notebook.cells.index(room.cell(notebook, "steps_an_epoch")), first)


def of_format_3(room: Room, notebook: nbformat.NotebookNode) -> None:
    """Saved by a very old Jupyter."""
    old = nbformat.convert(nbformat.from_dict(notebook), to_version=3)
    notebook.clear()
    notebook.update(old)


def large_outputs(room: Room, notebook: nbformat.NotebookNode) -> None:
    """Fifty megabytes of outputs, and what they say is not true."""
    said = nbformat.v4.new_output("stream", text="✔ Correct.\n" * 5_000_000)
    room.cell(notebook, "five_steps").outputs = [said]


def without_import(room: Room, notebook: nbformat.NotebookNode) -> None:
    """The cell that imports the exercises is gone."""
    notebook.cells = [cell for cell in notebook.cells if "import lesson_00" not in cell.source]


CHANGES: dict[str, Callable[[Room, nbformat.NotebookNode], None]] = {
    "Anna Schmidt": as_colab_saves,
    "Mei Chen": floods,
    "Priya Singh": checks_elsewhere,
    "Sofia Lindqvist": of_format_3,
    "Jonas Weber": large_outputs,
    "Uma Patel": without_import,
}


# The twelve ways to break a notebook.


def endless_loop(room: Room, student: str) -> Expected:
    notebook = room.solved()
    cell = room.cell(notebook, "honest_report")
    loop = "import time\nwhile True:\n    try:\n        time.sleep(0.1)\n    except:\n        pass\n\n"
    cell.source = loop + cell.source
    room.write(f"{student}.ipynb", notebook)
    return Expected((*RIGHT[:3], "error", *("not reached",) * 4), "stopped after 2 min, in code cell 8")


def memory_hog(room: Room, student: str) -> Expected:
    notebook = room.solved()
    hog = "import time\nhoard = []\nwhile True:\n    hoard.append(b'x' * 40_000_000)\n    time.sleep(0.05)"
    place = notebook.cells.index(room.cell(notebook, "question_2"))
    notebook.cells.insert(place, nbformat.v4.new_code_cell(hog))
    room.write(f"{student}.ipynb", notebook)
    return Expected((*RIGHT[:6], *("not reached",) * 2), "used more than 2 GB of memory, in code cell 13")


def ends_itself(room: Room, student: str) -> Expected:
    notebook = room.solved()
    cell = room.cell(notebook, "share_that_learns")
    cell.source = "import os\nos._exit(0)\n" + cell.source
    room.write(f"{student}.ipynb", notebook)
    problem = "it ended its own process (exit status 0), in code cell 6"
    return Expected((*RIGHT[:2], "error", *("not reached",) * 5), problem)


def deleted_cells(room: Room, student: str) -> Expected:
    notebook = room.solved()
    for task in ("five_steps", "question_1"):
        notebook.cells.remove(room.cell(notebook, task))
    room.write(f"{student}.ipynb", notebook)
    return Expected(("missing", *RIGHT[1:5], "missing", *RIGHT[6:]))


def duplicated_ids(room: Room, student: str) -> Expected:
    notebook = room.solved()
    for cell in notebook.cells:
        cell.id = "816e281a"
    room.write(f"{student}.ipynb", notebook)
    return Expected(RIGHT)


def syntax_errors(room: Room, student: str) -> Expected:
    notebook = room.solved()
    for task in ("steps_an_epoch", "images_needed"):
        cell = room.cell(notebook, task)
        cell.source = cell.source.replace("):", ")", 1)
    room.write(f"{student}.ipynb", notebook)
    return Expected(("correct", "error", *RIGHT[2:4], "error", *RIGHT[5:]))


def wrong_kernel(room: Room, student: str) -> Expected:
    notebook = room.solved()
    notebook.metadata = {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}
    room.write(f"{student}.ipynb", notebook)
    return Expected(NOTHING, "its kernel is of the language R, not Python")


def not_json(room: Room, student: str) -> Expected:
    room.write(f"{student}.ipynb", json.dumps(room.solved()).encode()[:5000])
    return Expected(NOTHING, "the file is not JSON, as every notebook is")


def empty(room: Room, student: str) -> Expected:
    room.write(f"{student}/00_start_here.ipynb", b"")
    return Expected(NOTHING, "the file is empty (0 bytes)")


def no_cells(room: Room, student: str) -> Expected:
    room.write(f"{student}.ipynb", nbformat.v4.new_notebook())
    return Expected(NOTHING, "it has no cells with code")


def not_utf8(room: Room, student: str) -> Expected:
    text = json.dumps(room.solved(), ensure_ascii=False).replace("Which", "Café")
    room.write(f"{student}.ipynb", text.encode("cp1252", "replace"))
    return Expected(NOTHING, "the file is not UTF-8 text, as every notebook is")


def another_lesson(room: Room, student: str) -> Expected:
    cell = nbformat.v4.new_code_cell("from finetune_lib.exercises import lesson_05 as exercise")
    room.write(f"{student}/05_fine_tune.ipynb", nbformat.v4.new_notebook(cells=[cell]))
    return Expected(NOTHING, "no notebook of lesson 00: what was returned is of lesson 05")


BROKEN: dict[str, Callable[[Room, str], Expected]] = {
    "Aaron Loop": endless_loop,
    "Abby Hog": memory_hog,
    "Ben Exit": ends_itself,
    "Cleo Cut": deleted_cells,
    "Dora Double": duplicated_ids,
    "Emil Colon": syntax_errors,
    "Finn Arr": wrong_kernel,
    "Gus Half": not_json,
    "Hugo Empty": empty,
    "Ida Blank": no_cells,
    "Jens Latin": not_utf8,
    "Kira Other": another_lesson,
}
