"""The command line: ``shapae demo``, ``explain``, ``summarize``, ``rank``, ``compare``, ``benchmark``."""

from shapae.cli.commands import main
from shapae.cli.influence import influence

__all__ = ["influence", "main"]
