"""Plant faults in the package, one at a time, and list those that the tests do not notice.

    bash tools/mutants.sh                          all modules of TESTS, about 230 faults
    bash tools/mutants.sh --faults 0 data/order    every fault of one module

A fault is a small change of one expression or the removal of one call: `<` for `<=`, `+` for `-`,
another number, `and` for `or`. Each runs in a process of its own, which imports the changed module
from memory; no file is changed. Tests that start further processes see the module as it is.
"""

import argparse
import ast
import importlib
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "imagenet_trainer"
SECONDS = 120  # of one fault's tests; after that it counts as noticed: it hangs
# The tests of each module, of which the first that fails is enough.
TESTS: Dict[str, Sequence[str]] = {
    "data/order": ["data/test_order.py"],
    "data/balance": ["data/test_balance.py"],
    "data/parts": ["data/test_parts.py"],
    "data/policies": ["data/test_golden.py", "data/test_policies.py"],
    "data/erasing": ["data/test_golden.py", "data/test_policies.py"],
    "data/philox": ["data/test_philox.py"],
    "data/augment": ["data/test_golden.py", "data/test_augment.py"],
    "data/transforms": ["data/test_golden.py", "data/test_transforms.py", "data/test_augment.py"],
    "data/mixup": ["data/test_golden.py", "data/test_mixup.py"],
    "data/views": ["data/test_views.py"],
    "data/records/manifest": ["data/records/test_manifest.py", "data/test_dataset.py"],
    "data/records/record_writer": ["data/records/test_record_writer.py"],
    "metrics/counts": ["metrics/test_counts.py"],
    "metrics/evaluation": ["metrics/test_evaluation.py"],
    "metrics/predictions": ["metrics/test_predictions.py"],
    "train/schedule": ["train/test_schedule.py", "train/test_schedule_flags.py"],
    "metrics/confusion": ["metrics/test_confusion.py"],
    "engines/update_rules": ["engines/test_update_rules.py"],
    "engines/mxnet/optimizers": [
        "engines/test_update_rules.py", "engines/test_optimizers.py",
        "engines/test_training.py", "engines/mxnet/test_engine.py",
    ],
    "engines/pytorch/update_rules": ["engines/test_update_rules.py"],
    "engines/pytorch/optimizers": [
        "engines/test_training.py", "engines/pytorch/test_optimizers.py",
        "engines/pytorch/test_engine.py", "engines/pytorch/test_loss_scale.py",
    ],
    "runs/checkpoint": ["runs/test_run.py"],
    "runs/params": ["runs/test_params.py"],
    "runs/retention": ["runs/test_retention.py"],
}  # fmt: skip
# Changes of which no test can know: module, line of source, change, and the reason.
_BEST = "return best_of({**found, max(found, default=0) + 1: scores}) not in found"
EQUIVALENT: Dict[Tuple[str, str, str], str] = {
    ("data/order", "self.window = window if window < images else 0", "0  ->  1 (column 53)"):
        "a window of one image is none",
    ("data/order", "mask = np.uint64((1 << (count - 1).bit_length()) - 1)",
     "1  ->  2 (column 22)"): "one random bit less",
    ("data/order", "mask = np.uint64((1 << (count - 1).bit_length()) - 1)",
     "count - 1  ->  count + 1 (column 28)"): "one random bit less",
    ("data/order", "if not 0 < window < images:", "0  ->  1 (column 11)"):
        "a window of one image is none",
    ("data/order", "for epoch in range(epochs.min(), epochs.max() + 1) if len(epochs) else ():",
     "1  ->  2 (column 56)"): "no image is of that epoch",
    ("data/order", "draws = philox.uniform(seed, np.zeros(1, np.int64), among, 1, _CHOICE)[:, 0]",
     "1  ->  2 (column 63)"): "the first of two draws",
    ("data/balance", "passes = np.where(quota > 0, (start + quota - 1) // sizes - first_pass + 1, "
     "0)", "start + quota - 1  ->  start + quota + 1 (column 38)"): "a pass more than is needed",
    ("data/balance", "draws = philox.uniform(self._seed, visit, image, 1, _PASSES)[:, 0]",
     "1  ->  2 (column 57)"): "the first of two draws",
    ("data/mixup", "self.switch = (switch if alpha else 1.0) if cutmix else 0.0",
     "0.0  ->  1.0 (column 64)"): "not read without cutmix",
    ("data/mixup", "self.switch = (switch if alpha else 1.0) if cutmix else 0.0",
     "1.0  ->  2.0 (column 44)"): "all draws are below both",
    ("data/mixup", "for i in np.flatnonzero(draws[:, 0] < self.switch).tolist():",
     "draws[:, 0] < self.switch  ->  draws[:, 0] <= self.switch (column 32)"):
        "one draw in 2**53",
    ("data/augment", "mirror=(settings.random_mirror & (draws[:, _MIRROR] < 0.5)).tolist(),",
     "draws[:, _MIRROR] < 0.5  ->  draws[:, _MIRROR] <= 0.5 (column 46)"): "one draw in 2**53",
    ("data/transforms", "if max(height, width) > _LONGEST_STRIP * short and short != side:",
     "_LONGEST_STRIP * short  ->  _LONGEST_STRIP / short (column 28)"):
        "what follows changes nothing for other images",
    ("data/transforms", "part = image[max(0, top) : max(0, top + high), max(0, left) : max(0, left "
     "+ wide)]", "0  ->  1 (column 35)"): "of a window above the image nothing is copied",
    ("data/transforms", "corners = [(x, y, 1) for x in (0, size[1] - 1) for y in (0, size[0] - 1)]",
     "size[0] - 1  ->  size[0] + 1 (column 64)"): "a larger part gives the same pixels",
    ("data/transforms", "if max(image.shape[:2]) > _LONGEST_WARPED:",
     "max(image.shape[:2]) > _LONGEST_WARPED  ->  max(image.shape[:2]) >= _LONGEST_WARPED "
     "(column 7)"): "both ways give the same pixels",
    ("data/views", "if self.views.positions > 1:", "1  ->  2 (column 34)"): "there are 1 or 5",
    ("data/records/manifest", "if len(folders) > 1 and len(first) > 1 and all("
     "os.path.basename(f) == last for f in folders):",
     "len(first) > 1  ->  len(first) >= 1 (column 28)"): "folders differ",
    ("data/records/record_writer", "file.seek(length)", "file.seek(length)  ->  pass (column 12)"):
        "the position is there already",
    ("metrics/counts", "_FEW = 100  # for k up to this, k maxima are faster than a partition",
     "100  ->  101 (column 7)"): "both ways give the same classes",
    ("metrics/counts", "for image in np.flatnonzero(np.count_nonzero(equal, axis=1) > 1):",
     "np.count_nonzero(equal, axis=1) > 1  ->  np.count_nonzero(equal, axis=1) >= 1 (column 32)"):
        "an image without ties has none before its class",
    ("metrics/counts", "if k <= _FEW:", "k <= _FEW  ->  k < _FEW (column 7)"):
        "both ways give the same classes",
    ("train/schedule", "factor: float = 0.1", "0.1  ->  1.1 (column 20)"):
        "the flags always give it",
    ("train/schedule", "total: int = 0  # updates of the run, for poly and cosine",
     "0  ->  1 (column 17)"):
        "the flags always give it",
    ("train/schedule", "start: float = 0.0  # of triangle and one-cycle",
     "0.0  ->  1.0 (column 19)"):
        "the flags always give it",
    ("train/schedule", "peak: int = 0  # update", "0  ->  1 (column 16)"):
        "the flags always give it",
    ("metrics/confusion", "classes, times = np.zeros((2, matrix.shape[0]), np.int64)",
     "0  ->  1 (column 47)"): "the matrix is square",
    ("metrics/confusion", "if matrix.shape[0] <= DENSE:", "0  ->  1 (column 20)"):
        "the matrix is square",
    ("engines/update_rules", "_NEGLIGIBLE = 400  # factors below .9 whose product is below half an "
     "ulp of 1", "400  ->  401 (column 14)"): "a factor that changes nothing",
    ("engines/mxnet/optimizers", 'options: Dict[str, Any] = {"wd": optimizer.weight_decay, '
     '"learning_rate": 1.0}', "1.0  ->  2.0 (column 78)"): "it is set again before each update",
    ("engines/mxnet/optimizers", 'super().__init__(warmup_strategy="lars", warmup_epochs=0, '
     "batch_scale=1, **options)", "0  ->  1 (column 63)"): "of no effect with lars",
    ("engines/pytorch/update_rules", "speed = step.momentum * momentum[0] - (1 - step.momentum) * "
     "whole", "1  ->  2 (column 43)"): "a factor of the speed, of which only the sign counts",
    ("runs/params", "if count * 4 > self.left:", "count * 4  ->  count / 4 (column 11)"):
        "each array is checked, too",
    ("runs/checkpoint", "self.state.unlink(missing_ok=True)", "True  ->  False (column 37)"):
        "only checkpoints with this file are removed",
    ("runs/checkpoint", 'older = "" if error.errno == errno.ENOENT else "the older checkpoints are '
     'untouched; "', "error.errno == errno.ENOENT  ->  error.errno != errno.ENOENT (column 26)"):
        "only words",
    ("runs/params", "if count * 4 > self.left:", "4  ->  5 (column 19)"):
        "every array takes more than that",
    ("runs/retention", _BEST, "0  ->  1 (column 48)"): "any later epoch serves",
    ("runs/retention", _BEST, "1  ->  2 (column 53)"): "any later epoch serves",
}  # fmt: skip

_SWAPS: Dict[type, Any] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


class Fault(NamedTuple):
    """A change of one expression of a module."""

    module: str
    line: int
    source: str  # of that line
    change: str
    tree: ast.Module  # of the changed module

    @property
    def is_equivalent(self) -> bool:
        """Whether nobody could notice it."""
        return (self.module, self.source, self.change) in EQUIVALENT


class _Change(ast.NodeTransformer):
    """Makes the change number `wanted` of a module; lists all of them."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.changes: List[Tuple[int, str]] = []  # line, and the change in words

    def _offer(self, node: ast.AST, changed: ast.AST) -> ast.AST:
        line, column = node.lineno, node.col_offset  # type: ignore[attr-defined]
        words = f"{ast.unparse(node)}  ->  {ast.unparse(changed)} (column {column})"
        self.changes.append((line, words))
        is_wanted = len(self.changes) - 1 == self.wanted
        return ast.copy_location(changed, node) if is_wanted else node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = [self.visit(statement) for statement in node.body]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [self.visit(statement) for statement in node.body]
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        # tests/test_rooms.py looks for pickles; a buffer's size changes no result.
        return node if node.arg in ("allow_pickle", "buffering") else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.Call):
            kept = self.generic_visit(node)
            return self._offer(kept, ast.Pass()) if kept is node else kept
        return node  # docstrings

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return node  # the words of a message

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        swap = _SWAPS.get(type(node.ops[0]))
        if swap is None:
            return node
        return self._offer(node, ast.Compare(node.left, [swap(), *node.ops[1:]], node.comparators))

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        swap = _SWAPS.get(type(node.op))
        return self._offer(node, ast.BinOp(node.left, swap(), node.right)) if swap else node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        return self._offer(node, ast.BoolOp(_SWAPS[type(node.op)](), node.values))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return self._offer(node, ast.Constant(1 - node.operand.value))  # type: ignore[operator]
        self.generic_visit(node)
        return self._offer(node, node.operand)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool):
            return self._offer(node, ast.Constant(not node.value))
        if isinstance(node.value, (int, float)):
            return self._offer(node, ast.Constant(node.value + 1))
        return node


def changes_of(source: str) -> List[Tuple[int, str]]:
    """All changes of a module: line, and the change in words."""
    lister = _Change(-1)
    lister.visit(ast.parse(source))
    return lister.changes


def faults(module: str, source: str, most: int = 0) -> Iterator[Fault]:
    """At most so many faults of a module, evenly spread over its text; 0 for all."""
    changes, lines = changes_of(source), source.splitlines()
    count = len(changes)
    for number in range(count) if not most else sorted({count * i // most for i in range(most)}):
        line, words = changes[number]
        tree = ast.fix_missing_locations(_Change(number).visit(ast.parse(source)))
        yield Fault(module, line, lines[line - 1].strip(), words, tree)


class _Importer(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports the changed module in place of the one on disk."""

    def __init__(self, fault: Fault) -> None:
        self.path = PACKAGE / f"{fault.module}.py"
        self.name = f"imagenet_trainer.{fault.module.replace('/', '.')}"
        self.tree = fault.tree

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> Optional[ModuleSpec]:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.tree, str(self.path), "exec")

    def get_source(self, fullname: str) -> None:
        return None


def _run_tests(fault: Optional[Fault], tests: Sequence[str]) -> int:
    """Run tests in a child process; return pytest's exit code, or -1 if it takes too long."""
    child = os.fork()
    if child == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        if fault:
            sys.meta_path.insert(0, _Importer(fault))
        pytest = importlib.import_module("pytest")
        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])))
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def survivors(module: str, most: int) -> Tuple[int, List[Fault]]:
    """The number of faults that were planted, and those that the module's tests do not notice."""
    tests = [str(ROOT / "tests" / test) for test in TESTS[module]]
    if _run_tests(None, tests) != 0:
        raise SystemExit(f"mutants: {' '.join(TESTS[module])}: fails without a fault")
    planted = [fault for fault in faults(module, (PACKAGE / f"{module}.py").read_text(), most)
               if not fault.is_equivalent]  # fmt: skip
    return len(planted), [fault for fault in planted if _run_tests(fault, tests) == 0]


def main() -> int:
    """Print a line for each module, and every survivor; return 1 if there are some."""
    parser = argparse.ArgumentParser(description="List the faults that the tests do not notice.")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="by default all of the list")
    parser.add_argument("--faults", type=int, default=12, metavar="N",
                        help="at most so many in a module; 0: all (default: 12)")  # fmt: skip
    options = parser.parse_args()
    for module in options.modules:
        if module not in TESTS:
            parser.error(f"{module}: no such module; use one of {', '.join(TESTS)}")
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    for heavy in ("cv2", "numpy", "pandas", "scipy.stats", "torch", "hypothesis", "pytest"):
        importlib.import_module(heavy)  # once, for all children
    total, left = 0, 0
    for module in options.modules or TESTS:
        planted, alive = survivors(module, options.faults)
        print(f"{module}: {planted} faults, {len(alive)} not noticed", flush=True)
        for fault in alive:
            print(f"  {module}.py:{fault.line}: {fault.source}\n    {fault.change}", flush=True)
        total, left = total + planted, left + len(alive)
    print(f"{total} faults, {left} not noticed")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
