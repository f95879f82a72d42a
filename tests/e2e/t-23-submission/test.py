"""Ways into the queue: `signet send` over the submission socket, a body larger than one frame, DISCARD, a client that vanishes
in the middle, a restart of the queue under a client."""
import os

import kit
import raw_kit


def run(env):
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2"])
    sink = env.sink("127.0.0.2")
    master = kit.MASTER_CF.format(smtp="127.0.0.1:25") + "127.0.0.1:587 inet n - n - - smtpd\n -o smtpd_hide_client_session=yes\n"
    s = env.signet("mx", "smtpd_recipient_restrictions = check_recipient_access inline:{ {drop@example.com=DISCARD} {tag@example.com=PREPEND X-Tag: yes} }\n", master)

    s.cli("send", "-f", "me@here.example", "user@example.com", input="Subject: hand made\n\nhello\n")
    m = s.wait_log(r"signet/pickup\[\d+\]: (\w+): uid=%d from=<me@here\.example>" % os.getuid())
    s.wait_log(r"%s: to=<user@example\.com>.*status=sent" % m[1])
    got = sink.messages[-1]["data"].decode()
    kit.check("Received: by mx.test (Signet, from userid %d)\r\n\tid %s" % (os.getuid(), m[1]) in got, got)
    kit.check("\r\nMessage-ID: <" in got.replace("Message-Id", "Message-ID") and "\r\nDate: " in got and "\r\nFrom: " in got, got)
    kit.check(not s.has_log(r"connect from localhost"), "a local submission is no connection in the log")

    body = "Subject: large\n\n" + "0123456789" * 7 + "\n"
    body += ("x" * 76 + "\n") * 20000 + "the end\n"
    qid = kit.queue_id(kit.send(rcpts="user@example.com", body=body))
    s.wait_log(r"%s: removed" % qid)
    got = sink.messages[-1]["data"]
    kit.check(got.rstrip().endswith(b"the end") and got.count(b"\r\n" + b"x" * 76) == 20000, "the large body arrives whole: %d bytes, %r" % (len(got), got[-40:]))

    count = len(sink.messages)
    qid = kit.queue_id(kit.send(rcpts="drop@example.com"))
    s.wait_log(r"%s: removed \(discarded\)" % qid)
    kit.check(s.has_log(r"discard: RCPT from localhost\[127\.0\.0\.1\]: <drop@example\.com>: Recipient address triggers DISCARD action; from="), s.log())
    qid = kit.queue_id(kit.send(rcpts="tag@example.com"))
    s.wait_log(r"%s: removed" % qid)
    kit.check(len(sink.messages) == count + 1 and sink.messages[-1]["data"].startswith(b"X-Tag: yes\r\nReceived: "), sink.messages[-1]["data"])

    # what is asked of another address by VRFY is not done to the next message
    with raw_kit.Raw() as c:
        c.reply()
        for line in ("HELO verify.example", "VRFY tag@example.com", "MAIL FROM:<a@b.example>", "RCPT TO:<user@example.com>", "DATA",
                     "Subject: no tag\r\n\r\nx\r\n."):
            answer = c.say(line)[0]
            kit.check(answer[0] in "23", answer)
    s.wait_log(r"%s: removed" % kit.queue_id(answer))
    kit.check(b"X-Tag" not in sink.messages[-1]["data"], sink.messages[-1]["data"])

    qid = kit.queue_id(kit.send(port=587, rcpts="user@example.com"))
    s.wait_log(r"%s: removed" % qid)
    kit.check(sink.messages[-1]["data"].startswith(b"Received: by mx.test (Signet) id %s; " % qid.encode()), sink.messages[-1]["data"])

    with raw_kit.Raw() as c:
        c.reply()
        for line in ("EHLO gone.example", "MAIL FROM:<a@gone.example>", "RCPT TO:<user@example.com>", "DATA"):
            answer = c.say(line)
        kit.check(answer[0].startswith("354 "), answer)
        c.tell(b"Subject: half\r\n\r\n" + b"y" * 200000)
    s.wait_log(r"\w+: lost connection after DATA \(\d+ bytes\) from localhost\[127\.0\.0\.1\]")
    s.wait_log(r"\w+: removed \(canceled\)")

    # a queue that dies is a 451 at most, and mail flows when it is back
    os.kill(s.pids("queue")[0], 9)
    kit.wait_until("the queue again", lambda: kit.send(rcpts="user@example.com").startswith("250 "))
    kit.wait_until("no file of the broken transaction", lambda: not os.listdir(os.path.join(s.queue, "tmp")) if os.path.isdir(os.path.join(s.queue, "tmp")) else True)
    s.stop()
