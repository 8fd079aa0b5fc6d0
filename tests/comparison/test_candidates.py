from pathlib import Path

import pytest
from conftest import message_of

from imagenet_trainer import config
from imagenet_trainer.comparison.candidates import check, find_candidates
from imagenet_trainer.config import flags
from imagenet_trainer.errors import InputError


def candidates(*arguments):
    settings = flags.parse_or_raise(config.CompareSettings, arguments)
    return find_candidates(settings, flags.unknown_arguments(config.ComparisonSettings, arguments))


def refused(*arguments):
    return message_of(candidates, *arguments)


def test_networks_by_name():
    first, second = candidates("--networks", "resnet18, mobilenet", "--lr", "0.3", "--output", "o")
    assert (first.name, second.name) == ("resnet-18", "mobilenet")
    assert first.arguments == (
        "--lr",
        "0.3",
        "--network=resnet18",
        "--model-prefix=o/resnet-18/model",
    )
    assert first.settings.lr == 0.3 and first.run.prefix == "o/resnet-18/model"


def test_a_file_with_flags_for_each_network(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text(
        "# two of them\n\nresnet-18 --lr 0.3 --data-train 'a b.rec'\nresnet-18 --lr 0.1  # less\n"
    )
    first, second = candidates("--networks", str(file), "--lr", "9", "--wd", "0")
    assert (first.name, second.name) == ("resnet-18", "resnet-18-2")
    assert first.settings.lr == 0.3 and first.settings.data_train == "a b.rec"
    assert second.settings.lr == 0.1 and second.settings.wd == 0
    assert second.own_flags == "--lr 0.1"


def test_fractions():
    parts = candidates("--networks", "resnet-18,mobilenet", "--fractions", "1,0.1,0.3,0.1")
    assert [one.name for one in parts] == [
        "resnet-18-0.1", "resnet-18-0.3", "resnet-18-1",
        "mobilenet-0.1", "mobilenet-0.3", "mobilenet-1",
    ]  # fmt: skip
    assert [one.settings.train_fraction for one in parts[:3]] == [0.1, 0.3, 1]
    assert {one.series for one in parts} == {"resnet-18", "mobilenet"}


def test_a_recipe_applies_to_all():
    (one,) = candidates("--networks", "resnet-50", "--recipe", "resnet50-90", "--lr", "0.7")
    assert one.settings.lr == 0.7 and one.settings.num_epochs == 90


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--networks or --runs"),
        (["--networks", "resnet-18", "--runs", "a/model"], "--networks or --runs"),
        (["--networks", " , "], "--networks  , : "),
        (["--networks", "resnet-18,resnet5"], "--networks resnet5: no such network; did you mean"),
        (["--networks", "none.txt"], "--networks none.txt: no such file"),
        (["--networks", "resnet-18", "--network", "vgg"], "--network: "),
        (["--networks", "resnet-18", "--model-prefix=a/b"], "--model-prefix: "),
        (["--networks", "resnet-18", "--find-lr", "9"], "--find-lr: "),
        (["--networks", "resnet-18", "--recipe", "list"], "--recipe: "),
        (["--networks", "resnet-18", "--fractions", "0.1", "--train-fraction", "1"],
         "--train-fraction: --fractions"),
        (["--networks", "resnet-18", "--fractions", "0.1,2"], "--fractions: "),
        (["--runs", "a/model", "--lr", "1"], "--lr: --runs "),
        (["--runs", "a/model", "--fractions", "1"], "--fractions: --runs "),
        (["--runs", "a/model"], "--runs a/model: no finished epoch in a"),
    ],
)  # fmt: skip
def test_refused_flags(arguments, named):
    assert refused(*arguments).startswith(named)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("resnet-18 --lr x", "--lr: 'x': "),
        ("resnet-18 --lrr 1", "--lrr: no such flag; did you mean --lr?"),
        ("resnet-18 --model-prefix x", "--model-prefix: "),
        ("resnet-18 'x", "No closing quotation; "),
        ("--lr 1", "--lr: "),
        ("resnet5", "--networks resnet5: no such network"),
    ],
)
def test_errors_in_a_file_name_the_line(tmp_path, line, named):
    file = tmp_path / "list.txt"
    file.write_text(f"mobilenet\n{line}\n")
    assert refused("--networks", str(file)).startswith(f"{file}, line 2: {named}")


def test_all_use_the_same_images(packed, tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("resnet-18\nmobilenet --data-val other.rec\n")
    common = ["--data-train", str(packed / "train.rec"), "--data-val", str(packed / "val.rec")]
    with pytest.raises(InputError, match=r"^mobilenet: --data-val other.rec: resnet-18 .*val"):
        check(candidates("--networks", str(file), *common))
    prints = check(candidates("--networks", "resnet-18,mobilenet", *common))
    assert prints["train"] != prints["val"]
    with pytest.raises(InputError, match=r"inception-v3: .*--image-shape 3,60,60"):
        check(
            candidates("--networks", "mobilenet,inception-v3", *common, "--image-shape", "3,60,60")
        )
    with pytest.raises(InputError, match=r"none\.rec"):
        check(candidates("--networks", "resnet-18", "--data-train", "none.rec"))


def test_runs_have_names_and_folders_of_their_own(tmp_path):
    prefixes = [str(tmp_path / name / "model") for name in ("x/a", "y/a", "z/a-2")]
    for prefix in prefixes:
        path = Path(f"{prefix}-0001.params")
        path.parent.mkdir(parents=True)
        path.write_bytes(b"parameters")
    assert [one.name for one in candidates("--runs", *prefixes)] == ["a", "a-2", "a-2-2"]
    other = str(tmp_path / "x" / "a" / "other")
    Path(f"{other}-0001.params").write_bytes(b"parameters")
    assert f"--runs {other}: has the folder of {prefixes[0]}" in refused("--runs", *prefixes, other)


def test_runs_for_images_with_several_classes_have_no_rank(tmp_path):
    (tmp_path / "model-0001.params").write_bytes(b"parameters")
    (tmp_path / "config.json").write_text('{"settings": {"multi_label": true}}')
    assert refused("--runs", f"{tmp_path}/model").startswith(f"--runs {tmp_path}/model: is for ")
