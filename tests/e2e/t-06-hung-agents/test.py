"""An agent that lives but does nothing any more (stopped here, in the middle of its work) is noticed by the queue within daemon_timeout,
ended and started anew; what it had in hand is delivered by the next one."""
import os
import signal

import kit


def run(env):
    env.dns(["example.com. A 127.0.0.2"])
    sink = env.sink("127.0.0.2")
    s = env.signet("mta", "daemon_timeout = 8s\nmydestination = local.test\nhome_mailbox = Maildir/\n")
    user = env.user("sgt-hung").pw_name
    kit.send(rcpts="a@example.com")
    kit.wait_until("a first message", lambda: len(sink.messages) == 1)
    stopped = s.pids("smtpc") + s.pids("local")
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    out = kit.queue_id(kit.send(rcpts="b@example.com"))
    home = kit.queue_id(kit.send(rcpts="%s@local.test" % user))
    for role in ("smtpc", "local"):
        s.wait_log(r"error: the process %s \(number \d+\) has not answered for \d+s: it is ended and started anew" % role, deadline=60)
        s.wait_log(r"process %s\[\d+\] ended by signal 9" % role)
    for qid in (out, home):
        s.wait_log(r"%s: to=<.*status=deferred \(unknown mail transport error\)" % qid)
        s.wait_log(r"%s: to=<.*status=sent" % qid, deadline=60)
        s.wait_log(r"%s: removed" % qid)
    kit.check(len(sink.messages) == 2, "%d messages" % len(sink.messages))
    kit.check(not set(stopped) & set(s.pids("smtpc") + s.pids("local")), "a stopped process is still there")
