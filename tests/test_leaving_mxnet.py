"""The lines of docs/leaving-mxnet.md, run in their order on files that are made here."""

import importlib
import importlib.util
import json
import re
import shlex
import shutil

import cv2
import numpy as np
import pytest
from conftest import ROOT, write_records
from helpers.miniature import tar_of
from helpers.networks import weights

from imagenet_trainer import symbols
from imagenet_trainer.convert.equal_networks import NETWORKS
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.packing import im2rec
from imagenet_trainer.runs import params
from imagenet_trainer.train.initializers import initial_parameters

PAGE = (ROOT / "docs" / "leaving-mxnet.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
SHAPE = (3, 20, 20)
SMALL = next(one for one in NETWORKS if one.title == "gluon/squeezenet1.1")


def run_lines(section):
    """Run the blocks of a section; return the names that its Python lines define."""
    names = {}
    for kind, block in re.findall(r"```(python|sh)\n(.*?)```", SECTIONS[section], re.DOTALL):
        if kind == "python":
            exec(compile(block, "docs/leaving-mxnet.md", "exec"), names)
            continue
        for line in block.splitlines():
            run_command(shlex.split(line))
    return names


def run_command(words):
    assert words[0] == "python"
    if "parquet" in words and importlib.util.find_spec("pyarrow") is None:
        return
    if words[1] == "-m":
        assert importlib.import_module(words[2]).main(words[3:]) == 0
    else:
        assert words[1] == "tools/im2rec.py"
        assert im2rec.main(words[2:]) == 0


@pytest.fixture
def here(tmp_path, monkeypatch, packed):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(packed)
    return tmp_path


def network():
    """A ResNet-8 for three classes, and the bytes of its .params."""
    symbol = symbols.get_symbol("resnet8", 3, SHAPE)
    arg, aux = initial_parameters(
        *parameter_shapes(symbol, SHAPE), symbols.find("resnet8").initializer, 1
    )
    return symbol, params.dumps(params.join(arg, aux))


def test_scripts_that_import_mxnet_recordio(here):
    names = run_lines("Scripts that import mxnet.recordio")
    assert names["header"].label in (0, 1, 2) and names["data"].startswith(b"\x89PNG")


def test_insightface(here):
    pytest.importorskip("torch")
    (here / "faces").mkdir()
    random = np.random.default_rng(0)
    faces = [random.integers(0, 256, (112, 112, 3), np.uint8) for _ in range(6)]
    files = [cv2.imencode(".png", face)[1].tobytes() for face in faces]
    payloads = [pack_header([7.0, 10.0], 0)]
    payloads += [pack_header(float(n // 2), n) + file for n, file in enumerate(files, start=1)]
    payloads += [pack_header([2.0 * n + 1, 2.0 * n + 3], 0) for n in range(3)]
    write_records(here / "faces" / "train.rec", payloads)
    (here / "faces" / "property").write_text("4,112,112\n")
    names = run_lines("insightface")
    assert np.array_equal(names["face"], faces[0][..., ::-1])
    assert names["identities"] == 4 and names["images"].shape == (4, 112, 112, 3)
    known = {one[..., ::-1].tobytes() for face in faces for one in (face, face[:, ::-1])}
    assert {np.ascontiguousarray(image).tobytes() for image in names["images"]} <= known


def test_sagemaker(here, packed):
    for channel, name in (("train", "train"), ("validation", "val")):
        (here / "channels" / channel).mkdir(parents=True)
        shutil.copy(packed / f"{name}.rec", here / "channels" / channel / "part-0.rec")
    symbol, data = network()
    files = {
        "image-classification-symbol.json": symbol.tojson().encode(),
        "image-classification-0001.params": data,
        "model-shapes.json": json.dumps([{"name": "data", "shape": [20, *SHAPE]}]).encode(),
    }
    (here / "model.tar.gz").write_bytes(tar_of(files, "w:gz"))
    run_lines("SageMaker")
    assert (here / "runs" / "channels" / "model-0001.params").is_file()


def test_gluon_and_the_way_out(here):
    pytest.importorskip("safetensors")
    pytest.importorskip("onnxruntime")
    (here / "squeezenet.params").write_bytes(params.dumps(weights(SMALL, 3)[1]))
    try:
        names = run_lines("Gluon and GluonCV")
        assert sum(value.numel() for value in names["model"].parameters()) > 700_000
    except (ImportError, RuntimeError) as error:  # a build for another PyTorch
        assert "torchvision" in str(error)
    assert (here / "squeezenet-torch-0000.safetensors").is_file()
    run_lines("To PyTorch, WebDataset, Hugging Face, ONNX")
    assert (here / "squeezenet-0000.onnx").is_file()
    assert (here / "squeezenet-0000.safetensors").is_file()
    assert len(list((here / "folders").glob("*/*.png"))) == 60
    assert list((here / "tars").glob("*.tar"))


def test_checkpoints_of_module(here):
    pytest.importorskip("torch")
    symbol, data = network()
    (here / "old").mkdir()
    (here / "old" / "model-symbol.json").write_text(symbol.tojson())
    (here / "old" / "model-0001.params").write_bytes(data)
    names = run_lines("Checkpoints of Module")
    assert names["probabilities"].shape == (5, 3)


def test_old_shards(here, packed):
    (here / "old").mkdir()
    shutil.copy(packed / "train.rec", here / "old" / "train.rec")
    names = run_lines("Old shards")
    assert len(names["dataset"]) == 60 and names["image"].startswith(b"\x89PNG")
    assert (here / "old" / "train.idx").is_file()


def test_pixels_are_those_of_mxnet():
    mxnet = pytest.importorskip("imagenet_trainer.system.mxnet_import")
    pytest.importorskip("mxnet")
    photos = sorted((ROOT / "imagenet_trainer" / "assets" / "photos").rglob("*.jpg"))
    for path in photos[:3]:
        data = path.read_bytes()
        ours = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.array_equal(mxnet.mx.image.imdecode(data).asnumpy(), ours)


def test_every_section_is_run():
    with_lines = {name for name, text in SECTIONS.items() if "```" in text}
    source = (ROOT / "tests" / "test_leaving_mxnet.py").read_text(encoding="utf-8")
    assert with_lines == {name for name in SECTIONS if f'run_lines("{name}")' in source}
