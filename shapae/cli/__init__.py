"""The command line: ``shapae demo``, ``explain``, ``summarize``, ``anomalies``, ``latents``, ``report`` ..."""

import shapae.cli.anomalies  # noqa: F401 (it adds its command)
import shapae.cli.explain  # noqa: F401
import shapae.cli.influence  # noqa: F401
import shapae.cli.latents  # noqa: F401
import shapae.cli.report  # noqa: F401
from shapae.cli.commands import main

__all__ = ["main"]
