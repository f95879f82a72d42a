"""Next hops that answer rubbish, endlessly, or stop in any phase: the message waits with a reason, no process ends, others' mail goes on."""
import socket
import threading

import kit

MAIN = """smtp_helo_timeout = 2s
smtp_mail_timeout = 2s
smtp_rcpt_timeout = 2s
smtp_data_init_timeout = 2s
smtp_data_xfer_timeout = 2s
smtp_data_done_timeout = 2s
smtp_connect_timeout = 2s
smtp_skip_5xx_greeting = no
"""


def endless(text):
    """Send that until the other side has enough."""
    def say(conn, line=None):
        try:
            for _ in range(20000):
                conn.sendall(text * 100)
        except OSError:
            pass
        return False
    return say


def raw(data):
    def say(conn, line=None):
        conn.sendall(data)
        while conn.recv(4096):
            pass
        return False
    return say


def hang(conn, line=None):
    while conn.recv(4096):
        pass
    return False


def deaf(conn, line):
    """354, and then it reads nothing any more."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    conn.sendall(b"354 go\r\n")
    threading.Event().wait(60)
    return False


# greeting or {verb: script}, what the log says
CASES = [
    ("http", raw(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n"), r"status=deferred \(.*127\.0\.1\.\d+"),
    ("bytes", raw(bytes(range(256)) * 20 + b"\r\n"), r"status=deferred"),
    ("nothing", hang, r"status=deferred \(conversation with .* timed out while receiving the initial server greeting\)"),
    ("line", endless(b"220 aaaaaaaa"), r"status=deferred"),
    ("lines", endless(b"220-and so on\r\n"), r"status=deferred"),
    ("codes", raw(b"999 hello\r\n"), r"status=deferred"),
    ("goodbye", raw(b"554 not you\r\n"), r"status=bounced \(host .* refused to talk to me: 554 not you\)"),
    ("ehlo", {"EHLO": hang}, r"status=deferred \(conversation with .* timed out while performing the EHLO handshake\)"),
    ("ehlolines", {"EHLO": endless(b"250-X-SOMETHING 1234567890\r\n")}, r"status=deferred"),
    ("mail", {"MAIL": hang}, r"status=deferred \(conversation with .* timed out while sending MAIL FROM\)"),
    ("mailbytes", {"MAIL": raw(b"\0\xff\xfe\r\n\0")}, r"status=deferred"),
    ("rcpt", {"RCPT": hang}, r"status=deferred \(conversation with .* timed out while sending RCPT TO\)"),
    ("rcptcode", {"RCPT": raw(b"354 what\r\n")}, r"status=(deferred|bounced)"),
    ("data", {"DATA": hang}, r"status=deferred \(conversation with .* timed out while sending DATA command\)"),
    ("deaf", {"DATA": deaf}, r"status=deferred \(conversation with .* timed out while sending message body\)"),
    ("dot", {".": lambda conn, data: hang(conn)}, r"status=deferred \(conversation with .* timed out while sending end of data -- message may be sent more than once\)"),
    ("dotbytes", {".": lambda conn, data: raw(b"\xff\xff\xff ok\r\n")(conn)}, r"status=deferred"),
]


def run(env):
    env.dns(["%s.bad.test. A 127.0.1.%d" % (name, i + 1) for i, (name, _, _) in enumerate(CASES)] + ["good.test. A 127.0.0.2"])
    good = env.sink("127.0.0.2")
    for i, (name, how, _) in enumerate(CASES):
        kw = {"script": how} if isinstance(how, dict) else {"greeting": how}
        env.sink("127.0.1.%d" % (i + 1), keywords=("8BITMIME",) if isinstance(how, dict) else (), **kw)
    s = env.signet("mta", MAIN)
    before = sorted(s.pids("smtpc"))
    qids = {}
    for name, _, _ in CASES:
        body = "Subject: x\n\n" + ("%s\n" % ("x" * 76)) * (110000 if name == "deaf" else 1)
        qids[name] = kit.queue_id(kit.send(rcpts="u@%s.bad.test" % name, body=body))
    kit.send(rcpts="u@good.test")
    kit.wait_until("good mail meanwhile", lambda: len(good.messages) == 1)
    for name, _, want in CASES:
        s.wait_log(r"%s: to=<u@%s.bad.test>.*%s" % (qids[name], name, want), deadline=60)
    kit.check(sorted(s.pids("smtpc")) == before, "a process ended")
    for name in ("nothing", "dot", "lines"):
        kit.check("%s: removed" % qids[name] not in s.log(), name)
