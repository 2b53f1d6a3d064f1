"""The command line: ``shapae demo``, ``explain``, ``summarize``, ``rank``, ``compare``."""

from shapae.cli.commands import main

__all__ = ["main"]
