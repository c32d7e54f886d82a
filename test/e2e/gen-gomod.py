#!/usr/bin/env python3
"""Writes a go.mod that builds Kubernetes commands from published modules.

  gen-gomod.py MODULE KUBERNETES_VERSION [MODULE@VERSION]... ['OLD=>NEW@VERSION' | 'OLD=>./DIR']...

Kubernetes' own go.mod replaces its 31 libraries by folders of its repository, and replaces of a
dependency are ignored: each is replaced here by the published version of the same release
(v1.34.1 is v0.34.1). The same list is in every module that imports k8s.io/kubernetes, so that one
build cache serves all of them. Run `go mod tidy` after it.
"""
import json
import re
import subprocess
import sys
import tempfile


def main():
    module, version = sys.argv[1:3]
    extra = sys.argv[3:]
    download = subprocess.run(
        ["go", "mod", "download", "-json", f"k8s.io/kubernetes@{version}"],
        check=True, capture_output=True, text=True,
        cwd=tempfile.gettempdir())  # here is a go.mod that is being written
    with open(json.loads(download.stdout)["GoMod"], encoding="utf-8") as file:
        text = file.read()
    staged = re.findall(r"^\s*(\S+) => \./staging/src/\S+$", text, re.M)
    library = version.replace("v1.", "v0.", 1)

    requires = [f"k8s.io/kubernetes {version}"]
    replaces = [f"k8s.io/kubernetes => k8s.io/kubernetes {version}"]
    replaces += [f"{name} => {name} {library}" for name in sorted(staged)]
    for item in extra:
        if "=>" in item:
            old, new = item.split("=>")
            replaces.append(f"{old} => {new.replace('@', ' ')}")
        else:
            requires.append(item.replace("@", " "))

    print(f"module {module}\n\ngo 1.24.0\n\ngodebug default=go1.24\n")
    print("require (\n\t" + "\n\t".join(requires) + "\n)\n")
    print("replace (\n\t" + "\n\t".join(replaces) + "\n)")


if __name__ == "__main__":
    main()
