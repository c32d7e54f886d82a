#include "traces/generate.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "traces/draws.h"
#include "traces/limits.h"
#include "traces/openb_mix.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

constexpr std::uint32_t kMaxNodes = 1'000'000;
constexpr std::uint32_t kMaxPods = 10'000'000;
constexpr double kMaxLoad = 100;
constexpr double kMaxMeanDuration = 1e9;  // seconds; 31 years
constexpr double kMaxSigma = 5;

Status CheckOptions(const GeneratorOptions& o) {
  const auto bad = [](const char* option, std::string message) -> Status {
    return Fail(option, std::move(message));
  };
  constexpr std::array<std::string_view, 2> kKinds = {"openb", "gangs"};
  if (std::ranges::find(kKinds, o.kind) == kKinds.end()) {
    return bad("kind", "unknown kind " + Quoted(o.kind) + DidYouMean(o.kind, kKinds, ";") +
                           " known: openb, gangs");
  }
  if (o.nodes < 1 || o.nodes > kMaxNodes) return bad("nodes", "the range is 1..1000000");
  if (o.pods < 1 || o.pods > kMaxPods) return bad("pods", "the range is 1..10000000");
  if (o.racks != 0 && o.kind != "gangs") return bad("racks", "only kind gangs has racks");
  if (o.racks > o.nodes) return bad("racks", "are more than the nodes; the range is 1..nodes");
  // Written so that NaN is refused too.
  if (!(o.load > 0 && o.load <= kMaxLoad)) return bad("load", "the range is above 0 to 100");
  if (!(o.mean_duration_s >= 1e-3 && o.mean_duration_s <= kMaxMeanDuration)) {
    return bad("mean_duration_s", "the range is 0.001 to 1000000000 seconds");
  }
  if (!(o.sigma >= 0 && o.sigma <= kMaxSigma)) return bad("sigma", "the range is 0 to 5");
  return {};
}

// How many nodes of each configuration: largest remainder, the earlier configuration on ties.
std::vector<std::uint64_t> Allocate(std::uint64_t nodes,
                                    std::span<const NodeConfiguration> configurations) {
  std::uint64_t total = 0;
  for (const NodeConfiguration& c : configurations) total += c.count;
  std::vector<std::uint64_t> share;
  std::vector<std::pair<std::uint64_t, std::size_t>> rest;  // remainder, configuration
  std::uint64_t given = 0;
  for (std::size_t i = 0; i < configurations.size(); ++i) {
    const std::uint64_t exact = nodes * configurations[i].count;
    share.push_back(exact / total);
    rest.emplace_back(exact % total, i);
    given += share.back();
  }
  std::ranges::sort(rest, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  for (std::size_t i = 0; given < nodes; ++i, ++given) ++share[rest[i].second];
  return share;
}

void GenerateNodes(const GeneratorOptions& options, Trace* trace) {
  const std::span<const NodeConfiguration> configurations = OpenbNodeConfigurations();
  const std::vector<std::uint64_t> share = Allocate(options.nodes, configurations);
  std::vector<std::uint32_t> rank(options.nodes);
  for (std::uint32_t i = 0; i < options.nodes; ++i) rank[i] = i;
  Rng(options.seed, kRankStream).Shuffle(std::span(rank));
  trace->nodes.reserve(options.nodes);
  for (std::size_t c = 0; c < configurations.size(); ++c) {
    for (std::uint64_t k = 0; k < share[c]; ++k) {
      Node& node = trace->nodes.emplace_back();
      const std::size_t row = trace->nodes.size() - 1;
      node.id = Numbered("node-", row, 4);
      node.rank = rank[row];
      node.model = configurations[c].model;
      node.gpu_count = configurations[c].gpu_count;
      node.cpu_milli = configurations[c].cpu_milli;
      node.memory_mib = configurations[c].memory_mib;
    }
  }
}

// The mean over the mix, in milli-GPU.
double MeanDemand(std::span<const RequestClass> classes) {
  std::int64_t demand = 0, pods = 0;
  for (const RequestClass& c : classes) {
    demand += std::int64_t{c.count} * c.gpu_num * c.gpu_milli;
    pods += c.count;
  }
  return static_cast<double>(demand) / static_cast<double>(pods);
}

Status GenerateJobs(const GeneratorOptions& options, Trace* trace) {
  const std::span<const RequestClass> classes = OpenbRequestClasses();
  std::vector<std::uint32_t> up_to;  // cumulative counts
  std::uint32_t total = 0;
  for (const RequestClass& c : classes) up_to.push_back(total += c.count);
  std::int64_t capacity = 0;
  for (const Node& node : trace->nodes) capacity += std::int64_t{node.gpu_count} * node.gpu_milli;
  Rng class_rng(options.seed, kClassStream);
  Arrivals arrivals(options, MeanDemand(classes), capacity);
  Durations durations(options);
  trace->jobs.reserve(options.pods);
  trace->tasks.reserve(options.pods);
  std::int64_t now = 0;
  for (std::uint32_t i = 0; i < options.pods; ++i) {
    if (!arrivals.Next(&now)) return Arrivals::TooLate();
    const auto drawn = std::ranges::upper_bound(up_to, class_rng.Below(total));
    const RequestClass& request = classes[static_cast<std::size_t>(drawn - up_to.begin())];
    Job& job = trace->jobs.emplace_back();
    job.id = Numbered("pod-", i, 6);
    job.submit_us = now;
    job.duration_us = std::max<std::int64_t>(1, Microseconds(durations.Next()));
    Task& task = trace->tasks.emplace_back();
    task.job_id = job.id;
    task.task = "pod";
    task.gpu_num = request.gpu_num;
    task.gpu_milli = request.gpu_milli;
    task.cpu_milli = request.cpu_milli;
    task.memory_mib = request.memory_mib;
  }
  return {};
}

}  // namespace

Result<Trace> Generate(const GeneratorOptions& options) {
  if (const Status fine = CheckOptions(options); !fine) return tl::unexpected(fine.error());
  Trace trace;
  const bool gangs = options.kind == "gangs";
  if (!gangs) GenerateNodes(options, &trace);
  const Status done = gangs ? GenerateGangs(options, &trace) : GenerateJobs(options, &trace);
  if (!done) return tl::unexpected(done.error());
  trace.manifest.licence = "Apache-2.0";
  if (!gangs) {
    trace.manifest.source = "generated with the request and node mix of openb";
    trace.manifest.attribution =
        "mix: Alibaba cluster-trace-gpu-v2023 (Weng et al., USENIX ATC 2023), aggregate counts "
        "only";
  }
  trace.manifest.importer = "generate 1";
  std::vector<std::string>& notes = trace.manifest.notes;
  notes.insert(notes.begin(),
               {"seed " + std::to_string(options.seed) + ", load " + std::to_string(options.load) +
                    ", mean duration " + std::to_string(options.mean_duration_s) + " s, " +
                    (options.duration == DurationShape::kExponential
                         ? "exponential"
                         : "lognormal with sigma " + std::to_string(options.sigma)),
                "arrivals are Poisson; times are not the source's"});
  return trace;
}

}  // namespace basalt::trace
