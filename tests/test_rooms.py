"""Imports follow the data: who may import whom, and which library is opened where."""

import ast
from functools import lru_cache

import pytest
from conftest import ROOT

PACKAGE = "imagenet_trainer"

# Every module, and what it imports of this project; whoever adds a module or an arrow enters it
# here. Names are relative to the package, `symbols` and `tools` lie beside it.
IMPORTS = {
    # Words and small tools, which everybody may use.
    "": "",
    "errors": "",
    "flags": "errors",
    "config": "config.comparing config.data config.measuring config.optimisation config.scoring "
    "config.training",
    "config.comparing": "config.scoring config.training flags",
    "config.data": "flags",
    "config.launching": "flags",
    "config.measuring": "config.training flags",
    "config.optimisation": "flags",
    "config.scoring": "config.training flags",
    "config.training": "config.data config.optimisation flags",
    "files": "errors",
    "params": "errors files",
    "interrupts": "",
    "when_done": "errors interrupts",
    "machine": "",
    "bar": "",
    "cuda_wheels": "",
    "mxnet_import": "cuda_wheels errors machine",
    "assets": "",
    "averaged": "",
    # Pure functions of numbers and arrays.
    "metrics": "",
    "residual": "",
    "schedule": "",
    "initializers": "errors",
    "pace": "",
    "summary": "",
    "data.counter": "",
    "data.order": "data.counter errors",
    # Everything that knows a shard, a picture, an augmentation.
    "data": "",
    "data.augment": "config data.augment_sheet data.counter data.steps errors",
    "data.read_ahead": "",
    "data.recordio": "data.read_ahead errors files",
    "data.tars": "errors files",
    "data.files": "data.pictures data.views errors files",
    "data.folders": "data.tars errors files",
    "data.lists": "data.folders data.tars errors files",
    "data.manifest": "data.lists errors files",
    "data.shards": "data.recordio errors files",
    "data.headers": "",
    "data.channels": "data.augment",
    "data.sources": "data.folders data.headers data.lists data.manifest data.reading data.recordio "
    "data.shards errors files",
    "data.sets": "config data.manifest data.order data.shards errors",
    "data.loader": "data.augment data.encoded data.mixup data.order data.shards errors machine",
    "data.mixup": "data.counter",
    "data.pictures": "data.recordio",
    "data.reading": "data.pictures data.tars errors",
    "data.conversion": "data.pictures",
    "data.journal": "data.manifest errors",
    "data.packing": "data.journal data.manifest data.pack data.parallel data.record_writer "
    "data.recordio errors files",
    "data.verify": "data.manifest data.parallel data.pictures data.recordio data.shards errors",
    "data.repair": "data.conversion data.lists data.manifest data.pack data.parallel "
    "data.record_writer errors files",
    "data.rehearsal": "data.manifest data.pack data.parallel data.recordio",
    "data.telling": "",
    "data.thumbnails": "data.pictures data.shards errors",
    "data.duplicates": "data.parallel data.pictures data.shards",
    "data.checks": "data.duplicates data.lists data.manifest data.recordio data.repair "
    "data.telling data.verify errors files flags machine",
    "data.im2rec": "data.checks data.conversion data.folders data.lists data.manifest data.pack "
    "data.packing data.rehearsal data.telling errors files flags machine",
    "data.views": "data.augment data.steps",
    "data.devkit": "data.manifest errors files",
    "data.ilsvrc": "data.labelled data.manifest errors",
    "data.imagenet": "data.devkit data.ilsvrc data.labelled data.lists data.manifest data.overlap "
    "data.splits data.telling errors files flags",
    "data.labelled": "data.folders data.tars errors files",
    "data.pack": "data.conversion data.lists data.manifest data.reading data.recordio files",
    "data.parallel": "machine",
    "data.augment_sheet": "config data.augment data.sources errors files flags",
    "data.overlap": "data.labelled data.reading",
    "data.splits": "data.devkit data.labelled errors",
    "data.record_writer": "data.recordio errors files",
    "data.steps": "",
    "data.dali": "data.encoded data.loader data.shards data.steps errors",
    "data.encoded": "data.augment data.steps",
    # Graphs.
    "symbols": "errors symbols.families",
    "symbols.classifier": "errors mxnet_import",
    "symbols.alexnet": "mxnet_import symbols.layers",
    "symbols.densenet": "mxnet_import symbols.layers",
    "symbols.families": "",
    "symbols.gluoncv_zoo": "errors mxnet_import",
    "symbols.googlenet": "mxnet_import symbols.layers",
    "symbols.inception_bn": "mxnet_import symbols.layers",
    "symbols.inception_resnet_v2": "mxnet_import symbols.layers",
    "symbols.inception_v3": "mxnet_import symbols.layers",
    "symbols.layers": "errors mxnet_import",
    "symbols.mobilenet": "mxnet_import symbols.layers",
    "symbols.resnet": "errors mxnet_import symbols symbols.layers",
    "symbols.resnet_v1": "mxnet_import symbols.layers",
    "symbols.small_cnn": "mxnet_import symbols.layers",
    "symbols.squeezenet": "errors mxnet_import",
    "symbols.vgg": "mxnet_import symbols.layers",
    # Executing a graph on devices.
    "engines": "engines.choice engines.mxnet_engine engines.mxnet_workers engines.torch_engine "
    "engines.torch_workers engines.workers errors mxnet_import",
    "engines.async_updates": "engines.optimizers mxnet_import",
    "engines.foreign": "errors mxnet_import",
    "engines.average": "engines engines.workers mxnet_import",
    "engines.loss_scale": "engines errors mxnet_import",
    "engines.mxnet_engine": "engines engines.average engines.compression engines.loss_scale "
    "engines.max_norm engines.mxnet_monitor engines.mxnet_workers engines.optimizers "
    "engines.precision engines.stages engines.targets engines.workers errors mxnet_import",
    "engines.mxnet_monitor": "engines.workers mxnet_import",
    "engines.mxnet_workers": "engines.async_updates errors mxnet_import",
    "engines.optimizers": "engines mxnet_import",
    "engines.precision": "errors machine mxnet_import",
    "engines.targets": "engines errors mxnet_import",
    "engines.workers": "errors",
    "engines.choice": "engines errors mxnet_import",
    "engines.torch_arithmetic": "engines.torch_operators",
    "engines.torch_devices": "engines errors machine",
    "engines.torch_engine": "engines engines.loss_scale engines.optimizers engines.stages "
    "engines.targets engines.torch_devices engines.torch_feed engines.torch_graph "
    "engines.torch_optimizers engines.torch_step engines.torch_workers engines.workers errors",
    "engines.torch_feed": "",
    "engines.torch_graph": "engines.torch_arithmetic engines.torch_modes engines.torch_operators "
    "errors",
    "engines.torch_heartbeat": "",
    "engines.torch_modes": "",
    "engines.torch_operators": "",
    "engines.torch_optimizers": "engines engines.torch_graph",
    "engines.torch_step": "engines engines.torch_graph",
    "engines.torch_workers": "engines engines.choice engines.torch_devices engines.torch_heartbeat "
    "engines.workers errors",
    "engines.deploy": "engines errors mxnet_import",
    "engines.max_norm": "mxnet_import",
    "engines.stages": "",
    "engines.compression": "engines.workers mxnet_import",
    # What a run leaves: files, lines, pictures.
    "run": "checkpoint errors files history metrics",
    "keeping": "errors metrics run",
    "survival": "errors interrupts session",
    "logs": "metrics",
    "events": "errors files",
    "tensorboard": "files",
    "utilisation": "",
    "curves": "",
    "answers": "files metrics",
    "intervals": "",
    "numbers": "answers intervals metrics",
    "confusion": "files",
    "rate_figures": "figures",
    "confusion_figure": "class_order confusion figures files taxonomy",
    "growing_gif": "checkpoint confusion files metrics run",
    "video": "confusion errors files",
    "figures": "",
    "pages": "",
    "wordnet_paths": "errors files",
    "taxonomy": "",
    "class_order": "taxonomy",
    "meaning": "answers taxonomy",
    "examples": "answers meaning",
    "report": "answers examples meaning metrics numbers pages report_figures report_matrix "
    "report_tables taxonomy",
    "report_figures": "figures",
    "report_matrix": "class_order confusion taxonomy",
    "report_tables": "",
    # Looking at a set.
    "survey": "data.channels data.manifest data.sets data.sources",
    "explore_figures": "data.channels figures",
    "explore_page": "data.channels data.sources explore_figures files pages survey",
    "transfer": "checkpoint config engines errors flags initializers keeping run symbols "
    "symbols.classifier",
    "answering": "answers data.loader data.sets data.views engines errors",
    # Where the rooms meet.
    "scoring": "answering checkpoint config data.augment data.loader data.sets data.views engines "
    "engines.foreign errors flags keeping machine run",
    "recipes": "errors",
    "optimisation": "config engines errors schedule",
    "results": "answers checkpoint confusion data.sets data.views errors files meaning numbers run",
    "scorer": "answering answers bar checkpoint config data.sets data.views engines errors machine "
    "results run scoring",
    "naming": "answering config data.files data.views engines errors run scoring",
    "latency": "data.files naming",
    "submission": "errors metrics naming",
    "comparison": "answers errors flags intervals run scorer",
    "reporting": "data.thumbnails files report scorer",
    "presenting": "class_order config confusion confusion_figure data.sets errors files meaning "
    "reporting run scorer taxonomy video",
    "agreement": "engines interrupts",
    "starting": "config data.augment engines engines.workers errors flags initializers "
    "optimisation residual run symbols transfer",
    "session": "averaged checkpoint config data.augment data.order data.sets engines "
    "engines.choice engines.compression engines.workers errors flags growing_gif metrics "
    "mxnet_import optimisation run schedule starting transfer",
    "observers": "agreement checkpoint curves errors events files interrupts logs metrics pace "
    "session survival tensorboard utilisation",
    "lr_range": "config data.augment data.loader data.mixup data.order data.sets decoding engines "
    "errors files rate_figures scoring starting",
    "schedule_view": "config data.order data.sets errors files optimisation rate_figures schedule "
    "starting",
    "launch": "",
    "launch.addresses": "errors",
    "launch.main": "config config.launching engines.choice errors flags launch.addresses "
    "launch.plan launch.supervise launch.torchrun recipes",
    "launch.torchrun": "errors launch.supervise machine",
    "processes": "config engines.choice errors launch.torchrun starting",
    "launch.member": "errors launch.addresses launch.plan machine",
    "launch.plan": "errors",
    "launch.serving": "cuda_wheels engines.async_updates errors mxnet_import",
    "launch.supervise": "launch.plan",
    # Comparing networks.
    "contest": "",
    "contest.entrants": "config data.sets errors flags recipes run starting symbols",
    "contest.judging": "intervals",
    "contest.measuring": "checkpoint config contest.entries contest.judging data.augment data.sets "
    "engines errors files flags keeping latency mxnet_import run scorer scoring summary",
    "contest.figures": "contest.judging figures",
    "contest.tables": "contest.judging",
    "contest.page": "contest.figures contest.judging contest.tables files pages",
    "contest.child": "interrupts",
    "contest.entries": "answers contest.entrants contest.judging errors numbers run",
    # Command lines.
    "compare": "config contest.child contest.entrants contest.entries contest.judging contest.page "
    "contest.tables errors files flags interrupts library recipes scorer",
    "fit": "agreement benchmarks.batch benchmarks.train checkpoint config data.loader data.mixup "
    "data.sets decoding engines engines.workers errors flags interrupts keeping library logs "
    "lr_range metrics observers processes recipes schedule_view scoring session starting summary "
    "survival when_done",
    "evaluate": "comparison config errors flags keeping library numbers presenting run scorer",
    "predict": "bar config data.files errors files flags latency library metrics naming run "
    "submission",
    "published": "checkpoint config data.manifest engines errors flags params run symbols "
    "symbols.families",
    "doctor": "benchmarks.engines_here errors flags machine mxnet_import",
    "demo_pictures": "errors flags",
    "explore": "data.channels data.sources data.telling errors explore_page files flags machine "
    "survey",
    "benchmark": "benchmarks.bottleneck benchmarks.checkpoint benchmarks.evaluation benchmarks.gpu "
    "benchmarks.loader benchmarks.pack benchmarks.parity benchmarks.picture benchmarks.reading "
    "benchmarks.train config engines.choice errors flags",
    "tools.explore": "explore",
    "tools.im2rec": "data.im2rec",
    "tools.imagenet": "data.imagenet",
    "tools.launch": "launch.main",
    # Measurements may look into every room.
    "benchmarks": "*",
    "benchmarks.batch": "*",
    "benchmarks.engines_here": "*",
    "benchmarks.gpu": "*",
    "benchmarks.advice": "",
    "benchmarks.bottleneck": "*",
    "benchmarks.checkpoint": "*",
    "benchmarks.evaluation": "*",
    "benchmarks.loader": "*",
    "benchmarks.made_up": "*",
    "benchmarks.pack": "*",
    "benchmarks.picture": "*",
    "benchmarks.pictures": "*",
    "benchmarks.plain": "*",
    "benchmarks.reading": "*",
    "benchmarks.storage": "*",
    "benchmarks.train": "*",
    "benchmarks.kinks": "*",
    "benchmarks.parity": "*",
    "export": "checkpoint config data.augment data.sets engines.deploy errors files flags library "
    "metrics onnx_file params run scoring",
    "onnx_file": "errors files",
    "library": "",
    "checkpoint": "errors files metrics params",
    "history": "errors files",
    "decoding": "config data.dali data.loader data.shards engines.choice errors starting",
}

# What the table may never allow: a room, and rooms that it must not know, directly or through
# others.
NEVER_KNOWS = {
    "data": "engines symbols metrics schedule run scoring session fit mxnet_import",
    "symbols": "config files data engines run session fit",
    "engines": "data run files params symbols logs session fit",
    "metrics": "files config data engines run mxnet_import",
    "intervals": "files config data engines run mxnet_import",
    "numbers": "config data engines run mxnet_import",
    "schedule": "files config data engines run mxnet_import",
    "summary": "files config data engines run mxnet_import symbols",
    "utilisation": "files config data engines run mxnet_import",
    "events": "config data engines run mxnet_import",
    "benchmarks.advice": "files config data engines run mxnet_import",
    "rate_figures": "run metrics data engines mxnet_import",
    "run": "data engines symbols confusion scoring session fit mxnet_import",
    "confusion": "run metrics data engines mxnet_import",
    "taxonomy": "files config data run metrics answers",
    "report": "config data engines run scorer mxnet_import",
    "contest.judging": "files config data engines run mxnet_import",
    "contest.page": "config data engines run scorer mxnet_import",
    "files": "config data run",
}

# Libraries that only some modules may open; benchmarks may open all.
LIBRARIES = {
    "mxnet": "mxnet_import",
    "gluoncv": "",
    # The session notes its version.
    "cv2": "data.augment data.channels data.conversion data.duplicates data.encoded data.files "
    "data.loader data.mixup data.parallel data.pictures data.steps data.thumbnails session survey",
    "datashader": "confusion explore_figures",
    "xarray": "confusion explore_figures",
    "matplotlib": "confusion_figure contest.figures curves explore_figures figures rate_figures "
    "report_figures report_matrix",
    "PIL": "confusion confusion_figure data.augment_sheet data.headers data.pictures demo_pictures "
    "explore_page survey symbols.gluoncv_zoo",
    "onnx": "onnx_file",
    "onnxruntime": "onnx_file",
    "torch": "engines.torch_arithmetic engines.torch_devices engines.torch_engine "
    "engines.torch_feed engines.torch_graph engines.torch_modes engines.torch_operators "
    "engines.torch_optimizers engines.torch_step engines.torch_workers launch.torchrun",
    "tqdm": "bar data.telling explore logs",
    "scipy": "class_order data.devkit data.mixup intervals numbers",
    "subprocess": "contest.child launch.main launch.member launch.supervise mxnet_import video "
    "when_done",
    "pynvml": "",
    "tensorboardX": "tensorboard",
}
UNPICKLERS = ("pickle", "_pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle")


@lru_cache
def trees():
    """The syntax tree of every module by its name in the table."""
    found = {}
    for path in sorted([*(ROOT / PACKAGE).rglob("*.py"), *(ROOT / "symbols").rglob("*.py"),
                        *(ROOT / "tools").rglob("*.py")]):  # fmt: skip
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        found[short(".".join(parts))] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def short(name):
    """A module's name in the table."""
    return "" if name == PACKAGE else name[len(PACKAGE) + 1 :] if ours(name) else name


def ours(name):
    return name == PACKAGE or name.startswith(PACKAGE + ".")


def imported(tree, typing=True):
    """Full names of the modules that a tree imports anywhere, `typing` ones too if asked for."""
    skipped = set()
    if not typing:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
                skipped.update(child for part in node.body for child in ast.walk(part))
    for node in set(ast.walk(tree)) - skipped:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are written in full"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if short(whole) in trees() and ours(whole) else node.module


def rooms_of(tree):
    """The modules of this project that a tree imports, by their names in the table."""
    found = {name for name in imported(tree) if ours(name) or name.split(".")[0] == "symbols"}
    return {short(name) for name in found}


def test_every_module_is_in_the_table():
    assert sorted(trees()) == sorted(IMPORTS)


@pytest.mark.parametrize("module", sorted(IMPORTS))
def test_a_module_imports_what_the_table_says(module):
    if IMPORTS[module] != "*":
        # The package itself holds the version, and what Ctrl-C does while commands import.
        assert sorted(rooms_of(trees()[module]) - {""}) == IMPORTS[module].split()


def inside(name, room):
    return name == room or name.startswith(room + ".")


@pytest.mark.parametrize("room", sorted(NEVER_KNOWS))
def test_a_room_never_knows(room):
    reached, to_see = set(), [name for name in IMPORTS if inside(name, room)]
    while to_see:
        name = to_see.pop()
        reached.add(name)
        to_see += rooms_of(trees()[name]) - reached
    for other in NEVER_KNOWS[room].split():
        assert not [name for name in reached if inside(name, other)]


def test_libraries_are_opened_where_they_belong():
    for module, tree in trees().items():
        opened = {name.split(".")[0] for name in imported(tree, typing=False)}
        for library in opened & LIBRARIES.keys():
            assert inside(module, "benchmarks") or module in LIBRARIES[library].split(), (
                f"{module} imports {library}"
            )


def test_symbols_leave_mxnet_to_the_families():
    # The registry answers `--network` without it.
    assert "mxnet_import" not in rooms_of(trees()["symbols"])


def test_nothing_is_unpickled_and_no_shell_is_asked():
    for module, tree in trees().items():
        for name in imported(tree):
            assert name.split(".")[0] not in UNPICKLERS, f"{module} imports {name}"
        for node in ast.walk(tree):
            where = f"{module}, line {getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "shell"):
                assert isinstance(node.value, ast.Constant) and node.value.value is False, where
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("load_optimizer_states", "save_optimizer_states"), where
                owner = getattr(node.value, "id", "")
                assert (owner, node.attr) not in (("os", "system"), ("os", "popen")), where
            if isinstance(node, ast.Call):
                assert getattr(node.func, "id", "") not in ("eval", "exec"), where
