"""From settings to an engine: its devices, its optimizer, and the engine itself.

The one place where `fit`'s flags become arguments of `engines.open_engine`.
"""

from dataclasses import replace
from typing import Any, Mapping, Optional, Sequence

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.mixup import mixing_of
from imagenet_trainer.engines import Devices, Engine, Optimizer, Training
from imagenet_trainer.engines.factory import join_workers, open_engine
from imagenet_trainer.engines.workers import Workers
from imagenet_trainer.train.transfer import rate_factors


def devices_of(settings: FitSettings) -> Devices:
    """The devices on which these settings train, and how they work together."""
    return Devices(
        settings.gpus,
        settings.cpus,
        settings.dtype,
        settings.kv_store,
        settings.gc_threshold if settings.gc_type == "2bit" else None,
        settings.engine,
        settings.compile,
        settings.deterministic,
    )


def open_training_engine(
    settings: FitSettings,
    symbol: Any,
    workers: Optional[Workers] = None,
    compile_cache: str = "",
    class_weights: Sequence[float] = (),
) -> Engine:
    """The engine that these settings describe; joins the workers unless they are given.

    `compile_cache` is the folder of `Devices.compile_cache`, `class_weights` is that of `Training`.
    """
    _, height, width = settings.image_shape
    devices = replace(devices_of(settings), compile_cache=compile_cache)
    return open_engine(
        symbol,
        devices,
        (settings.batch_size, height, width, 3),
        settings.rgb_mean,
        settings.rgb_std,
        replace(
            training_of(settings, rate_factors(settings, symbol)),
            class_weights=tuple(class_weights),
        ),
        workers or join_workers(devices),
        settings.bgr,
    )


def training_of(settings: FitSettings, rate_factors: Mapping[str, float]) -> Training:
    """How the engine trains: optimizer, regularisation, accumulation, averaging."""
    return Training(
        Optimizer(
            settings.optimizer,
            settings.mom,
            settings.wd,
            clip_gradient=settings.clip_gradient,
            clip_norm=settings.clip_gradient_norm,
            decay_gammas=not settings.no_bias_decay,
            rate_factors=rate_factors,
        ),
        seed=settings.seed,
        monitor=settings.monitor,
        top_k=settings.top_k or 5,
        label_smoothing=settings.label_smoothing,
        mixup=mixing_of(settings, settings.seed) is not None,
        teacher_weight=settings.teacher_weight if settings.teacher else 0.0,
        bce=settings.bce_loss,
        multi_label=settings.multi_label,
        bce_threshold=settings.bce_target_threshold,
        accumulate=settings.accumulate,
        average_decay=settings.ema,
        average_warmup=settings.ema_warmup,
        sync_batch_norm=settings.sync_batch_norm,
        checkpoint_activations=settings.checkpoint_activations,
    )
