"""The main job, shortened: what it leaves, and that a stopped or refused run leaves nothing."""

import argparse
import csv
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import PIL.Image
import pytest

from finetune_lib import __main__ as main_job
from finetune_lib import backbones, comparison, data, digits, evaluation


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes of a few steps: the job's wiring, not its accuracy, is tested here."""
    monkeypatch.setattr(comparison, "SCRATCH", comparison.Recipe(2, 1e-3))
    monkeypatch.setattr(comparison, "HEAD", comparison.Recipe(60, 1e-3))
    monkeypatch.setattr(comparison, "FINE_TUNE", comparison.Recipe(2, 1e-4))


def test_a_run_leaves_all_it_promises(tmp_path: pathlib.Path) -> None:
    """Started as a user does, with no network and no home that can be written to."""
    wanted = tmp_path / "a folder 文件夹" / "run"
    code = """
import sys
from finetune_lib import __main__ as main_job, comparison
comparison.SCRATCH = comparison.FINE_TUNE = comparison.Recipe(2, 1e-4)
comparison.HEAD = comparison.Recipe(60, 1e-3)
sys.exit(main_job.main(sys.argv[1:]))
"""
    nowhere = {
        "HOME": "/proc/nowhere",
        "https_proxy": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    finished = subprocess.run(
        [sys.executable, "-c", code, "--output", str(wanted), "--seed", "3"],
        env=os.environ | nowhere,
        capture_output=True,
        encoding="utf-8",
    )
    assert finished.returncode == 0, finished.stderr
    printed = finished.stdout
    assert "from scratch" in printed and "fine-tuned" in printed and str(wanted) in printed
    names = [
        "confusion_matrix.png",
        "history.csv",
        "labels.txt",
        "learning_curves.png",
        "model.keras",
        "report.md",
    ]
    assert sorted(path.name for path in wanted.iterdir()) == names
    assert [path.name for path in wanted.parent.iterdir()] == ["run"]

    model = keras.saving.load_model(wanted / "model.keras")
    dataset = data.load("digits_wild", labels_per_class=5, seed=3)
    accuracy = evaluation.evaluate(model, dataset).accuracy
    report = (wanted / "report.md").read_text(encoding="utf-8")
    assert f"| fine-tuned | {accuracy:.1%} |" in report and accuracy > 0.5
    assert "](learning_curves.png)" in report and "](confusion_matrix.png)" in report
    assert (wanted / "labels.txt").read_text(encoding="utf-8").split() == [str(digit) for digit in range(10)]
    with (wanted / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == ["from scratch", *["frozen"] * 30, "fine-tuned"]
    assert rows[-1]["val_accuracy"] and float(rows[15]["loss"]) > 0
    for picture in ("learning_curves.png", "confusion_matrix.png"):
        assert (wanted / picture).read_bytes().startswith(b"\x89PNG")


def test_a_second_run_does_not_touch_the_first(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(folder: pathlib.Path, options: argparse.Namespace, checkpoint: pathlib.Path | None) -> None:
        (folder / "report.md").write_text(str(options.seed))

    monkeypatch.setattr(main_job, "run", run)
    for seed in ("1", "2"):
        assert main_job.main(["--output", str(tmp_path / "run"), "--seed", seed]) == 0
    assert [(tmp_path / name / "report.md").read_text() for name in ("run", "run-2")] == ["1", "2"]


def test_the_same_seed_gives_the_same_model(short: None) -> None:
    dataset = data.load("digits_wild", labels_per_class=1, seed=1)
    recipe = comparison.Recipe(2, 1e-3)
    first, again = (
        comparison.frozen(dataset, "GlyphNet", recipe=recipe, seed=1, verbose=0) for _ in range(2)
    )
    tuned = [
        comparison.fine_tuned(start, dataset, unfreeze_from="block4", seed=1, verbose=0)
        for start in (first, again)
    ]
    for one, other in zip(*(answer.model.get_weights() for answer in tuned), strict=True):
        assert np.array_equal(one, other)
    # Fine-tuning worked on a copy.
    for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_a_stopped_run_keeps_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def stopped(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "frozen", stopped)
    monkeypatch.setattr(comparison, "from_scratch", lambda *args, **options: None)
    assert main_job.main(["--output", str(tmp_path / "run")]) == 130
    assert "Nothing was kept" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_ctrl_c_in_the_middle_of_a_real_run(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "finetune_lib", "--output", str(tmp_path / "results" / "run")]
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 240
        while "from scratch: epoch" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
    errors = log.read_text()
    assert "from scratch: epoch" in errors and "Traceback" not in errors
    assert (
        code == 130 and "Stopped. Nothing was kept." in errors and not list((tmp_path / "results").iterdir())
    )


def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    started = time.monotonic()
    assert main_job.main(["--output", str(tmp_path / "file" / "run")]) == 1
    assert "--output FOLDER" in capsys.readouterr().err and time.monotonic() - started < 5
    if os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        assert main_job.main(["--output", str(tmp_path / "locked" / "run")]) == 1


def write_scans(folder: pathlib.Path) -> None:
    """Sixty digits as image files, in two classes."""
    scans, labels, _ = digits.arrays(wild=False)
    for row in np.flatnonzero(labels < 2)[:60]:
        place = folder / ("nought", "one")[labels[row]] / f"{row}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(scans[row]).save(place)


def test_with_images_of_ones_own_the_same_command_goes_on(
    short: None, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def stopped(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "HEAD", comparison.Recipe(4, 1e-3))
    write_scans(tmp_path / "scans")
    job = ["--data", str(tmp_path / "scans"), "--backbone", "GlyphNet", "--output", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        patch.setattr(comparison, "fine_tuned", stopped)
        assert main_job.main(job) == 130
    assert "The same command goes on" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [".run-unfinished", "scans"]
    assert main_job.main([*job, "--seed", "1"]) == 1
    refused = capsys.readouterr().err
    assert "seed: 0 there, 1 here" in refused and "--output FOLDER" in refused and "label" not in refused
    assert main_job.main(job) == 0
    errors = capsys.readouterr().err
    assert "from scratch: finished earlier" in errors and "frozen: finished earlier" in errors
    assert "fine-tuned: finished" not in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "scans"]
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "| frozen |" in report


def test_a_folder_of_images_and_the_report_read_as_it_says(
    short: None, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_scans(tmp_path / "my scans")
    (tmp_path / "my scans" / "one" / "broken.png").write_bytes(b"half")
    monkeypatch.chdir(tmp_path)
    assert main_job.main(["--data", "my scans", "--backbone", "GlyphNet"]) == 1
    assert "broken.png" in capsys.readouterr().err and not list((tmp_path / "runs").iterdir())
    job = ["--data", "my scans", "--backbone", "GlyphNet", "--skip-unreadable", "--labels-per-class", "9"]
    assert main_job.main(job) == 0
    printed = capsys.readouterr().out
    assert "18 train" in printed and "1 unreadable file was left out" in printed
    run = tmp_path / "runs" / "my_scans_GlyphNet"
    report = (run / "report.md").read_text(encoding="utf-8")
    assert "broken.png" in report and "SHA-256" in report

    (tmp_path / "my scans" / "nought" / "0.png").replace(run / "photo.jpg")  # a PNG by another name will do
    monkeypatch.chdir(run)
    exec(re.search("```python\n(.*?)```", report, re.DOTALL)[1], {})
    assert capsys.readouterr().out.split()[-1] == "nought"


def test_what_cannot_be_had_is_said_before_work_begins(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    cases = {
        "There is no backbone called 'VGG61'": ["--backbone", "VGG61"],
        "does not exist": ["--data", str(tmp_path / "nowhere"), "--backbone", "GlyphNet"],
        "no data set called 'digitz'.*Did you mean 'digits'": ["--data", "digitz", "--backbone", "GlyphNet"],
        "5000 were asked for": ["--labels-per-class", "5000"],
    }
    for message, arguments in cases.items():
        assert main_job.main([*arguments, "--output", str(tmp_path / "run")]) == 1
        assert re.search(message, capsys.readouterr().err, re.DOTALL), arguments
    assert not list(tmp_path.iterdir())


def test_help_is_complete(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main_job.main(["--help"])
    text = capsys.readouterr().out
    assert all(backbone.name in text for backbone in backbones.ALL)
    assert "pets/" in text and "report.md" in text
    assert main_job.parse([]).output == pathlib.Path("runs/digits_wild_GlyphNet")
    assert main_job.parse(["--data", "eurosat/rgb:2.0.0"]).output == pathlib.Path(
        "runs/eurosat_rgb_2_0_0_MobileNetV2"
    )


def test_bad_options_are_explained(capsys: pytest.CaptureFixture) -> None:
    for arguments in (
        ["--seed", "x"],
        ["--epochs", "3"],
        ["--seed", "2147483648"],
        ["--seed", "-1"],
        ["--labels-per-class", "0"],
    ):
        with pytest.raises(SystemExit):
            main_job.main(arguments)
    assert "must be 0 or more" in capsys.readouterr().err


def test_the_cache_is_listed_and_cleared(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    assert main_job.main(["cache"]) == 0
    assert capsys.readouterr().out.startswith("0 entries, 0 bytes of at most 4.00 GiB, in ")
    dataset = data.load("digits_wild", labels_per_class=1)
    recipe = comparison.Recipe(30, 1e-3, views=1)
    comparison.frozen(dataset, "GlyphNet", recipe=recipe, verbose=0)
    assert main_job.main(["cache"]) == 0
    header, *rows, total = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["last", "used"] and len(rows) == 2
    assert "10 images 32x32 -> (128,) float32" in rows[0]
    bytes_stored = sum(path.stat().st_size for path in tmp_path.rglob("*.bin"))
    assert bytes_stored == (10 + dataset.sizes["validation"]) * 128 * 4
    assert total.startswith("2 entries")
    assert main_job.main(["cache", "--clear"]) == 0
    assert "removed" in capsys.readouterr().out and not list((tmp_path / "cache").iterdir())
