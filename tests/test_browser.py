"""The explorers of lessons 02a and 02b in a real browser, moved by keyboard.

CHROMIUM names the browser; where it is set, as by .ci/run, nothing is skipped for want of one.
"""

import dataclasses
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Callable
from typing import Any

import browser_tools
import nbformat
import notebook_tools
import numpy as np
import pytest

from finetune_lib import cost, explorers

pytestmark = pytest.mark.browser

ROOT = notebook_tools.ROOT
TIME_LIMIT = 60  # seconds for a page, or for a kernel that imports TensorFlow
LESSON_LIMIT = 300


@dataclasses.dataclass(frozen=True)
class Case:
    """An explorer, the keys that are pressed on it, and what it shall show.

    Attributes:
        data: lines that make what the explorer needs.
        make: the call that makes it.
        shown: the plain function's figure and text, from the variables of ``data`` and the controls' values.
        moves: control, key, and what its value becomes, given the control as it was made.
    """

    data: str
    make: str
    shown: Callable[..., explorers.Shown]
    moves: list[tuple[str, str, Callable]]


def up(control: Any) -> float:
    return control.value + control.step


def down(control: Any) -> float:
    return control.value - control.step


CASES = {
    "one_parameter": Case(
        "from finetune_lib import digits, widgets\noriginal = digits.arrays(wild=False)[0][0, ..., 0] / 255",
        "widgets.one_parameter_explorer(0.4 * original, original)",
        lambda made, **values: explorers.one_parameter(0.4 * made["original"], made["original"], **values),
        [("learning_rate", "ArrowRight", up), ("learning_rate", "Home", lambda control: control.min)],
    ),
    "descent": Case(
        "import numpy as np\n"
        "from finetune_lib import convergence, widgets\n"
        "quadratic = convergence.Quadratic(np.array([[3.0, 0.5], [0.5, 1.0]]), np.array([0.5, -0.5]))",
        "widgets.descent_explorer(quadratic)",
        lambda made, **values: explorers.learning_rate_and_momentum(made["quadratic"], **values),
        [
            ("learning_rate", "ArrowLeft", down),
            ("momentum", "ArrowUp", up),
            ("nesterov", "Space", lambda control: True),
        ],
    ),
    "condition": Case(
        "from finetune_lib import widgets",
        "widgets.condition_explorer()",
        lambda made, **values: explorers.condition_number(**values),
        [("number", "ArrowRight", up), ("part_of_limit", "End", lambda control: control.max)],
    ),
    "mini_batch": Case(
        "from finetune_lib import digits, widgets\n"
        "images, labels, _ = digits.arrays(wild=False)\n"
        "inputs = images[:100, 12:20:7, 16, 0] / 255\n"
        "targets = labels[:100] / 9",
        "widgets.mini_batch_explorer(inputs, targets)",
        lambda made, **values: explorers.mini_batch(made["inputs"], made["targets"], **values),
        [("batch_size", "ArrowRight", lambda control: 2), ("learning_rate", "ArrowRight", up)],
    ),
    "freeze": Case(
        "from finetune_lib import classifier, widgets\n"
        'model = classifier.build("GlyphNet", tuple("0123456789"), weights=None)',
        "widgets.freeze_explorer(model)",
        lambda made, batch_size, **ticked: explorers.freezing_cost(
            cost.layers(made["model"]), [block for block in ticked if ticked[block]], batch_size
        ),
        [("block4", "Space", lambda control: True), ("batch_size", "ArrowDown", lambda control: 64)],
    ),
}


def notebook_of(*cases: Case) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_markdown_cell("# A lesson")]
    for case in cases:
        cells += [nbformat.v4.new_code_cell(case.data), nbformat.v4.new_code_cell(case.make)]
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook_tools.METADATA)


def check(
    explorer: browser_tools.ExplorerOnPage, case: Case, *, same_matplotlib: bool = True
) -> tuple[float, ...]:
    """Labels, first read-out and picture, and those after each move; the seconds that the moves took."""
    made: dict[str, Any] = {}
    exec(case.data, made)
    controls = eval(case.make, made).controls
    assert explorer.labels() == [control.description for control in controls.values()]
    values = {name: control.value for name, control in controls.items()}
    sliders = [name for name, control in controls.items() if "Slider" in type(control).__name__]
    times, before = [], None
    for name, key, change in [(None, None, None), *case.moves]:
        if name:
            explorer.reach(list(controls).index(name))
            times.append(explorer.press(key))
            values[name] = change(controls[name])
        figure, text = case.shown(made, **values)
        seen = explorer.seen()
        assert seen.text == text
        assert seen.alternative_text == text
        assert explorer.numbers() == [f"{values[name]:.3g}" for name in sliders]
        assert before is None or not same(seen.picture, before.picture)
        # A slider may be off by a rounding, and with it a pixel's shade.
        assert not same_matplotlib or same(seen.picture, browser_tools.drawn(figure))
        before = seen
    return tuple(times)


def same(first: np.ndarray, second: np.ndarray) -> bool:
    return first.shape == second.shape and bool(np.abs(first - second).max() < 0.02)


def report(capsys: pytest.CaptureFixture, where: str, times: tuple[float, ...]) -> None:
    with capsys.disabled():
        print(f"\n{where}: from key to read-out {', '.join(f'{seconds:.2f}' for seconds in times)} s")


@pytest.fixture(scope="module")
def voila(browser, tmp_path_factory):
    """The address of a server with a notebook for each case."""
    folder = tmp_path_factory.mktemp("voila")
    for name, case in CASES.items():
        nbformat.write(notebook_of(case), folder / f"{name}.ipynb")
    options = ("--no-browser", "--Voila.ip=127.0.0.1", "--port={port}")
    # They are for a newer JupyterLab than the one inside Voila, and complain.
    others = '["jupyterlab-jupytext", "@jupyter-notebook/lab-extension"]'
    without = f"--VoilaConfiguration.extension_denylist={others}"
    state = tmp_path_factory.mktemp("state")
    with browser_tools.serve(
        sys.executable, "voila", *options, without, folder=folder, state=state
    ) as address:
        yield address


@pytest.mark.parametrize("name", CASES)
def test_an_explorer_in_voila_answers_the_keyboard(voila, page, name, capsys):
    page.goto(f"{voila}voila/render/{name}.ipynb", timeout=TIME_LIMIT * 1000)
    (explorer,) = browser_tools.explorers(page, 1, TIME_LIMIT)
    report(capsys, f"Voila, {name}", check(explorer, CASES[name]))


def test_lesson_02a_in_jupyterlab_shows_pictures_and_then_explorers(lab, page, tmp_path, capsys):
    path = tmp_path / "notebooks" / "lesson.ipynb"
    shutil.copy(ROOT / "notebooks" / "02a_gradient_descent.ipynb", path)
    stored = stored_pictures(path)

    browser_tools.open_in_lab(page, f"{lab}lab/tree/lesson.ipynb", TIME_LIMIT)
    # JupyterLab leaves out the alternative text, which stands in the file.
    outputs = page.locator(".jp-OutputArea-output")
    shown = outputs.locator("img").evaluate_all("images => images.map(image => image.src)")
    assert [source for source in shown if source in dict(stored)] == list(dict(stored))
    assert not outputs.filter(has_text="Error displaying widget").count()

    page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
    found = browser_tools.explorers(page, len(stored), LESSON_LIMIT)
    assert not page.locator("[data-mime-type='application/vnd.jupyter.error']").count()
    times = []
    for explorer, (_, text) in zip(found, stored, strict=True):
        assert explorer.seen().text == text
        explorer.reach(0)
        for key in ("ArrowRight", "ArrowLeft"):
            before = explorer.seen()
            times.append(explorer.press(key))
            after = explorer.seen()
            assert after.alternative_text == after.text != before.text
            assert not same(after.picture, before.picture)
        assert after.text == text
    report(capsys, "JupyterLab", tuple(times))


def stored_pictures(path: pathlib.Path) -> list[tuple[str, str]]:
    """Of each cell that makes an explorer: its stored picture as an ``img`` source, and its stored text."""
    notebook = nbformat.read(path, as_version=4)
    made = [cell for cell in notebook.cells if cell.cell_type == "code" and "_explorer(" in cell.source]
    found = []
    for cell in made:
        (output,) = (output for output in cell.outputs if "image/png" in output.get("data", {}))
        assert output.metadata["image/png"]["alt"] == output.data["text/plain"]
        source = "data:image/png;base64," + output.data["image/png"]
        found.append((re.sub(r"\s", "", source), output.data["text/plain"]))
    return found


@pytest.fixture
def classic(browser, tmp_path):
    """The address of the classic notebook of Colab's versions, which ipywidgets 7 brings with it."""
    if "COLAB_TWIN" not in os.environ:
        pytest.skip("needs COLAB_TWIN, an environment like Colab's: see test_colab_cell.py")
    python = pathlib.Path(os.environ["COLAB_TWIN"]) / "bin" / "python"
    options = ("--no-browser", "--ip=127.0.0.1", "--port={port}", "--NotebookApp.token=", "--allow-root")
    with browser_tools.serve(
        python, "notebook", *options, folder=tmp_path, state=tmp_path / "state", PYTHONPATH=str(ROOT)
    ) as address:
        yield address


def test_explorers_answer_the_keyboard_with_the_ipywidgets_that_colab_has(classic, page, tmp_path, capsys):
    nbformat.write(notebook_of(*CASES.values()), tmp_path / "lesson.ipynb")
    # What runs before the page has asked the kernel for widgets is not shown. It says so when it has.
    with page.expect_console_message(
        lambda message: "jupyter.widget.control" in message.text, timeout=TIME_LIMIT * 1000
    ):
        page.goto(f"{classic}notebooks/lesson.ipynb", timeout=TIME_LIMIT * 1000)
    page.evaluate("Jupyter.notebook.execute_all_cells()")
    found = browser_tools.explorers(page, len(CASES), TIME_LIMIT)
    for explorer, (name, case) in zip(found, CASES.items(), strict=True):
        report(capsys, f"ipywidgets 7, {name}", check(explorer, case, same_matplotlib=False))
