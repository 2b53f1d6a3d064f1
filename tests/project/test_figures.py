"""The figures of the page of benchmarks are those of the files of results."""

import json
import re
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks" / "index.md"
NUMBER = re.compile(r"(?<![\w`.])\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?![\w`])")


def results(name):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)[1]


def rows(title):
    """Numbers of each line of the tables of a section, without headers and labels."""
    tables = re.findall(r"^\|[-|]+\|\n((?:\|.*\n)+)", section(title), flags=re.MULTILINE)
    lines = [line.strip("| ").split(" | ", 1)[1] for table in tables for line in table.splitlines()]
    return [[number.replace(",", "") for number in NUMBER.findall(line)] for line in lines]


def agrees(printed, value):
    """Whether ``printed`` is ``value``, to one unit of its last digit; zeros at the end of an integer do not count."""
    digits, _, power = printed.partition("e")
    whole, _, decimals = digits.partition(".")
    zeros = 0 if decimals else len(whole) - len(whole.rstrip("0") or "0")
    unit = 10.0 ** (int(power or 0) - len(decimals) + zeros)
    return abs(float(printed) - value) <= 1.01 * unit


def check(printed, values):
    assert len(printed) == len(values)
    assert all(map(agrees, printed, values)), f"{printed} are not {values}"


def test_a_figure_that_is_off_is_seen():
    assert agrees("7.8", 7.81)
    assert agrees("3e-8", 3.4e-8)
    assert not agrees("7.8", 8.0)
    assert agrees("1260", 1263.7)
    assert not agrees("1260", 1280)
    assert not agrees("2e-6", 4e-6)


def headline():
    found = results("headline")
    both = [found["squared error"], found["latent 3"]]
    tools = ("shapae", "shap.DeepExplainer", "captum.DeepLiftShap", "tangermeme.deep_lift_shap")
    for tool in tools:
        seconds = [median(part["seconds"][tool]) for part in both]
        times = [each / median(part["seconds"]["shapae"]) for each, part in zip(seconds, both, strict=True)]
        residuals = [part["residuals"][tool] for part in both]
        if tool == "shapae":
            yield [seconds[0], residuals[0], seconds[1], residuals[1]]
        else:
            yield [seconds[0], times[0], residuals[0], seconds[1], times[1], residuals[1]]


def shapley_speed():
    found = results("shapley_speed")
    one, all_ = ({name: median(each) for name, each in found[part].items()} for part in list(found)[-2:])
    deep, closed = all_["deep"], all_["coalitions, closed form"]
    yield [one["deep"], deep]
    yield [one["coalitions, 1 pair"], one["coalitions, 1 pair"] / one["deep"], closed, closed / deep]
    for name in ("coalitions", "gradient", "shap.DeepExplainer"):
        yield [one[name], one[name] / one["deep"]]


def feedforward():
    for each in results("feedforward")["measured"]:
        yield [each["measured"], each["predicted"]]


def speed(name, sizes):
    for tasks in results(name)["works"].values():
        found = [next(each["seconds"] for each in tasks if (each["d"], each["b"]) == size) for size in sizes]
        yield [each["shapae"] for each in found]
        yield [each[tool] / each["shapae"] for each in found for tool in ("shap", "captum")]


def all_speeds():
    yield from speed("speed", [(100, 100), (500, 100), (1000, 100)])
    yield from list(speed("speed_large", [(2000, 100), (500, 950), (1000, 950)]))[:6]  # three of the five tasks


def latency():
    found = results("latency")["rows"]
    for d in sorted({each["d"] for each in found}):
        of = {each["backend"]: each for each in found if each["d"] == d}
        parts = [of["deep"]["construction"], of["deep"]["first row"], *(of[name]["next row"] for name in of)]
        yield [part[kind] for part in parts for kind in ("best", "median")]


def parallel():
    found = {(each["features"], each["backend"]): each["seconds"] for each in results("parallel")["measured"]}
    for backend in ("deep", "gradient"):
        for features in (50, 1000):
            kinds = list(found[features, backend].values())[1:]
            yield [median(each) for each in kinds]


def sampling():
    found = results("sampling")
    for error, seconds in [
        ("error", "seconds"),
        ("error of shap", "seconds of shap"),
        *((f"error of shapiq {name}", f"seconds of shapiq {name}") for name in ("KernelSHAP", "PermutationSamplingSV")),
    ]:
        yield [each[name] for kind in ("ReLU", "tanh") for each in found[kind] for name in (error, seconds)]


def anchored():
    found = [results("anchored")[f"d = {d}"] for d in (100, 1000)]
    moving = "squared error, moving target"
    for name in found[0]:
        if name not in {moving, "reconstructions of the 5 worst features"}:
            yield [each[name] / each[moving] for each in found]


def shared_machine():
    found = results("shared_machine")["seconds"]
    free, *_ = (median(each) for each in found["by default"].values())
    for setting, times in found.items():
        seconds = [median(each) for each in times.values()]
        all_figures = [figure for each in seconds for figure in (each, each / free)]
        yield all_figures[0:1] + all_figures[2:] if setting == "by default" else all_figures


TABLES = {
    "One output": headline,
    "Shapley values": shapley_speed,
    "Feed-forward chains": feedforward,
    "One, some and all outputs": all_speeds,
    "Sampling": sampling,
    "One process or several": parallel,
    "One row after the other": latency,
    "Heads with an anchor": anchored,
    "Machines that are shared": shared_machine,
}


@pytest.mark.parametrize("title", TABLES)
def test_a_table_of_the_page_has_the_numbers_of_its_file(title):
    printed, expected = rows(title), list(TABLES[title]())
    assert len(printed) == len(expected)
    for line, values in zip(printed, expected, strict=True):
        check(line, values)


def test_the_sentences_have_the_numbers_of_their_files():
    table = results("full_table")
    text = " ".join(section("The whole table").split())
    printed = re.search(r"takes (\d+) s for the squared error and (\d+) s for .* about (\d+) hours", text).groups()
    check(printed, [*list(table["seconds"].values())[:2], table["hours of shap, extrapolated"]])
    written = results("written")
    text = " ".join(section("Larger than memory").split())
    printed = re.search(
        r"in (\d+) blocks .* was (\d+) MB. Killed after (\d+) blocks.* other (\d+) under (\d+) MB", text
    )
    whole, rest = written["undisturbed"], written["continued"]
    parts = [written["killed"]["blocks explained"], rest["blocks explained"], rest["peak"] / 1e6]
    check(printed.groups(), [written["blocks"], whole["peak"] / 1e6, *parts])
    printed = re.search(r"took (\d+) s .* themselves, (\d+) s and (\d+) s.* read in (\d+) s", text).groups()
    check(printed, [*(each["seconds"] for each in (whole, written["killed"], rest)), written["importance (s)"]])
    of_rows = {each["rows"]: each["peak"] / 1e6 for each in results("million_rows")["measured"]}
    check(
        re.search(r"peak of (\d+) MB; that of 20,000 rows is (\d+) MB", text).groups(), [of_rows[10**6], of_rows[20000]]
    )
    peaks = {(each["work"], each["rows"]): each["peak"] / 1e6 for each in results("memory")["measured"]}
    expected = [peaks["latents", n] for n in (100, 1000, 3000)] + [peaks["outputs", n] for n in (100, 950)]
    expected += [peaks["squared-error", n] for n in (100, 1000, 3000, 10000)]
    check(re.findall(r"(\d+) MB", section("Memory"))[:-1], expected)  # the last is the size of the result itself
