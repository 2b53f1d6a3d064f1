"""Files of weights that can't be read: their fault, and what to do. The advice of torch is to run the code in them."""

import re
from pathlib import Path
from zipfile import BadZipFile, ZipFile, is_zipfile

from torch.serialization import get_unsafe_globals_in_checkpoint

from shapae.errors import ModelError
from shapae.utils.memory import format_bytes
from shapae.utils.text import one_line

# Parts of the messages of torch about code in a file, and about files of scripted models.
GLOBAL = re.compile(r"GLOBAL (\w[\w.]*)")
# Ratio of the sizes of the records and of their file above which the file counts as compressed.
PACKED = 10
SCRIPTED = "TorchScript"
SAVE_WEIGHTS = "save the weights: torch.save(model.state_dict(), 'weights.pt')"


def refuse_compressed(path: Path) -> None:
    """Refuse a file that unpacks to far more than its size, and may fill the memory; torch.save does not compress.

    Raises:
        ModelError: It does.
    """
    if not is_zipfile(path):
        return
    try:
        with ZipFile(path) as file:
            size = sum(each.file_size for each in file.infolist())
    except BadZipFile:
        return
    if size > PACKED * path.stat().st_size:
        raise ModelError(
            f"{path} is compressed: it would unpack to {format_bytes(size)}. torch.save does not compress weights. If "
            f"you trust the file, unpack it first."
        )


def describe_unreadable(path: Path, error: Exception) -> str:
    """Describe why a file of weights can't be read, in the words of the user.

    Args:
        path: The file.
        error: The error of torch or of safetensors.
    """
    if isinstance(error, OSError) and error.strerror:
        return f"can't read the weights in {path}: {error.strerror}."
    if SCRIPTED in str(error):
        return f"{path} holds a scripted model, and no state_dict. Load it with torch.jit.load, and {SAVE_WEIGHTS}."
    code = _code(path) or GLOBAL.findall(one_line(error))
    if code:
        return (
            f"{path} holds more than weights: loading it would run {', '.join(code)}. Only a state_dict is loaded. If "
            f"you trust the file, load it and {SAVE_WEIGHTS}."
        )
    return (
        f"can't read the weights in {path}: it is damaged, or no file of torch.save or of safetensors "
        f"({type(error).__name__}). If you have the model, {SAVE_WEIGHTS}."
    )


def _code(path: Path) -> list[str]:
    """List the functions and classes that loading a file would run; none if the file is damaged."""
    try:
        return list(get_unsafe_globals_in_checkpoint(path)) if is_zipfile(path) else []
    except Exception:  # of any kind: the file may hold anything
        return []
