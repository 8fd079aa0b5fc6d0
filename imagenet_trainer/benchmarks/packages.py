"""Which packages are installed, found without importing any of them.

`doctor` begins with this: it must also work where a package is missing.
"""

import importlib.util
import platform
from importlib import metadata
from typing import Dict, List, Optional

from imagenet_trainer import __version__

_SHOWN = (
    "numpy", "opencv-python-headless", "mxnet", "mxnet-cu117", "torch", "Pillow", "datashader",
    "tqdm", "nvidia-ml-py",
)  # fmt: skip
# Modules of the packages that setup.cfg requires.
REQUIRED = {
    "numpy": "numpy", "opencv-python-headless": "cv2", "Pillow": "PIL", "pandas": "pandas",
    "datashader": "datashader", "tqdm": "tqdm", "Jinja2": "jinja2", "matplotlib": "matplotlib",
    "scipy": "scipy", "psutil": "psutil", "PyYAML": "yaml", "safetensors": "safetensors",
    "tensorboard": "tensorboard",
}  # fmt: skip


def print_packages() -> Dict[str, Optional[str]]:
    """Print the versions of this program, Python and packages; return those of the packages."""
    print(
        f"imagenet-trainer {__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    versions = {package: installed(package) for package in _SHOWN}
    for package, version in versions.items():
        print(f"  {package:24}{version or 'not installed'}")
    return versions


def missing() -> List[str]:
    """What to do about each package that is required and not installed."""
    return [
        f"{package} is not installed; in the checkout run: pip install -e ."
        for package, module in REQUIRED.items()
        if not _exists(module)
    ]


def _exists(module: str) -> bool:
    """Whether a module is installed; another package may bring it, such as opencv-python."""
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # imported, but without a specification
        return False


def installed(package: str) -> Optional[str]:
    """Version of an installed package; None without it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
