import json
from dataclasses import replace

import pytest

from imagenet_trainer.data.records.lst import ImageList
from imagenet_trainer.data.records.manifest import (
    ClassName,
    Manifest,
    Rejected,
    Shard,
    class_names,
    folders_of_classes,
    known_synsets,
    load_manifest,
    manifest_path,
    name_classes,
    read_manifest,
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
    # What existing packs say, and what earlier versions of this program can read.
    text = (tmp_path / "train.json").read_text()
    assert json.loads(text)["format"] == 1 and text.endswith("}\n")
    assert manifest_path("a/b.c-1.rec") == "a/b.c-1.json"


def test_the_fingerprint_depends_on_shards_and_classes(tmp_path):
    shard = replace(MANIFEST.shards[0], sha256="00" * 32)
    others = [
        replace(MANIFEST, shards=(shard,)),
        replace(MANIFEST, classes=MANIFEST.classes[::-1]),
        replace(MANIFEST, shards=MANIFEST.shards * 2),
    ]
    assert len({one.fingerprint for one in [MANIFEST, *others]}) == 4
    assert replace(MANIFEST, root="elsewhere", rejected=()).fingerprint == MANIFEST.fingerprint
    write_manifest(tmp_path / "train.json", MANIFEST)
    written = json.loads((tmp_path / "train.json").read_text())
    assert written["fingerprint"] == MANIFEST.fingerprint


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
        json.dumps({**data, "shards": [{**data["shards"][0], "records": 1, "crc32": "?"}]}),
        json.dumps(
            {**data, "shards": [{**data["shards"][0], "records": 1, "crc32": "AAAAAAAAAAA="}]}
        ),
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


def test_what_distinguishes_folders_names_their_classes():
    assert class_names(["cat/images", "dog/images"]) == ["cat", "dog"]
    assert class_names(["train/cat", "train/dog"]) == ["cat", "dog"]
    assert class_names(["train/cat/images", "train/dog/images"]) == ["cat", "dog"]
    assert class_names(["images"]) == ["images"]
    assert class_names(["all/only"]) == ["only"]


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
def test_folders_that_do_not_name_the_classes(lines):
    assert folders_of_classes([images(*lines)]) == [None, None]


@pytest.mark.parametrize(
    "labels", [(0.5,), (-1,), (1e9,), (1, 2), (float("inf"),), (float("nan"),)]
)
def test_labels_that_are_not_classes(labels):
    assert folders_of_classes([images((0, "a/1.jpg"), (*labels, "b/1.jpg"))]) == []
    assert name_classes([]) == ()
