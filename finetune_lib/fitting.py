"""Fit one stage: read the boundary, store what is below it, train what is above, verify (lessons 04, 05)."""

import dataclasses
import math
import numbers
import time
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tqdm

from finetune_lib import activation_cache, batches, data, diagnosis, freezing, losses

diagnose, describe, Finding = diagnosis.diagnose, diagnosis.describe, diagnosis.Finding

VALIDATIONS = 10  # the most a stage takes: on tiny training sets validating would cost more than training


@dataclasses.dataclass(frozen=True)
class FitReport:
    """What one call of ``fit`` did.

    Attributes:
        label: the stage's name.
        history: ``loss`` and ``accuracy`` of each epoch, ``val_loss`` and ``val_accuracy`` of each of
            ``validated_epochs``.
        epochs: the number of epochs that were run.
        validated_epochs: after which epochs, counted from 1, the validation part was measured.
        seconds: wall-clock time, compiling included.
        trained_parameters, total_parameters: numbers that training may change, and all.
        loss: what was minimised, in words.
        moved: for each layer with weights, by its path, whether any of its weights changed.
        boundary: which layers were trained, in words.
        stored: whether it learned from stored activations.
    """

    label: str
    history: dict[str, list[float]]
    epochs: int
    validated_epochs: list[int]
    seconds: float
    trained_parameters: int
    total_parameters: int
    loss: str
    moved: dict[str, bool]
    boundary: str
    stored: bool

    def __str__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items() if values)
        how = "on stored activations" if self.stored else "on images"
        return (
            f"{self.label}: {self.epochs} epochs {how} in {self.seconds:.1f} s, {self.boundary}\n"
            f"  {self.trained_parameters:,} of {self.total_parameters:,} parameters trained; "
            f"{sum(self.moved.values())} of {len(self.moved)} layers moved, the others are bit-identical\n"
            f"  loss: {self.loss}\n"
            f"  last epoch: {last}"
        )


def fit(
    model: keras.Model,
    dataset: data.ImageDataset,
    *,
    epochs: int,
    learning_rate: float = 1e-3,
    optimizer: keras.optimizers.Optimizer | None = None,
    batch_size: int = 32,
    augment: batches.Augment | None = None,
    views: batches.Views = 4,
    cache: bool | activation_cache.Cache = True,
    class_weights: Mapping[int, float] | None = None,
    seed: int = 0,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    label: str = "training",
    verbose: int = 1,
) -> FitReport:
    """Train what is trainable, on stored activations of what is not, and verify that nothing else moved.

    The boundary is what ``freezing.freeze`` or ``freezing.unfreeze_from`` set. Training runs
    ``suffix(prefix(images, training=False))``, so nothing below the boundary can behave as in training, which
    the usual ``base(x, training=False)`` inside a functional model does not ensure: ``model.fit`` overrides
    it. Afterwards the model holds the trained weights and is still un-compiled.

    A frozen prefix is a constant function of the image. So it runs over the images once, its activations are
    stored on disk (see ``activation_cache``), and only the suffix is trained, on these. The same weights come
    out as without, many times faster: head only, over E epochs, about E times. (Last bits may differ if one
    image is left over for the last batch: TensorFlow takes its sums in another order.) A later call with the
    same prefix and images finds them there. Where that saves no tenth of the arithmetic, or there is no room,
    it trains on the images.

    The loss fits the head: cross-entropy on logits for a linear last layer, on probabilities for softmax;
    binary for a single output; for whole-number or one-hot labels. The same seed gives the same weights, bit
    for bit on a CPU: order, augmentation and Dropout depend on nothing but ``(seed, epoch, index)``.

    Mixed precision, for a GPU: ``keras.config.set_dtype_policy("mixed_float16")`` before the model is built;
    the head that ``classifier.build`` makes computes in float32 all the same.

    Ctrl-C leaves the model with what it has learned so far.

    Args:
        model: functional, taking images ``(batch, height, width, 3)``.
        dataset: its ``validation`` part is measured after every epoch, or after 10 evenly spaced ones of more
            than 10 if there are no callbacks, in order and without augmentation.
        epochs: passes over ``dataset.train``.
        learning_rate: where Adam (Kingma and Ba, arXiv:1412.6980) starts. It falls along half a cosine to
            zero at the last step (Loshchilov and Hutter, arXiv:1608.03983, without restarts): large steps
            find the region, small ones settle in it, and there is no schedule to tune. Start at about 1e-3
            for a new head, a tenth of that or less for pretrained layers.
        optimizer: any Keras optimiser instead; a fresh copy of it is used, ``learning_rate`` is not.
        batch_size: images per step; the last batch of an epoch may be smaller.
        augment: ``(image, seed) -> image`` for training images: float32 ``(height, width, 3)`` 0..255, seed
            int32 ``(2,)``; ``augmentation.drawings``, ``tf.image.stateless_random_flip_left_right``, ...
        views: how many augmented versions of an image there are, taken in turn, one an epoch. ``"online"``: a
            new one in every epoch, so that nothing can be stored.
        cache: False trains on images; an ``activation_cache.Cache`` says where, how much and how precisely to
            store.
        class_weights: how much each class counts in the training loss, for labels 0, 1, 2, ...; for example
            from ``sklearn.utils.class_weight.compute_class_weight``. None: every image counts the same.
        seed: 0 to 2**31 - 1.
        callbacks: Keras callbacks. What they save is the model. What they find as ``self.model`` is the part
            that is trained, which takes stored activations, not images, unless ``cache`` is False.
        label: the stage's name, for the progress bar and the report.
        verbose: 0 for silence; otherwise one progress bar on the standard error stream.

    Raises:
        TypeError: if the model is not functional, or not built, or ``cache`` is something else.
        ValueError: if nothing is trainable, a part is empty, a setting is out of its range, or labels,
            classes, weights and head do not fit.
        FloatingPointError: if a loss or a weight is NaN or infinite. The weights are then as before; the
            message names likely causes.
        RuntimeError: if weights moved that are frozen.
    """
    started = time.perf_counter()
    parts = freezing.split(model)
    model.compiled = False
    if not model.trainable_weights:
        raise ValueError(
            f"Nothing in {model.name!r} is trainable. Call freezing.freeze(model) to train the head, or "
            "freezing.unfreeze_from(model, name) to train more."
        )
    _require_settings(model, epochs, batch_size, seed, optimizer, callbacks := list(callbacks))
    _require_labels(model, dataset)
    if class_weights is not None and set(class_weights) != set(range(len(dataset.class_names))):
        raise ValueError(
            f"class_weights has the labels {sorted(class_weights)}; it takes one weight for each of "
            f"0 to {len(dataset.class_names) - 1}."
        )
    if views != "online" and not (isinstance(views, numbers.Integral) and views >= 1):
        raise ValueError(f"views is {views!r}; it takes a whole number of at least 1, or 'online'.")
    if not isinstance(cache, bool | activation_cache.Cache):
        raise TypeError(
            f"cache is {cache!r}; it takes True, False, or settings such as "
            'activation_cache.Cache(folder=..., storage="float16").'
        )
    loss, metric, loss_name = losses.choose(model, len(dataset.train.element_spec[1].shape) == 1)
    steps = math.ceil(dataset.sizes["train"] / batch_size)
    often = epochs if callbacks else min(epochs, VALIDATIONS)  # a callback may want it after every epoch
    validated = sorted({math.ceil(epochs * part / often) for part in range(1, often + 1)})
    stream = batches.of_stage(
        parts,
        dataset,
        cache=cache,
        validations=len(validated),
        label=label,
        verbose=verbose,
        epochs=epochs,
        batch_size=batch_size,
        augment=augment,
        views=views,
        seed=seed,
    )
    if optimizer is None:
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=epochs * steps)
        optimizer = keras.optimizers.Adam(schedule)
    else:
        optimizer = optimizer.from_config(optimizer.get_config())
    stage = _Stage(model, None if stream.stored else parts[0], parts[1])
    _seed_random_layers(parts[1], seed)  # those of the prefix never fire
    # XLA compilation slows convolutions down on a CPU, and Keras' default may choose it.
    at_once = batches.steps_at_once(stream, steps, epochs, batch_size, callbacks)
    stage.compile(optimizer, loss, metrics=[metric], jit_compile=False, steps_per_execution=at_once)
    learning = {path for path, layer in freezing.leaves(model) if freezing.learns(layer)}
    before = [weight.numpy() for weight in model.weights]
    with tqdm.tqdm(total=epochs * steps, desc=label, unit="batch", disable=not verbose) as bar:
        try:
            history = stage.fit(
                stream.training,
                epochs=epochs,
                steps_per_epoch=steps,
                shuffle=False,  # the stream is shuffled already
                validation_data=stream.validation,
                validation_freq=validated,
                class_weight=None if class_weights is None else dict(class_weights),
                callbacks=[_Watch(bar, label, epochs), *callbacks],
                verbose=0,
            )
            # A ReLU can turn NaN into 0, so that the loss stays finite while the weights are lost.
            if broken := [w.path for w in model.trainable_weights if not np.isfinite(w.numpy()).all()]:
                raise FloatingPointError(f"Weights became NaN or infinite: {broken[0]}")
        except FloatingPointError as error:
            for weight, value in zip(model.weights, before, strict=True):
                weight.assign(value)
            raise FloatingPointError(_explain(str(error), model, dataset, optimizer)) from None
        finally:
            for entry in stream.entries:
                entry.close()
    return FitReport(
        label=label,
        history=history.history,
        epochs=len(history.epoch),
        validated_epochs=[epoch for epoch in validated if epoch <= len(history.epoch)],
        seconds=time.perf_counter() - started,
        trained_parameters=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        total_parameters=model.count_params(),
        loss=loss_name + ("" if class_weights is None else ", weighted by class"),
        moved=_verify(model, before, learning),
        boundary=freezing.boundary(model),
        stored=stream.stored,
    )


class _Stage(keras.Model):
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


class _Watch(keras.callbacks.Callback):
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


def _require_settings(
    model: keras.Model, epochs: int, batch_size: int, seed: int, optimizer: Any, callbacks: list
) -> None:
    """Raise TypeError or ValueError for what would fail later, after much work and in other words."""
    for name, value, least in (("epochs", epochs, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        if not isinstance(value, numbers.Integral) or not least <= value < 2**31:
            raise ValueError(f"{name} is {value!r}; it takes a whole number of at least {least}.")
    if optimizer is not None and not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(f"optimizer is {optimizer!r}; it takes an object such as keras.optimizers.SGD(0.01).")
    if any(isinstance(callback, keras.callbacks.BackupAndRestore) for callback in callbacks):
        raise ValueError("BackupAndRestore cannot be used: it would load a whole model into a part of it.")
    if len(model.outputs) > 1 or len(model.output_shape) != 2:
        raise ValueError(
            f"The model returns {model.output_shape}, not (images, classes). Put a "
            "keras.layers.GlobalAveragePooling2D or Flatten before its last layer."
        )


def _require_labels(model: keras.Model, dataset: data.ImageDataset) -> None:
    """Raise ValueError if labels and head do not match, as far as the first 1,000 of each part show."""
    for part in ("train", "validation"):
        stream = getattr(dataset, part).map(lambda image, label: label).take(1000)
        labels = np.array(list(stream.as_numpy_iterator()))
        for finding in diagnosis.label_problems(model, labels, dataset.class_names, part):
            raise ValueError(str(finding))


def _seed_random_layers(suffix: keras.Model, seed: int) -> None:
    """Start the random numbers of Dropout and its like from ``seed``, each layer's from its own."""
    states = [variable for variable in suffix.variables if variable.name == "seed_generator_state"]
    for number, state in enumerate(states):
        start = np.random.SeedSequence([seed, number]).generate_state(1)[0] % 2**31
        state.assign([start, 0])


def _verify(model: keras.Model, before: list[np.ndarray], learning: set[str]) -> dict[str, bool]:
    """Which layers moved. Raises RuntimeError if one did that learns nothing: compared bit by bit."""
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


def _explain(
    what: str, model: keras.Model, dataset: data.ImageDataset, optimizer: keras.optimizers.Optimizer
) -> str:
    rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    causes = [str(finding) for finding in diagnosis.diagnose(model, dataset)]
    causes.append(
        f"The learning rate is too high.\n  evidence: it was {rate:.3g}\n  remedy:   try a tenth of it"
    )
    return f"{what}. The weights are as they were before. Likely causes:\n" + "\n".join(causes)
