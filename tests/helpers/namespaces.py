"""Network namespaces as separate machines; needs root."""

import os
import subprocess

import pytest


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def namespaces():
    """Three machines on one network: 10.77.0.1 to 10.77.0.3; their names end with -1 to -3."""
    prefix = f"launch-test-{os.getpid()}"  # the tests may run twice at the same time
    names = [f"{prefix}-{number}" for number in (1, 2, 3)]
    try:
        try:
            for name in names:
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            ip("-n", names[0], "link", "add", "wire", "type", "bridge")
            ip("-n", names[0], "addr", "add", "10.77.0.1/24", "dev", "wire")
            ip("-n", names[0], "link", "set", "wire", "up")
            for number in (2, 3):
                name, port = f"{prefix}-{number}", f"port{number}"
                words = ("type", "veth", "peer", "name", "eth7", "netns", name)
                ip("-n", names[0], "link", "add", port, *words)
                ip("-n", names[0], "link", "set", port, "master", "wire", "up")
                ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "eth7")
                ip("-n", name, "link", "set", "eth7", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", "") or str(error)
            pytest.skip(f"network namespaces cannot be made: {reason.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
