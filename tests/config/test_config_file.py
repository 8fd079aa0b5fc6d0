import dataclasses
import json

import pytest
from conftest import one_line_error, run

from imagenet_trainer import config
from imagenet_trainer.config import flags, recipes
from imagenet_trainer.errors import InputError


def settings_of(*argv):
    return flags.parse_or_raise(config.FitSettings, recipes.expanded([*map(str, argv)]))


def written(folder, text, name="run.yaml"):
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("argv", [
    [], *(["--recipe", name, "--lr", "0.1"] for name in recipes.RECIPES),
    ["--gpus", "0,1", "--lr-step-epochs", "3,5", "--random-mirror", "0", "--label-smoothing", "0.1",
     "--data-train", "a.rec", "--rgb-std", "1,2,3", "--no-bias-decay", "1"],
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


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("lr: fast", "--lr"), ("lrr: 1", "did you mean lr?"), ("- 1\n- 2", "flag: value"),
        ("a: [1", "line 1"), ("lr: {a: 1}", "lr: "), ("1: 2", "flag: value"), ("", "flag: value"),
        ("!!python/object/apply:os.system [id]", "neither YAML nor JSON"),
        ("a: " + "[" * 5000, "neither"), ("x" * (1 << 21), "larger"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_flags_is_refused(tmp_path, text, part):
    with pytest.raises(InputError) as error:
        settings_of("--config", written(tmp_path, text))
    assert part in str(error.value) and "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    result = run("-m", "imagenet_trainer.fit", "--config", tmp_path / "no.yaml", check=None)
    one_line_error(result, "fit: error: --config", "No such file")
    binary = tmp_path / "a.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        settings_of("--config", binary)
    with pytest.raises(InputError, match="2 times"):
        settings_of("--config", binary, "--config", binary)
