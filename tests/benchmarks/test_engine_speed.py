import pytest

from imagenet_trainer import doctor
from imagenet_trainer.benchmarks import engine_speed
from imagenet_trainer.benchmarks.engine_speed import (
    available_kinds,
    report_lines,
    updates_per_second,
)
from imagenet_trainer.engines.speeds import measured as measured_before


@pytest.mark.parametrize("kind", available_kinds(), ids=str)
def test_updates_are_counted_until_the_time_has_passed(kind):
    times = iter([0.0, 1.0, 2.0, 3.0, 4.0])  # start; after one update, two, three; end
    speeds = updates_per_second(
        "resnet-20", [kind], (3, 12, 12), 10, 4, 2.5, 1, lambda: next(times)
    )
    assert speeds == {kind: 3 / 4}


def test_kinds_take_turns_and_the_fastest_round_counts(monkeypatch):
    done = []

    class Trained:
        def __init__(self, network, kind, *more):
            self.kind = kind

        def update(self):
            done.append(self.kind)

        def wait(self):
            pass

    monkeypatch.setattr(engine_speed, "_Trained", Trained)
    # Each round: start, after the only update, end.
    times = iter([0, 9, 4, 0, 9, 2, 0, 9, 2, 0, 9, 8])
    speeds = updates_per_second("x", ["a", "b"], rounds=2, clock=lambda: next(times))
    assert speeds == {"a": 1 / 2, "b": 1 / 2}
    assert done == ["a", "b"] * 3


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


def test_the_doctor_measures_on_request(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls = []

    def measured(network, kinds, shape, classes, batch):
        calls.append((network, shape, classes))
        return dict.fromkeys(kinds, 2.0)

    monkeypatch.setattr(engine_speed, "updates_per_second", measured)
    assert doctor.main([]) == 0
    assert "recommended" not in capsys.readouterr().out
    assert doctor.main(["--measure"]) == 0
    out = capsys.readouterr().out
    assert "  MXNet    float32      2.00 updates/s     32.0 images/s" in out
    assert "recommended: " in out
    assert doctor.main(["--measure", "mobilenet", "--image-shape", "3,28,28"]) == 0
    assert "mobilenet, batch 16, on this CPU:" in capsys.readouterr().out
    assert calls == [("resnet-18", (3, 224, 224), 1000), ("mobilenet", (3, 28, 28), 10)]
    assert measured_before("mobilenet", (3, 28, 28)).advantage("float32") in (0, 1)
    # Nothing is measured if one of the networks is wrong.
    assert doctor.main(["--measure", "resnet-18,resnet5"]) == 2
    assert "resnet5: " in capsys.readouterr().err
    assert doctor.main(["--measure", "resnet-18,resnet-20", "--image-shape", "3,224,224"]) == 2
    assert len(calls) == 2
