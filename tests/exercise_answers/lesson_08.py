"""Answers to the exercises of lesson 08."""

import time

import numpy as np
import scipy.special

from finetune_lib import evaluation


def quantise_from_the_top(values, low, high):
    """The zero point by the upper end; an array of int8, and NumPy's numbers."""
    high, low = np.maximum(high, 0), np.minimum(low, 0)
    scale = np.float64(high - low) / 255
    zero = np.round(127 - high / scale)
    return (
        np.minimum(np.maximum(np.round(values / scale + zero), -128), 127).astype(np.int8),
        scale,
        int(zero),
    )


def quantised(
    *,
    ends=lambda values, low, high: (min(low, 0), max(high, 0)),
    steps=255,
    lowest=-128,
    whole=round,
    nearest=np.rint,
    clipped=True,
):
    """A wrong way to quantise, made of the right one by changing one thing."""

    def quantise(values, low, high):
        low, high = ends(values, low, high)
        scale = (high - low) / steps
        zero = whole(lowest - low / scale)
        integers = nearest(values / scale + zero)
        integers = np.clip(integers, -128, 127) if clipped else integers
        return integers.astype("int64").astype("int8"), scale, zero

    return quantise


def symmetric(values, low, high):
    scale = max(abs(low), abs(high)) / 127
    return np.clip(np.rint(values / scale), -128, 127).astype("int8"), scale, 0


def unsigned(values, low, high):
    low, high = min(low, 0), max(high, 0)
    scale = (high - low) / 255
    zero = round(-low / scale)
    return np.clip(np.rint(values / scale) + zero, 0, 255).astype("uint8"), scale, zero


def as_floats(values, low, high):
    integers, scale, zero = quantise_from_the_top(values, low, high)
    return integers.astype("float32"), scale, zero


def without_the_zero_point(values, low, high):
    _, scale, zero = quantise_from_the_top(values, low, high)
    return np.clip(np.rint(values / scale), -128, 127).astype("int8"), scale, zero


def inverse_scale(values, low, high):
    integers, scale, zero = quantise_from_the_top(values, low, high)
    return integers, 1 / scale, zero


def ratio_of_medians(first, second, rounds, clock):
    kept = {first: [], second: []}
    for place in range(rounds + 1):
        for run in (first, second) if place % 2 else (second, first):
            start = clock()
            run()
            kept[run].append(clock() - start)
    return np.median(kept[second][1:]) / np.median(kept[first][1:])


def timed(
    *, warm=True, turns=True, summary=lambda first, second: np.median(second / first), own=False, count=None
):
    """A wrong stopwatch, made of the right one by changing one thing."""

    def ratio(first, second, rounds, clock):
        rounds, clock = count or rounds, time.perf_counter if own else clock
        if warm:
            first(), second()
        order = [first, second] * rounds if turns else [first] * rounds + [second] * rounds
        seconds = []
        for run in order:
            start = clock()
            run()
            seconds.append(clock() - start)
        pairs = np.reshape(seconds, (rounds, 2) if turns else (2, rounds))
        return float(summary(*(pairs.T if turns else pairs)))

    return ratio


def colleagues_ratio(first, second, rounds, clock):
    seconds = []
    for run in (first, second):
        start = clock()
        for _ in range(rounds):
            run()
        seconds.append(clock() - start)
    return seconds[1] / seconds[0]


def masked_twice(weights, mask, slope, steps, rate):
    """Masks gradients instead of sums, from pruned weights on."""
    now, velocity = np.where(mask, weights, 0.0), 0.0
    for _ in range(steps):
        velocity = 0.9 * velocity - rate * np.where(mask, slope(now), 0.0)
        now = now + velocity
    return now


def descended(
    *,
    start=lambda w, m: w * m,
    seen=lambda w, m: w,
    gradient=lambda g, m: g,
    after=lambda w, m: w * m,
    end=lambda w, m: w,
    momentum=0.9,
    more=0,
):
    """A wrong way to train, made of the right one by changing one thing."""

    def train(weights, mask, slope, steps, rate):
        weights = start(weights, mask)
        velocity = np.zeros_like(weights)
        for _ in range(steps + more):
            velocity = momentum * velocity - rate * gradient(slope(seen(weights, mask)), mask)
            weights = after(weights + velocity, mask)
        return end(weights, mask)

    return train


def in_place(weights, mask, slope, steps, rate):
    weights *= mask
    velocity = np.zeros_like(weights)
    for _ in range(steps):
        velocity = 0.9 * velocity - rate * slope(weights)
        weights += velocity
        weights *= mask
    return weights


def largest(weights, mask):
    return weights * (np.abs(weights) >= np.sort(np.abs(weights).ravel())[-mask.sum()])


def masked_late(weights, mask, slope, steps, rate):
    """The mask falls on what the slope of the unpruned weights has moved, every other step."""
    weights = weights * mask
    velocity = np.zeros_like(weights)
    for step in range(steps):
        velocity = 0.9 * velocity - rate * slope(weights)
        weights = weights + velocity
        if step % 2:
            weights = weights * mask
    return weights * mask


def slope_of_the_unpruned(weights, mask, slope, steps, rate):
    slope(weights)
    return masked_twice(weights, mask, slope, steps, rate)


def free(weights, mask):
    return weights


def softened_logits(probabilities, temperature):
    return scipy.special.softmax(np.log(probabilities + 1e-30) / temperature, axis=-1)


def softened(change, axis=1):
    """Another thing, made of each probability, and divided by its sum."""

    def soften(probabilities, temperature):
        values = change(probabilities.astype(float), temperature)
        return values / values.sum(axis=axis, keepdims=True)

    return soften


def with_nan(probabilities, temperature):
    with np.errstate(all="ignore"):
        logits = np.log(probabilities) / temperature
        values = np.exp(logits - logits.min(axis=1, keepdims=True))
        return values / values.sum(axis=1, keepdims=True)


def ship_by_sorting(candidates, original, groups, most):
    for name, (size, correct) in sorted(candidates.items(), key=lambda item: item[1][0]):
        if size >= original[0]:
            break
        if evaluation.bootstrap_difference(original[1], correct, groups, seed=5, resamples=4000)[2] <= most:
            return name
    return "original"


def shipped(is_safe, *, original_too=True, key=lambda size, correct: size):
    """A wrong rule: the smallest of those that are safe by another measure."""

    def ship(candidates, original, groups, most):
        found = {
            name: key(*pair)
            for name, pair in candidates.items()
            if is_safe(original[1], pair[1], groups, most)
        }
        if original_too or not found:
            found["original"] = key(*original)
        return min(found, key=found.get)

    return ship


def difference(first, second, groups):
    return evaluation.bootstrap_difference(first, second, groups, resamples=2000)


def wilson(correct):
    return evaluation.wilson_interval(int(correct.sum()), len(correct))


def upper(first, second, groups, most):
    return difference(first, second, groups)[2] <= most


ANSWERS = {
    "break_even": (
        lambda: np.array([0.5, 0.75, 0.875, 0.125]),
        {
            "hard-coded: nine tenths": lambda: [0.9, 0.9, 0.9, 0.9],
            "what is left": lambda: [0.5, 0.25, 0.125, 0.875],
            "per cent": lambda: [50, 75, 87.5, 12.5],
            "without the places": lambda: [0, 0.5, 0.75, 0.125],
            "smaller values": lambda: [0.5, 2 / 3, 4 / 5, 0.125],
            "a byte for a bit": lambda: [0.5, 0.75, 0.875, 1.0],
            "bits of those that are left": lambda: [0.5, 0.75, 0.875, 1 / 9],
            "D by what is left": lambda: [0.5, 0.75, 0.875, 0.875],
            "the same for all": lambda: [0.5, 0.5, 0.5, 0.5],
            "three of four": lambda: [0.5, 0.75, 0.875],
        },
    ),
    "quantise": (
        lambda: quantise_from_the_top,
        {
            "hard-coded: features of GlyphNet": lambda: (
                lambda values, low, high: (
                    np.clip(np.rint(values / 0.23) - 128, -128, 127).astype("int8"),
                    0.23,
                    -128,
                )
            ),
            "symmetric": lambda: symmetric,
            "zero not whole": lambda: quantised(whole=lambda zero: zero),
            "zero point rounded down": lambda: quantised(whole=lambda zero: int(zero - 0.5)),
            "not cut off": lambda: quantised(clipped=False),
            "fraction cut off": lambda: quantised(nearest=np.floor),
            "range not widened": lambda: quantised(ends=lambda values, low, high: (low, high)),
            "range of the values": lambda: quantised(
                ends=lambda values, low, high: (min(values.min(), 0), max(values.max(), 0))
            ),
            "256 steps": lambda: quantised(steps=256),
            "254 steps": lambda: quantised(steps=254, lowest=-127),
            "zero point of uint8": lambda: quantised(lowest=0),
            "uint8": lambda: unsigned,
            "float32": lambda: as_floats,
            "zero point forgotten": lambda: without_the_zero_point,
            "scale turned round": lambda: inverse_scale,
            "only the integers": lambda: (
                lambda values, low, high: quantise_from_the_top(values, low, high)[0]
            ),
        },
    ),
    "latency_ratio": (
        lambda: ratio_of_medians,
        {
            "hard-coded: 1": lambda: lambda first, second, rounds, clock: 1.0,
            "the colleague's": lambda: colleagues_ratio,
            "medians of blocks": lambda: timed(
                turns=False, summary=lambda first, second: np.median(second) / np.median(first)
            ),
            "first call included": lambda: timed(
                warm=False, summary=lambda first, second: second.sum() / first.sum()
            ),
            "first call counted, and medians": lambda: timed(warm=False),
            "mean times": lambda: timed(summary=lambda first, second: second.mean() / first.mean()),
            "turned round": lambda: timed(summary=lambda first, second: np.median(first / second)),
            "difference": lambda: timed(summary=lambda first, second: np.median(second - first)),
            "another clock": lambda: timed(own=True),
            "one round": lambda: timed(count=1),
            "far too many rounds": lambda: timed(count=500),
            "two numbers": lambda: lambda first, second, rounds, clock: [1.0, 1.0],
        },
    ),
    "train_pruned": (
        lambda: masked_twice,
        {
            "hard-coded: the mask": lambda: lambda weights, mask, slope, steps, rate: 1.0 * mask,
            "the colleague's": lambda: descended(after=free, end=lambda w, m: w * m),
            "masked at the start": lambda: descended(after=free),
            "gradients masked only": lambda: descended(start=free, gradient=lambda g, m: g * m, after=free),
            "chosen anew": lambda: descended(after=largest),
            "mask turned round": lambda: descended(start=lambda w, m: w * ~m, after=lambda w, m: w * ~m),
            "momentum lost": lambda: descended(momentum=0.0),
            "a step too few": lambda: descended(more=-1),
            "a step too many": lambda: descended(more=1),
            "not trained": lambda: lambda weights, mask, slope, steps, rate: weights * mask,
            "every other step": lambda: masked_late,
            "slope of the unpruned": lambda: slope_of_the_unpruned,
            "gradients at the weights that came": lambda: descended(start=free),
            "in place": lambda: in_place,
            "flat": lambda: lambda *arguments: masked_twice(*arguments).ravel()[:3],
        },
    ),
    "soft_targets": (
        lambda: softened_logits,
        {
            "hard-coded: even": lambda: lambda probabilities, temperature: np.full(probabilities.shape, 0.25),
            "probabilities as logits": lambda: (
                lambda probabilities, temperature: scipy.special.softmax(probabilities / temperature, axis=1)
            ),
            "divided": lambda: lambda probabilities, temperature: probabilities / temperature,
            "divided, and divided by the sum": lambda: softened(lambda p, temperature: p / temperature),
            "sharpened": lambda: softened(lambda p, temperature: p**temperature),
            "not summed to 1": lambda: lambda probabilities, temperature: probabilities ** (1 / temperature),
            "a little added": lambda: softened(lambda p, temperature: (p + 1e-6) ** (1 / temperature)),
            "summed over images": lambda: softened(lambda p, temperature: p ** (1 / temperature), axis=0),
            "summed over all": lambda: softened(lambda p, temperature: p ** (1 / temperature), axis=None),
            "label smoothing": lambda: (
                lambda p, temperature: p / temperature + (1 - 1 / temperature) / p.shape[1]
            ),
            "infinities subtracted": lambda: with_nan,
            "square root, always": lambda: softened(lambda p, temperature: p**0.5),
            "one image": lambda: (
                lambda probabilities, temperature: softened_logits(probabilities[0], temperature)
            ),
        },
    ),
    "ship": (
        lambda: ship_by_sorting,
        {
            "hard-coded: int8": lambda: lambda candidates, original, groups, most: "int8",
            "as measured": lambda: shipped(lambda a, b, groups, most: difference(a, b, groups)[0] <= most),
            "nothing shown": lambda: shipped(lambda a, b, groups, most: difference(a, b, groups)[1] <= 0),
            "p-value": lambda: shipped(lambda a, b, groups, most: evaluation.mcnemar(a, b) >= 0.05),
            "lower end": lambda: shipped(lambda a, b, groups, most: difference(a, b, groups)[1] <= most),
            "image by image": lambda: shipped(lambda a, b, groups, most: difference(a, b, None)[2] <= most),
            "two intervals": lambda: shipped(lambda a, b, groups, most: wilson(a)[1] - wilson(b)[0] <= most),
            "turned round": lambda: shipped(lambda a, b, groups, most: difference(b, a, groups)[2] <= most),
            "points": lambda: shipped(lambda a, b, groups, most: 100 * difference(a, b, groups)[2] <= most),
            "original forgotten": lambda: shipped(upper, original_too=False),
            "most accurate": lambda: shipped(upper, key=lambda size, correct: -correct.mean()),
            "smallest": lambda: shipped(lambda *_: True),
            "original": lambda: lambda candidates, original, groups, most: "original",
        },
    ),
}
