"""Fit one stage: store what is below the boundary, train what is above, verify (lessons 04, 05)."""

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tqdm

from finetune_lib import (
    activation_cache,
    batches,
    checkpoints,
    data,
    diagnosis,
    freezing,
    losses,
    resume,
    settings,
    training,
)


@dataclasses.dataclass(frozen=True)
class FitReport:
    """What one call of ``fit`` did.

    Attributes:
        label: the stage's name.
        history: ``loss`` and ``accuracy`` of each epoch, ``val_loss`` and ``val_accuracy`` of each of
            ``validated_epochs``.
        epochs: the number of epochs that were run.
        validated_epochs: after which epochs, counted from 1, the validation part was measured.
        seconds: wall-clock time, compiling and earlier runs included.
        trained_parameters, total_parameters: numbers that training may change, and all.
        loss: what was minimised, in words.
        moved: for each layer with weights, by its path, whether any of its weights changed.
        boundary: which layers were trained, in words.
        stored: whether it learned from stored activations.
        kept_epoch: the epoch whose weights were kept: the best one with ``patience``, otherwise the last.
        earlier_epochs: how many of the epochs an earlier run did, and a checkpoint kept.
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
    kept_epoch: int
    earlier_epochs: int = 0

    def __str__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items() if values)
        how = "on stored activations" if self.stored else "on images"
        kept = f"; weights of epoch {self.kept_epoch}" if self.kept_epoch != self.epochs else ""
        if self.earlier_epochs:
            kept += (
                f"; {self.earlier_epochs} epochs were done by an earlier run, and read from its checkpoint"
            )
        return (
            f"{self.label}: {self.epochs} epochs {how} in {self.seconds:.1f} s, {self.boundary}\n"
            f"  {self.trained_parameters:,} of {self.total_parameters:,} parameters trained; "
            f"{sum(self.moved.values())} of {len(self.moved)} layers moved, the others are bit-identical\n"
            f"  loss: {self.loss}\n"
            f"  last epoch: {last}{kept}"
        )


def fit(
    model: keras.Model,
    dataset: data.ImageDataset,
    *,
    epochs: int,
    learning_rate: float = 1e-3,
    optimizer: keras.optimizers.Optimizer | None = None,
    warm_up: float = 0.0,
    layer_rate_ratio: float = 1.0,
    weight_decay: float = 0.0,
    batch_size: int = 32,
    augment: batches.Augment | None = None,
    views: batches.Views = 4,
    cache: bool | activation_cache.Cache = True,
    class_weights: Mapping[int, float] | None = None,
    label_smoothing: float = 0.0,
    patience: int | None = None,
    checkpoint: str | os.PathLike | None = None,
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

    Ctrl-C leaves the model with what it has learned so far; with ``checkpoint``, so does any error but the
    ones below, to the last finished epoch, from which the same call goes on.

    Args:
        model: functional, taking images ``(batch, height, width, 3)``.
        dataset: its ``validation`` part is measured after every epoch, or after 10 evenly spaced ones of more
            than 10 if there are no callbacks, in order and without augmentation.
        epochs: passes over ``dataset.train``.
        learning_rate: where Adam (Kingma and Ba, arXiv:1412.6980) starts. It falls along half a cosine to
            zero at the last step (see ``optimizers.schedule``): large steps find the region, small ones
            settle in it, and there is no schedule to tune. Start at about 1e-3 for a new head, a tenth of
            that or less for pretrained layers; ``fitting.learning_rate_range`` makes a suggestion.
        optimizer: any Keras optimiser instead; a fresh copy of it is used, and ``learning_rate`` is not.
        warm_up: the share of the steps on which the rate rises first (see ``optimizers.schedule``).
        layer_rate_ratio: how many times faster the last layer learns than the first one that learns; those
            between lie on a geometric line (see ``optimizers.layer_rates``).
        weight_decay: how much of each weight but biases and normalisation a rate of 1 would take away in a
            step (see ``optimizers.LayerwiseAdam``).
        batch_size: images per step; the last batch of an epoch may be smaller.
        augment: ``(image, seed) -> image`` for training images: float32 ``(height, width, 3)`` 0..255, seed
            int32 ``(2,)``; ``augmentation.drawings``, ``tf.image.stateless_random_flip_left_right``, ...
        views: how many augmented versions of an image there are, taken in turn, one an epoch. ``"online"``: a
            new one in every epoch, so that nothing can be stored. ``"auto"``: 8 where storing saves a tenth
            of the arithmetic or more, otherwise online.
        cache: False trains on images; an ``activation_cache.Cache`` says where, how much and how precisely to
            store.
        class_weights: how much each class counts in the training loss, for labels 0, 1, 2, ...; for example
            from ``sklearn.utils.class_weight.compute_class_weight``. None: every image counts the same.
        label_smoothing: how much of each label is spread over all classes (see ``losses.choose``).
        patience: stop after so many validations without a higher validation accuracy, and keep the weights of
            the best (see ``training.Best``). None: all epochs, and the last weights.
        checkpoint: a folder in which to save each finished epoch. Stopped at any moment and run again, the
            stage goes on from there, and ends as if it had not been stopped: bit for bit on the same machine.
            One that is finished is not trained again: its weights and report are read, which is said. A
            checkpoint of another model, other data or settings is refused, but the random numbers of a new
            head may be others. Several stages can share a folder. On Colab a finished one is copied to Google
            Drive, where that is mounted, and read from there by a new session. Callbacks start anew.
        seed: 0 to 2**31 - 1.
        callbacks: Keras callbacks. What they save is the model. What they find as ``self.model`` is the part
            that is trained, which takes stored activations, not images, unless ``cache`` is False.
        label: the stage's name, for the progress bar and the report.
        verbose: 0 for silence; otherwise one progress bar on the standard error stream.

    Raises:
        TypeError: if the model is not functional, or not built, or ``cache`` is something else.
        ValueError: if nothing is trainable, a part is empty, a setting is out of its range, or labels,
            classes, weights and head do not fit; or if the checkpoint is of another model, other data or
            settings: the message says in what they differ.
        OSError: if ``checkpoint`` cannot be written, or another run uses it. Where a later epoch cannot be
            saved, a warning says so and training goes on.
        FloatingPointError: if a loss or a weight is NaN or infinite. The weights are then as before; the
            message names likely causes.
        RuntimeError: if weights moved that are frozen.
    """
    callbacks = list(callbacks)
    chosen = settings.Settings(
        epochs=epochs,
        learning_rate=learning_rate,
        optimizer=optimizer,
        warm_up=warm_up,
        layer_rate_ratio=layer_rate_ratio,
        weight_decay=weight_decay,
        batch_size=batch_size,
        augment=augment,
        views=views,
        cache=cache,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        patience=patience,
        seed=seed,
    )
    settings.require_callbacks(callbacks, is_saved=checkpoint is not None)
    clock = training.Clock()
    parts = freezing.split(model)
    model.compiled = False
    chosen.require_fit(model, dataset)
    if checkpoint is None:
        return _train(model, parts, dataset, chosen, None, callbacks, clock, label, verbose)
    facts = {"label": label, "validations": len(chosen.validated_epochs(bool(callbacks)))} | chosen.facts()
    with checkpoints.Folder(resume.stage_folder(model, checkpoint, label)) as folder:
        identity = resume.identify(model, parts, dataset, augment, facts)
        progress = resume.Progress(folder, identity, parts[1], label, verbose)
        if progress.report is not None:
            progress.restore(None, None)
            return finished(model, progress.report, progress.moved)
        return _train(model, parts, dataset, chosen, progress, callbacks, clock, label, verbose)


def finished(model: keras.Model, report: dict[str, Any], moved: list[int]) -> FitReport:
    """The report of a stage that an earlier run finished, its layers called as they are now.

    Args:
        model: with the boundary of that stage.
        report: the report's fields but ``moved`` and ``boundary``.
        moved: the places, among the layers with weights, of those that moved.
    """
    paths = [path for path, layer in freezing.leaves(model) if layer.weights]
    return FitReport(
        **report | {"earlier_epochs": report["epochs"]},
        moved={path: place in moved for place, path in enumerate(paths)},
        boundary=freezing.boundary(model),
    )


def _train(
    model: keras.Model,
    parts: tuple[keras.Model, keras.Model],
    dataset: data.ImageDataset,
    chosen: settings.Settings,
    progress: resume.Progress | None,
    callbacks: list[keras.callbacks.Callback],
    clock: training.Clock,
    label: str,
    verbose: int,
) -> FitReport:
    """The epochs that are left, and the report of all."""
    criterion = losses.choose(model, len(dataset.train.element_spec[1].shape) == 1, chosen.label_smoothing)
    epochs, steps = chosen.epochs, chosen.steps(dataset)
    validated = chosen.validated_epochs(bool(callbacks))
    done = progress.epoch if progress else 0
    stream = batches.of_stage(
        parts,
        dataset,
        cache=chosen.cache,
        validations=len(validated),
        label=label,
        verbose=verbose,
        epochs=epochs,
        batch_size=chosen.batch_size,
        augment=chosen.augment,
        views=chosen.views,
        seed=chosen.seed,
        first_epoch=done,
    )
    optimizer = chosen.new_optimizer(model, epochs * steps)
    at_once = batches.steps_at_once(stream, steps, epochs, chosen.batch_size, callbacks)
    pair = training.compiled(model, parts, stream, criterion, optimizer, chosen.seed, at_once)
    best = None if chosen.patience is None else training.Best(parts[1], chosen.patience)
    learning = {path for path, layer in freezing.leaves(model) if freezing.learns(layer)}
    before = [weight.numpy() for weight in model.weights]
    if progress:
        progress.restore(pair, best)
        clock.earlier = progress.seconds

    def moved() -> dict[str, bool]:
        now = training.what_moved(model, before, learning)
        earlier = progress.moved if progress else []
        return {path: yes or place in earlier for place, (path, yes) in enumerate(now.items())}

    def save(history: dict[str, list[float]], report: dict[str, Any] | None = None) -> None:
        if progress:
            training.require_finite_weights(model)
            places = [place for place, yes in enumerate(moved().values()) if yes]
            progress.save(pair, best, history, places, clock.seconds, report)

    recorder = training.Recorder(progress.history if progress else {}, save)
    with tqdm.tqdm(
        total=epochs * steps, initial=done * steps, desc=label, unit="batch", disable=not verbose
    ) as bar:
        watchers = [training.Watch(bar, label, epochs), *([best] if best else [])]
        try:
            if done < epochs and not (best and best.is_over):
                pair.fit(
                    criterion.labelled(stream.training),
                    initial_epoch=done,
                    epochs=epochs,
                    steps_per_epoch=steps,
                    shuffle=False,  # the stream is shuffled already
                    validation_data=criterion.labelled(stream.validation),
                    validation_freq=validated,
                    class_weight=None if chosen.class_weights is None else dict(chosen.class_weights),
                    callbacks=[*watchers, *callbacks, recorder],  # what the callbacks do is saved, too
                    verbose=0,
                )
            elif pair.optimizer.use_ema:  # as at the end of a fit, which the earlier run did not see
                pair.optimizer.finalize_variable_values(parts[1].trainable_variables)
            training.require_finite_weights(model)
            if best and best.weights is not None:
                parts[1].set_weights(best.weights)
            history = recorder.history
            run = len(history["loss"])
            report = FitReport(
                label=label,
                history=history,
                epochs=run,
                validated_epochs=[epoch for epoch in validated if epoch <= run],
                seconds=clock.seconds,
                trained_parameters=sum(math.prod(weight.shape) for weight in model.trainable_weights),
                total_parameters=model.count_params(),
                loss=criterion.words + ("" if chosen.class_weights is None else ", weighted by class"),
                moved=moved(),
                boundary=freezing.boundary(model),
                stored=stream.stored,
                kept_epoch=best.record["epoch"] if best else run,
                earlier_epochs=done,
            )
            if run == epochs or (best and best.is_over):  # otherwise a callback stopped it: more may follow
                fields = dataclasses.asdict(report)
                save(history, {name: fields[name] for name in fields if name not in ("moved", "boundary")})
            return report
        except FloatingPointError as error:
            for weight, value in zip(model.weights, before, strict=True):
                weight.assign(value)
            raise FloatingPointError(_explain(str(error), model, dataset, optimizer)) from None
        except BaseException:  # Ctrl-C, or no memory left: another run in this notebook can go on
            if progress:
                progress.rewind()
            raise
        finally:
            for entry in stream.entries:
                entry.close()


def _explain(
    what: str, model: keras.Model, dataset: data.ImageDataset, optimizer: keras.optimizers.Optimizer
) -> str:
    rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    causes = [str(finding) for finding in diagnosis.diagnose(model, dataset)]
    causes.append(
        f"The learning rate is too high.\n  evidence: it was {rate:.3g}\n  remedy:   try a tenth of it"
    )
    return f"{what}. The weights are as they were before. Likely causes:\n" + "\n".join(causes)
