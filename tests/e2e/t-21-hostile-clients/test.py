"""Clients that lie, stall, flood and vanish: each costs its own session only, no process ends, and honest mail goes through meanwhile."""
import os
import socket
import time

import kit
import raw_kit


def raw(send, read=True, wait=5):
    c = socket.create_connection(("127.0.0.1", 25), 20)
    c.settimeout(wait)
    got = b""
    try:
        c.sendall(send) if not isinstance(send, list) else None
        while read:
            part = c.recv(65536)
            if not part:
                break
            got += part
    except OSError:
        pass
    c.close()
    return got


def talk(*steps):
    """Each step after the reply to the one before; all replies, line by line."""
    with raw_kit.Raw() as c:
        return [c.reply(), *(c.say(step) for step in steps)]


def run(env):
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2"])
    sink = env.sink("127.0.0.2")
    cert, key = env.cert("mx.test")
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_peername_lookup = no\n"
                   "smtpd_client_connection_count_limit = 0\nsmtpd_forbid_bare_newline_exclusions =\nsmtpd_error_sleep_time = 0\n" % (cert, key))
    before = {r: s.pids(r) for r in ("smtpd", "queue", "smtpc", "resolver")}

    # speaking before the greeting; HTTP; binary garbage; an endless line
    def early():        # the greeting may be faster than the bytes that should have waited for it: then it is "after EHLO"
        kit.check(b"554 5.5.0 Error: SMTP protocol synchronization" in raw(b"EHLO early.example\r\nMAIL FROM:<a@b>\r\n"), "early talk")
        return s.has_log(r"improper command pipelining after CONNECT from")
    kit.wait_until("a client before the greeting", early)
    kit.check(talk("GET / HTTP/1.1")[-1] == ["221 2.7.0 Error: I can break rules, too. Goodbye."], "HTTP")
    s.wait_log(r"warning: non-SMTP command from")
    raw(os.urandom(100000), wait=2)
    got = talk("EHLO x", "NOOP " + "a" * 5000, "QUIT")
    kit.check(got[2][0].startswith("500 5.5.2"), got[2])

    # end of data is <CR><LF>.<CR><LF> and nothing else
    for smuggle in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n"):
        got = talk("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<user@example.com>", "DATA",
                   b"Subject: s\r\n\r\none" + smuggle + b"MAIL FROM:<evil@b.example>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\n\r\ntwo\r\n.\r\n", "QUIT")
        kit.check(got[-2][0].startswith("250 2.0.0 Ok: queued") and got[-1][0].startswith("221"), "%r: %r" % (smuggle, got[-2:]))
    kit.wait_until("six messages, not twelve", lambda: len(sink.messages) >= 6)
    time.sleep(0.5)
    kit.check(len(sink.messages) == 6, "%d messages" % len(sink.messages))
    kit.check(not any("evil" in m["sender"] for m in sink.messages), "no smuggled sender")

    # BDAT with lying sizes, a vanishing client, half a TLS handshake, a thousand idle sessions
    got = talk("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<user@example.com>", "BDAT 99999999999999999999 LAST")
    kit.check(got[-1][0].startswith("501 5.5.4"), got)
    c = socket.create_connection(("127.0.0.1", 25), 20)
    c.recv(1000)
    c.sendall(b"EHLO x\r\n")
    c.recv(4000)
    c.sendall(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<user@example.com>\r\n")
    c.sendall(b"BDAT 1000000\r\nonly a little")
    c.close()
    half = socket.create_connection(("127.0.0.1", 25), 20)
    half.recv(1000)
    half.sendall(b"EHLO x\r\n")
    half.recv(4000)
    half.sendall(b"STARTTLS\r\n")
    half.recv(1000)
    half.sendall(b"\x16\x03\x01\x02\x00\x01")
    bad = socket.create_connection(("127.0.0.1", 25), 20)
    bad.recv(1000)
    bad.sendall(b"EHLO x\r\n")
    bad.recv(4000)
    bad.sendall(b"STARTTLS\r\n")
    bad.recv(1000)
    bad.sendall(b"this is not TLS at all\r\n" * 10)
    idle = [socket.create_connection(("127.0.0.1", 25), 20) for _ in range(1000)]
    for i in range(5):
        start = time.monotonic()
        kit.check(kit.send(rcpts="user@example.com").startswith("250"), "honest mail")
        kit.check(time.monotonic() - start < 5, "honest mail within seconds")
    for c in idle + [half, bad]:
        c.close()
    s.wait_log(r"SSL_accept error from")
    s.wait_log(r"lost connection after BDAT|lost connection after RCPT|lost connection after DATA")
    kit.check({r: s.pids(r) for r in before} == before, "no process ended")
    kit.check(not s.has_log(r"panic|ended by signal"), "no panic")
    s.stop()
