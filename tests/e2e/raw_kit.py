"""An SMTP client of the tests' own, for what no real one would say."""
import socket

import kit


class Raw:
    """A client in clear that says what it is told, right or wrong. A command gets its CRLF, a list of them goes out at once, bytes go as they are."""
    def __init__(self, port=25, host="127.0.0.1", source=None):
        self.s = socket.create_connection((host, port), kit.DEADLINE, (source, 0) if source else None)
        self.f = self.s.makefile("rb")
        self.closed = False     # by the server

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.close()

    def tell(self, what):
        try:
            self.s.sendall(what if isinstance(what, bytes) else "".join(c + "\r\n" for c in ([what] if isinstance(what, str) else what)).encode())
        except (BrokenPipeError, ConnectionResetError):
            pass                # reply() says so

    def reply(self):
        """The lines of the next reply; none when the server has closed."""
        lines = []
        while not self.closed and (not lines or lines[-1][3:4] == "-"):
            try:
                line = self.f.readline()
            except ConnectionResetError:
                line = b""
            self.closed = line == b""
            lines += [] if self.closed else [line.decode("utf-8", "backslashreplace").rstrip("\r\n")]
        return lines

    def say(self, what):
        self.tell(what)
        return self.reply()

    def close(self):
        self.f.close()
        self.s.close()
