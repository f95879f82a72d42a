"""Delivery lines beside Postfix 3.10: the same servers that refuse, vanish and speak oddly at every step, the same commands, files and lists behind aliases,
the same pipe services. Relay, code, status and text of every recipient must be the same; where they differ on purpose DIFFERENT says why."""
import os
import re

import kit


def vanish(conn, line=None):
    return False


SERVERS = {
    "greet421": {"greeting": "421 4.3.2 busy"}, "greet554": {"greeting": "554 5.3.2 no"}, "greetclose": {"greeting": vanish},
    "ehlo421": {"EHLO": "421 4.3.2 busy"}, "ehlo550": {"EHLO": "550 no", "HELO": "550 no helo"}, "ehlohelo": {"EHLO": "500 what"}, "ehloclose": {"EHLO": vanish},
    "mail450": {"MAIL": "450 4.1.8 later"}, "mail550": {"MAIL": "550 never"}, "mail421": {"MAIL": "421 4.3.2 bye"}, "mailclose": {"MAIL": vanish},
    "rcpt450": {"RCPT": "450 4.2.0 grey"}, "rcpt550": {"RCPT": "550 5.1.1 who"}, "rcpt552": {"RCPT": "552 5.2.2 full"}, "rcpt421": {"RCPT": "421 4.3.2 bye"},
    "rcptclose": {"RCPT": vanish}, "rcptlines": {"RCPT": "550-5.7.1 one\n550-5.7.1 two\n550 5.7.1 three"}, "rcptodd": {"RCPT": "550 5.7.1/x odd"},
    "rcptmixed": {"RCPT": "450 5.7.1 mixed"}, "data450": {"DATA": "450 4.3.0 later"}, "data554": {"DATA": "554 5.7.1 no"}, "dataclose": {"DATA": vanish},
    "dot450": {".": "450 4.3.0 later"}, "dot554": {".": "554 5.7.1 spam"}, "dot421": {".": "421 4.3.0 later"}, "dotclose": {".": vanish}, "ok": {},
}
ALIASES = r"""
cmd0 "|exit 0"
cmd67 "|echo no such person; exit 67"
cmd75 "|exit 75"
cmd1 "|exit 1"
cmd99 "|echo hmm; exit 99"
cmd127 "|exit 127"
cmdout "|echo line one; echo line two >&2; exit 69"
cmddsn "|echo 4.7.9 go slow; exit 69"
cmdsig "|kill -9 $$"
cmdquote "|echo 'a b' \"c d\"; exit 69"
cmdgone "|/no/such/program"
file %(work)s/open/box
filedev /dev/null
incl :include:%(work)s/list
inclgone :include:%(work)s/nolist
loopa loopb
loopb loopa
self self
owned cmd67
owner-owned sgt-same
mixed sgt-same, cmd67
"""
LOCAL = [line.split(" ")[0] for line in ALIASES.split("\n") if line and not line.startswith("owner-")] + [
    "nosuch", "postmaster", "sgt-same", "sgt-same+ext"]
PIPE = "pip unix - n n - - pipe flags=DR user=sgt-same argv=/bin/sh -c ${user}\n"
# ours, and why (doc/design/020)
DIFFERENT = {
    # the same but for the words of execvp
    "cmdgone": r"dsn=4\.3\.0, status=deferred \(temporary failure\. Command output: cannot run /no/such/program: No such file or directory\)",
    # failures inside an alias with an owner go to the owner, also when its only target is another alias
    "owned": r"to=<owned@local\.test>, relay=local, dsn=2\.0\.0, status=sent \(forwarded as ID\)",
    "inclgone": r"dsn=4\.3\.5, status=deferred \(mail system configuration error\)",
}


def main_cf(work, hops):
    return ("mydestination = local.test\nmyorigin = local.test\nlocal_recipient_maps =\nsmtpd_relay_restrictions = permit_mynetworks, reject\nrecipient_delimiter = +\n"
            "mail_spool_directory = %s/spool\nmailbox_delivery_lock = fcntl\nalias_maps = texthash:%s/aliases\nalias_database =\ndefault_privs = nobody\n"
            "bounce_queue_lifetime = 0\nrelay_domains = pipe.test\ntransport_maps = inline:{ {pipe.test=pip:}%s }\n" % (work, work, hops))


def lines(s, host, rcpts, work):
    """What is logged of each recipient."""
    since = s.mark()
    qids = {r: kit.queue_id(kit.send(host=host, sender="", rcpts=r)) for r in rcpts}
    out = {}
    for r, qid in qids.items():
        s.wait_log(r"%s: (removed|to=<.*status=deferred)" % qid, since)
        got = re.findall(r"%s: (to=<.*)" % qid, s.log()[since:])
        got = [re.sub(r"delays?=[^,]*, |tls=[^,]*, ", "", g).replace(work, "W") for g in got]
        out[r] = sorted(re.sub(r"forwarded as \w+", "forwarded as ID", g) for g in got)
    return out


def run(env):
    env.dns([])
    env.user("sgt-same")
    hops = ""
    for i, (name, script) in enumerate(SERVERS.items()):
        kw = {"greeting": script["greeting"]} if "greeting" in script else {"script": script}
        env.sink("127.0.2.%d" % (i + 1), **kw)
        hops += ", {%s.hop.test=smtp:[127.0.2.%d]}" % (name, i + 1)
    rcpts = ["u@%s.hop.test" % n for n in SERVERS] + ["%s@local.test" % n for n in LOCAL] + ["true@pipe.test", "false@pipe.test", "nosuchcmd@pipe.test"]
    found = []
    for name, host in (("theirs", "127.0.0.1"), ("ours", "127.0.0.4")):
        work = env.path("work-" + name)
        for d in ("", "spool", "open"):
            os.makedirs(os.path.join(work, d), exist_ok=True)
            os.chmod(os.path.join(work, d), 0o1777)
        for path, text in (("aliases", ALIASES % {"work": work}), ("list", "# members\nsgt-same\n")):
            env.write(os.path.join("work-" + name, path), text)
        cf = main_cf(work, hops)
        if name == "theirs":
            s = env.postfix("mta", cf, PIPE, smtp=host + ":25")
        else:
            s = env.signet("sig", cf + "myhostname = mta.test\n", kit.MASTER_CF.format(smtp=host + ":25") + "local unix - n n - - local\n" + PIPE)
        found.append(lines(s, host, rcpts, work))
    bad = []
    for r in rcpts:
        theirs, ours = found[0][r], found[1][r]
        own = DIFFERENT.get(r.split("@")[0])
        if own is None and theirs != ours:
            bad.append("%s\n  Postfix %s\n  Signet  %s" % (r, theirs, ours))
        elif own is not None and (theirs == ours or not re.search(own, ours[0])):
            bad.append("%s: %s\n  Postfix %s" % (r, ours, theirs))
    kit.check(not bad, "\n".join(bad))
