#!/usr/bin/env python3
"""Conversations with a real listener: run.py [NAME...]. Each tests/dialog/*.dlg starts its own Signet on a free port.

    # anything               a comment; the first one names the dialogue
    main.cf: name = value    configuration, before the first S: or C:
    smtpd: -o name=value     option of the service in master.cf
    S: 220 ~                 one reply line that begins with "220 "; without ~ the whole line
    S: 250-... until "250 "  lines up to one that begins so
    S: silence 200ms         nothing comes for so long
    S: close                 the server hangs up
    C: text                  a line; \\r \\n \\t \\0 \\xHH \\\\ stand for bytes, CRLF is added
    R: text                  the same without CRLF
    tls                      the handshake
    again                    a second connection takes the place of the first, which stays open
    log: regex               a line of the log (waited for)
"""
import os
import re
import shutil
import socket
import ssl
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
import kit  # noqa: E402

WAIT = 30


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def octets(text):
    """The bytes that an escaped text stands for."""
    one = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}
    raw = re.sub(r"\\(x[0-9a-fA-F]{2}|.)", lambda m: chr(int(m[1][1:], 16)) if m[1][0] == "x" and len(m[1]) == 3 else one[m[1]], text)
    return b"".join(c.encode("latin-1") if ord(c) < 256 else c.encode() for c in raw)


class Talk:
    def __init__(self, server, port, context):
        self.server, self.context = server, context
        self.sock = socket.create_connection(("127.0.0.1", port), WAIT)
        self.have = b""
        self.others = []

    def line(self):
        self.sock.settimeout(WAIT)
        while b"\n" not in self.have:
            part = self.sock.recv(65536)
            kit.check(part, "the server hung up; unread: %r" % self.have)
            self.have += part
        line, self.have = self.have.split(b"\n", 1)
        kit.check(line.endswith(b"\r"), "a reply line without CR: %r" % line)
        return line[:-1].decode("utf-8", "replace")

    def expect_line(self, want):
        got = self.line()
        good = got.startswith(want[:-1]) if want.endswith("~") else got == want
        kit.check(good, "want %r, got %r" % (want, got))

    def silence(self, ms):
        self.sock.settimeout(ms / 1000)
        try:
            part = self.sock.recv(65536)
        except (TimeoutError, socket.timeout):
            part = b"" if not self.have else self.have
            kit.check(not part, "want silence, got %r" % part)
            return
        kit.check(False, "want silence, got %r" % part)

    def closed(self):
        self.sock.settimeout(WAIT)
        try:
            part = self.sock.recv(65536)
        except ConnectionResetError:
            part = b""
        kit.check(not self.have and not part, "want the end, got %r" % (self.have + part))

    def server_says(self, want):
        until = re.fullmatch(r'(.*)\.\.\. until "(.*)"', want)
        quiet = re.fullmatch(r"silence (\d+)ms", want)
        if quiet:
            self.silence(int(quiet[1]))
        elif want == "close":
            self.closed()
        elif until:
            line = self.line()
            while not line.startswith(until[2]):
                kit.check(line.startswith(until[1]), "want %r, got %r" % (want, line))
                line = self.line()
        else:
            self.expect_line(want)

    def again(self):
        self.others.append(self.sock)
        self.sock = socket.create_connection(self.sock.getpeername(), WAIT)
        self.have = b""

    def step(self, line):
        word, _, rest = line.partition(":")
        rest = rest[1:] if rest.startswith(" ") else rest
        if line == "tls":
            self.have = b""
            self.sock = self.context.wrap_socket(self.sock)
        elif line == "again":
            self.again()
        elif word == "S":
            self.server_says(rest)
        elif word in ("C", "R"):
            self.sock.sendall(octets(rest) + (b"\r\n" if word == "C" else b""))
        elif word == "log":
            self.server.wait_log(rest)
        else:
            raise kit.Failed("what is this: %r" % line)


def split(path):
    main_cf, options, steps = [], [], []
    with open(path) as f:
        for number, line in enumerate(f, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            if line.startswith("main.cf: "):
                main_cf.append(line[9:])
            elif line.startswith("smtpd: "):
                options.append(" " + line[7:])
            else:
                steps.append((number, line))
    return main_cf, options, steps


def one(path, work):
    main_cf, options, steps = split(path)
    port = free_port()
    env = kit.Env(work)
    try:
        cert, key = env.cert("mx.test")
        master = kit.MASTER_CF.replace("{smtp} inet n - n - - smtpd", "\n".join(["127.0.0.1:%d inet n - n - - smtpd" % port] + options))
        server = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_peername_lookup = no\n"
                            "default_transport = discard:\nmydestination = here.test\nlocal_recipient_maps = inline:{ joe=x }\n%s\n" % (
                                cert, key, "\n".join(main_cf)), master)
        context = ssl.create_default_context(cafile=env.ca())
        context.check_hostname = False
        talk = Talk(server, port, context)
        for number, line in steps:
            try:
                talk.step(line)
            except (kit.Failed, OSError) as e:
                raise kit.Failed("%s:%d: %s\n%s\n--- log\n%s" % (path, number, line, e, server.log()[-3000:]))
        talk.sock.close()
        kit.check(not server.has_log(r"panic|ended by signal"), server.log())
    finally:
        env.close()


def main():
    names = sorted(n for n in os.listdir(HERE) if n.endswith(".dlg"))
    if len(sys.argv) > 1:
        names = [n for n in names if any(w in n for w in sys.argv[1:])]
    failed = 0
    for name in names:
        work = tempfile.mkdtemp(prefix="signet-dialog-")
        os.chmod(work, 0o755)
        try:
            one(os.path.join(HERE, name), work)
            print("PASS  dialog/%s" % name, flush=True)
            shutil.rmtree(work, ignore_errors=True)
        except Exception:
            failed += 1
            print("FAIL  dialog/%s\n%s" % (name, traceback.format_exc(limit=1)), flush=True)
    print("dialog: %d passed, %d failed" % (len(names) - failed, failed))
    sys.exit(1 if failed else 0)


main()
