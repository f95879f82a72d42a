"""What several processes say about a message stands in the log in the order in which it happened, no line is missing, and under load as well:
600 messages over 12 sessions at a time, each of them from "client=" to "removed"."""
import re
import smtplib
import threading

import kit

MESSAGES, SESSIONS = 600, 12
ORDER = (r"client=", r"message-id=", r"from=<", r"to=<.*status=sent", r"removed")


def send_some(failed, count):
    try:
        with smtplib.SMTP("127.0.0.1", 25, timeout=60) as c:
            for _ in range(count):
                c.sendmail("s@example.org", ["a@example.com"], "Subject: order\r\n\r\nx\r\n")
    except (OSError, smtplib.SMTPException) as e:
        failed.append(e)


def run(env):
    env.dns(["example.com. A 127.0.0.2"])
    sink = env.sink("127.0.0.2")
    s = env.signet("mta", "smtpd_client_message_rate_limit = 0\nsmtpd_client_connection_count_limit = 0\n")
    failed = []
    threads = [threading.Thread(target=send_some, args=(failed, MESSAGES // SESSIONS)) for _ in range(SESSIONS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    kit.check(not failed, "sending failed: %s" % failed[:1])
    kit.wait_until("all messages at the other side", lambda: len(sink.messages) == MESSAGES, 120)
    kit.wait_until("all to leave the queue", lambda: len(re.findall(r": removed$", s.log(), re.M)) == MESSAGES, 60)
    lines = {}
    for line in s.log().splitlines():
        m = re.search(r"\]: ([0-9A-Za-z]+): (client=|message-id=|from=<|to=<|removed)", line)
        if m is not None:
            lines.setdefault(m.group(1), []).append(line.split("]: ", 1)[1].split(": ", 1)[1])
    kit.check(len(lines) == MESSAGES, "%d messages in the log" % len(lines))
    for qid, said in lines.items():
        kit.check(len(said) == len(ORDER) and all(re.match(p, line) for p, line in zip(ORDER, said)), "%s:\n%s" % (qid, "\n".join(said)))
