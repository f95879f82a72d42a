"""Expansion and defaults against the installed Postfix: the same main.cf gives the same values, apart from those that are ours."""
import os
import subprocess

import kit

OURS = """alias_database alias_maps authorized_verp_clients command_directory config_directory daemon_directory data_directory
enable_long_queue_ids html_directory local_recipient_maps mail_name mail_owner mail_release_date mail_spool_directory mail_version
mailq_path manpage_directory meta_directory milter_macro_v multi_instance_name newaliases_path process_id process_name proxy_read_maps
proxy_write_maps queue_directory readme_directory sample_directory sendmail_path service_name setgid_group shlib_directory
smtpd_authorized_verp_clients syslog_name import_environment openssl_path smtp_tls_mandatory_protocols
lmtp_tls_mandatory_protocols tls_eecdh_auto_curves tls_wildcard_matches_multiple_labels""".split()

MAIN = """
myhostname = box.example.com
data_directory = /data
mail_name = Name
mail_version = 1
sample = ${mydomain?{x}:{y}} ${relayhost:none}${relayhost?some} $$ $(mydomain) a${mydomain}b
smtpd_banner = $sample
relay_domains = ${{$compatibility_level} >=level {3.6} ? {new.example} : {old.example}}, ${{9} < {10} ? {n} : {t}}
smtp_helo_name = ${{$mydomain} == {example.com} ? {${relayhost?{a}:{${sample?{in}}}}} : {no}}
mydestination = $myhostname,
   localhost.$mydomain,
# comment
\tlocalhost
default_destination_recipient_limit = 7
smtp_tls_cert_file = /c
lmtp_tls_eccert_file = /e
inet_interfaces = 127.0.0.1
smtpd_helo_restrictions = ${relayhost ? {a} : {b} }
unknown_address_tempfail_action = ${ mydomain ? {defer} }
"""


def values(*argv):
    out = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    found = {}
    for line in out.splitlines():
        name, _, value = line.partition("=")
        found[name.strip()] = " ".join(value.split())
    return found


def run(env):
    kit.need("postconf")
    env.write("etc/master.cf", "")
    for level in ("0", "1", "2", "3.6", "3.10"):
        env.write("etc/main.cf", "compatibility_level = %s\n" % level + MAIN)
        theirs = values("postconf", "-c", env.path("etc"), "-x")
        ours = values(os.path.join(kit.BUILD, "src", "signet"), "conf", "-c", env.path("etc"), "-x")
        wrong = ["%s: Postfix has %r, Signet has %r" % (n, theirs[n], ours[n]) for n in sorted(theirs)
                 if n in ours and n not in OURS and theirs[n] != ours[n]]
        kit.check(not wrong, "level %s\n%s" % (level, "\n".join(wrong)))
        kit.check(len(set(theirs) & set(ours)) > 600, "only %d names in common" % len(set(theirs) & set(ours)))
