"""A message comes in over SMTP, is queued durably and goes out by MX to a real Postfix; the log tells the story."""
import kit


def run(env):
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2", "client.test. A 127.0.0.1", "1.0.0.127.in-addr.arpa. PTR client.test."])
    sink = env.sink("127.0.0.2", keywords=("PIPELINING", "8BITMIME", "SIZE 10000000", "DSN"))
    s = env.signet("mta")
    reply = kit.send(rcpts="user@example.com", body="Subject: one\n\n.leading dot\nline\n")
    qid = kit.queue_id(reply)
    kit.check(reply.startswith("250 2.0.0 Ok: queued as"), reply)
    s.wait_log(r"%s: removed" % qid)
    for line in (r"signet/smtpd\[\d+\]: connect from localhost\[127\.0\.0\.1\]",
                 r"signet/smtpd\[\d+\]: %s: client=localhost\[127\.0\.0\.1\]" % qid,
                 r"signet/cleanup\[\d+\]: %s: message-id=<" % qid,
                 r"signet/qmgr\[\d+\]: %s: from=<sender@test\.example>, size=\d+, nrcpt=1 \(queue active\)" % qid,
                 r"signet/smtp\[\d+\]: %s: to=<user@example\.com>, relay=mx\.example\.com\[127\.0\.0\.2\]:25, delay=[\d.]+, delays=[\d.]+/[\d.]+/[\d.]+/[\d.]+, (tls=\S+, )?dsn=2\.0\.0, status=sent \(250 2\.0\.0 Ok\)" % qid,
                 r"signet/smtpd\[\d+\]: disconnect from localhost\[127\.0\.0\.1\] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5"):
        s.wait_log(line)        # processes log side by side: the order of their lines is nobody's promise
    kit.check(len(sink.messages) == 1, "one message arrives")
    m = sink.messages[0]
    kit.check(b"\r\n\r\n.leading dot\r\nline\r\n" in m["data"], "content unchanged: %r" % m["data"])
    kit.check(m["data"].startswith(b"Received: from client.test (localhost [127.0.0.1])\r\n\tby mta.test (Signet) with ESMTP id " + qid.encode()), m["data"])
    kit.check(s.cli("queue", "list").strip() == "Mail queue is empty", "queue is empty")
    s.stop()
