"""The configuration of the 2007/2008 blog runs as it stands there: default none with STARTTLS offers noted, hash: policy table,
hashed CApath; verify, secure, secure match=, fingerprint match=; what does not satisfy the policy waits in the queue, and is not bounced."""
import os
import shutil
import ssl

import kit

MAIN = """\
compatibility_level = 0
# TLS grundsaetzlich deaktivieren, Aktivierung erfolgt dann fallweise.
smtp_tls_security_level = none
smtp_tls_note_starttls_offer = yes
smtp_tls_loglevel = 1
smtp_tls_policy_maps = hash:{etc}/tls_policy
smtp_tls_CApath = {etc}/tls/cacerts.d
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
append_dot_mydomain = no
"""


def run(env):
    hosts = {}
    records = []

    def host(domain, n, mx, cert, key):
        records.extend(["%s. MX 10 %s." % (domain, mx), "%s. A 127.0.0.%d" % (mx, n)])
        hosts[domain] = ("127.0.0.%d" % n, cert, key)

    env.ca("otherca")
    host("binblog.de", 11, "mx.binblog.de", *env.cert("mx.binblog.de"))
    host("example.com", 12, "mx1.example.com", *env.cert("mx1.example.com"))
    host("scsy.de", 13, "vortex.f00.net", *env.cert("vortex.f00.net"))
    host("selfsigned.example", 14, "mx.selfsigned.example", *env.cert("anything.invalid", ca=None))
    host("plain.example", 15, "mx.plain.example", *env.cert("mx.plain.example"))
    # a certificate of those years: a Common Name and no other; counts at this compatibility_level (tls_match_subject_cn)
    host("cn.example", 16, "mx.cn.example", *env.cert("mx.cn.example", sans=[]))
    # and those that must not get their mail
    host("untrusted.example", 21, "mx.untrusted.example", *env.cert("mx.untrusted.example", ca="otherca"))
    host("misnamed.example", 22, "mx.misnamed.example", *env.cert("mx.other.example"))
    host("wrongprint.example", 23, "mx.wrongprint.example", *env.cert("mx.wrongprint.example"))
    env.dns(records)
    sinks = {}
    for domain, (address, cert, key) in hosts.items():
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(cert, key)
        sinks[domain] = env.sink(address, keywords=("PIPELINING", "STARTTLS", "8BITMIME"), tls=ctx)
    notls = env.sink("127.0.0.24", keywords=("PIPELINING",))
    # the policy table, with the continuation line of the blog
    table = """\
binblog.de verify
example.com secure
scsy.de secure match=vortex.f00.net
selfsigned.example fingerprint
  match=%s
untrusted.example verify
misnamed.example secure
wrongprint.example fingerprint match=%s
cn.example verify
[127.0.0.24] encrypt
""" % (env.fingerprint(hosts["selfsigned.example"][1], "md5"), env.fingerprint(hosts["selfsigned.example"][1], "md5"))
    s = env.signet("gw", start=False, files={"tls_policy": table})
    cacerts = os.path.join(s.conf, "tls", "cacerts.d")
    os.makedirs(cacerts)
    shutil.copy(env.ca(), os.path.join(cacerts, "ca.pem"))
    kit.sh("openssl", "rehash", cacerts)
    s.set(MAIN.format(etc=s.conf))
    s.start()

    good = ["binblog.de", "example.com", "scsy.de", "selfsigned.example", "plain.example", "cn.example"]
    for d in good:
        qid = kit.queue_id(kit.send(rcpts="user@" + d))
        s.wait_log(r"%s: to=<user@%s>, relay=\S+, .*status=sent" % (qid, d.replace(".", r"\.")))
    verified = r"Verified TLS connection established to %s\[127\.0\.0\.%d\]:25: TLSv1\.3 with cipher TLS_AES_256_GCM_SHA384 \(256/256 bits\)"
    s.wait_log(verified % (r"mx\.binblog\.de", 11))
    s.wait_log(verified % (r"mx1\.example\.com", 12))
    s.wait_log(verified % (r"vortex\.f00\.net", 13))
    s.wait_log(verified % (r"mx\.selfsigned\.example", 14))
    s.wait_log(r"Host offered STARTTLS: \[mx\.plain\.example\]")
    kit.check(not s.has_log(r"TLS connection established to mx\.plain"), "level none must not use TLS")

    bad = [("user@untrusted.example", r"dsn=4\.7\.5, status=deferred \(Server certificate not trusted|dsn=4\.7\.5, status=deferred \(Server certificate not verified"),
           ("user@misnamed.example", r"dsn=4\.7\.5, status=deferred \(Server certificate not verified"),
           ("user@wrongprint.example", r"dsn=4\.7\.5, status=deferred \(Server certificate not verified"),
           ("user@[127.0.0.24]", r"dsn=4\.7\.4, status=deferred \(TLS is required, but was not offered by host 127\.0\.0\.24\[127\.0\.0\.24\]")]
    for rcpt, status in bad:
        qid = kit.queue_id(kit.send(rcpts=rcpt))
        s.wait_log(r"%s: to=<%s>.*(%s)" % (qid, rcpt.replace(".", r"\.").replace("[", r"\[").replace("]", r"\]"), status))
    kit.check(not s.has_log("status=bounced"), "TLS policy never bounces")
    kit.check(len(s.queue_list()) == len(bad), "all of them wait")
    for d in ("untrusted.example", "misnamed.example", "wrongprint.example"):
        kit.check(not sinks[d].messages, "%s must get nothing" % d)
        kit.check(not any(c.upper().startswith("MAIL") for c in sinks[d].commands), "%s: no MAIL at all" % d)
    kit.check(not notls.messages, "no clear text")
    s.wait_log(r"certificate verification failed for mx\.untrusted\.example\[127\.0\.0\.21\]:25: ")

    # a typo in the table costs delay, never protection; mending it heals within seconds, no reload
    with open(os.path.join(s.conf, "tls_policy"), "a") as f:
        f.write("plain.example secur\n")
    kit.wait_until("the table to be built again", lambda: b"secur" in kit.send_and_log(s, "user@plain.example"), 30)
    s.wait_log(r"warning: .*plain\.example.*secur")
    kit.check(s.has_log(r"to=<user@plain\.example>.*dsn=4\.7\.5, status=deferred \(client TLS configuration problem"), "deferred 4.7.5")
