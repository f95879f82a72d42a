"""Tables of the lookup role decide: access, aliases, transports, local users; it may die, its tables may break: that costs a 4xx, never a wrong answer."""
import os
import signal
import smtplib
import time

import kit


def hangs(s, access):
    """The process hangs: the greeting of the next client waits for it once (30 s), not for each table and key; then 4xx."""
    s.set("smtpd_tls_policy_maps = lmdb:%s\nsmtpd_discard_ehlo_keyword_address_maps = lmdb:%s\nsmtpd_authorized_verp_clients = lmdb:%s\n" % (access, access, access))
    s.reload()
    kit.wait_until("one lookup process", lambda: len(s.pids("lookup")) == 1)
    with smtplib.SMTP("127.0.0.1", 25, local_hostname="c.test", timeout=kit.DEADLINE) as c:
        kit.check(c.ehlo()[0] == 250, "all is well")
    os.kill(s.pids("lookup")[0], signal.SIGSTOP)
    for _ in range(2):
        begun = time.monotonic()
        with smtplib.SMTP("127.0.0.1", 25, local_hostname="c.test", timeout=170) as c:
            took = time.monotonic() - begun
            kit.check(took < 55, "the greeting took %.0f s" % took)
            c.ehlo()
            code, text = c.mail("a@x.example")
            kit.check(code == 454, (code, text))
    os.kill(s.pids("lookup")[0], signal.SIGCONT)
    kit.wait_until("lookup to be back", lambda: kit.send(rcpts="alias@x.example").startswith("250"))


def run(env):
    s = env.signet("l", start=False)
    work = env.path("tables")
    os.makedirs(work, exist_ok=True)
    sink = env.sink("127.0.0.2")

    def table(name, text):
        path = os.path.join(work, name)
        with open(path, "w") as f:
            f.write(text)
        s.cli("map", "build", "lmdb:" + path)
        return path

    access = table("access", "no@x.example REJECT not this one\nx.example OK\n")
    virtual = table("virtual", "alias@x.example target@y.example\n")
    transport = table("transport", "* smtp:[127.0.0.2]\n")
    s.set(main_cf="mydestination = here.test\nlocal_recipient_maps = unix:passwd.byname\nvirtual_alias_maps = lmdb:%s\n"
                  "transport_maps = lmdb:%s\nsmtpd_relay_restrictions = permit_mynetworks, reject\n"
                  "smtpd_recipient_restrictions = check_recipient_access lmdb:%s\n" % (virtual, transport, access))
    s.start()

    def send(rcpt):
        try:
            return kit.send(rcpts=rcpt)
        except Exception as e:
            return str(e)

    def expect(rcpt, want):
        reply = send(rcpt)
        kit.check(want in reply, "%s: %s, want %s" % (rcpt, reply, want))
        return reply

    qid = kit.queue_id(expect("alias@x.example", "250 2.0.0"))
    s.wait_log(r"%s: to=<target@y\.example>, orig_to=<alias@x\.example>, relay=127\.0\.0\.2\[127\.0\.0\.2\]:25, .*status=sent" % qid)
    kit.check(len(sink.messages) == 1, "one message")
    expect("no@x.example", "554 5.7.1 <no@x.example>: Recipient address rejected: not this one")
    expect("nosuchuser@here.test", "550 5.1.1 <nosuchuser@here.test>: Recipient address rejected: User unknown in local recipient table")

    # a change is seen within a second or so
    table("access", "x.example REJECT closed\n")
    kit.wait_until("the change to be seen", lambda: "closed" in send("u@x.example"))
    table("access", "x.example OK\n")
    kit.wait_until("the change back to be seen", lambda: send("u@x.example").startswith("250"))

    # lookup dies: later everything works again
    for pid in s.pids("lookup"):
        os.kill(pid, signal.SIGKILL)
    kit.wait_until("lookup to be back", lambda: send("u@x.example").startswith("250"))

    # a table that is gone or cut short: try later, whatever it said before
    os.rename(access + ".lmdb", access + ".away")
    kit.wait_until("the missing table to be noticed", lambda: "451 4.3.0" in send("u@x.example"))
    reply = send("no@x.example")
    kit.check("451 4.3.0" in reply, reply)
    os.rename(access + ".away", access + ".lmdb")
    kit.wait_until("the table to be back", lambda: send("u@x.example").startswith("250"))
    hangs(s, access)
    s.stop()
