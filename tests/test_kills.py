"""Killed at any moment and run again, training ends with the same weights and history, bit for bit.

pytest -m kills          twenty kills at random moments, and their table (about five minutes)
"""

import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import killed_run
import numpy as np
import pytest

from finetune_lib import checkpoints

SCRIPT = pathlib.Path(__file__).with_name("killed_run.py")
CASES = (
    ("stored", "augmented", "dropout"),
    ("augmented", "dropout"),
    ("stored", "dropout"),
    ("stored", "augmented"),
    (),
)


class Runs:
    """Runs of one case: in full, in this process, and killed, in others."""

    def __init__(self, folder: pathlib.Path, case: tuple[str, ...]) -> None:
        self.folder, self.case = folder, case
        folder.mkdir(exist_ok=True)
        begun = time.monotonic()
        flags = [word in case for word in ("stored", "augmented", "dropout")]
        killed_run.write(folder / "whole.npz", *killed_run.run(folder / "whole", *flags, verbose=0))
        self.seconds = time.monotonic() - begun
        with np.load(folder / "whole.npz") as file:
            self.whole = dict(file)

    def start(self, name: str) -> subprocess.Popen:
        """A run that has begun to work."""
        # Each case has stored activations of its own: a kill may hit while they are computed.
        cache = {"FINETUNE_CACHE": str(self.folder / f"{name}_activations"), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, SCRIPT, self.folder / name, self.folder / f"{name}.npz", *self.case]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COV_")}
        process = subprocess.Popen(
            command, env=environment | cache, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "ready\n", process.communicate()
        return process

    def result(self, process: subprocess.Popen, name: str) -> dict[str, np.ndarray]:
        errors = process.communicate(timeout=240)[1]
        assert process.returncode == 0, errors
        with np.load(self.folder / f"{name}.npz") as file:
            return dict(file)

    def killed(self, name: str, seconds: float, after: str = "") -> str:
        """Kill a run after so many seconds of work; how far it had got, in words.

        Args:
            after: a file to wait for first, by pattern.
        """
        process = self.start(name)
        while after and not list((self.folder / name).glob(after)):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        found = []
        for path in sorted((self.folder / name).glob("*-from-layer-*"), reverse=True):  # the head is first
            state = checkpoints.newest(path)
            label = re.sub("-from-layer.*", "", path.name)
            found.append(
                f"{label} {state.epoch if state else 0}{' finished' if state and state.is_final else ''}"
            )
        return ", ".join(found) or "nothing"

    def is_same(self, other: dict[str, np.ndarray]) -> bool:
        return self.whole.keys() == other.keys() and all(
            value.tobytes() == other[key].tobytes() for key, value in self.whole.items()
        )


def test_killed_twice_it_ends_the_same(tmp_path):
    runs = Runs(tmp_path, CASES[0])
    reached = [runs.killed("killed", 0.1, f"{stage}*/epoch-*") for stage in ("head", "from_block2")]
    assert "from_block2" not in reached[0] and "head 30 finished, from_block2" in reached[1]
    assert runs.is_same(runs.result(runs.start("killed"), "killed")), reached


@pytest.mark.kills
def test_twenty_kills_at_random_moments(tmp_path, capsys):
    moments, table, same = random.Random(6), [], []
    for number, case in enumerate(CASES):
        runs = Runs(tmp_path / str(number), case)
        for kill in range(4):
            seconds = moments.uniform(0, 0.95 * runs.seconds)  # else it may be over
            reached = runs.killed(f"kill{kill}", seconds)
            same.append(runs.is_same(runs.result(runs.start(f"kill{kill}"), f"kill{kill}")))
            words = " ".join(case) or "images, plain"
            table.append(
                f"{len(table) + 1:4}  {words:26} {seconds:6.2f} of {runs.seconds:5.2f} s  {reached:40}  "
                + ("identical" if same[-1] else "DIFFERENT")
            )
    with capsys.disabled():
        print("\nkill  case                       after              epochs on the disk\n" + "\n".join(table))
    assert len(same) == 20 and all(same)
    # They hit: in the first stage, and in the second.
    assert any("head" in line and "from_block2" not in line for line in table)
    assert any("from_block2" in line for line in table)
