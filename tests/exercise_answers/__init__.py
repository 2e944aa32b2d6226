"""Right and wrong answers to every task: what tests/test_exercises.py shows the checks.

A module a lesson, with ``ANSWERS``: task -> (another right answer than the solution, {what: wrong answer}).
Each is a function without arguments that makes the answer. One of the wrong ones is a hard-coded value: what
works for the case that the task shows, and for no other.
"""
