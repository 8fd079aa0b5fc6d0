"""Labels that are probably wrong, by confident learning.

Northcutt, Jiang and Chuang 2021, "Confident learning: estimating uncertainty in dataset labels",
arXiv:1911.00068, as in the authors' library, cleanlab.
"""

import warnings
from typing import NamedTuple

import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.wheels import pip_install


class LabelIssues(NamedTuple):
    """Positions of images whose labels are probably wrong, and how well each label fits."""

    positions: np.ndarray  # int64 (n,), the worst first
    quality: np.ndarray  # float64 (n,): in [0, 1], 1 is best


def check_library() -> None:
    """InputError unless cleanlab is installed."""
    try:
        import cleanlab
    except ImportError as error:
        raise InputError(f"--audit: needs {error.name}; {pip_install('audit')}") from error
    del cleanlab


def label_issues(labels: np.ndarray, probabilities: np.ndarray) -> LabelIssues:
    """Find labels that are probably wrong; InputError if all are the same.

    Parameters
    ----------
    labels
        int64 (images,): as given.
    probabilities
        float32 (images, classes), of networks that were not trained on the image.

    """
    if not (labels != labels[0]).any():
        raise InputError("--audit: all images are labelled with one class")
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes with few images: their labels are kept
        positions = find_label_issues(
            labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
        )
        quality = get_label_quality_scores(labels, probabilities)
    positions = np.asarray(positions, np.int64)
    return LabelIssues(positions, quality[positions])
