#!/usr/bin/env python3
"""Checks who includes whom, and what a decision must not use.

Usage: check_layers.py ROOT          check the tree; exit 1 and name each violation
       check_layers.py --self-test   plant violations in a scratch tree; each must be found
"""
import pathlib
import re
import sys
import tempfile

# Folder -> the folders of ours that it may include. The longest matching prefix counts; a folder
# may always include itself. DESIGN.md, "Who may include whom".
ALLOWED = {
    "scheduler-core/base": [],
    "scheduler-core/config": ["scheduler-core/base"],
    "scheduler-core": ["scheduler-core/base", "topology"],
    "topology": ["scheduler-core/base"],
    "topology/files": ["scheduler-core/base", "scheduler-core/config", "topology"],
    "devices": ["scheduler-core", "scheduler-core/base", "scheduler-core/config", "topology"],
    "policies": ["scheduler-core", "scheduler-core/base", "topology"],
    "traces": ["scheduler-core/base", "devices"],
    "sim": ["scheduler-core", "scheduler-core/base", "traces", "topology"],
    "report": ["sim", "scheduler-core", "scheduler-core/base"],
    "adapters": ["scheduler-core", "scheduler-core/base", "scheduler-core/config", "topology",
                 "devices", "traces"],
}
EVERYTHING = ("cli", "bench", "test")  # may include all
OURS = sorted(set(ALLOWED) | set(EVERYTHING), key=len, reverse=True)

# No I/O, clock, YAML, gRPC or threads of its own in what decides and what simulates.
PURE = ("scheduler-core", "policies", "sim", "adapters/service")
NOT_PURE = ("scheduler-core/config",)
FORBIDDEN = re.compile(
    r"^(yaml-cpp/|grpc|grpcpp/|google/protobuf|tbb/|oneapi/|iostream$|fstream$|chrono$|ctime$|"
    r"time\.h$|sys/time\.h$|thread$|mutex$|future$|condition_variable$|filesystem$|random$)")
# yaml-cpp is known in these places only.
YAML_HOMES = ("scheduler-core/config", "topology/files", "devices", "cli", "test")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
RANGE_FOR = re.compile(r"\bfor\s*\((?:[^;()]|\([^()]*\))*?:\s*([^;]*)\)")
UNORDERED = re.compile(
    r"\b(?:std::unordered_(?:multi)?(?:map|set)|tsl::robin_(?:map|set))\s*<.*>\s*&?\s*(\w+)\s*[;{=,)]")


def owner(path):
    for folder in OURS:
        if path == folder or path.startswith(folder + "/"):
            return folder
    return None


def sources(root):
    for folder in sorted({f.split("/")[0] for f in OURS}):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".h", ".cc") and "node_modules" not in path.parts:
                yield path, path.relative_to(root).as_posix()


def check_includes(name, lines, found):
    here = owner(name)
    pure = name.startswith(tuple(p + "/" for p in PURE)) and not name.startswith(
        tuple(p + "/" for p in NOT_PURE))
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, target = match.groups()
        if quote == '"':
            there = owner(target)
            if there is None:
                if "/" not in target:
                    found.append(f"{name}:{number}: \"{target}\": write the path from the root")
            elif there != here and here not in EVERYTHING and there not in ALLOWED[here]:
                found.append(f"{name}:{number}: {here} may not include {there} (\"{target}\")")
        if pure and FORBIDDEN.match(target):
            found.append(f"{name}:{number}: <{target}> is forbidden here: no I/O, clock, YAML, "
                         "gRPC or threads")
        if target.startswith("yaml-cpp/") and not pure and not name.startswith(
                tuple(home + "/" for home in YAML_HOMES)):
            found.append(f"{name}:{number}: <{target}> belongs to {', '.join(YAML_HOMES)}")


def check_unordered_loops(name, lines, unordered_names, found):
    """A loop over an unordered container is legal only with a comment that says why its order
    does not matter, on the line or just above it."""
    for number, line in enumerate(lines, 1):
        for match in RANGE_FOR.finditer(line):
            loop_over = re.findall(r"\w+", match.group(1))
            if not loop_over or not any(word in unordered_names for word in loop_over[-1:]):
                continue
            above = lines[number - 2].strip() if number > 1 else ""
            if "//" not in line and not above.startswith("//"):
                found.append(f"{name}:{number}: loops over the unordered {loop_over[-1]} without "
                             "a comment that says why its order does not matter")


def check(root):
    found = []
    files = [(name, path.read_text(encoding="utf-8").splitlines()) for path, name in sources(root)]
    pure = [(name, lines) for name, lines in files if name.startswith(tuple(p + "/" for p in PURE))]
    # A member declared in the header is looped over in the .cc: names count for files of one stem.
    unordered = {}
    for name, lines in pure:
        for line in lines:
            for match in UNORDERED.finditer(line):
                unordered.setdefault(name.rsplit(".", 1)[0], set()).add(match.group(1))
    for name, lines in files:
        check_includes(name, lines, found)
    for name, lines in pure:
        folder = name.rsplit("/", 1)[0]
        names = set()
        for stem, members in unordered.items():  # members of a class may be used across its folder
            if stem.rsplit("/", 1)[0] == folder:
                names |= {m for m in members if m.endswith("_")}
            if stem == name.rsplit(".", 1)[0]:
                names |= members
        check_unordered_loops(name, lines, names, found)
    return found, len(files)


PLANTED = {
    "policies/uses_sim.cc": ('#include "sim/simulator.h"\n', "policies may not include sim"),
    "scheduler-core/base/up.h": ('#include "scheduler-core/engine/engine.h"\n',
                                 "scheduler-core/base may not include scheduler-core"),
    "scheduler-core/cluster/c.cc": ('#include "scheduler-core/config/options.h"\n',
                                    "may not include scheduler-core/config"),
    "topology/t.cc": ('#include "policies/builtin.h"\n', "topology may not include policies"),
    "sim/p.cc": ('#include "policies/builtin.h"\n', "sim may not include policies"),
    "traces/t.h": ('#include "scheduler-core/cluster/state.h"\n',
                   "traces may not include scheduler-core"),
    "report/r.cc": ('#include "cli/main.h"\n', "report may not include cli"),
    "policies/y.cc": ("#include <yaml-cpp/yaml.h>\n", "<yaml-cpp/yaml.h> is forbidden"),
    "traces/y.cc": ("#include <yaml-cpp/yaml.h>\n", "<yaml-cpp/yaml.h> belongs to"),
    "scheduler-core/engine/clock.cc": ("#include <chrono>\n", "<chrono> is forbidden"),
    "sim/t.cc": ("  #  include <thread>\n", "<thread> is forbidden"),
    "sim/io.cc": ("#include <iostream>\n", "<iostream> is forbidden"),
    "policies/bare.cc": ('#include "builtin.h"\n', "write the path from the root"),
    "sim/loop.cc": ("std::unordered_map<int, int> counts;\nfor (auto& [k, v] : counts) {\n",
                    "loops over the unordered counts"),
    "scheduler-core/engine/e.h": ("tsl::robin_map<PodUid, std::uint32_t, UidHash> by_it_;\n", None),
    "scheduler-core/engine/e.cc": ("for (const auto& [a, b] : by_it_) {\n",
                                   "loops over the unordered by_it_"),
    # Legal ones, which must not be reported.
    "scheduler-core/engine/ok.cc": ("for (const auto& [a, b] : by_it_) {  // a sum: order-free\n",
                                    None),
    "scheduler-core/config/ok.cc": ("#include <yaml-cpp/yaml.h>\n", None),
    "cli/ok.cc": ('#include "sim/simulator.h"\n#include <chrono>\n', None),
    "adapters/service/clock.cc": ("#include <chrono>\n", "<chrono> is forbidden"),
    "adapters/store/ok.cc": ("#include <mutex>\n", None),
    "sim/ok.cc": ('#include "traces/trace.h"\n#include "topology/card_set.h"\n#include <map>\n',
                  None),
}


def self_test():
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        for name, (text, _) in PLANTED.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        found, _ = check(root)
    failures = []
    for name, (_, expected) in PLANTED.items():
        reports = [line for line in found if line.startswith(name + ":")]
        if expected is None and reports:
            failures.append(f"reported without cause: {reports}")
        if expected is not None and not any(expected in line for line in reports):
            failures.append(f"{name}: expected \"{expected}\", reported {reports}")
    for failure in failures:
        print(failure)
    print(f"self-test: {len(PLANTED)} planted files, {len(failures)} failures")
    return 1 if failures else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    found, count = check(pathlib.Path(sys.argv[1]))
    for line in found:
        print(line)
    print(f"{count} files, {len(found)} violations")
    if count < 50:
        print("too few files: is this the root of the source tree?")
        return 2
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
