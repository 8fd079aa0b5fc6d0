import re

from imagenet_trainer.benchmarks import evaluation


def test_the_parts_of_all_numbers(capsys):
    evaluation.numbers(images=300, rounds=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "300 predictions of 1,000 classes, median of 2"
    parts = [re.fullmatch(r"(.*?) +([\d.]+) s( \(target 5\))?", line) for line in lines[1:]]
    assert parts[-1][1] == "all" and len(parts) == 6
    total = sum(float(part[2]) for part in parts[:-1])
    assert abs(float(parts[-1][2]) - total) < 0.5 * total + 0.1


def test_an_evaluation_against_its_forward_pass(capsys, monkeypatch):
    monkeypatch.setattr(evaluation, "_LAYERS", 8)
    monkeypatch.setattr(evaluation, "_SIDE", 28)
    evaluation.forward(images=20, rounds=1)
    output = capsys.readouterr().out
    first = re.search(r"forward alone ([\d.]+), evaluate ([\d.]+), from memory ([\d.]+)", output)
    assert first and all(float(speed) > 0 for speed in first.groups())
    assert re.search(r"^evaluate: [\d.]+ % of the speed of the forward pass", output, re.M)
