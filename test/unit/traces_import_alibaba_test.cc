// pai2020, pai-sim, dlrm2025 and spot2026 on rows made by their schemas.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/traces_import_util.h"
#include "traces/alibaba_logs.h"
#include "traces/pai.h"

namespace basalt::trace {
namespace {

using testing::Contains;
using testing::HasSubstr;
using Files = std::map<std::string, std::string>;

const Files kPai = {
    {"nodes", "m0,T4,96,512,2\nm1,CPU,64,384,0\n"},
    {"jobs",
     "j0,i0,u0,Terminated,100.0,900.0\n"
     "j1,i1,u1,Running,200.0,\n"
     "j2,i2,u2,Waiting,300.0,NaN\n"},
    {"tasks",
     "j0,ps,1.0,Terminated,150.0,900.0,600.0,29.296875,,\n"
     "j0,worker,2.0,Terminated,120.0,890.0,400.0,10.0,50.0,T4\n"
     "j1,tensorflow,3.0,Running,250.0,,100.0,1.0,150.0,MISC\n"},
    {"instances",
     "j0,worker,a,w0,i0,Failed,120.0,130.0,m0\n"
     "j0,worker,b,w1,i0,Terminated,121.0,890.0,m1\n"
     "j0,worker,a,w2,i0,Terminated,131.0,880.0,m9\n"},
    {"sensors",
     "j0,worker,w2,i0,m9,/dev/nvidia0,140.1451612903226,16.0625,1.5,2.0,1.2446746826171875,,"
     "21271328.384615384,0.0,,\n"},
    {"tags", "i0,u0,V100M32,g0,bert\ni1,u1,,g1,\n"}};

TEST(Pai2020, TablesBecomeRows) {
  const Trace t = Parsed(ParsePai2020, kPai);
  EXPECT_EQ(Rows(t, "nodes"),
            "node_id=m0 model=T4 gpu_count=2 gpu_milli=1000 cpu_milli=96000 memory_mib=524288\n"
            "node_id=m1 gpu_count=0 gpu_milli=1000 cpu_milli=64000 memory_mib=393216\n");
  EXPECT_EQ(Rows(t, "jobs"),
            "job_id=j0 user=u0 kind=bert submit_s=100 start_s=120 end_s=900 status=completed "
            "status_raw=Terminated gpu_total_milli=1000 cpu_total_milli=14000 "
            "memory_total_mib=50480 extra={\"group\":\"g0\",\"inst_id\":\"i0\"}\n"
            "job_id=j1 user=u1 submit_s=200 start_s=250 status=running status_raw=Running "
            "gpu_total_milli=4500 cpu_total_milli=3000 memory_total_mib=3072 "
            "extra={\"group\":\"g1\",\"inst_id\":\"i1\"}\n");
  EXPECT_EQ(Rows(t, "tasks"),
            "job_id=j0 task=ps replicas=1 gpu_num=0 gpu_milli=0 cpu_milli=6000 memory_mib=30000 "
            "extra={\"end_s\":\"900.0\",\"plan_mem\":\"29.296875\",\"start_s\":\"150.0\","
            "\"status\":\"Terminated\"}\n"
            "job_id=j0 task=worker replicas=2 gpu_num=1 gpu_milli=500 gpu_spec=V100M32 "
            "cpu_milli=4000 memory_mib=10240 "
            "extra={\"end_s\":\"890.0\",\"gpu_type\":\"T4\",\"plan_mem\":\"10.0\","
            "\"start_s\":\"120.0\",\"status\":\"Terminated\"}\n"
            "job_id=j1 task=tensorflow replicas=3 gpu_num=2 gpu_milli=750 cpu_milli=1000 "
            "memory_mib=1024 split=assumed "
            "extra={\"gpu_type\":\"MISC\",\"plan_gpu\":\"150.0\",\"plan_mem\":\"1.0\","
            "\"start_s\":\"250.0\",\"status\":\"Running\"}\n");
  EXPECT_EQ(Rows(t, "placements"),
            "job_id=j0 task=worker replica=0 attempt=0 node_id=m0 start_s=120 end_s=130 "
            "outcome=Failed\n"
            "job_id=j0 task=worker replica=1 attempt=0 node_id=m1 start_s=121 end_s=890 "
            "outcome=Terminated\n"
            "job_id=j0 task=worker replica=0 attempt=1 node_id=m9 start_s=131 end_s=880 "
            "outcome=Terminated\n");
  const std::string head = "job_id=j0 task=worker replica=0 node_id=m9 gpu_id=/dev/nvidia0 metric=";
  EXPECT_EQ(Rows(t, "usage"),
            head + "cpu_util_pct value=140.145161\n" + head + "gpu_util_pct value=16.0625\n" +
                head + "mem_mib value=1536\n" + head + "mem_max_mib value=2048\n" + head +
                "gpu_mem_mib value=1274.546875\n" + head +
                "net_read_bytes value=21271328.384615\n" + head + "net_write_bytes value=0\n");
  EXPECT_THAT(t.manifest.notes,
              Contains("1 job without a row in the task table left out, the first is \"j2\""));
  EXPECT_THAT(t.manifest.notes,
              Contains(HasSubstr("1 task asks for more than one GPU but no whole")));
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("1 task has no plan")));
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("1 instance is on machines that are not")));
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("2 numbers rounded")));
}

TEST(Pai2020, AHeaderThatIsThereIsSkipped) {
  Files files = kPai;
  files["nodes"] = "machine,gpu_type,cap_cpu,cap_mem,cap_gpu\n" + files["nodes"];
  EXPECT_EQ(Parsed(ParsePai2020, files).nodes, Parsed(ParsePai2020, kPai).nodes);
}

TEST(Pai2020, FaultsHaveTheirPlace) {
  const auto fault = [](const std::string& table, const std::string& text) {
    Files files = kPai;
    files.erase("instances");
    files.erase("sensors");
    files[table] = text;
    return Fault(ParsePai2020, files);
  };
  EXPECT_EQ(fault("nodes", "m0,T4,96,512,x\n"),
            "nodes:1:14: cap_gpu \"x\" is not a number; write one, such as 12.5");
  EXPECT_EQ(fault("nodes", "m0,T4,96,512,0\n"),
            "nodes:1:4: gpu_type is \"T4\" but cap_gpu is 0; a machine without GPUs is CPU");
  EXPECT_EQ(fault("nodes", "m0,T4,96,512,2\nm0,T4,96,512,2\n"),
            "nodes:2:1: machine \"m0\" is already on line 1; remove one of the two rows");
  EXPECT_EQ(fault("nodes", "m0,T4,96,512\n"),
            "nodes:1:1: 4 fields, but the header has 5 columns; quote fields that contain commas");
  EXPECT_EQ(fault("tasks", "j9,ps,1.0,Terminated,1.0,2.0,1.0,1.0,0.0,CPU\n"),
            "tasks:1:1: there is no job \"j9\" in the job table; add its row or remove this one");
  EXPECT_EQ(fault("tasks", "j0,ps,1.0,Terminated,3.0,2.0,1.0,1.0,0.0,CPU\n"),
            "tasks:1:26: end_time \"2.0\" is before the start; correct the row or remove it");
  EXPECT_EQ(fault("tasks", "j0,ps,1.0,x,1,2,-1,1.0,0.0,CPU\n"),
            "tasks:1:17: plan_cpu \"-1\" is out of range; the range is 0..100000000000");
  EXPECT_EQ(fault("tasks", "j0,ps,1,x,1,2,1,1,6500,CPU\n"),
            "tasks:1:19: plan_gpu \"6500\" is out of range; the range is 0..6400");
  EXPECT_EQ(fault("tasks", "j0,ps,1,x,1,2,1,1,0,\nj0,ps,1,x,1,2,1,1,0,\n"),
            "tasks:2:4: job \"j0\" already has the task \"ps\"; remove one of the two rows");
  EXPECT_EQ(fault("instances", "j0,none,a,w,i0,x,1,2,m0\n"),
            "instances:1:4: job \"j0\" has no task \"none\" in the task table; add its row or "
            "remove this one");
  EXPECT_THAT(fault("jobs", ""),
              testing::StartsWith("4 errors:\njobs:1:1: no jobs: the file has no rows\ntasks:1:1: "
                                  "there is no job \"j0\""));
  EXPECT_EQ(Fault(ParsePai2020, {{"jobs", "j0,i0,u0,x,1,2\n"}}),
            "--tasks: is missing; the job table and the task table come together");
  EXPECT_EQ(Fault(ParsePai2020, {{"nodes", kPai.at("nodes")}, {"tags", ""}}),
            "--jobs: is missing; --tags needs the job table and the task table");
}

TEST(PaiSim, RowsBecomeJobs) {
  const Trace t = Parsed(
      ParsePaiSim,
      {{"jobs",
        "job_id,num_inst,submit_time,num_cpu,num_gpu,gpu_type,duration,user,group,wait_time\n"
        "0,1,10.0,6.0,0.5,T4,100,u0,g,3.5\n1,4,11,8,8,V100,7.25,u1,,\n2,1,12,2.5,,CPU,1,u2,,\n"
        "3,2,13,1,3,MISC,1,u3,,\n"}});
  EXPECT_EQ(
      Rows(t, "jobs"),
      "job_id=0 user=u0 submit_s=10 duration_s=100 gpu_total_milli=500 cpu_total_milli=6000 "
      "extra={\"group\":\"g\",\"wait_time\":\"3.5\"}\n"
      "job_id=1 user=u1 submit_s=11 duration_s=7.25 gpu_total_milli=8000 "
      "cpu_total_milli=8000\n"
      "job_id=2 user=u2 submit_s=12 duration_s=1 gpu_total_milli=0 cpu_total_milli=2500 "
      "extra={\"gpu_type\":\"CPU\"}\n"
      "job_id=3 user=u3 submit_s=13 duration_s=1 gpu_total_milli=3000 cpu_total_milli=1000\n");
  EXPECT_EQ(Rows(t, "tasks"),
            "job_id=0 task=worker replicas=1 gpu_num=1 gpu_milli=500 gpu_spec=T4 cpu_milli=6000 "
            "memory_mib=0\n"
            "job_id=1 task=worker replicas=4 gpu_num=2 gpu_milli=1000 gpu_spec=V100 "
            "cpu_milli=2000 memory_mib=0 split=assumed\n"
            "job_id=2 task=worker replicas=1 gpu_num=0 gpu_milli=0 cpu_milli=2500 memory_mib=0\n"
            "job_id=3 task=worker replicas=2 gpu_num=2 gpu_milli=750 gpu_spec=MISC cpu_milli=500 "
            "memory_mib=0 split=assumed\n");
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("2 jobs with several instances")));
}

TEST(PaiSim, FaultsHaveTheirPlace) {
  const std::string header = "job_id,num_inst,submit_time,num_cpu,num_gpu,gpu_type,duration,user\n";
  EXPECT_EQ(Fault(ParsePaiSim, {{"jobs", header + "0,0,1,1,1,T4,1,u\n"}}),
            "jobs:2:3: num_inst \"0\" is out of range; the range is 1..1000000");
  EXPECT_EQ(Fault(ParsePaiSim, {{"jobs", header + "0,1,1,1,65,T4,1,u\n"}}),
            "jobs:2:9: num_gpu \"65\" is more than 64 for one instance; correct it or num_inst");
  EXPECT_EQ(Fault(ParsePaiSim, {{"jobs", "job_id\n0\n"}}).substr(0, 9), "7 errors:");
}

const std::string kDlrm =
    "instance_sn,role,app_name,cpu_request,cpu_limit,gpu_request,gpu_limit,rdma_request,rdma_limit,"
    "memory_request,memory_limit,disk_request,disk_limit,max_instance_per_node,creation_time,"
    "scheduled_time,deletion_time\n";

TEST(Dlrm2025, RowsBecomeJobs) {
  const Trace t = Parsed(
      ParseDlrm2025,
      {{"jobs", kDlrm + "instance_7185,HN,app_0,12,12,1,1,25,25,120.0,120.0,680.0,800.0,8,,,\n"
                        "instance_13574,CN,app_130,64,64,0,0,1,1,937.5,937.5,255.0,255.0,-1,"
                        "475.00000000000006,1435629.0,1435760.0\n"}});
  EXPECT_EQ(Rows(t, "jobs"),
            "job_id=instance_7185 tenant=app_0 kind=infer priority_class=LS censor=both\n"
            "job_id=instance_13574 tenant=app_130 kind=infer priority_class=LS submit_s=475 "
            "start_s=1435629 end_s=1435760\n");
  EXPECT_EQ(Rows(t, "tasks"),
            "job_id=instance_7185 task=HN replicas=1 gpu_num=1 gpu_milli=1000 cpu_milli=12000 "
            "memory_mib=122880 disk_mib=696320 nic_milli=250 max_per_node=8 "
            "extra={\"disk_limit\":\"800.0\"}\n"
            "job_id=instance_13574 task=CN replicas=1 gpu_num=0 gpu_milli=0 cpu_milli=64000 "
            "memory_mib=960000 disk_mib=261120 nic_milli=10\n");
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("this trace is a workload alone")));
}

TEST(Dlrm2025, FaultsHaveTheirPlace) {
  const std::string row = "i,HN,a,12,12,1,1,25,25,1.0,1.0,6.0,8.0,8,1.0,2.0,3.0\n";
  const auto fault = [&](const std::string& old, const std::string& now) {
    std::string changed = row;
    changed.replace(changed.find(old), old.size(), now);
    return Fault(ParseDlrm2025, {{"jobs", kDlrm + changed}});
  };
  EXPECT_EQ(fault("2.0,3.0", "3.0,2.0"),
            "jobs:2:50: deletion_time \"2.0\" is before the start; correct the row or remove it");
  EXPECT_EQ(fault(",25,25", ",101,101"),
            "jobs:2:18: rdma_request \"101\" is out of range; the range is 0..100");
  EXPECT_EQ(fault("i,HN", ",HN"), "jobs:2:1: instance_sn is empty; every row needs one");
  EXPECT_EQ(
      fault("8,1.0", "0,1.0"),
      "jobs:2:40: max_instance_per_node is 0, which no node could hold; write -1 for no limit");
  EXPECT_EQ(fault(",1.0,1.0", ",,1.0"), "jobs:2:24: memory_request is empty; write a number");
  EXPECT_EQ(Fault(ParseDlrm2025, {{"jobs", kDlrm}}),
            "jobs:1:1: no instances: the file has no rows");
}

const Files kSpot = {
    {"nodes", "gpu_model,gpu_capacity_num,cpu_num,node_name\nGPU-series-1,4,192,0\nA10,1,128,2\n"},
    {"jobs",
     "job_name,organization,gpu_model,cpu_request,gpu_request,worker_num,submit_time,duration,"
     "job_type\n239255,13,A10,20,1,1,0,2764799,HP\n437260,57,A100-SXM4-80GB,15,0.5,16,9589663,"
     "41060,Spot\n"}};

TEST(Spot2026, RowsBecomeNodesAndGangs) {
  const Trace t = Parsed(ParseSpot2026, kSpot);
  EXPECT_EQ(Rows(t, "nodes"),
            "node_id=0 model=GPU-series-1 gpu_count=4 gpu_milli=1000 cpu_milli=192000 "
            "memory_mib=0\n"
            "node_id=2 model=A10 gpu_count=1 gpu_milli=1000 cpu_milli=128000 memory_mib=0\n");
  EXPECT_EQ(Rows(t, "jobs"),
            "job_id=239255 tenant=13 priority_class=HP preemptible=0 submit_s=0 "
            "duration_s=2764799 gpu_total_milli=1000\n"
            "job_id=437260 tenant=57 priority_class=Spot preemptible=1 submit_s=9589663 "
            "duration_s=41060 gpu_total_milli=8000\n");
  EXPECT_EQ(Rows(t, "tasks"),
            "job_id=239255 task=worker replicas=1 gang_min=1 gpu_num=1 gpu_milli=1000 "
            "gpu_spec=A10 cpu_milli=20000 memory_mib=0\n"
            "job_id=437260 task=worker replicas=16 gang_min=16 gpu_num=1 gpu_milli=500 "
            "gpu_spec=A100-SXM4-80GB cpu_milli=15000 memory_mib=0\n");
  EXPECT_EQ(Parsed(ParseSpot2026, {{"nodes", kSpot.at("nodes")}}).jobs.size(), 0U);
}

TEST(Spot2026, FaultsHaveTheirPlace) {
  const auto fault = [](const std::string& table, const std::string& old, const std::string& now) {
    Files files = kSpot;
    files[table].replace(files[table].rfind(old), old.size(), now);
    return Fault(ParseSpot2026, files);
  };
  EXPECT_EQ(fault("jobs", "Spot", "Low"),
            "jobs:3:50: job_type \"Low\" is neither HP nor Spot; correct it");
  EXPECT_EQ(
      fault("jobs", "0.5", "1.5"),
      "jobs:3:29: gpu_request \"1.5\" is neither a part of one GPU nor whole GPUs; correct it");
  EXPECT_EQ(
      fault("nodes", "A10,1", "A10,0"),
      "nodes:3:1: gpu_model is \"A10\" but gpu_capacity_num is 0; name the model of the GPUs");
  EXPECT_EQ(fault("nodes", "128,2", "128,0"),
            "nodes:3:11: node_name \"0\" is already on line 2; remove one of the two rows");
}

}  // namespace
}  // namespace basalt::trace
