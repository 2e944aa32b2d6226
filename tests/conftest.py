"""A browser, a page in it, and JupyterLab on this machine alone (for the tests marked ``browser``)."""

import os
import sys

import browser_tools
import pytest


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window."""
    path = browser_tools.find_browser()
    if not path:
        pytest.skip("needs Chromium or Chrome; CHROMIUM may name it")
    try:
        import playwright.sync_api
    except ImportError:
        if "CHROMIUM" in os.environ:
            raise
        pytest.skip('needs: pip install -e ".[test,browser]"')
    with playwright.sync_api.sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=path, headless=True, args=list(browser_tools.OPTIONS))
        yield window
        window.close()


@pytest.fixture
def page(browser, request):
    """An empty page, which shall have written no error when the test is over."""
    page, complaints = browser_tools.new_page(browser, "error")
    yield page
    browser_tools.keep_picture(page, request.node.name)
    page.context.close()
    assert not complaints


@pytest.fixture
def lab(browser, tmp_path):
    """JupyterLab's address; it opens what the test puts into ``tmp_path / "notebooks"``."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    state = tmp_path / "state"
    browser_tools.write_settings(state)
    with browser_tools.serve(
        sys.executable,
        "jupyterlab",
        *browser_tools.SERVER_OPTIONS,
        "--expose-app-in-browser",
        folder=folder,
        state=state,
        FINETUNE_COURSE=str(tmp_path / "course"),
    ) as address:
        yield address
