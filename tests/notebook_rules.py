"""The rules a lesson keeps, each a small function that yields what is wrong (after tensorflow/docs' nblint).

`RULES` lists them; tests/test_notebook_rules.py applies each to every lesson and shows that each can fail.
"""

import collections
import dataclasses
import itertools
import pathlib
import re
import statistics
import urllib.parse
from collections.abc import Iterator

import nbformat
import notebook_tools

SECTIONS = ("Learning objectives", "Summary", "What next", "Further reading")
LONGEST_CELL = 25
FENCED = re.compile(r"(?ms)^```.*?^```")
LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)|(?m:^\[[^\]]+\]:\s*<?([^\s>]+))|\b(?:href|src)=["']([^"']+)""")


@dataclasses.dataclass
class Lesson:
    """A notebook and where it stands."""

    path: pathlib.Path
    notebook: nbformat.NotebookNode
    project: notebook_tools.Project

    @property
    def code(self) -> list[nbformat.NotebookNode]:
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    @property
    def texts(self) -> list[str]:
        """The Markdown cells' texts, without fenced code."""
        cells = [cell for cell in self.notebook.cells if cell.cell_type == "markdown"]
        return [FENCED.sub("", cell.source) for cell in cells]

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs of the first cell."""
        return [text.strip() for text in self.notebook.cells[0].source.split("\n\n")]


def read(path: pathlib.Path, project: notebook_tools.Project) -> Lesson:
    """Read a notebook for the rules below."""
    return Lesson(path, nbformat.read(path, as_version=4), project)


def one_title(lesson: Lesson) -> Iterator[str]:
    titles = [line for text in lesson.texts for line in re.findall(r"(?m)^# .+", text)]
    if len(titles) != 1 or lesson.paragraphs[0] != titles[0]:
        yield f"the first cell starts with the notebook's only '# ' heading; found {titles}"


def one_sentence_description(lesson: Lesson) -> Iterator[str]:
    text = lesson.paragraphs[1] if len(lesson.paragraphs) > 1 else ""
    if not re.match(r"[A-Z]", text) or len(re.findall(r"[.!?](?=\s|$)", text)) != 1 or text[-1] not in ".!?":
        yield f"the paragraph under the title is one sentence, not {text!r}"


def sections(lesson: Lesson) -> Iterator[str]:
    for section in SECTIONS:
        if not any(re.search(rf"(?m)^##+ {section}\b", text) for text in lesson.texts):
            yield f"there is no section '## {section}'"


def minutes_stated(lesson: Lesson) -> Iterator[str]:
    if not re.search(r"\d.*minute.*CPU.*\d.*minute.*T4", lesson.notebook.cells[0].source):
        yield "the first cell says how many minutes it takes on a CPU and on a T4, in one line"


def badge_names_this_path(lesson: Lesson) -> Iterator[str]:
    badge = lesson.project.badge(lesson.path)
    if badge not in lesson.paragraphs:
        yield f"the first cell holds the badge {badge}"


def setup_cell(lesson: Lesson) -> Iterator[str]:
    cells = [cell for cell in lesson.code if "environment.report()" in cell.source]
    if cells != lesson.code[:1] or cells[0].source != lesson.project.setup_cell:
        yield "the first code cell is the set-up cell, word for word: notebook_tools.py setup-cell prints it"
    elif cells[0].metadata.get("tags") != ["nbval-ignore-output"]:
        yield "the set-up cell, which prints what this machine is, is tagged nbval-ignore-output"


def form_cell(lesson: Lesson) -> Iterator[str]:
    if not any(re.search(r"#\s?@param", cell.source) for cell in lesson.code):
        yield "there is no form cell (# @param)"


def cells_are_run(lesson: Lesson) -> Iterator[str]:
    for number, cell in enumerate(lesson.code):
        if cell.execution_count is None:
            yield f"code cell {number} has no execution_count: nbval compares nothing there"


def cells_are_short(lesson: Lesson) -> Iterator[str]:
    for number, cell in enumerate(lesson.code):
        if (lines := len(cell.source.splitlines())) > LONGEST_CELL:
            yield f"code cell {number} has {lines} lines, over {LONGEST_CELL}"


def no_stored_errors(lesson: Lesson) -> Iterator[str]:
    for number, cell in enumerate(lesson.code):
        if notebook_tools.has_error(cell):
            yield f"code cell {number} holds an error in its outputs"


def no_machine_paths(lesson: Lesson) -> Iterator[str]:
    for number, cell in enumerate(lesson.code):
        if any(place in str(cell.outputs) for place in (str(lesson.project.root), str(pathlib.Path.home()))):
            yield f"code cell {number} prints a path of the machine that built it"


def images_have_alternative_text(lesson: Lesson) -> Iterator[str]:
    for text in lesson.texts:
        for alternative, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)", text):
            if not alternative.strip():
                yield f"the picture {target} has no alternative text"
        for tag in re.findall(r"<img[^>]*>", text):
            if not re.search(r"""alt=["'][^"']""", tag):
                yield f"{tag} has no alternative text"
    for number, cell in enumerate(lesson.code):
        for output in cell.outputs:
            for tag in re.findall(r"<img[^>]*>", "".join(output.get("data", {}).get("text/html", ""))):
                if not re.search(r"""alt=["'][^"']""", tag):
                    yield f"{tag[:60]} under code cell {number} has no alternative text"
            for kind in output.get("data", {}):
                if kind.startswith("image/") and not output.metadata.get(kind, {}).get("alt", "").strip():
                    yield f"a picture under code cell {number} has no alternative text (see plots.show)"


def links_resolve(lesson: Lesson) -> Iterator[str]:
    for text in lesson.texts:
        for target in filter(None, itertools.chain(*LINK.findall(re.sub(r"`[^`\n]*`", "", text)))):
            if problem := dead(target, lesson):
                yield f"the link {target} {problem}"


def dead(target: str, lesson: Lesson) -> str:
    """What is wrong with a link inside the project, or to it on GitHub or in Colab; empty for all others."""
    address, _, anchor = map(urllib.parse.unquote, target.partition("#"))
    project = lesson.project
    for place in (project.repository, f"https://colab.research.google.com/github/{project.slug}"):
        if match := re.match(rf"{re.escape(place)}/(?:blob|tree|raw)/([^/]+)/", address):
            if match[1] != f"v{project.version}":
                return f"names {match[1]}, not v{project.version}"
            path = project.root / address[match.end() :]
            break
    else:
        if re.match(r"file:|https?://(localhost|127\.|0\.0\.0\.0)|[/~]", address):
            return "leads to one machine"
        workflow = re.match(rf"{re.escape(project.repository)}/actions/workflows/([^/]+)", address)
        if re.match(r"[a-z]+:", address) and not workflow:
            return ""
        path = lesson.path.parent / address if address else lesson.path
        path = project.root / ".github" / "workflows" / workflow[1] if workflow else path
    path = path.resolve()
    if not path.exists() or not path.is_relative_to(project.root.resolve()):
        return "leads nowhere"
    if anchor and path.suffix in (".md", ".ipynb") and anchor not in anchors(path):
        return f"names no heading of {path.name}"
    return ""


def anchors(path: pathlib.Path) -> set[str]:
    """What may follow ``#``: GitHub's names of a Markdown file's headings, JupyterLab's of a notebook's."""
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    text = FENCED.sub("", text)
    found = set(re.findall(r"""<[^>]+\b(?:id|name)=["']([^"']+)""", text))
    count: collections.Counter[str] = collections.Counter()
    for heading in re.findall(r"(?m)^ {0,3}#{1,6}[ \t]+(.+?)[ \t#]*$", text):
        words = re.sub(r"<[^>]+>|[*`]", "", re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)).strip()
        if path.suffix == ".ipynb":
            found.add(words.replace(" ", "-"))
            continue
        name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        found.add(f"{name}-{count[name]}" if count[name] else name)
        count[name] += 1
    return found


def ids_are_unique(lesson: Lesson) -> Iterator[str]:
    ids = [cell.id for cell in lesson.notebook.cells]
    if len(set(ids)) != len(ids):
        yield "two cells have the same id"


RULES = [
    one_title,
    one_sentence_description,
    sections,
    minutes_stated,
    badge_names_this_path,
    setup_cell,
    form_cell,
    cells_are_run,
    cells_are_short,
    no_stored_errors,
    no_machine_paths,
    images_have_alternative_text,
    links_resolve,
    ids_are_unique,
]


def style(lesson: Lesson) -> str:
    """Words of prose a line of code, and the median cell: reported, never enforced."""
    lengths = [len([line for line in cell.source.splitlines() if line.strip()]) for cell in lesson.code]
    words = sum(len(text.split()) for text in lesson.texts)
    per_line, median = words / max(sum(lengths), 1), statistics.median(lengths or [0])
    return f"{lesson.path.name}: {per_line:.1f} words a line of code, median code cell {median:g} lines"
