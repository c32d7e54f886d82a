#include "scheduler-core/workload/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "scheduler-core/base/digest.h"
#include "topology/card_set.h"

namespace basalt {
namespace {

constexpr std::array<std::string_view, 3> kServiceClasses = {"guaranteed", "burstable",
                                                             "best-effort"};

// The sum of the containers, and whether each that has cards says what it wants of them.
Status CheckContainers(const RequestSpec& spec, bool pod_asks, const std::string& where) {
  constexpr std::int64_t kMax = kMaxAmount;
  ContainerSpec sum;
  bool some_ask = false;
  bool each_asks = true;
  for (const ContainerSpec& c : spec.containers) {
    if (c.cpu_milli < 0 || c.memory_mib < 0 || c.gpus < 0 || c.nics < 0 || c.cpu_milli > kMax ||
        c.memory_mib > kMax || c.gpus > kMaxCardsPerNode || c.nics > kMaxNicsPerNode ||
        c.gpu_milli < 0 || c.gpu_milli > kWholeCard || c.gpu_memory_mib < 0 ||
        c.gpu_memory_mib > kMax || c.gpu_memory_percent < 0 || c.gpu_memory_percent > 100 ||
        c.compute_units < 0 || c.compute_units > kMax) {
      return Fail(where, "a container asks for a negative or absurd amount");
    }
    if (c.gpus == 0 && c.asks_card()) {
      return Fail(where, "a container asks for a share of cards but for 0 cards");
    }
    if (c.gpu_milli > 0 && c.compute_units > 0) {
      return Fail(where, "a container asks for compute in milli and in units; say one of them");
    }
    sum.cpu_milli += c.cpu_milli;
    sum.memory_mib += c.memory_mib;
    sum.gpus += c.gpus;
    sum.nics += c.nics;
    some_ask = some_ask || c.asks_card();
    each_asks = each_asks && (c.gpus == 0 || c.asks_card());
  }
  if (spec.containers.size() > kMaxContainers || sum.cpu_milli != spec.cpu_milli ||
      sum.memory_mib != spec.memory_mib || sum.gpus != spec.gpus || sum.nics != spec.nics) {
    return Fail(where,
                fmt::format("its {} containers do not add up to the pod, or are more than {}",
                            spec.containers.size(), kMaxContainers));
  }
  if (some_ask && (pod_asks || !each_asks)) {
    return Fail(where,
                "some of its containers say what they want of their cards: then each that has "
                "cards must, and the pod itself must not");
  }
  if (some_ask && (spec.passthrough || spec.bandwidth_required)) {
    return Fail(where,
                "containers with slices of their own cannot have passthrough cards or a required "
                "bandwidth");
  }
  return {};
}

}  // namespace

std::string_view ServiceClassName(ServiceClass service_class) {
  return kServiceClasses[static_cast<std::size_t>(service_class)];
}

Result<ServiceClass> ParseServiceClass(std::string_view name) {
  for (std::size_t i = 0; i < kServiceClasses.size(); ++i) {
    if (kServiceClasses[i] == name) return static_cast<ServiceClass>(i);
  }
  return Fail(std::string(name), "is no service class; guaranteed, burstable or best-effort");
}

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
  if (spec.compute_units < 0 || spec.compute_units > kMax) {
    return bad(fmt::format("compute_units {} is outside 0..{}", spec.compute_units, kMax));
  }
  if (spec.compute_units > 0 && spec.gpu_milli > 0) {
    return bad("asks for compute in milli and in units; say one of them");
  }
  if (spec.memory_ratio_percent != 0 &&
      (spec.memory_ratio_percent < 100 || spec.memory_ratio_percent > kMaxMemoryRatio)) {
    return bad(fmt::format("memory_ratio_percent {} is outside 100..{} (0: the card's own)",
                           spec.memory_ratio_percent, kMaxMemoryRatio));
  }
  if (spec.passthrough && (spec.gpus == 0 || spec.gpu_milli != kWholeCard)) {
    return bad("asks for passthrough: that is whole cards (gpu_milli 1000)");
  }
  const bool asks_card = spec.gpu_milli > 0 || spec.gpu_memory_mib > 0 ||
                         spec.gpu_memory_percent > 0 || spec.compute_units > 0 ||
                         !spec.mig_profile.empty();
  const bool containers_ask = std::any_of(spec.containers.begin(), spec.containers.end(),
                                          [](const ContainerSpec& c) { return c.asks_card(); });
  if (spec.gpus == 0 && asks_card) return bad("asks for a share of cards but for 0 cards");
  if (spec.gpus > 0 && !asks_card && !containers_ask) {
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
  return CheckContainers(spec, asks_card, where);
}

std::string Describe(const RequestSpec& spec) {
  std::string text;
  if (spec.gpus > 0) {
    text = spec.compute_units > 0      ? fmt::format("{} x {} units", spec.gpus, spec.compute_units)
           : !spec.mig_profile.empty() ? fmt::format("{} x MIG {}", spec.gpus, spec.mig_profile)
                                       : fmt::format("{} x {}m", spec.gpus, spec.gpu_milli);
    if (spec.gpu_memory_mib > 0) text += fmt::format(" {} MiB", spec.gpu_memory_mib);
    if (spec.gpu_memory_percent > 0) text += fmt::format(" {}% memory", spec.gpu_memory_percent);
    for (std::size_t i = 0; i < spec.models.size(); ++i) {
      text += (i == 0 ? " " : "|") + spec.models[i];
    }
    for (std::size_t i = 0; i < spec.vendors.size(); ++i) {
      text += (i == 0 ? " of " : "|") + spec.vendors[i];
    }
    if (spec.passthrough) text += " passthrough";
    if (spec.service_class != ServiceClass::kGuaranteed) {
      text += fmt::format(" {}", ServiceClassName(spec.service_class));
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
  if (!spec.containers.empty()) {
    text += fmt::format(", {} containers", spec.containers.size());
    const char* before = " (";
    for (const ContainerSpec& c : spec.containers) {
      if (!c.asks_card()) continue;
      text += fmt::format("{}{} x {}{}", before, c.gpus,
                          c.compute_units > 0 ? c.compute_units : c.gpu_milli,
                          c.compute_units > 0 ? " units" : "m");
      if (c.gpu_memory_mib > 0) text += fmt::format(" {} MiB", c.gpu_memory_mib);
      if (c.gpu_memory_percent > 0) text += fmt::format(" {}% memory", c.gpu_memory_percent);
      before = ", ";
    }
    if (*before == ',') text += ")";
  }
  return text;
}

void AddTo(const RequestSpec& spec, Digest* digest) {
  const auto count = [digest](std::size_t n) { digest->Add(static_cast<std::uint64_t>(n)); };
  const auto names = [&](const std::vector<std::string>& all) {
    count(all.size());
    for (const std::string& name : all) digest->Add(name);
  };
  digest->Add(spec.cpu_milli);
  digest->Add(spec.memory_mib);
  digest->Add(spec.gpus);
  digest->Add(spec.gpu_milli);
  digest->Add(spec.gpu_memory_mib);
  digest->Add(spec.gpu_memory_percent);
  names(spec.models);
  count(spec.node_selector.size());
  for (const LabelRequirement& need : spec.node_selector) {
    digest->Add(need.key);
    digest->Add(need.value);
  }
  names(spec.tolerations);
  digest->Add(spec.min_bandwidth_mbps);
  digest->Add(spec.bandwidth_required ? 1 : 0);
  digest->Add(spec.nics);
  digest->Add(static_cast<std::uint64_t>(spec.numa));
  count(spec.containers.size());
  for (const ContainerSpec& c : spec.containers) {
    digest->Add(c.cpu_milli);
    digest->Add(c.memory_mib);
    digest->Add(c.gpus);
    digest->Add(c.nics);
    digest->Add(c.gpu_milli);
    digest->Add(c.gpu_memory_mib);
    digest->Add(c.gpu_memory_percent);
    digest->Add(c.compute_units);
  }
  digest->Add(spec.compute_units);
  names(spec.vendors);
  names(spec.nouse_models);
  names(spec.use_uuids);
  names(spec.nouse_uuids);
  digest->Add(static_cast<std::uint64_t>(spec.service_class));
  digest->Add(spec.memory_ratio_percent);
  digest->Add(spec.qos);
  digest->Add(spec.mig_profile);
  digest->Add(spec.passthrough ? 1 : 0);
}

std::string UidText(const PodUid& uid) { return Digest128{uid.hi, uid.lo}.ToHex(); }

PodUid PodUidFromName(std::string_view name) {
  const Digest128 d = DigestOf(name);
  return PodUid{d.hi, d.lo};
}

}  // namespace basalt
