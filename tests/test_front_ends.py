"""JupyterLab, Notebook 7 and the classic notebook open the course's notebooks without a warning."""

import dataclasses
import json
import pathlib
import re
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import browser_tools
import nbformat
import notebook_tools
import pytest

pytestmark = pytest.mark.browser

TIME_LIMIT = 60  # seconds for a page and its kernel
OPENED = ("02a_gradient_descent.ipynb", "exercises/04_freeze_and_fit.ipynb")
BLANK, BROKEN = "blank.ipynb", "broken.ipynb"
# Of a page of JupyterLab or Notebook 7, and of the classic notebook: what stands before the notebook.
WARNINGS = ".jp-Dialog, .Toastify__toast, .modal.in, #notification_area .notification_widget.warning"


@dataclasses.dataclass(frozen=True)
class FrontEnd:
    """A front end on its server.

    Attributes:
        module: the server is ``python -m module``.
        path: of a notebook's page, before the notebook's own path.
        cells: a CSS selector of the cells that are drawn.
    """

    module: str
    path: str
    cells: str


FRONT_ENDS = [
    FrontEnd("jupyterlab", "lab/tree/", ".jp-Notebook .jp-Cell"),
    FrontEnd("notebook", "notebooks/", ".jp-Notebook .jp-Cell"),
    FrontEnd("nbclassic", "nbclassic/notebooks/", "#notebook-container .cell"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The course's notebooks, one with next to nothing in it, and one with a wrong format and kernel."""
    folder = tmp_path_factory.mktemp("front_ends") / "notebooks"
    shutil.copytree(
        notebook_tools.ROOT / "notebooks", folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints")
    )
    cells = [nbformat.v4.new_markdown_cell("# Blank\n\n$x^2$"), nbformat.v4.new_code_cell("1 + 1")]
    blank = nbformat.v4.new_notebook(cells=cells, metadata=notebook_tools.METADATA)
    nbformat.write(blank, folder / BLANK)
    blank.cells[1].colour = "red"
    blank.metadata = {"kernelspec": {"display_name": "None", "language": "python", "name": "none"}}
    (folder / BROKEN).write_text(json.dumps(blank))
    return folder


@pytest.fixture(params=FRONT_ENDS, ids=lambda front_end: front_end.module)
def server(request, browser, folder, tmp_path) -> Iterator[tuple[FrontEnd, str]]:
    browser_tools.write_settings(tmp_path)
    with browser_tools.serve(
        sys.executable, request.param.module, *browser_tools.SERVER_OPTIONS, folder=folder, state=tmp_path
    ) as address:
        yield request.param, address


def answer(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=TIME_LIMIT) as reply:
        return json.load(reply)


def opened(browser: Any, front_end: FrontEnd, address: str, path: str) -> tuple[str, set[str]]:
    """What stands before a notebook when it has been opened, and what the console says, without addresses."""
    page, said = browser_tools.new_page(browser, "error")
    page.goto(f"{address}{front_end.path}{path}?reset", timeout=TIME_LIMIT * 1000)
    page.locator(front_end.cells).first.wait_for(timeout=TIME_LIMIT * 1000)
    warnings = page.locator(WARNINGS)
    end = time.monotonic() + TIME_LIMIT
    while kernels(address, path) != {("python3", "idle")} and not warnings.count():
        assert time.monotonic() < end, "no kernel"
        page.wait_for_timeout(100)
    page.wait_for_timeout(500)  # for what comes when the kernel is there
    words = "\n".join(warnings.all_inner_texts())
    browser_tools.keep_picture(page, f"{front_end.module}_{path}")
    page.context.close()
    return words, {re.sub(r"http://\S+|\d+", "...", text) for text in said}


def kernels(address: str, path: str) -> set[tuple[str, str]]:
    """Name and state of what runs for a notebook."""
    found = [session["kernel"] for session in answer(f"{address}api/sessions") if session["path"] == path]
    return {(kernel["name"], kernel["execution_state"]) for kernel in found}


def test_the_server_finds_nothing_wrong_with_a_notebook(folder):
    """What each front end gets; one shows the message, the others keep it to themselves."""
    files = pytest.importorskip("jupyter_server.services.contents.largefilemanager")
    manager = files.LargeFileManager(root_dir=str(folder))
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*.ipynb")]
    messages = {path: manager.get(path).get("message") for path in paths if "/." not in f"/{path}"}
    assert [path for path, message in messages.items() if message] == [BROKEN]
    assert len(messages) > 20


def test_notebooks_open_without_a_warning(server, browser):
    front_end, address = server
    words, always_said = opened(browser, front_end, address, BLANK)
    assert not words
    words, _ = opened(browser, front_end, address, BROKEN)
    assert re.search("Select Kernel|validation failed", words)
    for path in OPENED:
        words, said = opened(browser, front_end, address, path)
        assert not words
        assert said <= always_said
