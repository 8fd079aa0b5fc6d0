"""Checkpoints in and out: published ones become runs, runs become ONNX, int8 and MXNet files.

`published` imports checkpoints that `model_zoo` lists; `export` writes files for other programs.
Nothing here trains or evaluates beyond the checks of what it writes.
"""
