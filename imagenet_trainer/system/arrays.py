"""The type of named arrays: parameters, auxiliary states, the state of an engine."""

from typing import Dict

import numpy as np

Arrays = Dict[str, np.ndarray]
