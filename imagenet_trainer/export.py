"""A trained network for use elsewhere: python -m imagenet_trainer.export --to onnx,mxnet,int8

ONNX, compared with onnxruntime on real images; a MXNet pair without label input; the same in
8-bit integers with the accuracy before and after; and a card that says what they are.
"""

import json
import os
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence

import imagenet_trainer.system.interruptible  # noqa: F401
from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.config.python_api import callable_module
from imagenet_trainer.convert.card import describe
from imagenet_trainer.convert.forms import (
    hashed,
    open_calibration,
    open_images,
    to_int8,
    to_onnx,
    write_pair,
)
from imagenet_trainer.errors import InputError, print_message, run_command

log = partial(print_message, "export")

if TYPE_CHECKING:
    from imagenet_trainer.runs.run import Run


def export(settings: config.ExportSettings) -> Dict[str, Any]:
    """Write what is asked for; return the card, which is written as PREFIX-0012.json."""
    from imagenet_trainer.convert import onnx_file
    from imagenet_trainer.convert.graph import without_label
    from imagenet_trainer.eval.network import own_parameters, read_network
    from imagenet_trainer.runs.run import Run, newest_run
    from imagenet_trainer.system.files import atomic_write, make_folder

    if "onnx" in settings.to:
        onnx_file.needed()
    elif settings.preprocessing:
        raise InputError(
            f"--preprocessing 1: only ONNX files prepare images; give --to "
            f"{','.join(('onnx', *settings.to))}, or leave it away"
        )
    run = Run(settings.model_prefix) if settings.model_prefix else newest_run()
    symbol, checkpoint = read_network(run, settings.epoch, settings, log)
    epoch = checkpoint.progress.epoch
    arg, aux = own_parameters(symbol, run, checkpoint)
    # What is not there is told before anything is written.
    if {"onnx", "int8"} & set(settings.to):
        open_images(settings.data_val, "data_val", run, checkpoint).shards.close()
    if "int8" in settings.to:
        open_calibration(settings, run, checkpoint).shards.close()
    checkpoint = replace(checkpoint, arg=arg, aux=aux)
    model = (without_label(symbol, str(run.symbol_path)), arg, aux)
    prefix = prefix_of(settings.output, run)
    make_folder(os.path.dirname(prefix) or ".")
    card = describe(run, epoch, checkpoint, settings.bgr)
    if "mxnet" in settings.to:
        card["files"].update(write_pair(model, f"{prefix}-deploy", epoch))
    if "onnx" in settings.to:
        card["onnx"] = to_onnx(settings, run, checkpoint, model, f"{prefix}-{epoch:04d}.onnx")
        card["files"].update(hashed(f"{prefix}-{epoch:04d}.onnx"))
    if "int8" in settings.to:
        small, card["int8"] = to_int8(settings, run, checkpoint, model)
        card["files"].update(write_pair(small, f"{prefix}-int8", epoch))
    with atomic_write(f"{prefix}-{epoch:04d}.json", "w") as file:
        json.dump(card, file, indent=1)
        file.write("\n")
    print(f"{prefix}-{epoch:04d}.json: what they are: classes, preprocessing, scores")
    return card


def prefix_of(output: str, run: "Run") -> str:
    """What all files are called: --output; in a folder that it names, the run's own name."""
    if not output:
        return str(run.folder / "export" / run.name)
    if os.path.isdir(output) or not os.path.basename(output):
        return os.path.join(output, run.name)
    return output


# --- the forms ---------------------------------------------------------------------------------


# --- images ----------------------------------------------------------------------------------


# --- the card ----------------------------------------------------------------------------------


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = flags.parse(
        config.ExportSettings, argv, "export", "Write a trained network for use elsewhere."
    )

    def body() -> None:
        export(settings)

    return run_command("export", body)


def call(values: Mapping[str, Any]) -> Dict[str, Any]:
    """From Python: `export(to="onnx")` returns the card."""
    return export(flags.settings_of(config.ExportSettings, values))


callable_module(__name__)
if __name__ == "__main__":
    sys.exit(main())
