"""Loans against a plain count of users, in any order of coming and leaving."""

import random
from contextlib import ExitStack, suppress

import pytest

from shapae.utils.loans import Loans


class Box:
    """An object with one number as its state."""

    def __init__(self, number):
        self.number = number


def box_loans():
    return Loans(lambda box: box.number, lambda box, number: setattr(box, "number", number))


@pytest.mark.parametrize("n_boxes", [1, 3, 6])
@pytest.mark.parametrize("seed", range(20))
def test_the_last_user_restores_what_the_first_one_found(seed, n_boxes):
    draw, boxes, loans = random.Random(seed), [Box(number) for number in range(n_boxes)], box_loans()
    inside = []  # (way out, boxes) of each user
    for step in range(60):
        if inside and draw.random() < 0.5:
            leave, mine = inside.pop(draw.randrange(len(inside)))
            leave.close()
        else:
            mine, leave = draw.sample(boxes, draw.randint(0, n_boxes)), ExitStack()
            leave.enter_context(loans.lent(mine))
            inside.append((leave, mine))
            for box in mine:
                box.number = 100 + step
        for number, box in enumerate(boxes):
            assert (box.number == number) == (not any(box in theirs for _, theirs in inside))


@pytest.mark.parametrize("n_users", [1, 2])
def test_all_other_objects_are_restored_if_one_fails(n_users):
    def restore(box, number):
        if number == 1:
            raise OSError("no")
        box.number = number

    boxes, loans = [Box(number) for number in range(3)], Loans(lambda box: box.number, restore)
    stack = ExitStack()
    for _ in range(n_users):
        stack.enter_context(loans.lent(boxes))
    for box in boxes:
        box.number = 9
    with pytest.raises(OSError, match="no"):
        stack.close()
    assert [box.number for box in boxes] == [0, 9, 2]


@pytest.mark.parametrize("n_others", [0, 1])
def test_objects_before_one_that_cannot_be_kept_are_restored(n_others):
    def keep(box):
        if box is bad:
            raise OSError("no")
        return box.number

    box, other, bad = Box(0), Box(1), Box(2)
    loans = Loans(keep, lambda box, number: setattr(box, "number", number))

    def objects():
        yield box
        box.number = 9
        yield bad

    with ExitStack() as stack:
        for _ in range(n_others):
            stack.enter_context(loans.lent([other]))
        with suppress(OSError), loans.lent(objects()):
            pass
        assert box.number == 0
        with loans.lent([box]):  # nobody has it
            box.number = 5
        assert box.number == 0


@pytest.mark.parametrize("n_users", [1, 2])
def test_a_failure_that_somebody_holds_keeps_nothing_on_loan(n_users):
    def restore(box, number):
        if number == 1:
            raise OSError("no")
        box.number = number

    box, loans, stack = Box(1), Loans(lambda box: box.number, restore), ExitStack()
    for _ in range(n_users):
        stack.enter_context(loans.lent([box]))
    with pytest.raises(OSError, match="no") as held:
        stack.close()
    box.number = 7
    with loans.lent([box]), loans.lent([box]):
        box.number = 9
    assert (box.number, str(held.value)) == (7, "no")
