"""Transcripts for the postmaster (notify_classes), beside Postfix 3.10: the same situations, the same classes."""
import re

import beside_kit
import kit
import raw_kit

MAIN = """\
myorigin = mta.test
mydestination = local.test
local_recipient_maps = inline:{ { ok = x } { ok2 = x } }
transport_maps = inline:{ { policy@pm.test = smtp:[127.0.0.40]:25 } { protocol@pm.test = smtp:[127.0.0.40]:25 } { data@pm.test = smtp:[127.0.0.40]:25 } { resource@pm.test = smtp:[127.0.0.40]:25 } { software@pm.test = smtp:[127.0.0.40]:25 } { bounce@pm.test = smtp:[127.0.0.40]:25 } }
smtpd_recipient_restrictions = check_recipient_access inline:{ { broken@local.test = NONSENSE } { later@local.test = 450 4.7.1 later } { warned@local.test = WARN seen } }, check_recipient_access inline:{ { table@local.test = table } }
smtpd_restriction_classes = table
table = check_recipient_access fail:no
smtpd_sender_restrictions = warn_if_reject reject_non_fqdn_sender, warn_if_reject check_sender_access inline:{ { odd@x.test = NONSENSE } }
smtpd_hard_error_limit = 6
smtpd_recipient_limit = 2
smtpd_recipient_overshoot_limit = 2
message_size_limit = 20000
hopcount_limit = 3
smtpd_forbid_bare_newline = reject
append_dot_mydomain = no
header_checks = regexp:CHECKS
"""
CHECKS = (r"/^Subject: reject/ REJECT", r"/^Subject: later/ 4.3.2 later", r"/^Subject: discard/ DISCARD gone")
CLASSES = ("policy", "protocol", "data", "resource", "software", "bounce")
EXTRA = {"": "", "nodelay": "smtpd_delay_reject=no smtpd_client_restrictions=reject", "rate": "smtpd_client_message_rate_limit=1",
         "lists": "local_recipient_maps=fail:gone", "tls": "smtpd_tls_security_level=encrypt smtpd_tls_chain_files=CHAIN", "must": "smtpd_helo_required=yes", "full": "queue_minfree=999999999999999"}
PORT = {(c, e): 2500 + 10 * i + j for i, c in enumerate(CLASSES) for j, e in enumerate(EXTRA)}
HI, A, OK, DATA = "EHLO %s", "MAIL FROM:<a@x.test>", "RCPT TO:<ok@local.test>", "DATA"
TX = [HI, A, OK]


def text(subject="x", body="hello"):
    return ("Subject: %s\r\nMessage-ID: <m@x.test>\r\n\r\n%s\r\n.\r\n" % (subject, body)).encode()


TALKS = {
    "good": ("", [*TX, DATA, text()]),
    "unknown": ("", [HI, "FOO bar"]),
    "get": ("", [HI, "GET / HTTP/1.0"]),
    "syntax": ("", [HI, "MAIL a@x.test"]),
    "address": ("", [HI, "MAIL FROM:<a@x..test"]),
    "parameter": ("", [HI, "MAIL FROM:<a@x.test> FOO=1"]),
    "size": ("", [HI, "MAIL FROM:<a@x.test> SIZE=30000"]),
    "nested": ("", [HI, A, A]),
    "early-rcpt": ("", [HI, OK]),
    "early-data": ("", [HI, DATA]),
    "no-rcpt": ("", [HI, A, DATA]),
    "relay": ("", [HI, A, "RCPT TO:<a@far.test>"]),
    "relay-then-good": ("", [HI, A, "RCPT TO:<a@far.test>", OK, DATA, text()]),
    "relay-then-rset": ("", [HI, A, "RCPT TO:<a@far.test>", "RSET"]),
    "good-then-relay": ("", [*TX, DATA, text(), A, "RCPT TO:<a@far.test>"]),
    "nobody": ("", [HI, A, "RCPT TO:<no@local.test>"]),
    "access-later": ("", [HI, A, "RCPT TO:<later@local.test>"]),
    "access-warn": ("", [HI, A, "RCPT TO:<warned@local.test>"]),
    "access-broken": ("", [HI, A, "RCPT TO:<broken@local.test>"]),
    "table": ("", [HI, A, "RCPT TO:<table@local.test>"]),
    "warn-if": ("", [HI, "MAIL FROM:<a>", OK]),
    "warn-if-broken": ("", [HI, "MAIL FROM:<odd@x.test>", OK]),
    "too-many-rcpts": ("", [*TX, "RCPT TO:<ok2@local.test>", "RCPT TO:<ok@local.test>", "RCPT TO:<ok2@local.test>"]),
    "errors": ("", [HI, *["VRFY"] * 7]),
    "junk": ("", [HI, "NOOP", "RSET"]),
    "too-big": ("", [*TX, DATA, text(body="x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 400)]),
    "hops": ("", [*TX, DATA, b"Received: a\r\n" * 5 + text()]),
    "content": ("", [*TX, DATA, text("reject")]),
    "content-later": ("", [*TX, DATA, text("later")]),
    "discard": ("", [*TX, DATA, text("discard")]),
    "bare-text": ("", [*TX, DATA, b"Subject: x\n\r\nhi\r\n.\r\n"]),
    "bare-command": ("", [HI, b"NOOP\n"]),
    "pipelining": ("", [HI, (b"NOOP\r\nNOOP\r\n", 1)]),
    "utf8": ("", [HI, b"FOO \xff\r\n"]),
    "long": ("", [HI, "NOOP " + "x" * 3000]),
    "lost": ("", [*TX, None]),
    "lost-after-no": ("", [HI, A, "RCPT TO:<a@far.test>", None]),
    "vrfy": ("", [HI, "VRFY a@far.test"]),
    "etrn": ("", [HI, "ETRN far.test"]),
    "bdat-null": ("", [*TX, "BDAT 0"]),
    "bdat-syntax": ("", [*TX, "BDAT x"]),
    "auth-off": ("", [HI, "AUTH PLAIN AGEAYg==", "SECRETWORDS"]),
    "starttls": ("", [HI, "STARTTLS"]),
    "xclient": ("", [HI, "XCLIENT ADDR=127.0.0.7"]),
    "connect": ("nodelay", [HI, A, OK]),
    "rate": ("rate", [*TX, DATA, text(), A]),
    "table-fails": ("lists", [*TX]),
    "tls-needed": ("tls", [HI, A]),
    "must-helo": ("must", ["MAIL FROM:<a@%s>"]),
    "full": ("full", [HI, A]),
}


def talk(host, port, name, steps):
    with raw_kit.Raw(port, host, beside_kit.CLIENT) as c:
        c.reply()
        for step in steps:
            if step is None:
                return
            what, n = step if isinstance(step, tuple) else (step, 1)
            c.tell(what.replace("%s", name + ".test") if isinstance(what, str) else what)
            for _ in range(n):
                c.reply()
        c.say("QUIT")


def services(host, chain):
    return "".join("%s:%d inet n - n - - smtpd -o notify_classes=%s -o error_notice_recipient=%s@pm.test -o bounce_notice_recipient=bounce@pm.test -o smtpd_client_port_logging=no%s\n" % (
        host, PORT[c, e], c, c, "".join(" -o " + o.replace("CHAIN", chain) for o in EXTRA[e].split())) for c, e in PORT)


# what is told otherwise, and why
DIFFERENT = {
    "table": ("data", "a table that fails is a data file that is not there, wherever it is looked up"),
    "warn-if": (None, "a warning refuses nobody"),
    "content-later": ("policy", "an action that nobody knows refuses the message"),
    "long": ("protocol", "half a command is none (RFC 5321 section 4.5.3.1.9)"),
}


def talk_to(host):
    for c, e in PORT:
        for name, (extra, steps) in TALKS.items():
            if e == extra:
                talk(host, PORT[c, e], "%s-%s" % (name, c), steps)


def told(sink):
    """situation: the class that had a notice of it"""
    got = {}
    for m in list(sink.messages):
        text = m["data"].decode()
        name, service = re.search(r"In:  \S+ (?:FROM:<a@)?(\S+?)-(\w+)\.test", text).groups()
        kit.check(name not in got, "two notices of '%s'" % name)
        kit.check(re.search(r"<(\w+)@pm", m["rcpts"][0]).group(1) == service, "a notice of another class:\n%s" % text)
        got[name] = service
    return got


def marker(sink):
    """One more notice, behind all the others."""
    talk(beside_kit.SIGNET, PORT["protocol", ""], "marker-protocol", [HI, "FOO"])
    kit.wait_until("the marker", lambda: "marker" in told(sink))


def wrong(theirs, ours):
    a, b = told(theirs), told(ours)
    want = {n: DIFFERENT[n][0] if n in DIFFERENT else a.get(n) for n in TALKS}
    return [(n, want[n], b.get(n)) for n in TALKS if b.get(n) != want[n]]


def same_situations(env, theirs, ours, s):
    talk_to(beside_kit.POSTFIX)
    talk_to(beside_kit.SIGNET)
    try:
        kit.wait_until("the notices", lambda: not wrong(theirs, ours), 60)
    except kit.Failed:
        raise kit.Failed("situation, who should have told it, who did: %s" % wrong(theirs, ours)) from None
    marker(ours)                # what should not come has had its time, too
    a, b = told(theirs), told(ours)
    kit.check(len(a) > 25 and not wrong(theirs, ours), wrong(theirs, ours))
    for name in DIFFERENT:
        kit.check(a.get(name) != b.get(name), "%s is not different any more" % name)
    kit.check(not re.search(r"panic|ended by signal", s.log()), s.log())


def no_secrets(sink):
    text = next(m["data"].decode() for m in sink.messages if "auth-off-protocol" in m["data"].decode())
    kit.check("In:  AUTH (withheld)" in text and "AGEAYg" not in text and "withheld: no command" in text, text)
    for m in sink.messages:
        kit.check(b"Auto-Submitted: auto-generated" in m["data"] and m["sender"].startswith("MAIL FROM:<double-bounce@mta.test>"), m)
        kit.check(b"SECRETWORDS" not in m["data"], m)


def no_loops(s, sink):
    """Trouble with a notice, and one that cannot be delivered, are told to nobody."""
    since, n = s.mark(), len(sink.messages)
    talk(beside_kit.SIGNET, PORT["policy", ""], "loop-policy", [HI, "MAIL FROM:<double-bounce@other.test>", "RCPT TO:<a@far.test>"])
    talk(beside_kit.SIGNET, PORT["policy", ""], "lost-policy", [HI, A, "RCPT TO:<a@far.test>"])
    kit.wait_until("the second", lambda: len(sink.messages) > n)
    kit.check(b"lost-policy" in sink.messages[n]["data"] and len(sink.messages) == n + 1, sink.messages[n:])
    sink.script["RCPT"] = "550 5.1.1 no postmaster here"
    talk(beside_kit.SIGNET, PORT["policy", ""], "gone-policy", [HI, A, "RCPT TO:<a@far.test>"])
    s.wait_log(r"undeliverable postmaster notification discarded", since)
    sink.script.clear()


def client_side(env):
    """The SMTP client: a server that does not know our commands (protocol), never with mail to the postmaster."""
    odd = env.sink("127.0.0.42", script={"MAIL": "503 5.5.1 what do you want"})
    pm = env.sink("127.0.0.43")
    main = ("notify_classes = protocol\nerror_notice_recipient = pm@pm.test\n"
            "transport_maps = inline:{ { pm.test = smtp:[127.0.0.43]:25 } { odd.test = smtp:[127.0.0.42]:25 } }\n")
    hosts = {"pf2": "127.0.0.4", "mta2": "127.0.0.2"}
    env.postfix("pf2", main + "mynetworks = 127.0.0.0/8\n", smtp="127.0.0.4:25")
    s = env.signet("mta2", main, kit.MASTER_CF.format(smtp="127.0.0.2:25"))
    for name, host in hosts.items():
        kit.send(host, rcpts=["a@odd.test"], sender="me@pm.test")
        kit.wait_until("the notice and the bounce of %s" % name, lambda: len(pm.messages) == 2)
        notice = next(m for m in pm.messages if "pm@pm.test" in m["rcpts"][0])["data"].decode()
        kit.check(re.search(r"Subject: \S+ SMTP client: errors from 127\.0\.0\.42\[127\.0\.0\.42\]:25\r?\n", notice), notice)
        kit.check(re.search(r" Out: MAIL FROM:<me@pm\.test>(.|\n)* In:  503 5\.5\.1 what do you want", notice), notice)
        pm.messages.clear()
    since = s.mark()
    kit.send("127.0.0.2", rcpts=["a@odd.test"], sender="double-bounce@mta2.test")
    s.wait_log(r"undeliverable postmaster notification discarded", since)
    kit.send("127.0.0.2", rcpts=["last@pm.test"])
    kit.wait_until("the last mail", lambda: pm.messages)
    kit.check(["last@pm.test" in m["rcpts"][0] for m in pm.messages] == [True], pm.messages)


def by_default(env):
    """resource and software, to the postmaster of this host."""
    s = env.signet("mta3", "mydestination = mta3.test\nlocal_transport = discard:\n", kit.MASTER_CF.format(smtp="127.0.0.5:25").replace(
        "smtpd\n", "smtpd -o queue_minfree=999999999999999\n", 1))
    talk("127.0.0.5", 25, "none", [HI, A])
    s.wait_log(r"to=<postmaster@mta3\.test>, .*status=sent")
    talk("127.0.0.5", 25, "none", [HI, "FOO", "MAIL"])
    s.wait_log(r"disconnect from .* unknown=0/1 ")
    kit.check(len(re.findall(r"to=<postmaster@", s.log())) == 1, s.log())


def run(env):
    theirs, ours = env.sink("127.0.0.40"), env.sink("127.0.0.41")
    checks = env.write("checks", "".join(x + "\n" for x in CHECKS))
    cert, key = env.cert("mta.test")
    with open(key) as k, open(cert) as c:
        chain = env.write("chain.pem", k.read() + c.read(), 0o600)
    main = beside_kit.MAIN + MAIN.replace("CHECKS", checks)
    env.postfix("pf", main, master_extra=services("127.0.0.3", chain), smtp="127.0.0.3:25")
    s = env.signet("mta", main.replace("127.0.0.40", "127.0.0.41"), kit.MASTER_CF.format(smtp="127.0.0.1:25") + services("127.0.0.1", chain))
    same_situations(env, theirs, ours, s)
    no_secrets(ours)
    no_loops(s, ours)
    client_side(env)
    by_default(env)
