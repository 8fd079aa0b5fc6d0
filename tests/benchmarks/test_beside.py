import psutil

from imagenet_trainer.benchmarks import beside


def test_the_ratio_is_taken_within_a_round(monkeypatch, capsys):
    """Other load changes from round to round; the processes are there while it is measured."""
    speeds = {("mxnet", 1): 10.0, ("mxnet", 4): 30.0}
    busy_seen, rounds = [], []

    def speed(engine, threads):
        children = psutil.Process().children()
        busy_seen.append(len(children))
        rounds.append(0)
        load = 1 + (len(rounds) - 1) // 4  # of other programs, in this round
        slowed = 0.9 if threads == 1 else 0.3
        return speeds[engine, threads] / load * (slowed if children else 1)

    monkeypatch.setattr(beside, "_speed", speed)
    monkeypatch.setattr(beside, "processors", lambda: 4)
    monkeypatch.setattr(beside, "has_torch", lambda: False)
    figures = beside.run(others=2, rounds=3)
    out = capsys.readouterr().out
    assert "mxnet with 1 threads: 5.00 images/s alone, 90% of it beside 2 (fair: 100%)" in out
    assert "mxnet with 4 threads: 15.00 images/s alone, 30% of it beside 2 (fair: 67%)" in out
    assert busy_seen == [0, 2] * 6
    assert figures["mxnet_4_beside_2"] == 4.5
    assert not psutil.Process().children()
