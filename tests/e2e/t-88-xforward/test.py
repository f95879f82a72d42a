"""XFORWARD through a content filter that is a Postfix: Signet tells it, it tells Signet, and Signet its next hop; servers that refuse or know a part."""
import re
import smtplib

import kit

FRONT = """\
relay_domains = dest.example
relay_recipient_maps =
content_filter = scan:[127.0.0.6]:2525
transport_maps = inline:{ { part.example = part:[127.0.0.7] } { refuse.example = scan:[127.0.0.8] } { plain.example = smtp:[127.0.0.7] } { lmtp.example = lmtp:inet:127.0.0.9:24 } }
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_authorized_xforward_hosts = 127.0.0.0/8
"""
MASTER = """\
127.0.0.1:25 inet n - n - - smtpd
127.0.0.1:10026 inet n - n - - smtpd -o content_filter=
127.0.0.1:10027 inet n - n - - smtpd -o content_filter=
smtp unix - - n - - smtp
relay unix - - n - - smtp
scan unix - - n - - smtp -o smtp_send_xforward_command=yes
part unix - - n - - smtp -o smtp_send_xforward_command=yes -o smtp_xforward_timeout=20s
lmtp unix - - n - - lmtp -o lmtp_send_xforward_command=yes -o lmtp_xforward_timeout=20s
"""
FILTER = """\
inet_protocols = all
relayhost = [127.0.0.1]:10026
smtpd_authorized_xforward_hosts = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
mynetworks = 127.0.0.0/8
smtp_send_xforward_command = yes
"""


def through_the_filter(front, filt, sink):
    since = front.mark()
    with smtplib.SMTP("127.0.0.1", 25, local_hostname="proxy.test", timeout=kit.DEADLINE) as c:
        c.ehlo()
        kit.check(c.docmd("XCLIENT", "NAME=first.example ADDR=IPV6:2001:db8::7 PORT=777 HELO=first.helo PROTO=ESMTP")[0] == 220, "XCLIENT")
        c.ehlo("first.helo")
        c.mail("s@dom.example")
        c.rcpt("r@dest.example")
        code, text = c.data("From: s@dom.example\nTo: r@dest.example\nSubject: x\n\nhello\n")
    qid = kit.queue_id("%d %s" % (code, text.decode()))
    # Postfix was told who sent it first
    inner = filt.wait_log(r"(\w+): client=\S+, orig_queue_id=%s, orig_client=first\.example\[2001:db8::7\]$" % qid)
    kit.check(inner.group(1) != qid, "an id of its own")
    # and tells us: what we log there is the first client, and our own first id
    m = front.wait_log(r"(\w+): client=\S+\[127\.0\.0\.1\], orig_queue_id=%s, orig_client=first\.example\[2001:db8::7\]$" % qid, since)
    front.wait_log(r"%s: to=<r@dest\.example>, .*status=sent" % m.group(1), since)


def other_servers(front, part, refuse, lmtp):
    """Only the attributes that were announced; a refusal is one warning and no reason not to deliver."""
    def send(domain):
        with smtplib.SMTP("127.0.0.1", 10027, local_hostname="in.test", timeout=kit.DEADLINE) as c:
            c.ehlo()
            c.docmd("XFORWARD", "NAME=first.example ADDR=192.0.2.1 HELO=a+2Bb+3Dc IDENT=FIRST SOURCE=REMOTE")
            c.mail("s@dom.example")
            c.rcpt("r@" + domain)
            code, text = c.data("Subject: x\n\nhello\n")
            qid = kit.queue_id("%d %s" % (code, text.decode()))
        front.wait_log(r"%s: to=<r@%s>, .*status=sent" % (qid, re.escape(domain)))
        return qid
    send("part.example")
    kit.check([x for x in part.commands if x.startswith("XFORWARD")] == ["XFORWARD NAME=first.example ADDR=192.0.2.1", "XFORWARD HELO=a+2Bb+3Dc"], part.commands)
    part.commands.clear()
    send("plain.example")
    kit.check(not [x for x in part.commands if x.startswith("XFORWARD")], "not without the parameter: %s" % part.commands)
    qid = send("refuse.example")
    front.wait_log(r"%s: warning: host 127\.0\.0\.8\[127\.0\.0\.8\] said: 550 5\.7\.0 go away \(in reply to XFORWARD command\)$|"
                   r"warning: %s: host 127\.0\.0\.8\[127\.0\.0\.8\] said: 550 5\.7\.0 go away \(in reply to XFORWARD command\)$" % (qid, qid))
    send("lmtp.example")
    kit.check([x for x in lmtp.commands if x.startswith("XFORWARD")] == ["XFORWARD PORT=[UNAVAILABLE]", "XFORWARD IDENT=FIRST SOURCE=REMOTE"], lmtp.commands)


def listening(env, address, attrs, port=25, script=None, **kw):
    return env.sink(address, port, keywords=("PIPELINING", "XFORWARD " + attrs), script=script, **kw)


def run(env):
    env.dns(["dom.example. A 127.0.0.2", "dest.example. MX 10 mx.dest.example.", "mx.dest.example. A 127.0.0.2"])
    sink = env.sink("127.0.0.2")
    part = listening(env, "127.0.0.7", "NAME ADDR HELO")
    refuse = listening(env, "127.0.0.8", "NAME ADDR PROTO HELO SOURCE PORT IDENT", script={"XFORWARD": "550 5.7.0 go away"})
    lmtp = listening(env, "127.0.0.9", "PORT SOURCE IDENT", 24, lmtp=True)
    filt = env.postfix("filter", FILTER, smtp="127.0.0.6:2525")
    front = env.signet("mx", FRONT, MASTER)
    through_the_filter(front, filt, sink)
    other_servers(front, part, refuse, lmtp)
