// Importers of two job logs of Slurm-like clusters that state totals and a number of nodes.
//
// helios: SenseTime's Helios (Hu et al., SC'21), --jobs cluster_log.csv, one cluster's:
//   job_id,user,vc,gpu_num,cpu_num,node_num,state,submit_time,start_time,end_time,duration,queue
// with times "2020-04-01 00:00:15" of an unnamed zone; --capacity cluster_gpu_number.csv:
//   date,<vc>,...,total: so many GPUs belonged to each virtual cluster on that day.
//
// acme: Shanghai AI Laboratory's AcmeTrace (Hu et al., NSDI'24), --jobs trace_seren.csv or
// trace_kalos.csv, told apart by their columns:
//   job_id,user,node_num,gpu_num,cpu_num,type,state,submit_time,start_time,end_time,duration,queue,
//   gpu_time and, of Kalos, mem_per_pod_GB,shared_mem_per_pod,fail_time,stop_time
// with times "2023-03-01 00:18:22+08:00".
//
// A job's duration can differ from end - start, and its queue from start - submit; all are kept.
#pragma once

#include "traces/diagnostics.h"
#include "traces/source.h"
#include "traces/trace.h"

namespace basalt::trace {

Trace ParseHelios(const SourceTexts& texts, Diagnostics* diagnostics);
Trace ParseAcme(const SourceTexts& texts, Diagnostics* diagnostics);

}  // namespace basalt::trace
