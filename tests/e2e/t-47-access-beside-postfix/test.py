"""Restrictions and results of access tables beside Postfix 3.10: each list in a service of its own, the same conversation, the same replies.
Where they differ on purpose DIFFERENT says why, and fails when the difference does not show any more."""
import re

import beside_kit
import kit
import raw_kit

MAIN = """\
mydestination = local.test, sub.local.test
local_recipient_maps = inline:{ { ok = x } { user = x } { user+ext = x } }
recipient_delimiter = +
smtpd_restriction_classes = cls, cls2, loopcls
cls = check_recipient_access inline:{ { ok@local.test = REJECT by class } }, permit
cls2 = reject_non_fqdn_sender
loopcls = check_sender_access static:loopcls
"""


def T(*kv):
    return "inline:{ %s }" % " ".join("{ %s = %s }" % x for x in kv)


R = "smtpd_recipient_restrictions = "
SERVICES = {
 "ext": R + "check_recipient_access " + T(("user+ext@local.test","REJECT full"),("user@local.test","REJECT base")),
 "base": R + "check_recipient_access " + T(("user@local.test","REJECT base"),("user+ext@","REJECT uext")),
 "dom": R + "check_recipient_access " + T(("local.test","REJECT dom"),("user@","REJECT u")),
 "dotparent": R + "check_recipient_access " + T((".local.test","REJECT dotdom")),
 "userat": R + "check_recipient_access " + T(("user+ext@","REJECT ue"),("user@","REJECT u")),
 "tld": R + "check_recipient_access " + T(("test","REJECT tld")),
 "nullsender": R + "check_sender_access " + T(("<>","REJECT null")),
 "nullkey": R + "check_sender_access " + T(("nobody","REJECT null")) + "; smtpd_null_access_lookup_key = nobody",
 "client4": R + "check_client_access " + T(("127.0","REJECT net")),
 "client4b": R + "check_client_access " + T(("127.0.0.9","REJECT host")),
 "clientunknown": R + "check_client_access " + T(("unknown","REJECT unk")),
 "revunknown": R + "check_reverse_client_hostname_access " + T(("unknown","REJECT unk")),
 "helo": R + "check_helo_access " + T(("c.test","REJECT helo")),
 "heloparent": R + "check_helo_access " + T(("test","REJECT helo")),
 "heloip": R + "check_helo_access " + T(("[127.0.0.9]","REJECT helo"),("127.0.0","REJECT trunc")),
 "act450": R + "check_recipient_access static:{450 4.7.9 wait a bit}",
 "act550n": R + "check_recipient_access static:{550 go}",
 "act5only": R + "check_recipient_access static:{550}",
 "act554x": R + "check_recipient_access static:{554 5.1.1 text}",
 "act4dsn5": R + "check_recipient_access static:{450 5.7.1 mismatch}",
 "act600": R + "check_recipient_access static:{600 text}",
 "act421": R + "check_recipient_access static:{421 4.7.0 bye}",
 "act521": R + "check_recipient_access static:{521 5.7.0 bye}",
 "actlower": R + "check_recipient_access static:{reject lower}",
 "actrejdsn": R + "check_recipient_access static:{REJECT 5.7.9 text}",
 "actrejbare": R + "check_recipient_access static:REJECT",
 "actdefer": R + "check_recipient_access static:DEFER",
 "actdefert": R + "check_recipient_access static:{DEFER 4.7.8 text}",
 "dip": R + "check_recipient_access static:{DEFER_IF_PERMIT soon}, permit",
 "dipbare": R + "check_recipient_access static:DEFER_IF_PERMIT",
 "diprej": R + "check_recipient_access static:{DEFER_IF_PERMIT soon}, reject",
 "dirrej": R + "check_recipient_access static:{DEFER_IF_REJECT maybe}, reject",
 "dirper": R + "check_recipient_access static:{DEFER_IF_REJECT maybe}, permit",
 "dirunl": R + "check_recipient_access static:{DEFER_IF_REJECT maybe}",
 "ok": R + "check_recipient_access static:OK, reject",
 "oktext": R + "check_recipient_access static:{OK because}, reject",
 "digits": R + "check_recipient_access static:123456, reject",
 "dunno": R + "check_recipient_access static:DUNNO, reject",
 "permitlist": R + "check_recipient_access static:permit, reject",
 "rejlist": R + "check_recipient_access static:{reject_non_fqdn_sender, permit}, reject",
 "cls": R + "cls, reject", "clstable": R + "check_sender_access static:cls",
 "cls2": R + "cls2, permit",
 "loop": R + "loopcls, permit",
 "hold": R + "check_recipient_access static:{HOLD x}", "discard": R + "check_recipient_access static:{DISCARD x}",
 "filter": R + "check_recipient_access static:{FILTER discard:x}", "filterbad": R + "check_recipient_access static:{FILTER nocolon}",
 "filterempty": R + "check_recipient_access static:FILTER",
 "redirect": R + "check_recipient_access static:{REDIRECT a@dest.test}", "redirectbad": R + "check_recipient_access static:{REDIRECT nodomain}", "redirectempty": R + "check_recipient_access static:REDIRECT",
 "bcc": R + "check_recipient_access static:{BCC a@dest.test}",
 "prepend": R + "check_recipient_access static:{PREPEND X-A: b}", "prependbad": R + "check_recipient_access static:{PREPEND nonsense}", "prependempty": R + "check_recipient_access static:PREPEND",
 "info": R + "check_recipient_access static:{INFO hello}", "warn": R + "check_recipient_access static:WARN",
 "warnif": R + "warn_if_reject reject, permit", "warnif2": R + "warn_if_reject warn_if_reject reject_non_fqdn_sender, permit",
 "rejectw": R + "reject", "deferw": R + "defer", "dipw": R + "defer_if_permit", "dirw": R + "defer_if_reject, reject",
 "softbounce": R + "reject; soft_bounce = yes",
 "codes": R + "reject; reject_code = 599", "mapcode": R + "check_recipient_access static:REJECT; access_map_reject_code = 571", "defcode": R + "defer; defer_code = 451", "mapdef": R + "check_recipient_access static:DEFER; access_map_defer_code = 452",
 "invhelo": R + "reject_invalid_helo_hostname", "fqdnhelo": R + "reject_non_fqdn_helo_hostname",
 "fqdnsender": R + "reject_non_fqdn_sender, reject_non_fqdn_recipient",
 "plain": R + "reject_plaintext_session", "authdest": R + "permit_auth_destination, reject", "unauth": R + "reject_unauth_destination",
 "unknownclient": R + "reject_unknown_client_hostname", "unknownrev": R + "reject_unknown_reverse_client_hostname",
 "unlsender": R + "reject_unlisted_sender", "unlrcpt": R + "reject_unlisted_recipient, reject", "unltext": R + "reject_unlisted_recipient; show_user_unknown_table_name = no",
 "unlcode": R + "reject_unlisted_recipient; unknown_local_recipient_reject_code = 450",
 "multi": "smtpd_data_restrictions = reject_multi_recipient_bounce",
 "etrn": "smtpd_etrn_restrictions = check_etrn_access " + T(("far.test","REJECT no etrn")),
 "sendercls": "smtpd_sender_restrictions = cls2",
 "commas": R + "check_recipient_access,inline:{{ok@local.test=REJECT}},permit",
 "sleep": R + "sleep 0, reject",
 "maps2": R + "check_recipient_access inline:{{a=b}} inline:{{ok@local.test=REJECT}}",
 "eod": "smtpd_end_of_data_restrictions = reject",
 "sasl": R + "permit_sasl_authenticated, reject", "loginm": R + "reject_sender_login_mismatch; smtpd_sender_login_maps = static:joe", "loginu": R + "reject_unauthenticated_sender_login_mismatch; smtpd_sender_login_maps = static:joe",
 "tls": R + "permit_tls_clientcerts, permit_tls_all_clientcerts, reject",
 "mxbackup": R + "permit_mx_backup, reject",
}
PORT = beside_kit.ports(SERVICES, 3000)
TALK = ["EHLO c.test", "MAIL FROM:<a@x.test>", "RCPT TO:<user+ext@local.test>", "RCPT TO:<user@sub.local.test>", "RCPT TO:<ok@local.test>", "RCPT TO:<b@dest.test>", "RCPT TO:<no@local.test>", "RCPT TO:<far@far.test>", "RCPT TO:<postmaster>", "DATA", b"Subject: x\r\n\r\nx\r\n.\r\n", "RSET",
        "MAIL FROM:<>", "RCPT TO:<ok@local.test>", "RCPT TO:<user@local.test>", "DATA", b"Subject: x\r\n\r\nx\r\n.\r\n", "RSET", "MAIL FROM:<a>", "RCPT TO:<ok@local.test>", "RCPT TO:<ok>", "RSET", "MAIL FROM:<no@local.test>", "RCPT TO:<ok@local.test>", "RSET",
        "HELO [127.0.0.9]", "MAIL FROM:<a@x.test>", "RCPT TO:<ok@local.test>", "RSET", "HELO -bad", "MAIL FROM:<a@x.test>", "RCPT TO:<ok@local.test>", "RSET", "HELO plain", "MAIL FROM:<a@x.test>", "RCPT TO:<ok@local.test>", "QUIT"]
# services: what Postfix says, what Signet says, and why
DIFFERENT = {
    "act5only": (r"250 2\.1\.5 Ok", r"550 5\.7\.1 .* Access denied", "three digits are a code that lacks its text, no number"),
    "discard": (r"250 2\.1\.5 Ok", r"554 5\.7\.1 .* Relay access denied", "what is thrown away for one recipient is no licence to relay for another"),
    "filterbad filterempty redirectempty prependempty": (r"250 2\.1\.5 Ok", r"451 4\.3\.5 Server configuration error", "an action that cannot be carried out might have been a protection"),
}


def talk(host, port):
    """One conversation; the last line of every reply, "" when the server hung up."""
    with raw_kit.Raw(port, host, beside_kit.CLIENT) as c:
        def last(lines):
            return re.sub(r"queued as \w+", "queued", lines[-1]) if lines else ""

        said = [last(c.reply())]
        for step in TALK:
            if c.closed:
                break
            wanted = isinstance(step, str) or said[-1].startswith("354")
            said.append(last(c.say(step)) if wanted else "no content wanted")
        return said


def run(env):
    _, s = beside_kit.both(env, MAIN, SERVICES, PORT)
    bad, used = [], set()
    for name in SERVICES:
        theirs, ours = talk(beside_kit.POSTFIX, PORT[name]), talk(beside_kit.SIGNET, PORT[name])
        rule = next((names for names in DIFFERENT if name in names.split()), None)
        for step, t, o in zip(["greeting"] + TALK, theirs, ours):
            if t == o:
                continue
            if rule and re.fullmatch(DIFFERENT[rule][0], t) and re.fullmatch(DIFFERENT[rule][1], o):
                used.add(name)
                break           # from here on the conversations go their own ways
            else:
                bad.append("%s: %s\n  Postfix %s\n  Signet  %s" % (name, step, t, o))
        if len(theirs) != len(ours) and name not in used:
            bad.append("%s: %d replies, not %d" % (name, len(ours), len(theirs)))
    kit.check(not bad, "\n".join(bad))
    kit.check(used == set(" ".join(DIFFERENT).split()), "not different any more: %s" % (set(" ".join(DIFFERENT).split()) - used))
    kit.check(not re.search(r"panic|ended by signal", s.log()), s.log()[-3000:])
