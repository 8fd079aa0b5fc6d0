"""2-bit gradient compression: a device sends -t, 0 or t for a gradient and keeps the residual.

The rule is that of MXNet's `2bit`. Adding the residual to the next gradient is Seide et al. 2014,
"1-bit stochastic gradient descent", section 3. MXNet's own implementation is not used: its Module
refuses it with servers, there it would also compress counts, and checkpoints cannot store its
residuals.

The kvstore is unchanged and sums float32 words. For each gradient a digit -1, 0 or 1 is sent, in
base 2 n + 1 for n devices in total, whose digits range from -n to n. So sums of n digits have no
carry, and the sum of words is the word of the sums. A word holds as many digits as keep it below
2^23 in size, where float32 represents every integer, in both directions. Sums are exact, in
whatever order the servers compute them.
"""

from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

import numpy as np

from imagenet_trainer.engines.workers import Workers, of_all_devices
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.mxnet_import import mx

# The least number of gradients per message: few messages, and the gradients of the last layers are
# sent while those of the first ones are computed.
_BUCKET_SIZE = 2**20
_RESIDUAL, _DEVICES = "kept:", "kept_by"  # keys in a state


def digits_of(devices: int) -> Tuple[int, int]:
    """(base, digits in a word) for sums over this number of devices."""
    base, digits = 2 * devices + 1, 1
    while base ** (digits + 1) <= 2**24:
        digits += 1
    return base, digits


def describe_compression(devices: int) -> str:
    """The line for the log."""
    if devices == 1:
        return "2-bit gradient compression: a single device sends nothing, but rounds its gradients"
    digits = digits_of(devices)[1]
    return (
        f"2-bit gradient compression: with {devices} devices 32 bits hold {digits} gradients in "
        "both directions; checkpoints contain the residuals"
    )


class TwoBit:
    """Sums the compressed gradients of all devices of all workers.

    Parameters
    ----------
    threshold
        t, for gradients as a module has them: summed over a device's part of the batch.
    module
        has the gradients; parameters that are not trained have none.
    kvstore
        sums arrays; None for a single device.
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
        self._even = True  # all devices have the same residuals
        if kvstore is not None:
            for number, bucket in enumerate(self._buckets):
                kvstore.init(_key(number), mx.nd.zeros(bucket.words))

    def sum_gradients(self, scale: float = 1.0) -> None:
        """Replace the gradients by the sums, without waiting; both are multiplied by `scale`."""
        self._even = False
        for number, bucket in enumerate(self._buckets):
            packed = [bucket.pack(device, scale) for device in range(self._here)]
            if self._kvstore is not None:
                self._kvstore.pushpull(_key(number), packed, priority=-number)
            for device, words in enumerate(packed):
                bucket.unpack(words, device, scale)

    def share(self) -> None:
        """Distribute the sum of all residuals evenly over the devices."""
        if self._even:
            return
        here = [sum(r.asnumpy().astype(np.float64) for r in b.residuals) for b in self._buckets]
        each = self._workers.sum(np.concatenate(here)) / self.devices
        ends = np.cumsum([len(part) for part in here])[:-1]
        for bucket, part in zip(self._buckets, np.split(each, ends)):
            for residual in bucket.residuals:
                residual[:] = part.astype(np.float32)
        self._even = True

    def state(self) -> Arrays:
        """`kept_by`, the number of devices, and `kept:NAME` float32 if their residuals are equal.

        Otherwise `kept:DEVICE:NAME`, with devices numbered over all workers, all of which must call
        this.
        """
        state: Arrays = {_DEVICES: np.array(self.devices, np.int64)}
        here: List[Arrays] = [{} for _ in range(1 if self._even else self._here)]
        for device, arrays in enumerate(here):
            for bucket in self._buckets:
                arrays.update(bucket.residuals_by_name(device))
        if self._even:
            return {**state, **{_RESIDUAL + name: value for name, value in here[0].items()}}
        for device, arrays in enumerate(of_all_devices(here, self._workers)):
            state.update({f"{_RESIDUAL}{device}:{name}": value for name, value in arrays.items()})
        return state

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a state; another number of devices shares its residuals evenly."""
        devices = int(state.get(_DEVICES, 0))
        differ = any(key.startswith(f"{_RESIDUAL}0:") for key in state)
        self._even = not differ or devices != self.devices
        for bucket in self._buckets:
            rows: Sequence[Any] = [
                bucket.flat(state, f"{_RESIDUAL}{device}:" if differ else _RESIDUAL)
                for device in range(devices)
            ]
            if self._even:
                rows = [np.sum(rows, 0, np.float64) / self.devices] * self.devices
            for device, residual in enumerate(bucket.residuals, self._workers.rank * self._here):
                residual[:] = np.asarray(rows[device], np.float32)


class _Bucket:
    """Gradients that are sent as one array; for each parameter, a list with one per device."""

    def __init__(self, gradients: Dict[str, List[Any]], threshold: float, devices: int) -> None:
        self._gradients, self._threshold = gradients, threshold
        self._base, self._digits = digits_of(devices)
        of_first = [of_devices[0] for of_devices in gradients.values()]
        self._sizes = [gradient.size for gradient in of_first]
        self.words = -(-sum(self._sizes) // self._digits)
        self._padding = self.words * self._digits - sum(self._sizes)
        contexts = [gradient.context for gradient in next(iter(gradients.values()))]
        # float32 (digits * words,) on each device, padded with zeros after the last parameter.
        size = self.words * self._digits
        self.residuals = [mx.nd.zeros(size, ctx=context) for context in contexts]

    def pack(self, device: int, scale: float) -> "mx.nd.NDArray":
        """The words that a device sends, float32 (words,); updates its residuals."""
        residual, threshold = self.residuals[device], self._threshold
        for part, gradient in self._parts(residual, device):
            _add(part, gradient, 1 / scale)
        digits = (residual >= threshold) - (residual <= -threshold)
        _add(residual, digits, -threshold)
        # Infinite values would be sent as finite ones and never show in the loss. 0 times inf is
        # not a number, so the digits become nan.
        _add(digits, residual, 0.0)
        rows = digits.reshape((self._digits, self.words))
        words = rows[0].copy()
        for row in range(1, self._digits):
            words *= self._base
            words += rows[row]
        return words

    def unpack(self, words: "mx.nd.NDArray", device: int, scale: float) -> None:
        """Write the sums of the words that the devices sent to a device's gradients."""
        digits = mx.nd.empty((self._digits, self.words), ctx=words.context)
        for row in range(self._digits - 1, 0, -1):
            rest = mx.nd.round(words / self._base)
            mx.nd.elemwise_sub(words, rest * self._base, out=digits[row])
            words = rest
        words.copyto(digits[0])
        for part, gradient in self._parts(digits.reshape((-1,)), device):
            mx.nd._internal._mul_scalar(part, scalar=self._threshold * scale, out=gradient)

    def _parts(self, flat: Any, device: int) -> Iterator[Tuple[Any, Any]]:
        """Each gradient of a device with its part of a float32 (digits * words,), in its shape."""
        begin = 0
        for of_devices, size in zip(self._gradients.values(), self._sizes):
            gradient = of_devices[device]
            yield flat[begin : begin + size].reshape(gradient.shape), gradient
            begin += size

    def residuals_by_name(self, device: int) -> Arrays:
        """The residuals of a device in the shapes of the gradients."""
        parts = np.split(self.residuals[device].asnumpy(), np.cumsum(self._sizes))
        return {
            name: part.reshape(of_devices[device].shape)
            for (name, of_devices), part in zip(self._gradients.items(), parts)
        }

    def flat(self, state: Mapping[str, np.ndarray], prefix: str) -> np.ndarray:
        """The residuals in a state as one array, in the order of the parameters."""
        parts = [state[prefix + name].ravel() for name in self._gradients]
        return np.concatenate([*parts, np.zeros(self._padding, np.float32)])


def _add(to: "mx.nd.NDArray", values: "mx.nd.NDArray", factor: float) -> None:
    # In one operator, that of sgd.
    mx.nd.sgd_update(to, values, out=to, lr=-factor, wd=0.0)


def _key(bucket: int) -> str:
    return f"compressed gradients {bucket}"


def _in_buckets(gradients: Mapping[str, List[Any]]) -> List[Dict[str, List[Any]]]:
    """Neighbouring parameters in buckets, without those that have no gradient."""
    buckets: List[Dict[str, List[Any]]] = []
    size = _BUCKET_SIZE
    for name, of_devices in gradients.items():
        if of_devices[0] is None:
            continue
        if size >= _BUCKET_SIZE:
            buckets.append({})
            size = 0
        buckets[-1][name] = of_devices
        size += of_devices[0].size
    return buckets
