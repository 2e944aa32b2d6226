"""How an exercise gives feedback: check, hint, solution (the exercises of every lesson).

After Kaggle's learntools: an answer is *correct*, *incorrect* with a message that teaches, or *not
attempted*. The tasks themselves are in ``finetune_lib.exercises``, a file a lesson;
``tests/test_exercises.py`` shows that each tells right answers from wrong ones. An answer is handed over as a
value, so nothing here depends on where a notebook is kept, on an account or on a network.
"""

import dataclasses
import dis
import functools
import html
import importlib.resources
import json
import re
import types
from collections.abc import Callable, Mapping
from typing import Any

import IPython.display

from finetune_lib import progress

CORRECT, INCORRECT, NOT_ATTEMPTED = "Correct", "Incorrect", "Not attempted"
# Signs beside the colours, for whoever cannot tell these apart.
STYLES = {CORRECT: ("✔", "#00735a"), INCORRECT: ("✘", "#b34700"), NOT_ATTEMPTED: ("○", "#595959")}
EMPHASIS = re.compile(r"(?<![\w*])(\*\*?)(?=\S)([^*]+)(?<=\S)\1(?![\w*])")
UNTOUCHED = "Replace the `...` or the comment `# your code here` by your answer, and run the cell again."
UNCHOSEN = "Choose a letter instead of the question mark, and run the cell again."


class Incorrect(Exception):
    """An answer is wrong; the text says what it shows, and where to look."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a check has found.

    Attributes:
        verdict: ``"Correct"``, ``"Incorrect"`` or ``"Not attempted"``.
        message: what the answer shows; of a wrong one, what to think about.
    """

    verdict: str
    message: str

    def __str__(self) -> str:
        return f"{self.verdict}. {self.message}".strip()


@dataclasses.dataclass(frozen=True)
class Task:
    """One question of an exercise notebook.

    Attributes:
        lesson: the module it is in: ``"lesson_04"``.
        name: under which the notebook knows it.
        examine: takes the learner's answer. Raises ``Incorrect``, or returns what a right one shows.
        hints: from a nudge to nearly all.
    """

    lesson: str
    name: str
    examine: Callable[[Any], str]
    hints: tuple[str, ...]

    def judge(self, answer: Any) -> Outcome:
        """Tell a right answer from a wrong one and from none. Whatever the answer is, nothing is raised."""
        try:
            if not attempted(answer):
                return Outcome(NOT_ATTEMPTED, UNCHOSEN if answer == "?" else UNTOUCHED)
            return Outcome(CORRECT, self.examine(answer))
        except Incorrect as wrong:
            return Outcome(INCORRECT, str(wrong))
        except Exception as error:
            return Outcome(
                INCORRECT,
                f"Your answer cannot be used: {type(error).__name__}: {error}. Is it the kind of thing that "
                "the task asks for?",
            )

    def check(self, answer: Any) -> None:
        """Show what ``judge`` says; that an answer was right is kept (``progress``)."""
        outcome = self.judge(answer)
        if outcome.verdict == CORRECT:
            progress.record(self.lesson, self.name, progress.CORRECT)
        sign, colour = STYLES[outcome.verdict]
        _show(
            f"{sign} {outcome}", f'<b style="color:{colour}">{sign} {outcome.verdict}.</b> ', outcome.message
        )

    def hint(self, number: int = 1) -> None:
        """Show a hint; the later ones tell more."""
        if not 1 <= number <= len(self.hints):
            raise ValueError(f"{self.name} has {len(self.hints)} hints; there is none of number {number!r}.")
        more = f" (hint({number + 1}) tells more)" if number < len(self.hints) else ""
        text = self.hints[number - 1] + more
        _show(f"Hint {number}. {text}", f"<b>Hint {number}.</b> ", text)

    def solution(self) -> None:
        """Print the course's solution. There are others; see what ``check`` says of yours."""
        progress.record(self.lesson, self.name, progress.SHOWN)
        print(solutions(self.lesson)[self.name])


def task(*hints: str) -> Callable[[Callable[[Any], str]], Task]:
    """Make a task of a function that examines an answer; its name is the function's."""

    def made(examine: Callable[[Any], str]) -> Task:
        return Task(examine.__module__.rpartition(".")[2], examine.__name__, examine, hints)

    return made


def choice(lesson: str, name: str, right: str, explanations: Mapping[str, str]) -> Task:
    """Make a question of a quiz: its answer is a letter.

    Args:
        lesson: the module's name: ``__name__``.
        right: the right letter.
        explanations: for every letter what is right about it, or why one might think so, and why it is not.
    """

    def examine(answer: str) -> str:
        letter = str(answer).strip().lower()
        if letter not in explanations:
            raise Incorrect(
                f"Choose one of the letters {', '.join(explanations)}; your answer is {answer!r}."
            )
        if letter != right:
            raise Incorrect(explanations[letter])
        return explanations[letter]

    hint = "Cross out the answers you can refute. Each wrong one explains itself if you check it."
    return Task(lesson.rpartition(".")[2], name, examine, (hint,))


def as_html(message: str) -> str:
    """A message for a page, with its `code` and its *emphasis*, which no product or power is taken for."""
    parts = re.split(r"`([^`]+)`", html.escape(message, quote=False))
    parts[::2] = [EMPHASIS.sub(r"<em>\2</em>", text) for text in parts[::2]]
    parts[1::2] = [f"<code>{text}</code>" for text in parts[1::2]]
    return "".join(parts).replace("\n", "<br>")


def attempted(answer: Any) -> bool:
    """Whether an answer is more than the placeholder it was given as."""
    if answer is None or answer is ...:
        return False
    if isinstance(answer, str):
        return answer.strip() not in ("", "?", "...")
    if isinstance(answer, Mapping):
        return all(attempted(value) for value in answer.values())
    if isinstance(answer, list | tuple):
        return all(attempted(value) for value in answer)
    return not (isinstance(answer, types.FunctionType) and _does_nothing(answer))


def call(function: Any, *arguments: Any, **options: Any) -> Any:
    """What a learner's function returns.

    Raises:
        Incorrect: if it is no function, if it raises anything, or if it returns nothing.
    """
    if not callable(function):
        raise Incorrect(
            f"The task asks for a function, and got {_short(function)}, which works for one case at most. "
            "Hand over the function itself, by its name, without brackets."
        )
    shown = ", ".join(
        [*map(_short, arguments), *(f"{key}={_short(value)}" for key, value in options.items())]
    )
    try:
        result = function(*arguments, **options)
    except Exception as error:
        raise Incorrect(
            f"Called with ({shown}), your function raised {type(error).__name__}: {error}"
        ) from None
    if result is None:
        raise Incorrect(f"Called with ({shown}), your function returned nothing. Is a `return` missing?")
    return result


@functools.cache
def solutions(lesson: str) -> dict[str, str]:
    """The code of a lesson's solutions, by task; made from its notebook of solutions."""
    path = importlib.resources.files("finetune_lib.exercises") / f"{lesson}.json"
    return {name: task["solution"] for name, task in json.loads(path.read_text(encoding="utf-8")).items()}


def _does_nothing(function: types.FunctionType) -> bool:
    """Whether a function has no body but a docstring or ``...``."""
    steps = list(dis.get_instructions(function))
    nothing = [step.opname for step in dis.get_instructions(lambda: None)]
    return [step.opname for step in steps] == nothing and steps[1].argval is None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"<{type(value).__name__}>"


def _show(plain: str, heading: str, message: str) -> None:
    """Show a message, in colour where the page can."""
    IPython.display.display({"text/plain": plain, "text/html": heading + as_html(message)}, raw=True)
