"""Lists of names in messages."""

from collections.abc import Sequence


def enumerate_names(items: Sequence[object], noun: str) -> str:
    """List the first eight of ``items`` in words.

    >>> enumerate_names("abcdefghij", "column")
    'columns a, b, c, d, e, f, g, h and 2 more'
    """
    shown = ", ".join(str(item) for item in items[:8])
    more = f" and {len(items) - 8} more" if len(items) > 8 else ""
    return f"{noun}{'s' if len(items) > 1 else ''} {shown}{more}"


def one_line(error: Exception) -> str:
    """Return the message of ``error`` without line breaks."""
    return " ".join(str(error).split())
