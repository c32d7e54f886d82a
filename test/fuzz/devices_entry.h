// What the fuzzers do with vendors' files and pods. As entry.h: what is accepted keeps the module's
// promises.
#pragma once

#include <string>
#include <string_view>

#include "devices/assignment.h"
#include "devices/catalog.h"
#include "devices/pod_file.h"
#include "devices/resources.h"
#include "test/fuzz/entry.h"

namespace basalt::fuzz {

inline void CheckDeviceError(const Error& error) {
  BASALT_FUZZ_CHECK(!error.message.empty());
  BASALT_FUZZ_CHECK(error.message.find('\0') == std::string::npos);
}

// A vendor's file: its models' rules are valid, and any ask on them is within the card.
inline void DeviceCatalog(std::string_view input) {
  const auto vendor = devices::ParseVendor("f", std::string(input));
  if (!vendor) {
    BASALT_FUZZ_CHECK(vendor.error().where.starts_with("f"));
    return CheckDeviceError(vendor.error());
  }
  devices::Catalog catalog;
  if (!devices::AddVendor(&catalog, *vendor, "f")) return;
  for (const CardRules& rules : devices::CardRulesOf(catalog)) {
    BASALT_FUZZ_CHECK(ValidateCardRules(rules, "r").has_value());
    for (const int milli : {0, 1, 333, 1000}) {
      for (const int memory : {0, 1, 8191, 65536}) {
        const CardDemand d =
            DemandOn({.milli = milli, .memory = memory}, &rules, 65536, 65536, kWholeCard);
        if (!d.possible) continue;
        BASALT_FUZZ_CHECK(d.milli >= milli && d.milli <= kWholeCard);
        BASALT_FUZZ_CHECK(d.memory >= memory && d.memory <= 65536);
      }
    }
    std::uint32_t occupied = 0;
    for (std::size_t i = 0; i < rules.mig.size(); ++i) {
      const int start = BestMigStart(rules, static_cast<int>(i), occupied);
      if (start < 0) continue;
      BASALT_FUZZ_CHECK((occupied & MigMask(rules.mig[i], start)) == 0);
      occupied |= MigMask(rules.mig[i], start);
    }
    BASALT_FUZZ_CHECK(occupied >> rules.mig_slots == 0);
  }
}

// A pod: what is read is a valid request, and a whole-card answer to it can be written out.
inline void PodFile(std::string_view input) {
  static const devices::Catalog catalog = devices::EmbeddedCatalog();
  const auto pod = devices::ReadPodFile("f", std::string(input));
  if (!pod) {
    BASALT_FUZZ_CHECK(pod.error().where.starts_with("f"));
    return CheckDeviceError(pod.error());
  }
  const auto request = devices::ReadRequest(catalog, *pod);
  if (!request) return CheckDeviceError(request.error());
  BASALT_FUZZ_CHECK(ValidateRequest(request->spec, "r").has_value());
  BASALT_FUZZ_CHECK(request->slots.size() == pod->containers.size());
  if (request->spec.gpus == 0) return;
  devices::AssignmentInput answer{.node = "n"};
  answer.cards.push_back({.uuid = "u", .model = "A100"});
  answer.slices.push_back({.milli = kWholeCard, .memory = 40960, .whole = true});
  const auto assigned = devices::Assign(catalog, *request, answer);
  if (!assigned) return CheckDeviceError(assigned.error());
  BASALT_FUZZ_CHECK(assigned->limits.size() == request->slots.size());
}

}  // namespace basalt::fuzz
