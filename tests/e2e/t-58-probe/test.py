"""signet tls probe against Debian's posttls-finger: the same options, the same servers and records of a signed tree, and the two must see the
same host, verdict, protocol, cipher, fingerprints and matching TLSA record. Where they differ on purpose the case names the paragraph of
doc/design/033 that says why. Then what is ours: the configured policy, exit status, JSON, and that deliveries come out as the probe says."""
import concurrent.futures
import functools
import json
import os
import pwd
import re
import ssl
import subprocess

import kit
import tls_kit
import zones

DOC = os.path.join(kit.TOP, "doc", "design", "033-probe-and-posttls-finger.md")


class World:
    """Servers, records and certificates, made once."""

    def __init__(self, env):
        self.env, self.records, self.plain, self.master, self.n = env, [], [], [], 0
        env.ca()
        env.ca("other-ca")
        self.tree = zones.Tree(env)

    def address(self):
        self.n += 1
        return "127.0.2.%d" % self.n

    # ---- servers
    def postfix(self, cert=None, address=None, port=25, **params):
        """An smtpd of the one Postfix, at an address of its own."""
        address = address or self.address()
        params.setdefault("smtpd_tls_security_level", "may")
        if cert:
            params.update(smtpd_tls_cert_file=cert[0], smtpd_tls_key_file=cert[1])
        self.master.append("%s:%d inet n - n - - smtpd\n%s" % ("[%s]" % address if ":" in address else address, port, "".join(
            "  -o { %s = %s }\n" % (k, v) for k, v in params.items())))
        return address

    def odd(self, ctx=None, port=25, **kw):
        address = self.address()
        kw.setdefault("keywords", tls_kit.STARTTLS)
        self.last = self.env.sink(address, port, tls=ctx, **kw)
        return address

    # ---- names
    def host(self, name, address, *tlsa, mx=False, into=None, port=25):
        """mx: the domain `name` has the MX mx.`name`."""
        into = self.records if into is None else into
        host = "mx." + name if mx else name
        if mx:
            into.append("%s. MX 10 %s." % (name, host))
        into.append("%s. %s %s" % (host, "AAAA" if ":" in address else "A", address))
        into.extend("_%d._tcp.%s. TLSA %s" % (port, host, r) for r in tlsa)


def expired(env, name, ca):
    env.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name + ".key", "-out", name + ".csr", "-subj", "/CN=" + name)
    env.sign_expired(name, ca, "subjectAltName=DNS:" + name)
    with open(env.path(name + ".pem"), "a") as f, open(env.path(ca + ".pem")) as root:
        f.write(root.read())
    return env.path(name + ".pem"), env.path(name + ".key")


def with_issuer(env, cert, ca="ca"):
    path = cert[0] + ".chain"
    with open(path, "w") as out:
        for p in (cert[0], env.path(ca + ".pem")):
            with open(p) as f:
                out.write(f.read())
    return path, cert[1]


def build(env):
    """The zone. Names say what is there."""
    zones.der = functools.lru_cache(None)(zones.der)            # certificates do not change here
    w = World(env)
    ca, good = env.path("ca.pem"), env.cert("good.example", sans=["good.example", "mx.good.example", "*.wild.example"])
    alone = env.cert("alone.invalid", ca=None)
    chain = with_issuer(env, env.cert("ta.example", sans=["ta.example", "taname.example"]))
    rsa = env.cert("rsa.example", key="rsa")
    old = expired(env, "expired.example", "ca")
    w.good, w.alone, w.chain, w.rsa, w.ca = good, alone, chain, rsa, ca
    t = lambda cert=alone, *what: zones.tlsa(env, cert[0], *what)
    no = "00" * 32
    well, selfsigned, chained, late = w.postfix(good), w.postfix(alone), w.postfix(chain), w.postfix(old)
    w.well = well
    # DANE-EE in all its forms, on a certificate that proves nothing by itself
    for usage in ("310", "311", "312", "300", "301", "302"):
        w.host("d%s.example" % usage, selfsigned, t(alone, *map(int, usage)), mx=True)
    w.host("dwrong.example", selfsigned, "3 1 1 " + no)
    w.host("dmixed.example", selfsigned, "3 1 1 " + no, t(), "1 1 1 " + no)
    w.host("dagile.example", selfsigned, t(alone, 3, 1, 1), "3 1 2 " + no * 2)        # the stronger digest counts
    w.host("dagiletoo.example", selfsigned, "3 1 1 " + no, t(alone, 3, 1, 2))
    w.host("dlate.example", late, t(old))
    w.host("dlateta.example", late, zones.tlsa(env, ca, 2, 0, 1))
    # DANE-TA
    w.host("ta.example", chained, zones.tlsa(env, ca, 2, 0, 1))
    w.host("taname.example", chained, zones.tlsa(env, ca, 2, 1, 1))
    w.host("tawrongname.example", chained, zones.tlsa(env, ca, 2, 0, 1))
    w.host("good.example", well, zones.tlsa(env, ca, 2, 0, 1))                        # the issuer is not in the chain
    w.host("mx.good.example", well, zones.tlsa(env, ca, 2, 0, 0))                     # ... but it is in the record
    w.host("a.wild.example", well, zones.tlsa(env, ca, 2, 1, 0))                      # ... its key is
    w.host("taother.example", chained, zones.tlsa(env, env.path("other-ca.pem"), 2, 0, 1))
    w.host("taee.example", chained, zones.tlsa(env, ca, 2, 0, 1), t(chain))
    # records that nobody can use
    w.host("u0.example", selfsigned, zones.tlsa(env, alone[0], 0, 1, 1))
    w.host("u1.example", selfsigned, zones.tlsa(env, alone[0], 1, 1, 1))
    w.host("usel.example", selfsigned, "3 9 1 " + no)
    w.host("umatch.example", selfsigned, "3 1 9 " + no)
    w.host("ushort.example", selfsigned, "3 1 1 " + no[:40])
    w.host("ugarbage.example", selfsigned, "3 0 0 " + no)
    w.host("uok.example", selfsigned, "1 1 1 " + no, "3 1 9 " + no, t())
    # none, not proven, forged, broken
    w.host("dnone.example", well)
    w.host("dbogus.example", selfsigned)
    w.tree.zone("_tcp.dbogus.example.", ["_25._tcp.dbogus.example. TLSA " + t()], "bogus")
    w.host("dbroken.example", selfsigned)
    w.tree.zone("_tcp.dbroken.example.", ["_25._tcp.dbroken.example. TLSA " + t()], "broken")
    w.host("insecure.plain", selfsigned, t(), into=w.plain)
    w.host("mx.half.example", selfsigned, t())
    w.plain.append("half.plain. MX 10 mx.half.example.")
    w.tree.zone("forged.", ["forged. MX 10 mx.good.example.", "forged. A " + well], "bogus")
    # aliases: of the host, of the record
    w.host("real.example", selfsigned, t())
    w.host("bare.example", selfsigned)
    w.records += ["alias.example. CNAME real.example.", "alias2.example. CNAME bare.example.", "_25._tcp.alias2.example. TLSA " + t(),
                  "viaalias.example. MX 10 alias.example.", "_25._tcp.drecord.example. CNAME tlsa.example.", "tlsa.example. TLSA " + t(),
                  "plainalias.example. CNAME insecure.plain.", "_25._tcp.plainalias.example. TLSA " + t()]
    w.host("drecord.example", selfsigned)
    # MX sets, IPv6, other ports, no servers
    w.host("dead.example", "127.0.2.250")
    w.records += ["two.example. MX 5 dead.example.", "two.example. MX 10 mx.d311.example.", "null.example. MX 0 .", "deadmx.example. MX 10 dead.example.",
                  "nothere.example. MX 10 nx.example.", "onlytxt.example. TXT x"]
    w.host("six.example", w.postfix(alone, address="::1"), t())
    w.host("port.example", w.postfix(alone, port=2525), t(), port=2525)
    # PKIX
    for name in ("secure.example", "other.example", "dom.example"):
        w.host(name, w.postfix(env.cert("mx." + name, sans=["mx." + name])), mx=True)
    w.host("late.example", w.postfix(expired(env, "late.example", "ca")))
    w.host("wild.example", well)
    w.host("x.wild.example", well)
    # protocols, ciphers, keys
    w.host("tls12.example", w.postfix(rsa, smtpd_tls_protocols="<=TLSv1.2"))
    w.host("tls13.example", w.postfix(rsa, smtpd_tls_protocols=">=TLSv1.3"))
    w.host("anon.example", w.postfix(smtpd_tls_cert_file="none", smtpd_tls_protocols="<=TLSv1.2"))
    w.host("anon13.example", w.postfix(smtpd_tls_cert_file="none"))
    w.host("krsa.example", w.odd(tls_kit.context(*rsa, ciphers="kRSA", most=ssl.TLSVersion.TLSv1_2)))
    w.host("chacha.example", w.odd(tls_kit.context(*rsa, ciphers="ECDHE-RSA-CHACHA20-POLY1305", most=ssl.TLSVersion.TLSv1_2)))
    env.openssl("req", "-x509", "-newkey", "rsa:1024", "-nodes", "-keyout", "weak.key", "-out", "weak.pem", "-days", "5", "-subj", "/CN=weak.example")
    weak = tls_kit.context(env.path("weak.pem"), env.path("weak.key"))
    w.host("weak.example", w.odd(weak), zones.tlsa(env, env.path("weak.pem"), 3, 1, 1))
    w.weak = env.path("weak.pem")
    w.host("tls10.example", w.odd(tls_kit.context(*rsa, most=ssl.TLSVersion.TLSv1)))
    # behaviour
    w.host("notls.example", w.postfix(smtpd_tls_security_level="none"), t())
    w.host("plainmail.example", w.postfix(smtpd_tls_security_level="none"))
    w.host("refuses.example", w.odd(script={"STARTTLS": "454 4.7.0 TLS not available"}))
    w.host("leaves.example", w.odd(script={"STARTTLS": "421 4.3.2 going down"}))
    w.host("hangsup.example", w.odd(script={"STARTTLS": lambda conn, line: False}))
    w.host("garbage.example", w.odd(script={"STARTTLS": lambda conn, line: conn.sendall(b"220 go\r\n" + b"no TLS at all\r\n" * 20)}))
    w.host("none.example", well)
    w.host("typo.example", well)
    w.host("watched.example", w.odd(keywords=("PIPELINING",)))
    w.watch = w.last
    w.host("balanced.example", w.odd(tls_kit.context(*rsa, tickets=0), script={"EHLO": Balanced()}))
    w.host("picky.example", w.odd(tls_kit.Picky(tls_kit.context(*rsa, tickets=0), lambda hello: "close" if hello.ticket else None)))
    w.host("closed.example", w.odd(greeting="554 5.3.2 no mail here"))
    w.host("ancient.example", w.odd(greeting="220 old", script={"EHLO": "502 5.5.2 what?", "HELO": "250 old"}))
    # names, by the server name that the client sends
    ctx = tls_kit.context(*good)
    named = tls_kit.context(*env.cert("byname.example"))
    ctx.sni_callback = lambda s, name, c: setattr(s, "context", named) if name == "byname.example" else None
    w.host("byname.example", w.odd(ctx))
    w.host("client.example", w.odd(client_context(env, good)))
    # TLS first, LMTP
    w.host("smtps.example", w.postfix(good, port=465, smtpd_tls_wrappermode="yes"), zones.tlsa(env, good[0]), port=465)
    w.lmtp = env.path("lmtp.sock")
    lmtp = tls_kit.context(*good)
    env.sink(w.lmtp, lmtp=True, keywords=tls_kit.STARTTLS, tls=lmtp)
    w.host("lmtp.example", w.odd(lmtp, port=24, lmtp=True))
    w.tree.zone("example.", w.records).zone("plain.", w.plain, "insecure").start()
    return w


class Balanced:
    """Several servers behind one address: each connection finds the next one."""
    def __init__(self):
        self.names, self.known = iter(["one", "two", "three", "four", "five"]), {}

    def __call__(self, conn, line):
        inside = isinstance(conn, ssl.SSLSocket)
        name = self.known.setdefault(conn.getpeername(), None) or next(self.names)
        self.known[conn.getpeername()] = name
        return "250 " + name if inside else "250-%s\n250 STARTTLS" % name


def client_context(env, cert):
    """TLS 1.2, so that a missing client certificate is a failed handshake for both sides."""
    c = tls_kit.context(*cert, ciphers="ALL:!aNULL", most=ssl.TLSVersion.TLSv1_2)
    c.load_verify_locations(env.path("ca.pem"))
    c.verify_mode = ssl.CERT_REQUIRED
    return c


def resolver(env):
    """Debian's unbound, for posttls-finger: it validates with the test's trust anchor and sets AD."""
    kit.need("unbound", "posttls-finger")
    anchor = re.search(r"dnssec_trust_anchor_files = (\S+)", env.dns_params).group(1)
    conf = env.write("unbound.conf", 'server:\n interface: 127.0.0.54\n access-control: 127.0.0.0/8 allow\n username: ""\n chroot: ""\n directory: "%s"\n'
                     ' pidfile: ""\n use-syslog: no\n do-not-query-localhost: no\n trust-anchor-file: "%s"\nstub-zone:\n name: "."\n stub-addr: 127.0.0.53\n'
                     'remote-control:\n control-enable: no\n' % (env.dir, anchor))
    p = kit.Process(env, ["unbound", "-d", "-c", conf], "unbound")
    kit.wait_until("unbound to answer", lambda: p.alive() and env._udp_answers("127.0.0.54", 53))
    env.write("resolv.conf", "nameserver 127.0.0.54\noptions edns0 trust-ad\n")


# ---- what both say

def facts(text):
    """The facts of a run, from lines that both print."""
    f = {}
    def find(name, pattern, group=1):
        m = re.search(pattern, text, re.M)
        if m:
            f[name] = m.group(group)
    find("host", r"Connected to (\S+)$")
    m = re.search(r"(\w+) TLS connection established to \S+: (\S+) with cipher (\S+) (\(.*?\))(.*)", text)
    if m:
        f.update(word=m.group(1), protocol=m.group(2), cipher=m.group(3) + " " + m.group(4), exchange=m.group(5).strip())
    elif "SSL_connect error" in text:
        f["word"] = "failed"
    elif "STARTTLS rejected" in text:
        f["word"] = "refused"
    elif "host" in f:
        f["word"] = "clear"
    else:
        f["word"] = "unreached"
    find("cert", r"cert fingerprint=([0-9A-F:]+)")
    find("pkey", r"(?:pkey|raw public key) fingerprint=([0-9A-F:]+)")
    find("tlsa", r"Matched DANE (.*)$")
    find("name", r"matched peername: (.*)$")
    find("digest", r"Matched fingerprint: (.*)$")
    f["digest"] = f.get("digest", "").replace(":", "")
    if "Reusing old session" in text:
        f["resumed"] = True
    f["pem"] = re.findall(r"-----BEGIN CERTIFICATE-----[^-]*", text)
    return f


# The same for both: what EHLO says, and groups that the defaults of Postfix and Signet do not have in common.
SAME = ["-o", "myhostname=probe.test", "-o", "tls_eecdh_auto_curves=X25519 prime256v1 secp384r1"]


def finger(env, w, argv):
    mount = 'mount --bind "$0" /etc/resolv.conf && exec posttls-finger "$@"'
    r = subprocess.run(["unshare", "-m", "sh", "-c", mount, env.path("resolv.conf")] + SAME + argv, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, env=dict(os.environ, MAIL_CONFIG=w.pf.conf), timeout=60)
    return r.stdout


def probe(w, argv):
    r = subprocess.run([os.path.join(kit.BUILD, "src", "signet"), "-c", w.s.conf, "tls", "probe"] + SAME + argv, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=60)
    return r.returncode, r.stdout


def raw_keys():
    """Has the library raw public keys (RFC 7250)? Both then ask for them where DANE records are all "3 1 x"."""
    return tuple(map(int, re.search(r"OpenSSL (\d+)\.(\d+)", kit.sh("openssl", "version")).groups())) >= (3, 2)


def cases(env, w):
    """(arguments, verdict, exit status of ours[, (paragraph of the document, {fact: what is ours})])"""
    ca, fp, key = ["-F", w.ca], env.fingerprint(w.good[0]), env.pubkey_fingerprint(w.good[0])
    dane, only, secure, verify = ["-l", "dane"], ["-l", "dane-only"], ["-l", "secure"] + ca, ["-l", "verify"] + ca
    V, U, T, A = "Verified", "Untrusted", "Trusted", "Anonymous"
    rows, raw = [], raw_keys()
    add = lambda argv, word, status, differ=None: rows.append((argv, word, status, differ))
    shown = ("raw-keys-at-secure", dict.fromkeys(("cert", "exchange"), ...)) if raw else None
    for usage in ("310", "311", "312", "300", "301", "302"):
        add(dane + ["d%s.example" % usage], V, 0)
    for name, word in (("dwrong", U), ("dmixed", V), ("dagiletoo", V), ("dlate", V), ("dlateta", U), ("ta", V), ("taname", V), 
                       ("good", U), ("mx.good", V), ("a.wild", V), ("taother", U), ("taee", V), ("u0", U), ("u1", U), ("uok", V), ("real", V), ("alias", V), ("alias2", V), ("viaalias", V), ("drecord", V), ("six", V), ("two", V)):
        add(dane + [name + ".example"], word, 0 if word == V else 1)
    add(dane + ["dagile.example"], V if raw else U, 1, ("agility-of-raw-keys", {"word": U, "tlsa": None}) if raw else None)
    for name in ("usel", "umatch", "ushort", "ugarbage"):
        add(dane + [name + ".example"], U, 1, shown)
    add(dane + ["tawrongname.example"], U, 1, ("record-without-name", {"tlsa": ...}))
    for dest, word, status in (("insecure.plain", U, 1), ("half.plain", T, 0), ("dnone.example", U, 1), ("dbogus.example", "unreached", 1), ("dbroken.example", "unreached", 1),
                               ("forged", "unreached", 75), ("notls.example", "clear", 1), ("[bare.example]", U, 1), ("[mx.d311.example]", V, 0), ("[port.example]:2525", V, 0),
                               ("[127.0.2.1]", U, 1), ("plainalias.example", V, 0)):
        add(dane + [dest], word, status)
    add(dane + ca + ["mx.good.example"], V, 0)
    add(dane + ca + ["dnone.example"], U, 1)
    add(dane + ca + ["secure.example"], V, 0)                           # no records: secure, and that holds
    add(only + ["d311.example"], V, 0)
    add(only + ["dnone.example"], U, 1)
    add(only + ["half.plain"], T, 1, ("dane-only-behind-unsigned-mx", dict(shown[1] if raw else {}, word=U, tlsa=None)))
    add(["-l", "dane", "-M", "encrypt", "half.plain"], U, 0)
    add(["-l", "dane", "-M", "may", "half.plain"], U, 1)
    add(dane + ["-f", "insecure.plain"], U, 1)
    # secure and verify
    add(secure + ["secure.example"], V, 0)
    add(secure + ["[mx.secure.example]"], V, 0)
    add(secure + ["other.example", "mx.secure.example"], U, 1)
    add(secure + ["dom.example", ".dom.example"], V, 0)
    add(secure + ["dom.example", "dom.example"], U, 1)
    add(secure + ["dom.example", "nexthop:x", "hostname"], V, 0)
    add(verify + ["secure.example"], V, 0)
    add(verify + ["secure.example", "nexthop"], U, 1)
    add(["-l", "secure", "secure.example"], U, 1)                       # no CA is trusted unless it is named
    add(secure + ["late.example"], U, 1)
    add(secure + ["wild.example"], V, 0)                                # the default: the next hop, or a name below it
    add(verify + ["wild.example"], U, 1)
    add(secure + ["x.wild.example"], V, 0)
    add(secure + ["d311.example"], U, 1)
    add(["-l", "secure", "-F", env.path("other-ca.pem"), "secure.example"], U, 1)
    add(["-l", "secure", "-P", env.path("capath"), "secure.example"], V, 0)
    add(["-l", "secure", "-A", w.ca, "secure.example"], V, 0)
    add(["-l", "secure", "-A", env.path("other-ca.pem"), "-A", w.ca, "secure.example"], V, 0)
    add(["-l", "secure", "-A", env.path("other-ca.pem"), "-F", w.ca, "secure.example"], U, 1)
    # fingerprints
    add(["-l", "fingerprint", "dnone.example", fp], V, 0)
    add(["-l", "fingerprint", "dnone.example", key], V, 0)
    add(["-l", "fingerprint", "dnone.example", ":".join(["AA"] * 32), key], V, 0)
    add(["-l", "fingerprint", "dnone.example", ":".join(["AA"] * 32)], U, 1)
    add(["-l", "fingerprint", "-d", "sha1", "dnone.example", env.fingerprint(w.good[0], "sha1")], V, 0)
    add(["-l", "fingerprint", "-d", "sha512", "dnone.example", env.pubkey_fingerprint(w.good[0], "sha512")], V, 0)
    add(["-l", "fingerprint", "-x", "dnone.example", key], V, 0)
    add(["-l", "encrypt", "-x", "dnone.example"], U, 0)
    # levels that demand nobody
    add(["-l", "none", "dnone.example"], "clear", 0)
    add(["-l", "may", "dnone.example"], U, 0)
    add(["-l", "may"] + ca + ["dnone.example"], T, 0)
    add(["-l", "encrypt", "dnone.example"], U, 0)
    add(["-l", "encrypt"] + ca + ["-C", "dnone.example"], T, 0)
    add(["-l", "may", "plainmail.example"], "clear", 0)
    add(["-l", "encrypt", "plainmail.example"], "clear", 1)
    add(["-l", "may", "refuses.example"], "refused", 0)
    add(["-l", "encrypt", "refuses.example"], "refused", 1)
    add(["-l", "encrypt", "leaves.example"], "refused", 1)
    add(["-l", "encrypt", "hangsup.example"], "clear", 1)
    add(["-l", "encrypt", "garbage.example"], "failed", 1, ("clear-text-behind-starttls", {"word": "clear"}))
    add(["-l", "may", "closed.example"], "clear", 75)
    add(["-l", "may", "ancient.example"], "clear", 0)
    # protocols, ciphers, keys
    add(["-l", "may", "tls12.example"], A, 0)
    add(["-l", "may", "tls13.example"], U, 0)
    add(["-l", "may", "-p", "<=TLSv1.2", "tls13.example"], "failed", 1)
    add(["-l", "may", "-p", "<=TLSv1.2", "dnone.example"], A, 0)
    add(["-l", "encrypt", "-p", "!TLSv1.3", "dnone.example"], A, 0)
    add(["-l", "encrypt", "-g", "high", "tls12.example"], A, 0)
    add(["-l", "encrypt", "-o", "tls_high_cipherlist=ECDHE-RSA-AES128-GCM-SHA256", "-g", "high", "tls12.example"], U, 0)
    add(["-l", "may", "anon.example"], A, 0)
    add(["-l", "encrypt", "anon.example"], A, 0)
    add(["-l", "secure", "anon.example"], "failed", 1)
    add(["-l", "may", "anon13.example"], A, 0)
    add(["-l", "may", "chacha.example"], U, 0)
    add(["-l", "may", "krsa.example"], U, 0)
    none = dict.fromkeys(("cert", "pkey", "cipher", "protocol", "exchange"))
    add(["-l", "encrypt", "krsa.example"], U, 1, ("weak", dict(none, word="failed")))
    add(["-l", "may", "weak.example"], U, 0)
    add(["-l", "dane", "weak.example"], V, 1, ("weak", {"word": U}))
    add(["-l", "may", "tls10.example"], A, 0)
    # names that are sent, certificates that are shown
    add(secure + ["byname.example"], U, 1)
    add(secure + ["-s", "byname.example", "byname.example"], V, 0)
    add(["-l", "encrypt", "client.example"], "failed", 1)
    add(["-l", "encrypt", "-k", w.good[0], "-K", w.good[1], "client.example"], U, 0)
    add(["-l", "encrypt", "-H", w.both, "client.example"], U, 0)
    add(["-l", "encrypt", "-k", w.both, "client.example"], U, 0)
    # wrapper mode, LMTP
    add(dane + ["-w", "[smtps.example]:465"], V, 0)
    add(["-l", "encrypt", "-w", "[smtps.example]:465"], U, 0)
    add(secure + ["-S", "inet:lmtp.example", "good.example"], V, 0)
    seen = dict.fromkeys(("cert", "pkey", "cipher", "protocol", "exchange"), ...)
    add(secure + ["-S", "unix:" + w.lmtp, "good.example"], "unreached", 0, ("unix-sockets", dict(seen, host=..., word=V, name="good.example")))
    add(["-S", "-l", "encrypt", "unix:" + w.lmtp], "unreached", 0, ("unix-sockets", dict(seen, host=..., word=U)))
    add(["-l", "may", "picky.example"], "failed", 0, ("plainer-tls", dict(seen, word=U)))
    add(["-l", "encrypt", "picky.example"], "failed", 1)
    # where nobody is
    for dest, status in (("nx.example", 1), ("null.example", 1), ("deadmx.example", 75), ("nothere.example", 1), ("onlytxt.example", 1), ("[127.0.2.250]", 75),
                         ("[bare.example]:2600", 75)):
        add(["-l", "may", dest], "unreached", status)
    # sessions
    add(["-l", "encrypt", "-r", "1", "dnone.example"], U, 0)
    add(["-l", "encrypt", "-r", "1", "tls12.example"], A, 0)
    add(["-l", "dane", "-r", "1", "dwrong.example"], U, 1, ("sessions", {"resumed": None}))
    return rows


def compare(env, w, row, document):
    """One case; the text of what is wrong, or None."""
    argv, word, status, differ = row
    theirs_text = finger(env, w, argv)
    got, text = probe(w, argv)
    theirs, ours = facts(theirs_text), facts(text)
    wrong = []
    if got != status:
        wrong.append("exit status %d, not %d" % (got, status))
    expected = dict(theirs)
    if "num=62:hostname mismatch" in theirs_text and theirs["word"] == "Trusted" and word == "Untrusted":
        theirs["word"] = expected["word"] = "Untrusted"         # by the version of their library: "trusted-but-wrong-name"
    if theirs["word"] != word:
        wrong.append("posttls-finger says %s, not %s" % (theirs["word"], word))
    if differ:
        if "**%s**" % differ[0] not in document:
            wrong.append("%s is not in %s" % (differ[0], DOC))
        for name, value in differ[1].items():
            if expected.get(name) == (ours.get(name) if value is ... else value):
                wrong.append("no difference in %s any more" % name)
            expected[name] = ours.get(name) if value is ... else value
            if value is ... and name not in ours:
                wrong.append("%s is missing in ours" % name)
    for name in sorted(set(expected) | set(ours)):
        if expected.get(name) != ours.get(name):
            wrong.append("%s: theirs %r, ours %r" % (name, expected.get(name), ours.get(name)))
    if not wrong:
        return None
    return "%s\n  %s\n--- posttls-finger\n%s--- signet tls probe\n%s" % (" ".join(argv), "\n  ".join(wrong), theirs_text, text)


# ---- what is ours alone

POLICY = """\
d311.example    dane-only
dnone.example   secure match=nexthop
plainmail.example encrypt
dwrong.example  dane
typo.example    secur
none.example    none
"""


def command(w, *argv, name="signet", **kw):
    """(status, standard output, standard error)"""
    argv = [os.path.join(kit.BUILD, "src", "signet"), "-c", w.s.conf, "tls", "probe"] + list(argv) if name == "signet" else [name] + list(argv)
    r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, **kw)
    return r.returncode, r.stdout, r.stderr


def ask(w, *argv):
    status, out, err = command(w, "--json", *argv)
    o = json.loads(out)
    kit.check(o["status"] == status and not err, "%s: status %d, %s\n%s" % (argv, status, err, out))
    return o


def configured(env, w):
    """Without -l the configured policy decides, and the first lines say where it is from."""
    main = os.path.join(w.s.conf, "main.cf")
    with open(main) as f:
        level = next(i for i, line in enumerate(f.read().splitlines(), 1) if line.startswith("smtp_tls_security_level"))
    for dest, status, entry, text in (
            ("d311.example", 0, 'd311.example: "dane-only" (%s:1)' % w.policy, "Verified TLS connection"),
            ("dnone.example", 1, 'dnone.example: "secure match=nexthop" (%s:2)' % w.policy, "policy not met: 4.7.5 Server certificate not verified"),
            ("plainmail.example", 1, 'plainmail.example: "encrypt" (%s:3)' % w.policy, "policy not met: 4.7.4 TLS is required, but was not offered"),
            ("dwrong.example", 1, 'dwrong.example: "dane" (%s:4)' % w.policy, "policy not met: 4.7.5 Server certificate not verified"),
            ("typo.example", 1, 'typo.example: "secur" (%s:5)' % w.policy, "cannot be used: 4.7.5 client TLS configuration problem"),
            ("none.example", 0, 'none.example: "none" (%s:6)' % w.policy, "TLS is not tried at level none; STARTTLS is offered"),
            ("d310.example", 0, "smtp_tls_security_level = dane (%s:%d)" % (main, level), "policy met: mail would go under TLS (tls=dane)"),
            ("notls.example", 1, "smtp_tls_security_level = dane (%s:%d)" % (main, level), "STARTTLS is not offered"),
            ("refuses.example", 0, "smtp_tls_security_level = dane (%s:%d)" % (main, level), "policy met: mail would go in clear (tls=dane:none)"),
            ("u1.example", 0, "smtp_tls_security_level = dane (%s:%d)" % (main, level), "TLS level encrypt (asked for: dane)"),
            ("dbogus.example", 1, "smtp_tls_security_level = dane (%s:%d)" % (main, level), "TLSA lookup error for dbogus.example:25")):
        got, out, err = command(w, "-c", dest)
        kit.check(got == status and "policy: " + entry in out and text in out and not err, "%s: %d\n%s%s" % (dest, got, out, err))


def as_delivered(w):
    """A message to the same place ends as the probe says."""
    for dest in ("d311.example", "dnone.example", "plainmail.example", "dwrong.example", "none.example", "d310.example", "refuses.example", "u1.example", "weak.example"):
        o = ask(w, "-c", dest)
        server = o["servers"][-1]
        since = w.s.mark()
        qid = kit.queue_id(kit.send(rcpts=["u@" + dest]))
        m = w.s.wait_log(r"%s: to=<u@%s>, .*tls=(\S+), dsn=(\S+), status=(\w+) \((.*)\)$" % (qid, re.escape(dest)), since)
        kit.check(m.group(1) == server["tls"], "%s: the probe says tls=%s, the delivery %s" % (dest, server["tls"], m.group(0)))
        if o["policy"] == "met":        # the servers take no mail for these domains: they have heard of the recipient, that is enough
            kit.check("Server certificate not verified" not in m.group(4) and "TLS is required" not in m.group(4), "%s: %s" % (dest, m.group(0)))
        else:
            kit.check(m.group(3) == "deferred" and server["why"]["text"] in m.group(4) and server["why"]["dsn"] == m.group(2), "%s: %s\n%s" % (dest, server, m.group(0)))


def as_json(env, w):
    o = ask(w, "-C", "-r", "1", "d300.example")
    (server,) = o["servers"]
    session = server["session"]
    kit.check(o["policy"] == "met" and o["configured"] and server["decision"]["level"] == "dane" and session["trust"] == "Verified" and session["protocol"] == "TLSv1.3"
              and session["matched_tlsa"].startswith("EE certificate at depth 0: 3 0 0 ") and session["sni"] == "mx.d300.example"
              and session["cert_fingerprint"] == env.fingerprint(w.alone[0]) and session["pkey_fingerprint"] == env.pubkey_fingerprint(w.alone[0])
              and server["reconnected"]["resumed"] and server["decision"]["tlsa"][0]["usable"], json.dumps(o, indent=1))
    with open(w.alone[0]) as f:
        kit.check(session["chain"][0]["pem"] == f.read(), session["chain"])
    o = ask(w, "-l", "may", "deadmx.example")
    kit.check(o["policy"] == "not reached" and not o["configured"] and o["why"]["dsn"] == "4.4.1" and not o["servers"][0]["connected"], o)
    o = ask(w, "-l", "encrypt", "-r", "1", "-m", "2", "balanced.example")
    kit.check(o["servers"][0]["reconnected"] == {"times": 2, "resumed": False, "servers": ["one", "two", "three"]}, o["servers"][0]["reconnected"])
    o = ask(w, "-l", "dane", "two.example")
    kit.check([s["connected"] for s in o["servers"]] == [False, True] and o["policy"] == "met", o)


def lines(w):
    """-L, -v, and the name of old."""
    _, out, _ = command(w, "-c", "-L", "none", "-C", "-l", "encrypt", "dnone.example")
    kit.check(out.count("BEGIN CERTIFICATE") == 1 and "TLS connection" not in out and "fingerprint=" not in out, out)
    _, out, _ = command(w, "-c", "-L", "summary,ssl-debug", "-l", "encrypt", "dnone.example")
    kit.check("SSL_connect:" in out and "TLS connection established" in out and "subject_CN" not in out, out)
    _, out, _ = command(w, "-c", "-L", "untrusted,cache", "-l", "encrypt", "dnone.example")
    kit.check("certificate verification failed for dnone.example[" in out and "new session" in out and "TLS connection established" not in out, out)
    _, out, _ = command(w, "-c", "-L", "ssl-handshake-packet-dump", "-l", "encrypt", "dnone.example")
    kit.check(re.search(r"^write \(\d+ bytes\)$", out, re.M) and re.search(r"^0000 16 03 01 ", out, re.M), out[:2000])
    _, out, _ = command(w, "-c", "-v", "d311.example")
    kit.check("because" in out and "names to match (DANE)" in out and "MX 1 record, secure" in out, out)
    _, out, _ = command(w, "-c", "-h", "native", "-l", "may", "localhost:26")
    kit.check("connect to localhost[" in out and "Connection refused" in out, out)
    link = os.path.join(w.s.dir, "posttls-finger")
    os.symlink(os.path.join(kit.BUILD, "src", "signet"), link)
    status, out, err = command(w, "-c", "-l", "dane", "d311.example", name=link, env=dict(os.environ, MAIL_CONFIG=w.s.conf))
    kit.check(status == 0 and not err and all(line.startswith("posttls-finger: ") for line in out.splitlines()) and "Verified TLS connection established to" in out, out + err)


def options(w):
    """Every option of posttls-finger's is known here: it works or is refused with a reason."""
    usage = kit.sh("posttls-finger", "-?", check_status=False)
    letters = set("".join(re.findall(r"-([a-zA-Z]+)", usage.split("destination")[0]))) & set("aAcCdfFgHhkKlLmMoprRsStTvwxXP") | set("MXvP")
    kit.check(len(letters) >= 27, "the usage of posttls-finger has only %s" % sorted(letters))
    for letter in sorted(letters):
        status, out, err = command(w, "-" + letter)
        kit.check(status == 2 and "unknown option" not in err, "-%s: %s" % (letter, err))
    for letter in "RX":
        status, out, err = command(w, "-" + letter, "d311.example")
        kit.check(status == 2 and re.fullmatch(r"signet tls: probe: -%s: .{20,}\n" % letter, err), err)


def mistakes(env, w):
    for argv, status, text in (
            (["-Z", "x"], 2, "unknown option -Z"), (["--frob", "x"], 2, "unknown option.*--frob"), (["-l"], 2, "-l wants a value"),
            (["-l", "strong", "x"], 2, '"strong" is not one of'), (["-d", "md6", "x"], 2, 'unknown digest "md6"'), (["-g", "hihg", "x"], 2, '"hihg" is not one of'),
            (["-p", "TLSv7", "x"], 2, 'Invalid TLS protocol list "TLSv7"'), (["-M", "x", "x"], 2, "is not one of: may, encrypt, dane"), (["-a", "ipv5", "x"], 2, "is not one of"),
            (["-h", "hosts", "x"], 2, '"hosts"'), (["-F", "/nonexistent", "x"], 2, "/nonexistent: No such file or directory"),
            (["-F", w.s.conf + "/main.cf", "x"], 2, "smtp_tls_CAfile: .*main.cf"), (["-P", "/nonexistent", "x"], 2, "CApath: /nonexistent: No such file"),
            (["-l", "secure", "-A", "/nonexistent", "x"], 2, "-A: .*/nonexistent: No such file"), (["-k", "/nonexistent", "x"], 2, "/nonexistent: No such file"),
            (["-H", "/nonexistent", "x"], 2, "/nonexistent: No such file"), (["-H", "a", "-k", "b", "x"], 2, "-H does not go with"), (["-t", "soon", "x"], 2, "-t wants a number"),
            (["-T", "0", "x"], 2, "-T wants a number"), (["-m", "99", "x"], 2, "-m wants a number from 1 to 15"), (["-L", "loud", "x"], 2, "unknown word of -L: loud"),
            (["-o", "nonsense=1", "x"], 2, "no parameter: nonsense"), (["-o", "x", "x"], 2, "-o wants NAME=VALUE"), (["-s", "b ad", "-l", "may", "x"], 2, "is not a host name"),
            (["-w", "-l", "may", "x"], 2, "wrappermode: needs"), (["unix:/x"], 2, "needs -S"), (["u@d311.example"], 2, "is an address"), ([":25"], 2, "empty host name"), (["d311.example:nosuch"], 2, "no such port"),
            (["-S", "-l", "dane", "unix:/x"], 1, "impossible on a UNIX-domain socket"), (["-o", "smtp_tls_policy_maps=texthash:/nonexistent", "d311.example"], 1, "lookup of d311.example failed"), (["d311.example", "d311.example"], 2, "goes with -l"),
            (["--service", "nope", "x"], 1, "no service nope"), (["--service", "lmtp", "x"], 2, "service lmtp runs lmtp"), (["-l", "fingerprint", "d311.example"], 1, "no fingerprints to match")):
        got, out, err = command(w, *argv)
        where = err if status == 2 or not out else out
        kit.check(got == status and re.search(text, where) and (not err or err.count("\n") == 1) and "\n\n" not in out, "%s: %d\n%s%s" % (argv, got, out, err))
    got, out, err = command(w)
    kit.check(got == 2 and "needs a destination" in err and "signet tls probe" in err, err)


def rights(env, w):
    """Root becomes the user of the client before strangers speak; a configured file that only root reads is no good for a delivery."""
    seen = []
    def who(conn, line):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/status" % pid) as f, open("/proc/%s/cmdline" % pid) as g:
                    status, argv = f.read(), g.read()
            except OSError:             # it has ended
                continue
            if "watched.example" in argv and status.startswith("Name:\tsignet\n"):
                seen.append(re.search(r"^Uid:(.*)$\s^Gid:(.*)$", status, re.M).groups() + (re.search(r"^NoNewPrivs:\t(\d)", status, re.M).group(1),))
    w.watch.script["EHLO"] = who
    got, out, err = command(w, "-c", "-l", "may", "watched.example")
    owner = pwd.getpwnam(kit.owner() + "-net" if kit.owner() + "-net" in [u.pw_name for u in pwd.getpwall()] else kit.owner())
    kit.check(got == 0 and seen == [("\t%d" % owner.pw_uid * 4, "\t%d" % owner.pw_gid * 4, "1")], "%s %s%s" % (seen, out, err))
    secret = env.write("secret-ca.pem", open(w.ca).read(), 0o600)
    got, out, err = command(w, "-c", "-l", "secure", "-A", secret, "secure.example")
    kit.check(got == 0 and "Verified" in out, "what is given with -A is read by whoever gives it: %s%s" % (out, err))
    got, out, err = command(w, "-c", "-l", "secure", "-o", "smtp_tls_trust_anchor_file=" + secret, "secure.example")
    kit.check(got == 1 and "as user %s: %s: Permission denied" % (owner.pw_name, secret) in out, "%d %s%s" % (got, out, err))


def dns_down(w):
    w.s.stop()
    got, out, err = command(w, "d311.example")
    kit.check(got == 75 and out.count("\n") == 1 and "DNS is asked by the running daemon" in out and "is it running?" in out and not err, "%d %s%s" % (got, out, err))
    got, out, err = command(w, "-c", "-l", "encrypt", "[%s]" % w.well)
    kit.check(got == 0 and "policy met" in out, out)      # addresses need no DNS


def run(env):
    kit.need("posttls-finger", "unbound", "openssl")
    w = build(env)
    resolver(env)
    os.makedirs(env.path("capath"), exist_ok=True)
    link = env.openssl("x509", "-in", w.ca, "-noout", "-hash").strip() + ".0"
    os.symlink(w.ca, env.path("capath", link))
    w.both = env.write("both.pem", open(w.good[1]).read() + open(w.good[0]).read(), 0o600)
    w.pf = env.postfix("pf", "smtpd_tls_security_level = may\n", "".join(w.master), smtp="127.0.0.3:25", start=False)
    kit.sh("postconf", "-c", w.pf.conf, "-e", "inet_protocols=all")
    w.pf.start()
    w.policy = env.write("policy", POLICY)
    w.s = env.signet("gw", "inet_protocols = all\nsmtp_tls_security_level = dane\nsmtp_tls_policy_maps = texthash:%s\nminimal_backoff_time = 600s\n" % w.policy)
    with open(DOC) as f:
        document = f.read()
    rows = cases(env, w)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        wrong = [x for x in pool.map(lambda row: compare(env, w, row, document), rows) if x]
    kit.check(not wrong, "%d of %d cases:\n%s" % (len(wrong), len(rows), "\n\n".join(wrong)))
    kit.check(len({row[0][-1] for row in rows}) >= 40 and len(rows) >= 120, "%d cases" % len(rows))
    configured(env, w)
    as_delivered(w)
    as_json(env, w)
    lines(w)
    options(w)
    mistakes(env, w)
    rights(env, w)
    dns_down(w)
