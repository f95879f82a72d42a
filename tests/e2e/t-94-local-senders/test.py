"""local_login_sender_maps on both ways in: the submission socket while the daemon runs, the maildrop while it is down. A table that
fails is no permission. The same for tables about EHLO keywords and forbidden commands."""
import os
import smtplib
import subprocess

import kit
import raw_kit


def run(env):
    if os.geteuid() != 0:
        raise kit.Skipped("sending as several users needs root")
    joe, ann = env.user("sgt-joe"), env.user("sgt-ann")
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2"])
    sink = env.sink("127.0.0.2")
    s = env.signet("mx", "myorigin = here.example\nrecipient_delimiter = +\n"
                   "local_login_sender_maps = inline:{ {sgt-joe = joe@here.example, @lists.example null} {root = *} {uid:54321 = nameless@here.example} }\n"
                   "empty_address_local_login_sender_maps_lookup_key = null\n",
                   kit.MASTER_CF.format(smtp="127.0.0.1:25") + """\
127.0.0.1:2501 inet n - n - - smtpd
 -o smtpd_discard_ehlo_keyword_address_maps=fail:x
127.0.0.1:2502 inet n - n - - smtpd
 -o smtpd_forbidden_commands=fail:x
 -o smtpd_tls_security_level=may
""")
    signet = os.path.join(kit.BUILD, "src", "signet")

    def send(uid, *argv, data=b"Subject: x\n\nx\n"):
        r = subprocess.run(["setpriv", "--reuid", str(uid), "--regid", str(joe.pw_gid), "--clear-groups", signet, "-c", s.conf, "send", *argv, "user@example.com"],
                           input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return r.returncode, r.stdout.decode()

    for uid, sender, good in ((joe.pw_uid, "joe@here.example", True), (joe.pw_uid, "joe+tag@here.example", True), (joe.pw_uid, "a@lists.example", True),
                              (joe.pw_uid, "", True), (0, "any@where.example", True), (54321, "nameless@here.example", True),
                              (joe.pw_uid, "ann@here.example", False), (ann.pw_uid, "ann@here.example", False), (ann.pw_uid, "", False),
                              (54321, "joe@here.example", False)):
        since, count = s.mark(), len(sink.messages)
        status, text = send(uid, "-f", sender)
        if good:
            kit.check(status == 0, "%d as <%s>: %d %s" % (uid, sender, status, text))
            kit.wait_until("the message", lambda: len(sink.messages) > count)
        else:
            kit.check(status == 69 and "not allowed for user" in text, "%d as <%s>: %d %s" % (uid, sender, status, text))
            s.wait_log(r"warning: user \S+ \(uid %d\) may not use the sender <%s> \(local_login_sender_maps\)" % (uid, sender), since)
    kit.check(os.listdir(os.path.join(s.queue, "maildrop")) == [], "a refusal is no reason for the maildrop")
    # -bs speaks SMTP over the same socket
    r = subprocess.run(["setpriv", "--reuid", str(joe.pw_uid), "--regid", str(joe.pw_gid), "--clear-groups", signet, "-c", s.conf, "send", "-bs"],
                       input=b"EHLO x\r\nMAIL FROM:<ann@here.example>\r\nMAIL FROM:<joe@here.example>\r\nAUTH PLAIN\r\nQUIT\r\n", stdout=subprocess.PIPE)
    kit.check(b"\r\n550 5.7.1 <ann@here.example>: Sender address rejected" in r.stdout and b"\r\n250 2.1.0 Ok" in r.stdout and b"\r\n503 " in r.stdout, r.stdout)

    # a table that fails: nothing that a client can do without is announced, and no word runs on
    with smtplib.SMTP("127.0.0.1", 2501, timeout=20) as c:
        c.ehlo()
        kit.check(not c.esmtp_features, "hidden: %r" % c.esmtp_features)
    s.wait_log(r"warning: smtpd_discard_ehlo_keyword_address_maps: .*; only STARTTLS is announced to localhost\[127\.0\.0\.1\]")
    with raw_kit.Raw(2502) as c:
        c.reply()
        kit.check(c.say("GET / HTTP/1.1")[0].startswith("421 4.3.0 ") and c.reply() == [], "a table of forbidden commands that fails ends the session")
        s.wait_log(r"warning: smtpd_forbidden_commands: ")

    # the daemon is down: decided at the next start
    s.stop()
    count, since = len(sink.messages), s.mark()
    kit.check(send(joe.pw_uid, "-f", "joe@here.example")[0] == 0 and send(joe.pw_uid, "-f", "ann@here.example")[0] == 0, "into the maildrop")
    s.start()
    s.wait_log(r"maildrop/\S+ of uid %d is moved to maildrop\.bad: the user may not use that sender \(local_login_sender_maps\)" % joe.pw_uid, since)
    kit.wait_until("the other one", lambda: len(sink.messages) == count + 1)
    kit.check("<joe@here.example>" in sink.messages[-1]["sender"], sink.messages[-1])
    s.stop()
