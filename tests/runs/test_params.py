import struct

import numpy as np
import pytest
from conftest import needs_mxnet
from hypothesis import given, settings
from hypothesis import strategies as st

from imagenet_trainer.errors import InputError
from imagenet_trainer.runs import params
from imagenet_trainer.system.mxnet_import import mx

TYPES = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64")
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def by_mxnet(arrays, path):
    """The bytes that MXNet writes for these arrays."""
    file = str(path / "mxnet.params")
    mx.nd.save(file, {name: mx.nd.array(a, dtype=a.dtype) for name, a in arrays.items()})
    with open(file, "rb") as saved:
        return saved.read()


def loaded_by_mxnet(data, path):
    file = path / "ours.params"
    file.write_bytes(data)
    return {name: array.asnumpy() for name, array in mx.nd.load(str(file)).items()}


def one_array_file(header, array):
    """A file of one array named "w" whose shape is written as `header`."""
    return b"".join(
        (
            struct.pack("<QQQ", 0x112, 0, 1),
            header,
            struct.pack("<iii", 1, 0, 0),
            array.tobytes(),
            struct.pack("<QQ", 1, 1) + b"w",
        )
    )


OLD = {
    "2016": one_array_file(struct.pack("<III", 2, 2, 3), WEIGHT),
    "2017": one_array_file(struct.pack("<IIqq", 0xF993FAC8, 2, 2, 3), WEIGHT),
}


def assert_same(ours, theirs):
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype
        np.testing.assert_array_equal(array, theirs[name])


@needs_mxnet
@given(
    st.dictionaries(
        st.text(max_size=20).filter(lambda name: "\0" not in name),  # C ends a name there
        st.tuples(st.sampled_from(TYPES), st.lists(st.integers(1, 4), min_size=1, max_size=5)),
        max_size=5,
    )
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_bytes_are_those_of_mxnet(tmp_path_factory, description):
    path = tmp_path_factory.mktemp("params")
    random = np.random.default_rng(0)
    arrays = {
        name: random.integers(0, 100, shape).astype(dtype)
        for name, (dtype, shape) in description.items()
    }
    data = by_mxnet(arrays, path)
    assert params.dumps(arrays) == data
    assert_same(params.loads(data, "x"), arrays)
    if arrays:
        assert_same(loaded_by_mxnet(params.dumps(arrays), path), arrays)


@needs_mxnet
def test_reads_arrays_that_are_not_contiguous_or_not_little_endian(tmp_path):
    arrays = {"t": WEIGHT.T, "b": WEIGHT.astype(">f4"), "s": WEIGHT[:, ::2]}
    assert params.dumps(arrays) == by_mxnet(
        {name: np.ascontiguousarray(a, np.float32) for name, a in arrays.items()}, tmp_path
    )


@needs_mxnet
@pytest.mark.parametrize("year", OLD)
def test_old_headers_are_read_as_mxnet_reads_them(tmp_path, year):
    assert_same(params.loads(OLD[year], "old.params"), {"w": WEIGHT})
    assert_same(loaded_by_mxnet(OLD[year], tmp_path), {"w": WEIGHT})


@needs_mxnet
def test_arrays_saved_in_numpy_mode_are_read(tmp_path):
    file = str(tmp_path / "np.params")
    arrays = {"w": WEIGHT, "scalar": np.float32(3), "none": np.zeros((0, 3), np.float32)}
    with mx.util.np_shape(True), mx.util.np_array(True):
        mx.npx.save(file, {name: mx.np.array(array) for name, array in arrays.items()})
    assert_same(params.read(file), {name: np.asarray(array) for name, array in arrays.items()})


def test_a_huge_extent_next_to_a_zero_is_refused():
    data = one_array_file(struct.pack("<IiIqq", 0xF993FACA, 0, 2, 0, 2**62), WEIGHT[:0])
    with pytest.raises(InputError, match="damaged"):
        params.loads(data, "x")


def test_loaded_arrays_are_writable():
    params.loads(params.dumps({"w": WEIGHT}), "x")["w"] += 1


@needs_mxnet
def test_a_checkpoint_of_module_is_read_and_written(tmp_path):
    data = mx.sym.var("data")
    net = mx.sym.BatchNorm(mx.sym.FullyConnected(data, num_hidden=2, name="fc"), name="bn")
    shapes = dict(zip(net.list_arguments(), net.infer_shape(data=(1, 3))[0]))
    arg = {name: mx.nd.ones(shape) for name, shape in shapes.items() if name != "data"}
    aux = {name: mx.nd.zeros(2) for name in net.list_auxiliary_states()}
    mx.model.save_checkpoint(str(tmp_path / "model"), 1, net, arg, aux)
    read_arg, read_aux = params.split(params.read(tmp_path / "model-0001.params"))
    assert_same(read_arg, {name: a.asnumpy() for name, a in arg.items()})
    assert_same(read_aux, {name: a.asnumpy() for name, a in aux.items()})
    ours = params.dumps(params.join(read_arg, read_aux))
    assert ours == (tmp_path / "model-0001.params").read_bytes()


@pytest.mark.parametrize(
    "data",
    [params.dumps({"arg:w": WEIGHT, "aux:m": np.ones(3, np.float16)}), *OLD.values()],
    ids=["now", *OLD],
)
def test_a_truncated_file_is_refused(data):
    for length in range(len(data)):
        with pytest.raises(InputError, match=r"cut\.params: .*damaged"):
            params.loads(data[:length], "cut.params")
    with pytest.raises(InputError, match="damaged"):
        params.loads(data + b"\0", "long.params")


@given(st.integers(0, 200), st.integers(0, 255))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_changed_byte_is_read_or_refused(position, value):
    data = bytearray(params.dumps({"arg:w": WEIGHT, "aux:m": np.ones(3, np.int64)}))
    data[position % len(data)] = value
    try:
        params.loads(bytes(data), "x.params")
    except InputError as error:
        assert "x.params" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("data", [b"", b"PK\3\4 a zip file", b"\x80\x04 a pickle"])
def test_another_kind_of_file_is_refused(data):
    with pytest.raises(InputError, match=r"other\.bin: is not an MXNet \.params file"):
        params.loads(data, "other.bin")


@needs_mxnet
def test_unsupported_content_is_refused(tmp_path):
    file = str(tmp_path / "model.params")
    mx.nd.save(file, [mx.nd.array(WEIGHT)])
    with pytest.raises(InputError, match="no names"):
        params.read(file)
    for storage in ("row_sparse", "csr"):
        mx.nd.save(file, {"w": mx.nd.array(np.ones((3, 2))).tostype(storage)})
        with pytest.raises(InputError, match="sparse"):
            params.read(file)
    mx.nd.save(file, {"w": mx.nd.array([1], dtype="bool")})
    with pytest.raises(InputError, match="type flag 7"):
        params.read(file)
    with pytest.raises(InputError, match=r"missing\.params: "):
        params.read(tmp_path / "missing.params")


@pytest.mark.parametrize(
    "array", [np.float32(1), np.zeros((0, 2), np.float32), np.zeros(2, bool), np.zeros(2, "c8")]
)
def test_unsupported_arrays_are_not_written(array):
    with pytest.raises(ValueError, match="w: "):
        params.dumps({"w": np.asarray(array)})


def test_split_requires_the_prefixes():
    arg, aux = params.split({"arg:w": WEIGHT, "aux:m": WEIGHT, "arg:a:b": WEIGHT})
    assert (list(arg), list(aux)) == (["w", "a:b"], ["m"])
    for key in ("w", "args:w", "arg"):
        with pytest.raises(InputError, match=r"model\.params: is not a checkpoint"):
            params.split({key: WEIGHT}, "model.params")
