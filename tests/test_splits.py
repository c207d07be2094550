from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdnet_keras.data.manifest import Manifest, Rendering
from qdnet_keras.data.splits import assign_splits, check_disjoint, random_splits
from qdnet_keras.errors import DataError


def make(groups, splits=None):
    """One rendering for each entry of `groups`; two scenes in every group."""
    splits = splits or [None] * len(groups)
    renderings = (
        Rendering(Path(f"{i}.png"), 50.0, None, f"{group}.{i % 2}", group, None, split, row=i + 1)
        for i, (group, split) in enumerate(zip(groups, splits, strict=True))
    )
    return Manifest(tuple(renderings), Path("set.csv"))


def by_group(manifest):
    return {r.group: r.split for r in manifest.renderings}


GROUPS = st.lists(st.sampled_from([f"g{i}" for i in range(30)]), min_size=4, max_size=80).filter(
    lambda groups: len(set(groups)) >= 4
)
SEEDS = st.integers(0, 10_000)
FRACTIONS = st.sampled_from([0.05, 0.1, 0.2, 0.3])


@settings(deadline=None)
@given(groups=GROUPS, val=FRACTIONS, test=FRACTIONS, seed=SEEDS)
def test_no_group_crosses_and_sizes_are_as_asked(groups, val, test, seed):
    manifest = make(groups)
    assigned = assign_splits(manifest, val, test, seed)
    words = by_group(assigned)
    assert all(r.split == words[r.group] for r in assigned.renderings)
    assert [replace(r, split=None) for r in assigned.renderings] == list(manifest.renderings)
    counts = Counter(words.values())
    assert counts["val"] == max(1, round(val * len(words)))
    assert counts["test"] == max(1, round(test * len(words)))
    assert counts["train"] >= 1


@settings(deadline=None)
@given(groups=GROUPS, seed=SEEDS, data=st.data())
def test_split_depends_on_seed_and_groups_only(groups, seed, data):
    reference = by_group(assign_splits(make(groups), test=0.2, seed=seed))
    assert by_group(assign_splits(make(groups), test=0.2, seed=seed)) == reference
    order = data.draw(st.permutations(groups))
    repeated = order + data.draw(st.lists(st.sampled_from(groups), max_size=5))
    assert by_group(assign_splits(make(repeated), test=0.2, seed=seed)) == reference


def test_known_split_stays_as_it_was():
    words = by_group(assign_splits(make([f"g{i}" for i in range(10)]), 0.1, 0.2, seed=0))
    held_out = {group: word for group, word in words.items() if word != "train"}
    # In the order of `printf 0/g3 | sha256sum` and so on, the first three are g3, g7 and g2.
    assert held_out == {"g3": "test", "g7": "test", "g2": "val"}


def test_seeds_spread_groups_evenly():
    manifest = make([f"g{i}" for i in range(20)])
    counts = Counter(
        rendering.group
        for seed in range(400)
        for rendering in assign_splits(manifest, val=0.25, seed=seed).select("val").renderings
    )
    assert len(counts) == 20
    # Binomial(400, 1/4): mean 100, standard deviation 8.7
    assert all(60 < count < 140 for count in counts.values())


def test_default_holds_out_validation_only():
    words = by_group(assign_splits(make([f"g{i}" for i in range(40)])))
    assert Counter(words.values()) == {"train": 36, "val": 4}
    nothing = assign_splits(make(["a", "b"]), val=0.0)
    assert set(by_group(nothing).values()) == {"train"}


def test_given_splits_are_kept():
    manifest = make(["a", "b", "c"], ["test", "val", "train"])
    assert assign_splits(manifest, val=0.3) is manifest
    all_tested = make(["a", "b"], ["test", "test"])
    assert assign_splits(all_tested, val=0.3) is all_tested


def test_published_training_and_test_parts_get_a_validation_part():
    manifest = make([f"g{i}" for i in range(30)], ["test"] * 10 + ["train"] * 20)
    words = by_group(assign_splits(manifest, val=0.1))
    assert {group for group, word in words.items() if word == "test"} == {
        f"g{i}" for i in range(10)
    }
    assert Counter(words.values()) == {"test": 10, "train": 18, "val": 2}
    assert assign_splits(manifest, val=0.0) is manifest
    with pytest.raises(DataError, match=r"1 group\(s\) are too few"):
        assign_splits(make(["a", "b"], ["train", "test"]))


def test_mixed_splits_are_refused():
    with pytest.raises(DataError, match=r"set.csv, row 2: no split although other rows have one"):
        assign_splits(make(["a", "b"], ["train", None]))


def test_given_splits_that_cross_are_refused():
    crossing = make(["a", "a"], ["train", "val"])
    for refuse in (check_disjoint, assign_splits):
        with pytest.raises(DataError, match="row 2: group 'a' has split val here but train in row"):
            refuse(crossing)
    same_scene = [replace(r, scene="s") for r in make(["a", "b"], ["train", "test"]).renderings]
    with pytest.raises(DataError, match="row 2: scene 's' has split test here but train in row 1"):
        check_disjoint(Manifest(tuple(same_scene), Path("set.csv")))
    check_disjoint(make(["a", "b", "a"], ["train", "val", "train"]))


def test_scene_in_two_groups_never_crosses():
    renderings = tuple(replace(r, scene="s") for r in make([f"g{i}" for i in range(9)]).renderings)
    with pytest.raises(DataError, match="scene 's'"):
        assign_splits(Manifest(renderings, Path("set.csv")))


def test_too_few_groups():
    with pytest.raises(DataError, match=r"1 group\(s\) are too few"):
        assign_splits(make(["a", "a"]))
    with pytest.raises(DataError, match=r"2 group\(s\) are too few to hold 2 out"):
        assign_splits(make(["a", "b"]), val=0.1, test=0.1)
    with pytest.raises(DataError, match="too few"):
        next(random_splits(make(["a", "a"]), 1))


@pytest.mark.parametrize("fractions", [(-0.1, 0.0), (0.5, 0.5), (1.0, 0.0)])
def test_bad_fractions(fractions):
    with pytest.raises(ValueError, match="leave some to train"):
        assign_splits(make(["a", "b"]), *fractions)


@settings(deadline=None)
@given(groups=GROUPS, seed=SEEDS)
def test_random_splits_cover_all_and_cross_nothing(groups, seed):
    manifest = make(groups)
    label = np.array(groups)
    for train, test in random_splits(manifest, 3, seed=seed):
        np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(len(groups)))
        assert not set(label[train]) & set(label[test])
        assert len(set(label[test])) == max(1, round(0.2 * len(set(groups))))
        assert len(train) and np.issubdtype(train.dtype, np.integer)


def test_random_splits_repeat_and_differ():
    manifest = make([f"g{i}" for i in range(40)], ["train"] * 20 + ["test"] * 20)
    ten = [tuple(test) for _, test in random_splits(manifest, 10)]
    assert len(set(ten)) == 10
    assert [tuple(test) for _, test in random_splits(manifest, 4)] == ten[:4]
    assert [tuple(test) for _, test in random_splits(manifest, 10, seed=1)] != ten
    with pytest.raises(ValueError, match="test_fraction"):
        next(random_splits(manifest, 1, test_fraction=1.0))
