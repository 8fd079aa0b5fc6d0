import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.loader import evaluation_batches
from imagenet_trainer.data.parts import Parts, divide, labels_of, split_name
from imagenet_trainer.data.views import Views, ViewTransform
from imagenet_trainer.errors import InputError

GOLDEN = [29, 34, 41, 122]
LABELS = np.random.default_rng(0).choice(7, 400, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.09, 0.01])


@given(st.integers(2, 9), st.integers(0, 2**63 - 1), st.sampled_from([0, 0.01, 0.2, 3, 50]))
def test_every_image_is_in_one_fold_and_folds_are_stratified(folds, seed, minival):
    found = [divide(LABELS, Parts(seed, folds, fold + 1, minival)) for fold in range(folds)]
    together = np.concatenate([one.fold for one in found])
    assert np.array_equal(np.sort(together), np.arange(400))
    for one in found:
        assert np.array_equal(np.sort(np.concatenate(one)), np.arange(400))
        rest = 400 - len(one.fold)
        expected = round(minival * rest) if minival < 1 else minival
        assert len(one.minival) == (max(1, expected) if minival else 0)
        counts = np.bincount(LABELS)
        assert abs(np.bincount(LABELS[one.fold], minlength=7) - counts / folds).max() < 1
        share = counts * len(one.minival) / 400
        assert abs(np.bincount(LABELS[one.minival], minlength=7) - share).max() < 2


def test_parts_depend_on_the_seed_and_on_nothing_else():
    one, same, other = (divide(LABELS, Parts(seed, 5, 2, 0.1)) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(one, same))
    assert not np.array_equal(one.fold, other.fold)
    # Another network, batch or engine has the same parts: these are the numbers of all versions.
    held = divide(LABELS, Parts(3, minival=4))
    assert held.minival.tolist() == GOLDEN and len(held.fold) == 0


def test_names_of_parts(tmp_path):
    for parts in (Parts(0, 5, 2), Parts(7, 5, 2), Parts(7, 10, 10, 0.01), Parts(minival=500)):
        name = parts.name("a#/b.rec", minival=bool(parts.minival))
        assert split_name(name) == ("a#/b.rec", parts)
    for plain in ("a.rec", "a.rec#", "a#b.rec", "a.rec#fold=2", "a.rec#seed=1"):
        assert split_name(plain) == (plain, Parts())
    existing = tmp_path / "a.rec#fold=1of2"
    existing.touch()
    assert split_name(str(existing)) == (str(existing), Parts())
    for wrong in ("fold=0of2", "fold=3of2"):
        with pytest.raises(InputError, match=r"a\.rec#fold=.* give one of 1 to 2"):
            split_name(f"a.rec#{wrong}")
    with pytest.raises(InputError, match=r"a\.rec#minival=0\.0: is no image; give "):
        split_name("a.rec#minival=0.0")  # not the whole set


@pytest.mark.parametrize("manifest", [True, False])
def test_a_part_as_a_dataset(packed, tmp_path, manifest):
    """It has the records of the part, with their checksums, and is another dataset."""
    for name in ("train.rec", "train.idx", "train.json")[: 3 if manifest else 2]:
        shutil.copy(packed / name, tmp_path)
    path = str(tmp_path / "train.rec")
    whole = open_dataset(path, num_classes=3)
    labels = labels_of(whole.shards)
    folds = [open_dataset(f"{path}#fold={n}of4+seed=1", num_classes=3) for n in (1, 2, 3, 4)]
    assert len({one.fingerprint for one in (whole, *folds)}) == 5
    for number, one in enumerate(folds, 1):
        images = divide(labels, Parts(1, 4, number)).fold
        assert np.array_equal(one.shards.keys, whole.shards.keys[images])
        assert one.shards.files[0].has_checksums is manifest
        for record, image in enumerate(images.tolist()):
            ours, theirs = one.shards.record(record), whole.shards.record(image)
            assert (ours.id, ours.label, ours.image) == (theirs.id, theirs.label, theirs.image)
    whole.shards.close()  # the parts stay open
    transform = ViewTransform((3, 16, 16), 0, Views())
    with evaluation_batches(folds[0].shards, transform, 3, 8) as batches:
        seen = np.concatenate([batch.labels.copy() for batch in batches])
    assert seen.tolist() == labels[divide(labels, Parts(1, 4, 1)).fold].tolist()
    for one in folds:
        one.shards.close()


def test_a_part_without_images(packed):
    with pytest.raises(InputError, match="use fewer folds"):
        open_dataset(f"{packed}/train.rec#fold=61of61")
