"""Fit stages: one with ``fit``, or the whole way from a new head to a fine-tuned network (lessons 04, 05)."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras

from finetune_lib import batches, data, diagnosis, freezing, range_test, resume, settings, stage

fit = stage.fit
FitReport = stage.FitReport
diagnose, describe, Finding = diagnosis.diagnose, diagnosis.describe, diagnosis.Finding
learning_rate_range = range_test.learning_rate_range
RangeTest = range_test.RangeTest


def fine_tune(
    model: keras.Model,
    dataset: data.ImageDataset,
    unfreeze_from: str | Sequence[str],
    *,
    head_steps: int = 600,
    head_learning_rate: float = 1e-3,
    steps: int = 600,
    learning_rate: float = 1e-3,
    warm_up: float = 0.1,
    layer_rate_ratio: float = 10.0,
    weight_decay: float = 0.05,
    label_smoothing: float = 0.1,
    batch_size: int = 32,
    augment: batches.Augment | None = None,
    views: batches.Views = "auto",
    checkpoint: str | os.PathLike | None = None,
    seed: int = 0,
    **options: Any,
) -> tuple[FitReport, ...]:
    """Train a new head on frozen features, then more of the network at lower rates: LP-FT, in stages.

    A head that knows nothing sends gradients into the network that spoil its features before the head has
    learned to read them. So the head comes first, to convergence ("linear probing, then fine-tuning", Kumar
    et al., arXiv:2202.10054). After each stage the boundary is moved, and the network cut anew there: what is
    below is computed once and stored, where that pays.

    The defaults were chosen on validation images: GlyphNet on wild digits with 5 labels a class, MobileNetV2
    on flowers with 20. ``tests/benchmarks/recipes.py`` compares them, on test images, with the recipes of
    Keras' guide and of fast.ai. For another network ask ``learning_rate_range`` first.

    Args:
        model: functional, with a new head; its trainable flags are set here.
        dataset: see ``fit``.
        unfreeze_from: the layer or block from which on the second stage trains; ``backbones.get(name)`` knows
            one that suits few labels. Several, from deep to shallow, ``("block4", "block3")``, are a stage
            each ("gradual unfreezing", Howard and Ruder, arXiv:1801.06146).
        head_steps: batches of the first stage, rounded up to whole epochs. Steps, not epochs: how many a
            stage needs hardly depends on how many images make an epoch. On stored activations 600 cost
            seconds, and bring the head to where more change nothing.
        head_learning_rate: the first stage's highest rate. A linear head on fixed features is a convex
            problem and bears a high one; from 1e-3 to 3e-3 made no difference.
        steps: of all later stages together, each an equal part; with half as many digits lost a point.
        learning_rate: the later stages' highest rate, that of the head, as in fast.ai's ``fine_tune``; half
            of it and twice as much differed by less than a point. The first layers' is a tenth of it.
        warm_up: of the later stages; their first steps are taken before Adam knows the gradients' size.
        layer_rate_ratio: of the later stages: early layers hold what is common to most images. On flowers a
            rate of 1e-3 for all layers lost what the head had; with a ratio of 10 and warm-up it gained.
        weight_decay: AdamW's, of all stages, not on biases and normalisation. The usual value; on so few
            steps it hardly matters.
        label_smoothing: of all stages. Few images are soon known by heart, and without it the network gets
            ever surer of its mistakes: it halved the validation loss of digits, at a little more accuracy.
        batch_size: small batches find flatter minima and fit any memory (Masters and Luschi,
            arXiv:1804.07612).
        augment: of all stages; see ``fit``. ``dataset.augment`` suits the images.
        views: likewise. ``"auto"`` stores 8 versions of an image where that saves work, which costs heads
            less than a point; where it does not, each epoch makes new ones.
        checkpoint: a folder, as of ``fit``: no stage is trained twice, whatever stopped the run.
        seed: 0 to 2**31 - 1.
        options: any other of ``fit``: ``cache``, ``class_weights``, ``patience``, ``callbacks``, ``verbose``.
            There is no ``patience`` by default: the rate falls to zero, so the last weights are the settled
            ones, and picking the best of ten validations would fit the validation images.

    Returns:
        A report for each stage, in order.

    Raises:
        TypeError: for an option that ``fine_tune`` sets itself; otherwise as ``fit``.
        ValueError: if the names do not go from deep to shallow; otherwise as ``fit`` and
            ``freezing.unfreeze_from``.
    """
    for name, value in (("head_steps", head_steps), ("steps", steps), ("batch_size", batch_size)):
        settings.require_whole(name, value, 1)
    for name in {"optimizer", "epochs", "label"} & options.keys():
        raise TypeError(f"fine_tune sets {name} itself. To choose it, train stage by stage with fit.")
    names = [unfreeze_from] if isinstance(unfreeze_from, str) else list(unfreeze_from)
    places = [_set_boundary(model, name) for name in (None, *names)]
    if not names or places != sorted(set(places), reverse=True):
        raise ValueError(
            f"unfreeze_from is {unfreeze_from!r}; it takes one layer or block, or several from deep to "
            "shallow, such as ('block4', 'block3'), all before the head."
        )
    options |= {
        "weight_decay": weight_decay,
        "label_smoothing": label_smoothing,
        "batch_size": batch_size,
        "augment": augment,
        "views": views,
        "checkpoint": checkpoint,
        "seed": seed,
    }
    slower = {"learning_rate": learning_rate, "warm_up": warm_up, "layer_rate_ratio": layer_rate_ratio}
    epoch = max(1, math.ceil(dataset.sizes["train"] / batch_size))  # in steps
    head = {"epochs": math.ceil(head_steps / epoch), "learning_rate": head_learning_rate, "label": "head"}
    stages: dict[str | None, dict[str, Any]] = {None: options | head}
    for name in names:
        epochs = math.ceil(steps / len(names) / epoch)
        stages[name] = options | slower | {"epochs": epochs, "label": f"from {name}"}
    facts = [_settings(each).facts() for each in stages.values()]  # which checks them, before any work
    reports = [] if checkpoint is None else _reached(model, stages, facts, checkpoint)
    for boundary, stage_options in list(stages.items())[len(reports) :]:
        _set_boundary(model, boundary)
        reports.append(fit(model, dataset, **stage_options))
    return tuple(reports)


def _settings(options: dict[str, Any]) -> settings.Settings:
    """Those of a stage's options that are settings."""
    known = {field.name for field in dataclasses.fields(settings.Settings)}
    return settings.Settings(**{name: value for name, value in options.items() if name in known})


def _set_boundary(model: keras.Model, name: str | None) -> int:
    """Freeze all before the layer or block, or before the head; the place of the first layer that learns."""
    if name is None:
        freezing.freeze(model)
    else:
        freezing.unfreeze_from(model, name)
    return next(place for place, (_, layer) in enumerate(freezing.leaves(model)) if freezing.learns(layer))


def _reached(
    model: keras.Model,
    stages: dict[str | None, dict[str, Any]],
    facts: list[dict[str, Any]],
    checkpoint: str | os.PathLike,
) -> list[FitReport]:
    """The reports of the stages that are behind a model which was stopped in a later one and is given again.

    Run again in the same notebook, ``fine_tune`` gets the model as it was when it stopped: with the weights
    of a checkpoint. Of a model built anew, nothing is behind it.

    Raises:
        resume.OtherStage: if such a stage was trained with other settings.
    """
    behind: list[tuple[pathlib.Path, dict, dict]] = []
    reports: list[FitReport] = []
    for (name, options), asked in zip(stages.items(), facts, strict=True):
        _set_boundary(model, name)
        record = resume.reached(model, checkpoint, options["label"])
        if record is not None and reports and record["is_here"]:
            for path, earlier, expected in behind:
                resume.require_same_settings(path, earlier, expected)
            return reports
        if record is None or record["report"] is None:
            break
        behind.append((resume.stage_folder(model, checkpoint, options["label"]), record, asked))
        reports.append(stage.finished(model, record["report"], record["moved"]))
    return []
