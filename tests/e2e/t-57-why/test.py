"""signet tls why: records of deliveries that went well, were deferred by a mismatch, by a policy that cannot be used, that tried two servers; messages with
several recipients, destinations and outcomes; hostile certificates; retention, size limit, off; damaged files; a directory that cannot be written costs no mail."""
import json
import os
import re
import signal
import ssl
import subprocess
import time

import kit

ZONE = ["ok.example. MX 10 mx.ok.example.", "mx.ok.example. A 127.0.0.2", "bad.example. MX 10 mx.bad.example.", "mx.bad.example. A 127.0.0.3",
        "two.example. MX 10 mx.bad.example.", "two.example. MX 20 mx.ok.example.", "clear.example. A 127.0.0.4", "null.example. MX 0 .",
        "typo.example. A 127.0.0.4", "evil.example. A 127.0.0.5", "mixed.example. MX 10 mx1.mixed.example.", "mixed.example. MX 20 mx2.mixed.example.",
        "mx1.mixed.example. A 127.0.0.6", "mx2.mixed.example. A 127.0.0.7", "down.example. MX 10 mx.down.example.", "mx.down.example. A 127.0.0.99", "busy.example. A 127.0.0.8"]
POLICY = "ok.example secure match=mx.ok.example\nbad.example secure match=mx.bad.example\ntwo.example verify\ntypo.example secur\n"
MAIN = """\
smtp_tls_security_level = may
smtp_tls_CAfile = %s
smtp_tls_policy_maps = texthash:%s
smtp_connection_cache_on_demand = no
minimal_backoff_time = 600s
queue_run_delay = 600s
"""


def server(env, address, cert=None, key=None):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if cert:
        ctx.load_cert_chain(cert, key)
    return env.sink(address, keywords=("PIPELINING", "STARTTLS") if cert else ("PIPELINING",), tls=ctx)


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
    qid = deliver(s, "u@typo.example")
    kit.wait_until("two records", lambda: len(why(s, qid)) == 2)
    r = why(s, qid)
    kit.check(r[0]["unusable"] == "client TLS configuration problem" and "secur" in r[0]["because"] and r[0]["outcome"] == "next server", r)
    kit.check((r[1]["outcome"], r[1]["dsn"], r[1]["tried"]) == ("deferred", "4.7.5", 1) and "host" not in r[1] and r[1]["to"] == ["u@typo.example"], r)
    kit.check("no server was left" in s.cli("tls", "why", qid), s.cli("tls", "why", qid))
    (r,) = why(s, deliver(s, "u@null.example"))
    kit.check(r["outcome"] == "bounced" and r["dsn"] == "5.1.10" and "host" not in r, r)
    kit.check("no server was reached" in s.cli("tls", "why", deliver(s, "u@null.example")), "null MX")
    (r,) = why(s, deliver(s, "u@down.example"))
    kit.check((r["host"], r["tls"], r["outcome"], r["dsn"]) == ("mx.down.example", "may?", "deferred", "4.4.1") and "Connection refused" in r["text"], r)
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


def flat(records):
    """{recipient: [(host, outcome, dsn), ...]} in the order of the records; every record within its bounds."""
    out = {}
    for r in records:
        for to in r["to"]:
            out.setdefault(to, []).append((r.get("host"), r["outcome"], r["dsn"]))
    return out


def several(s):
    """One message, recipients at several destinations, each with an outcome of its own; what the log says of each is what the records say."""
    rcpts = ["u@ok.example", "v@ok.example", "u@bad.example", "u@clear.example", "u@null.example", "u@typo.example", "u@two.example", "no@mixed.example", "later@mixed.example",
             "first@mixed.example", "second@mixed.example"]
    since = s.mark()
    qid = kit.queue_id(kit.send(rcpts=rcpts))
    for rcpt in rcpts:
        s.wait_log(r"%s: to=<%s>, .*status=\w+" % (qid, rcpt), since)
    want = {
        "u@ok.example": [("mx.ok.example", "sent", "2.0.0")], "v@ok.example": [("mx.ok.example", "sent", "2.0.0")],
        "u@bad.example": [("mx.bad.example", "deferred", "4.7.5")], "u@clear.example": [("clear.example", "sent", "2.0.0")], "u@null.example": [(None, "bounced", "5.1.10")],
        "u@typo.example": [("typo.example", "next server", "4.7.5"), (None, "deferred", "4.7.5")],
        "u@two.example": [("mx.bad.example", "next server", "4.7.5"), ("mx.ok.example", "sent", "2.0.0")],
        # the first server bounces one, takes one and puts two off; the second takes one of them
        "no@mixed.example": [("mx1.mixed.example", "bounced", "5.1.1")], "first@mixed.example": [("mx1.mixed.example", "sent", "2.0.0")],
        "later@mixed.example": [("mx1.mixed.example", "next server", "4.2.1"), ("mx2.mixed.example", "deferred", "4.2.2")],
        "second@mixed.example": [("mx1.mixed.example", "next server", "4.2.1"), ("mx2.mixed.example", "sent", "2.0.0")]}
    kit.wait_until("all records", lambda: sum(len(v) for v in flat(why(s, qid)).values()) == sum(len(v) for v in want.values()))
    records = why(s, qid)
    kit.check(flat(records) == want, "%s\nnot\n%s" % (json.dumps(flat(records), indent=1), json.dumps(want, indent=1)))
    for rcpt in rcpts:
        status, dsn = flat(records)[rcpt][-1][1:]
        kit.check(s.has_log(r"%s: to=<%s>, .*dsn=%s, status=%s" % (qid, rcpt, dsn, status), since), "the log says something else of %s\n%s" % (rcpt, s.log()[since:]))
    later = [r for r in records if r.get("host") == "mx2.mixed.example" and r["outcome"] == "deferred"]
    kit.check(len(later) == 1 and later[0]["text"].startswith("host mx2.mixed.example[127.0.0.7] said: 452 4.2.2 full"), later)
    both = [r for r in records if "u@ok.example" in r["to"]]
    kit.check(len(both) == 1 and both[0]["recipients"] == 2 and both[0]["trust"] == "Verified", both)
    text = s.cli("tls", "why", qid)
    for part in ("  to           u@ok.example\n               v@ok.example\n", "outcome      bounced 5.1.1 host mx1.mixed.example[127.0.0.6] said: 550 5.1.1 nobody", "no server was left"):
        kit.check(part in text, "no %r in\n%s" % (part, text))


def many(s):
    """More recipients than one record holds: they go on in the next one, and none is missing."""
    rcpts = ["recipient-%03d-with-a-long-name@ok.example" % i for i in range(120)]
    since = s.mark()
    qid = kit.queue_id(kit.send(rcpts=rcpts))
    s.wait_log(r"%s: removed" % qid, since)
    kit.wait_until("all of them", lambda: len(flat(why(s, qid))) == 120)
    records = why(s, qid)
    kit.check(sorted(flat(records)) == rcpts and all(v == [("mx.ok.example", "sent", "2.0.0")] for v in flat(records).values()), records)
    kit.check(any(r.get("continued") for r in records) and not any("unlisted" in r for r in records), [len(r["to"]) for r in records])
    kit.check(sum(r["recipients"] for r in records if not r.get("continued")) == 120, [r["recipients"] for r in records])


def without_logger(env, s):
    """The logger dies while master cannot start another one: a few records wait for it, many are counted, and that is said once it is back."""
    def kept():
        return sum(b"@busy.example" in line for f in files(s) for line in open(os.path.join(s.data, "why", f), "rb"))

    def gone():     # each client process counts its own
        return sum(map(int, re.findall(r'the logger is behind: (\d+) records for "signet tls why" were not written', s.log()[since:])))

    def send_busy(n):
        return [kit.queue_id(kit.send(rcpts=["recipient-%03d-%s@busy.example" % (i, "x" * 40) for i in range(100)])) for _ in range(n)]

    busy = env.sink("127.0.0.8", script={"RCPT": lambda conn, line: "450 4.2.1 %s is busy" % line})
    since = s.mark()
    (logger,) = s.pids("log")
    os.kill(s.proc.p.pid, signal.SIGSTOP)
    try:
        os.kill(logger, signal.SIGKILL)
        qid = kit.queue_id(kit.send(rcpts=["u@ok.example"]))
        kit.wait_until("a delivery without logger", lambda: any(qid.encode() in m["data"] for m in env.ok.messages))
        send_busy(25)
        kit.wait_until("2500 recipients to be refused", lambda: sum(c.startswith("RCPT") for c in busy.commands) >= 2500, 60)
    finally:
        os.kill(s.proc.p.pid, signal.SIGCONT)
    # a connection that was used before may leave two records of a recipient
    kit.wait_until("kept ones and counted ones to be all", lambda: kept() + gone() >= 2500)
    kit.check(kept() > 0 and gone() > 0, "%d are kept, %d were lost" % (kept(), gone()))
    kit.wait_until("the record of %s" % qid, lambda: '"sent"' in s.cli("tls", "why", "--json", qid, check_status=False))


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
    s.stop()
    for name in files(s):
        os.unlink(os.path.join(s.data, "why", name))
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
    env.ok = server(env, "127.0.0.2", cert, key)
    server(env, "127.0.0.3", *env.cert("other.invalid"))
    server(env, "127.0.0.4")
    server(env, "127.0.0.5", *env.cert("evil.example", cn='a"],"outcome":"bounced","x":["y'))
    mixed = {"no": "550 5.1.1 nobody", "later": "450 4.2.1 busy", "second": "450 4.2.1 busy"}
    env.sink("127.0.0.6", script={"RCPT": lambda conn, line: mixed.get(line.split("<")[1].split("@")[0])})
    env.sink("127.0.0.7", script={"RCPT": lambda conn, line: "452 4.2.2 full" if "<later@" in line else None})
    env.policy = env.write("policy", POLICY)
    s = env.signet("mta", MAIN % (ca, env.policy))
    qid = records(env, s, cert)
    several(s)
    many(s)
    mistakes(s, qid)
    without_logger(env, s)
    limits(env, s)
    kit.check(not s.has_log(r"(panic|fatal): "), s.log())
