"""Helpers for the course on transfer learning and fine-tuning.

Each module has one job; import the one you need, for example ``from finetune_lib import freezing``.
Importing this package does not import TensorFlow.
"""
