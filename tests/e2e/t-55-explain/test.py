"""signet tls explain says what delivery then does. For every scenario the explanation is taken first (live, and again from recorded facts), then a message
is sent. From the explanation and from how the servers really are, the test predicts the delivery's line in the log (tls=, dsn=, status and text, to the
letter) and every record of `signet tls why` (server, level, server name, tls=, outcome, reason, each step of the trail, the certificate): all must be equal."""
import json
import os
import re
import ssl
import subprocess

import kit
import tls_kit
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
anchor.example  secure match=mx.anchor.example tafile=/nonexistent/anchor.pem
enc454.example  encrypt
enc554.example  encrypt
enc421.example  encrypt
encclosed.example encrypt
encsilent.example encrypt
encstall.example encrypt
encgarbage.example encrypt
encold.example  encrypt
may454.example  may
may554.example  may
may421.example  may
mayclosed.example may
maysilent.example may
maystall.example may
maygarbage.example may
mayold.example  may
may12.example   may
tagood.example  secure match=mx.tagood.example tafile=%(anchors)s/good.pem
tafar.example   secure match=mx.tafar.example tafile=%(ca)s
tasecret.example secure match=mx.tasecret.example tafile=%(anchors)s/secret.pem
tainter.example secure match=mx.tainter.example tafile=%(anchors)s/inter.pem
takey.example   secure match=mx.takey.example tafile=%(anchors)s/key.pem
tabad.example   secure match=mx.tabad.example tafile=%(anchors)s/other.pem
mycert.example  encrypt
mycertmay.example may
rootless.example secure match=mx.rootless.example
multi.example   secure match=.multi.example
stsdane.example secure policy_type=sts match=.stsdane.example mx_host_pattern=*.stsdane.example
stsdanebad.example secure policy_type=sts match=.stsdanebad.example mx_host_pattern=*.stsdanebad.example
stsonly.example secure policy_type=sts match=.stsonly.example mx_host_pattern=*.stsonly.example
stsmx.example   secure policy_type=sts match=.stsmx.example mx_host_pattern=mx2.stsmx.example
"""

MAIN = """\
smtp_tls_security_level = dane
smtp_tls_loglevel = 1
smtp_tls_CAfile = %(ca)s
smtp_tls_policy_maps = texthash:%(policy)s
transport_maps = inline:{ { lit.example = smtp:[mx.lit.example]:2525 } { lmtp.example = lmtp:unix:%(lmtp)s } { addr.example = smtp:[127.0.1.200] }
 { encsilent.example = slow: } { encstall.example = slow: } { maysilent.example = slow: } { maystall.example = slow: } { mycert.example = mycert: } { mycertmay.example = mycert: } { rootless.example = rootless: }
 { list.example = smtp:[gone.example],[mx.list.example] } { downlist.example = smtp:[mx1.alldown.example], [mx.list.example] } { fbtls.example = fb: } { fbnx.example = fb: } { fbnull.example = fb: } { fbgone.example = fbgone: } { typohop.example = smtp:[mx.may.example } }
smtp_connection_cache_on_demand = no
smtp_randomize_addresses = no
lmtp_randomize_addresses = no
minimal_backoff_time = 600s
queue_run_delay = 600s
"""


# a service that does not wait 300 s for an answer to STARTTLS
MASTER = kit.MASTER_CF.format(smtp="127.0.0.1:25") + "slow unix - - n - - smtp -o smtp_starttls_timeout=1s\n" \
    "mycert unix - - n - - smtp -o smtp_tls_cert_file=/nonexistent/cert -o smtp_tls_key_file=/nonexistent/key\n" \
    "rootless unix - - n - - smtp -o smtp_tls_CAfile=/nonexistent/roots\n" \
    "fb unix - - n - - smtp -o smtp_fallback_relay=[mx.fbrelay.example]\nfbgone unix - - n - - smtp -o smtp_fallback_relay=[gone.example]\n"


class Garbage:
    """Used as the `tls` of a kit.Sink: what comes after 220 is no TLS. `silent`: nothing comes."""
    def __init__(self, silent=False):
        self.silent = silent

    def wrap_socket(self, conn, server_side):
        if self.silent:
            while conn.recv(65536):
                pass
        else:
            conn.recv(1)
            conn.sendall(b"this is no TLS\r\n")
        raise OSError("no TLS here")


def silence(conn, line):
    while conn.recv(65536):
        pass
    return False


# how a server takes STARTTLS: script, TLS, and the event of the explanation that this is
KINDS = {
    "ok": (None, None, None), "plain": (None, None, "not_offered"),
    "454": ("454 4.7.0 not now", None, "refused"), "554": ("554 5.7.0 never", None, "refused"),
    "421": (lambda conn, line: conn.sendall(b"421 4.3.2 going away\r\n") or False, None, "handshake_failure"),
    "closed": (lambda conn, line: False, None, "handshake_failure"), "silent": (silence, None, "handshake_failure"),
    "stall": (None, Garbage(silent=True), "handshake_failure"), "garbage": (None, Garbage(), "handshake_failure"),
    "old": (None, "old", "handshake_failure"), "tls12": (None, "tls12", None),
}


class Server:
    """How one address really is. `matches`: would the certificate satisfy a level that demands one?"""
    def __init__(self, env, address, kind, cert, key, matches, port=25):
        self.kind, self.event, self.matches, self.cert, self.address = kind, KINDS[kind][2], matches, cert, address
        script, tls, _ = KINDS[kind]
        if tls in ("old", "tls12"):
            tls = tls_kit.context(cert, key, most=ssl.TLSVersion.TLSv1_1 if tls == "old" else ssl.TLSVersion.TLSv1_2)
        if tls is None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(cert, key)
        self.sink = env.sink(address, port, keywords=("PIPELINING",) if kind == "plain" else ("PIPELINING", "STARTTLS"), tls=tls,
                             script={"STARTTLS": script} if script else {})
        self.name = env.openssl("x509", "-in", cert, "-noout", "-subject", "-nameopt", "multiline").split("commonName")[1].split("=")[1].strip()
        self.fingerprint = env.fingerprint(cert).replace(":", "").lower()[:32]


class Scenarios:
    """What there is: domains, and address -> Server; an address without one refuses connections."""
    def __init__(self, env, tree):
        self.env, self.tree, self.lines, self.plain, self.domains, self.servers, self.n = env, tree, [], [], [], {}, 10

    def server(self, kind, cert, key, matches=True, port=25):
        self.n += 1
        address = "127.0.1.%d" % self.n
        self.servers[address] = Server(self.env, address, kind, cert, key, matches, port)
        return address

    def add(self, name, kind="ok", matches=True, cert=None, records=(), mx=True, into=None, port=25):
        into = self.lines if into is None else into
        cert = cert or self.env.cert("mx." + name)
        address = self.server(kind, *cert, matches=matches, port=port)
        host = "mx." + name if mx else name
        into.extend((["%s. MX 10 %s." % (name, host)] if mx else []) + ["%s. A %s" % (host, address)])
        into.extend("_25._tcp.%s. TLSA %s" % (host, r) for r in records)
        self.domains.append(name)

    def several(self, name, hosts):
        """`hosts`: (kind or list of kinds, one an address, or "down"; certificate; matches; TLSA records), in the order of preference."""
        for i, (kinds, cert, matches, records) in enumerate(hosts):
            host = "mx%d.%s" % (i + 1, name)
            self.lines.append("%s. MX %d %s." % (name, 10 * (i + 1), host))
            for kind in [kinds] if isinstance(kinds, str) else kinds:
                self.n += 1
                address = "127.0.1.%d" % self.n
                if kind != "down":
                    self.servers[address] = Server(self.env, address, kind, *cert, matches)
                self.lines.append("%s. A %s" % (host, address))
            self.lines.extend("_25._tcp.%s. TLSA %s" % (host, r) for r in records)
        self.domains.append(name)


def anchors(env, sc):
    """Files of tafile=: a root, an intermediate, a bare key, another root, one that only root may read."""
    env.anchors = env.path("gw", "etc", "anchors")
    os.makedirs(env.anchors)
    env.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "inter.key", "-out", "inter.csr", "-subj", "/CN=Test inter")
    ext = env.write("inter.ext", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n")
    env.openssl("x509", "-req", "-in", "inter.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "inter.pem", "-days", "20", "-extfile", ext)
    pem = {name: open(env.path(name + ".pem")).read() for name in ("ca", "inter")}
    files = {"good": pem["ca"], "secret": pem["ca"], "inter": pem["inter"], "key": env.openssl("x509", "-in", "inter.pem", "-noout", "-pubkey"), "other": open(env.ca("otherca")).read()}
    for name, text in files.items():
        env.write("gw/etc/anchors/%s.pem" % name, text, 0o600 if name == "secret" else 0o644)
    for name in ("tainter.example", "takey.example", "tabad.example"):
        cert, key = env.cert("mx." + name, ca="inter")
        with open(cert, "a") as f:
            f.write(pem["inter"])
        sc.add(name, cert=(cert, key), matches=name != "tabad.example")


def build(env):
    tree = zones.Tree(env)
    sc = Scenarios(env, tree)
    ca = env.ca()
    good, other = env.cert("mx.fp.example"), env.cert("other.invalid", ca=None)
    for name in ("none", "may", "encrypt", "verify", "secure"):
        sc.add(name + ".example")
    sc.add("noenc.example", kind="plain")
    sc.add("maynotls.example", kind="plain")
    for name, ok in (("fp", True), ("fpbad", False), ("fpkey", True)):
        sc.add(name + ".example", cert=good, matches=ok)
    sc.add("vbad.example", matches=False)
    sc.add("sbad.example")                          # secure wants sbad.example or a subdomain of it: mx.sbad.example is one
    sc.add("subdom.example")
    sc.add("untrusted.example", cert=other, matches=False)
    for name in ("typo", "attr", "ciphers", "short"):
        sc.add(name + ".example")
    sc.add("child.parent.example")
    # DANE: usable, wrong, unusable, none, dane-only with and without, half-dane, insecure, bogus, implicit MX
    sc.add("dane.example", cert=other, records=[zones.tlsa(env, other[0])])
    sc.add("danebad.example", cert=other, records=[zones.tlsa(env, good[0])], matches=False)
    sc.add("danenotls.example", cert=other, records=[zones.tlsa(env, other[0])], kind="plain")
    sc.add("unusable.example", cert=other, records=["1 1 1 " + "00" * 32])
    sc.add("nodane.example")
    sc.add("only.example", cert=other, records=[zones.tlsa(env, other[0])])
    sc.add("onlyno.example")
    sc.add("bogus.example", cert=other)
    tree.zone("_tcp.mx.bogus.example.", ["_25._tcp.mx.bogus.example. TLSA " + zones.tlsa(env, other[0])], "bogus")
    sc.add("implicit.example", cert=other, records=[zones.tlsa(env, other[0])], mx=False)
    sc.add("insecure.plain", cert=other, records=[zones.tlsa(env, good[0])], into=sc.plain)
    sc.lines.extend(["mx.half.example. A " + sc.server("ok", *other), "_25._tcp.mx.half.example. TLSA " + zones.tlsa(env, other[0])])
    sc.plain.append("half.plain. MX 10 mx.half.example.")
    sc.domains.append("half.plain")
    sc.add("anchor.example")
    anchors(env, sc)
    for name in ("tagood.example", "tafar.example", "tasecret.example", "mycert.example", "mycertmay.example", "rootless.example"):
        sc.add(name)
    for kind in ("454", "554", "421", "closed", "silent", "stall", "garbage", "old"):
        sc.add("enc%s.example" % kind, kind=kind)
        sc.add("may%s.example" % kind, kind=kind)
    sc.add("danegarbage.example", kind="garbage", cert=other, records=[zones.tlsa(env, other[0])])
    sc.add("dane421.example", kind="421", cert=other, records=[zones.tlsa(env, other[0])])
    sc.add("dane554.example", kind="554", cert=other, records=[zones.tlsa(env, other[0])])
    sc.add("unusableplain.example", kind="plain", cert=other, records=["1 1 1 " + "00" * 32])
    sc.add("may12.example", kind="tls12")
    # several servers, each with a verdict of its own
    right, wrong = [zones.tlsa(env, other[0])], [zones.tlsa(env, good[0])]
    sc.several("verdicts.example", [("ok", other, False, wrong), ("ok", other, True, right), ("ok", other, True, right)])
    sc.several("nogood.example", [("ok", other, False, wrong), ("plain", other, True, right), ("down", None, True, right)])
    sc.several("unprovable.example", [("garbage", other, True, right), ("554", other, True, right), ("ok", other, True, right)])
    sc.several("lastbad.example", [("plain", other, True, right), ("ok", other, True, right)])
    for host in ("mx2.verdicts.example", "mx3.unprovable.example", "mx2.lastbad.example"):
        sc.lines = [line for line in sc.lines if not line.startswith("_25._tcp.%s." % host)]
        tree.zone("_tcp.%s." % host, ["_25._tcp.%s. TLSA %s" % (host, right[0])], "bogus")
    sc.several("halfway.example", [("garbage", other, True, []), ("ok", other, True, right)])
    sc.several("addresses.example", [(["down", "closed", "ok", "ok"], other, True, right)])
    sc.several("alldown.example", [(["down", "down"], None, True, []), ("down", None, True, [])])
    # an MTA-STS entry with DANE: what it wants never overrides records that fail
    sc.add("stsdane.example", cert=other, records=right)
    sc.add("stsdanebad.example", records=wrong, matches=False)
    sc.add("stsonly.example")
    host1, host2 = env.cert("mx1.stsmx.example"), env.cert("mx2.stsmx.example")
    sc.several("stsmx.example", [("ok", host1, True, []), ("ok", host2, True, [])])
    multi = env.cert("mx2.multi.example")
    sc.several("multi.example", [("ok", good, False, []), (["454", "ok"], multi, True, [])])
    # several next hops: a list, fallback relays
    sc.add("list.example", cert=other, records=right)
    sc.add("fbrelay.example", cert=other, records=right)
    sc.add("fbtls.example", kind="plain", cert=other, records=right)
    sc.several("fbgone.example", [("down", None, True, [])])
    sc.lines.append("fbnull.example. MX 0 .")
    sc.domains.extend(["downlist.example", "fbnx.example", "fbnull.example", "typohop.example"])
    # next hops of other forms, and names without a server
    sc.add("lit.example", port=2525)
    sc.servers["127.0.1.200"] = Server(env, "127.0.1.200", "plain", *good, True)
    env.lmtp = env.path("lmtp.sock")
    env.sink(env.lmtp, lmtp=True)
    sc.lines.append("null.example. MX 0 .")
    sc.domains.extend(["addr.example", "lmtp.example", "null.example", "nx.example"])
    tree.zone("example.", sc.lines).zone("plain.", sc.plain, "insecure").start()
    env.policy = env.write("policy", POLICY % {"good": env.fingerprint(good[0]), "key": env.pubkey_fingerprint(good[0]), "wrong": ":".join(["AA"] * 32), "ca": ca, "anchors": env.anchors})
    return sc, ca


AGAIN = "; again with plainer TLS"


def speaks(server, real):
    """Will there be TLS, going by the versions that the explanation names?"""
    return real and (real.event is None or real.kind == "old" and server["protocols"] == ">=TLSv1")


def at_server(server, real):
    """What will be at one server: records [(outcome or None, dsn, text, tls=)]; None = it depends on whether another server follows."""
    out = server.get("outcomes")
    if not server["usable"]:
        return [("next server", server["dsn"], server["reason"], "")]
    if real is None and server["address"].startswith("127."):
        return [(None, "4.4.1", "connect to %s[%s]:%d: Connection refused" % (server["host"], server["address"], server["port"]), out["lost"]["tls"])]
    event = real.event if real else "not_offered"
    if not server["starttls"]:
        event = "not_offered"
    elif speaks(server, real):
        event = None
    if event is None:
        event = "secured" if real.matches or not server["must_match"] else "mismatch"
    o = out[event]
    if o["next"] == "clear":
        return [("sent", "2.0.0", "250 2.0.0 Ok", o["tls"])]
    again = server["plainer_tls"].split("; then ") if event == "handshake_failure" and server.get("plainer_tls") else []
    text = o["text"] + (": " + KINDS[real.kind][0] if event == "refused" else "")
    return [("same server again", o["dsn"], o["text"] + AGAIN, o["tls"]) for _ in again] + [(None, o["dsn"], text, o["tls"])]


def predict(sc, e):
    """The line in the log (tls=, dsn, status, text), and the records: (server or None, outcome, dsn, text, tls=)."""
    records, field = [], None
    hops = [e] + e.get("more", [])
    for n, hop in enumerate(hops):
        end = n + 1 == len(hops)
        if "reason" in hop:
            records.append((None, "next hop" if not end else "bounced" if hop["dsn"][0] == "5" else "deferred", hop["dsn"], hop["reason"], None))
            continue
        servers = [x for x in e["servers"] if x["nexthop"] == hop["facts"]["nexthop"]]
        for i, server in enumerate(servers):
            last = end and i + 1 == len(servers)
            for outcome, dsn, text, tls in at_server(server, sc.servers.get(server["address"])):
                field = tls or field
                records.append((server, outcome or ("deferred" if last else "next server"), dsn, text, tls))
                if outcome == "sent":
                    return (field, dsn, outcome, text), records
    if records[-1][1] == "next server":         # nobody connected to the last one
        records.append((None, "deferred") + records[-1][2:4] + (None,))
    return (field,) + (records[-1][2], records[-1][1], records[-1][3]), records


def explain(s, *argv):
    r = subprocess.run([os.path.join(kit.BUILD, "src", "signet"), "-c", s.conf, "tls", "explain", "--json", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    kit.check(r.returncode == 0, r.stderr)
    return json.loads(r.stdout)


def live_and_again(env, s, name):
    """The explanation; made again from the facts that it wrote down it is the same."""
    path = env.path("facts-" + name)
    live = explain(s, "--save-facts", path, "u@" + name)
    again = explain(s, "--facts", path)
    kit.check({k: again.get(k) for k in ("servers", "dsn", "reason", "more")} == {k: live.get(k) for k in ("servers", "dsn", "reason", "more")}, "%s: live\n%s\nrecorded\n%s" % (name, live["servers"], again["servers"]))
    return live


def shown(text, most):
    """As much of a text as a record has room for: bytes of its JSON form."""
    out, used = "", 0
    for c in text:
        used += len(c.encode()) + (c in '"\\')
        if used > most:
            break
        out += c
    return out


def cut(trail):
    return [[shown(step[k], 60) for k in ("rule", "result", "source")] for step in trail]


def check_record(sc, name, got, server, outcome, dsn, text, tls):
    """A record of `signet tls why` against the explanation of that server."""
    kit.check((got["outcome"], got["dsn"], got["text"], got["to"]) == (outcome, dsn, shown(text, 110), ["u@" + name]), "%s: %s, not %s" % (name, got, (outcome, dsn, text)))
    if server is None:
        kit.check("host" not in got, got)
        return
    want = {"host": server["host"], "asked": server["asked"], "level": server["level"], "tls": tls or None, "sni": server.get("sni") or None if server["usable"] else got.get("sni")}
    kit.check({k: got.get(k) for k in want} == want, "%s: %s, not %s" % (name, got, want))
    kit.check(got["address"] == server["address"][:64] and got.get("port", 0) == server["port"], got)
    trail = cut(server["trail"])
    kit.check(got["trail"] == trail[:len(got["trail"])] and (got.get("cut") or len(got["trail"]) == len(trail)), "%s: trail %s, explained: %s" % (name, got["trail"], trail))
    kit.check(bool(got.get("failure")) == text.startswith("Cannot start TLS"), "%s: how the handshake failed: %s" % (name, got))
    kit.check(bool(got.get("plainer")) <= text.startswith("Cannot start TLS"), got)
    if outcome == "sent" and server["level"] in ("dane", "dane-only", "halfdane") and not got.get("resumed"):
        kit.check(re.match(r"(EE|TA) .* depth \d+: [23] [01] [012] [0-9A-F]{8}", got["record"]), got)
    if not server["usable"]:
        kit.check(got["unusable"] == shown(server["reason"], 150), got)
    if server["usable"] and server["starttls"] and speaks(server, sc.servers.get(server["address"])):
        real = sc.servers[server["address"]]
        if got["trust"] != "Anonymous":         # at may and encrypt the server may choose to show none
            kit.check(got["chain"][0] == [real.name, real.fingerprint], "%s: chain %s, is %s" % (name, got["chain"], (real.name, real.fingerprint)))
        kit.check(got.get("matched", False) == (outcome == "sent") and (outcome == "sent" or got["reason"]), got)
        kit.check(outcome != "sent" or got["trust"] in server["trust_when_matched"].replace(" or ", ", ").split(", "), got)
    else:
        kit.check("chain" not in got and "protocol" not in got, got)


def rotate(servers, why):
    """The resolver hands out the addresses of a name in turn: begin each host's where the delivery began."""
    out, seen = [], [r["address"] for r in why if "address" in r]
    while servers:
        n = sum(x["host"] == servers[0]["host"] for x in servers)
        group, servers = servers[:n], servers[n:]
        first = min((k for k in range(n) if group[k]["address"] in seen), key=lambda k: seen.index(group[k]["address"]), default=0)
        out += group[first:] + group[:first]
    return out


def check_delivery(s, sc, name, e, qid):
    """What the log and the records say of this message is what was predicted."""
    def records_of():
        found = [json.loads(line) for line in s.cli("tls", "why", "--json", qid, check_status=False).splitlines() if line[:1] == "{"]
        return found if found and found[-1]["outcome"] in ("sent", "deferred", "bounced") else None

    m = s.wait_log(r"%s: to=<u@%s>, relay=[^ ]*, delay=[^ ]*, delays=[^ ]*(?:, tls=(?P<tls>[^ ]*))?, dsn=(?P<dsn>\S+), status=(?P<status>\w+) \((?P<text>.*)\)$" % (
        qid, re.escape(name)))
    why = kit.wait_until("records of %s" % name, records_of)
    e = dict(e, servers=rotate(e["servers"], why))
    (field, dsn, status, text), records = predict(sc, e)
    kit.check(m.group("tls", "dsn", "status", "text") == (field, dsn, status, text), "%s: explain predicts\n%s\nthe log says\n%s\nthe explanation was\n%s" % (
        name, (field, dsn, status, text), m.group(0), json.dumps(e["servers"], indent=1)[:6000]))
    kit.check(len(why) == len(records), "%s: %d records, predicted: %s" % (name, len(why), [r[1:] for r in records]))
    for got, want in zip(why, records):
        check_record(sc, name, got, *want)
    server = records[-1][0]
    if status == "sent" and server["starttls"] and field == server["outcomes"]["secured"]["tls"]:
        words = server["trust_when_matched"].replace(" or ", ", ").split(", ")
        kit.check(s.has_log(r"(%s) TLS connection established to %s\[" % ("|".join(words), re.escape(server["host"]))), "%s: none of %s" % (name, words))
    return field, dsn


def run(env):
    sc, ca = build(env)
    s = env.signet("gw", MAIN % {"ca": ca, "policy": env.policy, "lmtp": env.lmtp}, MASTER)
    kit.check(len(sc.domains) >= 55, "%d scenarios" % len(sc.domains))
    explained = {name: live_and_again(env, s, name) for name in sc.domains}
    sent = {name: kit.queue_id(kit.send(rcpts=["u@" + name])) for name in sc.domains}
    statuses = {check_delivery(s, sc, name, explained[name], sent[name]): name for name in sc.domains}
    # the scenarios are as different as they should be
    for want in (("none", "2.0.0"), ("may", "2.0.0"), ("may:none", "2.0.0"), ("may?", "4.7.5"), ("!encrypt", "4.7.4"), ("!encrypt", "4.7.5"), ("!secure", "4.7.5"), ("dane", "2.0.0"),
                 ("!dane", "4.7.5"), ("!dane", "4.7.4"), ("dane:encrypt", "2.0.0"), ("!dane:encrypt", "4.7.4"), ("dane:halfdane", "2.0.0"), ("dane:may?", "4.4.1"), ("dane?", "4.4.1"), ("dane:may", "2.0.0"), (None, "5.1.10")):
        kit.check(want in statuses, "no scenario ended with %s: %s" % (want, statuses))
    text = s.cli("tls", "explain", "u@typo.example")
    kit.check('typo.example: "secur" (%s:14)' % env.policy in text and "not usable: 4.7.5 client TLS configuration problem" in text
              and 'secur' in text, text)
    text = s.cli("tls", "explain", "dane.example")
    for part in ("postmaster@dane.example", "MX 1 record, secure", "_25._tcp.mx.dane.example, 1 record, secure", ": usable", "smtp_tls_security_level",
                 "mx.dane.example (TLSA base domain)", "4.7.5 Server certificate not verified (tls=!dane)",
                 "TLS is required, but was not offered by host mx.dane.example[127.0.1.", "Verified TLS connection established"):
        kit.check(part in text, "no %r in\n%s" % (part, text))
    text = s.cli("tls", "explain", "encrypt.example")
    kit.check(" weak keys " in text and "4.7.5 Server key or DH group is shorter than the policy allows (tls=!encrypt)" in text and "no match" not in text, text)
    text = s.cli("tls", "explain", "fbnx.example")
    for part in ("next hop 1      fbnx.example\n", "Host not found; the next hop that follows is tried\n", "next hop 2      [mx.fbrelay.example] (fallback relay, "):
        kit.check(part in text, "no %r in\n%s" % (part, text))
    text = s.cli("tls", "explain", "typohop.example")
    kit.check("neither a host name" in text and "the message is deferred" in text, text)
    text = s.cli("tls", "explain", "[127.0.0.1]")
    kit.check("loops back to myself; the message is returned to its sender" in text and "server 1" not in text, text)
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
