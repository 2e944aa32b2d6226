"""Runs one returned notebook, and notes what each check says (started by ``watching``, in its own process).

    python -m finetune_lib.teach.run_notebook PLAN RESULTS

PLAN is JSON: ``lesson`` ("lesson_04"), ``cells`` (code, in order), ``questions`` (number of a cell, from 0:
list of [task, expression that its check is handed]). RESULTS gets a line of JSON for each thing that happens,
as it happens: ``ready``, the number of a cell that begins, a verdict, ``done``. So what was judged before the
process is killed is known.

This is no sandbox: the notebook's code runs here with all rights of whoever started this.
"""

import importlib
import json
import os
import pathlib
import sys
import threading
import time
import traceback
from typing import Any

import traitlets.config
from IPython.core import interactiveshell

from finetune_lib import checks

ERROR = "error"
LARGEST_FILE = 2**29  # bytes, of any one file that a notebook writes
LONGEST_TEXT = 1500  # characters of a message that are kept


class Shell(interactiveshell.InteractiveShell):
    """IPython without a front end, so that magics work."""

    def ask_exit(self) -> None:
        """Leave ``exit`` without effect, for the cells that follow it."""

    def showtraceback(self, *arguments: Any, **options: Any) -> None:
        """Show no error: nobody looks, and some cannot be shown."""

    def showsyntaxerror(self, *arguments: Any, **options: Any) -> None:
        """Show no error."""

    def enable_gui(self, gui: str | None = None) -> None:
        """Have ``%matplotlib`` raise nothing."""


class Journal:
    """Writes the results; a process that the notebook forks writes none.

    Attributes:
        judged: the tasks that were judged in the cell that is running.
    """

    def __init__(self, path: pathlib.Path, lesson: str) -> None:
        self.path, self.lesson, self.judged, self.cell = path, lesson, set[str](), -1
        self.process = os.getpid()

    def write(self, **event: Any) -> None:
        """Add a line. The file is opened anew each time, for a notebook may close whatever is open."""
        if os.getpid() == self.process:
            with self.path.open("a", encoding="ascii") as file:
                file.write(json.dumps(event) + "\n")

    def begin(self, cell: int) -> None:
        """Note which cell is running."""
        self.judged, self.cell = set(), cell
        self.write(cell=cell)

    def verdict(self, name: str, verdict: str, message: str) -> None:
        """Note what was found about a task."""
        self.judged.add(name)
        self.write(question=name, verdict=verdict, message=str(message)[:LONGEST_TEXT], cell=self.cell)

    def judge(self, task: checks.Task, answer: Any) -> None:
        """What ``task.check`` does here: judge once, note it, and show nothing."""
        if task.lesson == self.lesson:
            outcome = task.judge(answer)
            self.verdict(task.name, outcome.verdict.lower(), outcome.message)


def explain(error: BaseException) -> str:
    """An error's kind and text, and the line of the cell that it came from."""
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename.startswith("<ipython-input")
        ]
    except BaseException:  # the learner's own exception may raise one when it is shown
        text, lines = "", []
    line = error.lineno if isinstance(error, SyntaxError) else lines[0] if lines else None
    where = f" (line {line} of the cell)" if line else ""
    return f"{type(error).__name__}: {text}".rstrip(": ")[: LONGEST_TEXT - 40] + where


def run_cell(shell: Shell, source: str, questions: list[list[str]], journal: Journal) -> None:
    """Run a cell, and judge the tasks in it whose checks it has not called."""
    try:
        result = shell.run_cell(source, store_history=True)
        error = result.error_before_exec or result.error_in_exec
    except BaseException as raised:  # IPython itself stumbles over some exceptions
        error = raised
    for name, expression in questions:
        if name in journal.judged:
            continue
        here = judge_expression(shell, name, expression, journal) if error is None else error
        if here is not None:
            journal.verdict(name, ERROR, explain(here))


def judge_expression(shell: Shell, name: str, expression: str, journal: Journal) -> BaseException | None:
    """Judge what the check would have been handed; the error, if there is no such thing."""
    module = importlib.import_module(f"finetune_lib.exercises.{journal.lesson}")
    try:
        journal.judge(getattr(module, name), shell.ev(expression))
    except BaseException as raised:
        return raised
    return None


def limit_files() -> None:
    """Limit the size of a file, where the system can, and write no memory to disk after a crash."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for what, most in ((resource.RLIMIT_FSIZE, LARGEST_FILE), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def end_with(parent: int) -> None:
    """End this process if the grader is killed: nobody would be left to watch the time."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main(plan_path: str, results_path: str) -> None:
    """Run the plan."""
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    limit_files()
    plan = json.loads(pathlib.Path(plan_path).read_text(encoding="utf-8"))
    journal = Journal(pathlib.Path(results_path), plan["lesson"])
    setattr(checks.Task, "check", lambda task, answer: journal.judge(task, answer))  # noqa: B010 - for mypy
    config = traitlets.config.Config()
    config.HistoryManager.enabled = False
    shell = Shell.instance(config=config, colors="NoColor")
    # A learner who has deleted the cell that imports it is judged all the same.
    shell.user_ns["exercise"] = importlib.import_module(f"finetune_lib.exercises.{plan['lesson']}")
    journal.write(ready=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # until here it says why a notebook could not be started
    for number, source in enumerate(plan["cells"]):
        journal.begin(number)
        run_cell(shell, source, plan["questions"].get(str(number), []), journal)
    journal.write(done=True)
    os._exit(0)  # whatever threads are left


if __name__ == "__main__":
    main(*sys.argv[1:])
