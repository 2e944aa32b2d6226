"""How pytest treats notebooks; see also [tool.pytest.ini_options] in pyproject.toml."""

import os
import pathlib
import signal
import tempfile

import notebook_rules
import notebook_tools


def pytest_configure(config):
    """Let pytest run from any folder: nbval opens the file of patterns relative to where one stands."""
    # What a script starts with & ignores Ctrl-C, and so would the tests of it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Stored activations of tests and notebooks: not among the user's own, and none from an earlier run.
    cache = tempfile.TemporaryDirectory(prefix="finetune_cache_")
    os.environ["FINETUNE_CACHE"] = cache.name
    config.add_cleanup(cache.cleanup)
    course = tempfile.TemporaryDirectory(prefix="finetune_course_")  # likewise the models that lessons save
    os.environ["FINETUNE_COURSE"] = course.name
    config.add_cleanup(course.cleanup)
    config.option.nbval_sanitize_with = str(config.rootpath / "tests" / "nbval_sanitize.cfg")


def pytest_collectstart(collector):
    """Never compare stderr: warnings and progress bars differ from machine to machine."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)


def pytest_collection_modifyitems(items):
    """Those on photos first: each takes minutes, and begun last would keep one of two processes waiting."""
    items.sort(key=lambda item: item.get_closest_marker("network") is None)


def pytest_terminal_summary(terminalreporter, config):
    """Report the lessons' style."""
    root = pathlib.Path(config.rootpath)
    lessons = sorted((root / "notebooks").glob("[0-9][0-9]*_*.ipynb"))
    if lessons:
        terminalreporter.section("style of the lessons (not enforced)")
    for path in lessons:
        terminalreporter.line(notebook_rules.style(notebook_rules.read(path, notebook_tools.project(root))))
