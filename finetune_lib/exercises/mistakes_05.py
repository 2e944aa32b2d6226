"""The rules that answers to lesson 05's exercises follow, right and wrong, each with what to tell whoever uses it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Stop = Callable[[list[float], list[float], int], int]  # accuracies, losses, patience: the epoch to keep
Choose = Callable[[Mapping[str, Sequence[float]]], str]  # name to accuracies: the name to choose


def _by(key: Callable[[float, float], Any], first: int = 1) -> Stop:
    """The epoch of the highest key, where patience counts epochs in a row."""

    def keep(accuracies: list[float], losses: list[float], patience: int) -> int:
        keys, best = [key(*pair) for pair in zip(accuracies, losses, strict=True)], 0
        for epoch, value in enumerate(keys):
            best = epoch if value > keys[best] else best
            if epoch - best >= patience:
                break
        return best + first

    return keep


def _impatient(accuracies: list[float], losses: list[float], patience: int) -> int:
    """Counts every epoch without a better one, not only those in a row."""
    best, waited = 0, 0
    for epoch in range(1, len(losses)):
        if (accuracies[epoch], -losses[epoch]) > (accuracies[best], -losses[best]):
            best = epoch
        else:
            waited += 1
        if waited >= patience:
            break
    return best + 1


def _both(accuracy: float, loss: float) -> tuple[float, float]:
    return accuracy, -loss


right_stop = _by(_both)


def _right_with(change: Callable[[int], int]) -> Stop:
    """The right rule with another patience."""
    return lambda accuracies, losses, patience: right_stop(accuracies, losses, change(patience))


_by_loss = _by(lambda accuracy, loss: -loss)
_from_0 = _by(_both, first=0)
_first_equal, _higher = _by(lambda accuracy, loss: accuracy), _by(lambda accuracy, loss: (accuracy, loss))
_future, _short, _long = (
    _right_with(change) for change in (lambda _: 10**6, lambda p: p - 1, lambda p: p + 1)
)
STOPS: dict[str, Stop] = {
    "That is the epoch of the lowest loss still. The loss may only decide between equal accuracies.": _by_loss,
    "You look into the future: after that many epochs without a better one the training is over, and a later, better one is never seen.": _future,
    "You count from 0, as Python does. The first epoch is 1 here.": _from_0,
    "Two epochs are equally accurate, and you keep the earlier one, whose loss is higher.": _first_equal,
    "Two epochs are equally accurate, and of those you keep the one with the *higher* loss.": _higher,
    "You give up too soon: epochs without a better one count only *in a row*; a better one sets the count back to none.": _impatient,
    "You wait one epoch too few.": _short,
    "You wait one epoch too long.": _long,
    "You keep the last epoch.": lambda accuracies, losses, patience: len(losses),
}


HISTORIES = (  # accuracies, losses, patience
    ((0.5, 0.6, 0.7, 0.8, 0.75), (1.0, 0.8, 0.9, 1.1, 1.2), 3),
    ((0.5, 0.7, 0.7, 0.6, 0.6), (1.0, 0.9, 0.8, 1.0, 1.1), 2),
    ((0.5, 0.7, 0.7, 0.6, 0.6), (1.0, 0.9, 1.0, 1.0, 1.1), 4),
    ((0.5, 0.6, 0.55, 0.55, 0.5, 0.5, 0.9), (1.0, 0.9, 0.8, 0.9, 0.9, 0.9, 0.7), 3),
    ((0.5, 0.4, 0.6, 0.5, 0.7, 0.6, 0.8), (1.0, 0.9, 0.9, 0.8, 1.0, 1.1, 1.2), 2),
    ((0.5, 0.4, 0.4, 0.6, 0.5), (0.9, 1.0, 1.1, 1.2, 1.2), 3),
    ((0.5, 0.4, 0.4, 0.4, 0.6), (0.9, 1.0, 1.1, 1.2, 1.2), 3),
    ((0.9,), (0.4,), 1),
)


def story_of_stop(answer: Stop) -> str:
    """The known mistake that explains what a function answers to all histories."""

    def answers(stop: Stop) -> list[int]:
        return [stop(list(accuracies), list(losses), patience) for accuracies, losses, patience in HISTORIES]

    try:
        given = answers(answer)
    except Exception:
        return ""
    known = [story for story, stop in STOPS.items() if answers(stop) == given]
    if len(set(given)) == 1:
        return "Does your function look at the two lists?"
    return [*known, "Go through your rule with these numbers, on paper."][0]


def _chooser(rule: Callable[[np.ndarray, np.ndarray], bool], least: int = 4) -> Choose:
    """Goes through the recipes in order, and changes to whichever is ahead of the choice by a rule."""

    def choose(scores: Mapping[str, Sequence[float]]) -> str:
        choice, *others = scores
        for name in others:
            if len(scores[choice]) >= least and rule(np.array(scores[name]), np.array(scores[choice])):
                choice = name
        return choice

    return choose


def _ahead(new: np.ndarray, old: np.ndarray) -> bool:
    return bool(np.mean(new > old) >= 3 / 4)


def _first_gap(scores: Mapping[str, Sequence[float]]) -> str:
    """Stops at the first that is not ahead."""
    choice, *others = scores
    for name in others:
        if len(scores[choice]) < 4 or not _ahead(np.array(scores[name]), np.array(scores[choice])):
            break
        choice = name
    return choice


def _last_above_first(scores: Mapping[str, Sequence[float]]) -> str:
    """The last that is ahead of the first, whatever lies between."""
    first, *others = scores
    ahead = [name for name in others if _ahead(np.array(scores[name]), np.array(scores[first]))]
    return [first, *ahead][-1] if len(scores[first]) >= 4 else first


def _highest_mean(scores: Mapping[str, Sequence[float]]) -> str:
    return max(scores, key=lambda name: float(np.mean(scores[name])))


right_choice, _hasty, _slow = _chooser(_ahead), _chooser(_ahead, least=1), _chooser(_ahead, least=5)
_sorted = _chooser(lambda new, old: _ahead(np.sort(new), np.sort(old)))
_with_equals = _chooser(lambda new, old: bool(np.mean(new >= old) >= 3 / 4))
_half = _chooser(lambda new, old: bool(np.mean(new > old) > 1 / 2))
_more = _chooser(lambda new, old: bool(np.mean(new > old) > 3 / 4))
_all = _chooser(lambda new, old: bool(np.all(new > old)))
CHOOSERS: dict[str, Choose] = {
    "That one has the highest mean, which a single lucky draw can make. Count the draws in which one is higher.": _highest_mean,
    "You stop at the first recipe that is not ahead. A deeper one may be, and then that is the choice: most of the gain may lie at the bottom.": _first_gap,
    "You compare with the first recipe only. Whoever is not ahead of the *present choice* costs more and is no better: stay with the choice.": _last_above_first,
    "Each list seems to be sorted, or taken as a whole. A draw is easy or hard for all recipes: compare within the draw.": _sorted,
    "Equal is not higher: here there are draws in which nobody is ahead.": _with_equals,
    "More than half of the draws is what a coin often gives. Ahead means at least three quarters.": _half,
    "*At least* three quarters: exactly three quarters will do.": _more,
    "You ask for all the draws. At least three quarters will do: one bad draw is no veto.": _all,
    "With fewer than four draws nothing is decided, however clear they look.": _hasty,
    "Four draws are enough to decide.": _slow,
    "You stay with the cheapest, whatever the others do.": lambda scores: next(iter(scores)),
    "You take the deepest, whatever it does.": lambda scores: list(scores)[-1],
}
