"""A browser's window on `queuectl web`: what a person does in it, and what it must never do: run what isn't ours, or ask others."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

from kit import QUEUECTL, until

NEEDED = {"chromium": ("chromium", "chromium-browser", "google-chrome"), "chromium-driver": ("chromedriver",)}
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-lcd-text"),
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",  # a mouse is there
)
WITNESS = """
window.witness = {violations: [], long: [], nodes: 0};
document.addEventListener("securitypolicyviolation", (event) => witness.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
addEventListener("error", (event) => witness.violations.push(`error ${event.message}`));
new PerformanceObserver((list) => list.getEntries().forEach((entry) => witness.long.push(Math.round(entry.duration))))
  .observe({type: "longtask", buffered: true});
"""  # in each document before its own scripts
REFUSED = re.compile(r"Failed to load resource")  # what a test lets happen on purpose: the server is away, or says no


def missing():
    """What a test needs that isn't here, in words; "" where all is."""
    import importlib.util
    import shutil

    tools = [package for package, names in NEEDED.items() if not any(map(shutil.which, names))]
    modules = [name for name in ("selenium", "selenium_axe_python", "starlette", "uvicorn") if not importlib.util.find_spec(name)]
    if tools:
        return f"{' and '.join(tools)} missing: make test-deps"
    return f"{' and '.join(modules)} missing: pip install -e '.[dev]'" if modules else ""


def start_browser(folder):
    """Return a new browser, which keeps what it keeps in the folder, and is let go by quit()."""
    import shutil

    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, NEEDED["chromium"])))
    for flag in (*FLAGS, f"--user-data-dir={folder}/profile"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder), "download.prompt_for_download": False})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WITNESS})
    driver.set_script_timeout(60)
    return driver


class Web:
    """A running `queuectl web`: `link` lets a browser in, `origin` is where it is."""

    def __init__(self, process, link):
        self.process = process
        self.link = link
        self._cookie = None
        self.origin = link.split("/login")[0]
        self.port = int(self.origin.rsplit(":", 1)[1])

    def cookie(self):
        """What a browser that has opened the link holds: name and value."""
        if self._cookie is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request("GET", self.link.removeprefix(self.origin))
            said = connection.getresponse().getheader("Set-Cookie")
            connection.close()
            self._cookie = dict(zip(("name", "value"), said.split(";")[0].split("=", 1), strict=True))
        return self._cookie


class Cable:
    """What a browser's connections go through, to be cut and laid again, at the same `port`."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    def lay(self, port):
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._take, args=(self._listener, port), daemon=True).start()

    def cut(self):
        listener, self._listener = self._listener, None
        for end in (listener, *self._ends):
            with contextlib.suppress(OSError, AttributeError):
                end.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError, AttributeError):
                end.close()
        self._ends = []

    def _take(self, listener, port):
        with contextlib.suppress(OSError):
            while True:
                near = listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", port))
                self._ends += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source, target):
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def web(spool, *options, port=0):
    """Serve the spool's page for as long as the with block lasts."""
    with tempfile.TemporaryFile() as said:
        command = [*QUEUECTL, "--spool", spool.root, "web", "--port", str(port), *options]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, env={**os.environ})
        try:
            link = process.stdout.readline().decode().strip()
            if "/login?token=" not in link:
                said.seek(0)
                raise AssertionError(f"no link: {link!r} {said.read()!r}")
            yield Web(process, link)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


class Window:
    """The browser, and where it looks."""

    def __init__(self, driver, served):
        self.driver = driver
        self.web = served
        self.forgiving = False  # the test lets the server be away, or say no
        self.forget()
        driver.get_log("browser")
        self.wide(1280)
        self.theme("dark")
        cookie = {**served.cookie(), "url": served.origin, "httpOnly": True, "sameSite": "Strict"}
        driver.execute_cdp_cmd("Network.setCookie", cookie)
        driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 1, "y": 1})

    def forget(self):
        """Let the browser have no cookie."""
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})

    # ---- looking

    def open(self, path="/"):
        """Look at a path, and wait until something is drawn."""
        self.driver.get(self.web.origin + path)
        self.until(lambda: self.count("main > :not(noscript)"), f"{path} to be drawn")
        return self

    def run(self, script, *values):
        return self.driver.execute_script(script, *values)

    def until(self, seen, what="it"):
        from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException

        def safely():
            try:
                return seen()
            except (NoSuchElementException, StaleElementReferenceException):
                return None  # it is drawn anew in this instant

        return until(safely, what)

    def all(self, css):
        return self.driver.find_elements("css selector", css)

    def count(self, css):
        return self.run("return document.querySelectorAll(arguments[0]).length", css)

    def text(self, css="main"):
        """All that stands there, as it is seen."""
        return self.run("return [...document.querySelectorAll(arguments[0])].map((each) => each.innerText).join('\\n')", css)

    def see(self, text, css="main"):
        """Wait until it says that there."""
        try:
            until(lambda: text in self.text(css), text)
        except AssertionError:
            raise AssertionError(f"{text!r} is not seen in {css}: {self.text(css)[:2000]!r}") from None

    def see_not(self, text, css="main"):
        self.until(lambda: text not in self.text(css), f"{text!r} to go from {css}")

    # ---- doing

    def find(self, css, text=None):
        """Wait for the first that is seen and has that text, and return it."""

        def found():
            seen = [each for each in self.all(css) if each.is_displayed() and (text is None or text in each.text)]
            return seen[0] if seen else None

        return self.until(found, f"{css} {text or ''}")

    def click(self, css, text=None):
        from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException

        def clicked():
            element = self.find(css, text)
            self.run("arguments[0].scrollIntoView({block: 'center'})", element)
            try:
                element.click()
            except StaleElementReferenceException:
                pass  # the click itself has taken it away
            except ElementClickInterceptedException:
                return False
            return True

        self.until(clicked, f"{css} {text or ''} to be clicked")

    def press(self, *keys):
        """Press keys where the focus is, one behind the other."""
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver, duration=0).send_keys(key).perform()

    def type(self, css, text):
        element = self.find(css)
        element.clear()
        element.send_keys(text)

    def focused(self, script="return document.activeElement.innerText || document.activeElement.id"):
        return self.run(script)

    # ---- how it looks

    def wide(self, width, height=900):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def theme(self, name):
        feature = {"name": "prefers-color-scheme", "value": name}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def axe(self):
        """What axe finds: a line for each rule that is broken."""
        if not self.run("return typeof axe !== 'undefined'"):
            self.run(axe_script())
        found = self.driver.execute_async_script("axe.run(document, {resultTypes: ['violations']}).then(arguments[0])")
        return [
            f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found["violations"] for node in rule["nodes"]
        ]

    # ---- what must never be

    def leave(self):
        """Look away, and forget what was said until then."""
        self.driver.get("about:blank")
        self.driver.get_log("browser")

    def faults(self):
        """What the page did that it must not: errors, breaches of its policy, requests to others."""
        from selenium.common.exceptions import WebDriverException

        logged = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        faults = [each for each in logged if not (self.forgiving and REFUSED.search(each))]
        with contextlib.suppress(WebDriverException):  # no document of ours is there
            faults += self.run("return window.witness?.violations ?? []")
            asked = self.run("return performance.getEntries().map((entry) => entry.name).filter((name) => /^[a-z]+:/.test(name))")
            faults += [f"foreign: {name}" for name in asked if not name.startswith((self.web.origin, "blob:", "data:", "about:"))]
        return faults


def axe_script():
    import selenium_axe_python

    return Path(selenium_axe_python.__file__).parent.joinpath("axe-core", "axe.min.js").read_text()
