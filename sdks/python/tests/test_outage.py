"""What is said of a server that does not take what it is sent: once, and once that it is over."""

from __future__ import annotations

import pytest

from milepost._outage import Outage


def test_an_outage_is_news_once_and_so_is_its_end() -> None:
    trouble = Outage()
    trouble.answered()
    assert not trouble.is_over()  # There was none.
    assert [trouble.failed(), trouble.failed()] == [True, False]
    trouble.answered()
    assert [trouble.is_over(), trouble.is_over()] == [True, False]
    assert trouble.failed()


def test_that_jobs_wait_is_news_once_until_none_does() -> None:
    trouble = Outage()
    assert [trouble.delayed(key, False, True) for key in (1, 2, 1)] == [True, False, False]
    trouble.taken(3, False)
    trouble.taken(1, False)
    assert not trouble.is_over()  # 2 waits.
    trouble.gone(2)
    assert not trouble.is_over()  # Nothing was taken.
    trouble.taken(3, False)
    assert [trouble.is_over(), trouble.is_over()] == [True, False]
    assert trouble.delayed(2, False, True)


def test_an_end_accepted_by_a_full_server_is_no_recovery() -> None:
    trouble = Outage()
    trouble.delayed(1, False, True)
    trouble.taken(1, True)
    assert not trouble.is_over()
    assert not trouble.delayed(2, False, True)
    trouble.taken(2, False)
    assert trouble.is_over()


@pytest.mark.parametrize(("is_end", "is_full"), [(True, True), (False, False)])
def test_an_end_that_did_not_pass_before_does(is_end: bool, is_full: bool) -> None:
    trouble = Outage()
    assert trouble.delayed(3, is_end, is_full)
    trouble.taken(3, True)
    assert trouble.is_over()


def test_an_outage_includes_delays_and_both_end_together() -> None:
    trouble = Outage()
    assert trouble.delayed(1, False, False)
    assert trouble.failed()
    trouble.answered()
    assert not trouble.delayed(2, False, False)  # Worse was said.
    assert not trouble.is_over()
    trouble.answered()
    trouble.taken(1, False)
    trouble.taken(2, False)
    assert trouble.is_over()
