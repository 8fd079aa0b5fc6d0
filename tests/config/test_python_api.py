"""Commands as functions; tests/test_tutorial.py trains with them."""

import importlib

import pytest

from imagenet_trainer import compare, evaluate, export, fit, predict
from imagenet_trainer.errors import InputError


@pytest.mark.parametrize("command", [compare, evaluate, export, fit, predict])
def test_a_command_module_is_callable_however_it_is_imported(command):
    assert callable(command)
    again = importlib.import_module(command.__name__)
    assert again is command and callable(again.main)
    with pytest.raises(InputError, match=r"--no-such=1: no such flag|required: pictures"):
        command(no_such=1)


def test_errors_of_the_command_line_are_raised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="run first: python tools"):
        fit(network="resnet")
    with pytest.raises(InputError, match=r"imagenet_trainer\.fit"):
        evaluate()
