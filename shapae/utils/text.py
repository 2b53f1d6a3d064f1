"""Lists of names in messages, and names in files of tables."""

from collections.abc import Sequence

# Parts of torch's messages about tensors on several devices; the fault of the function that makes them, and the advice.
DEVICES_DIFFER = ("on the same device", "not on the expected device")
SEVERAL_DEVICES = (
    "computes with tensors on different devices. A tensor that forward makes, or that is a plain attribute, stays "
    "where it is: make it on the device of the rows, torch.zeros(n, device=x.device), or register it as a buffer."
)
# The fault of a function that converts numbers which depend on its rows, and the advice.
LEAVES_TORCH = (
    "leaves torch, where neither gradients nor operators are seen. Compute with torch, rows.abs() instead of "
    "np.abs(rows.numpy()), or use a backend that needs only scores: backend='sampling', or backend='exact' for at most "
    "12 features."
)


def enumerate_names(items: Sequence[object], noun: str) -> str:
    """List the first eight of ``items`` in words.

    >>> enumerate_names("abcdefghij", "column")
    'columns a, b, c, d, e, f, g, h and 2 more'
    """
    shown = ", ".join(str(item) for item in items[:8])
    more = f" and {len(items) - 8} more" if len(items) > 8 else ""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{plural if len(items) > 1 else noun} {shown}{more}"


def one_line(error: Exception) -> str:
    """Return the message of ``error`` without line breaks."""
    return " ".join(str(error).split())


def escape_formula(name: object) -> str:
    """Put an apostrophe before a name that a spreadsheet would run as a formula."""
    return f"'{name}" if str(name).startswith(("=", "+", "-", "@", "\t", "\r")) else str(name)
