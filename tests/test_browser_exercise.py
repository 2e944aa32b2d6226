"""An exercise in JupyterLab as a learner does it, by keyboard: from the first cell to a kept progress."""

import shutil
from typing import Any

import browser_tools
import notebook_tools
import pytest

from finetune_lib import checks
from finetune_lib.exercises import lesson_00

pytestmark = pytest.mark.browser

TIME_LIMIT = 60  # seconds for a page, or for a kernel that imports TensorFlow
STEPS = list(lesson_00.STEPS)
NOTEBOOK = "jupyterapp.shell.currentWidget.content"


class Learner:
    """Somebody at the keyboard of a notebook in JupyterLab, whose first cell is active."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.keys = page.keyboard
        self.drawn = page.locator(".jp-Notebook .jp-Cell")

    def sources(self) -> list[str]:
        return self.page.evaluate(f"{NOTEBOOK}.widgets.map(cell => cell.model.sharedModel.source)")

    def find(self, text: str) -> int:
        """The number of the cell that holds a text."""
        (number,) = (number for number, source in enumerate(self.sources()) if text in source)
        return number

    def active(self) -> int:
        return self.page.evaluate(f"{NOTEBOOK}.activeCellIndex")

    def walk_to(self, number: int) -> None:
        """Go up or down to a cell, in command mode."""
        distance = number - self.active()
        for _ in range(abs(distance)):
            self.keys.press("ArrowDown" if distance > 0 else "ArrowUp")
        assert self.active() == number

    def run(self) -> int:
        """Press Shift+Enter and wait until the cell is done; its number."""
        number = self.active()
        cell = f"{NOTEBOOK}.widgets[{number}]"
        self.page.evaluate(f"() => {{ window.before = {cell}.outputArea?.future }}")
        self.keys.press("Shift+Enter")
        if self.page.evaluate(f"{cell}.model.type") == "code":
            self.page.wait_for_function(
                f"{cell}.outputArea.future && {cell}.outputArea.future !== window.before",
                timeout=TIME_LIMIT * 1000,
            )
            self.page.evaluate(f"async () => {{ await {cell}.outputArea.future.done }}")
        return number

    def run_down_to(self, number: int) -> None:
        while self.active() < number:
            self.run()

    def rewrite(self, start: str, new: str) -> None:
        """In the active cell put another line in place of the one that starts so."""
        lines = self.sources()[self.active()].split("\n")
        (line,) = (line for line, text in enumerate(lines) if text.startswith(start))
        self.keys.press("Enter")
        self.keys.press("Control+Home")
        for _ in range(line):
            self.keys.press("ArrowDown")
        self.keys.press("Shift+End")
        self.keys.type(new)
        lines[line] = new
        assert self.sources()[self.active()] == "\n".join(lines)

    def restart(self) -> None:
        """Press 0 twice, confirm, and wait for the new kernel."""
        session = "jupyterapp.shell.currentWidget.sessionContext"
        watch = "(_, status) => { window.restarted ||= status === 'restarting' }"
        self.page.evaluate(f"() => {{ {session}.statusChanged.connect({watch}) }}")
        self.keys.press("0")
        self.keys.press("0")
        self.page.locator(".jp-Dialog").wait_for()
        self.keys.press("Enter")
        self.page.wait_for_function(
            f"window.restarted && {session}.session.kernel.status === 'idle'", timeout=TIME_LIMIT * 1000
        )

    def told(self, number: int) -> tuple[str, str]:
        """What stands under a cell, and the colour of its first bold words."""
        output = self.drawn.nth(number).locator(".jp-OutputArea-output")
        colour = output.locator("b").first.evaluate("words => getComputedStyle(words).color")
        return output.inner_text().strip(), "#" + "".join(
            f"{int(part):02x}" for part in colour.removeprefix("rgb(").removesuffix(")").split(",")
        )

    def progress(self, number: int) -> tuple[list[str], list[float]]:
        """Of each row of the table under a cell: its words, and how much of its bar is full."""
        rows = self.drawn.nth(number).locator(".jp-OutputArea-output table tr").all()[1:]
        words = [" | ".join(filter(None, row.locator("th, td").all_inner_texts())) for row in rows]
        full = "bar => bar.firstElementChild.clientWidth / bar.clientWidth"
        return words, [round(row.locator("td > div").evaluate(full), 2) for row in rows]


def expected(task: checks.Task, answer: Any) -> tuple[str, str]:
    """What a check says of an answer, and in which colour."""
    outcome = task.judge(answer)
    sign, colour = checks.STYLES[outcome.verdict]
    return f"{sign} {outcome}".replace("`", ""), colour


def test_an_exercise_by_keyboard_and_its_progress_after_a_restart(lab, page, tmp_path):
    shutil.copy(
        notebook_tools.ROOT / "notebooks" / "exercises" / "00_start_here.ipynb", tmp_path / "notebooks"
    )
    browser_tools.open_in_lab(page, f"{lab}lab/tree/00_start_here.ipynb", TIME_LIMIT)
    learner = Learner(page)
    answers = {
        "exercise.five_steps.check(": ("order = ", lesson_00.five_steps, ..., STEPS[::-1], STEPS),
        "exercise.question_1.check(": ("answer = ", lesson_00.question_1, "?", "a", "b"),
    }
    for check, (start, task, untouched, wrong, right) in answers.items():
        number = learner.find(check)
        learner.run_down_to(number)
        assert learner.told(learner.run()) == expected(task, untouched)
        for answer, verdict in ((wrong, checks.INCORRECT), (right, checks.CORRECT)):
            learner.walk_to(number)
            learner.rewrite(start, f"{start}{answer!r}")
            assert learner.told(learner.run()) == expected(task, answer)
            assert task.judge(answer).verdict == verdict
            browser_tools.keep_picture(page, f"{task.name}_{verdict}")

    last = learner.find("progress.show()")
    learner.run_down_to(last)
    learner.run()
    rows, bars = learner.progress(last)
    assert rows[0] == "00 Start here | 1 of 5 | 1 of 3 | 2 of 8"
    assert bars[:2] == [0.25, 0] and len(rows) == 10
    browser_tools.keep_picture(page, "progress")

    learner.restart()
    learner.walk_to(learner.find("environment.report()"))
    learner.run()
    learner.walk_to(last)
    learner.run()
    assert learner.drawn.nth(last).locator(".jp-InputPrompt").inner_text() == "[2]:"
    assert learner.progress(last) == (rows, bars)
