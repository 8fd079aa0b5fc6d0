from pathlib import Path

import pytest

from imagenet_trainer.assets import wordnet_paths
from imagenet_trainer.assets.wordnet_paths import PHYSICAL, ROOT, TABLE, Nouns, outline

WORDNET = Path("/usr/share/wordnet/data.noun")


def write_nouns(path, synsets):
    """Write a data.noun of {key: (name, keys of hypernyms)}; return ids by key."""
    # The root and physical entity have their real ids: the byte offsets of their lines.
    data, ids = bytearray(b" " * 1740), {"entity": ROOT, "physical": PHYSICAL}
    for key, (name, hypernyms) in synsets.items():
        if key == "physical":
            data += b"\n" + b" " * (1930 - len(data) - 1)
        ids[key] = f"n{len(data):08d}"
        pointers = "".join(f" @ {ids[one][1:]} n 0000" for one in hypernyms) + " ~ 00000000 n 0000"
        line = f"{ids[key][1:]} 03 n 01 {name} 0 {len(hypernyms) + 1:03d}{pointers} | a gloss @ \n"
        data += line.encode()
    path.write_bytes(data)
    return ids


SYNSETS = {
    "entity": ("entity", ""),
    "physical": ("physical_entity", ["entity"]),
    "thing": ("thing", ["entity"]),
    "part": ("part", ["thing"]),
    "deep": ("deep_part", ["part"]),
    "animal": ("animal", ["physical"]),
    "pet": ("pet", ["animal"]),
    "canine": ("canine", ["animal"]),
    "wild": ("wild_canine", ["canine"]),
    "dog": ("dog", ["pet", "wild", "deep"]),
    "cat": ("cat", ["canine", "pet"]),
}


@pytest.fixture
def nouns(tmp_path):
    ids = write_nouns(tmp_path / "data.noun", SYNSETS)
    return Nouns(tmp_path / "data.noun"), ids


def test_a_path_goes_through_the_deepest_physical_hypernym(nouns):
    tree, ids = nouns
    path = ["entity", "physical", "animal", "canine", "wild", "dog"]
    assert tree.path(ids["dog"]) == [ids[key] for key in path]


def test_of_equally_deep_hypernyms_the_first_is_taken(nouns):
    tree, ids = nouns
    assert tree.path(ids["cat"])[-2] == ids["canine"]


def test_the_outline_has_each_synset_once_below_its_hypernym(nouns):
    tree, ids = nouns
    lines = outline(tree, [ids["dog"], ids["pet"], ids["cat"]]).splitlines()
    assert [line.replace(line.split()[0] + " ", "") for line in lines] == [
        "entity", " physical entity", "  animal", "   pet", "   canine", "    wild canine",
        "     dog", "    cat",
    ]  # fmt: skip


def test_another_version_of_wordnet_is_refused(nouns, tmp_path, capsys):
    assert wordnet_paths.main([str(tmp_path), "--output", str(tmp_path / "out.txt")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "WordNet 3.0" in error and not (tmp_path / "out.txt").exists()


def test_a_missing_file(tmp_path, capsys):
    assert wordnet_paths.main([str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert "data.noun: No such file" in error and "wordnet-base" in error


@pytest.mark.skipif(not WORDNET.exists(), reason="Debian's wordnet-base is not installed")
def test_the_committed_table_is_up_to_date(tmp_path):
    output = tmp_path / "out.txt"
    assert wordnet_paths.main([str(WORDNET.parent), "--output", str(output)]) == 0
    assert output.read_bytes() == TABLE.read_bytes()
