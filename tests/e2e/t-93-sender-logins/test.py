"""smtpd_sender_login_maps with logins of a real Dovecot: who may send as whom, by each of the four restrictions; check_sasl_access."""
import base64
import smtplib

import kit
import sasl_kit


def run(env):
    words = ["reject_sender_login_mismatch", "reject_authenticated_sender_login_mismatch", "reject_unauthenticated_sender_login_mismatch",
             "reject_known_sender_login_mismatch"]
    master = kit.MASTER_CF.format(smtp="127.0.0.1:25") + "".join(
        "127.0.0.1:%d inet n - n - - smtpd\n -o smtpd_sender_restrictions=%s\n" % (2501 + i, w) for i, w in enumerate(words)) + """\
127.0.0.1:2510 inet n - n - - smtpd
 -o { smtpd_sender_restrictions = check_sasl_access inline:{ {joe = REJECT out of office} {ann@here.example = OK} }, reject }
127.0.0.1:2511 inet n - n - - smtpd
 -o { smtpd_sender_restrictions = check_sasl_access fail:x }
127.0.0.1:2512 inet n - n - - smtpd
 -o smtpd_sender_login_maps=fail:x
 -o smtpd_sender_restrictions=reject_known_sender_login_mismatch
"""
    s = env.signet("mx", sasl_kit.PARAMS + "mynetworks = 127.0.0.1\nsmtpd_sasl_auth_enable = yes\nrecipient_delimiter = +\nrelay_domains = example.com\nrelay_transport = discard:\n"
                   "smtpd_sender_login_maps = inline:{ {joe@here.example = joe, ann@here.example} {@team.example = Ann@Here.example} }\n"
                   "smtpd_soft_error_limit = 100\nsmtpd_hard_error_limit = 200\n", master)
    sasl_kit.setup(env, s)

    def session(port, user=None, password=None):
        c = smtplib.SMTP("127.0.0.1", port, local_hostname="c.test", timeout=20)
        env.at_end(c.close)
        c.ehlo()
        if user:
            kit.check(c.docmd("AUTH", "PLAIN " + base64.b64encode(("\0%s\0%s" % (user, password)).encode()).decode())[0] == 235, user)
        return c

    def say(c, sender):
        c.docmd("RSET")
        c.docmd("MAIL", "FROM:<%s>" % sender)
        code, text = c.docmd("RCPT", "TO:<user@example.com>")
        return "%d %s" % (code, text.decode())

    ok = "250 2.1.5 Ok"
    not_owned = "553 5.7.1 <%s>: Sender address rejected: not owned by user %s"
    stranger = "553 5.7.1 <%s>: Sender address rejected: not logged in"
    # sender, login, and what each of the four restrictions says
    rows = [
        ("joe@here.example", "joe", ok, ok, ok, ok),
        ("joe+x@here.example", "joe", ok, ok, ok, ok),
        ("joe@here.example", "ann@here.example", ok, ok, ok, ok),
        ("any@team.example", "ann@here.example", ok, ok, ok, ok),
        ("any@team.example", "joe", not_owned, not_owned, ok, not_owned),
        ("nobody@where.example", "joe", not_owned, not_owned, ok, ok),
        ("joe@here.example", None, stranger, ok, stranger, stranger),
        ("nobody@where.example", None, ok, ok, ok, ok),
        ("", "joe", ok, ok, ok, ok),
        ("", None, ok, ok, ok, ok),
    ]
    secrets = {"joe": "secret", "ann@here.example": "tiger"}
    for i, word in enumerate(words):
        sessions = {user: session(2501 + i, user, secrets.get(user)) for user in ("joe", "ann@here.example", None)}
        for sender, login, *want in rows:
            expected = want[i].replace("%s", sender, 1).replace("%s", str(login), 1)
            got = say(sessions[login], sender)
            kit.check(got == expected, "%s: <%s> by %s: %r, not %r" % (word, sender, login, got, expected))
    since = s.mark()
    say(session(2501, "joe", "secret"), "any@team.example")
    s.wait_log(r"NOQUEUE: reject: RCPT from unknown\[127\.0\.0\.1\]: 553 5\.7\.1 <any@team\.example>: Sender address rejected: not owned by user joe; "
               r"from=<any@team\.example> to=<user@example\.com> proto=ESMTP helo=<c\.test>$", since)
    kit.check(say(session(2510, "joe", "secret"), "a@b.example") == "554 5.7.1 <joe>: SASL login name rejected: out of office", "check_sasl_access")
    kit.check(say(session(2510, "ann@here.example", "tiger"), "a@b.example") == ok, "check_sasl_access OK")
    kit.check(say(session(2510), "a@b.example").startswith("554 5.7.1 <a@b.example>: Sender address rejected: Access denied"), "nobody logged in: not asked")
    # tables that fail: for now, nobody
    kit.check(say(session(2511, "joe", "secret"), "a@b.example").startswith("451 4.3.0 "), "check_sasl_access with a table that fails")
    kit.check(say(session(2511), "a@b.example") == ok, "not asked about strangers")
    kit.check(say(session(2512, "joe", "secret"), "joe@here.example").startswith("451 4.3.0 "), "smtpd_sender_login_maps that fails")
    # a reload: who is logged in stays so, who comes finds what is set now
    c = session(2501, "joe", "secret")
    with open(s.conf + "/main.cf", "a") as f:
        f.write("smtpd_sasl_mechanism_filter = !plain, !external, static:rest\nsmtpd_sasl_service = submission\n")
    s.reload()
    kit.wait_until("the new workers", lambda: "auth" in (e := session(2501).esmtp_features) and "PLAIN" not in e["auth"].split())
    kit.check(say(c, "joe@here.example") == ok and say(c, "any@team.example") == not_owned % ("any@team.example", "joe"), "the session that was there")
    s.stop()
