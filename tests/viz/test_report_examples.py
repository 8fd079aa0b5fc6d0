import numpy as np

from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.metrics.semantic import ConfusedPair
from imagenet_trainer.viz.report_examples import label_suspects, pair_examples, worst_images

# label, first class, its probability, the label's probability
ROWS = [
    (0, 0, 0.90, 0.90), (0, 1, 0.95, 0.01), (0, 1, 0.60, 0.30), (1, 1, 0.70, 0.70),
    (1, 0, 0.99, 0.001), (1, 2, 0.45, 0.20), (2, 2, 0.20, 0.20), (2, 1, 0.55, 0.02),
    (2, 1, 0.72, 0.28),
]  # fmt: skip


def predictions():
    labels, first, sure, true = (np.array(column) for column in zip(*ROWS))
    top = np.stack([first, (first + 1) % 3, (first + 2) % 3], axis=1)
    probabilities = np.zeros((len(ROWS), 3), np.float32)
    probabilities[:, 0] = sure
    rank = np.argmax(top == labels[:, None], axis=1)
    return Predictions(
        100 + np.arange(len(ROWS)), labels, top, probabilities, true.astype(np.float32), rank, 3
    )


def test_worst_images_are_sorted_by_loss():
    assert worst_images(predictions(), 3).tolist() == [4, 1, 7]
    assert worst_images(predictions(), 99).tolist() == [4, 1, 7, 5, 8, 2]


def test_label_suspects_by_hand():
    # Mean probability of class 0 on its images: (0.9 + 0.01 + 0.3) / 3 = 0.403; of class 1:
    # (0.7 + 0.001 + 0.2) / 3 = 0.300; of 2: 0.167. So 4, 1, 2, 7, 8 pass; 5 is below 0.5.
    assert label_suspects(predictions(), 99).tolist() == [4, 1, 7, 8, 2]
    assert label_suspects(predictions(), 2).tolist() == [4, 1]


def test_a_probability_below_the_mean_of_the_class_is_no_suspect():
    before = predictions()
    true = before.true.copy()
    true[[3, 4, 5]] = 0.97  # the mean probability of class 1 on its images, more than 0.95
    changed = Predictions(**{**vars(before), "true": true})
    assert label_suspects(changed, 99).tolist() == [4]


def test_examples_of_a_pair_are_the_most_confident_errors():
    [examples] = pair_examples(predictions(), [ConfusedPair(0, 1, 2, 1)], 3)
    assert examples.a_as_b == [1, 2] and examples.b_as_a == [4]
    [examples] = pair_examples(predictions(), [ConfusedPair(0, 1, 2, 1)], 1)
    assert examples.a_as_b == [1]
