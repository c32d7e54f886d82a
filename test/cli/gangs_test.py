"""Gangs, wiring and the network on the command line: generate or import, replay, compare."""
import json
import unittest
from pathlib import Path

from harness import SHARED, Case, needs_shared

PHILLY = ("timestamp,duration,num_gpus,gpu_time,cluster\n"
          "2017-10-09 07:00:00,100.0,1,100.0,a\n"
          "2017-10-09 07:00:10,200.0,16,3200.0,a\n"
          "2017-10-09 07:00:20,50.0,8,400.0,b\n")
HYPERNODES = """apiVersion: topology.volcano.sh/v1alpha1
kind: HyperNode
metadata: {name: rack-a}
spec:
  tier: 1
  members:
  - {type: Node, selector: {regexMatch: {pattern: '^n0'}}}
---
apiVersion: topology.volcano.sh/v1alpha1
kind: HyperNode
metadata: {name: zone-z}
spec:
  tier: 2
  members:
  - {type: HyperNode, selector: {exactMatch: {name: rack-a}}}
"""


class Gangs(Case):
    def generate(self, *args):
        out = self.dir / "trace"
        self.ok("trace", "generate", "--kind", "gangs", "--nodes", "24", "--pods", "3000", "--racks",
                "3", "--out", out, *args)
        return out

    def replay(self, trace, *args):
        answer = self.ok("sim", "--trace", trace, "--mode", "replay", "-o", "json", *args)
        return json.loads(answer.out)

    def test_replay_of_generated_gangs(self):
        trace = self.generate()
        runs = {}
        for queue in ["fifo", "skip", "easy"]:
            first = self.replay(trace, "--queue", queue, "--policy", "binpack/topology")[0]
            again = self.replay(trace, "--queue", queue, "--policy", "binpack/topology",
                                "--threads", "1")[0]
            self.assertEqual(first["digest"], again["digest"])  # threads search domains: the same
            self.assertEqual(first["placed"] + first["failed"], first["arrivals"])
            self.assertGreater(first["gangs"], 0)
            self.assertGreaterEqual(first["gang_wait_s"]["max"], first["gang_wait_s"]["mean"])
            self.assertGreaterEqual(first["jct_s"]["mean"], first["wait_s"]["mean"])
            self.assertGreater(sum(first["topology"]["jobs_by_tier"].values()), 0)
            runs[queue] = first
        self.assertEqual(runs["fifo"]["backfilled"], 0)
        self.assertLessEqual(runs["easy"]["wait_s"]["mean"], runs["fifo"]["wait_s"]["mean"])

    def test_philly_import_and_scale(self):
        pods = self.file("philly.csv", PHILLY)
        trace = self.dir / "philly"
        self.ok("trace", "import", "--format", "philly-csv", "--pods", pods, "--out", trace)
        run = self.replay(trace, "--policy", "binpack/topology")[0]
        self.assertEqual((run["placed"], run["gangs"]), (4, 1))  # 1 + 2 x 8 + 8
        self.assertGreater(run["topology"]["bandwidth_pct"], 99)
        scaled = self.dir / "scaled"
        self.ok("trace", "scale", "--dir", trace, "--out", scaled, "--load", "0.5")
        self.assertEqual(self.replay(scaled)[0]["placed"], 4)

    def test_network_files(self):
        nodes = ("sn,cpu_milli,memory_mib,gpu,model\nn00,64000,262144,4,T4\n"
                 "n01,64000,262144,4,T4\nx,64000,262144,4,T4\n")
        pods = ("name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time,deletion_time\n"
                "p0,1000,1024,2,1000,0,10\n")
        given = self.small_trace(nodes, pods)
        network = self.file("hyper.yaml", HYPERNODES)
        self.ok("sim", *given, "--mode", "replay", "--network", network)
        ours = self.file("net.yaml", "levels: [rack, zone]\nnodes:\n"
                         "  - {nodes: 'n[00-01]', rack: r1, zone: z}\n")
        shown = self.ok("topo", "network", ours)
        self.assertIn("rack r1  2 nodes", shown.out)
        self.assertEqual(json.loads(self.ok("topo", "network", ours, "-o", "json").out)["nodes"], 2)
        other = self.file("other.yaml", "levels: [rack]\nnodes:\n  - {node: zz, rack: r1}\n")
        self.bad("sim", *given, "--mode", "replay", "--network", other,
                 says="names none of the cluster's nodes")
        bad = self.file("bad.yaml", "levels: [rack]\nnodes:\n  - {node: zz, rak: r1}\n")
        self.bad("topo", "network", bad, says=["bad.yaml:3:", "rack"])

    def test_network_from_labels(self):
        rows = self.gang_rows(level="spine")
        self.bad("sim", "--trace", rows, "--mode", "replay", says="spine")
        nodes = rows / "nodes.csv"
        head, *lines = nodes.read_text().splitlines()
        label = '"{""network.topology.nvidia.com/spine"": ""s1"", ""n"": 3}"'
        nodes.write_text("\n".join([head + ",labels"] + [f"{line},{label}" for line in lines]) + "\n")
        run = self.replay(rows, "--network", "labels")[0]
        self.assertEqual((run["placed"], run["topology"]["jobs_by_tier"]), (2, {"spine": 1}))
        self.bad("sim", "--trace", self.gang_rows(), "--mode", "replay", "--network", "labels",
                 says="no node has a label")

    def test_compare(self):
        rows = json.loads(self.ok("topo", "compare", "--jobs", "1500", "--seeds", "42", "-o",
                                  "json").out)
        by_policy = {r["policy"]: r for r in rows}
        first = by_policy["binpack/first"]
        ours = by_policy["node-topology-aware"]
        for other in ["binpack/first", "binpack/pair-sum", "binpack/go-gpuallocator"]:
            self.assertGreater(ours["bandwidth_pct"], by_policy[other]["bandwidth_pct"] + 10)
        self.assertLess(ours["wait_s"], 1.25 * first["wait_s"])
        # What is dearer waits longer and gets more: the ends of the curve.
        cheap = by_policy["node-topology-aware(bandwidth=0)"]
        self.assertLess(cheap["bandwidth_pct"], ours["bandwidth_pct"])
        self.assertIn("bw % of best", self.ok("topo", "compare", "--jobs", "50").out)
        for args, says in [(["--machine", "dgx-1-v10"], 'did you mean "dgx-1-v100"?'),
                           (["--sizes", "0"], "--sizes"), (["--load", "0"], "--load"),
                           (["--policy", "node-topology-aware(bandwith=1)"], "bandwidth"),
                           (["--sizes", "9-8"], "--sizes"), (["--load", "nan"], "not a number in 0.01..10"),
                           (["--sizes", "9-16"], "more than a machine of 8 has")]:
            self.bad("topo", "compare", *args, says=says)

    def test_options_that_would_be_ignored_are_refused(self):
        trace = self.generate()
        hami = Path(__file__).parents[2] / "examples/hami-before-after.yaml"
        for option in [["--network", "x"], ["--failures"], ["--scan"], ["--policy", "fgd"]]:
            self.bad("sim", "--scenario", hami, *option, says="is not used with --scenario")
        for args, says in [
            (["--queue", "easy"], "--queue: is for --mode replay"),
            (["--wait-for-bandwidth", "50"], "--wait-for-bandwidth: is for --mode replay"),
            (["--mode", "replay", "--inflate", "120"], "--inflate: is for --mode saturation"),
            (["--mode", "replay", "--backfill-depth", "5"], "--backfill-depth: is for --queue easy"),
            (["--mode", "replay", "--tier-bandwidth", "rak=50"], 'did you mean "rack"?'),
            (["--mode", "replay", "--tier-bandwidth", "rack=0"], "percent 1..100"),
            (["--mode", "replay", "--tier-bandwidth", "rack"], "TIER=PERCENT"),
        ]:
            with self.subTest(args=args):
                self.bad("sim", "--trace", trace, *args, says=says)
        slow = self.replay(trace, "--tier-bandwidth", "rack=10", "--policy", "binpack/topology")[0]
        fast = self.replay(trace, "--policy", "binpack/topology")[0]
        self.assertGreaterEqual(slow["jct_s"]["mean"], fast["jct_s"]["mean"])

    def gang_rows(self, job="j", level="", gang="2", replicas=2, duration="10", extra=""):
        """A canonical trace of one job on two machines in one rack."""
        out = self.dir / f"rows-{len(self.listing())}"
        nodes = ("node_id,gpu_count,model,cpu_milli,memory_mib,domains,topology\n" +
                 "".join(f"{n},8,V100,64000,65536,rack=r1,{extra}\n" for n in "ab"))
        jobs = f"job_id,submit_s,duration_s,required_tier,comm_share\n{job},0,{duration},{level},1\n"
        tasks = ("job_id,task,replicas,gang_min,gpu_num,gpu_milli,cpu_milli,memory_mib\n"
                 f"{job},w,{replicas},{gang},8,1000,0,0\n")
        manifest = {"format": "gputrace/1", "counts": {"nodes": 2, "jobs": 1, "tasks": 1}}
        for name, text in [("nodes.csv", nodes), ("jobs.csv", jobs), ("tasks.csv", tasks),
                           ("manifest.json", json.dumps(manifest))]:
            self.file(out.relative_to(self.dir) / name, text)
        return out

    def test_levels_are_never_ignored(self):
        self.assertEqual(self.replay(self.gang_rows(level="rack"))[0]["placed"], 2)
        replay = ["--mode", "replay"]
        self.bad("sim", "--trace", self.gang_rows(level="bogus"), *replay, says="bogus")
        self.bad("sim", "--trace", self.gang_rows(level="bogus", gang="", replicas=1), *replay,
                 says="bogus")
        self.bad("sim", "--trace", self.gang_rows(level="rack", gang=""), *replay,
                 says=["requires the level rack", "gang_min"])
        for name in ["node", "cluster"]:
            hyper = self.file("h.yaml", HYPERNODES.replace("tier: 2", f"tier: 2\n  tierName: {name}"))
            self.bad("topo", "network", hyper, says=[name, "h.yaml:"])
            net = self.file("n.yaml", f"levels: [{name}, rack]\nnodes:\n  - {{node: a, rack: r}}\n")
            self.bad("topo", "network", net, says=name)

    def test_nothing_is_claimed_of_unknown_wiring(self):
        run = self.replay(self.gang_rows())[0]
        self.assertEqual(run["topology"]["jobs"], 0)
        self.assertNotIn("bandwidth_pct", run["topology"])
        self.bad("sim", "--trace", self.gang_rows(), "--mode", "replay", "--wait-for-bandwidth", "50",
                 says="no node of")
        known = self.replay(self.gang_rows(extra="dgx-1-v100"))[0]
        self.assertEqual(known["topology"]["jobs"], 1)

    def test_endless_jobs_stay_finite(self):
        trace = self.gang_rows(extra="dgx-1-v100", duration="1000000000000")
        run = self.replay(trace, "--tier-bandwidth", "rack=1", "--policy", "binpack/topology")[0]
        self.assertGreaterEqual(run["jct_s"]["mean"], 1e12)

    def test_devices_and_links_are_written_through(self):
        target = self.file("real.svg", "old")
        link = self.dir / "link.svg"
        link.symlink_to(target)
        self.ok("topo", "show", "dgx-1-v100", "--svg", link)
        self.assertTrue(link.is_symlink())
        self.assertTrue(target.read_text().startswith("<svg") or "<svg" in target.read_text())
        self.ok("topo", "show", "dgx-1-v100", "--svg", "/dev/null")
        self.assertTrue(Path("/dev/null").is_char_device())
        self.bad("topo", "show", "dgx-1-v100", "--svg", "-", says="name a file")

    @needs_shared(SHARED / "data/philly_sia/philly.csv")
    def test_all_of_philly(self):
        trace = self.dir / "philly"
        self.ok("trace", "import", "--format", "philly-csv", "--pods",
                SHARED / "data/philly_sia/philly.csv", "--out", trace)
        run = self.replay(trace, "--policy", "binpack/topology")[0]
        self.assertEqual((run["arrivals"], run["failed"], run["gangs"]), (82762, 0, 289))


if __name__ == "__main__":
    unittest.main()
