"""The checks of the exercises tell right answers from wrong ones, and the exercises run untouched."""

import importlib
import re

import exercise_tools
import keras
import nbformat
import notebook_rules
import notebook_tools
import numpy as np
import pytest

from finetune_lib import checks

SOURCES = [source for source in notebook_tools.sources() if exercise_tools.is_solutions(source)]
LESSONS = [exercise_tools.lesson(source) for source in SOURCES]
RULES = (
    notebook_rules.one_title,
    notebook_rules.one_sentence_description,
    notebook_rules.badge_names_this_path,
    notebook_rules.setup_cell,
    notebook_rules.cells_are_run,
    notebook_rules.cells_are_short,
    notebook_rules.no_stored_errors,
    notebook_rules.no_machine_paths,
    notebook_rules.images_have_alternative_text,
    notebook_rules.links_resolve,
    notebook_rules.ids_are_unique,
)


def tasks(lesson):
    """A lesson's tasks, and the questions of its quiz, by name."""
    module = importlib.import_module(f"finetune_lib.exercises.{lesson}")
    found = {name: value for name, value in vars(module).items() if isinstance(value, checks.Task)}
    assert all((task.lesson, task.name) == (lesson, name) for name, task in found.items())
    return found


def answers(lesson):
    """Another right answer and the wrong ones, by task."""
    return importlib.import_module(f"exercise_answers.{lesson}").ANSWERS


PAIRS = [(lesson, name) for lesson in LESSONS for name in tasks(lesson)]
TASKS = [pair for pair in PAIRS if not pair[1].startswith("question_")]
QUESTIONS = [pair for pair in PAIRS if pair[1].startswith("question_")]


def read(source):
    """The executed solutions and exercises of a source."""
    return [
        nbformat.read(path, as_version=4)
        for path in (source.with_suffix(".ipynb"), exercise_tools.exercises_of(source))
    ]


@pytest.mark.parametrize("source", SOURCES, ids=LESSONS)
def test_a_lesson_has_tasks_a_quiz_and_answers_to_test_them_with(source):
    lesson = exercise_tools.lesson(source)
    named = [name for known, name in TASKS if known == lesson]
    assert 4 <= len(named) <= 6
    assert len([name for known, name in QUESTIONS if known == lesson]) >= 3
    assert named == list(answers(lesson))
    solved, exercises = read(source)
    for notebook in (solved, exercises):
        checked = re.findall(
            r"(?m)^exercise\.(\w+)\.check\(", "\n".join(cell.source for cell in notebook.cells)
        )
        assert checked == list(tasks(lesson)), "each task is checked once, in the order of the tasks"
    assert list(checks.solutions(lesson)) == list(tasks(lesson))
    code = "\n".join(cell.source for cell in exercises.cells)
    assert not re.search(r"(BEGIN|END) SOLUTION", code)


@pytest.mark.parametrize("source", SOURCES, ids=LESSONS)
def test_solutions_are_judged_right_and_untouched_exercises_not_attempted(source):
    # As the notebooks store it; nbval shows that they do so wherever they run.
    for notebook, verdict in zip(read(source), (checks.CORRECT, checks.NOT_ATTEMPTED), strict=True):
        for cell in notebook.cells:
            if cell.cell_type == "code" and (match := exercise_tools.CHECK.search(cell.source)):
                said = [
                    output.data["text/plain"]
                    for output in cell.outputs
                    if "text/html" in output.get("data", {})
                ]
                assert len(said) == 1 and f" {verdict}. " in f" {said[0]} ", f"{match[1]}: {said}"


@pytest.mark.parametrize(("lesson", "name"), TASKS)
def test_right_and_wrong_answers_are_told_apart(lesson, name):
    task = tasks(lesson)[name]
    right, wrong = answers(lesson)[name]
    keras.utils.set_random_seed(0)  # as a learner may have done: tf.random then repeats itself in streams
    outcome = task.judge(right())
    assert outcome.verdict == checks.CORRECT and outcome.message, outcome
    source = SOURCES[LESSONS.index(lesson)]
    untouched = exercise_tools.untouched(read(source)[1])[name]
    outcomes = {what: task.judge(answer()) for what, answer in wrong.items()}
    assert {outcome.verdict for outcome in outcomes.values()} == {checks.INCORRECT}, outcomes
    outcomes["untouched"] = task.judge(untouched)
    assert outcomes["untouched"].verdict == checks.NOT_ATTEMPTED
    messages = [outcome.message for outcome in outcomes.values()]
    assert len(messages) >= 3 and len(set(messages)) == len(messages), (
        "each wrong answer has a message of its own"
    )
    assert any(what.startswith("hard-coded") for what in wrong)
    assert not [message for message in messages if "cannot be used" in message], outcomes
    assert len(task.hints) >= 2


@pytest.mark.parametrize(("lesson", "name"), TASKS)
def test_nonsense_is_incorrect_and_never_an_exception(lesson, name):
    def too_few():
        return 1

    def raises(*arguments, **options):
        raise RuntimeError("a mistake of the learner's")

    for nonsense in ("nonsense", 10**6, [1, 2], {"a": 1}, object(), too_few, raises, type):
        assert tasks(lesson)[name].judge(nonsense).verdict == checks.INCORRECT, nonsense


@pytest.mark.parametrize(("lesson", "name"), QUESTIONS)
def test_every_option_of_a_question_explains_itself(lesson, name):
    question = tasks(lesson)[name]
    outcomes = {letter: question.judge(f" {letter.upper()} ") for letter in "abcdefgh"}
    known = {letter: outcome for letter, outcome in outcomes.items() if "Choose one" not in outcome.message}
    assert 3 <= len(known) <= 5 and list(known) == list("abcdefgh")[: len(known)]
    assert [outcome.verdict for outcome in outcomes.values()].count(checks.CORRECT) == 1
    assert len({outcome.message for outcome in outcomes.values()}) == len(outcomes), (
        "each has its own message"
    )
    assert question.judge("?").verdict == checks.NOT_ATTEMPTED
    source = SOURCES[LESSONS.index(lesson)]
    text = "\n".join(cell.source for cell in read(source)[1].cells)
    number = name.removeprefix("question_")
    options = text.split(f"**Question {number}.**")[1].split("@param")[0]
    assert re.findall(r"(?m)^- (\w)\) ", options) == list(known), (
        "the notebook lists the options that are explained"
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("source", SOURCES, ids=LESSONS)
def test_solutions_and_exercises_keep_the_rule(source, rule):
    project = notebook_tools.project()
    for path in (source.with_suffix(".ipynb"), exercise_tools.exercises_of(source)):
        assert not list(rule(notebook_rules.read(path, project))), path


def test_of_two_mistakes_at_once_one_is_named():
    answers = importlib.import_module("exercise_answers.lesson_05")
    of_two_draws_too = answers.decide_if(lambda new, old: np.mean(new > old) > 0.75, least=1)
    assert "*At least* three quarters" in tasks("lesson_05")["decide"].judge(of_two_draws_too).message


SOLVED = '''\
# %% [markdown]
# # Two tasks, badge of the solutions

# %% [markdown] tags=["solutions-only"]
# These are the solutions.

# %%
answer = ...
### BEGIN SOLUTION
answer = 2
### END SOLUTION
exercise.number.check(answer)

# %%
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    twice = 2 * x
    return twice
    ### END SOLUTION

exercise.double.check(double)

# %%
# @title Question 1
letter = "?"  # @param ["?", "a"]
### BEGIN SOLUTION
letter = "a"
### END SOLUTION
exercise.question_1.check(letter)

# %%
if 1: pass
'''


@pytest.fixture
def solved(tmp_path):
    source = tmp_path / "solutions" / "07_two_tasks.py"
    source.parent.mkdir()
    source.write_text(SOLVED)
    return notebook_tools.read(source)


def test_exercises_are_derived_by_the_markers(solved):
    derived = exercise_tools.derive(solved, ("badge of the solutions", "badge of the exercises"))
    title, number, double, letter, last = [cell.source for cell in derived.cells]
    assert title == "# Two tasks, badge of the exercises"
    assert number == "answer = ...\n# your code here\nexercise.number.check(answer)"
    assert 'x):\n    """Twice x."""\n    # your code here\n\nexercise.' in double and "twice" not in double
    assert letter.splitlines()[1:] == [
        'letter = "?"  # @param ["?", "a"]',
        "exercise.question_1.check(letter)",
    ]
    assert last == "if 1: pass" and "These are" in solved.cells[1].source  # the solutions are as they were
    shown = exercise_tools.solutions(solved)
    assert shown["number"] == "answer = 2" and shown["question_1"] == 'letter = "a"'
    assert shown["double"].splitlines()[-1] == "    return twice"
    untouched = exercise_tools.untouched(derived)
    assert untouched["number"] is ... and untouched["question_1"] == "?"
    assert not any(checks.attempted(answer) for answer in untouched.values())


def test_a_figure_of_the_solution_stays_as_a_hint(solved):
    derived = exercise_tools.derive(solved, ("", ""))
    picture = nbformat.v4.new_output("display_data", {"image/png": "AAAA"})
    text = nbformat.v4.new_output("display_data", {"text/plain": "Correct."})
    solved.cells[2].outputs, solved.cells[-1].outputs = [text, picture], [picture]
    derived.cells[-1].outputs = [nbformat.v4.new_output("display_data", {"image/png": "BBBB"})]
    exercise_tools.keep_figures(derived, solved)
    assert derived.cells[1].outputs == [picture], "the figure, and not what the solution was told"
    assert len(derived.cells[-1].outputs) == 1 and derived.cells[-1].outputs[0].data["image/png"] == "BBBB"


def test_a_figure_that_tells_the_answer_does_not_stay(solved):
    solved.cells[2].metadata["tags"] = [exercise_tools.ANSWER_IN_FIGURE]
    derived = exercise_tools.derive(solved, ("", ""))
    solved.cells[2].outputs = [nbformat.v4.new_output("display_data", {"image/png": "AAAA"})]
    exercise_tools.keep_figures(derived, solved)
    assert not derived.cells[1].outputs
