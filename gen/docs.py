#!/usr/bin/env python3
"""Check the documents: HACKING.md names every folder of the source, every verb of `signet` has a man page, the parameters' man page
names every parameter. docs.py BUILD"""
import os
import re
import subprocess
import sys

build = sys.argv[1]
bad = []
hacking = open("HACKING.md").read()
folders = ["src/lib/" + d for d in sorted(os.listdir("src/lib"))] + ["src/role/" + d for d in sorted(os.listdir("src/role")) if os.path.isdir("src/role/" + d)]
folders += ["src/bin", "table", "gen", "doc/man", "doc/design"] + ["tests/" + d for d in sorted(os.listdir("tests")) if os.path.isdir("tests/" + d)]
for f in folders:
    if f not in hacking:
        bad.append("HACKING.md does not name %s" % f)
out = subprocess.run([os.path.join(build, "src", "signet"), "--help"], stdout=subprocess.PIPE, text=True).stdout
verbs = re.findall(r"^  (\w+) ", out, re.M)
if len(verbs) < 5:
    bad.append("signet --help names %d verbs" % len(verbs))
for v in verbs:
    page = "doc/man/signet-%s.1" % v
    if not os.path.exists(page):
        bad.append("no man page %s" % page)
    elif v not in open(page).read():
        bad.append("%s does not speak of %s" % (page, v))
for page in ("doc/man/signetd.8", "doc/man/signet.1"):
    if not os.path.exists(page):
        bad.append("no man page %s" % page)
conf_page = subprocess.run(["find", build, "-name", "signet.conf.5"], stdout=subprocess.PIPE, text=True).stdout.split()
text = open(conf_page[0]).read().replace("\\-", "-").replace("\\", "") if conf_page else ""
for line in open("table/params.tab"):
    if line.strip() and line[0] not in "# \t" and not line.startswith("nomirror"):
        name = line.split()[0]
        if name not in text:
            bad.append("signet.conf.5 does not name %s" % name)
if bad:
    print("\n".join(bad[:60]))
    sys.exit(1)
