"""signet conf shows and edits main.cf, signet check finds what is wrong with file:line and a fix; Postfix's name works too."""
import json
import os
import subprocess

import kit

MAIN = """# a comment that stays
compatibility_level = 3.10
myhostname = mail.example.com

mydestination = $myhostname,
# between
    localhost
relayhost = [gate.example.com]   
smtp_tls_security_level = may
"""
MASTER = """smtp inet n - n - - smtpd
    -o syslog_name=signet/in
smtp unix - - n - - smtp
relay unix - - n - - smtp
local unix - n n - - local
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
"""


def run(env):
    conf = env.path("etc")
    env.write("etc/main.cf", MAIN)
    env.write("etc/master.cf", MASTER)
    binary = os.path.join(kit.BUILD, "src", "signet")

    def signet(*argv, status=0):
        r = subprocess.run([binary, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        kit.check(r.returncode == status, "%s: status %d instead of %d\n%s" % (argv, r.returncode, status, r.stdout))
        return r.stdout

    # showing
    kit.check(signet("-c", conf, "conf", "-h", "myhostname") == "mail.example.com\n", "-h")
    kit.check(signet("conf", "-c", conf, "-x", "mydestination").startswith("mydestination = mail.example.com,"), "-x")
    kit.check("relayhost = [gate.example.com]\n" in signet("conf", "-c", conf, "-n"), "-n")
    kit.check("smtpd_banner" not in signet("conf", "-c", conf, "-n"), "-n shows only what is set")
    kit.check(signet("conf", "-c", conf, "-d", "relayhost") == "relayhost =\n", "-d")
    kit.check("smtp/inet/syslog_name = signet/in\n" in signet("conf", "-c", conf, "-P"), "-P")
    kit.check("smtp       inet" in signet("conf", "-c", conf, "-M", "smtp/inet"), "-M")
    kit.check("the nearest is smtpd_timeout" in signet("conf", "-c", conf, "smtpd_timeot", status=1), "nearest name")
    items = {i["name"]: i for i in json.loads(signet("conf", "-c", conf, "--json"))}
    kit.check(items["relayhost"]["line"] == 8 and items["relayhost"]["value"] == "[gate.example.com]", "json: %r" % items["relayhost"])
    signet("conf", "-c", conf, "-?", status=2)

    # under Postfix's name, MAIL_CONFIG says where
    link = env.path("postconf")
    os.symlink(binary, link)
    out = kit.sh(link, "-h", "relayhost", env=dict(os.environ, MAIL_CONFIG=conf))
    kit.check(out == "[gate.example.com]\n", "postconf: %s" % out)

    # editing
    os.chmod(os.path.join(conf, "main.cf"), 0o640)
    signet("conf", "-c", conf, "-e", "mydestination = a.example, b.example", "smtp_helo_timeout=30s")
    text = open(os.path.join(conf, "main.cf")).read()
    kit.check(text == MAIN.replace("$myhostname,\n# between\n    localhost", "a.example, b.example\n# between") + "smtp_helo_timeout = 30s\n",
              "edited:\n" + text)
    kit.check(os.stat(os.path.join(conf, "main.cf")).st_mode & 0o777 == 0o640, "the mode stays")
    signet("conf", "-c", conf, "-#", "relayhost")
    kit.check("\n#relayhost = [gate.example.com]" in open(os.path.join(conf, "main.cf")).read(), "commented out")
    signet("conf", "-c", conf, "-X", "smtp_helo_timeout")
    kit.check("smtp_helo_timeout" not in open(os.path.join(conf, "main.cf")).read(), "deleted")
    kit.check(sorted(os.listdir(conf)) == ["main.cf", "master.cf"], "nothing is left beside it: %s" % os.listdir(conf))
    signet("conf", "-c", conf, "-e", "not a name=x", status=2)
    said = signet("conf", "-c", conf, "-e", "smtpd_helo_required=maybe", "smtpd_helo_requird=yes")
    kit.check("main.cf:9: error: smtpd_helo_required = maybe: the value must be yes or no\n" in said and "did you mean smtpd_helo_required?" in said and
              len(said.splitlines()) == 2, "what was mistyped is told: %s" % said)
    kit.check(signet("conf", "-c", conf, "-X", "smtpd_helo_required", "smtpd_helo_requird") == "", "and mended")

    # checking
    kit.check("error" not in signet("check", "-c", conf), "a good configuration")
    check(env, conf, signet)


def check(env, conf, signet):
    cert, key = env.cert("mail.example.com")
    _, other = env.cert("other.example.com")
    for line, want in [
            ("smtpd_timeout = soon", "main.cf:10: error: smtpd_timeout = soon: the value must be a time"),
            ("smtpd_milters = inet:localhost:1", "main.cf:10: error: smtpd_milters: this does not work yet"),
            ("virtual_alias_maps = hash:/nowhere/v", "main.cf:10: error: virtual_alias_maps: hash:/nowhere/v: the source text"),
            ("transport_maps = regexp:/nowhere/v", "main.cf:10: error: transport_maps: "),
            ("header_checks = inline:{a}", "main.cf:10: error: header_checks: "),
            ("default_transport = uucp:x", "main.cf:10: error: default_transport: master.cf has no service uucp"),
            ("smtpd_tls_cert_file = /nowhere/c", "main.cf:10: error: smtpd_tls_cert_file: /nowhere/c: No such file"),
            ("smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s" % (cert, other), "main.cf:11: error: smtpd_tls_key_file: "),
            ("smtp_tls_CAfile = %s" % key, "main.cf:10: error: smtp_tls_CAfile: "),
            ("smtp_tls_protocols = >=TLSv9", "main.cf:10: error: smtp_tls_protocols: "),
            ("smtpd_tls_security_level = encrypt\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s" % (cert, key),
             "master.cf:1: warning: service smtp demands TLS on port 25"),
            ("smtpd_tls_security_level = may", "master.cf:1: warning: service smtp has no certificate: STARTTLS is not offered"),
            ("virtual_alias_domains = mail.example.com", "main.cf:10: warning: virtual_alias_domains: mail.example.com is in mydestination too")]:
        env.write("etc/main.cf", MAIN + line + "\n")
        found = signet("check", "-c", conf, status=1 if ": error:" in want else 0)
        kit.check(want in found, "%s: %s is not in\n%s" % (line, want, found))
    table = env.write("transport", "# where to\na.example smtp:[mx.a.example]\nb.example smpt:[mx.b.example]\nc.example smtp:[mx.c.example\n")
    access = env.write("access", "a.example REJECT no\nb.example REJEKT no\nc.example FILTER scan\nd.example PREPEND\ne.example permit_mynetworks, reject\n"
                       "f.example 550 5.7.1 no\ng.example 12345\nh.example tls_require encrypt\ni.example HOLD\n")
    policy = env.write("policy", "a.example secure\n\nb.example secur\nc.example dane\nd.example encrypt protocols=>=TLSv1.9\n")
    for line, want in [
            ("relayhost = [mx.example", "main.cf:10: error: relayhost: next hop [mx.example: this is neither a host name nor an address (write host, [host], host:port"),
            ("relayhost = smtp:[mx.example]:25", "main.cf:10: error: relayhost: next hop smtp:[mx.example]:25: "),
            ("relayhost = mx.example 587", "main.cf:10: error: relayhost: next hop 587: a number is no host"),
            ("relayhost = [mx.example]:submision", "main.cf:10: error: relayhost: next hop [mx.example]:submision: no such port"),
            ("smtp_fallback_relay = [a.example] b.example:", "main.cf:10: error: smtp_fallback_relay: next hop b.example:: empty port"),
            ("default_transport = smtp:[mx", "main.cf:10: error: default_transport: next hop [mx: "),
            ("mailbox_transport = lmpt:unix:private/lmtp", "main.cf:10: error: mailbox_transport: master.cf has no service lmpt"),
            ("transport_maps = hash:%s" % table, "%s:3: error: transport_maps: b.example: master.cf has no service smpt" % table),
            ("transport_maps = texthash:%s" % table, "%s:4: error: transport_maps: c.example: next hop [mx.c.example: " % table),
            ("transport_maps = inline:{ {x.example = relay.example:25} }",
             "main.cf:10: error: transport_maps: x.example: master.cf has no service relay.example (type unix): this mail would wait for ever (write smtp:HOST"),
            ("transport_maps = pcre:{ {/^a/ smpt:[$$1]} }", "main.cf:10: error: transport_maps: /^a/: master.cf has no service smpt"),
            ("sender_dependent_relayhost_maps = inline:{ {u@a.example = [mx]:99999} }", "main.cf:10: error: sender_dependent_relayhost_maps: u@a.example: next hop [mx]:99999: no such port"),
            ("header_checks = regexp:{ {/x/ FILTER scan:[127.0.0.1]:10} }", "main.cf:10: error: header_checks: /x/: master.cf has no service scan"),
            ("smtp_tls_policy_maps = texthash:%s" % policy, "%s:3: error: smtp_tls_policy_maps: b.example: invalid security level \"secur\": this mail would wait (see" % policy),
            ("smtp_tls_policy_maps = hash:%s" % policy, "%s:4: error: smtp_tls_policy_maps: c.example: level dane needs DNSSEC, but" % policy),
            ("smtp_tls_policy_maps = hash:%s" % policy, "%s:5: error: smtp_tls_policy_maps: d.example: attribute \"protocols\": " % policy),
            ("smtp_tls_policy_maps = inline:{ {a.example = encript} }", "main.cf:10: error: smtp_tls_policy_maps: a.example: invalid security level \"encript\""),
            ("header_checks = regexp:{ {/x/ EXPLODE} }", "main.cf:10: error: header_checks: /x/: unknown action \"EXPLODE\": a message that matches gets 451"),
            ("body_checks = pcre:{ {/x/ REDIRECT nobody} }", "main.cf:10: error: body_checks: /x/: REDIRECT: bad argument \"nobody\""),
            ("smtpd_sender_restrictions = check_sender_access texthash:%s" % access, "%s:2: error: smtpd_sender_restrictions: b.example: " % access),
            ("smtpd_sender_restrictions = check_sender_access hash:%s, reject" % access, "%s:3: error: smtpd_sender_restrictions: c.example: FILTER needs transport:destination" % access),
            ("smtpd_client_restrictions = hash:%s" % access, "%s:4: error: smtpd_client_restrictions: d.example: PREPEND without an argument" % access),
            ("smtpd_restriction_classes = mine\nmine = check_helo_access inline:{ {x.example = REJEKT} }",
             "main.cf:11: error: mine: x.example: "),
            ("smtpd_command_filter = lmdb:/nowhere/x", "main.cf:10: error: smtpd_command_filter: lmdb:/nowhere/x: another process answers for this table"),
            ("smtp_tls_per_site = inline:{ {a.example = MUSTT} }", "main.cf:10: error: smtp_tls_per_site: a.example: unknown TLS policy"),
            ("smtpd_tls_policy_maps = inline:{ {192.0.2.1 = encript} }", "main.cf:10: error: smtpd_tls_policy_maps: 192.0.2.1: \"encript\" is not one of")]:
        env.write("etc/main.cf", MAIN + line + "\n")
        found = signet("check", "-c", conf, status=1)
        kit.check(want in found, "%s: %s is not in\n%s" % (line, want, found))
    # an override of one service in master.cf, and what is right
    env.write("etc/main.cf", MAIN + "transport_maps = inline:{ {a.example = :} {b.example = :[mx]} {c.example = error:5.1.1 gone} {d.example = local:x} {e.example=smtp:[mx]:submission} }\n"
              "smtpd_sender_restrictions = check_sender_access inline:{ {a.example = REJECT no} {b.example = permit_mynetworks, reject} {c.example = 450 4.7.1 x} {d.example = OK} {<> = 1} }\n"
              "header_checks = pcre:{ {/^(a|b)/ PREPEND X-A: $${1}} {/^c/ reject no} {/^d/ OK} }\n"
              "smtp_tls_policy_maps = pcre:{ {/^(a|b)/ secure match=$${1}} }\nsmtp_fallback_relay = [a.example] b.example:587 [IPv6:2001:db8::1]:25\nsmtpd_tls_cert_file=none\n")
    signet("check", "-c", conf)
    env.write("etc/master.cf", MASTER + "strict unix - - n - - smtp\n    -o smtp_tls_policy_maps=inline:{a.example=secur}\n")
    found = signet("check", "-c", conf, status=1)
    kit.check("master.cf:9: error: smtp_tls_policy_maps: a.example: invalid security level" in found or "master.cf:10: error: smtp_tls_policy_maps: a.example: invalid" in found, found)
    env.write("etc/master.cf", MASTER)
    env.write("etc/main.cf", MAIN + "smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_security_level = may\n" % (cert, key))
    findings = json.loads(signet("check", "-c", conf, "--json"))
    kit.check(not [f for f in findings if f["severity"] == "error"], "good: %s" % findings)
