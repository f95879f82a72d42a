"""End-to-end kit: one test owns one network namespace, a folder, a CA, real DNS, Signet and its peers.

A test is tests/e2e/t-NN-name/test.py with a function run(env). The runner (run.py) gives each its own
namespace (so ports 25 and 53 are free and nothing leaves the machine) and a deadline. Everything started
here is ended here, by pid.
"""
import json
import os
import pwd
import re
import shutil
import signal
import smtplib
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SIGNET_BUILD", os.path.join(TOP, "build"))
DEADLINE = 30


class Failed(Exception):
    pass


class Skipped(Exception):
    """Something that this machine cannot do; CI counts it as a failure."""


def check(cond, text):
    if not cond:
        raise Failed(text)


def need(*commands):
    for c in commands:
        if shutil.which(c) is None:
            raise Skipped("%s is not installed" % c)


def sh(*argv, check_status=True, **kw):
    r = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    if check_status and r.returncode != 0:
        raise Failed("%s: status %d\n%s" % (" ".join(map(str, argv)), r.returncode, r.stdout))
    return r.stdout


def wait_until(what, probe, deadline=DEADLINE):
    """Poll `probe` until it gives something true; its value."""
    end = time.monotonic() + deadline
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed("waited %d s for %s" % (deadline, what))
        time.sleep(0.02)


class Process:
    def __init__(self, env, argv, name, **kw):
        self.name = name
        self.output = os.path.join(env.dir, name + ".out")
        self.p = subprocess.Popen([str(a) for a in argv], stdout=open(self.output, "ab"), stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL, start_new_session=True, **kw)
        env.at_end(self.stop)

    def alive(self):
        return self.p.poll() is None

    def stop(self, sig=signal.SIGTERM, deadline=20):
        if self.alive():
            self.p.send_signal(sig)
            try:
                self.p.wait(deadline)
            except subprocess.TimeoutExpired:
                self.p.kill()
                self.p.wait()
        return self.p.returncode

    def text(self):
        with open(self.output, errors="replace") as f:
            return f.read()


class Env:
    def __init__(self, directory):
        self.dir = directory
        self.ends = []
        self.count = 0
        os.makedirs(directory, exist_ok=True)
        os.chmod(directory, 0o755)
        self._ca = None

    # ---- life
    def at_end(self, fn):
        self.ends.append(fn)

    def close(self):
        for fn in reversed(self.ends):
            try:
                fn()
            except Exception as e:  # a peer that is already gone
                print("at end: %s" % e)
        self.ends = []

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    # ---- users
    def user(self, name):
        """A throw-away account (needs root)."""
        try:
            return pwd.getpwnam(name)
        except KeyError:
            sh("useradd", "--create-home", "--shell", "/bin/sh", name)
            return pwd.getpwnam(name)

    # ---- certificates
    def openssl(self, *argv, **kw):
        return sh("openssl", *argv, cwd=self.dir, **kw)

    def ca(self, name="ca"):
        """A root certificate NAME.pem with key NAME.key."""
        pem = self.path(name + ".pem")
        if not os.path.exists(pem):
            self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name + ".key",
                         "-out", name + ".pem", "-days", "30", "-subj", "/CN=Test %s" % name,
                         "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        return pem

    def cert(self, name, sans=None, ca="ca", cn=None, days=20, key="ec", eku="serverAuth,clientAuth"):
        """Certificate for DNS names `sans`; ca=None makes it self-signed. Returns (certificate with chain, key)."""
        sans = [name] if sans is None else sans
        base = "cert-%s-%d" % (re.sub(r"\W", "_", name), self.count)
        self.count += 1
        new = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if key == "ec" else ["rsa:2048"]
        ext = self.write(base + ".ext", "subjectAltName=%s\nextendedKeyUsage=%s\n" % (
            ",".join(s if ":" in s else "DNS:" + s for s in sans), eku) if sans else "extendedKeyUsage=%s\n" % eku)
        self.openssl("req", "-new", "-newkey", *new, "-nodes", "-keyout", base + ".key", "-out", base + ".csr",
                     "-subj", "/CN=%s" % (cn or name))
        when = ["-days", str(days)]
        if ca is None:
            self.openssl("x509", "-req", "-in", base + ".csr", "-signkey", base + ".key", "-out", base + ".pem", "-extfile", ext, *when)
        else:
            self.ca(ca)
            self.openssl("x509", "-req", "-in", base + ".csr", "-CA", ca + ".pem", "-CAkey", ca + ".key", "-CAcreateserial",
                         "-out", base + ".pem", "-extfile", ext, *when)
        os.chmod(self.path(base + ".key"), 0o600)
        return self.path(base + ".pem"), self.path(base + ".key")

    def sign_expired(self, name, ca, extensions):
        """NAME.pem for NAME.csr by `ca`, out of date for years (before OpenSSL 3.4 `openssl x509` cannot say from when)."""
        self.write("db/index", "")
        self.write("db/serial", "01")
        conf = self.write("db/conf", "[ca]\ndefault_ca=d\n[d]\ndatabase=%s\nserial=%s\nnew_certs_dir=%s\ndefault_md=sha256\npolicy=p\n"
                          "x509_extensions=x\n[p]\ncommonName=supplied\n[x]\n%s\n" % (
                              self.path("db/index"), self.path("db/serial"), self.path("db"), extensions))
        self.openssl("ca", "-batch", "-notext", "-config", conf, "-cert", ca + ".pem", "-keyfile", ca + ".key", "-in", name + ".csr",
                     "-out", name + ".pem", "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
        return self.path(name + ".pem")

    def fingerprint(self, cert, digest="sha256"):
        out = self.openssl("x509", "-in", cert, "-noout", "-fingerprint", "-" + digest)
        return out.strip().split("=", 1)[1]

    def pubkey_fingerprint(self, cert, digest="sha256"):
        out = sh("sh", "-c", "openssl x509 -in '%s' -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -%s -c" % (cert, digest))
        return out.strip().split("= ", 1)[1].upper()

    # ---- DNS: one signed root zone served by nsd; Signet gets its own trust anchor
    def dns(self, records, insecure=None, address="127.0.0.53", port=53):
        """`records`: lines of the (signed) root zone, e.g. "example.com. MX 10 mx.example.com.".
        `insecure`: {zone: lines} delegated without DS. Sets env.dns_params for signet()."""
        need("nsd", "ldns-signzone", "ldns-keygen")
        d = self.path("dns")
        os.makedirs(d, exist_ok=True)
        zones = {}
        root = [". 60 IN SOA ns. admin. 1 3600 900 86400 5", ". 60 IN NS ns.", "ns. 60 IN A %s" % address]
        for zone, lines in (insecure or {}).items():
            root.append("%s 60 IN NS ns." % zone)
            zones[zone] = ["%s 60 IN SOA ns. admin. 1 3600 900 86400 5" % zone, "%s 60 IN NS ns." % zone] + lines
        root += records
        with open(os.path.join(d, "root.zone"), "w") as f:
            f.write("$TTL 60\n" + "\n".join(root) + "\n")
        ksk = sh("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", "-r", "/dev/urandom", ".", cwd=d).strip()
        sh("ldns-signzone", "-o", ".", "-f", "root.signed", "root.zone", ksk, cwd=d)
        conf = ["server:", " ip-address: %s@%d" % (address, port), " username: \"\"", " zonesdir: %s" % d, " database: \"\"", " pidfile: \"\"",
                " xfrdfile: \"\"", " zonelistfile: \"\"", " logfile: \"%s/nsd.log\"" % d, " hide-version: yes", "remote-control:",
                " control-enable: no", "zone:", " name: .", " zonefile: root.signed"]
        for zone, lines in zones.items():
            name = "z%s.zone" % zone.strip(".")
            with open(os.path.join(d, name), "w") as f:
                f.write("$TTL 60\n" + "\n".join(lines) + "\n")
            conf += ["zone:", " name: %s" % zone, " zonefile: %s" % name]
        self.write("dns/nsd.conf", "\n".join(conf) + "\n")
        p = Process(self, ["nsd", "-d", "-c", os.path.join(d, "nsd.conf")], "nsd")
        wait_until("nsd to answer", lambda: p.alive() and self._udp_answers(address, port))
        anchor = os.path.join(d, ksk + ".ds")
        self.dns_params = "dns_servers = %s\ndnssec_trust_anchor_files = %s\n" % (address if port == 53 else "%s@%d" % (address, port), anchor)
        return p

    @staticmethod
    def _udp_answers(address, port):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(0.2)
        try:
            s.sendto(bytes.fromhex("123401000001000000000000000006") [:12] + b"\x00\x00\x06\x00\x01", (address, port))
            return bool(s.recv(2000))
        except OSError:
            return False
        finally:
            s.close()

    # ---- Signet
    def signet(self, name, main_cf="", master_cf=None, files=None, start=True):
        return Signet(self, name, main_cf, master_cf, files or {}, start)

    # ---- Postfix as a peer
    def postfix(self, name, main_cf="", master_extra="", smtp="25", start=True):
        return Postfix(self, name, main_cf, master_extra, smtp, start)

    def sink(self, address, port=25, **kw):
        return Sink(self, address, port, **kw)


class Logged:
    """Something with a log file."""
    def log(self):
        try:
            with open(self.maillog, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def mark(self):
        return len(self.log())

    def wait_log(self, pattern, since=0, deadline=DEADLINE):
        """The match of a line that comes; fails with the end of the log when it does not."""
        def probe():
            return re.search(pattern, self.log()[since:], re.M)
        try:
            return wait_until("log line /%s/ of %s" % (pattern, self.name), probe, deadline)
        except Failed as e:
            raise Failed("%s\n--- end of the log:\n%s" % (e, self.log()[-4000:]))

    def has_log(self, pattern, since=0):
        return re.search(pattern, self.log()[since:], re.M)


MASTER_CF = """\
{smtp} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
"""


def is_listening(pid):
    """Does this process hold a socket that listens?"""
    try:
        held = {os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid)}
        rows = [line.split() for kind in ("tcp", "tcp6") for line in open("/proc/%d/net/%s" % (pid, kind))]
        return any("socket:[%s]" % row[9] in held for row in rows if row[3] == "0A")
    except OSError:
        return False


class Signet(Logged):
    prefix = []             # a command that starts signetd in its own place (prlimit, nice)

    def __init__(self, env, name, main_cf, master_cf, files, start):
        self.env, self.name = env, name
        self.dir = env.path(name)
        self.conf = os.path.join(self.dir, "etc")
        self.queue = os.path.join(self.dir, "spool")
        self.data = os.path.join(self.dir, "data")
        self.maillog = os.path.join(self.dir, "mail.log")
        os.makedirs(self.conf, exist_ok=True)
        for path, text in files.items():
            env.write(os.path.join(name, "etc", path), text)
        self.main_cf = (
            "compatibility_level = 3.10\nqueue_directory = %s\ndata_directory = %s\nmaillog_file = %s\nmaillog_file_prefixes = /\n"
            "mail_owner = %s\nmyhostname = %s.test\nmydestination =\nlocal_recipient_maps =\nalias_maps =\nalias_database =\n"
            "inet_protocols = ipv4\nmynetworks = 127.0.0.0/8\nbiff = no\n%s" % (
                self.queue, self.data, self.maillog, owner(), name, getattr(env, "dns_params", "")))
        self.set(main_cf, master_cf if master_cf is not None else MASTER_CF.format(smtp="127.0.0.1:25"))
        self.proc = None
        if start:
            self.start()

    def set(self, main_cf=None, master_cf=None):
        """Write the files; later definitions win, as main.cf does (with a warning that we avoid by dropping the earlier)."""
        if main_cf is not None:
            names = {line.split("=")[0].strip() for line in main_cf.splitlines() if "=" in line and line[:1].strip() and line[0] != "#"}
            base = "".join(line + "\n" for line in self.main_cf.splitlines() if line.split("=")[0].strip() not in names)
            self.env.write(os.path.join(self.name, "etc", "main.cf"), base + main_cf)
        if master_cf is not None:
            self.env.write(os.path.join(self.name, "etc", "master.cf"), master_cf)

    def start(self, wait=True):
        since = self.mark()
        self.proc = Process(self.env, self.prefix + [os.path.join(BUILD, "src", "signetd"), "-c", self.conf], self.name + "-signetd")
        if wait:
            def up():
                if not self.proc.alive():
                    raise Failed("signetd ended with status %s:\n%s\n%s" % (self.proc.p.returncode, self.proc.text(), self.log()[since:]))
                return "daemon started" in self.log()[since:]
            wait_until("%s to start" % self.name, up)
        return self

    def stop(self):
        check(self.proc.stop() == 0, "signetd %s: exit status %s\n%s" % (self.name, self.proc.p.returncode, self.proc.text()))

    def reload(self):
        since, old = self.mark(), self.pids("smtpd")
        self.proc.p.send_signal(signal.SIGHUP)
        self.wait_log(r"reload (--|refused)", since)
        if re.search(r"reload --", self.log()[since:]):
            wait_until("the processes before the reload to take no more clients", lambda: not any(is_listening(p) for p in old))

    def cli(self, *argv, check_status=True, **kw):
        return sh(os.path.join(BUILD, "src", "signet"), "-c", self.conf, *argv, check_status=check_status, **kw)

    def pids(self, role):
        """Pids of the processes of a role."""
        found = []
        for pid in os.listdir("/proc"):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    argv = f.read().split(b"\0")
                with open("/proc/%s/stat" % pid) as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            if parent == self.proc.p.pid and argv[1:3] == [b"--role", role.encode()]:
                found.append(int(pid))
        return found

    def queue_list(self):
        return [json.loads(line) for line in self.cli("queue", "list", "--json").splitlines() if line.startswith("{")]

    def status(self):
        return json.loads(self.cli("status", "--json"))


def owner():
    """Who roles become: the user signet as root, else ourselves."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    try:
        pwd.getpwnam("signet")
    except KeyError:
        sh("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "signet")
    return "signet"


class Postfix(Logged):
    """A Postfix instance of the test's own: own configuration, queue and log."""
    def __init__(self, env, name, main_cf, master_extra, smtp, start):
        need("postfix", "postconf")
        if os.geteuid() != 0:
            raise Skipped("Postfix as a peer needs root")
        self.env, self.name = env, name
        self.dir = env.path(name)
        self.conf, self.queue, self.data = (os.path.join(self.dir, d) for d in ("etc", "spool", "data"))
        self.maillog = os.path.join(self.dir, "mail.log")
        for d in (self.conf, self.queue, self.data):
            os.makedirs(d, exist_ok=True)
        shutil.chown(self.data, "postfix")
        master = MASTER_CF.format(smtp=smtp) + "postlog unix-dgram n - n - 1 postlogd\nverify unix - - n - 1 verify\nflush unix n - n 1000? 0 flush\nscache unix - - n - 1 scache\n" + master_extra
        env.write(os.path.join(name, "etc", "master.cf"), master)
        env.write(os.path.join(name, "etc", "main.cf"),
                  "compatibility_level = 3.10\nqueue_directory = %s\ndata_directory = %s\nmaillog_file = %s\nmaillog_file_prefixes = /\n"
                  "myhostname = %s.test\nmydestination =\nlocal_recipient_maps =\nalias_maps =\nalias_database =\ninet_protocols = ipv4\n"
                  "inet_interfaces = all\nsyslog_name = postfix\nsmtpd_peername_lookup = no\n%s" % (
                      self.queue, self.data, self.maillog, name, main_cf))
        if start:
            self.start()

    def start(self):
        sh("postfix", "-c", self.conf, "start", env=dict(os.environ, MAIL_CONFIG=self.conf))
        self.env.at_end(self.stop)
        wait_until("postfix %s" % self.name, lambda: "daemon started" in self.log())

    def stop(self):
        sh("postfix", "-c", self.conf, "stop", check_status=False)


class Sink:
    """A small SMTP server for peers that misbehave on purpose. `script`: {verb: reply or callable(conn, line)}.
    With lmtp=True the final dot is answered once for each recipient (script "." may be callable(conn, data, rcpt)), and an
    address with a / is the path of a UNIX socket. Real servers (Postfix) are used wherever a well-behaved one will do."""
    def __init__(self, env, address, port=25, greeting="220 sink ESMTP", keywords=("PIPELINING", "8BITMIME"), script=None, tls=None, lmtp=False):
        self.messages, self.commands, self.connections, self.lmtp = [], [], 0, lmtp
        self.script, self.greeting, self.keywords, self.tls = script or {}, greeting, list(keywords), tls
        sink = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                sink.connections += 1
                sink._serve(self.request)

        class V6(socketserver.ThreadingTCPServer):
            address_family = socket.AF_INET6

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        if "/" in address:
            self.server = socketserver.ThreadingUnixStreamServer(address, Handler)
            os.chmod(address, 0o666)
        else:
            self.server = (V6 if ":" in address else socketserver.ThreadingTCPServer)((address, port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        env.at_end(self.close)

    def close(self):
        threading.Thread(target=self.server.shutdown, daemon=True).start()      # it takes the server's poll interval
        self.server.server_close()

    def _say(self, conn, text):
        conn.sendall(text.replace("\n", "\r\n").encode() + b"\r\n")

    def _ehlo(self, conn):
        """STARTTLS is not announced inside TLS (RFC 3207 section 4.2)."""
        lines = ["sink"] + [k for k in self.keywords if k != "STARTTLS" or not isinstance(conn, ssl.SSLSocket)]
        return "\n".join("250%s%s" % ("-" if i + 1 < len(lines) else " ", w) for i, w in enumerate(lines))

    def _serve(self, conn):
        try:
            if callable(self.greeting):
                if self.greeting(conn) is False:
                    return
            else:
                self._say(conn, self.greeting)
            self._talk(conn)
        except OSError:
            pass

    def _talk(self, conn):
        f = conn.makefile("rb")
        mail = {}
        while True:
            line = f.readline()
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            verb = text.split(" ")[0].split(":")[0].upper()
            self.commands.append(text)
            answer = self.script.get(verb)
            if callable(answer):
                answer = answer(conn, text)
                if answer is False:
                    return
            if answer is None and verb == "STARTTLS" and self.tls is not None:
                self._say(conn, "220 go")
                f.close()
                conn = self.tls.wrap_socket(conn, server_side=True)
                f = conn.makefile("rb")
                continue
            if answer is None:
                answer = self._default(conn, verb, text, mail)
            elif answer.startswith("2"):
                self._default(conn, verb, text, mail)
            self._say(conn, answer)
            if verb == "DATA" and answer.startswith("3"):
                body = []
                while True:
                    line = f.readline()
                    if not line or line == b".\r\n":
                        break
                    body.append(line[1:] if line.startswith(b".") else line)
                if not line:
                    return
                if self._dot(conn, mail, b"".join(body)) is False:
                    return
                mail = {}
            if verb == "QUIT":
                return

    def _dot(self, conn, mail, data):
        """Answers to the final dot: one, or with LMTP one for each recipient that was accepted (RFC 2033 section 4.2)."""
        script = self.script.get(".", "250 2.0.0 Ok")
        took = []
        for r in mail.get("rcpts", []) if self.lmtp else [None]:
            end = (script(conn, data, r) if self.lmtp else script(conn, data)) if callable(script) else script
            if end is False:
                return False
            if end.startswith("2"):
                # kept before it is answered: who reads "removed" in the log finds the message here
                if not took:
                    self.messages.append(dict(mail, data=data, rcpts=took if self.lmtp else mail.get("rcpts", [])))
                took.append(r)
            self._say(conn, end)
        return True

    def _default(self, conn, verb, text, mail):
        if verb in ("EHLO", "LHLO"):
            return self._ehlo(conn)
        if verb == "MAIL":
            mail.clear()
            mail.update(sender=text, rcpts=[])
        if verb == "RCPT":
            mail.setdefault("rcpts", []).append(text)
        return {"DATA": "354 go", "QUIT": "221 bye"}.get(verb, "250 2.0.0 Ok")


def send(host="127.0.0.1", port=25, sender="sender@test.example", rcpts=("rcpt@example.com",), body="Subject: test\n\nhello\n", starttls=False,
         context=None, local_hostname="client.test", **kw):
    """Submit one message with smtplib; the last reply as text."""
    with smtplib.SMTP(host, port, local_hostname=local_hostname, timeout=DEADLINE) as s:
        s.ehlo()
        if starttls:
            s.starttls(context=context)
            s.ehlo()
        code, text = s.mail(sender, kw.get("mail_options", ()))
        if code // 100 != 2:
            return "%d %s" % (code, text.decode())
        for r in ([rcpts] if isinstance(rcpts, str) else rcpts):
            code, text = s.rcpt(r, kw.get("rcpt_options", ()))
            if code // 100 != 2:
                return "%d %s" % (code, text.decode())
        code, text = s.data(body if isinstance(body, bytes) else body.encode())
        return "%d %s" % (code, text.decode())


def queue_id(reply):
    m = re.search(r"queued as (\S+)", reply)
    check(m, "no queue id in: %s" % reply)
    return m.group(1)


def maildir(path):
    """Messages in a Maildir's new/, as bytes, oldest first."""
    new = os.path.join(path, "new")
    try:
        names = sorted(os.listdir(new))
    except FileNotFoundError:
        return []
    out = []
    for n in names:
        with open(os.path.join(new, n), "rb") as f:
            out.append(f.read())
    return out


def send_and_log(server, rcpt):
    """Send to `rcpt` and wait for its delivery line; the new part of the log as bytes."""
    since = server.mark()
    qid = queue_id(send(rcpts=rcpt))
    server.wait_log(r"%s: to=<.*status=" % qid, since)
    return server.log()[since:].encode()
