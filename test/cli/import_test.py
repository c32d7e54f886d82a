"""`basalt trace import` of sources other than openb: by the command, from file to checked trace."""
import json
import unittest

from harness import Case, SHARED, basalt, needs_shared

NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n0"},
        "status": {"allocatable": {"cpu": "64", "memory": "256Gi", "nvidia.com/gpu": "8"}}}
POD = {"apiVersion": "v1", "kind": "Pod",
       "metadata": {"name": "p", "namespace": "team", "creationTimestamp": "2026-01-01T00:00:00Z"},
       "spec": {"nodeName": "n0", "containers": [
           {"resources": {"limits": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}}}]},
       "status": {"phase": "Running", "startTime": "2026-01-01T00:00:07Z"}}
HELIOS = ("job_id,user,vc,gpu_num,cpu_num,node_num,state,submit_time,start_time,end_time,duration,"
          "queue\n7,u,vc,16,64,2,COMPLETED,2020-04-01 00:00:15,2020-04-01 00:00:20,"
          "2020-04-01 01:00:20,3600,5\n")
TRACE = ["trace", "import", "--format"]


class Import(Case):
    def rows(self, table):
        return (self.dir / "t" / table).read_text().splitlines()

    def test_k8s(self):
        both = json.dumps({"apiVersion": "v1", "kind": "List", "items": [NODE, POD]}, indent=1)
        path = self.file("cluster.json", both)
        out = self.dir / "t"
        answer = self.ok(*TRACE, "k8s", "--nodes", path, "--out", out)
        self.assertIn("1 nodes, 1 jobs, 1 tasks", answer.err)
        self.ok("trace", "check", out)
        self.assertEqual(self.rows("placements.csv")[1:], ["team/p,pod,0,0,n0,,7,,Running"])
        self.assertTrue(self.rows("tasks.csv")[1].startswith("team/p,pod,1,,1,1000,,,2000,4096,"))
        manifest = json.loads((out / "manifest.json").read_text())
        self.assertEqual(manifest["time_zero"], "2026-01-01T00:00:00Z")
        self.assertEqual(manifest["counts"],
                         {"nodes": 1, "jobs": 1, "tasks": 1, "placements": 1})
        # Canonical to canonical keeps the further tables.
        copy = self.dir / "copy"
        self.ok(*TRACE, "canonical", "--dir", out, "--out", copy)
        self.assertEqual((out / "placements.csv").read_bytes(),
                         (copy / "placements.csv").read_bytes())
        bad = self.file("bad.json", both.replace('"8"', '"many"'))
        self.bad(*TRACE, "k8s", "--pods", bad, "--out", self.dir / "x",
                 says='bad.json:15: nvidia.com/gpu "many" is not a whole number')
        self.bad(*TRACE, "k8s", "--pods", self.file("y.yaml", "kind: Pod\n"), "--out",
                 self.dir / "x", says="-o json")
        self.bad(*TRACE, "k8s", "--out", self.dir / "x", says="needs a file")

    def test_helios(self):
        jobs = self.file("cluster_log.csv", HELIOS)
        days = self.file("cluster_gpu_number.csv", "date,vc,total\n2020-04-01,128,128\n")
        out = self.dir / "t"
        self.ok(*TRACE, "helios", "--jobs", jobs, "--capacity", days, "--out", out)
        self.ok("trace", "check", out)
        self.assertEqual(self.rows("capacity.csv")[1:], ["-15,vc,,128"])
        self.assertTrue(self.rows("tasks.csv")[1].startswith("7,worker,2,2,8,1000,,,32000,0,"))
        self.bad(*TRACE, "helios", "--capacity", days, "--out", self.dir / "x", says="--jobs")
        self.bad(*TRACE, "helios", "--jobs", jobs, "--pods", jobs, "--out", self.dir / "x",
                 says="--pods: is not used")
        self.bad(*TRACE, "helios", "--jobs", self.file("bad.csv", HELIOS.replace("16", "1x")),
                 "--out", self.dir / "x", says="bad.csv:2:8: gpu_num")

    def test_help_lists_every_format_and_option(self):
        answer = basalt("trace", "import", "--help")
        self.assertEqual(answer.code, 0, answer)
        for word in ["canonical", "openb", "philly-csv", "philly", "pai2020", "pai-sim", "dlrm2025",
                     "spot2026", "helios", "acme", "swf", "k8s", "volcano", "--jobs", "--tasks",
                     "--instances", "--sensors", "--tags", "--capacity", "--queues"]:
            self.assertIn(word, answer.out)

    @needs_shared(SHARED / "data/pai2020_machine_spec/pai_machine_spec.csv")
    def test_real_machines(self):
        out = self.dir / "t"
        answer = self.ok(*TRACE, "pai2020", "--nodes",
                         SHARED / "data/pai2020_machine_spec/pai_machine_spec.csv", "--out", out)
        self.assertIn("1897 nodes, 0 jobs, 0 tasks", answer.err)


if __name__ == "__main__":
    unittest.main()
