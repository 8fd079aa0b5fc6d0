import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.folders import Tree
from imagenet_trainer.packing.ilsvrc.labelled import (
    by_folder,
    by_pattern,
    by_table,
    group,
    size,
    take_out,
)

ENDINGS = (".jpg", ".jpeg")


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    names = ["b/2.jpg", "b/10.JPG", "a/x/1.jpeg", "a/1.jpg", "a-b/1.jpg", "b/no.txt", "b/3.png"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


# --- grouping ----------------------------------------------------------------------------------


def test_folders_as_classes():
    paths = ["train/b/1.jpg", "train/a-b/1.jpg", "train/a/1.jpg", "train/a/x/2.jpg"]
    groups = group("train", paths, by_folder(paths), "reason")
    # The order in which im2rec labels the same folders: a folder before its subfolders.
    assert list(groups) == ["a", "a/x", "a-b", "b"]
    assert groups["a"] == ["train/a/1.jpg"]


def test_classes_are_those_of_im2rec(tree, tmp_path):
    from imagenet_trainer.packing.lists import make_lists

    _, theirs = make_lists(
        str(tmp_path / "x"), str(tree), recursive=True, flat=False, extensions=ENDINGS
    )
    paths = Tree(str(tree), ENDINGS).paths()
    ours = group("", paths, by_folder(paths), "")
    assert [(name, len(of)) for name, of in ours.items()] == theirs


def test_images_without_class():
    paths = ["a/1.jpg", "1.jpg", "2.jpg"]
    with pytest.raises(InputError, match=r"root: 1\.jpg and 1 more: reason"):
        group("root", paths, by_folder(paths), "reason")
    with pytest.raises(InputError, match=r"root: 1\.jpg and 1 more: reason"):
        group("root", paths, by_pattern(r"^(\w+)/"), "reason")


def test_a_pattern_and_a_table():
    paths = ["dog.1.jpg", "cat.1.jpg", "x/cat.2.jpg"]
    assert group("", paths, by_pattern(r"(\w+)\.\d"), "") == {
        "cat": ["cat.1.jpg", "x/cat.2.jpg"], "dog": ["dog.1.jpg"],
    }  # fmt: skip
    labels = {"dog.1": "n2", "cat.1": "n1", "cat.2": "n1", "other": "n3"}
    assert list(group("", paths, by_table(labels), "")) == ["n1", "n2"]


# --- subsets -----------------------------------------------------------------------------------


def images(classes=3, of_each=20):
    return {f"c{n}": [f"c{n}/{k}.jpg" for k in range(of_each)] for n in range(classes)}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 30), st.integers(0, 2**40))
def test_taken_and_left_images_are_all_images(number, seed):
    everything = images()
    taken, left = take_out(everything, lambda _: number, seed)
    for name, paths in everything.items():
        assert len(taken[name]) == min(number, len(paths))
        assert sorted(taken[name] + left[name]) == sorted(paths)
        for part in (taken[name], left[name]):
            assert part == [path for path in paths if path in part]  # in their order
    assert size(taken) + size(left) == size(everything)


def test_the_choice_depends_on_seed_and_path_alone():
    everything = images()
    taken, _ = take_out(everything, lambda _: 5, 7)
    assert take_out(everything, lambda _: 5, 7)[0] == taken
    assert take_out(everything, lambda _: 5, 8)[0] != taken
    assert take_out({"c1": everything["c1"]}, lambda _: 5, 7)[0]["c1"] == taken["c1"]
    backwards = {name: paths[::-1] for name, paths in everything.items()}
    assert {n: set(p) for n, p in take_out(backwards, lambda _: 5, 7)[0].items()} == {
        n: set(p) for n, p in taken.items()
    }
    more, _ = take_out(everything, lambda _: 10, 7)
    assert all(set(taken[name]) < set(more[name]) for name in everything)


def test_a_fixed_choice():
    """Another rule would move images between the sets of existing packs."""
    taken, _ = take_out(images(1, 8), lambda _: 3, 100)
    assert taken == {"c0": ["c0/3.jpg", "c0/5.jpg", "c0/7.jpg"]}


def test_every_image_is_as_likely():
    counts = dict.fromkeys(images(1, 10)["c0"], 0)
    for seed in range(2000):
        for path in take_out(images(1, 10), lambda _: 3, seed)[0]["c0"]:
            counts[path] += 1
    # 600 expected, standard deviation 20.5
    assert all(510 < count < 690 for count in counts.values())
