"""Opens a tunnel through a proxy: python-socks negotiates it over our own TCP stream, which then carries all else.

python-socks goes through a chain of proxies by a `forward` that opens the way to the next: here that is our stream, in
the shape of a socket. It reads nothing beyond the proxy's answer, so that stamps and bytes behind it stay the stream's.
"""

from __future__ import annotations

import base64
from typing import Any

from python_socks import ProxyError, ProxyType
from python_socks.sync import Proxy as Negotiator

from bench.errors import ConnectError
from bench.transport.base import Proxy
from bench.transport.tcp import READ_BYTES, TcpStream

TYPES = {"http": ProxyType.HTTP, "socks4": ProxyType.SOCKS4, "socks5": ProxyType.SOCKS5}
HEAD_END = b"\r\n\r\n"
LONGEST_HEAD = READ_BYTES
UNAUTHORIZED = 407
NO_METHOD = "No acceptable authentication methods"
QUOTED = 300


def tunnel(stream: TcpStream, proxy: Proxy, host: str, port: int, until_ns: int) -> None:
    """Ask the proxy at the other end of `stream` for a way to `host`.

    Raises ConnectError: `refused:proxy` with the proxy's own words, `timeout:proxy`.
    """
    exchange = Exchange(stream, until_ns, whole_head=proxy.scheme == "http")
    negotiator = Negotiator(
        TYPES[proxy.scheme],
        proxy.host,
        proxy.port,
        username=proxy.user,
        password=proxy.password or "",
        rdns=True,  # whoever has looked the name up, `host` is what the proxy is asked for
        forward=exchange,  # type: ignore[arg-type]  # it is asked for its `connect` alone
    )
    try:
        negotiator.connect(host, port)
    except TimeoutError:
        raise ConnectError("timeout:proxy", f"the proxy {proxy.public} did not answer in time") from None
    except ProxyError as error:
        raise _refusal(proxy, _words(proxy, error)) from None
    except UnicodeDecodeError:
        raise _refusal(proxy, "its answer cannot be read") from None
    except ValueError:  # whose text may quote a password
        raise _refusal(proxy, f"its user, its password or the host cannot be said in {proxy.scheme}") from None
    except OSError as error:
        raise _refusal(proxy, f"the connection broke: {error.strerror or error}") from None
    if exchange.beyond:
        raise _refusal(proxy, "it sent more than its answer")


class Exchange:
    """A TCP stream as python-socks wants its socket, and the opener of the way to it.

    `whole_head`: one `recv` brings the head of an HTTP answer, however it was cut; else no more than was asked for.
    `beyond` is what came and was not asked for.
    """

    def __init__(self, stream: TcpStream, until_ns: int, *, whole_head: bool) -> None:
        self._stream, self._until_ns, self._whole_head = stream, until_ns, whole_head
        self.beyond = b""

    def connect(self, **_: Any) -> Exchange:
        return self

    def sendall(self, data: bytes) -> None:
        self._stream.write(data)

    def recv(self, count: int) -> bytes:
        if self._whole_head:
            return self._head()
        if not self.beyond:
            self._more()
        taken, self.beyond = self.beyond[:count], self.beyond[count:]
        return taken

    def _head(self) -> bytes:
        while HEAD_END not in self.beyond and len(self.beyond) < LONGEST_HEAD:
            if not self._more():
                return b""  # which python-socks takes for no answer
        head, end, self.beyond = self.beyond.partition(HEAD_END)
        return head + end

    def _more(self) -> bool:
        """Whether the proxy said something; raises TimeoutError."""
        read = self._stream.read(self._until_ns)
        if read is None:
            raise TimeoutError
        self.beyond += read.data
        return bool(read.data)

    def close(self) -> None:
        self._stream.close()


def _refusal(proxy: Proxy, words: str) -> ConnectError:
    return ConnectError("refused:proxy", f"the proxy {proxy.public}: {words}")


def _words(proxy: Proxy, error: ProxyError) -> str:
    """What the proxy said, without the password that it may have repeated, and what to do where it wants one."""
    said = " ".join(_without_password(proxy, str(error)).split())[:QUOTED].encode("utf-8", "replace").decode()
    if error.error_code != UNAUTHORIZED and NO_METHOD not in said:
        return said
    wanted = "it wants a user and a password" if proxy.user is None else "it does not take this user and password"
    return f"{said}; {wanted}: {proxy.scheme}://USER:PASSWORD@HOST:PORT"


def _without_password(proxy: Proxy, text: str) -> str:
    if not proxy.password:
        return text
    basic = base64.b64encode(f"{proxy.user}:{proxy.password}".encode("latin-1", "replace")).decode()
    return text.replace(basic, "***").replace(proxy.password, "***")
