from collections import Counter

import numpy as np
import pytest

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.metrics import taxonomy
from imagenet_trainer.metrics.taxonomy import GROUPS, LEVELS, taxonomy_of

IDS = list(known_synsets())
LABEL = {name.split(",")[0]: label for label, name in enumerate(known_synsets().values())}


def group_sizes(found):
    return dict(Counter(found.groups[group] for group in sorted(found.group.tolist())))


@pytest.fixture(scope="module")
def whole():
    return taxonomy_of(IDS)


def test_every_class_has_a_path_from_the_root(whole):
    assert [path[-1] for path in whole.paths] == IDS
    assert {path[0] for path in whole.paths} == {"n00001740"}
    assert len(set(whole.place.tolist())) == 1000


def test_each_class_is_in_one_group_and_no_group_is_empty(whole):
    sizes = group_sizes(whole)
    assert sum(sizes.values()) == 1000 and len(sizes) == len(GROUPS) == 33
    # Known of ILSVRC: 118 breeds of dogs, 59 birds, 398 animals with the labels 0 to 397.
    assert (sizes["dogs"], sizes["birds"], sizes["fish"]) == (118, 59, 16)
    assert np.array_equal(whole.domain, np.arange(1000) >= 398)
    dogs = np.flatnonzero(whole.group == whole.groups.index("dogs"))
    assert np.array_equal(dogs, np.arange(151, 269))


@pytest.mark.parametrize(
    ("name", "group", "kind"),
    [
        ("tench", "fish", "fish"), ("quail", "birds", "birds"), ("hen", "birds", "birds"),
        ("axolotl", "amphibians", "amphibians"), ("golden retriever", "dogs", "mammals"),
        ("timber wolf", "wolves and foxes", "mammals"), ("tabby", "cats", "mammals"),
        ("lion", "cats", "mammals"), ("zebra", "hoofed animals", "mammals"),
        ("gorilla", "monkeys and apes", "mammals"), ("giant panda", "other mammals", "mammals"),
        ("ladybug", "insects", "invertebrates"), ("tarantula", "spiders", "invertebrates"),
        ("pickup", "vehicles", "artifacts"), ("church", "structures", "artifacts"),
        ("rocking chair", "furniture", "artifacts"), ("sandal", "clothing", "artifacts"),
        ("hammer", "tools", "artifacts"), ("violin", "musical instruments", "artifacts"),
        ("pizza", "food", "food"), ("red wine", "food", "food"), ("lemon", "food", "food"),
        ("daisy", "plants and fungi", "plants"), ("volcano", "landscapes", "landscapes"),
        ("sandbar", "landscapes", "landscapes"), ("scuba diver", "people", "people"),
    ],
)  # fmt: skip
def test_groups_of_well_known_classes(whole, name, group, kind):
    label = LABEL[name]
    assert whole.groups[whole.group[label]] == group
    assert whole.kinds[whole.kind[label]] == kind


def test_each_level_is_finer_than_the_one_before(whole):
    parts = [whole.parts(level) for level in LEVELS]
    for coarse, fine in zip(parts, parts[1:]):
        for part in np.unique(fine):
            assert len(set(coarse[fine == part].tolist())) == 1
    assert [len(set(part.tolist())) for part in parts] == [2, 11, 33, 1000]


def test_distances_are_those_of_the_paths(whole):
    rng = np.random.default_rng(0)
    for a, b in rng.integers(0, 1000, (200, 2)).tolist():
        one, other = whole.paths[a], whole.paths[b]
        shared = len(set(one) & set(other))
        assert whole.distances[a, b] == len(one) + len(other) - 2 * shared
    assert not whole.distances.diagonal().any()
    assert np.array_equal(whole.distances, whole.distances.T)
    # Siblings below `retriever`.
    assert whole.distances[LABEL["golden retriever"], LABEL["Labrador retriever"]] == 2


def test_a_subset_in_any_order_keeps_its_groups(whole):
    chosen = [LABEL[name] for name in ("pizza", "tabby", "golden retriever")]
    few = taxonomy_of([IDS[label] for label in chosen])
    assert few.group.tolist() == whole.group[chosen].tolist()
    assert np.array_equal(few.distances, whole.distances[np.ix_(chosen, chosen)])
    assert group_sizes(few) == {"dogs": 1, "cats": 1, "food": 1}


@pytest.mark.parametrize(
    "ids",
    [
        (), ("shirt", "coat"), (IDS[0], "shirt"), ("n99999999",),
        ("n02084071", IDS[0]),  # dog, which lies above classes and is none
    ],
)  # fmt: skip
def test_other_classes_have_no_taxonomy(ids):
    assert taxonomy_of(ids) is None


def test_every_synset_of_a_group_is_above_some_class():
    above = {wnid for _, path in taxonomy._outline().values() for wnid in path}
    for group in GROUPS:
        assert set(group.synsets) <= above, group.name
