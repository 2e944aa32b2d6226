"""For teachers: make an nbgrader course of the exercises, or grade returned notebooks without nbgrader.

Both need the solutions, so call them in the folder of a clone of the course's repository.
"""

import argparse
import os
import pathlib
import sys

EXAMPLES = """examples:
    python -m finetune_lib.teach nbgrader my_course
    python -m finetune_lib.teach grade 04 returned/ --output report/
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for an error that was explained, 130 after Ctrl-C."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def nbgrader(options: argparse.Namespace) -> None:
    """Make the course folder, and say what comes next."""
    from finetune_lib.teach import nbgrader_course

    print(nbgrader_course.make(options.folder, options.notebooks))


def grade(options: argparse.Namespace) -> None:
    """Grade a folder of returned notebooks."""
    from finetune_lib.teach import assignments, grading

    grading.grade_class(
        assignments.find(options.lesson, options.notebooks),
        options.returned,
        options.output,
        minutes=options.minutes,
        gigabytes=options.gigabytes,
        at_once=options.at_once,
    )


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m finetune_lib.teach",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="nbgrader|grade")
    course = commands.add_parser("nbgrader", help="make a course folder for nbgrader")
    course.add_argument("folder", metavar="FOLDER", type=pathlib.Path, help="is made; must not exist")
    course.set_defaults(run=nbgrader)
    returned = commands.add_parser("grade", help="grade returned notebooks without nbgrader")
    returned.add_argument("lesson", metavar="LESSON", help="04, or 04_freeze_and_fit")
    returned.add_argument(
        "returned", metavar="RETURNED", type=pathlib.Path, help="the folder of returned notebooks"
    )
    returned.add_argument(
        "--output", metavar="REPORT", type=pathlib.Path, required=True, help="the folder for the report"
    )
    returned.add_argument(
        "--minutes",
        type=positive,
        default=10.0,
        help="how long a notebook may run (default: 10)",
    )
    returned.add_argument(
        "--gigabytes", type=positive, default=4.0, help="how much memory it may use (default: 4)"
    )
    returned.add_argument(
        "--at-once",
        metavar="COUNT",
        type=int,
        default=max(1, (os.cpu_count() or 2) // 2),
        help="how many run at the same time (default: %(default)s, half of this machine's processors)",
    )
    returned.set_defaults(run=grade)
    for command in (course, returned):
        command.add_argument(
            "--notebooks",
            metavar="FOLDER",
            type=pathlib.Path,
            default=pathlib.Path("notebooks"),
            help="the folder of notebooks in a clone of the course (default: notebooks)",
        )
    options = parser.parse_args(arguments)
    if getattr(options, "at_once", 1) < 1:
        returned.error("--at-once must be 1 or more")
    return options


def positive(text: str) -> float:
    """A number above zero."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above zero")
    return number


if __name__ == "__main__":
    sys.exit(main())
