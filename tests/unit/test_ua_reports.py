"""What is read from the words that guests say."""

from __future__ import annotations

from vmm_automation.operations.ua_reports import GuestStatus, parse_status, telling_line


def test_status_of_lines_nobody_knows_is_empty() -> None:
    """Noise on the guest's standard output is not taken for a report."""
    assert parse_status("motd\nvmm\nvmm\tfree\n") == GuestStatus()


def test_telling_line_prefers_the_services_own_words() -> None:
    """The reason shown is what the service wrote, not what systemd writes about every end."""
    formula = "x.service: Main process exited, code=exited\nx.service: Failed with result 'exit-code'."
    text = f"ValueError: bad port\n{formula}"
    assert telling_line(text) == "ValueError: bad port"
