"""signet tls why: records of deliveries that went well, were deferred by a mismatch, by a policy that cannot be used, that tried two servers; hostile
certificates; retention, size limit, off; damaged files; a directory that cannot be written costs no mail."""
import json
import os
import ssl
import subprocess
import time

import kit

ZONE = ["ok.example. MX 10 mx.ok.example.", "mx.ok.example. A 127.0.0.2", "bad.example. MX 10 mx.bad.example.", "mx.bad.example. A 127.0.0.3",
        "two.example. MX 10 mx.bad.example.", "two.example. MX 20 mx.ok.example.", "clear.example. A 127.0.0.4", "null.example. MX 0 .",
        "typo.example. A 127.0.0.4", "evil.example. A 127.0.0.5"]
POLICY = "ok.example secure match=mx.ok.example\nbad.example secure match=mx.bad.example\ntwo.example verify\ntypo.example secur\n"
MAIN = """\
smtp_tls_security_level = may
smtp_tls_CAfile = %s
smtp_tls_policy_maps = texthash:%s
minimal_backoff_time = 600s
queue_run_delay = 600s
"""


def server(env, address, cert=None, key=None):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if cert:
        ctx.load_cert_chain(cert, key)
    env.sink(address, keywords=("PIPELINING", "STARTTLS") if cert else ("PIPELINING",), tls=ctx)


def why(s, qid, *argv):
    return [json.loads(line) for line in s.cli("tls", "why", "--json", *argv, qid).splitlines()]


def deliver(s, rcpt):
    since = s.mark()
    qid = kit.queue_id(kit.send(rcpts=[rcpt]))
    s.wait_log(r"%s: to=<[^>]*>, .*status=\w+" % qid, since)
    kit.wait_until("a record of %s" % qid, lambda: '"queue_id"' in s.cli("tls", "why", "--json", qid, check_status=False))
    return qid


def files(s):
    return sorted(os.listdir(os.path.join(s.data, "why")))


def records(env, s, cert):
    (r,) = why(s, deliver(s, "u@ok.example"))
    kit.check(r["outcome"] == "sent" and r["dsn"] == "2.0.0" and r["asked"] == r["level"] == "secure" and r["trust"] == "Verified" and r["matched"] is True
              and r["host"] == "mx.ok.example" and r["address"] == "127.0.0.2" and r["port"] == 25 and r["protocol"] == "TLSv1.3" and r["group"] and r["cipher"]
              and r["forward_secret"] is True and r["sni"] == "mx.ok.example" and r["tls"] == "secure" and r["matched_by"] == "mx.ok.example", r)
    kit.check(r["chain"][0][0] == "mx.ok.example" and env.fingerprint(cert).replace(":", "").lower().startswith(r["chain"][0][1]), r)
    kit.check(["table entry", "ok.example: secure", "%s:1" % env.policy] in r["trail"], r)
    (r,) = why(s, deliver(s, "u@bad.example"))
    kit.check(r["outcome"] == "deferred" and r["dsn"] == "4.7.5" and r["text"] == "Server certificate not verified" and "matched" not in r and r["tls"] == "!secure"
              and r["trust"] == "Untrusted" and "other.invalid" in r["reason"] and r["chain"][0][0] == "other.invalid", r)
    (r,) = why(s, deliver(s, "u@clear.example"))
    kit.check(r["outcome"] == "sent" and r["tls"] == "may:none" and "protocol" not in r and "chain" not in r, r)
    r = why(s, deliver(s, "u@typo.example"))
    kit.check(r[0]["unusable"] == "client TLS configuration problem" and "secur" in r[0]["because"] and r[-1]["outcome"] in ("deferred", "next server"), r)
    (r,) = why(s, deliver(s, "u@null.example"))
    kit.check(r["outcome"] == "bounced" and r["dsn"] == "5.1.10" and "host" not in r, r)
    qid = deliver(s, "u@two.example")
    kit.wait_until("two records", lambda: len(why(s, qid)) == 2)
    first, second = why(s, qid)
    kit.check((first["host"], first["outcome"], first["dsn"]) == ("mx.bad.example", "next server", "4.7.5") and (second["host"], second["outcome"]) == ("mx.ok.example", "sent"), (first, second))
    text = s.cli("tls", "why", qid)
    for part in ("two.example by mx.bad.example[127.0.0.3]:25", "next server 4.7.5 Server certificate not verified", "two.example by mx.ok.example[127.0.0.2]:25", "Verified",
                 "table entry: two.example: verify  [%s:3]" % env.policy, "CN=mx.ok.example"):
        kit.check(part in text, "no %r in\n%s" % (part, text))
    # a certificate that wants to write into the record
    (r,) = why(s, deliver(s, "u@evil.example"))
    kit.check(r["chain"][0][0].startswith('a"],"outcome":"bounced"') and r["outcome"] == "sent", r)
    kit.check(max(len(line) for f in files(s) for line in open(os.path.join(s.data, "why", f), "rb")) <= 1000, "lines of at most 1000 bytes")
    st = os.stat(os.path.join(s.data, "why"))
    kit.check(st.st_mode & 0o777 == 0o700 and all(os.stat(os.path.join(s.data, "why", f)).st_mode & 0o777 == 0o600 for f in files(s)), "only the owner reads them")
    return qid


def mistakes(s, qid):
    for argv, text in ((["why"], "needs a queue id"), (["why", "../etc"], "not a queue id"), (["why", "4jZdhZ63F1z23V3"], "no record of 4jZdhZ63F1z23V3: it was not delivered"),
                       (["frobnicate"], "unknown word")):
        r = subprocess.run([os.path.join(kit.BUILD, "src", "signet"), "-c", s.conf, "tls", *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        kit.check(r.returncode != 0 and text in r.stdout, "%s: %d %s" % (argv, r.returncode, r.stdout))
    # damage is passed over
    path = os.path.join(s.data, "why", files(s)[0])
    with open(path, "ab") as f:
        f.write(b'{"queue_id":"%s", "time": \n' % qid.encode() + b"\xff\x00garbage\n" + b'["queue_id":"%s"]' % qid.encode() + b"x" * 100000 + b"\n")
    out = s.cli("tls", "why", qid)
    kit.check("2 damaged records were passed over" in out and "mx.ok.example" in out, out)


def limits(env, s):
    """Old files go by age and by size; nothing is written when it is off; a directory that is no longer there costs no mail."""
    old = os.path.join(s.data, "why", "20200101.0")
    foreign = os.path.join(s.data, "why", "notes.txt")
    for path in (old, foreign):
        with open(path, "w") as f:
            f.write("x" * 1000)
        os.utime(path, (1577836800, 1577836800))
    big = [os.path.join(s.data, "why", "20261101.%d" % i) for i in range(3)]
    for path in big:
        with open(path, "w") as f:
            f.write("x" * 300000)
    s.set((MAIN % (env.ca(), env.policy)) + "tls_why_size_limit = 800000\ntls_why_retention_time = 100d\n")
    s.stop()
    s.start()
    deliver(s, "u@clear.example")
    kit.wait_until("the old one to go", lambda: not os.path.exists(old))
    kit.check(os.path.exists(foreign), "what is not ours stays")
    kit.check([os.path.exists(p) for p in big] == [False, True, True], "the oldest went, until the rest is within the limit: %s" % files(s))
    s.set((MAIN % (env.ca(), env.policy)) + "tls_why_retention_time = 0\n")
    s.reload()
    before = {f: os.path.getsize(os.path.join(s.data, "why", f)) for f in files(s)}
    since = s.mark()
    qid = kit.queue_id(kit.send(rcpts=["u@clear.example"]))
    s.wait_log(r"%s: removed" % qid, since)
    time.sleep(0.3)
    kit.check({f: os.path.getsize(os.path.join(s.data, "why", f)) for f in files(s)} == before, "nothing is written")
    out = s.cli("tls", "why", qid, check_status=False)
    kit.check("tls_why_retention_time or tls_why_size_limit is 0" in out, out)
    s.set(MAIN % (env.ca(), env.policy))
    s.stop()
    os.rename(os.path.join(s.data, "why"), os.path.join(s.data, "away"))
    s.start()
    os.rmdir(os.path.join(s.data, "why"))
    since = s.mark()
    qid = kit.queue_id(kit.send(rcpts=["u@clear.example"]))
    s.wait_log(r"%s: removed" % qid, since)
    s.wait_log(r'warning: cannot open \S+/why/\S+: No such file or directory; records for "signet tls why" are lost', since)


def run(env):
    env.dns(ZONE)
    ca = env.ca()
    cert, key = env.cert("mx.ok.example")
    server(env, "127.0.0.2", cert, key)
    server(env, "127.0.0.3", *env.cert("other.invalid"))
    server(env, "127.0.0.4")
    server(env, "127.0.0.5", *env.cert("evil.example", cn='a"],"outcome":"bounced","x":["y'))
    env.policy = env.write("policy", POLICY)
    s = env.signet("mta", MAIN % (ca, env.policy))
    mistakes(s, records(env, s, cert))
    limits(env, s)
    kit.check(not s.has_log(r"(panic|fatal): "), s.log())
