"""The tasks and quizzes of the exercise notebooks, a module a lesson; ``finetune_lib.checks`` runs them.

``lesson_NN.json`` holds the tasks' titles and the solutions, taken from ``notebooks/solutions/NN_name.py`` by
``tests/notebook_tools.py build``.
"""
