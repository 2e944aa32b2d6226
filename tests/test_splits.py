"""Which images train, validate and test: always the same, mixed alike, no copy and no maker on two sides."""

import collections
import hashlib
import itertools
import pathlib
import shutil

import numpy as np
import pictures
import pytest

from finetune_lib import data, splits


def collection(
    *counts: int, groups: list[str] | None = None, order: np.ndarray | None = None
) -> splits.Collection:
    """Images without content, ``counts`` of each class; ``order`` is how they are found."""
    labels = np.repeat(np.arange(len(counts)), counts)
    digests = [
        hashlib.sha256(f"{label} {n}".encode()).hexdigest()
        for label in range(len(counts))
        for n in range(counts[label])
    ]
    order = np.arange(len(labels)) if order is None else order
    return splits.Collection(
        name="these",
        class_names=tuple(f"class {label}" for label in range(len(counts))),
        labels=labels[order],
        digests=[digests[row] for row in order],
        places=[f"place {row}" for row in range(len(order))],
        parts=np.full(len(order), ""),
        groups=groups and [groups[row] for row in order],
        stream=lambda rows: None,
    )


def part_of(found: splits.Collection, seed: int = 0) -> dict[str, str]:
    rows, _ = splits.split(found, seed)
    return {found.digests[row]: part for part, members in rows.items() for row in members}


def test_a_split_is_the_same_on_every_machine_in_every_order() -> None:
    first = part_of(collection(50, 30))
    assert collections.Counter(first.values()) == {"train": 48, "validation": 16, "test": 16}
    shuffled = np.random.default_rng(0).permutation(80)
    assert part_of(collection(50, 30, order=shuffled)) == first
    written = " ".join(f"{digest} {part}" for digest, part in sorted(first.items()))
    assert hashlib.sha256(written.encode()).hexdigest()[:16] == "a1f877e2eed37ff2"


def test_another_split_seed_divides_otherwise() -> None:
    first, second = (part_of(collection(100, 100), seed) for seed in (0, 1))
    same = sum(first[digest] == second[digest] for digest in first)
    assert 60 < same < 120  # of 200, by chance 88


@pytest.mark.parametrize("count", [3, 4, 5, 7, 10, 33, 101, 998])
def test_every_class_is_divided_alike(count: int) -> None:
    found = collection(count, 2 * count, 10)
    rows, notes = splits.split(found)
    for label, total in enumerate((count, 2 * count, 10)):
        for part, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
            assert abs((found.labels[rows[part]] == label).sum() - share * total) <= 1
    assert sum(map(len, rows.values())) == len(found.labels) and notes == []


def test_the_classes_are_mixed() -> None:
    found = collection(100, 100)
    rows, _ = splits.split(found)
    for members in rows.values():
        runs = 1 + (np.diff(found.labels[members]) != 0).sum()
        assert runs > 0.3 * len(members)


def test_one_more_photo_moves_hardly_any_other() -> None:
    for count in range(20, 80):
        before, after = part_of(collection(count, 40)), part_of(collection(count + 1, 40))
        assert sum(before[digest] != after[digest] for digest in before) <= 3


@pytest.mark.parametrize(
    "sizes", [[10] * 10, [1] * 50, [40, 5, 5, 5, 5], [34, 33, 33], [90, 5, 5], list(range(1, 20))]
)
def test_groups_stay_whole(sizes: list[int]) -> None:
    who = [f"patient {number}" for number, size in enumerate(sizes) for _ in range(size)]
    found = collection(
        len(who), len(who), groups=[f"a {name}" for name in who] + [f"b {name}" for name in who]
    )
    part = part_of(found)
    stands_in = collections.defaultdict(set)
    for digest, group in zip(found.digests, found.groups, strict=True):
        stands_in[group].add(part[digest])
    assert all(len(parts) == 1 for parts in stands_in.values())
    shares = collections.Counter(part.values())
    assert set(shares) == set(splits.PARTS)
    if max(sizes) <= 0.2 * sum(sizes):
        assert 0.5 < shares["train"] / len(part) < 0.7


def test_the_largest_group_does_not_spoil_the_shares() -> None:
    who = ["large"] * 50 + [f"small {number // 5}" for number in range(50)]
    rows, _ = splits.split(collection(100, 100, groups=[f"{label} {name}" for label in "ab" for name in who]))
    assert {part: len(members) for part, members in rows.items()} == {
        "train": 120,
        "validation": 40,
        "test": 40,
    }


def test_groups_of_several_classes_stay_whole_and_give_every_part_every_class() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        counts = generator.integers(30, 90, 3)
        groups = [f"patient {number}" for number in generator.integers(0, 15, counts.sum())]
        found = collection(*counts, groups=groups)
        rows, _ = splits.split(found)
        seen = [{groups[row] for row in members} for members in rows.values()]
        assert not any(first & second for first, second in itertools.combinations(seen, 2))
        assert all(set(found.labels[members]) == {0, 1, 2} for members in rows.values())
        assert 0.5 < len(rows["train"]) / counts.sum() < 0.7


def test_a_draw_of_labels_stays_within_the_training_part() -> None:
    found = collection(100, 50)
    train = splits.split(found)[0]["train"]
    few, again, more, others = (
        splits.draw_per_class(found, train, count, seed) for count, seed in ((5, 0), (5, 0), (20, 0), (5, 1))
    )
    assert few.tolist() == again.tolist() and few.tolist() != others.tolist()
    assert set(few) < set(more) < set(train)
    assert np.bincount(found.labels[few]).tolist() == [5, 5]
    assert np.bincount(found.labels[more]).tolist() == [20, 20]


def test_copies_are_kept_once(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    pictures.write_classes(tmp_path, cat=10, dog=10)
    alone = data.load(tmp_path, image_size=pictures.SIZE)
    assert alone.notes == ()
    for number in range(4):
        shutil.copy(tmp_path / "cat" / f"{number}.png", tmp_path / "cat" / f"0 copy {number}.png")
    (tmp_path / "dog" / "a").mkdir()
    shutil.copy(tmp_path / "dog" / "12.png", tmp_path / "dog" / "a" / "12.png")
    capsys.readouterr()
    dataset = data.load(tmp_path, image_size=pictures.SIZE)
    assert pictures.parts(dataset) == pictures.parts(alone)
    assert dataset.notes == (
        "5 images were left out: identical to another one of the same class, byte for byte.",
    )
    assert capsys.readouterr().out == dataset.notes[0] + "\n"


def test_of_copies_in_two_parts_the_test_one_stays(tmp_path: pathlib.Path) -> None:
    for first, part in enumerate(("train", "val", "test")):
        pictures.write_classes(tmp_path / part, 100 * first, cat=5, dog=5)
    for name in ("train", "val"):
        shutil.copy(tmp_path / "test" / "cat" / "200.png", tmp_path / name / "cat" / "other.png")
    shutil.copy(tmp_path / "val" / "dog" / "105.png", tmp_path / "train" / "dog" / "another.png")
    dataset = data.load(tmp_path, image_size=pictures.SIZE)
    assert dataset.sizes == {"train": 10, "validation": 10, "test": 10}
    assert dataset.notes[0].startswith("3 images were left out: identical")
    found = pictures.parts(dataset)
    assert pictures.digest(pictures.picture(200)) in found["test"]
    assert pictures.digest(pictures.picture(105)) in found["validation"]


def test_an_image_of_two_classes_is_left_out(tmp_path: pathlib.Path) -> None:
    pictures.write_classes(tmp_path, cat=5, dog=5)
    shutil.copy(tmp_path / "cat" / "3.png", tmp_path / "dog" / "also.png")
    dataset = data.load(tmp_path, image_size=pictures.SIZE)
    assert sum(dataset.sizes.values()) == 9
    assert pictures.digest(pictures.picture(3)) not in set().union(*pictures.parts(dataset).values())
    where = f"{pathlib.Path('cat', '3.png')} = {pathlib.Path('dog', 'also.png')}"
    assert dataset.notes == (
        f"2 images were left out: the same image stands under different classes ({where}). "
        "Decide which class is right.",
    )


def test_folders_are_split_by_groups(tmp_path: pathlib.Path) -> None:
    for number in range(40):
        who = number % 5
        pictures.write(
            tmp_path / ["cat", "dog"][number // 5 % 2] / f"anna{who}_{number}.png",
            pictures.encoded(pictures.picture(number)),
        )
    given: list[pathlib.Path] = []
    dataset = data.load(
        tmp_path,
        image_size=pictures.SIZE,
        groups=lambda path: given.append(path) or path.stem.split("_")[0],
    )
    assert given[0].parts[0] == "cat" and len(given[0].parts) == 2
    assert {part: len(set(groups)) for part, groups in dataset.groups.items()} == {
        "train": 3,
        "validation": 1,
        "test": 1,
    }
    for part, groups in dataset.groups.items():
        found = [
            pictures.digest(pictures.picture(number)) for number in range(40) if f"anna{number % 5}" in groups
        ]
        assert pictures.parts(dataset)[part] == set(found)


def test_names_do_not_matter_and_the_fingerprint_says_what_it_was(tmp_path: pathlib.Path) -> None:
    first = data.load(pictures.write_classes(tmp_path / "first", cat=10, dog=10), image_size=pictures.SIZE)
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    for number, path in enumerate(sorted((tmp_path / "second").rglob("*.png"), reverse=True)):
        path.rename(path.with_name(f"{number} renamed.png"))
    second = data.load(tmp_path / "second", image_size=pictures.SIZE)
    for part in splits.PARTS:
        assert pictures.digests(getattr(first, part)) == pictures.digests(getattr(second, part))
    assert first.provenance.sha256 == second.provenance.sha256
    next((tmp_path / "second" / "cat").iterdir()).unlink()
    assert data.load(tmp_path / "second").provenance.sha256 != first.provenance.sha256
    (tmp_path / "first" / "cat").rename(tmp_path / "first" / "lynx")
    assert data.load(tmp_path / "first").provenance.sha256 != first.provenance.sha256
