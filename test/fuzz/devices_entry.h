// What the fuzzers do with vendors' files and pods. As entry.h: what is accepted keeps the module's
// promises.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "devices/allocation.h"
#include "devices/assignment.h"
#include "devices/catalog.h"
#include "devices/node_resources.h"
#include "devices/pod_file.h"
#include "devices/registration.h"
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

// "key=text" lines, as annotations; a text may hold "\\n" for a line's end.
inline std::map<std::string, std::string> Annotations(std::string_view input) {
  std::map<std::string, std::string> out;
  while (!input.empty()) {
    const std::size_t end = std::min(input.find('\n'), input.size());
    const std::string_view line = input.substr(0, end);
    input.remove_prefix(std::min(end + 1, input.size()));
    const std::size_t equals = line.find('=');
    if (equals != std::string_view::npos) {
      out[std::string(line.substr(0, equals))] = line.substr(equals + 1);
    }
  }
  return out;
}

// One register; the first line is its key.
inline void NodeRegister(std::string_view input) {
  const std::size_t end = std::min(input.find('\n'), input.size());
  const std::string key(input.substr(0, end));
  const auto read = devices::ReadRegister(key, input.substr(std::min(end + 1, input.size())), "n");
  if (!read) {
    BASALT_FUZZ_CHECK(read.error().where == key);
    return CheckDeviceError(read.error());
  }
  BASALT_FUZZ_CHECK(devices::IsRegister(key) && read->cards.size() <= 1024);
  for (const devices::RegisteredCard& card : read->cards) {
    BASALT_FUZZ_CHECK(!card.uuid.empty() && card.uuid.find('\n') == std::string::npos);
    BASALT_FUZZ_CHECK(card.memory_mib >= 0 && card.slots >= 0 && card.cores >= 0);
    BASALT_FUZZ_CHECK(card.numa >= -1 && card.group >= -1);
  }
}

// A node's annotations and amounts ("key=text"; keys without a slash and a point are amounts too):
// what is read is a valid node, and its cards are never more than were registered.
inline void NodeAnnotations(std::string_view input) {
  static const devices::Catalog catalog = devices::EmbeddedCatalog();
  devices::NodeResources node{.name = "n"};
  node.annotations = Annotations(input);
  node.capacity = node.annotations;
  node.labels = node.annotations;
  // Zones of the same amounts, as many as the text has lines up to nine.
  for (std::size_t i = 0; i < std::min<std::size_t>(node.annotations.size(), 9); ++i) {
    node.numa.zones.push_back({"node-" + std::to_string(i), node.annotations});
  }
  node.numa.policy = node.annotations["policy"];
  node.numa.scope = node.annotations["scope"];
  const auto read = devices::ReadNode(catalog, node);
  if (!read) return CheckDeviceError(read.error());
  BASALT_FUZZ_CHECK(ValidateNode(read->spec, "n").has_value());
  const std::size_t cards = read->spec.cards.size();
  BASALT_FUZZ_CHECK(read->conditions.size() == cards && read->facts.cards.size() == cards &&
                    read->facts.platforms.size() == cards);
  BASALT_FUZZ_CHECK(read->spec.machine.empty() == read->machine_source.empty());
  for (const CardSpec& card : read->spec.cards) {
    BASALT_FUZZ_CHECK(!card.uuid.empty());
    BASALT_FUZZ_CHECK(card.numa < read->spec.numa_nodes);
  }
  const auto registers = devices::ReadRegisters(node.annotations, "n");
  BASALT_FUZZ_CHECK(registers.has_value());
  for (const devices::Register& reg : *registers) {
    for (const devices::RegisteredCard& from : reg.cards) {
      const auto to = std::ranges::find(read->spec.cards, from.uuid, &CardSpec::uuid);
      if (to == read->spec.cards.end() || from.memory_mib == 0) continue;
      BASALT_FUZZ_CHECK(to->memory_mib * to->memory_ratio_percent / 100 <= from.memory_mib ||
                        reg.vendor == "nvidia");  // of two platforms one counts
    }
  }
}

// ResourceSlices, a spec a line: what is read is a valid node; each device of a card is one
// placement, and that placement is the device again, or the whole card where the engine cannot say
// it.
inline void ResourceSlices(std::string_view input) {
  static const devices::Catalog catalog = devices::EmbeddedCatalog();
  devices::NodeResources node{.name = "n"};
  while (!input.empty()) {
    const std::size_t end = std::min(input.find('\n'), input.size());
    node.resource_slices.emplace_back(input.substr(0, end));
    input.remove_prefix(std::min(end + 1, input.size()));
  }
  const auto read = devices::ReadNode(catalog, node);
  if (!read) return CheckDeviceError(read.error());
  BASALT_FUZZ_CHECK(ValidateNode(read->spec, "n").has_value());
  const std::vector<devices::CardDevices>& devices = read->facts.devices;
  BASALT_FUZZ_CHECK(devices.size() == read->spec.cards.size());
  for (const devices::CardDevices& card : devices) {
    std::vector<std::string> names = card.others;
    names.push_back(card.whole.device);
    for (const devices::DeviceInstance& instance : card.instances) names.push_back(instance.device);
    for (const std::string& name : names) {
      const devices::DeviceName device{card.whole.driver, card.whole.pool, name};
      const auto slices = devices::SlicesOfDevices(catalog, devices, read->facts.left_out,
                                                   read->spec.cards, {device});
      BASALT_FUZZ_CHECK(slices.has_value() && slices->size() == 1);
      const bool instance =
          std::ranges::find(card.instances, name, &devices::DeviceInstance::device) !=
          card.instances.end();
      const auto again = devices::DevicesOf(devices, read->spec.cards, catalog, *slices, !instance);
      BASALT_FUZZ_CHECK(again.has_value() && again->size() == 1);
      BASALT_FUZZ_CHECK(again->front().device == (instance ? name : card.whole.device));
    }
  }
}

// A pod's annotations, for a pod of three containers on a node of eight cards, some in MIG mode:
// slices are of its cards and its containers.
inline void PodGrants(std::string_view input) {
  static const devices::Catalog catalog = devices::EmbeddedCatalog();
  static const std::vector<CardSpec> cards = [] {
    std::vector<CardSpec> out(8);
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i].uuid = "GPU-" + std::to_string(i);
      out[i].model = i < 4 ? "A100" : i < 6 ? "Ascend910B3" : "S4000";
      out[i].memory_mib = 40960;
      out[i].mode = i < 2 ? CardMode::kMig : CardMode::kShared;
    }
    return out;
  }();
  // The kubelet's words are one text.
  if (const auto given = devices::GrantedCards(input, cards); given) {
    BASALT_FUZZ_CHECK(given->bits() >> cards.size() == 0);
  } else {
    CheckDeviceError(given.error());
  }
  const auto grants = devices::ReadGrants(Annotations(input));
  if (!grants) {
    BASALT_FUZZ_CHECK(!grants.error().where.empty());
    return CheckDeviceError(grants.error());
  }
  devices::PodRequest request;
  request.spec.containers.resize(2);
  request.slots = {{.name = "i", .init = true, .container = 1},
                   {.name = "a", .container = 0},
                   {.name = "none"},
                   {.name = "b", .container = 1}};
  for (const bool done : {false, true}) {
    const auto slices = devices::SlicesOf(catalog, *grants, request, cards, done);
    if (!slices) return CheckDeviceError(slices.error());
    for (const SliceTake& take : *slices) {
      BASALT_FUZZ_CHECK(take.card >= 0 && take.card < 8);
      BASALT_FUZZ_CHECK(take.container >= 0 && take.container < 2);
      BASALT_FUZZ_CHECK(take.milli >= 0 && take.milli <= kWholeCard && take.memory >= 0);
      BASALT_FUZZ_CHECK((take.mig_profile >= 0) == (take.mig_start >= 0));
    }
    BASALT_FUZZ_CHECK(devices::AreAlike(*slices, *slices));
  }
}

}  // namespace basalt::fuzz
