#include "traces/generate.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <utility>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "traces/limits.h"
#include "traces/openb_mix.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

// One stream a purpose, so that asking for more pods never changes the nodes, and so on.
enum Stream : std::uint64_t { kClassStream = 1, kArrivalStream, kDurationStream, kRankStream };

constexpr std::uint32_t kMaxNodes = 1'000'000;
constexpr std::uint32_t kMaxPods = 10'000'000;
constexpr double kMaxLoad = 100;
constexpr double kMaxMeanDuration = 1e9;  // seconds; 31 years
constexpr double kMaxSigma = 5;
constexpr double kMaxOneTime = 1e11;  // one duration or gap, seconds; the tail is cut here

Status CheckOptions(const GeneratorOptions& o) {
  const auto bad = [](const char* option, std::string message) -> Status {
    return Fail(option, std::move(message));
  };
  if (o.kind != "openb") return bad("kind", "unknown kind " + Quoted(o.kind) + "; known: openb");
  if (o.nodes < 1 || o.nodes > kMaxNodes) return bad("nodes", "the range is 1..1000000");
  if (o.pods < 1 || o.pods > kMaxPods) return bad("pods", "the range is 1..10000000");
  // Written so that NaN is refused too.
  if (!(o.load > 0 && o.load <= kMaxLoad)) return bad("load", "the range is above 0 to 100");
  if (!(o.mean_duration_s >= 1e-3 && o.mean_duration_s <= kMaxMeanDuration)) {
    return bad("mean_duration_s", "the range is 0.001 to 1000000000 seconds");
  }
  if (!(o.sigma >= 0 && o.sigma <= kMaxSigma)) return bad("sigma", "the range is 0 to 5");
  return {};
}

std::string Numbered(std::string prefix, std::size_t number, std::size_t digits) {
  const std::string text = std::to_string(number);
  if (text.size() < digits) prefix.append(digits - text.size(), '0');
  return prefix + text;
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

// Uniform in (0, 1]: safe for log.
double Positive(Rng& rng) { return (static_cast<double>(rng.Next()) + 1) * 0x1p-32; }

class Durations {
 public:
  explicit Durations(const GeneratorOptions& o)
      : rng_(o.seed, kDurationStream),
        shape_(o.duration),
        mean_(o.mean_duration_s),
        sigma_(o.sigma) {}

  // Seconds; the mean is the option's for both shapes.
  double Next() {
    if (shape_ == DurationShape::kExponential) return -std::log(Positive(rng_)) * mean_;
    // Box-Muller, one of the two normals.
    const double radius = std::sqrt(-2 * std::log(Positive(rng_)));
    const double normal = radius * std::cos(2 * std::numbers::pi * rng_.Unit());
    return mean_ * std::exp(sigma_ * normal - sigma_ * sigma_ / 2);
  }

 private:
  Rng rng_;
  DurationShape shape_;
  double mean_, sigma_;
};

// Bounded, because a gap between arrivals grows with 1/load and has no bound of its own.
std::int64_t Microseconds(double seconds) {
  return std::llround(std::min(seconds, kMaxOneTime) * 1e6);
}

// Mean seconds between arrivals, such that mean demand x mean duration / gap = load x capacity.
double MeanGap(const GeneratorOptions& options, const Trace& trace,
               std::span<const RequestClass> classes) {
  std::int64_t capacity = 0, demand = 0, pods = 0;
  for (const Node& node : trace.nodes) capacity += std::int64_t{node.gpu_count} * node.gpu_milli;
  for (const RequestClass& c : classes) {
    demand += std::int64_t{c.count} * c.gpu_num * c.gpu_milli;
    pods += c.count;
  }
  const double mean_demand = static_cast<double>(demand) / static_cast<double>(pods);
  return mean_demand * options.mean_duration_s / (options.load * static_cast<double>(capacity));
}

Status GenerateJobs(const GeneratorOptions& options, Trace* trace) {
  const std::span<const RequestClass> classes = OpenbRequestClasses();
  std::vector<std::uint32_t> up_to;  // cumulative counts
  std::uint32_t total = 0;
  for (const RequestClass& c : classes) up_to.push_back(total += c.count);
  const double gap = MeanGap(options, *trace, classes);
  Rng class_rng(options.seed, kClassStream), arrival_rng(options.seed, kArrivalStream);
  Durations durations(options);
  trace->jobs.reserve(options.pods);
  trace->tasks.reserve(options.pods);
  std::int64_t now = 0;
  for (std::uint32_t i = 0; i < options.pods; ++i) {
    now += Microseconds(-std::log(Positive(arrival_rng)) * gap);
    if (now > kMaxTimeUs / 2) {
      return Fail("load",
                  "the arrivals reach past 15,000 years; raise load or lower pods or "
                  "mean_duration_s");
    }
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
  GenerateNodes(options, &trace);
  if (const Status done = GenerateJobs(options, &trace); !done) return tl::unexpected(done.error());
  trace.manifest.source = "generated with the request and node mix of openb";
  trace.manifest.licence = "Apache-2.0";
  trace.manifest.attribution =
      "mix: Alibaba cluster-trace-gpu-v2023 (Weng et al., USENIX ATC 2023), aggregate counts only";
  trace.manifest.importer = "generate 1";
  trace.manifest.notes = {"seed " + std::to_string(options.seed) + ", load " +
                              std::to_string(options.load) + ", mean duration " +
                              std::to_string(options.mean_duration_s) + " s, " +
                              (options.duration == DurationShape::kExponential
                                   ? "exponential"
                                   : "lognormal with sigma " + std::to_string(options.sigma)),
                          "arrivals are Poisson; times are not the source's"};
  return trace;
}

}  // namespace basalt::trace
