"""Rules besides the layers in setup.cfg: modules at the root, libraries, no pickles, no shell."""

import ast
import configparser
import subprocess
import sys
from functools import lru_cache

import pytest
from conftest import ROOT

PACKAGE = "imagenet_trainer"
COMMANDS = {"fit", "evaluate", "predict", "compare", "export", "published", "benchmark", "doctor"}

# Libraries that only some rooms or modules may open; benchmarks may open all.
LIBRARIES = {
    "mxnet": "system.mxnet_import",
    "gluoncv": "",
    "cv2": "data recordio explore packing viz.thumbnails system.machine train.run_config",
    "datashader": "viz explore",
    "xarray": "viz explore",
    "matplotlib": "viz explore comparison",
    "PIL": "assets data viz explore symbols.gluoncv_zoo",
    "jinja2": "viz",
    "wandb": "runs.tracking_wandb",
    "mlflow": "runs.tracking_mlflow",
    "pyarrow": "packing.formats system.parquet",
    "fsspec": "system.fsspec_client",
    "aiohttp": "system.fsspec_client",
    "psutil": "system comparison.child_process",
    "onnx": "convert",
    "onnxruntime": "convert",
    "torch": "engines.pytorch launch.torchrun data.standalone",
    "tqdm": "system.progress_bar packing.console explore runs.logs",
    "scipy": "data.mixup metrics packing.ilsvrc system.mxnet_import viz",
    "subprocess": "comparison.child_process launch system.gpus train.when_done viz.video",
    "cleanlab": "metrics.label_issues",
    "umap": "viz.feature_map",
    "imagecorruptions": "data.corruptions",
    "pynvml": "",
    "tensorboard": "runs.tensorboard",
    "tensorboardX": "",  # imports PyTorch where it is installed
}
UNPICKLERS = ("pickle", "_pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle")


def sources(folder):
    """The modules below a folder; `rglob` does not follow the link to symbols/."""
    return sorted([*(ROOT / folder).rglob("*.py"), *(ROOT / folder / "symbols").glob("*.py")])


@lru_cache
def modules():
    """The syntax nodes of every module by its name, without the package's; its root first."""
    found = {}
    for folder in (PACKAGE, "tools"):
        for path in sources(folder):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            name = ".".join(parts[1:] if parts[0] == PACKAGE else parts)
            found[name] = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))))
    return found


def imported(nodes):
    """Names of the modules that nodes import anywhere, those for type checkers apart."""
    typing = {
        child
        for node in nodes
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for part in node.body
        for child in ast.walk(part)
    }
    for node in nodes:
        if isinstance(node, ast.Import) and node not in typing:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node not in typing:
            assert node.level == 0, f"line {node.lineno}: imports are written in full"
            yield node.module


def inside(name, room):
    return name == room or name.startswith(room + ".")


def test_only_commands_recordio_errors_and_text_are_outside_rooms():
    found = {path.stem for path in (ROOT / PACKAGE).glob("*.py")}
    assert found == {*COMMANDS, "recordio", "__init__", "__main__", "errors", "text"}


def test_every_room_is_installed_and_has_a_docstring():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = setup["options"]["packages"].split()
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in sources(PACKAGE)}
    assert sorted(packages) == sorted(folders)
    for package in packages:
        assert ast.get_docstring(modules()[package.partition(".")[2]][0]), package


def test_every_room_has_a_layer():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    layers = setup["importlinter:contract:layers"]["layers"].replace("|", " ").split()
    rooms = {path.parent.name for path in (ROOT / PACKAGE).glob("*/__init__.py")}
    outside = COMMANDS | {"recordio", "__main__", "errors", "text"}
    assert set(layers) == {f"{PACKAGE}.{name}" for name in rooms | outside}


def test_imports_go_one_way():
    pytest.importorskip("importlinter")
    words = ["-c", "from importlinter.cli import lint_imports_command as main; main()"]
    done = subprocess.run(
        [sys.executable, *words, "--no-cache", "--config", "setup.cfg"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_libraries_are_opened_where_they_belong():
    for module, nodes in modules().items():
        for library in {name.split(".")[0] for name in imported(nodes)} & LIBRARIES.keys():
            rooms = [*LIBRARIES[library].split(), "benchmarks", "tools"]
            assert any(inside(module, room) for room in rooms), f"{module} imports {library}"


def test_mxnet_is_one_engine_among_two():
    users = {
        module
        for module, nodes in modules().items()
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("mxnet_import")
        if "mx" in {alias.name for alias in node.names}
    }
    engine = {module for module in users if inside(module, "engines.mxnet")}
    assert users - engine == {"symbols.gluoncv_zoo"}


def test_nothing_is_unpickled_and_no_shell_is_started():
    for module, nodes in modules().items():
        for name in imported(nodes):
            assert name.split(".")[0] not in UNPICKLERS, f"{module} imports {name}"
        for node in nodes:
            where = module, getattr(node, "lineno", 0)
            if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "shell"):
                assert isinstance(node.value, ast.Constant) and node.value.value is False, where
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("load_optimizer_states", "save_optimizer_states"), where
                owner = getattr(node.value, "id", "")
                assert (owner, node.attr) not in (("os", "system"), ("os", "popen")), where
            if isinstance(node, ast.Call):
                assert getattr(node.func, "id", "") not in ("eval", "exec"), where


def test_only_one_module_has_numpy_write_archives():
    """`system.arrays` says why."""
    for module, nodes in modules().items():
        if module != "system.arrays" and not inside(module, "benchmarks"):
            names = {getattr(node, "attr", "") for node in nodes}
            assert not names & {"savez", "savez_compressed"}, module
