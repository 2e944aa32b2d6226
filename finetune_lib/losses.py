"""Which loss fits the head and the labels (lesson 04)."""

import dataclasses

import keras
import tensorflow as tf

from finetune_lib import evaluation


@dataclasses.dataclass(frozen=True)
class Criterion:
    """What a stage minimises, and what it is measured by.

    Attributes:
        loss, metric: for compile.
        words: the loss in words.
        classes: if labels have to be made one-hot for this loss, of how many classes; otherwise 0.
    """

    loss: keras.losses.Loss
    metric: keras.metrics.Metric
    words: str
    classes: int = 0

    def labelled(self, stream: tf.data.Dataset) -> tf.data.Dataset:
        """A stream of ``(inputs, labels)``, its labels as this loss takes them."""
        if not self.classes:
            return stream
        return stream.map(lambda inputs, labels: (inputs, tf.one_hot(labels, self.classes)))


def choose(model: keras.Model, is_one_hot: bool, label_smoothing: float = 0.0) -> Criterion:
    """The loss and the accuracy that match the head and the kind of labels.

    Args:
        label_smoothing: how much of each label is spread evenly over all classes, from 0 to less than 1
            (Szegedy et al., arXiv:1512.00567). Keras' sparse cross-entropy does not have it: whole-number
            labels are made one-hot for it.

    Raises:
        ValueError: if no classification loss fits the head.
    """
    ending = evaluation.last_activation(model)
    units, logits = model.output_shape[-1], ending not in ("softmax", "sigmoid")
    if (
        (logits and ending != "linear")
        or (ending == "softmax" and units == 1)
        or (ending == "sigmoid" and units > 1)
    ):
        raise ValueError(
            f"The model ends in {units} output(s) with {ending}, which no classification loss fits. End it "
            "in Dense(number of classes) without activation (logits) or with softmax; or, for two classes, "
            "in Dense(1) without activation or with sigmoid."
        )
    source = "logits" if logits else f"{ending} probabilities"
    smoothed = f", smoothed by {label_smoothing:g}" if label_smoothing else ""
    if units == 1:
        return Criterion(
            keras.losses.BinaryCrossentropy(from_logits=logits, label_smoothing=label_smoothing),
            keras.metrics.BinaryAccuracy("accuracy", threshold=0.0 if logits else 0.5),
            f"binary cross-entropy on {source}, labels 0 and 1{smoothed}",
        )
    if is_one_hot or label_smoothing:
        return Criterion(
            keras.losses.CategoricalCrossentropy(from_logits=logits, label_smoothing=label_smoothing),
            keras.metrics.CategoricalAccuracy("accuracy"),
            f"cross-entropy on {source}, {'one-hot' if is_one_hot else 'whole-number'} labels{smoothed}",
            classes=0 if is_one_hot else units,
        )
    return Criterion(
        keras.losses.SparseCategoricalCrossentropy(from_logits=logits),
        keras.metrics.SparseCategoricalAccuracy("accuracy"),
        f"cross-entropy on {source}, whole-number labels",
    )
