"""The command line: ``shapae demo``, ``explain``, ``summarize``, ``rank``, ``compare``, ``latents``, ``benchmark``."""

import shapae.cli.latents  # noqa: F401 (adds its command)
from shapae.cli.commands import main
from shapae.cli.influence import influence

__all__ = ["influence", "main"]
