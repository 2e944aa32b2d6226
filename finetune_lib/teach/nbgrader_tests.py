"""What the hidden part of a check calls under nbgrader: the verdict on an answer decides its point.

The answer is judged once: some checks train a network, and an answer may not be the same twice.
"""

from finetune_lib import checks

_judge = checks.Task.judge
_found: dict[checks.Task, checks.Outcome] = {}


def listen(task: checks.Task) -> None:
    """Keep what the task's next check finds, and forget what an earlier one found."""
    checks.Task.judge = _judge_and_keep  # type: ignore[method-assign,assignment]
    _found.pop(task, None)


def assert_correct(task: checks.Task) -> None:
    """Raise AssertionError, unless the task's check has found a right answer since ``listen``."""
    outcome = _found.get(task)
    assert outcome is not None, "The answer was not checked."
    assert outcome.verdict == checks.CORRECT, outcome


def _judge_and_keep(task: checks.Task, answer: object) -> checks.Outcome:
    _found[task] = _judge(task, answer)
    return _found[task]
