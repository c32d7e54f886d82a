#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "sim/platform/platform.h"

namespace basalt::sim {
namespace {

bool Scales(const NodeGroupSpec& group) { return group.price.billing != Billing::kOnDemand; }

std::int64_t CardsOf(const PlatformSpec& spec) {
  std::int64_t cards = 0;
  for (const ClusterSpec& cluster : spec.clusters) {
    for (const NodeGroupSpec& group : cluster.groups) {
      if (Scales(group)) cards += std::int64_t{group.count} * group.cards;
    }
  }
  return cards;
}

const WorkloadResult* Find(const PlatformResult& result, WorkClass work_class) {
  for (const WorkloadResult& row : result.classes) {
    if (row.work_class == work_class) return &row;
  }
  return nullptr;
}

}  // namespace

PlatformSpec ScaleNodes(const PlatformSpec& spec, std::int32_t factor_milli) {
  PlatformSpec scaled = spec;
  for (ClusterSpec& cluster : scaled.clusters) {
    // Rounded so that the cluster's total is right, whatever its groups' sizes are.
    std::int64_t before = 0, given = 0;
    for (NodeGroupSpec& group : cluster.groups) {
      if (!Scales(group)) continue;
      before += group.count;
      const std::int64_t total = (before * factor_milli + 999) / 1000;
      group.count = static_cast<std::int32_t>(total - given);
      given = total;
    }
  }
  return scaled;
}

ServiceComparison CompareService(const PlatformResult& result, const PlatformResult& baseline,
                                 const EqualService& rules) {
  ServiceComparison c;
  const auto say = [&c](const WorkloadResult& row, const char* what) {
    if (!c.equal) return;
    c.equal = false;
    c.reason = std::string(WorkClassName(row.work_class)) + ": " + what;
  };
  for (const WorkloadResult& base : baseline.classes) {
    const WorkloadResult* row = Find(result, base.work_class);
    if (row == nullptr) {
      say(base, "is not there");
      continue;
    }
    // A service that is slowed by what is allowed serves so much less of its demand, by definition.
    const bool service = base.work_class == WorkClass::kService;
    const double tolerance = service ? std::max(1 - 1000.0 / rules.slowdown_milli,
                                                rules.completed_tolerance_milli / 1000.0)
                                     : rules.completed_tolerance_milli / 1000.0;
    const double least = base.completed_gpu_hours * (1 - tolerance);
    if (row->completed_gpu_hours < least) say(base, "less work completed");
    if (base.wait_seconds.count > 0 &&
        row->wait_seconds.p99 > base.wait_seconds.p99 + rules.wait_tolerance_seconds) {
      say(base, "p99 wait is worse");
    }
    if (row->slowdown.count > 0 && row->slowdown.mean > rules.slowdown_milli / 1000.0) {
      say(base, "slower than allowed");
    }
  }
  return c;
}

Result<ScaleSearch> MinimalScale(const PlatformSpec& spec, const PlatformResult& baseline,
                                 const Registry& registry, const EqualService& rules,
                                 const PlatformOptions& options) {
  ScaleSearch search;
  search.cards_before = CardsOf(spec);
  std::map<std::vector<std::int32_t>, bool> known;  // by node counts: factors that round alike
  PlatformSpec best;
  const auto run = [&](PlatformSpec scaled) -> Result<bool> {
    std::vector<std::int32_t> counts;
    for (const ClusterSpec& cluster : scaled.clusters) {
      for (const NodeGroupSpec& group : cluster.groups) counts.push_back(group.count);
    }
    if (const auto it = known.find(counts); it != known.end()) return it->second;
    Result<PlatformResult> result = RunPlatform(scaled, registry, options);
    if (!result) return tl::unexpected<Error>(result.error());
    const ServiceComparison comparison = CompareService(*result, baseline, rules);
    known[counts] = comparison.equal;
    search.tried.push_back({CardsOf(scaled), comparison.equal, comparison.reason});
    if (comparison.equal) {
      search.cards = CardsOf(scaled);
      search.result = std::move(*result);
      best = std::move(scaled);
    }
    return comparison.equal;
  };
  Result<bool> whole = run(spec);
  if (!whole) return tl::unexpected<Error>(whole.error());
  search.found = *whole;
  std::int32_t low = 0, high = 1000;  // low does not serve, high does
  while (search.found && high - low > std::max(1, rules.step_milli)) {
    const std::int32_t middle = (low + high) / 2;
    const Result<bool> equal = run(ScaleNodes(spec, middle));
    if (!equal) return tl::unexpected<Error>(equal.error());
    (*equal ? high : low) = middle;
  }
  // Groups are not short in proportion: take single nodes where the service allows it.
  for (std::size_t c = 0; search.found && c < spec.clusters.size(); ++c) {
    for (std::size_t g = 0; g < spec.clusters[c].groups.size(); ++g) {
      if (!Scales(spec.clusters[c].groups[g])) continue;
      while (best.clusters[c].groups[g].count > 0) {
        PlatformSpec fewer = best;
        --fewer.clusters[c].groups[g].count;
        const Result<bool> equal = run(std::move(fewer));
        if (!equal) return tl::unexpected<Error>(equal.error());
        if (!*equal) break;
      }
    }
  }
  return search;
}

}  // namespace basalt::sim
