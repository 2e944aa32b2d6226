"""How fast each weight moves: warm-up and decay of the rate, layer-wise rates, weight decay (lesson 05)."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import keras

from finetune_lib import freezing

NOT_DECAYED = ("bias", "beta", "gamma")
Rate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


def adam(
    model: keras.Model, rate: Rate, *, layer_rate_ratio: float = 1.0, weight_decay: float = 0.0
) -> keras.optimizers.Optimizer:
    """The optimiser of a stage: Adam, and what else is asked for.

    Args:
        model: its trainable flags say which layers learn.
        rate: of the last layer.
        layer_rate_ratio: see ``layer_rates``.
        weight_decay: see ``LayerwiseAdam``.
    """
    if layer_rate_ratio == 1 and weight_decay == 0:
        return keras.optimizers.Adam(rate)
    shares = layer_rates(model, layer_rate_ratio)
    layers = [layer for _, layer in freezing.leaves(model) if layer.trainable_weights]
    pairs = zip(layers, shares.values(), strict=True)
    return LayerwiseAdam(rate, [(layer.trainable_weights, share) for layer, share in pairs], weight_decay)


def schedule(learning_rate: float, steps: int, warm_up: float = 0.0) -> Rate:
    """The learning rate of each step: up a straight line, then down half a cosine to zero.

    The cosine: Loshchilov and Hutter, arXiv:1608.03983, without restarts. The warm-up: Goyal et al.,
    arXiv:1706.02677; Adam's first steps are its largest, since it has hardly an idea of the gradients' size.

    Args:
        learning_rate: the highest.
        steps: in all.
        warm_up: the share of the steps on which the rate rises from zero, from 0 to less than 1.
    """
    rising = round(steps * warm_up)
    if not rising:
        return keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=steps - rising, warmup_target=learning_rate, warmup_steps=rising
    )


def layer_rates(model: keras.Model, ratio: float) -> dict[str, float]:
    """Each learning layer's rate as a share of the last one's, by its path, from input to output.

    The first layer's share is ``1 / ratio``, and those between lie on a geometric line. Early layers hold
    what is common to most images and should move least: "discriminative fine-tuning" (Howard and Ruder,
    arXiv:1801.06146). That paper divides by 2.6 from layer to layer, which would leave nothing to the early
    ones of a network of 50; a ratio from end to end, as fast.ai's ``slice(rate / ratio, rate)``, means the
    same for every network.

    Args:
        ratio: at least 1; 1 for one rate everywhere.
    """
    paths = [path for path, layer in freezing.leaves(model) if layer.trainable_weights]
    last = max(1, len(paths) - 1)
    return {path: ratio ** ((place - len(paths) + 1) / last) for place, path in enumerate(paths)}


class LayerwiseAdam(keras.optimizers.Adam):
    """Adam whose update is scaled for each layer, with decoupled weight decay at the layer's own rate.

    The update is scaled, not the gradient: Adam divides by the gradient's size, so a scaled gradient would
    give the same step. Decay w <- w - rate * decay * w comes before the step and beside the gradient
    (AdamW: Loshchilov and Hutter, arXiv:1711.05101). Biases and the scales and shifts of normalisation are
    left out: they are few, cannot overfit by growing, and a scale pulled to zero would switch its channel off
    (He et al., arXiv:1812.01187, "no bias decay"). They are known by their names, and most by their single
    axis.

    Args:
        learning_rate: a number or a schedule.
        shares: ``(weights, share)``: some of a model's weights, and their share of the learning rate.
        weight_decay: 0 for none.
    """

    def __init__(self, learning_rate: Rate, shares: Sequence[tuple], weight_decay: float = 0.0) -> None:
        super().__init__(learning_rate)
        self.decay, self.shares = weight_decay, shares

    def get_config(self) -> dict[str, Any]:
        """What ``from_config`` makes another one of, for the same weights."""
        rate = super().get_config()["learning_rate"]
        return {"learning_rate": rate, "shares": self.shares, "weight_decay": self.decay}

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Keras' hook: one weight's step. ``variable`` is the backend's, which belongs to one of Keras'."""
        ((weight, share),) = [
            (w, share) for weights, share in self.shares for w in weights if w.value is variable
        ]
        rate = keras.ops.cast(learning_rate, variable.dtype) * share
        if self.decay and len(weight.shape) > 1 and weight.name not in NOT_DECAYED:
            self.assign_sub(variable, variable * (rate * self.decay))
        super().update_step(gradient, variable, rate)
