"""Headless Chromium for tests, driven through chromedriver by the WebDriver protocol alone.

https://www.w3.org/TR/webdriver2/ is JSON over HTTP, so the standard library is enough.
`python tests/helpers/browser.py PAGE.html PICTURE.png [SELECTOR [HEIGHT [SCRIPT]]]` takes a
screenshot of a page from an element on, after a script. The pictures in docs/ are made this way.
"""

import base64
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

MISSING = next(
    (f"{name} is not installed" for name in ("chromium", "chromedriver") if not shutil.which(name)),
    "",
)
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's key of an element reference


class Browser:
    """A window of a new Chromium: `with Browser(folder) as browser`.

    `folder` is an empty folder for its profile.
    """

    def __init__(self, folder, width=1200, height=900):
        self._driver = subprocess.Popen(
            [shutil.which("chromedriver"), "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            options = {
                "binary": shutil.which("chromium"),
                "args": [*_FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}"],
            }
            always = {
                "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"},
                "timeouts": {"script": 300_000},  # of a machine that does other work
            }  # fmt: skip
            self._session = ""
            self._port = self._port_of_driver()
            made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": always}})
            self._session = f"/session/{made['sessionId']}"
        except BaseException:
            self._driver.kill()
            self._driver.wait()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        try:
            self._call("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait()

    def open(self, path):
        """Open a file, as file://."""
        self._call("POST", "/url", {"url": path.resolve().as_uri()})

    def script(self, text, *arguments):
        """Run JavaScript in the page and return its result."""
        return self._call("POST", "/execute/sync", {"script": text, "args": list(arguments)})

    def find(self, selector):
        """A reference to the first element that matches a CSS selector."""
        using = {"using": "css selector", "value": selector}
        return self._call("POST", "/element", using)[_ELEMENT]

    def click(self, selector):
        """Click the element, as a user does."""
        self._call("POST", f"/element/{self.find(selector)}/click", {})

    def type(self, selector, text):
        """Type into the element; \\ue015 is arrow down, and so on as in the protocol."""
        self._call("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def pointer(self, selector, *steps):
        """Move the mouse through points (x, y) of an element; "down" and "up" press and release."""
        left, top = self.script(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView();"
            "const b = e.getBoundingClientRect(); return [b.left, b.top]", selector,
        )  # fmt: skip
        actions = []
        for step in steps:
            if step in ("down", "up"):
                actions.append({"type": f"pointer{step.capitalize()}", "button": 0})
            else:
                x, y = round(left + step[0]), round(top + step[1])
                actions.append({"type": "pointerMove", "duration": 0, "x": x, "y": y})
        mouse = {"type": "pointer", "id": "mouse", "actions": actions}
        self._call("POST", "/actions", {"actions": [mouse]})

    def emulate(self, width=0, scheme="light"):
        """Show pages as on a screen of this width (0: the window's), light or dark."""
        screen = {"width": width, "height": 0, "deviceScaleFactor": 0, "mobile": bool(width)}
        preference = [{"name": "prefers-color-scheme", "value": scheme}]
        for command, values in (
            ("Emulation.setDeviceMetricsOverride", screen),
            ("Emulation.setEmulatedMedia", {"features": preference}),
        ):
            self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": values})

    def violations(self, part="html", rules=()):
        """What axe-core finds in a part of the page: rules, or some, and what breaks them.

        Returns None without the package axe-core-python (or axe-playwright-python, which is newer).
        """
        found = map(importlib.util.find_spec, ("axe_playwright_python", "axe_core_python"))
        path = next((Path(one.origin).with_name("axe.min.js") for one in found if one), None)
        if path is None:
            return None
        self.script(path.read_text(encoding="utf-8"))
        options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
        results = self.script("return axe.run(arguments[0], arguments[1])", part, options)
        return [
            (one["id"], node["html"][:200])
            for one in results["violations"]
            for node in one["nodes"]
        ]

    def pages(self):
        """The number of pages when the page is printed."""
        pdf = base64.b64decode(
            self._call("POST", "/print", {"page": {"width": 21, "height": 29.7}})
        )
        return len(re.findall(rb"/Type */Page\b", pdf))

    def screenshot(self):
        """The visible part of the page, as a PNG file."""
        return base64.b64decode(self._call("GET", "/screenshot"))

    def errors(self):
        """Errors and warnings that the browser logged since the last call."""
        log = self._call("POST", "/se/log", {"type": "browser"})
        return [one["message"] for one in log if one["level"] in ("SEVERE", "WARNING")]

    def _port_of_driver(self):
        """The free port that the driver chose; it prints it once it listens."""
        output = []
        for line in self._driver.stdout:
            output.append(line)
            port = re.search(r"started successfully on port (\d+)", line)
            if port:
                # Read the rest too, so that it cannot fill the pipe.
                threading.Thread(target=self._driver.stdout.read, daemon=True).start()
                return int(port[1])
        raise AssertionError("chromedriver ended: " + "".join(output))

    def _call(self, method, path, content=None):
        data = None if content is None else json.dumps(content).encode()
        url = f"http://127.0.0.1:{self._port}{self._session}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        request.get_method = lambda: method
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read().decode()[:500]}") from None


def main(page, picture, selector="body", height="900", script=""):
    with tempfile.TemporaryDirectory() as folder, Browser(folder, 1200, int(height)) as browser:
        browser.open(Path(page))
        browser.script(f"document.querySelector(arguments[0]).scrollIntoView(); {script}", selector)
        Path(picture).write_bytes(browser.screenshot())


if __name__ == "__main__":
    main(*sys.argv[1:])
