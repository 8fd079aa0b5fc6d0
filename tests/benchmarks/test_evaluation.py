import re

from imagenet_trainer.benchmarks import evaluation


def test_the_parts_of_all_numbers(capsys):
    evaluation.numbers(images=300, rounds=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "300 predictions of 1,000 classes, median of 2"
    found = [re.fullmatch(r"(.*?) +([\d.]+) s( \(aim 5\))?", line) for line in lines[1:]]
    assert [one[1] for one in found][-1] == "all" and len(found) == 6
    parts = sum(float(one[2]) for one in found[:-1])
    assert abs(float(found[-1][2]) - parts) < 0.5 * parts + 0.1


def test_an_evaluation_beside_its_bare_forward(capsys):
    evaluation.forward(images=20, rounds=1, layers=18, side=32)
    said = capsys.readouterr().out
    first = re.search(r"forward alone ([\d.]+), evaluate ([\d.]+), from memory ([\d.]+)", said)
    assert first and all(float(speed) > 0 for speed in first.groups())
    assert re.search(r"^evaluate: [\d.]+ % of the bare forward speed", said, re.M)
