"""Finding the next server and talking to it: MX order, dead and slow servers, answers of DNS, reuse, fallback, refusals."""
import re
import socket

import kit

ZONE = """\
one.example. MX 10 dead.one.example.
one.example. MX 20 grey.one.example.
one.example. MX 30 good.one.example.
dead.one.example. A 127.0.0.11
grey.one.example. A 127.0.0.12
good.one.example. A 127.0.0.2
null.example. MX 0 .
plain.example. A 127.0.0.2
nothing.example. TXT "no mail"
lost.example. MX 10 missing.lost.example.
drop.example. MX 10 drop1.example.
drop1.example. A 127.0.0.13
hang.example. A 127.0.0.14
mute.example. A 127.0.0.15
slowdata.example. A 127.0.0.16
grey.example. A 127.0.0.17
many.example. A 127.0.0.18
self.example. MX 10 mta.test.
mta.test. A 127.0.0.1
back.example. A 127.0.0.19
refuse5.example. MX 10 r5.example.
refuse5.example. MX 20 good.one.example.
r5.example. A 127.0.0.20
helo.example. A 127.0.0.21
dead.example. A 127.0.0.22
six.example. AAAA ::1
after.example. A 127.0.0.23
""".splitlines()
PARAMS = """\
smtp_helo_timeout = 2s
smtp_connect_timeout = 2s
smtp_data_done_timeout = 2s
smtp_mail_timeout = 2s
minimal_backoff_time = 600s
queue_run_delay = 600s
smtp_mx_session_limit = 4
inet_protocols = all
transport_maps = inline:{ { six.example = smtp:six.example:2525 } { literal.example = smtp:[IPv6:::1]:2525 } }
"""


def silent(env, address, port=25):
    """Takes connections and says nothing."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port))
    s.listen(20)
    env.at_end(s.close)


def sent(s, domain, user="u"):
    """Send one message there; its queue id."""
    return kit.queue_id(kit.send(sender="s@home.example", rcpts="%s@%s" % (user, domain)))


def told(s, qid, domain, pattern, user="u"):
    """Its delivery line must match."""
    line = s.wait_log(r"signet/\S+\[\d+\]: %s: to=<%s@%s>, (.*status=.*)$" % (qid, user, re.escape(domain)))
    kit.check(re.fullmatch(pattern, line.group(1)), "%s: %s\nis not %s" % (domain, line.group(1), pattern))


def one(s, domain, pattern, user="u"):
    qid = sent(s, domain, user)
    told(s, qid, domain, pattern, user)
    return qid


D = r"delay=[\d.]+, delays=[\d.]+/[\d.]+/[\d.]+/[\d.]+, (tls=\S+, )?"


def answers_of_dns(s, good):
    qid = one(s, "one.example", r"relay=good\.one\.example\[127\.0\.0\.2\]:25, " + D + r"dsn=2\.0\.0, status=sent \(250 2\.0\.0 Ok\)")
    kit.check(s.has_log(r"signet/smtp\[\d+\]: connect to dead\.one\.example\[127\.0\.0\.11\]:25: Connection refused"), s.log())
    kit.check(s.has_log(r"%s: host grey\.one\.example\[127\.0\.0\.12\] said: 450 4\.7\.1 greylisted \(in reply to RCPT TO command\)" % qid), s.log())
    one(s, "plain.example", r"relay=plain\.example\[127\.0\.0\.2\]:25, " + D + r"dsn=2\.0\.0, status=sent .*")
    one(s, "null.example", r"relay=none, " + D + r"dsn=5\.1\.10, status=bounced \(Domain null\.example does not accept mail \(nullMX\)\)")
    one(s, "gone.invalid", r"relay=none, " + D + r"dsn=5\.4\.4, status=bounced \(Host or domain name not found\. Name service error for name=gone\.invalid type=A+: Host not found\)")
    one(s, "nothing.example", r"relay=none, " + D + r"dsn=5\.4\.4, status=bounced \(Host or domain name not found\. Name service error for name=nothing\.example type=A+: Host found but no data record of requested type\)")
    one(s, "lost.example", r"relay=none, " + D + r"dsn=5\.4\.4, status=bounced \(.*name=missing\.lost\.example type=A+: Host not found\)")
    one(s, "self.example", r"relay=none, " + D + r"dsn=5\.4\.6, status=bounced \(mail for self\.example loops back to myself\)")
    one(s, "[127.0.0.2]", r"relay=127\.0\.0\.2\[127\.0\.0\.2\]:25, " + D + r"dsn=2\.0\.0, status=sent .*")
    one(s, "[127.0.0.22]", r"relay=none, " + D + r"dsn=4\.4\.1, status=deferred \(connect to 127\.0\.0\.22\[127\.0\.0\.22\]:25: Connection refused\)")


def six(s, sink):
    one(s, "six.example", r"relay=six\.example\[::1\]:2525, " + D + r"dsn=2\.0\.0, status=sent .*")
    one(s, "literal.example", r"relay=::1\[::1\]:2525, " + D + r"dsn=2\.0\.0, status=sent .*")
    kit.check(len(sink.messages) == 2, sink.messages)


def misbehaviour(s):
    """All at once: each has to time out by itself."""
    ways = (
        ("drop.example", r"relay=drop1\.example\[127\.0\.0\.13\]:25, " + D + r"dsn=4\.4\.2, status=deferred \(lost connection with drop1\.example\[127\.0\.0\.13\] while sending end of data -- message may be sent more than once\)"),
        ("after.example", r"relay=after\.example\[127\.0\.0\.23\]:25, " + D + r"dsn=4\.4\.2, status=deferred \(lost connection with after\.example\[127\.0\.0\.23\] while sending DATA command\)"),
        ("hang.example", r"relay=hang\.example\[127\.0\.0\.14\]:25, " + D + r"dsn=4\.4\.2, status=deferred \(conversation with hang\.example\[127\.0\.0\.14\] timed out while receiving the initial server greeting\)"),
        ("mute.example", r"relay=mute\.example\[127\.0\.0\.15\]:25, " + D + r"dsn=4\.4\.2, status=deferred \(conversation with mute\.example\[127\.0\.0\.15\] timed out while performing the EHLO handshake\)"),
        ("slowdata.example", r"relay=slowdata\.example\[127\.0\.0\.16\]:25, " + D + r"dsn=4\.4\.2, status=deferred \(conversation with slowdata\.example\[127\.0\.0\.16\] timed out while sending end of data -- message may be sent more than once\)"),
        ("back.example", r"relay=back\.example\[127\.0\.0\.19\]:25, " + D + r"dsn=4\.3\.2, status=deferred \(host back\.example\[127\.0\.0\.19\] refused to talk to me: 421 4\.3\.2 too busy\)"),
        ("refuse5.example", r"relay=good\.one\.example\[127\.0\.0\.2\]:25, " + D + r"dsn=2\.0\.0, status=sent .*"),
        ("helo.example", r"relay=helo\.example\[127\.0\.0\.21\]:25, " + D + r"dsn=2\.0\.0, status=sent .*"),
    )
    for way, qid in [(w, sent(s, w[0])) for w in ways]:
        told(s, qid, *way)


def greylisting(s, sink):
    """One recipient of three is put off: the others arrive now, it arrives later, nobody gets it twice."""
    qid = kit.queue_id(kit.send(sender="s@home.example", rcpts=["a@grey.example", "new@grey.example", "c@grey.example"]))
    s.wait_log(r"%s: to=<new@grey\.example>, relay=grey\.example\[127\.0\.0\.17\]:25, .*dsn=4\.7\.1, status=deferred \(host grey\.example\[127\.0\.0\.17\] said: 450 4\.7\.1 greylisted \(in reply to RCPT TO command\)\)" % qid)
    s.wait_log(r"%s: to=<a@grey\.example>, .*status=sent" % qid)
    s.wait_log(r"%s: to=<c@grey\.example>, .*status=sent" % qid)
    sink.script.clear()
    s.cli("queue", "flush", qid)
    s.wait_log(r"%s: to=<new@grey\.example>, .*status=sent" % qid)
    s.wait_log(r"%s: removed" % qid)
    got = sorted(re.sub(r".*<(\w+)@.*", r"\1", r) for m in sink.messages for r in m["rcpts"])
    kit.check(got == ["a", "c", "new"], got)


def reuse(s, sink):
    """A backlog for one destination goes over connections that are used again."""
    s.set(PARAMS + "defer_transports = smtp\n")
    s.reload()
    ids = [kit.queue_id(kit.send(sender="s@home.example", rcpts="u%d@many.example" % i)) for i in range(30)]
    s.wait_log(r"%s: to=<\S+>, relay=none, .*dsn=4\.3\.2, status=deferred \(deferred transport\)" % ids[-1])
    s.set(PARAMS)
    s.reload()
    since = s.mark()
    s.cli("queue", "flush", "--site", "many.example")
    for qid in ids:
        s.wait_log(r"%s: removed" % qid, since)
    s.wait_log(r": to=<u\d+@many\.example>, relay=many\.example\[127\.0\.0\.18\]:25, conn_use=\d+, delay=", since)
    kit.check(len(sink.messages) == 30 and sink.connections < 30, "%d messages over %d connections" % (len(sink.messages), sink.connections))


def fallback(env, s, good):
    s.set(PARAMS + "smtp_fallback_relay = [127.0.0.2]\n")
    s.reload()
    one(s, "dead.example", r"relay=127\.0\.0\.2\[127\.0\.0\.2\]:25, " + D + r"dsn=2\.0\.0, status=sent .*", user="fb")
    one(s, "gone.invalid", r"relay=127\.0\.0\.2\[127\.0\.0\.2\]:25, " + D + r"dsn=2\.0\.0, status=sent .*", user="fb")
    one(s, "self.example", r"relay=none, " + D + r"dsn=5\.4\.6, status=bounced \(mail for self\.example loops back to myself\)", user="fb")


def silence_of_dns(s, nsd):
    s.set(PARAMS)
    s.reload()
    nsd.stop()
    one(s, "unasked.example", r"relay=none, " + D + r"dsn=4\.4\.3, status=deferred \(Host or domain name not found\. Name service error for name=unasked\.example type=MX: Host not found, try again\)")


def grey(conn, line):
    return "450 4.7.1 greylisted" if "new@" in line or "one.example" in line else None


def wait_long(conn, *rest):
    conn.settimeout(kit.DEADLINE)
    while conn.recv(4096):
        pass
    return False


def run(env):
    nsd = env.dns(ZONE + ["home.example. A 127.0.0.30"])
    home, good, many = env.sink("127.0.0.30"), env.sink("127.0.0.2"), env.sink("127.0.0.18")
    env.sink("127.0.0.12", script={"RCPT": grey})
    env.sink("127.0.0.13", script={".": lambda conn, data: False})
    env.sink("127.0.0.23", script={"DATA": lambda conn, line: False})
    silent(env, "127.0.0.14")
    env.sink("127.0.0.15", script={"EHLO": wait_long})
    env.sink("127.0.0.16", script={".": wait_long})
    greylist = env.sink("127.0.0.17", script={"RCPT": grey})
    env.sink("127.0.0.19", greeting="421 4.3.2 too busy")
    env.sink("127.0.0.20", greeting="554 5.7.1 no")
    env.sink("127.0.0.21", script={"EHLO": "502 5.5.1 what"})
    v6 = env.sink("::1", 2525)
    s = env.signet("mta", PARAMS)
    answers_of_dns(s, good)
    six(s, v6)
    misbehaviour(s)
    greylisting(s, greylist)
    reuse(s, many)
    fallback(env, s, good)
    silence_of_dns(s, nsd)
    kit.check(not s.has_log(r"(panic|fatal): "), s.log())
    s.stop()
