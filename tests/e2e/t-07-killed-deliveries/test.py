"""kill -9 in the middle of a delivery: smtpc at the final dot, the queue at the final dot, local and deliver while a user's command and a pipe
service run. Each message arrives all the same, the log says what happened, and no file is left half."""
import os
import signal

import kit

MASTER = """
127.0.0.1:25 inet n - n - - smtpd
smtp unix - - n - - smtp
local unix - n n - - local
pip unix - n n - - pipe flags=q user=sgt-kill argv=%s ${recipient}
"""
# says that it runs, and stays until it may end
WAITS = "#!/bin/sh\ncat >/dev/null\necho run >>%s\nwhile test ! -e %s; do sleep 0.1; done\n"


def run(env):
    env.dns(["example.com. A 127.0.0.2", "other.com. A 127.0.0.3"])
    user = env.user("sgt-kill")
    work = env.path("work")
    os.makedirs(work)
    os.chown(work, user.pw_uid, user.pw_gid)
    runs, may_end = os.path.join(work, "runs"), os.path.join(work, "may-end")
    script = env.write("waits", WAITS % (runs, may_end), 0o755)
    held = {}

    def first_dot_hangs(name):
        def dot(conn, data):
            if name in held:
                return "250 2.0.0 Ok"
            held[name] = data
            while conn.recv(1000):          # no answer; until the other side goes
                pass
            return False
        return dot
    a = env.sink("127.0.0.2", script={".": first_dot_hangs("smtpc")})
    b = env.sink("127.0.0.3", script={".": first_dot_hangs("queue")})
    s = env.signet("mta", "mydestination = local.test\nhome_mailbox = Maildir/\nalias_maps = inline:{ {waits=\"|%s\"} }\ndefault_privs = sgt-kill\n"
                   "transport_maps = inline:{ {pipe.test=pip:} }\ntransport_retry_time = 1s\nminimal_backoff_time = 1s\nmaximal_backoff_time = 2s\n" % script, MASTER % script)

    def kill(role):
        for pid in s.pids(role):
            os.kill(pid, signal.SIGKILL)
            s.wait_log(r"process %s\[%d\] ended by signal 9" % (role, pid))

    # smtpc: nobody knows whether the server has it; it is tried again
    qid = kit.queue_id(kit.send(rcpts="u@example.com"))
    kit.wait_until("the dot", lambda: "smtpc" in held)
    kill("smtpc")
    s.wait_log(r"%s: to=<u@example.com>.*status=deferred \(unknown mail transport error\)" % qid)
    s.wait_log(r"%s: to=<u@example.com>.*status=sent" % qid, deadline=60)
    s.wait_log(r"%s: removed" % qid)
    kit.check(len(a.messages) == 1, a.messages)

    # the queue: the next one finds the message in the spool
    qid = kit.queue_id(kit.send(rcpts="u@other.com"))
    kit.wait_until("the dot", lambda: "queue" in held)
    kill("queue")
    s.wait_log(r"%s: to=<u@other.com>.*status=sent" % qid, deadline=60)
    s.wait_log(r"%s: removed" % qid, deadline=60)
    kit.check(len(b.messages) == 1, b.messages)

    # local and deliver, while commands run: these are run again
    def ran():
        try:
            with open(runs) as f:
                return len(f.readlines())
        except FileNotFoundError:
            return 0
    for role in ("local", "deliver"):
        before = ran()
        qids = [kit.queue_id(kit.send(rcpts=r)) for r in ("waits@local.test", "x@pipe.test")]
        kit.wait_until("two commands to run", lambda: ran() == before + 2)
        kill(role)
        kit.wait_until("both to run again", lambda: ran() >= before + 4, 60)
        open(may_end, "w").close()
        for q in qids:
            s.wait_log(r"%s: to=<.*status=sent" % q, deadline=60)
            s.wait_log(r"%s: removed" % q)
        os.unlink(may_end)
    home = kit.queue_id(kit.send(rcpts="sgt-kill@local.test"))
    s.wait_log(r"%s: to=<.*status=sent \(delivered to maildir\)" % home)
    kit.check(os.listdir(os.path.join(user.pw_dir, "Maildir", "tmp")) == [], "files in tmp")
    kit.check(s.queue_list() == [], s.queue_list())
