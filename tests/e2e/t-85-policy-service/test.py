"""check_policy_service: what is told, what each action does, connections that are kept, services that hang, lie, die or are not there."""
import re
import smtplib
import threading
import time

import kit
from policy_kit import PolicyService

ORDER = """request protocol_state protocol_name client_address client_name client_port reverse_client_name server_address server_port
helo_name sender recipient recipient_count queue_id instance size etrn_domain stress sasl_method sasl_username sasl_sender ccert_subject
ccert_issuer ccert_fingerprint ccert_pubkey_fingerprint encryption_protocol encryption_cipher encryption_keysize tls_sni policy_context
compatibility_level mail_version""".split()
PARAMS = """\
relay_domains = dest.example, etrn.example
relay_recipient_maps =
transport_maps = inline:{ { dest.example = smtp:[127.0.0.2] } }
smtpd_tls_security_level = may
smtpd_tls_chain_files = KEY, CERT
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 100
smtpd_junk_command_limit = 1000
fast_flush_domains = etrn.example
smtpd_policy_service_retry_delay = 1s
smtpd_policy_service_timeout = 3s
smtpd_policy_service_policy_context = everywhere
smtpd_recipient_restrictions = check_policy_service unix:private/main
smtpd_restriction_classes = mine
mine = check_sender_access inline:{ { class@dom.example = REJECT by the class } }
local_recipient_maps =
POLICY = check_policy_service { inet:127.0.0.1:10031, policy_context=own }
"""
MASTER = """\
127.0.0.1:25 inet n - n - 1 smtpd
127.0.0.1:2501 inet n - n - 1 smtpd -o smtpd_delay_reject=no -o smtpd_client_restrictions=$POLICY -o smtpd_helo_restrictions=$POLICY
 -o smtpd_sender_restrictions=$POLICY -o smtpd_data_restrictions=$POLICY -o smtpd_end_of_data_restrictions=$POLICY
 -o smtpd_etrn_restrictions=$POLICY
127.0.0.1:2502 inet n - n - 1 smtpd -o { smtpd_recipient_restrictions = check_policy_service { inet:127.0.0.1:10032, timeout=2s, try_limit=1 } }
127.0.0.1:2503 inet n - n - 1 smtpd -o { smtpd_recipient_restrictions = check_policy_service
 { inet:127.0.0.1:10099, try_limit=1, { default_action = 450 4.7.1 come back later } } }
127.0.0.1:2504 inet n - n - 1 smtpd -o { smtpd_recipient_restrictions = check_policy_service
 { inet:127.0.0.1:10099, try_limit=1, { default_action = check_policy_service { inet:127.0.0.1:10098, try_limit=1, default_action=DUNNO } } } }
127.0.0.1:2505 inet n - n - 1 smtpd -o { smtpd_recipient_restrictions = check_policy_service { inet:127.0.0.1:10033, request_limit=2 } }
127.0.0.1:2506 inet n - n - 1 smtpd -o { smtpd_recipient_restrictions = check_policy_service { inet:127.0.0.1:10033, max_idle=1s } }
127.0.0.1:2507 inet n - n - 1 smtpd -o { smtpd_recipient_restrictions = check_policy_service { inet:127.0.0.1:10033, max_ttl=2s } }
127.0.0.1:2508 inet n - n - 1 smtpd -o { smtpd_recipient_restrictions = check_policy_service inet:policy.example:10033 }
127.0.0.1:2509 inet n - n - 1 smtpd -o { smtpd_recipient_restrictions = check_policy_service { inet:127.0.0.1:10033, try_limit=1 } }
127.0.0.1:2510 inet n - n - 1 smtpd -o smtpd_policy_service_default_action=DUNNO -o smtpd_policy_service_try_limit=1
 -o { smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:10099 }
127.0.0.1:2512 inet n - n - 1 smtpd -o smtpd_client_connection_count_limit=0 -o { smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:10033 }
127.0.0.1:2511 inet n - n - 1 smtpd -o smtpd_policy_service_request_limit=1 -o smtpd_policy_service_max_idle=5s -o smtpd_policy_service_max_ttl=5s
 -o { smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:10033 }
"""


def client(port=25):
    return smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=kit.DEADLINE)


def rcpt(port=25, sender="s@dom.example", to="r@dest.example"):
    """The reply to RCPT, as text."""
    with client(port) as c:
        c.ehlo()
        c.mail(sender)
        code, text = c.rcpt(to)
        return "%d %s" % (code, text.decode())


def attributes(s, main, states):
    """Every attribute at every moment."""
    with client(2501) as c:
        c.ehlo()
        c.starttls()
        c.ehlo("again.test")
        c.docmd("ETRN", "etrn.example")
        c.mail("Some.One@dom.example", ["SIZE=3000"])
        c.rcpt("r1@dest.example")
        c.rcpt("r2@dest.example")
        code, text = c.data("Subject: x\n\nhello\n")
        qid = kit.queue_id("%d %s" % (code, text.decode()))
        c.mail("")
        c.rcpt("r3@dest.example")
        c.data("Subject: y\n\nhello\n")
    kit.check(all([n for n, _ in r] == ORDER for r in main.requests + states.requests), "every attribute, in order: %s" % states.requests[0])
    rs = states.asked()
    kit.check([r["protocol_state"] for r in rs] == ["CONNECT", "EHLO", "EHLO", "ETRN", "MAIL", "DATA", "END-OF-MESSAGE", "MAIL", "DATA", "END-OF-MESSAGE"],
              [r["protocol_state"] for r in rs])
    connect, ehlo, again, etrn, mail, data, eom, mail2, data2, eom2 = rs
    for r in rs + main.asked():
        kit.check(r["request"] == "smtpd_access_policy" and r["client_address"] == "127.0.0.1" and r["server_address"] == "127.0.0.1" and
                  r["server_port"] == "2501" and int(r["client_port"]) > 1023 and r["stress"] == "" and r["sasl_username"] == "" and
                  r["ccert_fingerprint"] == r["ccert_pubkey_fingerprint"] == r["ccert_subject"] == r["ccert_issuer"] == "", r)
        kit.check(r["compatibility_level"] == "3.10" and re.match(r"\d", r["mail_version"]), r)
        kit.check(re.fullmatch(r"[0-9a-f]+\.[0-9a-f]+\.[0-9a-f]+\.[0-9a-f]+", r["instance"]), r)
    kit.check(connect["helo_name"] == "" and connect["protocol_name"] == "SMTP" and connect["client_name"] == connect["reverse_client_name"] != "", connect)
    kit.check(ehlo["helo_name"] == "client.test" and ehlo["protocol_name"] == "ESMTP", ehlo)
    for r in (connect, ehlo):
        kit.check(r["encryption_protocol"] == r["encryption_cipher"] == r["encryption_keysize"] == "", "empty without TLS: %s" % r)
    kit.check(again["helo_name"] == "again.test" and again["encryption_protocol"] == "TLSv1.3" and again["encryption_cipher"].startswith("TLS_") and
              again["encryption_keysize"] in ("128", "256"), again)
    kit.check(etrn["etrn_domain"] == "etrn.example" and etrn["sender"] == "", etrn)
    kit.check(mail["sender"] == "Some.One@dom.example" and mail["size"] == "3000" and mail["recipient"] == "" and mail["recipient_count"] == "0" and
              mail["queue_id"] == "", mail)
    kit.check(data["recipient"] == "" and data["recipient_count"] == "2" and data["queue_id"] == qid, data)
    kit.check(eom["recipient"] == "" and eom["recipient_count"] == "2" and eom["queue_id"] == qid and 0 < int(eom["size"]) < 3000, eom)
    kit.check(mail2["sender"] == "" and mail2["size"] == "0" and data2["recipient"] == "r3@dest.example" and data2["recipient_count"] == "1", data2)
    kit.check(connect["policy_context"] == "own" and main.last()["policy_context"] == "everywhere", "contexts")
    r1, r2, r3 = main.asked()
    kit.check(r1["protocol_state"] == "RCPT" and r1["recipient"] == "r1@dest.example" and r1["queue_id"] == "" and r1["size"] == "3000" and
              r1["recipient_count"] == "0", r1)
    kit.check(r2["recipient"] == "r2@dest.example" and r2["queue_id"] == qid, r2)
    same = {r["instance"] for r in (mail, r1, r2, data, eom)}
    other = {r["instance"] for r in (mail2, r3, data2, eom2)}
    kit.check(len(same) == len(other) == 1 and same != other, "one instance a message: %s %s" % (same, other))
    kit.check(len({r["instance"] for r in (connect, ehlo, again, etrn)} | same | other) == 6, "and one for each other question")
    kit.check(states.connections == 1 and main.connections == 1, "one connection serves all: %d, %d" % (states.connections, main.connections))
    main.clear()
    with client() as c:
        c.ehlo()
        c.docmd("VRFY", "v@dest.example")
        c.helo("old.test")
        c.docmd("VRFY", "w@dest.example")
    a, b = main.asked()
    kit.check((a["protocol_state"], a["recipient"], a["protocol_name"], b["protocol_name"], b["helo_name"]) ==
              ("VRFY", "v@dest.example", "ESMTP", "SMTP", "old.test"), (a, b))


ACTIONS = (
    ("OK", "250 2.1.5 Ok"),
    ("DUNNO", "250 2.1.5 Ok"),
    ("dunno", "250 2.1.5 Ok"),
    ("1", "250 2.1.5 Ok"),
    ("REJECT", "554 5.7.1 <r@dest.example>: Recipient address rejected: Access denied"),
    ("REJECT 5.7.9 no such luck", "554 5.7.9 <r@dest.example>: Recipient address rejected: no such luck"),
    ("DEFER later", "450 4.7.1 <r@dest.example>: Recipient address rejected: later"),
    ("DEFER_IF_PERMIT Greylisted, see http://x/", "450 4.7.1 <r@dest.example>: Recipient address rejected: Greylisted, see http://x/"),
    ("550 5.1.1 gone", "550 5.1.1 <r@dest.example>: Recipient address rejected: gone"),
    ("421 4.3.2 away with you", "421 4.3.2 <r@dest.example>: Recipient address rejected: away with you"),
    ("reject_unauth_destination", "250 2.1.5 Ok"),
    ("reject_plaintext_session", "450 4.7.1 Session encryption is required"),
    ("mine", "554 5.7.1 <class@dom.example>: Sender address rejected: by the class"),
    ("permit_mynetworks, reject", "250 2.1.5 Ok"),
    ("NONSENSE", "451 4.3.5 Server configuration error"),
    ("", "451 4.3.5 Server configuration error"),
)


def actions(s, main):
    for action, want in ACTIONS:
        main.answer = lambda attrs, action=action: action
        got = rcpt(sender="class@dom.example")
        kit.check(re.sub(r"<[^<>]*\[127\.0\.0\.1\]>", "<SESSION>", got) == want, "%s: %r, not %r" % (action, got, want))
    main.answer = lambda attrs: "DEFER_IF_REJECT doubt"
    got = rcpt(to="x@elsewhere.example")    # mynetworks may relay: not rejected
    kit.check(got.startswith("250"), got)
    # what is done to the message
    since = s.mark()
    main.answer = lambda attrs: {"a@dest.example": "PREPEND X-Policy: seen", "b@dest.example": "WARN look", "c@dest.example": "INFO so",
                                 "d@dest.example": "BCC bcc@dest.example", "e@dest.example": "HOLD kept"}[attrs["recipient"]]
    with client() as c:
        c.ehlo()
        c.mail("s@dom.example")
        for n in "abcde":
            kit.check(c.rcpt(n + "@dest.example")[0] == 250, n)
        code, text = c.data("Subject: held\n\nx\n")
    qid = kit.queue_id("%d %s" % (code, text.decode()))
    for word, text in (("prepend", "triggers PREPEND X-Policy: seen"), ("warn", "look"), ("info", "so"), ("bcc", "triggers BCC bcc@dest.example"), ("hold", "kept")):
        s.wait_log(r"%s: RCPT from \S+\[127\.0\.0\.1\]: <.@dest\.example>: Recipient address %s; from=<s@dom\.example>" % (word, re.escape(text)), since)
    raw = s.cli("queue", "cat", qid)
    kit.check("X-Policy: seen" in raw and "bcc@dest.example" in raw, raw)
    kit.check([m for m in s.queue_list() if m["queue_id"] == qid][0]["queue_name"] == "hold", s.queue_list())
    main.answer = lambda attrs: "REDIRECT caught@dest.example" if attrs["protocol_state"] == "RCPT" else "DUNNO"
    kit.send(rcpts=["r@dest.example"])
    s.wait_log(r"to=<caught@dest\.example>, orig_to=<r@dest\.example>.*status=sent")
    main.answer = lambda attrs: "FILTER smtp:[127.0.0.3]:2525"
    kit.send(rcpts=["r@dest.example"])
    s.wait_log(r"to=<r@dest\.example>, relay=127\.0\.0\.3\[127\.0\.0\.3\]:2525, .*status=sent")
    main.answer = lambda attrs: "DISCARD quietly"
    since = s.mark()
    kit.send(rcpts=["r@dest.example"])
    s.wait_log(r"removed \(discarded\)", since)
    main.answer = lambda attrs: "DUNNO"


def many_clients(s, main):
    """One client after the other: every worker keeps one connection for them."""
    for _ in range(10):
        rcpt()
    limit = 2 * len(s.pids("smtpd"))      # two entries of master.cf ask it
    kit.check(main.connections <= limit, "%d connections, not %d at most" % (main.connections, limit))


LIES = (
    b"action=OK\naction=OK\n\n", b"\n", b"action=OK\nextra=1\n\n", b"OK\n\n", b"result=OK\n\n", b"action=OK\n\naction=OK\n\n",
    b"action=\xff\xfe OK\n\n", b"action=OK" + b"x" * 20000, b"action=O\0K\n\n",
)


def lies(s, hang):
    """A service that does not keep to the protocol, or does not answer, never lets anybody in."""
    for lie in LIES:
        since = s.mark()
        hang.answer = lambda attrs, lie=lie: lie
        got = rcpt(2502)
        kit.check(got == "451 4.3.5 <r@dest.example>: Recipient address rejected: Server configuration problem", "%r: %s" % (lie[:40], got))
        s.wait_log(r"warning: problem talking to server inet:127\.0\.0\.1:10032: ", since)
    hang.answer = lambda attrs: False
    kit.check(rcpt(2502).startswith("451 4.3.5 "), "closed")
    # silence: its own time limit, and no other session waits
    hang.answer = lambda attrs: None
    since, begun, results = s.mark(), time.monotonic(), []

    def victim():
        results.append((rcpt(2502), time.monotonic() - begun))

    threads = [threading.Thread(target=victim) for _ in range(3)]
    for t in threads:
        t.start()
    kit.wait_until("the hanging service to be asked", lambda: len(hang.asked()) >= 3 and True)
    while any(t.is_alive() for t in threads):
        at = time.monotonic()
        kit.check(rcpt().startswith("250"), "others go on")
        kit.check(time.monotonic() - at < 1.5, "without delay")
        time.sleep(0.2)
    for got, took in results:
        kit.check(got.startswith("451 4.3.5 ") and 1.8 < took < 6, "%s after %.1f s" % (got, took))
    s.wait_log(r"warning: problem talking to server inet:127\.0\.0\.1:10032: it does not answer in time$", since)


def defaults(s):
    kit.check(rcpt(2503) == "450 4.7.1 <r@dest.example>: Recipient address rejected: come back later", "default_action")
    kit.check(rcpt(2504) == "451 4.3.5 <r@dest.example>: Recipient address rejected: Server configuration problem", "no recursion")
    kit.check(rcpt(2510).startswith("250"), "smtpd_policy_service_default_action = DUNNO")
    s.wait_log(r"warning: problem talking to server inet:127\.0\.0\.1:10099: Connection refused$")


def connections(s, third):
    """request_limit, max_idle, max_ttl, a service that was started anew, a second attempt. Each within one session: a worker has its
    own connections."""
    def use(c, times, pause=0.0):
        before = third.connections
        for _ in range(times):
            c.mail("s@dom.example")
            code, text = c.rcpt("r@dest.example")
            kit.check(code == 250, "%d %s" % (code, text))
            c.rset()
            time.sleep(pause)
        return third.connections - before

    def used(port, want, *how):
        with client(port) as c:
            c.ehlo()
            n = use(c, *how)
        kit.check(n == want, "port %d: %d connections, not %d" % (port, n, want))
    used(2505, 2, 4)            # request_limit=2
    used(2506, 2, 2, 1.6)       # max_idle=1s
    used(2507, 2, 4, 0.8)       # max_ttl=2s
    used(2508, 1, 3)            # by name, kept
    used(2511, 2, 2)            # smtpd_policy_service_request_limit = 1
    with client(2509) as c, client(2508) as d:
        c.ehlo()
        d.ehlo()
        use(c, 1)
        # a kept connection that died is nobody's attempt
        third.stop()
        third.start()
        kit.check(use(c, 2) == 1, "after a restart")
        # smtpd_policy_service_try_limit is 2: the second attempt meets a service that is back
        third.stop()
        threading.Timer(0.5, third.start).start()
        begun = time.monotonic()
        use(d, 1)
        kit.check(time.monotonic() - begun > 0.9, "the second attempt")


def crowd(s, third):
    """More sessions than connections to a slow service: they wait for each other, and each gets its answer."""
    before, results = third.connections, []
    third.answer = lambda attrs: time.sleep(0.3) or "OK"
    threads = [threading.Thread(target=lambda i=i: results.append(rcpt(2512, to="r%d@dest.example" % i))) for i in range(120)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(kit.DEADLINE)
    kit.check(len(results) == 120 and all(r.startswith("250") for r in results), [r for r in results if not r.startswith("250")][:3])
    limit = 40 * len(s.pids("smtpd"))
    kit.check(third.connections - before <= limit, "%d connections, at most %d" % (third.connections - before, limit))
    third.answer = lambda attrs: "OK"


def run(env):
    env.dns(["policy.example. A 127.0.0.1", "dom.example. A 127.0.0.2"])
    cert, key = env.cert("mx.test")
    env.sink("127.0.0.2")
    env.sink("127.0.0.3", 2525)
    s = env.signet("mx", PARAMS.replace("KEY", key).replace("CERT", cert), MASTER + "smtp unix - - n - - smtp\n", start=False)
    states = PolicyService(env, 10031, lambda attrs: "DUNNO")
    hang = PolicyService(env, 10032, lambda attrs: "DUNNO")
    third = PolicyService(env, 10033, lambda attrs: "OK")
    s.start()
    main = PolicyService(env, s.queue + "/private/main", lambda attrs: "DUNNO")
    attributes(s, main, states)
    actions(s, main)
    many_clients(s, main)
    lies(s, hang)
    defaults(s)
    connections(s, third)
    crowd(s, third)
