"""Exercises of lesson 01: what transfers, what it is worth, which network and which machine to take."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from finetune_lib import checks

EYES = {"r": "random", "t": "textures", "g": "glyphs"}
ABOUT_EYES = {
    "Ar": "For A you trust random weights. A mirrored 3 differs from a 3 by its shape alone: the same strokes, the same black, elsewhere. Which network was forced to tell shapes apart?",
    "At": "For A you trust textures. They do see that strokes lean the other way, but which stroke stands beside which, as in b and d, was never asked of them.",
    "Br": "For B you trust random weights, which answer nothing well that takes more than a glance. One of the other two was asked this very question.",
    "Bg": "For B you trust glyphs. Letters do have strokes in all directions, but they came tilted either way and kept their names. Whose question was it?",
    "Ct": "For C you trust textures. How bright a picture is was no help in telling stripes apart, so nothing kept that network from losing it.",
    "Cg": "For C you trust glyphs. Look at the third column of the table: brightness changed from picture to picture and never the answer, and half of them were negatives. What becomes of what never changes the answer?",
    "Dt": "For D you trust textures, where each stripe runs anywhere in the picture: place meant nothing.",
    "Dg": "For D you trust glyphs. They stood left and right of the middle, and were the same letters. To call both an A, what must a network stop telling?",
}


@checks.task(
    "Two things make a network the right one: it was asked something like your question, or at least it was not taught to ignore the answer.",
    "What varied in pretraining and never changed the answer is unlearned. Go through the third column with C and D.",
    "For A and B, which network was asked something like it? For C and D, which one has nothing to unlearn?",
)
def which_eye(answer: str) -> str:
    letters = "".join(letter for letter in "".join(answer).lower() if letter not in ", ")
    if len(letters) != 4 or not set(letters) <= set(EYES):
        raise checks.Incorrect(
            f"Write four letters out of r, t and g, one for each of A, B, C and D, such as `'rtgr'`; yours is {answer!r}."
        )
    if len(set(letters)) == 1:
        raise checks.Incorrect(
            f"You take `{letters[0]}`, {EYES[letters[0]]}, for all four. There is no such network here: what one of them was asked, another was not, and what one was taught to ignore, another still sees."
        )
    chosen = [question + eye for question, eye in zip("ABCD", letters, strict=True)]
    wrong = [ABOUT_EYES[pair] for pair in chosen if pair in ABOUT_EYES]
    if wrong:
        others = f" ({len(wrong)} of the four are wrong; this is the first.)" if len(wrong) > 1 else ""
        raise checks.Incorrect(wrong[0] + others)
    return "Similar pictures are not enough: for C and D the digits are as similar to glyphs as before, and the glyph network, the best one for shapes, is the wrong one. What counts is whether the questions are alike. What varied in pretraining without changing the answer was unlearned; random weights had no reason to."


STACKS: dict[str, list[tuple[int, int]]] = {
    "two 3x3 convolutions": [(3, 1), (3, 1)],
    "a 3x3 convolution, a 2x2 pooling by 2, a 3x3 convolution": [(3, 1), (2, 2), (3, 1)],
    "a 7x7 convolution by 2, a 3x3 pooling by 2, a 3x3 convolution": [(7, 2), (3, 2), (3, 1)],
    "a 5x5 convolution, a 1x1 convolution by 2, a 3x3 convolution by 3": [(5, 1), (1, 2), (3, 3)],
}


def _windows(layers: Sequence[tuple[int, int]], way: str = "right") -> tuple[int, int]:
    window = spacing = 1
    for size, stride in layers:
        if way == "stride first":
            spacing *= stride
        reach = {"sizes added up": size, "spacing ignored": size - 1}.get(way, (size - 1) * spacing)
        window += reach
        if way != "stride first":
            spacing *= stride
    return window - (way == "sizes added up"), spacing


MISTAKEN_WINDOWS = {
    "spacing ignored": "you add `size - 1` for every layer, as if its inputs always lay one pixel apart. After a pooling by 2 they lie two pixels apart, so that a kernel reaches twice as far.",
    "stride first": "you multiply the spacing by a layer's stride before you widen the window by that layer. Its stride says how far apart its outputs lie, and matters from the next layer on.",
    "sizes added up": "you add the sizes up. A second kernel of 3 in a row reaches one further on either side, not three further in all: the first one's window is there already.",
}


@checks.task(
    "Go through the stack from the picture upwards with two numbers in hand: how wide the window is now, and how far apart two neighbours are now. Both begin at 1.",
    "A kernel of `size` numbers reaches across `size - 1` gaps. How wide is a gap, in pixels?",
    "For each layer: `window += (size - 1) * spacing`, and then `spacing *= stride`.",
)
def window_and_spacing(answer: Callable[[Sequence[tuple[int, int]]], tuple[int, int]]) -> str:
    for what, layers in STACKS.items():
        if story := _about_window(layers, np.asarray(checks.call(answer, list(layers)))):
            raise checks.Incorrect(f"For {what}, {story}")
    return "Windows grow by a kernel's size less one, times the spacing; spacings grow by strides. So it is pooling, more than kernels, that lets late layers see much of a picture. A 1x1 convolution sees no more than was seen before."


def _about_window(layers: list[tuple[int, int]], found: np.ndarray) -> str:
    if found.shape != (2,) or found.dtype.kind not in "iuf":
        return f"return two numbers, the window and the spacing: `(window, spacing)`. Yours is of shape {found.shape} and type {found.dtype}."
    right, (window, spacing) = _windows(layers), found.tolist()
    if (window, spacing) == right:
        return ""
    if (spacing, window) == right:
        return f"window and spacing are the wrong way round: {window}, {spacing}."
    if window == right[0]:
        return f"the window is right, {window}, but two neighbouring windows lie {right[1]} pixels apart, not {spacing}. Strides multiply."
    for way, story in MISTAKEN_WINDOWS.items():
        if window == _windows(layers, way)[0]:
            return f"the window is {right[0]}, and yours {window}: {story}"
    return f"the window is {right[0]} pixels wide; your function says {window}. Take pencil and paper: which numbers of the layer below does one output look at, and which pixels do the outermost of these look at?"


RACES: list[tuple[list[int], list[list[float]], list[list[float]]]] = [
    (
        [1, 2, 5, 10, 20],
        [[60, 70, 80, 85, 88], [55, 66, 78, 84, 87], [50, 60, 70, 80, 90], [70, 75, 80, 85, 90]],
        [[20, 40, 70, 83, 90], [25, 44, 74, 88, 92], [55, 50, 60, 75, 91], [30, 50, 70, 80, 89]],
    ),
    ([4, 16], [[80, 90], [80, 88], [79, 95]], [[76, 91], [80, 90], [70, 90]]),
    ([1, 3, 9], [[50, 60, 70], [40, 60, 80]], [[30, 60, 65], [39, 62, 70]]),
]


def _crossings(counts: Sequence[float], gains: np.ndarray, way: str = "right") -> np.ndarray:
    scale: tuple[Any, Any] = (
        (np.asarray, np.asarray) if way == "straight over the count" else (np.log, np.exp)
    )
    found = []
    for row in gains:
        behind = np.flatnonzero(row <= 0)
        if len(behind) == 0:
            found.append(math.inf)
            continue
        after = behind[-1 if way == "last time" else 0]
        if after == 0 or way == "at a count":
            found.append(float(counts[after]))
            continue
        share = row[after - 1] / (row[after - 1] - row[after]) if row[after - 1] != row[after] else 1.0
        low, high = scale[0](counts[after - 1]), scale[0](counts[after])
        found.append(float(scale[1](low + share * (high - low))))
    return np.array(found)


@checks.task(
    "Subtract first: a row of gains for each draw. Then one row at a time: at which count is the gain zero or less for the first time?",
    "Between the count before, with gain g, and this one, with gain h, a straight line meets zero after the share g / (g - h) of the way.",
    "That share of the way on the logarithm: `before * (after / before) ** share`. No count with gain <= 0: `np.inf`; the first count already: that count.",
)
def caught_up(answer: Callable[[Sequence[float], np.ndarray, np.ndarray], Any]) -> str:
    for counts, pretrained, scratch in RACES:
        first, second = np.array(pretrained, float), np.array(scratch, float)
        found = np.asarray(checks.call(answer, list(counts), first.copy(), second.copy()))
        if story := _about_crossings(counts, first - second, found):
            raise checks.Incorrect(story)
    return "One number for each draw, since both methods of a draw learned from the same images. Report the whole row, or its middle and ends; and `inf` is a result, too: it says more than the largest count you tried."


def _about_crossings(counts: list[int], gains: np.ndarray, found: np.ndarray) -> str:
    right = _crossings(counts, gains)
    if found.dtype.kind not in "iuf":
        return f"Return numbers, one for each of the {len(gains)} draws; yours are of type {found.dtype}."
    if found.size == 1:
        return f"There are {len(gains)} draws and you return one number, {found.reshape(-1)[0]:.3g}. A mean of the draws first gives one crossing and hides how far they lie apart: do each row by itself."
    if found.shape != right.shape:
        return f"With {len(gains)} draws, return {len(gains)} numbers; yours have the shape {found.shape}. The first axis of the arrays is the draws."
    if np.allclose(found, right, rtol=1e-3):
        return ""
    row = int(np.flatnonzero(~np.isclose(found, right, rtol=1e-3))[0])
    said = f"With the gains {gains[row].tolist()} at the counts {counts} you say {found[row]:.4g}"
    if np.allclose(found, _crossings(counts, -gains), rtol=1e-3):
        return f"{said}. You subtract the other way round: a gain is pretrained less from scratch."
    ways = {
        "straight over the count": "Your line is straight over the count. From 5 to 10 labels is to count as much as from 10 to 20: go that share of the way on the logarithm.",
        "at a count": "That is the first count at which from scratch is no longer behind; it caught up before, between this count and the one before it.",
        "last time": "The task asks for the first time. Later the gain may rise above zero again.",
    }
    for way, story in ways.items():
        if np.allclose(found, _crossings(counts, gains, way), rtol=1e-3):
            return f"{said}. {story}"
    if math.isinf(right[row]):
        return f"{said}, but from scratch is behind at all counts. Nobody knows where it would catch up, only that it is beyond: `np.inf`."
    if right[row] == counts[0]:
        return (
            f"{said}. There is no gain at the first count already, so the answer is that count, {counts[0]}."
        )
    return f"{said}; by a straight line over the logarithm it is {right[row]:.4g}."


# What four networks get in six draws, by part, so that every way of choosing wrongly finds another winner.
DRAWS = (3, 8, 11, 12, 20, 31)
LUCK = np.array([4.0, -6.0, 0.0, 7.0, -4.0, -1.0])
MOODS = np.array([3, -2, -2, 9, -7, -3])
CANDIDATES: dict[str, dict[str, np.ndarray]] = {
    "kea": {"train": np.full(6, 99.0), "validation": 55 + LUCK, "test": 56 + LUCK},
    "owl": {"train": np.full(6, 93.0), "validation": 70 + LUCK, "test": 70 + LUCK},
    "jay": {"train": np.full(6, 95.0), "validation": 68.5 + LUCK, "test": 73 + LUCK},
    "tit": {"train": np.full(6, 94.0), "validation": 69 + LUCK + MOODS, "test": 68 + LUCK},
}


@checks.task(
    "A head with more features than images can be right on all images it learned from, whatever the features are worth. Which images were neither learned from nor saved for the end?",
    "Which draw does the second network get, and which the first? What if the first network's draw was an easy one?",
    "For every network the mean of `probe(network, draw, 'validation')` over all the draws; then the largest.",
)
def choose(answer: Callable[[Sequence[str], Sequence[int], Callable[..., float]], str]) -> str:
    for shift in range(3):
        names = [[*CANDIDATES][(place + shift) % 4] for place in range(4)]
        asked: list[tuple[str, int, str]] = []

        def probe(network: str, draw: int, part: str, asked: list = asked) -> float:
            if network not in CANDIDATES or draw not in DRAWS or part not in CANDIDATES["owl"]:
                raise ValueError(f"there is no {network!r}, {draw!r}, {part!r}")
            asked.append((network, int(draw), part))
            return float(CANDIDATES[network][part][DRAWS.index(draw)])

        if story := _about_choice(checks.call(answer, list(names), list(DRAWS), probe), names, asked):
            raise checks.Incorrect(story)
    return "Judged on images that nobody learned from, on the same draws for all, and on every draw there was. The test images stay untouched: whoever chooses by them reports the luck of the winner (lesson 00)."


def _about_choice(chosen: Any, names: list[str], asked: list[tuple[str, int, str]]) -> str:
    parts, draws = {part for _, _, part in asked}, {draw for _, draw, _ in asked}
    if not isinstance(chosen, str) or chosen not in names:
        return f"Return the name of one of the networks, {names}; yours is {chosen!r:.60}."
    if not asked:
        return f"Your function chooses {chosen!r} without asking `probe` for anything. With other networks that would be a guess."
    if "test" in parts:
        return "Your function looks at the test images to choose. The accuracy there is then no promise any more: of several networks you take the one that was lucky on just these images."
    if parts == {"train"}:
        return f"Your function judges by the images that the head has learned from, and takes {chosen!r}. The best on these is 'kea' with 99%, which knows them by heart, and gets 55% of new ones right."
    by_network = {
        name: {draw for known, draw, part in asked if (known, part) == (name, "validation")} for name in names
    }
    if any(not by_network[name] for name in names):
        return f"For {next(name for name in names if not by_network[name])!r} your function never asks for validation images. A choice among networks needs all of them on the same scale."
    if len({frozenset(seen) for seen in by_network.values()}) > 1:
        one, other = names[0], next(name for name in names if by_network[name] != by_network[names[0]])
        return f"Not all networks are judged by the same draws: {one!r} by {sorted(by_network[one])}, {other!r} by {sorted(by_network[other])}. An easy draw lifts whoever gets it; here draws differ by 13 points, and the best two networks by less than 2."
    if len(draws) < len(DRAWS):
        return f"All are judged by the same draws, but only by {len(draws)} of the {len(DRAWS)} that were handed over. One network is at its best in the first draw and at its worst in later ones: use them all."
    if chosen == "tit":
        return "You take 'tit', which has the highest single accuracy, in one lucky draw. Over all draws another is better: what is a good summary of several draws?"
    if chosen == "owl":
        return ""
    hint = " Do training accuracies still have a say?" if "train" in parts else ""
    return f"You ask for the right accuracies and then take {chosen!r}, which is not the best by them.{hint}"


Machines = Mapping[str, Mapping[str, float]]
MACHINES: Machines = {
    "tortoise": {"speed": 1e11, "reads": 100, "price_an_hour": 0.2, "start_seconds": 20},
    "hare": {"speed": 1e12, "reads": 250, "price_an_hour": 1.0, "start_seconds": 300},
    "cheetah": {"speed": 1e13, "reads": 250, "price_an_hour": 5.0, "start_seconds": 100},
}
JOBS = [(50_000, 1e8), (60_000, 9e9), (2_000, 2e10), (200_000, 2e11), (400, 3e9)]


def _prices(images: float, work: float, machines: Machines, way: str = "right") -> dict[str, float]:
    found = {}
    for name, machine in machines.items():
        reading, computing = images / machine["reads"], images * work / machine["speed"]
        ways = {"added": reading + computing, "reading free": computing, "computing free": reading}
        seconds = ways.get(way, max(reading, computing)) + machine["start_seconds"] * (way != "start free")
        found[name] = machine["price_an_hour"] * seconds / (1 if way == "seconds for hours" else 3600)
    return found


MISTAKEN_PRICES = {
    "start free": "The start is missing: from the moment you rent a machine it costs money, and the fast one here takes minutes to be ready.",
    "added": "You add reading and computing. While one batch is computed the next is read: only the slower of the two takes time.",
    "reading free": "You count arithmetic alone. No machine computes faster than it gets images to compute with, and on a small network it waits for them.",
    "computing free": "You count reading alone; on a large network the arithmetic takes longer.",
    "seconds for hours": "Look at the units: prices are by the hour, and you pay them for every second.",
}


@checks.task(
    "How many images does a machine get through in a second? The formula has two numbers in it, and takes the smaller.",
    "Seconds: its start, and the images divided by that pace. Price: the hours of it, times the price an hour.",
    "Work the price out for every machine, in a dictionary `costs`; then `best = min(costs, key=costs.get)`, and return `best, costs[best]`.",
)
def cheapest(answer: Callable[[float, float, Mapping[str, Mapping[str, float]]], tuple[str, float]]) -> str:
    for images, work in JOBS:
        for names in ([*MACHINES], ["cheetah", "tortoise"]):
            machines = {name: MACHINES[name] for name in names}
            found = checks.call(answer, images, work, {name: dict(MACHINES[name]) for name in names})
            if story := _about_price(_prices(images, work, machines), images, work, machines, found):
                raise checks.Incorrect(story)
    return "A machine that is k times as fast and p times as dear pays if the whole job, start and reading included, gets more than p times faster. So it is the work that decides, and the freeze boundary decides the work."


def _about_price(right: dict[str, float], images: float, work: float, machines: Machines, found: Any) -> str:
    if not isinstance(found, tuple | list) or len(found) != 2 or found[0] not in machines:
        return f"Return a pair: the name of one of the machines {[*machines]}, and the price. Yours is {found!r:.60}."
    name, price, best = found[0], float(found[1]), min(right, key=lambda machine: right[machine])
    job = f"For {images:,} images of {work / 1e9:g} billion multiply-additions each"
    if math.isclose(price, right[name], rel_tol=0.01):
        if name == best:
            return ""
        fastest = name == max(machines, key=lambda machine: machines[machine]["speed"])
        story = "It is the fastest machine, and the job is not the cheapest there." if fastest else ""
        if name == min(machines, key=lambda machine: machines[machine]["price_an_hour"]):
            story = "It has the lowest price an hour, and takes the most hours."
        return f"{job} you take the {name}, at {price:.4g}; on the {best} it costs {right[best]:.4g}. {story}"
    for way, story in MISTAKEN_PRICES.items():
        if math.isclose(price, _prices(images, work, machines, way)[name], rel_tol=0.01):
            return f"{job} you say {price:.4g} on the {name}. {story}"
    return f"{job} the {name} costs {right[name]:.4g}, and you say {price:.4g}. Do all of the job's and the machine's numbers enter?"


question_1 = checks.choice(
    __name__,
    "question_1",
    "b",
    {
        "a": "It does very well at what it was asked, the direction and the grain of stripes. The better a network knows the wrong thing, the more thoroughly it has unlearned other things.",
        "b": "A gain belongs to source, target, number of labels and boundary together. When all layers may learn, the same weights reach 63% (README): still behind, but thirty points better.",
        "c": "In task 1 it was the best of the three for stripes. The same weights help one target and hurt another.",
        "d": "A head can only weigh what the features hold. If shapes are missing there, no number of labels puts them in.",
    },
)

question_2 = checks.choice(
    __name__,
    "question_2",
    "b",
    {
        "a": "Large networks trained on large photos often have. In GlyphNet's 3x3 kernels there is no room for much of an edge, their colours are still those of the random start, and nothing better for digits comes with the course.",
        "b": "The first layer of the glyph network looks like its random start, and its last features are many times better. Weights can be looked at, but what they are worth has to be measured.",
        "c": "GlyphNet's colours are those of the random numbers it began with. Its pictures were grey, so nothing ever changed them.",
    },
)

question_3 = checks.choice(
    __name__,
    "question_3",
    "c",
    {
        "a": "It does learn from more labels, and its accuracy rises. But it rises towards a ceiling that the features set.",
        "b": "Frozen weights do not change, however many images run through them.",
        "c": "Two digits with the same features get the same answer from every head. So with more labels, move the boundary down: let layers learn, starting from the pretrained weights.",
    },
)

question_4 = checks.choice(
    __name__,
    "question_4",
    "c",
    {
        "a": "180 pictures are few to learn edges and textures from, and early layers are general: try what they are worth, even from a source that looks different.",
        "b": "That rate spoils the pretrained weights before the head knows anything. And you would not learn from it whether the source or the recipe was at fault.",
        "c": "They cost one forward pass, and tell both whether this source is any use and up to which block. Then decide what to freeze.",
        "d": "Task 1 had pictures that looked alike, and questions that no longer did. Similarity is a guess to begin with; a probe is evidence, and takes a minute.",
    },
)
