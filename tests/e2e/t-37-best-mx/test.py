"""best_mx_transport: mail for a domain whose best MX we are, though nothing here lists it, goes to that transport, recipient by recipient, and once only."""
import os

import kit

MASTER = kit.MASTER_CF.format(smtp="127.0.0.1:25") + "local unix - n n - - local\n"


def run(env):
    env.dns(["self.example. MX 10 mta.test.", "mta.test. A 127.0.0.1", "other.example. A 127.0.0.2",
             "behind.example. MX 10 front.test.", "behind.example. MX 20 second.test.", "front.test. A 127.0.0.3", "second.test. A 127.0.0.4"])
    env.sink("127.0.0.2")
    # what looks like another host, and is this one behind a port that is forwarded: only its name tells
    env.sink("127.0.0.3", greeting="220 mta.test ESMTP")
    user = env.user("sgt-best")
    s = env.signet("mta", "home_mailbox = Maildir/\ninet_interfaces = 127.0.0.1\n", MASTER)

    def one(value, rcpts, *want):
        s.set("home_mailbox = Maildir/\ninet_interfaces = 127.0.0.1\nbest_mx_transport = %s\n" % value)
        s.reload()
        qid = kit.queue_id(kit.send(rcpts=rcpts, sender=""))
        for w in want:
            s.wait_log(r"%s: %s" % (qid, w))
        s.wait_log(r"%s: removed" % qid)
        kit.check(s.log().count("%s: to=<" % qid) == len(rcpts), s.log())

    one("", ["sgt-best@self.example"], r"to=<sgt-best@self.example>, relay=none, .*dsn=5\.4\.6, status=bounced \(mail for self\.example loops back to myself\)")
    one("local", ["sgt-best@self.example", "nobody-here@self.example", "u@other.example"],
        r"to=<sgt-best@self.example>, relay=local, .*status=sent \(delivered to maildir\)",
        r"to=<nobody-here@self.example>, relay=local, .*dsn=5\.1\.1, status=bounced \(unknown user: \"nobody-here\"\)",
        r"to=<u@other.example>, relay=other\.example\[127\.0\.0\.2\]:25, .*status=sent")
    kit.check(len(os.listdir(os.path.join(user.pw_dir, "Maildir", "new"))) >= 1, "no mail")
    one("error:5.7.1 not here", ["u@self.example"], r"to=<u@self.example>, relay=none, .*dsn=5\.7\.1, status=bounced \(not here\)")
    one("smtp", ["u@self.example"], r"to=<u@self.example>, relay=none, .*dsn=5\.4\.6, status=bounced \(mail for self\.example loops back to myself\)")
    one("local", ["sgt-best@behind.example"], r"to=<sgt-best@behind.example>, relay=local, .*status=sent \(delivered to maildir\)")
    one("", ["sgt-best@behind.example"], r"to=<sgt-best@behind.example>, .*dsn=[45]\.4\.[16], status=(bounced|deferred)")
