"""Exercises of lesson 08: what zeros cost, int8 by hand, honest timing, zeros that stay, softer answers, what to ship."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special

from finetune_lib import checks
from finetune_lib.exercises import mistakes_08

DENSE = {"A": 4.0, "B": 2.0, "C": 1.0, "D": 1.0}  # bytes a weight
NAMES = {"A": "float32", "B": "float16", "C": "int8", "D": "int8"}


def _sparse(letter: str, zeros: float) -> float:
    """Bytes a weight of the sparse way, if so large a share is zero."""
    return 1 / 8 + (1 - zeros) if letter == "D" else 8 * (1 - zeros)


@checks.task(
    "Write down the bytes of the sparse way, for one weight on average, with a share s of zeros: what is left, 1 - s, times what each costs. In D there is a part that does not shrink.",
    "A: 8 (1 - s) = 4. Solve it for s; then change the right side for B and C. D: 1/8 + (1 - s) = 1.",
)
def break_even(answer: Sequence[float]) -> str:
    found = np.asarray(answer, dtype=float)
    if found.shape != (4,):
        raise checks.Incorrect(
            f"Four shares are asked for, `[A, B, C, D]`; yours has the shape {found.shape}."
        )
    right = np.array([1 / 2, 3 / 4, 7 / 8, 1 / 8])
    if np.allclose(found, right, atol=1e-3):
        return "Against float32 pruning pays from half on, and against int8, which costs next to nothing to have, only from seven eighths on. Bits instead of places pay almost at once. So ask of any sparsity that is praised: smaller than what?"
    if found.max() > 1 or found.min() < 0:
        raise checks.Incorrect("A share lies between 0 and 1: 0.3, not 30.")
    stories: dict[str, Any] = {
        "These are the shares of the weights that are *left*. Asked is how many are zero.": 1 - right,
        "You count the value only. Without its place nobody knows where a value belongs; the place costs 4 bytes more.": [
            0,
            1 / 2,
            3 / 4,
            right[3],
        ],
        "In B and C you store what is left as float16 and as int8. That would be another format: there, as in A, 8 bytes are stored for each.": [
            right[0],
            2 / 3,
            4 / 5,
            right[3],
        ],
    }
    for story, wrong in stories.items():
        if np.allclose(found, wrong, atol=1e-3):
            raise checks.Incorrect(story)
    letter = next(
        letter
        for letter, is_right in zip(DENSE, np.isclose(found, right, atol=1e-3), strict=True)
        if not is_right
    )
    zeros = found["ABCD".index(letter)]
    special = {
        ("D", 1.0): " A bit is an eighth of a byte.",
        ("D", 0.111): " The bit is there for every weight, not only for those that are left.",
        ("D", 0.875): " Asked is the share of zeros.",
    }.get((letter, round(float(zeros), 3)), "")
    raise checks.Incorrect(
        f"{letter}: if {zeros:.3g} of the weights are zero, the sparse way takes {_sparse(letter, zeros):.3g} bytes a weight, and all of them as {NAMES[letter]} take {DENSE[letter]:g}.{special}"
    )


@checks.task(
    "Three lines: first make sure that 0 lies in the range; then the scale, range / 255 (256 integers have 255 steps); then the zero point, the integer at which 0 comes out: -128 less low / scale, rounded.",
    "An integer is round(value / scale) + zero_point, and no less than -128 and no more than 127: `np.rint`, `np.clip`, and only then `.astype('int8')`, which would throw the higher bits away.",
)
def quantise(answer: Callable[..., tuple[np.ndarray, float, int]]) -> str:
    generator = np.random.default_rng(8)
    for low, high in ((-1.7, 5.2), (0.0, 6.1), (-3.3, 0.9), (0.4, 6.0), (-4.0, -0.5)):
        beyond = 0.6 * (high - low)
        known = [0, low, high, low - beyond, high + beyond]
        mixed = generator.permutation(np.append(generator.uniform(low, high, 43), known))
        values = mixed.astype("float32").reshape(4, 12)
        found: Any = checks.call(answer, values.copy(), low, high)
        if not isinstance(found, tuple | list) or len(found) != 3:
            raise checks.Incorrect("Return three things: the integers, the scale, the zero point.")
        integers, scale, zero = np.asarray(found[0]), float(found[1]), float(found[2])
        if integers.shape != values.shape or integers.dtype != np.int8:
            raise checks.Incorrect(
                f"For an array of shape {values.shape} return integers of that shape and of type int8; yours are {integers.dtype} of shape {integers.shape}."
            )
        case = f"With a range from {low:g} to {high:g}: "
        mistakes_08.examine_scale(case, scale, zero, values, low, high)
        mistakes_08.examine_integers(case, integers, scale, zero, values)
    return "That is how LiteRT stores what flows between layers. Zero has an integer of its own, since padding and ReLU make more zeros than anything else: an error there would be an error everywhere. (Kernels have a zero point of 0, and a scale for each output channel.)"


@checks.task(
    "Three things disturb: the first call, the heat, the interruptions. Which of them does taking turns help against? Which of them has to go before you begin?",
    "Run both once without the clock. Then, `rounds` times: time one, time the other, note both. In the end a mean would let one interruption decide; what does not?",
    "`np.median(seconds_of_second / seconds_of_first)`, the ratio taken round by round.",
)
def latency_ratio(answer: Callable[..., float]) -> str:
    def ratio(machine: mistakes_08.Machine, seconds: float, rounds: int) -> float:
        found: Any = checks.call(
            answer, machine.work("a", 0.002), machine.work("b", seconds), rounds, machine.clock
        )
        if isinstance(found, bool) or np.ndim(found) or not np.isfinite(float(found)):
            raise checks.Incorrect(f"Return one number, the ratio, not {found!r:.60}.")
        if not machine.log:
            raise checks.Incorrect("Your function runs neither of the two.")
        if not machine.reads:
            raise checks.Incorrect(
                "You do not read the clock that you were given. With it anybody can try your function on a machine whose disturbances are known."
            )
        fewest = min(machine.log.count(letter) for letter in "ab")
        if fewest < rounds or len(machine.log) > 4 * rounds:
            raise checks.Incorrect(
                f"With `rounds` = {rounds} both should be timed {rounds} times, after being run once; yours ran {machine.log.count('a')} and {machine.log.count('b')} times."
            )
        return float(found)

    for seconds in (0.005, 0.0005):
        found, right = ratio(mistakes_08.Machine(), seconds, 9), seconds / 0.002
        if not np.isclose(found, right, rtol=0.01):
            case = (
                f"On a machine that nothing disturbs, `first` takes 2 ms and `second` {1000 * seconds:g} ms: "
            )
            if np.isclose(found, 1 / right, rtol=0.01):
                raise checks.Incorrect(f"{case}you divide the wrong way round.")
            if np.isclose(found, seconds - 0.002, rtol=0.01):
                raise checks.Incorrect(
                    f"{case}you give the difference, {found:.4f} s. On another machine it is another one; a ratio is more likely to stay."
                )
            raise checks.Incorrect(f"{case}your ratio is {found:.3g}.")
    hot = mistakes_08.Machine(heat=0.02)
    found = ratio(hot, 0.002, 24)
    if abs(found - 1) > 0.04:
        how = (
            "All calls of the one come after all of the other, on a warmer machine. Take turns."
            if hot.switches < 12
            else "They take turns, and yet what is compared was not measured side by side."
        )
        raise checks.Incorrect(
            f"Two works that take equally long, on a machine that gets slower with each call: your ratio is {found:.2f}. {how}"
        )
    found = ratio(mistakes_08.Machine(opening=60), 0.002, 24)
    if abs(found - 1) > 0.04:
        raise checks.Incorrect(
            f"Two works that take equally long, but for the very first call of `first`, which has a file to open: your ratio is {found:.2f}. What happens once in a program's life is no part of its latency."
        )
    for seed in range(6):
        found = ratio(mistakes_08.Machine(seed, interruptions=0.12), 0.002, 25)
        if abs(found - 1) > 0.04:
            raise checks.Incorrect(
                f"Two works that take equally long, on a machine that is interrupted in an eighth of the calls: your ratio is {found:.2f}. You share the rare long times among all; ask what a *typical* round was like."
            )
    cold = mistakes_08.Machine()
    ratio(cold, 0.002, 9)
    if len(cold.log) < 20:
        raise checks.Incorrect(
            "Your ratios are right, since a median forgives one long time. But with `rounds` = 9 yours ran 18 times in all: the first call is among those that count, and with few rounds it would show. Run both once before the clock is read."
        )
    return "Side by side against the heat, once unmeasured against the first call, the median against interruptions. And what a measurement says of a thing against itself is its own noise: a gain smaller than that has not been shown."


@checks.task(
    "The last line repairs the count of zeros, and nothing else. With which weights was the last slope computed?",
    "Put the mask where it is needed each time: `weights = (weights + velocity) * mask`, from `weights * mask` on.",
)
def train_pruned(answer: Callable[..., np.ndarray]) -> str:
    generator = np.random.default_rng(9)
    for shape, left, steps, rate in (((6, 4), 7, 12, 0.02), ((5, 9), 12, 7, 0.03), ((30,), 9, 20, 0.01)):
        size = int(np.prod(shape))
        weights, target = generator.normal(size=(2, *shape))
        mask = np.abs(weights) >= np.sort(np.abs(weights).ravel())[-left]
        mixed = generator.normal(size=(size, size))
        curvature = mixed @ mixed.T / size + 0.3

        def slope(values: np.ndarray, curvature: np.ndarray = curvature, target: np.ndarray = target) -> Any:
            return (curvature @ (np.asarray(values) - target).ravel()).reshape(target.shape)

        asked: list[np.ndarray] = []

        def watched(values: np.ndarray, asked: list = asked, slope: Any = slope) -> np.ndarray:
            asked.append(np.array(values, float))
            return slope(values)

        given = weights.copy(), mask.copy()
        found = np.asarray(checks.call(answer, *given, watched, steps, rate))
        if found.shape != shape:
            raise checks.Incorrect(f"Return weights of the shape {shape}; yours have {found.shape}.")
        if not np.array_equal(given[0], weights) or not np.array_equal(given[1], mask):
            raise checks.Incorrect(
                "Your function changes the arrays that it was given: the unpruned weights are lost to whoever called it. `weights *= mask` does that; `weights = weights * mask` does not."
            )
        ends = mistakes_08.trainings(weights, mask, slope, steps, rate)
        if np.allclose(found, ends.pop("right"), rtol=0, atol=1e-6):
            if any(values[~mask].any() for values in asked):
                raise checks.Incorrect(
                    "The weights are right, but you asked for the slope at weights that are not pruned."
                )
            continue
        start = f"With {size - left} of {size} weights pruned and {steps} steps: "
        for story, end in ends.items():
            if np.allclose(found, end, rtol=0, atol=1e-6):
                raise checks.Incorrect(start + story)
        if back := int(np.count_nonzero(found[~mask])):
            raise checks.Incorrect(f"{start}{back} of what should be zero is not.")
        unpruned = sum(bool(values[~mask].any()) for values in asked)
        where = (
            f"{unpruned} of {len(asked)} slopes were computed with weights that are not pruned. What is left learns to rely on what will be cut off."
            if unpruned
            else "The zeros stay, but the others are not where the colleague's steps, held at the mask, would lead. Change no more than that."
        )
        raise checks.Incorrect(start + where)
    return "Every slope was computed with the network that will be shipped. `pruning.held` does this to a Keras model, after each step of any optimiser. Counting zeros would never have shown the mistake: measure what you ship, not what you trained."


@checks.task(
    "Softened is softmax(logits / T). The logits are not there; but log(probability) is a logit less one number, the same for all classes of an image. What does the softmax make of that number?",
    "exp(log(p) / T) is p ** (1 / T). Then divide each row by its sum.",
)
def soft_targets(answer: Callable[[np.ndarray, float], np.ndarray]) -> str:
    generator = np.random.default_rng(7)
    for temperature in (2.0, 1.0, 5.0, 0.5):
        probabilities = scipy.special.softmax(generator.normal(0, 3, (6, 4)), axis=1).astype("float32")
        probabilities[2:4] = [[0.9, 0.1, 0, 0], [0, 0, 1, 0]]
        found = np.asarray(checks.call(answer, probabilities.copy(), temperature), float)
        case = f"At a temperature of {temperature:g}: "
        if found.shape != probabilities.shape:
            raise checks.Incorrect(
                f"{case}for probabilities of shape {probabilities.shape} return an array of that shape, not {found.shape}."
            )
        if lost := np.flatnonzero(~np.isfinite(found).all(axis=1)).tolist():
            shown = [", ".join(f"{value:g}" for value in rows[lost[0]]) for rows in (probabilities, found)]
            raise checks.Incorrect(
                f"{case}of the probabilities {shown[0]} you make {shown[1]}. A teacher that is very sure gives zeros and ones, and a single number that is none ruins the whole training."
            )
        ends = mistakes_08.softenings(probabilities.astype(float), temperature)
        right = ends.pop("right")
        if np.allclose(found, right, rtol=0, atol=1e-4):
            continue
        for story, wrong in ends.items():
            if np.allclose(found, wrong, rtol=0, atol=1e-4):
                raise checks.Incorrect(case + story)
        if np.allclose(found, right, rtol=0, atol=0.01):
            raise checks.Incorrect(
                f"{case}you are off by up to {np.abs(found - right).max():.4f}. Have you added a little to the probabilities, against the logarithm of 0? What is 0 has to stay 0."
            )
        shown = [", ".join(f"{value:.3f}" for value in rows[0]) for rows in (probabilities, found, right)]
        raise checks.Incorrect(
            f"{case}of the probabilities {shown[0]} you make {shown[1]}. The softmax of the logits that gave them, divided by the temperature, is {shown[2]}."
        )
    return "No logits are needed: each ratio of two classes becomes its root of degree T. So a teacher can be anything that gives probabilities, a LiteRT file or a server. What is exactly 0 stays 0 at any temperature: that is the reason to ask for logits where one can."


@checks.task(
    "Three questions to each candidate: what does it lose, between which limits, and is even the worse limit acceptable? Then the sizes decide.",
    "`evaluation.bootstrap_difference(original[1], correct, groups)` gives the loss, its lower and its upper limit.",
    "Begin with `{'original': original}`, add the candidates whose upper limit is at most `most`, and take the `min` by bytes.",
)
def ship(answer: mistakes_08.Ship) -> str:
    cases = mistakes_08.shipments()
    for candidates, original, groups, most in cases:
        found = checks.call(answer, dict(candidates), original, groups, most)
        right = mistakes_08.right_ship(candidates, original, groups, most)
        if not isinstance(found, str) or found not in (*candidates, "original"):
            raise checks.Incorrect(
                f"Return a name: one of {', '.join(candidates)}, or original; yours is {found!r:.60}."
            )
        if found == right:
            continue
        shown = [f"original: {original[0]} bytes"]
        for name, (size, correct) in candidates.items():
            loss, low, high = (100 * value for value in mistakes_08.loss(original[1], correct, groups))
            shown.append(
                f"{name}: {size} bytes, loses {loss:.1f} points, {low:.1f} to {high:.1f} over writers"
            )
        same = [story for story, choose in mistakes_08.SHIPPERS.items() if _always(answer, choose, cases)]
        raise checks.Incorrect(
            f"{len(groups)} images of {len(set(groups.tolist()))} writers, at most {100 * most:g} point{'s' * (most != 0.01)} may be lost. {'; '.join(shown)}. You ship {found!r}, the rule {right!r}. {[*same, 'Go through your rule with these numbers, on paper.'][0]}"
        )
    return "'No loss was found' and 'a loss of more than two points can be ruled out' are two sentences, and only the second one is a reason to ship. It needs enough images; whoever has few has to ship the larger file, or collect more."


def _always(answer: Callable, choose: mistakes_08.Ship, cases: list) -> bool:
    """Whether a function chooses as a known rule does, in all cases."""
    try:
        return all(answer(dict(case[0]), *case[1:]) == choose(*case) for case in cases)
    except Exception:
        return False


question_1 = checks.choice(
    __name__,
    "question_1",
    "b",
    {
        "a": "Masks are needed while one trains. In the file there are none, only zeros.",
        "b": "A multiplication by zero takes as long as any other, and the zeros lie scattered, so that none of the loops gets shorter. Faster is what skips them: kernels made for sparse weights, or whole channels removed, which leaves a smaller dense network.",
        "c": "With 99% it would be the same: the loops run over all entries, whatever these are.",
        "d": "That is true of VGG16, whose weights are in its `Dense` layers and whose arithmetic is elsewhere. But pruned convolutions take as long as before, too.",
    },
)

question_2 = checks.choice(
    __name__,
    "question_2",
    "c",
    {
        "a": "That holds where the processor computes in float16, as many GPUs do. The question is about an ordinary CPU.",
        "b": "Eleven significant bits are enough for weights: the answers differ in the third or fourth digit, and hardly an image changes sides.",
        "c": "What is sent and stored is half as large. When the file is opened, the weights become float32 again, and everything goes on as before.",
    },
)

question_3 = checks.choice(
    __name__,
    "question_3",
    "b",
    {
        "a": "The kernels' scales do come from the kernels alone. But the *activations* have scales, too, and these come from the images.",
        "b": "By day the activations are larger than anything that was seen, and all of that becomes one number, the highest. No message tells; only an accuracy by day does.",
        "c": "That would be dynamic quantisation, which finds a scale for each image when it is there. Full int8 has fixed them beforehand.",
        "d": "Nothing is trained on these images, and nobody looks at labels. A hundred of the right kind are enough.",
    },
)

question_4 = checks.choice(
    __name__,
    "question_4",
    "c",
    {
        "a": "That is what was measured, and it may be chance: three images more or less, of 21 that changed sides. A number without its doubt says too much.",
        "b": "A high p-value says that no loss has been *shown*. A loss of a whole point would fit these 890 images, too.",
        "c": "It says what was measured, what it may be, and what can be ruled out. Whoever reads it can decide by their own limit.",
    },
)

question_5 = checks.choice(
    __name__,
    "question_5",
    "b",
    {
        "a": "Where the teacher is wrong, it teaches the mistake. On the images that have labels these are the better truth.",
        "b": "That this 3 looks a little like an 8 and not at all like a 1: ten numbers an image instead of one word. At a high temperature the small ones among them can be seen, at 1 they are nearly zero.",
        "c": "A temperature changes neither images nor their number. (That a teacher can answer for any number of *further* images is true, and in task 5 it gained far more; but that is not the temperature's doing.)",
    },
)
