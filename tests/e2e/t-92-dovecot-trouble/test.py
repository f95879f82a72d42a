"""The authentication service away, restarted in the middle of an exchange, stopped, or something else altogether: 454, never access,
nobody else waits, and it is found again."""
import base64
import os
import signal
import smtplib
import socket
import threading
import time

import kit
import sasl_kit


def b64(text):
    return base64.b64encode(text.encode()).decode()


GOOD = "PLAIN " + b64("\0joe\0secret")
LOST = (454, b"4.7.0 Temporary authentication failure: Connection lost to authentication server")
HELLO = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nDONE\n"


class Fake:
    """Whatever listens there: `speak(conn)` talks to each worker that connects."""
    def __init__(self, env, port, speak):
        self.s = socket.create_server(("127.0.0.1", port))
        self.conns = []
        env.at_end(self.close)
        threading.Thread(target=self.serve, args=(speak,), daemon=True).start()

    def serve(self, speak):
        while True:
            try:
                conn, _ = self.s.accept()
            except OSError:
                return
            self.conns.append(conn)
            threading.Thread(target=self.one, args=(speak, conn), daemon=True).start()

    @staticmethod
    def one(speak, conn):
        try:
            speak(conn)
        except OSError:
            pass

    def close(self):
        self.s.close()
        for c in self.conns:
            c.close()


def answering(answer):
    """Hello, then `answer(id)` to every AUTH."""
    def speak(conn):
        conn.sendall(HELLO)
        for line in conn.makefile("rb"):
            if line.startswith(b"AUTH\t"):
                conn.sendall(answer(line.split(b"\t")[1]))
    return speak


def run(env):
    master = kit.MASTER_CF.format(smtp="127.0.0.1:25") + "127.0.0.1:587 inet n - n - - smtpd\n -o smtpd_sasl_auth_enable=yes\n" + "".join(
        "127.0.0.1:%d inet n - n - - smtpd\n -o smtpd_sasl_auth_enable=yes\n -o smtpd_sasl_path=inet:localhost:%d\n" % (2501 + i, 7001 + i) for i in range(5))
    Fake(env, 7001, lambda c: c.sendall(b"220 mail.example ESMTP\r\n" * 2000))
    Fake(env, 7002, answering(lambda i: b"OK\t%s\n" % i))
    Fake(env, 7003, answering(lambda i: b"OK\t%d\tuser=joe\nFAIL\t%s\n" % (int(i) + 1, i)))
    Fake(env, 7004, answering(lambda i: b"\0\1\2" + os.urandom(100) + b"\nOK\tnonsense\tuser=joe\n"))
    Fake(env, 7005, lambda c: c.sendall(b"VERSION\t1\t2\nMECH\tPLAIN\n") or time.sleep(30))
    s = env.signet("mx", sasl_kit.PARAMS + "mynetworks =\nsmtpd_client_connection_count_limit = 0\n", master)

    def session(port=587):
        c = smtplib.SMTP("127.0.0.1", port, local_hostname="c.test", timeout=20)
        env.at_end(c.close)
        c.ehlo()
        return c

    # nobody there: no AUTH, and who asks nevertheless is told to come again
    s.wait_log(r"warning: SASL: Connect to private/auth failed: No such file or directory; AUTH is not offered until the service answers")
    c = session()
    kit.check("auth" not in c.esmtp_features and c.docmd("AUTH", GOOD) == LOST, "no service, no AUTH")
    s.wait_log(r"warning: unknown\[127\.0\.0\.1\]: SASL PLAIN authentication failed: Connection lost to authentication server, sasl_username=\(unavailable\)")
    c.docmd("MAIL", "FROM:<a@here.example>")
    kit.check(c.docmd("RCPT", "TO:<user@example.com>")[0] == 454, "no access by a service that is away")

    # it comes, without a restart of ours
    d = sasl_kit.Dovecot(env, os.path.join(s.queue, "private", "auth"))
    kit.wait_until("AUTH", lambda: all("auth" in session().esmtp_features for _ in range(4)))
    s.wait_log(r"SASL: private/auth answers again")
    kit.check(c.docmd("RSET")[0] == 250 and c.docmd("AUTH", GOOD)[0] == 235, "also for the session that was there before")

    # away in the middle of an exchange, and back
    c, other = session(), session()
    kit.check(c.docmd("AUTH", "LOGIN")[0] == 334, "first challenge")
    d.stop()
    s.wait_log(r"warning: SASL: connection to private/auth lost")
    kit.check(c.docmd(b64("joe")) == LOST, "the exchange ends")
    kit.wait_until("AUTH to vanish", lambda: all("auth" not in session().esmtp_features for _ in range(4)))
    kit.check(other.docmd("AUTH", GOOD) == LOST, "454 to who saw it announced")
    d.start()
    kit.wait_until("AUTH again", lambda: all("auth" in session().esmtp_features for _ in range(4)))
    kit.check(c.docmd("AUTH", GOOD)[0] == 235 and other.docmd("AUTH", GOOD)[0] == 235, "and goes on")

    # stopped: who logs in waits, nobody else does; who gives up is forgotten
    auth = [int(p) for p in os.listdir("/proc") if p.isdigit() and is_auth(p, d.p.p.pid)]
    kit.check(auth, "Dovecot's auth process")
    c, gone = session(), session()
    for pid in auth:
        os.kill(pid, signal.SIGSTOP)
    try:
        c.send("AUTH %s\r\n" % GOOD)
        gone.send("AUTH %s\r\n" % GOOD)
        gone.close()
        began = time.monotonic()
        for port in (587, 25):
            code, _ = session(port).docmd("NOOP")
            kit.check(code == 250, "other sessions")
        kit.check(time.monotonic() - began < 2, "others do not wait")
        c.sock.settimeout(0.3)
        try:
            kit.check(not c.sock.recv(100), "no answer can have come")
        except (socket.timeout, TimeoutError):
            pass
    finally:
        for pid in auth:
            os.kill(pid, signal.SIGCONT)
    c.sock.settimeout(20)
    kit.check(c.sock.recv(100).startswith(b"235 "), "the answer when it goes on")
    s.wait_log(r"lost connection after AUTH from unknown\[127\.0\.0\.1\]")

    # services that are none, or lie
    for port, announced, code in ((2501, False, 454), (2502, True, 454), (2503, True, 535), (2504, True, 454), (2505, False, 454)):
        c = session(port)
        kit.check(("auth" in c.esmtp_features) == announced, "port %d: %r" % (port, c.esmtp_features))
        got = c.docmd("AUTH", GOOD)
        kit.check(got[0] == code, "port %d: %r" % (port, got))
        c.docmd("MAIL", "FROM:<a@here.example>")
        kit.check(c.docmd("RCPT", "TO:<user@example.com>")[0] == 454, "port %d: no access" % port)
    s.wait_log(r"warning: SASL: Connect to inet:localhost:7001 failed: its (handshake does not end|line is too long)")
    s.wait_log(r"warning: SASL: connection to inet:localhost:7004 lost: its answer names no exchange")
    s.wait_log(r"warning: SASL: Connect to inet:localhost:7005 failed: no answer in time")
    kit.check(not s.has_log(r"panic|fatal|signal 11"), s.log()[-2000:])
    kit.check(session().docmd("AUTH", GOOD)[0] == 235, "and the real one still works")
    s.stop()


def is_auth(pid, parent):
    try:
        with open("/proc/%s/stat" % pid) as f:
            text = f.read()
        with open("/proc/%s/cmdline" % pid, "rb") as f:
            return int(text.rsplit(")", 1)[1].split()[1]) == parent and f.read().startswith(b"dovecot/auth\0")
    except (OSError, IndexError, ValueError):
        return False
