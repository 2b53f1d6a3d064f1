"""Tables of the GPU benchmark, on the screen and in docs/guides/gpu.md."""

import re
from pathlib import Path
from typing import Any

from shapae.utils.memory import parse_bytes

PAGE = Path(__file__).parents[1] / "docs" / "guides" / "gpu.md"
FIGURES = re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- end of figures -->)", re.DOTALL)
NOT_MEASURED = "Not yet measured with this version.\n"


def rewrite_page(results: dict[str, Any] | None) -> None:
    """Put the tables of these results into docs/guides/gpu.md; or a sentence that nothing has been measured."""
    if results and results["machine"]["device"] == "cpu":
        raise SystemExit("these results are of a CPU. Run python -m benchmarks.gpu on a machine with a GPU.")
    text = PAGE.read_text(encoding="utf-8")
    figures = f"\n{tables(results) if results else NOT_MEASURED}\n"
    PAGE.write_text(FIGURES.sub(lambda _: figures, text), encoding="utf-8")


def tables(results: dict[str, Any]) -> str:
    """Describe all results in Markdown; parts that were not measured are left out."""
    machine = results["machine"]
    first = (
        f"{machine['device']}, torch {machine['torch']}, shapae {machine['shapae']}, float32, "
        f"{results['rows']} rows, {results['background rows']} background rows."
    )
    parts = {"speed": _speed, "peers": _peers, "tf32": _tf32, "parity": _parity, "zoo": _parity}
    found = [part(results[name], name) for name, part in parts.items() if results.get(name)]
    return "\n\n".join([first, *found]) + "\n"


def _table(*rows: list[str]) -> str:
    header, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([header, f"|{'---|' * len(rows[0])}", *others])


def _speed(found: list[dict[str, Any]], name: str) -> str:
    header = ["shapae", "features", "median", "target", "", "peak memory", "`memory=`"]
    return _table(header, *(_speed_row(each) for each in found))


def _speed_row(each: dict[str, Any]) -> list[str]:
    if "failed" in each:
        return [each["task"], "", each["failed"], "", "", "", ""]
    target = each["target"]
    verdict = "" if target is None else "met" if each["median"] <= target else "missed"
    wanted = "" if target is None else f"{target:g} s"
    above = ", above" if each["peak"] > parse_bytes(each["memory"]) else ""
    numbers = [f"{each['features']}", f"{each['median']:.3g} s", wanted, verdict, f"{each['peak'] / 1e9:.2g} GB{above}"]
    return [each["task"], *numbers, each["memory"]]


def _peers(found: list[dict[str, Any]], name: str) -> str:
    rows = [
        [each["tool"], each["failed"], ""]
        if "failed" in each
        else [each["tool"], f"{each['seconds']:.3g} s for {each['rows']} rows", f"{each['for all rows']:.3g} s"]
        for each in found
    ]
    return _table(["squared error", "measured", "all rows, in proportion"], *rows)


def _tf32(found: list[dict[str, Any]], name: str) -> str:
    rows = [
        [
            each["task"],
            f"`{each['precision']}`",
            f"{each['median']:.3g} s",
            f"{each['relative error']:.1e}",
            f"{each['residual / range']:.1e}",
        ]
        for each in found
    ]
    header = ["`torch.set_float32_matmul_precision`", "", "median", "relative error", "largest residual / range"]
    return _table(header, *rows)


def _parity(found: list[dict[str, Any]], name: str) -> str:
    what = {"parity": "backends and heads", "zoo": "models of the test zoo"}[name]
    same = [each for each in found if each["same"]]
    largest = max((each["difference"] for each in same), default=0.0)
    lines = [f"{len(same)} of {len(found)} {what} have the values of the CPU, to {largest:.0e} of the largest value."]
    lines += [f"* {each['name']}: {each['reason']}" for each in found if not each["same"]]
    return "\n".join(lines)
