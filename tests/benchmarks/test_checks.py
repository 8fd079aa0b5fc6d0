from imagenet_trainer.benchmarks import checks
from imagenet_trainer.data.images import opencv, plausible


def test_the_three_ways_are_measured_in_turns(capsys, monkeypatch):
    made = checks.make_photographs
    monkeypatch.setattr(checks, "make_photographs", lambda path, count: made(path, count, 100, 75))
    check, messages = plausible.check, opencv.with_messages
    checks.run(64, 3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[1].startswith("no checks") and lines[1].endswith(" 1.000")
    assert (plausible.check, opencv.with_messages) == (check, messages)
