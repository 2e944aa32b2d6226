"""The teacher's guide's two commands for work that nobody trusts, word for word, where there is Docker."""

import csv
import pathlib
import re
import shutil
import subprocess

import notebook_tools
import pytest

pytestmark = pytest.mark.own_environment
ROOT = notebook_tools.ROOT


def test_the_container_of_the_guide_grades_a_class(tmp_path: pathlib.Path) -> None:
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("needs Docker, and its daemon")
    guide = (ROOT / "notebooks" / "teachers" / "grading.md").read_text(encoding="utf-8")
    build, grade = re.findall(r"(?ms)^```sh\n((?:docker build|mkdir -p report && docker run).*?)^```", guide)
    returned = tmp_path / "returned"
    returned.mkdir()
    for student, part in (("ann", "solutions"), ("ben", "exercises")):
        shutil.copy(ROOT / "notebooks" / part / "04_freeze_and_fit.ipynb", returned / f"{student}.ipynb")
    (returned / "eve.ipynb").write_text("no notebook")
    subprocess.run(["bash", "-euc", build], cwd=ROOT, check=True)
    subprocess.run(["bash", "-euc", grade], cwd=tmp_path, check=True)
    with (tmp_path / "report" / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        points = {row["student"]: (row["points"], row["of"]) for row in csv.DictReader(file)}
    full = points["ann"][1]
    assert points == {"ann": (full, full), "ben": ("0", full), "eve": ("0", full)} and int(full) > 3
