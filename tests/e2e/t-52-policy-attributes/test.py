"""The attributes of smtp_tls_policy_maps: the two policies that the 2013 proposal printed (rootca=, digest=), trust anchor files with
roots, intermediates, leaves and bare keys, names, protocols, SNI, reuse, values in braces; a bad entry stops its own destination only."""
import os
import re
import shutil
import ssl

import kit

MAIN = """\
smtp_tls_security_level = may
smtp_tls_loglevel = 2
smtp_tls_CAfile =
smtp_tls_policy_maps = hash:{etc}/tls_policy
transport_maps = inline:{{ {{ brackets.example = smtp:[mx.brackets.example]:25 }} {{ stsfree.example = loose: }} {{ b.wild.example = loose: }} {{ stswild.b.example = loose: }} }}
minimal_backoff_time = 600s
queue_run_delay = 600s
smtp_randomize_addresses = no
"""


def run(env):
    records, sinks, table, n = [], {}, [], [10]
    good, bad = {}, {}

    def domain(name, cert, key, entry, line=None, reason=None):
        """A domain with a server that shows `cert`; sent with `line` in the log, or deferred with `reason`."""
        n[0] += 1
        address = "127.0.1.%d" % n[0]
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(cert, key)
        asked = []
        ctx.sni_callback = lambda sock, server_name, c: asked.append(server_name)
        sinks[name] = env.sink(address, keywords=("PIPELINING", "STARTTLS"), tls=ctx)
        sinks[name].asked = asked
        records.extend(["%s. MX 10 mx.%s." % (name, name), "mx.%s. A %s" % (name, address)])
        if entry is not None:
            table.append("%s %s" % (name, entry))
        (good if reason is None else bad)[name] = line if reason is None else reason

    env.ca()
    env.ca("otherca")
    fp_ca, fp_other = env.fingerprint(env.path("ca.pem")), env.fingerprint(env.path("otherca.pem"))

    def chain(name, ca="ca"):
        cert, key = env.cert(name, ca=ca)
        with open(cert, "a") as f:
            f.write(open(env.path(ca + ".pem")).read())
        return cert, key

    mismatch = r"4\.7\.5, status=deferred \(Server certificate not verified\)"
    problem = r"4\.7\.5, status=deferred \(client TLS configuration problem\)"

    # the 2013 design, its first policy: an authority by its fingerprint, known to nobody here
    policy = "secure \\\n  digest=sha-256 \\\n  rootca=%s \\\n  rootca=%s \\\n  match=%%s" % (fp_other, fp_ca)
    policy = policy.replace(" \\\n", "\n")      # a policy table continues lines by white space
    domain("root.example", *chain("mx.root.example"), policy % "mx.root.example", r"Matched trust anchor fingerprint: " + fp_ca)
    domain("rootdot.example", *chain("mx.rootdot.example"), policy % ".rootdot.example", r"matched peername: mx\.rootdot\.example")
    domain("rootname.example", *chain("mx.elsewhere.example"), policy % "mx.rootname.example", reason=mismatch)
    domain("rootother.example", *chain("mx.rootother.example"), "secure digest=sha-256 rootca=%s match=mx.rootother.example" % fp_other, reason=mismatch)
    domain("rootkey.example", *chain("mx.rootkey.example"), "verify digest=sha512 rootca=%s" % env.pubkey_fingerprint(env.path("ca.pem"), "sha512"),
           r"Matched trust anchor fingerprint: ")
    domain("rootbad.example", *chain("mx.rootbad.example"), "secure digest=sha512 rootca=%s match=mx.rootbad.example" % fp_ca, reason=problem)
    # the second policy: servers by their fingerprints
    cert, key = env.cert("anything.invalid", ca=None)
    domain("ee.example", cert, key, "fingerprint\n  digest=sha-256\n  match=%s\n  match=%s" % (fp_other, env.fingerprint(cert)),
           r"Matched fingerprint: " + env.fingerprint(cert).replace(":", ""))
    domain("eekey.example", cert, key, "fingerprint digest=sha1 match=%s|%s" % (env.fingerprint(env.path("ca.pem"), "sha1"), env.pubkey_fingerprint(cert, "sha1")),
           r"Matched fingerprint: " + env.pubkey_fingerprint(cert, "sha1").replace(":", ""))
    domain("eeother.example", cert, key, "fingerprint digest=sha-256 match=" + fp_ca, reason=mismatch)

    # trust anchor files: root, intermediate, leaf, keys (5.1); CAfile is not asked
    s = env.signet("gw", start=False)
    os.makedirs(os.path.join(s.conf, "ta"))

    def ta(name, source, pubkey=False):
        path = os.path.join(s.conf, "ta", name)
        if pubkey:
            with open(path, "w") as f:
                f.write(kit.sh("openssl", "x509", "-in", source, "-noout", "-pubkey"))
        else:
            shutil.copy(source, path)
        return path
    root_ta, key_ta = ta("root.pem", env.path("ca.pem")), ta("rootkey.pem", env.path("ca.pem"), True)
    domain("taroot.example", *env.cert("mx.taroot.example"), "verify tafile=" + root_ta, r"Verified TLS connection established to mx\.taroot")
    domain("takey.example", *chain("mx.takey.example"), "verify tafile=" + key_ta, r"Verified TLS connection established to mx\.takey")
    self_cert, self_key = env.cert("mx.taleaf.example", ca=None)
    domain("taleaf.example", self_cert, self_key, "verify tafile=" + ta("leaf.pem", self_cert), r"Verified TLS connection established to mx\.taleaf")
    domain("taleafname.example", self_cert, self_key, "verify tafile=" + ta("leaf2.pem", self_cert), reason=mismatch)
    domain("taboth.example", *env.cert("mx.taboth.example", ca="otherca"), "secure match=hostname tafile=%s tafile=%s" % (root_ta, ta("other.pem", env.path("otherca.pem"))),
           r"Verified TLS connection established to mx\.taboth")
    domain("taother.example", *env.cert("mx.taother.example", ca="otherca"), "verify tafile=" + root_ta, reason=mismatch)
    domain("tamissing.example", *env.cert("mx.tamissing.example"), "verify tafile=%s/ta/none.pem" % s.conf, reason=r"4\.7\.5, status=deferred \(.*none\.pem: No such file")
    env.write("gw/etc/ta/empty.pem", "no certificate here\n")
    domain("taempty.example", *env.cert("mx.taempty.example"), "verify tafile=%s/ta/empty.pem" % s.conf, reason=r"4\.7\.5, status=deferred \(.*no trust anchors")

    # a Common Name alone does not count (RFC 9525)
    domain("cn.example", *env.cert("mx.cn.example", sans=[]), "verify tafile=" + root_ta, reason=mismatch)

    # MTA-STS entries of a daemon (3.5, 20.4); smtp_tls_enforce_sts_mx_patterns and tls_wildcard_matches_multiple_labels, as configured and the other way
    sts = "secure policy_type=sts { policy_string = version: STSv1 } { policy_string = mode: enforce } tafile=%s " % root_ta
    unavailable = r"4\.3\.0, status=deferred \(server unavailable or unable to receive mail\)"
    domain("sts.example", *env.cert("mx.sts.example"), sts + "match=.sts.example mx_host_pattern=*.sts.example", r"matched peername: mx\.sts\.example")
    domain("stsname.example", *env.cert("other.stsname.example"), sts + "match=.stsname.example mx_host_pattern=*.stsname.example", reason=mismatch)
    domain("stshost.example", *env.cert("mx.stshost.example"), sts + "match=.stshost.example mx_host_pattern=mx2.stshost.example", reason=unavailable)
    domain("stsdeep.deep.example", *env.cert("mx.stsdeep.deep.example"), sts + "match=.deep.example mx_host_pattern=*.deep.example", reason=unavailable)
    domain("stsfree.example", *env.cert("other.stsfree.example"), sts + "match=.stsfree.example mx_host_pattern=mx2.stsfree.example", r"matched peername: other\.stsfree\.example")
    domain("a.wild.example", *env.cert("x", sans=["*.wild.example"]), "verify tafile=" + root_ta, reason=mismatch)
    domain("b.wild.example", *env.cert("x", sans=["*.wild.example"]), "verify tafile=" + root_ta, r"matched peername: \*\.wild\.example")
    domain("stswild.b.example", *env.cert("x", sans=["*.b.example"]), sts + "match=hostname mx_host_pattern=mx.stswild.b.example", reason=mismatch)
    # the rest
    domain("sni.example", *env.cert("x.invalid", ca=None), "encrypt servername=nexthop", r"SNI hostname: sni\.example")
    domain("nosni.example", *env.cert("x.invalid", ca=None), "encrypt servername=none", r"Untrusted TLS connection established to mx\.nosni")
    domain("old.example", *env.cert("x.invalid", ca=None), "encrypt protocols=TLSv1.2 ciphers=high exclude=AES256:CHACHA20", r"to mx\.old\S+: TLSv1\.2 with cipher \S*AES128")
    domain("braces.example", *env.cert("mx.braces.example"), "{ tafile = %s } { match = mx.other.example : mx.braces.example } { protocols = >=TLSv1.2 }" % root_ta,
           r"matched peername: mx\.braces\.example")
    table[-1] = table[-1].replace("braces.example {", "braces.example secure {", 1)
    domain("b\u00fccher.example".encode("idna").decode(), *env.cert("x.invalid", ca=None), None, r"established to mx\.xn--bcher-kva\.example\S+: TLSv1\.2 ")
    table.append("b\u00fccher.example encrypt protocols=TLSv1.2")      # 20.7: the U-label key serves the A-label next hop
    domain("brackets.example", *env.cert("x.invalid", ca=None), None, r"established to mx\.brackets\.example\S+: TLSv1\.2 ")
    table.append("[mx.brackets.example] encrypt protocols=TLSv1.2")     # 20.13: [host]:25 is [host]
    domain("sub.parent.example", *env.cert("x.invalid", ca=None), None, r"established to mx\.sub\.parent\.example\S+: TLSv1\.2 ")
    table.append(".parent.example encrypt protocols=TLSv1.2")
    domain("clear.example", *env.cert("x.invalid", ca=None), "none", r"status=sent")
    for name, entry in {"unknown": "secure colour=red", "empty": "encrypt ciphers=", "where": "encrypt match=a.example", "twice": "secure rootca=%s tafile=%s" % (fp_ca, root_ta),
                        "digest": "fingerprint digest=sha-257 match=" + fp_ca, "short": "fingerprint match=AA:BB", "level": "secur", "dnssec": "dane",
                        "brace": "secure { match = a", "cipher": "encrypt exclude=NOSUCH"}.items():
        domain(name + "err.example", cert, key, entry, reason=problem)
    env.dns(records)
    env.write("gw/etc/tls_policy", "\n".join(table) + "\n")
    s.main_cf += env.dns_params
    s.set(MAIN.format(etc=s.conf),
          kit.MASTER_CF.format(smtp="127.0.0.1:25") +
          "loose unix - - n - - smtp -o smtp_tls_enforce_sts_mx_patterns=no -o tls_wildcard_matches_multiple_labels=yes\n")
    s.start()

    qids = {name: kit.queue_id(kit.send(rcpts="u@" + name)) for name in list(good) + list(bad)}
    for name, line in good.items():
        s.wait_log(r"%s: to=<u@%s>, relay=\S+, .*status=sent" % (qids[name], re.escape(name)))
        kit.check(s.has_log(line), "%s: no /%s/" % (name, line))
    for name, reason in bad.items():
        s.wait_log(r"%s: to=<u@%s>, .*dsn=%s" % (qids[name], re.escape(name), reason))
        kit.check(not sinks[name].messages, "%s got its mail" % name)
    kit.check(sinks["sni.example"].asked == ["sni.example"], "servername=nexthop: %s" % sinks["sni.example"].asked)
    kit.check(sinks["nosni.example"].asked == [None], "servername=none: %s" % sinks["nosni.example"].asked)
    kit.check(sinks["root.example"].asked == ["mx.root.example"], "the MX host by default (20.11)")
    kit.check("STARTTLS" not in sinks["clear.example"].commands, "none is none")
    for name in ("unknownerr.example", "rootbad.example", "tamissing.example"):
        kit.check(sinks[name].connections == 0, "%s: nobody connects" % name)
    s.wait_log(r'warning: .*smtp_tls_policy_maps, next-hop destination "unknownerr\.example": unknown attribute "colour"')
    s.wait_log(r'next-hop destination "dnssecerr\.example": level dane needs DNSSEC: smtp_dns_support_level is not dnssec')
    kit.check(not s.has_log("status=bounced"), "TLS policy never bounces")
