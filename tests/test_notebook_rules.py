"""Every lesson keeps the rules of notebook_rules.py; a notebook that breaks one is caught by it."""

import pathlib
import shutil

import nbformat
import notebook_rules
import notebook_tools
import pytest

HERE = pathlib.Path(__file__).parent
LESSONS = sorted((notebook_tools.ROOT / "notebooks").glob("[0-9][0-9]*_*.ipynb"))


@pytest.mark.parametrize("rule", notebook_rules.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lessons_keep_the_rule(path, rule):
    complaints = list(rule(notebook_rules.read(path, notebook_tools.project())))
    assert not complaints


@pytest.fixture
def lesson(tmp_path):
    """A lesson that keeps every rule, in a project of its own."""
    shutil.copy(notebook_tools.ROOT / "pyproject.toml", tmp_path)
    source = tmp_path / "notebooks" / "00_draft.py"
    source.parent.mkdir()
    shutil.copy(HERE / "fixtures" / "draft_lesson.py", source)
    project = notebook_tools.project(tmp_path)
    notebook_tools.stamp(source, project, project.slug)
    notebook = notebook_tools.read(source)
    draft = notebook_rules.Lesson(source.with_suffix(".ipynb"), notebook, project)
    for number, cell in enumerate(draft.code, 1):
        cell.execution_count = number
    picture = nbformat.v4.new_output(
        "display_data", {"image/png": ""}, metadata={"image/png": {"alt": "a line"}}
    )
    draft.code[-1].outputs = [picture]
    notebook_tools.write(notebook, draft.path)
    return draft


def text(old, new):
    """A breakage: replace words in the Markdown."""

    def change(lesson):
        assert old in "".join(cell.source for cell in lesson.notebook.cells)
        for cell in lesson.notebook.cells:
            cell.source = cell.source.replace(old, new)

    return change


def code(number, **changes):
    """A breakage: replace a code cell's fields."""
    return lambda lesson: lesson.code[number].update(nbformat.from_dict(changes))


ERROR = nbformat.v4.new_output("error", ename="ValueError", evalue="wrong", traceback=[])
PATH = nbformat.v4.new_output("stream", name="stdout", text=str(pathlib.Path.home() / "course"))
PICTURE = nbformat.v4.new_output("display_data", {"image/png": ""})
BREAKAGES = [
    ("one_title", text("# A draft lesson", "A draft lesson")),
    ("one_title", text("not a title\n```", "not a title\n```\n\n# A second title")),
    ("one_sentence_description", text("every rule, so that", "every rule. So that")),
    ("sections", text("## Learning objectives", "Learning objectives")),
    ("sections", text("## Further reading", "## Links")),
    ("minutes_stated", text("1 minute on a T4", "no time on a T4")),
    ("badge_names_this_path", text("notebooks/00_draft.ipynb", "notebooks/00_draft.py")),
    ("badge_names_this_path", text("[![Open in Colab]", "[![Open]")),
    ("setup_cell", text("%pip install -q", "%pip install -q -U")),
    ("setup_cell", code(0, metadata={})),
    ("form_cell", text("@param", "parameter")),
    ("cells_are_run", code(1, execution_count=None)),
    ("cells_are_short", code(-1, source="print()\n" * 26)),
    ("no_stored_errors", code(-1, outputs=[ERROR])),
    ("no_machine_paths", code(-1, outputs=[PATH])),
    ("images_have_alternative_text", code(-1, outputs=[PICTURE])),
    ("images_have_alternative_text", text("![a straight line]", "![]")),
    (
        "images_have_alternative_text",
        text("[The documentation]", '<img src="00_draft.py" alt="">[The documentation]'),
    ),
    ("links_resolve", text("00_draft.ipynb#Summary", "09_missing.ipynb#summary")),
    ("ids_are_unique", lambda lesson: lesson.notebook.cells[1].update(id=lesson.notebook.cells[0].id)),
]


def test_the_draft_lesson_keeps_every_rule(lesson):
    assert not [complaint for rule in notebook_rules.RULES for complaint in rule(lesson)]


@pytest.mark.parametrize(("name", "breakage"), BREAKAGES, ids=[name for name, _ in BREAKAGES])
def test_a_broken_lesson_is_caught_by_its_rule_alone(lesson, name, breakage):
    breakage(lesson)
    assert {rule.__name__ for rule in notebook_rules.RULES if list(rule(lesson))} == {name}


def test_every_rule_is_seen_to_fail():
    assert {name for name, _ in BREAKAGES} == {rule.__name__ for rule in notebook_rules.RULES}
