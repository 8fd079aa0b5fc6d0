"""Networks in SageMaker's model.tar.gz."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import one_line_failure

from imagenet_trainer import evaluate, export, predict
from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import sym
from imagenet_trainer.runs import params
from imagenet_trainer.runs.archive import ArchivedRun
from imagenet_trainer.runs.run import Run
from imagenet_trainer.runs.trained import open_run
from imagenet_trainer.train.transfer import read_pretrained

NAME = "image-classification"
SHAPES = json.dumps([{"shape": [1, 3, 16, 16], "name": "data"}]).encode()


@pytest.fixture(scope="module")
def network():
    """The files of a network of three classes, as SageMaker names them."""
    x = sym.Convolution(sym.Variable("data"), kernel=(5, 5), stride=(4, 4), num_filter=4, name="c")
    x = sym.FullyConnected(sym.Activation(x, act_type="relu"), num_hidden=3, name="f")
    symbol = sym.SoftmaxOutput(x, name="softmax")
    arg_shapes, _, _ = symbol.infer_shape(data=(1, 3, 16, 16))
    random = np.random.default_rng(0)
    arrays = {
        f"arg:{name}": random.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in zip(symbol.list_arguments(), arg_shapes)
        if name not in ("data", "softmax_label")
    }
    return {
        f"{NAME}-symbol.json": symbol.tojson().encode(),
        f"{NAME}-0010.params": params.dumps(arrays), "model-shapes.json": SHAPES,
    }  # fmt: skip


def archive(path, files, *members):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for one in members:
            tar.addfile(one)
    return str(path)


@pytest.fixture
def both(tmp_path, network):
    """The prefix of the files in a folder, and the path of their archive in another."""
    for folder in ("files", "packed"):
        (tmp_path / folder).mkdir()
    for name, data in network.items():
        (tmp_path / "files" / name).write_bytes(data)
    return str(tmp_path / "files" / NAME), archive(tmp_path / "packed" / "model.tar.gz", network)


def test_predictions_are_those_of_the_files(tmp_path, both, capsys):
    prefix, packed = both
    for number in range(3):
        image = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    found = []
    for one, shape in ((prefix, ["--image-shape", "3,16,16"]), (packed, [])):
        words = ["--model-prefix", one, "--rgb-mean", "0,0,0", *shape]
        assert predict.main([str(tmp_path), *words, "--csv", str(tmp_path / "out.csv")]) == 0
        found.append((tmp_path / "out.csv").read_text())
    assert found[0] == found[1] and found[0].count("\n") > 2
    assert "--image-shape 3,16,16" in capsys.readouterr().err


def test_evaluation_and_export(packed, both, tmp_path, capsys):
    prefix, path = both
    before = Path(path).read_bytes()
    accuracy = []
    for one, shape in ((prefix, ["--image-shape", "3,16,16"]), (path, [])):
        words = ["--model-prefix", one, "--rgb-mean", "0,0,0", *shape]
        assert evaluate.main([*words, "--data-val", str(packed / "val.rec")]) == 0
        accuracy.append([line for line in capsys.readouterr().out.splitlines() if "%" in line])
    assert accuracy[0] == accuracy[1] and accuracy[0]
    assert sorted(os.listdir(tmp_path / "packed")) == [f"{NAME}-results", "model.tar.gz"]
    assert export.main([*words, "--to", "mxnet", "--output", str(tmp_path / "out") + "/"]) == 0
    exported = Run(str(tmp_path / "out" / f"{NAME}-deploy")).load(10)
    np.testing.assert_array_equal(exported.arg["f_weight"], Run(prefix).load(10).arg["f_weight"])
    assert Path(path).read_bytes() == before


def test_pretrained_parameters(both):
    prefix, path = both
    one, other = read_pretrained(prefix, 10), read_pretrained(path, 10)
    assert one.symbol.tojson() == other.symbol.tojson() and other.preprocessing is None
    assert one.arg.keys() == other.arg.keys()
    assert all(np.array_equal(value, other.arg[name]) for name, value in one.arg.items())
    with pytest.raises(InputError, match="has epoch 10"):
        read_pretrained(path, 3)


def test_archives_of_other_forms(tmp_path, network):
    renamed = {f"./export/{name.replace(NAME, 'model')}": data for name, data in network.items()}
    renamed["./code/inference.py"] = b"print()"
    run = open_run(archive(tmp_path / "model.tar.gz", renamed))
    assert (run.name, run.epochs(), run.image_shape()) == ("model", [10], (3, 16, 16))
    assert run.load(10).arg and json.loads(run.read_symbol())
    without = {name: data for name, data in network.items() if "shapes" not in name}
    assert open_run(archive(tmp_path / "a.tgz", without)).image_shape() is None
    for shapes in (b"", b"[]", b"{}", b'[{"shape": "x"}]', b'[{"shape": [1, 1, 2, 2]}]', b"\xff"):
        run = open_run(archive(tmp_path / "a.tgz", {**network, "model-shapes.json": shapes}))
        assert run.image_shape() is None
    refusal = Run(str(tmp_path / "a.tgz")).misnamed()
    assert refusal.startswith("is an archive") and f"--pretrained {tmp_path}/a.tgz," in refusal
    # Only the end of the name makes an archive.
    assert type(open_run(str(tmp_path / "none.tar.gz"))) is Run


def link(kind, name="x", target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("files", "members", "message"),
    [
        ({"../evil.json": b"x"}, (), "leads out"), ({"/etc/evil": b"x"}, (), "leads out"),
        ({}, (link(tarfile.SYMTYPE),), "link"), ({}, (link(tarfile.LNKTYPE),), "link"),
        ({}, (link(tarfile.FIFOTYPE),), "link or no file"),
        ({}, (link(tarfile.CHRTYPE),), "link or no file"),
        ({f"other-{n}.json": b"" for n in range(1001)}, (), "1,000 files"),
        ({"other-symbol.json": b"{}"}, (), "2 networks"),
    ],
    ids=["above", "absolute", "symbolic", "hard", "pipe", "device", "many", "two"],
)  # fmt: skip
def test_hostile_archives(tmp_path, network, files, members, message):
    path = archive(tmp_path / "model.tar.gz", {**network, **files}, *members)
    with pytest.raises(InputError, match=message):
        ArchivedRun(path)
    assert os.listdir(tmp_path) == ["model.tar.gz"]


def write_header(path, info, form=tarfile.GNU_FORMAT, rest=b""):
    path.write_bytes(gzip.compress(info.tobuf(form) + rest))
    return str(path)


def test_sizes_that_are_declared(tmp_path):
    large = tarfile.TarInfo(f"{NAME}-0001.params")
    large.size = 5 << 30
    with pytest.raises(InputError, match="4 GiB"):
        ArchivedRun(write_header(tmp_path / "a.tar.gz", large))
    text = tarfile.TarInfo(f"{NAME}-symbol.json")
    text.size = 65 << 20
    with pytest.raises(InputError, match="too many"):
        ArchivedRun(write_header(tmp_path / "a.tar.gz", text))
    # An extended header is read into memory; this one declares 3 GiB.
    extended = tarfile.TarInfo("header")
    extended.type, extended.size = tarfile.XHDTYPE, 3 << 30
    with pytest.raises(InputError, match="header"):
        ArchivedRun(write_header(tmp_path / "a.tar.gz", extended, tarfile.USTAR_FORMAT))
    sparse = tarfile.TarInfo(f"{NAME}-0001.params")
    sparse.type = tarfile.GNUTYPE_SPARSE
    with pytest.raises(InputError):
        ArchivedRun(write_header(tmp_path / "a.tar.gz", sparse))


def test_damaged_archives(tmp_path, both, capsys):
    fails = one_line_failure(lambda words: evaluate.main([*words]), "evaluate", capsys)
    _, path = both
    whole = Path(path).read_bytes()
    broken = whole[:200] + bytes(200) + whole[400:]
    for data in (whole[: len(whole) // 2], broken, b"", b"PK\3\4", whole[:3]):
        Path(path).write_bytes(data)
        assert path in fails("--model-prefix", path, "--rgb-mean", "0,0,0")
    Path(path).write_bytes(gzip.compress(b"no tar" * 999))
    assert path in fails("--model-prefix", path, "--rgb-mean", "0,0,0")


def test_an_archive_without_a_symbol(tmp_path, network):
    only = {name: data for name, data in network.items() if "symbol" not in name}
    run = ArchivedRun(archive(tmp_path / "m.tar.gz", only))
    with pytest.raises(InputError, match="symbol"):
        run.read_symbol()
    assert read_pretrained(str(tmp_path / "m.tar.gz"), 10).symbol is None
