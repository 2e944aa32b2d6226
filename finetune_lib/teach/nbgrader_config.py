"""The settings of nbgrader for this course.

`python -m finetune_lib.teach nbgrader` copies this file into the course folder, where nbgrader reads it. The
library does not import it.
"""

import os
import pathlib
import sys

from nbgrader import preprocessors

FOLDER = pathlib.Path(__file__).resolve().parent


class RestoreCells(preprocessors.OverwriteCells):
    """Puts back every cell that was handed out and has been deleted, after the one that it followed.

    nbgrader 0.9.6 itself gives up on a notebook from which a task was deleted together with its check.
    """

    def add_missing_grade_cells(self, nb, resources):
        notebook = self.gradebook.find_notebook(self.notebook_id, self.assignment_id)
        points = {cell.name: cell.max_score for cell in notebook.grade_cells}
        answers = {cell.name for cell in notebook.solution_cells}
        place = -1
        for cell in notebook.source_cells:
            names = [other.metadata.get("nbgrader", {}).get("grade_id") for other in nb.cells]
            if cell.name in names:
                place = names.index(cell.name)
                continue
            place += 1
            restored = self.missing_cell_transform(cell, points.get(cell.name, 0), cell.name in answers)
            restored["id"] = cell.name  # nbformat asks for one
            if cell.name not in points:
                marks = restored["metadata"]["nbgrader"]
                marks["grade"] = False
                marks.pop("points", None)
            nb.cells.insert(place, restored)
        return nb, resources


# nbgrader calls alembic by its name, which is found only in an activated environment.
os.environ["PATH"] = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ.get("PATH", "")])
# The notebooks run where the course is installed, not where nbgrader is: this kernel is found before its own.
os.environ["JUPYTER_PATH"] = os.pathsep.join(
    [str(FOLDER / "jupyter"), *filter(None, [os.environ.get("JUPYTER_PATH")])]
)

c = get_config()  # type: ignore[name-defined] # noqa: F821
c.CourseDirectory.root = str(FOLDER)
c.CourseDirectory.course_id = "finetune_course"
c.ClearSolutions.code_stub = {"python": "# your code here"}
c.Autograde.sanitize_preprocessors = [
    preprocessors.ClearOutput,
    preprocessors.DeduplicateIds,
    preprocessors.OverwriteKernelspec,
    RestoreCells,
    preprocessors.CheckCellMetadata,
]
c.OverwriteCells.add_missing_cells = True
# Seconds a cell: far more than a whole notebook of solutions takes. A student's endless loop costs as much.
c.Execute.timeout = 300
# Each notebook starts with no saved model and no progress, and leaves none.
c.Execute.extra_arguments = [
    "--IPKernelApp.exec_lines=import os, tempfile; _course = tempfile.TemporaryDirectory(); "
    "os.environ['FINETUNE_COURSE'] = _course.name"
]
# nbgrader gives no point where anything was written to stderr. A right answer may warn.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"(?s)."
