"""A simulated NVML, for machines without GPUs."""

from types import SimpleNamespace

GIB = 2**30


class NVMLError(Exception):
    pass


class FakeNvml:
    """Simulates pynvml with two GPUs; tests set their `readings`."""

    NVMLError, NVML_TEMPERATURE_GPU = NVMLError, 0
    uuids = ("GPU-aaaa-1", "GPU-bbbb-2")

    def __init__(self):
        self.readings = {0: [50.0, 2 * GIB, 60, 200_000], 1: [90.0, 4 * GIB, 70, 250_000]}
        self.queries = 0

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        if index not in self.readings:
            raise NVMLError("Invalid Argument")
        return index

    def nvmlDeviceGetUUID(self, handle):
        return self.uuids[handle]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        raise NVMLError("Not Found")

    def _reading(self, handle, what):
        self.queries += 1
        value = self.readings[handle][what]
        if value is None:
            raise NVMLError("Not Supported")
        return value

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=self._reading(handle, 0))

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(used=self._reading(handle, 1))

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return self._reading(handle, 2)

    def nvmlDeviceGetPowerUsage(self, handle):
        return self._reading(handle, 3)
