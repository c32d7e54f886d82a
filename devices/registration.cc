#include "devices/registration.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "devices/quantity.h"
#include "topology/card_set.h"

namespace basalt::devices {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxRegisterBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxRegistered = 1024;  // cards of one register; nodes have 64
constexpr std::size_t kMaxWord = 128;
constexpr std::int64_t kMaxNuma = 1023;
constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();

constexpr std::string_view kVolcanoKey = "volcano.sh/node-vgpu-register";
constexpr std::string_view kMetaxKey = "metax-tech.com/node-gpu-devices";
constexpr std::string_view kEnflameKey = "enflame.com/gcu-drs-capacity";
constexpr std::string_view kByVendor = "hami.io/node-register-";  // and then a word
constexpr std::string_view kNode = "hami.io/node-", kRegister = "-register";

// The words of keys that are vendors, not models.
struct KeyWord {
  std::string_view word, vendor;
};
constexpr std::array<KeyWord, 6> kWords = {{{"nvidia", "nvidia"},
                                            {"dcu", "hygon"},
                                            {"amd", "amd"},
                                            {"mlu", "cambricon"},
                                            {"va", ""},
                                            {"biren", ""}}};

bool IsWord(std::string_view text) {
  return !text.empty() && text.size() <= kMaxWord &&
         std::ranges::none_of(text, [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; });
}

// --- fields ------------------------------------------------------------------------------------

class Fields {
 public:
  explicit Fields(std::string key) : key_(std::move(key)) {}
  // The first fault that was met; empty: none.
  const std::string& fault() const { return fault_; }
  void Refuse(std::string fault) {
    if (fault_.empty()) fault_ = std::move(fault);
  }
  tl::unexpected<Error> Failure() const { return Fail(key_, fault_); }

  std::int32_t Number(std::string_view text, std::string_view what, std::int64_t low,
                      std::int64_t high) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
      Refuse(fmt::format("{} is not a whole number of {}..{}", what, low, high));
      return 0;
    }
    return static_cast<std::int32_t>(value);
  }
  bool Truth(std::string_view text, std::string_view what) {
    if (text != "true" && text != "false") Refuse(fmt::format("{} is not true or false", what));
    return text == "true";
  }
  std::string Word(std::string_view text, std::string_view what) {
    if (!IsWord(text)) Refuse(fmt::format("{} is empty, too long or not printable", what));
    return std::string(text);
  }

  // Members of objects: what is missing or null is zero, as Go's omitempty leaves it out.
  std::int32_t Member(const json& object, const char* member, std::int64_t low, std::int64_t high) {
    const auto at = object.find(member);
    if (at == object.end() || at->is_null()) return 0;
    if (at->is_number_integer()) {
      // Beyond 63 bits is beyond every limit, too.
      const bool large = at->is_number_unsigned() &&
                         at->get<std::uint64_t>() > static_cast<std::uint64_t>(kMaxInt32);
      const std::int64_t value = large ? -1 : at->get<std::int64_t>();
      if (!large && value >= low && value <= high) return static_cast<std::int32_t>(value);
    }
    Refuse(fmt::format("{} is not a whole number of {}..{}", member, low, high));
    return 0;
  }
  bool Flag(const json& object, const char* member) {
    const auto at = object.find(member);
    if (at == object.end() || at->is_null()) return false;
    if (!at->is_boolean()) Refuse(fmt::format("{} is not true or false", member));
    return at->is_boolean() && at->get<bool>();
  }
  // Empty where it is missing.
  std::string Text(const json& object, const char* member) {
    const auto at = object.find(member);
    if (at == object.end() || at->is_null()) return {};
    if (!at->is_string()) {
      Refuse(fmt::format("{} is not a text", member));
      return {};
    }
    const auto& text = at->get_ref<const std::string&>();
    return text.empty() ? text : Word(text, member);
  }
  // A text, or a number as one.
  std::string Digits(const json& object, const char* member) {
    const auto at = object.find(member);
    if (at == object.end() || !at->is_number_unsigned()) return Text(object, member);
    return std::to_string(at->get<std::uint64_t>());
  }
  json List(const json& object, const char* member) {
    const auto at = object.find(member);
    if (at == object.end() || at->is_null()) return json::array();
    if (!at->is_array()) Refuse(fmt::format("{} is not a list", member));
    return at->is_array() ? *at : json::array();
  }

 private:
  std::string key_;
  std::string fault_;
};

// --- forms -------------------------------------------------------------------------------------

// "uuid,count,devmem,devcore,type,numa,health[,index,mode]:" of HAMi.
void ReadText(std::string_view text, Fields& f, std::vector<RegisteredCard>* cards) {
  for (const std::string_view device : SplitAt(text, ':')) {
    if (device.empty()) continue;
    const auto parts = SplitAt(device, ',');
    if (parts.size() != 7 && parts.size() != 9) {
      return f.Refuse(fmt::format("a card has {} fields, not 7 or 9", parts.size()));
    }
    RegisteredCard& card = cards->emplace_back();
    card.uuid = f.Word(parts[0], "a UUID");
    card.slots = f.Number(parts[1], "count", 0, kMaxInt32);
    card.memory_mib = f.Number(parts[2], "devmem", 0, kMaxInt32);
    card.cores = f.Number(parts[3], "devcore", 0, kMaxInt32);
    card.type = f.Word(parts[4], "type");
    card.numa = f.Number(parts[5], "numa", -1, kMaxNuma);
    card.healthy = f.Truth(parts[6], "health");
    card.mode = "hami-core";
    card.index = 0;
    if (parts.size() == 9) {
      card.index = f.Number(parts[7], "index", 0, kMaxInt32);
      card.mode = f.Word(parts[8], "mode");
    }
    if (!f.fault().empty()) return;
  }
}

// "uuid,count,devmem,type,health[,mode]:" of Volcano, in the order of minors.
void ReadVolcano(std::string_view text, Fields& f, std::vector<RegisteredCard>* cards) {
  for (const std::string_view device : SplitAt(text, ':')) {
    if (device.empty()) continue;
    const auto parts = SplitAt(device, ',');
    if (parts.size() < 5) {
      return f.Refuse(fmt::format("a card has {} fields, not 6", parts.size()));
    }
    RegisteredCard& card = cards->emplace_back();
    card.uuid = f.Word(parts[0], "a UUID");
    card.slots = f.Number(parts[1], "count", 0, kMaxInt32);
    card.memory_mib = f.Number(parts[2], "devmem", 0, kMaxInt32);
    card.type = f.Word(parts[3], "type");
    card.healthy = f.Truth(parts[4], "health");
    if (parts.size() > 5 && !parts[5].empty()) card.mode = f.Word(parts[5], "mode");
    if (!f.fault().empty()) return;
  }
}

void ReadJson(const json& list, Fields& f, Register* out) {
  bool old = false;
  for (const json& device : list) {
    if (!device.is_object()) return f.Refuse("a card is not an object");
    RegisteredCard& card = out->cards.emplace_back();
    card.uuid = f.Text(device, "id");
    card.type = f.Text(device, "type");
    card.index = f.Member(device, "index", 0, kMaxInt32);
    card.slots = f.Member(device, "count", 0, kMaxInt32);
    card.memory_mib = f.Member(device, "devmem", 0, kMaxInt32);
    card.cores = f.Member(device, "devcore", 0, kMaxInt32);
    card.numa = f.Member(device, "numa", -1, kMaxNuma);
    card.mode = f.Text(device, "mode");
    card.healthy = f.Flag(device, "health");
    for (const json& profile : f.List(device, "migProfiles")) {
      if (!profile.is_object()) return f.Refuse("a MIG profile is not an object");
      card.mig.push_back({f.Text(profile, "name"), f.Member(profile, "memoryMB", 0, kMaxInt32)});
    }
    if (const auto more = device.find("custominfo"); more != device.end() && more->is_object()) {
      if (more->contains("NetworkID")) card.group = f.Member(*more, "NetworkID", 0, 127);
    }
    old = old || device.contains("devicepairscore");
    if (!f.fault().empty()) return;
  }
  if (out->vendor == "nvidia") out->version = old ? HamiVersion::kV2_8 : HamiVersion::kV2_10;
}

void ReadMetax(const json& list, Fields& f, std::vector<RegisteredCard>* cards) {
  for (const json& device : list) {
    if (!device.is_object()) return f.Refuse("a card is not an object");
    RegisteredCard& card = cards->emplace_back();
    card.uuid = f.Text(device, "uuid");
    card.type = f.Text(device, "model");
    card.slots = f.Member(device, "totalDevCount", 0, kMaxInt32);
    card.cores = f.Member(device, "totalCompute", 0, kMaxInt32);
    card.memory_mib = f.Member(device, "totalVRam", 0, kMaxInt32);
    card.numa = f.Member(device, "numa", -1, kMaxNuma);
    card.healthy = f.Flag(device, "healthy");
    // Zone 0: no links.
    if (const std::int32_t zone = f.Member(device, "linkZone", 0, 127); zone > 0) card.group = zone;
    if (!f.fault().empty()) return;
  }
}

// The memory of a profile "3g.20gb" in GB, 0 where the name does not say it.
std::int64_t ProfileGb(std::string_view name) {
  const std::size_t dot = name.find('.');
  if (dot == std::string_view::npos || !name.ends_with("gb")) return 0;
  const std::string_view digits = name.substr(dot + 1, name.size() - dot - 3);
  std::int64_t gb = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), gb);
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  return whole && gb > 0 && gb < 100'000 ? gb : 0;
}

// {"devices":[{"index":"0","minor":"0","capacity":6}],"profiles":{"1g.6gb":"0"}}; ids as HAMi makes
// them.
void ReadEnflame(const json& object, const std::string& node, Fields& f, Register* out) {
  if (!object.contains("devices")) return f.Refuse("has no devices");
  const json devices = f.List(object, "devices");
  if (const auto profiles = object.find("profiles");
      profiles != object.end() && profiles->is_object()) {
    for (const auto& [name, id] : profiles->items()) {
      if (!IsWord(name) || !id.is_string() || !IsWord(id.get_ref<const std::string&>())) {
        return f.Refuse("a profile is not a text with its id");
      }
      out->profile_ids[name] = id.get<std::string>();
    }
  }
  std::int64_t gb = 0;
  for (const auto& [name, id] : out->profile_ids) gb = std::max(gb, ProfileGb(name));
  for (const json& device : devices) {
    if (!device.is_object()) return f.Refuse("a card is not an object");
    RegisteredCard& card = out->cards.emplace_back();
    const std::string index = f.Digits(device, "index");
    card.index = index.empty() ? static_cast<std::int32_t>(out->cards.size()) - 1
                               : f.Number(index, "index", 0, kMaxInt32);
    card.minor = f.Digits(device, "minor");
    if (card.minor.empty()) card.minor = std::to_string(card.index);
    card.uuid = fmt::format("{}-enflame-drs-{}", node, card.index);
    card.type = "Enflame";
    card.memory_mib = gb * 1024;
    card.healthy = true;
    if (!f.fault().empty()) return;
  }
}

// What the key says of the register.
Register OfKey(std::string_view key) {
  Register out;
  out.key = key;
  out.platform = "hami";
  if (key == kVolcanoKey) {
    out.platform = "volcano";
    out.vendor = "nvidia";
  } else if (key == kMetaxKey) {
    out.vendor = "metax";
  } else if (key == kEnflameKey) {
    out.vendor = "enflame";
  } else if (key.starts_with(kByVendor)) {
    const std::string_view word = key.substr(kByVendor.size());
    out.vendor = word == "xpu" ? "kunlunxin" : "ascend";
    if (word != "xpu") out.word = word;
  } else {
    const std::string_view word =
        key.substr(kNode.size(), key.size() - kNode.size() - kRegister.size());
    const auto known = std::ranges::find(kWords, word, &KeyWord::word);
    out.vendor = known == kWords.end() ? "iluvatar" : known->vendor;
    if (known == kWords.end()) out.word = word;
  }
  return out;
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

// --- capacity ----------------------------------------------------------------------------------

// Vendors whose plugins register nothing: how many of the resource a card is, and the memory that
// all cards have together (HAMi v2.10).
struct Counted {
  std::string_view resource, vendor, id, platform = "hami";
  std::int64_t per_card = 1;
  std::string_view memory = {};
  std::int64_t memory_unit_mib = 0;
  std::int64_t memory_mib = 0;  // of each, where it is fixed
  std::int32_t slots = 1;
};
constexpr std::array<Counted, 7> kCounted = {{
    {"cambricon.com/mlu.smlu.vcore", "cambricon", "-cambricon-mlu-", "hami", 100,
     "cambricon.com/mlu.smlu.vmemory", 256, 0, 0},
    {"enflame.com/gcu", "enflame", "-GCU-"},
    {"kunlunxin.com/xpu", "kunlunxin", "-kunlun-", "hami", 1, "", 0, 98304},
    {"metax-tech.com/gpu", "metax", "-metax-", "hami", 1, "", 0, 65536},
    {"mthreads.com/sgpu-core", "mthreads", "-mthreads-", "hami", 16, "mthreads.com/sgpu-memory",
     512, 0, 100},
    {"nvidia.com/gpu", "nvidia", "/", "plugin"},
    {"amd.com/gpu", "amd", "/", "plugin"},
}};

Result<std::int64_t> AmountOf(const Amounts& capacity, std::string_view resource) {
  const auto at = resource.empty() ? capacity.end() : capacity.find(std::string(resource));
  if (at == capacity.end()) return std::int64_t{0};
  const Result<Quantity> quantity = ParseQuantity(at->second, std::string(resource));
  if (!quantity) return tl::unexpected<Error>(quantity.error());
  if (quantity->value > kMaxInt32) return Fail(std::string(resource), "is too much");
  return quantity->value;
}

// NVIDIA's feature discovery: how many cards there are where the resource counts shares of them.
std::int64_t LabelledCards(const std::map<std::string, std::string>& labels) {
  const auto at = labels.find("nvidia.com/gpu.count");
  if (at == labels.end()) return 0;
  Fields f("");
  const std::int64_t cards = f.Number(at->second, "count", 1, kMaxCardsPerNode);
  return f.fault().empty() ? cards : 0;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> CountedNames(std::string_view vendor) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const Counted& counted : kCounted) {
    if (counted.vendor == vendor) out.emplace_back(counted.resource, counted.platform);
  }
  return out;
}

std::vector<std::string_view> SplitAt(std::string_view text, char at) {
  std::vector<std::string_view> out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(at, begin), text.size());
    out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

bool IsRegister(std::string_view key) {
  if (key == kVolcanoKey || key == kMetaxKey || key == kEnflameKey) return true;
  if (key.starts_with(kByVendor)) return key.size() > kByVendor.size();
  return key.starts_with(kNode) && key.ends_with(kRegister) &&
         key.size() > kNode.size() + kRegister.size();
}

Result<Register> ReadRegister(std::string_view key, std::string_view text,
                              const std::string& node) {
  if (!IsRegister(key)) return Fail(std::string(key), "is no register of a device plugin");
  Register out = OfKey(key);
  Fields f(out.key);
  if (text.size() > kMaxRegisterBytes) return Fail(out.key, "is larger than 1 MiB");
  text = Trimmed(text);
  if (text.empty() || text == "null") return out;  // no cards
  const char first = text.front();
  const bool enflame = key == kEnflameKey, metax = key == kMetaxKey;
  if (first == '[' || enflame || metax) {
    const json list = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (enflame ? !list.is_object() : !list.is_array()) return Fail(out.key, "is not its JSON");
    if (enflame) {
      ReadEnflame(list, node, f, &out);
    } else if (metax) {
      ReadMetax(list, f, &out.cards);
    } else {
      ReadJson(list, f, &out);
    }
  } else if (text.find(':') == std::string_view::npos) {
    f.Refuse("is neither JSON nor a list of cards that end with ':'");
  } else if (key == kVolcanoKey) {
    ReadVolcano(text, f, &out.cards);
  } else {
    ReadText(text, f, &out.cards);
    if (out.vendor == "nvidia") out.version = HamiVersion::kV2_7;
  }
  if (out.cards.size() > kMaxRegistered) f.Refuse("has more than 1024 cards");
  std::set<std::string_view> seen;
  for (const RegisteredCard& card : out.cards) {
    if (card.uuid.empty()) f.Refuse("has a card without a UUID");
    if (!seen.insert(card.uuid).second) f.Refuse("has a card twice: " + card.uuid);
  }
  if (!f.fault().empty()) return f.Failure();
  return out;
}

Result<std::vector<Register>> ReadRegisters(const std::map<std::string, std::string>& annotations,
                                            const std::string& node) {
  std::vector<Register> out;
  for (const auto& [key, text] : annotations) {
    if (!IsRegister(key)) continue;
    Result<Register> read = ReadRegister(key, text, node);
    if (!read) return tl::unexpected<Error>(read.error());
    out.push_back(std::move(*read));
  }
  return out;
}

Result<std::vector<Register>> CountCards(const Amounts& capacity,
                                         const std::map<std::string, std::string>& labels,
                                         const std::string& node,
                                         const std::vector<Register>& registers) {
  std::vector<Register> out;
  for (const Counted& counted : kCounted) {
    if (std::ranges::find(registers, counted.vendor, &Register::vendor) != registers.end()) {
      continue;
    }
    const Result<std::int64_t> all = AmountOf(capacity, counted.resource);
    const Result<std::int64_t> memory = AmountOf(capacity, counted.memory);
    if (!all) return tl::unexpected<Error>(all.error());
    if (!memory) return tl::unexpected<Error>(memory.error());
    std::int64_t cards = *all / counted.per_card;
    if (cards == 0) continue;
    std::int32_t slots = counted.slots;
    if (const std::int64_t labelled = counted.vendor == "nvidia" ? LabelledCards(labels) : 0;
        labelled > 0 && labelled < cards) {
      slots = static_cast<std::int32_t>(cards / labelled);
      cards = labelled;
    }
    if (cards > kMaxCardsPerNode) {
      return Fail(std::string(counted.resource),
                  fmt::format("counts {} cards; a node has at most {}", cards, kMaxCardsPerNode));
    }
    Register& made = out.emplace_back();
    made.key = counted.resource;
    made.platform = counted.platform;
    made.vendor = counted.vendor;
    made.counted = true;
    for (std::int64_t i = 0; i < cards; ++i) {
      RegisteredCard& card = made.cards.emplace_back();
      card.uuid = fmt::format("{}{}{}", node, counted.id, i);
      card.index = static_cast<std::int32_t>(i);
      card.memory_mib = counted.memory_unit_mib > 0
                            ? *memory * counted.memory_unit_mib * counted.per_card / *all
                            : counted.memory_mib;
      card.slots = slots;
      card.healthy = true;
      if (counted.vendor == "kunlunxin") card.numa = i >= cards / 2 ? 1 : 0;
    }
  }
  return out;
}

const CardModel* ModelOfType(const Catalog& catalog, std::string_view type) {
  // Node labels write hyphens for spaces.
  const auto same = [](std::string_view a, std::string_view b) {
    const auto plain = [](char c) {
      return c == ' ' ? '-' : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    };
    return std::ranges::equal(a, b, {}, plain, plain);
  };
  for (const std::string_view prefix : {"", "NVIDIA-", "NVIDIA ", "AMD-", "DCU-", "MLU-"}) {
    if (!type.starts_with(prefix)) continue;
    const std::string_view rest = type.substr(prefix.size());
    for (const Vendor& vendor : catalog.vendors) {
      for (const CardModel& model : vendor.models) {
        if (same(model.name, rest) ||
            std::ranges::any_of(model.aliases, [&](const auto& a) { return same(a, rest); })) {
          return &model;
        }
      }
    }
  }
  return nullptr;
}

}  // namespace basalt::devices
