"""The first signal only asks to stop, the second acts as usual, and an ignored signal stays ignored."""

import os
import signal
from collections.abc import Iterator

import pytest

from brule.terminal import Stop


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """A job in a shell's background is started to ignore SIGINT, and so would these tests be there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_signal_is_kept_and_the_second_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt), Stop() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
        assert stop.exit_code == 130
        os.kill(os.getpid(), signal.SIGINT)


def test_the_handlers_from_before_are_restored() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.exit_code == 143
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal is None
    finally:
        signal.signal(signal.SIGINT, before)
