"""The SMTP server beside Postfix 3.10: the same main.cf, the same conversations, the same bytes. Every line of every reply must be the same, and so
must the lines of smtpd and cleanup in the log; where they differ on purpose DIFFERENT says why, and fails when the difference does not show any more."""
import concurrent.futures
import difflib
import re
import socket

import beside_kit
import kit
import raw_kit

MAIN = """\
mydestination = local.test
local_recipient_maps = inline:{ { ok = x } { ok2 = x } { two@parts = x } }
smtpd_hard_error_limit = 1000
message_size_limit = 20000
hopcount_limit = 3
append_dot_mydomain = no
header_checks = regexp:CHECKS
body_checks = regexp:CHECKS
"""
CHECKS = (r"/^Subject: reject/ REJECT", r"/^Subject: words/ REJECT no such subject", r"/^Subject: code/ REJECT 5.7.9 with a code", r"/^Subject: later/ 4.3.2 later",
          r"/^Subject: warn/ WARN seen", r"/^Subject: hold/ HOLD kept", r"/^Subject: discard/ DISCARD gone", r"/^Subject: drop/ IGNORE",
          r"/^Subject: replace/ REPLACE Subject: other", r"/^Subject: prepend/ PREPEND X-Seen: yes", r"/^Subject: info/ INFO noted", r"/^Subject: strip/ STRIP away",
          r"/^Subject: redirect/ REDIRECT ok2@local.test", r"/^Subject: bad/ NONSENSE", r"/^bad body/ REJECT body")
# name of the service: what it has of its own
SERVICES = {
    "plain": "",
    "strict": "strict_rfc821_envelopes = yes",
    "strictutf8": "strict_smtputf8 = yes",
    "noutf8": "smtputf8_enable = no",
    "helo": "smtpd_helo_required = yes",
    "novrfy": "disable_vrfy_command = yes",
    "unlimited": "message_size_limit = 0",
    "errors": "smtpd_soft_error_limit = 2; smtpd_hard_error_limit = 4",
    "junk": "smtpd_junk_command_limit = 3; smtpd_hard_error_limit = 3",
    "forbidden": "smtpd_forbidden_commands = FOO CONNECT",
    "normalize": "smtpd_forbid_bare_newline = normalize",
    "reject": "smtpd_forbid_bare_newline = reject",
    "note": "smtpd_forbid_bare_newline = note",
    "bareno": "smtpd_forbid_bare_newline = no",
    "lax": "smtpd_forbid_unauth_pipelining = no",
    "rcpts": "smtpd_recipient_limit = 2; smtpd_recipient_overshoot_limit = 2",
    "nochunking": "smtpd_discard_ehlo_keywords = chunking, silent-discard",
    "nodsn": "smtpd_discard_ehlo_keywords = dsn",
    "fewer": "smtpd_discard_ehlo_keywords = pipelining, size, vrfy, etrn, enhancedstatuscodes, 8bitmime, smtputf8",
    "nodelay": "smtpd_delay_reject = no",
    "clientno": "smtpd_client_restrictions = check_client_access static:{reject go away}",
    "clientnow": "smtpd_client_restrictions = check_client_access static:{reject go away}; smtpd_delay_reject = no",
    "helono": "smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname",
    "helonow": "smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname; smtpd_delay_reject = no",
    "senderno": "smtpd_sender_restrictions = reject_non_fqdn_sender, check_sender_access inline:{ { bad@x.test = REJECT } { code@x.test = 450 4.7.9 wait } }",
    "sendernow": "smtpd_sender_restrictions = reject_non_fqdn_sender, check_sender_access inline:{ { bad@x.test = REJECT } { code@x.test = 450 4.7.9 wait } }; "
                 "smtpd_delay_reject = no",
    "rcptno": "smtpd_recipient_restrictions = reject_non_fqdn_recipient, check_recipient_access inline:{ { ok2@local.test = DEFER } { a@dest.test = 521 closed } "
              "{ b@dest.test = REJECT 5.1.6 moved } { c@dest.test = DEFER_IF_PERMIT later } { d@dest.test = 421 4.7.0 bye } }",
    "datano": "smtpd_data_restrictions = check_sender_access inline:{ { bad@x.test = REJECT no data } }, reject_multi_recipient_bounce",
    "endno": "smtpd_end_of_data_restrictions = check_sender_access inline:{ { bad@x.test = REJECT no end } }",
    "pipeno": "smtpd_forbid_unauth_pipelining = no; smtpd_data_restrictions = reject_unauth_pipelining",
    "etrnno": "smtpd_etrn_restrictions = reject",
    "relayno": "smtpd_relay_restrictions = permit_mynetworks, defer_unauth_destination",
    "short": "line_length_limit = 600",
}
PORT = beside_kit.ports(SERVICES, 2500)
HI, A, OK, DATA = "EHLO c.test", "MAIL FROM:<a@x.test>", "RCPT TO:<ok@local.test>", "DATA"
TX = [HI, A, OK]


def text(subject="x", body="hello"):
    return "Subject: %s\r\nMessage-ID: <m@x.test>\r\n\r\n%s\r\n.\r\n" % (subject, body)


def raw(content):
    return content.encode("latin-1")


def each(first, commands, after=()):
    """The commands, each behind `first` and before `after`."""
    return [step for c in commands for step in (*first, c, *after)]


BAD_ADDRESSES = ["a@x.test", "a", "<a>", "<>", "<a@x.test", "a@x.test>", "<@hop.test:a@x.test>", "<@h1.test,@h2.test:a@x.test>", '<"a b"@x.test>', '<"a\\"b"@x.test>', '<"a"@x.test>',
                 "<a b@x.test>", "<a@x.test> junk", "<a@x.test>junk", "A B <a@x.test>", "<<a@x.test>>", "<a@b@x.test>", "<a@[127.0.0.1]>", "<a@[IPv6:::1]>",
                 "<a@[300.0.0.1]>", "<a@x..test>", "<a@-x.test>", "<a@x.test.>", "<@x.test>", "<a@>", "<.a@x.test>", "<a.@x.test>", "<a..b@x.test>", "<a!b@x.test>",
                 "<a%b@x.test>", "<a@x.test (comment)>", "<a,b@x.test>", "<a;b@x.test>", "<a:b@x.test>", "<\\a@x.test>", "", "   ", "<  >", "<a@x_y.test>",
                 "<%s@x.test>" % ("a" * 300), "<a@%s.test>" % ("b" * 70), "<postmaster>", "<MAILER-DAEMON>", "<a@x.test", '<"a@x.test>', "<a@x.test\\>", "<(c)a@x.test>"]
MAIL_PARAMETERS = ["SIZE=100", "SIZE=0", "SIZE=99999999", "SIZE=99999999999999999999999", "SIZE=", "SIZE", "SIZE=x", "SIZE=-1", "BODY=7BIT", "BODY=8BITMIME", "BODY=8bitmime", "BODY=BINARYMIME",
                   "BODY=", "BODY", "RET=FULL", "RET=HDRS", "RET=ALL", "RET=", "ENVID=abc", "ENVID=a+2Bb", "ENVID=a+b", "ENVID=", "ENVID=%s" % ("x" * 101), "AUTH=<>",
                   "AUTH=a@x.test", "SMTPUTF8", "SMTPUTF8=x", "REQUIRETLS", "XVERP", "XVERP=+=", "FOO", "FOO=BAR", "=", "=x", "size=5", "BODY=7BIT RET=FULL ENVID=q SIZE=5", "SIZE=1 FOO",
                   "NOTIFY=NEVER", "MT-PRIORITY=3", "BY=100;R", "HOLDFOR=10"]
RCPT_PARAMETERS = ["NOTIFY=NEVER", "NOTIFY=SUCCESS", "NOTIFY=SUCCESS,FAILURE,DELAY", "NOTIFY=never", "NOTIFY=NEVER,SUCCESS", "NOTIFY=SUCCESS,SUCCESS", "NOTIFY=", "NOTIFY", "NOTIFY=FOO",
                   "NOTIFY=SUCCESS,", "ORCPT=rfc822;a@x.test", "ORCPT=rfc822;a+40x.test", "ORCPT=rfc822;a+4x", "ORCPT=rfc822;", "ORCPT=;a", "ORCPT=x", "ORCPT=",
                   "ORCPT=utf-8;a@x.test", "ORCPT=rfc822;%s" % ("a" * 600), "FOO", "FOO=BAR", "SIZE=3", "NOTIFY=NEVER ORCPT=rfc822;a@x.test", "RRVS=x"]
UTF8 = ["<\xfc@x.test>", "<a@b\xfccher.test>"]


def utf8(address):
    return raw("MAIL FROM:") + address.encode() + b" SMTPUTF8\r\n"


def bdat(n, content="", last=False):
    return raw("BDAT %s%s\r\n%s" % (n, " LAST" if last else "", content))


# name: (service, steps). A step is a command, bytes as they are, or (bytes or commands sent at once, number of replies).
TALKS = {
    "helo": ("plain", ["HELO", "EHLO", "HELO  ", "HELO c.test", "EHLO c.test", "HELO two words", "EHLO [127.0.0.1]", "EHLO c_d", "helo c.test", "eHlO c.test"]),
    "no helo": ("plain", [A, OK, DATA, raw(text())]),
    "helo needed": ("helo", [A, OK, DATA, "VRFY ok", "ETRN dest.test", "RSET", "NOOP", HI, A, OK]),
    "helo twice": ("plain", [*TX, HI, OK, A, OK, "HELO c.test", DATA, A]),
    "order of mail": ("plain", [HI, "MAIL", "MAIL FROM", "MAIL FROM:", "MAIL TO:<a@x.test>", "MAIL FROM <a@x.test>", "MAIL FROM: <a@x.test>", A, "MAIL FROM:<b@x.test>", "MAIL", OK, A, "RSET", A]),
    "order of rcpt": ("plain", [HI, OK, "RCPT", A, "RCPT", "RCPT TO", "RCPT TO:", "RCPT FROM:<ok@local.test>", "RCPT TO <ok@local.test>", "RCPT TO: <ok@local.test>", "RCPT TO:<>",
                                "RCPT TO:<no@local.test>", "RCPT TO:<a@far.test>", OK]),
    "order of data": ("plain", [HI, DATA, "DATA x", A, DATA, "DATA x", "RCPT TO:<no@local.test>", DATA, OK, "DATA x", DATA, raw(text()), DATA, OK, A]),
    "postmaster": ("plain", [HI, A, "RCPT TO:<postmaster>", "RCPT TO:<Postmaster>", "RCPT TO:<postmaster@local.test>", "RCPT TO:<postmaster@dest.test>", "RCPT TO:<ok>"]),
    "null sender": ("plain", [HI, "MAIL FROM:<>", OK, DATA, raw(text())]),
    "mail parameters": ("plain", [HI, *each((), ["MAIL FROM:<a@x.test> " + p for p in MAIL_PARAMETERS], ["RSET"])]),
    "rcpt parameters": ("plain", [HI, *each((A,), ["RCPT TO:<ok@local.test> " + p for p in RCPT_PARAMETERS], ["RSET"])]),
    "doubled parameters": ("plain", [HI, *each((), ["MAIL FROM:<a@x.test> " + p for p in ("SIZE=1 SIZE=2", "RET=FULL RET=HDRS", "ENVID=a ENVID=b", "BODY=7BIT BODY=8BITMIME")], ["RSET"]),
                                     A, "RCPT TO:<ok@local.test> NOTIFY=NEVER NOTIFY=SUCCESS"]),
    "parameters after helo": ("plain", ["HELO c.test", "MAIL FROM:<a@x.test> SIZE=4", "RSET", "MAIL FROM:<a@x.test> BODY=8BITMIME", "RCPT TO:<ok@local.test> NOTIFY=NEVER"]),
    "size": ("plain", [HI, "MAIL FROM:<a@x.test> SIZE=20001", "MAIL FROM:<a@x.test> SIZE=20000", OK, DATA, raw(text(body="x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 400)), *TX[1:], DATA, raw(text())]),
    "size with helo": ("plain", ["HELO c.test", A, OK, DATA, raw(text(body=("y" * 70 + "\r\n") * 400)), A]),
    "no size": ("unlimited", [HI, "MAIL FROM:<a@x.test> SIZE=20001"]),
    "groups": ("plain", [HI, ([A, OK, "RCPT TO:<no@local.test>", "RCPT TO:<ok2@local.test>", DATA], 5), raw(text()), ([A, "RCPT TO:<no@local.test>", DATA], 3),
                         (["RSET", A, OK, "RSET", A, OK, "QUIT"], 7)]),
    "group with text": ("plain", [HI, ([A, OK, DATA, text()[:-5]], 3)]),
    "message and next": ("plain", [*TX, DATA, (raw(text() + A + "\r\n" + OK + "\r\nRSET\r\n"), 4)]),
    "bdat": ("plain", [*TX, bdat(10, "Subject: x"), bdat(10, "\r\n\r\nhello."), bdat(2, "\r\n", True), *TX[1:], bdat(14, "Subject: x\r\n\r\n", True), A, OK, bdat(0, "", True)]),
    "bdat in one piece": ("plain", [HI, (raw(A + "\r\n" + OK + "\r\nBDAT 12\r\nSubject: x\r\nBDAT 5 LAST\r\n\r\nok\n"), 4)]),
    "bdat zero": ("plain", [*TX, bdat(0), bdat(4, "a: b"), bdat(0), bdat(0, "", True)]),
    "bdat early": ("plain", [HI, bdat(5, "QUIT\n"), bdat(5, "QUIT\n", True), A, bdat(5, "QUIT\n"), "RSET", A, "RCPT TO:<no@local.test>", bdat(5, "QUIT\n", True), "RSET", A]),
    "bdat alone": ("plain", [*TX, "BDAT"]),
    "bdat no number": ("plain", [*TX, "BDAT x"]),
    "bdat negative": ("plain", [*TX, "BDAT -1"]),
    "bdat not last": ("plain", [*TX, "BDAT 5 LASTLY"]),
    "bdat three words": ("plain", [*TX, "BDAT 5 LAST x"]),
    "bdat and others": ("plain", [*TX, bdat(4, "a: b"), A, OK, DATA, HI, bdat(2, "\r\n", True), "RSET", *TX[1:], bdat(4, "a: b"), "NOOP", "VRFY ok", "FOO", bdat(2, "\r\n", True)]),
    "bdat after data": ("plain", [*TX, DATA, raw(text()), bdat(3, "abc", True), A, OK, DATA, raw(text())]),
    "bdat too big": ("plain", [*TX, bdat(30000, "x" * 30000), bdat(3, "abc"), bdat(3, "abc", True), "RSET", *TX[1:], bdat(15000, "a: b\r\n" * 2500), bdat(15000, "y" * 15000, True), A]),
    "bdat off": ("nochunking", [*TX, bdat(4, "a: b")]),
    "small words": ("plain", ["RSET", "RSET x", "NOOP", "NOOP x y", "VRFY", "VRFY ok", "VRFY <ok@local.test>", "VRFY no", "VRFY a@far.test", "VRFY a b", "VRFY <>", "VRFY ok@dest.test SMTPUTF8",
                              "HELP", "HELP MAIL", "ETRN", "ETRN a b", "ETRN dest.test x", "ETRN dest.test", "QUIT x"]),
    "vrfy off": ("novrfy", [HI, "VRFY ok", "VRFY no", "HELP"]),
    "small words inside": ("plain", [*TX, "NOOP", "HELP", "VRFY ok", "ETRN dest.test", "AUTH PLAIN", "STARTTLS", OK, "RSET", OK]),
    "unknown": ("plain", [HI, "FOO", "EXPN list", "TURN", "SEND FROM:<a@x.test>", "XADR", "", " ", " NOOP", "NOOP\t", "STARTTLS", "STARTTLS x", "AUTH", "AUTH PLAIN x",
                          "XCLIENT ADDR=1.2.3.4", "XFORWARD ADDR=1.2.3.4", "BURL x", "QUIT"]),
    "get": ("plain", ["GET / HTTP/1.0"]),
    "connect": ("plain", ["CONNECT 127.0.0.1:25 HTTP/1.1"]),
    "post": ("plain", [HI, "post /x HTTP/1.1"]),
    "header line": ("plain", [HI, "Subject: hello"]),
    "header line 2": ("plain", [HI, "X-Y:z"]),
    "mail in one word": ("plain", [HI, "MAILFROM:<a@x.test>"]),
    "forbidden": ("forbidden", [HI, "GET /", "FOO x"]),
    "forbidden header": ("forbidden", [HI, "Subject: hello"]),
    "8-bit": ("plain", [HI, b"MAIL FROM:<\xc3\xbc@x.test>\r\n", "RSET", b"MAIL FROM:<\xfc@x.test>\r\n", b"VRFY \xfc\r\n", b"NOOP \xfc\r\n", b"FOO \xfc\r\n", A, b"RCPT TO:<\xc3\xbc@dest.test>\r\n",
                        b"RCPT TO:<\xfc@dest.test>\r\n", b"RCPT TO:<a@b\xc3\xbccher.test>\r\n", OK]),
    "utf-8": ("plain", [HI, utf8("<ü@x.test>"), b"RCPT TO:<\xc3\xbc@dest.test>\r\n", b"RCPT TO:<\xfc@dest.test>\r\n", b"RCPT TO:<\xc3\xbc@far.test>\r\n", OK, DATA, raw(text()), utf8("<a@bücher.test>"), "RSET",
                        b"VRFY \xc3\xbc@dest.test\r\n", b"VRFY \xc3\xbc@dest.test SMTPUTF8\r\n", b"VRFY <\xc3\xbc@dest.test> SMTPUTF8\r\n"]),
    "strict utf-8": ("strictutf8", [HI, b"MAIL FROM:<\xc3\xbc@x.test>\r\n", utf8("<ü@x.test>"), b"RCPT TO:<\xc3\xbc@dest.test>\r\n", "RSET", A, b"RCPT TO:<\xc3\xbc@dest.test>\r\n", OK]),
    "no utf-8": ("noutf8", [HI, b"MAIL FROM:<\xfc@x.test>\r\n", "RSET", b"MAIL FROM:<\xc3\xbc@x.test>\r\n", "RSET", utf8("<ü@x.test>"), A, b"RCPT TO:<\xfc@dest.test>\r\n", OK, DATA, raw(text())]),
    "utf-8 names": ("plain", [b"EHLO b\xc3\xbccher.test\r\n", b"EHLO b\xfccher.test\r\n", "EHLO c.test"]),
    "senders": ("plain", [HI, *each((), ["MAIL FROM:" + a for a in BAD_ADDRESSES], ["RSET"])]),
    "recipients": ("plain", [HI, A, *["RCPT TO:" + a.replace("x.test", "dest.test") for a in BAD_ADDRESSES]]),
    "strict senders": ("strict", [HI, *each((), ["MAIL FROM:" + a for a in BAD_ADDRESSES], ["RSET"])]),
    "strict recipients": ("strict", [HI, A, *["RCPT TO:" + a.replace("x.test", "dest.test") for a in BAD_ADDRESSES]]),
    **{"bare LF " + v: (v, [b"EHLO c.test\n", b"MAIL FROM:<a@x.test>\r\n", b"RCPT TO:<ok@local.test>\r\n", DATA, raw("Subject: x\nA: b\r\n\r\nx\ny\r\n.\r\n"), A])
       for v in ("normalize", "note", "bareno")},
    "bare LF command": ("reject", [HI, b"NOOP\n"]),
    "bare LF behind a message": ("reject", [*TX, DATA, raw(text()), b"NOOP\n"]),
    "bare LF behind RCPT": ("reject", [*TX, b"RCPT TO:<ok2@local.test>\n"]),
    "bare LF at once": ("reject", [b"EHLO c.test\n"]),
    "bare LF text": ("reject", [*TX, DATA, raw("Subject: x\nA: b\r\n\r\nx\r\n.\r\n"), *TX[1:], bdat(17, "Subject: x\n\nhello", True), *TX[1:], DATA, raw(text())]),
    **{"smuggling " + v: (v, [*TX, DATA, raw("a: b\r\n\r\n1\n.\n2\n.\r\n3\r\n.\n4\r\n.\r\n"), A]) for v in ("normalize", "note", "reject")},
    "smuggled": ("bareno", [*TX, DATA, (raw("a: b\r\n\r\n1\n.\nRSET\r\nNOOP\r\n"), 3)]),
    "dots": ("plain", [*TX, DATA, raw("a: b\r\n\r\n..\r\n.x\r\n\r\r\n.\r\n"), A]),
    "errors": ("errors", [HI, "FOO", "RCPT", "MAIL", A, "FOO", "NOOP"]),
    "errors in a group": ("errors", [HI, ([A, "RCPT TO:<no@local.test>", "RCPT TO:<no@local.test>", "RCPT TO:<no@local.test>", "RCPT TO:<no@local.test>", OK], 4)]),
    "errors forgotten": ("errors", [HI, "FOO", "FOO", *TX[1:], DATA, raw(text()), "FOO", "FOO", "FOO", "FOO", "FOO"]),
    "junk": ("junk", [HI, "NOOP", "RSET", "VRFY ok", "NOOP", "RSET", "NOOP", "NOOP", "NOOP"]),
    "junk forgotten": ("junk", [HI, "NOOP", "NOOP", "NOOP", *TX[1:], DATA, raw(text()), "NOOP", "NOOP", "NOOP", "NOOP", "NOOP", "NOOP", "NOOP"]),
    "long command": ("plain", [HI, "NOOP " + "x" * 1900, "NOOP " + "x" * 2100, "NOOP"]),
    "short command": ("short", [HI, "NOOP " + "x" * 590, "NOOP " + "x" * 700, "NOOP"]),
    "early ehlo": ("plain", [(["EHLO c.test", A], 1)]),
    "early helo": ("plain", [(["HELO c.test", A], 1)]),
    "early data": ("plain", [HI, ([A, OK, "DATA", "Subject: x"], 3)]),
    "early noop": ("plain", [HI, (["NOOP", "NOOP"], 1)]),
    "early vrfy": ("plain", [HI, (["VRFY ok", "NOOP"], 1)]),
    "early after helo": ("plain", ["HELO c.test", ([A, OK], 1)]),
    "rset in a group": ("plain", [HI, (["RSET", "RSET", "HELP", "RSET"], 4)]),
    "lax": ("lax", [(["EHLO c.test", A], 2), ([OK, "NOOP", "NOOP"], 3)]),
    "pipelining by a restriction": ("pipeno", [HI, ([A, OK, "DATA", "x"], 4)]),
    "without keywords": ("fewer", [HI, "MAIL FROM:<a@x.test> SIZE=30000", "RSET", "MAIL FROM:<a@x.test> BODY=8BITMIME", "RSET", utf8("<a@x.test>"), "RSET", "VRFY ok", "ETRN dest.test", "FOO", A, OK,
                                   "RCPT TO:<no@local.test>"]),
    "without DSN": ("nodsn", [HI, *each((), ["MAIL FROM:<a@x.test> " + p for p in ("RET=FULL", "ENVID=x")], ["RSET"]), A, *["RCPT TO:<ok@local.test> " + p for p in ("NOTIFY=NEVER", "ORCPT=rfc822;x")]]),
    "too many recipients": ("rcpts", [*TX, "RCPT TO:<ok2@local.test>", OK, OK, OK, OK, DATA, raw(text()), *TX[1:]]),
    "hops": ("plain", [*TX, DATA, raw("Received: x\r\n" * 2 + text()), *TX[1:], DATA, raw("Received: x\r\n" * 3 + text()), *TX[1:], DATA, raw("Received: x\r\n" * 4 + text()), A]),
    "header checks": ("plain", [HI, *[step for word in ("reject", "words", "code", "later", "warn", "hold", "discard", "drop", "replace", "prepend", "info", "strip", "redirect", "bad")
                                      for step in (A, OK, DATA, raw(text(word)))], A, OK, DATA, raw(text(body="bad body")), A, OK, bdat(17, "Subject: reject\r\n", True)]),
    "8-bit text": ("plain", [*TX, DATA, b"Subject: \xfc\r\n\r\n\xfc\r\n.\r\n"]),
    "client refused": ("clientno", [HI, A, OK, "RCPT TO:<a@dest.test>", DATA, "VRFY ok", "ETRN dest.test", "FOO"]),
    "client refused at once": ("clientnow", [HI, A, OK, "NOOP", "FOO", "QUIT"]),
    "helo refused": ("helono", ["EHLO c", A, OK, "RSET", "EHLO -", A, OK, "EHLO c.test", A, OK]),
    "helo refused at once": ("helonow", ["EHLO c", A, OK, "RSET", "EHLO -", "EHLO c.test", A, OK]),
    **{name: (service, [HI, "MAIL FROM:<a>", OK, "RSET", "MAIL FROM:<bad@x.test>", OK, "RCPT TO:<no@local.test>", DATA, "RSET", "MAIL FROM:<code@x.test>", OK, "RSET", A, OK])
       for name, service in (("sender refused", "senderno"), ("sender refused at once", "sendernow"))},
    "recipients refused": ("rcptno", [HI, A, "RCPT TO:<a>", OK, "RCPT TO:<ok2@local.test>", "RCPT TO:<b@dest.test>", "RCPT TO:<c@dest.test>", "RCPT TO:<x@far.test>", "RCPT TO:<a@dest.test>", DATA]),
    "recipient 421": ("rcptno", [HI, A, "RCPT TO:<d@dest.test>"]),
    "421 in a group": ("rcptno", [HI, ([A, "RCPT TO:<d@dest.test>", OK, OK], 3)]),
    "data refused": ("datano", [HI, "MAIL FROM:<bad@x.test>", OK, DATA, OK, bdat(3, "abc"), "RSET", "MAIL FROM:<bad@x.test>", OK, bdat(3, "abc", True), "RSET", "MAIL FROM:<>", OK, "RCPT TO:<ok2@local.test>", DATA]),
    "end refused": ("endno", [HI, "MAIL FROM:<bad@x.test>", OK, DATA, raw(text()), A, OK, DATA, raw(text()), "MAIL FROM:<bad@x.test>", OK, bdat(17, "Subject: x\r\n\r\nabc", True)]),
    "etrn": ("etrnno", [HI, "ETRN dest.test", "ETRN", A, "ETRN dest.test"]),
    "relay later": ("relayno", [HI, A, "RCPT TO:<a@far.test>", OK]),
    "lost at once": ("plain", [None]),
    "lost after ehlo": ("plain", [HI, None]),
    "lost after mail": ("plain", [*TX, None]),
    "lost in data": ("plain", [*TX, DATA, (b"Subject: x\r\n\r\nabc\r\n", 0), None]),
    "lost in bdat": ("plain", [*TX, (b"BDAT 100\r\nSubject: x\r\n", 0), None]),
    "lost after rset": ("plain", [*TX, "RSET", None]),
    "quit in a transaction": ("plain", [*TX, "QUIT"]),
}

# Replies: conversation and step, Postfix's reply, ours, and why. A step or a reply that is not there is empty.
DIFFERENT = (
    (r": ETRN", r"\d{3} [^\d].*", r"\d{3} [245]\.\d\.\d .*", "RFC 2034 section 4: every reply has an enhanced code"),
    (r"SIZE=9{23}$", r"552 5\.3\.4 .*", r"501 5\.5\.4 .*", "RFC 1870 section 6: 20 digits at most"),
    (r"(SIZE|NOTIFY|SMTPUTF8=x)$", r"555 5\.5\.4 .*", r"501 5\.5\.4 .*", "RFC 5321 section 4.1.1.11: 555 is for unknown parameters, not for wrong values"),
    (r"^mail parameters: .*(SIZE|RET|ENVID)=", r"501 5\.5\.4 Bad .* syntax", r"501 5\.5\.4 Error: Bad .* parameter syntax", "only words: all parameters have one form"),
    (r"ENVID=x{101}$", r"250 2\.1\.0 Ok", r"501 5\.5\.4 .*", "RFC 3461 section 4.4: 100 characters"),
    (r"NOTIFY=SUCCESS,$", r"250 2\.1\.5 Ok", r"501 5\.5\.4 .*", "RFC 3461 section 4.1: a list of words"),
    (r"^doubled parameters: ", r"250 2\.1\.0 Ok|501 5\.5\.4 .*", r"501 5\.5\.4 Error: \w+ given twice", "RFC 3461 section 4.5, RFC 5321 section 4.1.2"),
    (r"^no size: EHLO", r".*\n250-SIZE\n.*", r".*\n250-SIZE 0\n.*", "RFC 1870 section 3: without a number nothing is said"),
    (r"^bdat in one piece: ", r"(.*\n){3}250 2\.0\.0 Ok: 18 bytes queued as QID", r"(.*\n){3}250 2\.0\.0 Ok: 17 bytes queued as QID", "RFC 3030 section 2: octets as sent; Postfix adds the CR that it puts before a bare LF"),
    (r"^bdat early: .*LAST", r"551 5\.0\.0 .*", r"503 5\.5\.1 .*", "without MAIL there is no earlier error to speak of"),
    (r"^bdat (alone|no number|negative|not last|three words): ", r"521 5\.5\.4 .*|CLOSED|", r"501 5\.5\.4 .*|421 4\.7\.0 .*\ncannot tell.*|421 4\.7\.0 .*|CLOSED",
     "RFC 7504 section 3 (521 is for hosts that take no mail), RFC 5321 section 3.8 (421 says that we close)"),
    (r"^bdat off: ", r"521 5\.5\.1 .*|CLOSED|", r"502 5\.5\.1 .*|221 2\.0\.0 Bye|CLOSED", "the same; the payload can be read"),
    (r": .*VRFY", r"252 2\.0\.0 [^<]*", r"252 2\.0\.0 <[^<>]*>", "RFC 5321 section 3.5.1: in <>; RFC 6531 section 3.7.4: UTF-8 for those who asked for it"),
    (r"HELP", r"(.*\n)*214 2\.0\.0 Commands: AUTH .*(\n.*)*", r"(.*\n)*214 2\.0\.0 Commands: BDAT .*(\n.*)*", "only what this client may use"),
    (r"^vrfy off: VRFY", r"502 5\.5\.1 .*", r"252 2\.0\.0 Cannot .*", "RFC 5321 section 7.3"),
    (r"^8-bit: .*RCPT TO:<a@b", r"501 5\.1\.3 .*", r"554 5\.7\.1 .*", "without strict_smtputf8 SMTPUTF8 need not be declared, for the domain as for the local part"),
    (r"^strict utf-8: ", r"553 5\.6\.7 .*", r"55[03] 5\.6\.7 Must declare SMTPUTF8 to send/deliver unicode address", "RFC 6531 section 3.5: 550 for MAIL"),
    (r"^utf-8 names: ", r"250-mta\.test\n.*", r"501 Syntax: EHLO hostname", "RFC 6531 section 3.7.1"),
    (r"(senders|recipients): .*:(a@\w+\.test>|<<|<@\w+\.test>|<a:b@)", r"250 2\.1\.[05] Ok", r"501 5\.1\.[37] .*", "no mailbox in any reading of RFC 5321 section 4.1.2"),
    (r"^(senders|recipients): .*:A B <", r"555 5\.5\.4 .*", r"250 2\.1\.[05] Ok", "the lenient reading knows a name of two words"),
    (r"^recipients: .*:<a@b@", r"554 5\.7\.1 <a@b@dest\.test>.*", r"554 5\.7\.1 <\"a@b\"@dest\.test>.*", "external form, as in the log"),
    (r"recipients: .*IPv6:::1", r"554 5\.7\.1 .*", r"550 5\.1\.1 .*", "loopback addresses of both families are this host"),
    (r"^strict (senders|recipients): ", r"250 2\.1\.[05] Ok|554 5\.7\.1 <a@b@.*", r"501 5\.1\.[37] .*", "strict_rfc821_envelopes is RFC 5321 section 4.1.2 to the letter"),
    (r"^junk forgotten: ", r"250 2\.0\.0 Ok|421 4\.7\.0 .*|CLOSED", r"421 4\.7\.0 .*|CLOSED|", "the junk commands behind a message have the limit of those before it"),
    (r"^(long|short) command: NOOP x", r"250 2\.0\.0 Ok", r"500 5\.5\.2 mta\.test Error: command too long", "half a command is none (RFC 5321 section 4.5.3.1.9)"),
    (r"^without keywords: ", r"(\d{3} \d\.\d\.\d|250 Queuing) .*", r"\d{3} [^\d].*", "what is not announced is not there (RFC 5321 section 4.1.1.11), enhanced codes too (RFC 2034 section 4)"),
    (r"^without DSN: ", r"501 5\.7\.1 .*", r"555 5\.5\.4 .*", "RFC 5321 section 4.1.1.11"),
    (r"^header checks: .*(later|bad)\\r", r"250 2\.0\.0 .*", r"451 4\.3\.5 .*", "an action that nobody knows might have been a refusal"),
    (r"^client refused at once: ", r"503 5\.7\.0 Error: access denied for unknown\[127\.0\.0\.9\]", r"503 5\.7\.0 Error: access denied", "only words: the client knows its address"),
    (r"^end refused: ", r"503 5\.5\.1 .*|554 5\.7\.1 .*", r"250 2\..*", "RFC 5321 section 4.1.1.4: after the data the transaction is over, refused or not"),
)

# Log lines: conversation, whose, the line, what it is for the comparison (None: left out), and why.
LINES = (
    (r"", "theirs", r"^warning: Illegal address syntax from .*", None, "a refused command is counted in the last line of its session"),
    (r"^rcpt parameters", "theirs", r"^warning: unknown DSN NOTIFY command value .*", None, "the same"),
    (r"^bdat", "theirs", r"^warning: QID: (null BDAT request|malformed BDAT command syntax|BDAT request from \S+ exceeds).*", None, "the same"),
    (r"command$", "theirs", r"^warning: \S+: request longer than .*", None, "the same"),
    (r"^size", "theirs", r"^(\S* ?cleanup )?warning: (QID: queue file size limit exceeded|mail_stream_cleanup: close error)", None, "nothing here trips over the size of files"),
    (r"^size", "theirs", r"^0 cleanup QID: message-id=<m@x\.test>", None, "content is given up where it is too big, before anybody asks for its id"),
    (r"^header checks", "theirs", r"^\S+ cleanup warning: unknown command in header_checks map: .*", None, "ours says which table, and what comes of it"),
    (r"^header checks", "ours", r"^\S+ cleanup warning: QID: .*: unknown action \".*\" -- message not accepted, try again later", None, "the same"),
    (r"^bare LF text", "ours", r"^\d cleanup QID: message-id=<>", None, "headers are looked at when they come, not after the last line"),
    (r"^recipients", "theirs", r"<a@b@dest\.test>", '<"a@b"@dest.test>', "external form in the reply as in to=<>"),
    (r"recipients$", "theirs", r"554 5\.7\.1 <a@\[IPv6:::1\]>: Relay access denied", "550 5.1.1 <a@[IPv6:::1]>: Recipient address rejected: User unknown in local recipient table",
     "loopback addresses of both families are this host"),
    (r"^strict recipients", "theirs", r"^QID: reject: .*<a@b@dest\.test>.*", None, "strict_rfc821_envelopes"),
    (r"^8-bit$", "ours", r"^QID: reject: RCPT .* to=<a@b\S+cher\.test> .*", None, "without strict_smtputf8"),
    (r"^helo refused at once", "theirs", r"proto=SMTP helo=<[c-]>", lambda m: m[0].replace("SMTP", "ESMTP"), "the client has said EHLO"),
    (r"^errors in a group", "ours", r"rcpt=0/5 commands=2/7", "rcpt=0/4 commands=2/6", "recipients are asked together, also those behind the last error: counted, but not logged"),
    (r"^421 in a group", "ours", r"rcpt=0/3 commands=2/5", "rcpt=0/1 commands=2/3", "the same"),
    (r"^without keywords", "theirs", r"^NOQUEUE: reject: (MAIL|VRFY) .*", None, "not announced, not looked at"),
    (r"^without keywords", "ours", r"^discarding EHLO keywords: .*", None, "silent-discard"),
    (r"^unknown$", "ours", r"^warning: improper X(CLIENT|FORWARD) command from \S+: insufficient authorization: .*", None, "who must be listed, and where, is said"),
    (r"^end refused", "both", r"^QID: reject: END-OF-MESSAGE (.*) from=<bad@x\.test>( to=<ok@local\.test>)?", r"QID: reject: END-OF-MESSAGE \1 from=<bad@x.test>", "the recipient is known"),
)


class Talk(raw_kit.Raw):
    """One connection: all that the server says, reply by reply, until it closes."""
    def reply(self):
        if self.closed:
            return []
        lines = [re.sub(r"(queued as) \w+", r"\1 QID", x) for x in super().reply()]
        return lines + ["CLOSED"] if self.closed else lines

    def step(self, step):
        what, n = step if isinstance(step, tuple) else (step, 1)
        self.tell(what)
        return sum((self.reply() for _ in range(n)), [])

    def run(self, steps):
        said = [("greeting", self.reply())]
        for step in steps:
            if step is None:
                self.s.shutdown(socket.SHUT_RDWR)
                break
            if self.closed:
                break
            said.append((step, self.step(step)))
        else:
            if not self.closed:
                said.append(("QUIT", self.step("QUIT")))
            rest = []
            while not self.closed:
                rest += self.reply()
            said.append(("end", rest))
        return said


def logged(log):
    """What smtpd wrote, and what cleanup did of each message, without times, processes and queue ids."""
    lines, ids = [[], []], []
    for program, line in re.findall(r" \S+/(smtpd|cleanup)\[\d+\]: (.*)", log):
        line = re.sub(r"\[127\.0\.0\.9\]:\d+", "[127.0.0.9]:PORT", line)
        m = re.search(r"(?:^|warning: )([0-9A-Za-z]{8,})(?=: )", line)
        if m and m.group(1) not in ids:
            ids.append(m.group(1))
        if "overriding earlier entry" not in line:          # the kit's main.cf
            lines[program == "cleanup"].append((ids.index(m.group(1)) if m else -1, line.replace(m.group(1), "QID") if m else line))
    return [line for _, line in lines[0]] + ["%d cleanup %s" % row for row in sorted(lines[1], key=lambda row: row[0])]


def at_rest(mta, since):
    """Every message that began has come to an end, also in the log of the other process."""
    log = mta.log()[since:]
    return all(re.search(r": %s: (removed|from=<|hold: )" % q, log) for q in re.findall(r"\]: (\w+): client=", log))


def talk(mta, host, name):
    service, steps = TALKS[name]
    since = mta.mark()
    with Talk(PORT[service], host, beside_kit.CLIENT) as c:
        said = c.run(steps)
    mta.wait_log(r"/smtpd\[\d+\]: disconnect from .*\n", since)
    kit.wait_until("the ends of the messages of '%s' in the log of %s:\n%s" % (name, mta.name, mta.log()[since:]), lambda: at_rest(mta, since), 5)
    return said, logged(mta.log()[since:])


def same_replies(name, theirs, ours, used, bad):
    """False when a reply differs that may."""
    same = True
    for i in range(max(len(theirs), len(ours))):
        (step, t), (mine, o) = [x[i] if i < len(x) else (None, []) for x in (theirs, ours)]
        where, t, o = "%s: %s" % (name, step if step is not None else mine), "\n".join(t), "\n".join(o)
        if t == o:
            continue
        same = False
        rule = next((d for d in DIFFERENT if re.search(d[0], where) and all(re.fullmatch(r, x, re.S if "\n250-" in x else 0) for r, x in ((d[1], t), (d[2], o)))), None)
        if rule:
            used.add(rule)
        else:
            bad.append("%s\n  Postfix %s\n  Signet  %s" % (where[:120], t, o))
    return same


def rewritten(name, whose, lines, used):
    out = []
    for line in lines:
        for rule in LINES:
            if line is not None and rule[1] in (whose, "both") and re.search(rule[0], name) and re.search(rule[2], line):
                used.add(rule)
                line = None if rule[3] is None else re.sub(rule[2], rule[3], line)
        if line is not None:
            out.append(line)
    return out


def compare(name, theirs, ours, used, bad):
    same = same_replies(name, theirs[0], ours[0], used, bad)
    t, o = [rewritten(name, whose, lines, used) for whose, lines in (("theirs", theirs[1]), ("ours", ours[1]))]
    if not same:                # other counts and other messages, but no other lines
        t, o = [sorted({re.sub(r"^\d+ cleanup|(?<=\[127\.0\.0\.9\]) .*commands=.*", "", line) for line in x}) for x in (t, o)]
    if t != o:
        bad.append("log of %s\n%s" % (name, "\n".join(difflib.unified_diff(t, o, "Postfix", "Signet", n=0, lineterm=""))))


# mta-core 11: what programs read; what each must find in the log of a server that had these conversations
READ = {
    "pflogsumm client": r"smtpd\[\d+\]: \w+: client=(\S+\[[\d.]+\])",
    "pflogsumm reject": r"smtpd\[\d+\]: (?:NOQUEUE|\w+): reject: (\S+) from (\S+?\[[\d.]+\]): (\d{3}) (\d\.\d+\.\d+) (.*?); ",
    "pflogsumm cleanup": r"cleanup\[\d+\]: \w+: reject: (header|body) (.*) from \S+\[[\d.]+\]; from=<.*?> to=<.*?> proto=E?SMTP helo=<.*?>: ",
    "pflogsumm queue": r"qmgr\[\d+\]: \w+: from=<.*?>, size=\d+, nrcpt=\d+",
    "fail2ban reject": r"(?:NOQUEUE|\w+): reject: (?:RCPT|EHLO|VRFY|MAIL|HELO|DATA|CONNECT) from [^[]*\[127\.0\.0\.9\](?::\d+)?: [45][50][04] [45]\.\d\.\d+ .*"
                       r"(?:Relay access denied|Client host rejected|Helo command rejected|Sender address rejected|Recipient address rejected)",
    "fail2ban pipelining": r"improper command pipelining after \S+ from [^[]*\[127\.0\.0\.9\]",
    "fail2ban lost": r"lost connection after (?:CONNECT|EHLO|RCPT|RSET|DATA|BDAT)(?: \(\d+ bytes\))? from [^[]*\[127\.0\.0\.9\]",
    "fail2ban errors": r"too many errors after \S+ from [^[]*\[127\.0\.0\.9\]",
    "exporter reject": r"smtpd\[\d+\]: NOQUEUE: reject: RCPT from \S+: ([0-9]+) ",
    "exporter disconnect": r"smtpd\[\d+\]: disconnect from \S+ .*commands=\d+",
}


def run(env):
    checks = env.write("checks", "\n".join(CHECKS) + "\n")
    postfix, signet = beside_kit.both(env, MAIN.replace("CHECKS", checks), SERVICES, PORT)
    used, bad = set(), []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name in TALKS:
            both = [pool.submit(talk, *a, name) for a in ((postfix, beside_kit.POSTFIX), (signet, beside_kit.SIGNET))]
            compare(name, *(b.result() for b in both), used, bad)
    kit.check(not bad, "\n".join(bad))
    for who, expression in READ.items():
        theirs, ours = (len(re.findall(expression, mta.log())) for mta in (postfix, signet))
        # where counts differ the replies did, above; lines of refused recipients are many
        kit.check(ours > 0 and abs(ours - theirs) <= theirs / 10 + 3, "%s reads %d lines of ours, %d of Postfix's" % (who, ours, theirs))
    gone = [d for d in DIFFERENT + LINES if d not in used]
    kit.check(not gone, "differences that do not show any more: %s" % "\n".join(map(str, gone)))
