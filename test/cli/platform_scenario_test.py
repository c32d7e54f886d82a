"""Platform scenarios: the four examples, what moves their results, and files that are wrong."""
import csv
import io
import json
import re
import unittest

from harness import SOURCE, Case

EXAMPLES = SOURCE / "examples"
NAMES = ["hami-slicing", "daocloud-drun", "sf-effectivegpu", "driving-pools"]

# Eight cards, one service that everything depends on, and two arms.
SMALL = """\
scenario: small
document: none
horizon: 2d
clusters:
  - name: lab
    groups:
      - {name: a100, nodes: 2, cards: 4, model: A100, cpu: 64, memory: 256GiB,
         price: {billing: owned, card_hour: 2}}
tenants:
  - {name: team, department: research}
skus:
  - {name: third, compute: 33%, memory: 12GiB, cpu: 2}
services:
  - name: chat
    tenant: team
    offers: [{sku: third}]
    use: 33%
    replicas_max: 6
    replicas_min: 6
training:
  - name: jobs
    tenant: team
    offers: [{sku: third}]
    use: 33%
    jobs_per_hour: 2
    duration: exponential(1h)
arms:
  - {name: whole, set: {skus.*.compute: 100%}}
  - {name: slices}
claims:
  - {text: slices take fewer cards, metric: "touched[slices] / touched[whole]", holds: "< 0.6"}
  - {text: nonsense, metric: "utilization[slices]", holds: "> 100"}
assumptions:
  - {name: jobs, key: training.jobs.jobs_per_hour, source: ours}
"""


class Platform(Case):
    def run_text(self, text):
        path = self.file("s.yaml", text)
        return json.loads(self.ok("sim", "--scenario", path, "-o", "json", timeout=120).out)

    @staticmethod
    def figure(data, key, arm):
        index = [a["name"] for a in data["arms"]].index(arm)
        return next(f for f in data["figures"] if f["key"] == key)["values"][index]


class Small(Platform):
    def test_arms_share_the_demand_and_differ_in_cards(self):
        data = self.run_text(SMALL)
        whole, slices = data["arms"]
        self.assertEqual(whole["demand_digest"], slices["demand_digest"])
        # Six replicas of 33 % that always work: 6 x 0.33 x 48 h of service in both arms.
        for arm in (whole, slices):
            chat = arm["workloads"][0]
            self.assertEqual(chat["name"], "chat")
            self.assertAlmostEqual(chat["served_gpu_hours"], 6 * 0.33 * 48, delta=0.5)
        # A card each, against three to a card.
        self.assertGreater(self.figure(data, "touched", "whole"), 75)
        self.assertLess(self.figure(data, "touched", "slices"), 60)
        self.assertAlmostEqual(self.figure(data, "cost_month", "whole"), 8 * 2 * 730, delta=1)
        self.assertEqual([c["verdict"] for c in data["claims"]], ["holds", "does not hold"])
        self.assertAlmostEqual(data["claims"][0]["value"],
                               self.figure(data, "touched", "slices") /
                               self.figure(data, "touched", "whole"), places=6)
        self.assertEqual(data["assumptions"][0]["value"], "2")

    def test_utilization_is_served_over_capacity(self):
        data = self.run_text(SMALL)
        for arm in data["arms"]:
            served = sum(w["served_gpu_hours"] for w in arm["workloads"])
            self.assertAlmostEqual(self.figure(data, "utilization", arm["name"]),
                                   100 * served / (8 * 48), places=3)

    def test_the_same_file_gives_the_same_output(self):
        path = self.file("s.yaml", SMALL)
        first = self.ok("sim", "--scenario", path, "-o", "json").out
        self.assertEqual(first, self.ok("sim", "--scenario", path, "-o", "json").out)

    def test_an_arm_is_the_file_with_that_key(self):
        by_arm = self.run_text(SMALL)
        by_hand = self.run_text(SMALL.replace("compute: 33%, memory", "compute: 100%, memory"))
        self.assertEqual(by_arm["arms"][0]["digest"], by_hand["arms"][1]["digest"])
        self.assertNotEqual(by_arm["arms"][1]["digest"], by_hand["arms"][1]["digest"])

    def test_results_move_with_an_assumption(self):
        few = self.run_text(SMALL)
        many = self.run_text(SMALL.replace("jobs_per_hour: 2", "jobs_per_hour: 6"))
        self.assertGreater(self.figure(many, "utilization", "slices"),
                           self.figure(few, "utilization", "slices") + 5)
        self.assertEqual(many["assumptions"][0]["value"], "6")
        idle = self.run_text(SMALL.replace("use: 33%\n    replicas_max", "use: 10%\n    replicas_max"))
        self.assertLess(self.figure(idle, "utilization", "slices"),
                        self.figure(few, "utilization", "slices") - 5)

    def test_sweep(self):
        data = self.run_text(SMALL + "sweep: {key: load.inference, values: [20%, 80%], "
                                     "arms: [slices]}\n")
        names = [a["name"] for a in data["arms"]]
        self.assertEqual(names, ["whole", "slices", "slices, inference 20%",
                                 "slices, inference 80%"])
        self.assertEqual([a["swept"] for a in data["arms"]], [False, False, True, True])
        for arm, share in [("slices, inference 20%", 0.2), ("slices, inference 80%", 0.8)]:
            rows = {w["name"]: w for w in data["arms"][names.index(arm)]["workloads"]}
            of = rows["chat"]["served_gpu_hours"]
            # Replicas are whole and jobs are drawn, so the share is met roughly.
            self.assertAlmostEqual(of / (of + rows["jobs"]["served_gpu_hours"]), share, delta=0.15)

    def test_equal_service(self):
        data = self.run_text(SMALL + "equal_service: true\n")
        whole = self.figure(data, "cards_needed", "whole")
        slices = self.figure(data, "cards_needed", "slices")
        self.assertLessEqual(slices, whole)
        self.assertLessEqual(slices, 4)
        self.assertGreaterEqual(slices, 3)  # six replicas, three to a card, and the jobs
        for arm in data["arms"]:
            search = arm["equal_service"]
            self.assertTrue(search["found"])
            self.assertTrue(any(t["equal"] and t["cards"] == search["cards"]
                                for t in search["tried"]))

    def test_forms(self):
        path = self.file("s.yaml", SMALL)
        table = self.ok("sim", "--scenario", path).out
        self.assertRegex(table, r"utilization: served work / capacity +% +\d+\.\d +\d+\.\d\n")
        self.assertRegex(table, r"slices take fewer cards +< 0\.6 +0\.\d .*holds\n")
        rows = list(csv.DictReader(io.StringIO(
            self.ok("sim", "--scenario", path, "-o", "csv").out)))
        self.assertEqual([r["arm"] for r in rows], ["whole", "slices"])
        self.assertGreater(float(rows[0]["touched"]), float(rows[1]["touched"]))
        self.assertIn("| figure | unit | whole | slices |",
                      re.sub(" +", " ", self.ok("sim", "--scenario", path, "-o", "markdown").out))
        page, saved = self.dir / "r.html", self.dir / "r.json"
        self.ok("sim", "--scenario", path, "--report", page)
        self.assertIn("basalt-data", page.read_text())
        self.ok("sim", "--scenario", path, "--report", saved)
        data = json.loads(saved.read_text())
        self.assertEqual((data["kind"], data["cluster"]["cards"]), ("platform", 8))
        self.ok("report", saved, "--out", self.dir / "again.html")


class Wrong(Case):
    def swap(self, old, new, *says):
        self.assertIn(old, SMALL)
        return self.bad("sim", "--scenario", self.file("s.yaml", SMALL.replace(old, new, 1)),
                        says=says)

    def test_keys_and_names(self):
        self.swap("replicas_max", "replica_max", "s.yaml:18:5: unknown key",
                  'did you mean "replicas_max"?')
        self.swap("tenant: team\n    offers: [{sku: third}]\n    use", "tenant: tema\n"
                  "    offers: [{sku: third}]\n    use", "s.yaml:15:13: unknown tenant",
                  'did you mean "team"?')
        self.swap("[{sku: third}]", "[{sku: thrid}]", "s.yaml:16:20: unknown sku",
                  'did you mean "third"?')
        self.swap("model: A100", "model: Q9000", "s.yaml:7:49:", "device catalog")
        self.swap("name: jobs\n", "name: chat\n", "stands twice")
        self.swap("tenants:\n  - {name: team, department: research}\n", "", '"tenants" is missing')

    def test_values(self):
        for old, new, says in [
            ("horizon: 2d", "horizon: 2 days", "s.yaml:3:10: horizon must be a length of time"),
            ("horizon: 2d", "horizon: 0", "s.yaml:3:10"),
            ("horizon: 2d", "horizon: 2d\nwarmup: 3d", "s.yaml:4:9: the warm-up"),
            ("memory: 12GiB", "memory: 12GB", "s.yaml:12:41: memory must be a size"),
            ("compute: 33%", "compute: 33", "s.yaml:12:28: compute must be a percentage"),
            ("compute: 33%", "compute: 133%", "s.yaml:12:28: compute is 133%, outside"),
            ("duration: exponential(1h)", "duration: exponential(1)", "s.yaml:26:15"),
            ("duration: exponential(1h)", "duration: normal(1h, 1)", "s.yaml:26:15"),
            ("billing: owned", "billing: owed", 'did you mean "owned"?'),
            ("nodes: 2", "nodes: -2", "s.yaml:7:29"),
            ("jobs_per_hour: 2", "jobs_per_hour: many", "s.yaml:25:20"),
        ]:
            with self.subTest(new=new):
                self.swap(old, new, says)

    def test_arms(self):
        self.swap("skus.*.compute", "skus.*.compte", 's.yaml:28:25: arm "whole": unknown key',
                  'did you mean "compute"?')
        self.swap("skus.*.compute", "skus.thrd.compute", 's.yaml:28:25: arm "whole": path',
                  'did you mean "third"?')
        self.swap("skus.*.compute", "sku.*.compute", 's.yaml:28:25: arm "whole": path')
        self.swap("skus.*.compute: 100%", "skus.*.compute: 200%", 's.yaml:28:41: arm "whole"')
        self.swap("skus.*.compute: 100%", "runtime.ladder: throtled", 'arm "whole"',
                  'did you mean "throttled"?')
        self.swap("skus.*.compute: 100%", "arms: []", "cannot change arms")
        self.swap("name: slices", "name: whole", "stands twice")
        self.swap("arms:\n", "baseline: slice\narms:\n", 'did you mean "slices"?')

    def test_claims_and_assumptions(self):
        self.swap("touched[slices]", "touch[slices]", "s.yaml:31:", 'did you mean "touched"?')
        self.swap("touched[slices]", "touched[slice]", 'did you mean "slices"?')
        self.swap("touched[slices]", "wait_p99[slices]", "needs a class of work")
        self.swap('"< 0.6"', '"below 0.6"', "holds must be a range")
        self.swap("touched[slices] / ", "touched[slices] ", "expects an operator")
        self.swap("key: training.jobs.jobs_per_hour", "key: training.jobs.jobs",
                  'did you mean "jobs_per_hour"?')
        self.swap("key: training.jobs.jobs_per_hour, ", "", "needs either a key or a value")

    def test_what_cannot_be(self):
        self.swap("memory: 12GiB", "memory: 48GiB", 's.yaml:14:11: "chat" can never run: offer 1 '
                  "(sku third): ", 's.yaml:21:11: "jobs" can never run', "make an offer smaller")
        self.swap("jobs_per_hour: 2", "jobs_per_hour: 1e6\n    steps_max: 2", '"jobs" brings')
        self.swap("tenants:\n", "queues: [{name: q, guarantee: {cads: 1}}]\ntenants:\n",
                  's.yaml:9:32: queue \'q\': guarantee: unknown resource "cads"',
                  'did you mean "cards"?')
        self.swap("tenants:\n", "queues: [{name: q, guarantee: {gpu: 9}}]\ntenants:\n",
                  "guarantees of gpu add up to 9", 'cluster "lab"', "has 8")
        # On passthrough cards that do not move only machines run, so nothing does in the other arm.
        path = self.file("s.yaml", SMALL.replace("model: A100", "model: A100, mode: passthrough")
                         .replace("{name: whole, set: {skus.*.compute: 100%}}",
                                  "{name: whole, set: {skus.*.compute: 100%, "
                                  "skus.*.passthrough: true}}"))
        said = self.ok("sim", "--scenario", path, "-o", "csv", timeout=120)
        self.assertEqual(said.err.count('can never run in arm "slices"'), 2, said)

    def test_all_at_once(self):
        answer = self.swap("use: 33%\n    replicas_max: 6",
                           "use: 33\n    replicas_max: x\n    priority: y", "s.yaml:17:10",
                           "s.yaml:18:19", "s.yaml:19:15")
        self.assertEqual(len(answer.err.splitlines()), 3)


class Examples(Platform):
    """Each runs, its arms meet the same demand, and nothing of it is out of range."""

    def check(self, name):
        data = json.loads(self.ok("sim", "--scenario", EXAMPLES / f"{name}.yaml", "-o", "json",
                                  timeout=280).out)
        compared = [a for a in data["arms"] if not a["swept"]]
        self.assertGreaterEqual(len(compared), 4)
        self.assertEqual(len({a["demand_digest"] for a in compared}), 1)
        self.assertEqual(len({a["digest"] for a in compared}), len(compared),
                         "two arms decided the same: what they set has no effect")
        for arm in data["arms"]:
            use = self.figure(data, "utilization", arm["name"])
            self.assertGreater(use, 0)
            self.assertLessEqual(use, 100)
            # With a card for each pod some may starve; with slices all work.
            if arm in compared[1:]:
                self.assertEqual(
                    [w["name"] for w in arm["workloads"] if w["served_gpu_hours"] == 0], [])
        self.assertGreaterEqual(len(data["claims"]), 3)
        for claim in data["claims"]:
            self.assertIn(claim["verdict"], ["holds", "does not hold", "not measured"])
        for assumption in data["assumptions"]:
            self.assertTrue(assumption["value"] and assumption["source"])
        return data

    def test_hami_slicing(self):
        data = self.check("hami-slicing")
        whole = self.figure(data, "utilization", "whole cards")
        self.assertGreater(self.figure(data, "utilization", "node binpack, card binpack"), whole)
        self.assertLess(self.figure(data, "touched", "node binpack, card binpack"),
                        self.figure(data, "touched", "node spread, card spread"))

    def test_daocloud(self):
        data = self.check("daocloud-drun")
        self.assertEqual(len(data["arms"][0]["clusters"]), 11)
        self.assertEqual(len({c["region"] for c in data["arms"][0]["clusters"]}), 7)
        self.assertEqual(len([a for a in data["arms"] if a["swept"]]), 10)

    def test_effectivegpu(self):
        data = self.check("sf-effectivegpu")
        kinds = [c["private"] for c in data["arms"][0]["clusters"]]
        self.assertEqual((kinds.count(True), kinds.count(False)), (5, 4))

    def test_driving(self):
        data = self.check("driving-pools")
        moved = [a["pools"]["moves_to_passthrough"] + a["pools"]["moves_to_shared"]
                 for a in data["arms"]]
        self.assertEqual([m > 0 for m in moved], [a["name"].startswith("dynamic")
                                                  for a in data["arms"]])


if __name__ == "__main__":
    unittest.main()
