"""Commands that messages recommend: to pack a set, to rebuild an index."""

PACK = "python tools/im2rec.py"


def pack_folder(prefix: str, folder: str = "FOLDER") -> str:
    """The commands that pack a folder of images."""
    return f"{PACK} --list --recursive {prefix} {folder}; {PACK} {prefix} {folder}"


def rebuild_index(rec_path: str) -> str:
    """The command that rebuilds the index of a shard."""
    return f"{PACK} --rebuild-index {rec_path}"
