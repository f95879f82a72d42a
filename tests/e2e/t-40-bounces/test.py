"""Bounces, delay warnings and success reports as RFC 3461 and RFC 3464 want them, seen by the sender's server."""
import email

import kit

ZONE = ["%s.example. MX 10 mx.%s.example.\nmx.%s.example. A 127.0.0.%d" % (n, n, n, i) for i, n in ((2, "far"), (3, "home"), (4, "slow"), (5, "dsn"))]
BODY = "From: me@home.example\nTo: you@far.example\nSubject: the original\nMessage-ID: <one@home.example>\n\nsecret of the body\n"


def refuse(conn, line):
    return "550-5.1.1 no such\n550 5.1.1 user here" if "nobody" in line else "451 4.2.0 later" if "later" in line else None


def reports(home, n):
    """The n-th message at home, parsed: (whole, notification, [per-message fields, per-recipient fields...], returned part)."""
    kit.wait_until("report %d" % n, lambda: len(home.messages) >= n)
    m = email.message_from_bytes(home.messages[n - 1]["data"])
    kit.check(m.get_content_type() == "multipart/report" and m.get_param("report-type") == "delivery-status", m.as_string())
    parts = m.get_payload()
    kit.check(len(parts) == 3 and parts[0].get_content_type() == "text/plain" and parts[1].get_content_type() == "message/delivery-status", m.as_string())
    kit.check([p["Content-Description"] for p in parts[:2]] == ["Notification", "Delivery report"], m.as_string())
    return m, parts[0].get_payload(), parts[1].get_payload(), parts[2]


def fields(group, **want):
    for k, v in want.items():
        k = k.replace("_", "-")
        got = " ".join((group[k] or "").split()) if group[k] is not None else None
        kit.check(got == v, "%s: %r, not %r, in\n%s" % (k, got, v, group.as_string()))


def failure(env, s, home):
    reply = kit.send(sender="me@home.example", rcpts=["nobody@far.example"], body=BODY, mail_options=["ENVID=env+2Bid"],
                     rcpt_options=["ORCPT=rfc822;Old+2BName@far.example"])
    qid = kit.queue_id(reply)
    s.wait_log(r"signet/smtp\[\d+\]: %s: to=<nobody@far\.example>, (orig_to=<\S+>, )?relay=mx\.far\.example\[127\.0\.0\.2\]:25, .*dsn=5\.1\.1, status=bounced "
               r"\(host mx\.far\.example\[127\.0\.0\.2\] said: 550-5\.1\.1 no such 550 5\.1\.1 user here \(in reply to RCPT TO command\)\)" % qid)
    new = s.wait_log(r"signet/bounce\[\d+\]: %s: sender non-delivery notification: (\S+)" % qid).group(1)
    s.wait_log(r"signet/qmgr\[\d+\]: %s: from=<>, size=\d+, nrcpt=1 \(queue active\)" % new)
    m, text, status, returned = reports(home, 1)
    kit.check(home.messages[0]["sender"].startswith("MAIL FROM:<>") and "RCPT TO:<me@home.example>" in home.messages[0]["rcpts"][0], home.messages)
    kit.check("nobody@far.example" in text and "550-5.1.1 no such" in text, text)
    kit.check(m["Subject"] == "Undelivered Mail Returned to Sender" and m["Auto-Submitted"] == "auto-replied" and m["To"] == "me@home.example"
              and m["From"].startswith("MAILER-DAEMON@mta.test") and m["Message-Id"] and m["Date"] and m["MIME-Version"] == "1.0", m.as_string())
    kit.check(len(status) == 2, status)
    fields(status[0], Reporting_MTA="dns; mta.test", Original_Envelope_Id="env+id")
    kit.check(status[0]["Arrival-Date"], status[0].as_string())
    fields(status[1], Final_Recipient="rfc822; nobody@far.example", Original_Recipient="rfc822;Old+Name@far.example", Action="failed",
           Status="5.1.1", Remote_MTA="dns; mx.far.example", Diagnostic_Code="smtp; 550-5.1.1 no such 550 5.1.1 user here")
    kit.check(returned.get_content_type() == "message/rfc822" and returned["Content-Description"] == "Undelivered Message"
              and "secret of the body" in returned.as_string() and "the original" in returned.as_string(), returned.as_string())
    s.wait_log(r"%s: removed" % qid)


def headers_only(s, home):
    kit.send(sender="me@home.example", rcpts=["nobody@far.example"], body=BODY, mail_options=["RET=HDRS"])
    returned = reports(home, 2)[3]
    kit.check(returned.get_content_type() == "text/rfc822-headers" and returned["Content-Description"] == "Undelivered Message Headers", returned.as_string())
    kit.check("the original" in returned.as_string() and "secret of the body" not in returned.as_string(), returned.as_string())


def never(s, home):
    """NOTIFY=NEVER and the null sender: nothing goes out, and the log says removed."""
    for sender, opts in (("me@home.example", ["NOTIFY=NEVER"]), ("", [])):
        qid = kit.queue_id(kit.send(sender=sender, rcpts=["nobody@far.example"], body=BODY, rcpt_options=opts))
        s.wait_log(r"%s: removed" % qid)
        kit.check(s.has_log(r"%s: to=<nobody@far\.example>.*status=bounced" % qid), s.log())
        kit.check(not s.has_log(r"%s: (sender|postmaster) " % qid), s.log())
        kit.check(s.queue_list() == [], "no bounce of it is in the queue")


def relayed(s, home):
    """The next server cannot do DSN: "relayed" (RFC 3461 section 5.2.2); one that can gets the request, and no report is made."""
    qid = kit.queue_id(kit.send(sender="me@home.example", rcpts=["ok@far.example"], body=BODY, mail_options=["RET=FULL"], rcpt_options=["NOTIFY=SUCCESS"]))
    s.wait_log(r"%s: sender delivery status notification: \S+" % qid)
    m, text, status, returned = reports(home, 3)
    kit.check(m["Subject"] == "Successful Mail Delivery Report", m["Subject"])
    fields(status[1], Final_Recipient="rfc822; ok@far.example", Action="relayed", Status="2.0.0", Remote_MTA="dns; mx.far.example")
    kit.check(returned.get_content_type() == "text/rfc822-headers", "success reports carry headers only (RFC 3461 section 6.2)")


def passed_on(env, s, home, dsn):
    qid = kit.queue_id(kit.send(sender="me@home.example", rcpts=["ok@dsn.example"], body=BODY, mail_options=["RET=HDRS", "ENVID=abc"],
                                rcpt_options=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;x+2By@dsn.example"]))
    s.wait_log(r"%s: removed" % qid)
    m = dsn.messages[0]
    kit.check(" RET=HDRS" in m["sender"] and " ENVID=abc" in m["sender"], m["sender"])
    kit.check("NOTIFY=SUCCESS,FAILURE" in m["rcpts"][0] and "ORCPT=rfc822;x+2By@dsn.example" in m["rcpts"][0], m["rcpts"])
    kit.check(not s.has_log(r"%s: sender " % qid), "the next server does the reporting")


def several(s, home):
    """One bounce names both recipients that failed and not the one that was delivered."""
    qid = kit.queue_id(kit.send(sender="me@home.example", rcpts=["nobody@far.example", "fine@far.example", "nobody2@far.example"], body=BODY))
    s.wait_log(r"%s: removed" % qid)
    status = reports(home, 4)[2]
    kit.check([g["Final-Recipient"] for g in status[1:]] == ["rfc822; nobody@far.example", "rfc822; nobody2@far.example"], [g.as_string() for g in status])


def delayed_and_expired(s, home):
    qid = kit.queue_id(kit.send(sender="me@home.example", rcpts=["later@slow.example"], body=BODY))
    s.wait_log(r"%s: to=<later@slow\.example>, .*dsn=4\.2\.0, status=deferred \(host mx\.slow\.example\[127\.0\.0\.4\] said: 451 4\.2\.0 later" % qid)
    s.wait_log(r"%s: sender delay notification: \S+" % qid)
    m, text, status, returned = reports(home, 5)
    kit.check(m["Subject"] == "Delayed Mail (still being retried)", m["Subject"])
    fields(status[1], Action="delayed", Status="4.2.0", Diagnostic_Code="smtp; 451 4.2.0 later")
    kit.check(status[1]["Will-Retry-Until"] and returned.get_content_type() == "text/rfc822-headers", m.as_string())
    s.wait_log(r"signet/qmgr\[\d+\]: %s: from=<me@home\.example>, status=expired, returned to sender" % qid)
    s.wait_log(r"%s: sender non-delivery notification: \S+" % qid)
    m, text, status, returned = reports(home, 6)
    fields(status[1], Action="failed", Status="4.2.0", Diagnostic_Code="smtp; 451 4.2.0 later")
    kit.check(s.log().count("%s: sender delay notification" % qid) == 1, "one warning only")
    # a bounce that cannot be delivered goes nowhere
    qid = kit.queue_id(kit.send(sender="nobody@far.example", rcpts=["nobody@far.example"], body=BODY))
    new = s.wait_log(r"%s: sender non-delivery notification: (\S+)" % qid).group(1)
    s.wait_log(r"%s: to=<nobody@far\.example>, .*status=bounced" % new)
    s.wait_log(r"%s: removed" % new)
    kit.check(not s.has_log(r"%s: \S+ (non-)?delivery" % new), s.log())
    kit.wait_until("an empty queue", lambda: s.queue_list() == [])


def double_bounce(s, home):
    """With notify_classes = 2bounce the postmaster hears of it, once, and a failure of that is the end."""
    s.set("%snotify_classes = bounce, 2bounce\n2bounce_notice_recipient = nobody-pm@far.example\nbounce_notice_recipient = pm@home.example\nmydestination = mta.test\n" % QUICK)
    s.reload()
    n = len(home.messages)
    since = s.mark()
    qid = kit.queue_id(kit.send(sender="", rcpts=["nobody@far.example"], body=BODY))
    pm = s.wait_log(r"%s: postmaster non-delivery notification: (\S+)" % qid, since).group(1)
    s.wait_log(r"warning: %s: undeliverable postmaster notification discarded" % pm, since)
    s.wait_log(r"%s: removed" % pm, since)
    kit.wait_until("an empty queue", lambda: s.queue_list() == [])
    kit.check(len(home.messages) == n, "no third generation")
    qid = kit.queue_id(kit.send(sender="me@home.example", rcpts=["nobody@far.example"], body=BODY))
    kit.wait_until("bounce and copy", lambda: len(home.messages) >= n + 2)
    subjects = sorted(email.message_from_bytes(m["data"])["Subject"] for m in home.messages[n:])
    kit.check(subjects == ["Postmaster Copy: Undelivered Mail", "Undelivered Mail Returned to Sender"], subjects)
    copy = [m["data"] for m in home.messages[n:] if b"Postmaster Copy" in m["data"]][0]
    kit.check(b"secret of the body" not in copy, "the copy holds no body")
    kit.check(b"Auto-Submitted: auto-generated" in copy and b"This is the mail system" not in copy, copy)
    sender = [m["sender"] for m in home.messages[n:] if b"Postmaster Copy" in m["data"]][0]
    kit.check(sender.startswith("MAIL FROM:<double-bounce@mta.test>"), sender)
    # whoever answers that address talks to nobody
    since = s.mark()
    qid = kit.queue_id(kit.send(sender="", rcpts=["double-bounce@mta.test"], body=BODY))
    s.wait_log(r"warning: %s: undeliverable postmaster notification discarded" % qid, since)
    s.wait_log(r"%s: removed" % qid, since)


def expanded(env, s, home, dsn):
    """An alias with several results: "expanded" at once, and nobody after it is asked for success (RFC 3461 section 5.2.7.3)."""
    aliases = env.write("aliases", "list@mta.test one@far.example, two@dsn.example\n")
    s.set("%svirtual_alias_maps = texthash:%s\n" % (QUICK, aliases))
    s.reload()
    n = len(home.messages)
    qid = kit.queue_id(kit.send(sender="me@home.example", rcpts=["list@mta.test"], body=BODY, rcpt_options=["NOTIFY=SUCCESS,FAILURE"]))
    s.wait_log(r"%s: removed" % qid)
    status = reports(home, n + 1)[2]
    kit.check(len(status) == 2, [g.as_string() for g in status])
    fields(status[1], Final_Recipient="rfc822; list@mta.test", Action="expanded", Status="2.0.0")
    kit.check(s.log().count("%s: sender delivery status notification" % qid) == 1, s.log())
    kit.check("NOTIFY=FAILURE" in dsn.messages[-1]["rcpts"][0] and "SUCCESS" not in dsn.messages[-1]["rcpts"][0], dsn.messages[-1])
    kit.check(len(home.messages) == n + 1, "success is reported once")


QUICK = "minimal_backoff_time = 1s\nmaximal_backoff_time = 1s\nqueue_run_delay = 1s\nmaximal_queue_lifetime = 4s\nbounce_queue_lifetime = 4s\ndelay_warning_time = 1s\n"


def run(env):
    env.dns("\n".join(ZONE).split("\n"))
    env.sink("127.0.0.2", script={"RCPT": refuse})
    env.sink("127.0.0.4", script={"RCPT": refuse})
    home = env.sink("127.0.0.3")
    dsn = env.sink("127.0.0.5", keywords=("PIPELINING", "DSN"))
    s = env.signet("mta", QUICK)
    failure(env, s, home)
    headers_only(s, home)
    never(s, home)
    relayed(s, home)
    passed_on(env, s, home, dsn)
    several(s, home)
    delayed_and_expired(s, home)
    double_bounce(s, home)
    expanded(env, s, home, dsn)
    kit.check(not s.has_log(r"(panic|fatal|error): "), s.log())
    s.stop()
