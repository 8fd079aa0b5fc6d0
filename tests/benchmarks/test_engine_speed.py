import pytest

from imagenet_trainer import doctor
from imagenet_trainer.benchmarks import engine_speed as engines_here
from imagenet_trainer.benchmarks.engine_speed import kinds_here, told, updates_per_second


@pytest.mark.parametrize("kind", kinds_here(), ids=str)
def test_updates_are_counted_until_the_time_is_over(kind):
    times = iter([0.0, 1.0, 2.0, 3.0, 4.0])  # began; after one update, two, three; at the end
    speed = updates_per_second("resnet-20", kind, (3, 12, 12), 10, 4, 2.5, lambda: next(times))
    assert speed == 3 / 4


def test_the_sentence_names_the_flags_of_the_fastest():
    speeds = {
        ("mxnet", "float32"): 1.0, ("mxnet", "bfloat16"): 1.4, ("torch", "float32"): 0.7,
        ("torch", "bfloat16"): 1.6,
    }  # fmt: skip
    lines = told(speeds, "resnet-18", 16)
    assert lines[0] == "resnet-18, batch 16, on this CPU:"
    assert lines[2] == "  MXNet    bfloat16     1.40 updates/s     22.4 images/s"
    assert lines[-1] == (
        "recommended: --engine torch --dtype bfloat16, 1.60 times MXNet in float32"
    )
    speeds["mxnet", "bfloat16"] = 2.0
    assert "recommended: --dtype bfloat16, 2.00 times" in told(speeds, "resnet-18", 16)[-1]


def test_what_is_hardly_faster_is_not_recommended():
    speeds = {("mxnet", "float32"): 1.0, ("torch", "float32"): 1.04}
    assert told(speeds, "resnet-18", 16)[-1] == (
        "recommended: what fit takes by itself, MXNet in float32; nothing else is 5 % faster"
    )


def test_the_doctor_measures_when_it_is_asked(monkeypatch, capsys):
    monkeypatch.setattr(engines_here, "updates_per_second", lambda network, kind, batch: 2.0)
    assert doctor.main([]) == 0
    assert "recommended" not in capsys.readouterr().out
    assert doctor.main(["--measure"]) == 0
    out = capsys.readouterr().out
    assert "  MXNet    float32      2.00 updates/s     32.0 images/s" in out
    assert out.splitlines()[-1].startswith("recommended: ")
