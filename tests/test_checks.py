"""How answers are judged, whatever they are; the tasks themselves are tested in test_exercises."""

import pathlib
import tomllib

import numpy as np
import pytest

from finetune_lib import checks


@checks.task("Think of a number.", "It is two.")
def two(answer):
    if checks.call(answer) != 2:
        raise checks.Incorrect("Not `2`, but <less>.")
    return "Two it is."


def stub(x):
    """What is to be done."""


def ellipsis(x):
    """What is to be done."""
    ...


@pytest.mark.parametrize("answer", [None, ..., "", " ? ", [1, ...], (None,), {"a": ...}, stub, ellipsis])
def test_placeholders_are_not_attempted(answer):
    assert not checks.attempted(answer)
    assert two.judge(answer).verdict == checks.NOT_ATTEMPTED


@pytest.mark.parametrize(
    "answer", [0, False, "a", [], np.zeros(2), lambda x: 0, lambda x: x, print, stub.__call__]
)
def test_all_else_is_an_answer(answer):
    assert checks.attempted(answer)


def test_a_right_and_a_wrong_answer():
    assert str(two.judge(lambda: 2)) == "Correct. Two it is."
    assert two.judge(lambda: 3).verdict == checks.INCORRECT
    assert (two.lesson, two.name) == ("test_checks", "two")


def forgetful():
    two = 1 + 1  # noqa: F841


def failing():
    raise KeyError("lost")


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (2, "The task asks for a function, and got 2"),
        (forgetful, "returned nothing. Is a `return` missing?"),
        (failing, "raised KeyError: 'lost'"),
        (lambda x: x, "raised TypeError"),
        (lambda: np.array([2, 2]), "cannot be used: ValueError"),  # comparing arrays is ambiguous
    ],
)
def test_what_goes_wrong_is_said(answer, part):
    outcome = two.judge(answer)
    assert outcome.verdict == checks.INCORRECT and part in outcome.message


def test_ctrl_c_is_not_taken_for_an_answer():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two.judge(interrupted)


def test_a_message_is_shown_with_its_code_and_its_emphasis():
    assert checks.as_html("the *test* part, `a *b* c` < 2\n**at least**") == (
        "the <em>test</em> part, <code>a *b* c</code> &lt; 2<br><em>at least</em>"
    )
    for text in ("2 * 3 * 4", "2**31 and 2**32", "a*b*c", "5 * (x * y)"):
        assert checks.as_html(text) == text


def test_what_is_shown(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    two.check(lambda: 2)
    two.check(lambda: 3)
    two.check(...)
    two.hint()
    two.hint(2)
    plain, rich = ([data[kind] for data in shown] for kind in ("text/plain", "text/html"))
    assert plain[:2] == ["✔ Correct. Two it is.", "✘ Incorrect. Not `2`, but <less>."]
    assert "Not <code>2</code>, but &lt;less&gt;." in rich[1] and plain[2].startswith(
        "○ Not attempted. Replace"
    )
    assert plain[3:] == ["Hint 1. Think of a number. (hint(2) tells more)", "Hint 2. It is two."]
    with pytest.raises(ValueError, match="has 2 hints"):
        two.hint(3)


def test_a_choice_explains_each_option():
    question = checks.choice(
        "finetune_lib.exercises.lesson_00", "question_9", "b", {"a": "No: one.", "b": "Two."}
    )
    assert (question.lesson, question.name) == ("lesson_00", "question_9")
    assert str(question.judge(" B ")) == "Correct. Two." and str(question.judge("a")) == "Incorrect. No: one."
    assert question.judge("c").message == "Choose one of the letters a, b; your answer is 'c'."


def test_packages_and_their_data_are_installed():
    root = pathlib.Path(checks.__file__).parents[1]
    table = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = [path.parent.relative_to(root) for path in root.glob("finetune_lib/**/__init__.py")]
    assert sorted(table["packages"]) == sorted(".".join(folder.parts) for folder in folders)
    files = {
        path
        for path in (root / "finetune_lib").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packaged = {
        path
        for pattern in table["package-data"]["finetune_lib"]
        for path in root.glob(f"finetune_lib/{pattern}")
    }
    modules = {path for path in files if path.suffix == ".py" and path.parent.relative_to(root) in folders}
    assert files - modules == packaged


def test_the_solution_is_shown(capsys):
    from finetune_lib.exercises import lesson_00

    lesson_00.steps_an_epoch.solution()
    assert "def steps_an_epoch(images, batch_size):" in capsys.readouterr().out
