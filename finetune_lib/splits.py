"""Which images train, validate and test: no copy and no maker on two sides (lesson 03)."""

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

PARTS = ("train", "validation", "test")
HELD_OUT = 0.2  # the share of each class that validation and test get


@dataclasses.dataclass(frozen=True)
class Collection:
    """Labelled images as they were found, before they are split.

    Attributes:
        name: for messages.
        class_names: label ``i`` is called ``class_names[i]``.
        labels: int64 ``(count,)``.
        digests: SHA-256 of each image file's content (or of its pixels): equal for copies.
        places: where each image stands, for messages.
        parts: str ``(count,)``, each image's part where the source names one, otherwise ``""``.
        groups: who or what made each image; None where unknown.
        stream: for some rows of this collection, in this order, their ``(image, label)`` pairs.
        notes: what was left out while looking for images, a sentence each.
    """

    name: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    digests: Sequence[str]
    places: Sequence[str]
    parts: np.ndarray
    groups: Sequence[str] | None
    stream: Callable[[np.ndarray], tf.data.Dataset]
    notes: tuple[str, ...] = ()


def split(found: Collection, seed: int = 0) -> tuple[dict[str, np.ndarray], list[str]]:
    """Divide a collection: about 60% of each class to train, 20% to validate, 20% to test.

    Of identical images one is kept, in the test part if the source put one there; images that stand under
    two classes are left out altogether. Parts that the source names stay as they are; those it lacks are
    taken from its training part. Groups stay whole.

    Where an image goes depends on its content, its group and the seed, not on file names or their order: the
    same photos are split alike on every machine, whether they come from a folder or from elsewhere, and a
    photo that is added later moves hardly any other.

    Returns:
        For each part the rows of its images, in an order that mixes the classes; and what was left out.

    Raises:
        ValueError: if some class would be missing from a part, or the source's own parts share a group.
    """
    kept, notes = without_copies(found)
    groups = found.groups or found.digests
    _require_whole_groups(found, groups, kept)
    order = sorted(kept, key=lambda row: draw(found.digests[row], seed))
    parts = {part: [row for row in order if found.parts[row] == part] for part in PARTS}
    missing = [part for part in PARTS if not parts[part]]
    dealt = [part for part in PARTS if part in missing or part == "train"]
    if missing:
        free = [row for row in order if found.parts[row] in ("", "train")]
        shared_out = _share_out(found.labels, groups, free, dealt, seed)
        parts |= {part: [row for row in order if shared_out.get(row) == part] for part in dealt}
    _require_all_classes(found, groups, parts, dealt, [*found.notes, *notes])
    return {part: np.array(rows) for part, rows in parts.items()}, notes


def without_copies(found: Collection) -> tuple[list[int], list[str]]:
    """The rows to keep: one of each set of identical images, none of those with contradictory labels."""
    groups = found.groups or found.digests
    by_digest = collections.defaultdict(list)
    for row, digest in enumerate(found.digests):
        by_digest[digest].append(row)
    kept, copies, doubtful = [], 0, []
    for rows in by_digest.values():
        if len(set(found.labels[rows])) > 1:
            doubtful.append(rows)
        else:
            copies += len(rows) - 1
            kept.append(
                max(rows, key=lambda row: (PARTS.index(found.parts[row] or "train"), groups[row], -row))
            )
    notes = []
    if copies:
        notes.append(
            f"{were(copies, 'image')} left out: identical to another one of the same class, byte for byte."
        )
    if doubtful:
        pairs = "; ".join(" = ".join(found.places[row] for row in rows) for rows in doubtful[:5])
        notes.append(
            f"{were(sum(map(len, doubtful)), 'image')} left out: the same image stands under different "
            f"classes ({pairs}{'; ...' if len(doubtful) > 5 else ''}). Decide which class is right."
        )
    return sorted(kept), notes


def draw_per_class(found: Collection, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """``count`` of ``rows`` of each class, drawn by content and seed, in the order of ``rows``.

    Raises:
        ValueError: if a class has fewer, or ``count`` is less than 1.
    """
    chosen: set[int] = set()
    for label, name in enumerate(found.class_names):
        members = [row for row in rows if found.labels[row] == label]
        if not 1 <= count <= len(members):
            raise ValueError(
                f"Class {name!r} has {len(members)} training images; {count} were asked for as "
                f"labels_per_class. Ask for 1 to {len(members)}, or for none: then all are used."
            )
        chosen.update(sorted(members, key=lambda row: draw(found.digests[row], f"labels {seed}"))[:count])
    return np.array([row for row in rows if row in chosen])


def fingerprint(found: Collection) -> str:
    """SHA-256 of a collection's images and class names, whatever the files are called and their order."""
    lines = sorted(
        f"{found.class_names[label]} {digest}"
        for label, digest in zip(found.labels, found.digests, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()


def were(count: int, thing: str) -> str:
    """``"1 thing was"``, or ``"2 things were"``."""
    return f"1 {thing} was" if count == 1 else f"{count} {thing}s were"


def draw(identity: str, seed: int | str) -> bytes:
    """A number that looks random and depends on nothing but its arguments, to sort by."""
    return hashlib.sha256(f"{seed} {identity}".encode(errors="surrogatepass")).digest()


def _share_out(
    labels: np.ndarray, groups: Sequence[str], rows: list[int], names: list[str], seed: int
) -> dict[int, str]:
    """Each row's part: whole groups, the largest first, each where most of it has room, train before others.

    Single images thus fill one part after the other, and one more of them shifts the bounds by one at most. A
    part that still lacks a class gets one of its last groups, room or not.
    """
    counts = np.bincount(labels[rows])
    room = np.tile(np.maximum(1, np.round(HELD_OUT * counts)), (len(names), 1))
    room[0] = counts - room[1:].sum(axis=0)
    members = collections.defaultdict(list)
    for row in rows:
        members[groups[row]].append(row)
    waiting = collections.Counter(label for group in members.values() for label in {*labels[group]})
    lacks = np.ones(room.shape, bool)
    result: dict[int, str] = {}
    for group in sorted(members, key=lambda group: (-len(members[group]), draw(group, seed))):
        classes, sizes = np.unique(labels[members[group]], return_counts=True)
        last = lacks[:, classes] & (lacks[:, classes].sum(axis=0) >= [waiting[label] for label in classes])
        fits = np.minimum(room[:, classes].clip(0), sizes) / counts[classes]
        part = int(np.argmax((last + fits / (1 + len(counts))).sum(axis=1)))
        room[part, classes] -= sizes
        lacks[part, classes] = False
        waiting.subtract(classes)
        result |= dict.fromkeys(members[group], names[part])
    return result


def _require_whole_groups(found: Collection, groups: Sequence[str], kept: list[int]) -> None:
    stand_in = collections.defaultdict(set)
    for row in kept:
        stand_in[groups[row]].add(found.parts[row])
    if torn := sorted(group for group, parts in stand_in.items() if len(parts) > 1):
        raise ValueError(
            f"{len(torn)} groups stand in more than one part of {found.name}, for example {torn[0]!r} in "
            f"{' and '.join(sorted(stand_in[torn[0]]))}. Results on such parts are too good. Move each "
            "group's images into one part, or give class folders without train, validation and test "
            "above them: they are then split by group."
        )


def _require_all_classes(
    found: Collection, groups: Sequence[str], parts: dict[str, list[int]], dealt: list[str], notes: list[str]
) -> None:
    present = {part: set(found.labels[rows].tolist()) for part, rows in parts.items()}
    for label, name in enumerate(found.class_names):
        lacking = next((part for part in PARTS if label not in present[part]), None)
        if lacking is None:
            continue
        count = len({groups[row] for part in dealt for row in parts[part] if found.labels[row] == label})
        kind = "different image" if found.groups is None else "group"
        things = f"{count} {kind}{'' if count == 1 else 's'}"
        if lacking in found.parts and (lacking not in dealt or not count):
            reason = (
                f"no images in the {lacking} part of {found.name}. Every class needs some in every part that "
                "you give; or give class folders without parts above them."
            )
        elif count < len(dealt):
            reason = (
                f"only {things} to share out in {found.name}. It takes at least {len(dealt)}: one for each "
                f"of {', '.join(dealt)}. Add images, or leave the class out."
            )
        else:
            reason = (
                f"{things}, but they hold other classes, too, and no way was found to give each of "
                f"{', '.join(dealt)} some of every class. Add or divide groups, or try another split_seed."
            )
        raise ValueError(" ".join([f"Class {name!r} has {reason}", *notes]))
