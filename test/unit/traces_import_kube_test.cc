// k8s and volcano on objects made by schema.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/traces_import_util.h"
#include "test/unit/traces_kube_util.h"
#include "traces/k8s.h"

namespace basalt::trace {
namespace {

using testing::Contains;
using testing::HasSubstr;

TEST(K8s, NodesAreTheirAllocatableResources) {
  const Trace t = Parsed(
      ParseK8s,
      {{"nodes",
        List(NodeWith(
            R"(,"labels":{"nvidia.com/gpu.product":"H100","nvidia.com/gpu.memory":"81559",
             "topology.kubernetes.io/zone":"z0","topology.kubernetes.io/region":"r0"})",
            R"("cpu":"63500m","memory":"526000000Ki","ephemeral-storage":"1Ti",
             "pods":"110","nvidia.com/gpu":"8","rdma/hca":"2")",
            R"(,"spec":{"unschedulable":true,"taints":[{"key":"a","effect":"NoSchedule"}]})"))}});
  ASSERT_EQ(t.nodes.size(), 1U);
  const Node& node = t.nodes[0];
  EXPECT_EQ(node.id, "n0");
  EXPECT_EQ(node.model, "H100");
  EXPECT_EQ(node.gpu_count, 8);
  EXPECT_EQ(node.gpu_mem_mib, 81'559);
  EXPECT_EQ(node.cpu_milli, 63'500);
  EXPECT_EQ(node.memory_mib, 513'671);  // 526000000 / 1024, rounded down
  EXPECT_EQ(node.disk_mib, 1'048'576);
  EXPECT_EQ(node.domains, "zone=z0;region=r0");
  EXPECT_EQ(node.labels,
            R"({"nvidia.com/gpu.product":"H100","nvidia.com/gpu.memory":"81559",)"
            R"("topology.kubernetes.io/zone":"z0","topology.kubernetes.io/region":"r0"})");
  EXPECT_EQ(node.extra, R"({"taints":[{"key":"a","effect":"NoSchedule"}],"unschedulable":true,)"
                        R"("resources":{"pods":"110","rdma/hca":"2"}})");
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("1 node has taints")));
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("1 node is cordoned or not ready")));
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("1 quantity is rounded")));
}

TEST(K8s, CardsOfANode) {
  const auto cards = [](const std::string& metadata, const std::string& allocatable) {
    const Trace t = Parsed(ParseK8s, {{"nodes", NodeWith(metadata, allocatable)}});
    const Node& n = t.nodes.at(0);
    return n.model + " x " + std::to_string(n.gpu_count) + " of " + std::to_string(n.gpu_mem_mib);
  };
  EXPECT_EQ(cards("", R"("cpu":"1","nvidia.com/gpu":"4")"), "nvidia x 4 of -1");
  EXPECT_EQ(cards("", R"("cpu":"1","amd.com/gpu":"2")"), "amd x 2 of -1");
  EXPECT_EQ(cards("", R"("cpu":"1","nvidia.com/gpu":"0")"), " x 0 of -1");
  EXPECT_EQ(
      cards(R"(,"labels":{"alibabacloud.com/gpu-card-model":"V100M16"})",
            R"("cpu":"1","alibabacloud.com/gpu-count":"2","alibabacloud.com/gpu-milli":"2000")"),
      "V100M16 x 2 of -1");
  // HAMi offers a card ten times; its register says how many there are, in either format.
  EXPECT_EQ(cards(R"(,"annotations":{"hami.io/node-nvidia-register":
                  "[{\"id\":\"GPU-a\",\"count\":10,\"devmem\":32768,\"type\":\"NVIDIA-V100\",\"health\":true},{\"id\":\"GPU-b\",\"count\":10,\"devmem\":32768,\"type\":\"NVIDIA-V100\",\"health\":true}]"})",
                  R"("cpu":"1","nvidia.com/gpu":"20")"),
            "V100M32 x 2 of 32768");
  EXPECT_EQ(cards(R"(,"annotations":{"hami.io/node-nvidia-register":
                  "GPU-a,10,32768,100,NVIDIA-V100,0,true:GPU-b,10,16384,100,NVIDIA-P100,0,true:"})",
                  R"("cpu":"1","nvidia.com/gpu":"20")"),
            "V100M32 x 2 of 16384");
  EXPECT_EQ(cards(R"(,"annotations":{"volcano.sh/node-vgpu-register":
                  "GPU-a,10,81920,NVIDIA-H100,true,hami-core:GPU-b,10,81920,NVIDIA-H100,true,x:"})",
                  R"("cpu":"1","volcano.sh/vgpu-number":"20","volcano.sh/vgpu-memory":"163840")"),
            "H100 x 2 of 81920");
}

TEST(K8s, WhatAPodAsksOfCards) {
  const auto ask = [](const std::string& annotations, const std::string& limits) {
    const Trace t =
        Parsed(ParseK8s, {{"pods", PodWith("p", annotations, "\"limits\":{" + limits + "}")}});
    const Task& task = t.tasks.at(0);
    return std::to_string(task.gpu_num) + " x " + std::to_string(task.gpu_milli) + " of " +
           std::to_string(task.gpu_mem_mib) +
           (task.gpu_spec.empty() ? "" : " on " + task.gpu_spec) +
           (task.extra.empty() ? "" : ' ' + task.extra);
  };
  EXPECT_EQ(ask("", R"("cpu":"1")"), "0 x 0 of -1");
  EXPECT_EQ(ask("", R"("nvidia.com/gpu":"2")"), "2 x 1000 of -1");
  EXPECT_EQ(ask("", R"("nvidia.com/gpu":2)"), "2 x 1000 of -1");
  EXPECT_EQ(ask("", R"("nvidia.com/gpu":"0")"), "0 x 0 of -1");
  EXPECT_EQ(
      ask("", R"("nvidia.com/gpu":"1","nvidia.com/gpumem":"3000","nvidia.com/gpucores":"30")"),
      "1 x 300 of 3000");
  EXPECT_EQ(ask("", R"("nvidia.com/gpumem":"3000")"),
            "1 x 1 of 3000 {\"gpu_compute\":\"unlimited\"}");
  EXPECT_EQ(ask("", R"("nvidia.com/gpu":"1","nvidia.com/gpumem-percentage":"50")"),
            "1 x 500 of -1 {\"gpu_mem_percent\":\"50\"}");
  EXPECT_EQ(ask("", R"("nvidia.com/gpu":"1","nvidia.com/gpumem-percentage":"100")"),
            "1 x 1000 of -1");
  EXPECT_EQ(ask("", R"("volcano.sh/vgpu-number":"2","volcano.sh/vgpu-memory":"20480",
                      "volcano.sh/vgpu-cores":"25")"),
            "2 x 250 of 20480");
  EXPECT_EQ(ask("", R"("hygon.com/dcunum":"1","hygon.com/dcumem":"2000")"), "1 x 1000 of 2000");
  EXPECT_EQ(ask("", R"("cambricon.com/vmlu":"1","cambricon.com/mlu.smlu.vmemory":"4",
                      "cambricon.com/mlu.smlu.vcore":"10")"),
            "1 x 100 of 1024");
  EXPECT_EQ(ask("", R"("huawei.com/Ascend910B3":"1","huawei.com/Ascend910B3-memory":"16384")"),
            "1 x 250 of 16384 on Ascend910B3");
  EXPECT_EQ(ask("", R"("nvidia.com/mig-1g.10gb":"1")"),
            "1 x 142 of 9728 {\"mig_profile\":\"1g.10gb\"}");
  EXPECT_EQ(ask(R"("alibabacloud.com/gpu-milli":"460","alibabacloud.com/gpu-count":"1",
                   "alibabacloud.com/gpu-card-model":"T4|P100")",
                ""),
            "1 x 460 of -1 on T4|P100");
  EXPECT_EQ(ask(R"("alibabacloud.com/gpu-milli":"1000","alibabacloud.com/gpu-count":"8")", ""),
            "8 x 1000 of -1");
  EXPECT_EQ(ask(R"("alibabacloud.com/gpu-milli":"0","alibabacloud.com/gpu-count":"0")", ""),
            "0 x 0 of -1");
}

TEST(K8s, AJobForEachPodAndAPlacementForBoundOnes) {
  const std::string running = PodWith(
      "p1", R"("hami.io/vgpu-devices-allocated":"GPU-a,NVIDIA,3000,30:GPU-b,NVIDIA,3000,30:;")",
      R"("limits":{"cpu":"2","nvidia.com/gpu":"2"},"requests":{"cpu":"500m","memory":"100M"})",
      R"(,"nodeName":"n0","priorityClassName":"high","priority":100,
         "overhead":{"cpu":"10m"},"nodeSelector":{"nvidia.com/gpu.product":"H100"},
         "initContainers":[{"resources":{"requests":{"memory":"1Gi"}}},
           {"restartPolicy":"Always","resources":{"requests":{"cpu":"100m","memory":"1Mi"}}}],
         "tolerations":[{"key":"node.kubernetes.io/not-ready"},{"key":"gpu","operator":"Exists"}])",
      R"("phase":"Succeeded","startTime":"2026-01-01T00:00:05Z","containerStatuses":
         [{"state":{"terminated":{"finishedAt":"2026-01-01T00:01:05Z"}}}])");
  const Trace t = Parsed(ParseK8s, {{"pods", List(running + ",\n" + PodWith("p2", "", ""))}});
  EXPECT_EQ(t.manifest.time_zero, "2026-01-01T00:00:00Z");
  EXPECT_EQ(Rows(t, "jobs"),
            "job_id=a/p1 tenant=a priority_class=high submit_s=0 start_s=5 end_s=65 "
            "status=completed status_raw=Succeeded extra={\"priority\":100}\n"
            "job_id=a/p2 tenant=a submit_s=0 status=pending status_raw=Pending censor=right\n");
  // CPU: 500m + 100m of the sidecar + 10m; memory: the init container's 1 GiB is the most.
  EXPECT_EQ(Rows(t, "tasks"),
            "job_id=a/p1 task=pod replicas=1 gpu_num=2 gpu_milli=1000 gpu_spec=H100 "
            "cpu_milli=610 memory_mib=1024 "
            "extra={\"node_selector\":{\"nvidia.com/gpu.product\":\"H100\"},"
            "\"tolerations\":[{\"key\":\"gpu\",\"operator\":\"Exists\"}]}\n"
            "job_id=a/p2 task=pod replicas=1 gpu_num=0 gpu_milli=0 cpu_milli=0 memory_mib=0\n");
  EXPECT_EQ(Rows(t, "placements"),
            "job_id=a/p1 task=pod replica=0 attempt=0 node_id=n0 gpu_ids=GPU-a;GPU-b start_s=5 "
            "end_s=65 outcome=Succeeded\n");
}

TEST(K8s, ContainersThatAskForDifferentParts) {
  std::string pod = PodWith("p", "", R"("limits":{"nvidia.com/gpu":"1","nvidia.com/gpumem":"1000",
                                         "nvidia.com/gpucores":"10"})");
  const std::string end = "}}]";
  pod.insert(pod.find(end) + 2,
             R"(,{"resources":{"limits":{"nvidia.com/gpu":"1","nvidia.com/gpumem":"2000",
                 "nvidia.com/gpucores":"50"}}})");
  const Trace t = Parsed(ParseK8s, {{"pods", pod}});
  const Task& task = t.tasks.at(0);
  EXPECT_EQ(task.gpu_num, 2);
  EXPECT_EQ(task.gpu_milli, 500);
  EXPECT_EQ(task.gpu_mem_mib, 2000);
  EXPECT_EQ(task.split, "assumed");
  EXPECT_THAT(task.extra, HasSubstr(R"("containers":[{"cards":1,"mem_mib":1000,)"));
}

TEST(K8s, FaultsHaveTheirLine) {
  const auto node = [](const std::string& allocatable) {
    return Fault(ParseK8s, {{"nodes", List(NodeWith("", allocatable))}});
  };
  EXPECT_EQ(node(R"("cpu":"many")"),
            "nodes:2: cpu \"many\" is not a quantity; write one such as 500m, 4 or 16Gi");
  EXPECT_EQ(node("\n\"nvidia.com/gpu\":\"1.5\""),
            "nodes:3: nvidia.com/gpu \"1.5\" is not a whole number; write 0..1000000000000");
  EXPECT_EQ(node(R"("nvidia.com/gpu":"80")"),
            "nodes:2: node \"n0\" has 80 cards; the most are 64. Are they shares? Then add its "
            "device plugin's register annotation");
  const std::string one = NodeWith("", R"("cpu":"1")");
  EXPECT_EQ(Fault(ParseK8s, {{"nodes", List(one + ",\n" + one)}}),
            "nodes:3: Node \"n0\" is already at nodes:2; give each object once");
  EXPECT_EQ(Fault(ParseK8s, {{"nodes", R"({"kind":"Node","metadata":{}})"}}),
            "nodes:1: metadata.name is missing or too long; every object has one");
  EXPECT_EQ(Fault(ParseK8s, {{"nodes", NodeWith(R"(,"annotations":
                  {"hami.io/node-nvidia-register":"nonsense"})",
                                                "")}}),
            "nodes:2: \"hami.io/node-nvidia-register\" is not a device register that is known "
            "here; remove the annotation or correct it");
  EXPECT_EQ(Fault(ParseK8s, {{"pods", "kind: Pod"}}),
            "pods:1: not JSON: it does not start with { or [; of kubectl's output write -o json");
  EXPECT_EQ(Fault(ParseK8s, {{"pods", R"({"kind":"Queue","apiVersion":"v1"})"}}),
            "pods:1: kind \"Queue\" of \"v1\" is not read by k8s; give it Nodes and Pods, or use "
            "the format volcano");
  std::string pod = PodWith("p", "", "");
  pod.replace(pod.find("2026-01-01"), 10, "2026-99-01");
  EXPECT_EQ(Fault(ParseK8s, {{"pods", pod}}),
            "pods:1: creationTimestamp \"2026-99-01T00:00:00Z\" is not a time; write "
            "2026-11-21T02:30:21Z");
  EXPECT_EQ(Fault(ParseK8s, {{"pods", PodWith("p", "", R"("limits":{"nvidia.com/gpu":"65"})")}}),
            "pods:1: container c: nvidia.com/gpu: 65 is outside 1..64");
  EXPECT_EQ(Fault(ParseK8s, {{"pods", PodWith("p", R"("alibabacloud.com/gpu-milli":"1001")", "")}}),
            "pods:1: alibabacloud.com/gpu-milli \"1001\" is not a whole number; write 0..1000");
}

std::string VolcanoJob(const std::string& spec, const std::string& status) {
  return R"({"apiVersion":"batch.volcano.sh/v1alpha1","kind":"Job","metadata":{"name":"g",
    "namespace":"a","creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"queue":"q",)" +
         spec + R"(},"status":{)" + status + "}}";
}

std::string TaskOf(const std::string& name, int replicas, const std::string& rest,
                   const std::string& gpus) {
  return R"({"name":")" + name + R"(","replicas":)" + std::to_string(replicas) + rest +
         R"(,"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"4",
            "memory":"16Gi","nvidia.com/gpu":")" +
         gpus + R"("}}}]}}})";
}

TEST(Volcano, JobsTheirPodsAndPodGroups) {
  const std::string job = VolcanoJob(
      R"("minAvailable":3,"priorityClassName":"high","networkTopology":{"mode":"hard",
         "highestTierAllowed":1},"tasks":[)" +
          TaskOf("ps", 1, "", "0") + "," + TaskOf("worker", 4, R"(,"minAvailable":2)", "8") + "]",
      R"("state":{"phase":"Running"},"conditions":[{"status":"Pending","lastTransitionTime":
         "2026-01-01T00:00:01Z"},{"status":"Running","lastTransitionTime":"2026-01-01T00:00:09Z"}])");
  const std::string group = R"({"apiVersion":"scheduling.volcano.sh/v1beta1","kind":"PodGroup",
    "metadata":{"name":"g-1","namespace":"a","ownerReferences":[{"kind":"Job","name":"g",
    "apiVersion":"batch.volcano.sh/v1alpha1"}]},"spec":{"minMember":3,"queue":"q",
    "minTaskMember":{"ps":1}},"status":{"phase":"Running"}})";
  const auto pod = [](const std::string& name, const std::string& rest) {
    return PodWith(name,
                   R"("volcano.sh/job-name":"g","scheduling.k8s.io/group-name":"g-1",)" + rest,
                   R"("limits":{"nvidia.com/gpu":"8"})", R"(,"nodeName":"n)" + name + "\"",
                   R"("phase":"Running")");
  };
  const Trace t = Parsed(
      ParseVolcano,
      {{"jobs", List(job + ",\n" + group)},
       {"pods",
        List(pod("1", R"("volcano.sh/task-spec":"worker","volcano.sh/task-index":"3")") + "," +
             pod("2", R"("volcano.sh/task-spec":"ps","volcano.sh/task-index":"0")"))}});
  EXPECT_EQ(Rows(t, "jobs"),
            "job_id=a/g tenant=a queue=q priority_class=high submit_s=0 start_s=9 status=running "
            "status_raw=Running censor=right extra={\"pod_group\":\"a/g-1\",\"pod_group_phase\":"
            "\"Running\",\"job\":{\"min_available\":\"3\",\"network_topology\":{\"mode\":\"hard\","
            "\"highestTierAllowed\":1}}}\n");
  EXPECT_EQ(Rows(t, "tasks"),
            "job_id=a/g task=ps replicas=1 gang_min=1 gpu_num=0 gpu_milli=0 cpu_milli=4000 "
            "memory_mib=16384\n"
            "job_id=a/g task=worker replicas=4 gang_min=2 gpu_num=8 gpu_milli=1000 "
            "cpu_milli=4000 memory_mib=16384\n");
  EXPECT_EQ(Rows(t, "placements"),
            "job_id=a/g task=worker replica=3 attempt=0 node_id=n1 outcome=Running\n"
            "job_id=a/g task=ps replica=0 attempt=0 node_id=n2 outcome=Running\n");
}

TEST(Volcano, PodGroupsWithoutAJob) {
  const auto group = [](const std::string& name, const std::string& spec) {
    return R"({"apiVersion":"scheduling.volcano.sh/v1beta1","kind":"PodGroup","metadata":{"name":")" +
           name + R"(","namespace":"a"},"spec":{"queue":"q",)" + spec +
           R"(},"status":{"phase":"Inqueue"}})";
  };
  const auto pod = [](const std::string& name, const std::string& gpus) {
    return PodWith(name, R"("scheduling.k8s.io/group-name":"with")",
                   R"("limits":{"nvidia.com/gpu":")" + gpus + R"("})");
  };
  const Trace t = Parsed(
      ParseVolcano,
      {{"jobs", List(group("alone", R"("minMember":4,"minResources":{"cpu":"18","memory":"64Gi",
                                       "nvidia.com/gpu":"16"})") +
                     "," + group("with", R"("minMember":3)"))},
       {"pods", List(pod("x", "1") + "," + pod("y", "2") + "," + pod("z", "1"))}});
  EXPECT_EQ(Rows(t, "jobs"),
            "job_id=a/alone tenant=a queue=q status=pending status_raw=Inqueue censor=right\n"
            "job_id=a/with tenant=a queue=q status=pending status_raw=Inqueue censor=right\n");
  EXPECT_EQ(Rows(t, "tasks"),
            "job_id=a/alone task=member replicas=4 gang_min=4 gpu_num=4 gpu_milli=1000 "
            "cpu_milli=4500 memory_mib=16384 split=assumed "
            "extra={\"min_resources\":{\"cpu\":\"18\",\"memory\":\"64Gi\","
            "\"nvidia.com/gpu\":\"16\"}}\n"
            "job_id=a/with task=pod replicas=2 gang_min=2 gpu_num=1 gpu_milli=1000 cpu_milli=0 "
            "memory_mib=0\n"
            "job_id=a/with task=pod-1 replicas=1 gang_min=1 gpu_num=2 gpu_milli=1000 cpu_milli=0 "
            "memory_mib=0\n");
}

TEST(Volcano, QueuesAreKept) {
  const auto queue = [](const std::string& name, const std::string& spec) {
    return R"({"apiVersion":"scheduling.volcano.sh/v1beta1","kind":"Queue","metadata":{"name":")" +
           name + R"("},"spec":{)" + spec + R"(},"status":{"state":"Open"}})";
  };
  const std::string job = VolcanoJob("\"tasks\":[" + TaskOf("w", 1, "", "1") + "]", "");
  const Trace t = Parsed(
      ParseVolcano,
      {{"jobs", job},
       {"queues",
        List(queue("q", R"("weight":4,"parent":"root","reclaimable":true,"capability":{"cpu":"64",
                           "nvidia.com/gpu":8},"deserved":{"nvidia.com/gpu":"6"},
                           "guarantee":{"resource":{"nvidia.com/gpu":"2"}})") +
             "," + queue("q2", R"("parent":"q")"))}});
  ASSERT_EQ(t.queues.size(), 2U);
  EXPECT_EQ(t.queues[0],
            (Queue{"q", "", 4, R"({"nvidia.com/gpu":"2"})", R"({"nvidia.com/gpu":"6"})",
                   R"({"cpu":"64","nvidia.com/gpu":8})",
                   R"({"parent":"root","queue":{"reclaimable":true,"state":"Open"}})"}));
  EXPECT_EQ(t.queues[1], (Queue{"q2", "q", -1, "", "", "", R"({"state":"Open"})"}));
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("1 queue has a parent that was not given")));
}

TEST(Volcano, FaultsHaveTheirLine) {
  EXPECT_EQ(Fault(ParseVolcano, {{"jobs", VolcanoJob("\"tasks\":[]", "")}}),
            "jobs:1: spec.tasks is missing or empty; a Job has one task or more");
  EXPECT_EQ(Fault(ParseVolcano,
                  {{"jobs", VolcanoJob("\"tasks\":[" + TaskOf("w", -1, "", "1") + "]", "")}}),
            "jobs:2: replicas \"-1\" is not a whole number; write 0..1000000");
  EXPECT_EQ(Fault(ParseVolcano, {{"jobs", VolcanoJob("\"tasks\":[" + TaskOf("w", 1, "", "1") + "," +
                                                         TaskOf("w", 1, "", "1") + "]",
                                                     "")}}),
            "jobs:3: task \"w\" is there twice; rename one");
  EXPECT_EQ(Fault(ParseVolcano, {{"jobs", R"({"kind":"Job","apiVersion":"batch/v1"})"}}),
            "jobs:1: kind \"Job\" of \"batch/v1\" is not read by volcano; give it Nodes, Pods and "
            "Volcano's Jobs, PodGroups and Queues");
}

}  // namespace
}  // namespace basalt::trace
