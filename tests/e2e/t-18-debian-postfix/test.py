"""Debian's own /etc/postfix, as its package sets it up for an Internet site, is a configuration of Signet: main.cf with only the paths
and names added that a second installation needs, master.cf exactly as shipped."""
import os
import shutil

import kit

MAIN = """\
# See /usr/share/postfix/main.cf.dist for a commented, more complete version
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no

# appending .domain is the MUA's job.
append_dot_mydomain = no

# Uncomment the next line to generate "delayed mail" warnings
#delay_warning_time = 4h

readme_directory = no
compatibility_level = 3.6

# TLS parameters
smtpd_tls_cert_file={cert}
smtpd_tls_key_file={key}
smtpd_tls_security_level=may

smtp_tls_CApath=/etc/ssl/certs
smtp_tls_security_level=may
smtp_tls_session_cache_database = btree:${{data_directory}}/smtp_scache

smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
myhostname = host.example.org
alias_maps = hash:{etc}/aliases
alias_database = hash:{etc}/aliases
mydestination = $myhostname, example.org, localhost.example.org, localhost
relayhost =
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
mailbox_size_limit = 0
recipient_delimiter = +
inet_interfaces = all
inet_protocols = ipv4
"""


def run(env):
    master = "/usr/share/postfix/master.cf.dist"
    if not os.path.exists(master):
        raise kit.Skipped("Debian's postfix is not installed")
    if os.geteuid() != 0:
        raise kit.Skipped("delivery to several users needs root")
    user = env.user("signetuser")
    box = "/var/mail/signetuser"
    env.at_end(lambda: os.path.exists(box) and os.unlink(box))
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2"])
    sink = env.sink("127.0.0.2", port=2525)
    cert, key = env.cert("host.example.org")
    s = env.signet("deb", start=False, files={"aliases": "# aliases\npostmaster: root\nroot: signetuser\nteam: signetuser,\n  outside@example.com\n"})
    own = "queue_directory = %s\ndata_directory = %s\nmaillog_file = %s\nmaillog_file_prefixes = /\nmail_owner = %s\ntransport_maps = inline:{{example.com=smtp:[127.0.0.2]:2525}}\n%s" % (
        s.queue, s.data, s.maillog, kit.owner(), env.dns_params)
    env.write("deb/etc/main.cf", MAIN.format(cert=cert, key=key, etc=s.conf) + own)
    shutil.copy(master, os.path.join(s.conf, "master.cf"))
    s.start()
    kit.check(not s.has_log(r"(error|fatal): "), s.log())
    qid = kit.queue_id(kit.send(rcpts="team@example.org", sender="friend@example.com", starttls=True))
    s.wait_log(r"postfix/local\[\d+\]: %s: to=<signetuser@example\.org>, orig_to=<team@example\.org>, relay=local, .*status=sent \(delivered to mailbox\)" % qid
               if s.has_log("postfix/master") else r"/local\[\d+\]: \w+: to=<signetuser@.*>, .*relay=local, .*status=sent \(delivered to mailbox\)")
    with open(box, "rb") as f:
        text = f.read()
    kit.check(text.startswith(b"From friend@example.com ") and b"Delivered-To: " in text, text)
    kit.check(os.stat(box).st_uid == user.pw_uid, "the mailbox is the user's")
    kit.wait_until("the copy for the outside member", lambda: sink.messages)
    reply = kit.send(rcpts="nobody-here@example.org")
    kit.check(reply.startswith("550 5.1.1") and "User unknown in local recipient table" in reply, reply)
    qid = kit.queue_id(kit.send(rcpts="signetuser+tag@example.org"))
    s.wait_log(r"%s: to=<signetuser\+tag@example\.org>.*status=sent" % qid)
    s.stop()
