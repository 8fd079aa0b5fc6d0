import json
from dataclasses import replace

import pytest

from imagenet_trainer.data.records.lst import ImageList
from imagenet_trainer.data.records.manifest import (
    ClassName,
    Manifest,
    Rejected,
    Shard,
    folders_of_classes,
    known_synsets,
    load_manifest,
    manifest_path,
    name_classes,
    read_manifest,
    take_classes,
    write_manifest,
)
from imagenet_trainer.errors import InputError

MANIFEST = Manifest(
    classes=(ClassName("cat", "cat"), ClassName("n02123045", "tabby, tabby cat")),
    counts=(3, 4),
    shards=(Shard("train.rec", 100, "ab" * 32, 7),),
    rejected=(Rejected("cat/caf\udce9.jpg", "damaged or cut short"),),
    root="pictures",
    list_sha256="cd" * 32,
    settings={"resize": 256, "encoding": ".jpg", "pass_through": False},
)


def images(*lines):
    return ImageList(
        range(len(lines)),
        [tuple(map(float, labels)) for *labels, _ in lines],
        [p for *_, p in lines],
    )


def test_written_and_read_back(tmp_path):
    assert read_manifest(tmp_path / "train.rec") is None
    write_manifest(tmp_path / "train.json", MANIFEST)
    assert read_manifest(tmp_path / "train.rec") == MANIFEST
    assert read_manifest(tmp_path / "train-00003-of-00008.rec") == MANIFEST
    assert (MANIFEST.num_classes, MANIFEST.records) == (2, 7)
    assert manifest_path("a/b.c-1.rec") == "a/b.c-1.json"


def test_the_fingerprint_is_that_of_shards_and_classes(tmp_path):
    shard = replace(MANIFEST.shards[0], sha256="00" * 32)
    others = [
        replace(MANIFEST, shards=(shard,)),
        replace(MANIFEST, classes=MANIFEST.classes[::-1]),
        replace(MANIFEST, shards=MANIFEST.shards * 2),
    ]
    assert len({one.fingerprint for one in [MANIFEST, *others]}) == 4
    assert replace(MANIFEST, root="elsewhere", rejected=()).fingerprint == MANIFEST.fingerprint
    write_manifest(tmp_path / "train.json", MANIFEST)
    told = json.loads((tmp_path / "train.json").read_text())
    assert told["fingerprint"] == MANIFEST.fingerprint


def test_a_damaged_manifest(tmp_path):
    path = tmp_path / "train.json"
    write_manifest(path, MANIFEST)
    text = path.read_text()
    data = json.loads(text)
    shard = {**data["shards"][0], "bytes": "many"}
    for damaged in (
        text[: len(text) // 2],
        "[]",
        "{}",
        json.dumps({**data, "format": 99}),
        json.dumps({**data, "classes": [{"id": "cat"}]}),
        json.dumps({**data, "shards": [{}]}),
        json.dumps({**data, "shards": [shard]}),
        json.dumps({**data, "settings": None}),
    ):
        path.write_text(damaged)
        with pytest.raises(InputError, match=r"train\.json: .*pack again"):
            read_manifest(tmp_path / "train.rec")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"train\.json: .*pack again"):
        load_manifest(path)
    with pytest.raises(InputError, match=r"gone\.json: No such file"):
        load_manifest(tmp_path / "gone.json")


def test_imagenets_classes():
    synsets = known_synsets()
    assert len(synsets) == 1000
    assert list(synsets) == sorted(synsets)
    assert list(synsets.items())[281] == ("n02123045", "tabby, tabby cat")


def test_folders_name_the_classes():
    lines = [(1, "train/n02123045/1.jpg"), (0, "train/ant/1.jpg"), (1, "./train/n02123045/2.jpg")]
    folders = folders_of_classes([images(*lines)])
    assert folders == ["ant", "n02123045"]
    assert name_classes(folders) == (
        ClassName("ant", "ant"),
        ClassName("n02123045", "tabby, tabby cat"),
    )


def test_chunks_name_the_classes_together():
    chunks = [images((2, "c/1.jpg")), images((0, "a/1.jpg"), (2, "c/2.jpg"))]
    assert folders_of_classes(chunks) == ["a", None, "c"]
    assert name_classes([None, "c"])[0] == ClassName("class_0", "class_0")


def test_nested_folders():
    lines = [(0, "x/1.jpg"), (1, "x/y/1.jpg"), (2, "z/1.jpg")]
    assert folders_of_classes([images(*lines)]) == ["x", "x/y", "z"]
    assert folders_of_classes([images((0, "all/only/1.jpg"))]) == ["only"]


@pytest.mark.parametrize(
    "lines",
    [
        [(0, "1.jpg"), (1, "2.jpg")],  # one folder, several classes
        [(0, "a/1.jpg"), (0, "b/1.jpg"), (1, "c/1.jpg")],  # one class, several folders
        [(0, "1.jpg"), (1, "a/1.jpg")],  # the root itself
    ],
)
def test_folders_that_name_no_classes(lines):
    assert folders_of_classes([images(*lines)]) == [None, None]


@pytest.mark.parametrize("labels", [(0.5,), (-1,), (1e9,), (1, 2)])
def test_labels_that_are_no_classes(labels):
    assert folders_of_classes([images((0, "a/1.jpg"), (*labels, "b/1.jpg"))]) == []
    assert name_classes([]) == ()


def test_validation_takes_the_classes_of_training():
    reference = name_classes(["ant", "bee", "cat"])
    for folders in (["ant", "bee", "cat"], ["ant", None, "cat"], ["ant"], [None] * 3):
        assert take_classes(folders, reference, "val.lst", "train.json") == reference


@pytest.mark.parametrize(
    "folders, message",
    [
        (["ant", "cat"], "val.lst: class 1 is cat, but bee in train.json; "),
        (["ant", "bee", "cat", "dog"], "val.lst: class 3 is dog, but train.json has 3 classes; "),
        ([None] * 4, "val.lst: class 3 is without a name, but train.json has 3 classes; "),
    ],
)
def test_other_classes_are_an_error(folders, message):
    with pytest.raises(InputError) as caught:
        take_classes(folders, name_classes(["ant", "bee", "cat"]), "val.lst", "train.json")
    assert message in str(caught.value)
    assert "--classes-from none" in str(caught.value)


def test_folders_that_are_not_utf_8_are_classes_with_names():
    # As os.listdir gives the name of a folder of an old archive.
    (named,) = name_classes(["K\udce4tzchen"])
    assert named == ClassName("K\\xe4tzchen", "K\\xe4tzchen")
    assert take_classes(["K\udce4tzchen"], [named], "a.lst", "b.json") == (named,)
