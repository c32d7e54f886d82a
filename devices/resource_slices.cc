#include "devices/resource_slices.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "devices/quantity.h"
#include "devices/registration.h"

namespace basalt::devices {
namespace {

using nlohmann::json;

struct Driver {
  std::string_view name;
  std::string_view vendor;
};
constexpr std::array kDrivers = {Driver{"gpu.amd.com", "amd"}, Driver{"gpu.nvidia.com", "nvidia"}};

constexpr std::size_t kMaxSpecBytes = std::size_t{1} << 20;
constexpr std::int64_t kMebi = std::int64_t{1} << 20;
constexpr std::string_view kMemorySlice = "memory-slice-";
constexpr int kMostNumaNodes = 1024;

const json* Member(const json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(name);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

std::string TextOf(const json* value) {
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

// Attributes of the driver's own domain may be written with or without it.
const json* Attribute(const json& device, const std::string& driver, const std::string& name) {
  const json* attributes = Member(device, "attributes");
  if (attributes == nullptr) return nullptr;
  const json* found = Member(*attributes, name);
  return found != nullptr ? found : Member(*attributes, driver + '/' + name);
}

std::string TextAttribute(const json& device, const std::string& driver, const std::string& name) {
  const json* value = Attribute(device, driver, name);
  return value == nullptr ? std::string() : TextOf(Member(*value, "string"));
}

// Numbers at the end of a name count as numbers: gpu-2 before gpu-10.
std::tuple<std::string, std::size_t, std::string> NaturalOrder(const std::string& name) {
  const std::size_t digits = name.find_last_not_of("0123456789") + 1;
  return {name.substr(0, digits), name.size() - digits, name.substr(digits)};
}

struct Counter {
  std::string set;
  std::map<std::string, std::int64_t> amounts;
};

struct Device {
  DeviceName name;
  std::string uuid, parent, product, type, profile, pcie_root;
  MiB memory_mib = 0;
  std::int32_t numa = -1;
  bool tainted = false;
  bool shared = false;  // allowMultipleAllocations
  std::vector<Counter> counters;
  std::string id() const { return name.driver + '/' + name.pool + '/' + name.device; }
};

class Reader {
 public:
  explicit Reader(const Catalog& catalog) : catalog_(catalog) {}

  Status Read(const std::string& text, const std::string& where) {
    if (text.size() > kMaxSpecBytes) return Fail(where, "is larger than 1 MiB");
    const json spec = json::parse(text, nullptr, /*allow_exceptions=*/false);
    const json* driver = Member(spec, "driver");
    const json* pool = Member(spec, "pool");
    if (driver == nullptr || !driver->is_string() || pool == nullptr ||
        TextOf(Member(*pool, "name")).empty()) {
      return Fail(where, "is not a ResourceSlice's spec: it has no driver or no pool");
    }
    const auto name = driver->get<std::string>();
    if (VendorOfDriver(name).empty()) return {};
    const json* devices = Member(spec, "devices");
    if (devices == nullptr) return {};  // counters alone
    if (!devices->is_array()) return Fail(where, "its devices are not a list");
    for (const json& device : *devices) {
      if (Status ok = ReadDevice(device, name, TextOf(Member(*pool, "name")), where); !ok)
        return ok;
    }
    return {};
  }

  Result<SlicedCards> Finish() {
    std::ranges::sort(devices_, {}, [](const Device& d) {
      return std::tuple(d.name.driver, d.name.pool, NaturalOrder(d.name.device));
    });
    std::map<std::pair<std::string, std::string>, std::size_t> by_uuid;  // of a driver
    std::map<std::tuple<std::string, std::string, std::string>, std::size_t> by_set;
    std::vector<const Device*> parts;
    for (const Device& d : devices_) {
      if (!IsWhole(d)) {
        parts.push_back(&d);
        continue;
      }
      if (d.shared) {
        Note(d.id() + ": several pods may have it at once (consumable capacity); it is left out");
        out_.left_out.push_back(d.name);
        continue;
      }
      const std::size_t place = out_.cards.size();
      if (!by_uuid.emplace(std::pair(d.name.driver, d.uuid), place).second) {
        return Fail(d.id(), "another device has the UUID " + d.uuid);
      }
      for (const Counter& counter : d.counters) {
        if (!by_set.emplace(std::tuple(d.name.driver, d.name.pool, counter.set), place).second) {
          return Fail(d.id(), "another whole card takes counters of " + counter.set);
        }
      }
      out_.cards.push_back({.uuid = d.uuid,
                            .product = d.product,
                            .vendor = std::string(VendorOfDriver(d.name.driver)),
                            .memory_mib = d.memory_mib,
                            .numa = d.numa,
                            .pcie_root = d.pcie_root,
                            .tainted = d.tainted,
                            .devices = {.whole = d.name}});
    }
    for (const Device* part : parts) {
      std::optional<std::size_t> place;
      for (const Counter& counter : part->counters) {
        const auto at = by_set.find({part->name.driver, part->name.pool, counter.set});
        if (at != by_set.end()) place = at->second;
      }
      if (const auto at = by_uuid.find({part->name.driver, part->parent});
          !place && !part->parent.empty() && at != by_uuid.end()) {
        place = at->second;
      }
      if (!place) {
        Note(part->id() + ": a part of a card that is not published; it is left out");
        out_.left_out.push_back(part->name);
        continue;
      }
      AddPart(*part, &out_.cards[*place]);
    }
    std::ranges::sort(out_.left_out);
    return std::move(out_);
  }

 private:
  void Note(std::string note) { out_.notes.push_back(std::move(note)); }

  // NVIDIA says "gpu", AMD "amdgpu"; a driver that says no type publishes cards.
  static bool IsWhole(const Device& d) {
    return d.type.empty() || d.type == "gpu" || d.type == "amdgpu";
  }

  void AddPart(const Device& part, SlicedCard* card) {
    const auto other = [&](const std::string& why) {
      card->devices.others.push_back(part.name.device);
      Note(part.id() + ": " + why + "; nobody is placed there");
    };
    if (part.shared) return other("several pods may have it at once");
    if (part.tainted) return other("it has a taint");
    const CardModel* model = FindModel(catalog_, ModelOfProduct(catalog_, card->product));
    if (part.type != "mig" || model == nullptr || model->rules.mig_slots == 0) {
      return other("a part that is no MIG instance of a known model");
    }
    const auto& profiles = model->rules.mig;
    const auto profile = std::ranges::find(profiles, part.profile, &MigProfile::name);
    if (profile == profiles.end()) {
      return other("the catalog has no MIG profile \"" + part.profile + "\" of " + model->name);
    }
    // The memory slices that it takes are its place.
    std::set<int> slots;
    for (const Counter& counter : part.counters) {
      for (const auto& [name, amount] : counter.amounts) {
        if (!name.starts_with(kMemorySlice) || amount == 0) continue;
        const std::string number = name.substr(kMemorySlice.size());
        if (number.empty() || number.size() > 2 ||
            number.find_first_not_of("0123456789") != std::string::npos) {
          return other("its counter " + name + " is no memory slice");
        }
        slots.insert(std::stoi(number));
      }
    }
    const int start = slots.empty() ? -1 : *slots.begin();
    const bool whole_run = std::cmp_equal(slots.size(), profile->size) && start >= 0 &&
                           *slots.rbegin() == start + profile->size - 1;
    if (!whole_run || std::ranges::find(profile->starts, start) == profile->starts.end()) {
      return other("its memory slices are not those of " + part.profile + " of " + model->name);
    }
    for (const DeviceInstance& known : card->devices.instances) {
      if (known.profile == part.profile && known.start == start) {
        return other("the same as " + known.device);
      }
    }
    card->devices.instances.push_back(
        {.profile = part.profile, .start = start, .device = part.name.device});
  }

  Status ReadDevice(const json& in, const std::string& driver, const std::string& pool,
                    const std::string& where) {
    Device out;
    out.name = {driver, pool, TextOf(Member(in, "name"))};
    if (out.name.device.empty()) return Fail(where, "a device has no name");
    if (!names_.insert(out.name).second) return Fail(where, out.id() + " is listed twice");
    out.uuid = TextAttribute(in, driver, "uuid");
    if (out.uuid.empty()) out.uuid = pool + '/' + out.name.device;
    // UUIDs get into annotations and messages.
    for (const char c : out.uuid) {
      if (c <= ' ' || c == ',' || c == 127) return Fail(where, out.id() + " has no clean UUID");
    }
    out.parent = TextAttribute(in, driver, "parentUUID");
    out.product = TextAttribute(in, driver, "productName");
    out.type = TextAttribute(in, driver, "type");
    out.profile = TextAttribute(in, driver, "profile");
    out.pcie_root = TextAttribute(in, driver, "resource.kubernetes.io/pcieRoot");
    for (const char* name : {"resource.kubernetes.io/numaNode", "numaNode", "numa"}) {
      const json* value = Attribute(in, driver, name);
      const json* number = value == nullptr ? nullptr : Member(*value, "int");
      if (number == nullptr || !number->is_number_integer() || out.numa >= 0) continue;
      const auto numa = number->get<std::int64_t>();
      if (numa >= 0 && numa < kMostNumaNodes) out.numa = static_cast<std::int32_t>(numa);
    }
    if (const json* capacity = Member(in, "capacity"); capacity != nullptr) {
      const json* memory = Member(*capacity, "memory");
      if (memory == nullptr) memory = Member(*capacity, driver + "/memory");
      if (memory != nullptr) {
        const auto bytes = ParseQuantity(TextOf(Member(*memory, "value")), out.id() + ": memory");
        if (!bytes) return Fail(where, bytes.error().ToString());
        out.memory_mib = bytes->value / kMebi;
      }
    }
    if (const json* shared = Member(in, "allowMultipleAllocations"); shared != nullptr) {
      out.shared = shared->is_boolean() && shared->get<bool>();
    }
    if (const json* taints = Member(in, "taints"); taints != nullptr && taints->is_array()) {
      for (const json& taint : *taints) {
        const std::string effect = TextOf(Member(taint, "effect"));
        out.tainted = out.tainted || effect == "NoSchedule" || effect == "NoExecute";
      }
    }
    if (const json* consumes = Member(in, "consumesCounters"); consumes != nullptr) {
      if (!consumes->is_array()) return Fail(where, out.id() + ": consumesCounters is not a list");
      for (const json& one : *consumes) {
        Counter counter{.set = TextOf(Member(one, "counterSet")), .amounts = {}};
        const json* counters = Member(one, "counters");
        if (counter.set.empty() || counters == nullptr || !counters->is_object()) {
          return Fail(where, out.id() + ": consumes counters without a set or without amounts");
        }
        for (const auto& [name, value] : counters->items()) {
          const auto amount = ParseQuantity(TextOf(Member(value, "value")), out.id() + ": " + name);
          if (!amount) return Fail(where, amount.error().ToString());
          counter.amounts[name] = amount->value;
        }
        out.counters.push_back(std::move(counter));
      }
    }
    devices_.push_back(std::move(out));
    return {};
  }

  const Catalog& catalog_;
  std::vector<Device> devices_;
  std::set<DeviceName> names_;
  SlicedCards out_;
};

const MigProfile* ProfileAt(const Catalog& catalog, const CardSpec& card, int profile) {
  const CardModel* model = FindModel(catalog, card.model);
  if (model == nullptr || profile < 0 || std::cmp_greater_equal(profile, model->rules.mig.size())) {
    return nullptr;
  }
  return &model->rules.mig[static_cast<std::size_t>(profile)];
}

// A whole card that is in MIG mode: the largest instance there is.
SliceTake WholeTake(const Catalog& catalog, const CardSpec& card, int index) {
  SliceTake take{.card = static_cast<std::int8_t>(index)};
  const CardModel* model = FindModel(catalog, card.model);
  if (card.mode == CardMode::kMig && model != nullptr && !model->rules.mig.empty()) {
    const auto& profiles = model->rules.mig;
    const auto largest = std::ranges::max_element(
        profiles, {}, [](const MigProfile& p) { return std::tuple(p.size, p.compute_milli); });
    take.mig_profile = static_cast<std::int8_t>(largest - profiles.begin());
    take.mig_start = 0;
    take.milli = static_cast<std::int16_t>(largest->compute_milli);
    take.memory = card.memory_mib == 0 ? 0 : static_cast<std::int32_t>(largest->memory_mib);
    return take;
  }
  take.milli = static_cast<std::int16_t>(std::max(card.compute_milli, kWholeCard));
  take.memory = static_cast<std::int32_t>(card.memory_mib);
  take.whole = true;
  return take;
}

}  // namespace

std::vector<std::string> CardDrivers() {
  std::vector<std::string> out;
  for (const Driver& driver : kDrivers) out.emplace_back(driver.name);
  return out;
}

std::string_view VendorOfDriver(std::string_view driver) {
  const auto at = std::ranges::find(kDrivers, driver, &Driver::name);
  return at == kDrivers.end() ? std::string_view() : at->vendor;
}

std::string ModelOfProduct(const Catalog& catalog, std::string_view product) {
  const CardModel* model = ModelOfType(catalog, product);
  return model != nullptr ? model->name : std::string(product);
}

Result<SlicedCards> ReadResourceSlices(const Catalog& catalog,
                                       const std::vector<std::string>& specs) {
  Reader reader(catalog);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (Status ok = reader.Read(specs[i], fmt::format("resource slice {}", i)); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
  }
  return reader.Finish();
}

std::string DriverLabel(std::string_view driver) { return "dra.basalt.io/" + std::string(driver); }

Result<std::vector<DeviceName>> DevicesOf(const std::vector<CardDevices>& devices,
                                          const std::vector<CardSpec>& cards,
                                          const Catalog& catalog,
                                          const std::vector<SliceTake>& slices, bool whole) {
  std::vector<DeviceName> out;
  for (const SliceTake& slice : slices) {
    const auto index = static_cast<std::size_t>(slice.card);
    if (index >= devices.size() || index >= cards.size()) {
      return Fail(fmt::format("card {}", slice.card), "is not told by a ResourceSlice");
    }
    const CardDevices& card = devices[index];
    DeviceName name = card.whole;
    if (!whole && slice.mig_profile >= 0) {
      const MigProfile* profile = ProfileAt(catalog, cards[index], slice.mig_profile);
      const auto at = std::ranges::find_if(card.instances, [&](const DeviceInstance& instance) {
        return profile != nullptr && instance.profile == profile->name &&
               instance.start == slice.mig_start;
      });
      name.device = at == card.instances.end() ? std::string() : at->device;
    } else if (!whole && !slice.whole) {
      name.device.clear();  // a share: DRA hands out devices, not parts that nobody publishes
    }
    if (name.device.empty()) return Fail("card " + cards[index].uuid, "no device is published");
    out.push_back(std::move(name));
  }
  return out;
}

Result<std::vector<SliceTake>> SlicesOfDevices(const Catalog& catalog,
                                               const std::vector<CardDevices>& devices,
                                               const std::vector<DeviceName>& left_out,
                                               const std::vector<CardSpec>& cards,
                                               const std::vector<DeviceName>& allocated) {
  std::vector<SliceTake> out;
  for (const DeviceName& name : allocated) {
    if (std::ranges::binary_search(left_out, name)) continue;
    const auto card = std::ranges::find_if(devices, [&](const CardDevices& one) {
      return one.whole.driver == name.driver && one.whole.pool == name.pool &&
             (one.whole.device == name.device ||
              std::ranges::find(one.others, name.device) != one.others.end() ||
              std::ranges::find(one.instances, name.device, &DeviceInstance::device) !=
                  one.instances.end());
    });
    const auto index = static_cast<std::size_t>(card - devices.begin());
    if (card == devices.end() || index >= cards.size()) {
      return Fail(name.driver + '/' + name.pool + '/' + name.device, "is not a device of the node");
    }
    const auto instance = std::ranges::find(card->instances, name.device, &DeviceInstance::device);
    if (instance == card->instances.end() || cards[index].mode != CardMode::kMig) {
      out.push_back(WholeTake(catalog, cards[index], static_cast<int>(index)));
      continue;
    }
    SliceTake take{.card = static_cast<std::int8_t>(index)};
    for (int p = 0; const MigProfile* profile = ProfileAt(catalog, cards[index], p); ++p) {
      if (profile->name != instance->profile) continue;
      take.mig_profile = static_cast<std::int8_t>(p);
      take.mig_start = static_cast<std::int8_t>(instance->start);
      take.milli = static_cast<std::int16_t>(profile->compute_milli);
      take.memory =
          cards[index].memory_mib == 0 ? 0 : static_cast<std::int32_t>(profile->memory_mib);
    }
    out.push_back(take);
  }
  std::ranges::stable_sort(out, {},
                           [](const SliceTake& t) { return std::tuple(t.card, t.mig_start); });
  return out;
}

}  // namespace basalt::devices
