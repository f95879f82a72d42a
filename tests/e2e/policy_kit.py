"""A policy service (SMTPD_POLICY protocol) whose answers the test decides."""
import os
import socket
import threading


class PolicyService:
    """`place`: a port on 127.0.0.1 or the path of a UNIX socket. `answer(attrs)` gives the action, bytes to send as they are,
    None to stay silent, or False to close. Everything that came is in `requests` (lists of (name, value)), the
    number of connections in `connections`."""

    def __init__(self, env, place, answer):
        self.place, self.answer = place, answer
        self.requests, self.connections = [], 0
        self.open = []
        self.lock = threading.Lock()
        self.listener = None
        self.start()
        env.at_end(self.stop)

    def start(self):
        if isinstance(self.place, int):
            s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", self.place))
        else:
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            os.makedirs(os.path.dirname(self.place), exist_ok=True)
            if os.path.exists(self.place):
                os.unlink(self.place)
            s.bind(self.place)
            os.chmod(self.place, 0o666)
        s.listen(100)
        self.listener = s
        threading.Thread(target=self._accept, args=(s,), daemon=True).start()

    def stop(self):
        """Close the listener and every connection, as a service that ends does."""
        if self.listener is not None:
            try:
                self.listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.listener.close()
            self.listener = None
        with self.lock:
            for c in self.open:
                try:
                    c.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.open = []

    def _accept(self, s):
        while True:
            try:
                c, _ = s.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.open.append(c)
            threading.Thread(target=self._serve, args=(c,), daemon=True).start()

    def _serve(self, c):
        attrs = []
        f = c.makefile("rb")
        try:
            for line in f:
                if line != b"\n":
                    name, value = line.rstrip(b"\n").decode().split("=", 1)
                    attrs.append((name, value))
                    continue
                with self.lock:
                    self.requests.append(attrs)
                said = self.answer(dict(attrs))
                attrs = []
                if said is False:
                    break
                if said is not None:
                    c.sendall(said if isinstance(said, bytes) else b"action=%s\n\n" % said.encode())
        except OSError:
            pass
        with self.lock:
            if c in self.open:
                self.open.remove(c)
        f.close()
        c.close()

    def asked(self):
        with self.lock:
            return [dict(r) for r in self.requests]

    def last(self):
        return self.asked()[-1]

    def clear(self):
        with self.lock:
            self.requests = []
