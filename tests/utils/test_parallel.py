"""A bar for long work."""

import pytest

from shapae.utils import parallel as progress


def consume(progressing):
    return list(progressing)


@pytest.mark.parametrize("shown", [True, False, None])
def test_items_pass_through(shown):
    assert consume(progress.progress_bar(iter("abc"), 3, shown)) == ["a", "b", "c"]


@pytest.mark.parametrize(("shown", "seen"), [(True, True), (False, False), (None, False)])
def test_a_bar_is_seen_where_it_is_asked_for_and_nobody_else_is_bothered(shown, seen, capsys):
    consume(progress.progress_bar(iter("abc"), 3, shown))
    written = capsys.readouterr()
    assert written.out == ""
    assert ("explaining" in written.err and "/3" in written.err) == seen


def test_an_interruption_passes_through():
    def items():
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume(progress.progress_bar(items(), 3, True))
