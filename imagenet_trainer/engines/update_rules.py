"""The update rules that both engines have: their state, and constants.

`engines.Optimizer` has the formulas of the first four. The others are those of `mx.optimizer` with
its defaults. With rate r, weight decay d, the gradient h = g + d w (g averaged over the batch),
update number t from 1, and a b for "b a + (1 - b) ...", the moving average:

rmsprop: v = .9 v + .1 h^2, w = w - r h / sqrt(v + 1e-8) (Tieleman and Hinton 2012).
rmsproptf: v = .9 v + .1 h^2 from v = 1 on, c = m c + r h / sqrt(v + 1e-3), w = w - c, as
TensorFlow, and timm's `rmsproptf` with its usual epsilon.
rmsproptorch: v = .9 v + .1 h^2, c = m c + h / (sqrt(v) + .0316), w = w - r c: torch.optim.RMSprop
with the constants of torchvision's training of MobileNetV3.
adagrad: s = s + g^2, w = w - r (g / sqrt(s + 1e-7) + d w) (Duchi et al. 2011).
adadelta: s = .9 s + .1 g^2, x = sqrt(u + 1e-5) / sqrt(s + 1e-5) g, u = .9 u + .1 x^2,
w = w - x - d w, without a rate (Zeiler 2012, arXiv:1212.5701).
adamax: a = .9 a + .1 h, u = max(.999 u, |h|), w = w - r / (1 - .9^t) a / u (Kingma and Ba 2014).
nadam: Adam whose step contains the next momentum (Dozat 2016); see `nadam_momentum`.
ftml: v = .999 v + .001 h^2, e = (1 - .6^t) / r (sqrt(v / (1 - .999^t)) + 1e-8),
z = .6 z + .4 h - (e - .6 d) w, d = e, w = -z / e (Zheng and Kwok 2017); nothing at a rate of 0.
signum: v = m v - (1 - m) h, w = w + r sign(v); without momentum w = w - r (sign(g) + d w)
(Bernstein et al. 2018, arXiv:1802.04434).
lamb: a, b of Adam from g, x = a / (sqrt(b) + 1e-6) + d w with both corrected for their bias,
w = w - r |w| / |x| x, the ratio 1 where a norm is 0 (You et al. 2019, arXiv:1904.00962).
adamw: a, b of Adam from g, w = w - r (a / (1 - .9^t) / (sqrt(b / (1 - .999^t)) + 1e-8) + d w)
(Loshchilov and Hutter 2017, arXiv:1711.05101).
lion: w = w - r (sign(.9 a + .1 g) + d w), then a = .99 a + .01 g (Chen et al. 2023,
arXiv:2302.06675).

adamw, lion, rmsproptf and rmsproptorch are not those of `mx.optimizer`. h is clipped where it is
used, otherwise g.
"""

from typing import Any, Dict, Mapping, Tuple

import numpy as np

# The arrays that each rule keeps for a parameter, in the order of MXNet's state tuples.
STATES: Dict[str, Tuple[str, ...]] = {
    "sgd": ("momentum",),
    "nag": ("momentum",),
    "lbsgd": ("momentum",),
    "signum": ("momentum",),
    "adam": ("mean", "variance"),
    "nadam": ("mean", "variance"),
    "lamb": ("mean", "variance"),
    "adamw": ("mean", "variance"),
    "lion": ("mean",),
    "adamax": ("mean", "largest"),
    "rmsprop": ("variance",),
    "rmsproptf": ("variance", "momentum"),
    "rmsproptorch": ("variance", "momentum"),
    "adagrad": ("squares",),
    "adadelta": ("variance", "steps"),
    "ftml": ("scale", "variance", "leader"),
}
_MOMENTUM_ONLY = ("sgd", "nag", "lbsgd", "signum")  # without momentum they keep nothing
WITH_MOMENTUM = (*_MOMENTUM_ONLY, "rmsproptf", "rmsproptorch")
_COUNTING = ("adam", "nadam", "lamb", "adamw", "adamax", "ftml")  # t is in their formulas
BEGAN = "rule_began"  # in a state: `began_at`, if that is not 0
STATE_NAMES = {name for names in STATES.values() for name in names}

# A rate below this moves no float32 weight. MXNet refuses numbers below 1.2e-38, to which steps or
# polynomials fall in long runs.
SMALLEST_RATE = 1e-30
_BETA1, _DECAY = 0.9, 0.004
_NEGLIGIBLE = 400  # factors below .9 whose product is below half an ulp of 1


def state_names(name: str, momentum: float) -> Tuple[str, ...]:
    """The arrays that a rule keeps for each parameter."""
    return () if name in _MOMENTUM_ONLY and not momentum else STATES[name]


def initial_state(name: str, label: str) -> float:
    """What all elements of an array are before the first update."""
    return 1.0 if (name, label) == ("rmsproptf", "variance") else 0.0


def began_at(name: str, state: Mapping[str, Any], updates: int) -> int:
    """The number of updates before those that a rule counts, for a state after `updates`.

    A run that continues from parameters alone, as those of another program, begins with averages of
    zero. Their bias is corrected by the updates since then.
    """
    if name not in _COUNTING:
        return 0
    has_averages = any(key.partition(":")[0] in STATES[name] for key in state)
    return int(state.get(BEGAN, 0)) if has_averages else updates


def renumbered(state: Mapping[str, Any], updates: int) -> Dict[str, Any]:
    """The state of a run with other batches, or {}, as that of one that has made `updates`.

    What a rule counts stays.
    """
    moved = updates - int(state.get("updates", updates))
    changed = {"updates": np.array(updates, np.int64)}
    if moved:
        changed[BEGAN] = np.array(int(state.get(BEGAN, 0)) + moved, np.int64)
    return {**state, **changed}


def nadam_momentum(update: int) -> Tuple[float, float, float]:
    """Momentum of an update (from 1) and of the next one, and the product of all so far.

    MXNet multiplies its product once for every parameter instead of once for every update, so its
    steps depend on the number of parameters, and a resumed training starts with a product of 1.
    """
    product = 1.0
    for number in range(1, min(update, _NEGLIGIBLE) + 1):
        product *= _nadam_momentum(number)
    return _nadam_momentum(update), _nadam_momentum(update + 1), product


def _nadam_momentum(update: int) -> float:
    return _BETA1 * (1 - 0.5 * 0.96 ** (update * _DECAY))
