"""SMTP clients of other people for the tests of the server: openssl s_client and gnutls-cli as dialogues, swaks as a command."""
import re
import signal
import subprocess
import threading

import kit


class Gone(kit.Failed):
    """The session ended where a reply was expected, or there was no handshake."""


class Dialogue:
    """An SMTP session by somebody else's program: what is said goes to its standard input, replies come from its standard output."""
    def __init__(self, argv, stderr):
        self.argv, self.lines, self.info, self.features, self.over = argv, [], [], [], False
        self.came = threading.Condition()
        self.p = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True)
        self.readers = [threading.Thread(target=self._read, args=(f,), daemon=True) for f in (self.p.stdout, self.p.stderr) if f]
        for t in self.readers:
            t.start()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.close()

    def _read(self, f):
        for raw in f:
            line = raw.decode("latin-1").rstrip("\r\n")
            with self.came:
                (self.lines if f is self.p.stdout and re.match(r"\d{3}([ -]|$)", line) else self.info).append(line)
                self.came.notify_all()
        with self.came:
            self.over = self.over or f is self.p.stdout
            self.came.notify_all()

    def seen(self, pattern):
        """Wait for a line of the program's own."""
        with self.came:
            if not self.came.wait_for(lambda: self.over or any(re.search(pattern, line) for line in self.info), kit.DEADLINE):
                raise Gone("%s: no line /%s/ in %s" % (self.argv, pattern, self.info[-20:]))
        for t in self.readers if self.over else ():
            t.join(kit.DEADLINE)
        if not any(re.search(pattern, line) for line in self.info):
            raise Gone("%s: ended without /%s/: %s" % (self.argv, pattern, self.info[-20:]))

    def facts(self):
        """What the program tells of the session, as text."""
        return "\n".join(self.info)

    def reply(self):
        """The next reply: its code and all its text."""
        text = []
        while True:
            with self.came:
                kit.check(self.came.wait_for(lambda: self.lines or self.over, kit.DEADLINE), "%s: no reply" % (self.argv,))
                if not self.lines:
                    raise Gone("%s: the session ended; %s" % (self.argv, self.info[-5:]))
                line = self.lines.pop(0)
            text.append(line[4:])
            if line[3:4] != "-":
                return int(line[:3]), "\n".join(text)

    def tell(self, line):
        try:
            self.p.stdin.write((line if isinstance(line, bytes) else line.encode()) + b"\r\n")
            self.p.stdin.flush()
        except BrokenPipeError:
            pass                # reply() says so

    def say(self, line):
        self.tell(line)
        return self.reply()

    def ehlo(self, name="c.test"):
        got = self.say("EHLO " + name)
        self.features = [line.upper() for line in got[1].split("\n")[1:]] if got[0] == 250 else []
        return got

    def offers(self, word):
        return any(f.split()[0] == word.upper() for f in self.features)

    def mail(self, sender, *rcpts, body=None):
        """MAIL, each RCPT, DATA when there is a body: the first refusal, or the last reply."""
        got = self.say("MAIL FROM:<%s>" % sender)
        for r in rcpts:
            if got[0] // 100 == 2:
                got = self.say("RCPT TO:<%s>" % r)
        if got[0] // 100 == 2 and body is not None:
            got = self.say("DATA")
            if got[0] == 354:
                got = self.say(body.replace("\n", "\r\n") + ".")
        return got

    def ended(self):
        """Has the server closed? Waits for it."""
        with self.came:
            return self.came.wait_for(lambda: self.over, kit.DEADLINE)

    def close(self):
        if self.p.poll() is None:
            self.tell("QUIT")
            try:
                self.p.stdin.close()
            except BrokenPipeError:
                pass
            try:
                self.p.wait(5)
            except subprocess.TimeoutExpired:
                self.p.kill()
                self.p.wait()
        for t in self.readers:
            t.join(kit.DEADLINE)
        for f in (self.p.stdin, self.p.stdout, self.p.stderr):
            try:
                if f:
                    f.close()
            except BrokenPipeError:
                pass


class OpenSSL(Dialogue):
    """openssl s_client behind STARTTLS, or with `wrap` TLS from the first byte. `pair`: certificate and key. It stands behind the
    handshake, before EHLO (with `wrap` before the greeting). Gone: there was no handshake."""
    def __init__(self, port=25, host="127.0.0.1", source=None, pair=None, wrap=False, name="c.test", args=()):
        argv = ["openssl", "s_client", "-brief", "-ign_eof", "-connect", "%s:%d" % ("[%s]" % host if ":" in host else host, port)]
        argv += [] if wrap else ["-starttls", "smtp", "-name", name]
        argv += ["-bind", ("[%s]:0" if ":" in source else "%s:0") % source] if source else []
        argv += ["-cert", pair[0], "-key", pair[1]] if pair else []
        super().__init__(argv + list(args), subprocess.PIPE)
        try:
            self.seen(r"^CONNECTION ESTABLISHED")
        except Gone:
            self.close()
            raise


class GnuTLS(Dialogue):
    """gnutls-cli, at first in clear: `starttls()` when it is time. With `wrap` TLS from the first byte."""
    def __init__(self, port=25, host="127.0.0.1", pair=None, wrap=False, priority=None, ca=None, verify="mx.test", sni=None):
        argv = ["gnutls-cli", "--port", port, *([] if wrap else ["--starttls"]), *(["--priority", priority] if priority else []),
                *(["--sni-hostname", sni] if sni else []),
                *(["--x509cafile", ca, "--verify-hostname", verify] if ca else ["--no-ca-verification"]),
                *(["--x509certfile", pair[0], "--x509keyfile", pair[1]] if pair else []), host]
        super().__init__(argv, subprocess.STDOUT)
        if wrap:
            self.seen(r"Handshake was completed|^- Options:")

    def starttls(self):
        got = self.say("STARTTLS")
        if got[0] == 220:
            self.p.send_signal(signal.SIGALRM)
            self.seen(r"Handshake was completed|^- Options:")
        return got


def hello(port=25, *args, host="127.0.0.1", source=None):
    """One handshake of openssl s_client behind STARTTLS: all that it prints."""
    argv = ["openssl", "s_client", "-starttls", "smtp", "-connect", "%s:%d" % (host, port), *(["-bind", source + ":0"] if source else []), *args]
    return kit.sh(*argv, check_status=False, input="QUIT\r\n", timeout=kit.DEADLINE)


class Swaks:
    """One run of swaks. `pair`: certificate and key; `tls`: by STARTTLS. `steps`: (command, code, text) of each reply in order."""
    def __init__(self, *args, port=25, host="127.0.0.1", source=None, pair=None, tls=False, sender="a@b.example", rcpt="u@example.com", until="RCPT", name="c.test"):
        argv = ["swaks", "--server", host, "--port", port, "--ehlo", name, "--from", sender, "--to", rcpt, *(["--quit-after", until] if until else []),
                *(["--local-interface", source] if source else []), *(["--tls"] if tls else []),
                *(["--tls-cert", pair[0], "--tls-key", pair[1]] if pair else []), *args]
        self.out = kit.sh(*argv, check_status=False, timeout=kit.DEADLINE)
        self.steps, said, text = [], "", []
        for line in self.out.splitlines():
            m = re.match(r"<[-~*]{1,2} +(\d{3})([ -]?)(.*)", line)
            if m:
                text.append(m.group(3))
                if m.group(2) != "-":
                    self.steps.append((said, int(m.group(1)), "\n".join(text)))
                    text = []
            elif re.match(r" [-~]> ", line):
                said = line[4:]

    def last(self):
        """Code and text of the reply that decided: the last one before QUIT."""
        before = [s for s in self.steps if s[0] != "QUIT"]
        kit.check(before, "swaks got no reply: %s" % self.out)
        return before[-1][1:]

    def of(self, verb):
        """Codes of the replies to a command."""
        return [s[1] for s in self.steps if s[0].upper().startswith(verb)]
