"""signet queue and mailq, postqueue, postsuper, postcat: what they print, what they do, who may, with the daemon up and down."""
import json
import os
import re
import subprocess
import time

import kit

PARAMS = "minimal_backoff_time = 1000s\nqueue_run_delay = 1000s\n"
MAPS = {"transport": "refuse.example smtp:[127.0.0.9]:26\n"}
REASON = "connect to 127.0.0.9[127.0.0.9]:26: Connection refused"


def ids(s):
    return {m["queue_id"]: m for m in s.queue_list()}


def states(s):
    return {m["queue_id"]: m["queue_name"] for m in s.queue_list()}


def text_layout(s, a, b):
    out = s.cli("queue", "list")
    lines = out.split("\n")
    kit.check(lines[0] == "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------", out)
    at = [i for i, l in enumerate(lines) if l.startswith(a)][0]
    kit.check(re.fullmatch(r"%-17s +\d+ (Sun|Mon|Tue|Wed|Thu|Fri|Sat) [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d me@test\.example" % a, lines[at]), repr(lines[at]))
    kit.check(lines[at].index(" me@") == 46, repr(lines[at]))
    kit.check(lines[at + 1] == " " * (76 - len(REASON)) + "(%s)" % REASON, repr(lines[at + 1]))
    kit.check(lines[at + 2] == " " * 47 + "one@refuse.example" and lines[at + 3] == " " * 47 + "two@refuse.example" and lines[at + 4] == "", lines[at:at + 5])
    kit.check(re.search(r"^%s! +\d+ .* MAILER-DAEMON$" % b, out, re.M), out)
    total = sum(m["message_size"] for m in s.queue_list())
    kit.check(lines[-2] == "-- %d Kbytes in 2 Requests." % (total // 1024), lines[-2])
    return out


def json_layout(s, a, b):
    lines = s.cli("queue", "list", "--json").splitlines()
    kit.check(len(lines) == 2, lines)
    m = [m for m in map(json.loads, lines) if m["queue_id"] == a][0]
    kit.check(list(m) == ["queue_name", "queue_id", "arrival_time", "message_size", "forced_expire", "sender", "recipients"], m)
    kit.check(m["queue_name"] == "deferred" and m["forced_expire"] is False and abs(m["arrival_time"] - time.time()) < 600, m)
    kit.check(m["recipients"] == [{"address": "%s@refuse.example" % n, "delay_reason": REASON} for n in ("one", "two")], m)
    kit.check(ids(s)[b]["queue_name"] == "hold" and ids(s)[b]["sender"] == "MAILER-DAEMON", ids(s)[b])


def links(env, s, a, out):
    """The names of Postfix's commands, as links."""
    def run(name, *argv, stdin=None):
        r = subprocess.run([env.path(name), *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, input=stdin, env=dict(os.environ, MAIL_CONFIG=s.conf))
        kit.check(r.returncode == 0, "%s %s: %d %s" % (name, argv, r.returncode, r.stdout))
        return r.stdout
    for name in ("mailq", "postqueue", "postsuper", "postcat", "sendmail"):
        os.symlink(os.path.join(kit.BUILD, "src", "signet"), env.path(name))
    kit.check(run("mailq") == out == run("postqueue", "-p") == run("sendmail", "-bp"), "the same listing")
    kit.check(sorted(run("postqueue", "-j").splitlines()) == sorted(s.cli("queue", "list", "--json").splitlines()), "the same JSON")
    kit.check("secret of the body" in run("postcat", "-bq", a) and "Subject: test" in run("postcat", "-hq", a), "postcat")
    run("postsuper", "-h", a)
    kit.check(states(s)[a] == "hold", "held")
    run("postsuper", "-H", "-", stdin=a + "\n")
    kit.wait_until("released", lambda: states(s)[a] != "hold")
    kit.wait_until("deferred again", lambda: states(s)[a] == "deferred")
    since = s.mark()
    run("postqueue", "-f")
    s.wait_log(r"%s: to=<one@refuse\.example>.*status=deferred" % a, since)
    kit.wait_until("deferred again", lambda: states(s)[a] == "deferred")
    since = s.mark()
    run("postqueue", "-i", a)
    s.wait_log(r"%s: to=<one@refuse\.example>.*status=deferred" % a, since)
    kit.wait_until("deferred again", lambda: states(s)[a] == "deferred")
    since = s.mark()
    run("postsuper", "-r", a)
    s.wait_log(r"%s: to=<one@refuse\.example>.*status=deferred" % a, since)


def strangers(env, s, a):
    if os.geteuid() != 0:
        return
    u = env.user("sgt-q")
    me = [os.path.join(kit.BUILD, "src", "signet"), "-c", s.conf, "queue"]

    def run(*argv):
        r = subprocess.run(["setpriv", "--reuid", str(u.pw_uid), "--regid", str(u.pw_gid), "--clear-groups", *me, *argv],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return r.returncode, r.stdout
    code, text = run("list")
    kit.check(code == 0 and a in text, text)
    since = s.mark()
    code, text = run("flush")
    kit.check(code == 0, text)
    s.wait_log(r"%s: to=<one@refuse\.example>.*status=deferred" % a, since)
    for argv in (["delete", a], ["delete", "ALL"], ["hold", a], ["release", a], ["requeue", a], ["expire", a], ["cat", a]):
        code, text = run(*argv)
        kit.check(code != 0 and "only root and the mail owner may do that" in text and "secret of" not in text, "%s: %d %s" % (argv, code, text))
    kit.check(a in ids(s), "still there")
    s.set(PARAMS + "transport_maps = texthash:%s/transport\nauthorized_mailq_users = root\nauthorized_flush_users = root\n" % s.conf)
    s.reload()

    def shut():
        code, text = run("list")
        kit.check(a not in text or code == 0, text)
        return code != 0 and a not in text and "empty" not in text
    kit.wait_until("the refusal of a list", shut)
    code, text = run("flush")
    kit.check(code != 0 and "authorized_flush_users does not let you" in text, text)


def with_a_broken_configuration(env, s, a):
    """A typo in main.cf, which a reload would refuse, takes nobody his tools: the daemon runs on what it has."""
    with open(s.conf + "/main.cf") as f:
        good = f.read()
    with open(s.conf + "/main.cf", "a") as f:
        f.write("smtpd_recipient_limit = many\n")
    kit.check(a in s.cli("queue", "list") and "queue" in s.cli("status"), "list, status")
    kit.wait_until("deferred again", lambda: states(s)[a] == "deferred")
    for argv in (["-q"], ["-qI" + a], ["-qRrefuse.example"]):
        since = s.mark()
        kit.sh(env.path("sendmail"), "-C", s.conf, *argv)
        s.wait_log(r"%s: to=<one@refuse\.example>.*status=deferred" % a, since)
        kit.wait_until("deferred again", lambda: states(s)[a] == "deferred")
    r = subprocess.run([os.path.join(kit.BUILD, "src", "signet"), "-c", s.conf, "reload"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    kit.check(r.returncode == 1 and re.search(r"smtpd_recipient_limit = many", r.stdout) and "stays in force" in r.stdout, r.stdout)
    with open(s.conf + "/main.cf", "w") as f:
        f.write(good)


def bad_words(s, a):
    for argv, text in ((["delete", "0000NOSUCH"], "0000NOSUCH"), (["cat", "0000NOSUCH"], "0000NOSUCH"), (["hold", "../../etc/passwd"], "passwd"),
                       (["delete"], "needs queue ids"), (["frobnicate", a], "unknown action"), (["list", "--xml"], "unknown option"),
                       (["delete", "ALL", "defered"], "nothing was done"), (["delete", "ALL", a], "nothing was done"), (["delete", "-s", a], "nothing was done"),
                       (["flush", "-s", "refuse.example"], "flush has no option -s")):
        r = subprocess.run([os.path.join(kit.BUILD, "src", "signet"), "-c", s.conf, "queue", *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        kit.check(r.returncode != 0 and text in r.stdout, "%s: %d %s" % (argv, r.returncode, r.stdout))
    kit.check(a in ids(s), "still there")


def queues_by_name(env, s, a, b):
    """postsuper -d ALL deferred is about deferred mail alone; a word that is not understood stops it before anything happens. a is deferred, b held."""
    def run(*argv, ok=True):
        r = subprocess.run([env.path("postsuper"), *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, MAIL_CONFIG=s.conf))
        kit.check((r.returncode == 0) == ok, "%s: %d %s" % (argv, r.returncode, r.stdout))
        return r.stdout
    for argv in (["-d", "ALL", "defered"], ["-d", "ALL", "-x"], ["-d", "ALL", "-h"], ["-d"]):
        kit.check("nothing was done" in run(*argv, ok=False), argv)
    kit.check(set(ids(s)) == {a, b}, "both are there")
    kit.check("0 messages deleted" in run("-d", "ALL", "incoming"), "none is incoming")
    kit.check("no such message" in run("-d", a, "hold", ok=False) and set(ids(s)) == {a, b}, "it is not on hold")
    kit.check("1 message held" in run("-h", "ALL", "deferred", "active") and states(s) == {a: "hold", b: "hold"}, states(s))
    run("-H", a)
    kit.wait_until("deferred again", lambda: states(s)[a] == "deferred")
    kit.check(re.search("%s: is on hold: release it, then it is tried\n" % b, s.cli("queue", "flush", b)), "a flush of what is held")
    kit.check("%s: is not on hold" % a in s.cli("queue", "release", a), "a release of what is not held")


def deeds_in_the_log(s, since, a, b):
    """Who looks for a message in the log sees that an administrator touched it."""
    for qid, text in ((a, "placed on hold"), (a, "released from hold"), (a, "requeued"), (b, "placed on hold"), (b, "removed")):
        kit.check(re.search(r"/postsuper\[\d+\]: %s: %s$" % (qid, text), s.log()[since:], re.M), "%s %s\n%s" % (qid, text, s.log()[since:]))


def cut_short(s, good, cut, empty):
    """A file that lost its end is kept for a human, an empty one is not, and a good one beside them is delivered."""
    path = {n: os.path.join(d, n) for d, _, names in os.walk(os.path.join(s.queue, "mail")) for n in names}
    half = os.path.getsize(path[cut]) // 2
    os.truncate(path[cut], half)
    os.truncate(path[empty], 0)
    since = s.mark()
    s.start()
    s.wait_log(r"%s: warning: incomplete queue file, moved to the directory corrupt" % cut, since)
    s.wait_log(r"%s: removed \(empty, never acknowledged\)" % empty, since)
    kit.wait_until("the file in corrupt/", lambda: os.listdir(os.path.join(s.queue, "corrupt")) == [cut])
    kit.check(os.path.getsize(os.path.join(s.queue, "corrupt", cut)) == half, "as it was found")
    kit.check(set(ids(s)) == {good}, "the good one is there")


def run(env):
    env.dns(["x.example. A 127.0.0.9"])
    s = env.signet("mta", PARAMS, files=MAPS, start=False)
    s.set(PARAMS + "transport_maps = texthash:%s/transport\n" % s.conf)
    s.start()
    kit.check(s.cli("queue", "list") == "Mail queue is empty\n" and s.cli("queue", "list", "--json") == "", "nothing there")
    a = kit.queue_id(kit.send(sender="me@test.example", rcpts=["one@refuse.example", "two@refuse.example"], body="Subject: test\n\nsecret of the body\n"))
    s.wait_log(r"%s: to=<two@refuse\.example>, relay=none, .*dsn=4\.4\.1, status=deferred \(connect to 127\.0\.0\.9\[127\.0\.0\.9\]:26: Connection refused\)" % a)
    b = kit.queue_id(kit.send(sender="", rcpts=["three@refuse.example"], body="Subject: second\n\n%s\n" % ("x" * 70 + "\n") * 30))
    kit.wait_until("both to be deferred", lambda: set(states(s).values()) == {"deferred"} and len(states(s)) == 2)
    s.cli("queue", "hold", b)
    out = text_layout(s, a, b)
    json_layout(s, a, b)
    cat = s.cli("queue", "cat", a)
    kit.check("secret of the body" in cat and "me@test.example" in cat and "one@refuse.example" in cat, cat)
    links(env, s, a, out)
    kit.check(states(s)[b] == "hold", "flush does not touch what is held")
    with_a_broken_configuration(env, s, a)
    queues_by_name(env, s, a, b)
    strangers(env, s, a)
    bad_words(s, a)

    # the daemon is down: list, cat and changes work on the spool itself
    s.stop()
    kit.check(set(ids(s)) == {a, b} and states(s)[b] == "hold" and states(s)[a] == "deferred", states(s))
    kit.check("-- 3 Kbytes in 2 Requests.\n" in s.cli("queue", "list"), s.cli("queue", "list"))
    kit.check("secret of the body" in s.cli("queue", "cat", a), "cat")
    env.write("mta/spool/maildrop/x", "")
    kit.check("signetd does not run: this is what its spool holds; 1 more in maildrop" in s.cli("queue", "list"), s.cli("queue", "list"))
    os.unlink(env.path("mta/spool/maildrop/x"))
    kit.check("1 message held" in s.cli("queue", "hold", "ALL", "deferred"), "ALL deferred, while down")
    kit.check("0 messages held" in s.cli("queue", "hold", "ALL", "deferred"), "none is left")
    kit.check(states(s)[a] == "hold", "held while down")
    s.cli("queue", "release", a)
    s.start()
    since = s.mark()
    kit.wait_until("a to be tried", lambda: s.has_log(r"%s: to=<one@refuse\.example>.*status=deferred" % a, since - 2000 if since > 2000 else 0))
    kit.check(states(s)[b] == "hold", "what is held stays held over a restart")
    kit.check("1 message deleted" in s.cli("queue", "delete", b), "deleted")
    s.wait_log(r"%s: removed" % b)
    kit.check(set(ids(s)) == {a}, "one left")
    deeds_in_the_log(s, 0, a, b)
    s.cli("queue", "hold", "ALL")
    kit.check(states(s) == {a: "hold"}, "ALL held")
    s.cli("queue", "release", "ALL")
    kit.wait_until("release of all", lambda: states(s)[a] != "hold")
    s.cli("queue", "delete", "ALL")
    kit.wait_until("an empty queue", lambda: s.queue_list() == [])
    three = [kit.queue_id(kit.send(sender="me@test.example", rcpts=["one@refuse.example"], body="Subject: test\n\n%s\n" % ("x" * 70 + "\n") * 30)) for _ in range(3)]
    kit.wait_until("three to be deferred", lambda: [states(s).get(q) for q in three] == ["deferred"] * 3)
    s.stop()
    cut_short(s, *three)
    s.stop()
