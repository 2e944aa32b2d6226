"""What a learner has done is kept once, in one place, whatever happens to the file, and shown as it is."""

import datetime
import html.parser
import json
import pathlib
import re
import subprocess
import sys

import pytest
from IPython.core.interactiveshell import InteractiveShell

from finetune_lib import checks, environment, progress
from finetune_lib.exercises import lesson_01

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty course folder, not made yet."""
    monkeypatch.setenv("FINETUNE_COURSE", str(tmp_path / "course"))
    return tmp_path / "course"


def lines(folder: pathlib.Path) -> list[dict[str, str]]:
    text = (folder / "progress.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line]


def test_every_lesson_has_its_title_as_in_the_readme() -> None:
    found = [path.stem for path in sorted((ROOT / "finetune_lib" / "exercises").glob("lesson_*.json"))]
    assert list(progress.TITLES) == found
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for lesson, title in progress.TITLES.items():
        assert re.search(rf"(?m)^\| {lesson[-2:]}a? {title} \|", readme)


def test_a_right_answer_is_kept_once_and_a_wrong_one_never(folder: pathlib.Path) -> None:
    question = lesson_01.question_1
    letters = "abcd"
    right = next(letter for letter in letters if question.judge(letter).verdict == checks.CORRECT)
    question.check("?")
    question.check(next(letter for letter in letters if letter != right))
    assert not folder.exists()
    question.check(right)
    question.check(right)
    (line,) = lines(folder)
    assert {key: line[key] for key in ("lesson", "name", "what")} == {
        "lesson": "lesson_01",
        "name": "question_1",
        "what": "correct",
    }
    assert datetime.datetime.fromisoformat(line["time"]).tzinfo
    assert progress.done()["lesson_01"] == {"question_1": line["time"]}
    question.check("?")
    assert progress.done()["lesson_01"], "what was right once stays"


def test_it_is_there_after_a_restart(folder: pathlib.Path) -> None:
    progress.record("lesson_04", "question_2", progress.CORRECT)
    code = "from finetune_lib import progress; print(list(progress.done()['lesson_04']))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.stdout == "['question_2']\n"


def test_two_notebooks_and_a_crash_in_the_middle_lose_nothing_else(folder: pathlib.Path) -> None:
    progress.record("lesson_00", "five_steps", progress.CORRECT)
    with (folder / "progress.jsonl").open("ab") as file:
        file.write(b'{"lesson": "lesson_00", "name": "honest_rep')  # cut short
    progress.record("lesson_00", "images_needed", progress.CORRECT)
    with (folder / "progress.jsonl").open("ab") as file:
        file.write(
            b'\xff\n[]\n7\n{"lesson": 1}\n{"lesson": "lesson_99", "name": "x", "what": "y", "time": ""}\n'
            b'{"lesson": "lesson_00", "name": "question_2", "what": "correct", "time": 7}\n'
        )
    progress.record("lesson_00", "question_1", progress.CORRECT)
    assert list(progress.done()["lesson_00"]) == ["five_steps", "images_needed", "question_1"]
    progress.show()


def test_a_folder_that_cannot_be_written_costs_a_warning(
    folder: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    folder.write_text("a file")
    with pytest.warns(UserWarning, match=r"cannot be kept in .* FINETUNE_COURSE"):
        progress.record("lesson_00", "five_steps", progress.CORRECT)
    progress.show()
    assert progress.done()["lesson_00"] == {}


def test_the_courses_own_solutions_are_not_counted(folder: pathlib.Path) -> None:
    shell = InteractiveShell.instance()
    cell = "from finetune_lib import progress\n{}progress.record('lesson_00', 'five_steps', 'correct')"
    try:
        shell.run_cell(
            cell.format("### BEGIN SOLUTION\n### END SOLUTION\n"), store_history=True
        ).raise_error()
        assert not folder.exists()
        shell.run_cell(cell.format(""), store_history=True).raise_error()
        assert len(lines(folder)) == 1
    finally:
        InteractiveShell.clear_instance()
        shell.history_manager.end_session()


def test_what_was_done_before_drive_was_mounted_goes_there_too(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FINETUNE_COURSE")
    monkeypatch.setattr(environment, "local_course_folder", lambda: tmp_path / "local")
    progress.record("lesson_02", "question_1", progress.CORRECT)
    first = progress.done()["lesson_02"]
    monkeypatch.setattr(environment, "drive", lambda: tmp_path / "drive")
    assert progress.done()["lesson_02"] == first
    progress.record("lesson_02", "question_2", progress.CORRECT)
    in_drive = lines(tmp_path / "drive" / "finetune_course")
    assert next((line["name"], line["time"]) for line in in_drive) == ("question_1", first["question_1"])
    assert [line["name"] for line in in_drive] == ["question_1", "question_2"]


def test_the_table_counts_tasks_and_quiz_apart_and_draws_a_bar(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr(progress.IPython.display, "display", lambda content, raw: shown.append(content))
    for name in ("five_steps", "steps_an_epoch", "question_3", "question_2"):
        progress.record("lesson_00", name, progress.CORRECT)
    progress.record("lesson_00", "question_1", progress.SHOWN)
    progress.record("lesson_00", "a task of an older version", progress.CORRECT)
    progress.show()
    (content,) = shown
    row = next(line for line in content["text/plain"].splitlines() if line.startswith("00"))
    assert row.split() == [
        "00",
        "Start",
        "here",
        "2",
        "of",
        "5",
        "2",
        "of",
        "3",
        "█████░░░░░",
        "4",
        "of",
        "8",
    ]
    total = sum(len(progress.names(lesson)) for lesson in progress.TITLES)
    assert f"░░░░░░░░░░  4 of {total}\n" in content["text/plain"] and "width:50%" in content["text/html"]
    assert str(folder) in content["text/plain"] and "Drive" not in content["text/plain"]


def test_on_colab_without_drive_the_table_says_that_it_will_be_lost(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FINETUNE_COURSE")
    monkeypatch.setattr(environment, "local_course_folder", lambda: tmp_path)
    monkeypatch.setattr(environment, "on_colab", lambda: True)
    shown: list[dict[str, str]] = []
    monkeypatch.setattr(progress.IPython.display, "display", lambda content, raw: shown.append(content))
    progress.show()
    assert "drive.mount('/content/drive')" in shown[0]["text/plain"]


class Text(html.parser.HTMLParser):
    """The page's words, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.tags = "", []

    def handle_data(self, data: str) -> None:
        self.words += f"{data} "

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)


def test_the_certificate_lists_what_was_checked_and_claims_no_more(folder: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="nothing to certify yet"):
        progress.certificate("Ada")
    for name in progress.names("lesson_03"):
        progress.record("lesson_03", name, progress.CORRECT)
    progress.record("lesson_03", "question_2", progress.SHOWN)  # afterwards, to compare
    progress.record("lesson_05", "decide", progress.SHOWN)
    progress.record("lesson_05", "decide", progress.CORRECT)
    with pytest.raises(ValueError, match="needs a name"):
        progress.certificate(" ")
    file = progress.certificate("王小明 <script>")
    assert file == progress.certificate("王小明 <script>") == folder / "certificate.html"
    assert sorted(path.name for path in folder.iterdir()) == ["certificate.html", "progress.jsonl"]
    page = Text()
    page.feed(file.read_text(encoding="utf-8"))
    words = " ".join(page.words.split())
    count = len(progress.names("lesson_03"))
    assert "王小明 <script>" in words and "script" not in page.tags
    assert f"{count + 1} of {sum(len(progress.names(lesson)) for lesson in progress.TITLES)}" in words
    assert f"03 Data: {count} of {count}" in words and "00 Start here: 0 of 8" in words
    assert words.count(", after its solution was shown") == 1
    assert "does not prove who found the answers" in words


def test_a_certificate_that_cannot_be_written_says_so(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress.record("lesson_03", "question_1", progress.CORRECT)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "replace", full)
    with pytest.raises(OSError, match=r"cannot be written to .*No space left"):
        progress.certificate("Ada")
    assert [path.name for path in folder.iterdir()] == ["progress.jsonl"]
