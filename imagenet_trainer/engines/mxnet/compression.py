"""--gc-type 2bit: every device sends -t, 0 or t for a gradient and keeps what that leaves.

The rule is that of MXNet's `2bit`; keeping the rest for the next gradient is Seide et al. 2014,
"1-bit stochastic gradient descent", section 3. MXNet's own is not used: its Module refuses it with
servers, there it would compress counts too, and no checkpoint can have what it keeps.

Here the kvstore stays as it is and adds float32 words up. What is sent of a gradient is a digit -1,
0 or 1 in base 2 n + 1, for n devices in all, whose digits go from -n to n: so no sum of n digits
carries, and the sum of words is the word of sums. As many digits as leave a word's size below 2^23,
where float32 has every integer, travel in it, there and back. Sums are exact, in whatever order
the servers make them.
"""

from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

import numpy as np

from imagenet_trainer.engines.workers import Workers, of_all_devices
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.mxnet_import import mx

# Gradients that travel together, at least: few messages, and those of the last layers leave while
# those of the first are computed.
_TOGETHER = 2**20
_KEPT, _KEPT_BY = "kept:", "kept_by"  # in a state


def digits_of(devices: int) -> Tuple[int, int]:
    """(base, digits in a word) for sums over so many devices."""
    base, digits = 2 * devices + 1, 1
    while base ** (digits + 1) <= 2**24:
        digits += 1
    return base, digits


def in_words(devices: int) -> str:
    """What the log says of it."""
    if devices == 1:
        return "--gc-type 2bit: one device sends nothing; its gradients are rounded all the same"
    digits = digits_of(devices)[1]
    return (
        f"--gc-type 2bit: with {devices} devices {digits} gradients travel in 32 bits, there and "
        "back; what they are rounded by is in checkpoints"
    )


class TwoBit:
    """Adds up what all devices of all workers send of their gradients.

    Parameters
    ----------
    threshold
        t, of gradients as a module has them: summed over a device's part of the batch.
    module
        whose gradients; parameters that do not learn have none.
    kvstore
        what adds arrays up; None for one device alone.
    workers
        the group that this process trains with.

    """

    def __init__(
        self, threshold: float, module: "mx.mod.Module", kvstore: Any, workers: Workers
    ) -> None:
        self._kvstore, self._workers = kvstore, workers
        self._here = len(module._context)
        self.devices = self._here * workers.world_size
        group = module._exec_group
        self._buckets = [
            _Bucket(gradients, threshold, self.devices)
            for gradients in _in_buckets(dict(zip(group.param_names, group.grad_arrays)))
        ]
        self._even = True  # all devices keep the same
        if kvstore is not None:
            for number, bucket in enumerate(self._buckets):
                kvstore.init(_key(number), mx.nd.zeros(bucket.words))

    def add_up(self, scale: float = 1.0) -> None:
        """Put the sums in the gradients' places, not waited for; both are times `scale`."""
        self._even = False
        for number, bucket in enumerate(self._buckets):
            packed = [bucket.pack(device, scale) for device in range(self._here)]
            if self._kvstore is not None:
                self._kvstore.pushpull(_key(number), packed, priority=-number)
            for device, words in enumerate(packed):
                bucket.unpack(words, device, scale)

    def share(self) -> None:
        """Let every device keep the same part of what all of them keep."""
        if self._even:
            return
        here = [sum(k.asnumpy().astype(np.float64) for k in b.kept) for b in self._buckets]
        each = self._workers.sum(np.concatenate(here)) / self.devices
        ends = np.cumsum([len(part) for part in here])[:-1]
        for bucket, part in zip(self._buckets, np.split(each, ends)):
            for kept in bucket.kept:
                kept[:] = part.astype(np.float32)
        self._even = True

    def state(self) -> Arrays:
        """`kept_by`, a number of devices, and `kept:NAME` float32 if all of them keep the same.

        Otherwise `kept:DEVICE:NAME`, devices counted over all workers, who all call this.
        """
        state: Arrays = {_KEPT_BY: np.array(self.devices, np.int64)}
        here: List[Arrays] = [{} for _ in range(1 if self._even else self._here)]
        for device, arrays in enumerate(here):
            for bucket in self._buckets:
                arrays.update(bucket.kept_by_name(device))
        if self._even:
            return {**state, **{_KEPT + name: value for name, value in here[0].items()}}
        for device, arrays in enumerate(of_all_devices(here, self._workers)):
            state.update({f"{_KEPT}{device}:{name}": value for name, value in arrays.items()})
        return state

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from it; another number of devices shares what those of the state kept."""
        kept_by = int(state.get(_KEPT_BY, 0))
        differ = any(key.startswith(f"{_KEPT}0:") for key in state)
        self._even = not differ or kept_by != self.devices
        for bucket in self._buckets:
            rows: Sequence[Any] = [
                bucket.flat(state, f"{_KEPT}{device}:" if differ else _KEPT)
                for device in range(kept_by)
            ]
            if self._even:
                rows = [np.sum(rows, 0, np.float64) / self.devices] * self.devices
            for device, kept in enumerate(bucket.kept, self._workers.rank * self._here):
                kept[:] = np.asarray(rows[device], np.float32)


class _Bucket:
    """Gradients that travel as one array; by parameter a list with that of each device here."""

    def __init__(self, gradients: Dict[str, List[Any]], threshold: float, devices: int) -> None:
        self._gradients, self._threshold = gradients, threshold
        self._base, self._digits = digits_of(devices)
        of_first = [of_devices[0] for of_devices in gradients.values()]
        self._sizes = [gradient.size for gradient in of_first]
        self.words = -(-sum(self._sizes) // self._digits)
        self._padding = self.words * self._digits - sum(self._sizes)
        contexts = [gradient.context for gradient in next(iter(gradients.values()))]
        # float32 (digits * words,) on each device, 0 at the end where the last parameter ends.
        self.kept = [mx.nd.zeros(self.words * self._digits, ctx=context) for context in contexts]

    def pack(self, device: int, scale: float) -> "mx.nd.NDArray":
        """What a device sends: float32 (words,). The rest is kept."""
        kept, threshold = self.kept[device], self._threshold
        for part, gradient in self._parts(kept, device):
            _add(part, gradient, 1 / scale)
        digits = (kept >= threshold) - (kept <= -threshold)
        _add(kept, digits, -threshold)
        # What is not finite would be sent as a number, and no loss would ever tell: 0 inf is none.
        _add(digits, kept, 0.0)
        rows = digits.reshape((self._digits, self.words))
        words = rows[0].copy()
        for row in range(1, self._digits):
            words *= self._base
            words += rows[row]
        return words

    def unpack(self, words: "mx.nd.NDArray", device: int, scale: float) -> None:
        """Put sums of what devices sent in the places of a device's gradients."""
        digits = mx.nd.empty((self._digits, self.words), ctx=words.context)
        for row in range(self._digits - 1, 0, -1):
            rest = mx.nd.round(words / self._base)
            mx.nd.elemwise_sub(words, rest * self._base, out=digits[row])
            words = rest
        words.copyto(digits[0])
        for part, gradient in self._parts(digits.reshape((-1,)), device):
            mx.nd._internal._mul_scalar(part, scalar=self._threshold * scale, out=gradient)

    def _parts(self, flat: Any, device: int) -> Iterator[Tuple[Any, Any]]:
        """Each gradient of a device and its part, in its shape, of a float32 (digits * words,)."""
        begin = 0
        for of_devices, size in zip(self._gradients.values(), self._sizes):
            gradient = of_devices[device]
            yield flat[begin : begin + size].reshape(gradient.shape), gradient
            begin += size

    def kept_by_name(self, device: int) -> Arrays:
        """What a device keeps, in the shapes of the gradients."""
        parts = np.split(self.kept[device].asnumpy(), np.cumsum(self._sizes))
        return {
            name: part.reshape(of_devices[device].shape)
            for (name, of_devices), part in zip(self._gradients.items(), parts)
        }

    def flat(self, state: Mapping[str, np.ndarray], prefix: str) -> np.ndarray:
        """What was kept as one array, of the parameters' keys in a state."""
        parts = [state[prefix + name].ravel() for name in self._gradients]
        return np.concatenate([*parts, np.zeros(self._padding, np.float32)])


def _add(to: "mx.nd.NDArray", values: "mx.nd.NDArray", factor: float) -> None:
    # In one operator, which sgd's is.
    mx.nd.sgd_update(to, values, out=to, lr=-factor, wd=0.0)


def _key(bucket: int) -> str:
    return f"compressed gradients {bucket}"


def _in_buckets(gradients: Mapping[str, List[Any]]) -> List[Dict[str, List[Any]]]:
    """Neighbours together; without parameters that have no gradient."""
    buckets: List[Dict[str, List[Any]]] = []
    size = _TOGETHER
    for name, of_devices in gradients.items():
        if of_devices[0] is None:
            continue
        if size >= _TOGETHER:
            buckets.append({})
            size = 0
        buckets[-1][name] = of_devices
        size += of_devices[0].size
    return buckets
