"""Runs a plan of ``run_notebook`` in a fresh process, and ends it where its time or its memory is used up.

The process has an empty folder of its own for everything, and few of the teacher's environment variables. It
is ended with all processes that it has started. See ``grading`` for what this does not protect from.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator

import psutil

import finetune_lib
from finetune_lib.teach import run_notebook

POLL = 0.2  # seconds between two looks at a process
MARK = "FINETUNE_GRADING"  # a variable by which a notebook's processes are known
MOST_RESULTS = 2**23  # bytes that are read of a notebook's results
# What a notebook may see of the teacher's environment. The rest could hold passwords.
KEPT = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT", "COMSPEC", "PATHEXT"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)


class CannotStart(OSError):
    """Not the notebook's fault: no notebook would run."""


class Interrupted(Exception):
    """The class is not graded to its end."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a notebook may use.

    Raises:
        ValueError: if a limit makes no sense.
    """

    minutes: float
    gigabytes: float
    at_once: int

    def __post_init__(self) -> None:
        if not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes is {self.minutes!r}; it takes a number above 0.")
        if not 1 <= self.gigabytes < math.inf:
            raise ValueError(
                f"gigabytes is {self.gigabytes!r}; it takes 1 or more: TensorFlow alone needs half of that."
            )
        if not isinstance(self.at_once, int) or self.at_once < 1:
            raise ValueError(f"at_once is {self.at_once!r}; it takes a whole number of at least 1.")


@dataclasses.dataclass(frozen=True)
class Run:
    """What is known of a notebook that ran.

    Attributes:
        events: as ``run_notebook`` wrote them.
        ended: why it was over before its last cell; empty if it was not.
    """

    events: list[dict]
    ended: str

    @property
    def cell(self) -> int:
        """The last cell that began, from 0; -1 if none did."""
        begun = [event["cell"] for event in self.events if "cell" in event and "question" not in event]
        return begun[-1] if begun else -1


def execute(plan: dict, limits: Limits, stop: threading.Event) -> Run:
    """Run a plan of ``run_notebook`` in a process of its own, and end it where its limits are."""
    with tempfile.TemporaryDirectory(prefix="finetune_grading_", ignore_cleanup_errors=True) as name:
        place, mark = pathlib.Path(name).resolve(), uuid.uuid4().hex
        scratch, plan_path, results = place / "work", place / "plan.json", place / "results.jsonl"
        for folder in (scratch, place / "home", place / "temporary", place / "course"):
            folder.mkdir()
        plan_path.write_text(json.dumps(plan), encoding="ascii")
        with (place / "errors.txt").open("w+b") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", run_notebook.__name__, plan_path, results],
                cwd=scratch,
                env=environment(place) | {MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
            try:
                ended = watch(process, limits, stop)
            finally:
                end(process, mark)
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - 2000))
            said = errors.read().decode("utf-8", "replace").strip()
        return _understand(_events(results, plan), ended, process.returncode, said)


def _understand(events: list[dict], ended: str, status: int, said: str) -> Run:
    """Say how a run ended."""
    if any("done" in event for event in events):
        return Run(events, "")
    if not ended and not any("ready" in event for event in events):
        raise CannotStart(f"Notebooks cannot be run here; the first one could not be started:\n{said}")
    ended = ended or f"it ended its own process (exit status {status})"
    last = Run(events, "").cell
    where = f"in code cell {last + 1}" if last >= 0 else "before its first cell"
    return Run(events, f"{ended}, {where}")


def _events(results: pathlib.Path, plan: dict) -> list[dict]:
    """What was written; lines that a notebook has spoiled are left out."""
    events = []
    with contextlib.suppress(OSError), results.open("rb") as file:
        for line in file.read(MOST_RESULTS).splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                cell = event.get("cell", 0) if isinstance(event, dict) else None
                if isinstance(cell, int) and 0 <= cell < len(plan["cells"]):
                    events.append(event)
    return events


def environment(place: pathlib.Path) -> dict[str, str]:
    """The variables that a notebook sees: few of the teacher's, and folders below ``place``."""
    library = pathlib.Path(finetune_lib.__file__).resolve().parents[1]
    paths = [
        str(pathlib.Path(path).resolve())
        for path in os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if path
    ]
    if library.name not in ("site-packages", "dist-packages"):  # a clone that is not installed
        paths.insert(0, str(library))
    home, temporary = str(place / "home"), str(place / "temporary")
    return {name: os.environ[name] for name in KEPT if name in os.environ} | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
        **dict.fromkeys(("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"), home),
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), temporary),
        "FINETUNE_COURSE": str(place / "course"),
        "MPLBACKEND": "Agg",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",  # the exercises need no GPU, and several processes would fill one
    }


def watch(process: subprocess.Popen, limits: Limits, stop: threading.Event) -> str:
    """Wait for a process to end; which limit it has reached, if any.

    Raises:
        Interrupted: if ``stop`` is set.
    """
    deadline = time.monotonic() + 60 * limits.minutes
    while process.poll() is None:
        if stop.wait(POLL):
            raise Interrupted
        if time.monotonic() > deadline:
            return f"stopped after {limits.minutes:g} min"
        used = sum(memory(member) for member in family(process.pid)) / 2**30
        if used > limits.gigabytes:
            return f"stopped, for it used more than {limits.gigabytes:g} GB of memory"
    return ""


def family(number: int) -> list[psutil.Process]:
    """A process and those that it has started, as far as they have not left it."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(number)
        return [process, *process.children(recursive=True)]
    return []


def memory(process: psutil.Process) -> int:
    """The bytes that a process occupies; what it shares with others counts for each of them."""
    with contextlib.suppress(psutil.Error):
        return process.memory_info().rss
    return 0


def marked(mark: str) -> Iterator[psutil.Process]:
    """The processes that have inherited a notebook's mark, wherever they are in the tree."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                yield process


def end(process: subprocess.Popen, mark: str) -> None:
    """Kill a process and all that it has started, also what has left its group or its parent."""
    for _ in range(5):  # they may start others meanwhile
        members = {*family(process.pid), *marked(mark)}
        for member in members:
            with contextlib.suppress(psutil.Error):
                member.kill()
        if hasattr(os, "killpg"):
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not members:
            return
        psutil.wait_procs(members, timeout=1)
