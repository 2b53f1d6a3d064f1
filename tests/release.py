"""Build the wheel and the sdist, look into both, and run the README's first block from each: ``make release-check``.

Each is installed in a fresh environment of its own, with the pinned versions, and used outside of the checkout.
"""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
# Files that no other test would miss, of the wheel and of the sdist.
IN_WHEEL = ["shapae/py.typed", "shapae/datasets/data/pbmc68k.npz", "shapae/datasets/data/README.md"]
IN_WHEEL += ["licenses/LICENSE", "licenses/shapae/datasets/data/LICENSE.scanpy", "entry_points.txt"]
IN_SDIST = ["pyproject.toml", "Makefile", "constraints.txt", "CITATION.cff", "CHANGELOG.md", "docs/conf.py", "LICENSE"]
IN_SDIST += [
    "tests/test_laws.py",
    "tests/conftest.py",
    "benchmarks/results/speed.json",
    "notebooks/01_quickstart.ipynb",
]
NOT_INSIDE = re.compile(r"(__pycache__|\.pyc$|docs/_build|docs/reference/generated|\.venv)")


def run(*command, **settings):
    print("$", *(str(part).partition("\n")[0] for part in command), flush=True)
    subprocess.run(list(map(str, command)), check=True, **settings)


def build():
    """The wheel and the sdist; the wheel is built from the sdist."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST, ROOT)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, sdist


def look(wheel, sdist):
    """Names of all files, and the metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        described = email.message_from_bytes(archive.read(metadata))
    with tarfile.open(sdist) as archive:
        sources = [name.partition("/")[2] for name in archive.getnames()]
    missing = [each for each in IN_WHEEL if not any(name.endswith(each) for name in names)]
    missing += [each for each in IN_SDIST if each not in sources]
    extra = [name for name in names + sources if NOT_INSIDE.search(name)]
    extra += [name for name in names if not name.startswith(("shapae/", "shapae-"))]
    assert not missing, f"missing: {missing}"
    assert not extra, f"not to be inside: {extra}"
    assert described["License-Expression"] == "BSD-3-Clause"
    assert described.get_payload().startswith("# shapae")
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 1e6:.1f} MB")
    print(f"{sdist.name}: {len(sources)} files, {sdist.stat().st_size / 1e6:.1f} MB")


def try_out(package):
    """Install ``package`` alone, and run the first block of the README and the command line."""
    block = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)[1]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "venv" / "bin" / "python"
        run(sys.executable, "-m", "venv", python.parents[1])
        run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", package, env=environment)
        code = f"{block}\nprint(shapae.__file__, shapae.__version__, abs(explanation.residual).max())\n"
        code += "assert abs(explanation.residual).max() < 1e-6 and 'site-packages' in shapae.__file__\n"
        run(python, "-c", code, cwd=folder, env=environment)
        assert (Path(folder) / "summary.png").stat().st_size > 10_000
        run(python.parent / "shapae", "--version", cwd=folder, env=environment)


if __name__ == "__main__":
    packages = build()
    look(*packages)
    for each in packages:
        try_out(each)
