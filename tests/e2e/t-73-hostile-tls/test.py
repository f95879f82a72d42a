"""TLS clients that lie, stall and vanish cost their own session only: STARTTLS injection, renegotiation, garbage, half-open and slow
handshakes, limits by client address, five thousand idle TLS sessions at once."""
import os
import re
import select
import smtplib
import socket
import ssl
import struct
import subprocess
import time

import kit
import raw_kit

with open(os.path.join(kit.BUILD, "src", "signetd"), "rb") as f:
    SANITIZED = b"__asan_init" in f.read()
SESSIONS = 1000 if SANITIZED else 5000


def opened(port=25, starttls=True):
    """A socket behind STARTTLS's 220 (or just open)."""
    c = raw_kit.Raw(port)
    if starttls:
        c.reply()
        c.say("EHLO c.test")
        kit.check(c.say("STARTTLS") == ["220 2.0.0 Ready to start TLS"], "STARTTLS")
    return c.s


def ended(c, within=10):
    """The server hangs up."""
    c.settimeout(within)
    try:
        while c.recv(65536):
            pass
    except ConnectionError:
        pass
    c.close()


def client_hello():
    """A real ClientHello, as its bytes."""
    out = ssl.MemoryBIO()
    o = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="mx.test")
    try:
        o.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def run(env):
    kit.need("openssl")
    cert, key = env.cert("mx.test")
    master = kit.MASTER_CF.format(smtp="127.0.0.1:25")
    for port, over in ((2465, ["smtpd_tls_wrappermode = yes"]),
                       (2501, ["smtpd_client_new_tls_session_rate_limit = 2", "syslog_name = rate"]),
                       (2502, ["smtpd_client_new_tls_session_rate_limit = 2", "smtpd_tls_wrappermode = yes", "syslog_name = wraprate"]),
                       (2503, ["smtpd_client_connection_count_limit = 2", "smtpd_tls_wrappermode = yes", "syslog_name = count"]),
                       (2504, ["smtpd_client_new_tls_session_rate_limit = 1", "smtpd_client_event_limit_exceptions = 127.0.0.0/8"]),
                       (2505, ["smtpd_starttls_timeout = 300", "smtpd_timeout = 300"])):
        master += "127.0.0.1:%d inet n - n - - smtpd\n%s" % (port, "".join(" -o { %s }\n" % o for o in over))
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_loglevel = 1\n"
                   "smtpd_peername_lookup = no\nsmtpd_starttls_timeout = 3\nsmtpd_client_connection_count_limit = 0\n"
                   "smtpd_client_event_limit_exceptions =\nmydestination = mx.test\n" % (cert, key), master)
    before = {r: sorted(s.pids(r)) for r in ("smtpd", "queue", "smtpc", "resolver")}
    ctx = ssl.create_default_context(cafile=env.ca())
    ctx.check_hostname = False

    def honest(port=25):
        with smtplib.SMTP("127.0.0.1", port, local_hostname="h.test", timeout=10) as c:
            c.starttls(context=ctx)
            c.ehlo()
            kit.check(c.docmd("MAIL FROM:<a@b.example>")[0] == 250, "an honest client is served")

    # half-open and slow handshakes: begun first, judged when their time is over
    since = time.monotonic()
    mark = s.mark()
    hello = client_hello()
    silent = [opened() for _ in range(20)] + [opened(2465, False) for _ in range(20)]
    half = [opened() for _ in range(20)]
    for c in half:
        c.sendall(hello[:len(hello) // 2])
    slow = opened()
    honest()
    # garbage instead of a ClientHello, in both modes
    for garbage in (b"EHLO again\r\n", os.urandom(5000), b"\x16\x03\x01\x40\x00" + os.urandom(3000), b"\x80\x2e\x01\x00\x02" + bytes(60),
                    b"\x16\x03\x01\xff\xff" + b"\x01\xff\xff\xff" + bytes(65000), b"\x15\x03\x01\x00\x02\x02\x28", b"\x17\x03\x03\x00\x10" + bytes(16)):
        for port, starttls in ((25, True), (2465, False)):
            c = opened(port, starttls)
            try:
                c.sendall(garbage)
            except ConnectionError:
                pass
            ended(c)
    s.wait_log(r"SSL_accept error from unknown\[127\.0\.0\.1\]: -1$", mark)
    s.wait_log(r"warning: TLS library problem: error:[0-9A-F]+:SSL routines::[^:]*:[^:]*:\d+:(.*:)?$", mark)
    s.wait_log(r"lost connection after STARTTLS from unknown\[127\.0\.0\.1\]$", mark)
    # who vanishes in the middle
    mark = s.mark()
    c = opened()
    c.sendall(hello[:50])
    c.close()
    s.wait_log(r"SSL_accept error from unknown\[127\.0\.0\.1\]: lost connection$", mark)
    c = opened()
    c.sendall(hello)
    c.recv(10)
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()
    s.wait_log(r"SSL_accept error from unknown\[127\.0\.0\.1\]: (Connection reset by peer|Broken pipe|lost connection)$", mark)
    # records that were tampered with
    c = opened()
    raw_fd = os.dup(c.fileno())
    t = ctx.wrap_socket(c)
    os.write(raw_fd, b"\x17\x03\x03\x00\x40" + os.urandom(64))
    t.settimeout(10)
    try:
        kit.check(t.recv(10) == b"", "a forged record ends the session")
    except (ssl.SSLError, ConnectionError):
        pass
    os.close(raw_fd)
    t.close()
    honest()
    # plaintext behind STARTTLS, in one packet, never reaches the session under TLS
    for tail in (b"MAIL FROM:<smuggled@evil.example>\r\n", b"EHLO evil.example\r\nMAIL FROM:<smuggled@evil.example>\r\n"):
        c = raw_kit.Raw()
        c.reply()
        c.say("EHLO c.test")
        kit.check(c.say(b"STARTTLS\r\n" + tail)[0].startswith("220 "), "220 to STARTTLS")
        t = ctx.wrap_socket(c.s)
        t.settimeout(0.3)
        try:
            kit.check(t.recv(100) == b"", "nothing is said that nobody asked for inside TLS")
        except (TimeoutError, ssl.SSLWantReadError):
            pass
        t.settimeout(10)
        t.sendall(b"RCPT TO:<u@mx.test>\r\n")
        kit.check(t.recv(1000).startswith(b"503 5.5.1"), "the smuggled MAIL is forgotten")
        t.close()
    s.wait_log(r"improper command pipelining after STARTTLS from unknown\[127\.0\.0\.1\]: MAIL FROM:<smuggled@evil\.example>")
    # renegotiation is not done (and in TLS 1.3 there is none)
    p = subprocess.Popen(["openssl", "s_client", "-starttls", "smtp", "-connect", "127.0.0.1:25", "-tls1_2"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(0.5)
    p.stdin.write(b"R\n")
    p.stdin.flush()
    try:
        out = p.communicate(timeout=1)[0]
    except subprocess.TimeoutExpired:
        p.kill()
        out = p.communicate()[0]
    kit.check(b"RENEGOTIATING" in out and b"no renegotiation" in out, out[-1500:])
    honest()
    # limits by client address
    session = []
    for n in range(2):
        honest(2501)
    with smtplib.SMTP("127.0.0.1", 2501, timeout=10) as c:
        c.ehlo()
        kit.check(c.docmd("STARTTLS")[0] == 220, "the handshake that passes the limit begins")
        c.sock = ctx.wrap_socket(c.sock)
        c.file = None
        code, text = c.getreply()
        kit.check((code, text) == (421, b"4.7.0 mx.test Error: too many new TLS sessions from unknown[127.0.0.1]"), (code, text))
        c.close()
    with smtplib.SMTP("127.0.0.1", 2501, timeout=10) as c:
        c.ehlo()
        kit.check(c.docmd("STARTTLS") == (454, b"4.7.0 Error: too many new TLS sessions from unknown[127.0.0.1]"), "over the limit before the handshake")
        kit.check(c.docmd("NOOP")[0] == 250, "in clear it may go on")
    s.wait_log(r"rate/smtpd\[\d+\]: warning: New TLS session rate limit exceeded: 3 from unknown\[127\.0\.0\.1\] for service 127\.0\.0\.1:2501")
    for n in range(3):
        honest(2504)            # exempt
    for n in range(2):
        with smtplib.SMTP_SSL("127.0.0.1", 2502, context=ctx, timeout=10) as c:
            session.append(c.sock.session)
    for n in range(2):
        c = socket.create_connection(("127.0.0.1", 2502), 10)
        try:
            ctx.wrap_socket(c).recv(10)
        except OSError:
            pass
        c.close()
    s.wait_log(r"wraprate/smtpd\[\d+\]: warning: New TLS session rate limit exceeded")
    held = [smtplib.SMTP_SSL("127.0.0.1", 2503, context=ctx, timeout=10) for _ in range(2)]
    try:
        smtplib.SMTP_SSL("127.0.0.1", 2503, context=ctx, timeout=10)
        raise kit.Failed("a third connection")
    except (OSError, smtplib.SMTPException):
        pass
    s.wait_log(r"count/smtpd\[\d+\]: warning: Connection concurrency limit exceeded: 3 from")
    for c in held:
        c.quit()
    # the stalled handshakes are over by their deadline, one byte a while does not stretch it
    try:
        for b in hello[:40]:
            slow.sendall(bytes([b]))
            time.sleep(0.1)
    except ConnectionError:
        pass
    for c in silent + half + [slow]:
        ended(c)
    kit.check(time.monotonic() - since < 25, "stalled handshakes end")
    kit.check(len(re.findall(r"SSL_accept error from unknown\[127\.0\.0\.1\]: Connection timed out", s.log())) >= 61, "and are told of")
    # five thousand idle TLS sessions
    bench = os.path.join(kit.BUILD, "smtpbench")
    began, mem = time.monotonic(), sum(rss(p) for p in s.pids("smtpd"))
    p = subprocess.Popen([bench, "idle", "2505", "-s", str(SESSIONS), "-t"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    env.at_end(p.kill)
    kit.check(select.select([p.stdout], [], [], 60)[0] and p.stdout.readline().strip() == b"ready", "%d sessions" % SESSIONS)
    more = sum(rss(p) for p in s.pids("smtpd")) - mem
    count = sum(x.get("sessions", 0) for x in smtpd_status(s))
    print("%d idle TLS sessions held at once: %.1f KiB each, opened in %.1f s" % (SESSIONS, more / 1024 / SESSIONS, time.monotonic() - began))
    kit.check(count >= SESSIONS, "all of them are there: %d" % count)
    # 54 to 64 kB when large buffers of the TLS library leave holes among small blocks (lib/tls/blocks.c)
    kit.check(SANITIZED or more < SESSIONS * 48000, "memory: %d bytes a session" % (more // SESSIONS))
    honest()
    p.stdin.close()
    p.wait(20)
    kit.wait_until("the sessions to end", lambda: sum(x.get("sessions", 0) for x in smtpd_status(s)) == 0)
    kit.check({r: sorted(s.pids(r)) for r in before} == before, "no process ended")
    kit.check(not re.search(r": (panic|fatal): ", s.log()), "no panic")
    s.stop()


def rss(pid):
    with open("/proc/%d/statm" % pid) as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def smtpd_status(s):
    def walk(o):
        if isinstance(o, dict):
            if "max_sessions" in o:
                yield o
            for v in o.values():
                yield from walk(v)
        elif isinstance(o, list):
            for v in o:
                yield from walk(v)
    return list(walk(s.status()))
