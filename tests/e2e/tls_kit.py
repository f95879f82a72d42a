"""TLS servers for the tests of the client: Python's ssl with options, and ones that look at the ClientHello first."""
import re
import socket
import ssl
import struct
import subprocess
import threading

POST_QUANTUM = ssl.OPENSSL_VERSION_INFO >= (3, 5)       # X25519MLKEM768 is in the library
# what a client with the library's own list and our server agree on, as the log has it
USUAL_GROUP = "X25519MLKEM768" if POST_QUANTUM else "x25519"


def key_exchange(out):
    """The key exchange that `openssl s_client` reports, in the words of OpenSSL 3.0 ("ECDH, prime256v1, 256 bits", "X25519, 253 bits",
    "DH, 2048 bits"), with the bits left out where a later one leaves them out. None: no handshake."""
    m = re.search(r"^(?:Server|Peer) Temp Key: (.*)$", out, re.M)
    if m:
        return m.group(1)
    m = re.search(r"^Negotiated TLS1\.3 group: (\w+)$", out, re.M)
    if not m:
        return None
    names = {"secp256r1": "ECDH, prime256v1", "secp384r1": "ECDH, secp384r1", "secp521r1": "ECDH, secp521r1", "x25519": "X25519", "x448": "X448"}
    return names.get(m.group(1), m.group(1))


def context(cert=None, key=None, ciphers=None, least=None, most=None, tickets=None, dh=None):
    """A server context as old and as lenient as it takes; cert None = anonymous suites only."""
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.minimum_version = least or ssl.TLSVersion.MINIMUM_SUPPORTED
    if most:
        c.maximum_version = most
    c.set_ciphers((ciphers or "ALL") + ":@SECLEVEL=0")
    if tickets is not None and c.maximum_version != ssl.TLSVersion.TLSv1_2:
        c.num_tickets = tickets
    if tickets == 0:
        c.options |= ssl.OP_NO_TICKET
    c.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE  # the client's choice counts
    if dh:
        c.load_dh_params(dh)
    if cert:
        c.load_cert_chain(cert, key)
    return c


class Hello:
    """What a ClientHello says, as far as servers and boxes in the middle stumble over it."""
    def __init__(self, data):
        self.bytes = len(data)
        if len(data) < 5 or data[0] != 22:
            raise ValueError("no handshake record")
        self.record = struct.unpack(">H", data[3:5])[0]
        self.whole = self.record + 5 == len(data)
        at = 5 + 4 + 2 + 32
        at += 1 + data[at]
        n = struct.unpack(">H", data[at:at + 2])[0]
        self.suites = list(struct.unpack(">%dH" % (n // 2), data[at + 2:at + 2 + n]))
        at += 2 + n
        at += 1 + data[at]
        end = at + 2 + struct.unpack(">H", data[at:at + 2])[0]
        at += 2
        self.ext = {}
        while at < end:
            kind, n = struct.unpack(">HH", data[at:at + 4])
            self.ext[kind] = data[at + 4:at + 4 + n]
            at += 4 + n

    @property
    def ticket(self):
        return 35 in self.ext

    @property
    def resumes(self):
        return 41 in self.ext or bool(self.ext.get(35))

    @property
    def tls13(self):
        return b"\x03\x04" in [self.ext.get(43, b"")[i:i + 2] for i in range(1, len(self.ext.get(43, b"")), 2)]

    @property
    def fallback(self):
        return 0x5600 in self.suites

    @property
    def groups(self):
        body = self.ext.get(10, b"\0\0")[2:]
        return list(struct.unpack(">%dH" % (len(body) // 2), body))

    @property
    def shares(self):
        body, found = self.ext.get(51, b"\0\0")[2:], []
        while body:
            group, n = struct.unpack(">HH", body[:4])
            found.append(group)
            body = body[4 + n:]
        return found


class Picky:
    """Used as the `tls` of a kit.Sink: sees each ClientHello before OpenSSL does. `rule(hello)` gives None (go on), "close" or
    "stall"; the hellos are kept."""
    def __init__(self, ctx, rule=None):
        self.ctx, self.rule, self.hellos, self.done = ctx, rule or (lambda hello: None), [], []
        self.lock = threading.Lock()

    def wrap_socket(self, conn, server_side):
        data = b""
        conn.settimeout(20)
        while len(data) < 5 or len(data) < 5 + struct.unpack(">H", data[3:5])[0]:
            more = conn.recv(20000, socket.MSG_PEEK)
            if len(more) == len(data):
                raise OSError("gone")
            data = more
        hello = Hello(data)
        with self.lock:
            self.hellos.append(hello)
        verdict = self.rule(hello)
        if verdict == "stall":
            conn.recv(20000)
            conn.recv(1)  # until the client gives up
        if verdict:
            raise OSError(verdict)
        s = self.ctx.wrap_socket(conn, server_side=server_side)
        with self.lock:
            self.done.append((s.version(), s.cipher()[0], s.session_reused))
        return s


STARTTLS = ("PIPELINING", "8BITMIME", "STARTTLS")


class SServer:
    """openssl s_server with TLS from the first byte and this side of an SMTP conversation on its standard input."""
    def __init__(self, env, address, port, cert, key):
        self.lines = []
        self.p = subprocess.Popen(["openssl", "s_server", "-quiet", "-accept", "%s:%d" % (address, port), "-cert", cert, "-key", key],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        env.at_end(self.close)
        self.say("220 s_server ESMTP")      # waits in its input until somebody is there
        threading.Thread(target=self.talk, daemon=True).start()

    def close(self):
        self.p.terminate()
        self.p.wait()

    def say(self, text):
        self.p.stdin.write(text.encode() + b"\r\n")
        self.p.stdin.flush()

    def talk(self):
        data = False
        for raw in self.p.stdout:
            line = raw.decode("latin-1").rstrip("\r\n")
            self.lines.append(line)
            verb = line[:4].upper()
            if data:
                data = line != "."
                if not data:
                    self.say("250 2.0.0 Ok")
            elif verb == "DATA":
                data = True
                self.say("354 go")
            else:
                self.say({"QUIT": "221 bye"}.get(verb, "250 2.0.0 Ok"))
