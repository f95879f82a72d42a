"""DNSSEC in the resolver: a good path, one that hands out no signatures, one that is silent, and none at all, each told in the log
and by `signet status`; a forwarder's AD bit counts for nothing; an internal zone by dns_stub_zones is not bogus."""
import os
import re
import socket
import struct
import threading

import kit
import zones

MAIN = """\
smtp_tls_security_level = dane
smtp_tls_loglevel = 1
smtp_tls_policy_maps = inline:{ { only.lie = dane-only } }
minimal_backoff_time = 600s
queue_run_delay = 600s
"""


class Liar:
    """A forwarder that answers A, MX and TLSA questions with the AD bit set and no signatures."""
    def __init__(self, env, address, tlsa):
        self.tlsa = bytes.fromhex(tlsa)
        self.s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.s.bind((address, 53))
        env.at_end(self.s.close)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                q, peer = self.s.recvfrom(4096)
            except OSError:
                return
            end = q.index(b"\0", 12) + 5
            kind = struct.unpack(">H", q[end - 4:end - 2])[0]
            data = {1: bytes([127, 0, 1, 99]), 15: b"\0\x0a\xc0\x0c", 52: b"\3\1\1" + self.tlsa}.get(kind)
            answer = b"" if data is None else b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
            self.s.sendto(q[:2] + b"\x85\xa0" + q[4:6] + struct.pack(">HHH", 1 if answer else 0, 0, 0) + q[12:end] + answer, peer)


def resolver(s):
    return [r for r in s.status()["roles"] if r["role"] == "resolver"][0]


def run(env):
    cert, key = env.cert("any.invalid", ca=None)
    tree = zones.Tree(env)
    tree.zone("inner.example.", ["inner.example. A 127.0.1.10"], "insecure").zone("example.", ["mx.example. A 127.0.1.10", "example. MX 10 mx.example."]).start()
    sink = env.sink("127.0.1.10")
    liar = env.sink("127.0.1.99")
    good = env.dns_params

    # a path that works
    s = env.signet("good", MAIN)
    kit.wait_until("signatures", lambda: resolver(s)["signatures"] == "yes")
    r = resolver(s)
    kit.check(r["dnssec"] is True and r["mode"] == "dns_servers", r)
    kit.check("DNSSEC:" not in s.cli("status"), s.cli("status"))
    text = s.cli("tls", "explain", "example")
    kit.check("MX 1 record, secure" in text and "warning" not in text, text)
    s.wait_log(r"DNS by dns_servers: 127\.0\.0\.53, DNSSEC validated here")
    s.wait_log(r"%s: to=<u@example>, .*tls=\S*, dsn=2.*status=sent|%s: to=<u@example>.*status=sent" % ((kit.queue_id(kit.send(rcpts="u@example")),) * 2))
    kit.check(len(sink.messages) == 1, "sent")
    kit.check(resolver(s)["secure"] > 0, "answers were secure")
    s.stop()

    # servers that lie: AD is set, nothing is signed, the anchor says that the root is signed
    Liar(env, "127.0.0.54", "00" * 32)
    env.dns_params = good.replace("127.0.0.53", "127.0.0.54")
    s = env.signet("lied", MAIN)
    s.wait_log(r"error: .*dns_servers \(127\.0\.0\.54\) hand out no DNSSEC signatures: .*refused as bogus")
    kit.check(resolver(s)["signatures"] == "no", resolver(s))
    kit.check("hand out no signatures" in s.cli("status"), s.cli("status"))
    text = s.cli("tls", "explain", "some.lie")
    kit.check(re.search(r"^warning +DNSSEC: the servers of dns_servers hand out no signatures", text, re.M) and "MX bogus" in text, text)
    s.wait_log(r"%s: to=<u@some\.lie>, .*dsn=4\.4\.3, status=deferred" % kit.queue_id(kit.send(rcpts="u@some.lie")))
    s.stop()

    # the same servers and no anchor above: nothing is secure, whatever their AD bit says
    other = tree._key("elsewhere.")
    env.dns_params = "dns_servers = 127.0.0.54\ndnssec_trust_anchor_files = %s/%s.ds\nsmtp_dns_support_level = dnssec\n" % (tree.dir, other)
    s = env.signet("adbit", MAIN)
    s.wait_log(r"%s: to=<u@some\.lie>.*status=sent" % kit.queue_id(kit.send(rcpts="u@some.lie")))
    kit.check(liar.messages, "opportunistic: in clear, as there are no records that count")
    s.wait_log(r"%s: to=<u@only\.lie>, .*dsn=4\.7\.5, status=deferred \(non DNSSEC destination\)" % kit.queue_id(kit.send(rcpts="u@only.lie")))
    kit.check(resolver(s)["secure"] == 0, "nothing was secure")
    s.stop()

    # silence
    env.dns_params = good.replace("127.0.0.53", "127.0.0.55")
    s = env.signet("silent", MAIN)
    s.wait_log(r"warning: dns_servers \(127\.0\.0\.55\) do not answer")
    kit.check(resolver(s)["signatures"] == "no answer" and "do not answer" in s.cli("status"), resolver(s))
    text = s.cli("tls", "explain", "[127.0.0.9]")
    kit.check("do not answer" not in text, "DNS has no part in it: %s" % text)
    s.stop()

    # an internal zone by its own servers: unsigned below a signed parent, and not bogus
    env.dns_params = good + "dns_stub_zones = corp.example 127.0.0.56\n"
    corp = env.path("corp")
    os.makedirs(corp)
    env.write("corp/zone", "$TTL 60\ncorp.example. SOA ns.corp.example. admin. 1 3600 900 86400 5\ncorp.example. NS ns.corp.example.\n"
              "ns.corp.example. A 127.0.0.56\ncorp.example. MX 10 mail.corp.example.\nmail.corp.example. A 127.0.1.10\n")
    env.write("corp/nsd.conf", "server:\n ip-address: 127.0.0.56\n username: \"\"\n zonesdir: %s\n database: \"\"\n pidfile: \"\"\n xfrdfile: \"\"\n zonelistfile: \"\"\n"
              "remote-control:\n control-enable: no\nzone:\n name: corp.example\n zonefile: zone\n" % corp)
    kit.Process(env, ["nsd", "-d", "-c", os.path.join(corp, "nsd.conf")], "nsd-corp")
    kit.wait_until("the second nsd", lambda: env._udp_answers("127.0.0.56", 53))
    s = env.signet("stub", MAIN)
    s.wait_log(r"%s: to=<u@corp\.example>, relay=mail\.corp\.example\[127\.0\.1\.10\]:25, .*status=sent" % kit.queue_id(kit.send(rcpts="u@corp.example")))
