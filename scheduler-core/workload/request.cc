#include "scheduler-core/workload/request.h"

#include <fmt/format.h>

#include "scheduler-core/base/digest.h"
#include "topology/card_set.h"

namespace basalt {

Status ValidateRequest(const RequestSpec& spec, const std::string& where) {
  constexpr std::int64_t kMax = kMaxAmount;
  const auto bad = [&](std::string what) { return Fail(where, std::move(what)); };
  if (spec.cpu_milli < 0 || spec.cpu_milli > kMax) {
    return bad(fmt::format("cpu_milli {} is outside 0..{}", spec.cpu_milli, kMax));
  }
  if (spec.memory_mib < 0 || spec.memory_mib > kMax) {
    return bad(fmt::format("memory_mib {} is outside 0..{}", spec.memory_mib, kMax));
  }
  if (spec.gpus < 0 || spec.gpus > kMaxCardsPerNode) {
    return bad(fmt::format("{} cards asked; a pod may ask 0..{}", spec.gpus, kMaxCardsPerNode));
  }
  if (spec.gpu_milli < 0 || spec.gpu_milli > kWholeCard) {
    return bad(fmt::format("gpu_milli {} is outside 0..{} (1000 is one card)", spec.gpu_milli,
                           kWholeCard));
  }
  if (spec.gpu_memory_mib < 0 || spec.gpu_memory_mib > kMax) {
    return bad(fmt::format("gpu_memory_mib {} is outside 0..{}", spec.gpu_memory_mib, kMax));
  }
  if (spec.gpu_memory_percent < 0 || spec.gpu_memory_percent > 100) {
    return bad(fmt::format("gpu_memory_percent {} is outside 0..100", spec.gpu_memory_percent));
  }
  const bool asks_card =
      spec.gpu_milli > 0 || spec.gpu_memory_mib > 0 || spec.gpu_memory_percent > 0;
  if (spec.gpus == 0 && asks_card) return bad("asks for a share of cards but for 0 cards");
  if (spec.gpus > 0 && !asks_card) {
    return bad(
        fmt::format("asks for {} cards but for no compute and no memory on them; "
                    "gpu_milli 1000 is a whole card",
                    spec.gpus));
  }
  if (spec.min_bandwidth_mbps < 0 || spec.min_bandwidth_mbps > kMaxAmount) {
    return bad(
        fmt::format("min_bandwidth_mbps {} is outside 0..{}", spec.min_bandwidth_mbps, kMax));
  }
  if (spec.min_bandwidth_mbps > 0 && spec.gpus < 2) {
    return bad("asks for bandwidth between cards, but for fewer than 2 cards");
  }
  if (spec.bandwidth_required && spec.min_bandwidth_mbps == 0) {
    return bad("requires a bandwidth but names none (min_bandwidth_mbps)");
  }
  if (spec.nics < 0 || spec.nics > kMaxNicsPerNode) {
    return bad(fmt::format("{} NICs asked; a pod may ask 0..{}", spec.nics, kMaxNicsPerNode));
  }
  if (spec.containers.empty()) return {};
  ContainerSpec sum;
  for (const ContainerSpec& c : spec.containers) {
    if (c.cpu_milli < 0 || c.memory_mib < 0 || c.gpus < 0 || c.nics < 0 || c.cpu_milli > kMax ||
        c.memory_mib > kMax || c.gpus > kMaxCardsPerNode || c.nics > kMaxNicsPerNode) {
      return bad("a container asks for a negative or absurd amount");
    }
    sum.cpu_milli += c.cpu_milli;
    sum.memory_mib += c.memory_mib;
    sum.gpus += c.gpus;
    sum.nics += c.nics;
  }
  const ContainerSpec pod{spec.cpu_milli, spec.memory_mib, spec.gpus, spec.nics};
  if (spec.containers.size() > kMaxContainers || sum != pod) {
    return bad(fmt::format("its {} containers do not add up to the pod, or are more than {}",
                           spec.containers.size(), kMaxContainers));
  }
  return {};
}

std::string Describe(const RequestSpec& spec) {
  std::string text;
  if (spec.gpus > 0) {
    text = fmt::format("{} x {}m", spec.gpus, spec.gpu_milli);
    if (spec.gpu_memory_mib > 0) text += fmt::format(" {} MiB", spec.gpu_memory_mib);
    if (spec.gpu_memory_percent > 0) text += fmt::format(" {}% memory", spec.gpu_memory_percent);
    for (std::size_t i = 0; i < spec.models.size(); ++i) {
      text += (i == 0 ? " " : "|") + spec.models[i];
    }
    text += ", ";
  }
  text += fmt::format("{:g} CPU", static_cast<double>(spec.cpu_milli) / 1000);
  if (spec.memory_mib > 0) {
    text += fmt::format(", {:g} GiB", static_cast<double>(spec.memory_mib) / 1024);
  }
  for (const LabelRequirement& need : spec.node_selector) {
    text += fmt::format(", {}={}", need.key, need.value);
  }
  if (spec.nics > 0) text += fmt::format(", {} NIC", spec.nics);
  if (spec.min_bandwidth_mbps > 0) {
    text += fmt::format(", {} {:g} GB/s", spec.bandwidth_required ? "at least" : "preferably",
                        static_cast<double>(spec.min_bandwidth_mbps) / 1000);
  }
  if (spec.numa != topology::NumaPolicy::kNone) {
    text += fmt::format(", NUMA {}", topology::NumaPolicyName(spec.numa));
  }
  if (!spec.containers.empty()) text += fmt::format(", {} containers", spec.containers.size());
  return text;
}

std::string UidText(const PodUid& uid) { return Digest128{uid.hi, uid.lo}.ToHex(); }

PodUid PodUidFromName(std::string_view name) {
  const Digest128 d = DigestOf(name);
  return PodUid{d.hi, d.lo};
}

}  // namespace basalt
