import dataclasses
import json
import re

import pytest
from conftest import one_line_failure

from imagenet_trainer import config, fit
from imagenet_trainer.config import flags, layers, recipes
from imagenet_trainer.errors import InputError


def settings_of(*argv, **variables):
    environment = {f"IMAGENET_TRAINER_{name}": value for name, value in variables.items()}
    words = layers.expanded([*map(str, argv)], environment)
    return flags.parse_or_raise(config.FitSettings, words)


def written(folder, text, name="run.yaml"):
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("argv", [
    [], *(["--recipe", name, "--lr", "0.1"] for name in recipes.RECIPES),
    ["--gpus", "0,1", "--lr-step-epochs", "3,5", "--random-mirror", "0", "--label-smoothing", "0.1",
     "--data-train", "a.rec", "--rgb-std", "1,2,3", "--no-bias-decay", "1"],
    ["--pretrained", "runs/a/model,best", "--when-done", "sh -c 'echo done, at last'"],
    ["--lr-step-epochs", "", "--data-val", ""],  # empty, where the defaults are not
])  # fmt: skip
def test_a_run_is_repeated_from_its_own_config_json(tmp_path, argv):
    before = settings_of(*argv)
    path = written(tmp_path, json.dumps({"settings": dataclasses.asdict(before), "workers": 1}))
    again = dataclasses.replace(settings_of("--config", path), config="")
    assert again == before


def test_the_command_line_overrides_the_file_and_the_file_its_recipe(tmp_path):
    path = written(
        tmp_path, "# mine\nrecipe: resnet50-90\nlr: 1e-2\nbatch-size: 64\nlr_step_epochs: [5, 7]\n"
    )
    found = settings_of(f"--config={path}", "--batch-size", 32)
    assert (found.network, found.num_layers, found.wd) == ("resnet", 50, 1e-4)
    assert (found.lr, found.batch_size, found.lr_step_epochs) == (0.01, 32, (5, 7))


SOURCES = {
    "recipe": ["--recipe", "resnet50-90"],  # --lr 0.1 and others
    "file": "lr: 2",
    "environment": {"LR": "3"},
    "set": ["--set", "lr=4"],
    "command line": ["--lr", "5"],
}


@pytest.mark.parametrize("strongest", range(6))
def test_each_source_overrides_those_before_it(tmp_path, strongest):
    expected = [0.1, 0.1, 2, 3, 4, 5][strongest]
    given = dict(list(SOURCES.items())[:strongest])
    file = ["--config", written(tmp_path, given["file"])] if "file" in given else []
    words = [*given.get("command line", []), *file, *given.get("set", []), *given.get("recipe", [])]
    found = settings_of(*words, **given.get("environment", {}))
    assert (found.lr, found.lr_scale_batch) == (expected, 256 if strongest else 0)


def test_values_of_the_environment_and_of_set(tmp_path):
    path = written(tmp_path, "lr: 2\nwd: 3\nmom: 0.5\n")
    found = settings_of(
        "--set", "gpus=[0, 1]", "wd=null", "--set=random-mirror=false", "--set", "summary=true",
        CONFIG=str(path), RECIPE="resnet50-90", LR_STEP_EPOCHS="7,9", MOM="", FREEZE="a=b",
        RANK="3", HOW="finished",
    )  # fmt: skip
    assert (found.gpus, found.random_mirror, found.summary) == ((0, 1), False, True)
    assert (found.lr, found.wd, found.mom) == (2, 1e-4, 0.5)
    assert (found.num_layers, found.lr_step_epochs, found.freeze) == (50, (7, 9), "a=b")
    assert found.config == str(path)


def test_a_process_that_gets_the_expanded_flags_reads_the_same(tmp_path):
    path = written(tmp_path, "recipe: resnet50-90\nlr: 2\nwd: 3\nbatch-size: 64\n")
    words = ["--config", str(path), "--set", "lr=null", "wd=null", "--set=mom=0.5", "--lr-power=3"]
    variables = {"WD": "7", "LR": "8", "BATCH_SIZE": "32"}
    before = settings_of(*words, **variables)
    environment = {f"IMAGENET_TRAINER_{name}": value for name, value in variables.items()}
    again = settings_of(*layers.expanded(words, environment), **variables)
    assert again == before and (before.lr, before.wd, before.batch_size) == (0.1, 1e-4, 32)


@pytest.mark.parametrize(
    ("argv", "variables", "part"),
    [
        ([], {"LRR": "1"}, "IMAGENET_TRAINER_LRR: no such flag of fit; did you mean IMAGENET_TRAI"),
        ([], {"LR": "fast"}, "IMAGENET_TRAINER_LR: 'fast': "),
        ([], {"SUMMARY": "yes"}, "IMAGENET_TRAINER_SUMMARY: 'yes': must be 0 or 1"),
        ([], {"SET": "lr=1"}, "IMAGENET_TRAINER_SET: no such flag"),
        (["--set", "lr=fast"], {}, "--set lr=fast: 'fast': "),
        (["--set", "optimzer=sgd"], {}, "did you mean optimizer?"),
        (["--set", "lr"], {}, "--set lr: must be NAME=VALUE"),
        (["--set"], {}, "--set: expected"),
    ],
)
def test_a_wrong_value_or_name_is_attributed_to_its_source(argv, variables, part):
    with pytest.raises(InputError) as error:
        settings_of(*argv, **variables)
    assert part in str(error.value) and "\n" not in str(error.value)


def test_show_config_has_every_flag_with_its_source_and_is_a_file_of_flags(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("IMAGENET_TRAINER_WD", "5e-5")
    path = written(tmp_path, "recipe: resnet50-90\nbatch-size: 64\nrandom-mirror: 0\n")
    words = ["--config", str(path), "--set", "lr=0.5"]
    words += ["--when-done", "sh -c 'echo done, at last'"]
    assert fit.main([*words, "--show-config"]) == 0
    listing = capsys.readouterr().out
    sources = dict(re.findall(r"^(\w+): .*  # (.*)$", listing, re.MULTILINE))
    assert sources.keys() == {field.name for field in dataclasses.fields(config.FitSettings)} - {
        "config", "set", "show_config",
    }  # fmt: skip
    found = [sources[name] for name in ("lr", "wd", "batch_size", "num_layers", "when_done", "mom")]
    assert found == ["--set", "IMAGENET_TRAINER_WD", f"--config {path}", "--recipe resnet50-90",
                     "command line", "default"]  # fmt: skip
    again = settings_of("--config", written(tmp_path, listing, "all.yaml"))
    before = settings_of(*words, WD="5e-5")
    own = {"config": "", "set": ()}
    assert dataclasses.replace(again, **own) == dataclasses.replace(before, **own)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("lr: fast", "lr: 'fast': "), ("summary: 2", "summary: 2: "),
        ("optimizer: sdg", "optimizer: 'sdg': "), ("lrr: 1", "did you mean lr?"),
        ("- 1\n- 2", "flag: value"),
        ("a: [1", "line 1"), ("lr: {a: 1}", "lr: "), ("1: 2", "flag: value"), ("", "flag: value"),
        ("!!python/object/apply:os.system [id]", "neither YAML nor JSON"),
        ("lr: 1\nwd: 2\nlr: 3", ", line 3: lr: is there twice"),
        ('{"batch_size": 1, "batch-size": 2}', "batch-size: is there twice"),
        ("a: " + "[" * 500, "neither"), ("x" * (1 << 21), "larger"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_flags_is_refused(tmp_path, text, part):
    path = written(tmp_path, text)
    with pytest.raises(InputError) as error:
        settings_of("--config", path)
    assert (
        str(error.value).startswith(f"--config {path}")
        and part in str(error.value)
        and "\n" not in str(error.value)
    )


def test_files_that_cannot_be_read(tmp_path, capsys):
    fails = one_line_failure(fit.main, "fit", capsys)
    assert "no.yaml: No such file" in fails("--config", str(tmp_path / "no.yaml"))
    binary = tmp_path / "a.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        settings_of("--config", binary)
    with pytest.raises(InputError, match="2 times"):
        settings_of("--config", binary, "--config", binary)
