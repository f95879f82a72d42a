"""Three in the morning: wrong owner and mode of the spool, a port that is taken, an address that is not ours, a user that does not exist, tables that were
not built again, are not there or cannot be read, a disk without room, DNS that is away. Each is one line with place and fix, and no mail is lost."""
import os
import re
import socket
import subprocess

import kit

NO_NAMES = "smtpd_peername_lookup = no\n"
LOCAL = NO_NAMES + "mydestination = here.test\nlocal_recipient_maps =\n"


def refuses(s, name, pattern):
    """It does not start, and says so in one line."""
    since = s.mark()
    s.start(wait=False)
    kit.wait_until("signetd to refuse: %s" % name, lambda: not s.proc.alive(), 20)
    said = s.proc.text() + s.log()[since:]
    kit.check(s.proc.p.returncode == 1 and re.search(pattern, said), "%s: status %s, no /%s/ in\n%s" % (name, s.proc.p.returncode, pattern, said))
    open(s.proc.output, "w").close()


def starts(s, name):
    s.start()
    s.stop()
    kit.check(not s.has_log(r"(fatal|panic): "), "%s\n%s" % (name, s.log()))


def directories(env):
    s = env.signet("dirs", start=False)
    os.mkdir(s.queue)
    os.chmod(s.queue, 0o777)
    refuses(s, "a spool open to all", r"fatal: queue_directory %s: everybody may write into it .*; run: chmod 755 %s" % (s.queue, s.queue))
    os.chown(s.queue, 1234, 0)
    os.chmod(s.queue, 0o700)
    refuses(s, "a spool of somebody else", r"fatal: queue_directory %s: owner 1234 and mode 700 keep uid \d+ out of it; run: chown root %s && chmod 755 %s" % (
        s.queue, s.queue, s.queue))
    kit.check(os.listdir(s.queue) == [], "nothing was made in it")
    kit.sh("sh", "-c", "chown root %s && chmod 755 %s" % (s.queue, s.queue))       # what the line says
    starts(s, "after the fix")
    # folders that somebody made his own are taken back
    os.chmod(os.path.join(s.queue, "mail"), 0o777)
    os.chown(os.path.join(s.queue, "mail"), 1234, 1234)
    starts(s, "folders of another owner")
    kit.check(os.stat(os.path.join(s.queue, "mail")).st_mode & 0o777 == 0o700, "the mode of mail/")
    s.set("queue_directory = /proc/x\n")
    refuses(s, "a spool that cannot be", r"fatal: queue_directory /proc/x: No such file or directory; name a directory")
    s.set("data_directory = /proc/y\n")
    refuses(s, "data that cannot be", r"fatal: data_directory: cannot make the directory /proc/y")
    s.set("mail_owner = nosuchuser\n")
    refuses(s, "a user that does not exist", r"fatal: parameter mail_owner: there is no user \"nosuchuser\" \(make it with: useradd ")
    s.set("", "only columns\n")
    refuses(s, "half a line in master.cf", r'master\.cf:1: columns are missing: "only columns"')


def ports(env):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 2526))
        taken.listen()
        s = env.signet("ports", "", kit.MASTER_CF.format(smtp="127.0.0.1:2526"), start=False)
        refuses(s, "a port that is taken", r"error: \S+master\.cf:1: service 127\.0\.0\.1:2526: cannot listen on .*: Address already in use; another program has it: ss -ltnp")
    s.set("", kit.MASTER_CF.format(smtp="192.0.2.77:25"))
    refuses(s, "an address of others", r"error: \S+master\.cf:1: .*192\.0\.2\.77:25: Cannot assign requested address; this host does not have the address: ip addr")
    s.set("", kit.MASTER_CF.format(smtp="127.0.0.1:smpt"))
    refuses(s, "a port without number", r"error: \S+master\.cf:1: service 127\.0\.0\.1:smpt: 127\.0\.0\.1:smpt: no such port; write its number")


def reply(rcpt="joe@here.test"):
    try:
        return kit.send(rcpts=[rcpt])
    except Exception as e:
        return str(e)


def tables(env):
    """What cannot be looked up waits; what is old is said to be."""
    s = env.signet("tables", LOCAL, start=False)
    text = env.path("tables/virtual")
    for kind in ("cdb", "lmdb"):
        env.write("tables/virtual", "joe@here.test old@here.test\n")
        s.set(LOCAL + "virtual_alias_maps = %s:%s\n" % (kind, text))
        build = r"build it: signet map build %s:%s" % (kind, text)
        out = s.cli("check", check_status=False)
        kit.check(re.search(r"main\.cf:\d+: error: virtual_alias_maps: %s:%s: No such file or directory: %s\.%s; %s" % (kind, text, text, kind, build), out), out)
        since = s.mark()
        s.start()
        kit.check(reply().startswith("451 4.3.0"), reply())
        s.wait_log(r"warning: %s:%s: No such file or directory: %s\.%s; %s" % (kind, text, text, kind, build), since)
        s.cli("map", "build", "%s:%s" % (kind, text))           # what the line says
        kit.wait_until("the built table to be seen", lambda: reply().startswith("250"))
        s.stop()
        kit.check("changed after" not in s.cli("check", check_status=False), "a fresh table")
        env.write("tables/virtual", "joe@here.test new@here.test\n")
        os.utime(text, (os.stat(text).st_mtime + 10,) * 2)
        old = r"virtual: the text was changed after %s\.%s was built: old entries are used; %s" % (text, kind, build)
        out = s.cli("check", check_status=False)
        kit.check(re.search(r"main\.cf:\d+: warning: virtual_alias_maps: .*" + old, out), out)
        since = s.mark()
        s.start()
        kit.check(reply().startswith("250"), "old entries serve")
        s.wait_log("warning: .*" + old, since)
        s.stop()
    # hash: is built by itself; its text may be gone, and come back
    s.set(LOCAL + "virtual_alias_maps = hash:%s\n" % text)
    os.rename(text, text + ".away")
    s.start()
    kit.check(reply().startswith("451 4.3.0"), reply())
    s.wait_log(r"warning: hash:%s: the source text is gone: write it, or take the table out" % text)
    os.rename(text + ".away", text)
    kit.wait_until("the table to be back", lambda: reply().startswith("250"))
    s.stop()


def hops(env):
    """Routes that lead nowhere: the mail waits until they are corrected, then it goes."""
    sink = env.sink("127.0.0.2")
    bad = "transport_maps = inline:{ {a.test = smpt:[127.0.0.2]} {b.test = smtp:[127.0.0.2]:smpt} }\nrelayhost = [127.0.0.2\n"
    s = env.signet("hops", NO_NAMES + bad + "transport_retry_time = 1s\n")
    qids = [kit.queue_id(reply("u@%s.test" % d)) for d in "abc"]
    s.wait_log(r"warning: transport smpt: no such service in master\.cf")
    s.wait_log(r"warning: next hop \[127\.0\.0\.2\]:smpt: no such port")
    s.wait_log(r"warning: next hop \[127\.0\.0\.2: this is neither a host name nor an address")
    for qid in qids:
        s.wait_log(r"%s: .*status=deferred" % qid)
    s.set("transport_retry_time = 1s\ntransport_maps =\nrelayhost = [127.0.0.2]\n")
    s.reload()
    s.cli("queue", "flush")
    for qid in qids:
        s.wait_log(r"%s: .*status=sent" % qid)
    kit.check(len(sink.messages) == 3, "%d messages" % len(sink.messages))
    s.stop()


def names(env):
    """DNS is away when we start and when mail comes; later it is there."""
    sink = env.sink("127.0.0.4")
    env.dns_params = "dns_servers = 127.0.0.54\ndnssec_trust_anchor_files =\nsmtp_dns_support_level = enabled\nminimal_backoff_time = 1s\n"
    s = env.signet("names", NO_NAMES)
    qid = kit.queue_id(reply("u@far.example"))
    s.wait_log(r"%s: to=<u@far\.example>, relay=none, .*dsn=4\.4\.3, status=deferred \(Host or domain name not found\. Name service error for name=far\.example type=MX: Host not found, try again\)" % qid)
    env.dns(["far.example. MX 10 mx.far.example.", "mx.far.example. A 127.0.0.4"], address="127.0.0.54")

    def sent():
        s.cli("queue", "flush")
        return s.has_log(r"%s: .*status=sent" % qid)
    kit.wait_until("the mail to go out once DNS is back", sent)
    kit.check(len(sink.messages) == 1, "%d messages" % len(sink.messages))
    s.stop()


def room(env):
    """A spool of 2 MB: no room is a 452 before the data, and says why."""
    s = env.signet("room", LOCAL, start=False)
    os.mkdir(s.queue)
    kit.sh("mount", "-t", "tmpfs", "-o", "size=2m,mode=755", "none", s.queue)
    env.at_end(lambda: subprocess.run(["umount", "-l", s.queue], stderr=subprocess.DEVNULL))
    s.start()
    got = reply()
    kit.check(got.startswith("452 4.3.1"), got)
    s.wait_log(r"warning: not enough free space in mail queue: \d+ bytes < 1\.5\*message size limit")
    s.stop()


def run(env):
    directories(env)
    ports(env)
    tables(env)
    hops(env)
    names(env)
    room(env)
