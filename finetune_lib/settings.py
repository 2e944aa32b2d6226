"""How a stage is trained, checked before any work is done (used by ``stage`` and ``range_test``)."""

import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from finetune_lib import activation_cache, batches, data, diagnosis, optimizers

VALIDATIONS = 10  # the most a stage takes: on tiny training sets validating would cost more than training
# What they go by is not saved with a checkpoint.
FORGETFUL = (
    keras.callbacks.EarlyStopping,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.ModelCheckpoint,
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a stage; each is described in ``stage.fit``.

    Raises:
        TypeError: if a setting is of the wrong kind.
        ValueError: if it is out of its range.
    """

    epochs: int
    learning_rate: float = 1e-3
    optimizer: keras.optimizers.Optimizer | None = None
    warm_up: float = 0.0
    layer_rate_ratio: float = 1.0
    weight_decay: float = 0.0
    batch_size: int = 32
    augment: batches.Augment | None = None
    views: batches.Views = 4
    cache: bool | activation_cache.Cache = True
    class_weights: Mapping[int, float] | None = None
    label_smoothing: float = 0.0
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            require_whole(name, getattr(self, name), least)
        if self.patience is not None:
            require_whole("patience", self.patience, 1)
        for name, low, high in (
            ("learning_rate", 0.0, math.inf),
            ("warm_up", 0.0, 1.0),
            ("layer_rate_ratio", 1.0, math.inf),
            ("weight_decay", 0.0, math.inf),
            ("label_smoothing", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not isinstance(value, float | int | np.floating) or not low <= value < high:
                raise ValueError(
                    f"{name} is {value!r}; it takes a number from {low:g} to less than {high:g}."
                )
        if self.optimizer is not None:
            if not isinstance(self.optimizer, keras.optimizers.Optimizer):
                raise TypeError(
                    f"optimizer is {self.optimizer!r}; it takes an object such as keras.optimizers.SGD(0.01)."
                )
            if self.optimizer.use_ema and self.patience is not None:
                raise ValueError(
                    "patience keeps weights as they were validated, not the moving averages (use_ema) that "
                    "the optimizer ends with. Leave one of the two out."
                )
            if self.warm_up or self.weight_decay or self.layer_rate_ratio != 1:
                raise ValueError(
                    "warm_up, layer_rate_ratio and weight_decay shape fit's own Adam. Give your optimizer a "
                    "schedule and a weight_decay of its own, or leave it out."
                )
        if self.views not in ("online", "auto") and not (
            isinstance(self.views, numbers.Integral) and self.views >= 1
        ):
            raise ValueError(
                f"views is {self.views!r}; it takes a whole number of at least 1, or 'online', or 'auto'."
            )
        if not isinstance(self.cache, bool | activation_cache.Cache):
            raise TypeError(
                f"cache is {self.cache!r}; it takes True, False, or settings such as "
                'activation_cache.Cache(folder=..., storage="float16").'
            )

    def require_fit(self, model: keras.Model, dataset: data.ImageDataset) -> None:
        """Raise ValueError if these settings, model and data do not fit each other."""
        if not model.trainable_weights:
            raise ValueError(
                f"Nothing in {model.name!r} is trainable. Call freezing.freeze(model) to train the head, or "
                "freezing.unfreeze_from(model, name) to train more."
            )
        if len(model.outputs) > 1 or len(model.output_shape) != 2:
            raise ValueError(
                f"The model returns {model.output_shape}, not (images, classes). Put a "
                "keras.layers.GlobalAveragePooling2D or Flatten before its last layer."
            )
        for part in ("train", "validation"):  # as far as the first 1,000 labels show
            stream = getattr(dataset, part).map(lambda image, label: label).take(1000)
            labels = np.array(list(stream.as_numpy_iterator()))
            for finding in diagnosis.label_problems(model, labels, dataset.class_names, part):
                raise ValueError(str(finding))
        classes = range(len(dataset.class_names))
        if self.class_weights is not None and set(self.class_weights) != set(classes):
            raise ValueError(
                f"class_weights has the labels {sorted(self.class_weights)}; it takes one weight for each of "
                f"0 to {len(classes) - 1}."
            )

    def steps(self, dataset: data.ImageDataset) -> int:
        """How many batches make an epoch."""
        return math.ceil(dataset.sizes["train"] / self.batch_size)

    def validated_epochs(self, has_callbacks: bool) -> list[int]:
        """After which epochs, counted from 1, validation images are measured; callbacks may want all."""
        often = self.epochs if has_callbacks else min(self.epochs, VALIDATIONS)
        return sorted({math.ceil(self.epochs * part / often) for part in range(1, often + 1)})

    def new_optimizer(self, model: keras.Model, steps: int) -> keras.optimizers.Optimizer:
        """A fresh optimiser for all the steps of the stage."""
        if self.optimizer is not None:
            return self.optimizer.from_config(self.optimizer.get_config())
        rate = optimizers.schedule(self.learning_rate, steps, self.warm_up)
        return optimizers.adam(
            model, rate, layer_rate_ratio=self.layer_rate_ratio, weight_decay=self.weight_decay
        )

    def facts(self) -> dict[str, Any]:
        """What decides the result, but for the augmentation, by name and in words JSON can hold."""
        facts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del facts["augment"]
        if self.optimizer is not None:
            del facts["learning_rate"]
            facts["optimizer"] = str([type(self.optimizer).__name__, _plain(self.optimizer.get_config())])
        if self.class_weights is not None:
            facts["class_weights"] = [float(weight) for _, weight in sorted(self.class_weights.items())]
        stored = self.cache if isinstance(self.cache, activation_cache.Cache) else activation_cache.Cache()
        facts["cache"] = [stored.storage, stored.prefix_dtype]
        return {
            name: value.item() if isinstance(value, np.generic) else value for name, value in facts.items()
        }


def require_callbacks(callbacks: list, *, is_saved: bool) -> None:
    """Raise ValueError for callbacks that cannot be used, with checkpoints or at all."""
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "BackupAndRestore cannot be used: it would load a whole model into a part of it. For its "
                "purpose there is checkpoint=."
            )
        if is_saved and isinstance(callback, FORGETFUL):
            raise ValueError(
                f"{type(callback).__name__} cannot be used with checkpoint=: what it remembers is not saved, "
                "so a run that goes on would end otherwise. For early stopping, there is patience=."
            )


def _plain(config: Any) -> Any:
    """A configuration without names, which Keras counts through the session, and without objects."""
    if isinstance(config, dict):
        return {key: _plain(value) for key, value in config.items() if key != "name"}
    if isinstance(config, list | tuple):
        return [_plain(value) for value in config]
    return config if isinstance(config, bool | int | float | str | None) else type(config).__name__


def require_whole(name: str, value: object, least: int) -> None:
    """Raise ValueError if a setting is not a whole number, or less than ``least``."""
    if not isinstance(value, int | np.integer) or not least <= value < 2**31:
        raise ValueError(f"{name} is {value!r}; it takes a whole number of at least {least}.")
