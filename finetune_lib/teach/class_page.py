"""The report on a class as a web page: one file, without scripts, that can be printed.

Whatever comes from a notebook, and the students' names, is escaped.
"""

import datetime
import html
import re
from collections.abc import Iterable, Sequence

from finetune_lib import checks
from finetune_lib.teach import assignments, class_report
from finetune_lib.teach.class_report import Graded, How, Mistake

GREEN, RED, GREY = (checks.STYLES[verdict][1] for verdict in checks.STYLES)
# Sign, colour and ground of each verdict, and what the legend says of it.
SIGNS = {
    class_report.CORRECT: ("✔", GREEN, "#e3f4ef", "the check said so: one point"),
    class_report.INCORRECT: ("✘", RED, "#fdeee3", "the check said so"),
    class_report.NOT_ATTEMPTED: ("○", GREY, "#ffffff", "left as it was handed out"),
    class_report.ERROR: ("!", "#8a1c3b", "#fbe6ec", "its cell ended with an error, or was ended by a limit"),
    class_report.MISSING: ("∅", GREY, "#efefef", "its cell is not in the notebook"),
    class_report.NOT_REACHED: ("…", GREY, "#efefef", "the notebook was over before its cell"),
    class_report.NOT_RUN: ("\N{EN DASH}", GREY, "#efefef", "the notebook could not be run"),
}
STYLE = """
body { font: 16px/1.5 system-ui, "Segoe UI", "Noto Sans", "Noto Sans CJK SC", sans-serif; color: #1d1d1f;
  background: #fff; max-width: 76rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; } p { margin: .4rem 0; max-width: 52rem; }
.lead { color: #595959; } .scroll { overflow-x: auto; position: relative; }
table { border-collapse: collapse; font-size: .92rem; } caption { text-align: left; color: #595959; }
th, td { padding: .28rem .6rem; border-bottom: 1px solid #e2e2e2; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid #8c8c8c; font-weight: 600; vertical-align: bottom;
  white-space: normal; }
tbody th { font-weight: 500; } .number { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.sign { text-align: center; min-width: 1.4rem; border-left: 1px solid #fff; border-right: 1px solid #fff; }
.share { white-space: nowrap; } .task { min-width: 11rem; } .student, .problem { overflow-wrap: anywhere; }
.student { min-width: 8rem; } .problem { min-width: 16rem; font-size: .92em; }
.bar { display: inline-block; width: 9rem; height: .8rem; background: #ececec; margin-right: .6rem; }
.bar span { display: block; height: 100%; background: #00735a; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.legend { list-style: none; padding: 0; columns: 22rem; font-size: .9rem; } .legend li { margin: .15rem 0;
  display: flex; break-inside: avoid; }
.legend b { flex: none; width: 1.6rem; text-align: center; margin-right: .5rem; }
details { margin: .35rem 0; padding: .35rem .7rem; border-left: 3px solid #d0d0d0; }
summary { cursor: pointer; } pre { background: #f6f6f6; padding: .6rem .8rem; overflow-x: auto;
  font: .82rem/1.45 ui-monospace, Consolas, monospace; }
code { background: #f2f2f2; padding: 0 .2em; } .count { font-weight: 600; }
@media print { body { font-size: 10pt; margin: 0; max-width: none; } h2 { break-after: avoid; }
  tr, details { break-inside: avoid; } thead { display: table-header-group; } .scroll { overflow: visible; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } pre { white-space: pre-wrap; }
  table { font-size: 8.5pt; } th, td { padding: .15rem .3rem; } .bar { width: 3rem; }
  .problem { min-width: 11rem; } }
@media print { details::details-content { content-visibility: visible; } }
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: class report</title>
<style>{style}{colours}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{aside}
<h2>The tasks</h2>
{tasks}
<h2>The students</h2>
{students}
<ul class="legend">{legend}</ul>
<h2>Common wrong answers</h2>
<p>Grouped by what the check, or Python, said; numbers in it may differ. Open a group to see code.
Printed, all groups are open; in an older browser, only those that you have opened.</p>
{mistakes}
<h2>How this was graded</h2>
{how}
</main>
</body>
</html>
"""
HOW = """<p>Each notebook ran from top to bottom in a fresh process, whatever outputs were stored in it.
A learner who ran the cells in another order may have seen other results. A cell that ends with an error does
not stop the ones below it. A notebook could use {minutes:g} minutes and {gigabytes:g} GB of memory. Where a
task is checked more than once, the last attempt counts.</p>
<p>A returned notebook is a program by someone else, and it ran with the rights of whoever made this report:
there was no sandbox, unless all of it ran in a container. A learner who sets out to deceive the checks can;
look at the code where it matters.</p>"""


def escape(text: object) -> str:
    """Text for a page, in quotation marks or not."""
    return html.escape(str(text), quote=True)


def page(assignment: assignments.Assignment, graded: Sequence[Graded], how: How) -> str:
    """The page, in HTML."""
    aside = (
        f"<p>Left aside, for they are no notebooks: {escape(', '.join(how.aside))}</p>" if how.aside else ""
    )
    return PAGE.format(
        title=escape(_title(assignment)),
        style=STYLE,
        colours="\n".join(
            f".v{place} {{ color: {colour}; background: {ground}; }}"
            for place, (_, colour, ground, _) in enumerate(SIGNS.values())
        ),
        lead=f"{_lead(assignment, graded)} Graded on {datetime.date.today():%Y-%m-%d}.",
        aside=aside,
        tasks=_tasks(assignment, graded),
        students=_students(assignment, graded),
        legend="".join(
            f'<li><b class="v{place}" aria-hidden="true">{sign}</b>{escape(verdict)}: {escape(meaning)}</li>'
            for place, (verdict, (sign, _, _, meaning)) in enumerate(SIGNS.items())
        ),
        mistakes=_mistakes(assignment, graded),
        how=HOW.format(minutes=how.minutes, gigabytes=how.gigabytes),
    )


def _lead(assignment: assignments.Assignment, graded: Sequence[Graded]) -> str:
    """How many could be graded, and how they did."""
    run, copies = [one for one in graded if one.was_run], sum(one.is_copy for one in graded)
    lead = _several(len(graded), "student")
    lead += f"; {len(run) or 'none'} could be graded" if len(run) < len(graded) else ""
    if run:
        mean, most = sum(one.points for one in run) / len(run), len(assignment.questions)
        lead += f", {mean:.1f} of {most} points on average"
    verb = "is a copy" if copies == 1 else "are copies"
    return f"{lead}." + (f" {_several(copies, 'notebook')} {verb} of the solutions." if copies else "")


def _several(count: int, thing: str) -> str:
    return f"{count} {thing}" + ("" if count == 1 else "s")


def _title(assignment: assignments.Assignment) -> str:
    """The exercises' own title."""
    for cell in assignment.exercises.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"(?m)^# (.+)$", cell.source)):
            return found[1].strip()
    return assignment.name


def _headings(assignment: assignments.Assignment) -> list[str]:
    return [escape(class_report.heading(assignment, question)) for question in assignment.questions]


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>\n"


def _table(caption: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    body = "".join(map(_row, rows))
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>\n<thead>{_row(header)}</thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _column(text: str, kind: str = "") -> str:
    return f'<th scope="col" class="{kind}">{text}</th>'


def _tasks(assignment: assignments.Assignment, graded: Sequence[Graded]) -> str:
    """How many students solved each task, of those who could be judged."""
    rows = []
    for place, heading in enumerate(_headings(assignment)):
        verdicts = [student.answers[place].verdict for student in graded]
        counts = [verdicts.count(verdict) for verdict in class_report.COUNTED]
        judged, correct = sum(counts), counts.pop(0)
        counts.append(len(graded) - judged)
        share = 100 * correct / max(1, judged)
        rows.append(
            [
                f'<td class="number">{place + 1}</td><th scope="row" class="task">{heading}</th>',
                f'<td class="share"><span class="bar" aria-hidden="true"><span style="width: {share:.0f}%">',
                f"</span></span>{f'{correct} of {judged} ({share:.0f}%)' if judged else 'none judged'}</td>",
                *(f'<td class="number">{number}</td>' for number in counts),
            ]
        )
    header = [_column("No.", "number"), *map(_column, ("Task", "Correct"))]
    header += [_column(name, "number") for name in ("Incorrect", "Not attempted", "Error", "Not judged")]
    return _table(
        "How many solved each task, of those judged; not judged: missing, not reached or not run",
        header,
        rows,
    )


def _students(assignment: assignments.Assignment, graded: Sequence[Graded]) -> str:
    """Each student's verdict on each task."""
    rows = []
    for student in graded:
        signs = [
            f'<td class="sign v{class_report.VERDICTS.index(answer.verdict)}">'
            f'<span aria-hidden="true">{SIGNS[answer.verdict][0]}</span>'
            f'<span class="hidden">{answer.verdict}</span></td>'
            for answer in student.answers
        ]
        name = f'<th scope="row" class="student">{escape(student.student)}</th>'
        points = f'<td class="number">{student.points}</td>'
        rows.append([name, points, *signs, f'<td class="problem">{escape(student.problem)}</td>'])
    header = [_column("Student"), _column("Points", "number")]
    for place, heading in enumerate(_headings(assignment)):
        hidden = f'<span class="hidden">Task {place + 1}: {heading}</span>'
        sign = f'<span aria-hidden="true" title="{heading}">{place + 1}</span>'
        header.append(_column(sign + hidden, "sign"))
    caption = f"The columns are the tasks by number; {_several(len(assignment.questions), 'point')} at most"
    return _table(caption, [*header, _column("Problem", "problem")], rows)


def _mistakes(assignment: assignments.Assignment, graded: Sequence[Graded]) -> str:
    parts = []
    for place, heading in enumerate(_headings(assignment)):
        found = class_report.mistakes(graded, place)
        parts.append(f"<h3>{place + 1}. {heading}</h3>")
        parts += map(_mistake, found)
        if not found:
            parts.append('<p class="lead">No wrong answers.</p>')
    return "\n".join(parts)


def _mistake(mistake: Mistake) -> str:
    """A group, folded."""
    examples = "\n".join(f"<pre>{escape(code)}</pre>" for code in mistake.examples)
    count = _several(len(mistake.students), "student")
    kind = "error" if mistake.verdict == class_report.ERROR else ""
    return (
        f'<details><summary><span class="count">{count}</span>{", " if kind else ""}{kind}: '
        f"{checks.as_html(mistake.message)}</summary>\n<p>{escape(', '.join(mistake.students))}</p>\n"
        f"{examples}</details>"
    )
