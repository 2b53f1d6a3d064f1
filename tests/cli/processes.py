"""The command line in a process of its own, forked from one that has imported all packages: seconds are saved."""

import atexit
import multiprocessing.process
import os
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

CONTEXT = multiprocessing.get_context("forkserver")
# Modules that the commands import once they are chosen.
CONTEXT.set_forkserver_preload([
    "torch",
    "shap",
    "pandas",
    "matplotlib.figure",
    "sklearn.ensemble",
    "shapae.cli",
    "shapae.analysis.anomalies",
])


def run(*arguments, cwd):
    """Exit code, output and errors of ``shapae`` with these arguments, in the folder ``cwd``."""
    with TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("out", "err")]
        process = CONTEXT.Process(target=_command, args=([*map(str, arguments)], cwd, dict(os.environ), streams))
        process.start()
        process.join()
        return process.exitcode, *(each.read_text(encoding="utf-8") for each in streams)


def _command(arguments, folder, environment, streams):
    from shapae.cli import main

    for descriptor, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    multiprocessing.process.ORIGINAL_DIR = str(folder)  # in which workers look for modules
    sys.argv = ["shapae", *arguments]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    # As an interpreter ends, and not as a process of multiprocessing, which would wait for the workers of joblib.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)
