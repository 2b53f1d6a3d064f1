"""The command line: ``shapae demo``, ``explain``, ``summarize``, ``rank``, ``compare``, ``latents``, ``benchmark``."""

from shapae.cli import latents as latents  # adds its command
from shapae.cli.commands import main

__all__ = ["main"]
