// helios, acme, philly and swf on rows made by their schemas and the examples of their READMEs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/traces_import_util.h"
#include "traces/philly_json.h"
#include "traces/slurm_logs.h"
#include "traces/swf.h"

namespace basalt::trace {
namespace {

using testing::Contains;
using testing::HasSubstr;

const std::string kHelios =
    "job_id,user,vc,gpu_num,cpu_num,node_num,state,submit_time,start_time,end_time,duration,"
    "queue\n";

TEST(Helios, RowsBecomeJobs) {
  const Trace t = Parsed(
      ParseHelios,
      {{"jobs", kHelios +
                    "100,u0,vc0,16,64,2,COMPLETED,2020-04-01 00:00:15,2020-04-01 00:00:20,"
                    "2020-04-01 01:00:20,3599,5\n"
                    "101,u1,vc1,10,10,4,CANCELLED,2020-03-31 00:00:15,,,0,12\n"
                    "102,u1,vc1,0,8,1,SUSPENDED,2020-04-01 00:00:16,2020-04-01 00:00:16,None,,0\n"},
       {"capacity", "date,vc0,vc1,total\n2020-03-31,8,16,24\n2020-04-01,16,,99\n"}});
  EXPECT_EQ(Rows(t, "jobs"),
            "job_id=100 user=u0 queue=vc0 submit_s=86400 start_s=86405 end_s=90005 "
            "duration_s=3599 status=completed status_raw=COMPLETED gpu_total_milli=16000 "
            "cpu_total_milli=64000 node_count=2 extra={\"queue_s\":\"5\"}\n"
            "job_id=101 user=u1 queue=vc1 submit_s=0 duration_s=0 status=cancelled "
            "status_raw=CANCELLED gpu_total_milli=10000 cpu_total_milli=10000 node_count=4 "
            "extra={\"queue_s\":\"12\"}\n"
            "job_id=102 user=u1 queue=vc1 submit_s=86401 start_s=86401 status_raw=SUSPENDED "
            "gpu_total_milli=0 cpu_total_milli=8000 node_count=1 extra={\"queue_s\":\"0\"}\n");
  EXPECT_EQ(Rows(t, "tasks"),
            "job_id=100 task=worker replicas=2 gang_min=2 gpu_num=8 gpu_milli=1000 "
            "cpu_milli=32000 memory_mib=0 split=exact\n"
            "job_id=101 task=worker replicas=2 gang_min=2 gpu_num=3 gpu_milli=1000 "
            "cpu_milli=2500 memory_mib=0 split=assumed\n"
            "job_id=101 task=worker-1 replicas=2 gang_min=2 gpu_num=2 gpu_milli=1000 "
            "cpu_milli=2500 memory_mib=0 split=assumed\n"
            "job_id=102 task=worker replicas=1 gang_min=1 gpu_num=0 gpu_milli=0 cpu_milli=8000 "
            "memory_mib=0\n");
  // The day of the first submission began 15 seconds before it.
  EXPECT_EQ(Rows(t, "capacity"),
            "time_s=-15 pool=vc0 gpu_count=8\ntime_s=-15 pool=vc1 gpu_count=16\n"
            "time_s=86385 pool=vc0 gpu_count=16\n");
  EXPECT_EQ(t.manifest.time_zero, "");
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("time 0 is 2020-03-31 00:00:15 as written")));
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("1 job does not divide by their nodes")));
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("1 job has a state without a canonical word")));
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("on 1 day of the GPU numbers")));
}

TEST(Helios, FaultsHaveTheirPlace) {
  const std::string row =
      "1,u,v,8,8,1,FAILED,2020-04-01 00:00:15,2020-04-01 00:00:20,2020-04-01 01:00:20,1,1\n";
  const auto fault = [&](const std::string& old, const std::string& now) {
    std::string changed = row;
    changed.replace(changed.find(old), old.size(), now);
    return Fault(ParseHelios, {{"jobs", kHelios + changed}});
  };
  EXPECT_EQ(fault("2020-04-01 00:00:15", "2020-04-31 00:00:15"),
            "jobs:2:20: submit_time \"2020-04-31 00:00:15\" is not a date and time; write "
            "2017-10-09 07:01:55, or nothing");
  EXPECT_EQ(fault("2020-04-01 01", "2020-03-01 01"),
            "jobs:2:60: end_time \"2020-03-01 01:00:20\" is before the start; correct the row or "
            "remove it");
  EXPECT_EQ(fault("8,8,1", "65,8,1"),
            "jobs:2:7: gpu_num \"65\" on 1 nodes is more than 64 on one; correct it or node_num");
  EXPECT_EQ(fault("8,8,1", ",8,1"), "jobs:2:7: gpu_num is empty; write a number");
  EXPECT_EQ(Fault(ParseHelios, {{"jobs", kHelios + row + row}}),
            "jobs:3:1: job_id \"1\" is already on line 2; remove one of the two rows");
  EXPECT_EQ(
      Fault(ParseHelios, {{"jobs", kHelios + row}, {"capacity", "day,a\n"}}),
      "capacity:1:1: is not date and the names of virtual clusters; write date,vc1,vc2,total");
  EXPECT_EQ(Fault(ParseHelios, {{"jobs", kHelios + row}, {"capacity", "date,a\n2020-4-1,1\n"}}),
            "capacity:2:1: date \"2020-4-1\" is not a day; write 2020-04-01");
  EXPECT_THAT(Fault(ParseHelios, {{"jobs", kHelios + row}, {"capacity", "date,a,a\n"}}),
              HasSubstr("capacity:1:8: column \"a\" is there twice; remove one of them"));
}

// The rows of AcmeTrace's README.
TEST(Acme, SerenAndKalosByTheirColumns) {
  const Trace seren = Parsed(
      ParseAcme,
      {{"jobs",
        "job_id,user,node_num,gpu_num,cpu_num,type,state,submit_time,start_time,end_time,duration,"
        "queue,gpu_time\n5778432,u5907,1,8,128,Other,FAILED,2023-03-01 00:18:22+08:00,"
        "2023-03-01 00:18:54+08:00,2023-03-01 00:20:51+08:00,117,32,936.0\n"}});
  EXPECT_EQ(seren.manifest.time_zero, "2023-02-28T16:18:22Z");
  EXPECT_EQ(seren.manifest.source, "AcmeTrace, Seren");
  EXPECT_EQ(Rows(seren, "jobs"),
            "job_id=5778432 user=u5907 kind=Other submit_s=0 start_s=32 end_s=149 duration_s=117 "
            "status=failed status_raw=FAILED gpu_total_milli=8000 cpu_total_milli=128000 "
            "node_count=1 extra={\"gpu_time\":\"936.0\",\"queue_s\":\"32\"}\n");
  const Trace kalos = Parsed(
      ParseAcme,
      {{"jobs",
        "job_id,user,node_num,gpu_num,cpu_num,mem_per_pod_GB,shared_mem_per_pod,type,state,"
        "submit_time,start_time,end_time,fail_time,stop_time,duration,queue,gpu_time\n"
        "dlctk696s0jbvitv,uf794,8,64,960,1000,100.0,Other,FAILED,2023-05-17 11:00:58+00:00,"
        "2023-05-17 11:01:08+00:00,2023-05-17 11:01:16+00:00,2023-05-17 11:01:16+00:00,,18,10.0,"
        "1152.0\n"}});
  EXPECT_EQ(kalos.manifest.time_zero, "2023-05-17T11:00:58Z");
  EXPECT_EQ(kalos.manifest.source, "AcmeTrace, Kalos");
  // 18 s of duration and 8 s between start and end are both kept.
  EXPECT_EQ(Rows(kalos, "jobs"),
            "job_id=dlctk696s0jbvitv user=uf794 kind=Other submit_s=0 start_s=10 end_s=18 "
            "duration_s=18 status=failed status_raw=FAILED gpu_total_milli=64000 "
            "cpu_total_milli=960000 node_count=8 extra={\"fail_time\":"
            "\"2023-05-17 11:01:16+00:00\",\"gpu_time\":\"1152.0\",\"mem_per_pod_GB\":\"1000\","
            "\"queue_s\":\"10.0\",\"shared_mem_per_pod\":\"100.0\"}\n");
  EXPECT_EQ(Rows(kalos, "tasks"),
            "job_id=dlctk696s0jbvitv task=worker replicas=8 gang_min=8 gpu_num=8 gpu_milli=1000 "
            "cpu_milli=120000 memory_mib=1024000 split=exact\n");
}

TEST(Acme, FaultsHaveTheirPlace) {
  const std::string header =
      "job_id,user,node_num,gpu_num,cpu_num,type,state,submit_time,start_time,end_time,duration,"
      "queue,gpu_time\n";
  EXPECT_EQ(
      Fault(ParseAcme, {{"jobs", header + "1,u,1,8,1,x,FAILED,2023-03-01 00:18:22,,,1,1,1\n"}}),
      "jobs:2:20: submit_time \"2023-03-01 00:18:22\" is not a date and time with a zone; "
      "write 2023-03-01 00:18:22+08:00, or nothing");
  EXPECT_EQ(Fault(ParseAcme, {{"jobs", header + "1,u,1,8.5,1,x,FAILED,,,,x,1,1\n"}}),
            "jobs:2:25: duration \"x\" is not a number; write one, such as 12.5");
}

const char* const kPhillyLog = R"([
 {"status": "Pass", "vc": "ee9e8c", "jobid": "application_1", "user": "ce2f4c",
  "submitted_time": "2017-10-09 07:02:55",
  "attempts": [
   {"start_time": "2017-10-09 07:03:00", "end_time": "2017-10-09 07:04:00",
    "detail": [{"ip": "m1", "gpus": ["gpu0", "gpu1"]}, {"ip": "m2", "gpus": ["gpu4"]}]},
   {"start_time": "2017-10-09 08:00:00", "end_time": "2017-10-09 08:00:30",
    "detail": [{"ip": "m3", "gpus": ["gpu0"]}, {"ip": "m4", "gpus": ["gpu0", "gpu3"]}]}]},
 {"status": "Killed", "vc": "ee9e8c", "jobid": "application_2", "user": "u",
  "submitted_time": "2017-10-09 07:01:55", "attempts": []},
 {"status": "Failed", "vc": "v", "jobid": "application_3", "user": "None",
  "submitted_time": "None",
  "attempts": [{"start_time": "2017-10-09 07:01:56", "end_time": "None",
                "detail": [{"ip": "m1", "gpus": ["gpu7"]}]}]}
])";

TEST(PhillyJson, AttemptsBecomePlacements) {
  const Trace t =
      Parsed(ParsePhillyJson,
             {{"jobs", kPhillyLog},
              {"nodes", "machineId, number of GPUs, single GPU mem\nm1, 8, 24GB\nm2, 2, 12GB\n"}});
  EXPECT_EQ(Rows(t, "nodes"),
            "node_id=m1 model=GPU gpu_count=8 gpu_milli=1000 gpu_mem_mib=24576 cpu_milli=0 "
            "memory_mib=0\n"
            "node_id=m2 model=GPU gpu_count=2 gpu_milli=1000 gpu_mem_mib=12288 cpu_milli=0 "
            "memory_mib=0\n");
  EXPECT_EQ(Rows(t, "jobs"),
            "job_id=application_1 user=ce2f4c queue=ee9e8c submit_s=60 start_s=65 end_s=3515 "
            "duration_s=90 status=completed status_raw=Pass gpu_total_milli=3000 node_count=2\n"
            "job_id=application_2 user=u queue=ee9e8c submit_s=0 status=cancelled "
            "status_raw=Killed\n"
            "job_id=application_3 queue=v start_s=1 status=failed status_raw=Failed "
            "gpu_total_milli=1000 node_count=1\n");
  EXPECT_EQ(Rows(t, "tasks"),
            "job_id=application_1 task=worker replicas=1 gang_min=1 gpu_num=2 gpu_milli=1000 "
            "cpu_milli=0 memory_mib=0 split=exact\n"
            "job_id=application_1 task=worker-1 replicas=1 gang_min=1 gpu_num=1 gpu_milli=1000 "
            "cpu_milli=0 memory_mib=0 split=exact\n"
            "job_id=application_2 task=worker replicas=1 gang_min=1 gpu_num=0 gpu_milli=0 "
            "cpu_milli=0 memory_mib=0 split=assumed\n"
            "job_id=application_3 task=worker replicas=1 gang_min=1 gpu_num=1 gpu_milli=1000 "
            "cpu_milli=0 memory_mib=0 split=exact\n");
  EXPECT_EQ(Rows(t, "placements"),
            "job_id=application_1 task=worker replica=0 attempt=0 node_id=m1 gpu_ids=gpu0;gpu1 "
            "start_s=65 end_s=125\n"
            "job_id=application_1 task=worker-1 replica=0 attempt=0 node_id=m2 gpu_ids=gpu4 "
            "start_s=65 end_s=125\n"
            "job_id=application_1 task=worker-1 replica=0 attempt=1 node_id=m3 gpu_ids=gpu0 "
            "start_s=3485 end_s=3515\n"
            "job_id=application_1 task=worker replica=0 attempt=1 node_id=m4 gpu_ids=gpu0;gpu3 "
            "start_s=3485 end_s=3515\n"
            "job_id=application_3 task=worker replica=0 attempt=0 node_id=m1 gpu_ids=gpu7 "
            "start_s=1\n");
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("time 0 is 2017-10-09 07:01:55 as written")));
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("1 job has no attempt with machines")));
}

TEST(PhillyJson, FaultsHaveTheirLine) {
  const auto fault = [](const std::string& old, const std::string& now) {
    std::string text = kPhillyLog;
    text.replace(text.find(old), old.size(), now);
    return Fault(ParsePhillyJson, {{"jobs", text}});
  };
  EXPECT_EQ(fault("\"2017-10-09 07:02:55\"", "\"yesterday\""),
            "jobs:3: submitted_time \"yesterday\" is not a date and time; write 2017-10-09 "
            "07:01:55, or \"None\"");
  EXPECT_EQ(fault("07:04:00", "07:02:59"),
            "jobs:5: end_time is before start_time; correct the attempt or remove it");
  EXPECT_EQ(fault("[\"gpu4\"]", "[4]"),
            "jobs:6: a GPU's name is not a string without ; in it; write \"gpu0\"");
  EXPECT_EQ(fault("\"gpus\": [\"gpu7\"]", "\"gpu\": 1"),
            "jobs:14: gpus is not a list of names; write [\"gpu0\"]");
  EXPECT_EQ(fault("application_2", "application_1"),
            "jobs:9: jobid \"application_1\" is already on line 2; remove one of the two jobs");
  EXPECT_EQ(fault("\"jobid\": \"application_3\",", ""),
            "jobs:11: jobid is missing; every job needs one");
  EXPECT_EQ(fault("\"vc\": \"v\",", "\"vc\" \"v\","),
            "jobs:11: not valid JSON; look for a missing comma, quote or brace just before");
  EXPECT_EQ(Fault(ParsePhillyJson, {{"jobs", "[]"}}), "jobs:1: no jobs: the list is empty");
  EXPECT_EQ(Fault(ParsePhillyJson,
                  {{"jobs", kPhillyLog},
                   {"nodes", "machineId, number of GPUs, single GPU mem\nm1, x, 24GB\n"}}),
            "nodes:2:4: number of GPUs \" x\" is not a whole number; write 0..64");
  EXPECT_EQ(
      Fault(ParsePhillyJson, {{"jobs", kPhillyLog},
                              {"nodes", "machineId,number of GPUs,single GPU mem\nm1,8,24TB\n"}}),
      "nodes:2:6: single GPU mem \"24TB\" is not a number of GB; write 24GB");
}

TEST(Swf, LinesBecomeJobs) {
  const Trace t = Parsed(ParseSwf, {{"jobs",
                                     "; Computer: IBM SP2\r\n"
                                     ";Installation: SDSC\n"
                                     "; UnixStartTime: 893466664\n"
                                     "; MaxProcs: 128\n"
                                     "\n"
                                     "  1 0 5 100 4 -1 -1 8 200 2048 1 12 3 7 2 1 -1 -1\n"
                                     "2 10.5 -1 -1 16 90.5 1000 -1 -1 -1 5 -1 -1 -1 -1 -1 1 30\r\n"
                                     "3\t20 0 0 -1 -1 -1 -1 -1 -1 0 1 1 1 1 1 -1 -1\n"
                                     "1 0 5 50 4 -1 -1 8 200 2048 2 12 3 7 2 1 -1 -1"}});
  EXPECT_EQ(t.manifest.time_zero, "1998-04-25T01:11:04Z");
  EXPECT_EQ(t.manifest.source, "Standard Workload Format: IBM SP2");
  EXPECT_EQ(t.manifest.attribution, "SDSC");
  EXPECT_EQ(Rows(t, "jobs"),
            "job_id=1 user=12 queue=2 submit_s=0 start_s=5 end_s=105 duration_s=100 "
            "walltime_limit_s=200 status=completed status_raw=1 cpu_total_milli=8000 "
            "extra={\"executable\":\"7\",\"group\":\"3\",\"memory_asked_kb\":\"2048\","
            "\"partition\":\"1\",\"processors\":\"4\"}\n"
            "job_id=2 parent_id=1 submit_s=10.5 status=cancelled status_raw=5 "
            "cpu_total_milli=16000 extra={\"cpu_used_s\":\"90.5\",\"memory_used_kb\":\"1000\","
            "\"processors\":\"16\",\"think_s\":\"30\"}\n"
            "job_id=3 user=1 queue=1 submit_s=20 start_s=20 end_s=20 duration_s=0 status=failed "
            "status_raw=0 cpu_total_milli=1000 extra={\"executable\":\"1\",\"group\":\"1\","
            "\"partition\":\"1\"}\n");
  EXPECT_EQ(Rows(t, "tasks"),
            "job_id=1 task=process replicas=8 gang_min=8 gpu_num=0 gpu_milli=0 cpu_milli=1000 "
            "memory_mib=2 split=assumed\n"
            "job_id=2 task=process replicas=16 gang_min=16 gpu_num=0 gpu_milli=0 cpu_milli=1000 "
            "memory_mib=0 split=assumed\n"
            "job_id=3 task=process replicas=1 gang_min=1 gpu_num=0 gpu_milli=0 cpu_milli=1000 "
            "memory_mib=0\n");
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("1 line with status 2, 3 or 4")));
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("1 job says no number of processors")));
}

TEST(Swf, FaultsHaveTheirLine) {
  const std::string row = " 0 5 100 4 -1 -1 8 200 -1 1 12 3 7 2 1 -1 -1\n";
  const auto fault = [](const std::string& text) { return Fault(ParseSwf, {{"jobs", text}}); };
  EXPECT_EQ(fault("; x\n1 2 3\n"), "jobs:2: 3 fields where a job has 18; write -1 for unknown");
  EXPECT_EQ(fault("x" + row),
            "jobs:1: job number \"x\" is not a number; write one, or -1 for unknown");
  EXPECT_EQ(fault("-2" + row),
            "jobs:1: job number \"-2\" is out of range; write -1, or 0..1000000000");
  EXPECT_EQ(fault("-1" + row), "jobs:1: job number \"-1\" is not a job's; they count from 1");
  EXPECT_EQ(fault("1" + row + "1" + row),
            "jobs:2: job number \"1\" is already on line 1; remove one of the two lines");
  EXPECT_EQ(fault("; UnixStartTime: soon\n1" + row),
            "jobs:1: UnixStartTime \"soon\" is not a number of seconds since 1970; correct it or "
            "remove the line");
  EXPECT_EQ(fault("; nothing\n"), "jobs:1:1: no jobs: the file has no line of 18 numbers");
  EXPECT_EQ(fault("1 0 5 100 4 -1 -1 2000000 200 -1 1 12 3 7 2 1 -1 -1"),
            "jobs:1: processors asked \"2000000\" is more than 1000000; correct it");
}

}  // namespace
}  // namespace basalt::trace
