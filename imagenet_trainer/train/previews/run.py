"""Runs the preview that a flag requests."""

from typing import Callable, Mapping, Optional, Sequence

from imagenet_trainer.config import FitSettings
from imagenet_trainer.system.block_cache import use_cache
from imagenet_trainer.train.engine_choice import print_threads, with_engine
from imagenet_trainer.train.previews.batch_size import print_largest_batch
from imagenet_trainer.train.previews.learning_rate import print_range_test
from imagenet_trainer.train.previews.schedule import print_schedule
from imagenet_trainer.train.previews.summary import print_summary
from imagenet_trainer.train.previews.throughput import benchmark_loader, benchmark_training
from imagenet_trainer.train.processes import process_count, run_processes

_PREVIEWS: Mapping[str, Callable[[FitSettings], int]] = {
    "find_lr": print_range_test,
    "find_batch": print_largest_batch,
    "show_schedule": print_schedule,
    "summary": print_summary,
    "test_io": benchmark_loader,
    "benchmark": benchmark_training,
}

_TRAINING = ("find_batch", "benchmark")
"""Those that train, so that the number of threads matters; find_lr has to open the data first."""


def run_preview(name: str, settings: FitSettings, argv: Optional[Sequence[str]]) -> int:
    """Run the preview of a field of FitSettings; return the exit code. `argv` as in `train`."""
    use_cache(settings.cache_dir, settings.cache_size)
    settings, _ = with_engine(settings)
    if name in _TRAINING:
        print_threads(settings)
    if name == "benchmark":
        processes = process_count(settings)
        if processes > 1:
            return run_processes(processes, argv)
    return _PREVIEWS[name](settings)
