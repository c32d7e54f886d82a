// Importers of Alibaba's cluster-trace-gpu-v2020 (Weng et al., MLaaS in the Wild, NSDI'22).
//
// pai2020: the tables as published, without a header (one that is there is skipped), columns in the
// order of the .header files. Each may be absent but jobs and tasks come together.
//   nodes      pai_machine_spec    machine,gpu_type,cap_cpu,cap_mem,cap_gpu
//   jobs       pai_job_table       job_name,inst_id,user,status,start_time,end_time
//   tasks      pai_task_table      job_name,task_name,inst_num,status,start_time,end_time,plan_cpu,
//                                  plan_mem,plan_gpu,gpu_type
//   instances  pai_instance_table  job_name,task_name,inst_name,worker_name,inst_id,status,
//                                  start_time,end_time,machine
//   sensors    pai_sensor_table job_name,task_name,worker_name,inst_id,machine,gpu_name,cpu_usage,
//                                  gpu_wrk_util,avg_mem,max_mem,avg_gpu_wrk_mem,max_gpu_wrk_mem,read,
//                                  write,read_count,write_count
//   tags       pai_group_tag_table inst_id,user,gpu_type_spec,group,workload
// A job's start_time is when it was submitted, its first task's start_time when it started.
// plan_cpu and plan_gpu are percent of one, memory is GB of 1024 MiB.
//
// pai-sim: the job list of the simulator published with it, with a header: job_id, num_inst,
// submit_time,num_cpu,num_gpu,gpu_type,duration,user and what else the samples have. num_cpu and
// num_gpu are of the whole job, as that simulator takes them.
#pragma once

#include "traces/diagnostics.h"
#include "traces/source.h"
#include "traces/trace.h"

namespace basalt::trace {

Trace ParsePai2020(const SourceTexts& texts, Diagnostics* diagnostics);
Trace ParsePaiSim(const SourceTexts& texts, Diagnostics* diagnostics);

}  // namespace basalt::trace
