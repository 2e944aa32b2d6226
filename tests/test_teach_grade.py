"""A class of forty returned notebooks is graded, twelve of them broken; and the parts of that, one by one."""

import codecs
import contextlib
import csv
import dataclasses
import html.parser
import io
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

import nbformat
import notebook_tools
import psutil
import pytest
import returned_class

from finetune_lib.teach import __main__ as teach
from finetune_lib.teach import assignments, class_page, class_report, grading, returned, watching

NOTEBOOKS = notebook_tools.ROOT / "notebooks"
LESSON_00 = assignments.find("00", NOTEBOOKS)
LESSON_01 = assignments.find("01", NOTEBOOKS)  # its checks need no TensorFlow: such a notebook takes a second
IMPORT = "from finetune_lib.exercises import lesson_01 as exercise"
LIMITS = watching.Limits(minutes=1, gigabytes=2, at_once=1)
posix = pytest.mark.skipif(os.name != "posix", reason="of Linux and macOS")


def notebook(*cells: str, **metadata) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata=metadata
    )


def save(
    path: pathlib.Path, content: nbformat.NotebookNode | str | bytes, modified: float = 0
) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    path.write_bytes(content)
    if modified:
        os.utime(path, (modified, modified))
    return path


def run(*arguments: object) -> tuple[int, str]:
    """The exit code and what was printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = teach.main(["grade", *map(str, arguments), "--notebooks", str(NOTEBOOKS)])
    return code, printed.getvalue()


def running(text: str) -> list[str]:
    """The command lines, of all processes, that hold a text."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if text in line]


def table(path: pathlib.Path) -> list[dict[str, str]]:
    assert path.read_bytes().startswith(codecs.BOM_UTF8), "Excel would not take it for UTF-8"
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


# The class of forty, graded once.


@dataclasses.dataclass(frozen=True)
class Class:
    expected: dict[str, returned_class.Expected]
    printed: str
    report: pathlib.Path
    temporary: pathlib.Path

    def page(self) -> str:
        return (self.report / class_report.SUMMARY).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def forty(tmp_path_factory) -> Class:
    names = ("returned", "report", "temporary")
    folder, report, temporary = (tmp_path_factory.mktemp(name) for name in names)
    expected = returned_class.make(folder, LESSON_00)
    save(folder / "list of students.txt", b"no notebook")
    limits = ("--minutes", 2, "--gigabytes", 2, "--at-once", 3)  # the endless loop only waits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(temporary))
        code, printed = run("00", folder, "--output", report, *limits)
    assert code == 0, printed
    return Class(expected, printed, report, temporary)


def test_each_of_the_forty_is_told_what_is_so_of_them(forty):
    rows = {row["student"].removeprefix("'"): row for row in table(forty.report / class_report.GRADES)}
    assert len(rows) == len(forty.expected) == 40 and rows.keys() == forty.expected.keys()
    assert [*rows] == sorted(rows, key=str.casefold)
    names = [question.name for question in LESSON_00.questions]
    for student, expected in forty.expected.items():
        row = rows[student]
        assert tuple(row[name] for name in names) == expected.verdicts, (student, row)
        assert expected.problem in row["problem"] and bool(expected.problem) == bool(row["problem"]), row
        assert (row["points"], row["of"]) == (str(expected.verdicts.count("correct")), "8")
        assert f" of 40 {student}: {row['points']} of 8" in forty.printed
    assert sum("not run" in expected.verdicts for expected in forty.expected.values()) == 6
    assert "Left aside, for it is no notebook: list of students.txt" in forty.printed


def test_the_table_of_the_forty_says_what_was_said_and_holds_the_code(forty):
    rows = {(row["student"], row["task"]): row for row in table(forty.report / class_report.ANSWERS)}
    assert len(rows) == 40 * 8
    assert "the last batch, which is not full" in rows["王小明", "steps_an_epoch"]["message"]
    assert "return images // batch_size" in rows["王小明", "steps_an_epoch"]["code"]
    assert rows["Emil Colon", "images_needed"]["message"].startswith("SyntaxError: ")
    assert rows["Emil Colon", "images_needed"]["message"].endswith("(line 1 of the cell)")
    assert rows["Ben Exit", "share_that_learns"]["message"].startswith(
        "In this cell: it ended its own process"
    )
    assert rows["'=1+2", "question_1"]["verdict"] == "correct", "a spreadsheet must not calculate the name"
    assert rows["Cleo Cut", "five_steps"] | {"message": "", "code": ""} == rows["Cleo Cut", "five_steps"]


class Page(html.parser.HTMLParser):
    """What is in a page: its elements, its text by element, and whether it is well formed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data


def test_the_page_of_the_forty_counts_rightly_and_has_nothing_of_a_notebook_unescaped(forty):
    page = Page(forty.page())
    tags = [tag for tag, _ in page.found]
    assert not {"script", "link", "img", "iframe"} & set(tags)
    attributes = {name for _, values in page.found for name in values}
    assert attributes <= {
        "charset",
        "class",
        "content",
        "lang",
        "name",
        "scope",
        "style",
        "title",
        "aria-hidden",
    }
    assert "url(" not in forty.page() and "@import" not in forty.page()
    assert any(
        returned_class.ANSWERS["steps_an_epoch"]["hostile"].split("\n")[0] in code
        for code in page.texts["pre"]
    )
    assert "<script>alert(1)<_48213" in page.texts["th"], page.texts["th"]
    headers = [values for tag, values in page.found if tag == "th"]
    assert all(values.get("scope") in ("col", "row") for values in headers)
    assert page.texts["tr"][0].startswith("No.TaskCorrect") and len(page.texts["tr"]) == 1 + 8 + 1 + 40
    for place in range(8):
        verdicts = [expected.verdicts[place] for expected in forty.expected.values()]
        correct, *others = (verdicts.count(verdict) for verdict in class_report.VERDICTS)
        missed, judged = sum(others[3:]), 40 - sum(others[3:])
        share = f"{100 * correct / judged:.0f}%"
        counts = f"{correct} of {judged} ({share}){others[0]}{others[1]}{others[2]}{missed}"
        assert missed >= 6 and page.texts["tr"][1 + place].endswith(counts)
        assert f'<span style="width: {share}">' in forty.page()
    hidden = [text for text in page.texts["span"] if text in class_report.VERDICTS]
    assert sorted(hidden) == sorted(
        verdict for expected in forty.expected.values() for verdict in expected.verdicts
    )
    points = sum(expected.verdicts.count("correct") for expected in forty.expected.values())
    assert f"40 students; 34 could be graded, {points / 34:.1f} of 8 points on average. G" in forty.page()
    assert "list of students.txt" in forty.page()


def test_common_wrong_answers_of_the_forty_are_grouped(forty):
    groups = Page(forty.page()).texts["details"]
    (floor,) = [
        text for text in groups if text.startswith("6 students: With 50 images in batches of 32 you get 1")
    ]
    assert "Carla Rossi_48213, Chidi Eze, Fatima Zahra_48213, Kwame Mensah, " in floor
    assert "return images // batch_size" in floor and "int(images / batch_size)" in floor
    assert any(text.startswith("1 student, error: SyntaxError") for text in groups)
    assert "whose <em>test</em> result is highest" in forty.page()


def test_the_forty_leave_nothing_behind(forty):
    assert sorted(path.name for path in forty.report.iterdir()) == [
        "answers.csv",
        "grades.csv",
        "summary.html",
    ]
    assert not list(forty.temporary.iterdir()) and not running(str(returned_class.SLEEP))
    assert not running(str(forty.temporary))


# Reading what was returned.


def test_the_ways_in_which_notebooks_are_returned(tmp_path):
    sound = notebook(IMPORT)
    for path in (
        "anna.ipynb",
        "bo/whatever.ipynb",
        "submitted_by_nbgrader/01_transfer_learning/01_transfer_learning.ipynb",
        "Mei Chen_17_assignsubmission_file_/x (1).IPYNB",
        "Zoë van Dyk_18_assignsubmission_file_01_transfer_learning.ipynb",
        "_assignsubmission_file_.ipynb",
        "王小明/作业.ipynb",
        "bo/.ipynb_checkpoints/whatever-checkpoint.ipynb",
        "bo/__MACOSX/._whatever.ipynb",
        "__MACOSX/._anna.ipynb",
        ".hidden/x.ipynb",
    ):
        save(tmp_path / path, sound)
    save(tmp_path / "carla" / "homework.pdf", b"%PDF")
    save(tmp_path / "Carl Docx_19_assignsubmission_file_" / "my answers.docx", b"PK")
    for number in range(5):
        save(tmp_path / "finn" / f"sheet {number}" / f"photo {number}.jpg", b"")
    save(tmp_path / "finn" / ".DS_Store", b"")
    save(tmp_path / "dora.ipynb.txt", sound)
    (tmp_path / "emil.ipynb").mkdir()
    hand_ins, aside = returned.collect(tmp_path, "lesson_01")
    found = {each.student: each for each in hand_ins}
    nothing = {
        "Carl Docx_19": "no notebook in the folder, only: my answers.docx",
        "carla": "no notebook in the folder, only: homework.pdf",
        "emil": "an empty folder",
        "finn": "no notebook in the folder, only: photo 0.jpg, photo 1.jpg, photo 2.jpg and 2 more",
    }
    sound_ones = ["anna", "bo", "Mei Chen_17", "submitted_by_nbgrader", "Zoë van Dyk_18", "王小明"]
    assert [*found] == sorted(["_assignsubmission_file_", *sound_ones, *nothing], key=str.casefold)
    for student, each in found.items():
        assert nothing.get(student, "") == each.notebook.problem and not each.remark
        assert bool(each.notebook.cells) == bool(each.notebook.path) == (student not in nothing)
    assert aside == ["dora.ipynb.txt"]


def test_which_of_several_notebooks_is_graded(tmp_path):
    save(tmp_path / "anna/try.ipynb", notebook("1"), 300)
    save(tmp_path / "anna/01_transfer_learning.ipynb", notebook(IMPORT, "old"), 100)
    save(tmp_path / "anna/01_transfer_learning (1).ipynb", notebook(IMPORT, "new"), 200)
    save(tmp_path / "anna/01_solutions.ipynb", notebook(IMPORT, "### BEGIN SOLUTION"), 400)
    save(tmp_path / "anna/01_transfer_learning (2).ipynb", "{", 500)
    save(tmp_path / "anna/05_fine_tune.ipynb", notebook("of another lesson"), 600)
    save(tmp_path / "bo/02_x.ipynb", notebook(IMPORT.replace("01", "05")))
    save(tmp_path / "bo/bo_06_evaluate-Copy1.ipynb", notebook("1"))
    save(tmp_path / "carla.ipynb", notebook(IMPORT, "### BEGIN SOLUTION"))
    anna, bo, carla = returned.collect(tmp_path, "lesson_01")[0]
    assert anna.notebook.path == "anna/01_transfer_learning (1).ipynb"
    assert (
        "not graded: " in anna.remark
        and "anna/01_transfer_learning (2).ipynb" in anna.remark
        and "1 more" in anna.remark
    )
    assert "what was returned is of lesson 05, lesson 06" in bo.notebook.problem and not bo.notebook.cells
    assert carla.notebook.cells and "markers of the course's solutions" in carla.remark


NO_NOTEBOOKS = {
    "[]": "JSON, but no notebook: it has no cells",
    "{}": "it has no cells",
    "3": "it has no cells",
    '{"cells": 3}': "no notebook that can be read",
    '{"cells": [3]}': "no notebook that can be read",
    '{"cells": [{"cell_type": "code", "source": 3}]}': "no notebook that can be read",
    '{"cells": [{"cell_type": "code", "source": ["", " "]}], "metadata": null}': "no cells with code",
    '{"cells": [], "metadata": 3}': "no notebook that can be read",
    '{"worksheets": 3, "nbformat": 3}': "no notebook that can be read",
    "[" * 100_000: "no notebook that can be read",
    '{"cells": ' + "1" * 5000 + "}": "no notebook that can be read",
    '{"cells": [': "not JSON, as every notebook is",
    "x = 1": "not JSON, as every notebook is",
    "": "empty (0 bytes)",
}


@pytest.mark.parametrize("text", NO_NOTEBOOKS, ids=lambda text: text[:30] or "empty")
def test_what_is_no_notebook_is_told_so(tmp_path, text):
    found = returned.read(save(tmp_path / "x.ipynb", text), tmp_path)
    assert NO_NOTEBOOKS[text] in found.problem and not found.cells


@posix
def test_only_ordinary_files_are_read(tmp_path):
    secret = save(tmp_path / "secret.ipynb", notebook("1"))
    folder = tmp_path / "returned"
    save(folder / "anna.ipynb", notebook("1"))
    (folder / "bo.ipynb").symlink_to(secret)
    (folder / "carla").symlink_to(tmp_path)
    save(folder / "dora" / "x.txt", b"")
    (folder / "dora" / "x.ipynb").symlink_to(secret)
    os.mkfifo(folder / "emil.ipynb")  # nobody will ever write to it
    if os.geteuid() != 0:
        save(folder / "finn.ipynb", notebook("1")).chmod(0)
    problems = {each.student: each.notebook.problem for each in returned.collect(folder, "lesson_01")[0]}
    assert problems.pop("anna") == ""
    assert "cannot be read: Permission denied" in problems.pop("finn", "cannot be read: Permission denied")
    assert "no ordinary file" in problems.pop("emil")
    assert problems.keys() == {"bo", "carla", "dora"} and all("link" in text for text in problems.values())


def test_a_notebook_is_read_whatever_wrote_it(tmp_path):
    cell = {"cell_type": "code", "metadata": {"id": "a1"}, "source": ["x = 1\n", "y = '\ud800'"]}
    colab = {"cells": [cell], "metadata": {"colab": {}}, "nbformat": 4, "nbformat_minor": 0}
    found = returned.read(save(tmp_path / "colab.ipynb", json.dumps(colab)), tmp_path)
    assert found.cells == (returned.Cell("x = 1\ny = '\ud800'", frozenset({"a1"})),)
    assert returned.clean(found.cells[0].source + "\x1b[2J\r\n") == "x = 1\ny = '?'�[2J\n"
    marked = b"\xef\xbb\xbf" + json.dumps(colab).encode()  # as some editors of Windows begin a file
    assert returned.read(save(tmp_path / "windows.ipynb", marked), tmp_path).cells == found.cells
    kernel = {"name": "julia-1.11", "display_name": "Julia"}
    julia = notebook("1", kernelspec=kernel, language_info={"name": "julia"})
    assert "language julia" in returned.read(save(tmp_path / "julia.ipynb", julia), tmp_path).problem
    own = notebook("1", kernelspec={"name": "my_own", "display_name": "My own"})
    assert not returned.read(save(tmp_path / "own.ipynb", own), tmp_path).problem


def test_where_a_task_is_answered():
    task = assignments.Question("choose", "", "a1", "choose", "")
    quiz = assignments.Question("question_1", "", "b1", "answer", "")
    cells = {
        "def choose(): ...\n\nexercise.choose.check(choose)": (True, False),
        "    exercise.choose.check(1)": (True, False),
        "# exercise.choose.check(choose)": (False, False),
        "exercise.choose_2.check(choose)": (False, False),
        '# @title Question 1 {}\nanswer = "b"': (False, True),
        '# @title Question 10\nanswer = "b"': (False, False),
    }
    for source, found in cells.items():
        assert (
            tuple(bool(returned.places(question, [returned.Cell(source)])) for question in (task, quiz))
            == found
        )
    a1, b1 = frozenset({"a1"}), frozenset({"b1"})
    by_id = [returned.Cell("def choose(): ...", a1), returned.Cell('answer = "b"', b1)]
    assert returned.places(task, by_id) == [0] and returned.places(quiz, by_id) == [1]
    emptied = [returned.Cell("", a1), returned.Cell("", b1)]
    assert not returned.places(task, emptied), "or the answer of another cell would be judged"
    moved = [*by_id, returned.Cell("exercise.choose.check(choose)")]
    assert returned.places(task, moved) == [2], "judged once, where its check is called"


# Running one notebook.


def execute(*cells: str, **questions: int) -> watching.Run:
    """Run cells of lesson 01; of some tasks it is known in which cell they are answered."""
    expressions: dict[int, list] = {}
    for name, cell in questions.items():
        expressions.setdefault(cell, []).append((name, "answer"))
    plan = {"lesson": "lesson_01", "cells": cells, "questions": expressions}
    return watching.execute(plan, LIMITS, threading.Event())


def said(done: watching.Run) -> list[tuple[str, str]]:
    return [(event["question"], event["verdict"]) for event in done.events if "question" in event]


def test_a_notebook_sees_nothing_of_the_teachers_environment(monkeypatch):
    monkeypatch.setenv("PASSWORD", "secret")
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "of the teacher")
    done = execute(
        "import os, pathlib, tempfile\nseen = sorted(os.environ)",
        "exercise.which_eye.check(' '.join(seen))",
        "here, home, other = pathlib.Path.cwd(), pathlib.Path.home(), pathlib.Path(tempfile.gettempdir())",
        "assert not any(here.iterdir())",
        "exercise.which_eye.check(f'{here.parent == home.parent == other.parent} {here.parent}')",
    )
    first, last = (event["message"] for event in done.events if "question" in event)
    assert "PYTHONPATH" in first and "PASSWORD" not in first and "PYTEST" not in first
    assert "yours is 'True " in last and "finetune_grading_" in last
    assert not pathlib.Path(last.split("True ")[1].split("'")[0]).exists()


def test_what_a_notebook_does_to_itself_is_its_own_affair():
    done = execute(
        "%matplotlib inline\n%pip --version\n!exit 3",
        "import os, signal, sys\nos.closerange(3, 100)\nsys.stdout.close()\nexercise.which_eye.check('gtrr')",
        "raise KeyboardInterrupt",
        "class Bad(Exception):\n    def __str__(self):\n        raise MemoryError\nraise Bad",
        "del exercise\nos.chdir('/')\nanswer = 'gggg'",
        "answer = [",
        "answer = no_such_name\n",
        "import finetune_lib.checks\nfinetune_lib.checks.attempted = None\nanswer = 'b'",
        which_eye=4,
        question_1=5,
        question_2=6,
        question_3=3,
        question_4=7,
    )
    assert not done.ended
    assert said(done) == [
        ("which_eye", "correct"),
        ("question_3", "error"),
        ("which_eye", "incorrect"),
        ("question_1", "error"),
        ("question_2", "error"),
        ("question_4", "incorrect"),
    ]
    messages = {event["question"]: event["message"] for event in done.events if "question" in event}
    assert messages["question_2"] == "NameError: name 'no_such_name' is not defined (line 1 of the cell)"


@posix
def test_what_a_notebook_forks_is_not_judged_and_does_not_stay():
    fork = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve("/bin/sh", ["sh", "-c", "sleep {returned_class.SLEEP}; :"], os.environ)
    exercise.which_eye.check("gggg")
    os._exit(0)
time.sleep(0.5)
exercise.which_eye.check("gtrr")
"""
    done = execute(fork)
    assert said(done) == [("which_eye", "correct")] and not done.ended
    assert not running(str(returned_class.SLEEP))


def test_the_last_attempt_counts_and_what_was_judged_before_the_end_of_the_process(tmp_path):
    check = "exercise.which_eye.check"
    cells = [
        f"{check}('gggg')\n{check}('gtrr')",
        "# a copy that was left as it is\nexercise.which_eye.check(...)",
        "if False:\n    exercise.question_1.check('b')",
        "# @title Question 2\nanswer = 'b'\nimport os\nos.abort()\nexercise.question_2.check(answer)",
        "exercise.question_3.check('c')",
    ]
    found = returned.read(save(tmp_path / "anna.ipynb", notebook(*cells)), tmp_path)
    done = grading.grade(LESSON_01, returned.HandIn("anna", found), LIMITS, threading.Event())
    verdicts = {answer.question.name: answer for answer in done.answers}
    assert verdicts["which_eye"].verdict == "correct" and verdicts["which_eye"].code == cells[0]
    assert verdicts["question_1"].message == "NameError: name 'answer' is not defined"
    assert verdicts["question_2"].verdict == "error" and verdicts["question_3"].verdict == "not reached"
    assert verdicts["choose"].verdict == verdicts["question_4"].verdict == "missing"
    assert "it ended its own process (exit status -6), in code cell 4" in done.problem and done.points == 1


def test_the_lesson_itself_is_not_taken_for_its_exercises(tmp_path):
    found = returned.read(save(tmp_path / "01_transfer_learning.ipynb", notebook("import time")), tmp_path)
    done = grading.grade(LESSON_01, returned.HandIn("anna", found), LIMITS, threading.Event())
    assert "none of the tasks is in it" in done.problem and done.points == 0
    assert {answer.verdict for answer in done.answers} == {"not run"}


# The report.


def test_messages_that_differ_in_numbers_alone_are_one_mistake():
    question = LESSON_01.questions[0]
    messages = (
        "You get 0.5 of 1,024.",
        "You get -3 of 7e-05.",
        "You get none.",
        "<A at 0x7f3a>",
        "<A at 0x1b>",
    )
    graded = [
        class_report.Graded(
            f"student {place}",
            "",
            (class_report.Answer(question, "incorrect", text, f"code {place % 2}"),),
            "",
            0,
        )
        for place, text in enumerate(messages)
    ]
    groups = class_report.mistakes([graded[2], *graded], 0)
    assert [len(group.students) for group in groups] == [2, 2, 2]
    assert class_report.mistakes(graded[:2], 0) == [
        class_report.Mistake("incorrect", messages[0], ("student 0", "student 1"), ("code 0", "code 1"))
    ]


def test_the_page_is_of_those_who_could_be_graded_and_says_who_copied():
    def graded(student: str, verdict: str, message: str = "", **options: bool) -> class_report.Graded:
        answers = (class_report.Answer(question, verdict, message) for question in LESSON_01.questions)
        return class_report.Graded(student, "", tuple(answers), "", 0, **options)

    anna = graded("anna", "correct", is_copy=True)
    bo = graded("bo", "incorrect", "A *b* & `c*d*e`, not 2**31 or 2**3.")
    carla = graded("carla", "not run")
    one, two = "1 notebook is a copy of the solutions.", "2 notebooks are copies of the solutions."
    for students, lead, share in (
        (
            [anna, bo, carla],
            f"3 students; 2 could be graded, 4.5 of 9 points on average. {one}",
            "1 of 2 (50%)",
        ),
        ([anna, anna], f"2 students, 9.0 of 9 points on average. {two}", "2 of 2 (100%)"),
        ([carla], "1 student; none could be graded.", "none judged"),
    ):
        page = class_page.page(LESSON_01, students, class_report.How(1, 2, ()))
        assert f"{lead} Graded on " in page and page.count(share) == 9
        assert ("A <em>b</em> &amp; <code>c*d*e</code>, not 2**31 or 2**3." in page) == (bo in students)


def test_a_question_of_the_quiz_is_called_by_its_first_sentence():
    titles = [class_report.heading(LESSON_00, question) for question in LESSON_00.questions]
    assert titles[1] == "How many steps is an epoch?"
    assert titles[5] == "Question 1: A network is frozen while its new head learns."
    assert titles[6].startswith("Question 2: On 891 test images by") and titles[6].endswith(
        "88.0%,\N{NO-BREAK SPACE}…"
    )
    for assignment in assignments.everything(NOTEBOOKS):
        titles = [class_report.heading(assignment, question) for question in assignment.questions]
        assert len({*titles}) == len(titles) and all(10 < len(title) <= 102 for title in titles)
        assert not any("*" in title or "`" in title for title in titles)


def test_a_spreadsheet_takes_nothing_for_a_formula():
    for text in ("=1+2", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"):
        assert class_report.harmless(text) == "'" + text
    assert class_report.harmless("a=1") == "a=1" and class_report.harmless(-1) == -1


def test_a_report_is_replaced_only_by_a_whole_one(tmp_path, monkeypatch):
    folder, report = tmp_path / "returned", tmp_path / "new" / "report"
    save(folder / "anna.ipynb", notebook(IMPORT, "### BEGIN SOLUTION\nexercise.which_eye.check('gtrr')"))
    code, printed = run("01", folder, "--output", report)
    assert code == 0 and "1 of 1 anna: 1 of 9" in printed
    before = {path.name: path.read_bytes() for path in report.iterdir()}
    lead = "1 student, 1.0 of 9 points on average. 1 notebook is a copy of the solutions."
    assert lead in before["summary.html"].decode()
    monkeypatch.setattr(
        watching, "environment", lambda place: {"PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"}
    )
    code, printed = run("01", folder, "--output", report)
    assert code == 2 and "Notebooks cannot be run here" in printed
    monkeypatch.undo()

    def broken(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(pathlib.Path, "replace", broken)
    code, printed = run("01", folder, "--output", report)
    assert code == 2 and "No space left" in printed
    assert {path.name: path.read_bytes() for path in report.iterdir()} == before


def test_bad_input_is_refused_before_anything_runs(tmp_path):
    folder = tmp_path / "returned"
    assert run("01", folder, "--output", tmp_path / "report") == (
        2,
        f"There is no folder {folder}; it should hold the returned notebooks.\n",
    )
    save(folder / "notes.txt", b"")
    code, printed = run("01", folder, "--output", tmp_path / "report")
    assert code == 2 and f"There is no notebook in {folder}" in printed
    save(folder / "anna.ipynb", notebook("1"))
    code, printed = run("01", folder, "--output", folder / "report")
    assert code == 2 and "taken for a student's" in printed
    save(tmp_path / "a file", b"")
    code, printed = run("01", folder, "--output", tmp_path / "a file")
    assert code == 2 and "The report cannot be written to" in printed
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("minutes", [0, -1, math.nan, math.inf])
def test_nonsense_minutes_are_refused(minutes):
    with pytest.raises(ValueError, match="minutes is"):
        watching.Limits(minutes, 2, 1)


@pytest.mark.parametrize("gigabytes", [0, 0.1, -1, math.nan, math.inf])
def test_nonsense_gigabytes_are_refused(gigabytes):
    with pytest.raises(ValueError, match="gigabytes is"):
        watching.Limits(1, gigabytes, 1)


@pytest.mark.parametrize("at_once", [0, -1, 1.5])
def test_nonsense_numbers_at_once_are_refused(at_once):
    with pytest.raises(ValueError, match="at_once is"):
        watching.Limits(1, 2, at_once)


# Stopping in the middle.


@posix
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_a_stopped_run_leaves_no_process_and_no_half_report(tmp_path, how):
    for student in ("anna", "bo", "carla"):
        endless = "import time\nexercise.which_eye.check('gtrr')\nwhile True:\n    time.sleep(0.1)"
        save(tmp_path / "returned" / f"{student}.ipynb", notebook(IMPORT, endless))
    report, temporary = tmp_path / "report", tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", teach.__name__, "grade", "01", tmp_path / "returned", "--output", report]
    grader = subprocess.Popen(
        [*command, "--notebooks", NOTEBOOKS, "--at-once", "2"],
        env=os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(notebook_tools.ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 60
    while len([1 for path in temporary.glob("*/results.jsonl") if "question" in path.read_text()]) < 2:
        assert time.monotonic() < deadline and grader.poll() is None, grader.communicate()
        time.sleep(0.05)
    started = psutil.Process(grader.pid).children(recursive=True)
    assert len(started) == 2
    grader.send_signal(how)
    printed = grader.communicate(timeout=60)[0]
    assert not psutil.wait_procs(started, timeout=20)[1], "a notebook goes on"
    assert not list(report.iterdir())
    if how == signal.SIGINT:
        assert grader.returncode == 130 and "Interrupted after 0 of 3" in printed
        assert not list(temporary.iterdir())
