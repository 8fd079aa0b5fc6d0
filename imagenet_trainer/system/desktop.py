"""Opens pages in the browser of a desktop."""

import os
import sys
import webbrowser
from pathlib import Path
from typing import Sequence

NOT_OPENED = "--open: there is no screen with a browser here; open {} on a machine with one"


def has_screen() -> bool:
    """Whether this process can show a window: not in a terminal of another machine or a job."""
    if sys.platform in ("darwin", "win32"):
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_page(path: Path) -> bool:
    """Open a page in the browser, without waiting for it; False if there is no screen or browser.

    A browser that runs in the terminal, which webbrowser takes where there is no other one, would
    hide what a command prints.
    """
    if not has_screen():
        return False
    try:
        browser = webbrowser.get()
        in_terminal = type(browser) is webbrowser.GenericBrowser
        return not in_terminal and browser.open(path.resolve().as_uri())
    except (webbrowser.Error, OSError):
        return False


def main(argv: Sequence[str]) -> int:
    """Open the page that is the only argument, or print where it is; the exit code is 0."""
    if not open_page(Path(argv[0])):
        print(NOT_OPENED.format(argv[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
