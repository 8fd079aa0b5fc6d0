import pytest

from imagenet_trainer import config
from imagenet_trainer.comparison.candidates import check, entrants
from imagenet_trainer.config import flags
from imagenet_trainer.errors import InputError


def found(*words):
    settings = flags.parse_or_raise(config.CompareSettings, words)
    return entrants(settings, flags.unknown_arguments(config.ComparisonSettings, words))


def refused(*words):
    with pytest.raises(InputError) as caught:
        found(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_names():
    first, second = found("--networks", "resnet18, mobilenet", "--lr", "0.3", "--output", "o")
    assert (first.name, second.name) == ("resnet-18", "mobilenet")
    assert first.words == ("--lr", "0.3", "--network=resnet18", "--model-prefix=o/resnet-18/model")
    assert first.settings.lr == 0.3 and first.run.prefix == "o/resnet-18/model"


def test_a_file_with_flags_of_its_own(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text(
        "# two of them\n\nresnet-18 --lr 0.3 --data-train 'a b.rec'\nresnet-18 --lr 0.1  # less\n"
    )
    first, second = found("--networks", str(file), "--lr", "9", "--wd", "0")
    assert (first.name, second.name) == ("resnet-18", "resnet-18-2")
    assert first.settings.lr == 0.3 and first.settings.data_train == "a b.rec"
    assert second.settings.lr == 0.1 and second.settings.wd == 0
    assert second.own_flags == "--lr 0.1"


def test_fractions():
    parts = found("--networks", "resnet-18,mobilenet", "--fractions", "1,0.1,0.3,0.1")
    assert [one.name for one in parts] == [
        "resnet-18-0.1", "resnet-18-0.3", "resnet-18-1",
        "mobilenet-0.1", "mobilenet-0.3", "mobilenet-1",
    ]  # fmt: skip
    assert [one.settings.train_fraction for one in parts[:3]] == [0.1, 0.3, 1]
    assert {one.series for one in parts} == {"resnet-18", "mobilenet"}


def test_a_recipe_is_for_all():
    (one,) = found("--networks", "resnet-50", "--recipe", "resnet50-90", "--lr", "0.7")
    assert one.settings.lr == 0.7 and one.settings.num_epochs == 90


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--networks or --runs"),
        (["--networks", "resnet-18", "--runs", "a/model"], "--networks or --runs"),
        (["--networks", " , "], "names no network"),
        (["--networks", "resnet-18,resnet5"], "--networks resnet5: no such network; did you mean"),
        (["--networks", "none.txt"], "none.txt: no such file"),
        (["--networks", "resnet-18", "--network", "vgg"], "--network: a comparison decides"),
        (["--networks", "resnet-18", "--model-prefix=a/b"], "--model-prefix: a comparison"),
        (["--networks", "resnet-18", "--find-lr", "9"], "--find-lr: a comparison decides"),
        (["--networks", "resnet-18", "--recipe", "list"], "--recipe: a comparison decides"),
        (["--networks", "resnet-18", "--fractions", "0.1", "--train-fraction", "1"],
         "--train-fraction: --fractions says it"),
        (["--networks", "resnet-18", "--fractions", "0.1,2"], "up to 1"),
        (["--runs", "a/model", "--lr", "1"], "--lr: --runs are trained already"),
        (["--runs", "a/model", "--fractions", "1"], "--fractions: --runs are trained already"),
        (["--runs", "a/model"], "--runs a/model: no finished epoch in a"),
    ],
)  # fmt: skip
def test_refusals(words, told):
    assert told in refused(*words)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("resnet-18 --lr x", "line 2: --lr: 'x': not a number"),
        ("resnet-18 --lrr 1", "line 2: --lrr: no such flag; did you mean --lr?"),
        ("resnet-18 --model-prefix x", "line 2: --model-prefix: a comparison decides"),
        ("resnet-18 'x", "line 2: No closing quotation; close its quotes"),
        ("--lr 1", "line 2: --lr: a line begins with the name of a network"),
        ("resnet5", "line 2: --networks resnet5: no such network"),
    ],
)
def test_mistakes_in_a_file(tmp_path, line, told):
    file = tmp_path / "list.txt"
    file.write_text(f"mobilenet\n{line}\n")
    assert told in refused("--networks", str(file))


def test_all_have_the_same_images(packed, tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("resnet-18\nmobilenet --data-val other.rec\n")
    common = ["--data-train", str(packed / "train.rec"), "--data-val", str(packed / "val.rec")]
    with pytest.raises(InputError, match=r"mobilenet: --data-val other.rec: resnet-18 has .*val"):
        check(found("--networks", str(file), *common))
    prints = check(found("--networks", "resnet-18,mobilenet", *common))
    assert prints["train"] != prints["val"]
    with pytest.raises(InputError, match=r"inception-v3: .*--image-shape 3,60,60"):
        check(found("--networks", "mobilenet,inception-v3", *common, "--image-shape", "3,60,60"))
    with pytest.raises(InputError, match="run first"):
        check(found("--networks", "resnet-18", "--data-train", "none.rec"))
