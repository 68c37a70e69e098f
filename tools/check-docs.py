#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# Compares the documents with the source: what they say that LUO logs with what it
# logs, and the functions, types and other names that they mention with those that
# there are, here or in the kernel tree.
#
# usage: check-docs.py TREE

import re
import sys
from pathlib import Path

repo = Path(__file__).resolve().parent.parent
tree = Path(sys.argv[1])
documents = [repo / "README.md", *sorted((repo / "Documentation").glob("*.rst"))]
production = [*sorted(repo.glob("*.rs")), *sorted(repo.glob("abi/*.rs"))]
wrong = []


def read(path):
    return path.read_text(errors="replace")


def shape(message):
    """A message without what differs from one time to the next."""
    message = re.sub(r"\{[^}]*\}", "*", message)
    return re.sub(r"\b(?:[A-Z]+|\d+)\b", "*", message)


# The log.
call = re.compile(r'pr_(?:err|warn|notice|info)!\(\s*"((?:[^"\\]|\\.)*?)\\n"')
# What is told to others besides the log is formatted by itself.
formatted = re.compile(r'fmt!\(\s*"(refused (?:[^"\\]|\\.)*?)"')
logged = {}
for path in production:
    for message in call.findall(read(path)) + formatted.findall(read(path)):
        logged[shape(message)] = path
# What is read before there is any Rust is told by C.
for path in repo.glob("luo*_glue.c"):
    for message in re.findall(r'pr_(?:err|warn)\("luo\w*: ((?:[^"\\]|\\.)*?)\\n"', read(path)):
        logged[shape(message.replace("%s", "*"))] = path
logged.pop("*", None)
section = read(repo / "Documentation/overview.rst").partition("Log lines\n=====")[2]
listed = {shape(line): line for line in re.findall(r"^``(.*)``$", section, re.M)}
wrong += [f"{path.name} logs what overview.rst does not list: {message}"
          for message, path in logged.items() if message not in listed]
wrong += [f"overview.rst lists what nobody logs: {line}"
          for message, line in listed.items() if message not in logged]

# The names.
ours = [path for pattern in ("*.rs", "*.[ch]", "*.sh", "Makefile*", "Kbuild", "*.config")
        for path in repo.rglob(pattern)
        if not {"build", "target", "linux"} & set(path.relative_to(repo).parts)]
theirs = [tree / path for path in ("kernel/kexec_core.c", "kernel/kexec_file.c", "kernel/kexec.c",
                                   "mm/memfd_luo.c", "mm/memblock.c", "lib/tests/liveupdate.c")]
for directory in ("kernel/liveupdate", "include/linux", "include/uapi/linux"):
    theirs += (tree / directory).glob("*.[ch]")
known = {word for path in [*ours, *theirs] for word in re.findall(r"\w+", read(path))}
name = re.compile(r"\b([A-Za-z_]\w*(?:::[A-Za-z_]\w*)*)\(\)|\b(luo_[a-z0-9_]*[a-z0-9])\b(?!\*)")
for path in documents:
    for number, line in enumerate(read(path).splitlines(), 1):
        for function, other in name.findall(line):
            parts = (function or other).split("::")
            unknown = [part for part in parts if part not in known]
            if unknown:
                wrong.append(f"{path.name}:{number}: there is no {unknown[0]}")

print("\n".join(wrong))
sys.exit(bool(wrong))
