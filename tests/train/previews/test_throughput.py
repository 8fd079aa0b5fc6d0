"""--test-io."""

import re

from imagenet_trainer import fit
from imagenet_trainer.data.mixup import Mixup


def test_short_intervals_do_not_measure_the_queue(fit_words, capsys):
    assert fit.main([*fit_words, "--test-io", "1", "--disp-batches", "1"]) == 0
    lines = capsys.readouterr().err.splitlines()
    found = [re.search(r"Batch \[(\d+)-(\d+)\]\tSpeed: ", line) for line in lines]
    intervals = [(int(one[1]), int(one[2])) for one in found if one]
    # Four batches may wait, and one thread works on another.
    assert intervals == [(20 * k, 20 * (k + 1)) for k in range(5)]
    assert any("--disp-batches 1: intervals have 20 batches" in line for line in lines)


def test_longer_intervals_are_kept_and_images_are_mixed(fit_words, capsys, monkeypatch):
    made = []
    real = Mixup.mix
    monkeypatch.setattr(Mixup, "mix", staticmethod(lambda *pair: (made.append(1), real(*pair))))
    words = [*fit_words, "--test-io", "1", "--disp-batches", "25", "--mixup", "0.2"]
    assert fit.main(words) == 0
    error = capsys.readouterr().err
    assert "Batch [0-25]" in error and "--disp-batches" not in error
    assert len(made) >= 5 * 25
