"""The README's code runs as it stands, in its order."""

import re
from pathlib import Path

import numpy as np
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)
    assert {path.name for path in tmp_path.iterdir()} == {"summary.png", "latents.png", "waterfall.png", "explained"}
    assert names["explanation"].values.shape == (700, 765)
    assert np.abs(names["explanation"].residual).max() < 1e-6
    assert names["one"].output_names == "latent 3"


def test_the_first_screen_has_a_picture_an_install_line_and_at_most_seven_lines_of_code():
    first = "\n".join(README.splitlines()[:30])
    assert re.search(r"!\[.+\]\((.+\.png)\)", first)
    assert "pip install" in first
    assert len(BLOCKS[0].strip().splitlines()) <= 7
    assert BLOCKS[0] in first


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)]+\.\w+)\)|`((?:tests|notebooks|shapae)/[\w/.]+)`", README))
def test_files_that_the_readme_names_are_there(path):
    assert (Path(__file__).parent.parent / "".join(path)).exists()
