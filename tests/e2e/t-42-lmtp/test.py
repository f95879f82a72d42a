"""LMTP over a network address and over a UNIX socket, one answer for each recipient; a transport of the administrator's own."""
import os

import kit

MASTER = kit.MASTER_CF.format(smtp="127.0.0.1:25") + """\
mine unix - - n - - smtp
  -o syslog_name=signet/special
  -o smtp_helo_name=helo.special.example
  -o { smtp_header_checks = inline:{ {X-Mark: on=REPLACE X-Mark: special transport} } }
store unix - - n - - lmtp -o lmtp_lhlo_name=lhlo.special.example
"""


def answer(conn, data, rcpt):
    return {"full": "552 5.2.2 over quota", "busy": "451 4.3.0 not now"}.get(rcpt.split("<")[1].split("@")[0], "250 2.1.5 stored " + rcpt.split("<")[1].split("@")[0])


def three_fates(s, sink, domain, relay):
    """Accepted, refused for good and refused for now after the same DATA: each its own line, and only the last is tried again."""
    n = len(sink.messages)
    qid = kit.queue_id(kit.send(rcpts=["good@" + domain, "full@" + domain, "busy@" + domain, "unknown@" + domain]))
    s.wait_log(r"signet/lmtp\[\d+\]: %s: to=<good@%s>, relay=%s, .*dsn=2\.1\.5, status=sent \(250 2\.1\.5 stored good\)" % (qid, domain, relay))
    s.wait_log(r"signet/lmtp\[\d+\]: %s: to=<full@%s>, relay=%s, .*dsn=5\.2\.2, status=bounced \(host \S+ said: 552 5\.2\.2 over quota \(in reply to end of DATA command\)\)" % (qid, domain, relay))
    s.wait_log(r"%s: to=<busy@%s>, .*dsn=4\.3\.0, status=deferred \(host \S+ said: 451 4\.3\.0 not now \(in reply to end of DATA command\)\)" % (qid, domain))
    s.wait_log(r"%s: to=<unknown@%s>, .*dsn=5\.1\.1, status=bounced \(host \S+ said: 550 5\.1\.1 who \(in reply to RCPT TO command\)\)" % (qid, domain))
    s.wait_log(r"%s: sender non-delivery notification" % qid)
    kit.check(len(sink.messages) == n + 1 and sink.messages[n]["rcpts"] == ["RCPT TO:<good@%s>" % domain], sink.messages)
    left = {r["address"] for m in s.queue_list() if m["queue_id"] == qid for r in m["recipients"]}
    kit.wait_until("one left", lambda: {r["address"] for m in s.queue_list() if m["queue_id"] == qid for r in m["recipients"]} == {"busy@" + domain})
    since = s.mark()
    s.cli("queue", "flush", qid)
    s.wait_log(r"%s: to=<busy@" % qid, since)
    kit.check(not s.has_log(r"%s: to=<(good|full|unknown)@" % qid, since), "those that are done are not tried again: %s" % left)
    s.cli("queue", "delete", qid)


def run(env):
    env.dns(["mx.special.example. A 127.0.0.4", "special.example. MX 10 mx.special.example."])
    refuse = {"RCPT": lambda conn, line: "550 5.1.1 who" if "unknown" in line else None, ".": answer}
    inet = env.sink("127.0.0.2", 24, lmtp=True, script=refuse)
    path = env.path("lmtp.sock")
    unix = env.sink(path, lmtp=True, script=refuse)
    special, home = env.sink("127.0.0.4"), env.sink("127.0.0.5")
    s = env.signet("mta", master_cf=MASTER, files={"transport": (
        "inet.example lmtp:inet:127.0.0.2:24\nunix.example lmtp:unix:%s\nspecial.example mine:\nstore.example store:[127.0.0.2]:24\n"
        "gone.example lmtp:unix:%s-gone\ntest.example smtp:[127.0.0.5]\n" % (path, path))}, start=False)
    s.set("transport_maps = texthash:%s/transport\n" % s.conf)
    s.start()
    three_fates(s, inet, "inet.example", r"127\.0\.0\.2\[127\.0\.0\.2\]:24")
    kit.check("LHLO mta.test" in inet.commands and not any(c.startswith(("EHLO", "HELO")) for c in inet.commands), inet.commands)
    three_fates(s, unix, "unix.example", r"\S+\[%s\]" % path)

    # the socket is not there: deferred, and delivered when it comes
    qid = kit.queue_id(kit.send(rcpts="good@gone.example"))
    s.wait_log(r"%s: to=<good@gone\.example>, relay=none, .*dsn=4\.4\.1, status=deferred \(connect to \S+\[%s-gone\]: No such file or directory\)" % (qid, path))
    gone = env.sink(path + "-gone", lmtp=True)
    s.cli("queue", "flush", qid)
    s.wait_log(r"%s: to=<good@gone\.example>, .*status=sent" % qid)
    kit.check(len(gone.messages) == 1 and os.path.exists(path + "-gone"), "delivered when it came")

    # a service of the administrator's own
    qid = kit.queue_id(kit.send(rcpts="x@special.example"))
    s.wait_log(r" signet/special/smtp\[\d+\]: %s: to=<x@special\.example>, relay=mx\.special\.example\[127\.0\.0\.4\]:25, .*status=sent" % qid)
    kit.check("EHLO helo.special.example" in special.commands, special.commands)
    qid = kit.queue_id(kit.send(rcpts="good@store.example"))
    s.wait_log(r" signet/lmtp\[\d+\]: %s: to=<good@store\.example>, .*status=sent" % qid)
    kit.check("LHLO lhlo.special.example" in inet.commands, inet.commands)
    kit.wait_until("the bounces", lambda: len(home.messages) == 2)
    kit.check(b"over quota" in home.messages[0]["data"] and b"550 5.1.1 who" in home.messages[0]["data"] and b"not now" not in home.messages[0]["data"], home.messages[0])
    s.stop()
