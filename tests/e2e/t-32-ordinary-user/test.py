"""Started by an ordinary user: everything runs as that user, on a high port, and only that user gets local mail."""
import os
import pwd
import shutil

import kit


def run(env):
    if os.geteuid() != 0:
        raise kit.Skipped("becoming an ordinary user needs root")
    u = env.user("sgt-e")
    env.user("sgt-f")
    shutil.rmtree(os.path.join(u.pw_dir, "Maildir"), ignore_errors=True)
    master = kit.MASTER_CF.format(smtp="127.0.0.1:2525")
    s = env.signet("mta", "myhostname = mta.test\nmydestination = mta.test\nmyorigin = mta.test\nhome_mailbox = Maildir/\nmail_owner = sgt-e\n"
                   "alias_maps = inline:{ {cmd = \"|id -un > %s\"} }\n" % env.path("mta", "who"), master, start=False)
    kit.sh("chown", "-R", "sgt-e:", s.dir)
    since = s.mark()
    s.proc = kit.Process(env, ["setpriv", "--reuid", u.pw_uid, "--regid", u.pw_gid, "--clear-groups", os.path.join(kit.BUILD, "src", "signetd"),
                               "-c", s.conf], "signetd")
    s.wait_log(r"daemon started", since)
    uids = {os.stat("/proc/%d" % pid).st_uid for role in ("local", "deliver", "queue", "smtpd") for pid in s.pids(role)}
    kit.check(uids <= {u.pw_uid}, "who runs: %s" % uids)

    def mail(rcpt, expect):
        since = s.mark()
        qid = kit.queue_id(kit.send(port=2525, rcpts=rcpt))
        s.wait_log(r"%s: to=<.*%s" % (qid, expect), since)
    mail("sgt-e@mta.test", r"status=sent \(delivered to maildir\)")
    kit.check(len(kit.maildir(os.path.join(u.pw_dir, "Maildir"))) == 1, "own mail")
    mail("sgt-f@mta.test", r"status=deferred \(cannot deliver as uid %d: the mail system runs as uid %d, without root's rights\)" % (
        pwd.getpwnam("sgt-f").pw_uid, u.pw_uid))
    mail("cmd@mta.test", r"status=sent \(delivered to command: ")
    with open(env.path("mta", "who")) as f:
        kit.check(f.read() == "sgt-e\n", "commands run as that user")
    shutil.rmtree(os.path.join(u.pw_dir, "Maildir"), ignore_errors=True)
