"""Pages are opened in a browser only where there is a screen."""

import webbrowser
from pathlib import Path

import pytest

from imagenet_trainer.system import desktop


@pytest.fixture
def screen(monkeypatch):
    """A desktop whose browser is given; what it opened."""
    monkeypatch.setattr(desktop.sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    opened = []

    class Browser(webbrowser.BackgroundBrowser):
        def open(self, url, new=0, autoraise=True):
            opened.append(url)
            return True

    monkeypatch.setattr(webbrowser, "get", lambda: Browser("firefox"))
    return opened


def test_the_browser_gets_the_address_of_the_file(screen, tmp_path, capsys):
    page = tmp_path / "my report.html"
    assert desktop.main([str(page)]) == 0 and screen == [page.as_uri()]
    assert capsys.readouterr().out == ""


def test_without_a_screen_the_path_is_printed(screen, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY")
    assert desktop.main(["report.html"]) == 0
    assert screen == [] and "report.html" in capsys.readouterr().out


@pytest.mark.parametrize("browser", [webbrowser.GenericBrowser("lynx"), webbrowser.Error("none")])
def test_no_browser_but_one_in_the_terminal(screen, monkeypatch, browser):
    def get():
        if isinstance(browser, Exception):
            raise browser
        return browser

    monkeypatch.setattr(webbrowser, "get", get)
    assert not desktop.open_page(Path("report.html"))
