"""Answers to the exercises of lesson 01."""

import numpy as np


def window_from_the_top(layers):
    """Top-down: how much one number needs of what lies below it."""
    window, spacing = 1, 1
    for size, stride in reversed(layers):
        window = (window - 1) * stride + size
        spacing *= stride
    return [np.int64(window), spacing]


def spacing_ignored(layers):
    return 1 + sum(size - 1 for size, _ in layers), int(np.prod([stride for _, stride in layers]))


def stride_first(layers):
    window, spacing = 1, 1
    for size, stride in layers:
        spacing *= stride
        window += (size - 1) * spacing
    return window, spacing


def strides_added(layers):
    return window_from_the_top(layers)[0], 1 + sum(stride - 1 for _, stride in layers)


def by_interpolation(counts, pretrained, scratch):
    found = []
    for gains in pretrained - scratch:
        upto = next((place for place, gain in enumerate(gains) if gain <= 0), None)
        if upto is None:
            found.append(float("inf"))
        else:
            start = max(upto - 1, 0)
            falling = gains[start : upto + 1][::-1]
            found.append(2 ** np.interp(0, falling, np.log2(counts[start : upto + 1])[::-1]))
    return found


def straight_over_the_count(counts, pretrained, scratch):
    found = []
    for gains in pretrained - scratch:
        behind = np.flatnonzero(gains <= 0)
        if len(behind) == 0 or behind[0] == 0:
            found.append(np.inf if len(behind) == 0 else counts[0])
            continue
        after = behind[0]
        share = gains[after - 1] / (gains[after - 1] - gains[after])
        found.append(counts[after - 1] + share * (counts[after] - counts[after - 1]))
    return np.array(found)


def at_a_count(counts, pretrained, scratch):
    behind = pretrained <= scratch
    return np.where(behind.any(axis=1), np.array(counts)[behind.argmax(axis=1)], np.inf)


def never_is_the_last_count(counts, pretrained, scratch):
    return np.minimum(by_interpolation(counts, pretrained, scratch), counts[-1])


def of_the_means(counts, pretrained, scratch):
    return by_interpolation(counts, pretrained.mean(axis=0)[None], scratch.mean(axis=0)[None])[0]


def by_ranks(networks, draws, probe):
    table = np.array([[probe(network, draw, "validation") for network in networks] for draw in draws])
    return networks[int(np.argsort(table.sum(axis=0))[-1])]


def by_part(part):
    return lambda networks, draws, probe: max(
        networks, key=lambda network: sum(probe(network, draw, part) for draw in draws)
    )


def by_own_draw(networks, draws, probe):
    scores = {network: probe(network, draw, "validation") for network, draw in zip(networks, draws)}  # noqa: B905
    return max(scores, key=scores.get)


def by_one_draw(networks, draws, probe):
    return max(networks, key=lambda network: probe(network, draws[0], "validation"))


def by_luckiest_draw(networks, draws, probe):
    return max(networks, key=lambda network: max(probe(network, draw, "validation") for draw in draws))


def worst(networks, draws, probe):
    return min(networks, key=lambda network: sum(probe(network, draw, "validation") for draw in draws))


def prices(images, multiply_adds, machines, *, start=True, together=max, per=3600):
    for name, machine in machines.items():
        seconds = together([images / machine["reads"], images * multiply_adds / machine["speed"]])
        yield machine["price_an_hour"] * (seconds + start * machine["start_seconds"]) / per, name


def priced(**options):
    return lambda *job: tuple(reversed(min(prices(*job, **options))))


def on_the_fastest(images, multiply_adds, machines):
    name = max(machines, key=lambda name: machines[name]["speed"])
    return name, next(price for price, found in prices(images, multiply_adds, machines) if found == name)


def on_the_lowest_price(images, multiply_adds, machines):
    name = min(machines, key=lambda name: machines[name]["price_an_hour"])
    return name, next(price for price, found in prices(images, multiply_adds, machines) if found == name)


ANSWERS = {
    "which_eye": (
        lambda: ["G", "T", "R", "R"],
        {
            "hard-coded: glyphs for everything": lambda: "gggg",
            "glyphs wherever there are digits": lambda: "gtgg",
            "random for a question about shapes": lambda: "rtrr",
            "textures for a question about shapes": lambda: "ttrr",
            "glyphs for stripes": lambda: "ggrr",
            "place by glyphs": lambda: "gtrg",
            "brightness by textures": lambda: "gttr",
            "names of the networks": lambda: "glyphs, textures, random, random",
        },
    ),
    "window_and_spacing": (
        lambda: window_from_the_top,
        {
            "hard-coded: GlyphNet's": lambda: lambda layers: (32, 4),
            "spacing ignored": lambda: spacing_ignored,
            "a layer's stride before its kernel": lambda: stride_first,
            "sizes added up": lambda: lambda layers: (sum(size for size, _ in layers) or 1, 1),
            "strides added up": lambda: strides_added,
            "the wrong way round": lambda: lambda layers: window_from_the_top(layers)[::-1],
            "the window alone": lambda: lambda layers: window_from_the_top(layers)[0],
        },
    ),
    "caught_up": (
        lambda: by_interpolation,
        {
            "hard-coded: ten draws of the notebook": lambda: (
                lambda counts, pretrained, scratch: np.full(10, 12.0)
            ),
            "straight over the count": lambda: straight_over_the_count,
            "only counts": lambda: at_a_count,
            "the last count instead of never": lambda: never_is_the_last_count,
            "of the means": lambda: of_the_means,
            "subtracted the other way": lambda: (
                lambda counts, pretrained, scratch: by_interpolation(counts, scratch, pretrained)
            ),
        },
    ),
    "choose": (
        lambda: by_ranks,
        {
            "hard-coded: the third": lambda: lambda networks, draws, probe: networks[2],
            "on the training images": lambda: by_part("train"),
            "on the test images": lambda: by_part("test"),
            "a draw of its own for each": lambda: by_own_draw,
            "one draw": lambda: by_one_draw,
            "the luckiest draw": lambda: by_luckiest_draw,
            "the worst": lambda: worst,
            "an accuracy instead of a name": lambda: (
                lambda networks, draws, probe: probe(networks[0], draws[0], "validation")
            ),
        },
    ),
    "cheapest": (
        lambda: lambda *job: list(reversed(sorted(prices(*job))[0])),
        {
            "hard-coded: the first": lambda: (
                lambda images, multiply_adds, machines: (next(iter(machines)), 0.1)
            ),
            "the start forgotten": lambda: priced(start=False),
            "reading and computing added": lambda: priced(together=sum),
            "arithmetic alone": lambda: priced(together=lambda seconds: seconds[1]),
            "seconds taken for hours": lambda: priced(per=1),
            "the fastest": lambda: on_the_fastest,
            "the lowest price an hour": lambda: on_the_lowest_price,
            "a name alone": lambda: lambda images, multiply_adds, machines: "hare",
        },
    ),
}
