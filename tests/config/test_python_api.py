"""Commands as functions; tests/test_tutorial.py trains with them."""

import dataclasses
import importlib
import inspect
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from imagenet_trainer import (
    benchmark,
    compare,
    config,
    doctor,
    evaluate,
    export,
    fit,
    predict,
    published,
)
from imagenet_trainer.config.evaluated import EpochMetrics, EvaluateResult
from imagenet_trainer.config.results import FitResult
from imagenet_trainer.errors import InputError

COMMANDS = [benchmark, compare, doctor, evaluate, export, fit, predict, published]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_module_is_callable_however_it_is_imported(command):
    assert callable(command)
    again = importlib.import_module(command.__name__)
    assert again is command and callable(again.main)
    with pytest.raises(InputError, match=r"--no-such=1: no such flag|required: (pictures|kind)"):
        command(no_such=1)


def test_errors_of_the_command_line_are_raised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="run first: python tools"):
        fit(network="resnet")
    with pytest.raises(InputError, match=r"imagenet_trainer\.fit"):
        evaluate()
    with pytest.raises(InputError, match="needs the name"):
        published()


def test_the_signature_has_types_and_defaults():
    parameters = inspect.signature(fit).parameters
    assert list(parameters) == [one.name for one in dataclasses.fields(config.FitSettings)]
    lr, gpus = parameters["lr"], parameters["gpus"]
    assert (lr.annotation, lr.default, lr.kind) == (float, 0.1, lr.KEYWORD_ONLY)
    assert gpus.default == () and int in gpus.annotation.__args__
    assert parameters["optimizer"].annotation.__args__[0] == "sgd"
    assert inspect.signature(predict).parameters["pictures"].default is inspect.Parameter.empty
    assert inspect.signature(fit).return_annotation is FitResult
    assert "learning rate; 0.1 suits ResNet" in fit.call.__doc__


def test_the_stub_for_type_checkers_is_that_of_the_flags(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import python_api  # tools/python_api.py

    stub = (ROOT / "imagenet_trainer" / "__init__.pyi").read_text()
    assert stub == python_api.stub(), "python tools/python_api.py > .../__init__.pyi"
    assert "lr: float = 0.1," in stub and ") -> FitResult:" in stub


PROGRAM = """\
from pathlib import Path
from imagenet_trainer import (
    benchmark, compare, doctor, evaluate, export, fit, predict, published)
fit(network="resnet", lr=0.1, gpus=[0], config=Path("a"), when_done=["a", "b"]).prefix.upper()
print((evaluate(epochs="all")[1].rank1 or 0), predict(pictures=["a"], epoch="best")[0].best.name)
compare(networks=["a", "b"], lr=0.1).report.upper(), export(to=("onnx",)).files, published(name="a")
benchmark(kind="train", rounds=2)["all"].hex(), doctor(gpus=4).plans, evaluate().files.gif
benchmark.bottleneck(network="resnet", seconds=1.0).profile.stages["copy"].hex()
fit(lr="abc")
fit(lrr=1)
fit(optimizer="sdg")
predict()
benchmark(kind="trian")
doctor().engine + 1
"""  # fmt: skip


@pytest.mark.slow
def test_mypy_refuses_wrong_types_and_unknown_names(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text(PROGRAM)
    words = ["-m", "mypy", "--strict", "--config-file=", "program.py"]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True,
                          env={"MYPYPATH": str(ROOT), "PATH": ""}, check=False)  # fmt: skip
    lines = [
        line
        for line in done.stdout.splitlines()
        if line.startswith("program.py:") and "error:" in line
    ]
    assert [line.split(":")[1] for line in lines] == [str(number) for number in range(9, 15)], (
        done.stdout
    )


def test_the_examples_of_the_guide_run(packed, tmp_path, monkeypatch):
    (tmp_path / "data").symlink_to(packed)
    (tmp_path / "cat.png").symlink_to(next((packed / "pictures").rglob("*.png")))
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "tasks.md").read_text(), re.DOTALL
    )
    names = {}
    exec(compile(block, "docs/tasks.md", "exec"), names)
    trained, evaluated = names["trained"], names["evaluated"]
    assert trained.prefix == "runs/resnet-8/model" and trained.epoch == len(trained.history) == 2
    assert evaluated[2].rank1 == pytest.approx(trained.rank1, abs=1e-6)
    low, high = evaluated[2].intervals["rank1"]
    assert low < evaluated[2].rank1 < high and evaluated[2].images == 15
    assert {evaluated[2].files.predictions, evaluated.files.metrics} < {*evaluated.paths}
    assert names["prediction"].path == "cat.png" and 0.3 < names["prediction"].best.probability < 1


def test_results_have_the_items_of_the_dictionaries_before():
    rows = [{"epoch": 1, "val_rank1": 0.5, "val_rank5": None, "val_loss": 1.5}]
    trained = FitResult("runs/a/model", rows, 1)
    assert trained["prefix"] == "runs/a/model" and trained["history"]["val_rank1"].tolist() == [0.5]
    assert (trained.epoch, trained.rank1, trained.rank5, trained.loss) == (1, 0.5, None, 1.5)
    assert FitResult("a").rank1 is None and FitResult("a", seeds={"runs": [1]})["runs"] == [1]
    with pytest.raises(KeyError):
        trained["no_such"]
    metrics = {"images": 4, "rank1": 0.25, "rank5": 1.0, "loss": 2.0, "key": "x",
               "intervals": {"rank1": [0.1, 0.5]}}  # fmt: skip
    found = EvaluateResult({7: EpochMetrics(7, metrics)})
    assert {number: one["rank1"] for number, one in found.items()} == {7: 0.25}
    assert found[7].intervals["rank1"] == (0.1, 0.5)
    assert found.table().loc[7].to_dict() == {"images": 4, "rank1": 0.25, "rank5": 1, "loss": 2}
