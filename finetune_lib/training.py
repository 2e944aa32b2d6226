"""The network while a stage trains, and what watches it: used by ``stage`` and ``range_test`` (lesson 05)."""

import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tqdm

from finetune_lib import batches, freezing, losses


class Pair(keras.Model):
    """The whole model as ``suffix(prefix(images, training=False))``, or its suffix alone, to train it.

    What callbacks save is the model.
    """

    def __init__(self, model: keras.Model, prefix: keras.Model | None, suffix: keras.Model) -> None:
        # No autocast: with mixed precision the layers themselves say what they take.
        super().__init__(name="stage", dtype=model.dtype_policy, autocast=False)
        self.prefix, self.suffix = prefix, suffix
        self._savers = (model.save, model.save_weights)

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        activations = inputs if self.prefix is None else self.prefix(inputs, training=False)
        # Nothing below here has trainable weights; this keeps gradients from even being looked for.
        activations = keras.tree.map_structure(keras.ops.stop_gradient, activations)
        return self.suffix(activations, training=training)

    def save(self, *args: Any, **kwargs: Any) -> None:
        self._savers[0](*args, **kwargs)

    def save_weights(self, *args: Any, **kwargs: Any) -> None:
        self._savers[1](*args, **kwargs)


class Watch(keras.callbacks.Callback):
    """Moves the progress bar, and raises FloatingPointError where a loss is not finite."""

    def __init__(self, bar: tqdm.tqdm, label: str, epochs: int) -> None:
        super().__init__()
        self.bar, self.label, self.epochs = bar, label, epochs
        self.epoch, self.step = 0, 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch, self.step = epoch + 1, 0
        self.bar.set_description(f"{self.label}: epoch {self.epoch}/{self.epochs}")

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.bar.update(batch + 1 - self.step)
        self.step = batch + 1
        self.require_finite("loss", logs or {})

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.require_finite("val_loss", logs or {})
        shown = {"loss": "loss", "val_accuracy": "validation accuracy"}
        self.bar.set_postfix(
            {shown[key]: f"{value:.3f}" for key, value in (logs or {}).items() if key in shown}
        )

    def require_finite(self, name: str, logs: dict) -> None:
        if not math.isfinite(logs.get(name, 0.0)):
            raise FloatingPointError(f"{name} became {logs[name]} in epoch {self.epoch}, step {self.step}")


class Best(keras.callbacks.Callback):
    """Early stopping (Prechelt, 1998): keeps the weights of the highest validation accuracy.

    Of equal accuracies the lower loss wins. Not the loss alone: with few labels it rises while accuracy still
    grows, since a network goes on getting surer of its mistakes (Guo et al., arXiv:1706.04599).

    Unlike Keras' EarlyStopping it takes no notice of epochs that are not validated, and all it goes by lies
    open, to be saved and set again.

    Attributes:
        patience: after how many validations without a better one to stop.
        record: ``accuracy``, ``loss`` and ``epoch`` (counted from 1) of the best, and ``waited``: validations
            since then.
        weights: of the suffix, at the best; None before the first validation.
    """

    def __init__(self, suffix: keras.Model, patience: int) -> None:
        super().__init__()
        self.suffix, self.patience = suffix, patience
        self.record: dict[str, Any] = {"accuracy": -1.0, "loss": math.inf, "epoch": 0, "waited": 0}
        self.weights: list[np.ndarray] | None = None

    @property
    def is_over(self) -> bool:
        """Whether patience has run out."""
        return self.record["waited"] >= self.patience

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is None or "val_loss" not in logs:
            return
        accuracy, loss = logs["val_accuracy"], logs["val_loss"]
        if (accuracy, -loss) > (self.record["accuracy"], -self.record["loss"]):
            self.record = {"accuracy": accuracy, "loss": loss, "epoch": epoch + 1, "waited": 0}
            self.weights = self.suffix.get_weights()
        else:
            self.record["waited"] += 1
        if self.is_over:
            self.model.stop_training = True


class Recorder(keras.callbacks.Callback):
    """Collects the history, and calls ``save(history)`` at the end of each epoch.

    Args:
        history: of the epochs that an earlier run has done.
    """

    def __init__(self, history: dict[str, list[float]], save: Callable[[dict], None]) -> None:
        super().__init__()
        self.history, self.save = {name: list(values) for name, values in history.items()}, save

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        self.save(self.history)


class Clock:
    """Seconds since it was made, and those of earlier runs."""

    def __init__(self) -> None:
        self.earlier, self.started = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        return self.earlier + time.perf_counter() - self.started


def compiled(
    model: keras.Model,
    parts: tuple[keras.Model, keras.Model],
    stream: batches.Batches,
    criterion: losses.Criterion,
    optimizer: keras.optimizers.Optimizer,
    seed: int,
    steps_at_once: int = 1,
) -> Pair:
    """The pair of a stage, ready to be trained, its random layers seeded."""
    pair = Pair(model, None if stream.stored else parts[0], parts[1])
    seed_random_layers(parts[1], seed)  # those of the prefix never fire
    # XLA compilation slows convolutions down on a CPU, and Keras' default may choose it.
    pair.compile(
        optimizer,
        criterion.loss,
        metrics=[criterion.metric],
        jit_compile=False,
        steps_per_execution=steps_at_once,
    )
    # Otherwise Adam's memory is made while TensorFlow traces the first step, which it then traces once more:
    # half a second for a small network.
    pair.optimizer.build(pair.suffix.trainable_variables)
    return pair


def state(pair: Pair) -> list[keras.Variable]:
    """All that training changes: weights, random numbers, the optimiser's memory."""
    return [*pair.suffix.variables, *pair.optimizer.variables]


def seed_random_layers(suffix: keras.Model, seed: int) -> None:
    """Start the random numbers of Dropout and its like from ``seed``, each layer's from its own."""
    states = [variable for variable in suffix.variables if variable.name == "seed_generator_state"]
    for number, state in enumerate(states):
        start = np.random.SeedSequence([seed, number]).generate_state(1)[0] % 2**31
        state.assign([start, 0])


def require_finite_weights(model: keras.Model) -> None:
    """Raise FloatingPointError if a weight is NaN or infinite.

    A ReLU can turn NaN into 0, so that the loss stays finite while the weights are lost.
    """
    if broken := [w.path for w in model.trainable_weights if not np.isfinite(w.numpy()).all()]:
        raise FloatingPointError(f"Weights became NaN or infinite: {broken[0]}")


def what_moved(model: keras.Model, before: list[np.ndarray], learning: set[str]) -> dict[str, bool]:
    """Which layers' weights changed, by path, compared bit by bit.

    Args:
        before: the weights before training.
        learning: the paths of the layers that learn.

    Raises:
        RuntimeError: if one changed that learns nothing.
    """
    earlier = {id(weight): value for weight, value in zip(model.weights, before, strict=True)}
    moved = {
        path: any(not _same_bits(weight.numpy(), earlier[id(weight)]) for weight in layer.weights)
        for path, layer in freezing.leaves(model)
        if layer.weights
    }
    if wrong := [path for path in moved if moved[path] and path not in learning]:
        raise RuntimeError(
            f"Frozen layers changed during training: {', '.join(wrong)}. Did a callback set their weights, "
            "or their trainable flags? Build the model anew, and leave both alone while fit runs."
        )
    return moved


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one.reshape(-1).view(np.uint8), other.reshape(-1).view(np.uint8))
