"""What is said of a server that does not take what it is sent: once, and once that it is over."""

from __future__ import annotations

import pytest

from milepost._outage import Outage


def test_an_outage_and_its_end_are_notified_once() -> None:
    outage = Outage()
    outage.answered()
    assert not outage.is_over()  # There was none.
    assert [outage.failed(), outage.failed()] == [True, False]
    outage.answered()
    assert [outage.is_over(), outage.is_over()] == [True, False]
    assert outage.failed()


def test_waiting_jobs_are_notified_once_until_none_waits() -> None:
    outage = Outage()
    assert [outage.delayed(key, False, True) for key in (1, 2, 1)] == [True, False, False]
    outage.accepted(3, False)
    outage.accepted(1, False)
    assert not outage.is_over()  # 2 waits.
    outage.gone(2)
    assert not outage.is_over()  # Nothing was taken.
    outage.accepted(3, False)
    assert [outage.is_over(), outage.is_over()] == [True, False]
    assert outage.delayed(2, False, True)


def test_an_end_accepted_by_a_full_server_is_no_recovery() -> None:
    outage = Outage()
    outage.delayed(1, False, True)
    outage.accepted(1, True)
    assert not outage.is_over()
    assert not outage.delayed(2, False, True)
    outage.accepted(2, False)
    assert outage.is_over()


@pytest.mark.parametrize(("is_end", "is_full"), [(True, True), (False, False)])
def test_an_end_that_did_not_pass_before_does(is_end: bool, is_full: bool) -> None:
    outage = Outage()
    assert outage.delayed(3, is_end, is_full)
    outage.accepted(3, True)
    assert outage.is_over()


def test_an_outage_includes_delays_and_both_end_together() -> None:
    outage = Outage()
    assert outage.delayed(1, False, False)
    assert outage.failed()
    outage.answered()
    assert not outage.delayed(2, False, False)  # Worse was said.
    assert not outage.is_over()
    outage.answered()
    outage.accepted(1, False)
    outage.accepted(2, False)
    assert outage.is_over()
