"""A photo is on one side of every split."""

from collections import Counter
from pathlib import Path

import pytest

from brule.data.layouts import Record, Split
from brule.data.splits import assign, halve, photo_groups
from brule.errors import BruleError

SHARES: dict[Split, float] = {"validation": 0.1, "test": 0.15}


def record(name: str, group: str = "", split: str | None = None, extra: bool = False, points: bool = True) -> Record:
    return Record(name, f"{name}.pts" if points else None, group or name, split, extra, None)


def many(count: int, **fields) -> list[Record]:
    return [record(f"{i}", group=f"g{i // 3}", **fields) for i in range(count)]


def divided(records: list[Record], seed: int = 0, groups: list[str] | None = None) -> list[Split | None]:
    return assign(records, groups or [each.group for each in records], SHARES, seed)


def test_files_that_are_equal_are_one_group(tmp_path: Path):
    contents = {"a": b"one", "b": b"two", "c": b"one", "d": b"three", "e": b"two"}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    records = [record("a"), record("b", "photo"), record("c", "photo"), record("d"), record("e")]
    a, b, c, d, e = photo_groups(tmp_path, records)
    assert a == b == c == e
    assert d != a


def test_a_missing_image_is_named(tmp_path: Path):
    with pytest.raises(BruleError, match=r"gone\.jpg: the image is missing; run the download stage again"):
        photo_groups(tmp_path, [record("gone.jpg")])


def test_shares_are_met_and_groups_stay_whole():
    records = many(600)
    splits = divided(records)
    counts = Counter(splits)
    assert counts["test"] == pytest.approx(90, abs=3)
    assert counts["validation"] == pytest.approx(60, abs=3)
    sides = {}
    for each, split in zip(records, splits, strict=True):
        assert sides.setdefault(each.group, split) == split


def test_the_draw_follows_the_seed_and_not_the_order():
    records = many(90)
    first = dict(zip((each.image for each in records), divided(records), strict=True))
    again = dict(zip((each.image for each in records[::-1]), divided(records[::-1]), strict=True))
    assert first == again
    assert first != dict(zip((each.image for each in records), divided(records, seed=1), strict=True))


def test_a_source_s_own_split_is_kept_and_only_what_lacks_is_drawn():
    records = many(90, split="train") + [record(f"t{i}", split="test") for i in range(10)]
    splits = divided(records)
    assert splits[90:] == ["test"] * 10
    assert Counter(splits[:90]) == {"train": 81, "validation": 9}
    whole = [*records, record("v", split="validation")]
    assert Counter(divided(whole)) == {"train": 90, "test": 10, "validation": 1}


def test_a_photo_of_the_test_part_lends_nothing_to_validation():
    records = [record(f"{i}", group="shared", split="train") for i in range(50)] + [record("t", "shared", split="test")]
    assert Counter(divided(records)) == {"train": 50, "test": 1}


def test_few_labels_reach_every_split():
    records = [record(f"u{i}", points=False) for i in range(1000)] + [record(f"l{i}") for i in range(20)]
    assert Counter(divided(records)[1000:]) == {"train": 15, "validation": 2, "test": 3}


def few(labelled: int, blank: int) -> list[Record]:
    return [record(f"u{i}", points=False) for i in range(blank)] + [record(f"l{i}") for i in range(labelled)]


def measured(records: list[Record], kept: tuple[str, ...] = (), seed: int = 0) -> dict[str, Split | None]:
    splits = assign(records, [each.group for each in records], SHARES, seed, kept, measure_first=True)
    return dict(zip((each.image for each in records), splits, strict=True))


def counted(splits: dict[str, Split | None], letter: str) -> Counter[Split | None]:
    return Counter(split for name, split in splits.items() if name[0] == letter)


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_training_cannot_use_measure_first(seed):
    ten = measured(few(10, 50), seed=seed)
    assert counted(ten, "l") == {"validation": 4, "test": 6}, (
        "in place of the 1 and 2 that the shares of ten would give"
    )
    assert Counter(ten.values()) == {"train": 45, "validation": 6, "test": 9}, "the sizes are the shares of all photos"
    many_labels = measured(few(25, 75), seed=seed)
    assert counted(many_labels, "l") == {"validation": 10, "test": 15}, "no photo without landmarks is held out"
    assert counted(measured(few(30, 70), seed=seed), "l") == {"train": 5, "validation": 10, "test": 15}
    assert counted(measured(few(1, 59), seed=seed), "l") == {"test": 1}


@pytest.mark.parametrize("records", [many(60), few(30, 30), few(95, 5), few(0, 40)])
def test_where_labels_are_not_few_the_draw_is_the_old_one(records):
    assert list(measured(records).values()) == divided(records)


def test_a_photo_labelled_later_for_training_moves_no_other():
    """The label loop: errors before and after are measured on the same photos."""
    before = measured(few(10, 50))
    later = [record(each.image, points=each.points is not None or each.image in ("u3", "u7")) for each in few(10, 50)]
    after = measured(later, kept=("u3", "u7"))
    assert {name: split for name, split in after.items() if name[0] == "l"} == {
        name: split for name, split in before.items() if name[0] == "l"
    }
    assert after["u3"] == after["u7"] == "train"
    assert Counter(after.values()) == Counter(before.values())


def test_few_labels_fill_only_the_part_that_the_source_lacks():
    own = [record(f"t{i}", split="test") for i in range(5)]
    splits = measured([*few(4, 36), *own])
    assert counted(splits, "l") == {"validation": 4} and counted(splits, "t") == {"test": 5}


def test_an_extra_image_of_a_held_out_photo_is_left_out():
    records = [record("a", split="train"), record("b", split="test"), record("x", "b", "train", extra=True)]
    records.append(record("y", split="train", extra=True))
    assert divided(records)[1:] == ["test", None, "train"]


@pytest.mark.parametrize("seed", range(5))
def test_groups_that_are_kept_train_and_move_no_other_out_of_its_split(seed):
    records = many(300)
    groups = [each.group for each in records]
    free = divided(records, seed)
    # Of each split every fourth photo.
    kept = {group for split in SHARES | {"train": 0} for group in sorted(set(members(groups, free, split)))[::4]}
    bound = assign(records, groups, SHARES, seed, kept)
    assert Counter(bound) == Counter(free)
    for group, before, after in zip(groups, free, bound, strict=True):
        if group in kept:
            assert after == "train"
        elif before != "train":
            assert after == before


def members(groups: list[str], splits: list[Split | None], split: str) -> list[str]:
    return [group for group, each in zip(groups, splits, strict=True) if each == split]


@pytest.mark.parametrize("seed", range(3))
def test_halves_are_nearly_equal_and_follow_the_seed(seed):
    sizes = {f"g{i}": 1 + i % 4 for i in range(41)}
    second = halve(sizes, (), seed)
    assert second < set(sizes)
    assert abs(2 * sum(sizes[group] for group in second) - sum(sizes.values())) <= 1
    assert second == halve(dict(reversed(sizes.items())), (), seed)
    assert second != halve(sizes, (), seed + 1)


def test_the_first_half_holds_what_it_must():
    sizes = dict.fromkeys("abcdefgh", 1)
    assert len(halve(sizes, "abc", 0)) == 4
    assert halve(sizes, "abc", 0).isdisjoint("abc")
    assert halve(sizes, "abcdef", 0) == {"g", "h"}
    assert halve({"a": 1, "b": 1}, (), 0) in ({"a"}, {"b"})


@pytest.mark.parametrize("seed", range(3))
def test_one_photo_of_many_faces_does_not_spoil_the_balance(seed):
    sizes = dict.fromkeys("abcdefghijkl", 1) | {"crowd": 8}
    assert sum(sizes[group] for group in halve(sizes, (), seed)) == 10
