"""Where Signet differs from Postfix on purpose (tls-client.md section 20), seen from outside, and the main.cf that we ship. Each case
names its number; those that need no server are rows of policy_test, dane_test, hop_test, verify_test, support_test."""
import os
import re
import ssl

import kit
import zones

SAMPLE = os.path.join(kit.TOP, "share")
MAIN = """\
smtp_tls_security_level = may
smtp_tls_loglevel = 1
smtp_tls_policy_maps = hash:{etc}/tls_policy
smtp_tls_CAfile = {etc}/gone.pem
minimal_backoff_time = 600s
queue_run_delay = 600s
"""


def context(cert, key, **kw):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.set_ciphers("DEFAULT:@SECLEVEL=0")
    ctx.load_cert_chain(cert, key)
    for name, value in kw.items():
        setattr(ctx, name, value)
    return ctx


def run(env):
    lines, sinks, table, n = [], {}, [], [10]
    env.ca()
    cert, key = env.cert("any.invalid", ca=None)
    tree = zones.Tree(env)

    def domain(name, entry=None, cert=cert, key=key, keywords=("PIPELINING", "STARTTLS"), records=(), ctx=None, **kw):
        n[0] += 1
        address = "127.0.1.%d" % n[0]
        sinks[name] = env.sink(address, keywords=keywords, tls=ctx or context(cert, key), **kw)
        lines.extend(["%s. MX 10 mx.%s." % (name, name), "mx.%s. A %s" % (name, address)])
        lines.extend("_25._tcp.mx.%s. TLSA %s" % (name, r) for r in records)
        if entry is not None:
            table.append("%s %s" % (name, entry))

    def deferred(text, dsn=r"4\.7\.5"):
        return r"dsn=%s, status=deferred \(%s" % (dsn, text)

    mismatch, sent = deferred(r"Server certificate not verified\)"), r"dsn=2\.0\.0, status=sent"
    want = {}
    # 20.1 policy_failure is honoured with and without connection reuse
    for name, reuse in ("failure.example", "no"), ("failure2.example", "yes"):
        domain(name, "secure policy_type=sts policy_domain=%s policy_failure=sts-webpki-invalid match=mx.%s rootca=%s connection_reuse=%s" % (
            name, name, env.fingerprint(cert), reuse), *env.cert("mx." + name, ca=None))
        want[name] = mismatch
    # 20.2 a CA file that cannot be used lowers nothing: may goes on with TLS, who needs it waits
    domain("maytls.example")
    want["maytls.example"] = sent
    domain("needsca.example", "verify")
    want["needsca.example"] = deferred(".*gone.pem")
    # 20.14 a 5xx answer to STARTTLS never bounces; 20.15 silence or a closed connection is no licence for clear text at the first attempt
    domain("refuses.example", "encrypt", script={"STARTTLS": "554 5.7.0 never"})
    want["refuses.example"] = deferred(r"TLS is required, but host mx\.refuses\.example\[\S+ refused to start TLS: 554 5\.7\.0 never\)")
    domain("closes.example", script={"STARTTLS": lambda c, line: False})
    want["closes.example"] = deferred(r"Cannot start TLS: handshake failure\)")
    domain("leaves.example", script={"STARTTLS": "421 4.3.2 going away"})
    want["leaves.example"] = deferred(r"Cannot start TLS: handshake failure\)")
    # 20.19 old protocols and short keys: spoken at may, refused above, allowed again by name
    old = context(cert, key, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
    domain("oldmay.example", ctx=old)
    want["oldmay.example"] = sent
    domain("oldenc.example", "encrypt", ctx=old)
    want["oldenc.example"] = deferred(r"Cannot start TLS: handshake failure\)")
    domain("oldnamed.example", "encrypt protocols=>=TLSv1 weak=sha1", ctx=old)
    want["oldnamed.example"] = sent
    env.openssl("req", "-x509", "-newkey", "rsa:1024", "-nodes", "-keyout", "short.key", "-out", "short.pem", "-days", "5", "-subj", "/CN=short")
    short = env.path("short.pem"), env.path("short.key")
    domain("shortmay.example", None, *short)
    want["shortmay.example"] = sent
    domain("shortenc.example", "encrypt", *short)
    want["shortenc.example"] = deferred(r"Server key or DH group is shorter than the policy allows\)")
    domain("shortnamed.example", "encrypt weak=rsa1024", *short)
    want["shortnamed.example"] = sent
    # 20.18 a trusted chain with another name: Untrusted in the format, and the reason says what is what
    domain("misnamed.example", "secure tafile=%s match=mx.misnamed.example" % os.path.join(env.dir, "gw", "etc", "ca.pem"), *env.cert("mx.other.example"))
    want["misnamed.example"] = mismatch
    # 20.8 TLS-Required: no sets aside what the recipient domain publishes, not what our administrator wrote
    records = [zones.tlsa(env, cert)]
    domain("optional.example", "dane", keywords=("PIPELINING",), records=records)
    domain("strict.example", "encrypt", keywords=("PIPELINING",), records=records)
    domain("only.example", "dane-only", keywords=("PIPELINING",), records=records)
    notls = deferred("TLS is required, but was not offered", r"4\.7\.4")
    tree.zone("example.", lines).start()
    s = env.signet("gw", start=False, files={"tls_policy": "\n".join(table) + "\n", "ca.pem": open(env.path("ca.pem")).read()})
    s.set(MAIN.format(etc=s.conf))
    s.start()
    qids = {name: kit.queue_id(kit.send(rcpts="u@" + name)) for name in want}
    for name, header, line in (("optional.example", True, sent), ("strict.example", True, notls), ("only.example", True, notls), ("optional.example", False, notls)):
        qid = kit.queue_id(kit.send(rcpts="u@" + name, body="%sSubject: x\n\nx\n" % ("TLS-Required: no\n" if header else "")))
        s.wait_log(r"%s: to=<u@%s>, .*%s" % (qid, re.escape(name), line))
    for name, line in want.items():
        s.wait_log(r"%s: to=<u@%s>, .*%s" % (qids[name], re.escape(name), line))
        kit.check(line == sent or not sinks[name].messages, "%s got its mail" % name)
    kit.check(s.has_log(r"warning: .*gone\.pem"), "20.2: one warning")
    kit.check(s.has_log(r"TLS connection established to mx\.maytls\.example"), "20.2: TLS goes on")
    kit.check(s.has_log(r"established to mx\.oldmay\.example\S+: TLSv1\.1 "), "20.19: may speaks to old peers")
    kit.check(s.has_log(r"certificate verification failed for mx\.shortenc\.example\S+: RSA key of 1024 bits is too short"), "20.19: why")
    kit.check(s.has_log(r"certificate verification failed for mx\.failure\.example\S+: external policy failure \(sts-webpki-invalid\)"), "20.1: why")
    kit.check(s.has_log(r"Untrusted TLS connection established to mx\.misnamed\.example"), "20.18")
    kit.check(s.has_log(r"verification failed for mx\.misnamed\.example\S+: num=62:.*the chain is trusted; certificate names: mx\.other\.example; wanted: mx\.misnamed\.example"), "20.18: why")
    kit.check(not s.has_log("status=bounced"), "nothing bounces")
    s.stop()

    # the configuration that we ship: it starts, nothing is wrong with it, and it is DANE
    sample, master = (open(os.path.join(SAMPLE, f)).read() for f in ("main.cf", "master.cf"))
    kit.check(re.search(r"^smtp_tls_security_level = dane$", sample, re.M), "the sample is DANE")
    s = env.signet("sample", sample + "alias_maps =\nmydestination =\n", master)
    found = s.cli("check", check_status=False)
    kit.check("error:" not in found, found)
    since = s.mark()
    qid = kit.queue_id(kit.send(rcpts="u@strict.example"))
    s.wait_log(r"%s: to=<u@strict\.example>, .*%s" % (qid, notls), since)
    qid = kit.queue_id(kit.send(rcpts="u@maytls.example"))
    s.wait_log(r"%s: to=<u@maytls\.example>, .*%s" % (qid, sent), since)
