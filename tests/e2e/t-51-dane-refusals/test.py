"""What DANE must not do: no answer is never no records, a mismatch is temporary, and no message goes out with less than the records
ask for. Every such case waits in the queue; the next MX is tried; null MX and names that do not exist are told at once."""
import re
import ssl

import kit
import zones

MAIN = """\
smtp_tls_security_level = dane
smtp_tls_loglevel = 1
smtp_tls_policy_maps = inline:{ { only1.example = dane-only } { only2.plain = dane-only } { only3.example = dane-only } { only4.example = dane-only } }
minimal_backoff_time = 600s
queue_run_delay = 600s
"""


def nonsense(conn, line):
    """An answer to ClientHello that is no TLS."""
    conn.sendall(b"220 go\r\n")
    conn.recv(4096)
    conn.sendall(b"nonsense" * 50)
    return False


def run(env):
    lines, plain, sinks, n = [], [], {}, [10]
    anchor = env.ca()
    good, good_key = env.cert("any.invalid", ca=None)
    other, _ = env.cert("other.invalid", ca=None)
    tree = zones.Tree(env)

    def server(name, cert=good, key=good_key, starttls=True, **kw):
        n[0] += 1
        address = "127.0.1.%d" % n[0]
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(cert, key)
        sinks[name] = env.sink(address, keywords=("PIPELINING", "STARTTLS") if starttls else ("PIPELINING",), tls=ctx, **kw)
        return address

    def domain(name, records, into=lines, **kw):
        into.extend(["%s. MX 10 mx.%s." % (name, name), "mx.%s. A %s" % (name, server(name, **kw))])
        into.extend("_25._tcp.mx.%s. TLSA %s" % (name, r) for r in records)

    def second(name):
        """A good second server behind `name`."""
        lines.extend(["%s. MX 20 mx2.%s." % (name, name), "mx2.%s. A %s" % (name, server("mx2." + name)),
                      "_25._tcp.mx2.%s. TLSA %s" % (name, zones.tlsa(env, good))])

    waits = {}      # domain -> reason
    lookup = r"4\.7\.5, status=deferred \(TLSA lookup error for mx\.%s:25\)"
    # bogus and SERVFAIL at the records alone: the address is fine
    for name, how in ("bogus.example", "bogus"), ("servfail.example", "broken"):
        domain(name, [])
        tree.zone("_tcp.mx.%s." % name, ["_25._tcp.mx.%s. TLSA %s" % (name, zones.tlsa(env, good))], how)
        waits[name] = lookup % re.escape(name)
    # the same behind an MX record without proof
    lines.append("mx.behind.example. A " + server("behind.plain"))
    plain.append("behind.plain. MX 10 mx.behind.example.")
    tree.zone("_tcp.mx.behind.example.", [], "bogus")
    waits["behind.plain"] = lookup % r"behind\.example"
    # the whole domain is bogus: not even its MX records are known
    tree.zone("forged.", ["forged. MX 10 mx.forged.", "mx.forged. A " + server("forged")], "bogus")
    waits["forged"] = r"4\.4\.3, status=deferred \(.*name=forged type=MX: DNSSEC validation failed"
    # the host's zone is bogus
    tree.zone("badhost.example.", ["mx.badhost.example. A " + server("hostbogus.example")], "bogus")
    lines.append("hostbogus.example. MX 10 mx.badhost.example.")
    waits["hostbogus.example"] = r"4\.4\.3, status=deferred \(.*name=mx\.badhost\.example type=A: DNSSEC validation failed"
    # certificates that are not what the records say
    mismatch = r"4\.7\.5, status=deferred \(Server certificate not verified\)"
    domain("ee.example", [zones.tlsa(env, other)])
    domain("usage1.example", [zones.tlsa(env, other), zones.tlsa(env, good, 1, 1, 1)])
    domain("agility.example", [zones.tlsa(env, good, 3, 1, 1), zones.tlsa(env, other, 3, 1, 2)])
    cert, key = env.cert("mx.elsewhere.example")
    domain("taname.example", [zones.tlsa(env, anchor, 2, 0, 0)], cert=cert, key=key)
    cert, key = env.cert("mx.taother.example", ca="otherca")
    domain("taother.example", [zones.tlsa(env, anchor, 2, 1, 1), zones.tlsa(env, anchor, 2, 0, 0)], cert=cert, key=key)
    cert, key = env.cert("hop.plain")               # good for the next hop's name only, which nothing proves
    lines.extend(["mx.hop.example. A " + server("hop.plain", cert=cert, key=key), "_25._tcp.mx.hop.example. TLSA " + zones.tlsa(env, anchor, 2, 0, 0)])
    plain.append("hop.plain. MX 10 mx.hop.example.")
    for name in ("ee.example", "usage1.example", "agility.example", "taname.example", "taother.example", "hop.plain"):
        waits[name] = mismatch
    # no STARTTLS where records say that there is: also when nobody can use them, also half-dane
    notls = r"4\.7\.4, status=deferred \(TLS is required, but was not offered by host mx\.%s\["
    domain("notls.example", [zones.tlsa(env, good)], starttls=False)
    domain("unusable.example", ["0 0 1 " + "00" * 32], starttls=False)
    waits["notls.example"], waits["unusable.example"] = notls % r"notls\.example", notls % r"unusable\.example"
    domain("broken.example", [zones.tlsa(env, good)], script={"STARTTLS": nonsense})
    waits["broken.example"] = r"4\.7\.5, status=deferred \(Cannot start TLS: handshake failure\)"
    # dane-only
    domain("only1.example", [])
    domain("only2.plain", [zones.tlsa(env, good)], into=plain)
    domain("only3.example", ["1 1 1 " + "00" * 32])
    domain("only4.example", [])
    tree.zone("_tcp.mx.only4.example.", [], "broken")
    waits["only1.example"] = r"4\.7\.5, status=deferred \(no TLSA records found\)"
    waits["only2.plain"] = r"4\.7\.5, status=deferred \(non DNSSEC destination\)"
    waits["only3.example"] = r"4\.7\.5, status=deferred \(TLSA records unusable\)"
    waits["only4.example"] = lookup % r"only4\.example"
    # the next MX takes over
    goes = ["next1.example", "next2.example", "next3.example"]
    domain("next1.example", [])
    tree.zone("_tcp.mx.next1.example.", [], "broken")
    domain("next2.example", [zones.tlsa(env, other)])
    domain("next3.example", [zones.tlsa(env, good)], starttls=False)
    for name in goes:
        second(name)
    # told at once
    lines.append("null.example. MX 0 .")
    bounces = {"null.example": r"5\.1\.10, status=bounced \(Domain null\.example does not accept mail \(nullMX\)\)",
               "nx.example": r"5\.4\.4, status=bounced \(.*Host not found\)", "nx.plain": r"5\.4\.4, status=bounced \(.*Host not found\)"}
    plain.append("lost.plain. MX 10 gone.plain.")   # an unsigned MX whose host does not exist
    bounces["lost.plain"] = r"5\.4\.4, status=bounced \(.*name=gone\.plain type=A: Host not found\)|4\.4\.4"

    tree.zone("example.", lines).zone("plain.", plain, "insecure").start()
    s = env.signet("gw", MAIN + "smtp_defer_if_no_mx_address_found = no\n")
    qids = {name: kit.queue_id(kit.send(rcpts="u@" + name, sender="s@home.plain")) for name in list(waits) + goes + list(bounces)}
    for name, reason in {**waits, **bounces}.items():
        s.wait_log(r"%s: to=<u@%s>, .*dsn=(%s)" % (qids[name], re.escape(name), reason))
    for name in goes:
        s.wait_log(r"%s: to=<u@%s>, relay=mx2\.%s\S+, .*status=sent" % (qids[name], re.escape(name), re.escape(name)))
    for name in waits:
        kit.check(not sinks[name].messages, "%s got its mail" % name)
        kit.check(not any(c.upper().startswith("MAIL") for c in sinks[name].commands), "%s: MAIL was said" % name)
    for name in ("bogus.example", "servfail.example", "behind.plain", "hostbogus.example", "only1.example", "only2.plain", "only3.example"):
        kit.check(sinks[name].connections == 0, "%s: nobody connects to a host whose policy is unusable" % name)
    for name in ("ee.example", "taname.example"):
        kit.check("QUIT" in sinks[name].commands, "%s: a clean end: %s" % (name, sinks[name].commands))
    for name in goes:
        kit.check(not sinks[name].messages and len(sinks["mx2." + name].messages) == 1, "%s: the second server has it" % name)
    kit.check(len(s.queue_list()) >= len(waits), "all of them wait")
    s.wait_log(r"warning: .*TLSA lookup error for _25\._tcp\.mx\.bogus\.example: DNSSEC validation failed")
    s.wait_log(r"warning: .*TLS policy lookup for bogus\.example/mx\.bogus\.example: TLSA lookup error for mx\.bogus\.example:25")
    s.wait_log(r"server certificate verification failed for mx\.ee\.example\[\S+:25: num=65:no matching DANE TLSA records")
    s.wait_log(r"server certificate verification failed for mx\.taname\.example\[\S+: num=62:.*mx\.elsewhere\.example")
    s.wait_log(r"warning: MX records of forged: DNSSEC validation failed: \S+")
    s.wait_log(r"warning: A records of mx\.badhost\.example: DNSSEC validation failed: \S+")
    for name in waits:
        kit.check(not s.has_log(r"%s: .*status=bounced" % qids[name]), "%s: TLS policy never bounces" % name)
