"""The confusion matrix as a sparse matrix: its memory grows with the predictions.

ImageNet-21k has 21,841 classes, so its matrix has 477 million cells, of which 500,000 images fill
less than one in a hundred. All functions take counts as any matrix that SciPy accepts, rows true,
columns predicted, and return `csr_matrix` of int64 with sorted columns and no stored zeros.
"""

from typing import Any, Mapping, Tuple

import numpy as np
from scipy.sparse import csr_matrix, diags

from imagenet_trainer.system.arrays import Arrays

Counts = csr_matrix
"""The type of the matrices."""

DENSE = 1000
"""Up to this number of classes, files hold the matrix as one array, `matrix`."""


def as_counts(matrix: Any) -> csr_matrix:
    """A matrix of counts in the form above."""
    counts = csr_matrix(matrix, dtype=np.int64, copy=True)
    counts.sum_duplicates()  # sorts the columns, too
    counts.eliminate_zeros()
    return counts


def top_k_confusion(labels: np.ndarray, top: np.ndarray, classes: int) -> csr_matrix:
    """Count (true class, predicted class) for every column of `top`: (classes, classes).

    n images with k predictions each add n * k counts. Takes int64 (n,) and int64 (n, k), as
    returned by `top_classes`. Raises ValueError for a class outside 0..classes-1.
    """
    cells = np.ravel_multi_index((labels[:, None], top), (classes, classes))
    found, counts = np.unique(cells, return_counts=True)
    return csr_matrix((counts.astype(np.int64), np.divmod(found, classes)), (classes, classes))


def off_diagonal(matrix: csr_matrix) -> csr_matrix:
    """The errors: the same counts without the diagonal."""
    return as_counts(matrix - diags(matrix.diagonal(), format="csr", dtype=np.int64))


def most_confused(matrix: csr_matrix) -> Tuple[np.ndarray, np.ndarray]:
    """For each true class the other class that is predicted most often, and how often.

    Both int64 (classes,), 0 and 0 for classes without errors; of equal counts the class with the
    lower index.
    """
    errors = off_diagonal(matrix).tocoo()
    classes, times = np.zeros((2, matrix.shape[0]), np.int64)
    order = np.lexsort((errors.col, -errors.data, errors.row))
    rows, first = np.unique(errors.row[order], return_index=True)
    classes[rows], times[rows] = errors.col[order][first], errors.data[order][first]
    return classes, times


def reordered(matrix: csr_matrix, order: np.ndarray) -> csr_matrix:
    """The matrix with another order of its classes: position p is class order[p]."""
    return as_counts(matrix[order][:, order])


def equal(one: csr_matrix, other: csr_matrix) -> bool:
    """Whether two matrices have the same counts."""
    return one.shape == other.shape and (one != other).nnz == 0


def arrays_of(matrix: csr_matrix) -> Arrays:
    """The arrays of a file: `matrix`, or above DENSE classes those of `scipy.sparse.load_npz`."""
    if matrix.shape[0] <= DENSE:
        return {"matrix": matrix.toarray()}
    return {
        "format": np.array(b"csr"), "shape": np.array(matrix.shape), "data": matrix.data,
        "indices": matrix.indices, "indptr": matrix.indptr,
    }  # fmt: skip


def matrix_in(arrays: Mapping[str, np.ndarray]) -> csr_matrix:
    """The matrix in the arrays of a file; ValueError for those of another file."""
    try:
        if "matrix" in arrays:
            return as_counts(arrays["matrix"])
        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        found = csr_matrix(parts, tuple(arrays["shape"].tolist()))
        found.check_format()
        return as_counts(found)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(f"holds no confusion matrix ({error})") from error
