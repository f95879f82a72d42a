"""SIGHUP: new values serve new sessions, old sessions end in peace, a bad configuration is refused and the old one stays."""
import re
import smtplib

import kit


def mistakes(env):
    """What every process finds for itself is one line per start and per reload, not one for each process and service."""
    bad = env.write("weak.chain", "nothing\n", 0o600)
    s = env.signet("slips", "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = /nonexistent/a.pem\nsmtp_tls_chain_files = %s\n" % bad,
                   kit.MASTER_CF.format(smtp="127.0.0.1:25") + "127.0.0.1:2500 inet n - n - - smtpd\n"
                   "other unix - - n - - smtp -o myhostname=other.test\n")
    lines = (r"smtpd\[\d+\]: warning: service 127\.0\.0\.1:25: .*/nonexistent/a\.pem: No such file",
             r"smtpd\[\d+\]: warning: service 127\.0\.0\.1:2500: .*/nonexistent/a\.pem: No such file", r"\]: warning: .*smtp_tls_chain_files: .*weak\.chain")

    def told(since, begun):
        kit.wait_until("all processes to be there", lambda: all(p["state"] == "ready" for p in s.status()["master"]["processes"]))
        for line in lines:
            s.wait_log(line, since)
            found = re.findall("^.*%s.*$" % line, s.log()[since:], re.M)
            kit.check(len(found) == 1, "%s, %d times:\n%s" % (begun, len(found), "\n".join(found)))

    told(0, "start")
    since = s.mark()
    s.reload()
    told(since, "reload")
    s.stop()


def run(env):
    mistakes(env)
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2"])
    sink = env.sink("127.0.0.2")
    s = env.signet("mta", "smtpd_banner = first\n")
    old = smtplib.SMTP("127.0.0.1", 25, local_hostname="c.test", timeout=20)
    old.ehlo()
    before = set(s.pids("smtpd"))
    queue = s.pids("queue")
    s.set("smtpd_banner = second\n")
    s.reload()
    kit.wait_until("new processes", lambda: set(s.pids("smtpd")) - before)

    def banner():
        with smtplib.SMTP(timeout=20) as c:
            return c.connect("127.0.0.1", 25)[1]
    kit.wait_until("the new banner", lambda: banner() == b"second")
    # the session that was open before goes on, and its message is queued
    code, text = old.mail("a@test.example")
    kit.check(code == 250, text)
    kit.check(old.rcpt("user@example.com")[0] == 250, "RCPT in the old session")
    code, text = old.data(b"Subject: old session\r\n\r\nx\r\n")
    kit.check(code == 250, text)
    old.quit()
    kit.wait_until("delivery", lambda: len(sink.messages) == 1)
    kit.wait_until("the old processes to end", lambda: not before & set(s.pids("smtpd")))
    kit.check(s.pids("queue") == queue, "queue stays")
    s.set("smtpd_banner = third\nsmtp_tls_security_level = secur\n")
    s.reload()
    s.wait_log(r"main\.cf:\d+: .*smtp_tls_security_level.*secur")
    s.wait_log(r"reload refused")
    kit.check(banner() == b"second", "the old configuration stays")
    since = s.mark()
    s.set("smtpd_banner = third\nmynetworks = 127.0.0.0/33\n")
    s.reload()
    s.wait_log(r"main\.cf:\d+: mynetworks: .*127\.0\.0\.0/33", since)
    s.wait_log(r"reload refused", since)
    kit.check(banner() == b"second" and not s.has_log(r"fatal", since), "no process tries what cannot work")
    s.set("smtpd_banner = fourth\n", kit.MASTER_CF.format(smtp="127.0.0.1:25") + "127.0.0.1:2500 inet n - n - - smtpd\n -o smtpd_banner=other\n")
    out = s.cli("reload")
    kit.wait_until("the new listener", lambda: kit.send(port=2500, rcpts="user@example.com").startswith("250"))
    s.stop()
