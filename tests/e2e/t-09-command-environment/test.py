"""What a command of local(8) finds in its environment and a pipe(8) service in its arguments: every name and macro that the manuals list, with
the client's address, names, protocol and login told by XCLIENT; bytes outside command_expansion_filter; nothing else of ours."""
import os
import smtplib

import kit

MASTER = """
127.0.0.1:25 inet n - n - - smtpd
local unix - n n - - local
pip unix - n n - - pipe flags=q user=sgt-env argv=%s s=${sender} r=${recipient} u=${user} e=${extension} d=${domain} n=${nexthop}
  z=${size} q=${queue_id} ca=${client_address} ch=${client_helo} cn=${client_hostname} cpr=${client_protocol} cpo=${client_port}
  sm=${sasl_method} ss=${sasl_sender} su=${sasl_username} o=${original_recipient} m=${mailbox} v=${envid}
"""


def deliver(s, rcpts):
    c = smtplib.SMTP("127.0.0.1", 25, local_hostname="proxy.test")
    c.ehlo()
    kit.check(c.docmd("XCLIENT", "NAME=client.example ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=helo.example LOGIN=joe")[0] == 220, "XCLIENT")
    c.ehlo("helo.example")
    kit.check(c.docmd("MAIL", "FROM:<so`me@from.example> ENVID=id+2B1 RET=HDRS")[0] == 250, "MAIL")
    for r in rcpts:
        kit.check(c.docmd("RCPT", "TO:<%s>" % r)[0] == 250, r)
    kit.check(c.docmd("DATA")[0] == 354, "DATA")
    c.send("Subject: x\r\n\r\nhello\r\n.\r\n")
    code, text = c.getreply()
    kit.check(code == 250, text)
    c.quit()
    qid = kit.queue_id("250 " + text.decode())
    s.wait_log(r"%s: removed" % qid)
    return qid


def run(env):
    env.dns([])
    user = env.user("sgt-env")
    work = env.path("work")
    os.makedirs(work)
    os.chown(work, user.pw_uid, user.pw_gid)
    seen, args = os.path.join(work, "env"), os.path.join(work, "args")
    show = env.write("show", "#!/bin/sh\ncat >/dev/null\n/usr/bin/env -0 >%s\n" % seen, 0o755)
    tell = env.write("tell", "#!/bin/sh\ncat >/dev/null\nprintf '%%s\\n' \"$@\" tz=$TZ >%s\n" % args, 0o755)
    s = env.signet("mta", "mydestination = local.test\nrecipient_delimiter = +\nmailbox_command = %s\nvirtual_alias_maps = inline:{ {first@local.test=sgt-env+ext@local.test} }\n"
                   "transport_maps = inline:{ {pipe.test=pip:the.hop} }\nrelay_domains = pipe.test\nsmtpd_authorized_xclient_hosts = 127.0.0.1\n"
                   "smtpd_relay_restrictions = reject_unauth_destination\nexport_environment = TZ=UTC\n" % show, MASTER % tell)

    deliver(s, ["first@local.test"])
    with open(seen) as f:
        got = dict(w.split("=", 1) for w in f.read().split("\0") if w)
    want = {
        "CLIENT_ADDRESS": "192.0.2.7", "CLIENT_HELO": "helo.example", "CLIENT_HOSTNAME": "client.example", "CLIENT_PROTOCOL": "ESMTP",
        "DOMAIN": "local.test", "ENVID": "id+1", "EXTENSION": "ext", "HOME": user.pw_dir, "LOCAL": "sgt-env+ext", "LOGNAME": "sgt-env",
        "ORIGINAL_RECIPIENT": "first@local.test", "RECIPIENT": "sgt-env+ext@local.test", "SASL_USERNAME": "joe",
        "SENDER": "so_me@from.example", "SHELL": "/bin/sh", "USER": "sgt-env", "TZ": "UTC",
    }
    for name, value in want.items():
        kit.check(got.get(name) == value, "%s is %r, not %r" % (name, got.get(name), value))
    more = set(got) - set(want) - {"PATH", "SASL_METHOD", "SASL_SENDER", "ORIGIN", "PWD", "SHLVL", "_", "OLDPWD"}
    kit.check(not more, "in the environment, too: %s" % more)

    qid = deliver(s, ["Two+ext@pipe.test"])
    with open(args) as f:
        got = dict(line.split("=", 1) for line in f.read().splitlines())
    want = {"s": "so`me@from.example", "r": "Two+ext@pipe.test", "u": "Two", "e": "ext", "d": "pipe.test", "n": "the.hop", "q": qid, "ca": "192.0.2.7",
            "ch": "helo.example", "cn": "client.example", "cpr": "ESMTP", "cpo": "4711", "su": "joe", "ss": "", "o": "Two+ext@pipe.test",
            "m": "Two+ext", "v": "id+1", "tz": "UTC"}
    kit.check(int(got.pop("z")) > 15, "size")
    for name, value in want.items():
        kit.check(got.get(name) == value, "%s is %r, not %r" % (name, got.get(name), value))
