"""signet send: over the socket with the daemon up, through the maildrop with it down; no user has another's identity."""
import os
import shutil
import subprocess

import kit

MSG = b"From mbox line\nTo: Alice <sgt-c@mta.test>, nobody-bcc\nBcc: sgt-d\nSubject: from cron\n\nbody\n.\nbehind the dot\n"


def run(env):
    if os.geteuid() != 0:
        raise kit.Skipped("sending as several users needs root")
    a, b = env.user("sgt-c"), env.user("sgt-d")
    for u in (a, b):
        shutil.rmtree(os.path.join(u.pw_dir, "Maildir"), ignore_errors=True)
    s = env.signet("mta", "myhostname = mta.test\nmydestination = mta.test\nmyorigin = mta.test\nhome_mailbox = Maildir/\n"
                   "alias_maps = inline:{ {nobody-bcc = sgt-d} }\n")
    box_a, box_b = os.path.join(a.pw_dir, "Maildir"), os.path.join(b.pw_dir, "Maildir")
    signet = os.path.join(kit.BUILD, "src", "signet")
    sendmail = env.path("sendmail")
    os.symlink(signet, sendmail)

    def send(user, *argv, data=MSG, program=(signet, "-c", s.conf, "send")):
        return subprocess.run(["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups", *program, *argv],
                              input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ, MAIL_CONFIG=s.conf))

    def empty():
        return os.listdir(os.path.join(s.queue, "maildrop")) == []

    # PHP's way, under sendmail's name
    since = s.mark()
    r = send(a, "-t", "-i", program=(sendmail,))
    kit.check(r.returncode == 0, r.stdout.decode())
    s.wait_log(r": uid=%d from=<sgt-c(@mta.test)?>" % a.pw_uid, since)
    kit.wait_until("both boxes", lambda: len(kit.maildir(box_a)) == 1 and len(kit.maildir(box_b)) >= 1)
    got = kit.maildir(box_a)[0].decode()
    kit.check("Return-Path: <sgt-c@mta.test>\n" in got and "Bcc" not in got and "From mbox" not in got, got)
    kit.check("from userid %d" % a.pw_uid in got and "Message-Id: <" in got and "\n.\nbehind the dot\n" in got, got)
    r = send(b, "-f", "other@else.test", "sgt-c", data=b"Subject: x\n\none\n.\ntwo\n")
    kit.check(r.returncode == 0, r.stdout.decode())
    kit.wait_until("the second", lambda: len(kit.maildir(box_a)) == 2)
    got = kit.maildir(box_a)[1].decode()
    kit.check("Return-Path: <other@else.test>" in got and "\none\n" in got and "two" not in got, got)
    r = send(b, "-bs", data=b"EHLO x\r\nMAIL FROM:<sgt-d@mta.test>\r\nRCPT TO:<sgt-c@mta.test>\r\nDATA\r\nSubject: bs\r\n\r\nx\r\n.\r\nQUIT\r\n")
    kit.check(r.returncode == 0 and b"\r\n354 " in r.stdout and b"\r\n221 " in r.stdout, r.stdout.decode())
    r = send(b, "-bv", "sgt-c")
    kit.check(r.returncode == 0 and b"deliverable" in r.stdout, r.stdout.decode())
    for argv, status in ((["-Z"], 64), (["-t"], 64), ([], 64), (["-bp"], 0)):
        r = send(a, *argv, data=b"Subject: nobody\n\nx\n")
        kit.check(r.returncode == status, "%s: %d %s" % (argv, r.returncode, r.stdout.decode()))
    kit.wait_until("the third", lambda: len(kit.maildir(box_a)) == 3)

    # the daemon is down: kept, and taken at the next start, each with its owner's identity
    s.stop()
    for u in (a, b):
        r = send(u, "-t", "-i")
        kit.check(r.returncode == 0, r.stdout.decode())
    drop = os.path.join(s.queue, "maildrop")
    files = {os.stat(os.path.join(drop, f)).st_uid: os.path.join(drop, f) for f in os.listdir(drop)}
    kit.check(set(files) == {a.pw_uid, b.pw_uid}, "one file each: %s" % files)

    def as_b(*argv):
        return subprocess.run(["setpriv", "--reuid", str(b.pw_uid), "--regid", str(b.pw_gid), "--clear-groups", *argv],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT).returncode
    mine, theirs = files[b.pw_uid], files[a.pw_uid]
    kit.check(as_b("ls", drop) != 0, "nobody may list the maildrop")
    kit.check(as_b("cat", theirs) != 0 and as_b("rm", "-f", theirs) != 0 and as_b("mv", theirs, mine + "x") != 0 and as_b("chmod", "644", theirs) != 0,
              "nobody may touch another's mail")
    # tricks: a link to a secret, another name for another's file, a directory, a pipe, rubbish, a half-written file
    with open("/proc/sys/fs/protected_hardlinks") as f:
        protected = f.read().strip() == "1"
    as_b("ln", "-s", "/etc/shadow", os.path.join(drop, "link"))
    if not protected or as_b("ln", theirs, os.path.join(drop, "hard")) == 0:
        kit.check(not protected, "the kernel lets nobody link another's file")
    os.link(env.write("elsewhere", "a file of the system\n"), os.path.join(drop, "hard2"))
    as_b("mkdir", os.path.join(drop, "dir"))
    as_b("mkfifo", "-m", "0700", os.path.join(drop, "fifo"))
    as_b("sh", "-c", "echo hello > %s/rubbish; chmod 700 %s/rubbish; cp %s %s/half; chmod 600 %s/half" % (drop, drop, mine, drop, drop))
    # a forged head: filter, client and queue state are not the user's to say
    envelope = "sender=forged@x.test\nfilter=smtp:[192.0.2.1]\nflags=hold\nrcpt=sgt-c@mta.test\nclient_addr=10.0.0.1\nrcpts=1\n"
    forged = env.write("forged", "signet-maildrop 1 %d f- \n%sSubject: f\n\nx\n" % (len(envelope), envelope))
    as_b("sh", "-c", "cat %s > %s/forged; chmod 700 %s/forged" % (forged, drop, drop))
    since = s.mark()
    s.start()
    s.wait_log(r"pickup\[\d+\]: \S+: uid=%d from=<sgt-c@mta.test>" % a.pw_uid, since)
    s.wait_log(r"pickup\[\d+\]: \S+: uid=%d from=<sgt-d@mta.test>" % b.pw_uid, since)
    for name, why in (("link", "symbolic link"), ("hard2", "more than one name"), ("dir", "not a regular file"), ("fifo", "not a regular file"), ("rubbish", "malformed")):
        s.wait_log(r"warning: maildrop/%s of uid \d+ is moved to maildrop.bad: .*%s" % (name, why), since)
    kit.wait_until("the two", lambda: len(kit.maildir(box_a)) >= 5)
    kit.wait_until("only the half one is left", lambda: os.listdir(drop) == ["half"])
    s.wait_log(r"from=<forged@x.test>, size=", since)
    kit.check("192.0.2.1" not in s.log()[since:], "a forged filter has no effect")
    # never both the old and the new copy
    kit.check(len([m for m in kit.maildir(box_a) if b"Subject: from cron" in m]) == 3, "each once")

    # a full spool: the message waits in the maildrop or the command says 75, but it is never lost silently
    r = send(a, "sgt-c", data=b"Subject: big\n\n" + b"x" * 100 + b"\n" + b"line of text\n" * 900000)
    kit.check(r.returncode == 65, "larger than message_size_limit: %d %s" % (r.returncode, r.stdout.decode()))
    for u in (a, b):
        shutil.rmtree(os.path.join(u.pw_dir, "Maildir"), ignore_errors=True)
