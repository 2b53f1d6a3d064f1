"""The command line: ``shapae demo``, ``explain``, ``summarize``, ``rank``, ``compare``, ``benchmark``."""

from shapae.cli.commands import main

__all__ = ["main"]
