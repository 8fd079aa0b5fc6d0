from pathlib import Path

import pytest
from conftest import one_line_failure
from helpers import miniature

from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.manifest import known_synsets, read_manifest
from imagenet_trainer.packing import im2rec
from imagenet_trainer.packing.ilsvrc.command import main

CLASSES = miniature.CLASSES
VAL_CLASS = {
    f"ILSVRC2012_val_{number:08d}.JPEG": wnid
    for number, (_, wnid) in enumerate(miniature.val_truth(), 1)
}


@pytest.fixture
def fails(capsys):
    return one_line_failure(main, "imagenet", capsys)


def rows(name):
    """(label, path) of a list's lines, in their order."""
    images = read_list(f"data/{name}.lst")
    assert sorted(images.indices) == list(range(len(images)))
    return [(int(labels[0]), path) for labels, path in zip(images.labels, images.paths)]


def make(root, *words, code=0):
    assert main(["data", root, "--test-per-class", "1", *words]) == code


# --- a test set that came with the images ------------------------------------------------------


def pets(*places):
    for place in places:
        for number in range(3):
            path = Path("pets", place, f"{number}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"never decoded, and different for each file: {path}")


def test_a_test_set_in_class_folders_is_listed_and_training_keeps_its_images(here, capsys):
    pets("train/cat", "train/dog", "val/cat", "val/dog", "test/cat", "test/dog")
    make("pets")
    assert sorted(rows("test")) == [(c, f"{n}/{i}.jpg") for c, n in enumerate(("cat", "dog"))
                                    for i in range(3)]  # fmt: skip
    assert len(rows("train")) == 6
    output = capsys.readouterr().out
    assert "test: pets/test: 6 images of 2 classes, 3 in each" in output
    assert "data/test.lst: 6 images of 2 classes, 3 in each\n" in output
    assert "python tools/im2rec.py data/test pets/test\n" in output


def test_a_test_set_without_classes_is_counted_only(here, capsys):
    pets("train/cat", "train/dog", "val/cat", "val/dog", "test")
    make("pets")
    assert len(rows("train")) == 4 and len(rows("test")) == 2
    assert "test: pets/test: 3 images without labels" in capsys.readouterr().out


def test_one_folder_of_validation_images_is_a_class(here, capsys):
    pets("train/cat", "train/dog", "val/cat")
    Path("pets/test.tar").write_bytes(b"no tar" * 200)
    make("pets", code=1)
    assert {label for label, _ in rows("val")} == {0} and len(rows("test")) == 2
    assert "test: not used: pets/test.tar: not a tar" in capsys.readouterr().out
    make("pets", "--classes", "dog", code=1)  # there is no val.lst
    assert "warning: val: no images of dog" in capsys.readouterr().err


def test_a_class_may_be_called_test(here):
    pets("test", "exam")
    make("pets", "--val", "none")
    assert len(rows("train")) == 4
    assert {path.split("/")[0] for _, path in rows("test")} == {"test", "exam"}


# --- ILSVRC2012 in its forms -------------------------------------------------------------------


@pytest.mark.parametrize("form", ["downloads", "flat", "sorted", "kaggle"])
def test_every_form_gives_the_same_lists(here, form):
    getattr(miniature, f"write_{form}")("set")
    make("set")
    train, val, test = rows("train"), rows("val"), rows("test")
    assert all(path.startswith(f"{CLASSES[label]}/") for label, path in train + test)
    assert {path for _, path in train + test} == set(miniature.train_files())
    assert len(train) == 50 and sorted(label for label, _ in test) == list(range(10))
    names = {Path(path).name: label for label, path in val}
    assert names == {name: CLASSES.index(wnid) for name, wnid in VAL_CLASS.items()}
    # The same order and the same choice in every form.
    assert train[0] == (7, "n03794056/n03794056_15.JPEG")
    assert test[0] == (4, "n02346627/n02346627_13.JPEG")
    assert Path(val[0][1]).name == "ILSVRC2012_val_00000011.JPEG"
    assert Path("data/classes.txt").read_text().splitlines()[1] == "n01751748 sea snake"


def test_the_output(here, capsys):
    miniature.write_downloads("set")
    make("set")
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.splitlines() == [
        "train: set/ILSVRC2012_img_train.tar",
        "train: 60 images of 10 classes, 6 in each",
        "val: set/ILSVRC2012_img_val.tar",
        "val: 20 images of 10 classes, 2 in each, labels from set/ILSVRC2012_devkit_t12.tar.gz",
        "classes: 10, 10 of them in ILSVRC2012, from 0 n01735189 garter snake, grass snake to 9 "
        "n09193705 alp",
        "data/train.lst: 50 images of 10 classes, 5 in each",
        "data/val.lst: 20 images of 10 classes, 2 in each",
        "data/test.lst: 10 images of 10 classes, 1 in each, taken out of training with seed 100",
        "data/classes.txt: 10 classes",
        "To pack them, run",
        "python tools/im2rec.py data/train set/ILSVRC2012_img_train.tar",
        "python tools/im2rec.py data/val set/ILSVRC2012_img_val.tar",
        "python tools/im2rec.py data/test set/ILSVRC2012_img_train.tar",
    ]


def test_dry_run(here, capsys):
    miniature.write_kaggle("set")
    make("set", "--dry-run")
    assert "data/train.lst: would contain 50 images" in capsys.readouterr().out
    assert not Path("data").exists()


def test_the_lists_can_be_packed(here):
    """Through the packing tool: classes are in the manifest, also those of the flat folder."""
    miniature.write_flat("set")
    make("set")
    for name, root in (("train", "train"), ("val", "val"), ("test", "train")):
        assert im2rec.main([f"data/{name}", f"set/{root}", "--pass-through"]) == 0
        manifest = read_manifest(f"data/{name}.rec")
        assert [one.id for one in manifest.classes] == CLASSES
        assert len(set(manifest.counts)) == 1


def test_the_flat_validation_set_alone_keeps_its_class_names(here):
    miniature.write_flat("set")
    make("set", "--train", "none")
    assert sorted(path.name for path in Path("data").iterdir()) == ["classes.txt", "val.lst"]
    assert im2rec.main(["data/val", "set/val", "--pass-through"]) == 0
    classes = read_manifest("data/val.rec").classes
    assert [one.id for one in classes] == CLASSES and classes[9].name == "alp"


# --- choices -----------------------------------------------------------------------------------


def test_subsets_keep_the_sorted_order_and_the_test_set(here):
    miniature.write_kaggle("set")
    make("set")
    everything = {path for _, path in rows("test")}
    make("set", "--classes", f"{CLASSES[7]},{CLASSES[2]}", "--per-class", "3")
    assert sorted(rows("train"))[0][1].startswith(CLASSES[2])
    assert [label for label, _ in sorted(rows("train"))] == [0, 0, 0, 1, 1, 1]
    assert {Path(path).name: label for label, path in rows("val")} == {
        name: (CLASSES[2], CLASSES[7]).index(wnid)
        for name, wnid in VAL_CLASS.items()
        if wnid in (CLASSES[2], CLASSES[7])
    }
    assert {path for _, path in rows("test")} < everything
    assert len(Path("data/classes.txt").read_text().splitlines()) == 2


def test_classes_from_a_file(here):
    miniature.write_kaggle("set")
    Path("some.txt").write_text(f"{CLASSES[3]} with a name, and more\n\n{CLASSES[1]}\n")
    make("set", "--classes", "some.txt")
    some = Path("data/classes.txt").read_text()
    make("set", "--classes", "data/classes.txt")
    assert Path("data/classes.txt").read_text() == some
    assert [line.split()[0] for line in some.splitlines()] == [CLASSES[1], CLASSES[3]]


def test_seeds_and_order(here):
    miniature.write_flat("set")
    make("set")
    first, chosen = rows("train"), set(rows("test"))
    make("set", "--seed", "1")
    assert rows("train") != first and set(rows("test")) != chosen
    make("set", "--no-shuffle")
    assert rows("train") == sorted(first) and set(rows("test")) == chosen


def test_blacklist(here, capsys):
    miniature.write_downloads("set")
    Path("bad.txt").write_text("3\n17\n")
    make("set", "--blacklist", "bad.txt")
    assert "val: 2 images of bad.txt excluded" in capsys.readouterr().out
    left = {path for _, path in rows("val")}
    assert set(VAL_CLASS) - left == {f"ILSVRC2012_val_{n:08d}.JPEG" for n in (3, 17)}


# --- other images ----------------------------------------------------------------------------


def test_cats_and_dogs_in_one_folder(here):
    names = [f"{kind}.{number}.jpg" for kind in ("dog", "cat") for number in range(20)]
    miniature.write_files("pets/train", dict.fromkeys(names, b"x"))
    make("pets", "--label-pattern", r"^(\w+)\.", "--val-per-class", "4")
    train, val, test = rows("train"), rows("val"), rows("test")
    assert (len(train), len(val), len(test)) == (30, 8, 2)
    assert sorted(path for _, path in train + val + test) == sorted(names)
    assert all(path.startswith(("cat", "dog")[label]) for label, path in train + val + test)
    assert Path("data/classes.txt").read_text() == "cat\ndog\n"


def test_any_folders_with_a_share_for_validation(here):
    sizes = {"ant": 10, "bee": 20}
    names = [f"{name}/{k}.png" for name, size in sizes.items() for k in range(size)]
    miniature.write_files("zoo", dict.fromkeys(names, b"x"))
    assert main(["data", "zoo", "--test-per-class", "0", "--val-ratio", ".2"]) == 0
    assert sorted(label for label, _ in rows("val")) == [0] * 2 + [1] * 4
    assert sorted(path for _, path in rows("train") + rows("val")) == sorted(names)
    assert not Path("data/test.lst").exists()


def test_a_share_leaves_each_class_an_image_for_training(here, capsys):
    names = ["ant/0.png", *(f"bee/{k}.png" for k in range(5))]
    miniature.write_files("zoo", dict.fromkeys(names, b"x"))
    assert main(["data", "zoo", "--test-per-class", "0", "--val-ratio", ".8"]) == 1
    assert [label for label, _ in rows("val")] == [1] * 4
    assert "val: no images of ant" in capsys.readouterr().err


def test_a_tar_of_folders(here):
    names = [f"zoo/{name}/{k}.jpg" for name in ("ant", "bee") for k in range(4)]
    Path("zoo.tar").write_bytes(miniature.tar_of(dict.fromkeys(names, b"x")))
    make("zoo.tar", "--val", "none")
    assert sorted(path for _, path in rows("train") + rows("test")) == names
    assert Path("data/classes.txt").read_text() == "ant\nbee\n"


# --- errors ------------------------------------------------------------------------------------


def test_flat_validation_without_labels(here, fails):
    miniature.write_kaggle("set")
    Path("set/LOC_val_solution.csv").unlink()
    message = fails("data", "set", "--test-per-class", "1")
    assert "20 images" in message and "--val-labels" in message and not Path("data").exists()


def test_validation_sorted_by_the_wrong_numbering(here, fails):
    """The classic error: the devkit's number used as an index into the sorted ids."""
    miniature.write_sorted("set")
    order = list(known_synsets())
    for number, (devkit_number, wnid) in enumerate(miniature.FIRST, 1):
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        wrong = Path("set/val") / order[devkit_number - 1] / name
        wrong.parent.mkdir(exist_ok=True)
        (Path("set/val") / wnid / name).rename(wrong)
    message = fails("data", "set")
    assert message.startswith("set/val: ILSVRC2012_val_00000001 has class ")
    assert "the devkit's number 490" in message


def test_validation_sorted_otherwise_than_labelled(here, fails):
    miniature.write_sorted("set")
    miniature.write_files("set", miniature.devkit_files())
    name = "ILSVRC2012_val_00000012.JPEG"
    (Path("set/val") / VAL_CLASS[name] / name).rename(f"set/val/{CLASSES[0]}/{name}")
    message = fails("data", "set")
    assert message.startswith("set/val: ILSVRC2012_val_00000012 is in n01735189, ")
    assert "(1 of 20 differ)" in message


def test_devkit_and_csv_that_disagree(here, fails):
    miniature.write_kaggle("set")
    miniature.write_files("set", miniature.devkit_files())
    make("set")
    path = Path("set/LOC_val_solution.csv")
    path.write_text(path.read_text().replace("00000012,n03794056", "00000012,n01735189", 1))
    message = fails("data", "set")
    assert "LOC_val_solution.csv: ILSVRC2012_val_00000012 has class n01735189, but n03794056" in (
        message
    )
    assert "--val-labels" in message


def test_validation_classes_that_training_lacks(here, fails):
    miniature.write_flat("set")
    for path in list(Path("set/train/n09193705").iterdir()):
        path.unlink()
    message = fails("data", "set")
    assert message.startswith("set/val: class n09193705 ") and "--classes" in message
    make("set", "--classes", ",".join(CLASSES[:9]))
    assert len(rows("val")) == 18


def test_missing_labels(here, fails):
    miniature.write_flat("set")
    Path("set/val/ILSVRC2012_val_00000021.JPEG").touch()
    message = fails("data", "set")
    assert message.startswith(
        "set/val: ILSVRC2012_val_00000021.JPEG: no label in set/ILSVRC2012_devkit_t12; "
    )


def test_images_beside_the_class_folders(here, fails):
    miniature.write_flat("set")
    Path("set/train/cat.jpg").touch()
    message = fails("data", "set")
    assert message.startswith("set/train: cat.jpg: ") and "--label-pattern" in message
    message = fails("data", "set", "--label-pattern", "(n[0-9]{8})_")
    assert message.startswith("set/train: cat.jpg: ") and "change --label-pattern" in message
    message = fails("data", "set", "--exts", ".gif")
    assert message.startswith("set/train: ") and "--exts" in message


def test_too_few_images_for_a_test_set(here, fails):
    miniature.write_flat("set")
    message = fails("data", "set")
    assert message.startswith("--test-per-class 50: class n01735189 has only 6 ")
    message = fails("data", "set/train", "--test-per-class", "3", "--val-per-class", "3")
    assert message.startswith("--val-per-class 3: class n01735189 has only 3 ")


def test_no_validation_images(here, fails):
    miniature.write_flat("set")
    assert "--val-per-class 50" in fails("data", "set/train")
    message = fails("data", "set/train", "--train", "none")
    assert message.startswith("--train none: ") and "--val" in message
    assert "omit --val-ratio" in fails("data", "set", "--val-ratio", ".1")
    message = fails("data", "set", "--val-ratio", ".1", "--val-per-class", "1")
    assert message.startswith("--val-per-class --val-ratio: ")
    message = fails("data", "set", "--train", "none", "--val-per-class", "1")
    assert message.startswith("--val-per-class: ") and message.endswith("give --train")
    message = fails("data", "set", "--train", "set")
    assert message.startswith("--train set --val set/val: ")


def test_paths_that_do_not_exist(here, fails):
    miniature.write_flat("set")
    assert fails("data", "gone").startswith("root gone: ")
    for flag in ("--train", "--val", "--val-labels", "--blacklist"):
        assert fails("data", "set", flag, "gone").startswith(f"{flag} gone: ")


def test_wrong_classes(here, fails):
    miniature.write_flat("set")
    message = fails("data", "set", "--classes", "n02105856")
    assert message.startswith("--classes n02105856: ")
    assert message.endswith("did you mean n02105855?")
    Path("empty.txt").touch()
    assert "empty.txt: " in fails("data", "set", "--classes", "empty.txt")
    message = fails("data", "set", "--classes", "gone.txt")
    assert message.startswith("--classes gone.txt: ") and "no file" in message
    assert fails("data", "set", "--classes", "n01751748,x").endswith("class x; omit it")
    assert fails("data", "set", "--classes", ",").startswith("--classes ,: ")


def test_a_blacklist_of_other_images(here, fails):
    miniature.write_flat("set")
    Path("bad.txt").write_text("49999\n")
    assert fails("data", "set", "--blacklist", "bad.txt").startswith("--blacklist bad.txt: ")


def test_lists_of_an_earlier_run_give_a_warning(here, capsys):
    miniature.write_flat("set")
    make("set")
    capsys.readouterr()
    assert main(["data", "set", "--test-per-class", "0"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("imagenet: warning: data/test.lst: ") and error.count("\n") == 1


def test_warnings_do_not_stop_it(here, capsys):
    miniature.write_sorted("set")
    for path in list(Path(f"set/val/{CLASSES[0]}").iterdir()):
        path.unlink()
    Path(f"set/train/{CLASSES[0]}/{CLASSES[1]}_1.JPEG").touch()
    make("set", "--per-class", "6", code=1)
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 3
    assert warnings[0].endswith("n01735189/n01751748_1.JPEG")
    assert "--per-class 6: 9 classes have fewer images, n01751748 5" in warnings[1]
    assert warnings[2] == "imagenet: warning: val: no images of n01735189"
    assert len(rows("train")) == 51


def test_images_that_are_in_two_sets(here, capsys):
    pets("train/cat", "train/dog", "val/cat", "val/dog", "test/cat", "test/dog")
    for split, name in (("val", "0.jpg"), ("val", "new.jpg"), ("test", "2.jpg")):
        Path(f"pets/{split}/cat/{name}").write_bytes(Path("pets/train/cat/0.jpg").read_bytes())
    Path("pets/test/dog/1.jpg").unlink()
    Path("pets/test/dog/1.jpg").symlink_to(Path("pets/val/dog/1.jpg").absolute())
    make("pets", code=1)
    warnings = capsys.readouterr().err.splitlines()
    expected = (("val", "train", "cat/0.jpg"), ("test", "val", "dog/1.jpg"))
    assert len(warnings) == len(expected)
    for warning, (one, other, path) in zip(warnings, expected):
        assert f"warning: {one}: contains 1 image of {other} " in warning and path in warning


@pytest.mark.parametrize(
    "words, reason",
    [
        (["--label-pattern", "("], "--label-pattern: '(': must be a regular expression"),
        (["--label-pattern", "cat"], "--label-pattern: 'cat': must have one group"),
        (["--test-per-class", "-1"], "--test-per-class: '-1': "),
        (["--val-ratio", "1"], "--val-ratio: '1': "),
    ],
)
def test_wrong_values_of_flags(words, reason, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["data", "set", *words])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and reason in error and error.count("\n") == 1


# --- Tiny ImageNet -----------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--val-labels", "tiny/val/val_annotations.txt"]])
def test_tiny_imagenet(here, capsys, words):
    ids = ["n01443537", "n01629819", "n01641577"]
    for name in [f"train/{one}/images/{one}_{n}" for one in ids for n in range(2)] + [
        f"val/images/val_{n}" for n in range(6)
    ]:
        path = Path("tiny", f"{name}.JPEG")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    lines = [f"val_{n}.JPEG\t{ids[n % 3]}\t0\t0\t62\t62\n" for n in range(6)]
    Path("tiny/val/val_annotations.txt").write_text("".join(lines))
    assert main(["data", "tiny", "--test-per-class", "0", *words]) == 0
    assert sorted(rows("val")) == sorted((n % 3, f"images/val_{n}.JPEG") for n in range(6))
    assert sorted(rows("train"))[0] == (0, "n01443537/images/n01443537_0.JPEG")
    assert Path("data/classes.txt").read_text().splitlines()[1].startswith("n01629819")
    Path("tiny/val/val_annotations.txt").write_text("".join([*lines, lines[0]]))
    capsys.readouterr()
    assert main(["data", "tiny", "--test-per-class", "0"]) == 2
    assert "val_annotations.txt: line 7: " in capsys.readouterr().err


def test_left_out_extensions_are_a_warning(here, capsys):
    pets("train/cat", "train/dog", "val/cat", "val/dog")
    for n in range(3):
        Path(f"pets/train/dog/{n}.jpg").rename(f"pets/train/dog/{n}.gif")
        Path(f"pets/val/dog/{n}.jpg").unlink()
    assert main(["data", "pets", "--test-per-class", "0"]) == 1
    error = capsys.readouterr().err
    assert "3 images with other extensions (.gif 3)" in error and "--exts" in error
