import pytest

from imagenet_trainer import config
from imagenet_trainer.config import flags


def parse(*argv, kind=config.FitSettings):
    return flags.parse(kind, list(argv), "fit", "Train.")


def error_of(capsys, *argv):
    """The one line of a refused command line."""
    with pytest.raises(SystemExit) as caught:
        parse(*argv)
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("fit: error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["--batch-sise", "3"], ["--batch-sise", "did you mean --batch-size"]),
        (["--batch-size", "0"], ["--batch-size", "'0'", "1 or more"]),
        (["--batch-size", "many"], ["--batch-size", "'many'", "integer"]),
        (["--gpus", "0,a"], ["--gpus", "'0,a'"]),
        (["--image-shape", "1,28,28"], ["--image-shape", "RGB"]),
        (["--image-shape", "28,28"], ["--image-shape", "3,height,width"]),
        (["--rgb-std", "0,1,1"], ["--rgb-std", "above 0"]),
        (["--optimizer", "sdg"], ["--optimizer", "'sdg'", "sgd"]),
        (["--lr", "-1"], ["--lr", "above 0"]),
        (["--wd", "1e-39"], ["--wd", "must be 0, or"]),
        (["--lr", "nan"], ["--lr", "finite"]),
        (["--lr", "inf"], ["--lr", "finite"]),
        (["--lr-step-epochs", "3,inf"], ["--lr-step-epochs", "finite"]),
        (["--random-mirror", "yes"], ["--random-mirror", "0 or 1"]),
        (["--top-k", "1"], ["--top-k", "1", "2 or more"]),
        (["--ema", "1"], ["--ema", "'1'", "below 1"]),
        (["--rgb-mean", "0.485,0.456,0.406"], ["--rgb-mean", "0-255", "123.675,116.28,103.53"]),
        (["--rgb-std", ".229,.224,.225"], ["--rgb-std", "0-255", "58.395,57.12,57.375"]),
        (["--image-shape", "224"], ["--image-shape", "'224'", "3,height,width"]),
        (["--optimizer", "lars"], ["--optimizer", "'lars'", "use lbsgd"]),
        (["--optimizer", "rprop"], ["--optimizer", "'rprop'", "sgd, nag"]),
        (["--batch-size"], ["--batch-size", "expected one argument"]),
        (["--batch", "3"], ["--batch: no such flag"]),
        (["--batch-size", "1.5"], ["'1.5': must be an integer"]),
        (["3"], ["error: 3: "]),
        (["-b", "3"], ["-b: no such flag; did you mean --batch-size?"]),
        (["--weight-decay=3"], ["--weight-decay=3: no such flag; did you mean --wd?"]),
        (["--image-shape", "3x2x2"], ["'3x2x2': must be comma-separated integers"]),
        (["--num-epochs", "2000000"], ["must be from 1 to 1000000"]),
        (["--train-fraction", "2"], ["'2': must be above 0, at most 1"]),
        (["runs/a"], ["runs/a: unexpected argument; did you mean --model-prefix runs/a?"]),
        (["resnet"], ["resnet: unexpected argument ("]),
    ],
)
def test_an_error_is_one_line(capsys, argv, parts):
    line = error_of(capsys, *argv)
    assert all(part in line for part in parts)


@pytest.mark.parametrize(
    ("argv", "on"), [([], False), (["0"], False), (["1"], True), (["--lr", "1"], True)]
)
def test_a_switch_with_and_without_its_number(argv, on):
    flag = "--use-imagenet-data-augmentation"
    settings = parse(*([flag] if argv else []), *argv)
    assert settings.use_imagenet_data_augmentation is on


def test_values_of_a_flag_that_is_given_twice_are_joined():
    assert parse("--runs", "a", "b,c", "--runs", "d", kind=config.CompareSettings).runs == (
        "a", "b", "c", "d",
    )  # fmt: skip
    words = ["--set", "lr=1", "--set", "wd=2"]
    assert parse(*words).set == ("lr=1", "wd=2") and flags.given(config.FitSettings, words)


def test_images_in_two_places(capsys):
    with pytest.raises(SystemExit):
        parse("a/a.jpg", "--top-k", "3", "a/b.jpg", kind=config.PredictSettings)
    error = capsys.readouterr().err
    assert "a/b.jpg: unexpected argument; give all" in error and "--model-prefix" not in error


def test_no_steps():
    assert parse("--lr-step-epochs", "").lr_step_epochs == ()


@pytest.mark.parametrize(
    ("text", "numbers"), [("7", (7,)), ("1-3", (1, 2, 3)), ("9,1-2,2", (1, 2, 9)), ("all", ())]
)
def test_epochs(text, numbers):
    assert parse("--epochs", text, kind=config.EvaluateSettings).epochs == numbers


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("3-1", "1-3"),
        ("x", "integer"),
        ("-1", "integer"),
        ("1,,2", "integer"),
        ("1-9999999999", "from 0 to"),
    ],
)
def test_invalid_epochs(text, reason, capsys):
    with pytest.raises(SystemExit):
        parse("--epochs", text, kind=config.EvaluateSettings)
    assert reason in capsys.readouterr().err


def test_help_shows_defaults(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    for default in ("123.68,116.779,103.939", "30,60", "1e-05,10", "0", "0.1", "data/val.rec"):
        assert f"(default: {default})" in text
    assert "None" not in text and "(default: )" not in text and "False" not in text
