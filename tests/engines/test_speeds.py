import pytest

from imagenet_trainer.engines import speeds

SHAPE = (3, 224, 224)
FOUND = {("mxnet", "float32"): 2.0, ("torch", "float32"): 3.0, ("torch", "bfloat16"): 5.0}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_what_is_kept_is_found_for_the_same_network_and_size():
    assert speeds.measured("resnet-18", SHAPE) is None
    sentence = speeds.keep("resnet-18", SHAPE, FOUND)
    assert str(speeds.speeds_path()) in sentence
    speeds.keep("alexnet", SHAPE, {("mxnet", "float32"): 1.0})
    found = speeds.measured("resnet-18", SHAPE)
    assert found.updates_per_second == FOUND
    assert found.advantage("float32") == 1.5
    assert found.advantage("bfloat16") == 0  # not measured with MXNet
    assert speeds.measured("resnet-18", (3, 28, 28)) is None
    speeds.keep("resnet-18", SHAPE, {**FOUND, ("mxnet", "float32"): 6.0})
    assert speeds.measured("resnet-18", SHAPE).advantage("float32") == 0.5


def test_figures_of_another_machine_or_version_do_not_count(monkeypatch):
    speeds.keep("resnet-18", SHAPE, FOUND)
    with monkeypatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "64")
        assert speeds.measured("resnet-18", SHAPE) is None
        speeds.keep("resnet-18", SHAPE, {**FOUND, ("torch", "float32"): 1.0})
    with monkeypatch.context() as patch:
        patch.setattr(speeds, "version_of", lambda engine: "99")
        assert speeds.measured("resnet-18", SHAPE) is None
    assert speeds.measured("resnet-18", SHAPE).advantage("float32") == 1.5


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}', '{"a"'])
def test_a_damaged_file_is_measured_again(text):
    speeds.keep("resnet-18", SHAPE, FOUND)
    speeds.speeds_path().write_text(text)
    assert speeds.measured("resnet-18", SHAPE) is None
    speeds.keep("resnet-18", SHAPE, FOUND)
    assert speeds.measured("resnet-18", SHAPE).advantage("float32") == 1.5


def test_an_entry_of_another_form_does_not_count():
    speeds.keep("resnet-18", SHAPE, FOUND)
    path = speeds.speeds_path()
    text = path.read_text()
    for old, new in (("mxnet float32", "mxnet"), ("2.0", '"fast"'), ("updates_per_second", "u")):
        path.write_text(text.replace(old, new))
        assert speeds.measured("resnet-18", SHAPE) is None


def test_a_cache_that_cannot_be_written_is_no_error(cache, monkeypatch):
    (cache / "imagenet-trainer").write_text("a file")
    assert speeds.keep("resnet-18", SHAPE, FOUND).startswith("not kept")
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless():
        raise RuntimeError

    monkeypatch.setattr(speeds.Path, "home", homeless)  # as of a user without a home
    assert speeds.keep("resnet-18", SHAPE, FOUND).startswith("not kept")
