import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from imagenet_trainer.metrics.average_precision import PrecisionCollector, average_precision
from imagenet_trainer.metrics.right import right_classes


@pytest.mark.parametrize("seed", range(20))
def test_scikit_learn_agrees(seed):
    rng = np.random.default_rng(seed)
    right = rng.random(50) < 0.2
    right[0] = True
    scores = rng.random(50).astype(np.float32)
    if seed % 2:
        scores = np.round(scores, 1)  # equal scores
    wanted = average_precision_score(right, scores)
    assert average_precision(scores, right) == pytest.approx(wanted, abs=1e-12)


def test_the_mean_over_classes_with_images():
    rng = np.random.default_rng(0)
    truth = rng.random((30, 6)) < 0.3
    truth[:, 4] = False
    scores = rng.random((30, 6)).astype(np.float32)
    collector = PrecisionCollector(right_classes([np.flatnonzero(row) for row in truth], 6))
    order = rng.permutation(30)
    for part in np.split(order, [7, 19]):
        collector.add(part, scores[part])
    found = collector.by_class()
    used = [0, 1, 2, 3, 5]
    assert np.isnan(found[4])
    wanted = average_precision_score(truth[:, used], scores[:, used], average="macro")
    assert np.nanmean(found) == pytest.approx(wanted, abs=1e-12)
