"""smtpd_upstream_proxy_protocol: versions 1 and 2 from haproxy and swaks, in clear and in wrapper mode; headers that are none."""
import os
import re
import smtplib
import socket
import ssl
import struct
import time

import kit
import raw_kit
from policy_kit import PolicyService

PARAMS = """\
relay_domains = dest.example
relay_recipient_maps =
transport_maps = inline:{ { dest.example = smtp:[127.0.0.2] } }
smtpd_tls_security_level = may
smtpd_tls_chain_files = KEY, CERT
mynetworks = 10.1.0.0/16
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions = check_client_access cidr:ETC/clients, check_policy_service inet:127.0.0.1:10031
smtpd_client_connection_count_limit = 2
smtpd_upstream_proxy_protocol = haproxy
smtpd_upstream_proxy_timeout = 2s
"""
MASTER = """\
127.0.0.1:25 inet n - n - - smtpd
127.0.0.1:465 inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
smtp unix - - n - - smtp
"""
CLIENTS = "192.0.2.66 REJECT not you\n2001:db8::66 REJECT not you, either\n"
HAPROXY = """\
defaults
    mode tcp
    timeout connect 5s
    timeout client 20s
    timeout server 20s
listen v1
    bind 127.0.0.4:25
    server s 127.0.0.1:25 send-proxy
listen v2
    bind 127.0.0.5:25
    server s 127.0.0.1:25 send-proxy-v2 proxy-v2-options unique-id check check-send-proxy inter 300
listen wrapped
    bind 127.0.0.6:465
    server s 127.0.0.1:465 send-proxy-v2-ssl-cn
"""
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(src, dst, sport, dport, command=0x21, tlv=b""):
    family = socket.AF_INET6 if ":" in src else socket.AF_INET
    body = socket.inet_pton(family, src) + socket.inet_pton(family, dst) + struct.pack("!HH", sport, dport) + tlv
    return SIGNATURE + bytes([command, 0x21 if ":" in src else 0x11]) + struct.pack("!H", len(body)) + body


class Raw(raw_kit.Raw):
    """A connection that begins with `header`, in pieces of `step` bytes."""
    def __init__(self, header, step=None, port=25):
        super().__init__(port)
        for i in range(0, len(header), step or len(header) or 1):
            self.tell(header[i:i + (step or len(header))])
            if step:
                time.sleep(0.002)


def rcpt(header, to="r@dest.example", step=None):
    with Raw(header, step) as r:
        kit.check(r.reply()[0].startswith("220 "), "greeting")
        r.say("EHLO client.test")
        r.say("MAIL FROM:<s@dom.example>")
        got = r.say("RCPT TO:<%s>" % to)[-1]
        r.say("QUIT")
        return got


GOOD = (
    (b"PROXY TCP4 10.1.2.3 192.0.2.25 4711 2525\r\n", ("10.1.2.3", "4711", "192.0.2.25", "2525")),
    (b"PROXY TCP6 2001:db8::1 2001:db8::25 4712 25\r\n", ("2001:db8::1", "4712", "2001:db8::25", "25")),
    (b"PROXY TCP6 ::ffff:10.1.2.4 ::ffff:192.0.2.25 4713 25\r\n", ("10.1.2.4", "4713", "192.0.2.25", "25")),
    (v2("10.1.2.5", "192.0.2.25", 4714, 26), ("10.1.2.5", "4714", "192.0.2.25", "26")),
    (v2("2001:db8::2", "2001:db8::25", 4715, 27, tlv=b"\x05\x00\x03abc" + b"\x04\x00\xc8" + b"\0" * 200), ("2001:db8::2", "4715", "2001:db8::25", "27")),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN 1 2 3 whatever\r\n", None),
    (SIGNATURE + b"\x20\x00\x00\x00", None),
    (v2("10.1.2.6", "192.0.2.25", 1, 2, command=0x20), None),
)


def good(s, policy):
    for header, want in GOOD:
        for step in (None, 1):
            since = s.mark()
            kit.check(rcpt(header, step=step) == "250 2.1.5 Ok", "%r" % header)
            told = policy.last()
            got = (told["client_address"], told["client_port"], told["server_address"], told["server_port"])
            if want is None:
                kit.check(got[0] == "127.0.0.1" and got[2:] == ("127.0.0.1", "25"), got)
            else:
                kit.check(got == want, "%s, not %s" % (got, want))
            s.wait_log(r"connect from \S+\[%s\]$" % re.escape(got[0]), since)
            s.wait_log(r"disconnect from \S+\[%s\] ehlo=1" % re.escape(got[0]), since)
    # access, relaying and limits go by the address that was conveyed
    kit.check("not you" in rcpt(v2("192.0.2.66", "192.0.2.25", 1, 25)), "cidr, IPv4")
    kit.check("not you, either" in rcpt(b"PROXY TCP6 2001:db8::66 2001:db8::25 1 25\r\n"), "cidr, IPv6")
    kit.check(rcpt(v2("10.1.2.3", "192.0.2.25", 1, 25), "x@elsewhere.example").startswith("250 "), "mynetworks")
    kit.check(rcpt(v2("192.0.2.1", "192.0.2.25", 1, 25), "x@elsewhere.example").startswith("554 5.7.1 "), "no relay")
    one = [Raw(v2("192.0.2.9", "192.0.2.25", i + 1, 25)) for i in range(3)]
    lines = sorted(r.reply()[0][:3] for r in one)
    kit.check(lines == ["220", "220", "421"], "smtpd_client_connection_count_limit by the conveyed address: %s" % lines)
    other = Raw(v2("192.0.2.10", "192.0.2.25", 1, 25))
    kit.check(other.reply()[0].startswith("220 "), "another client is another client")
    for r in one + [other]:
        r.close()


BAD = (
    (b"EHLO client.test\r\n", "no PROXY header"),
    (b"PROXY TCP4 10.1.2.3 192.0.2.25 4711\r\n", "a port that is none"),
    (b"PROXY TCP4 2001:db8::1 192.0.2.25 1 2\r\n", "an address that is none of its family"),
    (b"PROXY TCP4 10.1.2.3 192.0.2.25 66000 2\r\n", "a port that is none"),
    (b"PROXY UDP4 10.1.2.3 192.0.2.25 1 2\r\n", "a protocol other than"),
    (b"PROXY TCP4 " + b"1" * 200, "a line that does not end"),
    (SIGNATURE + b"\x31\x11\x00\x0c" + b"\0" * 12, "a version or command"),
    (SIGNATURE + b"\x21\x12\x00\x0c" + b"\0" * 12, "an address family other than"),
    (SIGNATURE + b"\x21\x11\x00\x08" + b"\0" * 8, "a header too short for its addresses"),
    (SIGNATURE + b"\x21\x11\xff\xff" + b"\0" * 8, "a header that is too long"),
    (b"\x16\x03\x01\x02\x00\x01", "no PROXY header"),
)


def bad(s):
    for header, why in BAD:
        since = s.mark()
        with Raw(header) as r:
            kit.check(r.reply() == [], "%r: nothing is said" % header[:40])
        s.wait_log(r"warning: haproxy header of 127\.0\.0\.1 for service 127\.0\.0\.1:25: %s.*; connection closed$" % re.escape(why), since)
        kit.check(not s.has_log(r" connect from \S+\[127\.0\.0\.1\]", since), "no session")
    since, at = s.mark(), time.monotonic()
    with Raw(b"PROXY TCP4 ") as r:
        kit.check(r.reply() == [] and 1.5 < time.monotonic() - at < 6, "smtpd_upstream_proxy_timeout")
    s.wait_log(r"haproxy header of 127\.0\.0\.1 for service 127\.0\.0\.1:25: it did not come in time; connection closed$", since)
    since = s.mark()
    Raw(b"PROXY TCP4 ").close()
    s.wait_log(r"the connection ended before it; connection closed$", since)
    # who talks before the greeting is still found out
    since = s.mark()
    with Raw(v2("192.0.2.1", "192.0.2.25", 1, 25) + b"EHLO early\r\n") as r:
        kit.check(r.reply()[0].startswith("554 5.5.0 "), "early talk")
    s.wait_log(r"improper command pipelining after CONNECT from \S+\[192\.0\.2\.1\]", since)


def real_haproxy(env, s, policy):
    conf = env.write("haproxy.cfg", HAPROXY)
    p = kit.Process(env, ["haproxy", "-f", conf, "-db"], "haproxy")
    def up(address, port):
        try:
            socket.create_connection((address, port), 1).close()
            return True
        except OSError:
            return p.alive() is None
    for address, port in (("127.0.0.4", 25), ("127.0.0.5", 25), ("127.0.0.6", 465)):
        kit.wait_until("haproxy on %s" % address, lambda: up(address, port))
    for address in ("127.0.0.4", "127.0.0.5"):
        with smtplib.SMTP(address, 25, local_hostname="c.test", timeout=kit.DEADLINE, source_address=("127.7.7.7", 0)) as c:
            c.ehlo()
            c.starttls()
            c.ehlo()
            c.mail("s@dom.example")
            kit.check(c.rcpt("r@dest.example")[0] == 250, address)
            told = policy.last()
            kit.check(told["client_address"] == "127.7.7.7" and told["server_address"] == address and told["encryption_protocol"] == "TLSv1.3", told)
            code, text = c.data("Subject: x\n\nhello\n")
            kit.check(code == 250, text)
    context = ssl.create_default_context(cafile=env.ca())
    context.check_hostname = False
    with smtplib.SMTP_SSL("127.0.0.6", 465, local_hostname="c.test", timeout=kit.DEADLINE, context=context, source_address=("127.7.7.8", 0)) as c:
        c.ehlo()
        c.mail("s@dom.example")
        kit.check(c.rcpt("r@dest.example")[0] == 250, "wrapper mode")
        told = policy.last()
        kit.check(told["client_address"] == "127.7.7.8" and told["server_port"] == "465" and told["encryption_protocol"] == "TLSv1.3", told)
    # its health checks are LOCAL: they are greeted as the proxy itself
    s.wait_log(r"connect from \S+\[127\.0\.0\.1\]$")


def swaks(s, policy):
    for version in ("1", "2"):
        out = kit.sh("swaks", "--server", "127.0.0.1", "--from", "s@dom.example", "--to", "r@dest.example", "--helo", "swaks.test", "--proxy-version", version,
                     "--proxy-family", "AF_INET" if version == "2" else "TCP4", "--proxy-source", "192.0.2.77", "--proxy-source-port", "777",
                     "--proxy-dest", "192.0.2.25", "--proxy-dest-port", "25", *(["--proxy-protocol", "STREAM"] if version == "2" else []))
        kit.check("queued as" in out, out)
        kit.check(policy.last()["client_address"] == "192.0.2.77" and policy.last()["client_port"] == "777", policy.last())


def run(env):
    kit.need("haproxy", "swaks")
    env.dns(["dom.example. A 127.0.0.2"])
    cert, key = env.cert("mx.test")
    env.sink("127.0.0.2")
    etc = env.path("mx", "etc")
    policy = PolicyService(env, 10031, lambda attrs: "DUNNO")
    s = env.signet("mx", PARAMS.replace("KEY", key).replace("CERT", cert).replace("ETC", etc), MASTER, {"clients": CLIENTS})
    good(s, policy)
    bad(s)
    real_haproxy(env, s, policy)
    swaks(s, policy)
