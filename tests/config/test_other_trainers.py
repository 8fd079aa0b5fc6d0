import re

import pytest

from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.config.other_trainers import WAYS_OUT, way_out
from imagenet_trainer.errors import InputError


def flags_of(settings):
    parser = flags.parser_of(settings, "", "")
    return {name for action in parser._actions for name in action.option_strings}


FIT, EVALUATE = flags_of(config.FitSettings), flags_of(config.EvaluateSettings)


@pytest.mark.parametrize("flag", sorted(WAYS_OUT))
def test_the_flags_that_the_table_names_exist(flag):
    assert flag not in FIT  # it would be dead
    found = WAYS_OUT[flag]
    named = re.findall(r"(?<![\w-])--[a-z][\w-]*", found)
    known = EVALUATE if found.startswith("evaluate") else FIT
    assert {*named} <= known
    if " " not in found:
        assert named == [found]


def error_of(settings, *words):
    with pytest.raises(InputError) as error:
        flags.parse_or_raise(settings, words)
    return str(error.value)


@pytest.mark.parametrize(("flag", "wanted"), [
    ("--device", "--gpus 0"), ("--sched", "did you mean --lr-schedule?"), ("--resume", "run again"),
    ("--config", "did you mean --recipe?"), ("--version", "pip show"), ("-j", "--data-nthreads?"),
    ("--epochs=3", "did you mean --num-epochs?"), ("--test-only", "imagenet_trainer.evaluate"),
    ("--netwrok", "did you mean --network?"), ("--num_epochs", "did you mean --num-epochs?"),
])  # fmt: skip
def test_of_fit(flag, wanted):
    message = error_of(config.FitSettings, flag, "3")
    assert message.startswith(f"{flag}: no such flag; ") and wanted in message


@pytest.mark.parametrize("flag", ["--seeed-everything", "--opty", "--xyz"])
def test_what_resembles_no_flag_gets_no_suggestion(flag):
    assert error_of(config.FitSettings, flag, "3") == f"{flag}: no such flag"


def test_of_commands_with_a_trained_network():
    assert "did you mean --gpus?" in error_of(config.EvaluateSettings, "--device", "cuda")
    assert "did you mean --model-prefix?" in error_of(config.PredictSettings, "--resume", "a")
    # Sentences are about training.
    assert way_out("--vflip", EVALUATE) == "" and "pip show" in way_out("--version", EVALUATE)
