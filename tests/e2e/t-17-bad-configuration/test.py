"""What an administrator gets wrong: one line that names the place and the fix, and nothing starts."""
import os
import re

import kit

CASES = [
    ("a level that does not exist", "smtp_tls_security_level = secur\n", r"main\.cf:\d+: .*smtp_tls_security_level"),
    ("a number that is none", "smtpd_recipient_limit = many\n", r"main\.cf:\d+: .*smtpd_recipient_limit.*many"),
    ("a time that is none", "minimal_backoff_time = 5 fortnights\n", r"main\.cf:\d+: .*minimal_backoff_time"),
    ("a restriction that does not exist", "smtpd_recipient_restrictions = permit_mynetwork, reject\n", r"permit_mynetwork"),
    ("a restriction that does not work yet", "smtpd_recipient_restrictions = reject_unverified_recipient, reject_unauth_destination\n", r"reject_unverified_recipient"),
    ("a parameter that protects and does not work yet", "smtpd_milters = inet:127.0.0.1:8891\n", r"main\.cf:\d+: .*smtpd_milters"),
    ("a level that DNSSEC cannot serve", "smtp_tls_security_level = dane\n", r"main\.cf:\d+: .*dane.*smtp_dns_support_level is not dnssec"),
    ("a table type that does not work yet", "transport_maps = mysql:/etc/postfix/x.cf\n", r"mysql"),
    ("a variable that ends nowhere", "myhostname = ${mydomain\n", r"main\.cf:\d+: "),
    ("a network that is none", "mynetworks = 127.0.0.0/8 10.0.0.0/33\n", r"main\.cf:\d+: .*mynetworks: .*10\.0\.0\.0/33.*prefix"),
    ("a network with host bits", "mynetworks = 10.0.0.1/8\n", r"main\.cf:\d+: .*mynetworks: .*perhaps 10\.0\.0\.0/8"),
    ("a table without its type", "virtual_alias_maps = /etc/postfix/virtual\n", r"main\.cf:\d+: .*virtual_alias_maps: /etc/postfix/virtual: expected"),
    ("an inline table with one brace", "transport_maps = inline:{ {a=b}\n", r"main\.cf:\d+: .*transport_maps"),
    ("an address that is none", "inet_interfaces = 300.1.1.1\n", r"main\.cf:\d+: .*inet_interfaces: 300\.1\.1\.1: "),
    ("an argument that is none", "smtpd_relay_restrictions = check_ccert_access { inline:{{a=OK}} { search_order = cert_fingerprint, colour } }, reject\n",
     r'main\.cf:\d+: .*smtpd_relay_restrictions: search_order knows no "colour"'),
    ("a demand that is none", "smtpd_sender_restrictions = tls_require { verified }\n", r'main\.cf:\d+: .*smtpd_sender_restrictions: tls_require: "verified"'),
    ("the same in a class", "smtpd_restriction_classes = mine\nmine = sleep long\n", r'main\.cf:\d+: .*mine: sleep: bad number "long"'),
    ("a class that is not there", "smtpd_restriction_classes = mine, yours\nmine = permit\n", r"main\.cf:\d+: .*smtpd_restriction_classes: yours is not defined"),
    ("a list with a table of no type", "mydestination = nosuch:/etc/x\n", r'main\.cf:\d+: .*mydestination: nosuch:/etc/x: unknown table type "nosuch"'),
    ("a list with a lonely !", "smtpd_forbidden_commands = CONNECT !\n", r'main\.cf:\d+: .*smtpd_forbidden_commands: "!" without a pattern'),
    ("clients whose headers are rewritten", "local_header_rewrite_clients = permit_networks\n", r'main\.cf:\d+: .*local_header_rewrite_clients: unknown restriction "permit_networks"'),
    ("a policy with a bad network", "smtpd_tls_policy_maps = cidr:{ {198.18.0.0/99 encrypt} }\n", r"main\.cf:\d+: .*smtpd_tls_policy_maps: .*bad prefix length"),
    ("a file for the TLS library that is not there", "tls_config_file = /nonexistent/openssl.cnf\n", r"main\.cf:\d+: .*tls_config_file: /nonexistent/openssl\.cnf: it cannot be read"),
    ("an exclusion that is an operator", "smtp_tls_exclude_ciphers = RC4, !\n", r'main\.cf:\d+: .*smtp_tls_exclude_ciphers: cipher exclusion "!" begins with an operator'),
    ("the same in the server", "smtpd_tls_mandatory_exclude_ciphers = +RC4\n", r'main\.cf:\d+: .*smtpd_tls_mandatory_exclude_ciphers: cipher exclusion "\+RC4" begins'),
    ("a fingerprint that is none", "smtp_tls_fingerprint_cert_match = zz\n", r"main\.cf:\d+: .*smtp_tls_fingerprint_cert_match: "),
    ("a server name that is none", "lmtp_tls_servername = -x\n", r"main\.cf:\d+: .*lmtp_tls_servername: "),
    ("digests that are none", "tls_dane_digests = sha256=7\n", r"main\.cf:\d+: .*tls_dane_digests: "),
    ("a port that is none", "smtp_tcp_port = nosuch\n", r"main\.cf:\d+: .*smtp_tcp_port: no such port: nosuch"),
    ("a spool without a place", "queue_directory = spool\n", r"main\.cf:\d+: .*queue_directory: this is no absolute path"),
    ("data without a place", "data_directory = data\n", r"main\.cf:\d+: .*data_directory: this is no absolute path"),
    ("a word twice wrong is told once", "smtpd_recipient_restrictions = reject_unauth_destinaton\n", r'main\.cf:\d+: .*smtpd_recipient_restrictions: "reject_unauth_destinaton" is no restriction'),
    ("no relay control", "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks\n", r"reject_unauth_destination"),
]


def pipes(env):
    """A pipe service that could not work is known before mail comes to it."""
    for n, (args, pattern) in enumerate((("flags=R user=nobody", "pipe: argv= is missing"), ("flags=R argv=/bin/true", "pipe: user= is missing"),
                                         ("flags=R user=root argv=/bin/true", "pipe: user=root: no command runs as root"),
                                         ("flags=RQ user=nobody argv=/bin/true", "flags=Q is not known to pipe"),
                                         ("chroot=/x user=nobody argv=/bin/true", "attribute chroot= is not supported"))):
        s = env.signet("p%d" % n, "", kit.MASTER_CF.format(smtp="127.0.0.1:25") + "odd unix - n n - - pipe\n  %s\n" % args, start=False)
        s.start(wait=False)
        kit.wait_until("signetd to refuse: %s" % args, lambda: not s.proc.alive(), 20)
        for said in (s.proc.text(), s.cli("check", check_status=False)):
            kit.check(re.search(r"master\.cf:\d+: (error: )?service odd: .*" + re.escape(pattern), said), "%s:\n%s" % (args, said))
    s = env.signet("px", "", kit.MASTER_CF.format(smtp="127.0.0.1:25") + "odd unix - n n - - pipe user=nosuchuser argv=/bin/true\n", start=False)
    said = s.cli("check")
    kit.check(re.search(r"master\.cf:\d+: note: service odd: pipe: user=nosuchuser does not exist", said), said)


def no_false_alarms(env):
    """What Debian's master.cf and most guides have: check finds no error in it."""
    s = env.signet("fine", "smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination, check_policy_service unix:private/policyd-spf,\n"
                   "  check_policy_service { inet:127.0.0.1:10023, timeout=2s, default_action=DUNNO }, reject_rbl_client zen.example=127.0.0.[2..11]\n"
                   "mynetworks = 127.0.0.0/8 0.0.0.0/0\nmailbox_transport = lmtp:unix:private/dovecot-lmtp\ntransport_maps = inline:{ {a.test=lmtp:unix:private/dovecot-lmtp} }\n",
                   kit.MASTER_CF.format(smtp="127.0.0.1:25") + "127.0.0.1:587 inet n - n - - smtpd\n  -o local_header_rewrite_clients=static:all\n"
                   "  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n", start=False)
    said = s.cli("check")
    kit.check("error" not in said and said.count("check_policy_service") == 2, said)
    kit.check(re.search(r"main\.cf:\d+: warning: \w+: .*nobody answers at %s/private/dovecot-lmtp: No such file or directory: until then this mail waits \(start it; in Dovecot:" % s.queue, said) and
              said.count("dovecot-lmtp") == 1, said)
    kit.check(re.search(r"warning: mynetworks: 0\.0\.0\.0/0 is everybody", said), said)


def run(env):
    for n, (name, text, pattern) in enumerate(CASES):
        s = env.signet("c%d" % n, text, start=False)
        s.start(wait=False)
        kit.wait_until("signetd to refuse: %s" % name, lambda: not s.proc.alive(), 20)
        said = s.proc.text() + s.log()
        kit.check(s.proc.p.returncode == 1, "%s: exit status %s\n%s" % (name, s.proc.p.returncode, said))
        kit.check(re.search(pattern, said), "%s: no /%s/ in\n%s" % (name, pattern, said))
        kit.check(len([line for line in said.splitlines() if "error" in line or "fatal" in line]) <= 3, "%s: too many lines:\n%s" % (name, said))
        checked = s.cli("check", check_status=False)
        kit.check(re.search(pattern, checked), "signet check, %s:\n%s" % (name, checked))
    # at a reload the workers of the good configuration stay
    s = env.signet("later", "")
    workers, since = s.pids("smtpd"), s.mark()
    s.set("smtpd_sender_restrictions = tls_require { verified }\n")
    s.reload()
    kit.check(s.has_log(r"error: .*main\.cf:\d+: .*tls_require", since) and s.has_log("reload refused", since) and s.pids("smtpd") == workers, s.log()[since:])
    s.stop()
    # a name that nobody knows is a warning with the nearest match, and no reason to stop
    s = env.signet("typo", "smtpd_tls_securty_level = may\n")
    s.wait_log(r"main\.cf:\d+: .*smtpd_tls_securty_level.*smtpd_tls_security_level")
    s.stop()
    # master.cf: a service that we do not have
    s = env.signet("svc", "", kit.MASTER_CF.format(smtp="127.0.0.1:25") + "postscreen inet n - n - 1 postscreen\n", start=False)
    s.start(wait=False)
    kit.wait_until("signetd to refuse postscreen", lambda: not s.proc.alive(), 20)
    kit.check(re.search(r"master\.cf:\d+: .*postscreen", s.proc.text() + s.log()), s.proc.text() + s.log())
    pipes(env)
    no_false_alarms(env)
    # a spool that is Postfix's own
    s = env.signet("foreign", "", start=False)
    for d in ("active", "deferred", "incoming", "pid"):
        os.makedirs(os.path.join(s.queue, d))
    env.write("foreign/spool/pid/master.pid", "1\n")
    s.start(wait=False)
    kit.wait_until("signetd to refuse Postfix's spool", lambda: not s.proc.alive(), 20)
    kit.check("Postfix" in s.proc.text() + s.log(), s.proc.text() + s.log())
    # two of us on one spool
    s = env.signet("one")
    two = kit.Process(env, [os.path.join(kit.BUILD, "src", "signetd"), "-c", s.conf], "two")
    kit.wait_until("the second to refuse", lambda: not two.alive(), 20)
    kit.check("another signetd" in two.text() or "cannot listen" in two.text(), two.text())
