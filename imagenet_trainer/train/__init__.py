"""Training: opening a run, the loop, its observers, recovery, transfer learning, previews.

Read `loop` first. No command and no command line lives here, although errors name flags: these
modules hold the settings. Evaluation after the training is in `eval`, export in `convert`.
"""
