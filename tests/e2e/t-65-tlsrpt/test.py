"""TLSRPT (RFC 8460): what a collector is told of each handshake, and of whom it is told nothing. A signed tree of zones served by nsd, Postfix and
servers that misbehave as receivers, a datagram socket as collector; a collector that is not there costs no mail."""
import json
import os
import re
import socket
import ssl
import threading

import kit
import tls_kit
import zones

MAIN = """\
smtp_tls_security_level = dane
smtp_tls_loglevel = 2
smtp_tls_CAfile = %s
smtp_tls_policy_maps = texthash:%s
transport_maps = inline:{ { lmtp.example = lmtp:[mx.tlsa.example]:2424 } { literal.example = smtp:[127.0.1.1] } { bracket.example = smtp:[mx.tlsa.example] } }
smtp_tlsrpt_enable = yes
smtp_tlsrpt_socket_name = run/tlsrpt
smtp_defer_if_no_mx_address_found = yes
minimal_backoff_time = 600s
queue_run_delay = 600s
"""
CODES = {201: "starttls-not-supported", 301: "sts-policy-fetch-error", 304: "tlsa-invalid", 305: "dnssec-invalid", 306: "dane-required", 205: "validation-failure"}
STS = ["version: STSv1", "mode: enforce", "mx: *.sts.plain", "max_age: 86400"]


class Collector:
    """As libtlsrpt's: a datagram is JSON of protocol 1."""
    def __init__(self, env, path, mode=0o666, reads=True):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.path, self.got = path, []
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.s.bind(path)
        os.chmod(path, mode)
        self.reader = threading.Thread(target=self.run, daemon=True)
        if reads:
            self.reader.start()

    def run(self):
        while True:
            data = self.s.recv(1 << 20)
            if not data:
                return
            self.got.append(data)

    def close(self):
        """Whatever was sent before is read."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"", self.path)
        self.reader.join()
        self.s.close()
        os.unlink(self.path)

    def read(self):
        out = [json.loads(data.decode()) for data in list(self.got)]
        for d in out:
            kit.check(d["dpv"] == "1" and set(d) == {"dpv", "d", "pr", "policies"} and len(d["policies"]) == 1, d)
        return out

    def of(self, domain):
        return [d for d in self.read() if d["d"] == domain]

    def one(self, domain, n=1):
        kit.wait_until("%d reports of %s" % (n, domain), lambda: len(self.of(domain)) >= n)
        return self.of(domain)[0]


def nonsense(conn, line):
    conn.sendall(b"220 go\r\n")
    conn.recv(4096)
    conn.sendall(b"nonsense" * 50)
    return False


def hangs_up(conn, line):
    return False


def expired(env, name):
    env.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "old.key", "-out", "old.csr", "-subj", "/CN=" + name)
    return env.sign_expired("old", "ca", "subjectAltName=DNS:" + name), env.path("old.key")


class World:
    def __init__(self, env):
        self.env, self.n = env, 0
        self.lines, self.plain, self.table, self.sinks, self.address, self.masters = [], [], [], {}, {}, []
        self.tree = zones.Tree(env)
        env.ca()
        self.cert = env.cert("any.invalid", ca=None)
        self.other = env.cert("other.invalid", ca=None)[0]

    def zone_of(self, name):
        return self.plain if name.endswith(".plain") else self.lines

    def rpt(self, name, text='"v=TLSRPTv1; " "rua=mailto:tls@%s"'):
        self.zone_of(name).append("_smtp._tls.%s. TXT %s" % (name, text % name if "%s" in text else text))

    def domain(self, name, tlsa=(), entry=None, cert=None, sink=True, rpt=True, starttls=True, tls=None, **kw):
        """A domain with one MX host: a sink, or a Postfix smtpd (sink=False)."""
        self.n += 1
        address = self.address[name] = "127.0.1.%d" % self.n
        cert, key = cert or self.cert
        if sink:
            ctx = tls or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            if tls is None:
                ctx.load_cert_chain(cert, key)
            self.sinks[name] = self.env.sink(address, keywords=("PIPELINING", "STARTTLS") if starttls else ("PIPELINING",), tls=ctx, **kw)
        else:
            self.masters.append("%s:25 inet n - n - - smtpd -o smtpd_tls_cert_file=%s -o smtpd_tls_key_file=%s" % (address, cert, key))
        zone = self.zone_of(name)
        zone.extend(["%s. MX 10 mx.%s." % (name, name), "mx.%s. A %s" % (name, address)])
        zone.extend("_25._tcp.mx.%s. TLSA %s" % (name, r) for r in tlsa)
        if rpt:
            self.rpt(name)
        if entry:
            self.table.append("%s %s" % (name, entry))

    def build(self):
        env, t = self.env, lambda *a: zones.tlsa(env, *a)
        good = self.cert[0]
        sts = "secure match=.sts.plain policy_type=sts policy_domain=sts.plain %s mx_host_pattern=*.sts.plain" % " ".join("{ policy_string = %s }" % x for x in STS)
        self.domain("tlsa.example", [t(good), t(self.other)], sink=False)                       # 127.0.1.1
        self.domain("none.example", sink=False)
        self.domain("sts.plain", entry=sts, cert=env.cert("mx.sts.plain"), sink=False)
        self.domain("found.plain", entry="may policy_type=no-policy-found policy_domain=policy.plain")
        self.domain("notls.example", [t(good)], starttls=False)
        self.domain("refused.plain", script={"STARTTLS": "454 4.7.0 not now"})
        self.domain("busy.example", [t(good)], script={"STARTTLS": "421 4.7.0 going away"})
        self.domain("name.plain", entry="secure match=mx.name.plain", cert=env.cert("mx.elsewhere.plain"))
        self.domain("ee.example", [t(self.other)])
        self.domain("late.plain", entry="secure match=mx.late.plain", cert=expired(env, "mx.late.plain"))
        self.domain("self.plain", entry="secure match=mx.self.plain", cert=env.cert("mx.self.plain", ca=None))
        self.domain("foreign.plain", entry="secure match=mx.foreign.plain", cert=env.cert("mx.foreign.plain", ca="otherca"))
        self.domain("broken.example", [t(good)], script={"STARTTLS": nonsense})
        self.domain("unusable.example", [t(good, 1, 1, 1)])
        self.domain("only.example", [t(good)], entry="dane-only")
        self.domain("without.example", entry="dane-only")
        self.domain("insecure.plain", [t(good)], entry="dane-only")
        self.domain("useless.example", [t(good, 1, 1, 1)], entry="dane-only")
        self.domain("bogus.example", entry="dane-only")
        self.tree.zone("_tcp.mx.bogus.example.", ["_25._tcp.mx.bogus.example. TLSA " + t(good)], "bogus")
        for name, failure in (("fetch.plain", "sts-policy-fetch-error"), ("invalid.plain", "sts-policy-invalid"), ("webpki.plain", "sts-webpki-invalid"),
                              ("other.plain", "validation-failure")):
            self.domain(name, entry="secure match=mx.%s policy_type=sts policy_domain=%s policy_failure=%s" % (name, name, failure), cert=env.cert("mx." + name))
        self.domain("testing.plain", entry="may policy_type=sts policy_domain=testing.plain policy_failure=sts-policy-fetch-error")
        # the domain's MX records, or its only host, cannot be proven; the record that asks for reports can
        self.tree.zone("forged.", ["forged. MX 10 mx.forged.", "mx.forged. A 127.0.1.1"], "bogus")
        self.lines.append("mx-forged.example. CNAME forged.")
        self.rpt("mx-forged.example")
        self.lines.append("host-forged.example. MX 10 mx.forged.")
        self.rpt("host-forged.example")
        self.table.extend(["mx-forged.example dane-only", "host-forged.example dane-only"])
        # nothing is told of these
        self.domain("clear.plain", starttls=False)
        self.domain("silent.example", rpt=False)
        self.domain("twice.example")
        self.rpt("twice.example", '"v=TLSRPTv1;rua=https://twice.example/"')
        self.domain("version.example", rpt=False)
        self.rpt("version.example", '"v=TLSRPTv2; rua=mailto:a@version.example"')
        self.domain("ill.example", rpt=False)
        self.tree.zone("_tls.ill.example.", ["_smtp._tls.ill.example. TXT \"v=TLSRPTv1;rua=mailto:a@ill.example\""], "bogus")
        self.domain("dumb.example", rpt=False)
        self.tree.zone("_tls.dumb.example.", [], "broken")
        self.domain("hangs.plain", script={"STARTTLS": hangs_up})
        self.domain("typo.plain", entry="secur")
        self.domain("servfail.example", entry="dane-only")
        self.tree.zone("_tcp.mx.servfail.example.", [], "broken")
        self.domain("opportunistic.example")                                                    # bogus at dane, which was not demanded
        self.tree.zone("_tcp.mx.opportunistic.example.", [], "bogus")
        self.lines.extend(["down.example. A 127.0.9.9"])
        self.rpt("down.example")
        self.domain("header.example", [t(good)])
        for name in ("lmtp.example", "literal.example", "mx.tlsa.example"):
            self.rpt(name)
        env.sink("127.0.1.1", 2424, lmtp=True)
        self.again = tls_kit.Picky(tls_kit.context(*self.cert))
        self.domain("again.example", tls=self.again)
        self.domain("kept.example")
        # A-labels
        self.domain("xn--bcher-kva.example")
        self.tree.zone("example.", self.lines).zone("plain.", self.plain, "insecure").start()
        env.postfix("mx", "relay_domains = static:all\nrelay_transport = discard:\nrelay_recipient_maps =\nsmtpd_tls_security_level = may\n"
                    "smtpd_recipient_restrictions = permit_mynetworks, reject\n", "\n".join(self.masters) + "\n", smtp="127.0.2.1:25")
        return self


def deliver(s, rcpt, header="", **kw):
    qid = kit.queue_id(kit.send(rcpts=rcpt, sender="s@home.plain", body="%sSubject: x\n\nx\n" % header, **kw))
    s.wait_log(r"%s: to=<.*status=\w+" % qid)
    return qid


def success(c, domain, kind, policy_domain, **more):
    d = c.one(domain)
    want = dict({"policy-type": kind, "policy-domain": policy_domain, "t": 0, "f": 0}, **more)
    kit.check(d["policies"] == [want] and d["pr"] == "v=TLSRPTv1; rua=mailto:tls@" + domain, "%s\nnot\n%s" % (d, want))


def failure(c, w, domain, code, reason=None, kind=9, host=None, connected=True, n=1):
    d = c.one(domain, n)
    (p,) = d["policies"]
    want = {"c": code, "n": host or "mx." + domain}
    if connected:
        want.update({"s": "127.0.0.1", "r": w.address[domain], "h": "sink"})
    if reason:
        want["f"] = reason
    kit.check(p["policy-type"] == kind and p["t"] == 1 and p["f"] == 1 and p["failure-details"] == [want], "%s\nnot\n%s" % (d, want))
    return p


def events(env, s, w, c):
    t = lambda *a: zones.tlsa(env, *a)
    good, other = w.cert[0], w.other
    told = ["tlsa.example", "none.example", "sts.plain", "found.plain", "notls.example", "refused.plain", "busy.example", "name.plain", "ee.example", "late.plain",
            "self.plain", "foreign.plain", "broken.example", "unusable.example", "only.example", "without.example", "insecure.plain", "useless.example", "bogus.example",
            "fetch.plain", "invalid.plain", "webpki.plain", "other.plain", "testing.plain", "mx-forged.example", "host-forged.example"]
    w.qids = {name: deliver(s, "u@" + name) for name in told}
    deliver(s, "u@b\u00fccher.example", mail_options=["SMTPUTF8"])
    deliver(s, "u@bracket.example")
    # successes
    records = sorted([t(good), t(other)])
    success(c, "tlsa.example", 1, "mx.tlsa.example", **{"policy-string": records})
    success(c, "mx.tlsa.example", 1, "mx.tlsa.example", **{"policy-string": records})
    success(c, "only.example", 1, "mx.only.example", **{"policy-string": [t(good)]})
    success(c, "none.example", 9, "none.example")
    success(c, "sts.plain", 2, "sts.plain", **{"policy-string": STS, "mx-host": ["*.sts.plain"]})
    success(c, "found.plain", 9, "policy.plain")
    success(c, "xn--bcher-kva.example", 9, "xn--bcher-kva.example")
    s.wait_log(r"TLSRPT: status=success, domain=none\.example, receiving_mx=mx\.none\.example\[127\.0\.1\.2\]$")
    # failures
    kit.check(failure(c, w, "notls.example", 201, kind=1)["policy-string"] == [t(good)], "the records of notls.example")
    failure(c, w, "refused.plain", 201)
    busy = w.sinks["busy.example"].connections
    failure(c, w, "busy.example", 201, kind=1, n=busy)
    failure(c, w, "name.plain", 202)
    failure(c, w, "ee.example", 203, "no_matching_DANE_TLSA_records", kind=1)
    failure(c, w, "late.plain", 204)
    failure(c, w, "self.plain", 205, "self-signed_certificate")
    failure(c, w, "foreign.plain", 205, "unable_to_get_local_issuer_certificate")
    attempts = len(re.findall(r"SSL_connect error to mx\.broken\.example\[", s.log()))
    kit.check(attempts >= 1, s.log())
    failure(c, w, "broken.example", 205, "tls-handshake-failure", kind=1, n=attempts)
    kit.check(failure(c, w, "unusable.example", 304, "all-TLSA-records-unusable", kind=1)["policy-string"] == [t(good, 1, 1, 1)], "the records of unusable.example")
    failure(c, w, "useless.example", 304, "all-TLSA-records-unusable", kind=1, connected=False)
    failure(c, w, "without.example", 306, connected=False)
    failure(c, w, "insecure.plain", 306, connected=False)
    failure(c, w, "bogus.example", 305, connected=False)
    failure(c, w, "host-forged.example", 305, connected=False, host="mx.forged")
    kit.check(c.one("mx-forged.example")["policies"][0]["failure-details"] == [{"c": 305}], c.of("mx-forged.example"))
    for name, code, reason in (("fetch.plain", 301, None), ("invalid.plain", 302, None), ("webpki.plain", 303, None), ("other.plain", 205, "external-policy-failure"),
                               ("testing.plain", 301, None)):
        failure(c, w, name, code, reason, kind=2)
    s.wait_log(r"TLSRPT: status=failure, domain=self\.plain, receiving_mx=mx\.self\.plain\[\S+\], failure_type=validation_failure, failure_reason=self-signed_certificate$")
    s.wait_log(r"TLSRPT: status=failure, domain=without\.example, receiving_mx=mx\.without\.example\[\S+\], failure_type=dane_required$")
    for name in ("refused.plain", "unusable.example", "testing.plain"):
        kit.check(s.has_log(r"to=<u@%s>.*status=sent" % re.escape(name)), "%s: the message goes its way" % name)
    return {name: 1 for name in told + ["mx.tlsa.example", "xn--bcher-kva.example"]} | {"broken.example": attempts, "busy.example": busy}


def explained(s, w, c):
    """What `explain` says would be reported, and what the record of a delivery says was."""
    for name, event in (("none.example", "secured"), ("refused.plain", "refused"), ("notls.example", "not_offered"), ("busy.example", "refused"), ("broken.example", "handshake_failure"),
                        ("unusable.example", "secured"), ("testing.plain", "secured"), ("sts.plain", "secured"), ("only.example", "secured"), ("without.example", "unusable"),
                        ("insecure.plain", "unusable"), ("useless.example", "unusable"), ("bogus.example", "unusable")):
        (server,) = json.loads(s.cli("tls", "explain", "--json", name, check_status=False))["servers"]
        said, d = server["tlsrpt"], c.of(name)[0]["policies"][0]
        types = {1: "tlsa", 2: "sts", 9: "no-policy-found"}
        kit.check(said["record"] == "_smtp._tls." + name and said["policy_type"] == types[d["policy-type"]] and said["policy_domain"] == d["policy-domain"], (said, d))
        kit.check(said[event] == ([CODES[x["c"]] for x in d.get("failure-details", [])] or ["success"])[0], (name, said, d))
    for name, want in (("clear.plain", ("not_offered", None)), ("clear.plain", ("refused", "starttls-not-supported")), ("typo.plain", ("unusable", None))):
        (server,) = json.loads(s.cli("tls", "explain", "--json", name, check_status=False))["servers"]
        kit.check(server["tlsrpt"].get(want[0]) == want[1], (name, server["tlsrpt"]))
    kit.check("tlsrpt" not in s.cli("tls", "explain", "--json", "[127.0.1.1]"), "an address is reported about")
    text = s.cli("tls", "explain", "tlsa.example")
    kit.check("TLSRPT        if _smtp._tls.tlsa.example asks for reports: policy tlsa of mx.tlsa.example; no STARTTLS: starttls-not-supported; refused: starttls-not-supported; "
              "handshake fails: validation-failure; all is well: success\n" in text, text)
    facts = s.env.path("facts")
    s.cli("tls", "explain", "--save-facts", facts, "tlsa.example")
    kit.check("if _smtp._tls.tlsa.example asks" in s.cli("tls", "explain", "--facts", facts), "the recorded facts say something else")
    for name, want in (("none.example", "success"), ("name.plain", "certificate-host-mismatch"), ("without.example", "dane-required"), ("silent.example", None), ("clear.plain", None)):
        qid = w.qids.get(name) or deliver(s, "u@" + name)
        kit.wait_until("a record of %s" % qid, lambda: '"queue_id"' in s.cli("tls", "why", "--json", qid, check_status=False))
        r = json.loads(s.cli("tls", "why", "--json", qid).splitlines()[0])
        kit.check((r.get("tlsrpt") or "").split(",")[0] == (want or "") or (want is None and "if the domain asks" in r["tlsrpt"]), (name, r))


def silences(s, w):
    for name in ("clear.plain", "silent.example", "twice.example", "version.example", "ill.example", "dumb.example", "hangs.plain", "typo.plain", "servfail.example",
                 "opportunistic.example", "down.example", "lmtp.example", "literal.example"):
        deliver(s, "u@" + name)
    deliver(s, "u@header.example", "TLS-Required: no\n")
    s.wait_log(r"warning: _smtp\._tls\.twice\.example: several TLSRPT records: none is used")
    s.wait_log(r"TLSRPT: no report for domain ill\.example: its record could not be looked up: DNSSEC validation failed")
    s.wait_log(r"TLSRPT: no report for domain dumb\.example: its record could not be looked up")
    kit.check(s.has_log(r"to=<u@lmtp\.example>.*status=sent") and s.has_log(r"to=<u@clear\.plain>.*status=sent"), "sent without a report")


def reuse(s, w):
    """Connections that serve several messages are told of once, handshakes that resume a session not at all by the default of 3.10."""
    for _ in range(5):
        deliver(s, "u@kept.example")
        deliver(s, "u@again.example")
    kept = w.sinks["kept.example"].connections
    full = sum(not resumed for _, _, resumed in w.again.done)
    kit.check(kept < 5 and len(w.again.done) == 5 and full < 5, (kept, w.again.done))
    return {"kept.example": kept, "again.example": full}


def count(c):
    out = {}
    for d in c.read():
        out[d["d"]] = out.get(d["d"], 0) + 1
    return out


def exactly(env, s, c, want):
    """All processes have ended, and all that they sent is read: nothing more can come. A fresh collector."""
    s.stop()
    c.close()
    kit.check(count(c) == want, "%s\nnot\n%s" % (count(c), want))
    return Collector(env, c.path)


def no_collector(env, s, w, c):
    """Nobody there, nobody let in, nobody reading: mail goes, and a process complains once in five minutes."""
    def nobody(what, since, n):
        for _ in range(n):
            deliver(s, "u@found.plain")
        s.wait_log(r"warning: TLSRPT collector at", since)
        log = s.log()[since:]
        kit.check(len(re.findall(r"to=<u@found\.plain>.*status=sent", log)) == n, log)
        warnings = re.findall(r"warning: TLSRPT collector at %s: %s: reports lost since the last warning: 1; mail is delivered as ever" % (re.escape(c.path), what), log)
        kit.check(1 <= len(warnings) <= len(s.pids("smtpc")) and log.count("warning: TLSRPT") == len(warnings), log)

    kit.check("smtp_tlsrpt" not in s.cli("check", check_status=False), s.cli("check", check_status=False))
    c.close()
    kit.check("smtp_tlsrpt_socket_name = run/tlsrpt: %s: No such file or directory" % c.path in s.cli("check", check_status=False), s.cli("check", check_status=False))
    nobody("No such file or directory", s.mark(), 6)
    # it comes back, in its own time
    c = Collector(env, c.path)
    deliver(s, "u@none.example")
    success(c, "none.example", 9, "none.example")
    c = exactly(env, s, c, {"none.example": 1})
    if os.geteuid() == 0:
        c.close()
        c = Collector(env, c.path, mode=0o600)
        s.start()
        nobody("Permission denied", s.mark(), 3)
        c = exactly(env, s, c, {})
    c.close()
    c = Collector(env, c.path, reads=False)
    with open("/proc/sys/net/unix/max_dgram_qlen") as f:
        room = int(f.read()) + 1
    s.start()
    since = s.mark()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.setblocking(False)
        try:
            for _ in range(room + 10):
                full.sendto(b"{}", c.path)
        except BlockingIOError:
            pass
    nobody("Resource temporarily unavailable", since, 3)
    s.stop()
    c.s.close()
    os.unlink(c.path)
    return Collector(env, c.path)


def run(env):
    w = World(env).build()
    table = env.write("tls-policy", "".join(line + "\n" for line in w.table))
    main = MAIN % (env.ca(), table)
    s = env.signet("gw", main)
    s.stop()                    # the spool is made
    c = Collector(env, os.path.join(s.queue, "run", "tlsrpt"))
    s.set(main_cf=main + "smtp_connection_cache_destinations = kept.example\nsmtp_connection_cache_time_limit = 600s\nsmtp_tls_connection_reuse = yes\n")
    s.start()
    want = events(env, s, w, c)
    explained(s, w, c)
    silences(s, w)
    want.update(reuse(s, w))
    c = exactly(env, s, c, want)

    # resumed handshakes, too; 3.11 has that as its default
    for change in ("smtp_tlsrpt_skip_reused_handshakes = no\n", "compatibility_level = 3.11\n"):
        w.again.done.clear()
        s.set(main_cf=main + change)
        s.start()
        for _ in range(4):
            deliver(s, "u@again.example")
        kit.check(sum(resumed for _, _, resumed in w.again.done) > 0, w.again.done)
        c = exactly(env, s, c, {"again.example": 4})

    s.set(main_cf=main)
    s.start()
    c = no_collector(env, s, w, c)

    # a level that only the table or nobody gives; not enabled
    for change in ("smtp_tls_security_level =\n", "smtp_tls_security_level = none\n", "smtp_tlsrpt_enable = no\n", "smtp_tlsrpt_socket_name =\n"):
        s.set(main_cf="".join(line + "\n" for line in main.splitlines() if line.split(" =")[0] != change.split(" =")[0]) + change)
        s.start()
        deliver(s, "u@sts.plain")
        deliver(s, "u@none.example")
        c = exactly(env, s, c, {})
