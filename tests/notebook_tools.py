"""Turns each notebook's source, `notebooks/**/NN_name.py` (py:percent), into the executed `.ipynb` beside it.

Of solutions it makes the exercises, too: see exercise_tools. A NAME is 04, or solutions/04.

python tests/notebook_tools.py build [NAME...]        execute and write all, or those whose names start so
python tests/notebook_tools.py point-to OWNER/NAME    badges and set-up cells name a fork, nothing is run
python tests/notebook_tools.py setup-cell             print the set-up cell that every lesson carries
"""

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

import exercise_tools
import jupyter_client
import jupytext
import nbclient
import nbformat
import nbval.kernel

ROOT = pathlib.Path(__file__).resolve().parents[1]
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

# Colab preinstalls some 700 packages. Pinning every one of them, but tensorflow-metadata (whose Colab version
# breaks tensorflow_datasets: tensorflow/metadata#68), means that none is replaced under the learner's feet.
SETUP_CELL = """\
# On Colab: install the course's library, change nothing that is preinstalled. Everywhere: say what runs here.
import importlib.metadata
import sys

VERSION = "{version}"
PACKAGE = f"finetune-lib @ git+{repository}@v{{VERSION}}"
installed = [package.version for package in importlib.metadata.distributions(name="finetune-lib")]
if "google.colab" in sys.modules and VERSION not in installed:
    print("Installing, about half a minute ...")
    %pip list --format=freeze --exclude finetune-lib --exclude tensorflow-metadata > /tmp/constraints.txt
    %pip install -q -c /tmp/constraints.txt "{{PACKAGE}}"

from finetune_lib import environment

environment.report()"""


@dataclasses.dataclass(frozen=True)
class Project:
    """What pyproject.toml says: `[project.urls] Repository` is the one place that names the repository."""

    root: pathlib.Path
    repository: str
    version: str

    @property
    def slug(self) -> str:
        return self.repository.removeprefix("https://github.com/")

    @property
    def setup_cell(self) -> str:
        return SETUP_CELL.format(repository=self.repository, version=self.version)

    def badge(self, notebook: pathlib.Path) -> str:
        """The Markdown of the Open-in-Colab badge of a notebook (a path below the root)."""
        where = notebook.relative_to(self.root).with_suffix(".ipynb").as_posix()
        colab = "https://colab.research.google.com"
        image = f"[![Open in Colab]({colab}/assets/colab-badge.svg)]"
        return f"{image}({colab}/github/{self.slug}/blob/v{self.version}/{where})"


def project(root: pathlib.Path = ROOT) -> Project:
    """Read the project's name and version."""
    table = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return Project(root, table["urls"]["Repository"], table["version"])


def sources(root: pathlib.Path = ROOT) -> list[pathlib.Path]:
    """Every notebook's source, in order: the files below notebooks/ that start as py:percent does."""
    found = sorted((root / "notebooks").rglob("*.py"))
    return [path for path in found if path.read_text(encoding="utf-8").startswith("# %%")]


def read(source: pathlib.Path) -> nbformat.NotebookNode:
    """The notebook of a source, not executed. A cell's id comes from its text: a rebuild differs little."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    seen: set[str] = set()
    for cell in notebook.cells:
        salt = 0
        while (name := hashlib.sha256(f"{cell.source}{salt or ''}".encode()).hexdigest()[:8]) in seen:
            salt += 1
        seen.add(name)
        cell.id = name
    return notebook


def inputs(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy without outputs: what must equal `read(source)`."""
    bare = nbformat.from_dict(notebook)
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return bare


def exercises(source: pathlib.Path, of: Project) -> nbformat.NotebookNode:
    """The exercises that a source of solutions gives, not executed."""
    return exercise_tools.derive(
        read(source), (of.badge(source), of.badge(exercise_tools.exercises_of(source)))
    )


def write(notebook: nbformat.NotebookNode, path: pathlib.Path) -> None:
    """Write under a temporary name and rename: an interrupted build leaves the old notebook whole."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".part")
    nbformat.write(notebook, temporary)
    temporary.replace(path)


def execute(notebook: nbformat.NotebookNode, folder: pathlib.Path) -> None:
    """Run all cells in place, in this environment's kernel, as nbval will; keep no timings, no widget state.

    Raises nbclient.exceptions.CellExecutionError where a cell fails.
    """
    # ipykernel looks at this variable: with it, it leaves the C-level output streams alone, as under nbval.
    os.environ["PYTEST_CURRENT_TEST"] = "build"
    manager = jupyter_client.AsyncKernelManager(
        kernel_name=nbval.kernel.CURRENT_ENV_KERNEL_NAME,
        kernel_spec_manager=nbval.kernel.NbvalKernelspecManager(),
    )
    options = {"timeout": 600, "record_timing": False, "store_widget_state": False, "coalesce_streams": True}
    client = nbclient.NotebookClient(
        notebook, km=manager, resources={"metadata": {"path": str(folder)}}, **options
    )
    with tempfile.TemporaryDirectory() as course:  # what a lesson saves is not the maintainer's own
        environment = os.environ | {"FINETUNE_COURSE": course}
        # The kernel's own log goes nowhere, not the cells' stderr.
        client.execute(cleanup_kc=True, stderr=subprocess.DEVNULL, env=environment)
        # Nor does where it was saved stand in the output.
        text = nbformat.writes(notebook).replace(course, "~/.local/share/finetune_lib/course")
    notebook.cells = nbformat.reads(text, as_version=4).cells
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            # Nobody compares stderr, and it is where paths and progress bars of this machine end up.
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)


def build(names: list[str], root: pathlib.Path = ROOT) -> int:
    """Execute and write the notebooks whose names start with one of `names` (none: all); 1 if one failed."""
    notebooks = root / "notebooks"
    chosen = [
        path
        for path in sources(root)
        if not names
        or path.name.startswith(tuple(names))
        or path.relative_to(notebooks).as_posix().startswith(tuple(names))
    ]
    if not chosen:
        print("no such notebook:", *names, file=sys.stderr)
    failed = not chosen
    for source in chosen:
        stamp(source, project(root), project(root).slug)
        made = {source.with_suffix(".ipynb"): read(source)}
        if exercise_tools.is_solutions(source):
            made[exercise_tools.exercises_of(source)] = exercises(source, project(root))
        print("building", source.relative_to(root), flush=True)
        notebook = made[source.with_suffix(".ipynb")]
        try:
            for path, notebook in made.items():  # noqa: B007 (the message below names the one that failed)
                execute(notebook, source.parent)  # as deep below the root as the exercises'
        except nbclient.exceptions.CellExecutionError as error:
            number = next(n for n, cell in enumerate(notebook.cells) if has_error(cell))
            message = f"{path.relative_to(root)}: cell {number} failed; the old notebook is untouched"
            print(error, message, sep="\n", file=sys.stderr)
            failed = True
        else:
            if exercise_tools.is_solutions(source):
                write_solutions(source, root)
                exercise_tools.keep_figures(notebook, made[source.with_suffix(".ipynb")])
            for path, notebook in made.items():
                write(notebook, path)
    return int(failed)


def write_solutions(source: pathlib.Path, root: pathlib.Path) -> None:
    """Give the library the tasks' titles, and the code that `task.solution()` shows."""
    path = root / "finetune_lib" / "exercises" / f"{exercise_tools.lesson(source)}.json"
    text = json.dumps(exercise_tools.for_the_library(read(source)), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def has_error(cell: nbformat.NotebookNode) -> bool:
    """Whether an error is stored in a cell's outputs."""
    return any(output.output_type == "error" for output in cell.get("outputs", []))


def rename(text: str, to: Project, old_slug: str) -> str:
    """Point the links to the repository, and to its tag, that stand in a text at another one."""
    text = re.sub(rf"(github(?:\.com)?/){re.escape(old_slug)}(?![\w-])", rf"\g<1>{to.slug}", text)
    return re.sub(rf"({re.escape(to.slug)}(?:/blob/|/tree/|@))v\d[\w.]*\w", rf"\g<1>v{to.version}", text)


def stamp(source: pathlib.Path, to: Project, old_slug: str) -> None:
    """Renew a source's badge, set-up cell and VERSION line."""
    old = source.read_text(encoding="utf-8")
    setup = re.sub(r"(?m)^( *)%", r"\1# %", to.setup_cell)  # jupytext keeps magics as comments
    text = re.sub(r"(?ms)^# On Colab: install .*?^environment\.report\(\)$", lambda _: setup, old)
    text = re.sub(r"\[!\[Open in Colab\].*", lambda _: to.badge(source), text)
    text = re.sub(r'(?m)^VERSION = ".*"$', f'VERSION = "{to.version}"', text)
    text = rename(text, to, old_slug)
    if text != old:
        source.write_text(text, encoding="utf-8")


def point_to(slug: str, root: pathlib.Path = ROOT) -> None:
    """Make pyproject.toml, all Markdown and all notebooks (not run) name another repository."""
    old = project(root)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", slug):
        raise ValueError(f"{slug!r} is not OWNER/NAME")
    to = dataclasses.replace(old, repository=f"https://github.com/{slug}")
    for path in [root / "pyproject.toml", *root.glob("*.md"), *root.glob("notebooks/**/*.md")]:
        path.write_text(rename(path.read_text(encoding="utf-8"), to, old.slug), encoding="utf-8")
    for source in sources(root):
        stamp(source, to, old.slug)
        pairs = {source.with_suffix(".ipynb"): read(source)}
        if exercise_tools.is_solutions(source):
            pairs[exercise_tools.exercises_of(source)] = exercises(source, to)
        for path, renewed in pairs.items():
            if not path.exists():
                continue
            executed = nbformat.reads(rename(path.read_text(encoding="utf-8"), to, old.slug), as_version=4)
            if len(executed.cells) != len(renewed.cells):
                raise ValueError(f"{path.name} is older than its source: build it first")
            for was, now in zip(executed.cells, renewed.cells, strict=True):
                if now.cell_type == "code":
                    now.outputs, now.execution_count = was.outputs, was.execution_count
            write(renewed, path)
    print(f"All badges, links and set-up cells name {slug} now, at v{to.version}.")


def main() -> int:
    """The command line; see this file's first lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["build", "point-to", "setup-cell"])
    parser.add_argument("names", nargs="*")
    chosen = parser.parse_args()
    if chosen.command == "build":
        return build(chosen.names)
    if chosen.command == "point-to":
        point_to(*chosen.names)
    else:
        print(project().setup_cell)
    return 0


if __name__ == "__main__":
    sys.exit(main())
