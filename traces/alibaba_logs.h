// Importers of two of Alibaba's traces.
//
// dlrm2025: cluster-trace-gpu-v2025 (Yang et al., NSDI'25), --jobs disaggregated_DLRM_trace.csv.
// An instance of an inference service becomes a job with one task, named by its role (CN or HN).
// CPU and GPUs are whole ones, rdma is percent of a NIC, memory and disk are GiB; limits that
// differ from the request stand in extra. An empty creation time is before the window, an empty
// deletion time after it.
//
// spot2026: cluster-trace-v2026-spot-gpu (Duan et al., ASPLOS'26), --nodes node_info_df.csv and
// --jobs job_info_df.csv, each alone or both. cpu_request and gpu_request are of each of the
// worker_num workers, which start together.
#pragma once

#include "traces/diagnostics.h"
#include "traces/source.h"
#include "traces/trace.h"

namespace basalt::trace {

Trace ParseDlrm2025(const SourceTexts& texts, Diagnostics* diagnostics);
Trace ParseSpot2026(const SourceTexts& texts, Diagnostics* diagnostics);

}  // namespace basalt::trace
