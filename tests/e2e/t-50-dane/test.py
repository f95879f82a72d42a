"""DANE over validated DNS: a signed tree of zones, Postfix with a certificate of its own at each address and openssl s_server as
receivers; usages 2 and 3, aliases, ports, implicit MX, half-dane, rollover, digest agility, what has no records."""
import re

import kit
import tls_kit
import zones

MAIN = """\
smtp_tls_security_level = dane
smtp_tls_loglevel = 2
smtp_tls_policy_maps = inline:{ { only.example = dane-only } { [mx.wrap.example]:4465 = dane-only } }
transport_maps = inline:{ { port.example = smtp:[mx.port.example]:2525 } { wrap.example = wrapped:[mx.wrap.example]:4465 } }
minimal_backoff_time = 600s
queue_run_delay = 600s
"""


def run(env):
    tree = zones.Tree(env)
    lines, plain, masters = [], [], []
    n = [10]

    def server(cert, key, port=25):
        """A Postfix smtpd at an address of its own; that address."""
        n[0] += 1
        address = "127.0.1.%d" % n[0]
        masters.append("%s:%d inet n - n - - smtpd -o smtpd_tls_cert_file=%s -o smtpd_tls_key_file=%s" % (address, port, cert, key))
        return address

    def domain(name, cert, key, records, mx=None, into=lines):
        mx = mx or "mx." + name
        into.extend(["%s. MX 10 %s." % (name, mx), "%s. A %s" % (mx, server(cert, key))])
        lines.extend("_25._tcp.%s. TLSA %s" % (mx, r) for r in records)

    anchor = env.ca()
    want = {}

    # usage 3: neither names nor dates nor issuers count
    for name, (u, s, m) in {"ee.example": (3, 1, 1), "ee512.example": (3, 1, 2), "eecert.example": (3, 0, 1), "eefull.example": (3, 0, 0),
                            "only.example": (3, 1, 1)}.items():
        cert, key = env.cert("other.invalid", ca=None)
        domain(name, cert, key, [zones.tlsa(env, cert, u, s, m)])
        want[name] = ("Verified", r"Matched DANE EE certificate at depth 0: %d %d %d [0-9A-F]{8}" % (u, s, m), "dane-only" if name == "only.example" else "dane")
    # usage 2 with the host name, with the next hop's name, with the anchor in DNS only, with its key
    cert, key = env.cert("mx.ta.example")
    with open(cert, "a") as f:
        f.write(open(anchor).read())
    domain("ta.example", cert, key, [zones.tlsa(env, anchor, 2, 0, 1)])
    want["ta.example"] = ("Verified", r"Matched DANE TA certificate at depth 1: 2 0 1 ", "dane")
    cert, key = env.cert("tahop.example")
    with open(cert, "a") as f:
        f.write(open(anchor).read())
    domain("tahop.example", cert, key, [zones.tlsa(env, anchor, 2, 1, 1)])
    want["tahop.example"] = ("Verified", r"matched peername: tahop\.example", "dane")
    cert, key = env.cert("mx.tafull.example")
    domain("tafull.example", cert, key, [zones.tlsa(env, anchor, 2, 0, 0)])
    want["tafull.example"] = ("Verified", r"Matched DANE TA certificate at depth 1: 2 0 0 [0-9A-F]{64}\.\.\.[0-9A-F]{64}$", "dane")
    # rollover: the old key's record beside the new one's; a mixed set: 0 and 1 say nothing
    old, _ = env.cert("old.invalid", ca=None)
    cert, key = env.cert("new.invalid", ca=None)
    domain("roll.example", cert, key, [zones.tlsa(env, old), zones.tlsa(env, cert)])
    want["roll.example"] = ("Verified", r"Matched DANE EE certificate", "dane")
    cert, key = env.cert("mixed.invalid", ca=None)
    domain("mixed.example", cert, key, [zones.tlsa(env, old, 0, 0, 1), zones.tlsa(env, old, 1, 1, 1), zones.tlsa(env, cert),
                                        "3 1 7 00"])
    want["mixed.example"] = ("Verified", r"warning: mx\.mixed\.example\[127\S+:25: unsupported TLSA certificate usage: 1 1 1 ", "dane")
    # nothing usable: encryption without a name
    cert, key = env.cert("unusable.invalid", ca=None)
    domain("unusable.example", cert, key, [zones.tlsa(env, cert, 1, 1, 1), "3 1 1 0102"])
    want["unusable.example"] = ("Untrusted", r"warning: mx\.unusable\.example\S+: unusable TLSA RR: 3 1 1 0102$", "dane:encrypt")
    # no records: opportunistic
    cert, key = env.cert("none.invalid", ca=None)
    domain("none.example", cert, key, [])
    want["none.example"] = ("Untrusted", r"established to mx\.none\.example", "dane:may")
    # an MX record without proof before a proven host
    cert, key = env.cert("half.invalid", ca=None)
    domain("half.plain", cert, key, [zones.tlsa(env, cert)], mx="mx.half.example", into=plain)
    plain.remove([x for x in plain if x.startswith("mx.half")][0])
    lines.append("mx.half.example. A 127.0.1.%d" % n[0])
    want["half.plain"] = ("Trusted", r"Matched DANE EE certificate", "dane:halfdane")
    # the whole domain without DNSSEC: its records are worth nothing
    cert, key = env.cert("insecure.invalid", ca=None)
    address = server(cert, key)
    plain.extend(["insecure.plain. MX 10 mx.insecure.plain.", "mx.insecure.plain. A " + address, "_25._tcp.mx.insecure.plain. TLSA " + zones.tlsa(env, old)])
    want["insecure.plain"] = ("Untrusted", r"established to mx\.insecure\.plain", "dane:may")
    # aliases: records at the expansion; at the original name; through an alias into an insecure zone; an alias for the records
    cert, key = env.cert("alias.invalid", ca=None)
    address = server(cert, key)
    lines.extend(["alias.example. MX 10 mx.alias.example.", "mx.alias.example. CNAME real.alias.example.", "real.alias.example. A " + address,
                  "_25._tcp.real.alias.example. TLSA " + zones.tlsa(env, cert), "_25._tcp.mx.alias.example. TLSA " + zones.tlsa(env, old)])
    want["alias.example"] = ("Verified", r"SNI hostname: real\.alias\.example", "dane")
    cert, key = env.cert("orig.invalid", ca=None)
    address = server(cert, key)
    lines.extend(["orig.example. MX 10 mx.orig.example.", "mx.orig.example. CNAME real.orig.example.", "real.orig.example. A " + address,
                  "_25._tcp.mx.orig.example. TLSA " + zones.tlsa(env, cert)])
    want["orig.example"] = ("Verified", r"SNI hostname: mx\.orig\.example", "dane")
    cert, key = env.cert("out.invalid", ca=None)
    address = server(cert, key)
    lines.extend(["out.example. MX 10 mx.out.example.", "mx.out.example. CNAME host.provider.plain.",
                  "_25._tcp.mx.out.example. CNAME tlsa.out.example.", "tlsa.out.example. TLSA " + zones.tlsa(env, cert)])
    plain.append("host.provider.plain. A " + address)
    want["out.example"] = ("Verified", r"SNI hostname: mx\.out\.example", "dane")
    # implicit MX, a next hop in brackets with a port of its own
    cert, key = env.cert("implicit.invalid", ca=None)
    lines.extend(["implicit.example. A " + server(cert, key), "_25._tcp.implicit.example. TLSA " + zones.tlsa(env, cert)])
    want["implicit.example"] = ("Verified", r"SNI hostname: implicit\.example", "dane")
    cert, key = env.cert("port.invalid", ca=None)
    lines.extend(["mx.port.example. A " + server(cert, key, 2525), "_2525._tcp.mx.port.example. TLSA " + zones.tlsa(env, cert),
                  "_25._tcp.mx.port.example. TLSA " + zones.tlsa(env, old)])
    want["port.example"] = ("Verified", r"established to mx\.port\.example\[\S+\]:2525", "dane")
    # openssl's own server, TLS from the first byte
    cert, key = env.cert("wrap.invalid", ca=None)
    lines.extend(["mx.wrap.example. A 127.0.2.1", "_4465._tcp.mx.wrap.example. TLSA " + zones.tlsa(env, cert, 3, 1, 0)])
    want["wrap.example"] = ("Verified", r"Matched DANE EE certificate at depth 0: 3 1 0 ", "dane-only")
    s_server = tls_kit.SServer(env, "127.0.2.1", 4465, cert, key)

    tree.zone("example.", lines).zone("plain.", plain, "insecure").start()
    env.postfix("mx", "inet_interfaces = all\nrelay_domains = static:all\nrelay_transport = discard:\nrelay_recipient_maps =\n"
                "smtpd_tls_security_level = may\nsmtpd_recipient_restrictions = permit_mynetworks, reject\n", "\n".join(masters) + "\n", smtp="127.0.1.10:25")
    s = env.signet("gw", MAIN, kit.MASTER_CF.format(smtp="127.0.0.1:25") + "wrapped unix - - n - - smtp -o smtp_tls_wrappermode=yes\n")
    for name, (trust, line, tls) in want.items():
        since = s.mark()
        qid = kit.queue_id(kit.send(rcpts="u@" + name))
        s.wait_log(r"%s: to=<u@%s>, relay=\S+, .*status=sent" % (qid, re.escape(name)), since)
        kit.check(s.has_log(r"%s TLS connection established to " % trust, since), "%s: not %s:\n%s" % (name, trust, s.log()[since:]))
        kit.check(s.has_log(line, since), "%s: no /%s/:\n%s" % (name, line, s.log()[since:]))
        field = s.has_log(r"%s: to=.*, tls=([^,]+), dsn" % qid, since)
        kit.check(field and field.group(1) == tls, "%s: tls=%s" % (name, field and field.group(1)))
    kit.check(any(line.startswith("MAIL FROM") for line in s_server.lines), "openssl s_server saw the mail")
