"""The lessons' set-up cell, word for word, in a virtual environment with Colab's versions and without GitHub.

COLAB_TWIN names the folder of that environment; it is made if need be, and left with the course installed.
"""

import json
import os
import pathlib
import shutil
import subprocess
import time

import notebook_tools
import pytest

from finetune_lib.exercises import lesson_01

ROOT = notebook_tools.ROOT
COLAB = ROOT.parent / "shared" / "colab"
FREE = ("tensorflow-metadata", "finetune-lib")  # what the cell may change

# A session on Colab: the set-up cell, run twice, as an impatient learner would; then what it advises, and the
# cell again; at last what is kept of an exercise.
DRIVER = """
import pathlib, sys, time
import google.colab
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()

def run(code):
    shell.run_cell(code).raise_error()

cell = pathlib.Path(sys.argv[1]).read_text()
for attempt in range(2):
    start = time.monotonic()
    run(cell)
    print("SECONDS", round(time.monotonic() - start, 1))
print("MOUNTED")
run("from google.colab import drive; drive.mount('/content/drive')")
for attempt in range(2):
    run(cell)
    print("AGAIN")
run("from finetune_lib import progress; print('DONE', list(progress.done()['lesson_01']))")
run("from finetune_lib.exercises import lesson_01 as exercise; exercise.question_1.check(%r)")
"""
# Colab's own drive.mount asks for permission in a window, and puts the learner's files into /content/drive.
STAND_IN_DRIVE = """
import os, pathlib
from finetune_lib import environment

def mount(place, force_remount=False):
    assert place == "/content/drive"
    environment.DRIVE = pathlib.Path(os.environ["STAND_IN_DRIVE"]) / "MyDrive"
    environment.DRIVE.mkdir(parents=True, exist_ok=True)
"""

pytestmark = [
    pytest.mark.colab_cell,
    pytest.mark.skipif(
        not COLAB.exists(), reason="needs ../shared/colab, which makes an environment like Colab's"
    ),
]


def finish(*command, **options):
    """Run a command, show what it prints where it fails, and return its output."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """A virtual environment like Colab's, in which nothing of ours is installed yet."""
    folder = pathlib.Path(os.environ.get("COLAB_TWIN") or tmp_path_factory.mktemp("colab") / "twin")
    if not folder.exists():
        made = subprocess.run([COLAB / "make-twin", folder], capture_output=True, text=True)
        if "no Python 3.13" in made.stderr:
            pytest.skip("needs Python 3.13, which Colab runs")
        assert made.returncode == 0, made.stderr
    # An environment that was used before goes back to Colab's state.
    finish(folder / "bin" / "pip", "uninstall", "-q", "-y", "finetune-lib", "importlib-resources")
    finish(folder / "bin" / "pip", "install", "-q", "-c", COLAB / "constraints.txt", "tensorflow-metadata")
    yield folder
    if not os.environ.get("COLAB_TWIN"):
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A local repository with this working tree under the tag that the cell names."""
    folder = tmp_path_factory.mktemp("repository")
    listed = finish("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git = ("git", "-C", folder, "-c", "user.name=test", "-c", "user.email=test@example.org")
    finish(*git, "init", "-q")
    finish(*git, "add", "-A")
    finish(*git, "commit", "-q", "-m", "the working tree")
    finish(*git, "tag", f"v{notebook_tools.project().version}")
    return folder


def installed(twin):
    """The live distributions of an environment, name to version."""
    rows = json.loads(finish(twin / "bin" / "pip", "list", "--format=json"))
    return {row["name"].lower().replace("_", "-"): row["version"] for row in rows}


def test_the_setup_cell_installs_the_course_and_changes_nothing_else(twin, repository, tmp_path, capsys):
    project = notebook_tools.project()
    cell = tmp_path / "cell.py"
    cell.write_text(project.setup_cell)
    stand_in = tmp_path / "colab" / "google" / "colab" / "__init__.py"
    stand_in.parent.mkdir(parents=True)
    stand_in.touch()
    stand_in.with_name("drive.py").write_text(STAND_IN_DRIVE)
    elsewhere = {
        "PYTHONPATH": str(tmp_path / "colab"),
        "STAND_IN_DRIVE": str(tmp_path / "drive"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": project.repository,
    }
    python = twin / "bin" / "python"

    def import_datasets():
        # The bare import "succeeds" where it is broken: it logs the exception and leaves an empty module.
        code = "import tensorflow_datasets; tensorflow_datasets.load"
        return subprocess.run([python, "-c", code], capture_output=True).returncode == 0

    before, worked = installed(twin), import_datasets()
    inherited = {name: value for name, value in os.environ.items() if name != "FINETUNE_COURSE"}
    driver = DRIVER % next(
        letter for letter in "abcd" if lesson_01.question_1.judge(letter).verdict == "Correct"
    )

    def session(name):
        """What a session on a machine of its own prints; only Drive is the same."""
        own = tmp_path / name
        own.mkdir()
        private = {"HOME": str(own), "TMPDIR": str(own), "PIP_CACHE_DIR": pip_cache}
        environment = {**inherited, **elsewhere, **private}
        return finish(python, "-c", driver, cell, env=environment, cwd=own, timeout=600)

    pip_cache = finish(twin / "bin" / "pip", "cache", "dir").strip()
    printed = session("first")
    first, second = (float(line.split()[1]) for line in printed.splitlines() if line.startswith("SECONDS"))
    after = installed(twin)
    start = time.monotonic()
    later = session("second")
    again = time.monotonic() - start
    with capsys.disabled():
        print(f"\nThe set-up cell took {first:.0f} s, the second time {second:.1f} s. Before and after it:")
        for name in sorted(
            name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
        ):
            print(f"  {name:32} {before.get(name, '-'):16} {after.get(name, '-')}")
        print(f"  {'import tensorflow_datasets':32} {'works' if worked else 'fails':16} works")
        same = sorted(f"{name} {version}" for name, version in after.items() if before.get(name) == version)
        print(f"  and unchanged: {', '.join(same)}")
    assert {name: after.get(name) for name in before if name not in FREE} == {
        name: version for name, version in before.items() if name not in FREE
    }
    assert after["finetune-lib"] == project.version
    assert import_datasets()
    assert installed(twin) == after, "a second run changes nothing"
    assert first < 180 and second < 30 and again < 90

    for said in (printed, later):
        unmounted, mounted = said.split("MOUNTED\n")
        assert unmounted.count("Runtime > Change runtime type") == 2, "each time"
        assert (
            unmounted.count("Google Drive is not mounted") == 2
            and "drive.mount('/content/drive')" in unmounted
        )
        assert mounted.count("kept in Google Drive") == 2 and "not mounted" not in mounted
        assert "Correct" in mounted
    assert "new session" not in printed and "DONE []" in printed
    assert later.split("AGAIN")[0].count("This is a new session") == later.count("new session") == 1
    assert "DONE ['question_1']" in later, "progress outlives the session"


def test_the_requirements_resolve_against_all_that_colab_preinstalls(twin, tmp_path, capsys):
    published = (COLAB / "constraints.txt").read_text().splitlines()
    kept = [
        line for line in published if not line.startswith(("tensorflow-metadata==", "tensorflow_metadata=="))
    ]
    (tmp_path / "constraints.txt").write_text("\n".join(kept))
    options = ("--dry-run", "--ignore-installed", "--quiet", "--report", tmp_path / "report.json")
    finish(twin / "bin" / "pip", "install", *options, "-c", tmp_path / "constraints.txt", ROOT, timeout=600)
    report = json.loads((tmp_path / "report.json").read_text())["install"]
    chosen = {
        item["metadata"]["name"].lower().replace("_", "-"): item["metadata"]["version"] for item in report
    }
    pins = dict(line.lower().replace("_", "-").split("==") for line in published if "==" in line)
    unpinned = sorted(f"{name} {version}" for name, version in chosen.items() if pins.get(name) != version)
    with capsys.disabled():
        print(f"\n{len(chosen)} packages resolve; not as Colab's list has them: {', '.join(unpinned)}")
    assert {name for name, version in chosen.items() if pins.get(name, version) != version} == {
        "tensorflow-metadata"
    }
