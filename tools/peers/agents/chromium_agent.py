"""An agent in a page of Chromium, which answers each offer that this program hands to it. It
prints its port.
"""

import itertools
import json
import queue
import shutil
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(__file__).with_name("chromium_agent.html")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--autoplay-policy=no-user-gesture-required",
)
WAIT_S = 10
offers: queue.Queue = queue.Queue()
answers: dict = {}
numbers = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    """`/` is the page, `/next` waits for an offer, and `/answer` accepts the page's answer to
    it.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path != "/next":
            self.respond(PAGE.read_bytes(), "text/html")
            return
        try:
            self.respond(json.dumps(offers.get(timeout=WAIT_S)).encode())
        except queue.Empty:
            self.respond(b"null")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/answer":
            answers[body["number"]].put(body["answer"])
            self.respond(b"{}")
            return
        number = next(numbers)
        answers[number] = queue.Queue()
        offers.put({"number": number, "offer": {"type": "offer", "sdp": body["sdp"]}})
        self.respond(json.dumps(answers[number].get(timeout=WAIT_S)).encode())

    def respond(self, content, kind="application/json"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port, profile = server.server_address[1], Path.cwd() / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    command = ["chromium", *OPTIONS, f"--user-data-dir={profile}", f"http://127.0.0.1:{port}/"]
    chromium = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        print(port, flush=True)
        chromium.wait()
    finally:
        chromium.terminate()
        chromium.wait()


main()
