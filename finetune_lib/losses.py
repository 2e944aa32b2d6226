"""Which loss fits the head and the labels (lesson 04)."""

import keras

from finetune_lib import evaluation


def choose(model: keras.Model, is_one_hot: bool) -> tuple[keras.losses.Loss, keras.metrics.Metric, str]:
    """The loss and the accuracy that match the head and the kind of labels, and the loss in words.

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
    loss: keras.losses.Loss
    metric: keras.metrics.Metric
    if units == 1:
        loss = keras.losses.BinaryCrossentropy(from_logits=logits)
        metric = keras.metrics.BinaryAccuracy("accuracy", threshold=0.0 if logits else 0.5)
        return loss, metric, f"binary cross-entropy on {source}, labels 0 and 1"
    if is_one_hot:
        loss = keras.losses.CategoricalCrossentropy(from_logits=logits)
        metric = keras.metrics.CategoricalAccuracy("accuracy")
        return loss, metric, f"cross-entropy on {source}, one-hot labels"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    metric = keras.metrics.SparseCategoricalAccuracy("accuracy")
    return loss, metric, f"cross-entropy on {source}, whole-number labels"
