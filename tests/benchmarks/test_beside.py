import psutil
import pytest

from imagenet_trainer.benchmarks import beside


@pytest.fixture
def machine(monkeypatch):
    """Four processors, and MXNet only."""
    monkeypatch.setattr(beside, "processors", lambda: 4)
    monkeypatch.setattr(beside, "compute_threads", lambda: 4)
    monkeypatch.setattr(beside, "has_torch", lambda: False)


def busy_children():
    """Without processes that Python keeps for itself, as of other tests."""
    children = psutil.Process().children()
    return [child for child in children if beside._BUSY in child.cmdline()]


def test_the_ratio_is_taken_within_a_round(machine, monkeypatch, capsys):
    """Other load changes from round to round; the processes are there while it is measured."""
    speeds = {None: 30.0, 1: 10.0, 4: 30.0}
    busy_seen, rounds = [], []

    def speed(way):
        children = busy_children()
        busy_seen.append(len(children))
        rounds.append(0)
        load = 1 + (len(rounds) - 1) // 6  # of other programs, in this round
        slowed = 0.9 if way.threads == 1 else 0.2
        return speeds[way.threads] / load * (slowed if children else 1)

    monkeypatch.setattr(beside, "_speed", speed)
    figures = beside.run(others=2, rounds=3)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    # alone, of the best; beside, of the best; of alone, fair
    assert "mxnet, 1 threads 5.00 33% 4.50 100% 90% 100%".split() in rows
    assert "mxnet, 4 threads 15.00 100% 3.00 67% 20% 67%".split() in rows
    assert busy_seen == [0, 2] * 9
    assert figures["mxnet_4_threads_beside_2"] == 3.0
    assert not busy_children()


def test_a_way_is_what_the_training_gets(machine, monkeypatch):
    """Variables of OpenMP that are set here do not reach a training that has none."""
    seen = []
    monkeypatch.setattr(beside, "speed_without_data", lambda command, environment: seen.append(
        {name: text for name, text in environment.items() if "OMP_" in name}
    ))  # fmt: skip
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    for way in (("torch", None), ("torch", 4), ("torch", 4, "GOMP_SPINCOUNT=300000")):
        beside._speed(beside.Way(*way))
    four = {"OMP_NUM_THREADS": "4"}
    assert seen == [{}, four, {**four, "GOMP_SPINCOUNT": "300000"}]
