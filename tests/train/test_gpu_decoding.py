from dataclasses import replace

import pytest
from conftest import message_of, needs_mxnet
from helpers.fake_gpus import (
    H100,
    V100,
    machine,  # noqa: F401
)

from imagenet_trainer import fit
from imagenet_trainer.config import FitSettings
from imagenet_trainer.data import dali as dali_batches
from imagenet_trainer.errors import InputError
from imagenet_trainer.train import gpu_decoding as decoding
from imagenet_trainer.train.gpu_decoding import decoded, decodes_on_gpu

ON_GPU = FitSettings(gpus=(0,), engine="torch", decode="gpu")


@pytest.fixture(autouse=True)
def dali(monkeypatch):
    monkeypatch.setattr(decoding, "has_dali", lambda: True)


def test_threads_decode_by_default():
    assert not decodes_on_gpu(FitSettings(gpus=(0,)))
    batches = [1, 2]
    assert list(decoded(batches, FitSettings(), None, 1, print)) == batches


@pytest.mark.parametrize(
    ("changed", "flag"),
    [
        ({"auto_augment": "rand"}, "--auto-augment rand"),
        ({"cutmix": 1.0}, "--cutmix 1"),
        ({"decode_scale": True}, "--decode-scale 1"),
        ({"teacher": ("runs/a/model", 5)}, "--teacher runs/a/model,5"),
    ],
)
def test_what_the_threads_do_needs_them(machine, changed, flag):
    machine(H100, torch="cuda")
    with pytest.raises(InputError, match=f"^{flag}: .*--decode cpu"):
        decodes_on_gpu(replace(ON_GPU, **changed))


def test_gpus_decode_for_pytorch(machine):
    machine(H100, torch="cuda")
    assert decodes_on_gpu(ON_GPU)
    assert decodes_on_gpu(replace(ON_GPU, engine="auto"))  # MXNet cannot drive it


@pytest.mark.parametrize("local, gpu", [(None, 3), ("1", 5)])
def test_each_process_decodes_on_its_gpu(monkeypatch, machine, local, gpu):
    machine(H100, torch="cuda")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local:
        monkeypatch.setenv("LOCAL_RANK", local)
    opened = []

    def open_batches(batches, shards, *options):
        opened.append(options)
        return iter(batches)

    monkeypatch.setattr(dali_batches, "DecodedBatches", open_batches)
    stream = decoded([1, 2], replace(ON_GPU, gpus=(3, 5)), None, 7, print)
    assert list(stream) == [1, 2] and opened == [(gpu, 7, print)]


def test_an_error_of_dali_names_the_flag(monkeypatch, machine):
    def fail(*options):
        raise dali_batches.DaliError("DALI: no such GPU")
        yield

    machine(H100, torch="cuda")
    monkeypatch.setattr(dali_batches, "DecodedBatches", fail)
    with pytest.raises(InputError, match=r"^--decode gpu: DALI: no such GPU; .*--decode cpu"):
        list(decoded([], ON_GPU, None, 1, print))


def refused(settings):
    return message_of(decodes_on_gpu, settings)


def test_impossible_decoding_is_one_line(monkeypatch, machine):
    no_gpu = refused(replace(ON_GPU, gpus=()))
    assert no_gpu.startswith("--decode gpu: ") and "add --gpus" in no_gpu
    machine(V100, mxnet="cu117", torch="cuda")
    no_torch = refused(replace(ON_GPU, engine="auto"))
    assert no_torch.startswith("--decode gpu: ") and "add --engine torch" in no_torch
    monkeypatch.setattr(decoding, "has_dali", lambda: False)
    assert "pip install" in refused(ON_GPU)


def test_fit_refuses_before_it_reads_anything(capsys):
    assert fit.main(["--decode", "gpu", "--data-train", "not-there.rec"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@needs_mxnet
def test_fit_refuses_mxnet(capsys):
    assert fit.main(["--decode", "gpu", "--gpus", "0", "--engine", "mxnet"]) == 2
    assert "add --engine torch" in capsys.readouterr().err


def test_dali_is_detected_without_importing_it(monkeypatch):
    monkeypatch.undo()
    found = {"nvidia": None}

    def find(name):
        if name not in found and "." in name and "nvidia" not in found:
            raise ModuleNotFoundError(name)
        return found.get(name)

    monkeypatch.setattr(decoding.importlib.util, "find_spec", find)
    assert not decoding.has_dali()
    found["nvidia.dali"] = object()
    assert decoding.has_dali()
    found.clear()
    assert not decoding.has_dali()
