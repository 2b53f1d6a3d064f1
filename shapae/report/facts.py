"""The record of what was explained, and the code that makes it again: from the record of an explanation."""

from collections.abc import Mapping
from typing import Any

from shapae.explainer.export import ExplanationArrays
from shapae.report.words import LONGEST_TEXT, clean, count

# Scores in plain words, by the names of their heads.
HEADS = {
    "reconstruction_error": "how badly the model reproduces a row: the mean of the squared errors of its features",
    "reconstruction_error:fixed": "which features let the model reproduce a row: the mean of the squared errors of its "
    "features, with the unchanged row as the target",
    "feature_error": "how badly the model reproduces each feature: its squared error",
    "reconstruction": "the numbers that the model expects in place of a row",
    "latent": "the latent units: the few numbers to which the model reduces a row",
    "latent_norm": "the length of the latent code of a row",
    "kl": "how far the code of a row is from the prior of the model",
    "elbo": "the evidence lower bound of a row",
}
UNKNOWN = "not recorded"


def describe_head(made_by: Mapping[str, Any]) -> str:
    """Name the head, with its meaning if it is one of shapae's."""
    head = str(made_by.get("head", UNKNOWN))
    kind = head.partition(":")[0]
    meaning = HEADS.get(head if kind == "reconstruction_error" else kind)  # whose options change what it means
    return clean(head, LONGEST_TEXT) + (f" ({meaning})" if meaning else "")


def describe(made_by: Mapping[str, Any], parts: ExplanationArrays) -> list[tuple[str, str]]:
    """Describe an explanation in pairs of a label and a text.

    Args:
        made_by: Record of the explanation, which may be empty.
        parts: Its arrays.
    """
    (n, d, k), versions = parts.values.shape, made_by.get("versions")
    b, origin = made_by.get("b"), made_by.get("background")
    rows = f"{b} rows" if b is not None else UNKNOWN
    facts = [
        ("Score", describe_head(made_by)),
        ("Rows", f"{count(n, 'row')} of {count(d, 'feature')}; {count(k, 'output')}"),
        ("Compared with", f"the background, {rows}{f': {origin}' if origin else ''}"),
        ("Method", _method(made_by)),
        ("Model, as understood", _pairs(made_by.get("model"))),
        ("Seed", made_by.get("seed", UNKNOWN)),
        ("Versions", _pairs(versions)),
        ("Seconds", made_by.get("seconds", UNKNOWN)),
        ("Source", made_by.get("source")),
        ("Note", made_by.get("note")),
    ]
    return [(label, clean(text, LONGEST_TEXT)) for label, text in facts if text is not None]


def _method(made_by: Mapping[str, Any]) -> str:
    parts = [made_by.get("backend", UNKNOWN), made_by.get("quantity"), made_by.get("samples")]
    return ", ".join(str(part) for part in parts if part)


def _pairs(entry: Any) -> str:
    if not entry:
        return UNKNOWN
    return "; ".join(f"{key} {text}" for key, text in entry.items()) if isinstance(entry, Mapping) else str(entry)


def groups_of(made_by: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """List the groups of features: name, number of members, and members."""
    groups = made_by.get("groups")
    if not isinstance(groups, Mapping):
        return []
    return [
        (clean(name), len(members), clean(", ".join(map(clean, members[:20])), LONGEST_TEXT))
        for name, members in list(groups.items())[:50]
    ]


def code(records: list[Mapping[str, Any]], title: str) -> str:
    """Write the code that makes the report again, from the model and the tables."""
    first, *others = records
    lines = ["import shapae", "", f"# {_versions(first)}", f"# background: {first.get('b', 'some')} rows"]
    origin = first.get("background")
    lines += [f"# made as: {clean(origin, LONGEST_TEXT)}"] if origin else []
    lines += [f"# {_own(name)} is {clean(head, LONGEST_TEXT)}" for name, head in _heads(records) if "(" in head]
    settings = {name: repr(first[name]) for name in ("backend", "seed", "source") if name in first}
    settings = {"head": _argument(*_heads(records)[0])} | settings
    options = ", ".join(f"{name}={clean(value)}" for name, value in settings.items())
    lines += [f"explainer = shapae.Explainer(model, background, {options})"]
    lines += ["explanation = explainer(X)"]
    names = [f"other_{number}" for number in range(1, len(others) + 1)]
    for name, head in zip(names, [_argument(*each) for each in _heads(records)[1:]], strict=True):
        lines.append(f"{name} = explainer.with_head({head})(X)")
    options = f", others=[{', '.join(names)}]" if names else ""
    options += f", title={clean(title)!r}" if title else ""
    lines += [f'explanation.report("report.html", explainer=explainer{options})']
    return "\n".join(lines)


def _heads(records: list[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """Give each head its number."""
    return [(number, str(record.get("head", "..."))) for number, record in enumerate(records, start=1)]


def _argument(number: int, head: str) -> str:
    """Write a head as an argument: its name, or a variable for an object with settings."""
    return _own(number) if "(" in head else clean(repr(head))


def _own(number: int) -> str:
    return f"head_{number}"


def _versions(record: Mapping[str, Any]) -> str:
    versions = record.get("versions")
    if not isinstance(versions, Mapping):
        return "versions: not recorded"
    return clean(", ".join(f"{name} {version}" for name, version in versions.items()), LONGEST_TEXT)
