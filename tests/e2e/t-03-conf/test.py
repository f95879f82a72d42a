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
            ("smtpd_tls_security_level = may", "master.cf:1: warning: service smtp uses TLS without a certificate"),
            ("virtual_alias_domains = mail.example.com", "main.cf:10: warning: virtual_alias_domains: mail.example.com is in mydestination too")]:
        env.write("etc/main.cf", MAIN + line + "\n")
        found = signet("check", "-c", conf, status=1 if ": error:" in want else 0)
        kit.check(want in found, "%s: %s is not in\n%s" % (line, want, found))
    env.write("etc/main.cf", MAIN + "smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_security_level = may\n" % (cert, key))
    findings = json.loads(signet("check", "-c", conf, "--json"))
    kit.check(not [f for f in findings if f["severity"] == "error"], "good: %s" % findings)
