import pytest

from imagenet_trainer import doctor
from imagenet_trainer.benchmarks import engine_speed
from imagenet_trainer.benchmarks.engine_speed import (
    available_kinds,
    report_lines,
    updates_per_second,
)


@pytest.mark.parametrize("kind", available_kinds(), ids=str)
def test_updates_are_counted_until_the_time_has_passed(kind):
    times = iter([0.0, 1.0, 2.0, 3.0, 4.0])  # start; after one update, two, three; end
    speed = updates_per_second("resnet-20", kind, (3, 12, 12), 10, 4, 2.5, lambda: next(times))
    assert speed == 3 / 4


def test_the_flags_of_the_fastest_are_recommended():
    speeds = {
        ("mxnet", "float32"): 1.0, ("mxnet", "bfloat16"): 1.4, ("torch", "float32"): 0.7,
        ("torch", "bfloat16"): 1.6,
    }  # fmt: skip
    lines = report_lines(speeds, "resnet-18", 16)
    assert lines[0] == "resnet-18, batch 16, on this CPU:"
    assert lines[2] == "  MXNet    bfloat16     1.40 updates/s     22.4 images/s"
    assert lines[-1].startswith("recommended: --engine torch --dtype bfloat16, 1.60 times")
    speeds["mxnet", "bfloat16"] = 2.0
    assert "recommended: --dtype bfloat16, 2.00 times" in report_lines(speeds, "resnet-18", 16)[-1]


def test_a_small_gain_is_not_recommended():
    speeds = {("mxnet", "float32"): 1.0, ("torch", "float32"): 1.04}
    last = report_lines(speeds, "resnet-18", 16)[-1]
    assert last.startswith("recommended: the defaults, MXNet in float32") and "5 %" in last


def test_the_doctor_measures_on_request(monkeypatch, capsys):
    monkeypatch.setattr(engine_speed, "updates_per_second", lambda network, kind, batch: 2.0)
    assert doctor.main([]) == 0
    assert "recommended" not in capsys.readouterr().out
    assert doctor.main(["--measure"]) == 0
    out = capsys.readouterr().out
    assert "  MXNet    float32      2.00 updates/s     32.0 images/s" in out
    assert out.splitlines()[-1].startswith("recommended: ")
