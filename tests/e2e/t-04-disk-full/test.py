"""A full spool: 4xx to the client, nothing half-queued, nothing lost, and mail flows again when there is room."""
import os

import kit


def run(env):
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2"])
    sink = env.sink("127.0.0.2")
    spool = env.path("small")
    os.makedirs(spool)
    kit.sh("mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", spool)
    env.at_end(lambda: kit.sh("umount", "-l", spool))
    s = env.signet("mta", "queue_directory = %s/spool\nmessage_size_limit = 1000000\nqueue_minfree = 0\n" % spool)
    ok = kit.send(rcpts="user@example.com")
    kit.check(ok.startswith("250 "), ok)
    s.wait_log(r"%s: removed" % kit.queue_id(ok))
    with open(os.path.join(spool, "ballast"), "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"x" * 4096)
        except OSError:
            pass
    before = len(sink.messages)
    for body in ("Subject: s\n\nsmall\n", "Subject: l\n\n" + "large\n" * 30000):
        try:
            reply = kit.send(rcpts="user@example.com", body=body)
        except kit.smtplib.SMTPResponseException as e:
            reply = "%d %s" % (e.smtp_code, e.smtp_error.decode())
        except kit.smtplib.SMTPException as e:
            reply = str(e)
        kit.check("45" in reply[:4] or "452" in reply or "451" in reply, "a full disk is a 4xx: %s" % reply)
    os.unlink(os.path.join(spool, "ballast"))
    ok = kit.send(rcpts="user@example.com")
    kit.check(ok.startswith("250 "), "room again: %s" % ok)
    s.wait_log(r"%s: removed" % kit.queue_id(ok))
    kit.check(len(sink.messages) == before + 1, "only what was acknowledged is delivered")

    def left():
        return [f for d, _, files in os.walk(os.path.join(spool, "spool")) for f in files if len(f) > 12 and f != ".signet-spool"]
    # the line "removed" is written when that is certain; the file goes with the next batch
    kit.wait_until("the spool to be empty", lambda: not left())
