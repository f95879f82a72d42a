"""signet tls tlsa: records for our certificates, the current and the next, compared with what a signed tree of zones holds."""
import hashlib
import json
import os
import subprocess

import kit
import zones

MAIN = "smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_security_level = may\n"


def tlsa(s, *argv):
    r = subprocess.run([os.path.join(kit.BUILD, "src", "signet"), "-c", s.conf, "tls", "tlsa", *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return r.returncode, r.stdout


def run(env):
    ca = env.ca()
    cert, key = env.cert("mx.example")
    with open(cert, "a") as f:
        f.write(open(ca).read())
    other, _ = env.cert("old.invalid", ca=None)
    coming, _ = env.cert("mx.example", ca=None)
    tree = zones.Tree(env)
    rr = {"right": [zones.tlsa(env, cert)], "stale": [zones.tlsa(env, other), zones.tlsa(env, cert)], "wrong": [zones.tlsa(env, other)],
          "ta": [zones.tlsa(env, ca, 2, 1, 1)], "full": [zones.tlsa(env, cert, 3, 0, 0)], "pkix": [zones.tlsa(env, cert, 1, 1, 1)], "next": [zones.tlsa(env, cert), zones.tlsa(env, coming)], "none": []}
    tree.zone("example.", ["_25._tcp.%s.example. TLSA %s" % (n, r) for n, v in rr.items() for r in v] + ["_587._tcp.right.example. TLSA " + zones.tlsa(env, cert)])
    tree.zone("plain.", ["_25._tcp.mx.plain. TLSA " + zones.tlsa(env, cert)], "insecure")
    tree.zone("bogus.", ["_25._tcp.mx.bogus. TLSA " + zones.tlsa(env, cert)], "bogus")
    # a key that has no certificate yet, for --next and for raw public keys
    env.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "new.key")
    env.openssl("pkey", "-in", "new.key", "-pubout", "-out", "new.pub")
    der = subprocess.run(["openssl", "pkey", "-pubin", "-in", env.path("new.pub"), "-outform", "DER"], check=True, stdout=subprocess.PIPE).stdout
    new = "3 1 1 " + hashlib.sha256(der).hexdigest().upper()
    tree.zones["example."][0].extend(["_25._tcp.newkey.example. TLSA " + r for r in (zones.tlsa(env, cert), new)])
    tree.zone("broken.", ["_25._tcp.mx.broken. TLSA " + zones.tlsa(env, cert)], "broken")
    tree.start()
    s = env.signet("mta", MAIN % (cert, key))
    want = zones.tlsa(env, cert)
    code, out = tlsa(s, "--no-check")
    kit.check(code == 0 and "_25._tcp.mta.test. IN TLSA %s\n" % want in out and "not compared with DNS" in out, out)
    for host, ok, text in (("right.example", True, "published: %s  current" % want), ("stale.example", True, "%s  stale" % zones.tlsa(env, other)),
                           ("wrong.example", False, "a certificate in use has no record"), ("none.example", False, "nothing is published at _25._tcp.none.example"),
                           ("full.example", True, "  current"), ("pkix.example", False, "usage that mail servers do not use"), ("mx.plain", False, "not proven by DNSSEC"),
                           ("mx.bogus", False, "the lookup of _25._tcp.mx.bogus failed (bogus: "), ("mx.broken", False, "the lookup of _25._tcp.mx.broken failed (failed: "), ("ta.example", False, "  stale")):
        code, out = tlsa(s, host)
        kit.check((code == 0) == ok and text in out, "%s: %d\n%s" % (host, code, out))
    code, out = tlsa(s, "--ta", "ta.example")
    kit.check(code == 0 and "IN TLSA %s\n" % zones.tlsa(env, ca, 2, 1, 1) in out and "  issuer" in out, out)
    # a key: its record is "3 1 1", published or not
    for name in ("new.key", "new.pub"):
        code, out = tlsa(s, "--next", env.path(name), "newkey.example")
        kit.check(code == 0 and "; next: a key without certificate (EC, 256 bits)\n_25._tcp.newkey.example. IN TLSA %s\n" % new in out and "published: %s  next\n" % new in out, out)
    code, out = tlsa(s, "--next", env.path("new.pub"), "--json", "right.example")
    kit.check(code == 0 and json.loads(out)["needed"][1] == {"key": "a key without certificate (EC, 256 bits)", "whose": "next", "name": "_25._tcp.right.example", "record": new}, out)
    # a server that master_service_disable keeps from running is not asked for
    other_cert, other_key = env.cert("disabled.invalid", ca=None)
    s.set(master_cf=kit.MASTER_CF.format(smtp="127.0.0.1:25") + "127.0.0.1:587 inet n - n - - smtpd -o smtpd_tls_cert_file=%s -o smtpd_tls_key_file=%s\n" % (other_cert, other_key))
    code, out = tlsa(s, "right.example")
    kit.check(code == 1 and "missing: a record for the certificate /CN=disabled.invalid" in out, out)
    s.set(MAIN % (cert, key) + "master_service_disable = 127.0.0.1:587/inet\n")
    code, out = tlsa(s, "right.example")
    kit.check(code == 0 and "disabled.invalid" not in out, out)
    s.set(MAIN % (cert, key) + "master_service_disable = inet\n")
    code, out = tlsa(s, "right.example")
    kit.check(code == 1 and "master_service_disable has them all" in out, out)
    s.set(MAIN % (cert, key), kit.MASTER_CF.format(smtp="127.0.0.1:25"))
    alone, alone_key = env.cert("alone.invalid", ca=None, key="rsa")
    s.set(MAIN % (cert, key) + "smtpd_tls_eccert_file = %s\nsmtpd_tls_eckey_file = %s\n" % (alone, alone_key))
    code, out = tlsa(s, "--ta", "ta.example")
    kit.check(code == 1 and "missing: a record for the certificate /CN=alone.invalid" in out and out.count("missing:") == 1, "the issuer of one covers no other: %d %s" % (code, out))
    s.set(MAIN % (cert, key))
    code, out = tlsa(s, "--next", coming, "next.example")
    kit.check(code == 0 and "%s  next" % zones.tlsa(env, coming) in out and "IN TLSA %s\n" % zones.tlsa(env, coming) in out, out)
    code, out = tlsa(s, "--port", "587", "right.example")
    kit.check(code == 0 and "_587._tcp.right.example. IN TLSA" in out, out)
    code, out = tlsa(s, "--json", "wrong.example")
    j = json.loads(out)
    kit.check(code == 1 and j["ok"] is False and j["needed"][0]["record"] == want and j["published"][0]["matches"] == "stale", out)
    for argv, text in ((["--next", "/nonexistent"], "/nonexistent"), (["--next", env.write("junk", "junk\n")], "junk: no trust anchors in it"), (["--port", "x"], "unknown argument"), (["a", "b"], "unknown argument")):
        code, out = tlsa(s, *argv)
        kit.check(code != 0 and text in out, "%s: %d %s" % (argv, code, out))
    s.stop()
    code, out = tlsa(s, "right.example")
    kit.check(code == 1 and want in out and "DNS was not asked: cannot reach signetd" in out, out)
    s.set("smtpd_tls_security_level = none\n")
    code, out = tlsa(s)
    kit.check(code == 1 and "no certificate is configured" in out and out.count("\n") == 1, out)
    s.set(MAIN % ("/nonexistent/cert", key))
    code, out = tlsa(s)
    kit.check(code == 1 and "/nonexistent/cert" in out and out.count("\n") == 1, out)
