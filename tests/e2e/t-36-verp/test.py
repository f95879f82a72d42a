"""VERP: a return path for each recipient. Who may ask (smtpd_authorized_verp_clients), the replies as Postfix has them, MAIL FROM on the wire, a report
for each recipient or, with disable_verp_bounces, one; sendmail -XV over the socket and through the maildrop; delimiters that may not be used."""
import os
import smtplib

import kit

MAIN = "smtpd_authorized_verp_clients = 127.0.0.1\nlocal_login_sender_maps = static:*\ntransport_maps = inline:{ {list.test=smtp:[127.0.0.3]} }\n"


def refuse(conn, line):
    return "550 5.1.1 no such user" if "bad" in line else None


def replies(s):
    c = smtplib.SMTP("127.0.0.1", 25)
    kit.check(b"\nXVERP\n" in c.ehlo("c.test")[1], "XVERP is announced")
    for args, want in (("<a@b.test> XVERP", b"2.1.0 Ok"), ("<a@b.test> XVERP=", b"5.5.4 Error: XVERP needs two characters from -=+"),
                       ("<a@b.test> XVERP=+", b"5.5.4 Error: XVERP needs two characters from -=+"),
                       ("<a@b.test> XVERP=!!", b"5.5.4 Error: XVERP needs two characters from -=+"), ("<a@b.test> XVERP=-=", b"2.1.0 Ok"),
                       ("<> XVERP", b"5.5.4 Error: XVERP requires non-null sender")):
        got = c.docmd("MAIL", "FROM:" + args)
        kit.check(got[1] == want, "%s: %s" % (args, got))
        c.docmd("RSET")
    c.quit()
    c = smtplib.SMTP("127.0.0.1", 25, source_address=("127.0.0.9", 0))
    kit.check(b"XVERP" not in c.ehlo("c.test")[1], "XVERP is not for everybody")
    got = c.docmd("MAIL", "FROM:<a@b.test> XVERP")
    kit.check(got == (555, b"5.5.4 Unsupported option: XVERP"), got)
    c.quit()


def senders(sink, since):
    return sorted((m["sender"].split(" ")[1].split(":")[1], m["rcpts"][0]) for m in sink.messages[since:] if m["rcpts"])


def one(s, sink, more, want, option="XVERP"):
    since = len(sink.messages)
    c = smtplib.SMTP("127.0.0.1", 25)
    c.ehlo("c.test")
    kit.check(c.docmd("MAIL", "FROM:<owner-l@list.test> " + option)[0] == 250, "MAIL")
    for r in more:
        kit.check(c.docmd("RCPT", "TO:<%s>" % r)[0] == 250, r)
    c.docmd("DATA")
    c.send("Subject: x\r\n\r\nhello\r\n.\r\n")
    qid = kit.queue_id("250 " + c.getreply()[1].decode())
    c.quit()
    s.wait_log(r"%s: removed" % qid)
    got = senders(sink, since)
    kit.check(got == sorted(want), got)
    return qid


def reported_to(lists, n):
    kit.wait_until("%d reports" % n, lambda: len(lists.messages) == n)
    got = sorted(m["rcpts"][0] for m in lists.messages)
    del lists.messages[:]
    return got


def run(env):
    env.dns(["out.test. A 127.0.0.2"])
    out = env.sink("127.0.0.2", script={"RCPT": refuse})
    lists = env.sink("127.0.0.3")
    s = env.signet("mta", MAIN)
    replies(s)
    one(s, out, ["a@out.test", "b@out.test"], [("<owner-l+a=out.test@list.test>", "RCPT TO:<a@out.test>"), ("<owner-l+b=out.test@list.test>", "RCPT TO:<b@out.test>")])
    one(s, out, ["a@out.test"], [("<owner-l-a=out.test@list.test>", "RCPT TO:<a@out.test>")], "XVERP=-=")
    one(s, out, ["bad1@out.test", "a@out.test", "bad2@out.test"], [("<owner-l+a=out.test@list.test>", "RCPT TO:<a@out.test>")])
    got = reported_to(lists, 2)
    kit.check(got == ["RCPT TO:<owner-l+bad1=out.test@list.test>", "RCPT TO:<owner-l+bad2=out.test@list.test>"], got)
    s.set(MAIN + "disable_verp_bounces = yes\ndefault_verp_delimiters = -+\n")
    s.reload()
    one(s, out, ["bad1@out.test", "a@out.test", "bad2@out.test"], [("<owner-l-a+out.test@list.test>", "RCPT TO:<a@out.test>")])
    got = reported_to(lists, 1)
    kit.check(got == ["RCPT TO:<owner-l@list.test>"], got)

    # sendmail
    s.set(MAIN)
    s.reload()
    since = len(out.messages)
    s.cli("send", "-XV", "-f", "owner-l@list.test", "a@out.test", "b@out.test", input="Subject: x\n\nx\n")
    kit.wait_until("two messages", lambda: len(out.messages) == since + 2)
    got = senders(out, since)
    kit.check([g[0] for g in got] == ["<owner-l+a=out.test@list.test>", "<owner-l+b=out.test@list.test>"], got)
    said = s.cli("send", "-XV!", "-f", "owner-l@list.test", "a@out.test", input="x\n", check_status=False)
    kit.check("two characters, or none" in said, said)
    s.stop()
    since = len(out.messages)
    s.cli("send", "-XV-=", "-f", "owner-l@list.test", "a@out.test", input="Subject: x\n\nx\n")
    s.cli("send", "-XV", "-f", "owner-l@list.test", "b@out.test", input="Subject: x\n\nx\n")
    s.cli("send", "-XV!!", "-f", "owner-l@list.test", "c@out.test", input="Subject: x\n\nx\n")
    s.start()
    kit.wait_until("two messages from the maildrop", lambda: len(out.messages) == since + 2)
    got = senders(out, since)
    kit.check([g[0] for g in got] == ["<owner-l+b=out.test@list.test>", "<owner-l-a=out.test@list.test>"], got)
    s.wait_log("its VERP delimiters are not in verp_delimiter_filter")
    kit.check(len(os.listdir(os.path.join(s.queue, "maildrop.bad"))) == 1, "the third is aside")
