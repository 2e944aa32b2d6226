"""Which learning rate? A rate that grows from step to step, and the loss it leads to (lesson 05)."""

import dataclasses
from typing import Any

import keras
import numpy as np

from finetune_lib import activation_cache, batches, data, freezing, losses, optimizers, settings, training

RISE_STOPS = 3.0  # times the loss at the start, above the lowest: the rate is far too high from here on
MEMORY = 0.9  # how much of the smoothed loss is carried over to the next step


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """What ``learning_rate_range`` found.

    Attributes:
        rates: float64 ``(steps,)``, geometric.
        losses: float64 ``(steps,)``, of each step's batch, before the step.
        smoothed: float64 ``(steps,)``: how far these lie from the losses of the same batches before the first
            step, as an exponential mean, on top of the mean of the latter.
        suggestion: a good highest rate of a stage.
        half_way: where the smoothed loss has come half of its way down.
        lowest: where it is lowest; training at this rate is about to diverge.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float
    half_way: float
    lowest: float

    def __str__(self) -> str:
        return (
            f"suggested learning rate {self.suggestion:.1e}. The loss is half-way down at "
            f"{self.half_way:.1e}, lowest at {self.lowest:.1e} ({len(self.rates)} steps)"
        )


def learning_rate_range(
    model: keras.Model,
    dataset: data.ImageDataset,
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    batch_size: int = 32,
    augment: batches.Augment | None = None,
    views: batches.Views = "auto",
    cache: bool | activation_cache.Cache = True,
    layer_rate_ratio: float = 1.0,
    seed: int = 0,
    verbose: int = 1,
) -> RangeTest:
    """Train for a few steps at an ever higher rate, and suggest one: the learning-rate range test.

    Below the right rate the loss hardly moves; above, it grows; between them it falls (Smith,
    arXiv:1506.01186). The suggestion is where it is half-way down, or a tenth of where it is lowest, if that
    is less. fast.ai's ``lr_find`` takes the steepest place, or that tenth; a slope is noisier than a level.
    Unlike there, each batch is compared with itself before the first step: else easy and hard batches would
    be taken for good and bad rates wherever the loss is low already, as it is when a trained head is about to
    be fine-tuned.

    It is a suggestion from a hundred steps, and knows nothing of forgetting or overfitting: stay at or below
    it. The test stops where the smoothed loss has risen by three times what it began with. The model is left
    as it was.

    Args:
        model, dataset, batch_size, augment, views, cache, seed, verbose: as of ``fit``.
        lowest, highest: the rates of the first and the last step: from where nothing moves to where a linear
            head diverges.
        steps: how many; 100, as in fast.ai, make sixteen a decade and take seconds.
        layer_rate_ratio: as the stage will have it: the suggestion is then for the last layer.

    Raises:
        ValueError: as ``fit``; or if the rates or steps are out of their range, or if the loss blew up within
            ten steps.
    """
    if not 0 < lowest < highest:
        raise ValueError(f"The rates must grow from above 0: lowest is {lowest!r}, highest {highest!r}.")
    if steps < 20:
        raise ValueError(f"steps is {steps!r}; it takes at least 20 to see a loss fall.")
    parts = freezing.split(model)
    model.compiled = False
    epochs = -(-steps * batch_size // max(1, dataset.sizes["train"])) + 1
    chosen = settings.Settings(
        epochs=epochs,
        batch_size=batch_size,
        augment=augment,
        views=views,
        cache=cache,
        layer_rate_ratio=layer_rate_ratio,
        seed=seed,
    )
    chosen.require_fit(model, dataset)
    criterion = losses.choose(model, len(dataset.train.element_spec[1].shape) == 1)
    stream = batches.of_stage(
        parts,
        dataset,
        cache=cache,
        validations=0,
        label="range test",
        verbose=verbose,
        epochs=epochs,
        batch_size=batch_size,
        augment=augment,
        views=views,
        seed=seed,
    )
    rates = np.geomspace(lowest, highest, steps)
    before = [variable.numpy() for variable in parts[1].variables]
    growth = (highest / lowest) ** (1 / (steps - 1))
    rate = keras.optimizers.schedules.ExponentialDecay(lowest, decay_steps=1, decay_rate=growth)
    optimizer = optimizers.adam(model, rate, layer_rate_ratio=layer_rate_ratio)
    pair = training.compiled(model, parts, stream, criterion, optimizer, seed)
    examples = criterion.labelled(stream.training).take(steps)
    measured: list[float] = []
    try:
        start = np.array([_loss(pair, *example) for example in examples])
        for example in examples:
            measured.append(_loss(pair, *example))
            pair.train_on_batch(*example)
            smoothed = smooth(np.array(measured), start)
            if not smoothed[-1] <= smoothed.min() + RISE_STOPS * start.mean():  # or not a number
                break
    finally:
        for variable, value in zip(parts[1].variables, before, strict=True):
            variable.assign(value)
        for entry in stream.entries:
            entry.close()
    found = np.array(measured)
    finite = found[np.isfinite(found)]
    if len(finite) < 10:
        raise ValueError(
            f"The loss blew up within {len(measured)} steps from a rate of {lowest:g} on. Begin at a lower "
            "rate, or see what fitting.diagnose(model, dataset) says."
        )
    return result(rates[: len(finite)], finite, start)


def _loss(pair: training.Pair, inputs: Any, labels: Any) -> float:
    pair.reset_metrics()  # Keras 3.13 would return the mean of all batches so far
    return pair.test_on_batch(inputs, labels, return_dict=True)["loss"]


def smooth(measured: np.ndarray, start: np.ndarray) -> np.ndarray:
    """``RangeTest.smoothed``: the exponential mean corrected for its start, as in Adam.

    Args:
        measured: ``(steps,)``.
        start: of the same batches before the first step, ``(steps,)`` or more.
    """
    mean, means = 0.0, []
    for number, change in enumerate(measured - start[: len(measured)], start=1):
        mean = MEMORY * mean + (1 - MEMORY) * change
        means.append(mean / (1 - MEMORY**number))
    return start.mean() + np.array(means)


def result(rates: np.ndarray, measured: np.ndarray, start: np.ndarray) -> RangeTest:
    """Read a suggestion off the losses.

    Args:
        rates: growing, ``(steps,)``.
        measured, start: as of ``smooth``, finite.
    """
    smoothed = smooth(measured, start)
    lowest = int(smoothed.argmin())
    half_way = int((smoothed <= (smoothed[0] + smoothed[lowest]) / 2).argmax())
    suggestion = min(rates[half_way], rates[lowest] / 10)
    return RangeTest(rates, measured, smoothed, *map(float, (suggestion, rates[half_way], rates[lowest])))
