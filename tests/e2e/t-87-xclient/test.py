"""XCLIENT and XFORWARD: for whom, what they change, what they do not, every refusal; swaks and Postfix as the other side."""
import re
import smtplib

import kit
from policy_kit import PolicyService

PARAMS = """\
relay_domains = dest.example
relay_recipient_maps =
transport_maps = inline:{ { dest.example = smtp:[127.0.0.2] } }
smtpd_tls_security_level = may
smtpd_tls_chain_files = KEY, CERT
mynetworks = 10.1.0.0/16
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
smtpd_client_restrictions = check_client_access inline:{ { 192.0.2.66 = REJECT not you } { bad.example = REJECT by name } }
smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:10031, reject_rbl_client bl.example, permit_mx_backup
smtpd_tls_policy_maps = inline:{ { 203.0.113 = encrypt } { 192.0.2.66 = may } }
smtpd_client_message_rate_limit = 1000
smtpd_authorized_xclient_hosts = 127.0.0.1/32
smtpd_authorized_xforward_hosts = 127.0.0.1/32
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 100
local_header_rewrite_clients =
remote_header_rewrite_domain =
append_dot_mydomain = yes
mydomain = own.example
"""
MASTER = """\
127.0.0.1:25 inet n - n - - smtpd
127.0.0.1:2525 inet n - n - - smtpd -o smtpd_delay_reject=no
smtp unix - - n - - smtp
"""


def client(source="127.0.0.1", port=25):
    c = smtplib.SMTP("127.0.0.1", port, local_hostname="proxy.test", timeout=kit.DEADLINE, source_address=(source, 0))
    c.ehlo()
    return c


def say(c, line):
    code, text = c.docmd(line)
    return "%d %s" % (code, text.decode())


def refusals(s):
    since = s.mark()
    with client("127.0.0.9") as c:
        kit.check("xclient" not in c.esmtp_features and "xforward" not in c.esmtp_features, "announced to a stranger")
        kit.check(say(c, "XCLIENT ADDR=10.1.2.3") == "550 5.7.0 Error: insufficient authorization", "XCLIENT")
        kit.check(say(c, "XFORWARD ADDR=10.1.2.3") == "550 5.7.0 Error: insufficient authorization", "XFORWARD")
        c.mail("s@dom.example")
        kit.check(c.rcpt("x@elsewhere.example")[0] == 554, "nothing changed")
    for verb in ("XCLIENT", "XFORWARD"):
        s.wait_log(r"warning: improper %s command from \S+\[127\.0\.0\.9\]: insufficient authorization: smtpd_authorized_%s_hosts does not list it$" % (verb, verb.lower()), since)
    with client() as c:
        kit.check(c.esmtp_features["xclient"] == "NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT", c.esmtp_features)
        kit.check(c.esmtp_features["xforward"] == "NAME ADDR PROTO HELO SOURCE PORT IDENT", c.esmtp_features)
        for line, want in (
                ("XCLIENT", "501 5.5.4 Syntax: XCLIENT attribute=value..."),
                ("XFORWARD", "501 5.5.4 Syntax: XFORWARD attribute=value..."),
                ("XCLIENT 10.1.2.3", "501 5.5.4 Error: attribute=value expected"),
                ("XCLIENT COLOUR=red", "501 5.5.4 Bad attribute name: COLOUR"),
                ("XFORWARD LOGIN=me", "501 5.5.4 Bad attribute name: LOGIN"),
                ("XCLIENT ADDR=10.1.2", "501 5.5.4 Bad ADDR syntax: 10.1.2"),
                ("XCLIENT ADDR=2001:db8::1", "501 5.5.4 Bad ADDR syntax: 2001:db8::1"),
                ("XCLIENT NAME=a_b..c", "501 5.5.4 Bad NAME syntax: a_b..c"),
                ("XCLIENT PORT=70000", "501 5.5.4 Bad PORT syntax: 70000"),
                ("XCLIENT PROTO=HTTP", "501 5.5.4 Bad PROTO syntax: HTTP"),
                ("XFORWARD SOURCE=HERE", "501 5.5.4 Bad SOURCE syntax: HERE"),
                ("XCLIENT HELO=a+0", "501 5.5.4 Bad attribute value: a+0"),
                ("XCLIENT HELO=" + "x" * 256, "501 5.5.4 Bad attribute value: " + "x" * 100)):
            kit.check(say(c, line) == want, "%s: %s" % (line[:60], say(c, line)))
            s.wait_log(r"smtpd\[\d+\]: warning: improper %s command from \S+\[127\.0\.0\.1\]: %s$" % (line.split()[0], re.escape(want[10:])), since)
        c.mail("s@dom.example")
        kit.check(say(c, "XCLIENT ADDR=10.1.2.3") == "503 5.5.1 Error: MAIL transaction in progress", "in a transaction")
        kit.check(say(c, "XFORWARD ADDR=10.1.2.3") == "503 5.5.1 Error: MAIL transaction in progress", "in a transaction")


def xclient(env, s, policy):
    since = s.mark()
    with client() as c:
        kit.check(say(c, "XCLIENT NAME=c.example REVERSE_NAME=r.example ADDR=10.1.2.3 PORT=4711 PROTO=ESMTP HELO=helo.example LOGIN=some+2Bone "
                         "DESTADDR=IPV6:2001:db8::25 DESTPORT=587").startswith("220 mx.test ESMTP"), "a greeting")
        kit.check(say(c, "MAIL FROM:<s@dom.example>") == "250 2.1.0 Ok", "HELO was told")
        kit.check(say(c, "RCPT TO:<x@elsewhere.example>") == "250 2.1.5 Ok", "mynetworks")
        told = policy.last()
        want = dict(client_name="c.example", reverse_client_name="r.example", client_address="10.1.2.3", client_port="4711", protocol_name="ESMTP",
                    helo_name="helo.example", sasl_username="some+one", sasl_method="XCLIENT", server_address="2001:db8::25", server_port="587")
        kit.check({k: told[k] for k in want} == want, told)
        c.rset()
        # said anew, what is not said: HELO, PROTO and LOGIN are forgotten, the rest stays
        kit.check(say(c, "XCLIENT PORT=4712").startswith("220 "), "again")
        say(c, "MAIL FROM:<s@dom.example>")
        say(c, "RCPT TO:<r@dest.example>")
        told = policy.last()
        kit.check((told["helo_name"], told["protocol_name"], told["sasl_username"], told["client_name"], told["client_port"]) ==
                  ("", "SMTP", "", "c.example", "4712"), told)
        c.rset()
        kit.check(say(c, "XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::9").startswith("220 "), "IPv6")
        c.ehlo()
        c.mail("s@dom.example")
        kit.check(c.rcpt("x@elsewhere.example")[0] == 554, "not of mynetworks")
        c.rset()
        # an address alone is looked up: no name of another client stays
        say(c, "XCLIENT ADDR=192.0.2.5")
        c.ehlo()
        c.mail("s@dom.example")
        c.rcpt("r@dest.example")
        told = policy.last()
        kit.check(told["client_name"] == told["reverse_client_name"] == "five.dom.example", told)
        c.rset()
        say(c, "XCLIENT NAME=[TEMPUNAVAIL] ADDR=192.0.2.66")
        c.ehlo()
        c.mail("s@dom.example")
        kit.check("not you" in "%d %s" % c.rcpt("r@dest.example"), "client restrictions")
    s.wait_log(r"disconnect from unknown\[192\.0\.2\.66\] ehlo=4 xclient=5 mail=5 rcpt=3/5 rset=4 quit=1 ", since)
    # the greeting itself may be refused
    with client(port=2525) as c:
        kit.check(re.match(r"554 5\.7\.1 <bad\.example\[10\.9\.9\.9\]>: Client host rejected: by name", say(c, "XCLIENT NAME=bad.example ADDR=10.9.9.9")), "refused")
        kit.check(say(c, "MAIL FROM:<s@dom.example>").startswith("503 5.7.0"), "access denied")
    # TLS stays
    with client() as c:
        c.starttls()
        c.ehlo()
        say(c, "XCLIENT NAME=t.example ADDR=10.1.2.3")
        c.ehlo()
        kit.check("starttls" not in c.esmtp_features, "TLS is on")
        c.mail("s@dom.example")
        c.rcpt("r@dest.example")
        kit.check(policy.last()["encryption_protocol"] == "TLSv1.3" and policy.last()["client_name"] == "t.example", policy.last())
    # smtpd_tls_policy_maps is asked anew: what it demands of the client behind the proxy
    with client() as c:
        kit.check(c.mail("s@dom.example")[0] == 250, "nothing is demanded of the proxy")
        c.rset()
        say(c, "XCLIENT NAME=[UNAVAILABLE] ADDR=203.0.113.9")
        c.ehlo()
        code, text = c.mail("s@dom.example")
        kit.check(code // 100 in (4, 5), "encrypt is demanded of 203.0.113.0/24: %d %s" % (code, text))
    # IPv4 in IPv6 is IPv4: what holds for an address is not escaped by another way to write it
    with client() as c:
        say(c, "XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:::ffff:203.0.113.9")
        c.ehlo()
        code, text = c.mail("s@dom.example")
        kit.check(code == 454 and b"[203.0.113.9]" in text, "IPv4 in IPv6: %d %s" % (code, text))
    # nobody knows who it is: no rule stumbles over it
    with client() as c:
        kit.check(say(c, "XCLIENT NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] HELO=[UNAVAILABLE] DESTADDR=[UNAVAILABLE]").startswith("220 "), "unknown")
        c.ehlo()
        c.mail("s@dom.example")
        kit.check(c.rcpt("r@dest.example")[0] == 250, "unknown")
        told = policy.last()
        kit.check((told["client_address"], told["client_name"], told["client_port"], told["server_address"]) == ("unknown",) * 4, told)
        kit.check(c.data("Subject: unknown\n\nx\n")[0] == 250, "unknown")
        c.mail("s@dom.example")
        kit.check(c.rcpt("x@elsewhere.example")[0] == 554, "and nobody's rights are his")
    # many times, in a session
    with client() as c:
        for i in range(1500):
            kit.check(say(c, "XCLIENT NAME=%s.example ADDR=10.1.%d.%d HELO=%s" % ("n" * 60, i // 250, i % 250, "h" * 200)).startswith("220 "), i)
    out = kit.sh("swaks", "--server", "127.0.0.1", "--from", "s@dom.example", "--to", "x@elsewhere.example", "--helo", "swaks.test", "--xclient-addr", "10.1.9.9",
                 "--xclient-name", "swaks.example", "--xclient-helo", "inner.test", "--quit-after", "RCPT")
    kit.check("250 2.1.5 Ok" in out, out)


def xforward(s, sink):
    since = s.mark()
    with client() as c:
        kit.check(say(c, "XFORWARD NAME=first.example ADDR=192.0.2.66 PORT=99 PROTO=ESMTP") == "250 2.0.0 Ok", "one")
        kit.check(say(c, "XFORWARD HELO=first.helo IDENT=ABC123 SOURCE=LOCAL") == "250 2.0.0 Ok", "two")
        c.mail("s@dom.example")
        code, text = c.rcpt("r@dest.example")
        kit.check(code == 250, "never for access: %s" % text)
        code, text = c.data("From: u@host\nSubject: local\n\nx\n")
        qid = kit.queue_id("%d %s" % (code, text.decode()))
        s.wait_log(r"%s: client=\S+\[127\.0\.0\.1\], orig_queue_id=ABC123, orig_client=first\.example\[192\.0\.2\.66\]$" % qid, since)
        # it held for one message
        c.mail("s@dom.example")
        c.rcpt("r@dest.example")
        code, text = c.data("From: u@host\nSubject: remote\n\nx\n")
        qid = kit.queue_id("%d %s" % (code, text.decode()))
        s.wait_log(r"%s: client=\S+\[127\.0\.0\.1\]$" % qid, since)
        say(c, "XFORWARD IDENT=GONE")
        c.rset()
        c.mail("s@dom.example")
        c.rcpt("r@dest.example")
        code, text = c.data("Subject: reset\n\nx\n")
        s.wait_log(r"%s: client=\S+\[127\.0\.0\.1\]$" % kit.queue_id("%d %s" % (code, text.decode())), since)
    kit.wait_until("three messages", lambda: len([m for m in sink.messages if b"Subject: unknown" not in m["data"]]) >= 3)
    by = {re.search(rb"Subject: (\w+)", m["data"]).group(1): m["data"] for m in sink.messages}
    kit.check(b"From: u@host.own.example\r\n" in by[b"local"], "SOURCE=LOCAL: headers are ours to complete: %r" % by[b"local"])
    kit.check(b"From: u@host\r\n" in by[b"remote"], "by the client's address: %r" % by[b"remote"])


def run(env):
    kit.need("swaks")
    env.dns(["dom.example. A 127.0.0.2", "5.2.0.192.in-addr.arpa. PTR five.dom.example.", "five.dom.example. A 192.0.2.5"])
    cert, key = env.cert("mx.test")
    sink = env.sink("127.0.0.2")
    policy = PolicyService(env, 10031, lambda attrs: "DUNNO")
    s = env.signet("mx", PARAMS.replace("KEY", key).replace("CERT", cert), MASTER)
    refusals(s)
    xclient(env, s, policy)
    xforward(s, sink)
