"""Parameters of torchvision, timm and Gluon in, and out again."""

import importlib
import json
import shlex
import struct

import numpy as np
import pytest
from conftest import needs_mxnet, one_line_failure
from helpers.networks import weights

from imagenet_trainer import config, export, symbols
from imagenet_trainer import published as command
from imagenet_trainer.convert import published, safetensors_file
from imagenet_trainer.convert.equal_networks import NETWORKS
from imagenet_trainer.engines import Devices
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.network import open_network
from imagenet_trainer.runs import params
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.run import Run

SMALL = next(equal for equal in NETWORKS if equal.title == "torchvision/squeezenet1_1")


def library(name):
    """The package; skips the test where it is missing or built for another PyTorch."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} cannot be imported: {error}")


@pytest.fixture
def safetensors(tmp_path):
    """Writes arrays to a .safetensors file, which is removed: all networks together have 12 GB."""
    import safetensors.numpy as numpy

    def write(arrays, name="weights.safetensors", metadata=None):
        numpy.save_file(arrays, tmp_path / name, metadata)
        return str(tmp_path / name)

    yield write
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()


def imported(path, prefix, *words):
    words = ("--file", path, "--model-prefix", str(prefix), *words)
    assert command.main(words) == 0
    return Run(str(prefix)).load(0)


# --- in and out --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "torchvision/squeezenet1_1", "squeezenet1.1"])
def test_a_file_becomes_a_run_and_a_file_again(safetensors, tmp_path, name, capsys):
    ours, theirs = weights(SMALL)
    counter = {"x.num_batches_tracked": np.array(7)}  # as in files of networks with BatchNorm
    path = safetensors({**theirs, **counter})
    checkpoint = imported(path, tmp_path / "run" / "model", *(("--name", name) if name else ()))
    assert "torchvision/squeezenet1_1, here squeezenet1.1" in capsys.readouterr().err
    assert checkpoint.arg.keys() == ours.keys()
    assert all(np.array_equal(checkpoint.arg[key], ours[key]) for key in ours)
    assert len(checkpoint.classes) == 5
    assert checkpoint.preprocessing.image_shape == (3, 224, 224)
    np.testing.assert_allclose(
        np.array([checkpoint.preprocessing.rgb_mean, checkpoint.preprocessing.rgb_std]) / 255,
        [(0.485, 0.456, 0.406), (0.229, 0.224, 0.225)],
    )
    if name:
        return
    from safetensors.numpy import load_file

    words = ("--to", "torch,safetensors", "--check-pictures", "2", "--output", str(tmp_path / "n"))
    assert export.main(("--model-prefix", str(tmp_path / "run" / "model"), *words)) == 0
    back, mxnets = (load_file(tmp_path / f"n-{end}.safetensors") for end in ("torch-0000", "0000"))
    for expected, found in ((theirs, back), (ours, mxnets)):
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[key], expected[key]) for key in expected)
    card = json.loads((tmp_path / "n-0000.json").read_text())
    assert (card["torch"]["library"], card["torch"]["model"]) == ("torchvision", "squeezenet1_1")
    assert "n-torch-0000.safetensors" in card["files"]


def test_the_file_describes_classes_and_preprocessing(safetensors, tmp_path):
    _, theirs = weights(SMALL, 3)
    how = {"image_shape": [3, 224, 224], "rgb_mean": [1, 2, 3], "rgb_std": [4, 5, 6],
           "val_resize": 240, "bgr": False, "val_interp": "area"}  # fmt: skip
    classes = [["a", "A"], ["b", "B"], ["c", "C"]]
    path = safetensors(
        theirs, metadata={"preprocessing": json.dumps(how), "classes": json.dumps(classes)}
    )
    checkpoint = imported(path, tmp_path / "a" / "model", "--val-resize", "230")
    assert checkpoint.classes == tuple(map(tuple, classes))
    assert checkpoint.preprocessing.rgb_mean == (1, 2, 3)
    assert checkpoint.preprocessing.val_resize == 230  # a flag
    assert checkpoint.preprocessing.val_interp == "area"
    others = ({"rgb_std": ["x", 1, 2]}, {"rgb_std": [1, 0, 1]}, {"image_shape": [3, 10**9, 10**9]},
              {"val_interp": "x"})  # fmt: skip
    for wrong in ("{}", "[", *(json.dumps({**how, **other}) for other in others)):
        path = safetensors(theirs, metadata={"preprocessing": wrong})
        with pytest.raises(InputError, match="preprocessing"):
            published.load_file(path)


def test_the_file_contains_its_network(tmp_path):
    """By the name it became the one with relu: elu, as --blur-pool, has the same parameters."""
    arg, _ = weights(SMALL)
    graph = symbols.get_symbol("squeezenet1.1", 5, (3, 224, 224), activation="elu")
    run, back = Run(str(tmp_path / "run" / "model")), tmp_path / "back" / "model"
    run.folder.mkdir()
    run.write_symbol(graph.tojson())
    how = Preprocessing((3, 64, 80), (1, 2, 3), (4, 5, 6), 90, True, "area")
    classes = tuple((f"n{n}", f"name {n}") for n in range(5))
    run.save(Checkpoint(arg, {}, Progress(epoch=3), {}, how, classes), 3)
    words = ("--to", "safetensors", "--output", str(tmp_path / "m"))
    assert export.main(("--model-prefix", run.prefix, *words)) == 0
    path = str(tmp_path / "m-0003.safetensors")
    with pytest.raises(InputError, match="contains its network; omit the flag"):
        published.load_file(path, "squeezenet1.1")
    arrays, metadata = safetensors_file.read(path)
    safetensors_file.write(path, {k: v.astype(np.float64) for k, v in arrays.items()}, metadata)
    found = imported(path, back)
    assert found.arg.keys() == arg.keys() and not found.aux
    assert all(np.array_equal(found.arg[name], arg[name]) for name in arg)
    assert {value.dtype for value in found.arg.values()} == {np.dtype(np.float32)}
    assert found.preprocessing == how and found.classes == classes
    assert Run(str(back)).read_symbol() == graph.tojson()


def test_timms_config_beside_the_file(safetensors, tmp_path):
    path = safetensors(weights(SMALL)[1])
    about = {"mean": [0.5, 0.25, 0], "std": [1, 0.5, 0.2], "crop_pct": 0.95,
             "interpolation": "bicubic", "input_size": [3, 256, 256]}  # fmt: skip
    for text in (json.dumps({"pretrained_cfg": about}), '{"model_type": "bert"}', "no JSON"):
        (tmp_path / "config.json").write_text(text)
        how = published.load_file(path).preprocessing
        theirs = "pretrained_cfg" in text
        assert how.rgb_mean == ((127.5, 63.75, 0) if theirs else (123.675, 116.28, 103.53))
        assert how.image_shape == ((3, 256, 256) if theirs else (3, 224, 224))
        assert how.val_resize == (269 if theirs else 0)
        assert how.val_interp == ("pil-bicubic" if theirs else "pil-bilinear")


def test_a_described_size_of_which_the_parameters_are_not(safetensors, tmp_path):
    """ViT has parameters for each place of a patch; a run of another size could not be opened."""
    path = safetensors(weights(next(e for e in NETWORKS if e.network == "vit-small"))[1])
    about = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 256, 256]}
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="is for another network, number of classes or image size"):
        published.load_file(path)


def test_other_types(safetensors):
    ours, theirs = weights(SMALL)
    half = {name: value.astype(np.float16) for name, value in theirs.items()}
    found = published.load_file(safetensors(half)).arg
    np.testing.assert_allclose(found["conv1_weight"], ours["conv1_weight"], atol=1e-3)
    with pytest.raises(InputError, match="int32"):
        published.load_file(safetensors({k: v.astype(np.int32) for k, v in theirs.items()}))


def test_bfloat16(tmp_path):
    from imagenet_trainer.convert import safetensors_file

    header = b'{"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}'
    values = np.array([0x3F80, 0xC040, 0x7F7F], "<u2")  # 1, -3, the largest
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + values.tobytes())
    found = safetensors_file.read(path)[0]["a"]
    np.testing.assert_allclose(found, [1, -3, 3.3895314e38], rtol=1e-6)


# --- compared with the libraries ---------------------------------------------------------------


@pytest.mark.parametrize(
    "title",
    [
        "torchvision/resnet18",
        "torchvision/squeezenet1_1",
        *(
            pytest.param(e.title, marks=pytest.mark.slow)
            for e in NETWORKS
            if e.library != "gluon" and e.title not in ("torchvision/resnet18", SMALL.title)
        ),
    ],
)
def test_outputs_are_those_of_the_library(safetensors, title, tmp_path):
    torch = pytest.importorskip("torch")
    equal = next(one for one in NETWORKS if one.title == title)
    package = library(equal.library)
    from imagenet_trainer.convert.torch_forms import OPTIONS
    from imagenet_trainer.engines.pytorch.exported import module_of, outputs
    from imagenet_trainer.graph import Symbol

    if equal.library == "timm":
        model = package.create_model(equal.name).eval()
    else:
        options = {**OPTIONS.get(equal.name, {}), "weights": None}
        model = package.models.get_model(equal.name, **options).eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.ndim > 1:
                value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=draw)
            elif value.ndim:
                low = 0.8 if name.endswith(("var", "weight")) else -0.2
                value.uniform_(low, low + 0.4, generator=draw)
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    found = published.load_file(safetensors(state))
    shape = found.preprocessing.image_shape
    planes = np.random.default_rng(0).uniform(0, 2, (2, *shape)).astype(np.float32)
    symbol = symbols.get_symbol(found.network, 1000, shape)
    logits = Symbol(symbol.entries[-1].node.inputs[:1])
    ours = outputs(module_of(logits, found.arg, found.aux, shape), planes)
    theirs = outputs(model, planes)
    scale = abs(theirs).max()
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=5e-5)
    assert np.ptp(theirs, axis=0).max() > 1e-3 * scale


@needs_mxnet
@pytest.mark.parametrize(
    "name, flags",
    [
        ("squeezenet1.1", ()),
        pytest.param("resnet18_v2", ("--name", "gluoncv/resnet18_v2"), marks=pytest.mark.slow),
    ],
)
def test_gluons_parameters(tmp_path, name, flags):
    from imagenet_trainer.system.mxnet_import import mx

    if flags:
        from imagenet_trainer.symbols.gluoncv_zoo import import_gluoncv

        try:
            zoo = import_gluoncv().model_zoo
        except InputError as error:
            pytest.skip(str(error))
    else:
        zoo = mx.gluon.model_zoo.vision
    net = zoo.get_model(name, classes=7)
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, 224, 224)))
    net.save_parameters(str(tmp_path / "net.params"))
    prefix = tmp_path / "run" / "model"
    checkpoint = imported(str(tmp_path / "net.params"), prefix, *flags)
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    how = checkpoint.preprocessing
    planes = (images - np.array(how.rgb_mean)) / np.array(how.rgb_std)
    expected = net(mx.nd.array(planes.transpose(0, 3, 1, 2))).softmax().asnumpy()
    found = open_network(Run(str(prefix)), 0, Devices(), 2)[0].predict(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(checkpoint.classes) == 7


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["pth", "pt", "bin", "tar"])
def test_pickles_are_refused_with_the_command_that_converts_them(tmp_path, capsys, ending):
    fails = one_line_failure(command.main, "published", capsys)
    line = fails("--file", str(tmp_path / f"resnet50.{ending}"))
    assert "python -c" in line and "weights_only=True" in line and "resnet50.safetensors" in line


def test_that_command_converts(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    path = tmp_path / "it's mine.pth"
    torch.save({"fc.weight": torch.ones(2, 3)}, path)
    line = one_line_failure(command.main, "published", capsys)("--file", str(path))
    program = shlex.split(line[line.index("python -c") :])[2]
    exec(program)
    from safetensors.numpy import load_file

    assert load_file(path.with_suffix(".safetensors"))["fc.weight"].shape == (2, 3)


def test_parameters_of_other_networks(safetensors, tmp_path, capsys):
    fails = one_line_failure(command.main, "published", capsys)
    _, theirs = weights(SMALL)
    missing = dict(theirs)
    del missing["features.0.bias"]
    assert "it has no features.0.bias" in fails("--file", safetensors(missing))
    wrong = {**theirs, "features.0.weight": np.zeros((64, 3, 7, 7), np.float32)}
    assert "features.0.weight is (64, 3, 7, 7)" in fails("--file", safetensors(wrong))
    # MLX has the same names and sizes, but the channels last.
    last = {k: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for k, v in theirs.items()}
    assert "(64, 3, 3, 16)" in (line := fails("--file", safetensors(last))) and "order" in line
    path = safetensors(theirs, metadata={"network": "gluoncv/foo"})  # which is passed over
    for name in ("torchvision/resnet18", "resnet-50", "torchvision/mobilenet_v2", "foo/bar", "foo"):
        assert name in fails("--file", path, "--name", name)
    assert not list(tmp_path.glob("runs"))


def test_gluons_parameters_without_their_network(tmp_path, capsys):
    path = tmp_path / "own.params"
    path.write_bytes(params.dumps({"features.0.gamma": np.ones(3, np.float32)}))
    line = one_line_failure(command.main, "published", capsys)("--file", str(path))
    assert "net.export" in line and "gluoncv/NAME" in line


@pytest.mark.parametrize("name", ["net-0000.params", "net.params", "net.safetensors"])
def test_parameters_where_a_run_is_expected_are_sent_to_published(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(params.dumps({"features.0.weight": np.ones(3, np.float32)}))
    prefix = str(tmp_path / "net") if name == "net-0000.params" else str(path)
    with pytest.raises(InputError, match=f"published --file {path}"):
        open_network(Run(prefix), None, Devices(), 1)
    with pytest.raises(InputError, match=f"published --file {path}"):
        params.split(params.read(path), path)


def entry(shape, offsets, kind="F32"):
    return {"dtype": kind, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "header, size, body",
    [
        ("", 0, b""),
        ({}, 2**63, b""),
        ({}, 10**9, b""),
        ({"a": entry([2], [0, 8]), "b": entry([2], [4, 12])}, None, bytes(12)),
        ({"a": entry([4], [0, 16])}, None, bytes(8)),
        ({"a": entry([2**62, 2**62], [0, 8])}, None, bytes(8)),
        ({"a": entry([0, 2**62], [0, 0])}, None, b""),
        ({"a": entry([-2, -2], [0, 16])}, None, bytes(16)),
        ({"a": entry([1] * 100, [0, 4])}, None, bytes(4)),
        ({"a": entry([4], [0, 4], "F8_E4M3")}, None, bytes(4)),
        ({"a": entry([1], [0, 4])}, None, bytes(40)),
        ({"__metadata__": {"x": 1}}, None, b""),
    ],
)
def test_hostile_files(tmp_path, capsys, header, size, body):
    text = json.dumps(header).encode() if header != "" else b""
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + body)
    line = one_line_failure(command.main, "published", capsys)("--file", str(path))
    assert str(path) in line


def test_a_file_that_is_not_there_and_other_endings(tmp_path):
    for name in ("none.params", "weights.h5"):
        with pytest.raises(InputError, match=name):
            published.import_checkpoint(config.PublishedSettings(file=str(tmp_path / name)))
