"""Parameters that show from outside: who may do what at the queue, what `signet send` makes of its input, what is rewritten and where it goes."""
import os
import re
import shutil
import smtplib
import socket
import subprocess

import kit


def users(s, sink, box, user):
    """Commands of an ordinary user."""
    signet = os.path.join(kit.BUILD, "src", "signet")

    def as_user(*argv, data=b""):
        return subprocess.run(["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups", signet, "-c", s.conf, *argv],
                              input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def content(data, *argv):
        n = len(kit.maildir(box))
        r = as_user("send", *argv, data=data)
        kit.check(r.returncode == 0, r.stdout.decode())
        kit.wait_until("the message", lambda: len(kit.maildir(box)) > n)
        return kit.maildir(box)[-1]

    two = b"To: sgt-e@mta.test, held@mta.test\nSubject: s\n\nx\n"
    crlf = b"Subject: s\r\n\r\none\r\ntwo\r\n"
    kit.send(rcpts="held@mta.test")
    s.wait_log(r"to=<held@mta.test>.*status=deferred")

    kit.check(b"held@mta.test" in as_user("queue", "list").stdout, "everybody may look by default")
    kit.check(as_user("queue", "flush").returncode == 0, "everybody may flush by default")
    kit.check(b"\none\ntwo\n" in content(crlf, "sgt-e"), "CRLF is a line end")
    since = s.mark()
    content(two, "-t")
    s.wait_log(r"to=<held@mta.test>", since)

    s.set(BASE + "authorized_mailq_users = root\nauthorized_flush_users = root\nextract_recipient_limit = 1\nsendmail_fix_line_endings = never\n")
    s.reload()
    kit.check(b"held@mta.test" not in as_user("queue", "list").stdout, "authorized_mailq_users")
    kit.check("held@mta.test" in s.cli("queue", "list"), "root may")
    kit.check(as_user("queue", "flush").returncode != 0, "authorized_flush_users")
    kit.check(b"\none\ntwo\n" not in content(crlf, "sgt-e"), "the CR is kept, and replaced on the way")
    since = s.mark()
    content(two, "-t")
    kit.check(not s.has_log(r"to=<held@mta.test>", since), "extract_recipient_limit")

    s.set(BASE + "sendmail_fix_line_endings = strict\n")
    s.reload()
    kit.check(b"\none\ntwo\n" in content(crlf, "sgt-e"), "the first line ends with CRLF")
    kit.check(b"\none\ntwo\n" not in content(b"Subject: s\n\none\r\ntwo\r\n", "sgt-e"), "the first line ends with LF")

    s.set(BASE + "authorized_submit_users = !sgt-e, static:all\n")
    s.reload()
    r = as_user("send", "sgt-e", data=b"Subject: s\n\nx\n")
    kit.check(r.returncode != 0, "authorized_submit_users")

    # 8-bit headers of our own users make it a message in UTF-8
    utf8 = "Subject: \u00e4\n\nx\n".encode()
    for classes, want in (("sendmail, verify", True), ("verify", False)):
        s.set(BASE + "smtputf8_autodetect_classes = %s\n" % classes)
        s.reload()
        n = len(sink.messages)
        kit.check(as_user("send", "u@sink.test", data=utf8).returncode == 0, "sent")
        kit.wait_until("the message", lambda: len(sink.messages) > n)
        kit.check(("SMTPUTF8" in sink.messages[-1]["sender"]) == want, sink.messages[-1])


def ask(*lines):
    """The replies to some commands, after EHLO."""
    with smtplib.SMTP("127.0.0.1", 25, timeout=30) as c:
        c.ehlo("client.test")
        c.command_encoding = "utf-8"
        return c.esmtp_features, [c.docmd(line)[0] for line in lines]


def server(s):
    s.set(BASE)
    s.reload()
    features, codes = ask("MAIL FROM: a@b.test", "RSET", "MAIL FROM:<\u00e4@b.test>")
    kit.check("smtputf8" in features and codes == [250, 250, 250], (features, codes))
    s.set(BASE + "strict_smtputf8 = yes\n")
    s.reload()
    features, codes = ask("MAIL FROM:<\u00e4@b.test>", "MAIL FROM:<\u00e4@b.test> SMTPUTF8")
    kit.check(codes[0] // 100 == 5 and codes[1] == 250, codes)
    s.set(BASE + "smtputf8_enable = no\nstrict_rfc821_envelopes = yes\n")
    s.reload()
    features, codes = ask("MAIL FROM: a@b.test", "MAIL FROM:<a@b.test>")
    kit.check("smtputf8" not in features and codes == [501, 250], (features, codes))


def mail(s, rcpt, want, body="Subject: s\nTo: joe\n\nx\n"):
    since = s.mark()
    qid = kit.queue_id(kit.send(rcpts=rcpt, body=body))
    s.wait_log(r"%s: to=<%s>, .*%s" % (qid, re.escape(rcpt), want), since)


def routes(s, sink):
    s.set(BASE + "local_header_rewrite_clients =\n")
    s.reload()
    mail(s, "u@sink.test", "status=sent")
    kit.check(b"To: joe\r\n" in sink.messages[-1]["data"], sink.messages[-1])
    s.set(BASE + "local_header_rewrite_clients = permit_mynetworks\n")
    s.reload()
    mail(s, "u@sink.test", "status=sent")
    kit.check(b"To: joe@mta.test\r\n" in sink.messages[-1]["data"], sink.messages[-1])
    s.set(BASE + "content_filter = smtp:[127.0.0.9]:1\n")
    s.reload()
    mail(s, "u@sink.test", r"status=deferred \(connect to 127.0.0.9\[127.0.0.9\]:1: Connection refused\)")
    mail(s, "bad@sink.test", "status=deferred")
    s.set(BASE)
    s.reload()
    mail(s, "bad@sink.test", "dsn=5.1.1, status=bounced")
    s.set(BASE + "default_delivery_status_filter = pcre:{{/^5\\.1\\.1 (.*)/ 4.1.1 later: $$1}}\n")
    s.reload()
    mail(s, "bad@sink.test", r"dsn=4.1.1, status=deferred \(later: ")


def drain(s):
    """Old sessions end when their time is over."""
    s.set(BASE + "reload_drain_time = 1s\n")
    s.reload()
    s.reload()
    c = socket.create_connection(("127.0.0.1", 25), timeout=30)
    c.recv(1000)
    s.reload()
    said = b""
    while True:
        part = c.recv(1000)
        said += part
        if not part:
            break
    kit.check(said == b"" or said.startswith(b"421 "), said)


def memory(s):
    """Each process has its limit from the kernel; a sanitizer needs the room for itself."""
    s.set(BASE + "memory_limit = 167772160\n")
    s.reload()
    kit.wait_until("new processes", lambda: s.pids("smtpd"))
    for pid in s.pids("smtpd")[-1:]:
        if "asan" in kit.BUILD:
            return
        kit.wait_until("the limit", lambda: re.search(r"Max data size +335544320 ", open("/proc/%d/limits" % pid).read()))


BASE = ""


def run(env):
    global BASE
    if os.geteuid() != 0:
        raise kit.Skipped("commands as another user need root")
    user = env.user("sgt-e")
    box = os.path.join(user.pw_dir, "Maildir")
    shutil.rmtree(box, ignore_errors=True)
    env.dns(["client.test. A 127.0.0.1"])
    sink = env.sink("127.0.0.2", keywords=("PIPELINING", "8BITMIME", "SMTPUTF8"), script={"RCPT": lambda conn, line: "550 5.1.1 no such user" if "bad@" in line else "250 2.1.5 Ok"})
    BASE = ("myhostname = mta.test\nmyorigin = mta.test\nmydestination = mta.test\nhome_mailbox = Maildir/\n"
            "transport_maps = inline:{ {held@mta.test=smtp:[127.0.0.9]:1} {sink.test=smtp:[127.0.0.2]} }\n")
    s = env.signet("mta", BASE)
    users(s, sink, box, user)
    server(s)
    routes(s, sink)
    drain(s)
    memory(s)
    s.stop()
