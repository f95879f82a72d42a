"""Signet's SMTP server beside Postfix 3.10: one main.cf for both, services of master.cf with something of their own, the same client."""
import kit

POSTFIX, SIGNET, CLIENT = "127.0.0.3", "127.0.0.1", "127.0.0.9"
MAIN = """\
myhostname = mta.test
local_transport = discard:
relay_domains = dest.test
relay_transport = discard:
default_transport = discard:
mynetworks = 127.0.0.1/32
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_error_sleep_time = 0
smtpd_banner = $myhostname ESMTP
smtpd_client_connection_count_limit = 0
smtpd_client_event_limit_exceptions =
"""


def ports(services, first):
    """Of each service, by its name."""
    return {name: first + i for i, name in enumerate(services)}


def master_cf(host, services, port):
    """`services`: name -> "parameter = value; parameter = value"."""
    return "".join("%s:%d inet n - n - - smtpd\n%s" % (host, port[name], "".join("  -o { %s }\n" % o for o in own.split("; ") if o))
                   for name, own in services.items())


def both(env, main_cf, services, port):
    """A Postfix and a Signet with this behind MAIN, and these services."""
    postfix = env.postfix("pf", MAIN + main_cf, master_cf(POSTFIX, services, port), smtp=POSTFIX + ":25")
    return postfix, env.signet("mta", MAIN + main_cf, kit.MASTER_CF.format(smtp=SIGNET + ":25") + master_cf(SIGNET, services, port))
