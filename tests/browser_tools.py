"""Servers for notebooks on this machine alone, and an explorer as it stands in a browser's page."""

import base64
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import matplotlib.figure
import matplotlib.image
import numpy as np

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
SERVER_OPTIONS = (
    "--no-browser",
    "--ip=127.0.0.1",
    "--port={port}",
    "--IdentityProvider.token=",
    "--allow-root",
)
# Of JupyterLab.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is drawn, seen or not
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
# Sliders of ipywidgets 8, of ipywidgets 7, and the rest: what the arrow keys or the space bar move.
CONTROLS = ".noUi-handle, .ui-slider-handle, input[type=checkbox], select"
# Whether words stand beside the control, seen, and not cut short.
LABEL_OF = """
control => {
  const row = control.closest('.widget-slider, .widget-checkbox, .widget-dropdown');
  const label = [...row.querySelectorAll('label')].find(label => label.checkVisibility());
  if (!label) return '';
  return label.scrollWidth > label.clientWidth + 1 ? 'CUT: ' + label.innerText : label.innerText.trim();
}
"""


def find_browser() -> str | None:
    """What CHROMIUM names, or the browser that is installed here."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def new_page(browser: Any, *kinds: str) -> tuple[Any, list[str]]:
    """An empty page in a context of its own, and what its console will say of the kinds (``"error"``)."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    # Front ends ask for fonts, icons and news elsewhere. They get an empty answer: no network is needed.
    context.route(lambda url: not url.startswith("http://127.0.0.1:"), lambda route: route.fulfill(body=""))
    page, said = context.new_page(), []
    page.on("console", lambda message: message.type in kinds and said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    return page, said


def keep_picture(page: Any, name: str) -> None:
    """Keep what the page shows in the folder SCREENSHOTS, where that is set."""
    if folder := os.environ.get("SCREENSHOTS"):
        name = re.sub(r"\W+", "_", name)
        page.screenshot(path=pathlib.Path(folder) / f"{name}.png", full_page=True)


def write_settings(state: pathlib.Path) -> None:
    """Give the JupyterLab that ``serve`` starts with this state the course's tests' settings."""
    for name, values in SETTINGS.items():
        path = state / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


def open_in_lab(page: Any, address: str, timeout: float) -> None:
    """Open a notebook in a JupyterLab started with ``--expose-app-in-browser``, and wait for its kernel."""
    page.goto(address, timeout=timeout * 1000)
    page.wait_for_function("window.jupyterapp", timeout=timeout * 1000)
    page.evaluate(
        """async () => {
          await jupyterapp.restored;
          const shell = jupyterapp.shell;
          while (!shell.currentWidget?.context) await new Promise(done => setTimeout(done, 50));
          await shell.currentWidget.context.ready;
          await shell.currentWidget.context.sessionContext.ready;
        }"""
    )


@contextlib.contextmanager
def serve(
    python: str | pathlib.Path, *arguments: str, folder: pathlib.Path, state: pathlib.Path, **variables: str
) -> Iterator[str]:
    """Run ``python -m arguments`` in ``folder`` on a free port; the address, once it answers.

    Args:
        python: of the environment whose ``python3`` kernel runs the notebooks.
        arguments: ``{port}`` in them is replaced.
        folder: with the notebooks.
        state: where the server keeps what else it writes.
        variables: of its environment.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Nothing of the user's own settings, and nothing of the outer pytest's but the name of the test, which
    # has the lessons take the embedded data.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        environment[name] = str(state / name.lower())
    for name in ("SETTINGS", "WORKSPACES"):
        environment[f"JUPYTERLAB_{name}_DIR"] = str(state / name.lower())
    environment |= variables
    state.mkdir(parents=True, exist_ok=True)
    log = state / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            [python, "-m", *(argument.replace("{port}", str(port)) for argument in arguments)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}/"
    try:
        wait_until_it_answers(address, process, log)
        yield address
    finally:
        process.terminate()  # its kernels end with it
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_it_answers(address: str, process: subprocess.Popen, log: pathlib.Path) -> None:
    """Raise RuntimeError, with what it wrote, if a server ends or is silent for a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"no server at {address}:\n{log.read_text()}")


def pixels(png: bytes) -> np.ndarray:
    """An image file as floats ``(height, width, 4)``, 0..1."""
    return matplotlib.image.imread(io.BytesIO(png))


def drawn(figure: matplotlib.figure.Figure) -> np.ndarray:
    """The pixels of a figure as ``widgets.Explorer`` shows it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return pixels(buffer.getvalue())


@dataclasses.dataclass(frozen=True)
class Seen:
    """What an explorer shows."""

    text: str
    alternative_text: str
    picture: np.ndarray


class ExplorerOnPage:
    """The controls, read-out and picture of one explorer in a page (a playwright locator of its box)."""

    def __init__(self, box: Any) -> None:
        self.box = box
        self.readout = box.locator("pre[role=status]")
        self.controls = box.locator(CONTROLS)

    def seen(self) -> Seen:
        """What is shown now."""
        image = self.box.locator("img")
        image.evaluate("image => image.decode()")  # fails where the browser cannot show it
        source = image.get_attribute("src").removeprefix("data:image/png;base64,")
        words = image.get_attribute("alt")
        return Seen(self.readout.text_content(), words, pixels(base64.b64decode(source)))

    def labels(self) -> list[str]:
        """The words beside each control; empty where none can be seen."""
        return [control.evaluate(LABEL_OF) for control in self.controls.all()]

    def numbers(self) -> list[str]:
        """What stands at the right of the sliders."""
        return self.box.locator(".widget-readout").all_text_contents()

    def reach(self, number: int) -> None:
        """Go to a control with the Tab key, from the first one."""
        control = self.controls.nth(number)
        self.controls.first.focus()
        for _ in range(2 * number + 1):  # the number beside a slider can be typed into, and comes in between
            if control.evaluate("control => control === document.activeElement"):
                return
            self.box.page.keyboard.press("Tab")
        raise AssertionError(f"the Tab key does not come to control {number}")

    def press(self, key: str, limit: float = 20.0) -> float:
        """Press a key, wait until the read-out is another one, and return the seconds it took."""
        old = self.readout.text_content()
        box = self.box.element_handle()
        start = time.perf_counter()
        self.box.page.keyboard.press(key)
        # Between two values there may be no read-out at all.
        self.box.page.wait_for_function(
            "([box, old]) => ![old, undefined].includes(box.querySelector('pre[role=status]')?.textContent)",
            arg=[box, old],
            timeout=limit * 1000,
        )
        return time.perf_counter() - start


def explorers(page: Any, count: int, timeout: float) -> list[ExplorerOnPage]:
    """The explorers of a page in order, once ``count`` of them are there; ``timeout`` in seconds."""
    boxes = page.locator(".widget-vbox").filter(has=page.locator("pre[role=status]"))
    boxes.nth(count - 1).wait_for(timeout=timeout * 1000)
    return [ExplorerOnPage(box) for box in boxes.all()]
