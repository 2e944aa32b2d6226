"""Which learning rate? A rate that grows from step to step, and the loss it leads to (lesson 05)."""

import dataclasses
from typing import Any

import keras
import numpy as np

from finetune_lib import batches, data, freezing, losses, optimizers, settings, training

GROWTH_STOPS = 4.0  # times the lowest smoothed loss: the rate is far too high from here on
MEMORY = 0.9  # how much of the smoothed loss is carried over to the next step


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """What ``learning_rate_range`` found.

    Attributes:
        rates: float64 ``(steps,)``, geometric.
        losses: float64 ``(steps,)``, of each step's batch, before the step.
        smoothed: float64 ``(steps,)``: an exponential mean of these, its start corrected as in Adam.
        suggestion: the rate at which the smoothed loss falls fastest, per decade.
        lowest: the rate at which it is lowest; training at this rate would be about to diverge.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float
    lowest: float

    def __str__(self) -> str:
        low, high = self.rates[0], self.rates[-1]
        return (
            f"suggested learning rate {self.suggestion:.1e}: here the loss falls fastest. It is lowest at "
            f"{self.lowest:.1e}, {self.smoothed.min():.3g} ({len(self.rates)} steps, {low:.0e} to {high:.1e})"
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
    cache: Any = True,
    layer_rate_ratio: float = 1.0,
    seed: int = 0,
    verbose: int = 1,
) -> RangeTest:
    """Train for a few steps at an ever higher rate, and suggest one: the learning-rate range test.

    Below the right rate the loss hardly moves; above it grows; between them it falls, and where it falls
    fastest is a good highest rate (Smith, arXiv:1506.01186; fast.ai's ``lr_find`` calls it "steep"). It is a
    suggestion from a hundred steps: it says nothing of forgetting or overfitting, so stay at or below it.
    Stops early where the smoothed loss is four times its lowest. The model is left as it was.

    Args:
        model, dataset, batch_size, augment, views, cache, layer_rate_ratio, seed, verbose: as of ``fit``.
        lowest, highest: the rates of the first and the last step.
        steps: how many.

    Raises:
        ValueError: as ``fit``; or if the rates or steps are out of their range, or if fewer than ten steps
            gave a finite loss.
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
    measured: list[float] = []
    try:
        for inputs, labels in stream.training.take(steps):
            measured.append(pair.train_on_batch(inputs, labels, return_dict=True)["loss"])
            smoothed = smooth(np.array(measured))
            if not np.isfinite(measured[-1]) or smoothed[-1] > GROWTH_STOPS * smoothed.min():
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
            f"Only {len(finite)} steps from a rate of {lowest:g} on gave a finite loss. See what "
            "fitting.diagnose(model, dataset) says, or begin at a lower rate."
        )
    return result(rates[: len(finite)], finite)


def smooth(measured: np.ndarray) -> np.ndarray:
    """The exponential mean of a series, without the bias of its start (Kingma and Ba, arXiv:1412.6980)."""
    mean, means = 0.0, []
    for number, value in enumerate(measured, start=1):
        mean = MEMORY * mean + (1 - MEMORY) * value
        means.append(mean / (1 - MEMORY**number))
    return np.array(means)


def result(rates: np.ndarray, measured: np.ndarray) -> RangeTest:
    """Read a suggestion off the losses: the steepest fall before the lowest point.

    Args:
        rates: growing, ``(steps,)``.
        measured: finite losses, ``(steps,)``.
    """
    smoothed = smooth(measured)
    lowest = max(2, int(smoothed.argmin()))
    slope = np.gradient(smoothed, np.log10(rates))[: lowest + 1]
    return RangeTest(rates, measured, smoothed, float(rates[slope.argmin()]), float(rates[lowest]))
