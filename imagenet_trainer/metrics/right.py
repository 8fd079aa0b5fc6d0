"""The right classes of images that may have several, or none."""

from typing import Sequence

import numpy as np
from scipy.sparse import csr_matrix

RightClasses = csr_matrix
"""Bool (images, classes), sparse: which classes are right."""


def right_classes(rows: Sequence[Sequence[int]], classes: int) -> csr_matrix:
    """The right classes of each image as a matrix; negative ones are left out."""
    kept = [[label for label in dict.fromkeys(one) if label >= 0] for one in rows]
    starts = np.cumsum([0, *map(len, kept)])
    columns = np.array([label for one in kept for label in one], np.int64)
    return csr_matrix((np.ones(len(columns), bool), columns, starts), (len(kept), classes))
