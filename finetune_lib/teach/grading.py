"""Grades a folder of returned notebooks without nbgrader: ``python -m finetune_lib.teach grade``.

Each notebook runs in a fresh process, in an empty folder, without the teacher's environment variables, and is
ended with all that it has started when its time or its memory is used up.

That is no sandbox. A returned notebook is a program by someone else, and runs with all your rights: it can
read your files and use the network. For people you do not know, run this in a container (see the teacher's
guide). Nor does it stop a learner who sets out to deceive the checks, which run in the same process as the
answers.
"""

import concurrent.futures
import pathlib
import sys
import threading
import time

from finetune_lib.teach import assignments, class_page, class_report, returned, watching


def grade_class(
    assignment: assignments.Assignment,
    folder: pathlib.Path,
    output: pathlib.Path,
    *,
    minutes: float,
    gigabytes: float,
    at_once: int,
) -> None:
    """Grade all notebooks in a folder; writes ``summary.html``, ``grades.csv`` and ``answers.csv``.

    Prints a line a student. The report takes the place of an earlier one when the whole class is graded, not
    before. Ctrl-C ends what runs and writes nothing.

    Args:
        folder: holds ``student.ipynb`` or ``student/.../anything.ipynb``; is only read.
        output: a folder, outside ``folder``; is made if there is none.
        minutes: how long a notebook may run.
        gigabytes: how much memory it may have, with all processes that it starts.
        at_once: how many notebooks run at the same time.

    Raises:
        ValueError: if a limit makes no sense, or there is no notebook.
        OSError: if a folder is missing or cannot be written, or if no notebook can be started here.
    """
    limits = watching.Limits(minutes, gigabytes, at_once)
    hand_ins, aside = returned.collect(folder, assignment.lesson)
    class_report.prepare(output, folder)
    for name in aside:
        print_safely(f"Left aside, for it is no notebook: {name}")
    graded = _grade_all(assignment, hand_ins, limits)
    how = class_report.How(minutes, gigabytes, tuple(aside))
    class_report.write(output, assignment, graded, class_page.page(assignment, graded, how))
    print_safely(f"The report is in {output / class_report.SUMMARY}")


def _grade_all(
    assignment: assignments.Assignment, hand_ins: list[returned.HandIn], limits: watching.Limits
) -> list[class_report.Graded]:
    """Grade each; in the order of ``hand_ins``."""
    stop, graded = threading.Event(), dict[str, class_report.Graded]()
    with concurrent.futures.ThreadPoolExecutor(limits.at_once) as pool:
        waiting = [pool.submit(grade, assignment, hand_in, limits, stop) for hand_in in hand_ins]
        try:
            for future in concurrent.futures.as_completed(waiting):
                done = future.result()
                graded[done.student] = done
                print_safely(f"{len(graded)} of {len(hand_ins)} {done}")
        except BaseException as error:
            stop.set()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                print_safely(
                    f"Interrupted after {len(graded)} of {len(hand_ins)}: what ran was ended, and no report "
                    "was written. One from an earlier run is as it was."
                )
            raise
    return [graded[hand_in.student] for hand_in in hand_ins]


def grade(
    assignment: assignments.Assignment,
    hand_in: returned.HandIn,
    limits: watching.Limits,
    stop: threading.Event,
) -> class_report.Graded:
    """Grade what a student has returned; ``stop`` ends it with ``watching.Interrupted``."""
    notebook, begun = hand_in.notebook, time.monotonic()
    where = {question.name: returned.places(question, notebook.cells) for question in assignment.questions}
    problem, run = notebook.problem, watching.Run([], "")
    if not problem and not any(where.values()):
        problem = "none of the tasks is in it; is it the lesson itself instead of its exercises?"
    if problem:
        answers = [class_report.Answer(question, class_report.NOT_RUN) for question in assignment.questions]
    else:
        expressions: dict[int, list[tuple[str, str]]] = {}
        for question in assignment.questions:
            for number in where[question.name]:
                expressions.setdefault(number, []).append((question.name, question.expression))
        code = [cell.source for cell in notebook.cells]
        run = watching.execute(
            {"lesson": assignment.lesson, "cells": code, "questions": expressions}, limits, stop
        )
        problem = run.ended
        answers = [_answer(question, where[question.name], run, code) for question in assignment.questions]
    problem = "; ".join(filter(None, (problem, hand_in.remark)))
    seconds = time.monotonic() - begun
    return class_report.Graded(
        hand_in.student, notebook.path, tuple(answers), problem, seconds, notebook.has_markers
    )


def _answer(
    question: assignments.Question, where: list[int], run: watching.Run, code: list[str]
) -> class_report.Answer:
    """The verdict on a task: of several, that on the last answer that was an attempt."""
    found = [event for event in run.events if event.get("question") == question.name]
    for verdicts in (class_report.JUDGED, (class_report.ERROR,), (class_report.NOT_ATTEMPTED,)):
        for event in reversed(found):
            if event.get("verdict") in verdicts:
                message = returned.clean(str(event.get("message", "")))
                source = returned.clean(code[event["cell"]])
                return class_report.Answer(question, event["verdict"], message, source)
    if not where or not run.ended:
        return class_report.Answer(question, class_report.MISSING)
    source = returned.clean(code[where[-1]])
    if run.cell in where:
        return class_report.Answer(question, class_report.ERROR, f"In this cell: {run.ended}.", source)
    return class_report.Answer(question, class_report.NOT_REACHED, code=source)


def print_safely(text: str) -> None:
    """Print a line even where the terminal cannot show all of its characters."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)
