"""signet tls explain says what delivery then does: for every scenario the explanation is taken first (live, and again from recorded facts),
then a message is sent, and what happened must be what the explanation predicts from it and from how the server really is."""
import json
import os
import re
import ssl
import subprocess

import kit
import zones

POLICY = """\
none.example    none
may.example     may
encrypt.example encrypt
noenc.example   encrypt
fp.example      fingerprint match=%(good)s
fpbad.example   fingerprint match=%(wrong)s
fpkey.example   fingerprint match=%(key)s
verify.example  verify
vbad.example    verify match=other.example
secure.example  secure match=mx.secure.example
sbad.example    secure
subdom.example  secure match=.subdom.example
untrusted.example secure match=mx.untrusted.example
typo.example    secur
attr.example    encrypt frobnicate=1
ciphers.example encrypt ciphers=hihg
short.example   fingerprint match=AB:CD
only.example    dane-only
onlyno.example  dane-only
.parent.example encrypt
[mx.lit.example]:2525 encrypt
"""

MAIN = """\
smtp_tls_security_level = dane
smtp_tls_loglevel = 1
smtp_tls_CAfile = %(ca)s
smtp_tls_policy_maps = texthash:%(policy)s
transport_maps = inline:{ { lit.example = smtp:[mx.lit.example]:2525 } { lmtp.example = lmtp:unix:%(lmtp)s } { addr.example = smtp:[127.0.1.200] } }
minimal_backoff_time = 600s
queue_run_delay = 600s
"""


class Scenarios:
    """What there is: domain -> how its only server really is."""
    def __init__(self, env, tree):
        self.env, self.tree, self.lines, self.plain, self.truth, self.n = env, tree, [], [], {}, 10

    def server(self, starttls, cert, key, port=25):
        self.n += 1
        address = "127.0.1.%d" % self.n
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(cert, key)
        self.env.sink(address, port, keywords=("PIPELINING", "STARTTLS") if starttls else ("PIPELINING",), tls=ctx)
        return address

    def add(self, name, starttls=True, matches=True, cert=None, records=(), mx=True, into=None, port=25):
        """`matches`: would the certificate satisfy a level that demands one?"""
        into = self.lines if into is None else into
        cert = cert or self.env.cert("mx." + name)
        address = self.server(starttls, *cert, port=port)
        host = "mx." + name if mx else name
        into.extend((["%s. MX 10 %s." % (name, host)] if mx else []) + ["%s. A %s" % (host, address)])
        into.extend("_25._tcp.%s. TLSA %s" % (host, r) for r in records)
        self.truth[name] = (starttls, matches)


def build(env):
    tree = zones.Tree(env)
    sc = Scenarios(env, tree)
    ca = env.ca()
    good, other = env.cert("mx.fp.example"), env.cert("other.invalid", ca=None)
    for name in ("none", "may", "encrypt", "verify", "secure"):
        sc.add(name + ".example")
    sc.add("noenc.example", starttls=False)
    sc.add("maynotls.example", starttls=False)
    for name, ok in (("fp", True), ("fpbad", False), ("fpkey", True)):
        sc.add(name + ".example", cert=good, matches=ok)
    sc.add("vbad.example", matches=False)
    sc.add("sbad.example", matches=False)           # secure wants sbad.example or a subdomain of it: mx.sbad.example is one
    sc.truth["sbad.example"] = (True, True)
    sc.add("subdom.example")
    sc.add("untrusted.example", cert=other, matches=False)
    for name in ("typo", "attr", "ciphers", "short"):
        sc.add(name + ".example")
    sc.add("child.parent.example")
    # DANE: usable, wrong, unusable, none, dane-only with and without, half-dane, insecure, bogus, implicit MX
    sc.add("dane.example", cert=other, records=[zones.tlsa(env, other[0])])
    sc.add("danebad.example", cert=other, records=[zones.tlsa(env, good[0])], matches=False)
    sc.add("danenotls.example", cert=other, records=[zones.tlsa(env, other[0])], starttls=False)
    sc.add("unusable.example", cert=other, records=["1 1 1 " + "00" * 32])
    sc.add("nodane.example")
    sc.add("only.example", cert=other, records=[zones.tlsa(env, other[0])])
    sc.add("onlyno.example")
    sc.add("bogus.example", cert=other)
    tree.zone("_tcp.mx.bogus.example.", ["_25._tcp.mx.bogus.example. TLSA " + zones.tlsa(env, other[0])], "bogus")
    sc.add("implicit.example", cert=other, records=[zones.tlsa(env, other[0])], mx=False)
    sc.add("insecure.plain", cert=other, records=[zones.tlsa(env, good[0])], into=sc.plain)
    sc.lines.extend(["mx.half.example. A " + sc.server(True, *other), "_25._tcp.mx.half.example. TLSA " + zones.tlsa(env, other[0])])
    sc.plain.append("half.plain. MX 10 mx.half.example.")
    sc.truth["half.plain"] = (True, True)
    # next hops of other forms, and names without a server
    sc.add("lit.example", port=2525)
    ctx = env.sink("127.0.1.200")
    sc.truth["addr.example"] = (False, True)
    env.lmtp = env.path("lmtp.sock")
    env.sink(env.lmtp, lmtp=True)
    sc.truth["lmtp.example"] = (False, True)
    sc.lines.append("null.example. MX 0 .")
    for name in ("null.example", "nx.example"):
        sc.truth[name] = None
    tree.zone("example.", sc.lines).zone("plain.", sc.plain, "insecure").start()
    wrong = ":".join(["AA"] * 32)
    env.policy = env.write("policy", POLICY % {"good": env.fingerprint(good[0]), "key": env.pubkey_fingerprint(good[0]), "wrong": wrong})
    return sc, ca


def predict(e, truth):
    """From the explanation of a next hop with one server and the truth about that server: (status, text in the log)."""
    if "reason" in e:
        return ("bounced" if e["dsn"][0] == "5" else "deferred"), "dsn=%s, .*%s" % (re.escape(e["dsn"]), re.escape(e["reason"][:60]))
    (server,) = e["servers"]
    if not server["usable"]:
        return "deferred", "dsn=%s, status=deferred \\(%s" % (re.escape(server["dsn"]), re.escape(server["reason"]))
    starttls, matches = truth
    if not server["starttls"]:
        return "sent", "tls=none, dsn=2"
    field = server["log_field"][4:]
    if not starttls:
        return ("sent", "tls=%s:none, dsn=2" % field.split(":")[0]) if server["on_no_starttls"] == "clear" else ("deferred", "dsn=4.7.4, .*TLS is required, but was not offered")
    if server["must_match"] and not matches:
        return "deferred", "tls=!%s, dsn=4.7.5, .*Server certificate not verified" % re.escape(field)
    return "sent", "tls=%s, dsn=2" % re.escape(field)


def explain(s, *argv):
    return json.loads(s.cli("tls", "explain", "--json", *argv))


def live_and_again(env, s, name):
    """The explanation; made again from the facts that it wrote down it is the same."""
    path = env.path("facts-" + name)
    live = explain(s, "--save-facts", path, "u@" + name)
    again = explain(s, "--facts", path)
    kit.check(again["servers"] == live["servers"], "%s: live\n%s\nrecorded\n%s" % (name, live["servers"], again["servers"]))
    return live


def deliver(s, name, e, truth):
    status, line = predict(e, truth)
    since = s.mark()
    qid = kit.queue_id(kit.send(rcpts=["u@" + name]))
    got = s.wait_log(r"%s: to=<u@%s>, .*status=(\w+)" % (qid, re.escape(name)), since).group(1)
    kit.check(got == status and s.has_log(r"%s: to=<u@%s>, .*%s" % (qid, re.escape(name), line), since),
              "%s: explain predicts %s and /%s/; the log says\n%s\nthe explanation was\n%s" % (name, status, line, s.log()[since:], json.dumps(e["servers"], indent=1)[:3000]))
    return s.log()[since:]


def run(env):
    sc, ca = build(env)
    s = env.signet("gw", MAIN % {"ca": ca, "policy": env.policy, "lmtp": env.lmtp})
    kit.check(len(sc.truth) >= 30, "%d scenarios" % len(sc.truth))
    for name, truth in sc.truth.items():
        e = live_and_again(env, s, name)
        log = deliver(s, name, e, truth)
        if truth and truth[0] and truth[1] and e.get("servers") and e["servers"][0].get("starttls") and e["servers"][0]["usable"]:
            words = e["servers"][0]["trust_when_matched"].replace(" or ", ", ").split(", ")
            kit.check(re.search(r"(%s) TLS connection established to " % "|".join(words), log), "%s: none of %s in\n%s" % (name, words, log))
    text = s.cli("tls", "explain", "u@typo.example")
    kit.check('typo.example: "secur" (%s:14)' % env.policy in text and "not usable: 4.7.5 client TLS configuration problem" in text
              and 'secur' in text, text)
    text = s.cli("tls", "explain", "dane.example")
    for part in ("postmaster@dane.example", "MX 1 record, secure", "_25._tcp.mx.dane.example, 1 record, secure", ": usable", "smtp_tls_security_level",
                 "mx.dane.example (TLSA base domain)", "4.7.5 Server certificate not verified", "Verified TLS connection established"):
        kit.check(part in text, "no %r in\n%s" % (part, text))
    text = s.cli("tls", "explain", "u@child.parent.example")
    kit.check('.parent.example: "encrypt" (%s:20)' % env.policy in text, text)
    broken(env, s)
    s.stop()
    bad = s.cli("tls", "explain", "dane.example", check_status=False)
    kit.check("DNS is asked by the running daemon" in bad and "is it running?" in bad and bad.count("\n") <= 1, bad)
    kit.check(explain(s, "--facts", env.path("facts-dane.example"))["servers"][0]["level"] == "dane", "facts need no daemon")
    kit.check('"level": "may"' in s.cli("tls", "explain", "--json", "[127.0.0.9]:26"), "nor do addresses")


def broken(env, s):
    """Files that are no facts: one line each, and nothing dies."""
    with open(env.path("facts-dane.example")) as f:
        good = json.load(f)
    cases = {"not json": "{", "wrong top": "[]", "no format": json.dumps({"facts": {}}), "empty": ""}
    for path, value in (("addresses", 3), ("addresses", [{}]), ("addresses", [1] * 1000), ("params", None), ("params", {"prefix": "x"}), ("table", {"state": "maybe"}), ("mx", []),
                        ("port", 70000), ("hosts", [{"name": 3, "answers": []}])):
        bad = json.loads(json.dumps(good))
        bad["facts"][path] = value
        cases["%s=%s" % (path, value)] = json.dumps(bad)
    worse = json.loads(json.dumps(good))
    worse["facts"]["addresses"][0]["tlsa"]["records"][0]["data"] = "0g"
    cases["hex"] = json.dumps(worse)
    for name, text in cases.items():
        path = env.write("bad-facts", text)
        r = subprocess.run([os.path.join(kit.BUILD, "src", "signet"), "-c", s.conf, "tls", "explain", "--facts", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        kit.check(r.returncode == 1 and r.stderr.startswith("signet tls: " + path) and r.stderr.count("\n") == 1, "%s: %d %r %r" % (name, r.returncode, r.stdout[:200], r.stderr))
