"""Every notebook opens without a warning, and in notebooks and documents every link and picture is whole."""

import dataclasses
import json
import pathlib
import re
import shutil
import warnings
from collections.abc import Callable, Iterator

import nbformat
import notebook_rules
import notebook_tools
import pytest

ROOT = notebook_tools.ROOT
NOTEBOOKS = [
    path for path in sorted((ROOT / "notebooks").rglob("*.ipynb")) if ".ipynb_checkpoints" not in path.parts
]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "notebooks").rglob("*.md")])
LARGEST = 2_000_000  # bytes; GitHub and Colab show larger ones late or not at all


@dataclasses.dataclass(frozen=True)
class File:
    """A notebook as it lies on the disk."""

    path: pathlib.Path
    project: notebook_tools.Project

    @property
    def text(self) -> str:
        return self.path.read_bytes().decode("utf-8")

    @property
    def cells(self) -> list[dict]:
        return json.loads(self.text)["cells"]

    @property
    def lesson(self) -> notebook_rules.Lesson:
        return notebook_rules.read(self.path, self.project)


def format_is_valid(file: File) -> Iterator[str]:
    """The schema of its own version, and no warning (of missing or doubled ids) when Jupyter reads it."""
    raw = json.loads(file.text)
    schema = nbformat.validator.get_validator(raw["nbformat"], raw["nbformat_minor"])
    for error in schema.iter_errors(raw):
        yield f"{'/'.join(map(str, error.absolute_path))}: {error.message[:100]}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            nbformat.validate(nbformat.read(file.path, as_version=nbformat.NO_CONVERT))
        except nbformat.ValidationError as error:
            yield error.message[:100]
    for warning in caught:
        yield str(warning.message)[:100]


def jupyter_saves_it_as_it_is(file: File) -> Iterator[str]:
    """Opened and saved, a clone has no difference to commit: order, indentation, line ends, UTF-8."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are format_is_valid's
        saved = nbformat.writes(nbformat.reads(file.text, as_version=nbformat.NO_CONVERT)) + "\n"
    if saved != file.text:
        yield "another program wrote it: build it with notebook_tools.py"


def metadata_are_few(file: File) -> Iterator[str]:
    raw = json.loads(file.text)
    if raw["metadata"] != notebook_tools.METADATA:
        yield f"the notebook's metadata are {raw['metadata']}, not notebook_tools.METADATA"
    for number, cell in enumerate(raw["cells"]):
        # jupytext counts blank lines.
        if strange := set(cell["metadata"]) - {"tags", "lines_to_next_cell"}:
            yield f"cell {number} has the metadata {sorted(strange)}"
        if "attachments" in cell:
            yield f"cell {number} has attachments, which Colab does not show"


def outputs_show_everywhere(file: File) -> Iterator[str]:
    """Where a page cannot show HTML, or an output without a kernel, there is plain text."""
    for number, cell in enumerate(file.cells):
        for output in cell.get("outputs", []):
            kinds = output.get("data", {})
            if output["output_type"] == "error" or output.get("name") == "stderr":
                yield f"cell {number} holds an error or a warning"
            if strange := {kind for kind in kinds if not re.match(r"text/(plain|html)$|image/", kind)}:
                yield f"cell {number} holds {sorted(strange)}, which needs a kernel or an extension"
            pictures = [kind for kind in kinds if kind.startswith("image/")]
            described = any(output["metadata"].get(kind, {}).get("alt") for kind in pictures)
            if kinds and not described and not "".join(kinds.get("text/plain", "")).strip():
                yield f"cell {number} holds {sorted(kinds)} without a text in place of it"


def size_is_small(file: File) -> Iterator[str]:
    if (size := file.path.stat().st_size) > LARGEST:
        yield f"{size / 1e6:.1f} MB"


def of_lesson(rule: Callable[[notebook_rules.Lesson], Iterator[str]]) -> Callable[[File], Iterator[str]]:
    """A rule of lessons, for every notebook."""

    def applied(file: File) -> Iterator[str]:
        return rule(file.lesson)

    applied.__name__ = rule.__name__
    return applied


RULES = [
    format_is_valid,
    jupyter_saves_it_as_it_is,
    metadata_are_few,
    outputs_show_everywhere,
    size_is_small,
    of_lesson(notebook_rules.images_have_alternative_text),
    of_lesson(notebook_rules.links_resolve),
]


def name(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_notebook_opens_without_a_warning(path: pathlib.Path) -> None:
    file = File(path, notebook_tools.project())
    assert not [f"{rule.__name__}: {complaint}" for rule in RULES for complaint in rule(file)]


def document(path: pathlib.Path, project: notebook_tools.Project) -> notebook_rules.Lesson:
    """A Markdown file, for the rules that are about Markdown."""
    cell = nbformat.v4.new_markdown_cell(path.read_text(encoding="utf-8"))
    return notebook_rules.Lesson(path, nbformat.v4.new_notebook(cells=[cell]), project)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_and_pictures_of_a_document_are_whole(path: pathlib.Path) -> None:
    text = document(path, notebook_tools.project())
    assert not [*notebook_rules.links_resolve(text), *notebook_rules.images_have_alternative_text(text)]


@pytest.fixture
def project(tmp_path: pathlib.Path) -> notebook_tools.Project:
    """A project with one notebook and one document that keep every rule."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    project = notebook_tools.project(tmp_path)
    picture = nbformat.v4.new_output(
        "display_data",
        {"image/png": "iVBORw0K", "text/plain": "a line"},
        metadata={"image/png": {"alt": "a"}},
    )
    cells = [
        nbformat.v4.new_markdown_cell("# One title\n\n[Up](../guide.md#two-words)", id="text"),
        nbformat.v4.new_code_cell("print()", id="code", outputs=[picture]),
        nbformat.v4.new_code_cell("1 + 1", id="last", metadata={"tags": ["nbval-ignore-output"]}),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=notebook_tools.METADATA)
    notebook_tools.write(notebook, tmp_path / "notebooks" / "draft.ipynb")
    for path in ("badge.svg", ".github/workflows/tests.yml"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "guide.md").write_text(GUIDE.format(project=project), encoding="utf-8")
    return project


GUIDE = """\
# `guide_name`, and [more](notebooks)

[![Open](badge.svg)](notebooks/draft.ipynb#One-title) [two](#two-words) [again](#two-words-1) [term](#term)
[words](#%E8%BF%81%E7%A7%BB%E5%AD%A6%E4%B9%A0) [name](#guide_name-and-more) [elsewhere](https://keras.io)
[badge]({project.repository}/actions/workflows/tests.yml/badge.svg)
[tag]({project.repository}/blob/v{project.version}/guide.md#two-words)
[Colab](https://colab.research.google.com/github/{project.slug}/blob/v{project.version}/notebooks/draft.ipynb)
<img src="notebooks" alt="a line">

## Two words
## Two **words**
### 迁移学习
<a id="term"></a>

```sh
# no heading, and no [link](nowhere)
```
"""


def change(old: str, new: str) -> Callable[[str], str]:
    """A breakage: other words."""

    def changed(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return changed


def on_json(**fields: object) -> Callable[[str], str]:
    """A breakage: fields of the second cell; None takes one away."""

    def changed(text: str) -> str:
        raw = json.loads(text)
        for key, value in fields.items():
            raw["cells"][1].pop(key, None)
            if value is not None:
                raw["cells"][1][key] = value
        return json.dumps(dict(sorted(raw.items())), indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    return changed


def output(kind: str = "display_data", **fields: object) -> Callable[[str], str]:
    return on_json(outputs=[{"output_type": kind, **fields}])


WARNED = {"format_is_valid", "jupyter_saves_it_as_it_is"}  # nbformat mends the id, and warns
BREAKAGES: list[tuple[set[str], Callable[[str], str]]] = [
    (WARNED, change('"id": "code"', '"id": "text"')),
    (WARNED, on_json(id=None)),
    ({"format_is_valid"}, on_json(id="no spaces")),
    ({"format_is_valid"}, on_json(colour="red")),
    ({"format_is_valid"}, change('"nbformat": 4,', '"name": "",\n "nbformat": 4,')),
    ({"format_is_valid"}, output(data={"text/plain": ["a line"]}, metadata={}, more=1)),
    ({"jupyter_saves_it_as_it_is"}, lambda text: text.rstrip("\n")),
    ({"jupyter_saves_it_as_it_is"}, change("\n ", "\n  ")),
    ({"jupyter_saves_it_as_it_is"}, change("One title", "One \\u0074itle")),
    ({"metadata_are_few"}, change('"python3"', '"my-environment"')),
    ({"metadata_are_few"}, on_json(metadata={"scrolled": True})),
    ({"outputs_show_everywhere"}, output("stream", name="stderr", text=["a warning"])),
    ({"outputs_show_everywhere"}, output("error", ename="E", evalue="", traceback=[])),
    ({"outputs_show_everywhere"}, output(data={"text/html": ["<b>b</b>"]}, metadata={})),
    (
        {"outputs_show_everywhere"},
        output(
            data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": ["a slider"]}, metadata={}
        ),
    ),
    (
        {"images_have_alternative_text"},
        output(data={"image/png": "iVBORw0K", "text/plain": ["<Figure>"]}, metadata={}),
    ),
    (
        {"images_have_alternative_text"},
        output(data={"text/html": ["<img src='x'>"], "text/plain": ["a line"]}, metadata={}),
    ),
    ({"size_is_small"}, change("1 + 1", "1" * LARGEST)),
    ({"links_resolve"}, change("guide.md", "guides.md")),
    ({"links_resolve"}, change("#two-words", "#Two-words")),
]


def test_a_whole_notebook_is_called_whole(project: notebook_tools.Project) -> None:
    file = File(project.root / "notebooks" / "draft.ipynb", project)
    assert not [complaint for rule in RULES for complaint in rule(file)]


@pytest.mark.filterwarnings(
    "ignore::nbformat.warnings.MissingIDFieldWarning", "ignore::nbformat.warnings.DuplicateCellId"
)
@pytest.mark.parametrize(("names", "breakage"), BREAKAGES)
def test_a_broken_notebook_is_caught(
    project: notebook_tools.Project, names: set[str], breakage: Callable[[str], str]
) -> None:
    file = File(project.root / "notebooks" / "draft.ipynb", project)
    file.path.write_text(breakage(file.text), encoding="utf-8")
    assert {rule.__name__ for rule in RULES if list(rule(file))} == names


def test_every_rule_is_seen_to_fail() -> None:
    assert set().union(*(names for names, _ in BREAKAGES)) == {rule.__name__ for rule in RULES}


DEAD = [
    ("(notebooks/draft.ipynb#One-title)", "(notebooks/none.ipynb)", "leads nowhere"),
    ("(notebooks/draft.ipynb#One-title)", "(..)", "leads nowhere"),
    ("(notebooks/draft.ipynb#One-title)", "(/etc/hosts)", "leads to one machine"),
    ("(https://keras.io)", "(http://localhost:8888/lab)", "leads to one machine"),
    ("(https://keras.io)", "(file:///etc/hosts)", "leads to one machine"),
    ("#One-title", "#one-title", "names no heading of draft.ipynb"),
    ("#two-words-1", "#two-words-2", "names no heading of guide.md"),
    ("#term", "#terms", "names no heading of guide.md"),
    ("guide.md#two-words", "guide.md#three-words", "names no heading of guide.md"),
    ("/blob/v", "/blob/v9", "names v9"),
    ("/notebooks/draft.ipynb)", "/notebooks/none.ipynb)", "leads nowhere"),
    ('src="notebooks"', 'src="none.png"', "leads nowhere"),
    ("workflows/tests.yml", "workflows/test.yml", "leads nowhere"),
    ("[elsewhere](https://keras.io)", "[elsewhere]\n\n[elsewhere]: none.md", "leads nowhere"),
]


def test_a_whole_document_is_called_whole(project: notebook_tools.Project) -> None:
    text = document(project.root / "guide.md", project)
    assert not [*notebook_rules.links_resolve(text), *notebook_rules.images_have_alternative_text(text)]


@pytest.mark.parametrize(("old", "new", "problem"), DEAD)
def test_a_dead_link_is_caught(project: notebook_tools.Project, old: str, new: str, problem: str) -> None:
    guide = project.root / "guide.md"
    guide.write_text(change(old, new)(guide.read_text(encoding="utf-8")), encoding="utf-8")
    complaints = list(notebook_rules.links_resolve(document(guide, project)))
    assert complaints and all(problem in complaint for complaint in complaints)
