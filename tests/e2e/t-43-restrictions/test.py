"""Who may send what to whom, and what is done to mail on its way in: replies, the mail that arrives, and the log as parsers read it."""
import re
import smtplib

import kit

ME, STRANGER = "127.0.0.1", "127.9.9.9"
BODY = "From: u@a.masq.example\nTo: r@dest.example\nSubject: hello\nX-Secret: old\nMessage-ID: <m@masq.example>\n\nbody\n"
PARAMS = """\
mynetworks = 127.0.0.1/32
relay_domains = dest.example
relay_recipient_maps = inline:{ { ok@dest.example = x } { bcc@dest.example = x } { other@dest.example = x } { caught@dest.example = x } { two@dest.example = x } }
transport_maps = inline:{ { dest.example = smtp:[127.0.0.2] } }
smtpd_client_restrictions = check_client_access cidr:ETC/clients, reject_rbl_client rbl.example=127.0.0.[2..4]
smtpd_sender_restrictions = check_sender_access hash:ETC/senders, reject_unknown_sender_domain
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions =
smtpd_recipient_limit = 3
message_size_limit = 20000
header_checks = regexp:ETC/headers
virtual_alias_maps = hash:ETC/virtual
virtual_alias_domains = virt.example
sender_canonical_maps = inline:{ { old@dom.example = new.name@dom.example } }
recipient_canonical_maps = inline:{ { was@dest.example = ok@dest.example } }
masquerade_domains = masq.example
always_bcc = bcc@dest.example
smtpd_error_sleep_time = 0

"""
FILES = {
    "clients": "127.9.0.66 REJECT go away\n127.9.0.67 450 4.7.1 slowly\n127.9.0.0/16 DUNNO\n",
    "senders": "bad@dom.example REJECT not you\nhold@dom.example HOLD look at it\ndiscard@dom.example DISCARD silently\n"
               "prepend@dom.example PREPEND X-Added: by table\nredirect@dom.example REDIRECT caught@dest.example\n"
               "filter@dom.example FILTER smtp:[127.0.0.3]:25\nforbidden.example 521 5.7.1 no more\n",
    "headers": "/^Subject: (.*)viagra/ REJECT no $1 here\n/^X-Secret: / REPLACE X-Secret: new\n/^X-Drop:/ IGNORE\n/^X-Warn:/ WARN seen\n",
    "virtual": "one@virt.example ok@dest.example, other@dest.example\n@virt2.example ok@dest.example\nloop@virt.example one@virt.example, ok@dest.example\n",
}
ZONE = ["dom.example. MX 10 mx.dom.example.", "mx.dom.example. A 127.0.0.2", "masq.example. A 127.0.0.2", "a.masq.example. A 127.0.0.2",
        "null.example. MX 0 .", "66.9.9.127.rbl.example. A 127.0.0.2", "66.9.9.127.rbl.example. TXT \"you are listed\"", "67.9.9.127.rbl.example. A 127.0.0.9"]


def talk(source=ME, sender="s@dom.example", rcpts=("ok@dest.example",), body=BODY, data=True):
    """One transaction from `source`: the reply that ended it, as "code text"."""
    with smtplib.SMTP("127.0.0.1", 25, local_hostname="client.test", timeout=kit.DEADLINE, source_address=(source, 0)) as s:
        s.ehlo()
        steps = [lambda: s.mail(sender)] + [(lambda r: lambda: s.rcpt(r))(r) for r in rcpts] + ([lambda: s.data(body)] if data else [])
        for step in steps:
            try:
                code, text = step()
            except smtplib.SMTPDataError as e:
                code, text = e.smtp_code, e.smtp_error
            if code // 100 != 2:
                break
        return "%d %s" % (code, text.decode())


FAIL2BAN = (r"^(?:[0-9A-Za-z]+|NOQUEUE): reject: (?:RCPT|EHLO|VRFY|MAIL|END-OF-MESSAGE|DATA) from [^[]*\[(?P<ip>\S+)\](?::\d+)?: [45]\d\d [45]\.\d{1,3}\.\d{1,3} "
            r"(?:<[^>]*>: (?:Relay access denied|(?:Client host|Sender address|Recipient address|Helo command) rejected|)|Service unavailable)")


def refusals(s):
    for (kw, reply) in (
            (dict(source=STRANGER, rcpts=["x@elsewhere.example"]), "554 5.7.1 <x@elsewhere.example>: Relay access denied"),
            (dict(source="127.9.0.66"), "554 5.7.1 <localhost[127.9.0.66]>: Client host rejected: go away"),
            (dict(source="127.9.0.67"), "450 4.7.1 <localhost[127.9.0.67]>: Client host rejected: slowly"),
            (dict(source="127.9.9.66"), "554 5.7.1 Service unavailable; Client host [127.9.9.66] blocked using rbl.example; you are listed"),
            (dict(sender="bad@dom.example"), "554 5.7.1 <bad@dom.example>: Sender address rejected: not you"),
            (dict(sender="BAD@Dom.Example"), "554 5.7.1 <BAD@Dom.Example>: Sender address rejected: not you"),
            (dict(sender="u@nxdomain.example"), "450 4.1.8 <u@nxdomain.example>: Sender address rejected: Domain not found"),
            (dict(sender="u@null.example"), "550 5.7.27 <u@null.example>: Sender address rejected: Domain null.example does not accept mail (nullMX)"),
            (dict(rcpts=["nobody@dest.example"]), "550 5.1.1 <nobody@dest.example>: Recipient address rejected: User unknown in relay recipient table"),
            (dict(source=STRANGER, rcpts=["nobody@dest.example"]), "550 5.1.1 <nobody@dest.example>: Recipient address rejected: User unknown in relay recipient table"),
            (dict(rcpts=["nobody@virt.example"]), "550 5.1.1 <nobody@virt.example>: Recipient address rejected: User unknown in virtual alias table"),
            (dict(source=STRANGER, rcpts=["x%elsewhere.example@dest.example"]), "554 5.7.1 <x%elsewhere.example@dest.example>: Relay access denied"),
            (dict(source=STRANGER, rcpts=["ok@dest.example"] * 4), "452 4.5.3 Error: too many recipients")):
        since = s.mark()
        got = talk(**kw)
        got_host = re.sub(r"<(localhost|unknown)\[", "<localhost[", got)
        kit.check(got_host == reply, "%s: %r, not %r" % (kw, got, reply))
        if reply.startswith("452"):
            continue
        who = kw.get("source", ME)
        line = s.wait_log(r"signet/smtpd\[\d+\]: (NOQUEUE: reject: RCPT from \S+\[%s\]: %s; from=<\S+> to=<\S+> proto=ESMTP helo=<client\.test>)$" %
                          (re.escape(who), re.escape(got)), since).group(1)
        m = re.search(FAIL2BAN, line)
        kit.check(m and m.group("ip") == who, "fail2ban reads it: %s" % line)
    kit.check(talk(sender="u@forbidden.example").startswith("521 5.7.1 <u@forbidden.example>: Sender address rejected: no more"), "5nn with text")


def passes(s, sink):
    kit.check(talk(rcpts=["x@anywhere.example"], data=False).startswith("250"), "mynetworks relay")
    kit.check(talk(source=STRANGER, data=False).startswith("250"), "a stranger may write to us")
    kit.check(talk(source="127.9.9.67", data=False).startswith("250"), "another answer of the list does not count")
    kit.check(talk(source=STRANGER, rcpts=["postmaster"], data=False).startswith("250"), "postmaster, always")
    kit.check(talk(source=STRANGER, rcpts=["Postmaster"], sender="", data=False).startswith("250"), "postmaster, always")


def content(s, sink):
    since = s.mark()
    got = talk(body=BODY.replace("hello", "cheap viagra"))
    kit.check(got == "550 5.7.1 no cheap  here", got)
    s.wait_log(r"signet/cleanup\[\d+\]: \S+: reject: header Subject: cheap viagra from localhost\[127\.0\.0\.1\]; from=<s@dom\.example> to=<ok@dest\.example> "
               r"proto=ESMTP helo=<client\.test>: 5\.7\.1 no cheap  here$", since)
    got = talk(body=BODY + "x" * 70 + "\n" + ("y" * 70 + "\n") * 400)
    kit.check(got == "552 5.3.4 Error: message file too big", got)
    with smtplib.SMTP("127.0.0.1", 25, timeout=kit.DEADLINE) as c:
        c.ehlo()
        kit.check(c.esmtp_features["size"] == "20000", c.esmtp_features)
        code, text = c.mail("s@dom.example", ["SIZE=20001"])
        kit.check(code == 552 and text.startswith(b"5.3.4 "), text)


def deliver(s, sink, n=1, **kw):
    """Send, and the messages that arrive for the envelope recipients, the copy for always_bcc apart."""
    before = len(sink.messages)
    reply = talk(**kw)
    qid = kit.queue_id(reply)
    s.wait_log(r"%s: removed" % qid)
    new = sink.messages[before:]
    rcpts = sorted(re.sub(r".*<(.*)>.*", r"\1", r) for m in new for r in m["rcpts"])
    return qid, new, rcpts


def changes(s, sink, filtered):
    qid, new, rcpts = deliver(s, sink)
    kit.check(rcpts == ["bcc@dest.example", "ok@dest.example"], rcpts)
    text = new[0]["data"].decode()
    kit.check("X-Secret: new\r\n" in text and "X-Secret: old" not in text, text)
    kit.check("From: u@masq.example\r\n" in text, "masqueraded: " + text)
    s.wait_log(r"%s: replace: header X-Secret: old from localhost\[127\.0\.0\.1\]; from=<s@dom\.example> to=<ok@dest\.example> proto=ESMTP helo=<client\.test>: X-Secret: new$" % qid)
    qid, new, rcpts = deliver(s, sink, body=BODY.replace("X-Secret: old", "X-Drop: a\n b\nX-Warn: w"))
    kit.check(b"X-Drop" not in new[0]["data"] and b"\r\n b\r\n" not in new[0]["data"] and b"X-Warn: w\r\n" in new[0]["data"], new[0]["data"])
    s.wait_log(r"%s: warning: header X-Warn: w from .*: seen$" % qid)
    qid, new, rcpts = deliver(s, sink, sender="u@a.masq.example")
    kit.check(all(m["sender"].startswith("MAIL FROM:<u@masq.example>") for m in new), [m["sender"] for m in new])
    qid, new, rcpts = deliver(s, sink, sender="old@dom.example", body=BODY.replace("u@a.masq.example", "Old <old@dom.example>"))
    kit.check(new[0]["sender"].startswith("MAIL FROM:<new.name@dom.example>") and b"<new.name@dom.example>" in new[0]["data"], new[0])
    qid, new, rcpts = deliver(s, sink, rcpts=["one@virt.example"])
    kit.check(rcpts == ["bcc@dest.example", "ok@dest.example", "other@dest.example"], rcpts)
    s.wait_log(r"%s: to=<other@dest\.example>, orig_to=<one@virt\.example>, relay=127\.0\.0\.2\[127\.0\.0\.2\]:25, " % qid)
    s.wait_log(r"%s: to=<ok@dest\.example>, orig_to=<one@virt\.example>, " % qid)
    qid, new, rcpts = deliver(s, sink, rcpts=["loop@virt.example", "loop@virt.example"])
    kit.check(rcpts == ["bcc@dest.example", "ok@dest.example", "other@dest.example"], "each once: %s" % rcpts)
    qid, new, rcpts = deliver(s, sink, rcpts=["was@dest.example"])
    kit.check(rcpts == ["bcc@dest.example", "ok@dest.example"], rcpts)


def actions(s, sink, filtered):
    since = s.mark()
    before = len(sink.messages)
    qid = kit.queue_id(talk(sender="hold@dom.example"))
    s.wait_log(r"signet/smtpd\[\d+\]: (%s|NOQUEUE): hold: RCPT from localhost\[127\.0\.0\.1\]: <hold@dom\.example>: Sender address look at it; from=<hold@dom\.example> to=<ok@dest\.example> proto=ESMTP helo=<client\.test>$" % qid, since)
    held = [m for m in s.queue_list() if m["queue_id"] == qid]
    kit.check(held and held[0]["queue_name"] == "hold", held)
    s.cli("queue", "delete", qid)
    reply = talk(sender="discard@dom.example")
    kit.check(reply.startswith("250 2.0.0 Ok"), reply)
    s.wait_log(r"discard: RCPT from localhost\[127\.0\.0\.1\]: <discard@dom\.example>: Sender address silently; from=<discard@dom\.example> to=<ok@dest\.example> ", since)
    kit.check(len(sink.messages) == before, "held and discarded do not arrive")
    qid, new, rcpts = deliver(s, sink, sender="prepend@dom.example")
    kit.check(new[0]["data"].startswith(b"X-Added: by table\r\n") or b"\r\nX-Added: by table\r\n" in new[0]["data"], new[0]["data"])
    qid, new, rcpts = deliver(s, sink, sender="redirect@dom.example", rcpts=["ok@dest.example", "other@dest.example"])
    kit.check("caught@dest.example" in rcpts and "ok@dest.example" not in rcpts and "other@dest.example" not in rcpts, rcpts)
    qid, new, rcpts = deliver(s, sink, sender="filter@dom.example")
    kit.check(new == [] and len(filtered.messages) >= 1, "filtered away")
    s.wait_log(r"%s: to=<ok@dest\.example>, relay=127\.0\.0\.3\[127\.0\.0\.3\]:25, " % qid)
    kit.check(not any("silently" in l and "reject" in l for l in s.log().splitlines()), "a discard is no reject")


def failures(env, s, sink, nsd):
    """What cannot be looked up is never passed and never refused for good."""
    nsd.stop()
    since = s.mark()
    got = talk(sender="u@unasked.example")
    kit.check(got == "450 4.1.8 <u@unasked.example>: Sender address rejected: Domain not found", got)
    s.wait_log(r"NOQUEUE: reject: RCPT from localhost\[127\.0\.0\.1\]: 450 4\.1\.8 <u@unasked\.example>", since)
    s.set(PARAMS.replace("ETC", s.conf) + "virtual_alias_maps = fail:broken\nsmtpd_sender_restrictions =\nsmtpd_client_restrictions =\n")
    s.reload()
    since = s.mark()
    before = len(sink.messages)
    got = talk(rcpts=["ok@dest.example"])
    kit.check(got.startswith(("451 4.", "450 4.")), got)
    s.wait_log(r"warning: ", since)
    kit.check(len(sink.messages) == before and not re.search(r"queue active", s.log()[since:]), "nothing half-queued")


def run(env):
    nsd = env.dns(ZONE)
    sink, filtered = env.sink("127.0.0.2"), env.sink("127.0.0.3")
    s = env.signet("mta", files=FILES, start=False)
    s.set(PARAMS.replace("ETC", s.conf))
    s.start()
    refusals(s)
    passes(s, sink)
    content(s, sink)
    changes(s, sink, filtered)
    actions(s, sink, filtered)
    failures(env, s, sink, nsd)
    kit.check(not s.has_log(r"(panic|fatal): "), s.log())
    s.stop()
