#!/usr/bin/env python3
"""List the C files of a folder for meson: sources.py DIR code|test|fuzz. Adding a file needs no list to be edited."""
import os
import sys

root, kind = sys.argv[1], sys.argv[2]
found = []
for folder, subfolders, names in os.walk(root):
    subfolders.sort()
    for name in sorted(names):
        if not name.endswith(".c"):
            continue
        which = "test" if name.endswith("_test.c") else "fuzz" if name.endswith("_fuzz.c") else "code"
        if which == kind:
            found.append(os.path.relpath(os.path.join(folder, name), root))
print("\n".join(found))
