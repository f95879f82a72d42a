"""signet tls explain --client: which entry a client gets, what it demands, what a certificate would be here, what restrictions would say."""
import json
import re

import kit


def run(env):
    kit.need("openssl")
    kit.sh("ip", "route", "add", "local", "198.18.0.0/24", "dev", "lo")
    cert, key = env.cert("mx.test")
    partner, foreign = env.cert("mx.partner.example"), env.cert("mx.partner.example", ca="other")
    server_only = env.cert("mx.partner.example", eku="serverAuth")
    env.dns(["11.0.18.198.in-addr.arpa. PTR mx.partner.example.", "mx.partner.example. A 198.18.0.11"])
    table = env.write("mx/etc/policy", "mx.partner.example verify match=hostname bits=128 action=5xx\n198.18.0.12 secure\n198.18.0.13 none\n2001:db8::7 encrypt bits=256\n"
                      "sni=submit.example verify action=5xx\nsni=bad.example none\n")
    senders = env.write("senders", "partner.example tls_require verify match=mx.partner.example action=5xx\nclass.example needs_cert\nboss@class.example REJECT forged\n"
                        "typo.example tls_require verified\n<> tls_require encrypt bits=512\n")
    wrapped = "127.0.0.1:465 inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n127.0.0.1:2525 inet n - n - - smtpd -o smtpd_tls_security_level=none\n"
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_CAfile = %s\nsmtpd_tls_ask_ccert = yes\n"
                   "smtpd_tls_policy_maps = texthash:%s\nrelay_clientcerts = inline:{ { %s = x } }\n"
                   "smtpd_client_restrictions = reject_plaintext_session\nsmtpd_sender_restrictions = tls_require { encrypt bits=512 }, check_sender_access texthash:%s, by_class\n"
                   "smtpd_restriction_classes = needs_cert, by_class\nneeds_cert = permit_tls_all_clientcerts, tls_require { verify match=other.example }\n"
                   "by_class = inline:{ { odd.example = tls_require encrypt } }\n"
                   "smtpd_relay_restrictions = permit_tls_clientcerts, permit_tls_all_clientcerts, check_ccert_access { inline:{ { mx.partner.example = REJECT gone } } "
                   "{ search_order = san_dns } }, reject\n%s" % (cert, key, env.ca(), table, env.fingerprint(foreign[0]), senders, env.dns_params), kit.MASTER_CF.format(smtp="127.0.0.1:25") + wrapped)

    def explain(*args, **kw):
        return s.cli("tls", "explain", "--client", *args, **kw)

    out = explain("198.18.0.11", "--cert", partner[0])
    for line in (r"^client: +mx\.partner\.example\[198\.18\.0\.11\] \(name confirmed by DNS\)$", r"^entry: +%s:1: mx\.partner\.example  verify match=hostname" % re.escape(table),
                 r"^handshake: +TLS is demanded; a certificate is asked for$", r"^certificate: +Trusted, by /CN=Test\+20ca$", r"^ +issuer /CN=Test\+20ca$",
                 r"^in clear: +refused at MAIL: 554 5\.7\.0 encryption required", r"^with TLS: +accepted$", r"^ +- match: mx\.partner\.example$",
                 r"^smtpd_client_restrictions: reject_plaintext_session says nothing$", r"^smtpd_sender_restrictions: tls_require .* refuses: 454 4\.7\.0 .*too weak 256 less than 512",
                 r"^smtpd_relay_restrictions: permit_tls_clientcerts says nothing$", r"^smtpd_relay_restrictions: permit_tls_all_clientcerts permits$",
                 r"^smtpd_relay_restrictions: check_ccert_access .* refuses: 554 5\.7\.1 .*gone$"):
        kit.check(re.search(line, out, re.M), "no line /%s/ in\n%s" % (line, out))
    # what tables demand of senders: named without one, judged with one
    names = [line for line in out.splitlines() if "may demand more of particular senders: --sender ADDRESS shows it" in line]
    kit.check(len(names) == 2 and names[0].startswith("smtpd_sender_restrictions: check_sender_access texthash:%s may" % senders) and "check_access inline:" in names[1], out)

    def of_sender(sender, *args):
        got = explain("198.18.0.11", "--sender", sender, *args)
        kit.check("--sender ADDRESS" not in got, got)
        kit.check(json.loads(explain("198.18.0.11", "--json", "--sender", sender))["sender"] == sender.strip("<>"), sender)
        m = re.search(r"^smtpd_sender_restrictions: check_sender_access \S+ (.*)(?:\n +(%s.*))?$" % re.escape(senders), got, re.M)
        return m.group(1), (m.group(2) or "").replace(senders, "")

    demand = ":1: tls_require verify match=mx.partner.example action=5xx"
    kit.check(of_sender("a@partner.example", "--cert", partner[0]) == ("is satisfied", demand), of_sender("a@partner.example", "--cert", partner[0]))
    for args, words in (((), "no client certificate was presented"), (("--cert", foreign[0]), "the client certificate is not trusted")):
        said, entry = of_sender("<A@Partner.Example>", *args)
        kit.check(said.startswith("refuses: 554 5.7.0 <A@Partner.Example>: Sender address rejected: ") and entry == demand, (said, entry))
    kit.check(of_sender("a@class.example", "--cert", partner[0]) == ("permits", ":2: needs_cert"), "a class permits")
    said, entry = of_sender("a@class.example")
    kit.check(said.startswith("refuses: 454 4.7.0 ") and entry == ":2: needs_cert", (said, entry))
    kit.check(of_sender("boss@class.example")[0].startswith("refuses: 554 5.7.1 "), "any action")
    kit.check(of_sender("a@typo.example")[0].startswith("refuses: 451 4.3.5 "), "an entry that cannot be understood defers: %s" % (of_sender("a@typo.example"),))
    kit.check(of_sender("a@else.example") == ("has no entry for this sender", ""), "no entry")
    kit.check("too weak 256 less than 512" in of_sender("<>")[0], "the null sender")
    rows = {r.get("argument"): r for r in json.loads(explain("198.18.0.11", "--json", "--sender", "a@partner.example", "--cert", partner[0]))["restrictions"]}
    kit.check(rows["texthash:" + senders]["says"] == "is satisfied" and rows["texthash:" + senders]["entry"] == {"source": senders + ":1", "value": demand[4:]}, rows)
    kit.check("entry" not in rows["inline:{ { odd.example = tls_require encrypt } }"], rows)
    kit.check("tls_require encrypt" in explain("198.18.0.11", "--sender", "a@odd.example"), "a table in a class")
    kit.check("no address such as user@example.com" in explain("198.18.0.11", "--sender", "nobody", check_status=False), "usage")
    out = explain("198.18.0.11", "--cert", foreign[0])
    kit.check(re.search(r"^certificate: +Untrusted, .*issuer", out, re.M) and re.search(r"^with TLS: +refused at MAIL: 554 5\.7\.0 authentication failed", out, re.M), out)
    kit.check("permit_tls_clientcerts permits" in out and "permit_tls_all_clientcerts permits" in out, "listed by fingerprint: %s" % out)
    kit.check(re.search(r"Untrusted, .*purpose", explain("198.18.0.11", "--cert", server_only[0])), "a server's certificate")
    out = explain("198.18.0.11", "--bits", "112", "--name", "mx.partner.example")
    kit.check("encryption too weak 112 less than 128" in out and "permit_tls_clientcerts says nothing" in out, out)
    kit.check("cannot be understood: " in explain("198.18.0.12") and "STARTTLS is not offered" in explain("198.18.0.13"), "bad and none")
    kit.check("entry:        none; smtpd_tls_security_level = may decides" in explain("198.18.0.99", "--name", "else.example"), "no entry")
    # what cannot be is said to be so, and the restrictions judge what is left
    for args in (("198.18.0.13",), ("198.18.0.99", "--name", "else.example", "--service", "127.0.0.1:2525")):
        out = explain(*args)
        kit.check("with TLS:     not possible: STARTTLS is not offered" in out and "reject_plaintext_session refuses: 450 4.7.1" in out, out)
    out = explain("198.18.0.11", "--service", "127.0.0.1:465")
    kit.check("in clear:     not possible: this service begins with TLS" in out and "with TLS:     refused at MAIL" in out, out)
    o = json.loads(explain("198.18.0.13", "--json"))
    kit.check(o["with_tls"] is None and o["in_clear"]["accepted"], o)
    # an address is what the server would write, however it is given
    for address in ("2001:db8::7", "2001:0DB8:0:0::0007", "[2001:db8::7]", "IPv6:2001:db8::7"):
        out = explain(address, "--name", "else.example")
        kit.check("client:       else.example[2001:db8::7] " in out and "2001:db8::7  encrypt bits=256" in out, "%s: %s" % (address, out))
    kit.check("198.18.0.13  none" in explain("::ffff:198.18.0.13"), "IPv4 in an IPv6 address")
    kit.check("/nonexistent: No such file or directory" in explain("198.18.0.1", "--cert", "/nonexistent", check_status=False), "a certificate that is not there")
    # by the server name that the client asks for: in clear there is none
    out = explain("198.18.0.99", "--name", "else.example", "--sni", "Submit.example")
    kit.check(re.search(r"^entry: +%s:5: sni=submit\.example  verify action=5xx$" % re.escape(table), out, re.M) and re.search(r"^handshake: .*a certificate is asked for$", out, re.M) and
              re.search(r"^with TLS: +refused at MAIL: 554 5\.7\.0 authentication required", out, re.M) and not re.search(r"^in clear: +refused", out, re.M), out)
    kit.check("cannot be understood: a client that asks" in explain("198.18.0.99", "--name", "else.example", "--sni", "bad.example"), "none behind a server name")
    kit.check("mx.partner.example  verify" in explain("198.18.0.11", "--sni", "submit.example"), "the client's own name comes first")
    # the same for programs
    o = json.loads(explain("198.18.0.11", "--json", "--cert", partner[0]))
    kit.check((o["name"], o["name_source"], o["level"], o["asks_certificate"]) == ("mx.partner.example", "confirmed by DNS", "verify", True), o)
    kit.check(o["entry"] == {"key": "mx.partner.example", "value": "verify match=hostname bits=128 action=5xx", "source": table + ":1", "usable": True}, o)
    kit.check(o["certificate"]["trusted"] and o["certificate"]["cert_fingerprint"] == env.fingerprint(partner[0]), o)
    kit.check(not o["in_clear"]["accepted"] and o["in_clear"]["code"] == 554 and o["in_clear"]["dsn"] == "5.7.0" and o["with_tls"]["accepted"], o)
    kit.check({"rule": "match", "result": "mx.partner.example"} in o["with_tls"]["steps"], o)
    says = {r["word"]: r["says"] for r in o["restrictions"]}
    kit.check(says["reject_plaintext_session"] == "says nothing" and says["permit_tls_all_clientcerts"] == "permits" and "too weak 256" in says["tls_require"], o)
    o = json.loads(s.cli("tls", "explain", "--json", "--client", "198.18.0.12"))
    kit.check(not o["entry"]["usable"] and "secure" in o["entry"]["reason"] and o["certificate"] is None and "with_tls" not in o, o)
    o = json.loads(explain("198.18.0.99", "--name", "else.example", "--json"))
    kit.check(o["entry"] is None and o["level"] == "may", o)
    kit.check("not-an-address: no IP address" in explain("not-an-address", check_status=False) and "no certificate in PEM" in explain("198.18.0.1", "--cert", table, check_status=False), "usage")
    s.stop()
