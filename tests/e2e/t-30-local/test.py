"""Local delivery: aliases, .forward, commands, files, virtual mailboxes, pipe; bounces come back; a full or missing home defers."""
import os
import shutil

import kit

MAIN = """
myhostname = mta.test
mydestination = mta.test
myorigin = mta.test
recipient_delimiter = +
home_mailbox = Maildir/
alias_maps = hash:{etc}/aliases
alias_database = hash:{etc}/aliases
smtpd_recipient_restrictions = permit_mynetworks, reject
virtual_mailbox_domains = virt.test
virtual_mailbox_base = {dir}/vmail
virtual_mailbox_maps = hash:{etc}/vmaps
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 100
transport_maps = inline:{{ {{pipe.test = catch:}} }}
catch_destination_recipient_limit = 1
mailbox_transport_maps = inline:{{ {{sgt-passed = catch:hop}} }}
"""
ALIASES = """
toalice: sgt-a
both: sgt-a, sgt-b
nowhere: sgt-nobody-at-all
cmd: "|exit 67"
script: "|cat > {dir}/out/script; env >> {dir}/out/script; id >> {dir}/out/script"
tofile: {dir}/out/box
list: :include:{etc}/members
away: someone@pipe.test
owner-list: sgt-b
"""


def boxes(*users):
    for u in users:
        shutil.rmtree(os.path.join(u.pw_dir, "Maildir"), ignore_errors=True)
        try:
            os.unlink(os.path.join(u.pw_dir, ".forward"))
        except FileNotFoundError:
            pass


def run(env):
    if os.geteuid() != 0:
        raise kit.Skipped("local delivery to other users needs root")
    a, b = env.user("sgt-a"), env.user("sgt-b")
    boxes(a, b)
    for d in ("out", "vmail"):
        os.makedirs(env.path(d))
        os.chmod(env.path(d), 0o1777)
    etc = env.path("mta", "etc")
    names = {"etc": etc, "dir": env.dir, "uid": a.pw_uid, "gid": a.pw_gid}
    catch = "catch unix - n n - - pipe flags=DROX user=sgt-a argv=/bin/sh -c {cat > %s/out/pipe; echo $$0 $$1} ${sender} ${recipient}\n" % env.dir
    s = env.signet("mta", MAIN.format(**names), kit.MASTER_CF.format(smtp="127.0.0.1:25") + catch, files={
        "aliases": ALIASES.format(**names), "members": "sgt-a\n# comment\nsgt-b\n", "vmaps": "u@virt.test virt/u/\nm@virt.test virt-m\n"})
    box_a, box_b = os.path.join(a.pw_dir, "Maildir"), os.path.join(b.pw_dir, "Maildir")

    def mail(rcpt, expect, body="Subject: s\n\nFrom here\n", sender="sgt-b@mta.test"):
        since = s.mark()
        ok = kit.send(rcpts=rcpt, body=body.replace("\n", "\r\n"), sender=sender)
        qid = kit.queue_id(ok)
        s.wait_log(r"%s: to=<.*%s" % (qid, expect), since)
        return qid

    mail("sgt-a+box@mta.test", r"relay=local, .*status=sent \(delivered to maildir\)")
    got = kit.maildir(box_a)[-1].decode()
    kit.check(got.startswith("Return-Path: <sgt-b@mta.test>\nX-Original-To: sgt-a+box@mta.test\nDelivered-To: sgt-a+box@mta.test\n"), got)
    kit.check("\r" not in got and got.endswith("\nFrom here\n"), got)
    kit.check(os.stat(os.path.join(box_a, "new", os.listdir(os.path.join(box_a, "new"))[0])).st_uid == a.pw_uid, "owner of the file")

    mail("both@mta.test", r"orig_to=<both@mta.test>, .*status=sent")
    kit.wait_until("both have it", lambda: len(kit.maildir(box_a)) == 2 and len(kit.maildir(box_b)) == 1)
    since = s.mark()
    qid = mail("nowhere@mta.test", r"dsn=5.1.1, status=bounced \(unknown user: \"sgt-nobody-at-all\"\)")
    new = s.wait_log(r"%s: sender non-delivery notification: (\S+)" % qid, since).group(1)
    s.wait_log(r"%s: to=<sgt-b@mta.test>, .*status=sent" % new, since)
    bounce = kit.maildir(box_b)[-1].decode()
    kit.check("Final-Recipient: rfc822; sgt-nobody-at-all@mta.test" in bounce or "Final-Recipient: rfc822; nowhere@mta.test" in bounce, bounce)
    kit.check("Subject: Undelivered Mail Returned to Sender" in bounce, bounce)

    mail("cmd@mta.test", r"status=bounced \(user unknown\)")
    mail("script@mta.test", r"status=sent \(delivered to command: ", sender="x$y@mta.test")
    with open(env.path("out", "script")) as f:
        text = f.read()
    kit.check("SENDER=x_y@mta.test" in text and "RECIPIENT=script@mta.test" in text and "uid=65534(nobody)" in text, text)
    mail("tofile@mta.test", r"status=sent \(delivered to file: ")
    with open(env.path("out", "box")) as f:
        text = f.read()
    kit.check(text.startswith("From sgt-b@mta.test  ") and "\n>From here\n\n" in text, text)

    since = s.mark()
    mail("list@mta.test", r"status=sent \(forwarded as ")
    s.wait_log(r"from=<owner-list@mta.test>", since)
    forwarded = s.wait_log(r"\(forwarded as (\w+)\)", since).group(1)
    s.wait_log(r"/cleanup\[\d+\]: %s: message-id=<" % forwarded, since)
    s.wait_log(r"to=<sgt-b@mta.test>, .*status=sent", since)

    # .forward: a copy and a command, with the user's rights
    with open(os.path.join(a.pw_dir, ".forward"), "w") as f:
        f.write('\\sgt-a, "|id -un > %s/out/who"\n' % env.dir)
    os.chown(os.path.join(a.pw_dir, ".forward"), a.pw_uid, a.pw_gid)
    os.chmod(os.path.join(a.pw_dir, ".forward"), 0o600)
    mail("sgt-a@mta.test", r"status=sent \(delivered to command: id -un")
    with open(env.path("out", "who")) as f:
        kit.check(f.read() == "sgt-a\n", "rights of the command")
    # two users that forward to each other: the mail comes back once, then it is a loop
    for u, other in ((a, "sgt-b"), (b, "sgt-a")):
        with open(os.path.join(u.pw_dir, ".forward"), "w") as f:
            f.write(other + "\n")
        os.chown(os.path.join(u.pw_dir, ".forward"), u.pw_uid, u.pw_gid)
        os.chmod(os.path.join(u.pw_dir, ".forward"), 0o600)
    since = s.mark()
    kit.send(rcpts="sgt-a@mta.test", sender="")
    s.wait_log(r"dsn=5.4.6, status=bounced \(mail forwarding loop for sgt-a@mta.test\)", since)
    os.unlink(os.path.join(a.pw_dir, ".forward"))
    os.unlink(os.path.join(b.pw_dir, ".forward"))

    mail("u@virt.test", r"relay=virtual, .*status=sent \(delivered to maildir\)")
    mail("m@virt.test", r"relay=virtual, .*status=sent \(delivered to mailbox\)")
    kit.check(len(kit.maildir(env.path("vmail", "virt", "u"))) == 1, "virtual maildir")
    mail("x@pipe.test", r"relay=catch, .*status=sent \(delivered via catch service \(sgt-b@mta.test x@pipe.test\)\)")

    # a mailbox that another transport has, and a large message that is forwarded: both are new messages
    since = s.mark()
    mail("sgt-passed@mta.test", r"relay=local, .*status=sent \(forwarded as ")
    s.wait_log(r"to=<sgt-passed@mta.test>, relay=catch, .*status=sent \(delivered via catch service \(sgt-b@mta.test sgt-passed@mta.test\)\)", since)
    since = s.mark()
    mail("away@mta.test", r"relay=local, .*status=sent \(forwarded as ", body="Subject: large\n\n" + "0123456789\n" * 60000)
    s.wait_log(r"to=<someone@pipe.test>, orig_to=<away@mta.test>, relay=catch, .*status=sent", since)
    with open(env.path("out", "pipe")) as f:
        text = f.read()
    kit.check(text.count("0123456789\n") == 60000 and "\nDelivered-To: away@mta.test\n" in text, "the forwarded message is whole")

    # a home that is gone, a disk that is full: deferred, and nothing half written
    small = env.path("small")
    os.makedirs(small)
    kit.sh("mount", "-t", "tmpfs", "-o", "size=64k,mode=755,uid=%d" % a.pw_uid, "tmpfs", small)
    env.at_end(lambda: kit.sh("umount", "-l", small))
    kit.sh("usermod", "-d", small, "sgt-a")
    try:
        mail("sgt-a@mta.test", r"status=deferred \(maildir delivery failed: error writing message: No space left on device\)",
             body="Subject: big\n\n" + "line\n" * 40000)
        kit.check(kit.maildir(os.path.join(small, "Maildir")) == [] and os.listdir(os.path.join(small, "Maildir", "tmp")) == [], "nothing half delivered")
        kit.sh("mount", "-o", "remount,size=8m", small)
        since = s.mark()
        s.cli("queue", "flush")
        s.wait_log(r"to=<sgt-a@mta.test>, .*status=sent", since)
        kit.check(len(kit.maildir(os.path.join(small, "Maildir"))) == 1, "delivered when there is room")
        kit.sh("usermod", "-d", env.path("gone"), "sgt-a")
        mail("sgt-a@mta.test", r"dsn=4.2.0, status=deferred \(maildir delivery failed: create maildir file .*No such file or directory\)")
        kit.check(not os.path.exists(env.path("gone")), "no home was made")
    finally:
        kit.sh("usermod", "-d", a.pw_dir, "sgt-a")

    # kill the roles while a command runs: the message is delivered again, never lost
    with open(os.path.join(a.pw_dir, ".forward"), "w") as f:
        f.write('"|echo x >> %s/out/times; test `wc -l < %s/out/times` -gt 1 || sleep 60"\n' % (env.dir, env.dir))
    os.chown(os.path.join(a.pw_dir, ".forward"), a.pw_uid, a.pw_gid)
    os.chmod(os.path.join(a.pw_dir, ".forward"), 0o600)
    since = s.mark()
    qid = kit.queue_id(kit.send(rcpts="sgt-a@mta.test"))
    kit.wait_until("the command to run", lambda: os.path.exists(env.path("out", "times")))
    os.kill(s.pids("local")[0], 9)
    kit.wait_until("local to be back", lambda: s.pids("local"))

    def again():
        s.cli("queue", "flush", check_status=False)
        return s.has_log(r"%s: to=<sgt-a@mta.test>, .*status=sent" % qid, since)
    kit.wait_until("the second delivery", again, 60)
    boxes(a, b)
