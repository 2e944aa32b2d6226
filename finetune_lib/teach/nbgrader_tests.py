"""What the hidden part of a check calls under nbgrader: the verdict on an answer decides its point.

The answer is judged once: some checks train a network, and an answer may not be the same twice.
"""

from finetune_lib import checks

_judge = checks.Task.judge
_found: dict[checks.Task, checks.Outcome] = {}


class NoPoint(AssertionError):
    """A check has not found a right answer; shown without a traceback, which says nothing to a learner."""

    def _render_traceback_(self) -> list[str]:
        return ["No point: see what the check says above."]


def listen(task: checks.Task) -> None:
    """Keep what the task's next check finds, and forget what an earlier one found."""
    checks.Task.judge = _judge_and_keep  # type: ignore[method-assign,assignment]
    _found.pop(task, None)


def assert_correct(task: checks.Task) -> None:
    """Raise NoPoint, unless the task's check has found a right answer since ``listen``."""
    outcome = _found.get(task)
    if outcome is None:
        raise NoPoint("The answer was not checked.")
    if outcome.verdict != checks.CORRECT:
        raise NoPoint(outcome)


def _judge_and_keep(task: checks.Task, answer: object) -> checks.Outcome:
    _found[task] = _judge(task, answer)
    return _found[task]
