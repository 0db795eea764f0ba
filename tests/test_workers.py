"""Many items in several processes: in order, bounded, and what fails fails as it would in one."""

from __future__ import annotations

import os
import time

import pytest

from mug.workers import WorkerLost, in_order


def square(number):
    return number * number


def slow_at_first(number):
    time.sleep(0.05 if number < 4 else 0)
    return number


def fails_at_seven(number):
    if number == 7:
        raise ValueError("seven")
    return number


def dies_at_seven(number):
    if number == 7:
        os._exit(9)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_however_long_each_takes(workers):
    assert list(in_order(slow_at_first, range(30), workers)) == list(range(30))


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_gives_nothing(workers):
    assert list(in_order(square, [], workers)) == []


def test_no_more_is_read_ahead_than_the_workers_need():
    read = 0

    def numbers():
        nonlocal read
        for number in range(1000):
            read += 1
            yield number

    results = in_order(square, numbers(), 2)
    assert next(results) == 0
    assert read <= 30  # batches of four, two ahead for each worker
    results.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_when_the_items_fail_what_came_before_is_yielded_first(workers):
    def numbers():
        yield from range(10)
        raise ValueError("no tenth")

    got = []
    with pytest.raises(ValueError, match="no tenth"):
        for result in in_order(square, numbers(), workers):
            got.append(result)
    assert got == [number * number for number in range(10)]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_function_raises_is_raised(workers):
    with pytest.raises(ValueError, match="seven"):
        list(in_order(fails_at_seven, range(30), workers))


def test_a_worker_that_ends_is_said_in_a_sentence_and_not_waited_for():
    with pytest.raises(WorkerLost) as error:
        list(in_order(dies_at_seven, range(30), 2))
    assert "--num_workers" in error.value.message.zh and "--num_workers" in error.value.message.en
