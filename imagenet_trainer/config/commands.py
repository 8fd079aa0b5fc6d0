"""Commands and flags that messages of libraries recommend as the way out."""

PACK = "python tools/im2rec.py"
TRAIN = "python -m imagenet_trainer.fit"
LIST_NETWORKS = f"{TRAIN} --network list prints all"
CHOOSE_RUN = "choose a run with --model-prefix"
TRAIN_FIRST = f"train first with {TRAIN}, or {CHOOSE_RUN}"
OTHER_PREFIX = "choose another --model-prefix"
OLDER_EPOCH = "continue from an older epoch with --load-epoch"


def pack_folder(prefix: str, folder: str = "FOLDER") -> str:
    """The commands that pack a folder of images."""
    return f"{PACK} --list --recursive {prefix} {folder}; {PACK} {prefix} {folder}"


def rebuild_index(rec_path: str) -> str:
    """The command that rebuilds the index of a shard."""
    return f"{PACK} --rebuild-index {rec_path}"


def repair(prefix: str) -> str:
    """The command that rebuilds damaged shards of a pack from its images."""
    return f"{PACK} --repair {prefix}"


def load_epoch(epoch: int) -> str:
    """The flag that continues from a checkpoint of another program."""
    return f"continue from it with --load-epoch {epoch}"


def launch(workers: int) -> str:
    """The command that starts workers by mpirun or srun."""
    return f"python tools/launch.py -n {workers} before the command, not mpirun or srun"


def read_parameters(path: str) -> str:
    """The command that makes a run of the parameters that other libraries wrote."""
    return f"run python -m imagenet_trainer.published --file {path}"


def label_index(labels: int) -> str:
    """The flag that selects one of several labels of a record."""
    return f"--label-index 0 to {labels - 1}" if labels > 1 else "--label-index 0"


def pack_classes(reference: str) -> str:
    """The flag that gives a pack the classes of a run or another pack."""
    return f"pack it with --classes-from {reference}, from folders of these classes"
