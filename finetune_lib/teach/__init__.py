"""For teachers: `python -m finetune_lib.teach` makes a course for nbgrader, or grades without it."""
