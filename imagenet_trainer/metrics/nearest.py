"""The nearest of many vectors, which are not kept."""

from typing import Dict, Mapping

import numpy as np


class NearestVectors:
    """Finds the vectors with the greatest cosine to each of some queries.

    Parameters
    ----------
    queries
        float32 (n, d).
    k
        number of vectors to find for each.
    columns
        names and types of what is kept of a vector besides its similarity.

    Attributes
    ----------
    found
        `similarity` float32 (n, k), the greatest first, -inf where fewer than k vectors were
        added, and the columns (n, k). Of equally similar vectors those that were added first.

    """

    def __init__(self, queries: np.ndarray, k: int, columns: Mapping[str, type]) -> None:
        self._queries = _unit(queries)
        shape = len(queries), k
        self.found: Dict[str, np.ndarray] = {
            name: np.zeros(shape, kind) for name, kind in columns.items()
        }
        self.found["similarity"] = np.full(shape, -np.inf, np.float32)

    def add(self, vectors: np.ndarray, excluded: np.ndarray, **columns: np.ndarray) -> None:
        """Add vectors float32 (m, d) with their columns (m,).

        `excluded`, bool (n, m): vectors that are not to be found for a query.
        """
        new = self._queries @ _unit(vectors).T
        new[excluded] = -np.inf
        columns = {name: np.broadcast_to(value, new.shape) for name, value in columns.items()}
        columns["similarity"] = new
        k = self.found["similarity"].shape[1]
        joined = {name: np.hstack([self.found[name], value]) for name, value in columns.items()}
        order = np.argsort(-joined["similarity"], axis=1, kind="stable")[:, :k]
        self.found = {name: np.take_along_axis(one, order, 1) for name, one in joined.items()}


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1, or 0 where they are 0."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
