"""Headless Chromium over its debugging protocol: pages are opened, inspected, sent keys, and
captured.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.simulator_process import GUARD_S

CONTRAST = """(() => {
  const light = text => {
    const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const [r, g, b] = text.match(/[\\d.]+/g).map(v => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = e => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (colour.startsWith("rgb(")) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || e.closest("svg") || !e.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) found.push(walker.currentNode.data);
  }
  return found;
})()"""
"""A script that returns the visible texts outside figures with too little contrast, by WCAG 2.2,
1.4.3."""


NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""The names of the browser's executable."""
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
)


def installed() -> str | None:
    """Return the path of a browser; None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One browser. Its pages share a connection and are used one after the other."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.asked = 0
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Return a command's result, and store events that arrive before it.

        Raise RuntimeError if the browser refuses the command.
        """
        self.asked += 1
        request = {"id": self.asked, "method": method, "params": parameters} | (
            {"sessionId": session} if session else {}
        )
        self.connection.send(json.dumps(request))
        while (answer := self._next()).get("id") != self.asked:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def wait_for(self, method: str, session: str) -> None:
        """Wait until an event of this method has arrived from the session."""
        while not any(
            event.get("method") == method and event.get("sessionId") == session
            for event in self.events
        ):
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.connection.recv(timeout=GUARD_S))
        return message

    @contextmanager
    def page(
        self, file: Path, width: int, height: int, theme: str, *, scripts: bool = True
    ) -> Iterator[Page]:
        """Open a file in a window of this size in pixels, with a preferred theme (light or dark).

        `scripts`: True if the page's own scripts run. The test's scripts always run.
        """
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log"):
            page.ask(f"{domain}.enable")
        page.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        page.ask(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": theme}],
        )
        page.ask("Emulation.setFocusEmulationEnabled", enabled=True)
        page.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        page.ask("Page.navigate", url=file.resolve().as_uri())
        self.wait_for("Page.loadEventFired", session)
        try:
            yield page
        finally:
            self.ask("Target.closeTarget", targetId=target)


class Page:
    """An open page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.ask(method, self.session, **parameters)

    def value(self, expression: str) -> Any:
        """Return the value of an expression. Raise RuntimeError if it throws."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press a key, by its name and its virtual code."""
        for kind in ("rawKeyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def browser_errors(self) -> list[str]:
        """Return errors, warnings and exceptions of the console since the page was opened."""
        self.value("0")  # all earlier messages arrive before this answer
        found = []
        for event in self.browser.events:
            if event.get("sessionId") == self.session:
                found += _browser_error(event["method"], event["params"])
        return found

    def picture(self, *, whole: bool = True) -> bytes:
        """Return a PNG of the whole page. If `whole` is False, return only the part that the
        window shows.
        """
        size = self.ask("Page.getLayoutMetrics")["cssContentSize" if whole else "cssVisualViewport"]
        if not whole:
            size = {"width": size["clientWidth"], "height": size["clientHeight"]}
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.ask(
            "Page.captureScreenshot",
            format="png",
            captureBeyondViewport=True,
            clip=clip,
            optimizeForSpeed=True,
        )
        return base64.b64decode(shot["data"])


def _browser_error(method: str, said: dict[str, Any]) -> list[str]:
    if method == "Runtime.exceptionThrown":
        return [str(said["exceptionDetails"])]
    if method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
        return [str(said["args"])]
    if method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
        return [str(said["entry"]["text"])]
    return []


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[Browser]:
    """Yield a browser with a profile in this folder, and end it."""
    path = installed()
    assert path is not None
    command = [path, *ARGUMENTS, *arguments, f"--user-data-dir={folder}", "about:blank"]
    # the folder of a socket; its path has at most 108 bytes
    environment = os.environ | {"TMPDIR": "/tmp"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        output: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=_drain, args=(process, output), daemon=True)
        reader.start()
        try:
            with connect(
                _address(output), max_size=None, proxy=None, open_timeout=GUARD_S
            ) as connection:
                browser = Browser(connection)
                yield browser
                browser.ask("Browser.close")
        finally:
            process.terminate()
            process.wait(GUARD_S)
            reader.join(GUARD_S)


def _drain(process: subprocess.Popen[str], said: queue.Queue[str]) -> None:
    """Read the browser's output. Otherwise the pipe would fill up and block the browser."""
    assert process.stderr is not None
    for line in process.stderr:
        said.put(line)
    said.put("")


def _address(said: queue.Queue[str]) -> str:
    """Return the address of the debugging protocol. Raise RuntimeError if the browser ends
    before it prints it.
    """
    received = []
    while line := said.get(timeout=GUARD_S):
        received.append(line)
        if line.startswith("DevTools listening on "):
            return line.split()[-1]
    raise RuntimeError("the browser ended: " + "".join(received))
