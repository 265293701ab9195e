"""Connections on which nothing takes longer than it may."""

from __future__ import annotations

import _socket
import io
import os
import re
import socket
import time
from typing import Any, NamedTuple, Optional, Union

from . import _threads


class Address(NamedTuple):
    """One of the addresses of a host, as `getaddrinfo` names it."""

    family: int
    kind: int
    protocol: int
    where: Any


class TlsFailed(OSError):
    """TLS could not be agreed on, or broke. The message says why."""


class TimedSocket:
    """A socket whose every operation is over by a deadline: a server that sends a byte now and then is as late as one
    that sends nothing. It has as much of a socket as http.client uses."""

    def __init__(self, sock: Any, deadline: float) -> None:
        self._sock = sock
        self.deadline = deadline

    def _wait_at_most(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        self._sock.settimeout(left)

    def sendall(self, data: Union[bytes, bytearray, memoryview]) -> None:
        self._wait_at_most()
        self._sock.sendall(data)

    def receive_into(self, buffer: Any) -> int:
        self._wait_at_most()
        received: int = self._sock.recv_into(buffer)
        return received

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Receiver(self))

    def fileno(self) -> int:
        number: int = self._sock.fileno()
        return number

    @property
    def has_pending(self) -> bool:
        """Whether something has arrived that the file does not show."""
        return False

    def shut_down(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        self._sock.close()

    def abandon(self) -> None:
        """Closes this process' copy of the socket, after a fork. It takes no lock, unlike the streams around it, whose
        locks a thread of the parent may have held."""
        os.close(self._sock.detach())


class _Receiver(io.RawIOBase):
    def __init__(self, sock: TimedSocket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._sock.receive_into(buffer)


class TlsSocket(TimedSocket):
    """The same over TLS. It needs only bytes in and out, so it works on a real socket where `ssl` is patched."""

    def __init__(self, sock: Any, deadline: float, host: str) -> None:
        import ssl

        super().__init__(sock, deadline)
        self._failure = ssl.SSLError
        self._wants_read = ssl.SSLWantReadError
        self._has_closed: tuple[type[Exception], ...] = (ssl.SSLZeroReturnError, ssl.SSLEOFError)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            context = ssl.create_default_context()
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
            self._run(self._tls.do_handshake)
        except self._has_closed as error:
            raise TlsFailed("TLS failed: the server closed the connection during the handshake") from error

    def _run(self, step: Any, *arguments: Any) -> Any:
        while True:
            try:
                done = step(*arguments)
            except self._wants_read:
                self._send_pending()
                self._receive()
            except self._has_closed:
                raise
            except self._failure as error:
                raise TlsFailed(f"TLS failed: {_why(error)}") from error
            else:
                self._send_pending()
                return done

    def _send_pending(self) -> None:
        data = self._outgoing.read()
        if data:
            super().sendall(data)

    def _receive(self) -> None:
        buffer = bytearray(65_536)
        received = super().receive_into(buffer)
        if received:
            self._incoming.write(buffer[:received])
        else:
            self._incoming.write_eof()

    @property
    def has_pending(self) -> bool:
        return bool(self._tls.pending() or self._incoming.pending)

    def sendall(self, data: Union[bytes, bytearray, memoryview]) -> None:
        view = memoryview(data)
        while len(view) > 0:
            view = view[self._run(self._tls.write, view) :]

    def receive_into(self, buffer: Any) -> int:
        try:
            received: int = self._run(self._tls.read, len(buffer), buffer)
        except self._has_closed:
            return 0
        return received


def _why(error: OSError) -> str:
    """What OpenSSL says, without where in its source, and Python's, that is."""
    return re.sub(r"^\[[^\]]*\] | \(_ssl\.c:\d+\)$", "", str(error))


class Dialer:
    """Connects to one host. Where it has several addresses, they share the time that there is, and the one that
    answered last comes first: an address that swallows everything costs its share once."""

    def __init__(self, host: str, port: int, has_tls: bool) -> None:
        self._host = host
        self._port = port
        self._has_tls = has_tls
        self._good: Optional[Address] = None

    def dial(self, deadline: float) -> TimedSocket:
        """Raises OSError."""
        addresses = self._addresses()
        failure: OSError = OSError(f"{self._host} has no address")
        for at, address in enumerate(addresses):
            left = deadline - time.monotonic()
            if left <= 0:
                raise socket.timeout("timed out")
            try:
                sock = self._connect(address, left / (len(addresses) - at))
            except OSError as error:
                failure = error
                continue
            self._good = address
            return self._secure(sock, deadline)
        self._good = None
        raise failure

    def _addresses(self) -> list[Address]:
        lookup = _socket.getaddrinfo if _threads.is_own() else socket.getaddrinfo
        try:
            answers = lookup(self._host, self._port, 0, socket.SOCK_STREAM)
        except UnicodeError as error:
            raise OSError(f"{self._host} is not the name of a host") from error
        found = [Address(family, kind, protocol, where) for family, kind, protocol, _, where in answers]
        found.sort(key=lambda address: address != self._good)
        return found

    def _connect(self, address: Address, timeout: float) -> Any:
        # In a thread of our own a real one; elsewhere one that lets other greenlets run, where there are any.
        make: Any = _socket.socket if _threads.is_own() else socket.socket
        sock = make(address.family, address.kind, address.protocol)
        try:
            sock.settimeout(timeout)
            sock.connect(address.where)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            sock.close()
            raise
        return sock

    def _secure(self, sock: Any, deadline: float) -> TimedSocket:
        try:
            return TlsSocket(sock, deadline, self._host) if self._has_tls else TimedSocket(sock, deadline)
        except BaseException:
            sock.close()
            raise
