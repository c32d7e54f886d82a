"""Every output format of every command parses."""
import csv
import io
import json
import re
import unittest

from harness import HAMI, SMALL, Case, basalt

HEX32 = re.compile(r"^[0-9a-f]{32}$")


def markdown_tables(test, text):
    """Each table: a header, a rule, rows, all of the same number of cells."""
    tables = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = [l for l in block.split("\n") if l.startswith("|")]
        cells = [re.split(r"(?<!\\)\|", l)[1:-1] for l in lines]
        test.assertGreaterEqual(len(cells), 2, block)
        test.assertEqual({len(c) for c in cells}, {len(cells[0])}, block)
        for rule in cells[1]:
            test.assertRegex(rule, r"^-+:?$")
        tables.append([[c.strip() for c in row] for row in cells])
    return tables


def csv_rows(test, text):
    rows = list(csv.reader(io.StringIO(text), strict=True))
    test.assertEqual({len(r) for r in rows}, {len(rows[0])})
    return rows


class Formats(Case):
    def all_formats(self, args, csv_header, md_header=None, code=0):
        answers = {}
        for name in ["table", "json", "csv", "markdown"]:
            answer = basalt(*args, "-o", name)
            self.assertEqual(answer.code, code, answer)
            # Wrong traces are told on stderr in the table format, the one for people.
            if not (code == 2 and name == "table"):
                self.assertTrue(answer.out.endswith("\n"), answer)
            answers[name] = answer.out
        data = json.loads(answers["json"])
        rows = csv_rows(self, answers["csv"])
        self.assertEqual(rows[0], csv_header)
        tables = markdown_tables(self, answers["markdown"])
        self.assertEqual(tables[0][0], md_header or csv_header)
        self.assertNotIn("\t", answers["table"])
        return data, rows, tables

    def test_sim(self):
        for mode, x in [("saturation", "arrived_pct"), ("replay", "hours")]:
            data, rows, tables = self.all_formats(
                ["sim", *SMALL, "--policy", "fgd,random", "--seeds", "1-2", "--mode", mode],
                ["trace", "policy", "seed", x, "allocation_pct", "fragmentation_pct",
                 "fragmentation_ratio_pct", "no_card_fits_gpus", "cpu_short_gpus", "both_gpus",
                 "model_not_allowed_gpus", "dust_gpus", "cpu_only_gpus", "idle_cards",
                 "idle_nodes", "digest", "cpu_seconds"],
                ["trace", "policy", "seed", "arrivals", "placed"] +
                (["alloc % @100", "alloc % end", "stranded % @100", "stranded % end",
                  "idle cards end", "failed", "cpu s", "digest"] if mode == "saturation" else
                 ["alloc % mean", "stranded % mean", "idle cards mean", "wait s mean",
                  "wait s p95", "jct s mean", "failed", "cpu s", "digest"]))
            self.assertEqual(len(data), 4)
            self.assertEqual(len(tables), 2)
            self.assertEqual(len(tables[0]), 2 + 4)
            # The CSV is the JSON's series, row by row.
            for run in data:
                mine = [r for r in rows[1:] if r[1] == run["policy"] and r[2] == str(run["seed"])]
                self.assertEqual(len(mine), len(run[x]))
                for i, row in enumerate(mine):
                    for column, key in [(3, x), (4, "allocation_pct"), (5, "fragmentation_pct")]:
                        value = run[key][i]
                        self.assertEqual(row[column] == "", value is None)
                        if value is not None:
                            self.assertAlmostEqual(float(row[column]), value, places=9)
                    self.assertEqual(row[15], run["digest"])

    def test_sim_failures(self):
        data, rows, _ = self.all_formats(
            ["sim", *SMALL, "--failures"],
            ["policy", "seed", "shape", "failed", "GPUs", "outcome", "why (at the end)"])
        self.assertGreater(len(rows), 1)
        self.assertEqual(sum(int(r[3]) for r in rows[1:]), data[0]["failed"])
        self.assertEqual({r[5] for r in rows[1:]} - {"Wait", "Infeasible"}, set())

    def test_scenario(self):
        self.all_formats(["sim", "--scenario", HAMI],
                         ["arm", "pods placed", "waiting", "cards taken", "cells needed",
                          "cells stranded", "cells schedulable"])

    def test_explain(self):
        data, rows, _ = self.all_formats(
            ["explain", *SMALL, "--request", "gpus=1,milli=100"],
            ["place", "node", "model", "score", "cards", "free milli by card"])
        self.assertEqual([b["node"] for b in data["best"]], [r[1] for r in rows[1:]])
        data, rows, _ = self.all_formats(["explain", *SMALL, "--request", "gpus=64"],
                                         ["nodes", "reason", "text"])
        self.assertEqual([[str(c["nodes"]), c["reason"], c["text"]] for c in data["counts"]],
                         rows[1:])

    def test_snapshots(self):
        state, journal = self.dir / "s", self.dir / "j"
        for args in [["make", *SMALL, "--out", state, "--journal", journal], ["show", state],
                     ["recover", journal]]:
            data, rows, _ = self.all_formats(["snapshot", *args], ["what", "value"])
            self.assertRegex(data["state_digest"], HEX32)
            self.assertIn(["state digest", data["state_digest"]], rows)
        data, rows, _ = self.all_formats(
            ["snapshot", "replay", journal],
            ["decisions", "different", "first difference", "state digest"])
        self.assertEqual(rows[1][:3], [str(data["decisions"]), "0", "-"])

    def test_trace_check(self):
        self.ok("trace", "generate", "--nodes", 5, "--pods", 20, "--out", self.dir / "t")
        data, rows, _ = self.all_formats(["trace", "check", self.dir / "t"], ["where", "what"])
        self.assertEqual((data, len(rows)), ({"ok": True, "total": 0, "errors": []}, 1))
        nodes = self.dir / "t/nodes.csv"
        nodes.write_text(nodes.read_text().replace(",8,", ",-8,").replace(",4,", ",x,"))
        data, rows, _ = self.all_formats(["trace", "check", self.dir / "t"], ["where", "what"],
                                         code=2)
        self.assertEqual([[e["where"], e["what"]] for e in data["errors"]], rows[1:])
        self.assertEqual(data["total"], len(data["errors"]))

    def test_bench(self):
        suite = self.file("s.yaml", "cases:\n  - {name: a, policy: fgd, nodes: 10, pods: 50}\n")
        golden = self.dir / "g.json"
        self.ok("bench", "--suite", suite, "--golden", golden, "--accept", "--reason", "new")
        args = ["bench", "--suite", suite, "--golden", golden]
        header = ["case", "figure", "golden", "now"]
        data, rows, _ = self.all_formats(args, header)
        self.assertEqual((data["passed"], data["changed"], len(rows)), (True, [], 1))
        golden.write_text(golden.read_text().replace('"failed": ', '"failed": 1'))
        data, rows, _ = self.all_formats(args, header, code=1)
        self.assertFalse(data["passed"])
        self.assertEqual(len(data["changed"]), len(rows) - 1)

    def test_awkward_names_survive(self):
        # Quotes, commas and bars in names: CSV quotes them, Markdown escapes them.
        scenario = self.file("s.yaml", HAMI.read_text().replace(
            "name: Whole cards", "name: 'a,\"b\"|c'"))
        text = self.ok("sim", "--scenario", scenario, "-o", "csv").out
        self.assertEqual(csv_rows(self, text)[1][0], 'a,"b"|c')
        table = markdown_tables(self, self.ok("sim", "--scenario", scenario, "-o", "markdown").out)
        self.assertEqual(table[0][2][0], 'a,"b"\\|c')
        text = self.ok("sim", "--scenario", scenario, "-o", "json").out
        self.assertEqual(json.loads(text)["arms"][0]["arm"], 'a,"b"|c')


if __name__ == "__main__":
    unittest.main()
