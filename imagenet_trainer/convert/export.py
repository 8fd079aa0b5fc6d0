"""Exports a trained network: MXNet pair, ONNX, 8-bit integers, PyTorch, and a card."""

import os
from dataclasses import replace
from functools import partial
from typing import Any, Dict

from imagenet_trainer import config
from imagenet_trainer.config.flags import flag_with_value, is_set
from imagenet_trainer.convert import onnx_file, torch_forms
from imagenet_trainer.convert.card import describe
from imagenet_trainer.convert.forms import check_int8, hashes_of, to_int8, to_onnx, write_pair
from imagenet_trainer.convert.graph import without_label
from imagenet_trainer.convert.samples import open_calibration, open_images
from imagenet_trainer.errors import InputError, print_message
from imagenet_trainer.eval.network import own_parameters, read_network
from imagenet_trainer.runs.run import Run
from imagenet_trainer.runs.trained import trained_run
from imagenet_trainer.system.arrays import not_finite
from imagenet_trainer.system.block_cache import use_cache
from imagenet_trainer.system.files import make_folder, write_json

# Flags without an effect on other formats than these.
_ONLY_FOR = {
    "preprocessing": ("onnx",),
    "check_pictures": ("onnx", "torch"),
    "data_train": ("int8",),
    "calibration": ("int8",),
    "calibration_pictures": ("int8",),
    "batch_size": ("int8",),
    "data_nthreads": ("int8",),
}


def export_network(settings: config.ExportSettings) -> Dict[str, Any]:
    """Write the requested forms; return the card, which is written as PREFIX-0012.json."""
    use_cache(settings.cache_dir, settings.cache_size)
    _check_flags(settings)
    if "onnx" in settings.to:
        onnx_file.check_libraries()
    if "int8" in settings.to:
        check_int8()
    run = trained_run(settings.model_prefix)
    log = partial(print_message, "export")
    symbol, checkpoint = read_network(run, settings.epoch, settings, log)
    epoch = checkpoint.progress.epoch
    arg, aux = own_parameters(symbol, run, checkpoint)
    bad = not_finite({**arg, **aux})
    if bad is not None:
        raise InputError(
            f"{run.params_path(epoch)}: {bad} has an infinite or undefined value; give another "
            "--epoch"
        )
    # Missing shards are an error before anything is written.
    if {"onnx", "int8"} & set(settings.to) or settings.data_val:
        open_images(settings.data_val, "val", run, checkpoint).shards.close()
    if "int8" in settings.to:
        open_calibration(settings, run, checkpoint).shards.close()
    checkpoint = replace(checkpoint, arg=arg, aux=aux)
    if "torch" in settings.to:
        torch_forms.check_libraries(symbol, checkpoint)
    model = (without_label(symbol, str(run.symbol_path)), arg, aux)
    prefix = prefix_of(settings.output, run)
    make_folder(os.path.dirname(prefix) or ".")
    card = describe(run, epoch, checkpoint)
    if "mxnet" in settings.to:
        card["files"].update(write_pair(model, f"{prefix}-deploy", epoch))
    if "onnx" in settings.to:
        card["onnx"] = to_onnx(settings, run, checkpoint, symbol, f"{prefix}-{epoch:04d}.onnx")
        card["files"].update(hashes_of(f"{prefix}-{epoch:04d}.onnx"))
    if "int8" in settings.to:
        int8, card["int8"] = to_int8(settings, run, checkpoint, model)
        card["files"].update(write_pair(int8, f"{prefix}-int8", epoch))
    if "safetensors" in settings.to:
        card["safetensors"] = torch_forms.to_safetensors(
            symbol, checkpoint, f"{prefix}-{epoch:04d}.safetensors"
        )
        card["files"].update(hashes_of(f"{prefix}-{epoch:04d}.safetensors"))
    if "torch" in settings.to:
        path, card["torch"] = torch_forms.to_torch(settings, run, checkpoint, symbol, prefix, epoch)
        card["files"].update(hashes_of(path))
    write_json(f"{prefix}-{epoch:04d}.json", card)
    print(f"{prefix}-{epoch:04d}.json: the card: classes, preprocessing, scores")
    return card


def _check_flags(settings: config.ExportSettings) -> None:
    """InputError for a flag that has no effect on the requested formats."""
    for name, formats in _ONLY_FOR.items():
        if is_set(settings, name) and not {*formats} & {*settings.to}:
            raise InputError(
                f"{flag_with_value(settings, name)}: has an effect on {' and '.join(formats)} "
                f"only; use --to {','.join((formats[0], *settings.to))}, or omit it"
            )


def prefix_of(output: str, run: Run) -> str:
    """The prefix of all files: `output`; if that is a folder, the run's name in it."""
    if not output:
        return str(run.folder / "export" / run.name)
    if os.path.isdir(output) or not os.path.basename(output):
        return os.path.join(output, run.name)
    return output
